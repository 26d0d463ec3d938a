#include "lfd/process.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/lock.h"
#include "common/log.h"

#define PROC_TEXT_SIZE 512 /* of /proc/PID/stat and schedstat; their first fields count */

/* glibc has these only since 2.36 */
static int pidfd_of(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

static int pidfd_signal(int fd, int signal)
{
    return (int)syscall(SYS_pidfd_send_signal, fd, signal, NULL, 0);
}

static struct process *process_of(struct processes *p, node_id server)
{
    return &p->list[node_index(server)];
}

static void tell_spawned(const struct processes *p, node_id server, const struct process *process,
                         const char *cause)
{
    struct message message = { .type = MESSAGE_SPAWNED, .spawned = { .server = server } };

    if (process != NULL) {
        message.spawned.pid = (uint32_t)process->pid;
        message.spawned.adopted = process->adopted;
    }
    snprintf(message.spawned.cause, MESSAGE_TEXT_SIZE, "%s", cause);
    p->options.tell(p->options.context, &message);
}

static void tell_exited(const struct processes *p, node_id server, pid_t pid,
                        const siginfo_t *status)
{
    struct message message = {
        .type = MESSAGE_EXITED,
        .exited = { .server = server, .pid = (uint32_t)pid, .known = status != NULL },
    };

    if (status != NULL && status->si_code == CLD_EXITED)
        message.exited.status = (uint8_t)status->si_status;
    else if (status != NULL)
        message.exited.signal = (uint8_t)status->si_status;
    p->options.tell(p->options.context, &message);
}

/* The status of a child that has ended; false when it is not ours to have. */
static bool status_take(pid_t pid, siginfo_t *status)
{
    memset(status, 0, sizeof *status);
    return waitid(P_PID, (id_t)pid, status, WEXITED | WNOHANG | __WALL) == 0 &&
           status->si_pid == pid;
}

/* The process is forgotten before the core hears of its end, since the core may order the next. */
static void process_ended(struct process *process)
{
    siginfo_t status;
    pid_t pid = process->pid;
    bool known = status_take(pid, &status);

    assert(pid != 0);
    event_del(&process->ended);
    event_del(&process->look);
    close(process->fd);
    process->fd = -1;
    process->pid = 0;
    process->looking = false;
    tell_exited(process->all, process->server, pid, known ? &status : NULL);
}

static void on_ended(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    process_ended(context);
}

static struct process *process_by_pid(struct processes *p, pid_t pid)
{
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++) {
        if (p->list[i].pid == pid)
            return &p->list[i];
    }
    return NULL;
}

/* Reaps whatever has ended. Looks before it takes, so that the status of a server is taken only
 * where it is told. */
static void on_child(evutil_socket_t fd, short what, void *context)
{
    struct processes *p = context;
    struct process *process;
    siginfo_t ended;

    (void)fd;
    (void)what;
    for (;;) {
        ended.si_pid = 0;
        if (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT | __WALL) != 0 ||
            ended.si_pid == 0)
            return;
        process = process_by_pid(p, ended.si_pid);
        if (process != NULL)
            process_ended(process);
        else
            (void)waitpid(ended.si_pid, NULL, WNOHANG | __WALL);
    }
}

/* Watches a process that is there. The caller knows that its pid is still its own. */
static bool process_watch(struct process *process, pid_t pid, bool adopted)
{
    process->fd = pidfd_of(pid);
    if (process->fd < 0)
        return false;
    event_assign(&process->ended, process->all->options.base, process->fd, EV_READ | EV_PERSIST,
                 on_ended, process);
    if (event_add(&process->ended, NULL) != 0) {
        close(process->fd);
        process->fd = -1;
        return false;
    }
    process->pid = pid;
    process->adopted = adopted;
    return true;
}

static pid_t holder(const struct processes *p, node_id server)
{
    char path[CONFIG_PATH_SIZE + NAME_SIZE + 8];

    snprintf(path, sizeof path, "%s/%s.lock", p->options.run_dir, node_name(server));
    return lock_holder(path);
}

/* A pid may be another's by the time it is used. The pidfd stays with whom it was opened for: if he
 * holds the lock still, or again, he is the one. */
