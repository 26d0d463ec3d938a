/* A server's directory when its calls fail, or find no room. */
#include <stdatomic.h>

#include "server/text_file.h"
#include "tests/unit/storage_fixture.h"

static void fail_from(struct fixture *f, int reason, uint32_t at, uint32_t times)
{
    failing_init(&f->failing, FAILING_ERROR, reason, at);
    f->failing.times = times;
    f->options.files = &f->failing.files;
}

static void heal(struct fixture *f)
{
    f->options.files = &files_system;
    f->failures = 0;
}

/* A full disk is told, tried again until there is room, and loses nothing. */
static void test_full(void **state)
{
    struct fixture *f = *state;

    fail_from(f, ENOSPC, UINT32_MAX, 1);
    begin(f);
    put(f, 1, 10);
    f->failing.calls = 0;
    f->failing.at = 1;
    f->failing.times = 20;
    put(f, 11, 10);
    UNTIL(f, f->became_free == 1);
    assert_int_equal(f->became_full, 1);
    assert_int_equal(f->failures, 0);
    end(f);
    expect_entries(f, 1, 20);
}

/* A disk that stays full does not keep the process from ending; its end is not clean then. */
static void test_full_at_the_end(void **state)
{
    struct fixture *f = *state;

    fail_from(f, ENOSPC, UINT32_MAX, 1);
    begin(f);
    f->failing.calls = 0;
    f->failing.at = 1;
    f->failing.times = UINT32_MAX;
    hand_over(f, 1, 1, 10);
    storage_flush(f->storage);
    UNTIL(f, f->became_full == 1);
    assert_int_equal(f->saved_index, 0);
    end(f);
    heal(f);
    open_it(f);
    assert_false(f->past.clean);
}

/* What is written finds no room; what is removed goes all the same. */
static ssize_t full_pwritev(void *context, int fd, const struct iovec *vectors, int count,
                            off_t offset)
{
    (void)context;
    (void)fd;
    (void)vectors;
    (void)count;
    (void)offset;
    errno = ENOSPC;
    return -1;
}

/* A join that found no room is thrown away by the next life, which needs no room for that. */
static void test_full_when_a_join_is_discarded(void **state)
{
    struct fixture *f = *state;
    struct files full = files_system;
    struct error error;

    full.pwritev = full_pwritev;
    begin(f);
    put(f, 1, 10);
    crash(f);
    f->options.files = &full;
    open_it(f);
    assert_false(f->past.intact);
    assert_int_equal(storage_discard(f->storage, &error), ERROR_NONE);
    assert_int_equal(folder_count(f->directory, "journal-"), 0);
    end(f);
    heal(f);
    begin(f);
    assert_true(f->past.fresh);
    assert_false(f->past.intact);
    assert_true(lives_has(&f->past.lives, 1)); /* nothing that it acknowledged is lost */
}

/* A disk that has room for small files only, until something is removed. */
static atomic_bool crowded;

static ssize_t crowded_pwritev(void *context, int fd, const struct iovec *vectors, int count,
                               off_t offset)
{
    size_t bytes = 0;

    for (int i = 0; i < count; i++)
        bytes += vectors[i].iov_len;
    if (crowded && bytes > TEXT_FILE_SIZE)
        return full_pwritev(context, fd, vectors, count, offset);
    return files_system.pwritev(context, fd, vectors, count, offset);
}

/* The first segment is put aside to be used again. */
static int crowded_rename(void *context, const char *from, const char *to)
{
    if (strstr(from, "/journal-000000000001"))
        crowded = false;
    return files_system.rename(context, from, to);
}

/* What a journal lacks to go on is the room that it takes itself: as it is to begin anew, what
 * stands before that is not written any more, and not waited for. */
static void test_full_of_what_is_to_be_thrown_away(void **state)
{
    struct fixture *f = *state;
    struct files full = files_system;

    full.pwritev = crowded_pwritev;
    full.rename = crowded_rename;
    crowded = false;
    f->options.files = &full;
    begin_complete(f);
    for (uint64_t first = 1; folder_count(f->directory, "journal-") < 2; first += 10)
        put(f, first, 10);
    crowded = true;
    hand_over(f, 1, f->saved_index + 1, 40);
    storage_complete(f->storage, 1, f->saved_index + 40);
    storage_flush(f->storage);
    UNTIL(f, f->became_full == 1);
    hand_over(f, 1, f->saved_index + 41, 1); /* would have room, but leave a gap */
    storage_flush(f->storage);
    storage_reset(f->storage, 100, 3, (struct journal_end){ 2, 77 });
    hand_over(f, 2, 101, 2);
    flush_to(f, 102);
    UNTIL(f, f->became_free >= 1);
    assert_false(crowded);
    assert_int_equal(f->failures, 0);
    end(f);
    heal(f);
    assert_int_equal(disk_read(f->directory, &f->read).reset_index, 100);
    expect_entries(f, 101, 102);
    open_it(f);
    assert_false(f->past.intact);
    assert_int_equal(f->past.discarded.index, 77);
}

/* A life whose calls fail from some point on, until it is told to end. */
static bool live(struct fixture *f)
{
    struct segments_found found;
    struct error error;

    if (try_open(f, &error) != ERROR_NONE) {
        assert_true(error.text[0] != '\0');
        return false;
    }
    found = disk_read(f->directory, &f->read);
    f->started = 0;
    assert_int_equal(storage_start(f->storage, &found, f->past.intact, found.last, false, &error),
                     ERROR_NONE);
    UNTIL(f, f->started || f->failures);
    for (uint64_t i = found.last + 1; i <= found.last + 60 && !f->failures; i += 20) {
        hand_over(f, 1, i, 20);
        if (i == found.last + 1)
            storage_complete(f->storage, 1, i + 19);
        storage_flush(f->storage);
        UNTIL(f, f->saved_index >= i + 19 || f->failures);
    }
    end(f);
    return true;
}

/* Each call fails, one after another: what was told to be saved is there, and whoever could not
 * keep its word says so once. */
static void fail_each(struct fixture *f, int reason, uint32_t times)
{
    bool reached = true;

    for (uint32_t at = 1; reached; at++) {
        directory_clear(f);
        f->saved_index = 0;
        f->became_full = f->became_free = 0;
        fail_from(f, reason, at, times);
        (void)live(f);
        assert_true(f->failures <= 1);
        assert_true(!f->failures || f->failure[0]);
        reached = failing_reached(&f->failing);
        heal(f);
        expect_entries(f, 1,
                       f->saved_index > disk_read(f->directory, &f->read).last
                           ? f->saved_index
                           : disk_read(f->directory, &f->read).last);
        assert_true(live(f)); /* and it goes on */
        assert_int_equal(f->failures, 0);
    }
}

static void test_each_call_fails(void **state)
{
    fail_each(*state, EIO, UINT32_MAX / 2);
}

static void test_each_call_fails_once(void **state)
{
    fail_each(*state, EIO, 1);
}

static void test_each_call_finds_no_room_once(void **state)
{
    fail_each(*state, ENOSPC, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_full),
        TEST(test_full_at_the_end),
        TEST(test_full_when_a_join_is_discarded),
        TEST(test_full_of_what_is_to_be_thrown_away),
        TEST(test_each_call_fails),
        TEST(test_each_call_fails_once),
        TEST(test_each_call_finds_no_room_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
