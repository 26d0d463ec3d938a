#include "server/restore.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/storage_state.h"

enum error_code restore_check(const struct files *files, const char *path,
                              struct checkpoint_head *head, struct error *error)
{
    struct checkpoint_reader *reader;
    struct bytes slice;
    uint64_t bytes;
    bool done = false;
    enum error_code code = checkpoint_reader_open(&reader, files, path, head, &bytes, error);

    if (code != ERROR_NONE)
        return code;
    while (code == ERROR_NONE && !done)
        code = checkpoint_reader_next(reader, &slice, &done, error);
    checkpoint_reader_close(reader);
    if (code == ERROR_NONE && head->base > 0)
        code = error_set(error, ERROR_REFUSED,
                         "%s tells only what changed since entry %llu: expected a whole checkpoint",
                         path, (unsigned long long)head->base);
    return code;
}

/* What storage_folder.c needs to know of a server. */
static struct storage *folder_of(const struct files *files, const char *directory,
                                 const char *server, const struct checkpoint_head *head)
{
    struct storage *s = memory_zeroed(1, sizeof *s);

    s->options.files = files;
    (void)snprintf(s->directory, sizeof s->directory, "%s", directory);
    (void)snprintf(s->server, sizeof s->server, "%s", server);
    (void)snprintf(s->cluster, sizeof s->cluster, "%s", head->cluster);
    (void)snprintf(s->service, sizeof s->service, "%s", head->service);
    return s;
}

enum error_code restore_refuse(const struct files *files, const char *directory, const char *server,
                               const struct checkpoint_head *head, struct error *error)
{
    struct storage *s = folder_of(files, directory, server, head);
    struct storage_past past;
    enum error_code code = folder_open(s, &past, error);

    if (code == ERROR_NONE && !past.fresh)
        code = error_set(error, ERROR_REFUSED,
                         "%s holds a journal or checkpoints: expected an empty directory; move it "
                         "away to restore",
                         directory);
    free(s);
    return code;
}

static enum error_code copy(struct checkpoint_reader *reader, struct checkpoint_writer *writer,
                            struct error *error)
{
    struct bytes slice;
    bool done = false;

    while (!done) {
        enum error_code code = checkpoint_reader_next(reader, &slice, &done, error);

        if (code == ERROR_NONE && !done)
            code = checkpoint_writer_slice(writer, slice, error);
        if (code != ERROR_NONE) {
            checkpoint_writer_abandon(writer);
            return code;
        }
    }
    return checkpoint_writer_finish(writer, error);
}

/* Last of all: with it the directory counts. */
static enum error_code vouch(const struct files *files, const char *directory, const char *server,
                             const struct checkpoint_head *head, struct error *error)
{
    struct storage *s = folder_of(files, directory, server, head);
    enum error_code code;

    s->life = (struct storage_life){ .fsync = FSYNC_ALWAYS, .clean = true, .complete = true };
    code = folder_write_life(s, error);
    free(s);
    return code;
}

enum error_code restore_place(const struct files *files, const char *path, const char *directory,
                              const char *server, struct error *error)
{
    struct checkpoint_reader *reader;
    struct checkpoint_writer *writer;
    struct checkpoint_head head;
    uint64_t bytes;
    enum error_code code = checkpoint_reader_open(&reader, files, path, &head, &bytes, error);

    if (code != ERROR_NONE)
        return code;
    code = checkpoint_writer_open(&writer, files, directory, &head, error);
    if (code == ERROR_NONE)
        code = copy(reader, writer, error);
    checkpoint_reader_close(reader);
    if (code == ERROR_NONE)
        code = vouch(files, directory, server, &head, error);
    if (code != ERROR_NONE)
        restore_undo(files, directory, head.index);
    return code;
}

/* What vouches for the state goes first: an empty directory must not count as a whole one. */
void restore_undo(const struct files *files, const char *directory, uint64_t index)
{
    char path[PATH_MAX];

    if ((size_t)snprintf(path, sizeof path, "%s/life", directory) < sizeof path)
        (void)files->unlink(files->context, path);
    checkpoint_path(directory, index, path, sizeof path);
    (void)files->unlink(files->context, path);
}
