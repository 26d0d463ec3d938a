/* sessions - an open hash by id, threaded by a list in the order of the last entry.
 *
 * While a checkpoint is read out, a record that it has not reached yet is not changed or freed when
 * its session goes on or is forgotten: it leaves the hash and stays in the list, a ghost, until the
 * checkpoint passes it. So the state as of begin costs no copy. */
#include "server/sessions.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>

#define BUCKET_COUNT ((size_t)2 * SESSION_COUNT_MAX) /* a power of two; half full at most */
#define RECORD_HEAD  28u /* bytes of a packed record without its reply */
#define LIMITS_SIZE  20u

_Static_assert((BUCKET_COUNT & (BUCKET_COUNT - 1)) == 0, "a bucket is a mask away");

struct record {
    uint64_t id, sequence, index;
    uint64_t hash;       /* of all that is remembered of it */
    struct record *next; /* in its bucket */
    struct record *older, *newer;
    uint32_t size, capacity; /* of the reply */
    bool ghost;
    uint8_t reply[];
};

struct sessions {
    struct record **buckets;
    uint64_t bucket_seed;
    struct record *oldest, *newest; /* ends of the list, ghosts included */
    struct record *oldest_live;
    uint32_t count, ghosts, count_max;
    uint64_t reply_bytes;
    uint64_t floor; /* highest last sequence of a session forgotten */
    uint64_t digest;

    bool reading;          /* a checkpoint is open */
    struct record *cursor; /* the next to be read out, NULL when all are */
    uint64_t read_base;
    uint64_t read_oldest, read_floor; /* as of begin */
    uint32_t read_count;

    uint64_t restore_base;
    struct record *restored; /* the last one taken in: the next is older */
};

