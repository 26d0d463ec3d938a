/* A whole server among servers that say anything: whatever its role, it goes on, and answers its
 * clients; what it cannot go on with, it says before it ends. The rm alone is believed.
 *
 * An input is u8 options, u8 and u8 members of the first view, then steps: u8 what, u8 how, and
 * what the step takes. */
#include <stdlib.h>

#include "server/server.h"
#include "server/services/kv.h"
#include "tests/fuzz/arbitrary.h"

#define SERVERS       4u
#define SELF          1u
#define CLIENTS       256u
#define PIECES_MAX    32u
#define IDLE_TURNS    2000u /* of a server that nobody says anything to: by then it waits */
#define VIEW_STEP_MAX 8u    /* the rm's views grow by so much */
#define VIEW_MAX      (1ull << 62)
#define WALL_US       1700000000000000u

enum step {
    STEP_MESSAGE,
    STEP_MESSAGE_TOO,
    STEP_MESSAGE_AGAIN,
    STEP_FRAME, /* as it crosses a link */
    STEP_RM,
    STEP_TIME,
    STEP_CLIENT,
    STEP_LINK,
    STEP_DISK,
    STEP_COUNT
};

/* The checkpoint of a machine that has executed a few entries. */
static struct donor {
    struct machine *machine;
    struct buffer slices[PIECES_MAX];
    struct bytes pieces[PIECES_MAX];
    uint32_t count;
} donor;

/* Large: to get them anew for each input takes longer than a short one. */
static struct effects effects;

struct life {
    struct server *server;
    struct effects *out;
    struct arbitrary arbitrary;
    struct instant now;
    uint64_t turn_us, view, token;
    uint32_t linked;           /* servers that are */
    uint32_t waiting[CLIENTS]; /* requests of each client */
    bool hears_others;         /* what clients hear now is another server's word */
    bool followed;             /* it may hold another's entries */
    bool ended;
    bool persistent, stalled;
    uint64_t epoch, index; /* of what was handed over last */
    uint32_t slices;       /* of a checkpoint, on their way to the disk */
    bool keeps, kept;      /* one is being kept, and all of it is there */
};

static uint64_t incarnation_of(uint32_t i)
{
    return 11ull * (i + 1u);
}

static void donor_make(void)
{
    static const char *const keys[] = { "a", "b", "n", "k", "a" };
    struct buffer request = { 0 }, reply = { 0 };
    bool full;

    donor.machine = machine_new(kv_service());
    for (uint64_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const struct bytes argv[] = { bytes_string("INCR"), bytes_string(keys[i]) };
        struct machine_entry entry = { .index = i + 1,
                                       .time_us = WALL_US + i,
                                       .session = i,
                                       .sequence = 1,
                                       .kind = REQUEST_COMMAND };

        buffer_clear(&request, 4096);
        request_pack_command(&request, 2, argv);
        entry.request = buffer_bytes(&request);
        machine_execute(donor.machine, &entry, &reply);
    }
    machine_checkpoint_begin(donor.machine, 0, &full);
    for (bool more = true; more && donor.count < PIECES_MAX; donor.count++) {
        more = machine_checkpoint_slice(donor.machine, 100, &donor.slices[donor.count]);
        donor.pieces[donor.count] = buffer_bytes(&donor.slices[donor.count]);
    }
    machine_checkpoint_end(donor.machine);
    buffer_free(&request);
    buffer_free(&reply);
}

/* ---- What the server wants ---- */

static void on_reply(void *context, uint64_t client, enum outcome outcome, struct bytes reply)
{
    struct life *l = context;

    assert(client < CLIENTS && l->waiting[client] > 0);
    l->waiting[client]--;
    if (outcome == OUTCOME_DONE && !l->hears_others)
        assert(replies_check(reply) == 1);
}

static uint64_t turn_us(void *context)
{
    return ((struct life *)context)->turn_us += 100;
}

static void persist(struct life *l)
{
    struct bytes piece;
    struct block *owner;

    while (server_persist_next(l->server, &l->epoch, &l->index, &piece, &owner))
        assert(piece.size > 0);
}

