/* The conversations with clients, without sockets, in front of a server that the test plays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/clients.h"

#define ASKED_MAX 64

/* One request that the server was handed. */
struct asked {
    uint64_t client, session, sequence;
    uint8_t kind;
    bool stale;
    char request[512]; /* its bytes, those that do not print as dots */
};

struct fixture {
    struct config config;
    struct clients *clients;
    struct asked asked[ASKED_MAX];
    uint32_t count;
    bool full; /* the server takes nothing */
    struct server_status status;
};

static const struct service_command toy_commands[] = {
    { "get", 2, COMMAND_READ | COMMAND_FAST, 1, 1, 1, "string", "Gets." },
    { "mset", -3, COMMAND_WRITE, 1, -1, 2, "string", "Sets many." },
    { "set", -3, COMMAND_WRITE, 1, 1, 1, "string", "Sets." },
};

static const struct service toy = {
    .version = SERVICE_VERSION,
    .name = "toy",
    .commands = toy_commands,
    .command_count = 3,
};

static bool submit(void *context, const struct server_request *request)
{
    struct fixture *f = context;
    struct asked *asked = &f->asked[f->count];

    if (f->full)
        return false;
    assert_true(f->count < ASKED_MAX);
    *asked = (struct asked){ .client = request->client,
                             .session = request->session,
                             .sequence = request->sequence,
                             .kind = request->kind,
                             .stale = request->stale };
    for (size_t i = 0; i < request->request.size && i < sizeof asked->request - 1; i++) {
        uint8_t byte = request->request.data[i];

        asked->request[i] = byte >= ' ' && byte <= '~' ? (char)byte : '.';
    }
    f->count++;
    return true;
}

static bool accepts(void *context)
{
    return !((struct fixture *)context)->full;
}

static void status(void *context, struct server_status *out)
{
    *out = ((struct fixture *)context)->status;
}

static void info(void *context, struct buffer *out)
{
    (void)context;
    buffer_append_string(out, "db0:keys=3\r\n");
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct clients_options options = {
        .config = &f->config,
        .service = &toy,
        .self = NODE_SERVER(0),
        .connections_max = 4,
        .submit = submit,
        .accepts = accepts,
        .status = status,
        .info = info,
        .context = f,
    };

    if (!f)
        return -1;
    strcpy(f->config.cluster, "three");
    strcpy(f->config.path, "three.cfg");
    f->config.clients.client_output_mb_max = 1;
    f->config.clients.pending_mb_max = 16;
    f->config.server_count = 3;
    for (uint32_t i = 0; i < 3; i++) {
        strcpy(f->config.servers[i].address, "127.0.0.1");
        f->config.servers[i].client_port = (uint16_t)(7001 + i);
    }
    f->status.role = ROLE_PRIMARY;
    f->status.self = f->status.primary = NODE_SERVER(0);
    f->status.acks = 3;
    f->status.members.set = 7;
    f->status.serving = true;
    f->clients = clients_new(&options, (struct instant){ 1000 });
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    clients_free(f->clients);
    free(f);
    return 0;
}

static struct connection *client(struct fixture *f)
{
    struct connection *c = connection_new(f->clients, "10.0.0.1:99", "127.0.0.1:7001");

    assert_non_null(c);
    return c;
}

static void say(struct connection *c, const char *text)
{
    connection_feed(c, bytes_string(text));
}

/* What the client hears since the last time, all of it. */
static void hear(struct connection *c, const char *expected)
{
    struct bytes out = buffer_bytes(&c->out);
    char *text = calloc(1, out.size + 1);

    assert_non_null(text);
    if (out.data)
        memcpy(text, out.data, out.size);
    assert_string_equal(text, expected);
    free(text);
    buffer_clear(&c->out, 0);
}

/* The server's answer to the i-th request it was handed. */
static void answer(struct fixture *f, uint32_t i, const char *reply)
{
    assert_true(i < f->count);
    clients_reply(f->clients, f->asked[i].client, OUTCOME_DONE, bytes_string(reply));
}

static void asked_is(struct fixture *f, uint32_t i, uint8_t kind, const char *request)
{
    assert_true(i < f->count);
    assert_int_equal(f->asked[i].kind, kind);
    assert_string_equal(f->asked[i].request, request);
}

