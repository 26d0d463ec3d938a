/* segments - the journal on disk: files of bounded size, written in groups, each group synced once.
 *
 * A segment is a preallocated file "journal-<sequence>"; a group is one or more frames (a header
 * with its own checksum, then records packed as in memory, each with its checksum). A frame says
 * up to which offset of its segment all was synced when it was written, which is what tells a torn
 * tail from damage: an unsound place before that offset was once sound. Behind the last group
 * stands a frame that says nothing else, written right after the sync; it is not synced itself, but
 * the death of a process takes nothing from it. A segment begins only when all before it is synced.
 * Segments that are no longer needed are used again under a new sequence and a new salt, without
 * which their old frames are not taken for new. The whole format stands in server/README.md.
 *
 * Nothing is ever taken back on disk: a record whose index is not above the last means that what
 * was there from that index on is gone, and a reset means that all is.
 *
 * Not thread safe: one thread at a time (the flush thread). Every call may block. */
#ifndef HOLDFAST_SERVER_SEGMENTS_H
#define HOLDFAST_SERVER_SEGMENTS_H

#include "common/error.h"
#include "common/files.h"
#include "server/journal.h"

#define SEGMENT_BYTES      (64u << 20) /* of a segment, unless one group is larger */
#define SEGMENTS_SPARE_MAX 2u          /* kept for use again; more are removed */

struct segments;
struct segment_frame; /* server/segment_format.h */

/* What it points at must outlive the reader or writer. */
struct segments_options {
    const char *directory;
    const struct files *files;
    const char *cluster;    /* whose journal it is; a reader takes NULL for any */
    uint64_t segment_bytes; /* 0: SEGMENT_BYTES; tests use small ones. At least 4096 */
    uint64_t seed;          /* 0: salts are the system's chance; else they follow from it (tests) */
};

/* What recovery found. */
struct segments_found {
    uint64_t first, last; /* entries delivered; last = first - 1: none */
    uint64_t reset_index; /* of the last reset, 0 if none: entries begin behind it */
    uint64_t reset_view;
    uint64_t records, bytes; /* read */
    uint64_t torn_bytes;     /* of an unfinished group at the end, cut */
    uint64_t sequence, end;  /* where writing goes on: segment (0: there is none) and offset */
    uint64_t synced;         /* all before this offset of it was certainly synced */
    bool ended;              /* that segment is closed; the next is not there yet */
    bool damaged;            /* there is an unsound place that is no torn tail */
    char file[64];           /* where, when damaged or torn */
    uint64_t offset;
    char reason[160]; /* what is wrong there, as a sentence */
};

/* What the reader is told, in the order of the entries. Before a record that replaces others comes
 * truncate, with the index of the last entry that stays. When segments in front were dropped, that
 * may be below all that was delivered: then nothing stays. */
struct segments_visitor {
    void (*reset)(void *context, uint64_t index, uint64_t view);
    void (*truncate)(void *context, uint64_t last);
    void (*record)(void *context, const struct journal_record *header, struct bytes record);
    void *context;
    /* For tools; may be NULL. A frame is told before its records. */
    void (*segment)(void *context, const char *file, uint64_t sequence, uint64_t bytes);
    void (*frame)(void *context, const struct segment_frame *frame, uint64_t offset);
};

/* Reads everything in the directory, never changing anything. With damage it stops there and says
 * so in *found; that is not an error. An error is a failed system call, or a directory of another
 * cluster. */
enum error_code segments_read(const struct segments_options *options,
                              const struct segments_visitor *visitor, struct segments_found *found,
                              struct error *error);

/* The same, a piece at a time: for a server that must answer its lfd meanwhile. */
struct segments_reader;
enum error_code segments_reader_open(struct segments_reader **reader,
                                     const struct segments_options *options,
                                     const struct segments_visitor *visitor, struct error *error);
/* Reads about bytes_max more: *done when all is read, with *found filled. */
enum error_code segments_reader_step(struct segments_reader *reader, size_t bytes_max, bool *done,
                                     struct segments_found *found, struct error *error);
uint64_t segments_reader_bytes_total(const struct segments_reader *reader);
void segments_reader_close(struct segments_reader *reader);

/* Opens for writing behind what was found sound, which it makes safe first: what was read may have
 * been in memory only, and after a sync that failed, the system may think that it is on the disk.
 * So what is not known to have been synced is written again. A torn tail is cut by an end frame
 * over it, never by guess: refuses when found->damaged. */
enum error_code segments_open(struct segments **segments, const struct segments_options *options,
                              const struct segments_found *found, struct error *error);

/* Writes a group: pieces of whole records, in order (struct bytes each; at most 1 GiB, indexes
 * without gaps). Not yet safe. On error nothing of it counts, and the segments take no more: the
 * process must end (a failed write may have been half done). ENOSPC is told apart by error->code
 * ERROR_LIMIT: nothing of the group counts, and it may be tried again, or something else. */
enum error_code segments_write(struct segments *segments, const struct bytes *pieces, size_t count,
                               struct error *error);
enum error_code segments_reset(struct segments *segments, uint64_t index, uint64_t view,
                               struct error *error);
/* Makes all that was written safe, and says so behind it. After an error the process must end: what
 * is on the disk is not known. */
enum error_code segments_sync(struct segments *segments, struct error *error);
/* For an end in order: syncs, cuts what is torn, and makes safe what stands behind the last group.
 * Then whatever is unsound is damage. */
enum error_code segments_finish(struct segments *segments, struct error *error);

/* Entries up to index are in a checkpoint: segments with nothing else are kept as spares or
 * removed. Syncs first what is written. */
enum error_code segments_drop(struct segments *segments, uint64_t index, struct error *error);

uint64_t segments_bytes(const struct segments *segments); /* on disk, spares included */
void segments_close(struct segments *segments);

#endif
