/* Inverted dropout of a matrix whose rows are contiguous and whose corner is (row, column) of the whole. x may be exactly y.
 *
 * Draws are made for DRAW_GROUPS counters at a time, one counter a 64-bit lane: products of 32-bit words need 64 bits, and the junk
 * that stays in the upper halves is harmless because only the lower halves are multiplied. Eight 16-bit draws a counter become as many
 * 16-bit masks in memory, which are widened to the element type as they are used. Counters run through the groups of eight of row
 * after row, so narrow matrices waste no draws. */
#ifndef FNN_DROPOUT_SHARED
#define FNN_DROPOUT_SHARED
#define DRAW_LANES (FNN_VECTOR_BYTES / 8)
#define DRAW_VECTORS FNN_DRAW_VECTORS
#define DRAW_GROUPS (DRAW_VECTORS * DRAW_LANES)
#define HELD 32 /* draws, at least a vector's */
#define DRAWS_AHEAD 2 /* that are fetched before their turn */

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

/* kept[8 * l + j] = -1 where draw j of the counter in lane l is below the threshold, else 0; threshold < 65536. Lanes take the groups
 * from `group` on in rows of `width` groups from `row` on. */
static void FNN_PASTE3(draw, u16, FNN_ISA)(ptrdiff_t group, ptrdiff_t width, uint64_t first_group, uint64_t row,
                                           const struct fnn_dropout *dropout, int16_t kept[8 * DRAW_GROUPS])
{
    WORDS c0[DRAW_VECTORS], c1[DRAW_VECTORS], c2[DRAW_VECTORS], c3[DRAW_VECTORS];
    uint64_t groups[DRAW_GROUPS], rows[DRAW_GROUPS];
    const int one_row = group + DRAW_GROUPS <= width;
    for (int lane = 0; lane < DRAW_GROUPS && !one_row; lane++) {
        groups[lane] = first_group + (uint64_t)group;
        rows[lane] = row;
        if (++group == width) {
            group = 0;
            row++;
        }
    }
    const WORDS zero = {0}, low_half = zero + 0xFFFFFFFFu, m0 = zero + FNN_PHILOX_M0, m1 = zero + FNN_PHILOX_M1;
    uint32_t k0 = (uint32_t)dropout->seed, k1 = (uint32_t)(dropout->seed >> 32);
    FNN_UNROLL for (int v = 0; v < DRAW_VECTORS; v++) {
        if (one_row) { /* the usual case, without a detour over memory */
            FNN_UNROLL for (int l = 0; l < DRAW_LANES; l++) c0[v][l] = (uint64_t)(v * DRAW_LANES + l);
            c0[v] += first_group + (uint64_t)group;
            c1[v] = zero + row;
        } else {
            memcpy(&c0[v], groups + v * DRAW_LANES, sizeof c0[v]);
            memcpy(&c1[v], rows + v * DRAW_LANES, sizeof c1[v]);
        }
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

static inline REAL FN(dropped)(REAL x, REAL scale, int16_t keep)
{
    const REAL scaled = x * scale;
    return keep ? scaled : (REAL)0;
}

/* Elements of a vector's length of memory that lie before an address. */
static inline ptrdiff_t FN(past_line)(const REAL *at) { return (ptrdiff_t)((uintptr_t)at % FNN_VECTOR_BYTES / sizeof(REAL)); }

typedef int16_t FN(narrow_mask) __attribute__((vector_size(FNN_VECTOR_BYTES / sizeof(REAL) * sizeof(int16_t)), may_alias, aligned(2)));
typedef BITS FN(mask) __attribute__((vector_size(FNN_VECTOR_BYTES)));

static void FN(dropout)(ptrdiff_t rows, ptrdiff_t columns, const void *x_data, ptrdiff_t x_stride, void *y_data, ptrdiff_t y_stride,
                        const struct fnn_dropout *dropout, ptrdiff_t row, ptrdiff_t column, int stream)
{
    const REAL *x = (const REAL *)x_data;
    REAL *y = (REAL *)y_data;
    const REAL scale = (REAL)(65536.0 / dropout->threshold);
    const ptrdiff_t skip = column % 8; /* draws before the first column */
    const ptrdiff_t width = columns > 0 ? (skip + columns + 7) / 8 : 0; /* groups of a row */
    _Alignas(FNN_VECTOR_BYTES) int16_t masks[HELD + 8 * DRAW_GROUPS];
    int16_t *const kept = masks + HELD;
    memset(masks, 0xFF, sizeof masks);
    ptrdiff_t r = 0, g = 0; /* the group that comes next */
    ptrdiff_t held = 0;     /* draws before it that are still to be used */
    while (r < rows && width > 0) {
        const ptrdiff_t first_row = r, first_group = g;
        if (stream) { /* fetched while draws are made: else these would wait for memory, and memory for these */
            const char *soon = (const char *)(x + r * x_stride + 8 * g) + DRAWS_AHEAD * 8 * DRAW_GROUPS * (ptrdiff_t)sizeof(REAL);
            FNN_UNROLL for (ptrdiff_t b = 0; b < 8 * DRAW_GROUPS * (ptrdiff_t)sizeof(REAL); b += FNN_LINE) __builtin_prefetch(soon + b);
        }
        if (dropout->threshold < 65536)
            FNN_PASTE3(draw, u16, FNN_ISA)(g, width, (uint64_t)(column / 8), (uint64_t)(row + r), dropout, kept);
        r += (g + DRAW_GROUPS) / width;
        g = (g + DRAW_GROUPS) % width;
        /* The draws in runs that lie in one row; the first may belong to columns before ours. */
        ptrdiff_t at_row = first_row, at = first_group > 0 ? 8 * first_group - skip - held : 0, next = first_group > 0 ? -held : skip;
        held = 0;
        for (; next < 8 * DRAW_GROUPS && at_row < rows; at_row++, at = 0) {
            const ptrdiff_t left = 8 * DRAW_GROUPS - next, length = columns - at < left ? columns - at : left;
            const int16_t *keep = kept + next;
            const REAL *from = x + at_row * x_stride + at;
            REAL *to = y + at_row * y_stride + at;
            ptrdiff_t t = 0;
            /* Whole lines go past the caches: one that ends in the next draws waits for them. Lines written in parts, or by stores of
             * 16 bytes, took twice as long on Zen 4. */
            const ptrdiff_t head = stream ? (LANES - FN(past_line)(to)) % LANES : 0;
            for (; t < head && t < length; t++) to[t] = FN(dropped)(from[t], scale, keep[t]);
            for (; t + LANES <= length; t += LANES) {
                const FN(mask) wide = __builtin_convertvector(*(const FN(narrow_mask) *)(keep + t), FN(mask));
                const VECTOR scaled = *(const VECTOR_U *)(from + t) * scale, dropped = (VECTOR)((FN(mask))scaled & wide);
                if (stream) FNN_STREAM(to + t, dropped);
                else *(VECTOR_U *)(to + t) = dropped;
            }
            if (stream && at + length < columns && FN(past_line)(to + length) == length - t) {
                held = length - t;
                memcpy(kept - held, keep + t, (size_t)held * sizeof *keep);
            } else {
                for (; t < length; t++) to[t] = FN(dropped)(from[t], scale, keep[t]);
            }
            next = (next + length + 7) / 8 * 8 + skip;
        }
    }
    if (stream) FNN_STREAM_END();
}
