/* The checkpoints' thread: writes slices beside the journal, and drops what a new checkpoint makes
 * superfluous. */
#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/storage_state.h"

#define THREAD_NICENESS 10 /* the loop and the journal go first where processors are few */

static void abandon(struct storage *s)
{
    if (s->writer)
        checkpoint_writer_abandon(s->writer);
    s->writer = NULL;
}

/* Entries before the oldest checkpoint that is kept are the journal's thread's to drop. */
static enum error_code tidy(struct storage *s, struct error *error)
{
    struct storage_job drop = { .kind = JOB_DROP };

    if (checkpoint_tidy(s->options.files, s->directory, &drop.index, error) != ERROR_NONE)
        return error->code;
    if (drop.index == 0)
        return ERROR_NONE;
    pthread_mutex_lock(&s->lock);
    if (s->resets == 0) /* else it is of entries that are gone by then */
        storage_jobs_add(&s->queued, &drop);
    pthread_cond_signal(&s->journal_work);
    pthread_mutex_unlock(&s->lock);
    return ERROR_NONE;
}

/* A reset removes the checkpoints that are there: it must not find a later one, nor miss one that
 * is of before. */
static bool publish_begin(struct storage *s, uint64_t generation)
{
    pthread_mutex_lock(&s->lock);
    while (s->resets > 0 && generation == s->generation && !s->closing)
        pthread_cond_wait(&s->checkpoint_work, &s->lock);
    s->publishing = s->resets == 0 && generation == s->generation;
    pthread_mutex_unlock(&s->lock);
    return s->publishing; /* only this thread changes it */
}

static void publish_end(struct storage *s)
{
    pthread_mutex_lock(&s->lock);
    s->publishing = false;
    pthread_cond_signal(&s->journal_work);
    pthread_mutex_unlock(&s->lock);
}

static enum error_code finish(struct storage *s, uint64_t generation, struct error *error)
{
    struct checkpoint_writer *writer = s->writer;
    enum error_code code;

    if (!publish_begin(s, generation)) {
        abandon(s);
        return ERROR_LIMIT;
    }
    s->writer = NULL;
    code = checkpoint_writer_finish(writer, error);
    if (code == ERROR_NONE)
        code = tidy(s, error);
    publish_end(s);
    return code;
}

static enum error_code take(struct storage *s, const struct storage_step *step, uint64_t generation,
                            struct error *error)
{
    assert(s->writer || step->kind == STEP_BEGIN);
    switch (step->kind) {
    case STEP_BEGIN:
        abandon(s);
        return checkpoint_writer_open(&s->writer, s->options.files, s->directory, &step->head,
                                      error);
    case STEP_SLICE:
        return checkpoint_writer_slice(s->writer, bytes_of(step->data, step->size), error);
    case STEP_FINISH: break;
    }
    return finish(s, generation, error);
}

/* Under the lock, which it lets go of in the end. What is said of a checkpoint that is not wanted
 * any more is dropped. */
static void report(struct storage *s, enum storage_step_kind kind, uint64_t generation,
                   enum error_code code)
{
    if (generation != s->generation)
        return;
    if (code == ERROR_LIMIT) {
        s->report.ended = s->abandon = true;
        s->report.done = false;
    } else if (kind == STEP_SLICE) {
        s->report.slices++;
    } else if (kind == STEP_FINISH) {
        s->report.ended = s->report.done = true;
    }
    pthread_mutex_unlock(&s->lock);
    storage_wake(s);
    pthread_mutex_lock(&s->lock);
}

static void forget_steps(struct storage *s)
{
    for (uint32_t i = 0; i < s->step_count; i++)
        free(s->steps[i].data);
    s->step_count = 0;
}

/* Under the lock, which it lets go of while it works. False: the thread is to end. */
static bool take_next(struct storage *s)
{
    struct storage_step step = s->steps[0];
    uint64_t generation = s->generation;
    struct error error;
    enum error_code code;

    s->step_count--;
    for (uint32_t i = 0; i < s->step_count; i++)
        s->steps[i] = s->steps[i + 1];
    if (!s->writer && step.kind != STEP_BEGIN) {
        free(step.data); /* of one that was given up, which is not known yet */
        return true;
    }
    pthread_mutex_unlock(&s->lock);
    code = take(s, &step, generation, &error);
    free(step.data);
    if (code != ERROR_NONE && code != ERROR_LIMIT)
        storage_fail(s, &error);
    pthread_mutex_lock(&s->lock);
    report(s, step.kind, generation, code);
    if (code == ERROR_LIMIT && generation == s->generation)
        forget_steps(s);
    return code == ERROR_NONE || code == ERROR_LIMIT;
}

void *storage_checkpoint_main(void *storage)
{
    struct storage *s = storage;
    bool going = true;

    (void)nice(THREAD_NICENESS); /* of this thread, on Linux */
    pthread_mutex_lock(&s->lock);
    while (going && !s->closing) {
        if (s->abandon) {
            s->abandon = false;
            pthread_mutex_unlock(&s->lock);
            abandon(s);
            pthread_mutex_lock(&s->lock);
        } else if (s->step_count > 0) {
            going = take_next(s);
        } else {
            pthread_cond_wait(&s->checkpoint_work, &s->lock);
        }
    }
    pthread_mutex_unlock(&s->lock);
    abandon(s);
    return NULL;
}
