/* Takes checkpoints in. Every byte may be wrong: lengths are checked before they are used, and what
 * the state comes to must have the digest that the checkpoint ends with. */
#include <stdlib.h>

#include "server/services/kv_checkpoint.h"
#include "server/services/kv_item.h"

#define SCOUTED_ITEMS      8u  /* looked at ahead of the one that is taken */
#define FORESEEN_TIMES_MAX 64u /* as many keys as are there already, whatever the points say */

/* A store without a seed has seen no entry yet, and fits them all. */
static bool seed_fits(const struct kv_store *store, struct kv_seed seed)
{
    return store->seed.high == 0 || (seed.low == store->seed.low && seed.high == store->seed.high);
}

static bool take_begin(struct kv_store *store, struct bytes item)
{
    struct kv_restore *r = &store->restore;
    struct kv_seed seed;
    uint64_t base, flush_index;

    if (r->open || !kv_take64(&item, &base) || !kv_take64(&item, &r->index) ||
        !kv_take64(&item, &r->time_us) || !kv_take64(&item, &seed.low) ||
        !kv_take64(&item, &seed.high) || !kv_take64(&item, &flush_index) || item.size > 0)
        return false;
    if (base == 0 ? store->db->table.count > 0 || store->seed.high != 0
                  : store->index > r->index || !seed_fits(store, seed))
        return false;
    store->seed = seed;
    kv_store_set_flush_index(store, flush_index);
    /* Nobody can tell any more what changed since an earlier checkpoint of ours. */
    free(store->changed);
    store->changed = NULL;
    r->open = true;
    r->full = base == 0;
    return true;
}

static bool take_deleted(struct kv_store *store, struct bytes item)
{
    uint32_t slot;
    uint64_t index;

    while (item.size > 0) {
        if (!kv_take32(&item, &slot) || !kv_take64(&item, &index) || slot >= KV_DELETED_SLOTS)
            return false;
        kv_store_set_deleted(store, slot, index);
    }
    return true;
}

/* Some entry of the group, NULL when it is empty. */
static struct kv_entry *any_of_group(const struct kv_table *table, uint32_t group)
{
    uint64_t at = (uint64_t)group * KV_GROUP_POINTS, end = at + KV_GROUP_POINTS, next;

    for (; at < end; at = next)
        for (struct kv_entry *e = kv_table_bucket(table, at, &next); e; e = e->next)
            if (kv_point(e->hash) / KV_GROUP_POINTS == group)
                return e;
    return NULL;
}

/* The removal of a key marks its slot of deleted[], which is not what a checkpoint tells. */
static void remove_quietly(struct kv_store *store, struct kv_entry *e)
{
    struct kv_key key = kv_store_key(store, kv_entry_key(e));
    uint32_t slot = kv_deleted_slot(key);
    uint64_t index = store->deleted[slot];

    kv_store_remove(store, key, e);
    kv_store_set_deleted(store, slot, index);
}

static bool take_drop(struct kv_store *store, struct bytes item)
{
    struct kv_entry *e;
    uint32_t group;

    if (!kv_take32(&item, &group) || item.size > 0 || group >= KV_GROUPS)
        return false;
    while ((e = any_of_group(&store->db->table, group)) != NULL)
        remove_quietly(store, e);
    return true;
}

/* The change is as of the entry that made it, not as of now. */
static void put_as_of(struct kv_store *store, struct kv_key key, struct bytes value,
                      int64_t expires_ms, uint64_t modified)
{
    uint64_t index = store->index;

    store->index = modified;
    kv_store_put(store, key, kv_store_find(store, key), (struct kv_value){ .bytes = value },
                 expires_ms);
    store->index = index;
}

/* A whole state comes about in the order of points, so the first ones tell how many keys there will
 * be. Those that come earlier for having changed have a higher point, and make it seem fewer. */
static void foresee_keys(struct kv_store *store, struct kv_key key)
{
    struct kv_table *table = &store->db->table;
    uint64_t times = KV_POINT_END / ((uint64_t)kv_point((uint32_t)key.hash) + 1u);

    if (times > FORESEEN_TIMES_MAX)
        times = FORESEEN_TIMES_MAX;
    kv_table_reserve(table, table->count * times, FORESEEN_TIMES_MAX);
}

