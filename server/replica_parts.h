/* replica_parts - what the files of the replica core share, and what each of them does. Not for
 * others: they use replica.h. */
#ifndef HOLDFAST_SERVER_REPLICA_PARTS_H
#define HOLDFAST_SERVER_REPLICA_PARTS_H

#include <assert.h>

#include "server/replica.h"

static inline uint32_t self_index(const struct replica *r)
{
    return node_index(r->options.self);
}

static inline struct replica_peer *peer_of(struct replica *r, node_id server)
{
    assert(node_is_server(server));
    return &r->peers[node_index(server)];
}

static inline bool is_primary(const struct replica *r)
{
    return r->role == ROLE_PRIMARY && !replica_fenced(r);
}

/* replica_entries.c: which entries the journal has, and of which views (the runs). */

/* Which run the entry at an index belongs to. */
uint32_t entries_run_of(const struct replica *r, uint64_t index);
/* Whether we are in the present view with everything that its primary started from. */
bool entries_adopted(const struct replica *r);
/* One more entry, at the end. */
void entries_grown(struct replica *r, uint64_t index, uint64_t view);
/* Those behind index are dropped: nothing that is committed (rule 6). */
void entries_cut(struct replica *r, uint64_t index, struct effects *out);
/* All are dropped; the state of the entry at index is to come from elsewhere. */
void entries_begin_behind(struct replica *r, uint64_t index, uint64_t view, struct effects *out);
/* The state that came belongs to the journal, if that is known to be the primary's so far. */
void entries_become_whole(struct replica *r);

/* replica_views.c: from view to view, and what the rm is told. */
/* Enters the view, unless it is one to be refused (rule 2). */
void views_enter(struct replica *r, struct instant now, const struct message_view *view,
                 struct effects *out);
/* Promises the number to the rm, and reports. */
void views_fence(struct replica *r, struct instant now, uint64_t number, struct effects *out);
/* The primary tells a server of the view, and where the journal stands. */
void views_pass_on(const struct replica *r, node_id to, struct effects *out);
/* Tells the rm that the view is active, if we are its primary and it is; also one that was started
 * since, and cannot know. */
void views_send_active(const struct replica *r, struct effects *out);
void views_send_state(struct replica *r, struct instant now, struct effects *out);

/* replica_feed.c: entries on their way to others. */

/* Whom a server feeds in a chain; NODE_NONE: it is the last. */
node_id feed_chain_next(const struct replica *r, node_id server);
/* Who feeds a server. */
node_id feed_feeder_of(const struct replica *r, node_id server);
/* Whether we are to feed a member now. */
bool feed_is_ours(const struct replica *r, node_id server);
/* The server is sent entries from next_index on, until its position tells otherwise. */
void feed_from(struct replica *r, node_id server, uint64_t next_index);
/* A backup that becomes able to feed the next in the chain begins in hope, like the primary. */
void feed_begin_chain(struct replica *r);
void feed_position(struct replica *r, struct instant now, const struct message *message,
                   struct effects *out);
/* Entries without the state before them are of no use to anybody: they do not count yet. */
bool feed_lacks_state(const struct replica_peer *p);
/* The longest time between two appends to a peer, in milliseconds. */
uint32_t feed_beat_ms(const struct replica *r);
void feed_tick(struct replica *r, struct instant now, struct effects *out);
/* Asks the rm for checkpoints for those who lack their state. */
void feed_want_donors(struct replica *r, struct instant now, struct effects *out);

/* replica_follow.c: entries that come in, and what is said of them. */
void follow_append(struct replica *r, struct instant now, const struct message *message,
                   struct effects *out);
void follow_send_position(struct replica *r, struct instant now, node_id to, struct effects *out);
/* When nothing came of our position: the feeder may not have been in the view yet. */
void follow_repeat_position(struct replica *r, struct instant now, struct effects *out);
void follow_send_acks(struct replica *r, struct effects *out);
void follow_sync(struct replica *r, const struct message *message);
/* Once the journal has what the primary began with, requests go there. */
void follow_resume_forwarding(struct replica *r, struct effects *out);

/* replica_commit.c: what acknowledgements bring: commitment, leases, joiners that caught up. */
void commit_ack(struct replica *r, struct instant now, const struct message *message,
                struct effects *out);
void commit_advance(struct replica *r, struct instant now, struct effects *out);
/* Appends a mark when it is time to compare the states. */
void commit_mark(struct replica *r, struct instant now, struct effects *out);
/* Finds out what no member's state needs any more. */
void commit_trim(struct replica *r);

/* replica_judge.c: who holds up the others, us included. */
void judge_accuse(struct replica *r, struct instant now, node_id peer, const char *cause,
                  struct effects *out);
/* Whether our disk takes what is to be acknowledged. */
bool judge_can_keep(const struct replica *r, struct instant now);
void judge_forgive_pause(struct replica *r, struct instant now);
void judge_watch_disk(struct replica *r, struct instant now);
/* Whoever can keep nothing must not hold up the others. */
void judge_disk(struct replica *r, struct instant now, struct effects *out);
void judge_tick(struct replica *r, struct instant now, struct effects *out);

#endif
