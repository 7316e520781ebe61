#define _GNU_SOURCE /* the C11 flag hides POSIX otherwise */
#include "members.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "pool.h"
#include "sizes.h"

enum { BLOCK_ROWS = 256 }; /* scored at a time: their activations stay in cache */

struct job {
    void *members;
    double until;
};

/* ------------------------------------------------------------------------------------------------------------------ epochs */

static void put_in_order(struct fnn_training *m)
{
    if (m->shuffled) fnn_permutation(m->rows.count, m->seed, m->stream, m->order);
    for (ptrdiff_t r = 0; r < m->rows.count && m->part; r++) m->order[r] = m->part[m->shuffled ? m->order[r] : r];
    m->ordered = 1;
}

static void begin_next_epoch(struct fnn_training *m)
{
    *fnn_network_statistics(m->network) = (struct fnn_statistics){.gradient_norm = NAN, .weight_norm = NAN, .update_ratio = NAN};
    m->updates.first = 0;
    m->stream++;
    m->begun++;
    m->ordered = 0;
}

static void train_member(void *context, int task)
{
    const struct job *job = context;
    struct fnn_training *m = (struct fnn_training *)job->members + task;
    while (m->updates.count > 0 && m->end == FNN_TIME && fnn_seconds() < job->until) {
        if (m->updates.first == m->an_epoch) begin_next_epoch(m);
        if (!m->ordered) put_in_order(m);
        struct fnn_updates run = m->updates;
        run.count = smaller(run.count, m->an_epoch - run.first);
        run.measure = run.first + run.count == m->an_epoch;
        const ptrdiff_t done = fnn_network_run(m->network, &m->rows, &run, job->until - fnn_seconds(), NULL, &m->end);
        m->done += done;
        m->updates.count -= done;
        m->updates.first += done;
        m->updates.step += (uint64_t)done;
        m->updates.scalars += done * run.scalars_stride;
        m->updates.bias_scalars += done * run.scalars_stride;
        if (m->updates.first == m->an_epoch) {
            const struct fnn_statistics *statistics = fnn_network_statistics(m->network);
            m->losses[m->finished++] = statistics->weight > 0.0 ? statistics->loss / statistics->weight : 0.0;
        }
    }
}

void fnn_train_members(int count, struct fnn_training *members, double seconds)
{
    struct job job = {members, fnn_seconds() + seconds};
    fnn_parallel(count, train_member, &job);
}

/* ------------------------------------------------------------------------------------------------------------------ scores */

static ptrdiff_t widest_hidden(const struct fnn_network_plan *plan)
{
    ptrdiff_t most = 0;
    for (int k = 1; k < plan->layers; k++) most = plan->sizes[k] > most ? plan->sizes[k] : most;
    return most;
}

/* Rows from `start` on as the first layer takes them: where they are, or in `room`. */
static struct fnn_matrix inputs(const struct fnn_scoring *m, ptrdiff_t start, ptrdiff_t n, char *room)
{
    const struct fnn_network_plan *plan = m->plan;
    const ptrdiff_t width = plan->sizes[0], size = (ptrdiff_t)fnn_size(plan->dtype);
    const ptrdiff_t stride = m->rows.x_stride * fnn_element_bytes(plan->dtype, &m->rows);
    char *from = (char *)m->rows.x + start * stride;
    if (m->rows.elements == FNN_OWN && !plan->mean) return (struct fnn_matrix){from, n, width, m->rows.x_stride, 1};
    for (ptrdiff_t r = 0; r < n; r++)
        fnn_take_row(plan->dtype, &m->rows, width, from + r * stride, plan->mean, plan->inverse_std, room + r * width * size);
    return (struct fnn_matrix){room, n, width, width, 1};
}

static size_t score_block(const struct fnn_scoring *m, ptrdiff_t start, ptrdiff_t n, char *room, char *const hidden[2])
{
    static const enum fnn_map maps[] = {
        [FNN_LEAKY] = FNN_LEAKY_FORWARD, [FNN_TANH] = FNN_TANH_FORWARD, [FNN_SIGMOID] = FNN_SIGMOID_FORWARD};
    const struct fnn_network_plan *plan = m->plan;
    struct fnn_matrix x = inputs(m, start, n, room);
    for (int k = 0; k < plan->layers; k++) {
        const ptrdiff_t i = plan->sizes[k], o = plan->sizes[k + 1];
        const int last = k == plan->layers - 1;
        char *out = last ? (char *)m->scores + start * o * (ptrdiff_t)fnn_size(plan->dtype) : hidden[k % 2];
        const struct fnn_matrix w = {plan->parameters[2 * k], i, o, o, 1}, y = {out, n, o, o, 1};
        const struct fnn_vector b = {plan->parameters[2 * k + 1], 1};
        const size_t failed = fnn_linear_forward(plan->dtype, &x, &w, b, !last && plan->activation == FNN_RELU, NULL, &y);
        if (failed) return failed;
        if (!last && plan->activation > FNN_RELU) fnn_map(maps[plan->activation], plan->dtype, n * o, (void *[]){out, out}, &plan->slope);
        x = y;
    }
    return 0;
}

static void score_member(void *context, int task)
{
    const struct job *job = context;
    struct fnn_scoring *m = (struct fnn_scoring *)job->members + task;
    if (m->done == m->rows.count || m->failed || fnn_seconds() >= job->until) return;
    const size_t row = whole_lines(BLOCK_ROWS * fnn_size(m->plan->dtype));
    const size_t x = row * (size_t)m->plan->sizes[0], y = row * (size_t)widest_hidden(m->plan);
    char *room = aligned_alloc(FNN_LINE, x + 2 * y);
    if (!room) {
        m->failed = x + 2 * y;
        return;
    }
    const uint64_t saved = fnn_flush_begin();
    do {
        const ptrdiff_t n = smaller(BLOCK_ROWS, m->rows.count - m->done);
        m->failed = score_block(m, m->done, n, room, (char *const[]){room + x, room + x + y});
        if (!m->failed) m->done += n;
    } while (!m->failed && m->done < m->rows.count && fnn_seconds() < job->until);
    fnn_flush_end(saved);
    free(room);
}

void fnn_score_members(int count, struct fnn_scoring *members, double seconds)
{
    struct job job = {members, fnn_seconds() + seconds};
    fnn_parallel(count, score_member, &job);
}
