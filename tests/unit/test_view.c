/* The view core, in virtual time: elections by rule 4, and who is a member. */
#include "tests/unit/rm_story.h"

/* Nothing is issued before all servers of the config are there; then all are members. */
static void test_bootstrap(void **state)
{
    struct story *f = *state;

    begin(f, 0);
    all_arrive(f, 0);
    story(f, "gfd is up\n"
             "membership 3: 3 members: s1, s2, s3\n"
             "[fence 1: s1 s2 s3]\n"
             "fence 1 sent to s1, s2, s3 (no view yet)\n");
    reports(f, 1, S3, 0, 0);
    reports(f, 1, S1, 0, 0);
    story(f, "");
    reports(f, 2, S2, 0, 0);
    story(f, "[store]\n"
             "view 1 stored\n"
             "[view 1: s1 s2 s3]\n"
             "view 1 sent: primary s1, members s1, s2, s3, acks 3, active\n"
             "3 members: s1, s2, s3; view 1, primary s1\n");
    activates(f, 3, S1, 1);
    story(f, "view 1 active\n");
}

/* A first view needs every server: who is not there could hold a journal that the store forgot. */
static void test_bootstrap_waits_for_all(void **state)
{
    struct story *f = *state;

    begin(f, 0);
    gfd_link(f, 0);
    members_put(&f->members, S1, 11);
    gfd_lists(f, 0);
    links(f, 0, S1, 11);
    states(f, 0, S1, 0, 0);
    forget(f);
    tick(f, 1000);
    story(f, "the first view waits for s2, s3\n");
    tick(f, 60000);
    story(f, "");
    assert_null(view_recover(&f->rm.view));
    tick(f, 60002);
    story(f, "[fence 1: s1]\n"
             "fence 1 sent to s1 (the operator accepts the loss)\n");
    reports(f, 60003, S1, 0, 0);
    story(f, "[store]\n"
             "view 1 stored\n"
             "[view 1: s1]\n"
             "view 1 sent: primary s1, members s1, acks 1, active, waits 200 ms for a lease\n"
             "1 member: s1; view 1, primary s1\n");
}

/* With acks = all every member holds what was acknowledged: one survivor's report is enough. */
static void test_primary_crash(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    gfd_deletes(f, 5000, S1, true);
    story(f, "membership 4: 2 members: s2, s3 (delete s1: exited: SIGKILL)\n"
             "[fence 2: s1 s2 s3]\n"
             "fence 2 sent to s1, s2, s3 (s1 deleted: exited: SIGKILL)\n");
    unlinks(f, 5000, S1);
    reports_lease(f, 5001, S2, 1, 9, 150);
    story(f, ""); /* s3 is alive, and waited for */
    reports_lease(f, 5002, S3, 1, 9, 120);
    story(f, "[store]\n"
             "view 2 stored\n"
             "[view 2: s2 s3]\n"
             "view 2 sent: primary s2, members s2, s3, acks 2, active\n"
             "2 members: s2, s3; view 2, primary s2\n");
    activates(f, 5003, S2, 2);
    story(f, "view 2 active\n");
    assert_int_equal(f->rm.saved.view_count, 1);
}

/* One report is enough, so a member that does not answer is left out after a while. */
static void test_slow_member(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    gfd_deletes(f, 5000, S1, true);
    unlinks(f, 5000, S1);
    reports(f, 5000, S3, 1, 9);
    forget(f);
    tick(f, 5049);
    story(f, "");
    assert_true(view_deadline(&f->rm.view).ns == at(5050).ns);
    tick(f, 5050);
    story(f, "[store]\n"
             "view 2 stored\n"
             "[view 2: s2 s3]\n"
             "view 2 sent: primary s3, members s3, acks 1, active\n"
             "1 member: s3; view 2, primary s3\n");
}

/* The longest journal leads; the view of its last entry comes before its length. */
static void test_journal_view_outranks_length(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    gfd_deletes(f, 5000, S1, true);
    unlinks(f, 5000, S1);
    reports(f, 5001, S2, 0, 99);
    reports(f, 5001, S3, 1, 7);
    assert_int_equal(saved_current(&f->rm.saved)->primary, S3);
    assert_int_equal(saved_current(&f->rm.saved)->number, 2);
}

static void set_up_five(struct story *f, enum acks_policy acks, uint32_t count)
{
    f->options.server_count = f->options.host_count = 5;
    f->options.policy.acks = acks;
    f->options.policy.acks_count = count;
}

/* With a majority, one survivor may lack what the two others acknowledged. */
static void test_majority(void **state)
{
    struct story *f = *state;

    f->options.policy.acks = ACKS_MAJORITY;
    serve(f, 5000);
    gfd_deletes(f, 5000, S1, true);
    unlinks(f, 5000, S1);
    unlinks(f, 5000, S2);
    reports(f, 5001, S3, 1, 9);
    forget(f);
    tick(f, 5050);
    story(f, "view 2 waits for a report of one more of: s2\n");
    tick(f, 6050);
    story(f, ""); /* s3 has reported, s2 is not linked: nothing to send */
    tick(f, 6900);
    links(f, 7000, S2, 21);
    story(f, "[fence 2: s2]\n");
    reports(f, 7001, S2, 1, 10);
    story(f, "[store]\n"
             "view 2 stored\n"
             "[view 2: s2 s3]\n"
             "view 2 sent: primary s2, members s2, s3, acks 2, active\n"
             "2 members: s2, s3; view 2, primary s2\n");
}

