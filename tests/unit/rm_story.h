/* rm_story - lets the tests of the rm tell stories: who spoke, then what the core said.
 *
 * A cluster of three (or more) servers, each alone on its host, with acks = all and journals in
 * memory unless a test says otherwise. Times are in ms. Messages of one type in a row are one line:
 * "[fence 2: s1 s2]". Incarnations are 10 * server number + life: s2 is first 21, then 22. */
#ifndef HOLDFAST_TESTS_UNIT_RM_STORY_H
#define HOLDFAST_TESTS_UNIT_RM_STORY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/effects.h"
#include "common/instant.h"
#include "common/messages.h"
#include "rm/rm.h"

#define S1 NODE_SERVER(0)
#define S2 NODE_SERVER(1)
#define S3 NODE_SERVER(2)
#define S4 NODE_SERVER(3)
#define S5 NODE_SERVER(4)

#define STORY(test) cmocka_unit_test_setup_teardown(test, set_up_story, tear_down_story)

#define STORY_STORED_MAX 8192u

/* Whom the messages go to; exactly one of the two ways is used. */
struct story {
    struct rm_options options;
    struct rm rm;
    bool whole; /* drives struct rm; else roster and view only */
    struct instant now;
    struct effects out;     /* of the last call */
    struct buffer said;     /* since the last story() */
    struct members members; /* the gfd's list */
    uint64_t version;
    uint8_t stored[STORY_STORED_MAX];
    size_t stored_size; /* 0: nothing stored */
};

static inline uint64_t life(node_id server, uint32_t number)
{
    return (node_index(server) + 1u) * 10u + number;
}

static inline struct instant at(uint64_t ms)
{
    return (struct instant){ (1000u + ms) * 1000000u };
}

static inline void say_send(struct story *f, const struct effect *e, bool first, bool last)
{
    const struct message *m = &e->message;

    if (m->type != MESSAGE_FENCE && m->type != MESSAGE_VIEW) {
        buffer_format(&f->said, "send %s: ", node_name(e->node));
        message_format(m, &f->said);
        buffer_append_string(&f->said, "\n");
        return;
    }
    if (first)
        buffer_format(
            &f->said, "[%s %llu:", message_name(m->type),
            (unsigned long long)(m->type == MESSAGE_FENCE ? m->fence.number : m->view.number));
    buffer_format(&f->said, " %s%s", node_name(e->node), last ? "]\n" : "");
}

static inline bool same_send(const struct effects *out, uint32_t a, uint32_t b)
{
    return a < out->count && b < out->count && out->list[a].type == EFFECT_SEND &&
           out->list[b].type == EFFECT_SEND &&
           out->list[a].message.type == out->list[b].message.type;
}

static inline void say(struct story *f)
{
    for (uint32_t i = 0; i < f->out.count; i++) {
        const struct effect *e = &f->out.list[i];

        switch (e->type) {
        case EFFECT_SEND:
            say_send(f, e, i == 0 || !same_send(&f->out, i - 1, i), !same_send(&f->out, i, i + 1));
            break;
        case EFFECT_STORE:
            assert_true(e->data.size <= sizeof f->stored);
            memcpy(f->stored, e->data.data, e->data.size);
            f->stored_size = e->data.size;
            buffer_append_string(&f->said, "[store]\n");
            break;
        case EFFECT_ANSWER:
            buffer_format(&f->said, "answer %llu %s: %s\n", (unsigned long long)e->reference,
                          e->number ? "done" : "refused", e->text);
            break;
        default: buffer_format(&f->said, "%s\n", e->text); break;
        }
    }
}

/* The view issued last. */
static inline const struct message_view *current(const struct story *f)
{
    return saved_current(&f->rm.saved);
}

static inline void tick(struct story *f, uint64_t ms)
{
    f->now = at(ms);
    effects_clear(&f->out);
    if (f->whole) {
        rm_tick(&f->rm, f->now, &f->out);
    } else {
        roster_tick(&f->rm.roster, f->now, &f->out);
        view_tick(&f->rm.view, f->now, &f->out);
    }
    say(f);
}