static bool adopt(struct processes *p, node_id server)
{
    struct process *process = process_of(p, server);
    pid_t pid = holder(p, server);

    assert(process->pid == 0);
    if (pid <= 0)
        return false;
    if (!process_watch(process, pid, true)) {
        log_line(NOTE_ERROR, "cannot watch %s, process %ld: %s", node_name(server), (long)pid,
                 strerror(errno));
        return false;
    }
    if (holder(p, server) == pid) {
        tell_spawned(p, server, process, "");
        return true;
    }
    event_del(&process->ended);
    close(process->fd);
    process->fd = -1;
    process->pid = 0;
    return false;
}

void processes_adopt(struct processes *p, node_id server)
{
    if (process_of(p, server)->pid == 0)
        (void)adopt(p, server);
}

/* A new session, all signals as they are by default, none blocked, /dev/null to read from, and no
 * descriptor of ours but stdout and stderr. */
static int attributes_make(posix_spawnattr_t *attributes, posix_spawn_file_actions_t *actions)
{
    sigset_t none, all;
    int status = posix_spawnattr_init(attributes);

    if (status != 0)
        return status;
    status = posix_spawn_file_actions_init(actions);
    if (status != 0) {
        posix_spawnattr_destroy(attributes);
        return status;
    }
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(attributes, &none);
    posix_spawnattr_setsigdefault(attributes, &all);
    posix_spawnattr_setflags(attributes,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    status = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (status == 0)
        status = posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1);
    if (status != 0) {
        posix_spawn_file_actions_destroy(actions);
        posix_spawnattr_destroy(attributes);
    }
    return status;
}

/* Shares our memory until it has become the server, so it costs no copy and its failure is our
 * status. */
