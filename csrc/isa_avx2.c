/* x86-64 with AVX2 and FMA (Haswell 2013, Zen 2017): 32-byte vectors, sixteen registers. */
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#include <immintrin.h>

#define FNN_ISA avx2
#define FNN_VECTOR_BYTES 32
#define FNN_FMA_F32(a, b, c) _mm256_fmadd_ps(a, b, c)
#define FNN_FMA_F64(a, b, c) _mm256_fmadd_pd(a, b, c)
#define FNN_STREAM(to, value) _mm256_stream_si256((__m256i *)(to), (__m256i)(value))
#define FNN_MULTIPLY_LOW_HALVES(a, b) ((WORDS)_mm256_mul_epu32((__m256i)(a), (__m256i)(b)))
#include "templates/shapes16.h"
#include "templates/instantiate.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
