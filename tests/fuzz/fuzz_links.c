/* Whoever reaches the port that links come to, and sends anything, cut anywhere: the core hears of
 * a node only while it has a link to it, and what goes out are whole frames.
 *
 * An input is steps: u8 what, u8 how, and what the step takes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/runtime.h"
#include "tests/fuzz/arbitrary.h"

#define CALLERS    3u
#define BULK_BYTES (32u << 10) /* sent without a copy */

enum step { STEP_FEED, STEP_FEED_MORE, STEP_HELLO, STEP_MESSAGE, STEP_TURN, STEP_CALL, STEP_COUNT };

struct caller {
    int fd; /* 0: not there */
    struct buffer heard;
};

struct place {
    struct config config;
    struct runtime *runtime;
    struct arbitrary arbitrary;
    struct caller callers[CALLERS];
    char path[CONFIG_PATH_SIZE];
    uint64_t linked;    /* nodes, as the core knows */
    struct block *bulk; /* what it sends to whoever asks */
};

/* ---- The core ---- */

static void on_message(void *self, struct instant now, const struct message *message,
                       struct effects *out)
{
    struct place *p = self;
    uint64_t bit = 1ull << message->from;

    (void)now;
    assert(message->from != NODE_NONE && node_is_valid(message->from));
    if (message->type == MESSAGE_LINK_UP) {
        assert(!(p->linked & bit));
        p->linked |= bit;
        return;
    }
    assert(p->linked & bit);
    if (message->type == MESSAGE_LINK_DOWN)
        p->linked &= ~bit;
    else if (message->type == MESSAGE_HEARTBEAT)
        effects_send(
            out, message->from,
            (struct message){ .type = MESSAGE_HEARTBEAT_OK,
                              .heartbeat_ok = { .sequence = message->heartbeat.sequence } });
    else if (message->type == MESSAGE_ACK)
        effects_send_held(
            out, message->from,
            (struct message){ .type = MESSAGE_APPEND,
                              .append.entries = bytes_of(p->bulk->data, p->bulk->size) },
            p->bulk);
}

static void on_tick(void *self, struct instant now, struct effects *out)
{
    (void)self;
    (void)now;
    (void)out;
}

static struct instant no_deadline(const void *self)
{
    (void)self;
    return INSTANT_NEVER;
}

static void no_check(const void *self)
{
    (void)self;
}

/* ---- The callers ---- */

static void call(struct place *p, struct caller *c)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int result;

    assert(strlen(p->path) < sizeof address.sun_path);
    memcpy(address.sun_path, p->path, strlen(p->path));
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert(c->fd > 0);
    result = connect(c->fd, (const struct sockaddr *)&address, sizeof address);
    assert(result == 0 || errno == EAGAIN);
}

static void hang_up(struct caller *c)
{
    if (c->fd)
        (void)close(c->fd);
    buffer_free(&c->heard);
    c->fd = 0;
}

static void feed(struct caller *c, struct bytes bytes)
{
    if (c->fd && send(c->fd, bytes.data, bytes.size, MSG_NOSIGNAL) < 0 && errno != EAGAIN)
        hang_up(c);
}

static void feed_message(struct caller *c, const struct message *message)
{
    struct buffer frame = { 0 };

    message_encode(message, &frame);
    feed(c, buffer_bytes(&frame));
    buffer_free(&frame);
}

static void hello(struct place *p, struct caller *c, uint8_t how)
{
    static const node_id nodes[] = { NODE_RM,  NODE_SERVER(1), NODE_SERVER(2), NODE_LFD(0),
                                     NODE_GFD, NODE_SERVER(0), NODE_SERVER(9) };
    struct message m = { .type = MESSAGE_HELLO,
                         .hello = { .protocol = PROTOCOL_VERSION,
                                    .node = nodes[how % (sizeof nodes / sizeof nodes[0])],
                                    .expected = how & 128u ? NODE_RM : NODE_SERVER(0),
                                    .incarnation = how,
                                    .pid = how } };

    memcpy(m.hello.cluster, p->config.cluster, sizeof p->config.cluster);
    feed_message(c, &m);
}

/* What comes are frames of messages, of which the last may be cut. */
static void hear(struct caller *c)
{
    ssize_t size = 1;

    while (c->fd && size > 0) {
        size = read(c->fd, buffer_reserve(&c->heard, 65536), 65536);
        if (size > 0)
            buffer_commit(&c->heard, (size_t)size);
    }
    while (buffer_size(&c->heard) >= 4) {
        struct bytes heard = buffer_bytes(&c->heard);
        uint32_t bytes = 0;
        struct message message;
        struct error error;
        enum error_code code;

        for (uint32_t i = 0; heard.data && i < 4; i++)
            bytes |= (uint32_t)heard.data[i] << 8 * i;
        assert(bytes <= BULK_BYTES + 4096u);
        if (heard.size < 4 + bytes)
            break;
        code = message_decode(bytes_of(heard.data + 4, bytes), &message, &error);
        assert(code == ERROR_NONE);
        buffer_consume(&c->heard, 4 + bytes);
    }
    if (size == 0 || (size < 0 && errno != EAGAIN))
        hang_up(c);
}

static void turn(struct place *p)
{
    runtime_turn(p->runtime, false);
    for (uint32_t i = 0; i < CALLERS; i++)
        hear(&p->callers[i]);
}

static void step(struct place *p)
{
    uint8_t what = input_u8(&p->arbitrary.input), how = input_u8(&p->arbitrary.input);
    struct caller *c = &p->callers[how % CALLERS];
    struct message message;

    switch (what % STEP_COUNT) {
    case STEP_FEED:
    case STEP_FEED_MORE: feed(c, input_piece(&p->arbitrary.input)); break;
    case STEP_HELLO: hello(p, c, input_u8(&p->arbitrary.input)); break;
    case STEP_MESSAGE:
        arbitrary_message(&p->arbitrary, NODE_SERVER(1), &message);
        feed_message(c, &message);
        break;
    case STEP_TURN: turn(p); break;
    default:
        if (c->fd)
            hang_up(c);
        else
            call(p, c);
        break;
    }
}

static void begin(struct place *p)
{
    struct runtime_options options = { .config = &p->config,
                                       .self = NODE_SERVER(0),
                                       .incarnation = 11,
                                       .core = { p, on_message, on_tick, no_deadline, no_check },
                                       .context = p };
    struct error error;

    memcpy(p->config.cluster, "three", sizeof "three");
    p->config.server_count = p->config.host_count = 3;
    p->bulk = block_new(BULK_BYTES);
    memset(p->bulk->data, 0, BULK_BYTES);
    (void)snprintf(p->path, sizeof p->path, "%s/links", scratch_folder());
    if (runtime_open(&p->runtime, &options, &error) != ERROR_NONE ||
        runtime_listen(p->runtime, p->path, 0, &error) != ERROR_NONE)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum message_type usual[] = { MESSAGE_ACK, MESSAGE_HEARTBEAT };
    struct place *p = memory_zeroed(1, sizeof *p);

    p->arbitrary = (struct arbitrary){ .input = bytes_of(data, size),
                                       .usual = usual,
                                       .usual_count = sizeof usual / sizeof usual[0] };
    begin(p);
    while (p->arbitrary.input.size > 0)
        step(p);
    turn(p);
    for (uint32_t i = 0; i < CALLERS; i++)
        hang_up(&p->callers[i]);
    turn(p);
    turn(p);
    assert(p->linked == 0);
    runtime_close(p->runtime);
    block_release(p->bulk);
    buffer_free(&p->arbitrary.bytes);
    free(p);
    return 0;
}
