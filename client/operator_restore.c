/* restore: a backup becomes the state of a cluster that is down and has none. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/local.h"
#include "client/operator.h"
#include "common/directory.h"
#include "common/lock.h"
#include "server/restore.h"

struct restore {
    const struct config *config;
    const char *path;
    struct checkpoint_head head;
    uint32_t servers[SERVER_COUNT_MAX]; /* of this machine */
    uint32_t count;
};

static void folder_of(const struct restore *r, uint32_t i, char folder[CONFIG_PATH_SIZE])
{
    config_run_path(r->config, node_name(NODE_SERVER(r->servers[i])), folder);
}

static enum error_code check_file(struct restore *r, struct error *error)
{
    if (r->config->journal.storage != STORAGE_DISK)
        return error_set(error, ERROR_REFUSED,
                         "%s: journal.storage is \"memory\": expected \"disk\"; servers that keep "
                         "nothing on disk cannot be restored from it",
                         r->config->path);
    if (restore_check(&files_system, r->path, &r->head, error) != ERROR_NONE)
        return error->code;
    if (strcmp(r->head.cluster, r->config->cluster) != 0)
        return error_set(error, ERROR_REFUSED, "%s is of cluster \"%s\", expected \"%s\"", r->path,
                         r->head.cluster, r->config->cluster);
    return ERROR_NONE;
}

static enum error_code find_servers(struct restore *r, struct error *error)
{
    for (uint32_t i = 0; i < r->config->server_count; i++)
        if (local_address(r->config->servers[i].address))
            r->servers[r->count++] = i;
    if (r->count == 0)
        return error_set(error, ERROR_REFUSED, "%s: no server in it is of this machine",
                         r->config->path);
    return ERROR_NONE;
}

/* For as long as we live: nobody starts meanwhile. */
static enum error_code take_locks(const struct restore *r, struct error *error)
{
    char path[CONFIG_PATH_SIZE];
    enum error_code code;
    int lock;

    if (directory_make(r->config->run_dir, error) != ERROR_NONE)
        return error->code;
    config_run_path(r->config, "launcher.lock", path);
    code = lock_take(path, &lock, error);
    if (code == ERROR_REFUSED)
        return error_set(error, ERROR_REFUSED,
                         "cluster %s is up: process %ld holds %s; expected it to be down",
                         r->config->cluster, (long)lock_holder(path), path);
    if (code != ERROR_NONE || lock_take_node(r->config, NODE_RM, error) != ERROR_NONE)
        return error->code;
    for (uint32_t i = 0; i < r->count; i++)
        if (lock_take_node(r->config, NODE_SERVER(r->servers[i]), error) != ERROR_NONE)
            return error->code;
    return ERROR_NONE;
}

/* The rm must not know of views that the backup does not. */
static enum error_code refuse_what_is_there(const struct restore *r, struct error *error)
{
    char path[CONFIG_PATH_SIZE];

    config_run_path(r->config, "rm.store", path);
    if (access(path, F_OK) == 0)
        return error_set(error, ERROR_REFUSED,
                         "%s: the rm knows an earlier life of cluster %s: expected an empty run "
                         "directory; move it away to restore",
                         path, r->config->cluster);
    if (errno != ENOENT)
        return error_system(error, "cannot look at %s", path);
    for (uint32_t i = 0; i < r->count; i++) {
        folder_of(r, i, path);
        if (restore_refuse(&files_system, path, node_name(NODE_SERVER(r->servers[i])), &r->head,
                           error) != ERROR_NONE)
            return error->code;
    }
    return ERROR_NONE;
}

/* All or none. */
static enum error_code place(const struct restore *r, struct error *error)
{
    char folder[CONFIG_PATH_SIZE];

    for (uint32_t i = 0; i < r->count; i++) {
        folder_of(r, i, folder);
        if (restore_place(&files_system, r->path, folder, node_name(NODE_SERVER(r->servers[i])),
                          error) == ERROR_NONE)
            continue;
        while (i-- > 0) {
            folder_of(r, i, folder);
            restore_undo(&files_system, folder, r->head.index);
        }
        return error->code;
    }
    return ERROR_NONE;
}

int operator_restore(const struct invocation *call)
{
    struct restore r = { .config = &call->config, .path = call->words[0] };
    struct error error;

    if (check_file(&r, &error) != ERROR_NONE || find_servers(&r, &error) != ERROR_NONE ||
        take_locks(&r, &error) != ERROR_NONE || refuse_what_is_there(&r, &error) != ERROR_NONE ||
        place(&r, &error) != ERROR_NONE)
        return operator_failure(&error);
    printf("cluster %s is restored to entry %" PRIu64 " on this machine:", r.config->cluster,
           r.head.index);
    for (uint32_t i = 0; i < r.count; i++)
        printf(" %s", node_name(NODE_SERVER(r.servers[i])));
    printf("%s\n", r.count < r.config->server_count
                       ? "; do the same on the others before you start it"
                       : "");
    return EXIT_SUCCESS;
}
