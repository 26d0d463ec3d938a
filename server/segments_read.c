/* Reading the segments: from the first to the last, without changing anything. */
#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/segment_format.h"

#define READ_BYTES        (256u << 10) /* asked of the system at once */
#define WINDOW_BYTES_KEPT (8u << 20)   /* memory kept after an unusually large frame */

enum reader_state {
    READER_SEGMENT, /* a segment is to be opened */
    READER_FRAMES,  /* at a frame */
    READER_SEARCH,  /* behind an unsound place, for what proves it to be damage */
    READER_DONE,
};

struct segments_reader {
    struct segments_options options;
    struct segments_visitor visitor;
    enum reader_state state;
    uint64_t *sequences;
    size_t count, at; /* segments, and which of them is being read */
    uint64_t bytes_total;

    int fd; /* of that segment, -1: none */
    char path[PATH_MAX];
    uint64_t salt;
    struct buffer window; /* what is read of it and not yet used */
    uint64_t position;    /* offset in the file of the window's first byte */
    bool at_end;          /* the window ends with the file */
    uint64_t unread;      /* bytes that the present step may still read */
    uint64_t trace_end;   /* while searching: end of the last trace of the torn group */

    struct segments_found found;
};

/* ---- Opening ---- */

static void path_of(const struct segments_reader *reader, uint64_t sequence, char *path,
                    size_t size)
{
    char name[64];

    files_name(name, sizeof name, SEGMENT_PREFIX, sequence, "");
    (void)snprintf(path, size, "%s/%s", reader->options.directory, name);
}

static enum error_code add_size(struct segments_reader *reader, uint64_t sequence,
                                struct error *error)
{
    const struct files *files = reader->options.files;
    enum error_code code;
    uint64_t size;
    int fd;

    path_of(reader, sequence, reader->path, sizeof reader->path);
    if (files_open(files, reader->path, O_RDONLY, &fd, error) != ERROR_NONE)
        return error->code;
    code = files_size(files, fd, reader->path, &size, error);
    if (code == ERROR_NONE)
        reader->bytes_total += size;
    (void)files->close(files->context, fd);
    return code;
}

enum error_code segments_reader_open(struct segments_reader **reader,
                                     const struct segments_options *options,
                                     const struct segments_visitor *visitor, struct error *error)
{
    struct segments_reader *r;
    enum error_code code;

    if (strlen(options->directory) + sizeof r->found.file >= sizeof r->path)
        return error_set(error, ERROR_SYSTEM, "the path of the folder %.64s… is too long",
                         options->directory);
    r = memory_zeroed(1, sizeof *r);
    r->options = *options;
    r->visitor = *visitor;
    r->fd = -1;
    r->found.first = 1;
    code = files_list(options->directory, SEGMENT_PREFIX, "", &r->sequences, &r->count, error);
    for (size_t i = 0; i < r->count && code == ERROR_NONE; i++) {
        code = add_size(r, r->sequences[i], error);
        if (code == ERROR_PROTOCOL)
            code = ERROR_NONE; /* it is met again */
    }
    if (code != ERROR_NONE) {
        segments_reader_close(r);
        return code;
    }
    r->state = r->count ? READER_SEGMENT : READER_DONE;
    *reader = r;
    return ERROR_NONE;
}

uint64_t segments_reader_bytes_total(const struct segments_reader *reader)
{
    return reader->bytes_total;
}

static void close_segment(struct segments_reader *reader)
{
    const struct files *files = reader->options.files;

    if (reader->fd >= 0)
        (void)files->close(files->context, reader->fd);
    reader->fd = -1;
    buffer_clear(&reader->window, WINDOW_BYTES_KEPT);
    reader->position = 0;
    reader->at_end = false;
}

void segments_reader_close(struct segments_reader *reader)
{
    close_segment(reader);
    buffer_free(&reader->window);
    free(reader->sequences);
    free(reader);
}

/* ---- The window ---- */

/* Reads until the window has size bytes, the file ends (*enough is true for both), or the step has
 * read what it may. */
static enum error_code fill(struct segments_reader *reader, uint64_t size, bool *enough,
                            struct error *error)
{
    while (!reader->at_end && buffer_size(&reader->window) < size && reader->unread) {
        size_t got;

        if (files_read(reader->options.files, reader->fd, reader->path,
                       buffer_reserve(&reader->window, READ_BYTES), READ_BYTES,
                       reader->position + buffer_size(&reader->window), &got, error) != ERROR_NONE)
            return error->code;
        buffer_commit(&reader->window, got);
        reader->at_end = got < READ_BYTES;
        reader->found.bytes += got;
        reader->unread -= reader->unread < got ? reader->unread : got;
    }
    *enough = reader->at_end || buffer_size(&reader->window) >= size;
    return ERROR_NONE;
}

