/* workload - what clients ask for, and what the replies tell the history.
 *
 * Session clients ask for single commands, exactly once. Plain ones ask for transactions, too: one
 * that appends to two texts at once, reads of both, and an exchange of a register's value as WATCH,
 * GET, MULTI, SET, EXEC do it. Now and then they send again what a session has sent before: an old
 * request that came back out of some queue. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/resp.h"
#include "tests/simulator/parts.h"

#define READ_SHARE       4u /* one in so many calls of a session client reads */
#define STALE_SHARE      3u /* one in so many reads of a reader is content with older state */
#define NOISE_SHARE      8u /* one in so many of a plain client is of no matter to the history */
#define TRANSACTION_ODDS 6u
#define REPEAT_ODDS      6u
#define LARGE_ODDS       32u /* one register's value in so many is large */
#define PEACE_BUSY_MS    10u /* for so long a value may keep a slow link busy in peace */
#define NOISE_KEYS       20u
#define WORDS_MAX        5u
#define EXPIRY_LATE_NS   UINT64_C(200000000) /* clock rates, and a request's way to its entry */

/* ------------------------------------------------------------------ requests */

static void words_pack(struct buffer *out, uint32_t count, const struct bytes *words)
{
    assert(count <= WORDS_MAX);
    request_pack_command(out, count, words);
}

static const char *key_name(const struct client *c, uint32_t key)
{
    return c->sim->history.keys[key].name;
}

static void request_begin(struct client *c, enum ask ask, uint8_t kind)
{
    c->ask = ask;
    c->request_kind = kind;
    c->stale = false;
    c->session_id = c->sequence = 0;
    buffer_clear(&c->request, SIZE_MAX);
}

static void text_pack(struct client *c, uint32_t count, const char *const *texts)
{
    struct bytes words[WORDS_MAX];

    for (uint32_t i = 0; i < count; i++)
        words[i] = bytes_string(texts[i]);
    words_pack(&c->request, count, words);
}

/* The command of an operation, with what it writes, if it does. */
static void operation_pack(struct client *c, uint64_t number, const char *command,
                           const char *ttl_ms)
{
    const struct operation *o = history_operation(&c->sim->history, number);
    struct bytes words[WORDS_MAX] = { bytes_string(command), bytes_string(key_name(c, o->key)) };
    struct buffer argument = { 0 };
    uint32_t count = 2;

    if (o->kind != LINEAR_READ && o->kind != LINEAR_DELETE) {
        history_argument(&c->sim->history, number, &argument);
        words[count++] = buffer_bytes(&argument);
    }
    if (ttl_ms) {
        words[count++] = bytes_string("px");
        words[count++] = bytes_string(ttl_ms);
    }
    words_pack(&c->request, count, words);
    buffer_free(&argument);
}

static uint64_t operation_begin(struct client *c, uint32_t key, enum linear_kind kind,
                                uint32_t size)
{
    return history_begin(&c->sim->history, c->index, key, kind, size, c->sim->now_ns);
}

/* ------------------------------------------------------------------ single commands */

static void read_choose(struct client *c, uint32_t key)
{
    request_begin(c, ASK_READ, REQUEST_READ);
    c->operation[0] = operation_begin(c, key, LINEAR_READ, 0);
    operation_pack(c, c->operation[0], "get", NULL);
}

static void write_choose(struct client *c, uint32_t key, enum linear_kind kind, uint32_t size,
                         const char *command)
{
    request_begin(c, ASK_WRITE, REQUEST_COMMAND);
    c->operation[0] = operation_begin(c, key, kind, size);
    operation_pack(c, c->operation[0], command, NULL);
}

/* In peace no register's value keeps a slow link busy for long: who is fed over links that carry
 * less than is written would never catch up, and nobody could help it. */
static uint32_t size_borne(const struct client *c, uint32_t size)
{
    uint64_t borne = (uint64_t)c->sim->options.bytes_per_ms * PEACE_BUSY_MS;

    return c->sim->faults_over && borne > 0 && size > borne ? (uint32_t)borne : size;
}

/* Most values are tiny; some fill a batch, and now and then one is more than that. */
static uint32_t size_drawn(struct client *c)
{
    uint32_t max = c->sim->options.value_bytes_max;

    if (max == 0 || random_below(&c->random, LARGE_ODDS) > 0)
        return (uint32_t)random_below(&c->random, 40);
    return size_borne(c, 1 + (uint32_t)random_below(&c->random, max));
}

