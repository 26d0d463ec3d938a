/* How entries are executed: sessions, transactions, queries, and checkpoints of it all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "common/resp.h"
#include "server/machine.h"

/* A service that counts: `up` adds one, `big N` answers N bytes, `bad` answers an error, `now`
 * reads. Its version of every key is the count. Each time entry adds 1000. */
struct toy {
    int64_t count, copy;
    bool copied;
};

static void *toy_create(void)
{
    return calloc(1, sizeof(struct toy));
}

static void toy_execute(void *state, const struct service_entry *entry, struct buffer *reply)
{
    struct toy *toy = state;

    if (entry->argc == 0) {
        toy->count += 1000;
    } else if (resp_is(entry->argv[0], "up")) {
        resp_write_integer(reply, ++toy->count);
    } else if (resp_is(entry->argv[0], "bad")) {
        resp_write_error(reply, "ERR bad");
    } else {
        int64_t size = 0;
        void *bytes;

        assert_true(resp_integer(entry->argv[1], &size));
        bytes = calloc(1, (size_t)size);
        assert_non_null(bytes);
        resp_write_bulk(reply, bytes_of(bytes, (size_t)size));
        free(bytes);
    }
}

static void toy_query(void *state, const struct service_entry *entry, struct buffer *reply)
{
    (void)entry;
    resp_write_integer(reply, ((struct toy *)state)->count);
}

static uint64_t toy_key_version(void *state, struct bytes key)
{
    (void)key;
    return (uint64_t)((struct toy *)state)->count;
}

static bool toy_overdue(void *state, uint64_t time_us)
{
    return time_us > 500 && ((struct toy *)state)->count < 1000;
}

static bool toy_checkpoint_begin(void *state, uint64_t base_index)
{
    struct toy *toy = state;

    if (base_index == 1) /* it does not remember that far back */
        return false;
    toy->copy = toy->count;
    toy->copied = true;
    return true;
}

static bool toy_checkpoint_slice(void *state, uint32_t budget, struct buffer *out)
{
    struct toy *toy = state;

    (void)budget;
    buffer_append(out, &toy->copy, toy->copied ? sizeof toy->copy : 0);
    toy->copied = false;
    return false;
}

static void toy_checkpoint_end(void *state)
{
    (void)state;
}

static uint64_t toy_bytes_estimated(void *state, uint64_t base_index)
{
    (void)state;
    (void)base_index;
    return 8;
}

static bool toy_restore_slice(void *state, struct bytes slice)
{
    struct toy *toy = state;

    if (slice.size != sizeof toy->count)
        return false;
    memcpy(&toy->count, slice.data, sizeof toy->count);
    return true;
}

static uint64_t toy_digest(void *state)
{
    return (uint64_t)((struct toy *)state)->count;
}

static const struct service_command toy_commands[] = {
    { "up", 1, COMMAND_WRITE, 0, 0, 0, "toy", "" },
    { "bad", 1, COMMAND_WRITE, 0, 0, 0, "toy", "" },
    { "big", 2, COMMAND_WRITE, 0, 0, 0, "toy", "" },
    { "now", -1, COMMAND_READ, 0, 0, 0, "toy", "" },
};

static const struct service toy_service = {
    .version = SERVICE_VERSION,
    .name = "toy",
    .commands = toy_commands,
    .command_count = 4,
    .create = toy_create,
    .destroy = free,
    .execute = toy_execute,
    .query = toy_query,
    .key_version = toy_key_version,
    .overdue = toy_overdue,
    .checkpoint_begin = toy_checkpoint_begin,
    .checkpoint_slice = toy_checkpoint_slice,
    .checkpoint_end = toy_checkpoint_end,
    .checkpoint_bytes_estimated = toy_bytes_estimated,
    .restore_slice = toy_restore_slice,
    .digest = toy_digest,
};

struct fixture {
    struct machine *machine;
    struct buffer request, reply;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    if (!f)
        return -1;
    f->machine = machine_new(&toy_service);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    machine_free(f->machine);
    buffer_free(&f->request);
    buffer_free(&f->reply);
    free(f);
    return 0;
}