static inline void deliver(struct story *f, uint64_t ms, node_id from, struct message m)
{
    f->now = at(ms);
    m.from = from;
    effects_clear(&f->out);
    if (f->whole) {
        rm_receive(&f->rm, f->now, &m, &f->out);
    } else {
        roster_receive(&f->rm.roster, f->now, &m, &f->out);
        view_receive(&f->rm.view, f->now, &m, &f->out);
    }
    say(f);
}

/* What was said since the last time, all of it. */
static inline void story(struct story *f, const char *expected)
{
    buffer_append(&f->said, "", 1);
    assert_string_equal((const char *)buffer_head(&f->said), expected);
    buffer_clear(&f->said, 65536);
}

/* What was said does not matter here. */
static inline void forget(struct story *f)
{
    buffer_clear(&f->said, 65536);
}

/* ------------------------------------------------------------------ who speaks */

static inline void gfd_link(struct story *f, uint64_t ms)
{
    deliver(
        f, ms, NODE_GFD,
        (struct message){ .type = MESSAGE_LINK_UP, .link_up = { .incarnation = 7, .pid = 70 } });
}

static inline void gfd_lost(struct story *f, uint64_t ms)
{
    deliver(f, ms, NODE_GFD,
            (struct message){ .type = MESSAGE_LINK_DOWN, .link_down = { .incarnation = 7 } });
}

/* The whole list, as after connecting. */
static inline void gfd_lists(struct story *f, uint64_t ms)
{
    deliver(f, ms, NODE_GFD,
            (struct message){ .type = MESSAGE_MEMBERSHIP,
                              .membership = { .version = f->version, .members = f->members } });
}

static inline void gfd_adds(struct story *f, uint64_t ms, node_id server, uint64_t incarnation)
{
    members_put(&f->members, server, incarnation);
    deliver(f, ms, NODE_GFD,
            (struct message){ .type = MESSAGE_MEMBERSHIP,
                              .membership = { .version = ++f->version,
                                              .members = f->members,
                                              .changed = server,
                                              .change = CHANGE_ADD,
                                              .incarnation = incarnation,
                                              .pid = 100u + (uint32_t)incarnation } });
}

static inline void gfd_deletes(struct story *f, uint64_t ms, node_id server, bool certain)
{
    uint64_t incarnation = f->members.incarnation[node_index(server)];
    struct message m = { .type = MESSAGE_MEMBERSHIP };

    members_drop(&f->members, server);
    m.membership = (struct message_membership){ .version = ++f->version,
                                                .members = f->members,
                                                .changed = server,
                                                .change = CHANGE_DELETE,
                                                .incarnation = incarnation,
                                                .certain = certain };
    (void)snprintf(m.membership.cause, sizeof m.membership.cause, "%s",
                   certain ? "exited: SIGKILL" : "host lost");
    deliver(f, ms, NODE_GFD, m);
}

static inline void host(struct story *f, uint64_t ms, uint32_t i, bool up)
{
    deliver(f, ms, NODE_GFD,
            (struct message){ .type = MESSAGE_HOST,
                              .host = { .lfd = NODE_LFD(i), .up = up, .pid = 50u + i } });
}

static inline void links(struct story *f, uint64_t ms, node_id server, uint64_t incarnation)
{
    deliver(f, ms, server,
            (struct message){ .type = MESSAGE_LINK_UP, .link_up = { .incarnation = incarnation } });
}

static inline void unlinks(struct story *f, uint64_t ms, node_id server)
{
    uint64_t incarnation = f->rm.roster.server[node_index(server)].link_incarnation;

    deliver(
        f, ms, server,
        (struct message){ .type = MESSAGE_LINK_DOWN, .link_down = { .incarnation = incarnation } });
}

/* Its process ends for certain, as the gfd and we see at once. */
static inline void dies(struct story *f, uint64_t ms, node_id server)
{
    gfd_deletes(f, ms, server, true);
    unlinks(f, ms, server);
}

