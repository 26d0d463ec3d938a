#include "server/services/kv_heap.h"

struct slot {
    int64_t at_ms; /* as in the entry: most comparisons need not look there */
    struct kv_entry *entry;
};

#define PAGE_SLOTS (KV_PAGE_BYTES / sizeof(struct slot))
#define CHILDREN   4u

static struct slot *slot_at(const struct kv_heap *heap, uint64_t place)
{
    struct slot *page = kv_pages_at(&heap->pages, place / PAGE_SLOTS);

    return page + place % PAGE_SLOTS;
}

static bool before(const struct slot *a, const struct slot *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : kv_entry_before(a->entry, b->entry);
}

static void put(struct kv_heap *heap, uint64_t place, struct slot slot)
{
    *slot_at(heap, place) = slot;
    *kv_entry_expiry(slot.entry) = (struct kv_expiry){ .at_ms = slot.at_ms, .place = place };
}

static uint64_t first_child(const struct kv_heap *heap, uint64_t place)
{
    uint64_t child = place * CHILDREN + 1, end = child + CHILDREN, best = child;

    if (end > heap->count)
        end = heap->count;
    while (++child < end)
        if (before(slot_at(heap, child), slot_at(heap, best)))
            best = child;
    return best;
}

/* Finds the place for a slot, starting from a free one; moves others out of the way. */
static void settle(struct kv_heap *heap, uint64_t place, struct slot slot)
{
    while (place > 0 && before(&slot, slot_at(heap, (place - 1) / CHILDREN))) {
        put(heap, place, *slot_at(heap, (place - 1) / CHILDREN));
        place = (place - 1) / CHILDREN;
    }
    while (place * CHILDREN + 1 < heap->count) {
        uint64_t child = first_child(heap, place);

        if (!before(slot_at(heap, child), &slot))
            break;
        put(heap, place, *slot_at(heap, child));
        place = child;
    }
    put(heap, place, slot);
}

void kv_heap_insert(struct kv_heap *heap, struct kv_entry *e, int64_t at_ms)
{
    struct slot slot = { .at_ms = at_ms, .entry = e };

    if (heap->count / PAGE_SLOTS == heap->pages.count)
        kv_pages_grow(&heap->pages);
    heap->count++;
    settle(heap, heap->count - 1, slot);
}

void kv_heap_remove(struct kv_heap *heap, struct kv_entry *e)
{
    uint64_t place = kv_entry_expiry(e)->place;
    struct slot last = *slot_at(heap, heap->count - 1);

    assert(slot_at(heap, place)->entry == e);
    heap->count--;
    if (last.entry != e)
        settle(heap, place, last);
    if (heap->count / PAGE_SLOTS + 2 < heap->pages.count)
        kv_pages_shrink(&heap->pages);
}

void kv_heap_change(struct kv_heap *heap, struct kv_entry *e, int64_t at_ms)
{
    settle(heap, kv_entry_expiry(e)->place, (struct slot){ .at_ms = at_ms, .entry = e });
}

void kv_heap_moved(struct kv_heap *heap, struct kv_entry *e)
{
    slot_at(heap, kv_entry_expiry(e)->place)->entry = e;
}

struct kv_entry *kv_heap_first(const struct kv_heap *heap)
{
    return heap->count > 0 ? slot_at(heap, 0)->entry : NULL;
}

bool kv_heap_release(struct kv_heap *heap)
{
    heap->count = 0;
    if (heap->pages.count > 0)
        kv_pages_shrink(&heap->pages);
    return heap->pages.count > 0;
}
