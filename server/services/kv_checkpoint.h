/* kv_checkpoint - reads the state out in slices while entries go on changing it, and back in.
 *
 * A checkpoint shows the state as of its beginning. It walks the keys in the order of their points
 * (kv_table.h); a key that it has yet to come to is put into a queue just before it changes, and
 * the walk passes over what was changed later. Nothing is copied that does not change: large values
 * are held by reference. A flush leaves the checkpoint with the old table.
 *
 * A checkpoint of changes walks only the groups of keys (kv_groups.h) that changed since its base;
 * a group is told whole: drop what you have of it, here is what there is.
 *
 * A slice is a sequence of items: u32 length of what follows, u8 type, fields. Numbers are little
 * endian; see kv_item.h. */
#ifndef HOLDFAST_SERVER_SERVICES_KV_CHECKPOINT_H
#define HOLDFAST_SERVER_SERVICES_KV_CHECKPOINT_H

#include "common/buffer.h"
#include "server/services/kv_store.h"

/* As in service.h. */
bool kv_checkpoint_begin(struct kv_store *store, uint64_t base_index);
bool kv_checkpoint_slice(struct kv_store *store, uint32_t budget, struct buffer *out);
void kv_checkpoint_end(struct kv_store *store);
uint64_t kv_checkpoint_bytes_estimated(const struct kv_store *store, uint64_t base_index);

/* A key with this hash is about to change; e is its entry, or NULL. Called while one is open. */
void kv_checkpoint_keep(struct kv_store *store, uint32_t hash, const struct kv_entry *e);
/* Whether the open checkpoint, if any, still needs this table. */
bool kv_checkpoint_walks(const struct kv_store *store, const struct kv_db *db);

/* Frees up to steps items of checkpoints that were ended before they were told. */
void kv_checkpoint_release(struct kv_store *store, uint32_t steps);

/* Takes one slice in; false when it makes no sense. */
bool kv_restore_slice(struct kv_store *store, struct bytes slice);

#endif