static void expiring_choose(struct client *c, uint32_t key)
{
    uint32_t ttl_ms = random_below(&c->random, 2) ? 1 + (uint32_t)random_below(&c->random, 500)
                                                  : 2000 + (uint32_t)random_below(&c->random, 8000);
    char text[HISTORY_NUMBER_SIZE];

    snprintf(text, sizeof text, "%u", ttl_ms);
    request_begin(c, ASK_WRITE, REQUEST_COMMAND);
    c->operation[0] = operation_begin(c, key, LINEAR_WRITE, 0);
    history_operation(&c->sim->history, c->operation[0])->ttl_ms = ttl_ms;
    operation_pack(c, c->operation[0], "set", text);
}

static void register_choose(struct client *c, uint32_t key)
{
    if (key == c->sim->expiring_key && random_below(&c->random, 2)) {
        expiring_choose(c, key);
        return;
    }
    switch (random_below(&c->random, 8)) {
    case 0: write_choose(c, key, LINEAR_DELETE, 0, "del"); break;
    case 1: write_choose(c, key, LINEAR_SWAP, size_drawn(c), "getset"); break;
    case 2: write_choose(c, key, LINEAR_WRITE_IF_ABSENT, size_drawn(c), "setnx"); break;
    default: write_choose(c, key, LINEAR_WRITE, size_drawn(c), "set"); break;
    }
}

/* Writes to a key what befits its use. */
static void key_choose(struct client *c, uint32_t key)
{
    switch (c->sim->history.keys[key].use) {
    case KEY_TEXT: write_choose(c, key, LINEAR_APPEND, 0, "append"); break;
    case KEY_NUMBER:
        write_choose(c, key, LINEAR_ADD, 1 + (uint32_t)random_below(&c->random, 9), "incrby");
        break;
    case KEY_REGISTER: register_choose(c, key); break;
    }
}

/* ------------------------------------------------------------------ transactions */

static void pair_choose(struct client *c, bool read)
{
    static const char *const commands[] = { "append", "get" };

    request_begin(c, read ? ASK_PAIR_READ : ASK_PAIR_WRITE,
                  read ? REQUEST_READ_TRANSACTION : REQUEST_TRANSACTION);
    request_pack_transaction_begin(&c->request, 0);
    request_pack_transaction_commands(&c->request, 2);
    for (uint32_t i = 0; i < 2; i++) {
        c->operation[i] =
            operation_begin(c, c->sim->pair_key + i, read ? LINEAR_READ : LINEAR_APPEND, 0);
        operation_pack(c, c->operation[i], commands[read], NULL);
    }
}

static void exchange_choose(struct client *c, uint32_t key)
{
    request_begin(c, ASK_EXCHANGE_WATCH, REQUEST_WATCH);
    c->exchange_key = key;
    text_pack(c, 1, (const char *const[]){ key_name(c, key) });
}

static void exchange_read(struct client *c)
{
    request_begin(c, ASK_EXCHANGE_READ, REQUEST_READ);
    c->operation[0] = operation_begin(c, c->exchange_key, LINEAR_READ, 0);
    operation_pack(c, c->operation[0], "get", NULL);
}

/* What the register had is known: EXEC puts another value in its place, or none of it happens. */
static void exchange_execute(struct client *c)
{
    c->exchange_seen = *history_operation(&c->sim->history, c->operation[0]);
    request_begin(c, ASK_EXCHANGE, REQUEST_TRANSACTION);
    c->operation[0] = operation_begin(c, c->exchange_key, LINEAR_SWAP, 0);
    request_pack_transaction_begin(&c->request, 1);
    request_pack_transaction_watch(&c->request, c->exchange_version,
                                   bytes_string(key_name(c, c->exchange_key)));
    request_pack_transaction_commands(&c->request, 1);
    operation_pack(c, c->operation[0], "set", NULL);
}

/* ------------------------------------------------------------------ of no matter */

/* A value that fills journals. */
static void bulk_pack(struct client *c, const char *key)
{
    struct bytes words[3] = { bytes_string("set"), bytes_string(key) };
    char *value = memory_zeroed(1, c->sim->options.bulk_bytes);

    words[2] = bytes_of(value, 1 + random_below(&c->random, c->sim->options.bulk_bytes));
    words_pack(&c->request, 3, words);
    free(value);
}

