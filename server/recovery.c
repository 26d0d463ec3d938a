#include "server/recovery.h"

#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

enum stage { STAGE_CHOOSE, STAGE_STATE, STAGE_JOURNAL };

struct recovery {
    struct recovery_options options;
    struct server *server;
    enum stage stage;
    uint64_t indexes[RECOVERY_CHECKPOINTS_MAX]; /* of the checkpoints, newest first */
    uint32_t count, next;                       /* next: the one to be tried */
    uint64_t changes[RECOVERY_CHANGES_MAX];     /* of all checkpoints, oldest first */
    uint32_t changes_count;
    uint64_t chain_last; /* changes behind this entry do not belong to the checkpoint at hand */
    struct checkpoint_name at; /* what is being read */
    struct checkpoint_reader *state;
    struct checkpoint_head head;
    struct segments_reader *journal;
    uint64_t checkpoint_index; /* of the state that is in, 0 if none */
    uint64_t checkpoint_view;  /* of that entry */
    bool fits;                 /* the journal, as far as it was read, has that entry */
    uint64_t state_bytes;      /* read of the present checkpoint and its changes */
    uint64_t state_bytes_total, journal_bytes, journal_bytes_total;
    struct checkpoint_name unsound[RECOVERY_UNSOUND_MAX];
    uint32_t unsound_count;
    char damage[ERROR_TEXT_SIZE]; /* the first that was met, empty if none */
    struct progress progress;
};

/* ---- What the journal's reader finds ---- */

static void on_reset(void *context, uint64_t index, uint64_t view)
{
    struct recovery *r = context;

    (void)view;
    r->fits = index == r->checkpoint_index;
    server_recover_reset(r->server, index);
}

/* The record that takes the place says so itself. */
static void on_truncate(void *context, uint64_t last)
{
    (void)context;
    (void)last;
}

static void on_record(void *context, const struct journal_record *header, struct bytes record)
{
    struct recovery *r = context;

    r->journal_bytes += record.size;
    if (header->index <= r->checkpoint_index)
        r->fits = header->index == r->checkpoint_index && header->view == r->checkpoint_view;
    server_recover_entry(r->server, header, record);
}

/* ---- Beginning ---- */

enum error_code recovery_open(struct recovery **recovery, const struct recovery_options *options,
                              struct server *server, struct instant now, struct error *error)
{
    struct recovery *r = memory_zeroed(1, sizeof *r);
    struct segments_options segments = { .directory = options->directory,
                                         .files = options->files,
                                         .cluster = options->cluster };
    struct segments_visitor visitor = {
        .reset = on_reset, .truncate = on_truncate, .record = on_record, .context = r
    };

    r->options = *options;
    r->server = server;
    if (checkpoint_list(options->directory, r->indexes, RECOVERY_CHECKPOINTS_MAX, &r->count,
                        error) != ERROR_NONE ||
        checkpoint_changes_list(options->directory, 0, r->changes, RECOVERY_CHANGES_MAX,
                                &r->changes_count, error) != ERROR_NONE ||
        segments_reader_open(&r->journal, &segments, &visitor, error) != ERROR_NONE) {
        free(r);
        return error->code;
    }
    r->journal_bytes_total = segments_reader_bytes_total(r->journal);
    progress_begin(&r->progress, now, PHASE_LOADING, r->journal_bytes_total);
    *recovery = r;
    return ERROR_NONE;
}

void recovery_close(struct recovery *r)
{
    if (!r)
        return;
    if (r->state)
        checkpoint_reader_close(r->state);
    if (r->journal)
        segments_reader_close(r->journal);
    free(r);
}

static enum error_code renew(struct recovery *r, struct error *error)
{
    r->server = r->options.renew(r->options.context);
    if (!r->server)
        return error_set(error, ERROR_SYSTEM, "no memory for an empty state");
    return ERROR_NONE;
}

/* ---- The checkpoint ---- */

static void add_unsound(struct recovery *r, struct checkpoint_name name)
{
    if (r->unsound_count < RECOVERY_UNSOUND_MAX)
        r->unsound[r->unsound_count++] = name;
}

/* Of what is at hand. The changes behind it, up to the end of its chain, are of no use then. */
static void note_damage(struct recovery *r, const char *text)
{
    log_line(NOTE_WARN, "%s", text);
    add_unsound(r, r->at);
    for (uint32_t i = 0; i < r->changes_count; i++)
        if (r->changes[i] > r->at.index && r->changes[i] <= r->chain_last)
            add_unsound(r, (struct checkpoint_name){ r->changes[i], true });
    if (!r->damage[0])
        (void)snprintf(r->damage, sizeof r->damage, "%s", text);
}

