/* kv_hash - the hashes of the kv service.
 *
 * Keys: SipHash-1-3 with a key that is part of the state, so that nobody can choose keys that fall
 * into one bucket without knowing it, and all servers agree on where a key stands.
 * Digests: multiply and fold, as fast as memory; they find accidents, not forgeries.
 *
 * Sources: Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012 (1 and 3 rounds as in
 * the standard libraries of Rust and Python); Wang Yi, "wyhash", for the folding. */
#ifndef HOLDFAST_SERVER_SERVICES_KV_HASH_H
#define HOLDFAST_SERVER_SERVICES_KV_HASH_H

#include "common/bytes.h"

#define KV_BLOCK_BYTES 1024u /* a value's digest is the sum of those of its blocks of this size */

struct kv_seed {
    uint64_t low, high; /* both 0: not chosen yet */
};

uint64_t kv_hash_key(struct kv_seed seed, struct bytes key);

/* The sum of the digests of the blocks that [from, to) of the value touches. What is changed inside
 * the range changes the value's whole digest by the difference of this sum. */
uint64_t kv_hash_blocks(struct bytes value, size_t from, size_t to);

__extension__ typedef unsigned __int128 kv_u128;

/* Every bit of either number decides about half of the bits of the result. */
static inline uint64_t kv_mix(uint64_t a, uint64_t b)
{
    kv_u128 product = (kv_u128)(a ^ 0xa0761d6478bd642fu) * (b ^ 0xe7037ed1a0b428dbu);

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

#endif
