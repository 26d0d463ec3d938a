/* Views that improve on one that works: another primary, joiners, what the policy wants. */
#include "tests/unit/rm_story.h"

static void test_switchover(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    assert_null(view_switchover(&f->rm.view, S3, &f->out));
    tick(f, 5000);
    reports(f, 5001, S1, 1, 9);
    reports(f, 5001, S2, 1, 9);
    reports(f, 5001, S3, 1, 9);
    story(f, "[fence 2: s1 s2 s3]\n"
             "fence 2 sent to s1, s2, s3 (switchover to s3)\n"
             "[store]\n"
             "view 2 stored\n"
             "[view 2: s1 s2 s3]\n"
             "view 2 sent: primary s3, members s1, s2, s3, acks 3, active\n"
             "3 members: s1, s2, s3; view 2, primary s3\n");
}

/* Under load the primary's journal is longer, by entries that are not committed: with acks = all
 * the target alone can answer for all that is. */
static void test_switchover_under_load(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    assert_null(view_switchover(&f->rm.view, S3, &f->out));
    tick(f, 5000);
    reports(f, 5001, S1, 1, 30);
    reports(f, 5001, S2, 1, 20);
    reports(f, 5001, S3, 1, 10);
    assert_int_equal(current(f)->primary, S3);
    assert_int_equal(current(f)->members.set, 7);
}

/* With a majority it takes two to say that nothing above the target is committed. */
static void test_switchover_refused(void **state)
{
    struct story *f = *state;

    f->options.policy.acks = ACKS_MAJORITY;
    serve(f, 5000);
    assert_null(view_switchover(&f->rm.view, S3, &f->out));
    tick(f, 5000);
    reports(f, 5001, S1, 1, 30);
    reports(f, 5001, S2, 1, 30);
    forget(f);
    reports(f, 5001, S3, 1, 10);
    story(f,
          "[store]\n"
          "view 2 stored\n"
          "[view 2: s1 s2 s3]\n"
          "view 2 sent: primary s1, members s1, s2, s3, acks 2, active\n"
          "3 members: s1, s2, s3; view 2, primary s1\n"
          "switchover refused: s3 could not take over: s1 holds entries that it lacks, or it did "
          "not report in time; try again\n");
    assert_int_equal(f->rm.view.target, NODE_NONE);
}

/* s3 restarts: a view without it, and one with its next life once it has caught up. */
static void test_joiner(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    dies(f, 5000, S3);
    reports(f, 5001, S1, 1, 9);
    reports(f, 5001, S2, 1, 9);
    activates(f, 5002, S1, 2);
    links(f, 5100, S3, 32);
    forget(f);
    states(f, 5100, S3, 0, 0);
    story(f, "[view 2: s3]\n"); /* so that it knows whom to ask */
    catches_up(f, 5200, S1, S3, 32);
    story(f, "s3 caught up\n"); /* but the gfd does not list it yet */
    gfd_adds(f, 5201, S3, 32);
    story(f, "membership 5: 3 members: s1, s2, s3 (add s3)\n"
             "[fence 3: s1 s2 s3]\n"
             "fence 3 sent to s1, s2, s3 (s3 caught up)\n");
    reports(f, 5202, S3, 2, 10);
    reports(f, 5202, S1, 2, 11);
    reports(f, 5202, S2, 2, 11);
    story(f, "[store]\n"
             "view 3 stored\n"
             "[view 3: s1 s2 s3]\n"
             "view 3 sent: primary s1, members s1, s2, s3, acks 3, active\n"
             "3 members: s1, s2, s3; view 3, primary s1\n");
}

/* A joiner that acknowledges all, but is slow to report, is waited for once, and then not at once
 * again. */
static void test_joiner_does_not_report(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    gfd_deletes(f, 5000, S3, true);
    unlinks(f, 5000, S3);
    reports(f, 5001, S1, 1, 9);
    reports(f, 5001, S2, 1, 9);
    activates(f, 5002, S1, 2);
    links(f, 5100, S3, 32);
    gfd_adds(f, 5100, S3, 32);
    catches_up(f, 5200, S1, S3, 32);
    reports(f, 5201, S1, 2, 11);
    reports(f, 5201, S2, 2, 11);
    forget(f);
    tick(f, 5201 + REPORT_WAIT_MS);
    story(f, "[store]\n"
             "view 3 stored\n"
             "[view 3: s1 s2 s3]\n"
             "view 3 sent: primary s1, members s1, s2, acks 2, active\n"
             "2 members: s1, s2; view 3, primary s1\n");
    activates(f, 5252, S1, 3);
    catches_up(f, 5253, S1, S3, 32);
    story(f, "view 3 active\ns3 caught up\n");
    tick(f, 5200 + REPORT_WAIT_MS + ACCUSE_PAUSE_MS_MIN);
    story(f, "");
    tick(f, 5201 + REPORT_WAIT_MS + ACCUSE_PAUSE_MS_MIN);
    story(f, "[fence 4: s1 s2 s3]\n"
             "fence 4 sent to s1, s2, s3 (s3 caught up)\n");
}

/* The primary dies as the joiner is to be taken in: another primary may not hold what the joiner
 * lacks, so it joins anew. */
