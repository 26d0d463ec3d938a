/* checks - what must hold in the cluster, looked at after every turn of a process. Each is named in
 * README.md with what it would catch. */
#include <assert.h>
#include <stdlib.h>

#include "server/server_state.h"
#include "tests/simulator/parts.h"

#define WIRES_EVERY      16u        /* turns between two looks at what is under way */
#define WIRE_COUNT_MAX   20000u     /* messages; heartbeats to one that is stopped, too */
#define WIRE_BYTES_SMALL (4u << 20) /* of all that have no window of their own */
#define NEWS_MS          1000u      /* until the rm has heard of a death */
#define VIEWS_MAX        100000u    /* a run that has so many is wrong in itself */

/* Whether two know the same of a view. What only the primary needs is not compared; a server that
 * has promised a later one names no primary. */
static bool same_view(const struct message_view *a, const struct message_view *b)
{
    return a->number == b->number && a->style == b->style && a->acks == b->acks &&
           (a->primary == b->primary || b->primary == NODE_NONE) &&
           a->members.set == b->members.set &&
           memcmp(a->members.incarnation, b->members.incarnation, sizeof a->members.incarnation) ==
               0;
}

/* Whoever speaks of a view speaks of the same one: its number is given once. */
void check_view_content(struct process *p, const struct message_view *view)
{
    struct checks *k = &p->sim->checks;

    if (view->number == 0)
        return;
    if (view->number >= VIEWS_MAX) {
        sim_fail(p->sim, "%s is in view %llu: too many", node_name(p->node),
                 (unsigned long long)view->number);
        return;
    }
    if (view->number >= k->view_capacity) {
        uint64_t capacity = 2 * view->number + 64;

        k->views = memory_grown(k->views, capacity * sizeof *k->views);
        memset(k->views + k->view_capacity, 0, (capacity - k->view_capacity) * sizeof *k->views);
        k->view_capacity = capacity;
    }
    if (k->views[view->number].number == 0 && view->primary != NODE_NONE)
        k->views[view->number] = *view;
    else if (k->views[view->number].number && !same_view(&k->views[view->number], view))
        sim_fail(p->sim, "%s has a view %llu that differs from another of that number",
                 node_name(p->node), (unsigned long long)view->number);
}

static void check_one_primary(struct process *p, const struct server_status *s)
{
    if (s->role == ROLE_PRIMARY && s->primary != NODE_NONE && s->primary != p->node)
        sim_fail(p->sim, "%s leads view %llu, whose primary is %s", node_name(p->node),
                 (unsigned long long)s->view, node_name(s->primary));
    if (s->role == ROLE_PRIMARY && !members_has(&s->members, p->node, p->incarnation))
        sim_fail(p->sim, "%s leads view %llu and is no member of it", node_name(p->node),
                 (unsigned long long)s->view);
}

/* Rules 1 and 11: every view is the rm's, which stores it before anybody hears of it. */
static void check_view_stored(struct process *p, const struct server_status *s)
{
    if (s->view > p->sim->checks.stored_number)
        sim_fail(p->sim, "%s is in view %llu, and the rm has stored none after %llu",
                 node_name(p->node), (unsigned long long)s->view,
                 (unsigned long long)p->sim->checks.stored_number);
}

/* Section 6: while a primary answers reads by its lease, none of a later view has committed. */
static void check_one_reader(struct process *p, const struct server_status *s)
{
    for (uint32_t i = 0; i < p->sim->options.servers; i++) {
        struct process *other = sim_process(p->sim, NODE_SERVER(i));
        const struct process *old = s->view < other->status.view ? p : other;
        const struct process *new = old == p ? other : p;
        struct server_status now;

        if (other == p || !other->server || s->role != ROLE_PRIMARY ||
            other->status.role != ROLE_PRIMARY || s->view == other->status.view ||
            !(new == p ? s->serving : new->status.serving))
            continue;
        server_status(old->server, process_clock(old), &now);
        if (now.leased)
            sim_fail(p->sim, "%s answers reads in view %llu, and %s has committed in view %llu",
                     node_name(old->node), (unsigned long long)now.view, node_name(new->node),
                     (unsigned long long)(new == p ? s->view : new->status.view));
    }
}

