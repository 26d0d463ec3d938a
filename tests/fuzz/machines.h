/* machines - two states that must be one: what targets that execute commands share. */
#ifndef HOLDFAST_TESTS_FUZZ_MACHINES_H
#define HOLDFAST_TESTS_FUZZ_MACHINES_H

#include "server/machine.h"

/* Gives machine a checkpoint that is open, from its next slice to its end, to another, and asserts
 * that this comes to index, time and digest. */
void machines_transfer(struct machine *from, struct machine *to, uint64_t index, uint64_t time_us,
                       uint64_t digest);

/* A machine made of a full checkpoint of this one, which has none open. Asserts that they are
 * equal. */
struct machine *machine_copy(struct machine *machine);

/* Executes the entry in both, asserts that they say the same one reply (none for kinds that have
 * none) and have the same digest. */
void machines_execute(struct machine *a, struct machine *b, const struct machine_entry *entry);

#endif
