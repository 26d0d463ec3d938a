/* files - the system calls on files that hold data worth keeping, as a table that tests replace.
 *
 * Everything that must survive goes through one of these, so that a test can make each call fail,
 * write short, or lose what was not synced. All return what the system call returns, with errno. */
#ifndef HOLDFAST_COMMON_FILES_H
#define HOLDFAST_COMMON_FILES_H

#include <stddef.h>
#include <sys/types.h>

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

/* The system's own. */
extern const struct files files_system;

#endif
