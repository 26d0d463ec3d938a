/* What the next life of a server may believe of its directory. */
#include "tests/unit/storage_fixture.h"

/* The life file as if the machine had been started anew since. */
static void reboot(struct fixture *f)
{
    char text[TEXT_FILE_SIZE], boot[64];
    struct error error;
    bool found;

    assert_int_equal(text_file_read(&files_system, f->directory, "life", text, &found, &error),
                     ERROR_NONE);
    assert_true(text_file_value(text, "boot", boot, sizeof boot));
    memset(strstr(text, boot), 'x', strlen(boot));
    assert_int_equal(text_file_write(&files_system, f->directory, "life", text, &error),
                     ERROR_NONE);
}

/* A journal that never began a view as a member's may lack what earlier lives acknowledged. */
static void test_incomplete(void **state)
{
    struct fixture *f = *state;

    begin(f);
    put(f, 1, 5);
    crash(f);
    open_it(f);
    assert_false(f->past.fresh);
    assert_false(f->past.intact);
    assert_string_equal(f->past.reason,
                        "the last life had not caught up with what earlier ones acknowledged");
}

static void expect_lives(const struct fixture *f, uint64_t first, uint64_t last)
{
    assert_int_equal(f->past.lives.count, last + 1 - first);
    for (uint64_t i = first; i <= last; i++)
        assert_true(lives_has(&f->past.lives, i));
}

/* Until the journal is complete nothing is acknowledged, so nothing that its lives did is missing:
 * the last of them are kept, whatever becomes of what they wrote. */
static void test_lives_before_complete(void **state)
{
    struct fixture *f = *state;
    struct error error;

    begin(f);
    expect_lives(f, 1, 0);
    crash(f);
    begin(f);
    expect_lives(f, 1, 1);
    put(f, 1, 5);
    crash(f);
    open_it(f);
    expect_lives(f, 1, 2);
    assert_int_equal(storage_discard(f->storage, &error), ERROR_NONE);
    start_at(f, 0);
    crash(f);
    for (uint32_t i = 4; i < 12; i++) {
        begin(f);
        crash(f);
    }
    begin(f);
    expect_lives(f, 12 - LIVES_MAX, 11);
    become_complete(f);
    crash(f);
    begin(f); /* now it speaks for all of them, and for those before */
    assert_true(f->past.intact);
    expect_lives(f, 1, 0);
}

/* What is damaged, or was not synced before a reboot, may be what they acknowledged. */
static void test_lives_are_lost(void **state)
{
    struct fixture *f = *state;
    char where[CONFIG_PATH_SIZE];
    struct error error;

    f->options.fsync = FSYNC_NEVER;
    begin(f);
    crash(f);
    reboot(f);
    begin(f);
    expect_lives(f, 1, 0);
    crash(f);
    open_it(f);
    expect_lives(f, 2, 2);
    assert_int_equal(storage_set_aside(f->storage, "it is a test", where, &error), ERROR_NONE);
    start_at(f, 0);
    crash(f);
    open_it(f);
    expect_lives(f, 3, 3);
}

/* A journal begun anew answers for the life that did it, and for no earlier one. */
static void test_lives_after_reset(void **state)
{
    struct fixture *f = *state;

    begin_complete(f);
    crash(f);
    begin(f);
    storage_reset(f->storage, 100, 3, (struct journal_end){ 0 });
    hand_over(f, 2, 101, 1);
    flush_to(f, 101);
    crash(f);
    open_it(f);
    assert_false(f->past.intact);
    expect_lives(f, 2, 2);
}

/* Where the journal ended that was thrown away is kept, through further lives and resets, and
 * whatever becomes of what they wrote, until it is complete again. */
