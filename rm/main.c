/* rm - the replication manager: issues views, orders restarts, answers the operator.
 * Only wiring. The decisions are in view.c and repair.c, the sockets in common/ and console.c. */
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/lock.h"
#include "common/log.h"
#include "common/runtime.h"
#include "rm/console.h"
#include "rm/store.h"

struct daemon {
    struct config config;
    struct rm rm;
    struct store store;
    struct event copy_due; /* of what was stored in this turn */
    struct runtime *runtime;
    struct console *console;
};

static void end(const struct error *error)
{
    (void)log_failure(error);
    log_line(NOTE_ERROR, "the end: a view that is not stored must not be sent");
    _exit(EXIT_FAILURE);
}

/* What could not be stored must not be sent, and it stands before the sends: so this is the end. */
static void store_or_end(struct daemon *d, struct bytes state)
{
    static const struct timeval now = { 0 };
    struct error error;

    if (store_save(&d->store, state, &error) != ERROR_NONE)
        end(&error);
    rm_stored(&d->rm, runtime_wall_us());
    event_add(&d->copy_due, &now); /* in the next turn: what is sent in this one goes first */
}

static void on_copy_due(evutil_socket_t fd, short what, void *context)
{
    struct daemon *d = context;
    struct error error;

    (void)fd;
    (void)what;
    if (store_copy(&d->store, &error) != ERROR_NONE)
        end(&error);
}

static void perform(void *context, const struct effect *effect)
{
    struct daemon *d = context;

    if (effect->type == EFFECT_STORE)
        store_or_end(d, effect->data);
    else if (effect->type == EFFECT_ANSWER)
        console_answer(d->console, effect);
}

static void turn_end(void *context)
{
    struct daemon *d = context;

    rm_wall(&d->rm, runtime_now(), runtime_wall_us());
    console_turn_end(d->console);
}

static void deliver(void *context, const struct message *message)
{
    runtime_deliver(((struct daemon *)context)->runtime, message);
}

static enum error_code configure(struct daemon *d, struct config_arguments *arguments, int argc,
                                 char **argv, struct error *error)
{
    if (config_arguments_parse(arguments, argc, argv, error) != ERROR_NONE ||
        config_load(&d->config, arguments->path, error) != ERROR_NONE)
        return error->code;
    return config_run_dir_set(&d->config, arguments->run_dir, error);
}

static enum error_code init_core(struct daemon *d, struct error *error)
{
    struct rm_options options;
    struct buffer stored = { 0 };
    struct error mended;
    bool found;

    rm_options_set(&options, &d->config);
    options.seed = runtime_wall_us() ^ (uint64_t)getpid() << 48;
    store_init(&d->store, &d->config);
    if (store_load(&d->store, &stored, &found, &mended, error) == ERROR_NONE) {
        if (mended.code != ERROR_NONE)
            log_line(NOTE_WARN, "one of two copies is made good from the other: %s", mended.text);
        options.stored = found ? buffer_bytes(&stored) : bytes_of(NULL, 0);
        if (rm_stored_check(&options, error) == ERROR_NONE) {
            rm_init(&d->rm, &options, runtime_now());
            rm_wall(&d->rm, runtime_now(), runtime_wall_us());
            buffer_free(&stored);
            return ERROR_NONE;
        }
    }
    buffer_free(&stored);
    return error->code;
}

static enum error_code open_edges(struct daemon *d, struct error *error)
{
    struct runtime_options runtime = {
        .config = &d->config,
        .self = NODE_RM,
        .incarnation = runtime_wall_us(),
        .core = rm_core(&d->rm),
        .perform = perform,
        .turn_end = turn_end,
        .context = d,
    };
    struct console_options console = {
        .config = &d->config,
        .rm = &d->rm,
        .pid = (uint32_t)getpid(),
        .deliver = deliver,
        .context = d,
    };

    if (runtime_open(&d->runtime, &runtime, error) != ERROR_NONE)
        return error->code;
    console.base = runtime_base(d->runtime);
    event_assign(&d->copy_due, console.base, -1, 0, on_copy_due, d);
    d->console = console_new(&console);
    if (console_listen(d->console, d->config.rm.address, d->config.rm.console_port, error) !=
        ERROR_NONE)
        return error->code;
    return runtime_listen(d->runtime, d->config.rm.address, d->config.rm.port, error);
}

int main(int argc, char **argv)
{
    static struct daemon d;
    struct config_arguments arguments;
    struct error error;
    bool failed;

    log_open("rm", false);
    if (configure(&d, &arguments, argc, argv, &error) != ERROR_NONE)
        return log_failure(&error);
    if (arguments.check_only)
        return EXIT_SUCCESS;
    log_open("rm", arguments.verbose);
    /* Two rms would issue views against each other. */
    if (lock_take_node(&d.config, NODE_RM, &error) != ERROR_NONE) {
        (void)log_failure(&error);
        return error.code == ERROR_REFUSED ? EXIT_ALREADY_RUNNING : EXIT_FAILURE;
    }
    if (init_core(&d, &error) != ERROR_NONE || open_edges(&d, &error) != ERROR_NONE)
        return log_failure(&error);
    runtime_run(d.runtime); /* until SIGTERM or SIGINT */
    failed = runtime_failed(d.runtime);
    console_free(d.console);
    runtime_close(d.runtime);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