static void keep(struct life *l, const struct effect *effect)
{
    assert(l->persistent);
    if (effect->type == EFFECT_KEEP_END) {
        l->kept = l->keeps && effect->number == 1;
        l->keeps = l->keeps && l->kept;
        l->slices = l->keeps ? l->slices : 0;
    } else if (effect->message.type == MESSAGE_CHECKPOINT_BEGIN) {
        l->keeps = true;
        l->kept = false;
        l->slices = 0;
    } else {
        assert(l->keeps && !l->kept);
        l->slices++;
    }
}

/* The token of a request of ours, as the primary sees it. */
static void note_token(struct life *l, const struct message *message)
{
    struct bytes rest = message->forward.requests, record;
    struct journal_record header;
    bool sound;

    while (message->type == MESSAGE_FORWARD && journal_record_next(&rest, &header, &record, &sound))
        l->token = header.token;
}

static void carry_out(struct life *l)
{
    sends_check(l->out);
    for (uint32_t i = 0; i < l->out->count; i++) {
        const struct effect *effect = &l->out->list[i];

        switch (effect->type) {
        case EFFECT_SEND: note_token(l, &effect->message); break;
        case EFFECT_PERSIST: persist(l); break;
        case EFFECT_KEEP:
        case EFFECT_KEEP_END: keep(l, effect); break;
        case EFFECT_END:
            assert(l->followed && effect->text && effect->text[0]);
            l->ended = true;
            break;
        default: break;
        }
    }
    effects_clear(l->out);
    if (!l->ended)
        server_check(l->server);
}

/* What is near to the numbers that the server goes by now. */
static void know(struct life *l, node_id from)
{
    struct server_status s;

    server_status(l->server, l->now, &s);
    memcpy(l->arbitrary.known,
           (const uint64_t[ARBITRARY_KNOWN]){
               s.view, s.journal_index, s.commit_index, s.journal_first - 1, s.executed_index,
               s.promised, l->now.ns, WALL_US + l->now.ns / 1000u, incarnation_of(SELF),
               incarnation_of(node_is_server(from) ? node_index(from) : 0), l->token,
               machine_index(donor.machine), machine_digest(donor.machine),
               machine_time_us(donor.machine) },
           sizeof l->arbitrary.known);
}

/* ---- What it hears ---- */

static bool leads(const struct life *l)
{
    struct server_status s;

    server_status(l->server, l->now, &s);
    return s.role == ROLE_PRIMARY;
}

static bool is_local(const struct message *message)
{
    return (uint32_t)message->type >= MESSAGE_LOCAL_MIN;
}

static void says(struct life *l, node_id from, struct message message)
{
    l->followed = l->followed || (node_is_server(from) && !is_local(&message) && !leads(l));
    message.from = from;
    l->hears_others = message.type == MESSAGE_REPLY;
    server_receive(l->server, l->now, &message, l->out);
    l->hears_others = false;
    carry_out(l);
}

static void link_set(struct life *l, node_id server, bool up, uint64_t incarnation)
{
    uint32_t bit = 1u << node_index(server);

    if (l->linked & bit)
        says(l, server,
             (struct message){ .type = MESSAGE_LINK_DOWN,
                               .link_down.incarnation = incarnation_of(node_index(server)) });
    l->linked = up ? l->linked | bit : l->linked & ~bit;
    if (up)
        says(l, server,
             (struct message){ .type = MESSAGE_LINK_UP, .link_up.incarnation = incarnation });
}

