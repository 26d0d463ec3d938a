#include "gfd/membership.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* One call appends at most these for a server (two notes and a message) and for a host. */
#define EFFECTS_PER_SERVER_MAX 3u
#define EFFECTS_PER_HOST_MAX   6u
_Static_assert(EFFECT_COUNT_MAX >= EFFECTS_PER_SERVER_MAX * SERVER_COUNT_MAX +
                                       EFFECTS_PER_HOST_MAX * HOST_COUNT_MAX,
               "one call may speak of every server and every host");

#define LIST_SIZE ((size_t)SERVER_COUNT_MAX * (NAME_SIZE + 2u)) /* names with ", " between them */

struct membership_options membership_options_from(const struct config *config)
{
    struct membership_options options = {
        .host_count = config->host_count,
        .server_count = config->server_count,
        .heartbeat_interval_ms = config->detection.heartbeat_interval_ms,
        .host_suspect_after_ms = config->detection.host_suspect_after_ms,
        .grace_ms = config->detection.grace_ms,
    };

    for (uint32_t i = 0; i < config->server_count; i++)
        options.host_of[i] = config->servers[i].host;
    for (uint32_t i = 0; i < config->host_count; i++)
        memcpy(options.host_name[i], config->hosts[i].name, NAME_SIZE);
    return options;
}

void membership_init(struct membership *m, const struct membership_options *options,
                     struct instant now)
{
    assert(options->host_count <= HOST_COUNT_MAX && options->server_count <= SERVER_COUNT_MAX);
    assert(options->heartbeat_interval_ms >= 1);
    assert(options->host_suspect_after_ms > options->heartbeat_interval_ms);
    *m = (struct membership){ .options = *options, .beat_due = now, .accuse_after = now };
    membership_check(m);
}

static bool is_member(const struct membership *m, uint32_t server)
{
    return m->members.set >> server & 1u;
}

static bool is_unwatched(const struct membership *m, uint32_t server)
{
    return m->unwatched >> server & 1u;
}

/* The servers of a host, as a set. */
static uint32_t servers_of(const struct membership *m, uint32_t host)
{
    uint32_t set = 0;

    for (uint32_t i = 0; i < m->options.server_count; i++) {
        if (m->options.host_of[i] == host)
            set |= 1u << i;
    }
    return set;
}

static void list_format(char text[LIST_SIZE], uint32_t set)
{
    size_t used = 0;

    text[0] = '\0';
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++) {
        if (set >> i & 1u)
            used += (size_t)snprintf(text + used, LIST_SIZE - used, "%s%s", used ? ", " : "",
                                     node_name(NODE_SERVER(i)));
    }
}

static void note_members(const struct membership *m, struct effects *out)
{
    uint32_t count = members_count(&m->members);
    char list[LIST_SIZE];

    list_format(list, m->members.set);
    effects_note(out, "%" PRIu32 " member%s%s%s", count, count == 1 ? "" : "s",
                 count == 0 ? "" : ": ", list);
}

static struct message membership_message(const struct membership *m)
{
    return (struct message){
        .type = MESSAGE_MEMBERSHIP,
        .membership = { .version = m->version,
                        .members = m->members,
                        .unwatched = m->unwatched,
                        .changed = NODE_NONE,
                        .change = CHANGE_NONE },
    };
}

static void tell_change(const struct membership *m, uint32_t server, enum change change,
                        uint64_t incarnation, bool certain, const char *cause, struct effects *out)
{
    struct message message = membership_message(m);

    if (!m->rm_linked)
        return;
    message.membership.changed = NODE_SERVER(server);
    message.membership.change = (uint8_t)change;
    message.membership.incarnation = incarnation;
    message.membership.pid = m->pid[server];
    message.membership.certain = certain;
    snprintf(message.membership.cause, MESSAGE_TEXT_SIZE, "%s", cause);
    effects_send(out, NODE_RM, message);
}

static void tell_host(const struct membership *m, uint32_t host, struct effects *out)
{
    const struct membership_host *h = &m->hosts[host];

    if (!m->rm_linked)
        return;
    effects_send(
        out, NODE_RM,
        (struct message){
            .type = MESSAGE_HOST,
            .host = { .lfd = NODE_LFD(host), .up = h->linked && !h->silent, .pid = h->pid },
        });
}

static void tell_start_failed(const struct membership *m, node_id server, const char *cause,
                              struct effects *out)
{
    struct message message = { .type = MESSAGE_START_FAILED, .start_failed = { .server = server } };

