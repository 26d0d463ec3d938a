/* The replica core, as stories in virtual time: s1 is told of views by the rm and hears s2 and s3.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "server/replica.h"

#define LEASE_MS 200u

struct fixture {
    struct replica replica;
    struct effects effects;
    struct instant now;
    struct buffer said; /* what all effects of the last call come to */
    struct buffer records;
};

static const node_id s1 = NODE_SERVER(0), s2 = NODE_SERVER(1), s3 = NODE_SERVER(2);

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->now = instant_add_ms((struct instant){ 0 }, 1000);
    replica_init(&f->replica,
                 &(struct replica_options){ .self = s1,
                                            .incarnation = 11,
                                            .server_count = 3,
                                            .lease_ms = LEASE_MS,
                                            .checkpoint_interval_ms = 100000,
                                            .silence_ms = 400 },
                 f->now);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    buffer_free(&f->said);
    buffer_free(&f->records);
    free(f);
    return 0;
}

static void note_said(struct fixture *f)
{
    buffer_clear(&f->said, 1 << 20);
    effects_format(&f->effects, &f->said);
    buffer_append(&f->said, "", 1);
    replica_check(&f->replica);
}

static bool said(struct fixture *f, const char *text)
{
    return strstr((const char *)buffer_head(&f->said), text) != NULL;
}

static void hear(struct fixture *f, node_id from, struct message message)
{
    message.from = from;
    effects_clear(&f->effects);
    replica_receive(&f->replica, f->now, &message, &f->effects);
    note_said(f);
}

static void tick(struct fixture *f, uint64_t ms)
{
    f->now = instant_add_ms(f->now, ms);
    effects_clear(&f->effects);
    replica_tick(&f->replica, f->now, &f->effects);
    for (uint32_t i = 0; i < f->effects.count; i++)
        if (f->effects.list[i].type == EFFECT_FEED) {
            struct message_append append =
                replica_feed(&f->replica, f->now, f->effects.list[i].node);

            replica_fed(&f->replica, f->now, f->effects.list[i].node,
                        replica_feeds(&f->replica, f->effects.list[i].node) ? f->replica.last_index
                                                                            : append.prev_index);
        }
    note_said(f);
}

static void link_up(struct fixture *f, node_id from, uint64_t incarnation)
{
    hear(f, from, (struct message){ .type = MESSAGE_LINK_UP, .link_up.incarnation = incarnation });
}

static struct message view(uint64_t number, node_id primary, uint8_t acks, uint32_t set)
{
    struct message m = { .type = MESSAGE_VIEW,
                         .view = { .number = number, .acks = acks, .primary = primary } };

    for (uint32_t i = 0; i < 3; i++)
        if (set >> i & 1u)
            members_put(&m.view.members, NODE_SERVER(i), 11ull * (i + 1));
    return m;
}

static struct message ack(uint64_t number, uint64_t incarnation, uint64_t index, uint64_t stamp)
{
    return (struct message){
        .type = MESSAGE_ACK,
        .ack = { .view = number, .incarnation = incarnation, .index = index, .stamp = stamp }
    };
}

/* An append of entries from..to, all of one view. */
static struct message append(struct fixture *f, uint64_t number, uint64_t prev_view, uint64_t from,
                             uint64_t to, uint64_t entry_view, uint64_t commit)
{
    buffer_clear(&f->records, 1 << 20);
    for (uint64_t i = from; i <= to; i++)
        journal_record_pack(&f->records, &(struct journal_record){ .index = i, .view = entry_view },
                            bytes_string("x"));
    return (struct message){ .type = MESSAGE_APPEND,
                             .append = { .view = number,
                                         .prev_index = from - 1,
                                         .prev_view = prev_view,
                                         .commit_index = commit,
                                         .stamp = f->now.ns,
                                         .entries = buffer_bytes(&f->records) } };
}

/* s1 is the primary of view 1 with s2 and s3 as members. */
static void lead(struct fixture *f, uint8_t acks)
{
    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    link_up(f, s3, 33);
    hear(f, NODE_RM, view(1, s1, acks, 7));
}

/* A primary begins its view with an entry of its own, and tells the others at once. */
static void test_primary_begins(void **state)
{
    struct fixture *f = *state;

    lead(f, 3);
    assert_int_equal(f->replica.last_index, 1);
    assert_int_equal(replica_journal_view(&f->replica), 1);
    assert_true(said(f, "send s2: view number=1"));
    assert_true(said(f, "send s3: sync view=1 index=1"));
    tick(f, 0);
    assert_true(said(f, "feed s2"));
    assert_true(said(f, "feed s3"));
}

/* Begun anew behind nothing: there is no state to wait for. A joiner of a primary that has executed
 * nothing yet waited for one for ever, and passed for caught up without it. */
