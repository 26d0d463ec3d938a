#include "rm/console.h"

#include <assert.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/acceptor.h"
#include "common/log.h"
#include "common/resp.h"
#include "rm/status.h"

#define CLIENT_NAME_SIZE 64u

struct console_client {
    struct console *console;
    struct bufferevent *io; /* NULL: this place is free */
    struct resp_command_reader reader;
    uint64_t id;       /* never used twice: an answer for one that left finds nobody */
    uint64_t followed; /* last event sent to a follower */
    uint32_t resp;     /* 2 or 3 */
    bool following;
    bool waiting; /* for the answer of the core */
    bool closing; /* once its output is written */
    char name[CLIENT_NAME_SIZE];
};

struct console {
    struct console_options options;
    struct acceptor acceptor;
    bool listening;
    uint64_t last_id;
    struct buffer reply;  /* of the command being answered, in RESP3 */
    struct buffer reply2; /* the same in RESP2 */
    struct console_client clients[CONSOLE_CLIENTS_MAX];
};

/* ------------------------------------------------------------------ clients */

static void client_free(struct console_client *c)
{
    bufferevent_free(c->io);
    resp_command_reader_free(&c->reader);
    memset(c, 0, sizeof *c);
}

static size_t unread(const struct console_client *c)
{
    return evbuffer_get_length(bufferevent_get_output(c->io));
}

/* Sends the one reply that stands in console->reply. False when the client was cut. */
static bool flush_reply(struct console_client *c)
{
    struct console *console = c->console;
    struct buffer *out = &console->reply;
    int written;

    if (buffer_size(out) == 0)
        return true;
    if (c->resp == 2) {
        resp_write_as_resp2(&console->reply2, buffer_bytes(out));
        out = &console->reply2;
    }
    written = bufferevent_write(c->io, buffer_head(out), buffer_size(out));
    buffer_clear(&console->reply, CONSOLE_INPUT_BYTES_MAX);
    buffer_clear(&console->reply2, CONSOLE_INPUT_BYTES_MAX);
    if (written == 0 && unread(c) <= CONSOLE_OUTPUT_BYTES_MAX)
        return true;
    log_line(NOTE_WARN, "a console client is cut: it does not read, %zu bytes wait for it",
             unread(c));
    client_free(c);
    return false;
}

static struct console_client *find_client(struct console *console, uint64_t id)
{
    for (uint32_t i = 0; i < CONSOLE_CLIENTS_MAX; i++)
        if (console->clients[i].io && console->clients[i].id == id)
            return &console->clients[i];
    return NULL;
}

/* ------------------------------------------------------------------ commands */

struct call {
    struct console_client *client;
    struct buffer *out;
    uint32_t argc;
    const struct bytes *argv;
};

static void wrong_arguments(const struct call *call, const char *usage)
{
    resp_write_error(call->out, "ERR wrong arguments: expected %s", usage);
}

/* The server that an argument names, or NODE_NONE. */
static node_id named_server(const struct call *call, uint32_t i)
{
    const struct console_options *o = &call->client->console->options;
    char name[NAME_SIZE];
    node_id node;

    if (call->argv[i].size >= NAME_SIZE)
        return NODE_NONE;
    memcpy(name, call->argv[i].data, call->argv[i].size);
    name[call->argv[i].size] = '\0';
    node = config_node(o->config, name);
    return node_is_server(node) ? node : NODE_NONE;
}

static bool server_argument(const struct call *call, node_id *server)
{
    *server = call->argc == 2 ? named_server(call, 1) : NODE_NONE;
    if (*server != NODE_NONE)
        return true;
    resp_write_error(call->out, "ERR expected one argument, the name of a server of cluster %s",
                     call->client->console->options.config->cluster);
    return false;
}

/* Hands the command to the core. The answer may come before this returns. */
static void ask_core_with(const struct call *call, struct message_command command)
{
    const struct console_options *o = &call->client->console->options;
    struct message message = { .type = MESSAGE_COMMAND, .from = NODE_OPERATOR };

    command.reference = call->client->id;
    message.command = command;
    call->client->waiting = true;
    o->deliver(o->context, &message);
}