/* The primary holds all that it committed: it goes on alone, whoever else is lost. */
static void test_primary_alone(void **state)
{
    struct story *f = *state;

    f->options.policy.acks = ACKS_MAJORITY;
    serve(f, 5000);
    gfd_deletes(f, 5000, S2, true);
    unlinks(f, 5000, S2);
    gfd_deletes(f, 5000, S3, true);
    unlinks(f, 5000, S3);
    forget(f);
    reports(f, 5001, S1, 1, 9);
    story(f, "[store]\n"
             "view 2 stored\n"
             "[view 2: s1]\n"
             "view 2 sent: primary s1, members s1, acks 1, active\n"
             "1 member: s1; view 2, primary s1\n");
}

/* A journal in memory dies with its process: the next life of s2 knows nothing of view 1. */
static void test_next_life_does_not_count(void **state)
{
    struct story *f = *state;

    f->options.policy.acks = ACKS_MAJORITY;
    serve(f, 5000);
    gfd_deletes(f, 5000, S1, true);
    unlinks(f, 5000, S1);
    gfd_deletes(f, 5000, S2, true);
    unlinks(f, 5000, S2);
    reports(f, 5001, S3, 1, 9);
    forget(f);
    tick(f, 5050);
    gfd_adds(f, 5100, S2, 22);
    links(f, 5100, S2, 22);
    reports(f, 5101, S2, 0, 0);
    story(f, "view 1: every server that could hold acknowledged writes has lost its journal: data "
             "would be lost; bring one back or accept with `holdfast recover --accept-loss`\n"
             "membership 6: 2 members: s2, s3 (add s2)\n"
             "[fence 2: s2]\n");
    assert_null(view_recover(&f->rm.view));
    tick(f, 5102);
    story(f, "[store]\n"
             "view 2 stored\n"
             "[view 2: s2 s3]\n"
             "view 2 sent: primary s3, members s3, acks 1, active, waits 200 ms for a lease\n"
             "1 member: s3; view 2, primary s3\n");
    assert_int_equal(f->rm.saved.view_count, 2); /* only what s3 holds is asked for again */
}

/* A member that was taken in for want of others and still waits for its state answers for what it
 * acknowledged, nothing; but with it in the lead, all would begin with nothing, and nobody was
 * asked. */
static void test_without_state_nobody_leads(void **state)
{
    struct story *f = *state;
    struct message m = { .type = MESSAGE_REPORT,
                         .report = { .number = 2, .incarnation = life(S3, 1), .stateless = 1 } };

    serve(f, 5000);
    gfd_deletes(f, 5000, S1, true);
    unlinks(f, 5000, S1);
    gfd_deletes(f, 5000, S2, true);
    unlinks(f, 5000, S2);
    forget(f);
    deliver(f, 5001, S3, m);
    tick(f, 5100);
    story(f, "view 1: every server that could hold acknowledged writes has lost its journal: data "
             "would be lost; bring one back or accept with `holdfast recover --accept-loss`\n");
    assert_int_equal(saved_current(&f->rm.saved)->number, 1);
}

/* From disk it does count, when it lacks nothing. */
static void test_next_life_counts_from_disk(void **state)
{
    struct story *f = *state;

    f->options.policy.acks = ACKS_MAJORITY;
    f->options.persistent = true;
    serve(f, 5000);
    gfd_deletes(f, 5000, S1, true);
    unlinks(f, 5000, S1);
    gfd_deletes(f, 5000, S2, true);
    unlinks(f, 5000, S2);
    reports(f, 5001, S3, 1, 9);
    gfd_adds(f, 5100, S2, 22);
    links(f, 5100, S2, 22);
    forget(f);
    reports_damaged(f, 5101, S2, 1, 12);
    story(f, "view 2 waits for a report of one more of: s1\n");
    gfd_adds(f, 5200, S1, 12);
    links(f, 5200, S1, 12);
    forget(f);
    reports(f, 5201, S1, 1, 11);
    story(f, "[store]\n"
             "view 2 stored\n"
             "[view 2: s1 s2 s3]\n"
             "view 2 sent: primary s1, members s1, s3, acks 2, active\n"
             "2 members: s1, s3; view 2, primary s1\n");
}

/* The whole cluster comes back from disk, rm included: nobody has the life that the stored view
 * knows, and all are members at once. */
static void test_whole_cluster_from_disk(void **state)
{
    struct story *f = *state;

    f->options.persistent = true;
    serve(f, 5000);
    begin(f, 9000);
    gfd_link(f, 9000);
    for (uint32_t i = 0; i < 3; i++) {
        links(f, 9001 + i, NODE_SERVER(i), life(NODE_SERVER(i), 2));
        reports(f, 9001 + i, NODE_SERVER(i), 1, 50 + i);
    }
    story(f, "gfd is up\n"
             "[fence 2: s1]\n"
             "fence 2 sent to s1 (s1 was restarted)\n"
             "[fence 2: s2]\n"
             "[fence 2: s3]\n"
             "[store]\n"
             "view 2 stored\n"
             "[view 2: s1 s2 s3]\n"
             "view 2 sent: primary s3, members s1, s2, s3, acks 3, active\n"
             "3 members: s1, s2, s3; view 2, primary s3\n");
}

/* After a loss of power, a journal whose end was torn may lack what was acknowledged: with acks =
 * all one survivor is enough, but not that one. */
