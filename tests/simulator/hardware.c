/* hardware - faults of disks and of power, and of several processes at once. Like all faults they
 * keep to what acks allows for: what is destroyed, the others have. */
#include "tests/simulator/faults.h"
#include "tests/simulator/parts.h"

#define DOWN_MS_MAX     2000u /* of a host without power, of a process nobody starts */
#define ROW_COUNT_MAX   5u    /* processes that die in a row */
#define ROW_MS_MAX      300u  /* from the first to the last of them */
#define WALL_JUMP_S_MAX 7200u /* forwards or back */

static node_id any_server(struct sim *sim)
{
    return NODE_SERVER(sim_chance(sim, sim->options.servers));
}

static uint32_t servers_of(struct sim *sim, uint32_t host)
{
    uint32_t set = 0;

    for (uint32_t i = 0; i < sim->options.servers; i++)
        if (sim_process(sim, NODE_SERVER(i))->host == host)
            set |= 1u << i;
    return set;
}

/* A process may die at any time, a server when it is not needed any more. */
static void die(void *subject, uint64_t argument)
{
    struct process *p = subject;

    (void)argument;
    if (!p->sim->faults_over && p->state != PROCESS_DOWN &&
        (!node_is_server(p->node) || sim_can_spare(p->sim, p->node)))
        sim_crash(p->sim, p->node);
}

static void crash_row(struct sim *sim)
{
    uint32_t count = 2 + (uint32_t)sim_chance(sim, ROW_COUNT_MAX - 1);

    while (count > 0) {
        struct process *p = sim_process(sim, (node_id)sim_chance(sim, NODE_COUNT));

        if (!p)
            continue;
        sim_after(sim, sim_chance(sim, ROW_MS_MAX * MILLISECOND_NS), die, p, 0);
        count--;
    }
}

static void crash_rm_twice(struct sim *sim)
{
    sim_process(sim, NODE_RM)->dies_again = true;
    sim_crash(sim, NODE_RM);
}

static bool all_spared(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->options.servers; i++)
        if (!sim->options.disk || !sim_can_spare(sim, NODE_SERVER(i)))
            return false;
    return true;
}

/* Everything that is not a server is started again at a time of its own; servers are, as soon as
 * those are back that start them. */
static void crash_cluster(struct sim *sim)
{
    if (!all_spared(sim))
        return;
    sim_trace(sim, NODE_NONE, "every process dies at once");
    for (uint32_t i = 0; i < NODE_COUNT; i++) {
        struct process *p = sim_process(sim, (node_id)i);

        if (!p || p->state == PROCESS_DOWN)
            continue;
        p->down_until_ns = sim->now_ns + sim_chance(sim, DOWN_MS_MAX * MILLISECOND_NS);
        sim_crash(sim, (node_id)i);
    }
}

/* Servers there whose journals would not be believed any more. In memory every journal is lost. */
static uint32_t power_takes(struct sim *sim, uint32_t set)
{
    for (uint32_t i = 0; i < sim->options.servers; i++) {
        const struct process *p = sim_process(sim, NODE_SERVER(i));

        if (sim->options.disk && !disk_power_matters(p) && disk_remembers(p, p->incarnation) &&
            p->incarnation > p->disk_lost)
            set &= ~(1u << i);
    }
    return set;
}

void sim_power_cut(struct sim *sim, uint32_t host, uint32_t ms)
{
    sim_trace(sim, NODE_NONE, "host %u is without power for %u ms", host + 1, ms);
    sim->boot[host]++;
    for (uint32_t i = 0; i < NODE_COUNT; i++) {
        struct process *p = sim_process(sim, (node_id)i);

        if (!p || p->host != host)
            continue;
        p->down_until_ns = sim->now_ns + ms * MILLISECOND_NS;
        sim_crash(sim, (node_id)i);
        disk_power_cut(p);
    }
}

bool sim_damage(struct sim *sim, node_id server, enum disk_damage damage)
{
    return disk_damage(sim_process(sim, server), damage);
}

void sim_trouble(struct sim *sim, node_id server, enum disk_trouble trouble, uint32_t ms)
{
    disk_trouble(sim_process(sim, server), trouble, ms);
}

void sim_lose_disk(struct sim *sim, node_id server)
{
    sim_crash(sim, server);
    disk_lose(sim_process(sim, server));
}

void sim_replace_store(struct sim *sim, bool lost)
{
    struct process *rm = sim_process(sim, NODE_RM);

    sim_trace(sim, NODE_RM, lost ? "has lost its store" : "has an old store");
    sim_crash(sim, NODE_RM);
    edge_store_replace(rm, lost);
}

static void power_host(struct sim *sim)
{
    uint32_t host = (uint32_t)sim_chance(sim, sim->options.hosts);
    uint32_t set = servers_of(sim, host);

    if (faults_can_lose(sim, power_takes(sim, set), set))
        sim_power_cut(sim, host, (uint32_t)sim_chance(sim, DOWN_MS_MAX));
}

static void power_all(struct sim *sim)
{
    uint32_t ms = (uint32_t)sim_chance(sim, DOWN_MS_MAX);
    uint32_t all = (1u << sim->options.servers) - 1u;

    if (!faults_can_lose(sim, power_takes(sim, all), all))
        return;
    for (uint32_t host = 0; host < sim->options.hosts; host++)
        sim_power_cut(sim, host, ms + (uint32_t)sim_chance(sim, 300));
    sim_power_cut(sim, sim_process(sim, NODE_RM)->host, ms);
    sim_power_cut(sim, sim_process(sim, NODE_GFD)->host, ms);
}

