/* The rm as a whole: commands and their answers, events, wishes that survive. */
#include "tests/unit/rm_story.h"

static void hosts_up(struct story *f, uint64_t ms)
{
    for (uint32_t i = 0; i < f->options.host_count; i++)
        host(f, ms, i, true);
}

/* The whole rm, serving view 1 with s1 as primary, all hosts up. */
static void serve_whole(struct story *f)
{
    f->whole = true;
    serve(f, 5000);
    hosts_up(f, 5000);
    tick(f, 6000);
    forget(f);
}

/* A new cluster starts by itself: order, add, view. */
static void test_cluster_start(void **state)
{
    struct story *f = *state;

    f->whole = true;
    f->options.server_count = f->options.host_count = 1;
    begin(f, 0);
    gfd_link(f, 0);
    gfd_lists(f, 0);
    host(f, 1, 0, true);
    links(f, 10, S1, 11);
    states(f, 10, S1, 0, 0);
    gfd_adds(f, 11, S1, 11);
    reports(f, 12, S1, 0, 0);
    story(f, "gfd is up\n"
             "membership 3: 0 members: none\n"
             "lfd1 is up\n"
             "s1: start ordered\n"
             "send gfd: order server=s1 action=1\n"
             "membership 4: 1 member: s1 (add s1)\n"
             "[fence 1: s1]\n"
             "fence 1 sent to s1 (no view yet)\n"
             "[store]\n"
             "view 1 stored\n"
             "[view 1: s1]\n"
             "view 1 sent: primary s1, members s1, acks 1, active\n"
             "1 member: s1; view 1, primary s1\n");
}

/* How far a server is comes by way of the gfd until it speaks for itself; an earlier life's word
 * does not count. */
static void test_progress(void **state)
{
    struct story *f = *state;
    struct message progress = {
        .type = MESSAGE_PROGRESS,
        .progress = { .server = S3, .incarnation = life(S3, 2), .phase = PHASE_LOADING, .bytes = 3 }
    };

    serve_whole(f);
    dies(f, 7000, S3);
    gfd_adds(f, 7100, S3, life(S3, 2));
    progress.progress.incarnation = life(S3, 1);
    deliver(f, 7100, NODE_GFD, progress);
    assert_int_equal(roster_progress(&f->rm.roster, S3).phase, PHASE_NONE);
    progress.progress.incarnation = life(S3, 2);
    deliver(f, 7200, NODE_GFD, progress);
    assert_int_equal(roster_progress(&f->rm.roster, S3).bytes, 3);
    links(f, 7300, S3, life(S3, 2));
    assert_int_equal(roster_progress(&f->rm.roster, S3).phase, PHASE_NONE);
    deliver(f, 7301, NODE_GFD, progress); /* late */
    assert_int_equal(roster_progress(&f->rm.roster, S3).phase, PHASE_NONE);
    progress.progress.phase = PHASE_RECEIVING;
    deliver(f, 7400, S2, progress); /* not its to say */
    assert_int_equal(roster_progress(&f->rm.roster, S3).phase, PHASE_NONE);
    deliver(f, 7500, S3, progress);
    assert_int_equal(roster_progress(&f->rm.roster, S3).phase, PHASE_RECEIVING);
    unlinks(f, 7600, S3);
    links(f, 7700, S3, life(S3, 3));
    assert_int_equal(roster_progress(&f->rm.roster, S3).phase, PHASE_NONE);
    deliver(f, 7701, S3, progress);
    assert_int_equal(roster_progress(&f->rm.roster, S3).phase, PHASE_NONE);
}

/* Done when the view is active, not before. */
static void test_switchover(void **state)
{
    struct story *f = *state;

    serve_whole(f);
    commands(f, 6000, COMMAND_SWITCHOVER, S2, 77);
    all_report(f, 6001, 1, 9);
    forget(f);
    activates(f, 6002, S2, 2);
    story(f, "view 2 active\n"
             "answer 77 done: s2 is primary of view 2\n");
    commands(f, 6003, COMMAND_SWITCHOVER, S2, 78);
    story(f, "answer 78 done: s2 is primary of view 2\n");
}

/* Without its store the rm knows of no view: it cannot say that the others could do without it. */
static void test_restart_without_store(void **state)
{
    struct story *f = *state;

    f->whole = true;
    begin(f, 0);
    gfd_link(f, 0);
    gfd_lists(f, 0);
    gfd_adds(f, 10, S1, 11);
    commands(f, 11, COMMAND_RESTART, S1, 1);
    links(f, 12, S1, 11);
    states(f, 12, S1, 9, 9);
    forget(f);
    commands(f, 13, COMMAND_RESTART, S1, 2);
    story(f, "answer 2 refused: the stored views are lost: nobody can say who can be spared before "
             "there is a new one\n");
}

