/* Statistics of the columns of a table, and hashes of its rows, by blocks of rows and spans of columns. What a block gives depends on
 * nothing but the block, so the bits are the same for any number of threads. */
#include <math.h>
#include <string.h>

#include "kernels.h"
#include "pool.h"
#include "sizes.h"

enum { SPAN = 256 }; /* columns gathered together: their sums stay in the first cache, while the block stays in the second */

struct statistics_job {
    const struct fnn_table *x;
    ptrdiff_t block, blocks;
    int tasks;
    void (*gather)(const struct statistics_job *job, ptrdiff_t block, ptrdiff_t first, ptrdiff_t end);
    void *out[2]; /* of each block, or of each row */
};

static void gather_part(void *context, int task)
{
    const struct statistics_job *job = context;
    const uint64_t saved = fnn_subnormals_begin();
    for (ptrdiff_t block = job->blocks * task / job->tasks; block < job->blocks * (task + 1) / job->tasks; block++)
        job->gather(job, block, block * job->block, smaller((block + 1) * job->block, job->x->rows));
    fnn_flush_end(saved);
}

static void run(struct statistics_job *job)
{
    job->blocks = (job->x->rows + job->block - 1) / job->block;
    job->tasks = (int)smaller(job->blocks, fnn_threads());
    fnn_parallel(job->tasks, gather_part, job);
}

static const struct fnn_real_kernels *kernels_of(const struct fnn_table *x)
{
    return &fnn_active()->real[x->element == sizeof(double) ? FNN_F64 : FNN_F32];
}

/* A span of a row as the kernels take it: bytes become float32 in `room`. */
static const void *span_of(const struct fnn_table *x, ptrdiff_t row, ptrdiff_t column, ptrdiff_t n, float *room)
{
    const char *at = (const char *)x->data + (row * x->columns + column) * (ptrdiff_t)x->element;
    if (x->element > 1) return at;
    fnn_active()->real[FNN_F32].from_bytes(n, at, room);
    return room;
}

/* ------------------------------------------------------------------------------------------------------------------ columns */

static void gather_moments(const struct statistics_job *job, ptrdiff_t block, ptrdiff_t first, ptrdiff_t end)
{
    const struct fnn_table *x = job->x;
    const struct fnn_real_kernels *kernels = kernels_of(x);
    float room[SPAN];
    double origin[SPAN];
    for (ptrdiff_t column = 0; column < x->columns; column += SPAN) {
        const ptrdiff_t n = smaller(SPAN, x->columns - column);
        double *mean = (double *)job->out[0] + block * x->columns + column, *squares = (double *)job->out[1] + block * x->columns + column;
        for (ptrdiff_t t = 0; t < n; t++) origin[t] = mean[t] = squares[t] = 0.0;
        kernels->add_differences(n, span_of(x, 0, column, n, room), mean, origin);
        for (ptrdiff_t row = first; row < end; row++) kernels->add_differences(n, span_of(x, row, column, n, room), origin, mean);
        for (ptrdiff_t t = 0; t < n; t++) mean[t] /= (double)(end - first);
        for (ptrdiff_t row = first; row < end; row++)
            kernels->add_squared_differences(n, span_of(x, row, column, n, room), origin, mean, squares);
    }
}

void fnn_column_moments(const struct fnn_table *x, ptrdiff_t block, double *mean, double *squares)
{
    struct statistics_job job = {.x = x, .block = block, .gather = gather_moments, .out = {mean, squares}};
    run(&job);
}

static void gather_extremes(const struct statistics_job *job, ptrdiff_t block, ptrdiff_t first, ptrdiff_t end)
{
    const struct fnn_table *x = job->x;
    const struct fnn_real_kernels *kernels = kernels_of(x);
    float room[SPAN];
    for (ptrdiff_t column = 0; column < x->columns; column += SPAN) {
        const ptrdiff_t n = smaller(SPAN, x->columns - column);
        double *low = (double *)job->out[0] + block * x->columns + column, *high = (double *)job->out[1] + block * x->columns + column;
        for (ptrdiff_t t = 0; t < n; t++) {
            low[t] = INFINITY;
            high[t] = -INFINITY;
        }
        for (ptrdiff_t row = first; row < end; row++) kernels->extend(n, span_of(x, row, column, n, room), low, high);
        for (ptrdiff_t t = 0; t < n; t++) { /* no zero is negative */
            low[t] += 0.0;
            high[t] += 0.0;
        }
    }
}

void fnn_column_extremes(const struct fnn_table *x, ptrdiff_t block, double *low, double *high)
{
    struct statistics_job job = {.x = x, .block = block, .gather = gather_extremes, .out = {low, high}};
    run(&job);
}

/* ------------------------------------------------------------------------------------------------------------------ rows */

/* The finalizer of SplitMix64 (Steele et al. 2014). */
static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static void gather_hashes(const struct statistics_job *job, ptrdiff_t block, ptrdiff_t first, ptrdiff_t end)
{
    const struct fnn_table *x = job->x;
    uint64_t *hashes = job->out[0], factors[SPAN / 2], words[SPAN / 2];
    (void)block;
    for (ptrdiff_t row = first; row < end; row++) hashes[row] = 0;
    for (ptrdiff_t column = 0; column < x->columns; column += SPAN) {
        const ptrdiff_t n = smaller(SPAN, x->columns - column), pairs = (n + 1) / 2;
        for (ptrdiff_t w = 0; w < pairs; w++) factors[w] = mix((uint64_t)(column / 2 + w + 1) * UINT64_C(0x9E3779B97F4A7C15)) | 1;
        words[pairs - 1] = 0;
        for (ptrdiff_t row = first; row < end; row++) {
            float room[SPAN];
            const void *span = span_of(x, row, column, n, room);
            if (x->element == sizeof(double)) {
                fnn_active()->real[FNN_F32].from_other(n, span, room);
                span = room;
            }
            memcpy(words, span, (size_t)n * sizeof(float));
            uint64_t sum = 0;
            for (ptrdiff_t w = 0; w < pairs; w++) sum += (words[w] ^ (words[w] >> 47)) * factors[w];
            hashes[row] += sum;
        }
    }
    for (ptrdiff_t row = first; row < end; row++) hashes[row] = mix(hashes[row]);
}

void fnn_row_hashes(const struct fnn_table *x, uint64_t *hashes)
{
    enum { ROWS = 256 };
    struct statistics_job job = {.x = x, .block = ROWS, .gather = gather_hashes, .out = {hashes}};
    run(&job);
}