static void test_discarded(void **state)
{
    struct fixture *f = *state;
    struct error error;

    begin_complete(f);
    storage_reset(f->storage, 100, 3, (struct journal_end){ 2, 77 });
    hand_over(f, 2, 101, 1);
    flush_to(f, 101);
    crash(f);
    begin(f);
    assert_false(f->past.intact);
    assert_int_equal(f->past.discarded.view, 2);
    assert_int_equal(f->past.discarded.index, 77);
    storage_reset(f->storage, 200, 3, f->past.discarded);
    hand_over(f, 3, 201, 1);
    flush_to(f, 201);
    crash(f);
    open_it(f);
    assert_int_equal(storage_discard(f->storage, &error), ERROR_NONE);
    start_at(f, 0);
    crash(f);
    begin(f);
    assert_int_equal(f->past.discarded.view, 2);
    assert_int_equal(f->past.discarded.index, 77);
    become_complete(f);
    crash(f);
    open_it(f);
    assert_true(f->past.intact);
    assert_int_equal(f->past.discarded.view, 0);
}

/* Where not all was synced before a reboot, nothing is believed. */
static void test_discarded_and_rebooted(void **state)
{
    struct fixture *f = *state;

    f->options.fsync = FSYNC_NEVER;
    begin_complete(f);
    storage_reset(f->storage, 100, 3, (struct journal_end){ 2, 77 });
    hand_over(f, 2, 101, 1);
    flush_to(f, 101);
    crash(f);
    reboot(f);
    open_it(f);
    assert_false(f->past.intact);
    assert_int_equal(f->past.discarded.view, 0);
}

static void test_complete(void **state)
{
    struct fixture *f = *state;

    begin_complete(f);
    crash(f);
    begin(f);
    assert_true(f->past.intact);
    assert_false(f->past.clean);
    crash(f);
    open_it(f); /* it stays so */
    assert_true(f->past.intact);
}

/* Known to be complete without an entry that is handed over with it: that is told, too. */
static void test_complete_alone(void **state)
{
    struct fixture *f = *state;

    begin(f);
    put(f, 1, 5);
    f->saved_index = 0;
    storage_complete(f->storage, 2, 5);
    flush_to(f, 5);
    assert_int_equal(f->saved_epoch, 2);
    crash(f);
    open_it(f);
    assert_true(f->past.intact);
}

/* Behind a reset everything acknowledged before is gone. */
static void test_reset_is_incomplete(void **state)
{
    struct fixture *f = *state;

    begin_complete(f);
    storage_reset(f->storage, 100, 3, (struct journal_end){ 0 });
    hand_over(f, 2, 101, 1);
    flush_to(f, 101);
    crash(f);
    begin(f);
    assert_false(f->past.intact);
    hand_over(f, 1, 102, 1);
    storage_complete(f->storage, 1, 102);
    flush_to(f, 102);
    crash(f);
    open_it(f);
    assert_true(f->past.intact);
}

static void test_rebooted(void **state)
{
    struct fixture *f = *state;

    begin_complete(f);
    crash(f);
    reboot(f);
    f->options.fsync = FSYNC_NEVER;
    begin(f); /* the last life synced always */
    assert_true(f->past.rebooted);
    assert_true(f->past.intact);
    crash(f);
    open_it(f); /* this one did not, but nothing was lost with the process */
    assert_true(f->past.intact);
    end(f);
    reboot(f);
    f->options.fsync = FSYNC_ALWAYS;
    begin(f);
    assert_false(f->past.intact);
    assert_string_equal(f->past.reason,
                        "the machine was started anew, and not all was synced before");
    crash(f);
    open_it(f); /* and that is not forgotten by dying once more */
    assert_false(f->past.intact);
}

/* Pieces behind the end, as of a group that was being written. */
static void tear(struct fixture *f)
{
    struct segments_found found = disk_read(f->directory, &f->read);
    int fd;

    fd = open(path_of(f, "journal-000000000001"), O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "torn", 4, (off_t)found.end + 20), 4);
    assert_int_equal(close(fd), 0);
}

static bool is_cut(struct fixture *f)
{
    struct segments_found found = disk_read(f->directory, &f->read);

    return storage_cut(f->storage, &found);
}

/* What is torn after a process died was never acknowledged; after a reboot it may have been, and
 * that stays so, though nothing is torn any more, until the journal is complete again. */
