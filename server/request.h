/* request - what an entry of the journal asks for, in its packed form.
 *
 * All integers are little-endian. A command is u32 argc, then u32 size and bytes of each argument.
 * A transaction is u32 watched, then for each u64 version, u32 size, key; then u32 commands, then
 * each command. A watch has the form of a command whose arguments are keys. Part of the journal's
 * format. */
#ifndef HOLDFAST_SERVER_REQUEST_H
#define HOLDFAST_SERVER_REQUEST_H

#include <stdbool.h>

#include "common/buffer.h"
#include "common/bytes.h"

/* What an entry asks for. Part of the journal's format. */
enum request_kind {
    REQUEST_VIEW = 0,             /* first entry of a view; nothing to execute */
    REQUEST_COMMAND = 1,          /* one command of the service that writes */
    REQUEST_TRANSACTION = 2,      /* several in one entry: EXEC, with what WATCH saw */
    REQUEST_MARK = 3,             /* checkpoint mark: all members compare digests here */
    REQUEST_TIME = 4,             /* nothing but the time: the service was overdue */
    REQUEST_READ = 5,             /* never in a journal: a query, forwarded */
    REQUEST_WATCH = 6,            /* never in a journal: asks for the versions of keys */
    REQUEST_READ_TRANSACTION = 7, /* never in a journal: of reads only, without WATCH */
};

/* Packing: each appends to out what its name says, in the order of the packed form. */
void request_pack_command(struct buffer *out, uint32_t argc, const struct bytes *argv);
void request_pack_transaction_begin(struct buffer *out, uint32_t watched);
void request_pack_transaction_watch(struct buffer *out, uint64_t version, struct bytes key);
void request_pack_transaction_commands(struct buffer *out, uint32_t commands);

/* The arguments of one command; into the request's bytes. All zero is empty. */
struct request_words {
    struct bytes *argv;
    uint32_t argc, capacity;
};

void request_words_free(struct request_words *words);

/* Unpacking: each takes its part off the front of *rest; false when the bytes make no sense, and
 * then *rest is of no more use. The memory of words is kept from one command to the next, unless a
 * command was unusually long. */
bool request_unpack_command(struct bytes *rest, struct request_words *words);
bool request_unpack_count(struct bytes *rest, uint32_t *count);
bool request_unpack_watch(struct bytes *rest, uint64_t *version, struct bytes *key);

/* Whether a transaction's bytes are whole and right up to the last. */
bool request_transaction_valid(struct bytes request);

#endif