    if (!m->rm_linked)
        return;
    snprintf(message.start_failed.cause, MESSAGE_TEXT_SIZE, "%s", cause);
    effects_send(out, NODE_RM, message);
}

static void member_delete(struct membership *m, uint32_t server, bool certain, const char *cause,
                          struct effects *out)
{
    uint64_t incarnation = m->members.incarnation[server];

    assert(is_member(m, server));
    members_drop(&m->members, NODE_SERVER(server));
    m->unwatched &= ~(1u << server);
    m->version++;
    effects_note(out, "delete replica %s (%s)%s", node_name(NODE_SERVER(server)), cause,
                 certain ? "" : ", uncertain");
    note_members(m, out);
    tell_change(m, server, CHANGE_DELETE, incarnation, certain, cause, out);
}

static void member_watch(struct membership *m, uint32_t server, struct effects *out)
{
    if (!is_unwatched(m, server))
        return;
    m->unwatched &= ~(1u << server);
    effects_note(out, "%s is watched again", node_name(NODE_SERVER(server)));
    tell_change(m, server, CHANGE_NONE, m->members.incarnation[server], false, "", out);
}

/* Makes a member of what its lfd claims. */
static void member_add(struct membership *m, uint32_t server, struct effects *out)
{
    uint64_t incarnation = m->claimed.incarnation[server];

    assert(incarnation != 0);
    if (members_has(&m->members, NODE_SERVER(server), incarnation)) {
        member_watch(m, server, out);
        return;
    }
    assert(!is_member(m, server));
    members_put(&m->members, NODE_SERVER(server), incarnation);
    m->version++;
    effects_note(out, "add replica %s", node_name(NODE_SERVER(server)));
    note_members(m, out);
    tell_change(m, server, CHANGE_ADD, incarnation, false, "", out);
}

static void delete_all(struct membership *m, uint32_t set, const char *cause, struct effects *out)
{
    for (uint32_t i = 0; i < m->options.server_count; i++) {
        if (set >> i & 1u)
            member_delete(m, i, false, cause, out);
    }
}

static void send_heartbeat(struct membership *m, uint32_t host, struct effects *out)
{
    struct membership_host *h = &m->hosts[host];

    h->heartbeat_count++;
    effects_note_at(out, NOTE_DEBUG, "heartbeat_count %" PRIu64 ": sent to %s", h->heartbeat_count,
                    node_name(NODE_LFD(host)));
    effects_send(out, NODE_LFD(host),
                 (struct message){ .type = MESSAGE_HEARTBEAT,
                                   .heartbeat = { .sequence = h->heartbeat_count } });
}

static void claims_drop(struct membership *m, uint32_t host)
{
    uint32_t set = servers_of(m, host);

    for (uint32_t i = 0; i < m->options.server_count; i++) {
        if (set >> i & 1u)
            members_drop(&m->claimed, NODE_SERVER(i));
    }
}

static bool any_linked(const struct membership *m)
{
    for (uint32_t i = 0; i < m->options.host_count; i++) {
        if (m->hosts[i].linked)
            return true;
    }
    return false;
}

/* While there is somebody to ask. And while a grace runs: how late a beat is tells how long we
 * slept. */
static bool beats(const struct membership *m)
{
    return any_linked(m) || m->unwatched != 0;
}

static void become_linked(struct membership *m, uint32_t host, const struct message_link_up *link,
                          struct instant now, struct effects *out)
{
    if (!any_linked(m))
        m->beat_due = now;
    m->hosts[host] = (struct membership_host){
        .linked = true,
        .pid = link->pid,
        .incarnation = link->incarnation,
        .heard = now,
        .grace_end = instant_add_ms(now, m->options.grace_ms),
    };
    claims_drop(m, host);
    effects_note(out, "%s is up", node_name(NODE_LFD(host)));
    tell_host(m, host, out);
    send_heartbeat(m, host, out);
}

/* The lfd is gone, which says nothing of its servers: they have a grace. */
static void become_unlinked(struct membership *m, uint32_t host, struct instant now,
                            struct effects *out)
{
    uint32_t left = servers_of(m, host) & m->members.set;
    uint32_t fresh = left & ~m->unwatched;
    char list[LIST_SIZE];

    if (!m->hosts[host].linked)
        return;
    m->hosts[host] =
        (struct membership_host){ .grace_end = instant_add_ms(now, m->options.grace_ms) };
    claims_drop(m, host);
    m->unwatched |= left;
    list_format(list, left);
    effects_note_at(out, NOTE_WARN, "%s is down%s%s%s", node_name(NODE_LFD(host)),
                    left ? ": nobody watches " : "", list, left ? ", members for a grace" : "");
    tell_host(m, host, out);
    for (uint32_t i = 0; i < m->options.server_count; i++) {
        if (fresh >> i & 1u)
            tell_change(m, i, CHANGE_UNWATCHED, m->members.incarnation[i], false, "lfd is down",
                        out);
    }
}

