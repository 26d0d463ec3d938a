#include "server/persistence.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "server/storage.h"

#define MB 1000000u

struct persistence {
    struct persistence_options options;
    struct server *server;
    char directory[CONFIG_PATH_SIZE];
    struct storage *storage;
    struct storage_past past;
    struct recovery *recovery; /* NULL when it is over */
    struct instant opened;
    struct progress without_room; /* phase FULL while the disk is */
    bool ready;
};

/* ---- What the storage tells ---- */

static void on_started(void *context)
{
    struct persistence *p = context;

    p->ready = true;
    p->options.ready(p->options.context);
}

static void on_saved(void *context, uint64_t epoch, uint64_t index)
{
    struct persistence *p = context;

    server_saved(p->server, epoch, index);
}

static void on_slice_written(void *context)
{
    struct persistence *p = context;
    struct runtime *runtime = p->options.runtime;

    server_slice_kept(p->server, runtime_turn_now(runtime), runtime_effects(runtime));
    runtime_carry_out(runtime);
}

static void on_checkpoint_saved(void *context, bool done)
{
    struct persistence *p = context;
    struct runtime *runtime = p->options.runtime;

    server_checkpoint_kept(p->server, runtime_turn_now(runtime), done, runtime_effects(runtime));
    runtime_carry_out(runtime);
}

static void on_room(void *context, bool full)
{
    struct persistence *p = context;

    if (full)
        log_line(NOTE_ERROR,
                 "%s: the disk is full: nothing is acknowledged, tried again every %u ms",
                 p->directory, STORAGE_RETRY_MS);
    else
        log_line(NOTE_INFO, "%s: there is room on the disk again", p->directory);
    p->without_room.phase = full ? PHASE_FULL : PHASE_NONE;
    server_disk_full(p->server, full);
}

static void fail(struct persistence *p, const struct error *error)
{
    (void)log_failure(error);
    p->options.failed(p->options.context);
}

static void on_failed(void *context, const struct error *error)
{
    struct persistence *p = context;

    log_line(NOTE_ERROR, "the end: what is on the disk is not known");
    fail(p, error);
}

/* ---- Recovery ---- */

static enum error_code begin_anew(struct persistence *p, const struct recovery_result *result,
                                  struct error *error)
{
    char where[CONFIG_PATH_SIZE];

    if (result->outcome == RECOVERY_UNFINISHED) {
        log_line(NOTE_INFO, "%s: %s: it begins anew, and joins from its peers", p->directory,
                 result->reason);
        return storage_discard(p->storage, error);
    }
    log_line(NOTE_ERROR, "damaged: %s", result->reason);
    if (storage_set_aside(p->storage, result->reason, where, error) != ERROR_NONE)
        return error->code;
    log_line(NOTE_WARN, "the damaged files are in %s: begins anew, and joins from its peers",
             where);
    return ERROR_NONE;
}

static enum error_code put_aside_unsound(struct persistence *p,
                                         const struct recovery_result *result, struct error *error)
{
    char where[CONFIG_PATH_SIZE];

    if (storage_set_aside_checkpoints(p->storage, result->unsound, result->unsound_count,
                                      result->reason, where, error) != ERROR_NONE)
        return error->code;
    log_line(NOTE_WARN, "what is damaged is in %s; an older checkpoint is sound", where);
    return ERROR_NONE;
}

static void say_recovered(const struct persistence *p, const struct recovery_result *result,
                          struct instant now)
{
    const struct segments_found *found = &result->found;
    const struct progress *progress = recovery_progress(p->recovery);

    if (found->torn_bytes > 0)
        log_line(NOTE_INFO, "%s, offset %llu: %llu bytes of an unfinished group are cut off",
                 found->file, (unsigned long long)found->offset,
                 (unsigned long long)found->torn_bytes);
    log_line(NOTE_INFO,
             "recovered: entry %llu (checkpoint %llu, %llu records), %llu MB in %llu ms, %u MB/s",
             (unsigned long long)result->last_index, (unsigned long long)result->checkpoint_index,
             (unsigned long long)found->records, (unsigned long long)(progress->bytes / MB),
             (unsigned long long)instant_since_ms(now, p->opened),
             progress_mb_per_second(progress, now));
    if (storage_cut(p->storage, found))
        log_line(NOTE_WARN,
                 "the machine was started anew and the journal's end was cut: it may be a "
                 "group that was acknowledged");
    if (!p->past.intact)
        log_line(NOTE_WARN, "the journal may lack entries: %s", p->past.reason);
}

static enum error_code conclude(struct persistence *p, const struct recovery_result *result,
                                struct instant now, struct error *error)
{
    const struct storage_past none = { 0 };
    const struct storage_past *past = result->outcome == RECOVERY_DAMAGED ? &none : &p->past;
    bool sound = result->outcome == RECOVERY_SOUND;

    if (!sound && begin_anew(p, result, error) != ERROR_NONE)
        return error->code;
    if (sound && result->unsound_count > 0 && put_aside_unsound(p, result, error) != ERROR_NONE)
        return error->code;
    if (sound && !p->past.fresh)
        say_recovered(p, result, now);
    if (sound && storage_cut(p->storage, &result->found))
        server_cut(p->server);
    server_lived(p->server, &past->lives, past->discarded);
    recovery_close(p->recovery);
    p->recovery = NULL;
    /* A complete journal of nothing at all has lost its files. */
    return storage_start(p->storage, &result->found,
                         sound && p->past.intact && result->last_index > 0, result->last_index,
                         result->outrun, error);
}