bool checks_member_of(const struct process *p, uint64_t view)
{
    const struct checks *k = &p->sim->checks;

    return view > 0 && view < k->view_capacity &&
           members_has(&k->views[view].members, p->node, p->incarnation);
}

/* Section 6: nobody reads by leases that were not granted, or are over for who granted them. */
static void check_lease_granted(struct process *p, const struct server_status *s)
{
    uint32_t count = 1;

    if (!s->leased)
        return;
    for (uint32_t i = 0; i < p->sim->options.servers; i++) {
        const struct process *member = sim_process(p->sim, NODE_SERVER(i));

        if (member != p && (s->members.set >> i & 1u) && member->granted_until_ns >= p->sim->now_ns)
            count++;
    }
    if (count < s->acks)
        sim_fail(p->sim, "%s answers reads in view %llu by leases of %u members, of %u",
                 node_name(p->node), (unsigned long long)s->view, count, s->acks);
}

/* Rule 5: what is of earlier views is committed with an entry of the primary's own. */
static void check_commit_view(struct process *p, const struct server_status *s)
{
    const struct journal *journal = server_journal(p->server);

    if (s->role != ROLE_PRIMARY || s->commit_index == p->status.commit_index ||
        p->status.role != ROLE_PRIMARY || s->view != p->status.view ||
        s->commit_index < journal->first || s->commit_index > journal->last)
        return;
    if (journal_at(journal, s->commit_index)->view != s->view)
        sim_fail(p->sim, "%s committed up to entry %llu of view %llu in view %llu",
                 node_name(p->node), (unsigned long long)s->commit_index,
                 (unsigned long long)journal_at(journal, s->commit_index)->view,
                 (unsigned long long)s->view);
}

/* In one life, promises and views only grow. */
static void check_promises_grow(struct process *p, const struct server_status *s)
{
    if (s->promised < p->status.promised || s->view < p->status.view || s->view > s->promised)
        sim_fail(p->sim, "%s went from view %llu, promised %llu, to view %llu, promised %llu",
                 node_name(p->node), (unsigned long long)p->status.view,
                 (unsigned long long)p->status.promised, (unsigned long long)s->view,
                 (unsigned long long)s->promised);
}

/* A state only goes forwards, except that a server throws all of it away. */
static void check_state_grows(struct process *p, const struct server_status *s)
{
    if (s->executed_index < p->status.executed_index && !s->restoring && s->executed_index > 0 &&
        !p->status.restoring)
        sim_fail(p->sim, "the state of %s went back from entry %llu to %llu", node_name(p->node),
                 (unsigned long long)p->status.executed_index,
                 (unsigned long long)s->executed_index);
}

static void check_executed_committed(struct process *p, const struct server_status *s)
{
    if (s->executed_index > s->commit_index && !s->restoring)
        sim_fail(p->sim, "%s executed %llu and knows only %llu as committed", node_name(p->node),
                 (unsigned long long)s->executed_index, (unsigned long long)s->commit_index);
}

/* Whether a server holds an entry, in its journal or in its state. */
static bool holds(const struct process *p, uint64_t index, const struct committed *entry)
{
    const struct journal *journal = server_journal(p->server);
    const struct journal_record *record;

    if (index < journal->first)
        return true; /* dropped from the journal: then it is in a checkpoint */
    if (index > journal->last)
        return false;
    record = journal_at(journal, index);
    return record->view == entry->view && record->crc == entry->crc;
}

/* What counts is written, with fsync = "always" synced, unless a fault took it since. */
static bool on_disk(const struct process *p, uint64_t incarnation, uint64_t index, uint64_t view)
{
    return !p->disk || p->disk_lost >= incarnation || disk_holds(p, index, view);
}

/* An entry that the primary takes for committed is held by as many members as acks says, who have
 * said so in this view, under the incarnation of their membership. Those that are dead by now may
 * have held it. */
