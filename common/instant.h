/* instant - a point in time, and the sums one does with it.
 *
 * An instant counts nanoseconds of a monotonic clock from an arbitrary start.
 * Cores never read a clock: they are given the instant at which they are called.
 * Spans are plain integers whose names end in their unit. */
#ifndef HOLDFAST_COMMON_INSTANT_H
#define HOLDFAST_COMMON_INSTANT_H

#include <stdbool.h>
#include <stdint.h>

struct instant {
    uint64_t ns;
};

/* Later than everything: the deadline of a core that has nothing to wait for. */
#define INSTANT_NEVER ((struct instant){ UINT64_MAX })

static inline bool instant_reached(struct instant now, struct instant when)
{
    return now.ns >= when.ns;
}

static inline struct instant instant_min(struct instant a, struct instant b)
{
    return a.ns < b.ns ? a : b;
}

static inline struct instant instant_max(struct instant a, struct instant b)
{
    return a.ns > b.ns ? a : b;
}

static inline struct instant instant_add_us(struct instant t, uint64_t us)
{
    uint64_t span = us * 1000u;

    return (struct instant){ t.ns > UINT64_MAX - span ? UINT64_MAX : t.ns + span };
}

static inline struct instant instant_add_ms(struct instant t, uint64_t ms)
{
    return instant_add_us(t, ms * 1000u);
}

/* Zero when then is later than now. */
static inline uint64_t instant_since_us(struct instant now, struct instant then)
{
    return now.ns > then.ns ? (now.ns - then.ns) / 1000u : 0;
}

static inline uint64_t instant_since_ms(struct instant now, struct instant then)
{
    return instant_since_us(now, then) / 1000u;
}

#endif
