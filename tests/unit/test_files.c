/* The calls on files with what is done around them: interrupted and short ones go on, errors say
 * what, where and why. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/files.h"
#include "server/text_file.h"
#include "tests/unit/disk_fixture.h"

#define CALLS_MAX 32u

/* The system's files; each call does what the script says, then what the system does. */
struct script {
    struct files files;
    int reasons[CALLS_MAX]; /* of the calls to come: 0 goes well */
    uint32_t calls;
    size_t size_max;    /* of a read or write, 0: as asked */
    uint32_t count_max; /* the most vectors that came at once */
    uint32_t files_synced, folders_synced;
};

struct fixture {
    char folder[64], path[96];
    struct script script;
};

static bool fails(struct script *s)
{
    errno = s->calls < CALLS_MAX ? s->reasons[s->calls++] : 0;
    return errno != 0;
}

static int script_open(void *context, const char *path, int flags, mode_t mode)
{
    return fails(context) ? -1 : files_system.open(NULL, path, flags, mode);
}

static int script_close(void *context, int fd)
{
    (void)context;
    return files_system.close(NULL, fd);
}

static ssize_t script_pread(void *context, int fd, void *data, size_t size, off_t offset)
{
    struct script *s = context;

    if (fails(s))
        return -1;
    if (s->size_max && size > s->size_max)
        size = s->size_max;
    return files_system.pread(NULL, fd, data, size, offset);
}

static ssize_t script_pwritev(void *context, int fd, const struct iovec *vectors, int count,
                              off_t offset)
{
    struct script *s = context;
    struct iovec first = vectors[0];

    if (fails(s))
        return -1;
    if ((uint32_t)count > s->count_max)
        s->count_max = (uint32_t)count;
    if (!s->size_max)
        return files_system.pwritev(NULL, fd, vectors, count, offset);
    if (first.iov_len > s->size_max)
        first.iov_len = s->size_max;
    return files_system.pwritev(NULL, fd, &first, 1, offset);
}

static int script_fallocate(void *context, int fd, off_t size)
{
    return fails(context) ? -1 : files_system.fallocate(NULL, fd, size);
}

static int script_fdatasync(void *context, int fd)
{
    struct script *s = context;
    struct stat status;

    if (fails(s))
        return -1;
    assert_int_equal(fstat(fd, &status), 0);
    s->folders_synced += S_ISDIR(status.st_mode);
    s->files_synced += !S_ISDIR(status.st_mode);
    return files_system.fdatasync(NULL, fd);
}

static int script_rename(void *context, const char *from, const char *to)
{
    return fails(context) ? -1 : files_system.rename(NULL, from, to);
}

static int script_unlink(void *context, const char *path)
{
    return fails(context) ? -1 : files_system.unlink(NULL, path);
}

static off_t script_size(void *context, int fd)
{
    return fails(context) ? -1 : files_system.size(NULL, fd);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    if (!f)
        return -1;
    folder_make(f->folder, sizeof f->folder);
    (void)snprintf(f->path, sizeof f->path, "%s/a-file", f->folder);
    f->script.files = (struct files){ .open = script_open,
                                      .close = script_close,
                                      .pread = script_pread,
                                      .pwritev = script_pwritev,
                                      .fallocate = script_fallocate,
                                      .fdatasync = script_fdatasync,
                                      .rename = script_rename,
                                      .unlink = script_unlink,
                                      .size = script_size,
                                      .context = &f->script };
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    folder_remove(f->folder);
    free(f);
    return 0;
}

/* From now on the n-th call fails for this reason. */
static void fail_call(struct fixture *f, uint32_t number, int reason)
{
    memset(f->script.reasons, 0, sizeof f->script.reasons);
    f->script.calls = 0;
    f->script.reasons[number - 1] = reason;
}

static int open_it(struct fixture *f)
{
    struct error error;
    int fd;

    assert_int_equal(files_open(&f->script.files, f->path, O_RDWR | O_CREAT, &fd, &error),
                     ERROR_NONE);
    return fd;
}

