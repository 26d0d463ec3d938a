/* Reading commands: whole, in pieces, broken and hostile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/random.h"
#include "common/resp.h"

static int fresh(void **state)
{
    *state = memory_zeroed(1, sizeof(struct resp_command_reader));
    return 0;
}

static int end(void **state)
{
    resp_command_reader_free(*state);
    free(*state);
    return 0;
}

/* Reads from a copy of exactly that size, so that a sanitizer sees a step beyond its end. What the
 * reader gave is described before the copy goes: "[word|word]", an error's words, or "…". */
static enum resp_status read_copy(struct resp_command_reader *r, struct bytes input, size_t *used,
                                  struct buffer *said)
{
    uint8_t *copy = memory_take(input.size);
    struct error error;
    enum resp_status status;

    if (input.data)
        memcpy(copy, input.data, input.size);
    status = resp_read_command(r, bytes_of(copy, input.size), used, &error);
    if (status == RESP_BROKEN)
        buffer_append_string(said, error.text);
    if (status == RESP_READY) {
        buffer_append_string(said, "[");
        for (uint32_t i = 0; i < r->argc; i++) {
            buffer_append_string(said, i ? "|" : "");
            buffer_append(said, r->argv[i].data, r->argv[i].size);
        }
        buffer_append_string(said, "]");
    }
    free(copy);
    return status;
}

/* Reads everything that the bytes hold, given `step` more of them at a time. */
static void read_all(struct resp_command_reader *r, struct bytes input, size_t step,
                     struct buffer *said)
{
    size_t start = 0;
    size_t given = 0;

    while (given < input.size) {
        given = input.size - given < step ? input.size : given + step;
        for (;;) {
            size_t used = 0;
            enum resp_status status =
                read_copy(r, bytes_of(input.data + start, given - start), &used, said);

            if (status == RESP_BROKEN)
                return;
            if (status == RESP_PARTIAL)
                break;
            assert_true(used > 0 && used <= given - start);
            start += used;
        }
    }
    if (start < input.size)
        buffer_append_string(said, "…");
}

static void assert_reads(struct bytes input, const char *expected)
{
    static const size_t steps[] = { 1, 2, 3, 7, SIZE_MAX / 2 };

    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct resp_command_reader r = { 0 };
        struct buffer said = { 0 };

        read_all(&r, input, steps[i], &said);
        buffer_append(&said, "", 1);
        assert_string_equal((const char *)buffer_head(&said), expected);
        buffer_free(&said);
        resp_command_reader_free(&r);
    }
}

static void assert_text_reads(const char *input, const char *expected)
{
    assert_reads(bytes_string(input), expected);
}

/* However the bytes arrive, the commands are the same. */
static void test_commands(void **state)
{
    (void)state;
    assert_text_reads("*1\r\n$4\r\nPING\r\n", "[PING]");
    assert_text_reads("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n", "[SET|k|]");
    assert_text_reads("*2\r\n$3\r\nGET\r\n$4\r\n\r\n$1\r\n", "[GET|\r\n$1]");
    assert_text_reads("*1\r\n$1\r\na\r\n*1\r\n$1\r\nb\r\nc\r\n*1\r\n$1\r\nd\r\n", "[a][b][c][d]");
    assert_text_reads("*0\r\n*-1\r\n*1\r\n$1\r\na\r\n", "[][][a]");
    assert_text_reads("*2\r\n$1\r\na\r\n", "…");
    assert_text_reads("*2\r\n$1\r\na\r\n$5\r\nabc", "…");
    assert_text_reads("*12\r", "…");
}

static void test_inline(void **state)
{
    (void)state;
    assert_text_reads("PING\r\n", "[PING]");
    assert_text_reads("  set  k\tv \n", "[set|k|v]");
    assert_text_reads("\r\n\n \r\n", "[][][]");
    assert_text_reads("set \"a b\" 'c \"d'\n", "[set|a b|c \"d]");
    assert_text_reads("\"\\x41\\n\\r\\t\\b\\a\\\\\\\"\\q\\xZ\" '\\'\\n'\n",
                      "[A\n\r\t\b\a\\\"qxZ|'\\n]");
    assert_text_reads("\"\" ''\n", "[|]");
    assert_text_reads("ab\"c d\"\n", "[abc d]");
    assert_text_reads("PING", "…");
    assert_reads(bytes_of("a\0b\n", 4), "[a]");
}

