/* MULTI and WATCH: commands are packed as they come, and travel as one request. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "server/clients.h"

#define LOCALS_BYTES_MAX ((size_t)16 << 20) /* replies kept for EXEC, before the last one */

struct transaction {
    bool open;   /* between MULTI and EXEC */
    bool spoilt; /* a command was refused: EXEC gives all of it up */
    bool writes; /* one command at least does */
    uint32_t count;
    struct buffer commands; /* packed */
    uint32_t own_count;
    struct buffer
        locals;      /* replies of commands of the connection: struct local and bytes of each */
    bool broken;     /* a WATCH was not answered with versions: EXEC executes nothing */
    uint32_t asking; /* WATCH commands without an answer */
    uint32_t key_count;
    uint32_t watched;   /* keys whose versions have come, of key_count */
    struct buffer keys; /* of WATCH, in order: u32 size and bytes of each */
    uint64_t *versions; /* of the first `watched` of them */
    uint32_t versions_capacity;
};

struct local {
    uint32_t place; /* among all commands of the transaction, from 0 */
    uint32_t size;  /* of the reply that follows */
};

static struct transaction *transaction_of(struct connection *c)
{
    if (!c->transaction)
        c->transaction = memory_zeroed(1, sizeof *c->transaction);
    return c->transaction;
}

void transaction_free(struct connection *c)
{
    struct transaction *t = c->transaction;

    if (!t)
        return;
    buffer_free(&t->commands);
    buffer_free(&t->locals);
    buffer_free(&t->keys);
    free(t->versions);
    free(t);
    c->transaction = NULL;
}

bool transaction_open(const struct connection *c)
{
    return c->transaction && c->transaction->open;
}

int32_t transaction_size(const struct connection *c)
{
    return transaction_open(c) ? (int32_t)(c->transaction->count + c->transaction->own_count) : -1;
}

uint64_t transaction_bytes(const struct connection *c)
{
    const struct transaction *t = c->transaction;

    return t ? buffer_size(&t->commands) + buffer_size(&t->locals) + buffer_size(&t->keys) : 0;
}

/* It stays: an answer to WATCH may be under way to it. */
void transaction_shed(struct connection *c)
{
    struct transaction *t = c->transaction;

    if (!t)
        return;
    buffer_free(&t->commands);
    buffer_free(&t->locals);
    buffer_free(&t->keys);
    t->spoilt = t->broken = true;
}

void transaction_spoil(struct connection *c)
{
    if (transaction_open(c))
        c->transaction->spoilt = true;
}

bool handle_multi(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    (void)argc;
    (void)argv;
    if (transaction_open(c)) {
        reply_error(c, "ERR MULTI calls can not be nested");
        return true;
    }
    transaction_of(c)->open = true;
    reply_ok(c);
    return true;
}

static size_t packed_size(uint32_t argc, const struct bytes *argv)
{
    size_t size = sizeof(uint32_t);

    for (uint32_t i = 0; i < argc; i++)
        size += sizeof(uint32_t) + argv[i].size;
    return size;
}

/* Whether so much more still fits in one request, with room for its counts. */
static bool fits(const struct transaction *t, size_t more)
{
    const uint32_t max = REQUEST_BYTES_MAX;
    size_t used =
        buffer_size(&t->commands) + buffer_size(&t->keys) + sizeof(uint64_t) * (size_t)t->key_count;

    return used + more + 2 * sizeof(uint32_t) <= max;
}

void transaction_queue(struct connection *c, const struct service_command *command, uint32_t argc,
                       const struct bytes *argv)
{
    struct transaction *t = c->transaction;

    if (t->count >= CLIENT_ARGUMENT_COUNT_MAX || !fits(t, packed_size(argc, argv))) {
        reply_reject(c, "ERR the transaction is too large: at most %u bytes and %u commands",
                     REQUEST_BYTES_MAX, CLIENT_ARGUMENT_COUNT_MAX);
        return;
    }
    if (!t->spoilt) {
        request_pack_command(&t->commands, argc, argv);
        t->count++;
        t->writes = t->writes || (command->flags & COMMAND_WRITE);
    }
    resp_write_string(reply_begin(c), "QUEUED");
    reply_end(c);
}

