#include "common/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/buffer.h"

#define VECTORS_MAX 1024u /* IOV_MAX of Linux */
#define FILE_MODE   0600

/* ---- The system's own ---- */

static int system_open(void *context, const char *path, int flags, mode_t mode)
{
    (void)context;
    return open(path, flags, mode);
}

static int system_close(void *context, int fd)
{
    (void)context;
    return close(fd);
}

static ssize_t system_pread(void *context, int fd, void *data, size_t size, off_t offset)
{
    (void)context;
    return pread(fd, data, size, offset);
}

static ssize_t system_pwritev(void *context, int fd, const struct iovec *vectors, int count,
                              off_t offset)
{
    (void)context;
    return pwritev(fd, vectors, count, offset);
}

static int system_fallocate(void *context, int fd, off_t size)
{
    int result = fallocate(fd, 0, 0, size);

    (void)context;
    if (result == 0 || errno != EOPNOTSUPP)
        return result;
    /* Writes the zeros where the file system cannot reserve them. */
    errno = posix_fallocate(fd, 0, size);
    return errno == 0 ? 0 : -1;
}

static int system_fdatasync(void *context, int fd)
{
    struct stat status;

    (void)context;
    /* On some file systems fdatasync() of a folder leaves out the names in it. */
    if (fstat(fd, &status) == 0 && S_ISDIR(status.st_mode))
        return fsync(fd);
    return fdatasync(fd);
}

static int system_rename(void *context, const char *from, const char *to)
{
    (void)context;
    return rename(from, to);
}

static int system_unlink(void *context, const char *path)
{
    (void)context;
    return unlink(path);
}

static off_t system_size(void *context, int fd)
{
    struct stat status;

    (void)context;
    return fstat(fd, &status) == 0 ? status.st_size : -1;
}

const struct files files_system = {
    .open = system_open,
    .close = system_close,
    .pread = system_pread,
    .pwritev = system_pwritev,
    .fallocate = system_fallocate,
    .fdatasync = system_fdatasync,
    .rename = system_rename,
    .unlink = system_unlink,
    .size = system_size,
};

/* ---- With what is done around them ---- */

/* Of a failed call, by errno; the text is made first. */
static enum error_code failed(struct error *error)
{
    if (errno == ENOSPC || errno == EDQUOT)
        error->code = ERROR_LIMIT;
    return error->code;
}

/* The same of a call that only reads. */
static enum error_code failed_reading(struct error *error, int reason)
{
    if (reason == EIO)
        error->code = ERROR_PROTOCOL;
    errno = reason;
    return failed(error);
}

enum error_code files_open(const struct files *files, const char *path, int flags, int *fd,
                           struct error *error)
{
    do
        *fd = files->open(files->context, path, flags | O_CLOEXEC, FILE_MODE);
    while (*fd < 0 && errno == EINTR);
    if (*fd >= 0)
        return ERROR_NONE;

    int reason = errno;
    error_system(error, "cannot open %s", path);
    if ((flags & (O_ACCMODE | O_CREAT | O_DIRECTORY)) == O_RDONLY)
        return failed_reading(error, reason);
    errno = reason;
    return failed(error);
}

enum error_code files_read(const struct files *files, int fd, const char *path, void *data,
                           size_t size, uint64_t offset, size_t *got, struct error *error)
{
    *got = 0;
    while (*got < size) {
        ssize_t part = files->pread(files->context, fd, (uint8_t *)data + *got, size - *got,
                                    (off_t)(offset + *got));

        if (part == 0)
            break;
        if (part > 0) {
            *got += (size_t)part;
        } else if (errno != EINTR) {
            int reason = errno;

            error_system(error, "cannot read %zu bytes of %s at offset %" PRIu64, size - *got, path,
                         offset + *got);
            return failed_reading(error, reason);
        }
    }
    return ERROR_NONE;
}

/* Takes size bytes off the front of the vectors. */
static void vectors_consume(struct iovec **vectors, size_t *count, size_t size)
{
    while (*count && size >= (*vectors)->iov_len) {
        size -= (*vectors)->iov_len;
        ++*vectors;
        --*count;
    }
    if (size) {
        (*vectors)->iov_base = (uint8_t *)(*vectors)->iov_base + size;
        (*vectors)->iov_len -= size;
    }
}

