/* Operators who type anything, before a whole rm: what they hear are whole replies.
 *
 * An input is u8 how many bytes come at a time (the upper half: in steps of how many seconds), then
 * what comes. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rm/console.h"
#include "tests/fuzz/fuzz.h"

#define SERVERS 3u

struct desk {
    struct config config;
    struct rm *rm;
    struct effects *out;
    struct instant now;
    struct event_base *base;
    struct console *console;
    int fd; /* the operator's end */
};

static void carry_out(struct desk *d)
{
    for (uint32_t i = 0; i < d->out->count; i++)
        if (d->out->list[i].type == EFFECT_ANSWER)
            console_answer(d->console, &d->out->list[i]);
    effects_clear(d->out);
    rm_check(d->rm);
}

static void deliver(void *context, const struct message *message)
{
    struct desk *d = context;

    rm_receive(d->rm, d->now, message, d->out);
    carry_out(d);
}

static void says(struct desk *d, node_id from, struct message message)
{
    message.from = from;
    deliver(d, &message);
}

/* View 1, with all servers. */
static void serve(struct desk *d)
{
    struct message membership = { .type = MESSAGE_MEMBERSHIP, .membership = { .version = 3 } };

    for (uint32_t i = 0; i < SERVERS; i++)
        members_put(&membership.membership.members, NODE_SERVER(i), 11 + i);
    says(d, NODE_GFD, (struct message){ .type = MESSAGE_LINK_UP, .link_up = { 7, 70 } });
    says(d, NODE_GFD, membership);
    for (uint32_t i = 0; i < SERVERS; i++) {
        says(d, NODE_SERVER(i),
             (struct message){ .type = MESSAGE_LINK_UP, .link_up = { .incarnation = 11 + i } });
        says(d, NODE_SERVER(i),
             (struct message){ .type = MESSAGE_STATE, .state = { .incarnation = 11 + i } });
    }
    for (uint32_t i = 0; i < SERVERS; i++)
        says(d, NODE_SERVER(i),
             (struct message){
                 .type = MESSAGE_REPORT,
                 .report = { .number = d->rm->view.number, .incarnation = 11 + i, .intact = 1 } });
    says(d, NODE_SERVER(0), (struct message){ .type = MESSAGE_ACTIVE, .active = { .number = 1 } });
}

static void desk_open(struct desk *d)
{
    struct rm_options options = { .seed = 1 };
    struct console_options console = { .pid = 4711, .deliver = deliver, .context = d };
    int pair[2];

    memcpy(d->config.cluster, "three", sizeof "three");
    d->config.server_count = d->config.host_count = SERVERS;
    d->config.replication.lease_ms = 200;
    d->config.restart.backoff_ms = d->config.restart.backoff_ms_max = 50;
    d->config.restart.budget = d->config.restart.budget_window_s = 3;
    for (uint32_t i = 0; i < SERVERS; i++) {
        d->config.servers[i].name[0] = 's';
        d->config.servers[i].name[1] = d->config.hosts[i].name[1] = (char)('1' + i);
        d->config.hosts[i].name[0] = 'h';
        d->config.servers[i].host = i;
    }
    d->now = (struct instant){ 1000000000u };
    d->rm = memory_zeroed(1, sizeof *d->rm);
    d->out = memory_zeroed(1, sizeof *d->out);
    rm_options_set(&options, &d->config);
    rm_init(d->rm, &options, d->now);
    d->base = event_base_new();
    assert(d->base);
    console.base = d->base;
    console.config = &d->config;
    console.rm = d->rm;
    d->console = console_new(&console);
    serve(d);
    d->fd = socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair);
    assert(d->fd == 0);
    console_adopt(d->console, pair[0]);
    d->fd = pair[1];
}

static void desk_close(struct desk *d)
{
    (void)close(d->fd);
    console_free(d->console);
    event_base_free(d->base);
    free(d->rm);
    free(d->out);
    free(d);
}

/* What the operator hears; false when the console has hung up. */
static bool hear(struct desk *d, struct buffer *heard)
{
    ssize_t size;

    for (;;) {
        size = read(d->fd, buffer_reserve(heard, 65536), 65536);
        if (size <= 0)
            return size < 0 && errno == EAGAIN;
        buffer_commit(heard, (size_t)size);
    }
}

static bool turn(struct desk *d, uint32_t ms, struct buffer *heard)
{
    d->now = instant_add_ms(d->now, ms);
    rm_tick(d->rm, d->now, d->out);
    carry_out(d);
    if (event_base_loop(d->base, EVLOOP_NONBLOCK) < 0)
        abort();
    console_turn_end(d->console);
    return hear(d, heard);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = bytes_of(data, size);
    struct desk *d = memory_zeroed(1, sizeof *d);
    struct buffer heard = { 0 };
    uint8_t how = input_u8(&input);
    size_t step = 1u + (how & 15u) * 20u;
    bool open = true;

    desk_open(d);
    while (open && input.size > 0) {
        struct bytes piece = input_bytes(&input, step);

        open = send(d->fd, piece.data, piece.size, MSG_NOSIGNAL) == (ssize_t)piece.size &&
               turn(d, (how >> 4u) * 1000u, &heard);
    }
    /* Whatever it waits for is answered after RM_COMMAND_MS_MAX, and then the next. */
    for (uint32_t i = 0; open && i < 4; i++)
        open = turn(d, RM_COMMAND_MS_MAX, &heard);
    (void)replies_check(buffer_bytes(&heard));
    buffer_free(&heard);
    desk_close(d);
    return 0;
}
