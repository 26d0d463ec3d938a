/* Random commands, to the service and to a real redis-server 7.0: the replies must be the same.
 *
 * Run by hand, as it needs the server and the real time:
 *     redis-server --port 22000 --save '' --appendonly no --databases 1 &
 *     KV_REDIS_PORT=22000 [KV_REDIS_ROUNDS=2000] [KV_REDIS_SEED=1] build/tests/unit/test_kv_redis
 * Without KV_REDIS_PORT it is skipped. */
#include <arpa/inet.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "kv_fixture.h"

#include "common/resp.h"

#define TIME_TOLERANCE_MS 2000
#define RACES_PERCENT_MAX 1

struct story {
    struct kv_fixture f;
    struct random random;
    int socket;
    struct buffer requests, replies; /* to and from Redis */
    uint64_t races;                  /* see is_race() */
};

static const char *const keys[] = { "a", "b", "c", "num", "float", "big", "", "k{1}", "x y", "A" };
static const char *const values[] = {
    "",
    "1",
    "-1",
    "0",
    "10",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "01",
    " 1",
    "1 ",
    "+1",
    "3.14",
    "-0",
    "0.1",
    "1e400",
    "1e-10",
    "inf",
    "-inf",
    "nan",
    "0x10",
    "abc",
    "hello world",
    "1.5e3",
    "5e",
    "3.0",
    "1e4000",
    "-1.25",
    "1e15",
    "123456789012345678.5",
    "00.5",
    ".5",
    "5.",
    "x",
};
static const char *const numbers[] = {
    "0",
    "1",
    "-1",
    "2",
    "5",
    "-3",
    "100",
    "10000",
    "-10000",
    "3600",
    "86400000",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775",
    "9223372036854776",
    "536870912",
    "536870911",
    "1.0",
    "abc",
    "",
    " 5",
    "+5",
    "007",
    "99999999999999999999",
    "4102444800",
    "4102444800000",
};
/* Spans and times: none is so short that it ends during a round. */
static const char *const times[] = {
    "0",
    "-1",
    "-3",
    "-10000",
    "3600",
    "86400000",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775",
    "9223372036854776",
    "100000",
    "500000",
    "1.0",
    "abc",
    "",
    "99999999999999999999",
    "4102444800",
    "4102444800000",
};
static const char *const set_options[] = { "NX",   "XX",   "GET",     "KEEPTTL", "EX",   "PX",
                                           "EXAT", "PXAT", "PERSIST", "nx",      "junk", "" };
static const char *const expire_options[] = { "NX", "XX", "GT", "LT", "gt", "junk" };
static const char *const patterns[] = { "*",   "?",     "[a-c]",  "[^a]", "a*",    "\\a",
                                        "[a",  "*u*",   "n?m",    "",     "**",    "[c-a]",
                                        "[]",  "*[^x]", "k\\{1}", "x*y",  "[\\a]", "\\",
                                        "a\\", "[a-",   "[^",     "f*t*" };

#define PICK(story, table) (table)[random_below(&(story)->random, sizeof(table) / sizeof(table)[0])]

struct words {
    struct bytes argv[WORDS_MAX];
    uint32_t argc;
};

static void add(struct words *w, const char *word)
{
    w->argv[w->argc++] = bytes_string(word);
}

static bool chance(struct story *s, unsigned percent)
{
    return random_below(&s->random, 100) < percent;
}

static const char *key(struct story *s)
{
    return PICK(s, keys);
}

static const char *value(struct story *s)
{
    static char long_value[3000];

    if (chance(s, 10)) {
        size_t size = random_below(&s->random, sizeof long_value - 1);

        memset(long_value, 'v', size);
        long_value[size] = '\0';
        return long_value;
    }
    return PICK(s, values);
}

