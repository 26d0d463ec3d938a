/* A server's checkpoints: made, kept, given, received, overtaken; and what is done with old states.
 */
#include "tests/unit/server_story.h"

/* A server that comes back with a long journal has executed nothing of it: a checkpoint for the
 * disk is due when it has, not before, or the journal would never get shorter. */
static void test_no_checkpoint_before_execution(void **state)
{
    struct fixture *f = *state;
    char words[20000];
    struct buffer record = { 0 }, request = { 0 };
    uint64_t size;

    f->server->options.persistent = true;
    f->server->transfer_out.self = s1;
    f->server->options.keep_bytes_min = 400000;
    (void)snprintf(words, sizeof words, "%0*d", 19000, 1);
    request_pack_command(
        &request, 3,
        (const struct bytes[]){ bytes_string("SET"), bytes_string("a"), bytes_string(words) });
    for (uint64_t i = 1; i <= 60; i++) { /* 1.1 MB */
        struct journal_record header = { .index = i, .view = 1 };

        buffer_clear(&record, 1 << 20);
        header.kind = i == 1 ? REQUEST_VIEW : REQUEST_COMMAND;
        journal_record_pack(&record, &header, i == 1 ? bytes_of(NULL, 0) : buffer_bytes(&request));
        memcpy(&header, buffer_head(&record), sizeof header);
        server_recover_entry(f->server, &header, buffer_bytes(&record));
    }
    size = buffer_size(&record);
    buffer_free(&request);
    buffer_free(&record);
    assert_true(server_recovered(f->server, true));
    link_all(f);
    tick(f, 1);
    assert_false(transfer_out_keeps(&f->server->transfer_out));
    enter(f, 2, s1, 1, STYLE_ACTIVE);
    server_saved(f->server, f->server->epoch, f->server->journal.last);
    for (uint32_t i = 0; i < 10 && !transfer_out_keeps(&f->server->transfer_out); i++)
        tick(f, 1);
    assert_true(f->server->transfer_out.index > 20);
    assert_true(f->server->transfer_out.index < 60); /* not all: the rest counts for the next */
    assert_int_equal(f->server->kept_bytes,
                     (60 - f->server->transfer_out.index) * size + sizeof(struct journal_record));
}

/* What a server recovers ends with a reset to nothing, behind entries that were thrown away: those
 * of the view that it begins are handed to the disk, and count when they are saved, not before. */
static void test_recovers_a_reset_to_nothing(void **state)
{
    struct fixture *f = *state;
    struct buffer record = { 0 };
    struct bytes piece;
    struct block *owner;
    uint64_t epoch, handed, index = 0;

    f->server->options.persistent = f->server->replica.options.persistent = true;
    for (uint64_t i = 1; i <= 9; i++) {
        struct journal_record header = { .index = i, .view = 1, .kind = REQUEST_VIEW };

        buffer_clear(&record, 1 << 20);
        journal_record_pack(&record, &header, bytes_of(NULL, 0));
        memcpy(&header, buffer_head(&record), sizeof header);
        server_recover_entry(f->server, &header, buffer_bytes(&record));
    }
    buffer_free(&record);
    server_recover_reset(f->server, 0);
    assert_true(server_recovered(f->server, true));
    link_all(f);
    enter(f, 2, s1, 1, STYLE_ACTIVE);
    tick(f, 1);
    assert_int_equal(f->server->journal.last, 1);
    assert_true(server_persist_next(f->server, &handed, &index, &piece, &owner));
    assert_int_equal(index, 1);
    assert_true(server_complete(f->server, &epoch, &index));
    assert_int_equal(index, 1);
    server_saved(f->server, handed, index); /* not yet known to be complete */
    tick(f, 1);
    assert_int_equal(f->server->replica.commit_index, 0);
    server_saved(f->server, epoch, index);
    tick(f, 1);
    assert_int_equal(f->server->replica.commit_index, 1);
}

/* A round of changes since base comes in, up to the entry index. It makes no sense, which shows
 * when it is applied. */
static void hear_round_begin(struct fixture *f, uint64_t view, uint64_t base, uint64_t index)
{
    hear(f, s2,
         (struct message){ .type = MESSAGE_CHECKPOINT_BEGIN,
                           .checkpoint_begin = { .view = view,
                                                 .index = index,
                                                 .index_view = view,
                                                 .time_us = index,
                                                 .base_index = base,
                                                 .count = 1 } });
    hear(f, s2,
         (struct message){ .type = MESSAGE_CHECKPOINT_SLICE,
                           .checkpoint_slice = { .index = index, .data = bytes_string("\1x") } });
}

