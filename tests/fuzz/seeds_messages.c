/* Seeds of what the managers, the port of links, the machine and client connections are told. */
#include "tests/fuzz/seeds.h"

#include <stdio.h>
#include <string.h>

#include "server/server.h"

/* ---- Messages ---- */

/* One of each type, whose fields are the smallest that are let through. */
static void message_seeds(void)
{
    static const struct {
        enum message_type type;
        const char *name;
    } types[] = {
#define X(number, name, NAME) { MESSAGE_##NAME, #name },
        MESSAGES(X)
#undef X
    };

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct message m = { .type = types[i].type };
        struct buffer frame = { 0 };

        if ((unsigned)m.type >= MESSAGE_LOCAL_MIN)
            continue;
        if (m.type == MESSAGE_ORDER)
            m.order = (struct message_order){ NODE_SERVER(1), ORDER_STOP };
        if (m.type == MESSAGE_VIEW) {
            m.view = (struct message_view){ .number = 7, .acks = 2, .primary = NODE_SERVER(0) };
            members_put(&m.view.members, NODE_SERVER(0), 11);
            members_put(&m.view.members, NODE_SERVER(15), 12);
        }
        if (m.type == MESSAGE_REFUSE)
            (void)snprintf(m.refuse.reason, sizeof m.refuse.reason, "another cluster");
        if (m.type == MESSAGE_FORWARD)
            m.forward.requests = bytes_string("requests");
        message_encode(&m, &frame);
        buffer_consume(&frame, 4);
        seed_write("message", types[i].name, &frame);
        buffer_free(&frame);
    }
}

/* ---- What the managers hear ---- */

/* As in fuzz_managers.c. */
enum { MANAGERS_FRAME = 3, MANAGERS_TIME = 4, MANAGERS_LINK = 5, MANAGERS_EDGE = 6 };

static void put_said(struct buffer *seed, uint8_t speaker, struct message message)
{
    struct buffer frame = { 0 };

    message_encode(&message, &frame);
    buffer_consume(&frame, 4);
    put_step(seed, MANAGERS_FRAME, speaker);
    put_piece(seed, buffer_bytes(&frame));
    buffer_free(&frame);
}

static void put_membership(struct buffer *seed, uint64_t version, uint32_t set, uint32_t changed,
                           uint8_t change, uint64_t incarnation)
{
    struct message m = { .type = MESSAGE_MEMBERSHIP,
                         .membership = { .version = version,
                                         .changed = NODE_SERVER(changed),
                                         .change = change,
                                         .incarnation = incarnation,
                                         .certain = 1 } };

    for (uint32_t i = 0; i < 4; i++)
        if (set >> i & 1u)
            members_put(&m.membership.members, NODE_SERVER(i),
                        i == changed ? incarnation : 11ull * (i + 1u));
    put_said(seed, 0, m);
}

static void put_state(struct buffer *seed, uint8_t server, uint64_t incarnation, uint64_t view)
{
    put_said(seed, 1 + server,
             (struct message){ .type = MESSAGE_STATE,
                               .state = { .incarnation = incarnation,
                                          .promised = view,
                                          .view = view,
                                          .role = view ? ROLE_BACKUP : ROLE_NONE,
                                          .intact = 1,
                                          .journal_view = view,
                                          .journal_index = 5 * view } });
}

static void put_report(struct buffer *seed, uint8_t server, uint64_t number, uint64_t view)
{
    put_said(seed, 1 + server,
             (struct message){ .type = MESSAGE_REPORT,
                               .report = { .number = number,
                                           .incarnation = 11ull * (server + 1u),
                                           .intact = 1,
                                           .journal_view = view,
                                           .last_index = 5 * view,
                                           .commit_index = 4 * view } });
}

static void put_active(struct buffer *seed, uint8_t server, uint64_t number)
{
    put_said(seed, 1 + server,
             (struct message){ .type = MESSAGE_ACTIVE, .active = { number, 5 * number } });
}

