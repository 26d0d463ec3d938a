#include "server/checkpoint_file.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "common/crc32c.h"

#define CHECKPOINT_PREFIX  "checkpoint-"
#define CHANGES_PREFIX     "changes-"
#define NEW_SUFFIX         ".new" /* of one that is being written */
#define CHECKPOINT_VERSION 2u
#define NAME_BYTES         64u /* of a file's name with its end */
#define PATH_SIZE          ((size_t)PATH_MAX)
#define DIRECTORY_SIZE     (PATH_SIZE - NAME_BYTES)

/* Synced whenever so much is written, so that the disk is never long busy with a checkpoint. */
#define SYNC_BYTES (1u << 20)

struct file_header {
    uint8_t magic[8];
    uint32_t crc; /* CRC-32C of what follows in this struct */
    uint32_t version;
    uint64_t index, view, time_us, digest;
    uint64_t base; /* 0: the whole state */
    char cluster[NAME_SIZE];
    char service[NAME_SIZE];
};

struct file_block {
    uint32_t crc;    /* CRC-32C of the checkpoint's index (u64), the fields below, slice, padding */
    uint32_t size;   /* of the slice, which follows, padded with zeros to a multiple of 8 */
    uint64_t number; /* from 0 */
};

struct file_footer {
    uint8_t magic[8];
    uint32_t crc; /* CRC-32C of what follows in this struct */
    uint32_t zero;
    uint64_t index, digest; /* as in the header */
    uint64_t blocks;        /* before it */
    uint64_t bytes;         /* of their slices */
};

_Static_assert(sizeof(struct file_header) == 120, "no padding in a header");
_Static_assert(sizeof(struct file_block) == 16, "no padding in a block");
_Static_assert(sizeof(struct file_footer) == 48, "no padding in a footer");

static const uint8_t header_magic[8] = { 'H', 'F', 'C', 'H', 'E', 'C', 'K', 'P' };
static const uint8_t footer_magic[8] = { 'H', 'F', 'C', 'H', 'E', 'C', 'K', 'E' };
static const uint8_t zeros[8] = { 0 };

static uint32_t header_crc(const struct file_header *header)
{
    const size_t uncovered = offsetof(struct file_header, version);

    return crc32c(0, (const uint8_t *)header + uncovered, sizeof *header - uncovered);
}

static uint32_t footer_crc(const struct file_footer *footer)
{
    const size_t uncovered = offsetof(struct file_footer, zero);

    return crc32c(0, (const uint8_t *)footer + uncovered, sizeof *footer - uncovered);
}

static uint64_t padded(uint64_t size)
{
    return (size + 7u) & ~(uint64_t)7u;
}

/* slice with its padding. */
static uint32_t block_crc(uint64_t index, const struct file_block *block, const void *slice)
{
    const size_t uncovered = offsetof(struct file_block, size);
    uint32_t crc = crc32c(0, &index, sizeof index);

    crc = crc32c(crc, (const uint8_t *)block + uncovered, sizeof *block - uncovered);
    crc = crc32c(crc, slice, block->size);
    return crc32c(crc, zeros, padded(block->size) - block->size);
}

static void path_make(const char *directory, const char *prefix, uint64_t index, const char *suffix,
                      char *path, size_t size)
{
    char name[NAME_BYTES];

    files_name(name, sizeof name, prefix, index, suffix);
    (void)snprintf(path, size, "%s/%s", directory, name);
}

void checkpoint_path(const char *directory, uint64_t index, char *path, size_t path_size)
{
    path_make(directory, CHECKPOINT_PREFIX, index, "", path, path_size);
}

void checkpoint_name_path(const char *directory, struct checkpoint_name name, char *path,
                          size_t path_size)
{
    path_make(directory, name.changes ? CHANGES_PREFIX : CHECKPOINT_PREFIX, name.index, "", path,
              path_size);
}

/* ---- Writing ---- */

