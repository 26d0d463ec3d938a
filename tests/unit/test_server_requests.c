/* What becomes of clients' requests: forwarded, waiting, overtaken, refused; and their time. */
#include "tests/unit/server_story.h"

/* What a backup has gathered for its primary stays when another server comes or goes. */
static void test_forward_beside_a_lost_link(void **state)
{
    struct fixture *f = *state;

    link_all(f);
    enter(f, 1, s2, 3, STYLE_ACTIVE);
    append(f, s2, 1, 0, 1, 1, 0);
    sync_to(f, s2, 1, 1);
    submit(f, 7, 1, REQUEST_COMMAND, "SET a 1");
    link_down(f, s3);
    tick(f, 1);
    assert_true(said(f, "send s2: forward view=1"));
    /* A primary that cannot be reached gets it again once it says what it has. */
    submit(f, 8, 1, REQUEST_COMMAND, "SET a 2");
    link_down(f, s2);
    tick(f, 1);
    assert_false(said(f, "forward"));
    link_up(f, s2, 22);
    sync_to(f, s2, 1, 1);
    tick(f, 1);
    assert_true(said(f, "send s2: forward view=1"));
    assert_int_equal(f->reply_count, 0);
}

/* What is under way is counted until it is answered, and as old as its oldest. */
static void test_under_way(void **state)
{
    struct fixture *f = *state;
    struct server_status status;

    link_all(f);
    enter(f, 1, s1, 3, STYLE_ACTIVE);
    tick(f, 1);
    submit(f, 7, 1, REQUEST_COMMAND, "SET a 1");
    tick(f, 5);
    submit(f, 8, 1, REQUEST_COMMAND, "SET a 2");
    server_status(f->server, f->now, &status);
    assert_int_equal(status.requests_under_way, 2);
    assert_int_equal(status.oldest_waiting_ms, 5);
    tick(f, 1);
    ack(f, s2, 3);
    ack(f, s3, 3);
    tick(f, 1);
    assert_int_equal(f->reply_count, 2);
    server_status(f->server, f->now, &status);
    assert_int_equal(status.requests_under_way, 0);
    assert_int_equal(status.oldest_waiting_ms, 0);
}

/* Of two reads of one connection, the later never shows less: not even when it needs not wait. */
static void test_reads_in_order(void **state)
{
    struct fixture *f = *state;

    link_all(f);
    enter(f, 1, s1, 2, STYLE_ACTIVE);
    tick(f, 1);
    ack(f, s2, 1);
    submit(f, 1, 1, REQUEST_COMMAND, "SET a 1"); /* entry 2 */
    submit(f, 2, 2, REQUEST_COMMAND, "SET b 5"); /* entry 3 */
    submit(f, 3, 1, REQUEST_READ, "GET b");
    tick(f, 1);
    ack(f, s2, 2);
    assert_int_equal(f->reply_count, 1);
    submit(f, 4, 1, REQUEST_READ, "GET b");
    assert_int_equal(f->reply_count, 1); /* not before the one before it */
    submit(f, 5, 3, REQUEST_READ, "GET b");
    assert_string_equal(f->replies[1], "5 done _"); /* others need not wait */
    ack(f, s2, 3);
    assert_int_equal(f->reply_count, 5);
    assert_string_equal(f->replies[2], "2 done +OK");
    assert_string_equal(f->replies[3], "3 done $1");
    assert_string_equal(f->replies[4], "4 done $1");
}

/* What the primary before had committed, and answered, a new one knows only once an entry of its
 * own is committed: a read waits for that (seeds 1, 36 and 73). */
static void test_read_at_failover(void **state)
{
    struct fixture *f = *state;

    link_all(f);
    enter(f, 1, s2, 2, STYLE_ACTIVE);
    append(f, s2, 1, 0, 1, 2, 1); /* that entry 2 is committed was not heard */
    tick(f, 1);
    enter(f, 2, s1, 2, STYLE_ACTIVE);
    tick(f, 1);
    submit(f, 1, 1, REQUEST_READ, "GET k");
    ack(f, s2, 2); /* a lease */
    tick(f, 1);
    assert_int_equal(f->reply_count, 0);
    ack(f, s2, 3);
    assert_int_equal(f->reply_count, 1);
    assert_string_equal(f->replies[0], "1 done $1");
}