/* A view of all, the crash of its primary, its successor, and the primary back as a joiner. */
static void rm_seed(void)
{
    struct buffer seed = { 0 };
    const uint8_t rm = 0;

    buffer_append(&seed, &rm, 1);
    put_membership(&seed, 3, 15, 0, CHANGE_NONE, 11);
    for (uint8_t i = 0; i < 4; i++)
        put_state(&seed, i, 11ull * (i + 1u), 0);
    put_step(&seed, MANAGERS_TIME, 50);
    for (uint8_t i = 0; i < 4; i++)
        put_report(&seed, i, 1, 0);
    put_active(&seed, 0, 1);
    for (uint8_t i = 0; i < 4; i++)
        put_state(&seed, i, 11ull * (i + 1u), 1);
    put_step(&seed, MANAGERS_TIME, 50);
    put_membership(&seed, 4, 14, 0, CHANGE_DELETE, 11);
    for (uint8_t i = 1; i < 4; i++)
        put_report(&seed, i, 2, 1);
    put_active(&seed, 1, 2);
    put_step(&seed, MANAGERS_TIME, 130);
    put_membership(&seed, 5, 15, 0, CHANGE_ADD, 196);
    put_step(&seed, MANAGERS_LINK, 196); /* another life of s1 */
    put_state(&seed, 0, 196, 0);
    put_said(&seed, 2,
             (struct message){ .type = MESSAGE_DONOR_WANTED,
                               .donor_wanted = { 2, NODE_SERVER(0), 196, 3 } });
    put_said(&seed, 1,
             (struct message){ .type = MESSAGE_PROGRESS,
                               .progress = { NODE_SERVER(0), 196, PHASE_RECEIVING, 5, 9, 100 } });
    put_said(
        &seed, 2,
        (struct message){ .type = MESSAGE_CAUGHT_UP, .caught_up = { 2, NODE_SERVER(0), 196 } });
    put_said(&seed, 2,
             (struct message){ .type = MESSAGE_ACCUSE,
                               .accuse = { 2, NODE_SERVER(2), 33, "it is silent" } });
    put_step(&seed, MANAGERS_EDGE, 30); /* another style */
    put_step(&seed, MANAGERS_EDGE, 70); /* a link is cut */
    put_step(&seed, MANAGERS_TIME, 255);
    for (uint8_t i = 1; i < 4; i++)
        put_report(&seed, i, 3, 2);
    put_active(&seed, 1, 3);
    put_step(&seed, MANAGERS_TIME, 255);
    put_step(&seed, MANAGERS_EDGE, 240);
    seed_write("managers", "rm", &seed);
    buffer_free(&seed);
}

/* Servers of two hosts come, one host goes and is back, the other is silent. */
static void gfd_seed(void)
{
    static const struct message_add adds[] = { { NODE_SERVER(0), 11, 1001 },
                                               { NODE_SERVER(1), 22, 1002 } };
    struct message deleted = { .type = MESSAGE_DELETE, .delete = { NODE_SERVER(1), 22, 1, "x" } };
    struct message failed = { .type = MESSAGE_START_FAILED,
                              .start_failed = { NODE_SERVER(0), "no such file" } };
    struct buffer seed = { 0 };
    const uint8_t gfd = 2;

    buffer_append(&seed, &gfd, 1);
    for (uint8_t i = 0; i < 2; i++) {
        put_said(&seed, 1 + i, (struct message){ .type = MESSAGE_ADD, .add = adds[i] });
        put_said(&seed, 1 + i, (struct message){ .type = MESSAGE_REGISTERED, .registered = { 1 } });
    }
    put_step(&seed, MANAGERS_TIME, 20);
    put_said(&seed, 1,
             (struct message){ .type = MESSAGE_HEARTBEAT_OK, .heartbeat_ok = { .sequence = 1 } });
    put_said(&seed, 2, deleted);
    put_said(&seed, 0,
             (struct message){ .type = MESSAGE_ORDER, .order = { NODE_SERVER(1), ORDER_START } });
    put_said(&seed, 1, failed);
    put_step(&seed, MANAGERS_LINK, 5);
    put_step(&seed, MANAGERS_TIME, 50);
    put_step(&seed, MANAGERS_LINK, 0x80 + 5);
    put_said(&seed, 1, (struct message){ .type = MESSAGE_ADD, .add = adds[0] });
    put_step(&seed, MANAGERS_TIME, 129);
    seed_write("managers", "gfd", &seed);
    buffer_free(&seed);
}

