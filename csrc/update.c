/* From gradients to new weights: the check that all are finite, clipping, the optimizer, limits, averages and measurements. */
#include <stdlib.h>
#include <string.h>

#include "network_parts.h"
#include "pool.h"
#include "sizes.h"

enum {
    MEASURED_ALONE = 1 << 18, /* elements whose magnitudes one thread finds */
    PIECE = 256,              /* elements that are measured together */
    AHEAD = 4                 /* rows of parameters that are fetched before their turn: too far apart for the hardware to foresee */
};

static double greater(double a, double b) { return a > b || isnan(a) ? a : b; }

/* n neighbouring elements of a parameter from `offset` on; `gradient` is the caller's scratch. */
static void update_span(const struct fnn_network *net, const struct fnn_parameter *arrays, ptrdiff_t n, ptrdiff_t offset, void *gradient,
                        const double *scalars, int average)
{
    const ptrdiff_t at = offset * net->size;
    if (net->clip_value < INFINITY || net->clip_factor != 1.0)
        net->kernels->map[FNN_CLIP](n, (void *[]){gradient, gradient}, (double[]){net->clip_factor, net->clip_value});
    net->kernels->map[net->update](n, (void *[]){arrays->param + at, gradient, arrays->state[0] + at, arrays->state[1] + at}, scalars);
    if (average) net->kernels->map[FNN_AVERAGE](n, (void *[]){arrays->param + at, arrays->average + at}, (double[]){1.0 - net->average});
}

static void prefetch_row(const struct fnn_network *net, const struct fnn_parameter *arrays, ptrdiff_t offset, ptrdiff_t columns)
{
    for (ptrdiff_t at = offset * net->size; at < (offset + columns) * net->size; at += FNN_LINE) {
        __builtin_prefetch(arrays->param + at, 1);
        for (ptrdiff_t s = 0; s < net->slots; s++) __builtin_prefetch(arrays->state[s] + at, 1);
    }
}

/* Looked at, or measured and used. */
void fnn_take_gradient(void *context, const struct fnn_matrix *part, ptrdiff_t row, ptrdiff_t column)
{
    struct fnn_layer *layer = context;
    struct fnn_network *net = layer->network;
    const int average = net->averaged && !(net->max_norm < INFINITY);
    ptrdiff_t rows = part->rows, columns = part->columns;
    if (columns == layer->o && part->row_stride == columns && !net->measuring) {
        columns *= rows;
        rows = 1;
    }
    for (ptrdiff_t r = 0; r < rows; r++) {
        char *gradient = (char *)part->data + r * part->row_stride * net->size;
        const ptrdiff_t offset = (row + r) * layer->o + column;
        if (net->scalars && r + AHEAD < rows) prefetch_row(net, &layer->weight, offset + AHEAD * layer->o, columns);
        if (!net->scalars) {
            if (!(net->kernels->magnitude(columns, gradient) < INFINITY)) atomic_store_explicit(&net->unsafe, 1, memory_order_relaxed);
        } else if (!net->measuring) {
            update_span(net, &layer->weight, columns, offset, gradient, net->scalars, average);
        } else {
            for (ptrdiff_t c = 0; c < columns; c += PIECE) {
                const ptrdiff_t n = smaller(PIECE, columns - c);
                const char *param = layer->weight.param + (offset + c) * net->size;
                double before[PIECE];
                memcpy(before, param, (size_t)(n * net->size));
                net->kernels->add_squares(n, gradient + c * net->size, layer->squares + column + c);
                update_span(net, &layer->weight, n, offset + c, gradient + c * net->size, net->scalars, average);
                net->kernels->add_moves(n, before, param, layer->moves + column + c);
            }
        }
    }
}

/* A task is given whole columns, so that what is summed down a column does not depend on how many tasks there are. */
static void columns_of(ptrdiff_t columns, int task, int tasks, ptrdiff_t *first, ptrdiff_t *end)
{
    const ptrdiff_t unit = 64, units = (columns + unit - 1) / unit;
    *first = smaller(columns, unit * (units * task / tasks));
    *end = smaller(columns, unit * (units * (task + 1) / tasks));
}

static void take_stored_part(void *context, int task)
{
    struct fnn_layer *layer = context;
    ptrdiff_t first, end;
    columns_of(layer->o, task, layer->network->threads, &first, &end);
    struct fnn_matrix part = {layer->dw + first * layer->network->size, layer->i, end - first, layer->o, 1};
    if (first < end) fnn_take_gradient(layer, &part, 0, first);
}

