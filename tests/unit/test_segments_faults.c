/* The journal on a disk that fails: any system call, any bit. */
#include "tests/unit/disk_fixture.h"
#include "tests/unit/failing_files.h"

#include "server/segment_format.h"

#define SMALL    8192u /* bytes of a segment */
#define ATTEMPTS 10u   /* of a step that found no room */

struct fixture {
    char directory[64];
    struct failing failing;
    struct segments *segments;
    struct shelf before, known; /* before and after the step that is under way */
    struct shelf read;
    uint64_t dropped, token;
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

/* ---- The steps of a journal's life, each synced ---- */

static enum error_code start(struct fixture *f, struct error *error)
{
    struct segments_options options = disk_options(f->directory, &f->failing.files, SMALL);
    struct segments_visitor visitor = shelf_visitor(&f->read);
    struct segments_found found;

    if (segments_read(&options, &visitor, &found, error) != ERROR_NONE)
        return error->code;
    assert_true(found.damaged || shelf_same(&f->known, &found, &f->read, f->dropped));
    return segments_open(&f->segments, &options, &found, error);
}

static enum error_code reopen(struct fixture *f, struct error *error)
{
    if (f->segments)
        segments_close(f->segments);
    f->segments = NULL;
    return start(f, error);
}

static enum error_code put(struct fixture *f, uint64_t first, uint64_t count, struct error *error)
{
    uint64_t token = f->token += count;

    /* Another attempt writes something else. */
    f->known = f->before;
    shelf_put_all(&f->known, first, count, token);
    if (disk_write(f->segments, first, count, token, error) != ERROR_NONE)
        return error->code;
    return segments_sync(f->segments, error);
}

static enum error_code reset(struct fixture *f, uint64_t index, struct error *error)
{
    f->known = f->before;
    shelf_reset(&f->known, index, 0);
    if (segments_reset(f->segments, index, 3, error) != ERROR_NONE)
        return error->code;
    return segments_sync(f->segments, error);
}

static enum error_code drop(struct fixture *f, uint64_t index, struct error *error)
{
    f->dropped = index;
    return segments_drop(f->segments, index, error);
}

static enum error_code step(struct fixture *f, uint32_t number, struct error *error)
{
    const uint64_t last = f->before.last;

    switch (number) {
    case 0: return start(f, error);
    case 6: return put(f, last - 3, 2, error);
    case 11: return drop(f, last - 20, error);
    case 15: return reopen(f, error);
    case 21: return drop(f, last - 10, error);
    case 24: return reset(f, last + 100, error);
    case 27: return drop(f, last - 4, error);
    case 31: return put(f, last - 1, 8, error);
    case 35: return reopen(f, error);
    default: return put(f, last + 1, 1 + number % 7, error);
    }
}

#define STEPS 40u

/* Takes the steps until one fails for good. */
static enum error_code run(struct fixture *f, struct error *error)
{
    enum error_code code = ERROR_NONE;