static void hear_round_end(struct fixture *f, uint64_t index)
{
    hear(f, s2,
         (struct message){ .type = MESSAGE_CHECKPOINT_END,
                           .checkpoint_end = { .index = index, .slices = 1 } });
}

static void hear_round(struct fixture *f, uint64_t view, uint64_t base, uint64_t index)
{
    hear_round_begin(f, view, base, index);
    hear_round_end(f, index);
}

/* A round that came in but could not be applied is of no use once its entries are executed. */
static void test_round_overtaken(void **state)
{
    struct fixture *f = *state;

    link_all(f);
    enter(f, 1, s2, 3, STYLE_PASSIVE);
    append(f, s2, 1, 0, 1, 5, 0);
    hear_round(f, 1, 0, 4);
    assert_true(f->server->transfer_in.complete);
    tick(f, 1);
    enter(f, 2, s1, 1, STYLE_PASSIVE);
    tick(f, 1);
    assert_int_equal(f->server->replica.executed_index, 6);
    tick(f, 1);
    assert_false(said(f, "begin anew"));
    assert_int_equal(machine_index(f->server->machine), 6);
}

/* The style changes in the turn in which a round comes in: entries are executed, though not all of
 * them yet. Changes since an entry before do not fit the state any more. Seed 500448. */
static void test_round_half_overtaken(void **state)
{
    struct fixture *f = *state;

    link_all(f);
    enter(f, 1, s2, 3, STYLE_ACTIVE);
    append(f, s2, 1, 0, 1, 2, 2);
    tick(f, 1);
    enter(f, 2, s2, 3, STYLE_PASSIVE);
    append(f, s2, 2, 1, 3, 4000, 4000);
    hear_round(f, 2, 2, 3900);
    assert_true(f->server->transfer_in.complete);
    enter(f, 3, s2, 3, STYLE_ACTIVE);
    append(f, s2, 3, 2, 4001, 4001, 4000);
    tick(f, 1);
    assert_in_range(f->server->replica.executed_index, 3, 3899);
    assert_false(said(f, "begin anew"));
    assert_false(f->server->transfer_in.open);
    for (uint32_t i = 0; i < 10; i++)
        tick(f, 1);
    assert_int_equal(machine_index(f->server->machine), 4000);
}

/* What is left of an active view is executed while a round comes in that does not fit any more
 * then: its sender hears of that, and need not wait for long before it begins another. */
static void test_round_refused_when_overtaken(void **state)
{
    struct fixture *f = *state;

    link_all(f);
    enter(f, 1, s2, 3, STYLE_ACTIVE);
    append(f, s2, 1, 0, 1, 2, 2);
    append(f, s2, 1, 1, 3, 4, 2);
    tick(f, 1);
    enter(f, 2, s2, 3, STYLE_PASSIVE);
    append(f, s2, 2, 1, 5, 7, 2);
    hear_round_begin(f, 2, 2, 6);
    append(f, s2, 2, 2, 8, 8, 8);
    tick(f, 1);
    assert_int_equal(f->server->replica.executed_index, 4);
    assert_false(f->server->transfer_in.open);
    assert_true(said(f, "send s2: checkpoint_ack index=6 slices=1 installed=2"));
}

/* A round comes in while the state is read out for a joiner: it waits until that one has all of it
 * (seed 7). */
static void test_round_meets_donation(void **state)
{
    struct fixture *f = *state;
    uint32_t ticks = 0;

    link_all(f);
    enter(f, 1, s2, 3, STYLE_ACTIVE);
    append(f, s2, 1, 0, 1, 3, 3);
    tick(f, 1);
    enter(f, 2, s2, 3, STYLE_PASSIVE);
    append(f, s2, 2, 1, 4, 6, 6);
    hear_round_begin(f, 2, 3, 5);
    hear(
        f, NODE_RM,
        (struct message){ .type = MESSAGE_DONATE,
                          .donate = { .number = 2, .joiner = s3, .incarnation = 33, .index = 3 } });
    tick(f, 1);
    assert_true(f->server->transfer_out.open);
    hear_round_end(f, 5);
    assert_true(f->server->transfer_in.complete);
    for (; f->server->transfer_out.open && ticks < 100; ticks++) {
        tick(f, 1);
        assert_false(said(f, "begin anew"));
    }
    assert_in_range(ticks, 1, 99);
    tick(f, 1);
    assert_true(said(f, "begin anew")); /* now it is applied */
}

