#include "rm/plan.h"

#include <assert.h>
#include <stdio.h>

#define LEASE_MS_MAX 10000u /* as in the config */

bool plan_store_outdated(const struct view *v)
{
    const struct message_view *current = saved_current(v->saved);

    return current && v->roster->view_max > current->number;
}

enum plan_rule plan_rule(const struct view *v)
{
    if (v->accept_loss)
        return PLAN_ACCEPT_LOSS;
    return !saved_current(v->saved) || plan_store_outdated(v) ? PLAN_ALL_SERVERS : PLAN_ELECTION;
}

static bool is_paused(const struct view *v, struct instant now, uint32_t i)
{
    return v->pause[i].pause_ms && !instant_reached(now, v->pause[i].until);
}

/* Servers to be left out of the next view. An accusation is forgotten after its pause, also when
 * the change takes longer: it may be the accused that it waits for. */
static uint32_t excluded(const struct view *v, struct instant now)
{
    uint32_t set = (v->leaving | v->saved->stopped) & ~v->kept;

    for (uint32_t i = 0; i < v->options.server_count; i++)
        if (in_set(v->accused, i) && is_paused(v, now, i))
            set |= 1u << i;
    return set;
}

bool plan_joiner_ready(const struct view *v, struct instant now, node_id server)
{
    uint32_t i = node_index(server);
    const struct message_view *current = saved_current(v->saved);

    return current && v->caught_up[i] && v->roster->server[i].listed == v->caught_up[i] &&
           roster_alive(v->roster, server, v->caught_up[i]) &&
           !in_set(v->saved->stopped | v->leaving, i) && !is_paused(v, now, i) &&
           !in_set(current->members.set, i);
}

/* Its present life has reported, and can be part of a view. */
static bool is_present(const struct view *v, uint32_t i)
{
    return in_set(v->election.reports, i) && !in_set(v->stale, i) &&
           roster_alive(v->roster, NODE_SERVER(i), v->election.latest[i].incarnation);
}

static bool was_member(const struct view *v, uint32_t i)
{
    const struct message_view *current = saved_current(v->saved);

    return current &&
           members_has(&current->members, NODE_SERVER(i), v->election.latest[i].incarnation);
}

static bool was_primary(const struct view *v, uint32_t i)
{
    return was_member(v, i) && saved_current(v->saved)->primary == NODE_SERVER(i);
}

/* Of those in the set, the one whose journal holds most; among equals the present primary, so that
 * clients need not move, else the first. NODE_NONE when the set is empty. */
static node_id highest_of(const struct view *v, uint32_t set)
{
    node_id best = NODE_NONE;

    for (uint32_t i = 0; i < v->options.server_count; i++) {
        int order = 1;

        if (!in_set(set, i))
            continue;
        if (best != NODE_NONE)
            order = election_compare(&v->election.latest[i], &v->election.latest[node_index(best)]);
        if (order > 0 || (order == 0 && was_primary(v, i)))
            best = NODE_SERVER(i);
    }
    return best;
}

static uint32_t present_set(const struct view *v)
{
    uint32_t set = 0;

    for (uint32_t i = 0; i < v->options.server_count; i++)
        if (is_present(v, i))
            set |= 1u << i;
    return set;
}

/* The present life's report counts for a stored view, and it has a state to begin with: a member
 * that was taken in for want of others may be waiting for one. */
static bool is_candidate(const struct view *v, uint32_t i)
{
    return is_present(v, i) && !v->election.latest[i].stateless &&
           v->election.report[i].incarnation == v->election.latest[i].incarnation &&
           election_counts_any(&v->election, v->saved, NODE_SERVER(i));
}

static uint32_t candidates(const struct view *v)
{
    uint32_t set = 0;

    for (uint32_t i = 0; i < v->options.server_count; i++)
        if (is_candidate(v, i))
            set |= 1u << i;
    return set;
}

/* That life can never report again. An uncertain death may prove to be none; a journal on disk
 * comes back with the next life, unless that says that it lacks something. */
static bool is_lost(const struct view *v, const struct message_view *view, uint32_t i)
{
    node_id server = NODE_SERVER(i);

    if (v->options.persistent)
        return in_set(v->election.reports, i) &&
               !election_counts_latest(&v->election, server, view);
    return roster_certainly_dead(v->roster, server, view->members.incarnation[i]);
}

