/* lock - one process at a time: a write lock on a file, held for as long as the process lives.
 *
 * The lock is fcntl's (F_SETLK). The kernel lets go of it when its process ends, however it ends,
 * so a lock never outlives its holder, and it knows the holder's pid: that is how an lfd finds
 * servers that were running before it. It is not inherited by fork() and survives exec(). */
#ifndef HOLDFAST_COMMON_LOCK_H
#define HOLDFAST_COMMON_LOCK_H

#include <sys/types.h>

#include "common/config.h"

/* Takes the lock of the file, which is made (mode 0600) when it is not there, without waiting. On
 * success *fd is open, close-on-exec, and the caller keeps it until the end: closing it, or any
 * other descriptor of the same file in this process, lets go of the lock. ERROR_REFUSED, naming its
 * pid, when another process holds it: a daemon ends with EXIT_ALREADY_RUNNING then. ERROR_SYSTEM
 * for all else. *fd is -1 on failure. */
enum error_code lock_take(const char *path, int *fd, struct error *error);

/* Makes the run directory and takes RUN/<node>.lock in it for as long as the process lives: two
 * processes must never be the same node. Errors as above. */
enum error_code lock_take_node(const struct config *config, node_id node, struct error *error);

/* The pid of the process that holds the lock; 0 when nobody does, the file is not there, or it
 * cannot be read. Not for a lock of the calling process itself, which it would lose. */
pid_t lock_holder(const char *path);

#define EXIT_ALREADY_RUNNING 3 /* exit status of a daemon whose lock another process holds */

#endif
