/* seeds - what the makers of seeds share. All of them write to the corpus, or with -n look whether
 * it is what they would write. */
#ifndef HOLDFAST_TESTS_FUZZ_SEEDS_H
#define HOLDFAST_TESTS_FUZZ_SEEDS_H

#include "common/buffer.h"
#include "common/bytes.h"

/* The seeds of states, checkpoints, journals and the rm's store; of servers among themselves; and
 * of what managers, ports and machines are told. */
void seeds_of_states(void);
void seeds_of_servers(void);
void seeds_of_messages(void);

void seed_write(const char *target, const char *name, const struct buffer *seed);

/* Appends what is in a file of the scratch folder. */
void seed_scratch(const char *name, struct buffer *out);

void put_u16(struct buffer *out, size_t value);
void put_piece(struct buffer *out, struct bytes piece); /* its size, as 16 bits, before it */
void put_step(struct buffer *seed, uint8_t what, uint8_t how);

/* A request of words that single spaces part. */
void pack_words(struct buffer *request, const char *words);

#endif
