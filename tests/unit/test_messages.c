/* Messages: every one of the table goes through encoding, decoding and formatting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/limits.h"
#include "common/messages.h"

#define FRAME_HEAD_BYTES 4u

enum edge { EDGE_LOW, EDGE_HIGH, EDGE_MIXED, EDGE_COUNT };

static const uint8_t payload[300] = { 1, 2, 3, 0, 255 };

/* Fills every field with a value at the edge of what it may be. */
static uint64_t edge_number(enum edge edge, uint64_t min, uint64_t max)
{
    return edge == EDGE_LOW ? min : edge == EDGE_HIGH ? max : min + (max - min) / 3;
}

static void fill_text(enum edge edge, char text[MESSAGE_TEXT_SIZE])
{
    size_t length = edge_number(edge, 0, MESSAGE_TEXT_SIZE - 1);

    memset(text, 'x', length);
    text[length] = 0;
}

static void fill_members(enum edge edge, struct members *members)
{
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++) {
        if (edge == EDGE_HIGH || (edge == EDGE_MIXED && i % 3 == 0))
            members_put(members, NODE_SERVER(i), UINT64_MAX - i);
    }
}

static void fill_lives(enum edge edge, struct lives *lives)
{
    for (uint64_t i = 0; i < edge_number(edge, 0, LIVES_MAX); i++)
        lives_add(lives, UINT64_MAX - i);
}

static struct bytes edge_bytes(enum edge edge)
{
    return bytes_of(payload, edge_number(edge, 0, sizeof payload));
}

