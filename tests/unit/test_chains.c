/* What a server comes to from its disk: two chains of a checkpoint and changes, and the journal. */
#include "tests/unit/disk_fixture.h"

#include "server/recovery.h"
#include "server/server.h"
#include "server/services/kv.h"

#define LAST 100u /* entry */

struct fixture {
    char directory[64];
    struct machine *machine;
    struct segments *segments;
    struct server *server;
    uint64_t digest[LAST + 1]; /* of the state after each entry */
};

/* Nobody asks for anything here. */
static void no_reply(void *context, uint64_t client, enum outcome outcome, struct bytes reply)
{
    (void)context;
    (void)client;
    (void)outcome;
    (void)reply;
}

static struct server *renew(void *context)
{
    struct fixture *f = context;

    server_free(f->server);
    f->server = server_new(
        &(struct server_options){
            .self = NODE_SERVER(0),
            .incarnation = 11,
            .service = kv_service(),
            .server_count = 1,
            .lease_ms = 200,
            .checkpoint_interval_ms = 1000,
            .suspect_after_ms = 200,
            .journal_bytes_max = 1 << 20,
            .pending_bytes_max = 1 << 20,
            .persistent = true,
            .reply = no_reply,
            .context = f,
        },
        (struct instant){ 1000000000 });
    return f->server;
}

/* Few keys, some of them gone again, each entry of a session of its own. */
static void execute(struct fixture *f, uint64_t index)
{
    char key[16], value[700];
    struct bytes words[] = { bytes_string(index % 7 ? "SET" : "DEL"), bytes_string(key),
                             bytes_string(value) };
    struct journal_record header = {
        .index = index, .view = 3, .time_us = index, .session = index, .sequence = 1
    };
    struct buffer request = { 0 }, reply = { 0 }, group = { 0 };
    struct error error;
    struct bytes piece;

    (void)snprintf(key, sizeof key, "key %u", (unsigned)(index % 10));
    (void)snprintf(value, sizeof value, "%0*u", 600, (unsigned)index);
    words[1] = bytes_string(key);
    words[2] = bytes_string(value);
    request_pack_command(&request, index % 7 ? 3 : 2, words);
    header.kind = REQUEST_COMMAND;
    machine_execute(f->machine,
                    &(struct machine_entry){ .index = index,
                                             .time_us = index,
                                             .session = index,
                                             .sequence = 1,
                                             .kind = REQUEST_COMMAND,
                                             .request = buffer_bytes(&request) },
                    &reply);
    f->digest[index] = machine_digest(f->machine);
    journal_record_pack(&group, &header, buffer_bytes(&request));
    piece = buffer_bytes(&group);
    assert_int_equal(segments_write(f->segments, &piece, 1, &error), ERROR_NONE);
    buffer_free(&request);
    buffer_free(&reply);
    buffer_free(&group);
}

/* The state as of now, of that view, or the changes since base. */
static void keep_of(struct fixture *f, uint64_t base, uint64_t view)
{
    struct checkpoint_head head = { .base = base,
                                    .index = machine_index(f->machine),
                                    .view = view,
                                    .time_us = machine_time_us(f->machine),
                                    .digest = machine_digest(f->machine),
                                    .cluster = "three",
                                    .service = "kv" };
    struct checkpoint_writer *writer;
    struct buffer slice = { 0 };
    struct error error;
    bool more = true, full;

    machine_checkpoint_begin(f->machine, base, &full);
    assert_int_equal(full, base == 0);
    assert_int_equal(checkpoint_writer_open(&writer, &files_system, f->directory, &head, &error),
                     ERROR_NONE);
    while (more) {
        buffer_clear(&slice, 1 << 20);
        more = machine_checkpoint_slice(f->machine, 1024, &slice);
        assert_int_equal(checkpoint_writer_slice(writer, buffer_bytes(&slice), &error), ERROR_NONE);
    }
    machine_checkpoint_end(f->machine);
    assert_int_equal(checkpoint_writer_finish(writer, &error), ERROR_NONE);
    buffer_free(&slice);
}

static void keep(struct fixture *f, uint64_t base)
{
    keep_of(f, base, 3);
}

