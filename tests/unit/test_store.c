/* The rm's store: the last state saved comes back, or all is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rm/saved.h"
#include "rm/store.h"
#include "tests/unit/recording_files.h"

#define FILE_SIZE (STORE_SLOTS * STORE_SLOT_SIZE)

struct fixture {
    struct config config;
    struct store store;
    uint8_t file[FILE_SIZE]; /* what was saved */
};

static int set_up(void **state)
{
    struct fixture *f = memory_zeroed(1, sizeof *f);

    (void)snprintf(f->config.cluster, sizeof f->config.cluster, "three");
    folder_make(f->config.run_dir, sizeof f->config.run_dir);
    *state = f;
    store_init(&f->store, &f->config);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    folder_remove(f->config.run_dir);
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

static void save(struct fixture *f, const char *state)
{
    struct error error;
    FILE *file;

    assert_int_equal(store_save(&f->store, bytes_string(state), &error), ERROR_NONE);
    file = fopen(f->store.path, "rb");
    assert_non_null(file);
    assert_int_equal(fread(f->file, 1, sizeof f->file, file), sizeof f->file);
    assert_int_equal(fgetc(file), EOF);
    assert_int_equal(fclose(file), 0);
}

static void copy(struct fixture *f)
{
    struct error error;

    assert_int_equal(store_copy(&f->store, &error), ERROR_NONE);
}

/* As the next life of the rm does; "" is none. */
static void expect(struct fixture *f, const char *state, bool mended)
{
    struct buffer out = { 0 };
    struct error wrong, error;
    bool found = false;

    store_init(&f->store, &f->config);
    if (store_load(&f->store, &out, &found, &wrong, &error) != ERROR_NONE)
        fail_msg("%s", error.text);
    assert_int_equal(found, *state != 0);
    assert_int_equal(buffer_size(&out), strlen(state));
    assert_memory_equal(buffer_head(&out) ? buffer_head(&out) : (const uint8_t *)"", state,
                        strlen(state));
    assert_int_equal(wrong.code != ERROR_NONE, mended);
    buffer_free(&out);
}

/* By name and with the reason, and the file stays as it is. */
static void expect_refused(struct fixture *f, const char *words)
{
    struct buffer out = { 0 };
    struct error wrong, error;
    bool found = true;

    store_init(&f->store, &f->config);
    assert_int_not_equal(store_load(&f->store, &out, &found, &wrong, &error), ERROR_NONE);
    assert_false(found);
    assert_int_equal(buffer_size(&out), 0);
    assert_non_null(strstr(error.text, f->store.path));
    if (!strstr(error.text, words))
        fail_msg("\"%s\" does not say \"%s\"", error.text, words);
    buffer_free(&out);
}

static void test_absent(void **state)
{
    expect(*state, "", false);
}

/* The second state replaces the first; what a crash left beside it is in nobody's way. */
static void test_save_and_load(void **state)
{
    struct fixture *f = *state;
    int fd = open(f->store.path_new, O_WRONLY | O_CREAT, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, "torn", 4), 4);
    assert_int_equal(close(fd), 0);
    save(f, "first, and longer");
    assert_int_equal(access(f->store.path_new, F_OK), -1);
    expect(f, "first, and longer", false);
    save(f, "second");
    expect(f, "second", false);
    save(f, "third");
    save(f, "fourth");
    copy(f);
    copy(f);
    save(f, "fifth");
    expect(f, "fifth", false);
}

/* A bit flipped anywhere, in either slot, once both have the state: it is made good. */
static void test_one_slot_damaged(void **state)
{
    struct fixture *f = *state;

    save(f, "some state of the rm");
    for (uint32_t slot = 0; slot < STORE_SLOTS; slot++)
        for (size_t i = 0; i < STORE_HEADER_SIZE + 20; i++) {
            size_t at = (size_t)slot * STORE_SLOT_SIZE + i;

            f->file[at] ^= (uint8_t)(1u << i % 8);
            write_file(f, f->file, sizeof f->file);
            expect(f, "some state of the rm", true);
            expect(f, "some state of the rm", false);
            f->file[at] ^= (uint8_t)(1u << i % 8);
        }
    for (size_t i = 0; i < STORE_HEADER_SIZE + 20; i++) {
        write_file(f, f->file, STORE_SLOT_SIZE + i);
        expect(f, "some state of the rm", true);
    }
}

