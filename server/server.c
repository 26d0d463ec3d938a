#include "server/server.h"

#include <assert.h>
#include <stdlib.h>

#include "server/server_state.h"

#define FEEDS_PER_TURN   4u       /* appends to one server in one turn */
#define RELEASE_STEP     64u      /* items of an old state freed before a look at the clock */
#define RELEASE_STEPS    32u      /* … in one turn */
#define RELEASE_US_MAX   300u     /* … likewise */
#define RELEASE_PARTS    10u      /* its share of a busy loop: one in so many */
#define WALL_SLOWER      16u      /* by such a part time passes slower while clocks are behind it */
#define WALL_STEP_US_MAX 1000000u /* more between two turns is a clock that was set */

struct server *server_new(const struct server_options *options, struct instant now)
{
    uint32_t silence_ms =
        2 * (options->suspect_after_ms > options->lease_ms ? options->suspect_after_ms
                                                           : options->lease_ms);
    struct machine *machine = machine_new(options->service);
    struct server *s;

    if (!machine)
        return NULL;
    s = memory_zeroed(1, sizeof *s);
    s->options = *options;
    s->machine = machine;
    if (options->sessions_max)
        machine_limit_sessions(machine, options->sessions_max);
    replica_init(&s->replica,
                 &(struct replica_options){
                     .self = options->self,
                     .incarnation = options->incarnation,
                     .server_count = options->server_count,
                     .lease_ms = options->lease_ms,
                     .checkpoint_interval_ms = options->checkpoint_interval_ms,
                     .silence_ms = silence_ms,
                     .persistent = options->persistent,
                 },
                 now);
    journal_init(&s->journal, 1);
    pending_init(&s->pending);
    s->transfer_out.self = options->persistent ? options->self : NODE_NONE;
    return s;
}

void server_free(struct server *s)
{
    if (!s)
        return;
    transfer_free(&s->transfer_out, &s->transfer_in);
    pending_free(&s->pending);
    journal_free(&s->journal);
    machine_free(s->machine);
    free(s->reads.tokens);
    buffer_free(&s->forwards);
    buffer_free(&s->forwards_going);
    buffer_free(&s->reply);
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++) {
        buffer_free(&s->replies[i]);
        buffer_free(&s->replies_going[i]);
    }
    free(s);
}

/* What the replica core wants, and only this process can do. */

static void do_append(struct server *s, const struct effect *effect)
{
    struct bytes rest = effect->data, record;
    struct journal_record header;
    bool sound;

    if (rest.size == 0) {
        header =
            (struct journal_record){ .index = effect->reference, .kind = (uint8_t)effect->number };
        requests_append(s, &header, (struct bytes){ 0 });
        return;
    }
    while (journal_record_next(&rest, &header, &record, &sound)) {
        journal_append_record(&s->journal, record);
        requests_journaled(s, &header);
    }
    assert(s->journal.last == effect->reference);
}

static void do_reset(struct server *s, uint64_t index, struct effects *out)
{
    requests_abandon_written(s);
    transfer_in_refuse(&s->transfer_in, out);
    transfer_out_abort(&s->transfer_out, s->machine, out);
    machine_restore_begin(s->machine, true);
    journal_reset(&s->journal, index + 1);
    disk_forget(s, index);
    s->chain = (struct checkpoint_chain){ 0 };
    if (s->options.persistent) {
        struct effect *restart = effects_add(out, EFFECT_RESTART);

        restart->reference = index;
    }
    if (index == 0) {
        bool sound = machine_restore_end(s->machine, 0, 0, machine_digest(s->machine));

        assert(sound); /* an empty state is that of entry 0 */
        (void)sound;
    }
}

static void do_feed(struct server *s, struct instant now, node_id peer, struct effects *out)
{
    for (uint32_t i = 0; i < FEEDS_PER_TURN; i++) {
        struct message message = { .type = MESSAGE_APPEND,
                                   .append = replica_feed(&s->replica, now, peer) };
        uint64_t last = message.append.prev_index;
        struct block *owner = NULL;

        if (replica_feeds(&s->replica, peer))
            message.append.entries = journal_slice(&s->journal, last + 1, s->replica.last_index,
                                                   BATCH_BYTES_MAX, &last, &owner);
        effects_send_held(out, peer, message, owner);
        replica_fed(&s->replica, now, peer, last);
        if (!replica_feeds(&s->replica, peer))
            return;
    }
}

