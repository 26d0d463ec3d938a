#include "common/runtime.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/runtime_links.h"

#define TURN_ROUNDS_MAX \
    8 /* ticks in one turn, while each makes new work; then inputs have their turn */

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    int status = clock_gettime(clock, &t);

    assert(status == 0);
    (void)status;
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct instant runtime_now(void)
{
    return (struct instant){ clock_ns(CLOCK_MONOTONIC) };
}

uint64_t runtime_wall_us(void)
{
    return clock_ns(CLOCK_REALTIME) / 1000u;
}

struct instant runtime_refresh(struct runtime *r)
{
    r->now = runtime_now();
    r->now_fresh = true;
    if (r->turn_began.ns == UINT64_MAX)
        r->turn_began = r->now;
    return r->now;
}

struct instant runtime_turn_now(struct runtime *r)
{
    return r->now_fresh ? r->now : runtime_refresh(r);
}

static void end_by_core(struct runtime *r, const struct effect *effect)
{
    log_line(NOTE_ERROR, "%s", effect->text);
    r->failed = true;
    r->stopping = true;
}

static void carry_out_one(struct runtime *r, const struct effect *effect)
{
    switch (effect->type) {
    case EFFECT_SEND: links_send(r, effect->node, &effect->message, effect->owner); break;
    case EFFECT_NOTE: log_line(effect->level, "%s", effect->text); break;
    case EFFECT_END: end_by_core(r, effect); break;
    default:
        assert(r->options.perform);
        r->options.perform(r->options.context, effect);
        break;
    }
}

/* What stands before the end of a process is done, what stands behind it is not. */
static void carry_out(struct runtime *r)
{
    for (uint32_t i = 0; i < r->effects->count && !r->failed; i++)
        carry_out_one(r, &r->effects->list[i]);
    effects_clear(r->effects);
}

/* Carries out what the core said, and gives it what the edge delivered meanwhile. */
static void settle(struct runtime *r)
{
    struct message next;

    assert(!r->busy);
    r->busy = true;
    carry_out(r);
    while (r->delivered_count > 0 && !r->failed) {
        next = r->delivered[0];
        r->delivered_count--;
        for (uint32_t i = 0; i < r->delivered_count; i++)
            r->delivered[i] = r->delivered[i + 1];
        r->options.core.receive(r->options.core.self, runtime_turn_now(r), &next, r->effects);
        carry_out(r);
    }
    r->busy = false;
}

void runtime_receive(struct runtime *r, const struct message *message)
{
    if (r->failed)
        return;
    r->touched = true;
    r->options.core.receive(r->options.core.self, runtime_turn_now(r), message, r->effects);
    settle(r);
}

void runtime_deliver(struct runtime *r, const struct message *message)
{
    if (!r->busy) {
        runtime_receive(r, message);
        return;
    }
    assert(r->delivered_count < DELIVER_COUNT);
    r->delivered[r->delivered_count++] = *message;
}

struct effects *runtime_effects(struct runtime *r)
{
    assert(!r->busy && r->effects->count == 0);
    return r->effects;
}

void runtime_carry_out(struct runtime *r)
{
    r->touched = true; /* also when it said nothing: it may have something for its tick */
    settle(r);
}

/* Time passes for the core, at the end of a turn. */
static void tick(struct runtime *r)
{
    r->touched = false;
    runtime_refresh(r);
    r->options.core.tick(r->options.core.self, r->now, r->effects);
    settle(r);
}

/* What came of the turn goes out. What that leads to belongs to the same turn, within reason. */
static void turn_end(struct runtime *r)
{
    int rounds = 0;

    do {
        tick(r);
        if (r->options.turn_end)
            r->options.turn_end(r->options.context);
        links_flush(r);
        links_bury(r);
    } while (r->touched && !r->stopping && ++rounds < TURN_ROUNDS_MAX);
    r->options.core.check(r->options.core.self);
    r->turns++;
    runtime_refresh(r);
    histogram_add(&r->turn_times_us, instant_since_us(r->now, r->turn_began));
}

