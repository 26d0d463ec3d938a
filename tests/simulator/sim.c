/* sim - time, and what a story or a seed does with it. */
#include "tests/simulator/sim.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>

#include "tests/simulator/faults.h"
#include "tests/simulator/parts.h"

#define STEPS_MAX 20000000u /* events of a run: beyond that it runs in circles */
#define RM_HOST   (HOST_COUNT_MAX)
#define GFD_HOST  (HOST_COUNT_MAX + 1u)
#define PEACE_MS  30000u /* after the last fault, to be whole again */
#define SETTLE_MS                                                                  \
    3000u /* for what the faults set off, links that are dialled again most of all \
           */
#define START_AGAIN_MS 1000u
#define STAYS_MS       1000u  /* that it must stay so */
#define ANSWER_MS      20000u /* after that, to answer every request; and to hold the same */
#define QUIET_MS       3000u  /* of a run without faults */
#define LOSS_WAIT_MS   3000u  /* how long it is watched waiting before the loss is accepted */
#define CLOCK_PPM_MAX  5000u  /* two clocks differ by the 1 % that leases allow for (section 6) */

uint64_t sim_chance(struct sim *sim, uint64_t bound)
{
    return random_below(&sim->random, bound);
}

uint64_t sim_between(struct sim *sim, uint64_t low, uint64_t high)
{
    return low + random_below(&sim->random, high - low + 1);
}

void sim_after(struct sim *sim, uint64_t wait_ns, void (*run)(void *, uint64_t), void *subject,
               uint64_t argument)
{
    events_add(&sim->events, sim->now_ns + wait_ns, run, subject, argument);
}

void *sim_take(struct sim *sim, size_t size)
{
    struct memory *m = memory_take(sizeof *m + size);

    m->before = &sim->taken;
    m->after = sim->taken.after;
    m->before->after = m->after->before = m;
    return m + 1;
}

void sim_give_back(struct sim *sim, void *memory)
{
    struct memory *m = (struct memory *)memory - 1;

    (void)sim;
    m->before->after = m->after;
    m->after->before = m->before;
    free(m);
}

struct process *sim_process(struct sim *sim, node_id node)
{
    return node < NODE_COUNT && sim->processes[node].sim ? &sim->processes[node] : NULL;
}

const char *sim_failure(const struct sim *sim)
{
    return sim->failure[0] ? sim->failure : NULL;
}

void sim_fail(struct sim *sim, const char *format, ...)
{
    va_list args;

    if (sim->failure[0])
        return;
    va_start(args, format);
    vsnprintf(sim->failure, sizeof sim->failure, format, args);
    va_end(args);
    sim_trace(sim, NODE_NONE, "FAILED: %s", sim->failure);
}

static void trace_begin(const struct sim *sim, node_id node)
{
    fprintf(sim->options.trace, "[%10.6f] %s: ", (double)sim->now_ns / 1e9,
            node == NODE_NONE ? "sim" : node_name(node));
}

void sim_trace(struct sim *sim, node_id node, const char *format, ...)
{
    va_list args;

    if (!sim->options.trace)
        return;
    trace_begin(sim, node);
    va_start(args, format);
    vfprintf(sim->options.trace, format, args);
    va_end(args);
    fputc('\n', sim->options.trace);
}

void sim_trace_message(const struct process *to, const struct message *message)
{
    struct buffer text = { 0 };

    if (!to->sim->options.trace)
        return;
    message_format(message, &text);
    trace_begin(to->sim, to->node);
    fprintf(to->sim->options.trace, "< %s %.*s\n",
            message->from == NODE_NONE ? "edge" : node_name(message->from), (int)buffer_size(&text),
            (const char *)buffer_head(&text));
    buffer_free(&text);
}

