/* edges - what the daemons do around their cores: start and end processes, keep what must be kept.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/services/kv.h"
#include "tests/simulator/parts.h"

#define SIGNAL_TERMINATE   15u
#define SIGNAL_KILL        9u
#define BACKUP_ONE_IN      4u  /* stores of the rm */
#define SPAWN_FAILS_ONE_IN 50u /* while there are faults */

static void local_give(struct process *p, const struct message *message)
{
    process_give(p, parcel_new(PARCEL_LOCAL, message, sizeof *message));
}

static struct process *lfd_of(struct process *server)
{
    return sim_process(server->sim, NODE_LFD(server->host));
}

/* What takes long here or there is cut there, which must not matter: now and then all at once. */
static uint64_t turn_us(void *context)
{
    struct process *p = context;
    uint64_t mixed = ++p->looks * 0x9e3779b97f4a7c15u;

    p->spent_us += (mixed >> 56) * (mixed >> 48 & 15u);
    return p->spent_us;
}

static void server_open(struct process *p)
{
    const struct sim_options *o = &p->sim->options;
    struct server_options options = {
        .self = p->node,
        .incarnation = p->incarnation,
        .service = kv_service(),
        .server_count = o->servers,
        .lease_ms = o->lease_ms,
        .checkpoint_interval_ms = o->checkpoint_interval_ms,
        .suspect_after_ms = o->suspect_after_ms,
        .journal_bytes_max = o->journal_bytes_max,
        .pending_bytes_max = o->pending_bytes_max,
        .seed = random_next(&p->sim->random),
        .persistent = p->disk != NULL,
        .keep_bytes_min = o->keep_bytes_min,
        .sessions_max = o->sessions_max,
        .keep_changes_percent = o->keep_changes_percent,
        .reply = sim_clients_reply,
        .turn_us = turn_us,
        .context = p,
    };
    enum disk_outcome outcome = DISK_READ;

    p->server = server_new(&options, process_clock(p));
    if (p->disk)
        outcome = disk_recover(p);
    if (outcome == DISK_USELESS) {
        sim_trace(p->sim, p->node, "begins anew, and joins from its peers");
        server_free(p->server);
        p->server = server_new(&options, process_clock(p));
        disk_discard(p);
    }
    p->core = server_core(p->server);
    p->compared = p->state_index = 0;
    p->status = (struct server_status){ 0 };
    if (outcome == DISK_UNREADABLE) {
        sim_trace(p->sim, p->node, "ends itself: its disk cannot be read");
        process_end(p, 0, 1);
    }
}

static void spawned_tell(struct process *lfd, const struct process *server, bool adopted)
{
    local_give(lfd,
               &(struct message){
                   .type = MESSAGE_SPAWNED,
                   .spawned = { .server = server->node, .pid = server->pid, .adopted = adopted } });
}

/* An lfd finds what runs on its host already. */
static void lfd_open(struct process *p)
{
    struct detector_options options = detector_options_from(&p->sim->config, p->node);

    p->detector = memory_zeroed(1, sizeof *p->detector);
    detector_init(p->detector, &options, process_clock(p));
    p->core = detector_core(p->detector);
    for (uint32_t i = 0; i < p->sim->options.servers; i++) {
        const struct process *server = sim_process(p->sim, NODE_SERVER(i));

        if (server->host == p->host && server->state != PROCESS_DOWN)
            spawned_tell(p, server, true);
    }
}

static void gfd_open(struct process *p)
{
    struct membership_options options = membership_options_from(&p->sim->config);

    p->membership = memory_zeroed(1, sizeof *p->membership);
    membership_init(p->membership, &options, process_clock(p));
    p->core = membership_core(p->membership);
}

static void rm_open(struct process *p)
{
    struct rm_options options = { 0 };
    struct error error;

    rm_options_set(&options, &p->sim->config);
    options.seed = random_next(&p->sim->random);
    if (p->stored_any)
        options.stored = buffer_bytes(&p->stored);
    if (rm_stored_check(&options, &error) != ERROR_NONE) {
        sim_fail(p->sim, "the rm refuses what it stored: %s", error.text);
        return;
    }
    p->rm = memory_zeroed(1, sizeof *p->rm);
    rm_init(p->rm, &options, process_clock(p));
    rm_wall(p->rm, process_clock(p), process_wall_us(p));
    p->core = rm_core(p->rm);
}

/* A server's edge answers heartbeats itself, with what its status is. */
static void heartbeat_answer(struct process *p, const struct message *message, struct effects *out)
{
    struct server_status status;

    server_status(p->server, process_clock(p), &status);
    effects_send(
        out, message->from,
        (struct message){ .type = MESSAGE_HEARTBEAT_OK,
                          .heartbeat_ok = { .sequence = message->heartbeat.sequence,
                                            .turn = p->turn_number,
                                            .journal_index = status.journal_index,
                                            .commit_index = status.commit_index,
                                            .oldest_waiting_ms = status.oldest_waiting_ms } });
}

