/* Matrix products, free of instruction sets: which operand is packed, how work is cut, what runs on which thread.
 *
 * The register tile reads a at any strides, and rows of b with unit stride. Panels of b, each as wide as a tile, are packed just before the
 * tiles that use them, so they stay in the second-level cache and their rows do not fall into the same cache sets, which rows a
 * power of two apart do. With few rows of a, packing would cost more than it saves, and b is read where it is.
 *
 * Every sum runs over k in order, whatever the blocks, tiles and threads: the bits of a result depend on none of them. */
#include "gemm.h"

#include <string.h>

#include "pool.h"

enum {
    MOST_K = 512,             /* terms summed in registers before y is touched: a packed panel of so many rows fits any second-level cache */
    LEAST_GROUP = 4,          /* panels packed together, ROWS_TOGETHER rows of each in turn: a row of one panel alone is too short for memory */
    ROWS_TOGETHER = 16,       /* to deliver at its full rate */
    GROUP_BYTES = 5 << 16,    /* of packed panels, where few terms make room for more of them */
    PART_BYTES = 1 << 16,     /* of y that is written, or taken by `finish`, in one go: rows of memory are written along, not across */
    DIRECT_TILES = 2,         /* up to so many tiles of rows read b in place rather than packed */
    FAR_TILES = 4,            /* and so many, when b comes from memory */
    FAR_BYTES = 1 << 23,      /* of b from which on it is taken to come from memory: then rows of it are read along, FAR_K at a time */
    FAR_K = 128,
    FAR_PANELS = 2,           /* and fetched so many panels ahead */
    PACK_A_COLUMNS = 256,     /* columns of y from which a copy of a in tile order is worth its making */
    FLOPS_A_THREAD = 2000000, /* less work than this is not worth a second thread */
    ALIGNMENT = 64
};

