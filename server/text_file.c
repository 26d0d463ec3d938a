#include "server/text_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "common/crc32c.h"

#define CRC_KEY        "crc32c "
#define CRC_LINE_BYTES (sizeof CRC_KEY - 1 + 8 + 1)

static enum error_code write_open(const struct files *files, int fd, const char *path,
                                  const char *text, struct error *error)
{
    char all[TEXT_FILE_SIZE];
    int size = snprintf(all, sizeof all, "%s" CRC_KEY "%08" PRIx32 "\n", text,
                        crc32c(0, text, strlen(text)));
    struct iovec vector = { all, (size_t)size };

    if (size < 0 || (size_t)size >= sizeof all)
        return error_set(error, ERROR_LIMIT, "%s: a text of more than %u bytes", path,
                         TEXT_FILE_SIZE - 1u);
    if (files_write(files, fd, path, &vector, 1, 0, error) != ERROR_NONE)
        return error->code;
    return files_sync(files, fd, path, error);
}

enum error_code text_file_write(const struct files *files, const char *directory, const char *name,
                                const char *text, struct error *error)
{
    char path[PATH_MAX], path_new[PATH_MAX];
    enum error_code code;
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    (void)snprintf(path_new, sizeof path_new, "%s/%s.new", directory, name);
    if (files_open(files, path_new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, &fd, error) !=
        ERROR_NONE)
        return error->code;
    code = write_open(files, fd, path_new, text, error);
    (void)files->close(files->context, fd); /* it is synced, or does not count */
    if (code != ERROR_NONE || files_rename(files, path_new, path, error) != ERROR_NONE)
        return error->code;
    return files_sync_folder(files, directory, error);
}

/* Cuts the line with the checksum off when it is sound. */
static bool check_sum(char *text, size_t size)
{
    char expected[CRC_LINE_BYTES + 1];
    size_t body;

    if (size < CRC_LINE_BYTES || strlen(text) != size)
        return false;
    body = size - CRC_LINE_BYTES;
    (void)snprintf(expected, sizeof expected, CRC_KEY "%08" PRIx32 "\n", crc32c(0, text, body));
    if (strcmp(text + body, expected) != 0)
        return false;
    text[body] = '\0';
    return true;
}

enum error_code text_file_read(const struct files *files, const char *directory, const char *name,
                               char text[TEXT_FILE_SIZE], bool *found, struct error *error)
{
    char path[PATH_MAX];
    enum error_code code;
    size_t size = 0;
    int fd;

    *found = false;
    text[0] = '\0';
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    fd = files->open(files->context, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return errno == ENOENT ? ERROR_NONE : error_system(error, "cannot open %s", path);
    *found = true;
    code = files_read(files, fd, path, text, TEXT_FILE_SIZE - 1, 0, &size, error);
    (void)files->close(files->context, fd);
    text[size] = '\0';
    if (code != ERROR_NONE || check_sum(text, size))
        return code;
    text[0] = '\0';
    return error_set(error, ERROR_PROTOCOL,
                     "%s is damaged: expected a text that ends in its checksum", path);
}

bool text_file_value(const char *text, const char *key, char *value, size_t size)
{
    size_t key_size = strlen(key);
    const char *line = text;

    value[0] = '\0';
    while (line && *line) {
        const char *end = strchr(line, '\n');
        int length = end ? (int)(end - line) : (int)strlen(line);

        if ((size_t)length > key_size && strncmp(line, key, key_size) == 0 &&
            line[key_size] == ' ') {
            (void)snprintf(value, size, "%.*s", length - (int)key_size - 1, line + key_size + 1);
            return true;
        }
        line = end ? end + 1 : NULL;
    }
    return false;
}
