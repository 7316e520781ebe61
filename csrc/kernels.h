/* The table that each instruction set fills in: one typed pointer per kernel, and the sizes of its matrix tile.
 *
 * Kernels work on flat spans or single tiles and know nothing of threads, blocking or Python. `real[FNN_F32]` and `real[FNN_F64]`
 * come from the same templates; a void pointer in a signature points to elements of that type. */
#ifndef FNN_KERNELS_H
#define FNN_KERNELS_H

#include "fastnn.h"

/* One packed panel: `lanes` <= width vectors of length k, interleaved as out[t * width + lane], missing lanes zero.
 * Element (lane, t) is data[lane * lane_stride + t * k_stride], and with a gate: gate <= 0 ? 0 : data * scale.
 * `sum`, if not NULL, gets each lane's elements added in the order of t (in dtype). */
struct fnn_panel {
    const void *data, *gate;
    ptrdiff_t lane_stride, k_stride, gate_lane_stride, gate_k_stride;
    double scale;
    void *sum;
};

/* What happens to a tile of the product on its way to memory. Tile (0, 0) is y[0]; rows < mr and columns < nr cut it at the edges. */
struct fnn_tile {
    void *y;
    ptrdiff_t row_stride, column_stride, rows, columns;
    int accumulate;    /* add the product to y (later blocks of k) */
    int finish;        /* last block of k: bias and relu apply */
    const void *bias;  /* contiguous, `columns` long, or NULL */
    int relu;
};

/* n samples of c scores each; columns contiguous, rows any stride. Returns sum_i share_i * loss_i. */
struct fnn_loss_rows {
    ptrdiff_t n, c, scores_stride, dense_stride, gradient_stride, weight_stride;
    const void *scores, *dense, *weight; /* dense: targets, when labels is NULL; weight: NULL for equal shares */
    const int64_t *labels;
    double total, margin; /* share_i = (weight_i or 1) / total, 0 when total is 0 */
    void *gradient;
};

struct fnn_real_kernels {
    ptrdiff_t mr, nr; /* rows and columns of the register tile */
    void (*pack)(const struct fnn_panel *source, ptrdiff_t width, ptrdiff_t lanes, ptrdiff_t k, void *out);
    void (*tile)(ptrdiff_t k, const void *a_panel, const void *b_panel, const struct fnn_tile *tile);
    void (*map[FNN_MAPS])(ptrdiff_t n, void *const *arrays, const double *scalars);
    void (*dropout)(ptrdiff_t n, const void *x, void *y, const struct fnn_dropout *dropout, ptrdiff_t row, ptrdiff_t column);
    double (*loss[FNN_LOSSES])(const struct fnn_loss_rows *rows);
    double (*multiply_adds)(ptrdiff_t repeats, double seed); /* does repeats * fma_flops flop */
    ptrdiff_t fma_flops;
};

struct fnn_kernels {
    const char *name;
    struct fnn_real_kernels real[FNN_DTYPES];
};

extern const struct fnn_kernels fnn_portable;

/* The table in use; chosen once at import. */
const struct fnn_kernels *fnn_active(void);

/* fnn_dropout of a part of a matrix whose corner is (row, column) of the whole; column is a multiple of 8. Rows that are not
 * contiguous pass through a buffer of a few hundred elements. */
void fnn_dropout_part(const struct fnn_real_kernels *kernels, enum fnn_dtype dtype, const struct fnn_matrix *x, const struct fnn_matrix *y,
                      const struct fnn_dropout *dropout, ptrdiff_t row, ptrdiff_t column);

/* Copies n elements of `size` bytes between strides counted in elements. */
void fnn_copy_strided(ptrdiff_t n, size_t size, const void *from, ptrdiff_t from_stride, void *to, ptrdiff_t to_stride);

static inline size_t fnn_size(enum fnn_dtype dtype) { return dtype == FNN_F32 ? sizeof(float) : sizeof(double); }

#endif
