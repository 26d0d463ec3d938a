/* kv_table - the keys, in a hash table that no insertion stalls.
 *
 * Linear hashing: there is one bucket per key at most and two keys per bucket at most on average.
 * An insertion splits at most one bucket, a removal merges at most two pairs; each moves a few
 * entries.
 *
 * Keys stand in an order of their own: by their *point*, the hash with its bits reversed. A bucket
 * holds an interval of points, and splitting or merging cuts or joins intervals. So a walk that
 * remembers the next point, and nothing else, sees every key that stays exactly once, whatever the
 * table does meanwhile, and on any server.
 *
 * Sources: Litwin, "Linear hashing: a new tool for file and table addressing", 1980; the reversed
 * order is that of Redis's SCAN, by Pieter Noordhuis. */
#ifndef HOLDFAST_SERVER_SERVICES_KV_TABLE_H
#define HOLDFAST_SERVER_SERVICES_KV_TABLE_H

#include "server/services/kv_entry.h"
#include "server/services/kv_pages.h"

#define KV_BUCKETS_MIN 16u
#define KV_POINT_END   (1ull << 32) /* one past the last point */

struct kv_table {
    struct kv_pages pages; /* of heads of buckets */
    uint64_t count;        /* of keys */
    uint64_t level_count;  /* buckets at the start of this round of splits, a power of two */
    uint64_t split;        /* the next bucket to split; below level_count */
    uint64_t moves;        /* entries looked at by splits and merges since the start, for tests */
};

/* From all zero. */
void kv_table_init(struct kv_table *table);

static inline uint64_t kv_table_buckets(const struct kv_table *table)
{
    return table->level_count + table->split;
}

/* NULL when there is none. */
struct kv_entry *kv_table_find(const struct kv_table *table, uint64_t hash, struct bytes key);

/* Adds an entry, whose key must not be there. */
void kv_table_insert(struct kv_table *table, struct kv_entry *e);
/* Makes room before it is needed: splits up to `steps` buckets while there are fewer than `keys`. A
 * table that is filled in the order of points has all its entries in its first intervals until the
 * end, and would have long buckets. */
void kv_table_reserve(struct kv_table *table, uint64_t keys, uint32_t steps);
/* Takes an entry out; it is the caller's again. */
void kv_table_remove(struct kv_table *table, struct kv_entry *e);
/* What points to an entry that is in the table: to be set when the entry moves. */
struct kv_entry **kv_table_link(const struct kv_table *table, const struct kv_entry *e);

uint32_t kv_point(uint32_t hash);

/* The bucket of a point, below KV_POINT_END: its first entry, and one past its last point. It may
 * begin before the point: a caller that must not see a key twice skips points before its own. */
struct kv_entry *kv_table_bucket(const struct kv_table *table, uint64_t point, uint64_t *next);

/* A key with this hash will soon be looked for: fetches its bucket's head. */
void kv_table_prefetch(const struct kv_table *table, uint64_t hash);
/* A walk that is at this point will soon be at the next ones: fetches what it will look at. */
void kv_table_foresee(const struct kv_table *table, uint64_t point);

/* Takes the table apart from its end: frees up to about steps entries and buckets. False when
 * nothing is left. */
bool kv_table_release(struct kv_table *table, uint32_t steps);

#endif
