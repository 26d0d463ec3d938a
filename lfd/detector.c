#include "lfd/detector.h"

#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/lock.h"

#define STOPPED_TEXT "stopped by the operator"

/* Each call appends at most these, with a note of at most 200 bytes each, for a server. */
#define EFFECTS_PER_SERVER_MAX 8u
_Static_assert(EFFECT_COUNT_MAX >= EFFECTS_PER_SERVER_MAX * SERVER_COUNT_MAX + 4u,
               "one call may speak of every server");

struct detector_options detector_options_from(const struct config *config, node_id lfd)
{
    struct detector_options options = {
        .self = lfd,
        .heartbeat_interval_ms = config->detection.heartbeat_interval_ms,
        .suspect_after_ms = config->detection.suspect_after_ms,
        .gfd_suspect_after_ms = config->detection.host_suspect_after_ms,
    };

    for (uint32_t i = 0; i < config->server_count; i++) {
        if (config->servers[i].host == node_index(lfd))
            options.servers[options.server_count++] = NODE_SERVER(i);
    }
    return options;
}

void detector_init(struct detector *d, const struct detector_options *options, struct instant now)
{
    assert(node_is_lfd(options->self));
    assert(options->server_count <= SERVER_COUNT_MAX);
    assert(options->heartbeat_interval_ms >= 1);
    assert(options->suspect_after_ms > options->heartbeat_interval_ms);
    assert(options->gfd_suspect_after_ms > options->heartbeat_interval_ms);

    *d = (struct detector){ .options = *options, .beat_due = now, .accuse_after = now };
    for (uint32_t i = 0; i < options->server_count; i++) {
        d->servers[i].node = options->servers[i];
        d->servers[i].deadline = INSTANT_NEVER;
        snprintf(d->servers[i].last, MESSAGE_TEXT_SIZE, "not running when %s started",
                 node_name(options->self));
    }
    detector_check(d);
}

static struct watched *find(struct detector *d, node_id node)
{
    for (uint32_t i = 0; i < d->options.server_count; i++) {
        if (d->servers[i].node == node)
            return &d->servers[i];
    }
    return NULL;
}

static bool any_present(const struct detector *d)
{
    for (uint32_t i = 0; i < d->options.server_count; i++) {
        if (d->servers[i].pid != 0)
            return true;
    }
    return false;
}

/* The link of a server is listened to only when its process is at the other end. */
static bool link_is_its_own(const struct watched *w)
{
    return w->linked && w->pid != 0 && w->link_pid == w->pid && w->link_incarnation != 0 &&
           (w->incarnation == 0 || w->link_incarnation == w->incarnation);
}

/* An adopted process whose incarnation is not known yet: the gfd cannot be told of it. */
static bool is_unknown(const struct watched *w)
{
    return w->pid != 0 && w->adopted && w->incarnation == 0 && w->state != WATCH_STUCK;
}

static void tell_add(const struct detector *d, const struct watched *w, struct effects *out)
{
    if (!d->gfd_linked)
        return;
    effects_send(out, NODE_GFD,
                 (struct message){
                     .type = MESSAGE_ADD,
                     .add = { .server = w->node, .incarnation = w->incarnation, .pid = w->pid },
                 });
}

static void tell_delete(const struct detector *d, const struct watched *w, uint64_t incarnation,
                        bool certain, struct effects *out)
{
    struct message message = {
        .type = MESSAGE_DELETE,
        .delete = { .server = w->node, .incarnation = incarnation, .certain = certain },
    };

    if (!d->gfd_linked)
        return;
    snprintf(message.delete.cause, MESSAGE_TEXT_SIZE, "%s", w->last);
    effects_send(out, NODE_GFD, message);
}

/* Kept for the gfd when it is not there. */
static void tell_start_failed(const struct detector *d, struct watched *w, const char *cause,
                              struct effects *out)
{
    struct message message = { .type = MESSAGE_START_FAILED,
                               .start_failed = { .server = w->node } };