static void expect_said(const struct fixture *f, const struct error *error, const char *words)
{
    assert_non_null(strstr(error->text, f->path));
    if (!strstr(error->text, words))
        fail_msg("\"%s\" does not say \"%s\"", error->text, words);
}

/* ---- Opening, reading, writing ---- */

static void test_open(void **state)
{
    struct fixture *f = *state;
    struct stat status;
    struct error error;
    int fd;

    assert_int_equal(files_open(&f->script.files, f->path, O_RDONLY, &fd, &error), ERROR_SYSTEM);
    expect_said(f, &error, "No such file");
    fail_call(f, 1, EINTR);
    fd = open_it(f);
    assert_int_equal(f->script.calls, 2);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fstat(fd, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(close(fd), 0);
    fail_call(f, 1, EMFILE);
    assert_int_equal(files_open(&f->script.files, f->path, O_RDWR, &fd, &error), ERROR_SYSTEM);
    expect_said(f, &error, "Too many open files");
    fail_call(f, 1, ENOSPC);
    assert_int_equal(files_open(&f->script.files, f->path, O_RDWR | O_CREAT, &fd, &error),
                     ERROR_LIMIT);
}

/* What the disk cannot give back is damaged; what it cannot take is an error. */
static void test_unreadable(void **state)
{
    struct fixture *f = *state;
    struct error error;
    uint64_t bytes;
    size_t got;
    char data[8];
    int fd = open_it(f), again;

    fail_call(f, 1, EIO);
    assert_int_equal(files_read(&f->script.files, fd, f->path, data, 8, 16, &got, &error),
                     ERROR_PROTOCOL);
    expect_said(f, &error, "cannot read 8 bytes");
    expect_said(f, &error, "at offset 16: Input/output error");
    fail_call(f, 1, EIO);
    assert_int_equal(files_size(&f->script.files, fd, f->path, &bytes, &error), ERROR_PROTOCOL);
    fail_call(f, 1, EIO);
    assert_int_equal(files_open(&f->script.files, f->path, O_RDONLY, &again, &error),
                     ERROR_PROTOCOL);
    fail_call(f, 1, EIO);
    assert_int_equal(files_open(&f->script.files, f->path, O_RDWR, &again, &error), ERROR_SYSTEM);
    fail_call(f, 1, EBADF);
    assert_int_equal(files_read(&f->script.files, fd, f->path, data, 8, 0, &got, &error),
                     ERROR_SYSTEM);
    assert_int_equal(close(fd), 0);
}

/* Interrupted and short, a byte at a time: all of it is written, and read back. */
static void test_short(void **state)
{
    struct fixture *f = *state;
    struct iovec vectors[] = { { (void *)"", 0 },
                               { (void *)"one", 3 },
                               { (void *)"", 0 },
                               { (void *)"and two", 7 },
                               { (void *)"", 0 } };
    struct error error;
    char data[16] = "";
    size_t got;
    int fd = open_it(f);

    f->script.size_max = 2;
    fail_call(f, 2, EINTR);
    assert_int_equal(files_write(&f->script.files, fd, f->path, vectors, 5, 100, &error),
                     ERROR_NONE);
    fail_call(f, 3, EINTR);
    assert_int_equal(
        files_read(&f->script.files, fd, f->path, data, sizeof data, 100, &got, &error),
        ERROR_NONE);
    assert_int_equal(got, 10); /* the end of the file is no error */
    assert_string_equal(data, "oneand two");
    assert_int_equal(files_read(&f->script.files, fd, f->path, data, 4, 200, &got, &error),
                     ERROR_NONE);
    assert_int_equal(got, 0);
    assert_int_equal(close(fd), 0);
}

/* The system takes so many vectors at once, and no more. */
static void test_many_vectors(void **state)
{
    struct fixture *f = *state;
    static struct iovec vectors[3000];
    struct error error;
    uint64_t bytes;
    int fd = open_it(f);

    for (size_t i = 0; i < 3000; i++)
        vectors[i] = (struct iovec){ (void *)"x", 1 };
    assert_int_equal(files_write(&f->script.files, fd, f->path, vectors, 3000, 0, &error),
                     ERROR_NONE);
    assert_int_equal(f->script.count_max, 1024);
    assert_int_equal(files_size(&f->script.files, fd, f->path, &bytes, &error), ERROR_NONE);
    assert_int_equal(bytes, 3000);
    assert_int_equal(close(fd), 0);
}

static void test_write_fails(void **state)
{
    struct fixture *f = *state;
    const int reasons[] = { EIO, ENOSPC, EDQUOT, EFBIG };
    struct error error;
    int fd = open_it(f);

    f->script.size_max = 4;
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        struct iovec vector = { (void *)"sixteen letters.", 16 };
        bool no_room = reasons[i] == ENOSPC || reasons[i] == EDQUOT;

        fail_call(f, 3, reasons[i]);
        assert_int_equal(files_write(&f->script.files, fd, f->path, &vector, 1, 50, &error),
                         no_room ? ERROR_LIMIT : ERROR_SYSTEM);
        expect_said(f, &error, "at offset 58: ");
        fail_call(f, 1, reasons[i]);
        assert_int_equal(files_allocate(&f->script.files, fd, f->path, 4096, &error),
                         no_room ? ERROR_LIMIT : ERROR_SYSTEM);
        expect_said(f, &error, "cannot reserve 4096 bytes");
    }
    fail_call(f, 1, EINTR);
    assert_int_equal(files_allocate(&f->script.files, fd, f->path, 4096, &error), ERROR_NONE);
    assert_int_equal(close(fd), 0);
}