static int server_start(const struct processes *p, node_id server, pid_t *pid)
{
    const struct process_options *o = &p->options;
    const char *arguments[SERVER_ARGUMENTS_MAX] = {
        o->program,
        "-c",
        o->config,
        "--name",
        node_name(server),
        "--run-dir",
        o->run_dir,
        o->verbose ? "-v" : NULL,
        NULL,
    };
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    int status = attributes_make(&attributes, &actions);

    if (status != 0)
        return status;
    status = posix_spawn(pid, o->program, &actions, &attributes, (char *const *)arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return status;
}

static void spawn(struct processes *p, node_id server)
{
    struct process *process = process_of(p, server);
    char cause[MESSAGE_TEXT_SIZE];
    pid_t pid;
    int status;

    assert(process->pid == 0);
    if (p->closing) {
        tell_spawned(p, server, NULL, "the lfd is ending");
        return;
    }
    if (adopt(p, server))
        return;
    status = server_start(p, server, &pid);
    if (status != 0) {
        snprintf(cause, sizeof cause, "cannot start it: %s", strerror(status));
        log_line(NOTE_ERROR, "cannot start %s: %s", p->options.program, strerror(status));
        tell_spawned(p, server, NULL, cause);
        return;
    }
    if (process_watch(process, pid, false)) {
        tell_spawned(p, server, process, "");
        return;
    }
    snprintf(cause, sizeof cause, "cannot watch it: %s", strerror(errno));
    (void)kill(pid, SIGKILL); /* reaped as something left to us */
    tell_spawned(p, server, NULL, cause);
}

/* The beginning of a file in /proc/PID; false when it cannot be had. */
static bool proc_read(pid_t pid, const char *name, char text[PROC_TEXT_SIZE])
{
    char path[64];
    ssize_t size;
    int fd;

    snprintf(path, sizeof path, "/proc/%ld/%s", (long)pid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    do
        size = read(fd, text, PROC_TEXT_SIZE - 1);
    while (size < 0 && errno == EINTR);
    close(fd);
    text[size > 0 ? size : 0] = '\0';
    return size > 0;
}

/* The letter of the state of its main thread, '\0' if unknown. The name before it may have any
 * characters. */
static char state_read(pid_t pid)
{
    char text[PROC_TEXT_SIZE];
    const char *name_end = proc_read(pid, "stat", text) ? strrchr(text, ')') : NULL;

    return name_end != NULL && name_end[1] == ' ' ? name_end[2] : '\0';
}

/* Time that its main thread has spent on a processor, to the kernel's last tick. */
static bool run_time_read(pid_t pid, uint64_t *run_ns)
{
    char text[PROC_TEXT_SIZE];

    if (!proc_read(pid, "schedstat", text))
        return false;
    *run_ns = strtoull(text, NULL, 10);
    return true;
}

static void cause_tell(struct process *process, const char *cause)
{
    struct message message = {
        .type = MESSAGE_CAUSE,
        .cause = { .server = process->server, .pid = (uint32_t)process->pid },
    };

    process->looking = false;
    snprintf(message.cause.cause, MESSAGE_TEXT_SIZE, "%s", cause);
    process->all->options.tell(process->all->options.context, &message);
}

/* What a state other than runnable says. */
static const char *state_words(char state)
{
    switch (state) {
    case 'T': return "stopped";
    case 't': return "stopped by a debugger";
    case 'D': return "disk wait";
    case 'S':
    case 'I': return "not answering";
    case 'Z':
    case 'X': return "dying";
    default: return "cause unknown";
    }
}

/* Runnable, at two looks: starved if it was not given half of the time between them. The time it
 * waited is no help, the kernel counts it only when the wait is over. */
static const char *runnable_words(const struct process *process)
{
    uint64_t run_ns;

    if (!run_time_read(process->pid, &run_ns))
        return "running";
    return (run_ns - process->run_ns) * 2u < STARVED_LOOK_MS * 1000000ull
               ? "starved of processor time"
               : "busy";
}

static void look_later(struct process *process, uint32_t ms)
{
    struct timeval wait = { .tv_sec = 0, .tv_usec = (suseconds_t)(ms * 1000u) };

    event_add(&process->look, &wait);
}

static void on_look(evutil_socket_t fd, short what, void *context)
{
    struct process *process = context;
    char state = state_read(process->pid);

    (void)fd;
    (void)what;
    assert(process->pid != 0 && process->looking);
    if (state != 'R') {
        cause_tell(process, state_words(state));
    } else if (process->looked_once) {
        cause_tell(process, runnable_words(process));
    } else if (run_time_read(process->pid, &process->run_ns)) {
        process->looked_once = true;
        look_later(process, STARVED_LOOK_MS);
    } else {
        cause_tell(process, "running");
    }
}

/* By a timer that is due at once: the loop reads its sockets before that, and an answer may be
 * among them. */
static void examine(struct process *process)
{
    process->looking = true;
    process->looked_once = false;
    look_later(process, 0);
}

static void signal_send(struct process *process, int signal)
{
    if (pidfd_signal(process->fd, signal) != 0 && errno != ESRCH)
        log_line(NOTE_ERROR, "cannot send signal %d to %s, process %ld: %s", signal,
                 node_name(process->server), (long)process->pid, strerror(errno));
}

void processes_perform(struct processes *p, const struct effect *effect)
{
    struct process *process = process_of(p, effect->node);

    if (effect->type == EFFECT_SPAWN)
        spawn(p, effect->node);
    else if (effect->type == EFFECT_KILL && process->pid != 0 && effect->number == 0)
        examine(process);
    else if (effect->type == EFFECT_KILL && process->pid != 0)
        signal_send(process, (int)effect->number);
}

enum error_code processes_open(struct processes *p, const struct process_options *options,
                               struct error *error)
{
    *p = (struct processes){ .options = *options };
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
        return error_system(error, "cannot become the reaper of the servers");
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++) {
        struct process *process = &p->list[i];

        process->all = p;
        process->server = NODE_SERVER(i);
        process->fd = -1;
        event_assign(&process->ended, options->base, -1, EV_READ, on_ended, process);
        event_assign(&process->look, options->base, -1, 0, on_look, process);
    }
    event_assign(&p->child, options->base, SIGCHLD, EV_SIGNAL | EV_PERSIST, on_child, p);
    if (event_add(&p->child, NULL) != 0)
        return error_set(error, ERROR_SYSTEM, "cannot catch SIGCHLD");
    return ERROR_NONE;
}

void processes_end(struct processes *p)
{
    p->closing = true;
}

void processes_kill_all(struct processes *p)
{
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++) {
        if (p->list[i].pid != 0)
            signal_send(&p->list[i], SIGKILL);
    }
}

bool processes_any(const struct processes *p)
{
    siginfo_t child;

    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++) {
        if (p->list[i].pid != 0)
            return true;
    }
    return waitid(P_ALL, 0, &child, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0;
}

void processes_close(struct processes *p)
{
    event_del(&p->child);
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++) {
        event_del(&p->list[i].look);
        if (p->list[i].pid == 0)
            continue;
        event_del(&p->list[i].ended);
        close(p->list[i].fd);
    }
}