/* Its next life. */
static inline void comes_back(struct story *f, uint64_t ms, node_id server, uint64_t incarnation)
{
    gfd_adds(f, ms, server, incarnation);
    links(f, ms, server, incarnation);
}

/* A server's state: the view it is in, and the highest number it promised. */
static inline void states(struct story *f, uint64_t ms, node_id server, uint64_t view,
                          uint64_t promised)
{
    uint64_t incarnation = f->rm.roster.server[node_index(server)].link_incarnation;

    deliver(f, ms, server,
            (struct message){ .type = MESSAGE_STATE,
                              .state = { .incarnation = incarnation,
                                         .view = view,
                                         .promised = promised,
                                         .intact = view > 0,
                                         .journal_view = view,
                                         .journal_index = view ? 5 : 0,
                                         .commit_index = view ? 4 : 0 } });
}

/* Answers the fence: the view and index of its last entry. */
static inline void report_all(struct story *f, uint64_t ms, node_id server, uint64_t view,
                              uint64_t index, bool intact, uint32_t lease_left_ms)
{
    uint64_t incarnation = f->rm.roster.server[node_index(server)].link_incarnation;

    deliver(f, ms, server,
            (struct message){ .type = MESSAGE_REPORT,
                              .report = { .number = f->rm.view.number,
                                          .incarnation = incarnation,
                                          .intact = intact,
                                          .journal_view = view,
                                          .last_index = index,
                                          .lease_left_ms = lease_left_ms } });
}

static inline void reports(struct story *f, uint64_t ms, node_id server, uint64_t view,
                           uint64_t index)
{
    report_all(f, ms, server, view, index, true, 0);
}

static inline void reports_lease(struct story *f, uint64_t ms, node_id server, uint64_t view,
                                 uint64_t index, uint32_t lease_left_ms)
{
    report_all(f, ms, server, view, index, true, lease_left_ms);
}

static inline void reports_damaged(struct story *f, uint64_t ms, node_id server, uint64_t view,
                                   uint64_t index)
{
    report_all(f, ms, server, view, index, false, 0);
}

/* All that are linked report the same. */
static inline void all_report(struct story *f, uint64_t ms, uint64_t view, uint64_t index)
{
    for (uint32_t i = 0; i < f->options.server_count; i++)
        if (f->rm.roster.server[i].linked)
            reports(f, ms, NODE_SERVER(i), view, index);
}

/* Intact, but its end was cut when its machine lost its power. */
static inline void reports_cut(struct story *f, uint64_t ms, node_id server, uint64_t view,
                               uint64_t index)
{
    uint64_t incarnation = f->rm.roster.server[node_index(server)].link_incarnation;

    deliver(f, ms, server,
            (struct message){ .type = MESSAGE_REPORT,
                              .report = { .number = f->rm.view.number,
                                          .incarnation = incarnation,
                                          .intact = 1,
                                          .cut = 1,
                                          .journal_view = view,
                                          .last_index = index } });
}

static inline void activates(struct story *f, uint64_t ms, node_id server, uint64_t number)
{
    deliver(f, ms, server,
            (struct message){ .type = MESSAGE_ACTIVE, .active = { .number = number } });
}

static inline void catches_up(struct story *f, uint64_t ms, node_id primary, node_id joiner,
                              uint64_t incarnation)
{
    deliver(f, ms, primary,
            (struct message){ .type = MESSAGE_CAUGHT_UP,
                              .caught_up = { .number = f->rm.view.number,
                                             .joiner = joiner,
                                             .incarnation = incarnation } });
}

static inline void accuses(struct story *f, uint64_t ms, node_id from, node_id peer)
{
    const struct message_view *view = current(f);

    deliver(
        f, ms, from,
        (struct message){ .type = MESSAGE_ACCUSE,
                          .accuse = { .number = view->number,
                                      .peer = peer,
                                      .incarnation = view->members.incarnation[node_index(peer)],
                                      .cause = "no ack" } });
}