static void check_commit_held(struct process *p, const struct server_status *s,
                              const struct committed *entry)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < p->sim->options.servers; i++) {
        struct process *member = sim_process(p->sim, NODE_SERVER(i));

        if (!(s->members.set >> i & 1u))
            continue;
        if (member != p &&
            !claims_acknowledged(member, s->members.incarnation[i], s->view, s->commit_index))
            continue;
        if (!on_disk(member, s->members.incarnation[i], s->commit_index, entry->view))
            continue;
        if (member->state != PROCESS_RUNNING || member->incarnation != s->members.incarnation[i] ||
            holds(member, s->commit_index, entry))
            count++;
    }
    if (count < s->acks)
        sim_fail(p->sim, "%s committed entry %llu in view %llu, held by %u members of %u",
                 node_name(p->node), (unsigned long long)s->commit_index,
                 (unsigned long long)s->view, count, s->acks);
}

/* The first to commit an entry says what it is; everybody else must agree. */
static void commit_compare(struct process *p, uint64_t index, const struct committed *entry)
{
    struct checks *k = &p->sim->checks;

    if (index > k->committed_capacity) {
        uint64_t capacity = 2 * index + 1024;

        k->committed = memory_grown(k->committed, capacity * sizeof *k->committed);
        memset(k->committed + k->committed_capacity, 0,
               (capacity - k->committed_capacity) * sizeof *k->committed);
        k->committed_capacity = capacity;
    }
    if (k->committed[index - 1].view == 0) {
        k->committed[index - 1] = *entry;
        if (k->committed_count < index)
            k->committed_count = index;
    } else if (k->committed[index - 1].view != entry->view ||
               k->committed[index - 1].crc != entry->crc)
        sim_fail(p->sim,
                 "%s has entry %llu of view %llu committed, another server one of view %llu",
                 node_name(p->node), (unsigned long long)index, (unsigned long long)entry->view,
                 (unsigned long long)k->committed[index - 1].view);
}

/* What was lost on purpose may still be known to who has no part in what came after. */
static bool knows_what_is_lost(const struct process *p, const struct server_status *s)
{
    uint64_t forgiven = p->sim->checks.forgiven_view;

    return forgiven > 0 && (s->view <= forgiven || s->role == ROLE_JOINER || s->restoring);
}

static void check_committed(struct process *p, const struct server_status *s)
{
    const struct journal *journal = server_journal(p->server);
    struct committed entry = { 0 };
    uint64_t from = p->compared + 1;
    uint64_t to = s->commit_index < journal->last ? s->commit_index : journal->last;

    if (knows_what_is_lost(p, s)) {
        p->compared = 0;
        return;
    }
    if (s->commit_index < p->compared) /* it began anew, from a checkpoint */
        from = journal->first;
    if (from < journal->first)
        from = journal->first;
    for (uint64_t i = from; i <= to; i++) {
        const struct journal_record *record = journal_at(journal, i);

        entry = (struct committed){ .view = record->view, .crc = record->crc };
        commit_compare(p, i, &entry);
    }
    if (from <= to && to == s->commit_index && s->role == ROLE_PRIMARY &&
        s->commit_index > p->status.commit_index)
        check_commit_held(p, s, &entry);
    p->compared = s->commit_index;
}

/* Durability: what a life has acknowledged, and what is committed, it has until its end: in its
 * journal, or in a checkpoint; and its disk has it. */
static void check_keeps(struct process *p, const struct server_status *s)
{
    const struct checks *k = &p->sim->checks;
    const struct acknowledged *a = &p->acknowledged;
    const struct committed *entry;

    if (a->incarnation != p->incarnation || a->index == 0 || a->index > k->committed_count ||
        s->restoring || knows_what_is_lost(p, s))
        return;
    entry = &k->committed[a->index - 1];
    /* It was not committed, another one was; or every journal had dropped it before we looked. */
    if (entry->view == 0 || entry->view != a->entry_view)
        return;
    if ((a->index < server_journal(p->server)->first ? s->executed_index < a->index
                                                     : !holds(p, a->index, entry)) ||
        !on_disk(p, p->incarnation, a->index, a->entry_view))
        sim_fail(p->sim, "%s acknowledged entry %llu in view %llu, and has it no more",
                 node_name(p->node), (unsigned long long)a->index, (unsigned long long)a->view);
}

