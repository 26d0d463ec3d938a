/* What the `holdfast` command makes of the rm's status and of the daemons' logs, for people. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/operator_status.h"
#include "client/operator_table.h"
#include "client/operator_timeline.h"

/* Compares and frees what was written. */
static void wrote(struct buffer *out, const char *expected)
{
    buffer_append(out, "", 1);
    assert_string_equal((const char *)buffer_head(out), expected);
    buffer_free(out);
}

/* Columns are as wide as their widest text, in characters; no line ends in spaces. */
static void test_table(void **state)
{
    struct table *table = malloc(sizeof *table);
    struct buffer out = { 0 };

    (void)state;
    assert_non_null(table);
    table_init(table, "lrl");
    table_cell(table, TABLE_DIM, "NAME");
    table_cell(table, TABLE_DIM, "N");
    table_cell(table, TABLE_DIM, "NOTE");
    table_cell(table, TABLE_BOLD, "µ");
    table_cell(table, TABLE_PLAIN, "%d", 1000);
    table_cell(table, TABLE_PLAIN, "%s", "");
    table_cell(table, TABLE_PLAIN, "longer");
    table_cell(table, TABLE_PLAIN, "7");
    table_cell(table, TABLE_RED, "bad");
    table_write(table, "| ", false, &out);
    wrote(&out, "| NAME       N  NOTE\n"
                "| µ       1000\n"
                "| longer     7  bad\n");
    free(table);
}

/* Colours stand around the text and do not count as width. */
static void test_table_colours(void **state)
{
    struct table *table = malloc(sizeof *table);
    struct buffer out = { 0 };

    (void)state;
    assert_non_null(table);
    table_init(table, "ll");
    table_cell(table, TABLE_RED, "a");
    table_cell(table, TABLE_PLAIN, "b");
    table_cell(table, TABLE_PLAIN, "ccc");
    table_cell(table, TABLE_PLAIN, "d");
    table_write(table, "", true, &out);
    wrote(&out, "\033[31ma\033[0m    b\n"
                "ccc  d\n");
    free(table);
}

/* A table that is full drops what does not fit. */
static void test_table_full(void **state)
{
    struct table *table = malloc(sizeof *table);
    struct buffer out = { 0 };
    uint32_t lines = 0;

    (void)state;
    assert_non_null(table);
    table_init(table, "l");
    for (uint32_t i = 0; i < TABLE_ROWS_MAX + 5; i++)
        table_cell(table, TABLE_PLAIN, "%u", i);
    table_write(table, "", false, &out);
    for (size_t i = 0; i < buffer_size(&out); i++)
        lines += buffer_head(&out)[i] == '\n';
    assert_int_equal(lines, TABLE_ROWS_MAX);
    buffer_free(&out);
    free(table);
}

static const char status_json[] =
    "{\"cluster\":\"three\","
    "\"view\":{\"number\":8,\"style\":\"active\",\"acks\":2,\"primary\":\"s2\","
    "\"members\":[\"s2\",\"s3\"],\"waits_for\":\"view 9 waits for s3\"},"
    "\"membership\":{\"version\":7,\"members\":[\"s2\",\"s3\"]},"
    "\"servers\":["
    "{\"name\":\"s1\",\"host\":\"h1\",\"state\":\"starting\",\"role\":\"none\",\"incarnation\":0,"
    "\"pid\":0,\"client_port\":7001,\"journal_index\":0,\"commit_index\":0,\"executed_index\":0,"
    "\"restarts\":1,\"last_exit\":\"exited: SIGKILL\",\"phase\":\"loading\",\"bytes\":559000000,"
    "\"bytes_total\":1300000000,\"seconds_left\":6},"
    "{\"name\":\"s2\",\"host\":\"h2\",\"state\":\"up\",\"role\":\"primary\",\"incarnation\":5,"
    "\"pid\":123,\"client_port\":7002,\"journal_index\":12,\"commit_index\":11,"
    "\"executed_index\":11,\"restarts\":0,\"last_exit\":\"\"},"
    "{\"name\":\"s3\",\"host\":\"h3\",\"state\":\"up\",\"role\":\"backup\",\"incarnation\":6,"
    "\"pid\":124,\"client_port\":7003,\"journal_index\":12,\"commit_index\":10,"
    "\"executed_index\":10,\"restarts\":0,\"last_exit\":null,\"phase\":\"following\"}],"
    "\"lfds\":[{\"name\":\"lfd1\",\"state\":\"up\",\"pid\":20}],"
    "\"gfd\":{\"state\":\"up\",\"pid\":10},\"rm\":{\"state\":\"up\",\"pid\":9}}";

