#include "server/requests.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/buffer.h"

#define PLACE_BITS 24u /* of a token: the place; the others are the generation */
#define PLACE_MASK ((1u << PLACE_BITS) - 1u)

void requests_init(struct requests *requests, uint64_t incarnation)
{
    *requests = (struct requests){
        .free = REQUESTS_NONE,
        .oldest = REQUESTS_NONE,
        .newest = REQUESTS_NONE,
        .generation = incarnation & (UINT64_MAX >> PLACE_BITS),
    };
}

void requests_free(struct requests *requests)
{
    for (uint32_t i = 0; i < requests->capacity; i++)
        free(requests->table[i].bytes);
    free(requests->table);
    *requests = (struct requests){ 0 };
}

static void requests_grow(struct requests *requests)
{
    uint32_t capacity = requests->capacity ? 2 * requests->capacity : 256;

    assert(capacity <= PLACE_MASK);
    requests->table = memory_grown(requests->table, capacity * sizeof *requests->table);
    for (uint32_t i = requests->capacity; i < capacity; i++)
        requests->table[i] =
            (struct request){ .newer = i + 1 < capacity ? i + 1 : REQUESTS_NONE };
    requests->free = requests->capacity;
    requests->capacity = capacity;
}

struct request *requests_add(struct requests *requests, uint32_t size)
{
    struct request *request;
    uint32_t place;

    if (requests->free == REQUESTS_NONE)
        requests_grow(requests);
    place = requests->free;
    request = &requests->table[place];
    requests->free = request->newer;
    requests->generation++;
    *request = (struct request){
        .token = requests->generation << PLACE_BITS | place,
        .older = requests->newest,
        .newer = REQUESTS_NONE,
        .size = size,
        .state = REQUEST_HELD,
        .wanted = true,
    };
    if (requests->newest == REQUESTS_NONE)
        requests->oldest = place;
    else
        requests->table[requests->newest].newer = place;
    requests->newest = place;
    requests->count++;
    requests->bytes += size + sizeof *request;
    return request;
}

void requests_remove(struct requests *requests, struct request *request)
{
    uint32_t place = (uint32_t)(request - requests->table);

    assert(request->state != REQUEST_FREE);
    if (request->older == REQUESTS_NONE)
        requests->oldest = request->newer;
    else
        requests->table[request->older].newer = request->newer;
    if (request->newer == REQUESTS_NONE)
        requests->newest = request->older;
    else
        requests->table[request->newer].older = request->older;
    requests->count--;
    requests->bytes -= request->size + sizeof *request;
    request_drop(request);
    request->state = REQUEST_FREE;
    request->token = 0;
    request->newer = requests->free;
    requests->free = place;
}

struct request *requests_find(struct requests *requests, uint64_t token)
{
    uint32_t place = (uint32_t)(token & PLACE_MASK);

    if (token == 0 || place >= requests->capacity || requests->table[place].token != token)
        return NULL;
    return &requests->table[place];
}

struct request *requests_oldest(struct requests *requests)
{
    return requests->oldest == REQUESTS_NONE ? NULL : &requests->table[requests->oldest];
}

struct request *requests_newer(struct requests *requests, const struct request *request)
{
    return request->newer == REQUESTS_NONE ? NULL : &requests->table[request->newer];
}

void request_keep(struct request *request, struct bytes bytes)
{
    if (request->bytes)
        return;
    request->bytes = memory_take(bytes.size ? bytes.size : 1);
    if (bytes.size)
        memcpy(request->bytes, bytes.data, bytes.size);
}

void request_drop(struct request *request)
{
    free(request->bytes);
    request->bytes = NULL;
}