void sim_options_quiet(struct sim_options *o, uint64_t seed)
{
    *o = (struct sim_options){
        .seed = seed,
        .servers = 3,
        .hosts = 3,
        .style = STYLE_ACTIVE,
        .propagation = PROPAGATION_STAR,
        .acks = ACKS_ALL,
        .lease_ms = 200,
        .checkpoint_interval_ms = 1000,
        .heartbeat_interval_ms = 20,
        .suspect_after_ms = 200,
        .host_suspect_after_ms = 500,
        .grace_ms = 1000,
        .backoff_ms = 50,
        .budget = 1000,
        .delay_us_min = 20,
        .delay_us_max = 200,
        .think_ms = 10,
        .keys = 4,
        .journal_bytes_max = 16u << 20,
        .pending_bytes_max = 16u << 20,
    };
}

static void faults_draw(struct sim_options *o, struct random *r)
{
    static const uint32_t weight_max[] = {
#define X(name, weight) [FAULT_##name] = (weight),
        FAULTS(X)
#undef X
    };

    _Static_assert(FAULT_COUNT <= sizeof o->fault_weight / sizeof o->fault_weight[0],
                   "every kind has a weight");
    o->faults_ms = 10000;
    o->fault_every_ms = 50u << random_below(r, 6);
    for (uint32_t i = 0; i < FAULT_FIRST_COURSE; i++)
        o->fault_weight[i] =
            random_below(r, 3) == 0 ? 0 : (uint32_t)random_below(r, weight_max[i] + 1);
    o->may_lose = random_below(r, 20) == 0;
}

/* Faults that wait for something rare, and more of that: in a third of the seeds, drawn apart, so
 * that the others are what they are without. */
static void ambush_draw(struct sim_options *o, uint64_t seed)
{
    struct random r = random_seeded(seed ^ 0xa3b5u);

    if (random_below(&r, 3) != 0)
        return;
    o->ambush_one_in = 1 + (uint32_t)random_below(&r, 4);
    if (o->clock_ppm_max > 0)
        o->clock_ppm_max = CLOCK_PPM_MAX;
    /* A journal that soon begins late: who comes with nothing needs a checkpoint. */
    if (random_below(&r, 2) == 0) {
        o->bulk_bytes = 4096u << random_below(&r, 5);
        o->journal_bytes_max = 1u << 20;
        o->plain_clients++;
    }
}

/* By a chance of their own, so that all other options of a seed stay what they were. */
static void courses_draw(struct sim_options *o)
{
    struct random r = random_seeded(o->seed ^ 0xc0u);

    if (random_below(&r, 4) == 0)
        o->pipelines = 1 + (uint32_t)random_below(&r, 2);
    if (random_below(&r, 3) == 0) {
        o->fault_weight[FAULT_OUTRUN] = 4 + (uint32_t)random_below(&r, 16);
        o->pipelines += 2; /* so that it has much to append */
    }
    if (random_below(&r, 3) == 0)
        o->fault_weight[FAULT_RETURN_ALONE] = 1 + (uint32_t)random_below(&r, 8);
}