/* A round that makes no sense leaves a state of which nobody knows what it is: the server ends, and
 * begins anew. */
static void test_round_damaged(void **state)
{
    struct fixture *f = *state;

    link_all(f);
    enter(f, 1, s2, 3, STYLE_PASSIVE);
    append(f, s2, 1, 0, 1, 5, 4);
    hear_round(f, 1, 0, 4);
    tick(f, 1);
    assert_true(said(f, "end: the checkpoint of entry 4 from s2 is damaged: begin anew"));
}

/* s1 has nothing, and its primary nothing before entry 91. */
static void lack_state(struct fixture *f)
{
    link_all(f);
    enter(f, 3, s2, 3, STYLE_ACTIVE);
    hear(
        f, s2,
        (struct message){
            .type = MESSAGE_APPEND,
            .append = {
                .view = 3, .prev_index = 90, .prev_view = 3, .stamp = f->now.ns, .reset = true } });
}

static void offer_state(struct fixture *f, node_id from)
{
    hear(f, from,
         (struct message){
             .type = MESSAGE_CHECKPOINT_BEGIN,
             .checkpoint_begin = {
                 .view = 3, .index = 95, .index_view = 3, .time_us = 95, .count = 1 } });
}

static void give_slice(struct fixture *f, node_id from, const char *slice)
{
    hear(f, from,
         (struct message){ .type = MESSAGE_CHECKPOINT_SLICE,
                           .checkpoint_slice = { .index = 95, .data = bytes_string(slice) } });
}

/* The first slice of it, sound, but of a state without keys. */
static void give_empty_slice(struct fixture *f, node_id from)
{
    struct machine *empty = machine_new(kv_service());
    struct buffer slice = { 0 };
    bool full;

    machine_checkpoint_begin(empty, 0, &full);
    (void)machine_checkpoint_slice(empty, 1000, &slice);
    hear(f, from,
         (struct message){ .type = MESSAGE_CHECKPOINT_SLICE,
                           .checkpoint_slice = { .index = 95, .data = buffer_bytes(&slice) } });
    assert_int_equal(f->server->transfer_in.slices, 1);
    machine_checkpoint_end(empty);
    buffer_free(&slice);
    machine_free(empty);
}

/* A state that comes in is taken from one server, as long as that one is there and goes on. */
static void test_one_state_at_a_time(void **state)
{
    struct fixture *f = *state;

    f->now = instant_add_ms(f->now, 10ull * TRANSFER_PARTED_MS_MAX);
    lack_state(f);
    offer_state(f, s3);
    assert_true(said(f, "receive a checkpoint of entry 95 from s3"));
    offer_state(f, s2);
    assert_true(said(f, "send s2: checkpoint_ack"));
    assert_true(said(f, "installed=2"));
    assert_int_equal(f->server->transfer_in.from, s3);
    link_down(f, s3);
    offer_state(f, s2);
    assert_true(said(f, "receive a checkpoint of entry 95 from s2"));
    give_empty_slice(f, s2);
    link_up(f, s3, 33);
    f->now = instant_add_ms(f->now, TRANSFER_PARTED_MS_MAX - 1);
    offer_state(f, s3);
    assert_true(said(f, "installed=2"));
    f->now = instant_add_ms(f->now, 1);
    offer_state(f, s3);
    assert_true(said(f, "receive a checkpoint of entry 95 from s3"));
    assert_true(said(f, "send s2: checkpoint_ack index=95 slices=1 installed=2"));
}

/* The journal is begun anew while a state comes in: whoever gives it hears that it is not wanted
 * any more, and is free for another one at once. */
static void test_reset_while_a_state_comes_in(void **state)
{
    struct fixture *f = *state;

    lack_state(f);
    offer_state(f, s3);
    give_empty_slice(f, s3);
    hear(
        f, s2,
        (struct message){
            .type = MESSAGE_APPEND,
            .append = {
                .view = 3, .prev_index = 99, .prev_view = 3, .stamp = f->now.ns, .reset = true } });
    assert_int_equal(f->server->journal.first, 100);
    assert_true(said(f, "send s3: checkpoint_ack index=95 slices=1 installed=2"));
}

