#include "rm/view.h"

#include <assert.h>
#include <stdio.h>

#include "rm/plan.h"

static bool in(uint32_t set, uint32_t i)
{
    return set >> i & 1u;
}

static const struct message_view *current_of(const struct view *v)
{
    return saved_current(v->saved);
}

void view_init(struct view *v, const struct view_options *options, struct saved *saved,
               const struct roster *roster, struct instant now)
{
    const struct message_view *current = saved_current(saved);

    assert(options->server_count >= 1 && options->server_count <= SERVER_COUNT_MAX);
    *v = (struct view){
        .options = *options,
        .saved = saved,
        .roster = roster,
        .started_at = now,
        .issued_at = now,
        .lease_until = now,
        .number = current ? current->number : 0,
        .number_max = current ? current->number : 0,
        .enough_at = INSTANT_NEVER,
        .fence_again = INSTANT_NEVER,
        .look_at = now,
    };
    election_init(&v->election, options->persistent);
    /* How long ago the views were issued is forgotten: as if it had been just now. */
    for (uint32_t i = 0; i < saved->view_count; i++)
        v->lease_until =
            instant_max(v->lease_until, instant_add_ms(now, saved->views[i].lease_wait_ms));
    view_check(v);
}

/* Says what is being waited for, once per change; what is over soon is not worth a word. */
static void say_waits(struct view *v, struct instant now, const char *waits, struct effects *out)
{
    struct instant from = v->fencing ? instant_add_ms(v->began_at, REPORT_WAIT_MS)
                                     : instant_add_ms(v->started_at, LINK_WAIT_MS);

    if (waits[0] && !instant_reached(now, from))
        return;
    if (strcmp(v->waits, waits) == 0)
        return;
    (void)snprintf(v->waits, sizeof v->waits, "%s", waits);
    if (waits[0])
        effects_note_at(out, NOTE_WARN, "%s", waits);
}

/* ------------------------------------------------------------------ fencing */

static void send_fence(const struct view *v, uint32_t i, struct effects *out)
{
    effects_send(out, NODE_SERVER(i),
                 (struct message){ .type = MESSAGE_FENCE, .fence = { .number = v->number } });
}

static bool has_reported(const struct view *v, uint32_t i)
{
    return in(v->election.reports, i) &&
           v->election.latest[i].incarnation == v->roster->server[i].link_incarnation;
}

/* Everybody linked is fenced, joiners too: whoever reports may be needed, and all get the view. */
static void send_fences(struct view *v, struct instant now, const char *reason, struct effects *out)
{
    char names[ROSTER_NAMES_SIZE];
    uint32_t to = 0;

    for (uint32_t i = 0; i < v->options.server_count; i++) {
        if (!v->roster->server[i].linked || has_reported(v, i))
            continue;
        to |= 1u << i;
        send_fence(v, i, out);
    }
    v->fence_again = instant_add_ms(now, FENCE_AGAIN_MS);
    if (reason)
        effects_note(out, "fence %llu sent to %s (%s)", (unsigned long long)v->number,
                     roster_names(to, names), reason);
}

static uint64_t largest(uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t ab = a > b ? a : b;

    return ab > c ? ab : c;
}

/* Begins a change, or begins it anew above a number promised to somebody else: an rm before us. */
static void begin_change(struct view *v, struct instant now, const char *reason,
                         struct effects *out)
{
    v->number = largest(v->number_max, v->roster->promised_max, v->roster->view_max) + 1;
    assert(v->number <= VIEW_NUMBER_MAX);
    v->number_max = v->number;
    v->fencing = true;
    v->began_at = now;
    v->enough_at = INSTANT_NEVER;
    v->accusers = 0;
    v->accused_by_primary = 0;
    election_init(&v->election, v->options.persistent);
    say_waits(v, now, "", out);
    send_fences(v, now, reason, out);
}

/* ------------------------------------------------------------------ why a change is needed */

static bool is_member_alive(const struct view *v, uint32_t i)
{
    const struct message_view *current = current_of(v);

    return in(current->members.set, i) &&
           roster_alive(v->roster, NODE_SERVER(i), current->members.incarnation[i]);
}

