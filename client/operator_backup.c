/* backup: a checkpoint of a running cluster, in a file.
 *
 * The primary says which entry is committed; whatever was acknowledged before is in a state of that
 * entry or a later one. A backup server writes such a checkpoint to its own disk, beside its work,
 * and from there it comes here in pieces. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/operator.h"
#include "client/operator_console.h"
#include "client/operator_status.h"
#include "common/resp.h"
#include "common/runtime.h"
#include "server/restore.h"

#define STATUS_MS_MAX 5000u
#define CALM_MS_MAX   10000u  /* for a primary, should the view be changing */
#define SAVE_MS_MAX   600000u /* for a server to have the checkpoint on its disk */
#define REPLY_MS_MAX  10000u
#define LOOK_MS       50

struct backup {
    const struct invocation *call;
    const char *path;
    char aside[PATH_MAX];
    int fd;                /* of the file aside */
    uint64_t goal;         /* what was acknowledged before is within this entry */
    uint64_t index, bytes; /* of the checkpoint */
    const struct config_server *source;
    struct console server;
};

static enum error_code ask(struct console *server, const char *first, const char *second,
                           uint64_t number, struct bytes *reply, struct error *error)
{
    char text[24];
    const char *const words[] = { first, second, text };

    snprintf(text, sizeof text, "%" PRIu64, number);
    if (console_send(server, 3, words, error) != ERROR_NONE)
        return error->code;
    return console_read(server, REPLY_MS_MAX, reply, error);
}

/* "view:3" in the text of INFO; 0 when it is not there. */
static uint64_t info_number(const char *text, const char *key)
{
    size_t size = strlen(key);

    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, size) == 0 && line[size] == ':')
            return strtoull(line + size + 1, NULL, 10);
    }
    return 0;
}

/* What the primary has committed. It must lead the view that the rm knows, or a later one: then it
 * has every entry that was acknowledged before we asked the rm. */
static enum error_code read_goal(struct backup *b, const struct config_server *primary,
                                 uint64_t view, struct error *error)
{
    static const char *const words[] = { "INFO", "holdfast" };
    struct console server;
    struct buffer text = { 0 };
    struct bytes reply = { 0 };
    enum error_code code = console_open_server(&server, primary, CONSOLE_DIAL_MS_MAX, error);

    if (code == ERROR_NONE)
        code = console_send(&server, 2, words, error);
    if (code == ERROR_NONE)
        code = console_read(&server, REPLY_MS_MAX, &reply, error);
    if (code == ERROR_NONE) {
        buffer_append(&text, reply.data, reply.size);
        buffer_append(&text, "", 1);
        b->goal = info_number((const char *)buffer_head(&text), "commit_index");
        if (strstr((const char *)buffer_head(&text), "\nrole:primary\r") == NULL ||
            info_number((const char *)buffer_head(&text), "view") < view ||
            info_number((const char *)buffer_head(&text), "serving") != 1 || b->goal == 0)
            code = error_set(error, ERROR_REFUSED, "%s does not serve as primary of view %" PRIu64,
                             primary->name, view);
    }
    buffer_free(&text);
    console_close(&server);
    return code;
}

/* The goal, and whom to take the checkpoint from: a backup if there is one, which has time. */
static enum error_code look(struct backup *b, struct error *error)
{
    const struct config *config = &b->call->config;
    struct status *status = memory_take(sizeof *status);
    enum error_code code = status_fetch(status, config, STATUS_MS_MAX, error);
    node_id primary = code == ERROR_NONE ? config_node(config, status->primary) : NODE_NONE;

    b->source = NULL;
    if (code == ERROR_NONE && !node_is_server(primary))
        code = error_set(error, ERROR_REFUSED, "cluster %s has no primary: %s", config->cluster,
                         status->waits_for[0] ? status->waits_for : "see holdfast status");
    if (code == ERROR_NONE) {
        b->source = &config->servers[node_index(primary)];
        code = read_goal(b, b->source, status->view, error);
    }
    for (uint32_t i = 0; code == ERROR_NONE && i < status->server_count; i++) {
        node_id node = config_node(config, status->servers[i].process.name);

        if (node_is_server(node) && status->servers[i].member &&
            strcmp(status->servers[i].role, "backup") == 0)
            b->source = &config->servers[node_index(node)];
    }
    free(status);
    return code;
}

static enum error_code look_until_calm(struct backup *b, struct error *error)
{
    struct instant deadline = instant_add_ms(runtime_now(), CALM_MS_MAX);
    enum error_code code;

    while ((code = look(b, error)) != ERROR_NONE && !instant_reached(runtime_now(), deadline)) {
        if (code == ERROR_SYSTEM && b->source == NULL)
            break; /* there is no rm */
        poll(NULL, 0, LOOK_MS);
    }
    return code;
}

/* Has the source open a checkpoint that is new enough, once it has one. */
static enum error_code open_checkpoint(struct backup *b, struct error *error)
{
    struct instant deadline = instant_add_ms(runtime_now(), SAVE_MS_MAX);
    struct resp_value value;
    struct bytes reply = { 0 };

