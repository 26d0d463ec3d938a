#include <assert.h>

#include "server/server_state.h"

static uint64_t index_view(const struct server *s)
{
    return replica_view_at(&s->replica, machine_index(s->machine));
}

/* What goes out. */

/* Backups that are there to take a round and lack something of it, and the entry that the states of
 * all of them are of; 0 when they are of several: only a whole state fits those. */
static uint32_t round_receivers(const struct server *s, uint64_t *base_index)
{
    const struct replica *r = &s->replica;
    uint32_t receivers = 0;

    *base_index = 0;
    for (uint32_t i = 0; i < s->options.server_count; i++) {
        const uint64_t executed = r->peers[i].executed_index;

        /* Whoever claims to be past us is wrong; there is nothing to tell it. */
        if (NODE_SERVER(i) == s->options.self || !replica_is_member(r, NODE_SERVER(i)) ||
            !r->peers[i].linked || r->peers[i].match_index < r->view_start ||
            executed >= machine_index(s->machine))
            continue;
        *base_index = receivers == 0 || executed == *base_index ? executed : 0;
        receivers |= 1u << i;
    }
    return receivers;
}

static void begin_round(struct server *s, struct instant now, struct effects *out)
{
    const struct replica *r = &s->replica;
    uint64_t base_index;
    uint32_t receivers;
    /* It hastens a round, but not the same one again: those who have it must first say so. */
    bool full = s->journal.bytes > s->options.journal_bytes_max &&
                machine_index(s->machine) > s->round_index;

    if (r->role != ROLE_PRIMARY || !r->serving || r->view.style != STYLE_PASSIVE ||
        transfer_out_busy(&s->transfer_out) || (!full && !instant_reached(now, s->round_due)))
        return;
    s->round_due = instant_add_ms(now, s->options.checkpoint_interval_ms);
    receivers = round_receivers(s, &base_index);
    if (!receivers || machine_index(s->machine) < r->view_start)
        return;
    s->round_index = machine_index(s->machine);
    transfer_out_round(&s->transfer_out, now, s->machine, r->view.number, index_view(s), receivers,
                       base_index, out);
    effects_note_at(out, NOTE_DEBUG, "checkpoint %lu of entry %lu, changes since %lu",
                    (unsigned long)s->transfer_out.count, (unsigned long)s->round_index,
                    (unsigned long)s->transfer_out.base_index);
}

/* The disk's turn: as much has been executed since the last one as it takes to write it. */
static void begin_keep(struct server *s, struct instant now, struct effects *out)
{
    uint64_t base_index, ahead;

    if (!disk_keep_due(s, now) || transfer_out_busy(&s->transfer_out) || s->transfer_out.wanted ||
        !s->replica.whole || s->transfer_in.applying ||
        machine_index(s->machine) + 1 < s->replica.first_index)
        return;
    base_index = disk_keep_base(s);
    ahead = journal_bytes_after(&s->journal, machine_index(s->machine));
    s->keep_covers = s->kept_bytes > ahead ? s->kept_bytes - ahead : 0;
    s->kept_bytes = ahead;
    if (machine_index(s->machine) >= s->keep_wanted)
        s->keep_wanted = 0;
    s->keep_due = instant_add_ms(now, s->options.checkpoint_interval_ms);
    transfer_out_keep(&s->transfer_out, now, s->machine, s->replica.view.number, index_view(s),
                      base_index, out);
    effects_note_at(
        out, NOTE_DEBUG, "checkpoint of entry %lu begun for the disk, changes since %lu",
        (unsigned long)machine_index(s->machine), (unsigned long)s->transfer_out.base_index);
}

/* Whether this state may be shown to others: nothing is missing, nothing half applied. */
static bool may_donate(const struct server *s)
{
    return s->replica.whole && !s->transfer_in.applying && !replica_fenced(&s->replica) &&
           (s->replica.role == ROLE_PRIMARY || s->replica.role == ROLE_BACKUP) &&
           machine_index(s->machine) + 1 >= s->replica.first_index;
}

static uint32_t linked_servers(const struct server *s)
{
    uint32_t linked = 0;

    for (uint32_t i = 0; i < s->options.server_count; i++)
        linked |= s->replica.peers[i].linked ? 1u << i : 0;
    return linked;
}

/* There is one at a time. Under load a round may take so long that the next one is due when it
 * ends: what else waits comes first then, or would wait for ever. */
static void begin_next(struct server *s, struct instant now, struct effects *out)
{
    if (!s->transfer_out.round)
        begin_round(s, now, out);
    begin_keep(s, now, out);
    if (may_donate(s))
        transfer_out_donate(&s->transfer_out, now, s->machine, s->replica.view.number,
                            index_view(s), linked_servers(s), out);
    begin_round(s, now, out);
}

/* What comes in. */

/* Changes make something of the very state that they are based on, and of no other. */
static bool fits(const struct message_checkpoint_begin *begin, uint64_t executed_index)
{
    return begin->base_index == 0 || begin->base_index == executed_index;
}

