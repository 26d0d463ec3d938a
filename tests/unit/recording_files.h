/* Files whose every change is noted, and what a disk may hold of them when the power goes.
 *
 * The model: a write or allocation is safe once its file was synced, a change of names once the
 * folder was. Of what is not safe, any sectors of any writes may be on the disk; changes of names
 * come to the disk in their order. A sync that fails leaves the system thinking that all is on the
 * disk: later ones do nothing for what was written before it. */
#ifndef HOLDFAST_TESTS_UNIT_RECORDING_FILES_H
#define HOLDFAST_TESTS_UNIT_RECORDING_FILES_H

#include <errno.h>
#include <sys/uio.h>

#include "common/files.h"
#include "tests/unit/disk_fixture.h"

#define RECORDED_MAX 4096u /* changes */
#define NODES_MAX    256u  /* files, by whatever name */
#define FDS_MAX      1024u
#define SECTOR       512u
#define NODE_BYTES   (1u << 20)

enum change_kind {
    CHANGE_MAKE,     /* file `node` under the name `from` */
    CHANGE_WRITE,    /* of `data` at `offset` */
    CHANGE_ALLOCATE, /* up to `offset` */
    CHANGE_SYNC,     /* of a file */
    CHANGE_SYNC_NAMES,
    CHANGE_RENAME,
    CHANGE_UNLINK,
};

struct recorded {
    enum change_kind kind;
    uint32_t node;
    uint64_t offset, size;
    uint8_t *data;
    bool forgotten; /* a sync of it failed */
    char from[64], to[64];
};

struct name {
    char name[64];
    uint32_t node;
};

struct names {
    struct name list[NODES_MAX];
    uint32_t count;
};

struct recording {
    struct files files;
    struct recorded *changes;
    uint32_t count;
    struct names names;
    uint32_t nodes;
    uint32_t node_of[FDS_MAX]; /* 0: a folder */
    uint32_t syncs, fail_sync; /* of files, so far; the one that fails, 0: none */
};

/* ---- Names ---- */

static inline const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static inline struct name *names_find(struct names *names, const char *name)
{
    for (uint32_t i = 0; i < names->count; i++)
        if (strcmp(names->list[i].name, name) == 0)
            return &names->list[i];
    return NULL;
}

static inline void names_add(struct names *names, const char *name, uint32_t node)
{
    struct name *place = &names->list[names->count++];

    assert_true(names->count < NODES_MAX);
    place->node = node;
    (void)snprintf(place->name, sizeof place->name, "%s", name);
}

static inline void names_remove(struct names *names, const char *name)
{
    struct name *place = names_find(names, name);

    assert_non_null(place);
    *place = names->list[--names->count];
}

static inline void names_rename(struct names *names, const char *from, const char *to)
{
    uint32_t node;

    assert_non_null(names_find(names, from));
    node = names_find(names, from)->node;
    names_remove(names, from);
    if (names_find(names, to))
        names_remove(names, to);
    names_add(names, to, node);
}

/* ---- Recording ---- */

static inline struct recorded *record_change(struct recording *r, enum change_kind kind)
{
    struct recorded *change = &r->changes[r->count++];

    assert_true(r->count <= RECORDED_MAX);
    *change = (struct recorded){ .kind = kind };
    return change;
}

static inline bool change_names(const struct recorded *change)
{
    return change->kind == CHANGE_MAKE || change->kind == CHANGE_RENAME ||
           change->kind == CHANGE_UNLINK;
}

/* Whether a change was synced before the cut. */
static inline bool change_safe(const struct recording *r, uint32_t at, uint32_t cut)
{
    const struct recorded *change = &r->changes[at];

    for (uint32_t i = at + 1; i < cut && !change->forgotten; i++) {
        const struct recorded *later = &r->changes[i];

        if (change_names(change) ? later->kind == CHANGE_SYNC_NAMES
                                 : later->kind == CHANGE_SYNC && later->node == change->node)
            return true;
    }
    return false;
}