/* The whole page, as it stands in a pipe. */
static void test_status(void **state)
{
    struct status *status = malloc(sizeof *status);
    struct buffer out = { 0 };
    struct error error;

    (void)state;
    assert_non_null(status);
    assert_int_equal(status_parse(status, bytes_string(status_json), &error), ERROR_NONE);
    assert_false(status_is_whole(status));
    assert_int_equal(status->servers[1].incarnation, 5);
    assert_int_equal(status->rm.pid, 9);
    status_write(status, false, &out);
    wrote(&out,
          "cluster three: view 8 (active), primary s2, members s2, s3; not a member: s1 "
          "(starting)\n"
          "acks 2, membership version 7\n"
          "view 9 waits for s3\n"
          "\n"
          "SERVER  HOST  STATE     ROLE     PID  PORT  JOURNAL  COMMIT  EXECUTED  RESTARTS  LAST "
          "EXIT\n"
          "s1      h1    starting  none       -  7001        0       0         0         1  "
          "exited: SIGKILL\n"
          "s2      h2    up        primary  123  7002       12      11        11         0  -\n"
          "s3      h3    up        backup   124  7003       12      10        10         0  -\n"
          "s1 recovers: loading, 43 % of 1.3 GB, 6 s left\n"
          "s3 joins: following\n"
          "\n"
          "DETECTOR  STATE  PID\n"
          "lfd1      up      20\n"
          "gfd       up      10\n"
          "rm        up       9\n");
    free(status);
}

/* Whatever the rm says, it is read without harm: what is missing or of another type is empty. */
static void test_status_strange(void **state)
{
    static const char *const strange[] = {
        "{}", "{\"view\":3,\"servers\":{},\"lfds\":null,\"gfd\":[],\"rm\":\"x\"}",
        "{\"servers\":[1,null,{\"name\":7,\"pid\":-1}],\"view\":{\"members\":[3,\"s9\"]}}"
    };
    struct status *status = malloc(sizeof *status);
    struct buffer out = { 0 };
    struct error error;

    (void)state;
    assert_non_null(status);
    for (size_t i = 0; i < sizeof strange / sizeof strange[0]; i++) {
        assert_int_equal(status_parse(status, bytes_string(strange[i]), &error), ERROR_NONE);
        assert_false(status_is_whole(status));
        status_write(status, false, &out);
    }
    assert_int_equal(status->servers[2].process.pid, 0);
    buffer_free(&out);
    assert_int_equal(status_parse(status, bytes_string("[]"), &error), ERROR_PROTOCOL);
    assert_string_equal(error.text, "the rm's status is not a JSON object: something else");
    assert_int_equal(status_parse(status, bytes_string("{"), &error), ERROR_PROTOCOL);
    free(status);
}

/* 2026-11-20 12:00:00 in the zone of the test, and so many microseconds. */
static uint64_t noon_us(uint64_t us)
{
    struct tm local = {
        .tm_year = 126, .tm_mon = 10, .tm_mday = 20, .tm_hour = 12, .tm_isdst = -1
    };

    return (uint64_t)mktime(&local) * 1000000u + us;
}

/* A failover: each hop is found by who says it and how, once, and the victim's return only after
 * it had gone. */
