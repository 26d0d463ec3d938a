/* storage_fixture - a server's directory, the two threads that write it, and what they told. */
#ifndef HOLDFAST_TESTS_UNIT_STORAGE_FIXTURE_H
#define HOLDFAST_TESTS_UNIT_STORAGE_FIXTURE_H

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

struct fixture {
    char directory[64];
    char parent[48];
    char path[128];
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

static inline int gated_fdatasync(void *context, int fd)
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

static inline void on_started(void *context)
{
    ((struct fixture *)context)->started++;
}

static inline void on_saved(void *context, uint64_t epoch, uint64_t index)
{
    struct fixture *f = context;

    f->saved_epoch = epoch;
    f->saved_index = index;
}

static inline void on_slice(void *context)
{
    ((struct fixture *)context)->slices++;
}

static inline void on_checkpoint(void *context, bool done)
{
    struct fixture *f = context;

    f->checkpoints += done;
    f->given_up += !done;
}

static inline void on_room(void *context, bool full)
{
    struct fixture *f = context;

    f->became_full += full;
    f->became_free += !full;
}

static inline void on_failed(void *context, const struct error *error)
{
    struct fixture *f = context;

    f->failures++;
    (void)snprintf(f->failure, sizeof f->failure, "%s", error->text);
}

static inline void on_late(evutil_socket_t fd, short what, void *context)
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

static inline int set_up(void **state)
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

static inline int remove_one(const char *path, const struct stat *status, int kind,
                             struct FTW *where)
{
    (void)status;
    (void)kind;
    (void)where;
    return remove(path);
}

static inline void directory_clear(const struct fixture *f)
{
    (void)nftw(f->directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static inline int tear_down(void **state)
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

static inline enum error_code try_open(struct fixture *f, struct error *error)
{
    return storage_open(&f->storage, &f->options, &f->past, error);
}

static inline void open_it(struct fixture *f)
{
    struct error error;

    f->options.incarnation++; /* each is another life */
    if (try_open(f, &error) != ERROR_NONE)
        fail_msg("%s", error.text);
}

static inline void start_outrun(struct fixture *f, uint64_t last_index, bool outrun)
{
    struct segments_found found = disk_read(f->directory, &f->read);
    struct error error;

    f->started = 0;
    f->saved_index = f->saved_epoch = 0;
    if (storage_start(f->storage, &found, f->past.intact, last_index, outrun, &error) != ERROR_NONE)
        fail_msg("%s", error.text);
    UNTIL(f, f->started == 1);
}

static inline void start_at(struct fixture *f, uint64_t last_index)
{
    start_outrun(f, last_index, false);
}

static inline void begin(struct fixture *f)
{
    open_it(f);
    start_at(f, disk_read(f->directory, &f->read).last);
}

static inline void end(struct fixture *f)
{
    storage_close(f->storage);
    f->storage = NULL;
}

/* As kill -9 would: what was handed over is written, but the end is not marked. */
static inline void crash(struct fixture *f)
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
static inline void hand_over(struct fixture *f, uint64_t epoch, uint64_t first, uint64_t count)
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

static inline void put(struct fixture *f, uint64_t first, uint64_t count)
{
    hand_over(f, 1, first, count);
    storage_flush(f->storage);
    UNTIL(f, f->saved_index >= first + count - 1 || f->failures);
}

static inline void expect_entries(struct fixture *f, uint64_t first, uint64_t last)
{
    struct segments_found found = disk_read(f->directory, &f->read);

    assert_false(found.damaged);
    assert_int_equal(found.last, last);
    assert_true(found.first <= first);
    for (uint64_t i = first; i <= last; i++)
        assert_int_equal(f->read.token[i], i);
}

/* Waits until what was handed over is saved, up to the index. */
static inline void flush_to(struct fixture *f, uint64_t index)
{
    storage_flush(f->storage);
    UNTIL(f, f->saved_index == index);
}

/* Entries 1 to 5, and the journal lacks nothing from then on. */
static inline void become_complete(struct fixture *f)
{
    hand_over(f, 1, 1, 5);
    storage_complete(f->storage, 1, 5);
    flush_to(f, 5);
}

/* Another life, whose journal lacks nothing. */
static inline void begin_complete(struct fixture *f)
{
    begin(f);
    become_complete(f);
}

/* The path of a file of the directory; good until the next call. */
static inline const char *path_of(struct fixture *f, const char *name)
{
    (void)snprintf(f->path, sizeof f->path, "%s/%s", f->directory, name);
    return f->path;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
