/* processes - each runs in turns: what has come in, then its tick, as the runtime does it. A turn
 * takes time, in which more comes in; a paused process finds it all at once. */
#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>

#include "server/server_state.h"
#include "tests/simulator/parts.h"

#define TURN_US_MIN   2u /* what a turn takes */
#define TURN_US_MAX   40u
#define DIES_AGAIN_MS 400u /* after a start, at most */

struct parcel *parcel_new(enum parcel_type type, const void *bytes, size_t size)
{
    struct parcel *parcel = memory_take(sizeof *parcel + size);

    *parcel = (struct parcel){ .type = type, .size = size };
    if (size > 0)
        memcpy(parcel->bytes, bytes, size);
    return parcel;
}

void parcels_put(struct parcels *parcels, struct parcel *parcel)
{
    parcel->next = NULL;
    *(parcels->last ? &parcels->last->next : &parcels->first) = parcel;
    parcels->last = parcel;
    parcels->count++;
}

struct parcel *parcels_take(struct parcels *parcels)
{
    struct parcel *parcel = parcels->first;

    assert(parcel);
    parcels->first = parcel->next;
    if (!parcels->first)
        parcels->last = NULL;
    parcels->count--;
    return parcel;
}

void parcels_free(struct parcels *parcels)
{
    while (parcels->first)
        free(parcels_take(parcels));
}

/* Its clock runs a little faster or slower than time does, and began somewhere. */
struct instant process_clock(const struct process *p)
{
    uint64_t t = p->sim->now_ns;

    return (struct instant){ (uint64_t)(1000 + p->host) * 1000000000u + t +
                             (uint64_t)((int64_t)(t / 1000) * p->clock_ppm / 1000) };
}

/* When its clock will have reached an instant. */
static uint64_t clock_reaches(const struct process *p, struct instant at)
{
    uint64_t now = process_clock(p).ns;
    uint64_t wait;

    if (at.ns == UINT64_MAX)
        return UINT64_MAX;
    if (at.ns <= now)
        return p->sim->now_ns;
    wait = at.ns - now;
    return p->sim->now_ns + wait - (uint64_t)((int64_t)(wait / 1000) * p->clock_ppm / 1000) + 2000;
}

uint64_t process_wall_us(const struct process *p)
{
    return 1700000000000000u + p->sim->now_ns / 1000 + (uint64_t)p->wall_offset_us;
}

void process_init(struct sim *sim, node_id node, uint32_t host)
{
    struct process *p = &sim->processes[node];

    p->sim = sim;
    p->node = node;
    p->host = host;
    p->life = 1;
    p->clock_ppm = (int32_t)sim_chance(sim, 2 * (uint64_t)sim->options.clock_ppm_max + 1) -
                   (int32_t)sim->options.clock_ppm_max;
    p->wall_offset_us =
        (int64_t)sim_chance(sim, 2 * WALL_OFFSET_US_MAX) - (int64_t)WALL_OFFSET_US_MAX;
}

void process_free(struct process *p)
{
    if (p->state == PROCESS_RUNNING)
        edge_close(p);
    parcels_free(&p->inbox);
    parcels_free(&p->stuck);
    buffer_free(&p->stored);
    buffer_free(&p->store_before);
    disk_free(p);
}

/* Sets its next turn, unless an earlier one is set. */
static void turn_set(struct process *p, uint64_t at_ns)
{
    if (at_ns == UINT64_MAX || p->state != PROCESS_RUNNING)
        return;
    if (at_ns < p->busy_until_ns)
        at_ns = p->busy_until_ns;
    if (at_ns < p->paused_until_ns)
        at_ns = p->paused_until_ns;
    if (at_ns < p->sim->now_ns)
        at_ns = p->sim->now_ns;
    if (p->sim->turn_ns[p->node] <= at_ns)
        return;
    p->sim->turn_ns[p->node] = at_ns;
    if (p->sim->turn_known && at_ns < p->sim->turn_ns[p->sim->turn_node])
        p->sim->turn_node = p->node;
    p->turn_number++;
}

