#include "client/operator_status.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/operator_console.h"
#include "client/operator_table.h"

static void copy_text(const json_t *object, const char *key, char *out, size_t size)
{
    const char *text = json_string_value(json_object_get(object, key));

    snprintf(out, size, "%s", text ? text : "");
}

static uint64_t number(const json_t *object, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(object, key));

    return value > 0 ? (uint64_t)value : 0;
}

static void parse_process(const json_t *object, const char *name, struct status_process *process)
{
    copy_text(object, "name", process->name, sizeof process->name);
    if (process->name[0] == '\0')
        snprintf(process->name, sizeof process->name, "%s", name);
    copy_text(object, "state", process->state, sizeof process->state);
    process->pid = (uint32_t)number(object, "pid");
}

static void parse_server(const json_t *object, struct status_server *server)
{
    parse_process(object, "?", &server->process);
    copy_text(object, "host", server->host, sizeof server->host);
    copy_text(object, "role", server->role, sizeof server->role);
    copy_text(object, "last_exit", server->last_exit, sizeof server->last_exit);
    copy_text(object, "phase", server->phase, sizeof server->phase);
    server->bytes = number(object, "bytes");
    server->bytes_total = number(object, "bytes_total");
    server->seconds_left = (uint32_t)number(object, "seconds_left");
    server->incarnation = number(object, "incarnation");
    server->journal_index = number(object, "journal_index");
    server->commit_index = number(object, "commit_index");
    server->executed_index = number(object, "executed_index");
    server->client_port = (uint32_t)number(object, "client_port");
    server->restarts = (uint32_t)number(object, "restarts");
}

static void parse_members(const json_t *members, struct status *status)
{
    size_t i;
    const json_t *member;

    json_array_foreach(members, i, member)
    {
        const char *name = json_string_value(member);

        for (uint32_t j = 0; name != NULL && j < status->server_count; j++) {
            if (strcmp(status->servers[j].process.name, name) != 0)
                continue;
            status->member_count += !status->servers[j].member;
            status->servers[j].member = true;
        }
    }
}

static void parse_root(const json_t *root, struct status *status)
{
    const json_t *view = json_object_get(root, "view");
    const json_t *servers = json_object_get(root, "servers");
    const json_t *lfds = json_object_get(root, "lfds");
    const json_t *entry;
    size_t i;

    copy_text(root, "cluster", status->cluster, sizeof status->cluster);
    copy_text(view, "style", status->style, sizeof status->style);
    copy_text(view, "primary", status->primary, sizeof status->primary);
    copy_text(view, "waits_for", status->waits_for, sizeof status->waits_for);
    status->view = number(view, "number");
    status->acks = (uint32_t)number(view, "acks");
    status->membership_version = number(json_object_get(root, "membership"), "version");
    json_array_foreach(servers, i, entry)
    {
        if (i < SERVER_COUNT_MAX)
            parse_server(entry, &status->servers[status->server_count++]);
    }
    json_array_foreach(lfds, i, entry)
    {
        if (i < HOST_COUNT_MAX)
            parse_process(entry, "lfd", &status->lfds[status->lfd_count++]);
    }
    parse_process(json_object_get(root, "gfd"), "gfd", &status->gfd);
    parse_process(json_object_get(root, "rm"), "rm", &status->rm);
    parse_members(json_object_get(view, "members"), status);
}

enum error_code status_parse(struct status *status, struct bytes json, struct error *error)
{
    json_error_t reason;
    json_t *root = json_loadb((const char *)json.data, json.size, 0, &reason);

    memset(status, 0, sizeof *status);
    if (root == NULL || !json_is_object(root)) {
        json_decref(root);
        return error_set(error, ERROR_PROTOCOL, "the rm's status is not a JSON object: %s",
                         root == NULL ? reason.text : "something else");
    }
    parse_root(root, status);
    json_decref(root);
    return ERROR_NONE;
}

enum error_code status_fetch(struct status *status, const struct config *config, uint32_t wait_ms,
                             struct error *error)
{
    struct buffer json = { 0 };
    enum error_code code =
        console_call(config, wait_ms, 1, (const char *const[]){ "STATUS" }, &json, error);

    if (code == ERROR_NONE)
        code = status_parse(status, buffer_bytes(&json), error);
    buffer_free(&json);
    return code;
}

/* The rm's last view may name members of which none has come back yet. */
bool status_is_whole(const struct status *status)
{
    for (uint32_t i = 0; i < status->server_count; i++) {
        const struct status_server *server = &status->servers[i];
        bool primary = strcmp(server->process.name, status->primary) == 0;

        if (!server->member || strcmp(server->role, primary ? "primary" : "backup") != 0)
            return false;
    }
    return status->view != 0 && status->primary[0] != '\0' && status->server_count > 0;
}

bool status_needs_operator(const struct status *status)
{
    return strstr(status->waits_for, "accept-loss") != NULL;
}