static void consume(struct segments_reader *reader, size_t size)
{
    buffer_consume(&reader->window, size);
    reader->position += size;
    if (buffer_size(&reader->window) == 0)
        buffer_clear(&reader->window, WINDOW_BYTES_KEPT);
}

/* ---- What is wrong ---- */

static void describe(struct segments_reader *reader, uint64_t offset, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void describe(struct segments_reader *reader, uint64_t offset, const char *format, ...)
{
    struct segments_found *found = &reader->found;
    va_list arguments;

    files_name(found->file, sizeof found->file, SEGMENT_PREFIX, reader->sequences[reader->at], "");
    found->offset = offset;
    va_start(arguments, format);
    (void)vsnprintf(found->reason, sizeof found->reason, format, arguments);
    va_end(arguments);
}

static void become_damaged(struct segments_reader *reader)
{
    reader->found.damaged = true;
    reader->state = READER_DONE;
}

/* At the present position there is no sound frame, for the reason described. In the last segment
 * that is the end, unless it was sound once. */
static void become_unsound(struct segments_reader *reader)
{
    if (reader->at + 1 < reader->count) {
        become_damaged(reader);
        return;
    }
    reader->trace_end = reader->position;
    reader->state = READER_SEARCH;
}

/* ---- Segments ---- */

static enum error_code refuse_foreign(struct segments_reader *reader,
                                      const struct segment_header *header, struct error *error)
{
    if (header->version != SEGMENT_VERSION)
        return error_set(error, ERROR_REFUSED,
                         "%s has format %" PRIu32 ", this program reads format %u", reader->path,
                         header->version, SEGMENT_VERSION);
    if (reader->options.cluster &&
        strncmp(header->cluster, reader->options.cluster, NAME_SIZE) != 0)
        return error_set(error, ERROR_REFUSED,
                         "%s belongs to the cluster \"%.31s\", not to \"%.31s\"", reader->path,
                         header->cluster, reader->options.cluster);
    return ERROR_NONE;
}

/* Whether the header is what it must be at this place; describes what is wrong. */
static bool header_fits(struct segments_reader *reader, const struct segment_header *header)
{
    const struct segments_found *found = &reader->found;
    uint64_t sequence = reader->sequences[reader->at];

    if (header->sequence != sequence)
        describe(reader, 0, "the header is that of segment %" PRIu64, header->sequence);
    else if (reader->at && reader->sequences[reader->at - 1] + 1 != sequence)
        describe(reader, 0, "the segment before it, %" PRIu64 ", is missing", sequence - 1);
    else if (reader->at && header->last != found->last)
        describe(reader, 0,
                 "the header expects entry %" PRIu64
                 " to be the last before it, but that is %" PRIu64,
                 header->last, found->last);
    else
        return true;
    return false;
}

static void enter_segment(struct segments_reader *reader, const struct segment_header *header)
{
    struct segments_found *found = &reader->found;

    if (reader->at == 0) {
        found->last = header->last;
        found->first = header->last + 1;
    }
    reader->salt = header->salt;
    found->sequence = header->sequence;
    found->end = found->synced = SEGMENT_HEADER_BYTES;
    found->ended = false;
    consume(reader, SEGMENT_HEADER_BYTES);
    reader->state = READER_FRAMES;
}

static enum error_code tell_segment(struct segments_reader *reader, struct error *error)
{
    const char *name = strrchr(reader->path, '/') + 1;
    uint64_t size;

    if (!reader->visitor.segment)
        return ERROR_NONE;
    if (files_size(reader->options.files, reader->fd, reader->path, &size, error) != ERROR_NONE)
        return error->code;
    reader->visitor.segment(reader->visitor.context, name, reader->sequences[reader->at], size);
    return ERROR_NONE;
}

static enum error_code open_segment(struct segments_reader *reader, struct error *error)
{
    path_of(reader, reader->sequences[reader->at], reader->path, sizeof reader->path);
    if (files_open(reader->options.files, reader->path, O_RDONLY, &reader->fd, error) != ERROR_NONE)
        return error->code;
    return tell_segment(reader, error);
}

static enum error_code read_segment(struct segments_reader *reader, bool *enough,
                                    struct error *error)
{
    struct segment_header header;

    if (reader->fd < 0 && open_segment(reader, error) != ERROR_NONE)
        return error->code;
    if (fill(reader, SEGMENT_HEADER_BYTES, enough, error) != ERROR_NONE || !*enough)
        return error->code;
    if (buffer_size(&reader->window) < SEGMENT_HEADER_BYTES) {
        describe(reader, buffer_size(&reader->window),
                 "the file ends inside its header of %u bytes", SEGMENT_HEADER_BYTES);
        become_damaged(reader);
        return ERROR_NONE;
    }
    memcpy(&header, buffer_head(&reader->window), sizeof header);
    if (!segment_header_sound(&header)) {
        describe(reader, 0, "the checksum of the segment's header is wrong");
        become_damaged(reader);
    } else if (refuse_foreign(reader, &header, error) != ERROR_NONE) {
        return error->code;
    } else if (!header_fits(reader, &header)) {
        become_damaged(reader);
    } else {
        enter_segment(reader, &header);
    }
    return ERROR_NONE;
}

/* ---- Frames ---- */

/* Whether all records are sound, and those that the frame announces. */
static bool records_sound(struct segments_reader *reader, const struct segment_frame *frame,
                          struct bytes records)
{
    const size_t size = records.size;
    struct journal_record header;
    struct bytes record;
    uint64_t index = frame->first;
    uint32_t crc = 0;
    bool sound;

    while (journal_record_next(&records, &header, &record, &sound)) {
        if (header.index != index)
            sound = false;
        if (!sound)
            break;
        crc = segment_records_crc(crc, &header);
        index++;
    }
    if (!sound)
        describe(reader, reader->position + sizeof *frame + (size - records.size),
                 "the record of entry %" PRIu64 " is not sound", index);
    else if (index != frame->last + 1 || crc != frame->records_crc)
        describe(reader, reader->position,
                 "the records are not those that the frame announces, %" PRIu64 " to %" PRIu64,
                 frame->first, frame->last);
    else
        return true;
    return false;
}

static void tell_frame(const struct segments_reader *reader, const struct segment_frame *frame)
{
    if (reader->visitor.frame)
        reader->visitor.frame(reader->visitor.context, frame, reader->position);
}

static void deliver(struct segments_reader *reader, const struct segment_frame *frame,
                    struct bytes records)
{
    struct segments_found *found = &reader->found;
    struct journal_record header;

    if (found->first <= found->last && frame->first <= found->last)
        reader->visitor.truncate(reader->visitor.context, frame->first - 1);
    if (frame->first < found->first)
        found->first = frame->first;
    for (size_t at = 0; at < records.size; at += header.size) {
        memcpy(&header, records.data + at, sizeof header);
        reader->visitor.record(reader->visitor.context, &header,
                               bytes_of(records.data + at, header.size));
        found->records++;
    }
    found->last = frame->last;
}

static void read_records(struct segments_reader *reader, const struct segment_frame *frame)
{
    struct bytes records = bytes_of(buffer_head(&reader->window) + sizeof *frame, frame->size);

    if (!records_sound(reader, frame, records)) {
        become_unsound(reader);
        return;
    }
    /* What is in order on the disk and not in itself was never written by us. */
    if (frame->first <= reader->found.reset_index || frame->first > reader->found.last + 1) {
        describe(reader, reader->position, "entry %" PRIu64 " follows on entry %" PRIu64,
                 frame->first, reader->found.last);
        become_damaged(reader);
        return;
    }
    tell_frame(reader, frame);
    deliver(reader, frame, records);
    consume(reader, sizeof *frame + frame->size);
}

static void read_reset(struct segments_reader *reader, const struct segment_frame *frame)
{
    struct segments_found *found = &reader->found;

    tell_frame(reader, frame);
    found->reset_index = found->last = frame->first;
    found->first = frame->first + 1;
    found->reset_view = frame->last;
    reader->visitor.reset(reader->visitor.context, frame->first, frame->last);
    consume(reader, sizeof *frame);
}

static void read_end(struct segments_reader *reader, const struct segment_frame *frame)
{
    tell_frame(reader, frame);
    reader->found.end = reader->position;
    reader->found.ended = true;
    close_segment(reader);
    reader->at++;
    reader->state = reader->at < reader->count ? READER_SEGMENT : READER_DONE;
}

/* Writing goes on in its place: what lies behind it is of groups that were not finished. */
static void read_synced(struct segments_reader *reader, const struct segment_frame *frame)
{
    tell_frame(reader, frame);
    describe(reader, reader->position, "behind the last group that was synced");
    become_unsound(reader);
    consume(reader, sizeof *frame);
}

static void read_sound_frame(struct segments_reader *reader, const struct segment_frame *frame)
{
    reader->found.synced = frame->synced;
    switch (frame->kind) {
    case FRAME_RECORDS: read_records(reader, frame); break;
    case FRAME_RESET: read_reset(reader, frame); break;
    case FRAME_END: read_end(reader, frame); break;
    case FRAME_SYNCED: read_synced(reader, frame); break;
    default:
        describe(reader, reader->position, "a frame of the unknown kind %" PRIu32, frame->kind);
        become_damaged(reader);
        break;
    }
    if (reader->state == READER_FRAMES)
        reader->found.end = reader->position;
}

static enum error_code read_frame(struct segments_reader *reader, bool *enough, struct error *error)
{
    struct segment_frame frame = { 0 };
    uint64_t size = sizeof frame;

    if (fill(reader, size, enough, error) != ERROR_NONE || !*enough)
        return error->code;
    if (buffer_size(&reader->window) >= size) {
        memcpy(&frame, buffer_head(&reader->window), sizeof frame);
        if (!segment_frame_sound(&frame, reader->salt, reader->position)) {
            describe(reader, reader->position, "there is no sound frame");
            become_unsound(reader);
            return ERROR_NONE;
        }
        size += frame.size;
        if (fill(reader, size, enough, error) != ERROR_NONE || !*enough)
            return error->code;
    }
    if (buffer_size(&reader->window) < size) {
        describe(reader, reader->position, "the file ends before its end frame");
        become_unsound(reader);
        return ERROR_NONE;
    }
    read_sound_frame(reader, &frame);
    return ERROR_NONE;
}

/* ---- Torn, or damaged? ---- */

/* Looks at a frame, or what remains of it, behind the end. */
static void search_trace(struct segments_reader *reader, const struct segment_frame *frame,
                         uint64_t offset)
{
    uint64_t reaches = offset + sizeof *frame;

    if (!segment_frame_trace(frame, reader->salt, offset))
        return;
    if (segment_frame_sound(frame, reader->salt, offset)) {
        reaches += frame->size;
        if (frame->synced > reader->found.end) {
            become_damaged(reader);
            return;
        }
    }
    if (reaches > reader->trace_end)
        reader->trace_end = reaches;
}

static void search_window(struct segments_reader *reader)
{
    const uint8_t *head = buffer_head(&reader->window);
    const size_t size = buffer_size(&reader->window);
    size_t at = 0;

    for (; reader->state == READER_SEARCH && size - at >= sizeof(struct segment_frame); at += 8) {
        struct segment_frame frame;

        memcpy(&frame.salt, head + at + offsetof(struct segment_frame, salt), sizeof frame.salt);
        if (frame.salt != reader->salt && reader->position + at != reader->found.end)
            continue;
        memcpy(&frame, head + at, sizeof frame);
        search_trace(reader, &frame, reader->position + at);
    }
    consume(reader, at);
}

static void search_end(struct segments_reader *reader)
{
    struct segments_found *found = &reader->found;

    reader->state = READER_DONE;
    found->torn_bytes = reader->trace_end - found->end;
    if (found->torn_bytes == 0) { /* nothing was begun behind the end */
        found->file[0] = found->reason[0] = '\0';
        found->offset = 0;
    }
}

static enum error_code search(struct segments_reader *reader, bool *enough, struct error *error)
{
    search_window(reader);
    if (reader->state == READER_DONE)
        return ERROR_NONE;
    if (reader->at_end && buffer_size(&reader->window) < sizeof(struct segment_frame)) {
        search_end(reader);
        return ERROR_NONE;
    }
    return fill(reader, READ_BYTES, enough, error);
}

/* ---- All of it ---- */

/* What the disk cannot give back is damaged, whatever may be behind it. */
static enum error_code become_unreadable(struct segments_reader *reader, struct error *error)
{
    describe(reader, reader->position + buffer_size(&reader->window), "the disk cannot read it");
    become_damaged(reader);
    return error->code = ERROR_NONE;
}

enum error_code segments_reader_step(struct segments_reader *reader, size_t bytes_max, bool *done,
                                     struct segments_found *found, struct error *error)
{
    enum error_code code = ERROR_NONE;
    bool enough = true;

    assert(bytes_max > 0);
    error->code = ERROR_NONE;
    reader->unread = bytes_max;
    while (code == ERROR_NONE && enough && reader->state != READER_DONE) {
        switch (reader->state) {
        case READER_SEGMENT: code = read_segment(reader, &enough, error); break;
        case READER_FRAMES: code = read_frame(reader, &enough, error); break;
        case READER_SEARCH: code = search(reader, &enough, error); break;
        case READER_DONE: break;
        }
        if (code == ERROR_PROTOCOL)
            code = become_unreadable(reader, error);
    }
    *done = reader->state == READER_DONE;
    *found = reader->found;
    return code;
}

enum error_code segments_read(const struct segments_options *options,
                              const struct segments_visitor *visitor, struct segments_found *found,
                              struct error *error)
{
    struct segments_reader *reader = NULL;
    enum error_code code = segments_reader_open(&reader, options, visitor, error);
    bool done = false;

    if (code != ERROR_NONE)
        return code;
    assert(reader);
    while (code == ERROR_NONE && !done)
        code = segments_reader_step(reader, SIZE_MAX, &done, found, error);
    segments_reader_close(reader);
    return code;
}
