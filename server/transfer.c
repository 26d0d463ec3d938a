#include "server/transfer.h"

#include <assert.h>
#include <string.h>

#define ASIDE_KEEP_BYTES (1u << 20) /* memory kept between two rounds */

bool transfer_out_busy(const struct transfer_out *t)
{
    return t->open || t->ended;
}

static bool goes_to_disk(const struct transfer_out *t)
{
    return t->self != NODE_NONE && (t->receivers >> node_index(t->self) & 1u);
}

bool transfer_out_keeps(const struct transfer_out *t)
{
    return transfer_out_busy(t) && goes_to_disk(t);
}

void transfer_out_abort(struct transfer_out *t, struct machine *machine, struct effects *out)
{
    if (t->open)
        machine_checkpoint_end(machine);
    if (transfer_out_busy(t) && goes_to_disk(t))
        effects_add(out, EFFECT_KEEP_END);
    t->open = t->ended = false;
    t->receivers = t->parted = 0;
}

static void send_all(const struct transfer_out *t, const struct message *message,
                     struct effects *out)
{
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++)
        if (!(t->receivers >> i & 1u))
            continue;
        else if (NODE_SERVER(i) != t->self)
            effects_send(out, NODE_SERVER(i), *message);
        else if (message->type == MESSAGE_CHECKPOINT_END)
            effects_add(out, EFFECT_KEEP_END)->number = 1;
        else
            effects_add(out, EFFECT_KEEP)->message = *message;
}

static void begin(struct transfer_out *t, struct instant now, struct machine *machine,
                  uint64_t view, uint64_t index_view, uint32_t receivers, uint64_t base_index,
                  struct effects *out)
{
    bool full;

    assert(!transfer_out_busy(t) && receivers);
    machine_checkpoint_begin(machine, base_index, &full);
    t->open = true;
    t->view = view;
    t->index = machine_index(machine);
    t->index_view = index_view;
    t->time_us = machine_time_us(machine);
    t->base_index = full ? 0 : base_index;
    t->digest = machine_digest(machine);
    t->count++;
    t->receivers = receivers;
    t->sent = 0;
    t->bytes = 0;
    t->due = now;
    if (t->slice_bytes == 0)
        t->slice_bytes = SLICE_BYTES_MAX / 4;
    memset(t->acked, 0, sizeof t->acked);
    t->progress = now;
    send_all(t,
             &(struct message){ .type = MESSAGE_CHECKPOINT_BEGIN,
                                .checkpoint_begin = {
                                    .view = view,
                                    .index = t->index,
                                    .index_view = index_view,
                                    .time_us = t->time_us,
                                    .base_index = t->base_index,
                                    .count = t->count,
                                    .digest = t->digest,
                                    .bytes_estimated =
                                        machine_checkpoint_bytes_estimated(machine, t->base_index),
                                } },
             out);
}

void transfer_out_round(struct transfer_out *t, struct instant now, struct machine *machine,
                        uint64_t view, uint64_t index_view, uint32_t receivers, uint64_t base_index,
                        struct effects *out)
{
    t->round = true;
    begin(t, now, machine, view, index_view, receivers, base_index, out);
}

void transfer_out_wanted(struct transfer_out *t, node_id joiner, uint64_t index)
{
    uint32_t i = node_index(joiner);

    /* It is being served: the wish came twice. */
    if (t->receivers >> i & 1u && t->index >= index)
        return;
    t->wanted |= 1u << i;
    t->wanted_index[i] = index;
}

void transfer_out_donate(struct transfer_out *t, struct instant now, struct machine *machine,
                         uint64_t view, uint64_t index_view, uint32_t linked, struct effects *out)
{
    if (transfer_out_busy(t))
        return;
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++) {
        if (!(t->wanted & linked & 1u << i) || t->wanted_index[i] > machine_index(machine))
            continue;
        t->wanted &= ~(1u << i);
        t->round = false;
        effects_note(out, "give %s a checkpoint of entry %lu", node_name(NODE_SERVER(i)),
                     (unsigned long)machine_index(machine));
        begin(t, now, machine, view, index_view, 1u << i, 0, out);
        return;
    }
}

void transfer_out_keep(struct transfer_out *t, struct instant now, struct machine *machine,
                       uint64_t view, uint64_t index_view, uint64_t base_index, struct effects *out)
{
    if (transfer_out_busy(t))
        return;
    t->round = false;
    begin(t, now, machine, view, index_view, 1u << node_index(t->self), base_index, out);
}

void transfer_out_slice_kept(struct transfer_out *t, struct instant now)
{
    if (!transfer_out_busy(t) || !goes_to_disk(t))
        return;
    t->progress = now;
    t->acked[node_index(t->self)]++;
}

void transfer_out_kept(struct transfer_out *t)
{
    if (transfer_out_busy(t) && goes_to_disk(t))
        t->receivers = 0;
}

