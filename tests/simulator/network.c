/* network - links between processes: each carries what is sent in order, late, and may fall silent
 * or break.
 *
 * A message is encoded when it is sent and decoded when it is taken in, as on a socket. */
#include <assert.h>
#include <stdlib.h>

#include "tests/simulator/parts.h"

#define LOCAL_DELAY_US_MIN 5u /* within a host */
#define LOCAL_DELAY_US_MAX 60u
#define PART_NS            (10 * MILLISECOND_NS) /* between two looks at what has come so far */

static void wire_arrive(void *subject, uint64_t side);
static void dial(void *subject, uint64_t argument);

static bool same_host(const struct process *a, const struct process *b)
{
    return a->host == b->host;
}

/* A message between hosts now and then is lost on the way, and sent again by TCP. */
static uint64_t delay_ns(struct connection *c, int side)
{
    struct sim *sim = c->sim;
    const struct sim_options *o = &sim->options;
    uint64_t us;

    if (same_host(c->end[0], c->end[1]))
        return sim_between(sim, LOCAL_DELAY_US_MIN, LOCAL_DELAY_US_MAX) * 1000u;
    us = sim_between(sim, o->delay_us_min, o->delay_us_max);
    us += sim->path[c->end[1 - side]->node][c->end[side]->node].delay_us;
    if (o->late_one_in > 0 && !sim->faults_over && sim_chance(sim, o->late_one_in) == 0)
        us += sim_chance(sim, o->late_ms_max * UINT64_C(1000));
    return us * 1000u;
}

/* How long a message keeps a direction of its link busy. */
static uint64_t busy_ns(struct connection *c, int side, size_t size)
{
    uint32_t rate = c->sim->path[c->end[1 - side]->node][c->end[side]->node].bytes_per_ms;

    if (same_host(c->end[0], c->end[1]))
        return 0;
    if (rate == 0)
        rate = c->sim->options.bytes_per_ms;
    return rate ? size * MILLISECOND_NS / rate : 0;
}

static bool is_cut(const struct sim *sim, const struct process *from, const struct process *to)
{
    return sim->cut[from->node][to->node] || sim->held[from->node][to->node];
}

static bool wire_blocked(const struct connection *c, int side)
{
    return is_cut(c->sim, c->end[1 - side], c->end[side]);
}

static bool end_alive(const struct connection *c, int side)
{
    return c->end[side]->state == PROCESS_RUNNING && c->end[side]->life == c->life[side];
}

static void wire_schedule(struct connection *c, int side)
{
    const struct parcel *first = c->wire[side].parcels.first;
    uint64_t now = c->sim->now_ns;
    uint64_t part = (first->from_ns > now ? first->from_ns : now) + PART_NS;
    uint64_t at = first->type == PARCEL_MESSAGE && part < first->at_ns ? part : first->at_ns;

    c->wire[side].event++;
    sim_after(c->sim, at > now ? at - now : 0, wire_arrive, c,
              c->wire[side].event << 1 | (uint64_t)side);
}

static void wire_put(struct connection *c, int side, struct parcel *parcel)
{
    struct wire *wire = &c->wire[side];
    uint64_t busy = busy_ns(c, side, parcel->size), at;

    if (wire->busy_until_ns < c->sim->now_ns)
        wire->busy_until_ns = c->sim->now_ns;
    wire->busy_until_ns += busy;
    at = wire->busy_until_ns + delay_ns(c, side);
    wire->last_ns = at > wire->last_ns ? at : wire->last_ns;
    parcel->at_ns = wire->last_ns;
    parcel->from_ns = wire->last_ns - busy;
    parcel->connection = c;
    parcels_put(&wire->parcels, parcel);
    if (wire->parcels.count == 1 && !wire->stalled)
        wire_schedule(c, side);
}

static void closed_give(struct connection *c, int side, bool certain)
{
    struct parcel *parcel = parcel_new(PARCEL_CLOSED, NULL, 0);

    parcel->connection = c;
    parcel->certain = certain;
    process_give(c->end[side], parcel);
}

