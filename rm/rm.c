#include "rm/rm.h"

#include <assert.h>
#include <stdio.h>

#include "rm/command.h"
#include "rm/plan.h"

void rm_options_set(struct rm_options *options, const struct config *config)
{
    *options = (struct rm_options){
        .server_count = config->server_count,
        .host_count = config->host_count,
        .policy = { .style = config->replication.style,
                    .propagation = config->replication.propagation,
                    .acks = config->replication.acks,
                    .acks_count = config->replication.acks_count },
        .persistent = config->journal.storage == STORAGE_DISK,
        .grace_ms = config->detection.grace_ms,
        .lease_ms = config->replication.lease_ms,
        .backoff_ms = config->restart.backoff_ms,
        .backoff_ms_max = config->restart.backoff_ms_max,
        .budget = config->restart.budget,
        .budget_window_s = config->restart.budget_window_s,
    };
    for (uint32_t i = 0; i < config->server_count; i++)
        options->server_host[i] = (uint8_t)config->servers[i].host;
}

enum error_code rm_stored_check(const struct rm_options *options, struct error *error)
{
    struct saved saved;

    if (!options->stored.data)
        return ERROR_NONE;
    saved_init(&saved, &options->policy, options->server_count);
    return saved_load(&saved, options->stored, error);
}

static void init_repair(struct rm *rm, const struct rm_options *options, struct instant now)
{
    struct repair_options repair = {
        .server_count = options->server_count,
        .backoff_ms = options->backoff_ms,
        .backoff_ms_max = options->backoff_ms_max,
        .budget = options->budget,
        .budget_window_s = options->budget_window_s,
        .fresh = !options->stored.data,
        .seed = options->seed,
    };

    memcpy(repair.server_host, options->server_host, sizeof repair.server_host);
    repair_init(&rm->repair, &repair, &rm->saved, &rm->roster, now);
}

void rm_init(struct rm *rm, const struct rm_options *options, struct instant now)
{
    struct view_options view = {
        .server_count = options->server_count,
        .lease_ms = options->lease_ms,
        .persistent = options->persistent,
    };
    struct error error = { ERROR_NONE, "" };

    memset(rm, 0, sizeof *rm);
    roster_init(&rm->roster, options->server_count, options->host_count, options->grace_ms);
    saved_init(&rm->saved, &options->policy, options->server_count);
    if (options->stored.data)
        (void)saved_load(&rm->saved, options->stored, &error);
    assert(error.code == ERROR_NONE); /* rm_stored_check() came before */
    view_init(&rm->view, &view, &rm->saved, &rm->roster, now);
    init_repair(rm, options, now);
    rm_check(rm);
}

/* ------------------------------------------------------------------ events */

static void record_note(struct rm *rm, struct instant now, const struct effect *effect)
{
    struct rm_event *event = &rm->event[++rm->event_sequence % RM_EVENTS_MAX];

    event->sequence = rm->event_sequence;
    event->time_us = (uint64_t)((int64_t)(now.ns / 1000u) + rm->wall_offset_us);
    (void)snprintf(event->text, sizeof event->text, "%s", effect->text);
}

/* Notes are events, but for those of debugging. */
static void record_events(struct rm *rm, struct instant now, const struct effects *out,
                          uint32_t first)
{
    for (uint32_t i = first; i < out->count; i++) {
        const struct effect *effect = &out->list[i];

        if (effect->type == EFFECT_STORE)
            rm->stored_sequence = rm->event_sequence;
        else if (effect->type == EFFECT_NOTE && effect->level != NOTE_DEBUG)
            record_note(rm, now, effect);
    }
}

void rm_wall(struct rm *rm, struct instant now, uint64_t wall_us)
{
    rm->wall_offset_us = (int64_t)wall_us - (int64_t)(now.ns / 1000u);
}

void rm_stored(struct rm *rm, uint64_t wall_us)
{
    for (uint64_t i = rm->stored_sequence + 1; i <= rm->event_sequence; i++) {
        struct rm_event *event = &rm->event[i % RM_EVENTS_MAX];

        if (event->time_us < wall_us)
            event->time_us = wall_us;
    }
}