static void state_close(struct recovery *r)
{
    if (r->state)
        checkpoint_reader_close(r->state);
    r->state = NULL;
    r->stage = STAGE_CHOOSE;
}

/* The one before it may be sound. A chain is begun again, up to the damage in it. */
static enum error_code state_give_up(struct recovery *r, const char *text, struct error *error)
{
    note_damage(r, text);
    if (r->at.changes) {
        r->chain_last = r->at.index - 1;
        r->next--;
    }
    state_close(r);
    r->checkpoint_index = 0;
    return renew(r, error);
}

static bool is_ours(const struct recovery *r, struct error *error)
{
    if (strcmp(r->head.cluster, r->options.cluster) == 0 &&
        strcmp(r->head.service, r->options.service) == 0)
        return true;
    error_set(error, ERROR_PROTOCOL,
              "the checkpoint of entry %llu is of cluster \"%s\" and service \"%s\", expected "
              "\"%s\" and \"%s\"",
              (unsigned long long)r->head.index, r->head.cluster, r->head.service,
              r->options.cluster, r->options.service);
    return false;
}

/* Whole, or based on what is in. */
static bool follows(const struct recovery *r, struct error *error)
{
    uint64_t base = r->at.changes ? r->checkpoint_index : 0;

    if (r->head.base == base && r->head.index == r->at.index)
        return true;
    error_set(error, ERROR_PROTOCOL,
              "the checkpoint of entry %llu tells what changed since entry %llu, expected %llu",
              (unsigned long long)r->head.index, (unsigned long long)r->head.base,
              (unsigned long long)base);
    return false;
}

static enum error_code state_open(struct recovery *r, struct error *error)
{
    char path[PATH_MAX];
    enum error_code code;
    uint64_t bytes = 0;

    checkpoint_name_path(r->options.directory, r->at, path, sizeof path);
    code = checkpoint_reader_open(&r->state, r->options.files, path, &r->head, &bytes, error);
    if (code == ERROR_PROTOCOL)
        return state_give_up(r, error->text, error);
    if (code != ERROR_NONE)
        return code;
    if (!is_ours(r, error) || !follows(r, error))
        return state_give_up(r, error->text, error);
    r->state_bytes = r->at.changes ? r->state_bytes : 0;
    r->state_bytes_total = r->state_bytes + bytes;
    r->stage = STAGE_STATE;
    server_recover_state_begin(r->server, !r->at.changes);
    return ERROR_NONE;
}

/* A checkpoint, unless the one at hand is only begun again. */
static enum error_code choose(struct recovery *r, struct error *error)
{
    if (r->next == r->count) {
        r->stage = STAGE_JOURNAL;
        return ERROR_NONE;
    }
    if (!r->at.changes)
        r->chain_last = r->next > 0 ? r->indexes[r->next - 1] : UINT64_MAX;
    r->at = (struct checkpoint_name){ .index = r->indexes[r->next++] };
    return state_open(r, error);
}

/* The changes to what is in, if there are any. */
static enum error_code go_on(struct recovery *r, struct error *error)
{
    for (uint32_t i = 0; i < r->changes_count; i++)
        if (r->changes[i] > r->checkpoint_index && r->changes[i] <= r->chain_last) {
            r->at = (struct checkpoint_name){ r->changes[i], true };
            return state_open(r, error);
        }
    r->stage = STAGE_JOURNAL;
    return ERROR_NONE;
}

static enum error_code state_end(struct recovery *r, struct error *error)
{
    const struct checkpoint_head *head = &r->head;
    char text[128];

    if (!server_recover_state_end(r->server, head->index, head->view, head->time_us,
                                  head->digest)) {
        (void)snprintf(text, sizeof text,
                       "the checkpoint of entry %llu does not come to the digest in its header",
                       (unsigned long long)head->index);
        return state_give_up(r, text, error);
    }
    r->checkpoint_index = head->index;
    r->checkpoint_view = head->view;
    state_close(r);
    return go_on(r, error);
}

/* One slice; *taken bytes of it. */
static enum error_code take_slice(struct recovery *r, size_t *taken, struct error *error)
{
    struct bytes slice = { 0 };
    char text[128];
    bool done;
    enum error_code code = checkpoint_reader_next(r->state, &slice, &done, error);

