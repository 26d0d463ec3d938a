#include "rm/repair.h"

#include <assert.h>
#include <stdio.h>

const char *repair_state_name(enum repair_state state)
{
    switch (state) {
    case REPAIR_DOWN: return "down";
    case REPAIR_RUNNING: return "up";
    case REPAIR_WAITING: return "waiting";
    case REPAIR_STARTING: return "starting";
    case REPAIR_STOPPED: return "stopped";
    case REPAIR_FAILED: return "failed";
    }
    return "unknown";
}

void repair_init(struct repair *r, const struct repair_options *options, struct saved *saved,
                 const struct roster *roster, struct instant now)
{
    assert(options->server_count >= 1 && options->server_count <= SERVER_COUNT_MAX);
    assert(options->backoff_ms >= 1 && options->backoff_ms <= options->backoff_ms_max);
    assert(options->backoff_ms_max <= REPAIR_BACKOFF_MS_MAX);
    assert(options->budget >= 1 && options->budget <= REPAIR_BUDGET_MAX);
    memset(r, 0, sizeof *r);
    r->options = *options;
    r->saved = saved;
    r->roster = roster;
    r->random = random_seeded(options->seed);
    for (uint32_t i = 0; i < options->server_count; i++) {
        r->server[i].due = now;
        r->server[i].stop_due = now;
    }
}

static const struct roster_host *host_of(const struct repair *r, uint32_t i)
{
    return &r->roster->host[r->options.server_host[i]];
}

/* Orders reach it: through the gfd and the lfd of its host. */
static bool is_reachable(const struct repair *r, uint32_t i)
{
    return r->roster->gfd_linked && r->roster->gfd_listed && host_of(r, i)->up;
}

/* Not before its lfd had time to say that it runs already, unless nothing can. */
static struct instant orders_from(const struct repair *r, uint32_t i)
{
    bool first = r->options.fresh && r->server[i].incarnation == 0;
    uint32_t settle_ms = first ? 0 : REPAIR_SETTLE_MS;

    return instant_add_ms(instant_max(r->roster->gfd_since, host_of(r, i)->since), settle_ms);
}

struct instant repair_absent_from(const struct repair *r, node_id server)
{
    const struct roster_server *s = &r->roster->server[node_index(server)];

    /* One that is linked to us runs; its lfd will find it. */
    if (s->listed || s->linked || !is_reachable(r, node_index(server)))
        return INSTANT_NEVER;
    return orders_from(r, node_index(server));
}

static void send_order(uint32_t i, enum order_action action, struct effects *out)
{
    effects_send(
        out, NODE_GFD,
        (struct message){ .type = MESSAGE_ORDER,
                          .order = { .server = NODE_SERVER(i), .action = (uint8_t)action } });
}

/* ------------------------------------------------------------------ failures */

static uint32_t recent_restarts(struct repair *r, uint32_t i, struct instant now)
{
    struct repair_server *s = &r->server[i];
    uint64_t window_ms = (uint64_t)r->options.budget_window_s * 1000u;

    while (s->recent_count) {
        uint32_t oldest =
            (s->recent_next + REPAIR_BUDGET_MAX - s->recent_count) % REPAIR_BUDGET_MAX;

        if (instant_since_ms(now, s->recent[oldest]) < window_ms)
            break;
        s->recent_count--;
    }
    return s->recent_count;
}

static void count_restart(struct repair_server *s, struct instant now)
{
    s->recent[s->recent_next] = now;
    s->recent_next = (s->recent_next + 1) % REPAIR_BUDGET_MAX;
    if (s->recent_count < REPAIR_BUDGET_MAX)
        s->recent_count++;
}

/* Between half and whole of a time that doubles with each failure. */
static uint32_t backoff_ms(struct repair *r, uint32_t failures)
{
    uint64_t whole = r->options.backoff_ms;

    for (uint32_t i = 1; i < failures && whole < r->options.backoff_ms_max; i++)
        whole *= 2;
    if (whole > r->options.backoff_ms_max)
        whole = r->options.backoff_ms_max;
    return (uint32_t)(whole - whole / 2 + random_below(&r->random, whole / 2 + 1));
}

