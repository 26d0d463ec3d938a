/* How a checkpoint goes out beside a server's work: in slices that take little time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/services/kv.h"
#include "server/transfer.h"

#define KEYS 20000u /* about a megabyte of a checkpoint */

struct fixture {
    struct machine *machine;
    struct transfer_out out;
    struct effects effects;
    struct instant now;
};

static const node_id s1 = NODE_SERVER(0), s2 = NODE_SERVER(1);

static void set_keys(struct machine *machine)
{
    struct buffer packed = { 0 }, reply = { 0 };

    for (uint32_t i = 1; i <= KEYS; i++) {
        char key[16];
        struct bytes argv[] = { bytes_string("SET"), bytes_string(key), bytes_string("value") };
        struct machine_entry entry = { .index = i, .time_us = 1, .kind = REQUEST_COMMAND };

        (void)snprintf(key, sizeof key, "%u", i);
        buffer_clear(&packed, 1 << 20);
        buffer_clear(&reply, 1 << 20);
        request_pack_command(&packed, 3, argv);
        entry.request = buffer_bytes(&packed);
        machine_execute(machine, &entry, &reply);
    }
    buffer_free(&packed);
    buffer_free(&reply);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->machine = machine_new(kv_service());
    f->out.self = s1;
    f->now = instant_add_ms((struct instant){ 0 }, 1000);
    set_keys(f->machine);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    struct transfer_in in = { 0 };

    transfer_free(&f->out, &in);
    machine_free(f->machine);
    free(f);
    return 0;
}

/* A tick; what it sent is written at once. Returns the bytes of the slice, 0 if there was none. */
static size_t tick(struct fixture *f)
{
    size_t size = 0;

    effects_clear(&f->effects);
    transfer_out_tick(&f->out, f->now, f->machine, &f->effects);
    for (uint32_t i = 0; i < f->effects.count; i++)
        if (f->effects.list[i].type == EFFECT_KEEP)
            size = f->effects.list[i].message.checkpoint_slice.data.size;
    if (size > 0)
        transfer_out_slice_kept(&f->out, f->now);
    return size;
}

/* Slices that take too long become smaller, and larger again when there is time. */
static void test_slices_fit_the_time(void **state)
{
    struct fixture *f = *state;
    size_t first, small;

    transfer_out_keep(&f->out, f->now, f->machine, 1, 1, &f->effects);
    first = tick(f);
    for (int i = 0; i < 5; i++) {
        transfer_out_paced(&f->out, f->now, SLICE_US_MAX + 1, false);
        small = tick(f);
    }
    assert_true(small >= SLICE_BYTES_MIN && small < SLICE_BYTES_MIN + 1024u);
    assert_true(small < first / 4);
    for (int i = 0; i < 3; i++) {
        transfer_out_paced(&f->out, f->now, SLICE_US_MAX / 10, false);
        (void)tick(f);
    }
    assert_true(tick(f) > 4 * small);
}

/* While there is pressing work, slices take their share of the time and no more; without, they
 * follow one another at once. */
static void test_work_goes_first(void **state)
{
    struct fixture *f = *state;

    transfer_out_keep(&f->out, f->now, f->machine, 1, 1, &f->effects);
    assert_true(tick(f) > 0);
    transfer_out_paced(&f->out, f->now, 200, true);
    assert_int_equal(tick(f), 0);
    assert_int_equal(instant_since_us(transfer_out_due(&f->out), f->now), 200 * SLICE_PARTS_KEPT);
    f->now = transfer_out_due(&f->out);
    assert_true(tick(f) > 0);
    transfer_out_paced(&f->out, f->now, 200, false);
    assert_true(tick(f) > 0);
}

/* A joiner waits for its donation, and backups of the passive style for their round. */
static void test_others_wait_for_it(void **state)
{
    struct fixture *f = *state;

    transfer_out_wanted(&f->out, s2, 1);
    transfer_out_donate(&f->out, f->now, f->machine, 1, 1, 1u << node_index(s2), &f->effects);
    transfer_out_tick(&f->out, f->now, f->machine, &f->effects);
    transfer_out_paced(&f->out, f->now, 200, true);
    assert_int_equal(instant_since_us(transfer_out_due(&f->out), f->now), 200 * SLICE_PARTS);
    transfer_out_abort(&f->out, f->machine, &f->effects);
    transfer_out_round(&f->out, f->now, f->machine, 1, 1, 1u << node_index(s2), 0, &f->effects);
    transfer_out_tick(&f->out, f->now, f->machine, &f->effects);
    transfer_out_paced(&f->out, f->now, 200, true);
    assert_true(instant_reached(f->now, transfer_out_due(&f->out)));
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(test_slices_fit_the_time),
        STORY(test_work_goes_first),
        STORY(test_others_wait_for_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
