#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/resp.h"
#include "server/server_state.h"

#define EXECUTE_BYTES_MAX (256u << 10) /* of entries executed in one turn, if there are several */
#define EXECUTE_US_MAX    1500u        /* the same, as time */
#define EXECUTE_COUNT_MIN 64u          /* entries between two looks at the clock */
#define REPLY_KEEP_BYTES  (64u << 10)  /* memory kept from one reply to the next */
#define OVERDUE_MS        100u         /* between two looks at what is due by time alone */
#define TIME_LATE_US      1000u        /* a read may be so late in seeing what is due */

static bool is_read(uint8_t kind)
{
    return kind >= REQUEST_READ;
}

static bool is_own(const struct server *s, const struct journal_record *record)
{
    return record->origin == s->options.self && record->incarnation == s->options.incarnation;
}

static bool has_state(const struct server *s)
{
    return s->replica.view.number && s->replica.whole && !s->transfer_in.applying;
}

/* Whether entries are executed here, or only kept. */
static bool executes(const struct server *s)
{
    const struct replica *r = &s->replica;

    return has_state(s) && (r->view.style == STYLE_ACTIVE || r->role == ROLE_PRIMARY);
}

bool requests_executing(const struct server *s)
{
    const struct replica *r = &s->replica;

    return has_state(s) && r->executed_index < r->commit_index &&
           r->executed_index < s->journal.last && r->executed_index < replica_execute_end(r);
}

static uint32_t stream_place_of(uint32_t stream)
{
    return (stream * 2654435761u >> 16) % STREAM_COUNT;
}

static uint64_t *stream_place(struct server *s, uint32_t stream)
{
    return &s->stream_write[stream_place_of(stream)];
}

/* Requests of all clients of another server are one stream. */
static uint32_t stream_of_server(node_id server)
{
    return UINT32_MAX - server;
}

/* Answers do not come in the order of tokens: the newest stays. */
static void stream_answered(struct server *s, const struct pending_request *request)
{
    uint64_t *done = &s->stream_done[stream_place_of(request->stream)];

    if (request->token > *done)
        *done = request->token;
}

static void complete(struct server *s, struct pending_request *request, enum outcome outcome,
                     struct bytes reply)
{
    struct journal_record record = { .incarnation = request->incarnation,
                                     .token = request->client,
                                     .kind = (uint8_t)outcome };

    s->requests++;
    if (request->origin == NODE_NONE && !is_read(request->kind))
        stream_answered(s, request);
    if (request->origin != NODE_NONE)
        journal_record_pack(&s->replies[node_index(request->origin)], &record, reply);
    else if (request->wanted)
        s->options.reply(s->options.context, request->client, outcome, reply);
    pending_remove(&s->pending, request);
}

static void complete_text(struct server *s, struct pending_request *request, enum outcome outcome,
                          const char *text)
{
    complete(s, request, outcome, bytes_string(text));
}

/* Writing. */

uint64_t requests_append(struct server *s, const struct journal_record *header,
                         struct bytes request)
{
    struct journal_record filled = *header;

    if (s->wall_us > s->entry_time_us)
        s->entry_time_us = s->wall_us;
    filled.view = s->replica.view.number;
    filled.time_us = s->entry_time_us;
    journal_append(&s->journal, &filled, request);
    return filled.index;
}

static void write_own(struct server *s, struct pending_request *request, struct bytes bytes)
{
    struct journal_record header = {
        .index = replica_append(&s->replica),
        .session = request->session,
        .sequence = request->sequence,
        .incarnation = s->options.incarnation,
        .token = request->token,
        .kind = request->kind,
        .origin = s->options.self,
        /* In passive style, should another be the primary by the time it is executed. */
        .wants_reply = s->replica.view.style == STYLE_PASSIVE,
    };

    request->index = requests_append(s, &header, bytes);
    request->state = PENDING_JOURNALED;
    *stream_place(s, request->stream) = request->index;
    pending_drop(request);
}

static void append_time(struct server *s)
{
    struct journal_record header = { .kind = REQUEST_TIME, .index = replica_append(&s->replica) };

    requests_append(s, &header, (struct bytes){ 0 });
}

