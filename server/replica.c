#include <assert.h>

#include "server/replica_parts.h"

void replica_init(struct replica *r, const struct replica_options *options, struct instant now)
{
    *r = (struct replica){
        .options = *options,
        .started = now,
        .ticked = now,
        .disk_moved = now,
        .run_count = 1,
        .first_index = 1,
        .whole = true,
        .role = ROLE_NONE,
        .state_due = INSTANT_NEVER,
    };
    assert(node_is_server(options->self) && options->server_count <= SERVER_COUNT_MAX);
}

bool replica_fenced(const struct replica *r)
{
    return r->promised > r->view.number;
}

bool replica_is_member(const struct replica *r, node_id server)
{
    return r->view.members.set >> node_index(server) & 1u;
}

/* Links. */

static void link_up(struct replica *r, struct instant now, node_id from, uint64_t incarnation,
                    struct effects *out)
{
    struct replica_peer *p = peer_of(r, from);

    p->linked = true;
    p->link_since = p->heard = now;
    p->fed = false;
    p->joiner = false;
    p->incarnation = incarnation;
    if (!r->view.number || replica_fenced(r))
        return;
    if (r->role == ROLE_PRIMARY)
        views_pass_on(r, from, out);
    else if (from == feed_feeder_of(r, r->options.self))
        follow_send_position(r, now, from, out);
    feed_begin_chain(r);
}

static void link_down(struct replica *r, struct instant now, node_id from)
{
    struct replica_peer *p = peer_of(r, from);

    if (!p->linked)
        return;
    p->linked = p->fed = p->joiner = false;
    p->window_count = 0;
    p->reset_index = 0;
    p->link_since = now;
    if (from == r->view.primary)
        r->sync_known = r->forwarding = false;
}

static void receive_link(struct replica *r, struct instant now, const struct message *message,
                         struct effects *out)
{
    bool up = message->type == MESSAGE_LINK_UP;

    if (message->from == NODE_RM) {
        r->rm_linked = up;
        r->state_sent = (struct message_state){ 0 };
        views_send_state(r, now, out);
        if (up)
            views_send_active(r, out);
    } else if (node_is_server(message->from)) {
        if (up)
            link_up(r, now, message->from, message->link_up.incarnation, out);
        else
            link_down(r, now, message->from);
        effects_add(out, EFFECT_ROLE);
    }
}

/* Something long is coming in. Its sender is not silent, and when it is what we are fed, neither
 * are we: it could not know otherwise that we are there, nor could those behind us in a chain. */
static void receive_part(struct replica *r, struct instant now, node_id from, struct effects *out)
{
    struct replica_peer *p;
    node_id next;

    if (!node_is_server(from) || node_index(from) >= r->options.server_count || !r->view.number ||
        replica_fenced(r))
        return;
    p = peer_of(r, from);
    if (instant_since_ms(now, p->heard) < feed_beat_ms(r))
        return;
    p->heard = now;
    if (r->role == ROLE_PRIMARY || from != feed_feeder_of(r, r->options.self))
        return;
    peer_of(r, r->view.primary)->heard = now;
    r->ack_owed = true;
    if (r->view.propagation != PROPAGATION_CHAIN || r->role != ROLE_BACKUP)
        return;
    next = feed_chain_next(r, r->options.self);
    if (next != NODE_NONE)
        effects_send(
            out, next,
            (struct message){ .type = MESSAGE_ALIVE, .alive = { .view = r->view.number } });
}

/* Messages. */

static void receive_from_rm(struct replica *r, struct instant now, const struct message *message,
                            struct effects *out)
{
    struct effect *effect;

    switch (message->type) {
    case MESSAGE_FENCE: views_fence(r, now, message->fence.number, out); break;
    case MESSAGE_VIEW: views_enter(r, now, &message->view, out); break;
    case MESSAGE_DONATE:
        if (message->donate.number != r->view.number || !r->whole ||
            !node_is_server(message->donate.joiner) || message->donate.joiner == r->options.self)
            break;
        effect = effects_add(out, EFFECT_DONATE);
        effect->node = message->donate.joiner;
        effect->reference = message->donate.index;
        break;
    default: break;
    }
}

static void receive_from_server(struct replica *r, struct instant now,
                                const struct message *message, struct effects *out)
{
    if (message->from == r->options.self || node_index(message->from) >= r->options.server_count)
        return;
    switch (message->type) {
    case MESSAGE_VIEW:
        /* A view is the rm's wherever it comes from; the primary passes it on to save time. With a
         * number that no rm would believe, its own would be refused for ever. */
        if (message->view.primary == message->from && message->view.number <= VIEW_NUMBER_HEARD_MAX)
            views_enter(r, now, &message->view, out);
        break;
    case MESSAGE_POSITION: feed_position(r, now, message, out); break;
    case MESSAGE_APPEND: follow_append(r, now, message, out); break;
    case MESSAGE_ACK: commit_ack(r, now, message, out); break;
    case MESSAGE_SYNC: follow_sync(r, message); break;
    case MESSAGE_ALIVE:
        if (message->alive.view == r->view.number)
            receive_part(r, now, message->from, out);
        break;
    case MESSAGE_DIVERGED:
        if (message->from == r->view.primary)
            effects_add(out, EFFECT_END)->text =
                effects_text(out, "the state differs from the primary's at entry %lu: begin anew",
                             (unsigned long)message->diverged.index);
        break;
    default: break;
    }
}

