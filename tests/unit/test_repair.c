/* The repair core, in virtual time: when servers are ordered to start. */
#include "tests/unit/rm_story.h"

/* Repair alone, with the roster that it reads. */
static struct repair *begin_repair(struct story *f, bool fresh)
{
    struct repair_options options = {
        .server_count = 3,
        .server_host = { 0, 1, 2 },
        .backoff_ms = 50,
        .backoff_ms_max = 400,
        .budget = 5,
        .budget_window_s = 60,
        .fresh = fresh,
        .seed = 42,
    };

    roster_init(&f->rm.roster, 3, 3, 1000);
    saved_init(&f->rm.saved, &f->options.policy, 3);
    repair_init(&f->rm.repair, &options, &f->rm.saved, &f->rm.roster, at(0));
    f->rm.repair.may_stop = 7;
    return &f->rm.repair;
}

static void hear(struct story *f, uint64_t ms, struct message m)
{
    struct effects ignored;

    m.from = NODE_GFD;
    effects_clear(&f->out);
    effects_clear(&ignored);
    roster_receive(&f->rm.roster, at(ms), &m, &ignored);
    repair_receive(&f->rm.repair, at(ms), &m, &f->out);
    say(f);
}

static void pass(struct story *f, uint64_t ms)
{
    effects_clear(&f->out);
    repair_tick(&f->rm.repair, at(ms), &f->out);
    say(f);
}

static void hosts_up(struct story *f, uint64_t ms)
{
    hear(f, ms, (struct message){ .type = MESSAGE_LINK_UP, .link_up = { .incarnation = 7 } });
    hear(f, ms,
         (struct message){ .type = MESSAGE_MEMBERSHIP, .membership = { .members = f->members } });
    for (uint32_t i = 0; i < 3; i++)
        hear(f, ms,
             (struct message){ .type = MESSAGE_HOST, .host = { .lfd = NODE_LFD(i), .up = 1 } });
}

static void lists(struct story *f, uint64_t ms, node_id server, uint64_t incarnation)
{
    members_put(&f->members, server, incarnation);
    hear(f, ms,
         (struct message){ .type = MESSAGE_MEMBERSHIP,
                           .membership = { .members = f->members,
                                           .changed = server,
                                           .change = CHANGE_ADD,
                                           .incarnation = incarnation } });
}

static void deletes(struct story *f, uint64_t ms, node_id server)
{
    uint64_t incarnation = f->members.incarnation[node_index(server)];

    members_drop(&f->members, server);
    hear(f, ms,
         (struct message){ .type = MESSAGE_MEMBERSHIP,
                           .membership = { .members = f->members,
                                           .changed = server,
                                           .change = CHANGE_DELETE,
                                           .incarnation = incarnation,
                                           .certain = 1 } });
}

static void all_run(struct story *f)
{
    begin_repair(f, true);
    hosts_up(f, 0);
    for (uint32_t i = 0; i < 3; i++)
        lists(f, 1, NODE_SERVER(i), life(NODE_SERVER(i), 1));
    forget(f);
}

/* A new cluster: each server is ordered to start as soon as its lfd is there. */
static void test_cluster_start(void **state)
{
    struct story *f = *state;

    begin_repair(f, true);
    pass(f, 0);
    story(f, "");
    hear(f, 0, (struct message){ .type = MESSAGE_LINK_UP });
    hear(f, 0, (struct message){ .type = MESSAGE_MEMBERSHIP });
    hear(f, 5, (struct message){ .type = MESSAGE_HOST, .host = { NODE_LFD(1), 1, 0 } });
    story(f, "s2: start ordered\n"
             "send gfd: order server=s2 action=1\n");
    assert_true(repair_deadline(&f->rm.repair).ns == at(5005).ns);
    pass(f, 5004);
    story(f, "");
    pass(f, 5005); /* nothing came of it */
    story(f, "s2: start ordered\n"
             "send gfd: order server=s2 action=1\n");
}

/* After a restart of the rm, servers that run are left alone, and the others get their lfd's word
 * first. */
static void test_rm_restart(void **state)
{
    struct story *f = *state;

    begin_repair(f, false);
    members_put(&f->members, S1, 11);
    members_put(&f->members, S2, 21);
    hosts_up(f, 0);
    pass(f, 199);
    story(f, "");
    assert_true(repair_deadline(&f->rm.repair).ns == at(200).ns);
    pass(f, 200);
    story(f, "s3: start ordered\n"
             "send gfd: order server=s3 action=1\n");
}