void sim_options_drawn(struct sim_options *o, uint64_t seed)
{
    struct random r = random_seeded(seed ^ 0x51u);

    sim_options_quiet(o, seed);
    o->servers = 1 + (uint32_t)random_below(&r, random_below(&r, 8) ? 5 : 7);
    o->hosts = random_below(&r, 4) ? o->servers : 1 + (uint32_t)random_below(&r, o->servers);
    o->style = random_below(&r, 3) ? STYLE_ACTIVE : STYLE_PASSIVE;
    o->propagation = random_below(&r, 4) ? PROPAGATION_STAR : PROPAGATION_CHAIN;
    o->acks = (enum acks_policy)random_below(&r, 3);
    o->acks_count = o->acks == ACKS_COUNT ? 1 + (uint32_t)random_below(&r, o->servers) : 0;
    o->lease_ms = 20u << random_below(&r, 6);
    o->checkpoint_interval_ms = 50u << random_below(&r, 6);
    o->heartbeat_interval_ms = 10u << random_below(&r, 3);
    o->suspect_after_ms = o->heartbeat_interval_ms * (4 + (uint32_t)random_below(&r, 10));
    o->host_suspect_after_ms = o->suspect_after_ms * (1 + (uint32_t)random_below(&r, 3));
    o->grace_ms = (uint32_t)random_below(&r, 2000);
    o->backoff_ms = 1 + (uint32_t)random_below(&r, 200);
    o->delay_us_min = 10 + (uint32_t)random_below(&r, 300);
    o->delay_us_max = o->delay_us_min + (20u << random_below(&r, 8));
    o->clock_ppm_max = random_below(&r, 2) ? 0 : 4000;
    o->session_clients = (uint32_t)random_below(&r, 5);
    o->plain_clients = (uint32_t)random_below(&r, 4);
    o->readers = (uint32_t)random_below(&r, 3);
    o->think_ms = 4u << random_below(&r, 5);
    o->keys = 1 + (uint32_t)random_below(&r, 6);
    /* Entries of large values, and little room for them: members that lag need checkpoints. */
    if (random_below(&r, 3) == 0) {
        o->bulk_bytes = 1024u << random_below(&r, 7);
        o->journal_bytes_max = (2u << 20) + (1u << 20) * (uint32_t)random_below(&r, 4);
        o->plain_clients++;
    }
    o->pending_bytes_max = random_below(&r, 4) ? 16u << 20 : 512u << random_below(&r, 4);
    faults_draw(o, &r);
    o->disk = seed % 2 == 0;
    o->keep_bytes_min = 4096u << random_below(&r, 6);
    o->keep_changes_percent = 2000; /* few keys change all the time */
    o->registers = (uint32_t)random_below(&r, 4);
    o->numbers = (uint32_t)random_below(&r, 3);
    o->transactions = random_below(&r, 2) == 0;
    o->repeats = random_below(&r, 2) == 0;
    if (random_below(&r, 3) == 0) {
        o->late_one_in = 20u << random_below(&r, 7);
        o->late_ms_max = 2u << random_below(&r, 8);
    }
    if (random_below(&r, 3) == 0)
        o->bytes_per_ms = 2000u << random_below(&r, 7);
    o->sessions_max = random_below(&r, 2) ? 0 : 2 + (uint32_t)random_below(&r, 5);
    o->value_bytes_max = random_below(&r, 4) ? 0 : 1024u << random_below(&r, 12);
    o->fsync = random_below(&r, 2) ? FSYNC_ALWAYS : (enum fsync_policy)random_below(&r, 3);
    o->fsync_interval_ms = 1u << random_below(&r, 12);
    ambush_draw(o, seed);
    courses_draw(o);
}

/* The config that such a cluster would have; addresses do not matter. */
static void config_make(struct config *c, const struct sim_options *o)
{
    *c = (struct config){ .server_count = o->servers, .host_count = o->hosts };
    snprintf(c->cluster, sizeof c->cluster, "simulated");
    snprintf(c->service.name, sizeof c->service.name, "kv");
    c->replication.style = o->style;
    c->replication.acks = o->acks;
    c->replication.acks_count = o->acks_count;
    c->replication.propagation = o->propagation;
    c->replication.checkpoint_interval_ms = o->checkpoint_interval_ms;
    c->replication.lease_ms = o->lease_ms;
    c->journal.storage = o->disk ? STORAGE_DISK : STORAGE_MEMORY;
    c->journal.memory_mb_max = 16;
    c->detection.heartbeat_interval_ms = o->heartbeat_interval_ms;
    c->detection.suspect_after_ms = o->suspect_after_ms;
    c->detection.host_suspect_after_ms = o->host_suspect_after_ms;
    c->detection.grace_ms = o->grace_ms;
    c->restart.backoff_ms = o->backoff_ms;
    c->restart.backoff_ms_max = o->backoff_ms > 1000 ? o->backoff_ms : 1000;
    c->restart.budget = o->budget;
    c->restart.budget_window_s = 60;
    for (uint32_t i = 0; i < o->hosts; i++)
        snprintf(c->hosts[i].name, NAME_SIZE, "h%u", i + 1);
    for (uint32_t i = 0; i < o->servers; i++) {
        snprintf(c->servers[i].name, NAME_SIZE, "s%u", i + 1);
        c->servers[i].host = i % o->hosts;
    }
}

