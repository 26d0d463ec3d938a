/* The journal in memory: packed records, slices, truncation, dropping. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "server/journal.h"

static void fill(struct journal *j, uint64_t count, uint64_t view, size_t size)
{
    static uint8_t request[200000];

    memset(request, 'x', size);
    for (uint64_t i = 0; i < count; i++) {
        struct journal_record header = { .index = j->last + 1, .view = view };

        journal_append(j, &header, bytes_of(request, size));
    }
}

/* What is appended is found again, across blocks. */
static void test_append_and_find(void **state)
{
    struct journal j;

    (void)state;
    journal_init(&j, 1);
    fill(&j, 100, 3, 100000);
    assert_int_equal(j.last, 100);
    for (uint64_t i = 1; i <= 100; i++) {
        const struct journal_record *record = journal_at(&j, i);

        assert_int_equal(record->index, i);
        assert_int_equal(record->view, 3);
        assert_int_equal(record->request_size, 100000);
    }
    journal_free(&j);
}

/* A slice lies in one piece, holds at least one entry, and reads back record by record. */
static void test_slices(void **state)
{
    struct journal j, copy;
    struct block *owner;
    uint64_t from = 1, last;

    (void)state;
    journal_init(&j, 1);
    journal_init(&copy, 1);
    fill(&j, 5000, 1, 333);
    while (from <= j.last) {
        struct bytes slice = journal_slice(&j, from, j.last, 4096, &last, &owner), record;
        struct journal_record header;
        bool sound;

        assert_true(last >= from && slice.size <= 4096 && owner);
        while (journal_record_next(&slice, &header, &record, &sound)) {
            assert_int_equal(header.index, from++);
            journal_append_record(&copy, record);
        }
        assert_true(sound);
        assert_int_equal(from, last + 1);
    }
    assert_int_equal(copy.last, j.last);
    assert_int_equal(journal_slice(&j, 7, 7, 1, &last, &owner).size, journal_at(&j, 7)->size);
    assert_int_equal(last, 7);
    journal_free(&j);
    journal_free(&copy);
}

/* Bytes that a link still holds are not written over after a truncation. */
static void test_held_bytes_stay(void **state)
{
    struct journal j;
    struct block *owner;
    uint64_t last;
    struct bytes slice;
    uint8_t before[400];

    (void)state;
    journal_init(&j, 1);
    fill(&j, 3, 1, 50);
    slice = journal_slice(&j, 1, 3, 10000, &last, &owner);
    assert_true(slice.size <= sizeof before);
    block_hold(owner);
    memcpy(before, slice.data, slice.size);
    journal_truncate(&j, 1);
    fill(&j, 5, 2, 60);
    assert_memory_equal(before, slice.data, slice.size);
    assert_int_equal(journal_at(&j, 1)->view, 1);
    assert_int_equal(journal_at(&j, 2)->view, 2);
    assert_int_equal(j.last, 6);
    block_release(owner);
    journal_free(&j);
}

/* Truncation takes whole blocks and a part of one; at the end of a block only whole ones. */
static void test_truncate(void **state)
{
    struct journal j;
    uint64_t end_of_first;

    (void)state;
    journal_init(&j, 1);
    fill(&j, 100, 1, 100000);
    end_of_first = j.blocks[j.start].count;
    assert_true(end_of_first > 1 && end_of_first < 50);
    journal_truncate(&j, 50);
    assert_int_equal(j.last, 50);
    journal_truncate(&j, end_of_first);
    assert_int_equal(j.count, 1);
    fill(&j, 1, 2, 10);
    assert_int_equal(j.last, end_of_first + 1);
    assert_int_equal(journal_at(&j, end_of_first)->view, 1);
    assert_int_equal(journal_at(&j, end_of_first + 1)->view, 2);
    journal_truncate(&j, 0);
    assert_int_equal(j.count, 0);
    assert_int_equal(j.bytes, 0);
    journal_free(&j);
}

/* Dropping gives back whole blocks, and only as far as asked. */
static void test_drop(void **state)
{
    struct journal j;
    uint64_t bytes;

    (void)state;
    journal_init(&j, 1);
    fill(&j, 100, 1, 100000);
    bytes = j.bytes;
    journal_drop(&j, 50, UINT64_MAX);
    assert_int_equal(j.first, 1);
    journal_drop(&j, 50, 0);
    assert_true(j.first > 30 && j.first <= 51);
    assert_true(j.bytes < bytes);
    assert_int_equal(journal_at(&j, j.first)->index, j.first);
    journal_drop(&j, 100, 0);
    assert_int_equal(j.first, 101);
    fill(&j, 1, 1, 10);
    assert_int_equal(journal_at(&j, 101)->index, 101);
    journal_free(&j);
}

/* A dropped block serves again, unless somebody holds it; only a few wait for that. */
static void test_spares(void **state)
{
    struct journal j;
    struct block *dropped, *held;

    (void)state;
    journal_init(&j, 1);
    fill(&j, 100, 1, 100000);
    dropped = j.blocks[j.start].block;
    held = j.blocks[j.start + 1].block;
    block_hold(held);
    journal_drop(&j, j.blocks[j.start + 2].first - 1, 0);
    assert_int_equal(j.spare_count, 1);
    assert_ptr_equal(j.spares[0], dropped);
    while (j.spare_count)
        fill(&j, 1, 1, 100000);
    assert_ptr_equal(j.blocks[j.start + j.count - 1].block, dropped);
    assert_int_equal(journal_at(&j, j.last)->index, j.last);
    journal_reset(&j, 1);
    assert_int_equal(j.spare_count, JOURNAL_SPARE_COUNT);
    assert_int_equal(j.bytes, 0);
    block_release(held);
    journal_free(&j);
}

/* A record that is damaged anywhere, or cut short anywhere, is refused. */
static void test_damage(void **state)
{
    struct journal j;
    struct bytes whole, rest, record;
    struct journal_record header;
    uint8_t copy[256];
    bool sound;

    (void)state;
    journal_init(&j, 1);
    fill(&j, 1, 1, 77);
    whole = bytes_of(journal_at(&j, 1), journal_at(&j, 1)->size);
    assert_true(whole.size <= sizeof copy);
    for (size_t i = 0; i < whole.size; i++) {
        memcpy(copy, whole.data, whole.size);
        copy[i] ^= 0x10;
        rest = bytes_of(copy, whole.size);
        assert_false(journal_record_next(&rest, &header, &record, &sound));
        assert_false(sound);
        rest = bytes_of(whole.data, i);
        assert_false(journal_record_next(&rest, &header, &record, &sound));
        assert_int_equal(sound, i == 0);
    }
    journal_free(&j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_and_find), cmocka_unit_test(test_slices),
        cmocka_unit_test(test_held_bytes_stay), cmocka_unit_test(test_drop),
        cmocka_unit_test(test_spares),          cmocka_unit_test(test_damage),
        cmocka_unit_test(test_truncate),
    };

    return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
