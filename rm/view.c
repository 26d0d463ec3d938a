#include <assert.h>
#include <stdio.h>

#include "rm/plan.h"
#include "rm/view_parts.h"

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

/* ------------------------------------------------------------------ what servers say */

/* Nothing before an active view can matter again: whoever is to lead after it must be intact for
 * it. */
static void become_active(struct view *v, const struct message_view *view, struct effects *out)
{
    struct saved *saved = v->saved;

    if (view == current_of(v)) {
        if (v->active)
            return;
        v->active = true;
    }
    saved->view_count -= (uint32_t)(view - saved->views);
    memmove(saved->views, view, saved->view_count * sizeof saved->views[0]);
    effects_note(out, "view %llu active", (unsigned long long)saved->views[0].number);
}

static void hear_active(struct view *v, node_id from, uint64_t number, struct effects *out)
{
    const struct message_view *view = saved_view(v->saved, number);

    if (view && from == view->primary &&
        members_has(&view->members, from, v->roster->server[node_index(from)].link_incarnation))
        become_active(v, view, out);
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
        change_send_view(v, node_index(from), out);
    /* Its word that the view is active may have been lost with a link. */
    if (is_primary(v, from) && m->view == current->number && m->role == ROLE_PRIMARY &&
        shows_active(v, m))
        become_active(v, current, out);
}

static void hear_report(struct view *v, node_id from, const struct message_report *m)
{
    const struct roster_server *s = &v->roster->server[node_index(from)];

    if (!v->fencing || m->number != v->number || !s->linked ||
        m->incarnation != s->link_incarnation || m->journal_view >= m->number)
        return;
    election_add(&v->election, v->saved, from, m);
    v->stale &= ~(1u << node_index(from));
}

/* Who reported, and was taken for dead since, may be so: that it is listed again can be news of an
 * hour that is past, and the news of its end may be next. A view of it alone could never be left.
 * So it has to report once more. */
static void doubt_reports(struct view *v, struct effects *out)
{
    for (uint32_t i = 0; i < v->options.server_count; i++) {
        uint32_t bit = 1u << i;

        if (!(v->election.reports & bit))
            continue;
        if (!roster_alive(v->roster, NODE_SERVER(i), v->election.latest[i].incarnation)) {
            v->stale |= bit;
            v->asked &= ~bit;
        } else if (v->stale & ~v->asked & bit) {
            v->asked |= bit;
            change_send_fence(v, i, out);
        }
    }
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
            look_later(v, now, change_awaited_until(v));
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

/* Somebody knows a number above that of the change under way. */
static void go_above(struct view *v, struct instant now, struct effects *out)
{
    if (v->roster->view_max >= v->number && plan_rule(v) == PLAN_ALL_SERVERS &&
        !reasons_all_servers_here(v, now, out))
        change_stand_back(v, out);
    else
        change_begin(v, now, "a higher number was promised", out);
}

/* Does what follows from all that is known now. A new view may call for another at once, a number
 * that turned out to be promised already for a new round. */
static void go_on(struct view *v, struct instant now, struct effects *out)
{
    char reason[VIEW_TEXT_SIZE];

    accusations_decide(v, now);
    keep_target(v, out);
    if (v->fencing && (v->roster->promised_max > v->number || v->roster->view_max >= v->number))
        go_above(v, now, out);
    else if (!v->fencing && reasons_for_change(v, now, reason, out))
        change_begin(v, now, reason, out);
    if (v->fencing)
        doubt_reports(v, out);
    if (v->fencing && instant_reached(now, v->fence_again))
        change_send_fences(v, now, NULL, out);
    if (v->fencing && change_conclude(v, now, out))
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
                change_send_fence(v, node_index(from), out);
            break;
        case MESSAGE_STATE: hear_state(v, from, &message->state, out); break;
        case MESSAGE_REPORT: hear_report(v, from, &message->report); break;
        case MESSAGE_ACTIVE: hear_active(v, from, message->active.number, out); break;
        case MESSAGE_CAUGHT_UP: donations_caught_up(v, from, &message->caught_up, out); break;
        case MESSAGE_ACCUSE: accusations_hear(v, now, from, &message->accuse, out); break;
        case MESSAGE_DONOR_WANTED:
            donations_wanted(v, now, from, &message->donor_wanted, out);
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
