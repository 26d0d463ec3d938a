#include "client/session.h"

#include <assert.h>
#include <string.h>

#define SEQUENCE_DIGITS 19u /* the most that fit in 64 bits whatever they are */

static struct session_effect *effect_add(struct session *s, struct session_effects *out,
                                         enum session_effect_type type, uint32_t server)
{
    struct session_effect *effect = &out->list[out->count];

    assert(out->count < SESSION_EFFECTS_MAX);
    out->count++;
    *effect = (struct session_effect){ .type = type, .server = server, .request = s->request };
    return effect;
}

/* The call has one attempt at most on a connection, and it is the newest there. */
static bool has_attempt(const struct session *s, uint32_t server)
{
    const struct session_server *c = &s->servers[server];
    uint32_t last = (c->first + c->count - 1u) % SESSION_PENDING_MAX;

    return s->call.active && c->count > 0 && c->pending[last] == s->request;
}

static uint32_t attempts(const struct session *s)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < s->options.server_count; i++)
        count += has_attempt(s, i);
    return count;
}

static bool can_take(const struct session *s, uint32_t server)
{
    const struct session_server *c = &s->servers[server];

    return c->link == SESSION_LINK_UP && c->count < SESSION_PENDING_MAX && !has_attempt(s, server);
}

static bool any_can_take(const struct session *s)
{
    for (uint32_t i = 0; i < s->options.server_count; i++)
        if (can_take(s, i))
            return true;
    return false;
}

/* When the call is to be sent once more; never again when it is known to be executed. */
static void resend_at(struct session *s, struct instant when)
{
    if (!s->call.lost)
        s->call.resend_due = when;
}

static void session_renew(struct session *s)
{
    do
        s->id = random_next(&s->random) >> 1;
    while (s->id == 0);
    s->sequence = s->before = s->begin - 1u;
    s->known = false;
}

/* A connection that ends leaves its unanswered requests undecided. Nothing is dialled twice in a
 * row without a pause unless the server has answered a call in between. */
static void become_down(struct session *s, struct instant now, uint32_t server)
{
    struct session_server *c = &s->servers[server];
    uint32_t wait_ms = c->backoff_ms / 2u;

    if (has_attempt(s, server)) {
        s->call.uncertain = true;
        resend_at(s, now);
    }
    if (c->backoff_ms > 0)
        wait_ms += (uint32_t)random_below(&s->random, c->backoff_ms / 2u + 1u);
    c->link = SESSION_LINK_DOWN;
    c->due = instant_add_ms(now, wait_ms);
    c->count = 0;
    c->backoff_ms = c->backoff_ms == 0 ? REDIAL_MS_MIN : c->backoff_ms * 2u;
    if (c->backoff_ms > REDIAL_MS_MAX)
        c->backoff_ms = REDIAL_MS_MAX;
}

static void cut(struct session *s, struct instant now, uint32_t server, struct session_effects *out)
{
    effect_add(s, out, SESSION_CLOSE, server);
    become_down(s, now, server);
}

static void become_up(struct session *s, struct instant now, uint32_t server)
{
    s->servers[server].link = SESSION_LINK_UP;
    s->servers[server].due = INSTANT_NEVER;
    /* A call that nobody has, and one that goes to all, take what is there at once; but not
     * within the pause that a server asked for. */
    if (s->call.active && s->call.pause_ms == 0 && (attempts(s) == 0 || s->options.send_to_all))
        resend_at(s, now);
}

static void send_to(struct session *s, struct instant now, uint32_t server,
                    struct session_effects *out)
{
    struct session_server *c = &s->servers[server];
    struct session_effect *effect = effect_add(s, out, SESSION_SEND, server);

    assert(can_take(s, server));
    if (s->call.once) {
        effect->id = s->id;
        effect->sequence = s->sequence;
    }
    if (c->count == 0)
        c->due = instant_add_ms(now, SESSION_SILENT_MS_MAX);
    c->pending[(c->first + c->count) % SESSION_PENDING_MAX] = s->request;
    c->count++;
    s->call.last_server = server;
}

/* Sends the call to the next server that can take it, or to all of them. */
static void send_on(struct session *s, struct instant now, struct session_effects *out)
{
    uint32_t start = s->call.last_server;
    bool sent = false;

    for (uint32_t i = 0; i < s->options.server_count; i++) {
        uint32_t server = (start + 1u + i) % s->options.server_count;

        if (!can_take(s, server) || (sent && !s->options.send_to_all))
            continue;
        send_to(s, now, server, out);
        sent = true;
    }
    if (!sent)
        return;
    s->call.resend_due = instant_add_ms(now, s->call.try_ms);
    s->call.try_ms *= 2u;
}

static void become_idle(struct session *s, enum session_outcome outcome, uint32_t server,
                        struct session_effects *out)
{
    assert(s->call.active);
    effect_add(s, out, SESSION_COMPLETE, server)->outcome = outcome;
    s->call.active = false;
    if (!s->call.once)
        return;
    if (outcome == SESSION_ANSWERED || outcome == SESSION_LOST)
        s->known = true;
    /* No server has the sequence or ever will: the next call may use it, so that a session whose
     * first call failed still begins as the cluster expects of a session it does not know. */
    if (outcome == SESSION_FAILED)
        s->sequence--;
}

