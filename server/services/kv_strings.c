/* The commands on values as strings. */
#include "server/services/kv_commands.h"

static struct kv_value to_copy(struct bytes bytes)
{
    return (struct kv_value){ .bytes = bytes };
}

void kv_do_get(struct kv_call *call)
{
    struct kv_key key;

    kv_reply_value(call, kv_call_find(call, call->argv[1], &key));
}

void kv_do_mget(struct kv_call *call)
{
    struct kv_key key;

    resp_write_array(call->reply, call->argc - 1);
    for (uint32_t i = 1; i < call->argc; i++)
        kv_reply_value(call, kv_call_find(call, call->argv[i], &key));
}

void kv_do_strlen(struct kv_call *call)
{
    struct kv_key key;
    const struct kv_entry *e = kv_call_find(call, call->argv[1], &key);

    resp_write_integer(call->reply, e ? e->value_size : 0);
}

void kv_do_set(struct kv_call *call)
{
    struct kv_options options;
    struct kv_key key;
    struct kv_entry *e;
    int64_t expires_ms = KV_NEVER;

    if (!kv_call_options(call, 3, ~(uint32_t)KV_OPTION_PERSIST, &options))
        return;
    if (options.set & KV_OPTION_TIMES &&
        !kv_call_expiry(call, options.time, options.set, &expires_ms))
        return;
    e = kv_call_find(call, call->argv[1], &key);
    if (options.set & KV_OPTION_GET)
        kv_reply_value(call, e);
    if (options.set & (e ? KV_OPTION_NX : KV_OPTION_XX)) {
        if (!(options.set & KV_OPTION_GET))
            resp_write_null(call->reply);
        return;
    }
    if (e && options.set & KV_OPTION_KEEPTTL)
        expires_ms = kv_entry_expires_ms(e);
    kv_store_put(call->store, key, e, to_copy(call->argv[2]), expires_ms);
    if (!(options.set & KV_OPTION_GET))
        kv_reply_ok(call);
}

static void set_expiring(struct kv_call *call, uint32_t unit)
{
    struct kv_key key;
    struct kv_entry *e;
    int64_t expires_ms;

    if (!kv_call_expiry(call, call->argv[2], unit, &expires_ms))
        return;
    e = kv_call_find(call, call->argv[1], &key);
    kv_store_put(call->store, key, e, to_copy(call->argv[3]), expires_ms);
    kv_reply_ok(call);
}

void kv_do_setex(struct kv_call *call)
{
    set_expiring(call, KV_OPTION_EX);
}

void kv_do_psetex(struct kv_call *call)
{
    set_expiring(call, KV_OPTION_PX);
}

void kv_do_setnx(struct kv_call *call)
{
    struct kv_key key;
    struct kv_entry *e = kv_call_find(call, call->argv[1], &key);

    if (!e)
        kv_store_put(call->store, key, NULL, to_copy(call->argv[2]), KV_NEVER);
    resp_write_integer(call->reply, !e);
}

void kv_do_getset(struct kv_call *call)
{
    struct kv_key key;
    struct kv_entry *e = kv_call_find(call, call->argv[1], &key);

    kv_reply_value(call, e);
    kv_store_put(call->store, key, e, to_copy(call->argv[2]), KV_NEVER);
}

void kv_do_getdel(struct kv_call *call)
{
    struct kv_key key;
    struct kv_entry *e = kv_call_find(call, call->argv[1], &key);

    kv_reply_value(call, e);
    if (e)
        kv_store_remove(call->store, key, e);
}