/* Something else, for the state to be of more than one kind. */
static void noise_choose(struct client *c)
{
    char key[HISTORY_NAME_SIZE];
    char value[HISTORY_NUMBER_SIZE];

    snprintf(key, sizeof key, "n%u", (unsigned)random_below(&c->random, NOISE_KEYS));
    snprintf(value, sizeof value, "%llu", (unsigned long long)random_below(&c->random, 1000));
    request_begin(c, ASK_NOISE, REQUEST_COMMAND);
    if (c->sim->options.bulk_bytes > 0 && random_below(&c->random, 2) == 0) {
        bulk_pack(c, key);
        return;
    }
    switch (random_below(&c->random, 7)) {
    case 0: text_pack(c, 4, (const char *const[]){ "psetex", key, "300", value }); break;
    case 1: text_pack(c, 2, (const char *const[]){ "del", key }); break;
    case 2: text_pack(c, 3, (const char *const[]){ "set", key, value }); break;
    case 3: text_pack(c, 3, (const char *const[]){ "pexpire", key, value }); break;
    case 4: text_pack(c, 2, (const char *const[]){ "persist", key }); break;
    case 5: text_pack(c, 3, (const char *const[]){ "hset", key, value }); break; /* refused */
    default: text_pack(c, 2, (const char *const[]){ "incr", key }); break;
    }
}

/* ------------------------------------------------------------------ pipelines */

/* It alone counts, and looks now and then how far it is. */
void workload_pipeline(struct client *c)
{
    bool read = random_below(&c->random, 3) == 0;
    char key[HISTORY_NAME_SIZE];

    snprintf(key, sizeof key, "q%u", c->index);
    c->operation[0] = c->operation[1] = 0;
    request_begin(c, ASK_PIPELINE, read ? REQUEST_READ : REQUEST_COMMAND);
    text_pack(c, 2, (const char *const[]){ read ? "get" : "incr", key });
}

/* Requests of one connection take effect in their order: each count is above all that was told
 * before, and what is read lies between the counts before it and behind it. What was asked over
 * earlier connections may still come in between. */
void workload_pipelined(struct client *c, uint32_t server, struct bytes reply)
{
    int64_t *counted = &c->lines[server].counted;
    struct resp_value value = { 0 };
    bool fits;

    resp_read_value(reply, &value);
    if (value.type == RESP_BULK)
        value.integer = strtoll((const char *)value.text.data, NULL, 10);
    fits = value.type == RESP_INTEGER
               ? value.integer > *counted
               : (value.type == RESP_BULK || value.type == RESP_NULL) && value.integer >= *counted;
    if (!fits && c->sim->checks.forgiven_view == 0)
        sim_fail(c->sim, "pipeline %u: after a count of %lld its connection to s%u brings: %.*s",
                 c->index, (long long)*counted, server + 1,
                 (int)(reply.size < 200 ? reply.size : 200), (const char *)reply.data);
    *counted = value.integer;
}

/* ------------------------------------------------------------------ old requests */

/* A session's call is over: remembers it, for it to come once more. */
static void past_keep(struct client *c)
{
    struct past *p = &c->sim->past[c->sim->past_count % SIM_PAST_MAX];

    if (c->sequence == 0)
        return;
    c->sim->past_count++;
    p->session = c->session_id;
    p->sequence = c->sequence;
    p->operation = c->operation[0];
    buffer_clear(&p->request, SIZE_MAX);
    buffer_append(&p->request, buffer_head(&c->request), buffer_size(&c->request));
}

static bool repeat_choose(struct client *c)
{
    const struct past *p = &c->sim->past[random_below(&c->random, SIM_PAST_MAX)];

    if (p->sequence == 0)
        return false;
    request_begin(c, ASK_REPEAT, REQUEST_COMMAND);
    c->session_id = p->session;
    c->sequence = p->sequence;
    c->operation[0] = p->operation;
    buffer_append(&c->request, buffer_head(&p->request), buffer_size(&p->request));
    return true;
}

/* The answer is the one that was given before, or a refusal. */
static void repeat_told(struct client *c, const struct resp_value *value)
{
    const struct operation *o = history_operation(&c->sim->history, c->operation[0]);

    if (value->type == RESP_INTEGER && o->state == OPERATION_DONE && !o->excused &&
        value->integer != o->result)
        sim_fail(c->sim,
                 "operation %llu, sent again as sequence %llu of session %llu, is answered %lld, "
                 "and was %lld",
                 (unsigned long long)c->operation[0], (unsigned long long)c->sequence,
                 (unsigned long long)c->session_id, (long long)value->integer,
                 (long long)o->result);
}

/* ------------------------------------------------------------------ choosing */

