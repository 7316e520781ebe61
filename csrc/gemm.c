/* Matrix products, free of instruction sets: which operand is packed, how work is cut, what runs on which thread.
 *
 * The register tile reads a at any strides, and rows of b with unit stride. b is gone through in stages: a block of k of a group of panels,
 * each panel as wide as a tile, or nearly. Panels are packed, so that their rows do not fall into the same cache sets, as rows a power of
 * two apart do. The tiles of one stage pack the panels of the next a few rows at a time, and fetch those rows before, so that no tile
 * waits for memory. With few rows of a, packing would cost more than it saves: then b is read where it is, a short block of k at a time,
 * and every panel is fetched while the one before is multiplied. So it is where all of b stays in a cache, and lies well.
 *
 * Every sum runs over k in order, whatever the blocks, tiles and threads: the bits of a result depend on none of them. */
#include "gemm.h"

#include <string.h>

#include "pool.h"
#include "sizes.h"

enum {
    MOST_K = 512,             /* terms summed in registers before y is touched: a packed panel of so many, three vectors wide, fits any
                                 second-level cache; */
    FRUGAL_K = 256,           /* fewer where packing turns columns into rows and memory counts */
    LEAST_GROUP = 2,          /* panels of a stage, one where memory counts; */
    FAR_GROUP = 4,            /* more where b comes from memory, which is slow to deliver rows as short as one panel's: */
    FAR_BYTES = 1 << 23,      /* from this size on */
    GROUP_BYTES = 5 << 16,    /* of packed panels, where few terms make room for more of them; */
    WIDE_GROUP_BYTES = 5 << 17, /* twice as many with vectors of 64 bytes, which come with second-level caches of a megabyte or more */
    PART_BYTES = 1 << 16,     /* of y that is written, or taken by `finish`, in one go: rows of memory are written along, not across */
    DIRECT_TILES = 7,         /* up to so many tiles of rows read b in place rather than packed, */
    CLOSE_BYTES = 1 << 14,    /* and any number where b lies on whole lines and is as small: it stays in the first-level cache, or, */
    WIDE_CLOSE_BYTES = 5 << 17, /* with vectors as long as a line, in the second-level one, which takes no longer than packing does */
    DIRECT_K = 32,            /* terms that one tile of rows reads in place before it moves on to the next panel; more tiles, more terms, */
    MOST_DIRECT_K = 128,      /* up to this */
    PACK_A_COLUMNS = 256,     /* columns of y from which a copy of a in tile order is worth its making */
    FLOPS_A_THREAD = 2000000, /* less work than this is not worth a second thread */
    FINISH_FLOPS = 64,        /* what could be done while an element of y is taken: an optimizer's step waits for memory, or divides */
    SHORT_ROW = 512,          /* bytes of a row of y, see splits_rows */
    LEAST_TERMS = 64,         /* of every sum that are worth a task of their own, */
    NEAR_BYTES = 1 << 19,     /* where the rows of b that they take stay in the core's own cache: so much does, besides other things */
    ALIGNMENT = 64
};

/* Most products are in one part, and a division takes as long as a dozen additions. */
static struct fnn_cut cut(ptrdiff_t n, ptrdiff_t parts)
{
    return parts == 1 ? (struct fnn_cut){n, 0} : (struct fnn_cut){n / parts, n % parts};
}


static ptrdiff_t start(struct fnn_cut c, ptrdiff_t part) { return part * c.least + smaller(part, c.more); }

static char *at(const struct fnn_matrix *m, ptrdiff_t size, ptrdiff_t row, ptrdiff_t column)
{
    return (char *)m->data + (row * m->row_stride + column * m->column_stride) * size;
}

/* Columns rounded up to vectors, whose elements are a power of two: a division would take longer than a small tile's sums. */
static ptrdiff_t whole_vectors(const struct fnn_product *p, ptrdiff_t columns) { return (columns + p->lanes - 1) & -p->lanes; }

static ptrdiff_t tasks_of(const struct fnn_product *p) { return p->row_parts * p->column_parts * p->term_parts; }

