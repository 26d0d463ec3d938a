/* The commands on when keys expire. */
#include "server/services/kv_commands.h"

enum condition { NX = 1, XX = 2, GT = 4, LT = 8 };

/* Reads NX, XX, GT, LT after the time; or replies the error. */
static bool take_conditions(struct kv_call *call, uint32_t *conditions)
{
    static const char *const words[] = { "nx", "xx", "gt", "lt" };

    *conditions = 0;
    for (uint32_t i = 3; i < call->argc; i++) {
        uint32_t word = 0;

        while (word < 4 && !resp_is(call->argv[i], words[word]))
            word++;
        if (word == 4) {
            resp_write_error(call->reply, "ERR Unsupported option %.*s", (int)call->argv[i].size,
                             call->argv[i].size > 0 ? (const char *)call->argv[i].data : "");
            return false;
        }
        *conditions |= 1u << word;
    }
    if (*conditions & NX && *conditions & (XX | GT | LT)) {
        resp_write_error(call->reply, "ERR NX and XX, GT or LT options at the same time are not "
                                      "compatible");
        return false;
    }
    if ((*conditions & (GT | LT)) == (GT | LT)) {
        resp_write_error(call->reply, "ERR GT and LT options at the same time are not compatible");
        return false;
    }
    return true;
}

static bool conditions_hold(const struct kv_entry *e, uint32_t conditions, int64_t at_ms)
{
    int64_t now_at = kv_entry_expires_ms(e);
    bool expires = e->flags & KV_ENTRY_EXPIRES;

    /* A key that never expires does so later than any other. */
    return !(conditions & NX && expires) && !(conditions & XX && !expires) &&
           !(conditions & GT && (!expires || at_ms <= now_at)) &&
           !(conditions & LT && expires && at_ms >= now_at);
}

static void expire(struct kv_call *call, int64_t since_ms, int64_t unit_ms)
{
    struct kv_key key;
    struct kv_entry *e;
    uint32_t conditions;
    int64_t at_ms;

    if (!take_conditions(call, &conditions) || !kv_call_integer(call, call->argv[2], &at_ms))
        return;
    if (__builtin_mul_overflow(at_ms, unit_ms, &at_ms) ||
        __builtin_add_overflow(at_ms, since_ms, &at_ms)) {
        resp_write_error(call->reply, "ERR invalid expire time in '%s' command", call->name);
        return;
    }
    e = kv_call_find(call, call->argv[1], &key);
    if (!e || !conditions_hold(e, conditions, at_ms)) {
        resp_write_integer(call->reply, 0);
        return;
    }
    if (at_ms <= call->now_ms)
        kv_store_remove(call->store, key, e);
    else
        kv_store_expire(call->store, key, e, at_ms);
    resp_write_integer(call->reply, 1);
}

void kv_do_expire(struct kv_call *call)
{
    expire(call, call->now_ms, 1000);
}

void kv_do_pexpire(struct kv_call *call)
{
    expire(call, call->now_ms, 1);
}

void kv_do_expireat(struct kv_call *call)
{
    expire(call, 0, 1000);
}

void kv_do_pexpireat(struct kv_call *call)
{
    expire(call, 0, 1);
}

/* -2 when there is no such key, -1 when it does not expire. */
static void reply_expiry(struct kv_call *call, int64_t since_ms, bool seconds)
{
    struct kv_key key;
    const struct kv_entry *e = kv_call_find(call, call->argv[1], &key);
    int64_t left_ms;

    if (!e || !(e->flags & KV_ENTRY_EXPIRES)) {
        resp_write_integer(call->reply, e ? -1 : -2);
        return;
    }
    left_ms = kv_entry_expires_ms(e) - since_ms;
    if (seconds) /* rounded without overflow; as Redis does */
        left_ms = left_ms / 1000 + (left_ms % 1000 >= 500);
    resp_write_integer(call->reply, left_ms);
}

void kv_do_ttl(struct kv_call *call)
{
    reply_expiry(call, call->now_ms, true);
}

void kv_do_pttl(struct kv_call *call)
{
    reply_expiry(call, call->now_ms, false);
}

void kv_do_expiretime(struct kv_call *call)
{
    reply_expiry(call, 0, true);
}

void kv_do_pexpiretime(struct kv_call *call)
{
    reply_expiry(call, 0, false);
}

void kv_do_persist(struct kv_call *call)
{
    struct kv_key key;
    struct kv_entry *e = kv_call_find(call, call->argv[1], &key);
    bool expires = e && e->flags & KV_ENTRY_EXPIRES;

    if (expires)
        kv_store_expire(call->store, key, e, KV_NEVER);
    resp_write_integer(call->reply, expires);
}
