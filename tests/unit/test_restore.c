/* A backup that becomes the state of an empty server, or of none; and the file that remembers what
 * a load was promised. */
#include "tests/unit/disk_fixture.h"
#include "tests/unit/failing_files.h"

#include <limits.h>
#include <string.h>

#include "client/verify_file.h"
#include "server/restore.h"
#include "server/storage_state.h"

#define INDEX 77u

struct fixture {
    char folder[64], server[64]; /* of the backup; of the server */
    char backup[PATH_MAX];
};

static const struct checkpoint_head head = {
    .index = INDEX, .view = 3, .time_us = 5, .digest = 9, .cluster = "c", .service = "kv"
};

static int setup(void **state)
{
    static struct fixture f;
    struct checkpoint_writer *writer;
    struct error error;

    folder_make(f.folder, sizeof f.folder);
    folder_make(f.server, sizeof f.server);
    checkpoint_path(f.folder, INDEX, f.backup, sizeof f.backup);
    assert_int_equal(checkpoint_writer_open(&writer, &files_system, f.folder, &head, &error),
                     ERROR_NONE);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(checkpoint_writer_slice(writer, bytes_string("a slice"), &error),
                         ERROR_NONE);
    assert_int_equal(checkpoint_writer_finish(writer, &error), ERROR_NONE);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    folder_remove(f->folder);
    folder_remove(f->server);
    return 0;
}

static void look(const struct fixture *f, struct storage_past *past)
{
    struct storage s = { .options = { .files = &files_system } };
    struct error error;

    (void)snprintf(s.directory, sizeof s.directory, "%s", f->server);
    (void)snprintf(s.cluster, sizeof s.cluster, "c");
    (void)snprintf(s.server, sizeof s.server, "s1");
    (void)snprintf(s.service, sizeof s.service, "kv");
    assert_int_equal(folder_open(&s, past, &error), ERROR_NONE);
}

static enum error_code restore(const struct fixture *f, const struct files *files,
                               struct error *error)
{
    enum error_code code = restore_refuse(files, f->server, "s1", &head, error);

    return code == ERROR_NONE ? restore_place(files, f->backup, f->server, "s1", error) : code;
}

/* The server has the state, and lacks nothing; a second restore is refused. */
static void test_restored(void **state)
{
    const struct fixture *f = *state;
    struct storage_past past;
    struct checkpoint_head found;
    struct error error;
    char path[PATH_MAX];

    assert_int_equal(restore(f, &files_system, &error), ERROR_NONE);
    look(f, &past);
    assert_true(past.intact && !past.fresh);
    checkpoint_path(f->server, INDEX, path, sizeof path);
    assert_int_equal(restore_check(&files_system, path, &found, &error), ERROR_NONE);
    assert_int_equal(found.digest, head.digest);
    assert_int_equal(restore(f, &files_system, &error), ERROR_REFUSED);
    assert_non_null(strstr(error.text, "expected an empty directory"));
    look(f, &past);
    assert_true(past.intact && !past.fresh);
}

/* Another server's directory stays as it is. */
static void test_foreign(void **state)
{
    const struct fixture *f = *state;
    struct error error;

    assert_int_equal(restore(f, &files_system, &error), ERROR_NONE);
    assert_int_equal(restore_refuse(&files_system, f->server, "s2", &head, &error), ERROR_REFUSED);
    assert_non_null(strstr(error.text, "of server \"s1\", expected \"s2\""));
}

/* Whichever call fails: it is restored, or as empty as before and vouched for by nobody. */
static void fail_each(const struct fixture *f, enum failing_way way, int reason)
{
    struct storage_past past;
    struct failing failing;
    struct error error;

    for (uint32_t at = 1;; at++) {
        enum error_code code;

        failing_init(&failing, way, reason, at);
        code = restore(f, &failing.files, &error);
        look(f, &past);
        assert_int_equal(past.fresh, code != ERROR_NONE);
        assert_int_equal(past.intact, code == ERROR_NONE);
        (void)folder_empty(f->server);
        if (!failing_reached(&failing))
            return;
        if (failing.failed && way == FAILING_ERROR)
            assert_int_not_equal(code, ERROR_NONE);
    }
}

static void test_failing_calls(void **state)
{
    fail_each(*state, FAILING_ERROR, EIO);
    fail_each(*state, FAILING_ERROR, ENOSPC);
    fail_each(*state, FAILING_SHORT, 0);
    fail_each(*state, FAILING_HALF, ENOSPC);
}

/* A flipped byte anywhere in a backup is noticed before it is put anywhere. */
static void test_damage(void **state)
{
    const struct fixture *f = *state;
    struct checkpoint_head found;
    struct error error;
    uint64_t size;
    uint8_t byte;
    int fd = open(f->backup, O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    size = (uint64_t)lseek(fd, 0, SEEK_END);
    for (uint64_t at = 0; at < size; at++) {
        assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
        byte ^= 1;
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
        assert_int_equal(restore_check(&files_system, f->backup, &found, &error), ERROR_PROTOCOL);
        byte ^= 1;
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    }
    assert_int_equal(close(fd), 0);
}

/* What a load was promised is read from its record as it was written, or not at all. */
static void test_record(void **state)
{
    const struct fixture *f = *state;
    struct verify written, found;
    struct error error;
    char path[PATH_MAX];
    bool once = false;
    int fd;

    (void)snprintf(path, sizeof path, "%s/record", f->folder);
    verify_init(&written, 0xfeed, 2, 32);
    verify_end(&written, 1, verify_begin(&written, 1), VERIFY_ACKNOWLEDGED);
    verify_end(&written, 1, verify_begin(&written, 1), VERIFY_FAILED);
    (void)verify_begin(&written, 1);
    assert_int_equal(verify_file_write(path, &written, true, &error), ERROR_NONE);
    assert_int_equal(verify_file_read(path, &found, &once, &error), ERROR_NONE);
    assert_true(once && found.run == 0xfeed && found.record_size == 32);
    assert_int_equal(found.lanes[0].count, 0);
    assert_int_equal(found.lanes[1].count, 3);
    assert_memory_equal(found.lanes[1].outcomes, written.lanes[1].outcomes, 3);
    verify_free(&written);
    verify_free(&found);

    fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "x", 1, 30), 1);
    assert_int_equal(close(fd), 0);
    assert_int_equal(verify_file_read(path, &found, &once, &error), ERROR_PROTOCOL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_restored, setup, teardown),
        cmocka_unit_test_setup_teardown(test_foreign, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failing_calls, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_record, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
