/* Every command of kv: what is said, and what is answered. The replies were those of
 * redis-server 7.0 when this was written; test_kv_redis.c compares again. */
#include "kv_fixture.h"

struct line {
    const char *command;
    const char *reply; /* RESP3, lines joined by '|' */
};

#define RUN(lines) run(lines, sizeof(lines) / sizeof((lines)[0]))

static void run(const struct line *lines, size_t count)
{
    struct kv_fixture f;

    kv_open(&f);
    for (size_t i = 0; i < count; i++) {
        const char *reply = kv_say(&f, lines[i].command);

        if (strcmp(reply, lines[i].reply) != 0)
            fail_msg("%s: %s, not %s", lines[i].command, reply, lines[i].reply);
    }
    kv_close(&f);
}

static void test_set_and_get(void **state)
{
    static const struct line lines[] = {
        { "GET a", "_" },
        { "SET a 1", "+OK" },
        { "get a", "$1|1" },
        { "SET a 2 NX", "_" },
        { "SET b 2 XX", "_" },
        { "SET b 2 NX", "+OK" },
        { "SET b 3 XX GET", "$1|2" },
        { "SET c 3 GET", "_" },
        { "SET c 4 NX GET", "$1|3" },
        { "GET c", "$1|3" },
        { "SET a 1 NX XX", "-ERR syntax error" },
        { "SET a 1 EX", "-ERR syntax error" },
        { "SET a 1 PERSIST", "-ERR syntax error" },
        { "SET a 1 EX 10 KEEPTTL", "-ERR syntax error" },
        { "SET a 1 EX 0", "-ERR invalid expire time in 'set' command" },
        { "SET a 1 PX -1", "-ERR invalid expire time in 'set' command" },
        { "SET a 1 EX 9223372036854775807", "-ERR invalid expire time in 'set' command" },
        { "SET a 1 EX x", "-ERR value is not an integer or out of range" },
        { "SET a 5 EX 10", "+OK" },
        { "TTL a", ":10" },
        { "SET a 6 KEEPTTL", "+OK" },
        { "TTL a", ":10" },
        { "SET a 7 PX 1500", "+OK" },
        { "PTTL a", ":1500" },
        { "SET a 8 EXAT 1700000100", "+OK" },
        { "EXPIRETIME a", ":1700000100" },
        { "SET a 9 PXAT 1700000100123", "+OK" },
        { "PEXPIRETIME a", ":1700000100123" },
        { "SET a 9", "+OK" },
        { "TTL a", ":-1" },
        { "SET a 9 EXAT 1", "+OK" },
        { "GET a", "_" },
        { "SET \"\" x", "+OK" },
        { "GET \"\"", "$1|x" },
        { "SET e \"\"", "+OK" },
        { "GET e", "$0|" },
        { "GET", "-ERR wrong number of arguments for 'get' command" },
        { "SET a", "-ERR wrong number of arguments for 'set' command" },
        { "NONSENSE x y", "-ERR unknown command 'NONSENSE', with args beginning with: 'x' 'y' " },
    };

    (void)state;
    RUN(lines);
}

