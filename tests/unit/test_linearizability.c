/* The linearizability checker on histories whose verdict is known: small ones from the literature,
 * and those of a register that is linearizable by construction, as they are and with one lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/random.h"
#include "tests/linearizability/model.h"
#include "tests/linearizability/record.h"

#define STATES_MAX 100000u

/* ------------------------------------------------------------------ small histories, as text */

static enum error_code read_text(struct record *record, const char *text, struct error *error)
{
    char path[] = "/tmp/test_linearizability.XXXXXX";
    int fd = mkstemp(path);
    enum error_code code;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(close(fd), 0);
    code = record_read(record, path, error);
    assert_int_equal(unlink(path), 0);
    return code;
}

/* Checks a history; the line that nothing fits, or 0 when it is linearizable. */
static uint32_t blocked_line(const char *text)
{
    struct linear_result result;
    struct record record;
    struct error error = { .code = ERROR_NONE };
    uint32_t line = 0;

    if (read_text(&record, text, &error) != ERROR_NONE)
        fail_msg("%s", error.text);
    (void)linear_check(record.operations, record.count, STATES_MAX, &result);
    assert_int_not_equal(result.verdict, LINEAR_UNDECIDED);
    if (result.verdict == LINEAR_NO)
        line = record.lines[result.operation].number;
    record_free(&record);
    return line;
}

static void good(const char *text)
{
    assert_int_equal(blocked_line(text), 0);
}

static void bad(uint32_t line, const char *text)
{
    assert_int_equal(blocked_line(text), line);
}

/* One after another, reads see the last write. */
static void test_sequential(void **state)
{
    (void)state;
    good("");
    good("1 k get - (nil) 1 2\n"
         "1 k set a - 3 4\n"
         "1 k get - a 5 6\n"
         "1 k del - 1 7 8\n"
         "1 k get - (nil) 9 10\n");
}

/* Herlihy and Wing, 1990, figure 2: while a write is under way reads may see it or not, but once
 * one has seen it no later one may not. */
static void test_read_overlaps_write(void **state)
{
    (void)state;
    good("1 k set 0 - 0 1\n"
         "1 k set 1 - 10 40\n"
         "2 k get - 0 11 15\n"
         "2 k get - 1 20 25\n"
         "3 k get - 1 30 35\n");
    bad(5, "1 k set 0 - 0 1\n"
           "1 k set 1 - 10 40\n"
           "2 k get - 0 11 15\n"
           "2 k get - 1 20 25\n"
           "3 k get - 0 30 35\n");
}

/* A read that begins after a write has returned must see it. */
static void test_stale_read(void **state)
{
    (void)state;
    bad(3, "1 k set a - 0 10\n"
           "1 k set b - 20 30\n"
           "2 k get - a 31 40\n");
    good("1 k set a - 0 10\n"
         "1 k set b - 20 32\n"
         "2 k get - a 31 40\n");
}

/* Real time orders writes of different clients, too. */
static void test_order_of_writes(void **state)
{
    (void)state;
    bad(3, "1 k set a - 0 10\n"
           "2 k set b - 11 20\n"
           "3 k get - a 30 40\n"
           "3 k get - b 41 50\n");
    good("1 k set a - 0 12\n"
         "2 k set b - 11 20\n"
         "3 k get - a 30 40\n");
}

/* Two readers must see two writes in the same order. */
static void test_same_order_for_all(void **state)
{
    (void)state;
    bad(6, "1 k set a - 0 100\n"
           "2 k set b - 0 100\n"
           "3 k get - a 10 20\n"
           "4 k get - a 12 18\n"
           "3 k get - b 30 40\n"
           "4 k get - a 50 60\n");
}

static void test_lost_update(void **state)
{
    (void)state;
    bad(2, "1 k incrby 1 1 0 10\n"
           "2 k incrby 1 1 5 15\n");
    bad(3, "1 k append ab 2 0 10\n"
           "2 k append cd 4 5 15\n"
           "3 k get - cd 20 30\n");
    good("1 k incrby 1 2 0 10\n"
         "2 k incrby 1 1 5 15\n"
         "3 k get - 2 20 30\n");
}