/* Drops what the checkpoints make superfluous, as a server does. */
static uint64_t tidy(struct fixture *f)
{
    struct error error;
    uint64_t oldest;

    assert_int_equal(checkpoint_tidy(&files_system, f->directory, &oldest, &error), ERROR_NONE);
    assert_int_equal(segments_drop(f->segments, oldest, &error), ERROR_NONE);
    return oldest;
}

/* Entries and checkpoints: 20 with changes to 30 and 40, 50 with changes to 60 and 70, the journal
 * from about 40 on. */
static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct segments_options options;
    struct segments_found found = { .first = 1 };
    struct error error;

    folder_make(f->directory, sizeof f->directory);
    f->machine = machine_new(kv_service());
    options = disk_options(f->directory, &files_system, 4096);
    assert_int_equal(segments_open(&f->segments, &options, &found, &error), ERROR_NONE);
    for (uint64_t i = 1; i <= LAST; i++) {
        execute(f, i);
        if (i == 20 || i == 50)
            keep(f, 0);
        if (i == 30 || i == 40 || i == 60 || i == 70)
            keep(f, i - 10);
    }
    assert_int_equal(segments_sync(f->segments, &error), ERROR_NONE);
    assert_int_equal(tidy(f), 40);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    segments_close(f->segments);
    machine_free(f->machine);
    server_free(f->server);
    folder_remove(f->directory);
    free(f);
    return 0;
}

static struct recovery_result recover(struct fixture *f)
{
    struct recovery_options options = { .directory = f->directory,
                                        .cluster = "three",
                                        .service = "kv",
                                        .files = &files_system,
                                        .intact = true,
                                        .renew = renew,
                                        .context = f };
    struct instant now = { 1000000000 };
    struct recovery_result result;
    struct recovery *recovery;
    struct error error;
    bool done = false;

    assert_int_equal(recovery_open(&recovery, &options, renew(f), now, &error), ERROR_NONE);
    while (!done)
        if (recovery_step(recovery, now, &done, &result, &error) != ERROR_NONE)
            fail_msg("%s", error.text);
    recovery_close(recovery);
    return result;
}

/* The state is that after the entry, the journal goes on to the end. */
static void expect(struct fixture *f, const struct recovery_result *result, uint64_t index)
{
    assert_int_equal(result->outcome, RECOVERY_SOUND);
    assert_int_equal(result->checkpoint_index, index);
    assert_int_equal(result->last_index, LAST);
    assert_int_equal(machine_index(server_machine(f->server)), index);
    assert_int_equal(machine_digest(server_machine(f->server)), f->digest[index]);
}

static bool is_unsound(const struct recovery_result *result, uint64_t index, bool changes)
{
    for (uint32_t i = 0; i < result->unsound_count; i++)
        if (result->unsound[i].index == index && result->unsound[i].changes == changes)
            return true;
    return false;
}

static void path_of(struct fixture *f, uint64_t index, bool changes, char *path, size_t size)
{
    checkpoint_name_path(f->directory, (struct checkpoint_name){ index, changes }, path, size);
}

/* Flips a bit; at is a fraction of the file in thousandths. */
static void flip(struct fixture *f, uint64_t index, bool changes, unsigned at)
{
    char path[128];
    struct error error;
    uint64_t size;
    uint8_t byte;
    int fd;

    path_of(f, index, changes, path, sizeof path);
    fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(files_size(&files_system, fd, path, &size, &error), ERROR_NONE);
    assert_int_equal(pread(fd, &byte, 1, (off_t)(size * at / 1000)), 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)(size * at / 1000)), 1);
    assert_int_equal(close(fd), 0);
}

/* The newest chain to its end. */
static void test_chain(void **state)
{
    struct fixture *f = *state;
    struct recovery_result result = recover(f);

    expect(f, &result, 70);
    assert_int_equal(result.unsound_count, 0);
}

/* A checkpoint of the last entry of the journal, or of another one that has replaced it there,
 * which was lost with the power: what the journal ends with did not lead to that state. */
static void test_outrun(void **state)
{
    struct fixture *f = *state;
    struct recovery_result result;

    keep(f, 0);
    result = recover(f);
    expect(f, &result, LAST);
    assert_false(result.outrun);
    keep_of(f, 0, 5);
    result = recover(f);
    expect(f, &result, LAST);
    assert_true(result.outrun);
}