/* As many as the work is worth; those that share terms are as many as will take the gradient of b, which is as much work or more. */
static ptrdiff_t threads_for(const struct fnn_product *p)
{
    const double m = (double)p->y.rows, n = (double)p->y.columns, k = (double)p->a.columns;
    const double finish = p->split == FNN_TERMS ? k * n : p->finish.take ? m * n : 0.0;
    const double wanted = 1.0 + (2.0 * m * n * k + FINISH_FLOPS * finish) / FLOPS_A_THREAD;
    const int available = p->threads ? p->threads : fnn_threads();
    return wanted < available ? (ptrdiff_t)wanted : available;
}

/* Where a task's part of a row of y would be short, threads disturb each other: processors fetch ahead along rows, and so from each other
 * what is being written. */
static int splits_rows(const struct fnn_product *p, ptrdiff_t threads)
{
    const ptrdiff_t n = p->y.columns;
    return p->row_tiles % threads == 0 && n * p->size / threads < SHORT_ROW && p->a.columns * n * p->size < NEAR_BYTES;
}

static int shares_terms(const struct fnn_product *p, ptrdiff_t threads)
{
    const ptrdiff_t k = p->a.columns;
    return p->split == FNN_TERMS && !p->finish.take && k / threads >= LEAST_TERMS && k * p->y.columns * p->size / threads < NEAR_BYTES;
}

size_t fnn_product_plan(struct fnn_product *p)
{
    const struct fnn_real_kernels *kernels = p->kernels;
    const ptrdiff_t m = p->y.rows, n = p->y.columns, k = p->a.columns, size = (ptrdiff_t)fnn_size(p->dtype);
    p->size = size;
    p->lanes = kernels->lanes;
    p->row_tiles = larger(1, parts_of(m, kernels->most_rows));
    p->tiles = cut(m, p->row_tiles);
    p->panel = kernels->vectors[smaller(larger(m, 1), kernels->most_rows)];
    p->moved = p->b.column_stride == 1 && n >= p->lanes;
    p->direct = p->b.column_stride == 1 && (n >= p->lanes || p->room_in_b) && p->row_tiles <= DIRECT_TILES;
    const int wide = p->lanes * size >= FNN_LINE;
    const ptrdiff_t b_row = p->b.row_stride * size;
    p->in_place = p->direct || (p->room_in_b && b_row % FNN_LINE == 0 && k * b_row <= (wide ? WIDE_CLOSE_BYTES : CLOSE_BYTES));
    p->by_rows = p->direct && m == 1 && p->y.column_stride == 1 && p->y.data;
    p->pack_a = n >= PACK_A_COLUMNS && !p->direct && p->a.column_stride != 1;

    const ptrdiff_t threads = threads_for(p);
    p->term_parts = shares_terms(p, threads) ? threads : 1;
    p->terms = cut(parts_of(k, kernels->most_rows), p->term_parts);
    const ptrdiff_t part_k = smaller(k, (p->terms.least + (p->terms.more > 0)) * kernels->most_rows);
    const ptrdiff_t most_columns = larger(1, n / (2 * p->lanes)), most_rows = p->split == FNN_WHOLE_COLUMNS ? 1 : p->row_tiles;
    const int rows_first = p->split == FNN_ROWS_FIRST || (p->split == FNN_COLUMNS_FIRST && splits_rows(p, threads));
    p->row_parts = rows_first ? larger(1, smaller(threads, most_rows)) : 1;
    p->column_parts = larger(1, smaller(threads / p->row_parts, most_columns));
    p->row_parts = larger(p->row_parts, smaller(threads / p->column_parts, most_rows));
    if (p->term_parts > 1) p->row_parts = p->column_parts = 1;
    const ptrdiff_t panel_row = p->panel * p->lanes * size, panels = parts_of(parts_of(parts_of(n, p->lanes), p->column_parts), p->panel);

    const ptrdiff_t direct_k = smaller(DIRECT_K * p->row_tiles, MOST_DIRECT_K), whole = p->by_rows || (p->direct && p->term_parts > 1);
    const ptrdiff_t packed_k = (p->frugal && p->b.column_stride != 1 ? FRUGAL_K : MOST_K) * 3 / larger(3, p->panel);
    const ptrdiff_t most_k = whole ? larger(k, 1) : p->direct ? direct_k : packed_k;
    p->k_blocks = larger(1, parts_of(part_k, most_k));
    p->k_block = larger(1, parts_of(part_k, p->k_blocks));
    const ptrdiff_t least = p->frugal ? 1 : LEAST_GROUP;
    p->group = p->direct ? panels : p->b.column_stride != 1 ? 1 : k * n * size < FAR_BYTES ? least : FAR_GROUP;
    if (p->k_blocks == 1) p->group = larger(p->group, (wide ? WIDE_GROUP_BYTES : GROUP_BYTES) / (p->k_block * panel_row));
    p->group = larger(1, smaller(p->group, panels));
    p->group = larger(1, parts_of(panels, larger(1, parts_of(panels, p->group)))); /* groups of nearly equal size */
    p->chunk_tiles = p->row_tiles;
    if (p->k_blocks == 1 && !p->direct) p->chunk_tiles = larger(1, PART_BYTES / (p->group * panel_row * kernels->most_rows));

    const int stages = p->k_blocks > 1 || p->group < panels ? 2 : 1; /* whose panels are kept: this one's and the next one's */
    p->stage_bytes = p->in_place ? 0 : rounded_up(p->k_block * p->group * panel_row, ALIGNMENT);
    p->panels_bytes = stages * p->stage_bytes;
    const ptrdiff_t part_rows = smaller(p->chunk_tiles, p->row_tiles) * kernels->most_rows;
    p->part_bytes = p->y.data ? 0 : rounded_up(part_rows * p->group * panel_row, ALIGNMENT);
    p->a_bytes = p->pack_a ? rounded_up(smaller(m, kernels->most_rows) * p->k_block * size, ALIGNMENT) : 0;
    p->bias_bytes = p->bias.data && p->bias.stride != 1 ? rounded_up(n * size, ALIGNMENT) : 0;
    p->progress_bytes = p->term_parts > 1 ? p->term_parts * (ptrdiff_t)sizeof *p->progress : 0;
    return (size_t)(tasks_of(p) * (p->panels_bytes + p->part_bytes + p->a_bytes) + p->bias_bytes + p->progress_bytes);
}

