#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "client/load_engine.h"
#include "client/session.h"
#include "common/resp.h"

#define PAUSE_MS     5u  /* after -TRYAGAIN */
#define DECIMAL_SIZE 20u /* digits of the largest 64-bit number */
#define WORDS_MAX    6u  /* ONCE, session, sequence, command, key, value */

static struct wire *link_wires(struct engine *e, const struct lane *lane)
{
    uint32_t link = (uint32_t)(lane - e->lanes) / e->options->pipeline;

    return &e->wires[(size_t)link * e->link_wires];
}

/* As redis-benchmark names them. */
static struct bytes key_name(uint32_t key, char text[VERIFY_KEY_SIZE])
{
    static const char zeros[] = "key:000000000000";
    size_t size = sizeof(zeros) - 1;

    memcpy(text, zeros, sizeof(zeros));
    for (size_t i = size; key > 0; key /= 10u)
        text[--i] = (char)('0' + key % 10u);
    return bytes_of(text, size);
}

static struct bytes decimal(uint64_t number, char text[DECIMAL_SIZE])
{
    size_t at = DECIMAL_SIZE;

    do
        text[--at] = (char)('0' + number % 10u);
    while (number /= 10u);
    return bytes_of(&text[at], DECIMAL_SIZE - at);
}

static void encode(struct engine *e, const struct lane *lane, struct buffer *out)
{
    const struct load_options *o = e->options;
    struct bytes words[WORDS_MAX];
    uint32_t count = 0;
    uint32_t index = (uint32_t)(lane - e->lanes);
    char session[DECIMAL_SIZE];
    char sequence[DECIMAL_SIZE];
    char key[VERIFY_KEY_SIZE];

    if (o->once && !lane->read) {
        words[count++] = bytes_string("ONCE");
        words[count++] = decimal(lane->session, session);
        words[count++] = decimal(lane->sequence, sequence);
    }
    words[count++] = bytes_string(lane->read ? "GET" : e->verify ? "APPEND" : "SET");
    words[count++] =
        e->verify ? verify_key(e->verify, index, lane->serial, key) : key_name(lane->key, key);
    if (!lane->read) {
        if (e->verify)
            verify_record(e->verify, lane->serial, e->value);
        words[count++] = bytes_of(e->value, o->value_size);
    }
    resp_write_command(out, count, words);
}

static void send_on_wire(struct engine *e, struct lane *lane, struct wire *w)
{
    size_t before = buffer_size(&w->out);

    wire_push(w, (uint32_t)(lane - e->lanes), lane->request, e->now);
    encode(e, lane, &w->out);
    w->position += buffer_size(&w->out) - before;
    lane->in_flight++;
    if (!w->dirty)
        e->dirty[e->dirty_count++] = w->index;
    w->dirty = true;
}

void lane_send(struct engine *e, struct lane *lane)
{
    struct wire *wires = link_wires(e, lane);

    assert(lane->state != LANE_FREE && lane->in_flight == 0);
    for (uint32_t i = 0; i < e->link_wires; i++)
        if (wire_takes(&wires[i]))
            send_on_wire(e, lane, &wires[i]);
    if (lane->in_flight == 0) {
        lane->state = LANE_WAITING;
        return;
    }
    e->result->retries += lane->tried;
    lane->state = LANE_SENT;
    lane->tried = true;
}

static void renew_session(struct engine *e, struct lane *lane)
{
    do
        lane->session = random_next(&e->random) >> 1;
    while (lane->session == 0);
    lane->sequence = lane->before = e->session_begin - 1u;
    lane->known = false;
}

static void begin_write(struct engine *e, struct lane *lane)
{
    if (e->verify)
        lane->serial = verify_begin(e->verify, (uint32_t)(lane - e->lanes));
    if (!e->options->once)
        return;
    /* The cluster refuses a second sequence of a session that it does not know. */
    if (!lane->known && (lane->sequence > lane->before || lane->session == 0))
        renew_session(e, lane);
    lane->sequence++;
}

void lane_begin(struct engine *e, struct instant intended)
{
    struct lane *lane = &e->lanes[e->free_lanes[e->free_first]];

    assert(e->free_count > 0 && lane->state == LANE_FREE);
    e->free_first = (e->free_first + 1u) % e->lane_count;
    e->free_count--;
    lane->request = ++e->issued;
    lane->intended = intended;
    lane->deadline = instant_add_ms(e->now, e->options->deadline_ms);
    lane->uncertain = false;
    lane->tried = false;
    lane->key = (uint32_t)random_below(&e->random, e->options->keys);
    lane->read = random_below(&e->random, 100) < e->options->reads_percent;
    lane->state = LANE_WAITING;
    if (!lane->read)
        begin_write(e, lane);
    lane_send(e, lane);
}