    f->known = f->before = (struct shelf){ .first = 1 };
    f->dropped = f->token = 0;
    for (uint32_t i = 0; i < STEPS && code == ERROR_NONE; i++) {
        uint32_t attempts = 0;

        f->before = f->known;
        do
            code = step(f, i, error);
        while (code == ERROR_LIMIT && ++attempts < ATTEMPTS);
        assert_true(code == ERROR_NONE || strstr(error->text, f->directory));
    }
    if (f->segments)
        segments_close(f->segments);
    f->segments = NULL;
    return code;
}

/* What was synced is there; what the step under way wrote may be; nothing else. */
static void expect_sound(struct fixture *f, enum error_code code)
{
    struct segments_found found = disk_read(f->directory, &f->read);

    if (found.damaged)
        fail_msg("%s, offset %llu: %s", found.file, (unsigned long long)found.offset, found.reason);
    assert_true(shelf_same(&f->known, &found, &f->read, f->dropped) ||
                (code != ERROR_NONE && shelf_same(&f->before, &found, &f->read, f->dropped)));
}

/* And one can write on behind it. */
static void expect_goes_on(struct fixture *f)
{
    struct segments_found found = disk_read(f->directory, &f->read);
    struct error error;

    f->known = f->before = f->read;
    f->known.first = f->before.first = found.first;
    f->known.last = f->before.last = found.last;
    failing_init(&f->failing, FAILING_ERROR, 0, 0);
    assert_int_equal(start(f, &error), ERROR_NONE);
    assert_int_equal(put(f, found.last + 1, 3, &error), ERROR_NONE);
    segments_close(f->segments);
    f->segments = NULL;
    expect_sound(f, ERROR_NONE);
}

/* Each call fails once, one after another. */
static void fail_each(struct fixture *f, enum failing_way way, int reason, uint32_t times)
{
    struct error error;
    enum error_code code;
    bool reached = true;

    for (uint32_t at = 1; reached; at++) {
        failing_init(&f->failing, way, reason, at);
        f->failing.times = times;
        code = run(f, &error);
        reached = failing_reached(&f->failing);
        if (!reached)
            assert_true(at > 100);
        if (!f->failing.failed || way == FAILING_SHORT || reason == EINTR)
            assert_int_equal(code, ERROR_NONE);
        expect_sound(f, code);
        expect_goes_on(f);
        (void)folder_empty(f->directory);
    }
}

static void test_errors(void **state)
{
    fail_each(*state, FAILING_ERROR, EIO, 1);
}

static void test_no_room_once(void **state)
{
    fail_each(*state, FAILING_ERROR, ENOSPC, 1);
}

static void test_no_room_for_a_while(void **state)
{
    fail_each(*state, FAILING_ERROR, ENOSPC, 7);
}

static void test_interrupted(void **state)
{
    fail_each(*state, FAILING_ERROR, EINTR, 2);
}

static void test_short(void **state)
{
    fail_each(*state, FAILING_SHORT, 0, 1);
}

static void test_half_a_write(void **state)
{
    fail_each(*state, FAILING_HALF, EIO, 1);
}

static void test_half_a_write_no_room(void **state)
{
    fail_each(*state, FAILING_HALF, ENOSPC, 1);
}

/* All of a write comes to the disk, though the system told of a part of it. */
static ssize_t whole_pwritev(void *context, int fd, const struct iovec *vectors, int count,
                             off_t offset)
{
    ssize_t size;

    if (failing_now(context))
        return -1;
    size = files_system.pwritev(NULL, fd, vectors, count, offset);
    return failing_partly(context) ? 1 : size;
}

static void ignore_reset(void *context, uint64_t index, uint64_t view)
{
    (void)context, (void)index, (void)view;
}

static void ignore_truncate(void *context, uint64_t last)
{
    (void)context, (void)last;
}

static void ignore_record(void *context, const struct journal_record *header, struct bytes record)
{
    (void)context, (void)header, (void)record;
}

/* One group of entries so large that two do not fit in a frame. */
static enum error_code write_large(struct fixture *f, uint64_t first, uint32_t count,
                                   struct error *error)
{
    const size_t size = FRAME_BYTES_MAX / 2 + 1;
    uint8_t *request = calloc(1, size);
    struct buffer records[3] = { 0 };
    struct bytes pieces[3];
    enum error_code code;