struct checkpoint_writer {
    const struct files *files;
    char directory[DIRECTORY_SIZE];
    char path[PATH_SIZE]; /* of the file as it is being written */
    const char *prefix;   /* of its name */
    int fd;
    uint64_t index, digest;
    uint64_t offset, synced;
    uint64_t blocks, bytes;
};

static enum error_code write_on(struct checkpoint_writer *w, struct iovec *vectors, size_t count,
                                struct error *error)
{
    uint64_t size = 0;

    for (size_t i = 0; i < count; i++)
        size += vectors[i].iov_len;
    if (files_write(w->files, w->fd, w->path, vectors, count, w->offset, error) != ERROR_NONE)
        return error->code;
    w->offset += size;
    if (w->offset - w->synced < SYNC_BYTES)
        return ERROR_NONE;
    w->synced = w->offset;
    return files_sync(w->files, w->fd, w->path, error);
}

static enum error_code write_header(struct checkpoint_writer *w, const struct checkpoint_head *head,
                                    struct error *error)
{
    struct file_header header = { .version = CHECKPOINT_VERSION,
                                  .index = head->index,
                                  .view = head->view,
                                  .time_us = head->time_us,
                                  .digest = head->digest,
                                  .base = head->base };
    struct iovec vector = { &header, sizeof header };

    memcpy(header.magic, header_magic, sizeof header.magic);
    (void)snprintf(header.cluster, sizeof header.cluster, "%s", head->cluster);
    (void)snprintf(header.service, sizeof header.service, "%s", head->service);
    header.crc = header_crc(&header);
    return write_on(w, &vector, 1, error);
}

enum error_code checkpoint_writer_open(struct checkpoint_writer **writer, const struct files *files,
                                       const char *directory, const struct checkpoint_head *head,
                                       struct error *error)
{
    struct checkpoint_writer *w;

    if (strlen(directory) >= DIRECTORY_SIZE)
        return error_set(error, ERROR_SYSTEM, "the path of the folder %.64s… is too long",
                         directory);
    w = memory_zeroed(1, sizeof *w);
    w->files = files;
    w->index = head->index;
    w->digest = head->digest;
    memcpy(w->directory, directory, strlen(directory) + 1);
    w->prefix = head->base ? CHANGES_PREFIX : CHECKPOINT_PREFIX;
    path_make(w->directory, w->prefix, w->index, NEW_SUFFIX, w->path, sizeof w->path);
    if (files_open(files, w->path, O_WRONLY | O_CREAT | O_TRUNC, &w->fd, error) != ERROR_NONE) {
        free(w);
        return error->code;
    }
    if (write_header(w, head, error) != ERROR_NONE) {
        checkpoint_writer_abandon(w);
        return error->code;
    }
    *writer = w;
    return ERROR_NONE;
}

enum error_code checkpoint_writer_slice(struct checkpoint_writer *w, struct bytes slice,
                                        struct error *error)
{
    struct file_block block = { .size = (uint32_t)slice.size, .number = w->blocks };
    struct iovec vectors[] = { { &block, sizeof block },
                               { (void *)slice.data, slice.size },
                               { (void *)zeros, padded(slice.size) - slice.size } };

    assert(slice.size <= UINT32_MAX);
    block.crc = block_crc(w->index, &block, slice.data);
    if (write_on(w, vectors, 3, error) != ERROR_NONE)
        return error->code;
    w->blocks++;
    w->bytes += slice.size;
    return ERROR_NONE;
}

static enum error_code write_footer(struct checkpoint_writer *w, struct error *error)
{
    struct file_footer footer = {
        .index = w->index, .digest = w->digest, .blocks = w->blocks, .bytes = w->bytes
    };
    struct iovec vector = { &footer, sizeof footer };

    memcpy(footer.magic, footer_magic, sizeof footer.magic);
    footer.crc = footer_crc(&footer);
    return write_on(w, &vector, 1, error);
}

