#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/load.h"

enum option_kind { OPTION_FLAG, OPTION_U32, OPTION_U64, OPTION_REAL, OPTION_SEND_TO, OPTION_TEXT };

#define OPTION_TEXT_SIZE sizeof(((struct load_options *)NULL)->servers)
_Static_assert(OPTION_TEXT_SIZE == sizeof(((struct load_options *)NULL)->record),
               "one size for all texts");

struct option_entry {
    const char *name;
    enum option_kind kind;
    size_t offset;
    double min, max;
    const char *value; /* its name in the usage */
    const char *help;
};

/* clang-format off */
#define AT(field) offsetof(struct load_options, field)
static const struct option_entry entries[] = {
    { "--servers", OPTION_TEXT, AT(servers), 0, 0, "a:p,b:p", "servers, instead of the config's" },
    { "--rate", OPTION_REAL, AT(rate), 0, 1e7, "R", "open loop: R requests per second in all" },
    { "--connections", OPTION_U32, AT(connections), 1, 100000, "N", "default 50" },
    { "--pipeline", OPTION_U32, AT(pipeline), 1, 10000, "P", "under way on each; default 1" },
    { "--value-size", OPTION_U32, AT(value_size), 1, 512e6, "B", "bytes of a value; default 64" },
    { "--reads", OPTION_U32, AT(reads_percent), 0, 100, "PERCENT", "share of reads; default 0" },
    { "--keys", OPTION_U32, AT(keys), 1, 4e9, "K", "key space; default 100000" },
    { "--requests", OPTION_U64, AT(requests), 1, 1e15, "N", "end after N requests" },
    { "--seconds", OPTION_REAL, AT(seconds), 0.001, LOAD_SECONDS_MAX, "S",
      "end after S seconds; default 10 unless --requests is given" },
    { "--once", OPTION_FLAG, AT(once), 0, 0, NULL, "writes as exactly-once sessions" },
    { "--verify", OPTION_FLAG, AT(verify), 0, 0, NULL,
      "unique writes; read back all that was acknowledged; exit 1 if any is lost or repeated" },
    { "--record", OPTION_TEXT, AT(record), 0, 0, "FILE",
      "unique writes; what became of each goes to FILE, for `verify FILE` later" },
    { "--send-to", OPTION_SEND_TO, AT(send_to), 0, 0, "one|all|spread",
      "which servers; default one; all needs --once or --reads 100" },
    { "--deadline-ms", OPTION_U32, AT(deadline_ms), 1, 600000, "MS",
      "give a request up after so long; default 5000" },
    { "--try-ms", OPTION_U32, AT(try_ms), 1, 600000, "MS",
      "with --once: silence before the next server is tried; doubles; default 250" },
    { "--seed", OPTION_U64, AT(seed), 0, 1e18, "N", "for keys and kinds; default: by chance" },
    { "--series", OPTION_FLAG, AT(series), 0, 0, NULL, "acknowledgements of each second, too" },
    { "--json", OPTION_FLAG, AT(json), 0, 0, NULL, "the report as one JSON object" },
    { "--help", OPTION_FLAG, AT(help), 0, 0, NULL, "this text" },
};
#undef AT
/* clang-format on */

#define ENTRY_COUNT (sizeof(entries) / sizeof(entries[0]))

void load_options_default(struct load_options *options)
{
    *options = (struct load_options){
        .connections = 50,
        .pipeline = 1,
        .value_size = 64,
        .keys = 100000,
        .deadline_ms = 5000,
        .try_ms = 250,
    };
}

bool load_remembers(const struct load_options *options)
{
    return options->verify || options->record[0] != '\0';
}

void load_usage(struct buffer *out)
{
    buffer_append_string(out, "usage: holdfast-client [-c FILE | --servers a:p,b:p] load "
                              "[options]\n\n");
    for (size_t i = 0; i < ENTRY_COUNT; i++) {
        char left[64];

        (void)snprintf(left, sizeof(left), "%s %s", entries[i].name,
                       entries[i].value ? entries[i].value : "");
        buffer_format(out, "  %-26s %s\n", left, entries[i].help);
    }
}

static enum error_code set_send_to(enum load_send_to *send_to, const char *text,
                                   struct error *error)
{
    static const char *const names[] = { "one", "spread", "all" };