    assert_non_null(request);
    for (uint32_t i = 0; i < count; i++) {
        journal_record_pack(&records[i], &(struct journal_record){ .index = first + i },
                            bytes_of(request, size));
        pieces[i] = buffer_bytes(&records[i]);
    }
    code = segments_write(f->segments, pieces, count, error);
    for (uint32_t i = 0; i < count; i++)
        buffer_free(&records[i]);
    free(request);
    return code;
}

/* A write that found no room leaves pieces behind; what is written next, shorter, is not followed
 * by them. In a file that is used again there are no zeros to cover them. */
static void test_pieces_of_a_failed_write(void **state)
{
    struct fixture *f = *state;
    struct segments_options options = disk_options(f->directory, &f->failing.files, 8u << 20);
    struct segments_visitor visitor = { .reset = ignore_reset,
                                        .truncate = ignore_truncate,
                                        .record = ignore_record };
    struct segments_found found = { .first = 1 };
    struct error error;

    failing_init(&f->failing, FAILING_HALF, ENOSPC, 0);
    f->failing.files.pwritev = whole_pwritev;
    assert_int_equal(segments_open(&f->segments, &options, &found, &error), ERROR_NONE);
    assert_int_equal(write_large(f, 1, 3, &error), ERROR_NONE);
    assert_int_equal(write_large(f, 4, 3, &error), ERROR_NONE);
    assert_int_equal(segments_drop(f->segments, 3, &error), ERROR_NONE);
    assert_int_equal(write_large(f, 7, 1, &error), ERROR_NONE);
    assert_int_equal(folder_count(f->directory, "spare-"), 0);
    f->failing.at = f->failing.calls + 1;
    assert_int_equal(write_large(f, 8, 2, &error), ERROR_LIMIT);
    assert_non_null(strstr(error.text, "journal-000000000003"));
    assert_int_equal(write_large(f, 8, 1, &error), ERROR_NONE); /* as the first frame was */
    segments_close(f->segments);
    f->segments = NULL;
    assert_int_equal(segments_read(&options, &visitor, &found, &error), ERROR_NONE);
    assert_false(found.damaged);
    assert_int_equal(found.last, 8);
}

/* ---- Bits ---- */

static void flip(const struct fixture *f, uint64_t sequence, uint64_t offset, uint8_t bit)
{
    char path[128];
    uint8_t byte;
    int fd;

    (void)snprintf(path, sizeof path, "%s/journal-%012llu", f->directory,
                   (unsigned long long)sequence);
    fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
    byte ^= bit;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
    assert_int_equal(close(fd), 0);
}

struct extent { /* what is used of a segment */
    uint64_t end[32];
    uint64_t sequence;
};

static void note_segment(void *context, const char *file, uint64_t sequence, uint64_t bytes)
{
    struct extent *extent = context;

    (void)file;
    (void)bytes;
    extent->sequence = sequence;
}

static void note_frame(void *context, const struct segment_frame *frame, uint64_t offset)
{
    struct extent *extent = context;

    extent->end[extent->sequence] = offset + sizeof *frame + frame->size;
}

static struct extent measure(const struct fixture *f)
{
    struct extent extent = { 0 };
    struct segments_options options = disk_options(f->directory, &files_system, SMALL);
    struct segments_visitor visitor = { .reset = ignore_reset,
                                        .truncate = ignore_truncate,
                                        .record = ignore_record,
                                        .segment = note_segment,
                                        .frame = note_frame,
                                        .context = &extent };
    struct segments_found found;
    struct error error;

