#define _GNU_SOURCE /* the C11 flag hides POSIX otherwise */
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__linux__)
typedef cpu_set_t processors;
static int this_processor(void) { return sched_getcpu(); }

/* Lets `thread` run anywhere but on `processor`, and fills in where it might before; false, and nothing changes, where that leaves none. */
static bool keep_off(pthread_t thread, int processor, processors *usual)
{
    if (processor < 0 || processor >= CPU_SETSIZE || pthread_getaffinity_np(thread, sizeof *usual, usual) != 0) return false;
    processors others = *usual;
    CPU_CLR(processor, &others);
    return pthread_setaffinity_np(thread, sizeof others, &others) == 0;
}
static void let_back(pthread_t thread, const processors *usual) { pthread_setaffinity_np(thread, sizeof *usual, usual); }
#else
typedef char processors;
static int this_processor(void) { return -1; }
static bool keep_off(pthread_t thread, int processor, processors *usual) { return (void)thread, (void)processor, (void)usual, false; }
static void let_back(pthread_t thread, const processors *usual) { (void)thread, (void)usual; }
#endif

enum { SPIN_NANOSECONDS = 200000, PAUSES_A_LOOK = 64, PAUSES_BEFORE_YIELD = 20000, CACHE_LINE = 128 };

/* `ticket` says in one word which job runs, how many tasks it has and how many threads share them. `claims[t]` is the last job whose task t
 * somebody has claimed, which is a matter of exchanging a lower number for the job's: so each task is claimed once, and a job that is over
 * has none left to claim, however late a worker comes to look. Only who has claimed a task looks at `run` and `context`: a job ends when
 * its claimed tasks are done. Everyone begins with the share of the tasks that is his in every job of as many, since what he wrote
 * in the last job is in his core's cache, and goes on with what the others have not begun: the caller does all of them if nobody comes. */
enum { TASK_BITS = 12, SHARER_BITS = 8, MOST_TASKS = (1 << TASK_BITS) - 1 };
static struct {
    _Alignas(CACHE_LINE) _Atomic uint64_t ticket; /* job | tasks | sharers - 1; a million jobs a second would fill it in half a year */
    _Alignas(CACHE_LINE) atomic_int done;
    _Alignas(CACHE_LINE) void (*run)(void *, int);
    void *context;
    int first;
    atomic_int processor; /* the caller's; -1 where nobody can tell */
    _Alignas(CACHE_LINE) atomic_int sleepers;
    atomic_bool stop;
    atomic_bool crowded; /* a worker has been found on its caller's processor */
} shared;
static struct {
    _Alignas(CACHE_LINE) _Atomic uint64_t job;
} claims[MOST_TASKS];

static inline uint64_t job_of(uint64_t ticket) { return ticket >> (TASK_BITS + SHARER_BITS); }
static inline int tasks_of(uint64_t ticket) { return (int)(ticket >> SHARER_BITS & MOST_TASKS); }
static inline int sharers_of(uint64_t ticket) { return 1 + (int)(ticket & ((1 << SHARER_BITS) - 1)); }

static pthread_mutex_t busy = PTHREAD_MUTEX_INITIALIZER; /* held by the thread whose job runs; guards what follows */
static struct worker {
    pthread_t thread;
    bool sleeps, kept_off; /* written under sleep_lock, or by the worker while it does not sleep; so is `usual` */
    processors usual;      /* where it may run, for as long as it is kept off a processor of these */
} workers[FNN_MOST_THREADS];
static int worker_count;
static bool fork_handled;

static pthread_mutex_t sleep_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static atomic_int wanted_threads = 1;
static atomic_int spins = 1;

