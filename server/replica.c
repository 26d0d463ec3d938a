#include "server/replica.h"

#include <assert.h>
#include <string.h>

#include "server/machine.h"

#define LEASE_DRIFT_PERCENT 1u /* clocks of two machines may drift apart by so much */

static uint32_t self_index(const struct replica *r)
{
    return node_index(r->options.self);
}

static struct replica_peer *peer_of(struct replica *r, node_id server)
{
    assert(node_is_server(server));
    return &r->peers[node_index(server)];
}

bool replica_fenced(const struct replica *r)
{
    return r->promised > r->view.number;
}

bool replica_is_member(const struct replica *r, node_id server)
{
    return r->view.members.set >> node_index(server) & 1u;
}

static bool is_primary(const struct replica *r)
{
    return r->role == ROLE_PRIMARY && !replica_fenced(r);
}

/* The runs: which views the journal's entries are of. */

static uint32_t run_of(const struct replica *r, uint64_t index)
{
    uint32_t i = r->run_count - 1;

    while (i > 0 && r->runs[i].first_index > index)
        i--;
    assert(r->runs[i].first_index <= index);
    return i;
}

uint64_t replica_view_at(const struct replica *r, uint64_t index)
{
    assert(index + 1 >= r->first_index && index <= r->last_index);
    return r->runs[run_of(r, index)].view;
}

uint64_t replica_journal_view(const struct replica *r)
{
    return r->whole ? r->runs[r->run_count - 1].view : 0;
}

/* Entries before first_index are gone. Whoever still needs them has to ask anew. */
static void begin_at(struct replica *r, uint64_t first_index)
{
    r->first_index = first_index;
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++)
        if (r->peers[i].fed && r->peers[i].next_index < first_index)
            r->peers[i].fed = false;
}

static void runs_add(struct replica *r, uint64_t index, uint64_t view)
{
    if (r->runs[r->run_count - 1].view == view)
        return;
    assert(view > r->runs[r->run_count - 1].view);
    if (r->run_count == RUN_COUNT_MAX) {
        /* What is before the second run can no longer be compared: as if it were dropped. */
        memmove(r->runs, r->runs + 1, (RUN_COUNT_MAX - 1) * sizeof *r->runs);
        r->run_count--;
        if (r->first_index <= r->runs[0].first_index)
            begin_at(r, r->runs[0].first_index + 1);
    }
    r->runs[r->run_count++] = (struct journal_run){ index, view };
}

static void journal_grown(struct replica *r, uint64_t index, uint64_t view)
{
    assert(index == r->last_index + 1);
    runs_add(r, index, view);
    r->last_index = index;
    if (!r->options.persistent)
        r->saved_index = index;
}

/* A state that came from elsewhere belongs to our journal once that is known to be the primary's up
 * to there: until then it may still end in what an older primary never committed. */
static void become_whole(struct replica *r)
{
    if (r->whole_at == 0 || r->verified_index < r->whole_at)
        return;
    r->whole = true;
    if (r->commit_index < r->whole_at)
        r->commit_index = r->whole_at;
    r->whole_at = 0;
}

static void journal_cut(struct replica *r, uint64_t index, struct effects *out)
{
    /* Rule 6 and the promise to clients: what is committed stays. */
    assert(index >= r->commit_index && index + 1 >= r->first_index);
    while (r->run_count > 1 && r->runs[r->run_count - 1].first_index > index)
        r->run_count--;
    r->last_index = index;
    if (r->saved_index > index)
        r->saved_index = index;
    if (r->persist_asked > index)
        r->persist_asked = index;
    effects_add(out, EFFECT_TRUNCATE)->reference = index;
}

static void journal_begin_behind(struct replica *r, uint64_t index, uint64_t view,
                                 struct effects *out)
{
    r->runs[0] = (struct journal_run){ index, view };
    r->run_count = 1;
    r->first_index = index + 1;
    r->last_index = r->saved_index = r->persist_asked = index;
    r->commit_index = r->executed_index = 0;
    r->whole = index == 0; /* the state before the first entry is none */
    r->intact = false;
    r->whole_at = 0;
    effects_add(out, EFFECT_RESET)->reference = index;
}

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

