#include "server/journal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/crc32c.h"

static uint32_t record_size(size_t request_size)
{
    size_t size = sizeof(struct journal_record) + request_size;

    assert(request_size <= REQUEST_BYTES_MAX);
    return (uint32_t)((size + 7u) & ~(size_t)7u);
}

void journal_init(struct journal *journal, uint64_t first)
{
    *journal = (struct journal){ .first = first, .last = first - 1 };
}

static void block_drop(struct journal *journal, struct journal_block *block)
{
    journal->bytes -= block->block->size;
    if (block->block->size == JOURNAL_BLOCK_BYTES && block->block->holders == 1 &&
        journal->spare_count < JOURNAL_SPARE_COUNT)
        journal->spares[journal->spare_count++] = block->block;
    else
        block_release(block->block);
    free(block->places);
}

void journal_reset(struct journal *journal, uint64_t first)
{
    for (uint32_t i = 0; i < journal->count; i++)
        block_drop(journal, &journal->blocks[journal->start + i]);
    journal->start = journal->count = 0;
    journal->first = first;
    journal->last = first - 1;
}

void journal_free(struct journal *journal)
{
    journal_reset(journal, 1);
    while (journal->spare_count)
        block_release(journal->spares[--journal->spare_count]);
    free(journal->blocks);
    *journal = (struct journal){ 0 };
}

static struct journal_block *block_last(const struct journal *journal)
{
    return journal->count ? &journal->blocks[journal->start + journal->count - 1] : NULL;
}

/* One with room for size bytes. */
static struct block *block_take(struct journal *journal, uint32_t size)
{
    struct block *block;

    if (size > JOURNAL_BLOCK_BYTES || !journal->spare_count)
        return block_new(size > JOURNAL_BLOCK_BYTES ? size : JOURNAL_BLOCK_BYTES);
    block = journal->spares[--journal->spare_count];
    block->used = 0;
    return block;
}

static struct journal_block *block_add(struct journal *journal, uint32_t size)
{
    if (journal->start + journal->count == journal->capacity) {
        if (journal->blocks && journal->start > journal->capacity / 2) {
            memmove(journal->blocks, journal->blocks + journal->start,
                    journal->count * sizeof *journal->blocks);
            journal->start = 0;
        } else {
            journal->capacity = journal->capacity ? 2 * journal->capacity : 16;
            journal->blocks =
                memory_grown(journal->blocks, journal->capacity * sizeof *journal->blocks);
        }
    }
    journal->count++;

    struct journal_block *block = block_last(journal);
    *block = (struct journal_block){
        .block = block_take(journal, size),
        .first = journal->last + 1,
    };
    journal->bytes += block->block->size;
    return block;
}

/* Room for a record of size bytes, which it counts in. */
static uint8_t *record_add(struct journal *journal, uint32_t size)
{
    struct journal_block *block = block_last(journal);

    if (!block || block->sealed || block->block->size - block->block->used < size)
        block = block_add(journal, size);
    if (block->count == block->capacity) {
        block->capacity = block->capacity ? 2 * block->capacity : 256;
        block->places = memory_grown(block->places, block->capacity * sizeof *block->places);
    }
    block->places[block->count++] = block->block->used;

    uint8_t *place = block->block->data + block->block->used;
    block->block->used += size;
    journal->last++;
    return place;
}

/* Writes a whole record; the place need not be aligned. */
static void record_write(uint8_t *place, const struct journal_record *header, uint32_t size,
                         struct bytes request)
{
    const size_t uncovered = offsetof(struct journal_record, index);
    struct journal_record filled = *header;

    filled.size = size;
    filled.request_size = (uint32_t)request.size;
    memcpy(place, &filled, sizeof filled);
    if (request.size)
        memcpy(place + sizeof filled, request.data, request.size);
    memset(place + sizeof filled + request.size, 0, size - sizeof filled - request.size);
    filled.crc = crc32c(0, place + uncovered, size - uncovered);
    memcpy(place + offsetof(struct journal_record, crc), &filled.crc, sizeof filled.crc);
}

const struct journal_record *
journal_append(struct journal *journal, const struct journal_record *header, struct bytes request)
{
    uint32_t size = record_size(request.size);
    uint8_t *place = record_add(journal, size);

    assert(header->index == journal->last);
    record_write(place, header, size, request);
    return (const void *)place;
}

