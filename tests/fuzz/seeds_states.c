/* Seeds of states and of what is on disks: checkpoints, journals, the rm's store. */
#include "tests/fuzz/seeds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rm/saved.h"
#include "rm/store.h"
#include "server/checkpoint_file.h"
#include "server/segment_format.h"
#include "server/server.h"
#include "server/services/kv.h"
#include "tests/fuzz/fuzz.h"

/* ---- A state ---- */

static void tell(struct machine *machine, uint64_t session, const char *words)
{
    struct buffer request = { 0 }, reply = { 0 };
    struct machine_entry entry = { .index = machine_index(machine) + 1,
                                   .time_us = 1600000000000000u + machine_index(machine),
                                   .session = session,
                                   .sequence = 1,
                                   .kind = REQUEST_COMMAND };

    pack_words(&request, words);
    entry.request = buffer_bytes(&request);
    machine_execute(machine, &entry, &reply);
    buffer_free(&request);
    buffer_free(&reply);
}

static struct machine *some_state(void)
{
    static const char *const words[] = { "SET k 1",
                                         "SET k2 value PX 100000000",
                                         "MSET a b n 7 x y",
                                         "EXPIRE a 100000000",
                                         "DEL x",
                                         "APPEND long 0123456789",
                                         "INCR n" };
    struct machine *machine = machine_new(kv_service());

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        tell(machine, i % 3, words[i]);
    return machine;
}

/* Calls take() with each slice. Each is of about so many bytes. */
static void each_slice(struct machine *machine, uint64_t base, uint32_t bytes,
                       void (*take)(void *context, struct bytes slice), void *context)
{
    struct buffer slice = { 0 };
    bool more = true, full;

    machine_checkpoint_begin(machine, base, &full);
    while (more) {
        buffer_clear(&slice, 65536);
        more = machine_checkpoint_slice(machine, bytes, &slice);
        take(context, buffer_bytes(&slice));
    }
    machine_checkpoint_end(machine);
    buffer_free(&slice);
}

static void take_piece(void *context, struct bytes slice)
{
    put_piece(context, slice);
}

static void restore_seed(const char *name, struct machine *machine, uint32_t bytes)
{
    struct buffer seed = { 0 };

    put_u16(&seed, 1000);
    put_u16(&seed, (size_t)machine_index(machine));
    each_slice(machine, 0, bytes, take_piece, &seed);
    seed_write("restore", name, &seed);
    buffer_free(&seed);
}

/* ---- Checkpoints ---- */

static void take_block(void *context, struct bytes slice)
{
    struct error error;

    if (checkpoint_writer_slice(context, slice, &error) != ERROR_NONE)
        abort();
}

static void checkpoint_seed(const char *name, struct machine *machine, uint32_t bytes)
{
    struct checkpoint_head head = { .index = machine_index(machine),
                                    .view = 3,
                                    .time_us = machine_time_us(machine),
                                    .digest = machine_digest(machine),
                                    .cluster = "three",
                                    .service = "kv" };
    struct checkpoint_writer *writer;
    struct buffer seed = { 0 };
    struct error error;
    char file[64];

    if (checkpoint_writer_open(&writer, &files_system, scratch_folder(), &head, &error) !=
        ERROR_NONE)
        abort();
    each_slice(machine, 0, bytes, take_block, writer);
    if (checkpoint_writer_finish(writer, &error) != ERROR_NONE)
        abort();
    files_name(file, sizeof file, "checkpoint-", head.index, "");
    seed_scratch(file, &seed);
    seed_write("checkpoint", name, &seed);
    buffer_free(&seed);
}

struct transfer_seed {
    struct buffer bytes;
    uint8_t index, sequence;
};

static void put_message(struct transfer_seed *seed, uint8_t which, uint8_t sequence)
{
    const uint8_t bytes[4] = { which, seed->index, sequence, 0 };

    buffer_append(&seed->bytes, bytes, sizeof bytes);
}

static void take_message(void *context, struct bytes slice)
{
    struct transfer_seed *seed = context;

    put_message(seed, 1, seed->sequence++);
    put_piece(&seed->bytes, slice);
}

/* how: 1 directly, 2 kept on the disk. */
static void transfer_seed(const char *name, struct machine *machine, uint8_t how)
{
    struct transfer_seed seed = { .index = machine ? (uint8_t)machine_index(machine) : 0 };

    buffer_append(&seed.bytes, &how, 1);
    put_message(&seed, 0, 0);
    if (machine)
        each_slice(machine, 0, 100, take_message, &seed);
    put_message(&seed, 4, 0);
    put_message(&seed, 3, seed.sequence);
    put_message(&seed, 5, 0);
    seed_write("transfer", name, &seed.bytes);
    buffer_free(&seed.bytes);
}

/* ---- Journals ---- */

static void pack_record(struct buffer *out, uint64_t index, uint64_t view)
{
    struct journal_record header = {
        .index = index, .view = view, .time_us = 1600000000000000u, .kind = REQUEST_COMMAND
    };
    struct buffer request = { 0 };

    pack_words(&request, "SET key value");
    if (index % 4 == 1) {
        header.kind = REQUEST_VIEW;
        buffer_clear(&request, 0);
    }
    journal_record_pack(out, &header, buffer_bytes(&request));
    buffer_free(&request);
}

