/* kv_entry - one key with its value, in one allocation.
 *
 * After the header stand, as the flags say, when it expires and where it is in the heap of those
 * that do; then the value's blob or nothing; then the key; then the value, unless it is in a blob.
 * A value above KV_INLINE_BYTES_MAX lives in a blob of its own, so that nothing copies it just to
 * set an expiry, an open checkpoint can hold on to it, and its digest is at hand. */
#ifndef HOLDFAST_SERVER_SERVICES_KV_ENTRY_H
#define HOLDFAST_SERVER_SERVICES_KV_ENTRY_H

#include <stdbool.h>

#include "common/bytes.h"
#include "common/limits.h"
#include "server/services/kv_hash.h"

#define KV_INLINE_BYTES_MAX                                              \
    KV_BLOCK_BYTES /* in the entry itself; hashed whole with every write \
                    */
#define KV_VALUE_BYTES_MAX CLIENT_BULK_BYTES_MAX
#define KV_NEVER           0 /* the time at which a key without expiry expires */

_Static_assert(KV_VALUE_BYTES_MAX < UINT32_MAX / 2, "sizes of values fit in 32 bits with room");

/* The bytes of a large value: of the entries that have it (COPY shares) and of a checkpoint. */
struct kv_blob {
    uint32_t references;
    uint32_t capacity;
    uint64_t sum; /* kv_hash_blocks() of the whole value */
    uint8_t data[];
};

enum kv_entry_flag {
    KV_ENTRY_EXPIRES = 1,
    KV_ENTRY_BLOB = 2,
};

struct kv_entry {
    struct kv_entry *next; /* in its bucket */
    uint64_t modified;     /* index of the journal entry that last changed it */
    uint32_t hash;         /* low half of the key's hash */
    uint32_t key_size;
    uint32_t value_size;
    uint32_t flags; /* enum kv_entry_flag */
    uint8_t body[];
};

struct kv_expiry {
    int64_t at_ms;  /* since 1970; the key is gone from then on */
    uint64_t place; /* in the heap */
};

/* A value that is to be stored: bytes to copy, or a blob to share (then the bytes are its). */
struct kv_value {
    struct bytes bytes;
    struct kv_blob *blob;
};

static inline struct kv_expiry *kv_entry_expiry(const struct kv_entry *e)
{
    return (struct kv_expiry *)(void *)e->body;
}

static inline size_t kv_entry_key_offset(uint32_t flags)
{
    return (flags & KV_ENTRY_EXPIRES ? sizeof(struct kv_expiry) : 0) +
           (flags & KV_ENTRY_BLOB ? sizeof(struct kv_blob *) : 0);
}

static inline struct kv_blob **kv_entry_blob(const struct kv_entry *e)
{
    return (struct kv_blob **)(void *)(e->body + kv_entry_key_offset(e->flags) -
                                       sizeof(struct kv_blob *));
}

static inline struct bytes kv_entry_key(const struct kv_entry *e)
{
    return bytes_of(e->body + kv_entry_key_offset(e->flags), e->key_size);
}

/* Where a value that is not in a blob stands. */
static inline uint8_t *kv_entry_inline(struct kv_entry *e)
{
    return e->body + kv_entry_key_offset(e->flags) + e->key_size;
}

static inline struct bytes kv_entry_value(const struct kv_entry *e)
{
    const uint8_t *data = e->flags & KV_ENTRY_BLOB
                              ? (*kv_entry_blob(e))->data
                              : e->body + kv_entry_key_offset(e->flags) + e->key_size;

    return bytes_of(data, e->value_size);
}

static inline int64_t kv_entry_expires_ms(const struct kv_entry *e)
{
    return e->flags & KV_ENTRY_EXPIRES ? kv_entry_expiry(e)->at_ms : KV_NEVER;
}

static inline bool kv_entry_due(const struct kv_entry *e, int64_t now_ms)
{
    return e->flags & KV_ENTRY_EXPIRES && kv_entry_expiry(e)->at_ms <= now_ms;
}

/* A fresh entry with an empty value, room for value_room bytes of it, and what the flags say (to
 * be filled in by the caller). */
struct kv_entry *kv_entry_create(struct bytes key, uint64_t hash, uint32_t flags,
                                 size_t value_room);

/* Gives it other flags and room for value_room bytes of inline value, of which the first keep stay.
 * An expiry that stays keeps its content; a blob's reference is the caller's to put in. Returns
 * where it is now: the old one is freed when that is elsewhere. */
struct kv_entry *kv_entry_reshape(struct kv_entry *e, uint32_t flags, size_t value_room,
                                  size_t keep);

/* Frees it and lets go of its blob. */
void kv_entry_free(struct kv_entry *e);

/* A total order by content alone. */
bool kv_entry_before(const struct kv_entry *a, const struct kv_entry *b);

/* The digest of key, value, expiry and modified index. hash is that of the key. */
uint64_t kv_entry_digest(const struct kv_entry *e, uint64_t hash);

/* A blob with one reference, that of the caller. */
struct kv_blob *kv_blob_create(struct bytes value, size_t capacity);
static inline struct kv_blob *kv_blob_hold(struct kv_blob *blob)
{
    blob->references++;
    return blob;
}
void kv_blob_release(struct kv_blob *blob);

/* Writes at offset into the value of size bytes in *blob; a gap becomes zeros. Another holder of
 * the blob keeps what it had: *blob is then a copy. offset and bytes end within the maximum. */
void kv_blob_write(struct kv_blob **blob, size_t size, size_t offset, struct bytes bytes);

#endif