/* Packs one command of up to two words. */
static void pack(struct fixture *f, const char *word, const char *argument)
{
    struct bytes argv[2] = { bytes_string(word), bytes_string(argument ? argument : "") };

    request_pack_command(&f->request, argument ? 2 : 1, argv);
}

static const char *reply_text(struct fixture *f)
{
    buffer_append(&f->reply, "", 1);
    return (const char *)buffer_head(&f->reply);
}

/* Executes the packed request as the next entry. */
static const char *execute(struct fixture *f, uint8_t kind, uint64_t session, uint64_t sequence)
{
    buffer_clear(&f->reply, SIZE_MAX);
    machine_execute(f->machine,
                    &(struct machine_entry){ .index = machine_index(f->machine) + 1,
                                             .time_us = 10 * machine_index(f->machine),
                                             .session = session,
                                             .sequence = sequence,
                                             .kind = kind,
                                             .request = buffer_bytes(&f->request) },
                    &f->reply);
    buffer_clear(&f->request, SIZE_MAX);
    return reply_text(f);
}

static const char *command(struct fixture *f, uint64_t session, uint64_t sequence, const char *word)
{
    pack(f, word, NULL);
    return execute(f, REQUEST_COMMAND, session, sequence);
}

static const char *query(struct fixture *f, uint8_t kind)
{
    buffer_clear(&f->reply, SIZE_MAX);
    machine_query(f->machine, kind, 0, buffer_bytes(&f->request), &f->reply);
    buffer_clear(&f->request, SIZE_MAX);
    return reply_text(f);
}

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* A sequence is executed once, however often its entry comes. */
static void test_repeat(void **state)
{
    struct fixture *f = *state;
    struct bytes reply = { 0 };

    assert_string_equal(command(f, 7, 1, "up"), ":1\r\n");
    assert_string_equal(command(f, 7, 1, "up"), ":1\r\n");
    assert_string_equal(command(f, 7, 2, "up"), ":2\r\n");
    assert_string_equal(command(f, 0, 0, "up"), ":3\r\n");
    assert_true(machine_remembered(f->machine, 7, 2, &reply));
    assert_true(bytes_equal(reply, bytes_string(":2\r\n")));
    assert_false(machine_remembered(f->machine, 7, 1, &reply));
    assert_false(machine_remembered(f->machine, 7, 3, &reply));
    assert_false(machine_remembered(f->machine, 0, 0, &reply));
    assert_int_equal(machine_index(f->machine), 4);
}

/* Requests of a forgotten session come again: none of them passes for the first of a new one. */
static void test_forgotten_repeats(void **state)
{
    struct fixture *f = *state;

    machine_free(f->machine);
    f->machine = machine_new(&toy_service);
    machine_limit_sessions(f->machine, 2);
    assert_string_equal(command(f, 7, 1, "up"), ":1\r\n");
    assert_string_equal(command(f, 7, 2, "up"), ":2\r\n");
    assert_string_equal(command(f, 8, 1, "up"), ":3\r\n");
    assert_string_equal(command(f, 9, 1, "up"), ":4\r\n");
    for (uint64_t sequence = 1; sequence <= 2; sequence++)
        assert_true(starts(command(f, 7, sequence, "up"), "-SESSIONLOST "));
    assert_true(starts(command(f, 10, 1, "up"),
                       "-SESSIONLOST session 10 is not known (any more); a new one begins with "
                       "sequence 3\r\n"));
    assert_string_equal(command(f, 10, 3, "up"), ":5\r\n");
    assert_true(starts(command(f, 7, 1, "up"), "-SESSIONLOST "));
}

/* What is certainly wrong in a session is refused, and executes nothing; a skip is no fault. */
static void test_sequences(void **state)
{
    struct fixture *f = *state;

    assert_true(starts(command(f, 7, 2, "up"), "-SESSIONLOST "));
    assert_true(starts(command(f, 7, 0, "up"), "-ERR sequence 0"));
    assert_string_equal(command(f, 7, 1, "up"), ":1\r\n");
    assert_string_equal(command(f, 7, 5, "up"), ":2\r\n");
    assert_true(starts(command(f, 7, 4, "up"), "-ERR sequence 4 is before the last"));
    assert_true(starts(command(f, 7, 6 + SESSION_SKIP_MAX, "up"), "-ERR sequence 4294967302 is "));
    assert_string_equal(command(f, 8, 1, "up"), ":3\r\n");
}