static void write_entries(struct segments *segments, uint64_t first, uint64_t last, uint64_t view)
{
    struct buffer group = { 0 };
    struct bytes piece;
    struct error error;

    for (uint64_t i = first; i <= last; i++)
        pack_record(&group, i, view);
    piece = buffer_bytes(&group);
    if (segments_write(segments, &piece, 1, &error) != ERROR_NONE ||
        segments_sync(segments, &error) != ERROR_NONE)
        abort();
    buffer_free(&group);
}

static void some_journal(uint64_t segment_bytes, bool reset)
{
    struct segments_options options = { .directory = scratch_folder(),
                                        .files = &files_system,
                                        .cluster = "three",
                                        .segment_bytes = segment_bytes,
                                        .seed = 7 };
    struct segments_found found = { .first = 1 };
    struct segments *segments;
    struct error error;

    scratch_empty();
    if (segments_open(&segments, &options, &found, &error) != ERROR_NONE)
        abort();
    write_entries(segments, 1, 3, 1);
    if (reset && segments_reset(segments, 40, 2, &error) != ERROR_NONE)
        abort();
    write_entries(segments, reset ? 41 : 3, reset ? 42 : 5, 2);
    write_entries(segments, reset ? 42 : 5, reset ? 43 : 8, 3);
    segments_close(segments);
}

/* The header without its page, and what is behind it without the zeros at the end. */
static struct buffer squeezed(const char *name)
{
    struct buffer file = { 0 }, out = { 0 };
    size_t size;

    seed_scratch(name, &file);
    size = buffer_size(&file);
    while (size > SEGMENT_HEADER_BYTES && file.data[size - 1] == 0)
        size--;
    buffer_append(&out, file.data, sizeof(struct segment_header));
    buffer_append(&out, file.data + SEGMENT_HEADER_BYTES, size - SEGMENT_HEADER_BYTES);
    buffer_free(&file);
    return out;
}

static void segments_seed(const char *name, uint64_t segment_bytes, bool reset)
{
    struct buffer seed = { 0 }, first, second = { 0 };

    some_journal(segment_bytes, reset);
    first = squeezed("journal-000000000001");
    if (segment_bytes < 8192)
        second = squeezed("journal-000000000002");
    put_piece(&seed, buffer_bytes(&first));
    buffer_append(&seed, second.data, buffer_size(&second));
    seed_write("segments", name, &seed);
    buffer_free(&seed);
    buffer_free(&first);
    buffer_free(&second);
}

static void records_seed(void)
{
    struct buffer seed = { 0 };

    for (uint64_t i = 1; i <= 6; i++)
        pack_record(&seed, i, 1);
    pack_record(&seed, 4, 2);
    seed_write("records", "replaced", &seed);
    buffer_free(&seed);
}

/* ---- The rm's store ---- */

static void store_seed(const char *name, uint32_t views)
{
    static struct saved saved;
    struct view_policy policy = { STYLE_ACTIVE, PROPAGATION_STAR, ACKS_ALL, 0 };
    struct effects *out = memory_zeroed(1, sizeof *out);
    struct config config = { .cluster = "three" };
    struct buffer seed = { 0 };
    struct store store;
    struct error error;

    (void)snprintf(config.run_dir, sizeof config.run_dir, "%s", scratch_folder());
    saved_init(&saved, &policy, 3);
    saved.view_count = views;
    for (uint32_t i = 0; i < views; i++) {
        saved.views[i] = (struct message_view){ .number = 1 + i, .acks = 2 };
        saved.views[i].primary = NODE_SERVER(i % 2);
        members_put(&saved.views[i].members, NODE_SERVER(0), 11);
        members_put(&saved.views[i].members, NODE_SERVER(1), 21);
    }
    saved_store(&saved, out);
    store_init(&store, &config);
    if (store_save(&store, out->list[0].data, &error) != ERROR_NONE)
        abort();
    for (uint32_t slot = 0; slot < STORE_SLOTS; slot++)
        buffer_append(&seed, store.image, store.size);
    seed_write("store", name, &seed);
    buffer_free(&seed);
    free(out);
}

void seeds_of_states(void)
{
    struct machine *machine = some_state(), *empty = machine_new(kv_service());

    tell(empty, 0, "PING");
    restore_seed("state", machine, 65536);
    restore_seed("state_in_slices", machine, 1);
    restore_seed("empty", empty, 65536);
    checkpoint_seed("state", machine, 65536);
    checkpoint_seed("state_in_slices", machine, 1);
    transfer_seed("directly", machine, 1);
    transfer_seed("kept", machine, 3);
    transfer_seed("aside", machine, 0);
    transfer_seed("of_nothing", NULL, 1);
    segments_seed("one", 65536, false);
    segments_seed("two", 4096 + 512, false);
    segments_seed("reset", 65536, true);
    records_seed();
    store_seed("no_view", 0);
    store_seed("three_views", 3);
    machine_free(machine);
    machine_free(empty);
}