static void test_cut(void **state)
{
    struct fixture *f = *state;
    uint64_t last;

    begin_complete(f);
    crash(f);
    tear(f);
    open_it(f);
    assert_true(f->past.intact);
    assert_false(is_cut(f));
    end(f);
    reboot(f);
    begin(f);
    assert_true(is_cut(f));
    put(f, disk_read(f->directory, &f->read).last + 1, 1);
    assert_int_equal(disk_read(f->directory, &f->read).torn_bytes, 0);
    crash(f);
    begin(f);
    assert_true(f->past.intact && f->past.cut);
    assert_true(is_cut(f));
    last = disk_read(f->directory, &f->read).last + 1;
    hand_over(f, 1, last, 1);
    storage_complete(f->storage, 1, last);
    flush_to(f, last);
    crash(f);
    open_it(f);
    assert_true(f->past.intact);
    assert_false(is_cut(f));
}

/* A life in which nothing was written ends in order, too: what it found torn is no damage then. */
static void test_torn_before_end(void **state)
{
    struct fixture *f = *state;
    struct segments_found found;

    begin_complete(f);
    crash(f);
    tear(f);
    begin(f);
    end(f);
    open_it(f);
    assert_true(f->past.clean && f->past.intact);
    found = disk_read(f->directory, &f->read);
    assert_false(found.damaged);
    assert_int_equal(found.torn_bytes, 0);
}

/* What stands behind the last group is safe when the end is marked: half of it would be damage. */
static void test_end_is_synced(void **state)
{
    struct fixture *f = *state;
    uint32_t syncs;

    begin(f);
    put(f, 1, 1);
    syncs = f->syncs;
    end(f);
    assert_int_equal(f->syncs, syncs + 2); /* the journal's, and that of the file "life" */
}

static int refuse_sync(void *context, int fd)
{
    (void)context;
    (void)fd;
    errno = EIO;
    return -1;
}

/* What was only written, and told, may be gone with a sync that fails. */
static void test_failed_sync(void **state)
{
    struct fixture *f = *state;

    for (enum fsync_policy policy = FSYNC_ALWAYS; policy <= FSYNC_INTERVAL; policy++) {
        directory_clear(f);
        f->failures = 0;
        f->options.fsync = policy;
        f->gated.fdatasync = gated_fdatasync;
        begin_complete(f);
        f->gated.fdatasync = refuse_sync;
        put(f, disk_read(f->directory, &f->read).last + 1, 1);
        UNTIL(f, f->failures == 1);
        end(f);
        f->gated.fdatasync = gated_fdatasync;
        open_it(f);
        assert_int_equal(f->past.intact, policy == FSYNC_ALWAYS);
        end(f);
    }
}

static void test_clean_before_reboot(void **state)
{
    struct fixture *f = *state;

    f->options.fsync = FSYNC_NEVER;
    begin_complete(f);
    end(f);
    reboot(f);
    open_it(f);
    assert_true(f->past.rebooted && f->past.clean && f->past.intact);
}

static void test_life_is_damaged(void **state)
{
    struct fixture *f = *state;

    begin_complete(f);
    end(f);
    assert_int_equal(truncate(path_of(f, "life"), 60), 0);
    open_it(f);
    assert_false(f->past.intact);
    assert_non_null(strstr(f->past.reason, "damaged"));
    end(f);
    assert_int_equal(unlink(path_of(f, "life")), 0);
    open_it(f);
    assert_false(f->past.intact);
    assert_non_null(strstr(f->past.reason, "missing"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_incomplete),
        TEST(test_lives_before_complete),
        TEST(test_lives_are_lost),
        TEST(test_lives_after_reset),
        TEST(test_discarded),
        TEST(test_discarded_and_rebooted),
        TEST(test_complete_alone),
        TEST(test_complete),
        TEST(test_reset_is_incomplete),
        TEST(test_rebooted),
        TEST(test_cut),
        TEST(test_torn_before_end),
        TEST(test_end_is_synced),
        TEST(test_failed_sync),
        TEST(test_clean_before_reboot),
        TEST(test_life_is_damaged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
