#include <string.h>

#include "server/replica_parts.h"

void follow_send_position(struct replica *r, struct instant now, node_id to, struct effects *out)
{
    uint32_t from = entries_run_of(r, r->first_index - 1);
    uint32_t count = r->run_count - from;

    memcpy(r->runs_packed, r->runs + from, count * sizeof *r->runs);
    r->position_sent = now;
    effects_send(out, to,
                 (struct message){ .type = MESSAGE_POSITION,
                                   .position = {
                                       .view = r->view.number,
                                       .incarnation = r->options.incarnation,
                                       .first_index = r->first_index,
                                       .last_index = r->last_index,
                                       .executed_index = r->executed_index,
                                       .whole = r->whole || r->whole_at,
                                       .intact = r->intact,
                                       .runs = bytes_of(r->runs_packed, count * sizeof *r->runs),
                                   } });
}

void follow_repeat_position(struct replica *r, struct instant now, struct effects *out)
{
    node_id feeder = feed_feeder_of(r, r->options.self);
    const struct replica_peer *p = peer_of(r, feeder);

    if (r->role != ROLE_PRIMARY && p->linked && instant_since_ms(now, p->heard) >= REPEAT_MS &&
        instant_since_ms(now, r->position_sent) >= REPEAT_MS)
        follow_send_position(r, now, feeder, out);
}

static void append_records(struct replica *r, const struct message_append *append,
                           struct effects *out)
{
    struct bytes rest = append->entries, fresh = { 0 }, record;
    struct journal_record header;
    uint64_t index = append->prev_index, appended = 0;
    bool sound;

    while (journal_record_next(&rest, &header, &record, &sound)) {
        if (header.index != index + 1 || header.view > r->view.number) {
            sound = false;
            break;
        }
        index++;
        if (appended == 0 && index <= r->last_index) {
            if (index < r->first_index || replica_view_at(r, index) == header.view)
                continue;
            if (index <= r->commit_index) {
                effects_add(out, EFFECT_END)->text = effects_text(
                    out,
                    "entry %lu is committed here, and the cluster went on without it (its loss was "
                    "accepted): begin anew",
                    (unsigned long)index);
                return;
            }
            entries_cut(r, index - 1, out);
        }
        if (header.view < r->runs[r->run_count - 1].view) {
            index--; /* it is not taken in */
            sound = false;
            break;
        }
        if (appended++ == 0)
            fresh.data = record.data;
        fresh.size += record.size;
        entries_grown(r, index, header.view);
    }
    if (appended) {
        struct effect *effect = effects_add(out, EFFECT_APPEND);

        effect->data = fresh;
        effect->reference = index;
    }
    if (!sound) {
        effects_add(out, EFFECT_END)->text = effects_text(
            out, "entry %lu came damaged from the primary", (unsigned long)(index + 1));
        return;
    }
    if (index > r->verified_index)
        r->verified_index = index;
}

static void take_commit(struct replica *r, uint64_t commit_index, struct effects *out)
{
    uint64_t commit = commit_index < r->verified_index ? commit_index : r->verified_index;

    if (commit <= r->commit_index)
        return;
    r->commit_index = commit;
    effects_add(out, EFFECT_COMMIT)->reference = commit;
}

/* A journal that ends before an entry which is committed is needed by nobody: others hold that
 * entry, and with it all that is here. */
static bool may_begin_anew(const struct replica *r, const struct message_append *append)
{
    const uint64_t view = replica_journal_view(r);

    if (r->role == ROLE_JOINER || r->last_index == 0 || !r->whole || !r->intact)
        return true;
    return append->commit_index >= append->prev_index &&
           (view < append->prev_view ||
            (view == append->prev_view && r->last_index < append->prev_index));
}

/* A member without a state acknowledges nothing, so the window of who feeds it fills up: there are
 * entries, and only word of them comes. The state may then be of an entry that is never sent. */
static bool is_held_back(const struct replica *r, const struct message_append *append)
{
    return r->role == ROLE_BACKUP && !r->whole && append->entries.size == 0 &&
           append->prev_index == r->last_index && append->commit_index > r->last_index &&
           r->saved_index == r->last_index;
}

/* Whether the entry that others come behind can be one of this view's primary. */
static bool is_possible(const struct replica *r, const struct message_append *append)
{
    return append->prev_index <= JOURNAL_INDEX_MAX && append->prev_view <= r->view.number &&
           (append->prev_index == 0) == (append->prev_view == 0);
}

