/* detector - decides whether the servers of this host are alive, and says so to the gfd.
 *
 * It starts and stops servers as the gfd orders and sends each of them a heartbeat every
 * heartbeat_interval_ms. A server is added once it has answered its first heartbeat, and deleted
 * when its process is gone. One that is silent for suspect_after_ms is suspected: the edge looks at
 * what its process is doing, and unless an answer comes meanwhile it is killed, and deleted only
 * when it is gone. So a suspicion becomes a certainty before anybody hears of it. Only a process
 * that cannot be killed is deleted with certain = 0.
 *
 * Source: Cachin, Guerraoui, Rodrigues, "Introduction to Reliable and Secure Distributed
 * Programming", 2011, algorithms 2.5 and 2.7. Departure: the kill makes the suspicion true (the
 * perfect detector), so patience need not grow. A pause of our own is not held against a server.
 *
 * What the edge owes it:
 * - Right after detector_init(), before any link comes up: `spawned` with adopted = 1 for each
 * server that is running already. The others are taken to be gone for certain.
 * - EFFECT_SPAWN of a server is answered by one `spawned`, later or at once; adopted = 1 if it was
 * running after all.
 * - EFFECT_KILL sends a signal to the server's process; number 0 sends none and is answered by a
 * `cause`, soon.
 * - `exited` once for every process of `spawned`, when it is gone.
 * - link_up of a server carries the pid of the process at the other end; only the pid of `spawned`
 * is listened to.
 * - An `order` from NODE_OPERATOR is the edge's own (the lfd is ending); all others must come from
 * the gfd. */
#ifndef HOLDFAST_LFD_DETECTOR_H
#define HOLDFAST_LFD_DETECTOR_H

#include "common/config.h"
#include "common/core.h"

#define START_WAIT_MS_MAX   10000u /* from the start of a server to its first answered heartbeat */
#define STOP_WAIT_MS_MAX    5000u  /* from SIGTERM to SIGKILL */
#define KILL_WAIT_MS_MAX    1000u  /* from SIGKILL to the report that it cannot be killed */
#define EXAMINE_WAIT_MS_MAX 50u    /* how long a kill waits for the cause to be known */
#define STALL_MS_MAX        5000u  /* age of a server's oldest request from which on it is noted */

struct detector_options {
    node_id self;          /* this lfd */
    uint32_t server_count; /* servers of this host, at least one */
    node_id servers[SERVER_COUNT_MAX];
    uint32_t heartbeat_interval_ms; /* at least 1 */
    uint32_t suspect_after_ms;      /* silence of a server; above the interval */
    uint32_t gfd_suspect_after_ms;  /* silence of the gfd; above the interval */
};

enum watch_state {
    WATCH_ABSENT,    /* no process */
    WATCH_SPAWNING,  /* ordered from the edge */
    WATCH_STARTING,  /* has a process that has not answered yet */
    WATCH_TRUSTED,   /* answers */
    WATCH_STOPPING,  /* SIGTERM is sent */
    WATCH_SUSPECTED, /* the edge looks at its process, then it is killed */
    WATCH_KILLING,   /* SIGKILL is sent */
    WATCH_STUCK,     /* it does not die */
};

struct watched {
    node_id node;
    enum watch_state state;
    uint32_t pid;         /* 0 when ABSENT or SPAWNING */
    bool adopted;         /* not our child */
    bool ordered;         /* by the gfd, which is told if the start fails */
    bool added;           /* told to the gfd as alive, and not as gone since */
    bool stopping;        /* by order */
    bool start_wanted;    /* ordered while the last process is on its way out */
    bool stop_wanted;     /* ordered while SPAWNING */
    bool failure_untold;  /* the gfd was not there to hear of it; the text is last */
    bool stalled;         /* its oldest request is above STALL_MS_MAX */
    uint64_t incarnation; /* of the process that answered; 0 before */
    bool linked;          /* by whichever process: the next two are of the link */
    uint32_t link_pid;
    uint64_t link_incarnation;
    uint64_t heartbeat_count; /* sent to this process so far */
    struct instant silent_since;
    struct instant deadline;        /* of the state, INSTANT_NEVER when it may last */
    char reason[MESSAGE_TEXT_SIZE]; /* why it is being ended */
    char cause[MESSAGE_TEXT_SIZE];  /* what the edge saw its process doing */
    char last[MESSAGE_TEXT_SIZE];   /* how the last process ended, or failed to start */
};

struct detector {
    struct detector_options options;
    struct watched servers[SERVER_COUNT_MAX];
    bool gfd_linked;
    bool gfd_silent; /* linked, and noted as silent */
    bool registered; /* since the link to the gfd came up */
    struct instant gfd_heard;
    struct instant beat_due;     /* next heartbeats to all servers */
    struct instant accuse_after; /* nobody is accused before: we were late ourselves */
};

/* The options that the config gives to an lfd. */
struct detector_options detector_options_from(const struct config *config, node_id lfd);

/* All servers absent. Copies the options, which must be within the bounds above. */
void detector_init(struct detector *d, const struct detector_options *options, struct instant now);

/* Takes in one message and appends what follows from it. Messages that do not concern the detector,
 * or that their sender has no right to, change nothing. */
void detector_receive(struct detector *d, struct instant now, const struct message *message,
                      struct effects *out);

/* Lets time pass. Harmless when called before the deadline. */
void detector_tick(struct detector *d, struct instant now, struct effects *out);

/* When detector_tick() next has something to do. */
struct instant detector_deadline(const struct detector *d);

/* Asserts what must hold between any two calls. */
void detector_check(const struct detector *d);

CORE_DECLARE(detector);

#endif