/* Its host may be lost, or the network to it: nobody can tell, so its servers are deleted without
 * being known dead. */
static void become_silent(struct membership *m, uint32_t host, struct instant now,
                          struct effects *out)
{
    struct membership_host *h = &m->hosts[host];
    char cause[MESSAGE_TEXT_SIZE];

    assert(h->linked && !h->silent);
    h->silent = true;
    h->silent_count = h->heartbeat_count;
    snprintf(cause, sizeof cause, "host %s is silent for %" PRIu64 " ms",
             m->options.host_name[host], instant_since_ms(now, h->heard));
    effects_note_at(out, NOTE_WARN, "suspect %s: %s", node_name(NODE_LFD(host)), cause);
    tell_host(m, host, out);
    delete_all(m, servers_of(m, host) & m->members.set, cause, out);
}

static void become_heard(struct membership *m, uint32_t host, struct effects *out)
{
    uint32_t set = servers_of(m, host) & m->claimed.set;

    assert(m->hosts[host].silent);
    m->hosts[host].silent = false;
    effects_note(out, "trust %s: it answers again", node_name(NODE_LFD(host)));
    tell_host(m, host, out);
    for (uint32_t i = 0; i < m->options.server_count; i++) {
        if (set >> i & 1u)
            member_add(m, i, out);
    }
}

static void take_heartbeat_ok(struct membership *m, struct instant now, uint32_t host,
                              uint64_t sequence, struct effects *out)
{
    struct membership_host *h = &m->hosts[host];

    if (sequence <= h->heard_count || sequence > h->heartbeat_count)
        return;
    effects_note_at(out, NOTE_DEBUG, "heartbeat_count %" PRIu64 ": answered by %s", sequence,
                    node_name(NODE_LFD(host)));
    h->heard_count = sequence;
    h->heard = now;
    if (h->silent && sequence > h->silent_count)
        become_heard(m, host, out);
}

static void take_registered(struct membership *m, uint32_t host, struct effects *out)
{
    uint32_t own = servers_of(m, host);
    char cause[MESSAGE_TEXT_SIZE];

    m->hosts[host].registered = true;
    effects_note(out, "%s has registered, with %d of %d servers", node_name(NODE_LFD(host)),
                 __builtin_popcount(own & m->claimed.set), __builtin_popcount(own));
    snprintf(cause, sizeof cause, "not registered by %s", node_name(NODE_LFD(host)));
    delete_all(m, own & m->members.set & ~m->claimed.set, cause, out);
}

/* Whether an lfd may speak of the server: it is one of its host. */
static bool may_speak(const struct membership *m, node_id lfd, node_id server, const char *what,
                      struct effects *out)
{
    if (node_is_server(server) && node_index(server) < m->options.server_count &&
        m->options.host_of[node_index(server)] == node_index(lfd))
        return true;
    effects_note_at(out, NOTE_WARN, "refused %s of %s by %s: not a server of its host", what,
                    node_name(server), node_name(lfd));
    return false;
}

static void take_add(struct membership *m, node_id lfd, const struct message_add *add,
                     struct effects *out)
{
    uint32_t server;

    if (!may_speak(m, lfd, add->server, "add", out))
        return;
    if (add->incarnation == 0) {
        effects_note_at(out, NOTE_WARN, "refused add of %s by %s: it has no incarnation",
                        node_name(add->server), node_name(lfd));
        return;
    }
    server = node_index(add->server);
    /* Two lives of one server are never there at once: its lfd has seen the earlier one go. */
    if (is_member(m, server) && m->members.incarnation[server] != add->incarnation)
        member_delete(m, server, true, "another life of it is here", out);
    m->pid[server] = add->pid;
    members_put(&m->claimed, add->server, add->incarnation);
    if (!m->hosts[node_index(lfd)].silent)
        member_add(m, server, out);
}

static void take_delete(struct membership *m, node_id lfd, const struct message_delete *delete,
                        struct effects *out)
{
    uint32_t server;