void edge_receive(struct process *p, const struct message *message, struct effects *out)
{
    if (p->server && message->type == MESSAGE_HEARTBEAT)
        heartbeat_answer(p, message, out);
    else
        p->core.receive(p->core.self, process_clock(p), message, out);
}

void edge_open(struct process *p)
{
    if (node_is_server(p->node))
        server_open(p);
    else if (node_is_lfd(p->node))
        lfd_open(p);
    else if (p->node == NODE_GFD)
        gfd_open(p);
    else
        rm_open(p);
}

void edge_close(struct process *p)
{
    server_free(p->server);
    free(p->detector);
    free(p->membership);
    free(p->rm);
    p->server = NULL;
    p->detector = NULL;
    p->membership = NULL;
    p->rm = NULL;
}

static void start_server(void *subject, uint64_t life)
{
    struct process *p = subject;

    if (p->life == life && p->state == PROCESS_STARTING)
        process_start(p);
}

static void spawn(struct process *lfd, struct process *server)
{
    struct sim *sim = lfd->sim;
    struct message failed = { .type = MESSAGE_SPAWNED, .spawned = { .server = server->node } };

    if (server->state != PROCESS_DOWN) {
        spawned_tell(lfd, server, true);
        return;
    }
    if (sim->options.faults_ms > 0 && !sim->faults_over &&
        sim_chance(sim, SPAWN_FAILS_ONE_IN) == 0) {
        snprintf(failed.spawned.cause, sizeof failed.spawned.cause, "fork: out of memory");
        local_give(lfd, &failed);
        return;
    }
    server->state = PROCESS_STARTING;
    server->life++;
    server->pid = ++sim->pid;
    server->parent_life = lfd->life;
    spawned_tell(lfd, server, false);
    sim_after(sim, sim_between(sim, 1, 20) * MILLISECOND_NS, start_server, server, server->life);
}

static void killed(void *subject, uint64_t life)
{
    struct process *p = subject;

    if (p->life == life)
        process_end(p, SIGNAL_KILL, 0);
}

/* Asked to end, it does, unless it is stopped: then when it goes on. */
static void terminated(void *subject, uint64_t life)
{
    struct process *p = subject;

    if (p->life != life)
        return;
    if (p->sim->now_ns < p->paused_until_ns)
        sim_after(p->sim, p->paused_until_ns - p->sim->now_ns, terminated, p, life);
    else
        process_end(p, 0, 0);
}

static void cause_tell(void *subject, uint64_t life)
{
    struct process *server = subject;
    struct process *lfd = lfd_of(server);
    struct message message = { .type = MESSAGE_CAUSE,
                               .cause = { .server = server->node, .pid = server->pid } };

    if (server->life != life || lfd->state != PROCESS_RUNNING)
        return;
    snprintf(message.cause.cause, sizeof message.cause.cause, "%s",
             server->sim->now_ns < server->paused_until_ns ? "stopped" : "running");
    local_give(lfd, &message);
}

/* Nobody is suspected, and then killed, to whom nothing happened: the silence was the lfd's own. */
static void check_suspicion(const struct process *lfd, const struct process *server)
{
    if (server->state == PROCESS_RUNNING && !server->harmed && !server->stopping)
        sim_fail(lfd->sim, "%s suspects %s, which nothing keeps from answering",
                 node_name(lfd->node), node_name(server->node));
}

static void signal_send(struct process *server, uint32_t number)
{
    struct sim *sim = server->sim;

    if (server->state == PROCESS_DOWN)
        return;
    if (number == 0)
        sim_after(sim, sim_between(sim, 50, 2000) * 1000, cause_tell, server, server->life);
    else if (number == SIGNAL_TERMINATE)
        sim_after(sim, sim_between(sim, 1, 5) * MILLISECOND_NS, terminated, server, server->life);
    else
        sim_after(sim, sim_between(sim, 10, 100) * 1000, killed, server, server->life);
    server->stopping |= number == SIGNAL_TERMINATE;
}

/* Someone may have made a copy of what it stored, and put it back much later. */
static void back_up(struct process *rm)
{
    if (sim_chance(rm->sim, BACKUP_ONE_IN) != 0)
        return;
    buffer_clear(&rm->store_before, SIZE_MAX);
    buffer_append(&rm->store_before, buffer_head(&rm->stored), buffer_size(&rm->stored));
}

static void store(struct process *rm, struct bytes data)
{
    struct sim *sim = rm->sim;
    struct rm_options options = { 0 };
    const struct message_view *current;
    struct saved saved;
    struct error error;

    rm_options_set(&options, &sim->config);
    if (rm->stored_any)
        back_up(rm);
    buffer_clear(&rm->stored, SIZE_MAX);
    buffer_append(&rm->stored, data.data, data.size);
    rm->stored_any = true;
    saved_init(&saved, &options.policy, options.server_count);
    if (saved_load(&saved, buffer_bytes(&rm->stored), &error) != ERROR_NONE) {
        sim_fail(sim, "the rm stores what it cannot load: %s", error.text);
        return;
    }
    rm_stored(rm->rm, process_wall_us(rm));
    if (saved_current(&saved))
        check_view_content(rm, saved_current(&saved));
    /* What is stored of an old store (an order to stop, say) is as old as that. */
    current = saved_current(&saved);
    if (sim->store_bad && (!current || current->number <= sim->checks.stored_number) &&
        sim->saved_any)
        return;
    if (sim->store_bad && current)
        checks_outdated(sim, &saved);
    sim->saved = saved;
    sim->saved_any = true;
    sim->store_bad = false;
    checks_stored(sim);
}

