#include <assert.h>
#include <stdio.h>

#include "rm/plan.h"
#include "rm/view_parts.h"

void change_say_waits(struct view *v, struct instant now, const char *waits, struct effects *out)
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

void change_send_fence(const struct view *v, uint32_t i, struct effects *out)
{
    effects_send(out, NODE_SERVER(i),
                 (struct message){ .type = MESSAGE_FENCE, .fence = { .number = v->number } });
}

static bool has_reported(const struct view *v, uint32_t i)
{
    return in_set(v->election.reports, i) && !in_set(v->stale, i) &&
           v->election.latest[i].incarnation == v->roster->server[i].link_incarnation;
}

/* Everybody linked is fenced, joiners too: whoever reports may be needed, and all get the view. */
void change_send_fences(struct view *v, struct instant now, const char *reason, struct effects *out)
{
    char names[ROSTER_NAMES_SIZE];
    uint32_t to = 0;

    for (uint32_t i = 0; i < v->options.server_count; i++) {
        if (!v->roster->server[i].linked || has_reported(v, i))
            continue;
        to |= 1u << i;
        change_send_fence(v, i, out);
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

void change_begin(struct view *v, struct instant now, const char *reason, struct effects *out)
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
    v->stale = v->asked = 0;
    change_say_waits(v, now, "", out);
    change_send_fences(v, now, reason, out);
}

static void end_change(struct view *v)
{
    v->fencing = false;
    v->enough_at = INSTANT_NEVER;
    v->fence_again = INSTANT_NEVER;
}

/* The store proved to be an old one after servers were fenced by it: they did not promise, as they
 * are in a later view, and serve it. That is not ended before all are here. */
void change_stand_back(struct view *v, struct effects *out)
{
    end_change(v);
    effects_note_at(out, NOTE_WARN, "fence %llu is taken back: view %llu exists",
                    (unsigned long long)v->number, (unsigned long long)v->roster->view_max);
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
    if (s->linked && (in_set(current->members.set, i) || v->caught_up[i] == s->link_incarnation))
        return roster_alive(v->roster, NODE_SERVER(i), s->link_incarnation) ? soon : never;
    if (s->linked || !in_set(current->members.set, i) ||
        roster_dead(v->roster, NODE_SERVER(i), current->members.incarnation[i]))
        return never;
    /* A member that is not linked: after our own start it is about to be. */
    return instant_max(s->listed ? soon : never, instant_add_ms(v->started_at, LINK_WAIT_MS));
}

struct instant change_awaited_until(const struct view *v)
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

void change_send_view(const struct view *v, uint32_t i, struct effects *out)
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

/* Who had caught up and did not report in time would be about to be taken in again at once, and
 * each time everybody would wait for it: on a slow link to us, say, that is as fast as ever. */
static void pause_silent_joiners(struct view *v, struct instant now, const struct plan *plan)
{
    for (uint32_t i = 0; i < v->options.server_count; i++)
        if (v->caught_up[i] && !in_set(plan->view.members.set, i) && !has_reported(v, i))
            accusations_pause(v, now, i);
}

static void forget_change(struct view *v, struct instant now, const struct plan *plan)
{
    end_change(v);
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
            change_send_view(v, i, out);
    note_view(&plan->view, out);
    change_say_waits(v, now, "", out);
    settle_switchover(v, &plan->view, out);
    pause_silent_joiners(v, now, plan);
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

bool change_conclude(struct view *v, struct instant now, struct effects *out)
{
    char waits[VIEW_TEXT_SIZE] = "";
    struct plan plan;
    bool made = plan_make(v, now, &plan, waits);

    if (!made && plan.view.primary == NODE_NONE) {
        v->enough_at = INSTANT_NEVER;
        change_say_waits(v, now, waits, out);
        return false;
    }
    if (v->enough_at.ns == INSTANT_NEVER.ns)
        v->enough_at = now;
    if (!instant_reached(now, change_awaited_until(v)))
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
        change_say_waits(v, now, waits, out);
    return made;
}