static void damage(struct sim *sim, enum disk_damage damage)
{
    node_id server = any_server(sim);

    if (!sim->options.disk || (damage != DAMAGE_NEWEST_CHECKPOINT && !sim_can_lose(sim, server)))
        return;
    /* Nobody knows of it before the next start. */
    if (disk_damage(sim_process(sim, server), damage) && sim_chance(sim, 2) &&
        sim_can_spare(sim, server))
        sim_crash(sim, server);
}

/* For shorter or longer than anybody's patience. */
static uint32_t trouble_ms(struct sim *sim)
{
    return 1 + (uint32_t)sim_chance(sim, 1ull << (4 + sim_chance(sim, 9)));
}

static void disk_fault(struct sim *sim, enum disk_trouble trouble)
{
    struct process *p = sim_process(sim, any_server(sim));
    bool ends = trouble == TROUBLE_WRITE || trouble == TROUBLE_SYNC;

    if (!sim->options.disk ||
        (ends && !(sim->options.fsync == FSYNC_ALWAYS ? sim_can_spare(sim, p->node)
                                                      : sim_can_lose(sim, p->node))))
        return;
    p->harmed |= ends;
    disk_trouble(p, trouble, trouble_ms(sim));
}

/* Nobody is about to die of what was done to him. */
static bool unharmed(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->options.servers; i++) {
        const struct process *p = sim_process(sim, NODE_SERVER(i));

        if (p->harmed || p->doom > 0 || p->paused_until_ns > sim->now_ns ||
            p->slow_until_ns > sim->now_ns)
            return false;
    }
    return true;
}

/* A server that dies while the store is old may be the first one that the rm hears, and enough of
 * an earlier view: its disk must tell of the present one. In memory nobody dies then. */
static bool disks_know_view(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->options.servers && sim->options.disk; i++)
        if (disk_view(sim_process(sim, NODE_SERVER(i))) != sim_view(sim))
            return false;
    return true;
}

/* Only while everybody who runs knows the present view: else nobody could tell that there was one.
 */
static void replace_store(struct sim *sim, bool lost)
{
    struct process *rm = sim_process(sim, NODE_RM);

    if (!sim_is_whole(sim) || !unharmed(sim) ||
        (!lost && (buffer_size(&rm->store_before) == 0 || !disks_know_view(sim))))
        return;
    sim_replace_store(sim, lost);
}

static void slow_server(struct sim *sim)
{
    struct process *p = sim_process(sim, any_server(sim));

    if (p->state != PROCESS_RUNNING || !sim_can_spare(sim, p->node))
        return;
    p->slow_until_ns = sim->now_ns + trouble_ms(sim) * MILLISECOND_NS;
    p->harmed = true;
    sim_trace(sim, p->node, "is slow");
}

static void wall_jump(struct sim *sim)
{
    uint32_t host = (uint32_t)sim_chance(sim, sim->options.hosts);
    int64_t jump_us =
        ((int64_t)sim_chance(sim, UINT64_C(2) * WALL_JUMP_S_MAX) - (int64_t)WALL_JUMP_S_MAX) *
        1000000;

    sim_trace(sim, NODE_NONE, "the wall clock of host %u jumps by %lld s", host + 1,
              (long long)(jump_us / 1000000));
    for (uint32_t i = 0; i < NODE_COUNT; i++)
        if (sim_process(sim, (node_id)i) && sim_process(sim, (node_id)i)->host == host)
            sim_process(sim, (node_id)i)->wall_offset_us += jump_us;
    sim->history.wall_jumped = true;
}

void hardware_fault(struct sim *sim, enum fault_kind kind)
{
    static const enum disk_trouble fails[] = { TROUBLE_WRITE, TROUBLE_SYNC, TROUBLE_READ };

    switch (kind) {
    case FAULT_DAMAGE_RECORD: damage(sim, DAMAGE_RECORD); break;
    case FAULT_DAMAGE_CHECKPOINT: damage(sim, DAMAGE_NEWEST_CHECKPOINT); break;
    case FAULT_DAMAGE_CHECKPOINTS: damage(sim, DAMAGE_CHECKPOINTS); break;
    case FAULT_DAMAGE_LIFE: damage(sim, DAMAGE_LIFE); break;
    case FAULT_DISK_FULL: disk_fault(sim, TROUBLE_FULL); break;
    case FAULT_DISK_SLOW: disk_fault(sim, TROUBLE_SLOW); break;
    case FAULT_DISK_STALLED: disk_fault(sim, TROUBLE_STALLED); break;
    case FAULT_DISK_FAILS: disk_fault(sim, fails[sim_chance(sim, 3)]); break;
    case FAULT_POWER_HOST: power_host(sim); break;
    case FAULT_POWER_ALL: power_all(sim); break;
    case FAULT_CRASH_ROW: crash_row(sim); break;
    case FAULT_CRASH_RM_TWICE: crash_rm_twice(sim); break;
    case FAULT_CRASH_CLUSTER: crash_cluster(sim); break;
    case FAULT_OLD_STORE: replace_store(sim, false); break;
    case FAULT_LOSE_STORE: replace_store(sim, true); break;
    case FAULT_SLOW_SERVER: slow_server(sim); break;
    case FAULT_WALL_JUMP: wall_jump(sim); break;
    default: break;
    }
}
