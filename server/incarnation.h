/* incarnation - which life of a server this is: a number that is greater in each later life, also
 * when the wall clock was set back in between. The rm takes a later life for the end of those
 * before it, and waits for no lease of a server whose end is certain. */
#ifndef HOLDFAST_SERVER_INCARNATION_H
#define HOLDFAST_SERVER_INCARNATION_H

#include <stdint.h>

#include "common/files.h"

/* The wall clock, or what is above the last life's, which FOLDER/<server>.incarnation says; this
 * one is written there. The caller holds the lock of the server's name. Where that file cannot be
 * read or written (no room, say), the clock has to do. */
uint64_t incarnation_next(const struct files *files, const char *folder, const char *server,
                          uint64_t wall_us);

#endif