/* What its disk has not got yet it keeps in memory: the disk gets it from there. */
static void check_unsaved(struct process *p)
{
    const uint64_t saved = p->server->replica.saved_index;

    if (p->disk && server_journal(p->server)->first > saved + 1)
        sim_fail(p->sim, "%s dropped entries before %llu, and its disk has them up to %llu",
                 node_name(p->node), (unsigned long long)server_journal(p->server)->first,
                 (unsigned long long)saved);
}

/* States are equal at equal index, on whatever way they got there. A state that is being replaced,
 * slice by slice, is none. */
static void check_digest(struct process *p, const struct server_status *s)
{
    struct checks *k = &p->sim->checks;
    uint64_t index = machine_index(server_machine(p->server));
    struct known_state *known;
    uint64_t digest;

    if (index == 0 || index == p->state_index || s->restoring || index != s->executed_index ||
        p->server->transfer_in.applying)
        return;
    p->state_index = index;
    if (index > k->state_capacity) {
        uint64_t capacity = 2 * index + 1024;

        k->states = memory_grown(k->states, capacity * sizeof *k->states);
        memset(k->states + k->state_capacity, 0,
               (capacity - k->state_capacity) * sizeof *k->states);
        k->state_capacity = capacity;
    }
    known = &k->states[index - 1];
    digest = machine_digest(server_machine(p->server));
    if (known->node == NODE_NONE)
        *known = (struct known_state){ .digest = digest, .node = p->node };
    else if (known->digest != digest)
        sim_fail(p->sim, "the state of %s after entry %llu differs from what %s had there",
                 node_name(p->node), (unsigned long long)index, node_name(known->node));
}

static void check_bound(struct process *p, const char *what, uint64_t count, uint64_t count_max)
{
    if (count > count_max)
        sim_fail(p->sim, "%s has %llu %s, at most %llu are allowed", node_name(p->node),
                 (unsigned long long)count, what, (unsigned long long)count_max);
}

/* On the way to one other process, as the windows of server/replica.h and server/transfer.h allow:
 * the rest is small. */
static void check_wires(struct process *p)
{
    for (uint32_t node = 0; node < NODE_COUNT; node++) {
        const struct connection *c = p->links[node];
        uint64_t bytes = 0, count = 0;

        if (!c)
            continue;
        for (const struct parcel *m = c->wire[c->end[0] == p ? 1 : 0].parcels.first; m;
             m = m->next) {
            bytes += m->size;
            count++;
        }
        check_bound(p, "messages under way to one process", count, WIRE_COUNT_MAX);
        check_bound(p, "bytes under way to one process", bytes,
                    FEED_WINDOW * (uint64_t)(BATCH_BYTES_MAX + REQUEST_SIZE_MAX) +
                        SLICE_WINDOW * (uint64_t)SLICE_BYTES_MAX +
                        2 * (p->sim->options.pending_bytes_max + REQUEST_SIZE_MAX) +
                        WIRE_BYTES_SMALL);
    }
}

/* What comes in one turn is handed on at its end, and may be dropped in the next one (seed
 * 8142775). */
static void check_journal_bytes(struct process *p, const struct server_status *s)
{
    const struct replica *r = &p->server->replica;
    uint64_t max = p->sim->options.journal_bytes_max + 2 * (uint64_t)JOURNAL_BLOCK_BYTES;
    bool over = !s->restoring && s->style == STYLE_ACTIVE && s->journal_bytes > max &&
                r->executed_index == r->last_index && r->saved_index == r->last_index;

    if (over && p->journal_over)
        check_bound(p, "bytes of journal in memory", s->journal_bytes, max);
    p->journal_over = over;
}

