#include "rm/view_parts.h"

void donations_caught_up(struct view *v, node_id from, const struct message_caught_up *m,
                         struct effects *out)
{
    uint32_t i;

    if (!is_primary(v, from) || m->number != current_of(v)->number ||
        !roster_is_server(v->roster, m->joiner))
        return;
    i = node_index(m->joiner);
    if (in_set(current_of(v)->members.set, i) || m->incarnation == 0)
        return;
    if (v->caught_up[i] != m->incarnation)
        effects_note(out, "%s caught up", node_name(m->joiner));
    v->caught_up[i] = m->incarnation;
    v->donation[i] = (struct view_donation){ .donor = NODE_NONE };
}

static uint32_t donations_of(const struct view *v, node_id donor)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < v->options.server_count; i++)
        if (v->donation[i].donor == donor)
            count++;
    return count;
}

/* Whether the server's wish for a checkpoint was heard just now. */
static bool wishes(const struct view *v, struct instant now, uint32_t i)
{
    const struct view_donation *d = &v->donation[i];

    return d->wished.ns && instant_since_ms(now, d->wished) < DONOR_AGAIN_MS;
}

/* Whether a checkpoint is on its way to the server, as far as can be told. */
static bool is_given(const struct view *v, struct instant now, uint32_t i)
{
    const struct view_donation *d = &v->donation[i];
    const struct roster_server *s = &v->roster->server[i];

    return d->donor != NODE_NONE && s->linked && s->link_incarnation == d->incarnation &&
           is_member_alive(v, node_index(d->donor)) &&
           instant_since_ms(now, d->since) < DONOR_AGAIN_MS;
}

/* Whether it is in, although its primary may not know yet. */
static bool has_it(const struct view *v, uint32_t i)
{
    uint8_t phase = roster_progress(v->roster, NODE_SERVER(i)).phase;

    return phase == PHASE_FOLLOWING || (phase == PHASE_NONE && v->donation[i].bytes > 0);
}

/* One checkpoint is on its way at a time, so that joiners, however many, cost the clients no more
 * than one does. Who comes before the server: the one that is being given, or has waited longer;
 * NODE_NONE when it is its turn. */
static node_id comes_before(const struct view *v, struct instant now, uint32_t i)
{
    struct instant waits = v->donation[i].waits.ns ? v->donation[i].waits : now;

    for (uint32_t j = 0; j < v->options.server_count; j++)
        if (j != i && is_given(v, now, j) && !has_it(v, j))
            return NODE_SERVER(j);
    for (uint32_t j = 0; j < v->options.server_count; j++)
        if (j != i && v->donation[j].waits.ns && v->donation[j].waits.ns < waits.ns &&
            wishes(v, now, j))
            return NODE_SERVER(j);
    return NODE_NONE;
}

/* The backup that donates least; the primary has enough to do. Not one that waits for a checkpoint
 * itself, as members do that were taken in for want of others; while those are not there, nothing
 * is committed, and only the primary's state is sure to be as new as it must. */
static node_id choose_donor(const struct view *v, struct instant now, node_id joiner,
                            node_id avoided)
{
    node_id best = NODE_NONE, primary = current_of(v)->primary;

    for (uint32_t i = 0; v->active && i < v->options.server_count; i++) {
        node_id server = NODE_SERVER(i);

        if (is_member_alive(v, i) && server != primary && server != joiner && server != avoided &&
            v->donation[i].donor == NODE_NONE && !wishes(v, now, i) &&
            (best == NODE_NONE || donations_of(v, server) < donations_of(v, best)))
            best = server;
    }
    return best != NODE_NONE ? best : primary;
}

static void donate(struct view *v, struct instant now, const struct message_donor_wanted *m,
                   node_id avoided, struct effects *out)
{
    node_id donor = choose_donor(v, now, m->joiner, avoided);

    v->donation[node_index(m->joiner)] =
        (struct view_donation){ .donor = donor,
                                .incarnation = m->incarnation,
                                .since = now,
                                .bytes = roster_progress(v->roster, m->joiner).bytes,
                                .wished = now };
    effects_note(out, "%s is to give %s a checkpoint of index %llu or later", node_name(donor),
                 node_name(m->joiner), (unsigned long long)m->index);
    effects_send(out, donor,
                 (struct message){ .type = MESSAGE_DONATE,
                                   .donate = { .number = m->number,
                                               .joiner = m->joiner,
                                               .incarnation = m->incarnation,
                                               .index = m->index } });
}

void donations_wanted(struct view *v, struct instant now, node_id from,
                      const struct message_donor_wanted *m, struct effects *out)
{
    struct view_donation *d;
    uint64_t bytes;
    node_id first;

    if (v->fencing || !is_primary(v, from) || m->number != current_of(v)->number ||
        !roster_is_server(v->roster, m->joiner) || m->joiner == from)
        return;
    d = &v->donation[node_index(m->joiner)];
    if (d->incarnation != m->incarnation)
        *d = (struct view_donation){ .donor = NODE_NONE, .incarnation = m->incarnation };
    d->wished = now;
    bytes = roster_progress(v->roster, m->joiner).bytes;
    if (d->donor != NODE_NONE && bytes != d->bytes) {
        d->bytes = bytes; /* it is coming in */
        d->since = now;
    }
    if (is_given(v, now, node_index(m->joiner)))
        return;
    first = comes_before(v, now, node_index(m->joiner));
    if (first == NODE_NONE) {
        donate(v, now, m, d->donor, out); /* not by the one that nothing came of */
        return;
    }
    if (d->waits.ns == 0) {
        d->waits = now;
        effects_note(out, "%s waits for its checkpoint: %s comes first", node_name(m->joiner),
                     node_name(first));
    }
}
