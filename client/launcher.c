#include "client/launcher.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/local.h"
#include "client/operator_status.h"
#include "common/directory.h"
#include "common/lock.h"
#include "common/log.h"
#include "common/runtime.h"

#define READY_LOOK_MS     50u  /* between two looks at the status while the cluster starts */
#define READY_CALL_MS_MAX 200u /* of one look: signals must not wait for long */
#define STATUS_NOT_RUN    127  /* exit status of a child that could not run its program */
#define ARGUMENTS_MAX     9u

static const char *program_of(node_id node)
{
    if (node == NODE_RM)
        return "holdfast-rm";
    return node == NODE_GFD ? "holdfast-gfd" : "holdfast-lfd";
}

bool launcher_is_lfd(const struct launcher_daemon *daemon)
{
    return node_is_lfd(daemon->node);
}

static void add_if_local(struct launcher *l, node_id node)
{
    const char *address = local_node_address(l->options.config, node);
    struct error error;

    if (!local_resolves(address, &error))
        log_line(NOTE_WARN, "%s: taken for another machine, that of %s", error.text,
                 node_name(node));
    if (!local_address(address))
        return;
    l->daemons[l->daemon_count++] = (struct launcher_daemon){
        .node = node, .pidfd = -1, .start_due = l->opened, .backoff_ms = LAUNCHER_BACKOFF_MS
    };
}

static enum error_code check_server_ports(const struct launcher *l, struct error *error)
{
    const struct config *c = l->options.config;
    enum error_code code = ERROR_NONE;

    for (uint32_t i = 0; i < c->server_count && code == ERROR_NONE; i++) {
        const struct config_server *server = &c->servers[i];

        if (!local_address(server->address) || local_node_pid(c, NODE_SERVER(i)) > 0)
            continue;
        code = local_port_check(server->address, server->client_port, server->name, error);
        if (code == ERROR_NONE)
            code = local_port_check(server->address, server->peer_port, server->name, error);
    }
    return code;
}

/* A port in use is found before anything is started: a second copy of a cluster, on the ports of
 * the first, would disturb it long before it ended for want of a port. */
static enum error_code check_ports(const struct launcher *l, struct error *error)
{
    const struct config *c = l->options.config;
    enum error_code code = check_server_ports(l, error);

    for (uint32_t i = 0; i < l->daemon_count && code == ERROR_NONE; i++) {
        const struct launcher_daemon *d = &l->daemons[i];

        if (d->pid != 0)
            continue;
        if (d->node == NODE_GFD)
            code = local_port_check(c->gfd.address, c->gfd.port, "the gfd", error);
        if (d->node != NODE_RM)
            continue;
        code = local_port_check(c->rm.address, c->rm.port, "the rm", error);
        if (code == ERROR_NONE)
            code = local_port_check(c->rm.address, c->rm.console_port, "the rm's console", error);
    }
    return code;
}

/* Takes over a daemon that somebody else started: one that outlived its launcher. */
static bool adopt(struct launcher_daemon *d, const struct config *config)
{
    pid_t pid = local_node_pid(config, d->node);
    int pidfd;

    if (pid <= 0 || !local_is_holdfast(pid))
        return false;
    pidfd = pidfd_open(pid, 0);
    if (pidfd < 0)
        return false;
    d->pid = pid;
    d->pidfd = pidfd;
    d->stood = true;
    d->started = runtime_now();
    log_line(NOTE_INFO, "%s is running already: take over process %ld", node_name(d->node),
             (long)pid);
    return true;
}

static enum error_code take_lock(struct launcher *l, struct error *error)
{
    char path[CONFIG_PATH_SIZE];
    enum error_code code;

    if (directory_make(l->options.config->run_dir, error) != ERROR_NONE)
        return error->code;
    config_run_path(l->options.config, "launcher.lock", path);
    code = lock_take(path, &l->lock, error);
    if (code == ERROR_REFUSED)
        return error_set(error, code, "cluster %s is up already: process %ld holds %s",
                         l->options.config->cluster, (long)lock_holder(path), path);
    return code;
}

static enum error_code catch_signals(struct launcher *l, struct error *error)
{
    sigset_t set;

    /* Who started us may be gone before we tell that the cluster is up; and who ignored the ends of
     * its children has left that to us, who could not see ours end. */
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || signal(SIGCHLD, SIG_DFL) == SIG_ERR)
        return error_system(error, "cannot set up signals");
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (!local_ignores(SIGHUP))
        sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return error_system(error, "cannot block signals");
    l->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (l->signals < 0)
        return error_system(error, "cannot catch signals");
    /* Servers whose lfd is gone become our children, so that none of them is lost. */
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
        return error_system(error, "cannot become the reaper of the cluster's processes");
    return ERROR_NONE;
}

enum error_code launcher_open(struct launcher *launcher, const struct launcher_options *options,
                              struct error *error)
{
    const struct config *config = options->config;

