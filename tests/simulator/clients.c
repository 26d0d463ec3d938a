/* clients - they ask, through lines to servers that carry requests and replies in order, and tell
 * the history what came of it. Session clients are the client library's own core; plain ones are
 * any Redis client that gives up when its connection does; readers only read; pipelines send many
 * requests and then take what comes. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/resp.h"
#include "tests/simulator/parts.h"

#define CALL_DEADLINE_MS 60000u
#define BURST_MAX        120u /* requests of a pipeline on their way at once */
#define BURST_PAUSE      8u   /* thinks so much longer than others before the next ones */

static void session_timer(void *subject, uint64_t at);
static void session_begin(struct client *c, uint64_t id, uint64_t sequence);
static void next_call(void *subject, uint64_t calls);
static void audit_next(void *subject, uint64_t argument);
static void plain_call(struct client *c);
static void plain_send(struct client *c);

static struct client *client_of(struct sim *sim, uint32_t index)
{
    assert(index < sim->client_count);
    return &sim->clients[index];
}

static uint64_t line_delay_ns(struct client *c)
{
    const struct sim_options *o = &c->sim->options;

    return 1000u *
           (o->delay_us_min + random_below(&c->random, o->delay_us_max - o->delay_us_min + 1));
}

enum letter_type { LETTER_REQUEST, LETTER_REPLY, LETTER_UP, LETTER_CLOSED };

/* What travels on a line; of a connection that is over by then nothing arrives. */
struct letter {
    struct client *client;
    uint32_t server;
    uint64_t line;
    uint64_t ticket;
    enum letter_type type;
    enum outcome outcome;
    size_t size;
    uint8_t bytes[];
};

static void letter_arrive(void *subject, uint64_t argument);

static struct letter *letter_new(struct client *c, uint32_t server, enum letter_type type,
                                 size_t size)
{
    struct letter *letter = sim_take(c->sim, sizeof *letter + size);

    *letter = (struct letter){
        .client = c, .server = server, .line = c->lines[server].number, .type = type, .size = size
    };
    return letter;
}

static void letter_send(struct letter *letter)
{
    struct client *c = letter->client;
    struct line *line = &c->lines[letter->server];
    uint64_t *last = letter->type == LETTER_REQUEST ? &line->out_ns : &line->in_ns;
    uint64_t at = c->sim->now_ns + line_delay_ns(c);

    if (at < *last)
        at = *last;
    *last = at;
    sim_after(c->sim, at - c->sim->now_ns, letter_arrive, letter, 0);
}

/* Calls of the session core, and what follows from them. */

static void session_do(struct client *c, const struct session_effects *effects);

static void session_event_give(struct client *c, const struct session_event *event)
{
    struct session_effects effects = { 0 };

    session_receive(&c->session, (struct instant){ c->sim->now_ns }, event, &effects);
    session_do(c, &effects);
}

static void operation_over(struct client *c)
{
    uint64_t wait = 2 * (uint64_t)c->sim->options.think_ms * MILLISECOND_NS *
                    (c->kind == CLIENT_PIPELINE ? BURST_PAUSE : 1);

    c->busy = false;
    if (c->sim->history.fault[0])
        sim_fail(c->sim, "%s", c->sim->history.fault);
    if (c->kind == CLIENT_AUDITOR)
        sim_after(c->sim, 10 * MILLISECOND_NS, audit_next, c, 0);
    else
        sim_after(c->sim, 1 + random_below(&c->random, wait + 1), next_call, c, c->calls);
}

static void trace_operation(const struct client *c, const char *what, struct bytes text)
{
    if (c->sim->options.trace_messages)
        sim_trace(c->sim, NODE_CLIENT, "c%u operation %llu: %s %.*s", c->index,
                  (unsigned long long)c->operation[0], what,
                  (int)(text.size < 140 ? text.size : 140), (const char *)text.data);
}