/* What a word of a pattern of commands stands for. */
static void add_kind(struct story *s, struct words *w, char kind)
{
    switch (kind) {
    case 'k': add(w, key(s)); break;
    case 'v': add(w, value(s)); break;
    case 'n': add(w, PICK(s, numbers)); break;
    case 't': add(w, PICK(s, times)); break;
    case 'p': add(w, PICK(s, patterns)); break;
    case 's': /* options of SET */
        while (chance(s, 60) && w->argc < 12)
            add(w, chance(s, 40) ? PICK(s, times) : PICK(s, set_options));
        break;
    case 'e': /* options of EXPIRE */
        while (chance(s, 40) && w->argc < 12)
            add(w, PICK(s, expire_options));
        break;
    case '*': /* more keys */
        while (chance(s, 60) && w->argc < 12)
            add(w, key(s));
        break;
    case '=': /* more pairs, and now and then half of one */
        while (chance(s, 45) && w->argc < 12)
            add(w, value(s));
        break;
    default: fail_msg("unknown kind %c", kind);
    }
}

/* A command and its words: k key, v value, n number, t time, p pattern; see add_kind(). */
static const struct {
    const char *name;
    const char *kinds;
} shapes[] = {
    { "GET", "k" },        { "SET", "kv" },         { "SET", "kvs" },      { "SET", "kvs" },
    { "SETNX", "kv" },     { "GETSET", "kv" },      { "GETDEL", "k" },     { "GETEX", "ks" },
    { "DEL", "k*" },       { "EXISTS", "k*" },      { "MGET", "k*" },      { "MSET", "kv=" },
    { "MSETNX", "kv=" },   { "INCR", "k" },         { "DECR", "k" },       { "INCRBY", "kn" },
    { "DECRBY", "kn" },    { "INCRBYFLOAT", "kv" }, { "APPEND", "kv" },    { "STRLEN", "k" },
    { "GETRANGE", "knn" }, { "SUBSTR", "knn" },     { "EXPIRE", "kte" },   { "PEXPIRE", "kte" },
    { "EXPIREAT", "kne" }, { "PEXPIREAT", "kne" },  { "TTL", "k" },        { "PTTL", "k" },
    { "EXPIRETIME", "k" }, { "PEXPIRETIME", "k" },  { "PERSIST", "k" },    { "SETEX", "ktv" },
    { "PSETEX", "ktv" },   { "UNLINK", "k*" },      { "TOUCH", "k*" },     { "TYPE", "k" },
    { "COPY", "kk" },      { "RENAME", "kk" },      { "RENAMENX", "kk" },  { "KEYS", "p" },
    { "INCRBY", "k" },     { "GET", "kk" },         { "SETRANGE", "kkv" },
};

static void random_words(struct story *s, struct words *w)
{
    static const char *const offsets[] = { "0", "1", "5", "-1", "1020", "2000", "536870912", "x" };
    uint64_t pick = random_below(&s->random, sizeof shapes / sizeof shapes[0] + 7);

    w->argc = 0;
    switch (pick) {
    case 0: add(w, "SETRANGE"), add(w, key(s)), add(w, PICK(s, offsets)), add(w, value(s)); return;
    case 1:
        add(w, "COPY"), add(w, key(s)), add(w, key(s));
        add(w, chance(s, 70) ? "REPLACE" : "DB");
        if (chance(s, 50))
            add(w, PICK(s, numbers));
        return;
    case 2:
        add(w, "SCAN"), add(w, "0"), add(w, "COUNT"), add(w, "1000");
        if (chance(s, 50))
            add(w, "MATCH"), add(w, PICK(s, patterns));
        if (chance(s, 20))
            add(w, "TYPE"), add(w, chance(s, 50) ? "string" : "list");
        return;
    case 3: add(w, "SCAN"), add(w, PICK(s, numbers)), add(w, "COUNT"), add(w, "0"); return;
    case 4:
        add(w, chance(s, 5) ? "FLUSHALL" : "FLUSHDB"), add(w, chance(s, 90) ? "junk" : "SYNC");
        return;
    case 5: add(w, "OBJECT"), add(w, chance(s, 50) ? "FREQ" : "junk"), add(w, key(s)); return;
    case 6:
        add(w, "SET"), add(w, key(s)), add(w, value(s));
        add(w, chance(s, 50) ? "EXAT" : "PXAT"), add(w, PICK(s, numbers));
        return;
    default: break;
    }
    pick -= 7;
    add(w, shapes[pick].name);
    for (const char *kind = shapes[pick].kinds; *kind; kind++)
        add_kind(s, w, *kind);
    if (chance(s, 2) && w->argc > 1)
        w->argc--;
}

