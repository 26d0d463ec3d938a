#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "server/clients.h"

/* A handle names a command under way: the place of its connection, the generation of the place, so
 * that a late reply cannot meet a new connection, and the sequence of the command. */
#define HANDLE_PLACE_BITS    20u
#define HANDLE_SEQUENCE_BITS 24u
#define HANDLE_SEQUENCE_MASK ((1u << HANDLE_SEQUENCE_BITS) - 1u)
#define HANDLE_PLACE_MASK    ((1u << HANDLE_PLACE_BITS) - 1u)

#define HANDLE_GENERATION_MASK ((1u << (64u - HANDLE_PLACE_BITS - HANDLE_SEQUENCE_BITS)) - 1u)

_Static_assert(CLIENT_UNANSWERED_MAX < HANDLE_SEQUENCE_MASK, "no two commands share a handle");

#define INPUT_STEP_BYTES (16u * 1024u * 1024u) /* of a large bulk, at a time */

static uint64_t handle_make(const struct connection *c, uint32_t sequence)
{
    return (uint64_t)c->generation << (HANDLE_PLACE_BITS + HANDLE_SEQUENCE_BITS) |
           (uint64_t)c->place << HANDLE_SEQUENCE_BITS | (sequence & HANDLE_SEQUENCE_MASK);
}

void connection_touch(struct connection *c)
{
    if (c->in_dirty)
        return;
    c->in_dirty = true;
    c->next_dirty = c->clients->dirty;
    c->clients->dirty = c;
}

/* ---- Answers, in order ---- */

static struct answer *answer_at(const struct connection *c, uint32_t i)
{
    return &c->answers[(c->answer_first + i) & (c->answer_capacity - 1)];
}

static void answers_grow(struct connection *c)
{
    uint32_t capacity = c->answer_capacity ? 2 * c->answer_capacity : 4;
    struct answer *answers = memory_zeroed(capacity, sizeof *answers);

    for (uint32_t i = 0; i < c->answer_count; i++)
        answers[i] = *answer_at(c, i);
    free(c->answers);
    c->answers = answers;
    c->answer_first = 0;
    c->answer_capacity = capacity;
}

static struct answer *answer_push(struct connection *c, enum answer_kind kind)
{
    struct answer *answer;

    if (c->answer_count == c->answer_capacity)
        answers_grow(c);
    answer = answer_at(c, c->answer_count++);
    *answer = (struct answer){
        .kind = (uint8_t)kind,
        .resp3 = c->resp3,
        .silent = c->reply_off || c->reply_skip,
    };
    return answer;
}

/* Replies that nobody reads must not pile up. The limit is on what was there before, so that a
 * single large reply can always be had. */
static bool is_over(struct connection *c)
{
    uint64_t unread = buffer_size(&c->out) + c->answer_bytes;

    if (unread <= (uint64_t)c->clients->options.config->clients.client_output_mb_max << 20)
        return false;
    if (!c->over)
        c->clients->total.cut++;
    c->over = c->closing = true;
    buffer_free(&c->out);
    return true;
}

/* First bytes of what RESP2 does not have, or may have inside. */
static const char not_resp2[] = { '_', '%', '~', ',', '#', '(', '>', '=', '!', '*', '|' };

/* RESP3 goes as it is, and to RESP2 clients too unless its first byte is not of RESP2, or there may
 * be such a one inside. */
static void emit(struct connection *c, const struct answer *answer, struct bytes reply)
{
    if (!reply.data || reply.size == 0 || answer->silent || is_over(c))
        return;
    if (reply.data[0] == RESP_ERROR)
        c->clients->total.errors++;
    if (answer->resp3 || !memchr(not_resp2, reply.data[0], sizeof not_resp2))
        buffer_append(&c->out, reply.data, reply.size);
    else if (answer->kind == ANSWER_EXEC && reply.data[0] == RESP_NULL)
        buffer_append_string(&c->out, "*-1\r\n");
    else
        resp_write_as_resp2(&c->out, reply);
}

static void answers_pop(struct connection *c)
{
    struct answer *first = answer_at(c, 0);

    if (first->close)
        c->closing =
            true; /* the outcome is not known: an OK might be false, and so might an error */
    else
        emit(c, first, buffer_bytes(&first->reply));
    c->answer_bytes -= buffer_size(&first->reply);
    buffer_free(&first->reply);
    buffer_free(&first->locals);
    c->answer_first = (c->answer_first + 1) & (c->answer_capacity - 1);
    c->answer_count--;
    c->sequence++;
}

