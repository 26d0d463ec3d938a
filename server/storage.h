/* storage - what a server keeps on disk: whose it is, the journal's segments and the last
 * checkpoints; and the threads that write them.
 *
 * The loop hands over entries and slices and is told by an event when they are safe. It never waits
 * for the disk, but in storage_open(), storage_set_aside() and storage_discard(), before it serves.
 * The journal has one thread, where everything that is handed over until it picks up is one group:
 * one write, one sync. Checkpoints have another, so that no group ever waits for them.
 *
 * The directory holds, beside the segments and the checkpoints,
 *
 *     identity   whose directory this is: cluster, server, service. Written once.
 *     life       what may be believed after a restart: in which boot of the machine and under which
 *                fsync policy the last life wrote, whether it ended in order, and whether the
 *                journal was complete; and the lives since it is not.
 *     aside-…    files that were damaged, moved there with the reason.
 *
 * A journal is complete when it lacks nothing that this server acknowledged in any earlier life;
 * only then may it speak in an election. Whoever begins with nothing (a new server, a lost or
 * damaged disk) is not, until a view has it as a member and its journal holds the beginning of that
 * view; and one that is begun anew behind a checkpoint is not any more. The mark is on the disk
 * before the first entry that could be acknowledged for it, and taken back before the reset.
 *
 * A journal that is not complete still lacks nothing that the lives acknowledged which wrote it:
 * until it is complete, nothing is. Their incarnations are kept, the last LIVES_MAX of them, so
 * that a member that dies before it could save anything of its first view is not taken for one that
 * lost its disk.
 *
 * What is under way is bounded by what the server lets be: a journal whose entries are not saved
 * is not acknowledged, so nobody sends more than a window of it, and clients are held back. */
#ifndef HOLDFAST_SERVER_STORAGE_H
#define HOLDFAST_SERVER_STORAGE_H

#include "common/config.h"
#include "common/effects.h"
#include "server/checkpoint_file.h"
#include "server/segments.h"

struct event_base;
struct storage;

#define STORAGE_RETRY_MS        1000u      /* between two attempts on a disk that is full */
#define STORAGE_GROUP_BYTES_MAX (8u << 20) /* of one group, unless one piece is larger */
#define STORAGE_SLICES_MAX      16u        /* of a checkpoint under way; above the windows */
#define STORAGE_ASIDES_MAX      4u         /* folders of damaged files; the oldest is removed */

_Static_assert(STORAGE_SLICES_MAX > SLICE_WINDOW, "whoever keeps to the window is not refused");

struct storage_options {
    const char *directory;                  /* RUN/<server>: made if it is not there, mode 0700 */
    const char *cluster, *server, *service; /* names of less than NAME_SIZE bytes */
    uint64_t incarnation;                   /* of this life */
    enum fsync_policy fsync;
    uint32_t fsync_interval_ms;
    uint64_t segment_bytes;    /* 0: SEGMENT_BYTES */
    uint32_t retry_ms;         /* 0: STORAGE_RETRY_MS */
    const struct files *files; /* its functions are called from several threads */
    struct event_base *base;
    /* All told from the loop; none may call storage_close(). */
    void (*started)(void *context); /* what was found is safe, and the journal can be written */
    /* Entries up to index are safe; with fsync interval or never: written. */
    void (*saved)(void *context, uint64_t epoch, uint64_t index);
    void (*slice_written)(void *context); /* of the checkpoint begun last */
    /* It is safe, or (done false) given up for lack of room. */
    void (*checkpoint_saved)(void *context, bool done);
    void (*room)(void *context, bool full); /* the disk is full; there is room again */
    /* The process must end: what is on the disk is not known. Nothing is told any more. */
    void (*failed)(void *context, const struct error *error);
    void *context;
};

