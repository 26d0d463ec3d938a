/* register - an example of a service of your own: named registers that count.
 *
 *   add NAME AMOUNT    adds, and answers the new value
 *   take NAME          answers the value and sets the register to 0
 *   stamp NAME         sets the register to the time of its entry in ms since 1970
 *   value NAME         the value, 0 when there is no such register
 *   registers          how many there are
 *
 * Build it as a shared object and name it in the config:
 *
 *   cc -std=c11 -O2 -fPIC -shared -I PREFIX/include/holdfast -o register.so register.c
 *   service = { name = "./register.so"; };
 *
 * Everything that the interface asks for is here, in its simplest form; server/service.h has the
 * rules. */
#include <stdlib.h>

#include "common/resp.h"
#include "server/service.h"

#define REGISTER_COUNT_MAX 512u
#define SLOT_COUNT         ((size_t)2 * REGISTER_COUNT_MAX) /* a power of two; half full at most */
#define REGISTER_NAME_MAX  31u

struct slot {
    uint64_t changed_index; /* of the entry that changed it last; 0: the slot is free */
    int64_t value;
    uint8_t name_size;
    uint8_t name[REGISTER_NAME_MAX];
};

struct registers {
    struct slot slots[SLOT_COUNT];
    uint32_t count;
    uint64_t digest; /* the sum of all registers' hashes: the same in whatever order they came */

    /* The open checkpoint: a copy of what it shows, made at its begin. The state is bounded and
     * small, so this takes microseconds. A state that is large keeps what is about to change
     * instead, one thing at a time. */
    struct slot copy[SLOT_COUNT];
    uint64_t copy_base;
    uint32_t copy_next;
};

static void *registers_create(void)
{
    return calloc(1, sizeof(struct registers));
}

static void registers_destroy(void *state)
{
    free(state);
}

static uint64_t hash_of(const void *data, size_t size, uint64_t h)
{
    const uint8_t *bytes = data;

    for (size_t i = 0; i < size; i++)
        h = (h ^ bytes[i]) * 0x100000001b3u;
    return (h ^ h >> 29) * 0xbf58476d1ce4e5b9u;
}

/* What a register adds to the digest: all that a client could ever see of it, by WATCH too. */
static uint64_t slot_hash(const struct slot *slot)
{
    uint64_t h = hash_of(slot->name, slot->name_size, 0xcbf29ce484222325u);

    h = hash_of(&slot->value, sizeof slot->value, h);
    return hash_of(&slot->changed_index, sizeof slot->changed_index, h);
}

/* The slot of a name, or the free one where it would go. There is always one, as half of them stay
 * free. */
static struct slot *slot_find(struct registers *r, struct bytes name)
{
    uint64_t at = hash_of(name.data, name.size, 0xcbf29ce484222325u) >> 32;

    for (;; at++) {
        struct slot *slot = &r->slots[at % SLOT_COUNT];

        if (slot->changed_index == 0 || bytes_equal(bytes_of(slot->name, slot->name_size), name))
            return slot;
    }
}

static void slot_set(struct registers *r, struct slot *slot, struct bytes name, int64_t value,
                     uint64_t index)
{
    if (slot->changed_index == 0) {
        memcpy(slot->name, name.data, name.size);
        slot->name_size = (uint8_t)name.size;
        r->count++;
    } else {
        r->digest -= slot_hash(slot);
    }
    slot->value = value;
    slot->changed_index = index;
    r->digest += slot_hash(slot);
}

/* The slot that a write means; NULL after an error reply, and then nothing has changed. */
static struct slot *slot_to_write(struct registers *r, struct bytes name, struct buffer *reply)
{
    struct slot *slot;

    if (name.size > REGISTER_NAME_MAX) {
        resp_write_error(reply, "ERR a register's name has at most %u bytes", REGISTER_NAME_MAX);
        return NULL;
    }
    slot = slot_find(r, name);
    if (slot->changed_index == 0 && r->count == REGISTER_COUNT_MAX) {
        resp_write_error(reply, "ERR there are %u registers, and no more can be",
                         REGISTER_COUNT_MAX);
        return NULL;
    }
    return slot;
}

static void add_execute(struct registers *r, const struct service_entry *entry,
                        struct buffer *reply)
{
    struct slot *slot = slot_to_write(r, entry->argv[1], reply);
    int64_t amount;
    int64_t sum;

    if (!slot)
        return;
    if (!resp_integer(entry->argv[2], &amount) ||
        __builtin_add_overflow(slot->value, amount, &sum)) {
        resp_write_error(reply, "ERR value is not an integer or out of range");
        return;
    }
    slot_set(r, slot, entry->argv[1], sum, entry->index);
    resp_write_integer(reply, sum);
}

/* Sets a register, and answers what it held or what it holds now. */
static void set_execute(struct registers *r, const struct service_entry *entry, int64_t value,
                        bool answer_old, struct buffer *reply)
{
    struct slot *slot = slot_to_write(r, entry->argv[1], reply);

    if (!slot)
        return;
    resp_write_integer(reply, answer_old ? slot->value : value);
    slot_set(r, slot, entry->argv[1], value, entry->index);
}

