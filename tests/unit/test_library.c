/* The client library against servers that do as a script says, over loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/address.h"
#include "client/holdfast.h"
#include "common/resp.h"

#define SERVERS 3
#define CLIENTS 16 /* connections to one server over its life */

/* What a server does with one command. Everything but EXECUTE is the fault that it stands for. */
enum action {
    EXECUTE,      /* executes it unless it was, and answers: also what follows the script's end */
    EXECUTE_DROP, /* executes it, and closes without a word */
    SILENT,       /* never answers it */
    HOLD,         /* executes it, and answers when the next command is there */
    TRYAGAIN,
    FORGOTTEN,
    REPLY_LOST,
    GARBAGE, /* answers what is not RESP */
    PIECES,  /* executes it, and answers byte by byte */
};

struct peer {
    int fd;
    struct buffer in;
    struct resp_command_reader reader;
    char held[64];
};

struct scripted_server {
    int listener;
    uint16_t port;
    const enum action *script; /* one for each command */
    uint32_t script_count;
    bool refuses_hello;
    uint32_t commands; /* received, HELLO not counted */
    struct peer peers[CLIENTS];
};

/* A cluster without replication: the servers share one state, as if they agreed on everything. */
struct cluster {
    struct scripted_server servers[SERVERS];
    uint64_t session, sequence; /* last executed */
    uint32_t executed;
    pthread_t thread;
    int stop[2];
    char list[256];
    uint32_t connected;         /* what the client told of its connections */
    uint32_t discarded;         /* duplicate replies that it reported */
    uint64_t discarded_request; /* of the last one */
};

static void server_listen(struct scripted_server *s)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof(address);

    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(s->listener >= 0);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(listen(s->listener, CLIENTS), 0);
    s->port = ntohs(address.sin_port);
    for (uint32_t i = 0; i < CLIENTS; i++)
        s->peers[i].fd = -1;
}

static void peer_close(struct peer *p)
{
    if (p->fd >= 0)
        (void)close(p->fd);
    p->fd = -1;
    buffer_free(&p->in);
    resp_command_reader_free(&p->reader);
    memset(&p->reader, 0, sizeof(p->reader));
    p->held[0] = '\0';
}

static void say(const struct peer *p, const char *text, size_t size)
{
    ssize_t sent = send(p->fd, text, size, MSG_NOSIGNAL);

    (void)sent; /* a client that is gone is not the server's business */
}

static uint64_t number(struct bytes word)
{
    int64_t value = 0;

    return resp_integer(word, &value) ? (uint64_t)value : 0;
}

/* INCR of the one counter, once per sequence; everything that is not ONCE is a read of it. */
static void execute(struct cluster *cluster, const struct peer *p, char reply[64])
{
    if (resp_is(p->reader.argv[0], "once")) {
        uint64_t session = number(p->reader.argv[1]);
        uint64_t sequence = number(p->reader.argv[2]);

        if (session != cluster->session || sequence != cluster->sequence)
            cluster->executed++;
        cluster->session = session;
        cluster->sequence = sequence;
    }
    (void)snprintf(reply, 64, ":%u\r\n", cluster->executed);
}

static void act(struct cluster *cluster, struct scripted_server *s, struct peer *p)
{
    enum action action = s->commands < s->script_count ? s->script[s->commands] : EXECUTE;
    char reply[64];

    s->commands++;
    say(p, p->held, strlen(p->held));
    p->held[0] = '\0';
    switch (action) {
    case TRYAGAIN: say(p, "-TRYAGAIN no primary\r\n", 22); return;
    case FORGOTTEN: say(p, "-SESSIONLOST unknown\r\n", 22); return;
    case REPLY_LOST: say(p, "-REPLYLOST too large\r\n", 22); return;
    case GARBAGE: say(p, "what?\r\n", 7); return;
    case SILENT: return;
    case EXECUTE_DROP:
        execute(cluster, p, reply);
        peer_close(p);
        return;
    case HOLD: execute(cluster, p, p->held); return;
    case PIECES:
        execute(cluster, p, reply);
        for (size_t i = 0; i < strlen(reply); i++)
            say(p, reply + i, 1);
        return;
    case EXECUTE:
        execute(cluster, p, reply);
        say(p, reply, strlen(reply));
        return;
    }
}

