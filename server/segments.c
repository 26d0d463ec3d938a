/* Writing the segments: frames behind one another, and one segment after another. */
#include "server/segments.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/uio.h>

#include "common/random.h"
#include "server/segment_format.h"

#define NAME_BYTES     64u /* of a file's name with its end */
#define PATH_SIZE      ((size_t)PATH_MAX)
#define REWRITE_BYTES  ((size_t)256 * 1024)
#define DIRECTORY_SIZE (PATH_SIZE - NAME_BYTES)
#define ZEROS_BYTES    (256u << 10) /* written ahead of the frames, up to a multiple of it */
/* A frame that proves a group may end behind the multiple that the group itself ends before. */
#define ZEROS_BYTES_MAX (ZEROS_BYTES + sizeof(struct segment_frame))

/* A file that holds entries, or waits to be used again. */
struct segment {
    uint64_t sequence; /* in its name */
    uint64_t bytes;
    uint64_t last; /* no entry in it that still counts has a higher index */
};

struct segment_list {
    struct segment *items;
    size_t count, capacity;
};

struct segments {
    struct segments_options options;
    char directory[DIRECTORY_SIZE];
    struct segment_list live; /* oldest first; the last one is being written */
    struct segment_list spare;

    int fd; /* of the segment being written, -1: none yet */
    char path[PATH_SIZE];
    uint64_t salt;
    uint64_t offset; /* where the next frame goes */
    uint64_t synced; /* all before it is safe */
    uint64_t filled; /* all before it was written once: to sync that again takes no metadata */
    bool ended;      /* it is closed: the next frame needs a new segment */
    bool torn;       /* behind offset lie pieces of frames that do not count: it must be closed */
    bool failed;     /* a call failed and left us not knowing what is on the disk */
    uint64_t last;   /* index of the last entry */

    struct segment_frame *frames; /* of the group being written */
    struct iovec *vectors;
    size_t capacity; /* pieces for which there is room in both */
    uint8_t *zeros;  /* ZEROS_BYTES_MAX */
};

/* ---- Lists and names ---- */

static void list_add(struct segment_list *list, struct segment segment)
{
    if (!list->items || list->count == list->capacity) {
        list->capacity = list->capacity ? 2 * list->capacity : 16;
        list->items = memory_grown(list->items, list->capacity * sizeof *list->items);
    }
    list->items[list->count++] = segment;
}

static struct segment list_take(struct segment_list *list, size_t at)
{
    struct segment taken = list->items[at];

    list->count--;
    memmove(list->items + at, list->items + at + 1, (list->count - at) * sizeof *list->items);
    return taken;
}

static uint64_t list_bytes(const struct segment_list *list)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < list->count; i++)
        bytes += list->items[i].bytes;
    return bytes;
}

static void path_of(const struct segments *s, const char *prefix, uint64_t sequence,
                    const char *suffix, char *path)
{
    char name[NAME_BYTES];

    files_name(name, sizeof name, prefix, sequence, suffix);
    (void)snprintf(path, PATH_SIZE, "%s/%s", s->directory, name);
}

static struct segment *current(const struct segments *s)
{
    return s->live.count ? &s->live.items[s->live.count - 1] : NULL;
}

/* What follows on an error that leaves the disk unknown: nothing is taken any more. */
static enum error_code give_up(struct segments *s, const struct error *error)
{
    if (error->code != ERROR_LIMIT)
        s->failed = true;
    return error->code;
}

static enum error_code refuse_failed(const struct segments *s, struct error *error)
{
    return error_set(error, ERROR_SYSTEM,
                     "%s takes no more entries: an earlier write or sync failed", s->path);
}

/* ---- Syncing ---- */

static enum error_code sync_folder(struct segments *s, struct error *error)
{
    if (files_sync_folder(s->options.files, s->directory, error) != ERROR_NONE)
        return give_up(s, error);
    return ERROR_NONE;
}

/* ---- From one segment to the next ---- */

static enum error_code draw_salt(const struct segments *s, uint64_t sequence, uint64_t *salt,
                                 struct error *error)
{
    struct random chance = random_seeded(s->options.seed ^ sequence << 32);

