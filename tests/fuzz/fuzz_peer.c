/* A primary among backups that say anything, with checksums off: it answers its clients, and never
 * ends on their word.
 *
 * An input is u8 style (bit 0 passive), then steps: u8 what, u8 how; a message's frame, without its
 * size, as a piece. */
#include <stdlib.h>

#include "server/server.h"
#include "server/services/kv.h"
#include "tests/fuzz/fuzz.h"

#define SERVERS 3u

enum step { STEP_MESSAGE, STEP_MESSAGE_TOO, STEP_TIME, STEP_CLIENT, STEP_LINK, STEP_COUNT };

struct primary {
    struct server *server;
    struct effects *out;
    struct instant now;
    uint64_t turn_us;
};

static void on_reply(void *context, uint64_t client, enum outcome outcome, struct bytes reply)
{
    (void)context;
    (void)client;
    if (outcome == OUTCOME_DONE)
        assert(replies_check(reply) == 1);
}

static uint64_t turn_us(void *context)
{
    return ((struct primary *)context)->turn_us += 100;
}

static void look_after(struct primary *p)
{
    for (uint32_t i = 0; i < p->out->count; i++)
        assert(p->out->list[i].type != EFFECT_END);
    effects_clear(p->out);
    server_check(p->server);
}

static void says(struct primary *p, node_id from, struct message message)
{
    message.from = from;
    server_receive(p->server, p->now, &message, p->out);
    look_after(p);
}

static uint64_t incarnation_of(uint32_t i)
{
    return 11ull * (i + 1u);
}

static void link_up(struct primary *p, node_id from, uint64_t incarnation)
{
    says(p, from, (struct message){ .type = MESSAGE_LINK_UP, .link_up.incarnation = incarnation });
}

static void lead(struct primary *p, uint8_t style)
{
    struct server_options options = { .self = NODE_SERVER(0),
                                      .incarnation = incarnation_of(0),
                                      .service = kv_service(),
                                      .server_count = SERVERS,
                                      .lease_ms = 200,
                                      .checkpoint_interval_ms = 100,
                                      .suspect_after_ms = 200,
                                      .journal_bytes_max = 1 << 20,
                                      .pending_bytes_max = 1 << 20,
                                      .reply = on_reply,
                                      .turn_us = turn_us,
                                      .context = p };
    struct message view = {
        .type = MESSAGE_VIEW,
        .view = { .number = 1, .style = style, .acks = 2, .primary = NODE_SERVER(0) }
    };

    p->now = (struct instant){ 1000000000u };
    p->server = server_new(&options, p->now);
    assert(p->server);
    link_up(p, NODE_RM, 1);
    for (uint32_t i = 0; i < SERVERS; i++) {
        members_put(&view.view.members, NODE_SERVER(i), incarnation_of(i));
        if (i > 0)
            link_up(p, NODE_SERVER(i), incarnation_of(i));
    }
    says(p, NODE_RM, view);
}

static void turn(struct primary *p, uint8_t ms)
{
    p->now = instant_add_ms(p->now, ms);
    server_wall(p->server, 1700000000000000u + p->now.ns / 1000u);
    server_tick(p->server, p->now, p->out);
    look_after(p);
}

static void ask(struct primary *p, uint8_t how)
{
    const struct bytes argv[] = { bytes_string("APPEND"), bytes_string("k"), bytes_string("v") };
    const bool reads = how % 4u == 0;
    struct server_request request = { .client = how,
                                      .stream = how % 3u,
                                      .kind = reads ? REQUEST_READ : REQUEST_COMMAND };
    struct buffer packed = { 0 };

    if (reads)
        request_pack_command(&packed, 1, &(struct bytes){ (const uint8_t *)"DBSIZE", 6 });
    else
        request_pack_command(&packed, 3, argv);
    request.request = buffer_bytes(&packed);
    (void)server_submit(p->server, p->now, 1700000000000000u, &request, p->out);
    look_after(p);
    buffer_free(&packed);
}

static void step(struct primary *p, struct bytes *input)
{
    uint8_t what = input_u8(input), how = input_u8(input);
    node_id from = NODE_SERVER(1u + how % 2u);
    struct message message;
    struct error error;

    switch (what % STEP_COUNT) {
    case STEP_TIME: turn(p, how); break;
    case STEP_CLIENT: ask(p, how); break;
    case STEP_LINK:
        says(p, from, (struct message){ .type = MESSAGE_LINK_DOWN });
        link_up(p, from, how / 2u % 2u ? how : incarnation_of(node_index(from)));
        break;
    default:
        if (message_decode(input_piece(input), &message, &error) == ERROR_NONE)
            says(p, from, message);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = bytes_of(data, size);
    struct primary *p = memory_zeroed(1, sizeof *p);

    p->out = memory_zeroed(1, sizeof *p->out);
    lead(p, input_u8(&input) & 1u);
    while (input.size > 0)
        step(p, &input);
    turn(p, 1);
    server_free(p->server);
    free(p->out);
    free(p);
    return 0;
}