/* The first term of a part, or behind the last part's, the number of terms. */
static ptrdiff_t first_term(const struct fnn_product *p, ptrdiff_t part)
{
    return smaller(p->a.columns, p->kernels->most_rows * start(p->terms, part));
}

/* ------------------------------------------------------------------------------------------------------------------ stages */

/* What one task works on: terms, tiles of rows, and columns, cut into panels of nearly equal numbers of vectors. */
struct share {
    const struct fnn_product *p;
    ptrdiff_t first_term, end_term;
    struct fnn_progress *before, *own; /* of the tasks with the terms before and with these, in tiles; NULL where there are none */
    ptrdiff_t first_tile, end_tile;
    ptrdiff_t first_column, panels;
    struct fnn_cut vectors; /* of the panels */
    char *a_packed;         /* a tile of a, where it is packed */
};

static ptrdiff_t panel_start(const struct share *s, ptrdiff_t panel)
{
    return smaller(s->p->y.columns, s->first_column + s->p->lanes * start(s->vectors, panel));
}

/* A block of k of a group of panels; none where `panels` is 0. */
struct stage {
    ptrdiff_t first, panels, column, columns;
    ptrdiff_t block, k0, depth;
    struct fnn_cut rows; /* of b, one part for each tile of rows */
    char *packed;
};

/* Written where it stays: a copy would read in vectors what has just been written in words, and wait for that to leave the core. */
static void set_stage(struct stage *g, const struct share *s, ptrdiff_t first, ptrdiff_t block, char *packed)
{
    const struct fnn_product *p = s->p;
    g->first = first;
    g->panels = first < s->panels ? smaller(p->group, s->panels - first) : 0;
    g->block = g->panels > 0 ? block : 0;
    if (g->panels == 0) return;
    g->packed = packed;
    g->column = panel_start(s, first);
    g->columns = panel_start(s, first + g->panels) - g->column;
    g->k0 = s->first_term + block * p->k_block;
    g->depth = smaller(p->k_block, s->end_term - g->k0);
    g->rows = cut(g->depth, larger(1, s->end_tile - s->first_tile));
}

