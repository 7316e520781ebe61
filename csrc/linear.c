/* The linear layer: forward as one product, backward as the gradient's gate and two. */
#include <stdlib.h>
#include <string.h>

#include "gemm.h"
#include "pool.h"
#include "sizes.h"

enum {
    SMALL_WORKSPACE = 16384,  /* on the stack, when it is enough */
    BACKWARD_FLOPS = 6000000, /* of both products; less is done by one thread: another would first fetch what this one has just written */
    GATE_UNIT = 64,           /* columns that stay together */
    GATE_ELEMENTS = 4096,     /* fewer are not worth a second thread; more are, since what another core has read is slow to write */
    ALIGNMENT = 64
};

static const struct fnn_real_kernels *kernels_of(enum fnn_dtype dtype) { return &fnn_active()->real[dtype]; }

size_t fnn_linear_forward(enum fnn_dtype dtype, const struct fnn_matrix *x, const struct fnn_matrix *w, struct fnn_vector b, int relu,
                          const struct fnn_dropout *dropout, const struct fnn_matrix *y)
{
    struct fnn_product forward = {
        .kernels = kernels_of(dtype), .dtype = dtype, .a = *x, .b = *w, .y = *y, .bias = b, .relu = relu, .dropout = dropout};
    const size_t bytes = fnn_product_plan(&forward);
    _Alignas(ALIGNMENT) char small[SMALL_WORKSPACE];
    char *workspace = bytes <= SMALL_WORKSPACE ? small : aligned_alloc(ALIGNMENT, bytes);
    if (!workspace) return bytes;
    const uint64_t saved = fnn_flush_begin();
    fnn_product_run(&forward, workspace);
    fnn_flush_end(saved);
    if (workspace != small) free(workspace);
    return 0;
}

static int strided(const struct fnn_gating *g) { return g->dy.column_stride != 1 || (g->gate.data && g->gate.column_stride != 1); }

size_t fnn_gating_plan(struct fnn_gating *g)
{
    const ptrdiff_t elements = g->dy.rows * g->dy.columns, units = (g->dy.columns + GATE_UNIT - 1) / GATE_UNIT;
    g->parts = elements < GATE_ELEMENTS ? 1 : smaller(fnn_threads(), units);
    return strided(g) ? (size_t)(2 * rounded_up(g->dy.columns * (ptrdiff_t)fnn_size(g->dtype), ALIGNMENT)) : 0;
}

static void *row_of(const struct fnn_matrix *m, ptrdiff_t size, ptrdiff_t row, ptrdiff_t column, ptrdiff_t columns, char *copy)
{
    char *from = (char *)m->data + (row * m->row_stride + column * m->column_stride) * size;
    if (m->column_stride == 1) return from;
    fnn_copy_strided(columns, (size_t)size, from, m->column_stride, copy, 1);
    return copy;
}

/* Cut by columns, so that each column is summed in the order of rows: sums of a few columns stay in registers for all rows, others are
 * added to row by row, along memory. */
static void gate_part(void *context, int task)
{
    const struct fnn_gating *g = context;
    const ptrdiff_t size = (ptrdiff_t)fnn_size(g->dtype), units = (g->dy.columns + GATE_UNIT - 1) / GATE_UNIT;
    const ptrdiff_t first = GATE_UNIT * (units * task / g->parts);
    const ptrdiff_t end = smaller(g->dy.columns, GATE_UNIT * (units * (task + 1) / g->parts));
    const ptrdiff_t rows = !strided(g) && end - first <= GATE_UNIT ? g->dy.rows : 1, lanes = g->kernels->lanes;
    char *copies = g->rows + 2 * first * size;
    struct fnn_gate part = {
        .rows = rows, .columns = g->room && g->dy.columns < lanes ? lanes : end - first, .scale = g->scale,
        .sum = g->sums ? (char *)g->sums + first * size : NULL,
        .dy_stride = g->dy.row_stride, .gate_stride = g->gate.row_stride, .out_stride = g->dz.row_stride,
    };
    for (ptrdiff_t r = 0; r < g->dy.rows && first < end; r += rows) {
        part.dy = row_of(&g->dy, size, r, first, end - first, copies);
        if (g->gate.data) {
            part.gate = row_of(&g->gate, size, r, first, end - first, copies + (end - first) * size);
            part.out = (char *)g->dz.data + (r * g->dz.row_stride + first) * size;
        }
        g->kernels->gate(&part);
    }
}

