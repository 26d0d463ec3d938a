/* What is remembered of sessions, what is forgotten, and how a checkpoint of them is read and taken
 * in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "common/random.h"
#include "server/sessions.h"

static void record(struct sessions *s, uint64_t id, uint64_t sequence, uint64_t index,
                   const char *reply)
{
    sessions_record(s, id, sequence, index, bytes_string(reply));
}

static void assert_last(const struct sessions *s, uint64_t id, uint64_t sequence, const char *reply)
{
    uint64_t last = 0;
    struct bytes remembered = { 0 };

    assert_true(sessions_find(s, id, &last, &remembered));
    assert_int_equal(last, sequence);
    assert_true(bytes_equal(remembered, bytes_string(reply)));
}

static bool known(const struct sessions *s, uint64_t id)
{
    uint64_t last;
    struct bytes reply;

    return sessions_find(s, id, &last, &reply);
}

/* Takes all slices of an open checkpoint into a table. */
static bool restore_rest(struct sessions *from, struct sessions *to, uint32_t budget)
{
    struct buffer slice = { 0 };
    bool good = true;
    bool more;

    do {
        buffer_clear(&slice, SIZE_MAX);
        more = sessions_checkpoint_slice(from, budget, &slice);
        good = good && sessions_restore_slice(to, buffer_bytes(&slice));
    } while (more);
    buffer_clear(&slice, SIZE_MAX);
    sessions_checkpoint_limits(from, &slice);
    good = good && sessions_restore_limits(to, buffer_bytes(&slice));
    sessions_checkpoint_end(from);
    buffer_free(&slice);
    return good;
}

/* Of each session the last sequence and reply are remembered, and nothing before. */
static void test_last_of_each(void **state)
{
    struct sessions *s = sessions_new();

    (void)state;
    record(s, 7, 1, 1, "+one\r\n");
    record(s, 8, 1, 2, "+eight\r\n");
    record(s, 7, 2, 3, "+a longer reply than before, that needs more room than the first had\r\n");
    assert_last(s, 7, 2,
                "+a longer reply than before, that needs more room than the first had\r\n");
    assert_last(s, 8, 1, "+eight\r\n");
    assert_false(known(s, 9));
    record(s, 7, 3, 4, "");
    assert_last(s, 7, 3, "");
    assert_int_equal(sessions_count(s), 2);
    assert_int_equal(sessions_reply_bytes(s), 8);
    sessions_free(s);
}

/* One session too many: the one that was used the longest ago goes, not the one that came first. */
static void test_oldest_goes(void **state)
{
    struct sessions *s = sessions_new();
    uint64_t index = 0;

    (void)state;
    for (uint64_t id = 1; id <= SESSION_COUNT_MAX; id++)
        record(s, id, 1, ++index, "+OK\r\n");
    record(s, 1, 2, ++index, "+OK\r\n");
    record(s, SESSION_COUNT_MAX + 1, 1, ++index, "+OK\r\n");
    assert_int_equal(sessions_count(s), SESSION_COUNT_MAX);
    assert_true(known(s, 1));
    assert_false(known(s, 2));
    assert_true(known(s, 3));
    sessions_free(s);
}

/* Replies of 64 MiB are remembered; one byte more, and the oldest session is forgotten with its
 * own. */
static void test_bytes_bounded(void **state)
{
    struct sessions *s = sessions_new();
    uint8_t *large = calloc(1, SESSION_REPLY_MAX);
    uint64_t index = 0;

    (void)state;
    assert_non_null(large);
    for (uint64_t id = 1; id <= SESSION_REPLY_BYTES_MAX / SESSION_REPLY_MAX; id++)
        sessions_record(s, id, 1, ++index, bytes_of(large, SESSION_REPLY_MAX));
    assert_true(known(s, 1));
    sessions_record(s, 1000, 1, ++index, bytes_of(large, 1));
    assert_false(known(s, 1));
    assert_true(known(s, 2));
    free(large);
    sessions_free(s);
}

/* A checkpoint shows the sessions as they were at its begin, whatever is recorded before it is
 * read. */
static void test_as_of_begin(void **state)
{
    struct sessions *s = sessions_new();
    struct sessions *copy = sessions_new();
    uint64_t digest;

    (void)state;
    record(s, 1, 1, 1, "+first\r\n");
    record(s, 2, 1, 2, "+second\r\n");
    record(s, 3, 1, 3, "+third\r\n");
    digest = sessions_digest(s);
    sessions_checkpoint_begin(s, 0);
    record(s, 1, 2, 4, "+changed\r\n");
    record(s, 4, 1, 5, "+new\r\n");
    record(s, 1, 3, 6, "+changed again\r\n");
    sessions_restore_begin(copy, 0);
    assert_true(restore_rest(s, copy, 1));
    assert_last(copy, 1, 1, "+first\r\n");
    assert_last(copy, 3, 1, "+third\r\n");
    assert_false(known(copy, 4));
    assert_int_equal(sessions_digest(copy), digest);
    assert_last(s, 1, 3, "+changed again\r\n");
    sessions_free(copy);
    sessions_free(s);
}

/* What was forgotten since the base, for a reply that has shrunk since, is forgotten by the changes
 * too. */