static bool takes(const struct server *s, const struct message *message, bool *direct)
{
    const struct message_checkpoint_begin *begin = &message->checkpoint_begin;
    const struct replica *r = &s->replica;

    *direct = !r->whole && !r->whole_at;
    if (begin->view != r->view.number || replica_fenced(r) || !replica_is_member(r, message->from))
        return false;
    if (*direct)
        return begin->base_index == 0 && begin->index + 1 >= r->first_index;
    return r->whole && r->role == ROLE_BACKUP && r->view.style == STYLE_PASSIVE &&
           message->from == r->view.primary && !transfer_out_busy(&s->transfer_out) &&
           begin->index > r->executed_index && fits(begin, r->executed_index);
}

static void lose_state(struct effects *out, const struct transfer_in *t)
{
    effects_add(out, EFFECT_END)->text =
        effects_text(out, "the checkpoint of entry %lu from %s is damaged: begin anew",
                     (unsigned long)t->begin.index, node_name(t->from));
}

/* A whole state is coming in from another server that is still there: a second one would only begin
 * it anew. */
static bool under_way(const struct server *s, struct instant now, node_id from)
{
    const struct transfer_in *t = &s->transfer_in;

    /* While the disk lags it is the sender that waits. */
    bool comes_on = instant_since_ms(now, t->heard) < TRANSFER_PARTED_MS_MAX ||
                    (t->keeping && t->kept < t->slices);

    return t->open && t->direct && t->from != from && comes_on &&
           s->replica.peers[node_index(t->from)].linked;
}

static void receive_begin(struct server *s, struct instant now, const struct message *message,
                          struct effects *out)
{
    bool direct;

    if (s->transfer_in.applying && s->transfer_in.complete)
        return; /* the sender hears of the one before first */
    if (!takes(s, message, &direct) || (direct && under_way(s, now, message->from))) {
        struct transfer_in refused = { .from = message->from, .begin = message->checkpoint_begin };

        transfer_in_answer(&refused, 2, out);
        return;
    }
    if (s->transfer_in.from != message->from)
        transfer_in_refuse(&s->transfer_in, out);
    transfer_in_begin(&s->transfer_in, s->machine, message, direct, direct && s->options.persistent,
                      out);
    s->transfer_in.heard = now;
    if (!direct)
        return;
    progress_begin(&s->progress, now, PHASE_RECEIVING, message->checkpoint_begin.bytes_estimated);
    effects_note(out, "receive a checkpoint of entry %lu from %s, about %lu bytes",
                 (unsigned long)message->checkpoint_begin.index, node_name(message->from),
                 (unsigned long)message->checkpoint_begin.bytes_estimated);
}

void checkpoints_receive(struct server *s, struct instant now, const struct message *message,
                         struct effects *out)
{
    bool sound = true;

    if (s->transfer_in.from == message->from)
        s->transfer_in.heard = now;
    switch (message->type) {
    case MESSAGE_CHECKPOINT_BEGIN: receive_begin(s, now, message, out); break;
    case MESSAGE_CHECKPOINT_SLICE:
        sound = transfer_in_slice(&s->transfer_in, s->machine, message, out);
        break;
    case MESSAGE_CHECKPOINT_END: sound = transfer_in_end(&s->transfer_in, message, out); break;
    default: break;
    }
    if (!sound && s->transfer_in.direct)
        lose_state(out, &s->transfer_in);
    else if (!sound)
        transfer_in_abort(&s->transfer_in, out);
}

void checkpoints_link(struct server *s, struct instant now, const struct message *message,
                      struct effects *out)
{
    if (message->type == MESSAGE_LINK_DOWN) {
        uint64_t incarnation = s->replica.peers[node_index(message->from)].incarnation;

        transfer_out_lost(&s->transfer_out, now, message->from, incarnation);
        transfer_in_lost(&s->transfer_in, now, message->from, incarnation);
    } else {
        transfer_out_found(&s->transfer_out, message->from, message->link_up.incarnation);
        transfer_in_found(&s->transfer_in, message->from, message->link_up.incarnation, out);
    }
}

/* Whether a checkpoint that is here may become our state now. */
static bool may_apply(const struct server *s)
{
    const struct transfer_in *t = &s->transfer_in;

    /* A state that a joiner is being given must stay until it is read out. */
    if (!t->complete || (!t->applying && s->transfer_out.open))
        return false;
    /* A round is about entries that this backup may not have yet. */
    return t->direct || s->replica.commit_index >= t->begin.index;
}

static void note_receiving(struct server *s, struct instant now, struct effects *out)
{
    char text[PROGRESS_TEXT_SIZE];

    if (s->progress.phase != PHASE_RECEIVING || !s->transfer_in.open)
        return;
    s->progress.bytes = s->transfer_in.bytes;
    if (progress_say(&s->progress, now, text))
        effects_note(out, "receiving: %s", text);
}