/* Replies go out in the order of the commands, in whatever order they come. */
static void test_order(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    say(c, "GET a\r\nGET b\r\nPING\r\nGET c\r\n");
    assert_int_equal(f->count, 3);
    answer(f, 2, "$1\r\nC\r\n");
    answer(f, 1, "$1\r\nB\r\n");
    hear(c, "");
    answer(f, 0, "$1\r\nA\r\n");
    hear(c, "$1\r\nA\r\n$1\r\nB\r\n+PONG\r\n$1\r\nC\r\n");
}

/* Reads are told from writes by the service's table. */
static void test_kinds(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    say(c, "get a\r\nSET a 1\r\nREADONLY\r\nGET a\r\nSET a 2\r\n");
    asked_is(f, 0, REQUEST_READ, "........get....a");
    asked_is(f, 1, REQUEST_COMMAND, "........SET....a....1");
    assert_false(f->asked[0].stale);
    assert_true(f->asked[2].stale);
    assert_false(f->asked[3].stale);
}

/* A reply that comes too late meets nobody, also when the place has been taken again. */
static void test_late_reply(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    say(c, "GET a\r\n");
    connection_free(c);
    c = client(f);
    say(c, "GET b\r\n");
    answer(f, 0, "$1\r\nA\r\n");
    hear(c, "");
    answer(f, 1, "$1\r\nB\r\n");
    hear(c, "$1\r\nB\r\n");
}

/* After an unknown outcome nothing is said: earlier replies go out, and the connection ends. */
static void test_unknown_outcome(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    say(c, "SET a 1\r\nSET b 2\r\nPING\r\n");
    clients_reply(f->clients, f->asked[1].client, OUTCOME_UNKNOWN, bytes_of(NULL, 0));
    assert_false(c->closing);
    answer(f, 0, "+OK\r\n");
    hear(c, "+OK\r\n");
    assert_true(connection_done(c));
    assert_false(connection_reads(c));
}

static void test_not_executed(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    say(c, "SET a 1\r\n");
    clients_reply(f->clients, f->asked[0].client, OUTCOME_NOT_EXECUTED,
                  bytes_string("TRYAGAIN no primary"));
    hear(c, "-TRYAGAIN no primary\r\n");
    assert_false(connection_done(c));
}

/* A reply is of the protocol that was spoken when its command came. */
static void test_protocols(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    say(c, "GET a\r\nHELLO 3\r\nGET a\r\n");
    answer(f, 0, "_\r\n");
    answer(f, 1, "_\r\n");
    hear(c, "$-1\r\n"
            "%7\r\n$6\r\nserver\r\n$8\r\nholdfast\r\n$7\r\nversion\r\n$6\r\n" REDIS_VERSION
            "\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n"
            "$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n"
            "_\r\n");
    say(c, "HELLO 4\r\nHELLO x\r\nHELLO 3 FOO\r\nHELLO 3 AUTH default x SETNAME me\r\n");
    assert_string_equal(c->name, "me");
    buffer_clear(&c->out, 0);
    say(c, "HELLO 2 SETNAME two\r\nCLIENT GETNAME\r\n");
    assert_non_null(strstr((const char *)buffer_head(&c->out), "$3\r\ntwo\r\n"));
    assert_false(c->resp3);
}

static void test_wrong_commands(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    say(c, "FOO a b\r\nGET\r\nPING a b\r\nCLIENT FOO\r\nCLIENT SETNAME\r\nSELECT 1\r\nAUTH x\r\n");
    hear(c, "-ERR unknown command 'FOO', with args beginning with: 'a' 'b' \r\n"
            "-ERR wrong number of arguments for 'get' command\r\n"
            "-ERR wrong number of arguments for 'ping' command\r\n"
            "-ERR unknown subcommand 'FOO'. Try CLIENT HELP.\r\n"
            "-ERR wrong number of arguments for 'client|setname' command\r\n"
            "-ERR DB index is out of range\r\n"
            "-ERR AUTH <password> called without any password configured for the default user. Are "
            "you sure your configuration is correct?\r\n");
    assert_int_equal(f->count, 0);
}

/* Broken protocol is answered, after what came before it, and ends the connection. */
static void test_broken_protocol(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    say(c, "GET a\r\n*1\r\n$600000000\r\n");
    assert_false(connection_done(c));
    answer(f, 0, "$1\r\nA\r\n");
    hear(c, "$1\r\nA\r\n-ERR Protocol error: invalid bulk length\r\n");
    assert_true(connection_done(c));
    assert_int_equal(buffer_size(&c->in), 0);
}

