/* storage - what a server keeps on disk: its identity, the journal's segments and the last
 * checkpoints; and the flush thread that writes them.
 *
 * The loop hands over groups and slices, which links may hold as well, and is told by an event when
 * they are safe. It never waits: fdatasync, rename and unlink are the thread's. The queue to the
 * thread is bounded by what the server lets be under way (its journal and its windows). */
#ifndef HOLDFAST_SERVER_STORAGE_H
#define HOLDFAST_SERVER_STORAGE_H

#include "common/config.h"
#include "server/checkpoint_file.h"
#include "server/segments.h"

struct event_base;
struct storage;

struct storage_options {
    const char *directory; /* RUN/<server>: made if it is not there */
    const char *cluster;
    const char *server;
    const char *service;
    enum fsync_policy fsync;
    uint32_t fsync_interval_ms;
    const struct files *files;
    struct event_base *base;
    /* All told from the loop. */
    void (*saved)(void *context, uint64_t epoch, uint64_t index); /* entries up to index are safe */
    void (*checkpoint_saved)(void *context, uint64_t index,
                             bool done);    /* done false: given up (no room) */
    void (*room)(void *context, bool full); /* the disk is full; there is room again */
    void (*failed)(void *context,
                   const struct error *error); /* the process must end: it cannot trust its disk */
    void *context;
};

/* What recovery may tell of the past. */
struct storage_past {
    bool fresh;    /* nothing was there */
    bool rebooted; /* since these files were last written by a living server */
    bool clean;    /* it ended in order, everything synced */
};

/* Opens and checks the directory: refuses one of another cluster or server, and (by the lock of the
 * server's name, taken before) one in use. */
enum error_code storage_open(struct storage **storage, const struct storage_options *options,
                             struct storage_past *past, struct error *error);

/* Damaged files are moved into "aside-<time>" in the directory, with a note why; then it is as if
 * fresh. */
enum error_code storage_set_aside(struct storage *storage, const char *reason, struct error *error);

/* From now on the thread writes behind what was found. */
enum error_code storage_start(struct storage *storage, const struct segments_found *found,
                              struct error *error);

/* A group of entries up to index: pieces of packed records, each held by its block until written.
 * epoch comes back. */
void storage_persist(struct storage *storage, uint64_t epoch, uint64_t index, struct bytes piece,
                     struct block *owner);
void storage_flush(struct storage *storage); /* end of a turn: what was handed over is one group */
void storage_reset(struct storage *storage, uint64_t index, uint64_t view);

/* Writing a checkpoint: slices are copied. At most STORAGE_SLICES_MAX are under way:
 * storage_checkpoint_ready(). */
#define STORAGE_SLICES_MAX 8u
void storage_checkpoint_begin(struct storage *storage, const struct checkpoint_head *head);
void storage_checkpoint_slice(struct storage *storage, struct bytes slice);
void storage_checkpoint_finish(struct storage *storage);
void storage_checkpoint_abandon(struct storage *storage);
bool storage_checkpoint_ready(const struct storage *storage);

uint64_t storage_bytes(const struct storage *storage); /* on disk, as last counted */
uint64_t
storage_bytes_behind(const struct storage *storage); /* journal written since the last checkpoint */

/* Writes what is left, syncs, marks the end as clean. */
void storage_close(struct storage *storage);

#endif