static void test_cut_journal(void **state)
{
    struct story *f = *state;

    f->options.persistent = true;
    serve(f, 5000);
    begin(f, 9000);
    gfd_link(f, 9000);
    links(f, 9001, S1, 12);
    forget(f);
    reports_cut(f, 9001, S1, 1, 50);
    story(f, "");
    tick(f, 9100);
    story(f, "view 2 waits for a report of one more of: s2, s3\n");
    links(f, 9200, S2, 22);
    forget(f);
    reports_damaged(f, 9201, S2, 1, 51);
    story(f, "view 2 waits for a report of one more of: s3\n");
    links(f, 9300, S3, 32);
    forget(f);
    reports_damaged(f, 9301, S3, 1, 51);
    story(f,
          "view 1: the end of the journal of s1 was torn when the power went, and too few others "
          "are left to tell whether it was acknowledged: data may be lost; bring one back or "
          "accept with `holdfast recover --accept-loss`\n");
    links(f, 9400, S2, 23);
    forget(f);
    reports(f, 9401, S2, 1, 51);
    tick(f, 11000);
    assert_int_equal(saved_current(&f->rm.saved)->primary, S2);
}

/* Rule 4 back to the last active view: view 2 and 3 never were active, so what view 1 committed
 * must be answered for, too. */
static void test_views_never_active(void **state)
{
    struct story *f = *state;

    set_up_five(f, ACKS_MAJORITY, 0); /* 3 of 5 */
    serve(f, 5000);
    gfd_deletes(f, 5000, S1, true);
    unlinks(f, 5000, S1);
    unlinks(f, 5000, S5); /* alive, but cut off from us */
    gfd_deletes(f, 5001, S5, false);
    for (uint32_t i = 1; i < 4; i++)
        reports(f, 5002, NODE_SERVER(i), 1, 20 - i);
    assert_int_equal(saved_current(&f->rm.saved)->members.set, 0xe); /* s2, s3, s4; acks 2 */
    gfd_deletes(f, 5003, S2, true);                                  /* before it was active */
    unlinks(f, 5003, S2);
    reports(f, 5004, S3, 1, 18);
    forget(f);
    gfd_deletes(f, 5005, S4, true);
    unlinks(f, 5005, S4);
    tick(f, 5100);
    /* View 2 needs 2 of its 3, of whom s2 and s4 are gone for ever. */
    story(f, "membership 7: 1 member: s3 (delete s4: exited: SIGKILL)\n"
             "view 2: every server that could hold acknowledged writes has lost its journal: data "
             "would be lost; bring one back or accept with `holdfast recover --accept-loss`\n");
    assert_int_equal(f->rm.saved.view_count, 2);
}

/* s2 adopted view 2 and died; s3 and s4, who did not, are enough to show that it committed nothing,
 * and that view 1's entries are theirs. A view that cannot have been active is forgotten. */
static void test_void_view_is_forgotten(void **state)
{
    struct story *f = *state;

    set_up_five(f, ACKS_MAJORITY, 0);
    serve(f, 5000);
    gfd_deletes(f, 5000, S1, true);
    unlinks(f, 5000, S1);
    for (uint32_t i = 1; i < 5; i++)
        reports(f, 5002, NODE_SERVER(i), 1, 20 - i);
    gfd_deletes(f, 5003, S2, true); /* view 2: s2 s3 s4 s5, acks 3, needs 2 */
    unlinks(f, 5003, S2);
    for (uint32_t i = 2; i < 5; i++)
        reports(f, 5004, NODE_SERVER(i), 1, 20 - i);
    assert_int_equal(f->rm.saved.view_count, 2);
    assert_int_equal(f->rm.saved.views[0].number, 1);
    assert_int_equal(f->rm.saved.views[1].number, 3);
    assert_int_equal(f->rm.saved.views[1].primary, S3);
}

/* What a server reported remains true when it dies: nobody above it may be overlooked, and nobody
 * who equals it needs it. */
static void test_reporter_dies(void **state)
{
    struct story *f = *state;

    f->options.policy.acks = ACKS_MAJORITY;
    serve(f, 5000);
    gfd_deletes(f, 5000, S1, true);
    unlinks(f, 5000, S1);
    reports(f, 5001, S2, 1, 12);
    gfd_deletes(f, 5002, S2, true);
    unlinks(f, 5002, S2);
    gfd_adds(f, 5003, S2, 22);
    links(f, 5003, S2, 22);
    reports(f, 5003, S2, 0, 0);
    forget(f);
    reports(f, 5004, S3, 1, 11);
    tick(f, 5100);
    story(f, "view 1: every server that could hold acknowledged writes has lost its journal: data "
             "would be lost; bring one back or accept with `holdfast recover --accept-loss`\n");
    reports(f, 5101, S3, 1, 12);
    story(f, "[store]\n"
             "view 2 stored\n"
             "[view 2: s2 s3]\n"
             "view 2 sent: primary s3, members s3, acks 1, active\n"
             "1 member: s3; view 2, primary s3\n");
}

/* An uncertain death: the old primary may be answering reads until the leases run out. */
static void test_lease_wait(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    gfd_deletes(f, 5000, S1, false);
    unlinks(f, 5000, S1);
    reports_lease(f, 5001, S2, 1, 9, 150);
    reports_lease(f, 5001, S3, 1, 9, 170);
    assert_int_equal(saved_current(&f->rm.saved)->lease_wait_ms, 170);
    /* The next view inherits what is left of the wait: s1 may still be there. */
    gfd_deletes(f, 5101, S2, true);
    unlinks(f, 5101, S2);
    reports_lease(f, 5101, S3, 2, 10, 20);
    assert_int_equal(saved_current(&f->rm.saved)->number, 3);
    assert_in_range(saved_current(&f->rm.saved)->lease_wait_ms, 70, 71);
}

