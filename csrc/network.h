/* The training engine: whole updates of a multilayer perceptron, from rows of data to new weights, without a call to anything above.
 *
 * What an update computes, and where it rounds, is fixed by fastnn/loop.py. The same bits for any number of threads, any division of
 * updates into runs and of batches into micro-batches. After the first update of a size no memory is allocated. */
#ifndef FNN_NETWORK_H
#define FNN_NETWORK_H

#include "fastnn.h"

enum fnn_activation { FNN_LINEAR, FNN_RELU, FNN_LEAKY, FNN_TANH, FNN_SIGMOID };

/* Arrays are contiguous, of dtype, the caller's, and outlive the network; other pointers are read by fnn_network_new only. */
struct fnn_network_plan {
    enum fnn_dtype dtype;
    int layers;                    /* at least 1 */
    const ptrdiff_t *sizes;        /* inputs, hidden..., outputs: layers + 1 */
    enum fnn_activation activation; /* of hidden layers */
    double slope;
    const uint32_t *thresholds;    /* of the dropout of each layer's input, 65536 for none: layers */
    uint64_t seed;
    enum fnn_loss loss;            /* FNN_LOSSES: the caller's own, by fnn_network_forward and _backward */
    double margin;
    enum fnn_map update;
    int slots;                     /* state arrays a parameter: 0, 1 or 2 */
    double clip_value, clip_norm, max_norm; /* infinite: none */
    double average;                /* decay of the running averages; they are kept when `averages` is not NULL */
    const void *mean, *inverse_std; /* (inputs) or NULL */
    void *const *parameters;       /* w0, b0, w1, ...: 2 * layers */
    void *const *states;           /* 2 * layers * slots, all of a parameter's together */
    void *const *averages;         /* 2 * layers, or NULL */
};

/* What the elements of x are: of the network's dtype, uint8, or of the other dtype. */
enum fnn_elements { FNN_OWN, FNN_BYTES, FNN_OTHER };

/* Rows to learn from. Labels, or dense targets (rows, outputs); weight and order may be NULL. */
struct fnn_rows {
    ptrdiff_t count;
    const void *x;
    enum fnn_elements elements;
    ptrdiff_t x_stride, dense_stride;
    const int64_t *labels;
    const void *dense, *weight;
    const int64_t *order; /* row numbers, or NULL for 0, 1, 2 ... */
};

/* Bytes of an element of x; and n of them as the network takes them: converted, standardised where there is a mean. */
ptrdiff_t fnn_element_bytes(enum fnn_dtype dtype, const struct fnn_rows *rows);
void fnn_take_row(enum fnn_dtype dtype, const struct fnn_rows *rows, ptrdiff_t n, const void *from, const void *mean,
                  const void *inverse_std, void *to);

double fnn_seconds(void); /* of the monotonic clock */

/* Update u takes the rows of batch first + u, `micro` at a time, and row u of the scalars, which are those of `update`. */
struct fnn_updates {
    ptrdiff_t batch, micro, first, count;
    const double *scalars, *bias_scalars;
    ptrdiff_t scalars_stride;
    uint64_t step; /* updates before the first one */
    int measure;   /* the last one */
};

struct fnn_statistics { /* sums over batches: mean loss * weight, weight, hits or squared errors / outputs, rows */
    double loss, weight, metric, rows;
    double gradient_norm, weight_norm, update_ratio; /* of the last measured update */
};

struct fnn_network;
struct fnn_network *fnn_network_new(const struct fnn_network_plan *plan); /* NULL: no memory */
void fnn_network_free(struct fnn_network *network);

/* Makes room for `rows` rows at a time, and for all gradients when `store`, as batches in several parts need them; 0 or the bytes that
 * could not be had. Comes before each run, of which it sets the threads: one if `alone`, which is for networks that are run by tasks of a
 * job, else all. */
size_t fnn_network_reserve(struct fnn_network *network, ptrdiff_t rows, int store, int alone);
size_t fnn_network_bytes(const struct fnn_network *network); /* held */
struct fnn_statistics *fnn_network_statistics(struct fnn_network *network);

/* Why a run ended before its updates were done: time; a loss or gradient of the next update that is not finite; or that `stop` said so.
 * Nothing is written for an update that is not done. */
enum fnn_end { FNN_TIME, FNN_NOT_FINITE, FNN_STOPPED };

/* Asked after `seconds` within an update, and again and again, as long as it can be given up; NULL: nobody. */
struct fnn_watch {
    int (*stop)(void *context);
    void *context;
};

/* Does updates for about `seconds`, at least one, and returns how many were done. */
ptrdiff_t fnn_network_run(struct fnn_network *network, const struct fnn_rows *rows, const struct fnn_updates *updates, double seconds,
                          const struct fnn_watch *watch, enum fnn_end *end);

/* One batch with the caller's own loss: scores (rows, outputs), contiguous; then an update from their gradients: 0 when a gradient is
 * not finite, and nothing written. `rows` has x alone; `row` rows of the batch came before. */
void fnn_network_forward(struct fnn_network *network, const struct fnn_rows *rows, uint64_t step, ptrdiff_t row, void *scores);
int fnn_network_backward(struct fnn_network *network, const void *gradient, const double *scalars, const double *bias_scalars, int measure);

#endif
