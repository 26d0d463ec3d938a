/* Reading replies, of RESP2 and RESP3, and turning the latter into the former. */
#include "common/resp.h"

#include <assert.h>
#include <ctype.h>
#include <math.h>
#include <stdlib.h>

/* Elements of one aggregate. Nothing is allocated for them; this only keeps sums from overflowing.
 */
#define ELEMENT_COUNT_MAX UINT32_MAX

#define DOUBLE_TEXT_SIZE   64u
#define VERBATIM_HEAD_SIZE 4u /* "txt:" */

static enum resp_status broken(struct error *error, const char *reason)
{
    error_set(error, ERROR_PROTOCOL, "Protocol error: %s", reason);
    return RESP_BROKEN;
}

/* The text between the type and the end of the line. */
static enum resp_status scan_line(struct bytes input, struct bytes *text, struct error *error)
{
    size_t seen = input.size < CLIENT_INLINE_BYTES_MAX ? input.size : CLIENT_INLINE_BYTES_MAX;
    const uint8_t *end = memchr(input.data, '\r', seen);

    if (!end && input.size > CLIENT_INLINE_BYTES_MAX)
        return broken(error, "too big line in reply");
    if (!end || end + 1 == input.data + input.size)
        return RESP_PARTIAL;
    if (end == input.data || end[1] != '\n')
        return broken(error, "invalid line in reply");
    *text = bytes_of(input.data + 1, (size_t)(end - input.data) - 1);
    return RESP_READY;
}

static bool is_big_number(struct bytes text)
{
    size_t at = text.size > 0 && (text.data[0] == '-' || text.data[0] == '+') ? 1 : 0;

    if (at == text.size)
        return false;
    while (at < text.size && isdigit(text.data[at]))
        at++;
    return at == text.size;
}

static bool read_double(struct bytes text, double *number)
{
    char copy[DOUBLE_TEXT_SIZE];
    char *end;

    if (text.size == 0 || text.size >= sizeof copy)
        return false;
    memcpy(copy, text.data, text.size);
    copy[text.size] = 0;
    if (strspn(copy, "0123456789+-.eE") != text.size && strcmp(copy, "inf") != 0 &&
        strcmp(copy, "-inf") != 0 && strcmp(copy, "nan") != 0)
        return false; /* strtod() takes more: spaces, hexadecimal, "infinity" */
    *number = strtod(copy, &end);
    return end == copy + text.size;
}

/* Scalars that are one line. */
static bool read_line_value(struct resp_value *v)
{
    switch (v->type) {
    case RESP_STRING:
    case RESP_ERROR: return true;
    case RESP_BIG: return is_big_number(v->text);
    case RESP_INTEGER: return resp_integer(v->text, &v->integer);
    case RESP_DOUBLE: return read_double(v->text, &v->number);
    case RESP_NULL: return v->text.size == 0;
    case RESP_BOOLEAN:
        v->integer = v->text.size == 1 && v->text.data[0] == 't';
        return v->integer || (v->text.size == 1 && v->text.data[0] == 'f');
    default: return false;
    }
}

/* A value that is a size and so many bytes; *used holds the size of its line. */
static enum resp_status scan_bulk(struct bytes input, struct resp_value *v, size_t *used,
                                  struct error *error)
{
    int64_t size;
    const uint8_t *end;

    if (!resp_integer(v->text, &size) || size < (v->type == RESP_BULK ? -1 : 0) ||
        size > CLIENT_BULK_BYTES_MAX || (v->type == RESP_VERBATIM && size < VERBATIM_HEAD_SIZE))
        return broken(error, "invalid bulk length in reply");
    if (size < 0) {
        v->type = RESP_NULL;
        return RESP_READY;
    }
    if (input.size - *used < (size_t)size + 2)
        return RESP_PARTIAL;
    v->text = bytes_of(input.data + *used, (size_t)size);
    *used += (size_t)size + 2;
    end = input.data + *used - 2;
    return end[0] == '\r' && end[1] == '\n' ? RESP_READY : broken(error, "bulk without its end");
}

static enum resp_status read_count(struct resp_value *v, struct error *error)
{
    if (!resp_integer(v->text, &v->integer) || v->integer < (v->type == RESP_ARRAY ? -1 : 0) ||
        v->integer > ELEMENT_COUNT_MAX)
        return broken(error, "invalid multibulk length in reply");
    if (v->integer < 0) {
        v->type = RESP_NULL;
        v->integer = 0;
    }
    return RESP_READY;
}

/* One value at the front, without those nested in it. */
static enum resp_status scan_value(struct bytes input, struct resp_value *v, size_t *used,
                                   struct error *error)
{
    enum resp_status status;

