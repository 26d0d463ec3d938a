/* courses - faults that are several events in a row, each at its time: what would hardly meet by
 * chance. They keep to what acks allows for, as all faults do.
 *
 * One at a time: what it cuts stays cut until it ends, whatever else is healed meanwhile. */
#include "tests/simulator/faults.h"
#include "tests/simulator/parts.h"

#define LOOK_NS       UINT64_C(200000) /* between two looks whether it has come so far */
#define FILL_MS_MAX   200u             /* that the old primary is alone before anybody acts on it */
#define AGAIN_MS      100u             /* between two orders of an impatient operator */
#define TAKE_OVER_MS  600u             /* for another to take over, once the silent are left out */
#define YOUNG_MS_MAX  5u               /* that the new one lives */
#define HEAL_MS_MAX   800u
#define STALLED_MS    500u  /* that a primary's disk does nothing … */
#define LAG_MS_MAX    400u  /* … until it has committed what it has not saved */
#define LAG_ON_MS_MAX 50u   /* that it lives on then */
#define BACK_MS_MAX   5000u /* for it to be back */
#define ALONE_MS_MIN  100u  /* that the rm hears nobody else then */
#define ALONE_MS_MAX  3000u

/* A primary that nobody follows any more, and what becomes of it. */
struct outrun {
    struct sim *sim;
    node_id primary;
    node_id target; /* of the operator's order; NODE_NONE: nobody orders anything */
    uint64_t view, order_ns, until_ns;
    bool deaf;   /* it does not hear the others, either */
    bool untold; /* the rm does not hear that the next view is active */
};

/* A server that is back before the rm hears any other. */
struct alone {
    struct sim *sim;
    node_id server;
    uint64_t until_ns;
};

/* ---- What it cuts ---- */

static void hold(struct sim *sim, node_id from, node_id to)
{
    if (sim_process(sim, from)->host == sim_process(sim, to)->host)
        return; /* within a host there is no network */
    sim_trace(sim, NODE_NONE, "%s is not heard by %s for now", node_name(from), node_name(to));
    sim->held[from][to] = true;
}

static void course_end(struct sim *sim, void *course)
{
    sim_give_back(sim, course);
    sim_trace(sim, NODE_NONE, "the course is over");
    memset(sim->held, 0, sizeof sim->held);
    network_heard(sim);
    sim->course = false;
}

/* ---- A primary that is outrun ---- */

static const struct message_view *view_now(struct sim *sim)
{
    return sim->saved_any ? saved_current(&sim->saved) : NULL;
}

static bool is_away(struct sim *sim, node_id node, node_id from)
{
    return sim_process(sim, node)->host != sim_process(sim, from)->host;
}

/* Members of a view that run, on other hosts than that server. */
static uint32_t members_away(struct sim *sim, const struct message_view *view, node_id server)
{
    uint32_t set = 0;

    for (uint32_t i = 0; i < sim->options.servers; i++)
        if (is_away(sim, NODE_SERVER(i), server) &&
            members_has(&view->members, NODE_SERVER(i), sim_incarnation(sim, NODE_SERVER(i))))
            set |= 1u << i;
    return set;
}

static uint32_t count_away(struct sim *sim, const struct message_view *view, node_id server)
{
    return (uint32_t)__builtin_popcount(members_away(sim, view, server));
}

static void outrun_end(void *subject, uint64_t argument)
{
    struct outrun *o = subject;

    (void)argument;
    course_end(o->sim, o);
}

/* The new primary dies, if it may. */
static void dies_young(void *subject, uint64_t argument)
{
    struct outrun *o = subject;
    struct sim *sim = o->sim;
    node_id primary = sim_primary(sim);

    (void)argument;
    if (!sim->faults_over && primary != NODE_NONE && primary != o->primary &&
        sim_can_spare(sim, primary))
        sim_crash(sim, primary);
    sim_after(sim, sim_chance(sim, HEAL_MS_MAX * MILLISECOND_NS), outrun_end, o, 0);
}

/* Whether it has appended what nobody on another host has. */
static bool is_ahead(struct sim *sim, node_id primary)
{
    uint64_t index = sim_process(sim, primary)->status.journal_index;

    for (uint32_t i = 0; i < sim->options.servers; i++)
        if (is_away(sim, NODE_SERVER(i), primary) && sim_running(sim, NODE_SERVER(i)) &&
            sim_process(sim, NODE_SERVER(i))->status.journal_index >= index)
            return false;
    return true;
}

/* Until now it heard what the others had to say, so that they accuse it first. */
static void outrun_deafen(struct outrun *o)
{
    for (uint32_t i = 0; i < o->sim->options.servers && !o->deaf; i++)
        hold(o->sim, NODE_SERVER(i), o->primary);
    o->deaf = true;
}

