/* resp - the Redis serialization protocol, versions 2 and 3: an incremental, bounded reader of
 * commands and of replies, and a writer.
 *
 * Nothing is copied: what is read refers to the caller's bytes. Errors are the words of Redis
 * ("Protocol error: invalid bulk length" …), so that clients see what they know. */
#ifndef HOLDFAST_COMMON_RESP_H
#define HOLDFAST_COMMON_RESP_H

#include <stdbool.h>

#include "common/buffer.h"
#include "common/bytes.h"
#include "common/error.h"
#include "common/limits.h"

enum resp_status {
    RESP_READY,   /* one whole command or reply stands at the front */
    RESP_PARTIAL, /* more bytes are needed */
    RESP_BROKEN,  /* the peer broke the protocol: answer the error, then close */
};

/* Reads commands (what a client sends): arrays of bulk strings, or inline. Keeps its place in a
 * partial command, so feeding byte by byte costs no more than feeding at once. All zero is a fresh
 * reader. */
struct resp_command_reader {
    struct bytes *argv; /* arguments of the command last read; into the caller's bytes */
    uint32_t argc;      /* of the command last read; while one is partial, those it has so far */
    uint32_t
        capacity; /* of argv and offsets: grows with what arrives, not with what is announced */
    uint32_t expected; /* arguments of the command being read, 0 between commands */
    size_t place;      /* bytes of it already understood */
    size_t scanned;    /* bytes of the line at place that hold no end of it */
    size_t wanted;     /* bytes of it needed before reading on makes sense, 0 if unknown */
    size_t *offsets;   /* starts of the arguments, as the caller's bytes may move meanwhile */
    struct buffer inline_words; /* unquoted words of an inline command */
};

/* Looks at the bytes from the start of a command on. RESP_READY: argc and argv are set (argc 0 for
 * an empty line or array) and *used says how many bytes it took; they are good until the next call,
 * which reads the next command. The same bytes must be given again, at any address, with more at
 * their end, after RESP_PARTIAL; a caller that knows from `wanted` how many will come can make room
 * at once. Refused (with what Redis says) beyond CLIENT_ARGUMENT_COUNT_MAX, CLIENT_BULK_BYTES_MAX
 * and CLIENT_INLINE_BYTES_MAX, and beyond REQUEST_BYTES_MAX as a whole. */
enum resp_status resp_read_command(struct resp_command_reader *reader, struct bytes input,
                                   size_t *used, struct error *error);
/* Frees what it holds; it is then fresh. */
void resp_command_reader_free(struct resp_command_reader *reader);

/* One value of a reply, read in place. */
enum resp_type {
    RESP_STRING = '+',
    RESP_ERROR = '-',
    RESP_INTEGER = ':',
    RESP_BULK = '$',
    RESP_ARRAY = '*',
    RESP_NULL = '_',
    RESP_DOUBLE = ',',
    RESP_BOOLEAN = '#',
    RESP_BIG = '(',
    RESP_BULK_ERROR = '!',
    RESP_VERBATIM = '=',
    RESP_MAP = '%',
    RESP_SET = '~',
    RESP_PUSH = '>',
    RESP_ATTRIBUTE = '|',
};

struct resp_value {
    enum resp_type type; /* the RESP2 nulls are RESP_NULL too */
    int64_t integer;     /* integer, boolean; elements of an array, set, push; pairs of a map or
                          * an attribute */
    double number;       /* of a double */
    struct bytes text;   /* of strings, errors, bulks, big numbers; a verbatim's begins with "txt:"
                          * or such; of all other scalars as written */
};

/* Values within values; deeper replies are refused, so what resp_measure_reply() took can be read
 * by recursion. */
#define RESP_DEPTH_MAX 64u

/* How long the whole reply at the front is, nested values (and attributes before it) included:
 * *used, when RESP_READY. Bulks of at most CLIENT_BULK_BYTES_MAX, lines of CLIENT_INLINE_BYTES_MAX.
 */
enum resp_status resp_measure_reply(struct bytes input, size_t *used, struct error *error);

/* Reads one value, without what is nested in it, from a reply that resp_measure_reply() found whole
 * (asserted); returns the bytes it took. The elements of an aggregate follow it; the value that an
 * attribute is about follows the attribute's pairs. */
size_t resp_read_value(struct bytes input, struct resp_value *value);

/* Writers append to a buffer. Those that differ between versions write RESP3. */

/* +text and -text; CR and LF in it become spaces. Errors are cut at RESP_ERROR_BYTES_MAX. */
#define RESP_ERROR_BYTES_MAX 1024u
void resp_write_string(struct buffer *out, const char *text);
void resp_write_error(struct buffer *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void resp_write_integer(struct buffer *out, int64_t value);
void resp_write_bulk(struct buffer *out, struct bytes text);
void resp_write_bulk_string(struct buffer *out, const char *text);
void resp_write_null(struct buffer *out);                  /* _ */
void resp_write_array(struct buffer *out, uint64_t count); /* *count, elements follow */
void resp_write_map(struct buffer *out, uint64_t pairs);
void resp_write_set(struct buffer *out, uint64_t count);
void resp_write_double(struct buffer *out, double value);
void resp_write_boolean(struct buffer *out, bool value);

/* Appends a whole RESP3 reply as RESP2: maps become arrays of twice as many, sets and pushes
 * arrays, nulls $-1, doubles, big numbers and verbatims bulks, booleans integers, bulk errors
 * errors; attributes are dropped. What is no whole reply becomes an error reply. */
void resp_write_as_resp2(struct buffer *out, struct bytes reply);

/* A command as clients send it. */
void resp_write_command(struct buffer *out, uint32_t argc, const struct bytes *argv);

/* Case-insensitive comparison of an argument with a word in lower case. */
bool resp_is(struct bytes argument, const char *lower);
/* A whole argument as a signed 64-bit number in Redis's strict form (no plus, no leading zero, no
 * space); false when it is not. */
bool resp_integer(struct bytes argument, int64_t *value);

#endif