/* Reading, at the primary. */

/* That something is due, a read may see only once an entry says so: else an entry that is in the
 * journal already, with an earlier time, could find it there again, or another primary, whose clock
 * is behind. */
static void query(struct server *s, uint8_t kind, struct bytes request)
{
    uint64_t time_us = machine_time_us(s->machine);

    if (s->wall_us > time_us && !machine_overdue(s->machine, s->wall_us))
        time_us = s->wall_us;
    buffer_clear(&s->reply, REPLY_KEEP_BYTES);
    machine_query(s->machine, kind, time_us, request, &s->reply);
}

static void reads_push(struct server *s, struct pending_request *request)
{
    struct read_queue *q = &s->reads;

    if (q->count == q->capacity) {
        uint32_t capacity = q->capacity ? 2 * q->capacity : 256;
        uint64_t *tokens = memory_take(capacity * sizeof *tokens);

        for (uint32_t i = 0; i < q->count; i++)
            tokens[i] = q->tokens[(q->head + i) & (q->capacity - 1)];
        free(q->tokens);
        q->tokens = tokens;
        q->capacity = capacity;
        q->head = 0;
    }
    q->tokens[(q->head + q->count++) & (q->capacity - 1)] = request->token;
}

/* Whether a read arriving now must wait for an entry that has the time: something is due. Makes one
 * unless there is one already. */
static bool time_must_pass(struct server *s)
{
    if (!executes(s) || s->wall_us <= machine_time_us(s->machine) + TIME_LATE_US ||
        !machine_overdue(s->machine, s->wall_us))
        return false;
    if (s->wall_us > s->entry_time_us + TIME_LATE_US)
        append_time(s);
    return true;
}

/* The state that a read arriving now must show at least: everything committed, and what its own
 * stream has written before it. */
static uint64_t read_position(struct server *s, uint32_t stream)
{
    uint64_t written = *stream_place(s, stream);

    if (time_must_pass(s))
        return s->replica.last_index;
    if (written > s->replica.executed_index && written <= s->replica.last_index)
        return s->replica.last_index;
    /* What earlier views committed is known only once the first entry of ours is committed. */
    return s->replica.commit_index > s->replica.view_start ? s->replica.commit_index
                                                           : s->replica.view_start;
}

static bool readable_now(struct server *s, struct instant now, uint64_t position)
{
    return executes(s) && s->replica.executed_index >= position &&
           replica_may_read(&s->replica, now, now);
}

static void read_later(struct server *s, struct pending_request *request, struct bytes bytes)
{
    uint64_t position = read_position(s, request->stream);

    /* In the order of the queue, so that a later write of its stream never comes before it. */
    if (s->reads.count == 0 || position > s->reads.position)
        s->reads.position = position;
    request->index = s->reads.position;
    request->state = PENDING_READING;
    /* Nor does a later read of its stream see less than this one. */
    if (*stream_place(s, request->stream) < request->index)
        *stream_place(s, request->stream) = request->index;
    pending_keep(request, bytes);
    reads_push(s, request);
}

/* Answers reads whose position is reached. False: one of them has no leave yet, and no entry may be
 * executed before it is answered. */
static bool reads_answer(struct server *s, struct instant now)
{
    struct read_queue *q = &s->reads;

    while (q->count) {
        struct pending_request *request =
            pending_find(&s->pending, q->tokens[q->head & (q->capacity - 1)]);

        if (request) {
            if (request->index > s->replica.executed_index)
                return true;
            if (!executes(s) || !replica_may_read(&s->replica, now, request->arrived))
                return false;
            query(s, request->kind, bytes_of(request->bytes, request->size));
            complete(s, request, OUTCOME_DONE, buffer_bytes(&s->reply));
        }
        q->head++;
        q->count--;
    }
    return true;
}

/* Reads that have been answered otherwise, because they waited too long, go from the head. */
static void reads_drop_answered(struct server *s)
{
    struct read_queue *q = &s->reads;

    while (q->count && !pending_find(&s->pending, q->tokens[q->head & (q->capacity - 1)])) {
        q->head++;
        q->count--;
    }
}

