/* How a server comes to hold what its primary holds: by the entries that it lacks, by a checkpoint,
 * or anew from the start. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/replica_story.h"

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

static struct message reset(struct fixture *f, uint64_t number, uint64_t index)
{
    return (struct message){ .type = MESSAGE_APPEND,
                             .append = { .view = number,
                                         .prev_index = index,
                                         .prev_view = number,
                                         .stamp = f->now.ns,
                                         .reset = true } };
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
    hear(f, s2, reset(f, 3, 90));
    tick(f, 1);
    assert_false(f->replica.intact);
}

/* A joiner that throws an intact journal away remembers where that ended, also when it is to begin
 * anew once more before it has caught up, and tells the rm; until it is intact again (seed
 * 2003152). */
static void test_remembers_what_it_threw_away(void **state)
{
    struct fixture *f = *state;
    uint64_t last;

    replica_recover_state(&f->replica, 50, 2);
    assert_true(replica_recover_entry(&f->replica, 51, 3, &last));
    assert_true(replica_recovered(&f->replica, true));
    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    hear(f, NODE_RM, view(4, s2, 1, 2));
    assert_int_equal(f->replica.discarded.view, 0);
    hear(f, s2, reset(f, 4, 90));
    hear(f, s2, reset(f, 4, 95));
    assert_false(f->replica.intact);
    assert_int_equal(f->replica.discarded.view, 3);
    assert_int_equal(f->replica.discarded.index, 51);
    hear(f, NODE_RM, (struct message){ .type = MESSAGE_FENCE, .fence = { .number = 5 } });
    assert_true(said(f, "discarded_view=3 discarded_index=51 stateless=1"));

    hear(f, NODE_RM, view(5, s2, 2, 3));
    replica_restored(&f->replica, 95);
    hear(f, s2, append(f, 5, 4, 96, 97, 5, 95));
    tick(f, 1);
    assert_true(f->replica.intact);
    assert_int_equal(f->replica.discarded.view, 0);
}

/* What the power cut off may have been acknowledged, and was not below the end that was left. */
static void test_threw_away_what_was_cut(void **state)
{
    struct fixture *f = *state;
    uint64_t last;

    replica_recover_state(&f->replica, 50, 2);
    assert_true(replica_recover_entry(&f->replica, 51, 3, &last));
    assert_true(replica_recovered(&f->replica, true));
    replica_cut(&f->replica);
    link_up(f, s2, 22);
    hear(f, NODE_RM, view(4, s2, 1, 2));
    hear(f, s2, reset(f, 4, 90));
    assert_false(f->replica.intact);
    assert_int_equal(f->replica.discarded.view, 0);
}

/* One that was not intact cannot tell what it lacks, unless an earlier life could. */
static void test_threw_away_what_lacked(void **state)
{
    struct fixture *f = *state;
    const struct lives none = { 0 };

    replica_recover_state(&f->replica, 50, 2);
    assert_true(replica_recovered(&f->replica, false));
    link_up(f, s2, 22);
    hear(f, NODE_RM, view(4, s2, 1, 2));
    hear(f, s2, reset(f, 4, 90));
    assert_int_equal(f->replica.discarded.view, 0);
    replica_lived(&f->replica, &none, (struct journal_end){ 3, 60 });
    hear(f, s2, reset(f, 4, 95));
    assert_int_equal(f->replica.discarded.view, 3);
    assert_int_equal(f->replica.discarded.index, 60);
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
    tick(f, 0);
    hear(f, s2, ack(1, 22, 1, 0));
    hear(f, s2, position(1, 22, 1, 0, &empty, 1)); /* and lost it */
    assert_int_equal(f->replica.peers[1].next_index, 1);
    assert_int_equal(f->replica.peers[1].match_index, 0);
}

/* One that needs entries we no longer hold begins anew at our end and waits for a checkpoint; it is
 * announced only when its state is in. */
