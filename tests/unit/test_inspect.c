/* What a person is told of a server's directory. */
#include "tests/unit/disk_fixture.h"

#include <sys/stat.h>

#include "server/checkpoint_file.h"
#include "server/inspect.h"
#include "server/request.h"

struct fixture {
    char directory[64];
    char text[16384]; /* what was said */
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    if (!f)
        return -1;
    folder_make(f->directory, sizeof f->directory);
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

static int inspect(struct fixture *f, bool show)
{
    FILE *out = tmpfile();
    size_t size;
    int status;

    assert_non_null(out);
    status = inspect_directory(f->directory, show, out);
    rewind(out);
    size = fread(f->text, 1, sizeof f->text - 1, out);
    f->text[size] = '\0';
    assert_int_equal(fclose(out), 0);
    return status;
}

static void expect(const struct fixture *f, const char *words)
{
    if (!strstr(f->text, words))
        fail_msg("expected \"%s\" in:\n%s", words, f->text);
}

static void pack_set(struct buffer *group, uint64_t index, const char *key, const char *value)
{
    struct bytes words[] = { bytes_string("SET"), bytes_string(key), bytes_string(value) };
    struct journal_record header = { .index = index,
                                     .view = 3,
                                     .time_us = 1795199400123456,
                                     .session = 5,
                                     .sequence = 17,
                                     .kind = REQUEST_COMMAND };
    struct buffer request = { 0 };

    request_pack_command(&request, 3, words);
    journal_record_pack(group, &header, buffer_bytes(&request));
    buffer_free(&request);
}

static void pack_transaction(struct buffer *group, uint64_t index)
{
    struct bytes words[] = { bytes_string("INCR"), bytes_string("n") };
    struct journal_record header = { .index = index, .view = 3, .kind = REQUEST_TRANSACTION };
    struct buffer request = { 0 };

    request_pack_transaction_begin(&request, 1);
    request_pack_transaction_watch(&request, 9, bytes_string("n"));
    request_pack_transaction_commands(&request, 2);
    request_pack_command(&request, 2, words);
    request_pack_command(&request, 2, words);
    journal_record_pack(group, &header, buffer_bytes(&request));
    buffer_free(&request);
}

static void write_group(struct segments *segments, struct buffer *group)
{
    struct bytes piece = buffer_bytes(group);
    struct error error;

    assert_int_equal(segments_write(segments, &piece, 1, &error), ERROR_NONE);
    buffer_clear(group, 0);
}

static struct segments *open_journal(const struct fixture *f)
{
    struct segments_options options = disk_options(f->directory, &files_system, 8192);
    struct segments_found found = { .first = 1 };
    struct segments *segments;
    struct error error;

    assert_int_equal(segments_open(&segments, &options, &found, &error), ERROR_NONE);
    return segments;
}

/* The last group is not synced. */
static void write_journal(const struct fixture *f)
{
    struct segments *segments = open_journal(f);
    struct buffer group = { 0 };
    struct error error;

    pack_set(&group, 1, "key", "two words");
    pack_set(&group, 2, "\x01\xff", "0123456789012345678901234567890123456789");
    write_group(segments, &group);
    assert_int_equal(segments_sync(segments, &error), ERROR_NONE);
    pack_transaction(&group, 3);
    write_group(segments, &group);
    segments_close(segments);
    buffer_free(&group);
}

static void write_checkpoint(const struct fixture *f, uint64_t index)
{
    struct checkpoint_head head = {
        .index = index, .view = 3, .cluster = "three", .service = "kv"
    };
    struct checkpoint_writer *writer;
    struct error error;

    assert_int_equal(checkpoint_writer_open(&writer, &files_system, f->directory, &head, &error),
                     ERROR_NONE);
    assert_int_equal(checkpoint_writer_slice(writer, bytes_string("a slice"), &error), ERROR_NONE);
    assert_int_equal(checkpoint_writer_finish(writer, &error), ERROR_NONE);
}

static void overwrite(const struct fixture *f, const char *name, off_t offset)
{
    char path[128];
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", f->directory, name);
    fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "hurt", 4, offset), 4);
    assert_int_equal(close(fd), 0);
}

