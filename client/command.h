/* command - runs single commands for people: finds out whether each one writes, sends it through
 * the library accordingly, and shows what came of it. */
#ifndef HOLDFAST_CLIENT_COMMAND_H
#define HOLDFAST_CLIENT_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/holdfast.h"

#define COMMAND_KINDS_MAX 128u /* names whose kind is remembered */
#define COMMAND_NAME_SIZE 64u

struct command_kind {
    char name[COMMAND_NAME_SIZE];
    bool writes;
};

struct commander {
    struct holdfast *client;
    struct holdfast *asker; /* for COMMAND INFO: to one server, so that calls keep their numbers */
    bool quoted;            /* replies for people */
    bool verbose;           /* waits for duplicate replies, so that they are reported */
    uint32_t kind_count;
    struct command_kind kinds[COMMAND_KINDS_MAX];
};

/* Opens two clients of the same options. False, with the reason in error, when that fails. */
bool commander_open(struct commander *c, const struct holdfast_options *options, bool verbose,
                    char *error, size_t error_size);
void commander_close(struct commander *c);

/* Runs one command. The reply goes to stdout; an error reply, and why there is none (failed or
 * unknown), to stderr. True when there was a reply and it is no error. */
bool commander_run(struct commander *c, int argc, const char *const *argv, const size_t *sizes);

#endif