    assert_int_equal(segments_read(&options, &visitor, &found, &error), ERROR_NONE);
    return extent;
}

static void write_some(struct fixture *f)
{
    struct error error;

    failing_init(&f->failing, FAILING_ERROR, 0, 0);
    f->known = f->before = (struct shelf){ .first = 1 };
    assert_int_equal(start(f, &error), ERROR_NONE);
    for (uint32_t i = 0; i < 24; i++) {
        assert_int_equal(put(f, f->before.last + 1, 2, &error), ERROR_NONE);
        f->before = f->known;
    }
    segments_close(f->segments);
    f->segments = NULL;
}

/* One flipped bit: in what is used it is found and named, and all that is read is right. */
static void expect_found(struct fixture *f, const struct extent *extent, uint64_t sequence,
                         uint64_t offset)
{
    bool used = offset < sizeof(struct segment_header) ||
                (offset >= SEGMENT_HEADER_BYTES && offset < extent->end[sequence]);
    struct segments_found found = disk_read(f->directory, &f->read);
    char file[64];

    assert_int_equal(found.damaged || found.torn_bytes, used);
    for (uint64_t i = found.first; i <= found.last; i++)
        assert_int_equal(f->read.token[i], f->known.token[i]);
    if (!used) {
        assert_int_equal(found.last, f->known.last);
        return;
    }
    (void)snprintf(file, sizeof file, "journal-%012llu", (unsigned long long)sequence);
    assert_string_equal(found.file, file);
    assert_true(found.offset <= offset);
    assert_true(found.reason[0] != '\0');
    /* A torn tail is only what nobody was told of. */
    assert_true(found.damaged || (sequence == extent->sequence && found.last == f->known.last));
}

static void test_bit_flips(void **state)
{
    struct fixture *f = *state;
    struct random chance = random_seeded(2026);
    struct extent extent;

    write_some(f);
    extent = measure(f);
    assert_true(extent.sequence > 5 && extent.sequence < 32);
    for (uint32_t i = 0; i < 4000; i++) {
        uint64_t sequence = 1 + random_below(&chance, extent.sequence);
        uint64_t offset = random_below(&chance, SMALL);
        uint8_t bit = (uint8_t)(1u << random_below(&chance, 8));

        if (i % 2) /* the last segment is where it may be torn */
            sequence = extent.sequence;
        flip(f, sequence, offset, bit);
        expect_found(f, &extent, sequence, offset);
        flip(f, sequence, offset, bit);
    }
}

/* A bad sector: what is before it is read, and it is named as damage, not as an error. */
static void test_unreadable(void **state)
{
    struct fixture *f = *state;
    struct segments_options options = disk_options(f->directory, &f->failing.files, SMALL);
    struct segments_visitor visitor;
    struct segments_found found;
    struct error error;
    bool reached = true;
    uint32_t damaged = 0;

    write_some(f);
    for (uint32_t at = 1; reached; at++) {
        failing_init(&f->failing, FAILING_ERROR, EIO, at);
        f->failing.times = UINT32_MAX / 2;
        visitor = shelf_visitor(&f->read);
        assert_int_equal(segments_read(&options, &visitor, &found, &error), ERROR_NONE);
        reached = failing_reached(&f->failing);
        damaged += found.damaged;
        assert_int_equal(found.damaged, reached);
        if (reached)
            assert_string_equal(found.reason, "the disk cannot read it");
        for (uint64_t i = found.first; i <= found.last; i++)
            assert_int_equal(f->read.token[i], f->known.token[i]);
    }
    assert_true(damaged > 10);
}

/* A request may hold what looks like a frame: it is not taken for one. */
static void test_frame_in_a_request(void **state)
{
    struct fixture *f = *state;
    struct segment_frame frame = { .salt = 12345, .synced = UINT64_MAX, .kind = FRAME_END };
    struct journal_record header = { .index = 1 };
    struct buffer group = { 0 };
    struct segments_found found;
    struct bytes piece;
    struct error error;

    failing_init(&f->failing, FAILING_ERROR, 0, 0);
    f->known = f->before = (struct shelf){ .first = 1 };
    assert_int_equal(start(f, &error), ERROR_NONE);
    segment_frame_seal(&frame, SEGMENT_HEADER_BYTES + sizeof frame + sizeof header);
    journal_record_pack(&group, &header, bytes_of(&frame, sizeof frame));
    piece = buffer_bytes(&group);
    assert_int_equal(segments_write(f->segments, &piece, 1, &error), ERROR_NONE);
    segments_close(f->segments);
    f->segments = NULL;
    flip(f, 1, SEGMENT_HEADER_BYTES + 40, 1);
    found = disk_read(f->directory, &f->read);
    assert_false(found.damaged);
    assert_int_equal(found.last, 0);
    assert_int_equal(found.torn_bytes, sizeof frame);
    buffer_free(&group);
}

#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(test_errors),
        test(test_no_room_once),
        test(test_no_room_for_a_while),
        test(test_interrupted),
        test(test_short),
        test(test_half_a_write),
        test(test_half_a_write_no_room),
        test(test_pieces_of_a_failed_write),
        test(test_bit_flips),
        test(test_unreadable),
        test(test_frame_in_a_request),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
