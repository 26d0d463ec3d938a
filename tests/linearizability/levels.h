/* levels - what the results of a key that only grows tell about it: at which level (size of the
 * text, or number) each operation begins, and what the value is at many of the levels.
 *
 * No level comes twice. So what two results say of one level must agree, or there is no order; and
 * what a read saw had at each lower level the value that is its beginning of that size. */
#ifndef HOLDFAST_LINEARIZABILITY_LEVELS_H
#define HOLDFAST_LINEARIZABILITY_LEVELS_H

#include "tests/linearizability/model.h"

struct level_value {
    int64_t level;
    struct linear_value value;
};

struct levels {
    int64_t *starts; /* where completed operations begin, sorted */
    uint32_t start_count;
    struct level_value *known; /* values that are known, by level */
    uint32_t known_count;
    struct bytes text; /* the longest that a read saw, if its bytes are known */
    int64_t max;       /* the highest that a completed operation saw */
    int64_t read_max;  /* that a completed read saw; -1: there is none */
};

/* Whether a key's operations only read and append, or only read and add, and never nothing. */
bool levels_apply(const struct linear_operation *operations, const uint32_t *order, uint32_t count);

void levels_init(struct levels *l, const struct linear_operation *operations, const uint32_t *order,
                 uint32_t count);
void levels_free(struct levels *l);

/* Whether an operation of unknown outcome can have happened at that value. */
bool levels_permit(const struct levels *l, struct linear_value value,
                   const struct linear_operation *o);

/* Whether anything but its level is of account of a value: a read may still tell it. */
bool levels_told(const struct levels *l, struct linear_value value);

#endif
