/* The view core after the rm's own end, with an old store or none, and without the gfd. */
#include "tests/unit/rm_story.h"

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
    dies(f, 5000, S1);
    reports(f, 5001, S2, 1, 9);
    forget(f);
    states(f, 5002, S3, 1, 40);
    story(f, "[fence 41: s2 s3]\n"
             "fence 41 sent to s2, s3 (a higher number was promised)\n");
    reports(f, 5003, S2, 1, 9);
    reports(f, 5003, S3, 1, 9);
    assert_int_equal(current(f)->number, 41);
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
    assert_int_equal(current(f)->number, 2);
    assert_int_equal(current(f)->primary, S1);
    assert_int_equal(current(f)->members.set, 3);
    forget(f);
    dies(f, 2, S1);
    f->rm.saved.wanted.acks_count = 1;
    reports(f, 3, S2, 1, 5);
    tick(f, 5000);
    assert_int_equal(current(f)->number, 2);
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
    dies(f, 5001, S1);
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
        comes_back(f, 1000, NODE_SERVER(i), life(NODE_SERVER(i), 1));
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

/* The state, or the report, of a server that threw an intact journal away to join. */
static void states_discarded(struct story *f, uint64_t ms, node_id server, uint64_t view,
                             uint64_t index)
{
    uint64_t incarnation = f->rm.roster.server[node_index(server)].link_incarnation;

    deliver(f, ms, server,
            (struct message){ .type = MESSAGE_STATE,
                              .state = { .incarnation = incarnation,
                                         .view = 9,
                                         .promised = 9,
                                         .discarded_view = view,
                                         .discarded_index = index } });
}

static void reports_discarded(struct story *f, uint64_t ms, node_id server, uint64_t view,
                              uint64_t index)
{
    uint64_t incarnation = f->rm.roster.server[node_index(server)].link_incarnation;

    deliver(f, ms, server,
            (struct message){ .type = MESSAGE_REPORT,
                              .report = { .number = f->rm.view.number,
                                          .incarnation = incarnation,
                                          .discarded_view = view,
                                          .discarded_index = index,
                                          .stateless = 1 } });
}

/* All are here without a store, s1 and s2 in view 9 with entries up to 5. */
static void serve_without_store(struct story *f)
{
    begin(f, 0);
    gfd_link(f, 0);
    for (uint32_t i = 0; i < 3; i++)
        comes_back(f, 1000, NODE_SERVER(i), life(NODE_SERVER(i), 1));
    states(f, 1000, S1, 9, 9);
    states(f, 1000, S2, 9, 9);
    forget(f);
}

/* The store is lost, and a server was just made to begin anew by the primary that serves: what it
 * threw away ended before what the others hold, so nobody waits for it (seed 2003152). */
static void test_lost_store_and_joiner(void **state)
{
    struct story *f = *state;

    serve_without_store(f);
    states_discarded(f, 1001, S3, 8, 70);
    story(f, "[fence 10: s1 s2 s3]\nfence 10 sent to s1, s2, s3 (no view yet)\n");
    reports(f, 1002, S1, 9, 6);
    reports(f, 1002, S2, 9, 7);
    reports_discarded(f, 1003, S3, 8, 70);
    story(f, "[store]\n"
             "view 10 stored\n"
             "[view 10: s1 s2 s3]\n"
             "view 10 sent: primary s2, members s1, s2, acks 2, active\n"
             "2 members: s1, s2; view 10, primary s2\n");
    assert_int_equal(f->rm.saved.views[0].number, 9); /* what it begins with */
    assert_int_equal(f->rm.saved.views[0].members.set, 2);
}

/* It threw away more than anybody there holds: that may have been acknowledged. */
static void test_lost_store_and_more_thrown_away(void **state)
{
    struct story *f = *state;

    serve_without_store(f);
    states_discarded(f, 1001, S3, 9, 6);
    story(f, "the stored views are lost: the next one waits for an intact report of: s3; "
             "`holdfast recover --accept-loss` goes on without\n");
    states_discarded(f, 1002, S3, 9, 5);
    forget(f);
    reports(f, 1003, S1, 9, 7);
    reports(f, 1003, S2, 9, 6);
    reports_discarded(f, 1004, S3, 9, 8);
    tick(f, 1200);
    story(f, "the stored views are lost: the next one waits for an intact report of: s3; "
             "`holdfast recover --accept-loss` goes on without\n");
    assert_int_equal(f->rm.saved.view_count, 0);
}

