/* disks - what a server has on disk, over all its lives: its journal as a stream of what was
 * written in the order in which it was, the last two checkpoints with
 * their changes, and the file "life". It does what
 * server/storage.h does with two threads: the journal's, to which everything that has come
 * meanwhile is one group, and the checkpoints'.
 *
 * A process that ends leaves what was written, and of the group being written any part from its
 * beginning on; a power cut leaves what was synced, and of the rest any such part (pieces behind a
 * hole are cut off with it: server/segments_read.c). */
#include <assert.h>
#include <stdlib.h>

#include "server/storage.h"
#include "tests/simulator/parts.h"

#define WRITE_US_MIN   5u /* what a write takes, and a sync */
#define WRITE_US_MAX   100u
#define SYNC_US_MIN    50u
#define SYNC_US_MAX    3000u
#define SLOW_MS_MAX    150u /* what either takes on a disk that is slow */
#define NO_ROOM_ONE_IN 20u  /* checkpoints that find no room, while there are faults */

/* One thing written to the journal. */
struct written {
    bool reset;
    bool damaged;
    uint64_t index;
    size_t offset, size; /* in the stream's bytes */
};

struct image {
    struct message_checkpoint_begin head;
    struct buffer slices; /* each behind its u32 size */
    bool damaged;
};

struct chain {
    struct image images[1 + CHECKPOINT_CHANGES_MAX]; /* a checkpoint, then changes */
    uint32_t count;                                  /* 0: there is none */
};

/* The file "life" (server/storage_folder.c): safe as soon as it is written. */
struct life {
    bool damaged;
    bool complete, clean;
    bool cut;    /* complete, but maybe for the last group */
    bool always; /* written under fsync = "always" */
    uint64_t boot;
    struct lives lives; /* that wrote here since it is not complete */
};

struct disk {
    struct buffer bytes;
    struct written *items;
    uint64_t first; /* what is before was dropped behind a checkpoint */
    /* The others are counted from the first life on. What is safe, what is written, what was handed
     * over; guarded: what a frame behind it vouches for, so that damage there is told from a torn
     * tail. */
    uint64_t guarded, synced, written, count, capacity;
    bool torn;        /* behind the end lies a piece of a group */
    uint64_t end;     /* index of the last entry, or of the reset behind which none is written */
    uint64_t waiting; /* bytes handed over that are not written */
    struct chain kept[CHECKPOINTS_KEPT]; /* newest first */
    struct image writing;
    bool open; /* writing is */
    struct life life;

    /* The journal's thread. */
    bool busy;             /* with a group, which ends at group_end */
    bool full;             /* as its server was told */
    bool piece, complete;  /* of what waits: it has entries, and makes the journal complete */
    bool complete_wanted;  /* as its server said last */
    uint64_t epoch, index; /* of the last piece handed over */
    uint64_t sync_due_ns;  /* fsync = "interval": 0 when nothing waits for it */
    uint64_t generation;   /* of the checkpoint being written */
    uint64_t checkpoint_until_ns; /* its thread works till then */
    uint32_t slices;              /* under way */

    /* What is wrong with it. */
    uint64_t full_until_ns, slow_until_ns, stalled_until_ns;
    bool fails_write, fails_sync; /* the next one */
    uint32_t fails_reads;         /* so many lives cannot read it */
    bool useless_damaged;         /* why it was of no use to the new life */
};

/* What the disk has done, as its server hears it. */
enum disk_deed { DISK_GROUP, DISK_SYNC, DISK_SAVED, DISK_SLICE, DISK_KEPT, DISK_ROOM };

struct disk_job {
    struct process *server;
    uint64_t life;
    enum disk_deed deed;
    bool piece, complete, done;
    uint64_t epoch, index, generation;
    uint64_t end; /* group: what it ends with */
};

void disk_init(struct process *p)
{
    p->disk = memory_zeroed(1, sizeof *p->disk);
}

void disk_free(struct process *p)
{
    struct disk *d = p->disk;

    if (!d)
        return;
    buffer_free(&d->bytes);
    buffer_free(&d->writing.slices);
    for (uint32_t i = 0; i < CHECKPOINTS_KEPT; i++)
        for (uint32_t j = 0; j < 1 + CHECKPOINT_CHANGES_MAX; j++)
            buffer_free(&d->kept[i].images[j].slices);
    free(d->items);
    free(d);
    p->disk = NULL;
}

