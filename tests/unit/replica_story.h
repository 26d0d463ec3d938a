/* replica_story - the replica core, for stories in virtual time: s1 is told of views by the rm and
 * hears s2 and s3. Include after cmocka.h. */
#ifndef HOLDFAST_TESTS_UNIT_REPLICA_STORY_H
#define HOLDFAST_TESTS_UNIT_REPLICA_STORY_H

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

static inline int set_up(void **state)
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

static inline int tear_down(void **state)
{
    struct fixture *f = *state;

    buffer_free(&f->said);
    buffer_free(&f->records);
    free(f);
    return 0;
}

static inline void note_said(struct fixture *f)
{
    buffer_clear(&f->said, 1 << 20);
    effects_format(&f->effects, &f->said);
    buffer_append(&f->said, "", 1);
    replica_check(&f->replica);
}

static inline bool said(struct fixture *f, const char *text)
{
    return strstr((const char *)buffer_head(&f->said), text) != NULL;
}

static inline void hear(struct fixture *f, node_id from, struct message message)
{
    message.from = from;
    effects_clear(&f->effects);
    replica_receive(&f->replica, f->now, &message, &f->effects);
    note_said(f);
}

static inline void tick(struct fixture *f, uint64_t ms)
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

static inline void link_up(struct fixture *f, node_id from, uint64_t incarnation)
{
    hear(f, from, (struct message){ .type = MESSAGE_LINK_UP, .link_up.incarnation = incarnation });
}

static inline struct message view(uint64_t number, node_id primary, uint8_t acks, uint32_t set)
{
    struct message m = { .type = MESSAGE_VIEW,
                         .view = { .number = number, .acks = acks, .primary = primary } };

    for (uint32_t i = 0; i < 3; i++)
        if (set >> i & 1u)
            members_put(&m.view.members, NODE_SERVER(i), 11ull * (i + 1));
    return m;
}

static inline struct message ack(uint64_t number, uint64_t incarnation, uint64_t index,
                                 uint64_t stamp)
{
    return (struct message){
        .type = MESSAGE_ACK,
        .ack = { .view = number, .incarnation = incarnation, .index = index, .stamp = stamp }
    };
}

/* An append of entries from..to, all of one view. */
static inline struct message append(struct fixture *f, uint64_t number, uint64_t prev_view,
                                    uint64_t from, uint64_t to, uint64_t entry_view,
                                    uint64_t commit)
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
static inline void lead(struct fixture *f, uint8_t acks)
{
    link_up(f, NODE_RM, 1);
    link_up(f, s2, 22);
    link_up(f, s3, 33);
    hear(f, NODE_RM, view(1, s1, acks, 7));
}

static inline struct message position(uint64_t number, uint64_t incarnation, uint64_t first,
                                      uint64_t last, const struct journal_run *runs, size_t count)
{
    return (struct message){ .type = MESSAGE_POSITION,
                             .position = { .view = number,
                                           .incarnation = incarnation,
                                           .first_index = first,
                                           .last_index = last,
                                           .runs = bytes_of(runs, count * sizeof *runs) } };
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
