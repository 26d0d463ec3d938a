#include "common/runtime_links.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"

static void on_readable(evutil_socket_t fd, short what, void *context);
static void on_writable(evutil_socket_t fd, short what, void *context);
static void on_late(evutil_socket_t fd, short what, void *context);
static void dial(struct dialler *d);

/* Says a complaint unless it was the last one. */
static void complain(char said[ERROR_TEXT_SIZE], enum note_level level, const char *text)
{
    if (strcmp(said, text) == 0)
        return;
    snprintf(said, ERROR_TEXT_SIZE, "%s", text);
    log_line(level, "%s", text);
}

static struct peer *peer_new(struct runtime *r, int fd, struct dialler *dialler)
{
    struct timeval patience = { .tv_sec = HELLO_MS_MAX / 1000 };
    struct peer *p = memory_zeroed(1, sizeof *p);
    struct peer **end = &r->awaited;

    p->runtime = r;
    p->dialler = dialler;
    p->node = dialler ? dialler->node : NODE_NONE;
    link_init(&p->link, fd, HELLO_BYTES_MAX);
    event_assign(&p->readable, r->base, fd, EV_READ | EV_PERSIST, on_readable, p);
    event_assign(&p->writable, r->base, fd, EV_WRITE | EV_PERSIST, on_writable, p);
    event_assign(&p->timer, r->base, -1, 0, on_late, p);
    event_add(&p->timer, &patience);
    while (*end)
        end = &(*end)->next;
    *end = p;
    return p;
}

static void awaited_drop(struct peer *p)
{
    struct runtime *r = p->runtime;
    struct peer **place = &r->awaited;

    while (*place != p)
        place = &(*place)->next;
    *place = p->next;
    p->next = NULL;
    if (!p->dialler)
        r->awaited_count--;
}

/* Ends a connection at once; the core hears of it in links_bury(). */
static void peer_cut(struct peer *p, bool certain)
{
    struct runtime *r = p->runtime;

    if (p->state == PEER_CUT)
        return;
    if (p->state == PEER_LINKED)
        r->links[p->node] = NULL;
    else
        awaited_drop(p);
    event_del(&p->readable);
    event_del(&p->writable);
    event_del(&p->timer);
    link_free(&p->link);
    p->state = PEER_CUT;
    p->certain = certain;
    p->next = r->cut;
    r->cut = p;
}

static void say_down(const struct peer *p)
{
    struct message message = {
        .type = MESSAGE_LINK_DOWN,
        .from = p->node,
        .link_down = { .incarnation = p->incarnation, .certain = p->certain },
    };

    log_line(NOTE_DEBUG, "link to %s is down", node_name(p->node));
    runtime_receive(p->runtime, &message);
}

/* Half of the wait is chance, so that many do not dial in step. */
static void dial_later(struct dialler *d)
{
    uint64_t wait_us = (uint64_t)d->backoff_ms * 500u;
    struct timeval wait;

    wait_us += random_below(&d->runtime->random, wait_us + 1);
    wait = (struct timeval){ .tv_sec = (time_t)(wait_us / 1000000u),
                             .tv_usec = (suseconds_t)(wait_us % 1000000u) };
    d->backoff_ms = d->backoff_ms * 2 < REDIAL_MS_MAX ? d->backoff_ms * 2 : REDIAL_MS_MAX;
    event_add(&d->timer, &wait);
}

void links_bury(struct runtime *r)
{
    while (r->cut) {
        struct peer *p = r->cut;
        struct dialler *d = p->dialler;

        r->cut = p->next;
        if (d) {
            d->peer = NULL;
            if (p->told && instant_since_ms(runtime_turn_now(r), p->since) >= LINK_LASTED_MS)
                d->backoff_ms = REDIAL_MS_MIN;
            dial_later(d);
        }
        if (p->told)
            say_down(p);
        free(p);
    }
}

static bool is_silent(const struct peer *p)
{
    return p->runtime->silences[p->node].on;
}

/* Writes out the queue, and asks for EV_WRITE only as long as the socket refuses. */
static void peer_flush(struct peer *p)
{
    enum link_status status;

    if (is_silent(p))
        return;
    status = link_flush(&p->link);
    if (status == LINK_FAILED || status == LINK_CLOSED) {
        peer_cut(p, socket_error_is_certain(errno));
    } else if (status == LINK_BLOCKED && !p->writing) {
        p->writing = true;
        event_add(&p->writable, NULL);
    } else if (status == LINK_GOOD && p->writing) {
        p->writing = false;
        event_del(&p->writable);
    }
}

