/* history - what clients were told, put side by side. */
#include "tests/simulator/history.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>

#include "tests/linearizability/model.h"

#define STATES_MAX (1u << 21) /* configurations that the search for an order remembers: 96 MiB */

static const char filling[] = "................................";

uint32_t history_key_add(struct history *h, enum key_use use, const char *name)
{
    struct history_key *key = &h->keys[h->key_count];

    assert(h->key_count < HISTORY_KEYS_MAX);
    key->use = use;
    snprintf(key->name, sizeof key->name, "%s", name);
    return h->key_count++;
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

    if (h->fault[0])
        return false;
    va_start(args, format);
    vsnprintf(h->fault, sizeof h->fault, format, args);
    va_end(args);
    return false;
}

struct operation *history_operation(const struct history *h, uint64_t number)
{
    assert(number >= 1 && number <= h->count);
    return &h->operations[number - 1];
}

static enum key_use use_of(const struct history *h, const struct operation *o)
{
    return h->keys[o->key].use;
}

static bool writes(const struct operation *o)
{
    return o->kind != LINEAR_READ && o->kind != LINEAR_DELETE;
}

/* What is of one operation only: a piece of a text, the beginning of a register's value. All are of
 * one size, so that two texts of the same writes are, too. */
static uint32_t number_format(uint64_t number, char text[HISTORY_NUMBER_SIZE])
{
    return (uint32_t)snprintf(text, HISTORY_NUMBER_SIZE, "%06llu;", (unsigned long long)number);
}

uint64_t history_begin(struct history *h, uint32_t client, uint32_t key, enum linear_kind kind,
                       uint32_t size, uint64_t now_ns)
{
    struct operation *o;
    char text[HISTORY_NUMBER_SIZE];
    uint32_t least;

    assert(key < h->key_count);
    if (h->count == h->capacity) {
        h->capacity = h->capacity ? 2 * h->capacity : 256;
        h->operations = memory_grown(h->operations, h->capacity * sizeof *h->operations);
    }
    o = &h->operations[h->count++];
    *o = (struct operation){
        .client = client,
        .key = key,
        .kind = kind,
        .size = size,
        .floor = h->keys[key].length,
        .invoked_ns = now_ns,
    };
    least = number_format(h->count, text);
    if (writes(o) && (use_of(h, o) == KEY_TEXT || (use_of(h, o) == KEY_REGISTER && size < least)))
        o->size = least;
    return h->count;
}

/* The value of a register, or a piece of a text: its number, and then what fills it up. */
static void value_make(const struct operation *o, uint64_t number, struct buffer *out)
{
    char text[HISTORY_NUMBER_SIZE];
    uint32_t size = number_format(number, text);

    buffer_append(out, text, size);
    while (size < o->size) {
        uint32_t more = o->size - size < sizeof filling - 1 ? o->size - size : sizeof filling - 1;

        buffer_append(out, filling, more);
        size += more;
    }
}

void history_argument(const struct history *h, uint64_t number, struct buffer *out)
{
    const struct operation *o = history_operation(h, number);
    char text[HISTORY_NUMBER_SIZE];

    assert(writes(o));
    if (use_of(h, o) == KEY_NUMBER)
        buffer_append(out, text, (size_t)snprintf(text, sizeof text, "%u", o->size));
    else
        value_make(o, number, out);
}

/* The digits in front of a text, as far as they go. */
static uint64_t digits_read(struct bytes text, size_t *used)
{
    uint64_t number = 0;

    for (*used = 0; *used < text.size && *used < 18; ++*used) {
        uint8_t digit = text.data[*used];

        if (digit < '0' || digit > '9')
            break;
        number = 10 * number + (uint64_t)(digit - '0');
    }
    return number;
}

/* Puts a text beside the longest one seen: one must be the beginning of the other. */
static bool text_fits(struct history *h, uint64_t number, struct bytes value)
{
    struct history_key *key = &h->keys[history_operation(h, number)->key];
    struct buffer *known = &key->value;
    size_t common = value.size < buffer_size(known) ? value.size : buffer_size(known);
    size_t at = 0;

    while (at < common && value.data[at] == buffer_head(known)[at])
        at++;
    if (at < common)
        return wrong(h,
                     "operation %llu: the value of key %s is another than was seen before, from "
                     "byte %zu on",
                     (unsigned long long)number, key->name, at);
    if (value.size > common)
        buffer_append(known, value.data + common, value.size - common);
    return true;
}

