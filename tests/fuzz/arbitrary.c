#include "tests/fuzz/arbitrary.h"

#include "common/effects.h"
#include "server/journal.h"
#include "server/request.h"

#define RECORDS_MAX 6u
#define RUNS_MAX    5u
#define TYPES       64u /* there is room for more than there are */

uint64_t arbitrary_number(struct arbitrary *a)
{
    uint8_t which = input_u8(&a->input);
    int off = ((which >> 4) ^ 8) - 8;
    uint64_t number = 0;

    if ((which & 15u) < ARBITRARY_KNOWN)
        return a->known[which & 15u] + (uint64_t)(int64_t)off;
    if ((which & 15u) == ARBITRARY_KNOWN)
        return (uint64_t)(int64_t)off;
    for (uint32_t i = 0; i < 8; i++)
        number |= (uint64_t)input_u8(&a->input) << 8 * i;
    return number;
}

static node_id arbitrary_node(struct arbitrary *a)
{
    uint8_t which = input_u8(&a->input);

    if (which < 224)
        return NODE_SERVER(which % 4u);
    return node_is_valid(which % NODE_COUNT) ? (node_id)(which % NODE_COUNT) : NODE_NONE;
}

static void arbitrary_text(struct arbitrary *a, char *text)
{
    struct bytes bytes = input_bytes(&a->input, input_u8(&a->input) % MESSAGE_TEXT_SIZE);

    for (size_t i = 0; i < bytes.size; i++)
        text[i] = bytes.data[i] ? (char)bytes.data[i] : '0';
    text[bytes.size] = 0;
}

static void arbitrary_members(struct arbitrary *a, struct members *members)
{
    uint32_t set = input_u8(&a->input);

    /* A byte for the first seven servers; now and then the last one, too. */
    for (uint32_t i = 0; i < 8; i++)
        if (set >> i & 1u)
            members_put(members, NODE_SERVER(i < 7 ? i : SERVER_COUNT_MAX - 1),
                        arbitrary_number(a));
}

static void arbitrary_lives(struct arbitrary *a, struct lives *lives)
{
    lives->count = input_u8(&a->input) % (LIVES_MAX + 1u);
    for (uint32_t i = 0; i < lives->count; i++)
        lives->incarnation[i] = arbitrary_number(a);
}

/* ---- Bytes ---- */

static void pack_words(struct buffer *request, uint8_t which)
{
    static const char *const commands[][4] = {
        { "SET", "a", "1" }, { "INCR", "n" },        { "APPEND", "a", "0123456789" },
        { "GET", "a" },      { "DEL", "a" },         { "PEXPIRE", "a", "5" },
        { "KEYS", "*" },     { "FLUSHALL" },         { "SET", "b", "2", "EX" },
        { "DBSIZE" },        { "RENAME", "a", "b" }, { "NOSUCH" },
    };
    const char *const *words = commands[which % (sizeof commands / sizeof commands[0])];
    struct bytes argv[4];
    uint32_t argc = 0;

    for (; argc < 4 && words[argc]; argc++)
        argv[argc] = bytes_string(words[argc]);
    request_pack_command(request, argc, argv);
}

static void put_record(struct arbitrary *a, const struct journal_record *usual)
{
    struct journal_record header = *usual;
    uint8_t odd = input_u8(&a->input); /* which fields are */
    struct buffer request = { 0 };

    if (odd & 1u)
        header.index = arbitrary_number(a);
    if (odd & 2u)
        header.view = arbitrary_number(a);
    if (odd & 4u)
        header.time_us = arbitrary_number(a);
    if (odd & 8u) {
        header.session = arbitrary_number(a);
        header.sequence = arbitrary_number(a);
    }
    if (odd & 16u) {
        header.origin = arbitrary_node(a);
        header.incarnation = arbitrary_number(a);
        header.token = arbitrary_number(a);
    }
    if (odd & 32u) {
        header.kind = input_u8(&a->input) % 10u;
        header.wants_reply = header.kind % 2u;
    }
    if (odd & 64u) {
        struct bytes piece = input_bytes(&a->input, input_u8(&a->input));

        buffer_append(&request, piece.data, piece.size);
    } else if (!(odd & 128u)) {
        pack_words(&request, input_u8(&a->input));
    }
    journal_record_pack(&a->bytes, &header, buffer_bytes(&request));
    buffer_free(&request);
}

