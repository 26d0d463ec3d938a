/* The journal's thread: takes what was handed over, writes it as one group, syncs, and says so. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "server/storage_state.h"

/* ---- Time ---- */

static struct timespec now(void)
{
    struct timespec t;
    int status = clock_gettime(CLOCK_MONOTONIC, &t);

    assert(status == 0);
    (void)status;
    return t;
}

static struct timespec after_ms(struct timespec t, uint32_t ms)
{
    t.tv_sec += ms / 1000u;
    t.tv_nsec += (long)(ms % 1000u) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_nsec -= 1000000000;
        t.tv_sec++;
    }
    return t;
}

static bool reached(struct timespec at)
{
    struct timespec t = now();

    return t.tv_sec > at.tv_sec || (t.tv_sec == at.tv_sec && t.tv_nsec >= at.tv_nsec);
}

/* ---- A disk that may be full ---- */

/* Tells the loop, and waits for a while. False when the end comes first. */
static bool wait_for_room(struct storage *s)
{
    struct timespec until = after_ms(now(), s->options.retry_ms);
    bool closing;

    pthread_mutex_lock(&s->lock);
    s->full = true;
    pthread_mutex_unlock(&s->lock);
    storage_wake(s);
    pthread_mutex_lock(&s->lock);
    while (!s->closing && !reached(until))
        (void)pthread_cond_timedwait(&s->journal_work, &s->lock, &until);
    closing = s->closing;
    pthread_mutex_unlock(&s->lock);
    return !closing;
}

static void there_is_room(struct storage *s)
{
    pthread_mutex_lock(&s->lock);
    s->full = false;
    pthread_mutex_unlock(&s->lock);
    storage_wake(s);
}

typedef enum error_code disk_act(struct storage *s, const struct storage_job *jobs, size_t count,
                                 struct error *error);

/* What was told to be written and was not synced may be lost with a sync that failed, without any
 * reboot. Removing a file is seen by the next life even when it does not get to the disk. */
static void forget_life(struct storage *s)
{
    char path[PATH_MAX];
    struct error error;

    (void)snprintf(path, sizeof path, "%s/life", s->directory);
    if (s->options.fsync != FSYNC_ALWAYS)
        (void)files_unlink(s->options.files, path, &error); /* a reboot would do as well */
}

static bool reset_waits(struct storage *s)
{
    bool waits;

    pthread_mutex_lock(&s->lock);
    waits = s->resets > 0;
    pthread_mutex_unlock(&s->lock);
    return waits;
}

/* Does one thing to the disk, again and again while that is full, or until there is no need. False:
 * the thread is to end. */
static bool insist_unless(struct storage *s, disk_act *act, const struct storage_job *jobs,
                          size_t count, bool (*needless)(struct storage *s), bool *done)
{
    bool full = false;
    struct error error;

    for (;;) {
        enum error_code code = act(s, jobs, count, &error);

        *done = code == ERROR_NONE;
        if (*done || (code == ERROR_LIMIT && needless && needless(s))) {
            if (full)
                there_is_room(s);
            return true;
        }
        if (code != ERROR_LIMIT) {
            forget_life(s);
            storage_fail(s, &error);
            return false;
        }
        full = true;
        if (!wait_for_room(s))
            return false;
    }
}

static bool insist(struct storage *s, disk_act *act, const struct storage_job *jobs, size_t count)
{
    bool done;

    return insist_unless(s, act, jobs, count, NULL, &done);
}

/* ---- What is done to the disk ---- */

static enum error_code act_start(struct storage *s, const struct storage_job *jobs, size_t count,
                                 struct error *error)
{
    uint64_t oldest;

    (void)jobs;
    (void)count;
    if (checkpoint_tidy(s->options.files, s->directory, &oldest, error) != ERROR_NONE)
        return error->code;
    if (!s->segments &&
        segments_open(&s->segments, &s->segments_options, &s->found, error) != ERROR_NONE)
        return error->code;
    if (oldest > 0 && segments_drop(s->segments, oldest, error) != ERROR_NONE)
        return error->code;
    return folder_write_life(s, error);
}

static enum error_code act_write(struct storage *s, const struct storage_job *jobs, size_t count,
                                 struct error *error)
{
    if (count > s->pieces_capacity) {
        s->pieces_capacity = 2 * count;
        s->pieces = memory_grown(s->pieces, s->pieces_capacity * sizeof *s->pieces);
    }
    for (size_t i = 0; i < count; i++)
        s->pieces[i] = jobs[i].piece;
    s->unsynced = true;
    return segments_write(s->segments, s->pieces, count, error);
}