/* However the bytes are cut, the commands are the same. */
static void test_byte_by_byte(void **state)
{
    static const char text[] = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\n12345\r\nPING\r\n";
    struct fixture *f = *state;
    struct connection *c = client(f);

    for (size_t i = 0; i < sizeof text - 1; i++)
        connection_feed(c, bytes_of(text + i, 1));
    asked_is(f, 0, REQUEST_COMMAND, "........SET....a....12345");
    answer(f, 0, "+OK\r\n");
    hear(c, "+OK\r\n+PONG\r\n");
    connection_account(c);
    assert_int_equal(c->in.capacity, 0); /* who is idle holds nothing */
}

/* ---- Transactions ---- */

static void test_transaction(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    say(c, "MULTI\r\nSET a 1\r\nGET a\r\nEXEC\r\n");
    hear(c, "+OK\r\n+QUEUED\r\n+QUEUED\r\n");
    assert_int_equal(f->count, 1);
    asked_is(f, 0, REQUEST_TRANSACTION, "................SET....a....1........GET....a");
    answer(f, 0, "*2\r\n+OK\r\n_\r\n");
    hear(c, "*2\r\n+OK\r\n$-1\r\n");
    say(c, "EXEC\r\nDISCARD\r\n");
    hear(c, "-ERR EXEC without MULTI\r\n-ERR DISCARD without MULTI\r\n");
}

static void test_transaction_of_reads(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    say(c, "MULTI\r\nGET a\r\nMULTI\r\nEXEC\r\nMULTI\r\nEXEC\r\n");
    assert_int_equal(f->count, 1);
    asked_is(f, 0, REQUEST_READ_TRANSACTION, "................GET....a");
    answer(f, 0, "*1\r\n$1\r\n1\r\n");
    hear(c, "+OK\r\n+QUEUED\r\n-ERR MULTI calls can not be nested\r\n*1\r\n$1\r\n1\r\n"
            "+OK\r\n*0\r\n");
}

static void test_transaction_spoilt(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    say(c, "MULTI\r\nSET a 1\r\nFOO\r\nEXEC\r\nMULTI\r\nGET\r\nEXEC\r\n");
    hear(c, "+OK\r\n+QUEUED\r\n-ERR unknown command 'FOO', with args beginning with: \r\n"
            "-EXECABORT Transaction discarded because of previous errors.\r\n"
            "+OK\r\n-ERR wrong number of arguments for 'get' command\r\n"
            "-EXECABORT Transaction discarded because of previous errors.\r\n");
    assert_int_equal(f->count, 0);
}

/* Commands of the connection are told between those of the server, at their places. */
static void test_transaction_with_own_commands(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    say(c, "MULTI\r\nPING\r\nSET a 1\r\nECHO x\r\nGET a\r\nSELECT 0\r\nEXEC\r\n");
    buffer_clear(&c->out, 0);
    asked_is(f, 0, REQUEST_TRANSACTION, "................SET....a....1........GET....a");
    answer(f, 0, "*2\r\n+OK\r\n$1\r\n1\r\n");
    hear(c, "*5\r\n+PONG\r\n+OK\r\n$1\r\nx\r\n$1\r\n1\r\n+OK\r\n");
    say(c, "MULTI\r\nPING\r\nEXEC\r\n");
    hear(c, "+OK\r\n+QUEUED\r\n*1\r\n+PONG\r\n");
    say(c, "MULTI\r\nPING\r\nSET a 1\r\nEXEC\r\n");
    buffer_clear(&c->out, 0);
    answer(f, 1, "_\r\n");
    hear(c, "*-1\r\n");
}

/* WATCH asks for versions; EXEC waits for them and sends them along. */
static void test_watch(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    say(c, "WATCH a b\r\nMULTI\r\nWATCH c\r\nSET a 1\r\nEXEC\r\nPING\r\n");
    assert_int_equal(f->count, 1);
    asked_is(f, 0, REQUEST_WATCH, "........a....b");
    answer(f, 0, "*2\r\n:7\r\n:65\r\n");
    hear(c, "+OK\r\n+OK\r\n-ERR WATCH inside MULTI is not allowed\r\n+QUEUED\r\n");
    assert_true(clients_resume(f->clients));
    asked_is(f, 1, REQUEST_TRANSACTION,
             "................a"
             "A...........b"
             "............SET....a....1");
    answer(f, 1, "_\r\n");
    hear(c, "*-1\r\n+PONG\r\n");
    assert_null(c->transaction);
}