static void pass_on(const struct effect *effect, struct effects *out)
{
    struct effect *copy = effects_add(out, effect->type);

    *copy = *effect;
    if (effect->text)
        copy->text = effects_text(out, "%s", effect->text);
}

static void do_effect(struct server *s, struct instant now, const struct effect *effect,
                      struct effects *out)
{
    switch (effect->type) {
    case EFFECT_APPEND: do_append(s, effect); break;
    case EFFECT_TRUNCATE:
        requests_truncated(s, effect->reference);
        journal_truncate(&s->journal, effect->reference);
        disk_forget(s, effect->reference);
        break;
    case EFFECT_PERSIST:
        s->complete_due |= effect->number == 1;
        pass_on(effect, out);
        break;
    case EFFECT_RESET: do_reset(s, effect->reference, out); break;
    case EFFECT_COMMIT: requests_execute(s, now, out); break;
    case EFFECT_FEED: do_feed(s, now, effect->node, out); break;
    case EFFECT_ROLE: requests_role_changed(s); break;
    case EFFECT_RESYNC: requests_resync(s); break;
    case EFFECT_DONATE:
        transfer_out_wanted(&s->transfer_out, effect->node, effect->reference);
        break;
    default: pass_on(effect, out); break;
    }
}

void server_carry_out(struct server *s, struct instant now, struct effects *out)
{
    for (uint32_t i = 0; i < s->inner.count; i++)
        do_effect(s, now, &s->inner.list[i], out);
    effects_clear(&s->inner);
}

void server_receive(struct server *s, struct instant now, const struct message *message,
                    struct effects *out)
{
    effects_clear(&s->inner);
    switch (message->type) {
    case MESSAGE_FORWARD:
        if (node_is_server(message->from))
            requests_forward(s, now, message);
        return;
    case MESSAGE_REPLY:
        if (message->from == s->replica.view.primary)
            requests_replies(s, message);
        return;
    case MESSAGE_CHECKPOINT_BEGIN:
    case MESSAGE_CHECKPOINT_SLICE:
    case MESSAGE_CHECKPOINT_END:
        if (node_is_server(message->from))
            checkpoints_receive(s, now, message, out);
        return;
    case MESSAGE_CHECKPOINT_ACK:
        if (node_is_server(message->from) && message->checkpoint_ack.installed == 3)
            transfer_out_resume(&s->transfer_out, now, message->from, &message->checkpoint_ack,
                                out);
        else if (node_is_server(message->from))
            transfer_out_ack(&s->transfer_out, now, message->from, &message->checkpoint_ack);
        return;
    case MESSAGE_LINK_DOWN:
    case MESSAGE_LINK_UP:
        if (node_is_server(message->from))
            checkpoints_link(s, now, message, out);
        break;
    default: break;
    }
    replica_receive(&s->replica, now, message, &s->inner);
    server_carry_out(s, now, out);
}

/* An old state goes at once while there is nothing else to do, else beside it. */
static void release(struct server *s, struct instant now)
{
    uint64_t work = s->requests + s->journal.last, began_us, took_us = 0;
    bool more = true;

    if (!machine_releases(s->machine) || !instant_reached(now, s->release_due))
        return;
    began_us = server_turn_us(s);
    for (uint32_t step = 0; more && step < RELEASE_STEPS && took_us < RELEASE_US_MAX; step++) {
        more = machine_release(s->machine, RELEASE_STEP);
        took_us = server_turn_us(s) - began_us;
    }
    s->release_due = now;
    if (work != s->release_work)
        s->release_due = instant_add_us(now, took_us * RELEASE_PARTS);
    s->release_work = work;
}

