/* The table that each instruction set fills in: one typed pointer per kernel, and the sizes of its matrix tile.
 *
 * Kernels work on flat spans or single tiles and know nothing of threads, blocking or Python. `real[FNN_F32]` and `real[FNN_F64]`
 * come from the same templates; a void pointer in a signature points to elements of that type. */
#ifndef FNN_KERNELS_H
#define FNN_KERNELS_H

#include "fastnn.h"

enum { FNN_LINE = 64 }; /* bytes of a cache line */

/* Memory that will be wanted soon: rows of `lines` cache lines, `stride` bytes apart. */
struct fnn_ahead {
    const char *at;
    ptrdiff_t lines, rows, stride;
};

/* Rows to pack for a panel of as many vectors as the tile has, `from_row` elements apart: see `pack`. */
struct fnn_move {
    const void *from;
    ptrdiff_t from_row, rows, columns;
    void *to;
};

/* What a tile does between its terms, evenly spread, for the tiles to come: memory is slow to answer and has room for few questions at a
 * time, but costs the sums nothing while it is asked no faster than it answers. */
struct fnn_errands {
    struct fnn_ahead ahead;
    struct fnn_move move;
};

/* One tile of y = a b: `rows` rows and `columns` columns, k terms a sum. Element (r, t) of a is a[r * a_row + t * a_k]. Columns are taken
 * in vectors; where they do not fill the last one, it starts within the one before, so that it ends with the last column. Row t of b
 * starts at b[t * b_k], its last vector at b[t * b_k + b_last]; fewer columns than one vector must be padded in b, in y only if `room`.
 * y gets the sum, which starts from what it holds if `accumulate`, plus the bias (NULL for none), then ReLU. `more` tiles of the same b
 * follow, whose a and y lie a_next and y_next elements further on each time. */
struct fnn_tile {
    const struct fnn_errands *errands; /* NULL: none */
    ptrdiff_t k, rows, columns, more;
    const void *a;
    ptrdiff_t a_row, a_k, a_next;
    const void *b;
    ptrdiff_t b_k, b_last;
    void *y;
    ptrdiff_t y_row, y_column, y_next;
    int accumulate, relu, room;
    const void *bias;
};

/* The gradient's gate: rows of columns that are neighbours. gate NULL: none, and no out; out may be exactly dy, or
 * exactly gate; sum NULL: none. */
struct fnn_gate {
    ptrdiff_t rows, columns;
    const void *dy, *gate;
    void *out, *sum;
    ptrdiff_t dy_stride, gate_stride, out_stride;
    double scale;
};

/* n samples of c scores each; columns contiguous, rows any stride. Returns sum_i share_i * loss_i. */
struct fnn_loss_rows {
    ptrdiff_t n, c, scores_stride, dense_stride, gradient_stride, weight_stride;
    const void *scores, *dense, *weight; /* dense: targets, when labels is NULL; weight: NULL for equal shares */
    const int64_t *labels;
    double total, margin; /* share_i = (weight_i or 1) / total, 0 when total is 0 */
    void *gradient;
    int room; /* rows narrower than a vector are followed by room that may be read and written as if they were not */
};

enum { FNN_TILE_ROWS = 8 }; /* no instruction set has taller tiles */