static void ask_core(const struct call *call, enum command_verb verb, node_id server)
{
    ask_core_with(call, (struct message_command){ .verb = (uint8_t)verb, .server = server });
}

static void ask_about_server(const struct call *call, enum command_verb verb)
{
    node_id server;

    if (server_argument(call, &server))
        ask_core(call, verb, server);
}

static void do_switchover(const struct call *call)
{
    ask_about_server(call, COMMAND_SWITCHOVER);
}

static void do_start(const struct call *call)
{
    ask_about_server(call, COMMAND_START);
}

static void do_stop(const struct call *call)
{
    ask_about_server(call, COMMAND_STOP);
}

static void do_restart(const struct call *call)
{
    ask_about_server(call, COMMAND_RESTART);
}

static void do_recover(const struct call *call)
{
    if (call->argc == 2 && resp_is(call->argv[1], "accept-loss"))
        ask_core(call, COMMAND_RECOVER, NODE_NONE);
    else
        wrong_arguments(call, "RECOVER ACCEPT-LOSS: writes that were acknowledged may be lost");
}

static void do_style(const struct call *call)
{
    if (call->argc == 2 && resp_is(call->argv[1], "active"))
        ask_core(call, COMMAND_STYLE_ACTIVE, NODE_NONE);
    else if (call->argc == 2 && resp_is(call->argv[1], "passive"))
        ask_core(call, COMMAND_STYLE_PASSIVE, NODE_NONE);
    else
        wrong_arguments(call, "STYLE active|passive");
}

static void do_acks(const struct call *call)
{
    int64_t count;

    if (call->argc == 2 && resp_is(call->argv[1], "all"))
        ask_core(call, COMMAND_ACKS_ALL, NODE_NONE);
    else if (call->argc == 2 && resp_is(call->argv[1], "majority"))
        ask_core(call, COMMAND_ACKS_MAJORITY, NODE_NONE);
    else if (call->argc == 2 && resp_integer(call->argv[1], &count) && count >= 1 &&
             count <= (int64_t)call->client->console->options.config->server_count)
        ask_core_with(
            call, (struct message_command){ .verb = COMMAND_ACKS_COUNT, .count = (uint32_t)count });
    else
        wrong_arguments(call, "ACKS all|majority|N, at most the number of servers");
}

/* Two servers behind the command's name. */
static bool link_arguments(const struct call *call, struct message_command *command)
{
    command->server = named_server(call, 1);
    command->peer = named_server(call, 2);
    return command->server != NODE_NONE && command->peer != NODE_NONE &&
           command->server != command->peer;
}

static void do_cut(const struct call *call)
{
    struct message_command command = { .verb = COMMAND_CUT };
    int64_t seconds;

    if (call->argc != 4 || !link_arguments(call, &command) ||
        !resp_integer(call->argv[3], &seconds) || seconds < 1 || seconds > CUT_SECONDS_MAX) {
        wrong_arguments(call, "CUT server server seconds: two servers, 1 to 60 seconds");
        return;
    }
    command.count = (uint32_t)seconds;
    ask_core_with(call, command);
}

static void do_heal(const struct call *call)
{
    struct message_command command = { .verb = COMMAND_HEAL };

    if (call->argc == 3 && link_arguments(call, &command))
        ask_core_with(call, command);
    else
        wrong_arguments(call, "HEAL server server: two servers");
}

static void do_status(const struct call *call)
{
    const struct console_options *o = &call->client->console->options;
    struct buffer json = { 0 };

    rm_status_write(o->rm, o->config, o->pid, &json);
    resp_write_bulk(call->out, buffer_bytes(&json));
    buffer_free(&json);
}

static void write_event(struct buffer *out, const struct rm_event *event)
{
    resp_write_array(out, 3);
    resp_write_integer(out, (int64_t)event->sequence);
    resp_write_integer(out, (int64_t)event->time_us);
    resp_write_bulk_string(out, event->text);
}

struct events_arguments {
    uint64_t since; /* events after this one */
    uint64_t count; /* at most */
    bool since_given, follow;
};