static inline void pause_briefly(void)
{
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Between two looks at what another thread is about to write. */
static void give_way(long looks)
{
    if (atomic_load_explicit(&spins, memory_order_relaxed) && looks < PAUSES_BEFORE_YIELD) pause_briefly();
    else sched_yield();
}

void fnn_progress_begin(struct fnn_progress *progress) { atomic_store_explicit(&progress->done, 0, memory_order_relaxed); }

void fnn_progress_report(struct fnn_progress *progress, long done)
{
    atomic_store_explicit(&progress->done, done, memory_order_release);
}

void fnn_progress_await(struct fnn_progress *progress, long done)
{
    for (long looks = 0; atomic_load_explicit(&progress->done, memory_order_acquire) < done; looks++) give_way(looks);
}

static int64_t nanoseconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint64_t set_flushing(int flushing)
{
#if defined(__x86_64__)
    const unsigned saved = _mm_getcsr(), bits = 0x8040; /* flush to zero, denormals are zero */
    _mm_setcsr(flushing ? saved | bits : saved & ~bits);
    return saved;
#elif defined(__aarch64__)
    const uint64_t bit = UINT64_C(1) << 24;
    uint64_t control, status;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    __asm__ volatile("mrs %0, fpsr" : "=r"(status));
    __asm__ volatile("msr fpcr, %0" : : "r"(flushing ? control | bit : control & ~bit));
    return control | status << 32;
#else
    (void)flushing;
    return 0;
#endif
}

uint64_t fnn_flush_begin(void) { return set_flushing(1); }
uint64_t fnn_subnormals_begin(void) { return set_flushing(0); }

void fnn_flush_end(uint64_t saved)
{
#if defined(__x86_64__)
    /* The exception flags raised meanwhile go with the rest: the caller finds its register as it was. */
    _mm_setcsr((unsigned)saved);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(saved & 0xFFFFFFFF));
    __asm__ volatile("msr fpsr, %0" : : "r"(saved >> 32));
#else
    (void)saved;
#endif
}

/* Called by a worker that has seen a job, which is when it may find its caller, and the rest of a time slice, in its way. */
static void leave_caller(void)
{
    const int processor = this_processor();
    if (processor < 0 || processor != atomic_load_explicit(&shared.processor, memory_order_relaxed)) return;
    if (!atomic_load_explicit(&spins, memory_order_relaxed)) return; /* fewer processors than threads */
    atomic_store_explicit(&shared.crowded, true, memory_order_relaxed);
    processors usual;
    if (keep_off(pthread_self(), processor, &usual)) let_back(pthread_self(), &usual);
}

/* Claims and runs tasks, as thread `self` of the job's, until none is left to claim. */
static void run_tasks(uint64_t ticket, int self)
{
    const uint64_t job = job_of(ticket);
    const int tasks = tasks_of(ticket), sharers = sharers_of(ticket);
    if (self >= sharers) return;
    for (int n = 0, task = tasks * self / sharers; n < tasks; n++, task = task + 1 < tasks ? task + 1 : 0) {
        uint64_t last = atomic_load_explicit(&claims[task].job, memory_order_relaxed);
        if (last >= job) continue;
        if (!atomic_compare_exchange_strong_explicit(&claims[task].job, &last, job, memory_order_acq_rel, memory_order_relaxed)) continue;
        shared.run(shared.context, shared.first + task);
        atomic_fetch_add_explicit(&shared.done, 1, memory_order_release);
    }
}

/* Returns the ticket of a job after `seen`, or any when the pool stops: spins first, then sleeps. */
static uint64_t await_job(uint64_t seen, struct worker *worker)
{
    uint64_t ticket;
    if (atomic_load_explicit(&spins, memory_order_relaxed)) {
        const int64_t until = nanoseconds() + SPIN_NANOSECONDS;
        do {
            for (int look = 0; look < PAUSES_A_LOOK; look++) {
                ticket = atomic_load_explicit(&shared.ticket, memory_order_acquire);
                if (ticket != seen || atomic_load_explicit(&shared.stop, memory_order_relaxed)) return ticket;
                pause_briefly();
            }
        } while (nanoseconds() < until);
    }
    pthread_mutex_lock(&sleep_lock);
    atomic_fetch_add(&shared.sleepers, 1);
    worker->sleeps = true;
    while ((ticket = atomic_load(&shared.ticket)) == seen && !atomic_load(&shared.stop)) pthread_cond_wait(&wake, &sleep_lock);
    atomic_fetch_sub(&shared.sleepers, 1);
    worker->sleeps = false;
    pthread_mutex_unlock(&sleep_lock);
    if (worker->kept_off) let_back(pthread_self(), &worker->usual);
    worker->kept_off = false;
    return ticket;
}

