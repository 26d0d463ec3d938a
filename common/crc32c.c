#include "common/crc32c.h"

#include <string.h>

#define POLYNOMIAL 0x82f63b78u /* 0x1edc6f41 with its bits reversed */

static uint32_t table_entry(uint32_t i)
{
    for (int bit = 0; bit < 8; bit++)
        i = i & 1u ? i >> 1 ^ POLYNOMIAL : i >> 1;
    return i;
}

uint32_t crc32c_table(uint32_t crc, const void *data, size_t size)
{
    static uint32_t table[256];
    const uint8_t *at = data;

    /* The last entry is filled last and never zero. */
    if (table[255] == 0)
        for (uint32_t i = 0; i < 256; i++)
            table[i] = table_entry(i);
    crc = ~crc;
    while (size--)
        crc = table[(crc ^ *at++) & 0xffu] ^ crc >> 8;
    return ~crc;
}

#ifdef __x86_64__

__attribute__((target("sse4.2"))) static uint32_t crc32c_instruction(uint32_t crc,
                                                                     const void *data, size_t size)
{
    const uint8_t *at = data;
    uint64_t sum = ~crc;

    for (; size >= 8; size -= 8, at += 8) {
        uint64_t word;

        memcpy(&word, at, sizeof word);
        sum = __builtin_ia32_crc32di(sum, word);
    }
    for (; size; size--)
        sum = __builtin_ia32_crc32qi((uint32_t)sum, *at++);
    return ~(uint32_t)sum;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
    return __builtin_cpu_supports("sse4.2") ? crc32c_instruction(crc, data, size)
                                            : crc32c_table(crc, data, size);
}

#else

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
    return crc32c_table(crc, data, size);
}

#endif
