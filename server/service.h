/* service - what a replicated state machine is to holdfast.
 *
 * A service is a table of functions. Bundled ones register themselves in server/services/; a shared
 * object exports `const struct service *holdfast_service(void)` and is named in the config: service
 * = { name = "./mine.so"; }.
 *
 * The rules of a deterministic state machine: execute() sees time, chance and identity only through
 * its entry, and the same entries in the same order must give the same replies and the same digest
 * on every server. A call must return within a millisecond: whatever takes longer is cut into
 * steps.
 *
 * Commands are arrays of byte strings as Redis clients send them. Replies are RESP3, appended to a
 * buffer with the resp_write_… functions of common/resp.h (exported by the server to shared
 * objects); holdfast turns them into RESP2 for clients that speak that. */
#ifndef HOLDFAST_SERVER_SERVICE_H
#define HOLDFAST_SERVER_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buffer.h"
#include "common/bytes.h"

#define SERVICE_VERSION 3u /* of this interface; a shared object of another is refused */

enum command_flag {
    COMMAND_READ = 1,    /* changes nothing: query() answers it, on the primary, without an entry */
    COMMAND_WRITE = 2,   /* goes through the journal: execute() answers it */
    COMMAND_FAST = 4,    /* for COMMAND INFO: takes constant time */
    COMMAND_DENYOOM = 8, /* for COMMAND INFO: may use more memory */
};

struct service_command {
    const char *name; /* lower case */
    int32_t arity;    /* as in Redis: words with the name; negative: at least so many */
    uint32_t flags;   /* enum command_flag */
    int32_t first_key, last_key, key_step; /* as in Redis; 0 when there is none */
    const char *group;                     /* "string", "generic" … as in Redis's COMMAND DOCS */
    const char *summary;                   /* one sentence */
};

/* One command to execute, and all that it may depend on beside the state. */
struct service_entry {
    uint64_t index;   /* of the journal entry; only grows */
    uint64_t time_us; /* since 1970; never goes back */
    uint32_t argc;
    const struct bytes *argv; /* argv[0] is the name of the command, in any case */
};

struct service {
    uint32_t version; /* SERVICE_VERSION */
    const char *name;
    const struct service_command *commands;
    uint32_t command_count;

    /* A new, empty state. NULL when memory is gone. */
    void *(*create)(void);
    void (*destroy)(void *state);
    /* Optional, for a state that takes long to destroy: frees up to about budget items of one that
     * nothing else will be done with, and is true while there is more. destroy() comes in the end,
     * maybe before the last slice, and frees what is left. */
    bool (*destroy_slice)(void *state, uint32_t budget);

    /* Optional (NULL): slow or nondeterministic work before the entry exists, on the primary, in a
     * worker thread, without the state. Writes the arguments that become the request, as
     * resp_write_command() does. */
    bool (*prepare)(uint32_t argc, const struct bytes *argv, struct buffer *request);

    /* Executes a write and appends its reply. Its name is in the table and argc fits its arity. A
     * wrong argument gets an error reply and changes nothing. */
    void (*execute)(void *state, const struct service_entry *entry, struct buffer *reply);
    /* Answers a read; index is that of the last entry executed, time_us the present. Changes
     * nothing that a digest or a reply could show. */
    void (*query)(void *state, const struct service_entry *entry, struct buffer *reply);

    /* Optional: a number that changes whenever the key does (WATCH). */
    uint64_t (*key_version)(void *state, struct bytes key);

    /* Optional: whether there is work by time alone (keys that have expired): the primary then
     * appends an empty entry, and execute() with argc 0 does a step of it. A query is given a time
     * that goes beyond the last entry's only if nothing is due by then, so that what is due is seen
     * by all from one entry on. Asked before each read: must be quick. */
    bool (*overdue)(void *state, uint64_t time_us);

    /* A checkpoint is read out in slices while entries go on being executed, and shows the state as
     * of the moment of begin. base_index 0: the whole state; else only what changed by entries
     * after base_index: the service may answer false when it cannot tell any more (then a full one
     * is asked for). At most one at a time. */
    bool (*checkpoint_begin)(void *state, uint64_t base_index);
    /* Appends up to about budget bytes (at least one item); false when that was the last. Must take
     * well under a millisecond for 64 KiB. */
    bool (*checkpoint_slice)(void *state, uint32_t budget, struct buffer *out);
    /* Ends it, also before the last slice. */
    void (*checkpoint_end)(void *state);
    uint64_t (*checkpoint_bytes_estimated)(void *state, uint64_t base_index);

    /* Takes in slices in the order they were made: a full checkpoint into a new state, one of
     * changes into the state as of its base. False when a slice makes no sense; the state is then
     * only good for destroy(). */
    bool (*restore_slice)(void *state, struct bytes slice);
    /* Optional: that was the last slice. False when one is missing, or the state is of a later
     * entry or time than these, which are those of the checkpoint: what it says of itself may be
     * wrong, and entries that come next would be in the state already. */
    bool (*restore_end)(void *state, uint64_t index, uint64_t time_us);

    /* A number that is equal on two servers whose states are equal, whatever way they took to get
     * there (order of insertion, restore, table sizes). Constant time: it is kept up to date with
     * every change. */
    uint64_t (*digest)(void *state);

    /* Optional: appends "field:value\r\n" lines for INFO (keyspace, memory). */
    void (*info)(void *state, struct buffer *out);
};

/* By name of a bundled one, or loads a shared object when the name has a '/'. NULL and *error when
 * there is none, or it is of another version or lacks a function. */
struct error;
const struct service *service_find(const char *name, struct error *error);

/* The entry in the service's table for a command word, NULL if none. Constant time. */
const struct service_command *service_command_find(const struct service *service,
                                                   struct bytes word);

#endif
