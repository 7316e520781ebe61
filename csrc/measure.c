/* The machine's limits, measured: what benchmarks divide by. */
#include <stdlib.h>
#include <time.h>

#include "kernels.h"
#include "pool.h"

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

enum { REPEATS = 20000 };

static void multiply_and_add(void *kernels, int task)
{
    volatile double keep = 1.0 + task;
    keep = ((const struct fnn_real_kernels *)kernels)->multiply_adds(REPEATS, keep);
}

double fnn_fma_peak(enum fnn_dtype dtype, double seconds, int threads)
{
    struct fnn_real_kernels kernels = fnn_active()->real[dtype];
    const double flops = (double)kernels.fma_flops * REPEATS * threads;
    double best = 0.0;
    for (const double start = now(); best == 0.0 || now() - start < seconds;) {
        const double before = now();
        fnn_parallel(threads, multiply_and_add, &kernels);
        const double elapsed = now() - before;
        if (elapsed > 0.0 && flops / elapsed > best) best = flops / elapsed;
    }
    return best;
}

struct triad {
    double *a, *b, *c;
    size_t n;
    int tasks;
};

static void triad_part(void *context, int task)
{
    const struct triad *t = context;
    const size_t start = t->n * (size_t)task / (size_t)t->tasks, end = t->n * ((size_t)task + 1) / (size_t)t->tasks;
    for (size_t i = start; i < end; i++) t->a[i] = t->b[i] + 3.0 * t->c[i];
}

/* Pages that nobody wrote are all read from the kernel's one page of zeros, which stays in cache. */
static void triad_touch(void *context, int task)
{
    const struct triad *t = context;
    const size_t start = t->n * (size_t)task / (size_t)t->tasks, end = t->n * ((size_t)task + 1) / (size_t)t->tasks;
    for (size_t i = start; i < end; i++) {
        t->b[i] = 1.0;
        t->c[i] = 2.0;
    }
}

double fnn_stream_bandwidth(size_t bytes, double seconds)
{
    const size_t n = bytes / sizeof(double) + 1;
    double *memory = calloc(3 * n, sizeof *memory), best = -1.0; /* calloc for its check of the product */
    if (!memory) return best;
    struct triad triad = {memory, memory + n, memory + 2 * n, n, fnn_threads()};
    fnn_parallel(triad.tasks, triad_touch, &triad);
    const double start = now();
    for (int round = 0; round < 5 || now() - start < seconds; round++) {
        const double before = now();
        fnn_parallel(triad.tasks, triad_part, &triad);
        const double elapsed = now() - before, rate = (double)(3 * n * sizeof *memory) / elapsed;
        if (round > 0 && elapsed > 0.0 && rate > best) best = rate; /* the first round has the pages given out */
    }
    free(memory);
    return best;
}