static inline int recording_open(void *context, const char *path, int flags, mode_t mode)
{
    struct recording *r = context;
    const char *name = base_name(path);
    int fd = files_system.open(NULL, path, flags, mode);

    assert_true(fd >= 0 && fd < (int)FDS_MAX);
    if (!names_find(&r->names, name) && (flags & O_CREAT)) {
        struct recorded *change = record_change(r, CHANGE_MAKE);

        change->node = ++r->nodes;
        (void)snprintf(change->from, sizeof change->from, "%s", name);
        names_add(&r->names, name, change->node);
    }
    r->node_of[fd] = names_find(&r->names, name) ? names_find(&r->names, name)->node : 0;
    return fd;
}

static inline int recording_close(void *context, int fd)
{
    (void)context;
    return files_system.close(NULL, fd);
}

static inline ssize_t recording_pread(void *context, int fd, void *data, size_t size, off_t offset)
{
    (void)context;
    return files_system.pread(NULL, fd, data, size, offset);
}

static inline ssize_t recording_pwritev(void *context, int fd, const struct iovec *vectors,
                                        int count, off_t offset)
{
    struct recording *r = context;
    struct recorded *change = record_change(r, CHANGE_WRITE);
    size_t used = 0;

    change->node = r->node_of[fd];
    change->offset = (uint64_t)offset;
    for (int i = 0; i < count; i++)
        change->size += vectors[i].iov_len;
    change->data = malloc(change->size);
    assert_non_null(change->data);
    for (int i = 0; i < count; used += vectors[i++].iov_len)
        if (vectors[i].iov_len)
            memcpy(change->data + used, vectors[i].iov_base, vectors[i].iov_len);
    return files_system.pwritev(NULL, fd, vectors, count, offset);
}

static inline int recording_fallocate(void *context, int fd, off_t size)
{
    struct recording *r = context;
    struct recorded *change = record_change(r, CHANGE_ALLOCATE);

    change->node = r->node_of[fd];
    change->offset = (uint64_t)size;
    return files_system.fallocate(NULL, fd, size);
}

static inline int recording_fdatasync(void *context, int fd)
{
    struct recording *r = context;
    uint32_t node = r->node_of[fd];

    if (node && ++r->syncs == r->fail_sync) {
        for (uint32_t i = 0; i < r->count; i++)
            if (r->changes[i].node == node && !change_safe(r, i, r->count))
                r->changes[i].forgotten = true;
        errno = EIO;
        return -1;
    }
    record_change(r, node ? CHANGE_SYNC : CHANGE_SYNC_NAMES)->node = node;
    return 0;
}

static inline int recording_rename(void *context, const char *from, const char *to)
{
    struct recording *r = context;
    struct recorded *change = record_change(r, CHANGE_RENAME);

    (void)snprintf(change->from, sizeof change->from, "%s", base_name(from));
    (void)snprintf(change->to, sizeof change->to, "%s", base_name(to));
    names_rename(&r->names, change->from, change->to);
    return files_system.rename(NULL, from, to);
}

static inline int recording_unlink(void *context, const char *path)
{
    struct recording *r = context;
    struct recorded *change = record_change(r, CHANGE_UNLINK);

    (void)snprintf(change->from, sizeof change->from, "%s", base_name(path));
    names_remove(&r->names, change->from);
    return files_system.unlink(NULL, path);
}

static inline off_t recording_size(void *context, int fd)
{
    (void)context;
    return files_system.size(NULL, fd);
}

static inline void recording_init(struct recording *r)
{
    *r = (struct recording){ .files = { .open = recording_open,
                                        .close = recording_close,
                                        .pread = recording_pread,
                                        .pwritev = recording_pwritev,
                                        .fallocate = recording_fallocate,
                                        .fdatasync = recording_fdatasync,
                                        .rename = recording_rename,
                                        .unlink = recording_unlink,
                                        .size = recording_size,
                                        .context = r } };
    r->changes = calloc(RECORDED_MAX, sizeof *r->changes);
    assert_non_null(r->changes);
}

