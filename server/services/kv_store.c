#include "server/services/kv_store.h"

#include <stdlib.h>

#include "common/buffer.h"
#include "server/services/kv_checkpoint.h"

#define MALLOC_HEADER_BYTES 8u

static struct kv_db *db_create(void)
{
    struct kv_db *db = memory_zeroed(1, sizeof *db);

    kv_table_init(&db->table);
    return db;
}

struct kv_store *kv_store_create(void)
{
    struct kv_store *store = memory_zeroed(1, sizeof *store);

    store->db = db_create();
    return store;
}

/* Frees a step of it, and in the end itself: false then. */
static bool db_release(struct kv_db *db, uint32_t steps)
{
    if (kv_heap_release(&db->heap) || kv_table_release(&db->table, steps))
        return true;
    free(db);
    return false;
}

bool kv_store_destroy_slice(struct kv_store *store, uint32_t steps)
{
    kv_checkpoint_end(store);
    if (store->db) {
        store->db->next = store->aside;
        store->aside = store->db;
        store->db = NULL;
    }
    kv_store_release(store, steps);
    return store->aside || store->untold;
}

void kv_store_destroy(struct kv_store *store)
{
    while (kv_store_destroy_slice(store, UINT32_MAX))
        ;
    free(store->changed);
    free(store->spare);
    free(store->list.items);
    free(store);
}

void kv_store_release(struct kv_store *store, uint32_t steps)
{
    struct kv_db **db = &store->aside, *next;

    kv_checkpoint_release(store, steps);
    /* What an open checkpoint still walks through stays. */
    while (*db && kv_checkpoint_walks(store, *db))
        db = &(*db)->next;
    if (!*db)
        return;
    next = (*db)->next;
    if (!db_release(*db, steps))
        *db = next;
}

static void choose_seed(struct kv_store *store, uint64_t index, uint64_t time_us)
{
    store->seed.low = kv_mix(time_us, index);
    store->seed.high = kv_mix(store->seed.low, time_us) | 1;
}

void kv_store_enter(struct kv_store *store, uint64_t index, uint64_t time_us)
{
    assert(index >= store->index);
    if (store->seed.high == 0)
        choose_seed(store, index, time_us);
    store->index = index;
    if (time_us > store->time_us)
        store->time_us = time_us;
    kv_store_release(store, KV_RELEASE_STEP);
    kv_store_expire_due(store, KV_EXPIRE_STEP);
}

struct kv_key kv_store_key(const struct kv_store *store, struct bytes key)
{
    return (struct kv_key){ .bytes = key, .hash = kv_hash_key(store->seed, key) };
}

struct kv_entry *kv_store_find(const struct kv_store *store, struct kv_key key)
{
    return kv_table_find(&store->db->table, key.hash, key.bytes);
}

/* Before anything about a key changes; e is NULL when it is absent. */
static void change_begins(struct kv_store *store, struct kv_key key, const struct kv_entry *e)
{
    if (store->checkpoint)
        kv_checkpoint_keep(store, (uint32_t)key.hash, e);
    if (store->changed)
        kv_groups_add(store->changed, kv_point((uint32_t)key.hash) / KV_GROUP_POINTS);
    if (e) {
        store->digest -= kv_entry_digest(e, key.hash);
        store->db->content_bytes -= e->key_size + e->value_size;
    }
}

static void change_ends(struct kv_store *store, struct kv_key key, struct kv_entry *e)
{
    e->modified = store->index;
    store->digest += kv_entry_digest(e, key.hash);
    store->db->content_bytes += e->key_size + e->value_size;
}

/* kv_entry_reshape() for an entry in the table and, when it goes on expiring, in the heap. */
static struct kv_entry *reshape(struct kv_store *store, struct kv_entry *e, uint32_t flags,
                                size_t value_room, size_t keep)
{
    struct kv_entry **link = kv_table_link(&store->db->table, e);
    uint32_t old_flags = e->flags;

    *link = e = kv_entry_reshape(e, flags, value_room, keep);
    if (old_flags & flags & KV_ENTRY_EXPIRES)
        kv_heap_moved(&store->db->heap, e);
    return e;
}

/* Gives an entry another layout and expiry, and the blob or NULL. Its inline value keeps `keep`
 * bytes. The reference to its old blob is the caller's. */
static struct kv_entry *rebuild(struct kv_store *store, struct kv_entry *e, struct kv_blob *blob,
                                size_t value_room, size_t keep, int64_t expires_ms)
{
    struct kv_heap *heap = &store->db->heap;
    bool did_expire = e->flags & KV_ENTRY_EXPIRES, expires = expires_ms != KV_NEVER;
    uint32_t flags = (expires ? KV_ENTRY_EXPIRES : 0) | (blob ? KV_ENTRY_BLOB : 0);

    if (did_expire && !expires)
        kv_heap_remove(heap, e);
    e = reshape(store, e, flags, value_room, keep);
    if (blob)
        *kv_entry_blob(e) = blob;
    if (did_expire && expires && kv_entry_expiry(e)->at_ms != expires_ms)
        kv_heap_change(heap, e, expires_ms);
    if (!did_expire && expires)
        kv_heap_insert(heap, e, expires_ms);
    return e;
}

