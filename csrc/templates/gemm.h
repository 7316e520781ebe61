/* Matrix product building blocks: packing a panel, the register tile, and the gradient's gate. Sums over k run in order with one
 * accumulator an element, so the bits of an element depend neither on the shape of the tile that it falls in nor on blocks or threads. */

/* Rows of b that one row of y takes in at a time. Where they lie 4096 bytes apart they share a set of the first-level cache with y's line:
 * eight were too many for one of eight ways. */
#define ROW_DEPTH 6
#define GATE_VECTORS 4
#define PAUSE 16    /* terms of a tile, at least, between two looks at what is to be done for the next ones */

/* out[t * width + lane] = data[lane * lane_stride + t * k_stride], k values each of `lanes` lanes. Rows wider than that are whole vectors:
 * the last vector holds the last LANES lanes, or where there are fewer, those and zeros. */
static void FN(pack)(const void *data, ptrdiff_t lane_stride, ptrdiff_t k_stride, ptrdiff_t width, ptrdiff_t lanes, ptrdiff_t k,
                     void *packed)
{
    const REAL *from = (const REAL *)data;
    REAL *out = (REAL *)packed;
    if (lane_stride == 1 && lanes == FNN_MOST_ROWS && width == lanes) {
        for (ptrdiff_t t = 0; t < k; t++) memcpy(out + t * FNN_MOST_ROWS, from + t * k_stride, FNN_MOST_ROWS * sizeof(REAL));
        return;
    }
    const int shifted = width > lanes && lanes >= LANES;
    const ptrdiff_t whole = lanes - lanes % LANES, last = lanes - LANES;
    if (lane_stride == 1) {
        /* Narrow rows, as whole vectors as long as those end within the rows that follow. */
        VECTOR kept;
        for (ptrdiff_t l = 0; l < LANES; l++) kept[l] = l < lanes;
        for (; lanes < LANES && width == LANES && k > 0 && LANES <= (k - 1) * k_stride + lanes; k--, from += k_stride, out += width) {
            const VECTOR row = *(const VECTOR_U *)from;
            *(VECTOR_U *)out = (VECTOR)((__typeof__(row <= row))row & (kept > (VECTOR){0}));
        }
        for (ptrdiff_t t = 0; t < k; t++, from += k_stride, out += width) {
            for (ptrdiff_t l = 0; l < whole; l += LANES) *(VECTOR_U *)(out + l) = *(const VECTOR_U *)(from + l);
            if (shifted) *(VECTOR_U *)(out + whole) = *(const VECTOR_U *)(from + last);
            for (ptrdiff_t l = whole; l < lanes && !shifted; l++) out[l] = from[l];
            for (ptrdiff_t l = lanes; l < width && !shifted; l++) out[l] = 0;
        }
        return;
    }
    const ptrdiff_t end = shifted ? width : whole; /* of the lanes that are packed a vector at a time */
    for (ptrdiff_t lane = 0; lane < end; lane += LANES) {
        const REAL *first = from + (lane < whole ? lane : last) * lane_stride;
        ptrdiff_t t = 0;
        for (; k_stride == 1 && t + LANES <= k; t += LANES) FN(transpose)(first + t, lane_stride, out + t * width + lane, width);
        for (; t < k; t++)
            for (ptrdiff_t l = 0; l < LANES; l++) out[t * width + lane + l] = first[l * lane_stride + t * k_stride];
    }
    for (ptrdiff_t t = 0; t < k; t++) {
        for (ptrdiff_t l = end; l < lanes; l++) out[t * width + l] = from[l * lane_stride + t * k_stride];
        for (ptrdiff_t l = end > lanes ? end : lanes; l < width; l++) out[t * width + l] = 0;
    }
}

/* The first n elements of a vector, n < LANES, in pieces of constant length: a store under a mask is slow on some processors, and so is
 * a copy of variable length. */