    *salt = s->options.seed ? random_next(&chance) : 0;
    while (*salt == 0) /* zeros are what an unused place holds */
        if (getrandom(salt, sizeof *salt, 0) != (ssize_t)sizeof *salt && errno != EINTR)
            return error_system(error, "cannot draw a random number for %s", s->directory);
    return ERROR_NONE;
}

/* Writes one frame without records. */
static enum error_code write_mark(struct segments *s, struct segment_frame frame,
                                  struct error *error)
{
    struct iovec vector = { &frame, sizeof frame };

    frame.salt = s->salt;
    frame.synced = s->synced;
    segment_frame_seal(&frame, s->offset);
    if (files_write(s->options.files, s->fd, s->path, &vector, 1, s->offset, error) != ERROR_NONE) {
        s->torn = true;
        return give_up(s, error);
    }
    return ERROR_NONE;
}

/* Nothing is ever found behind an end frame. */
static enum error_code end_segment(struct segments *s, struct error *error)
{
    if (write_mark(s, (struct segment_frame){ .kind = FRAME_END }, error) != ERROR_NONE)
        return error->code;
    if (files_sync(s->options.files, s->fd, s->path, error) != ERROR_NONE)
        return give_up(s, error);
    s->synced = s->offset;
    s->ended = true;
    s->torn = false;
    return ERROR_NONE;
}

/* The next frame takes its place. */
static enum error_code write_proof(struct segments *s, struct error *error)
{
    enum error_code code = ERROR_NONE;

    if (s->torn && !s->ended)
        code = end_segment(s, error);
    else if (!s->ended)
        code = write_mark(s, (struct segment_frame){ .kind = FRAME_SYNCED }, error);
    return code == ERROR_LIMIT ? ERROR_NONE : code; /* it is safe all the same */
}

enum error_code segments_sync(struct segments *s, struct error *error)
{
    if (s->failed)
        return refuse_failed(s, error);
    if (s->fd < 0 || s->synced == s->offset)
        return ERROR_NONE;
    if (files_sync(s->options.files, s->fd, s->path, error) != ERROR_NONE)
        return give_up(s, error);
    s->synced = s->offset;
    return write_proof(s, error);
}

enum error_code segments_finish(struct segments *s, struct error *error)
{
    if (segments_sync(s, error) != ERROR_NONE)
        return error->code;
    if (s->fd < 0 || s->ended)
        return ERROR_NONE;
    if (s->torn)
        return end_segment(s, error);
    if (files_sync(s->options.files, s->fd, s->path, error) != ERROR_NONE)
        return give_up(s, error);
    return ERROR_NONE;
}

/* Opens a spare, or makes a new file. */
static enum error_code open_file(struct segments *s, const char *path, uint64_t bytes, bool made,
                                 int *fd, struct error *error)
{
    const struct files *files = s->options.files;

    if (files_open(files, path, made ? O_RDWR | O_CREAT | O_TRUNC : O_RDWR, fd, error) !=
        ERROR_NONE)
        return error->code;
    if (files_allocate(files, *fd, path, bytes, error) != ERROR_NONE) {
        (void)files->close(files->context, *fd);
        if (made)
            (void)files->unlink(files->context, path); /* a full disk needs every block */
        return error->code;
    }
    return ERROR_NONE;
}

static enum error_code write_header(struct segments *s, int fd, const char *path, uint64_t sequence,
                                    uint64_t salt, struct error *error)
{
    uint8_t zeros[SEGMENT_HEADER_BYTES] = { 0 };
    struct segment_header header = { .sequence = sequence, .salt = salt, .last = s->last };
    struct iovec vectors[] = { { &header, sizeof header },
                               { zeros, sizeof zeros - sizeof header } };

    (void)snprintf(header.cluster, sizeof header.cluster, "%s", s->options.cluster);
    segment_header_seal(&header);
    if (files_write(s->options.files, fd, path, vectors, 2, 0, error) != ERROR_NONE)
        return error->code;
    return files_sync(s->options.files, fd, path, error);
}

/* Makes a file at path_old the segment to write: from the rename on it counts. What is reserved
 * only reads as zeros; `filled` says how far it was written. */
