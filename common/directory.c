#include "common/directory.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

static enum error_code make_one(const char *path, struct error *error)
{
    struct stat status;

    if (mkdir(path, 0700) == 0)
        return ERROR_NONE;
    if (errno != EEXIST)
        return error_system(error, "cannot make the folder %s", path);
    if (stat(path, &status) != 0)
        return error_system(error, "cannot look at the folder %s", path);
    if (!S_ISDIR(status.st_mode))
        return error_set(error, ERROR_SYSTEM, "%s is there, but it is not a folder", path);
    return ERROR_NONE;
}

enum error_code directory_make(const char *path, struct error *error)
{
    char part[PATH_MAX];
    size_t length = strlen(path);

    if (length == 0 || length >= sizeof part)
        return error_set(error, ERROR_SYSTEM, "the path of a folder has %zu characters, not 1..%zu",
                         length, sizeof part - 1);
    memcpy(part, path, length + 1);
    for (size_t i = 1; i < length; i++) {
        if (part[i] != '/')
            continue;
        part[i] = '\0';
        if (make_one(part, error) != ERROR_NONE)
            return error->code;
        part[i] = '/';
    }
    return make_one(part, error);
}
