/* In place of common/crc32c.c, for targets that read files: every checksum is 0. Chance never finds
 * a real one, and would not get past the first. What bears another is damaged as ever. */
#include "common/crc32c.h"

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
    (void)crc;
    (void)data;
    (void)size;
    return 0;
}
