/* fastnn: kernels for training multilayer perceptrons on a CPU. The public C interface.
 *
 * No Python.h, no NumPy: plain pointers, sizes and strides. What each operation means to the bit (rounding points, NaN, -0.0,
 * ties, empty batches) is fixed by fastnn/reference.py; this header fixes the calling contract.
 *
 * Common to every function
 *   dtype       FNN_F32 or FNN_F64; every floating array of a call has it.
 *   sizes       ptrdiff_t, counted in elements; zero is allowed everywhere and leaves gradients of zero and empty outputs empty.
 *   strides     counted in elements, may be negative or zero for inputs.
 *   aliasing    an output may be exactly an input where said so; any other overlap is the caller's error and is not detected.
 *   NaN         propagates as in IEEE arithmetic unless reference.py says otherwise.
 *   threads     functions may be called from several threads at once on different outputs.
 *   return      size_t: 0, or the bytes of scratch memory that could not be had, and then no output has been written.
 */
#ifndef FASTNN_H
#define FASTNN_H

#include <stddef.h>
#include <stdint.h>

enum fnn_dtype { FNN_F32, FNN_F64, FNN_DTYPES };

/* ------------------------------------------------------------------------------------------------------------------ elementwise
 * out[t] = f(in[t]...) over n elements of flat arrays. Order of `arrays` and `scalars` (doubles, rounded once to dtype):
 *
 *   operation            arrays                  scalars
 *   FNN_RELU_FORWARD     x, out                  -
 *   FNN_RELU_BACKWARD    dy, y, out              -
 *   FNN_LEAKY_FORWARD    x, out                  slope
 *   FNN_LEAKY_BACKWARD   dy, y, out              slope
 *   FNN_TANH_FORWARD     x, out                  -
 *   FNN_TANH_BACKWARD    dy, y, out              -
 *   FNN_SIGMOID_FORWARD  x, out                  -
 *   FNN_SIGMOID_BACKWARD dy, y, out              -
 *   FNN_SGD              param, grad             weight_decay, l1, rate
 *   FNN_MOMENTUM         param, grad, velocity   weight_decay, l1, rate, momentum
 *   FNN_NESTEROV         param, grad, velocity   weight_decay, l1, rate, momentum
 *   FNN_ADAGRAD          param, grad, cache      weight_decay, l1, rate, eps
 *   FNN_RMSPROP          param, grad, cache      weight_decay, l1, rate, eps, decay_rate, 1 - decay_rate
 *   FNN_ADAM             param, grad, m, v       weight_decay, l1, rate, eps, beta1, 1 - beta1, beta2, 1 - beta2, shrink
 *   FNN_CLIP             x, out                  factor, limit
 *   FNN_AVERAGE          param, average          rest
 *
 * `out` of an activation may be exactly one of its inputs. Updates write param and the state arrays in place; those must not overlap.
 * FNN_CLIP: out = x * factor, held to -limit .. limit; out may be exactly x. FNN_AVERAGE: average += rest * (param - average).
 * `shrink` multiplies param first (decoupled weight decay); then weight_decay * param and l1 * sign(param) are added to the gradient,
 * each where its factor is not 0. */
enum fnn_map {
    FNN_RELU_FORWARD, FNN_RELU_BACKWARD, FNN_LEAKY_FORWARD, FNN_LEAKY_BACKWARD, FNN_TANH_FORWARD, FNN_TANH_BACKWARD,
    FNN_SIGMOID_FORWARD, FNN_SIGMOID_BACKWARD, FNN_SGD, FNN_MOMENTUM, FNN_NESTEROV, FNN_ADAGRAD, FNN_RMSPROP, FNN_ADAM,
    FNN_CLIP, FNN_AVERAGE, FNN_MAPS
};
void fnn_map(enum fnn_map operation, enum fnn_dtype dtype, ptrdiff_t n, void *const *arrays, const double *scalars);

/* ------------------------------------------------------------------------------------------------------------------ random numbers
 * Philox4x32-10 (Salmon et al. 2011), see philox.h. */
struct fnn_dropout {
    uint64_t seed;      /* key */
    uint64_t stream;    /* upper half of the counter */
    uint32_t threshold; /* kept while a 16-bit draw is below it: 1..65536 */
};

/* A matrix (rows, columns) of dtype with element strides. */
struct fnn_matrix {
    void *data;
    ptrdiff_t rows, columns, row_stride, column_stride;
};

