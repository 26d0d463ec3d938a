/* holdfast-client - calls a cluster: one command, commands line by line, or a load.
 * Only wiring: the decisions are in session.c, the calls in library.c, the load in load.c. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/command.h"
#include "client/load.h"
#include "client/prompt.h"
#include "common/config.h"
#include "common/log.h"

#define SERVERS_SIZE 4096u

static const char usage[] =
    "usage: holdfast-client [-c FILE | --servers a:p,b:p] [options] [COMMAND ARG...]\n"
    "       holdfast-client [-c FILE | --servers a:p,b:p] load [--help | options]\n"
    "       holdfast-client [-c FILE | --servers a:p,b:p] verify [--json] FILE\n"
    "\n"
    "verify reads back what `load --verify --record FILE` wrote: exit 1 if any of it is lost.\n"
    "Without a command, reads commands from standard input, one to a line.\n"
    "\n"
    "  -c FILE            the cluster's config; default $HOLDFAST_CONFIG\n"
    "  --servers LIST     [name=]host:port,... instead of a config\n"
    "  --send-to one|all  default: all when the config's style is active, else one\n"
    "  --deadline-ms MS   of a command with all its retries; default 5000\n"
    "  --session N        go on with this session instead of a new one\n"
    "  --sequence N       of the first write in it; default 1\n"
    "  -v                 say what happens to connections, and which replies are discarded\n"
    "\n"
    "Exit status: 0 done; 1 refused, failed (certainly not executed) or unknown (may have been\n"
    "executed), as standard error says; 2 wrong usage.\n";

struct arguments {
    const char *config;
    char servers[SERVERS_SIZE];
    struct holdfast_options options;
    bool send_to_given, verbose, help;
};

enum { OPTION_SERVERS = 256, OPTION_SEND_TO, OPTION_DEADLINE, OPTION_SESSION, OPTION_SEQUENCE };

static const struct option long_options[] = {
    { "servers", required_argument, NULL, OPTION_SERVERS },
    { "send-to", required_argument, NULL, OPTION_SEND_TO },
    { "deadline-ms", required_argument, NULL, OPTION_DEADLINE },
    { "session", required_argument, NULL, OPTION_SESSION },
    { "sequence", required_argument, NULL, OPTION_SEQUENCE },
    { "help", no_argument, NULL, 'h' },
    { NULL, 0, NULL, 0 },
};

static enum error_code parse_number(const char *name, const char *text, uint64_t max,
                                    uint64_t *number, struct error *error)
{
    char *end = NULL;
    unsigned long long value = strtoull(text, &end, 10);

    if (*text < '0' || *text > '9' || *end != '\0' || value < 1 || value > max)
        return error_set(error, ERROR_USAGE, "%s %s: expected a number from 1 to %llu", name, text,
                         (unsigned long long)max);
    *number = value;
    return ERROR_NONE;
}

static enum error_code parse_send_to(struct arguments *a, const char *text, struct error *error)
{
    if (strcmp(text, "one") != 0 && strcmp(text, "all") != 0)
        return error_set(error, ERROR_USAGE, "--send-to %s: expected one or all", text);
    a->send_to_given = true;
    a->options.send_to_all = strcmp(text, "all") == 0;
    return ERROR_NONE;
}

static enum error_code parse_servers(struct arguments *a, const char *text, struct error *error)
{
    if (strlen(text) >= sizeof(a->servers))
        return error_set(error, ERROR_USAGE, "--servers: longer than %zu bytes",
                         sizeof(a->servers) - 1);
    (void)snprintf(a->servers, sizeof(a->servers), "%s", text);
    return ERROR_NONE;
}

static enum error_code take_option(struct arguments *a, int option, struct error *error)
{
    uint64_t number = 0;
    enum error_code code = ERROR_NONE;

    switch (option) {
    case 'c': a->config = optarg; break;
    case 'v': a->verbose = true; break;
    case 'h': a->help = true; break;
    case OPTION_SERVERS: code = parse_servers(a, optarg, error); break;
    case OPTION_SEND_TO: code = parse_send_to(a, optarg, error); break;
    case OPTION_DEADLINE:
        code = parse_number("--deadline-ms", optarg, 86400000, &number, error);
        a->options.deadline_ms = (uint32_t)number;
        break;
    case OPTION_SESSION:
        code = parse_number("--session", optarg, INT64_MAX, &a->options.session, error);
        break;
    case OPTION_SEQUENCE:
        code = parse_number("--sequence", optarg, INT64_MAX, &a->options.sequence, error);
        break;
    default: /* getopt has said what is wrong */
        code = error_set(error, ERROR_USAGE, "see holdfast-client --help");
        break;
    }
    return code;
}

