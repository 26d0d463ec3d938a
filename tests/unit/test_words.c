/* What people type, and what they are shown: lines cut into words, replies made readable. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#include "client/print.h"
#include "client/words.h"

static void split(const char *line, int count, const char *const *expected)
{
    struct words words;
    const char *why = NULL;

    assert_true(words_split(&words, line, &why));
    assert_int_equal(words.count, count);
    for (int i = 0; i < count; i++) {
        assert_int_equal(words.sizes[i], strlen(expected[i]));
        assert_string_equal(words.words[i], expected[i]);
    }
    words_free(&words);
}

static void split_fails(const char *line)
{
    struct words words;
    const char *why = NULL;

    assert_false(words_split(&words, line, &why));
    assert_non_null(why);
    words_free(&words);
}

static void test_plain_words(void **state)
{
    (void)state;
    split("", 0, NULL);
    split("  \t ", 0, NULL);
    split(" set  a\tb ", 3, (const char *const[]){ "set", "a", "b" });
}

/* Quotes hold blanks together, and are words of their own even when empty. */
static void test_quotes(void **state)
{
    (void)state;
    split("set \"a b\" 'c d'", 3, (const char *const[]){ "set", "a b", "c d" });
    split("set a \"\"", 3, (const char *const[]){ "set", "a", "" });
    split("\"\\n\\x41\\\"\" 'it\\'s \\n'", 2, (const char *const[]){ "\nA\"", "it's \\n" });
}

/* A zero byte is a byte like others. */
static void test_zero_byte(void **state)
{
    struct words words;
    const char *why = NULL;

    (void)state;
    assert_true(words_split(&words, "\"a\\x00b\"", &why));
    assert_int_equal(words.sizes[0], 3);
    assert_memory_equal(words.words[0], "a\0b", 3);
    words_free(&words);
}

static void test_bad_quotes(void **state)
{
    (void)state;
    split_fails("set \"a");
    split_fails("set 'a");
    split_fails("set \"a\"b");
    split_fails("\"a\\");
}

/* The limit is on words, not on what they hold. */
static void test_too_many_words(void **state)
{
    char line[2 * (WORDS_MAX + 1) + 1];

    (void)state;
    for (size_t i = 0; i < sizeof(line) - 1; i++)
        line[i] = i % 2 ? ' ' : 'x';
    line[sizeof(line) - 1] = '\0';
    split_fails(line);
}

static void shows(const char *reply, bool quoted, const char *expected)
{
    struct buffer out = { 0 };

    print_reply(bytes_string(reply), quoted, &out);
    buffer_append(&out, "", 1);
    assert_string_equal((const char *)buffer_head(&out), expected);
    buffer_free(&out);
}

static void test_scalars(void **state)
{
    (void)state;
    shows("+OK\r\n", true, "OK\n");
    shows("$4\r\na\n\"b\r\n", true, "\"a\\n\\\"b\"\n");
    shows("$4\r\na\n\"b\r\n", false, "a\n\"b\n");
    shows(":7\r\n", true, "(integer) 7\n");
    shows(":7\r\n", false, "7\n");
    shows("_\r\n", true, "(nil)\n");
    shows("_\r\n", false, "\n");
    shows("-ERR no\r\n", true, "(error) ERR no\n");
    shows("#t\r\n", true, "(true)\n");
    shows("=6\r\ntxt:hi\r\n", true, "hi\n");
}

static void test_aggregates(void **state)
{
    (void)state;
    shows("*0\r\n", true, "(empty array)\n");
    shows("*2\r\n:1\r\n*2\r\n+a\r\n+b\r\n", true, "1) (integer) 1\n2) 1) a\n   2) b\n");
    shows("*2\r\n:1\r\n*2\r\n+a\r\n+b\r\n", false, "1\na\nb\n");
    shows("%2\r\n+a\r\n:1\r\n+b\r\n:2\r\n", true, "1# a => (integer) 1\n2# b => (integer) 2\n");
    shows("~1\r\n+a\r\n", true, "1~ a\n");
}

/* What is said about a value is not shown; the value is. */
static void test_attribute(void **state)
{
    (void)state;
    shows("|1\r\n+ttl\r\n:3\r\n+value\r\n", true, "value\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_words),    cmocka_unit_test(test_quotes),
        cmocka_unit_test(test_zero_byte),      cmocka_unit_test(test_bad_quotes),
        cmocka_unit_test(test_too_many_words), cmocka_unit_test(test_scalars),
        cmocka_unit_test(test_aggregates),     cmocka_unit_test(test_attribute),
    };

    return cmocka_run_group_tests_name("words", tests, NULL, NULL);
}
