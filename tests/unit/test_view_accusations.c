/* Members that cannot reach each other, or keep nothing: who has to leave the view. */
#include "tests/unit/rm_story.h"

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
    all_report(f, 5021, 1, 9);
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
    all_report(f, 5221, 2, 12);
    activates(f, 5222, S1, 3);
    assert_int_equal(current(f)->members.set, 7);
    accuses(f, 5300, S1, S2);
    tick(f, 5320);
    all_report(f, 5320, 3, 13);
    assert_int_equal(current(f)->members.set, 5);
    assert_int_equal(f->rm.view.pause[1].pause_ms, 400);
    /* After a healthy minute the pause begins anew. */
    activates(f, 5330, S1, 4);
    catches_up(f, 5330, S1, S2, 21);
    tick(f, 65320);
    all_report(f, 65320, 4, 14);
    activates(f, 65320, S1, 5);
    accuses(f, 65400, S1, S2);
    tick(f, 65420);
    all_report(f, 65420, 5, 15);
    assert_int_equal(f->rm.view.pause[1].pause_ms, 200);
}

/* One backup cannot reach the primary, which is fine: the backup leaves. */
static void test_accusing_backup_leaves(void **state)
{
    struct story *f = *state;

    serve(f, 5000);
    accuses(f, 5000, S3, S1);
    tick(f, 5020);
    all_report(f, 5021, 1, 9);
    assert_int_equal(current(f)->primary, S1);
    assert_int_equal(current(f)->members.set, 3);
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
        reports_lease(f, 5003, NODE_SERVER(i), 1, 9 + (i == 0), 150);
    assert_int_equal(current(f)->primary, S2);
    assert_int_equal(current(f)->members.set, 6);
    assert_int_equal(current(f)->lease_wait_ms, 0); /* fenced, it reported */
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
    assert_int_equal(current(f)->primary, S2);
    assert_int_equal(current(f)->lease_wait_ms, 90);
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
        reports_lease(f, 5001, NODE_SERVER(i), 1, 9, 150);
    assert_int_equal(current(f)->primary, S2);
    assert_int_equal(current(f)->members.set, 6);
    assert_int_equal(current(f)->lease_wait_ms, 0); /* fenced, it reported */
}

/* It holds what nobody else does, and is elected again: its word is heard again only when its pause
 * is over, or there would be a view each time it asks (seed 204018). */
static void test_indispensable_with_full_disk(void **state)
{
    struct story *f = *state;

    f->options.policy = (struct view_policy){ .acks = ACKS_COUNT, .acks_count = 1 };
    serve(f, 5000);
    accuses(f, 5000, S1, S1);
    reports(f, 5001, S1, 1, 10);
    reports(f, 5001, S2, 1, 9);
    reports(f, 5001, S3, 1, 9);
    assert_int_equal(current(f)->primary, S1);
    activates(f, 5002, S1, 2);
    forget(f);
    accuses(f, 5002, S1, S1);
    accuses(f, 4999 + ACCUSE_PAUSE_MS_MIN, S1, S1);
    story(f, "");
    accuses(f, 5000 + ACCUSE_PAUSE_MS_MIN, S1, S1);
    story(f, "s1 wants to leave: no ack\n"
             "[fence 3: s1 s2 s3]\n"
             "fence 3 sent to s1, s2, s3 (s1 leaves: no ack)\n");
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
    assert_int_equal(current(f)->members.set, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(test_accused_backup),
        STORY(test_accusing_backup_leaves),
        STORY(test_all_accuse_the_primary),
        STORY(test_lost_primary_is_accused),
        STORY(test_member_with_full_disk),
        STORY(test_indispensable_with_full_disk),
        STORY(test_last_member_with_full_disk),
        STORY(test_two_members_accuse_each_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
