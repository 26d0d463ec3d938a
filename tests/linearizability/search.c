/* A configuration is the set of operations placed so far and the value they leave. Calls and
 * returns of completed operations stand in one list by time, calls of unknown ones in another;
 * placing an operation takes it out of its list. What may be placed next are the calls before the
 * first return that is left.
 *
 * Choices that need no alternative ("forced"): any order that goes on from here otherwise can be
 * changed into one that does this first.
 * - What changes nothing and has the right result.
 * - A write whose value nobody will see, on a key that is only read and written (`simple`): once
 *   all reads of the present value that may be placed are, a write must follow, and this one can
 *   stand directly before it.
 * - What fits, on a key that only grows (`growing`: appends or positive additions and reads): each
 *   result says at which level its operation began, and that level never comes again.
 *
 * Choices that are left out: they lead nowhere, or another leads as far. If there is an order that
 * fits, there is one with the fewest operations of unknown outcome; these keep such a one.
 * - What ends a value that another operation has still to see and that none leaves again, on a key
 *   that does not grow: the other could never be placed.
 * - A write directly behind an operation of unknown outcome (`blind`): it leaves the same value
 *   without that one, so the order was not one of the fewest.
 * - One of unknown outcome before its twin, the same invoked earlier: that may stand wherever this
 *   one does, and neither must be placed at all.
 * - A configuration that was looked into with as many unknown deletions placed, or fewer, and all
 *   else alike. They are all twins, so those that it has left were all left there, and whatever
 *   goes on from it went on from there. A key whose values expire has one for each of them: told
 *   apart, they multiply what there is to look into by their number.
 * - Of configurations with a text longer than any that is read, on a key that only grows, all but
 *   one that have placed the same: what is appended to them is told no more than sizes.
 * - On a key that only grows, what a read did not see where it would stand (levels). */
#include "tests/linearizability/search.h"

#include <assert.h>
#include <stdlib.h>

#include "common/buffer.h"
#include "common/random.h"
#include "tests/linearizability/levels.h"
#include "tests/linearizability/memory.h"
#include "tests/linearizability/model.h"

struct item {
    const struct linear_operation *operation;
    struct memory_print print; /* of its being placed; of an unknown deletion: none */
    uint32_t place;            /* in the history */
    uint32_t written, seen;    /* numbers of values, or LINEAR_NONE */
    uint32_t twin;             /* unknown: the same, invoked before this one; else LINEAR_NONE */
    bool placed;
};

/* A step back. */
struct frame {
    uint32_t item;
    bool forced;
    bool blind; /* as it was in the search, as are these */
    uint32_t value_number;
    struct linear_value value;
};

/* A value of a key that does not grow, and how many of the operations not yet placed tell that they
 * saw it, and leave it. */
struct known_value {
    struct linear_value value;
    uint32_t readers, writers;
};

#define ABSENT_NUMBER 0u /* the first in the order of values */

/* Circular lists of nodes: 0 is the head of the completed, 1 that of the unknown; 2 + 2 i is the
 * call of item i, 3 + 2 i its return. */
struct node {
    uint32_t previous, next;
};

enum { HEAD_COMPLETED, HEAD_UNKNOWN, NODE_FIRST };

struct search {
    uint32_t count;
    struct item *items; /* by invocation */
    struct node *nodes;
    struct frame *frames;
    uint32_t depth;
    uint32_t completed_left;
    struct linear_value value;
    uint32_t value_number; /* of it, if values are numbered */
    uint32_t deletions;    /* unknown ones placed */
    struct memory_print print;
    bool simple, growing;
    bool blind;                 /* the last one placed is of unknown outcome */
    struct known_value *values; /* NULL: not numbered */
    uint32_t value_count;
    struct levels levels; /* growing */
    struct memory memory;
    uint64_t blocked_ns; /* of the latest return that could not be passed */
};

static uint32_t call_of(uint32_t item)
{
    return NODE_FIRST + 2 * item;
}

static bool is_return(uint32_t node)
{
    return node >= NODE_FIRST && node % 2 == 1;
}

static uint32_t item_of(uint32_t node)
{
    assert(node >= NODE_FIRST);
    return (node - NODE_FIRST) / 2;
}