/* Without the versions nothing is known, so nothing is executed. */
static void test_watch_without_answer(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    say(c, "HELLO 3\r\n");
    buffer_clear(&c->out, 0);
    say(c, "WATCH a\r\nWATCH b\r\nMULTI\r\nSET a 1\r\nEXEC\r\n");
    clients_reply(f->clients, f->asked[0].client, OUTCOME_NOT_EXECUTED, bytes_string("TRYAGAIN"));
    answer(f, 1, "*1\r\n:1\r\n");
    (void)clients_resume(f->clients);
    hear(c, "-TRYAGAIN\r\n+OK\r\n+OK\r\n+QUEUED\r\n_\r\n");
    assert_int_equal(f->count, 2);
}

/* An answer to WATCH never comes to a later transaction. */
static void test_unwatch_waits(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    say(c, "WATCH a\r\nUNWATCH\r\nMULTI\r\nGET a\r\nEXEC\r\n");
    assert_int_equal(c->blocked, BLOCKED_BARRIER);
    answer(f, 0, "*1\r\n:1\r\n");
    assert_true(clients_resume(f->clients));
    asked_is(f, 1, REQUEST_READ_TRANSACTION, "................GET....a");
}

/* Within a transaction UNWATCH comes too late to have an effect, but has its place. */
static void test_unwatch_in_transaction(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    say(c, "WATCH a\r\nMULTI\r\nSET a 1\r\nUNWATCH\r\nGET a\r\n");
    answer(f, 0, "*1\r\n:7\r\n");
    say(c, "EXEC\r\n");
    asked_is(f, 1, REQUEST_TRANSACTION,
             "................a............SET....a....1........GET....a");
    answer(f, 1, "*2\r\n+OK\r\n$1\r\n1\r\n");
    hear(c, "+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+OK\r\n+OK\r\n$1\r\n1\r\n");
}

/* ---- Exactly once ---- */

static void test_once(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    say(c, "ONCE 5 18446744073709551615 SET a 1\r\nONCE 5 2 GET a\r\n");
    asked_is(f, 0, REQUEST_COMMAND, "........SET....a....1");
    assert_true(f->asked[0].session == 5 && f->asked[0].sequence == UINT64_MAX);
    asked_is(f, 1, REQUEST_READ, "........GET....a");
    assert_true(f->asked[1].session == 0 && f->asked[1].sequence == 0);
    answer(f, 0, "+OK\r\n");
    answer(f, 1, "$1\r\n1\r\n");
    hear(c, "+OK\r\n$1\r\n1\r\n");
    say(c, "ONCE 0 1 SET a 1\r\nONCE 1 18446744073709551616 SET a 1\r\nONCE 1 1 MULTI\r\n"
           "ONCE 1 1 FOO\r\n");
    hear(c, "-ERR ONCE takes a session and a sequence, each from 1 to 18446744073709551615\r\n"
            "-ERR ONCE takes a session and a sequence, each from 1 to 18446744073709551615\r\n"
            "-ERR ONCE takes a command of the service\r\n"
            "-ERR unknown command 'FOO', with args beginning with: \r\n");
    assert_int_equal(f->count, 2);
}

/* ---- Waiting ---- */

/* What the server does not take stays with the connection, in order. */
static void test_full_server(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    f->full = true;
    say(c, "PING\r\nSET a 1\r\nSET b 2\r\n");
    hear(c, "+PONG\r\n");
    assert_int_equal(c->blocked, BLOCKED_FULL);
    assert_false(connection_reads(c));
    assert_false(clients_resume(f->clients));
    f->full = false;
    assert_true(clients_resume(f->clients));
    assert_true(connection_reads(c));
    asked_is(f, 0, REQUEST_COMMAND, "........SET....a....1");
    asked_is(f, 1, REQUEST_COMMAND, "........SET....b....2");
}

/* WAIT says how many others hold what was written before it. */
static void test_wait(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    say(c, "SET a 1\r\nWAIT 2 0\r\nPING\r\n");
    assert_int_equal(c->blocked, BLOCKED_BARRIER);
    answer(f, 0, "+OK\r\n");
    assert_true(clients_resume(f->clients));
    hear(c, "+OK\r\n:2\r\n+PONG\r\n");
}

