/* A server's directory and the threads that write it: what is told when, and what the next life
 * may believe. */
#include "tests/unit/disk_fixture.h"
#include "tests/unit/failing_files.h"

#include <event2/event.h>
#include <ftw.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "server/storage.h"
#include "server/text_file.h"

#define DEADLINE_S    20
#define SEGMENT_SMALL 16384u
#define WINDOW        8u

struct fixture {
    char directory[64];
    char parent[48];
    struct event_base *base;
    struct storage_options options;
    struct storage *storage;
    struct storage_past past;
    struct failing failing;
    struct shelf read;
    uint64_t saved_epoch, saved_index;
    uint32_t started, slices, checkpoints, given_up, failures, became_full, became_free;
    char failure[ERROR_TEXT_SIZE];
    /* The system's files, behind a gate for fdatasync of anything but folders. */
    struct files gated;
    atomic_bool closed;
    atomic_uint syncs, waiting;
};

/* ---- Files that wait ---- */

static int gated_fdatasync(void *context, int fd)
{
    struct fixture *f = context;
    struct stat status;

    if (fstat(fd, &status) != 0 || S_ISDIR(status.st_mode))
        return 0;
    atomic_fetch_add(&f->waiting, 1);
    while (atomic_load(&f->closed))
        (void)usleep(200);
    atomic_fetch_sub(&f->waiting, 1);
    atomic_fetch_add(&f->syncs, 1);
    return 0;
}

/* ---- What is told ---- */

static void on_started(void *context)
{
    ((struct fixture *)context)->started++;
}

static void on_saved(void *context, uint64_t epoch, uint64_t index)
{
    struct fixture *f = context;

    f->saved_epoch = epoch;
    f->saved_index = index;
}

static void on_slice(void *context)
{
    ((struct fixture *)context)->slices++;
}

static void on_checkpoint(void *context, bool done)
{
    struct fixture *f = context;

    f->checkpoints += done;
    f->given_up += !done;
}

static void on_room(void *context, bool full)
{
    struct fixture *f = context;

    f->became_full += full;
    f->became_free += !full;
}

static void on_failed(void *context, const struct error *error)
{
    struct fixture *f = context;

    f->failures++;
    (void)snprintf(f->failure, sizeof f->failure, "%s", error->text);
}

static void on_late(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    fail_msg("waited %d s for: %s", DEADLINE_S, *(const char **)context);
}

/* Turns of the loop until the condition holds. */
#define UNTIL(f, condition)                                                 \
    do {                                                                    \
        const char *until_what = #condition;                                \
        struct event *until = evtimer_new((f)->base, on_late, &until_what); \
        struct timeval until_wait = { .tv_sec = DEADLINE_S };               \
        assert_int_equal(event_add(until, &until_wait), 0);                 \
        while (!(condition))                                                \
            assert_true(event_base_loop((f)->base, EVLOOP_ONCE) >= 0);      \
        event_free(until);                                                  \
    } while (0)

/* ---- Lives ---- */

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    if (!f)
        return -1;
    folder_make(f->parent, sizeof f->parent);
    (void)snprintf(f->directory, sizeof f->directory, "%s/s1", f->parent);
    f->base = event_base_new();
    f->gated = files_system;
    f->gated.fdatasync = gated_fdatasync;
    f->gated.context = f;
    f->options = (struct storage_options){ .directory = f->directory,
                                           .cluster = "three",
                                           .server = "s1",
                                           .service = "kv",
                                           .fsync = FSYNC_ALWAYS,
                                           .fsync_interval_ms = 1,
                                           .segment_bytes = SEGMENT_SMALL,
                                           .retry_ms = 1,
                                           .files = &f->gated,
                                           .base = f->base,
                                           .started = on_started,
                                           .saved = on_saved,
                                           .slice_written = on_slice,
                                           .checkpoint_saved = on_checkpoint,
                                           .room = on_room,
                                           .failed = on_failed,
                                           .context = f };
    *state = f;
    return 0;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *where)
{
    (void)status;
    (void)kind;
    (void)where;
    return remove(path);
}

