/* The console over socket pairs: what clients send, and what they read. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rm/console.h"
#include "tests/unit/rm_story.h"

#define TURNS_MAX 200u

struct fixture {
    struct story *story;
    struct config config;
    struct event_base *base;
    struct console *console;
    struct message_command asked; /* last command the core was given */
    uint32_t asked_count;
    bool answer_at_once;
    int fd; /* the client's end */
};

static void answer(struct fixture *f, bool done, const char *text)
{
    const struct effect effect = {
        .type = EFFECT_ANSWER, .reference = f->asked.reference, .number = done, .text = text
    };

    console_answer(f->console, &effect);
}

static void deliver_command(void *context, const struct message *message)
{
    struct fixture *f = context;

    assert_int_equal(message->type, MESSAGE_COMMAND);
    assert_int_equal(message->from, NODE_OPERATOR);
    f->asked = message->command;
    f->asked_count++;
    if (f->answer_at_once)
        answer(f, true, "done at once");
}

static int connect_client(struct fixture *f)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    console_adopt(f->console, pair[0]);
    return pair[1];
}

static void configure(struct fixture *f)
{
    (void)snprintf(f->config.cluster, sizeof f->config.cluster, "three");
    f->config.server_count = f->config.host_count = 3;
    for (uint32_t i = 0; i < 3; i++) {
        (void)snprintf(f->config.servers[i].name, NAME_SIZE, "s%u", i + 1);
        (void)snprintf(f->config.hosts[i].name, NAME_SIZE, "h%u", i + 1);
        f->config.servers[i].host = i;
        f->config.servers[i].client_port = (uint16_t)(7001 + i);
    }
}

static int set_up(void **state)
{
    struct fixture *f = memory_zeroed(1, sizeof *f);
    void *story = NULL;
    struct console_options options = { .pid = 4711, .deliver = deliver_command, .context = f };

    *state = f;
    if (set_up_story(&story) != 0)
        return -1;
    f->story = story;
    f->story->whole = true;
    serve(f->story, 5000);
    configure(f);
    f->base = event_base_new();
    if (!f->base)
        return -1;
    options.base = f->base;
    options.config = &f->config;
    options.rm = &f->story->rm;
    f->console = console_new(&options);
    f->fd = connect_client(f);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    void *story = f->story;

    (void)close(f->fd);
    console_free(f->console);
    event_base_free(f->base);
    (void)tear_down_story(&story);
    free(f);
    return 0;
}

static void turn(struct fixture *f)
{
    assert_true(event_base_loop(f->base, EVLOOP_NONBLOCK) >= 0);
    console_turn_end(f->console);
}