/* Of a reply that is too large to be remembered, a repeat learns that it was. */
static void test_reply_lost(void **state)
{
    struct fixture *f = *state;

    pack(f, "big", "1048576");
    assert_true(starts(execute(f, REQUEST_COMMAND, 7, 1), "$1048576\r\n"));
    pack(f, "big", "1048576");
    assert_true(starts(execute(f, REQUEST_COMMAND, 7, 1), "-REPLYLOST "));
    pack(f, "big", "1048000");
    assert_true(starts(execute(f, REQUEST_COMMAND, 7, 2), "$1048000\r\n"));
    pack(f, "big", "1048000");
    assert_true(starts(execute(f, REQUEST_COMMAND, 7, 2), "$1048000\r\n"));
}

/* What the service's table does not have never reaches the service. */
static void test_checked(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(command(f, 0, 0, "down"), "-ERR unknown command 'down'\r\n");
    assert_string_equal(command(f, 0, 0, "big"),
                        "-ERR wrong number of arguments for 'big' command\r\n");
    buffer_append_string(&f->request, "nonsense");
    assert_string_equal(execute(f, REQUEST_COMMAND, 0, 0), "-ERR malformed request\r\n");
    pack(f, "up", NULL);
    buffer_append_string(&f->request, "x");
    assert_string_equal(execute(f, REQUEST_COMMAND, 0, 0), "-ERR malformed request\r\n");
    buffer_append(&f->request, "\0\0\0\0", 4);
    assert_string_equal(execute(f, REQUEST_COMMAND, 0, 0), "-ERR malformed request\r\n");
    pack(f, "up", NULL);
    assert_string_equal(execute(f, REQUEST_READ, 0, 0), "-ERR malformed request\r\n");
    assert_string_equal(command(f, 0, 0, "UP"), ":1\r\n");
}

static void transaction_pack(struct fixture *f, uint64_t version, const char *first,
                             const char *second)
{
    request_pack_transaction_begin(&f->request, version ? 1 : 0);
    if (version)
        request_pack_transaction_watch(&f->request, version, bytes_string("key"));
    request_pack_transaction_commands(&f->request, 2);
    pack(f, first, NULL);
    pack(f, second, NULL);
}

/* One reply for each command; an error does not stop the others. */
static void test_transaction(void **state)
{
    struct fixture *f = *state;

    transaction_pack(f, 0, "bad", "up");
    assert_string_equal(execute(f, REQUEST_TRANSACTION, 7, 1), "*2\r\n-ERR bad\r\n:1\r\n");
    transaction_pack(f, 0, "bad", "up");
    assert_string_equal(execute(f, REQUEST_TRANSACTION, 7, 1), "*2\r\n-ERR bad\r\n:1\r\n");
    transaction_pack(f, 0, "nothing", "now");
    assert_string_equal(execute(f, REQUEST_TRANSACTION, 0, 0),
                        "*2\r\n-ERR unknown command 'nothing'\r\n:1\r\n");
}

/* What WATCH saw must still be so. */
static void test_watch(void **state)
{
    struct fixture *f = *state;

    command(f, 0, 0, "up");
    pack(f, "key", "other");
    assert_string_equal(query(f, REQUEST_WATCH), "*2\r\n:1\r\n:1\r\n");
    transaction_pack(f, 1, "up", "up");
    assert_string_equal(execute(f, REQUEST_TRANSACTION, 0, 0), "*2\r\n:2\r\n:3\r\n");
    transaction_pack(f, 1, "up", "up");
    assert_string_equal(execute(f, REQUEST_TRANSACTION, 0, 0), "_\r\n");
    assert_string_equal(command(f, 0, 0, "now"), ":3\r\n");
}

