/* Many networks as one job, each on one thread at a time: epochs of training, and scores. The same bits for any number of threads.
 *
 * A job is done in slices of time, so that its caller can look up between two. A thread stays with a network for as long as there is
 * something to do, for its weights and the optimizer's state are in that core's cache; the next slice goes on where this one ended. */
#ifndef FNN_MEMBERS_H
#define FNN_MEMBERS_H

#include "network.h"

/* Up to `updates.count` updates, through as many epochs of `an_epoch` updates as that takes; `updates.first` is the first one's number in
 * its epoch, and less than `an_epoch`. The last update of an epoch is measured. What is not described here begins as zero. */
struct fnn_training {
    struct fnn_network *network; /* reserved */
    struct fnn_rows rows;        /* `rows.order` is `order`, or NULL where the rows are neither a part of all nor shuffled */
    struct fnn_updates updates;
    ptrdiff_t an_epoch;
    int64_t *order;      /* room for the order of an epoch: rows.count */
    const int64_t *part; /* the row numbers to learn from; NULL: all */
    int shuffled;
    uint64_t seed, stream; /* of the permutation of the epoch under way; the next epoch has the next stream */
    double *losses;        /* of the epochs that were finished; room for (updates.first + updates.count) / an_epoch */
    int ordered;           /* whether `order` is that of the epoch under way */
    ptrdiff_t done, finished, begun; /* updates, epochs finished, epochs begun beyond the first */
    enum fnn_end end; /* begins as FNN_TIME */
};

/* Trains for about `seconds`; `updates` then has what is left to do. A network whose `end` is not FNN_TIME is done with. */
void fnn_train_members(int count, struct fnn_training *members, double seconds);

/* Scores (rows, outputs), contiguous, of rows without dropout; `rows` has x alone. */
struct fnn_scoring {
    const struct fnn_network_plan *plan; /* of which sizes, activation, slope, mean, inverse_std and parameters are read */
    struct fnn_rows rows;
    void *scores;
    ptrdiff_t done; /* rows; begins as 0, like */
    size_t failed;  /* the bytes that could not be had */
};

/* Scores rows for about `seconds`. */
void fnn_score_members(int count, struct fnn_scoring *members, double seconds);

#endif
