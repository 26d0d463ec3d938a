#include "server/services/kv_pages.h"

#include <stdlib.h>

#include "common/buffer.h"

void kv_pages_grow(struct kv_pages *pages)
{
    uint32_t shelf = pages->count / KV_PAGE_FANOUT, place = pages->count % KV_PAGE_FANOUT;

    assert(shelf < KV_PAGE_FANOUT);
    if (!pages->shelves[shelf])
        pages->shelves[shelf] = memory_zeroed(KV_PAGE_FANOUT, sizeof *pages->shelves[shelf]);
    pages->shelves[shelf][place] = memory_zeroed(1, KV_PAGE_BYTES);
    pages->count++;
}

void kv_pages_shrink(struct kv_pages *pages)
{
    uint32_t shelf, place;

    assert(pages->count > 0);
    pages->count--;
    shelf = pages->count / KV_PAGE_FANOUT;
    place = pages->count % KV_PAGE_FANOUT;
    free(pages->shelves[shelf][place]);
    pages->shelves[shelf][place] = NULL;
    if (place == 0) {
        free(pages->shelves[shelf]);
        pages->shelves[shelf] = NULL;
    }
}
