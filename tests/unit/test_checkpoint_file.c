/* Checkpoints on disk: whole or not at all, and never wrong. */
#include "tests/unit/disk_fixture.h"
#include "tests/unit/failing_files.h"

#include "server/checkpoint_file.h"

#define SLICES 40u

struct fixture {
    char directory[64];
    struct checkpoint_head head;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    if (!f)
        return -1;
    folder_make(f->directory, sizeof f->directory);
    f->head = (struct checkpoint_head){ .index = 4711,
                                        .view = 3,
                                        .time_us = 99,
                                        .digest = 0xd19e57,
                                        .cluster = "three",
                                        .service = "kv" };
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    folder_remove(f->directory);
    free(f);
    return 0;
}

/* The slice of this number: its bytes and its size follow from it. */
static struct bytes slice_of(uint32_t number, uint8_t *data)
{
    return bytes_of(data, request_of(number + 1, data, REQUEST_SIZE_MAX));
}

static enum error_code write_slices(struct checkpoint_writer *writer, struct error *error)
{
    uint8_t data[REQUEST_SIZE_MAX];

    for (uint32_t i = 0; i < SLICES; i++)
        if (checkpoint_writer_slice(writer, slice_of(i, data), error) != ERROR_NONE)
            return error->code;
    return ERROR_NONE;
}

static enum error_code save(const struct fixture *f, const struct files *files, struct error *error)
{
    struct checkpoint_writer *writer;

    if (checkpoint_writer_open(&writer, files, f->directory, &f->head, error) != ERROR_NONE)
        return error->code;
    if (write_slices(writer, error) != ERROR_NONE) {
        checkpoint_writer_abandon(writer);
        return error->code;
    }
    return checkpoint_writer_finish(writer, error);
}

/* Reads all; what comes must be right. *slices is how many came. */
static enum error_code load(const struct fixture *f, const struct files *files, uint32_t *slices,
                            struct error *error)
{
    struct checkpoint_reader *reader;
    struct checkpoint_head head;
    uint8_t data[REQUEST_SIZE_MAX];
    struct bytes slice;
    uint64_t bytes, sum = 0;
    char path[128];
    bool done = false;

    *slices = 0;
    checkpoint_path(f->directory, f->head.index, path, sizeof path);
    if (checkpoint_reader_open(&reader, files, path, &head, &bytes, error) != ERROR_NONE)
        return error->code;
    assert_memory_equal(&head, &f->head, sizeof head);
    error->code = ERROR_NONE;
    while (checkpoint_reader_next(reader, &slice, &done, error) == ERROR_NONE && !done) {
        assert_true(bytes_equal(slice, slice_of((*slices)++, data)));
        sum += slice.size;
    }
    if (done && error->code == ERROR_NONE)
        assert_int_equal(sum, bytes);
    checkpoint_reader_close(reader);
    return error->code;
}

static void save_well(const struct fixture *f)
{
    struct failing never;
    struct error error;

    failing_init(&never, FAILING_ERROR, 0, 0);
    if (save(f, &never.files, &error) != ERROR_NONE)
        fail_msg("%s", error.text);
}

static void load_well(const struct fixture *f)
{
    struct error error;
    uint32_t slices;

    if (load(f, &files_system, &slices, &error) != ERROR_NONE)
        fail_msg("%s", error.text);
    assert_int_equal(slices, SLICES);
}

static void test_round_trip(void **state)
{
    struct fixture *f = *state;

    save_well(f);
    load_well(f);
    save_well(f); /* the same again replaces it */
    load_well(f);
    assert_int_equal(folder_count(f->directory, "checkpoint-"), 1);
}

/* What is not finished does not count, and an abandoned one leaves nothing. */
static void test_unfinished(void **state)
{
    struct fixture *f = *state;
    struct checkpoint_writer *writer;
    struct error error;
    uint64_t index;
    uint32_t count;

    assert_int_equal(checkpoint_writer_open(&writer, &files_system, f->directory, &f->head, &error),
                     ERROR_NONE);
    assert_int_equal(write_slices(writer, &error), ERROR_NONE);
    assert_int_equal(checkpoint_list(f->directory, &index, 1, &count, &error), ERROR_NONE);
    assert_int_equal(count, 0);
    checkpoint_writer_abandon(writer);
    assert_int_equal(folder_empty(f->directory), 0);
}

/* The newest come first; all but two go, and so do leftovers. */
static void test_tidy(void **state)
{
    struct fixture *f = *state;
    uint64_t indexes[8], oldest;
    struct error error;
    uint32_t count;
    char path[128];
    FILE *file;

    for (f->head.index = 10; f->head.index <= 50; f->head.index += 10)
        save_well(f);
    (void)snprintf(path, sizeof path, "%s/checkpoint-000000000060.new", f->directory);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);

    assert_int_equal(checkpoint_list(f->directory, indexes, 3, &count, &error), ERROR_NONE);
    assert_int_equal(count, 3);
    assert_int_equal(indexes[0], 50);
    assert_int_equal(indexes[2], 30);
    assert_int_equal(checkpoint_tidy(&files_system, f->directory, &oldest, &error), ERROR_NONE);
    assert_int_equal(oldest, 40);
    assert_int_equal(folder_count(f->directory, "checkpoint-"), CHECKPOINTS_KEPT);
    f->head.index = 50;
    load_well(f);
}

