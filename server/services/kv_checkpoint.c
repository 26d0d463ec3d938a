#include "server/services/kv_checkpoint.h"

#include <assert.h>
#include <stdlib.h>

#include "server/services/kv_item.h"

#define DELETED_PAIRS  512u  /* in one item */
#define PART_BYTES_MIN 1024u /* a budget nearly used up still takes so much of a large value */
#define STEPS_MAX      1024u /* buckets looked at in a slice, as most may have nothing to tell */

/* An item that goes out before the walk goes on; then the value, if it is a large one. */
struct kv_queued {
    struct kv_queued *next;
    struct kv_blob *blob; /* or NULL */
    uint32_t size, sent;  /* of the blob; sent counts once the item is out */
    bool item_sent;
    size_t item_bytes;
    uint8_t item[];
};

struct kv_checkpoint {
    uint64_t index, digest, keys; /* as of the beginning */
    struct kv_db *db;
    uint64_t point;           /* of a full one: where the walk is */
    struct kv_groups *groups; /* of changes: those yet to be told; NULL in a full one */
    struct kv_queued *first, **last;
    bool complete;
};

static struct kv_queued *queue(struct kv_checkpoint *c, size_t item_bytes)
{
    struct kv_queued *q = memory_take(sizeof *q + item_bytes);

    *q = (struct kv_queued){ .item_bytes = item_bytes };
    *c->last = q;
    c->last = &q->next;
    return q;
}

static void queued_free(struct kv_queued *q)
{
    if (q->blob)
        kv_blob_release(q->blob);
    free(q);
}

static void unqueue(struct kv_checkpoint *c)
{
    struct kv_queued *q = c->first;

    c->first = q->next;
    if (!c->first)
        c->last = &c->first;
    queued_free(q);
}

static size_t entry_item_bytes(const struct kv_entry *e)
{
    return KV_ITEM_ENTRY_BYTES + e->key_size + (e->flags & KV_ENTRY_BLOB ? 0 : e->value_size);
}

static void put_entry(uint8_t *at, const struct kv_entry *e)
{
    at = kv_put_header(at, entry_item_bytes(e), KV_ITEM_ENTRY);
    at = kv_put64(at, e->modified);
    at = kv_put64(at, (uint64_t)kv_entry_expires_ms(e));
    at = kv_put32(at, e->value_size);
    at = kv_put32(at, e->key_size);
    at = kv_put_bytes(at, kv_entry_key(e));
    if (!(e->flags & KV_ENTRY_BLOB))
        kv_put_bytes(at, kv_entry_value(e));
}

static void queue_entry(struct kv_checkpoint *c, const struct kv_entry *e)
{
    struct kv_queued *q = queue(c, entry_item_bytes(e));

    put_entry(q->item, e);
    if (e->flags & KV_ENTRY_BLOB) {
        q->blob = kv_blob_hold(*kv_entry_blob(e));
        q->size = e->value_size;
    }
}

/* To the slice at once; a large value by way of the queue, which cuts it into parts. out is NULL
 * when an entry is told because it is about to change. */
static void tell_entry(struct kv_checkpoint *c, const struct kv_entry *e, struct buffer *out)
{
    size_t bytes = entry_item_bytes(e);

    if (!out || e->flags & KV_ENTRY_BLOB) {
        queue_entry(c, e);
        return;
    }
    put_entry(buffer_reserve(out, bytes), e);
    buffer_commit(out, bytes);
}

static void tell_group(struct kv_checkpoint *c, uint32_t group, struct buffer *out)
{
    uint64_t at = (uint64_t)group * KV_GROUP_POINTS, end = at + KV_GROUP_POINTS, next;
    size_t bytes = KV_ITEM_HEADER_BYTES + 4;
    uint8_t *item = out ? buffer_reserve(out, bytes) : queue(c, bytes)->item;

    kv_put32(kv_put_header(item, bytes, KV_ITEM_DROP), group);
    if (out)
        buffer_commit(out, bytes);
    for (; at < end; at = next)
        for (struct kv_entry *e = kv_table_bucket(&c->db->table, at, &next); e; e = e->next)
            if (kv_point(e->hash) / KV_GROUP_POINTS == group) {
                assert(e->modified <= c->index);
                tell_entry(c, e, out);
            }
}

