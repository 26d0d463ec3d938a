/* Seeds of what one server hears, in a cluster of three that talk to one another. */
#include "tests/fuzz/seeds.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "server/server.h"
#include "server/services/kv.h"

#define TALK_SERVERS  3u
#define TALK_NOTED    1u /* whose side of it becomes the seed */
#define TALK_MESSAGES 64u
#define TALK_TURN_MS  5u

/* As the steps of fuzz_server.c. */
enum { SERVER_FRAME = 3, SERVER_RM = 4, SERVER_TIME = 5, SERVER_CLIENT = 6, SERVER_LINK = 7 };

struct talk {
    struct server *servers[TALK_SERVERS];
    struct effects *out;
    struct instant now;
    struct {
        node_id from, to;
        struct buffer frame;
    } under_way[TALK_MESSAGES];
    uint32_t count;
    uint32_t deaf; /* hears nothing of s1 */
    struct buffer seed;
};

static void no_reply(void *context, uint64_t client, enum outcome outcome, struct bytes reply)
{
    (void)context;
    (void)client;
    (void)outcome;
    (void)reply;
}

static void talk_donate(struct talk *t, const struct message_donor_wanted *wanted);

static void talk_carry_out(struct talk *t, uint32_t speaker)
{
    struct message_donor_wanted wanted = { 0 };

    for (uint32_t i = 0; i < t->out->count; i++) {
        const struct effect *effect = &t->out->list[i];

        if (effect->type == EFFECT_SEND && effect->message.type == MESSAGE_DONOR_WANTED)
            wanted = effect->message.donor_wanted;
        if (effect->type != EFFECT_SEND || !node_is_server(effect->node) ||
            (speaker == 0 && node_index(effect->node) == t->deaf))
            continue;
        assert(t->count < TALK_MESSAGES);
        t->under_way[t->count].from = NODE_SERVER(speaker);
        t->under_way[t->count].to = effect->node;
        message_encode(&effect->message, &t->under_way[t->count].frame);
        buffer_consume(&t->under_way[t->count++].frame, 4);
    }
    effects_clear(t->out);
    if (wanted.number)
        talk_donate(t, &wanted);
}

static void talk_hear(struct talk *t, uint32_t hearer, node_id from, struct message message)
{
    message.from = from;
    server_receive(t->servers[hearer], t->now, &message, t->out);
    talk_carry_out(t, hearer);
}

/* The rm asks a member that does not lead. */
static void talk_donate(struct talk *t, const struct message_donor_wanted *wanted)
{
    struct message donate = { .type = MESSAGE_DONATE,
                              .donate = { wanted->number, wanted->joiner, wanted->incarnation,
                                          wanted->index } };

    for (uint32_t i = 0; i < TALK_SERVERS; i++)
        if (NODE_SERVER(i) != wanted->joiner) {
            if (i == TALK_NOTED) /* as it is made of the numbers of the primary */
                continue;
            talk_hear(t, i, NODE_RM, donate);
        }
}

static void talk_deliver(struct talk *t)
{
    for (uint32_t i = 0; i < t->count; i++) {
        node_id from = t->under_way[i].from;
        uint32_t to = node_index(t->under_way[i].to);
        struct buffer frame = t->under_way[i].frame;
        struct message message;
        struct error error;

        t->under_way[i].frame = (struct buffer){ 0 };
        if (to == TALK_NOTED) {
            put_step(&t->seed, SERVER_FRAME, node_index(from) == 0 ? 0 : 1);
            put_piece(&t->seed, buffer_bytes(&frame));
        }
        if (message_decode(buffer_bytes(&frame), &message, &error) != ERROR_NONE)
            abort();
        talk_hear(t, to, from, message);
        buffer_free(&frame);
    }
    t->count = 0;
}

/* Turns of all servers, with what they have to say to one another. */
static void talk_turns(struct talk *t, uint32_t turns)
{
    for (; turns > 0; turns--) {
        t->now = instant_add_ms(t->now, TALK_TURN_MS);
        put_step(&t->seed, SERVER_TIME, TALK_TURN_MS);
        for (uint32_t i = 0; i < TALK_SERVERS; i++) {
            server_wall(t->servers[i], 1700000000000000u + t->now.ns / 1000u);
            server_tick(t->servers[i], t->now, t->out);
            talk_carry_out(t, i);
        }
        talk_deliver(t);
    }
}

static void talk_ask(struct talk *t, uint32_t whom, const char *words)
{
    struct server_request request = { .client = 1, .stream = 1, .kind = REQUEST_COMMAND };
    struct buffer packed = { 0 };

    pack_words(&packed, words);
    request.request = buffer_bytes(&packed);
    if (whom == TALK_NOTED)
        put_step(&t->seed, SERVER_CLIENT, 1);
    (void)server_submit(t->servers[whom], t->now, 1700000000000000u, &request, t->out);
    talk_carry_out(t, whom);
    buffer_free(&packed);
}

static void talk_view(struct talk *t, uint64_t number, uint8_t style, uint32_t primary,
                      uint32_t members)
{
    struct message view = { .type = MESSAGE_VIEW,
                            .view = { .number = number,
                                      .style = style,
                                      .acks = (uint8_t)__builtin_popcount(members),
                                      .primary = NODE_SERVER(primary) } };

    for (uint32_t i = 0; i < TALK_SERVERS; i++)
        if (members >> i & 1u)
            members_put(&view.view.members, NODE_SERVER(i), 11ull * (i + 1u));
    for (uint32_t i = 0; i < TALK_SERVERS; i++)
        talk_hear(t, i, NODE_RM, view);
    talk_deliver(t);
}

