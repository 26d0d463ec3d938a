/* segment_format - what stands in a segment: a header, then frames.
 *
 * Only for the reader, the writer and the tools of segments. All integers are little-endian; the
 * structs are the bytes on disk. A frame's checksum covers its offset too, so that one in a wrong
 * place is not taken for sound. */
#ifndef HOLDFAST_SERVER_SEGMENT_FORMAT_H
#define HOLDFAST_SERVER_SEGMENT_FORMAT_H

#include "common/node.h"
#include "server/segments.h"

#define SEGMENT_VERSION      1u
#define SEGMENT_HEADER_BYTES 4096u      /* a page of its own, which no later write touches */
#define FRAME_BYTES_MAX      (4u << 20) /* records in a frame, unless one piece is larger */

#define SEGMENT_PREFIX "journal-"
#define NEW_SUFFIX     ".new" /* of a segment whose header is not yet safe */
#define SPARE_PREFIX   "spare-"

struct segment_header {
    uint8_t magic[8];
    uint32_t crc; /* CRC-32C of what follows in this struct */
    uint32_t version;
    uint64_t sequence; /* as in the file's name */
    uint64_t salt;     /* by chance, new whenever a file is used; nobody outside can guess it */
    uint64_t last;     /* index of the last entry before this segment, 0: none */
    char cluster[NAME_SIZE];
};

enum frame_kind {
    FRAME_RECORDS = 1, /* records first … last follow */
    FRAME_RESET = 2,   /* entries begin anew behind `first`, of view `last` */
    FRAME_END = 3,     /* the segment is closed; the next one follows */
    FRAME_SYNCED = 4,  /* the end, all before it is safe; the next frame takes its place */
};

struct segment_frame {
    uint32_t magic;
    uint32_t crc;         /* CRC-32C of the frame's offset (u64), then of what follows here */
    uint64_t salt;        /* the segment's */
    uint64_t synced;      /* all before this offset of the segment was safe when it was written */
    uint64_t first, last; /* indexes of the records; see enum frame_kind */
    uint32_t size;        /* bytes of records that follow */
    uint32_t records_crc; /* CRC-32C of the crc fields of the records, in order */
    uint32_t kind;        /* enum frame_kind */
    uint32_t zero;
};

_Static_assert(sizeof(struct segment_header) == 72, "no padding in a segment's header");
_Static_assert(sizeof(struct segment_frame) == 56, "no padding in a frame");

void segment_header_seal(struct segment_header *header); /* fills in magic, version and crc */
bool segment_header_sound(const struct segment_header *header);

void segment_frame_seal(struct segment_frame *frame, uint64_t offset); /* fills in magic and crc */
/* By itself: the records behind it are not looked at. */
bool segment_frame_sound(const struct segment_frame *frame, uint64_t salt, uint64_t offset);
/* Whether the frame was meant to be one of this segment, sound or not. */
bool segment_frame_trace(const struct segment_frame *frame, uint64_t salt, uint64_t offset);

/* Goes on with the checksum of records: the crc field of the next. */
uint32_t segment_records_crc(uint32_t crc, const struct journal_record *header);

#endif
