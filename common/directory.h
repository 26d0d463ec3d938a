/* directory - makes the folders that daemons keep their sockets, locks and stores in. */
#ifndef HOLDFAST_COMMON_DIRECTORY_H
#define HOLDFAST_COMMON_DIRECTORY_H

#include "common/error.h"

/* Makes the folder, mode 0700, and those above it that are missing. One that is there already is
 * left as it is; it is an error when it is something else than a folder. */
enum error_code directory_make(const char *path, struct error *error);

#endif