    w->ordered = false;
    w->failure_untold = !d->gfd_linked;
    if (!d->gfd_linked)
        return;
    snprintf(message.start_failed.cause, MESSAGE_TEXT_SIZE, "%s", cause);
    effects_send(out, NODE_GFD, message);
}

/* What the gfd must know of a server after its link came up: it is alive, or it is gone. What was
 * said over an earlier link may be lost, so it is said again. */
static void tell_account(const struct detector *d, struct watched *w, struct effects *out)
{
    if (w->added)
        tell_add(d, w, out);
    else if (w->state == WATCH_STUCK)
        tell_delete(d, w, w->incarnation, false, out);
    else if (!is_unknown(w))
        tell_delete(d, w, 0, true, out);
    if (w->failure_untold)
        tell_start_failed(d, w, w->last, out);
}

/* The gfd deletes whom we do not register, so we wait until we know all that we have adopted. */
static void register_when_known(struct detector *d, struct effects *out)
{
    uint32_t count = 0;

    if (!d->gfd_linked || d->registered)
        return;
    for (uint32_t i = 0; i < d->options.server_count; i++) {
        if (is_unknown(&d->servers[i]))
            return;
        count += d->servers[i].added;
    }
    d->registered = true;
    effects_note(out, "registered at the gfd with %" PRIu32 " server%s", count,
                 count == 1 ? "" : "s");
    effects_send(out, NODE_GFD,
                 (struct message){ .type = MESSAGE_REGISTERED, .registered = { .count = count } });
}

static void send_heartbeat(struct watched *w, struct effects *out)
{
    w->heartbeat_count++;
    effects_note_at(out, NOTE_DEBUG, "heartbeat_count %" PRIu64 ": sent to %s", w->heartbeat_count,
                    node_name(w->node));
    effects_send(out, w->node,
                 (struct message){ .type = MESSAGE_HEARTBEAT,
                                   .heartbeat = { .sequence = w->heartbeat_count } });
}

static void send_signal(const struct watched *w, int signal, struct effects *out)
{
    struct effect *effect = effects_add(out, EFFECT_KILL);

    effect->node = w->node;
    effect->number = (uint32_t)signal;
}