static void begin(void *subject, uint64_t argument)
{
    (void)argument;
    process_start(subject);
}

struct sim *sim_new(const struct sim_options *options)
{
    struct sim *sim = memory_zeroed(1, sizeof *sim);

    assert(options->servers >= 1 && options->servers <= SERVER_COUNT_MAX);
    assert(options->hosts >= 1 && options->hosts <= options->servers);
    sim->options = *options;
    sim->random = random_seeded(options->seed);
    sim->taken.before = sim->taken.after = &sim->taken;
    memset(sim->turn_ns, 0xff, sizeof sim->turn_ns);
    sim->effects = memory_zeroed(1, sizeof *sim->effects);
    config_make(&sim->config, options);
    process_init(sim, NODE_RM, RM_HOST);
    process_init(sim, NODE_GFD, GFD_HOST);
    for (uint32_t i = 0; i < options->hosts; i++)
        process_init(sim, NODE_LFD(i), i);
    for (uint32_t i = 0; i < options->servers; i++) {
        process_init(sim, NODE_SERVER(i), i % options->hosts);
        if (options->disk)
            disk_init(sim_process(sim, NODE_SERVER(i)));
    }
    sim_after(sim, sim_chance(sim, 10 * MILLISECOND_NS), begin, sim_process(sim, NODE_RM), 0);
    sim_after(sim, sim_chance(sim, 10 * MILLISECOND_NS), begin, sim_process(sim, NODE_GFD), 0);
    for (uint32_t i = 0; i < options->hosts; i++)
        sim_after(sim, sim_chance(sim, 10 * MILLISECOND_NS), begin, sim_process(sim, NODE_LFD(i)),
                  0);
    clients_init(sim);
    return sim;
}

void sim_free(struct sim *sim)
{
    network_free(sim);
    for (uint32_t i = 0; i < NODE_COUNT; i++)
        if (sim->processes[i].sim)
            process_free(&sim->processes[i]);
    sim_clients_free(sim);
    while (sim->taken.after != &sim->taken)
        sim_give_back(sim, sim->taken.after + 1);
    checks_free(sim);
    history_free(&sim->history);
    events_free(&sim->events);
    free(sim->effects);
    free(sim);
}

/* The process whose turn is next, and when. Turns stand beside the events, as each turn that is set
 * makes the one set before void. */
static uint32_t turn_next(struct sim *sim, uint64_t *at_ns)
{
    for (uint32_t i = 0; i < NODE_COUNT && !sim->turn_known; i++)
        if (i == 0 || sim->turn_ns[i] < sim->turn_ns[sim->turn_node])
            sim->turn_node = i;
    sim->turn_known = true;
    *at_ns = sim->turn_ns[sim->turn_node];
    return sim->turn_node;
}

/* Lets the next thing happen, if that is before the end. */
static bool step(struct sim *sim, uint64_t end_ns)
{
    struct event event;
    uint64_t at = UINT64_MAX, turn_at;
    uint32_t node = turn_next(sim, &turn_at);
    bool any = events_next(&sim->events, &at);

    if (sim->failure[0] || (at > end_ns && turn_at > end_ns))
        return false;
    if (sim->events.order + sim->turns > STEPS_MAX)
        sim_fail(sim, "more than %u events and turns", STEPS_MAX);
    if (!any || turn_at < at) {
        sim->now_ns = turn_at;
        process_turn(&sim->processes[node]);
        return true;
    }
    event = events_take(&sim->events);
    sim->now_ns = event.at_ns;
    event.run(event.subject, event.argument);
    return true;
}

void sim_run(struct sim *sim, uint32_t ms)
{
    uint64_t end = sim->now_ns + (uint64_t)ms * MILLISECOND_NS;

    while (step(sim, end))
        continue;
    if (!sim->failure[0])
        sim->now_ns = end;
}