/* The wait doubles up to its maximum, and each is between half and whole. */
static void test_backoff(void **state)
{
    static const uint32_t whole_ms[] = { 50, 100, 200, 400, 400 };
    struct story *f = *state;
    uint64_t ms = 1000;

    all_run(f);
    for (uint32_t n = 0; n < 5; n++) {
        uint64_t wait_ms;

        deletes(f, ms, S1);
        wait_ms = (repair_deadline(&f->rm.repair).ns - at(ms).ns) / 1000000u;
        assert_in_range(wait_ms, whole_ms[n] / 2, whole_ms[n]);
        forget(f);
        pass(f, ms + wait_ms - 1);
        story(f, "");
        pass(f, ms + wait_ms);
        story(f, "s1: start ordered\n"
                 "send gfd: order server=s1 action=1\n");
        ms += wait_ms + 1;
        lists(f, ms, S1, 12 + n);
        ms++;
    }
    assert_int_equal(f->rm.repair.server[0].restarts, 5);
}

/* A life as long as the longest wait: the next failure is a first one. */
static void test_decay(void **state)
{
    struct story *f = *state;

    all_run(f);
    f->rm.repair.server[0].failures = 4;
    pass(f, 400);
    assert_int_equal(f->rm.repair.server[0].failures, 4);
    assert_true(repair_deadline(&f->rm.repair).ns == at(401).ns);
    pass(f, 401);
    assert_int_equal(f->rm.repair.server[0].failures, 0);
}

static void use_up_budget(struct story *f)
{
    uint64_t ms = 1000;

    for (uint32_t n = 0; n < 6; n++, ms += 500) {
        deletes(f, ms, S1);
        pass(f, ms + 400);
        if (n < 5)
            lists(f, ms + 401, S1, 12 + n);
    }
}

/* Until the operator says START, after however long, or at once: then it is a budget anew. */
static void start_after_budget(struct story *f, uint64_t ms)
{
    all_run(f);
    use_up_budget(f);
    forget(f);
    pass(f, ms);
    story(f, "");
    effects_clear(&f->out);
    repair_start(&f->rm.repair, at(ms + 1), S1, &f->out);
    pass(f, ms + 1);
    story(f, "s1: start ordered\n"
             "send gfd: order server=s1 action=1\n");
    lists(f, ms + 2, S1, 99);
    deletes(f, ms + 3, S1);
    assert_int_equal(f->rm.repair.server[0].state, REPAIR_WAITING);
}

/* Five restarts in a minute are the budget: the sixth death is the last. */
static void test_budget(void **state)
{
    struct story *f = *state;

    all_run(f);
    use_up_budget(f);
    assert_int_equal(f->rm.repair.server[0].state, REPAIR_FAILED);
    assert_true(repair_deadline(&f->rm.repair).ns == INSTANT_NEVER.ns);
    start_after_budget(f, 1000000);
    forget(f);
    f->members = (struct members){ 0 };
    start_after_budget(f, 4000);
}

/* Restarts that the window has left behind do not count. */
static void test_budget_window(void **state)
{
    struct story *f = *state;

    all_run(f);
    for (uint32_t n = 0; n < 20; n++) {
        uint64_t ms = 10 + 13000u * n;

        deletes(f, ms, S1);
        pass(f, ms + 400);
        lists(f, ms + 401, S1, 12 + n);
    }
    assert_int_equal(f->rm.repair.server[0].state, REPAIR_RUNNING);
}

/* A start that fails is a failure like a death. */
static void test_start_failed(void **state)
{
    struct story *f = *state;
    struct message failed = { .type = MESSAGE_START_FAILED,
                              .start_failed = { .server = S1, .cause = "exited: status 1" } };

    all_run(f);
    deletes(f, 1000, S1);
    pass(f, 1060);
    forget(f);
    hear(f, 1061, failed);
    assert_int_equal(f->rm.repair.server[0].state, REPAIR_WAITING);
    assert_int_equal(f->rm.repair.server[0].failures, 2);
    hear(f, 1062, failed); /* of nobody's order */
    assert_int_equal(f->rm.repair.server[0].failures, 2);
}

