/* Slices of a checkpoint that anybody may have made. What is refused leaves an empty machine; what
 * is taken is a state that executes, answers, expires, and gives checkpoints of itself. The index
 * and the time said of it are those of the service's part, or later.
 *
 * An input is u16 how much later it is then in ms, u16 by how much the index is later, then each
 * slice as a piece. */
#include "server/services/kv.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/machines.h"

static const struct {
    const char *words[4];
} calls[] = {
    { { "KEYS", "*" } },         { { "SCAN", "0" } },        { { "SET", "a", "1" } },
    { { "GET", "a" } },          { { "APPEND", "a", "b" } }, { { "DEL", "k" } },
    { { "EXPIRE", "k2", "1" } }, { { "RENAME", "a", "k" } }, { { "RANDOMKEY" } },
    { { "COPY", "k", "k3" } },   { { "INCR", "n" } },        { { "FLUSHALL" } },
};

static void pack(struct buffer *request, size_t i)
{
    struct bytes argv[4];
    uint32_t argc = 0;

    for (; argc < 4 && calls[i].words[argc]; argc++)
        argv[argc] = bytes_string(calls[i].words[argc]);
    request_pack_command(request, argc, argv);
}

/* The state goes on, beside one that was made of its checkpoint. */
static void live(struct machine *machine, uint64_t later_us)
{
    struct machine *copy = machine_copy(machine);
    struct buffer request = { 0 };
    /* Sessions that are not in it: what it remembers of others is said as it came. */
    uint64_t session = machine_digest(machine) | 1u;
    struct machine_entry entry = { .time_us = machine_time_us(machine) + later_us };

    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        buffer_clear(&request, 4096);
        pack(&request, i);
        entry.index = machine_index(machine) + 1;
        entry.kind = REQUEST_COMMAND;
        entry.session = session;
        entry.sequence = i + 1;
        entry.request = buffer_bytes(&request);
        machines_execute(machine, copy, &entry);
        entry.index++;
        entry.kind = REQUEST_TIME;
        entry.session = entry.sequence = 0;
        machines_execute(machine, copy, &entry);
    }
    buffer_free(&request);
    machine_free(copy);
    machine_free(machine_copy(machine));
}

/* In the service's part, which begins the first slice: behind a tag, the size of an item, its type
 * and the index of the base. */
#define SERVICE_TAG 1u
#define INDEX_AT    14u
#define TIME_AT     22u

static uint64_t number_at(struct bytes slice, size_t at)
{
    uint64_t number = 0;

    if (slice.size >= at + sizeof number)
        memcpy(&number, slice.data + at, sizeof number);
    return number;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = bytes_of(data, size);
    uint64_t later_us = input_u16(&input) * 1000ull, index = input_u16(&input), time_us = 0;
    struct bytes first = input;
    struct machine *machine = machine_new(kv_service());
    bool good = true;

    first = input_piece(&first);
    time_us = number_at(first, TIME_AT);
    if (number_at(first, INDEX_AT) >> 62 || time_us >> 62) { /* nothing comes after them */
        machine_free(machine);
        return 0;
    }
    index += number_at(first, INDEX_AT);
    machine_restore_begin(machine, true);
    while (input.size > 0) {
        struct bytes slice = input_piece(&input);

        if (slice.size)
            good = machine_restore_slice(machine, slice) && good;
    }
    good = machine_restore_end(machine, index, time_us, good ? machine_digest(machine) : 0) && good;
    if (good)
        live(machine, later_us);
    else
        assert(machine_index(machine) == 0);
    machine_free(machine);
    return 0;
}