/* The service's reply to what is under way. */
static void operation_answered(struct client *c, uint32_t server, struct bytes reply)
{
    trace_operation(c, "reply", reply);
    if (workload_answered(c, server, reply))
        plain_send(c);
    else
        operation_over(c);
}

static void operation_failed(struct client *c)
{
    trace_operation(c, "not executed", bytes_string(""));
    workload_failed(c);
    operation_over(c);
}

static void operation_unknown(struct client *c)
{
    trace_operation(c, "unknown", bytes_string(""));
    workload_unknown(c);
    operation_over(c);
}

/* A line: connecting, requests on it, its end. */

static void line_connect(struct client *c, uint32_t server)
{
    struct line *line = &c->lines[server];
    const struct process *p = sim_process(c->sim, NODE_SERVER(server));
    bool runs = p->state == PROCESS_RUNNING;

    line->number = ++c->sim->line;
    line->up = false;
    line->life = p->life;
    line->open = runs;
    line->waiting_count = line->owed_count = 0;
    line->out_ns = line->in_ns = c->sim->now_ns;
    line->lost_after_ns = UINT64_MAX;
    memset(line->seen, 0, sizeof line->seen);
    line->counted = 0;
    letter_send(letter_new(c, server, runs ? LETTER_UP : LETTER_CLOSED, 0));
}

static uint64_t ticket_new(struct client *c, uint32_t server)
{
    struct sim *sim = c->sim;

    if (sim->ticket_count == sim->ticket_capacity) {
        sim->ticket_capacity = sim->ticket_capacity ? 2 * sim->ticket_capacity : 256;
        sim->tickets = memory_grown(sim->tickets, sim->ticket_capacity * sizeof *sim->tickets);
    }
    sim->tickets[sim->ticket_count] =
        (struct ticket){ .client = c->index, .server = server, .line = c->lines[server].number };
    return ++sim->ticket_count;
}

/* What travels with a request, before its packed bytes. */
struct request_head {
    uint64_t session, sequence;
    uint8_t kind;
    bool stale;
};

static void line_request(struct client *c, uint32_t server)
{
    struct line *line = &c->lines[server];
    size_t size = buffer_size(&c->request);
    struct request_head head;
    struct letter *letter = letter_new(c, server, LETTER_REQUEST, sizeof head + size);

    assert(line->up && line->waiting_count < SESSION_PENDING_MAX);
    trace_operation(c, "to", bytes_string(node_name(NODE_SERVER(server))));
    memset(&head, 0, sizeof head);
    head.session = c->session_id;
    head.sequence = c->sequence;
    head.kind = c->request_kind;
    head.stale = c->stale;
    memcpy(letter->bytes, &head, sizeof head);
    memcpy(letter->bytes + sizeof head, buffer_head(&c->request), size);
    letter->ticket = ticket_new(c, server);
    line->waiting[line->waiting_count++] = letter->ticket;
    letter_send(letter);
}

/* The server's side of a line is over: it drops what it has for it. */
static void line_forget(struct client *c, uint32_t server)
{
    struct line *line = &c->lines[server];
    struct process *p = sim_process(c->sim, NODE_SERVER(server));

    for (uint32_t i = 0; i < line->owed_count; i++) {
        struct parcel *parcel = parcel_new(PARCEL_FORGET, NULL, 0);

        parcel->ticket = line->owed[i].ticket;
        buffer_free(&line->owed[i].reply);
        if (line->life == p->life && p->state == PROCESS_RUNNING)
            process_give(p, parcel);
        else
            free(parcel);
    }
    line->owed_count = 0;
    line->open = false;
}

/* The client hangs up. The server hears of it at once, which is as good as later. */
static void line_close(struct client *c, uint32_t server)
{
    struct line *line = &c->lines[server];

    line_forget(c, server);
    line->number = ++c->sim->line;
    line->up = false;
    line->waiting_count = 0;
}

/* The server's side ends, by itself or with the process: replies under way may be lost, the last of
 * them. */
