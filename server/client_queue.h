/* client_queue - whose turn it is to be read.
 *
 * The event loop names everybody who has something to be read, always in the same order. In one
 * turn only as many are read as CLIENT_READ_US_MAX allows, so that a turn stays short however many
 * there are; the others stay in the queue and come first in the next one. Pure: told of turns and
 * of the time. */
#ifndef HOLDFAST_SERVER_CLIENT_QUEUE_H
#define HOLDFAST_SERVER_CLIENT_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#define CLIENT_READ_US_MAX 1000u /* in one turn, for all clients: reading, and taking it in */

/* A client's; from all zero. Must not go away while it is in the queue. */
struct client_turn {
    struct client_turn *previous, *next;
    bool queued;
};

struct client_queue {
    struct client_turn *first, *last;
    uint64_t turn;     /* the one that is measured */
    uint64_t began_us; /* its first read, as turn_us below */
};

/* Harmless when it is (not) in the queue. */
void client_queue_add(struct client_queue *queue, struct client_turn *place);
void client_queue_remove(struct client_queue *queue, struct client_turn *place);

/* Takes out the first, or NULL when there is none or the turn's time is spent; the first of a turn
 * is always given. Turns are numbered from 1; turn_us is how long this one has taken so far. */
struct client_turn *client_queue_take(struct client_queue *queue, uint64_t turn, uint64_t turn_us);
bool client_queue_spent(const struct client_queue *queue, uint64_t turn_us);

#endif