static void test_reset_to_the_beginning(void **state)
{
    struct fixture *f = *state;
    struct message reset;

    link_up(f, s2, 22);
    hear(f, NODE_RM, view(1, s2, 1, 2));
    reset = append(f, 1, 0, 1, 3, 1, 0);
    reset.append.reset = true;
    hear(f, s2, reset);
    assert_true(f->replica.whole);
    assert_int_equal(f->replica.last_index, 3);
    hear(f, s2, append(f, 1, 1, 4, 4, 1, 4));
    assert_int_equal(f->replica.commit_index, 4);
}

/* A join that began twice leaves two resets, and a checkpoint for the second only: what is behind
 * that is whole. */
static void test_recovers_from_two_resets(void **state)
{
    struct fixture *f = *state;
    uint64_t last;

    replica_recover_state(&f->replica, 50, 2);
    assert_int_equal(replica_recover_reset(&f->replica, 70), 50);
    assert_false(replica_recover_entry(&f->replica, 71, 2, &last));
    assert_int_equal(replica_recover_reset(&f->replica, 49), 50);
    assert_false(replica_recover_entry(&f->replica, 50, 2, &last));
    assert_true(replica_recover_entry(&f->replica, 51, 3, &last));
    assert_true(replica_recovered(&f->replica, true));
    assert_int_equal(f->replica.last_index, 51);
}

/* A checkpoint may be newer than entries that follow it in the segments and were replaced later.
 * They are passed over; a gap stays one until entries come that close it. */
static void test_recovers_behind_replaced_entries(void **state)
{
    struct fixture *f = *state;
    uint64_t last;

    replica_recover_state(&f->replica, 50, 3);
    assert_false(replica_recover_entry(&f->replica, 50, 2, &last));
    assert_false(replica_recover_entry(&f->replica, 51, 2, &last));
    assert_false(replica_recover_entry(&f->replica, 52, 2, &last));
    assert_true(f->replica.whole);
    assert_false(replica_recover_entry(&f->replica, 49, 3, &last));
    assert_false(replica_recover_entry(&f->replica, 50, 3, &last));
    assert_true(replica_recover_entry(&f->replica, 51, 3, &last));
    assert_false(replica_recover_entry(&f->replica, 53, 3, &last));
    assert_false(replica_recovered(&f->replica, true));
    assert_true(replica_recover_entry(&f->replica, 52, 4, &last));
    assert_true(replica_recovered(&f->replica, true));
    assert_int_equal(f->replica.last_index, 52);
    assert_int_equal(replica_journal_view(&f->replica), 4);
}

/* A server that was empty is intact once it holds the beginning of a view that it is a member of:
 * others had what its earlier lives acknowledged. Not as a joiner, and not any more when it begins
 * its journal anew. */
static void test_intact_as_member(void **state)
{
    struct fixture *f = *state;

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    hear(f, NODE_RM, view(1, s2, 2, 6));
    hear(f, s2, append(f, 1, 0, 1, 3, 1, 0));
    tick(f, 1);
    assert_false(f->replica.intact);
    hear(f, NODE_RM, view(2, s2, 2, 7));
    tick(f, 1);
    assert_false(f->replica.intact);
    hear(f, s2, append(f, 2, 1, 4, 4, 2, 0));
    tick(f, 1);
    assert_true(f->replica.intact);
    hear(f, NODE_RM, view(3, s2, 2, 6));
    hear(
        f, s2,
        (struct message){
            .type = MESSAGE_APPEND,
            .append = {
                .view = 3, .prev_index = 90, .prev_view = 3, .stamp = f->now.ns, .reset = true } });
    tick(f, 1);
    assert_false(f->replica.intact);
}

/* With acks = all, an entry is committed when the last member holds it. */
static void test_commit_needs_all(void **state)
{
    struct fixture *f = *state;

    lead(f, 3);
    tick(f, 0);
    hear(f, s2, ack(1, 22, 1, 0));
    assert_int_equal(f->replica.commit_index, 0);
    hear(f, s3, ack(1, 33, 1, 0));
    assert_int_equal(f->replica.commit_index, 1);
    assert_true(said(f, "send rm: active number=1"));
}

/* With a majority of two, the primary and one backup are enough. */
static void test_commit_needs_majority(void **state)
{
    struct fixture *f = *state;

    lead(f, 2);
    tick(f, 0);
    hear(f, s3, ack(1, 33, 1, 0));
    assert_int_equal(f->replica.commit_index, 1);
}

