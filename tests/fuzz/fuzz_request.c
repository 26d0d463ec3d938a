/* Requests whose bytes make no sense, in entries and in queries: each is answered, and the state is
 * the same in a machine that knows it from a checkpoint.
 *
 * An input is entries and queries: u8 kind, u8 session (its upper half is the sequence), then a
 * piece. */
#include "server/services/kv.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/machines.h"

#define COPIES_MAX 3u /* they take long */

/* SETRANGE and what else could make a long value of a few bytes is left to fuzz_kv. */
static bool bounded(struct bytes request)
{
    for (size_t i = 0; i + 5 <= request.size; i++)
        if ((request.data[i] | 32) == 'r' && (request.data[i + 1] | 32) == 'a' &&
            (request.data[i + 2] | 32) == 'n' && (request.data[i + 3] | 32) == 'g')
            return false;
    return true;
}

static void query(struct machine *machine, uint8_t kind, struct bytes request)
{
    uint64_t digest = machine_digest(machine);
    struct buffer reply = { 0 };
    uint32_t replies;

    machine_query(machine, kind, 1700000000000000u, request, &reply);
    replies = replies_check(buffer_bytes(&reply));
    assert(replies == 1 && machine_digest(machine) == digest);
    buffer_free(&reply);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = bytes_of(data, size);
    struct machine *machine = machine_new(kv_service());
    struct machine *copy = machine_copy(machine);
    uint32_t copies = 0;

    while (input.size > 0) {
        uint8_t kind = input_u8(&input), session = input_u8(&input);
        struct machine_entry entry = { .index = machine_index(machine) + 1,
                                       .time_us = machine_time_us(machine) + 1000u,
                                       .session = session & 15u,
                                       .sequence = session >> 4,
                                       .kind = kind };

        entry.request = input_piece(&input);
        if (!bounded(entry.request))
            continue;
        if (kind >= REQUEST_READ)
            query(machine, kind, entry.request);
        else
            machines_execute(machine, copy, &entry);
        if (kind == REQUEST_MARK && copies++ < COPIES_MAX) {
            machine_free(copy);
            copy = machine_copy(machine);
        }
    }
    machine_free(machine_copy(machine));
    machine_free(machine);
    machine_free(copy);
    return 0;
}