/* Who feeds whom: in a star the primary everybody; in a chain each member the next one, in the
 * order of their indexes from the primary on. Joiners are always fed by the primary. */

static node_id chain_next(const struct replica *r, node_id server)
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

static node_id feeder_of(const struct replica *r, node_id server)
{
    if (r->view.propagation == PROPAGATION_STAR || !replica_is_member(r, server))
        return r->view.primary;
    for (node_id at = r->view.primary, next; (next = chain_next(r, at)) != NODE_NONE; at = next)
        if (next == server)
            return at;
    return r->view.primary;
}

/* Whether we are in the present view with everything that its primary started from. */
static bool adopted(const struct replica *r)
{
    return r->view.number && r->whole && r->runs[r->run_count - 1].view == r->view.number;
}

static bool feeds_member(const struct replica *r, node_id server)
{
    if (replica_fenced(r) || server == r->options.self || server == r->view.primary ||
        !replica_is_member(r, server) || feeder_of(r, server) != r->options.self)
        return false;
    return r->role == ROLE_PRIMARY || (r->role == ROLE_BACKUP && adopted(r));
}

static void feed_from(struct replica *r, node_id server, uint64_t next_index)
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

static void send_position(struct replica *r, struct instant now, node_id to, struct effects *out)
{
    uint32_t from = run_of(r, r->first_index - 1);
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

static void send_sync(const struct replica *r, node_id to, struct effects *out)
{
    effects_send(out, to,
                 (struct message){ .type = MESSAGE_SYNC,
                                   .sync = { .view = r->view.number, .index = r->last_index } });
}

static bool state_equal(const struct message_state *a, const struct message_state *b)
{
    return a->incarnation == b->incarnation && a->promised == b->promised && a->view == b->view &&
           a->role == b->role && a->intact == b->intact && a->journal_view == b->journal_view &&
           a->journal_index == b->journal_index && a->commit_index == b->commit_index &&
           a->executed_index == b->executed_index && a->clients == b->clients;
}

static void send_state(struct replica *r, struct instant now, struct effects *out)
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
        .clients = r->clients,
    };

    r->state_due = instant_add_ms(now, STATE_INTERVAL_MS);
    if (!r->rm_linked || state_equal(&state, &r->state_sent))
        return;
    r->state_sent = state;
    effects_send(out, NODE_RM, (struct message){ .type = MESSAGE_STATE, .state = state });
}

static void accuse(struct replica *r, struct instant now, node_id peer, const char *cause,
                   struct effects *out)
{
    struct replica_peer *p = peer_of(r, peer);
    struct message message = { .type = MESSAGE_ACCUSE,
                               .accuse = {
                                   .number = r->view.number,
                                   .peer = peer,
                                   .incarnation = r->view.members.incarnation[node_index(peer)],
                               } };

    if (p->accused.ns && instant_since_ms(now, p->accused) < REPEAT_MS)
        return;
    p->accused = now;
    strncpy(message.accuse.cause, cause, sizeof message.accuse.cause - 1);
    effects_note_at(out, NOTE_WARN, "accuse %s: %s", node_name(peer), cause);
    effects_send(out, NODE_RM, message);
}

/* Views. */