static void send_text(int fd, const char *text)
{
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

/* All that comes within some turns; closed says whether the console closed. */
static void receive(struct fixture *f, int fd, struct buffer *out, bool *closed)
{
    *closed = false;
    for (uint32_t i = 0; i < TURNS_MAX && !*closed; i++) {
        ssize_t size;

        turn(f);
        size = read(fd, buffer_reserve(out, 65536), 65536);
        if (size > 0)
            buffer_commit(out, (size_t)size);
        *closed = size == 0 || (size < 0 && errno != EAGAIN);
    }
}

static void expect_on(struct fixture *f, int fd, const char *expected, bool closed_expected)
{
    struct buffer out = { 0 };
    bool closed;

    receive(f, fd, &out, &closed);
    buffer_append(&out, "", 1);
    assert_string_equal((const char *)buffer_head(&out), expected);
    assert_int_equal(closed, closed_expected);
    buffer_free(&out);
}

static void expect(struct fixture *f, const char *expected)
{
    expect_on(f, f->fd, expected, false);
}

static void test_ping(void **state)
{
    struct fixture *f = *state;

    send_text(f->fd, "PING\r\n*2\r\n$4\r\nping\r\n$2\r\nhi\r\n");
    expect(f, "+PONG\r\n$2\r\nhi\r\n");
    send_text(f->fd, "*1\r\n$4\r\nPI");
    expect(f, "");
    send_text(f->fd, "NG\r\n");
    expect(f, "+PONG\r\n");
}

static void test_what_libraries_send_first(void **state)
{
    struct fixture *f = *state;

    send_text(f->fd,
              "CLIENT SETNAME x\r\nCLIENT GETNAME\r\nCLIENT SETINFO lib-name y\r\nCOMMAND\r\n"
              "CLIENT ID\r\nAUTH secret\r\nHELLO 4\r\n");
    expect(f, "+OK\r\n$1\r\nx\r\n+OK\r\n*0\r\n:1\r\n"
              "-ERR Client sent AUTH, but no password is set\r\n"
              "-NOPROTO unsupported protocol version\r\n");
    send_text(f->fd, "HELLO 3\r\n");
    expect(f, "%5\r\n$6\r\nserver\r\n$11\r\nholdfast-rm\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:1\r\n"
              "$4\r\nmode\r\n$7\r\nconsole\r\n$4\r\nrole\r\n$2\r\nrm\r\n");
}

/* Each wrong command is one error, and the connection goes on. */
static void test_wrong_commands(void **state)
{
    struct fixture *f = *state;

    send_text(f->fd,
              "FOO bar\r\nSTOP\r\nSTOP s9\r\nSTART lfd1\r\nRECOVER\r\nSTYLE loud\r\nACKS 4\r\n"
              "CUT s1 s2\r\nCUT s1 s1 5\r\nCUT s1 s9 5\r\nCUT s1 s2 0\r\nCUT s1 s2 61\r\n"
              "CUT s1 s2 long\r\nHEAL s1\r\nHEAL rm s2\r\n"
              "EVENTS SINCE\r\nEVENTS COUNT -1\r\nPING\r\n");
    expect(
        f,
        "-ERR unknown command 'FOO'; the console knows STATUS, EVENTS, SWITCHOVER, START, STOP, "
        "RESTART, RECOVER, STYLE, ACKS, CUT, HEAL, INFO, PING\r\n"
        "-ERR expected one argument, the name of a server of cluster three\r\n"
        "-ERR expected one argument, the name of a server of cluster three\r\n"
        "-ERR expected one argument, the name of a server of cluster three\r\n"
        "-ERR wrong arguments: expected RECOVER ACCEPT-LOSS: writes that were acknowledged may be "
        "lost\r\n"
        "-ERR wrong arguments: expected STYLE active|passive\r\n"
        "-ERR wrong arguments: expected ACKS all|majority|N, at most the number of servers\r\n"
        "-ERR wrong arguments: expected CUT server server seconds: two servers, 1 to 60 seconds\r\n"
        "-ERR wrong arguments: expected CUT server server seconds: two servers, 1 to 60 seconds\r\n"
        "-ERR wrong arguments: expected CUT server server seconds: two servers, 1 to 60 seconds\r\n"
        "-ERR wrong arguments: expected CUT server server seconds: two servers, 1 to 60 seconds\r\n"
        "-ERR wrong arguments: expected CUT server server seconds: two servers, 1 to 60 seconds\r\n"
        "-ERR wrong arguments: expected CUT server server seconds: two servers, 1 to 60 seconds\r\n"
        "-ERR wrong arguments: expected HEAL server server: two servers\r\n"
        "-ERR wrong arguments: expected HEAL server server: two servers\r\n"
        "-ERR wrong arguments: expected EVENTS [SINCE sequence] [COUNT n] [FOLLOW]\r\n"
        "-ERR wrong arguments: expected EVENTS [SINCE sequence] [COUNT n] [FOLLOW]\r\n"
        "+PONG\r\n");
    assert_int_equal(f->asked_count, 0);
}

/* Bytes that are no RESP: one error, then the end. */
static void test_broken_frames(void **state)
{
    static const char *const broken[] = { "*-5\r\nPING\r\n", "*1\r\n$-3\r\n", "*1\r\n:3\r\n",
                                          "*99999999999\r\n", "*1\r\n$999999999999\r\n" };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        struct buffer out = { 0 };
        bool closed;
        int fd = connect_client(f);

        send_text(fd, broken[i]);
        send_text(fd, "PING\r\n");
        receive(f, fd, &out, &closed);
        if (i == 0) { /* as in Redis, an empty command */
            assert_false(closed);
        } else {
            assert_true(closed);
            assert_true(buffer_size(&out) > 6);
            assert_memory_equal(buffer_head(&out), "-ERR ", 5);
            assert_int_equal(buffer_head(&out)[buffer_size(&out) - 1], '\n');
        }
        buffer_free(&out);
        (void)close(fd);
    }
    send_text(f->fd, "PING\r\n"); /* nobody else noticed */
    expect(f, "+PONG\r\n");
}

static void test_huge_command(void **state)
{
    struct fixture *f = *state;
    struct buffer out = { 0 };
    char chunk[4096];
    bool closed = false;

    memset(chunk, 'x', sizeof chunk);
    send_text(f->fd, "*1\r\n$1000000\r\n");
    for (uint32_t i = 0; i < 200 && !closed; i++) {
        if (send(f->fd, chunk, sizeof chunk, MSG_NOSIGNAL) < 0 && errno != EAGAIN)
            break;
        turn(f);
    }
    receive(f, f->fd, &out, &closed);
    assert_true(closed);
    assert_memory_equal(buffer_head(&out), "-ERR a console command is at most 65536 bytes", 45);
    buffer_free(&out);
}

