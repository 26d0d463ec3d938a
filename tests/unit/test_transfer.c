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

    transfer_out_keep(&f->out, f->now, f->machine, 1, 1, 0, &f->effects);
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

    transfer_out_keep(&f->out, f->now, f->machine, 1, 1, 0, &f->effects);
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

/* ---- A link that is lost ---- */

/* What a joiner, s2, has of it. */
struct joiner {
    struct machine *machine;
    struct transfer_in in;
    struct effects effects;
    bool keeps; /* on its disk */
};

/* Its disk has what it was given. */
static void is_kept(struct joiner *j)
{
    for (uint32_t i = 0, count = j->effects.count; i < count; i++) {
        const struct effect *effect = &j->effects.list[i];

        if (effect->type == EFFECT_KEEP && effect->message.type == MESSAGE_CHECKPOINT_SLICE)
            transfer_in_slice_kept(&j->in, &j->effects);
        else if (effect->type == EFFECT_KEEP_END && effect->number)
            transfer_in_kept(&j->in);
    }
}

/* What the donor, s1, said arrives. */
static void arrives(struct fixture *f, struct joiner *j)
{
    effects_clear(&j->effects);
    for (uint32_t i = 0; i < f->effects.count; i++) {
        struct message m = f->effects.list[i].message;
        bool good = true;

        if (f->effects.list[i].type != EFFECT_SEND)
            continue;
        m.from = s1;
        if (m.type == MESSAGE_CHECKPOINT_BEGIN)
            transfer_in_begin(&j->in, j->machine, &m, true, j->keeps, &j->effects);
        else if (m.type == MESSAGE_CHECKPOINT_SLICE)
            good = transfer_in_slice(&j->in, j->machine, &m, &j->effects);
        else if (m.type == MESSAGE_CHECKPOINT_END)
            good = transfer_in_end(&j->in, &m, &j->effects);
        assert_true(good);
    }
    effects_clear(&f->effects);
    is_kept(j);
}

/* What the joiner said arrives. */
static void is_answered(struct fixture *f, struct joiner *j)
{
    effects_clear(&f->effects);
    for (uint32_t i = 0; i < j->effects.count; i++) {
        const struct message *m = &j->effects.list[i].message;

        if (j->effects.list[i].type != EFFECT_SEND)
            continue;
        if (m->checkpoint_ack.installed == 3)
            transfer_out_resume(&f->out, f->now, s2, &m->checkpoint_ack, &f->effects);
        else
            transfer_out_ack(&f->out, f->now, s2, &m->checkpoint_ack);
    }
    effects_clear(&j->effects);
}

static void begin_donation(struct fixture *f, struct joiner *j, bool keeps)
{
    *j = (struct joiner){ .machine = machine_new(kv_service()), .keeps = keeps };
    transfer_out_wanted(&f->out, s2, 1);
    transfer_out_donate(&f->out, f->now, f->machine, 1, 1, 1u << node_index(s2), &f->effects);
    arrives(f, j);
}

static void part(struct fixture *f, struct joiner *j)
{
    transfer_out_lost(&f->out, f->now, s2, 22);
    transfer_in_lost(&j->in, f->now, s1, 11);
}

static void turn(struct fixture *f, struct joiner *j)
{
    transfer_out_tick(&f->out, f->now, f->machine, &f->effects);
    arrives(f, j);
    is_answered(f, j);
}

static void joiner_free(struct joiner *j)
{
    struct transfer_out none = { 0 };

    transfer_free(&none, &j->in);
    machine_free(j->machine);
}

/* Slices and acknowledgements are lost with the link; when it is back, in whatever phase, it goes
 * on where the joiner was. */