/* Of those whose reports a lack is about, who may still report. */
static uint32_t hopeful_of(const struct view *v, const struct election_lack *lack)
{
    const struct message_view *view = saved_view(v->saved, lack->view);
    uint32_t hopeful = lack->missing | lack->outranks;

    assert(view); /* a lack is always one of a stored view */
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++)
        if (in_set(hopeful, i) && is_lost(v, view, i))
            hopeful &= ~(1u << i);
    return hopeful;
}

/* How many of the missing threw their journals away to join: their reports count with one of who
 * holds what they acknowledged. */
static uint32_t discarded_count(const struct view *v, const struct election_lack *lack)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++)
        if (v->options.persistent && in_set(lack->missing & v->election.reports, i) &&
            v->election.latest[i].discarded_view)
            count++;
    return count;
}

/* Of the set, those who run, as they are linked to us, while no lfd says so: they can be in no
 * view.
 */
static uint32_t unwatched(const struct view *v, uint32_t set)
{
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++) {
        const struct roster_server *s = &v->roster->server[i];

        if (!v->roster->gfd_settled || !s->linked || s->listed ||
            roster_certainly_dead(v->roster, NODE_SERVER(i), s->link_incarnation))
            set &= ~(1u << i);
    }
    return set;
}

static void append(char waits[VIEW_TEXT_SIZE], const char *advice, uint32_t set)
{
    size_t used = strlen(waits);
    char names[ROSTER_NAMES_SIZE];

    if (set)
        (void)snprintf(waits + used, VIEW_TEXT_SIZE - used, "; %s: %s", advice,
                       roster_names(set, names));
}

void plan_advise(const struct view *v, uint32_t set, char waits[VIEW_TEXT_SIZE])
{
    append(waits, "`holdfast start` those that are stopped", set & v->saved->stopped);
    append(waits, "start the lfds that are to watch those that run", unwatched(v, set));
}

/* Says in words why nobody may lead yet. */
static void explain_lack(const struct view *v, const struct election_lack *lack,
                         char waits[VIEW_TEXT_SIZE])
{
    const struct message_view *view = saved_view(v->saved, lack->view);
    uint32_t absent = lack->missing | lack->outranks, hopeful = hopeful_of(v, lack);
    uint32_t count = lack->count, discarded = discarded_count(v, lack);
    char names[ROSTER_NAMES_SIZE], number[16];

    if (hopeful)
        count = count > discarded ? count - discarded : 1;
    /* When all have reported, no more is asked for on account of those that were cut. */
    if (hopeful == absent && lack->cut && count > (uint32_t)__builtin_popcount(absent))
        count = (uint32_t)__builtin_popcount(absent);
    if ((uint32_t)__builtin_popcount(hopeful) < count &&
        in_set(hopeful, node_index(view->primary))) {
        hopeful = 1u << node_index(view->primary); /* its word alone is enough */
        count = 1;
    }
    if ((uint32_t)__builtin_popcount(hopeful) < count && lack->cut) {
        (void)snprintf(
            waits, VIEW_TEXT_SIZE,
            "view %llu: the end of the journal of %s was torn when the power went, and too "
            "few others are left to tell whether it was acknowledged: data may be lost; "
            "bring one back or accept with `holdfast recover --accept-loss`",
            (unsigned long long)lack->view, roster_names(lack->cut, names));
        return;
    }
    if ((uint32_t)__builtin_popcount(hopeful) < count) {
        (void)snprintf(waits, VIEW_TEXT_SIZE,
                       "view %llu: every server that could hold acknowledged writes has lost its "
                       "journal: data would be lost; bring one back or accept with `holdfast "
                       "recover --accept-loss`",
                       (unsigned long long)lack->view);
        return;
    }
    (void)snprintf(number, sizeof number, "%u", count);
    (void)snprintf(waits, VIEW_TEXT_SIZE, "view %llu waits for a report of %s more of: %s",
                   (unsigned long long)v->number, count == 1 ? "one" : number,
                   roster_names(hopeful, names));
    plan_advise(v, hopeful, waits);
}

/* What is lacking for a view while nobody there may lead; a count of 0 where those who have no
 * state answer for it. */
static struct election_lack lack_of(const struct view *v, const struct message_view *view)
{
    struct election_lack lack = { .view = view->number };
    uint32_t needed = members_count(&view->members) - view->acks + 1u, have = 0;

    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++) {
        if (!in_set(view->members.set, i))
            continue;
        if (!election_counts(&v->election, NODE_SERVER(i), view))
            lack.missing |= 1u << i;
        else if (!is_present(v, i))
            lack.outranks |= 1u << i; /* it reported, and died: only it has what it had */
        else
            have++;
    }
    lack.count = needed > have ? needed - have : 0;
    return lack;
}

