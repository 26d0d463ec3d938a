#include "rm/store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>

#include "common/crc32c.h"
#include "rm/saved.h"

static const uint8_t magic[8] = { 'H', 'F', 'R', 'M', 'S', 'T', 'O', 'R' };

#define FORMAT_OFFSET   8u
#define SIZE_OFFSET     12u
#define SEQUENCE_OFFSET 16u
#define CLUSTER_OFFSET  24u
#define CRC_OFFSET      (STORE_HEADER_SIZE - 4u)

_Static_assert(CLUSTER_OFFSET + NAME_SIZE == CRC_OFFSET, "the header as it is");
_Static_assert(STORE_HEADER_SIZE + SAVED_BYTES_MAX <= STORE_SLOT_SIZE, "any state has room");
_Static_assert(STORE_SLOT_SIZE % 4096u == 0, "no block of a disk has a part of both slots");

void store_init(struct store *store, const struct config *config)
{
    memset(store, 0, sizeof *store);
    store->files = &files_system;
    memcpy(store->folder, config->run_dir, sizeof store->folder);
    memcpy(store->cluster, config->cluster, sizeof store->cluster);
    config_run_path(config, "rm.store", store->path);
    config_run_path(config, "rm.store.new", store->path_new);
}

static void put(uint8_t *at, uint64_t value, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        at[i] = (uint8_t)(value >> 8u * i);
}

static uint64_t get(const uint8_t *at, uint32_t size)
{
    uint64_t value = 0;

    for (uint32_t i = 0; i < size; i++)
        value |= (uint64_t)at[i] << 8u * i;
    return value;
}

/* Of the header before it and the state behind it. */
static uint32_t checksum(const uint8_t *image, size_t size)
{
    return crc32c(crc32c(0, image, CRC_OFFSET), image + STORE_HEADER_SIZE,
                  size - STORE_HEADER_SIZE);
}

/* ------------------------------------------------------------------ saving */

static void make_image(struct store *store, struct bytes state)
{
    uint8_t *image = store->image;

    assert(state.size <= SAVED_BYTES_MAX);
    store->size = STORE_HEADER_SIZE + (uint32_t)state.size;
    memcpy(image, magic, sizeof magic);
    put(image + FORMAT_OFFSET, STORE_FORMAT, 4);
    put(image + SIZE_OFFSET, state.size, 4);
    put(image + SEQUENCE_OFFSET, store->sequence, 8);
    memcpy(image + CLUSTER_OFFSET, store->cluster, NAME_SIZE);
    if (state.size)
        memcpy(image + STORE_HEADER_SIZE, state.data, state.size);
    put(image + CRC_OFFSET, checksum(image, store->size), 4);
}

/* Writes to the open file, makes that safe and closes it. */
static enum error_code write_and_close(const struct store *store, int fd, const char *path,
                                       struct iovec *vectors, size_t count, uint64_t offset,
                                       struct error *error)
{
    enum error_code code = files_write(store->files, fd, path, vectors, count, offset, error);

    if (code == ERROR_NONE)
        code = files_sync(store->files, fd, path, error);
    if (store->files->close(store->files->context, fd) != 0 && code == ERROR_NONE)
        code = error_system(error, "cannot close %s", path);
    return code;
}

/* The whole file, aside, so that there is either none or both slots have the state. */
static enum error_code make_file(struct store *store, struct error *error)
{
    static const uint8_t zeros[STORE_SLOT_SIZE];
    struct iovec image = { store->image, store->size };
    struct iovec rest = { (void *)zeros, STORE_SLOT_SIZE - store->size };
    struct iovec vectors[] = { image, rest, image, rest };
    int fd;

    if (files_open(store->files, store->path_new, O_WRONLY | O_CREAT | O_TRUNC, &fd, error) !=
            ERROR_NONE ||
        write_and_close(store, fd, store->path_new, vectors, 4, 0, error) != ERROR_NONE ||
        files_rename(store->files, store->path_new, store->path, error) != ERROR_NONE)
        return error->code;
    store->slot = 0;
    store->copied = true;
    return files_sync_folder(store->files, store->folder, error);
}

/* Makes the file anew when somebody took it away. */
static enum error_code write_slot(struct store *store, uint32_t slot, struct error *error)
{
    struct iovec vector = { store->image, store->size };
    int fd;

    if (files_open(store->files, store->path, O_WRONLY, &fd, error) != ERROR_NONE)
        return errno == ENOENT ? make_file(store, error) : error->code;
    return write_and_close(store, fd, store->path, &vector, 1, (uint64_t)slot * STORE_SLOT_SIZE,
                           error);
}

enum error_code store_save(struct store *store, struct bytes state, struct error *error)
{
    store->sequence++;
    make_image(store, state);
    if (store->sequence == 1)
        return make_file(store, error);
    store->slot = 1 - store->slot;
    store->copied = false;
    return write_slot(store, store->slot, error);
}

