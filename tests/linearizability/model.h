/* model - a register: what an operation does to its value, and what it then returns. */
#ifndef HOLDFAST_LINEARIZABILITY_MODEL_H
#define HOLDFAST_LINEARIZABILITY_MODEL_H

#include <stdbool.h>

#include "tests/linearizability/linearizability.h"

static inline bool value_equal(struct linear_value a, struct linear_value b)
{
    return a.bits == b.bits && a.size == b.size;
}

static inline bool is_absent(struct linear_value v)
{
    return v.bits == 0 && v.size == 0;
}

static inline bool is_unknown(const struct linear_operation *o)
{
    return o->returned_ns == LINEAR_UNKNOWN;
}

/* It returned, and changed nothing, by its own word. */
static inline bool is_pure(const struct linear_operation *o)
{
    switch (o->kind) {
    case LINEAR_READ: return true;
    case LINEAR_WRITE_IF_ABSENT:
    case LINEAR_WRITE_IF_PRESENT:
    case LINEAR_DELETE: return !is_unknown(o) && o->result.bits == 0;
    default: return false;
    }
}

/* Whether the operation can happen at that value with its result; *next is the value after it. One
 * of unknown outcome can happen only where it has an effect: elsewhere it is as if it never did. */
bool model_step(const struct linear_operation *o, struct linear_value value,
                struct linear_value *next);

/* What a text was before the other, its end, was appended. Only for what was not absent
 * before. */
struct linear_value model_without(struct linear_value whole, struct linear_value end);

/* Size of a text, or a number; 0 when absent. */
int64_t model_level(struct linear_value value);

#endif
