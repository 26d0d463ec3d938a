#include "tests/linearizability/levels.h"

#include <stdlib.h>

#include "common/buffer.h"

static bool only_grows(const struct linear_operation *operations, const uint32_t *order,
                       uint32_t count, enum linear_kind kind)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct linear_operation *o = &operations[order[i]];

        if (o->kind != LINEAR_READ && (o->kind != kind || model_level(o->argument) <= 0))
            return false;
    }
    return true;
}

bool levels_apply(const struct linear_operation *operations, const uint32_t *order, uint32_t count)
{
    return only_grows(operations, order, count, LINEAR_APPEND) ||
           only_grows(operations, order, count, LINEAR_ADD);
}

static int64_t start_of(const struct linear_operation *o)
{
    return (int64_t)((uint64_t)model_level(o->result) - (uint64_t)model_level(o->argument));
}

static int start_compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

/* The highest first; at one level reads first, as they know the value. */
static int end_compare(const void *a, const void *b)
{
    const struct linear_operation *x = *(const struct linear_operation *const *)a;
    const struct linear_operation *y = *(const struct linear_operation *const *)b;
    int64_t p = model_level(x->result), q = model_level(y->result);

    if (p != q)
        return p < q ? 1 : -1;
    return (x->kind != LINEAR_READ) - (y->kind != LINEAR_READ);
}

static int known_compare(const void *a, const void *b)
{
    return start_compare(&((const struct level_value *)a)->level,
                         &((const struct level_value *)b)->level);
}

static const struct level_value *known_find(const struct levels *l, int64_t level)
{
    struct level_value key = { .level = level };

    return bsearch(&key, l->known, l->known_count, sizeof *l->known, known_compare);
}

/* From the highest level down: a read knows the value, and what was appended to a known value is
 * taken off it. At level 0 there is nothing to know. */
static void known_fill(struct levels *l, const struct linear_operation **ends, uint32_t count)
{
    struct level_value below = { .level = -1 }; /* the last one that was found */

    for (uint32_t i = 0; i < count; i++) {
        const struct linear_operation *o = ends[i];

        if (o->kind == LINEAR_READ)
            below = (struct level_value){ model_level(o->result), o->result };
        else if (o->kind == LINEAR_APPEND && below.level == model_level(o->result))
            below = (struct level_value){ start_of(o), model_without(below.value, o->argument) };
        else
            continue;
        if (below.level > 0)
            l->known[l->known_count++] = below;
    }
    /* Of equal ones bsearch() may find any: they agree, or there is no order. */
    qsort(l->known, l->known_count, sizeof *l->known, known_compare);
}

static void read_keep(struct levels *l, const struct linear_operation *o)
{
    if (model_level(o->result) > l->read_max)
        l->read_max = model_level(o->result);
    if (o->text.size > l->text.size)
        l->text = o->text;
}

void levels_init(struct levels *l, const struct linear_operation *operations, const uint32_t *order,
                 uint32_t count)
{
    const struct linear_operation **ends =
        memory_zeroed(count, sizeof(const struct linear_operation *));
    uint32_t end_count = 0;

    *l = (struct levels){ .read_max = -1 };
    l->starts = memory_zeroed(count, sizeof *l->starts);
    l->known = memory_zeroed(count, sizeof *l->known);
    for (uint32_t i = 0; i < count; i++) {
        const struct linear_operation *o = &operations[order[i]];

        if (is_unknown(o))
            continue;
        ends[end_count++] = o;
        if (model_level(o->result) > l->max)
            l->max = model_level(o->result);
        if (o->kind == LINEAR_READ)
            read_keep(l, o);
        else
            l->starts[l->start_count++] = start_of(o);
    }
    qsort(l->starts, l->start_count, sizeof *l->starts, start_compare);
    qsort(ends, end_count, sizeof(const struct linear_operation *), end_compare);
    known_fill(l, ends, end_count);
    free(ends);
}

void levels_free(struct levels *l)
{
    free(l->starts);
    free(l->known);
}

/* Whether a completed operation begins at a level from `level` to below `end`. */
static bool starts_within(const struct levels *l, int64_t level, int64_t end)
{
    uint32_t low = 0, high = l->start_count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (l->starts[middle] < level)
            low = middle + 1;
        else
            high = middle;
    }
    return low < l->start_count && l->starts[low] < end;
}

/* Whether a text can have been appended at that level: where a read saw it stand. (One that reaches
 * beyond the end of what was read would leave out the level that the read needs.) */
static bool stands_at(const struct levels *l, int64_t level, struct linear_value piece)
{
    size_t from = (size_t)level;

    if (from >= l->text.size)
        return true;
    return piece.size <= l->text.size - from &&
           value_equal(piece, linear_text(bytes_of(l->text.data + from, (size_t)piece.size)));
}

bool levels_permit(const struct levels *l, struct linear_value value,
                   const struct linear_operation *o)
{
    int64_t level = model_level(value), end;
    const struct level_value *known;
    struct linear_value next;

    if (__builtin_add_overflow(level, model_level(o->argument), &end) || end > l->max ||
        starts_within(l, level, end) || !stands_at(l, level, o->argument))
        return false;
    known = known_find(l, end);
    return !known || (model_step(o, value, &next) && value_equal(known->value, next));
}

bool levels_told(const struct levels *l, struct linear_value value)
{
    return value.size == LINEAR_NUMBER || model_level(value) <= l->read_max;
}