static void test_switchover_refusals(void **state)
{
    struct story *f = *state;

    serve_whole(f);
    commands(f, 6000, COMMAND_SWITCHOVER, S5, 1);
    dies(f, 6000, S3);
    all_report(f, 6001, 1, 9);
    activates(f, 6001, S1, 2);
    forget(f);
    commands(f, 6002, COMMAND_SWITCHOVER, S3, 2);
    story(f, "answer 2 refused: s3 is no member of view 2\n");
    commands(f, 6003, COMMAND_SWITCHOVER, S2, 3);
    forget(f);
    commands(f, 6003, COMMAND_SWITCHOVER, S1, 4);
    story(f, "answer 4 refused: a switchover to s2 is under way\n");
    dies(f, 6004, S2); /* the target itself dies meanwhile */
    forget(f);
    reports(f, 6005, S1, 2, 9);
    story(f,
          "[store]\n"
          "view 3 stored\n"
          "[view 3: s1]\n"
          "view 3 sent: primary s1, members s1, acks 1, active\n"
          "1 member: s1; view 3, primary s1\n"
          "switchover refused: s2 could not take over: s1 holds entries that it lacks, or it did "
          "not report in time; try again\n"
          "answer 3 refused: s2 could not take over: s1 holds entries that it lacks, or it did "
          "not report in time; try again\n");
}

/* First a view without it, then the order, and the wish is stored: it holds for the next rm, too.
 */
static void test_stop_primary(void **state)
{
    struct story *f = *state;

    serve_whole(f);
    commands(f, 6000, COMMAND_STOP, S1, 5);
    story(f, "[store]\n"
             "[fence 2: s1 s2 s3]\n"
             "fence 2 sent to s1, s2, s3 (s1 leaves)\n");
    all_report(f, 6001, 1, 9);
    story(f, "[store]\n"
             "view 2 stored\n"
             "[view 2: s1 s2 s3]\n"
             "view 2 sent: primary s2, members s2, s3, acks 2, active\n"
             "2 members: s2, s3; view 2, primary s2\n");
    activates(f, 6002, S2, 2);
    story(f, "view 2 active\n"
             "s1: stop ordered\n"
             "send gfd: order server=s1 action=2\n");
    gfd_deletes(f, 6003, S1, true);
    story(f, "membership 4: 2 members: s2, s3 (delete s1: exited: SIGKILL)\n"
             "answer 5 done: s1 is stopped\n");
    unlinks(f, 6003, S1);
    begin(f, 7000);
    links(f, 7000, S2, 21);
    links(f, 7000, S3, 31);
    gfd_link(f, 7000);
    gfd_lists(f, 7000);
    hosts_up(f, 7000);
    forget(f);
    tick(f, 8000);
    tick(f, 9000);
    story(f, "");
    commands(f, 9001, COMMAND_START, S1, 6);
    story(f, "[store]\n"
             "s1: start ordered\n"
             "send gfd: order server=s1 action=1\n");
    gfd_adds(f, 9002, S1, 12);
    story(f, "membership 5: 3 members: s1, s2, s3 (add s1)\n"
             "answer 6 done: s1 is started\n");
}

/* All that was said since it was forgotten; which it is now. */
static const char *said(struct story *f)
{
    static char text[65536];

    buffer_append(&f->said, "", 1);
    (void)snprintf(text, sizeof text, "%s", (const char *)buffer_head(&f->said));
    forget(f);
    return text;
}

/* Whether a server was ordered to stop, since what was said was forgotten. */
static bool said_stop(struct story *f)
{
    return strstr(said(f), "stop ordered") != NULL;
}

/* The rm comes back with an old store, which says of a server that it is stopped. It was started
 * since, and serves; with its journal in memory a stop would cost all that it holds (seeds 13, 71
 * and 281). */
static void test_stop_by_an_old_store(void **state)
{
    struct story *f = *state;

    serve_whole(f);
    commands(f, 6000, COMMAND_STOP, S3, 5);
    all_report(f, 6001, 1, 9);
    activates(f, 6002, S1, 2);
    dies(f, 6003, S3);
    begin(f, 7000);
    forget(f);
    for (uint32_t i = 0; i < 3; i++) {
        node_id server = NODE_SERVER(i);

        members_put(&f->members, server, life(server, i == 2 ? 2 : 1));
        links(f, 7000, server, f->members.incarnation[i]);
        states(f, 7000, server, 4, 4);
    }
    gfd_link(f, 7001);
    gfd_lists(f, 7001);
    hosts_up(f, 7001);
    tick(f, 20000);
    assert_false(said_stop(f));
}

/* The store is lost, and a server is to be stopped that is not listed yet. It runs: nobody knows
 * what it holds before it has said so. */