bool sim_run_until(struct sim *sim, bool (*holds)(struct sim *), uint32_t ms_max)
{
    uint64_t end = sim->now_ns + (uint64_t)ms_max * MILLISECOND_NS;

    while (!holds(sim))
        if (!step(sim, end))
            return false;
    return !sim->failure[0];
}

uint64_t sim_now_us(const struct sim *sim)
{
    return sim->now_ns / 1000;
}

static bool serves(const struct process *p)
{
    return p->state == PROCESS_RUNNING && p->status.role == ROLE_PRIMARY && p->status.serving &&
           p->status.promised == p->status.view;
}

node_id sim_primary(struct sim *sim)
{
    const struct process *best = NULL;

    for (uint32_t i = 0; i < sim->options.servers; i++) {
        const struct process *p = sim_process(sim, NODE_SERVER(i));

        if (serves(p) && (!best || p->status.view > best->status.view))
            best = p;
    }
    return best ? best->node : NODE_NONE;
}

node_id sim_backup(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->options.servers; i++) {
        const struct process *p = sim_process(sim, NODE_SERVER(i));

        if (p->state == PROCESS_RUNNING && p->status.role == ROLE_BACKUP)
            return p->node;
    }
    return NODE_NONE;
}

uint64_t sim_view(struct sim *sim)
{
    const struct message_view *current = sim->saved_any ? saved_current(&sim->saved) : NULL;

    return current ? current->number : 0;
}

bool sim_running(const struct sim *sim, node_id node)
{
    return sim->processes[node].state == PROCESS_RUNNING;
}

uint64_t sim_incarnation(const struct sim *sim, node_id node)
{
    return sim_running(sim, node) ? sim->processes[node].incarnation : 0;
}

uint64_t sim_answered(const struct sim *sim)
{
    return sim->history.writes_done;
}

uint64_t sim_loss_waits(const struct sim *sim)
{
    return sim->loss_waits;
}

bool sim_has_live_primary(struct sim *sim)
{
    return sim_primary(sim) != NODE_NONE;
}

/* A member that the gfd does not list, as its lfd has yet to find out that its link is dead, is
 * about to be left out. */
static bool is_listed(struct sim *sim, const struct process *p)
{
    const struct process *rm = sim_process(sim, NODE_RM);

    return rm->state != PROCESS_RUNNING ||
           rm->rm->roster.server[node_index(p->node)].listed == p->incarnation;
}

/* NULL, or what one server lacks. */
static const char *server_lacks(struct sim *sim, const struct process *p,
                                const struct message_view *view)
{
    if (p->state != PROCESS_RUNNING)
        return "does not run";
    if (!is_listed(sim, p))
        return "is not in the membership";
    if (!members_has(&view->members, p->node, p->incarnation))
        return "is no member";
    if (p->status.view != view->number || p->status.promised != view->number)
        return "is in another view";
    if (p->status.journal_view != view->number)
        return "has not adopted the view";
    if (p->status.role != (p->node == view->primary ? ROLE_PRIMARY : ROLE_BACKUP))
        return "has another role";
    return p->node != view->primary || serves(p) ? NULL : "does not serve";
}

/* NULL, or what is missing for the cluster to be whole; *node says where. */
static const char *cluster_lacks(struct sim *sim, node_id *node)
{
    const struct message_view *view = sim->saved_any ? saved_current(&sim->saved) : NULL;
    const char *lack = NULL;

    *node = NODE_RM;
    if (!view)
        return "has issued no view";
    if (sim->store_bad)
        return "has not stored the newest view";
    for (uint32_t i = 0; i < sim->options.servers && !lack; i++) {
        *node = NODE_SERVER(i);
        lack = server_lacks(sim, sim_process(sim, *node), view);
    }
    return lack;
}

bool sim_is_whole(struct sim *sim)
{
    node_id node;

    return cluster_lacks(sim, &node) == NULL;
}

bool sim_is_idle(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->client_count; i++)
        if (sim->clients[i].busy)
            return false;
    return true;
}