/* How the last process ended; may be made of the other texts of the server. */
static void last_set(struct watched *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void last_set(struct watched *w, const char *format, ...)
{
    char text[MESSAGE_TEXT_SIZE] = "";
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    memcpy(w->last, text, sizeof w->last);
}

static void become_spawning(struct watched *w, struct effects *out)
{
    assert(w->state == WATCH_ABSENT);
    w->state = WATCH_SPAWNING;
    w->ordered = true;
    w->start_wanted = false;
    w->stop_wanted = false;
    w->failure_untold = false;
    effects_note(out, "start %s", node_name(w->node));
    effects_add(out, EFFECT_SPAWN)->node = w->node;
}

static void become_stopping(struct watched *w, struct instant now, struct effects *out)
{
    assert(w->state == WATCH_STARTING || w->state == WATCH_TRUSTED);
    w->state = WATCH_STOPPING;
    w->stopping = true;
    w->deadline = instant_add_ms(now, STOP_WAIT_MS_MAX);
    snprintf(w->reason, sizeof w->reason, "%s", STOPPED_TEXT);
    effects_note(out, "stop %s: SIGTERM to process %" PRIu32, node_name(w->node), w->pid);
    send_signal(w, SIGTERM, out);
}

/* A server that was running before us has what it needs to redial, and no more. */
static void become_starting(struct detector *d, struct watched *w, struct instant now,
                            const struct message_spawned *spawned, struct effects *out)
{
    uint32_t wait_ms =
        spawned->adopted ? REDIAL_MS_MAX + d->options.suspect_after_ms : START_WAIT_MS_MAX;

    assert(w->state == WATCH_SPAWNING || (w->state == WATCH_ABSENT && spawned->adopted));
    assert(w->pid == 0 && !w->added);
    if (!any_present(d))
        d->beat_due = now;
    w->state = WATCH_STARTING;
    w->pid = spawned->pid;
    w->adopted = spawned->adopted != 0;
    w->silent_since = now;
    w->deadline = instant_add_ms(now, wait_ms);
    effects_note(out,
                 w->adopted ? "%s is running already: adopt process %" PRIu32
                            : "%s is process %" PRIu32,
                 node_name(w->node), w->pid);
    if (w->stop_wanted)
        become_stopping(w, now, out);
    if (link_is_its_own(w))
        send_heartbeat(w, out);
}

static void become_trusted(struct detector *d, struct watched *w, struct instant now,
                           struct effects *out)
{
    assert(w->state == WATCH_STARTING || w->state == WATCH_SUSPECTED);
    assert(!w->stopping && link_is_its_own(w));
    w->state = WATCH_TRUSTED;
    w->deadline = INSTANT_NEVER;
    w->silent_since = now;
    w->incarnation = w->link_incarnation;
    w->ordered = false;
    w->start_wanted = false;
    if (w->added) {
        effects_note(out, "trust %s again: it answered before it was killed", node_name(w->node));
        return;
    }
    w->added = true;
    effects_note(out, "add replica %s", node_name(w->node));
    tell_add(d, w, out);
}

/* Ends in a kill unless an answer comes before the edge has found the cause. */
static void become_suspected(struct watched *w, struct instant now, struct effects *out)
{
    assert(w->state == WATCH_STARTING || w->state == WATCH_TRUSTED || w->state == WATCH_STOPPING);
    w->state = WATCH_SUSPECTED;
    w->deadline = instant_add_ms(now, EXAMINE_WAIT_MS_MAX);
    snprintf(w->cause, sizeof w->cause, "cause unknown");
    send_signal(w, 0, out);
}

static void become_killing(struct watched *w, struct instant now, struct effects *out)
{
    assert(w->state == WATCH_SUSPECTED);
    w->state = WATCH_KILLING;
    w->deadline = instant_add_ms(now, KILL_WAIT_MS_MAX);
    effects_note_at(out, NOTE_WARN, "kill %s: %s (%s)", node_name(w->node), w->reason, w->cause);
    send_signal(w, SIGKILL, out);
}

/* The process may be there for long, in a wait of the kernel's; the cluster must go on. */
static void become_stuck(struct detector *d, struct watched *w, struct effects *out)
{
    assert(w->state == WATCH_KILLING);
    w->state = WATCH_STUCK;
    w->deadline = INSTANT_NEVER;
    last_set(w, "%.40s, cannot be killed: %.32s", w->reason, w->cause);
    if (w->added || (w->adopted && w->incarnation == 0)) {
        w->added = false;
        effects_note_at(out, NOTE_ERROR, "delete replica %s (%s)", node_name(w->node), w->last);
        tell_delete(d, w, w->incarnation, false, out);
    }
    if (w->ordered) {
        effects_note_at(out, NOTE_ERROR, "%s did not start: %s", node_name(w->node), w->last);
        tell_start_failed(d, w, w->last, out);
    }
}

/* No process is left; w->last says why. */
static void become_absent(struct detector *d, struct watched *w, struct effects *out)
{
    bool was_known = w->incarnation != 0 || w->adopted;

    assert(w->state != WATCH_ABSENT);
    if (was_known && w->state == WATCH_STUCK)
        effects_note(out, "%s is gone after all (%s)", node_name(w->node), w->last);
    else if (was_known)
        effects_note(out, "delete replica %s (%s)", node_name(w->node), w->last);
    else
        effects_note_at(out, NOTE_WARN, "%s did not start: %s", node_name(w->node), w->last);
    if (was_known)
        tell_delete(d, w, w->incarnation, true, out);
    if (w->ordered)
        tell_start_failed(d, w, w->last, out);

    w->state = WATCH_ABSENT;
    w->deadline = INSTANT_NEVER;
    w->pid = 0;
    w->incarnation = 0;
    w->heartbeat_count = 0;
    w->adopted = w->added = w->stopping = w->stop_wanted = w->stalled = false;
    if (w->start_wanted)
        become_spawning(w, out);
}

static void exit_set(struct watched *w, const struct message_exited *exited)
{
    const char *name = exited->signal != 0 ? sigabbrev_np(exited->signal) : NULL;

    if (!exited->known)
        last_set(w, "exited (status unknown: adopted)");
    else if (name != NULL)
        last_set(w, "exited: SIG%s", name);
    else if (exited->signal != 0)
        last_set(w, "exited: signal %u", exited->signal);
    else if (exited->status == EXIT_ALREADY_RUNNING)
        last_set(w, "exited: status %u, already running elsewhere", exited->status);
    else
        last_set(w, "exited: status %u", exited->status);
}

static void take_exited(struct detector *d, const struct message_exited *exited,
                        struct effects *out)
{
    struct watched *w = find(d, exited->server);
    bool killed;

    if (w == NULL || w->pid == 0 || w->pid != exited->pid)
        return;
    killed = (w->state == WATCH_KILLING || w->state == WATCH_STUCK) &&
             (!exited->known || exited->signal == SIGKILL);
    if (w->stopping)
        last_set(w, "%s", STOPPED_TEXT);
    else if (killed)
        last_set(w, "%.40s (%.32s), killed", w->reason, w->cause);
    else
        exit_set(w, exited);
    become_absent(d, w, out);
}

static void take_spawned(struct detector *d, struct instant now,
                         const struct message_spawned *spawned, struct effects *out)
{
    struct watched *w = find(d, spawned->server);

    if (w == NULL)
        return;
    if (spawned->pid != 0) {
        become_starting(d, w, now, spawned, out);
    } else if (w->state == WATCH_SPAWNING) {
        last_set(w, "%s", spawned->cause);
        become_absent(d, w, out);
    }
}

static void take_cause(struct detector *d, struct instant now, const struct message_cause *cause,
                       struct effects *out)
{
    struct watched *w = find(d, cause->server);

    if (w == NULL || w->state != WATCH_SUSPECTED || w->pid != cause->pid)
        return;
    snprintf(w->cause, sizeof w->cause, "%s", cause->cause);
    become_killing(w, now, out);
}

static void order_start(struct detector *d, struct watched *w, struct effects *out)
{
    const char *name = node_name(w->node);

    switch (w->state) {
    case WATCH_ABSENT: become_spawning(w, out); break;
    case WATCH_SPAWNING:
        w->stop_wanted = false;
        effects_note(out, "start %s: it is being started already", name);
        break;
    case WATCH_STARTING:
    case WATCH_TRUSTED:
        effects_note(out, "start %s: it is running already, as process %" PRIu32, name, w->pid);
        break;
    case WATCH_STOPPING:
    case WATCH_SUSPECTED:
    case WATCH_KILLING:
        w->start_wanted = true;
        effects_note(out, "start %s: as soon as process %" PRIu32 " is gone", name, w->pid);
        break;
    case WATCH_STUCK:
        effects_note_at(out, NOTE_WARN, "start %s: refused, process %" PRIu32 " is still there",
                        name, w->pid);
        tell_start_failed(d, w, w->last, out);
        break;
    }
}

static void order_stop(struct watched *w, struct instant now, struct effects *out)
{
    w->start_wanted = false;
    switch (w->state) {
    case WATCH_ABSENT: effects_note(out, "stop %s: it is not running", node_name(w->node)); break;
    case WATCH_SPAWNING: w->stop_wanted = true; break;
    case WATCH_STARTING:
    case WATCH_TRUSTED: become_stopping(w, now, out); break;
    case WATCH_STOPPING:
    case WATCH_SUSPECTED:
    case WATCH_KILLING:
    case WATCH_STUCK:
        w->stopping = true;
        effects_note(out, "stop %s: process %" PRIu32 " is on its way out", node_name(w->node),
                     w->pid);
        break;
    }
}

static void take_order(struct detector *d, struct instant now, const struct message *message,
                       struct effects *out)
{
    const struct message_order *order = &message->order;
    struct watched *w = find(d, order->server);

    if (message->from != NODE_GFD && message->from != NODE_OPERATOR)
        return;
    if (w == NULL) {
        effects_note_at(out, NOTE_WARN, "%s orders %s, which is not of this host",
                        node_name(message->from), node_name(order->server));
        return;
    }
    if (order->action == ORDER_START)
        order_start(d, w, out);
    else if (order->action == ORDER_STOP)
        order_stop(w, now, out);
    else
        effects_note_at(out, NOTE_WARN, "unknown order %u for %s", order->action,
                        node_name(order->server));
}

/* A server that answers but serves nobody is not dead, but somebody should look. */
static void watch_progress(struct watched *w, const struct message_heartbeat_ok *ok,
                           struct effects *out)
{
    bool stalled = ok->oldest_waiting_ms >= STALL_MS_MAX;

    if (stalled && !w->stalled)
        effects_note_at(out, NOTE_WARN,
                        "%s answers, but a request has waited for %" PRIu32 " ms: turn %" PRIu64
                        ", journal %" PRIu64 ", commit %" PRIu64,
                        node_name(w->node), ok->oldest_waiting_ms, ok->turn, ok->journal_index,
                        ok->commit_index);
    if (!stalled && w->stalled)
        effects_note(out, "%s makes progress again: commit %" PRIu64, node_name(w->node),
                     ok->commit_index);
    w->stalled = stalled;
}

static void take_heartbeat_ok(struct detector *d, struct instant now, const struct message *message,
                              struct effects *out)
{
    const struct message_heartbeat_ok *ok = &message->heartbeat_ok;
    struct watched *w = find(d, message->from);

    if (w == NULL || !link_is_its_own(w) || ok->sequence == 0 || ok->sequence > w->heartbeat_count)
        return;
    effects_note_at(out, NOTE_DEBUG,
                    "heartbeat_count %" PRIu64 ": answered by %s (turn %" PRIu64
                    ", journal %" PRIu64 ", commit %" PRIu64 ", oldest %" PRIu32 " ms)",
                    ok->sequence, node_name(w->node), ok->turn, ok->journal_index, ok->commit_index,
                    ok->oldest_waiting_ms);
    w->silent_since = now;
    watch_progress(w, ok, out);
    if (w->state == WATCH_STARTING || (w->state == WATCH_SUSPECTED && !w->stopping))
        become_trusted(d, w, now, out);
}

/* How far its recovery is: it has no other link yet. */
static void pass_progress(struct detector *d, const struct message *message, struct effects *out)
{
    struct message progress = *message;
    struct watched *w = find(d, message->from);

    if (w == NULL || !link_is_its_own(w) || !d->gfd_linked)
        return;
    progress.progress.server = w->node;
    effects_send(out, NODE_GFD, progress);
}

static void take_heartbeat(struct detector *d, struct instant now, const struct message *message,
                           struct effects *out)
{
    uint64_t sequence = message->heartbeat.sequence;

    if (message->from != NODE_GFD)
        return;
    effects_note_at(out, NOTE_DEBUG, "heartbeat_count %" PRIu64 ": from gfd, answered", sequence);
    if (d->gfd_silent)
        effects_note(out, "gfd is heard again");
    d->gfd_silent = false;
    d->gfd_heard = now;
    effects_send(
        out, NODE_GFD,
        (struct message){ .type = MESSAGE_HEARTBEAT_OK, .heartbeat_ok = { .sequence = sequence } });
}

static void take_gfd_link(struct detector *d, struct instant now, bool up, struct effects *out)
{
    effects_note_at(out, up ? NOTE_INFO : NOTE_WARN, "%s",
                    up ? "gfd is up" : "gfd is down: nothing changes until it is back");
    d->gfd_linked = up;
    d->gfd_silent = false;
    d->gfd_heard = now;
    d->registered = false;
    for (uint32_t i = 0; up && i < d->options.server_count; i++)
        tell_account(d, &d->servers[i], out);
}

static void take_link_up(struct detector *d, struct instant now, const struct message *message,
                         struct effects *out)
{
    struct watched *w = find(d, message->from);

    if (message->from == NODE_GFD)
        take_gfd_link(d, now, true, out);
    if (w == NULL)
        return;
    w->linked = true;
    w->link_pid = message->link_up.pid;
    w->link_incarnation = message->link_up.incarnation;
    if (link_is_its_own(w))
        send_heartbeat(w, out);
    else
        effects_note_at(out, NOTE_WARN,
                        "a link of %s comes from process %" PRIu32 ", not from %" PRIu32
                        " as it was known: it is not listened to",
                        node_name(w->node), w->link_pid, w->pid);
}

static void take_link_down(struct detector *d, struct instant now, const struct message *message,
                           struct effects *out)
{
    struct watched *w = find(d, message->from);

    if (message->from == NODE_GFD && d->gfd_linked)
        take_gfd_link(d, now, false, out);
    if (w != NULL)
        w->linked = false;
}

static struct instant later_by_ms(struct instant t, uint64_t ms, struct instant now)
{
    return instant_min(instant_add_ms(t, ms), now);
}

/* Whoever wakes up late finds everyone silent. The silence was our own: it is taken off every wait,
 * and nobody is accused before there was time for an answer. */
static void forgive_lateness(struct detector *d, struct instant now, struct effects *out)
{
    uint64_t late_ms = instant_since_ms(now, detector_deadline(d));

    if (late_ms <= lateness_ms_max(d->options.suspect_after_ms, d->options.heartbeat_interval_ms))
        return;
    effects_note_at(out, NOTE_WARN, "woke up %" PRIu64 " ms late: nobody is blamed for it",
                    late_ms);
    d->accuse_after = instant_add_ms(now, d->options.heartbeat_interval_ms);
    d->gfd_heard = later_by_ms(d->gfd_heard, late_ms, now);
    d->beat_due = now;
    for (uint32_t i = 0; i < d->options.server_count; i++) {
        struct watched *w = &d->servers[i];

        w->silent_since = later_by_ms(w->silent_since, late_ms, now);
        if (w->deadline.ns != INSTANT_NEVER.ns)
            w->deadline = instant_max(instant_add_ms(w->deadline, late_ms), d->accuse_after);
    }
}

void detector_receive(struct detector *d, struct instant now, const struct message *message,
                      struct effects *out)
{
    forgive_lateness(d, now, out);
    switch (message->type) {
    case MESSAGE_LINK_UP: take_link_up(d, now, message, out); break;
    case MESSAGE_LINK_DOWN: take_link_down(d, now, message, out); break;
    case MESSAGE_HEARTBEAT: take_heartbeat(d, now, message, out); break;
    case MESSAGE_HEARTBEAT_OK: take_heartbeat_ok(d, now, message, out); break;
    case MESSAGE_PROGRESS: pass_progress(d, message, out); break;
    case MESSAGE_ORDER: take_order(d, now, message, out); break;
    case MESSAGE_SPAWNED: take_spawned(d, now, &message->spawned, out); break;
    case MESSAGE_EXITED: take_exited(d, &message->exited, out); break;
    case MESSAGE_CAUSE: take_cause(d, now, &message->cause, out); break;
    default: break;
    }
    register_when_known(d, out);
    detector_check(d);
}

/* When the state of a server is next looked at. */
static struct instant server_deadline(const struct detector *d, const struct watched *w)
{
    if (w->state != WATCH_TRUSTED)
        return w->deadline;
    return instant_max(instant_add_ms(w->silent_since, d->options.suspect_after_ms),
                       d->accuse_after);
}

static void server_due(struct detector *d, struct watched *w, struct instant now,
                       struct effects *out)
{
    uint64_t silent_ms = instant_since_ms(now, w->silent_since);

    switch (w->state) {
    case WATCH_STARTING:
        snprintf(w->reason, sizeof w->reason, "no answer to a heartbeat within %" PRIu64 " ms",
                 silent_ms);
        effects_note_at(out, NOTE_WARN, "suspect %s: %s", node_name(w->node), w->reason);
        become_suspected(w, now, out);
        break;
    case WATCH_TRUSTED:
        snprintf(w->reason, sizeof w->reason, "silent for %" PRIu64 " ms", silent_ms);
        effects_note_at(out, NOTE_WARN, "suspect %s: %s", node_name(w->node), w->reason);
        become_suspected(w, now, out);
        break;
    case WATCH_STOPPING:
        effects_note_at(out, NOTE_WARN, "%s does not end within %u ms of SIGTERM",
                        node_name(w->node), STOP_WAIT_MS_MAX);
        become_suspected(w, now, out);
        break;
    case WATCH_SUSPECTED: become_killing(w, now, out); break;
    case WATCH_KILLING: become_stuck(d, w, out); break;
    case WATCH_ABSENT:
    case WATCH_SPAWNING:
    case WATCH_STUCK: assert(false); break; /* these wait for nothing */
    }
}

static void beat(struct detector *d, struct instant now, struct effects *out)
{
    d->beat_due = instant_add_ms(now, d->options.heartbeat_interval_ms);
    for (uint32_t i = 0; i < d->options.server_count; i++) {
        if (link_is_its_own(&d->servers[i]))
            send_heartbeat(&d->servers[i], out);
    }
}

static struct instant gfd_deadline(const struct detector *d)
{
    if (!d->gfd_linked || d->gfd_silent)
        return INSTANT_NEVER;
    return instant_max(instant_add_ms(d->gfd_heard, d->options.gfd_suspect_after_ms),
                       d->accuse_after);
}

void detector_tick(struct detector *d, struct instant now, struct effects *out)
{
    forgive_lateness(d, now, out);
    if (any_present(d) && instant_reached(now, d->beat_due))
        beat(d, now, out);
    for (uint32_t i = 0; i < d->options.server_count; i++) {
        if (instant_reached(now, server_deadline(d, &d->servers[i])))
            server_due(d, &d->servers[i], now, out);
    }
    if (instant_reached(now, gfd_deadline(d))) {
        d->gfd_silent = true;
        effects_note_at(out, NOTE_WARN, "gfd is silent for %" PRIu64 " ms",
                        instant_since_ms(now, d->gfd_heard));
    }
    register_when_known(d, out);
    detector_check(d);
}

struct instant detector_deadline(const struct detector *d)
{
    struct instant deadline = gfd_deadline(d);

    if (any_present(d))
        deadline = instant_min(deadline, d->beat_due);
    for (uint32_t i = 0; i < d->options.server_count; i++)
        deadline = instant_min(deadline, server_deadline(d, &d->servers[i]));
    return deadline;
}

void detector_check(const struct detector *d)
{
    for (uint32_t i = 0; i < d->options.server_count; i++) {
        const struct watched *w = &d->servers[i];
        bool waits = w->state == WATCH_STARTING || w->state == WATCH_STOPPING ||
                     w->state == WATCH_SUSPECTED || w->state == WATCH_KILLING;

        assert((w->pid == 0) == (w->state == WATCH_ABSENT || w->state == WATCH_SPAWNING));
        assert(waits == (w->deadline.ns != INSTANT_NEVER.ns));
        assert(!w->added || (w->pid != 0 && w->incarnation != 0));
        assert(w->state != WATCH_TRUSTED || w->added);
        assert(w->state != WATCH_STUCK || !w->added);
        assert(w->pid != 0 || w->incarnation == 0);
    }
    assert(!d->registered || d->gfd_linked);
}

CORE_DEFINE(detector);