bool requests_blocked(const struct server *s)
{
    return s->reads_blocked;
}

/* Executing. */

static void answer_entry(struct server *s, const struct journal_record *record)
{
    struct pending_request *request;

    if (is_own(s, record)) {
        request = pending_find(&s->pending, record->token);
        if (request)
            complete(s, request, OUTCOME_DONE, buffer_bytes(&s->reply));
    } else if (record->wants_reply && s->replica.role == ROLE_PRIMARY &&
               node_is_server(record->origin) &&
               s->replica.peers[node_index(record->origin)].incarnation == record->incarnation) {
        struct journal_record reply = { .incarnation = record->incarnation,
                                        .token = record->token,
                                        .kind = OUTCOME_DONE };

        journal_record_pack(&s->replies[node_index(record->origin)], &reply,
                            buffer_bytes(&s->reply));
    }
}

static void execute_next(struct server *s)
{
    const struct journal_record *record = journal_at(&s->journal, s->replica.executed_index + 1);
    struct machine_entry entry = {
        .index = record->index,
        .time_us = record->time_us,
        .session = record->session,
        .sequence = record->sequence,
        .kind = record->kind,
        .request = bytes_of(record->request, record->request_size),
    };

    s->execute_room -= record->size < s->execute_room ? record->size : s->execute_room;
    buffer_clear(&s->reply, REPLY_KEEP_BYTES);
    machine_execute(s->machine, &entry, &s->reply);
    replica_executed(&s->replica, entry.index);
    if (entry.kind == REQUEST_MARK)
        replica_marked(&s->replica, entry.index, machine_digest(s->machine));
    else
        answer_entry(s, record);
}

/* Whoever made the entry, or the state before it, got the time wrong. */
static bool goes_back(struct server *s, struct effects *out)
{
    const struct journal_record *record = journal_at(&s->journal, s->replica.executed_index + 1);

    if (record->time_us >= machine_time_us(s->machine))
        return false;
    effects_add(out, EFFECT_END)->text = effects_text(
        out, "entry %lu, made in view %lu, is of an earlier time than the state before it",
        (unsigned long)record->index, (unsigned long)record->view);
    s->execute_room = 0;
    return true;
}

void requests_execute(struct server *s, struct instant now, struct effects *out)
{
    uint64_t began_us = server_turn_us(s);

    s->reads_blocked = !reads_answer(s, now);
    for (uint32_t count = 1;
         !s->reads_blocked && requests_executing(s) && s->execute_room > 0 && !goes_back(s, out);
         count++) {
        execute_next(s);
        s->reads_blocked = s->reads.count && !reads_answer(s, now);
        if (count % EXECUTE_COUNT_MIN == 0 &&
            s->executed_us + server_turn_us(s) - began_us >= EXECUTE_US_MAX)
            s->execute_room = 0;
    }
    s->executed_us += server_turn_us(s) - began_us;
}

/* What becomes of requests when the journal or the role changes. */

void requests_journaled(struct server *s, const struct journal_record *record)
{
    struct pending_request *request =
        is_own(s, record) ? pending_find(&s->pending, record->token) : NULL;

    if (record->time_us > s->entry_time_us)
        s->entry_time_us = record->time_us;
    if (!request)
        return;
    request->state = PENDING_JOURNALED;
    request->index = record->index;
    pending_drop(request);
}

/* Entries after index leave the journal: they were never committed, so their requests may go again.
 * Until the new view is active they may yet come back from the journal of another server: nobody
 * may say that they were not executed. */
void requests_truncated(struct server *s, uint64_t index)
{
    for (uint64_t i = index + 1; i <= s->journal.last; i++) {
        const struct journal_record *record = journal_at(&s->journal, i);
        struct pending_request *request =
            is_own(s, record) ? pending_find(&s->pending, record->token) : NULL;

        if (!request)
            continue;
        pending_keep(request, bytes_of(record->request, record->request_size));
        request->state = PENDING_FORWARDED;
    }
}

