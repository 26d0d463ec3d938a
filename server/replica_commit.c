#include <assert.h>
#include <string.h>

#include "server/machine.h"
#include "server/replica_parts.h"

#define LEASE_DRIFT_PERCENT 1u /* clocks of two machines may drift apart by so much */

/* The acks-th highest of a value of the members, which is what a quorum has at least. */
static uint64_t quorum_of(const struct replica *r, const uint64_t *values)
{
    uint64_t sorted[SERVER_COUNT_MAX] = { 0 };
    uint32_t count = 0;

    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++) {
        uint32_t at = count;

        if (!(r->view.members.set >> i & 1u))
            continue;
        for (; at > 0 && sorted[at - 1] < values[i]; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = values[i];
        count++;
    }
    assert(r->view.acks >= 1 && r->view.acks <= count);
    return sorted[r->view.acks - 1];
}

/* What a member is known to hold. Rule 3: the life in its place that is a member, no other. */
static uint64_t counted_index(const struct replica *r, uint32_t i)
{
    const struct replica_peer *p = &r->peers[i];

    if (!members_has(&r->view.members, NODE_SERVER(i), p->incarnation) || feed_lacks_state(p))
        return 0;
    return p->match_index;
}

void commit_advance(struct replica *r, struct instant now, struct effects *out)
{
    uint64_t values[SERVER_COUNT_MAX], commit;

    if (!is_primary(r) || !instant_reached(now, r->lease_wait))
        return;
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++)
        values[i] = counted_index(r, i);
    values[self_index(r)] = r->saved_index;
    commit = quorum_of(r, values);
    /* Rule 5: only entries of this view are counted; those before come with them. */
    if (commit < r->view_start || commit <= r->commit_index)
        return;
    r->commit_index = commit;
    if (!r->serving) {
        r->serving = true;
        effects_note(out, "view %lu is active: serving as primary", (unsigned long)r->view.number);
        views_send_active(r, out);
    }
    effects_add(out, EFFECT_COMMIT)->reference = commit;
}

static void compare_marks(struct replica *r, struct instant now, node_id from,
                          const struct message_ack *ack, struct effects *out)
{
    for (uint32_t i = 0; i < MARK_COUNT; i++) {
        if (r->marks[i].index != ack->digest_index || r->marks[i].digest == ack->digest)
            continue;
        effects_note_at(out, NOTE_ERROR, "the state of %s differs from ours at entry %lu",
                        node_name(from), (unsigned long)ack->digest_index);
        effects_send(out, from,
                     (struct message){ .type = MESSAGE_DIVERGED,
                                       .diverged = { .index = ack->digest_index,
                                                     .digest = r->marks[i].digest } });
        judge_accuse(r, now, from, "its state differs from the primary's", out);
    }
}

/* executed_index: of the state that belongs to its journal, 0 as long as none does. One that came
 * from elsewhere may be ahead of the entries. */
static void welcome_joiner(struct replica *r, struct instant now, node_id joiner,
                           uint64_t executed_index, struct effects *out)
{
    struct replica_peer *p = peer_of(r, joiner);
    bool near = p->match_index + CAUGHT_UP_ENTRIES >= r->last_index;

    if (feed_lacks_state(p) || executed_index < p->state_index || !near || !r->serving ||
        (p->asked.ns && instant_since_ms(now, p->asked) < REPEAT_MS))
        return;
    p->asked = now;
    effects_send(out, NODE_RM,
                 (struct message){ .type = MESSAGE_CAUGHT_UP,
                                   .caught_up = { .number = r->view.number,
                                                  .joiner = joiner,
                                                  .incarnation = p->incarnation } });
}

void commit_ack(struct replica *r, struct instant now, const struct message *message,
                struct effects *out)
{
    const struct message_ack *ack = &message->ack;
    struct replica_peer *p = peer_of(r, message->from);
    uint32_t acked = 0;

    if (ack->view != r->view.number || replica_fenced(r) || ack->index > r->last_index ||
        ack->executed_index > r->last_index || ack->incarnation != p->incarnation)
        return;
    p->heard = now;
    if (ack->stamp < p->reset_stamp)
        return; /* of what it has thrown away since, or will */
    while (acked < p->window_count && p->window[acked] <= ack->index)
        acked++;
    if (acked) {
        p->window_count -= acked;
        memmove(p->window, p->window + acked, p->window_count * sizeof *p->window);
    }
    if (ack->index > p->match_index)
        p->match_index = ack->index;
    if (ack->executed_index > p->executed_index)
        p->executed_index = ack->executed_index;
    if (r->role != ROLE_PRIMARY)
        return;
    if (p->joiner) {
        welcome_joiner(r, now, message->from, ack->executed_index, out);
        return;
    }
    /* Rule 3. */
    if (!members_has(&r->view.members, message->from, ack->incarnation))
        return;
    if (ack->stamp > p->stamp && ack->stamp <= now.ns)
        p->stamp = ack->stamp;
    if (ack->digest_index)
        compare_marks(r, now, message->from, ack, out);
    commit_advance(r, now, out);
}

void commit_trim(struct replica *r)
{
    uint64_t trim = r->executed_index;

    for (uint32_t i = 0; i < r->options.server_count; i++)
        if (i != self_index(r) && replica_is_member(r, NODE_SERVER(i)) &&
            r->peers[i].executed_index < trim)
            trim = r->peers[i].executed_index;
    if (trim > r->trim_index)
        r->trim_index = trim;
}

/* Marks: entries at which the states are compared. */

void commit_mark(struct replica *r, struct instant now, struct effects *out)
{
    struct effect *append;

    if (r->view.style != STYLE_ACTIVE || !r->serving || !instant_reached(now, r->mark_due))
        return;
    r->mark_due = instant_add_ms(now, r->options.checkpoint_interval_ms);
    if (r->last_index == r->mark_last)
        return;
    r->mark_last = replica_append(r);
    append = effects_add(out, EFFECT_APPEND);
    append->number = REQUEST_MARK;
    append->reference = r->mark_last;
}

void replica_marked(struct replica *r, uint64_t index, uint64_t digest)
{
    struct replica_mark mark = { index, digest };

    r->marks[r->mark_next++ % MARK_COUNT] = mark;
    r->mark_own = mark;
    if (r->role == ROLE_BACKUP)
        r->ack_owed = true;
}

/* Reading. */

/* Our clock at the last append that a quorum has answered; 0: none. */
static uint64_t quorum_stamp(const struct replica *r, struct instant now)
{
    uint64_t stamps[SERVER_COUNT_MAX];

    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++)
        stamps[i] = r->peers[i].stamp;
    stamps[self_index(r)] = now.ns;
    return quorum_of(r, stamps);
}

bool replica_leased(const struct replica *r, struct instant now)
{
    uint64_t lease_ns = r->options.lease_ms * 10000ull * (100u - LEASE_DRIFT_PERCENT), stamp;

    if (!is_primary(r) || !r->serving)
        return false;
    stamp = quorum_stamp(r, now);
    return stamp && stamp + lease_ns > now.ns;
}

bool replica_may_read(struct replica *r, struct instant now, struct instant arrived)
{
    if (!is_primary(r) || !r->serving)
        return false;
    now = instant_max(now, arrived);
    if (replica_leased(r, now) || quorum_stamp(r, now) >= arrived.ns)
        return true;
    if (arrived.ns > r->confirm_ns)
        r->confirm_ns = arrived.ns;
    return false;
}
