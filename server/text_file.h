/* text_file - small files of text that are replaced as a whole: a title, then lines "key value",
 * then a line with the checksum of all before it.
 *
 * Readable for operators, and still safe: written aside, synced, renamed, and the folder synced. */
#ifndef HOLDFAST_SERVER_TEXT_FILE_H
#define HOLDFAST_SERVER_TEXT_FILE_H

#include <stdbool.h>

#include "common/error.h"
#include "common/files.h"

#define TEXT_FILE_SIZE 1024u /* bytes of a whole file with its end */

/* text: title and lines, each with its "\n". When it returns the file is safe. ERROR_LIMIT: the
 * disk is full, and the old file is still there. */
enum error_code text_file_write(const struct files *files, const char *directory, const char *name,
                                const char *text, struct error *error);

/* Its text without the checksum's line, empty and *found = false when there is no such file.
 * ERROR_PROTOCOL: it is damaged; the error says where. */
enum error_code text_file_read(const struct files *files, const char *directory, const char *name,
                               char text[TEXT_FILE_SIZE], bool *found, struct error *error);

/* The value of a key, cut to the room there is; false, and empty, when there is none. */
bool text_file_value(const char *text, const char *key, char *value, size_t size);

#endif