/* The journal is begun anew: whether these were executed cannot be seen here any more. */
void requests_abandon_written(struct server *s)
{
    struct pending_request *request = pending_oldest(&s->pending), *next;

    for (; request; request = next) {
        next = pending_newer(&s->pending, request);
        if (request->state == PENDING_JOURNALED ||
            (request->state == PENDING_FORWARDED && !is_read(request->kind)))
            complete_text(s, request, OUTCOME_UNKNOWN, "");
    }
}

static void reads_clear(struct server *s)
{
    s->reads.count = 0;
    s->reads.position = 0;
}

/* A set of streams: open addressing, never more than half full. */
struct stream_set {
    uint64_t *streams; /* plus one, as 0 is an empty place */
    uint32_t mask;
};

static uint64_t *stream_find(const struct stream_set *set, uint32_t stream)
{
    uint32_t place = stream * 2654435761u & set->mask;

    while (set->streams[place] && set->streams[place] != stream + 1ull)
        place = (place + 1) & set->mask;
    return &set->streams[place];
}

/* A write behind the read was answered already. Streams that share a place may be taken for one
 * another; but then the read is only asked for again. Tokens grow. */
static bool read_overtaken(const struct server *s, const struct pending_request *request)
{
    return is_read(request->kind) && request->origin == NODE_NONE &&
           s->stream_done[stream_place_of(request->stream)] > request->token;
}

/* A request that is not in the journal, while a later one of its stream is or was, cannot take
 * effect in its place any more. */
static void drop_overtaken(struct server *s)
{
    struct stream_set written = { .mask = 15 };
    uint32_t place = s->pending.newest;

    while (written.mask < 2 * s->pending.count)
        written.mask = 2 * written.mask + 1;
    written.streams = memory_zeroed(written.mask + 1u, sizeof *written.streams);
    while (place != PENDING_NONE) {
        struct pending_request *request = &s->pending.table[place];
        uint64_t *found = stream_find(&written, request->stream);

        place = request->older;
        if (request->state == PENDING_JOURNALED)
            *found = request->stream + 1ull;
        else if (request->state != PENDING_READING && read_overtaken(s, request))
            complete_text(s, request, OUTCOME_NOT_EXECUTED,
                          "TRYAGAIN what was asked for behind it came first; it was not executed");
        else if (request->state != PENDING_READING && *found)
            complete_text(s, request, OUTCOME_UNKNOWN, "");
    }
    free(written.streams);
}

static void take_own(struct server *s, struct pending_request *request)
{
    struct bytes bytes = bytes_of(request->bytes, request->size);

    if (is_read(request->kind))
        read_later(s, request, bytes);
    else
        write_own(s, request, bytes);
}

static void forward_own(struct server *s, struct pending_request *request)
{
    const struct replica *r = &s->replica;
    struct journal_record header = {
        .session = request->session,
        .sequence = request->sequence,
        .incarnation = s->options.incarnation,
        .token = request->token,
        .kind = request->kind,
        .origin = s->options.self,
        /* The state that a member lacks may be one that has executed it, and tells no reply. */
        .wants_reply = r->view.style != STYLE_ACTIVE || r->role != ROLE_BACKUP || !r->whole,
    };

    journal_record_pack(&s->forwards, &header, bytes_of(request->bytes, request->size));
    request->state = PENDING_FORWARDED;
}

/* Everything that is not in the journal goes where requests go now, in its order. */
static void send_waiting(struct server *s)
{
    enum replica_way way = replica_way(&s->replica);
    struct pending_request *request, *next;

    if (way == REPLICA_HOLD)
        return;
    drop_overtaken(s);
    for (request = pending_oldest(&s->pending); request; request = next) {
        next = pending_newer(&s->pending, request);
        if (request->state != PENDING_HELD && request->state != PENDING_FORWARDED)
            continue;
        if (way == REPLICA_APPEND)
            take_own(s, request);
        else
            forward_own(s, request);
    }
}

