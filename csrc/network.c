#define _GNU_SOURCE /* the C11 flag hides POSIX otherwise */
#include "network_parts.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pool.h"
#include "sizes.h"

enum {
    WIDE_BYTES = 2048,  /* rows from this length on are kept an odd number of cache lines apart */
    FEW_ROWS = 32,      /* plans of so many rows may take more workspace than those of many */
    GATHERED_A_THREAD = 20000, /* elements to gather that are worth a second thread */
    ROWS_AHEAD = 3,     /* rows that are fetched before their turn: shuffled ones lie anywhere in memory */
    OVER_BYTES = 1 << 18, /* of a layer's output from which its gradient takes its place, */
    OVER_ROWS = 4,        /* where the batch has so many rows for each column of the next layer's weights: their gradient is smaller then */
    WATCHED_WEIGHTS = 1 << 28, /* weights times rows from which on an update is long enough to be given up half-way */
};

static struct fnn_layer *last_layer(struct fnn_network *net) { return &net->layer[net->layers - 1]; }

/* Whether layer k's dw is made on the way back, before its input is written over. */
static int made_early(const struct fnn_network *net, ptrdiff_t k) { return k > 0 && net->layer[k - 1].over; }

static ptrdiff_t stride_of(const struct fnn_network *net, ptrdiff_t columns)
{
    const ptrdiff_t line = FNN_LINE / net->size, lines = (columns + line - 1) / line;
    return columns * net->size < WIDE_BYTES ? larger(columns, net->kernels->lanes) : (lines | 1) * line;
}

/* ------------------------------------------------------------------------------------------------------------------ memory */

struct fnn_network *fnn_network_new(const struct fnn_network_plan *plan)
{
    struct fnn_network *net = calloc(1, sizeof *net + (size_t)plan->layers * sizeof *net->layer);
    if (!net) return NULL;
    *net = (struct fnn_network){
        .dtype = plan->dtype, .size = (ptrdiff_t)fnn_size(plan->dtype), .layers = plan->layers, .slots = plan->slots, .slope = plan->slope,
        .margin = plan->margin, .clip_value = plan->clip_value, .clip_norm = plan->clip_norm, .max_norm = plan->max_norm,
        .average = plan->average, .loss = plan->loss, .update = plan->update, .averaged = plan->averages != NULL,
        .stored = plan->clip_norm < INFINITY, .mean = plan->mean, .inverse_std = plan->inverse_std,
        .drop_inputs = {plan->seed, 0, plan->thresholds[0]},
        .statistics = {.gradient_norm = NAN, .weight_norm = NAN, .update_ratio = NAN},
    };
    for (int k = 0; k < plan->layers; k++) {
        struct fnn_layer *layer = &net->layer[k];
        const int last = k == plan->layers - 1;
        layer->network = net;
        layer->i = plan->sizes[k];
        layer->o = plan->sizes[k + 1];
        layer->activation = last ? FNN_LINEAR : plan->activation;
        layer->drop = (struct fnn_dropout){plan->seed, 0, last ? 65536 : plan->thresholds[k + 1]};
        struct fnn_parameter *arrays[] = {&layer->weight, &layer->bias};
        for (int a = 0; a < 2; a++) {
            arrays[a]->param = plan->parameters[2 * k + a];
            arrays[a]->average = plan->averages ? plan->averages[2 * k + a] : NULL;
            for (int s = 0; s < plan->slots; s++) arrays[a]->state[s] = plan->states[(2 * k + a) * plan->slots + s];
        }
    }
    return net;
}

void fnn_network_free(struct fnn_network *net)
{
    if (net) free(net->arena);
    free(net);
}

size_t fnn_network_bytes(const struct fnn_network *net) { return net->arena_bytes; }
struct fnn_statistics *fnn_network_statistics(struct fnn_network *net) { return &net->statistics; }

/* Points every buffer of `rows` rows into the arena, or only adds up their bytes when that is NULL. Gradients come last: the forward pass
 * works where they will be, and in the workspace behind them. */