/* Rule 3: what another life of a member holds counts for nothing. */
static void test_old_incarnation_counts_not(void **state)
{
    struct fixture *f = *state;

    lead(f, 2);
    tick(f, 0);
    hear(f, s2, ack(1, 21, 1, 0));
    assert_int_equal(f->replica.commit_index, 0);
    link_up(f, s2, 23);
    hear(f, s2, ack(1, 23, 1, 0));
    tick(f, 1);
    assert_int_equal(f->replica.commit_index, 0);
}

/* Rule 5: entries of earlier views are committed only with one of this view. */
static void test_earlier_entries_wait_for_this_view(void **state)
{
    struct fixture *f = *state;

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    link_up(f, s3, 33);
    hear(f, NODE_RM, view(1, s2, 2, 7));
    hear(f, s2, append(f, 1, 0, 1, 4, 1, 0));
    hear(f, NODE_RM, (struct message){ .type = MESSAGE_FENCE, .fence.number = 2 });
    hear(f, NODE_RM, view(2, s1, 2, 5));
    tick(f, 0);
    hear(f, s3, ack(2, 33, 4, 0));
    assert_int_equal(f->replica.commit_index, 0);
    hear(f, s3, ack(2, 33, 5, 0));
    assert_int_equal(f->replica.commit_index, 5);
}

/* Rule 2: after its promise a server takes nothing of a lower view, and says where it stands. */
static void test_fence(void **state)
{
    struct fixture *f = *state;

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    hear(f, NODE_RM, view(1, s2, 3, 7));
    hear(f, s2, append(f, 1, 0, 1, 3, 1, 1));
    hear(f, NODE_RM, (struct message){ .type = MESSAGE_FENCE, .fence.number = 5 });
    assert_true(said(f, "send rm: report number=5 incarnation=11"));
    assert_true(said(f, "journal_view=1 last_index=3"));
    hear(f, s2, append(f, 1, 1, 4, 4, 1, 3));
    assert_int_equal(f->replica.last_index, 3);
    assert_int_equal(f->replica.commit_index, 1);
    hear(f, NODE_RM, view(4, s2, 3, 7));
    assert_int_equal(f->replica.view.number, 1);
    hear(f, NODE_RM, (struct message){ .type = MESSAGE_FENCE, .fence.number = 4 });
    assert_false(said(f, "report"));
}

/* A fenced primary commits nothing, whatever acknowledgements still come. */
static void test_fenced_primary(void **state)
{
    struct fixture *f = *state;

    lead(f, 2);
    tick(f, 0);
    hear(f, NODE_RM, (struct message){ .type = MESSAGE_FENCE, .fence.number = 2 });
    hear(f, s2, ack(1, 22, 1, 0));
    assert_int_equal(f->replica.commit_index, 0);
    assert_int_equal(replica_way(&f->replica), REPLICA_HOLD);
}

/* Rules 5 and 6: a backup that holds part of the new journal still reports the old view; what
 * conflicts is truncated, and only that. */
static void test_half_synced(void **state)
{
    struct fixture *f = *state;

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    link_up(f, s3, 33);
    hear(f, NODE_RM, view(1, s2, 2, 7));
    hear(f, s2, append(f, 1, 0, 1, 6, 1, 2));
    hear(f, NODE_RM, (struct message){ .type = MESSAGE_FENCE, .fence.number = 3 });
    hear(f, NODE_RM, view(3, s3, 2, 5));
    assert_true(said(f, "send s3: position view=3"));
    /* s3 went through view 2 without us: its entries 4 and 5 are of that view. */
    hear(f, s3, append(f, 3, 1, 4, 5, 2, 2));
    assert_true(said(f, "truncate"));
    assert_int_equal(f->replica.last_index, 5);
    assert_int_equal(replica_journal_view(&f->replica), 2);
    hear(f, s3, append(f, 3, 2, 6, 6, 3, 6));
    assert_int_equal(replica_journal_view(&f->replica), 3);
    assert_int_equal(f->replica.commit_index, 6);
}

/* A backup that is asked to go on behind what it has says where it is. */
static void test_gap(void **state)
{
    struct fixture *f = *state;

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    hear(f, NODE_RM, view(1, s2, 3, 7));
    f->now = instant_add_ms(f->now, 10);
    hear(f, s2, append(f, 1, 1, 5, 6, 1, 0));
    assert_true(said(f, "send s2: position view=1"));
    assert_int_equal(f->replica.last_index, 0);
}

/* Damage on the way is noticed, and nothing of it is taken in. */
static void test_damaged_append(void **state)
{
    struct fixture *f = *state;
    struct message m;

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    hear(f, NODE_RM, view(1, s2, 3, 7));
    m = append(f, 1, 0, 1, 2, 1, 0);
    f->records.data[f->records.start + 100] ^= 1;
    hear(f, s2, m);
    assert_true(said(f, "damaged"));
    assert_int_equal(f->replica.verified_index, 0);
}

/* The primary reads locally while acks members' leases hold, counted from when it sent; then only
 * after their word. */