void transfer_out_lost(struct transfer_out *t, struct instant now, node_id receiver,
                       uint64_t incarnation)
{
    const uint32_t bit = 1u << node_index(receiver);

    t->wanted &= ~bit;
    if (t->round || !transfer_out_busy(t) || !(t->receivers & bit)) {
        t->receivers &= ~bit;
        return;
    }
    t->parted |= bit;
    t->parted_incarnation[node_index(receiver)] = incarnation;
    t->progress = now;
}

void transfer_out_found(struct transfer_out *t, node_id receiver, uint64_t incarnation)
{
    const uint32_t i = node_index(receiver);

    if (!(t->parted >> i & 1u) || t->parted_incarnation[i] != incarnation)
        t->receivers &= ~(1u << i);
}

static void send_end(const struct transfer_out *t, struct effects *out)
{
    send_all(t,
             &(struct message){ .type = MESSAGE_CHECKPOINT_END,
                                .checkpoint_end = { .index = t->index, .slices = t->sent } },
             out);
}

static void send_one(const struct transfer_out *t, uint32_t sequence, struct effects *out)
{
    send_all(t,
             &(struct message){ .type = MESSAGE_CHECKPOINT_SLICE,
                                .checkpoint_slice = {
                                    .index = t->index,
                                    .sequence = sequence,
                                    .data = buffer_bytes(&t->slices[sequence % SLICE_WINDOW]),
                                } },
             out);
}

void transfer_out_resume(struct transfer_out *t, struct instant now, node_id from,
                         const struct message_checkpoint_ack *ack, struct effects *out)
{
    const uint32_t bit = 1u << node_index(from);

    if (!(t->parted & t->receivers & bit) || ack->index != t->index || ack->slices > t->sent ||
        t->sent - ack->slices > SLICE_WINDOW)
        return;
    t->parted &= ~bit;
    t->progress = now;
    effects_note(out, "%s is back: its checkpoint of entry %lu goes on behind slice %u",
                 node_name(from), (unsigned long)t->index, ack->slices);
    for (uint32_t i = ack->slices; i < t->sent; i++)
        send_one(t, i, out);
    if (t->ended)
        send_end(t, out);
}

void transfer_out_ack(struct transfer_out *t, struct instant now, node_id from,
                      const struct message_checkpoint_ack *ack)
{
    uint32_t i = node_index(from);

    if (!transfer_out_busy(t) || ack->index != t->index || !(t->receivers >> i & 1u) ||
        ack->slices > t->sent)
        return;
    t->progress = now;
    t->acked[i] = ack->slices;
    if (ack->installed)
        t->receivers &= ~(1u << i);
}

void transfer_out_paced(struct transfer_out *t, struct instant now, uint64_t took_us, bool pressed)
{
    if (took_us > SLICE_US_MAX && t->slice_bytes > SLICE_BYTES_MIN)
        t->slice_bytes /= 2;
    else if (took_us < SLICE_US_MAX / 2 && t->slice_bytes < SLICE_BYTES_MAX)
        t->slice_bytes *= 2;
    if (pressed && !t->round)
        t->due = instant_add_us(now, took_us * (goes_to_disk(t) ? SLICE_PARTS_KEPT : SLICE_PARTS));
}

static bool is_ready(const struct transfer_out *t)
{
    if (!t->open || t->parted)
        return false;
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++)
        if (t->receivers >> i & 1u && t->sent - t->acked[i] >= SLICE_WINDOW)
            return false;
    return true;
}

struct instant transfer_out_due(const struct transfer_out *t)
{
    return is_ready(t) ? t->due : INSTANT_NEVER;
}

static void send_slice(struct transfer_out *t, struct machine *machine, struct effects *out)
{
    struct buffer *slice = &t->slices[t->sent % SLICE_WINDOW]; /* what was there is acknowledged */
    bool more;

    buffer_clear(slice, SLICE_BYTES_MAX);
    more = machine_checkpoint_slice(machine, t->slice_bytes, slice);
    t->bytes += buffer_size(slice);
    if (buffer_size(slice))
        send_one(t, t->sent++, out);
    if (more)
        return;
    machine_checkpoint_end(machine);
    t->open = false;
    t->ended = true;
    send_end(t, out);
}

void transfer_out_tick(struct transfer_out *t, struct instant now, struct machine *machine,
                       struct effects *out)
{
    if (!transfer_out_busy(t))
        return;
    if (t->receivers && !goes_to_disk(t) &&
        instant_since_ms(now, t->progress) >= TRANSFER_SILENCE_MS_MAX) {
        effects_note_at(out, NOTE_WARN, "checkpoint of entry %lu given up: no acknowledgement",
                        (unsigned long)t->index);
        t->receivers = 0;
    }
    if (t->receivers == 0)
        transfer_out_abort(t, machine, out);
    else if (instant_reached(now, transfer_out_due(t)))
        send_slice(t, machine, out);
}

/* In. */

void transfer_in_abort(struct transfer_in *t, struct effects *out)
{
    if (t->open && t->keeping)
        effects_add(out, EFFECT_KEEP_END);
    t->open = t->keeping = t->complete = t->applying = false;
    t->parted = 0;
    buffer_clear(&t->aside, ASIDE_KEEP_BYTES);
}