struct fnn_real_kernels {
    ptrdiff_t lanes;                    /* elements in a vector */
    ptrdiff_t most_rows;                /* of a tile */
    ptrdiff_t vectors[FNN_TILE_ROWS + 1]; /* the most vectors of columns a tile of so many rows may have, at least three; fewer fit too */
    void (*pack)(const void *data, ptrdiff_t lane_stride, ptrdiff_t k_stride, ptrdiff_t width, ptrdiff_t lanes, ptrdiff_t k, void *packed);
    void (*tile)(const struct fnn_tile *tile);
    void (*row)(const struct fnn_tile *tile); /* one row, any number of columns; y and b have unit stride along it */
    void (*gate)(const struct fnn_gate *gate);
    void (*map[FNN_MAPS])(ptrdiff_t n, void *const *arrays, const double *scalars);
    void (*dropout)(ptrdiff_t rows, ptrdiff_t columns, const void *x, ptrdiff_t x_stride, void *y, ptrdiff_t y_stride,
                    const struct fnn_dropout *dropout, ptrdiff_t row, ptrdiff_t column, int stream); /* y need not stay in caches */
    double (*loss[FNN_LOSSES])(const struct fnn_loss_rows *rows, double *metric); /* NULL, or to add hits or squared errors to */
    void (*from_bytes)(ptrdiff_t n, const void *from, void *to);
    void (*from_other)(ptrdiff_t n, const void *from, void *to); /* from the other of the two dtypes */
    void (*standardise)(ptrdiff_t n, const void *from, const void *mean, const void *inverse, void *to); /* (from - mean) * inverse */
    double (*magnitude)(ptrdiff_t n, const void *x); /* the largest; infinity when anything is not finite */
    void (*add_squares)(ptrdiff_t n, const void *x, double *sums);
    void (*add_moves)(ptrdiff_t n, const void *before, const void *after, double *sums);
    void (*add_column_squares)(ptrdiff_t n, const void *row, void *sums);
    void (*column_factors)(ptrdiff_t n, double most, void *sums); /* sums of squares become factors, at most 1 */
    void (*scale_columns)(ptrdiff_t n, const void *factors, void *row);
    void (*add_differences)(ptrdiff_t n, const void *row, const double *origin, double *sums);
    void (*add_squared_differences)(ptrdiff_t n, const void *row, const double *origin, const double *mean, double *sums);
    void (*extend)(ptrdiff_t n, const void *row, double *low, double *high);
    double (*multiply_adds)(ptrdiff_t repeats, double seed); /* does repeats * fma_flops flop */
    ptrdiff_t fma_flops;
};

struct fnn_kernels {
    const char *name;
    struct fnn_real_kernels real[FNN_DTYPES];
};

extern const struct fnn_kernels fnn_portable, fnn_avx2, fnn_avx512, fnn_neon; /* as far as this build has them */

/* The table in use; chosen once at import. */
const struct fnn_kernels *fnn_active(void);

/* fnn_dropout of a part of a matrix whose corner is (row, column) of the whole. Rows that are not
 * contiguous pass through a buffer of a few hundred elements. */
void fnn_dropout_part(const struct fnn_real_kernels *kernels, enum fnn_dtype dtype, const struct fnn_matrix *x, const struct fnn_matrix *y,
                      const struct fnn_dropout *dropout, ptrdiff_t row, ptrdiff_t column);

/* fnn_dropout on rows that follow `row` others of the whole. */
void fnn_dropout_rows(enum fnn_dtype dtype, const struct fnn_matrix *x, const struct fnn_matrix *y, const struct fnn_dropout *dropout,
                      ptrdiff_t row);

enum { FNN_LOSS_BLOCK = 32 }; /* losses are summed in blocks of so many samples, whoever computes them: the same bits for any threads */

struct fnn_loss_sums {
    double loss, metric;
};

/* The loss of samples whose columns are contiguous, with their gradients, and what their metric adds up to: hits, or squared errors;
 * `blocks` has room for the sums of each block. */
struct fnn_loss_sums fnn_loss_of_rows(enum fnn_loss kind, enum fnn_dtype dtype, const struct fnn_loss_rows *rows,
                                      struct fnn_loss_sums *blocks);

/* Copies n elements of `size` bytes between strides counted in elements. */
void fnn_copy_strided(ptrdiff_t n, size_t size, const void *from, ptrdiff_t from_stride, void *to, ptrdiff_t to_stride);

static inline size_t fnn_size(enum fnn_dtype dtype) { return dtype == FNN_F32 ? sizeof(float) : sizeof(double); }

#endif