    for (uint32_t i = 0; i < 3; i++) {
        if (strcmp(text, names[i]) != 0)
            continue;
        *send_to = (enum load_send_to)i;
        return ERROR_NONE;
    }
    return error_set(error, ERROR_USAGE, "--send-to %s: expected one, all or spread", text);
}

static enum error_code set_number(void *field, const struct option_entry *entry, const char *text,
                                  struct error *error)
{
    char *end = NULL;
    double value = strtod(text, &end);
    bool whole = entry->kind != OPTION_REAL;

    if (end == text || *end != '\0' || !(value >= entry->min && value <= entry->max) ||
        (whole && floor(value) != value))
        return error_set(error, ERROR_USAGE, "%s %s: expected a %s from %.15g to %.15g",
                         entry->name, text, whole ? "whole number" : "number", entry->min,
                         entry->max);
    if (entry->kind == OPTION_U32)
        *(uint32_t *)field = (uint32_t)value;
    else if (entry->kind == OPTION_U64)
        *(uint64_t *)field = (uint64_t)value;
    else
        *(double *)field = value;
    return ERROR_NONE;
}

static enum error_code set_value(struct load_options *options, const struct option_entry *entry,
                                 const char *text, struct error *error)
{
    void *field = (char *)options + entry->offset;

    if (entry->kind == OPTION_SEND_TO)
        return set_send_to(field, text, error);
    if (entry->kind != OPTION_TEXT)
        return set_number(field, entry, text, error);
    if (strlen(text) >= OPTION_TEXT_SIZE)
        return error_set(error, ERROR_USAGE, "%s: its value is longer than %zu bytes", entry->name,
                         OPTION_TEXT_SIZE - 1);
    (void)snprintf(field, OPTION_TEXT_SIZE, "%s", text);
    return ERROR_NONE;
}

static const struct option_entry *find_entry(const char *word)
{
    for (size_t i = 0; i < ENTRY_COUNT; i++)
        if (strcmp(word, entries[i].name) == 0)
            return &entries[i];
    return NULL;
}

/* What makes no sense together. */
static enum error_code check_options(struct load_options *options, struct error *error)
{
    if ((uint64_t)options->connections * options->pipeline > LOAD_LANES_MAX)
        return error_set(error, ERROR_USAGE, "--connections times --pipeline is above %u",
                         LOAD_LANES_MAX);
    if (options->once && options->connections * options->pipeline > LOAD_SESSIONS_MAX)
        return error_set(error, ERROR_USAGE,
                         "--once needs a session for each of --connections times --pipeline: at "
                         "most %u",
                         LOAD_SESSIONS_MAX);
    if (load_remembers(options) && options->value_size < VERIFY_RECORD_SIZE_MIN)
        return error_set(error, ERROR_USAGE,
                         "--verify and --record need a --value-size of at least %u",
                         VERIFY_RECORD_SIZE_MIN);
    if (load_remembers(options) && options->requests > VERIFY_WRITES_MAX)
        return error_set(error, ERROR_USAGE, "--verify and --record remember at most %u writes",
                         VERIFY_WRITES_MAX);
    if (options->send_to == LOAD_SEND_ALL && !options->once && options->reads_percent < 100)
        return error_set(error, ERROR_USAGE,
                         "--send-to all would execute plain writes more than once: add --once");
    if (options->seconds == 0 && options->requests == 0)
        options->seconds = 10;
    return ERROR_NONE;
}

enum error_code load_options_parse(struct load_options *options, int argc, char **argv,
                                   struct error *error)
{
    for (int i = 0; i < argc; i++) {
        const struct option_entry *entry = find_entry(argv[i]);

        if (!entry)
            return error_set(error, ERROR_USAGE, "load: unknown option %s; see load --help",
                             argv[i]);
        if (entry->kind == OPTION_FLAG) {
            *(bool *)((char *)options + entry->offset) = true;
            continue;
        }
        if (i + 1 == argc)
            return error_set(error, ERROR_USAGE, "%s needs a value: %s", entry->name, entry->value);
        if (set_value(options, entry, argv[++i], error) != ERROR_NONE)
            return error->code;
    }
    return check_options(options, error);
}
