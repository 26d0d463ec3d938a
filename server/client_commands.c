/* Commands about the connection itself, as Redis 7 has them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/clients.h"

bool subcommand_fits(struct connection *c, const char *command, const struct subcommand *list,
                     size_t count, uint32_t argc, const struct bytes *argv)
{
    char upper[NAME_SIZE] = { 0 };

    for (size_t i = 0; i < count; i++) {
        if (!resp_is(argv[1], list[i].name))
            continue;
        if (arity_fits(list[i].arity, argc))
            return true;
        reply_reject(c, "ERR wrong number of arguments for '%s|%s' command", command, list[i].name);
        return false;
    }
    for (size_t i = 0; command[i] && i + 1 < sizeof upper; i++)
        upper[i] = (char)(command[i] - 'a' + 'A');
    reply_reject(c, "ERR unknown subcommand '%.*s'. Try %s HELP.",
                 (int)(argv[1].size < 128 ? argv[1].size : 128), (const char *)argv[1].data, upper);
    return false;
}

static bool handle_ping(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    if (argc > 2) {
        reply_error(c, "ERR wrong number of arguments for 'ping' command");
        return true;
    }
    if (argc == 2)
        resp_write_bulk(reply_begin(c), argv[1]);
    else
        resp_write_string(reply_begin(c), "PONG");
    reply_end(c);
    return true;
}

static bool handle_echo(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    (void)argc;
    resp_write_bulk(reply_begin(c), argv[1]);
    reply_end(c);
    return true;
}

/* There are no passwords, and one user, who needs none: as in a Redis without requirepass. */
static bool handle_auth(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    if (argc == 2)
        reply_error(c, "ERR AUTH <password> called without any password configured for the "
                       "default user. Are you sure your configuration is correct?");
    else if (argc > 3)
        reply_error(c, "ERR syntax error");
    else if (resp_is(argv[1], "default"))
        reply_ok(c);
    else
        reply_error(c, "WRONGPASS invalid username-password pair or user is disabled.");
    return true;
}

/* Names are for lists with spaces between the fields. */
static bool name_is_plain(struct bytes name)
{
    for (size_t i = 0; i < name.size; i++)
        if (name.data[i] < '!' || name.data[i] > '~')
            return false;
    return name.size <= CLIENT_NAME_BYTES_MAX;
}

static void name_keep(char **place, struct bytes name)
{
    free(*place);
    *place = NULL;
    if (name.size == 0)
        return;
    *place = memory_take(name.size + 1);
    memcpy(*place, name.data, name.size);
    (*place)[name.size] = '\0';
}

static bool name_set(struct connection *c, struct bytes name)
{
    if (!name_is_plain(name)) {
        reply_error(c, "ERR Client names cannot contain spaces, newlines or special characters.");
        return false;
    }
    name_keep(&c->name, name);
    return true;
}

static void hello_reply(struct connection *c)
{
    struct clients *clients = c->clients;
    struct server_status status;
    struct buffer *out = reply_begin(c);

    clients->options.status(clients->options.context, &status);
    resp_write_map(out, 7);
    resp_write_bulk_string(out, "server");
    resp_write_bulk_string(out, "holdfast");
    resp_write_bulk_string(out, "version");
    resp_write_bulk_string(out, REDIS_VERSION);
    resp_write_bulk_string(out, "proto");
    resp_write_integer(out, c->resp3 ? 3 : 2);
    resp_write_bulk_string(out, "id");
    resp_write_integer(out, (int64_t)c->id);
    resp_write_bulk_string(out, "mode");
    resp_write_bulk_string(out, "standalone");
    resp_write_bulk_string(out, "role");
    resp_write_bulk_string(out, status.role == ROLE_PRIMARY ? "master" : "replica");
    resp_write_bulk_string(out, "modules");
    resp_write_array(out, 0);
    reply_end(c);
}

