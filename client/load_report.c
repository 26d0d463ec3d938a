#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "client/load.h"

#define NS_PER_MS 1e6
#define NS_PER_S  1e9

static const struct {
    const char *name;
    double percent;
} percentiles[] = { { "p50", 50 }, { "p90", 90 }, { "p99", 99 }, { "p99.9", 99.9 } };

#define PERCENTILE_COUNT (sizeof(percentiles) / sizeof(percentiles[0]))

static double ms(uint64_t ns)
{
    return (double)ns / NS_PER_MS;
}

static double per_second(const struct load_result *r)
{
    return r->elapsed_ns > 0 ? (double)r->ok / ((double)r->elapsed_ns / NS_PER_S) : 0;
}

static struct load_gap longest_gap(const struct load_result *r)
{
    struct load_gap longest = { 0, 0 };

    for (uint32_t i = 0; i < r->gap_count; i++)
        if (r->gaps[i].ns > longest.ns)
            longest = r->gaps[i];
    return longest;
}

static void grow_seconds(struct load_result *r, uint32_t count)
{
    r->seconds = memory_grown(r->seconds, count * sizeof(*r->seconds));
    memset(r->seconds + r->second_count, 0, (count - r->second_count) * sizeof(*r->seconds));
    r->second_count = count;
}

/* Keeps the longest: a new one replaces the shortest when there is no room. */
static void keep_gap(struct load_result *r, struct load_gap gap)
{
    uint32_t shortest = 0;

    if (r->gap_count < LOAD_GAPS_MAX) {
        r->gaps[r->gap_count++] = gap;
    } else {
        for (uint32_t i = 1; i < LOAD_GAPS_MAX; i++)
            if (r->gaps[i].ns < r->gaps[shortest].ns)
                shortest = i;
        if (gap.ns > r->gaps[shortest].ns)
            r->gaps[shortest] = gap;
    }
    if (r->gap_count < LOAD_GAPS_MAX)
        return;
    r->gap_floor_ns = UINT64_MAX;
    for (uint32_t i = 0; i < LOAD_GAPS_MAX; i++)
        if (r->gaps[i].ns < r->gap_floor_ns)
            r->gap_floor_ns = r->gaps[i].ns;
}

void load_result_ack(struct load_result *r, uint64_t at_ns)
{
    struct load_gap gap = { at_ns - r->last_ack_ns, at_ns };
    uint64_t second = at_ns / 1000000000u;

    r->last_ack_ns = at_ns;
    if (gap.ns > r->gap_floor_ns)
        keep_gap(r, gap);
    if (second >= 2ull * LOAD_SECONDS_MAX)
        return;
    if (second >= r->second_count)
        grow_seconds(r, (uint32_t)second + 1u);
    r->seconds[second]++;
}

bool load_held(const struct load_options *o, const struct load_result *r)
{
    const struct verify_result *v = &r->verify;

    if (r->ok == 0)
        return false;
    if (!o->verify)
        return true;
    /* A plain write may be repeated where a session's may not; it is still reported. */
    return r->verified && v->lost == 0 && v->contradicted == 0 && v->foreign == 0 &&
           v->unreadable == 0 && (v->repeated == 0 || !o->once);
}

static void report_latency(const char *name, const struct histogram *h, struct buffer *out)
{
    if (h->count == 0)
        return;
    buffer_format(out, "%-12s mean %.3f", name, ms(h->sum / h->count));
    for (size_t i = 0; i < PERCENTILE_COUNT; i++)
        buffer_format(out, "  %s %.3f", percentiles[i].name,
                      ms(histogram_percentile(h, percentiles[i].percent)));
    buffer_format(out, "  max %.3f  ms\n", ms(h->max));
}

