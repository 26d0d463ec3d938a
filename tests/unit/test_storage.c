/* A server's directory: whose it is, what is told when, and what becomes of what cannot be used. */
#include "tests/unit/storage_fixture.h"

/* ---- Whose directory it is ---- */

static void test_identity(void **state)
{
    struct fixture *f = *state;
    struct stat status;
    struct error error;

    begin(f);
    assert_true(f->past.fresh);
    assert_false(f->past.intact);
    assert_int_equal(stat(f->directory, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    end(f);
    f->options.cluster = "four";
    assert_int_equal(try_open(f, &error), ERROR_REFUSED);
    assert_non_null(strstr(error.text, "s1/identity: the directory is of cluster \"three\", "
                                       "expected \"four\""));
    f->options.cluster = "three";
    f->options.server = "s2";
    assert_int_equal(try_open(f, &error), ERROR_REFUSED);
    assert_non_null(strstr(error.text, "of server \"s1\", expected \"s2\""));
    f->options.server = "s1";
    f->options.service = "orders";
    assert_int_equal(try_open(f, &error), ERROR_REFUSED);
    assert_non_null(strstr(error.text, "of service \"kv\", expected \"orders\""));
    f->options.service = "kv";
    open_it(f);
}

/* Files that nobody says whose they are might be anybody's. */
static void test_identity_is_lost(void **state)
{
    struct fixture *f = *state;
    struct error error;

    begin(f);
    put(f, 1, 3);
    end(f);
    assert_int_equal(unlink(path_of(f, "identity")), 0);
    assert_int_equal(try_open(f, &error), ERROR_REFUSED);
    assert_non_null(strstr(error.text, "no file \"identity\""));
    assert_int_equal(truncate(path_of(f, "identity"), 0), -1); /* nor was one made */
}

static void test_identity_is_damaged(void **state)
{
    struct fixture *f = *state;
    struct error error;

    begin(f);
    end(f);
    assert_int_equal(truncate(path_of(f, "identity"), 50), 0);
    assert_int_equal(try_open(f, &error), ERROR_PROTOCOL);
    assert_non_null(strstr(error.text, "identity is damaged"));
}

/* ---- Groups ---- */

/* Nothing is told before its sync; what comes during one is the next group, with one sync. */
static void test_groups(void **state)
{
    struct fixture *f = *state;
    uint32_t syncs;

    f->options.segment_bytes = 1u << 20; /* all in one: a new one has syncs of its own */
    begin(f);
    syncs = atomic_load(&f->syncs);
    atomic_store(&f->closed, true);
    hand_over(f, 1, 1, 1);
    storage_flush(f->storage);
    while (atomic_load(&f->waiting) == 0)
        (void)usleep(200);
    for (uint64_t i = 2; i <= 50; i++) {
        hand_over(f, 1, i, 1);
        storage_flush(f->storage);
        event_base_loop(f->base, EVLOOP_NONBLOCK);
    }
    assert_int_equal(f->saved_index, 0);
    atomic_store(&f->closed, false);
    UNTIL(f, f->saved_index == 50);
    assert_int_equal(atomic_load(&f->syncs) - syncs, 2);
    end(f);
    expect_entries(f, 1, 50);
}

/* Entries that take the place of others come in another epoch, maybe in the same group. */
static void test_epochs(void **state)
{
    struct fixture *f = *state;

    begin(f);
    hand_over(f, 1, 1, 10);
    hand_over(f, 2, 5, 3);
    flush_to(f, 7);
    assert_int_equal(f->saved_epoch, 2);
    end(f);
    expect_entries(f, 1, 7);
}

static void test_reset(void **state)
{
    struct fixture *f = *state;

    begin(f);
    put(f, 1, 10);
    storage_reset(f->storage, 100, 3, (struct journal_end){ 0 });
    hand_over(f, 2, 101, 2);
    flush_to(f, 102);
    end(f);
    assert_int_equal(disk_read(f->directory, &f->read).reset_index, 100);
    expect_entries(f, 101, 102);
}

/* A checkpoint may outrun the journal. The entries between are only in it. */
static void test_begins_behind_checkpoint(void **state)
{
    struct fixture *f = *state;

    begin(f);
    put(f, 1, 10);
    end(f);
    open_it(f);
    start_at(f, 20);
    put(f, 21, 2);
    end(f);
    assert_int_equal(disk_read(f->directory, &f->read).reset_index, 20);
    expect_entries(f, 21, 22);
}

/* Or it has replaced what the journal ends with, there and behind. */
static void test_begins_behind_what_was_replaced(void **state)
{
    struct fixture *f = *state;

    begin(f);
    put(f, 1, 10);
    end(f);
    open_it(f);
    start_outrun(f, 7, true);
    put(f, 8, 2);
    end(f);
    assert_int_equal(disk_read(f->directory, &f->read).reset_index, 7);
    expect_entries(f, 8, 9);
}

/* ---- Policies ---- */

static void test_interval(void **state)
{
    struct fixture *f = *state;

    f->options.fsync = FSYNC_INTERVAL;
    begin(f);
    atomic_store(&f->syncs, 0);
    put(f, 1, 10);
    while (atomic_load(&f->syncs) == 0) /* by time alone */
        (void)usleep(200);
    f->options.fsync_interval_ms = 10000;
    end(f);
    begin(f);
    atomic_store(&f->closed, true);
    put(f, 11, 10); /* told without a sync */
    assert_int_equal(atomic_load(&f->waiting), 0);
    atomic_store(&f->closed, false);
    atomic_store(&f->syncs, 0);
    end(f);
    assert_int_equal(atomic_load(&f->syncs),
                     3); /* of entries, of their proof, of the file "life" */
    expect_entries(f, 1, 20);
}

static void test_never(void **state)
{
    struct fixture *f = *state;

    f->options.fsync = FSYNC_NEVER;
    begin(f);
    atomic_store(&f->closed, true);
    put(f, 1, 10);
    put(f, 11, 10);
    assert_int_equal(atomic_load(&f->waiting), 0);
    atomic_store(&f->closed, false);
    atomic_store(&f->syncs, 0);
    end(f);
    assert_int_equal(atomic_load(&f->syncs), 3); /* but at the end */
    expect_entries(f, 1, 20);
}

/* ---- What cannot be used ---- */

static void test_set_aside(void **state)
{
    struct fixture *f = *state;
    char where[CONFIG_PATH_SIZE], path[CONFIG_PATH_SIZE + 32], text[TEXT_FILE_SIZE];
    struct error error;
    bool found;

    for (uint32_t i = 0; i < STORAGE_ASIDES_MAX + 2; i++) {
        begin_complete(f);
        end(f);
        open_it(f);
        assert_int_equal(storage_set_aside(f->storage, "it is a test", where, &error), ERROR_NONE);
        assert_int_equal(folder_count(f->directory, "journal-"), 0);
        (void)snprintf(path, sizeof path, "%s/journal-000000000001", where);
        assert_int_equal(access(path, R_OK), 0);
        assert_int_equal(text_file_read(&files_system, where, "reason", text, &found, &error),
                         ERROR_NONE);
        assert_string_equal(text, "it is a test\n");
        end(f);
        open_it(f);
        assert_true(f->past.fresh);
        assert_false(f->past.intact);
        end(f);
    }
    assert_int_equal(folder_count(f->directory, "aside-"), STORAGE_ASIDES_MAX);
}

static void test_discard(void **state)
{
    struct fixture *f = *state;
    struct error error;

    begin_complete(f);
    end(f);
    open_it(f);
    assert_int_equal(storage_discard(f->storage, &error), ERROR_NONE);
    assert_int_equal(folder_count(f->directory, "journal-"), 0);
    assert_int_equal(folder_count(f->directory, "aside-"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_identity),
        TEST(test_identity_is_lost),
        TEST(test_identity_is_damaged),
        TEST(test_groups),
        TEST(test_epochs),
        TEST(test_reset),
        TEST(test_begins_behind_checkpoint),
        TEST(test_begins_behind_what_was_replaced),
        TEST(test_interval),
        TEST(test_never),
        TEST(test_set_aside),
        TEST(test_discard),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