/* What was watched became due, and nothing that the service hears of has happened since. */
static void test_watched_is_due(void **state)
{
    struct fixture *f = *state;

    command(f, 0, 0, "up");
    while (machine_time_us(f->machine) <= 500)
        execute(f, REQUEST_MARK, 0, 0);
    transaction_pack(f, 1, "up", "up");
    assert_string_equal(execute(f, REQUEST_TRANSACTION, 0, 0), "_\r\n");
}

/* A transaction that is cut short, at any byte, executes nothing at all. */
static void test_transaction_cut(void **state)
{
    struct fixture *f = *state;
    size_t whole;

    transaction_pack(f, 1, "up", "up");
    whole = buffer_size(&f->request);
    buffer_clear(&f->request, SIZE_MAX);
    for (size_t size = 0; size < whole; size++) {
        transaction_pack(f, 1, "up", "up");
        f->request.end = f->request.start + size;
        assert_string_equal(execute(f, REQUEST_TRANSACTION, 0, 0), "-ERR malformed request\r\n");
    }
    assert_string_equal(command(f, 0, 0, "now"), ":0\r\n");
}

/* Queries change nothing: neither index nor state, and a write among them is refused. */
static void test_queries(void **state)
{
    struct fixture *f = *state;

    command(f, 0, 0, "up");
    pack(f, "now", NULL);
    assert_string_equal(query(f, REQUEST_READ), ":1\r\n");
    pack(f, "up", NULL);
    assert_true(starts(query(f, REQUEST_READ), "-ERR 'up' writes"));
    transaction_pack(f, 0, "now", "up");
    assert_true(starts(query(f, REQUEST_READ_TRANSACTION), "*2\r\n:1\r\n-ERR 'up' writes"));
    pack(f, "up", NULL);
    assert_string_equal(query(f, REQUEST_COMMAND), "-ERR malformed request\r\n");
    assert_int_equal(machine_index(f->machine), 1);
}

/* Entries of a view, a mark and the time have no reply; the time is the service's to use. */
static void test_other_kinds(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(execute(f, REQUEST_VIEW, 0, 0), "");
    assert_string_equal(execute(f, REQUEST_MARK, 0, 0), "");
    assert_false(machine_overdue(f->machine, 500));
    assert_true(machine_overdue(f->machine, 501));
    assert_string_equal(execute(f, REQUEST_TIME, 0, 0), "");
    assert_false(machine_overdue(f->machine, 501));
    assert_string_equal(command(f, 0, 0, "now"), ":1000\r\n");
    assert_int_equal(machine_index(f->machine), 4);
    assert_int_equal(machine_time_us(f->machine), 30);
}

/* What has no reply is in no session, whatever its entry says: there is nothing to remember.
 * Found by fuzz_request. */
static void test_silent_kinds_in_a_session(void **state)
{
    struct fixture *f = *state;
    struct bytes reply;

    buffer_free(&f->reply); /* a buffer without memory, as it is at the start */
    machine_execute(
        f->machine,
        &(struct machine_entry){ .index = 1, .kind = REQUEST_TIME, .session = 7, .sequence = 1 },
        &f->reply);
    assert_int_equal(buffer_size(&f->reply), 0);
    assert_false(machine_remembered(f->machine, 7, 1, &reply));
    assert_string_equal(command(f, 7, 1, "up"), ":1001\r\n");
}

/* All slices of the fixture's machine go into a copy, which is yet to say whether it takes them. */
static void restore_all(struct fixture *f, struct machine *copy)
{
    struct buffer slice = { 0 };
    bool full, more = true;

    machine_checkpoint_begin(f->machine, 0, &full);
    machine_restore_begin(copy, true);
    while (more) {
        buffer_clear(&slice, SIZE_MAX);
        more = machine_checkpoint_slice(f->machine, 1, &slice);
        assert_true(machine_restore_slice(copy, buffer_bytes(&slice)));
    }
    machine_checkpoint_end(f->machine);
    buffer_free(&slice);
}

/* Reads all slices of the fixture's machine into a copy and ends both; true when the copy takes it.
 */