/* A place that cannot be read any more. */
static ssize_t unreadable_pread(void *context, int fd, void *data, size_t size, off_t offset)
{
    (void)context;
    if (offset > 0)
        return files_system.pread(NULL, fd, data, size, offset);
    errno = EIO;
    return -1;
}

static void test_slot_not_to_be_read(void **state)
{
    struct fixture *f = *state;
    struct files files = files_system;
    struct buffer out = { 0 };
    struct error wrong, error;
    bool found;

    save(f, "some state of the rm");
    files.pread = unreadable_pread;
    store_init(&f->store, &f->config);
    f->store.files = &files;
    assert_int_equal(store_load(&f->store, &out, &found, &wrong, &error), ERROR_NONE);
    assert_int_equal(buffer_size(&out), 20);
    assert_non_null(strstr(wrong.text, "at offset 0"));
    buffer_free(&out);
}

/* The slot that was not written last is damaged before the state is copied to it. */
static void test_older_slot_damaged(void **state)
{
    struct fixture *f = *state;

    save(f, "first");
    save(f, "second");
    f->file[(1 - f->store.slot) * STORE_SLOT_SIZE + 20] ^= 4;
    write_file(f, f->file, sizeof f->file);
    expect(f, "second", true);
}

/* Both: nobody knows what was said, so nothing is. */
static void test_both_slots_damaged(void **state)
{
    struct fixture *f = *state;
    uint8_t *other = f->file + STORE_SLOT_SIZE;

    save(f, "some state of the rm");
    other[STORE_HEADER_SIZE] ^= 1;
    for (size_t i = 0; i < STORE_HEADER_SIZE + 20; i++) {
        f->file[i] ^= (uint8_t)(1u << i % 8);
        write_file(f, f->file, sizeof f->file);
        expect_refused(f, "");
        f->file[i] ^= (uint8_t)(1u << i % 8);
    }
    for (size_t i = 0; i < STORE_HEADER_SIZE + 20; i++) {
        write_file(f, f->file, i);
        expect_refused(f, "is damaged");
    }
    f->file[STORE_HEADER_SIZE] ^= 1;
    write_file(f, f->file, sizeof f->file);
    expect_refused(f, "its checksum is wrong (at offset 0)");
}

static void test_wrong_cluster(void **state)
{
    struct fixture *f = *state;

    save(f, "some state of the rm");
    (void)snprintf(f->config.cluster, sizeof f->config.cluster, "four");
    expect_refused(f, "belongs to cluster three, expected four");
}

static void test_wrong_format(void **state)
{
    struct fixture *f = *state;

    save(f, "some state of the rm");
    f->file[8] = f->file[STORE_SLOT_SIZE + 8] = 1;
    write_file(f, f->file, 72);
    expect_refused(f, "is of format 1, this rm reads format 2");
    write_file(f, f->file, sizeof f->file);
    expect_refused(f, "is of format 1, this rm reads format 2");
}