/* Nothing that was complete is deleted: where a file is missing, it is put aside. */
static void test_missing_checkpoints(void **state)
{
    static const struct checkpoint_name names[] = { { 20, false }, { 30, true }, { 40, true },
                                                    { 50, false }, { 60, true }, { 70, true } };
    struct fixture *f = *state;
    struct recovery_result result;
    char path[128];

    for (int i = 0; i < 6; i++) {
        path_of(f, names[i].index, names[i].changes, path, sizeof path);
        assert_int_equal(unlink(path), 0);
    }
    result = recover(f);
    assert_int_equal(result.outcome, RECOVERY_DAMAGED);
    assert_non_null(strstr(result.reason, "a file is missing"));
}

/* Damaged changes give way to the state before them, wherever they are damaged; what stands behind
 * them is of no use. */
static void test_damaged_changes(void **state)
{
    struct fixture *f = *state;

    for (unsigned at = 0; at < 1000; at += 37) {
        struct recovery_result result;

        flip(f, 70, true, at);
        result = recover(f);
        expect(f, &result, 60);
        assert_int_equal(result.unsound_count, 1);
        assert_true(is_unsound(&result, 70, true));
        flip(f, 60, true, at);
        result = recover(f);
        expect(f, &result, 50);
        assert_int_equal(result.unsound_count, 2);
        assert_true(is_unsound(&result, 60, true) && is_unsound(&result, 70, true));
        flip(f, 70, true, at);
        flip(f, 60, true, at);
    }
}

/* A damaged checkpoint takes its changes with it: the chain before it comes to a state, from which
 * the journal leads on. */
static void test_damaged_checkpoint(void **state)
{
    struct fixture *f = *state;
    struct recovery_result result;

    flip(f, 50, false, 500);
    result = recover(f);
    expect(f, &result, 40);
    assert_int_equal(result.unsound_count, 3);
    assert_true(is_unsound(&result, 50, false) && is_unsound(&result, 60, true) &&
                is_unsound(&result, 70, true));
    flip(f, 20, false, 500);
    result = recover(f);
    assert_int_equal(result.outcome, RECOVERY_DAMAGED);
}

/* Changes on top of another state than the one at hand are not taken. */
static void test_missing_link(void **state)
{
    struct fixture *f = *state;
    struct recovery_result result;
    char path[128];

    path_of(f, 60, true, path, sizeof path);
    assert_int_equal(unlink(path), 0);
    result = recover(f);
    expect(f, &result, 50);
    assert_true(is_unsound(&result, 70, true));
}

/* Whatever bits flip, in whatever of the files: a true state, or none. */
static void test_many_flips(void **state)
{
    static const struct checkpoint_name names[] = { { 20, false }, { 30, true }, { 40, true },
                                                    { 50, false }, { 60, true }, { 70, true } };
    struct fixture *f = *state;
    struct random chance = random_seeded(5);

    for (int round = 0; round < 200; round++) {
        struct recovery_result result;
        unsigned at[3];
        size_t which[3];

        for (int i = 0; i < 3; i++) {
            which[i] = (size_t)random_below(&chance, 6);
            at[i] = (unsigned)random_below(&chance, 1000);
            flip(f, names[which[i]].index, names[which[i]].changes, at[i]);
        }
        result = recover(f);
        if (result.outcome == RECOVERY_SOUND)
            expect(f, &result, result.checkpoint_index);
        else
            assert_int_equal(result.outcome, RECOVERY_DAMAGED);
        for (int i = 0; i < 3; i++)
            flip(f, names[which[i]].index, names[which[i]].changes, at[i]);
    }
}

/* The next checkpoint makes the older chain superfluous, and entries up to the end of the other. */
static void test_tidy(void **state)
{
    struct fixture *f = *state;
    struct recovery_result result;

    keep(f, 0);
    assert_int_equal(tidy(f), 70);
    assert_int_equal(folder_count(f->directory, "checkpoint-"), 2);
    assert_int_equal(folder_count(f->directory, "changes-"), 2);
    result = recover(f);
    expect(f, &result, LAST);
    flip(f, LAST, false, 300);
    result = recover(f);
    expect(f, &result, 70);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(test_chain),
        STORY(test_outrun),
        STORY(test_missing_checkpoints),
        STORY(test_damaged_changes),
        STORY(test_damaged_checkpoint),
        STORY(test_missing_link),
        STORY(test_many_flips),
        STORY(test_tidy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