static enum error_code enter_segment(struct segments *s, const char *path_old, int fd,
                                     uint64_t sequence, uint64_t filled, struct error *error)
{
    const struct files *files = s->options.files;
    char path[PATH_SIZE];
    uint64_t salt;

    path_of(s, SEGMENT_PREFIX, sequence, "", path);
    if (draw_salt(s, sequence, &salt, error) != ERROR_NONE ||
        write_header(s, fd, path_old, sequence, salt, error) != ERROR_NONE ||
        files_rename(files, path_old, path, error) != ERROR_NONE)
        return error->code;
    if (s->fd >= 0)
        (void)files->close(files->context, s->fd); /* it is synced: nothing can be lost */
    memcpy(s->path, path, sizeof s->path);
    s->fd = fd;
    s->salt = salt;
    s->offset = s->synced = SEGMENT_HEADER_BYTES;
    s->filled = filled;
    s->ended = s->torn = false;
    return ERROR_NONE;
}

/* Above all in use, so that no name is ever used twice. */
static uint64_t next_sequence(const struct segments *s)
{
    uint64_t highest = current(s) ? current(s)->sequence : 0;

    for (size_t i = 0; i < s->spare.count; i++)
        if (s->spare.items[i].sequence > highest)
            highest = s->spare.items[i].sequence;
    return highest + 1;
}

static enum error_code begin_segment(struct segments *s, uint64_t bytes, struct error *error)
{
    const struct files *files = s->options.files;
    const uint64_t sequence = next_sequence(s);
    bool made = s->spare.count == 0 || bytes != s->options.segment_bytes;
    char path[PATH_SIZE];
    int fd;

    if (made)
        path_of(s, SEGMENT_PREFIX, sequence, NEW_SUFFIX, path);
    else
        path_of(s, SPARE_PREFIX, s->spare.items[0].sequence, "", path);
    if (open_file(s, path, bytes, made, &fd, error) != ERROR_NONE)
        return give_up(s, error);
    if (enter_segment(s, path, fd, sequence, made ? SEGMENT_HEADER_BYTES : bytes, error) !=
        ERROR_NONE) {
        (void)files->close(files->context, fd);
        if (made)
            (void)files->unlink(files->context, path);
        return give_up(s, error);
    }
    if (!made)
        (void)list_take(&s->spare, 0);
    if (current(s))
        current(s)->last = s->last;
    list_add(&s->live, (struct segment){ .sequence = sequence, .bytes = bytes });
    return sync_folder(s, error);
}

/* Sees to it that so many bytes of frames, and an end frame, fit behind the offset. */
static enum error_code make_room(struct segments *s, uint64_t size, struct error *error)
{
    const uint64_t frame = sizeof(struct segment_frame);
    uint64_t bytes = SEGMENT_HEADER_BYTES + size + frame;

    if (s->fd >= 0) {
        if (!s->ended && !s->torn && s->offset + size + frame <= current(s)->bytes)
            return ERROR_NONE;
        if (!s->ended && end_segment(s, error) != ERROR_NONE)
            return error->code;
    }
    if (bytes < s->options.segment_bytes)
        bytes = s->options.segment_bytes;
    return begin_segment(s, bytes, error);
}

/* ---- Opening ---- */

static enum error_code read_header(struct segments *s, int fd, const char *path,
                                   struct segment_header *header, uint64_t *bytes,
                                   struct error *error)
{
    size_t got;

    if (files_read(s->options.files, fd, path, header, sizeof *header, 0, &got, error) !=
            ERROR_NONE ||
        files_size(s->options.files, fd, path, bytes, error) != ERROR_NONE)
        return error->code;
    if (got < sizeof *header || !segment_header_sound(header))
        return error_set(error, ERROR_REFUSED, "the header of %s is not sound any more", path);
    return ERROR_NONE;
}

/* Adds a file found; the last one stays open to be written. */
static enum error_code add_live(struct segments *s, uint64_t sequence, bool writes,
                                struct error *error)
{
    const struct files *files = s->options.files;
    struct segment_header header;
    enum error_code code;
    uint64_t bytes;
    int fd;

    path_of(s, SEGMENT_PREFIX, sequence, "", s->path);
    if (files_open(files, s->path, writes ? O_RDWR : O_RDONLY, &fd, error) != ERROR_NONE)
        return error->code;
    code = read_header(s, fd, s->path, &header, &bytes, error);
    if (code == ERROR_NONE) {
        if (current(s))
            current(s)->last = header.last < s->last ? header.last : s->last;
        list_add(&s->live, (struct segment){ .sequence = sequence, .bytes = bytes });
        s->salt = header.salt;
    }
    if (code == ERROR_NONE && writes)
        s->fd = fd;
    else
        (void)files->close(files->context, fd);
    return code;
}

