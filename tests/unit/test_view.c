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
    dies(f, 5000, S1);
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
    dies(f, 5000, S1);
    reports(f, 5001, S2, 0, 99);
    reports(f, 5001, S3, 1, 7);
    assert_int_equal(current(f)->primary, S3);
    assert_int_equal(current(f)->number, 2);
}

/* With a majority, one survivor may lack what the two others acknowledged. */
static void test_majority(void **state)
{
    struct story *f = *state;

    f->options.policy.acks = ACKS_MAJORITY;
    serve(f, 5000);
    dies(f, 5000, S1);
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
    dies(f, 5000, S2);
    dies(f, 5000, S3);
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
    dies(f, 5000, S1);
    dies(f, 5000, S2);
    reports(f, 5001, S3, 1, 9);
    forget(f);
    tick(f, 5050);
    comes_back(f, 5100, S2, 22);
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

static void reports_stateless(struct story *f, uint64_t ms, node_id server)
{
    uint64_t incarnation = f->rm.roster.server[node_index(server)].link_incarnation;

    deliver(f, ms, server,
            (struct message){ .type = MESSAGE_REPORT,
                              .report = { .number = f->rm.view.number,
                                          .incarnation = incarnation,
                                          .stateless = 1 } });
}

/* A member that was taken in for want of others and still waits for its state answers for what it
 * acknowledged, nothing; but with it in the lead, all would begin with nothing, and nobody was
 * asked. */
static void test_without_state_nobody_leads(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    dies(f, 5000, S1);
    dies(f, 5000, S2);
    forget(f);
    reports_stateless(f, 5001, S3);
    tick(f, 5100);
    story(f, "view 1: every server that could hold acknowledged writes has lost its journal: data "
             "would be lost; bring one back or accept with `holdfast recover --accept-loss`\n");
    assert_int_equal(current(f)->number, 1);
}

/* Where the only one left of the last view has no state, nothing was committed in it: whoever is
 * left of the view before may lead, and is not lost for being out of our reach. Seed 811003. */
static void test_state_is_of_older_view(void **state)
{
    struct story *f = *state;

    f->options.policy.acks = ACKS_COUNT;
    f->options.policy.acks_count = 2;
    serve(f, 5000);
    dies(f, 5000, S2);
    reports(f, 5001, S1, 1, 9);
    reports(f, 5001, S3, 1, 9);
    activates(f, 5002, S1, 2); /* of s1 and s3 */
    comes_back(f, 5100, S2, 22);
    accuses(f, 5100, S1, S3);
    unlinks(f, 5100, S3);
    tick(f, 5100 + ACCUSE_WAIT_MS);
    reports(f, 5130, S1, 2, 10);
    reports_stateless(f, 5130, S2);
    tick(f, 5200);
    assert_int_equal(current(f)->members.set, 0x3); /* view 3, of s1 and s2 */
    dies(f, 5201, S1);
    forget(f);
    reports_stateless(f, 5202, S2);
    tick(f, 5600);
    story(f, "view 4 waits for a report of one more of: s3\n");
    links(f, 5601, S3, 31);
    reports(f, 5602, S3, 2, 10);
    tick(f, 5700);
    assert_int_equal(current(f)->number, 4);
    assert_int_equal(current(f)->primary, S3);
    assert_int_equal(current(f)->members.set, 0x6);
}

/* From disk it does count, when it lacks nothing. */
static void test_next_life_counts_from_disk(void **state)
{
    struct story *f = *state;

    f->options.policy.acks = ACKS_MAJORITY;
    f->options.persistent = true;
    serve(f, 5000);
    dies(f, 5000, S1);
    dies(f, 5000, S2);
    reports(f, 5001, S3, 1, 9);
    comes_back(f, 5100, S2, 22);
    forget(f);
    reports_damaged(f, 5101, S2, 1, 12);
    story(f, "view 2 waits for a report of one more of: s1\n");
    comes_back(f, 5200, S1, 12);
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
    assert_int_equal(current(f)->primary, S2);
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
        dies(f, 9000, NODE_SERVER(i));
    }
    comes_back(f, 9001, S1, 12);
    comes_back(f, 9001, S2, 22);
    reports_cut(f, 9001, S1, 1, 50);
    forget(f);
    reports(f, 9002, S2, 1, 51);
    tick(f, 9900);
    story(f, "view 2 waits for a report of one more of: s3\n");
    comes_back(f, 9901, S3, 32);
    reports(f, 9902, S3, 1, 50);
    assert_int_equal(current(f)->primary, S2);
}

