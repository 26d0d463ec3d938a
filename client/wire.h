/* wire - one connection of the load generator: raw RESP2, no greeting, made for throughput.
 *
 * It remembers which requests are under way on it, in order, and whether any byte of each has left
 * for the kernel: a request of which none has was certainly not executed. Errors do not return:
 * they set `lost`, and the owner sees to it once per turn. */
#ifndef HOLDFAST_CLIENT_WIRE_H
#define HOLDFAST_CLIENT_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "client/address.h"
#include "common/buffer.h"
#include "common/instant.h"

#define WIRE_READ_BYTES 65536u
#define WIRE_KEEP_BYTES (1u << 20)

enum wire_stage { WIRE_DOWN, WIRE_DIALLING, WIRE_UP };

struct wire_entry {
    uint64_t request;
    uint64_t position; /* of its first byte in the stream */
    uint32_t lane;
};

struct wire {
    int fd;
    uint32_t index; /* of the wire, comes back with its events */
    uint32_t link, server;
    enum wire_stage stage;
    bool lost, blocked, dirty; /* blocked: the socket is full; dirty: has bytes to be sent */
    uint32_t failures;         /* dials in a row that came to nothing */
    struct buffer in, out;
    uint64_t position;    /* in the stream of the end of out */
    struct instant since; /* dialling: the start; up: since when it owes a reply */
    struct instant due;   /* down: when to dial */
    struct wire_entry *entries;
    uint32_t first, count, capacity;
};

void wire_init(struct wire *w, uint32_t index, uint32_t capacity);
void wire_free(struct wire *w);

/* Begins to connect, watched by the epoll descriptor. */
void wire_dial(struct wire *w, int epoll, const struct address *address, struct instant now);

/* The events of epoll(7): ends the dialling, reads what there is. True when the wire came up. */
bool wire_heed(struct wire *w, int epoll, uint32_t events);

/* Counts a request whose bytes are appended to out next. Not when it is full. */
void wire_push(struct wire *w, uint32_t lane, uint64_t request, struct instant now);
struct wire_entry wire_pop(struct wire *w, struct instant now);
static inline bool wire_takes(const struct wire *w)
{
    return w->stage == WIRE_UP && !w->lost && w->count < w->capacity;
}

/* Whether the kernel has had any byte of the request. */
bool wire_has_sent(const struct wire *w, const struct wire_entry *entry);

/* Sends what waits; once per turn. */
void wire_flush(struct wire *w, int epoll);

/* Closes it. The entries stay until wire_clear(), so that the owner can go through them. */
void wire_close(struct wire *w);
void wire_clear(struct wire *w);

#endif