static void line_cut(struct client *c, uint32_t server, bool lose)
{
    struct line *line = &c->lines[server];

    if (!line->open)
        return;
    line_forget(c, server);
    if (lose && line->in_ns > c->sim->now_ns && random_below(&c->random, 2) == 0)
        line->lost_after_ns =
            c->sim->now_ns + random_below(&c->random, line->in_ns - c->sim->now_ns);
    letter_send(letter_new(c, server, LETTER_CLOSED, 0));
}

void clients_server_ended(struct process *server)
{
    struct sim *sim = server->sim;

    for (uint32_t i = 0; i < sim->client_count; i++)
        if (sim->clients[i].lines[node_index(server->node)].life == server->life)
            line_cut(&sim->clients[i], node_index(server->node), true);
}

void clients_break(struct sim *sim, uint32_t client, uint32_t server)
{
    line_cut(client_of(sim, client), server, true);
}

/* Requests at the server. */

static struct ticket *ticket_at(struct sim *sim, uint64_t number)
{
    assert(number >= 1 && number <= sim->ticket_count);
    return &sim->tickets[number - 1];
}

bool clients_request(struct process *p, const struct parcel *parcel)
{
    struct ticket *ticket = ticket_at(p->sim, parcel->ticket);
    struct request_head head;
    struct server_request request;

    if (parcel->type == PARCEL_FORGET) {
        ticket->forgotten = true;
        if (ticket->taken && !ticket->replied)
            server_forget(p->server, parcel->ticket);
        return true;
    }
    if (ticket->forgotten)
        return true;
    memcpy(&head, parcel->bytes, sizeof head);
    request = (struct server_request){
        .client = parcel->ticket,
        .stream = (uint32_t)ticket->line,
        .kind = head.kind,
        .stale = head.stale,
        .session = head.session,
        .sequence = head.sequence,
        .request = bytes_of(parcel->bytes + sizeof head, parcel->size - sizeof head),
    };
    ticket->taken = true;
    if (server_submit(p->server, process_clock(p), process_wall_us(p), &request, p->sim->effects)) {
        ticket->at_once = ticket->replied;
        return true;
    }
    ticket->taken = false;
    if (ticket->replied)
        sim_fail(p->sim, "%s answered a request that it did not take", node_name(p->node));
    return false;
}

/* Sends the replies whose turn has come, in the order of the requests. */
static void line_answer(struct client *c, uint32_t server)
{
    struct line *line = &c->lines[server];

    while (line->owed_count > 0 && line->owed[0].answered) {
        struct owed first = line->owed[0];
        struct letter *letter;

        line->owed_count--;
        memmove(line->owed, line->owed + 1, line->owed_count * sizeof line->owed[0]);
        if (first.outcome == OUTCOME_UNKNOWN) {
            buffer_free(&first.reply);
            line_cut(c, server, false);
            return;
        }
        letter = letter_new(c, server, LETTER_REPLY, buffer_size(&first.reply));
        letter->ticket = first.ticket;
        letter->outcome = first.outcome;
        if (letter->size > 0)
            memcpy(letter->bytes, buffer_head(&first.reply), letter->size);
        buffer_free(&first.reply);
        letter_send(letter);
    }
}

void sim_clients_reply(void *server, uint64_t number, enum outcome outcome, struct bytes reply)
{
    struct process *p = server;
    struct ticket *ticket = ticket_at(p->sim, number);
    struct client *c = client_of(p->sim, ticket->client);
    struct line *line = &c->lines[ticket->server];

    if (!ticket->taken || ticket->replied) {
        sim_fail(p->sim, "%s answered request %llu %s", node_name(p->node),
                 (unsigned long long)number, ticket->taken ? "twice" : "that it never took");
        return;
    }
    ticket->replied = true;
    for (uint32_t i = 0; i < line->owed_count; i++)
        if (line->owed[i].ticket == number) {
            line->owed[i].answered = true;
            line->owed[i].outcome = outcome;
            if (outcome == OUTCOME_NOT_EXECUTED)
                resp_write_error(&line->owed[i].reply, "%.*s", (int)reply.size,
                                 (const char *)reply.data);
            else
                buffer_append(&line->owed[i].reply, reply.data, reply.size);
        }
    line_answer(c, ticket->server);
}

