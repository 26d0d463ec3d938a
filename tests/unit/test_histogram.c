/* Histograms: percentiles are exact for small values and at most 1/64 too high for all others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/buffer.h"
#include "common/histogram.h"
#include "common/random.h"

static int make(void **state)
{
    *state = memory_zeroed(1, sizeof(struct histogram));
    return 0;
}

static int end(void **state)
{
    free(*state);
    return 0;
}

static void test_empty(void **state)
{
    struct histogram *h = *state;

    assert_int_equal(histogram_percentile(h, 50), 0);
    histogram_add(h, 5);
    histogram_clear(h);
    assert_int_equal(h->count, 0);
    assert_int_equal(histogram_percentile(h, 100), 0);
}

static void test_small_values_are_exact(void **state)
{
    struct histogram *h = *state;

    for (uint64_t value = 1; value <= 50; value++)
        histogram_add(h, value);
    assert_int_equal(histogram_percentile(h, 0), 1);
    assert_int_equal(histogram_percentile(h, 2), 1);
    assert_int_equal(histogram_percentile(h, 50), 25);
    assert_int_equal(histogram_percentile(h, 99), 50);
    assert_int_equal(histogram_percentile(h, 100), 50);
    assert_int_equal(h->sum, 1275);
}

/* Every value, up to the largest, is found again within the bound. */
static void test_precision(void **state)
{
    struct histogram *h = *state;
    struct random chance = random_seeded(7);

    for (uint32_t i = 0; i < 20000; i++) {
        uint64_t value = random_next(&chance) >> (i % 64);
        uint64_t found;

        histogram_clear(h);
        histogram_add(h, 0);
        histogram_add(h, value); /* the second of three: neither min nor max tell it */
        histogram_add(h, UINT64_MAX);
        found = histogram_percentile(h, 60);
        assert_true(found >= value && found - value <= value / 64);
    }
}

static int compare(const void *a, const void *b)
{
    uint64_t x, y;

    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

/* Percentiles of many values against those of the sorted list. */
static void test_percentiles(void **state)
{
    static uint64_t values[10000];
    struct histogram *h = *state;
    struct random chance = random_seeded(3);

    for (size_t i = 0; i < 10000; i++) {
        values[i] = 50 + random_below(&chance, 1u << random_below(&chance, 20));
        histogram_add(h, values[i]);
    }
    qsort(values, 10000, sizeof values[0], compare);
    for (size_t rank = 100; rank <= 10000; rank += 100) {
        uint64_t found = histogram_percentile(h, (double)rank / 100);

        assert_true(found >= values[rank - 1]);
        assert_true(found - values[rank - 1] <= values[rank - 1] / 64);
    }
    assert_int_equal(histogram_percentile(h, 100), values[9999]);
}

/* Two merged are as one that was told everything. */
static void test_merge(void **state)
{
    struct histogram *h = *state;
    struct histogram *both = memory_zeroed(2, sizeof *both);

    for (uint64_t value = 0; value < 1000; value++) {
        histogram_add(h, value * value);
        histogram_add(&both[value % 2], value * value);
    }
    histogram_merge(&both[0], &both[1]);
    assert_memory_equal(&both[0], h, sizeof *h);
    histogram_clear(h);
    histogram_merge(&both[0], h);
    assert_int_equal(both[0].count, 1000);
    assert_int_equal(both[0].min, 0);
    histogram_merge(h, &both[0]);
    assert_memory_equal(&both[0], h, sizeof *h);
    free(both);
}

static void test_sum_saturates(void **state)
{
    struct histogram *h = *state;

    histogram_add(h, UINT64_MAX);
    histogram_add(h, 5);
    assert_true(h->sum == UINT64_MAX);
    assert_true(h->max == UINT64_MAX);
    assert_int_equal(h->min, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_empty, make, end),
        cmocka_unit_test_setup_teardown(test_small_values_are_exact, make, end),
        cmocka_unit_test_setup_teardown(test_precision, make, end),
        cmocka_unit_test_setup_teardown(test_percentiles, make, end),
        cmocka_unit_test_setup_teardown(test_merge, make, end),
        cmocka_unit_test_setup_teardown(test_sum_saturates, make, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