/* ------------------------------------------------------------------ lists */

static void node_append(struct search *s, uint32_t head, uint32_t node)
{
    uint32_t last = s->nodes[head].previous;

    s->nodes[node] = (struct node){ .previous = last, .next = head };
    s->nodes[last].next = node;
    s->nodes[head].previous = node;
}

static void node_take(struct search *s, uint32_t node)
{
    struct node n = s->nodes[node];

    s->nodes[n.previous].next = n.next;
    s->nodes[n.next].previous = n.previous;
}

/* Nodes come back in the opposite order, so that their neighbours are those they had. */
static void node_return(struct search *s, uint32_t node)
{
    struct node n = s->nodes[node];

    s->nodes[n.previous].next = node;
    s->nodes[n.next].previous = node;
}

static void lift(struct search *s, uint32_t item)
{
    node_take(s, call_of(item));
    if (!is_unknown(s->items[item].operation))
        node_take(s, call_of(item) + 1);
}

static void unlift(struct search *s, uint32_t item)
{
    if (!is_unknown(s->items[item].operation))
        node_return(s, call_of(item) + 1);
    node_return(s, call_of(item));
}

/* The return that is next in time; HEAD_COMPLETED when there is none. */
static uint32_t first_return(const struct search *s)
{
    uint32_t node = s->nodes[HEAD_COMPLETED].next;

    while (node != HEAD_COMPLETED && !is_return(node))
        node = s->nodes[node].next;
    return node;
}

struct moment {
    uint64_t ns;
    uint32_t node;
};

/* By time; calls before returns at the same time. */
static int moment_compare(const void *a, const void *b)
{
    const struct moment *x = a, *y = b;

    if (x->ns != y->ns)
        return x->ns < y->ns ? -1 : 1;
    if (is_return(x->node) != is_return(y->node))
        return is_return(x->node) ? 1 : -1;
    return x->node < y->node ? -1 : x->node > y->node;
}

static void lists_fill(struct search *s)
{
    struct moment *moments = memory_zeroed(2 * (size_t)s->count, sizeof *moments);
    uint32_t count = 0;

    s->nodes[HEAD_COMPLETED] = (struct node){ HEAD_COMPLETED, HEAD_COMPLETED };
    s->nodes[HEAD_UNKNOWN] = (struct node){ HEAD_UNKNOWN, HEAD_UNKNOWN };
    for (uint32_t i = 0; i < s->count; i++) {
        const struct linear_operation *o = s->items[i].operation;

        moments[count++] = (struct moment){ o->invoked_ns, call_of(i) };
        if (!is_unknown(o))
            moments[count++] = (struct moment){ o->returned_ns, call_of(i) + 1 };
    }
    qsort(moments, count, sizeof *moments, moment_compare);
    for (uint32_t i = 0; i < count; i++) {
        const struct item *item = &s->items[item_of(moments[i].node)];

        node_append(s, is_unknown(item->operation) ? HEAD_UNKNOWN : HEAD_COMPLETED,
                    moments[i].node);
    }
    free(moments);
}

/* ------------------------------------------------------------------ what is known beforehand */

static bool has_only(const struct search *s, enum linear_kind last)
{
    for (uint32_t i = 0; i < s->count; i++)
        if (s->items[i].operation->kind > last)
            return false;
    return true;
}

static int value_compare(const void *a, const void *b)
{
    struct linear_value x = ((const struct known_value *)a)->value;
    struct linear_value y = ((const struct known_value *)b)->value;

    if (x.bits != y.bits)
        return x.bits < y.bits ? -1 : 1;
    return x.size < y.size ? -1 : x.size > y.size;
}

static uint32_t value_find(const struct search *s, struct linear_value value)
{
    struct known_value key = { .value = value };
    const struct known_value *found =
        bsearch(&key, s->values, s->value_count, sizeof *s->values, value_compare);

    assert(found);
    return (uint32_t)(found - s->values);
}

static uint32_t value_written(const struct search *s, const struct linear_operation *o)
{
    if (is_pure(o))
        return LINEAR_NONE;
    return o->kind == LINEAR_DELETE ? ABSENT_NUMBER : value_find(s, o->argument);
}

