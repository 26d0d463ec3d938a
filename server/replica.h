/* replica - what to journal, commit and execute, and how to resume: the view protocol of a server.
 *
 * The core knows the journal only as numbers: which entries there are, of which views, up to where
 * they are saved, committed and executed. server.c keeps the bytes and does what the effects say.
 * DESIGN.md section 5 numbers the safety rules; the asserts name them.
 *
 * Source: Ongaro, Ousterhout, "In Search of an Understandable Consensus Algorithm", 2014, for log
 * matching and for committing only entries of the present term (here: view); Oki, Liskov,
 * "Viewstamped Replication", 1988, for views; Gray, Cheriton, "Leases", 1989. Departures: views and
 * primaries are issued by the rm, not voted for; the acknowledgements that commit an entry are part
 * of the view; a member votes for nothing, it only promises. */
#ifndef HOLDFAST_SERVER_REPLICA_H
#define HOLDFAST_SERVER_REPLICA_H

#include "common/core.h"
#include "server/journal.h"

#define RUN_COUNT_MAX     64u   /* views whose start in the journal is remembered */
#define FEED_WINDOW       32u   /* unacknowledged appends to one server */
#define MARK_COUNT        8u    /* own digests kept to compare with */
#define CAUGHT_UP_ENTRIES 1024u /* a joiner this near to the end is taken in */
#define LINK_GRACE_MS     50u   /* a lost link to a member may come back for so long */
#define DISK_STALL_MS     2000u /* a disk that saves nothing for so long: asks to be left out */
#define STATE_INTERVAL_MS 250u  /* between two states to the rm */
#define REPEAT_MS         200u  /* before caught_up, an accusation or a position is repeated */
#define POSITION_AGAIN_MS 5u    /* before a position that is asked for is sent again */
#define FEED_AGAIN_MS     5000u /* before what is under way is sent again to who asks again */
#define DONOR_REPEAT_MS   500u  /* before donor_wanted is repeated */

struct replica_options {
    node_id self;
    uint64_t incarnation;
    uint32_t server_count;
    uint32_t lease_ms;
    uint32_t checkpoint_interval_ms;
    uint32_t silence_ms; /* a peer that says nothing for so long is accused */
    bool persistent;     /* entries count once replica_saved() says so; else at once */
};

/* Another server, as this one sees it in the present view. */
struct replica_peer {
    bool linked;
    struct instant link_since; /* when the link came or went */
    struct instant heard;      /* last word of the view from it */
    struct instant accused;
    uint64_t incarnation; /* of its link */

    bool fed;   /* we send it entries, from next_index on */
    bool reset; /* tell it to begin its journal behind next_index - 1 */
    uint64_t next_index;
    uint64_t fed_from; /* first entry sent since its position was taken; 0: no position was */
    struct instant fed_since;
    uint64_t commit_sent, stamp_sent;
    uint64_t window[FEED_WINDOW]; /* last index of each append under way, oldest first */
    uint32_t window_count;

    uint64_t match_index; /* acknowledged: saved there, and equal to ours */
    uint64_t executed_index;
    uint64_t state_index; /* of the state that its position spoke of */
    uint64_t reset_stamp; /* of the append that told it to begin anew: acks before it are void */
    uint64_t stamp;       /* of our latest append it has answered */
    bool joiner;
    uint64_t reset_index; /* of a joiner that needs a checkpoint: of this index or later */
    struct instant asked; /* when the rm was last told of this joiner */
};

struct replica_mark {
    uint64_t index, digest;
};

struct replica {
    struct replica_options options;
    struct instant started;
    bool intact; /* lacks nothing that it acknowledged in any life: recovered so from disk, or it
                    holds the beginning of a view that has this life as a member, which was elected
                    without it */
    bool cut; /* intact, but maybe for the last group, which the power took or a bit that flipped */
    struct lives lives; /* of this server, of whose acknowledgements the journal lacks none */
    /* Not intact: where the intact journal ended that was thrown away to join. Everything that this
     * server ever acknowledged is in any journal that ends there or behind. View 0: not known. */
    struct journal_end discarded;
    bool full;     /* the disk is: it acknowledges nothing, and asks to be left out */
    bool unmarked; /* intact since a moment ago, which the disk has yet to know */

    uint64_t promised;        /* every view below it is refused (rule 2) */
    struct message_view view; /* number 0: none yet */
    uint64_t active_view;     /* the latest view in active style that this life was in; 0: none */
    enum role role;
    uint64_t view_start;       /* as primary: index of this view's first entry */
    bool serving;              /* as primary: view_start is committed */
    struct instant lease_wait; /* as primary: commits nothing before */

    struct journal_run runs[RUN_COUNT_MAX];
    uint32_t run_count;
    struct journal_run base; /* of the state recovered; zero: of none */
    uint64_t first_index, last_index;
    uint64_t verified_index; /* equal to the primary's journal up to here, in this view */
    uint64_t saved_index, persist_asked;
    uint64_t saved_seen;       /* by the last tick */
    struct instant disk_moved; /* when something was saved last, or nothing waited for it */
    uint64_t commit_index, executed_index;
    uint64_t trim_index; /* every member's state is at least here (passive) */
    bool whole;          /* state and journal belong together: no checkpoint is missing */
    uint64_t whole_at;   /* becomes whole when the journal reaches this index; 0: no */