static void give_up(struct session *s, struct session_effects *out)
{
    bool executable = s->call.uncertain || attempts(s) > 0;

    become_idle(s, executable && s->call.once ? SESSION_UNKNOWN : SESSION_FAILED, 0, out);
}

/* All attempts have been answered, and the cluster does not know the session. If none can have
 * been executed before it was dropped, the call is safe in a session of its own. */
static void forgotten(struct session *s, struct instant now, struct session_effects *out)
{
    if (s->call.uncertain || s->resumed) {
        become_idle(s, SESSION_FORGOTTEN, 0, out);
        return;
    }
    session_renew(s);
    s->sequence++;
    s->call.forgotten = false;
    s->call.resend_due = now;
}

/* Ends connections that are overdue. */
static void judge(struct session *s, struct instant now, struct session_effects *out)
{
    for (uint32_t i = 0; i < s->options.server_count; i++)
        if (s->servers[i].link != SESSION_LINK_DOWN && instant_reached(now, s->servers[i].due))
            cut(s, now, i, out);
}

static void dial(struct session *s, struct instant now, struct session_effects *out)
{
    for (uint32_t i = 0; i < s->options.server_count; i++) {
        struct session_server *c = &s->servers[i];

        if (c->link != SESSION_LINK_DOWN || !instant_reached(now, c->due))
            continue;
        c->link = SESSION_LINK_CONNECTING;
        c->due = instant_add_ms(now, s->options.connect_ms);
        effect_add(s, out, SESSION_CONNECT, i);
    }
}

static void advance_call(struct session *s, struct instant now, struct session_effects *out)
{
    if (s->call.active && s->call.lost &&
        (attempts(s) == 0 || instant_reached(now, s->call.resend_due)))
        become_idle(s, SESSION_LOST, 0, out);
    if (s->call.active && s->call.forgotten && attempts(s) == 0)
        forgotten(s, now, out);
    if (s->call.active && instant_reached(now, s->call.deadline))
        give_up(s, out);
    if (s->call.active && instant_reached(now, s->call.resend_due))
        send_on(s, now, out);
}

/* The call before the redialling: somebody waits for it. */
static void advance(struct session *s, struct instant now, struct session_effects *out)
{
    judge(s, now, out);
    advance_call(s, now, out);
    dial(s, now, out);
}

static void begin_call(struct session *s, struct instant now, const struct session_event *event)
{
    uint32_t count = s->options.server_count;

    assert(!s->call.active && event->deadline_ms > 0);
    /* A session of which no call has been answered may be unknown to the cluster, which would
     * refuse its second sequence. */
    if (event->once && !s->known && !s->resumed && s->sequence > s->before)
        session_renew(s);
    s->request++;
    if (event->once)
        s->sequence++;
    s->call = (struct session_call){
        .active = true,
        .once = event->once,
        .uncertain = event->once && s->repeats,
        .last_server = (s->preferred + count - 1u) % count, /* the next one is the preferred */
        .try_ms = s->options.try_ms,
        .deadline = instant_add_ms(now, event->deadline_ms),
        .resend_due = now,
    };
    if (event->once)
        s->repeats = false;
    /* Between calls nobody listens, so that silence was not the servers'. */
    for (uint32_t i = 0; i < count; i++)
        if (s->servers[i].link == SESSION_LINK_CONNECTING ||
            (s->servers[i].link == SESSION_LINK_UP && s->servers[i].count > 0))
            s->servers[i].due =
                instant_add_ms(s->servers[i].due, instant_since_ms(now, s->listened));
}

static void take_pause(struct session *s, struct instant now)
{
    uint32_t pause_ms = s->call.pause_ms * 2u;

    if (pause_ms < SESSION_PAUSE_MS_MIN)
        pause_ms = SESSION_PAUSE_MS_MIN;
    if (pause_ms > SESSION_PAUSE_MS_MAX)
        pause_ms = SESSION_PAUSE_MS_MAX;
    s->call.pause_ms = pause_ms;
    if (attempts(s) == 0)
        resend_at(s, instant_add_ms(now, pause_ms));
}

static void take_reply(struct session *s, struct instant now, const struct session_event *event,
                       struct session_effects *out)
{
    struct session_server *c = &s->servers[event->server];
    uint64_t request = c->pending[c->first];
    bool current = s->call.active && request == s->request;
    enum session_reply reply = event->reply;