void sim_crash(struct sim *sim, node_id node)
{
    struct process *p = sim_process(sim, node);

    assert(p);
    process_end(p, 9, 0);
}

static void resumed(void *subject, uint64_t life)
{
    struct process *p = subject;

    if (p->life != life || p->state != PROCESS_RUNNING || p->sim->now_ns < p->paused_until_ns)
        return;
    sim_trace(p->sim, p->node, "goes on");
    process_wake(p);
}

void sim_pause(struct sim *sim, node_id node, uint32_t ms)
{
    struct process *p = sim_process(sim, node);

    assert(p);
    if (p->state != PROCESS_RUNNING)
        return;
    sim_trace(sim, node, "is stopped for %u ms", ms);
    p->harmed = true;
    p->paused_until_ns = sim->now_ns + (uint64_t)ms * MILLISECOND_NS;
    sim_after(sim, (uint64_t)ms * MILLISECOND_NS, resumed, p, p->life);
}

void sim_cut_one_way(struct sim *sim, node_id from, node_id to)
{
    if (sim_process(sim, from)->host == sim_process(sim, to)->host)
        return; /* within a host there is no network */
    sim_trace(sim, NODE_NONE, "%s is not heard by %s any more", node_name(from), node_name(to));
    sim->cut[from][to] = true;
}

void sim_cut(struct sim *sim, node_id a, node_id b)
{
    sim_cut_one_way(sim, a, b);
    sim_cut_one_way(sim, b, a);
}

void sim_isolate_host(struct sim *sim, uint32_t host)
{
    sim_trace(sim, NODE_NONE, "host h%u is isolated", host + 1);
    for (uint32_t a = 0; a < NODE_COUNT; a++)
        for (uint32_t b = 0; b < NODE_COUNT; b++)
            if (sim->processes[a].sim && sim->processes[b].sim &&
                (sim->processes[a].host == host) != (sim->processes[b].host == host))
                sim->cut[a][b] = true;
}

void sim_heal(struct sim *sim)
{
    static const bool uncut[NODE_COUNT][NODE_COUNT];

    if (memcmp(sim->cut, uncut, sizeof uncut) != 0)
        sim_trace(sim, NODE_NONE, "the network is whole");
    memset(sim->cut, 0, sizeof sim->cut);
    network_healed(sim);
}

void sim_slow(struct sim *sim, node_id from, node_id to, uint32_t delay_us, uint32_t bytes_per_ms)
{
    sim_trace(sim, NODE_NONE, "from %s to %s %u us more, %u bytes per ms", node_name(from),
              node_name(to), delay_us, bytes_per_ms);
    sim->path[from][to] = (struct path){ .delay_us = delay_us, .bytes_per_ms = bytes_per_ms };
}

void sim_half_open(struct sim *sim, node_id a, node_id b)
{
    sim_trace(sim, NODE_NONE, "%s does not know its link to %s any more", node_name(a),
              node_name(b));
    network_half_open(sim, a, b);
}

void sim_config_acks(struct sim *sim, enum acks_policy acks, uint32_t count)
{
    static const char *const names[] = { "all", "majority", "count" };

    sim_trace(sim, NODE_NONE, "the config has acks %s %u from now on", names[acks], count);
    sim->config.replication.acks = acks;
    sim->config.replication.acks_count = count;
    sim_crash(sim, NODE_RM);
}

void sim_break(struct sim *sim, node_id a, node_id b)
{
    sim_trace(sim, NODE_NONE, "the link of %s and %s breaks", node_name(a), node_name(b));
    network_break(sim, a, b);
}

static void command_give(struct sim *sim, struct message_command command)
{
    struct process *rm = sim_process(sim, NODE_RM);
    struct message message = { .type = MESSAGE_COMMAND, .from = NODE_OPERATOR, .command = command };

    if (rm->state != PROCESS_RUNNING)
        return;
    message.command.reference = sim->events.order;
    process_give(rm, parcel_new(PARCEL_LOCAL, &message, sizeof message));
}