/* A joiner that waits for its state and servers that lost their disks are not a new cluster; nor
 * may a number of the views that it knows be used again. */
static void test_lost_store_and_disks(void **state)
{
    struct story *f = *state;

    begin(f, 0);
    gfd_link(f, 0);
    for (uint32_t i = 0; i < 3; i++) {
        comes_back(f, 1000, NODE_SERVER(i), life(NODE_SERVER(i), 1));
        states(f, 1000, NODE_SERVER(i), 0, 0);
    }
    assert_true(f->rm.view.fencing);
    reports_discarded(f, 1002, S3, 8, 70);
    assert_int_equal(f->rm.view.number, 9);
    forget(f);
    reports_damaged(f, 1003, S1, 0, 0);
    reports_damaged(f, 1003, S2, 0, 0);
    reports_discarded(f, 1004, S3, 8, 70);
    tick(f, 1200);
    story(f, "the stored views are lost: the next one waits for an intact report of: s1, s2, s3; "
             "`holdfast recover --accept-loss` goes on without\n");
    assert_int_equal(f->rm.saved.view_count, 0);
}

/* All come back, with acks = 1. One threw its journal away before the view that it joined was
 * active: it answers by where that ended, once somebody reports who holds so much. */
static void test_waits_for_who_holds_what_was_discarded(void **state)
{
    struct story *f = *state;

    f->options.persistent = true;
    f->options.policy = (struct view_policy){ .acks = ACKS_COUNT, .acks_count = 1 };
    serve(f, 5000);
    f->members = (struct members){ 0 };
    begin(f, 6000);
    gfd_link(f, 6000);
    gfd_lists(f, 6000);
    comes_back(f, 6000, S2, life(S2, 2));
    comes_back(f, 6000, S3, life(S3, 2));
    forget(f);
    reports_discarded(f, 6001, S2, 1, 50);
    reports(f, 6001, S3, 1, 40);
    tick(f, 8000);
    assert_non_null(strstr((const char *)buffer_head(&f->said),
                           "view 2 waits for a report of one more of: s1\n"));
    comes_back(f, 9000, S1, life(S1, 2));
    reports(f, 9001, S1, 1, 60);
    tick(f, 9100);
    assert_int_equal(current(f)->primary, S1);
}

/* What it has got since it threw its journal away is more than that, and more than others have: it
 * lacks nothing, and leads. */
static void test_lost_store_and_grown_again(void **state)
{
    struct story *f = *state;

    serve_without_store(f);
    states_discarded(f, 1001, S3, 8, 70);
    forget(f);
    reports(f, 1002, S1, 9, 6);
    reports(f, 1002, S2, 9, 6);
    deliver(f, 1003, S3,
            (struct message){ .type = MESSAGE_REPORT,
                              .report = { .number = f->rm.view.number,
                                          .incarnation = 31,
                                          .journal_view = 9,
                                          .last_index = 7,
                                          .discarded_view = 8,
                                          .discarded_index = 70 } });
    assert_int_equal(current(f)->primary, S3);
    assert_int_equal(current(f)->members.set, 7);
}

/* What was reported need not have been saved, and who has it saved is not known: when the first
 * view without a store comes to nothing, as many as all must answer for what it began with. */