bool transaction_queue_own(struct connection *c, const struct own_command *own, uint32_t argc,
                           const struct bytes *argv)
{
    struct transaction *t = c->transaction;
    struct buffer reply = { 0 };
    struct local local = { .place = t->count + t->own_count };

    if (buffer_size(&t->locals) > LOCALS_BYTES_MAX) {
        reply_reject(c, "ERR the transaction is too large");
        return true;
    }
    c->capture = &reply;
    (void)own->handle(c, argc, argv);
    c->capture = NULL;
    local.size = (uint32_t)buffer_size(&reply);
    buffer_append(&t->locals, &local, sizeof local);
    buffer_append(&t->locals, buffer_bytes(&reply).data, local.size);
    buffer_free(&reply);
    t->own_count++;
    resp_write_string(reply_begin(c), "QUEUED");
    reply_end(c);
    return true;
}

void transaction_locals_take(struct connection *c, struct buffer *locals)
{
    *locals = c->transaction->locals;
    c->transaction->locals = (struct buffer){ 0 };
}

void transaction_locals_give(struct connection *c, struct buffer *locals)
{
    c->transaction->locals = *locals;
    *locals = (struct buffer){ 0 };
}

/* One whole reply from the front of *rest. */
static struct bytes reply_cut(struct bytes *rest)
{
    struct bytes reply = *rest;
    struct error error;
    enum resp_status status = resp_measure_reply(*rest, &reply.size, &error);

    assert(status == RESP_READY);
    (void)status;
    *rest = bytes_of(rest->data + reply.size, rest->size - reply.size);
    return reply;
}

void transaction_merge(struct bytes locals, struct bytes reply, struct buffer *out)
{
    struct bytes rest = reply, each;
    struct resp_value array;
    struct local local;
    uint32_t own_count = 0, left;

    for (struct bytes l = locals; l.size > 0; own_count++) {
        assert(l.data);
        memcpy(&local, l.data, sizeof local);
        l = bytes_of(l.data + sizeof local + local.size, l.size - sizeof local - local.size);
    }
    rest.data += resp_read_value(reply, &array);
    rest.size -= (size_t)(rest.data - reply.data);
    left = own_count + (uint32_t)array.integer;
    buffer_clear(out, CLIENT_READ_BYTES);
    resp_write_array(out, left);
    for (uint32_t place = 0; place < left; place++) {
        if (locals.size > 0)
            memcpy(&local, locals.data, sizeof local);
        if (locals.size > 0 && local.place == place) {
            each = bytes_of(locals.data + sizeof local, local.size);
            locals = bytes_of(each.data + each.size, locals.size - sizeof local - each.size);
        } else {
            each = reply_cut(&rest);
        }
        buffer_append(out, each.data, each.size);
    }
}

/* False, and the connection is blocked, while an answer to WATCH is under way: it must not come to
 * a later transaction. */
static bool versions_are_in(struct connection *c)
{
    return !c->transaction || c->transaction->asking == 0 || connection_barrier(c);
}

bool handle_discard(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    (void)argc;
    (void)argv;
    if (!transaction_open(c)) {
        reply_error(c, "ERR DISCARD without MULTI");
        return true;
    }
    if (!versions_are_in(c))
        return false;
    transaction_free(c);
    reply_ok(c);
    return true;
}

bool handle_unwatch(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    (void)argc;
    (void)argv;
    /* As part of a transaction it comes after the keys were looked at, and EXEC forgets them. */
    if (!transaction_open(c)) {
        if (!versions_are_in(c))
            return false;
        transaction_free(c);
    }
    reply_ok(c);
    return true;
}

