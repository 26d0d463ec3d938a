/* machine - entries in, replies out. */
#include "server/machine.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/resp.h"

/* The first byte of a slice says whose it is. */
enum slice_tag { SLICE_SERVICE = 1, SLICE_SESSIONS = 2, SLICE_LIMITS = 3 };

/* What a checkpoint is at: the service's slices, the sessions', then the sessions' limits. */
enum checkpoint_phase {
    CHECKPOINT_NONE,
    CHECKPOINT_SERVICE,
    CHECKPOINT_SESSIONS,
    CHECKPOINT_LIMITS
};

#define RELEASE_AT_ONCE      64u /* items of an old state that are not worth a step of their own */
#define RESTORED_PER_RELEASE 64u /* bytes of a slice; about what the smallest items take in it */

/* A state on its way out. */
struct remains {
    void *state;
    struct sessions *sessions;
    struct remains *next;
};

enum restore_phase { RESTORE_NONE, RESTORE_BEGUN, RESTORE_OPEN, RESTORE_WHOLE };

struct machine {
    const struct service *service;
    void *state;
    struct sessions *sessions;
    uint32_t sessions_max;
    uint64_t index, time_us;
    struct request_words words; /* of the command being executed */
    enum checkpoint_phase checkpoint;
    enum restore_phase restore;
    struct remains *remains; /* the newest first; each has some items left, so they are few */
};

static void *state_new(const struct service *service)
{
    void *state = service->create();

    if (!state) {
        fprintf(stderr, "service %s: no memory for its state\n", service->name);
        abort();
    }
    return state;
}

struct machine *machine_new(const struct service *service)
{
    struct machine *m = memory_zeroed(1, sizeof *m);

    m->service = service;
    m->state = state_new(service);
    m->sessions_max = SESSION_COUNT_MAX;
    m->sessions = sessions_new();
    return m;
}

void machine_limit_sessions(struct machine *m, uint32_t count_max)
{
    m->sessions_max = count_max;
    sessions_limit(m->sessions, count_max);
}

/* Frees a step of it, and in the end itself: false then. */
static bool remains_release(const struct service *service, struct remains *remains, uint32_t budget)
{
    if (service->destroy_slice && service->destroy_slice(remains->state, budget))
        return true;
    if (sessions_free_slice(remains->sessions, budget))
        return true;
    service->destroy(remains->state);
    sessions_free(remains->sessions);
    free(remains);
    return false;
}

bool machine_releases(const struct machine *m)
{
    return m->remains != NULL;
}

bool machine_release(struct machine *m, uint32_t budget)
{
    struct remains *first = m->remains, *next;

    if (!first)
        return false;
    next = first->next;
    if (!remains_release(m->service, first, budget))
        m->remains = next;
    return m->remains != NULL;
}

void machine_free(struct machine *m)
{
    if (!m)
        return;
    machine_checkpoint_end(m);
    while (machine_release(m, UINT32_MAX))
        ;
    m->service->destroy(m->state);
    sessions_free(m->sessions);
    request_words_free(&m->words);
    free(m);
}

uint64_t machine_index(const struct machine *m)
{
    return m->index;
}

uint64_t machine_time_us(const struct machine *m)
{
    return m->time_us;
}

const struct service *machine_service(const struct machine *m)
{
    return m->service;
}

static void malformed(struct buffer *reply)
{
    resp_write_error(reply, "ERR malformed request");
}

/* The table's entry for the command in m->words; NULL after an error reply when it may not be
 * executed. */
static const struct service_command *command_checked(const struct machine *m, struct buffer *reply)
{
    const struct service_command *command = service_command_find(m->service, m->words.argv[0]);
    struct bytes word = m->words.argv[0];
    uint32_t argc = m->words.argc;

    if (!command) {
        resp_write_error(reply, "ERR unknown command '%.*s'",
                         (int)(word.size < 128 ? word.size : 128), (const char *)word.data);
        return NULL;
    }
    if (command->arity < 0 ? argc < (uint32_t)-command->arity : argc != (uint32_t)command->arity) {
        resp_write_error(reply, "ERR wrong number of arguments for '%s' command", command->name);
        return NULL;
    }
    return command;
}

/* Executes the command in m->words; with write false only when it is a read. */
static void command_execute(struct machine *m, uint64_t index, uint64_t time_us, bool write,
                            struct buffer *reply)
{
    const struct service_command *command = command_checked(m, reply);
    struct service_entry entry = {
        .index = index, .time_us = time_us, .argc = m->words.argc, .argv = m->words.argv
    };