static void become_primary(struct replica *r, struct instant now, struct effects *out)
{
    struct effect *append;

    if (!r->whole) {
        /* Only `recover --accept-loss` elects a server without a state: it begins with none. */
        journal_begin_behind(r, 0, 0, out);
        r->whole = true;
    }
    r->role = ROLE_PRIMARY;
    r->serving = false;
    r->lease_wait = instant_add_ms(now, r->view.lease_wait_ms);
    r->mark_due = instant_add_ms(now, r->options.checkpoint_interval_ms);
    r->view_start = r->last_index + 1;
    journal_grown(r, r->view_start, r->view.number);
    append = effects_add(out, EFFECT_APPEND);
    append->number = REQUEST_VIEW;
    append->reference = r->view_start;

    for (uint32_t i = 0; i < r->options.server_count; i++) {
        node_id server = NODE_SERVER(i);

        if (i == self_index(r) || !r->peers[i].linked)
            continue;
        effects_send(out, server, (struct message){ .type = MESSAGE_VIEW, .view = r->view });
        send_sync(r, server, out);
        /* In hope that it holds what we hold. If not, its position tells. */
        if (feeds_member(r, server))
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
    feeder = feeder_of(r, r->options.self);
    if (peer_of(r, feeder)->linked)
        send_position(r, now, feeder, out);
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
    send_state(r, now, out);
}

static void receive_view(struct replica *r, struct instant now, const struct message_view *view,
                         struct effects *out)
{
    if (view->number < r->promised || view->number <= r->view.number ||
        !node_is_server(view->primary) || !(view->members.set >> node_index(view->primary) & 1u) ||
        view->acks == 0 || view->acks > members_count(&view->members))
        return;
    enter_view(r, now, view, out);
}

static void receive_fence(struct replica *r, struct instant now, uint64_t number,
                          struct effects *out)
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
                              .stateless = !r->whole,
                              .lease_left_ms = young ? r->options.lease_ms
                                                     : (uint32_t)((lease_left + 999) / 1000),
                          } });
}

/* Feeding: finding where a journal agrees with ours. */

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
        our = r->runs[run_of(r, at)];
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
 * that ends before a view of which we hold something committed: whoever leads after that view must
 * hold it too, and of those before nothing matters any more. */
static bool needed(const struct replica *r, const struct message_position *position)
{
    return position->whole && position->intact && position->last_index > 0 &&
           (r->serving || last_view_of(position) >= replica_view_at(r, reset_base(r)));
}

static void receive_position(struct replica *r, struct instant now, const struct message *message,
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
    if (member ? !feeds_member(r, from) : r->role != ROLE_PRIMARY)
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
        accuse(r, now, from, "its journal ends before what is kept for it", out);
    } else if ((r->serving || !needed(r, position)) && (!p->reset_index || !p->fed)) {
        p->reset = true;
        p->reset_index = reset_base(r);
        p->asked = (struct instant){ 0 };
        feed_from(r, from, p->reset_index + 1);
    }
}

static uint32_t beat_ms(const struct replica *r)
{
    return r->options.lease_ms / 4 ? r->options.lease_ms / 4 : 1;
}

static bool beat_due(const struct replica *r, struct instant now, const struct replica_peer *p)
{
    if (r->role != ROLE_PRIMARY)
        return r->stamp > p->stamp_sent;
    /* A read is confirmed by what was sent since it came: once for each peer is enough. */
    return now.ns >= p->stamp_sent + beat_ms(r) * 1000000ull || p->stamp_sent < r->confirm_ns;
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

/* Following. */

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
            journal_cut(r, index - 1, out);
        }
        if (header.view < r->runs[r->run_count - 1].view) {
            index--; /* it is not taken in */
            sound = false;
            break;
        }
        if (appended++ == 0)
            fresh.data = record.data;
        fresh.size += record.size;
        journal_grown(r, index, header.view);
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

static void follow_commit(struct replica *r, uint64_t commit_index, struct effects *out)
{
    uint64_t commit = commit_index < r->verified_index ? commit_index : r->verified_index;

    if (commit <= r->commit_index)
        return;
    r->commit_index = commit;
    effects_add(out, EFFECT_COMMIT)->reference = commit;
}

/* A backup that becomes able to feed the next in the chain begins in hope, like the primary. */
static void feed_next_in_chain(struct replica *r)
{
    node_id next;

    if (r->view.propagation != PROPAGATION_CHAIN || r->role != ROLE_BACKUP || !adopted(r))
        return;
    next = chain_next(r, r->options.self);
    if (next != NODE_NONE && peer_of(r, next)->linked && !peer_of(r, next)->fed)
        feed_from(r, next, r->last_index + 1);
}

/* The view of the entry to begin behind is one that has committed something: a journal that ends
 * before it is needed by nobody. */
