#include <assert.h>
#include <string.h>

#include "server/replica_parts.h"

/* Who feeds whom: in a star the primary everybody; in a chain each member the next one, in the
 * order of their indexes from the primary on. Joiners are always fed by the primary. */

node_id feed_chain_next(const struct replica *r, node_id server)
{
    uint32_t i = node_index(server), primary = node_index(r->view.primary);

    for (;;) {
        i = (i + 1) % SERVER_COUNT_MAX;
        if (i == primary)
            return NODE_NONE;
        if (r->view.members.set >> i & 1u)
            return NODE_SERVER(i);
    }
}

node_id feed_feeder_of(const struct replica *r, node_id server)
{
    if (r->view.propagation == PROPAGATION_STAR || !replica_is_member(r, server))
        return r->view.primary;
    for (node_id at = r->view.primary, next; (next = feed_chain_next(r, at)) != NODE_NONE;
         at = next)
        if (next == server)
            return at;
    return r->view.primary;
}

bool feed_is_ours(const struct replica *r, node_id server)
{
    if (replica_fenced(r) || server == r->options.self || server == r->view.primary ||
        !replica_is_member(r, server) || feed_feeder_of(r, server) != r->options.self)
        return false;
    return r->role == ROLE_PRIMARY || (r->role == ROLE_BACKUP && entries_adopted(r));
}

void feed_from(struct replica *r, node_id server, uint64_t next_index)
{
    struct replica_peer *p = peer_of(r, server);

    assert(next_index >= r->first_index && next_index <= r->last_index + 1);
    p->fed = true;
    p->next_index = next_index;
    p->fed_from = 0;
    p->window_count = 0;
    p->commit_sent = 0;
    p->stamp_sent = 0;
}

void feed_begin_chain(struct replica *r)
{
    node_id next;

    if (r->view.propagation != PROPAGATION_CHAIN || r->role != ROLE_BACKUP || !entries_adopted(r))
        return;
    next = feed_chain_next(r, r->options.self);
    if (next != NODE_NONE && peer_of(r, next)->linked && !peer_of(r, next)->fed)
        feed_from(r, next, r->last_index + 1);
}

/* Finding where a journal agrees with ours. */

/* The last index at which both journals hold the same entry, if there is one that both know of. */
static bool runs_match(const struct replica *r, const struct message_position *position,
                       uint64_t *match)
{
    const uint32_t count = (uint32_t)(position->runs.size / sizeof(struct journal_run));
    uint64_t low = r->first_index > position->first_index ? r->first_index : position->first_index;
    uint64_t at = r->last_index < position->last_index ? r->last_index : position->last_index;
    uint32_t theirs = count;

    while (theirs > 0 && at + 1 >= low) {
        struct journal_run their, our;

        memcpy(&their, position->runs.data + (theirs - 1) * sizeof their, sizeof their);
        if (their.first_index > at) {
            theirs--;
            continue;
        }
        our = r->runs[entries_run_of(r, at)];
        if (our.view == their.view) {
            *match = at;
            return true;
        }
        uint64_t start = our.first_index > their.first_index ? our.first_index : their.first_index;
        if (start == 0)
            return false;
        at = start - 1;
    }
    return false;
}

/* Where the journal of a server that lacks everything may begin: behind the end when we serve.
 * Until then nothing new is executed, and the checkpoint can only be of what is. */
static uint64_t reset_base(const struct replica *r)
{
    if (r->serving)
        return r->last_index;
    return r->executed_index + 1 < r->first_index ? r->first_index - 1 : r->executed_index;
}

/* Whether a position says again what we go by already: it was sent before our entries came, and
 * what is under way on a link gets through, however slowly. Sent again each time, the entries would
 * keep a slow link busy for ever. But whoever threw away what it had comes back to the same
 * position, too: after a while it is believed. */
static bool position_repeated(struct instant now, const struct replica_peer *p,
                              const struct message_position *position, uint64_t match)
{
    return p->fed && p->fed_from == match + 1 && p->incarnation == position->incarnation &&
           p->match_index <= match && instant_since_ms(now, p->fed_since) < FEED_AGAIN_MS;
}

static uint64_t last_view_of(const struct message_position *position)
{
    struct journal_run last = { 0 };

    if (position->runs.size >= sizeof last)
        memcpy(&last, position->runs.data + position->runs.size - sizeof last, sizeof last);
    return last.view;
}

/* Before the view is active, what it would throw away may be needed to elect. Not one that is not
 * intact: this life has acknowledged nothing of it, and it does not speak for earlier ones. Nor one
 * that ends before an entry of which we know that it is committed: enough others hold that entry,
 * and with it all of this journal, to tell any election so. */
static bool needed(const struct replica *r, const struct message_position *position)
{
    const uint64_t base = reset_base(r), base_view = replica_view_at(r, base);
    const uint64_t view = last_view_of(position);

    if (!position->whole || !position->intact || position->last_index == 0)
        return false;
    return r->serving || base > r->commit_index || view > base_view ||
           (view == base_view && position->last_index >= base);
}

void feed_position(struct replica *r, struct instant now, const struct message *message,
                   struct effects *out)
{
    const struct message_position *position = &message->position;
    node_id from = message->from;
    struct replica_peer *p = peer_of(r, from);
    bool member = members_has(&r->view.members, from, position->incarnation);
    uint64_t match = 0;
    bool matches, repeated;