static enum error_code add_all_live(struct segments *s, const struct segments_found *found,
                                    struct error *error)
{
    uint64_t *sequences;
    size_t count;
    enum error_code code = files_list(s->directory, SEGMENT_PREFIX, "", &sequences, &count, error);

    if (code == ERROR_NONE && (count ? sequences[count - 1] : 0) != found->sequence)
        code =
            error_set(error, ERROR_REFUSED,
                      "%s: the segments are not those that were read: found one numbered %" PRIu64
                      ", expected %" PRIu64,
                      s->directory, count ? sequences[count - 1] : 0, found->sequence);
    for (size_t i = 0; i < count && code == ERROR_NONE; i++)
        code = add_live(s, sequences[i], i + 1 == count, error);
    free(sequences);
    return code;
}

static enum error_code add_spare(struct segments *s, uint64_t sequence, struct error *error)
{
    const struct files *files = s->options.files;
    struct segment spare = { .sequence = sequence };
    enum error_code code;
    char path[PATH_SIZE];
    int fd;

    path_of(s, SPARE_PREFIX, sequence, "", path);
    if (s->spare.count == SEGMENTS_SPARE_MAX)
        return files_unlink(files, path, error);
    if (files_open(files, path, O_RDONLY, &fd, error) != ERROR_NONE)
        return error->code;
    code = files_size(files, fd, path, &spare.bytes, error);
    (void)files->close(files->context, fd);
    if (code != ERROR_NONE)
        return code;
    if (spare.bytes > s->options.segment_bytes)
        return files_unlink(files, path, error);
    list_add(&s->spare, spare);
    return ERROR_NONE;
}

static enum error_code add_all_spares(struct segments *s, struct error *error)
{
    uint64_t *sequences;
    size_t count;
    enum error_code code = files_list(s->directory, SPARE_PREFIX, "", &sequences, &count, error);

    for (size_t i = 0; i < count && code == ERROR_NONE; i++)
        code = add_spare(s, sequences[i], error);
    free(sequences);
    return code;
}

/* Files that were not finished. */
static enum error_code remove_leftovers(struct segments *s, struct error *error)
{
    uint64_t *sequences;
    size_t count;
    enum error_code code =
        files_list(s->directory, SEGMENT_PREFIX, NEW_SUFFIX, &sequences, &count, error);
    char path[PATH_SIZE];

    for (size_t i = 0; i < count && code == ERROR_NONE; i++) {
        path_of(s, SEGMENT_PREFIX, sequences[i], NEW_SUFFIX, path);
        code = files_unlink(s->options.files, path, error);
    }
    free(sequences);
    return code;
}

/* Writes what is there to where it is, so that a sync has to put it on the disk. */
static enum error_code rewrite(struct segments *s, uint64_t from, uint64_t to, struct error *error)
{
    const struct files *files = s->options.files;
    enum error_code code = ERROR_NONE;
    uint8_t *bytes = memory_take(REWRITE_BYTES);

    while (from < to && code == ERROR_NONE) {
        struct iovec vector = { bytes, to - from < REWRITE_BYTES ? to - from : REWRITE_BYTES };
        size_t size = vector.iov_len, got;

        code = files_read(files, s->fd, s->path, bytes, size, from, &got, error);
        if (code == ERROR_NONE && got < size)
            code = error_set(error, ERROR_SYSTEM, "%s has become shorter", s->path);
        if (code == ERROR_NONE)
            code = files_write(files, s->fd, s->path, &vector, 1, from, error);
        from += size;
    }
    free(bytes);
    return code;
}

static enum error_code continue_segment(struct segments *s, const struct segments_found *found,
                                        struct error *error)
{
    uint64_t end = found->end + (found->ended ? sizeof(struct segment_frame) : 0);

    s->offset = s->filled = found->end;
    s->ended = found->ended;
    s->torn = found->torn_bytes > 0;
    if (rewrite(s, found->synced, end, error) != ERROR_NONE ||
        sync_folder(s, error) != ERROR_NONE ||
        files_sync(s->options.files, s->fd, s->path, error) != ERROR_NONE)
        return error->code;
    s->synced = s->offset;
    return s->torn ? ERROR_NONE : write_proof(s, error); /* it is cut when something is written */
}

