#include "common/resp.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define HEAD_BYTES_MAX   24u /* a type, twenty digits with a sign, the end of the line */
#define DOUBLE_TEXT_SIZE 40u

/* Below this every whole number is a double, and its digits say it exactly. */
#define WHOLE_DOUBLE_MAX 9007199254740992.0

/* "<type><value>\r\n" at the pointer; the caller has reserved HEAD_BYTES_MAX. */
static uint8_t *put_head(uint8_t *at, char type, bool negative, uint64_t magnitude)
{
    uint8_t digits[20];
    size_t count = 0;

    do {
        digits[count++] = (uint8_t)('0' + magnitude % 10);
        magnitude /= 10;
    } while (magnitude > 0);
    *at++ = (uint8_t)type;
    if (negative)
        *at++ = '-';
    while (count > 0)
        *at++ = digits[--count];
    *at++ = '\r';
    *at++ = '\n';
    return at;
}

static void write_head(struct buffer *out, char type, bool negative, uint64_t magnitude)
{
    uint8_t *start = buffer_reserve(out, HEAD_BYTES_MAX);

    buffer_commit(out, (size_t)(put_head(start, type, negative, magnitude) - start));
}

/* A line whose text cannot end it early. */
static void write_line(struct buffer *out, char type, const char *text)
{
    size_t size = strlen(text);
    uint8_t *at = buffer_reserve(out, size + 3);

    *at++ = (uint8_t)type;
    for (size_t i = 0; i < size; i++)
        *at++ = (uint8_t)(text[i] == '\r' || text[i] == '\n' ? ' ' : text[i]);
    *at++ = '\r';
    *at++ = '\n';
    buffer_commit(out, size + 3);
}

void resp_write_string(struct buffer *out, const char *text)
{
    write_line(out, RESP_STRING, text);
}

void resp_write_error(struct buffer *out, const char *format, ...)
{
    char text[RESP_ERROR_BYTES_MAX];
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    assert(length >= 0);
    write_line(out, RESP_ERROR, text);
}

void resp_write_integer(struct buffer *out, int64_t value)
{
    write_head(out, RESP_INTEGER, value < 0, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

void resp_write_bulk(struct buffer *out, struct bytes text)
{
    uint8_t *start = buffer_reserve(out, HEAD_BYTES_MAX + text.size + 2);
    uint8_t *at = put_head(start, RESP_BULK, false, text.size);

    if (text.size > 0)
        memcpy(at, text.data, text.size);
    at += text.size;
    *at++ = '\r';
    *at++ = '\n';
    buffer_commit(out, (size_t)(at - start));
}

void resp_write_bulk_string(struct buffer *out, const char *text)
{
    resp_write_bulk(out, bytes_string(text));
}

void resp_write_null(struct buffer *out)
{
    buffer_append_string(out, "_\r\n");
}

void resp_write_array(struct buffer *out, uint64_t count)
{
    write_head(out, RESP_ARRAY, false, count);
}

void resp_write_map(struct buffer *out, uint64_t pairs)
{
    write_head(out, RESP_MAP, false, pairs);
}

void resp_write_set(struct buffer *out, uint64_t count)
{
    write_head(out, RESP_SET, false, count);
}

void resp_write_double(struct buffer *out, double value)
{
    char text[DOUBLE_TEXT_SIZE];

    if (isnan(value)) {
        snprintf(text, sizeof text, "nan");
    } else if (isinf(value)) {
        snprintf(text, sizeof text, value > 0 ? "inf" : "-inf");
    } else if (fabs(value) < WHOLE_DOUBLE_MAX && floor(value) == value) {
        snprintf(text, sizeof text, "%.0f", value);
    } else {
        int precision = 15; /* what a double always holds; 17 digits always tell it */

        do
            snprintf(text, sizeof text, "%.*g", precision++, value);
        while (precision <= 17 && strtod(text, NULL) != value);
    }
    write_line(out, RESP_DOUBLE, text);
}

void resp_write_boolean(struct buffer *out, bool value)
{
    buffer_append_string(out, value ? "#t\r\n" : "#f\r\n");
}

void resp_write_command(struct buffer *out, uint32_t argc, const struct bytes *argv)
{
    resp_write_array(out, argc);
    for (uint32_t i = 0; i < argc; i++)
        resp_write_bulk(out, argv[i]);
}