/* Sets the timer, which is left alone when it stands early enough: it then fires in vain, which
 * is cheaper than to move it in every turn. */
static void timer_set(struct runtime *r)
{
    struct instant deadline = r->options.core.deadline(r->options.core.self);
    struct instant now = runtime_now();
    uint64_t wait_us;
    struct timeval wait;

    if (deadline.ns == UINT64_MAX || (r->timer_at.ns <= deadline.ns))
        return;
    wait_us = deadline.ns > now.ns ? (deadline.ns - now.ns + 999u) / 1000u : 0;
    wait = (struct timeval){ .tv_sec = (time_t)(wait_us / 1000000u),
                             .tv_usec = (suseconds_t)(wait_us % 1000000u) };
    event_add(&r->timer, &wait);
    r->timer_at = deadline;
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
    struct runtime *r = context;

    (void)fd;
    (void)what;
    r->timer_at = INSTANT_NEVER; /* the tick at the end of the turn does the rest */
}

static void on_signal(evutil_socket_t fd, short what, void *context)
{
    struct runtime *r = context;
    struct signalfd_siginfo info;

    (void)what;
    if (read((int)fd, &info, sizeof info) == (ssize_t)sizeof info)
        runtime_stop(r);
}

/* Signals come as events of the loop; a broken pipe is an error of its write. */
static enum error_code signals_catch(struct runtime *r, struct error *error)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return error_system(error, "cannot set up signals");
    r->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (r->signal_fd < 0)
        return error_system(error, "signalfd");
    event_assign(&r->signals, r->base, r->signal_fd, EV_READ | EV_PERSIST, on_signal, r);
    event_add(&r->signals, NULL);
    return ERROR_NONE;
}

enum error_code runtime_open(struct runtime **runtime, const struct runtime_options *options,
                             struct error *error)
{
    struct runtime *r = memory_zeroed(1, sizeof *r);

    r->options = *options;
    r->effects = memory_zeroed(1, sizeof *r->effects);
    r->random = random_seeded(options->incarnation ^ runtime_wall_us());
    r->timer_at = r->turn_began = INSTANT_NEVER;
    r->signal_fd = -1;
    r->base = event_base_new();
    if (!r->base) {
        error_system(error, "cannot make an event loop");
    } else if (signals_catch(r, error) == ERROR_NONE) {
        event_assign(&r->timer, r->base, -1, 0, on_timer, r);
        *runtime = r;
        return ERROR_NONE;
    } else {
        event_base_free(r->base);
    }
    free(r->effects);
    free(r);
    return error->code;
}

struct event_base *runtime_base(struct runtime *r)
{
    return r->base;
}

uint64_t runtime_turns(const struct runtime *r)
{
    return r->turns;
}

uint64_t runtime_turn_us(const struct runtime *r)
{
    return instant_since_us(runtime_now(), r->turn_began);
}

struct histogram *runtime_turn_times_us(struct runtime *r)
{
    return &r->turn_times_us;
}

bool runtime_failed(const struct runtime *r)
{
    return r->failed;
}

void runtime_stop(struct runtime *r)
{
    r->stopping = true;
}

void runtime_turn(struct runtime *r, bool wait)
{
    int flags = EVLOOP_ONCE;

    r->now_fresh = false;
    r->turn_began = INSTANT_NEVER;
    timer_set(r);
    if (r->touched || !wait)
        flags |= EVLOOP_NONBLOCK; /* there is work already */
    if (event_base_loop(r->base, flags) < 0) {
        log_line(NOTE_ERROR, "the event loop failed: %s", strerror(errno));
        r->failed = r->stopping = true;
    }
    turn_end(r);
}

void runtime_run(struct runtime *r)
{
    turn_end(r); /* what was said before the loop, and the core's first deadline */
    while (!r->stopping)
        runtime_turn(r, true);
}

void runtime_close(struct runtime *r)
{
    links_close(r);
    event_del(&r->timer);
    event_del(&r->signals);
    close(r->signal_fd);
    event_base_free(r->base);
    free(r->effects);
    free(r);
}
