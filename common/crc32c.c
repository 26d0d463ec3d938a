#include "common/crc32c.h"

#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

/* The checksum of a byte is the exclusive or of those of its bits, so the table is written down by
 * the eight of them. */
#define BIT(i, bit, sum) ((i) & (bit) ? (sum) : 0u)
#define BYTE(i)                                                                      \
    (BIT(i, 1u, 0xf26b8303u) ^ BIT(i, 2u, 0xe13b70f7u) ^ BIT(i, 4u, 0xc79a971fu) ^   \
     BIT(i, 8u, 0x8ad958cfu) ^ BIT(i, 16u, 0x105ec76fu) ^ BIT(i, 32u, 0x20bd8edeu) ^ \
     BIT(i, 64u, 0x417b1dbcu) ^ BIT(i, 128u, 0x82f63b78u))
#define BYTES_4(i)  BYTE(i), BYTE((i) + 1u), BYTE((i) + 2u), BYTE((i) + 3u)
#define BYTES_16(i) BYTES_4(i), BYTES_4((i) + 4u), BYTES_4((i) + 8u), BYTES_4((i) + 12u)
#define BYTES_64(i) BYTES_16(i), BYTES_16((i) + 16u), BYTES_16((i) + 32u), BYTES_16((i) + 48u)

static const uint32_t sums[256] = { BYTES_64(0u), BYTES_64(64u), BYTES_64(128u), BYTES_64(192u) };

uint32_t crc32c_table(uint32_t crc, const void *data, size_t size)
{
    const uint8_t *at = data;

    crc = ~crc;
    for (; size > 0; size--)
        crc = crc >> 8 ^ sums[(crc ^ *at++) & 0xffu];
    return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc32c_instruction(uint32_t crc, const void *data,
                                                                     size_t size)
{
    const uint8_t *at = data;
    uint64_t sum = ~crc;

    for (; size >= sizeof sum; size -= sizeof sum, at += sizeof sum) {
        uint64_t word;

        memcpy(&word, at, sizeof word);
        sum = _mm_crc32_u64(sum, word);
    }
    for (; size > 0; size--)
        sum = _mm_crc32_u8((uint32_t)sum, *at++);
    return ~(uint32_t)sum;
}
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return crc32c_instruction(crc, data, size);
#endif
    return crc32c_table(crc, data, size);
}
