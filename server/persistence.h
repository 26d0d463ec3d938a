/* persistence - joins a server to its disk: recovers it at the start, then carries out what its
 * core wants to be kept, and tells it what is. */
#ifndef HOLDFAST_SERVER_PERSISTENCE_H
#define HOLDFAST_SERVER_PERSISTENCE_H

#include "common/runtime.h"
#include "server/recovery.h"
#include "server/server.h"

struct persistence;

struct persistence_options {
    const struct config *config;
    node_id self;
    uint64_t incarnation; /* of this life */
    const struct service *service;
    struct runtime *runtime; /* must outlive it */
    const struct files *files;
    /* A new server in place of the one before, which it frees. NULL: no memory. */
    struct server *(*renew)(void *context);
    /* Told from the loop: recovery is over and the journal can be written, so the server may meet
     * the others. */
    void (*ready)(void *context);
    /* The process must end; the reason is said. */
    void (*failed)(void *context);
    void *context;
};

/* Opens the server's directory and begins recovery. Errors as of storage_open(). */
enum error_code persistence_open(struct persistence **persistence,
                                 const struct persistence_options *options, struct server *server,
                                 struct error *error);

/* Until it is ready the server is given nothing, and instead of its tick comes this one. */
bool persistence_ready(const struct persistence *persistence);
void persistence_tick(struct persistence *persistence, struct instant now);
struct instant persistence_deadline(const struct persistence *persistence);
/* NULL when recovery is over, and nothing but work is waited for. */
const struct progress *persistence_progress(const struct persistence *persistence);

/* EFFECT_PERSIST, RESTART, KEEP and KEEP_END. */
void persistence_perform(struct persistence *persistence, const struct effect *effect);
/* The end of a turn: what was performed is one group. */
void persistence_turn_end(struct persistence *persistence);

/* Writes and syncs what is left. To be called before the server is freed. NULL is nothing. */
void persistence_close(struct persistence *persistence);

#endif