/* Everything whose turn it is. A connection that hangs up says nothing more. */
static void answers_drain(struct connection *c)
{
    while (c->answer_count > 0 && answer_at(c, 0)->ready && !c->closing)
        answers_pop(c);
    connection_touch(c);
}

static void answer_give(struct connection *c, uint32_t i, struct bytes reply)
{
    struct answer *answer = answer_at(c, i);

    answer->ready = true;
    if (i == 0 && !c->closing) {
        emit(c, answer, reply); /* the usual case: straight to the output */
    } else if (!c->closing && !is_over(c)) {
        buffer_append(&answer->reply, reply.data, reply.size);
        c->answer_bytes += reply.size;
    }
    answers_drain(c);
}

static struct connection *connection_of(const struct clients *clients, uint64_t client)
{
    uint32_t place = (uint32_t)(client >> HANDLE_SEQUENCE_BITS) & HANDLE_PLACE_MASK;
    uint32_t generation = (uint32_t)(client >> (HANDLE_SEQUENCE_BITS + HANDLE_PLACE_BITS));

    if (place >= clients->capacity || clients->places[place].generation != generation)
        return NULL;
    return clients->places[place].connection;
}

/* A text of the server as an error reply. */
static struct bytes error_made(struct clients *clients, struct bytes text)
{
    buffer_clear(&clients->reply, CLIENT_READ_BYTES);
    resp_write_error(&clients->reply, "%.*s", (int)text.size, (const char *)text.data);
    return buffer_bytes(&clients->reply);
}

static struct bytes merged(struct clients *clients, const struct answer *answer, struct bytes reply)
{
    if (reply.size == 0 || reply.data[0] != RESP_ARRAY)
        return reply;
    transaction_merge(buffer_bytes(&answer->locals), reply, &clients->reply);
    return buffer_bytes(&clients->reply);
}

void clients_reply(void *context, uint64_t client, enum outcome outcome, struct bytes reply)
{
    struct connection *c = connection_of(context, client);
    struct answer *answer;
    uint32_t i;

    if (!c)
        return;
    i = ((uint32_t)client - c->sequence) & HANDLE_SEQUENCE_MASK;
    if (i >= c->answer_count)
        return;
    answer = answer_at(c, i);
    assert(!answer->ready);
    if (answer->kind == ANSWER_WATCH)
        transaction_watched(c, outcome, reply);
    answer->close = outcome == OUTCOME_UNKNOWN;
    if (outcome == OUTCOME_UNKNOWN)
        reply = bytes_of(NULL, 0);
    else if (outcome == OUTCOME_NOT_EXECUTED)
        reply = error_made(c->clients, reply);
    else if (answer->kind == ANSWER_WATCH && reply.size > 0 && reply.data[0] == RESP_ARRAY)
        reply = bytes_string("+OK\r\n");
    else if (answer->kind == ANSWER_EXEC && buffer_size(&answer->locals) > 0)
        reply = merged(c->clients, answer, reply);
    answer_give(c, i, reply);
}

/* ---- What the commands use ---- */

struct buffer *reply_begin(struct connection *c)
{
    buffer_clear(&c->clients->reply, CLIENT_READ_BYTES);
    return &c->clients->reply;
}

void reply_end(struct connection *c)
{
    if (c->capture) {
        buffer_append(c->capture, buffer_bytes(&c->clients->reply).data,
                      buffer_size(&c->clients->reply));
        return;
    }
    (void)answer_push(c, ANSWER_PLAIN);
    answer_give(c, c->answer_count - 1, buffer_bytes(&c->clients->reply));
}

void reply_ok(struct connection *c)
{
    resp_write_string(reply_begin(c), "OK");
    reply_end(c);
}

void reply_integer(struct connection *c, int64_t value)
{
    resp_write_integer(reply_begin(c), value);
    reply_end(c);
}

static void reply_error_list(struct connection *c, const char *format, va_list args)
{
    char text[ERROR_TEXT_SIZE];

    vsnprintf(text, sizeof text, format, args);
    resp_write_error(reply_begin(c), "%s", text);
    reply_end(c);
}

void reply_error(struct connection *c, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    reply_error_list(c, format, args);
    va_end(args);
}

