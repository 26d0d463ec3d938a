/* Stories of whole clusters, in the simulator: what must happen when this or that goes wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/simulator/faults.h"
#include "tests/simulator/sim.h"

/* A cluster that is up, with clients that write and read. */
static struct sim *cluster(const struct sim_options *options)
{
    struct sim *sim = sim_new(options);

    if (!sim_run_until(sim, sim_is_whole, 5000))
        fail_msg("does not come up: %s", sim_failure(sim) ? sim_failure(sim) : "takes too long");
    return sim;
}

static struct sim_options busy(uint64_t seed)
{
    struct sim_options options;

    sim_options_quiet(&options, seed);
    options.session_clients = 3;
    options.plain_clients = 1;
    options.readers = 1;
    return options;
}

/* Peace, and everything acknowledged must be there. */
static void over(struct sim *sim)
{
    sim_heal(sim);
    sim_settle(sim);
    if (sim_failure(sim))
        fail_msg("%s", sim_failure(sim));
    sim_free(sim);
}

/* Nothing goes wrong: one view, and it stays. */
static void test_quiet(void **state)
{
    struct sim_options options = busy(1);
    struct sim *sim = cluster(&options);
    uint64_t view = sim_view(sim);

    (void)state;
    sim_run(sim, 10000);
    assert_int_equal(sim_view(sim), view);
    assert_true(sim_answered(sim) > 1000);
    over(sim);
}

/* The primary dies: another leads within milliseconds, and the dead one is back as a member. */
static void test_primary_dies(void **state)
{
    struct sim_options options = busy(2);
    struct sim *sim = cluster(&options);
    node_id primary = sim_primary(sim);
    uint64_t died_us = sim_now_us(sim);

    (void)state;
    sim_crash(sim, primary);
    assert_true(sim_run_until(sim, sim_has_live_primary, 100));
    assert_int_not_equal(sim_primary(sim), primary);
    assert_true(sim_now_us(sim) - died_us < 20000);
    assert_true(sim_run_until(sim, sim_is_whole, 2000));
    over(sim);
}

/* One after another until a single server is left of what there was: what was acknowledged lives
 * on. */
static void test_each_dies(void **state)
{
    struct sim_options options = busy(3);
    struct sim *sim;

    (void)state;
    options.style = STYLE_PASSIVE;
    sim = cluster(&options);
    for (uint32_t i = 0; i < 6; i++) {
        sim_crash(sim, NODE_SERVER(i % 3));
        sim_run(sim, 300);
        assert_true(sim_run_until(sim, sim_is_whole, 5000));
    }
    over(sim);
}

/* The rm cannot hear that the primary crashed, so it must not act; then it can, and does. */
static void test_rm_deaf(void **state)
{
    struct sim_options options = busy(4);
    struct sim *sim = cluster(&options);
    uint64_t view = sim_view(sim);
    node_id primary = sim_primary(sim);

    (void)state;
    for (uint32_t i = 0; i < 3; i++)
        sim_cut(sim, NODE_SERVER(i), NODE_RM);
    sim_cut(sim, NODE_GFD, NODE_RM);
    sim_crash(sim, primary);
    sim_run(sim, 5000);
    assert_int_equal(sim_view(sim), view);
    sim_heal(sim);
    assert_true(sim_run_until(sim, sim_has_live_primary, 15000));
    over(sim);
}

/* Detectors and the rm die: the service goes on. */
static void test_detectors_die(void **state)
{
    struct sim_options options = busy(5);
    struct sim *sim = cluster(&options);
    uint64_t view = sim_view(sim);
    uint64_t answered = sim_answered(sim);

    (void)state;
    sim_crash(sim, NODE_GFD);
    sim_crash(sim, NODE_RM);
    for (uint32_t i = 0; i < 3; i++)
        sim_crash(sim, NODE_LFD(i));
    sim_run(sim, 2500);
    assert_int_equal(sim_view(sim), view);
    assert_true(sim_answered(sim) > answered + 200);
    over(sim);
}

