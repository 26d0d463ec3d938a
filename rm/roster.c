#include "rm/roster.h"

#include <assert.h>
#include <stdio.h>

#include "common/core.h"
#include "rm/saved.h"

void roster_init(struct roster *r, uint32_t server_count, uint32_t host_count, uint32_t grace_ms)
{
    assert(server_count >= 1 && server_count <= SERVER_COUNT_MAX);
    assert(host_count >= 1 && host_count <= HOST_COUNT_MAX);
    *r = (struct roster){
        .server_count = server_count,
        .host_count = host_count,
        .grace_ms = grace_ms,
    };
}

bool roster_is_server(const struct roster *r, node_id node)
{
    return node_is_server(node) && node_index(node) < r->server_count;
}

const char *roster_names(uint32_t set, char text[ROSTER_NAMES_SIZE])
{
    size_t used = 0;

    (void)snprintf(text, ROSTER_NAMES_SIZE, "none");
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++)
        if (in_set(set, i))
            used += (size_t)snprintf(text + used, ROSTER_NAMES_SIZE - used, "%s%s",
                                     used ? ", " : "", node_name(NODE_SERVER(i)));
    assert(used < ROSTER_NAMES_SIZE);
    return text;
}

static struct roster_server *server_of(struct roster *r, node_id server)
{
    assert(roster_is_server(r, server));
    return &r->server[node_index(server)];
}

static uint32_t listed_set(const struct roster *r)
{
    uint32_t set = 0;

    for (uint32_t i = 0; i < r->server_count; i++)
        if (r->server[i].listed)
            set |= 1u << i;
    return set;
}

/* An uncertain death: the server may be running, where nobody can see it. */
static void lose(struct roster_server *s)
{
    s->gone = s->listed;
    s->gone_certain = false;
    s->listed = 0;
    s->unwatched = false;
}

static void delete_listed(struct roster_server *s, const struct message_membership *m)
{
    s->gone = m->incarnation;
    s->gone_certain = m->certain != 0;
    (void)snprintf(s->last_exit, sizeof s->last_exit, "%s", m->cause);
    if (s->listed == m->incarnation) {
        s->listed = 0;
        s->unwatched = false;
        s->pid = 0;
    }
}

static void list(struct roster_server *s, uint64_t incarnation, bool unwatched)
{
    if (s->gone == incarnation)
        s->gone = 0; /* it was not dead after all */
    s->listed = incarnation;
    s->unwatched = unwatched;
    s->confirmed = true;
}

static void note_membership(const struct roster *r, const struct message_membership *m,
                            struct effects *out)
{
    static const char *const words[] = { "", "add ", "delete ", "unwatched " };
    char names[ROSTER_NAMES_SIZE];
    uint32_t set = listed_set(r);
    bool named =
        roster_is_server(r, m->changed) && m->change >= CHANGE_ADD && m->change <= CHANGE_UNWATCHED;

    effects_note(
        out, "membership %llu: %d member%s: %s%s%s%s%s%s%s", (unsigned long long)m->version,
        __builtin_popcount(set), __builtin_popcount(set) == 1 ? "" : "s", roster_names(set, names),
        named ? " (" : "", named ? words[m->change] : "", named ? node_name(m->changed) : "",
        named && m->cause[0] ? ": " : "", named ? m->cause : "", named ? ")" : "");
}

static void hear_membership(struct roster *r, struct instant now,
                            const struct message_membership *m, struct effects *out)
{
    bool named = roster_is_server(r, m->changed);

    if (named && m->change == CHANGE_DELETE)
        delete_listed(server_of(r, m->changed), m);
    for (uint32_t i = 0; i < r->server_count; i++) {
        struct roster_server *s = &r->server[i];

        if (in_set(m->members.set, i))
            list(s, m->members.incarnation[i], in_set(m->unwatched, i));
        else if (s->listed && r->gfd_settled)
            lose(s);
    }
    if (named && m->change == CHANGE_ADD && m->pid)
        server_of(r, m->changed)->pid = m->pid;
    if (!r->gfd_listed)
        r->gfd_since = now; /* it could not be heard before */
    r->gfd_listed = true;
    r->version = m->version;
    note_membership(r, m, out);
}

static void hear_host(struct roster *r, struct instant now, const struct message_host *m,
                      struct effects *out)
{
    struct roster_host *host;