static size_t lay_out(struct fnn_network *net, ptrdiff_t rows, char *arena)
{
    size_t used = 0;
#define TAKE(bytes) (used += whole_lines((size_t)(bytes)), arena ? arena + used - whole_lines((size_t)(bytes)) : NULL)
    const ptrdiff_t size = net->size, outputs = last_layer(net)->o;
    ptrdiff_t widest = 0;
    net->gathered = (struct fnn_matrix){NULL, rows, net->layer[0].i, stride_of(net, net->layer[0].i), 1};
    net->gathered.data = TAKE(rows * net->gathered.row_stride * size);
    for (ptrdiff_t k = 0; k < net->layers; k++) {
        struct fnn_layer *layer = &net->layer[k];
        const ptrdiff_t stride = stride_of(net, layer->o);
        const int curved = layer->activation > FNN_RELU && layer->drop.threshold < 65536;
        layer->y = layer->active = layer->dz = (struct fnn_matrix){NULL, rows, layer->o, stride, 1};
        layer->y.data = TAKE(rows * stride * size);
        layer->active.data = curved ? TAKE(rows * stride * size) : layer->y.data;
        layer->dz.data = layer->y.data;
        layer->over = k < net->layers - 1 && layer->activation == FNN_RELU && rows * stride * size >= OVER_BYTES &&
                      rows >= OVER_ROWS * net->layer[k + 1].o;
        layer->db = TAKE(layer->o * size);
        layer->squares = (double *)TAKE(2 * layer->o * (ptrdiff_t)sizeof(double));
        layer->moves = layer->squares ? layer->squares + layer->o : NULL;
        layer->dw = net->stored || made_early(net, k) ? TAKE(layer->i * layer->o * size) : NULL;
        widest = larger(widest, layer->o);
    }
    net->labels = (int64_t *)TAKE(rows * (ptrdiff_t)sizeof(int64_t));
    net->dense = TAKE(rows * outputs * size);
    net->weights = TAKE(rows * size);
    net->factors = TAKE(widest * size);
    net->sums = (struct fnn_loss_sums *)TAKE((rows / FNN_LOSS_BLOCK + 1) * (ptrdiff_t)sizeof *net->sums);
    net->magnitudes = (double *)TAKE(net->threads * net->layers * 2 * (ptrdiff_t)sizeof(double));
    net->forward_workspace = arena ? arena + used : NULL;
    net->forward_room = used;
    for (ptrdiff_t k = 0; k < net->layers - 1; k++)
        if (!net->layer[k].over) net->layer[k].dz.data = TAKE(rows * net->layer[k].dz.row_stride * size);
    net->forward_room = used - net->forward_room;
    net->workspace = arena ? arena + used : NULL;
#undef TAKE
    return used;
}

/* Takes a part of a layer's gradient, of its output, and writes that before the activation over the output. */
static void gate_over(void *context, const struct fnn_matrix *part, ptrdiff_t row, ptrdiff_t column)
{
    const struct fnn_layer *layer = context;
    char *y = (char *)layer->y.data + (row * layer->y.row_stride + column) * layer->network->size;
    layer->network->kernels->gate(&(struct fnn_gate){
        .rows = part->rows, .columns = part->columns, .dy = part->data, .gate = y, .out = y, .scale = layer->gating.scale,
        .dy_stride = part->row_stride, .gate_stride = layer->y.row_stride, .out_stride = layer->y.row_stride});
}

