#include "server/segment_format.h"

#include "common/crc32c.h"

#define FRAME_MAGIC 0x4d524648u /* "HFRM" */

static const uint8_t segment_magic[8] = { 'H', 'F', 'J', 'O', 'U', 'R', 'N', 'L' };

static uint32_t header_crc(const struct segment_header *header)
{
    const size_t uncovered = offsetof(struct segment_header, version);

    return crc32c(0, (const uint8_t *)header + uncovered, sizeof *header - uncovered);
}

void segment_header_seal(struct segment_header *header)
{
    memcpy(header->magic, segment_magic, sizeof header->magic);
    header->version = SEGMENT_VERSION;
    header->crc = header_crc(header);
}

bool segment_header_sound(const struct segment_header *header)
{
    return memcmp(header->magic, segment_magic, sizeof header->magic) == 0 &&
           header->crc == header_crc(header) && header->cluster[NAME_SIZE - 1] == '\0';
}

static uint32_t frame_crc(const struct segment_frame *frame, uint64_t offset)
{
    const size_t uncovered = offsetof(struct segment_frame, salt);

    return crc32c(crc32c(0, &offset, sizeof offset), (const uint8_t *)frame + uncovered,
                  sizeof *frame - uncovered);
}

void segment_frame_seal(struct segment_frame *frame, uint64_t offset)
{
    frame->magic = FRAME_MAGIC;
    frame->crc = frame_crc(frame, offset);
}

static bool sealed(const struct segment_frame *frame, uint64_t offset)
{
    return frame->magic == FRAME_MAGIC && frame->crc == frame_crc(frame, offset);
}

bool segment_frame_sound(const struct segment_frame *frame, uint64_t salt, uint64_t offset)
{
    return frame->salt == salt && sealed(frame, offset);
}

bool segment_frame_trace(const struct segment_frame *frame, uint64_t salt, uint64_t offset)
{
    /* A frame that is sound but for the salt is of an earlier use of the file. */
    return frame->salt == salt || (frame->magic == FRAME_MAGIC && !sealed(frame, offset));
}

uint32_t segment_records_crc(uint32_t crc, const struct journal_record *header)
{
    return crc32c(crc, &header->crc, sizeof header->crc);
}