static void test_joiner_by_checkpoint(void **state)
{
    struct fixture *f = *state;
    const struct journal_run empty = { 0, 0 }, strange = { 0, 7 };
    struct message m = position(1, 22, 1, 5, &strange, 1);

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    hear(f, NODE_RM, view(1, s1, 1, 1));
    m.position.whole = m.position.intact = 1;
    hear(f, s2, m); /* not active yet: nothing may be thrown away */
    assert_false(f->replica.peers[1].reset);
    assert_false(f->replica.peers[1].fed);
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
    tick(f, 300); /* the rm was told of it when it was to begin anew */
    hear(f, s2, ack(1, 22, 10, f->now.ns));
    assert_false(said(f, "caught_up"));
    m = ack(1, 22, 10, f->now.ns);
    m.ack.executed_index = 10;
    hear(f, s2, m);
    assert_true(said(f, "caught_up"));
}

/* A server that restarts within the view is another one: what its earlier life had of journal and
 * state does not make it caught up before its own state is in (seed 149). */
static void test_joiner_of_an_earlier_life(void **state)
{
    struct fixture *f = *state;
    const struct journal_run empty = { 0, 0 }, all = { 0, 1 };
    struct message m = position(1, 22, 1, 10, &all, 1);

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    hear(f, NODE_RM, view(1, s1, 1, 1));
    tick(f, 0);
    for (int i = 0; i < 9; i++)
        replica_append(&f->replica);
    tick(f, 0);
    replica_executed(&f->replica, 10);
    replica_dropped(&f->replica, 8);
    m.position.whole = 1;
    m.position.executed_index = 10;
    hear(f, s2, m);
    tick(f, 0);
    m = ack(1, 22, 10, f->now.ns);
    m.ack.executed_index = 10;
    hear(f, s2, m);
    assert_true(said(f, "caught_up number=1 joiner=s2 incarnation=22"));

    link_up(f, s2, 23);
    hear(f, s2, position(1, 23, 1, 0, &empty, 1));
    assert_int_equal(f->replica.peers[1].match_index, 0);
    tick(f, 300);
    assert_true(said(f, "send rm: donor_wanted number=1 joiner=s2 incarnation=23 index=10"));
    tick(f, 300);
    m = ack(1, 23, 10, f->now.ns);
    hear(f, s2, m);
    assert_false(said(f, "caught_up"));
    m.ack.executed_index = 10;
    hear(f, s2, m);
    assert_true(said(f, "caught_up number=1 joiner=s2 incarnation=23"));
}

/* A journal that has seen more views than are remembered begins late, behind what its server has
 * executed. Its state is there all the same: one that it was given would be refused for ever (seed
 * 425). */
static void test_joiner_that_saw_many_views(void **state)
{
    struct fixture *f = *state;
    const struct journal_run run = { 0, 1 };
    struct message m = position(1, 22, 8, 10, &run, 1);

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    hear(f, NODE_RM, view(1, s1, 1, 1));
    tick(f, 0);
    for (int i = 0; i < 9; i++)
        replica_append(&f->replica);
    m.position.whole = 1;
    m.position.executed_index = 5;
    hear(f, s2, m);
    tick(f, 0);
    assert_false(said(f, "donor_wanted"));
    assert_int_equal(f->replica.peers[1].next_index, 11);
}

/* A state that came from elsewhere may be ahead of the entries: until those are there, it is no
 * state of that journal, and the joiner is not announced. */
static void test_joiner_with_a_later_state(void **state)
{
    struct fixture *f = *state;
    const struct journal_run run = { 0, 1 };
    struct message m = position(1, 22, 2, 5, &run, 1);

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    hear(f, NODE_RM, view(1, s1, 1, 1));
    tick(f, 0);
    for (int i = 0; i < 9; i++)
        replica_append(&f->replica);
    tick(f, 0);
    m.position.whole = 1;
    m.position.executed_index = 8;
    hear(f, s2, m);
    tick(f, 0);
    m = ack(1, 22, 7, f->now.ns);
    hear(f, s2, m);
    assert_false(said(f, "caught_up"));
    m.ack.index = m.ack.executed_index = 8;
    hear(f, s2, m);
    assert_true(said(f, "caught_up"));
}