static inline VECTOR FN(load_some)(const REAL *from, ptrdiff_t n)
{
    REAL held[LANES] = {0};
    ptrdiff_t at = 0;
    FNN_UNROLL for (ptrdiff_t piece = LANES / 2; piece > 0; piece /= 2)
        if (n & piece) {
            memcpy(held + at, from + at, (size_t)piece * sizeof(REAL));
            at += piece;
        }
    return *(const VECTOR_U *)held;
}

static inline void FN(store_some)(REAL *to, VECTOR value, ptrdiff_t n)
{
    REAL held[LANES];
    *(VECTOR_U *)held = value;
    ptrdiff_t at = 0;
    FNN_UNROLL for (ptrdiff_t piece = LANES / 2; piece > 0; piece /= 2)
        if (n & piece) {
            memcpy(to + at, held + at, (size_t)piece * sizeof(REAL));
            at += piece;
        }
}

/* A tile comes and leaves through these two when y's columns are apart: element by element, same operations. */
static void FN(start_slowly)(REAL *product, ptrdiff_t width, const struct fnn_tile *tile, const REAL *y)
{
    memset(product, 0, (size_t)(tile->rows * width) * sizeof *product);
    for (ptrdiff_t r = 0; r < tile->rows; r++)
        for (ptrdiff_t c = 0; c < tile->columns; c++)
            product[r * width + c] = y[r * tile->y_row + c * tile->y_column];
}

static void FN(finish_slowly)(const REAL *product, ptrdiff_t width, const struct fnn_tile *tile, REAL *y)
{
    for (ptrdiff_t r = 0; r < tile->rows; r++, y += tile->y_row)
        for (ptrdiff_t c = 0; c < tile->columns; c++) {
            REAL value = product[r * width + c];
            if (tile->bias) value = value + ((const REAL *)tile->bias)[c];
            if (tile->relu) value = value <= 0 ? (REAL)0 : value;
            y[c * tile->y_column] = value;
        }
}