/* With any system call failing, a checkpoint is saved or it is not there, and the one before it
 * stays. */
static void save_failing(struct fixture *f, enum failing_way way, int reason)
{
    struct failing failing;
    struct error error;
    uint64_t indexes[2];
    uint32_t count;

    for (uint32_t at = 1;; at++) {
        enum error_code code;

        f->head.index = 1;
        save_well(f);
        f->head.index = 2;
        failing_init(&failing, way, reason, at);
        code = save(f, &failing.files, &error);
        assert_int_equal(checkpoint_list(f->directory, indexes, 2, &count, &error), ERROR_NONE);
        if (code == ERROR_NONE || count == 2)
            load_well(f);
        else
            assert_int_equal(folder_count(f->directory, "checkpoint-000000000002"), 0);
        f->head.index = 1;
        load_well(f);
        (void)folder_empty(f->directory);
        if (!failing_reached(&failing))
            break;
        if (!failing.failed || way == FAILING_SHORT || reason == EINTR)
            assert_int_equal(code, ERROR_NONE);
        else
            assert_true(code == ERROR_SYSTEM || (reason == ENOSPC && code == ERROR_LIMIT));
    }
}

static void test_failing_calls(void **state)
{
    struct fixture *f = *state;

    save_failing(f, FAILING_ERROR, EIO);
    save_failing(f, FAILING_ERROR, ENOSPC);
    save_failing(f, FAILING_ERROR, EINTR);
    save_failing(f, FAILING_SHORT, 0);
    save_failing(f, FAILING_HALF, EIO);
}

/* A failed read is an error, not the end; what the disk cannot read is damage. */
static void fail_reads(struct fixture *f, int reason, enum error_code expected)
{
    struct failing failing;
    struct error error;
    uint32_t slices;

    save_well(f);
    for (uint32_t at = 1;; at++) {
        enum error_code code;

        failing_init(&failing, FAILING_ERROR, reason, at);
        code = load(f, &failing.files, &slices, &error);
        if (!failing_reached(&failing))
            break;
        assert_int_equal(code, expected);
        failing_init(&failing, FAILING_SHORT, 0, at);
        assert_int_equal(load(f, &failing.files, &slices, &error), ERROR_NONE);
    }
}

static void test_failing_reads(void **state)
{
    fail_reads(*state, EIO, ERROR_PROTOCOL);
    fail_reads(*state, EMFILE, ERROR_SYSTEM);
}

static size_t read_whole(const struct fixture *f, uint8_t *data, size_t size_max)
{
    char path[128];
    FILE *file;
    size_t size;

    checkpoint_path(f->directory, f->head.index, path, sizeof path);
    file = fopen(path, "rb");
    assert_non_null(file);
    size = fread(data, 1, size_max, file);
    assert_int_equal(fclose(file), 0);
    return size;
}

/* In place: the system flushes a file that was emptied and written again. */
static void write_part(const struct fixture *f, const uint8_t *data, size_t from, size_t to)
{
    char path[128];
    int fd;

    checkpoint_path(f->directory, f->head.index, path, sizeof path);
    fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data + from, to - from, (off_t)from), to - from);
    assert_int_equal(close(fd), 0);
}

static void expect_damaged(struct fixture *f)
{
    struct error error;
    uint32_t slices;

    assert_int_equal(load(f, &files_system, &slices, &error), ERROR_PROTOCOL);
    assert_non_null(strstr(error.text, "checkpoint-000000004711 is damaged at offset "));
}

/* Any bit that flips is found before the slice it is in is given out. */
static void test_bit_flips(void **state)
{
    static uint8_t data[64u << 10];
    struct fixture *f = *state;
    struct random chance = random_seeded(42);
    size_t size;

    save_well(f);
    size = read_whole(f, data, sizeof data);
    assert_true(size > 1000 && size < sizeof data);
    for (uint32_t i = 0; i < 3000; i++) {
        size_t at = (size_t)random_below(&chance, size);
        uint8_t bit = (uint8_t)(1u << random_below(&chance, 8));

        data[at] ^= bit;
        write_part(f, data, at, at + 1);
        expect_damaged(f);
        data[at] ^= bit;
        write_part(f, data, at, at + 1);
    }
}

/* So is a file that is cut short, or has grown. */
static void test_wrong_length(void **state)
{
    static uint8_t data[64u << 10];
    struct fixture *f = *state;
    char path[128];
    size_t size;

    save_well(f);
    checkpoint_path(f->directory, f->head.index, path, sizeof path);
    size = read_whole(f, data, sizeof data - 8);
    write_part(f, data, size, size + 8);
    for (size_t cut = size + 8; cut > 0; cut -= 1 + cut / 50) {
        if (cut == size)
            continue;
        assert_int_equal(truncate(path, (off_t)cut), 0);
        expect_damaged(f);
    }
}

#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(test_round_trip),    test(test_unfinished),    test(test_tidy),
        test(test_failing_calls), test(test_failing_reads), test(test_bit_flips),
        test(test_wrong_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