static uint64_t mixed(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t bytes_hash(struct bytes bytes)
{
    uint64_t h = mixed(bytes.size + 1);
    size_t at = 0;

    for (; bytes.size - at >= 8; at += 8) {
        uint64_t word;

        memcpy(&word, bytes.data + at, 8);
        h = (h ^ le64toh(word)) * 0x9fb21c651e98df25u;
        h ^= h >> 32;
    }
    for (; at < bytes.size; at++)
        h = (h ^ bytes.data[at]) * 0x100000001b3u;
    return mixed(h);
}

static uint64_t record_hash(const struct record *r)
{
    uint64_t h = mixed(r->id + 0x9e3779b97f4a7c15u);

    h = mixed(h ^ r->sequence);
    h = mixed(h ^ r->index);
    return mixed(h ^ bytes_hash(bytes_of(r->reply, r->size)));
}

struct sessions *sessions_new(void)
{
    struct sessions *s = memory_zeroed(1, sizeof *s);

    s->count_max = SESSION_COUNT_MAX;
    s->buckets = memory_zeroed(BUCKET_COUNT, sizeof(struct record *));
    /* Clients choose the ids. That they cannot choose ids of one bucket takes a seed that they do
     * not know, and that nothing but the speed depends on: where memory happens to lie. */
    s->bucket_seed = mixed((uint64_t)(uintptr_t)s->buckets ^ (uint64_t)(uintptr_t)&s);
    return s;
}

bool sessions_free_slice(struct sessions *s, uint32_t budget)
{
    for (struct record *r = s->oldest; r && budget > 0; r = s->oldest, budget--) {
        s->oldest = r->newer;
        free(r);
    }
    return s->oldest != NULL;
}

void sessions_free(struct sessions *s)
{
    if (!s)
        return;
    while (sessions_free_slice(s, UINT32_MAX))
        ;
    free(s->buckets);
    free(s);
}

void sessions_limit(struct sessions *s, uint32_t count_max)
{
    assert(count_max >= 1 && count_max <= SESSION_COUNT_MAX && s->count == 0);
    s->count_max = count_max;
}

static struct record **bucket_of(const struct sessions *s, uint64_t id)
{
    return &s->buckets[mixed(id ^ s->bucket_seed) & (BUCKET_COUNT - 1)];
}

static struct record *record_find(const struct sessions *s, uint64_t id)
{
    struct record *r = *bucket_of(s, id);

    while (r && r->id != id)
        r = r->next;
    return r;
}

static void list_remove(struct sessions *s, struct record *r)
{
    *(r->older ? &r->older->newer : &s->oldest) = r->newer;
    *(r->newer ? &r->newer->older : &s->newest) = r->older;
}

/* Puts r before `newer`, or at the end when that is NULL. */
static void list_insert(struct sessions *s, struct record *r, struct record *newer)
{
    r->newer = newer;
    r->older = newer ? newer->older : s->newest;
    *(r->older ? &r->older->newer : &s->oldest) = r;
    *(newer ? &newer->older : &s->newest) = r;
}

/* Takes a record out of all but the list. */
static void record_forget(struct sessions *s, struct record *r)
{
    struct record **at = bucket_of(s, r->id);

    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    s->count--;
    s->reply_bytes -= r->size;
    s->digest -= r->hash;
    if (s->oldest_live == r)
        do
            s->oldest_live = s->oldest_live->newer;
        while (s->oldest_live && s->oldest_live->ghost);
}

static void record_remember(struct sessions *s, struct record *r)
{
    struct record **bucket = bucket_of(s, r->id);

    r->hash = record_hash(r);
    r->next = *bucket;
    *bucket = r;
    s->count++;
    s->reply_bytes += r->size;
    s->digest += r->hash;
    if (!s->oldest_live || r->index < s->oldest_live->index)
        s->oldest_live = r;
}

/* Whether the open checkpoint still has to read this record. */
static bool record_pending(const struct sessions *s, const struct record *r)
{
    return s->cursor && r->index <= s->cursor->index && r->index > s->read_base;
}

/* Forgets a record. Returns it, out of the list, for its memory to be used or freed; NULL when the
 * checkpoint keeps it. */
static struct record *record_drop(struct sessions *s, struct record *r)
{
    record_forget(s, r);
    if (record_pending(s, r)) {
        r->ghost = true;
        s->ghosts++;
        return NULL;
    }
    list_remove(s, r);
    return r;
}

/* A record with room for size bytes: the old one when it fits, else a new one. */
static struct record *record_sized(struct record *old, size_t size)
{
    struct record *r = old;

    if (!r || r->capacity < size || r->capacity > 2 * size + 64) {
        free(old);
        r = memory_take(sizeof *r + size);
        r->capacity = (uint32_t)size;
    }
    r->ghost = false;
    r->size = (uint32_t)size;
    return r;
}

bool sessions_find(const struct sessions *s, uint64_t id, uint64_t *sequence, struct bytes *reply)
{
    const struct record *r = record_find(s, id);

    if (!r)
        return false;
    *sequence = r->sequence;
    *reply = bytes_of(r->reply, r->size);
    return true;
}

static void oldest_drop(struct sessions *s)
{
    if (s->oldest_live->sequence > s->floor)
        s->floor = s->oldest_live->sequence;
    free(record_drop(s, s->oldest_live));
}

void sessions_record(struct sessions *s, uint64_t id, uint64_t sequence, uint64_t index,
                     struct bytes reply)
{
    struct record *r = record_find(s, id);

    assert(id != 0 && reply.size <= SESSION_REPLY_MAX);
    assert(!s->newest || s->newest->index < index);
    r = record_sized(r ? record_drop(s, r) : NULL, reply.size);
    r->id = id;
    r->sequence = sequence;
    r->index = index;
    if (reply.size)
        memcpy(r->reply, reply.data, reply.size);
    list_insert(s, r, NULL);
    record_remember(s, r);
    while (s->count > s->count_max || s->reply_bytes > SESSION_REPLY_BYTES_MAX)
        oldest_drop(s);
}

uint64_t sessions_floor(const struct sessions *s)
{
    return s->floor;
}

uint32_t sessions_count(const struct sessions *s)
{
    return s->count;
}

uint64_t sessions_reply_bytes(const struct sessions *s)
{
    return s->reply_bytes;
}

uint64_t sessions_digest(const struct sessions *s)
{
    return s->digest + mixed(s->floor);
}

static void put(struct buffer *out, uint64_t value, unsigned size)
{
    uint8_t *to = buffer_reserve(out, size);

    for (unsigned i = 0; i < size; i++)
        to[i] = (uint8_t)(value >> (8 * i));
    buffer_commit(out, size);
}

/* Takes an integer off the front; the bytes must be there. */
static uint64_t take(struct bytes *rest, unsigned size)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)rest->data[i] << (8 * i);
    rest->data += size;
    rest->size -= size;
    return value;
}

