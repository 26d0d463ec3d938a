/* The journal on disk: what is written is read back, whatever became of the files meanwhile. */
#include "tests/unit/disk_fixture.h"

#include "server/segment_format.h"

#define SMALL 16384u /* bytes of a segment: a few groups */

struct fixture {
    char directory[64];
    struct segments *segments;
    struct shelf known, read;
    uint64_t token;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    if (!f)
        return -1;
    folder_make(f->directory, sizeof f->directory);
    f->known.first = 1;
    f->token = 1000;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    if (f->segments)
        segments_close(f->segments);
    folder_remove(f->directory);
    free(f);
    return 0;
}

static void start(struct fixture *f)
{
    struct segments_options options = disk_options(f->directory, &files_system, SMALL);
    struct segments_found found = disk_read(f->directory, &f->read);
    struct error error;

    if (segments_open(&f->segments, &options, &found, &error) != ERROR_NONE)
        fail_msg("%s", error.text);
}

static void stop(struct fixture *f)
{
    segments_close(f->segments);
    f->segments = NULL;
}

static void put(struct fixture *f, uint64_t first, uint64_t count)
{
    struct error error;

    assert_int_equal(disk_write(f->segments, first, count, f->token, &error), ERROR_NONE);
    assert_int_equal(segments_sync(f->segments, &error), ERROR_NONE);
    shelf_put_all(&f->known, first, count, f->token);
    f->token += count;
}

static void put_on(struct fixture *f, uint64_t groups, uint64_t count)
{
    while (groups--)
        put(f, f->known.last + 1, count);
}

static void expect_known(struct fixture *f, uint64_t dropped)
{
    struct segments_found found = disk_read(f->directory, &f->read);

    assert_false(found.damaged);
    assert_true(shelf_same(&f->known, &found, &f->read, dropped));
}

/* An empty folder is an empty journal. */
static void test_nothing(void **state)
{
    struct fixture *f = *state;
    struct segments_found found = disk_read(f->directory, &f->read);

    assert_int_equal(found.first, 1);
    assert_int_equal(found.last, 0);
    assert_int_equal(found.bytes, 0);
    start(f);
    found = disk_read(f->directory, &f->read);
    assert_int_equal(found.last, 0);
    assert_int_equal(found.sequence, 1);
    assert_false(found.damaged);
}

/* Entries come back in order, and writing goes on behind them. */
static void test_round_trip(void **state)
{
    struct fixture *f = *state;

    start(f);
    put_on(f, 3, 2);
    expect_known(f, 0);
    stop(f);
    start(f);
    put_on(f, 2, 2);
    stop(f);
    expect_known(f, 0);
    assert_int_equal(f->known.last, 10);
    assert_int_equal(folder_count(f->directory, "journal-"), 1);
}

/* A full segment is closed and the next begins; a reader goes through them in small steps. */
static void test_many_segments(void **state)
{
    struct fixture *f = *state;
    struct segments_options options = disk_options(f->directory, &files_system, 0);
    struct segments_visitor visitor = shelf_visitor(&f->read);
    struct segments_reader *reader;
    struct segments_found found;
    struct error error;
    uint32_t steps = 0;
    bool done = false;

    start(f);
    put_on(f, 40, 5);
    assert_true(folder_count(f->directory, "journal-") > 4);
    assert_int_equal(segments_bytes(f->segments), SMALL * folder_count(f->directory, "journal-"));
    expect_known(f, 0);

    visitor = shelf_visitor(&f->read);
    assert_int_equal(segments_reader_open(&reader, &options, &visitor, &error), ERROR_NONE);
    assert_int_equal(segments_reader_bytes_total(reader), segments_bytes(f->segments));
    for (; !done; steps++)
        assert_int_equal(segments_reader_step(reader, 100, &done, &found, &error), ERROR_NONE);
    segments_reader_close(reader);
    assert_true(steps > 4);
    assert_int_equal(found.records, 200);
    assert_true(shelf_same(&f->known, &found, &f->read, 0));
}

