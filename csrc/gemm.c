/* Matrix products of a linear layer, free of instruction sets: which operand is packed, how work is cut, what runs on which thread.
 *
 * The register tile reads a at any strides, and rows of b with unit stride. A panel of b, as wide as a tile, is packed just before the
 * tiles that use it, so it stays in the second-level cache and its rows do not fall into the same cache sets, which rows a
 * power of two apart do. With few rows of a, packing would cost more than it saves, and b is read where it is.
 *
 * Every sum runs over k in order, whatever the blocks, tiles and threads: the bits of a result depend on none of them. */
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "pool.h"

enum {
    MOST_K = 1024,           /* terms summed in registers before y is touched: a packed panel of so many rows fits any second-level cache */
    PANELS_TOGETHER = 4,     /* packed at a time, ROWS_TOGETHER rows of each in turn: a row of one panel alone is too short for memory to */
    ROWS_TOGETHER = 16,      /* deliver at its full rate */
    DIRECT_TILES = 2,        /* up to so many tiles of rows read b in place rather than packed */
    PREFETCH_ROWS = 12,      /* of b read in place: its rows may lie further apart than hardware looks ahead */
    PACK_A_COLUMNS = 256,    /* columns of y from which a copy of a in tile order is worth its making */
    FLOPS_A_THREAD = 2000000, /* less work than this is not worth a second thread */
    SMALL_WORKSPACE = 16384, /* on the stack, when it is enough */
    ALIGNMENT = 64
};