void status_line(const struct status *status, struct buffer *out)
{
    const char *separator = ", members ";

    if (status->view == 0)
        buffer_append_string(out, "no view yet");
    else
        buffer_format(out, "view %" PRIu64 " (%s), primary %s", status->view, status->style,
                      status->primary[0] ? status->primary : "none");
    for (uint32_t i = 0; i < status->server_count; i++) {
        if (!status->servers[i].member)
            continue;
        buffer_format(out, "%s%s", separator, status->servers[i].process.name);
        separator = ", ";
    }
    separator = "; not a member: ";
    for (uint32_t i = 0; i < status->server_count; i++) {
        const struct status_server *s = &status->servers[i];

        if (s->member)
            continue;
        buffer_format(out, "%s%s (%s)", separator, s->process.name, s->process.state);
        separator = ", ";
    }
}

static enum table_colour state_colour(const char *state)
{
    static const char *const good[] = { "up", "running", "member", "alive" };
    static const char *const bad[] = { "failed", "down", "lost", "dead" };

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        if (strcmp(state, good[i]) == 0)
            return TABLE_GREEN;
        if (strcmp(state, bad[i]) == 0)
            return TABLE_RED;
    }
    return TABLE_YELLOW;
}

static void number_cell(struct table *table, uint64_t value)
{
    if (value == 0)
        table_cell(table, TABLE_DIM, "-");
    else
        table_cell(table, TABLE_PLAIN, "%" PRIu64, value);
}

static void text_cell(struct table *table, enum table_colour colour, const char *text)
{
    table_cell(table, text[0] ? colour : TABLE_DIM, "%s", text[0] ? text : "-");
}

static void server_row(struct table *table, const struct status_server *s)
{
    bool primary = strcmp(s->role, "primary") == 0;

    table_cell(table, TABLE_BOLD, "%s", s->process.name);
    text_cell(table, TABLE_PLAIN, s->host);
    text_cell(table, state_colour(s->process.state), s->process.state);
    text_cell(table, primary ? TABLE_BOLD : TABLE_PLAIN, s->role);
    number_cell(table, s->process.pid);
    number_cell(table, s->client_port);
    table_cell(table, TABLE_PLAIN, "%" PRIu64, s->journal_index);
    table_cell(table, TABLE_PLAIN, "%" PRIu64, s->commit_index);
    table_cell(table, TABLE_PLAIN, "%" PRIu64, s->executed_index);
    table_cell(table, s->restarts ? TABLE_YELLOW : TABLE_PLAIN, "%" PRIu32, s->restarts);
    text_cell(table, TABLE_PLAIN, s->last_exit);
}

/* "s3 recovers: loading, 43 % of 1.3 GB, 6 s left". */
static void progress_line(const struct status_server *s, struct buffer *out)
{
    bool recovers = strcmp(s->phase, "loading") == 0 || strcmp(s->phase, "replaying") == 0;
    bool giga = s->bytes_total >= 1000000000u;

    if (strcmp(s->phase, "full") == 0) {
        buffer_format(out, "%s waits for room on its disk, which is full\n", s->process.name);
        return;
    }
    buffer_format(out, "%s %s: %s", s->process.name, recovers ? "recovers" : "joins", s->phase);
    if (s->bytes_total > 0)
        buffer_format(out, ", %" PRIu64 " %% of %.1f %s, %" PRIu32 " s left",
                      s->bytes < s->bytes_total ? s->bytes * 100u / s->bytes_total : 99,
                      (double)s->bytes_total / (giga ? 1e9 : 1e6), giga ? "GB" : "MB",
                      s->seconds_left);
    buffer_append_string(out, "\n");
}

static void detector_row(struct table *table, const struct status_process *p)
{
    table_cell(table, TABLE_BOLD, "%s", p->name);
    text_cell(table, state_colour(p->state), p->state);
    number_cell(table, p->pid);
}

void status_write(const struct status *status, bool colours, struct buffer *out)
{
    static const char *const heads[] = { "SERVER",   "HOST",     "STATE",    "ROLE",
                                         "PID",      "PORT",     "JOURNAL",  "COMMIT",
                                         "EXECUTED", "RESTARTS", "LAST EXIT" };
    struct table *table = memory_take(sizeof *table);

    buffer_append_string(out, "cluster ");
    table_paint(TABLE_BOLD, status->cluster, colours, out);
    buffer_append_string(out, ": ");
    status_line(status, out);
    buffer_format(out, "\nacks %" PRIu32 ", membership version %" PRIu64 "\n", status->acks,
                  status->membership_version);
    if (status->waits_for[0] != '\0') {
        table_paint(TABLE_RED, status->waits_for, colours, out);
        buffer_append_string(out, "\n");
    }
    buffer_append_string(out, "\n");

    table_init(table, "llllrrrrrrl");
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
        table_cell(table, TABLE_DIM, "%s", heads[i]);
    for (uint32_t i = 0; i < status->server_count; i++)
        server_row(table, &status->servers[i]);
    table_write(table, "", colours, out);
    for (uint32_t i = 0; i < status->server_count; i++)
        if (status->servers[i].phase[0] != '\0')
            progress_line(&status->servers[i], out);
    buffer_append_string(out, "\n");

    table_init(table, "llr");
    table_cell(table, TABLE_DIM, "DETECTOR");
    table_cell(table, TABLE_DIM, "STATE");
    table_cell(table, TABLE_DIM, "PID");
    for (uint32_t i = 0; i < status->lfd_count; i++)
        detector_row(table, &status->lfds[i]);
    detector_row(table, &status->gfd);
    detector_row(table, &status->rm);
    table_write(table, "", colours, out);
    free(table);
}
