/* inspect - what a server has on disk, told to a person: `holdfast journal show|check DIR`.
 *
 * Opens everything for reading only and changes nothing. Verifies every checksum; damage is told in
 * a sentence with file and offset. */
#ifndef HOLDFAST_SERVER_INSPECT_H
#define HOLDFAST_SERVER_INSPECT_H

#include <stdbool.h>
#include <stdio.h>

/* Exit status: 0 all is sound (a torn tail is: it is cut); 1 there is damage, or something could
 * not be read; 2 there is no such directory, or nothing of a journal in it. */
int inspect_directory(const char *directory, bool show, FILE *out);

/* Whether the command line is `--journal-show DIR` or `--journal-check DIR`; it is then done. */
bool inspect_asked(int argc, char **argv, int *exit_status);

#endif
