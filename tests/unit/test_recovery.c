/* A server gets back what its disk holds, or begins with nothing and says why. */
#include "tests/unit/disk_fixture.h"
#include "tests/unit/failing_files.h"

#include "server/recovery.h"
#include "server/services/kv.h"

#define SMALL 8192u /* bytes of a segment */

struct fixture {
    char directory[64];
    struct failing failing;
    struct server *server;
    struct recovery_result result;
    bool clean; /* the last life ended in order */
};

static struct server *renew(void *context)
{
    struct fixture *f = context;
    struct server_options options = { .self = NODE_SERVER(0),
                                      .incarnation = 11,
                                      .service = kv_service(),
                                      .server_count = 3,
                                      .lease_ms = 200,
                                      .checkpoint_interval_ms = 1000,
                                      .suspect_after_ms = 200,
                                      .journal_bytes_max = 1 << 20,
                                      .pending_bytes_max = 1 << 20,
                                      .persistent = true };

    if (f->server)
        server_free(f->server);
    return f->server = server_new(&options, (struct instant){ 1 });
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    if (!f)
        return -1;
    folder_make(f->directory, sizeof f->directory);
    failing_init(&f->failing, FAILING_ERROR, EIO, UINT32_MAX);
    renew(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    server_free(f->server);
    folder_remove(f->directory);
    free(f);
    return 0;
}

/* Groups of one entry each, all synced but the last. */
static uint64_t write_journal(const struct fixture *f, uint64_t count)
{
    struct segments_options options = disk_options(f->directory, &files_system, SMALL);
    struct segments_found found = { .first = 1 };
    struct segments *segments;
    struct shelf read;
    struct error error;

    assert_int_equal(segments_open(&segments, &options, &found, &error), ERROR_NONE);
    for (uint64_t i = 1; i <= count; i++) {
        assert_int_equal(disk_write(segments, i, 1, i, &error), ERROR_NONE);
        if (i < count)
            assert_int_equal(segments_sync(segments, &error), ERROR_NONE);
    }
    segments_close(segments);
    return disk_read(f->directory, &read).end;
}

static enum error_code recover(struct fixture *f, struct error *error)
{
    struct recovery_options options = { .directory = f->directory,
                                        .cluster = "three",
                                        .service = "kv",
                                        .files = &f->failing.files,
                                        .intact = true,
                                        .clean = f->clean,
                                        .renew = renew,
                                        .context = f };
    struct instant now = { 1 };
    struct recovery *recovery;
    enum error_code code;
    bool done = false;

    code = recovery_open(&recovery, &options, f->server, now, error);
    if (code != ERROR_NONE)
        return code;
    while (code == ERROR_NONE && !done)
        code = recovery_step(recovery, now, &done, &f->result, error);
    recovery_close(recovery);
    return code;
}

static uint64_t journal_index(const struct fixture *f)
{
    struct server_status status;

    server_status(f->server, (struct instant){ 1 }, &status);
    return status.journal_index;
}

static void expect_damage(struct fixture *f, const char *words)
{
    struct error error;

    assert_int_equal(recover(f, &error), ERROR_NONE);
    assert_int_equal(f->result.outcome, RECOVERY_DAMAGED);
    if (!strstr(f->result.reason, words))
        fail_msg("expected \"%s\" in: %s", words, f->result.reason);
    assert_int_equal(journal_index(f), 0);
    assert_int_equal(f->result.found.last, 0);
}

static void test_sound(void **state)
{
    struct fixture *f = *state;
    struct error error;

    (void)write_journal(f, 5);
    assert_int_equal(recover(f, &error), ERROR_NONE);
    assert_int_equal(f->result.outcome, RECOVERY_SOUND);
    assert_int_equal(f->result.last_index, 5);
    assert_int_equal(journal_index(f), 5);
}

/* A bad sector is damage, by file and offset. Other failures of a call pass, so they are errors. */
static void test_unreadable(void **state)
{
    struct fixture *f = *state;
    struct error error;
    bool reached = true;
    uint32_t damaged = 0;

    (void)write_journal(f, 5);
    for (uint32_t at = 1; reached; at++) {
        failing_init(&f->failing, FAILING_ERROR, EIO, at);
        f->failing.times = UINT32_MAX / 2;
        reached = recover(f, &error) == ERROR_NONE && f->result.outcome == RECOVERY_DAMAGED;
        assert_int_equal(reached, failing_reached(&f->failing));
        damaged += reached;
        if (reached)
            assert_non_null(strstr(f->result.reason, "/journal-000000000001, offset 0: the disk "
                                                     "cannot read it"));
        (void)renew(f);
    }
    assert_true(damaged >= 3);
    failing_init(&f->failing, FAILING_ERROR, EMFILE, 1);
    assert_int_equal(recover(f, &error), ERROR_SYSTEM);
}

/* What a process that was killed left half written is cut; whoever ended in order left nothing. */
static void test_torn(void **state)
{
    struct fixture *f = *state;
    char path[128];
    struct error error;
    int fd;

    (void)snprintf(path, sizeof path, "%s/journal-000000000001", f->directory);
    uint64_t end = write_journal(f, 5);
    fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "torn", 4, (off_t)end - 8), 4);
    assert_int_equal(close(fd), 0);
    assert_int_equal(recover(f, &error), ERROR_NONE);
    assert_int_equal(f->result.outcome, RECOVERY_SOUND);
    assert_int_equal(f->result.last_index, 4);
    assert_true(f->result.found.torn_bytes > 0);
    (void)renew(f);
    f->clean = true;
    expect_damage(f, "/journal-000000000001, offset ");
}

#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(test_sound),
        test(test_unreadable),
        test(test_torn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
