#include "server/pending.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/buffer.h"

#define PLACE_BITS 24u /* of a token: the place; the others are the generation */
#define PLACE_MASK ((1u << PLACE_BITS) - 1u)

void pending_init(struct pending *pending)
{
    *pending = (struct pending){
        .free = PENDING_NONE,
        .oldest = PENDING_NONE,
        .newest = PENDING_NONE,
    };
}

void pending_free(struct pending *pending)
{
    for (uint32_t i = 0; i < pending->capacity; i++)
        free(pending->table[i].bytes);
    free(pending->table);
    *pending = (struct pending){ 0 };
}

static void pending_grow(struct pending *pending)
{
    uint32_t capacity = pending->capacity ? 2 * pending->capacity : 256;

    assert(capacity <= PLACE_MASK);
    pending->table = memory_grown(pending->table, capacity * sizeof *pending->table);
    for (uint32_t i = pending->capacity; i < capacity; i++)
        pending->table[i] =
            (struct pending_request){ .newer = i + 1 < capacity ? i + 1 : PENDING_NONE };
    pending->free = pending->capacity;
    pending->capacity = capacity;
}

struct pending_request *pending_add(struct pending *pending, uint32_t size)
{
    struct pending_request *request;
    uint32_t place;

    if (pending->free == PENDING_NONE)
        pending_grow(pending);
    place = pending->free;
    request = &pending->table[place];
    pending->free = request->newer;
    pending->generation++;
    *request = (struct pending_request){
        .token = pending->generation << PLACE_BITS | place,
        .older = pending->newest,
        .newer = PENDING_NONE,
        .size = size,
        .state = PENDING_HELD,
        .wanted = true,
    };
    if (pending->newest == PENDING_NONE)
        pending->oldest = place;
    else
        pending->table[pending->newest].newer = place;
    pending->newest = place;
    pending->count++;
    pending->bytes += size + sizeof *request;
    return request;
}

void pending_remove(struct pending *pending, struct pending_request *request)
{
    uint32_t place = (uint32_t)(request - pending->table);

    assert(request->state != PENDING_FREE);
    if (request->older == PENDING_NONE)
        pending->oldest = request->newer;
    else
        pending->table[request->older].newer = request->newer;
    if (request->newer == PENDING_NONE)
        pending->newest = request->older;
    else
        pending->table[request->newer].older = request->older;
    pending->count--;
    pending->bytes -= request->size + sizeof *request;
    pending_drop(request);
    request->state = PENDING_FREE;
    request->token = 0;
    request->newer = pending->free;
    pending->free = place;
}

struct pending_request *pending_find(struct pending *pending, uint64_t token)
{
    uint32_t place = (uint32_t)(token & PLACE_MASK);

    if (token == 0 || place >= pending->capacity || pending->table[place].token != token)
        return NULL;
    return &pending->table[place];
}

struct pending_request *pending_oldest(struct pending *pending)
{
    return pending->oldest == PENDING_NONE ? NULL : &pending->table[pending->oldest];
}

struct pending_request *pending_newer(struct pending *pending,
                                      const struct pending_request *request)
{
    return request->newer == PENDING_NONE ? NULL : &pending->table[request->newer];
}

void pending_keep(struct pending_request *request, struct bytes bytes)
{
    if (request->bytes)
        return;
    request->bytes = memory_take(bytes.size ? bytes.size : 1);
    if (bytes.size)
        memcpy(request->bytes, bytes.data, bytes.size);
}

void pending_drop(struct pending_request *request)
{
    free(request->bytes);
    request->bytes = NULL;
}