static void peer_read(struct cluster *cluster, struct scripted_server *s, struct peer *p)
{
    ssize_t got = recv(p->fd, buffer_reserve(&p->in, 65536), 65536, 0);
    size_t used = 0;
    struct error error;

    if (got <= 0) {
        peer_close(p);
        return;
    }
    buffer_commit(&p->in, (size_t)got);
    while (p->fd >= 0 &&
           resp_read_command(&p->reader, buffer_bytes(&p->in), &used, &error) == RESP_READY) {
        if (!resp_is(p->reader.argv[0], "hello"))
            act(cluster, s, p);
        else if (s->refuses_hello)
            say(p, "-NOPROTO no\r\n", 13);
        else
            say(p, "%0\r\n", 4);
        if (p->fd >= 0)
            buffer_consume(&p->in, used);
    }
}

static void server_accept(struct scripted_server *s)
{
    int fd = accept(s->listener, NULL, NULL);

    for (uint32_t i = 0; i < CLIENTS && fd >= 0; i++) {
        if (s->peers[i].fd >= 0)
            continue;
        s->peers[i].fd = fd;
        fd = -1;
    }
    if (fd >= 0)
        (void)close(fd);
}

static void *serve(void *context)
{
    struct cluster *cluster = context;
    struct pollfd polled[SERVERS * (CLIENTS + 1) + 1];

    for (;;) {
        nfds_t count = 0;

        for (uint32_t i = 0; i < SERVERS; i++) {
            polled[count++] = (struct pollfd){ cluster->servers[i].listener, POLLIN, 0 };
            for (uint32_t k = 0; k < CLIENTS; k++)
                polled[count++] = (struct pollfd){ cluster->servers[i].peers[k].fd, POLLIN, 0 };
        }
        polled[count++] = (struct pollfd){ cluster->stop[0], POLLIN, 0 };
        if (poll(polled, count, -1) < 0 || polled[count - 1].revents)
            return NULL;
        for (uint32_t i = 0; i < SERVERS; i++) {
            struct scripted_server *s = &cluster->servers[i];
            const struct pollfd *own = &polled[(size_t)i * (CLIENTS + 1)];

            for (uint32_t k = 0; k < CLIENTS; k++)
                if (own[k + 1].revents)
                    peer_read(cluster, s, &s->peers[k]);
            if (own[0].revents)
                server_accept(s);
        }
    }
}

static struct cluster *cluster_new(void)
{
    struct cluster *cluster = calloc(1, sizeof(*cluster));

    assert_non_null(cluster);
    assert_int_equal(pipe(cluster->stop), 0);
    for (uint32_t i = 0; i < SERVERS; i++)
        server_listen(&cluster->servers[i]);
    (void)snprintf(cluster->list, sizeof(cluster->list),
                   "s1=127.0.0.1:%u,s2=127.0.0.1:%u,s3=127.0.0.1:%u", cluster->servers[0].port,
                   cluster->servers[1].port, cluster->servers[2].port);
    return cluster;
}

static void script(struct cluster *cluster, uint32_t server, const enum action *actions,
                   uint32_t count)
{
    cluster->servers[server].script = actions;
    cluster->servers[server].script_count = count;
}

static void cluster_start(struct cluster *cluster)
{
    assert_int_equal(pthread_create(&cluster->thread, NULL, serve, cluster), 0);
}

/* What the servers counted may be read after this. */
static void cluster_stop(struct cluster *cluster)
{
    assert_int_equal(write(cluster->stop[1], "x", 1), 1);
    assert_int_equal(pthread_join(cluster->thread, NULL), 0);
    for (uint32_t i = 0; i < SERVERS; i++) {
        for (uint32_t k = 0; k < CLIENTS; k++)
            peer_close(&cluster->servers[i].peers[k]);
        (void)close(cluster->servers[i].listener);
    }
    (void)close(cluster->stop[0]);
    (void)close(cluster->stop[1]);
}

static void count_discarded(void *context, uint64_t request, const char *server)
{
    struct cluster *cluster = context;

    assert_int_equal(server[0], 's');
    cluster->discarded++;
    cluster->discarded_request = request;
}

static void count_connected(void *context, const char *text)
{
    struct cluster *cluster = context;

    cluster->connected += strstr(text, ": connected") != NULL;
}

static struct holdfast *client_open(struct cluster *cluster, uint32_t deadline_ms, bool send_to_all)
{
    struct holdfast_options options = {
        .servers = cluster->list,
        .deadline_ms = deadline_ms,
        .try_ms = 20,
        .send_to_all = send_to_all,
        .discarded = count_discarded,
        .event = count_connected,
        .context = cluster,
    };
    struct holdfast *h = holdfast_open(&options, NULL, 0);