/* Dropped segments are used again, at most two wait for it, and their old frames stay unseen. */
static void test_spares(void **state)
{
    struct fixture *f = *state;
    struct error error;
    uint64_t bytes;

    start(f);
    put_on(f, 30, 5);
    assert_int_equal(segments_drop(f->segments, f->known.last, &error), ERROR_NONE);
    assert_int_equal(folder_count(f->directory, "journal-"), 1);
    assert_int_equal(folder_count(f->directory, "spare-"), SEGMENTS_SPARE_MAX);
    bytes = segments_bytes(f->segments);
    assert_int_equal(bytes, 3 * SMALL);
    for (uint32_t i = 0; i < 20; i++) {
        uint64_t dropped = f->known.last;

        put_on(f, 2, 5);
        expect_known(f, dropped);
        assert_int_equal(segments_drop(f->segments, dropped, &error), ERROR_NONE);
        expect_known(f, dropped);
        stop(f);
        start(f);
        assert_true(segments_bytes(f->segments) <= bytes + SMALL);
    }
}

/* Only what holds nothing but dropped entries goes. */
static void test_drop(void **state)
{
    struct fixture *f = *state;
    struct segments_found found;
    struct error error;

    start(f);
    put_on(f, 40, 5);
    for (uint64_t index = 0; index <= f->known.last; index += 7) {
        if (index % 2)
            stop(f);
        if (index % 2)
            start(f);
        assert_int_equal(segments_drop(f->segments, index, &error), ERROR_NONE);
        expect_known(f, index);
    }
    found = disk_read(f->directory, &f->read);
    assert_true(found.first > 100);
}

/* An entry whose index is taken replaces the old one and all behind it, also across segments. */
static void test_truncation(void **state)
{
    struct fixture *f = *state;

    start(f);
    put_on(f, 6, 5);
    put(f, 22, 3);
    expect_known(f, 0);
    put_on(f, 10, 5);
    put(f, 11, 1);
    put_on(f, 1, 1);
    expect_known(f, 0);
    stop(f);
    start(f);
    expect_known(f, 0);
    put(f, 1, 4);
    expect_known(f, 0);
}

/* A truncation may lie before all that was not dropped; then nothing of it stays. */
static void test_truncation_behind_a_drop(void **state)
{
    struct fixture *f = *state;
    struct segments_found found;
    struct error error;

    start(f);
    put_on(f, 40, 5);
    put(f, 31, 2);
    assert_int_equal(segments_drop(f->segments, 30, &error), ERROR_NONE);
    found = disk_read(f->directory, &f->read);
    assert_int_equal(found.first, 31);
    assert_true(shelf_same(&f->known, &found, &f->read, 30));
    put_on(f, 20, 5);
    expect_known(f, 30);
}

/* After a reset the journal begins behind it, and all before it may be dropped. */
static void test_reset(void **state)
{
    struct fixture *f = *state;
    struct segments_found found;
    struct error error;

    start(f);
    put_on(f, 20, 5);
    assert_int_equal(segments_reset(f->segments, 500, 9, &error), ERROR_NONE);
    f->known.first = 501;
    f->known.last = 500;
    found = disk_read(f->directory, &f->read);
    assert_int_equal(found.reset_index, 500);
    assert_int_equal(found.reset_view, 9);
    assert_int_equal(found.first, 501);
    assert_int_equal(found.last, 500);
    put_on(f, 20, 5);
    expect_known(f, 0);
    assert_int_equal(segments_reset(f->segments, 40, 10, &error), ERROR_NONE);
    f->known.first = 41;
    f->known.last = 40;
    put_on(f, 3, 5);
    assert_int_equal(segments_drop(f->segments, 0, &error), ERROR_NONE);
    assert_true(folder_count(f->directory, "journal-") <= 3);
    expect_known(f, 0);
    stop(f);
    start(f);
    expect_known(f, 0);
}

/* An entry larger than a segment gets one of its size, which is not kept as a spare. */
static void test_large_record(void **state)
{
    struct fixture *f = *state;
    const size_t size = 6u << 20;
    struct journal_record header = { .index = 3 };
    struct segments_found found;
    struct buffer group = { 0 };
    uint8_t *request = calloc(1, size);
    struct error error;
    struct bytes piece;

    assert_non_null(request);
    start(f);
    put_on(f, 1, 2);
    journal_record_pack(&group, &header, bytes_of(request, size));
    piece = buffer_bytes(&group);
    assert_int_equal(segments_write(f->segments, &piece, 1, &error), ERROR_NONE);
    assert_int_equal(disk_write(f->segments, 4, 2, 1, &error), ERROR_NONE);
    assert_int_equal(disk_write(f->segments, 3, 4, 1, &error), ERROR_NONE);
    assert_true(segments_bytes(f->segments) > size);
    assert_int_equal(segments_drop(f->segments, 2, &error), ERROR_NONE);
    assert_true(segments_bytes(f->segments) < size);
    found = disk_read(f->directory, &f->read);
    assert_int_equal(found.last, 6);
    buffer_free(&group);
    free(request);
}

