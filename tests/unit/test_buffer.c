/* Buffers: bytes come out as they went in, and the memory stays within what is asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/buffer.h"
#include "common/random.h"

static void assert_content(const struct buffer *b, const char *expected)
{
    assert_int_equal(buffer_size(b), strlen(expected));
    assert_memory_equal(buffer_head(b), expected, strlen(expected));
}

static void test_append_and_consume(void **state)
{
    struct buffer b = { 0 };

    (void)state;
    assert_int_equal(buffer_size(&b), 0);
    buffer_append(&b, NULL, 0);
    buffer_append_string(&b, "abc");
    buffer_append(&b, "def", 2);
    assert_content(&b, "abcde");
    buffer_consume(&b, 2);
    assert_content(&b, "cde");
    buffer_consume(&b, 3);
    assert_int_equal(buffer_size(&b), 0);
    assert_int_equal(b.start, 0);
    buffer_free(&b);
}

/* A queue that never holds much never takes much memory, however much goes through it. */
static void test_reuses_space(void **state)
{
    struct buffer b = { 0 };
    uint64_t in = 0;
    uint64_t out = 0;
    struct random chance = random_seeded(1);

    (void)state;
    for (uint32_t i = 0; i < 100000; i++) {
        uint64_t value;

        if (buffer_size(&b) < 64 * sizeof value && random_below(&chance, 2) == 0) {
            buffer_append(&b, &in, sizeof in);
            in++;
        } else if (buffer_size(&b) > 0) {
            memcpy(&value, buffer_head(&b), sizeof value);
            assert_int_equal(value, out++);
            buffer_consume(&b, sizeof value);
        }
    }
    assert_true(out > 40000);
    assert_true(b.capacity <= 4096);
    buffer_free(&b);
}

static void test_reserve_and_commit(void **state)
{
    struct buffer b = { 0 };

    (void)state;
    assert_non_null(buffer_reserve(&b, 0));
    memcpy(buffer_reserve(&b, 100000), "xyz", 3);
    buffer_commit(&b, 3);
    assert_content(&b, "xyz");
    assert_true(b.capacity >= 100000);
    buffer_free(&b);
}

/* Longer texts than the first guess are formatted whole. */
static void test_format(void **state)
{
    struct buffer b = { 0 };

    (void)state;
    buffer_format(&b, "%s=%d", "n", 5);
    assert_content(&b, "n=5");
    buffer_format(&b, "%01000d", 7);
    assert_int_equal(buffer_size(&b), 1003);
    assert_int_equal(b.data[1002], '7');
    buffer_free(&b);
}

static void test_clear_gives_back(void **state)
{
    struct buffer b = { 0 };

    (void)state;
    buffer_reserve(&b, 100000);
    buffer_append_string(&b, "abc");
    buffer_clear(&b, 1 << 20);
    assert_int_equal(buffer_size(&b), 0);
    assert_true(b.capacity >= 100000);
    buffer_clear(&b, 4096);
    assert_int_equal(b.capacity, 4096);
    buffer_clear(&b, 0);
    assert_null(b.data);
    buffer_append_string(&b, "abc");
    assert_content(&b, "abc");
    buffer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_and_consume), cmocka_unit_test(test_reuses_space),
        cmocka_unit_test(test_reserve_and_commit), cmocka_unit_test(test_format),
        cmocka_unit_test(test_clear_gives_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
