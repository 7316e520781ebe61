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

enum { SPIN_NANOSECONDS = 200000, PAUSES_A_LOOK = 64, CACHE_LINE = 128 };

/* `job` holds a counter in the upper bits and the number of tasks in the lower ones: a worker with no task in a job learns that from
 * this word alone and never touches the fields below it, which the next job may be writing already. */
enum { TASK_BITS = 16 };
static struct {
    _Alignas(CACHE_LINE) _Atomic uint64_t job;
    _Alignas(CACHE_LINE) atomic_int remaining;
    _Alignas(CACHE_LINE) void (*run)(void *, int);
    void *context;
    _Alignas(CACHE_LINE) atomic_int sleepers;
    atomic_bool stop;
} shared;

static pthread_mutex_t busy = PTHREAD_MUTEX_INITIALIZER; /* held by the thread whose job runs; guards what follows */
static pthread_t workers[FNN_MOST_THREADS];
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

static int64_t nanoseconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

uint64_t fnn_flush_begin(void)
{
#if defined(__x86_64__)
    const unsigned saved = _mm_getcsr();
    _mm_setcsr(saved | 0x8040); /* flush to zero, denormals are zero */
    return saved;
#elif defined(__aarch64__)
    uint64_t saved;
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved));
    __asm__ volatile("msr fpcr, %0" : : "r"(saved | (UINT64_C(1) << 24)));
    return saved;
#else
    return 0;
#endif
}

void fnn_flush_end(uint64_t saved)
{
#if defined(__x86_64__)
    /* The exception flags raised meanwhile go with the rest: the caller finds its register as it was. */
    _mm_setcsr((unsigned)saved);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(saved));
#else
    (void)saved;
#endif
}

/* Waits for a job other than `seen`, spinning first. */
static uint64_t next_job(uint64_t seen)
{
    uint64_t job;
    if (atomic_load_explicit(&spins, memory_order_relaxed)) {
        const int64_t until = nanoseconds() + SPIN_NANOSECONDS;
        do {
            for (int look = 0; look < PAUSES_A_LOOK; look++) {
                job = atomic_load_explicit(&shared.job, memory_order_acquire);
                if (job != seen || atomic_load_explicit(&shared.stop, memory_order_relaxed)) return job;
                pause_briefly();
            }
        } while (nanoseconds() < until);
    }
    pthread_mutex_lock(&sleep_lock);
    atomic_fetch_add(&shared.sleepers, 1);
    while ((job = atomic_load(&shared.job)) == seen && !atomic_load(&shared.stop)) pthread_cond_wait(&wake, &sleep_lock);
    atomic_fetch_sub(&shared.sleepers, 1);
    pthread_mutex_unlock(&sleep_lock);
    return job;
}

struct start { /* of one worker; lives in `starts` until it is read */
    int task;
    uint64_t seen;
};
static struct start starts[FNN_MOST_THREADS];

static void *work(void *argument)
{
    const struct start *start = argument;
    const int task = start->task;
    uint64_t seen = start->seen;
    fnn_flush_begin();
    for (;;) {
        seen = next_job(seen);
        if (atomic_load(&shared.stop)) return NULL;
        if (task < (int)(seen & ((1 << TASK_BITS) - 1))) {
            shared.run(shared.context, task);
            atomic_fetch_sub_explicit(&shared.remaining, 1, memory_order_release);
        }
    }
}

static void wake_sleepers(void)
{
    if (atomic_load(&shared.sleepers) > 0) {
        pthread_mutex_lock(&sleep_lock);
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
    for (int w = 0; w < worker_count; w++) pthread_join(workers[w], NULL);
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
        starts[worker_count] = (struct start){worker_count + 1, atomic_load(&shared.job)};
        if (pthread_create(&workers[worker_count], NULL, work, &starts[worker_count]) != 0) break;
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

void fnn_parallel(int tasks, void (*run)(void *context, int task), void *context)
{
    int helpers = 0;
    if (tasks > 1 && pthread_mutex_trylock(&busy) == 0) {
        helpers = worker_count >= tasks - 1 ? tasks - 1 : start_workers(tasks - 1);
        if (helpers == 0) pthread_mutex_unlock(&busy);
    }
    if (helpers == 0) {
        for (int task = 0; task < tasks; task++) run(context, task);
        return;
    }
    shared.run = run;
    shared.context = context;
    atomic_store_explicit(&shared.remaining, helpers, memory_order_relaxed);
    const uint64_t count = (atomic_load_explicit(&shared.job, memory_order_relaxed) >> TASK_BITS) + 1;
    atomic_store(&shared.job, count << TASK_BITS | (uint64_t)(helpers + 1));
    wake_sleepers();
    run(context, 0);
    for (int task = helpers + 1; task < tasks; task++) run(context, task);
    for (long looks = 0; atomic_load_explicit(&shared.remaining, memory_order_acquire) > 0; looks++) {
        if (atomic_load_explicit(&spins, memory_order_relaxed) && looks < 20000) pause_briefly();
        else sched_yield();
    }
    pthread_mutex_unlock(&busy);
}
