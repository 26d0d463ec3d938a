/* Which life of a server this is. */
#include "tests/unit/disk_fixture.h"
#include "tests/unit/failing_files.h"

#include "server/incarnation.h"

struct fixture {
    char folder[64];
    struct failing failing;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    if (!f)
        return -1;
    folder_make(f->folder, sizeof f->folder);
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

static uint64_t next(struct fixture *f, const char *server, uint64_t wall_us)
{
    return incarnation_next(&files_system, f->folder, server, wall_us);
}

/* A clock that is set back makes no life earlier than those before it. */
static void test_clock_set_back(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(next(f, "s1", 5000), 5000);
    assert_int_equal(next(f, "s1", 7000), 7000);
    assert_int_equal(next(f, "s1", 1000), 7001);
    assert_int_equal(next(f, "s1", 1000), 7002);
    assert_int_equal(next(f, "s2", 1000), 1000);
    assert_int_equal(next(f, "s1", 9000), 9000);
}

/* What is damaged says nothing, and is replaced. */
static void test_damaged(void **state)
{
    struct fixture *f = *state;
    char path[128];
    FILE *file;

    (void)next(f, "s1", 7000);
    (void)snprintf(path, sizeof path, "%s/s1.incarnation", f->folder);
    file = fopen(path, "w");
    assert_non_null(file);
    (void)fprintf(file, "incarnation 99\n");
    assert_int_equal(fclose(file), 0);
    assert_int_equal(next(f, "s1", 5000), 5000);
    assert_int_equal(next(f, "s1", 4000), 5001);
}

/* Whatever fails, the server starts. */
static void test_each_call_fails(void **state)
{
    struct fixture *f = *state;
    bool reached = true;

    for (uint32_t at = 1; reached; at++) {
        failing_init(&f->failing, FAILING_ERROR, ENOSPC, at);
        assert_in_range(incarnation_next(&f->failing.files, f->folder, "s1", 1000ull * at),
                        1000ull * at, 1000ull * at + 1);
        reached = failing_reached(&f->failing);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_clock_set_back),
        TEST(test_damaged),
        TEST(test_each_call_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