/* The options behind the version; false when one is wrong and answered. */
static bool hello_options(struct connection *c, uint32_t argc, const struct bytes *argv,
                          struct bytes *name)
{
    for (uint32_t i = 2; i < argc; i++) {
        if (resp_is(argv[i], "auth") && argc - i > 2) {
            if (!resp_is(argv[i + 1], "default")) {
                reply_error(c, "WRONGPASS invalid username-password pair or user is disabled.");
                return false;
            }
            i += 2;
        } else if (resp_is(argv[i], "setname") && argc - i > 1) {
            *name = argv[++i];
            if (!name_is_plain(*name)) {
                reply_error(c, "ERR Client names cannot contain spaces, newlines or special "
                               "characters.");
                return false;
            }
        } else {
            reply_error(c, "ERR Syntax error in HELLO option '%.*s'",
                        (int)(argv[i].size < 128 ? argv[i].size : 128), (const char *)argv[i].data);
            return false;
        }
    }
    return true;
}

static bool handle_hello(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    struct bytes name = bytes_of(NULL, 0);
    int64_t version = c->resp3 ? 3 : 2;

    if (argc > 1 && !resp_integer(argv[1], &version)) {
        reply_error(c, "ERR Protocol version is not an integer or out of range");
        return true;
    }
    if (version != 2 && version != 3) {
        reply_error(c, "NOPROTO unsupported protocol version");
        return true;
    }
    if (!hello_options(c, argc, argv, &name))
        return true;
    if (name.size > 0)
        name_keep(&c->name, name);
    c->resp3 = version == 3;
    hello_reply(c);
    return true;
}

static bool handle_select(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    int64_t number;

    (void)argc;
    if (!resp_integer(argv[1], &number))
        reply_error(c, "ERR value is not an integer or out of range");
    else if (number != 0)
        reply_error(c, "ERR DB index is out of range");
    else
        reply_ok(c);
    return true;
}

/* How many others hold what this connection wrote. What was answered is committed, so it is on as
 * many members as the view demands: there is nothing to wait for but the answers. */
static bool handle_wait(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    struct server_status status;
    int64_t wanted, patience_ms;

    (void)argc;
    if (!resp_integer(argv[1], &wanted)) {
        reply_error(c, "ERR value is not an integer or out of range");
        return true;
    }
    if (!resp_integer(argv[2], &patience_ms)) {
        reply_error(c, "ERR timeout is not an integer or out of range");
        return true;
    }
    if (patience_ms < 0) {
        reply_error(c, "ERR timeout is negative");
        return true;
    }
    if (!connection_barrier(c))
        return false;
    c->clients->options.status(c->clients->options.context, &status);
    reply_integer(c, status.acks > 0 ? status.acks - 1 : 0);
    return true;
}

static bool handle_quit(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    (void)argc;
    (void)argv;
    reply_ok(c);
    connection_finish(c);
    return true;
}

static bool handle_reset(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    (void)argc;
    (void)argv;
    if (!connection_barrier(c))
        return false;
    transaction_free(c);
    checkpoint_forget(c);
    name_keep(&c->name, bytes_of(NULL, 0));
    c->resp3 = c->stale = c->no_evict = c->no_touch = false;
    c->reply_off = c->reply_skip = c->reply_skip_next = false;
    resp_write_string(reply_begin(c), "RESET");
    reply_end(c);
    return true;
}

static bool handle_readonly(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    (void)argc;
    c->stale = resp_is(argv[0], "readonly");
    reply_ok(c);
    return true;
}

/* There are no slow commands to log: whatever is slow is cut into steps. */
static bool handle_slowlog(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    static const struct subcommand list[] = { { "get", -2 }, { "len", 2 }, { "reset", 2 } };

    if (!SUBCOMMAND_FITS(c, "slowlog", list, argc, argv))
        return true;
    if (resp_is(argv[1], "len")) {
        reply_integer(c, 0);
    } else if (resp_is(argv[1], "reset")) {
        reply_ok(c);
    } else {
        resp_write_array(reply_begin(c), 0);
        reply_end(c);
    }
    return true;
}

