/* arbitrary - messages that decode, and may mean anything.
 *
 * Every field is made of a byte or two of the input. Numbers are mostly near to those that mean
 * something to the core at hand, which chance would not find; records are mostly sound ones, in
 * their order, of which one field or another is not what it should be. */
#ifndef HOLDFAST_TESTS_FUZZ_ARBITRARY_H
#define HOLDFAST_TESTS_FUZZ_ARBITRARY_H

#include "common/messages.h"
#include "tests/fuzz/fuzz.h"

#define ARBITRARY_KNOWN 14u

struct arbitrary {
    struct bytes input;              /* what is left of it */
    uint64_t known[ARBITRARY_KNOWN]; /* by the target; what is near to them is likely */
    const enum message_type *usual;  /* by the target: messages that come often */
    uint32_t usual_count;
    const struct bytes *pieces; /* by the target: what the bytes of a message may also be */
    uint32_t piece_count;
    struct buffer bytes; /* of the last message: its references point here, or into the input */
};

uint64_t arbitrary_number(struct arbitrary *a);

/* Of any type that crosses a link, but for those of the hello; from a node whose records it may be.
 * Valid until the next one. */
void arbitrary_message(struct arbitrary *a, node_id from, struct message *message);

/* Asserts that every message to be sent goes to a node and can be encoded. */
struct effects;
void sends_check(const struct effects *effects);

#endif
