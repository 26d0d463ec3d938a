/* The power goes, at any moment: what was said to be safe is there, and nothing is wrong. */
#include "tests/unit/disk_fixture.h"
#include "tests/unit/recording_files.h"

#include "server/checkpoint_file.h"

#define SMALL     8192u /* bytes of a segment */
#define STEPS_MAX 64u

/* What was known after a step, and when. */
struct moment {
    struct shelf known;
    uint64_t dropped;
    uint32_t begun;  /* changes recorded before the step */
    uint32_t tidied; /* changes recorded when what it made superfluous was gone */
    uint32_t safe;   /* changes recorded when it was known to be safe; 0: never */
};

struct fixture {
    char directory[64], after[64]; /* where it is recorded, and what is there after the cut */
    struct recording recording;
    struct moment *moments;
    uint32_t steps;
    struct shelf read;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    if (!f)
        return -1;
    folder_make(f->directory, sizeof f->directory);
    folder_make(f->after, sizeof f->after);
    recording_init(&f->recording);
    f->moments = calloc(STEPS_MAX + 1, sizeof *f->moments);
    *state = f;
    return f->moments ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    recording_free(&f->recording);
    folder_remove(f->directory);
    folder_remove(f->after);
    free(f->moments);
    free(f);
    return 0;
}

/* ---- A journal's life, recorded ---- */

static struct segments *start(struct fixture *f, const char *directory, const struct files *files,
                              uint64_t seed)
{
    struct segments_options options = disk_options(directory, files, SMALL);
    struct segments_found found = disk_read(directory, &f->read);
    struct segments *segments;
    struct error error;

    options.seed = seed;
    if (segments_open(&segments, &options, &found, &error) != ERROR_NONE)
        fail_msg("%s", error.text);
    return segments;
}

static struct moment *begin_step(struct fixture *f)
{
    struct moment *moment = &f->moments[++f->steps];

    assert_true(f->steps <= STEPS_MAX);
    *moment = moment[-1];
    moment->safe = 0;
    moment->begun = f->recording.count;
    return moment;
}

static void all_is_safe(struct fixture *f)
{
    for (uint32_t i = 0; i <= f->steps; i++)
        if (f->moments[i].safe == 0)
            f->moments[i].safe = f->recording.count;
}

static void step(struct fixture *f, struct segments *segments, struct random *chance)
{
    struct moment *moment = begin_step(f);
    struct shelf *known = &moment->known;
    uint64_t lowest = known->first > moment->dropped ? known->first : moment->dropped + 1;
    uint64_t first = known->last + 1, count = 1 + random_below(chance, 6);
    uint64_t token = 100 * (uint64_t)f->steps;
    struct error error;

    switch (random_below(chance, 12)) {
    case 0: /* a reset, seldom far away */
        first += random_below(chance, 20);
        assert_int_equal(segments_reset(segments, first, 3, &error), ERROR_NONE);
        shelf_reset(known, first, 3);
        return;
    case 1: /* a truncation, of what was not dropped */
        if (first > lowest)
            first -= random_below(chance, first - lowest);
        break;
    case 2:
        if (known->last > moment->dropped) /* nothing that may be truncated later */
            moment->dropped += random_below(chance, known->last - moment->dropped);
        assert_int_equal(segments_drop(segments, moment->dropped, &error), ERROR_NONE);
        all_is_safe(f);
        return;
    default: break;
    }
    assert_int_equal(disk_write(segments, first, count, token, &error), ERROR_NONE);
    shelf_put_all(known, first, count, token);
}

static void live(struct fixture *f, uint64_t seed)
{
    struct random chance = random_seeded(seed);
    struct segments *segments;
    struct error error;

    f->moments[0].known.first = 1;
    segments = start(f, f->directory, &f->recording.files, seed);
    all_is_safe(f);
    for (uint32_t i = 0; i < STEPS_MAX; i++) {
        step(f, segments, &chance);
        if (random_below(&chance, 3)) {
            assert_int_equal(segments_sync(segments, &error), ERROR_NONE);
            all_is_safe(f);
        }
        if (random_below(&chance, 15) == 0) {
            segments_close(segments);
            segments = start(f, f->directory, &f->recording.files, seed + i);
            all_is_safe(f);
        }
    }
    segments_close(segments);
}

/* ---- After the cut ---- */

/* The moment that was read back, or NULL. */
static const struct moment *find_moment(const struct fixture *f, uint32_t cut,
                                        const struct segments_found *found)
{
    uint32_t from = 0, to = 0;

    for (uint32_t i = 0; i <= f->steps; i++) {
        if (f->moments[i].safe && f->moments[i].safe <= cut)
            from = i;
        if (f->moments[i].begun < cut || from == i) /* a drop may change nothing */
            to = i;
    }
    for (uint32_t i = from; i <= to; i++)
        if (shelf_same(&f->moments[i].known, found, &f->read, f->moments[to].dropped))
            return &f->moments[i];
    return NULL;
}

