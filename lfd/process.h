/* process - the servers of this host as processes: spawn, watch, look at, kill, adopt. The edge of
 * the lfd.
 *
 * A server is a process of its own session, so that what ends the lfd or its terminal does not end
 * it; when the lfd is gone it runs on. Its end is seen at once, by a pidfd in the event loop.
 * Servers that were running before are found by their lock RUN/<server>.lock, and are watched in
 * the same way; only their exit status is lost, since it belongs to their parent.
 *
 * The lfd is the reaper of what its servers leave behind (their keepers), too. */
#ifndef HOLDFAST_LFD_PROCESS_H
#define HOLDFAST_LFD_PROCESS_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/types.h>

#include "common/config.h"
#include "common/effects.h"

#define STARVED_LOOK_MS                                                       \
    5u /* how long a runnable process is looked at, to tell busy from starved \
        */
#define SERVER_ARGUMENTS_MAX 12u

struct process_options {
    struct event_base *base;
    const char *program; /* path of holdfast-server */
    const char *config;  /* path of the config file, for -c */
    const char *run_dir; /* for --run-dir, and where the locks are */
    bool verbose;        /* -v for the servers */
    /* Tells the core `spawned`, `exited` or `cause`. May lead to further calls of the edge. */
    void (*tell)(void *context, const struct message *message);
    void *context;
};

struct processes;

/* One process: the latest of a server. */
struct process {
    struct processes *all;
    node_id server;
    pid_t pid;          /* 0: none */
    int fd;             /* pidfd */
    bool adopted;       /* not our child */
    bool looking;       /* asked for the cause */
    bool looked_once;   /* and found runnable */
    uint64_t run_ns;    /* time on a processor by then */
    struct event ended; /* the pidfd is readable */
    struct event look;  /* timer of the examination */
};

struct processes {
    struct process_options options;
    bool closing;                          /* starts nothing more */
    struct event child;                    /* SIGCHLD */
    struct process list[SERVER_COUNT_MAX]; /* by index of the server */
};

/* Becomes the reaper of this host's servers and catches SIGCHLD. Copies the options, whose strings
 * must outlive it. */
enum error_code processes_open(struct processes *p, const struct process_options *options,
                               struct error *error);

/* Finds out whether a server without a process here is running all the same; if so, watches it and
 * tells `spawned` with adopted = 1. */
void processes_adopt(struct processes *p, node_id server);

/* Carries out a spawn or a kill. A spawn is answered by one `spawned` before this returns; it
 * adopts the server when it is running already. A kill with number 0 is answered by one `cause`,
 * after what is readable now was read. */
void processes_perform(struct processes *p, const struct effect *effect);

/* From now on spawns fail: the lfd is ending. */
void processes_end(struct processes *p);

/* Kills what is left, with SIGKILL. */
void processes_kill_all(struct processes *p);

/* Whether any server, or anything that servers left to us, is still there. */
bool processes_any(const struct processes *p);

/* Leaves what is running alone. */
void processes_close(struct processes *p);

#endif