void fnn_gating_run(struct fnn_gating *g, void *workspace)
{
    g->rows = workspace;
    if (g->gate.data || g->sums) fnn_parallel((int)g->parts, gate_part, g);
}

size_t fnn_linear_backward(enum fnn_dtype dtype, const struct fnn_matrix *dy, const struct fnn_matrix *x, const struct fnn_matrix *w,
                           const struct fnn_matrix *gate, double scale, const struct fnn_matrix *dx, const struct fnn_matrix *dw,
                           struct fnn_vector db)
{
    const struct fnn_real_kernels *kernels = kernels_of(dtype);
    const ptrdiff_t size = (ptrdiff_t)fnn_size(dtype), n = dy->rows, o = dy->columns;
    struct fnn_matrix dz = *dy;
    size_t dz_bytes = 0;
    if (gate) { /* rows of dz an odd number of cache lines apart, so that they do not share cache sets */
        const ptrdiff_t line = FNN_LINE / size;
        dz.row_stride = ((o + line - 1) / line | 1) * line;
        dz.column_stride = 1;
        dz_bytes = (size_t)rounded_up(n * dz.row_stride * size, ALIGNMENT);
    }
    const size_t sums_bytes = db.data ? (size_t)rounded_up(o * size, ALIGNMENT) : 0;
    struct fnn_gating gating = {.kernels = kernels, .dtype = dtype, .dy = *dy, .scale = scale};
    if (gate) gating.gate = *gate;
    const int threads = 4.0 * (double)n * (double)o * (double)x->columns < BACKWARD_FLOPS ? 1 : 0;
    struct fnn_product input = {.kernels = kernels, .dtype = dtype, .a = dz, .b = fnn_transposed(*w), .y = *dx, .threads = threads};
    /* Cut by rows: two threads that write halves of the same rows took up to twice as long, for processors fetch ahead along them. */
    struct fnn_product weight = {
        .kernels = kernels, .dtype = dtype, .a = fnn_transposed(*x), .b = dz, .y = *dw, .split = FNN_ROWS_FIRST, .threads = threads};
    const size_t gating_bytes = fnn_gating_plan(&gating);
    const size_t input_bytes = dx->data ? fnn_product_plan(&input) : 0, weight_bytes = dw->data ? fnn_product_plan(&weight) : 0;
    size_t shared = gating_bytes > input_bytes ? gating_bytes : input_bytes;
    if (weight_bytes > shared) shared = weight_bytes;
    const size_t bytes = dz_bytes + sums_bytes + shared;
    _Alignas(ALIGNMENT) char small[SMALL_WORKSPACE];
    char *workspace = bytes <= SMALL_WORKSPACE ? small : aligned_alloc(ALIGNMENT, bytes);
    if (!workspace) return bytes;
    const uint64_t saved = fnn_flush_begin();

    char *rest = workspace + dz_bytes + sums_bytes;
    if (gate) gating.dz = input.a = weight.b = (struct fnn_matrix){workspace, n, o, dz.row_stride, 1};
    if (db.data) gating.sums = memset(workspace + dz_bytes, 0, sums_bytes);
    fnn_gating_run(&gating, rest);
    if (db.data) fnn_copy_strided(o, (size_t)size, gating.sums, 1, db.data, db.stride);
    if (dx->data) fnn_product_run(&input, rest);
    if (dw->data) fnn_product_run(&weight, rest);

    fnn_flush_end(saved);
    if (workspace != small) free(workspace);
    return 0;
}
