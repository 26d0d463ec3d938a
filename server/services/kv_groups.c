#include "server/services/kv_groups.h"

#include <assert.h>

bool kv_groups_take(struct kv_groups *set, uint32_t group)
{
    uint64_t bit = 1ull << group % 64;

    if (!(set->bits[group >> 6] & bit))
        return false;
    set->bits[group >> 6] &= ~bit;
    if (set->bits[group >> 6] == 0)
        set->summary[group >> 12] &= ~(1ull << (group >> 6) % 64);
    if (set->summary[group >> 12] == 0)
        set->top[group >> 18] &= ~(1ull << (group >> 12) % 64);
    set->count--;
    return true;
}

static uint32_t lowest(uint64_t word)
{
    assert(word != 0);
    return (uint32_t)__builtin_ctzll(word);
}

uint32_t kv_groups_any(const struct kv_groups *set)
{
    uint32_t at = 0;

    assert(set->count > 0);
    while (set->top[at] == 0)
        at++;
    at = at * 64 + lowest(set->top[at]);
    at = at * 64 + lowest(set->summary[at]);
    return at * 64 + lowest(set->bits[at]);
}
