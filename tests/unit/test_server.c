/* One replica with its machine and requests, as stories in virtual time: s1 with s2 and s3, and
 * clients of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/resp.h"
#include "server/server_state.h"
#include "server/services/kv.h"

#define REPLIES_MAX 16u

struct fixture {
    struct server *server;
    struct effects effects;
    struct instant now;
    uint64_t wall_us;
    struct buffer said;            /* what all effects of the last call come to */
    struct buffer packed, records; /* of the last request, and of the last append */
    char replies[REPLIES_MAX][64]; /* "client outcome text", in order */
    uint32_t reply_count;
    uint64_t turn_us, look_us; /* how long the turn has taken, and what each look adds */
};

static const node_id s1 = NODE_SERVER(0), s2 = NODE_SERVER(1), s3 = NODE_SERVER(2);

static void on_reply(void *context, uint64_t client, enum outcome outcome, struct bytes reply)
{
    struct fixture *f = context;
    char *text = f->replies[f->reply_count++ % REPLIES_MAX];

    snprintf(text, sizeof f->replies[0], "%u %s %.*s", (unsigned)client,
             outcome == OUTCOME_DONE           ? "done"
             : outcome == OUTCOME_NOT_EXECUTED ? "not executed"
                                               : "unknown",
             reply.size > 30 ? 30 : (int)reply.size, (const char *)reply.data);
    text[strcspn(text, "\r")] = '\0';
}

static uint64_t turn_us(void *context)
{
    struct fixture *f = context;

    return f->turn_us += f->look_us;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->now = instant_add_ms((struct instant){ 0 }, 1000);
    f->wall_us = 1000;
    f->server = server_new(
        &(struct server_options){
            .self = s1,
            .incarnation = 11,
            .service = kv_service(),
            .server_count = 3,
            .lease_ms = 200,
            .checkpoint_interval_ms = 100000,
            .suspect_after_ms = 200,
            .journal_bytes_max = 1 << 20,
            .pending_bytes_max = 1 << 20,
            .reply = on_reply,
            .turn_us = turn_us,
            .context = f,
        },
        f->now);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    server_free(f->server);
    buffer_free(&f->said);
    buffer_free(&f->packed);
    buffer_free(&f->records);
    free(f);
    return 0;
}

static void note_said(struct fixture *f)
{
    buffer_clear(&f->said, 1 << 20);
    effects_format(&f->effects, &f->said);
    buffer_append(&f->said, "", 1);
    server_check(f->server);
}

static bool said(struct fixture *f, const char *text)
{
    return strstr((const char *)buffer_head(&f->said), text) != NULL;
}

static void hear(struct fixture *f, node_id from, struct message message)
{
    message.from = from;
    effects_clear(&f->effects);
    server_receive(f->server, f->now, &message, &f->effects);
    note_said(f);
}

static void tick(struct fixture *f, uint64_t ms)
{
    f->now = instant_add_ms(f->now, ms);
    effects_clear(&f->effects);
    server_tick(f->server, f->now, &f->effects);
    note_said(f);
}

static void link_up(struct fixture *f, node_id from, uint64_t incarnation)
{
    hear(f, from, (struct message){ .type = MESSAGE_LINK_UP, .link_up.incarnation = incarnation });
}

static void link_down(struct fixture *f, node_id from)
{
    hear(f, from, (struct message){ .type = MESSAGE_LINK_DOWN });
}

/* Of all three servers. */
static void enter(struct fixture *f, uint64_t number, node_id primary, uint8_t acks,
                  enum style style)
{
    struct message m = {
        .type = MESSAGE_VIEW,
        .view = { .number = number, .acks = acks, .primary = primary, .style = (uint8_t)style }
    };

    for (uint32_t i = 0; i < 3; i++)
        members_put(&m.view.members, NODE_SERVER(i), 11ull * (i + 1));
    hear(f, NODE_RM, m);
}

static void link_all(struct fixture *f)
{
    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    link_up(f, s3, 33);
}

static void submit(struct fixture *f, uint64_t client, uint32_t stream, uint8_t kind,
                   const char *words)
{
    struct server_request request = { .client = client, .stream = stream, .kind = kind };
    struct bytes argv[4];
    uint32_t argc = 0;

    for (const char *at = words; *at && argc < 4; at += at[0] == ' ') {
        size_t size = strcspn(at, " ");

        argv[argc++] = bytes_of(at, size);
        at += size;
    }
    buffer_clear(&f->packed, 1 << 20);
    request_pack_command(&f->packed, argc, argv);
    request.request = buffer_bytes(&f->packed);
    effects_clear(&f->effects);
    assert_true(server_submit(f->server, f->now, f->wall_us, &request, &f->effects));
}