static void test_errors(void **state)
{
    (void)state;
    assert_text_reads("*a\r\n", "Protocol error: invalid multibulk length");
    assert_text_reads("*\r\n", "Protocol error: invalid multibulk length");
    assert_text_reads("*01\r\n", "Protocol error: invalid multibulk length");
    assert_text_reads("*1048577\r\n", "Protocol error: invalid multibulk length");
    assert_text_reads("*99999999999999999999999\r\n", "Protocol error: invalid multibulk length");
    assert_text_reads("*1\r\nx", "Protocol error: expected '$', got 'x'");
    assert_text_reads("*1\r\n\x01", "Protocol error: expected '$', got '?'");
    assert_text_reads("*1\r\n$-1\r\n", "Protocol error: invalid bulk length");
    assert_text_reads("*1\r\n$x\r\n", "Protocol error: invalid bulk length");
    assert_text_reads("*1\r\n$536870913\r\n", "Protocol error: invalid bulk length");
    assert_text_reads("*1\r\n$629145600\r\n", "Protocol error: invalid bulk length");
    assert_text_reads("*1\r\n$1\r\na\r\n*1\r\n$z\r\n", "[a]Protocol error: invalid bulk length");
    assert_text_reads("a \"b\n", "Protocol error: unbalanced quotes in request");
    assert_text_reads("a 'b\n", "Protocol error: unbalanced quotes in request");
    assert_text_reads("a \"b\"c\n", "Protocol error: unbalanced quotes in request");
    assert_text_reads("\"\\\n", "Protocol error: unbalanced quotes in request");
}

/* A line that does not end is cut off at 64 KiB, however it comes. */
static void assert_long_line(const char *head, const char *expected)
{
    static const size_t steps[] = { 1, 1000, SIZE_MAX / 2 };

    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct resp_command_reader r = { 0 };
        struct buffer input = { 0 };
        size_t size = CLIENT_INLINE_BYTES_MAX;
        size_t given = 0;
        size_t used;
        struct error error;
        enum resp_status status = RESP_PARTIAL;

        buffer_append_string(&input, head);
        memset(buffer_reserve(&input, size + 100), '1', size + 100);
        buffer_commit(&input, size + 100);
        while (status == RESP_PARTIAL && given < buffer_size(&input)) {
            size_t left = buffer_size(&input) - given;

            given += left < steps[i] ? left : steps[i];
            status = resp_read_command(&r, bytes_of(buffer_head(&input), given), &used, &error);
        }
        assert_int_equal(status, RESP_BROKEN);
        assert_string_equal(error.text, expected);
        assert_true(given > size);
        buffer_free(&input);
        resp_command_reader_free(&r);
    }
}

static void test_endless_lines(void **state)
{
    (void)state;
    assert_long_line("*", "Protocol error: too big mbulk count string");
    assert_long_line("*1\r\n$", "Protocol error: too big bulk count string");
    assert_long_line("PING ", "Protocol error: too big inline request");
}

/* Many arguments that only were announced take no memory. */
static void test_announced_only(void **state)
{
    struct resp_command_reader *r = *state;
    struct bytes input = bytes_string("*1000000\r\n$1\r\na\r\n$2\r\nb");
    struct error error;
    size_t used;

    assert_int_equal(resp_read_command(r, input, &used, &error), RESP_PARTIAL);
    assert_int_equal(r->expected, 1000000);
    assert_true(r->capacity <= 16);
}

/* A large value is waited for: no byte of it is looked at, and the caller is told how many to
 * make room for. */
static void test_large_bulk(void **state)
{
    struct resp_command_reader *r = *state;
    const char *head = "*2\r\n$3\r\nGET\r\n$1000000\r\n";
    struct buffer input = { 0 };
    struct error error;
    size_t used;

    buffer_append_string(&input, head);
    assert_int_equal(resp_read_command(r, buffer_bytes(&input), &used, &error), RESP_PARTIAL);
    assert_int_equal(r->wanted, strlen(head) + 1000000 + 2);
    memset(buffer_reserve(&input, 1000002), 'x', 1000002);
    buffer_commit(&input, 1000001);
    assert_int_equal(resp_read_command(r, buffer_bytes(&input), &used, &error), RESP_PARTIAL);
    buffer_commit(&input, 1);
    assert_int_equal(resp_read_command(r, buffer_bytes(&input), &used, &error), RESP_READY);
    assert_int_equal(used, buffer_size(&input));
    assert_int_equal(r->argv[1].size, 1000000);
    assert_ptr_equal(r->argv[1].data, buffer_head(&input) + strlen(head));
    assert_int_equal(r->wanted, 0);
    buffer_free(&input);
}

