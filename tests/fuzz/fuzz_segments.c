/* Reading the journal on disk, with checksums off: what is delivered makes sense, and a journal
 * that is not damaged can be written on, and then holds what it held and what was written.
 *
 * An input is u16 bytes of the first segment, its header and frames, and those of the second. */
#include <stdio.h>

#include "server/inspect.h"
#include "server/segment_format.h"
#include "tests/fuzz/fuzz.h"

/* What a reader was told, as one number. */
struct told {
    uint64_t first, last; /* entries; none: last + 1 = first */
    bool any;
    uint64_t sums[4096]; /* of entries first …, for those that are taken back */
};

static uint64_t mixed(uint64_t sum, struct bytes bytes)
{
    for (size_t i = 0; i < bytes.size; i++)
        sum = (sum ^ bytes.data[i]) * 0x100000001b3u;
    return sum;
}

static void on_reset(void *context, uint64_t index, uint64_t view)
{
    struct told *told = context;

    (void)view;
    *told = (struct told){ .first = index + 1, .last = index, .any = true };
}

static void on_truncate(void *context, uint64_t last)
{
    struct told *told = context;

    assert(told->any && last < told->last);
    if (last + 1 < told->first)
        told->first = last + 1;
    told->last = last;
}

static void on_record(void *context, const struct journal_record *header, struct bytes record)
{
    struct told *told = context;

    if (!told->any)
        told->first = header->index;
    else
        assert(header->index == told->last + 1);
    assert(header->size == record.size);
    told->any = true;
    told->last = header->index;
    assert(header->index - told->first < sizeof told->sums / sizeof told->sums[0]);
    told->sums[header->index - told->first] = mixed(0, record);
}

/* False: it is of another format, or of two clusters. */
static bool read_journal(struct told *told, struct segments_found *found, const char *directory)
{
    struct segments_options options = { .directory = directory, .files = &files_system };
    struct segments_visitor visitor = {
        .reset = on_reset, .truncate = on_truncate, .record = on_record, .context = told
    };
    struct error error;
    enum error_code code;

    memset(told, 0, sizeof *told);
    code = segments_read(&options, &visitor, found, &error);
    assert(code == ERROR_NONE || (code == ERROR_REFUSED && error.text[0]));
    assert(code != ERROR_NONE || !found->damaged || found->reason[0]);
    return code == ERROR_NONE;
}

/* One more entry behind what was found. False: it refuses, for the journal is at its end. */
static bool write_on(const struct segments_found *found, const char *directory)
{
    struct segments_options options = { .directory = directory,
                                        .files = &files_system,
                                        .cluster = "three",
                                        .segment_bytes = 8192,
                                        .seed = 1 };
    struct journal_record header = { .index = found->last + 1, .view = 9 };
    struct buffer record = { 0 };
    struct segments *segments;
    struct bytes piece;
    struct error error;
    bool written;

    if (found->last >> 62) /* nothing comes after it */
        return false;
    if (segments_open(&segments, &options, found, &error) != ERROR_NONE)
        return false;
    journal_record_pack(&record, &header, bytes_string("more"));
    piece = buffer_bytes(&record);
    written = segments_write(segments, &piece, 1, &error) == ERROR_NONE &&
              segments_sync(segments, &error) == ERROR_NONE;
    assert(written);
    segments_close(segments);
    buffer_free(&record);
    return true;
}

static void check_written(const struct told *before, const struct segments_found *found,
                          const char *directory)
{
    static struct told after;
    struct segments_found found_after;
    uint64_t count = before->any ? before->last + 1 - before->first : 0;
    bool sound = read_journal(&after, &found_after, directory);

    assert(sound && !found_after.damaged); /* what looks torn is cut again */
    assert(found_after.last == found->last + 1 && after.last == found->last + 1);
    if (count)
        assert(after.first == before->first &&
               memcmp(after.sums, before->sums, count * sizeof after.sums[0]) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct told told;
    struct bytes input = bytes_of(data, size);
    struct bytes first = input_piece(&input);
    const char *directory = scratch_folder();
    struct segments_found found;
    FILE *nowhere = fopen("/dev/null", "we");

    scratch_empty();
    scratch_file("journal-000000000001", input_bytes(&first, sizeof(struct segment_header)),
                 SEGMENT_HEADER_BYTES, first);
    if (input.size)
        scratch_file("journal-000000000002", input_bytes(&input, sizeof(struct segment_header)),
                     SEGMENT_HEADER_BYTES, input);
    assert(nowhere);
    (void)inspect_directory(directory, true, nowhere);
    (void)fclose(nowhere);
    if (read_journal(&told, &found, directory) && !found.damaged && write_on(&found, directory))
        check_written(&told, &found, directory);
    return 0;
}
