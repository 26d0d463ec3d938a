#include "client/command.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "client/print.h"
#include "common/resp.h"

#define CONNECT_MS 200u
#define DRAIN_MS   500u

/* What only makes sense on one connection, which the library changes as it needs to. */
static const char *const refused[] = { "hello",     "reset",      "quit",       "multi",
                                       "exec",      "discard",    "watch",      "unwatch",
                                       "subscribe", "psubscribe", "ssubscribe", "monitor",
                                       "readonly",  "readwrite" };

bool commander_open(struct commander *c, const struct holdfast_options *options, bool verbose,
                    char *error, size_t error_size)
{
    struct holdfast_options asking = *options;

    memset(c, 0, sizeof(*c));
    asking.send_to_all = false;
    asking.session = 0;
    asking.sequence = 0;
    asking.discarded = NULL;
    asking.event = NULL;
    c->quoted = isatty(STDOUT_FILENO);
    c->verbose = verbose;
    c->client = holdfast_open(options, error, error_size);
    if (c->client)
        c->asker = holdfast_open(&asking, error, error_size);
    if (!c->asker) {
        commander_close(c);
        return false;
    }
    /* Else the first command would go to whoever is there first, and show no duplicates. */
    if (verbose)
        (void)holdfast_connect(c->client, CONNECT_MS);
    return true;
}

void commander_close(struct commander *c)
{
    holdfast_close(c->client);
    holdfast_close(c->asker);
    c->client = NULL;
    c->asker = NULL;
}

static bool is_refused(const char *name)
{
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        if (strcasecmp(name, refused[i]) == 0)
            return true;
    return false;
}

/* Whether "write" is among the flags in an answer to COMMAND INFO: [[name, arity, flags, …]]. */
static bool flags_say_write(struct bytes reply)
{
    struct resp_value value;
    uint32_t place = 0;
    int64_t flags;

    while (reply.size > 0 && place < 5) {
        size_t used = resp_read_value(reply, &value);

        reply = bytes_of(reply.data + used, reply.size - used);
        if (place++ < 2 && value.type != RESP_ARRAY)
            return false;
    }
    if (place < 5 || (value.type != RESP_ARRAY && value.type != RESP_SET))
        return false;
    for (flags = value.integer; flags > 0 && reply.size > 0; flags--) {
        size_t used = resp_read_value(reply, &value);

        if (bytes_equal(value.text, bytes_string("write")))
            return true;
        reply = bytes_of(reply.data + used, reply.size - used);
    }
    return false;
}

/* What the service says of a command; what it does not know is sent as it is, and refused there. */
static enum holdfast_status ask_kind(struct commander *c, const char *name, bool *writes)
{
    const char *const words[] = { "COMMAND", "INFO", name };
    const char *reply;
    size_t size;
    enum holdfast_status status = holdfast_read(c->asker, 3, words, NULL, &reply, &size);

    *writes = status == HOLDFAST_OK && flags_say_write(bytes_of(reply, size));
    if (status == HOLDFAST_OK && c->kind_count < COMMAND_KINDS_MAX &&
        strlen(name) < COMMAND_NAME_SIZE) {
        struct command_kind *kind = &c->kinds[c->kind_count++];

        (void)snprintf(kind->name, sizeof(kind->name), "%s", name);
        kind->writes = *writes;
    }
    return status;
}

static enum holdfast_status find_kind(struct commander *c, const char *name, bool *writes)
{
    for (uint32_t i = 0; i < c->kind_count; i++) {
        if (strcasecmp(c->kinds[i].name, name) != 0)
            continue;
        *writes = c->kinds[i].writes;
        return HOLDFAST_OK;
    }
    /* It brings its session along. */
    *writes = false;
    return strcasecmp(name, "once") == 0 ? HOLDFAST_OK : ask_kind(c, name, writes);
}

static bool show(const struct commander *c, struct bytes reply)
{
    bool error = reply.data[0] == RESP_ERROR || reply.data[0] == RESP_BULK_ERROR;
    FILE *stream = error ? stderr : stdout;
    struct buffer out = { 0 };
    size_t written;

    print_reply(reply, c->quoted, &out);
    written = fwrite(buffer_head(&out), 1, buffer_size(&out), stream);
    if (written != buffer_size(&out) || fflush(stream) != 0) {
        (void)fprintf(stderr, "the reply cannot be written: %s\n", strerror(errno));
        error = true;
    }
    buffer_free(&out);
    return !error;
}

static bool complain(const char *what, const char *why)
{
    (void)fprintf(stderr, "%s: %s\n", what, why);
    return false;
}

bool commander_run(struct commander *c, int argc, const char *const *argv, const size_t *sizes)
{
    const char *reply = NULL;
    size_t size = 0;
    bool writes = false;
    bool shown;
    enum holdfast_status status;

    if (is_refused(argv[0]))
        return complain(argv[0], "needs a connection of its own: use redis-cli");
    if (find_kind(c, argv[0], &writes) != HOLDFAST_OK)
        return complain("failed", holdfast_error(c->asker));
    status = writes ? holdfast_call(c->client, argc, argv, sizes, &reply, &size)
                    : holdfast_read(c->client, argc, argv, sizes, &reply, &size);
    if (status == HOLDFAST_FAILED)
        return complain("failed", holdfast_error(c->client));
    if (status == HOLDFAST_UNKNOWN)
        return complain("unknown", holdfast_error(c->client));
    shown = show(c, bytes_of(reply, size));
    if (c->verbose)
        (void)holdfast_drain(c->client, DRAIN_MS);
    return shown;
}