static void test_changes_forget(void **state)
{
    struct sessions *s = sessions_new();
    struct sessions *copy = sessions_new();
    uint8_t *large = calloc(1, SESSION_REPLY_MAX);
    uint64_t index = 0;
    uint64_t base;

    (void)state;
    assert_non_null(large);
    for (uint64_t id = 1; id <= 64; id++)
        sessions_record(s, id, 1, ++index, bytes_of(large, SESSION_REPLY_MAX));
    sessions_checkpoint_begin(s, 0);
    sessions_restore_begin(copy, 0);
    assert_true(restore_rest(s, copy, 1 << 20));
    base = index;
    sessions_record(s, 100, 1, ++index, bytes_of(large, SESSION_REPLY_MAX)); /* forgets 1 */
    sessions_record(s, 100, 2, ++index, bytes_of(large, 1));
    assert_false(known(s, 1));
    sessions_checkpoint_begin(s, base);
    sessions_restore_begin(copy, base);
    assert_true(restore_rest(s, copy, 1 << 20));
    assert_false(known(copy, 1));
    assert_int_equal(sessions_digest(copy), sessions_digest(s));
    free(large);
    sessions_free(copy);
    sessions_free(s);
}

/* Slices that lie are refused: a session twice, a wrong order, an entry below the base, a size
 * beyond the end, a sequence 0, limits that do not fit. */
static void test_hostile_slices(void **state)
{
    static const struct {
        uint64_t fields[2][3]; /* id, sequence, index of two records */
        uint32_t size;         /* that the second claims for its reply */
        bool good;
    } cases[] = {
        { { { 5, 1, 20 }, { 6, 1, 19 } }, 0, true },
        { { { 5, 1, 20 }, { 5, 1, 19 } }, 0, false },
        { { { 5, 1, 20 }, { 6, 1, 20 } }, 0, false },
        { { { 5, 1, 20 }, { 6, 1, 21 } }, 0, false },
        { { { 5, 1, 20 }, { 6, 1, 10 } }, 0, false },
        { { { 5, 1, 20 }, { 6, 1, 19 } }, 1, false },
        { { { 5, 1, 20 }, { 6, 1, 19 } }, UINT32_MAX, false },
        { { { 5, 1, 20 }, { 6, 0, 19 } }, 0, false },
        { { { 5, 1, 20 }, { 0, 1, 19 } }, 0, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sessions *s = sessions_new();
        uint8_t slice[56] = { 0 };

        record(s, 6, 1, 10, "+known\r\n");
        for (size_t k = 0; k < 2; k++)
            memcpy(slice + 28 * k, cases[i].fields[k], 24);
        memcpy(slice + 52, &cases[i].size, 4);
        sessions_restore_begin(s, 10);
        assert_int_equal(sessions_restore_slice(s, bytes_of(slice, sizeof slice)), cases[i].good);
        if (cases[i].good) {
            assert_false(sessions_restore_slice(s, bytes_of(slice, 27)));
            assert_false(sessions_restore_limits(s, bytes_of(slice, 19)));
            assert_false(sessions_restore_limits(s, bytes_of(slice, 20)));
        }
        sessions_free(s);
    }
}

/* Two tables that follow one by full and changed checkpoints, read in slices while records go on
 * being made, come to what it was at each begin. */
static void test_random_checkpoints(void **state)
{
    struct random random = random_seeded(1);
    struct sessions *s = sessions_new();
    struct sessions *copy = sessions_new();
    struct buffer slice = { 0 };
    uint64_t index = 0;
    uint64_t base = 0;

    (void)state;
    for (int round = 0; round < 300; round++) {
        uint64_t begun = index;
        uint64_t digest = sessions_digest(s);
        bool more = true;

        sessions_checkpoint_begin(s, base);
        sessions_restore_begin(copy, base);
        while (more) {
            for (uint64_t n = random_below(&random, 40); n > 0; n--) {
                char reply[64];

                snprintf(reply, sizeof reply, "+%0*llu\r\n", (int)random_below(&random, 50),
                         (unsigned long long)index);
                index++;
                record(s, 1 + random_below(&random, 200), index, index, reply);
            }
            buffer_clear(&slice, SIZE_MAX);
            more = sessions_checkpoint_slice(s, (uint32_t)random_below(&random, 2000), &slice);
            assert_true(sessions_restore_slice(copy, buffer_bytes(&slice)));
            if (random_below(&random, 100) == 0)
                break; /* given up: the copy is of no more use */
        }
        if (more) {
            sessions_checkpoint_end(s);
            sessions_free(copy);
            copy = sessions_new();
            base = 0;
            continue;
        }
        buffer_clear(&slice, SIZE_MAX);
        sessions_checkpoint_limits(s, &slice);
        assert_true(sessions_restore_limits(copy, buffer_bytes(&slice)));
        sessions_checkpoint_end(s);
        assert_int_equal(sessions_digest(copy), digest);
        base = begun;
    }
    buffer_free(&slice);
    sessions_free(copy);
    sessions_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_last_of_each),       cmocka_unit_test(test_oldest_goes),
        cmocka_unit_test(test_bytes_bounded),      cmocka_unit_test(test_as_of_begin),
        cmocka_unit_test(test_changes_forget),     cmocka_unit_test(test_hostile_slices),
        cmocka_unit_test(test_random_checkpoints),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
