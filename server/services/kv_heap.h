/* kv_heap - the keys that expire, first to expire first.
 *
 * A heap of four children. Its order is total and of the content alone (time, then key), so that
 * all servers remove keys that are due in the same order, however their heaps came about. */
#ifndef HOLDFAST_SERVER_SERVICES_KV_HEAP_H
#define HOLDFAST_SERVER_SERVICES_KV_HEAP_H

#include "server/services/kv_entry.h"
#include "server/services/kv_pages.h"

struct kv_heap {
    struct kv_pages pages;
    uint64_t count;
};

/* All zero is an empty heap. An entry has KV_ENTRY_EXPIRES set while it is in the heap, which fills
 * in its kv_expiry. */
void kv_heap_insert(struct kv_heap *heap, struct kv_entry *e, int64_t at_ms);
void kv_heap_remove(struct kv_heap *heap, struct kv_entry *e);
void kv_heap_change(struct kv_heap *heap, struct kv_entry *e, int64_t at_ms);
/* The entry has moved in memory. */
void kv_heap_moved(struct kv_heap *heap, struct kv_entry *e);

/* The first to expire, NULL when none does. */
struct kv_entry *kv_heap_first(const struct kv_heap *heap);

/* Frees one page of it; false when nothing is left. The entries are not touched. */
bool kv_heap_release(struct kv_heap *heap);

#endif
