/* Stories of lfd/process with real processes: shell scripts stand in for holdfast-server. Every
 * wait is for an event, and fails after WAIT_S. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/lock.h"
#include "lfd/process.h"

#define S1             NODE_SERVER(0)
#define WAIT_S         20
#define MESSAGES_HEARD 16u
#define INHERITED_FD   57 /* a descriptor that was left without close-on-exec */
#define SLEEP_SCRIPT   "exec sleep 1000"

struct fixture {
    struct event_base *base;
    struct processes processes;
    char folder[64], program[96], file[96], lock[96];
    struct message heard[MESSAGES_HEARD];
    uint32_t heard_count;
};

static void tell(void *context, const struct message *message)
{
    struct fixture *f = context;

    assert_true(f->heard_count < MESSAGES_HEARD);
    f->heard[f->heard_count++] = *message;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct process_options options;
    struct error error;

    assert_non_null(f);
    strcpy(f->folder, "/tmp/holdfast-process-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->program, sizeof f->program, "%s/server", f->folder);
    snprintf(f->file, sizeof f->file, "%s/said", f->folder);
    snprintf(f->lock, sizeof f->lock, "%s/s1.lock", f->folder);
    f->base = event_base_new();
    options = (struct process_options){
        .base = f->base,
        .program = f->program,
        .config = "three.cfg",
        .run_dir = f->folder,
        .verbose = true,
        .tell = tell,
        .context = f,
    };
    *state = f;
    return processes_open(&f->processes, &options, &error) == ERROR_NONE ? 0 : -1;
}

static void on_timeout(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    *(bool *)context = true;
}

/* One turn of the loop; false when nothing has happened for WAIT_S. */
static bool turn(struct fixture *f)
{
    struct timeval wait = { .tv_sec = WAIT_S };
    bool timed_out = false;
    struct event timer;

    event_assign(&timer, f->base, -1, 0, on_timeout, &timed_out);
    event_add(&timer, &wait);
    event_base_loop(f->base, EVLOOP_ONCE);
    event_del(&timer);
    return !timed_out;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    processes_kill_all(&f->processes);
    while (processes_any(&f->processes)) {
        assert_true(turn(f));
        f->heard_count = 0;
    }
    processes_close(&f->processes);
    event_base_free(f->base);
    unlink(f->program);
    unlink(f->file);
    unlink(f->lock);
    assert_int_equal(rmdir(f->folder), 0);
    free(f);
    return 0;
}

/* What the next server will be. */
static void script(const struct fixture *f, const char *text)
{
    FILE *file = fopen(f->program, "we");

    assert_non_null(file);
    fprintf(file, "#!/bin/sh\n%s\n", text);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(f->program, 0700), 0);
}

static void perform(struct fixture *f, enum effect_type type, uint32_t number)
{
    struct effect effect = { .type = type, .node = S1, .number = number };

    processes_perform(&f->processes, &effect);
}

/* Waits for the next message, which must be of that type. */
static struct message hear(struct fixture *f, enum message_type type)
{
    struct message message;

    while (f->heard_count == 0)
        assert_true(turn(f));
    message = f->heard[0];
    f->heard_count--;
    memmove(f->heard, f->heard + 1, f->heard_count * sizeof f->heard[0]);
    assert_int_equal(message.type, type);
    return message;
}

static pid_t spawn(struct fixture *f, const char *text)
{
    struct message spawned;

    script(f, text);
    perform(f, EFFECT_SPAWN, 0);
    spawned = hear(f, MESSAGE_SPAWNED);
    assert_int_equal(spawned.spawned.server, S1);
    assert_int_not_equal(spawned.spawned.pid, 0);
    assert_int_equal(spawned.spawned.adopted, 0);
    return (pid_t)spawned.spawned.pid;
}

/* Asks for the cause until it is that: a process needs a while to get to where the story wants it.
 */
static void hear_cause(struct fixture *f, const char *wanted)
{
    time_t end = time(NULL) + WAIT_S;
    char last[MESSAGE_TEXT_SIZE] = "";

    while (strcmp(last, wanted) != 0 && time(NULL) < end) {
        perform(f, EFFECT_KILL, 0);
        memcpy(last, hear(f, MESSAGE_CAUSE).cause.cause, sizeof last);
    }
    assert_string_equal(last, wanted);
}