static bool handle_latency(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    static const struct subcommand list[] = { { "latest", 2 }, { "history", 3 }, { "reset", -2 } };

    if (!SUBCOMMAND_FITS(c, "latency", list, argc, argv))
        return true;
    if (resp_is(argv[1], "reset")) {
        reply_integer(c, 0);
    } else {
        resp_write_array(reply_begin(c), 0);
        reply_end(c);
    }
    return true;
}

/* ---- CLIENT ---- */

static void describe(const struct connection *c, struct buffer *out)
{
    struct instant now = c->clients->now;

    buffer_format(out, "id=%llu addr=%s laddr=%s fd=%d name=%s age=%llu idle=%llu flags=%s db=0",
                  (unsigned long long)c->id, c->peer, c->local, c->fd, c->name ? c->name : "",
                  (unsigned long long)(instant_since_ms(now, c->since) / 1000),
                  (unsigned long long)(instant_since_ms(now, c->active) / 1000),
                  transaction_open(c)       ? "x"
                  : c->blocked              ? "b"
                  : c->ending || c->closing ? "c"
                  : c->stale                ? "r"
                                            : "N");
    buffer_format(out,
                  " sub=0 psub=0 ssub=0 multi=%d qbuf=%zu qbuf-free=%zu argv-mem=0 multi-mem=0",
                  transaction_size(c), buffer_size(&c->in), c->in.capacity - buffer_size(&c->in));
    buffer_format(out, " rbs=%zu rbp=0 obl=%zu oll=%u omem=%llu tot-mem=%zu events=%s cmd=%s",
                  c->out.capacity, buffer_size(&c->out), c->answer_count,
                  (unsigned long long)c->answer_bytes, sizeof *c + c->in.capacity + c->out.capacity,
                  connection_reads(c) ? "r" : "", c->last_command);
    buffer_format(out, " user=default redir=-1 resp=%d lib-name=%s lib-ver=%s\n", c->resp3 ? 3 : 2,
                  c->library_name ? c->library_name : "",
                  c->library_version ? c->library_version : "");
}

/* A list as a verbatim string, as Redis sends it; RESP2 clients get a bulk string. */
static void reply_text(struct connection *c, struct buffer *text)
{
    struct buffer *out = reply_begin(c);

    buffer_format(out, "=%zu\r\ntxt:", buffer_size(text) + 4);
    buffer_append(out, buffer_head(text), buffer_size(text));
    buffer_append(out, "\r\n", 2);
    reply_end(c);
    buffer_free(text);
}

static void client_info(struct connection *c)
{
    struct buffer text = { 0 };

    describe(c, &text);
    reply_text(c, &text);
}

static bool is_listed(const struct connection *each, uint32_t argc, const struct bytes *argv)
{
    int64_t id;

    for (uint32_t i = 3; i < argc; i++)
        if (resp_integer(argv[i], &id) && (uint64_t)id == each->id)
            return true;
    return argc == 2;
}

/* Of the types of clients that Redis knows, here all are normal. */
static bool type_is_known(struct connection *c, struct bytes type)
{
    if (resp_is(type, "normal") || resp_is(type, "master") || resp_is(type, "replica") ||
        resp_is(type, "slave") || resp_is(type, "pubsub"))
        return true;
    reply_error(c, "ERR Unknown client type '%.*s'", (int)(type.size < 128 ? type.size : 128),
                (const char *)type.data);
    return false;
}

static void client_list(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    struct buffer text = { 0 };
    bool others = false; /* a type of client of which there are none */

    if (argc == 4 && resp_is(argv[2], "type")) {
        others = !resp_is(argv[3], "normal");
        if (others && !resp_is(argv[3], "master") && !resp_is(argv[3], "replica") &&
            !resp_is(argv[3], "slave") && !resp_is(argv[3], "pubsub")) {
            reply_error(c, "ERR Unknown client type '%.*s'",
                        (int)(argv[3].size < 128 ? argv[3].size : 128), (const char *)argv[3].data);
            return;
        }
        argc = 2;
    } else if (argc > 2 && !(argc > 3 && resp_is(argv[2], "id"))) {
        reply_error(c, "ERR syntax error");
        return;
    }
    for (uint32_t i = 0; i < c->clients->capacity && !others; i++)
        if (c->clients->places[i].connection &&
            is_listed(c->clients->places[i].connection, argc, argv))
            describe(c->clients->places[i].connection, &text);
    reply_text(c, &text);
}