/* Nothing that its socket says is noticed any more, not even its end. */
static void peer_hush(struct peer *p)
{
    event_del(&p->readable);
    event_del(&p->writable);
    p->writing = false;
}

/* One that we dial or that stands goes on. One that dialled us has said its hello in vain, and has
 * to begin anew. */
static void peer_speak(struct peer *p)
{
    if (p->state == PEER_DIALLING) {
        event_add(&p->writable, NULL);
    } else if (p->state == PEER_AWAITED && !p->dialler) {
        peer_cut(p, false);
    } else {
        event_add(&p->readable, NULL);
        peer_flush(p);
    }
}

/* For the connections to a node, those without its hello too. */
static void each_peer(struct runtime *r, node_id node, void (*act)(struct peer *p))
{
    struct peer *next;

    for (struct peer *p = r->awaited; p; p = next) {
        next = p->next; /* of the list of the awaited, should it be cut */
        if (p->node == node)
            act(p);
    }
    if (r->links[node])
        act(r->links[node]);
}

static void silence_end(struct runtime *r, node_id node)
{
    r->silences[node].on = false;
    event_del(&r->silences[node].timer);
    log_line(NOTE_WARN, "link to %s: heard again", node_name(node));
    each_peer(r, node, peer_speak);
}

static void on_silence_over(evutil_socket_t fd, short what, void *context)
{
    struct silence *s = context;
    struct runtime *r = s->runtime;

    (void)fd;
    (void)what;
    silence_end(r, (node_id)(s - r->silences));
    links_bury(r);
}

void runtime_silence(struct runtime *r, node_id node, uint32_t seconds)
{
    struct timeval wait = { .tv_sec = (time_t)seconds };
    struct silence *s = &r->silences[node];

    assert(node != NODE_NONE && node < NODE_COUNT);
    if (seconds == 0) {
        if (s->on)
            silence_end(r, node);
        return;
    }
    if (!s->runtime)
        event_assign(&s->timer, r->base, -1, 0, on_silence_over, s);
    s->runtime = r;
    s->on = true;
    event_add(&s->timer, &wait);
    log_line(NOTE_WARN, "link to %s: silent for %u s, as ordered", node_name(node), seconds);
    each_peer(r, node, peer_hush);
}

static struct message hello_make(const struct runtime *r, node_id expected)
{
    struct message hello = {
        .type = MESSAGE_HELLO,
        .hello = { .protocol = PROTOCOL_VERSION,
                   .node = r->options.self,
                   .expected = expected,
                   .incarnation = r->options.incarnation,
                   .pid = (uint32_t)getpid() },
    };

    snprintf(hello.hello.cluster, sizeof hello.hello.cluster, "%s", r->options.config->cluster);
    return hello;
}

/* Tells the other side why, as far as its socket takes it, and hangs up. */
static void refuse(struct peer *p, const char *reason)
{
    struct message message = { .type = MESSAGE_REFUSE };

    snprintf(message.refuse.reason, sizeof message.refuse.reason, "%s", reason);
    link_send(&p->link, &message, NULL);
    (void)link_flush(&p->link);
    peer_cut(p, false);
}

/* A peer broke a rule: one clear error here, and, where it can be heard, there. */
__attribute__((format(printf, 2, 3))) static void peer_blame(struct peer *p, const char *format,
                                                             ...)
{
    char reason[MESSAGE_TEXT_SIZE], where[SOCKET_TEXT_SIZE], text[ERROR_TEXT_SIZE];
    char *colon;
    va_list args;

    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    if (p->dialler) {
        snprintf(text, sizeof text, "%s at %s: %s", node_name(p->node), p->dialler->where, reason);
        complain(p->dialler->said, NOTE_ERROR, text);
    } else {
        socket_peer_format(p->link.fd, where);
        colon = strrchr(where, ':'); /* its port says nothing, and is another each time */
        if (colon && p->node == NODE_NONE)
            *colon = '\0';
        snprintf(text, sizeof text, "refused a link from %s%s%s: %s",
                 p->node ? node_name(p->node) : "", p->node ? " at " : "", where, reason);
        complain(p->runtime->refused[p->node], NOTE_ERROR, text);
    }
    refuse(p, reason);
}

static bool node_in_config(const struct config *config, node_id node)
{
    if (node_is_server(node))
        return node_index(node) < config->server_count;
    if (node_is_lfd(node))
        return node_index(node) < config->host_count;
    return node == NODE_RM || node == NODE_GFD;
}

