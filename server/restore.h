/* restore - puts a checkpoint into the empty directory of a server that is down, as if it had kept
 * that state itself. */
#ifndef HOLDFAST_SERVER_RESTORE_H
#define HOLDFAST_SERVER_RESTORE_H

#include "server/checkpoint_file.h"

/* Reads a file to its end: *head is what it is of. ERROR_PROTOCOL: it is damaged, the text says
 * where. */
enum error_code restore_check(const struct files *files, const char *path,
                              struct checkpoint_head *head, struct error *error);

/* ERROR_REFUSED, and nothing is changed, when the directory holds a journal or checkpoints, or is
 * another's. The caller holds the lock of the server's name. */
enum error_code restore_refuse(const struct files *files, const char *directory, const char *server,
                               const struct checkpoint_head *head, struct error *error);

/* Copies the file into the directory of the server. After an error the directory is as empty as it
 * was. When all is safe on the disk, the server counts as one that lacks nothing. */
enum error_code restore_place(const struct files *files, const char *path, const char *directory,
                              const char *server, struct error *error);

/* Takes it back. */
void restore_undo(const struct files *files, const char *directory, uint64_t index);

#endif
