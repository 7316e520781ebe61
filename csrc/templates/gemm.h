/* Matrix product building blocks: packing a panel, and one register tile of FNN_MR rows by NR = FNN_NV * LANES columns. */

#define MR FNN_MR
#define NR (FNN_NV * LANES)

static inline REAL FN(gated)(const struct fnn_panel *p, ptrdiff_t lane, ptrdiff_t t)
{
    const REAL value = ((const REAL *)p->data)[lane * p->lane_stride + t * p->k_stride];
    if (!p->gate) return value;
    const REAL gate = ((const REAL *)p->gate)[lane * p->gate_lane_stride + t * p->gate_k_stride];
    const REAL scaled = value * (REAL)p->scale;
    return gate <= 0 ? (REAL)0 : scaled;
}

static void FN(pack)(const struct fnn_panel *p, ptrdiff_t width, ptrdiff_t lanes, ptrdiff_t k, void *packed)
{
    REAL *restrict out = (REAL *)packed;
    REAL *sum = (REAL *)p->sum;
    if (lanes < width) memset(out, 0, (size_t)(width * k) * sizeof(REAL));
    for (ptrdiff_t t = 0; t < k; t++) {
        REAL *line = out + t * width;
        if (!p->gate && p->lane_stride == 1) {
            memcpy(line, (const REAL *)p->data + t * p->k_stride, (size_t)lanes * sizeof(REAL));
        } else {
            for (ptrdiff_t lane = 0; lane < lanes; lane++) line[lane] = FN(gated)(p, lane, t);
        }
        if (sum)
            for (ptrdiff_t lane = 0; lane < lanes; lane++) sum[lane] += line[lane];
    }
}

/* Tile leaves through here when it is cut by an edge or y's columns are apart: element by element, same operations. */
static void FN(finish_slowly)(const REAL *product, const struct fnn_tile *tile)
{
    for (ptrdiff_t r = 0; r < tile->rows; r++) {
        REAL *y = (REAL *)tile->y + r * tile->row_stride;
        for (ptrdiff_t c = 0; c < tile->columns; c++) {
            REAL value = product[r * NR + c];
            if (tile->accumulate) value = y[c * tile->column_stride] + value;
            if (tile->finish) {
                if (tile->bias) value = value + ((const REAL *)tile->bias)[c];
                if (tile->relu) value = value <= 0 ? (REAL)0 : value;
            }
            y[c * tile->column_stride] = value;
        }
    }
}

static void FN(tile)(ptrdiff_t k, const void *a_panel, const void *b_panel, const struct fnn_tile *tile)
{
    const REAL *a = (const REAL *)a_panel, *b = (const REAL *)b_panel;
    VECTOR sum[MR][FNN_NV];
    for (int r = 0; r < MR; r++)
        for (int v = 0; v < FNN_NV; v++) sum[r][v] = (VECTOR){0};
    for (ptrdiff_t t = 0; t < k; t++, a += MR, b += NR) {
        VECTOR line[FNN_NV];
        for (int v = 0; v < FNN_NV; v++) line[v] = *(const VECTOR_U *)(b + v * LANES);
        for (int r = 0; r < MR; r++) {
            const VECTOR left = a[r] - (VECTOR){0};
            for (int v = 0; v < FNN_NV; v++) sum[r][v] = FNN_FMA(left, line[v], sum[r][v]);
        }
    }
    if (tile->rows < MR || tile->columns < NR || tile->column_stride != 1) {
        REAL product[MR * NR];
        for (int r = 0; r < MR; r++)
            for (int v = 0; v < FNN_NV; v++) *(VECTOR_U *)(product + r * NR + v * LANES) = sum[r][v];
        FN(finish_slowly)(product, tile);
        return;
    }
    const REAL *bias = tile->finish ? (const REAL *)tile->bias : NULL;
    for (int r = 0; r < MR; r++) {
        REAL *y = (REAL *)tile->y + r * tile->row_stride;
        for (int v = 0; v < FNN_NV; v++) {
            VECTOR value = sum[r][v];
            if (tile->accumulate) value = *(const VECTOR_U *)(y + v * LANES) + value;
            if (bias) value = value + *(const VECTOR_U *)(bias + v * LANES);
            if (tile->finish && tile->relu) value = (VECTOR)((__typeof__(value <= value))value & ~(value <= (VECTOR){0}));
            *(VECTOR_U *)(y + v * LANES) = value;
        }
    }
}

#undef MR
#undef NR