static bool parse_events(const struct call *call, struct events_arguments *a)
{
    int64_t number;

    *a = (struct events_arguments){ .count = RM_EVENTS_MAX };
    for (uint32_t i = 1; i < call->argc; i++) {
        if (resp_is(call->argv[i], "follow")) {
            a->follow = true;
            continue;
        }
        if (i + 1 == call->argc || !resp_integer(call->argv[i + 1], &number) || number < 0)
            return false;
        if (resp_is(call->argv[i], "since")) {
            a->since = (uint64_t)number;
            a->since_given = true;
        } else if (resp_is(call->argv[i], "count")) {
            a->count = (uint64_t)number;
        } else {
            return false;
        }
        i++;
    }
    return true;
}

/* With SINCE the first ones after it, to page through them; else the latest. */
static void do_events(const struct call *call)
{
    const struct rm *rm = call->client->console->options.rm;
    uint64_t last = rm->event_sequence, first, count;
    struct events_arguments a;

    if (!parse_events(call, &a)) {
        wrong_arguments(call, "EVENTS [SINCE sequence] [COUNT n] [FOLLOW]");
        return;
    }
    first = last > RM_EVENTS_MAX ? last - RM_EVENTS_MAX + 1 : 1;
    if (a.since >= first)
        first = a.since < last ? a.since + 1 : last + 1;
    count = last + 1 - first;
    if (count > a.count) {
        if (!a.since_given)
            first += count - a.count;
        count = a.count;
    }
    resp_write_array(call->out, count);
    for (uint64_t i = 0; i < count; i++)
        write_event(call->out, rm_event(rm, first + i));
    if (a.follow) {
        call->client->following = true;
        call->client->followed = first + count - 1;
    }
}

static void do_ping(const struct call *call)
{
    if (call->argc == 1)
        resp_write_string(call->out, "PONG");
    else if (call->argc == 2)
        resp_write_bulk(call->out, call->argv[1]);
    else
        wrong_arguments(call, "PING [text]");
}

static void do_hello(const struct call *call)
{
    int64_t version = call->client->resp;

    if (call->argc > 1 && !resp_integer(call->argv[1], &version)) {
        resp_write_error(call->out, "ERR Protocol version is not an integer or out of range");
        return;
    }
    if (version != 2 && version != 3) {
        resp_write_error(call->out, "NOPROTO unsupported protocol version");
        return;
    }
    if (call->argc > 2) {
        resp_write_error(call->out, "ERR the console takes no AUTH or SETNAME in HELLO");
        return;
    }
    call->client->resp = (uint32_t)version;
    resp_write_map(call->out, 5);
    resp_write_bulk_string(call->out, "server");
    resp_write_bulk_string(call->out, "holdfast-rm");
    resp_write_bulk_string(call->out, "proto");
    resp_write_integer(call->out, version);
    resp_write_bulk_string(call->out, "id");
    resp_write_integer(call->out, (int64_t)call->client->id);
    resp_write_bulk_string(call->out, "mode");
    resp_write_bulk_string(call->out, "console");
    resp_write_bulk_string(call->out, "role");
    resp_write_bulk_string(call->out, "rm");
}

static void do_auth(const struct call *call)
{
    resp_write_error(call->out, "ERR Client sent AUTH, but no password is set");
}

static void do_client(const struct call *call)
{
    struct console_client *c = call->client;

    if (call->argc == 3 && resp_is(call->argv[1], "setname") &&
        call->argv[2].size < CLIENT_NAME_SIZE) {
        memcpy(c->name, call->argv[2].data, call->argv[2].size);
        c->name[call->argv[2].size] = '\0';
        resp_write_string(call->out, "OK");
    } else if (call->argc == 4 && resp_is(call->argv[1], "setinfo")) {
        resp_write_string(call->out, "OK");
    } else if (call->argc == 2 && resp_is(call->argv[1], "getname")) {
        resp_write_bulk_string(call->out, c->name);
    } else if (call->argc == 2 && resp_is(call->argv[1], "id")) {
        resp_write_integer(call->out, (int64_t)c->id);
    } else {
        wrong_arguments(call, "CLIENT SETNAME name|SETINFO key value|GETNAME|ID");
    }
}

static void do_command(const struct call *call)
{
    if (call->argc == 2 && resp_is(call->argv[1], "count"))
        resp_write_integer(call->out, 0);
    else
        resp_write_array(call->out, 0);
}