static enum error_code act_reset(struct storage *s, const struct storage_job *jobs, size_t count,
                                 struct error *error)
{
    (void)count;
    s->unsynced = true;
    return segments_reset(s->segments, jobs->index, jobs->view, error);
}

/* The state that they show was thrown away, and the cluster may have gone on without some of it: of
 * two checkpoints the one of the later entry would still be taken for the newer. */
static enum error_code act_forget(struct storage *s, const struct storage_job *jobs, size_t count,
                                  struct error *error)
{
    (void)jobs;
    (void)count;
    if (checkpoint_remove_all(s->options.files, s->directory, error) != ERROR_NONE)
        return error->code;
    /* Nor is the journal before of any use then, and what follows may need its room. */
    return segments_drop(s->segments, UINT64_MAX, error);
}

static enum error_code act_drop(struct storage *s, const struct storage_job *jobs, size_t count,
                                struct error *error)
{
    (void)count;
    return segments_drop(s->segments, jobs->index, error);
}

static enum error_code act_sync(struct storage *s, const struct storage_job *jobs, size_t count,
                                struct error *error)
{
    (void)jobs;
    (void)count;
    if (segments_sync(s->segments, error) != ERROR_NONE)
        return error->code;
    s->unsynced = false;
    s->synced_at = now();
    return ERROR_NONE;
}

static enum error_code act_finish(struct storage *s, const struct storage_job *jobs, size_t count,
                                  struct error *error)
{
    (void)jobs;
    (void)count;
    return segments_finish(s->segments, error);
}

static enum error_code act_life(struct storage *s, const struct storage_job *jobs, size_t count,
                                struct error *error)
{
    (void)jobs;
    (void)count;
    return folder_write_life(s, error);
}

static bool set_complete(struct storage *s, bool complete, struct journal_end discarded)
{
    if (s->life.complete == complete && !s->life.cut && s->life.discarded.view == discarded.view &&
        s->life.discarded.index == discarded.index)
        return true;
    s->life.complete = complete;
    s->life.discarded = discarded;
    s->life.cut = false;
    return insist(s, act_life, NULL, 0);
}

/* ---- Groups ---- */

static struct timespec sync_due(const struct storage *s)
{
    return after_ms(s->synced_at, s->options.fsync_interval_ms);
}

static bool wants_sync(const struct storage *s)
{
    switch (s->options.fsync) {
    case FSYNC_ALWAYS: return s->unsynced;
    case FSYNC_INTERVAL: return s->unsynced && reached(sync_due(s));
    case FSYNC_NEVER: break;
    }
    return false;
}

/* Pieces that follow one another: entries of a later epoch may begin further in front. */
static size_t run_length(const struct storage_job *jobs, size_t count)
{
    size_t length = 0;

    while (length < count && jobs[length].kind == JOB_PIECE && jobs[length].epoch == jobs->epoch)
        length++;
    return length;
}

/* First the checkpoints: what is then left by a death half way comes to no state, or to one of the
 * past that has no voice. */
static bool write_reset(struct storage *s, const struct storage_job *job)
{
    bool done;

    pthread_mutex_lock(&s->lock);
    while (s->publishing)
        pthread_cond_wait(&s->journal_work, &s->lock);
    pthread_mutex_unlock(&s->lock);
    done = set_complete(s, false, job->discarded) && insist(s, act_forget, NULL, 0) &&
           insist(s, act_reset, job, 1);
    pthread_mutex_lock(&s->lock);
    if (done)
        s->resets--;
    pthread_cond_signal(&s->checkpoint_work);
    pthread_mutex_unlock(&s->lock);
    return done;
}

/* In order; a reset stands before what follows it, a drop needs no sync. What a reset is about to
 * throw away need not be written where the disk is full: the room that it lacks may be that of this
 * very journal. Nothing of it was said to be safe, or complete, and nobody waits for that any more.
 */
static bool write_jobs(struct storage *s, const struct storage_job *jobs, size_t count,
                       bool *complete)
{
    size_t length;

    for (size_t i = 0; i < count; i += length) {
        bool done = true, written;

        length = 1;
        switch (jobs[i].kind) {
        case JOB_PIECE:
            length = run_length(jobs + i, count - i);
            if (s->skipping) /* or there would be a gap */
                break;
            done = insist_unless(s, act_write, jobs + i, length, reset_waits, &written);
            s->skipping = done && !written;
            break;
        case JOB_RESET:
            *complete = false;
            done = write_reset(s, jobs + i);
            s->skipping = false;
            break;
        case JOB_COMPLETE: *complete = !s->skipping; break;
        case JOB_DROP: done = insist(s, act_drop, jobs + i, 1); break;
        }
        if (!done)
            return false;
    }
    return true;
}