/* Nobody there is a candidate: what is lacking for the current view. Where those without a state
 * answer for it, it is somebody to lead, who may be of an older view. */
static void explain_nobody(const struct view *v, char waits[VIEW_TEXT_SIZE])
{
    const struct saved *saved = v->saved;
    struct election_lack lack = lack_of(v, saved_current(saved));

    if (lack.count == 0) {
        lack.count = 1;
        for (uint32_t i = saved->view_count - 1; i-- > 0 && !hopeful_of(v, &lack);) {
            struct election_lack older = lack_of(v, &saved->views[i]);

            older.count = 1;
            if (hopeful_of(v, &older))
                lack = older;
        }
    }
    explain_lack(v, &lack, waits);
}

/* Rule 4. Those to be left out may lead when nobody else may: data first. */
static node_id elect(const struct view *v, struct instant now, struct plan *plan,
                     char waits[VIEW_TEXT_SIZE])
{
    uint32_t set = candidates(v), wanted = set & ~excluded(v, now);
    node_id leader = highest_of(v, wanted);
    struct election_lack lack = { 0 };

    if (v->target != NODE_NONE && in_set(wanted, node_index(v->target)) &&
        election_permits(&v->election, v->saved, v->target, NULL))
        return v->target;
    if (leader != NODE_NONE && election_permits(&v->election, v->saved, leader, &lack))
        return leader;
    leader = highest_of(v, set);
    if (leader == NODE_NONE) {
        explain_nobody(v, waits);
    } else if (election_permits(&v->election, v->saved, leader, &lack)) {
        plan->kept = (v->leaving | v->saved->stopped) & 1u << node_index(leader);
        return leader;
    } else {
        explain_lack(v, &lack, waits);
    }
    return NODE_NONE;
}

void plan_say_lacking(const struct view *v, uint32_t set, char waits[VIEW_TEXT_SIZE])
{
    char names[ROSTER_NAMES_SIZE];

    (void)snprintf(waits, VIEW_TEXT_SIZE,
                   "the stored views are %s: the next one waits for an intact report of: %s; "
                   "`holdfast recover --accept-loss` goes on without",
                   saved_current(v->saved) ? "older than the cluster's" : "lost",
                   roster_names(set, names));
}

/* Those who lack nothing that they acknowledged. */
static uint32_t complete_set(const struct view *v)
{
    uint32_t set = 0;

    for (uint32_t i = 0; i < v->options.server_count; i++)
        if (is_present(v, i) && election_holds_all(&v->election.latest[i]))
            set |= 1u << i;
    return set;
}

static bool has_lived(const struct message_report *report)
{
    return report->last_index || report->journal_view || report->discarded_view ||
           report->stateless;
}

/* Without stored views nobody can say who acknowledged what: every server must report, and none may
 * lack anything that the leader lacks, too; or all are empty, and nothing ever was acknowledged. */
static node_id elect_of_all(const struct view *v, struct plan *plan, char waits[VIEW_TEXT_SIZE])
{
    uint32_t all = (1u << v->options.server_count) - 1u, present = present_set(v), sound = 0;
    node_id leader = highest_of(v, complete_set(v));
    char names[ROSTER_NAMES_SIZE];

    plan->all_equal_empty = true;
    for (uint32_t i = 0; i < v->options.server_count; i++) {
        if (!in_set(present, i))
            continue;
        if (has_lived(&v->election.latest[i]))
            plan->all_equal_empty = false;
        if (leader != NODE_NONE &&
            election_vouches(&v->election.latest[i], &v->election.latest[node_index(leader)]))
            sound |= 1u << i;
    }
    if (plan->all_equal_empty) {
        sound = present;
        leader = highest_of(v, present);
    }
    if (sound == all)
        return leader;
    if (plan->all_equal_empty)
        (void)snprintf(waits, VIEW_TEXT_SIZE, "view %llu waits for a report of: %s",
                       (unsigned long long)v->number, roster_names(all & ~sound, names));
    else
        plan_say_lacking(v, all & ~sound, waits);
    plan_advise(v, all & ~sound, waits);
    return NODE_NONE;
}