void sim_command(struct sim *sim, enum command_verb verb, node_id server)
{
    command_give(sim, (struct message_command){ .verb = (uint8_t)verb, .server = server });
}

void sim_acks(struct sim *sim, enum acks_policy acks, uint32_t count)
{
    static const enum command_verb verbs[] = { COMMAND_ACKS_ALL, COMMAND_ACKS_MAJORITY,
                                               COMMAND_ACKS_COUNT };

    command_give(sim, (struct message_command){ .verb = (uint8_t)verbs[acks], .count = count });
}

void sim_clients_stop(struct sim *sim)
{
    sim->clients_stopped = true;
}

/* Every server at once: what was acknowledged is lost, and the rm must say so and wait. Where every
 * sync was waited for that takes the disks themselves, else a power cut. */
static void lose_all(struct sim *sim)
{
    sim_trace(sim, NODE_NONE, "every server loses what it has");
    for (uint32_t i = 0; i < sim->options.hosts; i++)
        sim_power_cut(sim, i, 0);
    for (uint32_t i = 0; i < sim->options.servers; i++)
        if (sim->options.disk && sim->options.fsync == FSYNC_ALWAYS)
            disk_lose(sim_process(sim, NODE_SERVER(i)));
    sim_run(sim, LOSS_WAIT_MS);
}

static bool servers_up(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->options.servers; i++)
        if (!sim_running(sim, NODE_SERVER(i)))
            return false;
    return sim_running(sim, NODE_RM) && sim_running(sim, NODE_GFD);
}

void sim_accept_loss(struct sim *sim)
{
    sim_trace(sim, NODE_NONE, "the loss is accepted");
    checks_forgive(sim);
    sim_command(sim, COMMAND_RECOVER, NODE_NONE);
}

/* The operator gives up on what is lost, once all that can be there is there. */
static void loss_accept(struct sim *sim)
{
    uint64_t view = sim_view(sim);

    if (!sim_run_until(sim, servers_up, PEACE_MS))
        sim_fail(sim, "servers that died do not come up again");
    sim_run(sim, LOSS_WAIT_MS);
    if (view > 0 && sim_view(sim) > view)
        sim_fail(sim, "view %llu was made when every journal was lost",
                 (unsigned long long)sim_view(sim));
    if (view > 0 && sim->loss_waits == 0)
        sim_fail(sim, "the rm does not say that data would be lost");
    sim_accept_loss(sim);
}

/* The operator starts what he has stopped, and looks now and then whether it helped: the rm may
 * have died of it, or have heard an earlier order only now. */
static void start_stopped(void *subject, uint64_t argument)
{
    struct sim *sim = subject;

    (void)argument;
    for (uint32_t i = 0; i < sim->options.servers; i++)
        if (sim->store_bad || sim->saved.stopped >> i & 1u)
            sim_command(sim, COMMAND_START, NODE_SERVER(i));
    sim_after(sim, START_AGAIN_MS * MILLISECOND_NS, start_stopped, sim, 0);
}

/* From here on nothing goes wrong any more; what is on its way to go wrong does not. */
static void make_peace(struct sim *sim)
{
    sim->faults_over = true;
    memset(sim->held, 0, sizeof sim->held);
    sim_heal(sim);
    for (uint32_t i = 0; i < NODE_COUNT; i++) {
        sim->processes[i].doom = 0;
        sim->processes[i].paused_until_ns = sim->processes[i].slow_until_ns = 0;
        disk_heal(&sim->processes[i]);
        if (sim->processes[i].state == PROCESS_RUNNING)
            process_wake(&sim->processes[i]);
    }
    sim_trace(sim, NODE_NONE, "no more faults");
    start_stopped(sim, 0);
}

