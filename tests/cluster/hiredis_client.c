/* A client made with hiredis, the C library of Redis, for tests/cluster/test_libraries.py:
 *
 *   hiredis_client replies PORT           every type of reply, pipelines, transactions, large
 * values hiredis_client count SESSION PORT…    counts up with ONCE until its input ends, whatever
 * happens to the servers, and says how far it got
 *
 * Exit status 1, and a sentence on stderr, when a reply is not what it must be. */
#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#define PIPELINE    5000
#define LARGE_BYTES ((size_t)8 << 20)
#define TRY_S_MAX   30 /* until somebody answers */

static void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void fail(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fputc('\n', stderr);
    exit(EXIT_FAILURE);
}

static redisContext *connect_to(const char *port)
{
    const struct timeval patience = { .tv_sec = 2 };
    redisContext *c = redisConnectWithTimeout("127.0.0.1", (int)strtol(port, NULL, 10), patience);

    if (c && !c->err)
        (void)redisSetTimeout(c, patience);
    return c;
}

/* The reply must be of this type and, of texts, begin with this one. */
static void expect(redisContext *c, redisReply *reply, int type, const char *text)
{
    if (!reply)
        fail("no reply: %s", c->errstr);
    if (reply->type != type || (text && strncmp(reply->str, text, strlen(text)) != 0))
        fail("reply of type %d %s, expected type %d %s", reply->type, reply->str ? reply->str : "",
             type, text ? text : "");
}

static void ask(redisContext *c, int type, const char *text, const char *command)
{
    redisReply *reply = redisCommand(c, command);

    expect(c, reply, type, text);
    freeReplyObject(reply);
}

static void each_type(redisContext *c)
{
    redisReply *reply;

    ask(c, REDIS_REPLY_STATUS, "PONG", "PING");
    ask(c, REDIS_REPLY_STATUS, "OK", "SET k 41");
    ask(c, REDIS_REPLY_STRING, "41", "GET k");
    ask(c, REDIS_REPLY_INTEGER, NULL, "INCR k");
    ask(c, REDIS_REPLY_NIL, NULL, "GET nothing");
    ask(c, REDIS_REPLY_ERROR, "ERR unknown command", "PUBLISH channel text");
    ask(c, REDIS_REPLY_ERROR, "ERR unknown command", "SUBSCRIBE channel");
    ask(c, REDIS_REPLY_ERROR, "ERR wrong number of arguments", "GET");
    reply = redisCommand(c, "MGET k nothing");
    expect(c, reply, REDIS_REPLY_ARRAY, NULL);
    if (reply->elements != 2 || strcmp(reply->element[0]->str, "42") != 0 ||
        reply->element[1]->type != REDIS_REPLY_NIL)
        fail("MGET k nothing: not 42 and nothing");
    freeReplyObject(reply);
}

static void transaction(redisContext *c)
{
    redisReply *reply;

    ask(c, REDIS_REPLY_STATUS, "OK", "WATCH k");
    ask(c, REDIS_REPLY_STATUS, "OK", "MULTI");
    ask(c, REDIS_REPLY_STATUS, "QUEUED", "INCR k");
    ask(c, REDIS_REPLY_STATUS, "QUEUED", "GET nothing");
    reply = redisCommand(c, "EXEC");
    expect(c, reply, REDIS_REPLY_ARRAY, NULL);
    if (reply->elements != 2 || reply->element[0]->integer != 43 ||
        reply->element[1]->type != REDIS_REPLY_NIL)
        fail("EXEC: not 43 and nothing");
    freeReplyObject(reply);
}

