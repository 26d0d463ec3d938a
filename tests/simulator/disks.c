/* disks - what a server has saved, over all its lives: its journal as a stream of records in the
 * order in which they were written, and its last checkpoint.
 *
 * A crash leaves what was synced, and of the rest any part from its beginning on. */
#include <assert.h>
#include <stdlib.h>

#include "tests/simulator/parts.h"

#define SYNC_US_MIN    50u /* what a write and its sync take */
#define SYNC_US_MAX    3000u
#define SYNC_SLOW_MS   200u /* now and then */
#define NO_ROOM_ONE_IN 20u  /* checkpoints that find no room, while there are faults */

/* One thing written to the journal. */
struct written {
    bool reset;
    bool complete; /* what stands before lacks nothing */
    uint64_t index;
    size_t offset, size; /* in the stream's bytes */
};

struct image {
    struct message_checkpoint_begin head; /* index 0: there is none */
    struct buffer slices;                 /* each behind its u32 size */
};

struct disk {
    struct buffer bytes;
    struct written *written;
    uint64_t count, capacity, synced;
    bool complete;      /* as it was written down last */
    struct lives lives; /* that wrote here since it is not complete */
    uint64_t busy_until_ns;
    struct image kept, writing;
};

/* What the disk has done, as its server hears it. */
enum disk_deed { DISK_SAVED, DISK_SLICE, DISK_KEPT };

struct disk_job {
    struct process *server;
    uint64_t life;
    enum disk_deed deed;
    uint64_t epoch, index, count;
    bool done;
};

void disk_init(struct process *p)
{
    p->disk = memory_zeroed(1, sizeof *p->disk);
}

void disk_free(struct process *p)
{
    if (!p->disk)
        return;
    buffer_free(&p->disk->bytes);
    buffer_free(&p->disk->kept.slices);
    buffer_free(&p->disk->writing.slices);
    free(p->disk->written);
    free(p->disk);
    p->disk = NULL;
}

void disk_lose(struct process *p)
{
    disk_free(p);
    disk_init(p);
    p->disk_lost = p->sim->incarnation;
    sim_trace(p->sim, p->node, "has lost its disk");
}

/* The process is gone; what it had not synced may be there or not. */
void disk_crashed(struct process *p)
{
    struct disk *d = p->disk;

    if (!d)
        return;
    d->count = d->synced + sim_chance(p->sim, d->count - d->synced + 1);
    d->synced = d->count;
    d->busy_until_ns = 0;
    d->writing.head.index = 0;
    buffer_clear(&d->writing.slices, 0);
}

static void write_down(struct disk *d, struct written what, struct bytes record)
{
    if (d->count == d->capacity) {
        d->capacity = d->capacity ? 2 * d->capacity : 256;
        d->written = memory_grown(d->written, d->capacity * sizeof *d->written);
    }
    what.offset = buffer_size(&d->bytes);
    what.size = record.size;
    d->written[d->count++] = what;
    buffer_append(&d->bytes, record.data, record.size);
}

static void finished(void *subject, uint64_t argument)
{
    struct disk_job *job = subject;
    struct process *p = job->server;
    struct disk *d = p->disk;

    (void)argument;
    if (p->life == job->life && p->state == PROCESS_RUNNING) {
        if (job->deed == DISK_SAVED && job->count > d->synced)
            d->synced = job->count;
        if (job->deed == DISK_KEPT && job->done) {
            struct image old = d->kept;

            d->kept = d->writing;
            d->writing = old;
        }
        if (job->deed == DISK_KEPT) {
            d->writing.head.index = 0;
            buffer_clear(&d->writing.slices, 0);
        }
        process_give(p, parcel_new(PARCEL_DISK, job, sizeof *job));
    }
    sim_give_back(p->sim, job);
}

/* One thing after the other. */
static void begin_job(struct process *p, struct disk_job job)
{
    struct sim *sim = p->sim;
    struct disk_job *copy = sim_take(sim, sizeof *copy);
    uint64_t us = sim_between(sim, SYNC_US_MIN, SYNC_US_MAX);

    if (!sim->faults_over && sim_chance(sim, 200) == 0)
        us = sim_chance(sim, SYNC_SLOW_MS) * 1000;
    job.server = p;
    job.life = p->life;
    *copy = job;
    if (p->disk->busy_until_ns < sim->now_ns)
        p->disk->busy_until_ns = sim->now_ns;
    p->disk->busy_until_ns += us * 1000;
    sim_after(sim, p->disk->busy_until_ns - sim->now_ns, finished, copy, 0);
}

