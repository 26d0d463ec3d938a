/* record - a history of operations as text, one to a line, as it is recorded by whoever asks.
 *
 * A line has seven fields with one space between them:
 *
 *     CLIENT KEY COMMAND ARGUMENT RESULT INVOKED_NS RETURNED_NS
 *
 *     1 k7 set    hello -     1000 2000
 *     2 k7 get    -     hello 1500 2500
 *     1 k7 append %20you -    3000 unknown
 *
 * CLIENT is a number; it is only shown. COMMAND is get, set, setnx, setxx, getset, del, append or
 * incrby. ARGUMENT is `-` for get and del. RESULT is the reply: a text for get and getset ((nil)
 * when there is none), a number for setnx, setxx and del (0 or 1), append and incrby, `-` for set
 * and for what has not returned. RETURNED_NS is `unknown` when nobody knows whether it happened.
 * What was answered with an error, or surely did not happen, is left out. Both times are of one
 * monotonic clock, in nanoseconds.
 *
 * Keys and texts stand as they are, but for bytes up to space, from 127 on, and `%`, which
 * are written %XX (two hexadecimal digits); so are `-` and `(` where they begin a field, and an
 * empty text is `%`. Empty lines and lines that begin with `#` do not count.
 *
 * The values of a key that is used with incrby must be whole numbers; it cannot be appended to. */
#ifndef HOLDFAST_LINEARIZABILITY_RECORD_H
#define HOLDFAST_LINEARIZABILITY_RECORD_H

#include "common/buffer.h"
#include "common/error.h"
#include "tests/linearizability/linearizability.h"

#define RECORD_BYTES_MAX (1ull << 30) /* of a file: 1 GiB */
#define RECORD_FIELDS    7u

struct record_line {
    struct bytes text; /* without its end */
    uint32_t number;   /* in the file, from 1 */
};

struct record {
    struct buffer content;
    struct buffer texts; /* of operations, as they are */
    uint32_t count;
    struct linear_operation *operations;
    struct record_line *lines; /* of each operation */
    struct record_key *keys;   /* table by name */
    uint32_t key_count, key_capacity;
};

/* Reads a file (`-`: the standard input). What is wrong with it is ERROR_CONFIG (or ERROR_LIMIT),
 * with file and line. *record must be given back by record_free() in any case. */
enum error_code record_read(struct record *record, const char *path, struct error *error);
void record_free(struct record *record);

/* The name of a key, as it stands in the file. */
struct bytes record_key_name(const struct record *record, uint32_t key);

#endif
