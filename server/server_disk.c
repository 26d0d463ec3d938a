/* What a server with a disk hands over to be written, hears back, and recovers from. */
#include <assert.h>

#include "server/checkpoint_file.h"
#include "server/server_state.h"

#define KEEP_BYTES_MIN                                                        \
    (64ull << 20) /* journaled between two checkpoints for the disk, at least \
                   */
#define KEEP_CHANGES_PERCENT 50u
#define PERSIST_BYTES_MAX    (1024u << 10) /* handed over in one piece */

void disk_forget(struct server *s, uint64_t index)
{
    s->epoch++;
    if (s->handed_index > index)
        s->handed_index = index;
}

/* After a reset the journal begins behind what was handed over before. */
static uint64_t next_to_hand(const struct server *s)
{
    return s->handed_index + 1 > s->journal.first ? s->handed_index + 1 : s->journal.first;
}

bool server_persist_next(struct server *s, uint64_t *epoch, uint64_t *index, struct bytes *piece,
                         struct block **owner)
{
    uint64_t from = next_to_hand(s);

    if (!s->options.persistent || from > s->journal.last)
        return false;
    *piece = journal_slice(&s->journal, from, s->journal.last, PERSIST_BYTES_MAX, index, owner);
    *epoch = s->epoch;
    s->handed_index = *index;
    s->kept_bytes += piece->size;
    return true;
}

void server_saved(struct server *s, uint64_t epoch, uint64_t index)
{
    /* What was handed over before a truncation may have been overwritten since. The next piece
     * saved vouches for everything before it. */
    if (epoch == s->epoch)
        replica_saved(&s->replica, index);
}

static uint64_t keep_bytes_min(const struct server *s)
{
    return s->options.keep_bytes_min ? s->options.keep_bytes_min : KEEP_BYTES_MIN;
}

static uint32_t keep_changes_percent(const struct server *s)
{
    return s->options.keep_changes_percent ? s->options.keep_changes_percent : KEEP_CHANGES_PERCENT;
}

bool server_keep(struct server *s, uint64_t index)
{
    if (!s->options.persistent || index > s->journal.last)
        return false;
    if (transfer_out_keeps(&s->transfer_out) && s->transfer_out.index >= index)
        return true; /* it is on its way */
    if (index > s->keep_wanted)
        s->keep_wanted = index;
    return true;
}

bool server_complete(struct server *s, uint64_t *epoch, uint64_t *index)
{
    const struct replica *r = &s->replica;

    if ((r->role != ROLE_PRIMARY && r->role != ROLE_BACKUP) ||
        replica_journal_view(r) != r->view.number)
        return false;
    /* That entries are saved, also those of this turn, tells nothing of the mark behind them. */
    if (s->complete_due)
        s->epoch++;
    s->complete_due = false;
    *epoch = s->epoch;
    *index = next_to_hand(s) - 1;
    return true;
}

struct journal_end server_discarded(const struct server *s)
{
    return s->replica.discarded;
}

bool disk_keep_due(const struct server *s, struct instant now)
{
    uint64_t state_bytes, ahead, bytes;

    if (s->keep_wanted && machine_index(s->machine) >= s->keep_wanted)
        return true;
    if (!s->options.persistent || s->kept_bytes < keep_bytes_min(s) ||
        !instant_reached(now, s->keep_due))
        return false;
    /* After a start most of the journal may be ahead of the state: a checkpoint would be the one
     * that it began with. */
    ahead = journal_bytes_after(&s->journal, machine_index(s->machine));
    bytes = s->kept_bytes > ahead ? s->kept_bytes - ahead : 0;
    state_bytes = machine_checkpoint_bytes_estimated(s->machine, 0);
    /* Half of it: what is only added grows the state as fast as the journal. */
    return bytes >= keep_bytes_min(s) && bytes >= state_bytes / 2;
}

/* What is on the disk now is the beginning of a chain, or goes on with it. */
static void chain_add(struct server *s)
{
    const struct transfer_out *t = &s->transfer_out;

    if (t->base_index == 0)
        s->chain = (struct checkpoint_chain){ .bytes = t->bytes };
    else
        s->chain.changes++;
    s->chain.changes_bytes += t->base_index ? t->bytes : 0;
    s->chain.index = t->index;
}

