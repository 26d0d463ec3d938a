/* holdfast - the launcher and the operator's command. Only the command line; the verbs are in
 * operator_*.c and launcher.c. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/operator.h"

/* Options that belong to some verbs only. */
enum { ALLOW_JSON = 1, ALLOW_FOLLOW = 2, ALLOW_DAEMON = 4, ALLOW_LOSS = 8, NEEDS_NO_CONFIG = 16 };

struct verb {
    const char *name;
    int words, words_max; /* after it */
    unsigned allowed;
    int (*run)(const struct invocation *call);
    const char *usage;
    const char *help;
};

static const struct verb verbs[] = {
    { "up", 0, 0, ALLOW_DAEMON, operator_up, "up [--daemon]",
      "start what runs on this machine, until Ctrl-C; or detach once it is up" },
    { "down", 0, 0, 0, operator_down, "down", "stop what runs on this machine" },
    { "status", 0, 0, ALLOW_JSON, operator_status, "status [--json]",
      "who is there and does what" },
    { "events", 0, 0, ALLOW_FOLLOW, operator_events, "events [--follow]",
      "what the rm saw and did; --follow waits for more" },
    { "switchover", 1, 1, 0, operator_order, "switchover SERVER", "make it the primary" },
    { "start", 1, 1, 0, operator_order, "start SERVER", "also one that failed or was stopped" },
    { "stop", 1, 1, 0, operator_order, "stop SERVER", "until it is started again" },
    { "restart", 1, 1, 0, operator_order, "restart SERVER", "stop it and start it again" },
    { "set", 2, 2, 0, operator_set, "set style|acks VALUE",
      "style active|passive, acks all|majority|N, without a restart" },
    { "recover", 0, 0, ALLOW_LOSS, operator_recover, "recover --accept-loss",
      "go on although acknowledged writes are lost" },
    { "fault", 2, 2, 0, operator_fault, "fault kill|stop|cont NAME",
      "send a signal to a server, lfd (or its host), gfd or rm of this machine" },
    { "fault", 3, 4, 0, operator_link, "fault cut A B [SECONDS]",
      "silence the link of two servers for 10 s, or 1 to 60; fault heal A B ends it" },
    { "backup", 1, 1, 0, operator_backup, "backup FILE",
      "a checkpoint of the running cluster; its clients notice nothing" },
    { "restore", 1, 1, 0, operator_restore, "restore FILE",
      "put a backup into the empty servers of this machine; the cluster is down" },
    { "journal", 2, 2, NEEDS_NO_CONFIG, operator_journal, "journal show|check DIR",
      "what a server keeps in RUN/SERVER; changes nothing; 1: damaged" },
    { "demo", 0, 0, 0, operator_demo, "demo", "kill a primary under load and show what happens" },
    { "check", 0, 0, 0, operator_check, "check", "check the config and exit; so does -n" },
};

#define VERB_COUNT (sizeof verbs / sizeof verbs[0])

static void usage_print(FILE *out)
{
    fprintf(out, "usage: holdfast -c FILE [--run-dir DIR] [-v] VERB\n\n");
    for (size_t i = 0; i < VERB_COUNT; i++)
        fprintf(out, "  %-26s %s\n", verbs[i].usage, verbs[i].help);
    fprintf(out,
            "\n"
            "  -c, --config FILE   the cluster's config file; otherwise $HOLDFAST_CONFIG\n"
            "      --run-dir DIR   for sockets, locks and logs; otherwise as the config says\n"
            "  -v, --verbose       the daemons log debug lines, too\n"
            "  -n                  check the config and exit\n"
            "  -h, --help          this text\n\n"
            "Exit status: 0 done; 1 the cluster refused or failed; 2 wrong usage or config.\n");
}

static bool takes(const struct verb *verb, int words)
{
    return words >= verb->words && words <= verb->words_max;
}

/* The one of that name that takes so many words, else any of that name, or NULL. */
static const struct verb *find_verb(const char *name, int words)
{
    const struct verb *found = NULL;

    for (size_t i = 0; i < VERB_COUNT; i++) {
        if (strcmp(verbs[i].name, name) == 0 && (found == NULL || takes(&verbs[i], words)))
            found = &verbs[i];
    }
    return found;
}

/* What was said may not have arrived: a full disk is a failure, too. */
static int finish(int status)
{
    if (status != EXIT_SUCCESS || (fflush(stdout) == 0 && !ferror(stdout)))
        return status;
    perror("holdfast: cannot write the output");
    return EXIT_FAILURE;
}

