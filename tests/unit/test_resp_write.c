/* Writing replies, measuring and reading them, and turning RESP3 into RESP2. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/random.h"
#include "common/resp.h"

static void assert_written(struct buffer *out, const char *expected)
{
    buffer_append(out, "", 1);
    assert_string_equal((const char *)buffer_head(out), expected);
    buffer_free(out);
}

static void test_writers(void **state)
{
    struct buffer out = { 0 };

    (void)state;
    resp_write_string(&out, "OK");
    resp_write_error(&out, "ERR bad\r\n%s", "thing");
    resp_write_integer(&out, 0);
    resp_write_integer(&out, INT64_MIN);
    resp_write_integer(&out, INT64_MAX);
    resp_write_bulk(&out, bytes_of(NULL, 0));
    resp_write_bulk_string(&out, "a\r\nb");
    resp_write_null(&out);
    resp_write_array(&out, 2);
    resp_write_map(&out, 10);
    resp_write_set(&out, UINT64_MAX);
    resp_write_boolean(&out, true);
    resp_write_boolean(&out, false);
    assert_written(&out, "+OK\r\n-ERR bad  thing\r\n:0\r\n:-9223372036854775808\r\n"
                         ":9223372036854775807\r\n$0\r\n\r\n$4\r\na\r\nb\r\n_\r\n*2\r\n%10\r\n"
                         "~18446744073709551615\r\n#t\r\n#f\r\n");

    resp_write_error(&out, "%05000d", 1);
    assert_int_equal(buffer_size(&out), 1 + RESP_ERROR_BYTES_MAX - 1 + 2);
    buffer_free(&out);

    resp_write_command(&out, 2, (struct bytes[]){ bytes_string("GET"), bytes_string("k") });
    assert_written(&out, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
}

/* The shortest form that is read back as the same number. */
static void test_doubles(void **state)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        { 0, ",0\r\n" },
        { -0.0, ",-0\r\n" },
        { 3, ",3\r\n" },
        { 1.5, ",1.5\r\n" },
        { 0.1, ",0.1\r\n" },
        { 0.1 + 0.2, ",0.30000000000000004\r\n" },
        { 1.0 / 3, ",0.3333333333333333\r\n" },
        { 123456789012345, ",123456789012345\r\n" },
        { 1e300, ",1e+300\r\n" },
        { -5e-324, ",-4.94065645841247e-324\r\n" },
        { HUGE_VAL, ",inf\r\n" },
        { -HUGE_VAL, ",-inf\r\n" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buffer out = { 0 };
        struct resp_value value;

        resp_write_double(&out, cases[i].value);
        resp_read_value(buffer_bytes(&out), &value);
        assert_int_equal(value.type, RESP_DOUBLE);
        assert_true(value.number == cases[i].value);
        assert_written(&out, cases[i].text);
    }
}

/* Measures a copy of exactly that size, so that a sanitizer sees a step beyond its end. */
static enum resp_status measure_copy(struct bytes input, size_t *used, struct error *error)
{
    uint8_t *copy = memory_take(input.size);
    enum resp_status status;

    if (input.data)
        memcpy(copy, input.data, input.size);
    status = resp_measure_reply(bytes_of(copy, input.size), used, error);
    free(copy);
    return status;
}

static const char *const replies[] = {
    "+OK\r\n",
    "-ERR no\r\n",
    ":-5\r\n",
    "$3\r\na\r\n\r\n",
    "$-1\r\n",
    "*-1\r\n",
    "_\r\n",
    ",1.5e3\r\n",
    ",-inf\r\n",
    "#t\r\n",
    "(-12345678901234567890123\r\n",
    "!3\r\nERR\r\n",
    "=6\r\ntxt:ab\r\n",
    "*0\r\n",
    "*2\r\n:1\r\n*1\r\n*2\r\n+a\r\n_\r\n",
    "%1\r\n+k\r\n%1\r\n+a\r\n+b\r\n",
    "~2\r\n:1\r\n:2\r\n",
    ">2\r\n+message\r\n+m\r\n",
    "|1\r\n+ttl\r\n:3\r\n*1\r\n|1\r\n+a\r\n|1\r\n+b\r\n+c\r\n+d\r\n$1\r\nx\r\n",
};