    *launcher = (struct launcher){
        .options = *options, .lock = -1, .signals = -1, .opened = runtime_now()
    };
    add_if_local(launcher, NODE_RM);
    add_if_local(launcher, NODE_GFD);
    for (uint32_t i = 0; i < config->host_count; i++)
        add_if_local(launcher, NODE_LFD(i));
    if (launcher->daemon_count == 0)
        return error_set(error, ERROR_REFUSED,
                         "%s: no address in it is one of this machine: nothing to run here",
                         config->path);
    if (take_lock(launcher, error) != ERROR_NONE)
        return error->code;
    if (catch_signals(launcher, error) != ERROR_NONE)
        return error->code;
    for (uint32_t i = 0; i < launcher->daemon_count; i++)
        adopt(&launcher->daemons[i], config);
    return ERROR_NONE;
}

/* In the child: becomes the daemon. */
_Noreturn static void become_daemon(const char *const *argv)
{
    int null = open("/dev/null", O_RDONLY);
    sigset_t none;

    if (null >= 0 && null != STDIN_FILENO) {
        dup2(null, STDIN_FILENO);
        close(null);
    }
    setsid();
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv(argv[0], (char *const *)argv);
    log_line(NOTE_ERROR, "cannot run %s: %s", argv[0], strerror(errno));
    _exit(STATUS_NOT_RUN);
}

static enum error_code start(struct launcher *l, struct launcher_daemon *d, struct error *error)
{
    const struct config *config = l->options.config;
    char program[PATH_MAX];
    const char *argv[ARGUMENTS_MAX] = { program, "-c", config->path, "--run-dir", config->run_dir };
    uint32_t argc = 5;
    pid_t pid;

    if (local_program(program_of(d->node), program, sizeof program, error) != ERROR_NONE)
        return error->code;
    if (launcher_is_lfd(d)) {
        argv[argc++] = "--name";
        argv[argc++] = config->hosts[node_index(d->node)].name;
    }
    if (l->options.verbose)
        argv[argc++] = "-v";
    assert(argc < ARGUMENTS_MAX); /* a NULL ends them */

    pid = fork();
    if (pid < 0)
        return error_system(error, "cannot start %s", node_name(d->node));
    if (pid == 0)
        become_daemon(argv);
    d->pid = pid;
    d->started = runtime_now();
    return ERROR_NONE;
}

static void status_format(int status, char *out, size_t size)
{
    if (WIFSIGNALED(status))
        snprintf(out, size, "signal %d", WTERMSIG(status));
    else
        snprintf(out, size, "exit status %d", WEXITSTATUS(status));
}

static void give_up(struct launcher *l, const char *name, const char *how, const char *why)
{
    if (l->gave_up)
        return;
    l->gave_up = true;
    error_set(&l->failure, ERROR_REFUSED, "%s cannot run (%s%s): see its message above", name, how,
              why);
}

/* A wrong config or a missing program will not mend; a port in use is given a few chances. */
static bool is_hopeless(const struct launcher_daemon *d, int status)
{
    if (d->stood)
        return false;
    if (WIFEXITED(status) && (WEXITSTATUS(status) == 2 || WEXITSTATUS(status) == STATUS_NOT_RUN))
        return true;
    return d->quick_count >= LAUNCHER_QUICK_COUNT_MAX;
}

static void daemon_ended(struct launcher *l, struct launcher_daemon *d, const char *how, int status)
{
    struct instant now = runtime_now();

    d->pid = 0;
    if (l->stop_signals > 0 || l->gave_up)
        return;
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_ALREADY_RUNNING &&
        adopt(d, l->options.config))
        return;
    if (instant_since_ms(now, d->started) >= LAUNCHER_QUICK_MS) {
        d->stood = true;
        d->quick_count = 0;
        d->backoff_ms = LAUNCHER_BACKOFF_MS;
    } else {
        d->quick_count++;
    }
    if (is_hopeless(d, status)) {
        give_up(l, node_name(d->node), how, d->quick_count > 1 ? ", again and again" : "");
        return;
    }
    log_line(NOTE_WARN, "%s ended (%s): start it again in %u ms", node_name(d->node), how,
             d->backoff_ms);
    d->start_due = instant_add_ms(now, d->backoff_ms);
    d->backoff_ms =
        d->backoff_ms * 2 < LAUNCHER_BACKOFF_MS_MAX ? d->backoff_ms * 2 : LAUNCHER_BACKOFF_MS_MAX;
}

/* Reaps children; those that are not daemons are what lfds and servers left behind. */
static void reap(struct launcher *l)
{
    char how[32];
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        status_format(status, how, sizeof how);
        for (uint32_t i = 0; i < l->daemon_count; i++) {
            struct launcher_daemon *d = &l->daemons[i];

            if (d->pid == pid && d->pidfd < 0)
                daemon_ended(l, d, how, status);
        }
    }
}

static void read_signals(struct launcher *l)
{
    struct signalfd_siginfo info;

    while (read(l->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo != SIGCHLD)
            l->stop_signals++;
    }
    reap(l);
}