    if (code == ERROR_PROTOCOL)
        return state_give_up(r, error->text, error);
    if (code != ERROR_NONE)
        return code;
    if (done)
        return state_end(r, error);
    *taken = slice.size;
    r->state_bytes += slice.size;
    if (server_recover_state_slice(r->server, slice))
        return ERROR_NONE;
    (void)snprintf(text, sizeof text, "the checkpoint of entry %llu has a slice of no sense",
                   (unsigned long long)r->head.index);
    return state_give_up(r, text, error);
}

static enum error_code state_step(struct recovery *r, struct error *error)
{
    size_t sum = 0, taken = 0;

    while (r->stage == STAGE_STATE && sum < RECOVERY_STEP_BYTES) {
        if (take_slice(r, &taken, error) != ERROR_NONE)
            return error->code;
        sum += taken;
    }
    return ERROR_NONE;
}

/* ---- The journal, and the end ---- */

/* A life that ended in order leaves nothing half written. */
static void judge_tail(const struct recovery *r, struct segments_found *found)
{
    if (r->options.clean && found->torn_bytes > 0)
        found->damaged = true;
}

static enum recovery_outcome judge(struct recovery *r, struct recovery_result *result)
{
    struct server_status status;

    judge_tail(r, &result->found);
    if (result->found.damaged) {
        (void)snprintf(result->reason, sizeof result->reason, "%s/%s, offset %llu: %s",
                       r->options.directory, result->found.file,
                       (unsigned long long)result->found.offset, result->found.reason);
        return RECOVERY_DAMAGED;
    }
    (void)snprintf(result->reason, sizeof result->reason, "%s", r->damage);
    memcpy(result->unsound, r->unsound, sizeof result->unsound);
    result->unsound_count = r->unsound_count;
    if (server_recovered(r->server, r->options.intact)) {
        server_status(r->server, r->progress.started, &status);
        result->checkpoint_index = r->checkpoint_index;
        result->last_index = status.journal_index;
        result->outrun = result->last_index == r->checkpoint_index && !r->fits;
        return RECOVERY_SOUND;
    }
    if (r->unsound_count > 0)
        return RECOVERY_DAMAGED;
    if (r->options.intact) {
        (void)snprintf(result->reason, sizeof result->reason,
                       "%s: the journal has a gap behind the newest checkpoint, and was complete: "
                       "a file is missing",
                       r->options.directory);
        return RECOVERY_DAMAGED;
    }
    (void)snprintf(result->reason, sizeof result->reason, "a join was not finished");
    return RECOVERY_UNFINISHED;
}

static enum error_code journal_step(struct recovery *r, bool *done, struct recovery_result *result,
                                    struct error *error)
{
    if (segments_reader_step(r->journal, RECOVERY_STEP_BYTES, done, &result->found, error) !=
        ERROR_NONE)
        return error->code;
    if (!*done)
        return ERROR_NONE;
    result->outcome = judge(r, result);
    if (result->outcome == RECOVERY_SOUND)
        return ERROR_NONE;
    result->found = (struct segments_found){ 0 };
    return renew(r, error);
}

const struct progress *recovery_progress(const struct recovery *r)
{
    return &r->progress;
}

static void note_progress(struct recovery *r, struct instant now)
{
    struct progress *p = &r->progress;
    char text[PROGRESS_TEXT_SIZE];

    p->phase = r->stage == STAGE_JOURNAL ? PHASE_REPLAYING : PHASE_LOADING;
    p->bytes = r->state_bytes + r->journal_bytes;
    p->bytes_total = r->state_bytes_total + r->journal_bytes_total;
    if (p->bytes > p->bytes_total)
        p->bytes_total = p->bytes;
    if (progress_say(p, now, text))
        log_line(NOTE_INFO, "%s: %s", phase_name((uint8_t)p->phase), text);
}

enum error_code recovery_step(struct recovery *r, struct instant now, bool *done,
                              struct recovery_result *result, struct error *error)
{
    enum error_code code = ERROR_NONE;

    *done = false;
    *result = (struct recovery_result){ 0 };
    switch (r->stage) {
    case STAGE_CHOOSE: code = choose(r, error); break;
    case STAGE_STATE: code = state_step(r, error); break;
    case STAGE_JOURNAL: code = journal_step(r, done, result, error); break;
    }
    note_progress(r, now);
    return code;
}