static void set_stage_after(struct stage *after, const struct share *s, const struct stage *g, char *packed)
{
    const int more = g->block + 1 < s->p->k_blocks;
    set_stage(after, s, more ? g->first : g->first + g->panels, more ? g->block + 1 : 0, packed);
}

/* Where a panel of a stage is packed. */
static char *packed_panel(const struct share *s, const struct stage *g, ptrdiff_t column)
{
    return g->packed + (column - g->column) * s->p->k_block * s->p->size;
}

/* Packs rows first .. end of a panel of a stage. */
static void pack_panel(const struct share *s, const struct stage *g, ptrdiff_t panel, ptrdiff_t first, ptrdiff_t end)
{
    const struct fnn_product *p = s->p;
    const ptrdiff_t column = panel_start(s, g->first + panel), lanes = panel_start(s, g->first + panel + 1) - column;
    const ptrdiff_t width = whole_vectors(p, lanes);
    p->kernels->pack(at(&p->b, p->size, g->k0 + first, column), p->b.column_stride, p->b.row_stride, width, lanes, end - first,
                     packed_panel(s, g, column) + first * width * p->size);
}

static void pack_rows(const struct share *s, const struct stage *g, ptrdiff_t first, ptrdiff_t end)
{
    for (ptrdiff_t i = 0; i < g->panels; i++) pack_panel(s, g, i, first, end);
}

/* The lines of a part of a matrix, whichever way they run; none where neither stride is one. */
static struct fnn_ahead lines_of(const struct fnn_matrix *m, ptrdiff_t size, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t column,
                                 ptrdiff_t columns)
{
    const int along = m->column_stride == 1;
    const ptrdiff_t length = along ? columns : rows;
    struct fnn_ahead lines = {at(m, size, row, column), 0, along ? rows : columns, (along ? m->row_stride : m->column_stride) * size};
    if (length == 0 || (!along && m->row_stride != 1)) return lines;
    const int aligned = ((uintptr_t)lines.at | (uintptr_t)lines.stride) % FNN_LINE == 0;
    lines.lines = parts_of(length * size, FNN_LINE) + !aligned;
    return lines;
}

/* ------------------------------------------------------------------------------------------------------------------ tiles */

/* A stage under way, and the two that follow. */
struct passing {
    struct stage *now, *next, *after;
    ptrdiff_t tiles, done; /* of this stage */
    ptrdiff_t turn;        /* tiles of the groups before this stage's */
    ptrdiff_t ready;       /* rows of the next one that are packed, where tiles do not move them */
};

/* Panel `panel` of tile `tile` of the next stage's rows: moved while the same panel is multiplied with the same tile of rows. */
static struct fnn_move rows_to_move(const struct share *s, const struct stage *next, ptrdiff_t tile, ptrdiff_t panel)
{
    const struct fnn_product *p = s->p;
    if (panel >= next->panels) return (struct fnn_move){0};
    const ptrdiff_t row = start(next->rows, tile), column = panel_start(s, next->first + panel);
    const ptrdiff_t columns = panel_start(s, next->first + panel + 1) - column, width = whole_vectors(p, columns);
    return (struct fnn_move){
        .from = at(&p->b, p->size, next->k0 + row, column),
        .from_row = p->b.row_stride,
        .rows = start(next->rows, tile + 1) - row,
        .columns = columns,
        .to = packed_panel(s, next, column) + row * width * p->size,
    };
}

/* The lines of the same panel that will be moved with the next tile of rows. */
static struct fnn_ahead rows_to_fetch(const struct share *s, const struct passing *g, ptrdiff_t tile, ptrdiff_t panel)
{
    const int last = tile + 1 == s->end_tile - s->first_tile;
    const struct stage *stage = last ? g->after : g->next;
    const ptrdiff_t then = last ? 0 : tile + 1;
    if (panel >= stage->panels) return (struct fnn_ahead){0};
    const ptrdiff_t row = start(stage->rows, then), column = panel_start(s, stage->first + panel);
    const ptrdiff_t rows = start(stage->rows, then + 1) - row, columns = panel_start(s, stage->first + panel + 1) - column;
    return lines_of(&s->p->b, s->p->size, stage->k0 + row, rows, column, columns);
}