/* No wait when the old primary is fenced: it answers no more reads. */
static void test_no_lease_wait_for_the_fenced(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    gfd_deletes(f, 5000, S1, false); /* the gfd cannot see it, we can */
    reports(f, 5001, S1, 1, 9);
    reports_lease(f, 5001, S2, 1, 9, 150);
    reports_lease(f, 5001, S3, 1, 9, 170);
    assert_int_equal(saved_current(&f->rm.saved)->lease_wait_ms, 0);
    assert_int_equal(saved_current(&f->rm.saved)->members.set, 6);
}

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
    assert_int_equal(saved_current(&f->rm.saved)->primary, S3);
    assert_int_equal(saved_current(&f->rm.saved)->members.set, 7);
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
    gfd_deletes(f, 5000, S3, true);
    unlinks(f, 5000, S3);
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

/* The primary dies as the joiner is to be taken in: another primary may not hold what the joiner
 * lacks, so it joins anew. */
static void test_joiner_loses_its_primary(void **state)
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
    gfd_deletes(f, 5201, S1, true);
    unlinks(f, 5201, S1);
    reports(f, 5202, S3, 2, 12);
    reports(f, 5202, S2, 2, 11);
    assert_int_equal(saved_current(&f->rm.saved)->primary, S2);
    assert_int_equal(saved_current(&f->rm.saved)->members.set, 2);
}

/* The primary cannot reach a backup: the backup leaves, and stays out for a while that doubles. */
static void test_accused_backup(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    accuses(f, 5000, S1, S2);
    story(f, "s1 accuses s2: no ack\n");
    tick(f, 5019);
    story(f, "");
    assert_true(view_deadline(&f->rm.view).ns == at(5020).ns);
    tick(f, 5020);
    for (uint32_t i = 0; i < 3; i++)
        reports(f, 5021, NODE_SERVER(i), 1, 9);
    story(f, "[fence 2: s1 s2 s3]\n"
             "fence 2 sent to s1, s2, s3 (s1 accuses s2: no ack)\n"
             "[store]\n"
             "view 2 stored\n"
             "[view 2: s1 s2 s3]\n"
             "view 2 sent: primary s1, members s1, s3, acks 2, active\n"
             "2 members: s1, s3; view 2, primary s1\n");
    activates(f, 5022, S1, 2);
    catches_up(f, 5030, S1, S2, 21); /* at once: the link is back */
    story(f, "view 2 active\ns2 caught up\n");
    tick(f, 5219);
    story(f, "");
    assert_true(view_deadline(&f->rm.view).ns == at(5220).ns);
    tick(f, 5220);
    for (uint32_t i = 0; i < 3; i++)
        reports(f, 5221, NODE_SERVER(i), 2, 12);
    activates(f, 5222, S1, 3);
    assert_int_equal(saved_current(&f->rm.saved)->members.set, 7);
    accuses(f, 5300, S1, S2);
    tick(f, 5320);
    for (uint32_t i = 0; i < 3; i++)
        reports(f, 5320, NODE_SERVER(i), 3, 13);
    assert_int_equal(saved_current(&f->rm.saved)->members.set, 5);
    assert_int_equal(f->rm.view.pause[1].pause_ms, 400);
    /* After a healthy minute the pause begins anew. */
    activates(f, 5330, S1, 4);
    catches_up(f, 5330, S1, S2, 21);
    tick(f, 65320);
    for (uint32_t i = 0; i < 3; i++)
        reports(f, 65320, NODE_SERVER(i), 4, 14);
    activates(f, 65320, S1, 5);
    accuses(f, 65400, S1, S2);
    tick(f, 65420);
    for (uint32_t i = 0; i < 3; i++)
        reports(f, 65420, NODE_SERVER(i), 5, 15);
    assert_int_equal(f->rm.view.pause[1].pause_ms, 200);
}

/* One backup cannot reach the primary, which is fine: the backup leaves. */
static void test_accusing_backup_leaves(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    accuses(f, 5000, S3, S1);
    tick(f, 5020);
    for (uint32_t i = 0; i < 3; i++)
        reports(f, 5021, NODE_SERVER(i), 1, 9);
    assert_int_equal(saved_current(&f->rm.saved)->primary, S1);
    assert_int_equal(saved_current(&f->rm.saved)->members.set, 3);
}

/* Nothing is given up before those have reported who may still do so: when all have, no more is
 * asked for on account of the one that was cut. */
static void test_cut_journal_among_those_to_come(void **state)
{
    struct story *f = *state;

    f->options.persistent = true;
    f->options.policy = (struct view_policy){ .acks = ACKS_COUNT, .acks_count = 1 };
    serve(f, 5000);
    for (uint32_t i = 0; i < 3; i++) {
        gfd_deletes(f, 9000, NODE_SERVER(i), true);
        unlinks(f, 9000, NODE_SERVER(i));
    }
    gfd_adds(f, 9001, S1, 12);
    links(f, 9001, S1, 12);
    gfd_adds(f, 9001, S2, 22);
    links(f, 9001, S2, 22);
    reports_cut(f, 9001, S1, 1, 50);
    forget(f);
    reports(f, 9002, S2, 1, 51);
    tick(f, 9900);
    story(f, "view 2 waits for a report of one more of: s3\n");
    gfd_adds(f, 9901, S3, 32);
    links(f, 9901, S3, 32);
    reports(f, 9902, S3, 1, 50);
    assert_int_equal(saved_current(&f->rm.saved)->primary, S2);
}

