#include "server/storage.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "server/storage_state.h"

/* ---- What the threads use ---- */

void storage_jobs_add(struct storage_jobs *jobs, const struct storage_job *job)
{
    if (jobs->count == jobs->capacity) {
        jobs->capacity = jobs->capacity ? 2 * jobs->capacity : 64;
        jobs->items = memory_grown(jobs->items, jobs->capacity * sizeof *jobs->items);
    }
    jobs->items[jobs->count++] = *job;
}

void storage_wake(struct storage *s)
{
    uint64_t one = 1;
    ssize_t size;

    do
        size = write(s->wake_fd, &one, sizeof one);
    while (size < 0 && errno == EINTR);
    assert(size == sizeof one || errno == EAGAIN); /* it is awake already */
}

void storage_fail(struct storage *s, const struct error *error)
{
    pthread_mutex_lock(&s->lock);
    if (!s->report.failed) {
        s->report.failed = true;
        s->report.error = *error;
    }
    pthread_mutex_unlock(&s->lock);
    storage_wake(s);
}

/* ---- What the threads have to say ---- */

static void jobs_free(struct storage_jobs *jobs)
{
    for (size_t i = 0; i < jobs->count; i++)
        if (jobs->items[i].owner)
            block_release(jobs->items[i].owner);
    free(jobs->items);
    *jobs = (struct storage_jobs){ 0 };
}

static struct storage_report report_take(struct storage *s, bool *full)
{
    struct storage_report report;

    pthread_mutex_lock(&s->lock);
    report = s->report;
    s->report = (struct storage_report){ .failed = report.failed };
    *full = s->full;
    pthread_mutex_unlock(&s->lock);
    return report;
}

static void checkpoint_close(struct storage *s, bool abandon);

static void tell_checkpoint(struct storage *s, const struct storage_report *report)
{
    const struct storage_options *o = &s->options;
    uint64_t generation = s->generation; /* what is told may lead to another one */

    for (uint32_t i = 0; i < report->slices && s->generation == generation; i++) {
        s->slices_under_way--;
        o->slice_written(o->context);
    }
    if (report->ended && s->checkpoint_open && s->generation == generation) {
        checkpoint_close(s, false);
        o->checkpoint_saved(o->context, report->done);
    }
}

/* A checkpoint that is being written would only take the room that the journal needs. */
static void tell_room(struct storage *s, bool full)
{
    const struct storage_options *o = &s->options;

    if (s->told_full == full)
        return;
    s->told_full = full;
    if (full && s->checkpoint_open) {
        checkpoint_close(s, true);
        o->checkpoint_saved(o->context, false);
    }
    o->room(o->context, full);
}

static void on_wake(evutil_socket_t fd, short what, void *context)
{
    struct storage *s = context;
    const struct storage_options *o = &s->options;
    struct storage_report report;
    uint64_t count;
    bool full;

    (void)what;
    if (read(fd, &count, sizeof count) < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    report = report_take(s, &full);
    jobs_free(&report.owned);
    if (s->told_ended)
        return;
    if (report.failed) {
        s->told_ended = true;
        o->failed(o->context, &report.error);
        return;
    }
    if (report.started)
        o->started(o->context);
    if (report.saved)
        o->saved(o->context, report.epoch, report.index);
    tell_checkpoint(s, &report);
    tell_room(s, full);
}

/* ---- The journal ---- */

void storage_persist(struct storage *s, uint64_t epoch, uint64_t index, struct bytes piece,
                     struct block *owner)
{
    block_hold(owner);
    storage_jobs_add(
        &s->turn,
        &(struct storage_job){
            .kind = JOB_PIECE, .epoch = epoch, .index = index, .piece = piece, .owner = owner });
}

void storage_reset(struct storage *s, uint64_t index, uint64_t view, struct journal_end discarded)
{
    s->complete = false;
    storage_checkpoint_abandon(s); /* of what is thrown away */
    pthread_mutex_lock(&s->lock);
    s->resets++;
    pthread_mutex_unlock(&s->lock);
    storage_jobs_add(&s->turn,
                     &(struct storage_job){
                         .kind = JOB_RESET, .index = index, .view = view, .discarded = discarded });
}

void storage_complete(struct storage *s, uint64_t epoch, uint64_t index)
{
    if (s->complete)
        return;
    s->complete = true;
    storage_jobs_add(&s->turn,
                     &(struct storage_job){ .kind = JOB_COMPLETE, .epoch = epoch, .index = index });
}

void storage_flush(struct storage *s)
{
    if (s->turn.count == 0)
        return;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->turn.count; i++)
        storage_jobs_add(&s->queued, &s->turn.items[i]);
    pthread_mutex_unlock(&s->lock);
    pthread_cond_signal(
        &s->journal_work); /* now: else it would wake up only to wait for the lock */
    s->turn.count = 0;
}