/* The queue of waiting reads grows while some in front are gone already; all get their answers. */
static void test_many_waiting_reads(void **state)
{
    struct fixture *f = *state;
    uint64_t client = 0;

    link_all(f);
    enter(f, 1, s1, 2, STYLE_ACTIVE);
    tick(f, 1);
    for (uint64_t index = 1; index <= 3; index++) {
        for (uint32_t i = 0; i < 200; i++)
            submit(f, ++client, 2 + i, REQUEST_READ, "GET a");
        submit(f, 0, 1, REQUEST_COMMAND, "SET a 1"); /* entry index + 1 */
        for (uint32_t i = 0; i < 200; i++)
            submit(f, ++client, 1, REQUEST_READ, "GET a");
        ack(f, s2, index);
        tick(f, 1);
    }
    ack(f, s2, 4);
    assert_int_equal(f->reply_count, client + 3);
    assert_string_equal(f->replies[(f->reply_count - 1) % REPLIES_MAX], "1200 done $1");
    assert_int_equal(f->server->reads.count, 0);
}

/* A read whose primary did not get to answer it is not asked again once what its connection wrote
 * behind it is executed: it would see that. */
static void test_read_overtaken_by_a_write(void **state)
{
    struct fixture *f = *state;

    f->wall_us = 1; /* append() makes entries of long ago */
    link_all(f);
    enter(f, 1, s1, 3, STYLE_ACTIVE);
    submit(f, 1, 1, REQUEST_READ, "GET a");
    submit(f, 2, 1, REQUEST_COMMAND, "SET a 1"); /* entry 2 */
    submit(f, 3, 2, REQUEST_READ, "GET a");
    tick(f, 1);
    enter(f, 2, s2, 3, STYLE_ACTIVE);
    append(f, s2, 2, 1, 3, 3, 3);
    assert_int_equal(f->reply_count, 1);
    assert_string_equal(f->replies[0], "2 done +OK");
    sync_to(f, s2, 2, 3);
    tick(f, 1);
    assert_int_equal(f->reply_count, 2);
    assert_memory_equal(f->replies[1], "1 not executed TRYAGAIN", 23);
    assert_true(said(f, "send s2: forward view=2")); /* of the other connection */
}

static void reply_hear(struct fixture *f, node_id from, uint64_t incarnation, uint64_t token)
{
    struct journal_record header = { .incarnation = incarnation,
                                     .token = token,
                                     .kind = OUTCOME_DONE };

    buffer_clear(&f->records, 1 << 20);
    journal_record_pack(&f->records, &header, bytes_string("+OK\r\n"));
    hear(f, from,
         (struct message){ .type = MESSAGE_REPLY, .reply.replies = buffer_bytes(&f->records) });
}

/* Tokens begin anew with each life: the answer to what an earlier one asked is not for this. */
static void test_reply_for_an_earlier_life(void **state)
{
    struct fixture *f = *state;
    uint64_t token;

    link_all(f);
    enter(f, 1, s2, 3, STYLE_PASSIVE);
    append(f, s2, 1, 0, 1, 1, 1);
    sync_to(f, s2, 1, 1);
    submit(f, 4, 1, REQUEST_COMMAND, "SET b 1");
    token = pending_oldest(&f->server->pending)->token;
    reply_hear(f, s2, 10, token);
    assert_int_equal(f->reply_count, 0);
    reply_hear(f, s2, 11, token);
    assert_int_equal(f->reply_count, 1);
}

/* A read that waits at the primary is answered to the life that asked, whoever is linked then. */
static void test_read_of_an_earlier_life(void **state)
{
    struct fixture *f = *state;
    const struct bytes words[] = { bytes_string("GET"), bytes_string("a") };
    struct journal_record asked = {
        .origin = s2, .incarnation = 22, .token = 5, .kind = REQUEST_READ
    };
    struct journal_record answered = { 0 };
    struct bytes rest = { 0 }, record;
    bool sound;

    link_all(f);
    enter(f, 1, s1, 2, STYLE_ACTIVE);
    tick(f, 1);
    request_pack_command(&f->packed, 2, words);
    journal_record_pack(&f->records, &asked, buffer_bytes(&f->packed));
    hear(f, s2,
         (struct message){ .type = MESSAGE_FORWARD,
                           .forward = { .view = 1, .requests = buffer_bytes(&f->records) } });
    link_down(f, s2);
    link_up(f, s2, 23);
    ack(f, s3, 1);
    tick(f, 1);
    for (uint32_t i = 0; i < f->effects.count; i++)
        if (f->effects.list[i].message.type == MESSAGE_REPLY)
            rest = f->effects.list[i].message.reply.replies;
    assert_true(journal_record_next(&rest, &answered, &record, &sound));
    assert_int_equal(answered.incarnation, 22);
    assert_int_equal(answered.token, 5);
}