static void stop_unheard(struct story *f, uint64_t view)
{
    f->whole = true;
    f->options.server_count = f->options.host_count = 1;
    begin(f, 0);
    gfd_link(f, 0);
    gfd_lists(f, 0);
    commands(f, 1, COMMAND_STOP, S1, 1);
    hosts_up(f, 2);
    gfd_adds(f, 3, S1, 11);
    links(f, 4, S1, 11);
    tick(f, 20000);
    assert_false(said_stop(f));
    forget(f);
    states(f, 20001, S1, view, view);
    tick(f, 40000);
}

static void test_stop_of_one_that_serves(void **state)
{
    stop_unheard(*state, 9);
    assert_false(said_stop(*state));
}

static void test_stop_of_an_empty_one(void **state)
{
    stop_unheard(*state, 0);
    assert_true(said_stop(*state));
}

/* The last member cannot be stopped: nobody would hold the data. */
static void test_stop_last(void **state)
{
    struct story *f = *state;

    f->options.server_count = f->options.host_count = 1;
    serve_whole(f);
    commands(f, 6000, COMMAND_STOP, S1, 5);
    story(f, "answer 5 refused: view 1 cannot be without s1: members left alive must be at least "
             "one, and enough for acks\n");
    assert_int_equal(f->rm.saved.stopped, 0);
}

/* It turns out that only the server to be stopped holds what was committed: it stays, and leads. */
static void test_stop_indispensable(void **state)
{
    struct story *f = *state;

    f->options.policy.acks = ACKS_COUNT;
    f->options.policy.acks_count = 1;
    serve_whole(f);
    commands(f, 6000, COMMAND_STOP, S1, 5);
    reports(f, 6001, S1, 1, 10);
    reports(f, 6001, S2, 1, 9);
    forget(f);
    reports(f, 6001, S3, 1, 9);
    story(f, "[store]\n"
             "view 2 stored\n"
             "[view 2: s1 s2 s3]\n"
             "view 2 sent: primary s1, members s1, s2, s3, acks 1, active\n"
             "3 members: s1, s2, s3; view 2, primary s1\n"
             "answer 5 refused: no other server may lead without it: it holds entries that the "
             "others lack\n");
    assert_int_equal(f->rm.saved.stopped, 0);
    activates(f, 6002, S1, 2);
    tick(f, 9000);
    story(f, "view 2 active\n");
}

/* The same of a RESTART: it is not carried out later either, when it could be. */
static void test_restart_indispensable(void **state)
{
    struct story *f = *state;

    f->options.policy.acks = ACKS_COUNT;
    f->options.policy.acks_count = 1;
    serve_whole(f);
    commands(f, 6000, COMMAND_RESTART, S1, 5);
    reports(f, 6001, S1, 1, 10);
    reports(f, 6001, S2, 1, 9);
    forget(f);
    reports(f, 6001, S3, 1, 9);
    assert_non_null(strstr((const char *)buffer_head(&f->said),
                           "answer 5 refused: no other server may lead without it"));
    forget(f);
    activates(f, 6002, S1, 2);
    tick(f, 60000);
    story(f, "view 2 active\n");
}

/* It was to be restarted while there were others, who died before there was a view without it: as
 * it cannot be ordered to stop before there is one, it is a member, and the command is refused. */
static void test_restart_of_one_too_many(void **state)
{
    struct story *f = *state;

    f->options.policy.acks = ACKS_COUNT;
    f->options.policy.acks_count = 2;
    serve_whole(f);
    commands(f, 6000, COMMAND_RESTART, S3, 5);
    dies(f, 6001, S2);
    reports(f, 6002, S1, 1, 9);
    forget(f);
    reports(f, 6002, S3, 1, 9);
    story(f, "[store]\n"
             "view 2 stored\n"
             "[view 2: s1 s3]\n"
             "view 2 sent: primary s1, members s1, s3, acks 2, active\n"
             "2 members: s1, s3; view 2, primary s1\n"
             "answer 5 refused: without it there would be too few members for acks\n");
}

/* The view without it is old, but not known active: what was committed before may be with those who
 * leave and one more. As long as it may be asked for that, it is not ordered to stop. */
static void test_stop_waits_for_active_view(void **state)
{
    struct story *f = *state;

    serve_whole(f);
    commands(f, 6000, COMMAND_STOP, S3, 8);
    all_report(f, 6001, 1, 9);
    forget(f);
    tick(f, 6001 + VIEW_SETTLE_MS);
    tick(f, 6000 + RM_COMMAND_MS_MAX);
    story(f, "answer 8 refused: not done within 10 s, but still wanted: waits for the view without "
             "it\n");
    dies(f, 16001, S1);
    reports(f, 16002, S2, 2, 9);
    reports(f, 16002, S3, 1, 9);
    assert_int_equal(current(f)->members.set, 1u << 1);
    forget(f);
    tick(f, 16002 + VIEW_SETTLE_MS);
    story(f, "s1: start ordered\n"
             "send gfd: order server=s1 action=1\n");
    forget(f);
    activates(f, 18000, S2, 3);
    story(f, "view 3 active\n"
             "s3: stop ordered\n"
             "send gfd: order server=s3 action=2\n");
}