/* Back at the client. */

static void plain_send(struct client *c)
{
    uint64_t burst = c->kind == CLIENT_PIPELINE ? random_below(&c->random, BURST_MAX) : 0;

    for (uint64_t i = 0; i < burst; i++) {
        workload_pipeline(c);
        line_request(c, c->server);
    }
    if (c->kind == CLIENT_PIPELINE)
        workload_pipeline(c);
    line_request(c, c->server);
}

static void line_is_up(struct client *c, uint32_t server)
{
    c->lines[server].up = true;
    if (c->kind == CLIENT_SESSION)
        session_event_give(c, &(struct session_event){ .type = SESSION_UP, .server = server });
    else if (c->busy && c->server == server)
        plain_send(c);
}

static void line_is_down(struct client *c, uint32_t server)
{
    struct line *line = &c->lines[server];
    bool sent = line->waiting_count > 0;

    line->number = ++c->sim->line;
    line->up = false;
    line->waiting_count = 0;
    if (c->kind == CLIENT_SESSION)
        session_event_give(c, &(struct session_event){ .type = SESSION_DOWN, .server = server });
    else if (c->busy && c->server == server && sent)
        operation_unknown(c);
    else if (c->busy && c->server == server)
        operation_failed(c);
}

static void session_reply(struct client *c, uint32_t server, struct bytes reply)
{
    struct session_event event = { .type = SESSION_REPLY, .server = server };
    struct session_effects effects = { 0 };

    event.reply = session_reply_of(reply, &event.begin);
    if (event.reply == SESSION_REPLY_FORGOTTEN)
        trace_operation(c, "lost", reply);
    session_receive(&c->session, (struct instant){ c->sim->now_ns }, &event, &effects);
    for (uint32_t i = 0; i < effects.count; i++)
        if (effects.list[i].type == SESSION_COMPLETE &&
            effects.list[i].outcome == SESSION_ANSWERED) {
            effects.list[i].type = SESSION_DISCARD; /* dealt with here, with the reply at hand */
            operation_answered(c, server, reply);
        }
    session_do(c, &effects);
}

/* Of one request of many; when all are answered there will be others. */
static void pipeline_reply(struct client *c, const struct letter *letter, struct bytes reply)
{
    if (letter->outcome != OUTCOME_NOT_EXECUTED)
        workload_pipelined(c, letter->server, reply);
    if (c->lines[letter->server].waiting_count == 0)
        operation_over(c);
}

static void reply_take(struct client *c, const struct letter *letter)
{
    struct line *line = &c->lines[letter->server];
    struct bytes reply = bytes_of(letter->bytes, letter->size);

    if (line->waiting_count == 0 || line->waiting[0] != letter->ticket) {
        sim_fail(c->sim, "client %u: a reply of s%u came out of order", c->index,
                 letter->server + 1);
        return;
    }
    line->waiting_count--;
    memmove(line->waiting, line->waiting + 1, line->waiting_count * sizeof line->waiting[0]);
    c->at_once = ticket_at(c->sim, letter->ticket)->at_once;
    if (c->kind == CLIENT_PIPELINE)
        pipeline_reply(c, letter, reply);
    else if (c->kind == CLIENT_SESSION)
        session_reply(c, letter->server, reply);
    else if (letter->outcome == OUTCOME_NOT_EXECUTED)
        operation_failed(c);
    else
        operation_answered(c, letter->server, reply);
}