static void report_verify(const struct load_result *r, struct buffer *out)
{
    const struct verify_result *v = &r->verify;

    if (!r->verified) {
        buffer_append_string(out, "verify       not done\n");
        return;
    }
    buffer_format(out, "verify       %llu acknowledged writes: %llu lost, %llu repeated",
                  (unsigned long long)v->acknowledged, (unsigned long long)v->lost,
                  (unsigned long long)v->repeated);
    buffer_format(out, "; of %llu unknown %llu took effect\n", (unsigned long long)v->unknown,
                  (unsigned long long)v->unknown_found);
    if (v->contradicted + v->foreign + v->misplaced + v->unreadable > 0)
        buffer_format(out,
                      "             %llu failed and yet executed, %llu not ours, %llu out of "
                      "order, %llu keys unreadable\n",
                      (unsigned long long)v->contradicted, (unsigned long long)v->foreign,
                      (unsigned long long)v->misplaced, (unsigned long long)v->unreadable);
}

static void report_series(const struct load_result *r, struct buffer *out)
{
    for (uint32_t i = 0; i < r->second_count; i++)
        buffer_format(out, "second %-5u %llu\n", i, (unsigned long long)r->seconds[i]);
}

void load_report(const struct load_options *o, const struct load_result *r, struct buffer *out)
{
    struct load_gap gap = longest_gap(r);
    unsigned long long requests = r->ok + r->errors + r->failed + r->unknown;

    buffer_format(out, "load         %s, %u connections, pipeline %u, %u bytes, %u%% reads%s\n",
                  o->rate > 0 ? "open loop" : "closed loop", o->connections, o->pipeline,
                  o->value_size, o->reads_percent, o->once ? ", exactly once" : "");
    buffer_format(out, "requests     %llu in %.3f s, %.0f/s acknowledged\n", requests,
                  (double)r->elapsed_ns / NS_PER_S, per_second(r));
    buffer_format(out, "outcomes     %llu ok, %llu errors, %llu failed, %llu unknown\n",
                  (unsigned long long)r->ok, (unsigned long long)r->errors,
                  (unsigned long long)r->failed, (unsigned long long)r->unknown);
    buffer_format(out,
                  "on the way   %llu retries, %llu duplicates discarded, %llu connections "
                  "lost\n",
                  (unsigned long long)r->retries, (unsigned long long)r->discarded,
                  (unsigned long long)r->lost_connections);
    if (r->unsent > 0)
        buffer_format(out, "unsent       %llu requests were due and could not be issued\n",
                      (unsigned long long)r->unsent);
    if (r->first_error[0] != '\0')
        buffer_format(out, "first error  %s\n", r->first_error);
    report_latency("writes", &r->writes, out);
    report_latency("reads", &r->reads, out);
    buffer_format(out, "longest gap  %.3f ms between acknowledgements, at %.3f s\n", ms(gap.ns),
                  (double)gap.at_ns / NS_PER_S);
    if (o->series)
        report_series(r, out);
    if (o->verify)
        report_verify(r, out);
}

static json_t *json_count(uint64_t count)
{
    return json_integer((json_int_t)count);
}

static json_t *json_latency(const struct histogram *h)
{
    json_t *object = json_object();

    json_object_set_new(object, "count", json_count(h->count));
    json_object_set_new(object, "mean", json_real(h->count ? ms(h->sum / h->count) : 0));
    for (size_t i = 0; i < PERCENTILE_COUNT; i++)
        json_object_set_new(object, percentiles[i].name,
                            json_real(ms(histogram_percentile(h, percentiles[i].percent))));
    json_object_set_new(object, "max", json_real(ms(h->count ? h->max : 0)));
    return object;
}

static int compare_gaps(const void *a, const void *b)
{
    uint64_t left = ((const struct load_gap *)a)->ns;
    uint64_t right = ((const struct load_gap *)b)->ns;

    return left < right ? 1 : left > right ? -1 : 0;
}