/* What a retry executes a second time. */
static void test_executed_twice(void **state)
{
    (void)state;
    bad(3, "1 k set 5 - 0 1\n"
           "1 k incrby 1 6 2 3\n"
           "2 k get - 7 4 5\n");
    bad(2, "1 k append ab 2 0 10\n"
           "2 k get - abab 20 30\n");
    good("1 k append ab 2 0 10\n"
         "1 k append ab - 11 unknown\n"
         "2 k get - abab 20 30\n");
    /* Once is what the unknown one may do. */
    bad(3, "1 k append ab 2 0 10\n"
           "1 k append ab - 11 unknown\n"
           "2 k get - ababab 20 30\n");
}

/* An unknown write may happen late, or never; but when it was seen, it has happened. */
static void test_unknown_write(void **state)
{
    (void)state;
    good("1 k set a - 0 10\n"
         "2 k set b - 20 unknown\n"
         "1 k get - a 30 40\n"
         "1 k get - a 50 60\n");
    good("1 k set a - 0 10\n"
         "2 k set b - 20 unknown\n"
         "1 k get - a 30 40\n"
         "1 k get - b 50 60\n");
    bad(4, "1 k set a - 0 10\n"
           "2 k set b - 20 unknown\n"
           "1 k get - b 30 40\n"
           "1 k get - a 50 60\n");
    /* Not before it was asked for. */
    bad(2, "1 k set a - 0 10\n"
           "1 k get - b 15 19\n"
           "2 k set b - 20 unknown\n");
}

static void test_conditions(void **state)
{
    (void)state;
    good("1 k setnx a 1 0 10\n"
         "2 k setnx b 0 5 15\n"
         "1 k setxx c 1 20 30\n"
         "1 k getset d c 31 32\n"
         "1 k del - 1 33 34\n"
         "1 k setxx e 0 35 36\n");
    bad(2, "1 k setnx a 1 0 10\n"
           "2 k setnx b 1 5 15\n");
    bad(3, "1 k set a - 0 1\n"
           "1 k getset b a 10 20\n"
           "2 k getset c a 12 22\n");
    /* A delete that nobody heard of explains both. */
    good("1 k setnx a 1 0 10\n"
         "3 k del - - 2 unknown\n"
         "2 k setnx b 1 11 15\n");
}

/* Each key is judged by itself. */
static void test_keys(void **state)
{
    (void)state;
    good("1 k set a - 0 10\n"
         "2 l get - (nil) 20 30\n");
    bad(4, "1 k set a - 0 10\n"
           "1 l set b - 0 10\n"
           "2 l get - b 20 30\n"
           "2 k get - (nil) 20 30\n");
}

/* Also what cannot be decided within the bound is said. */
static void test_undecided(void **state)
{
    struct linear_operation o[24];
    struct linear_result result;

    (void)state;
    for (uint32_t i = 0; i < 23; i++)
        o[i] = (struct linear_operation){
            .kind = LINEAR_SWAP,
            .argument = linear_number(i + 1),
            .result = linear_number(i + 100),
            .returned_ns = LINEAR_UNKNOWN,
        };
    o[23] = (struct linear_operation){
        .kind = LINEAR_READ, .result = linear_number(99), .invoked_ns = 1, .returned_ns = 2
    };
    assert_int_equal(linear_check(o, 24, 1000, &result), LINEAR_UNDECIDED);
    assert_int_equal(result.operation, LINEAR_NONE);
}

