/* events - a binary heap. */
#include "tests/simulator/events.h"

#include <assert.h>
#include <stdlib.h>

#include "common/buffer.h"

void events_free(struct events *e)
{
    free(e->heap);
    *e = (struct events){ 0 };
}

static bool before(const struct event *a, const struct event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

void events_add(struct events *e, uint64_t at_ns, void (*run)(void *, uint64_t), void *subject,
                uint64_t argument)
{
    struct event event = { at_ns, e->order++, run, subject, argument };
    uint32_t i = e->count++;

    if (e->count > e->capacity) {
        e->capacity = e->capacity ? 2 * e->capacity : 256;
        e->heap = memory_grown(e->heap, e->capacity * sizeof *e->heap);
    }
    for (; i > 0 && before(&event, &e->heap[(i - 1) / 2]); i = (i - 1) / 2)
        e->heap[i] = e->heap[(i - 1) / 2];
    e->heap[i] = event;
}

bool events_next(const struct events *e, uint64_t *at_ns)
{
    if (e->count == 0)
        return false;
    *at_ns = e->heap[0].at_ns;
    return true;
}

struct event events_take(struct events *e)
{
    struct event first;
    struct event last;
    uint32_t i = 0;
    uint32_t child;

    assert(e->count > 0);
    first = e->heap[0];
    last = e->heap[--e->count];
    while ((child = 2 * i + 1) < e->count) {
        if (child + 1 < e->count && before(&e->heap[child + 1], &e->heap[child]))
            child++;
        if (!before(&e->heap[child], &last))
            break;
        e->heap[i] = e->heap[child];
        i = child;
    }
    if (e->count > 0)
        e->heap[i] = last;
    return first;
}