/* A server that hangs is killed, and comes back. */
static void test_hang(void **state)
{
    struct sim_options options = busy(6);
    struct sim *sim = cluster(&options);
    node_id primary = sim_primary(sim);
    uint64_t incarnation = sim_incarnation(sim, primary);

    (void)state;
    sim_pause(sim, primary, 60000);
    sim_run(sim, options.suspect_after_ms + 100);
    assert_true(sim_has_live_primary(sim));
    assert_int_not_equal(sim_primary(sim), primary);
    assert_true(sim_run_until(sim, sim_is_whole, 2000));
    assert_int_not_equal(sim_incarnation(sim, primary), incarnation);
    over(sim);
}

/* A server that dies again and again is left alone once its budget is used up; the others serve on,
 * and the operator's word takes it back. */
static void test_budget_used_up(void **state)
{
    struct sim_options options = busy(28);
    struct sim *sim;
    node_id victim;

    (void)state;
    options.budget = 2;
    sim = cluster(&options);
    victim = sim_backup(sim);
    for (uint32_t i = 0; i <= options.budget; i++) {
        assert_true(sim_run_until(sim, sim_is_whole, 5000));
        sim_crash(sim, victim);
        sim_run(sim, 1);
    }
    assert_false(sim_run_until(sim, sim_is_whole, 20000));
    assert_false(sim_running(sim, victim));
    assert_true(sim_has_live_primary(sim));
    sim_command(sim, COMMAND_START, victim);
    assert_true(sim_run_until(sim, sim_is_whole, 5000));
    over(sim);
}

/* A host that nobody reaches is left out, after its lease, and taken in again. */
static void test_host_lost(void **state)
{
    struct sim_options options = busy(7);
    struct sim *sim = cluster(&options);
    node_id primary = sim_primary(sim);

    (void)state;
    sim_isolate_host(sim, node_index(primary) % 3);
    sim_run(sim, 3000);
    assert_true(sim_has_live_primary(sim));
    assert_int_not_equal(sim_primary(sim), primary);
    over(sim);
}

/* Every server dies at once: the rm says that data would be lost, and makes no view until it is
 * told to. */
static void test_all_lost(void **state)
{
    struct sim_options options = busy(8);
    struct sim *sim = cluster(&options);
    uint64_t view;

    (void)state;
    sim_run(sim, 500);
    view = sim_view(sim);
    for (uint32_t i = 0; i < 3; i++)
        sim_crash(sim, NODE_SERVER(i));
    sim_run(sim, 5000);
    assert_int_equal(sim_view(sim), view);
    assert_true(sim_loss_waits(sim) > 0);
    sim_accept_loss(sim);
    assert_true(sim_run_until(sim, sim_is_whole, 5000));
    over(sim);
}

/* What is left after a loss is an older state, with older sessions: a request that was sent again
 * may be executed anew, and its value live then. The check took that for an expired one. Seed
 * 402051. */
static void test_repeats_after_a_loss(void **state)
{
    struct sim_options options;
    struct sim *sim;

    (void)state;
    sim_options_quiet(&options, 13);
    options.disk = true;
    options.session_clients = 1;
    options.plain_clients = 8;
    options.readers = 6;
    options.keys = 0;
    options.registers = 1;
    options.repeats = true;
    options.think_ms = 20;
    sim = cluster(&options);
    sim_run(sim, 1000);
    sim_isolate_host(sim, 2);
    sim_run(sim, 3000);
    sim_lose_disk(sim, NODE_SERVER(0));
    sim_lose_disk(sim, NODE_SERVER(1));
    sim_heal(sim);
    sim_run(sim, 3000);
    sim_accept_loss(sim);
    assert_true(sim_run_until(sim, sim_is_whole, 5000));
    sim_run(sim, 3000);
    over(sim);
}

/* The last one of a view dies while the rm stands still, with the report of that one before it: the
 * view that it makes of it is lost, whenever it comes to make it. Seed 514497. */
