/* memory - the configurations that were looked into, as fingerprints in a table of bounded size. */
#ifndef HOLDFAST_LINEARIZABILITY_MEMORY_H
#define HOLDFAST_LINEARIZABILITY_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

/* Of a set: the exclusive or of those of its elements (Zobrist). All zero stands for none. */
struct memory_print {
    uint64_t a, b;
};

struct memory_slot {
    struct memory_print print;
    uint32_t spent; /* the least that it was reached with */
};

struct memory {
    struct memory_slot *slots; /* capacity is a power of two, at most half of them are used */
    uint64_t capacity;
    uint32_t count,
        count_max; /* configurations added; one that comes again with less counts again */
};

/* Takes memory as it grows: 48 bytes for each of count_max at most. */
void memory_init(struct memory *m, uint32_t count_max);
void memory_free(struct memory *m);

/* The fingerprint of a set together with a value. */
struct memory_print memory_mixed(struct memory_print set, uint64_t bits, uint64_t size);

/* False when it was there with as little spent or less, or when the memory is full. */
bool memory_add(struct memory *m, struct memory_print print, uint32_t spent);
bool memory_is_full(const struct memory *m);

#endif
