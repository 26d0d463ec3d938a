#include "rm/plan.h"
#include "rm/view_parts.h"

const char *view_switchover(struct view *v, node_id target, struct effects *out)
{
    const struct message_view *current = current_of(v);

    if (!current)
        return "there is no view yet";
    if (v->target != NODE_NONE && v->target != target)
        return effects_text(out, "a switchover to %s is under way", node_name(v->target));
    if (!is_member_alive(v, node_index(target)))
        return effects_text(out, "%s is no member of view %llu", node_name(target),
                            (unsigned long long)current->number);
    v->refusal[0] = '\0';
    if (current->primary != target)
        v->target = target;
    return NULL;
}

const char *view_recover(struct view *v)
{
    if (!v->waits[0])
        return "nothing to recover: no view change waits for servers that are missing";
    v->accept_loss = true;
    return NULL;
}

void view_switchover_not(struct view *v)
{
    v->target = NODE_NONE;
}

void view_recover_not(struct view *v)
{
    v->accept_loss = false;
}

void view_style(struct view *v, enum style style, struct effects *out)
{
    v->saved->wanted.style = style;
    saved_store(v->saved, out); /* there may be no other view for it */
}

const char *view_acks(struct view *v, enum acks_policy acks, uint32_t count, struct effects *out)
{
    const struct message_view *current = current_of(v);
    struct view_policy wanted = v->saved->wanted;

    wanted.acks = acks;
    wanted.acks_count = count;
    if (acks == ACKS_COUNT && (count < 1 || count > v->options.server_count))
        return effects_text(out, "acks must be all, majority or a number from 1 to %u",
                            v->options.server_count);
    if (current && !view_policy_acks(&wanted, members_count(&current->members)))
        return effects_text(out, "view %llu has %u members: too few for acks = %u",
                            (unsigned long long)current->number, members_count(&current->members),
                            count);
    v->saved->wanted = wanted;
    saved_store(v->saved, out); /* there may be no other view for it */
    return NULL;
}

const char *view_can_leave(const struct view *v, node_id server, struct effects *out)
{
    const struct message_view *current = current_of(v);
    uint32_t i = node_index(server);

    if (plan_rule(v) == PLAN_ALL_SERVERS &&
        (v->roster->view_max || (v->roster->server[i].listed && !v->roster->server[i].state_known)))
        return effects_text(out,
                            "the stored views are %s: nobody can say who can be spared before "
                            "there is a new one",
                            current ? "older than the cluster's" : "lost");
    if (!current || !in_set(current->members.set, i) || reasons_can_be_without(v, 1u << i))
        return NULL;
    return effects_text(out,
                        "view %llu cannot be without %s: members left alive must be at least "
                        "one, and enough for acks",
                        (unsigned long long)current->number, node_name(server));
}

void view_leave(struct view *v, node_id server)
{
    v->leaving |= 1u << node_index(server);
    v->look_at = v->started_at; /* the next view_tick() begins it */
    v->kept &= ~(1u << node_index(server));
}

void view_stay(struct view *v, node_id server)
{
    v->leaving &= ~(1u << node_index(server));
    v->kept &= ~(1u << node_index(server));
}