/* Who says nothing because our disk lags is not given up. */
static void test_state_waits_for_the_disk(void **state)
{
    struct fixture *f = *state;

    f->server->options.persistent = true;
    lack_state(f);
    offer_state(f, s3);
    give_empty_slice(f, s3);
    f->now = instant_add_ms(f->now, TRANSFER_PARTED_MS_MAX);
    offer_state(f, s2);
    assert_true(said(f, "installed=2"));
    effects_clear(&f->effects);
    server_slice_kept(f->server, f->now, &f->effects);
    offer_state(f, s2);
    assert_true(said(f, "receive a checkpoint of entry 95 from s2"));
}

/* A damaged slice of it leaves nothing that could go on. */
static void test_state_damaged(void **state)
{
    struct fixture *f = *state;

    lack_state(f);
    offer_state(f, s2);
    give_slice(f, s2, "\1x");
    assert_true(said(f, "end: the checkpoint of entry 95 from s2 is damaged: begin anew"));
}

/* The disk has no room for it: the sender hears that, and may try again. */
static void test_no_room_for_a_state(void **state)
{
    struct fixture *f = *state;

    f->server->options.persistent = true;
    lack_state(f);
    offer_state(f, s2);
    assert_true(f->server->transfer_in.keeping);
    effects_clear(&f->effects);
    server_checkpoint_kept(f->server, f->now, false, &f->effects);
    note_said(f);
    assert_true(said(f, "the checkpoint of entry 95 finds no room on the disk"));
    assert_true(said(f, "installed=2"));
    assert_false(f->server->transfer_in.open);
    offer_state(f, s2);
    assert_true(said(f, "receive a checkpoint of entry 95 from s2"));
}

/* A checkpoint for a backup of the cluster (server_keep) is of the entry asked for or a later one,
 * and of none that there is not. */
static void test_keep_on_request(void **state)
{
    struct fixture *f = *state;

    assert_false(server_keep(f->server, 0)); /* journals in memory */
    f->server->options.persistent = true;
    f->server->transfer_out.self = s1;
    link_all(f);
    enter(f, 1, s1, 2, STYLE_ACTIVE);
    submit(f, 1, 1, REQUEST_COMMAND, "SET a 1"); /* entry 2 */
    tick(f, 1);
    ack(f, s2, 1);
    assert_false(server_keep(f->server, 3));
    assert_true(server_keep(f->server, 2));
    assert_true(server_keep(f->server, 1));
    tick(f, 1);
    assert_false(transfer_out_keeps(&f->server->transfer_out)); /* it is not executed yet */
    ack(f, s2, 2);
    tick(f, 1);
    assert_true(transfer_out_keeps(&f->server->transfer_out));
    assert_int_equal(f->server->transfer_out.index, 2);
    assert_true(server_keep(f->server, 2)); /* it is on its way */
    assert_int_equal(f->server->keep_wanted, 0);
}

/* A checkpoint that finds no room on the disk is tried again soon, not only when as much has been
 * journaled again: without it the journal keeps all its room. */
static void test_keep_without_room(void **state)
{
    struct fixture *f = *state;
    uint64_t epoch, index;
    struct bytes piece;
    struct block *owner;
    char command[2048];

    f->server->options.persistent = true;
    f->server->options.keep_bytes_min = 1;
    f->server->transfer_out.self = s1;
    link_all(f);
    enter(f, 1, s1, 1, STYLE_ACTIVE);
    (void)snprintf(command, sizeof command, "SET a %02000u", 1u);
    for (uint32_t i = 1; i <= 100; i++) /* more than half of the state */
        submit(f, 1, i, REQUEST_COMMAND, command);
    tick(f, 1);
    while (server_persist_next(f->server, &epoch, &index, &piece, &owner))
        server_saved(f->server, epoch, index);
    for (uint32_t i = 0; i < 3; i++) {
        tick(f, 100000);
        tick(f, 1);
        assert_true(transfer_out_keeps(&f->server->transfer_out));
        effects_clear(&f->effects);
        buffer_clear(&f->said, 65536);
        server_checkpoint_kept(f->server, f->now, false, &f->effects);
        note_said(f);
        assert_int_equal(said(f, "the disk has no room for a checkpoint"), i == 0);
        tick(f, 1);
        assert_false(transfer_out_keeps(&f->server->transfer_out)); /* not at once */
    }
}

