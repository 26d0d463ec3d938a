#include "client/holdfast.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "client/channel.h"
#include "client/clock.h"
#include "client/session.h"
#include "common/resp.h"

#define DEADLINE_MS_DEFAULT 5000u
#define CONNECT_MS_DEFAULT  1000u
#define TRY_MS_DEFAULT      250u
#define SESSION_ID_MAX      (UINT64_MAX >> 1)
#define ONCE_WORDS          3u /* ONCE, session, sequence: before the command's own */

struct holdfast {
    struct holdfast_options options; /* servers is not kept */
    struct addresses addresses;
    struct session session;
    struct channel channels[SERVER_COUNT_MAX];

    /* Of the call under way. */
    struct bytes *words; /* ONCE_WORDS free ones, then the command's */
    uint32_t word_count; /* of the command */
    uint32_t word_capacity;
    struct bytes incoming; /* the reply just read, in its connection's buffer */
    bool done;
    enum session_outcome outcome;

    /* Of the last call. */
    struct buffer reply;
    uint64_t sequence;
    char error[ERROR_TEXT_SIZE];
    char reason[ERROR_TEXT_SIZE]; /* last trouble with a connection, "" if none */
};

static void tell(struct holdfast *h, uint32_t server, const char *what)
{
    char text[ERROR_TEXT_SIZE];

    (void)snprintf(text, sizeof(text), "%s: %s", h->addresses.list[server].name, what);
    if (h->options.event)
        h->options.event(h->options.context, text);
}

static void send_call(struct holdfast *h, const struct session_effect *effect)
{
    struct channel *c = &h->channels[effect->server];
    char id[24];
    char sequence[24];

    if (buffer_size(&c->out) > CHANNEL_UNSENT_BYTES_MAX) {
        channel_lose(c, "lost: it takes in nothing: %zu bytes wait", buffer_size(&c->out));
        return;
    }
    if (effect->sequence == 0) {
        resp_write_command(&c->out, h->word_count, &h->words[ONCE_WORDS]);
        return;
    }
    (void)snprintf(id, sizeof(id), "%llu", (unsigned long long)effect->id);
    (void)snprintf(sequence, sizeof(sequence), "%llu", (unsigned long long)effect->sequence);
    h->words[0] = bytes_string("ONCE");
    h->words[1] = bytes_string(id);
    h->words[2] = bytes_string(sequence);
    resp_write_command(&c->out, h->word_count + ONCE_WORDS, h->words);
}

static void complete(struct holdfast *h, const struct session_effect *effect)
{
    h->done = true;
    h->outcome = effect->outcome;
    if (effect->outcome == SESSION_ANSWERED)
        buffer_append(&h->reply, h->incoming.data, h->incoming.size);
}

static void perform(struct holdfast *h, const struct session_effects *effects)
{
    for (uint32_t i = 0; i < effects->count; i++) {
        const struct session_effect *effect = &effects->list[i];

        switch (effect->type) {
        case SESSION_CONNECT:
            channel_dial(&h->channels[effect->server], &h->addresses.list[effect->server]);
            break;
        case SESSION_CLOSE:
            tell(h, effect->server, "closed: it is silent or does not keep to the protocol");
            channel_close(&h->channels[effect->server]);
            break;
        case SESSION_SEND: send_call(h, effect); break;
        case SESSION_COMPLETE: complete(h, effect); break;
        case SESSION_DISCARD:
            if (h->options.discarded)
                h->options.discarded(h->options.context, effect->request,
                                     h->addresses.list[effect->server].name);
            break;
        }
    }
}

static void deliver(struct holdfast *h, struct session_event event)
{
    struct session_effects effects = { .count = 0 };

    session_receive(&h->session, clock_now(), &event, &effects);
    perform(h, &effects);
}

static void tick(struct holdfast *h)
{
    struct session_effects effects = { .count = 0 };

    session_tick(&h->session, clock_now(), &effects);
    perform(h, &effects);
}

static void bury(struct holdfast *h, uint32_t server)
{
    struct channel *c = &h->channels[server];

    tell(h, server, c->reason);
    (void)snprintf(h->reason, sizeof(h->reason), "%s: %s", h->addresses.list[server].name,
                   c->reason);
    channel_close(c);
    deliver(h, (struct session_event){ .type = SESSION_DOWN, .server = server });
}

/* Sends what waits and buries what is lost, until nothing new comes of it. */
static void settle(struct holdfast *h)
{
    bool again = true;

    while (again) {
        again = false;
        for (uint32_t i = 0; i < h->addresses.count; i++) {
            struct channel *c = &h->channels[i];

            if (c->stage >= CHANNEL_GREETING)
                channel_write(c);
            if (!c->lost)
                continue;
            bury(h, i);
            again = true;
        }
    }
}

static struct session_event reply_event(uint32_t server, struct bytes reply)
{
    struct session_event event = { .type = SESSION_REPLY, .server = server };

    event.reply = session_reply_of(reply, &event.begin);
    return event;
}