static bool take_entry(struct kv_store *store, struct bytes item)
{
    struct kv_restore *r = &store->restore;
    uint64_t modified, expires;
    uint32_t value_size, key_size;
    struct kv_key key;
    struct bytes bytes;

    if (!kv_take64(&item, &modified) || !kv_take64(&item, &expires) ||
        !kv_take32(&item, &value_size) || !kv_take32(&item, &key_size) ||
        !kv_take_bytes(&item, key_size, &bytes))
        return false;
    if (modified > r->index || expires > INT64_MAX || value_size > KV_VALUE_BYTES_MAX ||
        (item.size != value_size && item.size != 0))
        return false;
    key = kv_store_key(store, bytes);
    if (r->full)
        foresee_keys(store, key);
    put_as_of(store, key, item, (int64_t)expires, modified);
    if (item.size == value_size)
        return true;
    r->partial = kv_store_find(store, key);
    r->partial_key = (struct kv_key){ kv_entry_key(r->partial), key.hash };
    r->partial_size = value_size;
    return true;
}

static bool take_part(struct kv_store *store, struct bytes item)
{
    struct kv_restore *r = &store->restore;
    struct kv_entry *e = r->partial;
    uint64_t index = store->index;

    if (item.size == 0 || item.size > r->partial_size - e->value_size)
        return false;
    store->index = e->modified;
    e = kv_store_write(store, r->partial_key, e, e->value_size, item);
    store->index = index;
    r->partial = e->value_size < r->partial_size ? e : NULL;
    r->partial_key.bytes = kv_entry_key(e);
    return true;
}

static bool take_end(struct kv_store *store, struct bytes item)
{
    struct kv_restore *r = &store->restore;
    uint64_t keys, digest;

    if (!kv_take64(&item, &keys) || !kv_take64(&item, &digest) || item.size > 0 ||
        keys != store->db->table.count || digest != store->digest)
        return false;
    store->index = r->index;
    store->time_us = r->time_us;
    *r = (struct kv_restore){ 0 };
    return true;
}

static bool take_item(struct kv_store *store, uint8_t type, struct bytes item)
{
    /* A value is told to its end before anything else. */
    if (store->restore.open != (type != KV_ITEM_BEGIN) ||
        (store->restore.partial != NULL) != (type == KV_ITEM_PART))
        return false;
    switch (type) {
    case KV_ITEM_BEGIN: return take_begin(store, item);
    case KV_ITEM_DELETED: return take_deleted(store, item);
    case KV_ITEM_DROP: return take_drop(store, item);
    case KV_ITEM_ENTRY: return take_entry(store, item);
    case KV_ITEM_PART: return take_part(store, item);
    case KV_ITEM_NOTHING: return item.size == 0;
    case KV_ITEM_END: return take_end(store, item);
    default: return false;
    }
}

/* Steps over the next item, and fetches what its key will be looked for in: most of the time of a
 * restore would go into waiting for that. What is not as it must be is found when it is taken. */
static void scout(const struct kv_store *store, struct bytes *ahead)
{
    const size_t fixed = KV_ITEM_ENTRY_BYTES - KV_ITEM_HEADER_BYTES;
    uint32_t bytes, key_size;
    struct bytes item, key;

    if (ahead->size == 0)
        return;
    if (!kv_take32(ahead, &bytes) || !kv_take_bytes(ahead, bytes, &item)) {
        *ahead = bytes_of(NULL, 0);
        return;
    }
    if (bytes < 1 + fixed || item.data[0] != KV_ITEM_ENTRY)
        return;
    item = bytes_of(item.data + 1 + fixed - sizeof key_size, bytes - 1 - fixed + sizeof key_size);
    if (kv_take32(&item, &key_size) && kv_take_bytes(&item, key_size, &key))
        kv_table_prefetch(&store->db->table, kv_store_key(store, key).hash);
}

bool kv_restore_slice(struct kv_store *store, struct bytes slice)
{
    struct bytes item, ahead = slice;
    uint32_t bytes;

    if (store->checkpoint || slice.size == 0)
        return false;
    for (uint32_t i = 0; i < SCOUTED_ITEMS; i++)
        scout(store, &ahead);
    while (slice.size > 0) {
        scout(store, &ahead);
        if (!kv_take32(&slice, &bytes) || bytes < 1 || !kv_take_bytes(&slice, bytes, &item) ||
            !take_item(store, item.data[0], bytes_of(item.data + 1, item.size - 1)))
            return false;
    }
    return true;
}
