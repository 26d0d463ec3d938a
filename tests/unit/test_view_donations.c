/* Who gives a joiner its checkpoint, and who has to wait for it. */
#include "tests/unit/rm_story.h"

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
    deliver(f, 5000, S2, wanted); /* not the primary */
    story(f, "");
    deliver(f, 5000, S1, wanted);
    deliver(f, 5100, S1, wanted);
    story(f, "s2 is to give s4 a checkpoint of index 100 or later\n"
             "send s2: donate number=1 joiner=s4 incarnation=41 index=100\n");
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

/* While members that were taken in for want of others hold up the commits of a view, nothing new is
 * executed, and of the states only the primary's is sure to be as new as it must (seed 695). */
static void test_donor_before_active(void **state)
{
    struct story *f = *state;
    struct message wanted = { .type = MESSAGE_DONOR_WANTED,
                              .donor_wanted = { 2, S4, life(S4, 1), 100 } };

    set_up_five(f, ACKS_MAJORITY, 0);
    serve(f, 5000);
    dies(f, 5000, S5);
    for (uint32_t i = 0; i < 4; i++)
        reports(f, 5001, NODE_SERVER(i), 1, 9);
    forget(f);
    deliver(f, 5002, S1, wanted);
    story(f, "s1 is to give s4 a checkpoint of index 100 or later\n"
             "send s1: donate number=2 joiner=s4 incarnation=41 index=100\n");
    activates(f, 5003, S1, 2);
    forget(f);
    deliver(f, 5002 + DONOR_AGAIN_MS, S1, wanted);
    story(f, "s2 is to give s4 a checkpoint of index 100 or later\n"
             "send s2: donate number=2 joiner=s4 incarnation=41 index=100\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(test_donor),
        STORY(test_donations_in_turn),
        STORY(test_donor_for_member),
        STORY(test_donor_before_active),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