/* The blob for a new value, NULL when it goes inline. old is that of the value before, or NULL; its
 * memory is used again when nobody else holds it and it fits. */
static struct kv_blob *blob_for(struct kv_value value, struct kv_blob *old)
{
    if (value.blob)
        return kv_blob_hold(value.blob);
    if (value.bytes.size <= KV_INLINE_BYTES_MAX)
        return NULL;
    if (!old || old->references > 1 || value.bytes.size > old->capacity ||
        value.bytes.size < old->capacity / 2)
        return kv_blob_create(value.bytes, value.bytes.size);
    memcpy(old->data, value.bytes.data, value.bytes.size);
    old->sum = kv_hash_blocks(value.bytes, 0, value.bytes.size);
    return kv_blob_hold(old);
}

static struct kv_entry *create(struct kv_store *store, struct kv_key key, size_t value_room)
{
    struct kv_entry *e = kv_entry_create(key.bytes, key.hash, 0, value_room);

    kv_table_insert(&store->db->table, e);
    return e;
}

void kv_store_put(struct kv_store *store, struct kv_key key, struct kv_entry *e,
                  struct kv_value value, int64_t expires_ms)
{
    struct kv_blob *blob, *old;
    size_t room;

    change_begins(store, key, e);
    old = e && e->flags & KV_ENTRY_BLOB ? *kv_entry_blob(e) : NULL;
    blob = blob_for(value, old);
    room = blob ? 0 : value.bytes.size;
    if (!e)
        e = create(store, key,
                   room + (expires_ms != KV_NEVER ? sizeof(struct kv_expiry) : 0) +
                       (blob ? sizeof(struct kv_blob *) : 0));
    e = rebuild(store, e, blob, room, 0, expires_ms);
    if (room > 0)
        memcpy(kv_entry_inline(e), value.bytes.data, room);
    e->value_size = (uint32_t)value.bytes.size;
    if (old)
        kv_blob_release(old);
    change_ends(store, key, e);
}

/* Writes into an entry whose value, also afterwards, is inline. */
static struct kv_entry *write_inline(struct kv_store *store, struct kv_entry *e, size_t offset,
                                     struct bytes bytes)
{
    size_t size = e->value_size, end = offset + bytes.size;

    e = rebuild(store, e, NULL, end > size ? end : size, size, kv_entry_expires_ms(e));
    if (offset > size)
        memset(kv_entry_inline(e) + size, 0, offset - size);
    if (bytes.size > 0)
        memcpy(kv_entry_inline(e) + offset, bytes.data, bytes.size);
    return e;
}

static struct kv_entry *write_blob(struct kv_store *store, struct kv_entry *e, size_t offset,
                                   struct bytes bytes)
{
    struct kv_blob *blob;

    if (e->flags & KV_ENTRY_BLOB) {
        kv_blob_write(kv_entry_blob(e), e->value_size, offset, bytes);
        return e;
    }
    blob = kv_blob_create(kv_entry_value(e), offset + bytes.size);
    kv_blob_write(&blob, e->value_size, offset, bytes);
    return rebuild(store, e, blob, 0, 0, kv_entry_expires_ms(e));
}

struct kv_entry *kv_store_write(struct kv_store *store, struct kv_key key, struct kv_entry *e,
                                size_t offset, struct bytes bytes)
{
    size_t end = offset + bytes.size;

    assert(end <= KV_VALUE_BYTES_MAX);
    change_begins(store, key, e);
    if (!e)
        e = create(store, key, end <= KV_INLINE_BYTES_MAX ? end : sizeof(struct kv_blob *));
    if (e->flags & KV_ENTRY_BLOB || end > KV_INLINE_BYTES_MAX)
        e = write_blob(store, e, offset, bytes);
    else
        e = write_inline(store, e, offset, bytes);
    if (end > e->value_size)
        e->value_size = (uint32_t)end;
    change_ends(store, key, e);
    return e;
}

void kv_store_expire(struct kv_store *store, struct kv_key key, struct kv_entry *e,
                     int64_t expires_ms)
{
    struct kv_blob *blob = e->flags & KV_ENTRY_BLOB ? *kv_entry_blob(e) : NULL;
    size_t size = blob ? 0 : e->value_size;

    change_begins(store, key, e);
    e = rebuild(store, e, blob, size, size, expires_ms);
    change_ends(store, key, e);
}

/* Of one slot of deleted[]; 0 when the slot is. */
static uint64_t deleted_digest(uint32_t slot, uint64_t index)
{
    return index ? kv_mix(kv_mix(slot, 0x64656c65746564u), index) : 0;
}

