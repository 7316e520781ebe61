/* The thread pool: a few workers that run numbered tasks of one job at a time.
 *
 * A worker that has nothing to do spins for SPIN_NANOSECONDS, so that calls in close succession find it awake (waking a sleeping thread
 * takes tens of microseconds), then sleeps: nothing spins while idle. The caller works too and waits for no worker that has not begun
 * a task, so a busy machine slows a call down no further than to the speed of one thread. Workers start at the first job that
 * wants them, are joined before a fork and start again, in parent and child, when next wanted. A second thread that calls while a job
 * runs does its tasks itself: results never depend on who runs a task. Workers treat subnormal numbers as zero, as fnn_flush_begin does.
 *
 * A kernel that likes to keep processors of a virtual machine idle wakes a worker on the very processor of its caller, and leaves both
 * there: 87 of 100 jobs of 2 ms, each after a rest of 20 ms, had one processor for two threads, and so had whole epochs. So a worker that
 * finds itself on its caller's processor moves to another one, and once that has happened sleepers are woken elsewhere (20 us dearer
 * there). All that is done to them, on Linux, is to narrow a worker's affinity for the moment; it is what it was before a task is begun. */
#ifndef FNN_POOL_H
#define FNN_POOL_H

#include <stdatomic.h>
#include <stdint.h>

enum { FNN_MOST_THREADS = 256 };

/* Threads a job may use, the caller included; `cpus` that the process may run on: with fewer than threads, no one spins. */
void fnn_set_threads(int threads, int cpus);
int fnn_threads(void);

/* run(context, task) for task = 0 .. tasks - 1, each once, spread over the pool; returns when all are done. */
void fnn_parallel(int tasks, void (*run)(void *context, int task), void *context);

/* How far a task has come, for tasks of the same job that must not overtake it. A task may wait only for those with lower numbers: they
 * are begun in that order, or by a thread that nothing keeps from it. */
struct fnn_progress {
    atomic_long done;
    char apart[128 - sizeof(atomic_long)]; /* from the next one's line, and the one that is fetched with it */
};
void fnn_progress_begin(struct fnn_progress *progress); /* before the job */
void fnn_progress_report(struct fnn_progress *progress, long done);
void fnn_progress_await(struct fnn_progress *progress, long done);

/* Subnormals in arguments and results count as zero between begin and end, on the calling thread. */
uint64_t fnn_flush_begin(void);
void fnn_flush_end(uint64_t saved);

/* The other way round, for tasks to whom subnormals are what they are; ended by fnn_flush_end. */
uint64_t fnn_subnormals_begin(void);

#endif