/* The next panel that is read in place, a part of it with each tile of rows. */
static struct fnn_ahead panel_to_fetch(const struct share *s, const struct passing *g, ptrdiff_t tile, ptrdiff_t panel)
{
    const int last = panel + 1 == g->now->panels;
    const struct stage *stage = last ? g->next : g->now;
    const ptrdiff_t then = stage->first + (last ? 0 : panel + 1);
    if (stage->panels == 0) return (struct fnn_ahead){0};
    const ptrdiff_t row = start(stage->rows, tile), column = panel_start(s, then);
    return lines_of(&s->p->b, s->p->size, stage->k0 + row, start(stage->rows, tile + 1) - row, column, panel_start(s, then + 1) - column);
}

/* Rows of the next stage that are to be packed when so many of this one's tiles are done: in slices whose lines are used up at once. */
static ptrdiff_t due(const struct share *s, const struct passing *g, ptrdiff_t done)
{
    const ptrdiff_t slice = 2 * FNN_LINE / s->p->size;
    return done >= g->tiles ? g->next->depth : parts_of(g->next->depth, slice) * done / g->tiles * slice;
}

static int is_last(const struct share *s, const struct stage *now)
{
    return now->block == s->p->k_blocks - 1 && s->end_term == s->p->a.columns;
}

/* Whether there is no panel to prepare for while this one is multiplied. */
static int nothing_follows(const struct share *s, const struct passing *g, ptrdiff_t panel)
{
    const struct fnn_product *p = s->p;
    return (p->in_place && !p->direct) || (g->next->panels == 0 && (!p->direct || panel + 1 == g->now->panels));
}

/* The pointer is set apart from zeros that a compiler may write in one go with it: read across two such stores, it would wait until all
 * that was written before has left the core, 25 ns a tile. */
static void run_tile(const struct fnn_product *p, struct fnn_tile *tile, const struct fnn_errands *errands)
{
    const int any = (errands->ahead.lines > 0 && errands->ahead.rows > 0) || errands->move.rows > 0;
    tile->errands = any ? errands : NULL;
    p->kernels->tile(tile);
}

/* One panel with one tile of rows, those of y, and with `more` of as many rows that follow, where nothing is to be done meanwhile. */
static void multiply_tile(const struct share *s, struct passing *g, const struct fnn_matrix *y, ptrdiff_t tile, ptrdiff_t panel,
                          ptrdiff_t more)
{
    const struct fnn_product *p = s->p;
    const struct stage *now = g->now;
    const ptrdiff_t size = p->size, index = s->first_tile + tile, row = start(p->tiles, index), rows = start(p->tiles, index + 1) - row;
    const ptrdiff_t column = panel_start(s, now->first + panel), columns = panel_start(s, now->first + panel + 1) - column;
    const ptrdiff_t width = whole_vectors(p, columns);
    const int last = is_last(s, now);
    struct fnn_tile t = {
        .errands = NULL, /* said, or the compiler would fill all of it with zeros first */
        .k = now->depth,
        .rows = rows,
        .columns = columns,
        .more = more,
        .a = p->pack_a ? s->a_packed : at(&p->a, size, row, now->k0),
        .a_row = p->pack_a ? 1 : p->a.row_stride,
        .a_k = p->pack_a ? rows : p->a.column_stride,
        .a_next = rows * p->a.row_stride,
        .b = p->in_place ? at(&p->b, size, now->k0, column) : packed_panel(s, now, column),
        .b_k = p->in_place ? p->b.row_stride : width,
        .b_last = p->in_place ? larger(0, columns - p->lanes) : width - p->lanes,
        .y = at(y, size, 0, column - now->column),
        .y_row = y->row_stride,
        .y_column = y->column_stride,
        .y_next = rows * y->row_stride,
        .room = p->room_in_y,
        .accumulate = p->accumulate || now->k0 > 0,
        .relu = last && p->relu,
        .bias = last && p->bias.data ? (p->bias_packed ? p->bias_packed : (char *)p->bias.data) + column * size : NULL,
    };
    if (p->by_rows || nothing_follows(s, g, panel)) {
        (p->by_rows ? p->kernels->row : p->kernels->tile)(&t);
        return;
    }
    struct fnn_errands errands = {{0}, {0}};
    if (p->direct) {
        errands.ahead = panel_to_fetch(s, g, tile, panel);
        run_tile(p, &t, &errands);
    } else if (p->moved) {
        const struct fnn_move move = rows_to_move(s, g->next, tile, panel);
        const int alike = whole_vectors(p, move.columns) == width;
        if (alike) errands.move = move;
        errands.ahead = rows_to_fetch(s, g, tile, panel);
        run_tile(p, &t, &errands);
        if (!alike && move.rows > 0) pack_panel(s, g->next, panel, start(g->next->rows, tile), start(g->next->rows, tile + 1));
    } else {
        const ptrdiff_t ready = due(s, g, ++g->done);
        errands.ahead = lines_of(&p->b, size, g->next->k0 + ready, due(s, g, g->done + 1) - ready, g->next->column, g->next->columns);
        run_tile(p, &t, &errands);
        if (ready > g->ready) pack_rows(s, g->next, g->ready, ready);
        g->ready = ready;
    }
}