/* All backups cannot reach it: it is the primary that is cut off, whatever it says itself. */
static void test_all_accuse_the_primary(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    accuses(f, 5000, S1, S2);
    accuses(f, 5001, S3, S1);
    accuses(f, 5002, S2, S1);
    for (uint32_t i = 0; i < 3; i++)
        reports(f, 5003, NODE_SERVER(i), 1, 9 + (i == 0));
    assert_int_equal(saved_current(&f->rm.saved)->primary, S2);
    assert_int_equal(saved_current(&f->rm.saved)->members.set, 6);
    assert_int_equal(saved_current(&f->rm.saved)->lease_wait_ms, 0); /* fenced, it reported */
}

/* We cannot reach it either: no need to wait for others. It may still be answering reads. */
static void test_lost_primary_is_accused(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    unlinks(f, 5000, S1);
    story(f, "");
    accuses(f, 5050, S3, S1);
    reports_lease(f, 5051, S2, 1, 9, 90);
    reports_lease(f, 5051, S3, 1, 9, 80);
    tick(f, 5101); /* s1 is listed, so it might have linked */
    assert_int_equal(saved_current(&f->rm.saved)->primary, S2);
    assert_int_equal(saved_current(&f->rm.saved)->lease_wait_ms, 90);
}

/* A member that cannot keep what it is told leaves by its own word, also when it leads; but not the
 * last one. */
static void test_member_with_full_disk(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    accuses(f, 5000, S1, S1);
    story(f, "s1 wants to leave: no ack\n"
             "[fence 2: s1 s2 s3]\n"
             "fence 2 sent to s1, s2, s3 (s1 leaves: no ack)\n");
    for (uint32_t i = 0; i < 3; i++)
        reports(f, 5001, NODE_SERVER(i), 1, 9);
    assert_int_equal(saved_current(&f->rm.saved)->primary, S2);
    assert_int_equal(saved_current(&f->rm.saved)->members.set, 6);
    assert_int_equal(saved_current(&f->rm.saved)->lease_wait_ms, 0); /* fenced, it reported */
}

static void test_last_member_with_full_disk(void **state)
{
    struct story *f = *state;

    f->options.server_count = f->options.host_count = 1;
    serve(f, 5000);
    accuses(f, 5000, S1, S1);
    story(f, "");
}

