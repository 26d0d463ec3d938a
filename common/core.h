/* core - what the runtime and the simulator know of a core: the same four calls for all.
 *
 * CORE_DEFINE(detector), at the end of detector.c, makes detector_core(), whose
 * prototype the header declares with CORE_DECLARE(detector). Besides, every core has an
 * init function of its own. */
#ifndef HOLDFAST_COMMON_CORE_H
#define HOLDFAST_COMMON_CORE_H

#include "common/effects.h"
#include "common/instant.h"
#include "common/limits.h"

/* How much later than its deadline a turn may come before that counts as a pause of our own, which
 * is not held against anybody: LATENESS_MS_MAX, but no more than half of what is left of our
 * patience after the interval at which the others are heard. They have the other half to answer. */
static inline uint32_t lateness_ms_max(uint32_t patience_ms, uint32_t interval_ms)
{
    uint32_t spare_ms = patience_ms > interval_ms ? patience_ms - interval_ms : 0;

    return spare_ms / 2 < LATENESS_MS_MAX ? spare_ms / 2 : LATENESS_MS_MAX;
}

struct core {
    void *self;
    void (*receive)(void *self, struct instant now, const struct message *message,
                    struct effects *out);
    void (*tick)(void *self, struct instant now, struct effects *out);
    struct instant (*deadline)(const void *self);
    void (*check)(const void *self);
};

#define CORE_DECLARE(name) struct core name##_core(struct name *self)

#define CORE_DEFINE(name)                                                                          \
    static void name##_core_receive(void *self, struct instant now, const struct message *message, \
                                    struct effects *out)                                           \
    {                                                                                              \
        name##_receive(self, now, message, out);                                                   \
    }                                                                                              \
    static void name##_core_tick(void *self, struct instant now, struct effects *out)              \
    {                                                                                              \
        name##_tick(self, now, out);                                                               \
    }                                                                                              \
    static struct instant name##_core_deadline(const void *self)                                   \
    {                                                                                              \
        return name##_deadline(self);                                                              \
    }                                                                                              \
    static void name##_core_check(const void *self)                                                \
    {                                                                                              \
        name##_check(self);                                                                        \
    }                                                                                              \
    struct core name##_core(struct name *self)                                                     \
    {                                                                                              \
        return (struct core){ self, name##_core_receive, name##_core_tick, name##_core_deadline,   \
                              name##_core_check };                                                 \
    }                                                                                              \
    struct core name##_core(struct name *self)

#endif
