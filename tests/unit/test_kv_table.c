/* The tables of kv: no insertion stalls, walks miss nothing, keys expire in one order. */
#include "kv_fixture.h"

#include "server/services/kv_call.h"

#define SPLIT_MOVES_MAX 32u /* entries that one insertion or removal may move */

static struct bytes numbered(uint64_t number)
{
    static char text[32];

    return bytes_of(text,
                    (size_t)snprintf(text, sizeof text, "key:%llu", (unsigned long long)number));
}

static void set_number(struct kv_fixture *f, uint64_t number)
{
    char text[32];
    int size = snprintf(text, sizeof text, "key:%llu", (unsigned long long)number);

    kv_set(f, bytes_of(text, (size_t)size), bytes_string("v"));
}

static void del_number(struct kv_fixture *f, uint64_t number)
{
    struct bytes argv[] = { bytes_string("DEL"), numbered(number) };

    kv_call_words(f, 2, argv);
}

/* Growing to a million keys and back, the most that one command moves stays small, and so does the
 * part of the table that is empty. */
static void test_growth_in_steps(void **state)
{
    const uint64_t count = 1000000;
    const struct kv_table *table;
    struct kv_fixture f;
    uint64_t most = 0, pages = 0;

    (void)state;
    kv_open(&f);
    table = &kv_store_of(&f)->db->table;
    for (uint64_t i = 0; i < 2 * count; i++) {
        uint64_t moves = table->moves, pages_before = table->pages.count;

        if (i < count)
            set_number(&f, i);
        else
            del_number(&f, i - count);
        most = table->moves - moves > most ? table->moves - moves : most;
        pages = table->pages.count > pages ? table->pages.count : pages;
        assert_true(table->pages.count <= pages_before + 1);
        assert_true(pages_before <= table->pages.count + 2);
        assert_true(kv_table_buckets(table) >= table->count || i < KV_BUCKETS_MIN);
        assert_true(kv_table_buckets(table) <= 2 * table->count + KV_BUCKETS_MIN);
    }
    assert_in_range(most, 1, SPLIT_MOVES_MAX);
    assert_int_equal(pages, (count + 4095) / 4096);
    assert_int_equal(table->count, 0);
    assert_true(table->pages.count <= 2);
    assert_int_equal(kv_table_buckets(table), KV_BUCKETS_MIN);
    kv_close(&f);
}

/* A copy is made in the order of points, all of which lie in the table's first intervals until the
 * end: room is made by what the points foretell, so that no bucket gets long and little moves. */
static void test_restore_moves_little(void **state)
{
    const uint64_t count = 200000;
    const struct kv_table *table;
    struct buffer slice = { 0 };
    struct kv_fixture from, to;
    bool more = true;

    (void)state;
    kv_open(&from);
    kv_open(&to);
    for (uint64_t i = 0; i < count; i++)
        set_number(&from, i);
    assert_true(from.service->checkpoint_begin(from.state, 0));
    while (more) {
        buffer_clear(&slice, 1 << 20);
        more = from.service->checkpoint_slice(from.state, 64 << 10, &slice);
        assert_true(to.service->restore_slice(to.state, buffer_bytes(&slice)));
    }
    from.service->checkpoint_end(from.state);
    table = &kv_store_of(&to)->db->table;
    assert_int_equal(table->count, count);
    assert_in_range(kv_table_buckets(table), count, count + count / 10);
    assert_true(table->moves < count);
    buffer_free(&slice);
    kv_close(&from);
    kv_close(&to);
}

/* What a SCAN returned: bit i for key:i. */
struct seen {
    uint8_t *keys;
    uint64_t count;
};

/* One SCAN; returns the next cursor. */
static uint64_t scan(struct kv_fixture *f, uint64_t cursor, struct seen *seen)
{
    char words[64];
    const char *at;
    uint64_t next;

    snprintf(words, sizeof words, "SCAN %llu COUNT 20", (unsigned long long)cursor);
    kv_say(f, words);
    buffer_append(&f->reply, "", 1);
    at = strchr((const char *)buffer_head(&f->reply), '\n') + 1;
    next = strtoull(strchr(at, '\n') + 1, NULL, 10);
    while ((at = strstr(at, "key:")) != NULL) {
        at += 4;
        seen->keys[strtoull(at, NULL, 10)]++;
        seen->count++;
    }
    return next;
}

/* SCAN returns every key that is there all the time, once, while the table grows and shrinks by
 * much. */
static void scan_under_change(uint64_t keys_before, uint64_t keys_stay, int grow)
{
    const uint64_t keys_max = 200000;
    struct seen seen = { .keys = calloc(keys_max, 1) };
    struct kv_fixture f;
    uint64_t cursor = 0, next_key = keys_before, last_key = keys_before;

    kv_open(&f);
    for (uint64_t i = 0; i < keys_before; i++)
        set_number(&f, i);
    do {
        cursor = scan(&f, cursor, &seen);
        for (int i = 0; i < 60; i++)
            if (grow && next_key < keys_max)
                set_number(&f, next_key++);
            else if (!grow && last_key > keys_stay)
                del_number(&f, --last_key);
    } while (cursor != 0);
    for (uint64_t i = 0; i < keys_stay; i++)
        assert_int_equal(seen.keys[i], 1);
    free(seen.keys);
    kv_close(&f);
}

