/* Matrix products on any layout: planned once, then run in a workspace that the caller provides. */
#ifndef FNN_GEMM_H
#define FNN_GEMM_H

#include "kernels.h"
#include "pool.h"

/* Takes over a finished part of y, whose corner is (row, column) of the whole: called on any thread, for parts that do not overlap. */
struct fnn_finish {
    void (*take)(void *context, const struct fnn_matrix *part, ptrdiff_t row, ptrdiff_t column);
    void *context;
};

enum fnn_split {
    FNN_COLUMNS_FIRST, /* tasks share columns, and rows too where columns are few */
    FNN_ROWS_FIRST,    /* the other way round: what a task makes are whole rows */
    FNN_WHOLE_COLUMNS, /* a column of y is made by one task, its rows in order */
    FNN_TERMS          /* tasks share the terms of every sum, and with them columns of a and rows of b: one takes over where the one
                          before it stopped, a tile of y at a time */
};

struct fnn_product { /* y = a b, or y += a b, then bias, ReLU and dropout */
    const struct fnn_real_kernels *kernels;
    enum fnn_dtype dtype;
    struct fnn_matrix a, b, y; /* y.data may be NULL when `finish` takes it: then no more than parts of y ever exist */
    struct fnn_vector bias;
    int accumulate, relu;
    int room_in_b, room_in_y;  /* these begin on a line, and rows narrower than a vector are followed by room that may be read, of y also
                                  written, as if they were not */
    int frugal;                /* takes less workspace, for those who keep it: shorter panels, which cost large products a few per cent */
    int threads;               /* to plan for; 0: all there are */
    enum fnn_split split;
    const struct fnn_dropout *dropout;
    ptrdiff_t dropout_row; /* of the mask that belongs to the first row of y */
    struct fnn_finish finish; /* or none */

    /* The plan: fields that fnn_product_plan sets from the kernels, the shapes and the column strides, not from data. */
    ptrdiff_t size, lanes;                /* bytes of an element, elements of a vector */
    ptrdiff_t k_block, k_blocks;          /* terms of a block, blocks */
    ptrdiff_t row_tiles, chunk_tiles;     /* tiles of rows; those whose rows of y are completed together */
    struct fnn_cut { ptrdiff_t least, more; } tiles; /* parts of `least` things each, one more for the first `more` of them */
    ptrdiff_t panel, group;               /* vectors of columns of a panel; panels of a stage */
    ptrdiff_t row_parts, column_parts;    /* tasks are row_parts x column_parts, or term_parts */
    struct fnn_cut terms;                 /* units of terms of a task */
    ptrdiff_t term_parts;
    ptrdiff_t stage_bytes, panels_bytes, part_bytes, a_bytes, bias_bytes, progress_bytes;
    int moved, in_place, direct, by_rows, pack_a; /* tiles can move rows of b; b is read where it is; panel by panel, from memory; in whole
                                                     rows, for one row of y; tiles of a are copied, to lie close */
    char *panels, *parts, *a_packed, *bias_packed;
    struct fnn_progress *progress; /* of each task, where they share terms */
};

/* Fills in the plan and returns the bytes of workspace, of alignment 64, that a run takes. */
size_t fnn_product_plan(struct fnn_product *product);
void fnn_product_run(struct fnn_product *product, void *workspace);

/* dz = dy, or with a gate y: dz = y <= 0 ? 0 : dy * scale; and sums of the rows of dz, each column in the order of rows. */
struct fnn_gating {
    const struct fnn_real_kernels *kernels;
    enum fnn_dtype dtype;
    struct fnn_matrix dy, gate, dz; /* gate.data NULL: none, and no dz either; dz may be exactly dy */
    double scale;
    void *sums; /* contiguous, what it holds is added to; or NULL */
    int room;   /* rows narrower than a vector, and sums, are followed by room that may be read and written as if they were not */
    ptrdiff_t parts;
    char *rows;
};
size_t fnn_gating_plan(struct fnn_gating *gating);
void fnn_gating_run(struct fnn_gating *gating, void *workspace);

static inline struct fnn_matrix fnn_transposed(struct fnn_matrix m)
{
    return (struct fnn_matrix){m.data, m.columns, m.rows, m.column_stride, m.row_stride};
}

#endif
