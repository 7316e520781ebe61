/* The machine's limits, measured: what benchmarks divide by. */
#include <stdlib.h>
#include <time.h>

#include "kernels.h"

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double fnn_fma_peak(enum fnn_dtype dtype, double seconds)
{
    const struct fnn_real_kernels *kernels = &fnn_active()->real[dtype];
    enum { REPEATS = 20000 };
    volatile double keep = 1.0;
    double best = 0.0;
    for (const double start = now(); best == 0.0 || now() - start < seconds;) {
        const double before = now();
        keep = kernels->multiply_adds(REPEATS, keep > 0 ? 1.0 : 2.0);
        const double elapsed = now() - before;
        if (elapsed > 0.0 && (double)kernels->fma_flops * REPEATS / elapsed > best) best = (double)kernels->fma_flops * REPEATS / elapsed;
    }
    return best;
}

double fnn_stream_bandwidth(size_t bytes, double seconds)
{
    const size_t n = bytes / sizeof(double) + 1;
    double *a = malloc(n * sizeof *a), *b = malloc(n * sizeof *b), *c = malloc(n * sizeof *c), best = -1.0;
    if (a && b && c) {
        for (size_t t = 0; t < n; t++) {
            a[t] = 0.0;
            b[t] = (double)t;
            c[t] = 1.0;
        }
        for (const double start = now(); best < 0.0 || now() - start < seconds;) {
            const double before = now();
            for (size_t t = 0; t < n; t++) a[t] = b[t] + 3.0 * c[t];
            const double elapsed = now() - before, rate = (double)(3 * n * sizeof *a) / elapsed;
            if (elapsed > 0.0 && rate > best) best = rate;
        }
    }
    free(a);
    free(b);
    free(c);
    return best;
}
