/* linearizability - decides whether a history of operations on registers is linearizable: whether
 * each operation can have happened at one moment between its invocation and its return, so that all
 * of them, one after another, give the results that were seen.
 *
 * Keys are independent registers, and a history is linearizable exactly if that of each key is (the
 * locality of Herlihy and Wing), so each is checked by itself.
 *
 * Sources: Wing and Gong, "Testing and Verifying Concurrent Objects", 1993 (the search: take any
 * operation that nothing unplaced precedes, go back when stuck); Lowe, "Testing for
 * Linearizability", 2017 (the memory of configurations: a set of placed operations with a state is
 * looked into once; an operation is placed when it is needed, not before).
 *
 * Departures:
 * - An operation whose outcome is unknown may be placed at any time after its invocation, or never.
 * - Of a configuration only a fingerprint of 128 bits is kept, so that memory does not grow with
 *   the size of the set. Two that collide (chance below 2^-80 in 2^24) could hide a solution,
 *   never invent one.
 * - Where one choice is as good as any other it is taken without trying the others; search.c says
 *   for each why. They make the usual histories linear: 100,000 operations take a fraction of a
 *   second. The problem itself is NP-complete; what needs more configurations than allowed comes
 * out as undecided.
 * - Times that are equal count as overlapping. */
#ifndef HOLDFAST_LINEARIZABILITY_H
#define HOLDFAST_LINEARIZABILITY_H

#include <stdint.h>
#include <stdio.h>

#include "common/bytes.h"

#define LINEAR_UNKNOWN    UINT64_MAX /* returned_ns: nobody knows whether it happened */
#define LINEAR_NONE       UINT32_MAX /* no operation */
#define LINEAR_COUNT_MAX  (1u << 24) /* operations in a history: about 4.5 GiB of memory */
#define LINEAR_STATES_MAX (1u << 22) /* default of states_max: 192 MiB */

/* A value of a register: absent, a text (fingerprint and size) or a number. Equal values are equal
 * in both fields. A key must be used with texts only or with numbers only. */
struct linear_value {
    uint64_t bits;
    uint64_t size; /* of a text, in bytes */
};

#define LINEAR_NUMBER UINT64_MAX /* size of a number */
#define LINEAR_ABSENT ((struct linear_value){ 0, 0 })

/* The fingerprint of a text appended to another follows from both of theirs. */
struct linear_value linear_text(struct bytes text);
struct linear_value linear_number(int64_t number);

enum linear_kind {                          /*                   argument   result */
                   LINEAR_READ,             /* GET                          value */
                   LINEAR_WRITE,            /* SET               value      none  */
                   LINEAR_WRITE_IF_ABSENT,  /* SETNX, SET NX     value      number: 1 done, 0 not */
                   LINEAR_WRITE_IF_PRESENT, /* SET XX            value      number: 1 done, 0 not */
                   LINEAR_SWAP,             /* GETSET, SET GET   value      value before */
                   LINEAR_DELETE,           /* DEL                          number: 1 done, 0 not */
                   LINEAR_APPEND,           /* APPEND            text       number: size with it */
                   LINEAR_ADD,              /* INCRBY            number     number: sum */
};

/* Operations that were answered with an error, or that are known not to have happened, are left out
 * by the caller. So may be the text of a read; with it the checker knows each beginning of what was
 * read, and appends of unknown outcome are told apart by where they stand in it. */
struct linear_operation {
    uint32_t client; /* not looked at: clients may have several under way */
    uint32_t key;
    enum linear_kind kind;
    struct linear_value argument;
    struct linear_value result; /* not looked at when the outcome is unknown */
    struct bytes text;          /* of a read: the text that is its result, the caller's; or none */
    uint64_t invoked_ns;
    uint64_t returned_ns; /* at least invoked_ns, or LINEAR_UNKNOWN */
};

enum linear_verdict {
    LINEAR_YES,
    LINEAR_NO,
    LINEAR_UNDECIDED, /* states_max configurations were not enough */
};

struct linear_result {
    enum linear_verdict verdict;
    uint64_t states; /* configurations looked into, all keys together */
    /* Of the first key whose history is not linearizable (or undecided): */
    uint32_t key;
    /* Up to the return of this operation no order fits; up to the return before it one does. By its
     * place in the history; LINEAR_NONE if undecided. */
    uint32_t operation;
    /* In one order of all that returned before, the value is then this one, and that operation
     * made it (LINEAR_NONE: nobody has). */
    struct linear_value value;
    uint32_t maker;
};

/* Checks a history: at most LINEAR_COUNT_MAX operations, in any order, of keys that begin absent.
 * states_max bounds the configurations looked into for a key (48 bytes each). Takes memory for each
 * operation of a key besides, about 200 bytes, and gives it back. */
enum linear_verdict linear_check(const struct linear_operation *operations, uint32_t count,
                                 uint32_t states_max, struct linear_result *result);

/* Writes the explanation of a LINEAR_NO: the operation that nothing fits, the value in its way, who
 * made that and who made what it saw, and what overlaps it. text(context, operation) gives a
 * line for one; it is valid until the next call. */
void linear_explain(FILE *out, const struct linear_operation *operations, uint32_t count,
                    const struct linear_result *result,
                    const char *(*text)(void *context, uint32_t operation), void *context);

#endif