/* A write. Its name and the number of its arguments have been checked against the table below. */
static void registers_execute(void *state, const struct service_entry *entry, struct buffer *reply)
{
    if (entry->argc == 0)
        return; /* asked for only by services with `overdue` */
    if (resp_is(entry->argv[0], "add"))
        add_execute(state, entry, reply);
    else if (resp_is(entry->argv[0], "take"))
        set_execute(state, entry, 0, true, reply);
    else /* stamp: the entry's time, never the clock's, which is another one on each server */
        set_execute(state, entry, (int64_t)(entry->time_us / 1000), false, reply);
}

/* A read. */
static void registers_query(void *state, const struct service_entry *entry, struct buffer *reply)
{
    struct registers *r = state;

    if (resp_is(entry->argv[0], "value"))
        resp_write_integer(reply, slot_find(r, entry->argv[1])->value);
    else
        resp_write_integer(reply, r->count);
}

/* What WATCH looks at. */
static uint64_t registers_key_version(void *state, struct bytes key)
{
    return slot_find(state, key)->changed_index;
}

/* Registers are never removed, so each knows whether it changed since the base, and a checkpoint of
 * changes is always possible. */
static bool registers_checkpoint_begin(void *state, uint64_t base_index)
{
    struct registers *r = state;

    memcpy(r->copy, r->slots, sizeof r->copy);
    r->copy_base = base_index;
    r->copy_next = 0;
    return true;
}

/* A register in a checkpoint: its struct as it lies in memory, as all servers of a cluster are of
 * one build. */
static bool registers_checkpoint_slice(void *state, uint32_t budget, struct buffer *out)
{
    struct registers *r = state;
    size_t full = buffer_size(out) + budget;

    for (; r->copy_next < SLOT_COUNT && buffer_size(out) < full; r->copy_next++)
        if (r->copy[r->copy_next].changed_index > r->copy_base)
            buffer_append(out, &r->copy[r->copy_next], sizeof(struct slot));
    return r->copy_next < SLOT_COUNT;
}

static void registers_checkpoint_end(void *state)
{
    (void)state; /* the copy's memory is part of the state */
}

static uint64_t registers_checkpoint_bytes_estimated(void *state, uint64_t base_index)
{
    (void)base_index;
    return ((struct registers *)state)->count * sizeof(struct slot);
}

/* Takes in a slice. It came over a network: nothing in it is believed unseen. */
static bool registers_restore_slice(void *state, struct bytes slice)
{
    struct registers *r = state;

    for (; slice.size >= sizeof(struct slot);
         slice = bytes_of(slice.data + sizeof(struct slot), slice.size - sizeof(struct slot))) {
        struct slot taken;
        struct bytes name;
        struct slot *slot;

        memcpy(&taken, slice.data, sizeof taken);
        if (taken.name_size > REGISTER_NAME_MAX || taken.changed_index == 0)
            return false;
        name = bytes_of(taken.name, taken.name_size);
        slot = slot_find(r, name);
        if (slot->changed_index == 0 && r->count == REGISTER_COUNT_MAX)
            return false;
        slot_set(r, slot, name, taken.value, taken.changed_index);
    }
    return slice.size == 0;
}

static uint64_t registers_digest(void *state)
{
    return ((struct registers *)state)->digest;
}

static void registers_info(void *state, struct buffer *out)
{
    buffer_format(out, "registers:%u\r\n", ((struct registers *)state)->count);
}

static const struct service_command commands[] = {
    { "add", 3, COMMAND_WRITE | COMMAND_FAST, 1, 1, 1, "register",
      "Adds to a register and answers its new value." },
    { "take", 2, COMMAND_WRITE | COMMAND_FAST, 1, 1, 1, "register",
      "Answers a register's value and sets it to 0." },
    { "stamp", 2, COMMAND_WRITE | COMMAND_FAST, 1, 1, 1, "register",
      "Sets a register to the present time in milliseconds." },
    { "value", 2, COMMAND_READ | COMMAND_FAST, 1, 1, 1, "register", "Answers a register's value." },
    { "registers", 1, COMMAND_READ | COMMAND_FAST, 0, 0, 0, "register",
      "Answers how many registers there are." },
};

static const struct service registers = {
    .version = SERVICE_VERSION,
    .name = "register",
    .commands = commands,
    .command_count = sizeof commands / sizeof commands[0],
    .create = registers_create,
    .destroy = registers_destroy, /* one block; large states have destroy_slice, too */
    .execute = registers_execute,
    .query = registers_query,
    .key_version = registers_key_version,
    .checkpoint_begin = registers_checkpoint_begin,
    .checkpoint_slice = registers_checkpoint_slice,
    .checkpoint_end = registers_checkpoint_end,
    .checkpoint_bytes_estimated = registers_checkpoint_bytes_estimated,
    .restore_slice = registers_restore_slice,
    .digest = registers_digest,
    .info = registers_info,
};

/* What the server looks for in a shared object. */
const struct service *holdfast_service(void);

const struct service *holdfast_service(void)
{
    return &registers;
}
