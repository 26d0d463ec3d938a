/* kv_pages - an array of zeroed pages that grows and shrinks at its end, a page at a time.
 *
 * Three levels, so that growing to any size copies nothing and no step costs more than clearing
 * one page: an array that doubled would stall the service for the copy of its megabytes. */
#ifndef HOLDFAST_SERVER_SERVICES_KV_PAGES_H
#define HOLDFAST_SERVER_SERVICES_KV_PAGES_H

#include <assert.h>
#include <stdint.h>

#define KV_PAGE_BYTES  32768u
#define KV_PAGE_FANOUT 1024u /* pages in a shelf, shelves in the array: 32 GiB in all */

struct kv_pages {
    void **shelves[KV_PAGE_FANOUT];
    uint32_t count; /* pages there are */
};

/* All zero is an empty array. */
void kv_pages_grow(struct kv_pages *pages);
/* Frees the last page; there must be one. */
void kv_pages_shrink(struct kv_pages *pages);

static inline void *kv_pages_at(const struct kv_pages *pages, uint64_t page)
{
    assert(page < pages->count);
    return pages->shelves[page / KV_PAGE_FANOUT][page % KV_PAGE_FANOUT];
}

#endif