static void test_rm_stands_still(void **state)
{
    struct sim_options options = busy(9);
    struct sim *sim;
    node_id primary;
    uint64_t view;

    (void)state;
    options.servers = options.hosts = 2;
    options.delay_us_min = options.delay_us_max = 2000;
    sim = cluster(&options);
    primary = sim_primary(sim);
    view = sim_view(sim);
    sim_crash(sim, primary);
    sim_run(sim, 6); /* it has fenced the other one */
    sim_pause(sim, NODE_RM, 3000);
    sim_run(sim, 100);
    assert_int_equal(sim_view(sim), view);
    sim_crash(sim, NODE_SERVER(1 - node_index(primary)));
    sim_run(sim, 5000);
    assert_true(sim_view(sim) > view);
    assert_true(sim_loss_waits(sim) > 0);
    over(sim);
}

/* The report of the last one of a view is long on its way. When it comes, its sender is dead, and
 * the rm, which has no gfd meanwhile, does not know: the view that it makes is lost. Seed 500202.
 */
static void test_report_of_the_dead(void **state)
{
    struct sim_options options = busy(9);
    struct sim *sim;
    node_id primary, other;
    uint64_t view;

    (void)state;
    options.servers = options.hosts = 2;
    sim = cluster(&options);
    primary = sim_primary(sim);
    other = NODE_SERVER(1 - node_index(primary));
    view = sim_view(sim);
    sim_cut_one_way(sim, other, NODE_RM);
    sim_crash(sim, primary);
    sim_run(sim, 10); /* it has fenced the other one */
    sim_cut(sim, NODE_GFD, NODE_RM);
    sim_half_open(sim, NODE_RM, NODE_GFD);
    sim_crash(sim, other);
    sim_run(sim, 1500);
    assert_int_equal(sim_view(sim), view);
    sim_heal(sim);
    sim_run(sim, 5000);
    assert_true(sim_view(sim) > view);
    assert_true(sim_loss_waits(sim) > 0);
    over(sim);
}

static bool has_first_view(struct sim *sim)
{
    return sim_view(sim) > 0;
}

/* With acks = 1 nobody can be done without who may have acknowledged something. A server that dies
 * before it could save anything of its very first view comes back with an empty journal, as one
 * does that lost its disk; but this one is still the one that was made for that life. */
static void test_dies_in_first_view(void **state)
{
    struct sim_options options = busy(1194);
    struct sim *sim;

    (void)state;
    options.disk = true;
    options.servers = options.hosts = 5;
    options.acks = ACKS_COUNT;
    options.acks_count = 1;
    sim = sim_new(&options);
    assert_true(sim_run_until(sim, has_first_view, 5000));
    for (uint32_t i = 0; i < 5; i++)
        sim_crash(sim, NODE_SERVER(i));
    assert_true(sim_run_until(sim, sim_is_whole, 10000));
    assert_int_equal(sim_loss_waits(sim), 0);
    over(sim);
}

/* The operator moves the primary, and changes the style, under load. */
static void test_operator(void **state)
{
    struct sim_options options = busy(9);
    struct sim *sim = cluster(&options);
    node_id target = sim_backup(sim);
    uint64_t view;

    (void)state;
    sim_command(sim, COMMAND_SWITCHOVER, target);
    sim_run(sim, 200);
    assert_int_equal(sim_primary(sim), target);
    view = sim_view(sim);
    sim_command(sim, COMMAND_STYLE_PASSIVE, NODE_NONE);
    sim_run(sim, 2000);
    assert_int_equal(sim_view(sim), view + 1);
    sim_command(sim, COMMAND_STYLE_ACTIVE, NODE_NONE);
    sim_run(sim, 500);
    assert_int_equal(sim_view(sim), view + 2);
    assert_true(sim_is_whole(sim));
    over(sim);
}

static struct sim_options on_disk(uint64_t seed, enum fsync_policy fsync)
{
    struct sim_options options = busy(seed);

    options.disk = true;
    options.fsync = fsync;
    options.fsync_interval_ms = 1000;
    options.keep_bytes_min = 8192;
    return options;
}

