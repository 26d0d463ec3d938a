/* The commands on keys, whatever their values, and on all of them. */
#include <stdio.h>

#include "server/services/kv_commands.h"

void kv_do_exists(struct kv_call *call)
{
    struct kv_key key;
    int64_t found = 0;

    for (uint32_t i = 1; i < call->argc; i++)
        found += kv_call_find(call, call->argv[i], &key) != NULL;
    resp_write_integer(call->reply, found);
}

void kv_do_del(struct kv_call *call)
{
    int64_t removed = 0;

    for (uint32_t i = 1; i < call->argc; i++) {
        struct kv_key key;
        struct kv_entry *e = kv_call_find(call, call->argv[i], &key);

        if (e) {
            kv_store_remove(call->store, key, e);
            removed++;
        }
    }
    resp_write_integer(call->reply, removed);
}

void kv_do_type(struct kv_call *call)
{
    struct kv_key key;

    resp_write_string(call->reply, kv_call_find(call, call->argv[1], &key) ? "string" : "none");
}

static void rename_key(struct kv_call *call, bool only_if_free)
{
    struct kv_key from_key, to_key;
    struct kv_entry *from = kv_call_find(call, call->argv[1], &from_key), *to;

    if (!from) {
        resp_write_error(call->reply, "ERR no such key");
        return;
    }
    to = kv_call_find(call, call->argv[2], &to_key);
    if (to != from && !(to && only_if_free)) {
        kv_store_put(call->store, to_key, to, kv_entry_value_to_share(from),
                     kv_entry_expires_ms(from));
        kv_store_remove(call->store, from_key, from);
    }
    if (only_if_free)
        resp_write_integer(call->reply, !to);
    else
        kv_reply_ok(call);
}

void kv_do_rename(struct kv_call *call)
{
    rename_key(call, false);
}

void kv_do_renamenx(struct kv_call *call)
{
    rename_key(call, true);
}

/* Reads [DB number] [REPLACE]; or replies the error. */
static bool take_copy_options(struct kv_call *call, bool *replace)
{
    int64_t db = 0;

    *replace = false;
    for (uint32_t i = 3; i < call->argc; i++) {
        if (resp_is(call->argv[i], "replace")) {
            *replace = true;
        } else if (resp_is(call->argv[i], "db") && i + 1 < call->argc) {
            if (!kv_call_integer(call, call->argv[++i], &db))
                return false;
            if (db < INT32_MIN || db > INT32_MAX) {
                resp_write_error(call->reply,
                                 "ERR value is out of range, value must between %d "
                                 "and %d",
                                 INT32_MIN, INT32_MAX);
                return false;
            }
            if (db != 0) {
                resp_write_error(call->reply, "ERR DB index is out of range");
                return false;
            }
        } else {
            resp_write_error(call->reply, KV_ERROR_SYNTAX);
            return false;
        }
    }
    return true;
}

void kv_do_copy(struct kv_call *call)
{
    struct kv_key from_key, to_key;
    struct kv_entry *from, *to;
    bool replace;

    if (!take_copy_options(call, &replace))
        return;
    if (bytes_equal(call->argv[1], call->argv[2])) {
        resp_write_error(call->reply, "ERR source and destination objects are the same");
        return;
    }
    from = kv_call_find(call, call->argv[1], &from_key);
    to = from ? kv_call_find(call, call->argv[2], &to_key) : NULL;
    if (!from || (to && !replace)) {
        resp_write_integer(call->reply, 0);
        return;
    }
    kv_store_put(call->store, to_key, to, kv_entry_value_to_share(from), kv_entry_expires_ms(from));
    resp_write_integer(call->reply, 1);
}

void kv_do_dbsize(struct kv_call *call)
{
    resp_write_integer(call->reply, (int64_t)call->store->db->table.count);
}

void kv_do_flush(struct kv_call *call)
{
    if (call->argc > 2 ||
        (call->argc == 2 && !resp_is(call->argv[1], "async") && !resp_is(call->argv[1], "sync"))) {
        resp_write_error(call->reply, KV_ERROR_SYNTAX);
        return;
    }
    kv_store_flush(call->store);
    kv_reply_ok(call);
}

void kv_do_time(struct kv_call *call)
{
    resp_write_array(call->reply, 2);
    for (int i = 0; i < 2; i++) {
        char text[24];

        snprintf(text, sizeof text, "%llu",
                 (unsigned long long)(i == 0 ? call->time_us / 1000000 : call->time_us % 1000000));
        resp_write_bulk_string(call->reply, text);
    }
}

/* What Redis would keep such a value as. */
static const char *encoding(const struct kv_entry *e)
{
    int64_t number;

    if (resp_integer(kv_entry_value(e), &number))
        return "int";
    return e->value_size <= 44 ? "embstr" : "raw";
}

static void reply_object_help(struct kv_call *call)
{
    static const char *const lines[] = {
        "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "ENCODING <key>",
        "    Return the kind of internal representation used in order to store the value",
        "    associated with a <key>.",
        "FREQ <key>",
        "    Return the access frequency index of the <key>. The returned integer is",
        "    proportional to the logarithm of the recent access frequency of the key.",
        "IDLETIME <key>",
        "    Return the idle time of the <key>, that is the approximated number of",
        "    seconds elapsed since the last access to the key.",
        "REFCOUNT <key>",
        "    Return the number of references of the value associated with the specified",
        "    <key>.",
        "HELP",
        "    Print this help.",
    };

    resp_write_array(call->reply, sizeof lines / sizeof lines[0]);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        resp_write_string(call->reply, lines[i]);
}

static void reply_object(struct kv_call *call, const char *subcommand)
{
    struct kv_key key;
    const struct kv_entry *e = kv_call_find(call, call->argv[2], &key);

    if (!e)
        resp_write_null(call->reply);
    else if (strcmp(subcommand, "encoding") == 0)
        resp_write_bulk_string(call->reply, encoding(e));
    else if (strcmp(subcommand, "freq") == 0)
        resp_write_error(call->reply,
                         "ERR An LFU maxmemory policy is not selected, access frequency not "
                         "tracked. Please note that when switching between policies at runtime "
                         "LRU and LFU data will take some time to adjust.");
    else
        resp_write_integer(call->reply, strcmp(subcommand, "refcount") == 0);
}

void kv_do_object(struct kv_call *call)
{
    static const char *const subcommands[] = { "help", "encoding", "freq", "idletime", "refcount" };
    struct bytes word = call->argv[1];
    uint32_t i = 0;

    while (i < sizeof subcommands / sizeof subcommands[0] && !resp_is(word, subcommands[i]))
        i++;
    if (i == sizeof subcommands / sizeof subcommands[0])
        resp_write_error(call->reply, "ERR unknown subcommand '%.*s'. Try OBJECT HELP.",
                         word.size < 128 ? (int)word.size : 128,
                         word.size > 0 ? (const char *)word.data : "");
    else if (call->argc != (i == 0 ? 2 : 3))
        resp_write_error(call->reply, "ERR wrong number of arguments for 'object|%s' command",
                         subcommands[i]);
    else if (i == 0)
        reply_object_help(call);
    else
        reply_object(call, subcommands[i]);
}