static bool follow(struct fixture *f, struct machine *copy, uint64_t base, uint64_t digest_off)
{
    uint64_t index = machine_index(f->machine);
    uint64_t time_us = machine_time_us(f->machine);
    uint64_t digest = machine_digest(f->machine) + digest_off;
    struct buffer slice = { 0 };
    bool full = false;
    bool more = true;
    bool good = true;

    machine_checkpoint_begin(f->machine, base, &full);
    machine_restore_begin(copy, full);
    while (more) {
        command(f, 50 + machine_index(f->machine), 1, "up"); /* work goes on */
        buffer_clear(&slice, SIZE_MAX);
        more = machine_checkpoint_slice(f->machine, 1, &slice);
        good = machine_restore_slice(copy, buffer_bytes(&slice)) && good;
    }
    machine_checkpoint_end(f->machine);
    buffer_free(&slice);
    return machine_restore_end(copy, index, time_us, digest) && good;
}

/* A copy made while work goes on, then brought up to date with the changes, is the same, sessions
 * included. */
static void test_checkpoints(void **state)
{
    struct fixture *f = *state;
    struct machine *copy = machine_new(&toy_service);
    struct bytes reply = { 0 };

    command(f, 7, 1, "up");
    command(f, 8, 1, "up");
    assert_true(follow(f, copy, 0, 0));
    assert_int_equal(machine_index(copy), 2);
    assert_true(machine_remembered(copy, 8, 1, &reply));
    command(f, 8, 2, "up");
    assert_true(follow(f, copy, 2, 0));
    assert_true(machine_remembered(copy, 7, 1, &reply));
    assert_true(machine_remembered(copy, 8, 2, &reply));
    assert_false(machine_remembered(copy, 8, 1, &reply));
    machine_free(copy);
}

/* When the service cannot tell the changes any more, the checkpoint is full. */
static void test_changes_unknown(void **state)
{
    struct fixture *f = *state;
    struct machine *copy = machine_new(&toy_service);
    bool full = false;

    command(f, 7, 1, "up");
    command(f, 8, 1, "up");
    machine_checkpoint_begin(f->machine, 1, &full);
    assert_true(full);
    machine_checkpoint_end(f->machine);
    assert_true(follow(f, copy, 1, 0));
    machine_free(copy);
}

/* The state before all entries comes without slices. */
static void test_empty_checkpoint(void **state)
{
    struct fixture *f = *state;
    struct machine *empty = machine_new(&toy_service);

    command(f, 7, 1, "up");
    machine_restore_begin(f->machine, true);
    assert_true(machine_restore_end(f->machine, 0, 0, machine_digest(empty)));
    assert_int_equal(machine_index(f->machine), 0);
    assert_string_equal(command(f, 7, 1, "up"), ":1\r\n");
    machine_free(empty);
}

/* Whoever sends more of it than nothing does not know what it sends. */
static void test_full_checkpoint_of_nothing(void **state)
{
    struct fixture *f = *state;
    struct machine *copy = machine_new(&toy_service);
    struct machine *empty = machine_new(&toy_service);
    uint64_t digest;

    command(f, 0, 0, "up");
    digest = machine_digest(f->machine);
    assert_int_not_equal(digest, machine_digest(empty));
    restore_all(f, copy);
    assert_false(machine_restore_end(copy, 0, 0, digest));
    assert_int_equal(machine_digest(copy), machine_digest(empty));
    restore_all(f, copy);
    assert_true(machine_restore_end(copy, 1, 10, digest));
    machine_free(empty);
    machine_free(copy);
}

/* A copy that did not come to the right digest is not used: it is empty again. */
static void test_wrong_checkpoint(void **state)
{
    struct fixture *f = *state;
    struct machine *copy = machine_new(&toy_service);
    struct machine *empty = machine_new(&toy_service);

    command(f, 7, 1, "up");
    assert_false(follow(f, copy, 0, 1));
    assert_int_equal(machine_index(copy), 0);
    assert_int_equal(machine_digest(copy), machine_digest(empty));
    machine_restore_begin(copy, true);
    assert_false(machine_restore_slice(copy, bytes_of("\1toy", 4)));
    assert_false(machine_restore_slice(copy, bytes_of("\3", 1)));
    assert_false(machine_restore_end(copy, 1, 0, machine_digest(empty)));
    machine_restore_begin(copy, true); /* nothing came: not even the sessions' limits */
    assert_false(machine_restore_end(copy, 1, 0, machine_digest(empty)));
    machine_free(empty);
    machine_free(copy);
}