#define REPLY_COUNT (sizeof replies / sizeof replies[0])

/* A reply is measured as a whole, however little of it is there, and whatever follows. */
static void test_measure(void **state)
{
    (void)state;
    for (size_t i = 0; i < REPLY_COUNT; i++) {
        struct bytes reply = bytes_string(replies[i]);
        struct buffer more = { 0 };
        struct error error;
        size_t used = 0;

        for (size_t size = 0; size < reply.size; size++)
            assert_int_equal(measure_copy(bytes_of(reply.data, size), &used, &error), RESP_PARTIAL);
        buffer_append(&more, reply.data, reply.size);
        buffer_append_string(&more, "x");
        assert_int_equal(measure_copy(buffer_bytes(&more), &used, &error), RESP_READY);
        assert_int_equal(used, reply.size);
        buffer_free(&more);
    }
}

static void test_broken_replies(void **state)
{
    static const char *const broken[] = {
        "x\r\n",      "+a\rb",         "\r\n",           ":1a\r\n",         ":\r\n",
        "#x\r\n",     "#tt\r\n",       "_x\r\n",         ",\r\n",           ",1x\r\n",
        ",0x1p3\r\n", ",infinity\r\n", ",--\r\n",        "(1a\r\n",         "(\r\n",
        "(-\r\n",     "$-2\r\n",       "$536870913\r\n", "$1\r\nabc",       "=3\r\nabc\r\n",
        "!-1\r\n",    "*-2\r\n",       "%-1\r\n",        "*4294967296\r\n", "$?\r\n",
    };
    struct error error;
    size_t used;

    (void)state;
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        if (measure_copy(bytes_string(broken[i]), &used, &error) != RESP_BROKEN)
            fail_msg("%s is taken", broken[i]);
        assert_non_null(strstr(error.text, "Protocol error: "));
    }
}

/* Nesting has a limit, and lines do. */
static void test_limits(void **state)
{
    struct buffer reply = { 0 };
    struct error error;
    size_t used;

    (void)state;
    for (uint32_t i = 0; i < RESP_DEPTH_MAX - 1; i++)
        buffer_append_string(&reply, "*1\r\n");
    buffer_append_string(&reply, ":1\r\n");
    assert_int_equal(measure_copy(buffer_bytes(&reply), &used, &error), RESP_READY);
    buffer_clear(&reply, SIZE_MAX);
    for (uint32_t i = 0; i < RESP_DEPTH_MAX; i++)
        buffer_append_string(&reply, "*1\r\n");
    assert_int_equal(measure_copy(buffer_bytes(&reply), &used, &error), RESP_BROKEN);
    assert_string_equal(error.text, "Protocol error: too deeply nested reply");

    buffer_clear(&reply, SIZE_MAX);
    memset(buffer_reserve(&reply, CLIENT_INLINE_BYTES_MAX + 1), '+', CLIENT_INLINE_BYTES_MAX + 1);
    buffer_commit(&reply, CLIENT_INLINE_BYTES_MAX + 1);
    assert_int_equal(measure_copy(buffer_bytes(&reply), &used, &error), RESP_BROKEN);
    assert_string_equal(error.text, "Protocol error: too big line in reply");
    buffer_free(&reply);
}

static void test_read_value(void **state)
{
    struct resp_value v;

    (void)state;
    assert_int_equal(resp_read_value(bytes_string("=6\r\ntxt:ab\r\n:1\r\n"), &v), 12);
    assert_int_equal(v.type, RESP_VERBATIM);
    assert_true(bytes_equal(v.text, bytes_string("txt:ab")));
    assert_int_equal(resp_read_value(bytes_string("%3\r\n+a\r\n"), &v), 4);
    assert_int_equal(v.type, RESP_MAP);
    assert_int_equal(v.integer, 3);
    resp_read_value(bytes_string("*-1\r\n"), &v);
    assert_int_equal(v.type, RESP_NULL);
    resp_read_value(bytes_string("$-1\r\n"), &v);
    assert_int_equal(v.type, RESP_NULL);
    resp_read_value(bytes_string("#t\r\n"), &v);
    assert_int_equal(v.integer, 1);
    resp_read_value(bytes_string(",2.5\r\n"), &v);
    assert_true(v.number == 2.5);
    assert_true(bytes_equal(v.text, bytes_string("2.5")));
    resp_read_value(bytes_string("-ERR no\r\n"), &v);
    assert_true(bytes_equal(v.text, bytes_string("ERR no")));
}