    if (position->view != r->view.number || replica_fenced(r) ||
        position->runs.size > sizeof r->runs_packed ||
        position->runs.size % sizeof(struct journal_run) != 0)
        return;
    if (member ? !feed_is_ours(r, from) : r->role != ROLE_PRIMARY)
        return;
    matches = runs_match(r, position, &match) &&
              (position->whole || position->first_index <= reset_base(r) + 1);
    repeated = matches && position_repeated(now, p, position, match);
    p->heard = now;
    p->joiner = !member;
    /* What was known of an earlier life, or of a state since thrown away, is void. */
    if (p->joiner || p->incarnation != position->incarnation)
        p->match_index = p->stamp = 0;
    p->executed_index = p->state_index = position->executed_index;
    p->incarnation = position->incarnation;
    /* What lacks its state has nothing to lose, and may have to wait for an earlier one. */
    if (matches) {
        p->reset = false;
        /* Its journal is fine, but the state before it is still missing. */
        p->reset_index = position->whole ? 0 : position->first_index - 1;
        p->asked = (struct instant){ 0 };
        if (!repeated) {
            feed_from(r, from, match + 1);
            p->fed_from = match + 1;
            p->fed_since = now;
        }
    } else if (r->role != ROLE_PRIMARY || (member && needed(r, position))) {
        p->fed = false;
        judge_accuse(r, now, from, "its journal ends before what is kept for it", out);
    } else if ((r->serving || !needed(r, position)) && (!p->reset_index || !p->fed)) {
        p->reset = true;
        p->reset_index = reset_base(r);
        p->asked = (struct instant){ 0 };
        feed_from(r, from, p->reset_index + 1);
    }
}

bool feed_lacks_state(const struct replica_peer *p)
{
    return p->executed_index < p->reset_index;
}

/* Appends. */

uint32_t feed_beat_ms(const struct replica *r)
{
    return r->options.lease_ms / 4 ? r->options.lease_ms / 4 : 1;
}

static bool beat_due(const struct replica *r, struct instant now, const struct replica_peer *p)
{
    if (r->role != ROLE_PRIMARY)
        return r->stamp > p->stamp_sent;
    /* A read is confirmed by what was sent since it came: once for each peer is enough. */
    return now.ns >= p->stamp_sent + feed_beat_ms(r) * 1000000ull || p->stamp_sent < r->confirm_ns;
}

/* The stamp of the next append. One that does not grow asks for no acknowledgement. */
static uint64_t next_stamp(const struct replica *r, struct instant now, node_id peer)
{
    const struct replica_peer *p = &r->peers[node_index(peer)];

    if (r->role != ROLE_PRIMARY)
        return r->stamp;
    return p->reset || replica_feeds(r, peer) || beat_due(r, now, p) ? now.ns : p->stamp_sent;
}

struct message_append replica_feed(const struct replica *r, struct instant now, node_id peer)
{
    const struct replica_peer *p = &r->peers[node_index(peer)];

    assert(p->fed);
    return (struct message_append){
        .view = r->view.number,
        .prev_index = p->next_index - 1,
        .prev_view = replica_view_at(r, p->next_index - 1),
        .commit_index = r->commit_index,
        .trim_index = r->trim_index,
        .stamp = next_stamp(r, now, peer),
        .reset = p->reset,
    };
}

void replica_fed(struct replica *r, struct instant now, node_id peer, uint64_t index)
{
    struct replica_peer *p = peer_of(r, peer);
    uint64_t stamp = next_stamp(r, now, peer);

    assert(p->fed && index + 1 >= p->next_index && index <= r->last_index);
    if (index >= p->next_index) {
        assert(p->window_count < FEED_WINDOW);
        p->window[p->window_count++] = index;
    }
    p->next_index = index + 1;
    if (p->reset)
        p->reset_stamp = stamp;
    p->reset = false;
    p->commit_sent = r->commit_index;
    p->stamp_sent = stamp;
}

bool replica_feeds(const struct replica *r, node_id peer)
{
    const struct replica_peer *p = &r->peers[node_index(peer)];

    return p->linked && p->fed && !replica_fenced(r) && p->next_index <= r->last_index &&
           p->window_count < FEED_WINDOW;
}

void feed_tick(struct replica *r, struct instant now, struct effects *out)
{
    for (uint32_t i = 0; i < r->options.server_count; i++) {
        struct replica_peer *p = &r->peers[i];

        if (!p->linked || !p->fed)
            continue;
        if (replica_feeds(r, NODE_SERVER(i)) || p->reset || p->commit_sent < r->commit_index ||
            beat_due(r, now, p))
            effects_add(out, EFFECT_FEED)->node = NODE_SERVER(i);
    }
}

void feed_want_donors(struct replica *r, struct instant now, struct effects *out)
{
    for (uint32_t i = 0; i < r->options.server_count; i++) {
        struct replica_peer *p = &r->peers[i];

        if (!p->fed || !feed_lacks_state(p) ||
            (p->asked.ns && instant_since_ms(now, p->asked) < DONOR_REPEAT_MS))
            continue;
        p->asked = now;
        effects_send(out, NODE_RM,
                     (struct message){ .type = MESSAGE_DONOR_WANTED,
                                       .donor_wanted = { .number = r->view.number,
                                                         .joiner = NODE_SERVER(i),
                                                         .incarnation = p->incarnation,
                                                         .index = p->reset_index } });
    }
}
