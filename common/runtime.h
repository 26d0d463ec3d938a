/* runtime - drives one core with the real world, on libevent.
 *
 * It owns the event loop, the one timer, the framed links with their hello and redial,
 * and carries out `send` and `note`; other effects go to the daemon's edge. At the end of
 * every turn of the loop it ticks the core once, then flushes every link once. */
#ifndef HOLDFAST_COMMON_RUNTIME_H
#define HOLDFAST_COMMON_RUNTIME_H

#include <sys/socket.h>

#include "common/config.h"
#include "common/core.h"
#include "common/error.h"

struct event_base;
struct histogram;
struct runtime;

struct runtime_options {
    const struct config *config; /* must outlive the runtime */
    node_id self;
    uint64_t incarnation;
    struct core core;
    /* Carries out an effect that is neither send nor note. May be NULL. */
    void (*perform)(void *context, const struct effect *effect);
    /* Whether a process that dials us and says it is this life of the node may have its link. One
     * that the node has already is then over. NULL: any. */
    bool (*admits)(void *context, node_id node, uint64_t incarnation);
    /* Called once at the end of every turn, after the core's tick and its effects and before
     * the links are flushed: for edges with sockets of their own. May be NULL. */
    void (*turn_end)(void *context);
    void *context;
};

/* The monotonic clock, and the wall clock in microseconds since 1970. */
struct instant runtime_now(void);
uint64_t runtime_wall_us(void);

/* Opens the loop and catches SIGTERM and SIGINT, which end runtime_run(). */
enum error_code runtime_open(struct runtime **runtime, const struct runtime_options *options,
                             struct error *error);

/* Accepts links on address:port, or on a Unix socket when the address has a '/' in it. */
enum error_code runtime_listen(struct runtime *runtime, const char *address, uint16_t port,
                               struct error *error);

/* Keeps a link to a node: dials it now, and again with backoff whenever it is lost. The
 * address is a number or host name, or a path of a Unix socket. Names are resolved in
 * runtime_dial() itself, before the loop runs. */
enum error_code runtime_dial(struct runtime *runtime, node_id node, const char *address,
                             uint16_t port, struct error *error);

/* Gives the core a message of the edge's own (a local one), from within a callback of the loop;
 * effects are carried out before it returns. From within perform(), the message is kept until the
 * effects of the call under way are carried out. */
void runtime_deliver(struct runtime *runtime, const struct message *message);

/* For an edge that calls its core directly: the effects to append to, empty, and what carries
 * them out. Not to be nested. */
struct effects *runtime_effects(struct runtime *runtime);
void runtime_carry_out(struct runtime *runtime);

/* The present, read at most once per callback: what the core was last told, or will be told next.
 */
struct instant runtime_turn_now(struct runtime *runtime);
/* Reads the clock again for what follows: for edges, after a read whose time matters. */
struct instant runtime_refresh(struct runtime *runtime);
uint64_t runtime_turns(const struct runtime *runtime);
/* How long the present turn has taken so far: reads the clock. */
uint64_t runtime_turn_us(const struct runtime *runtime);
/* How long turns took, in microseconds: from the first look at the clock behind the wait to the end
 * of what came of it. The caller may clear it. */
struct histogram *runtime_turn_times_us(struct runtime *runtime);

/* Silences the link to a node for so long from now on, as a broken network would; 0: no longer.
 * Nothing is read from it or written to it meanwhile, and its end is not seen: what is sent waits,
 * up to LINK_QUEUE_BYTES_MAX, dialling fails, and who dials us hears nothing. Then the connection
 * goes on where it was. May be called from within the core. */
void runtime_silence(struct runtime *runtime, node_id node, uint32_t seconds);

struct event_base *runtime_base(struct runtime *runtime);
bool runtime_linked(const struct runtime *runtime, node_id node);
/* Pid of the process at the other end of a Unix socket link, from its credentials; 0 if none. */
uint32_t runtime_peer_pid(const struct runtime *runtime, node_id node);

/* One turn of the loop, waiting for something to happen or not. */
void runtime_turn(struct runtime *runtime, bool wait);
void runtime_run(struct runtime *runtime); /* until SIGTERM, SIGINT or runtime_stop() */
void runtime_stop(struct runtime *runtime);
/* True when the core itself asked for the end: the process then exits with status 1. */
bool runtime_failed(const struct runtime *runtime);
void runtime_close(struct runtime *runtime);

#endif