/* Answers need not come in the order in which was asked: a stream that shares the place of another
 * may be answered last, and with an older token. The read still knows what came first. */
static void test_read_overtaken_before_an_older_write(void **state)
{
    const uint32_t sharing = 50550; /* has the place of stream 1 */
    struct fixture *f = *state;
    struct pending_request *request;
    uint64_t older, newer;

    link_all(f);
    enter(f, 1, s2, 3, STYLE_PASSIVE);
    append(f, s2, 1, 0, 1, 1, 1);
    sync_to(f, s2, 1, 1);
    submit(f, 4, sharing, REQUEST_COMMAND, "SET b 1");
    submit(f, 5, 1, REQUEST_READ, "GET a");
    submit(f, 6, 1, REQUEST_COMMAND, "SET a 1");
    tick(f, 1);
    request = pending_oldest(&f->server->pending);
    older = request->token;
    request = pending_newer(&f->server->pending, request);
    newer = pending_newer(&f->server->pending, request)->token;
    reply_hear(f, s2, 11, newer);
    reply_hear(f, s2, 11, older);
    assert_string_equal(f->replies[0], "6 done +OK");
    assert_string_equal(f->replies[1], "4 done +OK");
    enter(f, 2, s3, 3, STYLE_PASSIVE);
    append(f, s3, 2, 1, 2, 2, 2);
    sync_to(f, s3, 2, 2);
    tick(f, 1);
    assert_int_equal(f->reply_count, 3);
    assert_memory_equal(f->replies[2], "5 not executed TRYAGAIN", 23);
}

/* A key that is due is gone for all from one entry on: a read does not find it gone while a write
 * before that entry is still to find it there. */
static void test_due_by_an_entry(void **state)
{
    struct fixture *f = *state;

    link_all(f);
    enter(f, 1, s1, 2, STYLE_ACTIVE);
    submit(f, 1, 1, REQUEST_COMMAND, "PSETEX a 5 v"); /* entry 2 */
    tick(f, 1);
    ack(f, s2, 2);
    submit(f, 2, 2, REQUEST_COMMAND, "GETSET a w"); /* entry 3 */
    f->wall_us = 20000;
    submit(f, 3, 3, REQUEST_READ, "GET a");
    assert_int_equal(f->reply_count, 1);
    tick(f, 1);
    ack(f, s2, 4);
    assert_int_equal(f->reply_count, 3);
    assert_string_equal(f->replies[1], "2 done $1");
    assert_string_equal(f->replies[2], "3 done $1");
}

/* What is due and nobody else asks for is gone when it is asked for. */
static void test_due_when_asked(void **state)
{
    struct fixture *f = *state;

    link_all(f);
    enter(f, 1, s1, 2, STYLE_ACTIVE);
    submit(f, 1, 1, REQUEST_COMMAND, "PSETEX a 5 v"); /* entry 2 */
    tick(f, 1);
    ack(f, s2, 2);
    f->wall_us = 20000;
    submit(f, 2, 2, REQUEST_READ, "GET a");
    submit(f, 3, 3, REQUEST_READ, "GET a");
    assert_int_equal(f->reply_count, 1);
    tick(f, 1);
    ack(f, s2, 3);
    assert_string_equal(f->replies[1], "2 done _");
    assert_string_equal(f->replies[2], "3 done _");
    assert_int_equal(f->server->journal.last, 3);
}

/* What was truncated may be in the journal of another, which may lead yet: it is not said that it
 * was not executed. */