/* What follows the slots of a file is not read. */
static void test_huge(void **state)
{
    struct fixture *f = *state;

    save(f, "some state of the rm");
    assert_int_equal(truncate(f->store.path, 1 << 30), 0);
    expect(f, "some state of the rm", false);
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

/* Taken away under a running rm, it is made anew. */
static void test_taken_away(void **state)
{
    struct fixture *f = *state;

    save(f, "first");
    save(f, "second");
    assert_int_equal(unlink(f->store.path), 0);
    save(f, "third");
    expect(f, "third", false);
}

/* ------------------------------------------------------------------ the power goes */

#define STATES     7u
#define STATE_SIZE 1300u /* several sectors */

struct life {
    uint32_t begun[STATES + 1]; /* changes recorded when it was about to be saved */
    uint32_t safe[STATES + 1];  /* and when that was done */
};

/* State 0 is that there is none. */
static const char *state_text(uint32_t number)
{
    static char text[STATE_SIZE];

    memset(text, 0, sizeof text);
    if (number)
        memset(text, 'a' + (int)number, sizeof text - 1 - number);
    return text;
}

/* Some are copied before the next is saved, and some are not. */
static void live(struct fixture *f, struct recording *recording, struct life *life)
{
    f->store.files = &recording->files;
    for (uint32_t i = 1; i <= STATES; i++) {
        life->begun[i] = recording->count;
        save(f, state_text(i));
        life->safe[i] = recording->count;
        if (i == 2 || i == 5)
            copy(f);
    }
}

static bool may_be_found(const struct life *life, uint32_t number, uint32_t cut)
{
    bool begun = number == 0 || life->begun[number] < cut;

    return begun && (number == STATES || life->safe[number + 1] > cut);
}

/* What is found is the last state that was safe, or the one that was about to be. */
static void expect_after_cut(struct fixture *f, const struct life *life, uint32_t cut)
{
    struct buffer out = { 0 };
    struct error wrong, error;
    bool found, good = false;

    store_init(&f->store, &f->config);
    if (store_load(&f->store, &out, &found, &wrong, &error) != ERROR_NONE)
        fail_msg("cut at change %u: %s", cut, error.text);
    buffer_append(&out, "", 1);
    for (uint32_t i = 0; i <= STATES; i++)
        good = good || (may_be_found(life, i, cut) &&
                        strcmp((const char *)buffer_head(&out), state_text(i)) == 0);
    if (!good)
        fail_msg("cut at change %u: found a state of %zu '%c'", cut, buffer_size(&out) - 1,
                 (char)*buffer_head(&out));
    buffer_free(&out);
}

/* At any change, with what was not synced lost, there, or torn. */
static void test_power_cut(void **state)
{
    struct fixture *f = *state;
    static struct image image;
    struct recording recording;
    struct life life = { 0 };

    recording_init(&recording);
    live(f, &recording, &life);
    for (uint32_t cut = 0; cut <= recording.count; cut++)
        for (uint32_t run = 0; run < 100; run++) {
            struct random chance = random_seeded(cut * 100u + run);

            (void)folder_empty(f->config.run_dir);
            image_make(&image, &recording, cut, run % SURVIVAL_COUNT, &chance);
            image_store(&image, f->config.run_dir);
            expect_after_cut(f, &life, cut);
        }
    recording_free(&recording);
}

/* A sync fails, and the system takes the state for safe, which is not on the disk. The next life
 * acts upon it, and overwrites the other slot with the state after it, when the power goes. */
static void test_power_cut_after_failed_sync(void **state)
{
    struct fixture *f = *state;
    static struct image image;
    struct recording recording;
    struct life life = { 0 };
    struct buffer out = { 0 };
    struct error wrong, error;
    bool found;

    recording_init(&recording);
    f->store.files = &recording.files;
    save(f, state_text(1));
    recording.fail_sync = recording.syncs + 1;
    assert_int_not_equal(store_save(&f->store, bytes_string(state_text(2)), &error), ERROR_NONE);
    store_init(&f->store, &f->config);
    f->store.files = &recording.files;
    assert_int_equal(store_load(&f->store, &out, &found, &wrong, &error), ERROR_NONE);
    buffer_append(&out, "", 1);
    assert_string_equal((const char *)buffer_head(&out), state_text(2));
    buffer_free(&out);
    life.begun[2] = life.safe[2] = recording.count;
    for (uint32_t i = 3; i <= STATES; i++) {
        life.begun[i] = recording.count;
        save(f, state_text(i));
        life.safe[i] = recording.count;
    }
    for (uint32_t cut = life.safe[2] + 1; cut <= recording.count; cut++)
        for (uint32_t run = 0; run < 100; run++) {
            struct random chance = random_seeded(cut * 100u + run);

            (void)folder_empty(f->config.run_dir);
            image_make(&image, &recording, cut, run % SURVIVAL_COUNT, &chance);
            image_store(&image, f->config.run_dir);
            expect_after_cut(f, &life, cut);
        }
    recording_free(&recording);
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
        cmocka_unit_test_setup_teardown(test_one_slot_damaged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_slot_not_to_be_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_older_slot_damaged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_both_slots_damaged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wrong_cluster, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wrong_format, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_huge, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cannot_save, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_taken_away, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_power_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_power_cut_after_failed_sync, set_up, tear_down),
        cmocka_unit_test(test_blob),
        cmocka_unit_test(test_changed_config_rules),
        cmocka_unit_test(test_changed_servers),
        cmocka_unit_test(test_any_blob),
        cmocka_unit_test(test_two_stores),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