enum error_code segments_open(struct segments **segments, const struct segments_options *options,
                              const struct segments_found *found, struct error *error)
{
    struct segments *s;
    enum error_code code;

    if (found->damaged)
        return error_set(error, ERROR_REFUSED, "%s/%s is damaged at offset %" PRIu64 ": %s",
                         options->directory, found->file, found->offset, found->reason);
    if (strlen(options->directory) >= DIRECTORY_SIZE)
        return error_set(error, ERROR_SYSTEM, "the path of the folder %.64s… is too long",
                         options->directory);
    s = memory_zeroed(1, sizeof *s);
    s->zeros = memory_zeroed(1, ZEROS_BYTES_MAX);
    s->options = *options;
    if (s->options.segment_bytes == 0)
        s->options.segment_bytes = SEGMENT_BYTES;
    memcpy(s->directory, options->directory, strlen(options->directory) + 1);
    s->fd = -1;
    s->last = found->last;
    code = remove_leftovers(s, error);
    if (code == ERROR_NONE)
        code = add_all_spares(s, error);
    if (code == ERROR_NONE)
        code = add_all_live(s, found, error);
    if (code == ERROR_NONE)
        code = s->fd < 0 ? begin_segment(s, s->options.segment_bytes, error)
                         : continue_segment(s, found, error);
    if (code != ERROR_NONE) {
        segments_close(s);
        return code;
    }
    *segments = s;
    return ERROR_NONE;
}

void segments_close(struct segments *s)
{
    if (s->fd >= 0)
        (void)s->options.files->close(s->options.files->context, s->fd);
    free(s->live.items);
    free(s->spare.items);
    free(s->frames);
    free(s->vectors);
    free(s->zeros);
    free(s);
}

/* ---- Writing ---- */

static void reserve(struct segments *s, size_t pieces)
{
    if (pieces <= s->capacity)
        return;
    s->capacity = 2 * pieces;
    s->frames = memory_grown(s->frames, s->capacity * sizeof *s->frames);
    s->vectors = memory_grown(s->vectors, (2 * s->capacity + 1) * sizeof *s->vectors);
}

/* Counts the records of a piece into a frame; *last is the index of the record before it. */
static void count_records(struct segment_frame *frame, struct bytes piece, uint64_t *last)
{
    struct journal_record header;

    for (size_t at = 0; at < piece.size; at += header.size) {
        assert(piece.size - at >= sizeof header);
        memcpy(&header, piece.data + at, sizeof header);
        assert(header.size >= sizeof header && header.size <= piece.size - at);
        if (frame->first == 0)
            frame->first = header.index;
        assert(*last == 0 || header.index == *last + 1);
        *last = frame->last = header.index;
        frame->records_crc = segment_records_crc(frame->records_crc, &header);
    }
    frame->size += (uint32_t)piece.size;
}

/* Arranges the pieces in frames; *count is how many vectors they take. Returns the bytes. */
static uint64_t arrange(struct segments *s, const struct bytes *pieces, size_t *count)
{
    struct segment_frame *frame = NULL;
    uint64_t last = 0, bytes = 0;
    size_t vectors = 0, frames = 0;

    for (size_t i = 0; i < *count; i++) {
        assert(pieces[i].size <= 1u << 30);
        if (pieces[i].size == 0)
            continue;
        if (!frame || frame->size + pieces[i].size > FRAME_BYTES_MAX) {
            frame = &s->frames[frames++];
            *frame = (struct segment_frame){ .kind = FRAME_RECORDS };
            s->vectors[vectors++] = (struct iovec){ frame, sizeof *frame };
            bytes += sizeof *frame;
        }
        count_records(frame, pieces[i], &last);
        s->vectors[vectors++] = (struct iovec){ (void *)pieces[i].data, pieces[i].size };
        bytes += pieces[i].size;
    }
    *count = vectors;
    return bytes;
}

/* The frames know their place only when the segment is chosen. Returns the last index. */
static uint64_t seal_frames(struct segments *s, uint64_t bytes)
{
    struct segment_frame *frame = s->frames;
    uint64_t offset = s->offset, end = s->offset + bytes, last = 0;

    for (; offset < end; frame++) {
        frame->salt = s->salt;
        frame->synced = s->synced;
        segment_frame_seal(frame, offset);
        offset += sizeof *frame + frame->size;
        last = frame->last;
    }
    return last;
}

