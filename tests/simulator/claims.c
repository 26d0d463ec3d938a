/* claims - what a server tells another must be true of what it has when it says so. Consequences of
 * a false word may need rare events to show; the word itself is seen at once. */
#include <inttypes.h>

#include "server/journal.h"
#include "server/replica.h"
#include "server/server_state.h"
#include "tests/simulator/parts.h"

/* Rule 5: the journal's view is that of its last entry, and no later one. */
static void report_check(struct process *p, const struct message_report *report)
{
    const struct journal *journal = server_journal(p->server);
    uint64_t left_ns = p->lease_until_ns > p->sim->now_ns ? p->lease_until_ns - p->sim->now_ns : 0;
    /* Clocks differ, while all of the lease went by, and what is in between takes time. */
    uint64_t slack_ns = p->sim->options.lease_ms * MILLISECOND_NS / 100 + MILLISECOND_NS;

    if (report->last_index > journal->last)
        sim_fail(p->sim, "%s reports entry %" PRIu64 ", its journal ends with %" PRIu64,
                 node_name(p->node), report->last_index, journal->last);
    else if (report->last_index >= journal->first &&
             report->journal_view != journal_at(journal, report->last_index)->view)
        sim_fail(p->sim, "%s reports a journal of view %" PRIu64 ", its last entry is of %" PRIu64,
                 node_name(p->node), report->journal_view,
                 journal_at(journal, report->last_index)->view);
    if (report->lease_left_ms * MILLISECOND_NS + slack_ns < left_ns)
        sim_fail(p->sim, "%s reports %" PRIu32 " ms of a lease, the primary may count on %" PRIu64,
                 node_name(p->node), report->lease_left_ms, left_ns / MILLISECOND_NS);
}

/* Its primary may answer reads for lease_ms from when it sent the append that is answered. */
static void lease_note(struct process *p, const struct process *primary,
                       const struct message_ack *ack)
{
    uint64_t now = process_clock(primary).ns;
    uint64_t age_ns = now > ack->stamp ? now - ack->stamp : 0;
    uint64_t lease_ns = p->sim->options.lease_ms * MILLISECOND_NS;

    if (ack->stamp == 0 || age_ns >= lease_ns)
        return;
    if (p->lease_until_ns < p->sim->now_ns + lease_ns - age_ns)
        p->lease_until_ns = p->sim->now_ns + lease_ns - age_ns;
}

/* What it has promised by its own clock, whatever its primary makes of it. */
static void grant_note(struct process *p)
{
    uint64_t now = process_clock(p).ns, until = p->server->replica.lease_granted.ns;
    uint64_t left = until > now ? until - now : 0;

    left = left * 1000000 / (uint64_t)(1000000 + p->clock_ppm);
    if (left > 0 && p->granted_until_ns < p->sim->now_ns + left)
        p->granted_until_ns = p->sim->now_ns + left;
}

static void acknowledged_note(struct process *p, const struct message_ack *ack)
{
    const struct journal *journal = server_journal(p->server);
    struct acknowledged *a = &p->acknowledged;

    if (a->incarnation != p->incarnation)
        p->acknowledged_before = *a;
    if (a->incarnation != p->incarnation || a->view != ack->view)
        *a = (struct acknowledged){ .incarnation = p->incarnation, .view = ack->view };
    if (a->index < ack->index) {
        a->index = ack->index;
        a->entry_view = ack->index >= journal->first && ack->index <= journal->last
                            ? journal_at(journal, ack->index)->view
                            : 0;
    }
}

bool claims_acknowledged(const struct process *p, uint64_t incarnation, uint64_t view,
                         uint64_t index)
{
    const struct acknowledged *a = &p->acknowledged;

    if (a->incarnation != incarnation)
        a = &p->acknowledged_before;
    if (a->incarnation != incarnation)
        return a->incarnation > incarnation; /* too long ago to know */
    return a->view > view || (a->view == view && a->index >= index);
}