static node_id elect_by_rule(const struct view *v, struct instant now, struct plan *plan,
                             char waits[VIEW_TEXT_SIZE])
{
    node_id leader;

    switch (plan_rule(v)) {
    case PLAN_ELECTION: return elect(v, now, plan, waits);
    case PLAN_ALL_SERVERS: return elect_of_all(v, plan, waits);
    case PLAN_ACCEPT_LOSS: break;
    }
    leader = highest_of(v, present_set(v));
    if (leader == NODE_NONE)
        (void)snprintf(waits, VIEW_TEXT_SIZE, "view %llu waits for the report of any server",
                       (unsigned long long)v->number);
    return leader;
}

/* Whether a server that reported belongs to the next view under that leader. */
static bool belongs(const struct view *v, struct instant now, const struct plan *plan,
                    node_id leader, uint32_t i)
{
    uint32_t first = node_index(leader);

    if (i == first)
        return true;
    switch (plan_rule(v)) {
    case PLAN_ACCEPT_LOSS: return false;
    case PLAN_ALL_SERVERS:
        return plan->all_equal_empty ||
               (in_set(complete_set(v), i) &&
                v->election.latest[i].journal_view == v->election.latest[first].journal_view);
    case PLAN_ELECTION: break;
    }
    if (in_set(excluded(v, now), i))
        return false;
    if (was_member(v, i))
        return true;
    /* The whole cluster comes back from disk: those who came back with the leader are as it is. A
     * server that restarted alone enters as a joiner. */
    if (!was_member(v, first))
        return is_candidate(v, i) &&
               election_counts(&v->election, NODE_SERVER(i), saved_current(v->saved));
    return was_primary(v, first) && plan_joiner_ready(v, now, NODE_SERVER(i)) &&
           v->caught_up[i] == v->election.latest[i].incarnation;
}

static void take_members(const struct view *v, struct instant now, struct plan *plan,
                         node_id leader)
{
    for (uint32_t i = 0; i < v->options.server_count; i++)
        if (is_present(v, i) && belongs(v, now, plan, leader, i))
            members_put(&plan->view.members, NODE_SERVER(i), v->election.latest[i].incarnation);
}

/* Too few for the policy: others come in before they have caught up. They count only once their
 * journals are consistent, so commits wait for them; without them commits would wait for ever, as
 * nobody can catch up without a primary. Those that are about to be restarted come last: they
 * cannot be ordered to stop before there is a view without them. True when there are such. */
static bool take_more_members(const struct view *v, struct instant now, struct plan *plan)
{
    struct members *m = &plan->view.members;
    uint32_t count = v->options.server_count, before = m->set;

    for (uint32_t n = 0; n < 2 * count; n++) {
        uint32_t i = n % count;

        if (view_policy_acks(&v->saved->wanted, members_count(m)))
            break;
        if (!is_present(v, i) || in_set(m->set | v->saved->stopped, i) || is_paused(v, now, i) ||
            (n < count && in_set(excluded(v, now), i)))
            continue;
        members_put(m, NODE_SERVER(i), v->election.latest[i].incarnation);
        plan->kept |= v->leaving & 1u << i;
    }
    return m->set != before;
}

/* Only the primary can give a state to a member that has none, or one from before the last view
 * known active, or one that lags behind what others keep: such a view is no chain. One taken in for
 * want of others may lack it still when the next view is made; one that was left out for being
 * silent in a chain may be the one that could not be fed there. */
static void choose_propagation(const struct view *v, struct plan *plan, bool more)
{
    const struct view_policy *policy = &v->saved->wanted;
    uint64_t oldest = v->saved->view_count ? v->saved->views[0].number : 1;
    bool star = more || (plan->view.members.set & v->accused);

    for (uint32_t i = 0; i < v->options.server_count; i++)
        if (in_set(plan->view.members.set, i) && v->election.latest[i].journal_view < oldest)
            star = true;
    plan->view.propagation = (uint8_t)policy->propagation;
    if (star && !plan->all_equal_empty)
        plan->view.propagation = PROPAGATION_STAR;
}

bool plan_all_adopted(const struct view *v)
{
    const struct message_view *current = saved_current(v->saved);

    for (uint32_t i = 0; i < v->options.server_count; i++) {
        const struct roster_server *s = &v->roster->server[i];

        if (in_set(current->members.set, i) &&
            (!s->state_known || s->state.incarnation != current->members.incarnation[i] ||
             s->state.journal_view != current->number))
            return false;
    }
    return true;
}