/* The rm loses its store while the cluster serves: as nobody lacks anything, there is soon a view
 * again, also with journals in memory. */
static void test_store_lost(void **state)
{
    struct sim_options options = busy(11);
    struct sim *sim;
    uint64_t view;

    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        sim = cluster(&options);
        sim_run(sim, 500);
        view = sim_view(sim);
        sim_replace_store(sim, true);
        assert_true(sim_run_until(sim, sim_is_whole, 5000));
        assert_true(sim_view(sim) > view);
        over(sim);
        options = on_disk(12, FSYNC_ALWAYS);
    }
}

/* Its store is an old one: no number is used twice, and nobody who serves a later view is stopped
 * before that is known. */
static void test_store_old(void **state)
{
    struct sim_options options = on_disk(13, FSYNC_ALWAYS);
    struct sim *sim = cluster(&options);
    uint64_t view;

    (void)state;
    for (uint32_t i = 0; i < 9; i++) {
        sim_crash(sim, NODE_SERVER(i % 3));
        sim_run(sim, 100);
        assert_true(sim_run_until(sim, sim_is_whole, 5000));
    }
    view = sim_view(sim);
    sim_replace_store(sim, false);
    assert_true(sim_run_until(sim, sim_is_whole, 5000));
    assert_true(sim_view(sim) > view);
    over(sim);
}

/* A copy is put back only when each server would know the present view after its death, too: the
 * rm may hear it alone, and take an earlier view for the newest (seed 808386). */
static void test_store_old_and_disk_behind(void **state)
{
    struct sim_options options = on_disk(18, FSYNC_ALWAYS);
    struct sim *sim = cluster(&options);
    uint64_t life;

    (void)state;
    for (uint32_t i = 0; i < 9; i++) {
        sim_acks(sim, ACKS_COUNT, 1 + i % 2);
        sim_run(sim, 200);
        assert_true(sim_is_whole(sim));
    }
    life = sim_incarnation(sim, NODE_RM);
    sim_trouble(sim, sim_primary(sim), TROUBLE_STALLED, 1000);
    sim_acks(sim, ACKS_COUNT, 2);
    sim_run(sim, 200);
    assert_true(sim_is_whole(sim));
    hardware_fault(sim, FAULT_OLD_STORE);
    assert_int_equal(sim_incarnation(sim, NODE_RM), life);
    sim_run(sim, 2000);
    assert_true(sim_is_whole(sim));
    hardware_fault(sim, FAULT_OLD_STORE);
    assert_int_not_equal(sim_incarnation(sim, NODE_RM), life);
    over(sim);
}

static bool both_run(struct sim *sim)
{
    return sim_running(sim, NODE_SERVER(0)) && sim_running(sim, NODE_SERVER(1));
}

static void rm_hears_neither(struct sim *sim)
{
    sim_cut(sim, NODE_SERVER(0), NODE_RM);
    sim_cut(sim, NODE_SERVER(1), NODE_RM);
}

/* A primary that nobody hears is over, and does not know it. The one that went on without it dies,
 * and when it is back it meets the old one before the rm: nothing is taken from it (seed 724106).
 */
static void test_meets_an_earlier_primary(void **state)
{
    struct sim_options options = on_disk(17, FSYNC_ALWAYS);
    struct sim *sim;
    node_id old;

    (void)state;
    options.servers = options.hosts = 2;
    sim = cluster(&options);
    old = sim_primary(sim);
    sim_isolate_host(sim, node_index(old));
    sim_run(sim, 2000);
    assert_true(sim_has_live_primary(sim));
    assert_int_not_equal(sim_primary(sim), old);
    sim_crash(sim, sim_primary(sim));
    sim_run(sim, 5);
    rm_hears_neither(sim);
    assert_true(sim_run_until(sim, both_run, 1000));
    sim_heal(sim);
    rm_hears_neither(sim);
    sim_run(sim, 1000);
    over(sim);
}

