/* Clients that send anything, cut anywhere, to a server that answers in any order, late, not at all
 * or never: what they hear are whole replies, and the sums over all connections are right.
 *
 * An input is steps: u8 what, u8 how, and for what is fed a piece. */
#include <stdlib.h>

#include "server/clients.h"
#include "server/services/kv.h"
#include "tests/fuzz/fuzz.h"

#define CONNECTIONS 3u
#define PAUSES_MAX  4096u /* in one input */
#define ASKED_MAX   16u   /* requests without an answer: then the server takes no more */

struct asked {
    uint64_t client, session, sequence;
    uint8_t kind;
    struct buffer request;
};

struct port {
    struct config config;
    struct clients *clients;
    struct connection *connections[CONNECTIONS];
    struct machine *machine;
    struct asked asked[ASKED_MAX];
    uint32_t count;
    bool at_once; /* answers before submit() returns */
};

enum step { STEP_FEED, STEP_FEED_MORE, STEP_ANSWER, STEP_FAIL, STEP_TIME, STEP_FINISH, STEP_COUNT };

/* ---- The server ---- */

static bool may_be_long(const struct asked *asked)
{
    struct bytes request = buffer_bytes(&asked->request);

    /* SETRANGE makes a long value of a few bytes; a transaction may have one in it. */
    for (size_t i = 0; i + 8 <= request.size; i++)
        if (resp_is(bytes_of(request.data + i, 8), "setrange"))
            return true;
    return false;
}

static void execute(struct port *p, const struct asked *asked, struct buffer *reply)
{
    struct machine_entry entry = { .index = machine_index(p->machine) + 1,
                                   .time_us = 1700000000000000u + p->clients->now.ns / 1000u,
                                   .session = asked->session,
                                   .sequence = asked->sequence,
                                   .kind = asked->kind,
                                   .request = buffer_bytes(&asked->request) };

    if (may_be_long(asked))
        resp_write_error(reply, "ERR not here");
    else if (asked->kind >= REQUEST_READ)
        machine_query(p->machine, asked->kind, entry.time_us, entry.request, reply);
    else
        machine_execute(p->machine, &entry, reply);
}

static void answer(struct port *p, struct asked asked, enum outcome outcome)
{
    struct buffer reply = { 0 };

    if (outcome == OUTCOME_DONE)
        execute(p, &asked, &reply);
    else if (outcome == OUTCOME_NOT_EXECUTED)
        buffer_append_string(&reply, "TRYAGAIN no primary");
    clients_reply(p->clients, asked.client, outcome, buffer_bytes(&reply));
    buffer_free(&reply);
    buffer_free(&asked.request);
}

static void answer_next(struct port *p, uint32_t which, enum outcome outcome)
{
    struct asked asked;

    if (p->count == 0)
        return;
    which %= p->count;
    asked = p->asked[which];
    p->asked[which] = p->asked[--p->count];
    answer(p, asked, outcome);
}

static bool accepts(void *context)
{
    return ((struct port *)context)->count < ASKED_MAX;
}

static bool submit(void *context, const struct server_request *request)
{
    struct port *p = context;
    struct asked asked = { .client = request->client,
                           .session = request->session,
                           .sequence = request->sequence,
                           .kind = request->kind };

    if (!accepts(p))
        return false;
    buffer_append(&asked.request, request->request.data, request->request.size);
    if (p->at_once)
        answer(p, asked, OUTCOME_DONE);
    else
        p->asked[p->count++] = asked;
    return true;
}

static void status(void *context, struct server_status *out)
{
    (void)context;
    *out = (struct server_status){ .self = NODE_SERVER(0),
                                   .primary = NODE_SERVER(0),
                                   .role = ROLE_PRIMARY,
                                   .acks = 3,
                                   .members = { .set = 7 },
                                   .serving = true };
}

static void info(void *context, struct buffer *out)
{
    machine_info(((struct port *)context)->machine, out);
}

static bool keep(void *context, uint64_t index)
{
    return index <= machine_index(((struct port *)context)->machine);
}

/* ---- The port ---- */