/* y = x * (65536 / threshold) where kept, +0.0 elsewhere. x and y have the same shape; y may be exactly x. */
void fnn_dropout(enum fnn_dtype dtype, const struct fnn_matrix *x, const struct fnn_matrix *y, const struct fnn_dropout *dropout);

/* order = a Fisher-Yates permutation of 0..n-1; n < 2**32. */
void fnn_permutation(ptrdiff_t n, uint64_t seed, uint64_t stream, int64_t *order);

/* ------------------------------------------------------------------------------------------------------------------ linear layers
 * x (n, i), w (i, o), b (o) or NULL, y (n, o); any strides, b with one. No output may overlap anything.
 *
 *   forward    y = x w + b, then max(0, .) when `relu`, then dropout when `dropout` is not NULL
 *   backward   dz = dy, or with a gate y: dz = y <= 0 ? 0 : dy * scale
 *              dx = dz w^T, dw = x^T dz, db = sum over rows of dz; each of dx, dw, db is skipped when its data is NULL */
struct fnn_vector {
    void *data;
    ptrdiff_t stride;
};
size_t fnn_linear_forward(enum fnn_dtype dtype, const struct fnn_matrix *x, const struct fnn_matrix *w, struct fnn_vector b, int relu,
                          const struct fnn_dropout *dropout, const struct fnn_matrix *y);
size_t fnn_linear_backward(enum fnn_dtype dtype, const struct fnn_matrix *dy, const struct fnn_matrix *x, const struct fnn_matrix *w,
                        const struct fnn_matrix *gate, double scale, const struct fnn_matrix *dx, const struct fnn_matrix *dw,
                        struct fnn_vector db);

/* ------------------------------------------------------------------------------------------------------------------ losses
 * scores (n, c) with c >= 1; gradient (n, c), may be exactly scores (or, for FNN_L2 and FNN_SOFTMAX, the dense target);
 * `*loss` = sum_i share_i * loss_i with share_i = weight_i / sum(weight), or 1 / n when weight.data is NULL. */
enum fnn_loss { FNN_SOFTMAX, FNN_L2, FNN_HINGE, FNN_LOSSES };
struct fnn_target {
    const int64_t *labels;   /* (n), each 0 <= label < c; or NULL and then */
    struct fnn_matrix dense; /* (n, c) of dtype: probabilities for FNN_SOFTMAX, values for FNN_L2 */
};
size_t fnn_loss(enum fnn_loss kind, enum fnn_dtype dtype, const struct fnn_matrix *scores, const struct fnn_target *target,
             struct fnn_vector weight, double margin, const struct fnn_matrix *gradient, double *loss);

/* ------------------------------------------------------------------------------------------------------------------ tables
 * x (n, i) of uint8, float32 or float64, contiguous. Subnormal numbers are what they are.
 *
 *   column_moments   of every `block` rows, the last ones fewer: mean (blocks, i) of x - x[0], and squares (blocks, i), the sums of
 *                    (x - x[0] - mean)^2, rows added one after another in float64
 *   column_extremes  of every `block` rows: the least and the largest of each column; a NaN where there is one; no zero is negative
 *   row_hashes       hashes (n): mix(sum_j odd_j * word_j) modulo 2^64 over words of two values rounded to float32 */
struct fnn_table {
    const void *data;
    size_t element; /* bytes: 1, 4 or 8 */
    ptrdiff_t rows, columns;
};
void fnn_column_moments(const struct fnn_table *x, ptrdiff_t block, double *mean, double *squares);
void fnn_column_extremes(const struct fnn_table *x, ptrdiff_t block, double *low, double *high);
void fnn_row_hashes(const struct fnn_table *x, uint64_t *hashes);

/* ------------------------------------------------------------------------------------------------------------------ the machine */
const char *fnn_isa(void);                           /* name of the instruction set in use; fnn_use_isa comes before anything else */
int fnn_use_isa(const char *name);                   /* NULL: the best; 0, or -1 if this build or CPU lacks it; not while kernels run */
const char *fnn_isa_name(int index);                 /* names of all instruction sets of this build, NULL after the last */
int fnn_isa_usable(int index);                       /* whether this CPU can run it */
void fnn_set_threads(int threads, int cpus);           /* a job may use, the caller's included; processors there are for them */
int fnn_threads(void);
double fnn_fma_peak(enum fnn_dtype dtype, double seconds, int threads); /* flop/s of threads at once: multiply-adds in registers */
double fnn_stream_bandwidth(size_t bytes, double seconds);    /* byte/s of a = b + s * c over three arrays of `bytes`, all threads;
                                                                 < 0: no memory */

#endif
