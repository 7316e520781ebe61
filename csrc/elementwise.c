/* Elementwise operations, dropout, permutations and losses over whole arrays: the layer between the public calls and the kernels,
 * which work on contiguous spans. Strided rows pass through a row-sized buffer, so no layout is copied as a whole. */
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "philox.h"

void fnn_map(enum fnn_map operation, enum fnn_dtype dtype, ptrdiff_t n, void *const *arrays, const double *scalars)
{
    fnn_active()->real[dtype].map[operation](n, arrays, scalars);
}

void fnn_copy_strided(ptrdiff_t n, size_t size, const void *from, ptrdiff_t from_stride, void *to, ptrdiff_t to_stride)
{
    if (size == sizeof(float)) {
        const float *source = from;
        for (ptrdiff_t t = 0; t < n; t++) ((float *)to)[t * to_stride] = source[t * from_stride];
    } else {
        const double *source = from;
        for (ptrdiff_t t = 0; t < n; t++) ((double *)to)[t * to_stride] = source[t * from_stride];
    }
}

void fnn_dropout_part(const struct fnn_real_kernels *kernels, enum fnn_dtype dtype, const struct fnn_matrix *x, const struct fnn_matrix *y,
                      const struct fnn_dropout *dropout, ptrdiff_t row, ptrdiff_t column)
{
    enum { SPAN = 256 };
    double buffer[SPAN];
    const size_t size = fnn_size(dtype);
    for (ptrdiff_t r = 0; r < x->rows; r++) {
        const char *from = (const char *)x->data + r * x->row_stride * (ptrdiff_t)size;
        char *to = (char *)y->data + r * y->row_stride * (ptrdiff_t)size;
        if (x->column_stride == 1 && y->column_stride == 1) {
            kernels->dropout(x->columns, from, to, dropout, row + r, column);
            continue;
        }
        for (ptrdiff_t c = 0; c < x->columns; c += SPAN) {
            const ptrdiff_t length = x->columns - c < SPAN ? x->columns - c : SPAN;
            fnn_copy_strided(length, size, from + c * x->column_stride * (ptrdiff_t)size, x->column_stride, buffer, 1);
            kernels->dropout(length, buffer, buffer, dropout, row + r, column + c);
            fnn_copy_strided(length, size, buffer, 1, to + c * y->column_stride * (ptrdiff_t)size, y->column_stride);
        }
    }
}

void fnn_dropout(enum fnn_dtype dtype, const struct fnn_matrix *x, const struct fnn_matrix *y, const struct fnn_dropout *dropout)
{
    fnn_dropout_part(&fnn_active()->real[dtype], dtype, x, y, dropout, 0, 0);
}

void fnn_permutation(ptrdiff_t n, uint64_t seed, uint64_t stream, int64_t *order)
{
    uint32_t words[4];
    for (ptrdiff_t i = 0; i < n; i++) order[i] = i;
    for (ptrdiff_t i = n - 1, block = -1; i > 0; i--) {
        if (i / 4 != block) {
            block = i / 4;
            fnn_philox((uint32_t)block, 0, stream, seed, words);
        }
        const ptrdiff_t j = (ptrdiff_t)(((uint64_t)words[i % 4] * (uint64_t)(i + 1)) >> 32);
        const int64_t held = order[i];
        order[i] = order[j];
        order[j] = held;
    }
}

static void copy_row(enum fnn_dtype dtype, const struct fnn_matrix *m, ptrdiff_t row, char *buffer, int back)
{
    const size_t size = fnn_size(dtype);
    char *data = (char *)m->data + row * m->row_stride * (ptrdiff_t)size;
    if (back) fnn_copy_strided(m->columns, size, buffer, 1, data, m->column_stride);
    else fnn_copy_strided(m->columns, size, data, m->column_stride, buffer, 1);
}

size_t fnn_loss(enum fnn_loss kind, enum fnn_dtype dtype, const struct fnn_matrix *scores, const struct fnn_target *target,
             struct fnn_vector weight, double margin, const struct fnn_matrix *gradient, double *loss)
{
    double (*const kernel)(const struct fnn_loss_rows *) = fnn_active()->real[dtype].loss[kind];
    const ptrdiff_t size = (ptrdiff_t)fnn_size(dtype), n = scores->rows, c = scores->columns;
    struct fnn_loss_rows rows = {
        .n = n, .c = c, .margin = margin, .labels = target->labels, .weight = weight.data, .weight_stride = weight.stride, .total = (double)n,
        .scores = scores->data, .scores_stride = scores->row_stride,
        .dense = target->dense.data, .dense_stride = target->dense.row_stride,
        .gradient = gradient->data, .gradient_stride = gradient->row_stride,
    };
    if (weight.data) {
        rows.total = 0.0;
        for (ptrdiff_t i = 0; i < n; i++)
            rows.total += dtype == FNN_F32 ? (double)((const float *)weight.data)[i * weight.stride] : ((const double *)weight.data)[i * weight.stride];
    }
    if (scores->column_stride == 1 && gradient->column_stride == 1 && (target->labels || target->dense.column_stride == 1)) {
        *loss = kernel(&rows);
        return 0;
    }
    char *buffer = malloc((size_t)(3 * c * size));
    if (!buffer) return (size_t)(3 * c * size);
    *loss = 0.0;
    rows.n = 1;
    rows.scores = buffer;
    rows.dense = target->labels ? NULL : buffer + c * size;
    rows.gradient = buffer + 2 * c * size;
    for (ptrdiff_t i = 0; i < n; i++) {
        copy_row(dtype, scores, i, buffer, 0);
        if (target->labels) rows.labels = target->labels + i;
        else copy_row(dtype, &target->dense, i, buffer + c * size, 0);
        if (weight.data) rows.weight = (const char *)weight.data + i * weight.stride * size;
        *loss += kernel(&rows);
        copy_row(dtype, gradient, i, buffer + 2 * c * size, 1);
    }
    free(buffer);
    return 0;
}
