/* disks_state - what the files of the disks share: what is on one, and what is wrong with it. Not
 * for others: they use parts.h. */
#ifndef HOLDFAST_SIMULATOR_DISKS_STATE_H
#define HOLDFAST_SIMULATOR_DISKS_STATE_H

#include "server/storage.h"
#include "tests/simulator/parts.h"

/* One thing written to the journal. */
struct written {
    bool reset;
    bool damaged;
    bool looks_torn; /* damaged so that after a power cut it passes for what never was finished */
    uint64_t index;
    size_t offset, size; /* in the stream's bytes */
};

struct image {
    struct message_checkpoint_begin head;
    struct buffer slices; /* each behind its u32 size */
    bool damaged;
};

struct chain {
    struct image images[1 + CHECKPOINT_CHANGES_MAX]; /* a checkpoint, then changes */
    uint32_t count;                                  /* 0: there is none */
};

/* The file "life" (server/storage_folder.c): safe as soon as it is written. */
struct life {
    bool damaged;
    bool complete, clean;
    bool cut;    /* complete, but maybe for the last group */
    bool always; /* written under fsync = "always" */
    uint64_t boot;
    struct lives lives; /* that wrote here since it is not complete */
    struct journal_end discarded;
};

struct disk {
    struct buffer bytes;
    struct written *items;
    uint64_t first; /* what is before was dropped behind a checkpoint */
    /* The others are counted from the first life on. What is safe, what is written, what was handed
     * over; guarded: what a frame behind it vouches for, so that damage there is told from a torn
     * tail. */
    uint64_t guarded, synced, written, count, capacity;
    bool torn;        /* behind the end lies a piece of a group */
    uint64_t end;     /* index of the last entry, or of the reset behind which none is written */
    uint64_t waiting; /* bytes handed over that are not written */
    struct chain kept[CHECKPOINTS_KEPT]; /* newest first */
    struct image writing;
    bool open; /* writing is */
    struct life life;

    /* The journal's thread. */
    bool busy;            /* with a group: of what waits behind it nothing is written yet */
    uint64_t group_end;   /* of that group, counted as above */
    bool full;            /* as its server was told */
    bool piece, complete; /* of what waits: it has entries, and makes the journal complete */
    bool complete_wanted; /* as its server said last */
    struct journal_end discarded; /* as its server said at the last reset */
    uint64_t epoch, index;        /* of the last piece handed over */
    uint64_t sync_due_ns;         /* fsync = "interval": 0 when nothing waits for it */
    uint64_t generation;          /* of the checkpoint being written */
    uint64_t checkpoint_until_ns; /* its thread works till then */
    uint32_t slices;              /* under way */

    /* What is wrong with it. */
    uint64_t full_until_ns, slow_until_ns, stalled_until_ns;
    bool fails_write, fails_sync; /* the next one */
    uint32_t fails_reads;         /* so many lives cannot read it */
    bool useless_damaged;         /* why it was of no use to the new life */
};

static inline bool disk_syncs_always(const struct process *p)
{
    return p->sim->options.fsync == FSYNC_ALWAYS;
}

/* disks.c */

/* Nothing is there any more; what is wrong with the device stays wrong. */
void disk_empty(struct process *p);
/* From now on this server has no voice for what it acknowledged so far, once its process ends. */
void disk_lose_voice(struct process *p);
/* What was handed over is written, up to there. */
void disk_set_written(struct disk *d, uint64_t count);
/* The file "life", as this life of the machine has it. */
void disk_life_write(struct process *p, bool complete);
/* Whether the journal begins anew in what was handed over from there on. */
bool disk_resets(const struct disk *d, uint64_t from);
/* What it threw away must not be taken for newer than what comes in its place. */
void disk_forget_checkpoints(struct disk *d);
/* The one being written is over, kept or not: what is still said of it counts no more. */
void disk_end_checkpoint(struct disk *d);
bool disk_chain_is_damaged(const struct chain *chain);

/* disks_threads.c: one more thing to be written to the journal. */
void disk_hand_over(struct disk *d, struct written what, struct bytes record);

#endif
