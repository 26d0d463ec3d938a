/* buffer - bytes that grow at the end and are consumed at the front.
 *
 * Growth is by doubling, consumption moves a mark; the space is reused when the
 * content fits in what was consumed. Memory that cannot be had ends the process with
 * a message: every user of a buffer bounds what goes in. */
#ifndef HOLDFAST_COMMON_BUFFER_H
#define HOLDFAST_COMMON_BUFFER_H

#include "common/bytes.h"

struct buffer {
    uint8_t *data;
    size_t start; /* first byte not consumed */
    size_t end;   /* one past the last byte */
    size_t capacity;
};

/* All zero is an empty buffer too. */
static inline size_t buffer_size(const struct buffer *b)
{
    return b->end - b->start;
}

static inline const uint8_t *buffer_head(const struct buffer *b)
{
    return b->data ? b->data + b->start : NULL;
}

static inline struct bytes buffer_bytes(const struct buffer *b)
{
    return bytes_of(buffer_head(b), buffer_size(b));
}

/* Room for size bytes at the end, which buffer_commit() then counts in. The pointer is
 * valid until the next call on the buffer. */
uint8_t *buffer_reserve(struct buffer *b, size_t size);
static inline void buffer_commit(struct buffer *b, size_t size)
{
    b->end += size;
}

void buffer_append(struct buffer *b, const void *data, size_t size);
void buffer_append_string(struct buffer *b, const char *text);
void buffer_format(struct buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Drops size bytes at the front. */
void buffer_consume(struct buffer *b, size_t size);

/* Empties it and keeps the memory, but gives back what is above keep_max bytes. */
void buffer_clear(struct buffer *b, size_t keep_max);
void buffer_free(struct buffer *b);

/* malloc, calloc and realloc that end the process, with a message, when memory is gone. */
void *memory_take(size_t size);
void *memory_zeroed(size_t count, size_t size);
void *memory_grown(void *old, size_t size);

#endif
