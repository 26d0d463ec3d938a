#include "client/load_engine.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "client/clock.h"
#include "common/resp.h"

#define EVENTS_MAX      1024
#define SIGNALS_INDEX   UINT32_MAX /* among the indexes of wires */
#define SCAN_MS         5u
#define CONNECT_MS      1000u
#define REDIAL_MS_LIMIT 200u
#define ENTRIES_BEHIND  64u /* requests that a slow server may be behind, by lane: --send-to all */
#define SPARE_FILES     32u /* descriptors beside the wires */

static bool raise_file_limit(uint32_t wires, struct error *error)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return error_system(error, "load: limit of open files"), false;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        return error_system(error, "load: limit of open files"), false;
    if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < (rlim_t)wires + SPARE_FILES)
        return error_set(error, ERROR_LIMIT,
                         "load: %u connections need %u open files, the limit is %llu (ulimit -n)",
                         wires, wires + SPARE_FILES, (unsigned long long)limit.rlim_cur),
               false;
    return true;
}

/* SIGINT and SIGTERM end the load, and the report is written. */
static bool catch_signals(struct engine *e, struct error *error)
{
    struct epoll_event event = { .events = EPOLLIN, .data = { .u32 = SIGNALS_INDEX } };
    sigset_t signals;

    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGTERM);
    if (sigprocmask(SIG_BLOCK, &signals, NULL) != 0)
        return error_system(error, "load: sigprocmask"), false;
    e->signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (e->signals < 0 || epoll_ctl(e->epoll, EPOLL_CTL_ADD, e->signals, &event) != 0)
        return error_system(error, "load: signalfd"), false;
    return true;
}

static uint32_t patience_ms_first(const struct load_options *o)
{
    bool repeatable = o->once || o->reads_percent == 100;

    return repeatable && o->try_ms < o->deadline_ms ? o->try_ms : o->deadline_ms;
}

static void make_lanes(struct engine *e)
{
    const struct load_options *o = e->options;

    e->lane_count = o->connections * o->pipeline;
    e->lanes = memory_zeroed(e->lane_count, sizeof(*e->lanes));
    e->free_lanes = memory_zeroed(e->lane_count, sizeof(*e->free_lanes));
    /* Neighbours are of different links, so that requests at a rate spread over all of them. */
    for (uint32_t i = 0; i < e->lane_count; i++)
        e->free_lanes[i] = i % o->connections * o->pipeline + i / o->connections;
    e->free_count = e->lane_count;
}

static void make_wires(struct engine *e)
{
    const struct load_options *o = e->options;
    bool all = o->send_to == LOAD_SEND_ALL;
    uint32_t capacity = all ? o->pipeline * ENTRIES_BEHIND : o->pipeline;

    e->link_count = o->connections;
    e->link_wires = all ? e->addresses.count : 1u;
    e->wire_count = e->link_count * e->link_wires;
    e->wires = memory_zeroed(e->wire_count, sizeof(*e->wires));
    e->dirty = memory_zeroed(e->wire_count, sizeof(*e->dirty));
    e->patience_ms = memory_zeroed(e->link_count, sizeof(*e->patience_ms));
    for (uint32_t i = 0; i < e->wire_count; i++) {
        struct wire *w = &e->wires[i];

        wire_init(w, i, capacity);
        w->link = i / e->link_wires;
        if (all)
            w->server = i % e->link_wires;
        else if (o->send_to == LOAD_SEND_SPREAD)
            w->server = i % e->addresses.count;
        e->patience_ms[w->link] = patience_ms_first(o);
    }
}

