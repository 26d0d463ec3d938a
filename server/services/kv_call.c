#include "server/services/kv_call.h"

struct kv_entry *kv_call_find(struct kv_call *call, struct bytes word, struct kv_key *key)
{
    struct kv_entry *e;

    *key = kv_store_key(call->store, word);
    e = kv_store_find(call->store, *key);
    if (!e || !kv_entry_due(e, call->now_ms))
        return e;
    if (call->writes) {
        kv_store_remove(call->store, *key, e);
        call->store->expired++;
    }
    return NULL;
}

void kv_reply_value(struct kv_call *call, const struct kv_entry *e)
{
    if (e)
        resp_write_bulk(call->reply, kv_entry_value(e));
    else
        resp_write_null(call->reply);
}

void kv_reply_ok(struct kv_call *call)
{
    resp_write_string(call->reply, "OK");
}

bool kv_call_integer(struct kv_call *call, struct bytes word, int64_t *value)
{
    if (resp_integer(word, value))
        return true;
    resp_write_error(call->reply, KV_ERROR_INTEGER);
    return false;
}

static const struct option_word {
    const char *word;
    uint32_t option;
    uint32_t excluded; /* must not have come before */
} option_words[] = {
    { "nx", KV_OPTION_NX, KV_OPTION_XX },
    { "xx", KV_OPTION_XX, KV_OPTION_NX },
    { "get", KV_OPTION_GET, 0 },
    { "keepttl", KV_OPTION_KEEPTTL, KV_OPTION_PERSIST | KV_OPTION_TIMES },
    { "persist", KV_OPTION_PERSIST, KV_OPTION_KEEPTTL | KV_OPTION_TIMES },
    { "ex", KV_OPTION_EX,
      KV_OPTION_KEEPTTL | KV_OPTION_PERSIST | (KV_OPTION_TIMES & ~KV_OPTION_EX) },
    { "px", KV_OPTION_PX,
      KV_OPTION_KEEPTTL | KV_OPTION_PERSIST | (KV_OPTION_TIMES & ~KV_OPTION_PX) },
    { "exat", KV_OPTION_EXAT,
      KV_OPTION_KEEPTTL | KV_OPTION_PERSIST | (KV_OPTION_TIMES & ~KV_OPTION_EXAT) },
    { "pxat", KV_OPTION_PXAT,
      KV_OPTION_KEEPTTL | KV_OPTION_PERSIST | (KV_OPTION_TIMES & ~KV_OPTION_PXAT) },
};

/* NULL when the word is none that may stand there. */
static const struct option_word *option_find(struct bytes word, uint32_t allowed, uint32_t set)
{
    for (size_t i = 0; i < sizeof option_words / sizeof option_words[0]; i++)
        if (option_words[i].option & allowed && resp_is(word, option_words[i].word))
            return option_words[i].excluded & set ? NULL : &option_words[i];
    return NULL;
}

bool kv_call_options(struct kv_call *call, uint32_t place, uint32_t allowed,
                     struct kv_options *options)
{
    *options = (struct kv_options){ 0 };
    for (; place < call->argc; place++) {
        const struct option_word *found = option_find(call->argv[place], allowed, options->set);

        if (!found || (found->option & KV_OPTION_TIMES && place + 1 == call->argc)) {
            resp_write_error(call->reply, KV_ERROR_SYNTAX);
            return false;
        }
        options->set |= found->option;
        if (found->option & KV_OPTION_TIMES)
            options->time = call->argv[++place];
    }
    return true;
}

bool kv_call_expiry(struct kv_call *call, struct bytes word, uint32_t set, int64_t *at_ms)
{
    int64_t value;

    if (!kv_call_integer(call, word, &value))
        return false;
    if (value > 0 &&
        !(set & (KV_OPTION_EX | KV_OPTION_EXAT) && __builtin_mul_overflow(value, 1000, &value)) &&
        !(set & (KV_OPTION_EX | KV_OPTION_PX) &&
          __builtin_add_overflow(value, call->now_ms, &value))) {
        *at_ms = value;
        return true;
    }
    resp_write_error(call->reply, "ERR invalid expire time in '%s' command", call->name);
    return false;
}
