/* A journal in a folder of its own, and what a test knows to be in it. */
#ifndef HOLDFAST_TESTS_UNIT_DISK_FIXTURE_H
#define HOLDFAST_TESTS_UNIT_DISK_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/random.h"
#include "server/segments.h"

#define DISK_ENTRIES_MAX 4096u

/* ---- Folders ---- */

/* In memory where that can be: many thousand files are made, and no power is cut in earnest. */
static inline void folder_make(char *path, size_t size)
{
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

    (void)snprintf(path, size, "%s/holdfast-disk-XXXXXX", parent);
    assert_non_null(mkdtemp(path));
}

/* Removes what is in it; *count is how many files that were. */
static inline size_t folder_empty(const char *path)
{
    DIR *directory = opendir(path);
    struct dirent *entry;
    size_t count = 0;

    assert_non_null(directory);
    while ((entry = readdir(directory)) != NULL) {
        char file[512];

        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        assert_int_equal(unlink(file), 0);
        count++;
    }
    assert_int_equal(closedir(directory), 0);
    return count;
}

static inline void folder_remove(const char *path)
{
    (void)folder_empty(path);
    assert_int_equal(rmdir(path), 0);
}

/* How many files there begin with these letters. */
static inline size_t folder_count(const char *path, const char *prefix)
{
    DIR *directory = opendir(path);
    struct dirent *entry;
    size_t count = 0;

    assert_non_null(directory);
    while ((entry = readdir(directory)) != NULL)
        count += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    assert_int_equal(closedir(directory), 0);
    return count;
}

/* ---- What is known ---- */

/* Entries first … last; each is told from all others ever written by its token. */
struct shelf {
    uint64_t first, last;
    uint64_t token[DISK_ENTRIES_MAX];
};

/* What an entry with this token asks for: its bytes follow from the token. */
static inline size_t request_of(uint64_t token, uint8_t *request, size_t size_max)
{
    struct random chance = random_seeded(token);
    size_t size = (size_t)random_below(&chance, size_max);

    for (size_t i = 0; i < size; i++)
        request[i] = (uint8_t)random_next(&chance);
    return size;
}

#define REQUEST_SIZE_MAX 900u

static inline void shelf_pack(struct buffer *out, uint64_t index, uint64_t token)
{
    uint8_t request[REQUEST_SIZE_MAX];
    struct journal_record header = { .index = index, .view = 3, .token = token };
    size_t size = request_of(token, request, sizeof request);

    journal_record_pack(out, &header, bytes_of(request, size));
}

static inline void shelf_put(struct shelf *shelf, uint64_t index, uint64_t token)
{
    assert_true(index >= 1 && index <= shelf->last + 1 && index < DISK_ENTRIES_MAX);
    if (index < shelf->first)
        shelf->first = index;
    shelf->last = index;
    shelf->token[index] = token;
}

static inline void shelf_reset(void *context, uint64_t index, uint64_t view)
{
    struct shelf *shelf = context;

    (void)view;
    shelf->first = index + 1;
    shelf->last = index;
}

static inline void shelf_truncate(void *context, uint64_t last)
{
    struct shelf *shelf = context;

    assert_true(last < shelf->last);
    shelf->last = last;
    if (shelf->first > last + 1)
        shelf->first = last + 1;
}

static inline void shelf_record(void *context, const struct journal_record *header,
                                struct bytes record)
{
    struct shelf *shelf = context;
    uint8_t request[REQUEST_SIZE_MAX];
    size_t size = request_of(header->token, request, sizeof request);

    assert_int_equal(header->size, record.size);
    assert_int_equal(header->view, 3);
    assert_int_equal(header->request_size, size);
    assert_memory_equal(record.data + sizeof *header, request, size);
    if (shelf->last == 0 && header->index > 1) /* what was before is dropped */
        shelf->first = header->index;
    else
        assert_int_equal(header->index, shelf->last + 1);
    shelf->last = header->index;
    shelf->token[header->index] = header->token;
}

/* ---- Reading and writing ---- */

static inline struct segments_options disk_options(const char *directory, const struct files *files,
                                                   uint64_t bytes)
{
    return (struct segments_options){ .directory = directory,
                                      .files = files,
                                      .cluster = "three",
                                      .segment_bytes = bytes,
                                      .seed = 7 };
}

static inline struct segments_visitor shelf_visitor(struct shelf *shelf)
{
    *shelf = (struct shelf){ .first = 1 };
    return (struct segments_visitor){
        .reset = shelf_reset, .truncate = shelf_truncate, .record = shelf_record, .context = shelf
    };
}

static inline struct segments_found disk_read(const char *directory, struct shelf *shelf)
{
    struct segments_options options = disk_options(directory, &files_system, 0);
    struct segments_visitor visitor = shelf_visitor(shelf);
    struct segments_found found;
    struct error error;

    if (segments_read(&options, &visitor, &found, &error) != ERROR_NONE)
        fail_msg("%s", error.text);
    if (!found.damaged)
        assert_int_equal(found.last, shelf->last ? shelf->last : found.last);
    return found;
}

/* A group of entries from `first` on, whose tokens count from `token`. */
static inline enum error_code disk_write(struct segments *segments, uint64_t first, uint64_t count,
                                         uint64_t token, struct error *error)
{
    struct buffer group = { 0 };
    struct bytes piece;
    enum error_code code;

    for (uint64_t i = 0; i < count; i++)
        shelf_pack(&group, first + i, token + i);
    piece = buffer_bytes(&group);
    code = segments_write(segments, &piece, 1, error);
    buffer_free(&group);
    return code;
}

static inline void shelf_put_all(struct shelf *shelf, uint64_t first, uint64_t count,
                                 uint64_t token)
{
    if (shelf->first > first)
        shelf->first = first;
    shelf->last = first - 1;
    for (uint64_t i = 0; i < count; i++)
        shelf_put(shelf, first + i, token + i);
}

/* Whether what was read is what is known, but for entries up to dropped, which may be there. */
static inline bool shelf_same(const struct shelf *known, const struct segments_found *found,
                              const struct shelf *read, uint64_t dropped)
{
    if (found->last != known->last || found->first < known->first ||
        (found->first > known->first && found->first > dropped + 1))
        return false;
    for (uint64_t i = found->first; i <= found->last; i++)
        if (known->token[i] != read->token[i])
            return false;
    return true;
}

#endif
