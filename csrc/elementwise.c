/* Elementwise operations, dropout, permutations and losses over whole arrays: the layer between the public calls and the kernels,
 * which work on contiguous spans. Strided rows pass through a row-sized buffer, so no layout is copied as a whole. */
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "philox.h"
#include "pool.h"

enum {
    ELEMENTS_A_THREAD = 40000, /* fewer are not worth a second thread */
    STREAM_BYTES = 1 << 25,    /* of an output apart from its input that would not be found in caches anyway: it is written past them */
    ARRAYS = 5                 /* the most an elementwise operation takes */
};

static int threads_for(ptrdiff_t elements)
{
    const ptrdiff_t wanted = elements / ELEMENTS_A_THREAD;
    return wanted < 1 ? 1 : wanted < fnn_threads() ? (int)wanted : fnn_threads();
}

struct map_job {
    void (*kernel)(ptrdiff_t n, void *const *arrays, const double *scalars);
    ptrdiff_t n, size;
    int tasks, count;
    void *const *arrays;
    const double *scalars;
};

static const int array_counts[FNN_MAPS] = {
    [FNN_RELU_FORWARD] = 2, [FNN_RELU_BACKWARD] = 3, [FNN_LEAKY_FORWARD] = 2, [FNN_LEAKY_BACKWARD] = 3,
    [FNN_TANH_FORWARD] = 2, [FNN_TANH_BACKWARD] = 3, [FNN_SIGMOID_FORWARD] = 2, [FNN_SIGMOID_BACKWARD] = 3,
    [FNN_SGD] = 2, [FNN_MOMENTUM] = 3, [FNN_NESTEROV] = 3, [FNN_ADAGRAD] = 3, [FNN_RMSPROP] = 3, [FNN_ADAM] = 4,
    [FNN_CLIP] = 2, [FNN_AVERAGE] = 2,
};

/* Start of a task's share of n elements, at a multiple of 64 so that no two tasks write to one cache line. */
static ptrdiff_t share_of(ptrdiff_t n, int task, int tasks)
{
    const ptrdiff_t units = (n + 63) / 64, start = 64 * (units / tasks * task + (task < units % tasks ? task : units % tasks));
    return start < n ? start : n;
}

static void map_part(void *context, int task)
{
    const struct map_job *job = context;
    const ptrdiff_t start = share_of(job->n, task, job->tasks), end = share_of(job->n, task + 1, job->tasks);
    void *arrays[ARRAYS];
    for (int a = 0; a < job->count; a++) arrays[a] = (char *)job->arrays[a] + start * job->size;
    job->kernel(end - start, arrays, job->scalars);
}