/* A server is started, answers, is silent and killed; it is started again, and stopped. */
static void lfd_seed(void)
{
    struct message order = { .type = MESSAGE_ORDER, .order = { NODE_SERVER(0), ORDER_START } };
    struct message alive = { .type = MESSAGE_HEARTBEAT_OK,
                             .heartbeat_ok = { .sequence = 1, .oldest_waiting_ms = 6000 } };
    struct buffer seed = { 0 };
    const uint8_t lfd = 3;

    buffer_append(&seed, &lfd, 1);
    put_said(&seed, 0, (struct message){ .type = MESSAGE_HEARTBEAT, .heartbeat = { 1 } });
    for (uint8_t i = 0; i < 2; i++) {
        order.order.action = ORDER_START;
        put_said(&seed, 0, order);
        put_step(&seed, MANAGERS_EDGE, 8);   /* it has a process */
        put_step(&seed, MANAGERS_LINK, 160); /* from that process */
        put_step(&seed, MANAGERS_TIME, 20);
        put_said(&seed, 1, alive);
        put_step(&seed, MANAGERS_TIME, i == 0 ? 129 : 20);
        order.order.action = ORDER_STOP;
        if (i == 1)
            put_said(&seed, 0, order);
        put_step(&seed, MANAGERS_EDGE, 6); /* what its process is doing */
        put_step(&seed, MANAGERS_TIME, 20);
        put_step(&seed, MANAGERS_EDGE, 4 + 16 + 32); /* it is gone */
    }
    seed_write("managers", "lfd", &seed);
    buffer_free(&seed);
}

/* ---- Callers at the port of links ---- */

/* The rm and two servers call, one of them twice; they ask, get what is long, and hang up. */
static void links_seed(void)
{
    enum { FEED = 0, HELLO = 2, TURN = 4, CALL = 5 };
    static const uint8_t steps[][3] = {
        { CALL, 0 }, { HELLO, 0, 0 }, { CALL, 1 }, { HELLO, 1, 1 }, { TURN, 0 },
        { CALL, 2 }, { HELLO, 2, 1 }, { TURN, 0 }, { HELLO, 0, 2 }, { TURN, 0 },
    };
    struct message ask = { .type = MESSAGE_ACK };
    struct message refuse = { .type = MESSAGE_REFUSE, .refuse.reason = "not you" };
    struct buffer seed = { 0 }, frame = { 0 };

    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        buffer_append(&seed, steps[i], steps[i][0] == HELLO ? 3 : 2);
    message_encode(&ask, &frame);
    put_step(&seed, FEED, 2);
    put_piece(&seed, buffer_bytes(&frame));
    put_step(&seed, FEED, 2);
    put_piece(&seed, bytes_of(buffer_head(&frame), 20));
    put_step(&seed, TURN, 0);
    put_step(&seed, TURN, 0);
    buffer_clear(&frame, 4096);
    message_encode(&refuse, &frame);
    put_step(&seed, FEED, 2);
    put_piece(&seed, buffer_bytes(&frame));
    put_step(&seed, CALL, 2);
    put_step(&seed, TURN, 0);
    seed_write("links", "three", &seed);
    buffer_free(&seed);
    buffer_free(&frame);
}

/* ---- Requests ---- */

static void put_entry(struct buffer *seed, uint8_t kind, uint8_t session, const char *words)
{
    struct buffer request = { 0 };

    if (kind == REQUEST_TRANSACTION || kind == REQUEST_READ_TRANSACTION) {
        request_pack_transaction_begin(&request, 1);
        request_pack_transaction_watch(&request, 0, bytes_string("a"));
        request_pack_transaction_commands(&request, 2);
        pack_words(&request, words);
    }
    if (*words)
        pack_words(&request, words);
    buffer_append(seed, &kind, 1);
    buffer_append(seed, &session, 1);
    put_piece(seed, buffer_bytes(&request));
    buffer_free(&request);
}

