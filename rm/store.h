/* store - keeps the rm's state in a file, so that what was saved is there whatever happens.
 *
 * The file has two slots. A new state goes to the one that has the older state, with one flush, and
 * may be acted upon then; it is copied to the other slot when there is time. So a write that
 * the power cuts short costs only a state that nobody was told of, and a slot that is damaged
 * later is made good from the other one. See rm/README.md. */
#ifndef HOLDFAST_RM_STORE_H
#define HOLDFAST_RM_STORE_H

#include "common/buffer.h"
#include "common/config.h"
#include "common/files.h"

#define STORE_FORMAT      2u
#define STORE_HEADER_SIZE 60u /* magic 8, format 4, size 4, sequence 8, cluster 32, crc 4 */
#define STORE_SLOT_SIZE   12288u
#define STORE_SLOTS       2u

struct store {
    const struct files *files; /* files_system; tests replace it */
    char folder[CONFIG_PATH_SIZE];
    char path[CONFIG_PATH_SIZE];
    char path_new[CONFIG_PATH_SIZE]; /* the whole file, made aside */
    char cluster[NAME_SIZE];
    uint64_t sequence; /* of the newest state, 0: none; grows by one with each */
    uint32_t slot;     /* that has it */
    bool copied;       /* and the other one, too */
    uint32_t size;     /* of the image: header and state */
    uint8_t image[STORE_SLOT_SIZE];
};

/* RUN/rm.store of the config's cluster. Nothing is opened yet. */
void store_init(struct store *store, const struct config *config);

/* Appends the stored state to *out; *found says whether there is one. Before it returns, the state
 * is safe and in both slots; `mended` becomes the reason why one had to be written anew, with code
 * ERROR_NONE when none had. A file without a sound slot, or of another cluster or format, is left
 * as it is: an error that names it and says what to do. */
enum error_code store_load(struct store *store, struct buffer *out, bool *found,
                           struct error *mended, struct error *error);

/* Makes the state durable before it returns. After a failure nobody knows which of the two states
 * the file holds: the caller must end. */
enum error_code store_save(struct store *store, struct bytes state, struct error *error);

/* Copies it to the other slot, if that has not been done. Until then a damage of its only slot
 * together with the end of the rm would bring the state before it back. The same for a failure. */
enum error_code store_copy(struct store *store, struct error *error);

#endif
