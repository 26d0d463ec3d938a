#include "server/client_queue.h"

#include <stddef.h>

void client_queue_add(struct client_queue *queue, struct client_turn *place)
{
    if (place->queued)
        return;
    *place = (struct client_turn){ .previous = queue->last, .queued = true };
    *(queue->last ? &queue->last->next : &queue->first) = place;
    queue->last = place;
}

void client_queue_remove(struct client_queue *queue, struct client_turn *place)
{
    if (!place->queued)
        return;
    *(place->previous ? &place->previous->next : &queue->first) = place->next;
    *(place->next ? &place->next->previous : &queue->last) = place->previous;
    *place = (struct client_turn){ 0 };
}

bool client_queue_spent(const struct client_queue *queue, uint64_t turn_us)
{
    return turn_us >= queue->began_us + CLIENT_READ_US_MAX;
}

struct client_turn *client_queue_take(struct client_queue *queue, uint64_t turn, uint64_t turn_us)
{
    struct client_turn *first = queue->first;

    if (!first || (turn == queue->turn && client_queue_spent(queue, turn_us)))
        return NULL;
    if (turn != queue->turn) {
        queue->turn = turn;
        queue->began_us = turn_us;
    }
    client_queue_remove(queue, first);
    return first;
}