/* Power goes everywhere at once. What was synced before it was acknowledged is there. */
static void test_power_cut(void **state)
{
    struct sim_options options = on_disk(14, FSYNC_ALWAYS);
    struct sim *sim = cluster(&options);

    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        sim_run(sim, 1000);
        for (uint32_t host = 0; host < 3; host++)
            sim_power_cut(sim, host, 100);
    }
    over(sim);
}

/* Without a sync before each acknowledgement the rm believes nobody after a power cut, and waits;
 * killed processes alone cost nothing. */
static void test_power_cut_unsynced(void **state)
{
    struct sim_options options = on_disk(15, FSYNC_INTERVAL);
    struct sim *sim = cluster(&options);
    uint64_t view;

    (void)state;
    sim_run(sim, 700);
    for (uint32_t i = 0; i < 3; i++)
        sim_crash(sim, NODE_SERVER(i));
    assert_true(sim_run_until(sim, sim_is_whole, 5000));
    view = sim_view(sim);
    for (uint32_t host = 0; host < 3; host++)
        sim_power_cut(sim, host, 100);
    sim_run(sim, 5000);
    assert_int_equal(sim_view(sim), view);
    assert_true(sim_loss_waits(sim) > 0);
    sim_accept_loss(sim);
    assert_true(sim_run_until(sim, sim_is_whole, 5000));
    over(sim);
}

static bool s3_runs(struct sim *sim)
{
    return sim_running(sim, NODE_SERVER(2));
}

/* A join begins twice, the second time further in front: the first primary dies with entries that
 * s4 has not got, and until it has, the next one gives away only the state before them. */
static void join_twice(struct sim *sim)
{
    assert_int_equal(sim_primary(sim), NODE_SERVER(0));
    sim_lose_disk(sim, NODE_SERVER(2));
    sim_run(sim, 15);
    for (uint32_t i = 0; i < 2; i++)
        sim_slow(sim, NODE_SERVER(i), NODE_SERVER(3), 100000, 0);
    sim_slow(sim, NODE_SERVER(3), NODE_SERVER(1), 100000, 0);
    sim_slow(sim, NODE_SERVER(1), NODE_SERVER(2), 100000, 0); /* who gives s3 its state */
    sim_slow(sim, NODE_SERVER(3), NODE_SERVER(2), 100000, 0);
    assert_true(sim_run_until(sim, s3_runs, 5000));
    sim_run(sim, 60);
    sim_crash(sim, NODE_SERVER(0));
    sim_clients_stop(sim);
    sim_run(sim, 500);
    sim_heal(sim);
    assert_true(sim_run_until(sim, sim_is_whole, 5000));
}

/* The power goes when such a join is over, and the disk has the journal up to any point. The
 * checkpoint that came is of use though entries are never synced: the journal was, when it was kept
 * (seed 760002). */
static void test_power_cut_after_join(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct sim_options options = on_disk(seed, FSYNC_NEVER);
        struct sim *sim;

        options.servers = options.hosts = 4;
        options.plain_clients = options.pipelines = 2;
        options.bulk_bytes = 4096;
        options.journal_bytes_max = 1u << 15;
        options.keep_bytes_min = 1u << 24; /* no other checkpoint is kept */
        sim = cluster(&options);
        sim_run(sim, 1000);
        join_twice(sim);
        sim_power_cut(sim, 2, 100);
        over(sim);
    }
}

/* Damage in a journal, in both checkpoints or in what says what to believe: the server begins anew,
 * or has no voice until it has caught up. In the newest checkpoint: the older one does. */
static void test_damage(void **state)
{
    struct sim_options options = on_disk(16, FSYNC_ALWAYS);
    struct sim *sim = cluster(&options);

    (void)state;
    for (uint32_t i = 0; i < 8; i++) {
        uint32_t waits = 0;

        sim_run(sim, 500);
        while (!sim_damage(sim, NODE_SERVER(i % 3), (enum disk_damage)(i % 4)) && waits++ < 400)
            sim_run(sim, 100);
        assert_true(waits < 400);
        sim_crash(sim, NODE_SERVER(i % 3));
        assert_true(sim_run_until(sim, sim_is_whole, 5000));
    }
    over(sim);
}