void kv_do_getex(struct kv_call *call)
{
    struct kv_options options;
    struct kv_key key;
    struct kv_entry *e;
    int64_t expires_ms = KV_NEVER;

    if (!kv_call_options(call, 2, KV_OPTION_TIMES | KV_OPTION_PERSIST, &options))
        return;
    e = kv_call_find(call, call->argv[1], &key);
    if (!e) {
        resp_write_null(call->reply);
        return;
    }
    if (options.set & KV_OPTION_TIMES &&
        !kv_call_expiry(call, options.time, options.set, &expires_ms))
        return;
    kv_reply_value(call, e);
    if (options.set & (KV_OPTION_EXAT | KV_OPTION_PXAT) && expires_ms <= call->now_ms)
        kv_store_remove(call->store, key, e);
    else if (options.set & KV_OPTION_TIMES ||
             (options.set & KV_OPTION_PERSIST && e->flags & KV_ENTRY_EXPIRES))
        kv_store_expire(call->store, key, e, expires_ms);
}

/* False when the words are not pairs: the reply says so. */
static bool in_pairs(struct kv_call *call)
{
    if (call->argc % 2 == 1)
        return true;
    resp_write_error(call->reply, "ERR wrong number of arguments for '%s' command", call->name);
    return false;
}

static void set_pairs(struct kv_call *call)
{
    for (uint32_t i = 1; i < call->argc; i += 2) {
        struct kv_key key;
        struct kv_entry *e = kv_call_find(call, call->argv[i], &key);

        kv_store_put(call->store, key, e, to_copy(call->argv[i + 1]), KV_NEVER);
    }
}

void kv_do_mset(struct kv_call *call)
{
    if (!in_pairs(call))
        return;
    set_pairs(call);
    kv_reply_ok(call);
}

void kv_do_msetnx(struct kv_call *call)
{
    struct kv_key key;

    if (!in_pairs(call))
        return;
    for (uint32_t i = 1; i < call->argc; i += 2)
        if (kv_call_find(call, call->argv[i], &key)) {
            resp_write_integer(call->reply, 0);
            return;
        }
    set_pairs(call);
    resp_write_integer(call->reply, 1);
}

void kv_do_append(struct kv_call *call)
{
    struct kv_key key;
    struct kv_entry *e = kv_call_find(call, call->argv[1], &key);
    size_t size = e ? e->value_size : 0;

    if (size + call->argv[2].size > KV_VALUE_BYTES_MAX) {
        resp_write_error(call->reply, KV_ERROR_TOO_LONG);
        return;
    }
    e = kv_store_write(call->store, key, e, size, call->argv[2]);
    resp_write_integer(call->reply, e->value_size);
}

void kv_do_setrange(struct kv_call *call)
{
    struct bytes bytes = call->argv[3];
    struct kv_key key;
    struct kv_entry *e;
    int64_t offset;

    if (!kv_call_integer(call, call->argv[2], &offset))
        return;
    if (offset < 0) {
        resp_write_error(call->reply, "ERR offset is out of range");
        return;
    }
    e = kv_call_find(call, call->argv[1], &key);
    if (bytes.size > 0 && (uint64_t)offset + bytes.size > KV_VALUE_BYTES_MAX) {
        resp_write_error(call->reply, KV_ERROR_TOO_LONG);
        return;
    }
    if (bytes.size > 0)
        e = kv_store_write(call->store, key, e, (size_t)offset, bytes);
    resp_write_integer(call->reply, e ? e->value_size : 0);
}

void kv_do_getrange(struct kv_call *call)
{
    int64_t start, end, size;
    const struct kv_entry *e;
    struct kv_key key;

    if (!kv_call_integer(call, call->argv[2], &start) ||
        !kv_call_integer(call, call->argv[3], &end))
        return;
    e = kv_call_find(call, call->argv[1], &key);
    size = e ? e->value_size : 0;
    /* From the end when negative; then cut to what there is. */
    if (start < 0 && end < 0 && start > end)
        size = 0;
    start = start < 0 ? start + size : start;
    end = end < 0 ? end + size : end;
    start = start < 0 ? 0 : start;
    end = end < 0 ? 0 : end;
    end = end >= size ? size - 1 : end;
    if (!e || start > end)
        resp_write_bulk(call->reply, bytes_of(NULL, 0));
    else
        resp_write_bulk(call->reply,
                        bytes_of(kv_entry_value(e).data + start, (size_t)(end - start + 1)));
}
