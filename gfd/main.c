/* gfd - the global fault detector: keeps the one list of who is alive, and tells the rm.
 * Only wiring. The decisions are in membership.c, the sockets in common/. */
#include <stdlib.h>

#include "common/lock.h"
#include "common/log.h"
#include "common/runtime.h"
#include "gfd/membership.h"

static enum error_code configure(struct config *config, struct config_arguments *arguments,
                                 int argc, char **argv, struct error *error)
{
    if (config_arguments_parse(arguments, argc, argv, error) != ERROR_NONE)
        return error->code;
    if (config_load(config, arguments->path, error) != ERROR_NONE)
        return error->code;
    return config_run_dir_set(config, arguments->run_dir, error);
}

static bool admits(void *context, node_id node, uint64_t incarnation)
{
    return membership_admits(context, node, incarnation);
}

static enum error_code connect_all(struct runtime *runtime, const struct config *config,
                                   struct error *error)
{
    if (runtime_listen(runtime, config->gfd.address, config->gfd.port, error) != ERROR_NONE)
        return error->code;
    return runtime_dial(runtime, NODE_RM, config->rm.address, config->rm.port, error);
}

int main(int argc, char **argv)
{
    static struct config config;
    static struct membership membership;
    struct membership_options options;
    struct runtime_options runtime_options;
    struct config_arguments arguments;
    struct runtime *runtime;
    struct error error;

    log_open("gfd", false);
    if (configure(&config, &arguments, argc, argv, &error) != ERROR_NONE)
        return log_failure(&error);
    if (arguments.check_only)
        return EXIT_SUCCESS;
    log_open("gfd", arguments.verbose);
    if (lock_take_node(&config, NODE_GFD, &error) != ERROR_NONE) {
        (void)log_failure(&error);
        return error.code == ERROR_REFUSED ? EXIT_ALREADY_RUNNING : EXIT_FAILURE;
    }

    options = membership_options_from(&config);
    membership_init(&membership, &options, runtime_now());
    runtime_options = (struct runtime_options){
        .config = &config,
        .self = NODE_GFD,
        .incarnation = runtime_wall_us(),
        .core = membership_core(&membership),
        .admits = admits,
        .context = &membership,
    };
    if (runtime_open(&runtime, &runtime_options, &error) != ERROR_NONE ||
        connect_all(runtime, &config, &error) != ERROR_NONE)
        return log_failure(&error);
    runtime_run(runtime); /* until SIGTERM or SIGINT */
    runtime_close(runtime);
    return EXIT_SUCCESS;
}
