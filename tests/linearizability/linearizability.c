#include "tests/linearizability/linearizability.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

#include "common/buffer.h"
#include "tests/linearizability/model.h"
#include "tests/linearizability/search.h"

#define OVERLAPS_MAX 20u /* operations shown */

struct place {
    uint64_t ns;
    uint32_t key;
    uint32_t place; /* in the history */
};

static int place_compare(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    if (x->ns != y->ns)
        return x->ns < y->ns ? -1 : 1;
    return x->place < y->place ? -1 : x->place > y->place;
}

/* The operations of one key, and its history as it was at an earlier moment. */
struct beginning {
    const struct linear_operation *operations;
    const uint32_t *order; /* by invocation */
    uint32_t count;
    uint32_t states_max;
    uint64_t *returns; /* times, sorted, those that are unknown at the end */
    uint32_t return_count;
    struct linear_operation *then;
    uint32_t *places; /* 0, 1, 2, … */
};

static int time_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void beginning_init(struct beginning *b)
{
    b->returns = memory_zeroed(b->count, sizeof *b->returns);
    b->then = memory_zeroed(b->count, sizeof *b->then);
    b->places = memory_zeroed(b->count, sizeof *b->places);
    for (uint32_t i = 0; i < b->count; i++) {
        b->places[i] = i;
        b->returns[i] = b->operations[b->order[i]].returned_ns;
        b->return_count += !is_unknown(&b->operations[b->order[i]]);
    }
    qsort(b->returns, b->count, sizeof *b->returns, time_compare);
}

static void beginning_free(struct beginning *b)
{
    free(b->returns);
    free(b->then);
    free(b->places);
}

/* The history up to that moment: what returns later is unknown, what is invoked later is not there.
 */
static struct search_end beginning_search(struct beginning *b, uint64_t until_ns)
{
    struct search_end end;
    uint32_t count = 0;

    while (count < b->count && b->operations[b->order[count]].invoked_ns <= until_ns) {
        b->then[count] = b->operations[b->order[count]];
        if (b->then[count].returned_ns > until_ns)
            b->then[count].returned_ns = LINEAR_UNKNOWN;
        count++;
    }
    end = search_order(b->then, b->places, count, b->states_max);
    if (end.maker != LINEAR_NONE)
        end.maker = b->order[end.maker];
    return end;
}

static uint32_t returns_before(const struct beginning *b, uint64_t ns)
{
    uint32_t count = 0;

    while (count < b->return_count && b->returns[count] < ns)
        count++;
    return count;
}

/* The first return up to which there is no order, as a number of returns. Up to the operation named
 * by the search there is one; and each beginning of a history that has an order has one. So steps
 * double until there is none, and then halve. */
static uint32_t find_blocked(struct beginning *b, uint32_t reached, uint64_t *states)
{
    uint32_t low = returns_before(b, b->operations[reached].returned_ns);
    uint32_t high = b->return_count, step = 1;
    bool found = false;

    while (high - low > 1) {
        uint32_t middle = found || high - low <= step ? low + (high - low) / 2 : low + step;
        struct search_end end = beginning_search(b, b->returns[middle - 1]);

        *states += end.states;
        step *= 2;
        found |= end.verdict == LINEAR_NO;
        *(end.verdict == LINEAR_NO ? &high : &low) = middle;
    }
    return high;
}

/* Says what nothing fits, and how it is before. */
static void explain_no(struct beginning *b, uint32_t reached, struct linear_result *result)
{
    struct search_end end = { .maker = LINEAR_NONE };
    uint32_t high;

    beginning_init(b);
    high = find_blocked(b, reached, &result->states);
    for (uint32_t i = 0; i < b->count; i++)
        if (b->operations[b->order[i]].returned_ns == b->returns[high - 1])
            result->operation = b->order[i];
    if (high > 1)
        end = beginning_search(b, b->returns[high - 2]);
    result->states += end.states;
    result->value = end.value;
    result->maker = end.maker;
    beginning_free(b);
}