    if (!may_speak(m, lfd, delete->server, "delete", out))
        return;
    server = node_index(delete->server);
    if (delete->incarnation == 0 || members_has(&m->claimed, delete->server, delete->incarnation))
        members_drop(&m->claimed, delete->server);
    if (is_member(m, server) &&
        (delete->incarnation == 0 || m->members.incarnation[server] == delete->incarnation))
        member_delete(m, server, delete->certain, delete->cause, out);
}

static void take_start_failed(struct membership *m, node_id lfd,
                              const struct message_start_failed *failed, struct effects *out)
{
    if (!may_speak(m, lfd, failed->server, "start_failed", out))
        return;
    effects_note_at(out, NOTE_WARN, "%s did not start: %s", node_name(failed->server),
                    failed->cause);
    tell_start_failed(m, failed->server, failed->cause, out);
}

/* How far the recovery of a server is, which is not linked to the rm yet. */
static void pass_progress(const struct membership *m, const struct message *message,
                          struct effects *out)
{
    if (m->rm_linked && may_speak(m, message->from, message->progress.server, "progress", out))
        effects_send(out, NODE_RM, *message);
}

/* Passes an order on, or says why it cannot be obeyed: the rm waits for one or the other. */
static void take_order(struct membership *m, const struct message_order *order, struct effects *out)
{
    const struct membership_host *h;
    char cause[MESSAGE_TEXT_SIZE];
    uint32_t host;

    if (!node_is_server(order->server) || node_index(order->server) >= m->options.server_count) {
        effects_note_at(out, NOTE_WARN, "refused an order for %s: no such server",
                        node_name(order->server));
        return;
    }
    host = m->options.host_of[node_index(order->server)];
    h = &m->hosts[host];
    if (h->linked && !h->silent) {
        effects_send(out, NODE_LFD(host),
                     (struct message){ .type = MESSAGE_ORDER, .order = *order });
        return;
    }
    snprintf(cause, sizeof cause, "lfd of host %s %s", m->options.host_name[host],
             h->linked ? "does not answer" : "is not connected");
    effects_note_at(out, NOTE_WARN, "cannot order %s: %s", node_name(order->server), cause);
    tell_start_failed(m, order->server, cause, out);
}

static void take_rm_link(struct membership *m, bool up, struct effects *out)
{
    effects_note_at(out, up ? NOTE_INFO : NOTE_WARN, "rm is %s", up ? "up" : "down");
    m->rm_linked = up;
    if (!up)
        return;
    effects_send(out, NODE_RM, membership_message(m));
    for (uint32_t i = 0; i < m->options.host_count; i++)
        tell_host(m, i, out);
}

static void receive_from_lfd(struct membership *m, struct instant now,
                             const struct message *message, struct effects *out)
{
    uint32_t host = node_index(message->from);

    if (message->type == MESSAGE_LINK_UP)
        become_linked(m, host, &message->link_up, now, out);
    if (!m->hosts[host].linked)
        return;
    switch (message->type) {
    case MESSAGE_LINK_DOWN: become_unlinked(m, host, now, out); break;
    case MESSAGE_HEARTBEAT_OK:
        take_heartbeat_ok(m, now, host, message->heartbeat_ok.sequence, out);
        break;
    case MESSAGE_ADD: take_add(m, message->from, &message->add, out); break;
    case MESSAGE_DELETE: take_delete(m, message->from, &message->delete, out); break;
    case MESSAGE_REGISTERED: take_registered(m, host, out); break;
    case MESSAGE_START_FAILED:
        take_start_failed(m, message->from, &message->start_failed, out);
        break;
    case MESSAGE_PROGRESS: pass_progress(m, message, out); break;
    default: break;
    }
}

bool membership_admits(const struct membership *m, node_id node, uint64_t incarnation)
{
    const struct membership_host *h;

    if (!node_is_lfd(node))
        return true;
    assert(node_index(node) < m->options.host_count);
    h = &m->hosts[node_index(node)];
    return !h->linked || h->silent || h->incarnation == incarnation;
}

static void receive_from_rm(struct membership *m, const struct message *message,
                            struct effects *out)
{
    switch (message->type) {
    case MESSAGE_LINK_UP: take_rm_link(m, true, out); break;
    case MESSAGE_LINK_DOWN: take_rm_link(m, false, out); break;
    case MESSAGE_ORDER: take_order(m, &message->order, out); break;
    default: break;
    }
}

static struct instant later_by_ms(struct instant t, uint64_t ms, struct instant now)
{
    return instant_min(instant_add_ms(t, ms), now);
}

/* Whoever wakes up late finds everyone silent. The silence was our own: it is taken off every wait,
 * and nobody is accused before there was time for an answer. */
