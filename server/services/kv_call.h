/* kv_call - one command being answered, and what all commands share. */
#ifndef HOLDFAST_SERVER_SERVICES_KV_CALL_H
#define HOLDFAST_SERVER_SERVICES_KV_CALL_H

#include "common/buffer.h"
#include "common/resp.h"
#include "server/services/kv_store.h"

struct kv_call {
    struct kv_store *store;
    uint32_t argc; /* within the command's arity */
    const struct bytes *argv;
    const char *name;     /* of the command */
    struct buffer *reply; /* for exactly one reply */
    uint64_t index, time_us;
    int64_t now_ms;
    bool writes; /* an entry is executed: what is due may be removed */
};

#define KV_ERROR_SYNTAX   "ERR syntax error"
#define KV_ERROR_INTEGER  "ERR value is not an integer or out of range"
#define KV_ERROR_FLOAT    "ERR value is not a valid float"
#define KV_ERROR_TOO_LONG "ERR string exceeds maximum allowed size (proto-max-bulk-len)"

/* The entry of a key unless it is due; *key is filled in for a change. A write removes what it
 * finds due. */
struct kv_entry *kv_call_find(struct kv_call *call, struct bytes word, struct kv_key *key);

/* Replies with the value, or null when e is NULL. */
void kv_reply_value(struct kv_call *call, const struct kv_entry *e);
void kv_reply_ok(struct kv_call *call);

/* Reads a word as a number, or replies the error. */
bool kv_call_integer(struct kv_call *call, struct bytes word, int64_t *value);

/* What SET and GETEX take after their key and value. */
enum kv_option {
    KV_OPTION_NX = 1,
    KV_OPTION_XX = 2,
    KV_OPTION_GET = 4,
    KV_OPTION_EX = 8, /* these four have a time */
    KV_OPTION_PX = 16,
    KV_OPTION_EXAT = 32,
    KV_OPTION_PXAT = 64,
    KV_OPTION_KEEPTTL = 128,
    KV_OPTION_PERSIST = 256,
};
#define KV_OPTION_TIMES (KV_OPTION_EX | KV_OPTION_PX | KV_OPTION_EXAT | KV_OPTION_PXAT)

struct kv_options {
    uint32_t set;      /* enum kv_option */
    struct bytes time; /* of one of KV_OPTION_TIMES */
};

/* Reads the words from place on, of which only those in allowed are known; or replies the error. */
bool kv_call_options(struct kv_call *call, uint32_t place, uint32_t allowed,
                     struct kv_options *options);
/* The time that the options (one of KV_OPTION_TIMES) or the like of them in set mean, in ms since
 * 1970; or replies the error. Always after 1970, but perhaps past. */
bool kv_call_expiry(struct kv_call *call, struct bytes word, uint32_t set, int64_t *at_ms);

/* Whether a string matches a pattern as in KEYS: * ? [a-z] [^a] and \ before a character meant as
 * it is. Takes time in proportion to the product of their sizes at most. */
bool kv_match(struct bytes pattern, struct bytes string);

#endif