/* Life goes on behind what was read, and the next end of it is in order. */
static void go_on(struct fixture *f, const struct segments_found *found, uint64_t seed)
{
    static struct shelf known;
    struct segments *segments;
    struct segments_found again;
    struct error error;

    known = f->read;
    known.first = found->first;
    known.last = found->last;
    segments = start(f, f->after, &files_system, seed);
    for (uint32_t i = 0; i < 3; i++) {
        uint64_t first = known.last + 1;

        assert_int_equal(disk_write(segments, first, 1 + i, 9000 + 10 * i, &error), ERROR_NONE);
        shelf_put_all(&known, first, 1 + i, 9000 + 10 * i);
    }
    assert_int_equal(segments_sync(segments, &error), ERROR_NONE);
    segments_close(segments);
    again = disk_read(f->after, &f->read);
    assert_false(again.damaged);
    assert_int_equal(again.torn_bytes, 0);
    assert_true(shelf_same(&known, &again, &f->read, found->first - 1));
}

static void cut_power(struct fixture *f, uint32_t cut, enum survival survival, uint64_t seed)
{
    struct random chance = random_seeded(seed + cut);
    struct segments_found found;
    static struct image image;

    image_make(&image, &f->recording, cut, survival, &chance);
    image_store(&image, f->after);
    found = disk_read(f->after, &f->read);
    if (found.damaged)
        fail_msg("seed %llu, cut %u, survival %d: %s, offset %llu: %s", (unsigned long long)seed,
                 cut, (int)survival, found.file, (unsigned long long)found.offset, found.reason);
    if (!find_moment(f, cut, &found))
        fail_msg("seed %llu, cut %u, survival %d: entries %llu to %llu are not what was written",
                 (unsigned long long)seed, cut, (int)survival, (unsigned long long)found.first,
                 (unsigned long long)found.last);
    go_on(f, &found, 1000 + cut);
    (void)folder_empty(f->after);
}

static void try_journal(struct fixture *f, uint64_t seed)
{
    live(f, seed);
    for (uint32_t cut = 0; cut <= f->recording.count; cut++)
        for (enum survival survival = SURVIVE_NONE; survival < SURVIVAL_COUNT; survival++)
            cut_power(f, cut, survival, seed);
}

static void test_journal_1(void **state)
{
    try_journal(*state, 1);
}

static void test_journal_2(void **state)
{
    try_journal(*state, 2);
}

static void test_journal_3(void **state)
{
    try_journal(*state, 3);
}

/* ---- After a sync that failed ---- */

/* Lives until the sync of that number fails; false when there are not so many. */
static bool live_until_failure(struct fixture *f, uint32_t number)
{
    struct segments *segments;
    struct error error;
    bool failed = false;

    recording_free(&f->recording);
    recording_init(&f->recording);
    (void)folder_empty(f->directory);
    segments = start(f, f->directory, &f->recording.files, number);
    f->recording.fail_sync = f->recording.syncs + number;
    for (uint64_t i = 0; i < 24 && !failed; i++)
        failed = disk_write(segments, 1 + 3 * i, 3, 1000 + 3 * i, &error) != ERROR_NONE ||
                 segments_sync(segments, &error) != ERROR_NONE;
    segments_close(segments);
    return failed;
}

/* The next life in the same boot reads what the system has in its memory. What it takes for its own
 * must be on the disk from then on, though the system thinks it is there already. */
static void test_failed_sync(void **state)
{
    struct fixture *f = *state;
    struct random chance = random_seeded(3);
    static struct image image;
    static struct shelf known;
    struct segments_found found;
    uint32_t number = 1;

    for (; live_until_failure(f, number); number++) {
        segments_close(start(f, f->directory, &f->recording.files, 77));
        known = f->read;
        found = disk_read(f->directory, &f->read);
        assert_int_equal(found.last % 3, 0);
        known.first = found.first;
        image_make(&image, &f->recording, f->recording.count, SURVIVE_NONE, &chance);
        image_store(&image, f->after);
        found = disk_read(f->after, &f->read);
        assert_false(found.damaged);
        assert_true(shelf_same(&known, &found, &f->read, 0));
        (void)folder_empty(f->after);
    }
    assert_true(number > 24);
}

/* ---- Checkpoints ---- */

#define CHECKPOINTS 9u

/* Two chains of a checkpoint with changes, then a bare one, then one with changes. */
static const uint64_t bases[CHECKPOINTS + 1] = { 0, 0, 1, 2, 0, 4, 5, 0, 0, 8 };