void kv_checkpoint_keep(struct kv_store *store, uint32_t hash, const struct kv_entry *e)
{
    struct kv_checkpoint *c = store->checkpoint;

    if (c->db != store->db || c->complete)
        return;
    if (c->groups) {
        if (kv_groups_take(c->groups, kv_point(hash) / KV_GROUP_POINTS))
            tell_group(c, kv_point(hash) / KV_GROUP_POINTS, NULL);
    } else if (e && e->modified <= c->index && kv_point(hash) >= c->point) {
        queue_entry(c, e);
    }
}

bool kv_checkpoint_walks(const struct kv_store *store, const struct kv_db *db)
{
    return store->checkpoint && store->checkpoint->db == db;
}

static void queue_beginning(struct kv_store *store, struct kv_checkpoint *c, uint64_t base_index)
{
    size_t bytes = KV_ITEM_HEADER_BYTES + 6 * sizeof(uint64_t);
    uint8_t *at = kv_put_header(queue(c, bytes)->item, bytes, KV_ITEM_BEGIN);

    at = kv_put64(at, base_index);
    at = kv_put64(at, store->index);
    at = kv_put64(at, store->time_us);
    at = kv_put64(at, store->seed.low);
    at = kv_put64(at, store->seed.high);
    kv_put64(at, store->flush_index);
}

static void queue_deleted(struct kv_store *store, struct kv_checkpoint *c, uint64_t base_index)
{
    uint8_t pairs[DELETED_PAIRS * KV_ITEM_DELETED_BYTES], *at = pairs;

    for (uint32_t slot = 0; slot < KV_DELETED_SLOTS; slot++) {
        if (store->deleted[slot] > base_index)
            at = kv_put64(kv_put32(at, slot), store->deleted[slot]);
        if (at == pairs + sizeof pairs || (slot == KV_DELETED_SLOTS - 1 && at != pairs)) {
            size_t bytes = KV_ITEM_HEADER_BYTES + (size_t)(at - pairs);

            kv_put_bytes(kv_put_header(queue(c, bytes)->item, bytes, KV_ITEM_DELETED),
                         bytes_of(pairs, (size_t)(at - pairs)));
            at = pairs;
        }
    }
}

/* To empty a set that is there takes a tenth of the time of getting a new one from the system. */
static struct kv_groups *groups_empty(struct kv_groups *used, struct kv_store *store)
{
    if (used && used->count > 0)
        memset(used, 0, sizeof *used);
    if (!used) {
        used = store->spare;
        store->spare = NULL;
    }
    return used ? used : memory_zeroed(1, sizeof *used);
}

bool kv_checkpoint_begin(struct kv_store *store, uint64_t base_index)
{
    struct kv_checkpoint *c;

    if (store->checkpoint || store->restore.open)
        return false;
    if (base_index > 0 && (!store->changed || base_index < store->tracked_from))
        return false;
    c = memory_zeroed(1, sizeof *c);
    *c = (struct kv_checkpoint){ .index = store->index,
                                 .digest = store->digest,
                                 .keys = store->db->table.count,
                                 .db = store->db,
                                 .last = &c->first };
    queue_beginning(store, c, base_index);
    queue_deleted(store, c, base_index);
    /* The next one of changes is based on this one. */
    if (base_index > 0)
        c->groups = store->changed;
    store->changed = groups_empty(base_index > 0 ? NULL : store->changed, store);
    store->tracked_from = store->index;
    store->checkpoint = c;
    return true;
}

