/* Stories of common/lock and common/directory: two processes want one lock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/directory.h"
#include "common/lock.h"

struct fixture {
    char folder[64];
    char path[96];
};

static int set_up(void **state)
{
    static struct fixture fixture;

    strcpy(fixture.folder, "/tmp/holdfast-lock-XXXXXX");
    if (mkdtemp(fixture.folder) == NULL)
        return -1;
    snprintf(fixture.path, sizeof fixture.path, "%s/s1.lock", fixture.folder);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    unlink(f->path);
    return rmdir(f->folder);
}

/* Another process takes the lock, says so on the pipe, and holds it until it is killed. */
static pid_t holder_start(const char *path)
{
    int ready[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct error error;
        int fd;

        if (lock_take(path, &fd, &error) != ERROR_NONE || write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

static void holder_kill(pid_t pid)
{
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* Who comes second is refused and told the pid of the first. */
static void test_second_is_refused(void **state)
{
    struct fixture *f = *state;
    pid_t first = holder_start(f->path);
    struct error error;
    char name[32];
    int fd;

    assert_int_equal(lock_holder(f->path), first);
    assert_int_equal(lock_take(f->path, &fd, &error), ERROR_REFUSED);
    assert_int_equal(fd, -1);
    snprintf(name, sizeof name, "process %ld", (long)first);
    assert_non_null(strstr(error.text, name));
    assert_non_null(strstr(error.text, f->path));
    holder_kill(first);
}

/* A killed process leaves its file behind, and no lock. */
static void test_death_lets_go(void **state)
{
    struct fixture *f = *state;
    struct error error;
    int fd;

    holder_kill(holder_start(f->path));
    assert_int_equal(access(f->path, F_OK), 0);
    assert_int_equal(lock_holder(f->path), 0);
    assert_int_equal(lock_take(f->path, &fd, &error), ERROR_NONE);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
}

/* A file that is not there has no holder, and asking does not make it. */
static void test_no_file(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(lock_holder(f->path), 0);
    assert_int_not_equal(access(f->path, F_OK), 0);
}

/* A path that cannot be opened is a failure of the system, not somebody else's lock. */
static void test_unusable_path(void **state)
{
    struct fixture *f = *state;
    struct error error;
    int fd;

    assert_int_equal(symlink("/nowhere", f->path), 0);
    assert_int_equal(lock_take(f->path, &fd, &error), ERROR_SYSTEM);
    assert_int_equal(fd, -1);
}

/* Missing folders are made, for their owner only; a file in the way is named. */
static void test_directory(void **state)
{
    struct fixture *f = *state;
    char inner[128], in_file[160];
    struct error error;
    struct stat status;
    int fd;

    snprintf(inner, sizeof inner, "%s/a/b", f->folder);
    assert_int_equal(directory_make(inner, &error), ERROR_NONE);
    assert_int_equal(directory_make(inner, &error), ERROR_NONE);
    assert_int_equal(stat(inner, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);

    fd = open(f->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    snprintf(in_file, sizeof in_file, "%s/c", f->path);
    assert_int_equal(directory_make(f->path, &error), ERROR_SYSTEM);
    assert_int_equal(directory_make(in_file, &error), ERROR_SYSTEM);
    assert_int_equal(directory_make("", &error), ERROR_SYSTEM);

    assert_int_equal(rmdir(inner), 0);
    snprintf(inner, sizeof inner, "%s/a", f->folder);
    assert_int_equal(rmdir(inner), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_second_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_death_lets_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unusable_path, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_directory, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("lock", tests, NULL, NULL);
}