/* Nothing is there any more; what is wrong with the device stays wrong. */
static void empty(struct process *p)
{
    struct disk old = *p->disk;

    disk_free(p);
    disk_init(p);
    p->disk->full_until_ns = old.full_until_ns;
    p->disk->slow_until_ns = old.slow_until_ns;
    p->disk->stalled_until_ns = old.stalled_until_ns;
}

/* From now on this server has no voice for what it acknowledged so far, once its process ends. */
static void lose_voice(struct process *p)
{
    p->harmed = true;
    p->disk_lost = p->sim->incarnation;
}

void disk_lose(struct process *p)
{
    empty(p);
    lose_voice(p);
    sim_trace(p->sim, p->node, "has lost its disk");
}

uint64_t disk_index(const struct process *p)
{
    const struct disk *d = p->disk;
    const struct chain *chain = &d->kept[0];
    uint64_t state = chain->count > 0 ? chain->images[chain->count - 1].head.index : 0;

    return d->end > state ? d->end : state;
}

uint64_t disk_waiting_bytes(const struct process *p)
{
    return p->disk->waiting;
}

bool disk_cut(const struct process *p)
{
    return p->disk->life.cut || (p->disk->torn && p->disk->life.boot != p->sim->boot[p->host]);
}

bool disk_complete(const struct process *p)
{
    return p->disk->life.complete;
}

bool disk_remembers(const struct process *p, uint64_t incarnation)
{
    return p->disk->life.complete || lives_has(&p->disk->life.lives, incarnation);
}

/* ---- The end of a process, and of the power ---- */

static void set_written(struct disk *d, uint64_t count)
{
    for (uint64_t i = d->written; i < count; i++)
        d->waiting -= d->items[i].size;
    if (count > d->first)
        d->end = d->items[count - 1].index;
    d->written = count;
}

static void cut_off(struct disk *d, uint64_t end)
{
    if (end >= d->written)
        set_written(d, end);
    d->written = d->count = end;
    d->end = end > d->first ? d->items[end - 1].index : 0;
    d->waiting = 0;
    if (d->guarded > end)
        d->guarded = end;
    if (d->synced > end)
        d->synced = end;
}

static bool always(const struct process *p)
{
    return p->sim->options.fsync == FSYNC_ALWAYS;
}

static void life_write(struct process *p, bool complete)
{
    p->disk->life = (struct life){ .complete = complete,
                                   .always = always(p),
                                   .boot = p->sim->boot[p->host],
                                   .lives = p->disk->life.lives };
}

/* Whether the journal begins anew in what was handed over from there on. */
static bool resets(const struct disk *d, uint64_t from)
{
    while (from < d->count && !d->items[from].reset)
        from++;
    return from < d->count;
}

/* What it threw away must not be taken for newer than what comes in its place. */
static void forget_checkpoints(struct disk *d)
{
    for (uint32_t i = 0; i < CHECKPOINTS_KEPT; i++)
        d->kept[i].count = 0;
}

void disk_process_ended(struct process *p, bool in_order)
{
    struct disk *d = p->disk;

    if (!d)
        return;
    if (in_order && d->full_until_ns <= p->sim->now_ns) {
        if (resets(d, d->written))
            forget_checkpoints(d);
        if (resets(d, d->written) || d->complete_wanted)
            life_write(p, d->complete_wanted);
        set_written(d, d->count);
        d->synced = d->count;
        d->life.clean = true;
    } else {
        d->torn |= d->busy && sim_chance(p->sim, 2) == 0;
        cut_off(d, d->written + sim_chance(p->sim, d->count - d->written + 1));
    }
    d->busy = d->full = d->piece = d->complete = false;
    d->fails_write = d->fails_sync = false;
    d->sync_due_ns = 0;
    d->checkpoint_until_ns = 0;
    d->generation++;
    d->slices = 0;
    d->open = false;
    buffer_clear(&d->writing.slices, 0);
}

/* Whether what it acknowledged would not be believed any more after a power cut. */
bool disk_power_matters(const struct process *p)
{
    return p->disk && !(p->disk->life.always || p->disk->life.clean);
}