/* Of two members the primary stays. */
static void test_two_members_accuse_each_other(void **state)
{
    struct story *f = *state;

    f->options.server_count = f->options.host_count = 2;
    serve(f, 5000);
    accuses(f, 5000, S2, S1);
    reports(f, 5001, S1, 1, 9);
    reports(f, 5001, S2, 1, 9);
    assert_int_equal(saved_current(&f->rm.saved)->members.set, 1);
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
    gfd_deletes(f, 5000, S1, true);
    unlinks(f, 5000, S1);
    reports(f, 5001, S2, 1, 9);
    forget(f);
    tick(f, 5060);
    story(f, "view 2 waits for more servers: 1 cannot meet acks = 2\n");
    gfd_adds(f, 5100, S1, 12);
    links(f, 5100, S1, 12);
    forget(f);
    reports(f, 5101, S1, 0, 0);
    story(f, "[store]\n"
             "view 2 stored\n"
             "[view 2: s1 s2]\n"
             "view 2 sent: primary s2, members s1, s2, acks 2, active\n"
             "2 members: s1, s2; view 2, primary s2\n");
    /* Until then the primary feeds them all itself: it sees who needs a checkpoint. */
    assert_int_equal(saved_current(&f->rm.saved)->propagation, PROPAGATION_STAR);
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
    gfd_deletes(f, 5000, S1, true);
    unlinks(f, 5000, S1);
    reports(f, 5001, S2, 1, 9);
    reports(f, 5001, S3, 1, 9);
    activates(f, 5002, S2, 2);
    assert_int_equal(saved_current(&f->rm.saved)->propagation, PROPAGATION_CHAIN);
    gfd_deletes(f, 6000, S3, true);
    unlinks(f, 6000, S3);
    reports(f, 6001, S2, 2, 20);
    gfd_adds(f, 6100, S1, 12);
    links(f, 6100, S1, 12);
    reports(f, 6101, S1, 1, 9);
    assert_int_equal(saved_current(&f->rm.saved)->members.set, 3);
    assert_int_equal(saved_current(&f->rm.saved)->propagation, PROPAGATION_STAR);
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

static void arrive_again(struct story *f, uint64_t ms, uint64_t view, uint64_t promised)
{
    for (uint32_t i = 0; i < f->options.server_count; i++) {
        links(f, ms, NODE_SERVER(i), life(NODE_SERVER(i), 1));
        states(f, ms, NODE_SERVER(i), view, promised);
    }
}

/* The rm restarts and finds all well: it does nothing. */
static void test_rm_restart(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    begin(f, 6000);
    arrive_again(f, 6000, 1, 1);
    gfd_link(f, 6001);
    gfd_lists(f, 6001);
    tick(f, 9000);
    story(f, "gfd is up\nmembership 3: 3 members: s1, s2, s3\n");
}

/* It died after fencing, before storing: the number it used is promised, so the next one is taken.
 */
static void test_rm_dies_before_store(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    gfd_deletes(f, 5000, S3, true);
    forget(f);
    begin(f, 5100); /* fence 2 had gone out */
    links(f, 5101, S1, 11);
    story(f, "");
    states(f, 5101, S1, 1, 2);
    story(f, "[fence 3: s1]\n"
             "fence 3 sent to s1 (a change was under way when an rm ended)\n");
    links(f, 5101, S2, 21);
    states(f, 5101, S2, 1, 2);
    reports(f, 5102, S1, 1, 9);
    reports(f, 5102, S2, 1, 9);
    story(f, "[fence 3: s2]\n"); /* s3 may be about to link */
    gfd_link(f, 5103);
    gfd_lists(f, 5103);
    tick(f, 6099);
    forget(f);
    tick(f, 6100);
    story(f, "[store]\n"
             "view 3 stored\n"
             "[view 3: s1 s2]\n"
             "view 3 sent: primary s1, members s1, s2, acks 2, active\n"
             "2 members: s1, s2; view 3, primary s1\n");
}

/* It died after storing, before sending: whoever is behind gets the stored view. */
static void test_rm_dies_before_send(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    gfd_deletes(f, 5000, S1, true);
    reports(f, 5001, S2, 1, 9);
    reports(f, 5001, S3, 1, 9);
    forget(f);
    begin(f, 5100);
    links(f, 5101, S2, 21);
    states(f, 5101, S2, 1, 2);
    links(f, 5101, S3, 31);
    states(f, 5101, S3, 1, 2);
    story(f, "[view 2: s2]\n[view 2: s3]\n");
    states(f, 5102, S2, 2, 2);
    activates(f, 5103, S2, 2);
    story(f, "view 2 active\n");
}

/* A server has promised a number above that of the fence under way: a round above it begins. */
static void test_higher_promise(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    gfd_deletes(f, 5000, S1, true);
    unlinks(f, 5000, S1);
    reports(f, 5001, S2, 1, 9);
    forget(f);
    states(f, 5002, S3, 1, 40);
    story(f, "[fence 41: s2 s3]\n"
             "fence 41 sent to s2, s3 (a higher number was promised)\n");
    reports(f, 5003, S2, 1, 9);
    reports(f, 5003, S3, 1, 9);
    assert_int_equal(saved_current(&f->rm.saved)->number, 41);
}

/* A number that no cluster reaches is not believed. */
static void test_absurd_promise(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    states(f, 5000, S3, 1, UINT64_MAX);
    tick(f, 6000);
    story(f, "");
}

/* A store from an earlier time: who acknowledged what since then is not known, so all must report.
 */
static void test_old_store(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    begin(f, 6000);
    links(f, 6000, S1, 11);
    states(f, 6000, S1, 9, 9);
    links(f, 6000, S2, 21);
    states(f, 6000, S2, 9, 9);
    story(f, "");
    tick(f, 7000);
    story(f, "the stored views end at 1, but view 9 exists: the store is an old one; waits for s1, "
             "s2, s3; `holdfast recover --accept-loss` goes on without\n");
    gfd_link(f, 7001);
    gfd_lists(f, 7001);
    links(f, 7001, S3, 31);
    states(f, 7001, S3, 8, 9);
    forget(f);
    reports(f, 7002, S1, 9, 70);
    reports(f, 7002, S2, 9, 71);
    tick(f, 7060);
    story(f,
          "the stored views are older than the cluster's: the next one waits for an intact report "
          "of: s3; `holdfast recover --accept-loss` goes on without\n");
    reports(f, 7070, S3, 8, 90);
    story(f, "[store]\n"
             "view 10 stored\n"
             "[view 10: s1 s2 s3]\n"
             "view 10 sent: primary s2, members s1, s2, acks 2, active\n"
             "2 members: s1, s2; view 10, primary s2\n");
    assert_int_equal(f->rm.saved.view_count, 2);
}

/* The store is lost, and the view made of all reports is left before anybody adopted it. Then it
 * does not do that its members hold nothing of it: what it began with must be held, too. */
static void test_view_without_store_comes_to_nothing(void **state)
{
    struct story *f = *state;

    f->options.policy = (struct view_policy){ .acks = ACKS_COUNT, .acks_count = 2 };
    f->options.server_count = f->options.host_count = 2;
    begin(f, 0);
    gfd_link(f, 0);
    members_put(&f->members, S1, 11);
    members_put(&f->members, S2, 21);
    gfd_lists(f, 0);
    links(f, 0, S1, 11);
    states(f, 0, S1, 1, 1);
    links(f, 0, S2, 21);
    states(f, 0, S2, 1, 1);
    reports(f, 1, S2, 1, 5);
    reports(f, 1, S1, 1, 9); /* of which acks = 1 may have committed all */
    assert_int_equal(saved_current(&f->rm.saved)->number, 2);
    assert_int_equal(saved_current(&f->rm.saved)->primary, S1);
    assert_int_equal(saved_current(&f->rm.saved)->members.set, 3);
    forget(f);
    gfd_deletes(f, 2, S1, true);
    unlinks(f, 2, S1);
    f->rm.saved.wanted.acks_count = 1;
    reports(f, 3, S2, 1, 5);
    tick(f, 5000);
    assert_int_equal(saved_current(&f->rm.saved)->number, 2);
    assert_non_null(strstr((const char *)buffer_head(&f->said),
                           "view 1: every server that could hold acknowledged writes has lost its "
                           "journal"));
}

/* Fenced by an old store before anybody could say that it is one: those that serve a later view do
 * not promise, and are left to serve it until all are here. */
static void test_old_store_stands_back(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    gfd_link(f, 5000);
    gfd_lists(f, 5000);
    gfd_deletes(f, 5001, S1, true);
    unlinks(f, 5001, S1);
    forget(f);
    states(f, 5002, S2, 9, 9);
    story(f, "fence 2 is taken back: view 9 exists\n");
    assert_false(f->rm.view.fencing);
    tick(f, 5100);
    story(f, "the stored views end at 1, but view 9 exists: the store is an old one; waits for s1; "
             "`holdfast recover --accept-loss` goes on without\n");
}

/* The store is lost while the cluster serves, and one of its servers has not caught up: nobody is
 * fenced, as the next view could not be made. */
static void test_lost_store_fences_nobody(void **state)
{
    struct story *f = *state;

    begin(f, 0);
    gfd_link(f, 0);
    for (uint32_t i = 0; i < 3; i++) {
        gfd_adds(f, 1000, NODE_SERVER(i), life(NODE_SERVER(i), 1));
        links(f, 1000, NODE_SERVER(i), life(NODE_SERVER(i), 1));
        if (i < 2)
            states(f, 1000, NODE_SERVER(i), 9, 9);
    }
    forget(f);
    deliver(f, 1001, S3,
            (struct message){ .type = MESSAGE_STATE,
                              .state = { .incarnation = 31, .view = 9, .promised = 9 } });
    story(f, "the stored views are lost: the next one waits for an intact report of: s3; "
             "`holdfast recover --accept-loss` goes on without\n");
    states(f, 1002, S3, 9, 9);
    story(f, "[fence 10: s1 s2 s3]\nfence 10 sent to s1, s2, s3 (no view yet)\n");
}

/* The gfd restarts and lists only who has registered: absence is no death for grace_ms. */
static void test_gfd_restart(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    gfd_lost(f, 5000);
    gfd_link(f, 8000);
    members_drop(&f->members, S3);
    gfd_lists(f, 8000);
    tick(f, 8999);
    story(f, "gfd is lost: the membership stays as it is\n"
             "gfd is up\n"
             "membership 3: 3 members: s1, s2, s3\n");
    assert_true(roster_deadline(&f->rm.roster).ns == at(9000).ns);
    tick(f, 9000);
    story(f, "s3 is taken for dead: the gfd has not listed it for 1000 ms\n"
             "[fence 2: s1 s2 s3]\n"
             "fence 2 sent to s1, s2, s3 (s3 deleted: not seen after the gfd's return)\n");
}

/* While the gfd is away nobody dies; a server that cannot be reached is a matter of accusations. */
static void test_gfd_away(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    gfd_lost(f, 5000);
    forget(f);
    unlinks(f, 5001, S1);
    tick(f, 60000);
    story(f, "");
}

static void deliver_progress(struct story *f, uint64_t ms, node_id server, uint64_t incarnation,
                             enum phase phase, uint64_t bytes)
{
    deliver(f, ms, server,
            (struct message){ .type = MESSAGE_PROGRESS,
                              .progress = { .server = server,
                                            .incarnation = incarnation,
                                            .phase = (uint8_t)phase,
                                            .bytes = bytes,
                                            .bytes_total = 1000 } });
}

/* A backup donates; repeated wishes are harmless while it comes on, and who gets nothing gets
 * another donor. */
static void test_donor(void **state)
{
    struct story *f = *state;
    struct message wanted = { .type = MESSAGE_DONOR_WANTED,
                              .donor_wanted = { 1, S4, life(S4, 1), 100 } };

    set_up_five(f, ACKS_MAJORITY, 0);
    serve(f, 5000);
    deliver(f, 5000, S1, wanted);
    deliver(f, 5100, S1, wanted);
    story(f, "s2 is to give s4 a checkpoint of index 100 or later\n"
             "send s2: donate number=1 joiner=s4 incarnation=41 index=100\n");
    deliver(f, 5200, S2, wanted); /* not the primary */
    deliver_progress(f, 6000, S4, life(S4, 1), PHASE_RECEIVING, 300);
    deliver(f, 6999, S1, wanted);
    deliver_progress(f, 8000, S4, life(S4, 1), PHASE_RECEIVING, 600);
    deliver(f, 8500, S1, wanted);
    deliver(f, 10400, S1, wanted);
    story(f, "");
    /* Nothing came of it: perhaps those two cannot reach each other. */
    deliver(f, 10500, S1, wanted);
    story(f, "s3 is to give s4 a checkpoint of index 100 or later\n"
             "send s3: donate number=1 joiner=s4 incarnation=41 index=100\n");
}

/* Two joiners get theirs one after the other; one that nothing reaches lets the other go first. */
static void test_donations_in_turn(void **state)
{
    struct story *f = *state;
    struct message to4 = { .type = MESSAGE_DONOR_WANTED,
                           .donor_wanted = { 1, S4, life(S4, 1), 100 } };
    struct message to5 = { .type = MESSAGE_DONOR_WANTED,
                           .donor_wanted = { 1, S5, life(S5, 1), 100 } };

    set_up_five(f, ACKS_MAJORITY, 0);
    serve(f, 5000);
    deliver(f, 5000, S1, to4);
    deliver(f, 5000, S1, to5);
    deliver(f, 5500, S1, to5);
    story(f, "s2 is to give s4 a checkpoint of index 100 or later\n"
             "send s2: donate number=1 joiner=s4 incarnation=41 index=100\n"
             "s5 waits for its checkpoint: s4 comes first\n");
    deliver_progress(f, 6000, S4, life(S4, 1), PHASE_RECEIVING, 300);
    deliver(f, 6000, S1, to4);
    deliver(f, 7500, S1, to5);
    story(f, "");
    /* It does not come on: now the other one. */
    deliver(f, 8000, S1, to4);
    deliver(f, 8000, S1, to5);
    story(f, "s4 waits for its checkpoint: s5 comes first\n"
             "s3 is to give s5 a checkpoint of index 100 or later\n"
             "send s3: donate number=1 joiner=s5 incarnation=51 index=100\n");
    /* When that is in, the first again; not from the one that did not reach it. */
    deliver_progress(f, 8500, S5, life(S5, 1), PHASE_FOLLOWING, 0);
    deliver(f, 8500, S1, to4);
    story(f, "s3 is to give s4 a checkpoint of index 100 or later\n"
             "send s3: donate number=1 joiner=s4 incarnation=41 index=100\n");
}

/* A member that was taken in before it had caught up does not donate to itself. */
static void test_donor_for_member(void **state)
{
    struct story *f = *state;

    f->options.server_count = f->options.host_count = 2;
    serve(f, 5000);
    deliver(f, 5000, S1,
            (struct message){ .type = MESSAGE_DONOR_WANTED, .donor_wanted = { 1, S2, 21, 100 } });
    story(f, "s1 is to give s2 a checkpoint of index 100 or later\n"
             "send s1: donate number=1 joiner=s2 incarnation=21 index=100\n");
}

/* Servers that are not in the config, and messages from those who may not send them. */
static void test_nonsense(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    deliver(f, 5000, S5, (struct message){ .type = MESSAGE_LINK_UP, .link_up = { 51, 0 } });
    deliver(f, 5000, S5,
            (struct message){ .type = MESSAGE_STATE,
                              .state = { .incarnation = 51, .promised = 99, .view = 99 } });
    deliver(f, 5000, S1, (struct message){ .type = MESSAGE_CAUGHT_UP, .caught_up = { 1, S5, 51 } });
    deliver(f, 5000, S2, (struct message){ .type = MESSAGE_CAUGHT_UP, .caught_up = { 1, S3, 32 } });
    deliver(f, 5000, S1, (struct message){ .type = MESSAGE_ACCUSE, .accuse = { 1, S5, 51, "" } });
    deliver(f, 5000, S2, (struct message){ .type = MESSAGE_ACCUSE, .accuse = { 1, S3, 31, "" } });
    deliver(f, 5000, S1,
            (struct message){ .type = MESSAGE_REPORT,
                              .report = { .number = 1,
                                          .incarnation = 11,
                                          .intact = 1,
                                          .journal_view = 1,
                                          .last_index = 5 } });
    deliver(f, 5000, S2, (struct message){ .type = MESSAGE_ACTIVE, .active = { 1, 1 } });
    deliver(f, 5000, NODE_GFD,
            (struct message){ .type = MESSAGE_HOST, .host = { NODE_LFD(9), 1, 1 } });
    tick(f, 9000);
    story(f, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(test_bootstrap),
        STORY(test_bootstrap_waits_for_all),
        STORY(test_primary_crash),
        STORY(test_slow_member),
        STORY(test_journal_view_outranks_length),
        STORY(test_majority),
        STORY(test_primary_alone),
        STORY(test_next_life_does_not_count),
        STORY(test_next_life_counts_from_disk),
        STORY(test_whole_cluster_from_disk),
        STORY(test_cut_journal),
        STORY(test_cut_journal_among_those_to_come),
        STORY(test_views_never_active),
        STORY(test_without_state_nobody_leads),
        STORY(test_void_view_is_forgotten),
        STORY(test_reporter_dies),
        STORY(test_lease_wait),
        STORY(test_no_lease_wait_for_the_fenced),
        STORY(test_switchover),
        STORY(test_switchover_under_load),
        STORY(test_switchover_refused),
        STORY(test_joiner),
        STORY(test_joiner_loses_its_primary),
        STORY(test_accused_backup),
        STORY(test_accusing_backup_leaves),
        STORY(test_all_accuse_the_primary),
        STORY(test_lost_primary_is_accused),
        STORY(test_member_with_full_disk),
        STORY(test_last_member_with_full_disk),
        STORY(test_two_members_accuse_each_other),
        STORY(test_policy_unmet),
        STORY(test_old_journal_is_no_chain),
        STORY(test_rm_restart),
        STORY(test_rm_dies_before_store),
        STORY(test_rm_dies_before_send),
        STORY(test_higher_promise),
        STORY(test_absurd_promise),
        STORY(test_old_store),
        STORY(test_gfd_restart),
        STORY(test_gfd_away),
        STORY(test_donor),
        STORY(test_donations_in_turn),
        STORY(test_donor_for_member),
        STORY(test_nonsense),
        STORY(test_view_without_store_comes_to_nothing),
        STORY(test_old_store_stands_back),
        STORY(test_lost_store_fences_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
