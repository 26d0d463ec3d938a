/* recovery - gives a server back what its disk holds: the newest sound checkpoint, then the journal
 * behind it, a piece per turn of the loop, so that heartbeats are answered meanwhile.
 *
 * A checkpoint that is damaged gives way to the one before it, and changes to the state that they
 * are based on: the journal reaches back to both. Beyond that nothing is made the best of: a
 * journal with damage in its middle, or one that does not follow the checkpoint, is no source of
 * truth, and the server is to begin anew and get its state from its peers. */
#ifndef HOLDFAST_SERVER_RECOVERY_H
#define HOLDFAST_SERVER_RECOVERY_H

#include "server/checkpoint_file.h"
#include "server/progress.h"
#include "server/segments.h"
#include "server/server.h"

#define RECOVERY_STEP_BYTES (256u << 10) /* per turn: a few milliseconds of work */

enum recovery_outcome {
    RECOVERY_SOUND,      /* the server has what the disk held, which may be nothing */
    RECOVERY_UNFINISHED, /* a join that was not finished: of no use */
    RECOVERY_DAMAGED,
};

#define RECOVERY_CHECKPOINTS_MAX 8u  /* tried; no more than CHECKPOINTS_KEPT are to be there */
#define RECOVERY_CHANGES_MAX     32u /* beside them */
#define RECOVERY_UNSOUND_MAX     (RECOVERY_CHECKPOINTS_MAX + RECOVERY_CHANGES_MAX)

struct recovery_options {
    const char *directory, *cluster, *service;
    const struct files *files;
    bool intact; /* what server_recovered() is told when it is sound */
    bool clean;  /* the last life ended in order: a torn tail is damage */
    /* A new and empty server in place of the one before, which it frees. NULL: no memory. */
    struct server *(*renew)(void *context);
    void *context;
};

struct recovery_result {
    enum recovery_outcome outcome;
    struct segments_found found; /* all zero unless sound */
    uint64_t checkpoint_index;   /* of the state that it, or its changes, came to; 0: none */
    /* Checkpoints and changes that are damaged, or of no use without others that are. */
    struct checkpoint_name unsound[RECOVERY_UNSOUND_MAX];
    uint32_t unsound_count;
    uint64_t last_index;          /* of the server's journal now */
    bool outrun;                  /* that is the checkpoint's, and the journal has no such entry */
    char reason[ERROR_TEXT_SIZE]; /* of the first damage; unless sound: why not */
};

struct recovery;

/* server is new; it may be replaced while recovery lasts. Copies the options. */
enum error_code recovery_open(struct recovery **recovery, const struct recovery_options *options,
                              struct server *server, struct instant now, struct error *error);

/* Does a piece. *done: *result is filled in; unless sound, the server is a new one. An error is a
 * failed system call. */
enum error_code recovery_step(struct recovery *recovery, struct instant now, bool *done,
                              struct recovery_result *result, struct error *error);

const struct progress *recovery_progress(const struct recovery *recovery);
void recovery_close(struct recovery *recovery); /* NULL is nothing */

#endif