/* All bulks together stay below what an entry of the journal may hold. */
static void test_too_big_request(void **state)
{
    struct resp_command_reader *r = *state;
    struct buffer input = { 0 };
    struct error error;
    size_t used;

    buffer_append_string(&input, "*2\r\n$70000\r\n");
    memset(buffer_reserve(&input, 70002), 'x', 70002);
    buffer_commit(&input, 70002);
    buffer_append_string(&input, "$536870912\r\n");
    assert_int_equal(resp_read_command(r, buffer_bytes(&input), &used, &error), RESP_BROKEN);
    assert_string_equal(error.text, "Protocol error: too big request");
    buffer_free(&input);
}

/* The memory for a command of many arguments is given back with the next one. */
static void test_gives_back(void **state)
{
    struct resp_command_reader *r = *state;
    struct buffer input = { 0 };
    struct error error;
    size_t used;

    buffer_append_string(&input, "*5000\r\n");
    for (int i = 0; i < 5000; i++)
        buffer_append_string(&input, "$1\r\na\r\n");
    assert_int_equal(resp_read_command(r, buffer_bytes(&input), &used, &error), RESP_READY);
    assert_int_equal(r->argc, 5000);
    assert_true(r->capacity >= 5000);
    assert_int_equal(resp_read_command(r, bytes_string("*1\r\n$1\r\na\r\n"), &used, &error),
                     RESP_READY);
    assert_int_equal(r->argc, 1);
    assert_true(r->capacity < 100);
    buffer_free(&input);
}

static void test_words(void **state)
{
    int64_t value;

    (void)state;
    assert_true(resp_is(bytes_string("GeT"), "get"));
    assert_false(resp_is(bytes_string("GET"), "getx"));
    assert_false(resp_is(bytes_string("GETX"), "get"));
    assert_false(resp_is(bytes_of("get\0", 4), "get"));
    assert_true(resp_is(bytes_of(NULL, 0), ""));

    assert_true(resp_integer(bytes_string("-9223372036854775808"), &value) && value == INT64_MIN);
    assert_true(resp_integer(bytes_string("9223372036854775807"), &value) && value == INT64_MAX);
    assert_true(resp_integer(bytes_string("0"), &value) && value == 0);
    assert_true(resp_integer(bytes_string("-15"), &value) && value == -15);
    assert_false(resp_integer(bytes_string("9223372036854775808"), &value));
    assert_false(resp_integer(bytes_string("-9223372036854775809"), &value));
    assert_false(resp_integer(bytes_string("99999999999999999999"), &value));
    assert_false(resp_integer(bytes_string(""), &value));
    assert_false(resp_integer(bytes_string("-"), &value));
    assert_false(resp_integer(bytes_string("+1"), &value));
    assert_false(resp_integer(bytes_string("01"), &value));
    assert_false(resp_integer(bytes_string("-0"), &value));
    assert_false(resp_integer(bytes_string(" 1"), &value));
    assert_false(resp_integer(bytes_string("1 "), &value));
}

/* Whatever is sent, nothing crashes, and how it is cut into pieces makes no difference. */
static void test_mutations(void **state)
{
    static const char corpus[] = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$12\r\nhello\r\nworld\r\n"
                                 "set \"a\\x41\" 'b'\r\n*0\r\n*1\r\n$0\r\n\r\nGET k\n";
    static const char likely[] = "*$0123456789\r\n\"'\\x -\0a";
    struct random chance = random_seeded(20261120);

    (void)state;
    for (uint32_t round = 0; round < 3000; round++) {
        struct resp_command_reader whole = { 0 };
        struct resp_command_reader pieces = { 0 };
        struct buffer said_whole = { 0 };
        struct buffer said_pieces = { 0 };
        uint8_t input[sizeof corpus - 1];
        size_t size = sizeof input - random_below(&chance, 10);

        memcpy(input, corpus, sizeof input);
        for (uint64_t i = 1 + random_below(&chance, 5); i > 0; i--)
            input[random_below(&chance, size)] =
                (uint8_t)likely[random_below(&chance, sizeof likely - 1)];
        read_all(&whole, bytes_of(input, size), size, &said_whole);
        read_all(&pieces, bytes_of(input, size), 1 + random_below(&chance, 9), &said_pieces);
        buffer_append(&said_whole, "", 1);
        buffer_append(&said_pieces, "", 1);
        assert_string_equal((const char *)buffer_head(&said_whole),
                            (const char *)buffer_head(&said_pieces));
        buffer_free(&said_whole);
        buffer_free(&said_pieces);
        resp_command_reader_free(&whole);
        resp_command_reader_free(&pieces);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_inline),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_endless_lines),
        cmocka_unit_test_setup_teardown(test_announced_only, fresh, end),
        cmocka_unit_test_setup_teardown(test_large_bulk, fresh, end),
        cmocka_unit_test_setup_teardown(test_too_big_request, fresh, end),
        cmocka_unit_test_setup_teardown(test_gives_back, fresh, end),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_mutations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