static void die_of_silence(void *subject, uint64_t argument);

static void dying_begin(struct connection *c, int side)
{
    sim_after(c->sim, sim_between(c->sim, LINK_DIES_MS_MIN, LINK_DIES_MS_MAX) * MILLISECOND_NS,
              die_of_silence, c, (uint64_t)side);
}

/* One side gives a link up; what the other one sends from now on nobody hears, so that it gives it
 * up, too, in its own time: probes end what is not used (SOCKET_SILENCE_MS_MAX). */
static void side_dies(struct connection *c, int side)
{
    if (!c->half_open)
        dying_begin(c, 1 - side);
    c->half_open = true;
    for (int i = 0; i < 2; i++) {
        c->wire[i].cut = true;
        parcels_free(&c->wire[i].parcels);
    }
    if (!c->closed[side] && !c->dead[side] && end_alive(c, side))
        closed_give(c, side, false);
    c->dead[side] = true;
}

/* A link on which nothing gets through dies, on each side in its own time. */
static void die_of_silence(void *subject, uint64_t argument)
{
    struct connection *c = subject;

    c->dying = false;
    if (c->half_open || wire_blocked(c, 0) || wire_blocked(c, 1))
        side_dies(c, (int)argument);
}

static void wire_arrive(void *subject, uint64_t argument)
{
    struct connection *c = subject;
    int side = (int)(argument & 1u);
    struct wire *wire = &c->wire[side];
    struct parcel *parcel;

    if (!wire->parcels.first || wire->stalled || argument >> 1 != wire->event)
        return;
    if (wire_blocked(c, side)) {
        wire->stalled = true;
        if (!c->dying) {
            dying_begin(c, 0);
            dying_begin(c, 1);
        }
        c->dying = true;
        return;
    }
    if (wire->parcels.first->at_ns > c->sim->now_ns) {
        parcel = parcel_new(PARCEL_PART, NULL, 0);
        parcel->connection = c;
    } else {
        parcel = parcels_take(&wire->parcels);
    }
    if (wire->parcels.first)
        wire_schedule(c, side);
    if (end_alive(c, side) && !c->closed[side])
        process_give(c->end[side], parcel);
    else
        free(parcel);
}

/* What gets through again does so after a while, as TCP sends again ever more rarely. */
static void wire_healed(struct connection *c, int side)
{
    struct wire *wire = &c->wire[side];
    struct sim *sim = c->sim;

    if (!wire->stalled || wire_blocked(c, side))
        return;
    wire->stalled = false;
    if (!wire->parcels.first)
        return;
    wire->parcels.first->at_ns = sim->now_ns + sim_between(sim, 1, 200) * MILLISECOND_NS;
    wire->parcels.first->from_ns = wire->parcels.first->at_ns;
    if (wire->last_ns < wire->parcels.first->at_ns)
        wire->last_ns = wire->parcels.first->at_ns;
    wire_schedule(c, side);
}

/* What waits on a link that was slow goes on as fast as the link is now. */
static void wire_hastened(struct connection *c, int side)
{
    struct wire *wire = &c->wire[side];
    uint64_t until = c->sim->now_ns, delay = c->sim->options.delay_us_max * UINT64_C(1000);

    for (struct parcel *p = wire->parcels.first; p; p = p->next) {
        uint64_t busy = busy_ns(c, side, p->size);

        until += busy;
        if (p->at_ns > until + delay) {
            p->at_ns = until + delay;
            p->from_ns = p->at_ns - busy;
        }
        wire->last_ns = p->at_ns;
    }
    if (wire->busy_until_ns > until)
        wire->busy_until_ns = until;
    if (wire->parcels.first && !wire->stalled)
        wire_schedule(c, side);
}