/* The one value at which the operation can happen, by its own word. */
static uint32_t value_seen(const struct search *s, const struct linear_operation *o)
{
    if (is_unknown(o))
        return LINEAR_NONE;
    switch (o->kind) {
    case LINEAR_READ:
    case LINEAR_SWAP: return value_find(s, o->result);
    case LINEAR_WRITE_IF_ABSENT: return is_pure(o) ? LINEAR_NONE : ABSENT_NUMBER;
    case LINEAR_WRITE_IF_PRESENT:
    case LINEAR_DELETE: return is_pure(o) ? ABSENT_NUMBER : LINEAR_NONE;
    default: return LINEAR_NONE;
    }
}

static void value_counts(struct search *s, uint32_t item, uint32_t change)
{
    const struct item *it = &s->items[item];

    if (it->written != LINEAR_NONE)
        s->values[it->written].writers += change;
    if (it->seen != LINEAR_NONE)
        s->values[it->seen].readers += change;
}

static void values_fill(struct search *s)
{
    uint32_t kept = 0;

    s->values[s->value_count++].value = LINEAR_ABSENT;
    for (uint32_t i = 0; i < s->count; i++) {
        s->values[s->value_count++].value = s->items[i].operation->argument;
        s->values[s->value_count++].value = s->items[i].operation->result;
    }
    qsort(s->values, s->value_count, sizeof *s->values, value_compare);
    for (uint32_t i = 1; i < s->value_count; i++)
        if (!value_equal(s->values[i].value, s->values[kept].value))
            s->values[++kept] = s->values[i];
    s->value_count = kept + 1;
    for (uint32_t i = 0; i < s->count; i++) {
        s->items[i].written = value_written(s, s->items[i].operation);
        s->items[i].seen = value_seen(s, s->items[i].operation);
        value_counts(s, i, 1);
    }
    s->value_number = ABSENT_NUMBER;
}

static int twin_compare(const void *a, const void *b)
{
    const struct item *x = *(struct item *const *)a, *y = *(struct item *const *)b;
    const struct linear_operation *p = x->operation, *q = y->operation;

    if (p->kind != q->kind)
        return p->kind < q->kind ? -1 : 1;
    if (p->argument.bits != q->argument.bits)
        return p->argument.bits < q->argument.bits ? -1 : 1;
    if (p->argument.size != q->argument.size)
        return p->argument.size < q->argument.size ? -1 : 1;
    return x < y ? -1 : x > y;
}

static void twins_fill(struct search *s)
{
    struct item **unknown = memory_zeroed(s->count, sizeof(struct item *));
    uint32_t count = 0;

    for (uint32_t i = 0; i < s->count; i++)
        if (is_unknown(s->items[i].operation))
            unknown[count++] = &s->items[i];
    qsort(unknown, count, sizeof(struct item *), twin_compare);
    for (uint32_t i = 1; i < count; i++) {
        const struct linear_operation *o = unknown[i]->operation, *p = unknown[i - 1]->operation;

        if (o->kind == p->kind && value_equal(o->argument, p->argument))
            unknown[i]->twin = (uint32_t)(unknown[i - 1] - s->items);
    }
    free(unknown);
}

static bool is_unknown_deletion(const struct linear_operation *o)
{
    return is_unknown(o) && o->kind == LINEAR_DELETE;
}

static void search_init(struct search *s, const struct linear_operation *operations,
                        const uint32_t *order, uint32_t count, uint32_t states_max)
{
    struct random random = random_seeded(count);

    *s = (struct search){ .count = count, .value = LINEAR_ABSENT };
    s->items = memory_zeroed(count, sizeof *s->items);
    s->nodes = memory_zeroed(NODE_FIRST + 2 * (size_t)count, sizeof *s->nodes);
    s->frames = memory_zeroed(count, sizeof *s->frames);
    for (uint32_t i = 0; i < count; i++) {
        const struct linear_operation *o = &operations[order[i]];

        assert(o->invoked_ns <= o->returned_ns);
        s->items[i] = (struct item){
            .operation = o,
            .place = order[i],
            .written = LINEAR_NONE,
            .seen = LINEAR_NONE,
            .twin = LINEAR_NONE,
        };
        if (!is_unknown_deletion(o))
            s->items[i].print = (struct memory_print){ random_next(&random), random_next(&random) };
        s->completed_left += !is_unknown(o);
    }
    lists_fill(s);
    twins_fill(s);
    s->simple = has_only(s, LINEAR_WRITE);
    s->growing = !s->simple && levels_apply(operations, order, count);
    if (has_only(s, LINEAR_DELETE)) {
        s->values = memory_zeroed(2 * (size_t)count + 1, sizeof *s->values);
        values_fill(s);
    } else if (s->growing) {
        levels_init(&s->levels, operations, order, count);
    }
    memory_init(&s->memory, states_max);
}