static void test_wrong_records(void **state)
{
    static const char *const lines[] = {
        "1 k set a - 0",
        "1 k set a - 0 1 2",
        "1 k put a - 0 1",
        "1 k get a b 0 1",
        "1 k set a ok 0 1",
        "1 k set a - 2 1",
        "1 k set a - x 1",
        "1 k set a - -1 1",
        "x k set a - 0 1",
        "1 k set %4 - 0 1",
        "1 k set %zz - 0 1",
        "1 k set - - 0 1",
        "1 k incrby a 1 0 1",
        "1 k get - a 0 unknown",
        "1 k append a x 0 1",
        "1 k set a\tb - 0 1",
        "4294967296 k get - a 0 1",
        "1 k incrby 99999999999999999999 1 0 1",
        "1 k incrby 1 1 0 1\n1 k append a 2 2 3",
        "1 k incrby 1 1 0 1\n1 k set a - 2 3",
    };
    struct error error = { .code = ERROR_NONE };
    struct record record;

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        if (read_text(&record, lines[i], &error) != ERROR_CONFIG)
            fail_msg("taken: %s", lines[i]);
        record_free(&record);
    }
    assert_int_equal(read_text(&record, "# no newline at the end\n\n1 %41 set a%20b - 0 1", &error),
                     ERROR_NONE);
    assert_int_equal(record.count, 1);
    assert_true(value_equal(record.operations[0].argument, linear_text(bytes_string("a b"))));
    record_free(&record);
    assert_int_equal(record_read(&record, "/no/such/file", &error), ERROR_SYSTEM);
    record_free(&record);
}

static const char *explain_name(void *context, uint32_t operation)
{
    const char *const *names = context;

    return names[operation];
}

/* What is shown of a violation: what nothing fits, what it saw, what is in its way. */
static void test_explanation(void **state)
{
    const char *names[] = { "write a", "write b", "read a", "write c", "write d" };
    struct linear_value a = linear_number(1), b = linear_number(2), c = linear_number(3);
    struct linear_operation o[] = {
        { .kind = LINEAR_WRITE, .argument = a, .invoked_ns = 0, .returned_ns = 1 },
        { .kind = LINEAR_WRITE, .argument = b, .invoked_ns = 2, .returned_ns = 3 },
        { .kind = LINEAR_READ, .result = a, .invoked_ns = 4, .returned_ns = 5 },
        { .kind = LINEAR_WRITE, .argument = c, .invoked_ns = 4, .returned_ns = 9 },
        { .kind = LINEAR_WRITE, .argument = c, .invoked_ns = 2, .returned_ns = LINEAR_UNKNOWN },
    };
    struct linear_result result;
    char text[1000] = "";
    FILE *out = fmemopen(text, sizeof text, "w");

    (void)state;
    assert_non_null(out);
    assert_int_equal(linear_check(o, 5, STATES_MAX, &result), LINEAR_NO);
    linear_explain(out, o, 5, &result, explain_name, (void *)names);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, "up to the return of this operation no order fits:\n"
                              "    read a\n"
                              "what it saw was made by:\n"
                              "    write a\n"
                              "without it there is an order, in which the last change is:\n"
                              "    write b\n"
                              "it overlaps:\n"
                              "    write c\n"
                              "these may have happened by then, or not:\n"
                              "    write d\n");
}

/* ------------------------------------------------------------------ histories of chance */

struct shape {
    uint32_t count, keys, clients;
    enum linear_kind write; /* what is written with */
    uint32_t values;        /* different ones written, 0: each once; of additions: up to 1 more */
    uint32_t unknown_share; /* one in so many has an unknown outcome; 0: none */
};

/* Operations of a real register: each happens at a moment of its own, within its times. */
static struct linear_operation *history_of_chance(const struct shape *shape, struct random *random)
{
    struct linear_operation *history = calloc(shape->count, sizeof *history);
    struct linear_value *values = calloc(shape->keys, sizeof *values);

    assert_non_null(history);
    assert_non_null(values);
    for (uint32_t i = 0; i < shape->count; i++) {
        struct linear_operation *o = &history[i];
        uint64_t at = (i + 1) * UINT64_C(100), spread = shape->clients * UINT64_C(50);
        struct linear_value next;
        char text[24];

        o->key = (uint32_t)random_below(random, shape->keys);
        o->kind = random_below(random, 2) ? shape->write : LINEAR_READ;
        (void)snprintf(text, sizeof text, "%u;",
                       shape->values ? (uint32_t)random_below(random, shape->values) : i);
        o->argument = o->kind == LINEAR_ADD
                          ? linear_number(1 + (int64_t)random_below(random, shape->values + 1))
                          : linear_text(bytes_string(text));
        o->invoked_ns = at - random_below(random, at < spread ? at : spread);
        o->returned_ns = at + random_below(random, spread);
        if (shape->unknown_share && o->kind != LINEAR_READ &&
            random_below(random, shape->unknown_share) == 0) {
            o->returned_ns = LINEAR_UNKNOWN;
            if (random_below(random, 2))
                continue; /* it never happens */
        }
        /* Any result would do to find out what comes after: that of unknown outcome. */
        next = values[o->key];
        if (o->kind != LINEAR_READ) {
            struct linear_operation effect = *o;

            effect.returned_ns = LINEAR_UNKNOWN;
            assert_true(model_step(&effect, values[o->key], &next));
        }
        o->result = next;
        if (o->kind == LINEAR_APPEND)
            o->result = linear_number((int64_t)next.size);
        else if (o->kind == LINEAR_SWAP)
            o->result = values[o->key];
        values[o->key] = next;
    }
    free(values);
    return history;
}

