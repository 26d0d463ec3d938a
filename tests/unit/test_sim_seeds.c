/* Runs that the simulator found a fault with, under their names: drawn by a seed, as they were.
 * They keep their point as long as nothing else is drawn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/simulator/sim.h"

static void play(uint64_t seed)
{
    struct sim_options options;
    struct sim *sim;

    sim_options_drawn(&options, seed);
    sim = sim_new(&options);
    sim_play(sim);
    if (sim_failure(sim))
        fail_msg("seed %llu: %s", (unsigned long long)seed, sim_failure(sim));
    sim_free(sim);
}

/* A read of a pipeline was asked again after what its connection wrote behind it was answered. */
static void test_pipeline_over_views(void **state)
{
    (void)state;
    play(809);
}

/* The ends of two journals were cut by mistake in one view; the disk of the first was lost before
 * the second, so that nobody saw it there, but the rm had its report. */
static void test_two_ends_cut(void **state)
{
    (void)state;
    play(5020274);
}

/* A view that was not active for a second was taken for one that is: a server was stopped whose
 * journal, in memory, the election after the death of the primary had to ask for. */
static void test_stopped_too_early(void **state)
{
    (void)state;
    play(5031887);
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

/* A joiner threw away a journal that nobody needed, before the view that it joined was active. When
 * all died then, the view before, with acks = 1, waited for its word for ever. */
static void test_threw_away_what_none_needed(void **state)
{
    (void)state;
    play(8018702);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pipeline_over_views),
        cmocka_unit_test(test_two_ends_cut),
        cmocka_unit_test(test_stopped_too_early),
        cmocka_unit_test(test_dropped_unseen),
        cmocka_unit_test(test_dropped_unsent),
        cmocka_unit_test(test_threw_away_what_none_needed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