void process_wake(struct process *p)
{
    turn_set(p, p->sim->now_ns);
}

static void dies_again(void *subject, uint64_t life)
{
    struct process *p = subject;

    if (p->life == life && !p->sim->faults_over)
        process_end(p, 9, 0);
}

void process_start(struct process *p)
{
    assert(p->state != PROCESS_RUNNING);
    p->state = PROCESS_RUNNING;
    p->life++;
    p->busy_until_ns = p->paused_until_ns = p->slow_until_ns = 0;
    p->sim->turn_ns[p->node] = UINT64_MAX;
    p->sim->turn_known = false;
    p->doom = 0;
    p->harmed = p->stopping = false;
    p->idle_turns = 0;
    p->incarnation = ++p->sim->incarnation;
    if (!node_is_server(p->node))
        p->pid = ++p->sim->pid;
    sim_trace(p->sim, p->node, "starts: incarnation %llu, pid %u",
              (unsigned long long)p->incarnation, p->pid);
    edge_open(p);
    if (p->state != PROCESS_RUNNING)
        return;
    network_dial_all(p);
    process_wake(p);
    if (p->dies_again)
        sim_after(p->sim, sim_chance(p->sim, DIES_AGAIN_MS * MILLISECOND_NS), dies_again, p,
                  p->life);
    p->dies_again = false;
}

void process_end(struct process *p, uint8_t signal, uint8_t status)
{
    bool was_running = p->state == PROCESS_RUNNING;

    if (p->state == PROCESS_DOWN)
        return;
    if (signal)
        sim_trace(p->sim, p->node, "ends: signal %u", signal);
    else
        sim_trace(p->sim, p->node, "ends: status %u", status);
    if (was_running) {
        if (p->harmed && node_is_server(p->node) && !sim_can_spare(p->sim, p->node))
            p->sim->excused = true;
        edge_close(p);
        disk_process_ended(p, signal == 0 && status == 0);
        network_process_ended(p);
        if (node_is_server(p->node))
            clients_server_ended(p);
    }
    p->state = PROCESS_DOWN;
    p->ended_ns = p->sim->now_ns;
    p->life++;
    p->paused_until_ns = 0;
    parcels_free(&p->inbox);
    parcels_free(&p->stuck);
    edge_exited(p, signal, status);
}

/* Carries out what its core said; false when the process does not live to see the end of it. */
static bool carry_out(struct process *p, uint64_t life)
{
    struct effects *effects = p->sim->effects;

    for (uint32_t i = 0; i < effects->count && p->life == life; i++) {
        const struct effect *effect = &effects->list[i];

        if (p->doom > 0 && --p->doom == 0 &&
            (!node_is_server(p->node) || sim_can_spare(p->sim, p->node))) {
            process_end(p, 9, 0);
            break;
        }
        switch (effect->type) {
        case EFFECT_SEND:
            claims_check(p, effect->node, &effect->message);
            network_send(p, effect->node, &effect->message);
            break;
        case EFFECT_NOTE: edge_noted(p, effect); break;
        case EFFECT_END:
            sim_trace(p->sim, p->node, "ends itself: %s", effect->text);
            process_end(p, 0, 1);
            break;
        default: edge_perform(p, effect); break;
        }
    }
    effects_clear(effects);
    return p->life == life;
}

void process_deliver(struct process *p, const struct message *message)
{
    uint64_t life = p->life;

    if (p->sim->options.trace_messages)
        sim_trace_message(p, message);
    assert(p->sim->effects->count == 0);
    edge_receive(p, message, p->sim->effects);
    carry_out(p, life);
}

/* Takes in one parcel; false when it is a request that the server cannot take now. */
static bool parcel_take(struct process *p, const struct parcel *parcel)
{
    struct message message;
    uint64_t life = p->life;
    bool taken = true;

    switch (parcel->type) {
    case PARCEL_LOCAL:
        memcpy(&message, parcel->bytes, sizeof message);
        process_deliver(p, &message);
        break;
    case PARCEL_REQUEST:
    case PARCEL_FORGET:
        assert(p->sim->effects->count == 0);
        taken = clients_request(p, parcel);
        carry_out(p, life);
        break;
    case PARCEL_DISK:
        assert(p->sim->effects->count == 0);
        disk_done(p, parcel, p->sim->effects);
        carry_out(p, life);
        break;
    default: network_take(p, parcel); break;
    }
    return taken || p->life != life;
}