/* Plans the products of a batch and returns the workspace they share, beside the gradients' memory as long as that is free. */
static size_t plan_products(struct fnn_network *net, ptrdiff_t rows, int measuring)
{
    size_t most = 0;
    net->planned = rows;
    net->measuring = measuring;
    for (ptrdiff_t k = 0; k < net->layers; k++) {
        struct fnn_layer *layer = &net->layer[k];
        const struct fnn_matrix weight = {layer->weight.param, layer->i, layer->o, layer->o, 1};
        struct fnn_matrix x = k == 0 ? net->gathered : net->layer[k - 1].y;
        x.rows = layer->y.rows = layer->active.rows = layer->dz.rows = rows;
        const int fused = layer->activation <= FNN_RELU;
        layer->forward = (struct fnn_product){
            .kernels = net->kernels, .dtype = net->dtype, .threads = net->threads, .frugal = 1, .a = x, .b = weight, .split = FNN_TERMS,
            .y = fused ? layer->y : layer->active, .bias = {layer->bias.param, 1}, .relu = layer->activation == FNN_RELU, .room_in_y = 1,
            .dropout = fused && layer->drop.threshold < 65536 ? &layer->drop : NULL};
        layer->gating = (struct fnn_gating){
            .kernels = net->kernels, .dtype = net->dtype, .dy = layer->dz, .dz = layer->dz, .sums = layer->db, .room = 1,
            .scale = 65536.0 / layer->drop.threshold};
        if (layer->activation == FNN_RELU && !layer->over) layer->gating.gate = layer->y;
        if (k > 0) {
            layer->input = (struct fnn_product){
                .kernels = net->kernels, .dtype = net->dtype, .threads = net->threads, .frugal = 1, .a = layer->dz,
                .b = fnn_transposed(weight), .y = net->layer[k - 1].dz, .room_in_y = 1};
            layer->input.y.rows = rows;
            if (made_early(net, k)) {
                layer->input.y.data = NULL;
                layer->input.room_in_y = 0;
                layer->input.finish = (struct fnn_finish){gate_over, &net->layer[k - 1]};
            }
        }
        layer->gradient = (struct fnn_product){
            .kernels = net->kernels, .dtype = net->dtype, .threads = net->threads, .a = fnn_transposed(x), .b = layer->dz, .room_in_b = 1,
            .split = net->measuring ? FNN_WHOLE_COLUMNS : FNN_ROWS_FIRST,
            .y = {layer->dw, layer->i, layer->o, layer->o, 1}};
        if (!layer->dw) layer->gradient.finish = (struct fnn_finish){fnn_take_gradient, layer};
        const size_t forward = fnn_product_plan(&layer->forward);
        const size_t bytes[] = {forward > net->forward_room ? forward - net->forward_room : 0, fnn_product_plan(&layer->gradient),
                                fnn_gating_plan(&layer->gating), k > 0 ? fnn_product_plan(&layer->input) : 0};
        for (int b = 0; b < 4; b++) most = bytes[b] > most ? bytes[b] : most;
    }
    return whole_lines(most);
}

size_t fnn_network_reserve(struct fnn_network *net, ptrdiff_t rows, int store, int alone)
{
    const struct fnn_real_kernels *kernels = &fnn_active()->real[net->dtype];
    const int threads = alone ? 1 : fnn_threads();
    if (rows <= net->capacity && store <= net->stored && net->threads == threads && net->kernels == kernels) return 0;
    const struct fnn_network before = {.capacity = net->capacity, .stored = net->stored, .threads = net->threads, .kernels = net->kernels};
    net->capacity = rows = larger(rows, net->capacity);
    net->stored |= store;
    net->threads = threads;
    net->kernels = kernels;
    const size_t fixed = lay_out(net, rows, NULL);
    size_t workspace = 0;
    for (ptrdiff_t few = 1; few <= rows; few = few < FEW_ROWS || few == rows ? few + 1 : rows)
        for (int measuring = 0; measuring < 2; measuring++) {
            const size_t bytes = plan_products(net, few, measuring);
            workspace = bytes > workspace ? bytes : workspace;
        }
    char *arena = aligned_alloc(FNN_LINE, fixed + workspace);
    if (!arena) { /* as it was */
        net->capacity = before.capacity;
        net->stored = before.stored;
        net->threads = before.threads;
        net->kernels = before.kernels;
        net->planned = 0;
        if (net->arena) lay_out(net, net->capacity, net->arena);
        return fixed + workspace;
    }
    free(net->arena);
    memset(arena, 0, fixed + workspace);
    net->arena = arena;
    net->arena_bytes = fixed + workspace;
    lay_out(net, rows, arena);
    plan_products(net, rows, 0);
    return 0;
}

/* ------------------------------------------------------------------------------------------------------------------ rows */

struct gathering {
    struct fnn_network *net;
    const struct fnn_rows *rows;
    ptrdiff_t start, stride; /* of rows, in bytes */
    int tasks;
};

ptrdiff_t fnn_element_bytes(enum fnn_dtype dtype, const struct fnn_rows *rows)
{
    const ptrdiff_t own = (ptrdiff_t)fnn_size(dtype), other = (ptrdiff_t)(sizeof(float) + sizeof(double)) - own;
    return rows->elements == FNN_BYTES ? 1 : rows->elements == FNN_OWN ? own : other;
}

void fnn_take_row(enum fnn_dtype dtype, const struct fnn_rows *rows, ptrdiff_t n, const void *from, const void *mean,
                  const void *inverse_std, void *to)
{
    const struct fnn_real_kernels *kernels = &fnn_active()->real[dtype];
    const int own = rows->elements == FNN_OWN;
    if (!own) (rows->elements == FNN_BYTES ? kernels->from_bytes : kernels->from_other)(n, from, to);
    if (mean) kernels->standardise(n, own ? from : to, mean, inverse_std, to);
    else if (own) memcpy(to, from, (size_t)n * fnn_size(dtype));
}

