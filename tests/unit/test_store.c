/* The rm's store: it comes back as it was written, or it is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rm/saved.h"
#include "rm/store.h"

#define FILE_SIZE_MAX 4096u

struct fixture {
    struct config config;
    struct store store;
    uint8_t file[FILE_SIZE_MAX]; /* what was saved */
    size_t size;
};

static int set_up(void **state)
{
    struct fixture *f = memory_zeroed(1, sizeof *f);

    (void)snprintf(f->config.cluster, sizeof f->config.cluster, "three");
    (void)snprintf(f->config.run_dir, sizeof f->config.run_dir, "/tmp/holdfast-store-XXXXXX");
    *state = f;
    if (!mkdtemp(f->config.run_dir))
        return -1;
    store_init(&f->store, &f->config);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    (void)unlink(f->store.path);
    (void)unlink(f->store.path_new);
    (void)rmdir(f->config.run_dir);
    free(f);
    return 0;
}

static void write_file(const struct fixture *f, const uint8_t *data, size_t size)
{
    FILE *file = fopen(f->store.path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void save_something(struct fixture *f)
{
    struct error error;
    FILE *file;

    assert_int_equal(store_save(&f->store, bytes_string("some state of the rm"), &error),
                     ERROR_NONE);
    file = fopen(f->store.path, "rb");
    assert_non_null(file);
    f->size = fread(f->file, 1, sizeof f->file, file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(f->size, STORE_HEADER_SIZE + 20);
}

static void expect_refused(const struct fixture *f, const char *words)
{
    struct buffer out = { 0 };
    struct error error;
    bool found = true;

    assert_int_not_equal(store_load(&f->store, &out, &found, &error), ERROR_NONE);
    assert_false(found);
    assert_int_equal(buffer_size(&out), 0);
    assert_non_null(strstr(error.text, f->store.path));
    if (!strstr(error.text, words))
        fail_msg("\"%s\" does not say \"%s\"", error.text, words);
    buffer_free(&out);
}

static void test_absent(void **state)
{
    struct fixture *f = *state;
    struct buffer out = { 0 };
    struct error error;
    bool found = true;

    assert_int_equal(store_load(&f->store, &out, &found, &error), ERROR_NONE);
    assert_false(found);
}

/* The second state replaces the first; what a crash left beside it is in nobody's way. */
static void test_save_and_load(void **state)
{
    struct fixture *f = *state;
    struct buffer out = { 0 };
    struct error error;
    bool found = false;
    int fd = open(f->store.path_new, O_WRONLY | O_CREAT, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, "torn", 4), 4);
    assert_int_equal(close(fd), 0);
    assert_int_equal(store_save(&f->store, bytes_string("first, and longer"), &error), ERROR_NONE);
    assert_int_equal(store_save(&f->store, bytes_string("second"), &error), ERROR_NONE);
    assert_int_equal(store_load(&f->store, &out, &found, &error), ERROR_NONE);
    assert_true(found);
    assert_int_equal(buffer_size(&out), 6);
    assert_memory_equal(buffer_head(&out), "second", 6);
    assert_int_equal(access(f->store.path_new, F_OK), -1);
    buffer_free(&out);
}

/* A bit flipped in any byte, and a file cut at any length, or with a byte too many. */
static void test_damage(void **state)
{
    struct fixture *f = *state;

    save_something(f);
    for (size_t i = 0; i < f->size; i++) {
        f->file[i] ^= (uint8_t)(1u << i % 8);
        write_file(f, f->file, f->size);
        expect_refused(f, "");
        f->file[i] ^= (uint8_t)(1u << i % 8);
    }
    for (size_t i = 0; i < f->size; i++) {
        write_file(f, f->file, i);
        expect_refused(f, "is damaged");
    }
    write_file(f, f->file, f->size + 1);
    expect_refused(f, "its size");
}

static void test_wrong_cluster(void **state)
{
    struct fixture *f = *state;

    save_something(f);
    (void)snprintf(f->config.cluster, sizeof f->config.cluster, "four");
    store_init(&f->store, &f->config);
    expect_refused(f, "belongs to cluster three, expected four");
}

static void test_wrong_format(void **state)
{
    struct fixture *f = *state;

    save_something(f);
    f->file[8] = 2;
    write_file(f, f->file, f->size);
    expect_refused(f, "is of format 2, this rm reads format 1");
}

/* A huge file is not read to its end. */
static void test_huge(void **state)
{
    struct fixture *f = *state;

    save_something(f);
    assert_int_equal(truncate(f->store.path, 1 << 30), 0);
    expect_refused(f, "its size");
}

static void test_cannot_save(void **state)
{
    struct fixture *f = *state;
    struct error error;

    assert_int_equal(mkdir(f->store.path_new, 0700), 0);
    assert_int_equal(store_save(&f->store, bytes_string("x"), &error), ERROR_SYSTEM);
    assert_non_null(strstr(error.text, f->store.path_new));
    assert_int_equal(rmdir(f->store.path_new), 0);
}

/* ------------------------------------------------------------------ what is in it */

static struct saved *example(void)
{
    static struct saved saved;
    const struct view_policy policy = { .acks = ACKS_MAJORITY };
    struct message_view view = { .number = 7, .acks = 2, .primary = NODE_SERVER(2) };

    saved_init(&saved, &policy, 3);
    for (uint32_t i = 0; i < 3; i++)
        members_put(&view.members, NODE_SERVER(i), 1000 + i);
    saved.views[saved.view_count++] = view;
    view.number = 9;
    view.lease_wait_ms = 150;
    saved.views[saved.view_count++] = view;
    saved.stopped = 4;
    saved.wanted.style = STYLE_PASSIVE;
    return &saved;
}

static struct bytes blob_of(struct saved *saved)
{
    static struct effects out;

    effects_clear(&out);
    saved_store(saved, &out);
    assert_int_equal(out.count, 1);
    return out.list[0].data;
}

static void test_blob(void **state)
{
    struct saved *saved = example();
    struct bytes blob = blob_of(saved);
    struct saved loaded;
    struct error error;

    (void)state;
    saved_init(&loaded, &saved->configured, 3);
    assert_int_equal(saved_load(&loaded, blob, &error), ERROR_NONE);
    assert_int_equal(loaded.view_count, 2);
    assert_memory_equal(&loaded.views, &saved->views, sizeof loaded.views);
    assert_int_equal(loaded.stopped, 4);
    assert_int_equal(loaded.wanted.style, STYLE_PASSIVE);
}

/* What the operator changed holds until the config is changed. */
static void test_changed_config_rules(void **state)
{
    const struct view_policy policy = { .acks = ACKS_ALL };
    struct bytes blob = blob_of(example());
    struct saved loaded;
    struct error error;

    (void)state;
    saved_init(&loaded, &policy, 3);
    assert_int_equal(saved_load(&loaded, blob, &error), ERROR_NONE);
    assert_int_equal(loaded.wanted.style, STYLE_ACTIVE);
    assert_int_equal(loaded.wanted.acks, ACKS_ALL);
}

/* Fewer servers, or others: the views would speak of somebody else. More are welcome. */
static void test_changed_servers(void **state)
{
    struct saved *saved = example();
    struct bytes blob = blob_of(saved);
    struct saved loaded;
    struct error error;

    (void)state;
    saved_init(&loaded, &saved->configured, 4);
    assert_int_equal(saved_load(&loaded, blob, &error), ERROR_NONE);
    saved_init(&loaded, &saved->configured, 2);
    assert_int_equal(saved_load(&loaded, blob, &error), ERROR_CONFIG);
    assert_non_null(strstr(error.text, "among them s3, which the config does not have"));
    node_name_set(NODE_SERVER(1), "other");
    saved_init(&loaded, &saved->configured, 3);
    assert_int_equal(saved_load(&loaded, blob, &error), ERROR_CONFIG);
    assert_non_null(strstr(error.text, "server 2 of the stored views is s2, but other"));
    node_name_set(NODE_SERVER(1), "s2");
}

/* Whatever the bytes, they are refused or come out as something that may be. */
static void test_any_blob(void **state)
{
    struct saved *saved = example();
    struct bytes blob = blob_of(saved);
    uint8_t bytes[1024];
    struct saved loaded;
    struct error error;

    (void)state;
    assert_true(blob.size < sizeof bytes);
    for (size_t cut = 0; cut < blob.size; cut++) {
        saved_init(&loaded, &saved->configured, 3);
        assert_int_not_equal(saved_load(&loaded, bytes_of(blob.data, cut), &error), ERROR_NONE);
    }
    for (size_t i = 0; i < blob.size * 8; i++) {
        memcpy(bytes, blob.data, blob.size);
        bytes[i / 8] ^= (uint8_t)(1u << i % 8);
        saved_init(&loaded, &saved->configured, 3);
        if (saved_load(&loaded, bytes_of(bytes, blob.size), &error) == ERROR_NONE)
            saved_check(&loaded);
    }
}

/* Two changes in one call are one store: that of the later state, in the place of the first. */
static void test_two_stores(void **state)
{
    struct saved *saved = example();
    static struct effects out;
    struct bytes last;
    struct saved loaded;
    struct error error;

    (void)state;
    effects_clear(&out);
    saved_store(saved, &out);
    effects_note(&out, "something that follows");
    saved->stopped = 0;
    saved->view_count = 1;
    saved_store(saved, &out);
    assert_int_equal(out.count, 2);
    last = out.list[0].data;
    saved_init(&loaded, &saved->configured, 3);
    assert_int_equal(saved_load(&loaded, last, &error), ERROR_NONE);
    assert_int_equal(loaded.view_count, 1);
    assert_int_equal(loaded.stopped, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_absent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_save_and_load, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wrong_cluster, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wrong_format, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_huge, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cannot_save, set_up, tear_down),
        cmocka_unit_test(test_blob),
        cmocka_unit_test(test_changed_config_rules),
        cmocka_unit_test(test_changed_servers),
        cmocka_unit_test(test_any_blob),
        cmocka_unit_test(test_two_stores),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
