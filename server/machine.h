/* machine - the replicated state machine: the service, the sessions beside it, and the way entries are executed.
 *
 * Pure but for the service's memory: the same entries in the same order give the same replies and digest everywhere. The server and
 * the simulator drive the same machine. */
#ifndef HOLDFAST_SERVER_MACHINE_H
#define HOLDFAST_SERVER_MACHINE_H

#include "server/service.h"

/* What an entry asks for. Part of the journal's format. */
enum request_kind {
    REQUEST_VIEW = 0,        /* first entry of a view; nothing to execute */
    REQUEST_COMMAND = 1,     /* one command of the service that writes */
    REQUEST_TRANSACTION = 2, /* several, all or none: EXEC, with what WATCH saw */
    REQUEST_MARK = 3,        /* checkpoint mark: all members compare digests here */
    REQUEST_TIME = 4,        /* nothing but the time: the service was overdue */
    REQUEST_READ = 5,        /* never in a journal: a query, forwarded */
    REQUEST_WATCH = 6,       /* never in a journal: asks for the versions of keys (RESP array of integers) */
    REQUEST_READ_TRANSACTION = 7, /* never in a journal: a transaction of reads only, without WATCH */
};

/* The packed forms of requests. Command: u32 argc, then u32 size and bytes of each. Transaction: u32 watched, then for each u64 version,
 * u32 size, key; then u32 commands, then each in the packed form of a command. Watch: as a command, whose arguments are keys. */
void request_pack_command(struct buffer *out, uint32_t argc, const struct bytes *argv);
void request_pack_transaction_begin(struct buffer *out, uint32_t watched);
void request_pack_transaction_watch(struct buffer *out, uint64_t version, struct bytes key);
void request_pack_transaction_commands(struct buffer *out, uint32_t commands);

#define SESSION_COUNT_MAX       65536u          /* sessions remembered; the least recently used goes first */
#define SESSION_REPLY_BYTES_MAX (64u << 20)     /* bytes of all remembered replies; the oldest sessions go first */

/* One entry to execute. */
struct machine_entry {
    uint64_t index, time_us;
    uint64_t session, sequence; /* session 0: none */
    uint8_t kind;               /* enum request_kind */
    struct bytes request;
};

struct machine;

struct machine *machine_new(const struct service *service);
void machine_free(struct machine *machine);

/* Index and time of the last entry executed, 0 when none. */
uint64_t machine_index(const struct machine *machine);
uint64_t machine_time_us(const struct machine *machine);

/* Executes the next entry (index = machine_index() + 1, asserted) and appends its reply (none for VIEW, MARK, TIME). A sequence already
 * executed in its session gives the remembered reply and executes nothing; one older than the last, or one that skips ahead is welcome (the client
 * gave up on some), an older one than the last gets "-ERR …", and a session that is not known with a sequence above 1 gets
 * "-SESSIONLOST …", and executes nothing. A malformed request gets an error reply. */
void machine_execute(struct machine *machine, const struct machine_entry *entry, struct buffer *reply);

/* Answers a READ, WATCH or READ_TRANSACTION request from the present state. */
void machine_query(struct machine *machine, uint8_t kind, uint64_t time_us, struct bytes request, struct buffer *reply);

/* The remembered reply of an executed sequence; false when it is not remembered. Saves an entry for a repeat. */
bool machine_remembered(const struct machine *machine, uint64_t session, uint64_t sequence, struct bytes *reply);

bool machine_overdue(struct machine *machine, uint64_t time_us);

/* Service and sessions together; depends on the state only, in constant time. */
uint64_t machine_digest(const struct machine *machine);

/* A checkpoint as of now, read in slices while entries go on being executed; at most one at a time. Full when base_index is 0 or when the changes since
 * it are not known any more: *full says which. Sessions are in it (those that changed since the base). */
void machine_checkpoint_begin(struct machine *machine, uint64_t base_index, bool *full);
bool machine_checkpoint_slice(struct machine *machine, uint32_t budget, struct buffer *out); /* false: that was the last */
void machine_checkpoint_end(struct machine *machine);
uint64_t machine_checkpoint_bytes_estimated(const struct machine *machine, uint64_t base_index);

/* Takes in a checkpoint: begin empties the state when full, then the slices, then end with the index, time and digest that it must come to.
 * False: a slice or the digest is wrong; the machine is then empty, at index 0. */
void machine_restore_begin(struct machine *machine, bool full);
bool machine_restore_slice(struct machine *machine, struct bytes slice);
bool machine_restore_end(struct machine *machine, uint64_t index, uint64_t time_us, uint64_t digest);

void machine_info(struct machine *machine, struct buffer *out);
const struct service *machine_service(const struct machine *machine);

#endif