/* What a joiner acknowledged before it heard that it is to begin anew is of what it throws away. */
static void test_acknowledged_before_a_reset(void **state)
{
    struct fixture *f = *state;
    const struct journal_run run = { 0, 1 };
    struct message m = position(1, 22, 1, 2, &run, 1);
    uint64_t before;

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    hear(f, NODE_RM, view(1, s1, 1, 1));
    tick(f, 0);
    for (int i = 0; i < 9; i++)
        replica_append(&f->replica);
    tick(f, 0);
    replica_executed(&f->replica, 10);
    replica_dropped(&f->replica, 8);
    before = f->now.ns;
    f->now = instant_add_ms(f->now, 1);
    m.position.whole = 1;
    hear(f, s2, m);
    tick(f, 1);
    tick(f, 300);
    m = ack(1, 22, 10, before);
    m.ack.executed_index = 10;
    hear(f, s2, m);
    assert_false(said(f, "caught_up"));
    m.ack.stamp = f->now.ns;
    hear(f, s2, m);
    assert_true(said(f, "caught_up"));
}

/* A member of view 2 that holds the entries 4 to last of the runs; it is whole and intact. */
static struct message position_far(uint64_t view, uint64_t last, const struct journal_run *run)
{
    struct message m = position(view, 22, 4, last, run, 1);

    m.position.whole = m.position.intact = 1;
    return m;
}

/* Back from disk with entries of view 3, it meets the primary of view 2, which does not know yet
 * that it is over: nothing of view 3 is cut for that one (seed 724106). */
static void test_meets_an_earlier_primary(void **state)
{
    struct fixture *f = *state;
    uint64_t last;

    replica_recover_state(&f->replica, 50, 2);
    assert_true(replica_recover_entry(&f->replica, 51, 3, &last));
    assert_true(replica_recovered(&f->replica, true));
    link_up(f, s2, 22);
    hear(f, s2, view(2, s2, 2, 7));
    hear(f, s2, append(f, 2, 2, 51, 52, 2, 50));
    assert_int_equal(f->replica.last_index, 51);
    assert_int_equal(replica_journal_view(&f->replica), 3);
    hear(f, s2, view(3, s2, 2, 7));
    assert_int_equal(f->replica.view.number, 3);
}

/* A member that ends before what is kept for it: while the view is not active, it may throw its
 * journal away only if it is not intact, or if all of it is known to be committed. Else the rm is
 * to leave it out. */
static void test_member_far_behind(void **state)
{
    struct fixture *f = *state;
    const struct journal_run later = { 3, 3 }, same = { 3, 2 }, earlier = { 3, 1 };
    struct message m = position_far(4, 9, &later);

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    replica_recover_state(&f->replica, 50, 2);
    hear(f, NODE_RM, view(4, s1, 2, 3));
    hear(f, s2, m);
    assert_true(said(f, "its journal ends before what is kept for it"));
    assert_false(f->replica.peers[1].fed);
    m.position.intact = 0;
    hear(f, s2, m);
    assert_true(f->replica.peers[1].reset);
    assert_int_equal(f->replica.peers[1].reset_index, 50);

    hear(f, NODE_RM, view(5, s1, 2, 3));
    hear(f, s2, position_far(5, 9, &earlier));
    assert_true(f->replica.peers[1].reset);
    assert_int_equal(f->replica.peers[1].reset_index, 50);

    /* Of the very view that committed the entry: seed 503099. */
    hear(f, NODE_RM, view(6, s1, 2, 3));
    hear(f, s2, position_far(6, 9, &same));
    assert_true(f->replica.peers[1].reset);
    assert_int_equal(f->replica.peers[1].reset_index, 50);
}

