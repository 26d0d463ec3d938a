#include <stdio.h>

#include "rm/plan.h"
#include "rm/view_parts.h"

static bool member_died(const struct view *v, char reason[VIEW_TEXT_SIZE])
{
    const struct message_view *current = current_of(v);

    for (uint32_t i = 0; i < v->options.server_count; i++) {
        const struct roster_server *s = &v->roster->server[i];
        uint64_t incarnation = current->members.incarnation[i];

        if (!in_set(current->members.set, i) ||
            !roster_dead(v->roster, NODE_SERVER(i), incarnation))
            continue;
        if (s->gone == incarnation)
            (void)snprintf(reason, VIEW_TEXT_SIZE, "%s deleted%s%s", node_name(NODE_SERVER(i)),
                           s->last_exit[0] ? ": " : "", s->last_exit);
        else
            (void)snprintf(reason, VIEW_TEXT_SIZE, "%s %s", node_name(NODE_SERVER(i)),
                           s->listed || s->linked ? "was restarted" : "is not in the membership");
        return true;
    }
    return false;
}

bool reasons_members_here(const struct view *v, struct instant now)
{
    const struct message_view *current = current_of(v);

    if (instant_reached(now, instant_add_ms(v->started_at, LINK_WAIT_MS)))
        return true;
    for (uint32_t i = 0; i < v->options.server_count; i++)
        if (in_set(current->members.set, i) && !is_member_alive(v, i))
            return false;
    return true;
}

bool reasons_can_be_without(const struct view *v, uint32_t without)
{
    uint32_t left = 0;

    for (uint32_t i = 0; i < v->options.server_count; i++)
        left += !in_set(without, i) && is_member_alive(v, i);
    return left > 0 && view_policy_acks(&v->saved->wanted, left) > 0;
}

static bool policy_changed(const struct view *v, char reason[VIEW_TEXT_SIZE])
{
    const struct message_view *current = current_of(v);
    const struct view_policy *wanted = &v->saved->wanted;
    uint32_t acks = view_policy_acks(wanted, members_count(&current->members));

    if (current->style != wanted->style)
        (void)snprintf(reason, VIEW_TEXT_SIZE, "style %s wanted",
                       style_name((uint8_t)wanted->style));
    else if (acks && current->acks != acks)
        (void)snprintf(reason, VIEW_TEXT_SIZE, "acks %u wanted", acks);
    else if (current->propagation != wanted->propagation && plan_all_adopted(v))
        (void)snprintf(reason, VIEW_TEXT_SIZE, "another propagation wanted");
    else
        return false;
    return true;
}

static uint32_t ready_joiners(const struct view *v, struct instant now)
{
    uint32_t set = 0;

    for (uint32_t i = 0; i < v->options.server_count; i++)
        if (plan_joiner_ready(v, now, NODE_SERVER(i)))
            set |= 1u << i;
    return set;
}

/* Changes that improve on a view that works. They wait until it does. */
static bool wants_improvement(const struct view *v, struct instant now, char reason[VIEW_TEXT_SIZE])
{
    const struct message_view *current = current_of(v);
    uint32_t leaving = (v->leaving | v->saved->stopped) & ~v->kept & current->members.set;
    char names[ROSTER_NAMES_SIZE];

    if (!reasons_members_here(v, now))
        return false;
    if (leaving && reasons_can_be_without(v, leaving)) {
        (void)snprintf(reason, VIEW_TEXT_SIZE, "%s leaves", roster_names(leaving, names));
        return true;
    }
    if (!view_settled(v, now))
        return false;
    if (v->target != NODE_NONE)
        (void)snprintf(reason, VIEW_TEXT_SIZE, "switchover to %s", node_name(v->target));
    else if (ready_joiners(v, now))
        (void)snprintf(reason, VIEW_TEXT_SIZE, "%s caught up",
                       roster_names(ready_joiners(v, now), names));
    else
        return policy_changed(v, reason);
    return true;
}