static void test_lease(void **state)
{
    struct fixture *f = *state;
    uint64_t sent;

    lead(f, 2);
    tick(f, 0);
    sent = f->now.ns;
    assert_false(replica_may_read(&f->replica, f->now, f->now));
    f->now = instant_add_ms(f->now, 1);
    hear(f, s2, ack(1, 22, 1, sent));
    assert_true(replica_may_read(&f->replica, f->now, f->now));
    f->now = instant_add_ms(f->now, 196);
    assert_true(replica_may_read(&f->replica, f->now, f->now));
    f->now = instant_add_ms(f->now, 1); /* 198 ms of 200: 1 % is for drift */
    struct instant arrived = f->now;
    assert_false(replica_may_read(&f->replica, f->now, arrived));
    tick(f, 0);
    assert_true(said(f, "feed s2"));
    hear(f, s2, ack(1, 22, 1, f->now.ns));
    assert_true(replica_may_read(&f->replica, f->now, arrived));
}

/* An acknowledgement that claims to answer the future grants nothing. */
static void test_lease_from_the_future(void **state)
{
    struct fixture *f = *state;

    lead(f, 2);
    tick(f, 0);
    hear(f, s2, ack(1, 22, 1, f->now.ns + 1000000000u));
    assert_false(replica_may_read(&f->replica, f->now, f->now));
}

/* Entries are acknowledged; the news that they are committed needs no answer. */
static void test_commit_is_not_answered(void **state)
{
    struct fixture *f = *state;
    struct message commit;

    link_up(f, s2, 22);
    hear(f, NODE_RM, view(1, s2, 3, 7));
    hear(f, s2, append(f, 1, 0, 1, 2, 1, 0));
    commit = append(f, 1, 1, 3, 2, 1, 2);
    tick(f, 1);
    assert_true(said(f, "send s2: ack"));
    hear(f, s2, commit);
    assert_int_equal(f->replica.commit_index, 2);
    tick(f, 1);
    assert_false(said(f, "send s2: ack"));
    hear(f, s2, append(f, 1, 1, 3, 2, 1, 2));
    tick(f, 1);
    assert_true(said(f, "send s2: ack"));
}

/* What only tells that entries are committed asks for nothing; a beat asks for a lease. */
static void test_commit_asks_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t stamp;

    lead(f, 3);
    tick(f, 0);
    stamp = f->replica.peers[1].stamp_sent;
    f->now = instant_add_ms(f->now, 1);
    hear(f, s2, ack(1, 22, 1, stamp));
    hear(f, s3, ack(1, 33, 1, stamp));
    assert_int_equal(replica_feed(&f->replica, f->now, s2).stamp, stamp);
    tick(f, 0);
    assert_int_equal(f->replica.peers[1].stamp_sent, stamp);
    tick(f, LEASE_MS / 4);
    assert_int_equal(f->replica.peers[1].stamp_sent, f->now.ns);
}

/* The clock of the next primary may stand far behind that of the last one. */
static void test_stamp_is_of_this_view(void **state)
{
    struct fixture *f = *state;
    struct message later;

    link_up(f, s2, 22);
    link_up(f, s3, 33);
    hear(f, NODE_RM, view(1, s2, 3, 7));
    later = append(f, 1, 0, 1, 1, 1, 0);
    later.append.stamp += 1000000000u;
    hear(f, s2, later);
    hear(f, NODE_RM, (struct message){ .type = MESSAGE_FENCE, .fence.number = 2 });
    hear(f, NODE_RM, view(2, s3, 2, 5));
    hear(f, s3, append(f, 2, 1, 2, 2, 2, 0));
    assert_int_equal(f->replica.stamp, f->now.ns);
}

/* A server younger than a lease reports a whole one: an earlier life may have granted it. */
static void test_young_server_reports_whole_lease(void **state)
{
    struct fixture *f = *state;

    link_up(f, NODE_RM, 1);
    f->now = instant_add_ms(f->now, LEASE_MS - 1);
    hear(f, NODE_RM, (struct message){ .type = MESSAGE_FENCE, .fence.number = 1 });
    assert_true(said(f, "lease_left_ms=200"));
    f->now = instant_add_ms(f->now, 1);
    hear(f, NODE_RM, (struct message){ .type = MESSAGE_FENCE, .fence.number = 1 });
    assert_true(said(f, "lease_left_ms=0"));
}

/* An uncertain death: the new primary commits nothing before the old one's lease is over. */
static void test_lease_wait(void **state)
{
    struct fixture *f = *state;
    struct message m = view(1, s1, 2, 7);

    link_up(f, s2, 22);
    m.view.lease_wait_ms = 150;
    hear(f, NODE_RM, m);
    tick(f, 0);
    hear(f, s2, ack(1, 22, 1, 0));
    tick(f, 149);
    assert_int_equal(f->replica.commit_index, 0);
    tick(f, 1);
    assert_int_equal(f->replica.commit_index, 1);
}