enum error_code store_copy(struct store *store, struct error *error)
{
    if (store->sequence == 0 || store->copied)
        return ERROR_NONE;
    store->copied = true;
    return write_slot(store, 1 - store->slot, error);
}

/* ------------------------------------------------------------------ loading */

static enum error_code damaged(const struct store *store, uint32_t slot, struct error *error,
                               const char *how)
{
    return error_set(
        error, ERROR_CONFIG,
        "%s is damaged: %s (at offset %u). Restore it from a copy, or move it away: the rm then "
        "needs the report of every server before the first view",
        store->path, how, slot * STORE_SLOT_SIZE);
}

static size_t image_size(const uint8_t *image)
{
    return STORE_HEADER_SIZE + get(image + SIZE_OFFSET, 4);
}

/* Reads what is in a slot: sound only if it is a state of this format. */
static enum error_code read_slot(const struct store *store, int fd, uint32_t slot, uint8_t *image,
                                 struct error *error)
{
    size_t size;

    if (files_read(store->files, fd, store->path, image, STORE_SLOT_SIZE,
                   (uint64_t)slot * STORE_SLOT_SIZE, &size, error) != ERROR_NONE)
        return error->code;
    if (size < STORE_HEADER_SIZE)
        return damaged(store, slot, error, "it is shorter than its header");
    if (memcmp(image, magic, sizeof magic) != 0)
        return damaged(store, slot, error, "there is no HFRMSTOR");
    if (get(image + FORMAT_OFFSET, 4) != STORE_FORMAT)
        return error_set(
            error, ERROR_CONFIG,
            "%s is of format %u, this rm reads format %u: use the release that wrote it",
            store->path, (uint32_t)get(image + FORMAT_OFFSET, 4), STORE_FORMAT);
    if (image_size(image) > size)
        return damaged(store, slot, error, "its size is not the one that its header names");
    if (get(image + CRC_OFFSET, 4) != checksum(image, image_size(image)))
        return damaged(store, slot, error, "its checksum is wrong");
    if (get(image + SEQUENCE_OFFSET, 8) == 0)
        return damaged(store, slot, error, "its sequence is 0");
    return ERROR_NONE;
}

static void take_image(struct store *store, uint32_t slot, const uint8_t *image)
{
    store->slot = slot;
    store->size = (uint32_t)image_size(image);
    store->sequence = get(image + SEQUENCE_OFFSET, 8);
    memcpy(store->image, image, store->size);
}

/* Of the sound slots the one with the later state. *mended says what is wrong with another. */
static enum error_code choose_slot(struct store *store, int fd, struct error *mended,
                                   struct error *error)
{
    uint8_t image[STORE_SLOT_SIZE];
    struct error wrong;

    store->sequence = 0;
    for (uint32_t slot = 0; slot < STORE_SLOTS; slot++) {
        if (read_slot(store, fd, slot, image, &wrong) != ERROR_NONE)
            *mended = mended->code == ERROR_NONE ? wrong : *mended;
        else if (get(image + SEQUENCE_OFFSET, 8) > store->sequence)
            take_image(store, slot, image);
    }
    if (store->sequence == 0)
        *error = *mended;
    return store->sequence == 0 ? error->code : ERROR_NONE;
}

static enum error_code check_cluster(const struct store *store, struct error *error)
{
    char cluster[NAME_SIZE];

    memcpy(cluster, store->image + CLUSTER_OFFSET, sizeof cluster);
    cluster[NAME_SIZE - 1] = '\0';
    if (strcmp(cluster, store->cluster) == 0)
        return ERROR_NONE;
    return error_set(error, ERROR_CONFIG,
                     "%s belongs to cluster %s, expected %s: give each cluster a run directory "
                     "of its own",
                     store->path, cluster, store->cluster);
}

enum error_code store_load(struct store *store, struct buffer *out, bool *found,
                           struct error *mended, struct error *error)
{
    enum error_code code;
    int fd;

    *found = false;
    *mended = (struct error){ .code = ERROR_NONE };
    if (files_open(store->files, store->path, O_RDONLY, &fd, error) != ERROR_NONE)
        return errno == ENOENT ? ERROR_NONE : error->code;
    code = choose_slot(store, fd, mended, error);
    if (code == ERROR_NONE)
        code = check_cluster(store, error);
    (void)store->files->close(store->files->context, fd);
    /* What was read may have been in the system's memory only; and after a sync that failed the
     * system takes it for safe, so that it must be written again, too. */
    store->copied = false;
    if (code != ERROR_NONE || store_copy(store, error) != ERROR_NONE ||
        write_slot(store, store->slot, error) != ERROR_NONE ||
        files_sync_folder(store->files, store->folder, error) != ERROR_NONE)
        return error->code;
    buffer_append(out, store->image + STORE_HEADER_SIZE, store->size - STORE_HEADER_SIZE);
    *found = true;
    return ERROR_NONE;
}
