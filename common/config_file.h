/* config_file - what the parts of config share: the parsed file, and errors that point into it. */
#ifndef HOLDFAST_COMMON_CONFIG_FILE_H
#define HOLDFAST_COMMON_CONFIG_FILE_H

#include <libconfig.h>

#include "common/config.h"

#define CONFIG_KEY_SIZE \
    96u /* bytes of "hosts[15].servers[15].client_port" with its end, and more */

/* One file being read. */
struct config_file {
    config_t tree;
    struct config *config; /* what it becomes */
    struct error *error;
};

/* The setting at a path such as "rm.port" or "hosts[1].name"; NULL when the file lacks it. */
config_setting_t *config_file_find(const struct config_file *file, const char *key);

/* Line of that setting, or of the nearest group around it; 0 for the file itself. */
unsigned config_file_line(const struct config_file *file, const char *key);

/* Makes the error "path:line: key: …". */
enum error_code config_file_error(const struct config_file *file, const char *key,
                                  const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Reads every key of the table into file->config: unknown keys, types, ranges, what is missing. */
enum error_code config_keys_read(struct config_file *file);

/* What no key can be judged by alone: relations, names and ports used twice. */
enum error_code config_check(const struct config_file *file);

#endif