    assert_non_null(h);
    return h;
}

static enum holdfast_status increment(struct holdfast *h, char reply[64])
{
    const char *const words[] = { "INCR", "visits" };
    const char *text;
    size_t size;
    enum holdfast_status status = holdfast_call(h, 2, words, NULL, &text, &size);

    (void)snprintf(reply, 64, "%.*s", (int)size, text ? text : "");
    return status;
}

/* Calls follow one another, on one server, and each is executed. */
static void test_calls(void **state)
{
    struct cluster *cluster = cluster_new();
    struct holdfast *h = client_open(cluster, 5000, false);
    char reply[64];

    (void)state;
    cluster_start(cluster);
    for (uint32_t i = 1; i <= 3; i++) {
        char expected[64];

        (void)snprintf(expected, sizeof(expected), ":%u\r\n", i);
        assert_int_equal(increment(h, reply), HOLDFAST_OK);
        assert_string_equal(reply, expected);
        assert_int_equal(holdfast_sequence(h), i);
    }
    holdfast_close(h);
    cluster_stop(cluster);
    free(cluster);
}

/* Executed, and the reply is lost with the server: the next one gives the remembered reply. */
static void test_lost_reply(void **state)
{
    static const enum action drop[] = { EXECUTE_DROP };
    struct cluster *cluster = cluster_new();
    struct holdfast *h = client_open(cluster, 5000, false);
    char reply[64];

    (void)state;
    for (uint32_t i = 0; i < SERVERS - 1; i++)
        script(cluster, i, drop, 1);
    cluster_start(cluster);
    assert_int_equal(increment(h, reply), HOLDFAST_OK);
    assert_string_equal(reply, ":1\r\n");
    holdfast_close(h);
    cluster_stop(cluster);
    assert_int_equal(cluster->executed, 1);
    free(cluster);
}

/* A silent server costs try_ms, not the call. */
static void test_silent_server(void **state)
{
    static const enum action silent[] = { SILENT };
    struct cluster *cluster = cluster_new();
    struct holdfast *h = client_open(cluster, 5000, false);
    char reply[64];

    (void)state;
    script(cluster, 0, silent, 1);
    script(cluster, 1, silent, 1);
    cluster_start(cluster);
    assert_int_equal(increment(h, reply), HOLDFAST_OK);
    assert_string_equal(reply, ":1\r\n");
    holdfast_close(h);
    cluster_stop(cluster);
    free(cluster);
}

/* -TRYAGAIN, then an answer: the caller sees the answer only. */
static void test_tryagain(void **state)
{
    static const enum action busy[] = { TRYAGAIN, TRYAGAIN };
    struct cluster *cluster = cluster_new();
    struct holdfast *h = client_open(cluster, 5000, false);
    char reply[64];

    (void)state;
    for (uint32_t i = 0; i < SERVERS; i++)
        script(cluster, i, busy, 2);
    cluster_start(cluster);
    assert_int_equal(increment(h, reply), HOLDFAST_OK);
    assert_string_equal(reply, ":1\r\n");
    holdfast_close(h);
    cluster_stop(cluster);
    free(cluster);
}

/* Nothing but -TRYAGAIN until the deadline: certainly not executed. */
static void test_failed(void **state)
{
    static const enum action busy[64] = { TRYAGAIN, TRYAGAIN, TRYAGAIN, TRYAGAIN, TRYAGAIN,
                                          TRYAGAIN, TRYAGAIN, TRYAGAIN, TRYAGAIN, TRYAGAIN };
    struct cluster *cluster = cluster_new();
    struct holdfast *h = client_open(cluster, 50, false);
    char reply[64];

    (void)state;
    for (uint32_t i = 0; i < SERVERS; i++)
        script(cluster, i, busy, 10);
    cluster_start(cluster);
    assert_int_equal(increment(h, reply), HOLDFAST_FAILED);
    assert_non_null(strstr(holdfast_error(h), "no server executed it"));
    holdfast_close(h);
    cluster_stop(cluster);
    assert_int_equal(cluster->executed, 0);
    free(cluster);
}

/* Silence everywhere until the deadline: nobody can say. */
static void test_unknown(void **state)
{
    static const enum action silent[] = { SILENT };
    struct cluster *cluster = cluster_new();
    struct holdfast *h = client_open(cluster, 100, false);
    char reply[64];

    (void)state;
    for (uint32_t i = 0; i < SERVERS; i++)
        script(cluster, i, silent, 1);
    cluster_start(cluster);
    assert_int_equal(increment(h, reply), HOLDFAST_UNKNOWN);
    assert_non_null(strstr(holdfast_error(h), "may have been executed"));
    holdfast_close(h);
    cluster_stop(cluster);
    free(cluster);
}