static enum error_code writer_publish(struct checkpoint_writer *w, struct error *error)
{
    char path[PATH_SIZE];

    path_make(w->directory, w->prefix, w->index, "", path, sizeof path);
    if (write_footer(w, error) != ERROR_NONE ||
        files_sync(w->files, w->fd, w->path, error) != ERROR_NONE ||
        files_rename(w->files, w->path, path, error) != ERROR_NONE ||
        files_sync_folder(w->files, w->directory, error) != ERROR_NONE)
        return error->code;
    return ERROR_NONE;
}

enum error_code checkpoint_writer_finish(struct checkpoint_writer *w, struct error *error)
{
    enum error_code code = writer_publish(w, error);

    if (code != ERROR_NONE) {
        checkpoint_writer_abandon(w);
        return code;
    }
    (void)w->files->close(w->files->context, w->fd);
    free(w);
    return ERROR_NONE;
}

void checkpoint_writer_abandon(struct checkpoint_writer *w)
{
    (void)w->files->close(w->files->context, w->fd);
    (void)w->files->unlink(w->files->context, w->path); /* else it is tidied up later */
    free(w);
}

/* ---- Reading ---- */

struct checkpoint_reader {
    const struct files *files;
    char path[PATH_SIZE];
    int fd;
    uint64_t index;
    uint64_t offset; /* of the next block */
    uint64_t end;    /* of the footer */
    uint64_t blocks, blocks_total;
    uint64_t bytes, bytes_total;
    struct buffer slice;
};

static enum error_code damaged(const struct checkpoint_reader *r, uint64_t offset,
                               struct error *error, const char *expected)
{
    return error_set(error, ERROR_PROTOCOL, "%s is damaged at offset %" PRIu64 ": expected %s",
                     r->path, offset, expected);
}

/* Reads a piece that must be there whole. */
static enum error_code read_at(const struct checkpoint_reader *r, uint64_t offset, void *data,
                               size_t size, struct error *error)
{
    size_t got;

    if (files_read(r->files, r->fd, r->path, data, size, offset, &got, error) != ERROR_NONE)
        return error->code;
    if (got < size)
        return damaged(r, offset + got, error, "the file to go on");
    return ERROR_NONE;
}

static enum error_code read_header(struct checkpoint_reader *r, struct checkpoint_head *head,
                                   struct error *error)
{
    struct file_header header;

    if (read_at(r, 0, &header, sizeof header, error) != ERROR_NONE)
        return error->code;
    if (memcmp(header.magic, header_magic, sizeof header.magic) != 0 ||
        header.crc != header_crc(&header) || header.cluster[NAME_SIZE - 1] != '\0' ||
        header.service[NAME_SIZE - 1] != '\0')
        return damaged(r, 0, error, "a checkpoint's header with its checksum");
    if (header.version != CHECKPOINT_VERSION)
        return error_set(error, ERROR_REFUSED,
                         "%s has format %" PRIu32 ", this program reads format %u", r->path,
                         header.version, CHECKPOINT_VERSION);
    *head = (struct checkpoint_head){ .index = header.index,
                                      .view = header.view,
                                      .time_us = header.time_us,
                                      .digest = header.digest,
                                      .base = header.base };
    memcpy(head->cluster, header.cluster, sizeof head->cluster);
    memcpy(head->service, header.service, sizeof head->service);
    r->index = header.index;
    r->offset = sizeof header;
    return ERROR_NONE;
}

static enum error_code read_footer(struct checkpoint_reader *r, const struct checkpoint_head *head,
                                   struct error *error)
{
    struct file_footer footer;
    uint64_t size;

