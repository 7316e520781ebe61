/* Any CPU the compiler can target: 16-byte vectors (SSE2 and NEON have them; elsewhere the compiler splits them). */
#define FNN_ISA portable
#define FNN_VECTOR_BYTES 16
#define FNN_FMA_F32(a, b, c) ((a) * (b) + (c))
#define FNN_FMA_F64(a, b, c) ((a) * (b) + (c))
#if defined(__SSE2__)
#include <emmintrin.h>
#define FNN_STREAM(to, value) _mm_stream_si128((__m128i *)(to), (__m128i)(value))
#define FNN_MULTIPLY_LOW_HALVES(a, b) ((WORDS)_mm_mul_epu32((__m128i)(a), (__m128i)(b)))
#else
#define FNN_MULTIPLY_LOW_HALVES(a, b) (((a) & low_half) * ((b) & low_half))
#endif
#include "templates/shapes16.h"
#include "templates/instantiate.h"
