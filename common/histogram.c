#include "common/histogram.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define BITS 6u           /* of a value that its bucket tells, behind the leading one */
#define STEP (1u << BITS) /* buckets between two powers of two */

_Static_assert(HISTOGRAM_BUCKETS == (64u - BITS + 1u) * STEP, "every u64 has a bucket");

/* Values below STEP have a bucket each; above, every power of two has STEP of them. */
static uint32_t bucket_of(uint64_t value)
{
    uint32_t shift;

    if (value < STEP)
        return (uint32_t)value;
    shift = 63u - (uint32_t)__builtin_clzll(value) - BITS;
    return shift * STEP + (uint32_t)(value >> shift);
}

/* The highest value that is counted in it. */
static uint64_t bucket_top(uint32_t bucket)
{
    uint32_t shift;

    if (bucket < STEP)
        return bucket;
    shift = bucket / STEP - 1;
    return ((uint64_t)(bucket % STEP + STEP) << shift) + (((uint64_t)1 << shift) - 1);
}

void histogram_clear(struct histogram *h)
{
    memset(h, 0, sizeof *h);
}

static uint64_t sum_of(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

void histogram_add(struct histogram *h, uint64_t value)
{
    h->min = h->count == 0 || value < h->min ? value : h->min;
    h->max = value > h->max ? value : h->max;
    h->sum = sum_of(h->sum, value);
    h->count++;
    h->bucket[bucket_of(value)]++;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    if (from->count == 0)
        return;
    into->min = into->count == 0 || from->min < into->min ? from->min : into->min;
    into->max = from->max > into->max ? from->max : into->max;
    into->sum = sum_of(into->sum, from->sum);
    into->count += from->count;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->bucket[i] += from->bucket[i];
}

uint64_t histogram_percentile(const struct histogram *h, double percent)
{
    double rank = ceil((double)h->count * percent / 100.0);
    uint64_t seen = 0;

    assert(percent >= 0 && percent <= 100);
    if (h->count == 0)
        return 0;
    if (rank <= 1)
        return h->min;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->bucket[i];
        if ((double)seen >= rank)
            return bucket_top(i) < h->max ? bucket_top(i) : h->max;
    }
    return h->max;
}