/* What the member acknowledges of our latest append, and how old its state is. */
static void ack_executed(struct fixture *f, node_id from, uint64_t index, uint64_t executed_index)
{
    const struct replica *r = &f->server->replica;

    hear(f, from,
         (struct message){ .type = MESSAGE_ACK,
                           .ack = { .view = r->view.number,
                                    .incarnation = 11ull * (node_index(from) + 1u),
                                    .index = index,
                                    .executed_index = executed_index,
                                    .stamp = r->peers[node_index(from)].stamp_sent } });
}

static void ack(struct fixture *f, node_id from, uint64_t index)
{
    ack_executed(f, from, index, f->server->replica.executed_index);
}

/* Entries from..to of one view, as the primary sends them: all but the first of view set a key. */
static void append(struct fixture *f, node_id from_node, uint64_t view, uint64_t prev_view,
                   uint64_t from, uint64_t to, uint64_t commit)
{
    const struct bytes argv[] = { bytes_string("SET"), bytes_string("k"), bytes_string("v") };
    struct buffer request = { 0 };

    request_pack_command(&request, 3, argv);
    buffer_clear(&f->records, 1 << 20);
    for (uint64_t i = from; i <= to; i++) {
        bool first = i == from && view != prev_view;

        struct bytes packed = buffer_bytes(&request);
        struct journal_record header = { .index = i, .view = view, .time_us = i };

        header.kind = first ? REQUEST_VIEW : REQUEST_COMMAND;
        if (first)
            packed = bytes_of(NULL, 0);
        journal_record_pack(&f->records, &header, packed);
    }
    buffer_free(&request);
    hear(f, from_node,
         (struct message){ .type = MESSAGE_APPEND,
                           .append = { .view = view,
                                       .prev_index = from - 1,
                                       .prev_view = prev_view,
                                       .commit_index = commit,
                                       .stamp = f->now.ns,
                                       .entries = buffer_bytes(&f->records) } });
}

static void sync_to(struct fixture *f, node_id from, uint64_t view, uint64_t index)
{
    hear(f, from,
         (struct message){ .type = MESSAGE_SYNC, .sync = { .view = view, .index = index } });
}

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

/* A round of changes since base comes in, up to the entry index. It makes no sense, which shows
 * when it is applied. */
static void hear_round(struct fixture *f, uint64_t view, uint64_t base, uint64_t index)
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
    hear(f, s2,
         (struct message){ .type = MESSAGE_CHECKPOINT_END,
                           .checkpoint_end = { .index = index, .slices = 1 } });
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

/* A state that comes in is taken from one server, as long as that one is there and goes on. */
static void test_one_state_at_a_time(void **state)
{
    struct fixture *f = *state;

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
    link_all(f);
    enter(f, 1, s1, 1, STYLE_ACTIVE);
    submit(f, 1, 1, REQUEST_COMMAND, "SET a 1"); /* entry 2 */
    tick(f, 1);
    assert_false(server_keep(f->server, 3));
    assert_true(server_keep(f->server, 2));
    assert_int_equal(f->server->keep_wanted, 2);
    assert_true(server_keep(f->server, 1));
    assert_int_equal(f->server->keep_wanted, 2);
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

#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(test_forward_beside_a_lost_link),
        STORY(test_reply_for_an_earlier_life),
        STORY(test_read_of_an_earlier_life),
        STORY(test_under_way),
        STORY(test_reads_in_order),
        STORY(test_read_overtaken_by_a_write),
        STORY(test_read_overtaken_before_an_older_write),
        STORY(test_due_by_an_entry),
        STORY(test_due_when_asked),
        STORY(test_truncated_is_not_unexecuted),
        STORY(test_refused_reads_are_gone),
        STORY(test_round_damaged),
        STORY(test_one_state_at_a_time),
        STORY(test_state_damaged),
        STORY(test_no_room_for_a_state),
        STORY(test_keep_on_request),
        STORY(test_execution_in_pieces),
        STORY(test_execution_by_time),
        STORY(test_no_checkpoint_before_execution),
        STORY(test_round_overtaken),
        STORY(test_round_half_overtaken),
        STORY(test_round_for_several),
        STORY(test_round_for_liars),
        STORY(test_clock_set_back),
        STORY(test_entry_of_an_earlier_time),
        STORY(test_old_state_in_pieces),
        STORY(test_old_state_beside_work),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