/* Of its own clients' requests only one that is larger than the limit may go beyond it, alone. */
static void check_own_pending(struct process *p, uint64_t bytes_max)
{
    struct pending *pending = &p->server->pending;
    struct pending_request *r;
    uint64_t bytes = 0;
    uint32_t count = 0;

    for (r = pending_oldest(pending); r; r = pending_newer(pending, r))
        if (r->origin == NODE_NONE) {
            bytes += r->size + sizeof *r;
            count++;
        }
    if (count > 1)
        check_bound(p, "bytes of its clients' requests pending", bytes, bytes_max + sizeof *r);
}

/* Every queue of a server has its limit. The last request taken may go beyond it. */
static void check_bounds(struct process *p, const struct server_status *s)
{
    const struct server *server = p->server;
    uint64_t pending_max = p->sim->options.pending_bytes_max + REQUEST_SIZE_MAX;

    check_bound(p, "bytes of requests pending", s->pending_bytes, pending_max);
    if (s->pending_bytes > p->sim->options.pending_bytes_max)
        check_own_pending(p, p->sim->options.pending_bytes_max);
    check_bound(p, "reads waiting", server->reads.count, server->pending.count);
    check_bound(p, "bytes to be forwarded", buffer_size(&server->forwards), 2 * pending_max);
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++) {
        check_bound(p, "appends under way", server->replica.peers[i].window_count, FEED_WINDOW);
        if (server->transfer_out.open && (server->transfer_out.receivers >> i & 1u))
            check_bound(p, "slices under way",
                        server->transfer_out.sent - server->transfer_out.acked[i], SLICE_WINDOW);
    }
    check_bound(p, "bytes of a checkpoint aside", buffer_size(&server->transfer_in.aside),
                TRANSFER_ASIDE_BYTES_MAX);
    /* What is not saved is not acknowledged: nobody sends more than a window of it. */
    if (p->disk)
        check_bound(p, "bytes waiting for the disk", disk_waiting_bytes(p),
                    UINT64_C(2) * p->sim->options.servers * pending_max +
                        FEED_WINDOW * (uint64_t)(BATCH_BYTES_MAX + REQUEST_SIZE_MAX));
    check_journal_bytes(p, s);
    if (p->sim->turns % WIRES_EVERY == 0)
        check_wires(p);
}

/* A death that the rm takes for certain is one: else nobody would wait for the leases of the dead.
 */
static void check_certainly_dead(struct process *rm)
{
    for (uint32_t i = 0; i < rm->sim->options.servers; i++) {
        const struct process *p = sim_process(rm->sim, NODE_SERVER(i));

        if (p->state == PROCESS_RUNNING &&
            roster_certainly_dead(&rm->rm->roster, p->node, p->incarnation))
            sim_fail(rm->sim, "the rm is certain that %s is dead, and it runs", node_name(p->node));
    }
}

void checks_turn(struct process *p)
{
    struct server_status s;

    if (p->rm)
        check_certainly_dead(p);
    if (!p->server)
        return;
    server_status(p->server, process_clock(p), &s);
    check_view_content(p, &(struct message_view){ .number = s.view,
                                                  .style = (uint8_t)s.style,
                                                  .acks = (uint8_t)s.acks,
                                                  .primary = s.primary,
                                                  .members = s.members });
    check_view_stored(p, &s);
    check_one_primary(p, &s);
    check_one_reader(p, &s);
    check_lease_granted(p, &s);
    check_promises_grow(p, &s);
    check_state_grows(p, &s);
    check_executed_committed(p, &s);
    check_commit_view(p, &s);
    check_committed(p, &s);
    check_keeps(p, &s);
    check_unsaved(p);
    check_digest(p, &s);
    check_bounds(p, &s);
    p->status = s;
}

/* Whether a member of a view died just now, so that the rm may not have heard of it: or longer ago,
 * if it stood still since, or has had no gfd. */