static struct message position(uint64_t number, uint64_t incarnation, uint64_t first, uint64_t last,
                               const struct journal_run *runs, size_t count)
{
    return (struct message){ .type = MESSAGE_POSITION,
                             .position = { .view = number,
                                           .incarnation = incarnation,
                                           .first_index = first,
                                           .last_index = last,
                                           .runs = bytes_of(runs, count * sizeof *runs) } };
}

/* A joiner whose journal we can continue gets the rest, and is announced when it is near the end.
 */
static void test_joiner_by_suffix(void **state)
{
    struct fixture *f = *state;
    const struct journal_run empty = { 0, 0 };

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    hear(f, NODE_RM, view(1, s1, 1, 1));
    tick(f, 0);
    hear(f, s2, position(1, 22, 1, 0, &empty, 1));
    tick(f, 0);
    assert_true(said(f, "feed s2"));
    assert_int_equal(f->replica.peers[1].next_index, 2);
    hear(f, s2, ack(1, 22, 1, 0));
    assert_true(said(f, "send rm: caught_up number=1 joiner=s2 incarnation=22"));
    assert_int_equal(f->replica.commit_index, 1);
}

/* Who asks again while entries are on their way, over a slow link, is not sent them again; who has
 * thrown away what it had, or says so for long enough, is. */
static void test_position_repeated(void **state)
{
    struct fixture *f = *state;
    const struct journal_run empty = { 0, 0 };

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    hear(f, NODE_RM, view(1, s1, 1, 1));
    tick(f, 0);
    hear(f, s2, position(1, 22, 1, 0, &empty, 1));
    tick(f, 0);
    assert_true(said(f, "feed s2"));
    hear(f, s2, position(1, 22, 1, 0, &empty, 1));
    assert_int_equal(f->replica.peers[1].next_index, 2);
    f->now = instant_add_ms(f->now, FEED_AGAIN_MS);
    hear(f, s2, position(1, 22, 1, 0, &empty, 1));
    assert_int_equal(f->replica.peers[1].next_index, 1);
}

/* One that needs entries we no longer hold begins anew at our end and waits for a checkpoint; it is
 * announced only when its state is in. */
static void test_joiner_by_checkpoint(void **state)
{
    struct fixture *f = *state;
    const struct journal_run empty = { 0, 0 };
    struct message m;

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    hear(f, NODE_RM, view(1, s1, 1, 1));
    hear(f, s2, position(1, 22, 1, 0, &empty, 1)); /* not active yet: nothing may be thrown away */
    tick(f, 0);
    for (int i = 0; i < 9; i++)
        replica_append(&f->replica);
    tick(f, 0);
    replica_executed(&f->replica, 10);
    replica_dropped(&f->replica, 8);
    hear(f, s2, position(1, 22, 1, 0, &empty, 1));
    assert_true(f->replica.peers[1].reset);
    assert_int_equal(replica_feed(&f->replica, f->now, s2).prev_index, 10);
    assert_true(replica_feed(&f->replica, f->now, s2).reset);
    tick(f, 0);
    assert_true(said(f, "send rm: donor_wanted number=1 joiner=s2 incarnation=22 index=10"));
    hear(f, s2, ack(1, 22, 10, 0));
    tick(f, 300);
    assert_false(said(f, "caught_up"));
    m = ack(1, 22, 10, 0);
    m.ack.executed_index = 10;
    hear(f, s2, m);
    assert_true(said(f, "caught_up"));
}

/* A member that ends before what is kept for it: while the view is not active, only one that is not
 * intact may throw its journal away. Else the rm is to leave it out. */
static void test_member_far_behind(void **state)
{
    struct fixture *f = *state;
    const struct journal_run run = { 3, 1 };
    struct message m = position(2, 22, 4, 9, &run, 1);

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    replica_recover_state(&f->replica, 50, 2);
    hear(f, NODE_RM, view(3, s1, 2, 3));
    m.position.view = 3;
    m.position.whole = m.position.intact = 1;
    hear(f, s2, m);
    assert_true(said(f, "its journal ends before what is kept for it"));
    assert_false(f->replica.peers[1].fed);
    m.position.intact = 0;
    hear(f, s2, m);
    assert_true(f->replica.peers[1].reset);
    assert_int_equal(f->replica.peers[1].reset_index, 50);
}

/* A member that comes in empty, because the view could not do without it, gets a checkpoint like a
 * joiner; entries that it holds without the state before them commit nothing. */