/* The operator wants another one, and says so again as long as there is none. */
static void outrun_order(struct outrun *o)
{
    struct sim *sim = o->sim;

    if (o->target == NODE_NONE || sim->now_ns < o->order_ns || !is_ahead(sim, o->primary) ||
        view_now(sim)->primary != o->primary)
        return;
    outrun_deafen(o);
    sim_command(sim, COMMAND_SWITCHOVER, o->target);
    o->order_ns = sim->now_ns + AGAIN_MS * MILLISECOND_NS;
}

/* From here on the rm does not hear the next primary. Where that needs the old one to commit
 * anything, it must be heard first: it has to accuse it. */
static void outrun_untell(struct outrun *o)
{
    const struct message_view *view = view_now(o->sim);

    if (view->number <= o->view || view->primary == o->primary)
        return;
    outrun_deafen(o);
    if (!o->untold || view->acks > count_away(o->sim, view, o->primary))
        return;
    o->untold = false;
    hold(o->sim, view->primary, NODE_RM);
}

/* Whether another one may yet take over: not when the rm has heard it instead of all others. */
static bool can_take_over(struct outrun *o)
{
    const struct message_view *view = view_now(o->sim);

    return view && (view->primary != o->primary || count_away(o->sim, view, o->primary) > 0);
}

/* Waits for the next view to serve. */
static void outrun_look(void *subject, uint64_t argument)
{
    struct outrun *o = subject;
    struct sim *sim = o->sim;
    node_id primary = sim_primary(sim);

    (void)argument;
    if (sim->faults_over || sim->now_ns > o->until_ns || !can_take_over(o)) {
        outrun_end(o, 0);
    } else if (primary != NODE_NONE && primary != o->primary) {
        sim_after(sim, sim_chance(sim, YOUNG_MS_MAX * MILLISECOND_NS), dies_young, o, 0);
    } else {
        outrun_order(o);
        outrun_untell(o);
        sim_after(sim, LOOK_NS, outrun_look, o, 0);
    }
}

static node_id any_of(struct sim *sim, uint32_t set)
{
    uint64_t skip = sim_chance(sim, (uint64_t)__builtin_popcount(set));

    while (skip-- > 0)
        set &= set - 1u;
    return NODE_SERVER((uint32_t)__builtin_ctz(set));
}

/* Without those on its own host it commits nothing, and those on others can do without it. */
static bool can_be_outrun(struct sim *sim, const struct message_view *view)
{
    uint32_t away = count_away(sim, view, view->primary);

    return view->acks > members_count(&view->members) - away &&
           view_policy_acks(&sim->saved.wanted, away) > 0;
}

/* All others must accuse it, and be at least two. */
static bool can_be_accused(struct sim *sim, const struct message_view *view)
{
    uint32_t away = count_away(sim, view, view->primary);

    return away > 1 && away == members_count(&view->members) - 1;
}

/* For how long members bear it, as server/server.c has it. */
static uint64_t silence_ns(const struct sim_options *o)
{
    return 2 * MILLISECOND_NS *
           (o->suspect_after_ms > o->lease_ms ? o->suspect_after_ms : o->lease_ms);
}

static struct outrun *outrun_take(struct sim *sim, const struct message_view *view)
{
    uint64_t silence = silence_ns(&sim->options), fill = FILL_MS_MAX * MILLISECOND_NS;
    struct outrun *o = sim_take(sim, sizeof *o);
    bool accused = can_be_accused(sim, view) && sim_chance(sim, 3) == 0;

    *o = (struct outrun){
        .sim = sim,
        .primary = view->primary,
        .target = accused ? NODE_NONE : any_of(sim, members_away(sim, view, view->primary)),
        .view = view->number,
        .order_ns = sim->now_ns + sim_chance(sim, silence / 2 < fill ? silence / 2 : fill),
        .until_ns = sim->now_ns + 2 * silence + TAKE_OVER_MS * MILLISECOND_NS,
        .untold = sim_chance(sim, 2) == 0,
    };
    sim->course = true;
    return o;
}

/* A primary is not heard by the other servers any more, but by the rm and its clients: it appends
 * what nobody else gets, and nobody may miss. Then another one takes over, commits a little and
 * dies young. Who is next is told by the views of the journals, not by their lengths. */
static void outrun(struct sim *sim)
{
    const struct message_view *view = view_now(sim);
    node_id primary = sim_primary(sim);
    struct outrun *o;

    if (!view || view->primary != primary || !sim_running(sim, NODE_RM) ||
        !can_be_outrun(sim, view))
        return;
    o = outrun_take(sim, view);
    sim_trace(sim, primary, "is to be outrun");
    for (uint32_t i = 0; i < sim->options.servers; i++)
        hold(sim, primary, NODE_SERVER(i));
    if (sim->options.disk && sim_chance(sim, 3) == 0)
        sim_trouble(sim, primary, sim_chance(sim, 2) ? TROUBLE_SLOW : TROUBLE_STALLED,
                    (uint32_t)sim_chance(sim, HEAL_MS_MAX));
    outrun_look(o, 0);
}

