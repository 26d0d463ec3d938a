/* command - the operator's commands: begun when they come, answered when they are done or cannot
 * be.
 *
 * A part of the rm core. What a command asks for outlives its answer: a STOP that is not done in
 * time is refused, with what it waits for, and still wanted. */
#ifndef HOLDFAST_RM_COMMAND_H
#define HOLDFAST_RM_COMMAND_H

#include "rm/rm.h"

/* Begins a command. The answer follows now or from rm_command_go_on(). */
void rm_command_begin(struct rm *rm, struct instant now, const struct message_command *command,
                      struct effects *out);

/* Answers what is done, impossible, or overdue. */
void rm_command_go_on(struct rm *rm, struct instant now, struct effects *out);

struct instant rm_command_deadline(const struct rm *rm);

#endif