static bool may_begin_anew(const struct replica *r, const struct message_append *append)
{
    return r->role == ROLE_JOINER || r->last_index == 0 || !r->whole || !r->intact ||
           replica_journal_view(r) < append->prev_view;
}

static void receive_append(struct replica *r, struct instant now, const struct message *message,
                           struct effects *out)
{
    const struct message_append *append = &message->append;
    bool was_adopted = adopted(r);
    uint64_t verified = r->verified_index;

    /* Rule 2. An append of a view we have not heard of is sent again once our position is known. */
    if (append->view != r->view.number || replica_fenced(r) || r->role == ROLE_PRIMARY ||
        message->from != feeder_of(r, r->options.self))
        return;
    peer_of(r, message->from)->heard = now;
    peer_of(r, r->view.primary)->heard = now;
    if (append->reset && may_begin_anew(r, append))
        journal_begin_behind(r, append->prev_index, append->prev_view, out);
    if (append->prev_index > r->last_index || append->prev_index + 1 < r->first_index ||
        replica_view_at(r, append->prev_index) != append->prev_view) {
        if (instant_since_ms(now, r->position_sent) >= 5)
            send_position(r, now, message->from, out);
        return;
    }
    if (append->prev_index > r->verified_index)
        r->verified_index = append->prev_index;
    append_records(r, append, out);
    become_whole(r);
    follow_commit(r, append->commit_index, out);
    if (append->trim_index > r->trim_index)
        r->trim_index = append->trim_index;
    /* An old stamp comes with what needs no answer: the news that entries are committed. */
    if (append->entries.size || append->reset || append->stamp > r->stamp ||
        r->verified_index > verified)
        r->ack_owed = true;
    if (append->stamp > r->stamp)
        r->stamp = append->stamp;
    r->lease_granted = instant_max(r->lease_granted, instant_add_ms(now, r->options.lease_ms));
    if (!was_adopted && adopted(r))
        feed_next_in_chain(r);
    /* Fed in hope: our position may have come before the feeder was in the view, and only it tells
     * that our state is missing. */
    if (verified == 0 && !r->whole)
        send_position(r, now, message->from, out);
}

static bool is_stalled(const struct replica *r, struct instant now)
{
    return instant_since_ms(now, r->disk_moved) >= DISK_STALL_MS;
}

static bool can_keep(const struct replica *r, struct instant now)
{
    return !r->full && !is_stalled(r, now);
}

static void send_acks(struct replica *r, struct effects *out)
{
    uint64_t index = r->saved_index < r->verified_index ? r->saved_index : r->verified_index;
    node_id feeder = feeder_of(r, r->options.self);
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
     * in for want of others does not hold them yet. */
    if (r->role == ROLE_BACKUP && !r->whole)
        ack.ack.index = 0;
    r->ack_owed = false;
    /* Whoever can keep nothing must not be taken for one that has caught up. */
    if (!can_keep(r, r->ticked) && r->role == ROLE_JOINER)
        return;
    r->mark_own = (struct replica_mark){ 0 };
    effects_send(out, r->view.primary, ack);
    if (feeder != r->view.primary)
        effects_send(out, feeder, ack);
}

/* Committing. */

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

/* Entries without the state before them are of no use to anybody: they do not count yet. */
static bool lacks_state(const struct replica_peer *p)
{
    return p->executed_index < p->reset_index;
}

/* What a member is known to hold. Rule 3: the life in its place that is a member, no other. */
static uint64_t counted_index(const struct replica *r, uint32_t i)
{
    const struct replica_peer *p = &r->peers[i];

    if (!members_has(&r->view.members, NODE_SERVER(i), p->incarnation) || lacks_state(p))
        return 0;
    return p->match_index;
}

static void advance_commit(struct replica *r, struct instant now, struct effects *out)
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
        effects_send(
            out, NODE_RM,
            (struct message){ .type = MESSAGE_ACTIVE,
                              .active = { .number = r->view.number, .commit_index = commit } });
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
        accuse(r, now, from, "its state differs from the primary's", out);
    }
}

/* executed_index: of the state that belongs to its journal, 0 as long as none does. One that came
 * from elsewhere may be ahead of the entries. */
