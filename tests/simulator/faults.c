/* faults - draws them, and keeps to what acks allows for: as long as no more is lost at one time
 * than the rule of elections can bear, nothing acknowledged may be lost. */
#include "tests/simulator/faults.h"

#include <assert.h>

#include "server/server_state.h"
#include "tests/simulator/parts.h"

#define PLACES          (HOST_COUNT_MAX + 2u) /* hosts, with those of the rm and the gfd */
#define AMBUSH_BITS_MAX 14u                   /* it strikes within 2^13 us, mostly much sooner */

static void fault(void *subject, uint64_t argument);

/* A server that will live on as far as the faults know. */
static bool unharmed(const struct process *p, uint64_t incarnation)
{
    return p->state == PROCESS_RUNNING && p->incarnation == incarnation && p->doom == 0 &&
           p->paused_until_ns <= p->sim->now_ns;
}

/* Whether a life's journal is still to be had: in memory it dies with it, a disk outlives it when
 * it is complete and was not harmed since, or tells where that of it ended which was thrown away.
 */
static bool remembered(struct sim *sim, node_id server, uint64_t incarnation)
{
    const struct process *p = sim_process(sim, server);

    if (!sim->options.disk)
        return unharmed(p, incarnation);
    return incarnation > p->disk_lost &&
           (disk_remembers(p, incarnation) || disk_vouches(p) ||
            (p->state == PROCESS_RUNNING && p->incarnation == incarnation));
}

/* Whether enough members of a view have journals that are to be had, without some servers, for
 * another view to follow it: as many as rm/election.c asks for. The end of a journal may be torn
 * when the power goes. */
static bool answered(struct sim *sim, const struct message_view *view, uint32_t without,
                     uint32_t without_power)
{
    uint32_t needed = members_count(&view->members) - view->acks + 1u, have = 0, missing = 0;
    uint32_t cut = 0;

    for (uint32_t s = 0; s < sim->options.servers; s++) {
        if (!(view->members.set >> s & 1u))
            continue;
        if ((without >> s & 1u) || !remembered(sim, NODE_SERVER(s), view->members.incarnation[s]))
            missing++;
        else if (++have && sim->options.disk &&
                 ((without_power >> s & 1u) || disk_cut(sim_process(sim, NODE_SERVER(s)))))
            cut++;
    }
    if (cut && missing && have - cut < needed)
        needed++;
    return have >= needed;
}

bool faults_doom_view(struct sim *sim, const struct message_view *view)
{
    return !answered(sim, view, 0, 0);
}

/* Whether what these servers have matters for the view. */
static bool concerned(struct sim *sim, const struct message_view *view, uint32_t set)
{
    for (uint32_t s = 0; s < sim->options.servers; s++)
        if (((view->members.set & set) >> s & 1u) &&
            (sim->options.disk || members_has(&view->members, NODE_SERVER(s),
                                              sim_process(sim, NODE_SERVER(s))->incarnation)))
            return true;
    return false;
}

bool faults_can_lose(struct sim *sim, uint32_t set, uint32_t without_power)
{
    /* Without its store the rm needs to hear from everybody. */
    if (sim->store_bad && set)
        return false;
    for (uint32_t i = 0; i < sim->saved.view_count && sim->saved_any; i++)
        if (concerned(sim, &sim->saved.views[i], set | without_power) &&
            !answered(sim, &sim->saved.views[i], set, without_power))
            return false;
    return true;
}

/* Whether another member of a view has acknowledged in it what was cut off its journal by mistake,
 * or may have. What it has reported counts, also when its disk is lost later. */
static bool other_deceived(struct sim *sim, const struct message_view *view, node_id server)
{
    for (uint32_t s = 0; s < sim->options.servers; s++)
        if (NODE_SERVER(s) != server && (view->members.set >> s & 1u) &&
            view->members.incarnation[s] <= sim_process(sim, NODE_SERVER(s))->deceived)
            return true;
    return false;
}

/* One such member of a view is what the rule of elections bears. While the store is old, the views
 * that count are not known here. */
bool sim_can_deceive(struct sim *sim, node_id server)
{
    if (sim->store_bad)
        return false;
    for (uint32_t i = 0; i < sim->saved.view_count && sim->saved_any; i++)
        if ((sim->saved.views[i].members.set >> node_index(server) & 1u) &&
            other_deceived(sim, &sim->saved.views[i], server))
            return false;
    return true;
}

bool sim_can_lose(struct sim *sim, node_id server)
{
    return faults_can_lose(sim, 1u << node_index(server), 0);
}

/* A disk gives it all back to the next life, unless there is damage that nobody knows of yet. A rm
 * without its store does not know which lives matter: it asks for disks that lack nothing, or that
 * know where the journal ended that was thrown away. */
