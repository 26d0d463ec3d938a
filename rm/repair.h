/* repair - keeps the servers running that the operator wants to run.
 *
 * A server that is not listed is ordered to start: at the cluster's start at once; after a failure
 * with a backoff that doubles and is jittered between half and whole, so that servers that died
 * together do not start together. A life of backoff_ms_max starts over with the shortest. More than
 * `budget` restarts in a window and the server is `failed` until the operator says START.
 * Orders go to the gfd, which passes them to the lfd of the host. */
#ifndef HOLDFAST_RM_REPAIR_H
#define HOLDFAST_RM_REPAIR_H

#include "common/core.h"
#include "common/random.h"
#include "rm/roster.h"
#include "rm/saved.h"

#define REPAIR_BUDGET_MAX     1000u /* as in the config */
#define REPAIR_SETTLE_MS      200u  /* after our own restart: for lfds to say what runs already */
#define REPAIR_AGAIN_MS       5000u /* an order that came to nothing is given again */
#define REPAIR_BACKOFF_MS_MAX 600000u

struct repair_options {
    uint32_t server_count;
    uint8_t server_host[SERVER_COUNT_MAX]; /* index of the host of each server */
    uint32_t backoff_ms, backoff_ms_max;   /* 1 … REPAIR_BACKOFF_MS_MAX */
    uint32_t budget;                       /* 1 … REPAIR_BUDGET_MAX */
    uint32_t budget_window_s;              /* 1 … 86400 */
    bool fresh;                            /* nothing was stored: nothing can be running */
    uint64_t seed;
};

enum repair_state {
    REPAIR_DOWN,     /* not listed, not ordered yet */
    REPAIR_RUNNING,  /* listed by the gfd */
    REPAIR_WAITING,  /* its backoff runs */
    REPAIR_STARTING, /* ordered to start */
    REPAIR_STOPPED,  /* by the operator's wish */
    REPAIR_FAILED,   /* beyond the budget */
};

struct repair_server {
    enum repair_state state;
    bool expected;           /* its end is wanted or ordered: start it again at once, no failure */
    uint32_t failures;       /* since the last healthy life */
    uint32_t restarts;       /* seen since our start, for the operator */
    uint64_t incarnation;    /* of the life that runs */
    struct instant up_since; /* running */
    struct instant due;      /* of the next order */
    struct instant stop_due; /* of the next order to stop */
    uint64_t stop_ordered;   /* the life that was ordered to stop, while it may go on; or 0 */
    uint32_t recent_count;   /* restarts in recent[], a ring */
    uint32_t recent_next;
    struct instant recent[REPAIR_BUDGET_MAX];
};

struct repair {
    struct repair_options options;
    struct saved *saved;         /* for the operator's wishes; shared with view */
    const struct roster *roster; /* up to date when we are called */
    struct random random;
    uint32_t may_stop; /* servers that may be ordered to stop; set by the rm */
    struct repair_server server[SERVER_COUNT_MAX];
};

void repair_init(struct repair *r, const struct repair_options *options, struct saved *saved,
                 const struct roster *roster, struct instant now);
void repair_receive(struct repair *r, struct instant now, const struct message *message,
                    struct effects *out);
void repair_tick(struct repair *r, struct instant now, struct effects *out);
struct instant repair_deadline(const struct repair *r);
void repair_check(const struct repair *r);

/* The operator's wishes, stored where they must survive. START also forgives all failures. An order
 * to stop that was given cannot be taken back, and it may be late, so the end of that life stays
 * `expected` whatever is wished after it. */
void repair_start(struct repair *r, struct instant now, node_id server, struct effects *out);
void repair_stop(struct repair *r, node_id server, struct effects *out);
void repair_restart(struct repair *r, node_id server);
void repair_restart_not(struct repair *r, node_id server);

/* From when on the server is known not to run: it is not listed, although its lfd had the time to
 * say so. INSTANT_NEVER: it runs, or nobody can tell. */
struct instant repair_absent_from(const struct repair *r, node_id server);

const char *repair_state_name(enum repair_state state);

#endif
