/* launcher - starts the processes of this machine, keeps them running, stops them in order.
 *
 * Those are the rm and the gfd when their address is one of this machine, and the lfd of each host
 * whose address is; the lfds start their servers. A process that ends is started again with
 * backoff. Each is in a session of its own, so that a Ctrl-C reaches the launcher alone, and runs
 * on if the launcher is killed: the next launcher takes over whom it finds holding the locks in
 * the run directory.
 *
 * It stops the lfds first, which stop their servers, then the gfd and the rm; who does not end in
 * time is killed. No process is left, servers without their lfd included. */
#ifndef HOLDFAST_CLIENT_LAUNCHER_H
#define HOLDFAST_CLIENT_LAUNCHER_H

#include <limits.h>
#include <sys/types.h>

#include "common/config.h"
#include "common/instant.h"

#define LAUNCHER_DAEMONS_MAX (HOST_COUNT_MAX + 2u)
#define LAUNCHER_READY_MS_MAX                                           \
    15000u /* until all servers are members; then it is said who is not \
            */
#define LAUNCHER_QUICK_MS        1000u /* who ends sooner than that has not really started */
#define LAUNCHER_QUICK_COUNT_MAX 4u    /* so often in a row at the start, and `up` gives up */
#define LAUNCHER_BACKOFF_MS      20u   /* before a start again; doubles */
#define LAUNCHER_BACKOFF_MS_MAX  5000u
#define LAUNCHER_LFD_STOP_MS_MAX 9000u /* an lfd gives its servers several seconds to stop */
#define LAUNCHER_STOP_MS_MAX     2000u /* all others, before they are killed */

struct launcher_daemon {
    node_id node;
    pid_t pid;            /* 0: not running */
    int pidfd;            /* of one that is not our child; -1 otherwise */
    bool stood;           /* has once run for LAUNCHER_QUICK_MS */
    uint32_t quick_count; /* ends in a row, each soon after its start */
    uint32_t backoff_ms;
    struct instant started;
    struct instant start_due; /* when not running */
};

struct launcher_options {
    const struct config *config; /* must outlive the launcher */
    bool verbose;                /* -v for all daemons */
    /* Called once: all servers are members, or LAUNCHER_READY_MS_MAX have passed. The text says
     * how things stand. May be NULL. */
    void (*ready)(void *context, bool whole, const char *text);
    void *context;
};

struct launcher {
    struct launcher_options options;
    int lock;    /* RUN/launcher.lock */
    int signals; /* signalfd: SIGTERM, SIGINT, SIGHUP end it (this one not below nohup), SIGCHLD */
    uint32_t daemon_count;
    struct launcher_daemon daemons[LAUNCHER_DAEMONS_MAX];
    uint32_t stop_signals; /* received so far; the second one kills */
    bool told_ready;
    struct instant opened;
    bool gave_up;
    struct error failure; /* why it gave up */
};

/* Makes the run directory, takes its launcher lock, and finds what is running already.
 * ERROR_REFUSED when another launcher holds the lock, and when nothing of the config is local. */
enum error_code launcher_open(struct launcher *launcher, const struct launcher_options *options,
                              struct error *error);

/* Starts and supervises until a signal to stop, then stops everything. An error when a port is in
 * use or a daemon cannot be started; everything is stopped then, too. */
enum error_code launcher_run(struct launcher *launcher, struct error *error);

/* Stops everything, in order. True when anything was running. */
bool launcher_stop(struct launcher *launcher);

void launcher_close(struct launcher *launcher);

/* The launcher of the config's run directory; 0 if none. */
pid_t launcher_pid(const struct config *config);

/* Shared by the files of the launcher. */

/* Waits for signals and ends of processes until the deadline, once. */
void launcher_wait(struct launcher *launcher, struct instant deadline);
/* Whether a daemon is of the lfds (first) or not. */
bool launcher_is_lfd(const struct launcher_daemon *daemon);

#endif
