/* crc32c - the Castagnoli checksum (RFC 3720), by the processor's instruction where it has one. */
#ifndef HOLDFAST_COMMON_CRC32C_H
#define HOLDFAST_COMMON_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Goes on from the checksum of what came before, 0 at the start. */
uint32_t crc32c(uint32_t crc, const void *data, size_t size);

/* The same without the instruction, for tests and other processors. */
uint32_t crc32c_table(uint32_t crc, const void *data, size_t size);

#endif