static void take_replies(struct holdfast *h, uint32_t server)
{
    struct channel *c = &h->channels[server];
    bool greeting = c->stage == CHANNEL_GREETING;
    bool ready = true;

    while (ready && c->stage >= CHANNEL_GREETING) {
        size_t size = 0;

        ready = channel_reply(c, &size);
        if (greeting && c->stage == CHANNEL_OPEN) {
            greeting = false;
            tell(h, server, "connected");
            deliver(h, (struct session_event){ .type = SESSION_UP, .server = server });
        }
        if (!ready)
            return;
        h->incoming = bytes_of(buffer_head(&c->in), size);
        deliver(h, reply_event(server, h->incoming));
        /* A reply that nobody asked for has closed the connection. */
        if (c->stage != CHANNEL_OPEN)
            return;
        buffer_consume(&c->in, size);
    }
}

static void heed(struct holdfast *h, uint32_t server, short events)
{
    struct channel *c = &h->channels[server];

    if (events == 0 || c->stage == CHANNEL_CLOSED)
        return;
    if (c->stage == CHANNEL_DIALLING || (events & POLLOUT))
        channel_write(c);
    if (c->stage >= CHANNEL_GREETING && (events & (POLLIN | POLLHUP | POLLERR)) && !c->lost)
        channel_read(c);
    take_replies(h, server);
}

/* One turn: waits until something can be done or `until` has come, and does it. */
static void turn(struct holdfast *h, struct instant until)
{
    struct pollfd polled[SERVER_COUNT_MAX];
    struct instant now = clock_now();
    struct instant next = instant_min(until, session_deadline(&h->session));
    uint64_t wait_ns = next.ns > now.ns ? next.ns - now.ns : 0;
    struct timespec wait = { .tv_sec = (time_t)(wait_ns / 1000000000u),
                             .tv_nsec = (long)(wait_ns % 1000000000u) };

    for (uint32_t i = 0; i < h->addresses.count; i++)
        polled[i] =
            (struct pollfd){ .fd = h->channels[i].fd, .events = channel_interest(&h->channels[i]) };
    if (ppoll(polled, h->addresses.count, &wait, NULL) > 0)
        for (uint32_t i = 0; i < h->addresses.count; i++)
            heed(h, i, polled[i].revents);
    settle(h); /* before the session sends anything to a connection that is gone */
    tick(h);
    settle(h);
}

static bool refuse(char *error, size_t error_size, const char *why)
{
    if (error && error_size > 0)
        (void)snprintf(error, error_size, "%s", why);
    return false;
}

static bool open_session(struct holdfast *h, char *error, size_t error_size)
{
    const struct holdfast_options *o = &h->options;
    struct session_options options = {
        .server_count = h->addresses.count,
        .connect_ms = o->connect_ms > 0 ? o->connect_ms : CONNECT_MS_DEFAULT,
        .try_ms = o->try_ms > 0 ? o->try_ms : TRY_MS_DEFAULT,
        .send_to_all = o->send_to_all,
        .id = o->session,
        .sequence = o->sequence,
    };

    if (o->session > SESSION_ID_MAX)
        return refuse(error, error_size, "the session must be below 2^63");
    if (o->sequence > SESSION_ID_MAX || (o->sequence > 0 && o->session == 0))
        return refuse(error, error_size, "a sequence needs a session, and must be below 2^63");
    if (getrandom(&options.seed, sizeof(options.seed), 0) != (ssize_t)sizeof(options.seed))
        return refuse(error, error_size, "getrandom gives no randomness for a session");
    session_init(&h->session, &options, clock_now());
    return true;
}

struct holdfast *holdfast_open(const struct holdfast_options *options, char *error,
                               size_t error_size)
{
    struct error failure;
    struct holdfast *h = calloc(1, sizeof(*h));

    if (!h) {
        (void)refuse(error, error_size, "no memory for a client");
        return NULL;
    }
    h->options = *options;
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++)
        channel_init(&h->channels[i]);
    if (!options->servers)
        (void)refuse(error, error_size, "no servers given");
    else if (addresses_parse(&h->addresses, options->servers, &failure) != ERROR_NONE)
        (void)refuse(error, error_size, failure.text);
    else if (open_session(h, error, error_size)) {
        h->options.servers = NULL;
        tick(h);
        settle(h);
        return h;
    }
    holdfast_close(h);
    return NULL;
}

void holdfast_close(struct holdfast *h)
{
    if (!h)
        return;
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++)
        channel_free(&h->channels[i]);
    buffer_free(&h->reply);
    free(h->words);
    free(h);
}