/* An operation that was told a length: not below what was known before it began. */
static bool length_told(struct history *h, uint64_t number, uint64_t length, uint64_t least)
{
    struct history_key *key = &h->keys[history_operation(h, number)->key];

    if (length < least)
        return wrong(h,
                     "operation %llu: key %s has length %llu, but it was known to be %llu or more "
                     "before it began: an acknowledged write is lost or not seen",
                     (unsigned long long)number, key->name, (unsigned long long)length,
                     (unsigned long long)least);
    if (length > key->length)
        key->length = length;
    return true;
}

/* A register's value is one that somebody wrote, from its first byte to its last, and lives. */
static bool register_fits(struct history *h, uint64_t number, struct bytes value)
{
    struct operation *o = history_operation(h, number);
    size_t used;
    uint64_t writer = digits_read(value, &used);
    const struct operation *w = writer && writer <= h->count ? &h->operations[writer - 1] : NULL;
    bool right = w && w->key == o->key && writes(w) && w->size == value.size;
    size_t at = used + 1;

    right = right && used < value.size && value.data[used] == ';';
    while (right && at < value.size && value.data[at] == (uint8_t)filling[0])
        at++;
    if (!right || at < value.size)
        return wrong(h, "operation %llu: key %s holds what nobody wrote: %.*s",
                     (unsigned long long)number, h->keys[o->key].name,
                     (int)(value.size < 60 ? value.size : 60), (const char *)value.data);
    /* One that was lost may have been executed anew since: old requests of sessions come again. */
    if (w->ttl_ms && w->state == OPERATION_DONE && !w->excused && !h->wall_jumped &&
        o->invoked_ns > w->returned_ns + w->ttl_ms * UINT64_C(1000000) + h->wall_slack_ns)
        return wrong(h, "operation %llu: key %s holds the value of write %llu, which has expired",
                     (unsigned long long)number, h->keys[o->key].name, (unsigned long long)writer);
    o->result = (int64_t)writer;
    return true;
}

static struct operation *end_at(struct history *h, uint64_t number, uint64_t now_ns)
{
    struct operation *o = history_operation(h, number);

    assert(o->state == OPERATION_OPEN);
    o->state = OPERATION_DONE;
    o->returned_ns = now_ns;
    if (o->kind == LINEAR_READ)
        h->reads_done++;
    else
        h->writes_done++;
    return o;
}

bool history_done(struct history *h, uint64_t number, uint64_t now_ns)
{
    end_at(h, number, now_ns);
    return true;
}

static bool number_fits(struct history *h, uint64_t number, struct bytes text)
{
    struct operation *o = history_operation(h, number);
    size_t used;

    o->result = (int64_t)digits_read(text, &used);
    return used == text.size ||
           wrong(h, "operation %llu: key %s is no number: %.*s", (unsigned long long)number,
                 h->keys[o->key].name, (int)(text.size < 60 ? text.size : 60),
                 (const char *)text.data);
}

bool history_told_text(struct history *h, uint64_t number, struct bytes text, uint64_t now_ns)
{
    struct operation *o = end_at(h, number, now_ns);

    o->absent = text.data == NULL;
    o->result = use_of(h, o) == KEY_TEXT ? (int64_t)text.size : 0;
    if (o->excused)
        return true;
    switch (use_of(h, o)) {
    case KEY_TEXT:
        return text_fits(h, number, text) &&
               (o->stale || length_told(h, number, text.size, o->floor));
    case KEY_REGISTER: return o->absent || register_fits(h, number, text);
    case KEY_NUMBER: return o->absent || number_fits(h, number, text);
    }
    return true;
}

bool history_told_number(struct history *h, uint64_t number, int64_t told, uint64_t now_ns)
{
    struct operation *o = end_at(h, number, now_ns);

    o->result = told;
    if (o->excused || use_of(h, o) != KEY_TEXT)
        return true;
    return length_told(h, number, (uint64_t)told, o->floor + o->size);
}