static void test_member_without_state(void **state)
{
    struct fixture *f = *state;
    const struct journal_run empty = { 0, 0 };
    struct message m;

    link_up(f, NODE_RM, 1);
    hear(f, NODE_RM, view(1, s1, 1, 1));
    tick(f, 0);
    for (int i = 0; i < 9; i++)
        replica_append(&f->replica);
    tick(f, 0);
    replica_executed(&f->replica, 10);
    replica_dropped(&f->replica, 11);
    link_up(f, s2, 22);
    hear(f, NODE_RM, view(2, s1, 2, 3));
    hear(f, s2, position(2, 22, 1, 0, &empty, 1));
    tick(f, 0);
    assert_true(said(f, "send rm: donor_wanted number=2 joiner=s2 incarnation=22 index=10"));
    hear(f, s2, ack(2, 22, 11, 0));
    assert_int_equal(f->replica.commit_index, 10);
    m = ack(2, 22, 11, 0);
    m.ack.executed_index = 10; /* what is executed before the view commits anything */
    hear(f, s2, m);
    assert_int_equal(f->replica.commit_index, 11);
}

/* Such a member itself: it says that its state is missing as soon as it is fed, and until the state
 * is in it acknowledges nothing, so that no other may take it for a copy. */
static void test_backup_without_state(void **state)
{
    struct fixture *f = *state;
    struct message m;

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    hear(f, NODE_RM, view(3, s2, 1, 2));
    m = append(f, 3, 2, 11, 12, 3, 12);
    m.append.reset = 1;
    hear(f, s2, m);
    tick(f, 1);
    assert_true(said(f, "send s2: ack view=3 incarnation=11 index=12"));
    hear(f, NODE_RM, view(4, s2, 2, 3));
    assert_int_equal(f->replica.role, ROLE_BACKUP);
    hear(f, s2, append(f, 4, 3, 13, 13, 4, 12));
    assert_true(said(f, "send s2: position view=4"));
    assert_true(said(f, "whole=0"));
    tick(f, 1);
    assert_true(said(f, "send s2: ack view=4 incarnation=11 index=0"));
    hear(f, s2, append(f, 4, 4, 14, 14, 4, 12));
    assert_false(said(f, "position"));
    replica_restored(&f->replica, 12);
    tick(f, 1);
    assert_true(said(f, "send s2: ack view=4 incarnation=11 index=14"));
}

/* A joiner logs what arrives while its checkpoint is missing, and is no source of truth. */
static void test_joining(void **state)
{
    struct fixture *f = *state;
    struct message m;

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    hear(f, NODE_RM, view(3, s2, 1, 2));
    m = append(f, 3, 2, 11, 12, 3, 12);
    m.append.reset = 1;
    hear(f, s2, m);
    assert_true(said(f, "reset"));
    assert_int_equal(f->replica.first_index, 11);
    assert_int_equal(f->replica.last_index, 12);
    assert_false(f->replica.whole);
    hear(f, NODE_RM, (struct message){ .type = MESSAGE_FENCE, .fence.number = 4 });
    assert_true(said(f, "journal_view=0 last_index=0"));
    replica_restored(&f->replica, 11);
    assert_true(f->replica.whole);
    assert_int_equal(replica_journal_view(&f->replica), 3);
}

/* A lost link may come back for a moment; then the peer is reported, not more than now and then. */
static void test_accuse(void **state)
{
    struct fixture *f = *state;

    lead(f, 3);
    tick(f, 10);
    hear(f, s3, (struct message){ .type = MESSAGE_LINK_DOWN });
    tick(f, 49);
    assert_false(said(f, "accuse"));
    tick(f, 1);
    assert_true(said(f, "send rm: accuse number=1 peer=s3 incarnation=33"));
    tick(f, 10);
    assert_false(said(f, "accuse"));
}

/* Whoever slept itself accuses nobody. */
static void test_own_pause_is_forgiven(void **state)
{
    struct fixture *f = *state;

    lead(f, 3);
    tick(f, 10);
    tick(f, 5000);
    assert_false(said(f, "accuse"));
    for (int i = 0; i < 10; i++)
        tick(f, 41);
    assert_true(said(f, "accuse"));
}

/* A state that differs is found at a mark, and its server is told to begin anew. */
static void test_diverged(void **state)
{
    struct fixture *f = *state;
    struct message m;

    lead(f, 2);
    tick(f, 0);
    hear(f, s2, ack(1, 22, 1, 0));
    replica_executed(&f->replica, 1);
    replica_marked(&f->replica, 1, 77);
    m = ack(1, 33, 1, 0);
    m.ack.digest_index = 1;
    m.ack.digest = 78;
    hear(f, s3, m);
    assert_true(said(f, "send s3: diverged index=1"));
    assert_true(said(f, "send rm: accuse number=1 peer=s3"));
}

