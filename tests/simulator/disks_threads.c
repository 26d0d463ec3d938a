/* The two threads that write a disk, and what their server wants of them: see disks.c. */
#include <assert.h>

#include "tests/simulator/disks_state.h"

#define WRITE_US_MIN   5u /* what a write takes, and a sync */
#define WRITE_US_MAX   100u
#define SYNC_US_MIN    50u
#define SYNC_US_MAX    3000u
#define SLOW_MS_MAX    150u /* what either takes on a disk that is slow */
#define NO_ROOM_ONE_IN 20u  /* checkpoints that find no room, while there are faults */

/* What the disk has done, as its server hears it. */
enum disk_deed { DISK_GROUP, DISK_SYNC, DISK_SAVED, DISK_SLICE, DISK_KEPT, DISK_ROOM };

struct disk_job {
    struct process *server;
    uint64_t life;
    enum disk_deed deed;
    bool piece, complete, done;
    uint64_t epoch, index, generation;
};

static void finished(void *subject, uint64_t argument);

static uint64_t operation_us(const struct process *p, bool sync)
{
    struct sim *sim = p->sim;

    if (p->disk->slow_until_ns > sim->now_ns)
        return sim_chance(sim, SLOW_MS_MAX * UINT64_C(1000));
    return sim_between(sim, WRITE_US_MIN, WRITE_US_MAX) +
           (sync ? sim_between(sim, SYNC_US_MIN, SYNC_US_MAX) : 0);
}

/* It is done at some time from now on, but not while the disk stands still. */
static void job_begin(struct process *p, struct disk_job job, uint64_t from_ns, uint64_t us)
{
    struct sim *sim = p->sim;
    struct disk_job *copy = sim_take(sim, sizeof *copy);
    uint64_t at = from_ns + us * 1000;

    job.server = p;
    job.life = p->life;
    *copy = job;
    if (at < p->disk->stalled_until_ns)
        at = p->disk->stalled_until_ns + us * 1000;
    sim_after(sim, at - sim->now_ns, finished, copy, 0);
}

static void tell(struct process *p, struct disk_job job)
{
    process_give(p, parcel_new(PARCEL_DISK, &job, sizeof job));
}

/* It was drawn when the others had what this one has. Their disks may have failed since. */
static bool may_fail(struct process *p)
{
    if (p->sim->options.faults_ms == 0)
        return true;
    return p->sim->options.fsync == FSYNC_ALWAYS ? sim_can_spare(p->sim, p->node)
                                                 : sim_can_lose(p->sim, p->node);
}

/* Without a sync before each acknowledgement, what was told may be gone with it. */
static void fail(struct process *p, const char *what)
{
    if (!disk_syncs_always(p)) {
        p->disk->life.damaged = true;
        disk_lose_voice(p);
    }
    sim_trace(p->sim, p->node, "ends itself: %s failed: what is on the disk is not known", what);
    process_end(p, 0, 1);
}

static void tell_room(struct process *p, bool full)
{
    struct disk *d = p->disk;

    if (d->full == full)
        return;
    d->full = full;
    if (full && d->open) {
        disk_end_checkpoint(d);
        tell(p, (struct disk_job){ .deed = DISK_KEPT, .generation = d->generation });
    }
    tell(p, (struct disk_job){ .deed = DISK_ROOM, .done = full });
}

static void set_synced(struct disk *d, uint64_t end)
{
    if (end > d->synced) {
        d->guarded = d->synced; /* by the frames of the group that is safe now */
        d->synced = end;
    }
}

/* Takes everything that waits as one group. That the journal begins anew is known before it does.
 */
static void group_begin(struct process *p)
{
    struct disk *d = p->disk;
    struct disk_job job = { .deed = DISK_GROUP,
                            .piece = d->piece,
                            .complete = d->complete,
                            .epoch = d->epoch,
                            .index = d->index };

    if (d->busy || (d->written == d->count && !d->complete))
        return;
    if (disk_resets(d, d->written)) {
        disk_life_write(p, false);
        disk_forget_checkpoints(d);
    }
    d->busy = true;
    d->group_end = d->count;
    d->piece = d->complete = false;
    job_begin(p, job, p->sim->now_ns, operation_us(p, disk_syncs_always(p)));
}

/* No room: told, and tried again. */
static void group_again(struct process *p, const struct disk_job *job)
{
    tell_room(p, true);
    job_begin(p, *job, p->sim->now_ns, STORAGE_RETRY_MS * UINT64_C(1000));
}

/* Its journal may be called complete as soon as it has the beginning of a view that has this life
 * as a member, not before. */
static void check_complete(struct process *p)
{
    const struct disk *d = p->disk;
    struct journal_record header;

    for (uint64_t at = d->written; at > d->first && !d->items[at - 1].reset; at--) {
        memcpy(&header, buffer_head(&d->bytes) + d->items[at - 1].offset, sizeof header);
        if (checks_member_of(p, header.view))
            return;
    }
    for (uint32_t i = 0; i < d->kept[0].count; i++)
        if (checks_member_of(p, d->kept[0].images[i].head.index_view))
            return;
    sim_fail(p->sim,
             "%s calls its journal complete, and has nothing of a view of which it is a member",
             node_name(p->node));
}