/* A group of many pieces is written in several frames. */
static void test_many_pieces(void **state)
{
    enum { COUNT = 3000 };
    struct fixture *f = *state;
    struct buffer group = { 0 };
    struct bytes pieces[COUNT];
    size_t ends[COUNT];
    struct error error;

    start(f);
    for (uint32_t i = 0; i < COUNT; i++) {
        shelf_pack(&group, i + 1, i + 1);
        ends[i] = buffer_size(&group);
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        size_t from = i ? ends[i - 1] : 0;

        pieces[i] = bytes_of(buffer_head(&group) + from, ends[i] - from);
    }
    assert_int_equal(segments_write(f->segments, pieces, COUNT, &error), ERROR_NONE);
    shelf_put_all(&f->known, 1, COUNT, 1);
    expect_known(f, 0);
    buffer_free(&group);
}

/* ---- Zeros ahead ---- */

/* Counts writes, and those that reach where nothing was written before. */
struct watch {
    uint64_t filled;
    uint32_t writes, first_time;
};

static ssize_t watch_pwritev(void *context, int fd, const struct iovec *vectors, int count,
                             off_t offset)
{
    struct watch *watch = context;
    ssize_t size = files_system.pwritev(NULL, fd, vectors, count, offset);

    watch->writes++;
    if (size > 0 && (uint64_t)offset + (uint64_t)size > watch->filled) {
        watch->filled = (uint64_t)offset + (uint64_t)size;
        watch->first_time++;
    }
    return size;
}

static void expect_zeros(const struct fixture *f, uint64_t from, uint64_t to)
{
    uint8_t *bytes = malloc(to - from);
    char path[128];
    int fd;

    (void)snprintf(path, sizeof path, "%s/journal-000000000001", f->directory);
    fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, bytes, to - from, (off_t)from), to - from);
    for (uint64_t i = 0; i < to - from; i++)
        if (bytes[i])
            fail_msg("offset %llu is not zero", (unsigned long long)(from + i));
    assert_int_equal(close(fd), 0);
    free(bytes);
}

/* A group that ends so near the end of the zeros that the frame that proves it does not fit there:
 * more zeros follow than in any other case, and they are zeros. */
static void test_zeros_behind_a_proof(void **state)
{
    const uint64_t bytes = 1u << 20, edge = 256u << 10;
    struct fixture *f = *state;

    for (uint64_t left = 0; left <= sizeof(struct segment_frame); left += 8) {
        struct watch watch = { .filled = SEGMENT_HEADER_BYTES };
        struct files files = files_system;
        struct segments_options options = disk_options(f->directory, &files, bytes);
        struct segments_found found = disk_read(f->directory, &f->read);
        struct journal_record header = { .index = found.last + 1 };
        size_t size =
            edge - left - SEGMENT_HEADER_BYTES - sizeof(struct segment_frame) - sizeof header;
        uint8_t *request = calloc(1, size);
        struct buffer group = { 0 };
        struct error error;
        struct bytes piece;

        files.pwritev = watch_pwritev;
        files.context = &watch;
        journal_record_pack(&group, &header, bytes_of(request, size));
        piece = buffer_bytes(&group);
        assert_int_equal(segments_open(&f->segments, &options, &found, &error), ERROR_NONE);
        assert_int_equal(segments_write(f->segments, &piece, 1, &error), ERROR_NONE);
        assert_int_equal(watch.filled, 2 * edge);
        expect_zeros(f, edge - left, 2 * edge);
        segments_close(f->segments);
        f->segments = NULL;
        buffer_free(&group);
        free(request);
        folder_remove(f->directory);
        folder_make(f->directory, sizeof f->directory);
    }
}

/* A sync after a write to a place that has never been written takes metadata with it: few groups
 * meet one, and none in a file that is used again. */