static void apply(struct server *s, struct instant now, struct effects *out)
{
    struct transfer_in *t = &s->transfer_in;
    struct transfer_in was = *t;
    bool done;

    if (!may_apply(s))
        return;
    if (!transfer_in_apply(t, s->machine, &done)) {
        lose_state(out, &was);
        return;
    }
    if (!done)
        return;
    replica_restored(&s->replica, was.begin.index);
    if (was.begin.time_us > s->entry_time_us)
        s->entry_time_us = was.begin.time_us; /* should we make the next entry */
    s->transfer_out.count = was.begin.count;
    transfer_in_answer(&was, 1, out);
    if (was.direct)
        effects_note(out, "checkpoint of entry %lu is in: %lu bytes in %lu ms, %u MB/s",
                     (unsigned long)was.begin.index, (unsigned long)was.bytes,
                     (unsigned long)instant_since_ms(now, s->progress.started),
                     progress_mb_per_second(&s->progress, now));
    else
        effects_note_at(out, NOTE_DEBUG, "checkpoint %lu of entry %lu is in",
                        (unsigned long)was.begin.count, (unsigned long)was.begin.index);
}

/* A round that came too late: this server leads by now, or has executed entries itself since. */
static bool is_late(const struct server *s)
{
    const struct transfer_in *t = &s->transfer_in;

    return t->open && !t->direct && !t->applying &&
           (s->replica.role == ROLE_PRIMARY || t->begin.index <= s->replica.executed_index ||
            !fits(&t->begin, s->replica.executed_index));
}

/* A checkpoint whose sender is gone for good: what was applied as it came was no state yet. A new
 * view alone changes nothing: a checkpoint shows what is committed. */
static void drop_orphan(struct server *s, struct instant now, struct effects *out)
{
    struct transfer_in *t = &s->transfer_in;
    bool may_return = t->parted && instant_since_ms(now, t->heard) < TRANSFER_PARTED_MS_MAX;

    if (is_late(s)) {
        transfer_in_refuse(t, out);
        return;
    }
    if (!t->open || t->complete || may_return ||
        (s->replica.peers[node_index(t->from)].linked &&
         (t->direct || t->from == s->replica.view.primary)))
        return;
    transfer_in_abort(t, out);
}

/* Entries that no longer fit are dropped, but what goes out in this turn stays till then: where
 * nobody else has to have them they are executed before they are sent, and a member that is never
 * sent them would be out of the view. */
static void trim_journal(struct server *s)
{
    const struct replica *r = &s->replica;
    uint64_t limit = r->executed_index;

    if (!r->whole)
        return;
    if (r->view.style == STYLE_PASSIVE && r->trim_index < limit)
        limit = r->trim_index;
    if (s->options.persistent && r->saved_index < limit)
        limit = r->saved_index;
    for (uint32_t i = 0; i < s->options.server_count; i++)
        if (replica_feeds(r, NODE_SERVER(i)) && r->peers[i].next_index - 1 < limit)
            limit = r->peers[i].next_index - 1;
    journal_drop(&s->journal, limit, s->options.journal_bytes_max);
    replica_dropped(&s->replica, s->journal.first);
}

/* How far a join is. */

static enum phase phase_of(const struct server *s)
{
    const struct replica *r = &s->replica;

    if (r->view.number == 0 || (r->whole && r->role != ROLE_JOINER))
        return PHASE_NONE;
    if (r->whole || r->whole_at)
        return PHASE_FOLLOWING;
    return s->transfer_in.open && s->transfer_in.direct ? PHASE_RECEIVING : PHASE_WAITING;
}

static void tell_progress(struct server *s, struct instant now, struct effects *out)
{
    enum phase phase = phase_of(s);

    if (phase != s->progress.phase)
        progress_begin(&s->progress, now, phase, 0);
    if (!s->replica.rm_linked) {
        s->progress_told = (struct instant){ 0 };
        s->progress_told_phase = PHASE_NONE;
        return;
    }
    if (phase == s->progress_told_phase &&
        (phase != PHASE_RECEIVING || instant_since_ms(now, s->progress_told) < PROGRESS_TELL_MS))
        return;
    s->progress_told = now;
    s->progress_told_phase = phase;
    effects_send(out, NODE_RM,
                 progress_message(&s->progress, now, s->options.self, s->options.incarnation));
}

/* The next slice, and what it says about the one after: how much it may be, and when it may come.
 * While entries come in, a checkpoint leaves most of the time to them. */
static void send_slice(struct server *s, struct instant now, struct effects *out)
{
    struct transfer_out *t = &s->transfer_out;
    uint64_t before = server_turn_us(s);
    uint32_t sent = t->sent;

    transfer_out_tick(t, now, s->machine, out);
    if (t->sent == sent)
        return;
    transfer_out_paced(t, now, server_turn_us(s) - before, s->journal.last != s->slice_index);
    s->slice_index = s->journal.last;
}

struct instant checkpoints_deadline(const struct server *s)
{
    struct instant at_once = { 0 };

    return may_apply(s) ? at_once : transfer_out_due(&s->transfer_out);
}

void checkpoints_tick(struct server *s, struct instant now, struct effects *out)
{
    drop_orphan(s, now, out);
    note_receiving(s, now, out);
    apply(s, now, out);
    if (replica_fenced(&s->replica) && s->transfer_out.round)
        transfer_out_abort(&s->transfer_out, s->machine, out);
    begin_next(s, now, out);
    send_slice(s, now, out);
    tell_progress(s, now, out);
    trim_journal(s);
}