/* The client's later commands wait for the answer, those of others do not. */
static void test_command_waits(void **state)
{
    struct fixture *f = *state;
    int other = connect_client(f);

    send_text(f->fd, "SWITCHOVER s2\r\nPING\r\n");
    send_text(other, "PING\r\n");
    expect_on(f, other, "+PONG\r\n", false);
    expect(f, "");
    assert_int_equal(f->asked.verb, COMMAND_SWITCHOVER);
    assert_int_equal(f->asked.server, S2);
    answer(f, true, "s2 is primary of view 2");
    expect(f, "+s2 is primary of view 2\r\n+PONG\r\n");
    send_text(f->fd, "STOP s1\r\n");
    expect(f, "");
    answer(f, false, "because");
    expect(f, "-ERR because\r\n");
    answer(f, true, "an answer that nobody waits for");
    expect(f, "");
    (void)close(other);
}

static void test_answer_at_once(void **state)
{
    struct fixture *f = *state;

    f->answer_at_once = true;
    send_text(f->fd, "START s1\r\nRESTART s2\r\nRECOVER ACCEPT-LOSS\r\nSTYLE passive\r\n"
                     "ACKS majority\r\nACKS 2\r\n");
    expect(f, "+done at once\r\n+done at once\r\n+done at once\r\n+done at once\r\n+done at "
              "once\r\n+done at once\r\n");
    assert_int_equal(f->asked_count, 6);
    assert_int_equal(f->asked.verb, COMMAND_ACKS_COUNT);
    assert_int_equal(f->asked.count, 2);
}

/* A link has two ends, and a cut its time. */
static void test_links(void **state)
{
    struct fixture *f = *state;

    f->answer_at_once = true;
    send_text(f->fd, "CUT s2 s3 60\r\n");
    expect(f, "+done at once\r\n");
    assert_int_equal(f->asked.verb, COMMAND_CUT);
    assert_int_equal(f->asked.server, S2);
    assert_int_equal(f->asked.peer, S3);
    assert_int_equal(f->asked.count, 60);
    send_text(f->fd, "HEAL s3 s1\r\n");
    expect(f, "+done at once\r\n");
    assert_int_equal(f->asked.verb, COMMAND_HEAL);
    assert_int_equal(f->asked.server, S3);
    assert_int_equal(f->asked.peer, S1);
}

/* The client left before its answer came. */
static void test_client_leaves(void **state)
{
    struct fixture *f = *state;
    int fd = connect_client(f);

    send_text(fd, "SWITCHOVER s2\r\n");
    turn(f);
    turn(f);
    (void)close(fd);
    for (uint32_t i = 0; i < 10; i++)
        turn(f);
    answer(f, true, "too late");
    send_text(f->fd, "PING\r\n");
    expect(f, "+PONG\r\n");
}

static void test_status(void **state)
{
    struct fixture *f = *state;
    struct buffer out = { 0 };
    bool closed;
    const char *text;
    json_t *root, *server;

    send_text(f->fd, "STATUS\r\n");
    receive(f, f->fd, &out, &closed);
    buffer_append(&out, "", 1);
    text = strchr((const char *)buffer_head(&out), '{');
    assert_non_null(text);
    root = json_loads(text, JSON_DISABLE_EOF_CHECK, NULL);
    assert_non_null(root);
    assert_string_equal(json_string_value(json_object_get(root, "cluster")), "three");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(root, "view"), "number")),
                     1);
    assert_int_equal(json_array_size(json_object_get(json_object_get(root, "view"), "members")), 3);
    server = json_array_get(json_object_get(root, "servers"), 1);
    assert_string_equal(json_string_value(json_object_get(server, "name")), "s2");
    assert_string_equal(json_string_value(json_object_get(server, "host")), "h2");
    assert_string_equal(json_string_value(json_object_get(server, "state")), "up");
    assert_int_equal(json_integer_value(json_object_get(server, "client_port")), 7002);
    assert_int_equal(json_integer_value(json_object_get(server, "journal_index")), 5);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(root, "rm"), "pid")), 4711);
    json_decref(root);
    buffer_free(&out);
}

