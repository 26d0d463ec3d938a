/* Records of entries, as appends and forwards bring them. With checksums off. */
#include "server/journal.h"
#include "tests/fuzz/fuzz.h"

/* Takes in what follows on what is there, as a backup does. */
static void append_all(struct journal *journal, struct bytes records)
{
    struct journal_record header;
    struct bytes record;
    bool sound;

    while (journal_record_next(&records, &header, &record, &sound)) {
        assert(header.size == record.size && header.request_size <= header.size);
        if (header.index >= journal->first && header.index <= journal->last)
            journal_truncate(journal, header.index - 1);
        if (header.index == journal->last + 1)
            journal_append_record(journal, record);
    }
    assert(sound == (records.size == 0));
}

/* What went in comes out, also in slices. */
static void check_journal(const struct journal *journal)
{
    uint64_t last = journal->first - 1;

    while (last < journal->last) {
        struct journal_record header;
        struct bytes record, slice;
        struct block *owner;
        uint64_t next = last + 1;
        bool sound;

        slice = journal_slice(journal, next, journal->last, 300, &last, &owner);
        for (; journal_record_next(&slice, &header, &record, &sound); next++) {
            const struct journal_record *held = journal_at(journal, next);

            assert(header.index == next && held->size == record.size);
            assert(memcmp(held, record.data, record.size) == 0);
        }
        assert(sound && next == last + 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = bytes_of(data, size);
    struct journal journal;

    journal_init(&journal, 1);
    append_all(&journal, input);
    check_journal(&journal);
    journal_drop(&journal, journal.last, 0);
    journal_free(&journal);
    return 0;
}