static inline __attribute__((always_inline)) void FN(tile_of)(const int rows, const int vectors, const struct fnn_tile *tile,
                                                            const REAL *a, REAL *y)
{
    VECTOR sum[FNN_MOST_ROWS][FNN_MOST_VECTORS];
    const REAL *b = (const REAL *)tile->b;
    const ptrdiff_t b_k = tile->b_k, b_last = tile->b_last;
    FNN_UNROLL for (int r = 0; r < rows; r++)
        FNN_UNROLL for (int v = 0; v < vectors; v++) sum[r][v] = (VECTOR){0};
    const int apart = tile->y_column != 1, few = vectors == 1 && tile->columns < LANES, narrow = few && !tile->room;
    const ptrdiff_t last = few ? 0 : tile->columns - LANES; /* where the last vector of a row starts, perhaps within the one before */
    REAL product[FNN_MOST_ROWS * FNN_MOST_VECTORS * LANES];
    /* A block of k goes on where the last one stopped, so that the order of a sum does not depend on blocks. */
    if (tile->accumulate) {
        if (apart) FN(start_slowly)(product, vectors * LANES, tile, y);
        const REAL *from = apart ? product : y;
        const ptrdiff_t stride = apart ? vectors * LANES : tile->y_row;
        FNN_UNROLL for (int r = 0; r < rows; r++)
            FNN_UNROLL for (int v = 0; v < vectors; v++) {
                const REAL *at = from + r * stride + (v == vectors - 1 ? last : v * LANES);
                sum[r][v] = narrow ? FN(load_some)(at, tile->columns) : (VECTOR)*(const VECTOR_U *)at;
            }
    }
    /* Rows are reached from two moving pointers by distances that address modes add up, since additions in this loop would take the ports
     * of multiply-adds. What the compiler knows of them is hidden from it, or it keeps a moving pointer a row, and spills. */
    const char *upper = (const char *)a, *lower = upper + 4 * tile->a_row * (ptrdiff_t)sizeof(REAL);
    ptrdiff_t one = tile->a_row * (ptrdiff_t)sizeof(REAL), two = 2 * one, three = 3 * one;
    const ptrdiff_t a_step = tile->a_k * (ptrdiff_t)sizeof(REAL);
#define TERM                                                                                                                               \
    {                                                                                                                                      \
        VECTOR line[FNN_MOST_VECTORS];                                                                                                     \
        FNN_OPAQUE(upper);                                                                                                                 \
        if (rows > 4) FNN_OPAQUE(lower);                                                                                                   \
        FNN_OPAQUE(one);                                                                                                                   \
        FNN_OPAQUE(two);                                                                                                                   \
        FNN_OPAQUE(three);                                                                                                                 \
        FNN_UNROLL for (int v = 0; v < vectors; v++) line[v] = *(const VECTOR_U *)(b + (v == vectors - 1 ? b_last : v * LANES));           \
        FNN_UNROLL for (int r = 0; r < rows; r++) {                                                                                        \
            const char *near = r < 4 ? upper : lower;                                                                                      \
            const VECTOR left = *(const REAL *)(r % 4 == 0 ? near : near + (r % 4 == 1 ? one : r % 4 == 2 ? two : three)) - (VECTOR){0};   \
            FNN_UNROLL for (int v = 0; v < vectors; v++) sum[r][v] = FNN_FMA(left, line[v], sum[r][v]);                                    \
        }                                                                                                                                  \
        upper += a_step;                                                                                                                   \
        if (rows > 4) lower += a_step;                                                                                                     \
        b += b_k;                                                                                                                          \
    }
    ptrdiff_t t = tile->k;
    if (tile->errands) {
        const struct fnn_ahead *ahead = &tile->errands->ahead;
        const struct fnn_move *move = &tile->errands->move;
        ptrdiff_t moves = move->rows;
        const ptrdiff_t fetches = ahead->lines > 0 ? ahead->rows : 0, rows_of_both = fetches > moves ? fetches : moves;
        const ptrdiff_t most = t / PAUSE > 0 ? t / PAUSE : 1, times = rows_of_both < most ? rows_of_both : most, pause = t / times;
        const ptrdiff_t fetch_rows = (fetches + times - 1) / times, move_rows = (moves + times - 1) / times;
        const ptrdiff_t move_last = move->columns - LANES;
        const char *fetch = ahead->at;
        const REAL *from = (const REAL *)move->from;
        REAL *to = (REAL *)move->to;
        for (ptrdiff_t time = 0; time < times; time++, t -= pause) {
            for (ptrdiff_t n = fetch_rows; n > 0; n--, fetch += ahead->stride)
                for (ptrdiff_t line = 0; line < ahead->lines; line++) __builtin_prefetch(fetch + line * FNN_LINE);
            for (ptrdiff_t n = moves < move_rows ? moves : move_rows; n > 0; n--, moves--) {
                FNN_UNROLL for (int v = 0; v < vectors; v++)
                    *(VECTOR_U *)(to + v * LANES) = *(const VECTOR_U *)(from + (v == vectors - 1 ? move_last : v * LANES));
                from += move->from_row;
                to += vectors * LANES;
            }
            for (ptrdiff_t u = pause; u > 0; u--) TERM
        }
    }
    for (; t > 0; t--) TERM
#undef TERM
    if (apart) {
        FNN_UNROLL for (int r = 0; r < rows; r++)
            FNN_UNROLL for (int v = 0; v < vectors; v++)
                *(VECTOR_U *)(product + r * vectors * LANES + (v == vectors - 1 ? last : v * LANES)) = sum[r][v];
        FN(finish_slowly)(product, vectors * LANES, tile, y);
        return;
    }
    FNN_UNROLL for (int v = 0; v < vectors; v++) {
        const ptrdiff_t column = v == vectors - 1 ? last : v * LANES;
        const REAL *biases = (const REAL *)tile->bias;
        VECTOR bias = (VECTOR){0};
        if (biases) bias = few ? FN(load_some)(biases, tile->columns) : (VECTOR)*(const VECTOR_U *)(biases + column);
        FNN_UNROLL for (int r = 0; r < rows; r++) {
            VECTOR value = sum[r][v];
            if (biases) value = value + bias;
            if (tile->relu) value = (VECTOR)((__typeof__(value <= value))value & ~(value <= (VECTOR){0}));
            REAL *to = y + r * tile->y_row + column;
            if (narrow) FN(store_some)(to, value, tile->columns);
            else *(VECTOR_U *)to = value;
        }
    }
}