static inline void commands_count(struct story *f, uint64_t ms, enum command_verb verb,
                                  uint32_t count, uint64_t reference)
{
    deliver(f, ms, NODE_OPERATOR,
            (struct message){
                .type = MESSAGE_COMMAND,
                .command = { .verb = (uint8_t)verb, .count = count, .reference = reference } });
}

static inline void commands_link(struct story *f, uint64_t ms, enum command_verb verb, node_id a,
                                 node_id b, uint32_t seconds, uint64_t reference)
{
    deliver(f, ms, NODE_OPERATOR,
            (struct message){ .type = MESSAGE_COMMAND,
                              .command = { .verb = (uint8_t)verb,
                                           .server = a,
                                           .peer = b,
                                           .count = seconds,
                                           .reference = reference } });
}

static inline void commands(struct story *f, uint64_t ms, enum command_verb verb, node_id server,
                            uint64_t reference)
{
    deliver(f, ms, NODE_OPERATOR,
            (struct message){
                .type = MESSAGE_COMMAND,
                .command = { .verb = (uint8_t)verb, .server = server, .reference = reference } });
}

/* ------------------------------------------------------------------ scenes */

/* A life of the rm begins, with what it stored before. */
static inline void begin(struct story *f, uint64_t ms)
{
    static uint8_t copy[STORY_STORED_MAX];
    struct error error;

    f->now = at(ms);
    memcpy(copy, f->stored, f->stored_size);
    f->options.stored = bytes_of(f->stored_size ? copy : NULL, f->stored_size);
    assert_int_equal(rm_stored_check(&f->options, &error), ERROR_NONE);
    rm_init(&f->rm, &f->options, f->now);
}

static inline int set_up_story(void **state)
{
    struct story *f = memory_zeroed(1, sizeof *f);

    f->options = (struct rm_options){
        .server_count = 3,
        .host_count = 3,
        .server_host = { 0, 1, 2, 3, 4 },
        .policy = { .style = STYLE_ACTIVE, .acks = ACKS_ALL },
        .grace_ms = 1000,
        .lease_ms = 200,
        .backoff_ms = 50,
        .backoff_ms_max = 10000,
        .budget = 3,
        .budget_window_s = 60,
        .seed = 1,
    };
    f->version = 3;
    *state = f;
    return 0;
}

static inline void set_up_five(struct story *f, enum acks_policy acks, uint32_t count)
{
    f->options.server_count = f->options.host_count = 5;
    f->options.policy.acks = acks;
    f->options.policy.acks_count = count;
}

static inline int tear_down_story(void **state)
{
    struct story *f = *state;

    buffer_free(&f->said);
    free(f);
    return 0;
}

/* All servers, in their first lives, linked, listed and empty. */
static inline void all_arrive(struct story *f, uint64_t ms)
{
    gfd_link(f, ms);
    for (uint32_t i = 0; i < f->options.server_count; i++)
        members_put(&f->members, NODE_SERVER(i), life(NODE_SERVER(i), 1));
    gfd_lists(f, ms);
    for (uint32_t i = 0; i < f->options.server_count; i++) {
        links(f, ms, NODE_SERVER(i), life(NODE_SERVER(i), 1));
        deliver(f, ms, NODE_SERVER(i),
                (struct message){ .type = MESSAGE_STATE,
                                  .state = { .incarnation = life(NODE_SERVER(i), 1) } });
    }
}

/* View 1 with all servers, active, primary s1. Ends long after all grace. */
static inline void serve(struct story *f, uint64_t ms)
{
    begin(f, 0);
    all_arrive(f, 0);
    for (uint32_t i = 0; i < f->options.server_count; i++)
        reports(f, 0, NODE_SERVER(i), 0, 0);
    activates(f, 1, S1, 1);
    for (uint32_t i = 0; i < f->options.server_count; i++)
        states(f, 1, NODE_SERVER(i), 1, 1);
    tick(f, 1000);
    tick(f, ms);
    forget(f);
}

#endif