/* Its process is gone already. */
void disk_power_cut(struct process *p)
{
    struct disk *d = p->disk;
    uint64_t end;

    if (!d)
        return;
    if (disk_power_matters(p))
        lose_voice(p);
    end = d->synced + sim_chance(p->sim, d->count - d->synced + 1);
    d->torn |= d->count > d->synced && sim_chance(p->sim, 2) == 0;
    /* A group that was damaged looks torn when the proof behind it is not on the disk. */
    for (uint64_t i = d->guarded; i < d->synced; i++)
        if (d->items[i].damaged && sim_chance(p->sim, 2) == 0) {
            d->torn = true;
            end = i;
            break;
        }
    cut_off(d, end);
}

static bool chain_is_damaged(const struct chain *chain)
{
    for (uint32_t i = 0; i < chain->count; i++)
        if (chain->images[i].damaged)
            return true;
    return false;
}

/* ---- Faults ---- */

bool disk_damage(struct process *p, enum disk_damage damage)
{
    struct disk *d = p->disk;
    uint64_t at;

    switch (damage) {
    case DAMAGE_RECORD:
        if (d->synced <= d->first)
            return false;
        at = d->first + sim_chance(p->sim, d->synced - d->first);
        if (d->guarded < d->synced && sim_chance(p->sim, 4) == 0)
            at = d->guarded + sim_chance(p->sim, d->synced - d->guarded);
        d->items[at].damaged = true;
        sim_trace(p->sim, p->node, "its journal is damaged at entry %llu",
                  (unsigned long long)d->items[at].index);
        lose_voice(p);
        break;
    case DAMAGE_NEWEST_CHECKPOINT:
        if (d->kept[1].count == 0 || chain_is_damaged(&d->kept[1]))
            return false;
        d->kept[0].images[sim_chance(p->sim, d->kept[0].count)].damaged = true;
        sim_trace(p->sim, p->node, "its newest checkpoint is damaged");
        break;
    case DAMAGE_CHECKPOINTS:
        if (d->kept[0].count == 0)
            return false;
        d->kept[0].images[0].damaged = d->kept[1].images[0].damaged = true;
        sim_trace(p->sim, p->node, "its checkpoints are damaged");
        lose_voice(p);
        break;
    case DAMAGE_LIFE:
        d->life.damaged = true;
        sim_trace(p->sim, p->node, "its file \"life\" is damaged");
        lose_voice(p);
        break;
    }
    return true;
}

static void later(uint64_t *until_ns, const struct process *p, uint32_t ms)
{
    uint64_t at = p->sim->now_ns + ms * MILLISECOND_NS;

    if (*until_ns < at)
        *until_ns = at;
}

void disk_trouble(struct process *p, enum disk_trouble trouble, uint32_t ms)
{
    static const char *const words[] = {
        [TROUBLE_FULL] = "is full",
        [TROUBLE_SLOW] = "is slow",
        [TROUBLE_STALLED] = "does nothing",
        [TROUBLE_WRITE] = "fails at the next write",
        [TROUBLE_SYNC] = "fails at the next sync",
        [TROUBLE_READ] = "cannot be read when it starts next",
    };
    struct disk *d = p->disk;

    switch (trouble) {
    case TROUBLE_FULL: later(&d->full_until_ns, p, ms); break;
    case TROUBLE_SLOW: later(&d->slow_until_ns, p, ms); break;
    case TROUBLE_STALLED: later(&d->stalled_until_ns, p, ms); break;
    case TROUBLE_WRITE: d->fails_write = true; break;
    case TROUBLE_SYNC: d->fails_sync = true; break;
    case TROUBLE_READ: d->fails_reads++; break;
    }
    sim_trace(p->sim, p->node, "its disk %s (%u ms)", words[trouble], ms);
}

void disk_heal(struct process *p)
{
    struct disk *d = p->disk;

    if (!d)
        return;
    d->full_until_ns = d->slow_until_ns = d->stalled_until_ns = 0;
    d->fails_write = d->fails_sync = false;
    d->fails_reads = 0;
}

/* ---- The threads ---- */

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
    if (!always(p)) {
        p->disk->life.damaged = true;
        lose_voice(p);
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
        d->open = false;
        d->generation++;
        d->slices = 0;
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
                            .end = d->count,
                            .piece = d->piece,
                            .complete = d->complete,
                            .epoch = d->epoch,
                            .index = d->index };

    if (d->busy || (d->written == d->count && !d->complete))
        return;
    if (resets(d, d->written)) {
        if (d->life.complete)
            life_write(p, false);
        forget_checkpoints(d);
    }
    d->busy = true;
    d->piece = d->complete = false;
    job_begin(p, job, p->sim->now_ns, operation_us(p, always(p)));
}

