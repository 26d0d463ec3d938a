#include "server/incarnation.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/node.h"
#include "server/text_file.h"

#define KEY   "incarnation"
#define TITLE "holdfast server incarnation, format 1"

/* 0: it is not known. */
static uint64_t last_of(const struct files *files, const char *folder, const char *name)
{
    char text[TEXT_FILE_SIZE], value[TEXT_FILE_SIZE];
    struct error error;
    uint64_t last;
    bool found;

    if (text_file_read(files, folder, name, text, &found, &error) != ERROR_NONE || !found ||
        !text_file_value(text, KEY, value, sizeof value) || sscanf(value, "%" SCNu64, &last) != 1)
        return 0;
    return last;
}

uint64_t incarnation_next(const struct files *files, const char *folder, const char *server,
                          uint64_t wall_us)
{
    char name[NAME_SIZE + sizeof "." KEY], text[TEXT_FILE_SIZE];
    struct error error;
    uint64_t last, next;

    (void)snprintf(name, sizeof name, "%s." KEY, server);
    last = last_of(files, folder, name);
    next = wall_us > last ? wall_us : last + 1;
    (void)snprintf(text, sizeof text, TITLE "\n" KEY " %" PRIu64 "\n", next);
    (void)text_file_write(files, folder, name, text, &error);
    return next;
}
