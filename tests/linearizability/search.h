/* search - the history of one register: is there an order that fits? */
#ifndef HOLDFAST_LINEARIZABILITY_SEARCH_H
#define HOLDFAST_LINEARIZABILITY_SEARCH_H

#include "tests/linearizability/linearizability.h"

struct search_end {
    enum linear_verdict verdict;
    uint32_t states; /* configurations looked into */
    /* LINEAR_NO: the operation whose return could not be passed, by its place in the history, on
     * the way that got farthest. Up to the returns before it there is an order. (But it may not be
     * the first up to whose return there is none, as the search looks ahead.) */
    uint32_t blocked;
    /* LINEAR_YES: in the order that was found, the last value, and the operation that made it. */
    struct linear_value value;
    uint32_t maker; /* by its place in the history; LINEAR_NONE: nobody has */
};

/* Searches for an order of the operations of one key: order[0 … count-1] are their places in the
 * history, by their invocations. */
struct search_end search_order(const struct linear_operation *operations, const uint32_t *order,
                               uint32_t count, uint32_t states_max);

#endif