struct kill_filter {
    struct bytes address, local;
    uint64_t id;
    int64_t age_s_min;
    bool skip_me, none;
};

static bool text_is(struct bytes wanted, const char *text)
{
    return wanted.size == 0 || bytes_equal(wanted, bytes_string(text));
}

static bool is_to_be_killed(const struct connection *each, const struct connection *me,
                            const struct kill_filter *f)
{
    return !f->none && !(f->skip_me && each == me) && (f->id == 0 || f->id == each->id) &&
           text_is(f->address, each->peer) && text_is(f->local, each->local) &&
           (int64_t)(instant_since_ms(each->clients->now, each->since) / 1000) >= f->age_s_min;
}

static uint32_t kill_all(struct connection *c, const struct kill_filter *filter)
{
    uint32_t killed = 0;

    for (uint32_t i = 0; i < c->clients->capacity; i++) {
        struct connection *each = c->clients->places[i].connection;

        if (!each || !is_to_be_killed(each, c, filter))
            continue;
        killed++;
        if (each == c) {
            connection_finish(c); /* with the reply */
        } else {
            buffer_free(&each->out);
            each->closing = true;
            connection_touch(each);
        }
    }
    return killed;
}

static bool kill_filter_add(struct connection *c, struct kill_filter *f, struct bytes key,
                            struct bytes value)
{
    int64_t number;

    if (resp_is(key, "id") || resp_is(key, "maxage")) {
        if (!resp_integer(value, &number) || number <= 0) {
            reply_error(c, resp_is(key, "id") ? "ERR client-id should be greater than 0"
                                              : "ERR syntax error");
            return false;
        }
        if (resp_is(key, "id"))
            f->id = (uint64_t)number;
        else
            f->age_s_min = number;
    } else if (resp_is(key, "addr")) {
        f->address = value;
    } else if (resp_is(key, "laddr")) {
        f->local = value;
    } else if (resp_is(key, "type")) {
        if (!type_is_known(c, value))
            return false;
        f->none = f->none || !resp_is(value, "normal");
    } else if (resp_is(key, "user")) {
        f->none = f->none || !resp_is(value, "default");
    } else if (resp_is(key, "skipme") && (resp_is(value, "yes") || resp_is(value, "no"))) {
        f->skip_me = resp_is(value, "yes");
    } else {
        reply_error(c, "ERR syntax error");
        return false;
    }
    return true;
}

static void client_kill(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    struct kill_filter filter = { .skip_me = true };

    if (argc == 3) {
        filter = (struct kill_filter){ .address = argv[2] };
        if (argv[2].size > 0 && kill_all(c, &filter) > 0)
            reply_ok(c);
        else
            reply_error(c, "ERR No such client");
        return;
    }
    if (argc < 4 || argc % 2 != 0) {
        reply_error(c, "ERR syntax error");
        return;
    }
    for (uint32_t i = 2; i < argc; i += 2)
        if (!kill_filter_add(c, &filter, argv[i], argv[i + 1]))
            return;
    reply_integer(c, kill_all(c, &filter));
}

static void client_setinfo(struct connection *c, struct bytes option, struct bytes value)
{
    bool version = resp_is(option, "lib-ver");

    if (!version && !resp_is(option, "lib-name"))
        reply_error(c, "ERR Unrecognized option '%.*s'",
                    (int)(option.size < 128 ? option.size : 128), (const char *)option.data);
    else if (!name_is_plain(value))
        reply_error(c, "ERR lib-%s cannot contain spaces, newlines or special characters.",
                    version ? "ver" : "name");
    else {
        name_keep(version ? &c->library_version : &c->library_name, value);
        reply_ok(c);
    }
}

