/* Checkpoints that the second thread writes beside the journal. */
#include "tests/unit/storage_fixture.h"

#define WINDOW 8u /* slices of a checkpoint */

static void begin_checkpoint(struct fixture *f, uint64_t index)
{
    struct checkpoint_head head = {
        .index = index, .view = 3, .cluster = "three", .service = "kv"
    };

    storage_checkpoint_begin(f->storage, &head);
}

/* Its end is handed over, and not waited for. */
static void keep_checkpoint_later(struct fixture *f, uint64_t index)
{
    f->slices = 0;
    begin_checkpoint(f, index);
    for (uint32_t i = 0; i < WINDOW; i++)
        storage_checkpoint_slice(f->storage, bytes_string("a slice"));
    UNTIL(f, f->slices == WINDOW);
    storage_checkpoint_finish(f->storage);
}

static void keep_checkpoint(struct fixture *f, uint64_t index)
{
    uint32_t before = f->checkpoints;

    keep_checkpoint_later(f, index);
    UNTIL(f, f->checkpoints == before + 1);
}

/* The last two are kept, and of the journal what is behind the older one. */
static void test_checkpoints(void **state)
{
    struct fixture *f = *state;
    uint64_t indexes[4];
    uint32_t count;
    struct error error;

    begin(f);
    for (uint64_t i = 1; i <= 200; i += 10)
        put(f, i, 10);
    assert_true(folder_count(f->directory, "journal-") > 4);
    keep_checkpoint(f, 50);
    keep_checkpoint(f, 150);
    keep_checkpoint(f, 190);
    put(f, 201, 1); /* behind what the checkpoints led to */
    assert_int_equal(checkpoint_list(f->directory, indexes, 4, &count, &error), ERROR_NONE);
    assert_int_equal(count, 2);
    assert_int_equal(indexes[0], 190);
    assert_int_equal(indexes[1], 150);
    end(f);
    expect_entries(f, 151, 201);
    assert_true(f->read.first > 50);
}

/* Whoever begins anew behind an entry has thrown away what it had: a checkpoint of a later entry
 * may be of what the cluster went on without, and would be taken for the newest state. */
static void test_reset_forgets_checkpoints(void **state)
{
    struct fixture *f = *state;
    uint64_t indexes[4];
    uint32_t count;
    struct error error;

    begin(f);
    put(f, 1, 20);
    keep_checkpoint(f, 10);
    keep_checkpoint(f, 20);
    storage_reset(f->storage, 12, 4, (struct journal_end){ 0 });
    keep_checkpoint_later(f, 13);
    hand_over(f, 2, 13, 1);
    storage_flush(f->storage);
    UNTIL(f, f->checkpoints == 3 && f->saved_index == 13);
    assert_int_equal(checkpoint_list(f->directory, indexes, 4, &count, &error), ERROR_NONE);
    assert_int_equal(count, 1);
    assert_int_equal(indexes[0], 13);
    end(f);
    assert_int_equal(disk_read(f->directory, &f->read).last, 13);
}

/* Counts what is synced of the journal. */
static int counted_fdatasync(void *context, int fd)
{
    struct fixture *f = context;
    char link[32], path[256];
    ssize_t size;

    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    size = readlink(link, path, sizeof path - 1);
    assert_true(size > 0);
    path[size] = '\0';
    if (strstr(path, "/journal-"))
        atomic_fetch_add(&f->syncs, 1);
    return 0;
}

/* A join that begins twice, the second time further in front. With the journal cut behind the first
 * reset by a loss of power, there would be a gap behind the checkpoint, and all of it would be
 * thrown away. So the second one is safe before the journal is called complete, though entries are
 * never synced: the checkpoint brings that about. */
static void test_reset_is_safe_before_complete(void **state)
{
    struct fixture *f = *state;

    f->options.fsync = FSYNC_NEVER;
    f->gated.fdatasync = counted_fdatasync;
    begin(f);
    storage_reset(f->storage, 30, 4, (struct journal_end){ 0 });
    hand_over(f, 2, 31, 2);
    flush_to(f, 32);
    storage_reset(f->storage, 12, 4, (struct journal_end){ 0 });
    hand_over(f, 3, 13, 1);
    flush_to(f, 13);
    atomic_store(&f->syncs, 0);
    keep_checkpoint(f, 12);
    hand_over(f, 3, 14, 1);
    storage_complete(f->storage, 3, 14);
    flush_to(f, 14);
    assert_int_equal(atomic_load(&f->syncs), 1);
}

static void test_checkpoint_is_abandoned(void **state)
{
    struct fixture *f = *state;

    begin(f);
    begin_checkpoint(f, 10);
    storage_checkpoint_slice(f->storage, bytes_string("a slice"));
    storage_checkpoint_abandon(f->storage);
    begin_checkpoint(f, 20); /* ends with the next one */
    keep_checkpoint(f, 30);
    assert_int_equal(f->slices, WINDOW);
    assert_int_equal(f->given_up, 0);
    end(f);
    assert_int_equal(folder_count(f->directory, "checkpoint-"), 1);
}

/* Whoever keeps to no window is not let take all memory. */
static void test_checkpoint_out_of_bounds(void **state)
{
    struct fixture *f = *state;

    begin(f);
    begin_checkpoint(f, 10);
    for (uint32_t i = 0; i < 4 * STORAGE_SLICES_MAX; i++)
        storage_checkpoint_slice(f->storage, bytes_string("a slice"));
    storage_checkpoint_finish(f->storage);
    storage_checkpoint_finish(f->storage);
    UNTIL(f, f->given_up == 1);
    storage_checkpoint_slice(f->storage, bytes_string("a slice"));
    keep_checkpoint(f, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_checkpoints),
        TEST(test_reset_forgets_checkpoints),
        TEST(test_reset_is_safe_before_complete),
        TEST(test_checkpoint_is_abandoned),
        TEST(test_checkpoint_out_of_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