/* What the command line says before the config is read. */
struct arguments {
    const char *path, *run_dir;
    bool check_only;
    unsigned given; /* options that not every verb allows */
};

static enum error_code parse_options(int argc, char **argv, struct invocation *call,
                                     struct arguments *arguments, struct error *error)
{
    enum { OPTION_RUN_DIR = 256, OPTION_JSON, OPTION_DAEMON, OPTION_LOSS };
    static const struct option options[] = {
        { "config", required_argument, NULL, 'c' },
        { "run-dir", required_argument, NULL, OPTION_RUN_DIR },
        { "json", no_argument, NULL, OPTION_JSON },
        { "follow", no_argument, NULL, 'f' },
        { "daemon", no_argument, NULL, OPTION_DAEMON },
        { "accept-loss", no_argument, NULL, OPTION_LOSS },
        { "verbose", no_argument, NULL, 'v' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    int option;

    arguments->path = getenv("HOLDFAST_CONFIG");
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":c:fvnh", options, NULL)) != -1) {
        switch (option) {
        case 'c': arguments->path = optarg; break;
        case OPTION_RUN_DIR: arguments->run_dir = optarg; break;
        case OPTION_JSON: arguments->given |= ALLOW_JSON; break;
        case 'f': arguments->given |= ALLOW_FOLLOW; break;
        case OPTION_DAEMON: arguments->given |= ALLOW_DAEMON; break;
        case OPTION_LOSS: arguments->given |= ALLOW_LOSS; break;
        case 'v': call->verbose = true; break;
        case 'n': arguments->check_only = true; break;
        case 'h': usage_print(stdout); exit(finish(EXIT_SUCCESS));
        case ':':
            return error_set(error, ERROR_USAGE, "%s: expected a value after it", argv[optind - 1]);
        default:
            return error_set(error, ERROR_USAGE, "%s: unknown option; -h shows those there are",
                             argv[optind - 1]);
        }
    }
    return ERROR_NONE;
}

/* NULL and an error when there is no such verb or it is used in another way. */
static const struct verb *parse_verb(int argc, char **argv, const struct arguments *arguments,
                                     struct invocation *call, struct error *error)
{
    const char *name = arguments->check_only ? "check" : argv[optind];
    int words = arguments->check_only ? 0 : argc - optind - 1;
    const struct verb *verb = name != NULL ? find_verb(name, words) : NULL;

    if (verb == NULL) {
        error_set(error, ERROR_USAGE, "%s%s; -h shows those there are",
                  name != NULL ? name : "expected a verb", name != NULL ? ": unknown verb" : "");
        return NULL;
    }
    if (!arguments->check_only &&
        ((arguments->given & ~verb->allowed) != 0 || !takes(verb, words))) {
        error_set(error, ERROR_USAGE, "usage: holdfast %s%s",
                  verb->allowed & NEEDS_NO_CONFIG ? "" : "-c FILE ", verb->usage);
        return NULL;
    }
    call->verb = verb->name;
    call->words = argv + optind + 1;
    call->run_dir = arguments->run_dir;
    call->json = (arguments->given & ALLOW_JSON) != 0;
    call->follow = (arguments->given & ALLOW_FOLLOW) != 0;
    call->daemon = (arguments->given & ALLOW_DAEMON) != 0;
    call->accept_loss = (arguments->given & ALLOW_LOSS) != 0;
    return verb;
}

int main(int argc, char **argv)
{
    static struct invocation call;
    struct arguments arguments = { 0 };
    const struct verb *verb;
    struct error error;

    if (argc == 1) {
        usage_print(stderr);
        return 2;
    }
    if (parse_options(argc, argv, &call, &arguments, &error) != ERROR_NONE)
        return operator_failure(&error);
    verb = parse_verb(argc, argv, &arguments, &call, &error);
    if (verb == NULL)
        return operator_failure(&error);
    if (verb->allowed & NEEDS_NO_CONFIG)
        return finish(verb->run(&call));
    if (arguments.path == NULL || arguments.path[0] == '\0') {
        error_set(&error, ERROR_USAGE, "no config file: expected -c FILE or $HOLDFAST_CONFIG");
        return operator_failure(&error);
    }
    if (config_load(&call.config, arguments.path, &error) != ERROR_NONE ||
        config_run_dir_set(&call.config, arguments.run_dir, &error) != ERROR_NONE)
        return operator_failure(&error);
    return finish(verb->run(&call));
}