static void check_key(const struct linear_operation *operations, const uint32_t *order,
                      uint32_t count, uint32_t states_max, struct linear_result *result)
{
    struct search_end end = search_order(operations, order, count, states_max);
    struct beginning b = { operations, order, count, states_max, NULL, 0, NULL, NULL };

    result->states += end.states;
    if (end.verdict == LINEAR_YES ||
        (end.verdict == LINEAR_UNDECIDED && result->verdict == LINEAR_UNDECIDED))
        return;
    result->verdict = end.verdict;
    result->key = operations[order[0]].key;
    if (end.verdict == LINEAR_UNDECIDED)
        return;
    explain_no(&b, end.blocked, result);
}

enum linear_verdict linear_check(const struct linear_operation *operations, uint32_t count,
                                 uint32_t states_max, struct linear_result *result)
{
    struct place *places = memory_zeroed((size_t)count + 1, sizeof *places);
    uint32_t *order = memory_zeroed((size_t)count + 1, sizeof *order);

    assert(count <= LINEAR_COUNT_MAX && states_max >= 1);
    *result = (struct linear_result){ .operation = LINEAR_NONE, .maker = LINEAR_NONE };
    for (uint32_t i = 0; i < count; i++)
        places[i] = (struct place){ operations[i].invoked_ns, operations[i].key, i };
    qsort(places, count, sizeof *places, place_compare);
    for (uint32_t i = 0; i < count; i++)
        order[i] = places[i].place;
    for (uint32_t i = 0, end; i < count && result->verdict != LINEAR_NO; i = end) {
        for (end = i + 1; end < count && places[end].key == places[i].key;)
            end++;
        check_key(operations, order + i, end - i, states_max, result);
    }
    free(order);
    free(places);
    return result->verdict;
}

/* ------------------------------------------------------------------ the explanation */

static bool overlaps(const struct linear_operation *a, const struct linear_operation *b)
{
    return a->key == b->key && a->invoked_ns <= b->returned_ns && b->invoked_ns <= a->returned_ns;
}

/* Prints what overlaps an operation: those that returned, or those whose outcome is unknown. */
static void explain_overlaps(FILE *out, const struct linear_operation *operations, uint32_t count,
                             uint32_t blocked, bool unknown,
                             const char *(*text)(void *context, uint32_t operation), void *context)
{
    uint32_t others = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (i == blocked || is_unknown(&operations[i]) != unknown ||
            !overlaps(&operations[i], &operations[blocked]) || ++others > OVERLAPS_MAX)
            continue;
        if (others == 1)
            fprintf(out, "%s:\n",
                    unknown ? "these may have happened by then, or not" : "it overlaps");
        fprintf(out, "    %s\n", text(context, i));
    }
    if (others > OVERLAPS_MAX)
        fprintf(out, "    and %u more\n", others - OVERLAPS_MAX);
}

/* It left the value that the other one saw. */
static bool made_what_was_seen(const struct linear_operation *o,
                               const struct linear_operation *seen)
{
    if (o->key != seen->key || is_pure(o) || is_absent(seen->result))
        return false;
    if (seen->kind != LINEAR_READ && seen->kind != LINEAR_SWAP)
        return false;
    if (o->kind == LINEAR_ADD)
        return !is_unknown(o) && value_equal(o->result, seen->result);
    return o->kind != LINEAR_DELETE && value_equal(o->argument, seen->result);
}

void linear_explain(FILE *out, const struct linear_operation *operations, uint32_t count,
                    const struct linear_result *result,
                    const char *(*text)(void *context, uint32_t operation), void *context)
{
    const struct linear_operation *blocked;

    assert(result->verdict == LINEAR_NO && result->operation < count);
    blocked = &operations[result->operation];
    fprintf(out, "up to the return of this operation no order fits:\n    %s\n",
            text(context, result->operation));
    for (uint32_t i = 0; i < count; i++)
        if (i != result->operation && made_what_was_seen(&operations[i], blocked))
            fprintf(out, "what it saw was made by:\n    %s\n", text(context, i));
    if (result->maker == LINEAR_NONE)
        fprintf(out, "without it there is an order, in which nothing was written before\n");
    else
        fprintf(out, "without it there is an order, in which the last change is:\n    %s\n",
                text(context, result->maker));
    explain_overlaps(out, operations, count, result->operation, false, text, context);
    explain_overlaps(out, operations, count, result->operation, true, text, context);
}