void network_heard(struct sim *sim)
{
    for (struct connection *c = sim->connections; c; c = c->next)
        for (int side = 0; side < 2; side++)
            wire_healed(c, side);
}

void network_healed(struct sim *sim)
{
    struct path was[NODE_COUNT][NODE_COUNT];

    memcpy(was, sim->path, sizeof was);
    memset(sim->path, 0, sizeof sim->path);
    for (struct connection *c = sim->connections; c; c = c->next)
        for (int side = 0; side < 2; side++) {
            const struct path *path = &was[c->end[1 - side]->node][c->end[side]->node];

            if (path->delay_us || path->bytes_per_ms)
                wire_hastened(c, side);
            wire_healed(c, side);
        }
}

/* One side is gone: the other hears what was under way up to some point, then that it is closed. */
static void close_towards(struct connection *c, int side, bool certain)
{
    struct wire *wire = &c->wire[side];
    uint64_t keep = wire->parcels.count;
    struct parcel *parcel;

    if (wire->cut)
        return;
    if (keep > 0 && sim_chance(c->sim, 2) == 0)
        keep = sim_chance(c->sim, keep + 1);
    parcel = wire->parcels.first;
    for (uint64_t i = 1; i < keep && parcel; i++)
        parcel = parcel->next;
    if (keep == 0) {
        parcels_free(&wire->parcels);
    } else if (parcel && parcel->next) {
        struct parcels rest = { .first = parcel->next, .last = wire->parcels.last };

        parcel->next = NULL;
        wire->parcels.last = parcel;
        wire->parcels.count = (uint32_t)keep;
        parcels_free(&rest);
    }
    parcel = parcel_new(PARCEL_CLOSED, NULL, 0);
    parcel->certain = certain;
    wire_put(c, side, parcel);
    wire->cut = true;
}

static int side_of(const struct connection *c, const struct process *p)
{
    assert(c->end[0] == p || c->end[1] == p);
    return c->end[0] == p ? 0 : 1;
}

/* A process closes its side. */
static void close_side(struct connection *c, int side)
{
    if (c->closed[side])
        return;
    c->closed[side] = true;
    parcels_free(&c->wire[side].parcels);
    c->wire[side].cut = true;
    close_towards(c, 1 - side, true);
}

void network_process_ended(struct process *p)
{
    for (struct connection *c = p->sim->connections; c; c = c->next)
        for (int side = 0; side < 2; side++)
            if (c->end[side] == p && c->life[side] == p->life)
                close_side(c, side);
    for (uint32_t i = 0; i < NODE_COUNT; i++)
        p->links[i] = NULL;
    p->dialler_count = 0;
}

void network_break(struct sim *sim, node_id a, node_id b)
{
    struct process *p = sim_process(sim, a);
    struct connection *c = p ? p->links[b] : NULL;

    if (!c)
        return;
    close_towards(c, 0, false);
    close_towards(c, 1, false);
}

/* One side forgets the link, as when something between the two does: the other believes in it until
 * it has been silent for long enough. */
void network_half_open(struct sim *sim, node_id a, node_id b)
{
    struct process *p = sim_process(sim, a);
    struct connection *c = p ? p->links[b] : NULL;

    if (c && !c->half_open && !same_host(c->end[0], c->end[1]))
        side_dies(c, side_of(c, p));
}

static struct dialler *dialler_of(struct process *p, const struct connection *c)
{
    for (uint32_t i = 0; i < p->dialler_count; i++)
        if (p->diallers[i].connection == c)
            return &p->diallers[i];
    return NULL;
}

static uint64_t dial_argument(const struct process *p, node_id target)
{
    return p->life << 8 | target;
}

static void dial_later(struct process *p, struct dialler *d, uint64_t at_least_ms)
{
    uint64_t wait_us = d->backoff_ms * UINT64_C(500);

    wait_us += sim_chance(p->sim, wait_us + 1);
    d->connection = NULL;
    d->backoff_ms = d->backoff_ms * 2 < REDIAL_MS_MAX ? d->backoff_ms * 2 : REDIAL_MS_MAX;
    sim_after(p->sim, at_least_ms * MILLISECOND_NS + wait_us * 1000u, dial, p,
              dial_argument(p, d->target));
}

