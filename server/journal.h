/* journal - the numbered sequence of requests, in memory.
 *
 * Records lie packed, in the form in which they are sent, in blocks that links may hold on to while
 * they send them: what is held is never written over. Truncation takes from the end, dropping from
 * the front by whole blocks. */
#ifndef HOLDFAST_SERVER_JOURNAL_H
#define HOLDFAST_SERVER_JOURNAL_H

#include "common/effects.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "records are little-endian");

/* One entry as it is kept and sent. Followed by request_size bytes, padded with zeros to a
 * multiple of 8. */
struct journal_record {
    uint32_t size; /* of header, request and padding */
    uint32_t crc;  /* CRC-32C of all that follows this field, padding included */
    uint64_t index;
    uint64_t view;    /* of the primary that made it */
    uint64_t time_us; /* since 1970, by the primary's clock; never goes back */
    uint64_t session; /* 0: none */
    uint64_t sequence;
    uint64_t incarnation;  /* of the origin */
    uint64_t token;        /* the origin's name for the request */
    uint32_t request_size; /* at most REQUEST_BYTES_MAX */
    uint8_t kind;          /* enum request_kind */
    node_id origin;        /* the server whose client asked; NODE_NONE: nobody did */
    uint8_t wants_reply;   /* 1: the primary sends the reply to the origin */
    uint8_t zero;
    uint8_t request[];
};

_Static_assert(sizeof(struct journal_record) == 72, "no padding in a record's header");

#define JOURNAL_INDEX_MAX   (1ull << 62)    /* nobody gets there; sums of indexes do not overflow */
#define JOURNAL_BLOCK_BYTES (1024u * 1024u) /* of a block, unless one record is larger */
#define JOURNAL_SPARE_COUNT 4u              /* blocks kept from one use to the next */

/* Where a view begins in a journal: entries from first_index on are of it, up to the next run. */
struct journal_run {
    uint64_t first_index, view;
};

/* Where a journal ends: its last entry, and the view of that. */
struct journal_end {
    uint64_t view, index;
};

struct journal_block {
    struct block *block;
    uint64_t first;    /* index of its first record */
    uint32_t count;    /* records */
    uint32_t capacity; /* of places */
    uint32_t *places;  /* of each record in the block */
    bool sealed;       /* takes no more records: its end was truncated while it may be held */
};

struct journal {
    uint64_t first, last;         /* entries held are first … last; last = first - 1 when none */
    uint64_t bytes;               /* of all blocks */
    struct journal_block *blocks; /* oldest first, from start on */
    uint32_t start, count, capacity;
    struct block *spares[JOURNAL_SPARE_COUNT]; /* dropped, and taken again for the next */
    uint32_t spare_count;
};

void journal_init(struct journal *journal, uint64_t first);
void journal_free(struct journal *journal);

/* Appends an entry: size, request_size and crc are filled in; index must be last + 1. The record
 * stays valid until it is dropped or truncated. */
const struct journal_record *
journal_append(struct journal *journal, const struct journal_record *header, struct bytes request);

/* Appends a record that journal_record_next() found sound; its index must be last + 1. */
void journal_append_record(struct journal *journal, struct bytes record);

/* The entry at index, which must be held. */
const struct journal_record *journal_at(const struct journal *journal, uint64_t index);

/* As many entries from `from` on as lie in one piece, within bytes_max (but at least one), up to
 * `to`. *last is the last of them; *owner holds them. */
struct bytes journal_slice(const struct journal *journal, uint64_t from, uint64_t to,
                           size_t bytes_max, uint64_t *last, struct block **owner);

/* Bytes of the records after index. */
uint64_t journal_bytes_after(const struct journal *journal, uint64_t index);

/* Drops every entry after index. */
void journal_truncate(struct journal *journal, uint64_t index);

/* While it holds more than bytes_max, gives back blocks whose entries are all at or before index.
 */
void journal_drop(struct journal *journal, uint64_t index, uint64_t bytes_max);

/* Empties it; the next entry is first. */
void journal_reset(struct journal *journal, uint64_t first);

/* Appends a record that is in no journal to a buffer: the same form serves forwards and replies. */
void journal_record_pack(struct buffer *out, const struct journal_record *header,
                         struct bytes request);

/* Reads the record at the front of *records, which it moves past it: its header into *header, and
 * where the whole record lies into *record. False at the end and, with *sound = false, at a record
 * that is cut short, damaged or makes no sense. The bytes need no alignment. */
bool journal_record_next(struct bytes *records, struct journal_record *header, struct bytes *record,
                         bool *sound);

#endif
