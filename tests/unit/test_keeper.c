/* The keeper: a process that has one dies as others do, and takes the keeper with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "server/keeper.h"

#define WAIT_MS_MAX 10000

struct family {
    pid_t child, keeper;
    int pidfd;
    int end; /* readable with end of file once nobody holds the other end */
};

/* The child: starts its keeper, says its pid, and waits to be killed. */
static void live(int tell)
{
    struct error error;
    pid_t keeper;

    if (keeper_start(&keeper, &error) != ERROR_NONE)
        keeper = 0;
    if (write(tell, &keeper, sizeof keeper) != (ssize_t)sizeof keeper)
        _exit(1);
    for (;;)
        pause();
}

static void family_start(struct family *f)
{
    int ends[2];

    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    assert_int_equal(pipe(ends), 0);
    f->child = fork();
    assert_true(f->child >= 0);
    if (f->child == 0) {
        close(ends[0]);
        live(ends[1]);
    }
    close(ends[1]);
    f->end = ends[0];
    assert_int_equal(read(f->end, &f->keeper, sizeof f->keeper), sizeof f->keeper);
    f->pidfd = (int)syscall(SYS_pidfd_open, f->child, 0);
    assert_true(f->pidfd >= 0);
}

static void family_end(struct family *f)
{
    kill(f->child, SIGKILL);
    (void)waitpid(f->child, NULL, 0);
    close(f->pidfd);
    close(f->end);
}

static bool wakes(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };

    return poll(&p, 1, WAIT_MS_MAX) == 1;
}

/* The pidfd of the killed process wakes, its descriptors are closed, and the keeper is then ours to
 * reap: it is dead as well. */
static void test_death(void **state)
{
    struct family f;
    char byte;

    (void)state;
    family_start(&f);
    if (f.keeper == 0) { /* sanitizers have none */
        family_end(&f);
        skip();
    }
    assert_int_equal(kill(f.keeper, 0), 0);
    assert_int_equal(kill(f.child, SIGKILL), 0);
    assert_true(wakes(f.pidfd));
    assert_true(wakes(f.end));
    assert_int_equal(read(f.end, &byte, 1), 0);
    assert_int_equal(waitpid(f.child, NULL, 0), f.child);
    assert_int_equal(waitpid(f.keeper, NULL, 0), f.keeper);
    close(f.pidfd);
    close(f.end);
}

/* Whether a file of the keeper's in /proc holds this text. */
static bool has_text(pid_t keeper, const char *file, const char *text)
{
    char path[64], content[4096];
    size_t size;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/%s", keeper, file);
    f = fopen(path, "re");
    if (!f)
        return false;
    size = fread(content, 1, sizeof content - 1, f);
    fclose(f);
    content[size] = '\0';
    return strstr(content, text) != NULL;
}

static bool is_settled(pid_t keeper)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/fd/%d", keeper, STDERR_FILENO);
    return has_text(keeper, "comm", "holdfast-keeper\n") && access(path, F_OK) != 0;
}

/* It has a name and no descriptors, and signals that end a process group stay pending. */
static void test_modesty(void **state)
{
    time_t until = time(NULL) + WAIT_MS_MAX / 1000;
    struct family f;

    (void)state;
    family_start(&f);
    if (f.keeper == 0) {
        family_end(&f);
        skip();
    }
    while (!is_settled(f.keeper))
        assert_true(time(NULL) < until);
    assert_int_equal(kill(f.keeper, SIGTERM), 0);
    assert_int_equal(kill(f.keeper, SIGINT), 0);
    assert_true(has_text(f.keeper, "status", "ShdPnd:\t0000000000004002\n"));
    assert_int_equal(kill(f.child, SIGKILL), 0);
    assert_int_equal(waitpid(f.child, NULL, 0), f.child);
    assert_int_equal(waitpid(f.keeper, NULL, 0), f.keeper);
    close(f.pidfd);
    close(f.end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_death),
        cmocka_unit_test(test_modesty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
