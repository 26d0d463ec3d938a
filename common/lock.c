#include "common/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "common/directory.h"

/* The holder may end between our attempt and the question who it was; then the next attempt
 * succeeds. */
#define ATTEMPTS_MAX 5u

static struct flock whole_file(void)
{
    return (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET };
}

static pid_t holder_of(int fd)
{
    struct flock lock = whole_file();

    if (fcntl(fd, F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK)
        return 0;
    return lock.l_pid;
}

enum error_code lock_take(const char *path, int *fd, struct error *error)
{
    pid_t holder = 0;
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    *fd = -1;
    if (file < 0)
        return error_system(error, "cannot open the lock %s", path);
    for (uint32_t i = 0; i < ATTEMPTS_MAX && holder == 0; i++) {
        struct flock lock = whole_file();

        if (fcntl(file, F_SETLK, &lock) == 0) {
            *fd = file;
            return ERROR_NONE;
        }
        if (errno != EACCES && errno != EAGAIN && errno != EINTR) {
            error_system(error, "cannot lock %s", path);
            close(file);
            return ERROR_SYSTEM;
        }
        holder = holder_of(file);
    }
    close(file);
    return error_set(error, ERROR_REFUSED, "already running: %s is held by process %ld", path,
                     (long)holder);
}

enum error_code lock_take_node(const struct config *config, node_id node, struct error *error)
{
    char file[NAME_SIZE + sizeof ".lock"];
    char path[CONFIG_PATH_SIZE];
    int fd; /* open until the process ends */

    if (directory_make(config->run_dir, error) != ERROR_NONE)
        return error->code;
    snprintf(file, sizeof file, "%s.lock", node_name(node));
    config_run_path(config, file, path);
    return lock_take(path, &fd, error);
}

pid_t lock_holder(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    pid_t holder;

    if (fd < 0)
        return 0;
    holder = holder_of(fd);
    close(fd);
    return holder;
}