    if (!node_is_lfd(m->lfd) || node_index(m->lfd) >= r->host_count)
        return;
    host = &r->host[node_index(m->lfd)];
    if (host->up != (m->up != 0)) {
        host->since = now;
        effects_note(out, "%s is %s", node_name(m->lfd), m->up ? "up" : "lost");
    }
    host->up = m->up != 0;
    host->pid = m->up ? m->pid : 0;
}

static void hear_gfd_link(struct roster *r, struct instant now, const struct message *message,
                          struct effects *out)
{
    r->gfd_linked = message->type == MESSAGE_LINK_UP;
    r->gfd_listed = false;
    r->gfd_settled = false;
    r->gfd_since = now;
    for (uint32_t i = 0; i < r->server_count; i++)
        r->server[i].confirmed = false;
    /* It tells anew which lfds it has. */
    for (uint32_t i = 0; i < r->host_count; i++)
        r->host[i].up = false;
    if (r->gfd_linked) {
        r->gfd_incarnation = message->link_up.incarnation;
        r->gfd_pid = message->link_up.pid;
        effects_note(out, "gfd is up");
    } else {
        effects_note_at(out, NOTE_WARN, "gfd is lost: the membership stays as it is");
    }
}

static void hear_server_link(struct roster *r, const struct message *message)
{
    struct roster_server *s = server_of(r, message->from);

    if (message->type == MESSAGE_LINK_DOWN) {
        /* The end of a link that another has replaced comes late and means nothing. */
        if (message->link_down.incarnation == s->link_incarnation)
            s->linked = false;
        return;
    }
    s->linked = true;
    s->state_known = false;
    s->progress = (struct message_progress){ .phase = PHASE_NONE };
    s->link_incarnation = message->link_up.incarnation;
    if (message->link_up.pid)
        s->pid = message->link_up.pid;
}

static uint64_t believable(uint64_t number)
{
    return number <= VIEW_NUMBER_HEARD_MAX ? number : 0;
}

static void see_numbers(struct roster *r, uint64_t promised, uint64_t view)
{
    if (believable(promised) > r->promised_max)
        r->promised_max = promised;
    if (believable(view) > r->view_max)
        r->view_max = view;
}

static void hear_state(struct roster *r, const struct message *message)
{
    struct roster_server *s = server_of(r, message->from);
    const struct message_state *m = &message->state;

    if (!s->linked || m->incarnation != s->link_incarnation)
        return;
    s->state = *m;
    s->state_known = true;
    see_numbers(r, m->promised, m->view);
    see_numbers(r, 0, m->journal_view);
    see_numbers(r, 0, m->discarded_view);
}

/* From the server itself, or by way of the gfd while it is not linked: what comes so later is old.
 */
static void hear_progress(struct roster *r, const struct message *message)
{
    const struct message_progress *m = &message->progress;
    struct roster_server *s;

    if (!roster_is_server(r, m->server) ||
        (message->from != NODE_GFD && message->from != m->server))
        return;
    s = server_of(r, m->server);
    if (message->from != NODE_GFD || !s->linked || s->link_incarnation != m->incarnation)
        s->progress = *m;
}

struct message_progress roster_progress(const struct roster *r, node_id server)
{
    const struct roster_server *s = &r->server[node_index(server)];

    if (s->progress.incarnation == (s->linked ? s->link_incarnation : s->listed))
        return s->progress;
    return (struct message_progress){ .phase = PHASE_NONE };
}

/* For the operator, who would else have to look for it in the log. */
static void hear_start_failed(struct roster *r, const struct message_start_failed *m)
{
    struct roster_server *s;

    if (!roster_is_server(r, m->server))
        return;
    s = &r->server[node_index(m->server)];
    if (!s->listed)
        (void)snprintf(s->last_exit, sizeof s->last_exit, "did not start: %.78s", m->cause);
}