/* A read some way into the history of a key sees what is not there any more: another read's result
 * from before the last completed write that lies between them. */
static bool put_lie(struct linear_operation *history, uint32_t count, struct random *random)
{
    uint32_t start = (uint32_t)random_below(random, count);

    for (uint32_t late = start; late < count; late++) {
        if (history[late].kind != LINEAR_READ)
            continue;
        for (uint32_t middle = late; middle-- > 0;) {
            const struct linear_operation *m = &history[middle];

            if (m->key != history[late].key || is_pure(m) ||
                m->returned_ns >= history[late].invoked_ns)
                continue;
            for (uint32_t early = middle; early-- > 0;)
                if (history[early].key == m->key && history[early].kind == LINEAR_READ &&
                    !is_absent(history[early].result) &&
                    history[early].returned_ns < m->invoked_ns) {
                    history[late].result = history[early].result;
                    return true;
                }
        }
    }
    return false;
}

static const struct shape SHAPES[] = {
    { 60, 1, 3, LINEAR_WRITE, 0, 0 },   { 60, 1, 8, LINEAR_WRITE, 0, 8 },
    { 40, 1, 3, LINEAR_WRITE, 3, 8 },   { 60, 1, 5, LINEAR_APPEND, 0, 0 },
    { 60, 1, 5, LINEAR_APPEND, 0, 8 },  { 60, 1, 5, LINEAR_ADD, 2, 8 },
    { 200, 3, 6, LINEAR_APPEND, 4, 9 }, { 60, 1, 4, LINEAR_SWAP, 0, 0 },
    { 40, 1, 3, LINEAR_SWAP, 3, 10 },   { 300, 8, 10, LINEAR_WRITE, 0, 4 },
};

#define SHAPE_COUNT (sizeof SHAPES / sizeof SHAPES[0])

/* Whatever the delays, what a register did is linearizable. */
static void test_real_registers_pass(void **state)
{
    struct linear_result result;

    (void)state;
    for (uint64_t seed = 1; seed <= 1000; seed++) {
        const struct shape *shape = &SHAPES[seed % SHAPE_COUNT];
        struct random random = random_seeded(seed);
        struct linear_operation *history = history_of_chance(shape, &random);

        if (linear_check(history, shape->count, STATES_MAX, &result) != LINEAR_YES)
            fail_msg("seed %llu: verdict %d at operation %u", (unsigned long long)seed,
                     result.verdict, result.operation);
        free(history);
    }
}

/* One stale read is found, where values are written once: then it is certain to be a lie. */
static void test_one_lie_fails(void **state)
{
    struct linear_result result;
    uint32_t lies = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 1000; seed++) {
        const struct shape *shape = &SHAPES[seed % SHAPE_COUNT];
        struct random random = random_seeded(seed);
        struct linear_operation *history = history_of_chance(shape, &random);

        if ((shape->values == 0 || shape->write == LINEAR_ADD) &&
            put_lie(history, shape->count, &random)) {
            lies++;
            if (linear_check(history, shape->count, STATES_MAX, &result) != LINEAR_NO)
                fail_msg("seed %llu: the lie was not found", (unsigned long long)seed);
        }
        free(history);
    }
    assert_true(lies > 300);
}

/* ------------------------------------------------------------------ values that expire */

#define EXPIRING_COUNT 1000u /* operations, and as many expiries */