/* What is wrong with a hello, as the other side should hear it; false: nothing is. */
static bool hello_is_wrong(const struct peer *p, const struct message_hello *hello, char *why,
                           size_t size)
{
    const struct runtime_options *o = &p->runtime->options;

    if (strcmp(hello->cluster, o->config->cluster) != 0)
        snprintf(why, size, "this is cluster \"%s\", not \"%s\"", o->config->cluster,
                 hello->cluster);
    else if (!node_in_config(o->config, hello->node))
        snprintf(why, size, "node %u is not in this cluster's config", hello->node);
    else if (hello->expected != o->self)
        snprintf(why, size, "this is %s, not %s", node_name(o->self), node_name(hello->expected));
    else if (hello->node == o->self)
        snprintf(why, size, "I am %s myself", node_name(o->self));
    else if (p->dialler && hello->node != p->dialler->node)
        snprintf(why, size, "dialled %s and reached %s", node_name(p->dialler->node),
                 node_name(hello->node));
    else if (!p->dialler && o->admits && !o->admits(o->context, hello->node, hello->incarnation))
        snprintf(why, size, "another process is %s, and answers", node_name(hello->node));
    else
        return false;
    return true;
}

/* The link stands. One that the same node had before is over. */
static void become_linked(struct peer *p, const struct message_hello *hello)
{
    struct runtime *r = p->runtime;
    struct message message = {
        .type = MESSAGE_LINK_UP,
        .from = hello->node,
        .link_up = { .incarnation = hello->incarnation, .pid = hello->pid },
    };

    assert(p->state == PEER_AWAITED);
    awaited_drop(p);
    p->state = PEER_LINKED; /* for links_bury(): not to be cut by what it leads to */
    p->node = hello->node;
    if (r->links[p->node])
        peer_cut(r->links[p->node], false);
    links_bury(r);
    r->links[p->node] = p;
    r->refused[p->node][0] = '\0';
    if (p->dialler)
        p->dialler->said[0] = '\0';
    p->incarnation = hello->incarnation;
    p->pid = socket_peer_pid(p->link.fd);
    p->since = runtime_turn_now(r);
    p->told = true;
    p->link.frame_bytes_max = MESSAGE_BYTES_MAX;
    event_del(&p->timer);
    log_line(NOTE_DEBUG, "link to %s is up", node_name(p->node));
    runtime_receive(r, &message);
}

static void receive_hello(struct peer *p, const struct message_hello *hello)
{
    char why[ERROR_TEXT_SIZE];
    struct message answer;

    if (!p->dialler && node_in_config(p->runtime->options.config, hello->node))
        p->node = hello->node;
    if (is_silent(p)) { /* until it has waited too long, as for all that it may say */
        peer_hush(p);
        return;
    }
    if (hello_is_wrong(p, hello, why, sizeof why)) {
        peer_blame(p, "%s", why);
        return;
    }
    if (!p->dialler) {
        answer = hello_make(p->runtime, hello->node);
        link_send(&p->link, &answer, NULL);
    }
    become_linked(p, hello);
}

static void receive_refusal(struct peer *p, const struct message_refuse *refusal)
{
    char text[ERROR_TEXT_SIZE];

    if (p->dialler) {
        snprintf(text, sizeof text, "%s at %s refuses the link: %s", node_name(p->node),
                 p->dialler->where, refusal->reason);
        complain(p->dialler->said, NOTE_ERROR, text);
    } else {
        snprintf(text, sizeof text, "%s refuses the link: %s", node_name(p->node), refusal->reason);
        complain(p->runtime->refused[p->node], NOTE_ERROR, text);
    }
    peer_cut(p, false);
}

/* The version stands first in a hello, wherever the rest of it may stand in versions to come. */
static bool version_differs(struct bytes payload, uint32_t *version)
{
    const uint8_t *b = payload.data;

    if (payload.size < 6 || (b[0] | b[1] << 8) != MESSAGE_HELLO)
        return false;
    *version = (uint32_t)b[2] | (uint32_t)b[3] << 8 | (uint32_t)b[4] << 16 | (uint32_t)b[5] << 24;
    return *version != PROTOCOL_VERSION;
}

static void receive_first(struct peer *p, struct bytes payload)
{
    struct message message;
    struct error error;
    uint32_t version;

    if (version_differs(payload, &version))
        peer_blame(p, "protocol version %u is spoken here, not %u", PROTOCOL_VERSION, version);
    else if (message_decode(payload, &message, &error) != ERROR_NONE)
        peer_blame(p, "expected a hello: %s", error.text);
    else if (message.type == MESSAGE_HELLO)
        receive_hello(p, &message.hello);
    else if (message.type == MESSAGE_REFUSE)
        receive_refusal(p, &message.refuse);
    else
        peer_blame(p, "expected a hello, not %s", message_name(message.type));
}