/* After a sync that failed nothing is known, whatever the reason. */
static void test_sync(void **state)
{
    struct fixture *f = *state;
    struct error error;
    int fd = open_it(f);

    fail_call(f, 1, EINTR);
    assert_int_equal(files_sync(&f->script.files, fd, f->path, &error), ERROR_NONE);
    assert_int_equal(f->script.files_synced, 1);
    fail_call(f, 1, ENOSPC);
    assert_int_equal(files_sync(&f->script.files, fd, f->path, &error), ERROR_SYSTEM);
    expect_said(f, &error, "safe on the disk: No space left");
    assert_int_equal(close(fd), 0);
    assert_int_equal(files_sync_folder(&f->script.files, f->folder, &error), ERROR_NONE);
    assert_int_equal(f->script.folders_synced, 1);
    assert_int_equal(files_sync_folder(&f->script.files, f->path, &error), ERROR_SYSTEM);
    expect_said(f, &error, "Not a directory");
}

/* ---- Names ---- */

static void touch(const struct fixture *f, const char *name)
{
    char path[160];
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", f->folder, name);
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
}

static void test_rename_and_unlink(void **state)
{
    struct fixture *f = *state;
    struct error error;
    char other[128];

    (void)snprintf(other, sizeof other, "%s/other", f->folder);
    touch(f, "a-file");
    fail_call(f, 1, ENOSPC); /* the folder may have to grow */
    assert_int_equal(files_rename(&f->script.files, f->path, other, &error), ERROR_LIMIT);
    expect_said(f, &error, "No space left");
    assert_int_equal(files_rename(&f->script.files, f->path, other, &error), ERROR_NONE);
    assert_int_equal(files_rename(&f->script.files, f->path, other, &error), ERROR_SYSTEM);
    assert_int_equal(files_unlink(&f->script.files, other, &error), ERROR_NONE);
    assert_int_equal(files_unlink(&f->script.files, f->path, &error), ERROR_SYSTEM);
    expect_said(f, &error, "cannot remove");
}

