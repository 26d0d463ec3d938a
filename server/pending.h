/* pending - clients' requests under way at one server, in the order in which they came.
 *
 * A request is found by its token, which travels in journal entries and forwards: the place in the
 * table and a number that is never used twice in the life of a server. The table grows as needed;
 * the bytes held are counted, for the limit that the server sets. */
#ifndef HOLDFAST_SERVER_PENDING_H
#define HOLDFAST_SERVER_PENDING_H

#include "common/bytes.h"
#include "common/instant.h"
#include "common/node.h"
#include "server/machine.h"

enum pending_state {
    PENDING_FREE,
    PENDING_HELD,      /* waits for a primary that can be reached */
    PENDING_FORWARDED, /* sent to the primary; not seen in the journal */
    PENDING_JOURNALED, /* in our journal: it will be executed unless it is truncated */
    PENDING_READING, /* at the primary: answered once executed up to position, and leave to read */
};

struct pending_request {
    uint64_t token;
    uint64_t client;
    uint64_t incarnation; /* of the server that forwarded it: no other life of it asked */
    uint64_t session, sequence;
    uint64_t index; /* journaled: of its entry; reading: its position */
    struct instant arrived;
    uint8_t *bytes; /* own copy of the request; NULL when it is in the journal */
    uint32_t size;  /* of the request */
    uint32_t stream;
    uint32_t older, newer; /* neighbours in order of arrival */
    node_id origin; /* NODE_NONE: our own client; else: forwarded from there (reading only) */
    uint8_t kind;
    uint8_t state; /* enum pending_state */
    bool stale;
    bool wanted; /* the client is still there */
};

#define PENDING_NONE UINT32_MAX

struct pending {
    struct pending_request *table;
    uint32_t capacity;
    uint32_t free;           /* first of the free places, linked by newer */
    uint32_t oldest, newest; /* of all in use */
    uint32_t count;
    uint64_t bytes; /* of all requests in use */
    uint64_t generation;
};

void pending_init(struct pending *pending);
void pending_free(struct pending *pending);

/* Takes a place, at the newest end. The pointer is valid until the next call of this function. */
struct pending_request *pending_add(struct pending *pending, uint32_t size);
void pending_remove(struct pending *pending, struct pending_request *request);

/* NULL when there is none under way with this token. */
struct pending_request *pending_find(struct pending *pending, uint64_t token);

/* From the oldest on; NULL at the end. The present one may be removed after its next is taken. */
struct pending_request *pending_oldest(struct pending *pending);
struct pending_request *pending_newer(struct pending *pending,
                                      const struct pending_request *request);

/* Gives it bytes of its own, or gives them back. */
void pending_keep(struct pending_request *request, struct bytes bytes);
void pending_drop(struct pending_request *request);

#endif