    bool ack_owed;
    uint64_t stamp;               /* of the latest append taken in */
    struct instant lease_granted; /* until then, the primary may read without us */
    bool sync_known, forwarding;  /* may forward once verified up to sync_index */
    uint64_t sync_index;

    uint64_t confirm_ns; /* as primary: reads that came up to then wait for word of the others */
    struct instant mark_due;
    uint64_t mark_last; /* index of the last mark appended */
    struct replica_mark marks[MARK_COUNT];
    uint32_t mark_next;
    struct replica_mark mark_own; /* digest to go out with the next ack */

    bool rm_linked;
    struct instant state_due;
    uint32_t clients;
    struct message_state state_sent;
    struct instant position_sent;
    struct instant ticked; /* for telling our own pauses */

    struct replica_peer peers[SERVER_COUNT_MAX];
    struct journal_run runs_packed[RUN_COUNT_MAX + 1]; /* what an effect of position refers to */
};

/* What is to be done with a client's request now. */
enum replica_way {
    REPLICA_HOLD,    /* keep it: there is no primary to be reached */
    REPLICA_FORWARD, /* to view.primary */
    REPLICA_APPEND,  /* we are the primary: append it, or read */
};

/* Starts with an empty journal, in no view. Copies the options. */
void replica_init(struct replica *r, const struct replica_options *options, struct instant now);

/* Takes in a message from another process. For appends, the bytes must outlive the effects. */
void replica_receive(struct replica *r, struct instant now, const struct message *message,
                     struct effects *out);

/* The end of a turn, and the passing of time: what is new goes out. */
void replica_tick(struct replica *r, struct instant now, struct effects *out);
struct instant replica_deadline(const struct replica *r);
void replica_check(const struct replica *r);

enum replica_way replica_way(const struct replica *r);

/* The primary appends one entry and gets its index. The caller journals it before it calls again.
 */
uint64_t replica_append(struct replica *r);

/* Whether the lease holds: until it ends no other primary can have committed anything. */
bool replica_leased(const struct replica *r, struct instant now);

/* Whether a read that arrived then may be answered from committed state now. now may be older than
 * arrived (the turn's beginning). When it may not, the others are asked. */
bool replica_may_read(struct replica *r, struct instant now, struct instant arrived);

/* The next append to a peer that an EFFECT_FEED named, without its entries: those from prev_index +
 * 1 on follow, up to whatever index the caller then says it sent (prev_index when none). */
struct message_append replica_feed(const struct replica *r, struct instant now, node_id peer);
void replica_fed(struct replica *r, struct instant now, node_id peer, uint64_t index);
/* Whether there is more for this peer, and room in its window. */
bool replica_feeds(const struct replica *r, node_id peer);

/* What the caller did. */
void replica_saved(struct replica *r, uint64_t index);
void replica_executed(struct replica *r, uint64_t index);
void replica_marked(struct replica *r, uint64_t index, uint64_t digest);
void replica_dropped(struct replica *r, uint64_t first_index);
void replica_restored(struct replica *r, uint64_t index);

/* Recovery from disk, before the first message: the state is that of an entry, then the entries
 * behind it, of which some may replace others. A gap between state and entries, or a reset that no
 * checkpoint covers, makes it all useless: replica_recovered() then says false, and the caller
 * begins with replica_init() again. intact: nothing that was acknowledged is missing. */
void replica_recover_state(struct replica *r, uint64_t index, uint64_t view);
/* Returns the last entry that stays. */
uint64_t replica_recover_reset(struct replica *r, uint64_t index);
/* Whether the entry is to be journaled (it is behind the state), after dropping those after *last.
 */
bool replica_recover_entry(struct replica *r, uint64_t index, uint64_t view, uint64_t *last);
bool replica_recovered(struct replica *r, bool intact);
/* Though intact, it may lack the end: the rm is to ask one server more. */
void replica_cut(struct replica *r);
/* When not intact: earlier lives whose acknowledgements it does not lack, though it may lack those
 * of others; and the end of the intact journal that one of them threw away. */
void replica_lived(struct replica *r, const struct lives *lives, struct journal_end discarded);

/* The disk has no room for what is to be acknowledged, or has room again. */
void replica_full(struct replica *r, bool full);

/* Up to where this server executes what is committed. In passive style that is the primary's to do,
 * but for what is left of active views: nobody else answers for it to this server's clients. */
uint64_t replica_execute_end(const struct replica *r);

/* View of the entry at an index from first_index - 1 to last_index. */
uint64_t replica_view_at(const struct replica *r, uint64_t index);
/* View of the last entry: the latest view whose start this journal holds whole (rule 5). */
uint64_t replica_journal_view(const struct replica *r);
bool replica_fenced(const struct replica *r);
bool replica_is_member(const struct replica *r, node_id server);

#endif