/* ---- Checkpoints ---- */

static void checkpoint_close(struct storage *s, bool abandon)
{
    s->checkpoint_open = s->checkpoint_whole = false;
    s->slices_under_way = 0;
    pthread_mutex_lock(&s->lock);
    s->generation++;
    s->report.slices = 0;
    s->report.ended = s->report.done = false;
    for (uint32_t i = 0; i < s->step_count; i++)
        free(s->steps[i].data);
    s->step_count = 0;
    if (abandon)
        s->abandon = true;
    pthread_cond_signal(&s->checkpoint_work);
    pthread_mutex_unlock(&s->lock);
}

static void step_add(struct storage *s, struct storage_step step)
{
    pthread_mutex_lock(&s->lock);
    assert(s->step_count < STORAGE_STEPS_MAX);
    s->steps[s->step_count++] = step;
    pthread_cond_signal(&s->checkpoint_work);
    pthread_mutex_unlock(&s->lock);
}

void storage_checkpoint_begin(struct storage *s, const struct checkpoint_head *head)
{
    storage_checkpoint_abandon(s);
    s->checkpoint_open = true;
    step_add(s, (struct storage_step){ .kind = STEP_BEGIN, .head = *head });
}

/* The next report gives up what cannot be taken. */
static void give_up(struct storage *s)
{
    pthread_mutex_lock(&s->lock);
    s->report.ended = s->abandon = true;
    s->report.done = false;
    pthread_cond_signal(&s->checkpoint_work);
    pthread_mutex_unlock(&s->lock);
    storage_wake(s);
}

void storage_checkpoint_slice(struct storage *s, struct bytes slice)
{
    struct storage_step step = { .kind = STEP_SLICE, .size = slice.size };

    if (!s->checkpoint_open || s->checkpoint_whole)
        return; /* given up, which the server has been told; or all was said */
    if (s->slices_under_way == STORAGE_SLICES_MAX) {
        give_up(s);
        return;
    }
    s->slices_under_way++;
    step.data = memory_take(slice.size ? slice.size : 1);
    if (slice.size)
        memcpy(step.data, slice.data, slice.size);
    step_add(s, step);
}

void storage_checkpoint_finish(struct storage *s)
{
    if (!s->checkpoint_open || s->checkpoint_whole)
        return;
    s->checkpoint_whole = true;
    step_add(s, (struct storage_step){ .kind = STEP_FINISH });
}

void storage_checkpoint_abandon(struct storage *s)
{
    if (s->checkpoint_open)
        checkpoint_close(s, true);
}

/* ---- From the beginning to the end ---- */