void roster_receive(struct roster *r, struct instant now, const struct message *message,
                    struct effects *out)
{
    roster_tick(r, now, out);
    if (message->from == NODE_GFD) {
        switch (message->type) {
        case MESSAGE_LINK_UP:
        case MESSAGE_LINK_DOWN: hear_gfd_link(r, now, message, out); break;
        case MESSAGE_MEMBERSHIP: hear_membership(r, now, &message->membership, out); break;
        case MESSAGE_HOST: hear_host(r, now, &message->host, out); break;
        case MESSAGE_PROGRESS: hear_progress(r, message); break;
        case MESSAGE_START_FAILED: hear_start_failed(r, &message->start_failed); break;
        default: break;
        }
    } else if (roster_is_server(r, message->from)) {
        switch (message->type) {
        case MESSAGE_LINK_UP:
        case MESSAGE_LINK_DOWN: hear_server_link(r, message); break;
        case MESSAGE_STATE: hear_state(r, message); break;
        case MESSAGE_PROGRESS: hear_progress(r, message); break;
        case MESSAGE_REPORT:
            see_numbers(r, 0, message->report.journal_view);
            see_numbers(r, 0, message->report.discarded_view);
            break;
        default: break;
        }
    }
    roster_tick(r, now, out);
}

static struct instant settles_at(const struct roster *r)
{
    return instant_add_ms(r->gfd_since, r->grace_ms);
}

/* Whom the gfd has not listed since its link is up. */
static bool any_missing(const struct roster *r)
{
    for (uint32_t i = 0; i < r->server_count; i++)
        if (!r->server[i].listed || !r->server[i].confirmed)
            return true;
    return false;
}

/* Whoever sleeps through the end of the grace has yet to hear what was said meanwhile: it begins
 * anew. */
static bool forgive_lateness(struct roster *r, struct instant now, struct effects *out)
{
    uint64_t late_ms = instant_since_ms(now, settles_at(r));

    if (late_ms <= lateness_ms_max(r->grace_ms, 0) || !any_missing(r))
        return false;
    effects_note_at(out, NOTE_WARN, "woke up %llu ms late: nobody is blamed for it",
                    (unsigned long long)late_ms);
    r->gfd_since = now;
    return true;
}

void roster_tick(struct roster *r, struct instant now, struct effects *out)
{
    /* A gfd that has listed nothing yet knows nothing yet. */
    if (!r->gfd_linked || !r->gfd_listed || r->gfd_settled || !instant_reached(now, settles_at(r)))
        return;
    if (forgive_lateness(r, now, out))
        return;
    r->gfd_settled = true;
    for (uint32_t i = 0; i < r->server_count; i++) {
        struct roster_server *s = &r->server[i];

        if (!s->listed || s->confirmed)
            continue;
        effects_note_at(out, NOTE_WARN, "%s is taken for dead: the gfd has not listed it for %u ms",
                        node_name(NODE_SERVER(i)), r->grace_ms);
        (void)snprintf(s->last_exit, sizeof s->last_exit, "not seen after the gfd's return");
        lose(s);
    }
    roster_check(r);
}

struct instant roster_deadline(const struct roster *r)
{
    return r->gfd_linked && r->gfd_listed && !r->gfd_settled ? settles_at(r) : INSTANT_NEVER;
}

bool roster_dead(const struct roster *r, node_id server, uint64_t incarnation)
{
    const struct roster_server *s = &r->server[node_index(server)];

    if (s->gone == incarnation)
        return true;
    if (s->listed)
        return s->listed != incarnation;
    return r->gfd_settled || (s->linked && s->link_incarnation != incarnation);
}

bool roster_alive(const struct roster *r, node_id server, uint64_t incarnation)
{
    const struct roster_server *s = &r->server[node_index(server)];

    return s->linked && s->link_incarnation == incarnation && !roster_dead(r, server, incarnation);
}

/* A server has one life at a time, so a later one is the end of those before. Incarnations are
 * compared, too: should a word of an earlier life arrive late, it proves nothing. */
bool roster_certainly_dead(const struct roster *r, node_id server, uint64_t incarnation)
{
    const struct roster_server *s = &r->server[node_index(server)];

    return (s->gone == incarnation && s->gone_certain) || s->gone > incarnation ||
           s->listed > incarnation || (s->linked && s->link_incarnation > incarnation);
}

void roster_check(const struct roster *r)
{
    assert(!r->gfd_settled || (r->gfd_linked && r->gfd_listed));
    for (uint32_t i = 0; i < r->server_count; i++) {
        const struct roster_server *s = &r->server[i];

        assert(!s->listed || s->listed != s->gone);
        assert(!r->gfd_settled || !s->listed || s->confirmed);
    }
}
