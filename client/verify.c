#include "client/verify.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LANE_CAPACITY_MIN 1024u
#define SERIAL_DIGITS     16u

void verify_init(struct verify *v, uint64_t run, uint32_t lane_count, uint32_t record_size)
{
    assert(record_size >= VERIFY_RECORD_SIZE_MIN && lane_count > 0);
    *v = (struct verify){ .run = run, .lane_count = lane_count, .record_size = record_size };
    v->chunk_records = record_size < VERIFY_CHUNK_BYTES ? VERIFY_CHUNK_BYTES / record_size : 1u;
    v->lanes = memory_zeroed(lane_count, sizeof(*v->lanes));
}

void verify_free(struct verify *v)
{
    for (uint32_t i = 0; i < v->lane_count; i++)
        free(v->lanes[i].outcomes);
    free(v->lanes);
    *v = (struct verify){ 0 };
}

uint64_t verify_begin(struct verify *v, uint32_t lane)
{
    struct verify_lane *l = &v->lanes[lane];

    assert(lane < v->lane_count && !verify_full(v));
    if (l->count == l->capacity) {
        l->capacity = l->capacity ? l->capacity * 2u : LANE_CAPACITY_MIN;
        l->outcomes = memory_grown(l->outcomes, l->capacity);
    }
    l->outcomes[l->count] = VERIFY_OPEN;
    v->total++;
    return l->count++;
}

void verify_end(struct verify *v, uint32_t lane, uint64_t serial, enum verify_outcome outcome)
{
    assert(lane < v->lane_count && serial < v->lanes[lane].count);
    assert(v->lanes[lane].outcomes[serial] == VERIFY_OPEN);
    v->lanes[lane].outcomes[serial] = (uint8_t)outcome;
}

bool verify_full(const struct verify *v)
{
    return v->total >= VERIFY_WRITES_MAX;
}

struct bytes verify_key(const struct verify *v, uint32_t lane, uint64_t serial,
                        char key[VERIFY_KEY_SIZE])
{
    int size = snprintf(key, VERIFY_KEY_SIZE, "verify:%016llx:%u:%llu", (unsigned long long)v->run,
                        lane, (unsigned long long)(serial / v->chunk_records));

    assert(size > 0 && size < (int)VERIFY_KEY_SIZE);
    return bytes_of(key, (size_t)size);
}

void verify_record(const struct verify *v, uint64_t serial, uint8_t *record)
{
    for (uint32_t i = 0; i < SERIAL_DIGITS; i++)
        record[i] = (uint8_t) "0123456789abcdef"[serial >> (4u * (SERIAL_DIGITS - 1u - i)) & 15u];
    memset(record + SERIAL_DIGITS, '.', v->record_size - SERIAL_DIGITS);
}

uint64_t verify_chunks(const struct verify *v, uint32_t lane)
{
    return (v->lanes[lane].count + v->chunk_records - 1u) / v->chunk_records;
}

uint64_t verify_chunk_serial(const struct verify *v, uint64_t chunk)
{
    return chunk * v->chunk_records;
}

/* The serial of a record, UINT64_MAX when it is none of ours. */
static uint64_t read_record(const struct verify *v, const uint8_t *record)
{
    uint64_t serial = 0;

    for (uint32_t i = 0; i < SERIAL_DIGITS; i++) {
        uint8_t c = record[i];

        if (c >= '0' && c <= '9')
            serial = serial << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            serial = serial << 4 | (uint64_t)(c - 'a' + 10);
        else
            return UINT64_MAX;
    }
    for (uint32_t i = SERIAL_DIGITS; i < v->record_size; i++)
        if (record[i] != '.')
            return UINT64_MAX;
    return serial;
}

static void judge(enum verify_outcome outcome, uint32_t found, struct verify_result *r)
{
    if (found > 1)
        r->repeated += found - 1u;
    switch (outcome) {
    case VERIFY_ACKNOWLEDGED:
        r->acknowledged++;
        r->lost += found == 0;
        break;
    case VERIFY_FAILED: r->contradicted += found > 0; break;
    case VERIFY_OPEN:
    case VERIFY_UNKNOWN:
        r->unknown++;
        r->unknown_found += found > 0;
        break;
    }
}

void verify_chunk(const struct verify *v, uint32_t lane, uint64_t chunk, struct bytes value,
                  struct verify_result *result)
{
    const struct verify_lane *l = &v->lanes[lane];
    uint64_t first = verify_chunk_serial(v, chunk);
    uint64_t last = first + v->chunk_records < l->count ? first + v->chunk_records : l->count;
    uint32_t found[VERIFY_CHUNK_RECORDS_MAX] = { 0 };
    uint64_t newest = first;
    size_t at = 0;

    for (; at + v->record_size <= value.size; at += v->record_size) {
        uint64_t serial = read_record(v, value.data + at);

        if (serial < first || serial >= last) {
            result->foreign++;
            continue;
        }
        found[serial - first]++;
        result->misplaced += serial < newest;
        newest = serial > newest ? serial : newest;
    }
    result->foreign += at < value.size;
    for (uint64_t serial = first; serial < last; serial++)
        judge((enum verify_outcome)l->outcomes[serial], found[serial - first], result);
}
