/* kv_fixture - a kv service to talk to in tests: commands as lines of words, replies as one line.
 */
#ifndef HOLDFAST_TESTS_KV_FIXTURE_H
#define HOLDFAST_TESTS_KV_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/random.h"
#include "server/services/kv.h"
#include "server/services/kv_store.h"

#define WORDS_MAX 64u

struct kv_fixture {
    const struct service *service;
    void *state;
    uint64_t index;
    uint64_t time_us;
    struct buffer reply;
};

static inline void kv_open(struct kv_fixture *f)
{
    *f = (struct kv_fixture){ .service = kv_service(), .time_us = 1700000000000000u };
    f->state = f->service->create();
    assert_non_null(f->state);
}

static inline void kv_close(struct kv_fixture *f)
{
    f->service->destroy(f->state);
    buffer_free(&f->reply);
}

static inline const struct kv_store *kv_store_of(const struct kv_fixture *f)
{
    return f->state;
}

static inline uint64_t kv_digest_of(const struct kv_fixture *f)
{
    return f->service->digest(f->state);
}

/* As the machine does: reads are queries, writes entries. Replaces f->reply. */
static inline void kv_call_words(struct kv_fixture *f, uint32_t argc, const struct bytes *argv)
{
    const struct service_command *command = service_command_find(f->service, argv[0]);
    struct service_entry entry = {
        .index = f->index, .time_us = f->time_us, .argc = argc, .argv = argv
    };

    buffer_clear(&f->reply, SIZE_MAX);
    if (command && command->flags & COMMAND_READ) {
        f->service->query(f->state, &entry, &f->reply);
    } else {
        entry.index = ++f->index;
        f->service->execute(f->state, &entry, &f->reply);
    }
}

/* The reply with its lines joined by '|', without the last end. Good until the next call. */
static inline const char *kv_reply_line(struct kv_fixture *f)
{
    static char line[8192];
    size_t size = 0;

    for (size_t i = 0; i < buffer_size(&f->reply) && size + 1 < sizeof line; i++) {
        char c = (char)buffer_head(&f->reply)[i];

        if (c == '\r')
            continue;
        line[size++] = c;
        if (c == '\n')
            line[size - 1] = '|';
    }
    line[size > 0 && line[size - 1] == '|' ? size - 1 : size] = '\0';
    return line;
}

/* Words are separated by one space; "" is an empty word. */
static inline const char *kv_say(struct kv_fixture *f, const char *words)
{
    struct bytes argv[WORDS_MAX] = { 0 };
    uint32_t argc = 0;

    while (*words) {
        size_t size = strcspn(words, " ");

        assert_true(argc < WORDS_MAX);
        argv[argc++] = size == 2 && words[0] == '"' ? bytes_of("", 0) : bytes_of(words, size);
        words += size + (words[size] == ' ');
    }
    kv_call_words(f, argc, argv);
    return kv_reply_line(f);
}

static inline void kv_set(struct kv_fixture *f, struct bytes key, struct bytes value)
{
    struct bytes argv[] = { bytes_string("SET"), key, value };

    kv_call_words(f, 3, argv);
    assert_string_equal(kv_reply_line(f), "+OK");
}

/* An entry without a command. */
static inline void kv_tick(struct kv_fixture *f)
{
    struct service_entry entry = { .index = ++f->index, .time_us = f->time_us };

    f->service->execute(f->state, &entry, &f->reply);
}

#endif