    c->first = (c->first + 1u) % SESSION_PENDING_MAX;
    c->count--;
    c->due = c->count > 0 ? instant_add_ms(now, SESSION_SILENT_MS_MAX) : INSTANT_NEVER;
    c->backoff_ms = 0;
    if (!current) {
        if (event->reply == SESSION_REPLY_TAKE || event->reply == SESSION_REPLY_LOST)
            effect_add(s, out, SESSION_DISCARD, event->server)->request = request;
        return;
    }
    if (reply == SESSION_REPLY_LOST && !s->call.once)
        reply = SESSION_REPLY_TAKE; /* a read is in no session: the service's own words */
    switch (reply) {
    case SESSION_REPLY_TAKE:
        s->preferred = event->server;
        become_idle(s, SESSION_ANSWERED, event->server, out);
        break;
    case SESSION_REPLY_TRYAGAIN: take_pause(s, now); break;
    case SESSION_REPLY_LOST: s->call.lost = true; break;
    case SESSION_REPLY_FORGOTTEN:
        s->call.forgotten = true;
        /* The newest word rules: a cluster whose data was lost begins anew. */
        if (event->begin > 0)
            s->begin = event->begin;
        break;
    }
}

static bool begins(struct bytes reply, const char *word)
{
    size_t size = strlen(word);

    return reply.size > size && memcmp(reply.data, word, size) == 0 &&
           (reply.data[size] == ' ' || reply.data[size] == '\r');
}

/* The number at the end of a line, 0 when there is none. */
static uint64_t last_number(struct bytes line)
{
    uint64_t number = 0, digit_value = 1;

    while (line.size > 0 && (line.data[line.size - 1] == '\r' || line.data[line.size - 1] == '\n'))
        line.size--;
    for (uint32_t i = 0; i < SEQUENCE_DIGITS && line.size > 0; i++, line.size--) {
        uint8_t digit = line.data[line.size - 1];

        if (digit < '0' || digit > '9')
            break;
        number += digit_value * (uint64_t)(digit - '0');
        digit_value *= 10u;
    }
    return number;
}

enum session_reply session_reply_of(struct bytes reply, uint64_t *begin)
{
    *begin = 0;
    if (begins(reply, "-TRYAGAIN") || begins(reply, "-LOADING"))
        return SESSION_REPLY_TRYAGAIN;
    if (begins(reply, "-REPLYLOST"))
        return SESSION_REPLY_LOST;
    if (!begins(reply, "-SESSIONLOST"))
        return SESSION_REPLY_TAKE;
    *begin = last_number(reply);
    return SESSION_REPLY_FORGOTTEN;
}

void session_init(struct session *s, const struct session_options *options, struct instant now)
{
    assert(options->server_count >= 1 && options->server_count <= SERVER_COUNT_MAX);
    assert(options->connect_ms > 0 && options->try_ms > 0);
    memset(s, 0, sizeof(*s));
    s->options = *options;
    s->random = random_seeded(options->seed);
    s->begin = 1;
    s->listened = now;
    session_renew(s);
    if (options->id != 0) {
        s->id = options->id;
        s->resumed = s->repeats = true;
        s->sequence = options->sequence > 0 ? options->sequence - 1u : 0;
    }
    for (uint32_t i = 0; i < options->server_count; i++)
        s->servers[i].due = now;
    session_check(s);
}

void session_receive(struct session *s, struct instant now, const struct session_event *event,
                     struct session_effects *out)
{
    assert(event->type == SESSION_CALL || event->server < s->options.server_count);
    switch (event->type) {
    case SESSION_CALL: begin_call(s, now, event); break;
    case SESSION_UP:
        if (s->servers[event->server].link == SESSION_LINK_CONNECTING)
            become_up(s, now, event->server);
        break;
    case SESSION_DOWN:
        if (s->servers[event->server].link != SESSION_LINK_DOWN)
            become_down(s, now, event->server);
        break;
    case SESSION_REPLY:
        if (s->servers[event->server].count > 0)
            take_reply(s, now, event, out);
        else if (s->servers[event->server].link != SESSION_LINK_DOWN)
            cut(s, now, event->server, out);
        break;
    }
    session_tick(s, now, out);
}

void session_tick(struct session *s, struct instant now, struct session_effects *out)
{
    s->listened = now;
    advance(s, now, out);
    session_check(s);
}

struct instant session_deadline(const struct session *s)
{
    struct instant deadline = INSTANT_NEVER;

    for (uint32_t i = 0; i < s->options.server_count; i++)
        deadline = instant_min(deadline, s->servers[i].due);
    if (!s->call.active)
        return deadline;
    deadline = instant_min(deadline, s->call.deadline);
    /* With nobody to send it to, only an event can help. */
    return any_can_take(s) || s->call.lost ? instant_min(deadline, s->call.resend_due) : deadline;
}

void session_check(const struct session *s)
{
    assert(s->id != 0 && s->preferred < s->options.server_count);
    assert(!s->call.active || s->request > 0);
    assert(!s->call.active || !s->call.once || s->sequence > 0);
    for (uint32_t i = 0; i < s->options.server_count; i++) {
        const struct session_server *c = &s->servers[i];

        assert(c->count <= SESSION_PENDING_MAX && c->first < SESSION_PENDING_MAX);
        assert(c->link == SESSION_LINK_UP || c->count == 0);
        assert(c->backoff_ms <= REDIAL_MS_MAX);
        for (uint32_t k = 1; k < c->count; k++)
            assert(c->pending[(c->first + k - 1u) % SESSION_PENDING_MAX] <
                   c->pending[(c->first + k) % SESSION_PENDING_MAX]);
    }
}
