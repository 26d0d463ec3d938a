#include "server/services/kv_entry.h"

#include <assert.h>
#include <malloc.h>
#include <stdlib.h>

#include "common/buffer.h"

/* What malloc would give anyway, so that the room for an overwrite in place is known. */
static size_t rounded(size_t bytes)
{
    return ((bytes + 8 + 15) & ~(size_t)15) - 8;
}

static size_t bytes_needed(uint32_t flags, size_t key_size, size_t value_room)
{
    return sizeof(struct kv_entry) + kv_entry_key_offset(flags) + key_size + value_room;
}

struct kv_entry *kv_entry_create(struct bytes key, uint64_t hash, uint32_t flags, size_t value_room)
{
    struct kv_entry *e = memory_take(rounded(bytes_needed(flags, key.size, value_room)));

    *e =
        (struct kv_entry){ .hash = (uint32_t)hash, .key_size = (uint32_t)key.size, .flags = flags };
    if (key.size > 0)
        memcpy(e->body + kv_entry_key_offset(flags), key.data, key.size);
    return e;
}

static struct kv_entry *moved(struct kv_entry *e, uint32_t flags, size_t value_room, size_t keep)
{
    struct kv_entry *to = memory_take(rounded(bytes_needed(flags, e->key_size, value_room)));

    *to = *e;
    to->flags = flags;
    if (flags & e->flags & KV_ENTRY_EXPIRES)
        *kv_entry_expiry(to) = *kv_entry_expiry(e);
    memcpy(to->body + kv_entry_key_offset(flags), e->body + kv_entry_key_offset(e->flags),
           e->key_size + keep);
    free(e);
    return to;
}

struct kv_entry *kv_entry_reshape(struct kv_entry *e, uint32_t flags, size_t value_room,
                                  size_t keep)
{
    size_t needed = bytes_needed(flags, e->key_size, value_room);
    size_t usable = malloc_usable_size(e);

    assert(keep <= value_room);
    if (needed > usable || usable > needed + needed / 2 + 64)
        return moved(e, flags, value_room, keep);
    if (flags != e->flags)
        memmove(e->body + kv_entry_key_offset(flags), e->body + kv_entry_key_offset(e->flags),
                e->key_size + keep);
    e->flags = flags;
    return e;
}

void kv_entry_free(struct kv_entry *e)
{
    if (e->flags & KV_ENTRY_BLOB)
        kv_blob_release(*kv_entry_blob(e));
    free(e);
}

bool kv_entry_before(const struct kv_entry *a, const struct kv_entry *b)
{
    size_t shorter = a->key_size < b->key_size ? a->key_size : b->key_size;
    int order;

    if (a->hash != b->hash)
        return a->hash < b->hash;
    order = shorter ? memcmp(kv_entry_key(a).data, kv_entry_key(b).data, shorter) : 0;
    return order != 0 ? order < 0 : a->key_size < b->key_size;
}

uint64_t kv_entry_digest(const struct kv_entry *e, uint64_t hash)
{
    uint64_t content = e->flags & KV_ENTRY_BLOB
                           ? (*kv_entry_blob(e))->sum
                           : kv_hash_blocks(kv_entry_value(e), 0, e->value_size);

    return kv_mix(kv_mix(hash, content), kv_mix((uint64_t)kv_entry_expires_ms(e), e->modified));
}

struct kv_blob *kv_blob_create(struct bytes value, size_t capacity)
{
    struct kv_blob *blob = memory_take(sizeof *blob + capacity);

    assert(value.size <= capacity && capacity <= UINT32_MAX);
    *blob = (struct kv_blob){ .references = 1,
                              .capacity = (uint32_t)capacity,
                              .sum = kv_hash_blocks(value, 0, value.size) };
    if (value.size > 0)
        memcpy(blob->data, value.data, value.size);
    return blob;
}

void kv_blob_release(struct kv_blob *blob)
{
    assert(blob->references > 0);
    if (--blob->references == 0)
        free(blob);
}

/* Makes *blob the caller's alone, with room for end bytes. A quarter more is taken, so that a value
 * that is appended to is not moved each time. */
static void make_room(struct kv_blob **blob, size_t size, size_t end)
{
    size_t capacity = end + end / 4;

    if (capacity > KV_VALUE_BYTES_MAX)
        capacity = KV_VALUE_BYTES_MAX;
    if ((*blob)->references > 1) {
        struct kv_blob *copy = memory_take(sizeof *copy + capacity);

        *copy = (struct kv_blob){ .references = 1,
                                  .capacity = (uint32_t)capacity,
                                  .sum = (*blob)->sum };
        memcpy(copy->data, (*blob)->data, size);
        kv_blob_release(*blob);
        *blob = copy;
    } else if (end > (*blob)->capacity) {
        *blob = memory_grown(*blob, sizeof **blob + capacity);
        (*blob)->capacity = (uint32_t)capacity;
    }
}

void kv_blob_write(struct kv_blob **blob, size_t size, size_t offset, struct bytes bytes)
{
    size_t end = offset + bytes.size > size ? offset + bytes.size : size;
    size_t from = offset < size ? offset : size; /* first byte that changes */

    assert(end <= KV_VALUE_BYTES_MAX);
    make_room(blob, size, end);
    (*blob)->sum -= kv_hash_blocks(bytes_of((*blob)->data, size), from, offset + bytes.size);
    if (offset > size)
        memset((*blob)->data + size, 0, offset - size);
    if (bytes.size > 0)
        memcpy((*blob)->data + offset, bytes.data, bytes.size);
    (*blob)->sum += kv_hash_blocks(bytes_of((*blob)->data, end), from, offset + bytes.size);
}