static void receive_frame(struct peer *p, struct bytes payload)
{
    struct message message;
    struct error error;

    if (p->state != PEER_LINKED) {
        receive_first(p, payload);
        return;
    }
    if (message_decode(payload, &message, &error) != ERROR_NONE) {
        peer_blame(p, "%s", error.text);
        return;
    }
    if (message.type == MESSAGE_REFUSE) {
        receive_refusal(p, &message.refuse);
    } else if (message.type == MESSAGE_HELLO || (uint32_t)message.type >= MESSAGE_LOCAL_MIN) {
        peer_blame(p, "%s has no place on a link that stands", message_name(message.type));
    } else {
        message.from = p->node;
        runtime_receive(p->runtime, &message);
    }
}

/* All whole frames of the input, in place. Whether there was one. */
static bool receive_frames(struct peer *p)
{
    struct bytes payload;
    struct error error;
    bool any = false;

    while (p->state != PEER_CUT) {
        if (link_frame(&p->link, &payload, &error) != ERROR_NONE) {
            peer_blame(p, "%s", error.text);
            return any;
        }
        if (!payload.data)
            return any;
        any = true;
        receive_frame(p, payload);
        if (p->state != PEER_CUT)
            link_frame_done(&p->link, payload);
    }
    return any;
}

/* A long message takes a slow network longer than anybody's patience: who sends it is not silent.
 */
static void receive_part(struct peer *p)
{
    struct message message = { .type = MESSAGE_LINK_PART,
                               .from = p->node,
                               .link_part.bytes = buffer_size(&p->link.in) };

    if (p->state == PEER_LINKED && message.link_part.bytes > 0)
        runtime_receive(p->runtime, &message);
}

static void peer_read(struct peer *p)
{
    enum link_status status = LINK_GOOD;
    size_t size, sum = 0;
    int number = 0;
    bool any = false;

    while (status == LINK_GOOD && sum < LINK_READ_BYTES_MAX && p->state != PEER_CUT) {
        status = link_read(&p->link, &size);
        number = errno;
        sum += size;
        /* Only now: a lease that is granted from before its message was sent ends too early. */
        runtime_refresh(p->runtime);
        if (size > 0)
            any |= receive_frames(p);
    }
    if (sum > 0 && !any)
        receive_part(p);
    if (p->state == PEER_CUT)
        return;
    if (status == LINK_CLOSED)
        peer_cut(p, true);
    else if (status == LINK_FAILED)
        peer_cut(p, socket_error_is_certain(number));
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    struct peer *p = context;
    struct runtime *r = p->runtime;

    (void)fd;
    (void)what;
    peer_read(p);
    links_bury(r);
}

/* Dialling failed, as it does while the other side is not there yet: worth a word only when it
 * goes on. */
static void dial_failed(struct dialler *d, int number)
{
    char text[ERROR_TEXT_SIZE];

    if (d->backoff_ms < REDIAL_MS_MAX)
        return;
    snprintf(text, sizeof text, "no link to %s at %s: %s; dialling on", node_name(d->node),
             d->where, strerror(number));
    complain(d->said, NOTE_WARN, text);
}

static void on_late(evutil_socket_t fd, short what, void *context)
{
    struct peer *p = context;
    struct runtime *r = p->runtime;

    (void)fd;
    (void)what;
    if (p->state != PEER_DIALLING && !is_silent(p)) {
        peer_blame(p, "no hello within %u ms", HELLO_MS_MAX);
    } else {
        if (p->dialler)
            dial_failed(p->dialler, ETIMEDOUT);
        peer_cut(p, false);
    }
    links_bury(r);
}

/* Connected: the dialling side speaks first. */
static void become_awaited(struct peer *p)
{
    struct message hello = hello_make(p->runtime, p->node);

    assert(p->state == PEER_DIALLING && p->dialler);
    p->state = PEER_AWAITED;
    socket_options_set(p->link.fd);
    link_send(&p->link, &hello, NULL);
    event_add(&p->readable, NULL);
    peer_flush(p);
}

static void finish_dial(struct peer *p)
{
    int number = 0;
    socklen_t size = sizeof number;

    if (getsockopt(p->link.fd, SOL_SOCKET, SO_ERROR, &number, &size) != 0)
        number = errno;
    event_del(&p->writable);
    if (number == 0) {
        become_awaited(p);
    } else {
        dial_failed(p->dialler, number);
        peer_cut(p, socket_error_is_certain(number));
    }
}

