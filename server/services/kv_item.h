/* kv_item - the items of a checkpoint, written and read.
 *
 *   BEGIN    u64 base index (0: full), index, time, seed low, seed high, flush index
 *   DELETED  pairs of u32 slot, u64 index: of the slots that changed since the base
 *   DROP     u32 group: remove all its keys
 *   ENTRY    u64 modified, s64 expires (0: never), u32 size of the value, u32 size of the key, key,
 *            then the value, or nothing of it when PARTs follow
 *   PART     the next bytes of the value of the last ENTRY
 *   NOTHING  so that a slice is not empty
 *   END      u64 keys, u64 digest: what the state must come to
 *
 * Each item begins with the u32 length of what follows and its u8 type. Little endian. */
#ifndef HOLDFAST_SERVER_SERVICES_KV_ITEM_H
#define HOLDFAST_SERVER_SERVICES_KV_ITEM_H

#include <endian.h>
#include <stdbool.h>

#include "common/bytes.h"

enum kv_item_type {
    KV_ITEM_BEGIN = 1,
    KV_ITEM_DELETED,
    KV_ITEM_DROP,
    KV_ITEM_ENTRY,
    KV_ITEM_PART,
    KV_ITEM_NOTHING,
    KV_ITEM_END,
};

#define KV_ITEM_HEADER_BYTES  5u
#define KV_ITEM_ENTRY_BYTES   (KV_ITEM_HEADER_BYTES + 24u) /* without key and value */
#define KV_ITEM_DELETED_BYTES 12u                          /* a pair */

static inline uint8_t *kv_put32(uint8_t *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof value);
    return at + sizeof value;
}

static inline uint8_t *kv_put64(uint8_t *at, uint64_t value)
{
    value = htole64(value);
    memcpy(at, &value, sizeof value);
    return at + sizeof value;
}

static inline uint8_t *kv_put_bytes(uint8_t *at, struct bytes bytes)
{
    if (bytes.size > 0)
        memcpy(at, bytes.data, bytes.size);
    return at + bytes.size;
}

/* The header of an item of so many bytes in all, header included. */
static inline uint8_t *kv_put_header(uint8_t *at, size_t bytes, enum kv_item_type type)
{
    at = kv_put32(at, (uint32_t)(bytes - 4));
    *at = (uint8_t)type;
    return at + 1;
}

/* Takes a number off the front; false, and nothing is taken, when there is too little. */
static inline bool kv_take32(struct bytes *from, uint32_t *value)
{
    if (from->size < sizeof *value)
        return false;
    memcpy(value, from->data, sizeof *value);
    *value = le32toh(*value);
    *from = bytes_of(from->data + sizeof *value, from->size - sizeof *value);
    return true;
}

static inline bool kv_take64(struct bytes *from, uint64_t *value)
{
    if (from->size < sizeof *value)
        return false;
    memcpy(value, from->data, sizeof *value);
    *value = le64toh(*value);
    *from = bytes_of(from->data + sizeof *value, from->size - sizeof *value);
    return true;
}

static inline bool kv_take_bytes(struct bytes *from, size_t size, struct bytes *bytes)
{
    if (from->size < size)
        return false;
    *bytes = bytes_of(from->data, size);
    *from = bytes_of(from->data + size, from->size - size);
    return true;
}

#endif