static void test_timeline(void **state)
{
    static const char *const lines[] = {
        "[2026-11-20 12:00:00.000999] lfd1: delete replica s1 (exited: SIGKILL)\n", /* too early */
        "[2026-11-20 12:00:00.001100] lfd1: delete replica s1 (exited: SIGKILL)\n",
        "[2026-11-20 12:00:00.001150] gfd: delete replica s1 (exited: SIGKILL)\n",
        "[2026-11-20 12:00:00.001151] gfd: 2 members: s2, s3\n",
        "[2026-11-20 12:00:00.001160] rm: 3 members: s1, s2, s3; view 7, primary s1\n",
        "[2026-11-20 12:00:00.001200] rm: fence 8 sent to s2, s3 (s1 is gone)\n",
        "[2026-11-20 12:00:00.001500] rm: view 8 stored\n",
        "[2026-11-20 12:00:00.001600] rm: 2 members: s2, s3; view 8, primary s2\n",
        "[2026-11-20 12:00:00.001800] s2: view 8 is active: serving as primary\n",
        "[2026-11-20 12:00:00.052000] lfd1: start s1\n",
        "no time: at all\n",
        "[2026-11-20 12:00:00.06] lfd1: add replica s1\n",
        "[2026-11-20 12:00:00.070000] lfd1: add replica s1\n",
        "[2026-11-20 12:00:00.080000] rm: s1 caught up\n",
        "[2026-11-20 12:00:00.085000] rm: membership 9: 3 members: s1, s2, s3 (add s1)\n",
        "[2026-11-20 12:00:00.090000] rm: view 9 stored\n",
        "[2026-11-20 12:00:00.091000] rm: 3 members: s2, s3, s11; view 9, primary s2\n",
        "[2026-11-20 12:00:01.235567] rm: 3 members: s1, s2, s3; view 9, primary s2\n",
    };
    struct timeline timeline;
    struct buffer out = { 0 };

    (void)state;
    timeline_init(&timeline, "s1", noon_us(1000));
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        assert_false(timeline_is_whole(&timeline));
        timeline_read(&timeline, lines[i]);
    }
    assert_false(timeline_is_whole(&timeline));
    timeline_note(&timeline, HOP_ANSWERED, noon_us(1750), "client", "0.9 ms");
    assert_true(timeline_is_whole(&timeline));
    timeline_write(&timeline, false, &out);
    wrote(
        &out,
        "  AFTER THE KILL  WHO     WHAT HAPPENED                                  IN ITS OWN "
        "WORDS\n"
        "          100 µs  lfd1    the exit is seen: its pidfd is readable        delete replica "
        "s1 (exited: SIGKILL)\n"
        "          150 µs  gfd     the member is deleted                          delete replica "
        "s1 (exited: SIGKILL)\n"
        "          200 µs  rm      survivors must promise to refuse the old view  fence 8 sent to "
        "s2, s3 (s1 is gone)\n"
        "          500 µs  rm      the new view is durable                        view 8 stored\n"
        "          750 µs  client  first acknowledged write after the gap         0.9 ms\n"
        "          800 µs  s2      the new primary serves                         view 8 is "
        "active: serving as primary\n"
        "       69,000 µs  lfd1    the victim is restarted and answers            add replica s1\n"
        "       79,000 µs  rm      it has everything that it missed               s1 caught up\n"
        "    1,234,567 µs  rm      it is a member again                           3 members: s1, "
        "s2, s3; view 9, primary s2\n");
}

/* What never came is said, last. */
static void test_timeline_missing(void **state)
{
    struct timeline timeline;
    struct buffer out = { 0 };
    const char *text;

    (void)state;
    timeline_init(&timeline, "s1", noon_us(0));
    timeline_read(&timeline, "[2026-11-20 12:00:00.000150] gfd: delete replica s1 (x)\n");
    timeline_write(&timeline, false, &out);
    buffer_append(&out, "", 1);
    text = (const char *)buffer_head(&out);
    assert_non_null(strstr(text, "150 µs  gfd"));
    assert_true(strstr(text, "never") > strstr(text, "150 µs"));
    buffer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_table_colours),
        cmocka_unit_test(test_table_full),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_status_strange),
        cmocka_unit_test(test_timeline),
        cmocka_unit_test(test_timeline_missing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
