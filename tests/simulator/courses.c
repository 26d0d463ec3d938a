/* courses - faults that are several events in a row, each at its time: what would hardly meet by
 * chance. They keep to what acks allows for, as all faults do. */
#include "tests/simulator/faults.h"
#include "tests/simulator/parts.h"

#define LOOK_NS      UINT64_C(200000) /* between two looks whether it has come so far */
#define FILL_MS_MAX  200u             /* that the old primary is alone before anybody acts on it */
#define TAKE_OVER_MS 600u             /* for another to take over */
#define YOUNG_MS_MAX 5u               /* that the new one lives */
#define HEAL_MS_MAX  800u
#define LAG_MS_MAX   200u /* that a primary lives on with a disk that does nothing */
#define ALONE_MS_MIN 500u /* that the rm hears one server only */
#define ALONE_MS_MAX 4000u

/* A primary that nobody follows any more, and what becomes of it. */
struct outrun {
    struct sim *sim;
    node_id primary;
    uint64_t view, until_ns;
    bool untold; /* the rm does not hear that the next view is active */
};

static void healed(void *subject, uint64_t argument)
{
    (void)argument;
    sim_heal(subject);
}

static void outrun_end(struct outrun *o)
{
    sim_after(o->sim, sim_chance(o->sim, HEAL_MS_MAX * MILLISECOND_NS), healed, o->sim, 0);
    sim_give_back(o->sim, o);
}

/* The new primary dies, if it may. */
static void dies_young(void *subject, uint64_t argument)
{
    struct outrun *o = subject;
    node_id primary = sim_primary(o->sim);

    (void)argument;
    if (!o->sim->faults_over && primary != NODE_NONE && primary != o->primary &&
        sim_can_spare(o->sim, primary))
        sim_crash(o->sim, primary);
    outrun_end(o);
}

/* Waits for the next view to serve. */
static void take_over(void *subject, uint64_t argument)
{
    struct outrun *o = subject;
    struct sim *sim = o->sim;
    const struct message_view *view = sim->saved_any ? saved_current(&sim->saved) : NULL;
    node_id primary = sim_primary(sim);

    (void)argument;
    if (o->untold && view && view->number > o->view && view->primary != o->primary) {
        o->untold = false;
        sim_cut_one_way(sim, view->primary, NODE_RM);
    }
    if (sim->faults_over || sim->now_ns > o->until_ns)
        outrun_end(o);
    else if (primary != NODE_NONE && primary != o->primary)
        sim_after(sim, sim_chance(sim, YOUNG_MS_MAX * MILLISECOND_NS), dies_young, o, 0);
    else
        sim_after(sim, LOOK_NS, take_over, o, 0);
}

/* The operator wants another one, or it is only accused. */
static void leave_alone(void *subject, uint64_t argument)
{
    struct outrun *o = subject;
    node_id target = NODE_SERVER(sim_chance(o->sim, o->sim->options.servers));

    (void)argument;
    if (sim_chance(o->sim, 3) > 0)
        sim_command(o->sim, COMMAND_SWITCHOVER, target);
    o->until_ns = o->sim->now_ns + TAKE_OVER_MS * MILLISECOND_NS;
    take_over(o, 0);
}

/* A primary is cut off from the servers, not from the rm and its clients: it appends what nobody
 * else gets, and nobody may miss. Then another one takes over, commits a little and dies young.
 * Who is next is told by the views of the journals, not by their lengths. */
static void outrun(struct sim *sim)
{
    node_id primary = sim_primary(sim);
    struct outrun *o;

    if (primary == NODE_NONE || sim->options.servers < 2)
        return;
    o = sim_take(sim, sizeof *o);
    *o = (struct outrun){
        .sim = sim, .primary = primary, .view = sim_view(sim), .untold = sim_chance(sim, 2) == 0
    };
    sim_trace(sim, primary, "is to be outrun");
    for (uint32_t i = 0; i < sim->options.servers; i++)
        if (NODE_SERVER(i) != primary)
            sim_cut(sim, primary, NODE_SERVER(i));
    if (sim->options.disk && sim_chance(sim, 3) == 0)
        sim_trouble(sim, primary, sim_chance(sim, 2) ? TROUBLE_SLOW : TROUBLE_STALLED,
                    (uint32_t)sim_chance(sim, HEAL_MS_MAX));
    sim_after(sim, sim_chance(sim, FILL_MS_MAX * MILLISECOND_NS), leave_alone, o, 0);
}

/* From here on the rm hears that server only. */
static void be_alone(struct sim *sim, node_id server)
{
    for (uint32_t i = 0; i < sim->options.servers; i++)
        if (NODE_SERVER(i) != server)
            sim_cut_one_way(sim, NODE_SERVER(i), NODE_RM);
    sim_after(sim, sim_between(sim, ALONE_MS_MIN, ALONE_MS_MAX) * MILLISECOND_NS, healed, sim, 0);
}

static void dies_unsaved(void *subject, uint64_t argument)
{
    struct sim *sim = subject;
    node_id server = (node_id)argument;

    if (sim->faults_over || !sim_running(sim, server) || !sim_can_spare(sim, server))
        return;
    be_alone(sim, server);
    sim_crash(sim, server);
}

/* A primary whose disk lags commits by the word of others what it has not saved itself; or a
 * machine loses its power, and the last group on its disk is damaged and looks like one that was
 * never finished. It comes back, sound as far as it can tell, and lacks what was committed; those
 * who have it cannot be heard for a while. */
static void return_alone(struct sim *sim)
{
    node_id primary = sim_primary(sim), server = NODE_SERVER(sim_chance(sim, sim->options.servers));
    uint32_t host = sim_process(sim, server)->host, set = 0;

    if (!sim->options.disk || primary == NODE_NONE)
        return;
    if (sim_chance(sim, 2)) {
        sim_trouble(sim, primary, TROUBLE_STALLED, 2 * LAG_MS_MAX);
        sim_after(sim, sim_chance(sim, LAG_MS_MAX * MILLISECOND_NS), dies_unsaved, sim, primary);
        return;
    }
    for (uint32_t i = 0; i < sim->options.servers; i++)
        if (sim_process(sim, NODE_SERVER(i))->host == host)
            set |= 1u << i;
    if (!faults_can_lose(sim, set, set) || !sim_damage(sim, server, DAMAGE_END))
        return;
    be_alone(sim, server);
    sim_power_cut(sim, host, 0);
}

void course_fault(struct sim *sim, enum fault_kind kind)
{
    switch (kind) {
    case FAULT_OUTRUN: outrun(sim); break;
    case FAULT_RETURN_ALONE: return_alone(sim); break;
    default: break;
    }
}
