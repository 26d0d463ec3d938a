#include "common/effects.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct block *block_new(uint32_t size)
{
    struct block *block = memory_take(sizeof *block + size);

    block->holders = 1;
    block->size = size;
    block->used = 0;
    return block;
}

void block_hold(struct block *block)
{
    assert(block->holders > 0 && block->holders < UINT32_MAX);
    block->holders++;
}

void block_release(struct block *block)
{
    assert(block->holders > 0);
    if (--block->holders == 0)
        free(block);
}

/* Clean but for its message, which is large: most effects of a busy call are messages, and
 * those fill it anyway. */
static struct effect *next_effect(struct effects *out, enum effect_type type)
{
    struct effect *effect;

    assert(out->count < EFFECT_COUNT_MAX);
    effect = &out->list[out->count++];
    effect->type = type;
    effect->level = NOTE_INFO;
    effect->node = NODE_NONE;
    effect->number = 0;
    effect->reference = 0;
    effect->text = NULL;
    effect->data = bytes_of(NULL, 0);
    effect->owner = NULL;
    return effect;
}

struct effect *effects_add(struct effects *out, enum effect_type type)
{
    struct effect *effect = next_effect(out, type);

    memset(&effect->message, 0, sizeof effect->message);
    return effect;
}

void effects_send_held(struct effects *out, node_id to, struct message message, struct block *owner)
{
    struct effect *effect = next_effect(out, EFFECT_SEND);

    effect->node = to;
    effect->owner = owner;
    effect->message = message;
}

void effects_send(struct effects *out, node_id to, struct message message)
{
    struct effect *effect = next_effect(out, EFFECT_SEND);

    effect->node = to;
    effect->message = message;
}

static const char *text_va(struct effects *out, const char *format, va_list arguments)
{
    uint32_t room = NOTE_BYTES_MAX - out->text_used;
    char *text = out->text + out->text_used;
    int length;

    if (room == 0)
        return "";
    length = vsnprintf(text, room, format, arguments);
    assert(length >= 0);
    out->text_used += (uint32_t)length < room ? (uint32_t)length + 1 : room;
    return text;
}

const char *effects_text(struct effects *out, const char *format, ...)
{
    va_list arguments;
    const char *text;

    va_start(arguments, format);
    text = text_va(out, format, arguments);
    va_end(arguments);
    return text;
}

void effects_note(struct effects *out, const char *format, ...)
{
    struct effect *effect = next_effect(out, EFFECT_NOTE);
    va_list arguments;

    va_start(arguments, format);
    effect->text = text_va(out, format, arguments);
    va_end(arguments);
}

void effects_note_at(struct effects *out, enum note_level level, const char *format, ...)
{
    struct effect *effect = next_effect(out, EFFECT_NOTE);
    va_list arguments;

    effect->level = level;
    va_start(arguments, format);
    effect->text = text_va(out, format, arguments);
    va_end(arguments);
}

static const char *effect_name(enum effect_type type)
{
    switch (type) {
#define X(name, NAME) \
    case EFFECT_##NAME: return #name;
        EFFECTS(X)
#undef X
    }
    return "unknown";
}

/* What `number` and `reference` are called in an effect of this type. */
static const char *number_name(enum effect_type type)
{
    return type == EFFECT_KILL                                ? "signal"
           : type == EFFECT_ANSWER || type == EFFECT_KEEP_END ? "done"
                                                              : "number";
}

static const char *reference_name(enum effect_type type)
{
    return type == EFFECT_ANSWER ? "reference" : "index";
}

static void format_own_effect(const struct effect *e, struct buffer *out)
{
    bool number_counts = e->type == EFFECT_KILL || e->type == EFFECT_ANSWER ||
                         e->type == EFFECT_KEEP_END || e->number > 0;

    buffer_append_string(out, effect_name(e->type));
    if (e->node != NODE_NONE)
        buffer_format(out, " %s", node_name(e->node));
    if (e->reference > 0)
        buffer_format(out, " %s=%llu", reference_name(e->type), (unsigned long long)e->reference);
    if (number_counts)
        buffer_format(out, " %s=%u", number_name(e->type), e->number);
    if (e->data.size > 0)
        buffer_format(out, " <%zu bytes>", e->data.size);
    if (e->text)
        buffer_format(out, ": %s", e->text);
}

static void format_effect(const struct effect *e, struct buffer *out)
{
    if (e->type == EFFECT_SEND) {
        buffer_format(out, "send %s: ", node_name(e->node));
        message_format(&e->message, out);
    } else if (e->type == EFFECT_NOTE) {
        buffer_append_string(out, e->text);
    } else {
        format_own_effect(e, out);
    }
    buffer_append_string(out, "\n");
}

void effects_format(const struct effects *effects, struct buffer *out)
{
    for (uint32_t i = 0; i < effects->count; i++)
        format_effect(&effects->list[i], out);
}