bool engine_open(struct engine *e, const struct load_options *options,
                 const struct addresses *addresses, struct verify *verify,
                 struct load_result *result, struct error *error)
{
    *e = (struct engine){
        .options = options,
        .result = result,
        .addresses = *addresses,
        .random = random_seeded(options->seed),
        .session_begin = 1,
        .verify = verify,
        .signals = -1,
    };
    make_lanes(e);
    make_wires(e);
    e->value = memory_take(options->value_size);
    memset(e->value, 'x', options->value_size);
    e->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (e->epoll < 0)
        return error_system(error, "load: epoll_create1"), false;
    /* Wake up when a request is due, not up to 50 us later. Without it latencies are higher. */
    (void)prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    return raise_file_limit(e->wire_count, error) && catch_signals(e, error);
}

void engine_close(struct engine *e)
{
    for (uint32_t i = 0; i < e->wire_count; i++)
        wire_free(&e->wires[i]);
    if (e->signals >= 0)
        (void)close(e->signals);
    if (e->epoll >= 0)
        (void)close(e->epoll);
    free(e->wires);
    free(e->lanes);
    free(e->free_lanes);
    free(e->dirty);
    free(e->patience_ms);
    free(e->value);
}

static struct lane *link_lanes(struct engine *e, uint32_t link)
{
    return &e->lanes[(size_t)link * e->options->pipeline];
}

static void resolve_link(struct engine *e, uint32_t link)
{
    for (uint32_t i = 0; i < e->options->pipeline; i++) {
        struct lane *lane = &link_lanes(e, link)[i];

        if (lane->state == LANE_WAITING)
            lane_resolve(e, lane);
    }
}

/* A link that has one wire goes to the next server at once, and pauses when it has tried all. */
static void plan_dial(struct engine *e, struct wire *w)
{
    bool moves = e->link_wires == 1;
    uint32_t free_tries = moves ? e->addresses.count : 1u;
    uint32_t wait_ms = 0;

    if (moves)
        w->server = (w->server + 1u) % e->addresses.count;
    if (w->failures >= free_tries) {
        uint32_t doublings = w->failures - free_tries < 8u ? w->failures - free_tries : 8u;

        wait_ms = REDIAL_MS_MIN << doublings;
    }
    if (wait_ms > REDIAL_MS_LIMIT)
        wait_ms = REDIAL_MS_LIMIT;
    w->failures++;
    w->due = instant_add_ms(e->now, wait_ms);
}

static void dial(struct engine *e, struct wire *w)
{
    wire_dial(w, e->epoll, &e->addresses.list[w->server], e->now);
    e->any_lost |= w->lost;
}

static void bury(struct engine *e, struct wire *w)
{
    e->result->lost_connections += w->stage == WIRE_UP;
    for (uint32_t i = 0; i < w->count; i++) {
        const struct wire_entry *entry = &w->entries[(w->first + i) % w->capacity];

        lane_orphan(e, entry, wire_has_sent(w, entry));
    }
    wire_close(w);
    wire_clear(w);
    plan_dial(e, w);
    if (instant_reached(e->now, w->due))
        dial(e, w);
    resolve_link(e, w->link);
}

static void bury_lost(struct engine *e)
{
    while (e->any_lost) {
        e->any_lost = false;
        for (uint32_t i = 0; i < e->wire_count; i++)
            if (e->wires[i].lost)
                bury(e, &e->wires[i]);
    }
}

static void flush(struct engine *e)
{
    for (uint32_t i = 0; i < e->dirty_count; i++) {
        struct wire *w = &e->wires[e->dirty[i]];

        wire_flush(w, e->epoll);
        e->any_lost |= w->lost;
    }
    e->dirty_count = 0;
}

static void take_replies(struct engine *e, struct wire *w)
{
    while (buffer_size(&w->in) > 0) {
        size_t size = 0;
        struct error error;
        enum resp_status status = resp_measure_reply(buffer_bytes(&w->in), &size, &error);

        if (status == RESP_PARTIAL)
            return;
        if (status == RESP_BROKEN || w->count == 0) {
            w->lost = true;
            return;
        }
        lane_reply(e, w, bytes_of(buffer_head(&w->in), size));
        buffer_consume(&w->in, size);
        e->patience_ms[w->link] = patience_ms_first(e->options);
    }
}