/* CLIENT PAUSE holds back writes, or everything, until its time is over. */
static void test_pause(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f), *other = client(f);

    say(c, "CLIENT PAUSE 100 WRITE\r\nGET a\r\nSET a 1\r\n");
    assert_int_equal(f->count, 1);
    assert_int_equal(c->blocked, BLOCKED_PAUSE);
    assert_int_equal(clients_deadline(f->clients).ns, 1000 + 100 * 1000000u);
    say(other, "CLIENT PAUSE 100\r\nPING\r\n");
    hear(other, "+OK\r\n");
    f->clients->now = clients_deadline(f->clients);
    assert_true(clients_resume(f->clients));
    hear(other, "+PONG\r\n");
    asked_is(f, 1, REQUEST_COMMAND, "........SET....a....1");
    assert_int_equal(clients_deadline(f->clients).ns, UINT64_MAX);
}

/* ---- The connection ---- */

static void test_reply_modes(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    say(c, "CLIENT REPLY SKIP\r\nPING\r\nPING x\r\n");
    hear(c, "$1\r\nx\r\n");
    say(c, "CLIENT REPLY OFF\r\nPING\r\nGET a\r\nFOO\r\nCLIENT REPLY ON\r\nPING y\r\n");
    answer(f, 0, "$1\r\n1\r\n");
    hear(c, "+OK\r\n$1\r\ny\r\n");
}

static void test_quit(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    say(c, "GET a\r\nQUIT\r\nSET a 1\r\n");
    assert_int_equal(f->count, 1);
    assert_false(connection_done(c));
    answer(f, 0, "$1\r\n1\r\n");
    hear(c, "$1\r\n1\r\n+OK\r\n");
    assert_true(connection_done(c));
}

/* A client that sends no more is answered in full. */
static void test_half_close(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    say(c, "GET a\r\n");
    connection_finish(c);
    assert_false(connection_done(c));
    answer(f, 0, "$1\r\n1\r\n");
    hear(c, "$1\r\n1\r\n");
    assert_true(connection_done(c));
}

static void test_kill(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f), *other = client(f);

    say(c, "CLIENT KILL ID 2\r\nCLIENT KILL ID 77\r\nCLIENT KILL 1.2.3.4:5\r\n");
    hear(c, ":1\r\n:0\r\n-ERR No such client\r\n");
    assert_true(connection_done(other));
    say(c, "CLIENT KILL ADDR 10.0.0.1:99 SKIPME no\r\n");
    hear(c, ":2\r\n");
    assert_true(connection_done(c));
}

static void test_names(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    say(c, "CLIENT SETNAME bob\r\nCLIENT SETINFO LIB-NAME redis-py\r\nCLIENT SETINFO lib-ver 5\r\n"
           "CLIENT SETNAME \"a b\"\r\nCLIENT SETINFO foo bar\r\nCLIENT GETNAME\r\n");
    hear(c, "+OK\r\n+OK\r\n+OK\r\n"
            "-ERR Client names cannot contain spaces, newlines or special characters.\r\n"
            "-ERR Unrecognized option 'foo'\r\n$3\r\nbob\r\n");
    say(c, "CLIENT LIST\r\n");
    assert_non_null(strstr((const char *)buffer_head(&c->out), "name=bob"));
    assert_non_null(strstr((const char *)buffer_head(&c->out), "lib-name=redis-py lib-ver=5"));
    buffer_clear(&c->out, 0);
    say(c, "RESET\r\nCLIENT GETNAME\r\n");
    hear(c, "+RESET\r\n$-1\r\n");
}

/* ---- What is told of the server ---- */

static void test_role(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    f->status.commit_index = 41;
    f->status.member_index[1] = 40;
    f->status.member_index[2] = 39;
    say(c, "ROLE\r\n");
    hear(c, "*3\r\n$6\r\nmaster\r\n:41\r\n*2\r\n"
            "*3\r\n$9\r\n127.0.0.1\r\n$4\r\n7002\r\n$2\r\n40\r\n"
            "*3\r\n$9\r\n127.0.0.1\r\n$4\r\n7003\r\n$2\r\n39\r\n");
    f->status.role = ROLE_BACKUP;
    f->status.primary = NODE_SERVER(2);
    say(c, "ROLE\r\n");
    hear(c, "*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:7003\r\n$9\r\nconnected\r\n:41\r\n");
    f->status.primary = NODE_NONE;
    f->status.serving = false;
    say(c, "ROLE\r\n");
    hear(c, "*5\r\n$5\r\nslave\r\n$0\r\n\r\n:0\r\n$10\r\nconnecting\r\n:41\r\n");
}