/* A connection that was made and never came up. */
static void hello_late(void *subject, uint64_t argument)
{
    struct connection *c = subject;
    struct process *p = c->end[0];
    struct dialler *d;

    (void)argument;
    if (c->told[0] || c->closed[0] || !end_alive(c, 0))
        return;
    d = dialler_of(p, c);
    close_side(c, 0);
    if (d)
        dial_later(p, d, 0);
}

static struct connection *connection_new(struct process *from, struct process *to)
{
    struct connection *c = memory_zeroed(1, sizeof *c);

    c->sim = from->sim;
    c->end[0] = from;
    c->end[1] = to;
    c->life[0] = from->life;
    c->life[1] = to->life;
    for (int side = 0; side < 2; side++) {
        c->incarnation[side] = c->end[side]->incarnation;
        c->pid[side] = c->end[side]->pid;
    }
    c->since_ns = c->sim->now_ns;
    c->resets = sim_chance(c->sim, 2);
    c->next = c->sim->connections;
    c->sim->connections = c;
    return c;
}

static void dial(void *subject, uint64_t argument)
{
    struct process *p = subject;
    struct process *target;
    struct dialler *d = NULL;

    if (p->life != argument >> 8 || p->state != PROCESS_RUNNING)
        return;
    for (uint32_t i = 0; i < p->dialler_count; i++)
        if (p->diallers[i].target == (node_id)(argument & 0xff))
            d = &p->diallers[i];
    assert(d && !d->connection);
    target = sim_process(p->sim, d->target);
    assert(target);
    if (is_cut(p->sim, p, target) || is_cut(p->sim, target, p)) {
        dial_later(p, d, HELLO_MS);
    } else if (target->state != PROCESS_RUNNING) {
        dial_later(p, d, 0);
    } else {
        d->connection = connection_new(p, target);
        wire_put(d->connection, 1, parcel_new(PARCEL_HELLO, NULL, 0));
        sim_after(p->sim, HELLO_MS * (uint64_t)MILLISECOND_NS, hello_late, d->connection, 0);
    }
}

static void dialler_add(struct process *p, node_id target)
{
    assert(p->dialler_count < sizeof p->diallers / sizeof p->diallers[0]);
    p->diallers[p->dialler_count++] =
        (struct dialler){ .target = target, .backoff_ms = REDIAL_MS_MIN };
    sim_after(p->sim, 0, dial, p, dial_argument(p, target));
}

/* Who dials whom, as the daemons do. */
void network_dial_all(struct process *p)
{
    if (node_is_lfd(p->node)) {
        dialler_add(p, NODE_GFD);
    } else if (p->node == NODE_GFD) {
        dialler_add(p, NODE_RM);
    } else if (node_is_server(p->node)) {
        dialler_add(p, NODE_RM);
        dialler_add(p, NODE_LFD(p->host));
        for (uint32_t i = 0; i < node_index(p->node); i++)
            dialler_add(p, NODE_SERVER(i));
    }
}

static void reset(void *subject, uint64_t side)
{
    struct connection *c = subject;

    if (!wire_blocked(c, 0) && !wire_blocked(c, 1))
        side_dies(c, (int)side);
}

/* A host that is reached says that it knows nothing of such a link, unless what forgot it was in
 * between. */
static void answer_reset(struct connection *c, int side)
{
    if (c->dead[side] || c->resetting || !c->resets)
        return;
    c->resetting = true;
    sim_after(c->sim, delay_ns(c, side) + delay_ns(c, 1 - side), reset, c, (uint64_t)side);
}

