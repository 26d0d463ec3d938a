/* prompt - commands line by line: with editing and history on a terminal, plainly from a pipe. */
#ifndef HOLDFAST_CLIENT_PROMPT_H
#define HOLDFAST_CLIENT_PROMPT_H

#include "client/command.h"

/* Runs the commands of standard input, one to a line, until its end or "quit" or "exit". False
 * when any of them failed and nobody sat there to see it. */
bool prompt_run(struct commander *c);

#endif