static void test_zeros_ahead(void **state)
{
    const uint64_t bytes = 512u << 10;
    struct fixture *f = *state;
    struct files files = files_system;
    struct watch watch = { .filled = SEGMENT_HEADER_BYTES };
    struct segments_options options = disk_options(f->directory, &files, bytes);
    struct segments_found found = disk_read(f->directory, &f->read);
    struct error error;

    files.pwritev = watch_pwritev;
    files.context = &watch;
    assert_int_equal(segments_open(&f->segments, &options, &found, &error), ERROR_NONE);
    while (folder_count(f->directory, "journal-") == 1)
        put_on(f, 1, 2);
    assert_int_equal(watch.filled, bytes);
    assert_true(watch.writes > 300);
    assert_int_equal(watch.first_time, 2);
    expect_known(f, 0);

    assert_int_equal(segments_drop(f->segments, f->known.last, &error), ERROR_NONE);
    while (folder_count(f->directory, "spare-") == 1)
        put_on(f, 1, 2);
    watch = (struct watch){ 0 };
    put_on(f, 10, 2);
    assert_true(watch.filled < 64u << 10);
    segments_close(f->segments); /* while the files are there that it writes through */
    f->segments = NULL;
}

/* Another cluster's journal is refused, by name. */
static void test_foreign(void **state)
{
    struct fixture *f = *state;
    struct segments_options options = disk_options(f->directory, &files_system, SMALL);
    struct segments_visitor visitor = shelf_visitor(&f->read);
    struct segments_found found;
    struct error error;

    start(f);
    put_on(f, 1, 1);
    options.cluster = "five";
    assert_int_equal(segments_read(&options, &visitor, &found, &error), ERROR_REFUSED);
    assert_non_null(strstr(error.text, "belongs to the cluster \"three\", not to \"five\""));
}

/* A segment that is missing in the middle is damage, and nothing is written behind it. */
static void test_missing_segment(void **state)
{
    struct fixture *f = *state;
    struct segments_options options = disk_options(f->directory, &files_system, SMALL);
    struct segments_found found;
    struct segments *segments;
    char path[128];
    struct error error;

    start(f);
    put_on(f, 20, 5);
    (void)snprintf(path, sizeof path, "%s/journal-000000000002", f->directory);
    assert_int_equal(unlink(path), 0);
    found = disk_read(f->directory, &f->read);
    assert_true(found.damaged);
    assert_string_equal(found.file, "journal-000000000003");
    assert_non_null(strstr(found.reason, "2, is missing"));
    assert_int_equal(segments_open(&segments, &options, &found, &error), ERROR_REFUSED);
}

static void overwrite(const struct fixture *f, const char *name, const void *data, size_t size,
                      off_t offset)
{
    char path[128];
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", f->directory, name);
    fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, size, offset), size);
    assert_int_equal(close(fd), 0);
}

/* The last group half written is cut, what comes next cannot be mistaken for its rest; an unsound
 * place before a later group is damage. */
static void test_torn_or_damaged(void **state)
{
    struct fixture *f = *state;
    struct segments_found before, found;
    struct error error;

    start(f);
    put_on(f, 2, 1);
    before = disk_read(f->directory, &f->read);
    assert_int_equal(disk_write(f->segments, 3, 3, 2000, &error), ERROR_NONE);
    stop(f);
    overwrite(f, "journal-000000000001", "torn", 4, (off_t)before.end + 100);
    found = disk_read(f->directory, &f->read);
    assert_false(found.damaged);
    assert_int_equal(found.last, 2);
    assert_int_equal(found.end, before.end);
    assert_int_equal(found.offset, before.end + sizeof(struct segment_frame));
    assert_true(found.torn_bytes > 100);
    assert_string_equal(found.file, "journal-000000000001");

    start(f);
    f->known.last = 2;
    put_on(f, 1, 3);
    expect_known(f, 0);
    overwrite(f, "journal-000000000001", "x", 1, (off_t)before.end - 100);
    found = disk_read(f->directory, &f->read);
    assert_true(found.damaged);
}

/* The last group, once it is synced, is proved by what stands behind it: not one of its bits can be
 * lost without a word. The next group takes the place of the proof. */