/* The first ends the load, the second does not wait for what is under way. */
static void take_signal(struct engine *e)
{
    struct signalfd_siginfo info;

    if (read(e->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    e->abandoned = e->interrupted;
    e->interrupted = true;
}

static void heed(struct engine *e, const struct epoll_event *event)
{
    struct wire *w;

    if (event->data.u32 == SIGNALS_INDEX) {
        take_signal(e);
        return;
    }
    w = &e->wires[event->data.u32];
    if (w->stage == WIRE_DOWN)
        return;
    if (wire_heed(w, e->epoll, event->events))
        resolve_link(e, w->link);
    e->now = clock_now();
    take_replies(e, w);
    /* What is blocked no longer is flushed with the rest of the turn. */
    if (!w->dirty && buffer_size(&w->out) > 0 && !w->blocked) {
        e->dirty[e->dirty_count++] = w->index;
        w->dirty = true;
    }
    e->any_lost |= w->lost;
}

static void scan_wire(struct engine *e, struct wire *w)
{
    uint64_t since_ms = instant_since_ms(e->now, w->since);

    if (w->stage == WIRE_DOWN && !w->lost && instant_reached(e->now, w->due))
        dial(e, w);
    else if (w->stage == WIRE_DIALLING && since_ms >= CONNECT_MS)
        w->lost = true;
    else if (w->stage == WIRE_UP && w->count > 0 && since_ms >= e->patience_ms[w->link]) {
        w->lost = true;
        if (e->patience_ms[w->link] * 2u <= e->options->deadline_ms)
            e->patience_ms[w->link] *= 2u;
    }
    e->any_lost |= w->lost;
}

static void scan(struct engine *e)
{
    for (uint32_t i = 0; i < e->wire_count; i++)
        scan_wire(e, &e->wires[i]);
    for (uint32_t i = 0; i < e->lane_count; i++)
        lane_scan(e, &e->lanes[i]);
    e->scan_due = instant_add_ms(e->now, SCAN_MS);
}

static struct instant intended(const struct engine *e, uint64_t request)
{
    return (struct instant){ e->start.ns + (uint64_t)((double)request * 1e9 / e->options->rate) };
}

/* Requests that are to be issued and have not been: in an open loop, those due by now. */
static bool one_is_due(const struct engine *e)
{
    const struct load_options *o = e->options;
    struct instant due;

    if (!e->running || e->interrupted || (o->requests > 0 && e->issued >= o->requests))
        return false;
    if (e->verify && verify_full(e->verify))
        return false;
    if (o->rate == 0)
        return !instant_reached(e->now, e->end);
    due = intended(e, e->issued);
    /* What was due before the end is still issued for a while after it. */
    return due.ns < e->end.ns && instant_reached(e->now, due) &&
           e->now.ns < instant_add_ms(e->end, o->deadline_ms).ns;
}

static void pump(struct engine *e)
{
    while (e->free_count > 0 && one_is_due(e))
        lane_begin(e, e->options->rate == 0 ? e->now : intended(e, e->issued));
}

static struct instant next_due(const struct engine *e)
{
    struct instant due = e->scan_due;

    if (e->running && e->options->rate > 0 && e->free_count > 0)
        due = instant_min(due, intended(e, e->issued));
    return due;
}

static int wait_for_events(struct engine *e, struct epoll_event *events)
{
    struct pollfd polled = { .fd = e->epoll, .events = POLLIN };
    uint64_t wait_ns;
    struct timespec wait;
    int count = epoll_wait(e->epoll, events, EVENTS_MAX, 0);

    e->now = clock_now();
    if (count > 0)
        return count;
    wait_ns = next_due(e).ns > e->now.ns ? next_due(e).ns - e->now.ns : 0;
    wait = (struct timespec){ .tv_sec = (time_t)(wait_ns / 1000000000u),
                              .tv_nsec = (long)(wait_ns % 1000000000u) };
    (void)ppoll(&polled, 1, &wait, NULL); /* an early return is only one more turn */
    count = epoll_wait(e->epoll, events, EVENTS_MAX, 0);
    e->now = clock_now();
    return count;
}

static void turn(struct engine *e)
{
    struct epoll_event events[EVENTS_MAX];
    int count = wait_for_events(e, events);

    for (int i = 0; i < count; i++)
        heed(e, &events[i]);
    /* Only when all that has arrived is read: silence of our own is not held against a server. */
    if (count < EVENTS_MAX && instant_reached(e->now, e->scan_due))
        scan(e);
    do {
        pump(e);
        flush(e);
        bury_lost(e);
    } while (e->dirty_count > 0);
}

static uint32_t wires_up(const struct engine *e)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < e->wire_count; i++)
        count += e->wires[i].stage == WIRE_UP;
    return count;
}

