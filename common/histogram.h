/* histogram - counts of latencies in buckets that grow with the value, for percentiles.
 *
 * Values are u64 of any unit; a bucket is at most 1/64 of its value wide (as in HdrHistogram with
 * 6 significant bits), so a percentile is at most 1.6 % above the true one. No allocation. */
#ifndef HOLDFAST_COMMON_HISTOGRAM_H
#define HOLDFAST_COMMON_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BUCKETS ((64u - 6u + 1u) * 64u)

/* All zero is an empty histogram. */
struct histogram {
    uint64_t count, min, max;
    uint64_t sum; /* stays at the highest number once it is reached */
    uint64_t bucket[HISTOGRAM_BUCKETS];
};

void histogram_clear(struct histogram *h);
void histogram_add(struct histogram *h, uint64_t value);
void histogram_merge(struct histogram *into, const struct histogram *from);
/* The value that `percent` (0 to 100) of all values do not exceed: the smallest at 0, the largest
 * at 100; 0 when empty. */
uint64_t histogram_percentile(const struct histogram *h, double percent);

#endif
