#include "rm/status.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* A JSON value that cannot be made for want of memory is left out, as by all of jansson's setters.
 */
static void set(json_t *object, const char *key, json_t *value)
{
    (void)json_object_set_new(object, key, value);
}

static json_t *integer(uint64_t value)
{
    return json_integer(value <= INT64_MAX ? (json_int_t)value : INT64_MAX);
}

static json_t *names(uint32_t set_of_servers)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++)
        if (in_set(set_of_servers, i))
            (void)json_array_append_new(list, json_string(node_name(NODE_SERVER(i))));
    return list;
}

static json_t *acks_policy(const struct view_policy *policy)
{
    switch (policy->acks) {
    case ACKS_ALL: return json_string("all");
    case ACKS_MAJORITY: return json_string("majority");
    case ACKS_COUNT: return json_integer(policy->acks_count);
    }
    return json_null();
}

static json_t *view_object(const struct rm *rm)
{
    const struct message_view *view = saved_current(&rm->saved);
    json_t *o = json_object();

    set(o, "number", integer(view ? view->number : 0));
    set(o, "style", json_string(style_name(view ? view->style : (uint8_t)rm->saved.wanted.style)));
    set(o, "acks", integer(view ? view->acks : 0));
    set(o, "primary", view ? json_string(node_name(view->primary)) : json_null());
    set(o, "members", names(view ? view->members.set : 0));
    set(o, "active", json_boolean(rm->view.active));
    set(o, "changing", json_boolean(rm->view.fencing));
    set(o, "acks_policy", acks_policy(&rm->saved.wanted));
    set(o, "waits_for", rm->view.waits[0] ? json_string(rm->view.waits) : json_null());
    return o;
}

static json_t *membership_object(const struct rm *rm)
{
    json_t *o = json_object();
    uint32_t listed = 0, unwatched = 0;

    for (uint32_t i = 0; i < rm->roster.server_count; i++) {
        listed |= rm->roster.server[i].listed ? 1u << i : 0;
        unwatched |= rm->roster.server[i].unwatched ? 1u << i : 0;
    }
    set(o, "version", integer(rm->roster.version));
    set(o, "members", names(listed));
    set(o, "unwatched", names(unwatched));
    return o;
}

static const char *server_state(const struct rm *rm, uint32_t i)
{
    if (rm->roster.server[i].unwatched)
        return "unwatched";
    if (rm->repair.server[i].state == REPAIR_STOPPED && rm->roster.server[i].listed)
        return "stopping";
    return repair_state_name(rm->repair.server[i].state);
}

/* How far a server is that recovers or joins. */
static void set_progress(json_t *o, const struct message_progress *p)
{
    bool known = p->phase != PHASE_NONE && p->bytes_total > 0;

    set(o, "phase", p->phase != PHASE_NONE ? json_string(phase_name(p->phase)) : json_null());
    set(o, "bytes", integer(p->bytes));
    set(o, "bytes_total", integer(p->bytes_total));
    set(o, "seconds_left",
        known ? json_integer((json_int_t)(((uint64_t)p->left_ms + 999u) / 1000u)) : json_null());
}

static json_t *server_object(const struct rm *rm, const struct config *config, uint32_t i)
{
    const struct roster_server *s = &rm->roster.server[i];
    bool known = s->linked && s->state_known;
    struct message_progress progress = roster_progress(&rm->roster, NODE_SERVER(i));
    json_t *o = json_object();

    set(o, "name", json_string(node_name(NODE_SERVER(i))));
    set(o, "host", json_string(config->hosts[config->servers[i].host].name));
    set(o, "state", json_string(server_state(rm, i)));
    set(o, "role", json_string(role_name(known ? s->state.role : ROLE_NONE)));
    set(o, "incarnation", integer(s->listed ? s->listed : s->linked ? s->link_incarnation : 0));
    set(o, "pid", integer(s->listed || s->linked ? s->pid : 0));
    set(o, "client_port", integer(config->servers[i].client_port));
    set(o, "journal_index", integer(known ? s->state.journal_index : 0));
    set(o, "commit_index", integer(known ? s->state.commit_index : 0));
    set(o, "executed_index", integer(known ? s->state.executed_index : 0));
    set(o, "restarts", integer(rm->repair.server[i].restarts));
    set(o, "last_exit", s->last_exit[0] ? json_string(s->last_exit) : json_null());
    set(o, "linked", json_boolean(s->linked));
    set(o, "view", integer(known ? s->state.view : 0));
    set(o, "clients", integer(known ? s->state.clients : 0));
    set_progress(o, &progress);
    set(o, "wanted", json_string(in_set(rm->saved.stopped, i) ? "stopped" : "running"));
    return o;
}

static json_t *process_object(const char *name, const char *state, uint32_t pid)
{
    json_t *o = json_object();

    set(o, "name", json_string(name));
    set(o, "state", json_string(state));
    set(o, "pid", integer(pid));
    return o;
}

static json_t *lfds(const struct rm *rm)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < rm->roster.host_count; i++) {
        const struct roster_host *host = &rm->roster.host[i];
        const char *state = host->up ? "up" : rm->roster.gfd_linked ? "down" : "unknown";

        (void)json_array_append_new(list, process_object(node_name(NODE_LFD(i)), state, host->pid));
    }
    return list;
}

static json_t *root_object(const struct rm *rm, const struct config *config, uint32_t pid)
{
    json_t *root = json_object();
    json_t *servers = json_array();
    json_t *events = json_object();

    for (uint32_t i = 0; i < rm->roster.server_count; i++)
        (void)json_array_append_new(servers, server_object(rm, config, i));
    set(events, "last", integer(rm->event_sequence));
    set(root, "cluster", json_string(config->cluster));
    set(root, "view", view_object(rm));
    set(root, "membership", membership_object(rm));
    set(root, "servers", servers);
    set(root, "lfds", lfds(rm));
    set(root, "gfd",
        process_object("gfd", rm->roster.gfd_linked ? "up" : "down",
                       rm->roster.gfd_linked ? rm->roster.gfd_pid : 0));
    set(root, "rm", process_object("rm", "up", pid));
    set(root, "events", events);
    return root;
}

void rm_status_write(const struct rm *rm, const struct config *config, uint32_t pid,
                     struct buffer *out)
{
    json_t *root = root_object(rm, config, pid);
    char *text = json_dumps(root, JSON_COMPACT | JSON_PRESERVE_ORDER);

    buffer_append_string(out, text ? text : "{}");
    free(text);
    json_decref(root);
}
