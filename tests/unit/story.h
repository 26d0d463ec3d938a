/* story - what a core said since the last time somebody asked, as text, for tests in virtual time.
 *
 * Include after cmocka.h. Debug notes and heartbeats are left out unless wanted: a story has one
 * point. */
#ifndef HOLDFAST_TESTS_UNIT_STORY_H
#define HOLDFAST_TESTS_UNIT_STORY_H

#include <string.h>

#include "common/core.h"

struct story {
    struct core core;
    struct instant now;
    bool everything; /* heartbeats and debug notes too */
    struct buffer text;
};

static inline bool story_wants(const struct story *s, const struct effect *e)
{
    if (s->everything)
        return true;
    if (e->type == EFFECT_SEND)
        return e->message.type != MESSAGE_HEARTBEAT && e->message.type != MESSAGE_HEARTBEAT_OK;
    return e->type != EFFECT_NOTE || e->level != NOTE_DEBUG;
}

static inline void story_take(struct story *s, const struct effects *effects)
{
    struct effects one = { .count = 1 };

    for (uint32_t i = 0; i < effects->count; i++) {
        one.list[0] = effects->list[i];
        if (story_wants(s, &one.list[0]))
            effects_format(&one, &s->text);
    }
}

/* Calls the core with a message, or lets time pass to the given point, in steps of its deadlines.
 */
static inline void story_message(struct story *s, struct message message)
{
    static struct effects effects;

    effects_clear(&effects);
    s->core.receive(s->core.self, s->now, &message, &effects);
    story_take(s, &effects);
}

static inline void story_tick(struct story *s)
{
    static struct effects effects;

    effects_clear(&effects);
    s->core.tick(s->core.self, s->now, &effects);
    story_take(s, &effects);
    assert_true(s->core.deadline(s->core.self).ns > s->now.ns); /* or the loop would spin */
}

static inline struct instant story_at(uint64_t ms)
{
    return instant_add_ms((struct instant){ 1000000000u }, ms);
}

/* On time: every deadline up to then is kept. */
static inline void story_until(struct story *s, uint64_t ms)
{
    struct instant end = story_at(ms);

    while (s->core.deadline(s->core.self).ns <= end.ns) {
        s->now = instant_max(s->now, s->core.deadline(s->core.self));
        story_tick(s);
    }
    s->now = end;
}

/* Paused: the next call comes only then. */
static inline void story_pause_until(struct story *s, uint64_t ms)
{
    s->now = story_at(ms);
}

static inline void story_is(struct story *s, const char *expected)
{
    buffer_append(&s->text, "", 1);
    assert_string_equal((const char *)buffer_head(&s->text), expected);
    buffer_clear(&s->text, SIZE_MAX);
}

static inline void story_skip(struct story *s)
{
    buffer_clear(&s->text, SIZE_MAX);
}

#endif
