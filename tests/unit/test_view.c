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
    reports(f, 1, S3, (struct journal){ 0 });
    reports(f, 1, S1, (struct journal){ 0 });
    story(f, "");
    reports(f, 2, S2, (struct journal){ 0 });
    story(f, "[store]\n"
             "view 1 stored\n"
             "[view 1: s1 s2 s3]\n"
             "view 1 sent: primary s1, members s1, s2, s3, acks 3, active\n"
             "3 members: s1, s2, s3; view 1, primary s1\n");
    activates(f, 3, S1, 1);
    story(f, "view 1 active\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_bootstrap, set_up_story, tear_down_story),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