/* An older primary may still be answering reads, unless it is fenced or certainly dead. */
static bool old_primary_may_live(const struct view *v)
{
    if (plan_rule(v) == PLAN_ACCEPT_LOSS)
        return present_set(v) != (1u << v->options.server_count) - 1u;
    if (plan_rule(v) == PLAN_ALL_SERVERS)
        return false; /* all are fenced */
    for (uint32_t n = 0; n < v->saved->view_count; n++) {
        const struct message_view *view = &v->saved->views[n];
        uint32_t i = node_index(view->primary);
        uint64_t incarnation = view->members.incarnation[i];
        bool fenced =
            in_set(v->election.reports, i) && (v->election.report[i].incarnation == incarnation ||
                                               v->election.latest[i].incarnation == incarnation);

        if (!fenced && !roster_certainly_dead(v->roster, view->primary, incarnation))
            return true;
    }
    return false;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint32_t lease_wait_ms(const struct view *v, struct instant now)
{
    uint64_t wait_ms = 0;

    if (!old_primary_may_live(v))
        return 0;
    if (plan_rule(v) == PLAN_ACCEPT_LOSS)
        wait_ms = v->options.lease_ms; /* who granted what is not known */
    for (uint32_t i = 0; i < v->options.server_count; i++)
        if (in_set(v->election.reports, i)) {
            wait_ms = larger(wait_ms, v->election.report[i].lease_left_ms);
            wait_ms = larger(wait_ms, v->election.latest[i].lease_left_ms);
        }
    /* A view that never was active may have been waiting itself. */
    if (!instant_reached(now, v->lease_until))
        wait_ms = larger(wait_ms, instant_since_ms(v->lease_until, now) + 1);
    return (uint32_t)(wait_ms < LEASE_MS_MAX ? wait_ms : LEASE_MS_MAX);
}

/* Those who hold what the leader holds; with journals on disk all that lack nothing: an end may not
 * be saved yet where it was reported, and who has it saved is not known. */
static uint32_t base_set(const struct view *v, node_id leader)
{
    const struct message_report *report = &v->election.latest[node_index(leader)];
    uint32_t set = 0;

    if (v->options.persistent)
        return complete_set(v) | 1u << node_index(leader);
    for (uint32_t i = 0; i < v->options.server_count; i++)
        if (is_present(v, i) && election_compare(&v->election.latest[i], report) == 0)
            set |= 1u << i;
    return set;
}

/* Where the stored views do not tell who acknowledged what, the next view may still come to
 * nothing, and then they must: as if there had been a view, that of the leader's last entry. Any of
 * its members answers for it, or with journals on disk all of them do, or the leader in its present
 * life. */
static void make_base(const struct view *v, struct plan *plan)
{
    const node_id leader = plan->view.primary;
    const uint32_t set = base_set(v, leader);

    plan->base = plan->view;
    plan->base.number = v->election.latest[node_index(leader)].journal_view;
    plan->base.members = (struct members){ 0 };
    for (uint32_t i = 0; i < v->options.server_count; i++)
        if (in_set(set, i))
            members_put(&plan->base.members, NODE_SERVER(i), v->election.latest[i].incarnation);
    plan->base.acks = v->options.persistent ? 1 : (uint8_t)members_count(&plan->base.members);
}

bool plan_make(const struct view *v, struct instant now, struct plan *plan,
               char waits[VIEW_TEXT_SIZE])
{
    const struct view_policy *policy = &v->saved->wanted;
    node_id leader;

    assert(v->fencing);
    *plan = (struct plan){ .view = { .number = v->number } };
    leader = elect_by_rule(v, now, plan, waits);
    if (leader == NODE_NONE)
        return false;
    plan->view.primary = leader;
    plan->view.style = (uint8_t)policy->style;
    take_members(v, now, plan, leader);
    choose_propagation(v, plan, take_more_members(v, now, plan));
    plan->view.acks = (uint8_t)view_policy_acks(policy, members_count(&plan->view.members));
    plan->view.lease_wait_ms = lease_wait_ms(v, now);
    if (plan_rule(v) == PLAN_ELECTION)
        plan->void_above = v->election.latest[node_index(leader)].journal_view;
    else
        make_base(v, plan);
    if (plan->view.acks)
        return true;
    (void)snprintf(
        waits, VIEW_TEXT_SIZE, "view %llu waits for more servers: %u cannot meet acks = %u",
        (unsigned long long)v->number, members_count(&plan->view.members), policy->acks_count);
    return false;
}