void follow_append(struct replica *r, struct instant now, const struct message *message,
                   struct effects *out)
{
    const struct message_append *append = &message->append;
    bool was_adopted = entries_adopted(r);
    uint64_t verified = r->verified_index;

    /* Rule 2. An append of a view we have not heard of is sent again once our position is known. */
    if (append->view != r->view.number || replica_fenced(r) || r->role == ROLE_PRIMARY ||
        message->from != feed_feeder_of(r, r->options.self))
        return;
    if (!is_possible(r, append)) {
        effects_note_at(out, NOTE_ERROR,
                        "%s speaks of an entry %lu of view %lu, in view %lu: ignored",
                        node_name(message->from), (unsigned long)append->prev_index,
                        (unsigned long)append->prev_view, (unsigned long)append->view);
        return;
    }
    peer_of(r, message->from)->heard = now;
    peer_of(r, r->view.primary)->heard = now;
    if (append->reset && may_begin_anew(r, append))
        entries_begin_behind(r, append->prev_index, append->prev_view, out);
    if (append->prev_index > r->last_index || append->prev_index + 1 < r->first_index ||
        replica_view_at(r, append->prev_index) != append->prev_view) {
        if (instant_since_ms(now, r->position_sent) >= POSITION_AGAIN_MS)
            follow_send_position(r, now, message->from, out);
        return;
    }
    if (append->prev_index > r->verified_index)
        r->verified_index = append->prev_index;
    append_records(r, append, out);
    entries_become_whole(r);
    take_commit(r, append->commit_index, out);
    if (append->trim_index > r->trim_index)
        r->trim_index = append->trim_index;
    /* An old stamp comes with what needs no answer: the news that entries are committed. */
    if (append->entries.size || append->reset || append->stamp > r->stamp ||
        r->verified_index > verified)
        r->ack_owed = true;
    if (append->stamp > r->stamp)
        r->stamp = append->stamp;
    r->lease_granted = instant_max(r->lease_granted, instant_add_ms(now, r->options.lease_ms));
    if (!was_adopted && entries_adopted(r))
        feed_begin_chain(r);
    /* Fed in hope: our position may have come before the feeder was in the view, and only it tells
     * that our state is missing. */
    if ((verified == 0 && !r->whole) ||
        (is_held_back(r, append) && instant_since_ms(now, r->position_sent) >= POSITION_AGAIN_MS))
        follow_send_position(r, now, message->from, out);
}

void follow_send_acks(struct replica *r, struct effects *out)
{
    uint64_t index = r->saved_index < r->verified_index ? r->saved_index : r->verified_index;
    node_id feeder = feed_feeder_of(r, r->options.self);
    struct message ack = { .type = MESSAGE_ACK,
                           .ack = {
                               .view = r->view.number,
                               .incarnation = r->options.incarnation,
                               .index = index,
                               .executed_index = r->whole ? r->executed_index : 0,
                               .stamp = r->stamp,
                               .digest_index = r->mark_own.index,
                               .digest = r->mark_own.digest,
                           } };

    /* Entries without the state before them would not outlive the primary: a member that was taken
     * in for want of others does not hold them yet; nor does one whose next life would not know
     * that it does. */
    if (r->role == ROLE_BACKUP && (!r->whole || r->unmarked))
        ack.ack.index = 0;
    r->ack_owed = false;
    /* Whoever can keep nothing must not be taken for one that has caught up. */
    if (!judge_can_keep(r, r->ticked) && r->role == ROLE_JOINER)
        return;
    r->mark_own = (struct replica_mark){ 0 };
    effects_send(out, r->view.primary, ack);
    if (feeder != r->view.primary)
        effects_send(out, feeder, ack);
}

void follow_sync(struct replica *r, const struct message *message)
{
    if (message->sync.view != r->view.number || message->from != r->view.primary ||
        r->role == ROLE_PRIMARY || replica_fenced(r))
        return;
    r->sync_known = true;
    r->forwarding = false;
    r->sync_index = message->sync.index;
}

void follow_resume_forwarding(struct replica *r, struct effects *out)
{
    if (!r->sync_known || r->forwarding || replica_fenced(r) || r->role == ROLE_PRIMARY ||
        r->verified_index < r->sync_index)
        return;
    r->forwarding = true;
    effects_add(out, EFFECT_RESYNC);
}