void requests_role_changed(struct server *s)
{
    enum replica_way way = replica_way(&s->replica);
    struct pending_request *request, *next;

    if (way != REPLICA_APPEND) {
        reads_clear(s);
        for (request = pending_oldest(&s->pending); request; request = next) {
            next = pending_newer(&s->pending, request);
            if (request->state != PENDING_READING)
                continue;
            /* Its own server sends it again, to whoever is the primary then. */
            if (request->origin != NODE_NONE)
                pending_remove(&s->pending, request);
            else
                request->state = PENDING_HELD;
        }
    }
    /* What waits to be forwarded is sent again later, or not at all; while we may go on forwarding,
     * it must stay: nothing would send it again. */
    if (way != REPLICA_FORWARD)
        buffer_clear(&s->forwards, 0);
    if (way == REPLICA_APPEND)
        send_waiting(s);
}

void requests_resync(struct server *s)
{
    buffer_clear(&s->forwards, REPLY_KEEP_BYTES);
    send_waiting(s);
}

/* What other servers' clients ask. */

static void take_forwarded(struct server *s, struct instant now, node_id from,
                           const struct journal_record *header, struct bytes bytes)
{
    uint32_t stream = stream_of_server(from);
    struct journal_record reply = { .incarnation = header->incarnation,
                                    .token = header->token,
                                    .kind = OUTCOME_DONE };
    struct bytes remembered;

    if (is_read(header->kind)) {
        if (readable_now(s, now, read_position(s, stream))) {
            query(s, header->kind, bytes);
            journal_record_pack(&s->replies[node_index(from)], &reply, buffer_bytes(&s->reply));
            return;
        }
        struct pending_request *request = pending_add(&s->pending, (uint32_t)bytes.size);
        request->origin = from;
        request->incarnation = header->incarnation;
        request->client = header->token;
        request->stream = stream;
        request->kind = header->kind;
        request->arrived = now;
        read_later(s, request, bytes);
    } else if (header->session &&
               machine_remembered(s->machine, header->session, header->sequence, &remembered)) {
        journal_record_pack(&s->replies[node_index(from)], &reply, remembered);
    } else {
        struct journal_record entry = *header;

        entry.index = replica_append(&s->replica);
        *stream_place(s, stream) = requests_append(s, &entry, bytes);
    }
}

void requests_forward(struct server *s, struct instant now, const struct message *message)
{
    struct bytes rest = message->forward.requests, record;
    struct journal_record header;
    bool sound;

    /* One of another view is sent again by its server, once it knows where that view's journal
     * ended. */
    if (message->forward.view != s->replica.view.number ||
        replica_way(&s->replica) != REPLICA_APPEND)
        return;
    while (journal_record_next(&rest, &header, &record, &sound)) {
        if (header.origin != message->from || header.kind == REQUEST_VIEW ||
            header.kind == REQUEST_MARK || header.kind == REQUEST_TIME ||
            header.kind > REQUEST_READ_TRANSACTION)
            continue;
        take_forwarded(s, now, message->from, &header,
                       bytes_of(record.data + sizeof header, header.request_size));
    }
}

/* A life before this one may have asked, whose tokens were the same. */
void requests_replies(struct server *s, const struct message *message)
{
    struct bytes rest = message->reply.replies, record;
    struct journal_record header;
    bool sound;

    while (journal_record_next(&rest, &header, &record, &sound)) {
        struct pending_request *request = header.incarnation == s->options.incarnation
                                              ? pending_find(&s->pending, header.token)
                                              : NULL;

        if (request && request->state != PENDING_FREE && header.kind <= OUTCOME_UNKNOWN)
            complete(s, request, (enum outcome)header.kind,
                     bytes_of(record.data + sizeof header, header.request_size));
    }
}

/* What this server's clients ask. */

static bool answer_at_once(struct server *s, struct instant now,
                           const struct server_request *request)
{
    const struct replica *r = &s->replica;
    struct bytes reply;

    if (is_read(request->kind)) {
        bool stale = request->stale && executes(s) && r->role == ROLE_BACKUP;

        if (!stale && !(replica_way(r) == REPLICA_APPEND &&
                        readable_now(s, now, read_position(s, request->stream))))
            return false;
        query(s, request->kind, request->request);
        reply = buffer_bytes(&s->reply);
    } else if (!request->session ||
               !machine_remembered(s->machine, request->session, request->sequence, &reply)) {
        return false;
    }
    s->requests++;
    s->options.reply(s->options.context, request->client, OUTCOME_DONE, reply);
    return true;
}