    if (!command)
        return;
    if (command->flags & COMMAND_READ)
        m->service->query(m->state, &entry, reply);
    else if (write)
        m->service->execute(m->state, &entry, reply);
    else
        resp_write_error(reply, "ERR '%s' writes, and this request only reads", command->name);
}

static void single_execute(struct machine *m, uint64_t index, uint64_t time_us, bool write,
                           struct bytes request, struct buffer *reply)
{
    if (request_unpack_command(&request, &m->words) && request.size == 0)
        command_execute(m, index, time_us, write, reply);
    else
        malformed(reply);
}

static void time_execute(struct machine *m, uint64_t index, uint64_t time_us, struct buffer *reply)
{
    struct service_entry nothing = { .index = index, .time_us = time_us };
    size_t before = buffer_size(reply);

    m->service->execute(m->state, &nothing, reply);
    assert(buffer_size(reply) == before);
    (void)before;
}

/* Takes what a transaction watched off its front: whether it is all still so. */
static bool watched_unchanged(struct machine *m, struct bytes *rest)
{
    uint32_t watched = 0;
    uint64_t version = 0;
    struct bytes key = { 0 };
    bool unchanged = true;

    if (!request_unpack_count(rest, &watched))
        return false;
    for (uint32_t i = 0; i < watched; i++) {
        if (!request_unpack_watch(rest, &version, &key))
            return false;
        /* What a service without versions watched may have changed for all it knows. */
        if (!m->service->key_version || m->service->key_version(m->state, key) != version)
            unchanged = false;
    }
    return unchanged;
}

static void transaction_execute(struct machine *m, uint64_t index, uint64_t time_us, bool write,
                                struct bytes request, struct buffer *reply)
{
    uint32_t commands = 0;

    if (!request_transaction_valid(request)) {
        malformed(reply);
        return;
    }
    /* What is due by now has changed since it was watched, though the service was not told of the
     * time: it hears nothing of entries that are not its own, and reads have seen what is due. */
    if (write && machine_overdue(m, time_us))
        time_execute(m, index, time_us, reply);
    if (!watched_unchanged(m, &request)) {
        resp_write_null(reply);
        return;
    }
    request_unpack_count(&request, &commands);
    resp_write_array(reply, commands);
    for (uint32_t i = 0; i < commands; i++) {
        request_unpack_command(&request, &m->words);
        command_execute(m, index, time_us, write, reply);
    }
}

static void request_execute(struct machine *m, const struct machine_entry *entry,
                            struct buffer *reply)
{
    switch (entry->kind) {
    case REQUEST_COMMAND:
        single_execute(m, entry->index, entry->time_us, true, entry->request, reply);
        break;
    case REQUEST_TRANSACTION:
        transaction_execute(m, entry->index, entry->time_us, true, entry->request, reply);
        break;
    case REQUEST_TIME: time_execute(m, entry->index, entry->time_us, reply); break;
    case REQUEST_VIEW:
    case REQUEST_MARK: break;
    default: malformed(reply); break;
    }
}

/* Whether an entry of a session is to be executed. If not, the reply says what is known of it. */
static bool session_admits(const struct machine *m, const struct machine_entry *entry,
                           struct buffer *reply)
{
    uint64_t last = 0;
    struct bytes remembered = { 0 };
    bool known = sessions_find(m->sessions, entry->session, &last, &remembered);
    uint64_t begin = sessions_floor(m->sessions) + 1;

    if (entry->sequence == 0)
        resp_write_error(reply, "ERR sequence 0: the first of a session is 1");
    else if (!known && entry->sequence != begin)
        resp_write_error(reply,
                         "SESSIONLOST session %llu is not known (any more); a new one begins with "
                         "sequence %llu",
                         (unsigned long long)entry->session, (unsigned long long)begin);
    else if (known && entry->sequence == last)
        buffer_append(reply, remembered.data, remembered.size);
    else if (known && entry->sequence < last)
        resp_write_error(reply, "ERR sequence %llu is before the last of session %llu, %llu",
                         (unsigned long long)entry->sequence, (unsigned long long)entry->session,
                         (unsigned long long)last);
    else if (known && entry->sequence - last > SESSION_SKIP_MAX)
        resp_write_error(reply, "ERR sequence %llu is too far from the last of session %llu, %llu",
                         (unsigned long long)entry->sequence, (unsigned long long)entry->session,
                         (unsigned long long)last);
    else
        return true;
    return false;
}