/* What is kept begins behind an entry that is not known to be committed: no journal may be thrown
 * away for it. */
static void test_member_behind_uncommitted(void **state)
{
    struct fixture *f = *state;
    const struct journal_run run = { 3, 1 };

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    replica_recover_state(&f->replica, 50, 2);
    f->replica.commit_index = 49;
    f->replica.executed_index = 49;
    hear(f, NODE_RM, view(3, s1, 2, 3));
    hear(f, s2, position_far(3, 9, &run));
    assert_true(said(f, "its journal ends before what is kept for it"));
    assert_false(f->replica.peers[1].fed);
}

/* A member that is told to begin anew looks itself whether its journal may be needed. */
static void test_begins_anew_unless_needed(void **state)
{
    struct fixture *f = *state;
    struct message m;

    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    hear(f, NODE_RM, view(2, s2, 2, 3));
    hear(f, s2, append(f, 2, 0, 1, 3, 2, 0));
    tick(f, 1);
    hear(f, NODE_RM, view(4, s2, 2, 3));
    m = append(f, 4, 1, 51, 51, 4, 50);
    m.append.reset = true;
    hear(f, s2, m);
    assert_int_equal(f->replica.last_index, 3);
    m = append(f, 4, 3, 51, 51, 4, 49);
    m.append.reset = true;
    hear(f, s2, m);
    assert_int_equal(f->replica.last_index, 3);
    m = append(f, 4, 2, 51, 51, 4, 50);
    m.append.reset = true;
    hear(f, s2, m);
    assert_int_equal(f->replica.last_index, 51);
    assert_false(f->replica.whole);
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
    hear(f, s2, ack(2, 22, 11, f->now.ns));
    assert_int_equal(f->replica.commit_index, 10);
    m = ack(2, 22, 11, f->now.ns);
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

/* The state of such a member comes when the first entries of the view are saved: that they are
 * tells nothing, and nothing is acknowledged before the disk knows that the journal is complete. */
static void test_marked_before_acknowledged(void **state)
{
    struct fixture *f = *state;
    struct message m;

    f->replica.options.persistent = true;
    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    hear(f, NODE_RM, view(3, s2, 2, 3));
    m = append(f, 3, 2, 11, 12, 3, 12);
    m.append.reset = 1;
    hear(f, s2, m);
    tick(f, 1);
    assert_true(said(f, "persist"));
    replica_saved(&f->replica, 12);
    replica_restored(&f->replica, 10);
    tick(f, 1);
    assert_true(f->replica.intact);
    assert_true(said(f, "persist"));
    assert_true(said(f, "send s2: ack view=3 incarnation=11 index=0"));
    for (int i = 0; i < 300 && !said(f, "its disk does not answer"); i++)
        tick(f, 10);
    assert_true(said(f, "its disk does not answer"));
    replica_saved(&f->replica, 12);
    tick(f, 1);
    assert_true(said(f, "send s2: ack view=3 incarnation=11 index=12"));
}

/* Such a member acknowledges nothing, so its feeder sends it no more than a window of entries.
 * Where its state is of a later one, it waited for that one for ever: seed 725333. Word that there
 * is more, without any, makes it say how far it is, once it has saved that. */
static void test_held_back_without_state(void **state)
{
    struct fixture *f = *state;
    struct message m, word;

    link_up(f, s2, 22);
    hear(f, NODE_RM, view(3, s2, 2, 3));
    m = append(f, 3, 2, 11, 12, 3, 10);
    m.append.reset = 1;
    hear(f, s2, m);
    f->now = instant_add_ms(f->now, POSITION_AGAIN_MS);
    word = append(f, 3, 3, 13, 12, 3, 12);
    hear(f, s2, word);
    assert_false(said(f, "position")); /* there may be no more */
    word = append(f, 3, 3, 13, 12, 3, 60);
    f->replica.saved_index = 11;
    hear(f, s2, word);
    assert_false(said(f, "position"));
    f->replica.saved_index = 12;
    hear(f, s2, word);
    assert_true(said(f, "send s2: position view=3 incarnation=11 first_index=11 last_index=12"));
    hear(f, s2, word);
    assert_false(said(f, "position")); /* not at once again */

    replica_restored(&f->replica, 50);
    f->now = instant_add_ms(f->now, POSITION_AGAIN_MS);
    hear(f, s2, append(f, 3, 3, 13, 49, 3, 60));
    tick(f, 1);
    assert_true(said(f, "send s2: ack view=3 incarnation=11 index=0"));
    hear(f, s2, append(f, 3, 3, 50, 49, 3, 61));
    assert_true(said(f, "last_index=49 executed_index=50 whole=1"));
    f->now = instant_add_ms(f->now, POSITION_AGAIN_MS);
    hear(f, s2, append(f, 3, 3, 50, 50, 3, 61));
    tick(f, 1);
    assert_true(said(f, "send s2: ack view=3 incarnation=11 index=50"));
    hear(f, s2, append(f, 3, 3, 51, 50, 3, 61));
    assert_false(said(f, "position")); /* its acknowledgements tell */
}

/* The other side: what such a member says makes room for the next entries. */
static void test_feeds_on_by_position(void **state)
{
    struct fixture *f = *state;
    struct replica_peer *p = &f->replica.peers[1];
    const struct journal_run run = { 0, 0 };
    struct journal_run later = { 0, 1 };
    struct message m;

    link_up(f, NODE_RM, 1);
    hear(f, NODE_RM, view(1, s1, 1, 1));
    tick(f, 0);
    replica_executed(&f->replica, 1);
    replica_dropped(&f->replica, 2);
    link_up(f, s2, 22);
    hear(f, NODE_RM, view(2, s1, 1, 3));
    tick(f, 0);
    hear(f, s2, position(2, 22, 1, 0, &run, 1));
    assert_true(p->reset);
    for (uint32_t i = 0; i <= FEED_WINDOW; i++) {
        replica_append(&f->replica);
        tick(f, 1);
        hear(f, s2, ack(2, 22, 0, f->now.ns));
    }
    assert_int_equal(p->window_count, FEED_WINDOW);
    assert_false(replica_feeds(&f->replica, s2));
    later = (struct journal_run){ p->next_index - 2, 2 };
    m = position(2, 22, p->next_index - 1, p->next_index - 1, &later, 1);
    m.position.whole = 0;
    hear(f, s2, m);
    assert_true(replica_feeds(&f->replica, s2));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(test_reset_to_the_beginning),
        STORY(test_recovers_from_two_resets),
        STORY(test_recovers_behind_replaced_entries),
        STORY(test_intact_as_member),
        STORY(test_remembers_what_it_threw_away),
        STORY(test_threw_away_what_was_cut),
        STORY(test_threw_away_what_lacked),
        STORY(test_joiner_by_suffix),
        STORY(test_position_repeated),
        STORY(test_joiner_by_checkpoint),
        STORY(test_joiner_of_an_earlier_life),
        STORY(test_joiner_that_saw_many_views),
        STORY(test_joiner_with_a_later_state),
        STORY(test_acknowledged_before_a_reset),
        STORY(test_meets_an_earlier_primary),
        STORY(test_member_far_behind),
        STORY(test_member_behind_uncommitted),
        STORY(test_begins_anew_unless_needed),
        STORY(test_member_without_state),
        STORY(test_backup_without_state),
        STORY(test_marked_before_acknowledged),
        STORY(test_held_back_without_state),
        STORY(test_feeds_on_by_position),
        STORY(test_joining),
        STORY(test_where_journals_part),
    };

    return cmocka_run_group_tests_name("replica: joining", tests, NULL, NULL);
}
