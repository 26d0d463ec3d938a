/* The rm's store, with checksums off: what an rm takes for its past lets it live on and store
 * again, and what it stored it takes again. */
#include <stdio.h>
#include <stdlib.h>

#include "rm/rm.h"
#include "rm/store.h"
#include "tests/fuzz/fuzz.h"

static const struct rm_options options = {
    .server_count = 3,
    .host_count = 3,
    .server_host = { 0, 1, 2 },
    .policy = { .style = STYLE_ACTIVE, .acks = ACKS_ALL },
    .persistent = true,
    .grace_ms = 1000,
    .lease_ms = 200,
    .backoff_ms = 50,
    .backoff_ms_max = 10000,
    .budget = 3,
    .budget_window_s = 60,
    .seed = 1,
};

/* A life with that past: everybody links and reports an empty journal. */
static void live(struct bytes past)
{
    struct rm_options again = options;
    struct rm *rm = memory_zeroed(1, sizeof *rm);
    struct effects *out = memory_zeroed(1, sizeof *out);
    struct error error;

    again.stored = past;
    rm_init(rm, &again, (struct instant){ 1000 });
    for (uint64_t ms = 1; ms < 3000; ms += 500)
        for (uint32_t i = 0; i < options.server_count; i++) {
            struct instant now = { ms * 1000000u };
            struct message up = { .type = MESSAGE_LINK_UP,
                                  .from = NODE_SERVER(i),
                                  .link_up = { .incarnation = 11 } };
            struct message report = {
                .type = MESSAGE_REPORT,
                .from = NODE_SERVER(i),
                .report = { .number = rm->view.number, .incarnation = 11, .intact = 1 }
            };

            effects_clear(out);
            rm_receive(rm, now, ms == 1 ? &up : &report, out);
            rm_tick(rm, now, out);
            rm_check(rm);
        }
    effects_clear(out);
    saved_store(&rm->saved, out);
    again.stored = out->list[0].data;
    if (rm_stored_check(&again, &error) != ERROR_NONE)
        abort();
    free(out);
    free(rm);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct config config = { .cluster = "three" };
    struct rm_options check = options;
    struct buffer state = { 0 };
    struct store store;
    struct error mended, error;
    size_t half = size / 2;
    bool found = false;

    (void)snprintf(config.run_dir, sizeof config.run_dir, "%s", scratch_folder());
    scratch_file("rm.store", bytes_of(data, half), STORE_SLOT_SIZE,
                 bytes_of(data + half, size - half)); /* a slot each */
    store_init(&store, &config);
    if (store_load(&store, &state, &found, &mended, &error) != ERROR_NONE) {
        assert(error.text[0]);
    } else {
        assert(found);
        check.stored = buffer_bytes(&state);
        if (rm_stored_check(&check, &error) == ERROR_NONE)
            live(check.stored);
    }
    buffer_free(&state);
    return 0;
}