/* Whole, and not just between two changes that are still to come of the faults. */
static bool stays_whole(struct sim *sim)
{
    uint64_t end = sim->now_ns + PEACE_MS * MILLISECOND_NS;
    uint64_t view;

    while (sim->now_ns < end && sim_run_until(sim, sim_is_whole, PEACE_MS)) {
        view = sim_view(sim);
        sim_run(sim, STAYS_MS);
        if (sim_view(sim) == view && sim_is_whole(sim))
            return true;
    }
    return false;
}

static void fail_lacking(struct sim *sim, const char *what)
{
    node_id node;
    const char *lack = cluster_lacks(sim, &node);

    sim_fail(sim, "%s: %s %s", what, node_name(node), lack ? lack : "is not at rest");
}

/* Whether the rm waits for what no server can give any more, and says so; not just for something.
 */
static bool waits_for_the_lost(struct sim *sim)
{
    const struct process *rm = sim_process(sim, NODE_RM);

    if (sim->store_bad)
        return true;
    if (rm->state != PROCESS_RUNNING || sim_has_live_primary(sim) ||
        !(strstr(rm->rm->view.waits, "data would be lost") ||
          strstr(rm->rm->view.waits, "data may be lost")))
        return false;
    for (uint32_t i = 0; i < sim->saved.view_count; i++)
        if (faults_doom_view(sim, &sim->saved.views[i]))
            return true;
    return false;
}

static bool whole_or_lost(struct sim *sim)
{
    return sim_is_whole(sim) || waits_for_the_lost(sim);
}

void sim_settle(struct sim *sim)
{
    sim_run(sim, SETTLE_MS);
    /* A server that is stopped may have to come back first, over a link that is yet to die. */
    if (sim->excused && sim_run_until(sim, whole_or_lost, LINK_DIES_MS_MAX) &&
        waits_for_the_lost(sim))
        sim_accept_loss(sim);
    if (!stays_whole(sim))
        fail_lacking(sim, "not whole again in time");
    sim_clients_stop(sim);
    if (!sim_run_until(sim, sim_is_idle, ANSWER_MS))
        sim_fail(sim, "requests are unanswered %u ms after all is whole again", ANSWER_MS);
    clients_audit(sim);
    if (!sim_run_until(sim, clients_audited, ANSWER_MS))
        sim_fail(sim, "the last reads are unanswered after %u ms", ANSWER_MS);
    if (!sim->history.fault[0])
        history_linearizable(&sim->history);
    if (sim->history.fault[0])
        sim_fail(sim, "%s", sim->history.fault);
    if (!sim_run_until(sim, checks_even, sim->options.lease_ms + ANSWER_MS))
        sim_fail(sim, "in the end some server has other entries than the others");
    if (!sim_is_whole(sim))
        fail_lacking(sim, "it does not stay whole, though nothing is wrong any more");
}

void sim_history_write(const struct sim *sim, FILE *out)
{
    history_write(&sim->history, out);
}

static void options_trace(struct sim *sim)
{
    static const char *const policies[] = { "all", "majority", "count" };
    const struct sim_options *o = &sim->options;

    sim_trace(
        sim, NODE_NONE,
        "%u servers on %u hosts, %s, acks %s %u, %s, lease %u ms, heartbeat %u ms, suspect "
        "after %u ms, grace %u ms, delay %u to %u us, clients %u sessions %u plain %u readers",
        o->servers, o->hosts, style_name((uint8_t)o->style), policies[o->acks], o->acks_count,
        o->propagation == PROPAGATION_CHAIN ? "chain" : "star", o->lease_ms,
        o->heartbeat_interval_ms, o->suspect_after_ms, o->grace_ms, o->delay_us_min,
        o->delay_us_max, o->session_clients, o->plain_clients, o->readers);
}

void sim_play(struct sim *sim)
{
    options_trace(sim);
    if (sim->options.faults_ms > 0)
        faults_begin(sim);
    sim_run(sim, sim->options.faults_ms ? sim->options.faults_ms : QUIET_MS);
    make_peace(sim);
    if (sim->options.may_lose && sim_run_until(sim, sim_is_whole, PEACE_MS)) {
        lose_all(sim);
        loss_accept(sim);
    }
    sim_settle(sim);
}