static const char *row_to_gather(const struct gathering *g, ptrdiff_t r)
{
    const ptrdiff_t row = g->rows->order ? g->rows->order[g->start + r] : g->start + r;
    return (const char *)g->rows->x + row * g->stride;
}

static void gather_part(void *context, int task)
{
    const struct gathering *g = context;
    const struct fnn_network *net = g->net;
    const ptrdiff_t n = net->x.rows, width = net->gathered.columns, first = n * task / g->tasks, end = n * (task + 1) / g->tasks;
    const ptrdiff_t bytes = width * fnn_element_bytes(net->dtype, g->rows);
    for (ptrdiff_t r = first; r < end; r++) {
        const char *from = row_to_gather(g, r), *next = row_to_gather(g, smaller(r + ROWS_AHEAD, end - 1));
        for (ptrdiff_t b = 0; b < bytes; b += FNN_LINE) __builtin_prefetch(next + b);
        char *to = (char *)net->gathered.data + r * net->gathered.row_stride * net->size;
        fnn_take_row(net->dtype, g->rows, width, from, net->mean, net->inverse_std, to);
    }
}

/* Brings rows start .. start + n into the first layer's reach; rows that need no change are left where they are. */
static void gather(struct fnn_network *net, const struct fnn_rows *rows, ptrdiff_t start, ptrdiff_t n, ptrdiff_t row)
{
    struct fnn_layer *first = &net->layer[0];
    const int in_place = !rows->order && rows->elements == FNN_OWN && !net->mean && net->drop_inputs.threshold == 65536;
    net->x = net->gathered;
    net->x.rows = n;
    if (in_place) {
        net->x.data = (char *)rows->x + start * rows->x_stride * net->size;
        net->x.row_stride = rows->x_stride;
    } else {
        const ptrdiff_t stride = rows->x_stride * fnn_element_bytes(net->dtype, rows);
        struct gathering g = {net, rows, start, stride, n * net->x.columns < GATHERED_A_THREAD ? 1 : net->threads};
        fnn_parallel(g.tasks, gather_part, &g);
        if (net->drop_inputs.threshold < 65536) fnn_dropout_rows(net->dtype, &net->x, &net->x, &net->drop_inputs, row);
    }
    first->forward.a = net->x;
    first->gradient.a = fnn_transposed(net->x);
}

static void gather_targets(struct fnn_network *net, const struct fnn_rows *rows, ptrdiff_t start, ptrdiff_t n)
{
    const ptrdiff_t outputs = last_layer(net)->o, size = net->size;
    net->batch.labels = NULL;
    net->batch.dense = net->batch.weight = NULL;
    net->batch.weight_stride = 1;
    if (!rows->order) {
        if (rows->labels) net->batch.labels = rows->labels + start;
        else net->batch.dense = (const char *)rows->dense + start * rows->dense_stride * size;
        net->batch.dense_stride = rows->dense_stride;
        if (rows->weight) net->batch.weight = (const char *)rows->weight + start * size;
        return;
    }
    const int64_t *order = rows->order + start;
    for (ptrdiff_t r = 0; r < n && rows->labels; r++) net->labels[r] = rows->labels[order[r]];
    for (ptrdiff_t r = 0; r < n && !rows->labels; r++)
        memcpy(net->dense + r * outputs * size, (const char *)rows->dense + order[r] * rows->dense_stride * size, (size_t)(outputs * size));
    for (ptrdiff_t r = 0; r < n && rows->weight; r++)
        memcpy(net->weights + r * size, (const char *)rows->weight + order[r] * size, (size_t)size);
    if (rows->labels) net->batch.labels = net->labels;
    else net->batch.dense = net->dense;
    net->batch.dense_stride = outputs;
    if (rows->weight) net->batch.weight = net->weights;
}

static double total_weight(const struct fnn_network *net, const struct fnn_rows *rows, ptrdiff_t start, ptrdiff_t n)
{
    if (!rows->weight) return (double)n;
    double total = 0.0;
    for (ptrdiff_t r = start; r < start + n; r++) {
        const ptrdiff_t at = rows->order ? rows->order[r] : r;
        total += net->dtype == FNN_F32 ? (double)((const float *)rows->weight)[at] : ((const double *)rows->weight)[at];
    }
    return total;
}