static void talk_link(struct talk *t, uint32_t a, uint32_t b)
{
    const uint32_t ends[2] = { a, b };

    for (uint32_t i = 0; i < 2; i++) {
        uint32_t other = ends[1 - i];

        if (ends[i] == TALK_NOTED && buffer_size(&t->seed) > 0)
            put_step(&t->seed, SERVER_LINK, other == 0 ? 129 : 130);
        talk_hear(t, ends[i], NODE_SERVER(other),
                  (struct message){ .type = MESSAGE_LINK_UP,
                                    .link_up.incarnation = 11ull * (other + 1u) });
    }
}

static void talk_open(struct talk *t)
{
    t->out = memory_zeroed(1, sizeof *t->out);
    t->now = (struct instant){ 1000000000u };
    t->deaf = TALK_SERVERS;
    for (uint32_t i = 0; i < TALK_SERVERS; i++) {
        struct server_options options = { .self = NODE_SERVER(i),
                                          .incarnation = 11ull * (i + 1u),
                                          .service = kv_service(),
                                          .server_count = 4,
                                          .lease_ms = 200,
                                          .checkpoint_interval_ms = 20,
                                          .suspect_after_ms = 200,
                                          .journal_bytes_max = 1,
                                          .pending_bytes_max = 1 << 20,
                                          .sessions_max = 3,
                                          .reply = no_reply };

        t->servers[i] = server_new(&options, t->now);
        assert(t->servers[i]);
        talk_hear(t, i, NODE_RM, (struct message){ .type = MESSAGE_LINK_UP });
    }
}

static void talk_close(struct talk *t, const char *name)
{
    seed_write("server", name, &t->seed);
    for (uint32_t i = 0; i < TALK_SERVERS; i++)
        server_free(t->servers[i]);
    buffer_free(&t->seed);
    free(t->out);
    free(t);
}

/* The view as the rm's, in a seed. */
static void put_view(struct buffer *seed, uint8_t style, uint32_t primary, uint32_t members)
{
    const uint8_t bytes[] = { (uint8_t)(style | (__builtin_popcount(members) - 1) << 2 |
                                        (int)primary << 4),
                              (uint8_t)members };

    buffer_append(seed, bytes, sizeof bytes);
}

static void talk_work(struct talk *t)
{
    talk_ask(t, 0, "SET a 1");
    talk_ask(t, 2, "INCR n");
    talk_turns(t, 4);
    talk_ask(t, TALK_NOTED, "APPEND k v");
    talk_turns(t, 6);
}

/* What s2 hears in a cluster where all goes well, in view 1 and after a change to view 2. One of
 * them may come in only then, after some entries have been dropped. */
static void server_seed(const char *name, uint8_t options, uint8_t style, uint32_t primary,
                        uint32_t joiner)
{
    struct talk *t = memory_zeroed(1, sizeof *t);
    const uint32_t members = 7u & ~(1u << joiner);
    /* Little is kept of the journal; and who is not linked from the start. */
    const uint32_t apart = joiner == TALK_NOTED ? 5u : joiner < TALK_SERVERS ? 1u << joiner : 0;
    const uint8_t head = (uint8_t)(options | 2u | apart << 3);

    talk_open(t);
    for (uint32_t i = 0; i < TALK_SERVERS; i++)
        for (uint32_t k = i + 1; k < TALK_SERVERS; k++)
            if (i != joiner && k != joiner)
                talk_link(t, i, k);
    buffer_append(&t->seed, &head, 1);
    put_view(&t->seed, style, primary, members);
    talk_view(t, 1, style, primary, members);
    talk_turns(t, 2);
    talk_work(t);
    for (uint32_t i = 0; joiner < TALK_SERVERS && i < TALK_SERVERS; i++)
        if (i != joiner)
            talk_link(t, joiner, i);
    talk_turns(t, joiner < TALK_SERVERS ? 10 : 2);
    put_step(&t->seed, SERVER_RM, 192);
    put_view(&t->seed, style, primary, 7u);
    talk_view(t, 2, style, primary, 7u);
    talk_turns(t, 8);
    talk_close(t, name);
}

/* s1 fails with entries that only s2 has of it, and s3 leads: they are dropped. */
static void truncation_seed(void)
{
    struct talk *t = memory_zeroed(1, sizeof *t);
    const uint8_t options = 0;

    talk_open(t);
    for (uint32_t i = 0; i < TALK_SERVERS; i++)
        talk_link(t, i, (i + 1) % TALK_SERVERS);
    buffer_append(&t->seed, &options, 1);
    put_view(&t->seed, STYLE_ACTIVE, 0, 7u);
    talk_view(t, 1, STYLE_ACTIVE, 0, 7u);
    talk_turns(t, 2);
    talk_work(t);
    t->deaf = 2;
    talk_work(t);
    put_step(&t->seed, SERVER_RM, 192);
    put_view(&t->seed, STYLE_ACTIVE, 2, 6u);
    talk_view(t, 2, STYLE_ACTIVE, 2, 6u);
    talk_turns(t, 8);
    talk_close(t, "truncation");
}

void seeds_of_servers(void)
{
    server_seed("backup_active", 0, STYLE_ACTIVE, 0, TALK_SERVERS);
    server_seed("backup_passive", 1, STYLE_PASSIVE, 0, TALK_SERVERS);
    server_seed("primary_active", 1, STYLE_ACTIVE, 1, TALK_SERVERS);
    server_seed("primary_passive", 0, STYLE_PASSIVE, 1, TALK_SERVERS);
    server_seed("primary_with_joiner", 0, STYLE_ACTIVE, 1, 2);
    server_seed("joiner", 0, STYLE_ACTIVE, 0, TALK_NOTED);
    server_seed("joiner_with_disk", 1, STYLE_PASSIVE, 0, TALK_NOTED);
    truncation_seed();
}