static void command_append(struct buffer *out, const struct words *w)
{
    buffer_format(out, "*%u\r\n", w->argc);
    for (uint32_t i = 0; i < w->argc; i++) {
        buffer_format(out, "$%zu\r\n", w->argv[i].size);
        if (w->argv[i].size > 0)
            buffer_append(out, w->argv[i].data, w->argv[i].size);
        buffer_append(out, "\r\n", 2);
    }
}

/* The size of the reply at the front, 0 when it is not all there. Knows what Redis says here. */
static size_t reply_size(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, '\n', size);
    size_t used;
    long count;

    if (!end)
        return 0;
    used = (size_t)(end - data) + 1;
    count = strtol((const char *)data + 1, NULL, 10);
    if (data[0] == '$')
        return used + (size_t)count + 2 <= size ? used + (size_t)count + 2 : 0;
    for (long i = 0; (data[0] == '*' || data[0] == '%') && i < count * (data[0] == '%' ? 2 : 1);
         i++) {
        size_t part = reply_size(data + used, size - used);

        if (part == 0)
            return 0;
        used += part;
    }
    return used;
}

static struct bytes redis_reply(struct story *s)
{
    size_t size;

    while (buffer_size(&s->replies) == 0 ||
           (size = reply_size(buffer_head(&s->replies), buffer_size(&s->replies))) == 0) {
        ssize_t got = read(s->socket, buffer_reserve(&s->replies, 65536), 65536);

        assert_true(got > 0);
        buffer_commit(&s->replies, (size_t)got);
    }
    return bytes_of(buffer_head(&s->replies), size);
}

static int by_content(const void *a, const void *b)
{
    const struct bytes *x = a, *y = b;
    int order = memcmp(x->data, y->data, x->size < y->size ? x->size : y->size);

    return order ? order : (x->size > y->size) - (x->size < y->size);
}

/* The elements of a flat array, sorted. */
static uint32_t elements(struct bytes array, struct bytes *parts, uint32_t parts_max)
{
    const uint8_t *at = (const uint8_t *)memchr(array.data, '\n', array.size) + 1;
    uint32_t count = 0;

    while (at < array.data + array.size) {
        size_t size = reply_size(at, (size_t)(array.data + array.size - at));

        assert_true(size > 0 && count < parts_max);
        parts[count++] = bytes_of(at, size);
        at += size;
    }
    qsort(parts, count, sizeof parts[0], by_content);
    return count;
}

static bool same_set(struct bytes a, struct bytes b)
{
    struct bytes x[256] = { 0 }, y[256] = { 0 };
    uint32_t count = elements(a, x, 256);

    if (elements(b, y, 256) != count)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!bytes_equal(x[i], y[i]) &&
            !(x[i].data[0] == '*' && y[i].data[0] == '*' && same_set(x[i], y[i])))
            return false;
    return true;
}

static bool same(const struct words *w, struct bytes ours, struct bytes theirs)
{
    if (!ours.data || !theirs.data)
        return false;
    if (bytes_equal(ours, theirs))
        return true;
    if (ours.data[0] == ':' && theirs.data[0] == ':' &&
        (resp_is(w->argv[0], "ttl") || resp_is(w->argv[0], "pttl") ||
         resp_is(w->argv[0], "expiretime") || resp_is(w->argv[0], "pexpiretime"))) {
        long a = strtol((const char *)ours.data + 1, NULL, 10);
        long b = strtol((const char *)theirs.data + 1, NULL, 10);

        return a >= 0 && b >= 0 && labs(a - b) <= TIME_TOLERANCE_MS;
    }
    if (ours.data[0] == '*' && theirs.data[0] == '*' &&
        (resp_is(w->argv[0], "keys") || resp_is(w->argv[0], "scan")))
        return same_set(ours, theirs);
    return false;
}

