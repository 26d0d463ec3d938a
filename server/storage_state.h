/* storage_state - what storage.c, storage_folder.c and the two threads share. Not for others: they
 * use storage.h. */
#ifndef HOLDFAST_SERVER_STORAGE_STATE_H
#define HOLDFAST_SERVER_STORAGE_STATE_H

#include <event2/event_struct.h>
#include <limits.h>
#include <pthread.h>

#include "server/storage.h"

#define BOOT_ID_SIZE 40u

enum storage_job_kind {
    JOB_PIECE,    /* entries up to index */
    JOB_RESET,    /* the journal begins anew behind index */
    JOB_COMPLETE, /* the journal lacks nothing, once what comes before is safe */
    JOB_DROP,     /* entries up to index are in every checkpoint that is kept */
};

/* For the journal's thread. */
struct storage_job {
    enum storage_job_kind kind;
    uint64_t epoch, index, view;
    struct journal_end discarded;
    struct bytes piece;
    struct block *owner; /* held; only the loop may let go of it: NULL when it has none */
};

struct storage_jobs {
    struct storage_job *items;
    size_t count, capacity;
};

enum storage_step_kind { STEP_BEGIN, STEP_SLICE, STEP_FINISH };

/* For the checkpoints' thread. */
struct storage_step {
    enum storage_step_kind kind;
    struct checkpoint_head head; /* of a beginning */
    uint8_t *data;               /* of a slice; freed by whoever takes the step */
    size_t size;
};

#define STORAGE_STEPS_MAX (STORAGE_SLICES_MAX + 2u) /* a beginning and an end */

/* What the next life may believe. */
struct storage_life {
    char boot[BOOT_ID_SIZE];
    enum fsync_policy fsync;
    bool clean, complete;
    bool cut;                     /* complete, but for the end: storage_cut() */
    struct lives lives;           /* that wrote here since it is not complete, this one included */
    struct journal_end discarded; /* not complete: as in storage_past */
};

/* What the threads have to say, until the loop takes it. */
struct storage_report {
    bool started, saved, failed;
    uint64_t epoch, index;     /* saved */
    uint32_t slices;           /* written of the present checkpoint */
    bool ended, done;          /* the present checkpoint; done: it is safe */
    struct error error;        /* of a failure */
    struct storage_jobs owned; /* their blocks are to be let go */
};

struct storage {
    struct storage_options options;
    struct segments_options segments_options;
    char directory[CONFIG_PATH_SIZE];
    char cluster[NAME_SIZE], server[NAME_SIZE], service[NAME_SIZE];

    struct storage_past past;

    /* Of the loop. */
    struct storage_jobs turn;               /* not handed over yet */
    bool complete;                          /* is, or will be with what was handed over */
    bool told_full, told_ended;             /* as the options were told last */
    bool checkpoint_open, checkpoint_whole; /* under way; all of it was handed over */
    uint32_t slices_under_way;
    struct event *wake;
    int wake_fd; /* the threads wake the loop */
    bool running;

    /* Of the journal's thread from storage_start() on. */
    pthread_t journal_thread;
    struct storage_life life;
    struct segments_found found;
    uint64_t begin_behind; /* start with a reset there, 0: none */
    struct segments *segments;
    struct storage_jobs taken;
    struct bytes *pieces;
    size_t pieces_capacity;
    bool unsynced;             /* something was written since the last sync */
    bool skipping;             /* what is left before the next reset is not written any more */
    struct timespec synced_at; /* by the monotonic clock */

    /* Of the checkpoints' thread. */
    pthread_t checkpoint_thread;
    struct checkpoint_writer *writer;

    /* Of all, under the lock. */
    pthread_mutex_t lock;
    pthread_cond_t journal_work, checkpoint_work; /* by the monotonic clock */
    struct storage_jobs queued;
    struct storage_step steps[STORAGE_STEPS_MAX]; /* the present checkpoint's */
    uint32_t step_count;
    uint64_t generation; /* of the present checkpoint: what is said of older ones is dropped */
    bool abandon;        /* the checkpoint being written is not wanted any more */
    uint32_t resets; /* of the journal, asked for and not written: no checkpoint is made before */
    bool publishing; /* a checkpoint, which no reset may overtake */
    bool full, closing;
    struct storage_report report;
};

/* storage_folder.c: what is in the directory beside segments and checkpoints. */
enum error_code folder_open(struct storage *s, struct storage_past *past, struct error *error);
enum error_code folder_write_life(struct storage *s, struct error *error);

/* storage.c, for the threads. */
void storage_jobs_add(struct storage_jobs *jobs, const struct storage_job *job);
/* The loop, as there is something in the report. Not under the lock, which it will want first. */
void storage_wake(struct storage *s);
/* Reports what ends the process, once. */
void storage_fail(struct storage *s, const struct error *error);

/* storage_journal.c, storage_checkpoint.c */
void *storage_journal_main(void *storage);
void *storage_checkpoint_main(void *storage);

#endif