void journal_record_pack(struct buffer *out, const struct journal_record *header,
                         struct bytes request)
{
    uint32_t size = record_size(request.size);

    record_write(buffer_reserve(out, size), header, size, request);
    buffer_commit(out, size);
}

void journal_append_record(struct journal *journal, struct bytes record)
{
    memcpy(record_add(journal, (uint32_t)record.size), record.data, record.size);
}

static const struct journal_block *block_of(const struct journal *journal, uint64_t index)
{
    uint32_t low = journal->start, high = journal->start + journal->count - 1;

    assert(index >= journal->first && index <= journal->last);
    while (low < high) {
        uint32_t middle = high - (high - low) / 2;

        if (journal->blocks[middle].first <= index)
            low = middle;
        else
            high = middle - 1;
    }
    return &journal->blocks[low];
}

const struct journal_record *journal_at(const struct journal *journal, uint64_t index)
{
    const struct journal_block *block = block_of(journal, index);

    return (const void *)(block->block->data + block->places[index - block->first]);
}

struct bytes journal_slice(const struct journal *journal, uint64_t from, uint64_t to,
                           size_t bytes_max, uint64_t *last, struct block **owner)
{
    const struct journal_block *block = block_of(journal, from);
    uint32_t low = (uint32_t)(from - block->first);
    uint32_t start = block->places[low];
    uint64_t end_index = block->first + block->count - 1;
    uint32_t high = (uint32_t)((to < end_index ? to : end_index) - block->first);

    /* The last record that ends within bytes_max; the first always does. */
    for (uint32_t least = low; least < high;) {
        uint32_t middle = high - (high - least) / 2;
        uint32_t end = middle + 1 < block->count ? block->places[middle + 1] : block->block->used;

        if (end - start <= bytes_max)
            least = middle;
        else
            high = middle - 1;
    }
    *last = block->first + high;
    *owner = block->block;
    return bytes_of(block->block->data + start,
                    (high + 1 < block->count ? block->places[high + 1] : block->block->used) -
                        start);
}

uint64_t journal_bytes_after(const struct journal *journal, uint64_t index)
{
    uint64_t from = index + 1 > journal->first ? index + 1 : journal->first;
    uint64_t bytes = 0;
    struct block *owner;

    for (uint64_t last; from <= journal->last; from = last + 1)
        bytes += journal_slice(journal, from, journal->last, SIZE_MAX, &last, &owner).size;
    return bytes;
}

void journal_truncate(struct journal *journal, uint64_t index)
{
    struct journal_block *block;

    assert(index + 1 >= journal->first && index <= journal->last);
    while ((block = block_last(journal)) && block->first > index) {
        block_drop(journal, block);
        journal->count--;
    }
    journal->last = index;
    if (!block || block->first + block->count - 1 == index)
        return;
    block->count = (uint32_t)(index - block->first + 1);
    block->block->used = block->places[block->count];
    block->sealed = true;
}

void journal_drop(struct journal *journal, uint64_t index, uint64_t bytes_max)
{
    while (journal->count && journal->bytes > bytes_max) {
        struct journal_block *block = &journal->blocks[journal->start];

        if (block->first + block->count - 1 > index)
            break;
        journal->first = block->first + block->count;
        block_drop(journal, block);
        journal->start++;
        journal->count--;
    }
}

bool journal_record_next(struct bytes *records, struct journal_record *header, struct bytes *record,
                         bool *sound)
{
    const size_t uncovered = offsetof(struct journal_record, index);

    *sound = true;
    if (records->size == 0)
        return false;
    *sound = false;
    if (records->size < sizeof *header)
        return false;
    memcpy(header, records->data, sizeof *header);
    if (header->size > records->size || header->request_size > REQUEST_BYTES_MAX ||
        header->size != record_size(header->request_size) || header->zero != 0 ||
        header->crc != crc32c(0, records->data + uncovered, header->size - uncovered))
        return false;
    *sound = true;
    *record = bytes_of(records->data, header->size);
    *records = bytes_of(records->data + header->size, records->size - header->size);
    return true;
}