void server_tick(struct server *s, struct instant now, struct effects *out)
{
    requests_tick(s, now, out);
    checkpoints_tick(s, now, out);
    effects_clear(&s->inner);
    replica_tick(&s->replica, now, &s->inner);
    server_carry_out(s, now, out);
    release(s, now);
}

struct instant server_deadline(const struct server *s)
{
    struct instant due = replica_deadline(&s->replica);

    /* Work that was only put off for the sake of others. */
    if (requests_executing(s) && !requests_blocked(s))
        return (struct instant){ 0 };
    due = instant_min(due, checkpoints_deadline(s));
    if (machine_releases(s->machine))
        due = instant_min(due, s->release_due);
    /* Only when it can be seen to: a deadline that nothing moves spins. */
    if (s->replica.serving && replica_way(&s->replica) == REPLICA_APPEND)
        due = instant_min(due, s->overdue_due);
    return due;
}

void server_check(const struct server *s)
{
    replica_check(&s->replica);
    assert(s->journal.last == s->replica.last_index);
    assert(s->journal.first <= s->replica.first_index);
    assert(s->handed_index <= s->journal.last);
    if (s->replica.whole && !s->transfer_in.applying)
        assert(machine_index(s->machine) == s->replica.executed_index);
}

/* What entries tell the service of the time never goes back, and never stands still either: a clock
 * that is behind it, as it was set back or is another machine's, makes it a little slower, until it
 * has caught up. */
void server_wall(struct server *s, uint64_t wall_us)
{
    uint64_t passed =
        s->wall_heard_us && wall_us > s->wall_heard_us ? wall_us - s->wall_heard_us : 0;

    if (passed > WALL_STEP_US_MAX)
        passed = WALL_STEP_US_MAX;
    s->wall_heard_us = wall_us;
    if (s->wall_us < s->entry_time_us)
        s->wall_us = s->entry_time_us;
    if (wall_us >= s->wall_us)
        s->wall_us = wall_us;
    else
        s->wall_us += passed - passed / WALL_SLOWER;
}

void server_clients_set(struct server *s, uint32_t clients)
{
    s->replica.clients = clients;
}

struct machine *server_machine(struct server *s)
{
    return s->machine;
}

const struct journal *server_journal(const struct server *s)
{
    return &s->journal;
}

static uint32_t oldest_waiting_ms(const struct server *s, struct instant now)
{
    if (s->pending.oldest == PENDING_NONE)
        return 0;
    return (uint32_t)instant_since_ms(now, s->pending.table[s->pending.oldest].arrived);
}

void server_status(const struct server *s, struct instant now, struct server_status *status)
{
    const struct replica *r = &s->replica;

    *status = (struct server_status){
        .self = s->options.self,
        .primary = r->view.number && !replica_fenced(r) ? r->view.primary : NODE_NONE,
        .incarnation = s->options.incarnation,
        .promised = r->promised,
        .view = r->view.number,
        .journal_view = replica_journal_view(r),
        .role = r->role,
        .style = (enum style)r->view.style,
        .acks = r->view.acks,
        .members = r->view.members,
        .serving = r->role == ROLE_PRIMARY ? r->serving : replica_way(r) == REPLICA_FORWARD,
        .leased = replica_leased(r, now),
        .restoring = !r->whole,
        .journal_first = r->first_index,
        .journal_index = r->last_index,
        .commit_index = r->commit_index,
        .executed_index = r->executed_index,
        .digest = r->whole && !s->transfer_in.applying ? machine_digest(s->machine) : 0,
        .checkpoint_count = s->transfer_out.count,
        .checkpoint_index = s->transfer_out.index,
        .requests_under_way = s->pending.count,
        .pending_bytes = s->pending.bytes,
        .journal_bytes = s->journal.bytes,
        .oldest_waiting_ms = oldest_waiting_ms(s, now),
        .join_percent = s->progress.phase == PHASE_NONE ? 100 : progress_percent(&s->progress),
    };
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++)
        status->member_index[i] = r->peers[i].match_index;
    status->member_index[node_index(s->options.self)] = r->saved_index;
}

CORE_DEFINE(server);