static uint32_t word_at(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* The whole transaction, packed, in place of what `packed` held. */
static void pack(const struct transaction *t, struct buffer *packed)
{
    const uint8_t *key = buffer_bytes(&t->keys).data;

    buffer_clear(packed, CLIENT_READ_BYTES);
    request_pack_transaction_begin(packed, t->watched);
    for (uint32_t i = 0; i < t->watched; i++) {
        uint32_t size;

        assert(key);
        size = word_at(key);
        request_pack_transaction_watch(packed, t->versions[i], bytes_of(key + 4, size));
        key += 4 + size;
    }
    request_pack_transaction_commands(packed, t->count);
    buffer_append(packed, buffer_bytes(&t->commands).data, buffer_size(&t->commands));
}

static void reply_none(struct connection *c, const char *reply)
{
    buffer_append_string(reply_begin(c), reply);
    reply_end(c);
}

/* Nothing for the server: an empty list, or only what the connection itself has to say. */
static void reply_locals(struct connection *c)
{
    struct buffer *out = reply_begin(c);

    transaction_merge(buffer_bytes(&c->transaction->locals), bytes_string("*0\r\n"), out);
    reply_end(c);
}

static bool exec_submit(struct connection *c)
{
    struct transaction *t = c->transaction;
    bool reads = !t->writes && t->watched == 0;
    struct server_request request = {
        .kind = reads ? REQUEST_READ_TRANSACTION : REQUEST_TRANSACTION,
        .stale = reads && c->stale,
    };

    pack(t, &c->clients->packed);
    request.request = buffer_bytes(&c->clients->packed);
    return connection_submit(c, &request, ANSWER_EXEC);
}

bool handle_exec(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    struct transaction *t = c->transaction;

    (void)argc;
    (void)argv;
    if (!transaction_open(c)) {
        reply_error(c, "ERR EXEC without MULTI");
        return true;
    }
    if (!versions_are_in(c))
        return false;
    if (t->spoilt)
        reply_error(c, "EXECABORT Transaction discarded because of previous errors.");
    else if (t->broken)
        reply_none(c, c->resp3 ? "_\r\n" : "*-1\r\n");
    else if (t->count == 0 && t->watched == 0)
        reply_locals(c);
    else if (!exec_submit(c))
        return false;
    transaction_free(c);
    return true;
}

bool handle_watch(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    struct server_request request = { .kind = REQUEST_WATCH };
    struct buffer *packed = &c->clients->packed;
    struct transaction *t;

    if (transaction_open(c)) {
        reply_error(c, "ERR WATCH inside MULTI is not allowed");
        return true;
    }
    t = transaction_of(c);
    if (!fits(t, packed_size(argc, argv) + sizeof(uint64_t) * argc)) {
        reply_error(c, "ERR too many watched keys: at most %u bytes", REQUEST_BYTES_MAX);
        return true;
    }
    buffer_clear(packed, CLIENT_READ_BYTES);
    request_pack_command(packed, argc - 1, argv + 1);
    request.request = buffer_bytes(packed);
    /* Counted first: the answer may come before submit returns. */
    t->asking++;
    t->key_count += argc - 1;
    buffer_append(&t->keys, request.request.data + 4, request.request.size - 4);
    if (connection_submit(c, &request, ANSWER_WATCH))
        return true;
    t->asking--;
    t->key_count -= argc - 1;
    t->keys.end -= buffer_size(packed) - 4;
    return false;
}

static void versions_grow(struct transaction *t, uint32_t more)
{
    if (t->watched + more <= t->versions_capacity)
        return;
    t->versions_capacity = 2 * (t->watched + more);
    t->versions = memory_grown(t->versions, t->versions_capacity * sizeof *t->versions);
}

void transaction_watched(struct connection *c, enum outcome outcome, struct bytes reply)
{
    struct transaction *t = c->transaction;
    struct resp_value value;
    size_t at;
    uint32_t count;

    assert(t && t->asking > 0);
    t->asking--;
    if (outcome != OUTCOME_DONE || reply.size == 0 || reply.data[0] != RESP_ARRAY || t->broken) {
        t->broken = true;
        return;
    }
    at = resp_read_value(reply, &value);
    count = (uint32_t)value.integer;
    assert(count <= t->key_count - t->watched);
    versions_grow(t, count);
    for (uint32_t i = 0; i < count; i++) {
        at += resp_read_value(bytes_of(reply.data + at, reply.size - at), &value);
        t->versions[t->watched++] = (uint64_t)value.integer;
    }
}
