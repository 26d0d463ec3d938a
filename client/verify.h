/* verify - remembers what became of every write of a load, and judges what is read back.
 *
 * Each lane (a writer that waits for one reply before it writes again) appends numbered records of
 * one size to keys of its own, a few hundred to a key, with APPEND. So the value of a key shows
 * every write of it that took effect, how often, and in which order: an acknowledged record that
 * is missing is lost, a record that stands there twice was executed twice. */
#ifndef HOLDFAST_CLIENT_VERIFY_H
#define HOLDFAST_CLIENT_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buffer.h"
#include "common/bytes.h"

#define VERIFY_RECORD_SIZE_MIN   16u    /* hexadecimal digits of a serial */
#define VERIFY_CHUNK_BYTES       16384u /* about what one key grows to */
#define VERIFY_CHUNK_RECORDS_MAX (VERIFY_CHUNK_BYTES / VERIFY_RECORD_SIZE_MIN)
#define VERIFY_WRITES_MAX        (256u << 20) /* over all lanes, a byte of memory each */
#define VERIFY_KEY_SIZE          64u

enum verify_outcome {
    VERIFY_OPEN, /* no outcome yet: treated as unknown */
    VERIFY_ACKNOWLEDGED,
    VERIFY_UNKNOWN,
    VERIFY_FAILED, /* said to be certainly not executed */
};

struct verify_lane {
    uint8_t *outcomes; /* enum verify_outcome of each serial from 0 */
    uint64_t count, capacity;
};

struct verify {
    uint64_t run; /* makes the keys of one run its own */
    uint32_t lane_count, record_size, chunk_records;
    uint64_t total;
    struct verify_lane *lanes;
};

struct verify_result {
    uint64_t acknowledged;           /* writes */
    uint64_t lost;                   /* acknowledged, and not there */
    uint64_t repeated;               /* there more than once, each time beyond the first */
    uint64_t contradicted;           /* said to be not executed, and there */
    uint64_t foreign;                /* bytes or records that nobody wrote */
    uint64_t misplaced;              /* after a record that was written later */
    uint64_t unknown_found, unknown; /* writes of unknown outcome, and how many took effect */
    uint64_t unreadable; /* keys that could not be read back: nothing is known of them */
};

/* record_size at least VERIFY_RECORD_SIZE_MIN. */
void verify_init(struct verify *v, uint64_t run, uint32_t lane_count, uint32_t record_size);
void verify_free(struct verify *v);

/* The lane writes one more record: returns its serial. Not when verify_full(). */
uint64_t verify_begin(struct verify *v, uint32_t lane);
void verify_end(struct verify *v, uint32_t lane, uint64_t serial, enum verify_outcome outcome);
bool verify_full(const struct verify *v);

/* The key that a serial goes to, ended by '\0', and its record of record_size bytes. */
struct bytes verify_key(const struct verify *v, uint32_t lane, uint64_t serial,
                        char key[VERIFY_KEY_SIZE]);
void verify_record(const struct verify *v, uint64_t serial, uint8_t *record);

/* Keys of a lane, and the first serial of each. */
uint64_t verify_chunks(const struct verify *v, uint32_t lane);
uint64_t verify_chunk_serial(const struct verify *v, uint64_t chunk);

/* Judges the value of a key: empty when the key does not exist. Adds to *result. */
void verify_chunk(const struct verify *v, uint32_t lane, uint64_t chunk, struct bytes value,
                  struct verify_result *result);

#endif