/* With GT and LT a millisecond that passed between ours and theirs may decide. */
static bool is_race(const struct words *w)
{
    return w->argc > 3 && (resp_is(w->argv[0], "expire") || resp_is(w->argv[0], "pexpire") ||
                           resp_is(w->argv[0], "expireat") || resp_is(w->argv[0], "pexpireat"));
}

static void print_difference(const struct words *w, struct bytes ours, struct bytes theirs)
{
    for (uint32_t i = 0; i < w->argc; i++)
        print_message("%.*s%s", (int)w->argv[i].size, (const char *)w->argv[i].data,
                      i + 1 < w->argc ? "|" : "\n");
    print_message("ours:   %.*s\ntheirs: %.*s\n", (int)ours.size, (const char *)ours.data,
                  (int)theirs.size, (const char *)theirs.data);
}

/* False when the states differ now and it is nobody's fault. */
static bool one_command(struct story *s, bool reset)
{
    struct words w;
    struct bytes ours, theirs;
    struct timespec now;
    bool agree;

    if (reset) {
        w.argc = 0;
        add(&w, "FLUSHALL");
    } else {
        random_words(s, &w);
    }
    command_append(&s->requests, &w);
    while (buffer_size(&s->requests) > 0) {
        ssize_t sent = write(s->socket, buffer_head(&s->requests), buffer_size(&s->requests));

        assert_true(sent > 0);
        buffer_consume(&s->requests, (size_t)sent);
    }
    clock_gettime(CLOCK_REALTIME, &now);
    s->f.time_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
    kv_call_words(&s->f, w.argc, w.argv);
    ours = buffer_bytes(&s->f.reply);
    theirs = redis_reply(s);
    agree = same(&w, ours, theirs);
    if (!agree && !is_race(&w)) {
        print_difference(&w, ours, theirs);
        fail_msg("the replies differ");
    }
    buffer_consume(&s->replies, theirs.size);
    return agree;
}

static void story_open(struct story *s, const char *port, uint64_t seed)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct words hello = { .argc = 2, .argv = { bytes_string("HELLO"), bytes_string("3") } };

    *s = (struct story){ .random = random_seeded(seed) };
    kv_open(&s->f);
    s->socket = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(s->socket >= 0);
    assert_int_equal(connect(s->socket, (struct sockaddr *)&address, sizeof address), 0);
    command_append(&s->requests, &hello);
    assert_true(write(s->socket, buffer_head(&s->requests), buffer_size(&s->requests)) > 0);
    buffer_consume(&s->requests, buffer_size(&s->requests));
    buffer_consume(&s->replies, redis_reply(s).size);
}

static void story_close(struct story *s)
{
    close(s->socket);
    kv_close(&s->f);
    buffer_free(&s->requests);
    buffer_free(&s->replies);
}

static uint64_t number_from(const char *variable, uint64_t otherwise)
{
    const char *text = getenv(variable);

    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void test_same_as_redis(void **state)
{
    const char *port = getenv("KV_REDIS_PORT");
    uint64_t rounds = number_from("KV_REDIS_ROUNDS", 500);
    struct story s;

    (void)state;
    if (!port) {
        skip();
        return;
    }
    story_open(&s, port, number_from("KV_REDIS_SEED", 1));
    for (uint64_t i = 0; i < rounds; i++)
        for (uint32_t j = 0; j < 200; j++)
            if (!one_command(&s, j == 0)) {
                s.races++;
                break;
            }
    assert_true(s.races <= rounds * RACES_PERCENT_MAX / 100 + 1);
    story_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_same_as_redis) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
