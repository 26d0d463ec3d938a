/* Runs that the simulator found a fault with, under their names: drawn by a seed, as they were.
 * They keep their point as long as nothing else is drawn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/simulator/faults.h"
#include "tests/simulator/sim.h"

static void play_options(const struct sim_options *options)
{
    struct sim *sim = sim_new(options);

    sim_play(sim);
    if (sim_failure(sim))
        fail_msg("seed %llu: %s", (unsigned long long)options->seed, sim_failure(sim));
    sim_free(sim);
}

static void play(uint64_t seed)
{
    struct sim_options options;

    sim_options_drawn(&options, seed);
    play_options(&options);
}

/* What the seed meant when there were neither pipelines nor courses. */
static void play_early(uint64_t seed)
{
    struct sim_options options;

    sim_options_drawn(&options, seed);
    options.pipelines = 0;
    for (uint32_t i = FAULT_FIRST_COURSE; i < FAULT_COUNT; i++)
        options.fault_weight[i] = 0;
    play_options(&options);
}

/* A read that waited for a new primary was answered without what the old one had committed. */
static void test_read_at_failover(void **state)
{
    (void)state;
    play_early(1);
    play_early(36);
    play_early(73);
}

/* A server restarted within a view passed for caught up, with what its earlier life had
 * acknowledged. */
static void test_earlier_life(void **state)
{
    (void)state;
    play_early(149);
}

/* A backup that became primary took in an old round, and its state went back in time. */
static void test_late_round(void **state)
{
    (void)state;
    play_early(219);
    play_early(251);
    play_early(418);
}

/* A round replaced the state that a backup was giving to a joiner; replies went to an earlier life.
 */
static void test_round_meets_donation(void **state)
{
    (void)state;
    play_early(7);
}

/* With acks above what is left, servers are taken in without a state, and get it from one that has
 * it. */
static void test_empty_members(void **state)
{
    (void)state;
    play_early(232);
    play_early(425);
    play_early(586);
    play_early(695);
}

/* An rm whose store was old or lost went by what it said of stopped servers, or by an order that
 * came before it knew of any view, and stopped servers that served. */
static void test_store_lost_and_stop(void **state)
{
    (void)state;
    play_early(13);
    play_early(71);
    play_early(281);
}

/* The only server that had it all had a full disk and wanted to leave: a view each millisecond. */
static void test_needed_with_full_disk(void **state)
{
    (void)state;
    play_early(204018);
}

/* On slow links everything was sent again and again; an expired key was there again. */
static void test_workload_and_network(void **state)
{
    (void)state;
    play_early(202387);
    play_early(200247);
}

/* A read of a pipeline was asked again after what its connection wrote behind it was answered. */
static void test_pipeline_over_views(void **state)
{
    (void)state;
    play(809);
}

/* A joiner that the rm heard late was taken in, and not, eighteen times a second. */
static void test_joiner_heard_late(void **state)
{
    (void)state;
    play(888);
}

/* Entries came and went between two looks of the checks. */
static void test_dropped_unseen(void **state)
{
    (void)state;
    play(1013940);
}

/* Entries were dropped before they were sent to a member that nobody waits for. */
static void test_dropped_unsent(void **state)
{
    (void)state;
    play(1013733);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_at_failover),
        cmocka_unit_test(test_earlier_life),
        cmocka_unit_test(test_late_round),
        cmocka_unit_test(test_round_meets_donation),
        cmocka_unit_test(test_empty_members),
        cmocka_unit_test(test_store_lost_and_stop),
        cmocka_unit_test(test_needed_with_full_disk),
        cmocka_unit_test(test_workload_and_network),
        cmocka_unit_test(test_pipeline_over_views),
        cmocka_unit_test(test_joiner_heard_late),
        cmocka_unit_test(test_dropped_unseen),
        cmocka_unit_test(test_dropped_unsent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
