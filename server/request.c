/* request - packing and unpacking of requests. */
#include "server/request.h"

#include <stdlib.h>

#include "common/limits.h"

#define WORDS_KEPT_MAX 4096u /* arguments for which memory is kept between two commands */

static void put_u32(struct buffer *out, uint32_t value)
{
    uint8_t *to = buffer_reserve(out, 4);

    for (unsigned i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> (8 * i));
    buffer_commit(out, 4);
}

static void put_bytes(struct buffer *out, struct bytes bytes)
{
    put_u32(out, (uint32_t)bytes.size);
    buffer_append(out, bytes.data, bytes.size);
}

static bool take_u32(struct bytes *rest, uint32_t *value)
{
    if (rest->size < 4)
        return false;
    *value = (uint32_t)rest->data[0] | (uint32_t)rest->data[1] << 8 |
             (uint32_t)rest->data[2] << 16 | (uint32_t)rest->data[3] << 24;
    rest->data += 4;
    rest->size -= 4;
    return true;
}

static bool take_bytes(struct bytes *rest, struct bytes *bytes)
{
    uint32_t size;

    if (!take_u32(rest, &size) || rest->size < size)
        return false;
    *bytes = bytes_of(rest->data, size);
    rest->data += size;
    rest->size -= size;
    return true;
}

void request_pack_command(struct buffer *out, uint32_t argc, const struct bytes *argv)
{
    put_u32(out, argc);
    for (uint32_t i = 0; i < argc; i++)
        put_bytes(out, argv[i]);
}

void request_pack_transaction_begin(struct buffer *out, uint32_t watched)
{
    put_u32(out, watched);
}

void request_pack_transaction_watch(struct buffer *out, uint64_t version, struct bytes key)
{
    put_u32(out, (uint32_t)version);
    put_u32(out, (uint32_t)(version >> 32));
    put_bytes(out, key);
}

void request_pack_transaction_commands(struct buffer *out, uint32_t commands)
{
    put_u32(out, commands);
}

void request_words_free(struct request_words *words)
{
    free(words->argv);
    *words = (struct request_words){ 0 };
}

/* Room for argc arguments, and not much more than that once a long command is over. */
static void words_fit(struct request_words *words, uint32_t argc)
{
    uint32_t wanted = argc > 16 ? argc : 16;

    if (words->capacity >= wanted && (words->capacity <= WORDS_KEPT_MAX || wanted > WORDS_KEPT_MAX))
        return;
    if (wanted < WORDS_KEPT_MAX)
        wanted = wanted * 2 < WORDS_KEPT_MAX ? wanted * 2 : WORDS_KEPT_MAX;
    free(words->argv);
    words->argv = memory_take(wanted * sizeof(struct bytes));
    words->capacity = wanted;
}

bool request_unpack_command(struct bytes *rest, struct request_words *words)
{
    uint32_t argc;

    words->argc = 0;
    /* Each argument takes four bytes at least: a lie about their number takes no memory. */
    if (!take_u32(rest, &argc) || argc == 0 || argc > CLIENT_ARGUMENT_COUNT_MAX ||
        argc > rest->size / 4)
        return false;
    words_fit(words, argc);
    for (uint32_t i = 0; i < argc; i++)
        if (!take_bytes(rest, &words->argv[i]))
            return false;
    words->argc = argc;
    return true;
}

bool request_unpack_count(struct bytes *rest, uint32_t *count)
{
    return take_u32(rest, count);
}

bool request_unpack_watch(struct bytes *rest, uint64_t *version, struct bytes *key)
{
    uint32_t low;
    uint32_t high;

    if (!take_u32(rest, &low) || !take_u32(rest, &high))
        return false;
    *version = (uint64_t)high << 32 | low;
    return take_bytes(rest, key);
}

static bool skip_command(struct bytes *rest)
{
    uint32_t argc;
    struct bytes word;

    if (!take_u32(rest, &argc) || argc == 0 || argc > CLIENT_ARGUMENT_COUNT_MAX)
        return false;
    for (uint32_t i = 0; i < argc; i++)
        if (!take_bytes(rest, &word))
            return false;
    return true;
}

bool request_transaction_valid(struct bytes request)
{
    uint32_t count;
    uint64_t version;
    struct bytes key;

    if (!request_unpack_count(&request, &count))
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!request_unpack_watch(&request, &version, &key))
            return false;
    if (!request_unpack_count(&request, &count))
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!skip_command(&request))
            return false;
    return request.size == 0;
}
