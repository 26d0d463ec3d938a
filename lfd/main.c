/* lfd - the local fault detector: starts, watches and ends the servers of its host, and tells the
 * gfd. Only wiring. The decisions are in detector.c, the processes in process.c, the sockets in
 * common/. */
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/lock.h"
#include "common/log.h"
#include "common/runtime.h"
#include "lfd/detector.h"
#include "lfd/process.h"

#define END_KILL_MS   3000u /* from SIGTERM to the servers until SIGKILL, when the lfd ends */
#define END_GIVEUP_MS 5000u /* until it ends all the same */

struct lfd {
    struct config config;
    struct detector detector;
    struct processes processes;
    struct runtime *runtime;
    char program[PATH_MAX]; /* holdfast-server, beside our own binary */
    bool killed;            /* at the end: the time for SIGTERM is over */
    bool given_up;          /* and that for SIGKILL */
    struct event end_timer;
};

static void tell(void *context, const struct message *message)
{
    struct lfd *lfd = context;

    runtime_deliver(lfd->runtime, message);
}

static void perform(void *context, const struct effect *effect)
{
    struct lfd *lfd = context;

    processes_perform(&lfd->processes, effect);
}

/* A server is who the socket's credentials say, not who it says. One that is not known yet may have
 * been started by an earlier lfd, and have taken its lock after we looked. */
static void receive(void *self, struct instant now, const struct message *message,
                    struct effects *out)
{
    struct lfd *lfd = self;
    struct message trusted = *message;

    if (message->type == MESSAGE_LINK_UP && node_is_server(message->from)) {
        trusted.link_up.pid = runtime_peer_pid(lfd->runtime, message->from);
        processes_adopt(&lfd->processes, message->from);
    }
    detector_receive(&lfd->detector, now, &trusted, out);
}

static void tick(void *self, struct instant now, struct effects *out)
{
    detector_tick(&((struct lfd *)self)->detector, now, out);
}

static struct instant deadline(const void *self)
{
    return detector_deadline(&((const struct lfd *)self)->detector);
}

static void check(const void *self)
{
    detector_check(&((const struct lfd *)self)->detector);
}

static enum error_code program_find(char path[PATH_MAX], struct error *error)
{
    char own[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", own, sizeof own - 1);

    if (size < 0)
        return error_system(error, "cannot find my own binary: /proc/self/exe");
    own[size] = '\0';
    if (snprintf(path, PATH_MAX, "%s/holdfast-server", dirname(own)) >= PATH_MAX)
        return error_set(error, ERROR_LIMIT, "the path of holdfast-server is too long");
    return ERROR_NONE;
}

static enum error_code lfd_open(struct lfd *lfd, node_id self,
                                const struct config_arguments *arguments, struct error *error)
{
    struct detector_options options = detector_options_from(&lfd->config, self);
    struct runtime_options runtime = {
        .config = &lfd->config,
        .self = self,
        .incarnation = runtime_wall_us(),
        .core = { lfd, receive, tick, deadline, check },
        .perform = perform,
        .context = lfd,
    };
    struct process_options processes = {
        .program = lfd->program,
        .config = lfd->config.path,
        .run_dir = lfd->config.run_dir,
        .verbose = arguments->verbose,
        .tell = tell,
        .context = lfd,
    };

    detector_init(&lfd->detector, &options, runtime_now());
    if (program_find(lfd->program, error) != ERROR_NONE ||
        runtime_open(&lfd->runtime, &runtime, error) != ERROR_NONE)
        return error->code;
    processes.base = runtime_base(lfd->runtime);
    if (processes_open(&lfd->processes, &processes, error) != ERROR_NONE)
        return error->code;
    for (uint32_t i = 0; i < options.server_count; i++)
        processes_adopt(&lfd->processes, options.servers[i]);
    return ERROR_NONE;
}

static enum error_code lfd_connect(struct lfd *lfd, node_id self, struct error *error)
{
    char name[NAME_SIZE + 8], path[CONFIG_PATH_SIZE];

    snprintf(name, sizeof name, "%s.sock", node_name(self));
    config_run_path(&lfd->config, name, path);
    if (runtime_listen(lfd->runtime, path, 0, error) != ERROR_NONE)
        return error->code;
    return runtime_dial(lfd->runtime, NODE_GFD, lfd->config.gfd.address, lfd->config.gfd.port,
                        error);
}

static void on_end_timer(evutil_socket_t fd, short what, void *context)
{
    struct lfd *lfd = context;
    struct timeval more = { .tv_sec = (END_GIVEUP_MS - END_KILL_MS) / 1000u };

    (void)fd;
    (void)what;
    if (lfd->killed) {
        log_line(NOTE_ERROR, "end although processes are left: they do not die");
        lfd->given_up = true;
        return;
    }
    processes_kill_all(&lfd->processes);
    lfd->killed = true;
    event_add(&lfd->end_timer, &more);
}

/* Ends every server, and stays until they are gone and the gfd has heard of it. */
static void lfd_end(struct lfd *lfd)
{
    struct timeval wait = { .tv_sec = END_KILL_MS / 1000u };

    processes_end(&lfd->processes);
    event_assign(&lfd->end_timer, runtime_base(lfd->runtime), -1, 0, on_end_timer, lfd);
    event_add(&lfd->end_timer, &wait);
    for (uint32_t i = 0; i < lfd->detector.options.server_count; i++) {
        struct message message = {
            .type = MESSAGE_ORDER,
            .from = NODE_OPERATOR,
            .order = { .server = lfd->detector.options.servers[i], .action = ORDER_STOP },
        };

        runtime_deliver(lfd->runtime, &message);
    }
    while (processes_any(&lfd->processes) && !lfd->given_up)
        runtime_turn(lfd->runtime, true);
    event_del(&lfd->end_timer);
}

static enum error_code configure(struct lfd *lfd, struct config_arguments *arguments, node_id *self,
                                 int argc, char **argv, struct error *error)
{
    if (config_arguments_parse(arguments, argc, argv, error) != ERROR_NONE ||
        config_load(&lfd->config, arguments->path, error) != ERROR_NONE ||
        config_run_dir_set(&lfd->config, arguments->run_dir, error) != ERROR_NONE)
        return error->code;
    if (arguments->name == NULL)
        return error_set(error, ERROR_USAGE, "expected --name HOST: which host this lfd is for");
    *self = config_node(&lfd->config, arguments->name);
    if (!node_is_lfd(*self))
        return error_set(error, ERROR_USAGE, "--name %s: no such host in %s", arguments->name,
                         arguments->path);
    return ERROR_NONE;
}

int main(int argc, char **argv)
{
    static struct lfd lfd;
    struct config_arguments arguments;
    struct error error;
    node_id self = NODE_NONE;

    log_open("lfd", false);
    if (configure(&lfd, &arguments, &self, argc, argv, &error) != ERROR_NONE)
        return log_failure(&error);
    if (arguments.check_only)
        return EXIT_SUCCESS;
    log_open(node_name(self), arguments.verbose);
    if (lock_take_node(&lfd.config, self, &error) != ERROR_NONE) {
        (void)log_failure(&error);
        return error.code == ERROR_REFUSED ? EXIT_ALREADY_RUNNING : EXIT_FAILURE;
    }
    if (lfd_open(&lfd, self, &arguments, &error) != ERROR_NONE ||
        lfd_connect(&lfd, self, &error) != ERROR_NONE)
        return log_failure(&error);
    runtime_run(lfd.runtime);
    lfd_end(&lfd);
    processes_close(&lfd.processes);
    runtime_close(lfd.runtime);
    return EXIT_SUCCESS;
}