static void write_thrice(struct fixture *f)
{
    for (uint32_t i = 0; i < 3; i++) {
        submit(f, 1, 1, REQUEST_COMMAND, "SET a 1");
        tick(f, 1);
    }
}

/* Both backups have the whole journal, and states of these entries; a round is due. */
static void round_for(struct fixture *f, uint64_t index_s2, uint64_t index_s3)
{
    ack_executed(f, s2, f->server->journal.last, index_s2);
    ack_executed(f, s3, f->server->journal.last, index_s3);
    tick(f, 100000);
}

static void round_ends(struct fixture *f)
{
    const struct transfer_out *t = &f->server->transfer_out;
    const struct message in = { .type = MESSAGE_CHECKPOINT_ACK,
                                .checkpoint_ack = { .index = t->index, .installed = 1 } };

    while (t->open)
        tick(f, 1);
    hear(f, s2, in);
    hear(f, s3, in);
    tick(f, 1);
    assert_false(t->ended);
}

/* Backups whose states are of different entries get a whole one, as changes fit one of them only.
 * Who lacks nothing gets nothing. */
static void test_round_for_several(void **state)
{
    struct fixture *f = *state;

    link_all(f);
    enter(f, 1, s1, 1, STYLE_PASSIVE);
    write_thrice(f);
    round_for(f, 0, 0);
    round_ends(f);
    write_thrice(f);
    round_for(f, 4, 4);
    assert_true(said(f, "send s2: checkpoint_begin"));
    assert_true(said(f, "send s3: checkpoint_begin"));
    assert_true(said(f, "base_index=4"));
    round_ends(f);
    write_thrice(f);
    round_for(f, 8, 7);
    assert_true(said(f, "send s2: checkpoint_begin"));
    assert_true(said(f, "send s3: checkpoint_begin"));
    assert_true(said(f, "base_index=0"));
    round_ends(f);
    write_thrice(f);
    round_for(f, 13, 10);
    assert_false(said(f, "send s2: checkpoint_begin"));
    assert_true(said(f, "send s3: checkpoint_begin"));
    assert_true(said(f, "base_index=10"));
}

static void keep_ends(struct fixture *f)
{
    while (f->server->transfer_out.open) {
        tick(f, 1);
        server_slice_kept(f->server, f->now, &f->effects);
    }
    server_checkpoint_kept(f->server, f->now, true, &f->effects);
    tick(f, 1);
}

/* Under load the next round may be due as soon as one has ended: the disk has its turn in between,
 * or its journal would grow for ever. So has the round behind that. */
static void test_rounds_leave_the_disk_its_turn(void **state)
{
    struct fixture *f = *state;

    f->server->options.persistent = true;
    f->server->transfer_out.self = s1;
    link_all(f);
    enter(f, 1, s1, 1, STYLE_PASSIVE);
    write_thrice(f);
    assert_true(server_keep(f->server, 1));
    round_for(f, 0, 0);
    assert_true(said(f, "send s2: checkpoint_begin"));
    write_thrice(f);
    tick(f, 100000);
    round_ends(f);
    tick(f, 1);
    assert_true(transfer_out_keeps(&f->server->transfer_out));
    assert_true(server_keep(f->server, f->server->journal.last));
    keep_ends(f);
    tick(f, 1);
    assert_true(said(f, "send s2: checkpoint_begin"));
}

/* Backups that claim a state beyond their primary's get no round of changes since then, and do not
 * bring it down. Found by fuzz_server. */
static void test_round_for_liars(void **state)
{
    struct fixture *f = *state;
    struct message m = { .type = MESSAGE_ACK,
                         .ack = { .view = 1, .index = 1, .executed_index = 2 } };

    link_all(f);
    enter(f, 1, s1, 2, STYLE_PASSIVE);
    tick(f, 1);
    submit(f, 1, 1, REQUEST_COMMAND, "SET a 1");
    m.ack.incarnation = 22;
    hear(f, s2, m);
    m.ack.incarnation = 33;
    hear(f, s3, m);
    tick(f, 1);
    assert_int_equal(machine_index(f->server->machine), 1);
    tick(f, 100000); /* a checkpoint is due */
    assert_false(said(f, "checkpoint_begin"));
    ack(f, s2, 2);
    tick(f, 1);
    assert_int_equal(machine_index(f->server->machine), 2);
}