static void port_open(struct port *p)
{
    struct clients_options options = { .config = &p->config,
                                       .service = kv_service(),
                                       .self = NODE_SERVER(0),
                                       .connections_max = CONNECTIONS,
                                       .submit = submit,
                                       .accepts = accepts,
                                       .status = status,
                                       .info = info,
                                       .keep = keep,
                                       .checkpoints = scratch_folder(),
                                       .context = p };

    memcpy(p->config.cluster, "three", sizeof "three");
    p->config.clients.client_output_mb_max = 1;
    p->config.clients.pending_mb_max = 16;
    p->config.server_count = 3;
    p->machine = machine_new(kv_service());
    p->clients = clients_new(&options, (struct instant){ 1000 });
}

static void hang_up(struct port *p, struct connection *c)
{
    for (uint32_t i = 0; i < CONNECTIONS; i++)
        if (p->connections[i] == c)
            p->connections[i] = NULL;
    connection_free(c);
}

/* What the client port does at the end of a turn. */
static void turn_end(struct port *p)
{
    (void)clients_resume(p->clients);
    clients_limit(p->clients);
    while (p->clients->dirty) {
        struct connection *c = p->clients->dirty;

        p->clients->dirty = c->next_dirty;
        c->in_dirty = false;
        (void)replies_check(buffer_bytes(&c->out));
        buffer_consume(&c->out, buffer_size(&c->out));
        if (connection_done(c))
            hang_up(p, c);
        else
            connection_account(c);
    }
}

static void feed(struct port *p, uint8_t how, struct bytes input)
{
    struct connection **place = &p->connections[how % CONNECTIONS];

    if (!*place)
        *place = connection_new(p->clients, "10.0.0.1:99", "127.0.0.1:7001");
    assert(*place);
    if (connection_reads(*place))
        connection_feed(*place, input);
    connection_touch(*place);
}

static void step(struct port *p, uint8_t what, uint8_t how, struct bytes *input)
{
    struct connection *c = p->connections[how % CONNECTIONS];

    switch (what % STEP_COUNT) {
    case STEP_FEED:
    case STEP_FEED_MORE: feed(p, how, input_piece(input)); break;
    case STEP_ANSWER: answer_next(p, how, OUTCOME_DONE); break;
    case STEP_FAIL:
        answer_next(p, how / 2u, how % 2u ? OUTCOME_UNKNOWN : OUTCOME_NOT_EXECUTED);
        break;
    case STEP_TIME:
        p->clients->now = instant_add_ms(p->clients->now, how);
        p->clients->loading = how % 16u == 15u;
        break;
    default:
        if (c && how >= 128)
            hang_up(p, c);
        else if (c)
            connection_finish(c);
        break;
    }
    turn_end(p);
}

static bool any_blocked(const struct port *p)
{
    for (uint32_t i = 0; i < CONNECTIONS; i++)
        if (p->connections[i] && p->connections[i]->blocked != BLOCKED_NO)
            return true;
    return false;
}

/* All pauses pass, also those that were asked for behind others; all requests are answered. */
static void settle(struct port *p)
{
    uint32_t pauses = 0;

    do {
        p->clients->now = instant_add_ms(p->clients->now, 1000000000u);
        turn_end(p);
        while (p->count > 0) {
            answer_next(p, 0, OUTCOME_DONE);
            turn_end(p);
        }
    } while (any_blocked(p) && pauses++ < PAUSES_MAX);
}

static void port_close(struct port *p)
{
    p->clients->loading = false;
    settle(p);
    for (uint32_t i = 0; i < CONNECTIONS; i++) {
        struct connection *c = p->connections[i];

        /* All is answered, so nobody waits for anything but more input. */
        assert(!c || (c->answer_count == 0 && c->blocked == BLOCKED_NO));
        if (c)
            connection_free(c);
    }
    assert(p->clients->count == 0 && p->clients->input_bytes == 0 && p->clients->output_bytes == 0);
    clients_free(p->clients);
    machine_free(p->machine);
    free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = bytes_of(data, size);
    struct port *p = memory_zeroed(1, sizeof *p);

    port_open(p);
    p->at_once = input_u8(&input) & 1u;
    while (input.size > 0) {
        uint8_t what = input_u8(&input);

        step(p, what, input_u8(&input), &input);
    }
    port_close(p);
    return 0;
}