static void test_joiner_loses_its_primary(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    dies(f, 5000, S3);
    reports(f, 5001, S1, 1, 9);
    reports(f, 5001, S2, 1, 9);
    activates(f, 5002, S1, 2);
    links(f, 5100, S3, 32);
    gfd_adds(f, 5100, S3, 32);
    catches_up(f, 5200, S1, S3, 32);
    dies(f, 5201, S1);
    reports(f, 5202, S3, 2, 12);
    reports(f, 5202, S2, 2, 11);
    assert_int_equal(current(f)->primary, S2);
    assert_int_equal(current(f)->members.set, 2);
}

/* acks = 2 cannot be met by one: nobody can catch up without a primary, so the others come in
 * before they have, and commits wait for them. */
static void test_policy_unmet(void **state)
{
    struct story *f = *state;

    f->options.policy = (struct view_policy){ .acks = ACKS_COUNT,
                                              .acks_count = 2,
                                              .propagation = PROPAGATION_CHAIN };
    f->options.server_count = f->options.host_count = 2;
    serve(f, 5000);
    dies(f, 5000, S1);
    reports(f, 5001, S2, 1, 9);
    forget(f);
    tick(f, 5060);
    story(f, "view 2 waits for more servers: 1 cannot meet acks = 2\n");
    comes_back(f, 5100, S1, 12);
    forget(f);
    reports(f, 5101, S1, 0, 0);
    story(f, "[store]\n"
             "view 2 stored\n"
             "[view 2: s1 s2]\n"
             "view 2 sent: primary s2, members s1, s2, acks 2, active\n"
             "2 members: s1, s2; view 2, primary s2\n");
    /* Until then the primary feeds them all itself: it sees who needs a checkpoint. */
    assert_int_equal(current(f)->propagation, PROPAGATION_STAR);
}

/* What one of them has is from before the view that was active last: only a primary can give it
 * another state. The next view is a chain again once it has it. */
static void test_old_journal_is_no_chain(void **state)
{
    struct story *f = *state;

    f->options.policy = (struct view_policy){ .acks = ACKS_COUNT,
                                              .acks_count = 2,
                                              .propagation = PROPAGATION_CHAIN };
    serve(f, 5000);
    dies(f, 5000, S1);
    reports(f, 5001, S2, 1, 9);
    reports(f, 5001, S3, 1, 9);
    activates(f, 5002, S2, 2);
    assert_int_equal(current(f)->propagation, PROPAGATION_CHAIN);
    dies(f, 6000, S3);
    reports(f, 6001, S2, 2, 20);
    comes_back(f, 6100, S1, 12);
    reports(f, 6101, S1, 1, 9);
    assert_int_equal(current(f)->members.set, 3);
    assert_int_equal(current(f)->propagation, PROPAGATION_STAR);
    activates(f, 6102, S2, 3);
    states(f, 6103, S1, 1, 3);
    states(f, 6103, S2, 3, 3);
    forget(f);
    tick(f, 9000);
    story(f, "");
    states(f, 9001, S1, 3, 3);
    story(f, "[fence 4: s1 s2]\n"
             "fence 4 sent to s1, s2 (another propagation wanted)\n");
}

/* What one of them has ends before what the one that feeds it keeps: it is silent, and with it all
 * behind it. No view can be without them, and a chain would come to the same again (seed 503099).
 */
static void test_silent_in_a_chain(void **state)
{
    struct story *f = *state;

    f->options.policy = (struct view_policy){ .acks = ACKS_COUNT,
                                              .acks_count = 3,
                                              .propagation = PROPAGATION_CHAIN };
    serve(f, 5000);
    assert_int_equal(current(f)->propagation, PROPAGATION_CHAIN);
    accuses(f, 5000, S1, S3);
    tick(f, 5020);
    reports(f, 5021, S1, 1, 9);
    reports(f, 5021, S2, 1, 9);
    reports(f, 5021, S3, 1, 4);
    tick(f, 5300); /* it may be taken in again */
    assert_int_equal(current(f)->number, 2);
    assert_int_equal(current(f)->members.set, 7);
    assert_int_equal(current(f)->propagation, PROPAGATION_STAR);
}

/* Its host was taken for lost, and answers again: the news that it is listed may be as old as its
 * report, and the news of its end the next. It has to report once more before it may lead, for a
 * view of it alone could not be left without it (seed 6051609). */
static void test_reported_and_taken_for_dead(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    dies(f, 6000, S1);
    gfd_deletes(f, 6001, S2, false);
    gfd_deletes(f, 6001, S3, false);
    reports(f, 6002, S2, 1, 5);
    reports(f, 6002, S3, 1, 5);
    forget(f);
    gfd_adds(f, 6003, S2, life(S2, 1));
    assert_non_null(strstr((const char *)buffer_head(&f->said), "[fence 2: s2]"));
    tick(f, 6200);
    assert_int_equal(current(f)->number, 1);
    reports(f, 6201, S2, 1, 5);
    tick(f, 6300);
    assert_int_equal(current(f)->number, 2);
    assert_int_equal(current(f)->primary, S2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(test_switchover),
        STORY(test_switchover_under_load),
        STORY(test_switchover_refused),
        STORY(test_joiner),
        STORY(test_joiner_does_not_report),
        STORY(test_joiner_loses_its_primary),
        STORY(test_policy_unmet),
        STORY(test_old_journal_is_no_chain),
        STORY(test_silent_in_a_chain),
        STORY(test_reported_and_taken_for_dead),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
