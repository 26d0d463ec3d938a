/* A server that takes a checkpoint from another in any order of messages, directly or aside: a
 * state is taken only when it is the one announced, and its own is lost only when it was given up.
 *
 * An input is u8 direct, keep, then messages: u8 which, u8 index, u8 sequence, u8 from, and for a
 * slice its bytes as a piece. */
#include <stdlib.h>

#include "server/services/kv.h"
#include "server/transfer.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/machines.h"

struct receiver {
    struct transfer_in in;
    struct machine *machine;
    struct effects *out;
    bool direct, keep;
};

/* What the receiver's core would do: it gives up, and without a state it begins anew. */
static void give_up(struct receiver *r)
{
    transfer_in_abort(&r->in, r->out);
    machine_free(r->machine);
    r->machine = machine_new(kv_service());
}

static void apply(struct receiver *r)
{
    bool done = false, good = true;

    while (r->in.open && r->in.complete && good && !done)
        good = transfer_in_apply(&r->in, r->machine, &done);
    if (!good)
        give_up(r);
    else if (done)
        assert(machine_index(r->machine) == r->in.begin.index &&
               machine_digest(r->machine) == r->in.begin.digest);
}

static uint64_t digest_of_nothing(void)
{
    static uint64_t digest;
    struct machine *empty = digest ? NULL : machine_new(kv_service());

    if (empty)
        digest = machine_digest(empty);
    machine_free(empty);
    return digest;
}

/* One of changes goes to who has a state; of one of nothing we know the digest. */
static void begin(struct receiver *r, struct message *m, uint8_t index, uint8_t sequence)
{
    if (r->in.applying)
        give_up(r);
    m->type = MESSAGE_CHECKPOINT_BEGIN;
    m->checkpoint_begin = (struct message_checkpoint_begin){
        .index = index,
        .base_index = r->direct ? 0 : sequence & 1u,
        .time_us = index,
        .digest = index ? machine_digest(r->machine) : digest_of_nothing(),
        .bytes_estimated = sequence,
    };
    transfer_in_begin(&r->in, r->machine, m, r->direct, r->keep, r->out);
}

static void receive(struct receiver *r, struct bytes *input)
{
    uint8_t which = input_u8(input), index = input_u8(input), sequence = input_u8(input);
    struct message m = { .from = NODE_SERVER(input_u8(input) % 2u) };
    bool good = true;

    effects_clear(r->out);
    switch (which % 6u) {
    case 0: begin(r, &m, index, sequence); break;
    case 1:
    case 2:
        m.type = MESSAGE_CHECKPOINT_SLICE;
        m.checkpoint_slice.index = index;
        m.checkpoint_slice.sequence = sequence;
        m.checkpoint_slice.data = input_piece(input);
        good = transfer_in_slice(&r->in, r->machine, &m, r->out);
        break;
    case 3:
        m.type = MESSAGE_CHECKPOINT_END;
        m.checkpoint_end.index = index;
        m.checkpoint_end.slices = sequence;
        good = transfer_in_end(&r->in, &m, r->out);
        break;
    case 4: transfer_in_slice_kept(&r->in, r->out); break;
    default: transfer_in_kept(&r->in); break;
    }
    if (!good)
        give_up(r);
    apply(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = bytes_of(data, size);
    struct transfer_out none = { 0 };
    uint8_t how = input_u8(&input);
    struct receiver r = { .machine = machine_new(kv_service()),
                          .out = memory_zeroed(1, sizeof *r.out),
                          .direct = how & 1u,
                          .keep = how >> 1 & 1u };

    while (input.size > 0)
        receive(&r, &input);
    transfer_in_abort(&r.in, r.out);
    transfer_free(&none, &r.in);
    machine_free(r.machine);
    free(r.out);
    return 0;
}