void process_give(struct process *p, struct parcel *parcel)
{
    parcels_put(&p->inbox, parcel);
    process_wake(p);
}

/* Requests that the server could not take, in their order, before any newer one. */
static void stuck_take(struct process *p)
{
    uint64_t life = p->life;

    while (p->life == life && p->stuck.first && server_accepts(p->server) &&
           parcel_take(p, p->stuck.first) && p->life == life)
        free(parcels_take(&p->stuck));
}

static void inbox_take(struct process *p)
{
    uint64_t life = p->life;

    for (uint32_t i = 0; i < TURN_PARCELS_MAX && p->life == life && p->inbox.first; i++) {
        struct parcel *parcel = parcels_take(&p->inbox);
        bool stuck = parcel->type == PARCEL_REQUEST && p->stuck.first;

        if (stuck || !parcel_take(p, parcel))
            parcels_put(&p->stuck, parcel);
        else
            free(parcel);
    }
}

static void tick(struct process *p)
{
    uint64_t life = p->life;

    if (p->server)
        server_wall(p->server, process_wall_us(p));
    assert(p->sim->effects->count == 0);
    p->core.tick(p->core.self, process_clock(p), p->sim->effects);
    carry_out(p, life);
}

/* What a server does bit by bit, a turn after the other: it takes in what it has kept aside, and
 * executes. */
static bool works(struct process *p)
{
    uint64_t aside = p->server ? buffer_size(&p->server->transfer_in.aside) : 0;
    uint64_t executed = p->server ? p->server->replica.executed_index : 0;
    bool works = aside != p->aside_bytes || executed != p->executed_index;

    p->aside_bytes = aside;
    p->executed_index = executed;
    return works;
}

/* A core that wants to be called again and again, and nothing comes of it, would burn a processor.
 */
static void check_rest(struct process *p, bool idle)
{
    if (works(p) || !idle || p->sim->now_ns > p->idle_ns + 10000000u) {
        p->idle_turns = 0;
        p->idle_ns = p->sim->now_ns;
    } else if (++p->idle_turns > TURNS_IDLE_MAX) {
        sim_fail(p->sim, "%s spins: its deadline does not move", node_name(p->node));
    }
}

static uint64_t turn_us(const struct process *p)
{
    if (p->slow_until_ns > p->sim->now_ns)
        return sim_chance(p->sim, p->sim->options.suspect_after_ms * UINT64_C(1000));
    return sim_between(p->sim, TURN_US_MIN, TURN_US_MAX);
}

void process_turn(struct process *p)
{
    struct sim *sim = p->sim;
    uint64_t life = p->life;
    bool idle = !p->inbox.first;

    sim->turn_ns[p->node] = UINT64_MAX;
    sim->turn_known = false;
    if (p->state != PROCESS_RUNNING)
        return;
    if (sim->now_ns < p->paused_until_ns) {
        turn_set(p, sim->now_ns);
        return;
    }
    sim->turns++;
    if (p->stuck.first)
        stuck_take(p);
    if (p->life == life)
        inbox_take(p);
    if (p->life == life)
        tick(p);
    if (p->life != life)
        return;
    p->core.check(p->core.self);
    checks_turn(p);
    faults_watch(sim);
    check_rest(p, idle);
    if (p->node == NODE_RM && p->rm->roster.gfd_linked)
        p->heard_ns = sim->now_ns;
    p->busy_until_ns = sim->now_ns + turn_us(p) * 1000u;
    if (p->inbox.first)
        turn_set(p, p->busy_until_ns);
    turn_set(p, clock_reaches(p, p->core.deadline(p->core.self)));
}
