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

enum { SPIN_NANOSECONDS = 200000, PAUSES_A_LOOK = 64, PAUSES_BEFORE_YIELD = 20000, CACHE_LINE = 128 };

/* `ticket` says in one word which job runs, how many tasks it has and which is next. Whoever moves it on by one has claimed that task,
 * and only then looks at the fields below: a job ends when its claimed tasks are done, so a worker that comes late finds nothing
 * left to claim and is not waited for. The caller claims tasks like everyone else, and does them all if nobody comes. */
enum { NEXT_BITS = 16, MOST_TASKS = (1 << NEXT_BITS) - 1 };
static struct {
    _Alignas(CACHE_LINE) _Atomic uint64_t ticket; /* job << 32 | tasks << 16 | next */
    _Alignas(CACHE_LINE) atomic_int done;
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
    uint64_t control, status;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    __asm__ volatile("mrs %0, fpsr" : "=r"(status));
    __asm__ volatile("msr fpcr, %0" : : "r"(control | (UINT64_C(1) << 24)));
    return control | status << 32;
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
    __asm__ volatile("msr fpcr, %0" : : "r"(saved & 0xFFFFFFFF));
    __asm__ volatile("msr fpsr, %0" : : "r"(saved >> 32));
#else
    (void)saved;
#endif
}

static inline bool unclaimed(uint64_t ticket) { return (ticket & MOST_TASKS) < (ticket >> NEXT_BITS & MOST_TASKS); }

/* Claims and runs tasks until the job has none left. */
static void run_tasks(void)
{
    uint64_t ticket = atomic_load_explicit(&shared.ticket, memory_order_acquire);
    while (unclaimed(ticket)) {
        if (!atomic_compare_exchange_weak_explicit(&shared.ticket, &ticket, ticket + 1, memory_order_acq_rel, memory_order_acquire)) continue;
        shared.run(shared.context, (int)(ticket & MOST_TASKS));
        atomic_fetch_add_explicit(&shared.done, 1, memory_order_release);
        ticket = atomic_load_explicit(&shared.ticket, memory_order_acquire);
    }
}

/* Returns when there is a task to claim, or the pool stops: spins first, then sleeps. */
static void await_tasks(void)
{
    if (atomic_load_explicit(&spins, memory_order_relaxed)) {
        const int64_t until = nanoseconds() + SPIN_NANOSECONDS;
        do {
            for (int look = 0; look < PAUSES_A_LOOK; look++) {
                if (unclaimed(atomic_load_explicit(&shared.ticket, memory_order_relaxed))) return;
                if (atomic_load_explicit(&shared.stop, memory_order_relaxed)) return;
                pause_briefly();
            }
        } while (nanoseconds() < until);
    }
    pthread_mutex_lock(&sleep_lock);
    atomic_fetch_add(&shared.sleepers, 1);
    while (!unclaimed(atomic_load(&shared.ticket)) && !atomic_load(&shared.stop)) pthread_cond_wait(&wake, &sleep_lock);
    atomic_fetch_sub(&shared.sleepers, 1);
    pthread_mutex_unlock(&sleep_lock);
}

static void *work(void *unused)
{
    (void)unused;
    fnn_flush_begin();
    while (!atomic_load(&shared.stop)) {
        run_tasks();
        await_tasks();
    }
    return NULL;
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
        if (pthread_create(&workers[worker_count], NULL, work, NULL) != 0) break;
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
    bool helped = false;
    if (tasks > 1 && tasks <= MOST_TASKS && pthread_mutex_trylock(&busy) == 0) {
        const int wanted = tasks < fnn_threads() ? tasks - 1 : fnn_threads() - 1;
        helped = wanted > 0 && (worker_count >= wanted || start_workers(wanted) > 0);
        if (!helped) pthread_mutex_unlock(&busy);
    }
    if (!helped) {
        for (int task = 0; task < tasks; task++) run(context, task);
        return;
    }
    shared.run = run;
    shared.context = context;
    atomic_store_explicit(&shared.done, 0, memory_order_relaxed);
    const uint64_t job = (atomic_load_explicit(&shared.ticket, memory_order_relaxed) >> 2 * NEXT_BITS) + 1;
    atomic_store(&shared.ticket, job << 2 * NEXT_BITS | (uint64_t)tasks << NEXT_BITS);
    wake_sleepers();
    run_tasks();
    for (long looks = 0; atomic_load_explicit(&shared.done, memory_order_acquire) < tasks; looks++) {
        if (atomic_load_explicit(&spins, memory_order_relaxed) && looks < PAUSES_BEFORE_YIELD) pause_briefly();
        else sched_yield();
    }
    pthread_mutex_unlock(&busy);
}