static void test_relatives_of_set(void **state)
{
    static const struct line lines[] = {
        { "SETNX a 1", ":1" },
        { "SETNX a 2", ":0" },
        { "GETSET a 3", "$1|1" },
        { "GETSET n 3", "_" },
        { "SETEX a 10 x", "+OK" },
        { "TTL a", ":10" },
        { "GETSET a 3", "$1|x" },
        { "TTL a", ":-1" },
        { "PSETEX a 999 x", "+OK" },
        { "TTL a", ":1" },
        { "PTTL a", ":999" },
        { "SETEX a 0 x", "-ERR invalid expire time in 'setex' command" },
        { "PSETEX a x x", "-ERR value is not an integer or out of range" },
        { "GETDEL a", "$1|x" },
        { "GETDEL a", "_" },
        { "SET a 1", "+OK" },
        { "GETEX a EX 5", "$1|1" },
        { "TTL a", ":5" },
        { "GETEX a", "$1|1" },
        { "TTL a", ":5" },
        { "GETEX a PERSIST", "$1|1" },
        { "TTL a", ":-1" },
        { "GETEX a NX", "-ERR syntax error" },
        { "GETEX a PX 0", "-ERR invalid expire time in 'getex' command" },
        { "GETEX none PX 0", "_" },
        { "GETEX a PXAT 1", "$1|1" },
        { "EXISTS a", ":0" },
        { "MSET a 1 b 2 a 3", "+OK" },
        { "MGET a b none", "*3|$1|3|$1|2|_" },
        { "MSET a 1 b", "-ERR wrong number of arguments for 'mset' command" },
        { "MSETNX c 1 a 2", ":0" },
        { "EXISTS c", ":0" },
        { "MSETNX c 1 d 2", ":1" },
        { "MGET c d", "*2|$1|1|$1|2" },
        { "MSETNX c", "-ERR wrong number of arguments for 'msetnx' command" },
    };

    (void)state;
    RUN(lines);
}

static void test_numbers(void **state)
{
    static const struct line lines[] = {
        { "INCR n", ":1" },
        { "INCRBY n 41", ":42" },
        { "DECR n", ":41" },
        { "DECRBY n 42", ":-1" },
        { "GET n", "$2|-1" },
        { "INCRBY n x", "-ERR value is not an integer or out of range" },
        { "SET n 9223372036854775807", "+OK" },
        { "INCR n", "-ERR increment or decrement would overflow" },
        { "DECRBY n -9223372036854775808", "-ERR decrement would overflow" },
        { "SET s abc", "+OK" },
        { "INCR s", "-ERR value is not an integer or out of range" },
        { "SETEX t 100 7", "+OK" },
        { "INCR t", ":8" },
        { "TTL t", ":100" },
        { "INCRBYFLOAT f 10.50", "$4|10.5" },
        { "INCRBYFLOAT f 0.1", "$4|10.6" },
        { "INCRBYFLOAT f -10.6", "$1|0" },
        { "INCRBYFLOAT f 5.0e3", "$4|5000" },
        { "INCRBYFLOAT f x", "-ERR value is not a valid float" },
        { "INCRBYFLOAT s 1", "-ERR value is not a valid float" },
        { "INCRBYFLOAT f inf", "-ERR increment would produce NaN or Infinity" },
        { "INCRBYFLOAT t 0.5", "$3|8.5" },
        { "TTL t", ":100" },
    };

    (void)state;
    RUN(lines);
}

static void test_parts_of_strings(void **state)
{
    static const struct line lines[] = {
        { "APPEND a hello", ":5" },
        { "APPEND a world", ":10" },
        { "STRLEN a", ":10" },
        { "STRLEN none", ":0" },
        { "GETRANGE a 0 4", "$5|hello" },
        { "GETRANGE a -5 -1", "$5|world" },
        { "GETRANGE a -1 -5", "$0|" },
        { "GETRANGE a 3 100", "$7|loworld" },
        { "GETRANGE a -100 1", "$2|he" },
        { "GETRANGE none 0 -1", "$0|" },
        { "GETRANGE a x 1", "-ERR value is not an integer or out of range" },
        { "SUBSTR a 0 0", "$1|h" },
        { "SETRANGE a 5 WORLD!", ":11" },
        { "GET a", "$11|helloWORLD!" },
        { "SETRANGE b 0 \"\"", ":0" },
        { "EXISTS b", ":0" },
        { "SETRANGE a 3 \"\"", ":11" },
        { "SETRANGE a -1 x", "-ERR offset is out of range" },
        { "SETRANGE a 536870912 x",
          "-ERR string exceeds maximum allowed size (proto-max-bulk-len)" },
        { "SETRANGE none 536870912 x",
          "-ERR string exceeds maximum allowed size (proto-max-bulk-len)" },
        { "SETRANGE long 5000 x", ":5001" },
        { "GETRANGE long 5000 5000", "$1|x" },
        { "STRLEN long", ":5001" },
        { "APPEND long yz", ":5003" },
        { "GETRANGE long -3 -1", "$3|xyz" },
        { "SETEX a 100 x", "+OK" },
        { "APPEND a y", ":2" },
        { "TTL a", ":100" },
    };

    (void)state;
    RUN(lines);
}

