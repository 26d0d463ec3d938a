#include "server/services/kv_table.h"

#define PAGE_BUCKETS (KV_PAGE_BYTES / sizeof(struct kv_entry *))

#define FORESEEN_FAR  16u /* buckets ahead of a walk whose heads are fetched */
#define FORESEEN_NEAR 8u  /* … whose first entries are */

_Static_assert(KV_BUCKETS_MIN <= PAGE_BUCKETS, "the first page holds the smallest table");
_Static_assert((uint64_t)PAGE_BUCKETS *KV_PAGE_FANOUT *KV_PAGE_FANOUT >= KV_POINT_END / 2,
               "the pages hold the largest table");

static struct kv_entry **bucket_at(const struct kv_table *table, uint64_t number)
{
    struct kv_entry **page = kv_pages_at(&table->pages, number / PAGE_BUCKETS);

    return page + number % PAGE_BUCKETS;
}

static uint64_t bucket_of(const struct kv_table *table, uint32_t hash)
{
    uint64_t number = hash & (table->level_count - 1);

    return number < table->split ? hash & (2 * table->level_count - 1) : number;
}

void kv_table_init(struct kv_table *table)
{
    table->level_count = KV_BUCKETS_MIN;
    kv_pages_grow(&table->pages);
}

struct kv_entry *kv_table_find(const struct kv_table *table, uint64_t hash, struct bytes key)
{
    uint32_t low = (uint32_t)hash;
    struct kv_entry *e = *bucket_at(table, bucket_of(table, low));

    while (e && !(e->hash == low && bytes_equal(kv_entry_key(e), key)))
        e = e->next;
    return e;
}

/* Cuts the next bucket in two: the entries with the next bit of the hash set go to a new last one.
 */
static void split_one(struct kv_table *table)
{
    uint64_t number = kv_table_buckets(table);
    struct kv_entry **stay, **go, *e;

    if (number / PAGE_BUCKETS == table->pages.count)
        kv_pages_grow(&table->pages);
    stay = bucket_at(table, table->split);
    go = bucket_at(table, number);
    for (e = *stay; e; e = e->next, table->moves++) {
        struct kv_entry ***side = e->hash & table->level_count ? &go : &stay;

        **side = e;
        *side = &e->next;
    }
    *stay = *go = NULL;
    if (++table->split == table->level_count) {
        table->level_count *= 2;
        table->split = 0;
    }
}

/* Undoes the last split. One page is kept in reserve against going to and fro. */
static void merge_one(struct kv_table *table)
{
    uint64_t number = kv_table_buckets(table) - 1;
    struct kv_entry **tail, **last = bucket_at(table, number);

    if (table->split == 0) {
        table->level_count /= 2;
        table->split = table->level_count;
    }
    table->split--;
    tail = bucket_at(table, table->split);
    for (; *tail; tail = &(*tail)->next)
        table->moves++;
    *tail = *last;
    *last = NULL;
    if (number / PAGE_BUCKETS + 2 < table->pages.count)
        kv_pages_shrink(&table->pages);
}

void kv_table_reserve(struct kv_table *table, uint64_t keys, uint32_t steps)
{
    if (keys > KV_POINT_END / 2)
        keys = KV_POINT_END / 2;
    for (; steps > 0 && kv_table_buckets(table) < keys; steps--)
        split_one(table);
}

void kv_table_insert(struct kv_table *table, struct kv_entry *e)
{
    struct kv_entry **head = bucket_at(table, bucket_of(table, e->hash));

    e->next = *head;
    *head = e;
    table->count++;
    if (table->count > kv_table_buckets(table) && kv_table_buckets(table) < KV_POINT_END / 2)
        split_one(table);
}

struct kv_entry **kv_table_link(const struct kv_table *table, const struct kv_entry *e)
{
    struct kv_entry **link = bucket_at(table, bucket_of(table, e->hash));

    while (*link != e)
        link = &(*link)->next;
    return link;
}

void kv_table_remove(struct kv_table *table, struct kv_entry *e)
{
    *kv_table_link(table, e) = e->next;
    table->count--;
    for (int i = 0; i < 2; i++)
        if (kv_table_buckets(table) > KV_BUCKETS_MIN && kv_table_buckets(table) > 2 * table->count)
            merge_one(table);
}

uint32_t kv_point(uint32_t hash)
{
    hash = (hash >> 1 & 0x55555555u) | (hash & 0x55555555u) << 1;
    hash = (hash >> 2 & 0x33333333u) | (hash & 0x33333333u) << 2;
    hash = (hash >> 4 & 0x0f0f0f0fu) | (hash & 0x0f0f0f0fu) << 4;
    return __builtin_bswap32(hash);
}

struct kv_entry *kv_table_bucket(const struct kv_table *table, uint64_t point, uint64_t *next)
{
    uint64_t number = bucket_of(table, kv_point((uint32_t)point));
    bool narrow = number < table->split || number >= table->level_count;
    uint64_t width = KV_POINT_END / (narrow ? 2 * table->level_count : table->level_count);

    *next = (point / width + 1) * width;
    return *bucket_at(table, number);
}

void kv_table_prefetch(const struct kv_table *table, uint64_t hash)
{
    __builtin_prefetch(bucket_at(table, bucket_of(table, (uint32_t)hash)));
}

void kv_table_foresee(const struct kv_table *table, uint64_t point)
{
    const uint64_t width = KV_POINT_END / table->level_count;
    const uint64_t far = point + FORESEEN_FAR * width, near = point + FORESEEN_NEAR * width;

    if (far >= KV_POINT_END)
        return;
    __builtin_prefetch(bucket_at(table, bucket_of(table, kv_point((uint32_t)far))));
    /* The entry that the head, fetched some steps ago, points to. */
    __builtin_prefetch(*bucket_at(table, bucket_of(table, kv_point((uint32_t)near))));
}

/* Takes the last bucket away; returns how many entries were in it. */
static uint32_t release_bucket(struct kv_table *table, uint64_t number)
{
    struct kv_entry *e = *bucket_at(table, number), *next;
    uint32_t freed = 0;

    for (; e; e = next, freed++) {
        next = e->next;
        kv_entry_free(e);
    }
    if (number % PAGE_BUCKETS == 0)
        kv_pages_shrink(&table->pages);
    return freed;
}

bool kv_table_release(struct kv_table *table, uint32_t steps)
{
    uint64_t number = kv_table_buckets(table);

    /* The reserve, if there is one. */
    if (table->pages.count > (number + PAGE_BUCKETS - 1) / PAGE_BUCKETS) {
        kv_pages_shrink(&table->pages);
        return true;
    }
    for (uint32_t done = 0; number > 0 && done < steps; done++) {
        uint32_t freed = release_bucket(table, --number);

        table->count -= freed;
        done += freed;
    }
    /* Only the number of buckets counts from here on. */
    table->level_count = number;
    table->split = 0;
    return number > 0;
}
