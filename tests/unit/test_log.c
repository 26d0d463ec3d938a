/* The log: one write per line, and a stderr that nobody reads stops nothing. */
#include <fcntl.h>
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/log.h"

struct fixture {
    int out, in; /* of the pipe that is stderr meanwhile */
    int true_stderr;
    char text[8192];
};

static int make(void **state)
{
    static struct fixture f;
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    f = (struct fixture){ .out = ends[0], .in = ends[1], .true_stderr = dup(STDERR_FILENO) };
    *state = &f;
    return f.true_stderr < 0 || dup2(f.in, STDERR_FILENO) < 0 ? -1 : 0;
}

static int end(void **state)
{
    struct fixture *f = *state;

    if (dup2(f->true_stderr, STDERR_FILENO) < 0)
        return -1;
    log_open("test", false); /* lets go of the pipe */
    close(f->true_stderr);
    close(f->in);
    close(f->out);
    return 0;
}

/* What one read(2) gives. */
static const char *heard(struct fixture *f)
{
    ssize_t size = read(f->out, f->text, sizeof f->text - 1);

    assert_true(size >= 0);
    f->text[size] = 0;
    return f->text;
}

static void assert_like(const char *text, const char *pattern)
{
    regex_t expression;

    assert_int_equal(regcomp(&expression, pattern, REG_EXTENDED | REG_NOSUB), 0);
    if (regexec(&expression, text, 0, NULL, 0) != 0)
        fail_msg("\"%s\" is not like %s", text, pattern);
    regfree(&expression);
}

#define HEAD "^\\[[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{6}\\] s1: "

static void test_line(void **state)
{
    struct fixture *f = *state;

    log_open("s1", false);
    log_line(NOTE_DEBUG, "not heard");
    log_line(NOTE_ERROR, "view %d", 7);
    assert_like(heard(f), HEAD "view 7\n$");
    log_open("s1", true);
    log_line(NOTE_DEBUG, "heard");
    assert_like(heard(f), HEAD "heard\n$");
}

/* A hostile text cannot forge a line or speak to the terminal. */
static void test_control_characters(void **state)
{
    struct fixture *f = *state;

    log_open("s1", false);
    log_line(NOTE_INFO, "%s", "a\nb\x1b[31mc\x7f");
    assert_like(heard(f), HEAD "a b\\?\\[31mc\\?\n$");
}

static void test_long_line_is_cut(void **state)
{
    struct fixture *f = *state;

    log_open("s1", false);
    log_line(NOTE_INFO, "%05000d", 1);
    assert_like(heard(f), HEAD "0+\n$");
    assert_true(strlen(f->text) > 2000 && strlen(f->text) <= 2048);
}

/* With nobody reading, lines are lost and counted; the next one that gets through says so. */
static void test_full_pipe(void **state)
{
    struct fixture *f = *state;

    log_open("s1", false);
    assert_int_equal(fcntl(f->in, F_SETPIPE_SZ, 4096), 4096);
    for (int i = 0; i < 10; i++)
        log_line(NOTE_INFO, "%01000d", i);
    assert_non_null(strstr(heard(f), "0000\n"));
    assert_null(strstr(f->text, "0009\n"));
    log_line(NOTE_INFO, "again");
    assert_like(heard(f), HEAD "[5-9] lines lost: stderr: it would have blocked\n.*again\n$");
    log_line(NOTE_INFO, "quiet");
    assert_like(heard(f), HEAD "quiet\n$");
    assert_int_equal(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0);
}

/* The log is a file, and the disk is full. */
static void test_full_disk(void **state)
{
    struct fixture *f = *state;
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

    assert_true(full >= 0 && dup2(full, STDERR_FILENO) == STDERR_FILENO);
    close(full);
    log_open("s1", false);
    log_line(NOTE_INFO, "lost");
    log_line(NOTE_INFO, "lost too");
    assert_int_equal(dup2(f->in, STDERR_FILENO), STDERR_FILENO);
    log_line(NOTE_INFO, "again");
    assert_like(heard(f), HEAD "2 lines lost: stderr: No space left on device\n.*again\n$");
}

/* A reader that is gone costs lines, not the process (SIGPIPE). */
static void test_closed_pipe(void **state)
{
    struct fixture *f = *state;

    log_open("s1", false);
    close(f->out);
    f->out = -1;
    log_line(NOTE_INFO, "into the void");
}

static void test_failure_status(void **state)
{
    struct fixture *f = *state;
    struct error error;

    log_open("s1", false);
    assert_int_equal(error_set(&error, ERROR_CONFIG, "port %d", 0), ERROR_CONFIG);
    assert_int_equal(log_failure(&error), 2);
    assert_like(heard(f), HEAD "port 0\n$");
    error.code = ERROR_USAGE;
    assert_int_equal(log_failure(&error), 2);
    error.code = ERROR_SYSTEM;
    assert_int_equal(log_failure(&error), 1);
}

static void test_system_error(void **state)
{
    struct error error;

    (void)state;
    assert_int_equal(open("/there/is/no/such/file", O_RDONLY), -1);
    assert_int_equal(error_system(&error, "cannot open %s", "it"), ERROR_SYSTEM);
    assert_string_equal(error.text, "cannot open it: No such file or directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_line, make, end),
        cmocka_unit_test_setup_teardown(test_control_characters, make, end),
        cmocka_unit_test_setup_teardown(test_long_line_is_cut, make, end),
        cmocka_unit_test_setup_teardown(test_full_pipe, make, end),
        cmocka_unit_test_setup_teardown(test_full_disk, make, end),
        cmocka_unit_test_setup_teardown(test_closed_pipe, make, end),
        cmocka_unit_test_setup_teardown(test_failure_status, make, end),
        cmocka_unit_test(test_system_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
