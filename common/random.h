/* random - chance that a seed decides: xorshift64* behind a splitmix64 of the seed.
 *
 * Cores are handed a seed and keep one of these, so that a run can be replayed.
 * Not for secrets. Source: Vigna, "An experimental exploration of Marsaglia's xorshift
 * generators, scrambled", 2016. */
#ifndef HOLDFAST_COMMON_RANDOM_H
#define HOLDFAST_COMMON_RANDOM_H

#include <stdint.h>

struct random {
    uint64_t state;
};

static inline struct random random_seeded(uint64_t seed)
{
    uint64_t z = seed + 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (struct random){ z ? z : 1u };
}

static inline uint64_t random_next(struct random *r)
{
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return r->state * 0x2545f4914f6cdd1du;
}

/* Uniform enough in 0 … bound-1; bound is at least 1. */
static inline uint64_t random_below(struct random *r, uint64_t bound)
{
    return (random_next(r) >> 11) % bound;
}

#endif