bool server_submit(struct server *s, struct instant now, uint64_t wall_us,
                   const struct server_request *request, struct effects *out)
{
    struct pending_request *own;

    (void)out;
    server_wall(s, wall_us);
    if (answer_at_once(s, now, request))
        return true;
    if (s->pending.count && s->pending.bytes + request->request.size > s->options.pending_bytes_max)
        return false;
    own = pending_add(&s->pending, (uint32_t)request->request.size);
    own->client = request->client;
    own->stream = request->stream;
    own->kind = request->kind;
    own->session = request->session;
    own->sequence = request->sequence;
    own->arrived = now;
    switch (replica_way(&s->replica)) {
    case REPLICA_APPEND:
        if (is_read(request->kind))
            read_later(s, own, request->request);
        else
            write_own(s, own, request->request);
        break;
    case REPLICA_FORWARD:
        pending_keep(own, request->request);
        forward_own(s, own);
        break;
    case REPLICA_HOLD: pending_keep(own, request->request); break;
    }
    return true;
}

bool server_accepts(const struct server *s)
{
    return s->pending.bytes < s->options.pending_bytes_max;
}

void server_forget(struct server *s, uint64_t client)
{
    struct pending_request *request, *next;

    for (request = pending_oldest(&s->pending); request; request = next) {
        next = pending_newer(&s->pending, request);
        if (request->client != client || request->origin != NODE_NONE)
            continue;
        request->wanted = false;
        if (request->state == PENDING_HELD)
            pending_remove(&s->pending, request);
    }
}

/* Time. */

static void expire_waiting(struct server *s, struct instant now)
{
    struct pending_request *request, *next;

    for (request = pending_oldest(&s->pending); request; request = next) {
        next = pending_newer(&s->pending, request);
        if (instant_since_ms(now, request->arrived) < REQUEST_HOLD_MS_MAX)
            break;
        if (request->state == PENDING_HELD || is_read(request->kind))
            complete_text(s, request, OUTCOME_NOT_EXECUTED,
                          "TRYAGAIN no primary could take this request in time; it was not "
                          "executed");
        else
            complete_text(s, request, OUTCOME_UNKNOWN, "");
    }
    reads_drop_answered(s);
}

static void append_overdue(struct server *s, struct instant now)
{
    if (!instant_reached(now, s->overdue_due) || !s->replica.serving ||
        replica_way(&s->replica) != REPLICA_APPEND || !executes(s))
        return;
    s->overdue_due = instant_add_ms(now, OVERDUE_MS);
    if (s->wall_us <= s->entry_time_us || !machine_overdue(s->machine, s->wall_us))
        return;
    append_time(s);
}

/* What has gathered since the last turn; it stays in place until the effects are carried out. */
static struct bytes take_out(struct buffer *gathered, struct buffer *going)
{
    struct buffer emptied = *going;

    *going = *gathered;
    *gathered = emptied;
    buffer_clear(gathered, REPLY_KEEP_BYTES);
    return buffer_bytes(going);
}

void requests_tick(struct server *s, struct instant now, struct effects *out)
{
    append_overdue(s, now);
    /* Bytes, not entries: a large one may do the work of hundreds, and after a restart thousands of
     * them come at once, while heartbeats wait for an answer. */
    s->execute_room = EXECUTE_BYTES_MAX;
    s->executed_us = 0;
    requests_execute(s, now, out);
    expire_waiting(s, now);
    if (buffer_size(&s->forwards))
        effects_send(out, s->replica.view.primary,
                     (struct message){
                         .type = MESSAGE_FORWARD,
                         .forward = { .view = s->replica.view.number,
                                      .requests = take_out(&s->forwards, &s->forwards_going) } });
    for (uint32_t i = 0; i < s->options.server_count; i++)
        if (buffer_size(&s->replies[i]))
            effects_send(out, NODE_SERVER(i),
                         (struct message){ .type = MESSAGE_REPLY,
                                           .reply.replies =
                                               take_out(&s->replies[i], &s->replies_going[i]) });
}