static void test_reported_and_not_saved(void **state)
{
    struct story *f = *state;

    f->options.persistent = true;
    serve_without_store(f);
    states(f, 1001, S3, 9, 9);
    reports(f, 1002, S1, 9, 6);
    reports(f, 1002, S2, 9, 7);
    reports(f, 1002, S3, 9, 7);
    assert_int_equal(current(f)->number, 10);
    for (uint32_t i = 0; i < 3; i++)
        dies(f, 1003, NODE_SERVER(i));
    comes_back(f, 1010, S3, 32);
    reports(f, 1011, S3, 9, 5); /* 6 and 7 were not on its disk */
    tick(f, 4000);
    assert_int_equal(current(f)->number, 10);
    comes_back(f, 4001, S1, 12);
    reports(f, 4002, S1, 9, 5);
    tick(f, 5000);
    assert_int_equal(current(f)->number, 10);
    comes_back(f, 5001, S2, 22);
    reports(f, 5002, S2, 9, 7);
    tick(f, 5100);
    assert_true(current(f)->number > 10);
    assert_int_equal(current(f)->primary, S2);
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

/* All lfds are lost for longer than the grace. All servers run and report, and can be in no view:
 * what is missing is not their reports. */
static void test_all_lfds_lost(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    for (uint32_t i = 0; i < 3; i++)
        gfd_deletes(f, 5000, NODE_SERVER(i), false);
    all_report(f, 5001, 1, 9);
    forget(f);
    tick(f, 5100);
    story(f,
          "view 2 waits for a report of one more of: s1, s2, s3; start the lfds that are to watch "
          "those that run: s1, s2, s3\n");
    gfd_adds(f, 5200, S2, life(S2, 1));
    reports(f, 5201, S2, 1, 9);
    assert_int_equal(current(f)->members.set, 1u << 1);
}

/* By an old store a server is stopped, and so it cannot be waited for: it must be started. */
static void test_old_store_with_stopped_server(void **state)
{
    struct story *f = *state;

    f->whole = true;
    serve(f, 5000);
    commands(f, 5000, COMMAND_STOP, S3, 1);
    begin(f, 6000);
    arrive_again(f, 6000, 9, 9);
    gfd_link(f, 6000);
    gfd_lists(f, 6000);
    forget(f);
    tick(f, 7000);
    story(f, "the stored views end at 1, but view 9 exists: the store is an old one; waits for s3; "
             "`holdfast recover --accept-loss` goes on without; `holdfast start` those that are "
             "stopped: s3\n");
    commands(f, 7001, COMMAND_START, S3, 2);
    all_report(f, 7002, 9, 9);
    assert_int_equal(current(f)->number, 10);
}

/* The rm sleeps through the end of the grace: what the gfd said meanwhile is heard before anybody
 * is taken for dead. Who is not listed then has had no more than the grace either. */
static void test_rm_sleeps_through_the_grace(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    gfd_lost(f, 5000);
    gfd_link(f, 8000);
    f->members = (struct members){ 0 };
    gfd_lists(f, 8000);
    forget(f);
    gfd_adds(f, 9500, S1, 11); /* it was said at 8010 */
    gfd_adds(f, 9500, S2, 21);
    story(f, "woke up 500 ms late: nobody is blamed for it\n"
             "membership 4: 3 members: s1, s2, s3 (add s1)\n"
             "membership 5: 3 members: s1, s2, s3 (add s2)\n");
    assert_true(roster_deadline(&f->rm.roster).ns == at(10500).ns);
    tick(f, 10500 + LATENESS_MS_MAX);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(test_rm_restart),
        STORY(test_rm_dies_before_store),
        STORY(test_rm_dies_before_send),
        STORY(test_higher_promise),
        STORY(test_absurd_promise),
        STORY(test_old_store),
        STORY(test_view_without_store_comes_to_nothing),
        STORY(test_old_store_stands_back),
        STORY(test_lost_store_fences_nobody),
        STORY(test_lost_store_and_joiner),
        STORY(test_lost_store_and_more_thrown_away),
        STORY(test_lost_store_and_disks),
        STORY(test_lost_store_and_grown_again),
        STORY(test_waits_for_who_holds_what_was_discarded),
        STORY(test_reported_and_not_saved),
        STORY(test_gfd_restart),
        STORY(test_rm_sleeps_through_the_grace),
        STORY(test_all_lfds_lost),
        STORY(test_old_store_with_stopped_server),
        STORY(test_gfd_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