static void forgive_lateness(struct membership *m, struct instant now, struct effects *out)
{
    uint64_t late_ms = instant_since_ms(now, membership_deadline(m));

    if (!m->announced || late_ms <= lateness_ms_max(m->options.host_suspect_after_ms,
                                                    m->options.heartbeat_interval_ms))
        return;
    effects_note_at(out, NOTE_WARN, "woke up %" PRIu64 " ms late: nobody is blamed for it",
                    late_ms);
    m->accuse_after = instant_add_ms(now, m->options.heartbeat_interval_ms);
    m->beat_due = now;
    for (uint32_t i = 0; i < m->options.host_count; i++) {
        m->hosts[i].heard = later_by_ms(m->hosts[i].heard, late_ms, now);
        m->hosts[i].grace_end = instant_add_ms(m->hosts[i].grace_end, late_ms);
    }
}

void membership_receive(struct membership *m, struct instant now, const struct message *message,
                        struct effects *out)
{
    forgive_lateness(m, now, out);
    if (message->from == NODE_RM)
        receive_from_rm(m, message, out);
    else if (node_is_lfd(message->from) && node_index(message->from) < m->options.host_count)
        receive_from_lfd(m, now, message, out);
    membership_check(m);
}

/* When a host is next looked at: for silence while it is linked, for the end of the grace of
 * servers that it has not spoken for. */
static struct instant silence_deadline(const struct membership *m, uint32_t host)
{
    const struct membership_host *h = &m->hosts[host];

    if (!h->linked || h->silent)
        return INSTANT_NEVER;
    return instant_max(instant_add_ms(h->heard, m->options.host_suspect_after_ms), m->accuse_after);
}

static struct instant grace_deadline(const struct membership *m, uint32_t host)
{
    if ((servers_of(m, host) & m->unwatched) == 0)
        return INSTANT_NEVER;
    return instant_max(m->hosts[host].grace_end, m->accuse_after);
}

static void grace_is_over(struct membership *m, uint32_t host, struct effects *out)
{
    char cause[MESSAGE_TEXT_SIZE];

    snprintf(cause, sizeof cause, "host %s lost: %s is not back after %" PRIu32 " ms",
             m->options.host_name[host], node_name(NODE_LFD(host)), m->options.grace_ms);
    delete_all(m, servers_of(m, host) & m->unwatched, cause, out);
}

static void beat(struct membership *m, struct instant now, struct effects *out)
{
    m->beat_due = instant_add_ms(now, m->options.heartbeat_interval_ms);
    for (uint32_t i = 0; i < m->options.host_count; i++) {
        if (m->hosts[i].linked)
            send_heartbeat(m, i, out);
    }
}

void membership_tick(struct membership *m, struct instant now, struct effects *out)
{
    forgive_lateness(m, now, out);
    if (!m->announced)
        note_members(m, out);
    m->announced = true;
    if (beats(m) && instant_reached(now, m->beat_due))
        beat(m, now, out);
    for (uint32_t i = 0; i < m->options.host_count; i++) {
        if (instant_reached(now, silence_deadline(m, i)))
            become_silent(m, i, now, out);
        if (instant_reached(now, grace_deadline(m, i)))
            grace_is_over(m, i, out);
    }
    membership_check(m);
}

struct instant membership_deadline(const struct membership *m)
{
    struct instant deadline = INSTANT_NEVER;

    if (!m->announced || beats(m))
        deadline = m->beat_due;
    for (uint32_t i = 0; i < m->options.host_count; i++) {
        deadline = instant_min(deadline, silence_deadline(m, i));
        deadline = instant_min(deadline, grace_deadline(m, i));
    }
    return deadline;
}

void membership_check(const struct membership *m)
{
    assert((m->unwatched & ~m->members.set) == 0);
    assert(members_count(&m->members) <= m->options.server_count);
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++) {
        assert(is_member(m, i) == (m->members.incarnation[i] != 0));
        assert((m->claimed.set >> i & 1u) == (m->claimed.incarnation[i] != 0));
    }
    for (uint32_t i = 0; i < m->options.host_count; i++) {
        const struct membership_host *h = &m->hosts[i];
        uint32_t own = servers_of(m, i);

        assert(h->heard_count <= h->heartbeat_count && h->silent_count <= h->heartbeat_count);
        assert(h->linked || (!h->silent && !h->registered && (m->claimed.set & own) == 0));
        assert(!h->silent || (m->members.set & own) == 0);
        assert(h->linked || (m->members.set & own & ~m->unwatched) == 0);
    }
}

CORE_DEFINE(membership);
