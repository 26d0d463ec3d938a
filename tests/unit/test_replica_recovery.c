/* What the replica core makes of its disk, before it meets anybody: a checkpoint's state, then the
 * journal behind it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "server/replica.h"

static void begin(struct replica *r)
{
    replica_init(r,
                 &(struct replica_options){ .self = NODE_SERVER(0),
                                            .incarnation = 11,
                                            .server_count = 3,
                                            .lease_ms = 200,
                                            .checkpoint_interval_ms = 1000,
                                            .silence_ms = 400,
                                            .persistent = true },
                 (struct instant){ 1000000000u });
}

/* Entries before the checkpoint are passed over, those behind it are taken; all of it is saved, and
 * only what the checkpoint holds is known to be committed. */
static void test_checkpoint_and_journal(void **state)
{
    struct replica r;
    uint64_t last;

    (void)state;
    begin(&r);
    replica_recover_state(&r, 10, 3);
    assert_false(replica_recover_entry(&r, 9, 3, &last));
    assert_false(replica_recover_entry(&r, 10, 3, &last));
    assert_true(replica_recover_entry(&r, 11, 3, &last));
    assert_true(replica_recover_entry(&r, 12, 4, &last));
    assert_int_equal(last, 11);
    assert_true(replica_recovered(&r, true));
    replica_check(&r);
    assert_true(r.intact);
    assert_int_equal(r.last_index, 12);
    assert_int_equal(r.saved_index, 12);
    assert_int_equal(r.commit_index, 10);
    assert_int_equal(replica_journal_view(&r), 4);
}

/* An entry that is written again is another one: what was there from it on is gone. */
static void test_replaced_entries(void **state)
{
    struct replica r;
    uint64_t last;

    (void)state;
    begin(&r);
    for (uint64_t i = 1; i <= 5; i++)
        assert_true(replica_recover_entry(&r, i, i < 3 ? 1 : 2, &last));
    assert_true(replica_recover_entry(&r, 3, 7, &last));
    assert_int_equal(last, 2);
    assert_int_equal(r.last_index, 3);
    assert_int_equal(replica_view_at(&r, 2), 1);
    assert_int_equal(replica_view_at(&r, 3), 7);
    assert_true(replica_recovered(&r, true));
    replica_check(&r);
}

/* A journal that does not begin where the checkpoint ends is no source of truth, unless what comes
 * after takes the place of all of it. */
static void test_gap(void **state)
{
    struct replica r;
    uint64_t last;

    (void)state;
    begin(&r);
    replica_recover_state(&r, 10, 3);
    assert_false(replica_recover_entry(&r, 12, 3, &last));
    assert_int_equal(last, 10);
    assert_false(replica_recover_entry(&r, 13, 3, &last));
    assert_false(replica_recovered(&r, true));
    assert_false(r.intact);
    assert_true(replica_recover_entry(&r, 11, 4, &last));
    assert_true(replica_recovered(&r, true));
    assert_int_equal(r.last_index, 11);
}

/* Views never go back in a journal. */
static void test_views_go_back(void **state)
{
    struct replica r;
    uint64_t last;

    (void)state;
    begin(&r);
    assert_true(replica_recover_entry(&r, 1, 5, &last));
    assert_false(replica_recover_entry(&r, 2, 4, &last));
    assert_int_equal(last, 1);
    assert_false(replica_recovered(&r, true));
}

/* A journal that was begun anew behind an entry needs the state up to there: with a checkpoint of
 * it, it goes on from that; without, the join was not finished. */
static void test_begun_anew(void **state)
{
    struct replica r;
    uint64_t last;

    (void)state;
    begin(&r);
    replica_recover_state(&r, 40, 3);
    assert_int_equal(replica_recover_reset(&r, 38), 40);
    assert_false(replica_recover_entry(&r, 39, 3, &last));
    assert_true(replica_recover_entry(&r, 41, 3, &last));
    assert_true(replica_recovered(&r, true));
    replica_check(&r);
    assert_int_equal(r.last_index, 41);

    begin(&r);
    assert_true(replica_recover_entry(&r, 1, 1, &last));
    assert_int_equal(replica_recover_reset(&r, 40), 0);
    assert_false(replica_recover_entry(&r, 41, 3, &last));
    assert_false(replica_recovered(&r, true));
}

/* So many views were read that the oldest are forgotten, and then everything was begun anew, from
 * nothing in the end: what was acknowledged since is read from the first entry on. */
static void test_begun_anew_after_many_views(void **state)
{
    struct replica r;
    uint64_t last;

    (void)state;
    begin(&r);
    for (uint64_t i = 1; i <= RUN_COUNT_MAX + 16; i++)
        assert_true(replica_recover_entry(&r, i, i, &last));
    assert_true(r.first_index > 1);
    assert_int_equal(replica_recover_reset(&r, 500), 0);
    assert_int_equal(replica_recover_reset(&r, 0), 0);
    for (uint64_t i = 1; i <= 5; i++)
        assert_true(replica_recover_entry(&r, i, 100, &last));
    assert_true(replica_recovered(&r, true));
    replica_check(&r);
    assert_int_equal(r.last_index, 5);
}

/* A sound journal of a life that may have acknowledged more counts for nothing; nor does nothing.
 */
static void test_not_intact(void **state)
{
    struct replica r;
    uint64_t last;

    (void)state;
    begin(&r);
    assert_true(replica_recover_entry(&r, 1, 1, &last));
    assert_true(replica_recovered(&r, false));
    assert_false(r.intact);

    begin(&r);
    assert_true(replica_recovered(&r, true));
    assert_false(r.intact);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checkpoint_and_journal),
        cmocka_unit_test(test_replaced_entries),
        cmocka_unit_test(test_gap),
        cmocka_unit_test(test_views_go_back),
        cmocka_unit_test(test_begun_anew),
        cmocka_unit_test(test_begun_anew_after_many_views),
        cmocka_unit_test(test_not_intact),
    };

    return cmocka_run_group_tests_name("replica recovery", tests, NULL, NULL);
}
