/* Matrix products of a linear layer, free of instruction sets: blocking, packing, and what happens to each tile.
 *
 * Operands are packed into panels as wide as the register tile, so the micro-kernel reads both with unit stride and any layout
 * (C, Fortran, transposed, strided) is read in place. Each sum runs over k in order, in blocks of BLOCK_K, whatever the sizes of
 * the other blocks: the bits of a result do not depend on how the work is cut. */
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

enum {
    BLOCK_K = 512,               /* a panel of each operand stays in the first-level cache */
    BLOCK_A_BYTES = 256 * 1024,  /* packed rows stay in the second-level cache */
    BLOCK_B_BYTES = 4096 * 1024, /* packed columns stay in the third-level cache */
    ALIGNMENT = 64
};

struct operand { /* element (r, c) of a factor, as fnn_panel defines it */
    const struct fnn_matrix *data, *gate;
    double scale;
};

struct product { /* y = a b, then what fnn_tile says */
    enum fnn_dtype dtype;
    struct operand a, b;
    const struct fnn_matrix *y;
    struct fnn_vector bias;
    int relu;
    const struct fnn_dropout *dropout;
    struct fnn_vector column_sums; /* of b; or data NULL */
};

static ptrdiff_t smaller(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
static ptrdiff_t rounded_up(ptrdiff_t n, ptrdiff_t step) { return (n + step - 1) / step * step; }

static void *at(const struct fnn_matrix *m, enum fnn_dtype dtype, ptrdiff_t row, ptrdiff_t column)
{
    return (char *)m->data + (row * m->row_stride + column * m->column_stride) * (ptrdiff_t)fnn_size(dtype);
}

/* Packs lanes [first, first + count) of `operand`, k in [k0, k0 + kc), panel after panel; lanes are rows, or columns if `columns`. */
static void pack_block(const struct fnn_real_kernels *kernels, enum fnn_dtype dtype, const struct operand *operand, int columns,
                       ptrdiff_t width, ptrdiff_t first, ptrdiff_t count, ptrdiff_t k0, ptrdiff_t kc, char *packed, char *sums)
{
    const ptrdiff_t size = (ptrdiff_t)fnn_size(dtype);
    const struct fnn_matrix *data = operand->data, *gate = operand->gate;
    for (ptrdiff_t lane = 0; lane < count; lane += width, packed += width * kc * size) {
        const ptrdiff_t row = columns ? k0 : first + lane, column = columns ? first + lane : k0;
        struct fnn_panel panel = {
            .data = at(data, dtype, row, column),
            .lane_stride = columns ? data->column_stride : data->row_stride,
            .k_stride = columns ? data->row_stride : data->column_stride,
            .scale = operand->scale,
            .sum = sums ? sums + lane * size : NULL,
        };
        if (gate) {
            panel.gate = at(gate, dtype, row, column);
            panel.gate_lane_stride = columns ? gate->column_stride : gate->row_stride;
            panel.gate_k_stride = columns ? gate->row_stride : gate->column_stride;
        }
        kernels->pack(&panel, width, smaller(width, count - lane), kc, packed);
    }
}

struct plan { /* block sizes of one product, and the parts of its workspace in bytes */
    ptrdiff_t kc, mc, nc, a_bytes, b_bytes, line_bytes;
};

static struct plan plan_of(const struct product *p)
{
    const struct fnn_real_kernels *kernels = &fnn_active()->real[p->dtype];
    const ptrdiff_t size = (ptrdiff_t)fnn_size(p->dtype), mr = kernels->mr, nr = kernels->nr, k = p->a.data->columns;
    struct plan plan = {.kc = smaller(k > 0 ? k : 1, BLOCK_K)};
    plan.mc = smaller(rounded_up(p->y->rows, mr), rounded_up(BLOCK_A_BYTES / (plan.kc * size), mr));
    plan.nc = smaller(rounded_up(p->y->columns, nr), rounded_up(BLOCK_B_BYTES / (plan.kc * size), nr));
    plan.a_bytes = rounded_up(plan.mc * plan.kc * size, ALIGNMENT);
    plan.b_bytes = rounded_up(plan.nc * plan.kc * size, ALIGNMENT);
    plan.line_bytes = rounded_up(plan.nc * size, ALIGNMENT);
    return plan;
}

static size_t workspace_of(const struct product *p)
{
    const struct plan plan = plan_of(p);
    return (size_t)(plan.a_bytes + plan.b_bytes + 2 * plan.line_bytes);
}

static void multiply(const struct product *p, char *workspace)
{
    const struct fnn_real_kernels *kernels = &fnn_active()->real[p->dtype];
    const struct plan plan = plan_of(p);
    const ptrdiff_t size = (ptrdiff_t)fnn_size(p->dtype), mr = kernels->mr, nr = kernels->nr;
    const ptrdiff_t m = p->y->rows, n = p->y->columns, k = p->a.data->columns;
    char *a_packed = workspace, *b_packed = a_packed + plan.a_bytes, *bias = b_packed + plan.b_bytes, *sums = bias + plan.line_bytes;

    for (ptrdiff_t n0 = 0; n0 < n; n0 += plan.nc) {
        const ptrdiff_t columns = smaller(plan.nc, n - n0);
        if (p->bias.data) fnn_copy_strided(columns, (size_t)size, (const char *)p->bias.data + n0 * p->bias.stride * size, p->bias.stride, bias, 1);
        memset(sums, 0, (size_t)plan.line_bytes);
        for (ptrdiff_t k0 = 0; k0 == 0 || k0 < k; k0 += plan.kc) {
            const ptrdiff_t depth = smaller(plan.kc, k - k0);
            pack_block(kernels, p->dtype, &p->b, 1, nr, n0, columns, k0, depth, b_packed, p->column_sums.data ? sums : NULL);
            struct fnn_tile tile = {
                .row_stride = p->y->row_stride,
                .column_stride = p->y->column_stride,
                .accumulate = k0 > 0,
                .finish = k0 + plan.kc >= k,
                .relu = p->relu,
            };
            for (ptrdiff_t m0 = 0; m0 < m; m0 += plan.mc) {
                const ptrdiff_t rows = smaller(plan.mc, m - m0);
                pack_block(kernels, p->dtype, &p->a, 0, mr, m0, rows, k0, depth, a_packed, NULL);
                for (ptrdiff_t c = 0; c < columns; c += nr)
                    for (ptrdiff_t r = 0; r < rows; r += mr) {
                        tile.y = at(p->y, p->dtype, m0 + r, n0 + c);
                        tile.rows = smaller(mr, rows - r);
                        tile.columns = smaller(nr, columns - c);
                        tile.bias = p->bias.data ? bias + c * size : NULL;
                        kernels->tile(depth, a_packed + r * depth * size, b_packed + c * depth * size, &tile);
                    }
                if (tile.finish && p->dropout) {
                    struct fnn_matrix part = *p->y;
                    part.data = at(p->y, p->dtype, m0, n0);
                    part.rows = rows;
                    part.columns = columns;
                    fnn_dropout_part(kernels, p->dtype, &part, &part, p->dropout, m0, n0);
                }
            }
        }
        if (p->column_sums.data)
            fnn_copy_strided(columns, (size_t)size, sums, 1, (char *)p->column_sums.data + n0 * p->column_sums.stride * size, p->column_sums.stride);
    }
}

static struct fnn_matrix transposed(const struct fnn_matrix *m)
{
    return (struct fnn_matrix){m->data, m->columns, m->rows, m->column_stride, m->row_stride};
}

size_t fnn_linear_forward(enum fnn_dtype dtype, const struct fnn_matrix *x, const struct fnn_matrix *w, struct fnn_vector b, int relu,
                          const struct fnn_dropout *dropout, const struct fnn_matrix *y)
{
    const struct product forward = {.dtype = dtype, .a = {x, NULL, 1.0}, .b = {w, NULL, 1.0}, .y = y, .bias = b, .relu = relu, .dropout = dropout};
    const size_t bytes = workspace_of(&forward);
    char *workspace = aligned_alloc(ALIGNMENT, bytes);
    if (!workspace) return bytes;
    multiply(&forward, workspace);
    free(workspace);
    return 0;
}

size_t fnn_linear_backward(enum fnn_dtype dtype, const struct fnn_matrix *dy, const struct fnn_matrix *x, const struct fnn_matrix *w,
                           const struct fnn_matrix *gate, double scale, const struct fnn_matrix *dx, const struct fnn_matrix *dw,
                           struct fnn_vector db)
{
    const struct fnn_matrix w_t = transposed(w), x_t = transposed(x), no_rows = {NULL, 0, dy->columns, 0, 1};
    const struct operand dz = {dy, gate, scale};
    const struct product input = {.dtype = dtype, .a = dz, .b = {&w_t, NULL, 1.0}, .y = dx};
    const struct product weight = {.dtype = dtype, .a = {&x_t, NULL, 1.0}, .b = dz, .y = dw->data ? dw : &no_rows, .column_sums = db};
    const size_t input_bytes = dx->data ? workspace_of(&input) : 0, weight_bytes = dw->data || db.data ? workspace_of(&weight) : 0;
    const size_t bytes = input_bytes > weight_bytes ? input_bytes : weight_bytes;
    if (bytes == 0) return 0;
    char *workspace = aligned_alloc(ALIGNMENT, bytes);
    if (!workspace) return bytes;
    if (input_bytes) multiply(&input, workspace);
    if (weight_bytes) multiply(&weight, workspace);
    free(workspace);
    return 0;
}
