/* disks - what a server has on disk, over all its lives: its journal as a stream of what was
 * written in the order in which it was, the last two checkpoints with their changes, and the file
 * "life". It does what server/storage.h does with two threads (disks_threads.c): the journal's, to
 * which everything that has come meanwhile is one group, and the checkpoints'.
 *
 * A process that ends leaves what was written, and of the group being written any part from its
 * beginning on; a power cut leaves what was synced, and of the rest any such part (pieces behind a
 * hole are cut off with it: server/segments_read.c). */
#include <stdlib.h>

#include "tests/simulator/disks_state.h"

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

void disk_empty(struct process *p)
{
    struct disk old = *p->disk;

    disk_free(p);
    disk_init(p);
    p->disk->full_until_ns = old.full_until_ns;
    p->disk->slow_until_ns = old.slow_until_ns;
    p->disk->stalled_until_ns = old.stalled_until_ns;
}

void disk_lose_voice(struct process *p)
{
    p->harmed = true;
    p->disk_lost = p->sim->incarnation;
}

void disk_lose(struct process *p)
{
    disk_empty(p);
    disk_lose_voice(p);
    sim_trace(p->sim, p->node, "has lost its disk");
}

uint64_t disk_index(const struct process *p)
{
    const struct disk *d = p->disk;
    const struct chain *chain = &d->kept[0];
    uint64_t state = chain->count > 0 ? chain->images[chain->count - 1].head.index : 0;

    return d->end > state ? d->end : state;
}

uint64_t disk_index_most(const struct process *p)
{
    const struct disk *d = p->disk;
    uint64_t end = d->busy ? d->group_end : d->written, index = disk_index(p);

    return end > d->first && d->items[end - 1].index > index ? d->items[end - 1].index : index;
}

/* What was written later of a lower index says that those behind it are gone. */
bool disk_holds(const struct process *p, uint64_t index, uint64_t view)
{
    const struct disk *d = p->disk;
    struct journal_record header;
    uint64_t at = d->written;

    while (at > d->first && d->items[at - 1].index > index)
        at--;
    if (at == d->first || d->items[at - 1].reset)
        return disk_index(p) >= index; /* in the state, if at all */
    memcpy(&header, buffer_head(&d->bytes) + d->items[at - 1].offset, sizeof header);
    return header.index == index && header.view == view;
}

uint64_t disk_view(const struct process *p)
{
    const struct disk *d = p->disk;
    const struct chain *chain = &d->kept[0];
    uint64_t end = disk_syncs_always(p) ? d->synced : d->written;
    struct journal_record header;

    if (end <= d->first || d->items[end - 1].reset)
        return chain->count > 0 ? chain->images[chain->count - 1].head.index_view : 0;
    memcpy(&header, buffer_head(&d->bytes) + d->items[end - 1].offset, sizeof header);
    return header.view;
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

bool disk_vouches(const struct process *p)
{
    return p->disk->life.complete || p->disk->life.discarded.view;
}

bool disk_remembers(const struct process *p, uint64_t incarnation)
{
    return p->disk->life.complete || lives_has(&p->disk->life.lives, incarnation);
}

/* ---- The end of a process, and of the power ---- */

void disk_set_written(struct disk *d, uint64_t count)
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
        disk_set_written(d, end);
    d->written = d->count = end;
    d->end = end > d->first ? d->items[end - 1].index : 0;
    d->waiting = 0;
    if (d->guarded > end)
        d->guarded = end;
    if (d->synced > end)
        d->synced = end;
}

void disk_life_write(struct process *p, bool complete)
{
    p->disk->life = (struct life){ .complete = complete,
                                   .always = disk_syncs_always(p),
                                   .boot = p->sim->boot[p->host],
                                   .lives = p->disk->life.lives };
    if (!complete)
        p->disk->life.discarded = p->disk->discarded;
}

