#include "server/keeper.h"

#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KEEPER_STACK_BYTES ((size_t)64 * 1024)

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
static long system_call(long number, long a, long b, long c, long d, long e)
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

/* The parent may be gone before it is asked to be watched: then there is nothing to keep. */
static int keep(void *argument)
{
    long parent = *(const pid_t *)argument;

    system_call(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    system_call(SYS_prctl, PR_SET_NAME, (long)(intptr_t) "holdfast-keeper", 0, 0, 0);
    system_call(SYS_close_range, 0, (long)UINT32_MAX, 0, 0, 0);
    while (system_call(SYS_getppid, 0, 0, 0, 0, 0) == parent)
        system_call(SYS_ppoll, 0, 0, 0, 0, 0);
    system_call(SYS_exit_group, 0, 0, 0, 0, 0);
    return 0;
}

/* Signals are blocked around the start, and so in the keeper for good. No exit signal: the server
 * is never told of the keeper's end, and has no child to wait for. */
enum error_code keeper_start(pid_t *pid, struct error *error)
{
    sigset_t all, before;
    uint8_t *stack = mmap(NULL, KEEPER_STACK_BYTES, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

    *pid = 0;
    if (stack == MAP_FAILED)
        return error_system(error, "no keeper: no memory for its stack");
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    *(pid_t *)(void *)stack = getpid(); /* at its far end, where the keeper never gets */
    *pid = clone(keep, stack + KEEPER_STACK_BYTES, CLONE_VM, stack);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (*pid > 0)
        return ERROR_NONE;
    *pid = 0;
    error_system(error, "no keeper: clone");
    munmap(stack, KEEPER_STACK_BYTES);
    return error->code;
}

#endif