void reply_reject(struct connection *c, const char *format, ...)
{
    va_list args;

    transaction_spoil(c);
    va_start(args, format);
    reply_error_list(c, format, args);
    va_end(args);
}

static void become_blocked(struct connection *c, enum blocked reason)
{
    assert(c->blocked == BLOCKED_NO && reason != BLOCKED_NO);
    c->blocked = (uint8_t)reason;
    c->next_blocked = NULL;
    c->previous_blocked = c->clients->last_blocked;
    if (c->previous_blocked)
        c->previous_blocked->next_blocked = c;
    else
        c->clients->first_blocked = c;
    c->clients->last_blocked = c;
    c->clients->blocked_count++;
    connection_touch(c);
}

static void become_unblocked(struct connection *c)
{
    assert(c->blocked != BLOCKED_NO);
    c->blocked = BLOCKED_NO;
    if (c->previous_blocked)
        c->previous_blocked->next_blocked = c->next_blocked;
    else
        c->clients->first_blocked = c->next_blocked;
    if (c->next_blocked)
        c->next_blocked->previous_blocked = c->previous_blocked;
    else
        c->clients->last_blocked = c->previous_blocked;
    c->clients->blocked_count--;
    connection_touch(c);
}

bool connection_submit(struct connection *c, struct server_request *request, enum answer_kind kind)
{
    struct clients *clients = c->clients;
    uint32_t sequence = c->sequence + c->answer_count;
    struct answer *answer;

    if (c->answer_count >= CLIENT_UNANSWERED_MAX ||
        !clients->options.accepts(clients->options.context)) {
        become_blocked(c, BLOCKED_FULL);
        return false;
    }
    answer = answer_push(c, kind);
    if (kind == ANSWER_EXEC)
        transaction_locals_take(c, &answer->locals);
    request->client = handle_make(c, sequence);
    request->stream = (uint32_t)c->id;
    if (clients->options.submit(clients->options.context, request))
        return true;
    c->answer_count--; /* nothing was taken, so nothing was answered either */
    answer = answer_at(c, c->answer_count);
    if (kind == ANSWER_EXEC)
        transaction_locals_give(c, &answer->locals);
    become_blocked(c, BLOCKED_FULL);
    return false;
}

bool connection_barrier(struct connection *c)
{
    if (c->answer_count == 0)
        return true;
    become_blocked(c, BLOCKED_BARRIER);
    return false;
}

bool arity_fits(int32_t arity, uint32_t argc)
{
    return arity >= 0 ? argc == (uint32_t)arity : argc >= (uint32_t)-arity;
}

/* ---- Commands ---- */

static void reject_unknown(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    char args[192];
    size_t used = 0;

    args[0] = '\0';
    for (uint32_t i = 1; i < argc && used < 128; i++) {
        size_t shown = argv[i].size < 128 - used ? argv[i].size : 128 - used;

        used += (size_t)snprintf(args + used, sizeof args - used, "'%.*s' ", (int)shown,
                                 shown ? (const char *)argv[i].data : "");
    }
    reply_reject(c, "ERR unknown command '%.*s', with args beginning with: %s",
                 (int)(argv[0].size < 128 ? argv[0].size : 128), (const char *)argv[0].data, args);
}

static void reject_arity(struct connection *c, const char *name)
{
    reply_reject(c, "ERR wrong number of arguments for '%s' command", name);
}

/* CLIENT PAUSE holds back what writes, or everything. */
static bool is_paused(struct connection *c, bool writes)
{
    struct clients *clients = c->clients;

    if (instant_reached(clients->now, clients->pause_until) || (!writes && !clients->pause_all))
        return false;
    become_blocked(c, BLOCKED_PAUSE);
    return true;
}

static bool serve(struct connection *c, const struct service_command *command, uint32_t argc,
                  const struct bytes *argv, uint64_t session, uint64_t sequence)
{
    bool writes = (command->flags & COMMAND_WRITE) != 0;
    struct server_request request = {
        .kind = writes ? REQUEST_COMMAND : REQUEST_READ,
        .stale = c->stale && !writes,
        .session = writes ? session : 0,
        .sequence = writes ? sequence : 0,
    };

    if (is_paused(c, writes))
        return false;
    buffer_clear(&c->clients->packed, CLIENT_READ_BYTES);
    request_pack_command(&c->clients->packed, argc, argv);
    request.request = buffer_bytes(&c->clients->packed);
    return connection_submit(c, &request, ANSWER_PLAIN);
}