/* Rule 3: what is acknowledged is in the journal, and the primary has the same. */
static void ack_check(struct process *p, node_id to, const struct message_ack *ack)
{
    const struct process *primary = sim_process(p->sim, to);
    const struct journal *ours = server_journal(p->server), *theirs;
    struct server_status now;

    grant_note(p);
    server_status(p->server, process_clock(p), &now);
    if (ack->view < now.promised)
        sim_fail(p->sim, "%s acknowledges in view %" PRIu64 ", after its promise of %" PRIu64,
                 node_name(p->node), ack->view, now.promised);
    if (now.role == ROLE_BACKUP && now.restoring && ack->index > 0)
        sim_fail(p->sim, "%s acknowledges entry %" PRIu64 " without the state before it",
                 node_name(p->node), ack->index);
    /* Of earlier views it acknowledges nothing that would count. */
    if (now.role == ROLE_BACKUP && ack->index > 0 && now.journal_view == ack->view && p->disk &&
        !disk_complete(p))
        sim_fail(p->sim,
                 "%s acknowledges entry %" PRIu64 ", and its next life would not know that it "
                 "lacks nothing",
                 node_name(p->node), ack->index);
    if (ack->index > ours->last)
        sim_fail(p->sim, "%s acknowledges entry %" PRIu64 ", its journal ends with %" PRIu64,
                 node_name(p->node), ack->index, ours->last);
    else if (p->disk && ack->index >= ours->first &&
             !disk_holds(p, ack->index, journal_at(ours, ack->index)->view))
        sim_fail(p->sim, "%s acknowledges entry %" PRIu64 ", which is not on its disk",
                 node_name(p->node), ack->index);
    if (!primary || !primary->server || primary->status.view != ack->view ||
        primary->status.role != ROLE_PRIMARY)
        return;
    acknowledged_note(p, ack);
    lease_note(p, primary, ack);
    theirs = server_journal(primary->server);
    if (ack->index < ours->first || ack->index < theirs->first || ack->index > ours->last)
        return;
    if (ack->index > theirs->last ||
        journal_at(ours, ack->index)->view != journal_at(theirs, ack->index)->view)
        sim_fail(p->sim, "%s acknowledges entry %" PRIu64 ", of which %s has another",
                 node_name(p->node), ack->index, node_name(to));
}

/* A joiner that is to be taken in has its state, and nearly all entries. */
static void caught_up_check(struct process *p, const struct message_caught_up *caught_up)
{
    const struct process *joiner = sim_process(p->sim, caught_up->joiner);
    const struct journal *journal = server_journal(p->server);

    if (!joiner || !joiner->server || joiner->incarnation != caught_up->incarnation ||
        joiner->status.view != caught_up->number)
        return;
    if (joiner->status.restoring ||
        joiner->status.journal_index + CAUGHT_UP_ENTRIES < journal->last)
        sim_fail(p->sim, "%s calls %s caught up: it has entry %" PRIu64 " of %" PRIu64 "%s",
                 node_name(p->node), node_name(joiner->node), joiner->status.journal_index,
                 journal->last, joiner->status.restoring ? ", and no state" : "");
}

/* Kill before you tell: of what is said to be certainly dead nothing runs any more. */
static void death_check(struct process *p, node_id server, uint64_t incarnation)
{
    const struct process *dead = sim_process(p->sim, server);

    if (dead && dead->state == PROCESS_RUNNING && dead->incarnation == incarnation)
        sim_fail(p->sim, "%s tells of the certain death of %s, which runs", node_name(p->node),
                 node_name(server));
}

/* Whom the gfd has buried it does not list again. */
static void listing_check(struct process *p, const struct message_membership *m)
{
    struct process *changed = sim_process(p->sim, m->changed);

    if (m->change == CHANGE_DELETE && m->certain) {
        death_check(p, m->changed, m->incarnation);
        if (changed && changed->buried < m->incarnation)
            changed->buried = m->incarnation;
    }
    for (uint32_t i = 0; i < p->sim->options.servers; i++)
        if ((m->members.set >> i & 1u) &&
            m->members.incarnation[i] <= sim_process(p->sim, NODE_SERVER(i))->buried)
            sim_fail(p->sim, "%s lists a life of %s that it knows to be dead", node_name(p->node),
                     node_name(NODE_SERVER(i)));
}

void claims_check(struct process *p, node_id to, const struct message *message)
{
    if (message->type == MESSAGE_DELETE && message->delete.certain)
        death_check(p, message->delete.server, message->delete.incarnation);
    else if (message->type == MESSAGE_MEMBERSHIP)
        listing_check(p, &message->membership);
    if (!p->server)
        return;
    switch (message->type) {
    case MESSAGE_REPORT: report_check(p, &message->report); break;
    case MESSAGE_ACK: ack_check(p, to, &message->ack); break;
    case MESSAGE_CAUGHT_UP: caught_up_check(p, &message->caught_up); break;
    default: break;
    }
}