static void session_remember(struct machine *m, const struct machine_entry *entry,
                             struct bytes reply)
{
    static const char lost[] =
        "-REPLYLOST the reply was above SESSION_REPLY_MAX (1 MiB), too large "
        "to be remembered; the command was executed\r\n";

    if (reply.size > SESSION_REPLY_MAX)
        reply = bytes_string(lost);
    sessions_record(m->sessions, entry->session, entry->sequence, entry->index, reply);
}

/* Nobody waits for a reply, so there is none to remember. */
static bool has_reply(uint8_t kind)
{
    return kind != REQUEST_VIEW && kind != REQUEST_MARK && kind != REQUEST_TIME;
}

void machine_execute(struct machine *m, const struct machine_entry *entry, struct buffer *reply)
{
    size_t before = buffer_size(reply);

    assert(m->restore == RESTORE_NONE);
    assert(entry->index == m->index + 1);
    assert(entry->time_us >= m->time_us);
    m->index = entry->index;
    m->time_us = entry->time_us;
    if (entry->session == 0 || !has_reply(entry->kind)) {
        request_execute(m, entry, reply);
        return;
    }
    if (!session_admits(m, entry, reply))
        return;
    request_execute(m, entry, reply);
    session_remember(m, entry, bytes_of(buffer_head(reply) + before, buffer_size(reply) - before));
}

static void versions_answer(struct machine *m, struct bytes request, struct buffer *reply)
{
    if (!m->service->key_version) {
        resp_write_error(reply, "ERR service %s has no versions of keys to watch",
                         m->service->name);
        return;
    }
    if (!request_unpack_command(&request, &m->words) || request.size > 0) {
        malformed(reply);
        return;
    }
    resp_write_array(reply, m->words.argc);
    for (uint32_t i = 0; i < m->words.argc; i++)
        resp_write_integer(reply, (int64_t)m->service->key_version(m->state, m->words.argv[i]));
}

void machine_query(struct machine *m, uint8_t kind, uint64_t time_us, struct bytes request,
                   struct buffer *reply)
{
    assert(m->restore == RESTORE_NONE);
    switch (kind) {
    case REQUEST_READ: single_execute(m, m->index, time_us, false, request, reply); break;
    case REQUEST_WATCH: versions_answer(m, request, reply); break;
    case REQUEST_READ_TRANSACTION:
        transaction_execute(m, m->index, time_us, false, request, reply);
        break;
    default: malformed(reply); break;
    }
}

bool machine_remembered(const struct machine *m, uint64_t session, uint64_t sequence,
                        struct bytes *reply)
{
    uint64_t last;

    return session != 0 && sessions_find(m->sessions, session, &last, reply) && last == sequence;
}

bool machine_overdue(struct machine *m, uint64_t time_us)
{
    return m->service->overdue && m->service->overdue(m->state, time_us);
}

uint64_t machine_digest(const struct machine *m)
{
    return m->service->digest(m->state) * 0x9e3779b97f4a7c15u + sessions_digest(m->sessions);
}

void machine_checkpoint_begin(struct machine *m, uint64_t base_index, bool *full)
{
    assert(m->checkpoint == CHECKPOINT_NONE && m->restore == RESTORE_NONE);
    assert(base_index <= m->index);
    *full = base_index == 0 || !m->service->checkpoint_begin(m->state, base_index);
    if (*full) {
        bool begun = m->service->checkpoint_begin(m->state, 0);

        assert(begun);
        (void)begun;
    }
    sessions_checkpoint_begin(m->sessions, *full ? 0 : base_index);
    m->checkpoint = CHECKPOINT_SERVICE;
}

/* Appends what the phase has for one slice, and goes on to the next phase when that was all of it.
 */
static void phase_slice(struct machine *m, uint32_t budget, struct buffer *out)
{
    switch (m->checkpoint) {
    case CHECKPOINT_SERVICE:
        if (!m->service->checkpoint_slice(m->state, budget, out))
            m->checkpoint = CHECKPOINT_SESSIONS;
        break;
    case CHECKPOINT_SESSIONS:
        if (!sessions_checkpoint_slice(m->sessions, budget, out))
            m->checkpoint = CHECKPOINT_LIMITS;
        break;
    default: sessions_checkpoint_limits(m->sessions, out); break;
    }
}

