#include <stdio.h>

#include "rm/view_parts.h"

/* All other members accuse it, and there are at least two: it is not one of them who is cut off. */
static bool all_accuse_primary(const struct view *v)
{
    const struct message_view *current = current_of(v);
    uint32_t others = current->members.set & ~(1u << node_index(current->primary));

    return __builtin_popcount(others) > 1 && (v->accusers & others) == others;
}

void accusations_pause(struct view *v, struct instant now, uint32_t i)
{
    struct view_pause *p = &v->pause[i];

    if (p->pause_ms == 0 || instant_since_ms(now, p->accused_at) >= ACCUSE_HEALTH_MS)
        p->pause_ms = ACCUSE_PAUSE_MS_MIN;
    else
        p->pause_ms = p->pause_ms * 2 < ACCUSE_PAUSE_MS_MAX ? p->pause_ms * 2 : ACCUSE_PAUSE_MS_MAX;
    p->accused_at = now;
    p->until = instant_add_ms(now, p->pause_ms);
}

static void become_accused(struct view *v, struct instant now, uint32_t set)
{
    v->accused = set;
    v->accusers = 0;
    v->accused_by_primary = 0;
    for (uint32_t i = 0; i < v->options.server_count; i++)
        if (in_set(set, i))
            accusations_pause(v, now, i);
}

/* Two members cannot reach each other, one of them the primary. The others' word is waited for, as
 * it tells whose side is cut off. Ours counts, too: have we lost the primary, it is the one; but
 * not before it had the time to dial us after our own start. */
void accusations_decide(struct view *v, struct instant now)
{
    const struct message_view *current = current_of(v);
    uint32_t primary;

    if (v->fencing || !(v->accusers | v->accused_by_primary))
        return;
    primary = node_index(current->primary);
    if (all_accuse_primary(v)) {
        become_accused(v, now, 1u << primary);
    } else if (v->accusers && !is_member_alive(v, primary)) {
        if (reasons_members_here(v, now))
            become_accused(v, now, 1u << primary);
    } else if (members_count(&current->members) <= 2 || instant_reached(now, v->accused_until)) {
        become_accused(v, now, v->accusers | v->accused_by_primary);
    }
}

/* A member that cannot keep what it is to acknowledge. It stays where nobody can be without it. */
static void hear_own_accusation(struct view *v, struct instant now, node_id from, const char *cause,
                                struct effects *out)
{
    uint32_t set = 1u << node_index(from);

    if (v->accused || !reasons_can_be_without(v, set))
        return;
    /* The last view was to be without it, and could not: it holds what nobody else does. */
    if (!instant_reached(now, v->pause[node_index(from)].until))
        return;
    effects_note_at(out, NOTE_WARN, "%s wants to leave: %s", node_name(from), cause);
    (void)snprintf(v->accusation, sizeof v->accusation, "%s leaves: %s", node_name(from), cause);
    become_accused(v, now, set);
}

void accusations_hear(struct view *v, struct instant now, node_id from,
                      const struct message_accuse *m, struct effects *out)
{
    const struct message_view *current = current_of(v);
    uint64_t incarnation = v->roster->server[node_index(from)].link_incarnation;
    bool first = !(v->accusers | v->accused_by_primary);

    if (v->fencing || !current || m->number != current->number ||
        !roster_is_server(v->roster, m->peer) ||
        !members_has(&current->members, from, incarnation) ||
        !members_has(&current->members, m->peer, m->incarnation))
        return;
    if (from == m->peer) {
        hear_own_accusation(v, now, from, m->cause, out);
        return;
    }
    if (from == current->primary)
        v->accused_by_primary |= 1u << node_index(m->peer);
    else if (m->peer == current->primary)
        v->accusers |= 1u << node_index(from);
    else
        return; /* among backups nobody depends on the other */
    effects_note_at(out, NOTE_WARN, "%s accuses %s: %s", node_name(from), node_name(m->peer),
                    m->cause);
    if (!first)
        return;
    v->accused_until = instant_add_ms(now, ACCUSE_WAIT_MS);
    (void)snprintf(v->accusation, sizeof v->accusation, "%s accuses %s: %s", node_name(from),
                   node_name(m->peer), m->cause);
}
