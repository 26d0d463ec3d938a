/* checkpoint_file - a checkpoint on disk: "checkpoint-<index>", or "changes-<index>" when it tells
 * only what changed since the one before; written aside and renamed when whole.
 *
 * A checkpoint and the changes up to the next checkpoint, each based on the one before, are a
 * chain: any part of it from its beginning on comes to a state.
 *
 * A header (which cluster's state, of which entry), then blocks (one slice of the machine's
 * checkpoint each, with its checksum), then a footer with their count and the digest. The format
 * stands in server/README.md. One thread at a time; every call may block. */
#ifndef HOLDFAST_SERVER_CHECKPOINT_FILE_H
#define HOLDFAST_SERVER_CHECKPOINT_FILE_H

#include "common/error.h"
#include "common/files.h"
#include "common/node.h"
#include "server/journal.h"

#define CHECKPOINTS_KEPT       2u /* the last so many are kept, with their changes */
#define CHECKPOINT_CHANGES_MAX 3u /* in a chain; the journal is kept for as long */

struct checkpoint_name {
    uint64_t index;
    bool changes;
};

struct checkpoint_head {
    uint64_t base;                 /* 0: the whole state; else changes since this entry */
    uint64_t index, view, time_us; /* of the entry whose state it is */
    uint64_t digest;               /* of that state */
    char cluster[NAME_SIZE];
    char service[NAME_SIZE];
};

struct checkpoint_writer;
enum error_code checkpoint_writer_open(struct checkpoint_writer **writer, const struct files *files,
                                       const char *directory, const struct checkpoint_head *head,
                                       struct error *error);
/* ERROR_LIMIT: the disk is full; abandon it. */
enum error_code checkpoint_writer_slice(struct checkpoint_writer *writer, struct bytes slice,
                                        struct error *error);
/* Syncs, renames, syncs the folder: from then on it counts. The writer is gone then, also after an
 * error, which removes what was written. */
enum error_code checkpoint_writer_finish(struct checkpoint_writer *writer, struct error *error);
void checkpoint_writer_abandon(struct checkpoint_writer *writer); /* and removes what was written */

struct checkpoint_reader;
/* Opens one file; checks header and footer. ERROR_PROTOCOL: damaged, the text names file, offset
 * and what was expected. *bytes_total is the size of all slices. */
enum error_code checkpoint_reader_open(struct checkpoint_reader **reader, const struct files *files,
                                       const char *path, struct checkpoint_head *head,
                                       uint64_t *bytes_total, struct error *error);
/* The next slice, checked; valid until the next call. *done (and no slice) after the last.
 * ERROR_PROTOCOL as above. */
enum error_code checkpoint_reader_next(struct checkpoint_reader *reader, struct bytes *slice,
                                       bool *done, struct error *error);
void checkpoint_reader_close(struct checkpoint_reader *reader);

/* Indexes of the checkpoints in a directory, newest first; at most max. Leftovers of unfinished
 * ones are not counted. */
enum error_code checkpoint_list(const char *directory, uint64_t *indexes, uint32_t max,
                                uint32_t *count, struct error *error);
/* The same of the changes; oldest first, those above `above` only. */
enum error_code checkpoint_changes_list(const char *directory, uint64_t above, uint64_t *indexes,
                                        uint32_t max, uint32_t *count, struct error *error);
void checkpoint_path(const char *directory, uint64_t index, char *path, size_t path_size);
void checkpoint_name_path(const char *directory, struct checkpoint_name name, char *path,
                          size_t path_size);
/* Removes all but the CHECKPOINTS_KEPT newest with their changes, and leftovers: not while one is
 * being written. *oldest is what the older chain comes to, 0 if none: entries up to there are not
 * needed any more. */
enum error_code checkpoint_tidy(const struct files *files, const char *directory, uint64_t *oldest,
                                struct error *error);
/* Removes all, but for one that is being written. What is left half way is a chain's beginning. */
enum error_code checkpoint_remove_all(const struct files *files, const char *directory,
                                      struct error *error);

#endif