void fnn_map(enum fnn_map operation, enum fnn_dtype dtype, ptrdiff_t n, void *const *arrays, const double *scalars)
{
    struct map_job job = {fnn_active()->real[dtype].map[operation], n, (ptrdiff_t)fnn_size(dtype), threads_for(n), array_counts[operation],
                          arrays, scalars};
    const uint64_t saved = fnn_flush_begin();
    fnn_parallel(job.tasks, map_part, &job);
    fnn_flush_end(saved);
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

static void drop_part(const struct fnn_real_kernels *kernels, enum fnn_dtype dtype, const struct fnn_matrix *x, const struct fnn_matrix *y,
                      const struct fnn_dropout *dropout, ptrdiff_t row, ptrdiff_t column, int stream)
{
    enum { SPAN = 256 };
    double buffer[SPAN];
    const size_t size = fnn_size(dtype);
    if (x->column_stride == 1 && y->column_stride == 1) {
        kernels->dropout(x->rows, x->columns, x->data, x->row_stride, y->data, y->row_stride, dropout, row, column, stream);
        return;
    }
    for (ptrdiff_t r = 0; r < x->rows; r++) {
        const char *from = (const char *)x->data + r * x->row_stride * (ptrdiff_t)size;
        char *to = (char *)y->data + r * y->row_stride * (ptrdiff_t)size;
        for (ptrdiff_t c = 0; c < x->columns; c += SPAN) {
            const ptrdiff_t length = x->columns - c < SPAN ? x->columns - c : SPAN;
            fnn_copy_strided(length, size, from + c * x->column_stride * (ptrdiff_t)size, x->column_stride, buffer, 1);
            kernels->dropout(1, length, buffer, 0, buffer, 0, dropout, row + r, column + c, 0);
            fnn_copy_strided(length, size, buffer, 1, to + c * y->column_stride * (ptrdiff_t)size, y->column_stride);
        }
    }
}

void fnn_dropout_part(const struct fnn_real_kernels *kernels, enum fnn_dtype dtype, const struct fnn_matrix *x, const struct fnn_matrix *y,
                      const struct fnn_dropout *dropout, ptrdiff_t row, ptrdiff_t column)
{
    drop_part(kernels, dtype, x, y, dropout, row, column, 0);
}

struct dropout_job {
    enum fnn_dtype dtype;
    const struct fnn_matrix *x, *y;
    const struct fnn_dropout *dropout;
    ptrdiff_t row;
    int tasks;
};

/* Rows are shared out, or the columns of a single row: a mask depends on the position in the whole, not on the task. */
static void dropout_task(void *context, int task)
{
    const struct dropout_job *job = context;
    const ptrdiff_t size = (ptrdiff_t)fnn_size(job->dtype), rows = job->x->rows, columns = job->x->columns;
    const int by_rows = rows >= job->tasks;
    const ptrdiff_t row = by_rows ? rows * task / job->tasks : 0, last_row = by_rows ? rows * (task + 1) / job->tasks : rows;
    const ptrdiff_t column = by_rows ? 0 : share_of(columns, task, job->tasks);
    const ptrdiff_t last = by_rows ? columns : share_of(columns, task + 1, job->tasks);
    struct fnn_matrix x = *job->x, y = *job->y;
    x.data = (char *)x.data + (row * x.row_stride + column * x.column_stride) * size;
    y.data = (char *)y.data + (row * y.row_stride + column * y.column_stride) * size;
    x.rows = last_row - row;
    x.columns = last - column;
    const int stream = job->x->data != job->y->data && rows * columns * size >= STREAM_BYTES;
    drop_part(&fnn_active()->real[job->dtype], job->dtype, &x, &y, job->dropout, job->row + row, column, stream);
}

void fnn_dropout(enum fnn_dtype dtype, const struct fnn_matrix *x, const struct fnn_matrix *y, const struct fnn_dropout *dropout)
{
    fnn_dropout_rows(dtype, x, y, dropout, 0);
}

void fnn_dropout_rows(enum fnn_dtype dtype, const struct fnn_matrix *x, const struct fnn_matrix *y, const struct fnn_dropout *dropout,
                      ptrdiff_t row)
{
    struct dropout_job job = {dtype, x, y, dropout, row, threads_for(x->rows * x->columns)};
    const uint64_t saved = fnn_flush_begin();
    fnn_parallel(job.tasks, dropout_task, &job);
    fnn_flush_end(saved);
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

struct loss_job {
    double (*kernel)(const struct fnn_loss_rows *, double *);
    enum fnn_dtype dtype;
    const struct fnn_matrix *scores, *dense, *gradient;
    const struct fnn_loss_rows *all;
    ptrdiff_t blocks;
    struct fnn_loss_sums *sums; /* of each block */
    int measured;               /* whether the metric is wanted */
    char *rows;                 /* three rows of scratch per task, or NULL when every row is contiguous */
    int tasks;
};

static void loss_task(void *context, int task)
{
    const struct loss_job *job = context;
    const ptrdiff_t size = (ptrdiff_t)fnn_size(job->dtype), c = job->all->c;
    char *scratch = job->rows ? job->rows + 3 * c * size * task : NULL;
    for (ptrdiff_t block = job->blocks * task / job->tasks; block < job->blocks * (task + 1) / job->tasks; block++) {
        const ptrdiff_t first = block * FNN_LOSS_BLOCK, left = job->all->n - first, count = left < FNN_LOSS_BLOCK ? left : FNN_LOSS_BLOCK;
        const ptrdiff_t together = scratch ? 1 : count; /* rows a call of the kernel */
        struct fnn_loss_sums sum = {0.0, 0.0};
        for (ptrdiff_t i = first; i < first + count; i += together) {
            struct fnn_loss_rows rows = *job->all;
            rows.n = together;
            rows.scores = (const char *)rows.scores + i * rows.scores_stride * size;
            rows.gradient = (char *)rows.gradient + i * rows.gradient_stride * size;
            if (rows.labels) rows.labels += i;
            else rows.dense = (const char *)rows.dense + i * rows.dense_stride * size;
            if (rows.weight) rows.weight = (const char *)rows.weight + i * rows.weight_stride * size;
            if (scratch) {
                copy_row(job->dtype, job->scores, i, scratch, 0);
                rows.scores = scratch;
                if (!rows.labels) {
                    copy_row(job->dtype, job->dense, i, scratch + c * size, 0);
                    rows.dense = scratch + c * size;
                }
                rows.gradient = scratch + 2 * c * size;
            }
            sum.loss += job->kernel(&rows, job->measured ? &sum.metric : NULL);
            if (scratch) copy_row(job->dtype, job->gradient, i, scratch + 2 * c * size, 1);
        }
        job->sums[block] = sum;
    }
}

static struct fnn_loss_sums run_loss(struct loss_job *job)
{
    struct fnn_loss_sums sum = {0.0, 0.0};
    fnn_parallel(job->tasks, loss_task, job);
    for (ptrdiff_t block = 0; block < job->blocks; block++) {
        sum.loss += job->sums[block].loss;
        sum.metric += job->sums[block].metric;
    }
    return sum;
}

static struct loss_job loss_job_of(enum fnn_loss kind, enum fnn_dtype dtype, const struct fnn_loss_rows *all)
{
    return (struct loss_job){
        .kernel = fnn_active()->real[dtype].loss[kind], .dtype = dtype, .all = all,
        .blocks = (all->n + FNN_LOSS_BLOCK - 1) / FNN_LOSS_BLOCK, .tasks = threads_for(4 * all->n * all->c),
    };
}

struct fnn_loss_sums fnn_loss_of_rows(enum fnn_loss kind, enum fnn_dtype dtype, const struct fnn_loss_rows *rows,
                                      struct fnn_loss_sums *blocks)
{
    struct loss_job job = loss_job_of(kind, dtype, rows);
    job.sums = blocks;
    job.measured = 1;
    return run_loss(&job);
}

size_t fnn_loss(enum fnn_loss kind, enum fnn_dtype dtype, const struct fnn_matrix *scores, const struct fnn_target *target,
                struct fnn_vector weight, double margin, const struct fnn_matrix *gradient, double *loss)
{
    const ptrdiff_t size = (ptrdiff_t)fnn_size(dtype), n = scores->rows, c = scores->columns;
    struct fnn_loss_rows all = {
        .n = n, .c = c, .margin = margin, .labels = target->labels, .weight = weight.data, .weight_stride = weight.stride,
        .total = (double)n,
        .scores = scores->data, .scores_stride = scores->row_stride,
        .dense = target->dense.data, .dense_stride = target->dense.row_stride,
        .gradient = gradient->data, .gradient_stride = gradient->row_stride,
    };
    const uint64_t saved = fnn_flush_begin();
    if (weight.data) {
        all.total = 0.0;
        for (ptrdiff_t i = 0; i < n; i++)
            all.total += dtype == FNN_F32 ? (double)((const float *)weight.data)[i * weight.stride]
                                          : ((const double *)weight.data)[i * weight.stride];
    }
    const int apart = scores->column_stride != 1 || gradient->column_stride != 1 || (!target->labels && target->dense.column_stride != 1);
    struct loss_job job = loss_job_of(kind, dtype, &all);
    job.scores = scores;
    job.dense = &target->dense;
    job.gradient = gradient;

    struct fnn_loss_sums few[64];
    const size_t sums_bytes = job.blocks <= 64 ? 0 : (size_t)job.blocks * sizeof *job.sums;
    const size_t rows_bytes = apart ? (size_t)(3 * c * size * job.tasks) : 0;
    char *memory = sums_bytes + rows_bytes ? malloc(sums_bytes + rows_bytes) : NULL;
    if (sums_bytes + rows_bytes && !memory) {
        fnn_flush_end(saved);
        return sums_bytes + rows_bytes;
    }
    job.sums = sums_bytes ? (struct fnn_loss_sums *)memory : few;
    job.rows = apart ? memory + sums_bytes : NULL;

    *loss = run_loss(&job).loss;
    fnn_flush_end(saved);
    free(memory);
    return 0;
}