static void storage_free(struct storage *s)
{
    if (s->wake)
        event_free(s->wake);
    if (s->wake_fd >= 0)
        close(s->wake_fd);
    if (s->segments)
        segments_close(s->segments);
    for (uint32_t i = 0; i < s->step_count; i++)
        free(s->steps[i].data);
    jobs_free(&s->turn);
    jobs_free(&s->queued);
    jobs_free(&s->report.owned);
    free(s->taken.items);
    free(s->pieces);
    pthread_cond_destroy(&s->journal_work);
    pthread_cond_destroy(&s->checkpoint_work);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void lock_make(struct storage *s)
{
    pthread_condattr_t attributes;
    int status = pthread_condattr_init(&attributes);

    status |= pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    status |= pthread_cond_init(&s->journal_work, &attributes);
    status |= pthread_cond_init(&s->checkpoint_work, &attributes);
    status |= pthread_mutex_init(&s->lock, NULL);
    assert(status == 0); /* on Linux they only fail on wrong arguments */
    pthread_condattr_destroy(&attributes);
}

static enum error_code names_take(struct storage *s, struct error *error)
{
    const struct storage_options *o = &s->options;

    if ((size_t)snprintf(s->cluster, sizeof s->cluster, "%s", o->cluster) >= sizeof s->cluster ||
        (size_t)snprintf(s->server, sizeof s->server, "%s", o->server) >= sizeof s->server ||
        (size_t)snprintf(s->service, sizeof s->service, "%s", o->service) >= sizeof s->service)
        return error_set(
            error, ERROR_CONFIG,
            "the name of the cluster, the server or the service has more than %u bytes",
            NAME_SIZE - 1);
    if ((size_t)snprintf(s->directory, sizeof s->directory, "%s", o->directory) >=
        sizeof s->directory)
        return error_set(error, ERROR_CONFIG, "%s: the path is too long", o->directory);
    return ERROR_NONE;
}

static enum error_code wake_make(struct storage *s, struct error *error)
{
    s->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (s->wake_fd < 0)
        return error_system(error, "eventfd");
    s->wake = event_new(s->options.base, s->wake_fd, EV_READ | EV_PERSIST, on_wake, s);
    if (!s->wake || event_add(s->wake, NULL) != 0)
        return error_set(error, ERROR_SYSTEM, "no memory for an event");
    return ERROR_NONE;
}

enum error_code storage_open(struct storage **storage, const struct storage_options *options,
                             struct storage_past *past, struct error *error)
{
    struct storage *s = memory_zeroed(1, sizeof *s);

    s->options = *options;
    if (s->options.retry_ms == 0)
        s->options.retry_ms = STORAGE_RETRY_MS;
    s->wake_fd = -1;
    lock_make(s);
    if (names_take(s, error) != ERROR_NONE || wake_make(s, error) != ERROR_NONE ||
        folder_open(s, past, error) != ERROR_NONE) {
        storage_free(s);
        return error->code;
    }
    s->past = *past;
    s->segments_options = (struct segments_options){ .directory = s->directory,
                                                     .files = options->files,
                                                     .cluster = s->cluster,
                                                     .segment_bytes = options->segment_bytes };
    *storage = s;
    return ERROR_NONE;
}

static enum error_code threads_start(struct storage *s, struct error *error)
{
    int status = pthread_create(&s->journal_thread, NULL, storage_journal_main, s);

    if (status == 0) {
        status = pthread_create(&s->checkpoint_thread, NULL, storage_checkpoint_main, s);
        if (status == 0)
            return ERROR_NONE;
        pthread_mutex_lock(&s->lock);
        s->closing = true;
        pthread_cond_signal(&s->journal_work);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->journal_thread, NULL);
    }
    return error_set(error, ERROR_SYSTEM, "cannot start a thread: %s", strerror(status));
}

bool storage_cut(const struct storage *s, const struct segments_found *found)
{
    return s->past.intact && (s->past.cut || (s->past.rebooted && found->torn_bytes > 0));
}

enum error_code storage_start(struct storage *s, const struct segments_found *found, bool intact,
                              uint64_t last_index, bool outrun, struct error *error)
{
    assert(!s->running && !found->damaged);
    s->found = *found;
    s->life.clean = false;
    s->life.complete = intact;
    if (intact)
        s->life.discarded = (struct journal_end){ 0 };
    s->life.cut = intact && storage_cut(s, found);
    s->complete = intact && !s->life.cut;
    lives_add(&s->life.lives, s->options.incarnation);
    /* Entries that only the checkpoint has leave a gap, which must not be taken for a loss; and
     * what it has replaced must not be taken for what led to it. */
    s->begin_behind = outrun || last_index > found->last ? last_index : 0;
    if (threads_start(s, error) != ERROR_NONE)
        return error->code;
    s->running = true;
    return ERROR_NONE;
}

void storage_close(struct storage *s)
{
    if (!s)
        return;
    if (s->running) {
        storage_flush(s);
        pthread_mutex_lock(&s->lock);
        s->closing = true;
        pthread_cond_signal(&s->journal_work);
        pthread_cond_signal(&s->checkpoint_work);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->checkpoint_thread, NULL);
        pthread_join(s->journal_thread, NULL);
    }
    storage_free(s);
}
