/* The thread pool under several callers, changes of its size and forks; made to be run under the sanitizers. Prints what was done. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool.h"

enum { CALLERS = 4, JOBS = 3000, MOST_TASKS = 9, CHILDREN = 30, VERY_MANY = 10000, TURNS = 3000, RELAYS = 20, WATCHDOG_SECONDS = 300 };
enum { MEETINGS = 10, PAUSE_MICROSECONDS = 5000, LOOKS = 4000, LOOK_MICROSECONDS = 500 };

struct job { /* plain integers: what a task writes must reach the caller, and no other task may write it */
    long input, results[MOST_TASKS];
};

static void run(void *context, int task)
{
    struct job *job = context;
    job->results[task] += job->input * (task + 1);
}

/* Runs `jobs` jobs of changing sizes; returns how many went wrong. */
static long work(long seed, long jobs)
{
    long wrong = 0;
    for (long j = 0; j < jobs; j++) {
        struct job job = {.input = seed + j};
        const int tasks = (int)((seed + j) % (MOST_TASKS + 1));
        fnn_parallel(tasks, run, &job);
        for (int t = 0; t < MOST_TASKS; t++) wrong += job.results[t] != (t < tasks ? job.input * (t + 1) : 0);
    }
    return wrong;
}

static void count(void *context, int task) { ((int *)context)[task]++; }

/* Returns how many of very many tasks were not run once. */
static long lost(void)
{
    static int runs[VERY_MANY];
    long found = 0;
    fnn_parallel(VERY_MANY, count, runs);
    for (int t = 0; t < VERY_MANY; t++) found += runs[t] != 1;
    return found;
}

struct relay {
    struct fnn_progress progress[MOST_TASKS];
    long cells[TURNS];
};

/* What each task makes of a cell, plain memory, depends on what the one before it made of it. */
static void relay(void *context, int task)
{
    struct relay *r = context;
    for (long turn = 0; turn < TURNS; turn++) {
        if (task > 0) fnn_progress_await(&r->progress[task - 1], turn + 1);
        r->cells[turn] = r->cells[turn] * 3 + task;
        fnn_progress_report(&r->progress[task], turn + 1);
    }
}

/* Returns how many cells some relays got wrong. */
static long lost_on_the_way(int tasks)
{
    long found = 0, expected = 1;
    for (int task = 0; task < tasks; task++) expected = expected * 3 + task;
    for (int run = 0; run < RELAYS; run++) {
        struct relay r;
        for (int task = 0; task < tasks; task++) fnn_progress_begin(&r.progress[task]);
        for (int turn = 0; turn < TURNS; turn++) r.cells[turn] = 1;
        fnn_parallel(tasks, relay, &r);
        for (int turn = 0; turn < TURNS; turn++) found += r.cells[turn] != expected;
    }
    return found;
}

struct meeting {
    atomic_int begun;
    pthread_t at[2]; /* who ran which task */
};

/* Each of two tasks waits for the other to begin: true only where two threads share them. */
static void meet(void *context, int task)
{
    struct meeting *meeting = context;
    meeting->at[task] = pthread_self();
    atomic_fetch_add(&meeting->begun, 1);
    for (int look = 0; look < LOOKS && atomic_load(&meeting->begun) < 2; look++) usleep(LOOK_MICROSECONDS);
    if (atomic_load(&meeting->begun) < 2) atomic_fetch_add(&meeting->begun, -2);
}

/* Returns how many of some jobs, after pauses in which the worker falls asleep, were not shared between it and the caller, the
 * first task being the caller's. */
static long unshared(int cpus)
{
    long found = 0;
    fnn_set_threads(2, cpus);
    for (int turn = 0; turn < MEETINGS; turn++) {
        struct meeting meeting = {0};
        usleep(PAUSE_MICROSECONDS);
        fnn_parallel(2, meet, &meeting);
        found += atomic_load(&meeting.begun) != 2 || !pthread_equal(meeting.at[0], pthread_self());
    }
    return found;
}

static atomic_long wrong_in_callers;
static atomic_bool stop;

static void *caller(void *argument)
{
    atomic_fetch_add(&wrong_in_callers, work(*(const long *)argument, JOBS));
    return NULL;
}

static void *resizer(void *argument)
{
    (void)argument;
    for (int turn = 0; !atomic_load(&stop); turn++) {
        fnn_set_threads(1 + turn % 5, 1 + turn % 3);
        usleep(500);
    }
    return NULL;
}

/* Whether a forked child got its own jobs right. */
static int child_is_right(void)
{
    const pid_t child = fork();
    if (child == 0) _exit(work(7, 50) != 0);
    int status = 1;
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* An argument is the number of forks in each of two situations, instead of CHILDREN. */
int main(int count, char **arguments)
{
    alarm(WATCHDOG_SECONDS);
    const long forks = count > 1 ? atol(arguments[1]) : CHILDREN;
    long wrong = unshared(2) + unshared(1), children = 0;

    fnn_set_threads(1, 1);
    wrong += work(0, JOBS);
    fnn_set_threads(4, 4); /* hangs if a job that nobody helped with kept the pool */
    wrong += work(1, JOBS) + lost();
    for (int tasks = 1; tasks <= MOST_TASKS; tasks++) wrong += lost_on_the_way(tasks); /* more of them than threads, too */
    for (long c = 0; c < forks; c++) children += child_is_right();
    wrong += work(2, JOBS);

    pthread_t callers[CALLERS], sizes;
    long seeds[CALLERS];
    pthread_create(&sizes, NULL, resizer, NULL);
    for (int c = 0; c < CALLERS; c++) {
        seeds[c] = 100 * c;
        pthread_create(&callers[c], NULL, caller, &seeds[c]);
    }
    for (long c = 0; c < forks; c++) children += child_is_right();
    for (int c = 0; c < CALLERS; c++) pthread_join(callers[c], NULL);
    atomic_store(&stop, true);
    pthread_join(sizes, NULL);
    wrong += atomic_load(&wrong_in_callers);

    printf("%d jobs, %ld wrong; %ld children, %ld right\n", (CALLERS + 3) * JOBS, wrong, 2 * forks, children);
    return wrong != 0 || children != 2 * forks;
}