/* ---- A server that returns alone ---- */

static void alone_end(void *subject, uint64_t argument)
{
    struct alone *a = subject;

    (void)argument;
    course_end(a->sim, a);
}

/* Waits for it to be back. */
static void alone_look(void *subject, uint64_t argument)
{
    struct alone *a = subject;
    struct sim *sim = a->sim;

    (void)argument;
    if (sim->faults_over || sim->now_ns > a->until_ns)
        alone_end(a, 0);
    else if (sim_process(sim, a->server)->links[NODE_RM])
        sim_after(sim, sim_between(sim, ALONE_MS_MIN, ALONE_MS_MAX) * MILLISECOND_NS, alone_end, a,
                  0);
    else
        sim_after(sim, LOOK_NS, alone_look, a, 0);
}

/* It is about to die: from here on the rm hears that server only. */
static void alone_begin(struct alone *a)
{
    struct sim *sim = a->sim;

    for (uint32_t i = 0; i < sim->options.servers; i++)
        if (NODE_SERVER(i) != a->server)
            hold(sim, NODE_SERVER(i), NODE_RM);
    a->until_ns = sim->now_ns + BACK_MS_MAX * MILLISECOND_NS;
    sim_after(sim, LOOK_NS, alone_look, a, 0);
}

static struct alone *alone_take(struct sim *sim, node_id server, uint32_t ms)
{
    struct alone *a = sim_take(sim, sizeof *a);

    *a = (struct alone){ .sim = sim,
                         .server = server,
                         .until_ns = sim->now_ns + ms * MILLISECOND_NS };
    sim->course = true;
    return a;
}

static void dies_unsaved(void *subject, uint64_t argument)
{
    struct alone *a = subject;
    struct sim *sim = a->sim;

    (void)argument;
    if (sim->faults_over || !sim_running(sim, a->server) || !sim_can_spare(sim, a->server)) {
        alone_end(a, 0);
        return;
    }
    alone_begin(a);
    sim_crash(sim, a->server);
}

/* Waits for it to have committed what it will have lost. */
static void lag_look(void *subject, uint64_t argument)
{
    struct alone *a = subject;
    struct sim *sim = a->sim;
    const struct process *p = sim_process(sim, a->server);

    (void)argument;
    if (sim->faults_over || sim->now_ns > a->until_ns || p->state != PROCESS_RUNNING)
        alone_end(a, 0);
    else if (p->status.commit_index > disk_index_most(p))
        sim_after(sim, sim_chance(sim, LAG_ON_MS_MAX * MILLISECOND_NS), dies_unsaved, a, 0);
    else
        sim_after(sim, LOOK_NS, lag_look, a, 0);
}

/* A primary whose disk lags commits by the word of others what it has not saved itself. */
static bool lag_and_die(struct sim *sim)
{
    const struct message_view *view = view_now(sim);
    node_id primary = sim_primary(sim);

    if (!view || view->primary != primary || view->acks >= members_count(&view->members) ||
        !sim_can_spare(sim, primary))
        return false;
    sim_trouble(sim, primary, TROUBLE_STALLED, STALLED_MS);
    lag_look(alone_take(sim, primary, LAG_MS_MAX), 0);
    return true;
}

/* A machine loses its power, and the end of what its disk had synced is damaged. */
static bool tear_and_die(struct sim *sim, node_id server)
{
    uint32_t host = sim_process(sim, server)->host, set = 0;

    for (uint32_t i = 0; i < sim->options.servers; i++)
        if (sim_process(sim, NODE_SERVER(i))->host == host)
            set |= 1u << i;
    if (!sim_running(sim, server) || !faults_can_lose(sim, set, set) ||
        !sim_can_deceive(sim, server) || !sim_damage(sim, server, DAMAGE_END))
        return false;
    alone_begin(alone_take(sim, server, 0));
    sim_power_cut(sim, host, 0);
    return true;
}

/* A server comes back, sound as far as it can tell, and lacks what was committed; those who have it
 * cannot be heard for a while. */
static void return_alone(struct sim *sim)
{
    uint32_t count = sim->options.servers, first = (uint32_t)sim_chance(sim, count);

    if (!sim->options.disk || (sim_chance(sim, 2) && lag_and_die(sim)))
        return;
    for (uint32_t i = 0; i < count; i++)
        if (tear_and_die(sim, NODE_SERVER((first + i) % count)))
            return;
}

void course_fault(struct sim *sim, enum fault_kind kind)
{
    if (sim->course)
        return;
    switch (kind) {
    case FAULT_OUTRUN: outrun(sim); break;
    case FAULT_RETURN_ALONE: return_alone(sim); break;
    default: break;
    }
}