/* The end of a journal that a state tells of. */
static struct message_report end_of(const struct message_state *state)
{
    return (struct message_report){ .intact = state->intact,
                                    .journal_view = state->journal_view,
                                    .last_index = state->journal_index,
                                    .discarded_view = state->discarded_view,
                                    .discarded_index = state->discarded_index };
}

/* Those whose states do not tell that nothing which they acknowledged is missing. */
static uint32_t unsound_servers(const struct view *v)
{
    struct message_report leader = { 0 };
    uint32_t set = 0;

    for (uint32_t i = 0; i < v->options.server_count; i++) {
        struct message_report end = end_of(&v->roster->server[i].state);

        if (election_holds_all(&end) && election_compare(&end, &leader) > 0)
            leader = end;
    }
    for (uint32_t i = 0; i < v->options.server_count; i++) {
        struct message_report end = end_of(&v->roster->server[i].state);

        if (!election_vouches(&end, &leader))
            set |= 1u << i;
    }
    return set;
}

/* Without stored views to go by, nobody is fenced before all servers are there and can say what
 * they acknowledged: those that serve a view of which we know nothing may go on meanwhile, and
 * would stand still for as long as one cannot. */
static uint32_t servers_missing(const struct view *v, bool *lacking)
{
    uint32_t missing = 0, unsound = unsound_servers(v);
    bool empty = true;

    for (uint32_t i = 0; i < v->options.server_count; i++) {
        const struct roster_server *s = &v->roster->server[i];

        if (!s->linked || !s->state_known || s->listed != s->link_incarnation)
            missing |= 1u << i;
        if (s->state_known &&
            (s->state.journal_view || s->state.journal_index || s->state.discarded_view))
            empty = false;
    }
    /* One that was ordered to stop may be on its way out: a view of it would wait for the dead. */
    missing |= v->leaving | v->saved->stopped;
    *lacking = !missing && !empty && unsound;
    return *lacking ? unsound : missing;
}

bool reasons_all_servers_here(struct view *v, struct instant now, struct effects *out)
{
    char names[ROSTER_NAMES_SIZE], waits[VIEW_TEXT_SIZE];
    bool lacking;
    uint32_t missing = servers_missing(v, &lacking);

    if (!missing)
        return true;
    if (lacking)
        plan_say_lacking(v, missing, waits);
    else if (plan_store_outdated(v))
        (void)snprintf(
            waits, sizeof waits,
            "the stored views end at %llu, but view %llu exists: the store is an old one; "
            "waits for %s; `holdfast recover --accept-loss` goes on without",
            (unsigned long long)current_of(v)->number, (unsigned long long)v->roster->view_max,
            roster_names(missing, names));
    else
        (void)snprintf(waits, sizeof waits, "the first view waits for %s",
                       roster_names(missing, names));
    plan_advise(v, missing, waits);
    change_say_waits(v, now, waits, out);
    return false;
}

bool reasons_for_change(struct view *v, struct instant now, char reason[VIEW_TEXT_SIZE],
                        struct effects *out)
{
    const struct message_view *current = current_of(v);

    if (v->accept_loss || plan_rule(v) == PLAN_ALL_SERVERS) {
        (void)snprintf(reason, VIEW_TEXT_SIZE, "%s",
                       v->accept_loss ? "the operator accepts the loss" : "no view yet");
        return v->accept_loss || reasons_all_servers_here(v, now, out);
    }
    change_say_waits(v, now, "", out);
    if (member_died(v, reason))
        return true;
    if (v->accused) {
        (void)snprintf(reason, VIEW_TEXT_SIZE, "%s", v->accusation);
        return true;
    }
    if (v->roster->promised_max > current->number) {
        (void)snprintf(reason, VIEW_TEXT_SIZE, "a change was under way when an rm ended");
        return true;
    }
    return wants_improvement(v, now, reason);
}
