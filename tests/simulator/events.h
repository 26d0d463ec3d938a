/* events - what will happen, in the order in which it will: a heap by time, and first come first
 * served among equals, so that a run is the same every time. */
#ifndef HOLDFAST_SIMULATOR_EVENTS_H
#define HOLDFAST_SIMULATOR_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

struct event {
    uint64_t at_ns;
    uint64_t order; /* of being put in, among those of one instant */
    void (*run)(void *subject, uint64_t argument);
    void *subject;
    uint64_t argument;
};

/* All zero is empty. */
struct events {
    struct event *heap;
    uint32_t count, capacity;
    uint64_t order;
};

void events_free(struct events *events);
void events_add(struct events *events, uint64_t at_ns, void (*run)(void *, uint64_t), void *subject,
                uint64_t argument);
/* The next one; false when there is none. */
bool events_next(const struct events *events, uint64_t *at_ns);
struct event events_take(struct events *events);

#endif
