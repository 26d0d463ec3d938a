/* The commands on values as numbers. */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/services/kv_commands.h"

#define FLOAT_TEXT_MAX 5120u /* characters of a floating point number, as in Redis */

/* Writes a value over another, or creates the key; its expiry stays. */
static void store_text(struct kv_call *call, struct kv_key key, struct kv_entry *e,
                       struct bytes text)
{
    kv_store_put(call->store, key, e, (struct kv_value){ .bytes = text },
                 e ? kv_entry_expires_ms(e) : KV_NEVER);
}

static void add(struct kv_call *call, int64_t by)
{
    struct kv_key key;
    struct kv_entry *e = kv_call_find(call, call->argv[1], &key);
    int64_t value = 0;
    char text[24];

    if (e && !kv_call_integer(call, kv_entry_value(e), &value))
        return;
    if (__builtin_add_overflow(value, by, &value)) {
        resp_write_error(call->reply, "ERR increment or decrement would overflow");
        return;
    }
    snprintf(text, sizeof text, "%lld", (long long)value);
    store_text(call, key, e, bytes_string(text));
    resp_write_integer(call->reply, value);
}

void kv_do_incr(struct kv_call *call)
{
    add(call, 1);
}

void kv_do_decr(struct kv_call *call)
{
    add(call, -1);
}

void kv_do_incrby(struct kv_call *call)
{
    int64_t by;

    if (kv_call_integer(call, call->argv[2], &by))
        add(call, by);
}

void kv_do_decrby(struct kv_call *call)
{
    int64_t by;

    if (!kv_call_integer(call, call->argv[2], &by))
        return;
    if (by == INT64_MIN)
        resp_write_error(call->reply, "ERR decrement would overflow");
    else
        add(call, -by);
}

static bool parse_float(struct bytes word, long double *value)
{
    char text[FLOAT_TEXT_MAX], *end;

    if (word.size == 0 || word.size >= sizeof text)
        return false;
    memcpy(text, word.data, word.size);
    text[word.size] = '\0';
    errno = 0;
    *value = strtold(text, &end);
    if (isspace((unsigned char)text[0]) || end != text + word.size || isnan(*value))
        return false;
    return errno != ERANGE || (!isinf(*value) && fpclassify(*value) != FP_ZERO);
}

/* As people write it: 17 digits after the point, less the zeros at their end. */
static struct bytes format_float(long double value, char text[FLOAT_TEXT_MAX])
{
    int size = snprintf(text, FLOAT_TEXT_MAX, "%.17Lf", value);

    assert(size > 0 && size < (int)FLOAT_TEXT_MAX);
    while (text[size - 1] == '0')
        size--;
    if (text[size - 1] == '.')
        size--;
    if (size == 2 && text[0] == '-' && text[1] == '0')
        return bytes_string("0");
    return bytes_of(text, (size_t)size);
}

void kv_do_incrbyfloat(struct kv_call *call)
{
    struct kv_key key;
    struct kv_entry *e = kv_call_find(call, call->argv[1], &key);
    long double value = 0, by;
    char text[FLOAT_TEXT_MAX];
    struct bytes result;

    if ((e && !parse_float(kv_entry_value(e), &value)) || !parse_float(call->argv[2], &by)) {
        resp_write_error(call->reply, KV_ERROR_FLOAT);
        return;
    }
    value += by;
    if (isnan(value) || isinf(value)) {
        resp_write_error(call->reply, "ERR increment would produce NaN or Infinity");
        return;
    }
    result = format_float(value, text);
    store_text(call, key, e, result);
    resp_write_bulk(call->reply, result);
}