static void become_failed(struct repair *r, uint32_t i, struct effects *out)
{
    const char *name = node_name(NODE_SERVER(i));

    r->server[i].state = REPAIR_FAILED;
    effects_note_at(out, NOTE_ERROR,
                    "%s failed: %u restarts in %u s; find out why, then `holdfast start %s`", name,
                    r->options.budget, r->options.budget_window_s, name);
}

static void become_waiting(struct repair *r, uint32_t i, struct instant now, struct effects *out)
{
    struct repair_server *s = &r->server[i];
    uint32_t wait_ms;

    if (recent_restarts(r, i, now) >= r->options.budget) {
        become_failed(r, i, out);
        return;
    }
    wait_ms = backoff_ms(r, ++s->failures);
    s->state = REPAIR_WAITING;
    s->due = instant_add_ms(now, wait_ms);
    effects_note(out, "%s will be started in %u ms (failure %u)", node_name(NODE_SERVER(i)),
                 wait_ms, s->failures);
}

static void become_running(struct repair *r, uint32_t i, struct instant now)
{
    struct repair_server *s = &r->server[i];
    uint64_t listed = r->roster->server[i].listed;

    if (s->incarnation && s->incarnation != listed)
        s->restarts++;
    if (s->incarnation != listed)
        s->stop_due = now;
    s->state = REPAIR_RUNNING;
    s->incarnation = listed;
    s->up_since = now;
}

static void order_start(struct repair *r, uint32_t i, struct instant now, struct effects *out)
{
    struct repair_server *s = &r->server[i];

    if (s->state == REPAIR_WAITING)
        count_restart(s, now);
    s->state = REPAIR_STARTING;
    s->due = instant_add_ms(now, REPAIR_AGAIN_MS);
    effects_note(out, "%s: start ordered", node_name(NODE_SERVER(i)));
    send_order(i, ORDER_START, out);
}

/* ------------------------------------------------------------------ what must be done now */

/* A life that was ordered to stop has ended once it is dead for certain, or another is listed. */
static void forget_ended(struct repair *r, uint32_t i)
{
    struct repair_server *s = &r->server[i];
    uint64_t listed = r->roster->server[i].listed;

    if ((listed && listed != s->stop_ordered) ||
        roster_certainly_dead(r->roster, NODE_SERVER(i), s->stop_ordered))
        s->stop_ordered = 0;
}

/* A server that is not wanted, or wanted anew, is ordered to stop once the view is without it. */
static void stop_if_due(struct repair *r, uint32_t i, struct instant now, struct effects *out)
{
    struct repair_server *s = &r->server[i];
    bool wanted = s->state == REPAIR_STOPPED || s->expected;

    if (!wanted || !r->roster->server[i].listed || !in_set(r->may_stop, i) || !is_reachable(r, i) ||
        !instant_reached(now, s->stop_due))
        return;
    s->stop_due = instant_add_ms(now, REPAIR_AGAIN_MS);
    s->stop_ordered = r->roster->server[i].listed;
    effects_note(out, "%s: stop ordered", node_name(NODE_SERVER(i)));
    send_order(i, ORDER_STOP, out);
}

static void look_listed(struct repair *r, uint32_t i, struct instant now)
{
    struct repair_server *s = &r->server[i];

    if (s->state != REPAIR_RUNNING || s->incarnation != r->roster->server[i].listed) {
        if (s->incarnation != r->roster->server[i].listed)
            s->expected = s->stop_ordered != 0; /* else it is another life already */
        become_running(r, i, now);
    } else if (s->failures && instant_since_ms(now, s->up_since) >= r->options.backoff_ms_max) {
        s->failures = 0;
    }
}

static void look_unlisted(struct repair *r, uint32_t i, struct instant now, struct effects *out)
{
    struct repair_server *s = &r->server[i];

    if (s->state == REPAIR_STOPPED)
        s->state = REPAIR_DOWN;
    if (s->state == REPAIR_RUNNING && s->expected) {
        s->state = REPAIR_DOWN;
        s->due = now;
    } else if (s->state == REPAIR_RUNNING) {
        become_waiting(r, i, now, out);
    }
    /* Its end was ordered, and is expected until it is certain: it may be listed again. */
    if (roster_certainly_dead(r->roster, NODE_SERVER(i), s->incarnation))
        s->expected = s->stop_ordered != 0;
    if (s->state != REPAIR_FAILED && instant_reached(now, s->due) &&
        instant_reached(now, repair_absent_from(r, NODE_SERVER(i))))
        order_start(r, i, now, out);
}