static void client_reply(struct connection *c, struct bytes mode)
{
    if (resp_is(mode, "on")) {
        c->reply_off = c->reply_skip = false;
        reply_ok(c);
    } else if (resp_is(mode, "off")) {
        c->reply_off = true;
    } else if (resp_is(mode, "skip")) {
        c->reply_skip_next = !c->reply_off;
    } else {
        reply_error(c, "ERR syntax error");
    }
}

static void client_pause(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    int64_t span_ms;
    bool all = argc == 3 || resp_is(argv[3], "all");

    if (!all && !resp_is(argv[3], "write")) {
        reply_error(c, "ERR CLIENT PAUSE mode must be WRITE or ALL");
    } else if (!resp_integer(argv[2], &span_ms)) {
        reply_error(c, "ERR timeout is not an integer or out of range");
    } else if (span_ms < 0) {
        reply_error(c, "ERR timeout is negative");
    } else {
        c->clients->pause_until = instant_add_ms(c->clients->now, (uint64_t)span_ms);
        c->clients->pause_all = all;
        reply_ok(c);
    }
}

static void client_switch(struct connection *c, bool *value, struct bytes word)
{
    if (!resp_is(word, "on") && !resp_is(word, "off")) {
        reply_error(c, "ERR syntax error");
        return;
    }
    *value = resp_is(word, "on");
    reply_ok(c);
}

static void client_getname(struct connection *c)
{
    struct buffer *out = reply_begin(c);

    if (c->name)
        resp_write_bulk_string(out, c->name);
    else
        resp_write_null(out);
    reply_end(c);
}

static const struct subcommand client_subcommands[] = {
    { "id", 2 },      { "info", 2 },    { "getname", 2 },  { "setname", 3 },
    { "setinfo", 4 }, { "list", -2 },   { "kill", -3 },    { "reply", 3 },
    { "pause", -3 },  { "unpause", 2 }, { "no-evict", 3 }, { "no-touch", 3 },
};

bool handle_client(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    if (!SUBCOMMAND_FITS(c, "client", client_subcommands, argc, argv))
        return true;
    if (resp_is(argv[1], "id"))
        reply_integer(c, (int64_t)c->id);
    else if (resp_is(argv[1], "info"))
        client_info(c);
    else if (resp_is(argv[1], "getname"))
        client_getname(c);
    else if (resp_is(argv[1], "setname") && name_set(c, argv[2]))
        reply_ok(c);
    else if (resp_is(argv[1], "setinfo"))
        client_setinfo(c, argv[2], argv[3]);
    else if (resp_is(argv[1], "list"))
        client_list(c, argc, argv);
    else if (resp_is(argv[1], "kill"))
        client_kill(c, argc, argv);
    else if (resp_is(argv[1], "reply"))
        client_reply(c, argv[2]);
    else if (resp_is(argv[1], "pause"))
        client_pause(c, argc, argv);
    else if (resp_is(argv[1], "no-evict"))
        client_switch(c, &c->no_evict, argv[2]);
    else if (resp_is(argv[1], "no-touch"))
        client_switch(c, &c->no_touch, argv[2]);
    else if (resp_is(argv[1], "unpause")) {
        c->clients->pause_until = c->clients->now;
        reply_ok(c);
    }
    return true;
}

/* ---- The table ---- */