#define SHAPE(rows, vectors) \
    static void FN(tile_##rows##_##vectors)(const struct fnn_tile *tile, const REAL *a, REAL *y) { FN(tile_of)(rows, vectors, tile, a, y); }
FNN_SHAPES(SHAPE)
#undef SHAPE

/* tile->rows and the number of vectors that tile->columns fill, rounded up, must be a shape of this instruction set. */
static void FN(tile)(const struct fnn_tile *tile)
{
#define SHAPE(rows, vectors) [rows][vectors] = FN(tile_##rows##_##vectors),
    typedef void tile_of_a_shape(const struct fnn_tile *, const REAL *a, REAL *y);
    static tile_of_a_shape *const shapes[FNN_MOST_ROWS + 1][FNN_MOST_VECTORS + 1] = {FNN_SHAPES(SHAPE)};
#undef SHAPE
    tile_of_a_shape *const shape = shapes[tile->rows][(tile->columns + LANES - 1) / LANES];
    const REAL *a = (const REAL *)tile->a;
    REAL *y = (REAL *)tile->y;
    for (ptrdiff_t more = tile->more; more >= 0; more--, a += tile->a_next, y += tile->y_next) shape(tile, a, y);
}

/* `sum` and, in their order, the products of depth elements of a with one vector of as many rows of b. */
static inline __attribute__((always_inline)) VECTOR FN(row_sum)(VECTOR sum, const VECTOR *a, const REAL *b, ptrdiff_t b_k, ptrdiff_t depth)
{
    FNN_UNROLL for (ptrdiff_t t = 0; t < depth; t++) sum = FNN_FMA(a[t], *(const VECTOR_U *)(b + t * b_k), sum);
    return sum;
}

/* depth rows of b from t0 on, times as many elements of a, added to y. */
static inline __attribute__((always_inline)) void FN(row_block)(const struct fnn_tile *tile, ptrdiff_t t0, const ptrdiff_t depth)
{
    const REAL *a = (const REAL *)tile->a + t0 * tile->a_k, *b = (const REAL *)tile->b + t0 * tile->b_k;
    REAL *y = (REAL *)tile->y;
    VECTOR left[ROW_DEPTH] = {(VECTOR){0}};
    FNN_UNROLL for (ptrdiff_t t = 0; t < depth; t++) left[t] = a[t * tile->a_k] - (VECTOR){0};
    const ptrdiff_t n = tile->columns, b_k = tile->b_k;
    if (n < LANES) {
        VECTOR sum = FN(load_some)(y, n);
        FNN_UNROLL for (ptrdiff_t t = 0; t < depth; t++) sum = FNN_FMA(left[t], FN(load_some)(b + t * b_k, n), sum);
        FN(store_some)(y, sum, n);
        return;
    }
    /* Vectors begin where lines of b do. Columns left over, which do not fill one, are taken with their neighbours before these change. */
    const ptrdiff_t first = (LANES - FN(past_line)(b)) % LANES, end = n - (n - first) % LANES;
    const VECTOR head = FN(row_sum)(*(const VECTOR_U *)y, left, b, b_k, depth);
    const VECTOR tail = FN(row_sum)(*(const VECTOR_U *)(y + n - LANES), left, b + n - LANES, b_k, depth);
    for (ptrdiff_t c = first; c < end; c += LANES)
        *(VECTOR_U *)(y + c) = FN(row_sum)(*(const VECTOR_U *)(y + c), left, b + c, b_k, depth);
    *(VECTOR_U *)y = head;
    *(VECTOR_U *)(y + n - LANES) = tail;
}

/* `tile` for one row of any number of columns, y and b with unit stride: b is read a few whole rows at a time, at memory's pace. */
static void FN(row)(const struct fnn_tile *tile)
{
    REAL *y = (REAL *)tile->y;
    const REAL *bias = (const REAL *)tile->bias;
    ptrdiff_t t = 0;
    if (!tile->accumulate) memset(y, 0, (size_t)tile->columns * sizeof(REAL));
    for (; t + ROW_DEPTH <= tile->k; t += ROW_DEPTH) FN(row_block)(tile, t, ROW_DEPTH);
    if (t < tile->k) FN(row_block)(tile, t, tile->k - t);
    for (ptrdiff_t c = 0; c < tile->columns && bias; c++) y[c] += bias[c];
    for (ptrdiff_t c = 0; c < tile->columns && tile->relu; c++) y[c] = y[c] <= 0 ? (REAL)0 : y[c];
}

/* Some vectors of columns of FN(gate), with their sums in registers. */
static inline __attribute__((always_inline)) void FN(gate_columns)(const struct fnn_gate *g, ptrdiff_t column, const int vectors)
{
    const REAL *dy = (const REAL *)g->dy + column, *gate = g->gate ? (const REAL *)g->gate + column : NULL;
    REAL *out = (REAL *)g->out + column, *sum = g->sum ? (REAL *)g->sum + column : NULL;
    const VECTOR scale = (REAL)g->scale - (VECTOR){0};
    VECTOR total[GATE_VECTORS];
    FNN_UNROLL for (int v = 0; v < vectors; v++) total[v] = sum ? (VECTOR)*(const VECTOR_U *)(sum + v * LANES) : (VECTOR){0};
    for (ptrdiff_t r = 0; r < g->rows; r++)
        FNN_UNROLL for (int v = 0; v < vectors; v++) {
            VECTOR dz = *(const VECTOR_U *)(dy + r * g->dy_stride + v * LANES);
            if (gate) {
                const VECTOR y = *(const VECTOR_U *)(gate + r * g->gate_stride + v * LANES), scaled = dz * scale;
                dz = (VECTOR)((__typeof__(y <= y))scaled & ~(y <= (VECTOR){0}));
                *(VECTOR_U *)(out + r * g->out_stride + v * LANES) = dz;
            }
            total[v] += dz;
        }
    if (sum) FNN_UNROLL for (int v = 0; v < vectors; v++) *(VECTOR_U *)(sum + v * LANES) = total[v];
}

/* dz = gate <= 0 ? 0 : dy * scale (dy itself without a gate), and sum += dz, row by row. */
static void FN(gate)(const struct fnn_gate *g)
{
    ptrdiff_t c = 0;
    for (; c + GATE_VECTORS * LANES <= g->columns; c += GATE_VECTORS * LANES) FN(gate_columns)(g, c, GATE_VECTORS);
    for (; c + LANES <= g->columns; c += LANES) FN(gate_columns)(g, c, 1);
    for (ptrdiff_t r = 0; r < g->rows; r++)
        for (ptrdiff_t at = c; at < g->columns; at++) {
            REAL dz = ((const REAL *)g->dy)[r * g->dy_stride + at];
            if (g->gate) {
                const REAL scaled = dz * (REAL)g->scale;
                dz = ((const REAL *)g->gate)[r * g->gate_stride + at] <= 0 ? (REAL)0 : scaled;
                ((REAL *)g->out)[r * g->out_stride + at] = dz;
            }
            if (g->sum) ((REAL *)g->sum)[at] += dz;
        }
}

#undef ROW_DEPTH
#undef GATE_VECTORS
#undef PAUSE