/* Active style: executed once, answered three times, two replies discarded. */
static void test_send_to_all(void **state)
{
    struct cluster *cluster = cluster_new();
    struct holdfast *h = client_open(cluster, 5000, true);
    char reply[64];

    (void)state;
    cluster_start(cluster);
    assert_int_equal(holdfast_connect(h, 5000), SERVERS);
    assert_int_equal(cluster->connected, SERVERS);
    assert_int_equal(increment(h, reply), HOLDFAST_OK);
    assert_string_equal(reply, ":1\r\n");
    assert_int_equal(holdfast_drain(h, 5000), 0);
    assert_int_equal(cluster->discarded, SERVERS - 1);
    assert_int_equal(cluster->discarded_request, 1);
    holdfast_close(h);
    cluster_stop(cluster);
    assert_int_equal(cluster->executed, 1);
    free(cluster);
}

/* A late reply is discarded, and is not taken for the reply to the call that follows. */
static void test_late_reply(void **state)
{
    static const enum action hold[] = { HOLD };
    struct cluster *cluster = cluster_new();
    struct holdfast *h = client_open(cluster, 5000, false);
    char reply[64];
    const char *const words[] = { "INCR", "visits" };

    (void)state;
    for (uint32_t i = 0; i < SERVERS - 1; i++)
        script(cluster, i, hold, 1);
    cluster_start(cluster);
    for (uint32_t i = 1; i <= 5; i++) {
        const char *text;
        size_t size;
        char expected[64];

        (void)snprintf(expected, sizeof(expected), ":%u\r\n", i);
        assert_int_equal(holdfast_call(h, 2, words, NULL, &text, &size), HOLDFAST_OK);
        (void)snprintf(reply, sizeof(reply), "%.*s", (int)size, text);
        assert_string_equal(reply, expected);
    }
    holdfast_close(h);
    cluster_stop(cluster);
    assert_int_equal(cluster->executed, 5);
    free(cluster);
}

/* What is not RESP ends the connection, not the client; what comes in pieces is put together. */
static void test_garbage_and_pieces(void **state)
{
    static const enum action garbage[] = { GARBAGE };
    static const enum action pieces[] = { PIECES };
    struct cluster *cluster = cluster_new();
    struct holdfast *h = client_open(cluster, 5000, false);
    char reply[64];

    (void)state;
    script(cluster, 0, garbage, 1);
    script(cluster, 1, pieces, 1);
    script(cluster, 2, pieces, 1);
    cluster_start(cluster);
    assert_int_equal(increment(h, reply), HOLDFAST_OK);
    assert_string_equal(reply, ":1\r\n");
    holdfast_close(h);
    cluster_stop(cluster);
    free(cluster);
}

/* The cluster dropped the session: the call is done in a new one. */
static void test_forgotten(void **state)
{
    static const enum action lost[] = { EXECUTE, FORGOTTEN };
    struct cluster *cluster = cluster_new();
    struct holdfast *h;
    uint64_t session;
    char reply[64];

    (void)state;
    for (uint32_t i = 0; i < SERVERS; i++)
        script(cluster, i, lost, 2);
    h = client_open(cluster, 5000, false);
    session = holdfast_session(h);
    cluster_start(cluster);
    assert_int_equal(increment(h, reply), HOLDFAST_OK);
    assert_int_equal(holdfast_session(h), session);
    assert_int_equal(increment(h, reply), HOLDFAST_OK);
    assert_string_equal(reply, ":2\r\n");
    assert_true(holdfast_session(h) != session);
    holdfast_close(h);
    cluster_stop(cluster);
    free(cluster);
}

/* Executed with a reply that nobody has any more: never a retry, never a false OK. */
static void test_reply_lost(void **state)
{
    static const enum action dropped[] = { EXECUTE_DROP };
    static const enum action lost[] = { REPLY_LOST };
    struct cluster *cluster = cluster_new();
    struct holdfast *h;
    char reply[64];

    (void)state;
    script(cluster, 0, dropped, 1);
    script(cluster, 1, lost, 1);
    h = client_open(cluster, 5000, false);
    cluster_start(cluster);
    assert_int_equal(holdfast_connect(h, 5000), SERVERS);
    assert_int_equal(increment(h, reply), HOLDFAST_UNKNOWN);
    assert_non_null(strstr(holdfast_error(h), "it was executed, once"));
    assert_int_equal(increment(h, reply), HOLDFAST_OK);
    assert_string_equal(reply, ":2\r\n");
    holdfast_close(h);
    cluster_stop(cluster);
    free(cluster);
}