/* A server that reads its disk says so, and how far it is; nothing that needs it is taken. */
static void test_loading(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    f->clients->loading = true;
    f->clients->load.bytes_total = 200;
    f->clients->load.bytes = 50;
    f->clients->load.percent = 25;
    f->clients->load.left_ms = 1500;
    say(c, "SET a 1\r\nPING\r\nONCE 1 1 SET a 1\r\nMULTI\r\nECHO yes\r\n");
    hear(c, "-LOADING holdfast is loading its data\r\n"
            "-LOADING holdfast is loading its data\r\n"
            "-LOADING holdfast is loading its data\r\n"
            "-LOADING holdfast is loading its data\r\n"
            "$3\r\nyes\r\n");
    say(c, "INFO persistence\r\n");
    hear(c, "$123\r\n# Persistence\r\nloading:1\r\nloading_total_bytes:200\r\n"
            "loading_loaded_bytes:50\r\nloading_loaded_perc:25\r\nloading_eta_seconds:2\r\n\r\n");
    assert_int_equal(f->count, 0);
    f->clients->loading = false;
    say(c, "PING\r\nINFO persistence\r\n");
    hear(c, "+PONG\r\n$26\r\n# Persistence\r\nloading:0\r\n\r\n");
}

static void test_info(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    say(c, "INFO keyspace\r\n");
    hear(c, "$24\r\n# Keyspace\r\ndb0:keys=3\r\n\r\n");
    say(c, "INFO\r\n");
    assert_non_null(strstr((const char *)buffer_head(&c->out), "role:master\r\n"));
    assert_non_null(strstr((const char *)buffer_head(&c->out), "connected_slaves:2\r\n"));
    assert_non_null(strstr((const char *)buffer_head(&c->out), "members:s1,s2,s3\r\n"));
}

static void test_config_and_command(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    say(c, "CONFIG GET save\r\nCONFIG GET MAXCLIENT? databases\r\nCONFIG SET save 1\r\n");
    hear(c, "*2\r\n$4\r\nsave\r\n$0\r\n\r\n"
            "*4\r\n$9\r\ndatabases\r\n$1\r\n1\r\n$10\r\nmaxclients\r\n$1\r\n4\r\n"
            "-ERR CONFIG SET is not possible here: the settings of all servers stand in the "
            "cluster's config file, three.cfg\r\n");
    say(c, "COMMAND INFO get nosuch\r\nCOMMAND GETKEYS MSET a 1 b 2\r\nCOMMAND GETKEYS PING x\r\n");
    hear(c, "*2\r\n*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n"
            "*0\r\n*0\r\n*0\r\n*0\r\n$-1\r\n"
            "*2\r\n$1\r\na\r\n$1\r\nb\r\n"
            "-ERR The command has no key arguments\r\n");
}

/* ---- Limits ---- */

static void test_connection_limit(void **state)
{
    struct fixture *f = *state;

    for (uint32_t i = 0; i < 4; i++)
        (void)client(f);
    assert_null(connection_new(f->clients, "", ""));
    assert_int_equal(f->clients->total.rejected, 1);
}

/* Who does not read is cut; a single reply may be of any size. */
static void test_output_limit(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);
    struct buffer reply = { 0 };
    static uint8_t large[2u << 20];

    resp_write_bulk(&reply, bytes_of(large, sizeof large));
    say(c, "GET a\r\nGET b\r\nGET c\r\n");
    clients_reply(f->clients, f->asked[0].client, OUTCOME_DONE, buffer_bytes(&reply));
    assert_int_equal(buffer_size(&c->out), buffer_size(&reply));
    assert_false(c->closing);
    clients_reply(f->clients, f->asked[1].client, OUTCOME_DONE, buffer_bytes(&reply));
    assert_true(c->over);
    assert_true(connection_done(c));
    clients_reply(f->clients, f->asked[2].client, OUTCOME_DONE, buffer_bytes(&reply));
    assert_int_equal(buffer_size(&c->out), 0);
    buffer_free(&reply);
}