static void count_outcome(struct engine *e, struct lane *lane, enum lane_outcome outcome)
{
    struct load_result *r = e->result;
    uint64_t latency_ns = e->now.ns > lane->intended.ns ? e->now.ns - lane->intended.ns : 0;

    switch (outcome) {
    case LANE_OK:
        r->ok++;
        histogram_add(lane->read ? &r->reads : &r->writes, latency_ns);
        load_result_ack(r, e->now.ns - e->start.ns);
        break;
    case LANE_ERROR: r->errors++; break;
    case LANE_FAILED: r->failed++; break;
    case LANE_UNKNOWN: r->unknown++; break;
    }
}

void lane_finish(struct engine *e, struct lane *lane, enum lane_outcome outcome)
{
    static const enum verify_outcome verify_outcomes[] = {
        [LANE_OK] = VERIFY_ACKNOWLEDGED,
        [LANE_ERROR] = VERIFY_UNKNOWN, /* what an error means is the service's affair */
        [LANE_FAILED] = VERIFY_FAILED,
        [LANE_UNKNOWN] = VERIFY_UNKNOWN,
    };
    uint32_t index = (uint32_t)(lane - e->lanes);

    assert(lane->state != LANE_FREE);
    count_outcome(e, lane, outcome);
    if (e->verify && !lane->read)
        verify_end(e->verify, index, lane->serial, verify_outcomes[outcome]);
    if (!lane->read && outcome != LANE_FAILED)
        lane->known = outcome != LANE_UNKNOWN;
    if (!lane->read && outcome == LANE_FAILED && e->options->once)
        lane->sequence--; /* nobody has it: the next write may have it */
    lane->state = LANE_FREE;
    lane->in_flight = 0;
    e->free_lanes[(e->free_first + e->free_count) % e->lane_count] = index;
    e->free_count++;
}

void lane_resolve(struct engine *e, struct lane *lane)
{
    if (lane->uncertain && !lane->read && !e->options->once)
        lane_finish(e, lane, LANE_UNKNOWN);
    else
        lane_send(e, lane);
}

void lane_orphan(struct engine *e, const struct wire_entry *entry, bool sent)
{
    struct lane *lane = &e->lanes[entry->lane];

    if (lane->request != entry->request || lane->state != LANE_SENT)
        return;
    assert(lane->in_flight > 0);
    lane->uncertain |= sent;
    if (--lane->in_flight == 0)
        lane->state = LANE_WAITING;
}

static bool begins(struct bytes reply, const char *word)
{
    size_t size = strlen(word);

    return reply.size > size && memcmp(reply.data, word, size) == 0;
}

/* The cluster does not know the session. Where nothing of the request can have been executed, it
 * is safe in a new one. */
static void take_forgotten(struct engine *e, struct lane *lane, struct bytes reply)
{
    uint64_t begin;

    (void)session_reply_of(reply, &begin);
    if (begin > 0)
        e->session_begin = begin;
    if (lane->uncertain) {
        lane_finish(e, lane, LANE_UNKNOWN);
        return;
    }
    renew_session(e, lane);
    lane->sequence++;
    lane_send(e, lane);
}

static void take_error(struct engine *e, struct lane *lane, struct bytes reply)
{
    struct load_result *r = e->result;
    bool refused = begins(reply, "-TRYAGAIN") || begins(reply, "-LOADING");

    /* Another server may still have an answer. */
    if ((refused || begins(reply, "-SESSIONLOST")) && lane->in_flight > 0)
        return;
    if (begins(reply, "-SESSIONLOST") && e->options->once) {
        take_forgotten(e, lane, reply);
    } else if (refused) {
        lane->state = LANE_PAUSED;
        lane->resend_due = instant_add_ms(e->now, PAUSE_MS);
    } else {
        if (r->first_error[0] == '\0')
            (void)snprintf(r->first_error, sizeof(r->first_error), "%.*s", (int)(reply.size - 3),
                           (const char *)reply.data + 1);
        lane_finish(e, lane, LANE_ERROR);
    }
}

void lane_reply(struct engine *e, struct wire *w, struct bytes reply)
{
    struct wire_entry entry = wire_pop(w, e->now);
    struct lane *lane = &e->lanes[entry.lane];

    if (lane->request != entry.request || lane->state != LANE_SENT) {
        e->result->discarded++;
        return;
    }
    lane->in_flight--;
    if (reply.data[0] == RESP_ERROR)
        take_error(e, lane, reply);
    else
        lane_finish(e, lane, LANE_OK);
}

void lane_scan(struct engine *e, struct lane *lane)
{
    if (lane->state != LANE_WAITING && lane->state != LANE_PAUSED)
        return;
    if (instant_reached(e->now, lane->deadline))
        lane_finish(e, lane, lane->uncertain && !lane->read ? LANE_UNKNOWN : LANE_FAILED);
    else if (lane->state == LANE_PAUSED && instant_reached(e->now, lane->resend_due))
        lane_send(e, lane);
}