/* A backup forwards only once it knows where its earlier forwards stand. */
static void test_forwarding_after_sync(void **state)
{
    struct fixture *f = *state;
    struct message sync = { .type = MESSAGE_SYNC, .sync = { .view = 1, .index = 2 } };

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    hear(f, NODE_RM, view(1, s2, 3, 7));
    assert_int_equal(replica_way(&f->replica), REPLICA_HOLD);
    hear(f, s2, sync);
    assert_int_equal(replica_way(&f->replica), REPLICA_HOLD);
    hear(f, s2, append(f, 1, 0, 1, 2, 1, 0));
    assert_true(said(f, "resync"));
    assert_int_equal(replica_way(&f->replica), REPLICA_FORWARD);
    hear(f, s2, (struct message){ .type = MESSAGE_LINK_DOWN });
    assert_int_equal(replica_way(&f->replica), REPLICA_HOLD);
}

/* In a chain the primary feeds its successor only, and a backup the next, once it has adopted. */
static void test_chain(void **state)
{
    struct fixture *f = *state;
    struct message m = view(1, s3, 3, 7);

    link_up(f, s2, 22);
    link_up(f, s3, 33);
    m.view.propagation = PROPAGATION_CHAIN;
    hear(f, NODE_RM, m); /* s3, then s1, then s2 */
    tick(f, 0);
    assert_false(said(f, "feed"));
    hear(f, s3, append(f, 1, 0, 1, 1, 1, 0));
    tick(f, 0);
    assert_true(said(f, "feed s2"));
    assert_true(said(f, "send s3: ack view=1"));
}

/* One that differs from its primary has no state to be trusted: it ends, and begins anew. Only the
 * primary can say so. */
static void test_told_to_begin_anew(void **state)
{
    struct fixture *f = *state;
    struct message m = { .type = MESSAGE_DIVERGED, .diverged.index = 7 };

    link_up(f, s2, 22);
    link_up(f, s3, 33);
    hear(f, NODE_RM, view(1, s2, 3, 7));
    hear(f, s3, m);
    assert_false(said(f, "end"));
    hear(f, s2, m);
    assert_true(said(f, "end: the state differs from the primary's at entry 7"));
}

/* Entries that do not follow one another, or go back to an older view, are damage: what came before
 * them may be kept, but counts for nothing. */
static void test_entries_without_order(void **state)
{
    struct fixture *f = *state;
    struct message m;

    link_up(f, s2, 22);
    hear(f, NODE_RM, view(3, s2, 3, 7));
    m = append(f, 3, 0, 1, 1, 3, 0);
    journal_record_pack(&f->records, &(struct journal_record){ .index = 3, .view = 3 },
                        bytes_string("x"));
    m.append.entries = buffer_bytes(&f->records);
    hear(f, s2, m);
    assert_true(said(f, "end: entry 2 came damaged from the primary"));
    assert_int_equal(f->replica.verified_index, 0);

    m = append(f, 3, 3, 2, 2, 3, 0);
    journal_record_pack(&f->records, &(struct journal_record){ .index = 3, .view = 2 },
                        bytes_string("x"));
    m.append.entries = buffer_bytes(&f->records);
    hear(f, s2, m);
    assert_true(said(f, "append index=2"));
    assert_true(said(f, "end: entry 3 came damaged from the primary"));
    assert_int_equal(f->replica.last_index, 2);
}

/* What is committed here and is not what the primary has was lost on purpose, and the state with
 * it. */
static void test_committed_and_replaced(void **state)
{
    struct fixture *f = *state;

    link_up(f, s2, 22);
    link_up(f, s3, 33);
    hear(f, NODE_RM, view(1, s2, 2, 7));
    hear(f, s2, append(f, 1, 0, 1, 4, 1, 3));
    assert_int_equal(f->replica.commit_index, 3);
    hear(f, NODE_RM, view(5, s3, 1, 5));
    hear(f, s3, append(f, 5, 1, 3, 3, 5, 3));
    assert_true(said(f, "end: entry 3 is committed here, and the cluster went on without it"));
    assert_int_equal(f->replica.last_index, 4);
}

/* A server that can keep nothing asks to be left out; as a joiner it does not look as if it had
 * caught up. With room again it goes on. */