/* What follows the sums of a part of y, while it is in cache. */
static void complete(const struct fnn_product *p, const struct fnn_matrix *y, ptrdiff_t row, ptrdiff_t column)
{
    if (p->dropout) fnn_dropout_part(p->kernels, p->dtype, y, y, p->dropout, p->dropout_row + row, column);
    if (p->finish.take) p->finish.take(p->finish.context, y, row, column);
}

/* The tile's terms of a stage, from rows of a that lie across: once for all the panels that pass by. */
static void pack_tile(const struct share *s, const struct stage *now, ptrdiff_t tile)
{
    const struct fnn_product *p = s->p;
    const ptrdiff_t row = start(p->tiles, s->first_tile + tile), rows = start(p->tiles, s->first_tile + tile + 1) - row;
    p->kernels->pack(at(&p->a, p->size, row, now->k0), p->a.row_stride, p->a.column_stride, rows, rows, now->depth, s->a_packed);
}

/* Tiles that follow this one, before `end`, and have as many rows. */
static ptrdiff_t alike_after(const struct share *s, ptrdiff_t tile, ptrdiff_t end)
{
    const ptrdiff_t taller = s->p->tiles.more - s->first_tile; /* tiles, which come first */
    return (tile < taller ? smaller(taller, end) : end) - tile - 1;
}

/* Tiles first .. end of rows, those of y. A panel that is read in place passes by all of them before the next one does; packed panels all
 * pass by one tile of rows: that is how the rows that are moved meanwhile lie in memory. Where tasks share terms, the tiles are few panels
 * wide, and the sooner a whole row of them is done, the sooner the next task begins. A last panel that is alone is a matter of a call or
 * two: in small products the calls would cost as much as the sums. */
static void multiply_chunk(const struct share *s, struct passing *g, const struct fnn_matrix *y, ptrdiff_t first, ptrdiff_t end)
{
    const struct fnn_product *p = s->p;
    const ptrdiff_t corner = start(p->tiles, s->first_tile + first), panels = g->now->panels;
    const int alone = panels == 1 && g->next->panels == 0 && !s->own && !p->by_rows && !p->pack_a, along = alone || (p->direct && !s->own);
    for (ptrdiff_t outer = along ? 0 : first; outer < (along ? panels : end); outer++)
        for (ptrdiff_t inner = along ? first : 0, more; inner < (along ? end : panels); inner += 1 + more) {
            const ptrdiff_t tile = along ? inner : outer, panel = along ? outer : inner, turn = g->turn + tile * panels + panel;
            struct fnn_matrix rows = *y;
            rows.data = at(y, p->size, start(p->tiles, s->first_tile + tile) - corner, 0);
            more = alone ? alike_after(s, tile, end) : 0;
            if (p->pack_a && panel == 0) pack_tile(s, g->now, tile);
            if (s->before && g->now->block == 0) fnn_progress_await(s->before, turn + 1);
            multiply_tile(s, g, &rows, tile, panel, more);
            if (s->own && g->now->block == p->k_blocks - 1) fnn_progress_report(s->own, turn + 1);
        }
}