static ptrdiff_t smaller(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
static ptrdiff_t larger(ptrdiff_t a, ptrdiff_t b) { return a > b ? a : b; }
static ptrdiff_t rounded_up(ptrdiff_t n, ptrdiff_t step) { return (n + step - 1) / step * step; }

/* Start of part `index` of `parts` nearly equal parts of n. */
static ptrdiff_t part(ptrdiff_t n, ptrdiff_t index, ptrdiff_t parts) { return n / parts * index + smaller(index, n % parts); }

static char *at(const struct fnn_matrix *m, ptrdiff_t size, ptrdiff_t row, ptrdiff_t column)
{
    return (char *)m->data + (row * m->row_stride + column * m->column_stride) * size;
}

struct product { /* y = a b, then bias, ReLU and dropout */
    const struct fnn_real_kernels *kernels;
    enum fnn_dtype dtype;
    struct fnn_matrix a, b, y;
    struct fnn_vector bias;
    int relu;
    const struct fnn_dropout *dropout;

    /* The plan, made by plan_product. */
    ptrdiff_t size, lanes;               /* bytes of an element, elements of a vector */
    ptrdiff_t k_block, k_blocks;         /* terms of a block, blocks */
    ptrdiff_t row_tiles;                 /* tiles of rows */
    ptrdiff_t panel, panels_together;    /* columns of a panel; panels packed at a time */
    ptrdiff_t row_parts, column_parts;   /* tasks are row_parts x column_parts */
    ptrdiff_t panels_bytes, a_bytes, bias_bytes;
    int direct, by_rows, pack_a;         /* b is read in place; in whole rows, for one row of y; a is copied into tile order */
    char *panels, *a_packed, *bias_packed;
};

static size_t plan_product(struct product *p)
{
    const struct fnn_real_kernels *kernels = p->kernels;
    const ptrdiff_t m = p->y.rows, n = p->y.columns, k = p->a.columns, size = (ptrdiff_t)fnn_size(p->dtype);
    p->size = size;
    p->lanes = kernels->lanes;
    p->row_tiles = larger(1, (m + kernels->most_rows - 1) / kernels->most_rows);
    p->panel = kernels->vectors[smaller(larger(m, 1), kernels->most_rows)] * kernels->lanes;
    p->direct = p->b.column_stride == 1 && p->row_tiles <= DIRECT_TILES;
    p->pack_a = n >= PACK_A_COLUMNS && p->row_tiles > DIRECT_TILES && p->a.column_stride != 1;

    const double threads_wanted = 1.0 + 2.0 * (double)m * (double)n * (double)k / FLOPS_A_THREAD;
    const ptrdiff_t threads = threads_wanted < fnn_threads() ? (ptrdiff_t)threads_wanted : fnn_threads();
    p->column_parts = larger(1, smaller(threads, n / (2 * p->lanes)));
    p->row_parts = larger(1, smaller(threads / p->column_parts, p->row_tiles));

    p->by_rows = p->direct && m == 1 && p->y.column_stride == 1;
    p->k_blocks = p->direct ? 1 : larger(1, (k + MOST_K - 1) / MOST_K);
    p->k_block = larger(1, (k + p->k_blocks - 1) / p->k_blocks);
    p->panels_together = p->b.column_stride == 1 && !p->direct ? PANELS_TOGETHER : 1;
    p->panels_bytes = p->by_rows || (p->direct && n % p->lanes == 0) ? 0 : rounded_up(p->k_block * p->panel * p->panels_together * size, ALIGNMENT);
    p->a_bytes = p->pack_a ? rounded_up(m * k * size, ALIGNMENT) : 0;
    p->bias_bytes = p->bias.data && p->bias.stride != 1 ? rounded_up(n * size, ALIGNMENT) : 0;
    return (size_t)(p->row_parts * p->column_parts * p->panels_bytes + p->a_bytes + p->bias_bytes);
}

static void pack_tiles_of_a(void *context, int task)
{
    const struct product *p = context;
    const ptrdiff_t m = p->y.rows, k = p->a.columns, tasks = p->row_parts * p->column_parts;
    for (ptrdiff_t t = part(p->row_tiles, task, tasks); t < part(p->row_tiles, task + 1, tasks); t++) {
        const ptrdiff_t row = part(m, t, p->row_tiles), rows = part(m, t + 1, p->row_tiles) - row;
        p->kernels->pack(at(&p->a, p->size, row, 0), p->a.row_stride, p->a.column_stride, rows, rows, k, p->a_packed + row * k * p->size);
    }
}

/* Packs one block of k of the panels that `columns` columns from `column` on make, one after another, a few rows of all at a time. */
static void pack_panels(const struct product *p, ptrdiff_t block, ptrdiff_t column, ptrdiff_t columns, char *packed)
{
    const ptrdiff_t k0 = block * p->k_block, depth = smaller(p->k_block, p->a.columns - k0);
    const ptrdiff_t step = p->b.column_stride == 1 ? ROWS_TOGETHER : larger(1, depth);
    for (ptrdiff_t t = 0; t < depth; t += step)
        for (ptrdiff_t c = 0; c < columns; c += p->panel) {
            const ptrdiff_t lanes = smaller(p->panel, columns - c), width = rounded_up(lanes, p->lanes);
            p->kernels->pack(at(&p->b, p->size, k0 + t, column + c), p->b.column_stride, p->b.row_stride, width, lanes, smaller(step, depth - t),
                             packed + (c * p->k_block + t * width) * p->size);
        }
}

/* One panel of columns against tiles of rows, over one block of k. */
static void multiply_panel(const struct product *p, ptrdiff_t first_tile, ptrdiff_t last_tile, ptrdiff_t block, ptrdiff_t column,
                           ptrdiff_t columns, const char *packed)
{
    const ptrdiff_t m = p->y.rows, k = p->a.columns, size = p->size;
    const ptrdiff_t k0 = block * p->k_block, depth = smaller(p->k_block, k - k0), last = block == p->k_blocks - 1;
    struct fnn_tile tile = {
        .k = depth,
        .columns = columns,
        .y_row = p->y.row_stride,
        .y_column = p->y.column_stride,
        .accumulate = block > 0,
        .relu = last && p->relu,
        .bias = last && p->bias.data ? (p->bias_packed ? p->bias_packed : (char *)p->bias.data) + column * size : NULL,
        .ahead_k = p->b.row_stride,
    };
    const int in_place = p->by_rows || (p->direct && columns % p->lanes == 0);
    if (in_place) {
        tile.b = at(&p->b, size, k0, column);
        tile.b_k = p->b.row_stride;
        tile.ahead = at(&p->b, size, k0 + PREFETCH_ROWS, column);
    } else {
        tile.b = packed;
        tile.b_k = rounded_up(columns, p->lanes);
    }
    for (ptrdiff_t t = first_tile; t < last_tile; t++) {
        const ptrdiff_t row = part(m, t, p->row_tiles);
        tile.rows = part(m, t + 1, p->row_tiles) - row;
        if (p->pack_a) {
            tile.a = p->a_packed + (row * k + k0 * tile.rows) * size;
            tile.a_row = 1;
            tile.a_k = tile.rows;
        } else {
            tile.a = at(&p->a, size, row, k0);
            tile.a_row = p->a.row_stride;
            tile.a_k = p->a.column_stride;
        }
        tile.y = at(&p->y, size, row, column);
        if (tile.rows > 0) (p->by_rows ? p->kernels->row : p->kernels->tile)(&tile);
    }
    if (last && p->dropout) { /* while the panel is in cache */
        const ptrdiff_t row = part(m, first_tile, p->row_tiles);
        struct fnn_matrix region = p->y;
        region.data = at(&p->y, size, row, column);
        region.rows = part(m, last_tile, p->row_tiles) - row;
        region.columns = columns;
        fnn_dropout_part(p->kernels, p->dtype, &region, &region, p->dropout, row, column);
    }
}

static void multiply_part(void *context, int task)
{
    const struct product *p = context;
    const ptrdiff_t n = p->y.columns, units = (n + p->lanes - 1) / p->lanes;
    const ptrdiff_t row_part = task / p->column_parts, column_part = task % p->column_parts;
    const ptrdiff_t first_tile = part(p->row_tiles, row_part, p->row_parts), last_tile = part(p->row_tiles, row_part + 1, p->row_parts);
    const ptrdiff_t first = p->lanes * part(units, column_part, p->column_parts);
    const ptrdiff_t end = smaller(n, p->lanes * part(units, column_part + 1, p->column_parts)), whole = end - end % p->lanes;
    char *packed = p->panels + task * p->panels_bytes;
    for (ptrdiff_t column = first; column < end;) {
        /* Columns that do not fill a vector make a panel of their own when the rest is read in place. */
        ptrdiff_t group = smaller(p->panel * p->panels_together, end - column);
        if (p->direct && group > p->lanes && group % p->lanes) group = smaller(group, whole - column);
        if (p->by_rows) group = end - column;
        const ptrdiff_t panel = p->by_rows ? group : p->panel;
        for (ptrdiff_t block = 0; block < p->k_blocks; block++) {
            if (!p->by_rows && (!p->direct || group % p->lanes)) pack_panels(p, block, column, group, packed);
            for (ptrdiff_t c = 0; c < group; c += panel)
                multiply_panel(p, first_tile, last_tile, block, column + c, smaller(panel, group - c), packed + c * p->k_block * p->size);
        }
        column += group;
    }
}

static void multiply(struct product *p, char *workspace)
{
    if (p->y.rows == 0 || p->y.columns == 0) return;
    const int tasks = (int)(p->row_parts * p->column_parts);
    p->a_packed = workspace;
    p->bias_packed = p->bias_bytes ? workspace + p->a_bytes : NULL;
    p->panels = workspace + p->a_bytes + p->bias_bytes;
    if (p->bias_packed) fnn_copy_strided(p->y.columns, (size_t)p->size, p->bias.data, p->bias.stride, p->bias_packed, 1);
    if (p->pack_a) fnn_parallel(tasks, pack_tiles_of_a, p);
    fnn_parallel(tasks, multiply_part, p);
}

static struct fnn_matrix transposed(const struct fnn_matrix *m)
{
    return (struct fnn_matrix){m->data, m->columns, m->rows, m->column_stride, m->row_stride};
}

static const struct fnn_real_kernels *kernels_of(enum fnn_dtype dtype) { return &fnn_active()->real[dtype]; }

size_t fnn_linear_forward(enum fnn_dtype dtype, const struct fnn_matrix *x, const struct fnn_matrix *w, struct fnn_vector b, int relu,
                          const struct fnn_dropout *dropout, const struct fnn_matrix *y)
{
    struct product forward = {
        .kernels = kernels_of(dtype), .dtype = dtype, .a = *x, .b = *w, .y = *y, .bias = b, .relu = relu, .dropout = dropout};
    const size_t bytes = plan_product(&forward);
    _Alignas(ALIGNMENT) char small[SMALL_WORKSPACE];
    char *workspace = bytes <= SMALL_WORKSPACE ? small : aligned_alloc(ALIGNMENT, bytes);
    if (!workspace) return bytes;
    const uint64_t saved = fnn_flush_begin();
    multiply(&forward, workspace);
    fnn_flush_end(saved);
    if (workspace != small) free(workspace);
    return 0;
}

struct gating { /* dz and db from dy and a gate, cut by columns so that each column is summed in the order of rows */
    const struct fnn_real_kernels *kernels;
    const struct fnn_matrix *dy, *gate;
    struct fnn_matrix dz; /* data NULL: not wanted, then there is no gate */
    double scale;
    ptrdiff_t size, parts;
    char *sums, *rows; /* sums padded, one per column; two rows of scratch per part, for strided operands */
};

static void gate_part(void *context, int task)
{
    const struct gating *g = context;
    const ptrdiff_t unit = 64, units = (g->dy->columns + unit - 1) / unit;
    const ptrdiff_t first = unit * part(units, task, g->parts), end = smaller(g->dy->columns, unit * part(units, task + 1, g->parts));
    char *dy_copy = g->rows + 2 * first * g->size, *gate_copy = dy_copy + (end - first) * g->size;
    for (ptrdiff_t r = 0; r < g->dy->rows && first < end; r++) {
        const char *dy = at(g->dy, g->size, r, first), *gate = g->gate ? at(g->gate, g->size, r, first) : NULL;
        if (g->dy->column_stride != 1) {
            fnn_copy_strided(end - first, (size_t)g->size, dy, g->dy->column_stride, dy_copy, 1);
            dy = dy_copy;
        }
        if (gate && g->gate->column_stride != 1) {
            fnn_copy_strided(end - first, (size_t)g->size, gate, g->gate->column_stride, gate_copy, 1);
            gate = gate_copy;
        }
        g->kernels->gate(end - first, dy, gate, g->scale, g->dz.data ? at(&g->dz, g->size, r, first) : NULL, g->sums ? g->sums + first * g->size : NULL);
    }
}

size_t fnn_linear_backward(enum fnn_dtype dtype, const struct fnn_matrix *dy, const struct fnn_matrix *x, const struct fnn_matrix *w,
                           const struct fnn_matrix *gate, double scale, const struct fnn_matrix *dx, const struct fnn_matrix *dw,
                           struct fnn_vector db)
{
    const struct fnn_real_kernels *kernels = kernels_of(dtype);
    const ptrdiff_t size = (ptrdiff_t)fnn_size(dtype), n = dy->rows, o = dy->columns;
    struct gating gating = {.kernels = kernels, .dy = dy, .gate = gate, .scale = scale, .size = size};
    gating.parts = larger(1, smaller(n * o < 65536 ? 1 : fnn_threads(), o / 64));
    struct fnn_matrix dz = *dy;
    ptrdiff_t dz_bytes = 0;
    if (gate) { /* rows of dz an odd number of cache lines apart */
        dz.row_stride = rounded_up(o, ALIGNMENT / size) + ALIGNMENT / size;
        dz.column_stride = 1;
        dz_bytes = rounded_up(n * dz.row_stride * size, ALIGNMENT);
    }
    const ptrdiff_t line_bytes = rounded_up(o * size, ALIGNMENT);
    const ptrdiff_t fixed_bytes = dz_bytes + 3 * line_bytes;

    struct product input = {.kernels = kernels, .dtype = dtype, .a = dz, .b = transposed(w), .y = *dx};
    struct product weight = {.kernels = kernels, .dtype = dtype, .a = transposed(x), .b = dz, .y = *dw};
    const size_t input_bytes = dx->data ? plan_product(&input) : 0, weight_bytes = dw->data ? plan_product(&weight) : 0;
    const size_t bytes = (size_t)fixed_bytes + (input_bytes > weight_bytes ? input_bytes : weight_bytes);
    _Alignas(ALIGNMENT) char small[SMALL_WORKSPACE];
    char *workspace = bytes <= SMALL_WORKSPACE ? small : aligned_alloc(ALIGNMENT, bytes);
    if (!workspace) return bytes;
    const uint64_t saved = fnn_flush_begin();

    if (gate) gating.dz = input.a = weight.b = (struct fnn_matrix){workspace, n, o, dz.row_stride, 1};
    gating.sums = db.data ? workspace + dz_bytes : NULL;
    gating.rows = workspace + dz_bytes + line_bytes;
    if (db.data) memset(gating.sums, 0, (size_t)line_bytes);
    if (gate || db.data) fnn_parallel((int)gating.parts, gate_part, &gating);
    if (db.data) fnn_copy_strided(o, (size_t)size, gating.sums, 1, db.data, db.stride);
    if (dx->data) multiply(&input, workspace + fixed_bytes);
    if (dw->data) multiply(&weight, workspace + fixed_bytes);

    fnn_flush_end(saved);
    if (workspace != small) free(workspace);
    return 0;
}