static void group_done(struct process *p, const struct disk_job *job)
{
    struct disk *d = p->disk;

    if ((d->fails_write || (d->fails_sync && disk_syncs_always(p))) && may_fail(p)) {
        fail(p, d->fails_write ? "a write" : "a sync");
        return;
    }
    if (d->full_until_ns > p->sim->now_ns) {
        group_again(p, job);
        return;
    }
    tell_room(p, false);
    disk_set_written(d, d->group_end);
    if (disk_syncs_always(p))
        set_synced(d, d->group_end);
    else if (p->sim->options.fsync == FSYNC_INTERVAL && d->sync_due_ns == 0) {
        d->sync_due_ns = p->sim->now_ns + p->sim->options.fsync_interval_ms * MILLISECOND_NS;
        job_begin(p, (struct disk_job){ .deed = DISK_SYNC }, d->sync_due_ns, operation_us(p, true));
    }
    if (job->complete) {
        check_complete(p);
        disk_life_write(p, true);
    }
    if (job->piece || job->complete)
        tell(p, (struct disk_job){ .deed = DISK_SAVED, .epoch = job->epoch, .index = job->index });
    d->busy = false;
    group_begin(p);
}

static void sync_done(struct process *p)
{
    struct disk *d = p->disk;

    if (d->fails_sync && may_fail(p)) {
        fail(p, "a sync");
        return;
    }
    d->sync_due_ns = 0;
    set_synced(d, d->written);
}

/* What no checkpoint needs is dropped in segments: all of it, or the first part. */
static void drop(struct process *p, uint64_t index)
{
    struct disk *d = p->disk;
    uint64_t end = d->first;

    while (end < d->guarded && d->items[end].index <= index)
        end++;
    if (sim_chance(p->sim, 2) == 0)
        end = d->first + sim_chance(p->sim, end - d->first + 1);
    d->first = end;
}

/* A checkpoint begins a chain, and the oldest one goes; changes come behind what they are of. */
static void chain_put(struct process *p)
{
    struct disk *d = p->disk;
    struct chain *chain = &d->kept[0], oldest = d->kept[CHECKPOINTS_KEPT - 1];
    struct image old;

    if (d->writing.head.base_index == 0) {
        for (uint32_t i = CHECKPOINTS_KEPT - 1; i > 0; i--)
            d->kept[i] = d->kept[i - 1];
        *chain = oldest;
        chain->count = 0;
    } else if (chain->count == 0 || chain->count == 1 + CHECKPOINT_CHANGES_MAX ||
               chain->images[chain->count - 1].head.index != d->writing.head.base_index) {
        sim_fail(p->sim, "%s keeps changes of what is not on its disk", node_name(p->node));
        return;
    }
    old = chain->images[chain->count];
    chain->images[chain->count++] = d->writing;
    d->writing = old;
}

static void checkpoint_done(struct process *p, bool room)
{
    struct disk *d = p->disk;
    const struct chain *oldest = &d->kept[CHECKPOINTS_KEPT - 1];

    if (room && d->writing.head.index > 0) { /* that of entry 0 says nothing */
        chain_put(p);
        /* With each, and before it can be called complete, what is superfluous is dropped from the
         * journal, if anything is; and that syncs it first, whatever the policy. */
        set_synced(d, d->written);
        if (oldest->count > 0)
            drop(p, oldest->images[oldest->count - 1].head.index);
    }
    d->writing.damaged = false;
    buffer_clear(&d->writing.slices, 0);
}

static void checkpoint_job_done(struct process *p, struct disk_job *job)
{
    struct disk *d = p->disk;

    if (job->generation != d->generation)
        return;
    if (d->fails_write && may_fail(p)) {
        sim_trace(p->sim, p->node, "ends itself: a write of a checkpoint failed");
        process_end(p, 0, 1);
        return;
    }
    if (d->full_until_ns > p->sim->now_ns)
        job->deed = DISK_KEPT;
    else if (job->deed == DISK_KEPT && disk_resets(d, d->written)) { /* that is waited for */
        job_begin(p, *job, p->sim->now_ns, operation_us(p, true));
        return;
    }
    if (job->deed != DISK_SLICE) {
        job->done = job->done && d->full_until_ns <= p->sim->now_ns;
        checkpoint_done(p, job->done);
        disk_end_checkpoint(d);
        job->generation = d->generation;
    }
    tell(p, *job);
}

static void finished(void *subject, uint64_t argument)
{
    struct disk_job job = *(struct disk_job *)subject;
    struct process *p = job.server;

    (void)argument;
    sim_give_back(p->sim, subject);
    if (p->life != job.life || p->state != PROCESS_RUNNING)
        return;
    switch (job.deed) {
    case DISK_GROUP: group_done(p, &job); break;
    case DISK_SYNC: sync_done(p); break;
    default: checkpoint_job_done(p, &job); break;
    }
}