void history_not_done(struct history *h, uint64_t number)
{
    history_operation(h, number)->state = OPERATION_NOT_DONE;
}

void history_unknown(struct history *h, uint64_t number)
{
    history_operation(h, number)->state = OPERATION_UNKNOWN;
    h->unknown++;
}

void history_forgive(struct history *h)
{
    h->forgiven = true;
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
    size_t used;

    for (size_t at = 0; at < value.size; at += used + 1) {
        uint64_t number = digits_read(bytes_of(value.data + at, value.size - at), &used);

        if (number < 1 || number > h->count || at + used == value.size ||
            value.data[at + used] != ';' || h->operations[number - 1].key != key ||
            h->operations[number - 1].kind != LINEAR_APPEND)
            return wrong(h, "key %s holds what nobody wrote, at byte %zu", h->keys[key].name, at);
        if (ends[number - 1])
            return wrong(h, "write %llu of key %s was executed twice", (unsigned long long)number,
                         h->keys[key].name);
        ends[number - 1] = at + used + 1;
    }
    return true;
}

static bool write_in_place(struct history *h, uint64_t number, uint64_t end)
{
    const struct operation *o = history_operation(h, number);

    if (o->state == OPERATION_NOT_DONE && end)
        return wrong(h, "write %llu of key %s was said to be not executed, and was",
                     (unsigned long long)number, h->keys[o->key].name);
    if (o->state == OPERATION_DONE && !o->excused && end != (uint64_t)o->result)
        return wrong(h, "acknowledged write %llu of key %s: %s, said to end at %lld",
                     (unsigned long long)number, h->keys[o->key].name,
                     end ? "it is elsewhere" : "it is lost", (long long)o->result);
    return true;
}

bool history_final(struct history *h, uint32_t key, struct bytes value)
{
    uint64_t *ends = memory_zeroed(h->count + 1, sizeof *ends);
    bool right = pieces_place(h, key, value, ends);

    for (uint64_t i = 0; i < h->count && right; i++)
        if (h->operations[i].kind == LINEAR_APPEND && h->operations[i].key == key)
            right = write_in_place(h, i + 1, ends[i]);
    free(ends);
    return right;
}

/* ------------------------------------------------------------------ the whole of it */

/* Whether the checker is to hear of it. */
static bool counts(const struct operation *o)
{
    return o->state != OPERATION_NOT_DONE && !o->stale &&
           (o->state == OPERATION_DONE || o->kind != LINEAR_READ);
}

/* What the checker is given: operations, and the ends of values that expire. */
struct told {
    const struct history *history;
    struct linear_operation *list;
    uint64_t *numbers; /* of each in the history; of the end of a value: of who wrote it */
    uint32_t count;
    struct linear_value *beginnings[HISTORY_KEYS_MAX]; /* of each text, by its length */
    char text[200];
};

/* The beginnings of a text at which a piece ends, each made from the one before it. */
static struct linear_value *beginnings_make(const struct buffer *text)
{
    struct linear_value *list = memory_zeroed(buffer_size(text) + 1, sizeof *list);
    size_t from = 0;

    for (size_t at = 0; at < buffer_size(text); at++) {
        struct linear_operation piece = { .kind = LINEAR_APPEND, .returned_ns = LINEAR_UNKNOWN };

        if (buffer_head(text)[at] != ';')
            continue;
        piece.argument = linear_text(bytes_of(buffer_head(text) + from, at + 1 - from));
        (void)model_step(&piece, list[from], &list[at + 1]);
        from = at + 1;
    }
    return list;
}

/* A value's end is known to nobody: it may be gone at any time after the earliest it can be. */
static uint64_t expires_ns(const struct history *h, const struct operation *o)
{
    uint64_t ttl_ns = o->ttl_ms * UINT64_C(1000000);

    if (h->wall_jumped)
        return o->invoked_ns;
    return o->invoked_ns + (ttl_ns > h->wall_slack_ns ? ttl_ns - h->wall_slack_ns : 0);
}

