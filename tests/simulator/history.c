/* history - appends and reads of one key, put side by side. */
#include "tests/simulator/history.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void history_init(struct history *h, uint32_t key_count)
{
    assert(key_count >= 1 && key_count <= HISTORY_KEYS_MAX);
    *h = (struct history){ .key_count = key_count };
}

void history_free(struct history *h)
{
    for (uint32_t i = 0; i < h->key_count; i++)
        buffer_free(&h->keys[i].value);
    free(h->operations);
}

__attribute__((format(printf, 2, 3))) static bool wrong(struct history *h, const char *format, ...)
{
    va_list args;

    if (h->fault[0] == '\0') {
        va_start(args, format);
        vsnprintf(h->fault, sizeof h->fault, format, args);
        va_end(args);
    }
    return false;
}

static struct operation *operation_at(struct history *h, uint64_t number)
{
    assert(number >= 1 && number <= h->count);
    return &h->operations[number - 1];
}

const struct operation *history_operation(const struct history *h, uint64_t number)
{
    assert(number >= 1 && number <= h->count);
    return &h->operations[number - 1];
}

uint64_t history_begin(struct history *h, uint32_t key, bool write)
{
    struct operation *o;

    assert(key < h->key_count);
    if (h->count == h->capacity) {
        h->capacity = h->capacity ? 2 * h->capacity : 256;
        h->operations = memory_grown(h->operations, h->capacity * sizeof *h->operations);
    }
    o = &h->operations[h->count++];
    *o = (struct operation){ .key = key, .write = write, .floor = h->keys[key].length };
    if (write)
        o->size =
            (uint32_t)snprintf(o->text, sizeof o->text, "%llu;", (unsigned long long)h->count);
    return h->count;
}

/* Puts a value beside the longest one seen: one must be the beginning of the other. */
static bool value_fits(struct history *h, uint64_t number, struct bytes value)
{
    struct buffer *known = &h->keys[operation_at(h, number)->key].value;
    size_t common = value.size < buffer_size(known) ? value.size : buffer_size(known);
    size_t at = 0;

    while (at < common && value.data[at] == buffer_head(known)[at])
        at++;
    if (at < common)
        return wrong(h,
                     "operation %llu: the value of key %u is another than was seen before, from "
                     "byte %zu on",
                     (unsigned long long)number, operation_at(h, number)->key, at);
    if (value.size > common)
        buffer_append(known, value.data + common, value.size - common);
    return true;
}

/* An operation that was told a length: not below what was known before it began. */
static bool length_told(struct history *h, uint64_t number, uint64_t length, uint64_t least)
{
    struct operation *o = operation_at(h, number);
    struct history_key *key = &h->keys[o->key];

    if (length < least)
        return wrong(h,
                     "operation %llu: key %u has length %llu, but it was known to be %llu or more "
                     "before it began: an acknowledged write is lost or not seen",
                     (unsigned long long)number, o->key, (unsigned long long)length,
                     (unsigned long long)least);
    if (length > key->length)
        key->length = length;
    return true;
}

bool history_appended(struct history *h, uint64_t number, uint64_t length)
{
    struct operation *o = operation_at(h, number);

    assert(o->write && o->state == OPERATION_OPEN);
    o->state = OPERATION_DONE;
    o->end = length;
    h->writes_done++;
    if (o->excused)
        return true;
    return length_told(h, number, length, o->floor + o->size);
}

bool history_read(struct history *h, uint64_t number, struct bytes value, bool stale)
{
    struct operation *o = operation_at(h, number);

    assert(!o->write && o->state == OPERATION_OPEN);
    o->state = OPERATION_DONE;
    h->reads_done++;
    if (o->excused)
        return true;
    return value_fits(h, number, value) && (stale || length_told(h, number, value.size, o->floor));
}

void history_not_done(struct history *h, uint64_t number)
{
    operation_at(h, number)->state = OPERATION_NOT_DONE;
}

void history_unknown(struct history *h, uint64_t number)
{
    operation_at(h, number)->state = OPERATION_UNKNOWN;
    h->unknown++;
}

void history_forgive(struct history *h)
{
    for (uint64_t i = 0; i < h->count; i++) {
        h->operations[i].excused = true;
        h->operations[i].floor = 0;
    }
    for (uint32_t i = 0; i < h->key_count; i++) {
        buffer_clear(&h->keys[i].value, SIZE_MAX);
        h->keys[i].length = 0;
    }
}

/* Where each piece of a value ends, by the number that it is; 0: not there. */
static bool pieces_place(struct history *h, uint32_t key, struct bytes value, uint64_t *ends)
{
    uint64_t number = 0;

    for (size_t at = 0; at < value.size; at++) {
        if (value.data[at] >= '0' && value.data[at] <= '9' && number <= h->count) {
            number = 10 * number + (uint64_t)(value.data[at] - '0');
            continue;
        }
        if (value.data[at] != ';' || number < 1 || number > h->count ||
            h->operations[number - 1].key != key || !h->operations[number - 1].write)
            return wrong(h, "key %u holds what nobody wrote, at byte %zu", key, at);
        if (ends[number - 1])
            return wrong(h, "write %llu of key %u was executed twice", (unsigned long long)number,
                         key);
        ends[number - 1] = at + 1;
        number = 0;
    }
    return true;
}

static bool write_in_place(struct history *h, uint64_t number, uint64_t end)
{
    const struct operation *o = operation_at(h, number);

    if (o->state == OPERATION_NOT_DONE && end)
        return wrong(h, "write %llu of key %u was said to be not executed, and was",
                     (unsigned long long)number, o->key);
    if (o->state == OPERATION_DONE && !o->excused && end != o->end)
        return wrong(h, "acknowledged write %llu of key %u: %s, said to end at %llu",
                     (unsigned long long)number, o->key, end ? "it is elsewhere" : "it is lost",
                     (unsigned long long)o->end);
    return true;
}

bool history_final(struct history *h, uint32_t key, struct bytes value)
{
    uint64_t *ends = memory_zeroed(h->count + 1, sizeof *ends);
    bool right = pieces_place(h, key, value, ends);

    for (uint64_t i = 0; i < h->count && right; i++)
        if (h->operations[i].write && h->operations[i].key == key)
            right = write_in_place(h, i + 1, ends[i]);
    free(ends);
    return right;
}