void network_send(struct process *p, node_id to, const struct message *message)
{
    struct connection *c = to < NODE_COUNT ? p->links[to] : NULL;
    struct buffer frame = { 0 };
    struct parcel *parcel;
    int side;

    if (!c)
        return;
    side = side_of(c, p);
    if (c->half_open)
        answer_reset(c, side);
    if (c->wire[1 - side].cut)
        return;
    message_encode(message, &frame);
    parcel = parcel_new(PARCEL_MESSAGE, buffer_head(&frame), buffer_size(&frame));
    buffer_free(&frame);
    wire_put(c, 1 - side, parcel);
    p->sim->messages++;
}

static void down_tell(struct process *p, struct connection *c, bool certain)
{
    int other = 1 - side_of(c, p);

    process_deliver(p, &(struct message){ .type = MESSAGE_LINK_DOWN,
                                          .from = c->end[other]->node,
                                          .link_down = { .incarnation = c->incarnation[other],
                                                         .certain = certain } });
}

/* A link stands. One that the same node had before is over. */
static void hello_take(struct process *p, struct connection *c)
{
    int side = side_of(c, p);
    int other = 1 - side;
    node_id node = c->end[other]->node;
    struct connection *old = p->links[node];
    uint64_t life = p->life;

    if (side == 1)
        wire_put(c, 0, parcel_new(PARCEL_HELLO, NULL, 0));
    if (old) {
        p->links[node] = NULL;
        close_side(old, side_of(old, p));
        down_tell(p, old, false);
        if (p->life != life)
            return;
    }
    p->links[node] = c;
    c->told[side] = true;
    c->since_ns = p->sim->now_ns;
    process_deliver(p, &(struct message){ .type = MESSAGE_LINK_UP,
                                          .from = node,
                                          .link_up = { .incarnation = c->incarnation[other],
                                                       .pid = c->pid[other] } });
}

static void closed_take(struct process *p, struct connection *c, bool certain)
{
    int side = side_of(c, p);
    struct dialler *d = dialler_of(p, c);

    close_side(c, side);
    if (d) {
        if (c->told[side] &&
            p->sim->now_ns - c->since_ns >= LINK_LASTED_MS * (uint64_t)MILLISECOND_NS)
            d->backoff_ms = REDIAL_MS_MIN;
        dial_later(p, d, 0);
    }
    if (p->links[c->end[1 - side]->node] == c)
        p->links[c->end[1 - side]->node] = NULL;
    if (c->told[side])
        down_tell(p, c, certain);
}

static void message_take(struct process *p, struct connection *c, const struct parcel *parcel)
{
    struct message message;
    struct error error;
    struct bytes payload = bytes_of(parcel->bytes + 4, parcel->size - 4);

    if (message_decode(payload, &message, &error) != ERROR_NONE) {
        sim_fail(p->sim, "%s sent %s what it cannot read: %s",
                 node_name(c->end[1 - side_of(c, p)]->node), node_name(p->node), error.text);
        return;
    }
    message.from = c->end[1 - side_of(c, p)]->node;
    process_deliver(p, &message);
}

static void part_take(struct process *p, struct connection *c)
{
    if (c->told[side_of(c, p)])
        process_deliver(p, &(struct message){ .type = MESSAGE_LINK_PART,
                                              .from = c->end[1 - side_of(c, p)]->node });
}

void network_take(struct process *p, const struct parcel *parcel)
{
    struct connection *c = parcel->connection;

    if (c->closed[side_of(c, p)])
        return;
    switch (parcel->type) {
    case PARCEL_HELLO: hello_take(p, c); break;
    case PARCEL_CLOSED: closed_take(p, c, parcel->certain); break;
    case PARCEL_PART: part_take(p, c); break;
    default: message_take(p, c, parcel); break;
    }
}

void network_free(struct sim *sim)
{
    struct connection *c;

    while ((c = sim->connections) != NULL) {
        sim->connections = c->next;
        parcels_free(&c->wire[0].parcels);
        parcels_free(&c->wire[1].parcels);
        free(c);
    }
}