static void lost_link_goes_on(struct fixture *f, bool keeps)
{
    struct joiner j;
    bool done = false;

    f->out.slice_bytes = SLICE_BYTES_MIN; /* more of them than a window has */
    begin_donation(f, &j, keeps);
    for (uint32_t round = 0; f->out.open; round++) {
        uint32_t taken;

        assert_true(round < 1000);
        turn(f, &j);
        for (uint32_t i = 0; i < (round % 3 == 2 ? SLICE_WINDOW : 2); i++)
            transfer_out_tick(&f->out, f->now, f->machine, &f->effects);
        if (round % 3)
            arrives(f, &j); /* but no acknowledgement does */
        taken = j.in.slices;
        part(f, &j);
        effects_clear(&f->effects);
        effects_clear(&j.effects);
        transfer_out_tick(&f->out, f->now, f->machine, &f->effects);
        assert_int_equal(f->effects.count, 0); /* nothing is said to nobody */
        transfer_out_found(&f->out, s2, 22);
        transfer_in_found(&j.in, s1, 11, &j.effects);
        is_answered(f, &j);
        assert_true(f->out.sent - taken <= SLICE_WINDOW);
        arrives(f, &j);
        assert_int_equal(j.in.slices, f->out.sent);
        is_answered(f, &j);
    }
    assert_true(j.in.complete);
    assert_true(transfer_in_apply(&j.in, j.machine, &done) && done);
    assert_int_equal(machine_digest(j.machine), machine_digest(f->machine));
    joiner_free(&j);
}

static void test_lost_link_goes_on(void **state)
{
    lost_link_goes_on(*state, false);
}

static void test_lost_link_goes_on_to_the_disk(void **state)
{
    lost_link_goes_on(*state, true);
}

/* So it does when it is the end that was lost. */
static void test_lost_end(void **state)
{
    struct fixture *f = *state;
    struct joiner j;

    begin_donation(f, &j, false);
    while (f->out.open) {
        arrives(f, &j);
        is_answered(f, &j);
        transfer_out_tick(&f->out, f->now, f->machine, &f->effects);
    }
    part(f, &j);
    effects_clear(&f->effects);
    assert_int_equal(j.in.slices, f->out.sent - 1);
    transfer_out_found(&f->out, s2, 22);
    transfer_in_found(&j.in, s1, 11, &j.effects);
    is_answered(f, &j);
    arrives(f, &j);
    assert_true(j.in.complete);
    joiner_free(&j);
}

/* Another life of the joiner has nothing of it, and another life of the donor neither. */
static void test_lost_life_begins_anew(void **state)
{
    struct fixture *f = *state;
    struct joiner j;

    begin_donation(f, &j, false);
    turn(f, &j);
    part(f, &j);
    transfer_out_found(&f->out, s2, 23);
    transfer_out_tick(&f->out, f->now, f->machine, &f->effects);
    assert_false(transfer_out_busy(&f->out));
    transfer_in_found(&j.in, s1, 12, &j.effects);
    assert_false(j.in.open);
    joiner_free(&j);
}

/* A checkpoint that is broken off while it is kept ends on the disk, too. */
static void test_broken_off_for_the_disk(void **state)
{
    struct fixture *f = *state;

    transfer_out_keep(&f->out, f->now, f->machine, 1, 1, 0, &f->effects);
    assert_true(tick(f) > 0);
    effects_clear(&f->effects);
    transfer_out_abort(&f->out, f->machine, &f->effects);
    assert_int_equal(f->effects.count, 1);
    assert_int_equal(f->effects.list[0].type, EFFECT_KEEP_END);
    assert_int_equal(f->effects.list[0].number, 0);
    assert_false(transfer_out_busy(&f->out));
}

/* Who does not come back is given up, some time after it went. */
static void test_lost_for_good(void **state)
{
    struct fixture *f = *state;
    struct joiner j;

    begin_donation(f, &j, false);
    turn(f, &j);
    f->now = instant_add_ms(f->now, 100);
    part(f, &j);
    f->now = instant_add_ms(f->now, TRANSFER_SILENCE_MS_MAX - 1);
    transfer_out_tick(&f->out, f->now, f->machine, &f->effects);
    assert_true(transfer_out_busy(&f->out));
    f->now = instant_add_ms(f->now, 1);
    transfer_out_tick(&f->out, f->now, f->machine, &f->effects);
    assert_false(transfer_out_busy(&f->out));
    joiner_free(&j);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(test_slices_fit_the_time),
        STORY(test_work_goes_first),
        STORY(test_others_wait_for_it),
        STORY(test_lost_link_goes_on),
        STORY(test_lost_link_goes_on_to_the_disk),
        STORY(test_lost_end),
        STORY(test_lost_life_begins_anew),
        STORY(test_broken_off_for_the_disk),
        STORY(test_lost_for_good),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