void sessions_checkpoint_begin(struct sessions *s, uint64_t base_index)
{
    assert(!s->reading && s->ghosts == 0);
    s->reading = true;
    s->read_base = base_index;
    s->read_oldest = s->oldest_live ? s->oldest_live->index : UINT64_MAX;
    s->read_floor = s->floor;
    s->read_count = s->count;
    s->cursor = s->newest && s->newest->index > base_index ? s->newest : NULL;
}

/* Moves the checkpoint past a record that it has read or will not read. */
static void cursor_advance(struct sessions *s)
{
    struct record *r = s->cursor;

    s->cursor = r->older && r->older->index > s->read_base ? r->older : NULL;
    if (r->ghost) {
        list_remove(s, r);
        s->ghosts--;
        free(r);
    }
}

bool sessions_checkpoint_slice(struct sessions *s, uint32_t budget, struct buffer *out)
{
    size_t full = buffer_size(out) + budget;

    assert(s->reading);
    while (s->cursor && buffer_size(out) < full) {
        const struct record *r = s->cursor;

        put(out, r->id, 8);
        put(out, r->sequence, 8);
        put(out, r->index, 8);
        put(out, r->size, 4);
        buffer_append(out, r->reply, r->size);
        cursor_advance(s);
    }
    return s->cursor != NULL;
}

void sessions_checkpoint_limits(const struct sessions *s, struct buffer *out)
{
    assert(s->reading);
    put(out, s->read_oldest, 8);
    put(out, s->read_count, 4);
    put(out, s->read_floor, 8);
}

void sessions_checkpoint_end(struct sessions *s)
{
    while (s->cursor && s->ghosts > 0)
        cursor_advance(s);
    assert(s->ghosts == 0);
    s->cursor = NULL;
    s->reading = false;
}

uint64_t sessions_bytes_estimated(const struct sessions *s, uint64_t changes)
{
    uint64_t all = s->reply_bytes + (uint64_t)s->count * RECORD_HEAD;

    return s->count == 0 || changes >= s->count ? all : all / s->count * changes;
}

void sessions_restore_begin(struct sessions *s, uint64_t base_index)
{
    assert(!s->reading);
    assert(!s->newest || s->newest->index <= base_index);
    s->restore_base = base_index;
    s->restored = NULL;
}

/* Takes in one record. The bounds leave room for those that the limits will drop. */
static bool restore_record(struct sessions *s, struct bytes *rest)
{
    uint64_t id = take(rest, 8);
    uint64_t sequence = take(rest, 8);
    uint64_t index = take(rest, 8);
    uint64_t size = take(rest, 4);
    struct record *r;

    if (id == 0 || sequence == 0 || size > SESSION_REPLY_MAX || size > rest->size)
        return false;
    if (index <= s->restore_base || (s->restored && index >= s->restored->index))
        return false;
    if (s->count >= 2 * SESSION_COUNT_MAX || s->reply_bytes > 2ull * SESSION_REPLY_BYTES_MAX)
        return false;
    r = record_find(s, id);
    if (r && r->index > s->restore_base)
        return false; /* twice the same session */
    r = record_sized(r ? record_drop(s, r) : NULL, size);
    r->id = id;
    r->sequence = sequence;
    r->index = index;
    memcpy(r->reply, rest->data, size);
    rest->data += size;
    rest->size -= size;
    list_insert(s, r, s->restored);
    record_remember(s, r);
    s->restored = r;
    return true;
}

bool sessions_restore_slice(struct sessions *s, struct bytes slice)
{
    while (slice.size > 0)
        if (slice.size < RECORD_HEAD || !restore_record(s, &slice))
            return false;
    return true;
}

bool sessions_restore_limits(struct sessions *s, struct bytes limits)
{
    uint64_t oldest;
    uint64_t count;

    if (limits.size != LIMITS_SIZE)
        return false;
    oldest = take(&limits, 8);
    count = take(&limits, 4);
    while (s->oldest_live && s->oldest_live->index < oldest)
        oldest_drop(s);
    s->floor = take(&limits, 8);
    s->restored = NULL;
    return s->count == count && count <= s->count_max && s->reply_bytes <= SESSION_REPLY_BYTES_MAX;
}

uint64_t sessions_newest_index(const struct sessions *s)
{
    return s->newest ? s->newest->index : 0;
}