/* The rm's: each has another number, and makes sense in itself. */
static void view(struct life *l, uint8_t how, uint8_t members)
{
    struct server_status s;
    struct message message = { .type = MESSAGE_VIEW,
                               .view = { .style = how & 1u,
                                         .propagation = how >> 1 & 1u,
                                         .primary = NODE_SERVER(how >> 4 & 3u),
                                         .lease_wait_ms = how & 64u ? 50u : 0 } };

    server_status(l->server, l->now, &s);
    if (s.promised > l->view)
        l->view = s.promised;
    if (l->view > VIEW_MAX)
        return;
    message.view.number = l->view += 1u + members / 16u % VIEW_STEP_MAX;
    for (uint32_t i = 0; i < SERVERS; i++)
        if (((uint32_t)members >> i & 1u) || message.view.primary == NODE_SERVER(i))
            members_put(&message.view.members, NODE_SERVER(i), incarnation_of(i));
    message.view.acks = (uint8_t)(1u + (how >> 2 & 3u) % members_count(&message.view.members));
    says(l, NODE_RM, message);
}

static void rm(struct life *l, uint8_t how)
{
    struct message message;

    if (how >= 192) {
        how = input_u8(&l->arbitrary.input);
        view(l, how, input_u8(&l->arbitrary.input));
        return;
    }
    know(l, NODE_RM);
    message = (struct message){ .type = how & 1u ? MESSAGE_FENCE : MESSAGE_DONATE };
    if (how & 1u) {
        message.fence.number = arbitrary_number(&l->arbitrary);
        if (message.fence.number > VIEW_MAX)
            return;
    } else {
        message.donate.number = l->arbitrary.known[0];
        message.donate.joiner = NODE_SERVER(how >> 1 & 3u);
        message.donate.index = arbitrary_number(&l->arbitrary);
    }
    says(l, NODE_RM, message);
}

static void saved(struct life *l)
{
    if (l->stalled)
        return;
    if (l->index)
        server_saved(l->server, l->epoch, l->index);
    for (; l->slices > 0; l->slices--)
        server_slice_kept(l->server, l->now, l->out);
    if (l->kept) {
        l->keeps = l->kept = false;
        server_checkpoint_kept(l->server, l->now, true, l->out);
    }
    carry_out(l);
}

static void turn(struct life *l, uint32_t ms)
{
    l->now = instant_add_ms(l->now, ms);
    server_wall(l->server, WALL_US + l->now.ns / 1000u);
    server_tick(l->server, l->now, l->out);
    carry_out(l);
    if (!l->ended)
        saved(l);
}

static void disk(struct life *l, uint8_t how)
{
    if (!l->persistent)
        return;
    switch (how % 4u) {
    case 0: l->stalled = !l->stalled; break;
    case 1: server_disk_full(l->server, how & 4u); break;
    case 2: (void)server_keep(l->server, l->index); break;
    default:
        if (!l->keeps)
            break;
        l->keeps = l->kept = false;
        l->slices = 0;
        server_checkpoint_kept(l->server, l->now, false, l->out);
        carry_out(l);
        break;
    }
}

static void ask(struct life *l, uint8_t how)
{
    static const char *const writes[][3] = { { "APPEND", "k", "v" }, { "PSETEX", "t", "20" } };
    const bool reads = how % 4u == 0;
    const char *const *words = writes[how / 64u % 2u];
    const struct bytes argv[] = { bytes_string(words[0]), bytes_string(words[1]),
                                  bytes_string(words[2]), bytes_string("v") };
    struct server_request request = { .client = how,
                                      .stream = how % 3u,
                                      .kind = reads ? REQUEST_READ : REQUEST_COMMAND,
                                      .stale = how & 128u,
                                      .session = how & 32u ? how : 0,
                                      .sequence = how & 32u ? 1 : 0 };
    struct buffer packed = { 0 };

    if (how == 255) {
        how = input_u8(&l->arbitrary.input);
        server_forget(l->server, how);
        l->waiting[how] = 0;
        return;
    }
    if (reads)
        request_pack_command(&packed, 1, &(struct bytes){ (const uint8_t *)"DBSIZE", 6 });
    else
        request_pack_command(&packed, how / 64u % 2u ? 4 : 3, argv);
    request.request = buffer_bytes(&packed);
    l->waiting[how]++;
    if (!server_submit(l->server, l->now, WALL_US + l->now.ns / 1000u, &request, l->out))
        l->waiting[how]--;
    carry_out(l);
    buffer_free(&packed);
}