static void multiply_stage(const struct share *s, struct passing *g, char *part)
{
    const struct fnn_product *p = s->p;
    const ptrdiff_t tiles = s->end_tile - s->first_tile;
    for (ptrdiff_t tile = 0, end; tile < tiles; tile = end) {
        end = smaller(tiles, tile + p->chunk_tiles);
        const ptrdiff_t row = start(p->tiles, s->first_tile + tile), rows = start(p->tiles, s->first_tile + end) - row;
        struct fnn_matrix y = {at(&p->y, p->size, row, g->now->column), rows, g->now->columns, p->y.row_stride, p->y.column_stride};
        if (!p->y.data) {
            y.data = part;
            y.row_stride = y.columns == p->y.columns ? y.columns : whole_vectors(p, y.columns);
            y.column_stride = 1;
        }
        multiply_chunk(s, g, &y, tile, end);
        if (is_last(s, g->now)) complete(p, &y, row, g->now->column);
    }
}

static void multiply_share(void *context, int task)
{
    const struct fnn_product *p = context;
    const int sharing = p->term_parts > 1;
    const ptrdiff_t n = p->y.columns, term_part = sharing ? task : 0, part = sharing ? 0 : task;
    const ptrdiff_t row_part = part / p->column_parts, column_part = part % p->column_parts;
    const struct fnn_cut tiles = cut(p->row_tiles, p->row_parts), vectors = cut(parts_of(n, p->lanes), p->column_parts);
    const ptrdiff_t first = start(vectors, column_part), count = start(vectors, column_part + 1) - first;
    struct share s = {.p = p, .first_tile = start(tiles, row_part), .end_tile = start(tiles, row_part + 1),
                      .first_column = first * p->lanes, .first_term = first_term(p, term_part),
                      .end_term = first_term(p, term_part + 1),
                      .before = term_part > 0 ? &p->progress[term_part - 1] : NULL, .own = sharing ? &p->progress[term_part] : NULL};
    s.panels = p->by_rows ? 1 : parts_of(count, p->panel);
    if (s.panels == 0 || s.first_tile == s.end_tile) return;
    s.vectors = cut(count, s.panels);
    char *panels = p->panels + task * p->panels_bytes, *scratch = p->parts + task * p->part_bytes;
    s.a_packed = p->a_packed + task * p->a_bytes;
    char *const packed[] = {panels, panels + p->panels_bytes - p->stage_bytes};

    struct stage stages[3];
    struct passing g = {.now = &stages[0], .next = &stages[1], .after = &stages[2]};
    set_stage(g.now, &s, 0, 0, packed[0]);
    set_stage_after(g.next, &s, g.now, packed[1]);
    if (!p->in_place) pack_rows(&s, g.now, 0, g.now->depth);
    for (int turn = 0; g.now->panels > 0; turn = !turn) {
        set_stage_after(g.after, &s, g.next, packed[turn]);
        g.tiles = (s.end_tile - s.first_tile) * g.now->panels;
        g.done = g.ready = 0;
        multiply_stage(&s, &g, scratch);
        if (g.next->block == 0) g.turn += g.tiles;
        struct stage *const past = g.now;
        g.now = g.next;
        g.next = g.after;
        g.after = past;
    }
}

void fnn_product_run(struct fnn_product *p, void *workspace)
{
    if (p->y.rows == 0 || p->y.columns == 0) return;
    const int tasks = (int)tasks_of(p);
    p->progress = workspace;
    for (int task = 0; task < tasks && p->progress_bytes; task++) fnn_progress_begin(&p->progress[task]);
    p->a_packed = (char *)workspace + p->progress_bytes;
    p->bias_packed = p->bias_bytes ? p->a_packed + tasks * p->a_bytes : NULL;
    p->panels = p->a_packed + tasks * p->a_bytes + p->bias_bytes;
    p->parts = p->panels + tasks * p->panels_bytes;
    if (p->bias_packed) fnn_copy_strided(p->y.columns, (size_t)p->size, p->bias.data, p->bias.stride, p->bias_packed, 1);
    fnn_parallel(tasks, multiply_share, p);
}