static void do_info(const struct call *call)
{
    const struct rm *rm = call->client->console->options.rm;
    const struct message_view *view = saved_current(&rm->saved);
    struct buffer text = { 0 };

    buffer_format(&text,
                  "# Server\r\nholdfast_process:rm\r\nprocess_id:%" PRIu32 "\r\n\r\n"
                  "# View\r\nview:%" PRIu64 "\r\nprimary:%s\r\nmembers:%" PRIu32 "\r\nactive:%d\r\n"
                  "changing:%d\r\nmembership_version:%" PRIu64 "\r\nevents:%" PRIu64 "\r\n",
                  call->client->console->options.pid, view ? view->number : 0,
                  view ? node_name(view->primary) : "none",
                  view ? members_count(&view->members) : 0, rm->view.active, rm->view.fencing,
                  rm->roster.version, rm->event_sequence);
    resp_write_bulk(call->out, buffer_bytes(&text));
    buffer_free(&text);
}

static void do_quit(const struct call *call)
{
    resp_write_string(call->out, "OK");
    call->client->closing = true;
}

static const struct {
    const char *name;
    void (*perform)(const struct call *call);
} commands[] = {
    { "status", do_status },   { "events", do_events }, { "switchover", do_switchover },
    { "start", do_start },     { "stop", do_stop },     { "restart", do_restart },
    { "recover", do_recover }, { "style", do_style },   { "acks", do_acks },
    { "cut", do_cut },         { "heal", do_heal },     { "ping", do_ping },
    { "hello", do_hello },     { "auth", do_auth },     { "client", do_client },
    { "command", do_command }, { "info", do_info },     { "quit", do_quit },
};

static void perform(struct console_client *c)
{
    const struct call call = { c, &c->console->reply, c->reader.argc, c->reader.argv };

    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (resp_is(call.argv[0], commands[i].name)) {
            commands[i].perform(&call);
            return;
        }
    resp_write_error(call.out,
                     "ERR unknown command '%.*s'; the console knows STATUS, EVENTS, SWITCHOVER, "
                     "START, STOP, RESTART, RECOVER, STYLE, ACKS, CUT, HEAL, INFO, PING",
                     (int)(call.argv[0].size < 64 ? call.argv[0].size : 64),
                     (const char *)call.argv[0].data);
}

/* ------------------------------------------------------------------ input */

static void close_when_written(struct console_client *c)
{
    c->closing = true;
    (void)bufferevent_disable(c->io, EV_READ);
    if (unread(c) == 0)
        client_free(c);
}

static void refuse(struct console_client *c, const char *text)
{
    resp_write_error(&c->console->reply, "ERR %s", text);
    if (flush_reply(c))
        close_when_written(c);
}

/* Takes the commands that are there, one after another, as far as their replies are read. */
static void take_commands(struct console_client *c)
{
    struct evbuffer *input = bufferevent_get_input(c->io);

    while (!c->waiting && !c->closing && unread(c) < CONSOLE_OUTPUT_BYTES_HIGH) {
        size_t size = evbuffer_get_length(input), used = 0;
        const unsigned char *data = size ? evbuffer_pullup(input, -1) : NULL;
        struct error error;
        enum resp_status status;

        if (!data)
            return;
        status = resp_read_command(&c->reader, bytes_of(data, size), &used, &error);
        if (status == RESP_PARTIAL && size >= CONSOLE_INPUT_BYTES_MAX) {
            refuse(c, "a console command is at most 65536 bytes");
            return;
        }
        if (status == RESP_PARTIAL)
            return;
        if (status == RESP_BROKEN) {
            refuse(c, error.text);
            return;
        }
        if (c->reader.argc)
            perform(c);
        if (!c->io) /* its answer came at once, and found that it does not read */
            return;
        (void)evbuffer_drain(input, used);
        if (!flush_reply(c))
            return;
        if (c->closing) {
            close_when_written(c);
            return;
        }
    }
}

static void on_read(struct bufferevent *io, void *context)
{
    (void)io;
    take_commands(context);
}

static void on_written(struct bufferevent *io, void *context)
{
    struct console_client *c = context;

    (void)io;
    if (c->closing)
        client_free(c);
    else
        take_commands(c);
}