/* Gives the machine a state of so many keys behind the server's back, and takes it away again. */
static void lose_keys(struct fixture *f, uint32_t count)
{
    struct machine *m = server_machine(f->server);
    struct buffer request = { 0 }, reply = { 0 };
    char key[16];

    for (uint32_t i = 1; i <= count; i++) {
        snprintf(key, sizeof key, "k%u", i);
        buffer_clear(&request, 1 << 10);
        buffer_clear(&reply, 1 << 10);
        request_pack_command(
            &request, 3,
            (struct bytes[]){ bytes_string("SET"), bytes_string(key), bytes_string("v") });
        machine_execute(m,
                        &(struct machine_entry){ .index = i,
                                                 .time_us = i,
                                                 .kind = REQUEST_COMMAND,
                                                 .request = buffer_bytes(&request) },
                        &reply);
    }
    machine_restore_begin(m, true);
    assert_true(machine_restore_end(m, 0, 0, machine_digest(m)));
    buffer_free(&request);
    buffer_free(&reply);
}

/* A large state that is lost takes no turn long: a piece goes in each, one after the other. */
static void test_old_state_in_pieces(void **state)
{
    struct fixture *f = *state;
    uint32_t turns = 0;
    uint64_t usual_us;

    tick(f, 1);
    f->look_us = 100; /* that is, a piece of 64 takes so long */
    f->turn_us = 0;
    tick(f, 1);
    usual_us = f->turn_us;
    lose_keys(f, 10000);
    while (machine_releases(server_machine(f->server))) {
        assert_true(instant_reached(f->now, server_deadline(f->server)));
        f->turn_us = 0;
        tick(f, 0);
        assert_true(f->turn_us <= usual_us + 400);
        turns++;
    }
    assert_in_range(turns, 10000 / (3 * 64), 4 * 10000 / (3 * 64));
    assert_false(instant_reached(f->now, server_deadline(f->server)));
}

/* Beside work it takes a tenth of the time: a turn that had a piece is followed by some without. */
static void test_old_state_beside_work(void **state)
{
    struct fixture *f = *state;
    struct instant due;

    tick(f, 1);
    lose_keys(f, 10000);
    f->look_us = 100;
    tick(f, 0);
    f->server->requests++; /* as if a read had been answered */
    tick(f, 0);
    due = f->server->release_due;
    assert_true(instant_since_us(due, f->now) >= 3000);
    tick(f, 2);
    assert_int_equal(due.ns, f->server->release_due.ns);
    tick(f, 2);
    assert_true(due.ns < f->server->release_due.ns);
    assert_true(machine_releases(server_machine(f->server)));
}

/* Where nobody else must have them, entries are executed before they are sent. One that is larger
 * than what the journal may keep goes out all the same, and is dropped then. */
static void test_sent_before_it_is_dropped(void **state)
{
    struct fixture *f = *state;
    static char words[6 + (2u << 20) + 1] = "SET a ";

    link_all(f);
    enter(f, 1, s1, 1, STYLE_ACTIVE);
    tick(f, 1);
    hear(f, s2,
         (struct message){ .type = MESSAGE_POSITION,
                           .position = { .view = 1, .incarnation = 22, .first_index = 1 } });
    ack(f, s2, 1);
    memset(words + 6, 'x', sizeof words - 7);
    submit(f, 1, 1, REQUEST_COMMAND, words);
    ack(f, s2, 1);
    assert_string_equal(f->replies[0], "1 done +OK");
    tick(f, 1);
    assert_true(said(f, "send s2: append view=1 prev_index=1"));
    tick(f, 1);
    assert_int_equal(server_journal(f->server)->first, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(test_no_checkpoint_before_execution),
        STORY(test_recovers_a_reset_to_nothing),
        STORY(test_sent_before_it_is_dropped),
        STORY(test_round_overtaken),
        STORY(test_round_half_overtaken),
        STORY(test_round_refused_when_overtaken),
        STORY(test_round_meets_donation),
        STORY(test_round_damaged),
        STORY(test_one_state_at_a_time),
        STORY(test_reset_while_a_state_comes_in),
        STORY(test_state_waits_for_the_disk),
        STORY(test_state_damaged),
        STORY(test_no_room_for_a_state),
        STORY(test_keep_on_request),
        STORY(test_keep_without_room),
        STORY(test_round_for_several),
        STORY(test_rounds_leave_the_disk_its_turn),
        STORY(test_round_for_liars),
        STORY(test_old_state_in_pieces),
        STORY(test_old_state_beside_work),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
