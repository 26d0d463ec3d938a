#include "rm/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/crc32c.h"
#include "rm/saved.h"

static const uint8_t magic[8] = { 'H', 'F', 'R', 'M', 'S', 'T', 'O', 'R' };

#define CRC_OFFSET     (STORE_HEADER_SIZE - 4u)
#define FILE_BYTES_MAX (STORE_HEADER_SIZE + SAVED_BYTES_MAX)

_Static_assert(sizeof magic + 4 + 4 + NAME_SIZE + 4 == STORE_HEADER_SIZE, "the header as it is");

void store_init(struct store *store, const struct config *config)
{
    memset(store, 0, sizeof *store);
    memcpy(store->folder, config->run_dir, sizeof store->folder);
    memcpy(store->cluster, config->cluster, sizeof store->cluster);
    config_run_path(config, "rm.store", store->path);
    config_run_path(config, "rm.store.new", store->path_new);
}

static void put_u32(uint8_t *at, uint32_t value)
{
    for (uint32_t i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> 8u * i);
}

static uint32_t get_u32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* Of the header before it and the state behind it. */
static uint32_t checksum(const uint8_t *header, struct bytes state)
{
    return crc32c(crc32c(0, header, CRC_OFFSET), state.data, state.size);
}

/* ------------------------------------------------------------------ loading */

/* Reads all of a file, but no more than one byte beyond what a sound one can have. */
static enum error_code read_all(const struct store *store, int fd, struct buffer *out,
                                struct error *error)
{
    for (;;) {
        size_t room = FILE_BYTES_MAX + 1u - buffer_size(out);
        ssize_t size;

        if (room == 0)
            return ERROR_NONE;
        size = read(fd, buffer_reserve(out, room), room);
        if (size == 0)
            return ERROR_NONE;
        if (size > 0)
            buffer_commit(out, (size_t)size);
        else if (errno != EINTR)
            return error_system(error, "cannot read %s", store->path);
    }
}

static enum error_code damaged(const struct store *store, struct error *error, const char *how)
{
    return error_set(
        error, ERROR_CONFIG,
        "%s is damaged: %s. Restore it from a copy, or move it away: the rm then needs "
        "the report of every server before the first view",
        store->path, how);
}

static enum error_code check_file(const struct store *store, struct bytes file, struct error *error)
{
    char cluster[NAME_SIZE];
    struct bytes state;

    if (!file.data || file.size < STORE_HEADER_SIZE)
        return damaged(store, error, "it is shorter than its header");
    if (memcmp(file.data, magic, sizeof magic) != 0)
        return damaged(store, error, "it does not begin with HFRMSTOR");
    if (get_u32(file.data + 8) != STORE_FORMAT)
        return error_set(
            error, ERROR_CONFIG,
            "%s is of format %u, this rm reads format %u: use the release that wrote it",
            store->path, get_u32(file.data + 8), STORE_FORMAT);
    state = bytes_of(file.data + STORE_HEADER_SIZE, file.size - STORE_HEADER_SIZE);
    if (get_u32(file.data + 12) != state.size)
        return damaged(store, error, "its size is not the one that its header names");
    if (get_u32(file.data + CRC_OFFSET) != checksum(file.data, state))
        return damaged(store, error, "its checksum is wrong");
    memcpy(cluster, file.data + 16, sizeof cluster);
    cluster[NAME_SIZE - 1] = '\0';
    if (strcmp(cluster, store->cluster) != 0)
        return error_set(error, ERROR_CONFIG,
                         "%s belongs to cluster %s, expected %s: give each cluster a run directory "
                         "of its own",
                         store->path, cluster, store->cluster);
    return ERROR_NONE;
}

static enum error_code load_from(const struct store *store, int fd, struct buffer *out,
                                 struct error *error)
{
    struct buffer file = { 0 };
    enum error_code code = read_all(store, fd, &file, error);

    if (code == ERROR_NONE)
        code = check_file(store, buffer_bytes(&file), error);
    if (code == ERROR_NONE) {
        buffer_consume(&file, STORE_HEADER_SIZE);
        buffer_append(out, buffer_head(&file), buffer_size(&file));
    }
    buffer_free(&file);
    return code;
}

enum error_code store_load(const struct store *store, struct buffer *out, bool *found,
                           struct error *error)
{
    int fd = open(store->path, O_RDONLY | O_CLOEXEC);
    enum error_code code;

    *found = false;
    if (fd < 0)
        return errno == ENOENT ? ERROR_NONE : error_system(error, "cannot open %s", store->path);
    code = load_from(store, fd, out, error);
    (void)close(fd);
    *found = code == ERROR_NONE;
    return code;
}

/* ------------------------------------------------------------------ saving */

static enum error_code write_all(const struct store *store, int fd, const uint8_t *data,
                                 size_t size, struct error *error)
{
    while (size > 0) {
        ssize_t written = write(fd, data, size);

        if (written < 0 && errno != EINTR)
            return error_system(error, "cannot write %s", store->path_new);
        if (written > 0) {
            data += written;
            size -= (size_t)written;
        }
    }
    return ERROR_NONE;
}

static enum error_code write_new(const struct store *store, struct bytes state, struct error *error)
{
    uint8_t header[STORE_HEADER_SIZE] = { 0 };
    int fd = open(store->path_new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    enum error_code code;

    if (fd < 0)
        return error_system(error, "cannot open %s", store->path_new);
    memcpy(header, magic, sizeof magic);
    put_u32(header + 8, STORE_FORMAT);
    put_u32(header + 12, (uint32_t)state.size);
    memcpy(header + 16, store->cluster, NAME_SIZE);
    put_u32(header + CRC_OFFSET, checksum(header, state));
    code = write_all(store, fd, header, sizeof header, error);
    if (code == ERROR_NONE)
        code = write_all(store, fd, state.data, state.size, error);
    if (code == ERROR_NONE && fdatasync(fd) != 0)
        code = error_system(error, "cannot flush %s", store->path_new);
    if (close(fd) != 0 && code == ERROR_NONE)
        code = error_system(error, "cannot close %s", store->path_new);
    return code;
}

static enum error_code flush_folder(const struct store *store, struct error *error)
{
    int fd = open(store->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum error_code code = ERROR_NONE;

    if (fd < 0)
        return error_system(error, "cannot open the folder %s", store->folder);
    if (fsync(fd) != 0)
        code = error_system(error, "cannot flush the folder %s", store->folder);
    (void)close(fd);
    return code;
}

enum error_code store_save(const struct store *store, struct bytes state, struct error *error)
{
    if (write_new(store, state, error) != ERROR_NONE)
        return error->code;
    if (rename(store->path_new, store->path) != 0)
        return error_system(error, "cannot rename %s to %s", store->path_new, store->path);
    return flush_folder(store, error);
}