/* A backup's machine loses its power, and it takes the end of its journal, which was damaged, for
 * torn. A second one that does is more than elections bear, also when the disk of the first is
 * lost, for it may have reported by then: until a view that is active has a later life of it (seed
 * 5020274). */
static void test_end_cut_by_mistake(void **state)
{
    struct sim_options options = on_disk(18, FSYNC_ALWAYS);
    struct sim *sim = cluster(&options);
    node_id backup = sim_backup(sim), primary = sim_primary(sim);

    (void)state;
    for (uint32_t waits = 0; !sim_damage(sim, backup, DAMAGE_END); waits++) {
        assert_true(waits < 1000);
        sim_run(sim, 1);
    }
    assert_true(sim_can_deceive(sim, backup));
    assert_false(sim_can_deceive(sim, primary));
    sim_power_cut(sim, node_index(backup), 100);
    sim_lose_disk(sim, backup);
    assert_false(sim_can_deceive(sim, primary));
    assert_true(sim_run_until(sim, sim_is_whole, 5000));
    assert_true(sim_can_deceive(sim, primary));
    over(sim);
}

/* A full disk: its server leaves, the others go on, and it is back when there is room. */
static void test_disk_full(void **state)
{
    struct sim_options options = on_disk(17, FSYNC_ALWAYS);
    struct sim *sim = cluster(&options);
    uint64_t answered;

    (void)state;
    sim_trouble(sim, sim_primary(sim), TROUBLE_FULL, 4000);
    sim_run(sim, 1000);
    answered = sim_answered(sim);
    sim_run(sim, 2000);
    assert_true(sim_answered(sim) > answered + 100);
    assert_false(sim_is_whole(sim));
    assert_true(sim_run_until(sim, sim_is_whole, 5000));
    over(sim);
}

/* A disk is full, so its server leaves, and joins with a journal begun anew; but it dies before the
 * disk has come to that. What is there is as good as it was. The simulator left some of what waited
 * behind the group being written, too (seeds 706884 and 708182). */
static void test_dies_before_it_begins_anew(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct sim_options options = on_disk(seed, FSYNC_ALWAYS);
        struct sim *sim;
        node_id backup;

        options.journal_bytes_max = 1u << 15;
        options.bulk_bytes = 4096;
        sim = cluster(&options);
        sim_run(sim, 500);
        backup = sim_backup(sim);
        sim_trouble(sim, backup, TROUBLE_FULL, 1500);
        sim_run(sim, 1000);
        sim_crash(sim, backup);
        over(sim);
    }
}

/* Links that carry two bytes per microsecond, and members that come back over them: they get in. */
static void test_slow_links(void **state)
{
    struct sim_options options = busy(10);
    struct sim *sim;

    (void)state;
    options.bytes_per_ms = 2000;
    options.bulk_bytes = 65536;
    options.plain_clients = 2;
    sim = cluster(&options);
    sim_run(sim, 3000);
    sim_crash(sim, sim_backup(sim));
    sim_run(sim, 1000);
    assert_true(sim_run_until(sim, sim_is_whole, 20000));
    over(sim);
}

/* A value that takes longer to arrive than anybody waits for a word: in no propagation is anyone
 * taken for silent. */
static void test_value_longer_than_patience(void **state)
{
    (void)state;
    for (int chain = 0; chain < 2; chain++) {
        struct sim_options options = busy(15);
        struct sim *sim;
        uint64_t view;

        options.propagation = chain ? PROPAGATION_CHAIN : PROPAGATION_STAR;
        options.bytes_per_ms = 2000; /* 524 ms, and 200 ms of patience */
        options.value_bytes_max = 2u << 20;
        options.bulk_bytes = 1u << 20;
        sim = cluster(&options);
        view = sim_view(sim);
        sim_run(sim, 10000);
        assert_int_equal(sim_view(sim), view);
        over(sim);
    }
}