static void test_expiry(void **state)
{
    static const struct line lines[] = {
        { "EXPIRE a 10", ":0" },
        { "TTL a", ":-2" },
        { "SET a 1", "+OK" },
        { "EXPIRE a 10 XX", ":0" },
        { "EXPIRE a 10 GT", ":0" },
        { "EXPIRE a 10 LT", ":1" },
        { "EXPIRE a 10 NX", ":0" },
        { "EXPIRE a 20 LT", ":0" },
        { "EXPIRE a 20 gt", ":1" },
        { "TTL a", ":20" },
        { "PERSIST a", ":1" },
        { "PERSIST a", ":0" },
        { "PEXPIRE a 1500", ":1" },
        { "PTTL a", ":1500" },
        { "TTL a", ":2" },
        { "EXPIREAT a 1700000060", ":1" },
        { "TTL a", ":60" },
        { "PEXPIREAT a 1700000060499", ":1" },
        { "EXPIRETIME a", ":1700000060" },
        { "PEXPIRETIME a", ":1700000060499" },
        { "EXPIRE a 10 NX XX",
          "-ERR NX and XX, GT or LT options at the same time are not compatible" },
        { "EXPIRE a 10 GT LT", "-ERR GT and LT options at the same time are not compatible" },
        { "EXPIRE a 10 foo", "-ERR Unsupported option foo" },
        { "EXPIRE a x", "-ERR value is not an integer or out of range" },
        { "EXPIRE a 9223372036854775807", "-ERR invalid expire time in 'expire' command" },
        { "PEXPIRE a 9223372036854775807", "-ERR invalid expire time in 'pexpire' command" },
        { "EXPIRE a -1", ":1" },
        { "EXISTS a", ":0" },
        { "EXPIRETIME a", ":-2" },
        { "SET a 1", "+OK" },
        { "EXPIREAT a 1", ":1" },
        { "GET a", "_" },
    };

    (void)state;
    RUN(lines);
}

static void test_keys(void **state)
{
    static const struct line lines[] = {
        { "MSET a 1 b 2 c 3", "+OK" },
        { "EXISTS a a none", ":2" },
        { "TOUCH a b none", ":2" },
        { "TYPE a", "+string" },
        { "TYPE none", "+none" },
        { "DEL a a none", ":1" },
        { "UNLINK b c", ":2" },
        { "DBSIZE", ":0" },
        { "RANDOMKEY", "_" },
        { "KEYS *", "*0" },
        { "SETEX a 100 1", "+OK" },
        { "RANDOMKEY", "$1|a" },
        { "RENAME none x", "-ERR no such key" },
        { "RENAME a b", "+OK" },
        { "TTL b", ":100" },
        { "RENAME b b", "+OK" },
        { "RENAMENX b b", ":0" },
        { "SET c 3", "+OK" },
        { "RENAMENX b c", ":0" },
        { "RENAMENX b d", ":1" },
        { "RENAME d c", "+OK" },
        { "TTL c", ":100" },
        { "GET c", "$1|1" },
        { "DBSIZE", ":1" },
        { "COPY c d", ":1" },
        { "TTL d", ":100" },
        { "COPY c d", ":0" },
        { "COPY none d", ":0" },
        { "SET c 4", "+OK" },
        { "COPY c d REPLACE", ":1" },
        { "TTL d", ":-1" },
        { "COPY c d DB 0 replace", ":1" },
        { "COPY c d DB 1", "-ERR DB index is out of range" },
        { "COPY c c", "-ERR source and destination objects are the same" },
        { "COPY c d nonsense", "-ERR syntax error" },
        { "FLUSHALL x", "-ERR syntax error" },
        { "FLUSHDB ASYNC", "+OK" },
        { "DBSIZE", ":0" },
        { "SET a 1", "+OK" },
        { "FLUSHALL", "+OK" },
        { "EXISTS a", ":0" },
        { "TIME", "*2|$10|1700000000|$1|0" },
    };

    (void)state;
    RUN(lines);
}

