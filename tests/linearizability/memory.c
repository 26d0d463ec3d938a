#include "tests/linearizability/memory.h"

#include <assert.h>
#include <stdlib.h>

#include "common/buffer.h"

#define CAPACITY_FIRST 1024u

void memory_init(struct memory *m, uint32_t count_max)
{
    *m = (struct memory){ .count_max = count_max, .capacity = CAPACITY_FIRST };
    m->slots = memory_zeroed(m->capacity, sizeof *m->slots);
}

void memory_free(struct memory *m)
{
    free(m->slots);
}

bool memory_is_full(const struct memory *m)
{
    return m->count == m->count_max;
}

/* The finish of splitmix64: each bit of the input moves half of the output's. */
static uint64_t mixed(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

struct memory_print memory_mixed(struct memory_print set, uint64_t bits, uint64_t size)
{
    uint64_t first = mixed(bits + UINT64_C(0x9e3779b97f4a7c15)) + size;
    uint64_t second = mixed(bits) ^ mixed(size + UINT64_C(0xd1b54a32d192ed03));
    struct memory_print print = { mixed(set.a ^ first), mixed(set.b + second) };

    if (print.a == 0 && print.b == 0)
        print.a = 1;
    return print;
}

static bool is_used(const struct memory_slot *slot)
{
    return slot->print.a || slot->print.b;
}

static struct memory_slot *slot_of(const struct memory *m, struct memory_print print)
{
    uint64_t i = print.a & (m->capacity - 1);

    while (is_used(&m->slots[i]) &&
           (m->slots[i].print.a != print.a || m->slots[i].print.b != print.b))
        i = (i + 1) & (m->capacity - 1);
    return &m->slots[i];
}

static void grow(struct memory *m)
{
    struct memory old = *m;

    m->capacity = 2 * old.capacity;
    m->slots = memory_zeroed(m->capacity, sizeof *m->slots);
    for (uint64_t i = 0; i < old.capacity; i++)
        if (is_used(&old.slots[i]))
            *slot_of(m, old.slots[i].print) = old.slots[i];
    memory_free(&old);
}

bool memory_add(struct memory *m, struct memory_print print, uint32_t spent)
{
    struct memory_slot *slot = slot_of(m, print);

    if (memory_is_full(m) || (is_used(slot) && slot->spent <= spent))
        return false;
    *slot = (struct memory_slot){ print, spent };
    m->count++;
    if (2 * (uint64_t)m->count > m->capacity)
        grow(m);
    assert(2 * (uint64_t)m->count <= m->capacity);
    return true;
}