static void assert_resp2(const char *reply, const char *expected)
{
    struct buffer out = { 0 };

    buffer_append_string(&out, "before ");
    resp_write_as_resp2(&out, bytes_string(reply));
    buffer_consume(&out, strlen("before "));
    assert_written(&out, expected);
}

static void test_as_resp2(void **state)
{
    (void)state;
    assert_resp2("+OK\r\n", "+OK\r\n");
    assert_resp2("-ERR no\r\n", "-ERR no\r\n");
    assert_resp2(":5\r\n", ":5\r\n");
    assert_resp2("$2\r\n\r\n\r\n", "$2\r\n\r\n\r\n");
    assert_resp2("_\r\n", "$-1\r\n");
    assert_resp2("#t\r\n", ":1\r\n");
    assert_resp2("#f\r\n", ":0\r\n");
    assert_resp2(",1.5\r\n", "$3\r\n1.5\r\n");
    assert_resp2("(123\r\n", "$3\r\n123\r\n");
    assert_resp2("=6\r\ntxt:ab\r\n", "$2\r\nab\r\n");
    assert_resp2("!7\r\nERR\r\nno\r\n", "-ERR  no\r\n");
    assert_resp2("%2\r\n+a\r\n_\r\n+b\r\n~1\r\n#t\r\n", "*4\r\n+a\r\n$-1\r\n+b\r\n*1\r\n:1\r\n");
    assert_resp2(">1\r\n+m\r\n", "*1\r\n+m\r\n");
    assert_resp2(replies[REPLY_COUNT - 1], "*1\r\n$1\r\nx\r\n");
    assert_resp2("*2\r\n:1\r\n", "-ERR the service's reply is malformed\r\n");
    assert_resp2("_\r\n_\r\n", "-ERR the service's reply is malformed\r\n");
    assert_resp2("", "-ERR the service's reply is malformed\r\n");
}

/* Whatever a peer or a service writes, nothing crashes, and what is measured can be read. */
static void test_mutations(void **state)
{
    static const char likely[] = "+-:$*_,#(!=%~>|0123456789\r\n.etf\0";
    struct random chance = random_seeded(20261120);

    (void)state;
    for (uint32_t round = 0; round < 50000; round++) {
        const char *reply = replies[random_below(&chance, REPLY_COUNT)];
        struct buffer input = { 0 };
        struct buffer out = { 0 };
        struct error error;
        size_t used = 0;

        buffer_append_string(&input, reply);
        buffer_append_string(&input, replies[random_below(&chance, REPLY_COUNT)]);
        for (uint64_t i = 1 + random_below(&chance, 4); i > 0; i--)
            input.data[random_below(&chance, input.end)] =
                (uint8_t)likely[random_below(&chance, sizeof likely - 1)];
        if (measure_copy(buffer_bytes(&input), &used, &error) == RESP_READY) {
            assert_true(used > 0 && used <= buffer_size(&input));
            resp_write_as_resp2(&out, bytes_of(buffer_head(&input), used));
            assert_int_equal(measure_copy(buffer_bytes(&out), &used, &error), RESP_READY);
            assert_int_equal(used, buffer_size(&out));
        }
        buffer_free(&input);
        buffer_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writers),  cmocka_unit_test(test_doubles),
        cmocka_unit_test(test_measure),  cmocka_unit_test(test_broken_replies),
        cmocka_unit_test(test_limits),   cmocka_unit_test(test_read_value),
        cmocka_unit_test(test_as_resp2), cmocka_unit_test(test_mutations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