    if (files_size(r->files, r->fd, r->path, &size, error) != ERROR_NONE)
        return error->code;
    if (size < sizeof(struct file_header) + sizeof footer)
        return damaged(r, size, error, "the file to go on");
    r->end = size - sizeof footer;
    if (read_at(r, r->end, &footer, sizeof footer, error) != ERROR_NONE)
        return error->code;
    if (memcmp(footer.magic, footer_magic, sizeof footer.magic) != 0 ||
        footer.crc != footer_crc(&footer))
        return damaged(r, r->end, error, "a checkpoint's footer with its checksum");
    if (footer.index != head->index || footer.digest != head->digest)
        return damaged(r, r->end, error, "a footer that belongs to the header");
    r->blocks_total = footer.blocks;
    r->bytes_total = footer.bytes;
    return ERROR_NONE;
}

enum error_code checkpoint_reader_open(struct checkpoint_reader **reader, const struct files *files,
                                       const char *path, struct checkpoint_head *head,
                                       uint64_t *bytes_total, struct error *error)
{
    struct checkpoint_reader *r = memory_zeroed(1, sizeof *r);

    r->files = files;
    (void)snprintf(r->path, sizeof r->path, "%s", path);
    if (files_open(files, path, O_RDONLY, &r->fd, error) != ERROR_NONE) {
        free(r);
        return error->code;
    }
    if (read_header(r, head, error) != ERROR_NONE || read_footer(r, head, error) != ERROR_NONE) {
        checkpoint_reader_close(r);
        return error->code;
    }
    *bytes_total = r->bytes_total;
    *reader = r;
    return ERROR_NONE;
}

static enum error_code read_end(const struct checkpoint_reader *r, struct error *error)
{
    if (r->blocks != r->blocks_total || r->bytes != r->bytes_total)
        return damaged(r, r->end, error, "a footer that counts the blocks before it");
    return ERROR_NONE;
}

/* The slice of a block whose header fits, into r->slice. */
static enum error_code read_slice(struct checkpoint_reader *r, const struct file_block *block,
                                  struct error *error)
{
    const uint64_t size = padded(block->size);
    uint8_t *data;

    buffer_clear(&r->slice, SLICE_BYTES_MAX);
    data = buffer_reserve(&r->slice, size);
    if (read_at(r, r->offset + sizeof *block, data, size, error) != ERROR_NONE)
        return error->code;
    if (block->crc != block_crc(r->index, block, data) ||
        (size > block->size && memcmp(data + block->size, zeros, size - block->size) != 0))
        return damaged(r, r->offset, error, "a block with its checksum");
    buffer_commit(&r->slice, block->size);
    return ERROR_NONE;
}

enum error_code checkpoint_reader_next(struct checkpoint_reader *r, struct bytes *slice, bool *done,
                                       struct error *error)
{
    struct file_block block;

    *slice = bytes_of(NULL, 0);
    *done = r->offset == r->end;
    if (*done)
        return read_end(r, error);
    if (r->end - r->offset < sizeof block)
        return damaged(r, r->offset, error, "a block, or the footer");
    if (read_at(r, r->offset, &block, sizeof block, error) != ERROR_NONE)
        return error->code;
    if (block.number != r->blocks || padded(block.size) > r->end - r->offset - sizeof block)
        return damaged(r, r->offset, error, "the header of the next block");
    if (read_slice(r, &block, error) != ERROR_NONE)
        return error->code;
    r->offset += sizeof block + padded(block.size);
    r->blocks++;
    r->bytes += block.size;
    *slice = buffer_bytes(&r->slice);
    return ERROR_NONE;
}

void checkpoint_reader_close(struct checkpoint_reader *r)
{
    (void)r->files->close(r->files->context, r->fd);
    buffer_free(&r->slice);
    free(r);
}

/* ---- All in a folder ---- */

enum error_code checkpoint_list(const char *directory, uint64_t *indexes, uint32_t max,
                                uint32_t *count, struct error *error)
{
    uint64_t *ascending;
    size_t found;

    *count = 0;
    if (files_list(directory, CHECKPOINT_PREFIX, "", &ascending, &found, error) != ERROR_NONE)
        return error->code;
    while (*count < max && found > 0)
        indexes[(*count)++] = ascending[--found];
    free(ascending);
    return ERROR_NONE;
}