static void test_truncated_is_not_unexecuted(void **state)
{
    struct fixture *f = *state;

    link_all(f);
    enter(f, 1, s1, 3, STYLE_ACTIVE);
    submit(f, 7, 1, REQUEST_COMMAND, "SET a 1"); /* entry 2 */
    tick(f, 1);
    enter(f, 2, s2, 1, STYLE_ACTIVE);
    append(f, s2, 2, 1, 2, 2, 0);
    hear(f, NODE_RM, (struct message){ .type = MESSAGE_FENCE, .fence.number = 3 });
    submit(f, 8, 1, REQUEST_COMMAND, "SET a 2"); /* has never left */
    tick(f, REQUEST_HOLD_MS_MAX);
    assert_int_equal(f->reply_count, 2);
    assert_string_equal(f->replies[0], "7 unknown ");
    assert_memory_equal(f->replies[1], "8 not executed TRYAGAIN", 23);
}

/* What active views left to be executed is executed by every member, in a passive view too: nobody
 * else answers its clients. What comes behind is the primary's. */
static void test_under_way_when_the_style_changes(void **state)
{
    struct fixture *f = *state;

    link_all(f);
    enter(f, 1, s1, 3, STYLE_ACTIVE);
    submit(f, 7, 1, REQUEST_COMMAND, "SET a 1"); /* entry 2 */
    tick(f, 1);
    enter(f, 2, s2, 3, STYLE_PASSIVE);
    append(f, s2, 2, 1, 3, 5, 0);
    enter(f, 3, s3, 3, STYLE_PASSIVE);
    append(f, s3, 3, 2, 6, 8, 8);
    tick(f, 1);
    assert_int_equal(f->reply_count, 1);
    assert_string_equal(f->replies[0], "7 done +OK");
    assert_int_equal(f->server->replica.executed_index, 2);
    submit(f, 8, 1, REQUEST_READ, "GET a"); /* not from here */
    assert_int_equal(f->reply_count, 1);
}

/* A member without a state may never execute what it forwards: the state that it is given may be of
 * a later entry. So the primary is to answer. */
static void test_forwarded_without_a_state(void **state)
{
    struct fixture *f = *state;
    struct journal_record header = { 0 };

    link_all(f);
    enter(f, 3, s2, 2, STYLE_ACTIVE);
    hear(
        f, s2,
        (struct message){
            .type = MESSAGE_APPEND,
            .append = {
                .view = 3, .prev_index = 90, .prev_view = 3, .stamp = f->now.ns, .reset = true } });
    sync_to(f, s2, 3, 90);
    assert_false(f->server->replica.whole);
    submit(f, 7, 1, REQUEST_COMMAND, "SET a 1");
    tick(f, 1);
    for (uint32_t i = 0; i < f->effects.count; i++)
        if (f->effects.list[i].type == EFFECT_SEND &&
            f->effects.list[i].message.type == MESSAGE_FORWARD)
            memcpy(&header, f->effects.list[i].message.forward.requests.data, sizeof header);
    assert_int_equal(header.origin, s1);
    assert_true(header.wants_reply);
}

/* Reads that nobody may answer in time are refused, and leave nothing behind: a primary that is cut
 * off for long does not gather them. */
static void test_refused_reads_are_gone(void **state)
{
    struct fixture *f = *state;

    link_all(f);
    enter(f, 1, s1, 3, STYLE_ACTIVE);
    submit(f, 7, 1, REQUEST_READ, "GET a");
    submit(f, 8, 2, REQUEST_READ, "GET a");
    tick(f, REQUEST_HOLD_MS_MAX);
    assert_int_equal(f->reply_count, 2);
    assert_memory_equal(f->replies[1], "8 not executed TRYAGAIN", 23);
    assert_int_equal(f->server->pending.count, 0);
    assert_int_equal(f->server->reads.count, 0);
}

/* A wall clock that is set back, or another machine's that is behind: time for the service goes on
 * from where it was, a little slower, until the clock has caught up. */
static void test_clock_set_back(void **state)
{
    struct fixture *f = *state;
    uint64_t start = 1000000000000, at;

    server_wall(f->server, start);
    f->server->entry_time_us = start + 3600000000;
    for (uint32_t s = 1; s <= 16; s++)
        server_wall(f->server, start + s * UINT64_C(1000000));
    at = f->server->wall_us;
    assert_int_equal(at, start + 3600000000 + 15 * UINT64_C(1000000));
    server_wall(f->server, start - 7200000000);
    assert_int_equal(f->server->wall_us, at);
    server_wall(f->server, start - 7200000000 + 1600);
    assert_int_equal(f->server->wall_us, at + 1500);
    server_wall(f->server, at + 5000000);
    assert_int_equal(f->server->wall_us, at + 5000000);
}

