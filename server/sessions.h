/* sessions - the last sequence and reply of each client, so that a repeat is answered and not
 * executed.
 *
 * Part of the replicated state: what is remembered and what is forgotten depends only on the
 * entries executed. Bounded by SESSION_COUNT_MAX and SESSION_REPLY_BYTES_MAX; the session whose
 * last entry is the oldest goes first. Its records stand in a list in the order of their last
 * entry.
 *
 * Of all that are forgotten one number stays, the floor: the highest sequence of theirs that was
 * executed. A session that is not known begins above it, so that no request of a forgotten one can
 * pass for the first of a new one. */
#ifndef HOLDFAST_SERVER_SESSIONS_H
#define HOLDFAST_SERVER_SESSIONS_H

#include <stdbool.h>

#include "common/buffer.h"
#include "common/bytes.h"

#ifndef SESSION_COUNT_MAX
#define SESSION_COUNT_MAX 65536u /* sessions remembered; a power of two */
#endif
#define SESSION_REPLY_BYTES_MAX (64u << 20) /* bytes of all remembered replies */
#define SESSION_REPLY_MAX                                                   \
    (1u << 20) /* bytes of one; of a longer one only its loss is remembered \
                */

_Static_assert(SESSION_REPLY_BYTES_MAX >= 2 * SESSION_REPLY_MAX,
               "the newest reply never makes itself be forgotten");

struct sessions;

struct sessions *sessions_new(void);
void sessions_free(struct sessions *sessions);
/* Forgets up to budget of those that will only be freed; true while there are more. */
bool sessions_free_slice(struct sessions *sessions, uint32_t budget);
/* Remembers at most count_max, 1 to SESSION_COUNT_MAX; before the first, the same on all members.
 */
void sessions_limit(struct sessions *sessions, uint32_t count_max);

/* The last sequence of a session and its reply, which is valid until the next change; false when
 * the session is not known. */
bool sessions_find(const struct sessions *sessions, uint64_t id, uint64_t *sequence,
                   struct bytes *reply);

/* Remembers the reply to a sequence, executed by the entry `index`, which must be above all before.
 * Then forgets the oldest sessions until the limits hold. */
void sessions_record(struct sessions *sessions, uint64_t id, uint64_t sequence, uint64_t index,
                     struct bytes reply);

/* 0 when none was ever forgotten. */
uint64_t sessions_floor(const struct sessions *sessions);

uint32_t sessions_count(const struct sessions *sessions);
uint64_t sessions_reply_bytes(const struct sessions *sessions);

/* A number that depends on what is remembered only, in constant time. */
uint64_t sessions_digest(const struct sessions *sessions);

/* Reads out the sessions as of begin, those whose last entry is above base_index, while records go
 * on being made. From the newest to the oldest, so that a checkpoint of changes touches nothing but
 * the changes. At most one at a time; end frees what was kept for it, also before the last slice.
 */
void sessions_checkpoint_begin(struct sessions *sessions, uint64_t base_index);
/* Appends records, about budget bytes and one at least; false when that was the last. */
bool sessions_checkpoint_slice(struct sessions *sessions, uint32_t budget, struct buffer *out);
/* Appends, after the last slice, what the table must come to: how old its oldest record is, how
 * many there are, and the floor. */
void sessions_checkpoint_limits(const struct sessions *sessions, struct buffer *out);
void sessions_checkpoint_end(struct sessions *sessions);
uint64_t sessions_bytes_estimated(const struct sessions *sessions, uint64_t changes);

/* Takes in slices: a full checkpoint into an empty table, changes into the table as of their base,
 * whose last entry is base_index; limits come last and forget what was forgotten since. False when
 * the bytes make no sense; the table is then only good to be freed. The records must lie above
 * base_index and newest_index says, at the end, how new the newest was (0: none). */
void sessions_restore_begin(struct sessions *sessions, uint64_t base_index);
bool sessions_restore_slice(struct sessions *sessions, struct bytes slice);
bool sessions_restore_limits(struct sessions *sessions, struct bytes limits);
uint64_t sessions_newest_index(const struct sessions *sessions);

#endif