/* A request reaches the server, if its side of the line still stands. */
static void request_arrive(struct client *c, const struct letter *letter)
{
    struct line *line = &c->lines[letter->server];
    struct parcel *parcel;

    if (!line->open)
        return;
    parcel = parcel_new(PARCEL_REQUEST, letter->bytes, letter->size);
    parcel->ticket = letter->ticket;
    line->owed[line->owed_count++] = (struct owed){ .ticket = letter->ticket };
    process_give(sim_process(c->sim, NODE_SERVER(letter->server)), parcel);
}

static void letter_arrive(void *subject, uint64_t argument)
{
    struct letter *letter = subject;
    struct client *c = letter->client;
    const struct line *line = &c->lines[letter->server];

    (void)argument;
    if (line->number == letter->line)
        switch (letter->type) {
        case LETTER_REQUEST: request_arrive(c, letter); break;
        case LETTER_UP: line_is_up(c, letter->server); break;
        case LETTER_CLOSED: line_is_down(c, letter->server); break;
        case LETTER_REPLY:
            if (c->sim->now_ns <= line->lost_after_ns)
                reply_take(c, letter);
            break;
        }
    sim_give_back(c->sim, letter);
}

/* What the session core wants done. */
static void session_do(struct client *c, const struct session_effects *effects)
{
    uint64_t deadline;
    bool renews = false; /* a session that was gone on with is lost: there is no other way */

    for (uint32_t i = 0; i < effects->count; i++) {
        const struct session_effect *effect = &effects->list[i];

        switch (effect->type) {
        case SESSION_CONNECT: line_connect(c, effect->server); break;
        case SESSION_CLOSE: line_close(c, effect->server); break;
        case SESSION_SEND:
            c->session_id = effect->sequence ? effect->id : 0;
            c->sequence = effect->sequence;
            line_request(c, effect->server);
            break;
        case SESSION_COMPLETE:
            if (effect->outcome == SESSION_FAILED)
                operation_failed(c);
            else
                operation_unknown(c);
            if (effect->outcome == SESSION_FORGOTTEN && c->session.resumed)
                renews = true;
            break;
        case SESSION_DISCARD: break;
        }
    }
    if (renews) {
        for (uint32_t i = 0; i < c->sim->options.servers; i++)
            line_close(c, i);
        session_begin(c, 0, 0);
        return;
    }
    deadline = session_deadline(&c->session).ns;
    if (deadline == UINT64_MAX || deadline == c->timer_ns)
        return;
    c->timer_ns = deadline;
    sim_after(c->sim, deadline > c->sim->now_ns ? deadline - c->sim->now_ns : 0, session_timer, c,
              deadline);
}

static void session_timer(void *subject, uint64_t at)
{
    struct client *c = subject;
    struct session_effects effects = { 0 };

    if (c->timer_ns != at)
        return;
    c->timer_ns = 0;
    session_tick(&c->session, (struct instant){ c->sim->now_ns }, &effects);
    session_do(c, &effects);
}

/* Calls begin. */

/* The auditor reads every key once, when all is over; a key again when it got no answer. */
static void audit_next(void *subject, uint64_t argument)
{
    struct client *c = subject;

    (void)argument;
    if (c->audit_key == c->sim->history.key_count)
        return;
    workload_audit(c, c->audit_key);
    c->busy = true;
    plain_call(c);
}

void clients_audit(struct sim *sim)
{
    struct client *auditor = client_of(sim, sim->client_count - 1);

    auditor->audit_key = 0;
    audit_next(auditor, 0);
}

bool clients_audited(struct sim *sim)
{
    return client_of(sim, sim->client_count - 1)->audit_key == sim->history.key_count;
}

static void plain_call(struct client *c)
{
    c->server = (uint32_t)random_below(&c->random, c->sim->options.servers);
    if (c->lines[c->server].up)
        plain_send(c);
    else
        line_connect(c, c->server);
}

static void session_call(struct client *c)
{
    bool hasty = random_below(&c->random, 8) == 0 && !c->sim->faults_over;

    session_event_give(c, &(struct session_event){
                              .type = SESSION_CALL,
                              .once = c->ask == ASK_WRITE,
                              .deadline_ms = hasty ? 20 + (uint32_t)random_below(&c->random, 500)
                                                   : CALL_DEADLINE_MS });
}