/* ------------------------------------------------------------------------------------------------------------------ passes */

static void set_streams(struct fnn_network *net, uint64_t step)
{
    const uint64_t base = step * (uint64_t)net->layers;
    net->drop_inputs.stream = base;
    for (ptrdiff_t k = 0; k < net->layers; k++) net->layer[k].drop.stream = base + (uint64_t)k + 1;
}

double fnn_seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Whether the update under way is to be given up. */
static int stopped(struct fnn_network *net)
{
    if (!net->watch || fnn_seconds() < net->ask_at) return 0;
    net->ask_at = fnn_seconds() + net->ask_every;
    return net->watch->stop(net->watch->context);
}

/* 0 where it was stopped on the way; so with the next ones. */
static int forward(struct fnn_network *net, ptrdiff_t row)
{
    static const enum fnn_map maps[] = {
        [FNN_LEAKY] = FNN_LEAKY_FORWARD, [FNN_TANH] = FNN_TANH_FORWARD, [FNN_SIGMOID] = FNN_SIGMOID_FORWARD};
    for (ptrdiff_t k = 0; k < net->layers; k++) {
        struct fnn_layer *layer = &net->layer[k];
        layer->forward.dropout_row = row;
        if (stopped(net)) return 0;
        fnn_product_run(&layer->forward, net->forward_workspace);
        if (layer->activation <= FNN_RELU) continue;
        fnn_map(maps[layer->activation], net->dtype, layer->active.rows * layer->active.row_stride,
                (void *[]){layer->active.data, layer->active.data}, &net->slope);
        if (layer->drop.threshold < 65536) fnn_dropout_rows(net->dtype, &layer->active, &layer->y, &layer->drop, row);
    }
    return 1;
}

static void store_gradient(struct fnn_network *net, struct fnn_layer *layer, int accumulate)
{
    layer->gradient.accumulate = accumulate;
    fnn_product_run(&layer->gradient, net->workspace);
}

/* From the gradient of the scores, in the last layer's dz, to that of every layer; biases' gradients are added to db, and weights' to dw or
 * put there, where inputs will not be there any more. */
static int backward(struct fnn_network *net, ptrdiff_t row, int accumulate)
{
    static const enum fnn_map maps[] = {
        [FNN_LEAKY] = FNN_LEAKY_BACKWARD, [FNN_TANH] = FNN_TANH_BACKWARD, [FNN_SIGMOID] = FNN_SIGMOID_BACKWARD};
    for (ptrdiff_t k = net->layers - 1; k >= 0; k--) {
        struct fnn_layer *layer = &net->layer[k];
        if (layer->activation != FNN_RELU && layer->drop.threshold < 65536)
            fnn_dropout_rows(net->dtype, &layer->dz, &layer->dz, &layer->drop, row);
        if (layer->activation > FNN_RELU)
            fnn_map(maps[layer->activation], net->dtype, layer->dz.rows * layer->dz.row_stride,
                    (void *[]){layer->dz.data, layer->active.data, layer->dz.data}, &net->slope);
        fnn_gating_run(&layer->gating, net->workspace);
        if (stopped(net)) return 0;
        if (made_early(net, k)) store_gradient(net, layer, accumulate);
        if (k > 0) fnn_product_run(&layer->input, net->workspace);
    }
    return 1;
}

static int store_gradients(struct fnn_network *net, int accumulate)
{
    for (ptrdiff_t k = 0; k < net->layers && net->stored; k++) {
        if (stopped(net)) return 0;
        if (!made_early(net, k)) store_gradient(net, &net->layer[k], accumulate);
    }
    return 1;
}

static void clear_bias_gradients(struct fnn_network *net)
{
    for (ptrdiff_t k = 0; k < net->layers; k++) memset(net->layer[k].db, 0, (size_t)(net->layer[k].o * net->size));
}

