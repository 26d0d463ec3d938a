#include "rm/election.h"

#include <assert.h>

void election_init(struct election *e, bool persistent)
{
    *e = (struct election){ .persistent = persistent };
}

static bool has_reported(const struct election *e, node_id server)
{
    return e->reports >> node_index(server) & 1u;
}

/* In memory a journal dies with its process, so only the life that acknowledged in the view can
 * speak for it. From disk a later life can, when its journal lacks nothing that this one or any
 * life acknowledged. */
static bool report_counts(const struct election *e, node_id server,
                          const struct message_report *report, const struct message_view *view)
{
    if (members_has(&view->members, server, report->incarnation))
        return true;
    if (!e->persistent || !(view->members.set >> node_index(server) & 1u))
        return false;
    return report->intact ||
           lives_has(&report->lives, view->members.incarnation[node_index(server)]);
}

static bool report_counts_any(const struct election *e, const struct saved *saved, node_id server,
                              const struct message_report *report)
{
    for (uint32_t i = 0; i < saved->view_count; i++)
        if (report_counts(e, server, report, &saved->views[i]))
            return true;
    return false;
}

void election_add(struct election *e, const struct saved *saved, node_id server,
                  const struct message_report *report)
{
    uint32_t i = node_index(server);

    e->latest[i] = *report;
    if (has_reported(e, server) && e->report[i].incarnation != report->incarnation &&
        report_counts_any(e, saved, server, &e->report[i]) &&
        !report_counts_any(e, saved, server, report))
        return;
    e->reports |= 1u << i;
    e->report[i] = *report;
}

bool election_counts_latest(const struct election *e, node_id server,
                            const struct message_view *view)
{
    return has_reported(e, server) &&
           report_counts(e, server, &e->latest[node_index(server)], view);
}

bool election_counts(const struct election *e, node_id server, const struct message_view *view)
{
    return has_reported(e, server) &&
           report_counts(e, server, &e->report[node_index(server)], view);
}

bool election_counts_any(const struct election *e, const struct saved *saved, node_id server)
{
    return has_reported(e, server) &&
           report_counts_any(e, saved, server, &e->report[node_index(server)]);
}

int election_compare(const struct message_report *a, const struct message_report *b)
{
    if (a->journal_view != b->journal_view)
        return a->journal_view < b->journal_view ? -1 : 1;
    if (a->last_index != b->last_index)
        return a->last_index < b->last_index ? -1 : 1;
    return 0;
}

static bool discarded_up_to(const struct message_report *report, const struct message_report *end)
{
    const struct message_report discarded = { .journal_view = report->discarded_view,
                                              .last_index = report->discarded_index };

    return discarded.journal_view && election_compare(&discarded, end) <= 0;
}

bool election_holds_all(const struct message_report *report)
{
    return report->intact || (!report->stateless && discarded_up_to(report, report));
}

bool election_vouches(const struct message_report *report, const struct message_report *leader)
{
    return report->intact || discarded_up_to(report, leader);
}

/* The view's primary speaks for it alone: what was committed in it is what its primary committed,
 * out of its own journal. Only the same life does: with journals on disk, a primary may have
 * committed by the word of others what it had yet to flush itself. */
static bool primary_answers(const struct election *e, const struct message_view *view,
                            const struct message_report *leader)
{
    const struct message_report *report = &e->report[node_index(view->primary)];

    return has_reported(e, view->primary) &&
           members_has(&view->members, view->primary, report->incarnation) &&
           election_compare(report, leader) <= 0;
}

/* The last group of its journal may be missing. In a view of its present life it has acknowledged
 * nothing since. */
static bool may_lack_end(const struct election *e, node_id server, const struct message_view *view)
{
    const struct message_report *report = &e->report[node_index(server)];

    return report->cut && !members_has(&view->members, server, report->incarnation);
}

/* Whether what a server acknowledged before it threw its journal away to join is in the leader's:
 * it answers as if it still had that journal, whatever it has now as a joiner. */
static bool answers_by_discarded(const struct election *e, node_id server,
                                 const struct message_report *leader)
{
    return e->persistent && has_reported(e, server) &&
           discarded_up_to(&e->report[node_index(server)], leader);
}

/* Whether enough members of the view report, and none of them more than the leader holds. Where
 * some may lack their end, one of them may have been the one that counts: one more has to report,
 * if there is one. */
static bool view_answered(const struct election *e, const struct message_view *view,
                          const struct message_report *leader, struct election_lack *lack)
{
    uint32_t needed = members_count(&view->members) - view->acks + 1u, have = 0;
    uint32_t missing = 0, outranks = 0, cut = 0;
    bool counts;

    if (primary_answers(e, view, leader))
        return true;
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++) {
        if (!(view->members.set >> i & 1u))
            continue;
        counts = election_counts(e, NODE_SERVER(i), view);
        if (!counts && answers_by_discarded(e, NODE_SERVER(i), leader))
            have++;
        else if (!counts)
            missing |= 1u << i;
        else if (election_compare(&e->report[i], leader) > 0)
            outranks |= 1u << i;
        else if (++have && may_lack_end(e, NODE_SERVER(i), view))
            cut |= 1u << i;
    }
    if (cut && (missing | outranks) && have - (uint32_t)__builtin_popcount(cut) < needed)
        needed++;
    if (have < needed && lack)
        *lack = (struct election_lack){ view->number, needed - have, missing, outranks, cut };
    return have >= needed;
}

bool election_permits(const struct election *e, const struct saved *saved, node_id server,
                      struct election_lack *lack)
{
    const struct message_report *leader = &e->report[node_index(server)];

    if (!election_counts_any(e, saved, server)) {
        if (lack)
            *lack = (struct election_lack){ 0 };
        return false;
    }
    /* The view of the leader's journal answers for those below it: its primary was elected by this
     * rule, and who acknowledged in them has promised it. */
    for (uint32_t i = saved->view_count; i-- > 0;) {
        if (saved->views[i].number < leader->journal_view)
            break;
        if (!view_answered(e, &saved->views[i], leader, lack))
            return false;
    }
    return true;
}