/* Ends at the first word that is no option: the command. */
static enum error_code parse_arguments(struct arguments *a, int argc, char **argv,
                                       struct error *error)
{
    int option;

    memset(a, 0, sizeof(*a));
    a->config = getenv("HOLDFAST_CONFIG");
    while ((option = getopt_long(argc, argv, "+c:vh", long_options, NULL)) != -1)
        if (take_option(a, option, error) != ERROR_NONE)
            return error->code;
    return ERROR_NONE;
}

/* The servers of a config as a list for the library. */
static void list_servers(struct arguments *a, const struct config *config)
{
    size_t used = 0;

    for (uint32_t i = 0; i < config->server_count; i++) {
        const struct config_server *s = &config->servers[i];
        bool bracket = strchr(s->address, ':') != NULL;
        int size = snprintf(a->servers + used, sizeof(a->servers) - used, "%s%s=%s%s%s:%u",
                            i > 0 ? "," : "", s->name, bracket ? "[" : "", s->address,
                            bracket ? "]" : "", s->client_port);

        used += (size_t)size;
    }
}

_Static_assert(SERVERS_SIZE > SERVER_COUNT_MAX * (NAME_SIZE + CONFIG_ADDRESS_SIZE + 16u),
               "the servers of a config fit in the list");

static enum error_code find_servers(struct arguments *a, struct error *error)
{
    struct config *config;
    enum error_code code;

    if (a->servers[0] != '\0')
        return ERROR_NONE;
    if (!a->config)
        return error_set(error, ERROR_USAGE,
                         "no servers: give -c FILE or --servers (see holdfast-client --help)");
    config = memory_zeroed(1, sizeof(*config));
    code = config_load(config, a->config, error);
    if (code == ERROR_NONE)
        list_servers(a, config);
    if (code == ERROR_NONE && !a->send_to_given)
        a->options.send_to_all = config->replication.style == STYLE_ACTIVE;
    free(config);
    return code;
}

static void say_discarded(void *context, uint64_t request, const char *server)
{
    (void)context;
    log_line(NOTE_INFO, "request_num %llu: Discarded duplicate reply from %s",
             (unsigned long long)request, server);
}

static void say_event(void *context, const char *text)
{
    (void)context;
    log_line(NOTE_INFO, "%s", text);
}

static int run_commands(struct arguments *a, int argc, char **argv)
{
    struct commander *commander = memory_zeroed(1, sizeof(*commander));
    char why[ERROR_TEXT_SIZE];
    bool good;

    a->options.servers = a->servers;
    if (a->verbose) {
        a->options.discarded = say_discarded;
        a->options.event = say_event;
    }
    if (!commander_open(commander, &a->options, a->verbose, why, sizeof(why))) {
        (void)fprintf(stderr, "holdfast-client: %s\n", why);
        free(commander);
        return 2;
    }
    good = argc > 0 ? commander_run(commander, argc, (const char *const *)argv, NULL)
                    : prompt_run(commander);
    commander_close(commander);
    free(commander);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct arguments arguments;
    struct error error;
    bool load;

    log_open("client", false);
    if (parse_arguments(&arguments, argc, argv, &error) != ERROR_NONE)
        return log_failure(&error);
    if (arguments.help)
        return fputs(usage, stdout) < 0 || fflush(stdout) != 0 ? EXIT_FAILURE : EXIT_SUCCESS;
    argc -= optind;
    argv += optind;
    load = argc > 0 && strcmp(argv[0], "load") == 0;
    /* The servers of a load may stand among its own options. */
    if (!(load && !arguments.config) && find_servers(&arguments, &error) != ERROR_NONE)
        return log_failure(&error);
    if (load)
        return load_main(arguments.servers, argc - 1, argv + 1);
    if (argc > 0 && strcmp(argv[0], "verify") == 0)
        return load_verify_main(arguments.servers, argc - 1, argv + 1);
    return run_commands(&arguments, argc, argv);
}