enum error_code files_write(const struct files *files, int fd, const char *path,
                            struct iovec *vectors, size_t count, uint64_t offset,
                            struct error *error)
{
    vectors_consume(&vectors, &count, 0);
    while (count) {
        size_t some = count < VECTORS_MAX ? count : VECTORS_MAX;
        ssize_t part = files->pwritev(files->context, fd, vectors, (int)some, (off_t)offset);

        if (part > 0) {
            offset += (size_t)part;
            vectors_consume(&vectors, &count, (size_t)part);
        } else if (part == 0 || errno != EINTR) {
            int reason = errno = part == 0 ? EIO : errno;

            error_system(error, "cannot write to %s at offset %" PRIu64, path, offset);
            errno = reason;
            return failed(error);
        }
    }
    return ERROR_NONE;
}

enum error_code files_allocate(const struct files *files, int fd, const char *path, uint64_t size,
                               struct error *error)
{
    while (files->fallocate(files->context, fd, (off_t)size) != 0) {
        int reason = errno;

        if (reason == EINTR)
            continue;
        error_system(error, "cannot reserve %" PRIu64 " bytes for %s", size, path);
        errno = reason;
        return failed(error);
    }
    return ERROR_NONE;
}

enum error_code files_sync(const struct files *files, int fd, const char *path, struct error *error)
{
    while (files->fdatasync(files->context, fd) != 0)
        if (errno != EINTR)
            return error_system(error, "cannot make %s safe on the disk", path);
    return ERROR_NONE;
}

enum error_code files_sync_folder(const struct files *files, const char *path, struct error *error)
{
    enum error_code code;
    int fd;

    if (files_open(files, path, O_RDONLY | O_DIRECTORY, &fd, error) != ERROR_NONE)
        return error->code;
    code = files_sync(files, fd, path, error);
    (void)files->close(files->context, fd);
    return code;
}

enum error_code files_size(const struct files *files, int fd, const char *path, uint64_t *size,
                           struct error *error)
{
    off_t bytes = files->size(files->context, fd);

    if (bytes < 0) {
        int reason = errno;

        error_system(error, "cannot tell the size of %s", path);
        return failed_reading(error, reason);
    }
    *size = (uint64_t)bytes;
    return ERROR_NONE;
}

enum error_code files_rename(const struct files *files, const char *from, const char *to,
                             struct error *error)
{
    int reason;

    if (files->rename(files->context, from, to) == 0)
        return ERROR_NONE;
    reason = errno;
    error_system(error, "cannot rename %s to %s", from, to);
    errno = reason;
    return failed(error);
}

enum error_code files_unlink(const struct files *files, const char *path, struct error *error)
{
    if (files->unlink(files->context, path) != 0)
        return error_system(error, "cannot remove %s", path);
    return ERROR_NONE;
}

/* ---- Numbered files ---- */

void files_name(char *name, size_t size, const char *prefix, uint64_t number, const char *suffix)
{
    (void)snprintf(name, size, "%s%012" PRIu64 "%s", prefix, number, suffix);
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

static bool name_parse(const char *name, const char *prefix, const char *suffix, uint64_t *number)
{
    char made[NAME_MAX + 1];
    size_t length = strlen(prefix);

    if (strncmp(name, prefix, length) != 0)
        return false;
    *number = strtoull(name + length, NULL, 10);
    files_name(made, sizeof made, prefix, *number, suffix);
    return strcmp(made, name) == 0;
}

enum error_code files_list(const char *folder, const char *prefix, const char *suffix,
                           uint64_t **numbers, size_t *count, struct error *error)
{
    DIR *directory = opendir(folder);
    struct dirent *entry;
    size_t capacity = 0;
    uint64_t number;

    *numbers = NULL;
    *count = 0;
    if (!directory)
        return error_system(error, "cannot open the folder %s", folder);
    while (errno = 0, (entry = readdir(directory)) != NULL) {
        if (!name_parse(entry->d_name, prefix, suffix, &number))
            continue;
        if (*count == capacity) {
            capacity = capacity ? 2 * capacity : 16;
            *numbers = memory_grown(*numbers, capacity * sizeof **numbers);
        }
        (*numbers)[(*count)++] = number;
    }
    if (errno != 0) {
        error_system(error, "cannot read the folder %s", folder);
        free(*numbers);
        *numbers = NULL;
        *count = 0;
        (void)closedir(directory);
        return error->code;
    }
    (void)closedir(directory);
    if (*count)
        qsort(*numbers, *count, sizeof **numbers, compare_numbers);
    return ERROR_NONE;
}