static void plain_choose(struct client *c)
{
    const struct sim_options *o = &c->sim->options;
    uint32_t key = (uint32_t)random_below(&c->random, c->sim->history.key_count);

    if (random_below(&c->random, o->bulk_bytes ? 2 : NOISE_SHARE) == 0)
        noise_choose(c);
    else if (o->repeats && random_below(&c->random, REPEAT_ODDS) == 0 && repeat_choose(c))
        return;
    else if (key >= c->sim->pair_key)
        pair_choose(c, random_below(&c->random, 2));
    else if (o->transactions && c->sim->history.keys[key].use == KEY_REGISTER &&
             random_below(&c->random, 2))
        exchange_choose(c, key);
    else
        key_choose(c, key);
}

void workload_choose(struct client *c)
{
    /* The pair is of plain clients: two texts that are written together. */
    uint32_t key = (uint32_t)random_below(&c->random, c->sim->pair_key);

    c->operation[0] = c->operation[1] = 0;
    if (c->kind == CLIENT_PLAIN) {
        plain_choose(c);
    } else if (c->kind == CLIENT_READER || random_below(&c->random, READ_SHARE) == 0) {
        read_choose(c, key);
        c->stale = c->kind == CLIENT_READER && c->sim->history.keys[key].use == KEY_TEXT &&
                   c->sim->options.style == STYLE_ACTIVE &&
                   random_below(&c->random, STALE_SHARE) == 0;
        history_operation(&c->sim->history, c->operation[0])->stale = c->stale;
    } else {
        key_choose(c, key);
    }
}

void workload_audit(struct client *c, uint32_t key)
{
    read_choose(c, key);
    c->ask = ASK_AUDIT;
}

/* ------------------------------------------------------------------ replies */

static void unexpected(struct client *c, struct bytes reply)
{
    sim_fail(c->sim, "client %u, operation %llu: unexpected reply: %.*s", c->index,
             (unsigned long long)c->operation[0], (int)(reply.size < 200 ? reply.size : 200),
             (const char *)reply.data);
}

/* What one operation was told; false when that is not of its kind. */
static bool operation_told(struct client *c, uint64_t number, const struct resp_value *value)
{
    struct history *h = &c->sim->history;
    const struct operation *o = history_operation(h, number);
    uint64_t now = c->sim->now_ns;

    switch (o->kind) {
    case LINEAR_READ:
    case LINEAR_SWAP:
        if (value->type != RESP_NULL && value->type != RESP_BULK)
            return false;
        history_told_text(h, number, value->type == RESP_NULL ? bytes_of(NULL, 0) : value->text,
                          now);
        return true;
    case LINEAR_WRITE: return value->type == RESP_STRING && history_done(h, number, now);
    default:
        if (value->type == RESP_INTEGER)
            history_told_number(h, number, value->integer, now);
        return value->type == RESP_INTEGER;
    }
}

/* On one connection, a server's own state only goes forwards, also where it may be old. (While it
 * is no member it forwards such reads, and the primary's state is newer.) */
static void stale_told(struct client *c, uint32_t server)
{
    const struct operation *o = history_operation(&c->sim->history, c->operation[0]);
    uint64_t *seen = &c->lines[server].seen[o->key];

    if ((uint64_t)o->result < *seen)
        sim_fail(c->sim, "operation %llu: key %s on s%u has length %lld, and had %llu before",
                 (unsigned long long)c->operation[0], key_name(c, o->key), server + 1,
                 (long long)o->result, (unsigned long long)*seen);
    *seen = (uint64_t)o->result;
}

static bool pair_told(struct client *c, struct bytes reply)
{
    struct resp_value array = { 0 };
    struct resp_value values[2] = { { 0 } };
    size_t at = resp_read_value(reply, &array);

    if (array.type != RESP_ARRAY || array.integer != 2)
        return false;
    for (uint32_t i = 0; i < 2; i++) {
        at += resp_read_value(bytes_of(reply.data + at, reply.size - at), &values[i]);
        if (!operation_told(c, c->operation[i], &values[i]))
            return false;
    }
    if (values[0].type == RESP_INTEGER ? values[0].integer != values[1].integer
                                       : values[0].text.size != values[1].text.size)
        sim_fail(c->sim, "operation %llu: of a transaction on two keys, only one can be seen",
                 (unsigned long long)c->operation[0]);
    return true;
}

static bool exchange_watched(struct client *c, struct bytes reply)
{
    struct resp_value value = { 0 };
    size_t at = resp_read_value(reply, &value);

    if (value.type != RESP_ARRAY || value.integer != 1)
        return false;
    resp_read_value(bytes_of(reply.data + at, reply.size - at), &value);
    c->exchange_version = (uint64_t)value.integer;
    return value.type == RESP_INTEGER;
}

