/* load_engine - keeps the requests of a load going: lanes, links, and the wires under them.
 *
 * A lane has one request under way at a time. The lanes of a connection form a link; a link has
 * one wire, or with --send-to all one to each server. One thread, epoll; nothing blocks. */
#ifndef HOLDFAST_CLIENT_LOAD_ENGINE_H
#define HOLDFAST_CLIENT_LOAD_ENGINE_H

#include "client/load.h"
#include "client/wire.h"
#include "common/random.h"

enum lane_state {
    LANE_FREE,
    LANE_WAITING, /* has a request that is on no wire */
    LANE_PAUSED,  /* was told to try again, later */
    LANE_SENT,
};

struct lane {
    enum lane_state state;
    bool read;
    bool uncertain;     /* an attempt may have been executed */
    bool tried;         /* was sent before */
    bool known;         /* the cluster has answered in this session */
    uint32_t in_flight; /* wires that it is on */
    uint32_t key;
    uint64_t request; /* number of the request, from 1 */
    uint64_t session, sequence;
    uint64_t before; /* sequence before the first of the session */
    uint64_t serial; /* verify */
    struct instant intended, deadline, resend_due;
};

enum lane_outcome { LANE_OK, LANE_ERROR, LANE_FAILED, LANE_UNKNOWN };

struct engine {
    const struct load_options *options;
    struct load_result *result;
    struct addresses addresses;
    struct random random;
    struct verify *verify; /* NULL unless load_remembers() */
    int epoll, signals;

    uint32_t lane_count, link_count, link_wires, wire_count;
    struct lane *lanes;    /* those of a link stand together */
    struct wire *wires;    /* too */
    uint32_t *patience_ms; /* of each link */
    uint32_t *free_lanes;  /* a ring: the one that has been free for longest is next */
    uint32_t free_first, free_count;
    uint32_t *dirty; /* wires with bytes to be sent */
    uint32_t dirty_count;
    uint8_t *value;

    struct instant now, start, end; /* end: nothing is due after it */
    struct instant scan_due;
    uint64_t issued;
    uint64_t session_begin; /* first sequence of a new session */
    bool running;           /* the start has come; before, connections are made */
    bool interrupted;       /* by a signal: nothing new is begun */
    bool abandoned;         /* by a second one: nothing is waited for */
    bool any_lost;
};

/* False and *error when a resource is missing. Must be closed in any case. */
bool engine_open(struct engine *e, const struct load_options *options,
                 const struct addresses *addresses, struct verify *verify,
                 struct load_result *result, struct error *error);

/* Connects, and gives slow connections a moment; false and *error when no server can be reached. */
bool engine_connect(struct engine *e, struct error *error);

/* Runs to the end, or until SIGINT or SIGTERM, and waits for the outcome of all requests. */
void engine_run(struct engine *e);
void engine_close(struct engine *e);

/* load_lane.c: the life of a request. */
void lane_begin(struct engine *e, struct instant intended);
void lane_send(struct engine *e, struct lane *lane);
void lane_reply(struct engine *e, struct wire *w, struct bytes reply);
void lane_finish(struct engine *e, struct lane *lane, enum lane_outcome outcome);
/* An attempt is gone without an answer; sent: the kernel had some of it. */
void lane_orphan(struct engine *e, const struct wire_entry *entry, bool sent);
/* The lane waits, and perhaps cannot go on. */
void lane_resolve(struct engine *e, struct lane *lane);
void lane_scan(struct engine *e, struct lane *lane);

#endif
