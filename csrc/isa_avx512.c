/* x86-64 with AVX-512 F, BW, DQ and VL (Skylake-SP 2017, Zen 4 2022): 64-byte vectors, thirty-two registers. */
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")
#endif
#include <immintrin.h>

#define FNN_ISA avx512
#define FNN_VECTOR_BYTES 64
#define FNN_FMA_F32(a, b, c) _mm512_fmadd_ps(a, b, c)
#define FNN_FMA_F64(a, b, c) _mm512_fmadd_pd(a, b, c)
#define FNN_STREAM(to, value) _mm512_stream_si512((__m512i *)(to), (__m512i)(value))
#define FNN_MULTIPLY_LOW_HALVES(a, b) ((WORDS)_mm512_mul_epu32((__m512i)(a), (__m512i)(b)))
#include "templates/shapes32.h"
#include "templates/instantiate.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