/* Pages of events by SINCE, the latest by COUNT, and each new one for who follows. */
static void test_events(void **state)
{
    struct fixture *f = *state;
    char expected[256];
    uint64_t last;

    send_text(f->fd, "EVENTS COUNT 1\r\n");
    last = f->story->rm.event_sequence;
    (void)snprintf(
        expected, sizeof expected, "*1\r\n*3\r\n:%llu\r\n:%llu\r\n$13\r\nview 1 active\r\n",
        (unsigned long long)last, (unsigned long long)rm_event(&f->story->rm, last)->time_us);
    expect(f, expected);
    send_text(f->fd, "EVENTS SINCE 1000000\r\nEVENTS SINCE 0 COUNT 1\r\n");
    expect(f, "*0\r\n*1\r\n*3\r\n:1\r\n:1000000\r\n$9\r\ngfd is up\r\n");
    send_text(f->fd, "EVENTS COUNT 0 FOLLOW\r\n");
    expect(f, "*0\r\n");
    host(f->story, 6000, 0, true);
    (void)snprintf(expected, sizeof expected, "*3\r\n:%llu\r\n:7000000\r\n$10\r\nlfd1 is up\r\n",
                   (unsigned long long)last + 1);
    expect(f, expected);
}

/* A follower that does not read is cut, and nobody waits for it. */
static void test_slow_reader(void **state)
{
    struct fixture *f = *state;

    send_text(f->fd, "EVENTS COUNT 0 FOLLOW\r\n");
    expect(f, "*0\r\n");
    for (uint32_t i = 0; i < 400000; i++) {
        host(f->story, 6000, 0, i % 2);
        if (i % 512 == 0)
            turn(f);
    }
    for (uint32_t i = 0; i < 10; i++)
        turn(f);
    {
        struct buffer out = { 0 };
        bool closed;

        receive(f, f->fd, &out, &closed);
        assert_true(closed);
        buffer_free(&out);
    }
}

/* Too many replies that nobody reads: no more commands are taken until they are read. */
static void test_pipeline(void **state)
{
    struct fixture *f = *state;
    struct buffer out = { 0 };
    uint32_t sent = 0, count = 0;
    bool closed;

    for (; sent < 4000; sent++) {
        if (send(f->fd, "STATUS\r\n", 8, MSG_NOSIGNAL) != 8)
            break;
        if (sent % 64 == 0)
            turn(f);
    }
    receive(f, f->fd, &out, &closed);
    for (uint32_t i = 0; i < 40; i++)
        receive(f, f->fd, &out, &closed);
    assert_false(closed);
    for (size_t i = 0; i + 1 < buffer_size(&out); i++)
        count += buffer_head(&out)[i] == '$' && buffer_head(&out)[i + 1] >= '0';
    assert_int_equal(count, sent);
    buffer_free(&out);
}

/* One client too many is told so. */
static void test_too_many_clients(void **state)
{
    struct fixture *f = *state;
    int fds[CONSOLE_CLIENTS_MAX];

    for (uint32_t i = 1; i < CONSOLE_CLIENTS_MAX; i++)
        fds[i] = connect_client(f);
    fds[0] = connect_client(f);
    expect_on(f, fds[0], "-ERR max number of clients reached\r\n", true);
    (void)close(fds[1]);
    turn(f);
    turn(f);
    fds[1] = connect_client(f);
    send_text(fds[1], "PING\r\n");
    expect_on(f, fds[1], "+PONG\r\n", false);
    for (uint32_t i = 0; i < CONSOLE_CLIENTS_MAX; i++)
        (void)close(fds[i]);
}

/* QUIT, and a client that shuts down its side after asking, get all their replies. */
static void test_ends(void **state)
{
    struct fixture *f = *state;
    int fd = connect_client(f);

    send_text(f->fd, "PING\r\nQUIT\r\nPING\r\n");
    expect_on(f, f->fd, "+PONG\r\n+OK\r\n", true);
    send_text(fd, "PING\r\n");
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    expect_on(f, fd, "+PONG\r\n", true);
    (void)close(fd);
}

#define CONSOLE_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONSOLE_TEST(test_ping),           CONSOLE_TEST(test_what_libraries_send_first),
        CONSOLE_TEST(test_wrong_commands), CONSOLE_TEST(test_broken_frames),
        CONSOLE_TEST(test_huge_command),   CONSOLE_TEST(test_command_waits),
        CONSOLE_TEST(test_answer_at_once), CONSOLE_TEST(test_links),
        CONSOLE_TEST(test_client_leaves),  CONSOLE_TEST(test_status),
        CONSOLE_TEST(test_events),         CONSOLE_TEST(test_slow_reader),
        CONSOLE_TEST(test_pipeline),       CONSOLE_TEST(test_too_many_clients),
        CONSOLE_TEST(test_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