bool engine_connect(struct engine *e, struct error *error)
{
    struct instant until;

    e->now = clock_now();
    until = instant_add_ms(e->now, CONNECT_MS);
    while (wires_up(e) < e->wire_count && !instant_reached(e->now, until) && !e->interrupted)
        turn(e);
    e->result->lost_connections = 0;
    if (wires_up(e) > 0)
        return true;
    return error_set(error, ERROR_SYSTEM, "load: no connection to %s%s within %u ms",
                     e->addresses.list[0].name,
                     e->addresses.count > 1 ? " or any other server" : "", CONNECT_MS),
           false;
}

static void show_progress(const struct engine *e, uint64_t second, uint64_t ok_before)
{
    const struct load_result *r = e->result;

    (void)fprintf(stderr, "\r%llu s: %llu/s, %llu errors, %llu failed, %llu unknown   ",
                  (unsigned long long)second, (unsigned long long)(r->ok - ok_before),
                  (unsigned long long)r->errors, (unsigned long long)r->failed,
                  (unsigned long long)r->unknown);
}

static bool more_will_be_due(const struct engine *e)
{
    const struct load_options *o = e->options;
    bool later = o->rate > 0 && !instant_reached(e->now, e->end) && !e->interrupted &&
                 (o->requests == 0 || e->issued < o->requests);

    return one_is_due(e) || later;
}

/* What was due in the time of an open loop and could not be issued. */
static uint64_t unsent(const struct engine *e)
{
    const struct load_options *o = e->options;
    struct instant end = instant_min(e->now, e->end);
    uint64_t due = (uint64_t)((double)(end.ns - e->start.ns) / 1e9 * o->rate);

    if (o->requests > 0 && due > o->requests)
        due = o->requests;
    return !e->interrupted && due > e->issued ? due - e->issued : 0;
}

void engine_run(struct engine *e)
{
    bool progress = isatty(STDERR_FILENO) && !e->options->json;
    uint64_t second = 1;
    uint64_t ok_before = 0;

    e->start = clock_now();
    e->now = e->start;
    e->end = e->options->seconds > 0
                 ? instant_add_us(e->start, (uint64_t)(e->options->seconds * 1e6))
                 : (struct instant){ UINT64_MAX - LOAD_SECONDS_MAX * 1000000000ull };
    e->running = true;
    do {
        turn(e);
        if (progress && e->now.ns - e->start.ns >= second * 1000000000u) {
            show_progress(e, second++, ok_before);
            ok_before = e->result->ok;
        }
    } while (!e->abandoned && (e->free_count < e->lane_count || more_will_be_due(e)));
    e->result->start_ns = e->start.ns;
    e->result->elapsed_ns = e->now.ns - e->start.ns;
    e->result->unsent = unsent(e);
    if (progress && second > 1)
        (void)fputs("\r\033[K", stderr);
}