static void limit_part(void *context, int task)
{
    struct fnn_layer *layer = context;
    struct fnn_network *net = layer->network;
    const ptrdiff_t size = net->size;
    ptrdiff_t first, end;
    columns_of(layer->o, task, net->threads, &first, &end);
    char *factors = net->factors + first * size;
    memset(factors, 0, (size_t)((end - first) * size));
    for (ptrdiff_t r = 0; r < layer->i; r++)
        net->kernels->add_column_squares(end - first, layer->weight.param + (r * layer->o + first) * size, factors);
    net->kernels->column_factors(end - first, net->max_norm, factors);
    for (ptrdiff_t r = 0; r < layer->i; r++) {
        const ptrdiff_t at = (r * layer->o + first) * size;
        net->kernels->scale_columns(end - first, factors, layer->weight.param + at);
        if (net->averaged)
            net->kernels->map[FNN_AVERAGE](end - first, (void *[]){layer->weight.param + at, layer->weight.average + at},
                                           (double[]){1.0 - net->average});
    }
}

/* The largest magnitudes of a layer's inputs and of its gradients, in a task's columns. */
static void magnitudes_part(void *context, int task)
{
    struct fnn_network *net = context;
    for (ptrdiff_t k = 0; k < net->layers; k++) {
        if (net->layer[k].dw) continue; /* whose gradient is there, and perhaps its input no more */
        const struct fnn_matrix *of[] = {k == 0 ? &net->x : &net->layer[k - 1].y, &net->layer[k].dz};
        for (int m = 0; m < 2; m++) {
            ptrdiff_t first, end;
            columns_of(of[m]->columns, task, net->magnitude_tasks, &first, &end);
            ptrdiff_t rows = first < end ? of[m]->rows : 0, columns = end - first;
            if (columns == of[m]->columns && of[m]->row_stride <= larger(columns, net->kernels->lanes)) {
                columns = rows * of[m]->row_stride; /* with the room behind narrow rows: what products and maps make of zeros */
                rows = rows > 0;
            }
            double most = 0.0;
            for (ptrdiff_t r = 0; r < rows; r++) {
                const char *row = (const char *)of[m]->data + (r * of[m]->row_stride + first) * net->size;
                most = greater(most, net->kernels->magnitude(columns, row));
            }
            net->magnitudes[(task * net->layers + k) * 2 + m] = most;
        }
    }
}

/* What no gradient of a weight exceeds: the largest input times the largest gradient of a row's sums, times the rows. */
static double bound_of_gradients(struct fnn_network *net)
{
    ptrdiff_t elements = 0;
    double bound = 0.0;
    for (ptrdiff_t k = 0; k < net->layers; k++) elements += net->layer[k].dz.rows * (net->layer[k].i + net->layer[k].o);
    net->magnitude_tasks = elements < MEASURED_ALONE ? 1 : net->threads;
    fnn_parallel(net->magnitude_tasks, magnitudes_part, net);
    for (ptrdiff_t k = 0; k < net->layers; k++) {
        if (net->layer[k].dw) continue;
        double most[2] = {1.0, 0.0};
        for (ptrdiff_t task = 0; task < net->magnitude_tasks; task++)
            for (int m = 0; m < 2; m++) most[m] = greater(most[m], net->magnitudes[(task * net->layers + k) * 2 + m]);
        bound = greater(bound, (double)net->layer[k].dz.rows * most[0] * most[1]);
    }
    return bound;
}

/* A number that no gradient exceeds; infinity where one is not finite. By bounds, and where those do not tell, by working them out. */
static double size_of_gradients(struct fnn_network *net)
{
    const double limit = net->dtype == FNN_F32 ? 1e38 : 1e307;
    double most = 0.0;
    for (ptrdiff_t k = 0; k < net->layers; k++) {
        const struct fnn_layer *layer = &net->layer[k];
        most = greater(most, net->kernels->magnitude(layer->o, layer->db));
        if (layer->dw) most = greater(most, net->kernels->magnitude(layer->i * layer->o, layer->dw));
    }
    if (net->stored || !(most < INFINITY)) return most;
    const double bound = bound_of_gradients(net);
    if (bound < limit) return greater(most, bound);
    net->scalars = NULL; /* only look */
    atomic_store(&net->unsafe, 0);
    for (ptrdiff_t k = 0; k < net->layers; k++)
        if (!net->layer[k].dw) fnn_product_run(&net->layer[k].gradient, net->workspace);
    return atomic_load(&net->unsafe) ? INFINITY : limit;
}

static double norm_of_gradients(struct fnn_network *net)
{
    double total = 0.0;
    for (ptrdiff_t k = 0; k < net->layers; k++) {
        struct fnn_layer *layer = &net->layer[k];
        for (ptrdiff_t c = 0; c < layer->o; c++) layer->squares[c] = 0.0;
        for (ptrdiff_t r = 0; r < layer->i; r++) net->kernels->add_squares(layer->o, layer->dw + r * layer->o * net->size, layer->squares);
        net->kernels->add_squares(layer->o, layer->db, layer->squares);
        for (ptrdiff_t c = 0; c < layer->o; c++) total += layer->squares[c];
    }
    return sqrt(total);
}

/* ------------------------------------------------------------------------------------------------------------------ rash updates */