enum error_code checkpoint_changes_list(const char *directory, uint64_t above, uint64_t *indexes,
                                        uint32_t max, uint32_t *count, struct error *error)
{
    uint64_t *ascending;
    size_t found;

    *count = 0;
    if (files_list(directory, CHANGES_PREFIX, "", &ascending, &found, error) != ERROR_NONE)
        return error->code;
    for (size_t i = 0; i < found && *count < max; i++)
        if (ascending[i] > above)
            indexes[(*count)++] = ascending[i];
    free(ascending);
    return ERROR_NONE;
}

/* Removes the files with this prefix and suffix that are of entry `last` or an earlier one. */
static enum error_code remove_up_to(const struct files *files, const char *directory,
                                    const char *prefix, const char *suffix, uint64_t last,
                                    struct error *error)
{
    enum error_code code;
    char path[PATH_SIZE];
    uint64_t *indexes;
    size_t count;

    if (files_list(directory, prefix, suffix, &indexes, &count, error) != ERROR_NONE)
        return error->code;
    code = ERROR_NONE;
    for (size_t i = 0; i < count && indexes[i] <= last && code == ERROR_NONE; i++) {
        path_make(directory, prefix, indexes[i], suffix, path, sizeof path);
        code = files_unlink(files, path, error);
    }
    free(indexes);
    return code;
}

/* What the chain that begins with the older of the two newest checkpoints comes to. */
static enum error_code chain_end(const char *directory, uint64_t older, uint64_t newer,
                                 uint64_t *end, struct error *error)
{
    uint64_t changes[2 * CHECKPOINT_CHANGES_MAX + 2];
    uint32_t count;

    *end = older;
    if (newer == older)
        return ERROR_NONE; /* the only one: any part of its chain may have to do */
    if (checkpoint_changes_list(directory, older, changes, sizeof changes / sizeof changes[0],
                                &count, error) != ERROR_NONE)
        return error->code;
    for (uint32_t i = 0; i < count && changes[i] <= newer; i++)
        *end = changes[i];
    return ERROR_NONE;
}

enum error_code checkpoint_tidy(const struct files *files, const char *directory, uint64_t *oldest,
                                struct error *error)
{
    uint64_t kept[CHECKPOINTS_KEPT], older;
    uint32_t count;

    *oldest = 0;
    if (remove_up_to(files, directory, CHECKPOINT_PREFIX, NEW_SUFFIX, UINT64_MAX, error) !=
            ERROR_NONE ||
        remove_up_to(files, directory, CHANGES_PREFIX, NEW_SUFFIX, UINT64_MAX, error) !=
            ERROR_NONE ||
        checkpoint_list(directory, kept, CHECKPOINTS_KEPT, &count, error) != ERROR_NONE)
        return error->code;
    if (count == 0)
        return ERROR_NONE;
    /* Before the checkpoint that they belong to: changes never stand behind another one. */
    older = kept[count - 1];
    if (remove_up_to(files, directory, CHANGES_PREFIX, "", older, error) != ERROR_NONE ||
        (older > 0 &&
         remove_up_to(files, directory, CHECKPOINT_PREFIX, "", older - 1, error) != ERROR_NONE))
        return error->code;
    return chain_end(directory, older, kept[0], oldest, error);
}

enum error_code checkpoint_remove_all(const struct files *files, const char *directory,
                                      struct error *error)
{
    if (remove_up_to(files, directory, CHANGES_PREFIX, "", UINT64_MAX, error) != ERROR_NONE ||
        remove_up_to(files, directory, CHECKPOINT_PREFIX, "", UINT64_MAX, error) != ERROR_NONE)
        return error->code;
    return files_sync_folder(files, directory, error);
}