/* A register's value as the checker knows it: by the operation that wrote it. */
static struct linear_value written_by(const struct history *h, uint64_t number)
{
    return number ? (struct linear_value){ number, history_operation(h, number)->size }
                  : LINEAR_ABSENT;
}

static struct linear_value argument_of(const struct history *h, uint64_t number)
{
    const struct operation *o = history_operation(h, number);
    char text[HISTORY_NUMBER_SIZE];

    if (!writes(o))
        return LINEAR_ABSENT;
    switch (use_of(h, o)) {
    case KEY_TEXT: return linear_text(bytes_of(text, number_format(number, text)));
    case KEY_REGISTER: return written_by(h, number);
    default: return linear_number(o->size);
    }
}

/* A result that is a value, not a number that tells of one. */
static bool tells_value(const struct operation *o)
{
    return o->kind == LINEAR_READ || o->kind == LINEAR_SWAP;
}

static struct linear_value result_of(const struct told *t, const struct operation *o)
{
    const struct history *h = t->history;
    struct linear_value value;

    if (o->state != OPERATION_DONE || o->kind == LINEAR_WRITE || (tells_value(o) && o->absent))
        return LINEAR_ABSENT;
    if (!tells_value(o) || use_of(h, o) == KEY_NUMBER)
        return linear_number(o->result);
    if (use_of(h, o) == KEY_REGISTER)
        return written_by(h, (uint64_t)o->result);
    value = t->beginnings[o->key][o->result];
    return value.size == (uint64_t)o->result
               ? value
               : linear_text(bytes_of(buffer_head(&h->keys[o->key].value), (size_t)o->result));
}

/* What a read of a text saw: all are beginnings of the longest. */
static struct bytes text_of(const struct history *h, const struct operation *o)
{
    if (o->state != OPERATION_DONE || o->kind != LINEAR_READ || use_of(h, o) != KEY_TEXT)
        return bytes_of(NULL, 0);
    return bytes_of(buffer_head(&h->keys[o->key].value), (size_t)o->result);
}

static struct linear_operation linear_of(const struct told *t, uint64_t number)
{
    const struct history *h = t->history;
    const struct operation *o = history_operation(h, number);

    return (struct linear_operation){
        .client = o->client,
        .key = o->key,
        .kind = o->kind,
        .argument = argument_of(h, number),
        .result = result_of(t, o),
        .text = text_of(h, o),
        .invoked_ns = o->invoked_ns,
        .returned_ns = o->state == OPERATION_DONE ? o->returned_ns : LINEAR_UNKNOWN,
    };
}

static void told_fill(struct told *t)
{
    const struct history *h = t->history;

    for (uint32_t i = 0; i < h->key_count; i++)
        t->beginnings[i] = beginnings_make(&h->keys[i].value);
    t->list = memory_take(2 * (h->count + 1) * sizeof *t->list);
    t->numbers = memory_take(2 * (h->count + 1) * sizeof *t->numbers);
    for (uint64_t number = 1; number <= h->count; number++) {
        const struct operation *o = history_operation(h, number);

        if (!counts(o))
            continue;
        t->numbers[t->count] = number;
        t->list[t->count++] = linear_of(t, number);
        if (o->ttl_ms == 0)
            continue;
        t->numbers[t->count] = number;
        t->list[t->count++] = (struct linear_operation){ .key = o->key,
                                                         .kind = LINEAR_DELETE,
                                                         .invoked_ns = expires_ns(h, o),
                                                         .returned_ns = LINEAR_UNKNOWN };
    }
}

static const char *const kind_names[] = {
    [LINEAR_READ] = "get",      [LINEAR_WRITE] = "set",  [LINEAR_WRITE_IF_ABSENT] = "setnx",
    [LINEAR_SWAP] = "getset",   [LINEAR_DELETE] = "del", [LINEAR_WRITE_IF_PRESENT] = "setxx",
    [LINEAR_APPEND] = "append", [LINEAR_ADD] = "incrby",
};