static void file_read(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "re");
    size_t length;

    assert_non_null(file);
    length = fread(text, 1, size - 1, file);
    text[length] = '\0';
    assert_int_equal(fclose(file), 0);
}

/* An exit is told with its status. */
static void test_exit_status(void **state)
{
    struct fixture *f = *state;
    pid_t pid = spawn(f, "exit 7");
    struct message_exited exited = hear(f, MESSAGE_EXITED).exited;

    assert_int_equal(exited.server, S1);
    assert_int_equal(exited.pid, pid);
    assert_int_equal(exited.known, 1);
    assert_int_equal(exited.status, 7);
    assert_int_equal(exited.signal, 0);
}

/* A kill is told with its signal, and a server can be started again after it. */
static void test_signal(void **state)
{
    struct fixture *f = *state;
    pid_t pid = spawn(f, SLEEP_SCRIPT);
    struct message_exited exited;

    assert_true(processes_any(&f->processes));
    perform(f, EFFECT_KILL, SIGKILL);
    exited = hear(f, MESSAGE_EXITED).exited;
    assert_int_equal(exited.pid, pid);
    assert_int_equal(exited.signal, SIGKILL);
    assert_false(processes_any(&f->processes));
    assert_int_not_equal(spawn(f, SLEEP_SCRIPT), pid);
}

/* A server hears who it is, has a session of its own and nothing of ours but stdout and stderr. */
static void test_what_a_server_gets(void **state)
{
    struct fixture *f = *state;
    char text[256], expected[256];
    sigset_t all, before; /* 32 and 33 are glibc's own, and ignored */
    pid_t pid;

    assert_int_equal(dup2(STDERR_FILENO, INHERITED_FD), INHERITED_FD);
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    pid = spawn(f, "echo \"$@\" > ${0%/*}/said\n"
                   "[ -e /proc/self/fd/57 ] && exit 1\n"
                   "grep -q 'SigBlk:.*[1-9a-f]' /proc/self/status && exit 2\n"
                   "grep -q 'SigIgn:.*[1-9a-f].\\{0,6\\}$' /proc/self/status && exit 3\n"
                   "exit 42");
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(INHERITED_FD);
    assert_int_equal(getsid(pid), pid);
    assert_int_equal(hear(f, MESSAGE_EXITED).exited.status, 42);
    file_read(f->file, text, sizeof text);
    snprintf(expected, sizeof expected, "-c three.cfg --name s1 --run-dir %s -v\n", f->folder);
    assert_string_equal(text, expected);
}

/* A start that fails says why. */
static void test_cannot_start(void **state)
{
    struct fixture *f = *state;
    struct message_spawned spawned;

    perform(f, EFFECT_SPAWN, 0);
    spawned = hear(f, MESSAGE_SPAWNED).spawned;
    assert_int_equal(spawned.pid, 0);
    assert_string_equal(spawned.cause, "cannot start it: No such file or directory");
    perform(f, EFFECT_KILL, SIGKILL); /* of nothing, and nothing happens */
    assert_false(processes_any(&f->processes));
}

static void test_cause_stopped(void **state)
{
    struct fixture *f = *state;

    spawn(f, SLEEP_SCRIPT);
    perform(f, EFFECT_KILL, SIGSTOP);
    hear_cause(f, "stopped");
    perform(f, EFFECT_KILL, SIGCONT);
    hear_cause(f, "not answering");
}

static void test_cause_busy(void **state)
{
    struct fixture *f = *state;

    spawn(f, "while :; do :; done");
    hear_cause(f, "busy");
}

/* Whoever is ended while he is looked at is told as ended, and nothing more is said of him. */
static void test_ended_while_looked_at(void **state)
{
    struct fixture *f = *state;

    spawn(f, "while :; do :; done");
    perform(f, EFFECT_KILL, 0);
    perform(f, EFFECT_KILL, SIGKILL);
    for (;;) {
        while (f->heard_count == 0)
            assert_true(turn(f));
        if (f->heard[0].type == MESSAGE_EXITED)
            break;
        (void)hear(f, MESSAGE_CAUSE);
    }
    assert_int_equal(hear(f, MESSAGE_EXITED).exited.signal, SIGKILL);
    assert_int_equal(f->heard_count, 0);
}