/* More is written than links carry, and nobody waits for those who lag: in peace there is less, so
 * that who comes back can catch up (seed 722046). */
static void test_more_than_links_carry(void **state)
{
    struct sim_options options = busy(17);
    struct sim *sim;

    (void)state;
    options.acks = ACKS_COUNT;
    options.acks_count = 1;
    options.bytes_per_ms = 2000;
    options.value_bytes_max = 2u << 20;
    options.session_clients = 4;
    options.plain_clients = 3;
    options.think_ms = 4;
    options.registers = 4;
    sim = cluster(&options);
    sim_crash(sim, sim_backup(sim));
    sim_play(sim);
    if (sim_failure(sim))
        fail_msg("%s", sim_failure(sim));
    sim_free(sim);
}

/* A member lags, as its link is slow, until nobody keeps what it lacks; then the operator wants the
 * word of all, so that no view can do without it: it gets a checkpoint. In a chain it is fed by one
 * that cannot give it that. Views came and went for ever (seed 503099). */
static void test_lags_behind_what_is_kept(void **state)
{
    (void)state;
    for (int chain = 0; chain < 2; chain++) {
        struct sim_options options = busy(16);
        struct sim *sim;
        node_id last;

        options.servers = options.hosts = 4;
        options.acks = ACKS_MAJORITY;
        options.propagation = chain ? PROPAGATION_CHAIN : PROPAGATION_STAR;
        options.bulk_bytes = 1u << 20;
        options.plain_clients = 3;
        options.journal_bytes_max = 1u << 20;
        sim = cluster(&options);
        last = NODE_SERVER((node_index(sim_primary(sim)) + 3) % 4);
        sim_slow(sim, chain ? NODE_SERVER((node_index(last) + 3) % 4) : sim_primary(sim), last, 0,
                 100);
        sim_run(sim, 5000);
        assert_true(sim_is_whole(sim));
        sim_acks(sim, ACKS_COUNT, 4);
        sim_run(sim, 100);
        sim_heal(sim);
        assert_true(sim_run_until(sim, sim_is_whole, 10000));
        over(sim);
    }
}

/* Two sessions are remembered of four: those that were forgotten begin again, and nothing old that
 * is sent again is executed again. */
static void test_sessions_forgotten(void **state)
{
    struct sim_options options = busy(11);
    struct sim *sim;

    (void)state;
    options.session_clients = 4;
    options.plain_clients = 3;
    options.sessions_max = 2;
    options.repeats = true;
    sim = cluster(&options);
    sim_run(sim, 5000);
    assert_true(sim_answered(sim) > 500);
    over(sim);
}

/* Values that expire, transactions and counters, while primaries of different clocks die. */
static void test_expiry_over_failovers(void **state)
{
    struct sim_options options = busy(12);
    struct sim *sim;

    (void)state;
    options.registers = 2;
    options.numbers = 1;
    options.transactions = true;
    options.plain_clients = 3;
    sim = cluster(&options);
    for (uint32_t i = 0; i < 5; i++) {
        sim_run(sim, 1000);
        sim_crash(sim, sim_primary(sim));
        assert_true(sim_run_until(sim, sim_is_whole, 5000));
    }
    over(sim);
}

/* A disk that stands still, the primary's and then a backup's: the others do not wait for it, and
 * its server is back when it goes on. */
static void test_disk_stalled(void **state)
{
    struct sim_options options = on_disk(18, FSYNC_ALWAYS);
    struct sim *sim = cluster(&options);
    uint64_t answered;

    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        sim_trouble(sim, i ? sim_backup(sim) : sim_primary(sim), TROUBLE_STALLED, 6000);
        sim_run(sim, 3000);
        answered = sim_answered(sim);
        sim_run(sim, 2000);
        assert_true(sim_answered(sim) > answered + 100);
        assert_false(sim_is_whole(sim));
        assert_true(sim_run_until(sim, sim_is_whole, 15000));
    }
    over(sim);
}