void kv_store_set_deleted(struct kv_store *store, uint32_t slot, uint64_t index)
{
    store->digest -= deleted_digest(slot, store->deleted[slot]);
    store->deleted[slot] = index;
    store->digest += deleted_digest(slot, index);
}

void kv_store_set_flush_index(struct kv_store *store, uint64_t index)
{
    store->digest -= deleted_digest(KV_DELETED_SLOTS, store->flush_index);
    store->flush_index = index;
    store->digest += deleted_digest(KV_DELETED_SLOTS, index);
}

uint32_t kv_deleted_slot(struct kv_key key)
{
    return (uint32_t)(key.hash >> 32) % KV_DELETED_SLOTS;
}

void kv_store_remove(struct kv_store *store, struct kv_key key, struct kv_entry *e)
{
    change_begins(store, key, e);
    if (e->flags & KV_ENTRY_EXPIRES)
        kv_heap_remove(&store->db->heap, e);
    kv_table_remove(&store->db->table, e);
    kv_entry_free(e);
    kv_store_set_deleted(store, kv_deleted_slot(key), store->index);
}

void kv_store_flush(struct kv_store *store)
{
    struct kv_db **last = &store->aside;

    if (store->db->table.count == 0)
        return;
    while (*last)
        last = &(*last)->next;
    *last = store->db;
    store->db = db_create();
    memset(store->deleted, 0, sizeof store->deleted);
    store->flush_index = 0;
    store->digest = 0;
    kv_store_set_flush_index(store, store->index);
    /* There is little left to tell, so the next checkpoint may as well be a full one. */
    free(store->changed);
    store->changed = NULL;
}

struct kv_value kv_entry_value_to_share(const struct kv_entry *e)
{
    return (struct kv_value){ .bytes = kv_entry_value(e),
                              .blob = e->flags & KV_ENTRY_BLOB ? *kv_entry_blob(e) : NULL };
}

bool kv_store_overdue(const struct kv_store *store, int64_t now_ms)
{
    const struct kv_entry *first = kv_heap_first(&store->db->heap);

    return first && kv_entry_due(first, now_ms);
}

void kv_store_expire_due(struct kv_store *store, uint32_t limit)
{
    while (limit-- > 0 && kv_store_overdue(store, kv_store_now_ms(store))) {
        struct kv_entry *e = kv_heap_first(&store->db->heap);

        kv_store_remove(store, kv_store_key(store, kv_entry_key(e)), e);
        store->expired++;
    }
}

uint64_t kv_store_version(const struct kv_store *store, struct kv_key key)
{
    const struct kv_entry *e = kv_store_find(store, key);
    uint64_t gone = store->deleted[kv_deleted_slot(key)];

    /* Due, but not yet removed: it has changed from being there to not being there. */
    if (e && kv_entry_due(e, kv_store_now_ms(store)))
        return ~e->modified;
    if (e)
        return e->modified;
    return gone > store->flush_index ? gone : store->flush_index;
}

static void list_add(struct kv_list *list, struct kv_entry *e)
{
    uint32_t place = list->count++;

    if (place == list->capacity) {
        list->capacity = list->capacity ? 2 * list->capacity : 64;
        list->items = memory_grown(list->items, list->capacity * sizeof(struct kv_entry *));
    }
    for (; place > 0 && kv_entry_before(e, list->items[place - 1]); place--)
        list->items[place] = list->items[place - 1];
    list->items[place] = e;
}

/* About one key's worth of points, a power of two. */
static uint64_t interval_width(uint64_t count)
{
    uint64_t width = KV_POINT_END;

    for (; count > 1; count /= 2)
        width /= 2;
    return width > 0 ? width : 1;
}

uint64_t kv_store_interval(struct kv_store *store, uint64_t point)
{
    uint64_t width = interval_width(store->db->table.count);
    uint64_t end = (point / width + 1) * width, at = point, next;

    store->list.count = 0;
    for (; at < end; at = next)
        for (struct kv_entry *e = kv_table_bucket(&store->db->table, at, &next); e; e = e->next)
            if (kv_point(e->hash) >= point && kv_point(e->hash) < end)
                list_add(&store->list, e);
    return end;
}

static uint64_t db_memory_bytes(const struct kv_db *db)
{
    return db->content_bytes + db->table.count * (sizeof(struct kv_entry) + MALLOC_HEADER_BYTES) +
           db->heap.count * sizeof(struct kv_expiry) +
           ((uint64_t)db->table.pages.count + db->heap.pages.count) * KV_PAGE_BYTES;
}

uint64_t kv_store_memory_bytes(const struct kv_store *store)
{
    uint64_t bytes = sizeof *store + db_memory_bytes(store->db);

    for (const struct kv_db *db = store->aside; db; db = db->next)
        bytes += db_memory_bytes(db);
    return bytes;
}