/* Nobody there: failed, and the reason names the server. */
static void test_nobody_there(void **state)
{
    struct cluster *cluster = cluster_new();
    struct holdfast *h;
    char reply[64];

    (void)state;
    for (uint32_t i = 0; i < SERVERS; i++)
        (void)close(cluster->servers[i].listener);
    h = client_open(cluster, 50, false);
    assert_int_equal(holdfast_connect(h, 1), 0);
    assert_int_equal(increment(h, reply), HOLDFAST_FAILED);
    assert_non_null(strstr(holdfast_error(h), "cannot connect"));
    holdfast_close(h);
    (void)close(cluster->stop[0]);
    (void)close(cluster->stop[1]);
    free(cluster);
}

/* A server that refuses the greeting is never sent a call. */
static void test_greeting_refused(void **state)
{
    struct cluster *cluster = cluster_new();
    struct holdfast *h;
    char reply[64];

    (void)state;
    cluster->servers[0].refuses_hello = true;
    h = client_open(cluster, 5000, false);
    cluster_start(cluster);
    assert_int_equal(increment(h, reply), HOLDFAST_OK);
    holdfast_close(h);
    cluster_stop(cluster);
    assert_int_equal(cluster->servers[0].commands, 0);
    free(cluster);
}

/* Words may hold any bytes, and more of them than a socket takes at once. */
static void test_large_words(void **state)
{
    struct cluster *cluster = cluster_new();
    struct holdfast *h = client_open(cluster, 5000, false);
    size_t size = (size_t)8 << 20;
    char *value = calloc(1, size);
    const char *const words[] = { "SET", "key", value };
    const size_t sizes[] = { 3, 3, size };
    const char *reply;
    size_t reply_size;

    (void)state;
    assert_non_null(value);
    cluster_start(cluster);
    assert_int_equal(holdfast_call(h, 3, words, sizes, &reply, &reply_size), HOLDFAST_OK);
    assert_memory_equal(reply, ":1\r\n", reply_size);
    holdfast_close(h);
    cluster_stop(cluster);
    free(value);
    free(cluster);
}

static void refused(struct holdfast_options options, const char *why)
{
    char error[256] = "";

    assert_null(holdfast_open(&options, error, sizeof(error)));
    assert_non_null(strstr(error, why));
}

/* Options that make no sense are refused with a reason. */
static void test_options(void **state)
{
    const char *one = "127.0.0.1:7001";

    (void)state;
    refused((struct holdfast_options){ .servers = NULL }, "no servers");
    refused((struct holdfast_options){ .servers = "" }, "expected host:port");
    refused((struct holdfast_options){ .servers = "127.0.0.1" }, "not host:port");
    refused((struct holdfast_options){ .servers = "127.0.0.1:70000" }, "1..65535");
    refused((struct holdfast_options){ .servers = "127.0.0.1:7001," }, "expected host:port");
    refused((struct holdfast_options){ .servers = one, .session = UINT64_MAX }, "below 2^63");
    refused((struct holdfast_options){ .servers = one, .sequence = 3 }, "needs a session");
}

/* Names, hosts and ports of a list of servers. */
static void test_addresses(void **state)
{
    struct addresses addresses;
    struct error error;

    (void)state;
    assert_int_equal(addresses_parse(&addresses, "s1=127.0.0.1:7001,[::1]:7002", &error),
                     ERROR_NONE);
    assert_int_equal(addresses.count, 2);
    assert_string_equal(addresses.list[0].name, "s1");
    assert_int_equal(addresses.list[0].socket.ss_family, AF_INET);
    assert_string_equal(addresses.list[1].name, "[::1]:7002");
    assert_int_equal(addresses.list[1].socket.ss_family, AF_INET6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_lost_reply),
        cmocka_unit_test(test_silent_server),
        cmocka_unit_test(test_tryagain),
        cmocka_unit_test(test_failed),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_send_to_all),
        cmocka_unit_test(test_late_reply),
        cmocka_unit_test(test_garbage_and_pieces),
        cmocka_unit_test(test_forgotten),
        cmocka_unit_test(test_reply_lost),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_greeting_refused),
        cmocka_unit_test(test_large_words),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_addresses),
    };

    return cmocka_run_group_tests_name("library", tests, NULL, NULL);
}
