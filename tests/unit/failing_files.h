/* The system's files, of which one call goes wrong. */
#ifndef HOLDFAST_TESTS_UNIT_FAILING_FILES_H
#define HOLDFAST_TESTS_UNIT_FAILING_FILES_H

#include <errno.h>
#include <stdbool.h>
#include <sys/uio.h>

#include "common/files.h"

enum failing_way {
    FAILING_ERROR, /* the call does nothing and says `reason` */
    FAILING_SHORT, /* a read or write does less than asked, and says so */
    FAILING_HALF,  /* a write does a part, and the next call says `reason` */
};

struct failing {
    struct files files;
    enum failing_way way;
    int reason;
    uint32_t at;    /* the call that goes wrong, counted from 1 */
    uint32_t times; /* that many from there on, if it is FAILING_ERROR */
    uint32_t calls; /* so far */
    bool failed;    /* it came to that */
};

/* Whether the call now made is to fail; errno says why. */
static inline bool failing_now(struct failing *f)
{
    bool now = ++f->calls >= f->at && f->calls - f->at < f->times && f->way == FAILING_ERROR;

    if (f->way == FAILING_HALF && f->calls == f->at + 1)
        now = f->failed;
    if (now) {
        f->failed = true;
        errno = f->reason;
    }
    return now;
}

static inline bool failing_partly(struct failing *f)
{
    bool now = f->calls == f->at && f->way != FAILING_ERROR;

    f->failed = f->failed || now;
    return now;
}

/* The same for a call that no signal interrupts. */
static inline bool failing_now_whole(struct failing *f)
{
    return failing_now(f) && f->reason != EINTR;
}

/* Whether there were so many calls. */
static inline bool failing_reached(const struct failing *f)
{
    return f->calls >= f->at;
}

static inline int failing_open(void *context, const char *path, int flags, mode_t mode)
{
    return failing_now(context) ? -1 : files_system.open(NULL, path, flags, mode);
}

static inline int failing_close(void *context, int fd)
{
    (void)context;
    return files_system.close(NULL, fd);
}

static inline ssize_t failing_pread(void *context, int fd, void *data, size_t size, off_t offset)
{
    if (failing_now(context))
        return -1;
    if (failing_partly(context) && size > 1)
        size /= 2;
    return files_system.pread(NULL, fd, data, size, offset);
}

static inline ssize_t failing_pwritev(void *context, int fd, const struct iovec *vectors, int count,
                                      off_t offset)
{
    struct iovec first = vectors[0];

    if (failing_now(context))
        return -1;
    if (!failing_partly(context))
        return files_system.pwritev(NULL, fd, vectors, count, offset);
    if (count == 1 && first.iov_len > 1)
        first.iov_len /= 2;
    return files_system.pwritev(NULL, fd, &first, 1, offset);
}

static inline int failing_fallocate(void *context, int fd, off_t size)
{
    return failing_now(context) ? -1 : files_system.fallocate(NULL, fd, size);
}

static inline int failing_fdatasync(void *context, int fd)
{
    (void)fd; /* nobody cuts the power here, and it would take long */
    return failing_now(context) ? -1 : 0;
}

static inline int failing_rename(void *context, const char *from, const char *to)
{
    return failing_now_whole(context) ? -1 : files_system.rename(NULL, from, to);
}

static inline int failing_unlink(void *context, const char *path)
{
    return failing_now_whole(context) ? -1 : files_system.unlink(NULL, path);
}

static inline off_t failing_size(void *context, int fd)
{
    return failing_now_whole(context) ? -1 : files_system.size(NULL, fd);
}

static inline void failing_init(struct failing *f, enum failing_way way, int reason, uint32_t at)
{
    *f = (struct failing){ .files = { .open = failing_open,
                                      .close = failing_close,
                                      .pread = failing_pread,
                                      .pwritev = failing_pwritev,
                                      .fallocate = failing_fallocate,
                                      .fdatasync = failing_fdatasync,
                                      .rename = failing_rename,
                                      .unlink = failing_unlink,
                                      .size = failing_size,
                                      .context = f },
                           .way = way,
                           .reason = reason,
                           .at = at,
                           .times = 1 };
}

#endif