static ptrdiff_t smaller(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
static ptrdiff_t larger(ptrdiff_t a, ptrdiff_t b) { return a > b ? a : b; }
static ptrdiff_t parts_of(ptrdiff_t n, ptrdiff_t step) { return (n + step - 1) / step; }
static ptrdiff_t rounded_up(ptrdiff_t n, ptrdiff_t step) { return parts_of(n, step) * step; }

/* Start of part `index` of `parts` nearly equal parts of n. */
static ptrdiff_t part(ptrdiff_t n, ptrdiff_t index, ptrdiff_t parts) { return n / parts * index + smaller(index, n % parts); }

static char *at(const struct fnn_matrix *m, ptrdiff_t size, ptrdiff_t row, ptrdiff_t column)
{
    return (char *)m->data + (row * m->row_stride + column * m->column_stride) * size;
}

size_t fnn_product_plan(struct fnn_product *p)
{
    const struct fnn_real_kernels *kernels = p->kernels;
    const ptrdiff_t m = p->y.rows, n = p->y.columns, k = p->a.columns, size = (ptrdiff_t)fnn_size(p->dtype);
    p->size = size;
    p->lanes = kernels->lanes;
    p->row_tiles = larger(1, parts_of(m, kernels->most_rows));
    p->panel = kernels->vectors[smaller(larger(m, 1), kernels->most_rows)];
    p->far = k * n * size >= FAR_BYTES;
    p->direct = p->b.column_stride == 1 && n >= p->lanes && p->row_tiles <= (p->far ? FAR_TILES : DIRECT_TILES);
    p->by_rows = p->direct && m == 1 && p->y.column_stride == 1 && p->y.data;
    p->pack_a = n >= PACK_A_COLUMNS && !p->direct && p->a.column_stride != 1;

    const double threads_wanted = 1.0 + 2.0 * (double)m * (double)n * (double)k / FLOPS_A_THREAD;
    const int available = p->threads ? p->threads : fnn_threads();
    const ptrdiff_t threads = threads_wanted < available ? (ptrdiff_t)threads_wanted : available;
    const ptrdiff_t most_columns = larger(1, n / (2 * p->lanes)), most_rows = p->split == FNN_WHOLE_COLUMNS ? 1 : p->row_tiles;
    p->row_parts = p->split == FNN_ROWS_FIRST ? larger(1, smaller(threads, most_rows)) : 1;
    p->column_parts = larger(1, smaller(threads / p->row_parts, most_columns));
    p->row_parts = larger(p->row_parts, smaller(threads / p->column_parts, most_rows));
    const ptrdiff_t panels = parts_of(parts_of(parts_of(n, p->lanes), p->column_parts), p->panel), panel_row = p->panel * p->lanes * size;

    const ptrdiff_t most_k = p->by_rows || (p->direct && !p->far) ? larger(k, 1) : p->direct ? FAR_K : MOST_K;
    p->k_blocks = larger(1, parts_of(k, most_k));
    p->k_block = larger(1, parts_of(k, p->k_blocks));
    p->group = p->direct ? panels : p->b.column_stride == 1 ? LEAST_GROUP : 1;
    if (p->k_blocks == 1) p->group = larger(p->group, GROUP_BYTES / (p->k_block * panel_row));
    p->group = larger(1, smaller(p->group, panels));
    p->group = larger(1, parts_of(panels, larger(1, parts_of(panels, p->group)))); /* groups of nearly equal size */
    p->chunk_tiles = p->row_tiles;
    if (p->k_blocks == 1 && !p->direct) p->chunk_tiles = larger(1, PART_BYTES / (p->group * panel_row * kernels->most_rows));

    p->panels_bytes = p->direct ? 0 : rounded_up(p->k_block * p->group * panel_row, ALIGNMENT);
    p->part_bytes = p->y.data ? 0 : rounded_up(smaller(p->chunk_tiles, p->row_tiles) * kernels->most_rows * p->group * panel_row, ALIGNMENT);
    p->a_bytes = p->pack_a ? rounded_up(m * k * size, ALIGNMENT) : 0;
    p->bias_bytes = p->bias.data && p->bias.stride != 1 ? rounded_up(n * size, ALIGNMENT) : 0;
    return (size_t)(p->row_parts * p->column_parts * (p->panels_bytes + p->part_bytes) + p->a_bytes + p->bias_bytes);
}

static void pack_tiles_of_a(void *context, int task)
{
    const struct fnn_product *p = context;
    const ptrdiff_t m = p->y.rows, k = p->a.columns, tasks = p->row_parts * p->column_parts;
    for (ptrdiff_t t = part(p->row_tiles, task, tasks); t < part(p->row_tiles, task + 1, tasks); t++) {
        const ptrdiff_t row = part(m, t, p->row_tiles), rows = part(m, t + 1, p->row_tiles) - row;
        p->kernels->pack(at(&p->a, p->size, row, 0), p->a.row_stride, p->a.column_stride, rows, rows, k, p->a_packed + row * k * p->size);
    }
}

/* Columns of one task, cut into panels of nearly equal numbers of vectors. */
struct columns {
    ptrdiff_t first, units, end, panels, lanes; /* first column, vectors, end of columns */
};

static ptrdiff_t panel_start(const struct columns *c, ptrdiff_t panel)
{
    return smaller(c->end, c->first + c->lanes * part(c->units, panel, c->panels));
}

/* Packs one block of k of some panels, one after another, a few rows of all at a time. */
static void pack_panels(const struct fnn_product *p, const struct columns *c, ptrdiff_t first, ptrdiff_t last, ptrdiff_t block, char *packed)
{
    const ptrdiff_t k0 = block * p->k_block, depth = smaller(p->k_block, p->a.columns - k0), corner = panel_start(c, first);
    const ptrdiff_t step = p->b.column_stride == 1 ? ROWS_TOGETHER : larger(1, depth);
    for (ptrdiff_t t = 0; t < depth; t += step)
        for (ptrdiff_t i = first; i < last; i++) {
            const ptrdiff_t column = panel_start(c, i), lanes = panel_start(c, i + 1) - column, width = rounded_up(lanes, p->lanes);
            p->kernels->pack(at(&p->b, p->size, k0 + t, column), p->b.column_stride, p->b.row_stride, width, lanes, smaller(step, depth - t),
                             packed + ((column - corner) * p->k_block + t * width) * p->size);
        }
}

/* Columns of one panel, or of all for a single row, against tiles of rows, over one block of k. `y` is the element (row0, column0). */
static void multiply_panel(const struct fnn_product *p, ptrdiff_t first_tile, ptrdiff_t last_tile, ptrdiff_t block, ptrdiff_t column,
                           ptrdiff_t columns, const char *packed, const struct fnn_matrix *y, ptrdiff_t row0, ptrdiff_t column0)
{
    const ptrdiff_t m = p->y.rows, k = p->a.columns, size = p->size;
    const ptrdiff_t k0 = block * p->k_block, depth = smaller(p->k_block, k - k0), last = block == p->k_blocks - 1;
    const ptrdiff_t width = rounded_up(columns, p->lanes), ahead = FAR_PANELS * p->panel * p->lanes;
    struct fnn_tile tile = {
        .k = depth,
        .columns = columns,
        .b = p->direct ? at(&p->b, size, k0, column) : packed,
        .b_k = p->direct ? p->b.row_stride : width,
        .b_last = p->direct ? columns - p->lanes : width - p->lanes,
        .ahead = p->direct && p->far && column + ahead + width <= p->y.columns ? at(&p->b, size, k0, column + ahead) : NULL,
        .ahead_k = p->b.row_stride,
        .y_row = y->row_stride,
        .y_column = y->column_stride,
        .accumulate = p->accumulate || block > 0,
        .relu = last && p->relu,
        .bias = last && p->bias.data ? (p->bias_packed ? p->bias_packed : (char *)p->bias.data) + column * size : NULL,
    };
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
        tile.y = at(y, size, row - row0, column - column0);
        if (tile.rows > 0) (p->by_rows ? p->kernels->row : p->kernels->tile)(&tile);
    }
}

