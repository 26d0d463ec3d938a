/* The load generator's bookkeeping and options: what is lost, what is repeated, what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "client/load.h"

#define RECORD 32u
#define LANE   1u

struct fixture {
    struct verify verify;
    struct buffer value; /* what the cluster holds under the first key of the lane */
    struct verify_result result;
};

static int setup(void **state)
{
    static struct fixture fixture;

    memset(&fixture, 0, sizeof(fixture));
    verify_init(&fixture.verify, 77, 2, RECORD);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    verify_free(&f->verify);
    buffer_free(&f->value);
    return 0;
}

static void executed(struct fixture *f, uint64_t serial)
{
    verify_record(&f->verify, serial, buffer_reserve(&f->value, RECORD));
    buffer_commit(&f->value, RECORD);
}

static uint64_t written(struct fixture *f, enum verify_outcome outcome)
{
    uint64_t serial = verify_begin(&f->verify, LANE);

    verify_end(&f->verify, LANE, serial, outcome);
    return serial;
}

static const struct verify_result *judged(struct fixture *f)
{
    memset(&f->result, 0, sizeof(f->result));
    verify_chunk(&f->verify, LANE, 0, buffer_bytes(&f->value), &f->result);
    return &f->result;
}

/* Everything acknowledged is there, once, in order. */
static void test_all_there(void **state)
{
    struct fixture *f = *state;

    for (uint32_t i = 0; i < 10; i++)
        executed(f, written(f, VERIFY_ACKNOWLEDGED));
    assert_int_equal(judged(f)->acknowledged, 10);
    assert_int_equal(f->result.lost + f->result.repeated + f->result.foreign, 0);
    assert_int_equal(f->result.misplaced, 0);
}

/* An acknowledged write that is not there is lost, and only that one. */
static void test_lost(void **state)
{
    struct fixture *f = *state;

    executed(f, written(f, VERIFY_ACKNOWLEDGED));
    written(f, VERIFY_ACKNOWLEDGED);
    executed(f, written(f, VERIFY_ACKNOWLEDGED));
    assert_int_equal(judged(f)->lost, 1);
    assert_int_equal(f->result.repeated, 0);
}

/* A key that does not exist has lost everything. */
static void test_lost_key(void **state)
{
    struct fixture *f = *state;

    written(f, VERIFY_ACKNOWLEDGED);
    written(f, VERIFY_ACKNOWLEDGED);
    assert_int_equal(judged(f)->lost, 2);
}

/* A write that is there twice was executed twice, wherever the second stands. */
static void test_repeated(void **state)
{
    struct fixture *f = *state;
    uint64_t first = written(f, VERIFY_ACKNOWLEDGED);

    executed(f, first);
    executed(f, written(f, VERIFY_ACKNOWLEDGED));
    executed(f, first);
    assert_int_equal(judged(f)->repeated, 1);
    assert_int_equal(f->result.misplaced, 1);
    assert_int_equal(f->result.lost, 0);
}

/* Unknown may be there or not. Failed must not. */
static void test_unknown_and_failed(void **state)
{
    struct fixture *f = *state;

    executed(f, written(f, VERIFY_UNKNOWN));
    written(f, VERIFY_UNKNOWN);
    written(f, VERIFY_FAILED);
    assert_int_equal(judged(f)->unknown, 2);
    assert_int_equal(f->result.unknown_found, 1);
    assert_int_equal(f->result.contradicted, 0);
    executed(f, written(f, VERIFY_FAILED));
    assert_int_equal(judged(f)->contradicted, 1);
}

/* Bytes that nobody wrote: a serial never given, other text, a torn end. */
static void test_foreign(void **state)
{
    struct fixture *f = *state;

    executed(f, written(f, VERIFY_ACKNOWLEDGED));
    executed(f, 5);
    buffer_append_string(&f->value, "This is not a record of a load!!");
    buffer_append_string(&f->value, "torn");
    assert_int_equal(judged(f)->foreign, 3);
    assert_int_equal(f->result.lost, 0);
}

