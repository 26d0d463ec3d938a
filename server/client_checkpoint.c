/* CHECKPOINT: how a backup gets at a checkpoint that this server has on its disk. */
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>

#include "server/checkpoint_file.h"
#include "server/clients.h"

/* A file that stays readable when newer checkpoints take its place. */
struct checkpoint_open {
    int fd;
    uint64_t size;
};

void checkpoint_forget(struct connection *c)
{
    if (!c->checkpoint)
        return;
    (void)files_system.close(files_system.context, c->checkpoint->fd);
    free(c->checkpoint);
    c->checkpoint = NULL;
    c->clients->checkpoints_open--;
}

/* 0: the journal of this server has not got that far; ask again. */
static void save(struct connection *c, uint64_t index)
{
    reply_integer(c, c->clients->options.keep(c->clients->options.context, index));
}

static enum error_code open_file(struct connection *c, uint64_t index, struct error *error)
{
    struct checkpoint_open checkpoint;
    char path[PATH_MAX];

    checkpoint_path(c->clients->options.checkpoints, index, path, sizeof path);
    if (files_open(&files_system, path, O_RDONLY, &checkpoint.fd, error) != ERROR_NONE)
        return error->code;
    if (files_size(&files_system, checkpoint.fd, path, &checkpoint.size, error) != ERROR_NONE) {
        (void)files_system.close(files_system.context, checkpoint.fd);
        return error->code;
    }
    c->checkpoint = memory_take(sizeof *c->checkpoint);
    *c->checkpoint = checkpoint;
    c->clients->checkpoints_open++;
    return ERROR_NONE;
}

/* Only a file that is whole and safe has its name. */
static void open_newest(struct connection *c, uint64_t index)
{
    struct buffer *out;
    struct error error;
    uint64_t newest;
    uint32_t count;

    checkpoint_forget(c);
    if (c->clients->checkpoints_open == CHECKPOINTS_OPEN_MAX) {
        reply_error(c, "ERR %u checkpoints are being read already: try again later",
                    CHECKPOINTS_OPEN_MAX);
        return;
    }
    if (checkpoint_list(c->clients->options.checkpoints, &newest, 1, &count, &error) !=
            ERROR_NONE ||
        (count > 0 && newest >= index && open_file(c, newest, &error) != ERROR_NONE)) {
        reply_error(c, "ERR %s", error.text);
        return;
    }
    out = reply_begin(c);
    if (c->checkpoint) {
        resp_write_array(out, 2);
        resp_write_integer(out, (int64_t)newest);
        resp_write_integer(out, (int64_t)c->checkpoint->size);
    } else {
        resp_write_null(out);
    }
    reply_end(c);
}

/* One piece at a time, however many are asked for: a turn of the loop reads no more than that for
 * each of the few that may read. */
static void read_piece(struct connection *c, uint64_t offset)
{
    uint8_t *piece;
    struct error error;
    size_t got;

    if (!c->checkpoint) {
        reply_error(c, "ERR no checkpoint is open on this connection");
        return;
    }
    if (buffer_size(&c->out) > 0 || c->answer_count > 0) {
        reply_error(c, "ERR read the reply to the command before, then ask for more");
        return;
    }
    piece = memory_take(CHECKPOINT_READ_BYTES);
    if (files_read(&files_system, c->checkpoint->fd, "the checkpoint", piece, CHECKPOINT_READ_BYTES,
                   offset, &got, &error) == ERROR_NONE) {
        resp_write_bulk(reply_begin(c), bytes_of(piece, got));
        reply_end(c);
    } else {
        reply_error(c, "ERR %s", error.text);
    }
    free(piece);
}

bool handle_checkpoint(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    static const struct subcommand list[] = { { "open", 3 }, { "read", 3 }, { "save", 3 } };
    int64_t number;

    if (!SUBCOMMAND_FITS(c, "checkpoint", list, argc, argv))
        return true;
    if (!resp_integer(argv[2], &number) || number < 0)
        reply_error(c, "ERR value is not an integer or out of range");
    else if (!c->clients->options.checkpoints)
        reply_error(c, "ERR there are no checkpoints: journal.storage is \"memory\"");
    else if (resp_is(argv[1], "save"))
        save(c, (uint64_t)number);
    else if (resp_is(argv[1], "open"))
        open_newest(c, (uint64_t)number);
    else
        read_piece(c, (uint64_t)number);
    return true;
}
