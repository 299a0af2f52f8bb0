/* A wall clock that a test can set: preloaded, it adds what the file WALL_CLOCK_FILE holds (8 bytes, seconds) to the real time.
 *
 * The boot and monotonic clocks stay as they are. Waits until a time of the wall clock are turned back into the real one, or
 * they would last for hours: such times are told by their size, a machine is not up for thirty years.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define WALL_CLOCK_FROM 1000000000

static const volatile int64_t *seconds;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("WALL_CLOCK_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *found = mmap(NULL, sizeof *seconds, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (found != MAP_FAILED) seconds = found;
}

static int64_t shift(void) { return seconds ? *seconds : 0; }

static void *next(const char *name) {
    void *found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");
    return found ? found : dlsym(RTLD_NEXT, name);
}

static struct timespec real(const struct timespec *at) {
    struct timespec back = *at;
    if (back.tv_sec > WALL_CLOCK_FROM) back.tv_sec -= shift();
    return back;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    static int (*ask)(clockid_t, struct timespec *);
    if (!ask) ask = dlsym(RTLD_NEXT, "clock_gettime");
    int answer = ask(clock, at);
    if (!answer && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += shift();
    return answer;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *at, int base) {
    return base == TIME_UTC && !clock_gettime(CLOCK_REALTIME, at) ? base : 0;
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *at, struct timespec *left) {
    static int (*ask)(clockid_t, int, const struct timespec *, struct timespec *);
    if (!ask) ask = dlsym(RTLD_NEXT, "clock_nanosleep");
    if (clock != CLOCK_REALTIME || !(flags & TIMER_ABSTIME)) return ask(clock, flags, at, left);
    struct timespec back = real(at);
    return ask(clock, flags, &back, left);
}

int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex, const struct timespec *restrict at) {
    static int (*ask)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!ask) ask = next("pthread_cond_timedwait");
    struct timespec back = real(at);
    return ask(cond, mutex, &back);
}

int pthread_cond_clockwait(
    pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex, clockid_t clock, const struct timespec *restrict at) {
    static int (*ask)(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);
    if (!ask) ask = dlsym(RTLD_NEXT, "pthread_cond_clockwait");
    struct timespec back = real(at);
    return ask(cond, mutex, clock, &back);
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict at) {
    static int (*ask)(pthread_mutex_t *, const struct timespec *);
    if (!ask) ask = dlsym(RTLD_NEXT, "pthread_mutex_timedlock");
    struct timespec back = real(at);
    return ask(mutex, &back);
}

int sem_timedwait(sem_t *restrict sem, const struct timespec *restrict at) {
    static int (*ask)(sem_t *, const struct timespec *);
    if (!ask) ask = dlsym(RTLD_NEXT, "sem_timedwait");
    struct timespec back = real(at);
    return ask(sem, &back);
}

int cnd_timedwait(cnd_t *restrict cond, mtx_t *restrict mutex, const struct timespec *restrict at) {
    static int (*ask)(cnd_t *, mtx_t *, const struct timespec *);
    if (!ask) ask = dlsym(RTLD_NEXT, "cnd_timedwait");
    struct timespec back = real(at);
    return ask(cond, mutex, &back);
}

int mtx_timedlock(mtx_t *restrict mutex, const struct timespec *restrict at) {
    static int (*ask)(mtx_t *, const struct timespec *);
    if (!ask) ask = dlsym(RTLD_NEXT, "mtx_timedlock");
    struct timespec back = real(at);
    return ask(mutex, &back);
}