static void search_free(struct search *s)
{
    memory_free(&s->memory);
    levels_free(&s->levels);
    free(s->values);
    free(s->frames);
    free(s->nodes);
    free(s->items);
}

/* ------------------------------------------------------------------ placing */

static void place(struct search *s, uint32_t item, bool forced)
{
    struct item *it = &s->items[item];
    bool fits;

    s->frames[s->depth++] = (struct frame){ item, forced, s->blind, s->value_number, s->value };
    fits = model_step(it->operation, s->value, &s->value);
    assert(fits);
    lift(s, item);
    it->placed = true;
    s->print.a ^= it->print.a;
    s->print.b ^= it->print.b;
    s->completed_left -= !is_unknown(it->operation);
    s->deletions += is_unknown_deletion(it->operation);
    s->blind = is_unknown(it->operation);
    if (s->values)
        value_counts(s, item, UINT32_MAX); /* one less */
    if (it->written != LINEAR_NONE)
        s->value_number = it->written;
}

/* Takes back the last one; its frame is valid until the next is placed. */
static const struct frame *take_back(struct search *s)
{
    const struct frame *f = &s->frames[--s->depth];
    struct item *it = &s->items[f->item];

    s->value = f->value;
    s->value_number = f->value_number;
    s->blind = f->blind;
    unlift(s, f->item);
    it->placed = false;
    s->print.a ^= it->print.a;
    s->print.b ^= it->print.b;
    s->completed_left += !is_unknown(it->operation);
    s->deletions -= is_unknown_deletion(it->operation);
    if (s->values)
        value_counts(s, f->item, 1);
    return f;
}

/* ------------------------------------------------------------------ what to place next */

/* The operation would end a value that another one has still to see, and nobody leaves again. */
static bool is_hopeless(const struct search *s, const struct item *it)
{
    const struct known_value *present;

    if (it->written == LINEAR_NONE)
        return false;
    present = &s->values[s->value_number];
    return present->writers == 0 && present->readers > (it->seen == s->value_number);
}

/* A completed operation that can be placed without looking at alternatives, or LINEAR_NONE. */
static uint32_t find_forced(const struct search *s)
{
    uint32_t other = LINEAR_NONE;
    struct linear_value next;

    for (uint32_t node = s->nodes[HEAD_COMPLETED].next; !is_return(node);
         node = s->nodes[node].next) {
        const struct item *it = &s->items[item_of(node)];

        if (!model_step(it->operation, s->value, &next))
            continue;
        if (is_pure(it->operation))
            return item_of(node);
        if (s->growing || (s->simple && s->values[it->written].readers == 0 && !is_hopeless(s, it)))
            other = item_of(node);
    }
    return other;
}

/* Whether it is any use to place one of unknown outcome here. */
static bool unknown_helps(const struct search *s, const struct item *it)
{
    if (it->twin != LINEAR_NONE && !s->items[it->twin].placed)
        return false;
    if (s->simple)
        return it->written != LINEAR_NONE && s->values[it->written].readers > 0;
    return !s->growing || levels_permit(&s->levels, s->value, it->operation);
}

static bool can_place(const struct search *s, uint32_t item)
{
    const struct item *it = &s->items[item];
    struct linear_value next;

    if ((s->blind && it->operation->kind == LINEAR_WRITE) || is_hopeless(s, it))
        return false;
    if (is_unknown(it->operation) && !unknown_helps(s, it))
        return false;
    return model_step(it->operation, s->value, &next);
}

