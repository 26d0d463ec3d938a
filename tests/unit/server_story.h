/* server_story - one replica with its machine and requests, for stories in virtual time: s1 with s2
 * and s3, and clients of its own. */
#ifndef HOLDFAST_TESTS_UNIT_SERVER_STORY_H
#define HOLDFAST_TESTS_UNIT_SERVER_STORY_H

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

static inline void on_reply(void *context, uint64_t client, enum outcome outcome,
                            struct bytes reply)
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

static inline uint64_t turn_us(void *context)
{
    struct fixture *f = context;

    return f->turn_us += f->look_us;
}

static inline int set_up(void **state)
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

static inline int tear_down(void **state)
{
    struct fixture *f = *state;

    server_free(f->server);
    buffer_free(&f->said);
    buffer_free(&f->packed);
    buffer_free(&f->records);
    free(f);
    return 0;
}

static inline void note_said(struct fixture *f)
{
    buffer_clear(&f->said, 1 << 20);
    effects_format(&f->effects, &f->said);
    buffer_append(&f->said, "", 1);
    server_check(f->server);
}

static inline bool said(struct fixture *f, const char *text)
{
    return strstr((const char *)buffer_head(&f->said), text) != NULL;
}

static inline void hear(struct fixture *f, node_id from, struct message message)
{
    message.from = from;
    effects_clear(&f->effects);
    server_receive(f->server, f->now, &message, &f->effects);
    note_said(f);
}

static inline void tick(struct fixture *f, uint64_t ms)
{
    f->now = instant_add_ms(f->now, ms);
    effects_clear(&f->effects);
    server_tick(f->server, f->now, &f->effects);
    note_said(f);
}

static inline void link_up(struct fixture *f, node_id from, uint64_t incarnation)
{
    hear(f, from, (struct message){ .type = MESSAGE_LINK_UP, .link_up.incarnation = incarnation });
}

static inline void link_down(struct fixture *f, node_id from)
{
    hear(f, from, (struct message){ .type = MESSAGE_LINK_DOWN });
}

/* Of all three servers. */
static inline void enter(struct fixture *f, uint64_t number, node_id primary, uint8_t acks,
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

static inline void link_all(struct fixture *f)
{
    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    link_up(f, s3, 33);
}

static inline void submit(struct fixture *f, uint64_t client, uint32_t stream, uint8_t kind,
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
static inline void ack_executed(struct fixture *f, node_id from, uint64_t index,
                                uint64_t executed_index)
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

static inline void ack(struct fixture *f, node_id from, uint64_t index)
{
    ack_executed(f, from, index, f->server->replica.executed_index);
}

/* Entries from..to of one view, as the primary sends them: all but the first of view set a key. */
static inline void append(struct fixture *f, node_id from_node, uint64_t view, uint64_t prev_view,
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

static inline void sync_to(struct fixture *f, node_id from, uint64_t view, uint64_t index)
{
    hear(f, from,
         (struct message){ .type = MESSAGE_SYNC, .sync = { .view = view, .index = index } });
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