/* Writes beyond what fits under one key go to the next, and are judged there. */
static void test_chunks(void **state)
{
    struct fixture *f = *state;
    char first[VERIFY_KEY_SIZE];
    char second[VERIFY_KEY_SIZE];

    for (uint32_t i = 0; i <= f->verify.chunk_records; i++)
        written(f, VERIFY_ACKNOWLEDGED);
    assert_int_equal(verify_chunks(&f->verify, LANE), 2);
    (void)verify_key(&f->verify, LANE, 0, first);
    (void)verify_key(&f->verify, LANE, verify_chunk_serial(&f->verify, 1), second);
    assert_string_not_equal(first, second);
    assert_int_equal(judged(f)->lost, f->verify.chunk_records);
    verify_chunk(&f->verify, LANE, 1, bytes_of(NULL, 0), &f->result);
    assert_int_equal(f->result.lost, f->verify.chunk_records + 1u);
}

/* The longest gaps are kept, with the time of each. */
static void test_gaps(void **state)
{
    struct load_result *r = calloc(1, sizeof(*r));
    uint64_t at_ns = 0;
    uint32_t found = 0;

    (void)state;
    assert_non_null(r);
    for (uint32_t i = 0; i < 1000; i++)
        load_result_ack(r, at_ns += i == 500 ? 9000000 : 1000 + i);
    for (uint32_t i = 0; i < r->gap_count; i++)
        found += r->gaps[i].ns == 9000000 && r->gaps[i].at_ns > 9000000;
    assert_int_equal(r->gap_count, LOAD_GAPS_MAX);
    assert_int_equal(found, 1);
    assert_int_equal(r->second_count, 1);
    assert_int_equal(r->seconds[0], 1000);
    free(r->seconds);
    free(r);
}

static enum error_code parse(const char *const *words, int count, struct load_options *options,
                             struct error *error)
{
    char *argv[16];
    char text[16][64];

    for (int i = 0; i < count; i++) {
        (void)strncpy(text[i], words[i], sizeof(text[i]) - 1);
        text[i][sizeof(text[i]) - 1] = '\0';
        argv[i] = text[i];
    }
    load_options_default(options);
    return load_options_parse(options, count, argv, error);
}

#define PARSE(options, error, ...)              \
    parse((const char *const[]){ __VA_ARGS__ }, \
          (int)(sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *)), options, error)

/* Without a bound the load ends after 10 seconds; with a number of requests it needs no other. */
static void test_bounds(void **state)
{
    struct load_options options;
    struct error error;

    (void)state;
    assert_int_equal(PARSE(&options, &error, "--once"), ERROR_NONE);
    assert_true(options.seconds == 10);
    assert_int_equal(PARSE(&options, &error, "--requests", "5000"), ERROR_NONE);
    assert_true(options.seconds == 0 && options.requests == 5000);
}

static void test_options(void **state)
{
    struct load_options options;
    struct error error;

    (void)state;
    assert_int_equal(PARSE(&options, &error, "--rate", "1000.5", "--connections", "8", "--verify",
                           "--send-to", "spread", "--reads", "20", "--seconds", "0.5"),
                     ERROR_NONE);
    assert_true(options.rate == 1000.5 && options.connections == 8 && options.verify);
    assert_int_equal(options.send_to, LOAD_SEND_SPREAD);
    assert_int_equal(options.reads_percent, 20);
}

#define REFUSED(why, ...)                                                    \
    do {                                                                     \
        assert_int_equal(PARSE(&options, &error, __VA_ARGS__), ERROR_USAGE); \
        assert_non_null(strstr(error.text, why));                            \
    } while (0)

/* What makes no sense is refused, in words that say what was expected. */
static void test_refused_options(void **state)
{
    struct load_options options;
    struct error error;

    (void)state;
    REFUSED("unknown option", "--speed");
    REFUSED("needs a value", "--rate");
    REFUSED("from 1 to", "--connections", "0");
    REFUSED("whole number", "--connections", "2.5");
    REFUSED("from 0 to 100", "--reads", "101");
    REFUSED("from 0 to", "--rate", "nan");
    REFUSED("one, all or spread", "--send-to", "some");
    REFUSED("add --once", "--send-to", "all");
    REFUSED("at least 16", "--verify", "--value-size", "8");
    REFUSED("at most 32768", "--once", "--connections", "1000", "--pipeline", "100");
    REFUSED("above 1000000", "--connections", "100000", "--pipeline", "100");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_all_there, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_key, setup, teardown),
        cmocka_unit_test_setup_teardown(test_repeated, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown_and_failed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_foreign, setup, teardown),
        cmocka_unit_test_setup_teardown(test_chunks, setup, teardown),
        cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_refused_options),
    };

    return cmocka_run_group_tests_name("load", tests, NULL, NULL);
}