static void test_scan(void **state)
{
    static const struct line lines[] = {
        { "SCAN 0", "*2|$1|0|*0" },
        { "SCAN x", "-ERR invalid cursor" },
        { "SCAN 99999999999999999999", "-ERR invalid cursor" },
        { "SET foo 1", "+OK" },
        { "SCAN 0 COUNT 100", "*2|$1|0|*1|$3|foo" },
        { "SCAN 0 COUNT 0", "-ERR syntax error" },
        { "SCAN 0 COUNT x", "-ERR value is not an integer or out of range" },
        { "SCAN 0 COUNT", "-ERR syntax error" },
        { "SCAN 0 MATCH f* COUNT 100", "*2|$1|0|*1|$3|foo" },
        { "SCAN 0 MATCH g* COUNT 100", "*2|$1|0|*0" },
        { "SCAN 0 TYPE string COUNT 100", "*2|$1|0|*1|$3|foo" },
        { "SCAN 0 TYPE list COUNT 100", "*2|$1|0|*0" },
        { "SCAN 18446744073709551615", "*2|$1|0|*0" },
        { "KEYS f?o", "*1|$3|foo" },
        { "KEYS [a-g]o*", "*1|$3|foo" },
        { "KEYS [^f]oo", "*0" },
        { "KEYS f\\oo", "*1|$3|foo" },
        { "KEYS *o*o*", "*1|$3|foo" },
        { "KEYS *x", "*0" },
    };

    (void)state;
    RUN(lines);
}

static void test_object(void **state)
{
    static const struct line lines[] = {
        { "MSET i 12 s hello", "+OK" },
        { "OBJECT ENCODING i", "$3|int" },
        { "OBJECT encoding s", "$6|embstr" },
        { "OBJECT ENCODING none", "_" },
        { "OBJECT REFCOUNT s", ":1" },
        { "OBJECT IDLETIME s", ":0" },
        { "OBJECT foo s", "-ERR unknown subcommand 'foo'. Try OBJECT HELP." },
        { "OBJECT ENCODING", "-ERR wrong number of arguments for 'object|encoding' command" },
    };

    (void)state;
    RUN(lines);
}

/* A pattern of stars, which made matchers that recurse take for ever. */
static void test_match_is_quick(void **state)
{
    struct kv_fixture f;
    char pattern[201];
    struct bytes argv[] = { bytes_string("KEYS"), bytes_of(pattern, 200) };
    char name[1000];

    (void)state;
    for (int i = 0; i < 200; i += 2)
        pattern[i] = '*', pattern[i + 1] = 'a';
    pattern[199] = 'b';
    memset(name, 'a', sizeof name);
    kv_open(&f);
    kv_set(&f, bytes_of(name, sizeof name), bytes_string("1"));
    kv_call_words(&f, 2, argv);
    assert_string_equal(kv_reply_line(&f), "*0");
    kv_close(&f);
}