static node_id other(uint8_t how)
{
    static const uint32_t others[SERVERS - 1] = { 0, 2, 3 };

    return NODE_SERVER(others[how % (SERVERS - 1u)]);
}

static void step(struct life *l)
{
    uint8_t what = input_u8(&l->arbitrary.input), how = input_u8(&l->arbitrary.input);
    node_id from = other(how);
    struct message message;
    struct error error;

    switch (what % STEP_COUNT) {
    case STEP_RM: rm(l, how); break;
    case STEP_TIME: turn(l, how < 128 ? how : (how - 127u) * 100u); break;
    case STEP_CLIENT: ask(l, how); break;
    case STEP_DISK: disk(l, how); break;
    case STEP_LINK:
        link_set(l, from, how & 128u, how & 64u ? how : incarnation_of(node_index(from)));
        break;
    case STEP_FRAME:
        if (message_decode(input_piece(&l->arbitrary.input), &message, &error) == ERROR_NONE &&
            l->linked >> node_index(from) & 1u)
            says(l, from, message);
        break;
    default:
        know(l, from);
        arbitrary_message(&l->arbitrary, from, &message);
        if (l->linked >> node_index(from) & 1u)
            says(l, from, message);
        break;
    }
}

/* Nothing is left that it does over and over, without anything having come of it; and in the end
 * nobody waits for an answer. */
static void rest(struct life *l)
{
    l->stalled = false;
    for (uint32_t turns = 0; !l->ended && instant_reached(l->now, server_deadline(l->server));
         turns++) {
        assert(turns < IDLE_TURNS);
        turn(l, 0);
    }
    if (!l->ended)
        turn(l, REQUEST_HOLD_MS_MAX);
    for (uint32_t i = 0; !l->ended && i < CLIENTS; i++)
        assert(l->waiting[i] == 0);
}

static void begin(struct life *l)
{
    uint32_t how = input_u8(&l->arbitrary.input);
    uint8_t style;
    struct server_options options = { .self = NODE_SERVER(SELF),
                                      .incarnation = incarnation_of(SELF),
                                      .service = kv_service(),
                                      .server_count = SERVERS,
                                      .lease_ms = 200,
                                      .checkpoint_interval_ms = 100,
                                      .suspect_after_ms = 200,
                                      .journal_bytes_max = how & 2u ? 1 : 1 << 20,
                                      .pending_bytes_max = how & 4u ? 100 : 1 << 20,
                                      .persistent = how & 1u,
                                      .keep_bytes_min = 100,
                                      .sessions_max = 3,
                                      .reply = on_reply,
                                      .turn_us = turn_us,
                                      .context = l };

    l->persistent = options.persistent;
    l->now = (struct instant){ 1000000000u };
    l->server = server_new(&options, l->now);
    assert(l->server);
    says(l, NODE_RM, (struct message){ .type = MESSAGE_LINK_UP, .link_up.incarnation = 1 });
    for (uint32_t i = 0; i < SERVERS; i++)
        if (i != SELF && !(how >> (3u + i) & 1u))
            link_set(l, NODE_SERVER(i), true, incarnation_of(i));
    style = input_u8(&l->arbitrary.input);
    view(l, style, input_u8(&l->arbitrary.input));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum message_type usual[] = { MESSAGE_APPEND };
    struct life *l = memory_zeroed(1, sizeof *l);

    if (!donor.machine)
        donor_make();
    l->out = &effects;
    effects_clear(l->out);
    l->arbitrary = (struct arbitrary){ .input = bytes_of(data, size),
                                       .usual = usual,
                                       .usual_count = 1,
                                       .pieces = donor.pieces,
                                       .piece_count = donor.count };
    begin(l);
    while (!l->ended && l->arbitrary.input.size > 0)
        step(l);
    if (!l->ended)
        turn(l, 1);
    rest(l);
    server_free(l->server);
    buffer_free(&l->arbitrary.bytes);
    free(l);
    return 0;
}