static void put_records(struct arbitrary *a, node_id from)
{
    uint8_t count = input_u8(&a->input) % (RECORDS_MAX + 1u);
    struct journal_record usual = { .index = arbitrary_number(a),
                                    .view = arbitrary_number(a),
                                    .time_us = arbitrary_number(a),
                                    .incarnation = arbitrary_number(a),
                                    .token = arbitrary_number(a),
                                    .kind = 1,
                                    .origin = from };

    for (uint8_t i = 0; i < count; i++) {
        put_record(a, &usual);
        usual.index++;
    }
}

static void put_runs(struct arbitrary *a)
{
    uint8_t count = input_u8(&a->input) % (RUNS_MAX + 1u);

    for (uint8_t i = 0; i < count; i++) {
        struct journal_run run = { .first_index = arbitrary_number(a) };

        run.view = arbitrary_number(a);
        buffer_append(&a->bytes, &run, sizeof run);
    }
}

static struct bytes arbitrary_bytes(struct arbitrary *a, node_id from)
{
    uint8_t how = input_u8(&a->input);

    if (how % 8u == 0)
        return input_piece(&a->input);
    if (how % 8u == 1 && a->piece_count)
        return a->pieces[how / 8u % a->piece_count];
    buffer_clear(&a->bytes, 65536);
    if (how % 8u == 2)
        put_runs(a);
    else
        put_records(a, from);
    if (how == 255u) /* cut short */
        a->bytes.end -= buffer_size(&a->bytes) ? 1 : 0;
    return buffer_bytes(&a->bytes);
}

/* ---- Messages ---- */

#define MAKE_u8(name)                     \
    m->name =                             \
        (uint8_t)(MESSAGE_U8_MIN_##name + \
                  input_u8(&a->input) % (MESSAGE_U8_MAX_##name - MESSAGE_U8_MIN_##name + 1));
#define MAKE_u32(name)     m->name = (uint32_t)arbitrary_number(a);
#define MAKE_u64(name)     m->name = arbitrary_number(a);
#define MAKE_node(name)    m->name = arbitrary_node(a);
#define MAKE_bytes(name)   m->name = arbitrary_bytes(a, from);
#define MAKE_text(name)    arbitrary_text(a, m->name);
#define MAKE_members(name) arbitrary_members(a, &m->name);
#define MAKE_lives(name)   arbitrary_lives(a, &m->name);
#define MAKE(kind, name)   MAKE_##kind(name)

#define X(number, name, NAME)                                                            \
    static void make_##name(struct arbitrary *a, node_id from, struct message_##name *m) \
    {                                                                                    \
        (void)from;                                                                      \
        NAME##_FIELDS(MAKE)                                                              \
    }
MESSAGES(X)
#undef X

void arbitrary_message(struct arbitrary *a, node_id from, struct message *message)
{
    uint8_t which = input_u8(&a->input), type = which % TYPES;

    *message = (struct message){ .type = (enum message_type)type };
    if (type <= MESSAGE_REFUSE || strcmp(message_name(message->type), "unknown") == 0)
        message->type = a->usual[which % a->usual_count];
    switch (message->type) {
#define X(number, name, NAME) \
    case MESSAGE_##NAME: make_##name(a, from, &message->name); break;
        MESSAGES(X)
#undef X
    }
    message->from = from;
}

void sends_check(const struct effects *effects)
{
    struct buffer frame = { 0 };

    for (uint32_t i = 0; i < effects->count; i++) {
        const struct effect *effect = &effects->list[i];

        if (effect->type != EFFECT_SEND)
            continue;
        assert(effect->node != NODE_NONE && node_is_valid(effect->node));
        buffer_clear(&frame, 65536);
        message_encode(&effect->message, &frame);
    }
    buffer_free(&frame);
}
