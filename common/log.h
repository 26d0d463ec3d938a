/* log - lines for the operator on stderr: "[2026-11-20 18:22:49.123456] s1: what happened".
 *
 * Colours only when stderr is a terminal. A line is one write(2), so lines of processes that share
 * a terminal or file do not mix; a stderr that would block (a stopped pipe) or is full (a disk)
 * loses lines, counted, rather than stopping the process; the next line that gets through says how
 * many, and why. */
#ifndef HOLDFAST_COMMON_LOG_H
#define HOLDFAST_COMMON_LOG_H

#include <stdbool.h>

#include "common/effects.h"
#include "common/error.h"

/* Whether what is written to this descriptor is to be in colours: it is a terminal that knows them
 * (TERM is set, and not "dumb"), and the user does not refuse them (NO_COLOR is not set). */
bool log_wants_colours(int descriptor);

/* Name before every line; debug lines are dropped unless verbose. */
void log_open(const char *name, bool verbose);
void log_line(enum note_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Says an error and gives the exit status for it: 2 for usage and config, 1 for all others. */
int log_failure(const struct error *error);

#endif