#define FILL_u8(name) \
    m->name = (uint8_t)edge_number(edge, MESSAGE_U8_MIN_##name, MESSAGE_U8_MAX_##name);
#define FILL_u32(name)     m->name = (uint32_t)edge_number(edge, 0, UINT32_MAX);
#define FILL_u64(name)     m->name = edge_number(edge, 0, UINT64_MAX);
#define FILL_node(name)    m->name = (node_id)(edge == EDGE_LOW ? NODE_NONE : NODE_COUNT - 1);
#define FILL_bytes(name)   m->name = edge_bytes(edge);
#define FILL_text(name)    fill_text(edge, m->name);
#define FILL_members(name) fill_members(edge, &m->name);
#define FILL_lives(name)   fill_lives(edge, &m->name);
#define FILL(kind, name)   FILL_##kind(name)

#define X(number, name, NAME)                                         \
    static void fill_##name(struct message_##name *m, enum edge edge) \
    {                                                                 \
        NAME##_FIELDS(FILL)                                           \
    }
MESSAGES(X)
#undef X

#define SAME_u8(name)      assert_int_equal(a->name, b->name);
#define SAME_u32(name)     assert_int_equal(a->name, b->name);
#define SAME_u64(name)     assert_int_equal(a->name, b->name);
#define SAME_node(name)    assert_int_equal(a->name, b->name);
#define SAME_bytes(name)   assert_true(bytes_equal(a->name, b->name));
#define SAME_text(name)    assert_string_equal(a->name, b->name);
#define SAME_members(name) assert_memory_equal(&a->name, &b->name, sizeof a->name);
#define SAME_lives(name)   assert_memory_equal(&a->name, &b->name, sizeof a->name);
#define SAME(kind, name)   SAME_##kind(name)

#define X(number, name, NAME)                                                               \
    static void same_##name(const struct message_##name *a, const struct message_##name *b) \
    {                                                                                       \
        NAME##_FIELDS(SAME)                                                                 \
    }
MESSAGES(X)
#undef X

static void fill(struct message *message, enum message_type type, enum edge edge)
{
    memset(message, 0, sizeof *message);
    message->type = type;
    switch (type) {
#define X(number, name, NAME) \
    case MESSAGE_##NAME: fill_##name(&message->name, edge); break;
        MESSAGES(X)
#undef X
    }
}

static void assert_same(const struct message *a, const struct message *b)
{
    assert_int_equal(a->type, b->type);
    switch (a->type) {
#define X(number, name, NAME) \
    case MESSAGE_##NAME: same_##name(&a->name, &b->name); break;
        MESSAGES(X)
#undef X
    }
}

static const enum message_type types[] = {
#define X(number, name, NAME) MESSAGE_##NAME,
    MESSAGES(X)
#undef X
};

#define TYPE_COUNT (sizeof types / sizeof types[0])

/* Every message that crosses a link, at every edge. */
static void for_each(void (*check)(const struct message *message, struct bytes frame))
{
    for (size_t i = 0; i < TYPE_COUNT; i++) {
        for (uint32_t edge = 0; (uint32_t)types[i] < MESSAGE_LOCAL_MIN && edge < EDGE_COUNT;
             edge++) {
            struct buffer frame = { 0 };
            struct message message;

            fill(&message, types[i], (enum edge)edge);
            message_encode(&message, &frame);
            check(&message, buffer_bytes(&frame));
            buffer_free(&frame);
        }
    }
}

/* Decodes a copy of exactly that size, so that a sanitizer sees a step beyond its end. */
static enum error_code decode_copy(struct bytes bytes, struct message *message, uint8_t **copy,
                                   struct error *error)
{
    *copy = memory_take(bytes.size);
    if (bytes.data)
        memcpy(*copy, bytes.data, bytes.size);
    error->text[0] = 0;
    return message_decode(bytes_of(*copy, bytes.size), message, error);
}

static void assert_refused(struct bytes bytes, const char *words)
{
    struct message message;
    struct error error;
    uint8_t *copy;

    assert_int_equal(decode_copy(bytes, &message, &copy, &error), ERROR_PROTOCOL);
    if (!strstr(error.text, words))
        fail_msg("\"%s\" does not say \"%s\"", error.text, words);
    free(copy);
}

static void check_round_trip(const struct message *message, struct bytes frame)
{
    struct message decoded;
    struct error error;
    uint8_t *copy;
    uint32_t size = (uint32_t)frame.data[0] | (uint32_t)frame.data[1] << 8 |
                    (uint32_t)frame.data[2] << 16 | (uint32_t)frame.data[3] << 24;

    assert_int_equal(size, frame.size - FRAME_HEAD_BYTES);
    assert_int_equal(
        decode_copy(bytes_of(frame.data + FRAME_HEAD_BYTES, size), &decoded, &copy, &error),
        ERROR_NONE);
    assert_same(message, &decoded);
    free(copy);
}

/* What is encoded is decoded to the same. */
static void test_round_trip(void **state)
{
    (void)state;
    for_each(check_round_trip);
}

static void check_truncations(const struct message *message, struct bytes frame)
{
    for (size_t size = 0; size < frame.size - FRAME_HEAD_BYTES; size++)
        assert_refused(bytes_of(frame.data + FRAME_HEAD_BYTES, size),
                       size < 2 ? "message of unknown type, field type"
                                : message_name(message->type));
}

/* A message cut off anywhere is refused, by its name. */
static void test_truncated(void **state)
{
    (void)state;
    for_each(check_truncations);
}

static void check_trailing(const struct message *message, struct bytes frame)
{
    struct buffer longer = { 0 };

    (void)message;
    buffer_append(&longer, frame.data + FRAME_HEAD_BYTES, frame.size - FRAME_HEAD_BYTES);
    buffer_append(&longer, "x", 1);
    assert_refused(buffer_bytes(&longer), "1 bytes after its last field");
    buffer_free(&longer);
}

static void test_trailing_bytes(void **state)
{
    (void)state;
    for_each(check_trailing);
}

/* Numbers that are not in the table, and those that never cross a link, are refused. */
static void test_bad_types(void **state)
{
    (void)state;
    for (uint32_t type = 0; type <= UINT16_MAX; type++) {
        uint8_t bytes[2] = { (uint8_t)type, (uint8_t)(type >> 8) };

        if (type >= MESSAGE_LOCAL_MIN)
            assert_refused(bytes_of(bytes, 2), "never crosses a link");
        else if (strcmp(message_name((enum message_type)type), "unknown") == 0)
            assert_refused(bytes_of(bytes, 2), "not in the protocol");
    }
}

/* Encodes the message, sets one byte of its payload and expects it to be refused. */
static void assert_byte_refused(const struct message *message, size_t at, uint8_t value,
                                const char *words)
{
    struct buffer frame = { 0 };

    message_encode(message, &frame);
    frame.data[FRAME_HEAD_BYTES + at] = value;
    assert_refused(bytes_of(frame.data + FRAME_HEAD_BYTES, buffer_size(&frame) - FRAME_HEAD_BYTES),
                   words);
    buffer_free(&frame);
}

/* Fields say what they may be: nobody behind the decoder has to ask again. */
static void test_bad_fields(void **state)
{
    struct message m;

    (void)state;
    fill(&m, MESSAGE_ORDER, EDGE_LOW);
    assert_byte_refused(&m, 2, NODE_COUNT, "message order, field server: 48 is not a node");
    assert_byte_refused(&m, 2, NODE_CLIENT + 1, "message order, field server: 5 is not a node");
    assert_byte_refused(&m, 3, 0, "message order, field action: 0 is not 1..2");
    assert_byte_refused(&m, 3, 3, "message order, field action: 3 is not 1..2");

    fill(&m, MESSAGE_REFUSE, EDGE_HIGH);
    assert_byte_refused(&m, 2, MESSAGE_TEXT_SIZE, "96 bytes of text, at most 95");
    assert_byte_refused(&m, 5, 0, "without a zero byte");

    fill(&m, MESSAGE_VIEW, EDGE_MIXED);
    assert_byte_refused(&m, 2 + 8 + 4 + SERVER_COUNT_MAX / 8, 1, "field members: a set of servers");

    fill(&m, MESSAGE_CHECKPOINT_SLICE, EDGE_MIXED);
    assert_byte_refused(&m, 2 + 8 + 4 + 3, 255, "field data: 4278190180 bytes expected");
}

/* A head is the frame up to the bytes that the caller sends, whose size it counts. */
static void test_head(void **state)
{
    struct message m = { .type = MESSAGE_CHECKPOINT_SLICE };
    struct buffer head = { 0 };
    struct buffer frame = { 0 };
    size_t head_size;

    (void)state;
    m.checkpoint_slice.data = bytes_of(payload, sizeof payload);
    message_encode_head(&m, &head);
    message_encode(&m, &frame);
    head_size = buffer_size(&frame) - sizeof payload;
    assert_int_equal(buffer_size(&head), head_size);
    assert_memory_equal(head.data, frame.data, head_size);
    assert_memory_equal(payload, frame.data + head_size, sizeof payload);
    buffer_free(&head);
    buffer_free(&frame);
}

static void assert_formatted(const struct message *message, const char *expected)
{
    struct buffer text = { 0 };

    message_format(message, &text);
    buffer_append(&text, "", 1);
    assert_string_equal((const char *)buffer_head(&text), expected);
    buffer_free(&text);
}

/* Operators and tests read names, not numbers, and no text breaks the line. */
static void test_format(void **state)
{
    struct message m = { .type = MESSAGE_DELETE };

    (void)state;
    m.delete.server = NODE_SERVER(0);
    m.delete.incarnation = UINT64_MAX;
    strcpy(m.delete.cause, "say \"no\"\n");
    assert_formatted(&m, "delete server=s1 incarnation=18446744073709551615 certain=0 "
                         "cause=\"say \\x22no\\x22\\x0a\"");

    m = (struct message){ .type = MESSAGE_MEMBERSHIP, .membership = { .version = 7 } };
    assert_formatted(&m, "membership version=7 members=none unwatched=0 changed=none change=0 "
                         "incarnation=0 pid=0 certain=0 cause=\"\"");
    members_put(&m.membership.members, NODE_SERVER(1), 5);
    members_put(&m.membership.members, NODE_SERVER(2), 6);
    assert_formatted(&m, "membership version=7 members=s2,s3 unwatched=0 changed=none change=0 "
                         "incarnation=0 pid=0 certain=0 cause=\"\"");

    m = (struct message){ .type = MESSAGE_CHECKPOINT_SLICE };
    m.checkpoint_slice.data = bytes_of(payload, 7);
    assert_formatted(&m, "checkpoint_slice index=0 sequence=0 data=<7 bytes>");
    m = (struct message){ .type = MESSAGE_COMMAND, .command = { .server = NODE_LFD(3) } };
    assert_formatted(&m, "command verb=0 server=lfd4 peer=none count=0 reference=0");
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(message_name(MESSAGE_CAUGHT_UP), "caught_up");
    assert_string_equal(message_name((enum message_type)199), "unknown");
    assert_string_equal(style_name(STYLE_PASSIVE), "passive");
    assert_string_equal(style_name(2), "unknown");
    assert_string_equal(role_name(ROLE_PRIMARY), "primary");
    assert_string_equal(role_name(255), "unknown");

    assert_string_equal(node_name(NODE_LFD(15)), "lfd16");
    assert_string_equal(node_name(NODE_SERVER(15)), "s16");
    assert_string_equal(node_name(5), "unknown");
    assert_string_equal(node_name(255), "unknown");
    node_name_set(NODE_SERVER(15), "a name that is longer than there is room for");
    assert_string_equal(node_name(NODE_SERVER(15)), "a name that is longer than ther");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_trailing_bytes), cmocka_unit_test(test_bad_types),
        cmocka_unit_test(test_bad_fields),     cmocka_unit_test(test_head),
        cmocka_unit_test(test_format),         cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