/* What follows the sums of a part of y, while it is in cache. */
static void complete(const struct fnn_product *p, const struct fnn_matrix *y, ptrdiff_t row, ptrdiff_t column)
{
    if (p->dropout) fnn_dropout_part(p->kernels, p->dtype, y, y, p->dropout, p->dropout_row + row, column);
    if (p->finish.take) p->finish.take(p->finish.context, y, row, column);
}

static void multiply_part(void *context, int task)
{
    const struct fnn_product *p = context;
    const ptrdiff_t m = p->y.rows, n = p->y.columns, units = parts_of(n, p->lanes);
    const ptrdiff_t row_part = task / p->column_parts, column_part = task % p->column_parts;
    const ptrdiff_t first_tile = part(p->row_tiles, row_part, p->row_parts), last_tile = part(p->row_tiles, row_part + 1, p->row_parts);
    const ptrdiff_t first_unit = part(units, column_part, p->column_parts), last_unit = part(units, column_part + 1, p->column_parts);
    struct columns c = {first_unit * p->lanes, last_unit - first_unit, smaller(n, last_unit * p->lanes), 0, p->lanes};
    c.panels = p->by_rows ? 1 : parts_of(c.units, p->panel);
    char *packed = p->panels + task * p->panels_bytes;
    for (ptrdiff_t first = 0; first < c.panels; first += p->group) {
        const ptrdiff_t last = smaller(c.panels, first + p->group), column = panel_start(&c, first);
        for (ptrdiff_t block = 0; block < p->k_blocks; block++) {
            if (!p->direct) pack_panels(p, &c, first, last, block, packed);
            for (ptrdiff_t tile = first_tile, next; tile < last_tile; tile = next) {
                next = smaller(last_tile, tile + p->chunk_tiles);
                const ptrdiff_t row = part(m, tile, p->row_tiles);
                struct fnn_matrix y = {at(&p->y, p->size, row, column), part(m, next, p->row_tiles) - row, panel_start(&c, last) - column,
                                       p->y.row_stride, p->y.column_stride};
                if (!p->y.data) {
                    y.data = p->parts + task * p->part_bytes;
                    y.row_stride = y.columns == n ? n : rounded_up(y.columns, p->lanes);
                    y.column_stride = 1;
                }
                for (ptrdiff_t i = first; i < last; i++) {
                    const ptrdiff_t start = panel_start(&c, i);
                    multiply_panel(p, tile, next, block, start, panel_start(&c, i + 1) - start,
                                   packed + (start - column) * p->k_block * p->size, &y, row, column);
                }
                if (block == p->k_blocks - 1) complete(p, &y, row, column);
            }
        }
    }
}

void fnn_product_run(struct fnn_product *p, void *workspace)
{
    if (p->y.rows == 0 || p->y.columns == 0) return;
    const int tasks = (int)(p->row_parts * p->column_parts);
    p->a_packed = workspace;
    p->bias_packed = p->bias_bytes ? p->a_packed + p->a_bytes : NULL;
    p->panels = p->a_packed + p->a_bytes + p->bias_bytes;
    p->parts = p->panels + tasks * p->panels_bytes;
    if (p->bias_packed) fnn_copy_strided(p->y.columns, (size_t)p->size, p->bias.data, p->bias.stride, p->bias_packed, 1);
    if (p->pack_a) fnn_parallel(tasks, pack_tiles_of_a, p);
    fnn_parallel(tasks, multiply_part, p);
}