static const struct own_command own_commands[] = {
    { "auth", -2, OWN_FAST | OWN_LOADING, "connection", "Authenticates the connection.",
      handle_auth },
    { "checkpoint", 3, 0, "server", "Saves a checkpoint on this server's disk, and reads it out.",
      handle_checkpoint },
    { "client", -2, OWN_UNPAUSED | OWN_LOADING, "connection",
      "Shows and changes client connections.", handle_client },
    { "command", -1, OWN_UNPAUSED | OWN_QUEUED | OWN_LOADING, "server",
      "Describes the commands there are.", handle_command },
    { "config", -2, OWN_QUEUED | OWN_LOADING, "server",
      "Shows the settings that Redis clients ask for.", handle_config },
    { "discard", 1, OWN_IN_MULTI | OWN_FAST, "transactions", "Gives up a transaction.",
      handle_discard },
    { "echo", 2, OWN_FAST | OWN_QUEUED | OWN_LOADING, "connection", "Returns the given string.",
      handle_echo },
    { "exec", 1, OWN_IN_MULTI, "transactions", "Executes all commands of a transaction.",
      handle_exec },
    { "hello", -1, OWN_FAST | OWN_LOADING, "connection", "Handshakes with the server.",
      handle_hello },
    { "info", -1, OWN_QUEUED | OWN_LOADING, "server",
      "Tells about the server, its view and its clients.", handle_info },
    { "latency", -2, OWN_QUEUED | OWN_LOADING, "server",
      "Shows latency events, of which none are kept.", handle_latency },
    { "multi", 1, OWN_IN_MULTI | OWN_FAST, "transactions", "Begins a transaction.", handle_multi },
    { "once", -4, 0, "connection",
      "Executes a command once for a session and sequence, however often it is sent.",
      handle_once },
    { "ping", -1, OWN_FAST | OWN_QUEUED, "connection", "Returns the server's liveliness response.",
      handle_ping },
    { "quit", -1, OWN_IN_MULTI | OWN_UNPAUSED | OWN_FAST | OWN_LOADING, "connection",
      "Closes the connection.", handle_quit },
    { "readonly", 1, OWN_FAST | OWN_LOADING, "connection",
      "Lets this server answer reads from committed, possibly older state.", handle_readonly },
    { "readwrite", 1, OWN_FAST | OWN_LOADING, "connection", "Reads are linearizable again.",
      handle_readonly },
    { "reset", 1, OWN_IN_MULTI | OWN_FAST | OWN_LOADING, "connection", "Resets the connection.",
      handle_reset },
    { "role", 1, OWN_FAST | OWN_QUEUED | OWN_LOADING, "server", "Returns the replication role.",
      handle_role },
    { "select", 2, OWN_FAST | OWN_QUEUED | OWN_LOADING, "connection",
      "Changes the database, of which there is one.", handle_select },
    { "slowlog", -2, OWN_QUEUED | OWN_LOADING, "server",
      "Shows slow commands, of which none are kept.", handle_slowlog },
    { "unwatch", 1, OWN_FAST | OWN_QUEUED, "transactions", "Forgets about watched keys.",
      handle_unwatch },
    { "wait", 3, 0, "generic", "Says how many other servers hold this connection's writes.",
      handle_wait },
    { "watch", -2, OWN_IN_MULTI, "transactions",
      "Lets the next transaction execute only if these keys have not changed.", handle_watch },
};

#define OWN_COUNT (sizeof own_commands / sizeof own_commands[0])
_Static_assert(OWN_COUNT * 2 <= OWN_SLOTS, "the index finds a free place soon");

/* FNV-1a of the word in lower case. */
static uint32_t word_hash(struct bytes word)
{
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < word.size; i++)
        hash = (hash ^ (word.data[i] | 0x20u)) * 16777619u;
    return hash;
}

void own_commands_index(struct clients *clients)
{
    for (size_t i = 0; i < OWN_COUNT; i++) {
        uint32_t slot = word_hash(bytes_string(own_commands[i].name)) % OWN_SLOTS;

        while (clients->own[slot])
            slot = (slot + 1) % OWN_SLOTS;
        clients->own[slot] = (uint8_t)(i + 1);
    }
}

const struct own_command *own_command_find(const struct clients *clients, struct bytes word)
{
    uint32_t slot;

    if (word.size > NAME_SIZE)
        return NULL;
    slot = word_hash(word) % OWN_SLOTS;
    for (; clients->own[slot]; slot = (slot + 1) % OWN_SLOTS)
        if (resp_is(word, own_commands[clients->own[slot] - 1].name))
            return &own_commands[clients->own[slot] - 1];
    return NULL;
}

const struct own_command *own_command_list(uint32_t *count)
{
    *count = OWN_COUNT;
    return own_commands;
}