static struct linear_value told_of(const struct linear_operation *o, struct linear_value value)
{
    switch (o->kind) {
    case LINEAR_READ:
    case LINEAR_SWAP: return value;
    case LINEAR_DELETE: return linear_number(!is_absent(value));
    case LINEAR_WRITE_IF_ABSENT: return linear_number(is_absent(value));
    default: return LINEAR_ABSENT;
    }
}

/* A register that is used in many ways; whatever is asked for may let the value expire later. */
static struct linear_operation *expiring_history(struct random *random)
{
    static const enum linear_kind kinds[] = { LINEAR_READ,  LINEAR_READ,           LINEAR_WRITE,
                                              LINEAR_WRITE, LINEAR_DELETE,         LINEAR_SWAP,
                                              LINEAR_WRITE, LINEAR_WRITE_IF_ABSENT };
    struct linear_operation *history = calloc(EXPIRING_COUNT, 2 * sizeof *history);
    struct linear_value value = LINEAR_ABSENT;

    assert_non_null(history);
    for (uint32_t i = 0; i < EXPIRING_COUNT; i++) {
        struct linear_operation *o = &history[(size_t)2 * i], *expiry = o + 1;
        uint64_t at = 1000 + i * UINT64_C(100);
        struct linear_operation effect = {
            .kind = kinds[random_below(random, sizeof kinds / sizeof kinds[0])],
            .argument = linear_number(i),
            .returned_ns = LINEAR_UNKNOWN,
        };

        /* That of the one before has not been used. */
        if (i > 0 && random_below(random, 12) == 0)
            value = LINEAR_ABSENT;
        *o = effect;
        o->result = told_of(o, value);
        o->invoked_ns = at - random_below(random, 300);
        o->returned_ns = at + random_below(random, 300);
        (void)model_step(&effect, value, &value);
        *expiry = (struct linear_operation){ .kind = LINEAR_DELETE,
                                             .invoked_ns = at,
                                             .returned_ns = LINEAR_UNKNOWN };
    }
    return history;
}

/* However many expiries there are to choose from, an order is found, and a lie too. */
static void test_expiries(void **state)
{
    struct linear_result result;

    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct random random = random_seeded(seed);
        struct linear_operation *history = expiring_history(&random);

        if (linear_check(history, 2 * EXPIRING_COUNT, STATES_MAX, &result) != LINEAR_YES)
            fail_msg("seed %llu: verdict %d", (unsigned long long)seed, result.verdict);
        assert_true(put_lie(history + EXPIRING_COUNT, EXPIRING_COUNT, &random));
        if (linear_check(history, 2 * EXPIRING_COUNT, STATES_MAX, &result) != LINEAR_NO)
            fail_msg("seed %llu: verdict %d of a lie", (unsigned long long)seed, result.verdict);
        free(history);
    }
}

/* ------------------------------------------------------------------ appends that nobody saw */

#define PIECES     14u /* appends of unknown outcome: "00;", "01;", … */
#define PIECE_SIZE 3u

/* Writes what a line says of appends that began in that order. */
static void pieces_begin(struct buffer *text)
{
    for (uint32_t i = 0; i < PIECES; i++)
        buffer_format(text, "1 k append %02u%%3b - %u unknown\n", i, i);
}

/* Writes a read of pieces in an order that is neither that of the appends nor its opposite. */
static void pieces_read(struct buffer *text, uint32_t count, uint32_t from_ns, uint32_t to_ns)
{
    buffer_append_string(text, "2 k get - ");
    for (uint32_t i = 0; i < count; i++)
        buffer_format(text, "%02u%%3b", (5 * i + 3) % PIECES);
    buffer_format(text, " %u %u\n", from_ns, to_ns);
}

static uint32_t blocked_line_of(struct buffer *text)
{
    uint32_t line;

    buffer_append(text, "", 1);
    line = blocked_line((const char *)buffer_head(text));
    buffer_free(text);
    return line;
}

/* Appends that nobody was told of, in an order of their own, are found where a read saw them (the
 * simulator, seed 5020318); and where they cannot have been. */