static bool just_died(struct sim *sim, const struct message_view *view)
{
    const uint64_t heard_ns = sim_process(sim, NODE_RM)->heard_ns;

    for (uint32_t i = 0; i < sim->options.servers; i++) {
        const struct process *p = sim_process(sim, NODE_SERVER(i));

        if ((view->members.set >> i & 1u) && p->ended_ns > 0 &&
            p->ended_ns + NEWS_MS * MILLISECOND_NS > heard_ns)
            return true;
    }
    return false;
}

/* Rule 4: who is elected holds all that ever was committed. */
static void check_elected(struct sim *sim, const struct message_view *view)
{
    const struct checks *k = &sim->checks;
    const struct process *primary = sim_process(sim, view->primary);
    uint64_t last = k->committed_count;

    if (last == 0 || k->committed[last - 1].view == 0 || !primary->server ||
        !members_has(&view->members, view->primary, primary->incarnation))
        return;
    if (!primary->server->replica.whole)
        sim_fail(sim, "%s is to lead view %llu and has no state", node_name(view->primary),
                 (unsigned long long)view->number);
    if (!holds(primary, last, &k->committed[last - 1]))
        sim_fail(sim, "%s is to lead view %llu and lacks entry %llu, which was committed",
                 node_name(view->primary), (unsigned long long)view->number,
                 (unsigned long long)last);
}

/* Rule 4: what an old store does not know must be known before the next view is made, else the next
 * election does not ask for it: the view of the leader's last entry. */
void checks_outdated(struct sim *sim, const struct saved *saved)
{
    const struct message_view *next = saved_current(saved);
    const struct process *leader = sim_process(sim, next->primary);
    uint64_t known;

    if (sim->checks.forgiven_view > 0 || !leader->server ||
        !members_has(&next->members, leader->node, leader->incarnation))
        return;
    known = replica_journal_view(&leader->server->replica);
    for (uint32_t i = 0; i < saved->view_count; i++)
        if (known == 0 || saved->views[i].number == known)
            return;
    sim_fail(sim, "the rm stored view %llu on an old store, which knows nothing of view %llu",
             (unsigned long long)next->number, (unsigned long long)known);
}

void checks_stored(struct sim *sim)
{
    const struct message_view *current = saved_current(&sim->saved);

    if (!current)
        return;
    if (current->number < sim->checks.stored_number)
        sim_fail(sim, "the rm stored view %llu after view %llu",
                 (unsigned long long)current->number,
                 (unsigned long long)sim->checks.stored_number);
    if (current->number > sim->checks.stored_number)
        check_elected(sim, current);
    /* A view of those that a fault has taken meanwhile: that it cannot be left is the fault's
     * doing. */
    if (current->number > sim->checks.stored_number && faults_doom_view(sim, current) &&
        just_died(sim, current))
        sim->excused = true;
    sim->checks.stored_number = current->number;
}

void checks_forgive(struct sim *sim)
{
    struct checks *k = &sim->checks;

    if (k->committed_capacity > 0)
        memset(k->committed, 0, k->committed_capacity * sizeof *k->committed);
    k->committed_count = 0;
    if (k->state_capacity > 0)
        memset(k->states, 0, k->state_capacity * sizeof *k->states);
    for (uint32_t i = 0; i < sim->options.servers; i++)
        sim_process(sim, NODE_SERVER(i))->compared = 0;
    k->forgiven_view = sim_view(sim);
    history_forgive(&sim->history);
}

bool checks_even(struct sim *sim)
{
    const struct process *primary = sim_process(sim, sim_primary(sim));

    if (!primary)
        return false;
    for (uint32_t i = 0; i < sim->options.servers; i++) {
        const struct server_status *s = &sim_process(sim, NODE_SERVER(i))->status;

        if (s->journal_index != primary->status.journal_index ||
            s->commit_index != primary->status.journal_index)
            return false;
        if (sim->options.disk &&
            disk_index(sim_process(sim, NODE_SERVER(i))) < primary->status.journal_index)
            return false;
    }
    return true;
}

void checks_free(struct sim *sim)
{
    free(sim->checks.committed);
    free(sim->checks.states);
    free(sim->checks.views);
}