/* Whether the configuration that follows has not been looked into, or only with more deletions. */
static bool is_new(struct search *s, uint32_t item)
{
    const struct item *it = &s->items[item];
    struct memory_print print = { s->print.a ^ it->print.a, s->print.b ^ it->print.b };
    struct linear_value next;
    bool blind = is_unknown(it->operation);
    bool fits = model_step(it->operation, s->value, &next);

    assert(fits);
    if (s->growing && !levels_told(&s->levels, next))
        next.bits = 0;
    return memory_add(&s->memory, memory_mixed(print, next.bits, next.size ^ (uint64_t)blind << 62),
                      s->deletions + is_unknown_deletion(it->operation));
}

/* Unknown operations: the latest first, as most happen soon or never. */
static uint32_t find_unknown(struct search *s, uint32_t after, uint64_t limit_ns)
{
    for (uint32_t node = s->nodes[after].previous; node != HEAD_UNKNOWN;
         node = s->nodes[node].previous)
        if (s->items[item_of(node)].operation->invoked_ns <= limit_ns &&
            can_place(s, item_of(node)) && is_new(s, item_of(node)))
            return item_of(node);
    return LINEAR_NONE;
}

/* The next operation to try after the call `after` (HEAD_COMPLETED: from the beginning); completed
 * ones first, as those must be placed. LINEAR_NONE when all were tried. */
static uint32_t find_next(struct search *s, uint32_t after)
{
    uint32_t limit = first_return(s);
    uint64_t limit_ns = s->items[item_of(limit)].operation->returned_ns;

    if (after != HEAD_COMPLETED && is_unknown(s->items[item_of(after)].operation))
        return find_unknown(s, after, limit_ns);
    for (uint32_t node = s->nodes[after].next; node != limit; node = s->nodes[node].next)
        if (can_place(s, item_of(node)) && is_new(s, item_of(node)))
            return item_of(node);
    return find_unknown(s, HEAD_UNKNOWN, limit_ns);
}

/* ------------------------------------------------------------------ the search */

/* The last one placed that changed the value. */
static uint32_t last_maker(const struct search *s)
{
    for (uint32_t i = s->depth; i-- > 0;)
        if (!is_pure(s->items[s->frames[i].item].operation))
            return s->items[s->frames[i].item].place;
    return LINEAR_NONE;
}

/* Keeps how far the way led that got farthest. */
static void note_stuck(struct search *s, struct search_end *end)
{
    const struct item *blocked = &s->items[item_of(first_return(s))];

    if (end->blocked != LINEAR_NONE && blocked->operation->returned_ns <= s->blocked_ns)
        return;
    s->blocked_ns = blocked->operation->returned_ns;
    end->blocked = blocked->place;
}

/* Goes back to the last choice that had alternatives; the node after which they are looked for, or
 * LINEAR_NONE. */
static uint32_t go_back(struct search *s)
{
    while (s->depth) {
        const struct frame *f = take_back(s);

        if (!f->forced)
            return call_of(f->item);
    }
    return LINEAR_NONE;
}

static enum linear_verdict search_run(struct search *s, struct search_end *end)
{
    uint32_t after = HEAD_COMPLETED;

    while (s->completed_left) {
        uint32_t item = after == HEAD_COMPLETED ? find_forced(s) : LINEAR_NONE;
        bool forced = item != LINEAR_NONE;

        if (!forced)
            item = find_next(s, after);
        if (memory_is_full(&s->memory))
            return LINEAR_UNDECIDED;
        if (item != LINEAR_NONE) {
            place(s, item, forced);
            after = HEAD_COMPLETED;
        } else {
            note_stuck(s, end);
            after = go_back(s);
            if (after == LINEAR_NONE)
                return LINEAR_NO;
        }
    }
    return LINEAR_YES;
}

struct search_end search_order(const struct linear_operation *operations, const uint32_t *order,
                               uint32_t count, uint32_t states_max)
{
    struct search search;
    struct search_end end = { .blocked = LINEAR_NONE, .maker = LINEAR_NONE };

    assert(count >= 1 && count <= LINEAR_COUNT_MAX);
    search_init(&search, operations, order, count, states_max);
    end.verdict = search_run(&search, &end);
    end.states = search.memory.count;
    if (end.verdict == LINEAR_YES) {
        end.value = search.value;
        end.maker = last_maker(&search);
    }
    search_free(&search);
    return end;
}