static void test_appends_found_by_read(void **state)
{
    struct buffer text = { 0 };

    (void)state;
    pieces_begin(&text);
    pieces_read(&text, 9, 100, 110);
    pieces_read(&text, 11, 120, 130);
    assert_int_equal(blocked_line_of(&text), 0);

    pieces_begin(&text);
    pieces_read(&text, 9, 100, 110);
    buffer_format(&text, "1 k append aa%%3b %u 120 130\n", 11 * PIECE_SIZE);
    pieces_read(&text, 11, 140, 150);
    assert_int_equal(blocked_line_of(&text), PIECES + 3);
}

/* Where no read follows, only how many there were is told; that is tried out in the time there is.
 */
static void test_appends_not_read(void **state)
{
    struct buffer text = { 0 };

    (void)state;
    pieces_begin(&text);
    buffer_format(&text, "1 k append aa%%3b %u 100 110\n", 8 * PIECE_SIZE);
    assert_int_equal(blocked_line_of(&text), 0);

    pieces_begin(&text);
    buffer_format(&text, "1 k append aa%%3b %u 100 110\n", 8 * PIECE_SIZE + 1);
    assert_int_equal(blocked_line_of(&text), PIECES + 1);
}

/* ------------------------------------------------------------------ against all orders */

#define VARIANTS 9u /* of histories, by what is in them */

/* Tries each order, without any cleverness. */
static bool any_order(const struct linear_operation *o, uint32_t count, uint32_t left,
                      struct linear_value value)
{
    uint64_t first_return = LINEAR_UNKNOWN;
    struct linear_value next;

    for (uint32_t i = 0; i < count; i++)
        if ((left >> i & 1u) && o[i].returned_ns < first_return)
            first_return = o[i].returned_ns;
    if (first_return == LINEAR_UNKNOWN)
        return true;
    for (uint32_t i = 0; i < count; i++)
        if ((left >> i & 1u) && o[i].invoked_ns <= first_return &&
            model_step(&o[i], value, &next) && any_order(o, count, left & ~(1u << i), next))
            return true;
    return false;
}

/* A read says its text or only the fingerprint of it. */
static void text_of_chance(struct linear_operation *o, struct random *random, uint32_t count)
{
    static const char *const texts[] = {
        "a", "b", "ab", "ba", "aa", "aab", "aba", "abab", "aabba"
    };
    struct bytes seen = bytes_string(texts[random_below(random, count)]);

    o->argument = linear_text(bytes_string(texts[random_below(random, 3)]));
    o->result = o->kind == LINEAR_READ ? linear_text(seen)
                                       : linear_number(1 + (int64_t)random_below(random, 4));
    if (o->kind == LINEAR_READ && random_below(random, 2))
        o->text = seen;
}

static struct linear_operation anything(struct random *random, uint32_t variant)
{
    static const enum linear_kind kinds[VARIANTS][4] = {
        { LINEAR_READ, LINEAR_READ, LINEAR_WRITE, LINEAR_WRITE },
        { LINEAR_READ, LINEAR_APPEND, LINEAR_APPEND, LINEAR_APPEND },
        { LINEAR_READ, LINEAR_ADD, LINEAR_ADD, LINEAR_ADD },
        { LINEAR_READ, LINEAR_WRITE, LINEAR_SWAP, LINEAR_DELETE },
        { LINEAR_WRITE_IF_ABSENT, LINEAR_WRITE_IF_PRESENT, LINEAR_DELETE, LINEAR_READ },
        { LINEAR_READ, LINEAR_WRITE, LINEAR_ADD, LINEAR_DELETE },
        { LINEAR_READ, LINEAR_SWAP, LINEAR_WRITE_IF_ABSENT, LINEAR_DELETE },
        { LINEAR_SWAP, LINEAR_WRITE, LINEAR_DELETE, LINEAR_DELETE },
        { LINEAR_READ, LINEAR_APPEND, LINEAR_APPEND, LINEAR_APPEND },
    };
    struct linear_operation o = { .kind = kinds[variant][random_below(random, 4)] };
    int64_t small = (int64_t)random_below(random, 3);