uint64_t disk_keep_base(const struct server *s)
{
    const struct checkpoint_chain *c = &s->chain;
    uint64_t bytes;

    if (s->keep_wanted || c->index == 0 || c->changes == CHECKPOINT_CHANGES_MAX)
        return 0;
    bytes = c->changes_bytes + machine_checkpoint_bytes_estimated(s->machine, c->index);
    return bytes <= c->bytes * keep_changes_percent(s) / 100u ? c->index : 0;
}

/* What it would have covered waits for the next one, which is due soon: only that makes room in the
 * journal. */
static void keep_failed(struct server *s, struct instant now, struct effects *out)
{
    s->keep_due = instant_add_ms(now, s->options.checkpoint_interval_ms);
    s->kept_bytes += s->keep_covers;
    if (!s->keep_failed)
        effects_note_at(out, NOTE_WARN,
                        "the disk has no room for a checkpoint, and the journal grows until there "
                        "is: tried again every %u ms",
                        s->options.checkpoint_interval_ms);
}

void server_slice_kept(struct server *s, struct instant now, struct effects *out)
{
    transfer_out_slice_kept(&s->transfer_out, now);
    transfer_in_slice_kept(&s->transfer_in, out);
}

void server_checkpoint_kept(struct server *s, struct instant now, bool done, struct effects *out)
{
    if (s->transfer_in.open && s->transfer_in.keeping && !done) {
        struct transfer_in was = s->transfer_in;

        effects_note_at(out, NOTE_WARN, "the checkpoint of entry %lu finds no room on the disk",
                        (unsigned long)was.begin.index);
        s->transfer_in.keeping = false;
        transfer_in_abort(&s->transfer_in, out);
        transfer_in_answer(&was, 2, out);
        return;
    }
    transfer_in_kept(&s->transfer_in);
    if (!done)
        keep_failed(s, now, out);
    else if (transfer_out_keeps(&s->transfer_out))
        chain_add(s);
    s->keep_failed = !done;
    s->keep_covers = 0;
    transfer_out_kept(&s->transfer_out);
}

void server_disk_full(struct server *s, bool full)
{
    replica_full(&s->replica, full);
}

/* Recovery. */

void server_recover_state_begin(struct server *s, bool full)
{
    machine_restore_begin(s->machine, full);
}

bool server_recover_state_slice(struct server *s, struct bytes slice)
{
    return machine_restore_slice(s->machine, slice);
}

bool server_recover_state_end(struct server *s, uint64_t index, uint64_t view, uint64_t time_us,
                              uint64_t digest)
{
    if (!machine_restore_end(s->machine, index, time_us, digest))
        return false;
    journal_reset(&s->journal, index + 1);
    s->handed_index = index;
    s->entry_time_us = time_us;
    replica_recover_state(&s->replica, index, view);
    return true;
}

void server_recover_reset(struct server *s, uint64_t index)
{
    journal_truncate(&s->journal, replica_recover_reset(&s->replica, index));
}

void server_recover_entry(struct server *s, const struct journal_record *header,
                          struct bytes record)
{
    uint64_t last;
    bool wanted = replica_recover_entry(&s->replica, header->index, header->view, &last);

    if (last < s->journal.last)
        journal_truncate(&s->journal, last);
    if (!wanted)
        return;
    journal_append_record(&s->journal, record);
    s->handed_index = header->index;
    s->kept_bytes += record.size;
    if (header->time_us > s->entry_time_us)
        s->entry_time_us = header->time_us;
}

bool server_recovered(struct server *s, bool intact)
{
    /* What was read last may have taken the place of more than it brought. */
    s->handed_index = s->journal.last;
    return replica_recovered(&s->replica, intact);
}

void server_cut(struct server *s)
{
    replica_cut(&s->replica);
}

void server_lived(struct server *s, const struct lives *lives, struct journal_end discarded)
{
    replica_lived(&s->replica, lives, discarded);
}