/* A server that will not start in spite of START is told so, and not only that time is up. */
static void test_start_fails(void **state)
{
    struct story *f = *state;

    serve_whole(f);
    unlinks(f, 6000, S3);
    gfd_deletes(f, 6000, S3, true);
    commands(f, 6000, COMMAND_START, S3, 4);
    for (uint64_t ms = 6001; f->rm.repair.server[2].state != REPAIR_FAILED; ms += 500) {
        assert_true(ms < 6000 + RM_COMMAND_MS_MAX);
        deliver(f, ms, NODE_GFD,
                (struct message){ .type = MESSAGE_START_FAILED,
                                  .start_failed = { .server = S3, .cause = "exited: status 1" } });
        tick(f, ms + 400);
    }
    assert_non_null(strstr((const char *)buffer_head(&f->said),
                           "answer 4 refused: s3 failed again and again\n"));
    assert_string_equal(f->rm.roster.server[2].last_exit, "did not start: exited: status 1");
}

/* Out of the view, stopped, started at once, and in again when it has caught up. */
static void test_restart(void **state)
{
    struct story *f = *state;

    serve_whole(f);
    commands(f, 6000, COMMAND_RESTART, S3, 8);
    all_report(f, 6001, 1, 9);
    forget(f);
    activates(f, 6002, S1, 2);
    dies(f, 6003, S3);
    gfd_adds(f, 6010, S3, 32);
    story(f, "view 2 active\n"
             "s3: stop ordered\n"
             "send gfd: order server=s3 action=2\n"
             "membership 4: 2 members: s1, s2 (delete s3: exited: SIGKILL)\n"
             "s3: start ordered\n"
             "send gfd: order server=s3 action=1\n"
             "membership 5: 3 members: s1, s2, s3 (add s3)\n"
             "answer 8 done: s3 is started again\n");
    links(f, 6011, S3, 32);
    catches_up(f, 6012, S1, S3, 32);
    all_report(f, 6013, 2, 12);
    assert_int_equal(current(f)->members.set, 7);
}

/* An order to stop is on its way to a gfd that sleeps. Whoever is to run after all is not what that
 * order finds when it arrives: the life that it was given for enters no view. */
static void start_with_stop_under_way(struct story *f, uint8_t verb)
{
    serve_whole(f);
    commands(f, 6000, verb, S3, 8);
    all_report(f, 6001, 1, 9);
    activates(f, 6002, S1, 2);
    forget(f);
    commands(f, 6003, COMMAND_START, S3, 9);
    forget(f);
    catches_up(f, 6004, S1, S3, life(S3, 1));
    tick(f, 6005);
    story(f, "s3 caught up\n");
    forget(f);
    dies(f, 6010, S3);
    gfd_adds(f, 6011, S3, life(S3, 2));
    story(f, "membership 4: 2 members: s1, s2 (delete s3: exited: SIGKILL)\n"
             "s3: start ordered\n"
             "send gfd: order server=s3 action=1\n"
             "membership 5: 3 members: s1, s2, s3 (add s3)\n"
             "answer 9 done: s3 is started\n");
    links(f, 6012, S3, life(S3, 2));
    catches_up(f, 6013, S1, S3, life(S3, 2));
    all_report(f, 6014, 2, 12);
    assert_int_equal(current(f)->members.set, 7);
}

static void test_start_after_restart(void **state)
{
    start_with_stop_under_way(*state, COMMAND_RESTART);
}

static void test_start_after_stop(void **state)
{
    start_with_stop_under_way(*state, COMMAND_STOP);
}

/* Its host is taken for lost before the order is carried out, and comes back: it is the same life
 * still, and that is not what RESTART is to bring. */
static void test_restart_after_lost_host(void **state)
{
    struct story *f = *state;

    serve_whole(f);
    commands(f, 6000, COMMAND_STOP, S3, 8);
    all_report(f, 6001, 1, 9);
    activates(f, 6002, S1, 2);
    catches_up(f, 6003, S1, S3, life(S3, 1));
    forget(f);
    gfd_deletes(f, 6004, S3, false);
    story(f, "membership 4: 2 members: s1, s2 (delete s3: host lost)\n"
             "answer 8 done: s3 is stopped\n");
    commands(f, 6005, COMMAND_RESTART, S3, 9);
    forget(f);
    gfd_adds(f, 6006, S3, life(S3, 1));
    story(f, "membership 5: 3 members: s1, s2, s3 (add s3)\n");
    forget(f);
    dies(f, 6010, S3);
    gfd_adds(f, 6011, S3, life(S3, 2));
    story(f, "membership 6: 2 members: s1, s2 (delete s3: exited: SIGKILL)\n"
             "s3: start ordered\n"
             "send gfd: order server=s3 action=1\n"
             "membership 7: 3 members: s1, s2, s3 (add s3)\n"
             "answer 9 done: s3 is started again\n");
}

