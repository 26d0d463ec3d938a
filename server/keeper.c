#include "server/keeper.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define KEEPER_STACK_BYTES    ((size_t)64 * 1024)
#define KEEPER_SIGNAL         SIGUSR1        /* tells the keeper of its parent's death */
#define KEEPER_STEP_BYTES     (1024L * 1024) /* given back in one go: takes about 0.1 ms */
#define KEEPER_PAUSE_NS       100000L        /* between two steps: others go first */
#define KEEPER_AREA_BYTES_MIN (1024L * 1024) /* smaller ones go with the keeper itself */

/* A stack protector looks at memory that the keeper gives back. */
#if defined(__clang__) || __GNUC__ >= 11
#define KEEPER_CODE __attribute__((no_stack_protector))
#else
#define KEEPER_CODE
#endif

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KEEPER_REFUSED "an address sanitizer would take it for the process itself"
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define KEEPER_REFUSED "an address sanitizer would take it for the process itself"
#elif !defined(__x86_64__) && !defined(__aarch64__)
#define KEEPER_REFUSED "its system calls are not written for this processor"
#endif

#ifdef KEEPER_REFUSED

enum error_code keeper_start(pid_t *pid, struct error *error)
{
    *pid = 0;
    return error_set(error, ERROR_REFUSED, "no keeper: %s", KEEPER_REFUSED);
}

#else

/* The library's wrappers write errno, which the keeper shares with the server's main thread. */
static KEEPER_CODE long system_call(long number, long a, long b, long c, long d, long e)
{
#ifdef __x86_64__
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return result;
#else
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;

    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
    return x0;
#endif
}

struct keeper {
    long parent;
    uint8_t *stack;
    char text[1024], line[128]; /* of /proc/self/maps */
};

static KEEPER_CODE long step_end(long start, long end)
{
    return end - start > KEEPER_STEP_BYTES ? start + KEEPER_STEP_BYTES : end;
}

/* The keeper's own stack may stand within the area: neighbours are shown as one. */
static KEEPER_CODE void give_back(const struct keeper *k, long start, long end)
{
    static const struct timespec pause = { .tv_nsec = KEEPER_PAUSE_NS };
    long own = (long)(intptr_t)k->stack;

    for (long next; start < end; start = next) {
        next = step_end(start, end);
        if (next > own && start < own + (long)KEEPER_STACK_BYTES)
            continue;
        system_call(SYS_madvise, start, next - start, MADV_DONTNEED, 0, 0);
        system_call(SYS_nanosleep, (long)(intptr_t)&pause, 0, 0, 0, 0);
    }
}

static KEEPER_CODE long take_hexadecimal(const char **at)
{
    long value = 0;

    for (;; (*at)++) {
        if (**at >= '0' && **at <= '9')
            value = value * 16 + (**at - '0');
        else if (**at >= 'a' && **at <= 'f')
            value = value * 16 + (**at - 'a' + 10);
        else
            return value;
    }
}

/* A line of /proc/self/maps: "start-end rw-p 00000000 00:00 0 " is memory of no file. */
static KEEPER_CODE void take_line(const struct keeper *k)
{
    static const char kind[] = " rw-p 00000000 00:00 0";
    const char *line = k->line;
    long start = take_hexadecimal(&line);
    long end = *line == '-' ? (line++, take_hexadecimal(&line)) : start;

    for (uint32_t i = 0; i < sizeof kind - 1; i++)
        if (line[i] != kind[i])
            return;
    if (end - start >= KEEPER_AREA_BYTES_MIN)
        give_back(k, start, end);
}

/* The kernel takes down a whole address space in one go, and may run nobody else on that processor
 * until the next tick, 4 ms or so: a failover would wait for it, again and again. Where the
 * scheduler lets no one in between two system calls either, the pauses do. */
static KEEPER_CODE void give_back_all(struct keeper *k)
{
    uint32_t used = 0;
    long fd, size;

    fd = system_call(SYS_openat, AT_FDCWD, (long)(intptr_t) "/proc/self/maps", O_RDONLY, 0, 0);
    if (fd < 0)
        return;
    do {
        size = system_call(SYS_read, fd, (long)(intptr_t)k->text, sizeof k->text, 0, 0);
        for (long i = 0; i < size; i++) {
            if (k->text[i] != '\n') {
                k->line[used] = k->text[i];
                used += used < sizeof k->line - 1;
                continue;
            }
            k->line[used] = '\0';
            used = 0;
            take_line(k);
        }
    } while (size > 0);
}

/* The parent may be gone before it is asked to be watched: then there is nothing to keep. */
static KEEPER_CODE int keep(void *argument)
{
    static const uint64_t awaited = 1ull << (KEEPER_SIGNAL - 1);
    struct keeper *k = argument;

    system_call(SYS_prctl, PR_SET_PDEATHSIG, KEEPER_SIGNAL, 0, 0, 0);
    system_call(SYS_prctl, PR_SET_NAME, (long)(intptr_t) "holdfast-keeper", 0, 0, 0);
    system_call(SYS_close_range, 0, (long)UINT32_MAX, 0, 0, 0);
    while (system_call(SYS_getppid, 0, 0, 0, 0, 0) == k->parent)
        system_call(SYS_rt_sigtimedwait, (long)(intptr_t)&awaited, 0, 0, sizeof awaited, 0);
    give_back_all(k);
    system_call(SYS_exit_group, 0, 0, 0, 0, 0);
    return 0;
}

/* Signals are blocked around the start, and so in the keeper for good. No exit signal: the server
 * is never told of the keeper's end, and has no child to wait for. */
enum error_code keeper_start(pid_t *pid, struct error *error)
{
    sigset_t all, before;
    struct keeper *keeper;
    uint8_t *stack = mmap(NULL, KEEPER_STACK_BYTES, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

    *pid = 0;
    if (stack == MAP_FAILED)
        return error_system(error, "no keeper: no memory for its stack");
    keeper = (struct keeper *)(void *)stack; /* at its far end, where the keeper never gets */
    *keeper = (struct keeper){ .parent = (long)getpid(), .stack = stack };
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    *pid = clone(keep, stack + KEEPER_STACK_BYTES, CLONE_VM, keeper);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (*pid > 0)
        return ERROR_NONE;
    *pid = 0;
    error_system(error, "no keeper: clone");
    munmap(stack, KEEPER_STACK_BYTES);
    return error->code;
}

#endif
