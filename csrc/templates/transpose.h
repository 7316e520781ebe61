/* A square of a vector's width, turned. */

/* Interleaves of the lower and the upper halves of two vectors: L rounds of them transpose a 2^L square. */
#if FNN_VECTOR_BYTES == 64 && FNN_IS_F32
#define LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif (FNN_VECTOR_BYTES == 64 && !FNN_IS_F32) || (FNN_VECTOR_BYTES == 32 && FNN_IS_F32)
#define LOW 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH 4, 12, 5, 13, 6, 14, 7, 15
#elif (FNN_VECTOR_BYTES == 32 && !FNN_IS_F32) || (FNN_VECTOR_BYTES == 16 && FNN_IS_F32)
#define LOW 0, 4, 1, 5
#define HIGH 2, 6, 3, 7
#else
#define LOW 0, 2
#define HIGH 1, 3
#endif

static inline __attribute__((always_inline)) void FN(transpose)(const REAL *from, ptrdiff_t stride, REAL *to, ptrdiff_t to_stride)
{
    VECTOR v[LANES], w[LANES];
    FNN_UNROLL for (int l = 0; l < LANES; l++) v[l] = *(const VECTOR_U *)(from + l * stride);
    FNN_UNROLL for (int round = 1; round < LANES; round *= 2) {
        FNN_UNROLL for (int l = 0; l < LANES / 2; l++) {
            w[2 * l] = __builtin_shufflevector(v[l], v[l + LANES / 2], LOW);
            w[2 * l + 1] = __builtin_shufflevector(v[l], v[l + LANES / 2], HIGH);
        }
        FNN_UNROLL for (int l = 0; l < LANES; l++) v[l] = w[l];
    }
    FNN_UNROLL for (int l = 0; l < LANES; l++) *(VECTOR_U *)(to + l * to_stride) = v[l];
}

#undef LOW
#undef HIGH