/* A service with a heap of items: each execution adds one. Counts what is there in all its
 * states.
 */
static uint32_t heap_states, heap_items;

static void *heap_create(void)
{
    heap_states++;
    return toy_create();
}

static void heap_execute(void *state, const struct service_entry *entry, struct buffer *reply)
{
    heap_items++;
    toy_execute(state, entry, reply);
}

static bool heap_destroy_slice(void *state, uint32_t budget)
{
    struct toy *toy = state;
    uint32_t freed = budget < toy->count ? budget : (uint32_t)toy->count;

    toy->count -= freed;
    heap_items -= freed;
    return toy->count > 0;
}

static void heap_destroy(void *state)
{
    heap_destroy_slice(state, UINT32_MAX);
    heap_states--;
    free(state);
}

static struct machine *heap_machine(struct service *heap)
{
    *heap = toy_service;
    heap->create = heap_create;
    heap->execute = heap_execute;
    heap->destroy_slice = heap_destroy_slice;
    heap->destroy = heap_destroy;
    heap_states = heap_items = 0;
    return machine_new(heap);
}

static void heap_fill(struct fixture *f, struct machine *heap, uint32_t items)
{
    struct machine *own = f->machine;

    f->machine = heap;
    for (uint32_t i = 0; i < items; i++)
        command(f, 0, 0, "up");
    f->machine = own;
}

static void empty(struct machine *m)
{
    machine_restore_begin(m, true);
    assert_true(machine_restore_end(m, 0, 0, machine_digest(m)));
}

/* What was in an emptied machine goes in steps, and a second time while the first is still
 * going. */
static void test_released_in_steps(void **state)
{
    struct fixture *f = *state;
    struct service service;
    struct machine *heap = heap_machine(&service);

    heap_fill(f, heap, 40);
    empty(heap); /* little: at once */
    assert_false(machine_releases(heap));
    heap_fill(f, heap, 1000);
    empty(heap);
    assert_in_range(heap_items, 900, 999);
    assert_true(machine_release(heap, 100));
    assert_in_range(heap_items, 800, 899);
    heap_fill(f, heap, 200);
    empty(heap);
    assert_int_equal(heap_states, 3);
    empty(heap); /* and nothing at all */
    assert_int_equal(heap_states, 3);
    for (uint32_t before = heap_items; machine_release(heap, 100); before = heap_items)
        assert_in_range(before - heap_items, 1, 100);
    assert_int_equal(heap_items, 0);
    assert_int_equal(heap_states, 1);
    machine_free(heap);
    assert_int_equal(heap_states, 0);
}

/* What comes in makes what goes go; and the end of a machine is the end of all of it. */
static void test_released_by_slices(void **state)
{
    struct fixture *f = *state;
    struct service service;
    struct machine *heap = heap_machine(&service);
    uint8_t slice[6400] = { 0 };

    heap_fill(f, heap, 1000);
    machine_restore_begin(heap, true);
    assert_int_equal(heap_items, 936);
    machine_restore_slice(heap, bytes_of(slice, sizeof slice));
    assert_in_range(heap_items, 736, 836);
    machine_free(heap);
    assert_int_equal(heap_items, 0);
    assert_int_equal(heap_states, 0);
}

int main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        STORY(test_repeat),
        STORY(test_forgotten_repeats),
        STORY(test_sequences),
        STORY(test_reply_lost),
        STORY(test_checked),
        STORY(test_transaction),
        STORY(test_watch),
        STORY(test_watched_is_due),
        STORY(test_transaction_cut),
        STORY(test_queries),
        STORY(test_other_kinds),
        STORY(test_checkpoints),
        STORY(test_changes_unknown),
        STORY(test_wrong_checkpoint),
        STORY(test_empty_checkpoint),
        STORY(test_full_checkpoint_of_nothing),
        STORY(test_silent_kinds_in_a_session),
        STORY(test_released_in_steps),
        STORY(test_released_by_slices),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