/* The newest view of what an rm has stored; 0: none. */
static uint64_t stored_view(struct sim *sim, struct bytes data)
{
    struct rm_options options = { 0 };
    const struct message_view *current;
    struct saved saved;
    struct error error;

    rm_options_set(&options, &sim->config);
    saved_init(&saved, &options.policy, options.server_count);
    if (data.size == 0 || saved_load(&saved, data, &error) != ERROR_NONE)
        return 0;
    current = saved_current(&saved);
    return current ? current->number : 0;
}

/* Its store is as it was, or gone. What the cluster has agreed on is another matter: *sim->saved
 * stays. */
void edge_store_replace(struct process *rm, bool lost)
{
    buffer_clear(&rm->stored, SIZE_MAX);
    rm->stored_any = !lost;
    if (!lost)
        buffer_append(&rm->stored, buffer_head(&rm->store_before), buffer_size(&rm->store_before));
    /* One from before an order to stop, say, may have the newest view all the same. */
    rm->sim->store_bad = stored_view(rm->sim, buffer_bytes(&rm->stored)) < sim_view(rm->sim);
}

void edge_perform(struct process *p, const struct effect *effect)
{
    switch (effect->type) {
    case EFFECT_SPAWN: spawn(p, sim_process(p->sim, effect->node)); break;
    case EFFECT_KILL:
        if (effect->number != SIGNAL_TERMINATE)
            check_suspicion(p, sim_process(p->sim, effect->node));
        signal_send(sim_process(p->sim, effect->node), effect->number);
        break;
    case EFFECT_STORE: store(p, effect->data); break;
    case EFFECT_PERSIST:
    case EFFECT_RESTART:
    case EFFECT_KEEP:
    case EFFECT_KEEP_END: disk_perform(p, effect); break;
    case EFFECT_ANSWER:
        sim_trace(p->sim, p->node, "answers: %s: %s", effect->number ? "done" : "refused",
                  effect->text);
        break;
    default:
        sim_fail(p->sim, "%s asks its edge for what it should not: effect %u", node_name(p->node),
                 (unsigned)effect->type);
        break;
    }
}

/* What the rm takes for lost no server can give it any more. */
static void check_loss(struct process *rm)
{
    const struct saved *saved = &rm->rm->saved;

    rm->sim->loss_waits++;
    for (uint32_t i = 0; i < saved->view_count; i++)
        if (faults_doom_view(rm->sim, &saved->views[i]))
            return;
    sim_fail(rm->sim, "the rm takes for lost what can be had");
}

void edge_noted(struct process *p, const struct effect *note)
{
    if (note->level != NOTE_DEBUG || p->sim->options.trace_messages)
        sim_trace(p->sim, p->node, "%s", note->text);
    if (p->node == NODE_RM &&
        (strstr(note->text, "data would be lost") || strstr(note->text, "data may be lost")))
        check_loss(p);
}

struct exit_note {
    struct process *lfd;
    uint64_t lfd_life;
    struct message message;
};

static void exited_tell(void *subject, uint64_t argument)
{
    struct exit_note *note = subject;

    (void)argument;
    if (note->lfd->life == note->lfd_life)
        local_give(note->lfd, &note->message);
    sim_give_back(note->lfd->sim, note);
}

static void launch(void *subject, uint64_t life)
{
    struct process *p = subject;

    if (p->life == life && p->state == PROCESS_DOWN)
        process_start(p);
}

/* Who hears of the end of a process: of a server its lfd, of all others the launcher. */
void edge_exited(struct process *p, uint8_t signal, uint8_t status)
{
    struct sim *sim = p->sim;
    struct process *lfd;
    struct exit_note *note;

    if (!node_is_server(p->node)) {
        uint64_t wait = sim_between(sim, 5, 300) * MILLISECOND_NS;

        if (p->down_until_ns > sim->now_ns)
            wait += p->down_until_ns - sim->now_ns;
        sim_after(sim, wait, launch, p, p->life);
        return;
    }
    lfd = lfd_of(p);
    if (lfd->state != PROCESS_RUNNING)
        return;
    note = sim_take(sim, sizeof *note);
    note->lfd = lfd;
    note->lfd_life = lfd->life;
    note->message = (struct message){ .type = MESSAGE_EXITED,
                                      .exited = { .server = p->node,
                                                  .pid = p->pid,
                                                  .known = p->parent_life == lfd->life,
                                                  .signal = signal,
                                                  .status = status } };
    sim_after(sim, sim_between(sim, 50, 500) * 1000, exited_tell, note, 0);
}