static void welcome_joiner(struct replica *r, struct instant now, node_id joiner,
                           uint64_t executed_index, struct effects *out)
{
    struct replica_peer *p = peer_of(r, joiner);
    bool near = p->match_index + CAUGHT_UP_ENTRIES >= r->last_index;

    if (lacks_state(p) || executed_index < p->state_index || !near || !r->serving ||
        (p->asked.ns && instant_since_ms(now, p->asked) < REPEAT_MS))
        return;
    p->asked = now;
    effects_send(out, NODE_RM,
                 (struct message){ .type = MESSAGE_CAUGHT_UP,
                                   .caught_up = { .number = r->view.number,
                                                  .joiner = joiner,
                                                  .incarnation = p->incarnation } });
}

static void receive_ack(struct replica *r, struct instant now, const struct message *message,
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
    advance_commit(r, now, out);
}

static void receive_sync(struct replica *r, const struct message *message)
{
    if (message->sync.view != r->view.number || message->from != r->view.primary ||
        r->role == ROLE_PRIMARY || replica_fenced(r))
        return;
    r->sync_known = true;
    r->forwarding = false;
    r->sync_index = message->sync.index;
}

static void resume_forwarding(struct replica *r, struct effects *out)
{
    if (!r->sync_known || r->forwarding || replica_fenced(r) || r->role == ROLE_PRIMARY ||
        r->verified_index < r->sync_index)
        return;
    r->forwarding = true;
    effects_add(out, EFFECT_RESYNC);
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
    if (r->role == ROLE_PRIMARY) {
        effects_send(out, from, (struct message){ .type = MESSAGE_VIEW, .view = r->view });
        send_sync(r, from, out);
    } else if (from == feeder_of(r, r->options.self)) {
        send_position(r, now, from, out);
    }
    feed_next_in_chain(r);
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
        send_state(r, now, out);
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
    if (instant_since_ms(now, p->heard) < beat_ms(r))
        return;
    p->heard = now;
    if (r->role == ROLE_PRIMARY || from != feeder_of(r, r->options.self))
        return;
    peer_of(r, r->view.primary)->heard = now;
    r->ack_owed = true;
    if (r->view.propagation != PROPAGATION_CHAIN || r->role != ROLE_BACKUP)
        return;
    next = chain_next(r, r->options.self);
    if (next != NODE_NONE)
        effects_send(
            out, next,
            (struct message){ .type = MESSAGE_ALIVE, .alive = { .view = r->view.number } });
}

static void receive_from_rm(struct replica *r, struct instant now, const struct message *message,
                            struct effects *out)
{
    struct effect *effect;