/* What a server leaves behind is reaped by us, and takes nobody's status. */
static void test_orphans_are_reaped(void **state)
{
    struct fixture *f = *state;
    char text[32];
    pid_t orphan;

    spawn(f, "sleep 1000 & echo $! > ${0%/*}/said; exit 5");
    assert_int_equal(hear(f, MESSAGE_EXITED).exited.status, 5);
    file_read(f->file, text, sizeof text);
    orphan = (pid_t)atol(text);
    assert_true(processes_any(&f->processes));
    assert_int_equal(kill(orphan, SIGKILL), 0);
    while (processes_any(&f->processes))
        assert_true(turn(f));
    assert_int_equal(kill(orphan, 0), -1);
    assert_int_equal(errno, ESRCH);
    assert_int_equal(f->heard_count, 0);
}

/* A process that holds the lock of s1 and is not our child: its parent is gone, and we are not the
 * reaper yet. */
static pid_t stranger_start(const struct fixture *f)
{
    pid_t middle, stranger = 0;
    int ready[2];

    assert_int_equal(pipe(ready), 0);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0), 0);
    middle = fork();
    assert_true(middle >= 0);
    if (middle == 0) {
        struct error error;
        int fd;

        if (fork() != 0)
            _exit(0);
        while (getppid() == middle)
            (void)usleep(100);
        stranger = getpid();
        if (lock_take(f->lock, &fd, &error) != ERROR_NONE ||
            write(ready[1], &stranger, sizeof stranger) != sizeof stranger)
            _exit(1);
        for (;;)
            pause();
    }
    close(ready[1]);
    assert_int_equal(waitpid(middle, NULL, 0), middle);
    assert_int_equal(read(ready[0], &stranger, sizeof stranger), sizeof stranger);
    close(ready[0]);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    return stranger;
}

/* A server that runs already is found by its lock, and its end is seen, without a status. */
static void test_adopt(void **state)
{
    struct fixture *f = *state;
    struct message_spawned spawned;
    struct message_exited exited;
    pid_t stranger;

    processes_adopt(&f->processes, S1);
    assert_int_equal(f->heard_count, 0); /* nobody there */
    stranger = stranger_start(f);
    processes_adopt(&f->processes, S1);
    spawned = hear(f, MESSAGE_SPAWNED).spawned;
    assert_int_equal(spawned.pid, stranger);
    assert_int_equal(spawned.adopted, 1);
    processes_adopt(&f->processes, S1);
    assert_int_equal(f->heard_count, 0); /* we have it */
    hear_cause(f, "not answering");
    perform(f, EFFECT_KILL, SIGKILL);
    exited = hear(f, MESSAGE_EXITED).exited;
    assert_int_equal(exited.pid, stranger);
    assert_int_equal(exited.known, 0);
}

/* Never a second copy: a start of a server that is running already adopts it. */
static void test_spawn_adopts(void **state)
{
    struct fixture *f = *state;
    pid_t stranger = stranger_start(f);
    struct message_spawned spawned;

    script(f, "exit 1");
    perform(f, EFFECT_SPAWN, 0);
    spawned = hear(f, MESSAGE_SPAWNED).spawned;
    assert_int_equal(spawned.pid, stranger);
    assert_int_equal(spawned.adopted, 1);
}

/* An lfd that is ending starts nothing. */
static void test_ending(void **state)
{
    struct fixture *f = *state;
    struct message_spawned spawned;

    script(f, SLEEP_SCRIPT);
    processes_end(&f->processes);
    perform(f, EFFECT_SPAWN, 0);
    spawned = hear(f, MESSAGE_SPAWNED).spawned;
    assert_int_equal(spawned.pid, 0);
    assert_string_equal(spawned.cause, "the lfd is ending");
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(test_exit_status),
        STORY(test_signal),
        STORY(test_what_a_server_gets),
        STORY(test_cannot_start),
        STORY(test_cause_stopped),
        STORY(test_cause_busy),
        STORY(test_ended_while_looked_at),
        STORY(test_orphans_are_reaped),
        STORY(test_adopt),
        STORY(test_spawn_adopts),
        STORY(test_ending),
    };

    return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}
