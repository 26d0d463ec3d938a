#include "server/services/kv_hash.h"

static uint64_t load64(const uint8_t *from)
{
    uint64_t word;

    memcpy(&word, from, sizeof word);
    return word;
}

/* Up to eight bytes, the missing ones zero. */
static uint64_t load_tail(const uint8_t *from, size_t size)
{
    uint64_t word = 0;

    if (size > 0)
        memcpy(&word, from, size < sizeof word ? size : sizeof word);
    return word;
}

static uint64_t rotate(uint64_t word, unsigned bits)
{
    return word << bits | word >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

uint64_t kv_hash_key(struct kv_seed seed, struct bytes key)
{
    uint64_t v[4] = { seed.low ^ 0x736f6d6570736575u, seed.high ^ 0x646f72616e646f6du,
                      seed.low ^ 0x6c7967656e657261u, seed.high ^ 0x7465646279746573u };
    const uint8_t *at = key.data;
    size_t left = key.size;
    uint64_t last;

    for (; left >= 8; left -= 8, at += 8) {
        uint64_t word = load64(at);

        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    last = load_tail(at, left) | (uint64_t)key.size << 56;
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* Two lanes, so that the multiplications of one hide the latency of the other's. */
static uint64_t hash_block(const uint8_t *at, size_t size, uint64_t number)
{
    uint64_t a = kv_mix(number, size), b = ~a;

    for (; size >= 32; size -= 32, at += 32) {
        a = kv_mix(load64(at) ^ a, load64(at + 8));
        b = kv_mix(load64(at + 16) ^ b, load64(at + 24));
    }
    if (size >= 16) {
        a = kv_mix(load64(at) ^ a, load64(at + 8));
        size -= 16;
        at += 16;
    }
    b = kv_mix(load_tail(at, size) ^ b, size > 8 ? load_tail(at + 8, size - 8) : 0);
    return kv_mix(a, b);
}

uint64_t kv_hash_blocks(struct bytes value, size_t from, size_t to)
{
    uint64_t sum = 0;
    size_t at = from - from % KV_BLOCK_BYTES;

    if (to > value.size)
        to = value.size;
    for (; at < to; at += KV_BLOCK_BYTES) {
        size_t left = value.size - at;

        sum += hash_block(value.data + at, left < KV_BLOCK_BYTES ? left : KV_BLOCK_BYTES,
                          at / KV_BLOCK_BYTES);
    }
    return sum;
}
