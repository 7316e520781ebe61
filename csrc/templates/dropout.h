/* Inverted dropout of n neighbours in one row, starting at `column` (a multiple of 8). x may be exactly y.
 *
 * Draws are made for DRAW_GROUPS counters at a time, one counter a 64-bit lane: products of 32-bit words need 64 bits, and the junk
 * that stays in the upper halves is harmless because only the lower halves are multiplied. Eight 16-bit draws a counter become as many
 * 16-bit masks in memory, which are widened to the element type as they are used. */
#ifndef FNN_DROPOUT_SHARED
#define FNN_DROPOUT_SHARED
#define DRAW_LANES (FNN_VECTOR_BYTES / 8)
#define DRAW_VECTORS FNN_DRAW_VECTORS
#define DRAW_GROUPS (DRAW_VECTORS * DRAW_LANES)

typedef uint64_t FNN_PASTE3(words, v, FNN_ISA) __attribute__((vector_size(FNN_VECTOR_BYTES)));
typedef uint16_t FNN_PASTE3(halves, v, FNN_ISA) __attribute__((vector_size(FNN_VECTOR_BYTES)));
#define WORDS FNN_PASTE3(words, v, FNN_ISA)
#define HALVES FNN_PASTE3(halves, v, FNN_ISA)

#if FNN_VECTOR_BYTES == 64
#define WORDS_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define WORDS_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#elif FNN_VECTOR_BYTES == 32
#define WORDS_LOW 0, 4, 1, 5
#define WORDS_HIGH 2, 6, 3, 7
#else
#define WORDS_LOW 0, 2
#define WORDS_HIGH 1, 3
#endif

/* kept[j] = -1 where the draw of neighbour 8 * group + j is below the threshold, else 0; threshold < 65536. */
static void FNN_PASTE3(draw, u16, FNN_ISA)(uint32_t group, uint32_t row, const struct fnn_dropout *dropout, int16_t kept[8 * DRAW_GROUPS])
{
    WORDS c0[DRAW_VECTORS], c1[DRAW_VECTORS], c2[DRAW_VECTORS], c3[DRAW_VECTORS];
    const WORDS zero = {0}, low_half = zero + 0xFFFFFFFFu, m0 = zero + FNN_PHILOX_M0, m1 = zero + FNN_PHILOX_M1;
    uint32_t k0 = (uint32_t)dropout->seed, k1 = (uint32_t)(dropout->seed >> 32);
    FNN_UNROLL for (int v = 0; v < DRAW_VECTORS; v++) {
        FNN_UNROLL for (int l = 0; l < DRAW_LANES; l++) c0[v][l] = (uint32_t)(group + (uint32_t)(v * DRAW_LANES + l));
        c1[v] = zero + row;
        c2[v] = zero + (uint32_t)dropout->stream;
        c3[v] = zero + (dropout->stream >> 32);
    }
    for (int round = 0; round < FNN_PHILOX_ROUNDS; round++) {
        const WORDS key0 = zero + k0, key1 = zero + k1;
        FNN_UNROLL for (int v = 0; v < DRAW_VECTORS; v++) {
            const WORDS p0 = FNN_MULTIPLY_LOW_HALVES(m0, c0[v]), p1 = FNN_MULTIPLY_LOW_HALVES(m1, c2[v]);
            c0[v] = (p1 >> 32) ^ (c1[v] ^ key0);
            c1[v] = p1;
            c2[v] = (p0 >> 32) ^ (c3[v] ^ key1);
            c3[v] = p0;
        }
        k0 += FNN_PHILOX_W0;
        k1 += FNN_PHILOX_W1;
    }
    const HALVES threshold = (HALVES){0} + (uint16_t)dropout->threshold;
    FNN_UNROLL for (int v = 0; v < DRAW_VECTORS; v++) {
        const WORDS first = (c0[v] & low_half) | (c1[v] << 32), second = (c2[v] & low_half) | (c3[v] << 32);
        const HALVES low = (HALVES)__builtin_shufflevector(first, second, WORDS_LOW);
        const HALVES high = (HALVES)__builtin_shufflevector(first, second, WORDS_HIGH);
        const HALVES keeps[2] = {(HALVES)(low < threshold), (HALVES)(high < threshold)};
        memcpy(kept + 8 * DRAW_LANES * v, keeps, sizeof keeps);
    }
}
#endif

typedef int16_t FN(narrow_mask) __attribute__((vector_size(FNN_VECTOR_BYTES / sizeof(REAL) * sizeof(int16_t)), may_alias));
typedef BITS FN(mask) __attribute__((vector_size(FNN_VECTOR_BYTES)));

static void FN(dropout)(ptrdiff_t n, const void *x_data, void *y_data, const struct fnn_dropout *dropout, ptrdiff_t row, ptrdiff_t column)
{
    const REAL *x = (const REAL *)x_data;
    REAL *y = (REAL *)y_data;
    const REAL scale = (REAL)(65536.0 / dropout->threshold);
    _Alignas(FNN_VECTOR_BYTES) int16_t kept[8 * DRAW_GROUPS];
    memset(kept, 0xFF, sizeof kept);
    for (ptrdiff_t start = 0; start < n; start += 8 * DRAW_GROUPS) {
        const ptrdiff_t length = n - start < 8 * DRAW_GROUPS ? n - start : 8 * DRAW_GROUPS;
        if (dropout->threshold < 65536) FNN_PASTE3(draw, u16, FNN_ISA)((uint32_t)((column + start) / 8), (uint32_t)row, dropout, kept);
        ptrdiff_t t = 0;
        for (; t + LANES <= length; t += LANES) {
            const FN(mask) keep = __builtin_convertvector(*(const FN(narrow_mask) *)(kept + t), FN(mask));
            const VECTOR scaled = *(const VECTOR_U *)(x + start + t) * scale;
            *(VECTOR_U *)(y + start + t) = (VECTOR)((FN(mask))scaled & keep);
        }
        for (; t < length; t++) {
            const REAL scaled = x[start + t] * scale;
            y[start + t] = kept[t] ? scaled : (REAL)0;
        }
    }
}
