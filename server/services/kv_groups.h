/* kv_groups - a set of groups of keys: those that changed since some moment.
 *
 * A group is the keys of an interval of points (kv_table.h), of which there are KV_GROUPS. One bit
 * each, with two levels of summary above, so that marking costs next to nothing, the set cannot
 * overflow, and going through it costs what is in it. A removed key needs no tombstone: its group
 * changed. With ten million keys a group has less than one. */
#ifndef HOLDFAST_SERVER_SERVICES_KV_GROUPS_H
#define HOLDFAST_SERVER_SERVICES_KV_GROUPS_H

#include <stdbool.h>
#include <stdint.h>

#ifndef KV_GROUPS
#define KV_GROUPS (1u << 24) /* a power of two */
#endif
#define KV_GROUP_POINTS ((uint32_t)((1ull << 32) / KV_GROUPS)) /* points in a group */

struct kv_groups {
    uint64_t bits[KV_GROUPS / 64];
    uint64_t summary[KV_GROUPS / 64 / 64];  /* a bit is set when a word of bits is not zero */
    uint64_t top[KV_GROUPS / 64 / 64 / 64]; /* likewise of summary */
    uint64_t count;
};

/* All zero is the empty set. */
static inline void kv_groups_add(struct kv_groups *set, uint32_t group)
{
    uint64_t bit = 1ull << group % 64;

    if (set->bits[group >> 6] & bit)
        return;
    set->bits[group >> 6] |= bit;
    set->summary[group >> 12] |= 1ull << (group >> 6) % 64;
    set->top[group >> 18] |= 1ull << (group >> 12) % 64;
    set->count++;
}

/* Whether the group was in the set, where it is no more. */
bool kv_groups_take(struct kv_groups *set, uint32_t group);
/* Some group that is in the set, which must not be empty. */
uint32_t kv_groups_any(const struct kv_groups *set);

#endif