static void save(struct fixture *f, uint64_t index)
{
    struct checkpoint_head head = {
        .base = bases[index], .index = index, .cluster = "three", .service = "kv"
    };
    struct checkpoint_writer *writer;
    struct error error;
    uint64_t oldest;
    uint8_t data[REQUEST_SIZE_MAX];

    assert_int_equal(
        checkpoint_writer_open(&writer, &f->recording.files, f->directory, &head, &error),
        ERROR_NONE);
    for (uint64_t i = 0; i < 8; i++) {
        size_t size = request_of(100 * index + i, data, sizeof data);

        assert_int_equal(checkpoint_writer_slice(writer, bytes_of(data, size), &error), ERROR_NONE);
    }
    assert_int_equal(checkpoint_writer_finish(writer, &error), ERROR_NONE);
    f->moments[index].safe = f->recording.count;
    assert_int_equal(checkpoint_tidy(&f->recording.files, f->directory, &oldest, &error),
                     ERROR_NONE);
    f->moments[index].tidied = f->recording.count;
    f->moments[index].dropped = oldest;
}

static void expect_whole(const struct fixture *f, uint64_t index)
{
    struct checkpoint_reader *reader;
    struct checkpoint_head head;
    uint8_t data[REQUEST_SIZE_MAX];
    struct bytes slice;
    struct error error;
    uint64_t bytes, number = 100 * index;
    char path[160];
    bool done = false;

    checkpoint_name_path(f->after, (struct checkpoint_name){ index, bases[index] > 0 }, path,
                         sizeof path);
    if (checkpoint_reader_open(&reader, &files_system, path, &head, &bytes, &error) != ERROR_NONE)
        fail_msg("%s", error.text);
    assert_int_equal(head.index, index);
    assert_int_equal(head.base, bases[index]);
    while (!done) {
        if (checkpoint_reader_next(reader, &slice, &done, &error) != ERROR_NONE)
            fail_msg("%s", error.text);
        if (!done) {
            size_t size = request_of(number++, data, sizeof data);

            assert_true(bytes_equal(slice, bytes_of(data, size)));
        }
    }
    assert_int_equal(number, 100 * index + 8);
    checkpoint_reader_close(reader);
}

/* What a checkpoint comes to with the changes that follow one another behind it, up to `last`. */
static uint64_t chain_end(const struct fixture *f, uint64_t index, uint64_t last)
{
    uint64_t changes[CHECKPOINTS];
    struct error error;
    uint32_t count;

    expect_whole(f, index);
    assert_int_equal(checkpoint_changes_list(f->after, index, changes, CHECKPOINTS, &count, &error),
                     ERROR_NONE);
    for (uint32_t i = 0; i < count && changes[i] <= last; i++) {
        expect_whole(f, changes[i]);
        if (bases[changes[i]] == index)
            index = changes[i];
    }
    return index;
}

/* All that is there is whole; the newest chain comes to what was finished last, or further; and the
 * one before it to where the journal begins. */
static void expect_checkpoints(const struct fixture *f, uint32_t cut)
{
    uint64_t indexes[CHECKPOINTS], finished = 0, oldest = 0;
    struct error error;
    uint32_t count;

    for (uint64_t index = 1; index <= CHECKPOINTS; index++) {
        if (f->moments[index].safe <= cut)
            finished = index;
        if (f->moments[index].tidied <= cut)
            oldest = f->moments[index].dropped;
    }
    assert_int_equal(checkpoint_list(f->after, indexes, CHECKPOINTS, &count, &error), ERROR_NONE);
    assert_true(finished == 0 || count > 0);
    if (count > 0)
        assert_true(chain_end(f, indexes[0], UINT64_MAX) >= finished);
    if (count > 1)
        assert_true(chain_end(f, indexes[1], indexes[0]) >= oldest);
    for (uint32_t i = 2; i < count; i++)
        expect_whole(f, indexes[i]);
}

static void test_checkpoints(void **state)
{
    struct fixture *f = *state;
    struct random chance = random_seeded(5);
    static struct image image;

    for (uint64_t index = 1; index <= CHECKPOINTS; index++)
        save(f, index);
    for (uint32_t cut = 0; cut <= f->recording.count; cut++)
        for (enum survival survival = SURVIVE_NONE; survival < SURVIVAL_COUNT; survival++) {
            image_make(&image, &f->recording, cut, survival, &chance);
            image_store(&image, f->after);
            expect_checkpoints(f, cut);
            (void)folder_empty(f->after);
        }
}

#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(test_journal_1),   test(test_journal_2),   test(test_journal_3),
        test(test_failed_sync), test(test_checkpoints),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