static void request_seed(void)
{
    struct buffer seed = { 0 };

    put_entry(&seed, REQUEST_VIEW, 0, "");
    put_entry(&seed, REQUEST_TRANSACTION, 0, "INCR a");
    put_entry(&seed, REQUEST_COMMAND, 0x11, "SET k v");
    put_entry(&seed, REQUEST_MARK, 0, "");
    put_entry(&seed, REQUEST_TRANSACTION, 0x21, "APPEND a b");
    put_entry(&seed, REQUEST_READ, 0, "GET k");
    put_entry(&seed, REQUEST_WATCH, 0, "a k");
    put_entry(&seed, REQUEST_READ_TRANSACTION, 0, "GET a");
    put_entry(&seed, REQUEST_TIME, 0, "");
    seed_write("request", "each_kind", &seed);
    buffer_free(&seed);
}

/* ---- Clients ---- */

struct said {
    uint8_t what,
        how; /* as in fuzz_connection.c: 0 feeds, 2 answers, 3 fails, 4 time, 5 hangs up */
    const char *text;
};

static void connection_seed(const char *name, bool at_once, const struct said *said, size_t count)
{
    struct buffer seed = { 0 };

    buffer_append(&seed, &at_once, 1);
    for (size_t i = 0; i < count; i++) {
        buffer_append(&seed, &said[i], 2);
        if (said[i].what == 0)
            put_piece(&seed, bytes_string(said[i].text));
    }
    seed_write("connection", name, &seed);
    buffer_free(&seed);
}

static void connection_seeds(void)
{
    static const struct said pipeline[] = {
        { 0, 0, "SET a 1\r\nGET a\r\nPING\r\n*2\r\n$3\r\nGET" },
        { 2, 1, NULL },
        { 0, 0, "\r\n$1\r\na\r\n" },
        { 3, 0, NULL },
        { 0, 1, "GET b\r\n" },
        { 5, 0, NULL },
        { 2, 0, NULL },
        { 3, 1, NULL },
        { 5, 129, NULL },
    };
    static const struct said own[] = {
        { 0, 0, "HELLO 3 AUTH default x SETNAME me\r\nCLIENT LIST\r\nCLIENT ID\r\nINFO\r\n" },
        { 0, 1, "CLIENT PAUSE 300 WRITE\r\nSET a 1\r\nCLIENT UNPAUSE\r\nCLIENT INFO\r\n" },
        { 0, 0, "CLIENT REPLY SKIP\r\nPING\r\nCLIENT REPLY OFF\r\nPING\r\nCLIENT REPLY ON\r\n" },
        { 4, 9, NULL },
        { 0, 0, "COMMAND DOCS get\r\nCOMMAND COUNT\r\nCOMMAND INFO set\r\nCONFIG GET *\r\n" },
        { 0, 2, "ROLE\r\nECHO x\r\nREADONLY\r\nGET a\r\nSELECT 0\r\nRESET\r\nDEBUG\r\n" },
        { 0, 2, "CHECKPOINT OPEN 0\r\nCHECKPOINT SAVE 1\r\nCHECKPOINT READ 0\r\n" },
        { 0, 1, "COMMAND GETKEYS mset a b c d\r\nCOMMAND LIST\r\nCLIENT KILL ID 1\r\nQUIT\r\n" },
    };
    static const struct said transactions[] = {
        { 0, 0, "WATCH a b\r\n" },
        { 2, 0, NULL },
        { 0, 0, "MULTI\r\nSET a 1\r\nPING\r\nGET a\r\nECHO x\r\nEXEC\r\nPING\r\n" },
        { 2, 0, NULL },
        { 0, 1, "MULTI\r\nFOO\r\nEXEC\r\nMULTI\r\nDISCARD\r\nUNWATCH\r\nMULTI\r\nEXEC\r\n" },
        { 0, 2, "ONCE 7 1 SET a 1\r\nONCE 7 1 SET a 2\r\nONCE 7 x GET a\r\nONCE 7 3 MULTI\r\n" },
        { 2, 0, NULL },
        { 3, 0, NULL },
        { 2, 0, NULL },
    };

    connection_seed("pipeline", false, pipeline, sizeof pipeline / sizeof pipeline[0]);
    connection_seed("own_commands", true, own, sizeof own / sizeof own[0]);
    connection_seed("transactions", false, transactions,
                    sizeof transactions / sizeof transactions[0]);
}

void seeds_of_messages(void)
{
    message_seeds();
    links_seed();
    rm_seed();
    gfd_seed();
    lfd_seed();
    request_seed();
    connection_seeds();
}