/* Appends the item, or the next part of the value. */
static void tell_queued(struct kv_checkpoint *c, size_t room, struct buffer *out)
{
    struct kv_queued *q = c->first;
    size_t part = q->size - q->sent, bytes;
    uint8_t *at;

    if (!q->item_sent) {
        buffer_append(out, q->item, q->item_bytes);
        q->item_sent = true;
    } else {
        if (part > room)
            part = room > PART_BYTES_MIN ? room : PART_BYTES_MIN;
        if (part > q->size - q->sent)
            part = q->size - q->sent;
        bytes = KV_ITEM_HEADER_BYTES + part;
        at = kv_put_header(buffer_reserve(out, bytes), bytes, KV_ITEM_PART);
        kv_put_bytes(at, bytes_of(q->blob->data + q->sent, part));
        buffer_commit(out, bytes);
        q->sent += (uint32_t)part;
    }
    if (q->sent == q->size)
        unqueue(c);
}

/* One bucket, or one group. False when the walk is over. */
static bool walk(struct kv_checkpoint *c, struct buffer *out)
{
    uint64_t next;

    if (c->groups) {
        uint32_t group;

        if (c->groups->count == 0)
            return false;
        group = kv_groups_any(c->groups);
        kv_groups_take(c->groups, group);
        tell_group(c, group, out);
        return true;
    }
    if (c->point == KV_POINT_END)
        return false;
    kv_table_foresee(&c->db->table, c->point);
    for (struct kv_entry *e = kv_table_bucket(&c->db->table, c->point, &next); e; e = e->next)
        if (e->modified <= c->index && kv_point(e->hash) >= c->point)
            tell_entry(c, e, out);
    c->point = next;
    return true;
}

static void tell_end(struct kv_checkpoint *c, struct buffer *out)
{
    size_t bytes = KV_ITEM_HEADER_BYTES + 2 * sizeof(uint64_t);
    uint8_t *at = kv_put_header(buffer_reserve(out, bytes), bytes, KV_ITEM_END);

    kv_put64(kv_put64(at, c->keys), c->digest);
    buffer_commit(out, bytes);
    c->complete = true;
}

static void tell_nothing(struct buffer *out)
{
    kv_put_header(buffer_reserve(out, KV_ITEM_HEADER_BYTES), KV_ITEM_HEADER_BYTES, KV_ITEM_NOTHING);
    buffer_commit(out, KV_ITEM_HEADER_BYTES);
}

bool kv_checkpoint_slice(struct kv_store *store, uint32_t budget, struct buffer *out)
{
    struct kv_checkpoint *c = store->checkpoint;
    size_t start = buffer_size(out), told = 0;

    if (!c || c->complete)
        return false;
    for (uint32_t step = 0; step < STEPS_MAX && told < budget; step++) {
        if (c->first) {
            tell_queued(c, budget - told, out);
        } else if (!walk(c, out)) {
            tell_end(c, out);
            return false;
        }
        told = buffer_size(out) - start;
    }
    if (told == 0)
        tell_nothing(out);
    return true;
}

void kv_checkpoint_end(struct kv_store *store)
{
    struct kv_checkpoint *c = store->checkpoint;

    if (!c)
        return;
    *c->last = store->untold;
    store->untold = c->first;
    /* Told to the last, the set is empty and serves again. */
    if (c->groups && c->groups->count == 0 && !store->spare)
        store->spare = c->groups;
    else
        free(c->groups);
    free(c);
    store->checkpoint = NULL;
}

void kv_checkpoint_release(struct kv_store *store, uint32_t steps)
{
    for (struct kv_queued *next; store->untold && steps > 0; steps--) {
        next = store->untold->next;
        queued_free(store->untold);
        store->untold = next;
    }
}

uint64_t kv_checkpoint_bytes_estimated(const struct kv_store *store, uint64_t base_index)
{
    const struct kv_db *db = store->db;
    uint64_t keys = db->table.count;
    uint64_t full = db->content_bytes + keys * KV_ITEM_ENTRY_BYTES +
                    (uint64_t)KV_DELETED_SLOTS * KV_ITEM_DELETED_BYTES;
    uint64_t each;

    if (base_index == 0 || !store->changed || base_index < store->tracked_from || keys == 0)
        return full;
    /* A group has the changed key and its share of the others. */
    each = (db->content_bytes / keys + KV_ITEM_ENTRY_BYTES) * (KV_GROUPS + keys) / KV_GROUPS;
    each = store->changed->count * (each + KV_ITEM_HEADER_BYTES + 4);
    return each < full ? each : full;
}
