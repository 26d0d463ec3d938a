#include "server/progress.h"

#include <stdio.h>

#define MB 1000000u

void progress_begin(struct progress *p, struct instant now, enum phase phase, uint64_t bytes_total)
{
    *p = (struct progress){
        .phase = phase, .bytes_total = bytes_total, .started = now, .said = now
    };
}

uint32_t progress_percent(const struct progress *p)
{
    if (p->bytes_total == 0)
        return 0;
    return p->bytes < p->bytes_total ? (uint32_t)(p->bytes * 100u / p->bytes_total) : 100;
}

uint32_t progress_left_ms(const struct progress *p, struct instant now)
{
    double past_ms = (double)instant_since_ms(now, p->started), left_ms;

    if (p->bytes == 0 || p->bytes >= p->bytes_total)
        return 0;
    left_ms = past_ms * (double)(p->bytes_total - p->bytes) / (double)p->bytes;
    return left_ms < (double)UINT32_MAX ? (uint32_t)left_ms : UINT32_MAX;
}

uint32_t progress_mb_per_second(const struct progress *p, struct instant now)
{
    uint64_t past_us = instant_since_us(now, p->started);
    uint64_t rate = past_us ? p->bytes / past_us : 0; /* bytes per µs are MB per s */

    return rate < UINT32_MAX ? (uint32_t)rate : UINT32_MAX;
}

bool progress_say(struct progress *p, struct instant now, char text[PROGRESS_TEXT_SIZE])
{
    uint64_t past_ms = instant_since_ms(now, p->said);
    uint32_t percent = progress_percent(p);

    if (past_ms < PROGRESS_SAY_MS_MIN ||
        (past_ms < PROGRESS_SAY_MS_MAX && percent < p->said_percent + 10))
        return false;
    p->said = now;
    p->said_percent = percent;
    (void)snprintf(text, PROGRESS_TEXT_SIZE, "%u %% of %llu MB, %u MB/s, %u s left", percent,
                   (unsigned long long)(p->bytes_total / MB), progress_mb_per_second(p, now),
                   (uint32_t)(((uint64_t)progress_left_ms(p, now) + 999u) / 1000u));
    return true;
}

struct message progress_message(const struct progress *p, struct instant now, node_id server,
                                uint64_t incarnation)
{
    return (struct message){ .type = MESSAGE_PROGRESS,
                             .progress = {
                                 .server = server,
                                 .incarnation = incarnation,
                                 .phase = (uint8_t)p->phase,
                                 .bytes = p->bytes,
                                 .bytes_total = p->bytes_total,
                                 .left_ms = progress_left_ms(p, now),
                             } };
}
