/* print - replies for people (as redis-cli shows them on a terminal) and for pipes. */
#ifndef HOLDFAST_CLIENT_PRINT_H
#define HOLDFAST_CLIENT_PRINT_H

#include <stdbool.h>

#include "common/buffer.h"
#include "common/bytes.h"

/* Appends a whole reply, ended by a newline. Quoted: strings in quotes with escapes, types named,
 * elements numbered. Else: strings as they are, a line for each element, nothing for a null. */
void print_reply(struct bytes reply, bool quoted, struct buffer *out);

#endif
