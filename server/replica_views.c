#include "server/machine.h"
#include "server/replica_parts.h"

static bool state_equal(const struct message_state *a, const struct message_state *b)
{
    return a->incarnation == b->incarnation && a->promised == b->promised && a->view == b->view &&
           a->role == b->role && a->intact == b->intact && a->journal_view == b->journal_view &&
           a->journal_index == b->journal_index && a->commit_index == b->commit_index &&
           a->executed_index == b->executed_index && a->discarded_view == b->discarded_view &&
           a->discarded_index == b->discarded_index && a->clients == b->clients;
}

void views_send_state(struct replica *r, struct instant now, struct effects *out)
{
    struct message_state state = {
        .incarnation = r->options.incarnation,
        .promised = r->promised,
        .view = r->view.number,
        .role = (uint8_t)r->role,
        .intact = r->intact && r->whole,
        .journal_view = replica_journal_view(r),
        .journal_index = r->whole ? r->last_index : 0,
        .commit_index = r->commit_index,
        .executed_index = r->executed_index,
        .discarded_view = r->discarded.view,
        .discarded_index = r->discarded.index,
        .clients = r->clients,
    };

    r->state_due = instant_add_ms(now, STATE_INTERVAL_MS);
    if (!r->rm_linked || state_equal(&state, &r->state_sent))
        return;
    r->state_sent = state;
    effects_send(out, NODE_RM, (struct message){ .type = MESSAGE_STATE, .state = state });
}

void views_send_active(const struct replica *r, struct effects *out)
{
    if (is_primary(r) && r->serving)
        effects_send(out, NODE_RM,
                     (struct message){
                         .type = MESSAGE_ACTIVE,
                         .active = { .number = r->view.number, .commit_index = r->commit_index } });
}

void views_pass_on(const struct replica *r, node_id to, struct effects *out)
{
    effects_send(out, to, (struct message){ .type = MESSAGE_VIEW, .view = r->view });
    effects_send(out, to,
                 (struct message){ .type = MESSAGE_SYNC,
                                   .sync = { .view = r->view.number, .index = r->last_index } });
}

static void become_primary(struct replica *r, struct instant now, struct effects *out)
{
    struct effect *append;

    if (!r->whole) {
        /* Only `recover --accept-loss` elects a server without a state: it begins with none. */
        entries_begin_behind(r, 0, 0, out);
        r->whole = true;
    }
    r->role = ROLE_PRIMARY;
    r->serving = false;
    r->lease_wait = instant_add_ms(now, r->view.lease_wait_ms);
    r->mark_due = instant_add_ms(now, r->options.checkpoint_interval_ms);
    r->view_start = r->last_index + 1;
    entries_grown(r, r->view_start, r->view.number);
    append = effects_add(out, EFFECT_APPEND);
    append->number = REQUEST_VIEW;
    append->reference = r->view_start;

    for (uint32_t i = 0; i < r->options.server_count; i++) {
        node_id server = NODE_SERVER(i);

        if (i == self_index(r) || !r->peers[i].linked)
            continue;
        views_pass_on(r, server, out);
        /* In hope that it holds what we hold. If not, its position tells. */
        if (feed_is_ours(r, server))
            feed_from(r, server, r->view_start);
    }
    effects_note(out, "primary of view %lu from entry %lu on", (unsigned long)r->view.number,
                 (unsigned long)r->view_start);
}

static void become_follower(struct replica *r, struct instant now, enum role role,
                            struct effects *out)
{
    node_id feeder;

    r->role = role;
    r->serving = false;
    feeder = feed_feeder_of(r, r->options.self);
    if (peer_of(r, feeder)->linked)
        follow_send_position(r, now, feeder, out);
    effects_note(out, "%s in view %lu of %s", role_name((uint8_t)role),
                 (unsigned long)r->view.number, node_name(r->view.primary));
}

static void enter_view(struct replica *r, struct instant now, const struct message_view *view,
                       struct effects *out)
{
    bool member = members_has(&view->members, r->options.self, r->options.incarnation);

    assert(view->number >= r->promised && view->number > r->view.number);
    r->promised = view->number;
    r->view = *view;
    if (view->style == STYLE_ACTIVE)
        r->active_view = view->number;
    r->verified_index = 0;
    r->sync_known = r->forwarding = false;
    r->ack_owed = false;
    r->confirm_ns = 0;
    r->stamp = 0; /* of another primary's clock */
    r->mark_own = (struct replica_mark){ 0 };
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++) {
        struct replica_peer *p = &r->peers[i];
        bool linked = p->linked;
        uint64_t incarnation = p->incarnation;

        *p = (struct replica_peer){
            .linked = linked, .incarnation = incarnation, .link_since = now, .heard = now
        };
    }
    if (member && view->primary == r->options.self)
        become_primary(r, now, out);
    else
        become_follower(r, now, member ? ROLE_BACKUP : ROLE_JOINER, out);
    effects_add(out, EFFECT_ROLE);
    views_send_state(r, now, out);
}

void views_enter(struct replica *r, struct instant now, const struct message_view *view,
                 struct effects *out)
{
    if (view->number < r->promised || view->number <= r->view.number ||
        !node_is_server(view->primary) || !(view->members.set >> node_index(view->primary) & 1u) ||
        view->acks == 0 || view->acks > members_count(&view->members))
        return;
    enter_view(r, now, view, out);
}

void views_fence(struct replica *r, struct instant now, uint64_t number, struct effects *out)
{
    uint64_t lease_left = instant_since_us(r->lease_granted, now);
    bool young = instant_since_ms(now, r->started) < r->options.lease_ms;

    if (number < r->promised)
        return;
    if (number > r->promised) {
        r->promised = number;
        r->forwarding = false;
        effects_add(out, EFFECT_ROLE);
    }
    effects_send(
        out, NODE_RM,
        (struct message){ .type = MESSAGE_REPORT,
                          .report = {
                              .number = number,
                              .incarnation = r->options.incarnation,
                              .intact = r->intact && r->whole,
                              .cut = r->intact && r->cut,
                              .lives = r->lives,
                              .journal_view = replica_journal_view(r),
                              .last_index = r->whole ? r->last_index : 0,
                              .commit_index = r->commit_index,
                              .discarded_view = r->discarded.view,
                              .discarded_index = r->discarded.index,
                              .stateless = !r->whole,
                              .lease_left_ms = young ? r->options.lease_ms
                                                     : (uint32_t)((lease_left + 999) / 1000),
                          } });
}