    o.argument = linear_number(1 + (int64_t)random_below(random, 2));
    o.result = linear_number(small + (o.kind == LINEAR_ADD));
    if (variant == 1 || variant == 8) {
        text_of_chance(&o, random, variant == 1 ? 5 : 9);
    } else if (o.kind == LINEAR_READ && small == 0) {
        o.result = LINEAR_ABSENT;
    } else if (o.kind == LINEAR_DELETE || o.kind == LINEAR_WRITE_IF_ABSENT ||
               o.kind == LINEAR_WRITE_IF_PRESENT) {
        o.result = linear_number(small % 2);
    }
    o.invoked_ns = random_below(random, 20);
    o.returned_ns = o.invoked_ns + random_below(random, 15);
    if (o.kind != LINEAR_READ && random_below(random, variant > 5 ? 2 : 4) == 0)
        o.returned_ns = LINEAR_UNKNOWN;
    return o;
}

/* On small histories of anything, the verdict is that of trying all orders; and the operation named
 * is the first return up to which there is none. */
static void test_as_all_orders(void **state)
{
    struct random random = random_seeded(1);
    struct linear_operation o[7];
    struct linear_result result;
    uint32_t yes = 0, no = 0;

    (void)state;
    for (uint32_t round = 0; round < 36000; round++) {
        uint32_t count = 1 + (uint32_t)random_below(&random, 7);
        uint64_t last_ns;
        bool expected;

        for (uint32_t i = 0; i < count; i++)
            o[i] = anything(&random, round % VARIANTS);
        expected = any_order(o, count, (1u << count) - 1, LINEAR_ABSENT);
        if (linear_check(o, count, STATES_MAX, &result) != (expected ? LINEAR_YES : LINEAR_NO))
            fail_msg("round %u: all orders say %d", round, expected);
        *(expected ? &yes : &no) += 1;
        if (expected)
            continue;
        last_ns = o[result.operation].returned_ns;
        for (uint32_t i = 0; i < count; i++)
            if (o[i].returned_ns > last_ns)
                o[i].returned_ns = LINEAR_UNKNOWN;
        assert_false(any_order(o, count, (1u << count) - 1, LINEAR_ABSENT));
        for (uint32_t i = 0; i < count; i++)
            if (o[i].returned_ns == last_ns)
                o[i].returned_ns = LINEAR_UNKNOWN;
        assert_true(any_order(o, count, (1u << count) - 1, LINEAR_ABSENT));
    }
    assert_true(yes > 2000 && no > 2000);
}

/* ------------------------------------------------------------------ long ones */

static void check_long(const struct shape *shape, uint64_t seed)
{
    struct random random = random_seeded(seed);
    struct linear_operation *history = history_of_chance(shape, &random);
    struct linear_result result;

    assert_int_equal(linear_check(history, shape->count, LINEAR_STATES_MAX, &result), LINEAR_YES);
    assert_true(put_lie(history + shape->count / 2, shape->count / 2, &random));
    assert_int_equal(linear_check(history, shape->count, LINEAR_STATES_MAX, &result), LINEAR_NO);
    assert_true(result.operation >= shape->count / 2);
    free(history);
}

/* 100,000 operations on one key, with a thousand outcomes unknown. */
static void test_long_histories(void **state)
{
    static const struct shape shapes[] = {
        { 100000, 1, 20, LINEAR_WRITE, 0, 50 },
        { 100000, 1, 20, LINEAR_APPEND, 0, 50 },
        { 100000, 1, 20, LINEAR_ADD, 0, 50 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        check_long(&shapes[i], i + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sequential),
        cmocka_unit_test(test_read_overlaps_write),
        cmocka_unit_test(test_stale_read),
        cmocka_unit_test(test_order_of_writes),
        cmocka_unit_test(test_same_order_for_all),
        cmocka_unit_test(test_lost_update),
        cmocka_unit_test(test_executed_twice),
        cmocka_unit_test(test_unknown_write),
        cmocka_unit_test(test_conditions),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_undecided),
        cmocka_unit_test(test_wrong_records),
        cmocka_unit_test(test_explanation),
        cmocka_unit_test(test_real_registers_pass),
        cmocka_unit_test(test_one_lie_fails),
        cmocka_unit_test(test_as_all_orders),
        cmocka_unit_test(test_long_histories),
        cmocka_unit_test(test_expiries),
        cmocka_unit_test(test_appends_found_by_read),
        cmocka_unit_test(test_appends_not_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
