/* How far a recovery or a join is: percent, time left, and when the log hears of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "server/progress.h"

static const uint64_t MB = 1000000;

static struct instant at(uint64_t ms)
{
    return (struct instant){ (5000u + ms) * 1000000u };
}

/* 43 % after 2 s: 2.65 s are left, if it goes on like this. */
static void test_left(void **state)
{
    struct progress p;

    (void)state;
    progress_begin(&p, at(0), PHASE_RECEIVING, 1000 * MB);
    assert_int_equal(progress_percent(&p), 0);
    assert_int_equal(progress_left_ms(&p, at(100)), 0); /* nothing is known yet */
    p.bytes = 430 * MB;
    assert_int_equal(progress_percent(&p), 43);
    assert_int_equal(progress_left_ms(&p, at(2000)), 2651);
    assert_int_equal(progress_mb_per_second(&p, at(2000)), 215);
}

/* An estimate that proves too low, or that nobody has, makes no nonsense. */
static void test_wrong_totals(void **state)
{
    struct progress p;

    (void)state;
    progress_begin(&p, at(0), PHASE_RECEIVING, 100);
    p.bytes = 150;
    assert_int_equal(progress_percent(&p), 100);
    assert_int_equal(progress_left_ms(&p, at(2000)), 0);
    progress_begin(&p, at(0), PHASE_FOLLOWING, 0);
    p.bytes = 150;
    assert_int_equal(progress_percent(&p), 0);
    assert_int_equal(progress_left_ms(&p, at(2000)), 0);
    p.bytes_total = UINT64_MAX;
    assert_int_equal(progress_left_ms(&p, at(2000)), UINT32_MAX);
}

/* A line for every tenth, but few when it is fast, and some when it is slow. */
static void test_lines(void **state)
{
    struct progress p;
    char text[PROGRESS_TEXT_SIZE];

    (void)state;
    progress_begin(&p, at(0), PHASE_LOADING, 1000 * MB);
    p.bytes = 500 * MB;
    assert_false(progress_say(&p, at(199), text));
    assert_true(progress_say(&p, at(1000), text));
    assert_string_equal(text, "50 % of 1000 MB, 500 MB/s, 1 s left");
    p.bytes = 599 * MB;
    assert_false(progress_say(&p, at(2999), text));
    assert_true(progress_say(&p, at(3000), text)); /* late enough */
    p.bytes = 690 * MB;
    assert_true(progress_say(&p, at(3200), text)); /* far enough */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_left),
        cmocka_unit_test(test_wrong_totals),
        cmocka_unit_test(test_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