/* An entry of an earlier time than the state is not executed: the server says which, and ends.
 * Found by fuzz_server. */
static void test_entry_of_an_earlier_time(void **state)
{
    struct journal_record header = { .index = 4, .view = 1, .time_us = 2, .kind = REQUEST_COMMAND };
    struct fixture *f = *state;

    link_all(f);
    enter(f, 1, s2, 3, STYLE_ACTIVE);
    append(f, s2, 1, 0, 1, 3, 3);
    tick(f, 1);
    buffer_clear(&f->records, 1 << 20);
    journal_record_pack(&f->records, &header, bytes_of(NULL, 0));
    hear(f, s2,
         (struct message){ .type = MESSAGE_APPEND,
                           .append = { .view = 1,
                                       .prev_index = 3,
                                       .prev_view = 1,
                                       .commit_index = 4,
                                       .entries = buffer_bytes(&f->records) } });
    assert_true(said(f, "end: entry 4, made in view 1, is of an earlier time"));
    assert_int_equal(f->server->replica.executed_index, 3);
}

/* Large entries that are committed all at once are executed in pieces: others have their turn. */
static void test_execution_in_pieces(void **state)
{
    struct fixture *f = *state;
    char words[20000];
    uint64_t before;

    link_all(f);
    enter(f, 1, s1, 2, STYLE_ACTIVE);
    tick(f, 1);
    ack(f, s2, 1);
    (void)snprintf(words, sizeof words, "SET a %0*d", 19000, 1);
    for (uint32_t i = 0; i < 40; i++)
        submit(f, 1, 1, REQUEST_COMMAND, words); /* 40 entries, 760 KB */
    tick(f, 1);
    ack(f, s2, 41);
    before = f->server->replica.executed_index;
    assert_true(before > 1 && before < 20);
    assert_true(instant_reached(f->now, server_deadline(f->server)));
    tick(f, 0);
    assert_true(f->server->replica.executed_index > before);
    assert_true(f->server->replica.executed_index < 41);
    tick(f, 0);
    tick(f, 0);
    assert_int_equal(f->server->replica.executed_index, 41);
}

/* Small entries that take long are executed in pieces too, and there is always some progress. */
static void test_execution_by_time(void **state)
{
    struct fixture *f = *state;
    uint64_t before;

    link_all(f);
    enter(f, 1, s1, 2, STYLE_ACTIVE);
    tick(f, 1);
    ack(f, s2, 1);
    for (uint32_t i = 0; i < 600; i++)
        submit(f, 1, 1, REQUEST_COMMAND, "SET a 1");
    tick(f, 1);
    f->look_us = 400; /* that is, 64 entries take so long */
    ack(f, s2, 601);
    assert_true(f->server->replica.executed_index < 601);
    assert_true(instant_reached(f->now, server_deadline(f->server)));
    f->look_us = 1000000;
    before = f->server->replica.executed_index;
    tick(f, 0);
    assert_int_equal(f->server->replica.executed_index, before + 64);
    f->look_us = 0;
    tick(f, 0);
    assert_int_equal(f->server->replica.executed_index, 601);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(test_forward_beside_a_lost_link),
        STORY(test_under_way),
        STORY(test_reads_in_order),
        STORY(test_read_at_failover),
        STORY(test_many_waiting_reads),
        STORY(test_read_overtaken_by_a_write),
        STORY(test_reply_for_an_earlier_life),
        STORY(test_read_of_an_earlier_life),
        STORY(test_read_overtaken_before_an_older_write),
        STORY(test_due_by_an_entry),
        STORY(test_due_when_asked),
        STORY(test_truncated_is_not_unexecuted),
        STORY(test_under_way_when_the_style_changes),
        STORY(test_forwarded_without_a_state),
        STORY(test_refused_reads_are_gone),
        STORY(test_clock_set_back),
        STORY(test_entry_of_an_earlier_time),
        STORY(test_execution_in_pieces),
        STORY(test_execution_by_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