/* EXEC: nothing, as somebody was faster; or the value read before made way. */
static bool exchange_told(struct client *c, struct bytes reply)
{
    struct operation *o = history_operation(&c->sim->history, c->operation[0]);
    struct resp_value value = { 0 };

    resp_read_value(reply, &value);
    if (value.type == RESP_NULL) {
        history_not_done(&c->sim->history, c->operation[0]);
        return true;
    }
    history_done(&c->sim->history, c->operation[0], c->sim->now_ns);
    o->absent = c->exchange_seen.absent;
    o->result = c->exchange_seen.result;
    return value.type == RESP_ARRAY && value.integer == 1;
}

static bool audit_told(struct client *c, const struct resp_value *value)
{
    struct history *h = &c->sim->history;
    uint32_t key = history_operation(h, c->operation[0])->key;

    if (!operation_told(c, c->operation[0], value))
        return false;
    if (h->keys[key].use == KEY_TEXT)
        history_final(h, key, value->type == RESP_NULL ? bytes_of(NULL, 0) : value->text);
    c->audit_key++;
    return true;
}

/* Whether the reply is one that such a request can have; the history then knows of it. */
static bool reply_told(struct client *c, struct bytes reply)
{
    struct resp_value value = { 0 };

    resp_read_value(reply, &value);
    switch (c->ask) {
    case ASK_READ:
    case ASK_EXCHANGE_READ:
    case ASK_WRITE: return operation_told(c, c->operation[0], &value);
    case ASK_PAIR_READ:
    case ASK_PAIR_WRITE: return pair_told(c, reply);
    case ASK_EXCHANGE_WATCH: return exchange_watched(c, reply);
    case ASK_EXCHANGE: return exchange_told(c, reply);
    case ASK_AUDIT: return audit_told(c, &value);
    case ASK_REPEAT: repeat_told(c, &value); return true;
    case ASK_PIPELINE:
    case ASK_NOISE: return true;
    }
    return false;
}

void workload_unknown(struct client *c)
{
    for (uint32_t i = 0; i < 2; i++)
        if (c->operation[i] && c->ask != ASK_REPEAT)
            history_unknown(&c->sim->history, c->operation[i]);
    if (c->ask == ASK_WRITE)
        past_keep(c);
}

bool workload_answered(struct client *c, uint32_t server, struct bytes reply)
{
    struct error error;
    size_t used;

    if (resp_measure_reply(reply, &used, &error) != RESP_READY || used != reply.size ||
        !reply_told(c, reply)) {
        unexpected(c, reply);
        return false;
    }
    switch (c->ask) {
    case ASK_READ:
        if (c->stale && c->at_once)
            stale_told(c, server);
        return false;
    case ASK_WRITE: past_keep(c); return false;
    case ASK_EXCHANGE_WATCH: exchange_read(c); return true;
    case ASK_EXCHANGE_READ: exchange_execute(c); return true;
    default: return false;
    }
}

void workload_failed(struct client *c)
{
    for (uint32_t i = 0; i < 2; i++)
        if (c->operation[i] && c->ask != ASK_REPEAT)
            history_not_done(&c->sim->history, c->operation[i]);
}

/* ------------------------------------------------------------------ keys */

static void keys_add(struct sim *sim, enum key_use use, char letter, uint32_t count)
{
    char name[HISTORY_NAME_SIZE];

    for (uint32_t i = 0; i < count; i++) {
        snprintf(name, sizeof name, "%c%u", letter, i);
        history_key_add(&sim->history, use, name);
    }
}

void workload_init(struct sim *sim)
{
    const struct sim_options *o = &sim->options;

    keys_add(sim, KEY_TEXT, 'k', o->keys);
    keys_add(sim, KEY_NUMBER, 'c', o->numbers);
    keys_add(sim, KEY_REGISTER, 'r', o->registers);
    sim->expiring_key = o->registers ? sim->history.key_count - 1 : UINT32_MAX;
    sim->pair_key = sim->history.key_count;
    keys_add(sim, KEY_TEXT, 'p', o->transactions ? 2 : 0);
    sim->history.wall_slack_ns = 2 * WALL_OFFSET_US_MAX * UINT64_C(1000) + EXPIRY_LATE_NS;
}

void workload_free(struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_PAST_MAX; i++)
        buffer_free(&sim->past[i].request);
}