static json_t *json_gaps(const struct load_result *r)
{
    struct load_gap gaps[LOAD_GAPS_MAX];
    json_t *array = json_array();

    memcpy(gaps, r->gaps, sizeof(gaps));
    qsort(gaps, r->gap_count, sizeof(gaps[0]), compare_gaps);
    for (uint32_t i = 0; i < r->gap_count; i++) {
        json_t *gap = json_object();

        json_object_set_new(gap, "ms", json_real(ms(gaps[i].ns)));
        json_object_set_new(gap, "at_s", json_real((double)gaps[i].at_ns / NS_PER_S));
        json_array_append_new(array, gap);
    }
    return array;
}

static json_t *json_verify(const struct load_result *r)
{
    const struct verify_result *v = &r->verify;
    json_t *object = json_object();

    json_object_set_new(object, "done", json_boolean(r->verified));
    json_object_set_new(object, "acknowledged", json_count(v->acknowledged));
    json_object_set_new(object, "lost", json_count(v->lost));
    json_object_set_new(object, "repeated", json_count(v->repeated));
    json_object_set_new(object, "contradicted", json_count(v->contradicted));
    json_object_set_new(object, "foreign", json_count(v->foreign));
    json_object_set_new(object, "misplaced", json_count(v->misplaced));
    json_object_set_new(object, "unknown", json_count(v->unknown));
    json_object_set_new(object, "unknown_found", json_count(v->unknown_found));
    json_object_set_new(object, "unreadable", json_count(v->unreadable));
    return object;
}

static json_t *json_series(const struct load_result *r)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < r->second_count; i++)
        json_array_append_new(array, json_count(r->seconds[i]));
    return array;
}

static void json_counts(json_t *object, const struct load_result *r)
{
    json_object_set_new(object, "ok", json_count(r->ok));
    json_object_set_new(object, "errors", json_count(r->errors));
    json_object_set_new(object, "failed", json_count(r->failed));
    json_object_set_new(object, "unknown", json_count(r->unknown));
    json_object_set_new(object, "unsent", json_count(r->unsent));
    json_object_set_new(object, "retries", json_count(r->retries));
    json_object_set_new(object, "discarded", json_count(r->discarded));
    json_object_set_new(object, "lost_connections", json_count(r->lost_connections));
}

/* And frees the object. */
static void json_write(json_t *object, struct buffer *out)
{
    char *text = json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(9));

    buffer_append_string(out, text ? text : "{}");
    buffer_append_string(out, "\n");
    free(text);
    json_decref(object);
}

void load_report_json(const struct load_options *o, const struct load_result *r, struct buffer *out)
{
    json_t *object = json_object();

    json_counts(object, r);
    json_object_set_new(object, "start_monotonic_us", json_count(r->start_ns / 1000u));
    json_object_set_new(object, "start_monotonic_s", json_real((double)r->start_ns / NS_PER_S));
    json_object_set_new(object, "seconds", json_real((double)r->elapsed_ns / NS_PER_S));
    json_object_set_new(object, "per_second", json_real(per_second(r)));
    json_object_set_new(object, "first_error", json_string(r->first_error));
    json_object_set_new(object, "writes_ms", json_latency(&r->writes));
    json_object_set_new(object, "reads_ms", json_latency(&r->reads));
    json_object_set_new(object, "longest_gap_ms", json_real(ms(longest_gap(r).ns)));
    json_object_set_new(object, "gaps", json_gaps(r));
    if (o->series)
        json_object_set_new(object, "series", json_series(r));
    if (o->verify)
        json_object_set_new(object, "verify", json_verify(r));
    json_object_set_new(object, "held", json_boolean(load_held(o, r)));
    json_write(object, out);
}

void load_report_verify(const struct load_options *o, const struct load_result *r,
                        struct buffer *out)
{
    json_t *object;

    if (!o->json) {
        report_verify(r, out);
        return;
    }
    object = json_object();
    json_object_set_new(object, "verify", json_verify(r));
    json_object_set_new(object, "held", json_boolean(load_held(o, r)));
    json_write(object, out);
}