static void *work(void *self)
{
    uint64_t ticket = 0;
    fnn_flush_begin();
    while (!atomic_load(&shared.stop)) {
        ticket = await_job(ticket, &workers[(intptr_t)self - 1]);
        leave_caller();
        run_tasks(ticket, (int)(intptr_t)self);
    }
    return NULL;
}

static void wake_sleepers(int processor)
{
    if (atomic_load(&shared.sleepers) > 0) {
        pthread_mutex_lock(&sleep_lock);
        if (atomic_load_explicit(&shared.crowded, memory_order_relaxed))
            for (struct worker *w = workers; w < workers + worker_count; w++)
                if (w->sleeps && !w->kept_off) w->kept_off = keep_off(w->thread, processor, &w->usual);
        pthread_cond_broadcast(&wake);
        pthread_mutex_unlock(&sleep_lock);
    }
}

static void join_workers(void)
{
    atomic_store(&shared.stop, true);
    pthread_mutex_lock(&sleep_lock);
    pthread_cond_broadcast(&wake);
    pthread_mutex_unlock(&sleep_lock);
    for (int w = 0; w < worker_count; w++) pthread_join(workers[w].thread, NULL);
    worker_count = 0;
    atomic_store(&shared.stop, false);
}

static void before_fork(void)
{
    pthread_mutex_lock(&busy);
    join_workers();
}
static void after_fork(void) { pthread_mutex_unlock(&busy); }

/* Returns how many workers there are, at most `count`: fewer when the system gives no more threads. */
static int start_workers(int count)
{
    if (!fork_handled) fork_handled = pthread_atfork(before_fork, after_fork, after_fork) == 0;
    if (!fork_handled) return 0; /* without the handlers a fork would lose the workers, so none are started */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main program's */
    while (worker_count < count) {
        if (pthread_create(&workers[worker_count].thread, NULL, work, (void *)(intptr_t)(worker_count + 1)) != 0) break;
        worker_count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return worker_count < count ? worker_count : count;
}

void fnn_set_threads(int threads, int cpus)
{
    pthread_mutex_lock(&busy);
    const int wanted = threads < 1 ? 1 : threads > FNN_MOST_THREADS ? FNN_MOST_THREADS : threads;
    if (wanted - 1 < worker_count) join_workers();
    atomic_store(&wanted_threads, wanted);
    atomic_store(&spins, wanted <= cpus);
    pthread_mutex_unlock(&busy);
}

int fnn_threads(void) { return atomic_load_explicit(&wanted_threads, memory_order_relaxed); }

/* Helpers for a job of so many tasks, or 0 where this thread does them all; with helpers, `busy` is held. */
static int find_helpers(int tasks)
{
    const int wanted = (tasks < fnn_threads() ? tasks : fnn_threads()) - 1;
    if (wanted <= 0 || pthread_mutex_trylock(&busy) != 0) return 0;
    const int helpers = worker_count >= wanted ? wanted : start_workers(wanted);
    if (helpers == 0) pthread_mutex_unlock(&busy);
    return helpers;
}

static void run_shared(int first, int tasks, int sharers, void (*run)(void *context, int task), void *context)
{
    shared.run = run;
    shared.context = context;
    shared.first = first;
    atomic_store_explicit(&shared.done, 0, memory_order_relaxed);
    const int processor = this_processor();
    atomic_store_explicit(&shared.processor, processor, memory_order_relaxed);
    const uint64_t job = job_of(atomic_load_explicit(&shared.ticket, memory_order_relaxed)) + 1;
    const uint64_t ticket = (job << TASK_BITS | (uint64_t)tasks) << SHARER_BITS | (uint64_t)(sharers - 1);
    atomic_store(&shared.ticket, ticket);
    wake_sleepers(processor);
    run_tasks(ticket, 0);
    for (long looks = 0; atomic_load_explicit(&shared.done, memory_order_acquire) < tasks; looks++) give_way(looks);
}

void fnn_parallel(int tasks, void (*run)(void *context, int task), void *context)
{
    const int helpers = find_helpers(tasks);
    if (helpers == 0) {
        for (int task = 0; task < tasks; task++) run(context, task);
        return;
    }
    for (int first = 0; first < tasks; first += MOST_TASKS)
        run_shared(first, tasks - first < MOST_TASKS ? tasks - first : MOST_TASKS, helpers + 1, run, context);
    pthread_mutex_unlock(&busy);
}