/* Only the names that are made here, in the order of their numbers. */
static void test_list(void **state)
{
    struct fixture *f = *state;
    const char *const names[] = { "log-000000000010",
                                  "log-000000000009",
                                  "log-1000000000000",
                                  "log-18446744073709551615",
                                  "log-18446744073709551616", /* no number of ours */
                                  "log-00000000011",
                                  "log-0000000000012",
                                  "log-000000000013.new",
                                  "log-00000000001x",
                                  "log-+00000000001",
                                  "xlog-000000000014",
                                  "log-" };
    struct error error;
    uint64_t *numbers;
    size_t count;
    char name[64];

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        touch(f, names[i]);
    assert_int_equal(files_list(f->folder, "log-", "", &numbers, &count, &error), ERROR_NONE);
    assert_int_equal(count, 4);
    assert_int_equal(numbers[0], 9);
    assert_int_equal(numbers[1], 10);
    assert_int_equal(numbers[2], 1000000000000);
    assert_true(numbers[3] == UINT64_MAX);
    free(numbers);
    assert_int_equal(files_list(f->folder, "log-", ".new", &numbers, &count, &error), ERROR_NONE);
    assert_int_equal(count, 1);
    assert_int_equal(numbers[0], 13);
    free(numbers);
    files_name(name, sizeof name, "log-", 13, ".new");
    assert_string_equal(name, "log-000000000013.new");
    assert_int_equal(files_list(f->path, "log-", "", &numbers, &count, &error), ERROR_SYSTEM);
    expect_said(f, &error, "cannot open the folder");
    assert_null(numbers);
}

/* ---- A small file, replaced as a whole ---- */

/* Whichever call fails, the old text or the new one is there, and the new one if it was said so. */
static void test_replaced_as_a_whole(void **state)
{
    struct fixture *f = *state;
    const int reasons[] = { EIO, ENOSPC };
    char text[TEXT_FILE_SIZE];
    struct error error;
    bool found;

    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        for (uint32_t call = 1; call < 12; call++) {
            enum error_code code;

            assert_int_equal(text_file_write(&files_system, f->folder, "a-file", "old\n", &error),
                             ERROR_NONE);
            fail_call(f, call, reasons[i]);
            code = text_file_write(&f->script.files, f->folder, "a-file", "new\n", &error);
            if (f->script.calls < call)
                assert_int_equal(code, ERROR_NONE);
            assert_int_equal(
                text_file_read(&files_system, f->folder, "a-file", text, &found, &error),
                ERROR_NONE);
            assert_true(found);
            assert_true(strcmp(text, "new\n") == 0 ||
                        (strcmp(text, "old\n") == 0 && code != ERROR_NONE));
        }
}

/* Cut anywhere, or with any bit flipped: never another text. */
static void test_damaged_text(void **state)
{
    struct fixture *f = *state;
    char text[TEXT_FILE_SIZE], whole[TEXT_FILE_SIZE];
    struct error error;
    size_t size;
    bool found;
    int fd;

    assert_int_equal(
        text_file_write(&files_system, f->folder, "a-file", "title\nkey value\n", &error),
        ERROR_NONE);
    fd = open_it(f);
    assert_int_equal(files_read(&files_system, fd, f->path, whole, sizeof whole, 0, &size, &error),
                     ERROR_NONE);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        whole[bit / 8] = (char)(whole[bit / 8] ^ 1 << bit % 8);
        assert_int_equal(pwrite(fd, whole, size, 0), size);
        assert_int_equal(text_file_read(&files_system, f->folder, "a-file", text, &found, &error),
                         ERROR_PROTOCOL);
        expect_said(f, &error, "is damaged");
        assert_true(found && text[0] == '\0');
        whole[bit / 8] = (char)(whole[bit / 8] ^ 1 << bit % 8);
    }
    assert_int_equal(pwrite(fd, whole, size, 0), size);
    while (size-- > 0) {
        assert_int_equal(ftruncate(fd, (off_t)size), 0);
        assert_int_equal(text_file_read(&files_system, f->folder, "a-file", text, &found, &error),
                         ERROR_PROTOCOL);
    }
    assert_int_equal(close(fd), 0);
}

#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(test_open),
        test(test_unreadable),
        test(test_short),
        test(test_many_vectors),
        test(test_write_fails),
        test(test_sync),
        test(test_rename_and_unlink),
        test(test_list),
        test(test_replaced_as_a_whole),
        test(test_damaged_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
