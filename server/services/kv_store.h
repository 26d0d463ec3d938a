/* kv_store - the state of the kv service, and every way to change it.
 *
 * Everything that execute() depends on is here, goes into checkpoints and is covered by the digest,
 * and what the entries decide is decided by their content: never by the layout of a table or heap,
 * which differs between a server that has lived through it all and one restored from a checkpoint.
 *
 * No call does more work than its arguments warrant: a table that was flushed is freed in steps. */
#ifndef HOLDFAST_SERVER_SERVICES_KV_STORE_H
#define HOLDFAST_SERVER_SERVICES_KV_STORE_H

#include "server/services/kv_groups.h"
#include "server/services/kv_heap.h"
#include "server/services/kv_table.h"

#define KV_DELETED_SLOTS \
    16384u                     /* indexes of the last removals, by hash, for WATCH of absent keys */
#define KV_EXPIRE_STEP  20u    /* keys that are due removed at the start of an entry */
#define KV_RELEASE_STEP 64u    /* keys of a flushed table freed in one call */
#define KV_IDLE_STEP    1024u  /* the same, by time, */
#define KV_IDLE_US      50000u /* so often at most */

struct kv_checkpoint;
struct kv_queued;

/* The keys. A flush puts it aside whole. */
struct kv_db {
    struct kv_table table;
    struct kv_heap heap;
    uint64_t content_bytes; /* of keys and values */
    struct kv_db *next;     /* among those put aside */
};

struct kv_key {
    struct bytes bytes;
    uint64_t hash;
};

struct kv_list {
    struct kv_entry **items;
    uint32_t count, capacity;
};

/* What is being taken in from a checkpoint (kv_restore.c). */
struct kv_restore {
    bool open, full;
    uint64_t index, time_us;  /* of the checkpoint */
    struct kv_entry *partial; /* its value is still coming */
    struct kv_key partial_key;
    uint32_t partial_size; /* of the whole value */
};

struct kv_store {
    struct kv_db *db;
    struct kv_db *aside; /* flushed, to be freed in steps */
    struct kv_seed seed; /* from the first entry */
    uint64_t index;      /* of the last entry */
    uint64_t time_us;    /* of the last entry */
    uint64_t flush_index;
    uint64_t digest;
    uint64_t expired; /* keys removed because they were due; a statistic */
    uint64_t deleted[KV_DELETED_SLOTS];

    struct kv_groups *changed;        /* since tracked_from; NULL when nobody keeps track */
    uint64_t tracked_from;            /* index */
    struct kv_groups *spare;          /* an empty set for the next checkpoint, or NULL */
    struct kv_checkpoint *checkpoint; /* the open one, or NULL */
    struct kv_queued *untold;         /* left over from ended ones, to be freed in steps */
    struct kv_restore restore;
    uint64_t released_us; /* when kv_overdue() last freed something; no part of the state */
    struct kv_list list;  /* scratch of kv_store_interval() */
};

struct kv_store *kv_store_create(void);
void kv_store_destroy(struct kv_store *store);
/* Frees up to about steps keys of a store that will only be destroyed; true while there are more.
 */
bool kv_store_destroy_slice(struct kv_store *store, uint32_t steps);

/* An entry begins: takes its index and time, frees a step of what was flushed, and removes a step
 * of the keys that are due. */
void kv_store_enter(struct kv_store *store, uint64_t index, uint64_t time_us);

static inline int64_t kv_store_now_ms(const struct kv_store *store)
{
    return (int64_t)(store->time_us / 1000);
}

/* Hashes the key, which stays the caller's. */
struct kv_key kv_store_key(const struct kv_store *store, struct bytes key);

/* The entry, due or not; NULL when there is none. */
struct kv_entry *kv_store_find(const struct kv_store *store, struct kv_key key);

/* The changes below count as made by the entry of store->index. e is the key's entry as found; it
 * may be elsewhere in memory afterwards, or gone. */

/* Creates the key (e is NULL) or gives it another value and expiry. value is not of the same key.
 */
void kv_store_put(struct kv_store *store, struct kv_key key, struct kv_entry *e,
                  struct kv_value value, int64_t expires_ms);
/* Overwrites or appends; a gap becomes zeros. Creates the key when e is NULL. Returns the entry.
 * The value must not become longer than KV_VALUE_BYTES_MAX. */
struct kv_entry *kv_store_write(struct kv_store *store, struct kv_key key, struct kv_entry *e,
                                size_t offset, struct bytes bytes);
/* Sets the time at which it expires, or KV_NEVER. */
void kv_store_expire(struct kv_store *store, struct kv_key key, struct kv_entry *e,
                     int64_t expires_ms);
void kv_store_remove(struct kv_store *store, struct kv_key key, struct kv_entry *e);
/* Removes every key in constant time. */
void kv_store_flush(struct kv_store *store);

/* Its value, to put elsewhere; good until the entry changes. */
struct kv_value kv_entry_value_to_share(const struct kv_entry *e);

/* Removes up to limit keys that are due, the first to expire first. */
void kv_store_expire_due(struct kv_store *store, uint32_t limit);
bool kv_store_overdue(const struct kv_store *store, int64_t now_ms);
/* Frees up to steps keys of flushed tables, and items of checkpoints. */
void kv_store_release(struct kv_store *store, uint32_t steps);

/* Changes whenever the key does, also by expiring. */
uint64_t kv_store_version(const struct kv_store *store, struct kv_key key);

/* Where in deleted[] its removal is noted. */
uint32_t kv_deleted_slot(struct kv_key key);
/* Puts an index into a slot of deleted[], and its digest right. */
void kv_store_set_deleted(struct kv_store *store, uint32_t slot, uint64_t index);
/* Likewise for flush_index. */
void kv_store_set_flush_index(struct kv_store *store, uint64_t index);

/* Walks the keys in an order that is the same on all servers: store->list becomes the keys from
 * point on that stand in one small interval, whose size depends on the number of keys alone.
 * Returns the next point; KV_POINT_END after the last. */
uint64_t kv_store_interval(struct kv_store *store, uint64_t point);

/* About what the state takes up in memory, flushed tables included. */
uint64_t kv_store_memory_bytes(const struct kv_store *store);

#endif