/* A link that only one side still believes in, until it does not either; acks that change; a server
 * stopped for a while. */
static void test_half_open_and_operator(void **state)
{
    struct sim_options options = busy(13);
    struct sim *sim = cluster(&options);
    node_id backup = sim_backup(sim);

    (void)state;
    sim_half_open(sim, sim_primary(sim), backup);
    sim_run(sim, 1000);
    assert_true(sim_has_live_primary(sim));
    assert_false(sim_is_whole(sim));
    assert_true(sim_run_until(sim, sim_is_whole, 15000));
    sim_config_acks(sim, ACKS_MAJORITY, 0);
    sim_run(sim, 1000);
    sim_command(sim, COMMAND_STOP, backup);
    sim_run(sim, 1000);
    assert_false(sim_running(sim, backup));
    assert_true(sim_has_live_primary(sim));
    sim_command(sim, COMMAND_START, backup);
    assert_true(sim_run_until(sim, sim_is_whole, 15000));
    over(sim);
}

/* Whichever side of a link gives it up first, and when: in the end both know. A detector that
 * believed in its link for ever was never heard of again. */
static void test_links_end_on_both_sides(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct sim_options options = busy(seed);
        struct sim *sim = cluster(&options);

        sim_cut(sim, NODE_GFD, NODE_LFD(0));
        sim_run(sim, 300);
        sim_heal(sim);
        sim_pause(sim, NODE_GFD, 9000); /* nothing is said on the link meanwhile */
        sim_run(sim, 4000);
        sim_cut(sim, NODE_GFD, NODE_LFD(0));
        sim_run(sim, 4500);
        sim_heal(sim);
        assert_true(sim_run_until(sim, sim_is_whole, 15000));
        over(sim);
    }
}

/* Pipelines keep their order over the deaths of one primary after the other. */
static void test_pipelines(void **state)
{
    struct sim_options options = busy(7);
    struct sim *sim;

    (void)state;
    options.pipelines = 2;
    options.pending_bytes_max = 2048;
    sim = cluster(&options);
    for (uint32_t i = 0; i < 5; i++) {
        sim_run(sim, 200);
        sim_crash(sim, sim_primary(sim));
        assert_true(sim_run_until(sim, sim_is_whole, 5000));
    }
    over(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quiet),
        cmocka_unit_test(test_primary_dies),
        cmocka_unit_test(test_each_dies),
        cmocka_unit_test(test_rm_deaf),
        cmocka_unit_test(test_detectors_die),
        cmocka_unit_test(test_hang),
        cmocka_unit_test(test_budget_used_up),
        cmocka_unit_test(test_host_lost),
        cmocka_unit_test(test_all_lost),
        cmocka_unit_test(test_repeats_after_a_loss),
        cmocka_unit_test(test_rm_stands_still),
        cmocka_unit_test(test_report_of_the_dead),
        cmocka_unit_test(test_dies_in_first_view),
        cmocka_unit_test(test_operator),
        cmocka_unit_test(test_slow_links),
        cmocka_unit_test(test_value_longer_than_patience),
        cmocka_unit_test(test_more_than_links_carry),
        cmocka_unit_test(test_lags_behind_what_is_kept),
        cmocka_unit_test(test_sessions_forgotten),
        cmocka_unit_test(test_expiry_over_failovers),
        cmocka_unit_test(test_half_open_and_operator),
        cmocka_unit_test(test_links_end_on_both_sides),
        cmocka_unit_test(test_store_lost),
        cmocka_unit_test(test_store_old),
        cmocka_unit_test(test_store_old_and_disk_behind),
        cmocka_unit_test(test_meets_an_earlier_primary),
        cmocka_unit_test(test_power_cut),
        cmocka_unit_test(test_power_cut_unsynced),
        cmocka_unit_test(test_power_cut_after_join),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_end_cut_by_mistake),
        cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_dies_before_it_begins_anew),
        cmocka_unit_test(test_disk_stalled),
        cmocka_unit_test(test_pipelines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
