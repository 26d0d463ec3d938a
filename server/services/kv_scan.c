/* The commands that walk the keys. They see them in the order of kv_store_interval(), which is the
 * same on all servers: so their replies are too, and a cursor is good on any of them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/services/kv_commands.h"

#define SCAN_COUNT          10   /* keys that SCAN returns unless told */
#define SCAN_COUNT_MAX      4096 /* so that one call stays short; a caller goes on by the cursor */
#define SCAN_STEPS_PER_KEY  10   /* intervals looked at for each key asked for, as in Redis */
#define CURSOR_TEXT_MAX     24
#define RANDOM_ATTEMPTS_MAX 10000 /* keys that are due passed over in search of one that is not */

struct scan {
    uint64_t point;
    int64_t count;
    bool matching; /* only what matches the pattern */
    struct bytes pattern;
    bool none; /* of another type than string: nothing is */
};

/* As strtoul() reads it, which is what Redis's cursors are; or replies the error. */
static bool take_cursor(struct kv_call *call, struct scan *scan)
{
    struct bytes word = call->argv[1];
    char text[CURSOR_TEXT_MAX + 1] = "", *end = text;

    if (word.size <= CURSOR_TEXT_MAX) {
        memcpy(text, word.data ? word.data : (const uint8_t *)"", word.size);
        errno = 0;
        scan->point = strtoul(text, &end, 10);
    }
    if (word.size > CURSOR_TEXT_MAX || end != text + word.size || errno == ERANGE ||
        text[0] == ' ' || (text[0] >= '\t' && text[0] <= '\r')) {
        resp_write_error(call->reply, "ERR invalid cursor");
        return false;
    }
    return true;
}

static bool take_options(struct kv_call *call, struct scan *scan)
{
    for (uint32_t i = 2; i < call->argc; i += 2) {
        struct bytes word = call->argv[i];
        bool last = i + 1 == call->argc;

        if (resp_is(word, "count") && !last) {
            if (!kv_call_integer(call, call->argv[i + 1], &scan->count))
                return false;
            if (scan->count < 1) {
                resp_write_error(call->reply, KV_ERROR_SYNTAX);
                return false;
            }
        } else if (resp_is(word, "match") && !last) {
            scan->pattern = call->argv[i + 1];
            scan->matching = true;
        } else if (resp_is(word, "type") && !last) {
            scan->none = !resp_is(call->argv[i + 1], "string");
        } else {
            resp_write_error(call->reply, KV_ERROR_SYNTAX);
            return false;
        }
    }
    if (scan->count > SCAN_COUNT_MAX)
        scan->count = SCAN_COUNT_MAX;
    return true;
}

/* Appends the keys of the interval that match; returns how many. */
static uint64_t append_keys(struct kv_call *call, const struct scan *scan, struct buffer *out)
{
    const struct kv_list *list = &call->store->list;
    uint64_t appended = 0;

    for (uint32_t i = 0; i < list->count; i++) {
        struct bytes key = kv_entry_key(list->items[i]);

        if (scan->none || kv_entry_due(list->items[i], call->now_ms) ||
            (scan->matching && !kv_match(scan->pattern, key)))
            continue;
        resp_write_bulk(out, key);
        appended++;
    }
    return appended;
}

void kv_do_scan(struct kv_call *call)
{
    struct scan scan = { .count = SCAN_COUNT };
    struct buffer keys = { 0 };
    uint64_t found = 0;
    int64_t seen = 0, steps;
    char cursor[CURSOR_TEXT_MAX];

    if (!take_cursor(call, &scan) || !take_options(call, &scan))
        return;
    steps = scan.count * SCAN_STEPS_PER_KEY;
    while (scan.point < KV_POINT_END && seen < scan.count && steps-- > 0) {
        scan.point = kv_store_interval(call->store, scan.point);
        seen += call->store->list.count;
        found += append_keys(call, &scan, &keys);
    }
    snprintf(cursor, sizeof cursor, "%llu",
             scan.point < KV_POINT_END ? (unsigned long long)scan.point : 0);
    resp_write_array(call->reply, 2);
    resp_write_bulk_string(call->reply, cursor);
    resp_write_array(call->reply, found);
    buffer_append(call->reply, buffer_head(&keys), buffer_size(&keys));
    buffer_free(&keys);
}

void kv_do_keys(struct kv_call *call)
{
    struct scan scan = { .matching = true, .pattern = call->argv[1] };
    struct buffer keys = { 0 };
    uint64_t found = 0;

    while (scan.point < KV_POINT_END) {
        scan.point = kv_store_interval(call->store, scan.point);
        found += append_keys(call, &scan, &keys);
    }
    resp_write_array(call->reply, found);
    buffer_append(call->reply, buffer_head(&keys), buffer_size(&keys));
    buffer_free(&keys);
}

/* Some key of store->list that is not due, NULL when there is none. */
static const struct kv_entry *pick(const struct kv_call *call, uint64_t chance)
{
    const struct kv_list *list = &call->store->list;

    for (uint32_t i = 0; i < list->count; i++) {
        const struct kv_entry *e = list->items[(chance + i) % list->count];

        if (!kv_entry_due(e, call->now_ms))
            return e;
    }
    return NULL;
}

/* A key of the first interval, from a point on that the entry chooses, that has one. */
void kv_do_randomkey(struct kv_call *call)
{
    struct kv_store *store = call->store;
    uint64_t chance = kv_mix(call->index, call->time_us);
    uint64_t start = chance % KV_POINT_END, point = start;
    const struct kv_entry *e = NULL;
    bool wrapped = false;

    for (uint32_t seen = 0; seen < RANDOM_ATTEMPTS_MAX && !(wrapped && point > start);) {
        point = kv_store_interval(store, point);
        seen += store->list.count;
        e = pick(call, chance >> 32);
        if (e || (wrapped && point == KV_POINT_END))
            break;
        if (point == KV_POINT_END) {
            point = 0;
            wrapped = true;
        }
    }
    if (e)
        resp_write_bulk(call->reply, kv_entry_key(e));
    else
        resp_write_null(call->reply);
}