/* Entries are shown with their words, in a form that a terminal bears. */
static void test_show(void **state)
{
    struct fixture *f = *state;

    write_journal(f);
    assert_int_equal(inspect(f, true), 0);
    expect(f, "journal-000000000001  8192 bytes\n");
    expect(f, "  offset 4096  entries 1 to 2 in ");
    expect(f, "    1  view 3  2026-11-20T");
    expect(f, ".123456Z  session 5 sequence 17  command of 31 bytes SET key \"two words\"\n");
    expect(f, "SET \"\\x01\\xff\" 01234567890123456789012345678901… (40 bytes)\n");
    expect(f, "1 watched, 2 commands: INCR n; INCR n\n");
    expect(f, "journal: entries 1 to 3 (3 records in 2 frames of 1 segments)\n");
    expect(f, "\nsound\n");
}

/* A check says no entries, and changes no file. */
static void test_check(void **state)
{
    struct fixture *f = *state;
    struct stat before, after;
    char path[128];

    write_journal(f);
    write_checkpoint(f, 2);
    (void)snprintf(path, sizeof path, "%s/journal-000000000001", f->directory);
    assert_int_equal(stat(path, &before), 0);
    assert_int_equal(inspect(f, false), 0);
    assert_int_equal(stat(path, &after), 0);
    assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof before.st_mtim);
    assert_int_equal(before.st_size, after.st_size);
    assert_null(strstr(f->text, "SET"));
    expect(f, "checkpoint of entry 2: view 3, ");
    expect(f, "cluster \"three\", service \"kv\", digest 0000000000000000, 7 bytes in 1 slices\n");
    expect(f, "\nsound\n");
}

static void test_torn(void **state)
{
    struct fixture *f = *state;

    write_journal(f);
    overwrite(f, "journal-000000000001", 4500);
    assert_int_equal(inspect(f, false), 0);
    expect(f, "torn: journal-000000000001 at offset ");
    expect(f, "journal: entries 1 to 2 ");
}

static void test_damaged_journal(void **state)
{
    struct fixture *f = *state;

    write_journal(f);
    overwrite(f, "journal-000000000001", 4200);
    assert_int_equal(inspect(f, false), 1);
    expect(f, "/journal-000000000001 at offset 4152: the record of entry 1 is not sound. ");
    expect(f, "\nnot sound\n");
}

static void test_damaged_checkpoint(void **state)
{
    struct fixture *f = *state;

    write_journal(f);
    write_checkpoint(f, 2);
    overwrite(f, "checkpoint-000000000002", 138);
    assert_int_equal(inspect(f, false), 1);
    expect(f, "/checkpoint-000000000002 is damaged at offset 120: expected a block with");
}

/* Entries that are nowhere are told. */
static void test_gap(void **state)
{
    struct fixture *f = *state;
    struct buffer group = { 0 };
    struct segments *segments = open_journal(f);
    struct error error;

    for (uint64_t i = 1; i < 100; i++) {
        pack_set(&group, i, "key", "value");
        write_group(segments, &group);
    }
    assert_int_equal(segments_drop(segments, 60, &error), ERROR_NONE);
    segments_close(segments);
    buffer_free(&group);
    assert_int_equal(inspect(f, false), 1);
    expect(f, "damaged: entries 1 to ");
    write_checkpoint(f, 60);
    assert_int_equal(inspect(f, false), 0);
}

/* What is no server's directory is wrong usage. */
static void test_usage(void **state)
{
    struct fixture *f = *state;
    char program[] = "holdfast-server", show[] = "--journal-show", nowhere[] = "/nowhere",
         other[] = "-c";
    char *wrong[] = { program, show, NULL }, *missing[] = { program, show, nowhere, NULL },
         *none[] = { program, other, nowhere, NULL };
    int status = 0;

    assert_int_equal(inspect(f, false), 2);
    assert_true(inspect_asked(2, wrong, &status));
    assert_int_equal(status, 2);
    status = 0;
    assert_true(inspect_asked(3, missing, &status));
    assert_int_equal(status, 2);
    assert_false(inspect_asked(3, none, &status));
}

#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(test_show),
        test(test_check),
        test(test_torn),
        test(test_damaged_journal),
        test(test_damaged_checkpoint),
        test(test_gap),
        test(test_usage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