static void directory_clear(const struct fixture *f)
{
    (void)nftw(f->directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    atomic_store(&f->closed, false);
    storage_close(f->storage);
    event_base_free(f->base);
    directory_clear(f);
    folder_remove(f->parent);
    free(f);
    return 0;
}

static enum error_code try_open(struct fixture *f, struct error *error)
{
    return storage_open(&f->storage, &f->options, &f->past, error);
}

static void open_it(struct fixture *f)
{
    struct error error;

    f->options.incarnation++; /* each is another life */
    if (try_open(f, &error) != ERROR_NONE)
        fail_msg("%s", error.text);
}

static void start_at(struct fixture *f, uint64_t last_index)
{
    struct segments_found found = disk_read(f->directory, &f->read);
    struct error error;

    f->started = 0;
    f->saved_index = f->saved_epoch = 0;
    if (storage_start(f->storage, &found, f->past.intact, last_index, &error) != ERROR_NONE)
        fail_msg("%s", error.text);
    UNTIL(f, f->started == 1);
}

static void begin(struct fixture *f)
{
    open_it(f);
    start_at(f, disk_read(f->directory, &f->read).last);
}

static void end(struct fixture *f)
{
    storage_close(f->storage);
    f->storage = NULL;
}

/* As kill -9 would: what was handed over is written, but the end is not marked. */
static void crash(struct fixture *f)
{
    char text[TEXT_FILE_SIZE];
    struct error error;
    bool found;

    assert_int_equal(text_file_read(&files_system, f->directory, "life", text, &found, &error),
                     ERROR_NONE);
    end(f);
    assert_int_equal(text_file_write(&files_system, f->directory, "life", text, &error),
                     ERROR_NONE);
}

/* Entries first … first + count - 1 in one piece; their tokens are their indexes. */
static void hand_over(struct fixture *f, uint64_t epoch, uint64_t first, uint64_t count)
{
    struct buffer group = { 0 };
    struct block *block;

    for (uint64_t i = 0; i < count; i++)
        shelf_pack(&group, first + i, first + i);
    block = block_new((uint32_t)buffer_size(&group));
    memcpy(block->data, buffer_head(&group), buffer_size(&group));
    storage_persist(f->storage, epoch, first + count - 1,
                    bytes_of(block->data, buffer_size(&group)), block);
    block_release(block);
    buffer_free(&group);
}

static void put(struct fixture *f, uint64_t first, uint64_t count)
{
    hand_over(f, 1, first, count);
    storage_flush(f->storage);
    UNTIL(f, f->saved_index >= first + count - 1 || f->failures);
}

static void expect_entries(struct fixture *f, uint64_t first, uint64_t last)
{
    struct segments_found found = disk_read(f->directory, &f->read);

    assert_false(found.damaged);
    assert_int_equal(found.last, last);
    assert_true(found.first <= first);
    for (uint64_t i = first; i <= last; i++)
        assert_int_equal(f->read.token[i], i);
}

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
    char path[128];
    struct error error;

    begin(f);
    put(f, 1, 3);
    end(f);
    (void)snprintf(path, sizeof path, "%s/identity", f->directory);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(try_open(f, &error), ERROR_REFUSED);
    assert_non_null(strstr(error.text, "no file \"identity\""));
    assert_int_equal(truncate(path, 0), -1); /* nor was one made */
}

static void test_identity_is_damaged(void **state)
{
    struct fixture *f = *state;
    char path[128];
    struct error error;

    begin(f);
    end(f);
    (void)snprintf(path, sizeof path, "%s/identity", f->directory);
    assert_int_equal(truncate(path, 50), 0);
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
    storage_flush(f->storage);
    UNTIL(f, f->saved_index == 7);
    assert_int_equal(f->saved_epoch, 2);
    end(f);
    expect_entries(f, 1, 7);
}

static void test_reset(void **state)
{
    struct fixture *f = *state;

    begin(f);
    put(f, 1, 10);
    storage_reset(f->storage, 100, 3);
    hand_over(f, 2, 101, 2);
    storage_flush(f->storage);
    UNTIL(f, f->saved_index == 102);
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
    assert_true(atomic_load(&f->syncs) > 0);
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
    end(f);
    expect_entries(f, 1, 20);
}

/* ---- What the next life may believe ---- */

static void become_complete(struct fixture *f)
{
    hand_over(f, 1, 1, 5);
    storage_complete(f->storage);
    storage_flush(f->storage);
    UNTIL(f, f->saved_index == 5);
}

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

    begin(f);
    become_complete(f);
    crash(f);
    begin(f);
    storage_reset(f->storage, 100, 3);
    hand_over(f, 2, 101, 1);
    storage_flush(f->storage);
    UNTIL(f, f->saved_index == 101);
    crash(f);
    open_it(f);
    assert_false(f->past.intact);
    expect_lives(f, 2, 2);
}

