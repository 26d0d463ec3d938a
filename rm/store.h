/* store - keeps the rm's state in a file that is either the old one or the new one, never a
 * mixture.
 *
 * A new state is written to a file beside it, flushed, renamed over it, and the folder is flushed.
 * The header says what the file is and carries a CRC-32C over everything; see rm/README.md. */
#ifndef HOLDFAST_RM_STORE_H
#define HOLDFAST_RM_STORE_H

#include "common/buffer.h"
#include "common/config.h"

#define STORE_FORMAT      1u
#define STORE_HEADER_SIZE 52u /* magic 8, format 4, size 4, cluster 32, crc 4 */

struct store {
    char folder[CONFIG_PATH_SIZE];
    char path[CONFIG_PATH_SIZE];
    char path_new[CONFIG_PATH_SIZE]; /* written aside */
    char cluster[NAME_SIZE];
};

/* RUN/rm.store of the config's cluster. Nothing is opened yet. */
void store_init(struct store *store, const struct config *config);

/* Appends the stored state to *out; *found says whether there is one. A file that is damaged, or of
 * another cluster or format, is an error that names it and says what to do. */
enum error_code store_load(const struct store *store, struct buffer *out, bool *found,
                           struct error *error);

/* Makes the state durable before it returns. After a failure nobody knows which of the two states
 * the file holds: the caller must end. */
enum error_code store_save(const struct store *store, struct bytes state, struct error *error);

#endif
