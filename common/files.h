/* files - the system calls on files that hold data worth keeping, as a table that tests replace.
 *
 * Everything that must survive goes through one of these, so that a test can make each call fail,
 * write short, or lose what was not synced. All return what the system call returns, with errno. */
#ifndef HOLDFAST_COMMON_FILES_H
#define HOLDFAST_COMMON_FILES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"

struct iovec;

struct files {
    int (*open)(void *context, const char *path, int flags, mode_t mode);
    int (*close)(void *context, int fd);
    ssize_t (*pread)(void *context, int fd, void *data, size_t size, off_t offset);
    ssize_t (*pwritev)(void *context, int fd, const struct iovec *vectors, int count, off_t offset);
    int (*fallocate)(void *context, int fd, off_t size); /* zeros up to size are reserved */
    int (*fdatasync)(void *context, int fd);             /* also of a folder */
    int (*rename)(void *context, const char *from, const char *to);
    int (*unlink)(void *context, const char *path);
    off_t (*size)(void *context, int fd);
    void *context;
};

/* The system's own. fdatasync() of a folder is fsync(): the entries are what matters of one. */
extern const struct files files_system;

/* The calls with what every user does around them: EINTR is tried again, short reads and writes go
 * on, and an error names the path, the offset and the reason. No room (ENOSPC, EDQUOT) is
 * ERROR_LIMIT; what the disk cannot give back (EIO, where nothing was to be written) is as good as
 * damaged: ERROR_PROTOCOL; anything else is ERROR_SYSTEM. */
enum error_code files_open(const struct files *files, const char *path, int flags, int *fd,
                           struct error *error);
/* *got is less than size only at the end of the file. */
enum error_code files_read(const struct files *files, int fd, const char *path, void *data,
                           size_t size, uint64_t offset, size_t *got, struct error *error);
/* Changes the vectors. After an error any part of it may be written. */
enum error_code files_write(const struct files *files, int fd, const char *path,
                            struct iovec *vectors, size_t count, uint64_t offset,
                            struct error *error);
enum error_code files_allocate(const struct files *files, int fd, const char *path, uint64_t size,
                               struct error *error);
/* Always ERROR_SYSTEM, no room too: nothing is known of what was to be made safe. */
enum error_code files_sync(const struct files *files, int fd, const char *path,
                           struct error *error);
enum error_code files_sync_folder(const struct files *files, const char *path, struct error *error);
enum error_code files_size(const struct files *files, int fd, const char *path, uint64_t *size,
                           struct error *error);
enum error_code files_rename(const struct files *files, const char *from, const char *to,
                             struct error *error);
enum error_code files_unlink(const struct files *files, const char *path, struct error *error);

/* The names in a folder that are prefix, then a number of at least 12 digits, then suffix; only
 * those that files_name() makes. The caller frees *numbers, which are in ascending order. */
enum error_code files_list(const char *folder, const char *prefix, const char *suffix,
                           uint64_t **numbers, size_t *count, struct error *error);
void files_name(char *name, size_t size, const char *prefix, uint64_t number, const char *suffix);

#endif