bool machine_checkpoint_slice(struct machine *m, uint32_t budget, struct buffer *out)
{
    static const uint8_t tags[] = { [CHECKPOINT_SERVICE] = SLICE_SERVICE,
                                    [CHECKPOINT_SESSIONS] = SLICE_SESSIONS,
                                    [CHECKPOINT_LIMITS] = SLICE_LIMITS };
    enum checkpoint_phase phase;
    size_t before = buffer_size(out);

    assert(m->checkpoint != CHECKPOINT_NONE);
    /* A phase may turn out to have nothing (left); a slice has always something in it. */
    do {
        phase = m->checkpoint;
        out->end = out->start + before;
        buffer_append(out, &tags[phase], 1);
        phase_slice(m, budget, out);
    } while (buffer_size(out) == before + 1);
    return phase != CHECKPOINT_LIMITS;
}

void machine_checkpoint_end(struct machine *m)
{
    if (m->checkpoint == CHECKPOINT_NONE)
        return;
    m->service->checkpoint_end(m->state);
    sessions_checkpoint_end(m->sessions);
    m->checkpoint = CHECKPOINT_NONE;
}

uint64_t machine_checkpoint_bytes_estimated(const struct machine *m, uint64_t base_index)
{
    uint64_t changes = base_index == 0         ? UINT64_MAX
                       : base_index < m->index ? m->index - base_index
                                               : 0;

    return m->service->checkpoint_bytes_estimated(m->state, base_index) +
           sessions_bytes_estimated(m->sessions, changes);
}

static void machine_empty(struct machine *m)
{
    struct remains *remains = memory_zeroed(1, sizeof *remains);

    *remains = (struct remains){ m->state, m->sessions, m->remains };
    m->remains = remains;
    (void)machine_release(m, RELEASE_AT_ONCE);
    m->state = state_new(m->service);
    m->sessions = sessions_new();
    sessions_limit(m->sessions, m->sessions_max);
    m->index = 0;
    m->time_us = 0;
}

void machine_restore_begin(struct machine *m, bool full)
{
    machine_checkpoint_end(m);
    if (full)
        machine_empty(m);
    sessions_restore_begin(m->sessions, m->index);
    m->restore = RESTORE_BEGUN;
}

static bool restore_abandon(struct machine *m)
{
    machine_empty(m);
    m->restore = RESTORE_NONE;
    return false;
}

bool machine_restore_slice(struct machine *m, struct bytes slice)
{
    struct bytes content = slice.size > 1 ? bytes_of(slice.data + 1, slice.size - 1) : slice;
    bool good = false;

    /* After a slice that was wrong the rest of them are of no use. */
    if (m->restore == RESTORE_NONE)
        return false;
    (void)machine_release(m, (uint32_t)(slice.size / RESTORED_PER_RELEASE) + 1);
    if (m->restore == RESTORE_BEGUN)
        m->restore = RESTORE_OPEN;
    if (slice.size > 1 && m->restore == RESTORE_OPEN)
        switch (slice.data[0]) {
        case SLICE_SERVICE: good = m->service->restore_slice(m->state, content); break;
        case SLICE_SESSIONS: good = sessions_restore_slice(m->sessions, content); break;
        case SLICE_LIMITS:
            good = sessions_restore_limits(m->sessions, content);
            m->restore = RESTORE_WHOLE;
            break;
        default: break;
        }
    return good || restore_abandon(m);
}

bool machine_restore_end(struct machine *m, uint64_t index, uint64_t time_us, uint64_t digest)
{
    /* The state after entry 0 is empty, and takes no slices. */
    bool whole = m->restore == (index == 0 ? RESTORE_BEGUN : RESTORE_WHOLE);

    if (m->restore == RESTORE_NONE)
        return false;
    if (!whole || index < m->index || time_us < m->time_us ||
        sessions_newest_index(m->sessions) > index || machine_digest(m) != digest ||
        (m->service->restore_end && !m->service->restore_end(m->state, index, time_us)))
        return restore_abandon(m);
    m->restore = RESTORE_NONE;
    m->index = index;
    m->time_us = time_us;
    return true;
}

void machine_info(struct machine *m, struct buffer *out)
{
    if (m->service->info)
        m->service->info(m->state, out);
    buffer_format(out, "sessions:%u\r\nsession_reply_bytes:%llu\r\n", sessions_count(m->sessions),
                  (unsigned long long)sessions_reply_bytes(m->sessions));
}
