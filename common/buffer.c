#include "common/buffer.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BUFFER_BYTES_MIN 256u /* first allocation: most replies fit */

/* Neither stdio nor the log: both may want memory themselves. */
static _Noreturn void end_without_memory(size_t size)
{
    char text[96];
    int length = snprintf(text, sizeof text, "out of memory: %zu bytes wanted\n", size);

    if (length > 0 && write(STDERR_FILENO, text, (size_t)length) < 0)
        _exit(EXIT_FAILURE);
    _exit(EXIT_FAILURE);
}

void *memory_take(size_t size)
{
    return memory_grown(NULL, size);
}

void *memory_zeroed(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size ? size : 1);

    if (!memory)
        end_without_memory(size && count > SIZE_MAX / size ? SIZE_MAX : count * size);
    return memory;
}

void *memory_grown(void *old, size_t size)
{
    void *memory = realloc(old, size ? size : 1);

    if (!memory)
        end_without_memory(size);
    return memory;
}

static void buffer_grow(struct buffer *b, size_t size)
{
    size_t capacity = b->capacity ? b->capacity : BUFFER_BYTES_MIN;

    if (size > SIZE_MAX / 4 || b->end > SIZE_MAX / 4)
        end_without_memory(size);
    while (capacity < b->end + size)
        capacity *= 2;
    b->data = memory_grown(b->data, capacity);
    b->capacity = capacity;
}

uint8_t *buffer_reserve(struct buffer *b, size_t size)
{
    size_t content = buffer_size(b);

    /* Moved only when that frees at least as much as is moved: so every byte is moved a
     * constant number of times, however the content comes and goes. */
    if (b->capacity - b->end < size && b->start > 0 && content <= b->start) {
        memmove(b->data, b->data + b->start, content);
        b->start = 0;
        b->end = content;
    }
    if (b->capacity - b->end < size || !b->data)
        buffer_grow(b, size);
    return b->data + b->end;
}

void buffer_append(struct buffer *b, const void *data, size_t size)
{
    if (size == 0)
        return;
    memcpy(buffer_reserve(b, size), data, size);
    buffer_commit(b, size);
}

void buffer_append_string(struct buffer *b, const char *text)
{
    buffer_append(b, text, strlen(text));
}

void buffer_format(struct buffer *b, const char *format, ...)
{
    va_list arguments;
    size_t room = 128;
    int length;

    for (;;) {
        char *to = (char *)buffer_reserve(b, room);

        va_start(arguments, format);
        length = vsnprintf(to, room, format, arguments);
        va_end(arguments);
        assert(length >= 0);
        if ((size_t)length < room)
            break;
        room = (size_t)length + 1; /* with the end that vsnprintf() writes */
    }
    buffer_commit(b, (size_t)length);
}

void buffer_consume(struct buffer *b, size_t size)
{
    assert(size <= buffer_size(b));
    b->start += size;
    if (b->start == b->end)
        b->start = b->end = 0;
}

void buffer_clear(struct buffer *b, size_t keep_max)
{
    b->start = b->end = 0;
    if (b->capacity <= keep_max)
        return;
    if (keep_max == 0) {
        buffer_free(b);
        return;
    }
    b->data = memory_grown(b->data, keep_max);
    b->capacity = keep_max;
}

void buffer_free(struct buffer *b)
{
    free(b->data);
    *b = (struct buffer){ 0 };
}