/* Rule 4 back to the last active view: view 2 and 3 never were active, so what view 1 committed
 * must be answered for, too. */
static void test_views_never_active(void **state)
{
    struct story *f = *state;

    set_up_five(f, ACKS_MAJORITY, 0); /* 3 of 5 */
    serve(f, 5000);
    dies(f, 5000, S1);
    unlinks(f, 5000, S5); /* alive, but cut off from us */
    gfd_deletes(f, 5001, S5, false);
    for (uint32_t i = 1; i < 4; i++)
        reports(f, 5002, NODE_SERVER(i), 1, 20 - i);
    assert_int_equal(current(f)->members.set, 0xe); /* s2, s3, s4; acks 2 */
    dies(f, 5003, S2);                              /* before it was active */
    reports(f, 5004, S3, 1, 18);
    forget(f);
    dies(f, 5005, S4);
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
    dies(f, 5000, S1);
    for (uint32_t i = 1; i < 5; i++)
        reports(f, 5002, NODE_SERVER(i), 1, 20 - i);
    dies(f, 5003, S2); /* view 2: s2 s3 s4 s5, acks 3, needs 2 */
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
    dies(f, 5000, S1);
    reports(f, 5001, S2, 1, 12);
    dies(f, 5002, S2);
    comes_back(f, 5003, S2, 22);
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
    assert_int_equal(current(f)->lease_wait_ms, 170);
    /* The next view inherits what is left of the wait: s1 may still be there. */
    dies(f, 5101, S2);
    reports_lease(f, 5101, S3, 2, 10, 20);
    assert_int_equal(current(f)->number, 3);
    assert_in_range(current(f)->lease_wait_ms, 70, 71);
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
    assert_int_equal(current(f)->lease_wait_ms, 0);
    assert_int_equal(current(f)->members.set, 6);
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
    deliver(f, 5000, S1, (struct message){ .type = MESSAGE_ACCUSE, .accuse = { 1, S5, 51, "" } });
    deliver(f, 5000, S2, (struct message){ .type = MESSAGE_ACCUSE, .accuse = { 1, S3, 31, "" } });
    deliver(f, 5000, S1,
            (struct message){ .type = MESSAGE_REPORT,
                              .report = { .number = 1,
                                          .incarnation = 11,
                                          .intact = 1,
                                          .journal_view = 1,
                                          .last_index = 5 } });
    deliver(f, 5000, NODE_GFD,
            (struct message){ .type = MESSAGE_HOST, .host = { NODE_LFD(9), 1, 1 } });
    tick(f, 9000);
    story(f, "");
    /* A backup speaks for the primary. */
    dies(f, 9001, S3);
    reports(f, 9002, S1, 1, 9);
    reports(f, 9002, S2, 1, 9);
    comes_back(f, 9003, S3, 32);
    forget(f);
    activates(f, 9004, S2, 2);
    catches_up(f, 9004, S2, S3, 32);
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
        STORY(test_without_state_nobody_leads),
        STORY(test_state_is_of_older_view),
        STORY(test_next_life_counts_from_disk),
        STORY(test_whole_cluster_from_disk),
        STORY(test_cut_journal),
        STORY(test_cut_journal_among_those_to_come),
        STORY(test_views_never_active),
        STORY(test_void_view_is_forgotten),
        STORY(test_reporter_dies),
        STORY(test_lease_wait),
        STORY(test_no_lease_wait_for_the_fenced),
        STORY(test_nonsense),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