/* What storage_open() found of the past. */
struct storage_past {
    bool fresh;    /* nothing: this is the first life here */
    bool rebooted; /* the machine was started anew since the last life wrote */
    bool clean;    /* the last life ended in order, everything synced */
    /* Its journal was complete, and what it acknowledged is on the disk: it synced always, or ended
     * in order, or only the process ended. */
    bool intact;
    bool cut; /* intact, but a life before cut an end off that the power had torn, and may have been
               * told of it: storage_cut() */
    char reason[96]; /* why not intact; empty when it is, or fresh */
    /* When not intact: what these lives acknowledged is on the disk all the same. */
    struct lives lives;
    /* And what any life acknowledged is in the journals of others that end here or behind: an
     * intact one that ended here was thrown away. View 0: not known. */
    struct journal_end discarded;
};

/* Opens the directory, or makes it; the caller holds the lock of the server's name. ERROR_REFUSED
 * when it is another cluster's, server's or service's: the text names the file, what was found and
 * what was expected. Copies the options, but not what they point to, which must outlive it. */
enum error_code storage_open(struct storage **storage, const struct storage_options *options,
                             struct storage_past *past, struct error *error);

/* Before storage_start(): moves journal and checkpoints into "aside-<time>" with a note of the
 * reason; *where is that folder. Or removes them: what is left of a join that was not finished,
 * so that nothing acknowledged is lost with it.
 * After either it is as if fresh, and at no moment on the way there does what is left look like a
 * whole that it is not. */
enum error_code storage_set_aside(struct storage *storage, const char *reason,
                                  char where[CONFIG_PATH_SIZE], struct error *error);
/* Damaged checkpoints only: what is left is whole without them. */
enum error_code storage_set_aside_checkpoints(struct storage *storage,
                                              const struct checkpoint_name *names, uint32_t count,
                                              const char *reason, char where[CONFIG_PATH_SIZE],
                                              struct error *error);
enum error_code storage_discard(struct storage *storage, struct error *error);

/* Whether the last group may be missing though the journal is intact: something that was not whole
 * was cut off after the machine had lost its power. That is what is left of a group that nobody was
 * told of, or of one in which a bit has flipped; by itself nobody can tell. */
bool storage_cut(const struct storage *storage, const struct segments_found *found);

/* Starts the threads, which write behind what was found; options.started follows. intact: the
 * server lacks nothing of what it acknowledged, as recovery came to know. last_index: of the entry
 * after which entries will be handed over; when the segments end before it, or hold others there
 * (outrun: a checkpoint outran them), they begin anew there. */
enum error_code storage_start(struct storage *storage, const struct segments_found *found,
                              bool intact, uint64_t last_index, bool outrun, struct error *error);

/* Entries up to index: a piece of packed records, held by its block until it is written. epoch
 * comes back. */
void storage_persist(struct storage *storage, uint64_t epoch, uint64_t index, struct bytes piece,
                     struct block *owner);
/* The journal begins anew behind index; view: in which this happens, for readers of the file;
 * discarded: for the next life. */
void storage_reset(struct storage *storage, uint64_t index, uint64_t view,
                   struct journal_end discarded);
/* What was persisted last belongs to a view of which this server is a member in this life: with it,
 * the journal is complete. To be called before storage_flush(). Told by options.saved, as an entry
 * is; harmless to repeat, which is not told. */
void storage_complete(struct storage *storage, uint64_t epoch, uint64_t index);
/* The end of a turn: hands over what has come to the thread. */
void storage_flush(struct storage *storage);

/* A checkpoint, in slices, which are copied. A beginning ends the one before it if that is not
 * finished; slices beyond STORAGE_SLICES_MAX under way give it up. */
void storage_checkpoint_begin(struct storage *storage, const struct checkpoint_head *head);
void storage_checkpoint_slice(struct storage *storage, struct bytes slice);
void storage_checkpoint_finish(struct storage *storage);
void storage_checkpoint_abandon(struct storage *storage);

/* Writes and syncs what is left, marks the end as clean (not after a failure, or on a full disk),
 * and frees everything. NULL is nothing. */
void storage_close(struct storage *storage);

#endif