/* No room: told, and tried again. */
static void group_again(struct process *p, const struct disk_job *job)
{
    tell_room(p, true);
    job_begin(p, *job, p->sim->now_ns, STORAGE_RETRY_MS * UINT64_C(1000));
}

static void group_done(struct process *p, const struct disk_job *job)
{
    struct disk *d = p->disk;

    if ((d->fails_write || (d->fails_sync && always(p))) && may_fail(p)) {
        fail(p, d->fails_write ? "a write" : "a sync");
        return;
    }
    if (d->full_until_ns > p->sim->now_ns) {
        group_again(p, job);
        return;
    }
    tell_room(p, false);
    set_written(d, job->end);
    if (always(p))
        set_synced(d, job->end);
    else if (p->sim->options.fsync == FSYNC_INTERVAL && d->sync_due_ns == 0) {
        d->sync_due_ns = p->sim->now_ns + p->sim->options.fsync_interval_ms * MILLISECOND_NS;
        job_begin(p, (struct disk_job){ .deed = DISK_SYNC }, d->sync_due_ns, operation_us(p, true));
    }
    if (job->complete)
        life_write(p, true);
    if (job->piece)
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

    set_synced(d, d->written);
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

    d->open = false;
    if (room && d->writing.head.index > 0) { /* that of entry 0 says nothing */
        chain_put(p);
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
    else if (job->deed == DISK_KEPT && resets(d, d->written)) { /* that is waited for */
        job_begin(p, *job, p->sim->now_ns, operation_us(p, true));
        return;
    }
    if (job->deed != DISK_SLICE) {
        job->done = job->done && d->full_until_ns <= p->sim->now_ns;
        checkpoint_done(p, job->done);
        job->generation = ++d->generation;
        d->slices = 0;
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

static void hand_over(struct disk *d, struct written what, struct bytes record)
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

    while (server_persist_next(p->server, &d->epoch, &d->index, &piece, &owner)) {
        while (journal_record_next(&piece, &header, &record, &sound))
            hand_over(d, (struct written){ .index = header.index }, record);
        assert(sound);
        d->piece = true;
    }
    if (server_complete(p->server) && !d->complete_wanted)
        d->complete = d->complete_wanted = true;
    group_begin(p);
}

static void reset(struct process *p, uint64_t index)
{
    struct disk *d = p->disk;

    d->complete = d->complete_wanted = d->piece = false;
    hand_over(d, (struct written){ .reset = true, .index = index }, (struct bytes){ 0 });
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
        image->head = message->checkpoint_begin;
        d->open = true;
        buffer_clear(&image->slices, 0);
        d->generation++;
        d->slices = 0;
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
    if (whole) {
        checkpoint_job(p, DISK_KEPT, sim->faults_over || sim_chance(sim, NO_ROOM_ONE_IN) > 0);
        return;
    }
    d->open = false;
    d->generation++;
    d->slices = 0;
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

/* ---- Recovery ---- */

static bool image_read(struct process *p, const struct image *image)
{
    struct bytes rest = buffer_bytes(&image->slices);

    server_recover_state_begin(p->server, image->head.base_index == 0);
    while (rest.data && rest.size) {
        uint32_t size;

        memcpy(&size, rest.data, sizeof size);
        if (!server_recover_state_slice(p->server, bytes_of(rest.data + sizeof size, size)))
            return false;
        rest = bytes_of(rest.data + sizeof size + size, rest.size - sizeof size - size);
    }
    return server_recover_state_end(p->server, image->head.index, image->head.index_view,
                                    image->head.time_us, image->head.digest);
}

static void put_aside(const struct process *p, const struct image *image)
{
    sim_trace(p->sim, p->node, "puts the %s of entry %llu aside: damaged",
              image->head.base_index ? "changes" : "checkpoint",
              (unsigned long long)image->head.index);
}

/* The newest checkpoint that is sound, and its changes as far as they are; what is not is put away.
 */
static void recover_state(struct process *p)
{
    struct disk *d = p->disk;

    while (d->kept[0].count > 0 && d->kept[0].images[0].damaged) {
        struct chain chain = d->kept[0];

        put_aside(p, &chain.images[0]);
        for (uint32_t i = 1; i < CHECKPOINTS_KEPT; i++)
            d->kept[i - 1] = d->kept[i];
        chain.count = 0;
        d->kept[CHECKPOINTS_KEPT - 1] = chain;
    }
    for (uint32_t i = 0; i < d->kept[0].count; i++) {
        const struct image *image = &d->kept[0].images[i];

        if (image->damaged) {
            put_aside(p, image);
            d->kept[0].count = i;
        } else if (!image_read(p, image)) {
            sim_fail(p->sim, "%s cannot read its own checkpoint", node_name(p->node));
        }
    }
}

/* Gives the server what the journal holds; false where that is damaged. */
static bool recover_journal(struct process *p)
{
    struct disk *d = p->disk;

    for (uint64_t i = d->first; i < d->count; i++) {
        const struct written *w = &d->items[i];
        struct bytes rest = bytes_of(buffer_head(&d->bytes) + w->offset, w->size), record;
        struct journal_record header;
        bool sound;

        if (w->damaged) {
            sim_trace(p->sim, p->node, "damaged: its journal at entry %llu",
                      (unsigned long long)w->index);
            return false;
        }
        if (w->reset)
            server_recover_reset(p->server, w->index);
        else if (journal_record_next(&rest, &header, &record, &sound))
            server_recover_entry(p->server, &header, record);
    }
    return true;
}

/* As storage_folder.c judges the last life. */
static bool is_kept(const struct process *p)
{
    const struct life *life = &p->disk->life;

    return !life->damaged && (life->always || life->clean || life->boot == p->sim->boot[p->host]);
}

/* Entries that only the checkpoint has leave a gap, which must not be taken for a loss. */
static void begin_behind(struct process *p)
{
    struct disk *d = p->disk;
    uint64_t last = server_journal(p->server)->last;
    uint64_t end = d->count > d->first ? d->items[d->count - 1].index : 0;

    if (last > end)
        hand_over(d, (struct written){ .reset = true, .index = last }, (struct bytes){ 0 });
}

/* What the new life begins with. */
static void live(struct process *p, bool intact, bool cut, const struct lives *lives)
{
    p->disk->life.lives = *lives;
    lives_add(&p->disk->life.lives, p->incarnation);
    p->disk->complete_wanted = intact && !cut;
    life_write(p, intact);
    p->disk->life.cut = cut;
}

static bool is_damaged(const struct disk *d)
{
    for (uint64_t i = d->first; i < d->count; i++)
        if (d->items[i].damaged)
            return true;
    return chain_is_damaged(&d->kept[0]);
}

/* Nothing of it is of use to the new server, which lacks what was damaged; what is left of a join
 * that was not finished acknowledged nothing. */
void disk_discard(struct process *p)
{
    const struct lives none = { 0 };
    struct lives lives = p->disk->useless_damaged || !is_kept(p) ? none : p->disk->life.lives;

    empty(p);
    server_lived(p->server, &lives);
    live(p, false, false, &lives);
}

enum disk_outcome disk_recover(struct process *p)
{
    const struct lives none = { 0 };
    struct disk *d = p->disk;
    bool kept = is_kept(p), intact = kept && d->life.complete;
    bool cut = intact && (d->life.cut || (d->torn && d->life.boot != p->sim->boot[p->host]));
    struct lives lives = kept && !d->life.complete ? d->life.lives : none;

    if (d->fails_reads > 0) {
        d->fails_reads--;
        return DISK_UNREADABLE;
    }
    d->useless_damaged = is_damaged(d);
    recover_state(p);
    if (!recover_journal(p) || !server_recovered(p->server, intact)) {
        if (d->life.complete && !d->useless_damaged)
            sim_fail(p->sim, "%s makes nothing of what it has on its disk", node_name(p->node));
        return DISK_USELESS;
    }
    begin_behind(p);
    set_written(d, d->count);
    d->synced = d->count;
    d->torn = false;
    if (cut) {
        sim_trace(p->sim, p->node, "the end of its journal was cut");
        server_cut(p->server);
    }
    server_lived(p->server, &lives);
    live(p, intact, cut, &lives);
    if (!intact && server_journal(p->server)->last > 0)
        sim_trace(p->sim, p->node, "its journal may lack entries");
    return DISK_READ;
}