static void test_scan_while_growing(void **state)
{
    (void)state;
    scan_under_change(10, 10, 1);
    scan_under_change(1000, 1000, 1);
    scan_under_change(5000, 5000, 1);
}

static void test_scan_while_shrinking(void **state)
{
    (void)state;
    scan_under_change(20000, 100, 0);
    scan_under_change(5000, 1, 0);
}

/* A key that is due is gone for everybody at once, and removed in steps: the first to expire first.
 */
static void test_expiry_in_steps(void **state)
{
    struct kv_fixture f;

    (void)state;
    kv_open(&f);
    for (int i = 0; i < 100; i++) {
        char words[64];

        snprintf(words, sizeof words, "SET k%d v PX %d", i, 1000 + i * 37 % 100);
        kv_say(&f, words);
    }
    f.time_us += 1050000; /* those up to 1050 ms are due */
    assert_string_equal(kv_say(&f, "GET k0"), "_");
    assert_string_equal(kv_say(&f, "DBSIZE"), ":100");
    assert_true(f.service->overdue(f.state, f.time_us));
    kv_tick(&f);
    assert_string_equal(kv_say(&f, "DBSIZE"), ":80");
    assert_int_equal(kv_entry_expires_ms(kv_heap_first(&kv_store_of(&f)->db->heap)) -
                         (int64_t)(f.time_us / 1000),
                     -30);
    kv_tick(&f);
    kv_tick(&f);
    assert_string_equal(kv_say(&f, "DBSIZE"), ":49");
    assert_false(f.service->overdue(f.state, f.time_us));
    kv_close(&f);
}

/* What a write finds due it removes, whatever stands before it in the heap. */
static void test_lookup_of_due_key(void **state)
{
    struct kv_fixture f;

    (void)state;
    kv_open(&f);
    for (int i = 0; i < 50; i++) {
        char words[64];

        snprintf(words, sizeof words, "SET k%d v PX %d", i, 1000 + i);
        kv_say(&f, words);
    }
    f.time_us += 2000000;
    assert_string_equal(kv_say(&f, "APPEND k49 x"), ":1");
    assert_string_equal(kv_say(&f, "TTL k49"), ":-1");
    assert_string_equal(kv_say(&f, "DBSIZE"), ":30");
    kv_close(&f);
}

static uint64_t version(struct kv_fixture *f, const char *key)
{
    return f->service->key_version(f->state, bytes_string(key));
}

/* Each way of changing a key changes its version, and reading does not. */
static void test_version(void **state)
{
    static const char *const changes[] = {
        "SET k 1",
        "SET k 1",
        "APPEND k 2",
        "EXPIRE k 100",
        "PERSIST k",
        "INCR k",
        "DEL k",
        "SETRANGE k 5 x",
        "GETDEL k",
        "COPY other k",
        "RENAME k elsewhere",
        "SET k 1",
        "RENAME other k",
        "FLUSHALL",
        "SET k 1 PX 10",
    };
    struct kv_fixture f;
    uint64_t last;

    (void)state;
    kv_open(&f);
    kv_say(&f, "SET other 1");
    last = version(&f, "k");
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        kv_say(&f, changes[i]);
        assert_int_not_equal(version(&f, "k"), last);
        last = version(&f, "k");
        kv_say(&f, "GET k");
        kv_say(&f, "SET none 1 XX");
        kv_say(&f, "PERSIST k2");
        assert_int_equal(version(&f, "k"), last);
    }
    f.time_us += 10000;
    kv_tick(&f);
    assert_int_not_equal(version(&f, "k"), last);
    kv_close(&f);
}

/* A flushed table is freed in steps, and meanwhile all is as if it were gone. */
static void test_flush_in_steps(void **state)
{
    struct kv_fixture f;
    int steps = 0;

    (void)state;
    kv_open(&f);
    for (uint64_t i = 0; i < 20000; i++)
        set_number(&f, i);
    kv_say(&f, "EXPIRE key:1 100");
    kv_say(&f, "FLUSHALL");
    assert_string_equal(kv_say(&f, "DBSIZE"), ":0");
    set_number(&f, 1);
    assert_string_equal(kv_say(&f, "TTL key:1"), ":-1");
    assert_string_equal(kv_say(&f, "TTL key:2"), ":-2");
    for (; kv_store_of(&f)->aside; steps++)
        kv_say(&f, "GET key:1");
    assert_in_range(steps, 100, 1000);
    kv_close(&f);
}

/* RANDOMKEY finds every key in time, and none that is due. */
static void test_randomkey(void **state)
{
    struct kv_fixture f;
    uint32_t found = 0;

    (void)state;
    kv_open(&f);
    kv_say(&f, "MSET k0 v k1 v k2 v k3 v k4 v k5 v");
    kv_say(&f, "SET due v PX 1");
    for (int i = 0; i < 1000; i++) {
        const char *reply;

        f.time_us += 1000;
        reply = kv_say(&f, "RANDOMKEY");
        assert_memory_equal(reply, "$2|k", 4);
        found |= 1u << (reply[4] - '0');
    }
    assert_int_equal(found, 0x3f);
    kv_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_growth_in_steps),
        cmocka_unit_test(test_restore_moves_little),
        cmocka_unit_test(test_scan_while_growing),
        cmocka_unit_test(test_scan_while_shrinking),
        cmocka_unit_test(test_expiry_in_steps),
        cmocka_unit_test(test_lookup_of_due_key),
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_flush_in_steps),
        cmocka_unit_test(test_randomkey),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