static bool command_of_service(struct connection *c, uint32_t argc, const struct bytes *argv,
                               uint64_t session, uint64_t sequence)
{
    const struct service_command *command =
        service_command_find(c->clients->options.service, argv[0]);

    if (!command) {
        reject_unknown(c, argc, argv);
        return true;
    }
    c->last_command = command->name;
    if (!arity_fits(command->arity, argc)) {
        reject_arity(c, command->name);
        return true;
    }
    if (transaction_open(c)) {
        transaction_queue(c, command, argc, argv);
        return true;
    }
    return serve(c, command, argc, argv, session, sequence);
}

static bool command_of_connection(struct connection *c, const struct own_command *own,
                                  uint32_t argc, const struct bytes *argv)
{
    c->last_command = own->name;
    if (!arity_fits(own->arity, argc)) {
        reject_arity(c, own->name);
        return true;
    }
    if (transaction_open(c) && !(own->flags & OWN_IN_MULTI)) {
        /* One of the service by the same name can be part of it. */
        if (service_command_find(c->clients->options.service, argv[0]))
            return command_of_service(c, argc, argv, 0, 0);
        if (own->flags & OWN_QUEUED)
            return transaction_queue_own(c, own, argc, argv);
        reply_reject(c, "ERR Command not allowed inside a transaction");
        return true;
    }
    if (!(own->flags & OWN_UNPAUSED) && is_paused(c, false))
        return false;
    return own->handle(c, argc, argv);
}

