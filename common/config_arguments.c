#include "common/config.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static void usage_print(const char *program)
{
    const char *slash = strrchr(program, '/');

    printf("usage: %s -c FILE [--name NAME] [--run-dir DIR] [-n] [-v]\n"
           "  -c, --config FILE  the cluster's config file; otherwise $HOLDFAST_CONFIG\n"
           "      --name NAME    which host of it (an lfd) or server (a server) this is\n"
           "      --run-dir DIR  for sockets, locks and stores; otherwise as the config says\n"
           "  -n, --check        check the config and exit\n"
           "  -v, --verbose      log debug lines too\n"
           "  -h, --help         this text\n",
           slash ? slash + 1 : program);
}

enum error_code config_arguments_parse(struct config_arguments *arguments, int argc, char **argv,
                                       struct error *error)
{
    enum { OPTION_NAME = 256, OPTION_RUN_DIR };
    static const struct option options[] = {
        { "config", required_argument, NULL, 'c' },
        { "name", required_argument, NULL, OPTION_NAME },
        { "run-dir", required_argument, NULL, OPTION_RUN_DIR },
        { "check", no_argument, NULL, 'n' },
        { "verbose", no_argument, NULL, 'v' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    int option;

    memset(arguments, 0, sizeof *arguments);
    arguments->path = getenv("HOLDFAST_CONFIG");
    optind = 0; /* start afresh: tests parse more than one command line */
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":c:nvh", options, NULL)) != -1) {
        switch (option) {
        case 'c': arguments->path = optarg; break;
        case OPTION_NAME: arguments->name = optarg; break;
        case OPTION_RUN_DIR: arguments->run_dir = optarg; break;
        case 'n': arguments->check_only = true; break;
        case 'v': arguments->verbose = true; break;
        case 'h': usage_print(argv[0]); exit(EXIT_SUCCESS);
        case ':':
            return error_set(error, ERROR_USAGE, "%s: expected a value after it", argv[optind - 1]);
        default:
            return error_set(error, ERROR_USAGE, "%s: unknown option; -h shows those there are",
                             argv[optind - 1]);
        }
    }
    if (optind < argc)
        return error_set(error, ERROR_USAGE, "%s: expected nothing but options", argv[optind]);
    if (arguments->path == NULL || arguments->path[0] == '\0')
        return error_set(error, ERROR_USAGE,
                         "no config file: expected -c FILE or $HOLDFAST_CONFIG");
    return ERROR_NONE;
}
