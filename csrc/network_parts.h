/* The network as its two halves share it: network.c takes rows forward and back, update.c turns gradients into new weights. */
#ifndef FNN_NETWORK_PARTS_H
#define FNN_NETWORK_PARTS_H

#include <math.h>
#include <stdatomic.h>

#include "gemm.h"
#include "network.h"

struct fnn_layer {
    ptrdiff_t i, o;
    enum fnn_activation activation;
    struct fnn_parameter {
        char *param, *average, *state[2];
    } weight, bias;
    struct fnn_dropout drop;        /* of its output */
    struct fnn_matrix y, active, dz; /* output, output before dropout, gradient before the activation */
    struct fnn_product forward, input, gradient;
    struct fnn_gating gating;
    int over;                       /* dz takes the place of y: the next layer's dw is made first */
    char *db, *dw;                  /* sums over the batch; dw NULL when that gradient never meets memory */
    double *squares, *moves;        /* a column each, of gradients and of changes */
    struct fnn_network *network;
};

struct fnn_network {
    enum fnn_dtype dtype;
    ptrdiff_t size, layers, slots;
    const struct fnn_real_kernels *kernels;
    int threads;
    double slope, margin, clip_value, clip_norm, max_norm, average;
    enum fnn_loss loss;
    enum fnn_map update;
    int averaged, stored; /* running averages are kept; all gradients meet memory */
    const char *mean, *inverse_std;
    struct fnn_dropout drop_inputs;

    char *arena;
    size_t arena_bytes;
    ptrdiff_t capacity, planned; /* rows that fit, rows that the plans are for */
    int measuring;               /* and whether for an update that is measured */
    struct fnn_matrix gathered, x; /* room for gathered rows; the input of the first layer, which may be the caller's data */
    int64_t *labels;
    char *dense, *weights, *factors, *workspace, *forward_workspace;
    size_t forward_room; /* bytes before the workspace that are free in the forward pass */
    struct fnn_loss_sums *sums;
    struct fnn_loss_rows batch; /* of the last forward pass, scores and targets */

    /* Of the update under way. */
    const struct fnn_watch *watch;
    double ask_at, ask_every; /* seconds of the monotonic clock */
    const double *scalars, *bias_scalars;
    double clip_factor;
    atomic_int unsafe;   /* a gradient is not finite */
    double *magnitudes;  /* found by each of so many tasks, two a layer */
    int magnitude_tasks;
    struct fnn_statistics statistics;
    struct fnn_layer layer[];
};

/* Applies the gradients of the batch; 0, and nothing written, where one is not finite, or what would become of weights and state. */
int fnn_update(struct fnn_network *network, const double *scalars, const double *bias_scalars, int measure);

/* Takes a finished part of a layer's weight gradient, while it is in cache; for fnn_finish, whose context is the layer. */
void fnn_take_gradient(void *layer, const struct fnn_matrix *part, ptrdiff_t row, ptrdiff_t column);

#endif
