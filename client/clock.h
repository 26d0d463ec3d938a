/* clock - the monotonic clock for clients, which have no runtime. */
#ifndef HOLDFAST_CLIENT_CLOCK_H
#define HOLDFAST_CLIENT_CLOCK_H

#include <assert.h>
#include <time.h>

#include "common/instant.h"

static inline struct instant clock_now(void)
{
    struct timespec t;
    int failed = clock_gettime(CLOCK_MONOTONIC, &t);

    assert(!failed);
    (void)failed;
    return (struct instant){ (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec };
}

#endif