void transfer_in_answer(const struct transfer_in *t, uint8_t installed, struct effects *out)
{
    effects_send(out, t->from,
                 (struct message){ .type = MESSAGE_CHECKPOINT_ACK,
                                   .checkpoint_ack = { .index = t->begin.index,
                                                       .slices = t->slices,
                                                       .installed = installed } });
}

void transfer_in_refuse(struct transfer_in *t, struct effects *out)
{
    if (t->open)
        transfer_in_answer(t, 2, out);
    transfer_in_abort(t, out);
}

/* The sender's window is that of the slower of state and disk. */
static void answer_taken(const struct transfer_in *t, struct effects *out)
{
    struct transfer_in taken = { .from = t->from,
                                 .begin = t->begin,
                                 .slices = t->keeping ? t->kept : t->slices };

    transfer_in_answer(&taken, 0, out);
}

void transfer_in_begin(struct transfer_in *t, struct machine *machine,
                       const struct message *message, bool direct, bool keep, struct effects *out)
{
    transfer_in_abort(t, out);
    t->open = true;
    t->direct = direct;
    t->keeping = keep;
    t->kept = 0;
    t->from = message->from;
    t->begin = message->checkpoint_begin;
    t->slices = 0;
    t->bytes = 0;
    if (direct) {
        t->applying = true;
        machine_restore_begin(machine, true);
    }
    if (keep)
        effects_add(out, EFFECT_KEEP)->message = *message;
}

void transfer_in_lost(struct transfer_in *t, struct instant now, node_id from, uint64_t incarnation)
{
    if (!t->open || !t->direct || t->complete || t->from != from)
        return;
    t->parted = incarnation;
    t->heard = now;
}

void transfer_in_found(struct transfer_in *t, node_id from, uint64_t incarnation,
                       struct effects *out)
{
    if (!t->open || t->complete || t->from != from)
        return;
    if (!t->direct || t->parted != incarnation) {
        transfer_in_abort(t, out);
        return;
    }
    t->parted = 0;
    transfer_in_answer(t, 3, out);
    answer_taken(t, out); /* the last of these may have been lost, and a full window waits for it */
}

static bool is_of(const struct transfer_in *t, node_id from, uint64_t index)
{
    return t->open && !t->complete && t->from == from && t->begin.index == index;
}

bool transfer_in_slice(struct transfer_in *t, struct machine *machine,
                       const struct message *message, struct effects *out)
{
    const struct message_checkpoint_slice *slice = &message->checkpoint_slice;
    uint32_t size = (uint32_t)slice->data.size;

    if (!is_of(t, message->from, slice->index))
        return true;
    if (slice->sequence != t->slices || (!t->direct && t->bytes + size > TRANSFER_ASIDE_BYTES_MAX))
        return false;
    t->slices++;
    t->bytes += size;
    if (t->direct) {
        if (!machine_restore_slice(machine, slice->data))
            return false;
    } else {
        buffer_append(&t->aside, &size, sizeof size);
        buffer_append(&t->aside, slice->data.data, size);
    }
    if (t->keeping)
        effects_add(out, EFFECT_KEEP)->message = *message;
    else
        answer_taken(t, out);
    return true;
}

void transfer_in_slice_kept(struct transfer_in *t, struct effects *out)
{
    if (!t->open || !t->keeping)
        return;
    t->kept++;
    answer_taken(t, out);
}

void transfer_in_kept(struct transfer_in *t)
{
    if (!t->open || !t->keeping)
        return;
    t->keeping = false;
    t->complete = true;
}

bool transfer_in_end(struct transfer_in *t, const struct message *message, struct effects *out)
{
    const struct message_checkpoint_end *end = &message->checkpoint_end;

    if (!is_of(t, message->from, end->index))
        return true;
    if (end->slices != t->slices)
        return false;
    if (t->keeping)
        effects_add(out, EFFECT_KEEP_END)->number = 1;
    else
        t->complete = true;
    return true;
}

bool transfer_in_apply(struct transfer_in *t, struct machine *machine, bool *done)
{
    uint32_t size;

    assert(t->complete);
    *done = false;
    if (!t->applying) {
        t->applying = true;
        machine_restore_begin(machine, t->begin.base_index == 0);
    }
    if (buffer_size(&t->aside)) {
        memcpy(&size, buffer_head(&t->aside), sizeof size);
        if (!machine_restore_slice(machine, bytes_of(buffer_head(&t->aside) + sizeof size, size)))
            return false;
        buffer_consume(&t->aside, sizeof size + size);
        if (buffer_size(&t->aside))
            return true;
    }
    *done = true;
    if (!machine_restore_end(machine, t->begin.index, t->begin.time_us, t->begin.digest))
        return false;
    t->open = t->complete = t->applying = false;
    buffer_clear(&t->aside, ASIDE_KEEP_BYTES);
    return true;
}

void transfer_free(struct transfer_out *out, struct transfer_in *in)
{
    for (uint32_t i = 0; i < SLICE_WINDOW; i++)
        buffer_free(&out->slices[i]);
    buffer_free(&in->aside);
}
