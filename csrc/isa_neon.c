/* 64-bit Arm, where NEON and its fused multiply-add are part of the base: 16-byte vectors, thirty-two registers. */
#if defined(__aarch64__)
#include <arm_neon.h>

#define FNN_ISA neon
#define FNN_VECTOR_BYTES 16
#define FNN_FMA_F32(a, b, c) vfmaq_f32(c, a, b)
#define FNN_FMA_F64(a, b, c) vfmaq_f64(c, a, b)
#define FNN_MULTIPLY_LOW_HALVES(a, b) ((WORDS)vmull_u32(vmovn_u64((uint64x2_t)(a)), vmovn_u64((uint64x2_t)(b))))
#include "templates/shapes32.h"
#include "templates/instantiate.h"
#endif