static void on_event(struct bufferevent *io, short what, void *context)
{
    struct console_client *c = context;

    (void)io;
    if ((what & BEV_EVENT_EOF) && !c->waiting && !c->closing) {
        close_when_written(c); /* it has asked all it wanted, and may still read */
        return;
    }
    if (what & BEV_EVENT_TIMEOUT)
        log_line(NOTE_WARN, "a console client is cut: it has read nothing for %d s",
                 CONSOLE_WRITE_S_MAX);
    client_free(c);
}

/* ------------------------------------------------------------------ the console */

static struct console_client *free_place(struct console *console)
{
    for (uint32_t i = 0; i < CONSOLE_CLIENTS_MAX; i++)
        if (!console->clients[i].io)
            return &console->clients[i];
    return NULL;
}

static void turn_away(int fd)
{
    static const char text[] = "-ERR max number of clients reached\r\n";

    /* It fits into an empty socket, or the client hears nothing: it is closed either way. */
    if (write(fd, text, sizeof text - 1) < 0)
        log_line(NOTE_DEBUG, "a console client was turned away without a word");
    (void)close(fd);
}

void console_adopt(struct console *console, int fd)
{
    const struct timeval patience = { .tv_sec = CONSOLE_WRITE_S_MAX };
    struct console_client *c = free_place(console);
    struct bufferevent *io =
        c ? bufferevent_socket_new(console->options.base, fd, BEV_OPT_CLOSE_ON_FREE) : NULL;

    if (!io) {
        turn_away(fd);
        return;
    }
    *c = (struct console_client){
        .console = console, .io = io, .id = ++console->last_id, .resp = 2
    };
    bufferevent_setcb(io, on_read, on_written, on_event, c);
    bufferevent_setwatermark(io, EV_READ, 0, CONSOLE_INPUT_BYTES_MAX);
    bufferevent_set_timeouts(io, NULL, &patience);
    if (bufferevent_enable(io, EV_READ | EV_WRITE) != 0)
        client_free(c);
}

static void on_accepted(void *context, int fd)
{
    console_adopt(context, fd);
}

struct console *console_new(const struct console_options *options)
{
    struct console *console = memory_zeroed(1, sizeof *console);

    console->options = *options;
    return console;
}

enum error_code console_listen(struct console *console, const char *address, uint16_t port,
                               struct error *error)
{
    assert(!console->listening);
    console->acceptor =
        (struct acceptor){ .accepted = on_accepted, .context = console, .what = "console" };
    if (acceptor_open(&console->acceptor, console->options.base, address, port, error) !=
        ERROR_NONE)
        return error->code;
    console->listening = true;
    return ERROR_NONE;
}

void console_free(struct console *console)
{
    if (console->listening)
        acceptor_close(&console->acceptor);
    for (uint32_t i = 0; i < CONSOLE_CLIENTS_MAX; i++)
        if (console->clients[i].io)
            client_free(&console->clients[i]);
    buffer_free(&console->reply);
    buffer_free(&console->reply2);
    free(console);
}

void console_answer(struct console *console, const struct effect *effect)
{
    struct console_client *c = find_client(console, effect->reference);

    if (!c || !c->waiting)
        return;
    c->waiting = false;
    if (effect->number)
        resp_write_string(&console->reply, effect->text);
    else
        resp_write_error(&console->reply, "ERR %s", effect->text);
    /* Later commands of the client go on from the loop, not from within the core's effects. */
    if (flush_reply(c))
        bufferevent_trigger(c->io, EV_READ, BEV_OPT_DEFER_CALLBACKS);
}

static void send_events(struct console_client *c)
{
    struct console *console = c->console;
    const struct rm *rm = console->options.rm;

    while (c->followed < rm->event_sequence) {
        const struct rm_event *event = rm_event(rm, ++c->followed);

        if (!event)
            continue; /* more at once than are kept */
        write_event(&console->reply, event);
        if (!flush_reply(c))
            return;
    }
}

void console_turn_end(struct console *console)
{
    for (uint32_t i = 0; i < CONSOLE_CLIENTS_MAX; i++) {
        struct console_client *c = &console->clients[i];

        if (c->io && c->following && !c->closing &&
            c->followed < console->options.rm->event_sequence)
            send_events(c);
    }
}