static void report_group(struct storage *s, const struct storage_job *jobs, size_t count)
{
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < count; i++) {
        if (jobs[i].kind != JOB_PIECE && jobs[i].kind != JOB_COMPLETE)
            continue;
        s->report.saved = true;
        s->report.epoch = jobs[i].epoch;
        s->report.index = jobs[i].index;
        if (jobs[i].owner)
            storage_jobs_add(&s->report.owned, &jobs[i]);
    }
    pthread_mutex_unlock(&s->lock);
    storage_wake(s); /* now: else the loop would wake up only to wait for the lock */
}

/* Nothing is said to be safe before it is; nor before it is known to be complete, when it is. */
static bool write_group(struct storage *s, const struct storage_job *jobs, size_t count)
{
    bool complete = false;

    if (!write_jobs(s, jobs, count, &complete))
        return false;
    if (wants_sync(s) && !insist(s, act_sync, NULL, 0))
        return false;
    if (complete && !set_complete(s, true, (struct journal_end){ 0 }))
        return false;
    report_group(s, jobs, count);
    return true;
}

static size_t group_length(const struct storage_job *jobs, size_t count)
{
    size_t bytes = 0, length = 0;

    while (length < count &&
           (length == 0 || bytes + jobs[length].piece.size <= STORAGE_GROUP_BYTES_MAX))
        bytes += jobs[length++].piece.size;
    return length;
}

/* ---- The thread ---- */

/* Waits for work, for the time of the next sync, or for the end: false. */
static bool take_work(struct storage *s)
{
    bool due = false;

    s->taken.count = 0;
    pthread_mutex_lock(&s->lock);
    while (!s->closing && s->queued.count == 0 && !due) {
        struct timespec until = sync_due(s);

        if (s->options.fsync == FSYNC_INTERVAL && s->unsynced)
            due = pthread_cond_timedwait(&s->journal_work, &s->lock, &until) == ETIMEDOUT;
        else
            pthread_cond_wait(&s->journal_work, &s->lock);
    }
    bool more = !s->closing || s->queued.count > 0;
    struct storage_jobs empty = s->taken;
    s->taken = s->queued;
    s->queued = empty;
    pthread_mutex_unlock(&s->lock);
    return more;
}

/* What was taken and not written stays held until the loop lets go of it. */
static void give_back(struct storage *s, size_t from)
{
    pthread_mutex_lock(&s->lock);
    for (size_t i = from; i < s->taken.count; i++)
        storage_jobs_add(&s->report.owned, &s->taken.items[i]);
    pthread_mutex_unlock(&s->lock);
}

static bool write_taken(struct storage *s)
{
    size_t done = 0;

    while (done < s->taken.count) {
        size_t length = group_length(s->taken.items + done, s->taken.count - done);

        if (!write_group(s, s->taken.items + done, length)) {
            give_back(s, done);
            return false;
        }
        done += length;
    }
    return !wants_sync(s) || insist(s, act_sync, NULL, 0);
}

static bool start(struct storage *s)
{
    struct storage_job reset = { .kind = JOB_RESET, .index = s->begin_behind };

    if (!insist(s, act_start, NULL, 0))
        return false;
    s->synced_at = now();
    if (s->begin_behind > 0 && (!insist(s, act_reset, &reset, 1) || !insist(s, act_sync, NULL, 0)))
        return false;
    pthread_mutex_lock(&s->lock);
    s->report.started = true;
    pthread_mutex_unlock(&s->lock);
    storage_wake(s);
    return true;
}

/* In order: the next life need not ask what was synced. */
static void end(struct storage *s)
{
    struct error error;
    bool failed;

    pthread_mutex_lock(&s->lock);
    failed = s->report.failed;
    pthread_mutex_unlock(&s->lock);
    if (failed || !insist(s, act_finish, NULL, 0))
        return;
    s->life.clean = true;
    (void)folder_write_life(s, &error); /* else it is just not clean */
}

void *storage_journal_main(void *storage)
{
    struct storage *s = storage;
    bool going = start(s);

    while (going && take_work(s))
        going = write_taken(s);
    if (going)
        end(s);
    return NULL;
}
