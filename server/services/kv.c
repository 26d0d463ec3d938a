/* kv - the service: its table, and the way from an entry to a command's handler. */
#include "server/services/kv.h"

#include "server/services/kv_checkpoint.h"
#include "server/services/kv_commands.h"

#define UNKNOWN_WORD_BYTES 128u /* of the words that an error repeats */

static const struct service_command commands[] = {
#define X(name, handler, ...) { #name, __VA_ARGS__ },
    KV_COMMANDS(X)
#undef X
};

typedef void (*handler)(struct kv_call *call);

static const handler handlers[] = {
#define X(name, handler, ...) kv_do_##handler,
    KV_COMMANDS(X)
#undef X
};

#define COMMAND_COUNT (sizeof commands / sizeof commands[0])
_Static_assert(COMMAND_COUNT == sizeof handlers / sizeof handlers[0], "a handler for each");

/* How much of a word an error repeats. */
static int shown(struct bytes word, size_t room)
{
    return (int)(word.size < room ? word.size : room);
}

static const char *text_of(struct bytes word)
{
    return word.size > 0 ? (const char *)word.data : "";
}

static void reply_unknown(struct buffer *reply, uint32_t argc, const struct bytes *argv)
{
    struct buffer rest = { 0 };

    for (uint32_t i = 1; i < argc && buffer_size(&rest) < UNKNOWN_WORD_BYTES; i++)
        buffer_format(&rest, "'%.*s' ", shown(argv[i], UNKNOWN_WORD_BYTES - buffer_size(&rest)),
                      text_of(argv[i]));
    resp_write_error(reply, "ERR unknown command '%.*s', with args beginning with: %.*s",
                     shown(argv[0], UNKNOWN_WORD_BYTES), text_of(argv[0]), (int)buffer_size(&rest),
                     text_of(buffer_bytes(&rest)));
    buffer_free(&rest);
}

/* The command, when it may be called so; else NULL, and the reply says why not. */
static const struct service_command *checked(const struct service_entry *entry,
                                             struct buffer *reply)
{
    const struct service_command *command = service_command_find(kv_service(), entry->argv[0]);
    uint32_t arity;

    if (!command) {
        reply_unknown(reply, entry->argc, entry->argv);
        return NULL;
    }
    arity = (uint32_t)(command->arity < 0 ? -command->arity : command->arity);
    if (command->arity < 0 ? entry->argc < arity : entry->argc != arity) {
        resp_write_error(reply, "ERR wrong number of arguments for '%s' command", command->name);
        return NULL;
    }
    for (uint32_t i = 1; i < entry->argc; i++)
        if (entry->argv[i].size > KV_VALUE_BYTES_MAX) {
            resp_write_error(reply, KV_ERROR_TOO_LONG);
            return NULL;
        }
    return command;
}

static void run(struct kv_store *store, const struct service_entry *entry, bool writes,
                struct buffer *reply)
{
    const struct service_command *command = checked(entry, reply);
    struct kv_call call = { .store = store,
                            .argc = entry->argc,
                            .argv = entry->argv,
                            .reply = reply,
                            .index = entry->index,
                            .time_us = entry->time_us,
                            .now_ms = (int64_t)(entry->time_us / 1000),
                            .writes = writes };

    if (!command)
        return;
    if (command->flags & COMMAND_WRITE && !writes) {
        resp_write_error(reply, "ERR '%s' writes, and this request only reads", command->name);
        return;
    }
    call.name = command->name;
    handlers[command - commands](&call);
}

static void *kv_create(void)
{
    return kv_store_create();
}

static void kv_destroy(void *state)
{
    kv_store_destroy(state);
}

static bool kv_destroy_slice(void *state, uint32_t budget)
{
    return kv_store_destroy_slice(state, budget);
}

static void kv_execute(void *state, const struct service_entry *entry, struct buffer *reply)
{
    kv_store_enter(state, entry->index, entry->time_us);
    if (entry->argc > 0)
        run(state, entry, true, reply);
}

static void kv_query(void *state, const struct service_entry *entry, struct buffer *reply)
{
    kv_store_release(state, KV_RELEASE_STEP);
    if (entry->argc > 0)
        run(state, entry, false, reply);
}

static uint64_t kv_key_version(void *state, struct bytes key)
{
    return kv_store_version(state, kv_store_key(state, key));
}

/* Asked so often that it is also the hour to free, now and then, what a flush has left. */
static bool kv_overdue(void *state, uint64_t time_us)
{
    struct kv_store *store = state;

    if (time_us >= store->released_us + KV_IDLE_US || time_us < store->released_us) {
        kv_store_release(store, KV_IDLE_STEP);
        store->released_us = time_us;
    }
    return kv_store_overdue(store, (int64_t)(time_us / 1000));
}

static bool kv_begin(void *state, uint64_t base_index)
{
    return kv_checkpoint_begin(state, base_index);
}

static bool kv_slice(void *state, uint32_t budget, struct buffer *out)
{
    kv_store_release(state, KV_RELEASE_STEP);
    return kv_checkpoint_slice(state, budget, out);
}

static void kv_end(void *state)
{
    kv_checkpoint_end(state);
}

static uint64_t kv_bytes_estimated(void *state, uint64_t base_index)
{
    return kv_checkpoint_bytes_estimated(state, base_index);
}

static bool kv_restore(void *state, struct bytes slice)
{
    return kv_restore_slice(state, slice);
}

/* Entries of others, and queries, leave no trace here: it may well be of an earlier one. */
static bool kv_restore_end(void *state, uint64_t index, uint64_t time_us)
{
    const struct kv_store *store = state;

    return !store->restore.open && store->index <= index && store->time_us <= time_us;
}

static uint64_t kv_digest(void *state)
{
    const struct kv_store *store = state;

    return store->digest;
}

static void kv_info(void *state, struct buffer *out)
{
    const struct kv_store *store = state;
    uint64_t keys = store->db->table.count;

    buffer_format(out, "used_memory_dataset:%llu\r\n",
                  (unsigned long long)kv_store_memory_bytes(store));
    buffer_format(out, "expired_keys:%llu\r\n", (unsigned long long)store->expired);
    if (keys > 0)
        buffer_format(out, "db0:keys=%llu,expires=%llu,avg_ttl=0\r\n", (unsigned long long)keys,
                      (unsigned long long)store->db->heap.count);
}

static const struct service service = {
    .version = SERVICE_VERSION,
    .name = "kv",
    .commands = commands,
    .command_count = COMMAND_COUNT,
    .create = kv_create,
    .destroy = kv_destroy,
    .destroy_slice = kv_destroy_slice,
    .execute = kv_execute,
    .query = kv_query,
    .key_version = kv_key_version,
    .overdue = kv_overdue,
    .checkpoint_begin = kv_begin,
    .checkpoint_slice = kv_slice,
    .checkpoint_end = kv_end,
    .checkpoint_bytes_estimated = kv_bytes_estimated,
    .restore_slice = kv_restore,
    .restore_end = kv_restore_end,
    .digest = kv_digest,
    .info = kv_info,
};

const struct service *kv_service(void)
{
    return &service;
}