bool sim_can_spare(struct sim *sim, node_id server)
{
    const struct process *p = sim_process(sim, server);
    bool kept = sim->options.disk && p->incarnation > p->disk_lost &&
                (sim->store_bad ? disk_vouches(p) : disk_remembers(p, p->incarnation));

    return kept || sim_can_lose(sim, server);
}

static node_id any_server(struct sim *sim)
{
    return NODE_SERVER(sim_chance(sim, sim->options.servers));
}

static node_id any_lfd(struct sim *sim)
{
    return NODE_LFD(sim_chance(sim, sim->options.hosts));
}

/* A process that is not a server. */
static node_id any_other(struct sim *sim)
{
    switch (sim_chance(sim, 3)) {
    case 0: return NODE_RM;
    case 1: return NODE_GFD;
    default: return any_lfd(sim);
    }
}

/* Dies now, or after carrying out a few more effects: between a store and what must follow it, say.
 */
static void crash(struct sim *sim, node_id node)
{
    struct process *p = sim_process(sim, node);

    if (p->state == PROCESS_DOWN || (node_is_server(node) && !sim_can_spare(sim, node)))
        return;
    if (p->state == PROCESS_RUNNING && sim_chance(sim, 2) == 0) {
        p->doom = 1 + (uint32_t)sim_chance(sim, 12);
        sim_trace(sim, node, "will die after %u effects", p->doom);
    } else {
        sim_crash(sim, node);
    }
}

static void pause_server(struct sim *sim)
{
    node_id node = any_server(sim);
    uint32_t patience = sim->options.suspect_after_ms;

    if (sim_chance(sim, 2) == 0)
        sim_pause(sim, node, 1 + (uint32_t)sim_chance(sim, patience / 3));
    else if (sim_can_spare(sim, node))
        sim_pause(sim, node, patience / 2 + (uint32_t)sim_chance(sim, 3 * (uint64_t)patience));
}

/* Two that have a link, for the most part. */
static void any_pair(struct sim *sim, node_id *a, node_id *b)
{
    *a = any_server(sim);
    switch (sim_chance(sim, 7)) {
    case 6: *b = NODE_LFD(sim_process(sim, *a)->host); break;
    case 0: *b = NODE_RM; break;
    case 1:
        *a = NODE_GFD;
        *b = NODE_RM;
        break;
    case 2:
        *a = any_lfd(sim);
        *b = NODE_GFD;
        break;
    default: *b = any_server(sim); break;
    }
}

static void healed(void *subject, uint64_t argument)
{
    (void)argument;
    sim_heal(subject);
}

static void cut(struct sim *sim, enum fault_kind kind)
{
    node_id a;
    node_id b;

    any_pair(sim, &a, &b);
    if (kind == FAULT_ISOLATE_HOST)
        sim_isolate_host(sim, (uint32_t)sim_chance(sim, sim->options.hosts));
    else if (a != b && kind == FAULT_CUT_PAIR)
        sim_cut(sim, a, b);
    else if (a != b && sim_chance(sim, 2) == 0)
        sim_cut_one_way(sim, a, b);
    else if (a != b)
        sim_cut_one_way(sim, b, a);
    sim_after(sim, sim_between(sim, 5, 4000) * MILLISECOND_NS, healed, sim, 0);
}

/* Each direction between two hosts is cut, or not: by two groups, or anyhow. */
static void partition(struct sim *sim)
{
    bool grouped = sim_chance(sim, 2) == 0;
    bool one_way = sim_chance(sim, 3) == 0;
    bool deaf[PLACES][PLACES];
    bool group[PLACES];

    for (uint32_t i = 0; i < PLACES; i++)
        group[i] = sim_chance(sim, 2);
    for (uint32_t i = 0; i < PLACES; i++)
        for (uint32_t k = 0; k < PLACES; k++)
            deaf[i][k] = grouped ? group[i] != group[k] && (group[i] || !one_way)
                                 : sim_chance(sim, one_way ? 3 : 6) == 0;
    sim_trace(sim, NODE_NONE, "a partition");
    for (node_id a = 0; a < NODE_COUNT; a++)
        for (node_id b = 0; b < NODE_COUNT; b++)
            if (sim_process(sim, a) && sim_process(sim, b) &&
                deaf[sim_process(sim, a)->host][sim_process(sim, b)->host])
                sim_cut_one_way(sim, a, b);
    sim_after(sim, sim_between(sim, 5, 4000) * MILLISECOND_NS, healed, sim, 0);
}