static void persist(struct process *p)
{
    struct disk_job job = { .deed = DISK_SAVED };
    struct journal_record header;
    struct bytes piece, record;
    struct block *owner;
    bool any = false, sound;

    while (server_persist_next(p->server, &job.epoch, &job.index, &piece, &owner)) {
        while (journal_record_next(&piece, &header, &record, &sound))
            write_down(p->disk, (struct written){ .index = header.index }, record);
        assert(sound);
        any = true;
    }
    if (any && !p->disk->complete && server_complete(p->server)) {
        p->disk->complete = true;
        write_down(p->disk, (struct written){ .complete = true }, (struct bytes){ 0 });
    }
    job.count = p->disk->count;
    if (any)
        begin_job(p, job);
}

static void reset(struct disk *d, uint64_t index)
{
    d->complete = false;
    write_down(d, (struct written){ .reset = true, .index = index }, (struct bytes){ 0 });
}

static void keep(struct process *p, const struct message *message)
{
    struct image *image = &p->disk->writing;
    uint32_t size;

    if (message->type == MESSAGE_CHECKPOINT_BEGIN) {
        image->head = message->checkpoint_begin;
        buffer_clear(&image->slices, 0);
        return;
    }
    size = (uint32_t)message->checkpoint_slice.data.size;
    buffer_append(&image->slices, &size, sizeof size);
    buffer_append(&image->slices, message->checkpoint_slice.data.data, size);
    begin_job(p, (struct disk_job){ .deed = DISK_SLICE });
}

static void keep_end(struct process *p, bool whole)
{
    struct sim *sim = p->sim;
    bool room = sim->faults_over || sim_chance(sim, NO_ROOM_ONE_IN) > 0;

    if (whole)
        begin_job(p, (struct disk_job){ .deed = DISK_KEPT, .done = room });
}

void disk_perform(struct process *p, const struct effect *effect)
{
    switch (effect->type) {
    case EFFECT_PERSIST: persist(p); break;
    case EFFECT_RESTART: reset(p->disk, effect->reference); break;
    case EFFECT_KEEP: keep(p, &effect->message); break;
    case EFFECT_KEEP_END: keep_end(p, effect->number == 1); break;
    default: assert(!effect); break;
    }
}

/* Its server hears of it, in a turn of its own. */
void disk_done(struct process *p, const struct parcel *parcel, struct effects *out)
{
    struct disk_job job;

    memcpy(&job, parcel->bytes, sizeof job);
    switch (job.deed) {
    case DISK_SAVED: server_saved(p->server, job.epoch, job.index); break;
    case DISK_SLICE: server_slice_kept(p->server, process_clock(p), out); break;
    case DISK_KEPT: server_checkpoint_kept(p->server, process_clock(p), job.done, out); break;
    }
}

static bool recover_state(struct process *p)
{
    const struct image *image = &p->disk->kept;
    struct bytes rest = buffer_bytes(&image->slices);

    if (image->head.index == 0)
        return true;
    server_recover_state_begin(p->server);
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

/* Begins anew: what is there is of no use to the new server, and acknowledged nothing. */
void disk_discard(struct process *p)
{
    struct lives lives = p->disk->lives;

    disk_lose(p);
    p->disk->lives = lives;
    server_lived(p->server, &lives);
}

static bool recovered(struct process *p)
{
    struct disk *d = p->disk;

    if (d->complete)
        d->lives.count = 0;
    server_lived(p->server, &d->lives);
    lives_add(&d->lives, p->incarnation);
    return server_recovered(p->server, d->complete);
}

/* Gives a new server what is on the disk; false when that is of no use. */
bool disk_recover(struct process *p)
{
    struct disk *d = p->disk;

    d->complete = false;
    if (!recover_state(p)) {
        sim_fail(p->sim, "%s cannot read its own checkpoint", node_name(p->node));
        return false;
    }
    for (uint64_t i = 0; i < d->count; i++) {
        const struct written *w = &d->written[i];
        struct bytes rest = bytes_of(buffer_head(&d->bytes) + w->offset, w->size), record;
        struct journal_record header;
        bool sound;

        if (w->reset || w->complete)
            d->complete = w->complete;
        if (w->reset)
            server_recover_reset(p->server, w->index);
        else if (!w->complete && journal_record_next(&rest, &header, &record, &sound))
            server_recover_entry(p->server, &header, record);
    }
    return recovered(p);
}