static inline void recording_free(struct recording *r)
{
    for (uint32_t i = 0; i < r->count; i++)
        free(r->changes[i].data);
    free(r->changes);
}

/* ---- What is on the disk after a cut ---- */

enum survival { SURVIVE_NONE, SURVIVE_ALL, SURVIVE_WRITES, SURVIVE_SECTORS, SURVIVAL_COUNT };

struct image {
    struct names names;
    uint8_t *data[NODES_MAX];
    uint64_t size[NODES_MAX];
};

static inline void image_grow(struct image *image, uint32_t node, uint64_t size)
{
    assert_true(size <= NODE_BYTES);
    if (size <= image->size[node])
        return;
    image->data[node] = realloc(image->data[node], size);
    assert_non_null(image->data[node]);
    memset(image->data[node] + image->size[node], 0, size - image->size[node]);
    image->size[node] = size;
}

/* Sector by sector, those that chance lets come through. */
static inline void image_write(struct image *image, const struct recorded *change,
                               struct random *chance, bool all)
{
    uint64_t at = 0;

    while (at < change->size) {
        uint64_t offset = change->offset + at;
        uint64_t part = SECTOR - offset % SECTOR;

        if (part > change->size - at)
            part = change->size - at;
        if (all || random_below(chance, 2)) {
            image_grow(image, change->node, offset + part);
            memcpy(image->data[change->node] + offset, change->data + at, part);
        }
        at += part;
    }
}

static inline void image_rename(struct image *image, const struct recorded *change)
{
    switch (change->kind) {
    case CHANGE_MAKE: names_add(&image->names, change->from, change->node); break;
    case CHANGE_RENAME: names_rename(&image->names, change->from, change->to); break;
    default: names_remove(&image->names, change->from); break;
    }
}

static inline void image_apply(struct image *image, const struct recorded *change,
                               struct random *chance, bool safe, enum survival survival)
{
    bool all = safe || survival == SURVIVE_ALL;

    if (!all && (survival == SURVIVE_NONE || random_below(chance, 3) == 0))
        return;
    if (change->kind == CHANGE_ALLOCATE)
        image_grow(image, change->node, change->offset);
    else if (change->kind == CHANGE_WRITE)
        image_write(image, change, chance, all || survival == SURVIVE_WRITES);
}

/* The first `cut` changes were made when the power went. */
static inline void image_make(struct image *image, const struct recording *r, uint32_t cut,
                              enum survival survival, struct random *chance)
{
    bool names_stop = false;

    *image = (struct image){ 0 };
    for (uint32_t i = 0; i < cut; i++) {
        const struct recorded *change = &r->changes[i];
        bool safe = change_safe(r, i, cut);

        if (!change_names(change)) {
            image_apply(image, change, chance, safe, survival);
            continue;
        }
        if (!safe && survival != SURVIVE_ALL)
            names_stop = names_stop || survival == SURVIVE_NONE || random_below(chance, 2);
        if (!names_stop)
            image_rename(image, change);
    }
}

/* Puts it into a folder, and frees it. */
static inline void image_store(struct image *image, const char *directory)
{
    for (uint32_t i = 0; i < image->names.count; i++) {
        uint32_t node = image->names.list[i].node;
        char path[512];
        FILE *file;

        (void)snprintf(path, sizeof path, "%s/%s", directory, image->names.list[i].name);
        file = fopen(path, "wb");
        assert_non_null(file);
        if (image->size[node])
            assert_int_equal(fwrite(image->data[node], 1, image->size[node], file),
                             image->size[node]);
        assert_int_equal(fclose(file), 0);
    }
    for (uint32_t i = 0; i < NODES_MAX; i++)
        free(image->data[i]);
}

#endif