static const char *told_text(void *context, uint32_t place)
{
    struct told *t = context;
    const struct linear_operation *l = &t->list[place];
    const struct operation *o = history_operation(t->history, t->numbers[place]);
    char result[48] = "unknown outcome";

    if (l->kind == LINEAR_DELETE && o->kind != LINEAR_DELETE)
        snprintf(result, sizeof result, "its value may expire");
    else if (o->state == OPERATION_DONE && tells_value(o) && o->absent)
        snprintf(result, sizeof result, "nothing");
    else if (o->state == OPERATION_DONE)
        snprintf(result, sizeof result, "%lld, to %.6f s", (long long)o->result,
                 (double)l->returned_ns / 1e9);
    snprintf(t->text, sizeof t->text, "operation %llu of client %u: %s %s from %.6f s: %s",
             (unsigned long long)t->numbers[place], o->client, kind_names[l->kind],
             t->history->keys[o->key].name, (double)l->invoked_ns / 1e9, result);
    return t->text;
}

static void explain(struct history *h, struct told *told, const struct linear_result *result)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    if (out) {
        linear_explain(out, told->list, told->count, result, told_text, told);
        (void)fclose(out);
    }
    wrong(h, "not linearizable: key %s\n%s", h->keys[result->key].name, text ? text : "");
    free(text);
}

bool history_linearizable(struct history *h)
{
    struct told told = { .history = h };
    struct linear_result result;

    if (h->forgiven || h->count > LINEAR_COUNT_MAX / 2)
        return true;
    told_fill(&told);
    switch (linear_check(told.list, told.count, STATES_MAX, &result)) {
    case LINEAR_NO: explain(h, &told, &result); break;
    case LINEAR_UNDECIDED:
        wrong(h, "key %s: not decided whether it is linearizable", h->keys[result.key].name);
        break;
    default: break;
    }
    for (uint32_t i = 0; i < h->key_count; i++)
        free(told.beginnings[i]);
    free(told.list);
    free(told.numbers);
    return result.verdict == LINEAR_YES;
}

/* ------------------------------------------------------------------ as a file */

static void value_write(const struct operation *o, uint64_t number, FILE *out)
{
    struct buffer text = { 0 };

    value_make(o, number, &text);
    fprintf(out, "%.*s", (int)buffer_size(&text), (const char *)buffer_head(&text));
    buffer_free(&text);
}

static void argument_write(const struct history *h, uint64_t number, FILE *out)
{
    const struct operation *o = history_operation(h, number);

    if (!writes(o))
        fputc('-', out);
    else if (use_of(h, o) == KEY_NUMBER)
        fprintf(out, "%u", o->size);
    else
        value_write(o, number, out);
}

static void result_write(const struct history *h, const struct operation *o, FILE *out)
{
    if (o->state != OPERATION_DONE || o->kind == LINEAR_WRITE)
        fputc('-', out);
    else if (tells_value(o) && o->absent)
        fputs("(nil)", out);
    else if (!tells_value(o) || use_of(h, o) == KEY_NUMBER)
        fprintf(out, "%lld", (long long)o->result);
    else if (use_of(h, o) == KEY_TEXT)
        fprintf(out, "%.*s", (int)o->result, (const char *)buffer_head(&h->keys[o->key].value));
    else if (o->result < 1)
        fputc('?', out); /* what nobody wrote; the run has failed */
    else
        value_write(history_operation(h, (uint64_t)o->result), (uint64_t)o->result, out);
}

void history_write(const struct history *h, FILE *out)
{
    if (h->forgiven) {
        fputs("# it was accepted that what had been acknowledged is lost: nothing to check\n", out);
        return;
    }
    for (uint64_t number = 1; number <= h->count; number++) {
        const struct operation *o = history_operation(h, number);

        if (!counts(o))
            continue;
        fprintf(out, "%u %s %s ", o->client, h->keys[o->key].name, kind_names[o->kind]);
        argument_write(h, number, out);
        fputc(' ', out);
        result_write(h, o, out);
        fprintf(out, " %llu ", (unsigned long long)o->invoked_ns);
        if (o->state == OPERATION_DONE)
            fprintf(out, "%llu\n", (unsigned long long)o->returned_ns);
        else
            fputs("unknown\n", out);
        if (o->ttl_ms)
            fprintf(out, "%u %s del - - %llu unknown\n", o->client, h->keys[o->key].name,
                    (unsigned long long)expires_ns(h, o));
    }
}