/* The rm is started anew while all serve view 1, and the gfd does not speak yet. */
static void come_back_without_gfd(struct story *f)
{
    serve_whole(f);
    begin(f, 7000);
    for (uint32_t i = 0; i < 3; i++) {
        links(f, 7000, NODE_SERVER(i), life(NODE_SERVER(i), 1));
        states(f, 7000, NODE_SERVER(i), 1, 1);
    }
    forget(f);
}

/* A server that is not listed yet runs all the same: it is restarted once that is known. */
static void test_restart_before_the_list(void **state)
{
    struct story *f = *state;

    come_back_without_gfd(f);
    commands(f, 7001, COMMAND_RESTART, S3, 8);
    gfd_link(f, 7002);
    forget(f);
    gfd_lists(f, 7003);
    story(f, "membership 3: 3 members: s1, s2, s3\n");
    assert_true(rm_deadline(&f->rm).ns <= at(7003).ns);
    tick(f, 7003);
    story(f, "[fence 2: s1 s2 s3]\n"
             "fence 2 sent to s1, s2, s3 (s3 leaves)\n");
    hosts_up(f, 7004);
    all_report(f, 7004, 1, 9);
    activates(f, 7005, S1, 2);
    forget(f);
    dies(f, 7006, S3);
    forget(f);
    gfd_adds(f, 7010, S3, life(S3, 2));
    story(f, "membership 5: 3 members: s1, s2, s3 (add s3)\n"
             "answer 8 done: s3 is started again\n");
}

/* It cannot be spared: that is known when it is listed, and said then. */
static void test_restart_before_the_list_refused(void **state)
{
    struct story *f = *state;

    f->options.server_count = f->options.host_count = 1;
    serve_whole(f);
    begin(f, 7000);
    links(f, 7000, S1, 11);
    states(f, 7000, S1, 1, 1);
    commands(f, 7001, COMMAND_RESTART, S1, 8);
    gfd_link(f, 7002);
    forget(f);
    gfd_lists(f, 7003);
    story(f, "membership 3: 1 member: s1\n"
             "answer 8 refused: view 1 cannot be without s1: members left alive must be at least "
             "one, and enough for acks\n");
}

/* The same of STOP: it is not done before the server has been listed, and is no more. */
static void test_stop_before_the_list(void **state)
{
    struct story *f = *state;

    come_back_without_gfd(f);
    commands(f, 7001, COMMAND_STOP, S3, 8);
    gfd_link(f, 7002);
    gfd_lists(f, 7003);
    hosts_up(f, 7003);
    all_report(f, 7004, 1, 9);
    activates(f, 7005, S1, 2);
    assert_null(strstr(said(f), "answer 8"));
    forget(f);
    dies(f, 7006, S3);
    assert_non_null(strstr(said(f), "answer 8 done: s3 is stopped\n"));
}

/* Nobody can see whether a server runs whose host is lost: then it is not said to have been
 * stopped, nor to have been started again when it is back. */
static void lose_host_of_s3(struct story *f)
{
    serve_whole(f);
    host(f, 6000, 2, false);
    gfd_deletes(f, 6000, S3, false);
    unlinks(f, 6000, S3);
    all_report(f, 6001, 1, 9);
    activates(f, 6002, S1, 2);
    forget(f);
}

static void test_stop_on_lost_host(void **state)
{
    struct story *f = *state;

    lose_host_of_s3(f);
    commands(f, 6003, COMMAND_STOP, S3, 8);
    tick(f, 16002);
    story(f, "[store]\n");
    tick(f, 16003);
    story(f, "answer 8 refused: not done within 10 s, but still wanted: waits for the lfd of its "
             "host\n");
    /* It is back, and has nothing that runs. */
    commands(f, 17000, COMMAND_STOP, S3, 9);
    host(f, 17001, 2, true);
    forget(f);
    assert_int_equal(rm_deadline(&f->rm).ns, at(17001 + REPAIR_SETTLE_MS).ns);
    tick(f, 17001 + REPAIR_SETTLE_MS);
    story(f, "answer 9 done: s3 is stopped\n");
}

static void test_restart_on_lost_host(void **state)
{
    struct story *f = *state;

    lose_host_of_s3(f);
    commands(f, 6003, COMMAND_RESTART, S3, 8);
    tick(f, 16003);
    story(f, "answer 8 refused: not done within 10 s: waits for the lfd of its host\n");
    commands(f, 17000, COMMAND_RESTART, S3, 9);
    host(f, 17001, 2, true);
    forget(f);
    comes_back(f, 17002, S3, life(S3, 1));
    tick(f, 17002);
    story(f, "membership 5: 3 members: s1, s2, s3 (add s3)\n"
             "s3: stop ordered\n"
             "send gfd: order server=s3 action=2\n");
    dies(f, 17003, S3);
    forget(f);
    comes_back(f, 17010, S3, life(S3, 2));
    assert_non_null(strstr(said(f), "answer 9 done: s3 is started again\n"));
}