/* Replies that wait for their turn count as well. */
static void test_output_limit_out_of_order(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);
    struct buffer reply = { 0 };
    static uint8_t large[2u << 20];

    resp_write_bulk(&reply, bytes_of(large, sizeof large));
    say(c, "GET a\r\nGET b\r\nGET c\r\n");
    clients_reply(f->clients, f->asked[1].client, OUTCOME_DONE, buffer_bytes(&reply));
    clients_reply(f->clients, f->asked[2].client, OUTCOME_DONE, buffer_bytes(&reply));
    assert_true(connection_done(c));
    buffer_free(&reply);
}

/* Unfinished commands of all clients together are bounded: the largest goes, and is told. */
static void test_input_limit(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f), *other = client(f);

    say(c, "*2\r\n$3\r\nGET\r\n$5000\r\nabc");
    say(other, "*2\r\n$3\r\nGET\r\n$50\r\na");
    clients_limit(f->clients);
    assert_false(c->closing);
    f->clients->input_bytes += REQUEST_BYTES_MAX; /* as if there were more of them */
    clients_limit(f->clients);
    hear(c, "-ERR too much unfinished input of all clients together\r\n");
    assert_true(connection_done(c));
    assert_false(other->closing);
    f->clients->input_bytes -= REQUEST_BYTES_MAX;
}

/* What was taken may be executed, so the reason is not told in place of its reply. */
static void test_input_limit_with_unanswered(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f);

    say(c, "SET a 1\r\n*2\r\n$3\r\nGET\r\n$5000\r\nabc");
    f->clients->input_bytes += REQUEST_BYTES_MAX;
    clients_limit(f->clients);
    f->clients->input_bytes -= REQUEST_BYTES_MAX;
    hear(c, "");
    assert_int_equal(f->clients->input_bytes, 0);
    assert_false(connection_reads(c));
    assert_false(connection_done(c));
    answer(f, 0, "+OK\r\n");
    hear(c, "+OK\r\n-ERR too much unfinished input of all clients together\r\n");
    assert_true(connection_done(c));
}

/* Commands queued by MULTI and keys of WATCH are unfinished input, too. */
static void test_input_limit_of_transactions(void **state)
{
    struct fixture *f = *state;
    struct connection *c = client(f), *other = client(f);

    say(c, "WATCH key\r\nMULTI\r\nSET a 1234567890123456789012345678901234567890\r\n");
    say(other, "*2\r\n$3\r\nGET\r\n$50\r\na");
    assert_in_range(f->clients->input_bytes, 40 + 20, 40 + 60);
    f->clients->input_bytes += REQUEST_BYTES_MAX;
    clients_limit(f->clients);
    f->clients->input_bytes -= REQUEST_BYTES_MAX;
    assert_int_equal(f->clients->input_bytes, buffer_size(&other->in));
    assert_true(connection_reads(other));
    hear(c, "");
    answer(f, 0, "*1\r\n:7\r\n");
    hear(c, "+OK\r\n+OK\r\n+QUEUED\r\n"
            "-ERR too much unfinished input of all clients together\r\n");
    assert_true(connection_done(c));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_order),
        TEST(test_kinds),
        TEST(test_late_reply),
        TEST(test_unknown_outcome),
        TEST(test_not_executed),
        TEST(test_protocols),
        TEST(test_wrong_commands),
        TEST(test_broken_protocol),
        TEST(test_byte_by_byte),
        TEST(test_transaction),
        TEST(test_transaction_of_reads),
        TEST(test_transaction_spoilt),
        TEST(test_transaction_with_own_commands),
        TEST(test_watch),
        TEST(test_watch_without_answer),
        TEST(test_unwatch_waits),
        TEST(test_unwatch_in_transaction),
        TEST(test_once),
        TEST(test_full_server),
        TEST(test_wait),
        TEST(test_pause),
        TEST(test_reply_modes),
        TEST(test_quit),
        TEST(test_half_close),
        TEST(test_kill),
        TEST(test_names),
        TEST(test_role),
        TEST(test_loading),
        TEST(test_info),
        TEST(test_config_and_command),
        TEST(test_connection_limit),
        TEST(test_output_limit),
        TEST(test_output_limit_out_of_order),
        TEST(test_input_limit),
        TEST(test_input_limit_with_unanswered),
        TEST(test_input_limit_of_transactions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