/* Entries from index on are gone, so older segments hold none of them. */
static void forget_from(struct segments *s, uint64_t index)
{
    for (size_t i = 0; i + 1 < s->live.count; i++)
        if (s->live.items[i].last >= index)
            s->live.items[i].last = index - 1;
}

/* A place that is written for the first time takes a change of metadata to sync. So the group that
 * gets there writes zeros ahead, and those that follow only replace them, as does the frame that
 * proves it. Returns their number. */
static size_t add_zeros(struct segments *s, uint64_t end, size_t vectors)
{
    uint64_t proof_end = end + sizeof(struct segment_frame);
    uint64_t ahead = (proof_end / ZEROS_BYTES + 1) * ZEROS_BYTES;

    if (proof_end <= s->filled)
        return 0;
    if (ahead > current(s)->bytes)
        ahead = current(s)->bytes;
    assert(ahead - end <= ZEROS_BYTES_MAX);
    s->vectors[vectors] = (struct iovec){ s->zeros, ahead - end };
    return ahead - end;
}

enum error_code segments_write(struct segments *s, const struct bytes *pieces, size_t count,
                               struct error *error)
{
    uint64_t bytes, last, zeros;

    if (s->failed)
        return refuse_failed(s, error);
    reserve(s, count);
    bytes = arrange(s, pieces, &count);
    if (bytes == 0)
        return ERROR_NONE;
    assert(s->frames[0].first >= 1 && s->frames[0].first <= s->last + 1);
    if (make_room(s, bytes, error) != ERROR_NONE)
        return error->code;
    last = seal_frames(s, bytes);
    zeros = add_zeros(s, s->offset + bytes, count);
    if (files_write(s->options.files, s->fd, s->path, s->vectors, count + (zeros > 0), s->offset,
                    error) != ERROR_NONE) {
        s->torn = true;
        return give_up(s, error);
    }
    if (s->filled < s->offset + bytes + zeros)
        s->filled = s->offset + bytes + zeros;
    forget_from(s, s->frames[0].first);
    s->offset += bytes;
    s->last = last;
    return ERROR_NONE;
}

enum error_code segments_reset(struct segments *s, uint64_t index, uint64_t view,
                               struct error *error)
{
    struct segment_frame frame = { .kind = FRAME_RESET, .first = index, .last = view };

    if (s->failed)
        return refuse_failed(s, error);
    if (make_room(s, sizeof frame, error) != ERROR_NONE ||
        write_mark(s, frame, error) != ERROR_NONE)
        return error->code;
    forget_from(s, 1);
    s->offset += sizeof frame;
    s->last = index;
    return ERROR_NONE;
}

/* ---- Dropping ---- */

/* One at a time, and the folder synced before the next, so that no gap can appear. */
static enum error_code drop_oldest(struct segments *s, struct error *error)
{
    const struct files *files = s->options.files;
    struct segment *oldest = &s->live.items[0];
    char path[PATH_SIZE], path_spare[PATH_SIZE];
    bool keeps = s->spare.count < SEGMENTS_SPARE_MAX && oldest->bytes == s->options.segment_bytes;

    path_of(s, SEGMENT_PREFIX, oldest->sequence, "", path);
    path_of(s, SPARE_PREFIX, oldest->sequence, "", path_spare);
    if ((keeps ? files_rename(files, path, path_spare, error) : files_unlink(files, path, error)) !=
        ERROR_NONE)
        return error->code;
    if (keeps)
        list_add(&s->spare, *oldest);
    (void)list_take(&s->live, 0);
    return sync_folder(s, error);
}

enum error_code segments_drop(struct segments *s, uint64_t index, struct error *error)
{
    if (segments_sync(s, error) != ERROR_NONE)
        return error->code;
    while (s->live.count > 1 && s->live.items[0].last <= index)
        if (drop_oldest(s, error) != ERROR_NONE)
            return error->code;
    return ERROR_NONE;
}

uint64_t segments_bytes(const struct segments *s)
{
    return list_bytes(&s->live) + list_bytes(&s->spare);
}