static void next_call(void *subject, uint64_t calls)
{
    struct client *c = subject;
    struct sim *sim = c->sim;

    if (c->calls != calls || c->busy || sim->clients_stopped)
        return;
    c->busy = true;
    c->calls++;
    if (c->kind != CLIENT_PIPELINE)
        workload_choose(c);
    if (c->kind == CLIENT_SESSION)
        session_call(c);
    else
        plain_call(c);
}

/* A new life of the client library; id 0: in a new session. */
static void session_begin(struct client *c, uint64_t id, uint64_t sequence)
{
    struct session_options options = { .server_count = c->sim->options.servers,
                                       .connect_ms = 1000,
                                       .try_ms = 100,
                                       .send_to_all = c->sends_to_all,
                                       .id = id,
                                       .sequence = sequence,
                                       .seed = random_next(&c->random) };

    session_init(&c->session, &options, (struct instant){ c->sim->now_ns });
    c->timer_ns = 0;
    session_do(c, &(struct session_effects){ 0 });
}

/* The process of a client dies. A session's next life goes on with it and sends again what was
 * under way, as the next caller of the library can if it kept both; or it begins another. */
void clients_crash(struct sim *sim, uint32_t index)
{
    struct client *c = client_of(sim, index);
    bool resumes = c->kind == CLIENT_SESSION && random_below(&c->random, 2);
    uint64_t sequence = c->session.sequence;
    bool again = resumes && c->busy && c->session.call.once;

    if (c->kind == CLIENT_AUDITOR)
        return;
    sim_trace(sim, NODE_CLIENT, "c%u dies%s", index, resumes ? ", and will go on" : "");
    for (uint32_t i = 0; i < sim->options.servers; i++)
        line_close(c, i);
    if (c->busy && !again)
        operation_unknown(c);
    if (c->kind != CLIENT_SESSION)
        return;
    session_begin(c, resumes ? c->session.id : 0, again ? sequence : sequence + 1);
    if (again)
        session_call(c);
}

static void client_init(struct sim *sim, enum client_kind kind)
{
    struct client *c = &sim->clients[sim->client_count];

    assert(sim->client_count < SIM_CLIENT_COUNT_MAX);
    *c = (struct client){ .sim = sim,
                          .index = sim->client_count++,
                          .kind = kind,
                          .random = random_seeded(random_next(&sim->random)) };
    if (kind == CLIENT_SESSION) {
        c->sends_to_all = sim_chance(sim, 4) == 0;
        session_begin(c, 0, 0);
    }
    if (kind != CLIENT_AUDITOR)
        sim_after(sim, 1 + sim_chance(sim, 50 * (uint64_t)MILLISECOND_NS), next_call, c, 0);
}

void clients_init(struct sim *sim)
{
    workload_init(sim);
    for (uint32_t i = 0; i < sim->options.session_clients; i++)
        client_init(sim, CLIENT_SESSION);
    for (uint32_t i = 0; i < sim->options.plain_clients; i++)
        client_init(sim, CLIENT_PLAIN);
    for (uint32_t i = 0; i < sim->options.readers; i++)
        client_init(sim, CLIENT_READER);
    for (uint32_t i = 0; i < sim->options.pipelines; i++)
        client_init(sim, CLIENT_PIPELINE);
    client_init(sim, CLIENT_AUDITOR);
}

void sim_clients_free(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->client_count; i++) {
        struct client *c = &sim->clients[i];

        buffer_free(&c->request);
        for (uint32_t s = 0; s < sim->options.servers; s++)
            for (uint32_t k = 0; k < c->lines[s].owed_count; k++)
                buffer_free(&c->lines[s].owed[k].reply);
    }
    free(sim->tickets);
    workload_free(sim);
}