/* Lives are numbered by a clock that may be set back. The end of one that was ordered to stop is
 * not expected of those after it. */
static void test_stop_is_of_one_life(void **state)
{
    struct story *f = *state;

    serve_whole(f);
    commands(f, 6000, COMMAND_RESTART, S3, 8);
    all_report(f, 6001, 1, 9);
    activates(f, 6002, S1, 2);
    dies(f, 6003, S3);
    comes_back(f, 6004, S3, life(S3, 0) - 1);
    dies(f, 6005, S3);
    comes_back(f, 6006, S3, life(S3, 0));
    forget(f);
    tick(f, 6010);
    story(f, "");
    assert_false(f->rm.repair.server[2].expected);
}

/* The order was lost with the gfd: it is given again, and START waits for what comes of it. */
static void test_start_after_lost_order(void **state)
{
    struct story *f = *state;

    serve_whole(f);
    commands(f, 6000, COMMAND_STOP, S3, 8);
    all_report(f, 6001, 1, 9);
    activates(f, 6002, S1, 2);
    commands(f, 6003, COMMAND_START, S3, 9);
    forget(f);
    tick(f, 6002 + REPAIR_AGAIN_MS);
    story(f, "s3: stop ordered\n"
             "send gfd: order server=s3 action=2\n");
}

/* Too late: refused with what it waits for; the wish to start it stays. */
static void test_deadline(void **state)
{
    struct story *f = *state;

    serve_whole(f);
    host(f, 6000, 2, false);
    gfd_deletes(f, 6000, S3, false);
    unlinks(f, 6000, S3);
    all_report(f, 6001, 1, 9);
    activates(f, 6002, S1, 2);
    commands(f, 6003, COMMAND_START, S3, 9);
    tick(f, 16002);
    forget(f);
    assert_true(rm_deadline(&f->rm).ns == at(16003).ns);
    tick(f, 16003);
    story(f, "answer 9 refused: not done within 10 s, but still wanted: waits for the lfd of its "
             "host\n");
}

static void test_style(void **state)
{
    struct story *f = *state;

    serve_whole(f);
    commands(f, 6000, COMMAND_STYLE_PASSIVE, NODE_NONE, 3);
    all_report(f, 6001, 1, 9);
    forget(f);
    activates(f, 6002, S1, 2);
    story(f, "view 2 active\n"
             "answer 3 done: view 2 is passive\n");
    begin(f, 7000); /* the config still says active, and has not changed */
    assert_int_equal(f->rm.saved.wanted.style, STYLE_PASSIVE);
}

/* What is still wanted when its time is over is wanted by an rm that is started then, too. */
static void test_style_is_remembered(void **state)
{
    struct story *f = *state;

    serve_whole(f);
    commands(f, 6000, COMMAND_STYLE_PASSIVE, NODE_NONE, 3);
    forget(f);
    tick(f, 6000 + RM_COMMAND_MS_MAX);
    assert_non_null(strstr((const char *)buffer_head(&f->said), "but still wanted"));
    begin(f, 17000);
    assert_int_equal(f->rm.saved.wanted.style, STYLE_PASSIVE);
}

/* Acks are part of the view; what makes no other view is remembered all the same. */
static void test_acks(void **state)
{
    struct story *f = *state;

    serve_whole(f);
    commands(f, 6000, COMMAND_ACKS_MAJORITY, NODE_NONE, 3);
    all_report(f, 6001, 1, 9);
    forget(f);
    activates(f, 6002, S1, 2);
    story(f, "view 2 active\n"
             "answer 3 done: view 2 has acks 2 of 3 members\n");
    assert_int_equal(current(f)->acks, 2);
    commands_count(f, 6003, COMMAND_ACKS_COUNT, 2, 4);
    assert_int_equal(current(f)->number, 2);
    begin(f, 7000); /* the config still says all, and has not changed */
    assert_int_equal(f->rm.saved.wanted.acks, ACKS_COUNT);
    assert_int_equal(f->rm.saved.wanted.acks_count, 2);
}

/* Not more than there are members: then no view could be made. */
static void test_acks_refusals(void **state)
{
    struct story *f = *state;

    serve_whole(f);
    forget(f);
    commands_count(f, 6000, COMMAND_ACKS_COUNT, 0, 3);
    story(f, "answer 3 refused: acks must be all, majority or a number from 1 to 3\n");
    dies(f, 6000, S3);
    all_report(f, 6001, 1, 9);
    activates(f, 6001, S1, 2);
    forget(f);
    commands_count(f, 6002, COMMAND_ACKS_COUNT, 3, 5);
    story(f, "answer 5 refused: view 2 has 2 members: too few for acks = 3\n");
    assert_int_equal(f->rm.saved.wanted.acks, ACKS_ALL);
}