static void look(struct repair *r, struct instant now, struct effects *out)
{
    for (uint32_t i = 0; i < r->options.server_count; i++) {
        forget_ended(r, i);
        if (in_set(r->saved->stopped, i))
            r->server[i].state = REPAIR_STOPPED;
        else if (r->roster->server[i].listed)
            look_listed(r, i, now);
        else
            look_unlisted(r, i, now, out);
        stop_if_due(r, i, now, out);
    }
    repair_check(r);
}

void repair_receive(struct repair *r, struct instant now, const struct message *message,
                    struct effects *out)
{
    const struct message_start_failed *m = &message->start_failed;

    if (message->from == NODE_GFD && message->type == MESSAGE_START_FAILED &&
        roster_is_server(r->roster, m->server)) {
        uint32_t i = node_index(m->server);

        effects_note_at(out, NOTE_WARN, "%s did not start: %s", node_name(m->server), m->cause);
        if (r->server[i].state == REPAIR_STARTING && !in_set(r->saved->stopped, i))
            become_waiting(r, i, now, out);
    }
    look(r, now, out);
}

void repair_tick(struct repair *r, struct instant now, struct effects *out)
{
    look(r, now, out);
}

static struct instant server_deadline(const struct repair *r, uint32_t i)
{
    const struct repair_server *s = &r->server[i];
    bool listed = r->roster->server[i].listed != 0;

    if (!is_reachable(r, i))
        return INSTANT_NEVER;
    if (listed && in_set(r->may_stop, i) && (s->state == REPAIR_STOPPED || s->expected))
        return s->stop_due;
    if (s->state == REPAIR_RUNNING && s->failures)
        return instant_add_ms(s->up_since, r->options.backoff_ms_max);
    if (s->state == REPAIR_STOPPED || s->state == REPAIR_FAILED || s->state == REPAIR_RUNNING)
        return INSTANT_NEVER;
    return instant_max(s->due, repair_absent_from(r, NODE_SERVER(i)));
}

struct instant repair_deadline(const struct repair *r)
{
    struct instant when = INSTANT_NEVER;

    for (uint32_t i = 0; i < r->options.server_count; i++)
        when = instant_min(when, server_deadline(r, i));
    return when;
}

/* ------------------------------------------------------------------ the operator */

void repair_start(struct repair *r, struct instant now, node_id server, struct effects *out)
{
    uint32_t i = node_index(server);
    struct repair_server *s = &r->server[i];

    s->failures = 0;
    s->recent_count = 0;
    s->expected = s->stop_ordered != 0;
    s->due = now;
    if (!s->expected)
        s->stop_due = now;
    if (s->state != REPAIR_RUNNING)
        s->state = REPAIR_DOWN;
    if (in_set(r->saved->stopped, i)) {
        r->saved->stopped &= ~(1u << i);
        saved_store(r->saved, out);
    }
}

void repair_stop(struct repair *r, node_id server, struct effects *out)
{
    uint32_t i = node_index(server);

    r->server[i].expected = false;
    if (in_set(r->saved->stopped, i))
        return;
    r->saved->stopped |= 1u << i;
    saved_store(r->saved, out);
}

void repair_restart(struct repair *r, node_id server)
{
    r->server[node_index(server)].expected = true;
}

void repair_restart_not(struct repair *r, node_id server)
{
    struct repair_server *s = &r->server[node_index(server)];

    s->expected = s->stop_ordered != 0;
}

void repair_check(const struct repair *r)
{
    for (uint32_t i = 0; i < r->options.server_count; i++) {
        const struct repair_server *s = &r->server[i];

        assert(s->recent_count <= REPAIR_BUDGET_MAX && s->recent_next < REPAIR_BUDGET_MAX);
        assert(!s->expected || !in_set(r->saved->stopped, i));
        assert(s->state != REPAIR_RUNNING || s->incarnation != 0);
    }
}