bool disk_resets(const struct disk *d, uint64_t from)
{
    while (from < d->count && !d->items[from].reset)
        from++;
    return from < d->count;
}

void disk_forget_checkpoints(struct disk *d)
{
    for (uint32_t i = 0; i < CHECKPOINTS_KEPT; i++)
        d->kept[i].count = 0;
}

void disk_end_checkpoint(struct disk *d)
{
    d->open = false;
    d->generation++;
    d->slices = 0;
}

void disk_process_ended(struct process *p, bool in_order)
{
    struct disk *d = p->disk;
    uint64_t group_end;

    if (!d)
        return;
    group_end = d->busy ? d->group_end : d->written;
    if (in_order && d->full_until_ns <= p->sim->now_ns) {
        if (disk_resets(d, d->written))
            disk_forget_checkpoints(d);
        if (disk_resets(d, d->written) || d->complete_wanted)
            disk_life_write(p, d->complete_wanted);
        disk_set_written(d, d->count);
        d->synced = d->count;
        d->life.clean = true;
    } else {
        d->torn |= d->busy && sim_chance(p->sim, 2) == 0;
        cut_off(d, d->written + sim_chance(p->sim, group_end - d->written + 1));
    }
    d->busy = d->full = d->piece = d->complete = false;
    d->fails_write = d->fails_sync = false;
    d->sync_due_ns = 0;
    d->checkpoint_until_ns = 0;
    disk_end_checkpoint(d);
    buffer_clear(&d->writing.slices, 0);
}

/* Whether what it acknowledged would not be believed any more after a power cut. */
bool disk_power_matters(const struct process *p)
{
    return p->disk && !(p->disk->life.always || p->disk->life.clean);
}

/* A group that was damaged looks torn when the proof behind it is not on the disk. */
static bool passes_for_torn(struct process *p, const struct written *w)
{
    return w->damaged &&
           (w->looks_torn || (sim_chance(p->sim, 2) == 0 && sim_can_deceive(p->sim, p->node)));
}

/* Its process is gone already. */
void disk_power_cut(struct process *p)
{
    struct disk *d = p->disk;
    uint64_t end;

    if (!d)
        return;
    if (disk_power_matters(p))
        disk_lose_voice(p);
    end = d->synced + sim_chance(p->sim, d->count - d->synced + 1);
    d->torn |= d->count > d->synced && sim_chance(p->sim, 2) == 0;
    for (uint64_t i = d->guarded; i < d->synced; i++)
        if (passes_for_torn(p, &d->items[i])) {
            d->torn = true;
            p->deceived = p->sim->incarnation;
            end = i;
            break;
        }
    cut_off(d, end);
}

bool disk_chain_is_damaged(const struct chain *chain)
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
        disk_lose_voice(p);
        break;
    case DAMAGE_END:
        if (d->guarded == d->synced)
            return false;
        d->items[d->synced - 1].damaged = d->items[d->synced - 1].looks_torn = true;
        p->deceived = p->sim->incarnation; /* its power goes next */
        sim_trace(p->sim, p->node, "the end of its journal is damaged");
        disk_lose_voice(p);
        break;
    case DAMAGE_NEWEST_CHECKPOINT:
        if (d->kept[1].count == 0 || disk_chain_is_damaged(&d->kept[1]))
            return false;
        d->kept[0].images[sim_chance(p->sim, d->kept[0].count)].damaged = true;
        sim_trace(p->sim, p->node, "its newest checkpoint is damaged");
        break;
    case DAMAGE_CHECKPOINTS:
        if (d->kept[0].count == 0)
            return false;
        d->kept[0].images[0].damaged = d->kept[1].images[0].damaged = true;
        sim_trace(p->sim, p->node, "its checkpoints are damaged");
        disk_lose_voice(p);
        break;
    case DAMAGE_LIFE:
        d->life.damaged = true;
        sim_trace(p->sim, p->node, "its file \"life\" is damaged");
        disk_lose_voice(p);
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