static void slow(struct sim *sim)
{
    uint32_t delay_us = (uint32_t)sim_chance(sim, UINT64_C(100) << sim_chance(sim, 12));
    uint32_t bytes_per_ms = sim_chance(sim, 2) ? 50u << sim_chance(sim, 10) : 0;
    node_id a;
    node_id b;

    any_pair(sim, &a, &b);
    sim_slow(sim, a, b, delay_us, bytes_per_ms);
    if (sim_chance(sim, 2))
        sim_slow(sim, b, a, delay_us, bytes_per_ms);
    sim_after(sim, sim_between(sim, 5, 4000) * MILLISECOND_NS, healed, sim, 0);
}

static void harm_link(struct sim *sim, bool half)
{
    node_id a;
    node_id b;

    any_pair(sim, &a, &b);
    /* A server whose lfd loses its link may be killed for it. */
    if (a == b || (node_is_lfd(b) && !sim_can_spare(sim, a)))
        return;
    if (node_is_lfd(b))
        sim_process(sim, a)->harmed = true;
    if (!half)
        sim_break(sim, a, b);
    else if (sim_chance(sim, 2))
        sim_half_open(sim, a, b);
    else
        sim_half_open(sim, b, a);
}

static void change_acks(struct sim *sim)
{
    enum acks_policy acks = (enum acks_policy)sim_chance(sim, 3);
    uint32_t count = acks == ACKS_COUNT ? 1 + (uint32_t)sim_chance(sim, sim->options.servers) : 0;

    if (sim_chance(sim, 4) == 0)
        sim_config_acks(sim, acks, count);
    else
        sim_acks(sim, acks, count);
}

/* A server comes back without anything. */
static void lose_disk(struct sim *sim, node_id server)
{
    if (!sim->options.disk || !sim_can_lose(sim, server))
        return;
    sim_lose_disk(sim, server);
}

/* ---- What is under way ---- */

static bool server_is_in(const struct process *p, enum occasion occasion)
{
    const struct server *s = p->server;

    if (p->state != PROCESS_RUNNING)
        return occasion == OCCASION_RECOVERY;
    switch (occasion) {
    case OCCASION_VIEW_CHANGE: /* fenced; not, what the disk says was promised */
        return p->status.promised > p->status.view && p->status.promised > p->status.journal_view;
    case OCCASION_CHECKPOINT: return transfer_out_busy(&s->transfer_out) || s->transfer_in.open;
    case OCCASION_DONATION:
        return s->transfer_in.open ||
               (transfer_out_busy(&s->transfer_out) && !s->transfer_out.round &&
                !transfer_out_keeps(&s->transfer_out));
    case OCCASION_JOIN: return p->status.role == ROLE_JOINER;
    default: return p->status.role == ROLE_NONE || p->status.restoring;
    }
}

static bool is_in(struct sim *sim, enum occasion occasion)
{
    const struct process *rm = sim_process(sim, NODE_RM);

    if (occasion == OCCASION_VIEW_CHANGE && rm->state == PROCESS_RUNNING && rm->rm->view.fencing)
        return true;
    for (uint32_t i = 0; i < sim->options.servers; i++)
        if (server_is_in(sim_process(sim, NODE_SERVER(i)), occasion))
            return true;
    return false;
}

/* So that it can be counted what has met what. */
static void fault_trace(struct sim *sim, enum fault_kind kind)
{
    static const char *const kinds[] = {
#define X(name, weight) #name,
        FAULTS(X)
#undef X
    };
    static const char *const occasions[] = {
#define X(name, text) text,
        OCCASIONS(X)
#undef X
    };
    char during[100];
    size_t used = 0;

    if (!sim->options.trace)
        return;
    during[0] = '\0';
    for (uint32_t i = 0; i < OCCASION_COUNT; i++)
        if (is_in(sim, (enum occasion)i))
            used += (size_t)snprintf(during + used, sizeof during - used, "%s%s",
                                     used > 0 ? ", " : " during ", occasions[i]);
    sim_trace(sim, NODE_NONE, "fault %s%s", kinds[kind], during);
}

/* ---- What happens ---- */