/* Both ends of a link are told, and each keeps the time itself. */
static void test_cut(void **state)
{
    struct story *f = *state;

    serve_whole(f);
    forget(f);
    commands_link(f, 6000, COMMAND_CUT, S3, S1, 5, 3);
    story(f, "send s3: silence peer=s1 seconds=5\n"
             "send s1: silence peer=s3 seconds=5\n"
             "the link of s3 and s1 is cut for 5 s\n"
             "answer 3 done: the link of s3 and s1 is cut for 5 s\n");
    assert_string_equal(rm_event(&f->rm, f->rm.event_sequence)->text,
                        "the link of s3 and s1 is cut for 5 s");
    commands_link(f, 6001, COMMAND_HEAL, S3, S1, 0, 4);
    story(f, "send s3: silence peer=s1 seconds=0\n"
             "send s1: silence peer=s3 seconds=0\n"
             "the link of s3 and s1 is healed\n"
             "answer 4 done: the link of s3 and s1 is healed\n");
}

/* One end that cannot be told would see the other close the link. */
static void test_cut_refusals(void **state)
{
    struct story *f = *state;

    serve_whole(f);
    forget(f);
    commands_link(f, 6000, COMMAND_CUT, S1, S1, 5, 1);
    commands_link(f, 6000, COMMAND_CUT, S1, S4, 5, 2);
    commands_link(f, 6000, COMMAND_HEAL, NODE_RM, S1, 0, 3);
    commands_link(f, 6000, COMMAND_CUT, S1, S2, 0, 4);
    commands_link(f, 6000, COMMAND_CUT, S1, S2, 61, 5);
    unlinks(f, 6000, S2);
    commands_link(f, 6000, COMMAND_CUT, S1, S2, 60, 6);
    story(f, "answer 1 refused: a link has two servers\n"
             "answer 2 refused: a link has two servers\n"
             "answer 3 refused: a link has two servers\n"
             "answer 4 refused: a link is cut for 1 to 60 s\n"
             "answer 5 refused: a link is cut for 1 to 60 s\n"
             "answer 6 refused: s2 is not linked to the rm\n");
}

static void test_recover(void **state)
{
    struct story *f = *state;

    f->options.server_count = f->options.host_count = 1;
    serve_whole(f);
    commands(f, 6000, COMMAND_RECOVER, NODE_NONE, 1);
    story(f, "answer 1 refused: nothing to recover: no view change waits for servers that are "
             "missing\n");
    dies(f, 6001, S1);
    comes_back(f, 6100, S1, 12);
    reports(f, 6101, S1, 0, 0);
    forget(f);
    commands(f, 6200, COMMAND_RECOVER, NODE_NONE, 2);
    story(f, "[store]\n"
             "view 2 stored\n"
             "[view 2: s1]\n"
             "view 2 sent: primary s1, members s1, acks 1, active\n"
             "1 member: s1; view 2, primary s1\n"
             "answer 2 done: view 2, primary s1\n");
}

/* The later command about a server rules; nobody waits for ever. */
static void test_superseded(void **state)
{
    struct story *f = *state;

    serve_whole(f);
    commands(f, 6000, COMMAND_STOP, S3, 1);
    forget(f);
    commands(f, 6001, COMMAND_START, S3, 2);
    story(f, "[store]\n"
             "answer 1 refused: another command for that server came after it\n"
             "answer 2 done: s3 is running already\n");
}

/* A command that is refused takes the place of none. */
static void test_refused_supersedes_nothing(void **state)
{
    struct story *f = *state;

    serve_whole(f);
    commands(f, 6000, COMMAND_RESTART, S3, 1);
    dies(f, 6001, S1);
    dies(f, 6001, S2);
    forget(f);
    commands(f, 6002, COMMAND_STOP, S3, 2);
    story(f, "answer 2 refused: view 1 cannot be without s3: members left alive must be at least "
             "one, and enough for acks\n");
}

static void test_too_many_commands(void **state)
{
    struct story *f = *state;

    serve_whole(f);
    for (uint32_t i = 0; i < RM_COMMANDS_MAX; i++)
        commands(f, 6000, COMMAND_SWITCHOVER, S2, i + 1);
    forget(f);
    commands(f, 6000, COMMAND_SWITCHOVER, S2, 99);
    story(f, "answer 99 refused: too many commands are under way\n");
}

static void test_unknown_command(void **state)
{
    struct story *f = *state;

    serve_whole(f);
    commands(f, 6000, COMMAND_STOP, NODE_GFD, 1);
    commands(f, 6000, (enum command_verb)250, NODE_NONE, 2);
    story(f, "answer 1 refused: there is no such server\n"
             "answer 2 refused: unknown command\n");
}