static struct server *renew(void *context)
{
    struct persistence *p = context;

    p->server = p->options.renew(p->options.context);
    return p->server;
}

void persistence_tick(struct persistence *p, struct instant now)
{
    struct recovery_result result;
    struct error error;
    bool done;

    if (!p->recovery)
        return;
    if (recovery_step(p->recovery, now, &done, &result, &error) != ERROR_NONE ||
        (done && conclude(p, &result, now, &error) != ERROR_NONE))
        fail(p, &error);
}

struct instant persistence_deadline(const struct persistence *p)
{
    struct instant at_once = { 0 };

    return p->recovery ? at_once : INSTANT_NEVER;
}

bool persistence_ready(const struct persistence *p)
{
    return p->ready;
}

const struct progress *persistence_progress(const struct persistence *p)
{
    if (p->recovery)
        return recovery_progress(p->recovery);
    return !p->ready && p->without_room.phase != PHASE_NONE ? &p->without_room : NULL;
}

/* ---- What the core wants ---- */

static void persist(struct persistence *p)
{
    uint64_t epoch, index;
    struct bytes piece;
    struct block *owner;

    while (server_persist_next(p->server, &epoch, &index, &piece, &owner))
        storage_persist(p->storage, epoch, index, piece, owner);
    if (server_complete(p->server, &epoch, &index))
        storage_complete(p->storage, epoch, index);
}

static void restart(struct persistence *p, uint64_t index)
{
    struct server_status status;

    server_status(p->server, runtime_turn_now(p->options.runtime), &status);
    storage_reset(p->storage, index, status.view, server_discarded(p->server));
}

static void keep(struct persistence *p, const struct message *message)
{
    const struct message_checkpoint_begin *begin = &message->checkpoint_begin;
    struct checkpoint_head head;

    if (message->type == MESSAGE_CHECKPOINT_SLICE) {
        storage_checkpoint_slice(p->storage, message->checkpoint_slice.data);
        return;
    }
    assert(message->type == MESSAGE_CHECKPOINT_BEGIN);
    head = (struct checkpoint_head){ .base = begin->base_index,
                                     .index = begin->index,
                                     .view = begin->index_view,
                                     .time_us = begin->time_us,
                                     .digest = begin->digest };
    (void)snprintf(head.cluster, sizeof head.cluster, "%s", p->options.config->cluster);
    (void)snprintf(head.service, sizeof head.service, "%s", p->options.service->name);
    storage_checkpoint_begin(p->storage, &head);
}

void persistence_perform(struct persistence *p, const struct effect *effect)
{
    switch (effect->type) {
    case EFFECT_PERSIST: persist(p); break;
    case EFFECT_RESTART: restart(p, effect->reference); break;
    case EFFECT_KEEP: keep(p, &effect->message); break;
    case EFFECT_KEEP_END:
        if (effect->number)
            storage_checkpoint_finish(p->storage);
        else
            storage_checkpoint_abandon(p->storage);
        break;
    default: break;
    }
}

void persistence_turn_end(struct persistence *p)
{
    if (p->ready)
        storage_flush(p->storage);
}

/* ---- From the beginning to the end ---- */

static enum error_code storage_begin(struct persistence *p, struct error *error)
{
    const struct config *config = p->options.config;
    struct storage_options options = {
        .directory = p->directory,
        .cluster = config->cluster,
        .server = node_name(p->options.self),
        .service = p->options.service->name,
        .incarnation = p->options.incarnation,
        .fsync = config->journal.fsync,
        .fsync_interval_ms = config->journal.fsync_interval_ms,
        .files = p->options.files,
        .base = runtime_base(p->options.runtime),
        .started = on_started,
        .saved = on_saved,
        .slice_written = on_slice_written,
        .checkpoint_saved = on_checkpoint_saved,
        .room = on_room,
        .failed = on_failed,
        .context = p,
    };

    return storage_open(&p->storage, &options, &p->past, error);
}

static enum error_code recovery_begin(struct persistence *p, struct error *error)
{
    struct recovery_options options = {
        .directory = p->directory,
        .cluster = p->options.config->cluster,
        .service = p->options.service->name,
        .files = p->options.files,
        .intact = p->past.intact,
        .clean = p->past.clean,
        .renew = renew,
        .context = p,
    };

    return recovery_open(&p->recovery, &options, p->server, p->opened, error);
}

enum error_code persistence_open(struct persistence **persistence,
                                 const struct persistence_options *options, struct server *server,
                                 struct error *error)
{
    struct persistence *p = memory_zeroed(1, sizeof *p);

    p->options = *options;
    p->server = server;
    p->opened = runtime_turn_now(options->runtime);
    config_run_path(options->config, node_name(options->self), p->directory);
    if (storage_begin(p, error) != ERROR_NONE || recovery_begin(p, error) != ERROR_NONE) {
        persistence_close(p);
        return error->code;
    }
    *persistence = p;
    return ERROR_NONE;
}

void persistence_close(struct persistence *p)
{
    if (!p)
        return;
    recovery_close(p->recovery);
    storage_close(p->storage);
    free(p);
}
