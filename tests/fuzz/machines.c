#include "tests/fuzz/machines.h"

#include "server/services/kv.h"
#include "tests/fuzz/fuzz.h"

#define SLICE_BYTES 300u /* small, so that there are many */

void machines_transfer(struct machine *from, struct machine *to, uint64_t index, uint64_t time_us,
                       uint64_t digest)
{
    struct buffer slice = { 0 };
    bool more = true, good = true;

    while (more) {
        buffer_clear(&slice, SLICE_BYTES);
        more = machine_checkpoint_slice(from, SLICE_BYTES, &slice);
        good = good && machine_restore_slice(to, buffer_bytes(&slice));
    }
    machine_checkpoint_end(from);
    good = good && machine_restore_end(to, index, time_us, digest);
    assert(good && machine_digest(to) == digest);
    buffer_free(&slice);
}

struct machine *machine_copy(struct machine *machine)
{
    struct machine *copy = machine_new(kv_service());
    bool full;

    machine_restore_begin(copy, true);
    if (machine_index(machine) > 0) {
        machine_checkpoint_begin(machine, 0, &full);
        assert(full);
        machines_transfer(machine, copy, machine_index(machine), machine_time_us(machine),
                          machine_digest(machine));
    } else {
        full = machine_restore_end(copy, 0, 0, machine_digest(machine));
        assert(full);
    }
    return copy;
}

void machines_execute(struct machine *a, struct machine *b, const struct machine_entry *entry)
{
    struct buffer reply_a = { 0 }, reply_b = { 0 };
    bool silent =
        entry->kind == REQUEST_VIEW || entry->kind == REQUEST_MARK || entry->kind == REQUEST_TIME;
    uint32_t replies;

    machine_execute(a, entry, &reply_a);
    machine_execute(b, entry, &reply_b);
    replies = replies_check(buffer_bytes(&reply_a));
    assert(replies == (silent ? 0 : 1));
    assert(buffer_size(&reply_a) == buffer_size(&reply_b));
    assert(!reply_a.data || !reply_b.data ||
           memcmp(reply_a.data + reply_a.start, reply_b.data + reply_b.start,
                  buffer_size(&reply_a)) == 0);
    assert(machine_digest(a) == machine_digest(b));
    buffer_free(&reply_a);
    buffer_free(&reply_b);
}
