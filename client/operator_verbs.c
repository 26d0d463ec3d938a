/* The verbs that are one question to the rm, and the check of the config. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/operator.h"
#include "client/operator_console.h"
#include "client/operator_status.h"
#include "common/log.h"
#include "common/resp.h"

#define STATUS_MS_MAX       5000u
#define CUT_SECONDS_DEFAULT "10"

int operator_failure(const struct error *error)
{
    fprintf(stderr, "holdfast: %s\n", error->text);
    return error->code == ERROR_USAGE || error->code == ERROR_CONFIG ? 2 : 1;
}

/* What was written may not have arrived: a full disk or a closed pipe is a failure, too. */
static int write_out(struct buffer *text, int status)
{
    if (fwrite(buffer_head(text), 1, buffer_size(text), stdout) != buffer_size(text) ||
        fflush(stdout) != 0) {
        perror("holdfast: cannot write the output");
        status = 1;
    }
    buffer_free(text);
    return status;
}

/* JSON as the rm gave it, indented for a person's terminal. */
static int print_json(struct buffer *json)
{
    struct buffer out = { 0 };
    json_t *root = isatty(STDOUT_FILENO)
                       ? json_loadb((const char *)buffer_head(json), buffer_size(json), 0, NULL)
                       : NULL;
    char *text = root != NULL ? json_dumps(root, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;

    if (text != NULL)
        buffer_append_string(&out, text);
    else
        buffer_append(&out, buffer_head(json), buffer_size(json));
    buffer_append_string(&out, "\n");
    free(text);
    json_decref(root);
    buffer_free(json);
    return write_out(&out, 0);
}

int operator_status(const struct invocation *call)
{
    struct status *status;
    struct buffer json = { 0 };
    struct buffer page = { 0 };
    struct error error;
    enum error_code code = console_call(&call->config, STATUS_MS_MAX, 1,
                                        (const char *const[]){ "STATUS" }, &json, &error);

    if (code != ERROR_NONE) {
        buffer_free(&json);
        return operator_failure(&error);
    }
    if (call->json)
        return print_json(&json);
    status = memory_take(sizeof *status);
    code = status_parse(status, buffer_bytes(&json), &error);
    if (code == ERROR_NONE)
        status_write(status, log_wants_colours(STDOUT_FILENO), &page);
    free(status);
    buffer_free(&json);
    return code == ERROR_NONE ? write_out(&page, 0) : operator_failure(&error);
}

/* One command whose answer is a sentence. */
static int ask(const struct invocation *call, uint32_t count, const char *const *words)
{
    struct buffer text = { 0 };
    struct error error;

    if (console_call(&call->config, CONSOLE_COMMAND_MS_MAX, count, words, &text, &error) !=
        ERROR_NONE) {
        buffer_free(&text);
        return operator_failure(&error);
    }
    buffer_append_string(&text, "\n");
    return write_out(&text, 0);
}

int operator_order(const struct invocation *call)
{
    static const char *const commands[][2] = { { "switchover", "SWITCHOVER" },
                                               { "start", "START" },
                                               { "stop", "STOP" },
                                               { "restart", "RESTART" } };
    struct error error;

    if (!node_is_server(config_node(&call->config, call->words[0]))) {
        error_set(&error, ERROR_USAGE, "%s: expected a server of cluster %s, got \"%s\"",
                  call->verb, call->config.cluster, call->words[0]);
        return operator_failure(&error);
    }
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(call->verb, commands[i][0]) == 0)
            return ask(call, 2, (const char *const[]){ commands[i][1], call->words[0] });
    }
    abort(); /* the table of verbs names these four only */
}

static bool is_style(const char *value)
{
    return strcmp(value, "active") == 0 || strcmp(value, "passive") == 0;
}

static bool is_acks(const char *value, uint32_t server_count)
{
    int64_t number = 0;

    if (strcmp(value, "all") == 0 || strcmp(value, "majority") == 0)
        return true;
    return resp_integer(bytes_string(value), &number) && number >= 1 && number <= server_count;
}

int operator_set(const struct invocation *call)
{
    const char *key = call->words[0], *value = call->words[1];
    struct error error;

    if (strcmp(key, "style") == 0) {
        if (is_style(value))
            return ask(call, 2, (const char *const[]){ "STYLE", value });
        error_set(&error, ERROR_USAGE, "set style: expected active or passive, got \"%s\"", value);
    } else if (strcmp(key, "acks") == 0) {
        if (is_acks(value, call->config.server_count))
            return ask(call, 2, (const char *const[]){ "ACKS", value });
        error_set(&error, ERROR_USAGE,
                  "set acks: expected all, majority or a number from 1 to %" PRIu32
                  ", that of the servers, got \"%s\"",
                  call->config.server_count, value);
    } else {
        error_set(&error, ERROR_USAGE,
                  "set: expected style or acks, got \"%s\"; what else the config says takes a "
                  "restart",
                  key);
    }
    return operator_failure(&error);
}

static enum error_code check_link(const struct invocation *call, const char *seconds,
                                  struct error *error)
{
    const char *kind = call->words[0];
    bool cut = strcmp(kind, "cut") == 0;
    int64_t number = 0;

    if (!cut && strcmp(kind, "heal") != 0)
        return error_set(error, ERROR_USAGE,
                         "fault: expected cut or heal before two servers, got \"%s\"", kind);
    for (size_t i = 1; i <= 2; i++)
        if (!node_is_server(config_node(&call->config, call->words[i])))
            return error_set(error, ERROR_USAGE,
                             "fault %s: expected a server of cluster %s, got \"%s\"", kind,
                             call->config.cluster, call->words[i]);
    if (strcmp(call->words[1], call->words[2]) == 0)
        return error_set(error, ERROR_USAGE, "fault %s: expected two servers, got \"%s\" twice",
                         kind, call->words[1]);
    if (!cut && call->words[3] != NULL)
        return error_set(error, ERROR_USAGE, "fault heal: expected two servers and no more");
    if (!resp_integer(bytes_string(seconds), &number) || number < 1 || number > CUT_SECONDS_MAX)
        return error_set(error, ERROR_USAGE, "fault cut: expected 1 to %u seconds, got \"%s\"",
                         CUT_SECONDS_MAX, seconds);
    return ERROR_NONE;
}

int operator_link(const struct invocation *call)
{
    const char *a = call->words[1], *b = call->words[2];
    const char *seconds = call->words[3] != NULL ? call->words[3] : CUT_SECONDS_DEFAULT;
    struct error error;

    if (check_link(call, seconds, &error) != ERROR_NONE)
        return operator_failure(&error);
    if (strcmp(call->words[0], "heal") == 0)
        return ask(call, 3, (const char *const[]){ "HEAL", a, b });
    return ask(call, 4, (const char *const[]){ "CUT", a, b, seconds });
}

int operator_recover(const struct invocation *call)
{
    struct error error;

    if (!call->accept_loss) {
        error_set(&error, ERROR_USAGE,
                  "recover goes on without writes that were acknowledged and that no server has "
                  "any more; say so with --accept-loss");
        return operator_failure(&error);
    }
    return ask(call, 2, (const char *const[]){ "RECOVER", "ACCEPT-LOSS" });
}

int operator_check(const struct invocation *call)
{
    const struct config *c = &call->config;
    struct buffer line = { 0 };

    buffer_format(&line, "%s: good: cluster %s, %" PRIu32 " server%s on %" PRIu32 " host%s\n",
                  c->path, c->cluster, c->server_count, c->server_count == 1 ? "" : "s",
                  c->host_count, c->host_count == 1 ? "" : "s");
    return write_out(&line, 0);
}