static bool take_words(struct holdfast *h, int argc, const char *const *argv, const size_t *sizes)
{
    uint64_t total = 0;

    if (argc < 1 || (uint32_t)argc > CLIENT_ARGUMENT_COUNT_MAX - ONCE_WORDS)
        return refuse(h->error, sizeof(h->error), "not sent: no words, or too many");
    if ((uint32_t)argc + ONCE_WORDS > h->word_capacity) {
        h->word_capacity = (uint32_t)argc + ONCE_WORDS;
        h->words = memory_grown(h->words, (size_t)h->word_capacity * sizeof(*h->words));
    }
    h->word_count = (uint32_t)argc;
    for (int i = 0; i < argc; i++) {
        size_t size = sizes ? sizes[i] : strlen(argv[i]);

        h->words[ONCE_WORDS + (size_t)i] = bytes_of(argv[i], size);
        total += size;
        if (size > CLIENT_BULK_BYTES_MAX || total > REQUEST_BYTES_MAX)
            return refuse(h->error, sizeof(h->error), "not sent: larger than a request may be");
    }
    return true;
}

static enum holdfast_status conclude(struct holdfast *h, uint32_t deadline_ms)
{
    switch (h->outcome) {
    case SESSION_ANSWERED: return HOLDFAST_OK;
    case SESSION_FAILED:
        (void)snprintf(h->error, sizeof(h->error), "no server executed it within %u ms%s%.300s",
                       deadline_ms, h->reason[0] ? "; last: " : "", h->reason);
        return HOLDFAST_FAILED;
    case SESSION_UNKNOWN:
        (void)snprintf(h->error, sizeof(h->error),
                       "no answer within %u ms: it may have been executed, or may still be",
                       deadline_ms);
        return HOLDFAST_UNKNOWN;
    case SESSION_LOST:
        (void)snprintf(h->error, sizeof(h->error),
                       "it was executed, once, but its reply was too large to be remembered for "
                       "a repeat: above 1 MiB");
        return HOLDFAST_UNKNOWN;
    case SESSION_FORGOTTEN: break;
    }
    (void)snprintf(h->error, sizeof(h->error),
                   "the cluster does not know session %llu any more: sequence %llu may have been "
                   "executed",
                   (unsigned long long)h->session.id, (unsigned long long)h->sequence);
    return HOLDFAST_UNKNOWN;
}

static enum holdfast_status run(struct holdfast *h, bool once, const char **reply,
                                size_t *reply_size)
{
    uint32_t deadline_ms =
        h->options.deadline_ms > 0 ? h->options.deadline_ms : DEADLINE_MS_DEFAULT;
    enum holdfast_status status;

    /* What happened between the calls: connections that ended, late replies. */
    turn(h, (struct instant){ 0 });
    h->done = false;
    h->reason[0] = '\0';
    deliver(h, (struct session_event){
                   .type = SESSION_CALL, .once = once, .deadline_ms = deadline_ms });
    settle(h);
    while (!h->done)
        turn(h, INSTANT_NEVER);
    if (once && h->outcome != SESSION_FAILED)
        h->sequence = h->session.sequence;
    status = conclude(h, deadline_ms);
    if (status == HOLDFAST_OK) {
        *reply = (const char *)buffer_head(&h->reply);
        *reply_size = buffer_size(&h->reply);
    }
    return status;
}

static enum holdfast_status start(struct holdfast *h, bool once, int argc, const char *const *argv,
                                  const size_t *sizes, const char **reply, size_t *reply_size)
{
    *reply = NULL;
    *reply_size = 0;
    h->error[0] = '\0';
    buffer_clear(&h->reply, CHANNEL_KEEP_BYTES);
    if (!take_words(h, argc, argv, sizes))
        return HOLDFAST_FAILED;
    return run(h, once, reply, reply_size);
}

enum holdfast_status holdfast_call(struct holdfast *h, int argc, const char *const *argv,
                                   const size_t *sizes, const char **reply, size_t *reply_size)
{
    return start(h, true, argc, argv, sizes, reply, reply_size);
}

enum holdfast_status holdfast_read(struct holdfast *h, int argc, const char *const *argv,
                                   const size_t *sizes, const char **reply, size_t *reply_size)
{
    return start(h, false, argc, argv, sizes, reply, reply_size);
}

static uint32_t count_links(const struct holdfast *h, enum session_link link)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < h->addresses.count; i++)
        count += h->session.servers[i].link == link;
    return count;
}

uint32_t holdfast_connect(struct holdfast *h, uint32_t wait_ms)
{
    struct instant until = instant_add_ms(clock_now(), wait_ms);

    while (count_links(h, SESSION_LINK_CONNECTING) > 0 && !instant_reached(clock_now(), until))
        turn(h, until);
    return count_links(h, SESSION_LINK_UP);
}

static uint32_t missing(const struct holdfast *h)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < h->addresses.count; i++)
        count += h->session.servers[i].count;
    return count;
}

uint32_t holdfast_drain(struct holdfast *h, uint32_t wait_ms)
{
    struct instant until = instant_add_ms(clock_now(), wait_ms);

    while (missing(h) > 0 && !instant_reached(clock_now(), until))
        turn(h, until);
    return missing(h);
}

const char *holdfast_error(const struct holdfast *h)
{
    return h->error;
}

uint64_t holdfast_session(const struct holdfast *h)
{
    return h->session.id;
}

uint64_t holdfast_sequence(const struct holdfast *h)
{
    return h->sequence;
}