static void fault_do(struct sim *sim, enum fault_kind kind)
{
    node_id primary = sim_primary(sim);

    fault_trace(sim, kind);
    switch (kind) {
    case FAULT_CRASH_SERVER: crash(sim, any_server(sim)); break;
    case FAULT_CRASH_PRIMARY:
        if (primary != NODE_NONE)
            crash(sim, primary);
        break;
    case FAULT_CRASH_LFD: crash(sim, any_lfd(sim)); break;
    case FAULT_CRASH_GFD: crash(sim, NODE_GFD); break;
    case FAULT_CRASH_RM: crash(sim, NODE_RM); break;
    case FAULT_PAUSE_SERVER: pause_server(sim); break;
    case FAULT_PAUSE_OTHER:
        sim_pause(sim, any_other(sim), 1 + (uint32_t)sim_chance(sim, 1500));
        break;
    case FAULT_BREAK_LINK: harm_link(sim, false); break;
    case FAULT_HALF_OPEN: harm_link(sim, true); break;
    case FAULT_PARTITION: partition(sim); break;
    case FAULT_SLOW_LINK: slow(sim); break;
    case FAULT_CUT_PAIR:
    case FAULT_CUT_ONE_WAY:
    case FAULT_ISOLATE_HOST: cut(sim, kind); break;
    case FAULT_BREAK_CLIENT:
        clients_break(sim, (uint32_t)sim_chance(sim, sim->client_count),
                      (uint32_t)sim_chance(sim, sim->options.servers));
        break;
    case FAULT_CRASH_CLIENT:
        clients_crash(sim, (uint32_t)sim_chance(sim, sim->client_count));
        break;
    case FAULT_SWITCHOVER: sim_command(sim, COMMAND_SWITCHOVER, any_server(sim)); break;
    case FAULT_RESTART: sim_command(sim, COMMAND_RESTART, any_server(sim)); break;
    case FAULT_STOP: sim_command(sim, COMMAND_STOP, any_server(sim)); break;
    case FAULT_START: sim_command(sim, COMMAND_START, any_server(sim)); break;
    case FAULT_ACKS: change_acks(sim); break;
    case FAULT_STYLE:
        sim_command(sim, sim_chance(sim, 2) ? COMMAND_STYLE_ACTIVE : COMMAND_STYLE_PASSIVE,
                    NODE_NONE);
        break;
    case FAULT_HEAL: sim_heal(sim); break;
    case FAULT_CRASH_ALL:
        for (uint32_t i = 0; i < sim->options.servers; i++)
            if (sim->options.disk && sim_can_spare(sim, NODE_SERVER(i)))
                sim_crash(sim, NODE_SERVER(i));
        break;
    case FAULT_LOSE_DISK: lose_disk(sim, any_server(sim)); break;
    default:
        if (kind < FAULT_FIRST_COURSE)
            hardware_fault(sim, kind);
        else
            course_fault(sim, kind);
        break;
    }
}

static enum fault_kind kind_drawn(struct sim *sim)
{
    uint64_t sum = 0;
    uint64_t at;

    for (uint32_t i = 0; i < FAULT_COUNT; i++)
        sum += sim->options.fault_weight[i];
    if (sum == 0)
        return FAULT_HEAL;
    at = sim_chance(sim, sum);
    for (uint32_t i = 0; i < FAULT_COUNT; i++) {
        if (at < sim->options.fault_weight[i])
            return (enum fault_kind)i;
        at -= sim->options.fault_weight[i];
    }
    return FAULT_HEAL;
}

static void strike(void *subject, uint64_t kind)
{
    struct sim *sim = subject;

    if (!sim->faults_over)
        fault_do(sim, (enum fault_kind)kind);
}

void faults_watch(struct sim *sim)
{
    uint64_t wait_us;

    if (!sim->ambush.set || !is_in(sim, (enum occasion)sim->ambush.occasion))
        return;
    sim->ambush.set = false;
    wait_us = sim_chance(sim, UINT64_C(1) << sim_chance(sim, AMBUSH_BITS_MAX));
    sim_after(sim, wait_us * 1000, strike, sim, sim->ambush.kind);
}

/* At once, or when it meets something. */
static void fault_begin(struct sim *sim, enum fault_kind kind)
{
    uint32_t one_in = sim->options.ambush_one_in;

    if (one_in == 0 || sim->ambush.set || sim_chance(sim, one_in) > 0) {
        fault_do(sim, kind);
        return;
    }
    sim->ambush.set = true;
    sim->ambush.kind = kind;
    sim->ambush.occasion = (uint32_t)sim_chance(sim, OCCASION_COUNT);
}

static void fault_later(struct sim *sim)
{
    sim_after(sim, sim_chance(sim, 2 * (uint64_t)sim->options.fault_every_ms * MILLISECOND_NS),
              fault, sim, 0);
}

static void fault(void *subject, uint64_t argument)
{
    struct sim *sim = subject;

    (void)argument;
    if (sim->faults_over)
        return;
    fault_begin(sim, kind_drawn(sim));
    /* Troubles seldom come alone. */
    if (sim_chance(sim, 3) == 0)
        fault_begin(sim, kind_drawn(sim));
    fault_later(sim);
}

void faults_begin(struct sim *sim)
{
    fault_later(sim);
}
