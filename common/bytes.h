/* bytes - a reference to bytes that somebody else owns. */
#ifndef HOLDFAST_COMMON_BYTES_H
#define HOLDFAST_COMMON_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const uint8_t *data; /* may be NULL when size is 0 */
    size_t size;
};

static inline struct bytes bytes_of(const void *data, size_t size)
{
    return (struct bytes){ data, size };
}

static inline struct bytes bytes_string(const char *text)
{
    return (struct bytes){ (const uint8_t *)text, strlen(text) };
}

static inline int bytes_equal(struct bytes a, struct bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

#endif