    while (!instant_reached(runtime_now(), deadline)) {
        if (ask(&b->server, "CHECKPOINT", "OPEN", b->goal, &reply, error) != ERROR_NONE)
            return error->code;
        reply.data += resp_read_value(reply, &value);
        if (value.type == RESP_ARRAY && value.integer == 2) {
            reply.data += resp_read_value(reply, &value);
            b->index = (uint64_t)value.integer;
            resp_read_value(reply, &value);
            b->bytes = (uint64_t)value.integer;
            return ERROR_NONE;
        }
        if (ask(&b->server, "CHECKPOINT", "SAVE", b->goal, &reply, error) != ERROR_NONE)
            return error->code;
        poll(NULL, 0, LOOK_MS);
    }
    return error_set(error, ERROR_LIMIT, "%s has no checkpoint of entry %" PRIu64 " after %u s",
                     b->source->name, b->goal, SAVE_MS_MAX / 1000u);
}

static enum error_code write_piece(const struct backup *b, struct bytes piece, struct error *error)
{
    while (piece.size > 0) {
        ssize_t written = write(b->fd, piece.data, piece.size);

        if (written < 0 && errno != EINTR)
            return error_system(error, "cannot write %s", b->aside);
        if (written > 0) {
            piece.data += written;
            piece.size -= (size_t)written;
        }
    }
    return ERROR_NONE;
}

static enum error_code fetch(struct backup *b, struct error *error)
{
    struct resp_value value;
    struct bytes reply = { 0 };

    for (uint64_t at = 0; at < b->bytes; at += value.text.size) {
        if (ask(&b->server, "CHECKPOINT", "READ", at, &reply, error) != ERROR_NONE)
            return error->code;
        resp_read_value(reply, &value);
        if (value.type != RESP_BULK || value.text.size == 0)
            return error_set(error, ERROR_PROTOCOL,
                             "%s: its checkpoint ends at byte %" PRIu64 ", expected %" PRIu64,
                             b->source->name, at, b->bytes);
        if (write_piece(b, value.text, error) != ERROR_NONE)
            return error->code;
    }
    if (fsync(b->fd) != 0)
        return error_system(error, "cannot sync %s", b->aside);
    return ERROR_NONE;
}

/* From here on the backup counts. */
static enum error_code put_in_place(const struct backup *b, struct error *error)
{
    struct checkpoint_head head;
    char folder[PATH_MAX];
    char *slash;

    if (restore_check(&files_system, b->aside, &head, error) != ERROR_NONE)
        return error->code;
    if (head.index != b->index || strcmp(head.cluster, b->call->config.cluster) != 0)
        return error_set(
            error, ERROR_PROTOCOL,
            "%s gave entry %" PRIu64 " of cluster %s, expected entry %" PRIu64 " of cluster %s",
            b->source->name, head.index, head.cluster, b->index, b->call->config.cluster);
    if (files_rename(&files_system, b->aside, b->path, error) != ERROR_NONE)
        return error->code;
    snprintf(folder, sizeof folder, "%s", b->path);
    slash = strrchr(folder, '/');
    if (slash != NULL)
        slash[slash == folder] = '\0';
    return files_sync_folder(&files_system, slash != NULL ? folder : ".", error);
}

static enum error_code make(struct backup *b, struct error *error)
{
    enum error_code code = look_until_calm(b, error);

    if (code == ERROR_NONE)
        code = console_open_server(&b->server, b->source, CONSOLE_DIAL_MS_MAX, error);
    if (code == ERROR_NONE)
        code = open_checkpoint(b, error);
    if (code == ERROR_NONE)
        code = fetch(b, error);
    console_close(&b->server);
    if (code == ERROR_NONE)
        code = put_in_place(b, error);
    return code;
}

int operator_backup(const struct invocation *call)
{
    struct backup b = { .call = call, .path = call->words[0], .server = { .fd = -1 } };
    struct instant began = runtime_now();
    struct stat status;
    struct error error;
    enum error_code code;

    if ((size_t)snprintf(b.aside, sizeof b.aside, "%s.part", b.path) >= sizeof b.aside) {
        error_set(&error, ERROR_USAGE, "%s: the path is too long", b.path);
        return operator_failure(&error);
    }
    if (stat(b.path, &status) == 0 && S_ISDIR(status.st_mode)) {
        error_set(&error, ERROR_USAGE, "%s is a directory: expected the name of a file", b.path);
        return operator_failure(&error);
    }
    /* First of all: who cannot write need not bother the cluster. */
    b.fd = open(b.aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (b.fd < 0) {
        error_system(&error, "cannot write %s", b.aside);
        return operator_failure(&error);
    }
    code = make(&b, &error);
    close(b.fd);
    if (code != ERROR_NONE) {
        (void)unlink(b.aside);
        return operator_failure(&error);
    }
    printf("%s: cluster %s at entry %" PRIu64 ", %" PRIu64 " bytes from %s in %" PRIu64 " ms\n",
           b.path, call->config.cluster, b.index, b.bytes, b.source->name,
           instant_since_ms(runtime_now(), began));
    return EXIT_SUCCESS;
}