static void test_complete(void **state)
{
    struct fixture *f = *state;

    begin(f);
    become_complete(f);
    crash(f);
    begin(f);
    assert_true(f->past.intact);
    assert_false(f->past.clean);
    crash(f);
    open_it(f); /* it stays so */
    assert_true(f->past.intact);
}

/* Behind a reset everything acknowledged before is gone. */
static void test_reset_is_incomplete(void **state)
{
    struct fixture *f = *state;

    begin(f);
    become_complete(f);
    storage_reset(f->storage, 100, 3);
    hand_over(f, 2, 101, 1);
    storage_flush(f->storage);
    UNTIL(f, f->saved_index == 101);
    crash(f);
    begin(f);
    assert_false(f->past.intact);
    hand_over(f, 1, 102, 1);
    storage_complete(f->storage);
    storage_flush(f->storage);
    UNTIL(f, f->saved_index == 102);
    crash(f);
    open_it(f);
    assert_true(f->past.intact);
}

static void test_rebooted(void **state)
{
    struct fixture *f = *state;

    begin(f);
    become_complete(f);
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
    char path[128];
    int fd;

    (void)snprintf(path, sizeof path, "%s/journal-000000000001", f->directory);
    fd = open(path, O_WRONLY);
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

    begin(f);
    become_complete(f);
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
    hand_over(f, 1, disk_read(f->directory, &f->read).last + 1, 1);
    storage_complete(f->storage);
    storage_flush(f->storage);
    UNTIL(f, f->saved_index == disk_read(f->directory, &f->read).last);
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

    begin(f);
    become_complete(f);
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
        begin(f);
        become_complete(f);
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
    begin(f);
    become_complete(f);
    end(f);
    reboot(f);
    open_it(f);
    assert_true(f->past.rebooted && f->past.clean && f->past.intact);
}

static void test_life_is_damaged(void **state)
{
    struct fixture *f = *state;
    char path[128];

    begin(f);
    become_complete(f);
    end(f);
    (void)snprintf(path, sizeof path, "%s/life", f->directory);
    assert_int_equal(truncate(path, 60), 0);
    open_it(f);
    assert_false(f->past.intact);
    assert_non_null(strstr(f->past.reason, "damaged"));
    end(f);
    assert_int_equal(unlink(path), 0);
    open_it(f);
    assert_false(f->past.intact);
    assert_non_null(strstr(f->past.reason, "missing"));
}

/* ---- What cannot be used ---- */

static void test_set_aside(void **state)
{
    struct fixture *f = *state;
    char where[CONFIG_PATH_SIZE], path[CONFIG_PATH_SIZE + 32], text[TEXT_FILE_SIZE];
    struct error error;
    bool found;

    for (uint32_t i = 0; i < STORAGE_ASIDES_MAX + 2; i++) {
        begin(f);
        become_complete(f);
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

    begin(f);
    become_complete(f);
    end(f);
    open_it(f);
    assert_int_equal(storage_discard(f->storage, &error), ERROR_NONE);
    assert_int_equal(folder_count(f->directory, "journal-"), 0);
    assert_int_equal(folder_count(f->directory, "aside-"), 0);
}

/* ---- Checkpoints ---- */

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
    storage_reset(f->storage, 12, 4);
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

/* ---- Calls that fail ---- */

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
    assert_int_equal(storage_start(f->storage, &found, f->past.intact, found.last, &error),
                     ERROR_NONE);
    UNTIL(f, f->started || f->failures);
    for (uint64_t i = found.last + 1; i <= found.last + 60 && !f->failures; i += 20) {
        hand_over(f, 1, i, 20);
        if (i == found.last + 1)
            storage_complete(f->storage);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

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
        TEST(test_interval),
        TEST(test_never),
        TEST(test_incomplete),
        TEST(test_lives_before_complete),
        TEST(test_lives_are_lost),
        TEST(test_lives_after_reset),
        TEST(test_complete),
        TEST(test_reset_is_incomplete),
        TEST(test_rebooted),
        TEST(test_cut),
        TEST(test_torn_before_end),
        TEST(test_end_is_synced),
        TEST(test_failed_sync),
        TEST(test_clean_before_reboot),
        TEST(test_life_is_damaged),
        TEST(test_set_aside),
        TEST(test_discard),
        TEST(test_checkpoints),
        TEST(test_reset_forgets_checkpoints),
        TEST(test_checkpoint_is_abandoned),
        TEST(test_checkpoint_out_of_bounds),
        TEST(test_full),
        TEST(test_full_at_the_end),
        TEST(test_each_call_fails),
        TEST(test_each_call_fails_once),
        TEST(test_each_call_finds_no_room_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
