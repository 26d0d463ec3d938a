/* machine - the replicated state machine: the service, the sessions beside it, and the way entries
 * are executed.
 *
 * Pure but for the service's memory: the same entries in the same order give the same replies and
 * digest everywhere. The server and the simulator drive the same machine. */
#ifndef HOLDFAST_SERVER_MACHINE_H
#define HOLDFAST_SERVER_MACHINE_H

#include "server/request.h"
#include "server/service.h"
#include "server/sessions.h"

/* One entry to execute. */
struct machine_entry {
    uint64_t index, time_us;
    uint64_t session, sequence; /* session 0: none */
    uint8_t kind;               /* enum request_kind */
    struct bytes request;
};

#define SESSION_SKIP_MAX UINT64_C(0x100000000) /* so that nobody uses up the sequences of all */

struct machine;

struct machine *machine_new(const struct service *service);
void machine_free(struct machine *machine);
/* Remembers so many sessions at most, 1 to SESSION_COUNT_MAX; before the first, the same on all
 * members. */
void machine_limit_sessions(struct machine *machine, uint32_t count_max);

/* Index and time of the last entry executed, 0 when none. */
uint64_t machine_index(const struct machine *machine);
uint64_t machine_time_us(const struct machine *machine);

/* Executes the next entry (index = machine_index() + 1, asserted) and appends its reply (none for
 * VIEW, MARK, TIME, which are in no session).
 *
 * In a session, a sequence that is the last executed gives the remembered reply; an older one gets
 * "-ERR …"; a session that is not known gets "-SESSIONLOST … N" unless its sequence is N, the one
 * with which sessions begin: 1, or above all that forgotten sessions have used. All these execute
 * nothing. One that skips ahead, by SESSION_SKIP_MAX at most, is welcome: the client gave up on
 * some. Of a reply above SESSION_REPLY_MAX only "-REPLYLOST …" is remembered.
 *
 * A command that the service does not have, or with a wrong number of arguments, gets Redis's error
 * here, so that services see only what their table allows. A malformed request gets an error reply.
 * A transaction's reply is the array of its commands' replies, errors included, or null when a
 * watched key has changed. */
void machine_execute(struct machine *machine, const struct machine_entry *entry,
                     struct buffer *reply);

/* Answers a READ, WATCH or READ_TRANSACTION request from the present state. */
void machine_query(struct machine *machine, uint8_t kind, uint64_t time_us, struct bytes request,
                   struct buffer *reply);

/* The remembered reply of an executed sequence; false when it is not remembered. Saves an entry for
 * a repeat. */
bool machine_remembered(const struct machine *machine, uint64_t session, uint64_t sequence,
                        struct bytes *reply);

bool machine_overdue(struct machine *machine, uint64_t time_us);

/* Service and sessions together; depends on the state only, in constant time. */
uint64_t machine_digest(const struct machine *machine);

/* A checkpoint as of now, read in slices while entries go on being executed; at most one at a time.
 * Full when base_index is 0 or when the changes since it are not known any more: *full says which.
 * Sessions are in it (those that changed since the base). One call makes one slice, and one slice
 * must be given to one call of machine_restore_slice(). */
void machine_checkpoint_begin(struct machine *machine, uint64_t base_index, bool *full);
bool machine_checkpoint_slice(struct machine *machine, uint32_t budget,
                              struct buffer *out); /* false: that was the last */
void machine_checkpoint_end(struct machine *machine);
uint64_t machine_checkpoint_bytes_estimated(const struct machine *machine, uint64_t base_index);

/* What an emptied machine had in it is freed in steps: up to about budget items, true while there
 * is more. Each slice that is restored frees about as much as it brings, so that the old state and
 * the new together do not take more than the larger of them. */
bool machine_releases(const struct machine *machine);
bool machine_release(struct machine *machine, uint32_t budget);

/* Takes in a checkpoint: begin empties the state when full, then the slices, then end with the
 * index, time and digest that it must come to. One of changes needs the state as of its base; one
 * of entry 0 has no slices. False: a slice or the digest is wrong; the machine is then empty, at
 * index 0. Ends a checkpoint that is being read out. */
void machine_restore_begin(struct machine *machine, bool full);
bool machine_restore_slice(struct machine *machine, struct bytes slice);
bool machine_restore_end(struct machine *machine, uint64_t index, uint64_t time_us,
                         uint64_t digest);

void machine_info(struct machine *machine, struct buffer *out);
const struct service *machine_service(const struct machine *machine);

#endif