    switch (message->type) {
    case MESSAGE_FENCE: receive_fence(r, now, message->fence.number, out); break;
    case MESSAGE_VIEW: receive_view(r, now, &message->view, out); break;
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
        /* A view is the rm's wherever it comes from; the primary passes it on to save time. */
        if (message->view.primary == message->from)
            receive_view(r, now, &message->view, out);
        break;
    case MESSAGE_POSITION: receive_position(r, now, message, out); break;
    case MESSAGE_APPEND: receive_append(r, now, message, out); break;
    case MESSAGE_ACK: receive_ack(r, now, message, out); break;
    case MESSAGE_SYNC: receive_sync(r, message); break;
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
    resume_forwarding(r, out);
}

/* Time. */

static void tick_feeds(struct replica *r, struct instant now, struct effects *out)
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

static void tick_joiners(struct replica *r, struct instant now, struct effects *out)
{
    for (uint32_t i = 0; i < r->options.server_count; i++) {
        struct replica_peer *p = &r->peers[i];

        if (!p->fed || !lacks_state(p) ||
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

/* Whoever can keep nothing must not hold up the others. */
static void tick_full(struct replica *r, struct instant now, struct effects *out)
{
    if (!can_keep(r, now) && (r->role == ROLE_PRIMARY || r->role == ROLE_BACKUP))
        accuse(r, now, r->options.self, r->full ? "its disk is full" : "its disk does not answer",
               out);
}

/* Something was saved, or nothing waits for it. */
static void watch_disk(struct replica *r, struct instant now)
{
    if (r->saved_index >= r->persist_asked || r->saved_index != r->saved_seen)
        r->disk_moved = now;
    r->saved_seen = r->saved_index;
}

static void judge_peer(struct replica *r, struct instant now, node_id peer, struct effects *out)
{
    const struct replica_peer *p = peer_of(r, peer);

    if (!p->linked && instant_since_ms(now, p->link_since) >= LINK_GRACE_MS)
        accuse(r, now, peer, "the link to it is lost", out);
    else if (instant_since_ms(now, p->heard) >= r->options.silence_ms)
        accuse(r, now, peer, "it is silent", out);
}

static void tick_judgement(struct replica *r, struct instant now, struct effects *out)
{
    if (r->role == ROLE_PRIMARY) {
        for (uint32_t i = 0; i < r->options.server_count; i++)
            if (i != self_index(r) && replica_is_member(r, NODE_SERVER(i)))
                judge_peer(r, now, NODE_SERVER(i), out);
        return;
    }
    if (r->role == ROLE_BACKUP) {
        node_id next = chain_next(r, r->options.self);

        judge_peer(r, now, r->view.primary, out);
        /* Its acknowledgements come to us as well; the primary watches for them. */
        if (r->view.propagation == PROPAGATION_CHAIN && next != NODE_NONE &&
            !peer_of(r, next)->linked)
            judge_peer(r, now, next, out);
    }
    /* Nothing came of our position: the feeder may not have been in the view yet. */
    node_id feeder = feeder_of(r, r->options.self);
    const struct replica_peer *p = peer_of(r, feeder);
    if (p->linked && instant_since_ms(now, p->heard) >= REPEAT_MS &&
        instant_since_ms(now, r->position_sent) >= REPEAT_MS)
        send_position(r, now, feeder, out);
}

static void tick_mark(struct replica *r, struct instant now, struct effects *out)
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

static void tick_trim(struct replica *r)
{
    uint64_t trim = r->executed_index;

    for (uint32_t i = 0; i < r->options.server_count; i++)
        if (i != self_index(r) && replica_is_member(r, NODE_SERVER(i)) &&
            r->peers[i].executed_index < trim)
            trim = r->peers[i].executed_index;
    if (trim > r->trim_index)
        r->trim_index = trim;
}

/* A pause of our own is not held against the others. */
static void forgive_pause(struct replica *r, struct instant now)
{
    uint64_t asleep_ms = instant_since_ms(now, r->ticked);

    r->ticked = now;
    if (asleep_ms < beat_ms(r) + LATENESS_MS_MAX)
        return;
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++)
        r->peers[i].heard = r->peers[i].link_since = now;
    r->disk_moved = now; /* and its word may be waiting */
}

void replica_tick(struct replica *r, struct instant now, struct effects *out)
{
    forgive_pause(r, now);
    watch_disk(r, now);
    if ((r->role == ROLE_PRIMARY || r->role == ROLE_BACKUP) && adopted(r)) {
        r->intact = true;
        r->cut = false;
    }
    if (r->options.persistent && r->last_index > r->persist_asked) {
        r->persist_asked = r->last_index;
        effects_add(out, EFFECT_PERSIST)->reference = r->last_index;
    }
    if (r->view.number && !replica_fenced(r)) {
        if (r->role == ROLE_PRIMARY) {
            tick_mark(r, now, out);
            advance_commit(r, now, out);
            tick_joiners(r, now, out);
            tick_trim(r);
        }
        tick_full(r, now, out);
        tick_judgement(r, now, out);
        resume_forwarding(r, out);
        if (r->ack_owed)
            send_acks(r, out);
        tick_feeds(r, now, out);
    }
    if (instant_reached(now, r->state_due))
        send_state(r, now, out);
    replica_check(r);
}

struct instant replica_deadline(const struct replica *r)
{
    struct instant due = instant_min(r->state_due, instant_add_ms(r->ticked, beat_ms(r)));

    if (!is_primary(r))
        return due;
    if (!r->serving && r->lease_wait.ns > r->ticked.ns)
        due = instant_min(due, r->lease_wait);
    /* Only those marks are due that tick_mark() would make: a deadline that nothing moves spins. */
    return r->view.style == STYLE_ACTIVE && r->serving ? instant_min(due, r->mark_due) : due;
}

/* Requests. */

enum replica_way replica_way(const struct replica *r)
{
    if (is_primary(r))
        return REPLICA_APPEND;
    return r->forwarding && !replica_fenced(r) ? REPLICA_FORWARD : REPLICA_HOLD;
}

uint64_t replica_append(struct replica *r)
{
    assert(is_primary(r));
    journal_grown(r, r->last_index + 1, r->view.number);
    return r->last_index;
}

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

/* What the caller did. */

void replica_saved(struct replica *r, uint64_t index)
{
    if (index > r->last_index)
        index = r->last_index;
    if (index > r->saved_index) {
        r->saved_index = index;
        r->ack_owed = r->role != ROLE_PRIMARY && r->view.number != 0;
    }
}

void replica_executed(struct replica *r, uint64_t index)
{
    /* Rule 7. */
    assert(index <= r->commit_index && index >= r->executed_index);
    r->executed_index = index;
}

void replica_marked(struct replica *r, uint64_t index, uint64_t digest)
{
    struct replica_mark mark = { index, digest };

    r->marks[r->mark_next++ % MARK_COUNT] = mark;
    r->mark_own = mark;
    if (r->role == ROLE_BACKUP)
        r->ack_owed = true;
}

void replica_dropped(struct replica *r, uint64_t first_index)
{
    assert(first_index <= r->last_index + 1);
    if (first_index > r->first_index)
        begin_at(r, first_index);
}

void replica_restored(struct replica *r, uint64_t index)
{
    r->executed_index = index;
    if (!r->whole)
        r->whole_at = index;
    else if (r->commit_index < index)
        r->commit_index = index;
    become_whole(r);
    r->ack_owed = r->role != ROLE_PRIMARY && r->view.number != 0;
}

/* Recovery. */

void replica_recover_state(struct replica *r, uint64_t index, uint64_t view)
{
    /* Changes come on top of a state that is in. */
    assert(r->view.number == 0 && r->last_index == r->executed_index && r->last_index <= index);
    r->runs[0] = (struct journal_run){ index, view };
    r->first_index = index + 1;
    r->last_index = r->saved_index = r->persist_asked = index;
    r->commit_index = r->executed_index = index;
}

uint64_t replica_recover_reset(struct replica *r, uint64_t index)
{
    /* A later one may begin behind a checkpoint again: of a join that began twice, say. */
    r->whole = index <= r->commit_index;
    /* What was there before is gone, also where the new entries do not reach. */
    r->run_count = 1;
    r->last_index = r->saved_index = r->persist_asked = r->commit_index;
    return r->last_index;
}

bool replica_recover_entry(struct replica *r, uint64_t index, uint64_t view, uint64_t *last)
{
    uint64_t before = index - 1 < r->last_index ? index - 1 : r->last_index;

    if (index < r->first_index) {
        /* What was behind it is gone, and up to there the state has it all. */
        *last = replica_recover_reset(r, r->commit_index);
        return false;
    }
    *last = r->last_index;
    /* Older than the state: it was replaced, or would have been. */
    if (view < r->runs[0].view)
        return false;
    r->whole = index <= r->last_index + 1 && view >= replica_view_at(r, before);
    if (!r->whole)
        return false;
    while (r->run_count > 1 && r->runs[r->run_count - 1].first_index >= index)
        r->run_count--;
    *last = r->last_index = index - 1;
    journal_grown(r, index, view);
    r->saved_index = r->persist_asked = index;
    return true;
}

bool replica_recovered(struct replica *r, bool intact)
{
    r->intact = intact && r->whole && r->last_index > 0;
    return r->whole;
}

void replica_cut(struct replica *r)
{
    r->cut = true;
}

void replica_lived(struct replica *r, const struct lives *lives)
{
    r->lives = *lives;
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
