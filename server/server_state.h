/* server_state - what server.c, server_requests.c and server_checkpoints.c share: the parts of one
 * replica, and what each file does with them. Not for others: they use server.h. */
#ifndef HOLDFAST_SERVER_SERVER_STATE_H
#define HOLDFAST_SERVER_SERVER_STATE_H

#include "server/journal.h"
#include "server/machine.h"
#include "server/pending.h"
#include "server/progress.h"
#include "server/replica.h"
#include "server/server.h"
#include "server/transfer.h"

#ifndef STREAM_COUNT
#define STREAM_COUNT 65536u /* places for streams; two in one place only wait for one another */
#endif

/* Tokens of reads at the primary, in the order in which they are to be answered. */
struct read_queue {
    uint64_t *tokens;
    uint32_t capacity; /* a power of two */
    uint32_t head, count;
    uint64_t position; /* of the last one */
};

/* The newest checkpoint on the disk with the changes since, of which this life knows. */
struct checkpoint_chain {
    uint64_t index;         /* of the state it comes to; 0: there is none */
    uint64_t bytes;         /* of the checkpoint */
    uint64_t changes_bytes; /* of the changes, all together */
    uint32_t changes;       /* how many */
};

struct server {
    struct server_options options;
    struct replica replica;
    struct journal journal;
    struct machine *machine;
    struct pending pending;
    struct read_queue reads;
    bool reads_blocked; /* the next entry waits for a read that has no leave yet */
    struct transfer_out transfer_out;
    struct transfer_in transfer_in;
    struct progress progress;       /* of joining */
    struct instant progress_told;   /* to the rm; zero: not yet over its present link */
    enum phase progress_told_phase; /* what it was told then */

    uint64_t wall_us;                        /* the time for entries; never goes back */
    uint64_t wall_heard_us;                  /* the wall clock, as last heard */
    uint64_t entry_time_us;                  /* of the last entry */
    uint64_t stream_write[STREAM_COUNT];     /* index of the last write of a stream */
    uint64_t stream_done[STREAM_COUNT];      /* newest token of its answered writes */
    struct buffer forwards;                  /* requests for the primary, since the last turn */
    struct buffer replies[SERVER_COUNT_MAX]; /* for servers that forwarded, since the last turn */
    struct buffer forwards_going, replies_going[SERVER_COUNT_MAX]; /* of the last turn */
    struct buffer reply;                                           /* of the entry being executed */
    struct instant round_due;   /* passive: the next checkpoint round */
    uint64_t round_index;       /* of the last one */
    struct instant overdue_due; /* the next look at what is due by time alone */
    uint32_t execute_room;      /* bytes of entries that may be executed before the next tick */
    uint64_t executed_us;       /* spent on executing in this turn */
    uint64_t slice_index;       /* the journal's end at the last slice of a checkpoint */
    struct instant release_due; /* the next step of freeing an old state */
    uint64_t release_work;      /* what had been done at the last one */
    uint64_t requests;          /* executed or answered since the start */
    uint64_t handed_index;      /* entries up to here were handed over to be written */
    uint64_t epoch;             /* of the journal's tail: grows when some of it is dropped */
    bool complete_due;          /* the disk is to be told that the journal is complete */
    uint64_t kept_bytes;        /* of the journal after the last checkpoint for the disk */
    uint64_t keep_covers;       /* bytes that the one under way takes off that, or gives back */
    bool keep_failed;           /* the last one found no room, which was said */
    struct instant keep_due;    /* no other one before */
    struct checkpoint_chain chain;
    uint64_t keep_wanted; /* a whole one of this entry or a later one, at once; 0: none */
    struct effects inner; /* what the replica core wants */
};

/* How long the turn has taken so far; always 0 when nobody says. */
static inline uint64_t server_turn_us(const struct server *s)
{
    return s->options.turn_us ? s->options.turn_us(s->options.context) : 0;
}

/* server.c: carries out what the replica core wants, passing on what is for others. */
void server_carry_out(struct server *s, struct instant now, struct effects *out);

/* server_requests.c */
uint64_t requests_append(struct server *s, const struct journal_record *header,
                         struct bytes request);
void requests_execute(struct server *s, struct instant now, struct effects *out);
void requests_journaled(struct server *s, const struct journal_record *record);
void requests_truncated(struct server *s, uint64_t index);
void requests_abandon_written(struct server *s);
void requests_role_changed(struct server *s);
void requests_resync(struct server *s);
void requests_forward(struct server *s, struct instant now, const struct message *message);
void requests_replies(struct server *s, const struct message *message);
void requests_tick(struct server *s, struct instant now, struct effects *out);
bool requests_executing(const struct server *s);
/* The next entry waits for a read that has no leave yet. */
bool requests_blocked(const struct server *s);

/* server_disk.c: entries after index are no more; what was handed over of them does not count. */
void disk_forget(struct server *s, uint64_t index);
/* What the next checkpoint for the disk is to be based on; 0: it is to be a whole one. */
uint64_t disk_keep_base(const struct server *s);
bool disk_keep_due(const struct server *s, struct instant now);

/* server_checkpoints.c */
void checkpoints_receive(struct server *s, struct instant now, const struct message *message,
                         struct effects *out);
void checkpoints_link(struct server *s, struct instant now, const struct message *message,
                      struct effects *out);
void checkpoints_tick(struct server *s, struct instant now, struct effects *out);
/* When checkpoints_tick() has something to do. */
struct instant checkpoints_deadline(const struct server *s);

#endif