const struct rm_event *rm_event(const struct rm *rm, uint64_t sequence)
{
    const struct rm_event *event = &rm->event[sequence % RM_EVENTS_MAX];

    return sequence && event->sequence == sequence ? event : NULL;
}

/* ------------------------------------------------------------------ the core */

/* Servers that run and have not said yet what they serve. */
static uint32_t unheard(const struct roster *roster)
{
    uint32_t set = 0;

    for (uint32_t i = 0; i < roster->server_count; i++)
        if (roster->server[i].listed && !roster->server[i].state_known)
            set |= 1u << i;
    return set;
}

/* Servers whose present life is a member of a view that is remembered. Until a later one is known
 * active, the next election may need what it acknowledged there, however old the later one is: in
 * memory that would go with it. */
static uint32_t remembered(const struct rm *rm)
{
    uint32_t set = 0;

    for (uint32_t n = 0; n < rm->saved.view_count; n++)
        for (uint32_t i = 0; i < rm->roster.server_count; i++)
            if (members_has(&rm->saved.views[n].members, NODE_SERVER(i),
                            rm->roster.server[i].listed))
                set |= 1u << i;
    return set;
}

/* A server may be ordered to stop when no view needs it: it is no member, and the view without it
 * stands. Whose store is old or lost knows neither the view nor who was started again since. */
static void set_may_stop(struct rm *rm, struct instant now)
{
    const struct message_view *current = saved_current(&rm->saved);
    uint32_t all = (1u << rm->roster.server_count) - 1u;

    if (plan_rule(&rm->view) == PLAN_ALL_SERVERS && rm->roster.view_max)
        rm->repair.may_stop = 0;
    else if (!current)
        rm->repair.may_stop = rm->view.fencing ? 0 : all & ~unheard(&rm->roster);
    else
        rm->repair.may_stop =
            view_settled(&rm->view, now) ? all & ~(current->members.set | remembered(rm)) : 0;
}

/* A server whose end is expected is left out of views, and may come in again once its life has
 * ended. */
static void set_leaving(struct rm *rm)
{
    for (uint32_t i = 0; i < rm->roster.server_count; i++) {
        bool leaving = in_set(rm->view.leaving, i), expected = rm->repair.server[i].expected;

        if (leaving && !expected)
            view_stay(&rm->view, NODE_SERVER(i));
        else if (!leaving && expected)
            view_leave(&rm->view, NODE_SERVER(i));
    }
}

static void go_on(struct rm *rm, struct instant now, struct effects *out)
{
    set_may_stop(rm, now);
    repair_tick(&rm->repair, now, out);
    rm_command_go_on(rm, now, out);
    set_leaving(rm);
}

void rm_receive(struct rm *rm, struct instant now, const struct message *message,
                struct effects *out)
{
    uint32_t first = out->count;

    roster_receive(&rm->roster, now, message, out);
    if (message->type == MESSAGE_COMMAND && message->from == NODE_OPERATOR)
        rm_command_begin(rm, now, &message->command, out);
    view_receive(&rm->view, now, message, out);
    set_may_stop(rm, now);
    repair_receive(&rm->repair, now, message, out);
    go_on(rm, now, out);
    record_events(rm, now, out, first);
    rm_check(rm);
}

void rm_tick(struct rm *rm, struct instant now, struct effects *out)
{
    uint32_t first = out->count;

    roster_tick(&rm->roster, now, out);
    view_tick(&rm->view, now, out);
    go_on(rm, now, out);
    record_events(rm, now, out, first);
    rm_check(rm);
}

struct instant rm_deadline(const struct rm *rm)
{
    struct instant when = instant_min(roster_deadline(&rm->roster), view_deadline(&rm->view));

    when = instant_min(when, repair_deadline(&rm->repair));
    return instant_min(when, rm_command_deadline(rm));
}

void rm_check(const struct rm *rm)
{
    roster_check(&rm->roster);
    view_check(&rm->view);
    repair_check(&rm->repair);
    for (uint32_t i = 0; i < rm->roster.server_count; i++)
        assert(in_set(rm->view.leaving, i) == rm->repair.server[i].expected);
}

CORE_DEFINE(rm);
