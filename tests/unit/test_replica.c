/* The replica core, as stories in virtual time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/replica_story.h"

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

/* A read that needs the others' word does not wait for the next beat to ask for it. */
static void test_read_asks_at_once(void **state)
{
    struct fixture *f = *state;

    lead(f, 2);
    tick(f, 0);
    hear(f, s2, ack(1, 22, 1, f->now.ns));
    for (uint32_t ms = 0; ms <= LEASE_MS; ms += LEASE_MS / 4)
        tick(f, LEASE_MS / 4); /* beats that nobody answers */
    tick(f, 1);
    assert_false(said(f, "feed"));
    assert_false(replica_may_read(&f->replica, f->now, f->now));
    tick(f, 0);
    assert_true(said(f, "feed s2"));
    tick(f, 1);
    assert_false(said(f, "feed")); /* once is enough */
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
    assert_true(said(f, "feed s2"));
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

/* A long message takes longer to come than anybody's patience. Neither its sender is silent
 * meanwhile, nor who is fed with it: it says so, though it has nothing new to acknowledge. */
static void test_long_message(void **state)
{
    struct fixture *f = *state;

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    hear(f, NODE_RM, view(1, s2, 2, 3));
    for (uint32_t ms = 0; ms < 1000; ms += LEASE_MS / 4) {
        tick(f, LEASE_MS / 4);
        assert_false(said(f, "accuse"));
        hear(f, s2, (struct message){ .type = MESSAGE_LINK_PART, .link_part.bytes = ms });
        tick(f, 1);
        assert_true(said(f, "send s2: ack view=1 incarnation=11 index=0"));
    }
    for (int i = 0; i < 10; i++)
        tick(f, 41);
    assert_true(said(f, "accuse number=1 peer=s2"));
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

/* Nor for a link that was lost just before: it had no time to come back. */
static void test_own_pause_and_a_lost_link(void **state)
{
    struct fixture *f = *state;

    lead(f, 3);
    tick(f, 10);
    hear(f, s3, (struct message){ .type = MESSAGE_LINK_DOWN });
    tick(f, 5000);
    assert_false(said(f, "accuse"));
    tick(f, LINK_GRACE_MS - 1);
    assert_false(said(f, "accuse"));
    tick(f, 1);
    assert_true(said(f, "accuse number=1 peer=s3"));
}

/* However little patience it has. */
static void test_own_short_pause_is_forgiven(void **state)
{
    struct fixture *f = *state;

    f->replica.options.lease_ms = 20;
    f->replica.options.silence_ms = 40;
    lead(f, 3);
    tick(f, 4);
    tick(f, 45);
    assert_false(said(f, "accuse"));
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

/* Who begins anew has of the primary's journal what comes behind that, and no more of what it had
 * before: nothing beyond its end is committed. Found by fuzz_server. */
static void test_begins_anew_uncommitted(void **state)
{
    struct fixture *f = *state;
    struct message m = { .type = MESSAGE_APPEND,
                         .append = { .view = 1, .commit_index = 3, .reset = 1 } };

    link_up(f, s2, 22);
    hear(f, NODE_RM, view(1, s2, 2, 6)); /* s1 is a joiner */
    hear(f, s2, append(f, 1, 0, 1, 3, 1, 0));
    assert_int_equal(f->replica.verified_index, 3);
    hear(f, s2, m);
    assert_int_equal(f->replica.last_index, 0);
    assert_int_equal(f->replica.commit_index, 0);
    hear(f, s2, append(f, 1, 0, 1, 2, 1, 3));
    assert_int_equal(f->replica.commit_index, 2);
}

/* A view of a number that no rm would go beyond is not taken from another server: those of the rm
 * would be refused ever after. */
static void test_unbelievable_view(void **state)
{
    struct fixture *f = *state;

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    hear(f, s2, view(VIEW_NUMBER_HEARD_MAX + 1, s2, 3, 7));
    assert_int_equal(f->replica.promised, 0);
    hear(f, s2, view(1, s2, 3, 7));
    assert_int_equal(f->replica.view.number, 1);
}

/* One in a chain that is told to begin anew sends the next one nothing of what it had: that has to
 * ask. Found by fuzz_server. */
static void test_chain_begins_anew(void **state)
{
    struct fixture *f = *state;
    struct message m = view(1, s3, 3, 7);

    link_up(f, s2, 22);
    link_up(f, s3, 33);
    m.view.propagation = PROPAGATION_CHAIN;
    hear(f, NODE_RM, m); /* s3, then s1, then s2 */
    hear(f, s3, append(f, 1, 0, 1, 2, 1, 0));
    m = (struct message){ .type = MESSAGE_APPEND,
                          .append = { .view = 1, .prev_index = 1, .prev_view = 1, .reset = 1 } };
    hear(f, s3, m);
    assert_true(said(f, "reset index=1"));
    tick(f, 0);
    assert_false(said(f, "feed s2"));
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

/* Nobody begins behind an entry that cannot be: of a view to come, of none, or behind
 * all indexes. Found by fuzz_server. */
static void test_impossible_append(void **state)
{
    static const struct message_append impossible[] = {
        { .prev_index = UINT64_MAX, .prev_view = 1 },
        { .prev_index = 5, .prev_view = 4 },
        { .prev_index = 5, .prev_view = 0 },
        { .prev_index = 0, .prev_view = 2 },
    };
    struct fixture *f = *state;
    struct message m = { .type = MESSAGE_APPEND };

    link_up(f, s2, 22);
    hear(f, NODE_RM, view(3, s2, 3, 7));
    for (size_t i = 0; i < sizeof impossible / sizeof impossible[0]; i++) {
        m.append = impossible[i];
        m.append.view = 3;
        m.append.reset = 1;
        hear(f, s2, m);
        assert_true(said(f, "in view 3: ignored"));
        assert_int_equal(f->replica.first_index, 1);
        assert_true(f->replica.whole);
    }
    m.append.prev_index = 5;
    m.append.prev_view = 2;
    hear(f, s2, m);
    assert_true(said(f, "reset"));
    assert_int_equal(f->replica.first_index, 6);
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
    hear(f, s3, append(f, 9, 9, 7, 7, 9, 5));
    tick(f, 0);
    assert_false(said(f, "feed s2"));
}

/* Whether somebody is accused while nothing comes for a while. */
static bool accuses_in(struct fixture *f, uint32_t ms)
{
    bool accuses = false;

    for (uint32_t i = 0; i < ms; i += 25) {
        tick(f, 25); /* longer ones would be pauses of our own */
        accuses |= said(f, "accuse");
    }
    return accuses;
}

/* Something long comes from the primary: it lives, and is told the same of us, and so is the next
 * in the chain by us. Nobody is accused as long as that goes on. */
static void test_long_message_in_chain(void **state)
{
    struct fixture *f = *state;
    struct message m = view(9, s3, 3, 7);

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    link_up(f, s3, 33);
    m.view.propagation = PROPAGATION_CHAIN;
    hear(f, NODE_RM, m); /* s3, then s1, then s2 */
    for (int i = 0; i < 10; i++) {
        assert_false(accuses_in(f, 100));
        hear(f, s3, (struct message){ .type = MESSAGE_LINK_PART });
        assert_true(said(f, "send s2: alive view=9"));
        tick(f, 0);
        assert_true(said(f, "send s3: ack view=9 incarnation=11 index=0"));
    }
    assert_true(accuses_in(f, 500));
}

/* What a backup has to forward may be long, too. */
static void test_long_message_from_a_backup(void **state)
{
    struct fixture *f = *state;

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    hear(f, NODE_RM, view(1, s1, 2, 3));
    for (int i = 0; i < 10; i++) {
        assert_false(accuses_in(f, 100));
        hear(f, s2, (struct message){ .type = MESSAGE_LINK_PART });
    }
    assert_true(accuses_in(f, 500));
}

/* The word of one's feeder in the chain counts like that, for the view it is about. */
static void test_alive(void **state)
{
    struct fixture *f = *state;
    struct message m = view(9, s2, 3, 7);

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    link_up(f, s3, 33);
    m.view.propagation = PROPAGATION_CHAIN;
    hear(f, NODE_RM, m); /* s2, then s3, then s1 */
    for (int i = 0; i < 10; i++) {
        assert_false(accuses_in(f, 100));
        hear(f, s3, (struct message){ .type = MESSAGE_ALIVE, .alive = { .view = 9 } });
        assert_false(said(f, "alive"));
    }
    hear(f, s3, (struct message){ .type = MESSAGE_ALIVE, .alive = { .view = 9 } });
    assert_false(accuses_in(f, 300));
    hear(f, s3, (struct message){ .type = MESSAGE_ALIVE, .alive = { .view = 8 } });
    assert_true(accuses_in(f, 200));
}

/* What a backup was to get next is dropped, as others have long had it: it is sent nothing with a
 * gap before it, and begins anew once it says what it has. */
static void test_dropped_under_a_backup(void **state)
{
    struct fixture *f = *state;
    const struct journal_run nothing = { 0, 0 };

    lead(f, 2);
    hear(f, s2, position(1, 22, 1, 0, &nothing, 1));
    for (int i = 0; i < 4; i++)
        (void)replica_append(&f->replica);
    hear(f, s3, ack(1, 33, 5, 0));
    replica_executed(&f->replica, 5);
    assert_true(replica_feeds(&f->replica, s2));
    replica_dropped(&f->replica, 4);
    assert_false(replica_feeds(&f->replica, s2));
    tick(f, 0);
    assert_false(said(f, "feed s2"));
    hear(f, s2, position(1, 22, 1, 0, &nothing, 1));
    assert_true(f->replica.peers[1].reset);
    tick(f, 0);
    assert_true(said(f, "feed s2"));
}

/* So many views have a part of the journal that the first ones are forgotten: what is before can be
 * compared with nobody's any more, what is behind can. */
static void test_many_views(void **state)
{
    struct fixture *f = *state;
    const uint64_t views = RUN_COUNT_MAX + 6;
    struct journal_run runs[RUN_COUNT_MAX];
    const uint64_t first = 10;

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    link_up(f, s3, 33);
    for (uint64_t number = 1; number <= views; number++)
        hear(f, NODE_RM, view(number, s1, 1, 7));
    tick(f, 0);
    assert_int_equal(f->replica.commit_index, views); /* entry n is that of view n */
    assert_true(f->replica.first_index > 1 && f->replica.first_index < first);
    assert_int_equal(replica_view_at(&f->replica, first), first);
    for (uint64_t i = 0; i < 20; i++)
        runs[i] = (struct journal_run){ first + i, first + i };
    hear(f, s2, position(views, 22, first, first + 19, runs, 20));
    assert_false(f->replica.peers[1].reset);
    assert_int_equal(replica_feed(&f->replica, f->now, s2).prev_index, first + 19);
    runs[0] = (struct journal_run){ 0, 0 };
    runs[1] = (struct journal_run){ 1, 1 };
    hear(f, s3, position(views, 33, 1, 1, runs, 2));
    assert_true(f->replica.peers[2].reset);
}

/* An rm that was started while the view was served cannot know that it is active, and under a load
 * that never pauses no state shows it: the primary says so again. */
static void test_tells_a_new_rm(void **state)
{
    struct fixture *f = *state;

    lead(f, 2);
    tick(f, 1);
    hear(f, NODE_RM, (struct message){ .type = MESSAGE_LINK_UP, .link_up = { .incarnation = 2 } });
    assert_false(said(f, "send rm: active"));
    hear(f, s2, ack(1, 22, 1, f->now.ns));
    tick(f, 1);
    assert_true(f->replica.serving);
    hear(f, NODE_RM, (struct message){ .type = MESSAGE_LINK_UP, .link_up = { .incarnation = 3 } });
    assert_true(said(f, "send rm: active number=1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(test_dropped_under_a_backup),
        STORY(test_many_views),
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
        STORY(test_read_asks_at_once),
        STORY(test_lease_from_the_future),
        STORY(test_commit_is_not_answered),
        STORY(test_commit_asks_nothing),
        STORY(test_stamp_is_of_this_view),
        STORY(test_young_server_reports_whole_lease),
        STORY(test_lease_wait),
        STORY(test_accuse),
        STORY(test_long_message),
        STORY(test_own_pause_is_forgiven),
        STORY(test_own_pause_and_a_lost_link),
        STORY(test_own_short_pause_is_forgiven),
        STORY(test_diverged),
        STORY(test_long_message_in_chain),
        STORY(test_long_message_from_a_backup),
        STORY(test_alive),
        STORY(test_forwarding_after_sync),
        STORY(test_chain),
        STORY(test_chain_begins_anew),
        STORY(test_unbelievable_view),
        STORY(test_begins_anew_uncommitted),
        STORY(test_told_to_begin_anew),
        STORY(test_entries_without_order),
        STORY(test_impossible_append),
        STORY(test_committed_and_replaced),
        STORY(test_full_disk),
        STORY(test_leads_without_a_state),
        STORY(test_chain_cannot_feed),
        STORY(test_tells_a_new_rm),
    };

    return cmocka_run_group_tests_name("replica", tests, NULL, NULL);
}