static void test_damage_in_the_last_group(void **state)
{
    struct fixture *f = *state;
    struct segments_found before, found;

    start(f);
    put_on(f, 2, 1);
    before = disk_read(f->directory, &f->read);
    assert_int_equal(before.synced, before.end);
    put_on(f, 1, 3);
    stop(f);
    found = disk_read(f->directory, &f->read);
    assert_int_equal(found.torn_bytes, 0);
    assert_int_equal(found.synced, found.end);
    overwrite(f, "journal-000000000001", "hurt", 4, (off_t)before.end + 100);
    found = disk_read(f->directory, &f->read);
    assert_true(found.damaged);
    assert_int_equal(found.last, 2);
    assert_int_equal(found.offset, before.end + sizeof(struct segment_frame));
}

/* A proof that is hurt itself is cut, and nothing is lost with it. */
static void test_damaged_proof(void **state)
{
    struct fixture *f = *state;
    struct segments_found found;

    start(f);
    put_on(f, 2, 1);
    stop(f);
    found = disk_read(f->directory, &f->read);
    overwrite(f, "journal-000000000001", "hurt", 4, (off_t)found.end + 20);
    found = disk_read(f->directory, &f->read);
    assert_false(found.damaged);
    assert_true(found.torn_bytes > 0);
    start(f);
    put_on(f, 1, 1);
    expect_known(f, 0);
}

/* Of what was written, the zeros at its end are not yet on the disk. */
static ssize_t zeros_late_pwritev(void *context, int fd, const struct iovec *vectors, int count,
                                  off_t offset)
{
    const struct iovec *last = &vectors[count - 1];
    const uint8_t *bytes = last->iov_base;
    size_t used = 0;
    ssize_t size;

    (void)context;
    while (used < last->iov_len && bytes[used] == 0)
        used++;
    if (count == 1 || used < last->iov_len)
        return files_system.pwritev(NULL, fd, vectors, count, offset);
    size = files_system.pwritev(NULL, fd, vectors, count - 1, offset);
    return size < 0 ? size : size + (ssize_t)used;
}

/* What lay whole behind the torn place does not come back when that place is written again, also
 * when the power goes before that is synced. */
static void test_cut_stays_cut(void **state)
{
    struct fixture *f = *state;
    struct files files = files_system;
    struct segments_options options = disk_options(f->directory, &files, SMALL);
    struct segments_found found;
    struct error error;

    start(f);
    put_on(f, 1, 1);
    found = disk_read(f->directory, &f->read);
    assert_int_equal(disk_write(f->segments, 2, 1, 77, &error), ERROR_NONE);
    assert_int_equal(disk_write(f->segments, 3, 1, 78, &error), ERROR_NONE);
    stop(f);
    overwrite(f, "journal-000000000001", "torn", 4, (off_t)found.end + 100);
    found = disk_read(f->directory, &f->read);
    assert_int_equal(found.last, 1);
    files.pwritev = zeros_late_pwritev;
    assert_int_equal(segments_open(&f->segments, &options, &found, &error), ERROR_NONE);
    assert_int_equal(disk_write(f->segments, 2, 1, 77, &error), ERROR_NONE); /* just as it was */
    shelf_put_all(&f->known, 2, 1, 77);
    stop(f);
    expect_known(f, 0);
    assert_int_equal(f->known.last, 2);
}

/* Damage in the last segment is told from a torn tail by the groups behind it. */
static void test_damage_in_the_last_segment(void **state)
{
    struct fixture *f = *state;
    struct segments_found before, found;

    start(f);
    put_on(f, 2, 1);
    before = disk_read(f->directory, &f->read);
    put_on(f, 2, 1);
    overwrite(f, "journal-000000000001", "hurt", 4, (off_t)before.end + 60);
    found = disk_read(f->directory, &f->read);
    assert_true(found.damaged);
    assert_int_equal(found.last, 2);
    assert_string_equal(found.file, "journal-000000000001");
    assert_int_equal(found.offset, before.end + sizeof(struct segment_frame));
}

#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(test_nothing),
        test(test_round_trip),
        test(test_many_segments),
        test(test_spares),
        test(test_drop),
        test(test_truncation),
        test(test_truncation_behind_a_drop),
        test(test_reset),
        test(test_large_record),
        test(test_many_pieces),
        test(test_zeros_ahead),
        test(test_zeros_behind_a_proof),
        test(test_foreign),
        test(test_missing_segment),
        test(test_torn_or_damaged),
        test(test_damage_in_the_last_group),
        test(test_damaged_proof),
        test(test_cut_stays_cut),
        test(test_damage_in_the_last_segment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