    if (input.size == 0)
        return RESP_PARTIAL;
    *v = (struct resp_value){ .type = (enum resp_type)input.data[0] };
    status = scan_line(input, &v->text, error);
    if (status != RESP_READY)
        return status;
    *used = 1 + v->text.size + 2;
    switch (v->type) {
    case RESP_BULK:
    case RESP_BULK_ERROR:
    case RESP_VERBATIM: return scan_bulk(input, v, used, error);
    case RESP_ARRAY:
    case RESP_SET:
    case RESP_PUSH:
    case RESP_MAP:
    case RESP_ATTRIBUTE: return read_count(v, error);
    default: return read_line_value(v) ? RESP_READY : broken(error, "invalid value in reply");
    }
}

/* Values that follow one as parts of it. */
static uint64_t nested_count(const struct resp_value *v)
{
    switch (v->type) {
    case RESP_ARRAY:
    case RESP_SET:
    case RESP_PUSH: return (uint64_t)v->integer;
    case RESP_MAP:
    case RESP_ATTRIBUTE: return 2 * (uint64_t)v->integer;
    default: return 0;
    }
}

enum resp_status resp_measure_reply(struct bytes input, size_t *used, struct error *error)
{
    uint64_t missing[RESP_DEPTH_MAX] = { 1 }; /* values, of the reply and of what is open in it */
    uint32_t depth = 1;
    size_t place = 0;

    while (depth > 0) {
        struct resp_value v;
        size_t size;
        enum resp_status status;

        if (missing[depth - 1] == 0) {
            depth--;
            continue;
        }
        if (place == input.size)
            return RESP_PARTIAL;
        status = scan_value(bytes_of(input.data + place, input.size - place), &v, &size, error);
        if (status != RESP_READY)
            return status;
        place += size;
        if (v.type != RESP_ATTRIBUTE) /* it is no value itself, but comes before one */
            missing[depth - 1]--;
        if (nested_count(&v) == 0)
            continue;
        if (depth == RESP_DEPTH_MAX)
            return broken(error, "too deeply nested reply");
        missing[depth++] = nested_count(&v);
    }
    *used = place;
    return RESP_READY;
}

size_t resp_read_value(struct bytes input, struct resp_value *value)
{
    struct error error;
    size_t used = 0;
    enum resp_status status = scan_value(input, value, &used, &error);

    assert(status == RESP_READY);
    return used;
}

/* Into RESP2. */

static size_t skip_values(struct bytes input, uint64_t count)
{
    size_t place = 0;

    for (uint64_t i = 0; i < count; i++) {
        struct error error;
        size_t used = 0;
        enum resp_status status =
            resp_measure_reply(bytes_of(input.data + place, input.size - place), &used, &error);

        assert(status == RESP_READY);
        place += used;
    }
    return place;
}

static void write_value_as_resp2(struct buffer *out, const struct resp_value *v, struct bytes raw)
{
    switch (v->type) {
    case RESP_STRING:
    case RESP_ERROR:
    case RESP_INTEGER:
    case RESP_BULK: buffer_append(out, raw.data, raw.size); break;
    case RESP_BULK_ERROR:
        resp_write_error(
            out, "%.*s",
            (int)(v->text.size < RESP_ERROR_BYTES_MAX ? v->text.size : RESP_ERROR_BYTES_MAX),
            (const char *)v->text.data);
        break;
    case RESP_VERBATIM:
        resp_write_bulk(
            out, bytes_of(v->text.data + VERBATIM_HEAD_SIZE, v->text.size - VERBATIM_HEAD_SIZE));
        break;
    case RESP_BIG:
    case RESP_DOUBLE: resp_write_bulk(out, v->text); break;
    case RESP_BOOLEAN: resp_write_integer(out, v->integer); break;
    case RESP_NULL: buffer_append_string(out, "$-1\r\n"); break;
    case RESP_ARRAY:
    case RESP_SET:
    case RESP_PUSH:
    case RESP_MAP: resp_write_array(out, nested_count(v)); break;
    case RESP_ATTRIBUTE: break;
    }
}

/* Nearly all replies of a busy server. */
static bool is_same_in_resp2(struct bytes reply)
{
    uint8_t type = reply.size > 0 ? reply.data[0] : 0;

    return type == RESP_BULK || type == RESP_STRING || type == RESP_INTEGER || type == RESP_ERROR;
}

void resp_write_as_resp2(struct buffer *out, struct bytes reply)
{
    struct error error;
    size_t place = 0;
    size_t whole = 0;

    if (is_same_in_resp2(reply)) {
        buffer_append(out, reply.data, reply.size);
        return;
    }
    if (resp_measure_reply(reply, &whole, &error) != RESP_READY || whole != reply.size) {
        resp_write_error(out, "ERR the service's reply is malformed");
        return;
    }
    while (place < reply.size) {
        struct bytes rest = bytes_of(reply.data + place, reply.size - place);
        struct resp_value value;
        size_t used = resp_read_value(rest, &value);

        write_value_as_resp2(out, &value, bytes_of(rest.data, used));
        place += used;
        if (value.type == RESP_ATTRIBUTE)
            place +=
                skip_values(bytes_of(reply.data + place, reply.size - place), nested_count(&value));
    }
}
