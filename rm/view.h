/* view - issues views: who replicates how, and who leads.
 *
 * A view change fences the servers (they promise to take part in no older view and report what
 * their journals hold), elects by rule 4 (election.h), stores the new view and then sends it.
 * Nothing is acknowledged on the rm's word, so it may be slow, die, or come back with its last
 * stored state at any point; it only must never issue two views of one number, nor a primary that
 * lacks a committed entry.
 *
 * Sources: DESIGN.md sections 3 to 7 and 10. The fencing is that of a Paxos ballot (Lamport, "Paxos
 * Made Simple", 2001) with one proposer, the journals are compared as in Raft (Ongaro, Ousterhout,
 * 2014, section 5.4), the configuration outside the replicas as in Vertical Paxos (Lamport, Malkhi,
 * Zhou, 2009). */
#ifndef HOLDFAST_RM_VIEW_H
#define HOLDFAST_RM_VIEW_H

#include "common/core.h"
#include "rm/election.h"
#include "rm/roster.h"
#include "rm/saved.h"

#define REPORT_WAIT_MS 50u   /* for slow servers that are alive, once there are enough reports; */
                             /* and before it is said what is waited for */
#define FENCE_AGAIN_MS 250u  /* between two fences to a server that does not report */
#define LINK_WAIT_MS   1000u /* after our start: for servers to dial us, before they are left out */
#define VIEW_SETTLE_MS \
    1000u /* a view this old is as good as known active, for changes on request */
#define ACCUSE_WAIT_MS      20u   /* for the other members' word, when one accuses the primary */
#define DONOR_AGAIN_MS      2000u /* a donation that does not come on for so long is given up */
#define ACCUSE_PAUSE_MS_MIN 200u  /* an accused server stays out for so long at first; doubles */
#define ACCUSE_PAUSE_MS_MAX 10000u
#define ACCUSE_HEALTH_MS    60000u /* without an accusation: the pause begins anew */
#define VIEW_TEXT_SIZE      640u

_Static_assert(VIEW_TEXT_SIZE > ROSTER_NAMES_SIZE, "a text can name every server");

struct view_options {
    uint32_t server_count;
    uint32_t lease_ms; /* the longest lease that a server can have granted */
    bool persistent;   /* journals survive a restart (storage = "disk") */
};

struct view_donation {
    node_id donor;         /* NODE_NONE: none under way */
    uint64_t incarnation;  /* of the joiner */
    struct instant since;  /* it began, or was last seen to come on */
    uint64_t bytes;        /* that the joiner had of it then */
    struct instant wished; /* when the joiner's wish was last heard */
    struct instant waits;  /* since when it waits for its turn; zero: it does not */
};

struct view_pause {
    uint32_t pause_ms; /* of the last accusation, 0 if none */
    struct instant accused_at;
    struct instant until; /* not taken in again before */
};

struct view {
    struct view_options options;
    struct saved *saved;         /* shared with repair; outlives us */
    const struct roster *roster; /* up to date when we are called */
    struct instant started_at;

    /* The current view, which is the last of saved. */
    bool active;              /* its primary said so, or showed it */
    struct instant issued_at; /* or when we learnt of it, after our own start */
    uint64_t first_index;     /* of its first entry, 0 when we did not issue it in this life */
    uint64_t caught_up[SERVER_COUNT_MAX]; /* incarnations ready to be taken in, 0 if none */
    struct view_donation donation[SERVER_COUNT_MAX];
    uint32_t accusers;               /* backups of it that cannot reach its primary */
    uint32_t accused_by_primary;     /* backups of it that its primary cannot reach */
    struct instant accused_until;    /* then it is decided who of them leaves */
    char accusation[VIEW_TEXT_SIZE]; /* the first of them, in words */
    struct instant lease_until;      /* leases of older views may hold until then */

    /* What is wanted of the next one. */
    uint32_t leaving; /* set: these are to be left out (restart; stopped ones are in saved) */
    uint32_t kept;    /* of those: the last change could not do without them */
    node_id target;   /* of a switchover, NODE_NONE if none */
    char refusal[VIEW_TEXT_SIZE]; /* why the last switchover was not done */
    bool accept_loss;             /* the operator accepts the loss of what cannot be found */
    struct view_pause pause[SERVER_COUNT_MAX];
    uint32_t accused; /* left out of the change under way */

    /* The change under way. */
    bool fencing;
    uint64_t number;     /* promised to be the lowest not refused */
    uint64_t number_max; /* of fences and views so far: none is used again */
    struct instant began_at;
    struct election election;
    uint32_t stale;           /* set: reported, and were taken for dead since: they may be */
    uint32_t asked;           /* of those: fenced once more, now that they are there again */
    struct instant enough_at; /* when there first were enough reports; NEVER before */
    struct instant fence_again;
    char waits[VIEW_TEXT_SIZE]; /* what it waits for, empty when nothing; as said last */
    struct instant look_at;     /* when time alone may change something */
};

/* *saved and *roster must outlive it and not move. */
void view_init(struct view *v, const struct view_options *options, struct saved *saved,
               const struct roster *roster, struct instant now);

/* After roster_receive() and roster_tick(), which tell what v->roster says. */
void view_receive(struct view *v, struct instant now, const struct message *message,
                  struct effects *out);
void view_tick(struct view *v, struct instant now, struct effects *out);
struct instant view_deadline(const struct view *v);
void view_check(const struct view *v);

/* What the operator asks for; the next view_tick() begins it. NULL, or the reason why not. */
const char *view_switchover(struct view *v, node_id target, struct effects *out);
const char *view_recover(struct view *v);
void view_style(struct view *v, enum style style, struct effects *out);
/* How many members must hold an entry. NULL, or why that cannot be. */
const char *view_acks(struct view *v, enum acks_policy acks, uint32_t count, struct effects *out);
/* Takes it back, as far as it has not been done. */
void view_switchover_not(struct view *v);
void view_recover_not(struct view *v);
/* Wants the server out of the view (and in again). Refused when the view cannot be without it. */
const char *view_can_leave(const struct view *v, node_id server, struct effects *out);
void view_leave(struct view *v, node_id server);
void view_stay(struct view *v, node_id server);

/* The current view needs no more help: known active, or old enough, and no change is under way. */
bool view_settled(const struct view *v, struct instant now);

#endif
