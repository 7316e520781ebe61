/* Inverted dropout of n neighbours in one row, starting at `column` (a multiple of 8). x may be exactly y.
 *
 * Draws are made for DROPOUT_GROUPS counters at a time, one counter a 64-bit lane: products of 32-bit words need 64 bits, and the
 * junk that stays in the upper halves is harmless because only the lower halves are multiplied. */
#ifndef FNN_DROPOUT_SHARED
#define FNN_DROPOUT_SHARED
#define DROPOUT_GROUPS 16 /* 128 elements a turn */

static void FNN_PASTE3(draw, u16, FNN_ISA)(uint32_t group, uint32_t row, const struct fnn_dropout *dropout, uint16_t out[8 * DROPOUT_GROUPS])
{
    uint64_t c0[DROPOUT_GROUPS], c1[DROPOUT_GROUPS], c2[DROPOUT_GROUPS], c3[DROPOUT_GROUPS];
    uint32_t k0 = (uint32_t)dropout->seed, k1 = (uint32_t)(dropout->seed >> 32);
    for (int g = 0; g < DROPOUT_GROUPS; g++) {
        c0[g] = (uint32_t)(group + (uint32_t)g);
        c1[g] = row;
        c2[g] = (uint32_t)dropout->stream;
        c3[g] = (uint32_t)(dropout->stream >> 32);
    }
    for (int round = 0; round < FNN_PHILOX_ROUNDS; round++) {
        for (int g = 0; g < DROPOUT_GROUPS; g++) {
            uint64_t p0 = (uint64_t)FNN_PHILOX_M0 * (uint32_t)c0[g], p1 = (uint64_t)FNN_PHILOX_M1 * (uint32_t)c2[g];
            c0[g] = (p1 >> 32) ^ c1[g] ^ k0;
            c1[g] = p1;
            c2[g] = (p0 >> 32) ^ c3[g] ^ k1;
            c3[g] = p0;
        }
        k0 += FNN_PHILOX_W0;
        k1 += FNN_PHILOX_W1;
    }
    for (int g = 0; g < DROPOUT_GROUPS; g++) {
        uint64_t words[2] = {(c0[g] & 0xFFFFFFFFu) | (c1[g] << 32), (c2[g] & 0xFFFFFFFFu) | (c3[g] << 32)};
        memcpy(out + 8 * g, words, sizeof words);
    }
}
#endif

static void FN(dropout)(ptrdiff_t n, const void *x_data, void *y_data, const struct fnn_dropout *dropout, ptrdiff_t row, ptrdiff_t column)
{
    const REAL *x = (const REAL *)x_data;
    REAL *y = (REAL *)y_data;
    const REAL scale = (REAL)(65536.0 / dropout->threshold);
    const int32_t threshold = (int32_t)dropout->threshold;
    uint16_t draw[8 * DROPOUT_GROUPS];
    for (ptrdiff_t start = 0; start < n; start += 8 * DROPOUT_GROUPS) {
        ptrdiff_t length = n - start < 8 * DROPOUT_GROUPS ? n - start : 8 * DROPOUT_GROUPS;
        FNN_PASTE3(draw, u16, FNN_ISA)((uint32_t)((column + start) / 8), (uint32_t)row, dropout, draw);
        FNN_INDEPENDENT
        for (ptrdiff_t t = 0; t < length; t++) {
            REAL kept = x[start + t] * scale;
            y[start + t] = (int32_t)draw[t] < threshold ? kept : (REAL)0;
        }
    }
}