/* Whether an update might take a weight or the optimizer's state out of the range of numbers: only then is it worth a copy of all. */
static int rash(const struct fnn_network *net, double gradient, const double *scalars)
{
    const double decay = scalars[0], l1 = scalars[1], rate = scalars[2], shrink = net->update == FNN_ADAM ? scalars[8] : 0.0;
    return gradient + l1 > (net->dtype == FNN_F32 ? 1e18 : 1e150) || fabs(rate) > 1e6 || fabs(rate * decay) > 1.0 || fabs(shrink) > 1.0;
}

/* Copies what an update changes, one array after another, to `copy` or back; adds the bytes up where that is NULL. */
static size_t copy_all(struct fnn_network *net, char *copy, int back)
{
    size_t used = 0;
    for (ptrdiff_t k = 0; k < net->layers; k++)
        for (int b = 0; b < 2; b++) {
            struct fnn_layer *layer = &net->layer[k];
            const struct fnn_parameter *p = b ? &layer->bias : &layer->weight;
            const size_t bytes = (size_t)((b ? 1 : layer->i) * layer->o * net->size);
            char *const arrays[] = {p->param, net->averaged ? p->average : NULL, net->slots > 0 ? p->state[0] : NULL,
                                    net->slots > 1 ? p->state[1] : NULL};
            for (int a = 0; a < 4; a++) {
                if (!arrays[a]) continue;
                if (copy && back) memcpy(arrays[a], copy + used, bytes);
                else if (copy) memcpy(copy + used, arrays[a], bytes);
                used += bytes;
            }
        }
    return used;
}

static int all_finite(const struct fnn_network *net)
{
    double most = 0.0;
    for (ptrdiff_t k = 0; k < net->layers; k++)
        for (int b = 0; b < 2; b++) {
            const struct fnn_layer *layer = &net->layer[k];
            const struct fnn_parameter *p = b ? &layer->bias : &layer->weight;
            const ptrdiff_t n = (b ? 1 : layer->i) * layer->o;
            most = greater(most, net->kernels->magnitude(n, p->param));
            for (ptrdiff_t slot = 0; slot < net->slots; slot++) most = greater(most, net->kernels->magnitude(n, p->state[slot]));
        }
    return most < INFINITY;
}

/* ------------------------------------------------------------------------------------------------------------------ the update */

int fnn_update(struct fnn_network *net, const double *scalars, const double *bias_scalars, int measure)
{
    double squares = 0.0, moves = 0.0, sizes = 0.0;
    const double gradient = size_of_gradients(net);
    if (!(gradient < INFINITY)) return 0;
    const int unsure = rash(net, gradient, scalars) || rash(net, gradient, bias_scalars);
    char *copy = unsure ? malloc(copy_all(net, NULL, 0)) : NULL; /* without the memory, the update is made unseen */
    if (copy) copy_all(net, copy, 0);
    net->scalars = scalars;
    net->clip_factor = 1.0;
    if (net->clip_norm < INFINITY) {
        const double norm = norm_of_gradients(net);
        if (norm > net->clip_norm) net->clip_factor = net->clip_norm / norm;
        squares = norm * norm;
    }
    for (ptrdiff_t k = 0; k < net->layers; k++) {
        struct fnn_layer *layer = &net->layer[k];
        if (measure) {
            for (ptrdiff_t c = 0; c < layer->o; c++) layer->squares[c] = 0.0;
            for (ptrdiff_t r = 0; r < layer->i; r++)
                net->kernels->add_squares(layer->o, layer->weight.param + r * layer->o * net->size, layer->squares);
            for (ptrdiff_t c = 0; c < layer->o; c++) sizes += layer->squares[c];
            for (ptrdiff_t c = 0; c < layer->o; c++) layer->squares[c] = layer->moves[c] = 0.0;
            net->kernels->add_squares(layer->o, layer->db, layer->squares);
        }
        if (layer->dw) fnn_parallel(net->threads, take_stored_part, layer);
        else fnn_product_run(&layer->gradient, net->workspace);
        const int limited = net->max_norm < INFINITY;
        update_span(net, &layer->bias, layer->o, 0, layer->db, bias_scalars, net->averaged);
        if (limited) fnn_parallel(net->threads, limit_part, layer);
        for (ptrdiff_t c = 0; c < layer->o && measure; c++) {
            squares += net->clip_norm < INFINITY ? 0.0 : layer->squares[c];
            moves += layer->moves[c];
        }
    }
    const int kept = !copy || all_finite(net);
    if (!kept) copy_all(net, copy, 1);
    free(copy);
    if (measure && kept) {
        net->statistics.gradient_norm = sqrt(squares);
        net->statistics.weight_norm = sqrt(sizes);
        net->statistics.update_ratio = sizes > 0.0 ? sqrt(moves) / sqrt(sizes) : NAN;
    }
    return kept;
}
