/* status - what the rm knows, as the one JSON object of `holdfast status --json`.
 *
 * The fields are those of DESIGN.md section 14, and some more: see rm/README.md. */
#ifndef HOLDFAST_RM_STATUS_H
#define HOLDFAST_RM_STATUS_H

#include "rm/rm.h"

/* Appends the object. pid is our own. */
void rm_status_write(const struct rm *rm, const struct config *config, uint32_t pid,
                     struct buffer *out);

#endif