/* Values keep their content on every way across the border of what is kept inline. */
static void test_values_of_all_sizes(void **state)
{
    static uint8_t model[20000];
    struct random random = random_seeded(7);
    struct kv_fixture f;
    size_t size = 0;

    (void)state;
    kv_open(&f);
    for (int i = 0; i < 3000; i++) {
        size_t offset = random_below(&random, 40) ? random_below(&random, 3000) : 0;
        size_t bytes = random_below(&random, random_below(&random, 10) ? 50 : 3000) + 1;
        char at[32];
        struct bytes part;

        for (size_t j = 0; j < bytes; j++)
            model[10000 + j] = (uint8_t)random_next(&random);
        part = bytes_of(model + 10000, bytes);
        if (i % 7 == 0) {
            memcpy(model, part.data, size = bytes);
            kv_set(&f, bytes_string("k"), part);
        } else {
            struct bytes argv[] = { bytes_string("SETRANGE"), bytes_string("k"), { 0 }, part };

            snprintf(at, sizeof at, "%zu", offset);
            argv[2] = bytes_string(at);
            kv_call_words(&f, 4, argv);
            if (offset > size)
                memset(model + size, 0, offset - size);
            memcpy(model + offset, part.data, bytes);
            size = offset + bytes > size ? offset + bytes : size;
        }
        if (i % 5 == 0)
            kv_say(&f, i % 2 ? "EXPIRE k 100" : "PERSIST k");
        if (i % 11 == 0)
            kv_say(&f, "COPY k k2 REPLACE");
        kv_say(&f, "GETRANGE k 0 -1");
        assert_true(buffer_size(&f.reply) > size + 2);
        assert_memory_equal(buffer_head(&f.reply) + buffer_size(&f.reply) - size - 2, model, size);
    }
    kv_close(&f);
}

/* Large values that COPY shares part when one of them is written to. */
static void test_copy_of_large_value(void **state)
{
    static char x[5001], y[5001];
    const struct bytes a = bytes_string("a"), b = bytes_string("b");
    struct bytes get[] = { bytes_string("GETRANGE"), b, bytes_string("0"), bytes_string("-1") };
    struct kv_fixture f;

    (void)state;
    memset(x, 'x', 5000);
    memset(y, 'y', 5000);
    kv_open(&f);
    for (int i = 0; i < 3; i++) {
        kv_set(&f, a, bytes_string(x));
        kv_say(&f, "COPY a b REPLACE");
        if (i == 0)
            kv_set(&f, a, bytes_string(y));
        else
            kv_say(&f, i == 1 ? "APPEND a y" : "SETRANGE a 100 y");
        kv_call_words(&f, 4, get);
        assert_memory_equal(buffer_head(&f.reply), "$5000\r\n", 7);
        assert_memory_equal(buffer_head(&f.reply) + 7, x, 5000);
    }
    kv_close(&f);
}

/* Not the caller's fault to check: a wrong command changes nothing. */
static void test_malformed(void **state)
{
    struct bytes set[] = { bytes_string("SET"), bytes_string("a") };
    struct service_entry entry = { .index = 1, .time_us = 1, .argc = 2, .argv = set };
    struct kv_fixture f;

    (void)state;
    kv_open(&f);
    f.service->execute(f.state, &entry, &f.reply);
    assert_string_equal(kv_reply_line(&f), "-ERR wrong number of arguments for 'set' command");
    buffer_clear(&f.reply, 0);
    entry.argc = 1;
    set[0] = bytes_string("FLUSHALL");
    f.service->query(f.state, &entry, &f.reply);
    assert_string_equal(kv_reply_line(&f), "-ERR 'flushall' writes, and this request only reads");
    assert_int_equal(kv_digest_of(&f), 0);
    kv_close(&f);
}

static void test_info(void **state)
{
    struct kv_fixture f;

    (void)state;
    kv_open(&f);
    kv_say(&f, "MSET a 1 b 2");
    kv_say(&f, "EXPIRE a 10");
    buffer_clear(&f.reply, 0);
    f.service->info(f.state, &f.reply);
    assert_non_null(strstr(kv_reply_line(&f), "db0:keys=2,expires=1,avg_ttl=0"));
    kv_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_and_get),
        cmocka_unit_test(test_relatives_of_set),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_parts_of_strings),
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_scan),
        cmocka_unit_test(test_object),
        cmocka_unit_test(test_match_is_quick),
        cmocka_unit_test(test_values_of_all_sizes),
        cmocka_unit_test(test_copy_of_large_value),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_info),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