static void test_full_disk(void **state)
{
    struct fixture *f = *state;

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    hear(f, NODE_RM, view(1, s2, 2, 7));
    hear(f, s2, append(f, 1, 0, 1, 2, 1, 0));
    replica_full(&f->replica, true);
    tick(f, 1);
    assert_true(said(f, "send rm: accuse number=1 peer=s1 incarnation=11"));
    assert_true(said(f, "its disk is full"));
    hear(f, NODE_RM, view(2, s2, 2, 6));
    hear(f, s2, append(f, 2, 1, 3, 3, 2, 0));
    tick(f, 1);
    assert_int_equal(f->replica.last_index, 3);
    assert_false(said(f, "send s2: ack"));
    replica_full(&f->replica, false);
    hear(f, s2, append(f, 2, 2, 4, 3, 2, 0)); /* nothing new, as comes again and again */
    tick(f, 1);
    assert_true(said(f, "send s2: ack view=2 incarnation=11 index=3"));
}

/* Only after `recover --accept-loss` is a server without a state primary: it begins with none. */
static void test_leads_without_a_state(void **state)
{
    struct fixture *f = *state;
    struct message m;

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    hear(f, NODE_RM, view(3, s2, 1, 2));
    m = append(f, 3, 2, 11, 12, 3, 12);
    m.append.reset = 1;
    hear(f, s2, m);
    assert_false(f->replica.whole);
    hear(f, NODE_RM, view(4, s1, 1, 1));
    assert_true(said(f, "reset"));
    assert_true(f->replica.whole);
    assert_int_equal(f->replica.first_index, 1);
    assert_int_equal(f->replica.last_index, 1);
}

/* A backup feeds the next in the chain with what it holds; whoever needs more is reported, and gets
 * nothing. */
static void test_chain_cannot_feed(void **state)
{
    struct fixture *f = *state;
    const struct journal_run other[2] = { { 0, 0 }, { 1, 7 } };
    struct message m = view(9, s3, 3, 7);

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    link_up(f, s3, 33);
    m.view.propagation = PROPAGATION_CHAIN;
    hear(f, NODE_RM, m); /* s3, then s1, then s2 */
    hear(f, s3, append(f, 9, 0, 1, 6, 9, 5));
    replica_executed(&f->replica, 5);
    replica_dropped(&f->replica, 5);
    tick(f, 0);
    hear(f, s2, position(9, 22, 1, 3, other, 2));
    assert_true(said(f, "send rm: accuse number=9 peer=s2 incarnation=22"));
    assert_true(said(f, "its journal ends before what is kept for it"));
    tick(f, 0);
    assert_false(said(f, "feed s2"));
}

/* Two journals agree up to where a view of one of them begins that the other does not have. */
static void test_where_journals_part(void **state)
{
    struct fixture *f = *state;
    const struct journal_run longer[3] = { { 0, 0 }, { 1, 1 }, { 9, 2 } };
    const struct journal_run strange[2] = { { 0, 9 }, { 2, 8 } };

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    hear(f, NODE_RM, view(1, s1, 1, 1));
    tick(f, 0);
    for (int i = 0; i < 3; i++)
        replica_append(&f->replica);
    tick(f, 0);
    hear(f, s2, position(1, 22, 1, 12, longer, 3)); /* its view 2 begins behind our end */
    assert_int_equal(f->replica.peers[1].next_index, 5);
    hear(f, s2, position(1, 22, 1, 3, strange, 2)); /* nothing in common, not even the beginning */
    assert_true(f->replica.peers[1].reset);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(test_primary_begins),
        STORY(test_commit_needs_all),
        STORY(test_commit_needs_majority),
        STORY(test_old_incarnation_counts_not),
        STORY(test_earlier_entries_wait_for_this_view),
        STORY(test_fence),
        STORY(test_fenced_primary),
        STORY(test_half_synced),
        STORY(test_gap),
        STORY(test_damaged_append),
        STORY(test_lease),
        STORY(test_lease_from_the_future),
        STORY(test_commit_is_not_answered),
        STORY(test_commit_asks_nothing),
        STORY(test_stamp_is_of_this_view),
        STORY(test_young_server_reports_whole_lease),
        STORY(test_lease_wait),
        STORY(test_joiner_by_suffix),
        STORY(test_position_repeated),
        STORY(test_joiner_by_checkpoint),
        STORY(test_member_without_state),
        STORY(test_backup_without_state),
        STORY(test_joining),
        STORY(test_accuse),
        STORY(test_own_pause_is_forgiven),
        STORY(test_diverged),
        STORY(test_forwarding_after_sync),
        STORY(test_chain),
        STORY(test_told_to_begin_anew),
        STORY(test_entries_without_order),
        STORY(test_committed_and_replaced),
        STORY(test_full_disk),
        STORY(test_leads_without_a_state),
        STORY(test_chain_cannot_feed),
        STORY(test_where_journals_part),
        STORY(test_intact_as_member),
        STORY(test_member_far_behind),
        STORY(test_recovers_behind_replaced_entries),
        STORY(test_reset_to_the_beginning),
        STORY(test_recovers_from_two_resets),
    };

    return cmocka_run_group_tests_name("replica", tests, NULL, NULL);
}
