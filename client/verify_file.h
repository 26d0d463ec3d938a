/* verify_file - the bookkeeping of a load in a file, so that what was acknowledged can be read back
 * later: after a restart of everything, or from a restored backup.
 *
 * A line with the format, one with the run, then one line per lane: how many writes, and a letter
 * for the outcome of each; and the CRC-32C of all that. Written aside, synced and renamed. */
#ifndef HOLDFAST_CLIENT_VERIFY_FILE_H
#define HOLDFAST_CLIENT_VERIFY_FILE_H

#include "client/verify.h"
#include "common/error.h"

/* once: the writes were calls of sessions, which must not be there twice. */
enum error_code verify_file_write(const char *path, const struct verify *v, bool once,
                                  struct error *error);

/* Fills *v, which is then verify_free()'s. ERROR_PROTOCOL: it is damaged, or no such file. */
enum error_code verify_file_read(const char *path, struct verify *v, bool *once,
                                 struct error *error);

#endif