void replica_receive(struct replica *r, struct instant now, const struct message *message,
                     struct effects *out)
{
    if (message->type == MESSAGE_LINK_UP || message->type == MESSAGE_LINK_DOWN)
        receive_link(r, now, message, out);
    else if (message->type == MESSAGE_LINK_PART)
        receive_part(r, now, message->from, out);
    else if (message->from == NODE_RM)
        receive_from_rm(r, now, message, out);
    else if (node_is_server(message->from))
        receive_from_server(r, now, message, out);
    follow_resume_forwarding(r, out);
}

/* Whether the disk is to know of it, also when there is nothing else to be saved: the state of a
 * member that was taken in without one came after the first entries of the view. What was saved of
 * those before says nothing of that. */
static bool become_intact(struct replica *r)
{
    if ((r->role != ROLE_PRIMARY && r->role != ROLE_BACKUP) || !entries_adopted(r) ||
        (r->intact && !r->cut))
        return false;
    r->intact = true;
    r->cut = false;
    r->discarded = (struct journal_end){ 0 };
    r->unmarked = r->options.persistent;
    return true;
}

void replica_tick(struct replica *r, struct instant now, struct effects *out)
{
    bool completed;

    judge_forgive_pause(r, now);
    judge_watch_disk(r, now);
    completed = become_intact(r);
    if (r->options.persistent && (completed || r->last_index > r->persist_asked)) {
        struct effect *persist = effects_add(out, EFFECT_PERSIST);

        r->persist_asked = persist->reference = r->last_index;
        persist->number = completed;
    }
    if (r->view.number && !replica_fenced(r)) {
        if (r->role == ROLE_PRIMARY) {
            commit_mark(r, now, out);
            commit_advance(r, now, out);
            feed_want_donors(r, now, out);
            commit_trim(r);
        }
        judge_disk(r, now, out);
        judge_tick(r, now, out);
        follow_repeat_position(r, now, out);
        follow_resume_forwarding(r, out);
        if (r->ack_owed)
            follow_send_acks(r, out);
        feed_tick(r, now, out);
    }
    if (instant_reached(now, r->state_due))
        views_send_state(r, now, out);
    replica_check(r);
}

struct instant replica_deadline(const struct replica *r)
{
    struct instant due = instant_min(r->state_due, instant_add_ms(r->ticked, feed_beat_ms(r)));

    if (!is_primary(r))
        return due;
    if (!r->serving && r->lease_wait.ns > r->ticked.ns)
        due = instant_min(due, r->lease_wait);
    /* Only marks that commit_mark() would make are due: a deadline that nothing moves spins. */
    return r->view.style == STYLE_ACTIVE && r->serving ? instant_min(due, r->mark_due) : due;
}

enum replica_way replica_way(const struct replica *r)
{
    if (is_primary(r))
        return REPLICA_APPEND;
    return r->forwarding && !replica_fenced(r) ? REPLICA_FORWARD : REPLICA_HOLD;
}

uint64_t replica_append(struct replica *r)
{
    assert(is_primary(r));
    entries_grown(r, r->last_index + 1, r->view.number);
    return r->last_index;
}

void replica_saved(struct replica *r, uint64_t index)
{
    if (index > r->last_index)
        index = r->last_index;
    if (index <= r->saved_index && !r->unmarked)
        return;
    if (index > r->saved_index)
        r->saved_index = index;
    r->unmarked = false;
    r->ack_owed = r->role != ROLE_PRIMARY && r->view.number != 0;
}

void replica_executed(struct replica *r, uint64_t index)
{
    /* Rule 7. */
    assert(index <= r->commit_index && index >= r->executed_index);
    r->executed_index = index;
}

void replica_full(struct replica *r, bool full)
{
    r->full = full;
}

void replica_check(const struct replica *r)
{
    assert(r->promised >= r->view.number);
    assert(r->run_count >= 1 && r->run_count <= RUN_COUNT_MAX);
    assert(r->runs[0].first_index < r->first_index);
    assert(r->first_index <= r->last_index + 1);
    assert(r->saved_index <= r->last_index);
    if (r->whole)
        assert(r->executed_index <= r->commit_index && r->commit_index <= r->last_index);
    if (r->role == ROLE_PRIMARY)
        assert(r->view.primary == r->options.self && r->whole);
}
