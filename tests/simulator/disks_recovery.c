/* What a new life of a server finds on its disk, and what it may believe: see disks.c. */
#include "tests/simulator/disks_state.h"

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

static struct journal_end discarded_before(const struct process *p)
{
    const struct life *life = &p->disk->life;

    return is_kept(p) && !life->complete ? life->discarded : (struct journal_end){ 0 };
}

/* Whether the journal has the entry at the end of the state, as server/recovery.c sees it. */
static bool fits(const struct disk *d)
{
    const struct chain *chain = &d->kept[0];
    const struct message_checkpoint_begin *head =
        chain->count > 0 ? &chain->images[chain->count - 1].head : NULL;
    bool yes = false;

    for (uint64_t i = d->first; i < d->count && head; i++) {
        const struct written *w = &d->items[i];
        struct journal_record header = { 0 };

        if (!w->reset)
            memcpy(&header, buffer_head(&d->bytes) + w->offset, sizeof header);
        if (w->reset || w->index <= head->index)
            yes = w->index == head->index && (w->reset || header.view == head->index_view);
    }
    return yes;
}

/* Entries that only the checkpoint has leave a gap, which must not be taken for a loss; what it has
 * replaced must not be taken for what led to it. */
static void begin_behind(struct process *p)
{
    struct disk *d = p->disk;
    const struct journal *journal = server_journal(p->server);
    uint64_t end = d->count > d->first ? d->items[d->count - 1].index : 0;
    uint64_t last = journal->last;

    if (last > end || (last > 0 && journal->first > last && !fits(d)))
        disk_hand_over(d, (struct written){ .reset = true, .index = last }, (struct bytes){ 0 });
}

/* What the new life begins with. */
static void live(struct process *p, bool intact, bool cut, const struct lives *lives,
                 struct journal_end discarded)
{
    server_lived(p->server, lives, discarded);
    p->disk->life.lives = *lives;
    p->disk->discarded = discarded;
    lives_add(&p->disk->life.lives, p->incarnation);
    p->disk->complete_wanted = intact && !cut;
    disk_life_write(p, intact);
    p->disk->life.cut = cut;
}

static bool is_damaged(const struct disk *d)
{
    for (uint64_t i = d->first; i < d->count; i++)
        if (d->items[i].damaged)
            return true;
    return disk_chain_is_damaged(&d->kept[0]);
}

/* Nothing of it is of use to the new server, which lacks what was damaged; what is left of a join
 * that was not finished acknowledged nothing. */
void disk_discard(struct process *p)
{
    struct lives lives = { 0 };
    struct journal_end discarded = { 0 };

    if (!p->disk->useless_damaged && is_kept(p)) {
        lives = p->disk->life.lives;
        discarded = discarded_before(p);
    }
    disk_empty(p);
    live(p, false, false, &lives, discarded);
}

enum disk_outcome disk_recover(struct process *p)
{
    const struct lives none = { 0 };
    struct disk *d = p->disk;
    bool kept = is_kept(p), intact = kept && d->life.complete;
    bool cut = intact && disk_cut(p);
    struct lives lives = kept && !d->life.complete ? d->life.lives : none;
    struct journal_end discarded = discarded_before(p);

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
    disk_set_written(d, d->count);
    d->synced = d->count;
    d->torn = false;
    if (cut) {
        sim_trace(p->sim, p->node, "the end of its journal was cut");
        server_cut(p->server);
    }
    live(p, intact, cut, &lives, discarded);
    if (!intact && server_journal(p->server)->last > 0)
        sim_trace(p->sim, p->node, "its journal may lack entries");
    return DISK_READ;
}