void launcher_wait(struct launcher *l, struct instant deadline)
{
    struct pollfd watched[LAUNCHER_DAEMONS_MAX + 1];
    uint64_t left_ms = (instant_since_us(deadline, runtime_now()) + 999) / 1000;
    nfds_t count = l->daemon_count + 1;

    watched[0] = (struct pollfd){ .fd = l->signals, .events = POLLIN };
    for (uint32_t i = 0; i < l->daemon_count; i++)
        watched[i + 1] = (struct pollfd){ .fd = l->daemons[i].pidfd, .events = POLLIN };
    if (poll(watched, count, left_ms > 60000 ? 60000 : (int)left_ms) <= 0)
        return;
    for (uint32_t i = 0; i < l->daemon_count; i++) {
        struct launcher_daemon *d = &l->daemons[i];

        if (d->pidfd < 0 || watched[i + 1].revents == 0)
            continue;
        close(d->pidfd);
        d->pidfd = -1;
        daemon_ended(l, d, "exit status unknown", 0);
    }
    read_signals(l);
}

static void tell_ready(struct launcher *l, bool whole, const char *text)
{
    struct buffer line = { 0 };

    l->told_ready = true;
    buffer_format(&line, "cluster %s is %s: %s", l->options.config->cluster,
                  whole ? "up" : "not whole yet", text);
    log_line(whole ? NOTE_INFO : NOTE_WARN, "%.*s", (int)buffer_size(&line),
             (const char *)buffer_head(&line));
    buffer_append(&line, "", 1);
    if (l->options.ready != NULL)
        l->options.ready(l->options.context, whole, (const char *)buffer_head(&line));
    buffer_free(&line);
}

/* Why those who are missing are not there, if the rm knows. */
static void add_ends(const struct status *status, struct buffer *line)
{
    for (uint32_t i = 0; i < status->server_count; i++) {
        const struct status_server *s = &status->servers[i];

        if (!s->member && s->last_exit[0] != '\0')
            buffer_format(line, "; %s: %s", s->process.name, s->last_exit);
    }
}

/* Asks the rm whether all servers are members, and says so once they are. */
static void look_ready(struct launcher *l)
{
    bool late = instant_since_ms(runtime_now(), l->opened) >= LAUNCHER_READY_MS_MAX;
    struct status *status = memory_take(sizeof *status);
    struct buffer line = { 0 };
    struct error error;
    bool whole = false;

    if (status_fetch(status, l->options.config, READY_CALL_MS_MAX, &error) == ERROR_NONE) {
        whole = status_is_whole(status);
        late = late || status_needs_operator(status);
        status_line(status, &line);
        add_ends(status, &line);
        if (status->waits_for[0] != '\0')
            buffer_format(&line, "; %s", status->waits_for);
    } else {
        buffer_append_string(&line, error.text);
    }
    buffer_append(&line, "", 1);
    if (whole || late)
        tell_ready(l, whole, (const char *)buffer_head(&line));
    buffer_free(&line);
    free(status);
}

/* Starts who is due; returns when the next one is. */
static struct instant start_due(struct launcher *l, struct error *error)
{
    struct instant next = INSTANT_NEVER;

    for (uint32_t i = 0; i < l->daemon_count && !l->gave_up; i++) {
        struct launcher_daemon *d = &l->daemons[i];

        if (d->pid != 0)
            continue;
        if (!instant_reached(runtime_now(), d->start_due)) {
            next = instant_min(next, d->start_due);
            continue;
        }
        if (start(l, d, error) == ERROR_NONE)
            continue;
        if (!d->stood) {
            l->gave_up = true;
            break;
        }
        log_line(NOTE_ERROR, "%s; try again in %u ms", error->text, LAUNCHER_BACKOFF_MS_MAX);
        d->start_due = instant_add_ms(runtime_now(), LAUNCHER_BACKOFF_MS_MAX);
        next = instant_min(next, d->start_due);
    }
    return next;
}

enum error_code launcher_run(struct launcher *launcher, struct error *error)
{
    launcher->gave_up = check_ports(launcher, &launcher->failure) != ERROR_NONE;
    while (launcher->stop_signals == 0 && !launcher->gave_up) {
        struct instant next = start_due(launcher, &launcher->failure);

        if (launcher->gave_up)
            break;
        if (!launcher->told_ready) {
            look_ready(launcher);
            next = instant_min(next, instant_add_ms(runtime_now(), READY_LOOK_MS));
        }
        launcher_wait(launcher, next);
    }
    if (launcher_stop(launcher))
        log_line(NOTE_INFO, "cluster %s is down on this machine",
                 launcher->options.config->cluster);
    if (!launcher->gave_up)
        return ERROR_NONE;
    *error = launcher->failure;
    return error->code;
}

void launcher_close(struct launcher *launcher)
{
    for (uint32_t i = 0; i < launcher->daemon_count; i++) {
        if (launcher->daemons[i].pidfd >= 0)
            close(launcher->daemons[i].pidfd);
    }
    if (launcher->signals >= 0)
        close(launcher->signals);
    if (launcher->lock >= 0)
        close(launcher->lock);
}

pid_t launcher_pid(const struct config *config)
{
    char path[CONFIG_PATH_SIZE];

    config_run_path(config, "launcher.lock", path);
    return lock_holder(path);
}