/* One batch, `micro` rows at a time; 0 where the update was not done, and why not. */
static int train_batch(struct fnn_network *net, const struct fnn_rows *rows, const struct fnn_updates *updates, ptrdiff_t u, int measure,
                       enum fnn_end *end)
{
    const ptrdiff_t start = (updates->first + u) * updates->batch, n = smaller(updates->batch, rows->count - start);
    struct fnn_layer *last = last_layer(net);
    const double weight = total_weight(net, rows, start, n);
    double loss = 0.0, metric = 0.0;
    *end = FNN_STOPPED;
    set_streams(net, updates->step + (uint64_t)u);
    clear_bias_gradients(net);
    for (ptrdiff_t row = 0; row < n; row += updates->micro) {
        const ptrdiff_t count = smaller(updates->micro, n - row);
        if (net->planned != count || net->measuring != measure) plan_products(net, count, measure);
        gather(net, rows, start + row, count, row);
        gather_targets(net, rows, start + row, count);
        if (!forward(net, row)) return 0;
        net->batch.n = count;
        net->batch.c = last->o;
        net->batch.scores = net->batch.gradient = last->y.data;
        net->batch.scores_stride = net->batch.gradient_stride = last->y.row_stride;
        net->batch.total = weight;
        net->batch.margin = net->margin;
        net->batch.room = 1;
        const struct fnn_loss_sums sums = fnn_loss_of_rows(net->loss, net->dtype, &net->batch, net->sums);
        loss += sums.loss;
        metric += sums.metric;
        if (!(fabs(loss) < INFINITY)) {
            *end = FNN_NOT_FINITE;
            return 0;
        }
        if (!backward(net, row, row > 0) || !store_gradients(net, row > 0)) return 0;
    }
    *end = FNN_NOT_FINITE;
    const ptrdiff_t scalars = u * updates->scalars_stride;
    if (!fnn_update(net, updates->scalars + scalars, updates->bias_scalars + scalars, measure)) return 0;
    net->statistics.loss += loss * weight;
    net->statistics.weight += weight;
    net->statistics.metric += net->loss == FNN_L2 ? metric / (double)last->o : metric;
    net->statistics.rows += (double)n;
    return 1;
}

ptrdiff_t fnn_network_run(struct fnn_network *net, const struct fnn_rows *rows, const struct fnn_updates *updates, double seconds,
                          const struct fnn_watch *watch, enum fnn_end *end)
{
    const uint64_t saved = fnn_flush_begin();
    const double until = fnn_seconds() + seconds;
    ptrdiff_t done = 0, weights = 0;
    for (ptrdiff_t k = 0; k < net->layers; k++) weights += net->layer[k].i * net->layer[k].o;
    net->watch = weights >= WATCHED_WEIGHTS / updates->batch ? watch : NULL;
    net->ask_at = until;
    net->ask_every = seconds;
    *end = FNN_TIME;
    while (done < updates->count) {
        enum fnn_end why;
        if (!train_batch(net, rows, updates, done, updates->measure && done == updates->count - 1, &why)) {
            *end = why;
            break;
        }
        done++;
        if (fnn_seconds() >= until) break;
    }
    net->watch = NULL;
    fnn_flush_end(saved);
    return done;
}

void fnn_network_forward(struct fnn_network *net, const struct fnn_rows *rows, uint64_t step, ptrdiff_t row, void *scores)
{
    const uint64_t saved = fnn_flush_begin();
    const struct fnn_layer *last = last_layer(net);
    set_streams(net, step);
    if (net->planned != rows->count || net->measuring) plan_products(net, rows->count, 0);
    gather(net, rows, 0, rows->count, row);
    forward(net, row);
    const ptrdiff_t bytes = last->o * net->size;
    for (ptrdiff_t r = 0; r < rows->count; r++)
        memcpy((char *)scores + r * bytes, (char *)last->y.data + r * last->y.row_stride * net->size, (size_t)bytes);
    fnn_flush_end(saved);
}

int fnn_network_backward(struct fnn_network *net, const void *gradient, const double *scalars, const double *bias_scalars, int measure)
{
    const uint64_t saved = fnn_flush_begin();
    const struct fnn_layer *last = last_layer(net);
    const ptrdiff_t row = last->forward.dropout_row;
    if (net->measuring != measure) {
        const struct fnn_matrix x = net->x;
        plan_products(net, last->y.rows, measure);
        net->layer[0].gradient.a = fnn_transposed(x);
    }
    const ptrdiff_t bytes = last->o * net->size;
    for (ptrdiff_t r = 0; r < last->y.rows; r++)
        memcpy((char *)last->dz.data + r * last->dz.row_stride * net->size, (const char *)gradient + r * bytes, (size_t)bytes);
    clear_bias_gradients(net);
    backward(net, row, 0);
    store_gradients(net, 0);
    const int done = fnn_update(net, scalars, bias_scalars, measure);
    fnn_flush_end(saved);
    return done;
}