static void on_writable(evutil_socket_t fd, short what, void *context)
{
    struct peer *p = context;
    struct runtime *r = p->runtime;

    (void)fd;
    (void)what;
    if (p->state == PEER_DIALLING)
        finish_dial(p);
    else
        peer_flush(p);
    links_bury(r);
}

static void dial(struct dialler *d)
{
    bool silent = d->runtime->silences[d->node].on, connected;
    int fd = silent ? -1 : socket_dial(&d->list[d->tried++ % d->count], &connected);

    if (fd < 0) {
        dial_failed(d, silent ? ETIMEDOUT : errno);
        dial_later(d);
        return;
    }
    d->peer = peer_new(d->runtime, fd, d);
    d->peer->state = PEER_DIALLING;
    if (connected)
        become_awaited(d->peer);
    else
        event_add(&d->peer->writable, NULL);
}

static void on_redial(evutil_socket_t fd, short what, void *context)
{
    struct dialler *d = context;

    (void)fd;
    (void)what;
    dial(d);
    links_bury(d->runtime);
}

enum error_code runtime_dial(struct runtime *r, node_id node, const char *address, uint16_t port,
                             struct error *error)
{
    struct dialler *d = &r->diallers[r->dialler_count];

    assert(r->dialler_count < NODE_COUNT);
    if (socket_resolve(address, port, d->list, &d->count, error) != ERROR_NONE)
        return error->code;
    if (socket_is_path(address))
        snprintf(d->where, sizeof d->where, "%s", address);
    else
        snprintf(d->where, sizeof d->where, "%s:%u", address, port);
    d->runtime = r;
    d->node = node;
    d->backoff_ms = REDIAL_MS_MIN;
    event_assign(&d->timer, r->base, -1, 0, on_redial, d);
    r->dialler_count++;
    dial(d);
    return ERROR_NONE;
}

/* Those who say nothing must not keep others out. */
static void make_room(struct runtime *r)
{
    struct peer *p = r->awaited;

    while (p && p->dialler)
        p = p->next;
    if (p && r->awaited_count >= HELLO_WAITING_MAX)
        peer_cut(p, false);
}

static void on_accepted(void *context, int fd)
{
    struct runtime *r = context;
    struct peer *p;

    make_room(r);
    p = peer_new(r, fd, NULL);
    p->state = PEER_AWAITED;
    r->awaited_count++;
    socket_options_set(fd);
    event_add(&p->readable, NULL);
    links_bury(r);
}

enum error_code runtime_listen(struct runtime *r, const char *address, uint16_t port,
                               struct error *error)
{
    struct acceptor *a = &r->acceptors[r->acceptor_count];

    assert(r->acceptor_count < ACCEPTOR_COUNT);
    a->accepted = on_accepted;
    a->context = r;
    a->what = "links";
    if (acceptor_open(a, r->base, address, port, error) != ERROR_NONE)
        return error->code;
    r->acceptor_count++;
    return ERROR_NONE;
}

void links_send(struct runtime *r, node_id to, const struct message *message, struct block *owner)
{
    struct peer *p = to < NODE_COUNT ? r->links[to] : NULL;

    if (!p)
        return;
    link_send(&p->link, message, owner);
    if (p->link.queued_bytes <= LINK_QUEUE_BYTES_MAX)
        return;
    log_line(NOTE_ERROR, "link to %s is cut: more than %llu bytes wait to be sent", node_name(to),
             (unsigned long long)LINK_QUEUE_BYTES_MAX);
    peer_cut(p, false);
}

void links_flush(struct runtime *r)
{
    for (node_id node = 0; node < NODE_COUNT; node++)
        if (r->links[node] && r->links[node]->link.queued_bytes > 0 && !r->links[node]->writing)
            peer_flush(r->links[node]);
}

bool runtime_linked(const struct runtime *r, node_id node)
{
    return node < NODE_COUNT && r->links[node];
}

uint32_t runtime_peer_pid(const struct runtime *r, node_id node)
{
    return runtime_linked(r, node) ? r->links[node]->pid : 0;
}

void links_close(struct runtime *r)
{
    struct peer *p;

    for (uint32_t i = 0; i < r->acceptor_count; i++)
        acceptor_close(&r->acceptors[i]);
    for (uint32_t i = 0; i < r->dialler_count; i++)
        event_del(&r->diallers[i].timer);
    for (node_id node = 0; node < NODE_COUNT; node++) {
        if (r->silences[node].on)
            event_del(&r->silences[node].timer);
        if (r->links[node])
            peer_cut(r->links[node], false);
    }
    while (r->awaited)
        peer_cut(r->awaited, false);
    while (r->cut) {
        p = r->cut;
        r->cut = p->next;
        free(p);
    }
}