/* Events carry the wall clock; what follows a store carries the time at which it was durable. */
static void test_events(void **state)
{
    struct story *f = *state;
    uint64_t last;

    serve_whole(f);
    rm_wall(&f->rm, at(6000), 5000000);
    dies(f, 6001, S1);
    reports(f, 6001, S2, 1, 9);
    last = f->rm.event_sequence;
    assert_int_equal(rm_event(&f->rm, last)->time_us, 5001000);
    reports(f, 6002, S3, 1, 9);
    rm_stored(&f->rm, 5003333);
    assert_int_equal(rm_event(&f->rm, last)->time_us, 5001000);
    assert_int_equal(rm_event(&f->rm, last + 1)->time_us, 5003333);
    assert_string_equal(rm_event(&f->rm, last + 1)->text, "view 2 stored");
    assert_int_equal(rm_event(&f->rm, last + 1)->sequence, last + 1);
    assert_null(rm_event(&f->rm, 0));
    assert_null(rm_event(&f->rm, f->rm.event_sequence + 1));
}

static void test_old_events_are_dropped(void **state)
{
    struct story *f = *state;

    serve_whole(f);
    for (uint32_t i = 0; i < RM_EVENTS_MAX; i++)
        host(f, 6000, 0, i % 2);
    assert_null(rm_event(&f->rm, f->rm.event_sequence - RM_EVENTS_MAX));
    assert_non_null(rm_event(&f->rm, f->rm.event_sequence - RM_EVENTS_MAX + 1));
}

/* Views of which none becomes active pile up; when there is no room to remember another, no more
 * are made, and the operator is asked. */
static void test_history_is_full(void **state)
{
    struct story *f = *state;

    serve_whole(f);
    for (uint64_t ms = 7000; f->rm.saved.view_count < SAVED_VIEWS_MAX; ms += 1000) {
        uint64_t number = current(f)->number;

        states(f, ms, S2, number, number + 1); /* somebody promised it to an rm that is gone */
        for (uint32_t i = 0; i < 3; i++)
            reports(f, ms + 1, NODE_SERVER(i), number, 10 + number);
        assert_true(current(f)->number > number);
    }
    forget(f);
    states(f, 999000, S2, current(f)->number, current(f)->number + 1);
    all_report(f, 999001, current(f)->number, 1000);
    tick(f, 999500);
    assert_int_equal(f->rm.saved.view_count, SAVED_VIEWS_MAX);
    assert_non_null(
        strstr((const char *)buffer_head(&f->said), "64 views were issued and none became active"));
    forget(f);
}

/* A gfd that came back lists somebody no more, and says nothing of a death: the server is lost. */
static void test_silently_unlisted(void **state)
{
    struct story *f = *state;

    serve_whole(f);
    gfd_lost(f, 7000);
    gfd_link(f, 7100);
    gfd_lists(f, 7100);
    tick(f, 8100);
    assert_true(f->rm.roster.server[2].listed);
    members_drop(&f->members, S3);
    f->version++;
    gfd_lists(f, 9000);
    assert_false(f->rm.roster.server[2].listed);
    assert_true(f->rm.view.fencing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(test_cluster_start),
        STORY(test_progress),
        STORY(test_switchover),
        STORY(test_switchover_refusals),
        STORY(test_stop_primary),
        STORY(test_stop_by_an_old_store),
        STORY(test_stop_of_one_that_serves),
        STORY(test_stop_of_an_empty_one),
        STORY(test_stop_last),
        STORY(test_restart_indispensable),
        STORY(test_restart_of_one_too_many),
        STORY(test_stop_waits_for_active_view),
        STORY(test_start_fails),
        STORY(test_stop_indispensable),
        STORY(test_restart),
        STORY(test_start_after_restart),
        STORY(test_start_after_stop),
        STORY(test_start_after_lost_order),
        STORY(test_restart_after_lost_host),
        STORY(test_restart_before_the_list),
        STORY(test_restart_before_the_list_refused),
        STORY(test_stop_before_the_list),
        STORY(test_stop_on_lost_host),
        STORY(test_restart_on_lost_host),
        STORY(test_stop_is_of_one_life),
        STORY(test_deadline),
        STORY(test_style),
        STORY(test_style_is_remembered),
        STORY(test_acks),
        STORY(test_acks_refusals),
        STORY(test_cut),
        STORY(test_cut_refusals),
        STORY(test_recover),
        STORY(test_superseded),
        STORY(test_refused_supersedes_nothing),
        STORY(test_too_many_commands),
        STORY(test_unknown_command),
        STORY(test_events),
        STORY(test_old_events_are_dropped),
        STORY(test_restart_without_store),
        STORY(test_history_is_full),
        STORY(test_silently_unlisted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