static bool number_of(struct bytes argument, uint64_t *number)
{
    uint64_t value = 0;

    if (argument.size == 0 || argument.size > 20)
        return false;
    for (size_t i = 0; i < argument.size; i++) {
        uint8_t digit = (uint8_t)(argument.data[i] - '0');

        if (digit > 9 || value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *number = value;
    return value > 0;
}

/* ONCE session sequence command …: executed once, however often it is sent. */
bool handle_once(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    uint64_t session, sequence;

    if (!number_of(argv[1], &session) || !number_of(argv[2], &sequence)) {
        reply_error(c, "ERR ONCE takes a session and a sequence, each from 1 to %llu",
                    (unsigned long long)UINT64_MAX);
        return true;
    }
    if (own_command_find(c->clients, argv[3]) &&
        !service_command_find(c->clients->options.service, argv[3])) {
        reply_error(c, "ERR ONCE takes a command of the service");
        return true;
    }
    return command_of_service(c, argc - 3, argv + 3, session, sequence);
}

static bool refuse_loading(struct connection *c)
{
    reply_reject(c, "LOADING holdfast is loading its data");
    return true;
}

/* One command; false when it cannot be taken now, and must come again. */
static bool take_command(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    const struct own_command *own = own_command_find(c->clients, argv[0]);
    bool loading = c->clients->loading && !(own && (own->flags & OWN_LOADING));
    bool skip = c->reply_skip;
    bool taken;

    c->reply_skip = c->reply_skip_next;
    c->reply_skip_next = false;
    if (loading)
        taken = refuse_loading(c);
    else if (own)
        taken = command_of_connection(c, own, argc, argv);
    else
        taken = command_of_service(c, argc, argv, 0, 0);
    if (taken) {
        c->clients->total.commands++;
    } else {
        c->reply_skip_next = c->reply_skip;
        c->reply_skip = skip;
    }
    return taken;
}

/* Commands from the front of the input, as far as they are whole and can be taken; returns the
 * bytes that are done with. */
static size_t take_commands(struct connection *c, struct bytes input)
{
    struct error error;
    size_t done = 0, used = 0;

    while (done < input.size && c->blocked == BLOCKED_NO && !c->ending && !c->closing) {
        struct bytes rest = bytes_of(input.data + done, input.size - done);
        enum resp_status status = resp_read_command(&c->reader, rest, &used, &error);

        if (status == RESP_PARTIAL)
            break;
        if (status == RESP_BROKEN) {
            c->clients->total.cut++;
            reply_error(c, "ERR %s", error.text);
            c->ending = true;
            break;
        }
        if (c->reader.argc > 0 && !take_command(c, c->reader.argc, c->reader.argv))
            break;
        done += used;
    }
    return c->ending || c->closing ? input.size : done;
}

/* ---- Bytes ---- */

void connection_feed(struct connection *c, struct bytes input)
{
    size_t used;

    c->active = c->clients->now;
    c->clients->total.input += input.size;
    if (buffer_size(&c->in) > 0) {
        buffer_append(&c->in, input.data, input.size);
        connection_fed(c, 0);
        return;
    }
    used = take_commands(c, input);
    buffer_append(&c->in, input.data + used, input.size - used);
    connection_account(c);
}

size_t connection_wanted(const struct connection *c)
{
    size_t have = buffer_size(&c->in);
    size_t want = c->reader.wanted > have ? c->reader.wanted - have : CLIENT_READ_BYTES;

    /* No more at once than has come already: a length alone takes no memory. */
    if (want > have)
        want = have;
    if (want < CLIENT_READ_BYTES)
        want = CLIENT_READ_BYTES;
    return want < CLIENT_READ_BYTES_MAX ? want : CLIENT_READ_BYTES_MAX;
}

void connection_fed(struct connection *c, size_t size)
{
    buffer_commit(&c->in, size);
    if (size > 0)
        c->active = c->clients->now;
    c->clients->total.input += size;
    /* While a large command is known to be incomplete, there is nothing to look at. */
    if (buffer_size(&c->in) >= c->reader.wanted)
        buffer_consume(&c->in, take_commands(c, buffer_bytes(&c->in)));
    connection_account(c);
}

static uint64_t moved(uint64_t sum, uint64_t *counted, uint64_t now)
{
    sum = sum - *counted + now;
    *counted = now;
    return sum;
}

void connection_account(struct connection *c)
{
    struct clients *clients = c->clients;

    if (buffer_size(&c->in) == 0)
        buffer_free(&c->in);
    if (buffer_size(&c->out) == 0)
        buffer_clear(&c->out, CLIENT_BUFFER_BYTES_KEPT);
    if (c->answer_count == 0 && c->answer_capacity > 16) {
        free(c->answers);
        c->answers = NULL;
        c->answer_capacity = 0;
    }
    clients->input_bytes =
        moved(clients->input_bytes, &c->counted_in, buffer_size(&c->in) + transaction_bytes(c));
    clients->output_bytes =
        moved(clients->output_bytes, &c->counted_out, buffer_size(&c->out) + c->answer_bytes);
}

bool connection_reads(const struct connection *c)
{
    return c->blocked == BLOCKED_NO && !c->ending && !c->closing;
}

bool connection_done(const struct connection *c)
{
    return buffer_size(&c->out) == 0 && (c->closing || (c->ending && c->answer_count == 0));
}

void connection_finish(struct connection *c)
{
    c->ending = true;
    connection_touch(c);
}

void connection_end(struct connection *c, const char *text)
{
    if (!c->ending)
        reply_error(c, "%s", text);
    c->ending = true;
    c->clients->total.cut++;
    connection_touch(c);
}

static void limit_input(struct clients *clients)
{
    struct connection *most = NULL;

    for (uint32_t i = 0; i < clients->capacity; i++) {
        struct connection *c = clients->places[i].connection;

        if (c && !c->closing && (!most || c->counted_in > most->counted_in))
            most = c;
    }
    if (!most)
        return;
    log_line(NOTE_WARN, "client %s is cut: %llu bytes of its commands wait, and of all too many",
             most->peer, (unsigned long long)most->counted_in);
    buffer_free(&most->in);
    transaction_shed(most);
    connection_end(most, "ERR too much unfinished input of all clients together");
    connection_account(most);
}

static void limit_output(struct clients *clients)
{
    struct connection *most = NULL;

    for (uint32_t i = 0; i < clients->capacity; i++) {
        struct connection *c = clients->places[i].connection;

        if (c && (!most || c->counted_out > most->counted_out))
            most = c;
    }
    if (!most)
        return;
    log_line(NOTE_WARN, "client %s is cut: %llu bytes of replies unread, and of all too many",
             most->peer, (unsigned long long)most->counted_out);
    buffer_free(&most->out);
    most->closing = true;
    clients->total.cut++;
    connection_touch(most);
    connection_account(most);
}

void clients_limit(struct clients *clients)
{
    const uint32_t largest = REQUEST_BYTES_MAX; /* a single command, always possible */
    uint64_t max = (uint64_t)clients->options.config->clients.pending_mb_max << 20;

    max = max > largest ? max : largest;
    if (clients->input_bytes > max)
        limit_input(clients);
    if (clients->output_bytes > max)
        limit_output(clients);
}

/* ---- All of them ---- */

struct clients *clients_new(const struct clients_options *options, struct instant now)
{
    struct clients *clients = memory_zeroed(1, sizeof *clients);

    clients->options = *options;
    clients->now = clients->started = now;
    clients->free = CLIENT_PLACE_NONE;
    own_commands_index(clients);
    return clients;
}

void clients_free(struct clients *clients)
{
    for (uint32_t i = 0; i < clients->capacity; i++)
        if (clients->places[i].connection)
            connection_free(clients->places[i].connection);
    free(clients->places);
    buffer_free(&clients->reply);
    buffer_free(&clients->packed);
    free(clients);
}

static void places_grow(struct clients *clients)
{
    uint32_t old = clients->capacity, capacity = old ? 2 * old : 64;

    assert(capacity <= HANDLE_PLACE_MASK + 1);
    clients->places = memory_grown(clients->places, capacity * sizeof *clients->places);
    for (uint32_t i = old; i < capacity; i++)
        clients->places[i] = (struct client_place){
            .next_free = i + 1 < capacity ? i + 1 : clients->free,
        };
    clients->free = old;
    clients->capacity = capacity;
}

struct connection *connection_new(struct clients *clients, const char *peer, const char *local)
{
    struct client_place *place;
    struct connection *c;

    if (clients->count >= clients->options.connections_max) {
        clients->total.rejected++;
        return NULL;
    }
    if (clients->free == CLIENT_PLACE_NONE)
        places_grow(clients);
    c = memory_zeroed(1, sizeof *c);
    c->clients = clients;
    c->id = ++clients->next_id;
    c->place = clients->free;
    place = &clients->places[c->place];
    place->connection = c;
    clients->free = place->next_free;
    c->generation = place->generation;
    c->since = c->active = clients->now;
    c->last_command = "NULL";
    snprintf(c->peer, sizeof c->peer, "%s", peer);
    snprintf(c->local, sizeof c->local, "%s", local);
    clients->count++;
    clients->total.connections++;
    return c;
}

static void dirty_drop(struct connection *c)
{
    struct connection **place = &c->clients->dirty;

    if (!c->in_dirty)
        return;
    while (*place != c)
        place = &(*place)->next_dirty;
    *place = c->next_dirty;
    c->in_dirty = false;
}

void connection_free(struct connection *c)
{
    struct clients *clients = c->clients;
    struct client_place *place = &clients->places[c->place];

    if (c->blocked != BLOCKED_NO)
        become_unblocked(c);
    dirty_drop(c);
    while (c->answer_count > 0) {
        struct answer *answer = answer_at(c, --c->answer_count);

        buffer_free(&answer->reply);
        buffer_free(&answer->locals);
    }
    clients->input_bytes -= c->counted_in;
    clients->output_bytes -= c->counted_out;
    place->connection = NULL;
    place->generation = (place->generation + 1) & HANDLE_GENERATION_MASK;
    place->next_free = clients->free;
    clients->free = c->place;
    clients->count--;
    transaction_free(c);
    checkpoint_forget(c);
    buffer_free(&c->in);
    buffer_free(&c->out);
    resp_command_reader_free(&c->reader);
    free(c->answers);
    free(c->name);
    free(c->library_name);
    free(c->library_version);
    free(c);
}

static bool may_go_on(const struct clients *clients, const struct connection *c)
{
    switch ((enum blocked)c->blocked) {
    case BLOCKED_FULL:
        return c->answer_count < CLIENT_UNANSWERED_MAX &&
               clients->options.accepts(clients->options.context);
    case BLOCKED_PAUSE: return instant_reached(clients->now, clients->pause_until);
    case BLOCKED_BARRIER: return c->answer_count == 0;
    case BLOCKED_NO: break;
    }
    return false;
}

bool clients_resume(struct clients *clients)
{
    uint64_t before = clients->total.commands;
    uint32_t count = clients->blocked_count; /* those that are blocked again have had their turn */
    struct connection *next = clients->first_blocked;

    for (struct connection *c = next; c && count > 0; c = next, count--) {
        next = c->next_blocked;
        if (!may_go_on(clients, c))
            continue;
        become_unblocked(c);
        connection_fed(c, 0);
    }
    return clients->total.commands != before;
}

struct instant clients_deadline(const struct clients *clients)
{
    if (clients->blocked_count == 0 || instant_reached(clients->now, clients->pause_until))
        return INSTANT_NEVER;
    return clients->pause_until;
}