static bool member_died(const struct view *v, char reason[VIEW_TEXT_SIZE])
{
    const struct message_view *current = current_of(v);

    for (uint32_t i = 0; i < v->options.server_count; i++) {
        const struct roster_server *s = &v->roster->server[i];
        uint64_t incarnation = current->members.incarnation[i];

        if (!in(current->members.set, i) || !roster_dead(v->roster, NODE_SERVER(i), incarnation))
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

/* All members can be fenced; but those who do not come back are not waited for for ever. */
static bool members_are_here(const struct view *v, struct instant now)
{
    const struct message_view *current = current_of(v);

    if (instant_reached(now, instant_add_ms(v->started_at, LINK_WAIT_MS)))
        return true;
    for (uint32_t i = 0; i < v->options.server_count; i++)
        if (in(current->members.set, i) &&
            !roster_alive(v->roster, NODE_SERVER(i), current->members.incarnation[i]))
            return false;
    return true;
}

/* What is left of the view without these servers would still be one. */
static bool can_be_without(const struct view *v, uint32_t without)
{
    const struct message_view *current = current_of(v);
    uint32_t left = 0;

    for (uint32_t i = 0; i < v->options.server_count; i++)
        if (in(current->members.set & ~without, i) &&
            roster_alive(v->roster, NODE_SERVER(i), current->members.incarnation[i]))
            left++;
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

    if (!members_are_here(v, now))
        return false;
    if (leaving && can_be_without(v, leaving)) {
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

/* Without stored views to go by, nobody is fenced before all servers are there and can say what
 * they acknowledged: those that serve a view of which we know nothing may go on meanwhile, and
 * would stand still for as long as one cannot. */
static uint32_t servers_missing(const struct view *v, bool *lacking)
{
    uint32_t missing = 0, unsound = 0;
    bool empty = true;

    for (uint32_t i = 0; i < v->options.server_count; i++) {
        const struct roster_server *s = &v->roster->server[i];

        if (!s->linked || !s->state_known || s->listed != s->link_incarnation)
            missing |= 1u << i;
        else if (!s->state.intact)
            unsound |= 1u << i;
        if (s->state_known && (s->state.journal_view || s->state.journal_index))
            empty = false;
    }
    /* One that was ordered to stop may be on its way out: a view of it would wait for the dead. */
    missing |= v->leaving | v->saved->stopped;
    *lacking = !missing && !empty && unsound;
    return *lacking ? unsound : missing;
}

static bool all_servers_are_here(struct view *v, struct instant now, struct effects *out)
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
    say_waits(v, now, waits, out);
    return false;
}

static bool needs_change(struct view *v, struct instant now, char reason[VIEW_TEXT_SIZE],
                         struct effects *out)
{
    const struct message_view *current = current_of(v);

    if (v->accept_loss || plan_rule(v) == PLAN_ALL_SERVERS) {
        (void)snprintf(reason, VIEW_TEXT_SIZE, "%s",
                       v->accept_loss ? "the operator accepts the loss" : "no view yet");
        return v->accept_loss || all_servers_are_here(v, now, out);
    }
    say_waits(v, now, "", out);
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

/* ------------------------------------------------------------------ waiting for reports */

/* Until when the report of a server that may be alive is worth waiting for, once there are enough.
 */
static struct instant awaited_until(const struct view *v, uint32_t i)
{
    const struct message_view *current = current_of(v);
    const struct roster_server *s = &v->roster->server[i];
    struct instant soon = instant_add_ms(v->enough_at, REPORT_WAIT_MS);
    struct instant never = { 0 };

    if (has_reported(v, i) && s->linked)
        return never;
    if (plan_rule(v) != PLAN_ELECTION)
        return s->linked ? soon : never;
    if (s->linked && (in(current->members.set, i) || v->caught_up[i] == s->link_incarnation))
        return roster_alive(v->roster, NODE_SERVER(i), s->link_incarnation) ? soon : never;
    if (s->linked || !in(current->members.set, i) ||
        roster_dead(v->roster, NODE_SERVER(i), current->members.incarnation[i]))
        return never;
    /* A member that is not linked: after our own start it is about to be. */
    return instant_max(s->listed ? soon : never, instant_add_ms(v->started_at, LINK_WAIT_MS));
}

static struct instant all_awaited_until(const struct view *v)
{
    struct instant until = { 0 };

    for (uint32_t i = 0; i < v->options.server_count; i++)
        until = instant_max(until, awaited_until(v, i));
    return until;
}

/* ------------------------------------------------------------------ issuing */

/* Drops what no election needs any more. Stored views above void_above never were active, and never
 * will be: enough of their members are fenced without having adopted them. */
static void keep_history(struct saved *saved, uint64_t void_above)
{
    while (saved->view_count && saved->views[saved->view_count - 1].number > void_above)
        saved->view_count--;
}

static void send_view(const struct view *v, uint32_t i, struct effects *out)
{
    effects_send(out, NODE_SERVER(i),
                 (struct message){ .type = MESSAGE_VIEW, .view = *current_of(v) });
}

static void settle_switchover(struct view *v, const struct message_view *next, struct effects *out)
{
    if (v->target == NODE_NONE)
        return;
    v->refusal[0] = '\0';
    if (next->primary != v->target) {
        (void)snprintf(v->refusal, sizeof v->refusal,
                       "%s could not take over: %s holds entries that it lacks, or it did not "
                       "report in time; try again",
                       node_name(v->target), node_name(next->primary));
        effects_note_at(out, NOTE_WARN, "switchover refused: %s", v->refusal);
    }
    v->target = NODE_NONE;
}

static void note_view(const struct message_view *view, struct effects *out)
{
    char names[ROSTER_NAMES_SIZE], lease[48] = "";

    (void)roster_names(view->members.set, names);
    if (view->lease_wait_ms)
        (void)snprintf(lease, sizeof lease, ", waits %u ms for a lease", view->lease_wait_ms);
    effects_note(out, "view %llu sent: primary %s, members %s, acks %u, %s%s",
                 (unsigned long long)view->number, node_name(view->primary), names, view->acks,
                 style_name(view->style), lease);
    effects_note(out, "%u member%s: %s; view %llu, primary %s", members_count(&view->members),
                 members_count(&view->members) == 1 ? "" : "s", names,
                 (unsigned long long)view->number, node_name(view->primary));
}

static void forget_change(struct view *v, struct instant now, const struct plan *plan)
{
    v->fencing = false;
    v->enough_at = INSTANT_NEVER;
    v->fence_again = INSTANT_NEVER;
    v->active = false;
    v->issued_at = now;
    v->first_index =
        v->election.latest[node_index(plan->view.primary)].last_index + 1; /* it appends one */
    v->accept_loss = false;
    v->kept = plan->kept;
    memset(v->caught_up, 0, sizeof v->caught_up);
    memset(v->donation, 0, sizeof v->donation);
    v->accused = 0;
}

static void issue(struct view *v, struct instant now, const struct plan *plan, struct effects *out)
{
    struct saved *saved = v->saved;

    assert(plan->view.number == v->number && v->number == v->number_max);
    assert(plan->view.acks >= 1 && plan->view.acks <= members_count(&plan->view.members));
    keep_history(saved, plan->void_above);
    if (plan->base.number)
        saved->views[saved->view_count++] = plan->base;
    assert(saved->view_count < SAVED_VIEWS_MAX);
    saved->views[saved->view_count++] = plan->view;
    saved_store(saved, out);
    effects_note(out, "view %llu stored", (unsigned long long)plan->view.number);
    for (uint32_t i = 0; i < v->options.server_count; i++)
        if (v->roster->server[i].linked)
            send_view(v, i, out);
    note_view(&plan->view, out);
    say_waits(v, now, "", out);
    settle_switchover(v, &plan->view, out);
    forget_change(v, now, plan);
    v->lease_until = instant_max(v->lease_until, instant_add_ms(now, plan->view.lease_wait_ms));
}

/* The history holds at most one view that each server adopted and left without seeing it active, so
 * it fills up only when primaries die in a row, each before its first commit. */
static bool history_has_room(const struct view *v, const struct plan *plan)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < v->saved->view_count; i++)
        kept += v->saved->views[i].number <= plan->void_above;
    return kept < SAVED_VIEWS_MAX;
}

/* Issues the view when there is enough to go by. */
static bool conclude(struct view *v, struct instant now, struct effects *out)
{
    char waits[VIEW_TEXT_SIZE] = "";
    struct plan plan;
    bool made = plan_make(v, now, &plan, waits);

    if (!made && plan.view.primary == NODE_NONE) {
        v->enough_at = INSTANT_NEVER;
        say_waits(v, now, waits, out);
        return false;
    }
    if (v->enough_at.ns == INSTANT_NEVER.ns)
        v->enough_at = now;
    if (!instant_reached(now, all_awaited_until(v)))
        return false;
    if (made && !history_has_room(v, &plan)) {
        made = false;
        (void)snprintf(waits, sizeof waits,
                       "%u views were issued and none became active: look after the servers, then "
                       "`holdfast recover --accept-loss`",
                       v->saved->view_count);
    }
    if (made)
        issue(v, now, &plan, out);
    else
        say_waits(v, now, waits, out);
    return made;
}

/* ------------------------------------------------------------------ accusations */

/* All other members accuse it, and there are at least two: it is not one of them who is cut off. */
static bool all_accuse_primary(const struct view *v)
{
    const struct message_view *current = current_of(v);
    uint32_t others = current->members.set & ~(1u << node_index(current->primary));

    return __builtin_popcount(others) > 1 && (v->accusers & others) == others;
}

/* The accused stay out for a while, so that a link that comes and goes does not make a view each
 * time. */
static void become_accused(struct view *v, struct instant now, uint32_t set)
{
    v->accused = set;
    v->accusers = 0;
    v->accused_by_primary = 0;
    for (uint32_t i = 0; i < v->options.server_count; i++) {
        struct view_pause *p = &v->pause[i];

        if (!in(set, i))
            continue;
        if (p->pause_ms == 0 || instant_since_ms(now, p->accused_at) >= ACCUSE_HEALTH_MS)
            p->pause_ms = ACCUSE_PAUSE_MS_MIN;
        else
            p->pause_ms =
                p->pause_ms * 2 < ACCUSE_PAUSE_MS_MAX ? p->pause_ms * 2 : ACCUSE_PAUSE_MS_MAX;
        p->accused_at = now;
        p->until = instant_add_ms(now, p->pause_ms);
    }
}

/* Two members cannot reach each other, one of them the primary. The others' word is waited for, as
 * it tells whose side is cut off. Ours counts, too: have we lost the primary, it is the one; but
 * not before it had the time to dial us after our own start. */
static void decide_accusation(struct view *v, struct instant now)
{
    const struct message_view *current = current_of(v);
    uint32_t primary;

    if (v->fencing || !(v->accusers | v->accused_by_primary))
        return;
    primary = node_index(current->primary);
    if (all_accuse_primary(v)) {
        become_accused(v, now, 1u << primary);
    } else if (v->accusers && !is_member_alive(v, primary)) {
        if (members_are_here(v, now))
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

    if (v->accused || !can_be_without(v, set))
        return;
    /* The last view was to be without it, and could not: it holds what nobody else does. */
    if (!instant_reached(now, v->pause[node_index(from)].until))
        return;
    effects_note_at(out, NOTE_WARN, "%s wants to leave: %s", node_name(from), cause);
    (void)snprintf(v->accusation, sizeof v->accusation, "%s leaves: %s", node_name(from), cause);
    become_accused(v, now, set);
}

static void hear_accuse(struct view *v, struct instant now, node_id from,
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

/* ------------------------------------------------------------------ joiners and donors */

static bool is_primary(const struct view *v, node_id from)
{
    const struct message_view *current = current_of(v);

    return current && from == current->primary &&
           members_has(&current->members, from,
                       v->roster->server[node_index(from)].link_incarnation);
}

static void hear_caught_up(struct view *v, node_id from, const struct message_caught_up *m,
                           struct effects *out)
{
    uint32_t i;

    if (!is_primary(v, from) || m->number != current_of(v)->number ||
        !roster_is_server(v->roster, m->joiner))
        return;
    i = node_index(m->joiner);
    if (in(current_of(v)->members.set, i) || m->incarnation == 0)
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

static void hear_donor_wanted(struct view *v, struct instant now, node_id from,
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

/* ------------------------------------------------------------------ what servers say */

/* Nothing before an active view can matter again: whoever is to lead after it must be intact for
 * it. */
static void become_active(struct view *v, uint64_t number, struct effects *out)
{
    struct saved *saved = v->saved;
    uint32_t i = 0;

    while (i < saved->view_count && saved->views[i].number != number)
        i++;
    if (i == saved->view_count || (v->active && number == current_of(v)->number))
        return;
    if (i + 1 == saved->view_count)
        v->active = true;
    saved->view_count -= i;
    memmove(saved->views, saved->views + i, saved->view_count * sizeof saved->views[0]);
    effects_note(out, "view %llu active", (unsigned long long)number);
}

static const struct message_view *stored_view(const struct view *v, uint64_t number)
{
    for (uint32_t i = 0; i < v->saved->view_count; i++)
        if (v->saved->views[i].number == number)
            return &v->saved->views[i];
    return NULL;
}

static void hear_active(struct view *v, node_id from, uint64_t number, struct effects *out)
{
    const struct message_view *view = stored_view(v, number);

    if (view && from == view->primary &&
        members_has(&view->members, from, v->roster->server[node_index(from)].link_incarnation))
        become_active(v, number, out);
}

/* The first entry of the view is committed: known where it is, or because all there is, is. */
static bool shows_active(const struct view *v, const struct message_state *m)
{
    if (v->first_index)
        return m->commit_index >= v->first_index;
    return m->journal_view == m->view && m->commit_index == m->journal_index;
}

static void hear_state(struct view *v, node_id from, const struct message_state *m,
                       struct effects *out)
{
    const struct message_view *current = current_of(v);

    if (!current || plan_store_outdated(v) ||
        m->incarnation != v->roster->server[node_index(from)].link_incarnation)
        return;
    /* It missed the view, or we ended between storing and sending it. */
    if (!v->fencing && m->view < current->number)
        send_view(v, node_index(from), out);
    /* Its word that the view is active may have been lost with a link. */
    if (is_primary(v, from) && m->view == current->number && m->role == ROLE_PRIMARY &&
        shows_active(v, m))
        become_active(v, current->number, out);
}

static void hear_report(struct view *v, node_id from, const struct message_report *m)
{
    const struct roster_server *s = &v->roster->server[node_index(from)];

    if (v->fencing && m->number == v->number && s->linked &&
        m->incarnation == s->link_incarnation && m->journal_view < m->number)
        election_add(&v->election, v->saved, from, m);
}

/* ------------------------------------------------------------------ going on */

static void look_later(struct view *v, struct instant now, struct instant when)
{
    if (!instant_reached(now, when))
        v->look_at = instant_min(v->look_at, when);
}

/* All the instants at which time alone may allow what was not possible now. */
static void set_look_at(struct view *v, struct instant now)
{
    v->look_at = INSTANT_NEVER;
    look_later(v, now, instant_add_ms(v->started_at, LINK_WAIT_MS));
    look_later(v, now, instant_add_ms(v->issued_at, VIEW_SETTLE_MS));
    if (v->fencing) {
        look_later(v, now, v->fence_again);
        look_later(v, now, instant_add_ms(v->began_at, REPORT_WAIT_MS));
        if (v->enough_at.ns != INSTANT_NEVER.ns)
            look_later(v, now, all_awaited_until(v));
    }
    if (v->accusers | v->accused_by_primary)
        look_later(v, now, v->accused_until);
    for (uint32_t i = 0; i < v->options.server_count; i++)
        if (v->pause[i].pause_ms)
            look_later(v, now, v->pause[i].until);
}

static void keep_target(struct view *v, struct effects *out)
{
    if (v->target == NODE_NONE || v->fencing || is_member_alive(v, node_index(v->target)))
        return;
    (void)snprintf(v->refusal, sizeof v->refusal, "%s is no member of the view any more",
                   node_name(v->target));
    effects_note_at(out, NOTE_WARN, "switchover refused: %s", v->refusal);
    v->target = NODE_NONE;
}

/* The store proved to be an old one after servers were fenced by it: they did not promise, as they
 * are in a later view, and serve it. That is not ended before all are here. */
static void stand_back(struct view *v, struct effects *out)
{
    v->fencing = false;
    v->enough_at = INSTANT_NEVER;
    v->fence_again = INSTANT_NEVER;
    effects_note_at(out, NOTE_WARN, "fence %llu is taken back: view %llu exists",
                    (unsigned long long)v->number, (unsigned long long)v->roster->view_max);
}

/* Somebody knows a number above that of the change under way. */
static void go_above(struct view *v, struct instant now, struct effects *out)
{
    if (v->roster->view_max >= v->number && plan_rule(v) == PLAN_ALL_SERVERS &&
        !all_servers_are_here(v, now, out))
        stand_back(v, out);
    else
        begin_change(v, now, "a higher number was promised", out);
}

/* Does what follows from all that is known now. A new view may call for another at once, a number
 * that turned out to be promised already for a new round. */
static void go_on(struct view *v, struct instant now, struct effects *out)
{
    char reason[VIEW_TEXT_SIZE];

    decide_accusation(v, now);
    keep_target(v, out);
    if (v->fencing && (v->roster->promised_max > v->number || v->roster->view_max >= v->number))
        go_above(v, now, out);
    else if (!v->fencing && needs_change(v, now, reason, out))
        begin_change(v, now, reason, out);
    if (v->fencing && instant_reached(now, v->fence_again))
        send_fences(v, now, NULL, out);
    if (v->fencing && conclude(v, now, out))
        v->look_at = now; /* the new view may call for another */
    else
        set_look_at(v, now);
    view_check(v);
}

void view_receive(struct view *v, struct instant now, const struct message *message,
                  struct effects *out)
{
    node_id from = message->from;

    if (roster_is_server(v->roster, from)) {
        switch (message->type) {
        case MESSAGE_LINK_UP:
            if (v->fencing)
                send_fence(v, node_index(from), out);
            break;
        case MESSAGE_STATE: hear_state(v, from, &message->state, out); break;
        case MESSAGE_REPORT: hear_report(v, from, &message->report); break;
        case MESSAGE_ACTIVE: hear_active(v, from, message->active.number, out); break;
        case MESSAGE_CAUGHT_UP: hear_caught_up(v, from, &message->caught_up, out); break;
        case MESSAGE_ACCUSE: hear_accuse(v, now, from, &message->accuse, out); break;
        case MESSAGE_DONOR_WANTED:
            hear_donor_wanted(v, now, from, &message->donor_wanted, out);
            break;
        default: break;
        }
    }
    go_on(v, now, out);
}

void view_tick(struct view *v, struct instant now, struct effects *out)
{
    go_on(v, now, out);
}

struct instant view_deadline(const struct view *v)
{
    return v->look_at;
}

bool view_settled(const struct view *v, struct instant now)
{
    return current_of(v) && !v->fencing &&
           (v->active || instant_reached(now, instant_add_ms(v->issued_at, VIEW_SETTLE_MS)));
}

/* ------------------------------------------------------------------ the operator */

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

void view_style(struct view *v, enum style style)
{
    v->saved->wanted.style = style;
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
    if (!current || !in(current->members.set, i) || can_be_without(v, 1u << i))
        return NULL;
    return effects_text(out,
                        "view %llu cannot be without %s: members left alive must be at least "
                        "one, and enough for acks",
                        (unsigned long long)current->number, node_name(server));
}

void view_leave(struct view *v, node_id server)
{
    v->leaving |= 1u << node_index(server);
    v->kept &= ~(1u << node_index(server));
}

void view_stay(struct view *v, node_id server)
{
    v->leaving &= ~(1u << node_index(server));
    v->kept &= ~(1u << node_index(server));
}

void view_check(const struct view *v)
{
    const struct message_view *current = current_of(v);

    saved_check(v->saved);
    assert(!current || v->number_max >= current->number);
    assert(v->number <= v->number_max);
    assert(!v->fencing || !current || v->number > current->number);
    assert(v->fencing || !v->active || v->saved->view_count == 1);
    assert(v->target == NODE_NONE || roster_is_server(v->roster, v->target));
    assert((v->accused | v->leaving) >> v->options.server_count == 0);
}