static void large_value(redisContext *c)
{
    char *value = malloc(LARGE_BYTES);
    redisReply *reply;

    if (!value)
        fail("no memory");
    for (size_t i = 0; i < LARGE_BYTES; i++)
        value[i] = (char)(i * 7); /* zeros and line ends among them */
    reply = redisCommand(c, "SET large %b", value, LARGE_BYTES);
    expect(c, reply, REDIS_REPLY_STATUS, "OK");
    freeReplyObject(reply);
    reply = redisCommand(c, "GET large");
    expect(c, reply, REDIS_REPLY_STRING, NULL);
    if (reply->len != LARGE_BYTES || memcmp(reply->str, value, LARGE_BYTES) != 0)
        fail("the large value came back as another");
    freeReplyObject(reply);
    free(value);
}

static void pipeline(redisContext *c)
{
    for (int i = 0; i < PIPELINE; i++) {
        (void)redisAppendCommand(c, "SET p%d %d", i % 100, i);
        (void)redisAppendCommand(c, "GET p%d", i % 100);
    }
    for (int i = 0; i < PIPELINE; i++) {
        redisReply *set = NULL, *get = NULL;

        if (redisGetReply(c, (void **)&set) != REDIS_OK ||
            redisGetReply(c, (void **)&get) != REDIS_OK)
            fail("pipeline, reply %d: %s", i, c->errstr);
        expect(c, set, REDIS_REPLY_STATUS, "OK");
        expect(c, get, REDIS_REPLY_STRING, NULL);
        if (strtol(get->str, NULL, 10) != i)
            fail("pipeline, reply %d: %s", i, get->str);
        freeReplyObject(set);
        freeReplyObject(get);
    }
}

static int replies(const char *port)
{
    redisContext *c = connect_to(port);

    if (!c || c->err)
        fail("cannot connect to port %s: %s", port, c ? c->errstr : "no memory");
    each_type(c);
    transaction(c);
    large_value(c);
    pipeline(c);
    redisFree(c);
    return EXIT_SUCCESS;
}

/* ---- Counting ---- */

struct counter {
    char **ports;
    int port_count, at;
    const char *session;
    redisContext *c;
    long reconnects;
};

static void next_server(struct counter *counter)
{
    if (counter->c)
        redisFree(counter->c);
    counter->at = (counter->at + 1) % counter->port_count;
    counter->c = connect_to(counter->ports[counter->at]);
    counter->reconnects++;
    if (counter->c && counter->c->err)
        (void)usleep(2000);
}

/* One attempt. False: nobody knows, or certainly not; it is to be tried again. */
static bool attempt(struct counter *counter, long sequence)
{
    redisReply *reply = NULL;
    bool done;

    if (counter->c && !counter->c->err)
        reply = redisCommand(counter->c, "ONCE %s %ld INCR counted", counter->session, sequence);
    done = reply && reply->type == REDIS_REPLY_INTEGER;
    if (done && reply->integer != sequence)
        fail("sequence %ld made it %lld", sequence, reply->integer);
    if (reply && !done && strncmp(reply->str, "TRYAGAIN", 8) != 0)
        fail("sequence %ld: %s", sequence, reply->str);
    if (reply)
        freeReplyObject(reply);
    return done;
}

static bool input_ended(void)
{
    struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };

    return poll(&input, 1, 0) > 0;
}

static int count(const char *session, int port_count, char **ports)
{
    struct counter counter = { .ports = ports, .port_count = port_count, .session = session };
    long sequence = 0;

    counter.c = connect_to(ports[0]);
    while (!input_ended()) {
        time_t start = time(NULL);

        sequence++;
        while (!attempt(&counter, sequence)) {
            if (time(NULL) - start > TRY_S_MAX)
                fail("sequence %ld: nobody answers", sequence);
            next_server(&counter);
        }
    }
    if (counter.c)
        redisFree(counter.c);
    printf("%ld %ld\n", sequence, counter.reconnects);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "replies") == 0)
        return replies(argv[2]);
    if (argc > 3 && strcmp(argv[1], "count") == 0)
        return count(argv[2], argc - 3, argv + 3);
    (void)fputs("usage: hiredis_client replies PORT | count SESSION PORT…\n", stderr);
    return 2;
}
