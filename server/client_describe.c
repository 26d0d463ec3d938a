/* COMMAND: what commands there are, those of the service and those of the connection. */
#include <string.h>

#include "server/clients.h"

/* One command as COMMAND tells of it, whichever table it is from. */
struct description {
    const char *name, *group, *summary;
    int32_t arity;
    bool reads, writes, fast, denies_oom;
    int32_t first_key, last_key, key_step;
};

static struct description of_service(const struct service_command *command)
{
    return (struct description){
        .name = command->name,
        .group = command->group,
        .summary = command->summary,
        .arity = command->arity,
        .reads = (command->flags & COMMAND_READ) != 0,
        .writes = (command->flags & COMMAND_WRITE) != 0,
        .fast = (command->flags & COMMAND_FAST) != 0,
        .denies_oom = (command->flags & COMMAND_DENYOOM) != 0,
        .first_key = command->first_key,
        .last_key = command->last_key,
        .key_step = command->key_step,
    };
}

static struct description of_connection(const struct own_command *own)
{
    struct description d = {
        .name = own->name,
        .group = own->group,
        .summary = own->summary,
        .arity = own->arity,
        .fast = (own->flags & OWN_FAST) != 0,
    };

    if (strcmp(own->name, "watch") == 0) {
        d.first_key = d.key_step = 1;
        d.last_key = -1;
    }
    return d;
}

/* Calls visit() for each command there is; those of the connection hide those of the service. */
static uint32_t each_command(const struct clients *clients, struct buffer *out,
                             void (*visit)(const struct description *d, struct buffer *out))
{
    const struct service *service = clients->options.service;
    struct description d;
    uint32_t own_count, count = 0;
    const struct own_command *own = own_command_list(&own_count);

    for (uint32_t i = 0; i < own_count; i++, count++) {
        d = of_connection(&own[i]);
        if (visit)
            visit(&d, out);
    }
    for (uint32_t i = 0; i < service->command_count; i++) {
        if (own_command_find(clients, bytes_string(service->commands[i].name)))
            continue;
        count++;
        d = of_service(&service->commands[i]);
        if (visit)
            visit(&d, out);
    }
    return count;
}

static bool find(const struct clients *clients, struct bytes word, struct description *d)
{
    const struct own_command *own = own_command_find(clients, word);
    const struct service_command *command = service_command_find(clients->options.service, word);

    if (own)
        *d = of_connection(own);
    else if (command)
        *d = of_service(command);
    return own || command;
}

static void write_flags(const struct description *d, struct buffer *out)
{
    resp_write_set(out, (uint64_t)(d->reads + d->writes + d->fast + d->denies_oom));
    if (d->reads)
        resp_write_string(out, "readonly");
    if (d->writes)
        resp_write_string(out, "write");
    if (d->denies_oom)
        resp_write_string(out, "denyoom");
    if (d->fast)
        resp_write_string(out, "fast");
}

/* Ten fields, as in Redis 7; nothing is said of ACL categories, tips, key specifications and
 * subcommands. */
static void write_info(const struct description *d, struct buffer *out)
{
    resp_write_array(out, 10);
    resp_write_bulk_string(out, d->name);
    resp_write_integer(out, d->arity);
    write_flags(d, out);
    resp_write_integer(out, d->first_key);
    resp_write_integer(out, d->last_key);
    resp_write_integer(out, d->key_step);
    resp_write_set(out, 0);
    resp_write_array(out, 0);
    resp_write_array(out, 0);
    resp_write_array(out, 0);
}

static void write_docs(const struct description *d, struct buffer *out)
{
    resp_write_bulk_string(out, d->name);
    resp_write_map(out, 3);
    resp_write_bulk_string(out, "summary");
    resp_write_bulk_string(out, d->summary);
    resp_write_bulk_string(out, "since");
    resp_write_bulk_string(out, "1.0.0");
    resp_write_bulk_string(out, "group");
    resp_write_bulk_string(out, d->group);
}

static void write_name(const struct description *d, struct buffer *out)
{
    resp_write_bulk_string(out, d->name);
}

static void command_all(struct connection *c)
{
    struct buffer *out = reply_begin(c);

    resp_write_array(out, each_command(c->clients, NULL, NULL));
    (void)each_command(c->clients, out, write_info);
    reply_end(c);
}

static void command_info(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    struct description d;
    struct buffer *out;

    if (argc == 2) {
        command_all(c);
        return;
    }
    out = reply_begin(c);
    resp_write_array(out, argc - 2);
    for (uint32_t i = 2; i < argc; i++) {
        if (find(c->clients, argv[i], &d))
            write_info(&d, out);
        else
            resp_write_null(out);
    }
    reply_end(c);
}

static void command_docs(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    struct buffer *out = reply_begin(c);
    struct description d;
    uint64_t known = 0;

    if (argc == 2) {
        resp_write_map(out, each_command(c->clients, NULL, NULL));
        (void)each_command(c->clients, out, write_docs);
    } else {
        for (uint32_t i = 2; i < argc; i++)
            known += find(c->clients, argv[i], &d);
        resp_write_map(out, known);
        for (uint32_t i = 2; i < argc; i++)
            if (find(c->clients, argv[i], &d))
                write_docs(&d, out);
    }
    reply_end(c);
}

static void command_list(struct connection *c, uint32_t argc)
{
    struct buffer *out;

    if (argc != 2) {
        reply_error(c, "ERR syntax error");
        return;
    }
    out = reply_begin(c);
    resp_write_array(out, each_command(c->clients, NULL, NULL));
    (void)each_command(c->clients, out, write_name);
    reply_end(c);
}

static void command_getkeys(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    struct description d;
    struct buffer *out;
    int64_t last;

    if (!find(c->clients, argv[2], &d)) {
        reply_error(c, "ERR Invalid command specified");
        return;
    }
    argc -= 2;
    argv += 2;
    if (d.first_key == 0) {
        reply_error(c, "ERR The command has no key arguments");
    } else if (!arity_fits(d.arity, argc)) {
        reply_error(c, "ERR Invalid number of arguments specified for command");
    } else {
        last = d.last_key >= 0 ? d.last_key : (int64_t)argc + d.last_key;
        out = reply_begin(c);
        resp_write_array(out, (uint64_t)((last - d.first_key) / d.key_step + 1));
        for (int64_t i = d.first_key; i <= last; i += d.key_step)
            resp_write_bulk(out, argv[i]);
        reply_end(c);
    }
}

bool handle_command(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    static const struct subcommand list[] = {
        { "count", 2 }, { "docs", -2 }, { "getkeys", -4 }, { "info", -2 }, { "list", -2 },
    };

    if (argc > 1 && !SUBCOMMAND_FITS(c, "command", list, argc, argv))
        return true;
    if (argc == 1)
        command_all(c);
    else if (resp_is(argv[1], "count"))
        reply_integer(c, each_command(c->clients, NULL, NULL));
    else if (resp_is(argv[1], "info"))
        command_info(c, argc, argv);
    else if (resp_is(argv[1], "docs"))
        command_docs(c, argc, argv);
    else if (resp_is(argv[1], "list"))
        command_list(c, argc);
    else
        command_getkeys(c, argc, argv);
    return true;
}