/* ---- What the server wants ---- */

void disk_hand_over(struct disk *d, struct written what, struct bytes record)
{
    if (d->count == d->capacity) {
        d->capacity = d->capacity ? 2 * d->capacity : 256;
        d->items = memory_grown(d->items, d->capacity * sizeof *d->items);
    }
    what.offset = buffer_size(&d->bytes);
    what.size = record.size;
    d->items[d->count++] = what;
    d->waiting += what.size;
    buffer_append(&d->bytes, record.data, record.size);
}

static void persist(struct process *p)
{
    struct disk *d = p->disk;
    struct journal_record header;
    struct bytes piece, record;
    struct block *owner;
    bool sound;
    uint64_t epoch, index;

    while (server_persist_next(p->server, &d->epoch, &d->index, &piece, &owner)) {
        while (journal_record_next(&piece, &header, &record, &sound)) {
            if (d->count > d->first && header.index > d->items[d->count - 1].index + 1)
                sim_fail(p->sim, "%s has entry %llu written behind entry %llu", node_name(p->node),
                         (unsigned long long)header.index,
                         (unsigned long long)d->items[d->count - 1].index);
            disk_hand_over(d, (struct written){ .index = header.index }, record);
        }
        assert(sound);
        d->piece = true;
    }
    if (server_complete(p->server, &epoch, &index) && !d->complete_wanted) {
        d->complete = d->complete_wanted = true;
        d->epoch = epoch;
        d->index = index;
    }
    group_begin(p);
}

static void reset(struct process *p, uint64_t index)
{
    struct disk *d = p->disk;

    d->complete = d->complete_wanted = d->piece = false;
    d->discarded = server_discarded(p->server);
    disk_hand_over(d, (struct written){ .reset = true, .index = index }, (struct bytes){ 0 });
    group_begin(p);
}

/* One thing after the other. */
static void checkpoint_job(struct process *p, enum disk_deed deed, bool done)
{
    struct disk *d = p->disk;
    uint64_t us = operation_us(p, deed == DISK_KEPT);

    if (d->checkpoint_until_ns < p->sim->now_ns)
        d->checkpoint_until_ns = p->sim->now_ns;
    job_begin(p, (struct disk_job){ .deed = deed, .done = done, .generation = d->generation },
              d->checkpoint_until_ns, us);
    d->checkpoint_until_ns += us * 1000;
}

static void keep(struct process *p, const struct message *message)
{
    struct disk *d = p->disk;
    struct image *image = &d->writing;
    uint32_t size;

    if (message->type == MESSAGE_CHECKPOINT_BEGIN) {
        disk_end_checkpoint(d);
        d->open = true;
        image->head = message->checkpoint_begin;
        buffer_clear(&image->slices, 0);
        return;
    }
    if (!d->open)
        return; /* given up, which the server has yet to hear */
    if (++d->slices > STORAGE_SLICES_MAX)
        sim_fail(p->sim, "%s has %u slices of a checkpoint under way to its disk",
                 node_name(p->node), d->slices);
    size = (uint32_t)message->checkpoint_slice.data.size;
    buffer_append(&image->slices, &size, sizeof size);
    buffer_append(&image->slices, message->checkpoint_slice.data.data, size);
    checkpoint_job(p, DISK_SLICE, false);
}

static void keep_end(struct process *p, bool whole)
{
    struct sim *sim = p->sim;
    struct disk *d = p->disk;

    if (!d->open)
        return;
    if (whole)
        checkpoint_job(p, DISK_KEPT, sim->faults_over || sim_chance(sim, NO_ROOM_ONE_IN) > 0);
    else
        disk_end_checkpoint(d);
}

void disk_perform(struct process *p, const struct effect *effect)
{
    switch (effect->type) {
    case EFFECT_PERSIST: persist(p); break;
    case EFFECT_RESTART: reset(p, effect->reference); break;
    case EFFECT_KEEP: keep(p, &effect->message); break;
    case EFFECT_KEEP_END: keep_end(p, effect->number == 1); break;
    default: assert(!effect); break;
    }
}

/* Its server hears of it, in a turn of its own; not of what it has begun anew meanwhile. */
void disk_done(struct process *p, const struct parcel *parcel, struct effects *out)
{
    struct disk_job job;

    memcpy(&job, parcel->bytes, sizeof job);
    switch (job.deed) {
    case DISK_SAVED: server_saved(p->server, job.epoch, job.index); break;
    case DISK_SLICE:
        if (job.generation != p->disk->generation)
            break;
        p->disk->slices--;
        server_slice_kept(p->server, process_clock(p), out);
        break;
    case DISK_KEPT:
        if (job.generation == p->disk->generation)
            server_checkpoint_kept(p->server, process_clock(p), job.done, out);
        break;
    case DISK_ROOM: server_disk_full(p->server, job.done); break;
    default: assert(job.deed == DISK_SAVED); break;
    }
}