/* Its host is gone: no order can reach it. When the lfd is back it says first what it finds. */
static void test_host_lost(void **state)
{
    struct story *f = *state;

    all_run(f);
    hear(f, 10, (struct message){ .type = MESSAGE_HOST, .host = { NODE_LFD(0), 0, 0 } });
    deletes(f, 10, S1);
    forget(f);
    pass(f, 60000);
    story(f, "");
    hear(f, 60000, (struct message){ .type = MESSAGE_HOST, .host = { NODE_LFD(0), 1, 0 } });
    pass(f, 60100);
    lists(f, 60101, S1, 11);
    pass(f, 70000);
    story(f, "");
}

/* STOP is an order as soon as no view needs the server, it is stored, and holds. */
static void test_stop(void **state)
{
    struct story *f = *state;

    all_run(f);
    f->rm.repair.may_stop = 0;
    effects_clear(&f->out);
    repair_stop(&f->rm.repair, S2, &f->out);
    say(f);
    pass(f, 10);
    story(f, "[store]\n");
    f->rm.repair.may_stop = 2;
    pass(f, 20);
    story(f, "s2: stop ordered\n"
             "send gfd: order server=s2 action=2\n");
    deletes(f, 21, S2);
    pass(f, 60000);
    story(f, "");
    assert_int_equal(f->rm.saved.stopped, 2);
    effects_clear(&f->out);
    repair_start(&f->rm.repair, at(60001), S2, &f->out);
    say(f);
    pass(f, 60001);
    story(f, "[store]\n"
             "s2: start ordered\n"
             "send gfd: order server=s2 action=1\n");
}

/* RESTART: its end is no failure, and it starts again at once. */
static void test_restart(void **state)
{
    struct story *f = *state;

    all_run(f);
    repair_restart(&f->rm.repair, S3);
    pass(f, 1000);
    story(f, "s3: stop ordered\n"
             "send gfd: order server=s3 action=2\n");
    deletes(f, 1001, S3);
    story(f, "s3: start ordered\n"
             "send gfd: order server=s3 action=1\n");
    assert_int_equal(f->rm.repair.server[2].failures, 0);
}

/* It is lost on the way to its end, and found again: the order still holds. It is not for another
 * life, also not for one that a clock set back has given a lower number. */
static void test_restart_unseen(void **state)
{
    struct story *f = *state;

    all_run(f);
    repair_restart(&f->rm.repair, S3);
    pass(f, 1000);
    members_drop(&f->members, S3);
    hear(f, 1001,
         (struct message){ .type = MESSAGE_MEMBERSHIP,
                           .membership = { .members = f->members,
                                           .changed = S3,
                                           .change = CHANGE_DELETE,
                                           .incarnation = 31 } });
    assert_true(f->rm.repair.server[2].expected);
    lists(f, 1010, S3, 31);
    assert_true(f->rm.repair.server[2].expected);
    lists(f, 1020, S3, 30);
    assert_false(f->rm.repair.server[2].expected);
}

static const char *state_of(const struct story *f, node_id server)
{
    return repair_state_name(f->rm.repair.server[node_index(server)].state);
}

/* What the operator reads of a server in the course of its lives. */
static void test_state_names(void **state)
{
    struct story *f = *state;

    begin_repair(f, true);
    assert_string_equal(state_of(f, S1), "down");
    hosts_up(f, 0);
    assert_string_equal(state_of(f, S1), "starting");
    lists(f, 1, S1, 11);
    assert_string_equal(state_of(f, S1), "up");
    deletes(f, 2, S1);
    assert_string_equal(state_of(f, S1), "waiting");
    use_up_budget(f);
    assert_string_equal(state_of(f, S1), "failed");
    repair_stop(&f->rm.repair, S1, &f->out);
    pass(f, 100000);
    assert_string_equal(state_of(f, S1), "stopped");
}

/* A RESTART is given up before it had any effect; the server just goes on. */
static void test_restart_not(void **state)
{
    struct story *f = *state;

    all_run(f);
    f->rm.repair.may_stop = 0;
    repair_restart(&f->rm.repair, S3);
    repair_restart_not(&f->rm.repair, S3);
    f->rm.repair.may_stop = 7;
    pass(f, 1000);
    story(f, "");
    assert_int_equal(f->rm.repair.server[2].state, REPAIR_RUNNING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(test_cluster_start), STORY(test_rm_restart),     STORY(test_backoff),
        STORY(test_decay),         STORY(test_budget),         STORY(test_budget_window),
        STORY(test_start_failed),  STORY(test_host_lost),      STORY(test_stop),
        STORY(test_restart),       STORY(test_restart_unseen), STORY(test_state_names),
        STORY(test_restart_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
