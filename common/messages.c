#include "common/messages.h"

#include <assert.h>

#include "common/limits.h"

#define SIZE_BYTES 4u /* of a frame's size, and of that of a `bytes` field */
#define TYPE_BYTES 2u

#define MEMBERS_ALL ((1u << SERVER_COUNT_MAX) - 1u)

_Static_assert(SERVER_COUNT_MAX < 32, "a set of servers fits in a u32");
_Static_assert(MESSAGE_TEXT_SIZE <= 256, "the length of a text fits in a u8");
_Static_assert(MESSAGE_BYTES_MAX <= UINT32_MAX, "the size of a frame fits in its u32");

const char *message_name(enum message_type type)
{
    switch (type) {
#define X(number, name, NAME) \
    case MESSAGE_##NAME: return #name;
        MESSAGES(X)
#undef X
    }
    return "unknown";
}

const char *style_name(uint8_t style)
{
    static const char *const names[] = { [STYLE_ACTIVE] = "active", [STYLE_PASSIVE] = "passive" };

    return style < sizeof names / sizeof names[0] ? names[style] : "unknown";
}

const char *role_name(uint8_t role)
{
    static const char *const names[] = {
        [ROLE_NONE] = "none",
        [ROLE_JOINER] = "joiner",
        [ROLE_BACKUP] = "backup",
        [ROLE_PRIMARY] = "primary",
    };

    return role < sizeof names / sizeof names[0] ? names[role] : "unknown";
}

const char *phase_name(uint8_t phase)
{
    static const char *const names[] = {
        [PHASE_NONE] = "none",           [PHASE_LOADING] = "loading",
        [PHASE_REPLAYING] = "replaying", [PHASE_WAITING] = "waiting",
        [PHASE_RECEIVING] = "receiving", [PHASE_FOLLOWING] = "following",
        [PHASE_FULL] = "full",
    };

    return phase < sizeof names / sizeof names[0] ? names[phase] : "unknown";
}

/* Encoding: one write_<message>() for each, put together from one put_<kind>() per field. The
 * room is reserved at once, so they write without looking. */

struct writer {
    uint8_t *at;
    bool head_only;       /* leave out the bytes of a `bytes` field, the caller sends them */
    uint8_t *left_out_at; /* where, NULL if nothing was */
    size_t left_out_size;
};

static uint8_t *write_le(uint8_t *at, uint64_t value, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        at[i] = (uint8_t)(value >> (8 * i));
    return at + count;
}

static void put_u8(struct writer *w, uint8_t value, uint8_t min, uint8_t max)
{
    assert(value >= min && value <= max);
    *w->at++ = value;
}

static void put_u32(struct writer *w, uint32_t value)
{
    w->at = write_le(w->at, value, 4);
}

static void put_u64(struct writer *w, uint64_t value)
{
    w->at = write_le(w->at, value, 8);
}

static void put_node(struct writer *w, node_id id)
{
    assert(node_is_valid(id));
    *w->at++ = id;
}

static void put_bytes(struct writer *w, struct bytes bytes)
{
    put_u32(w, (uint32_t)bytes.size);
    if (w->head_only) {
        w->left_out_at = w->at;
        w->left_out_size = bytes.size;
    } else if (bytes.size > 0) {
        memcpy(w->at, bytes.data, bytes.size);
        w->at += bytes.size;
    }
}

static void put_text(struct writer *w, const char *text)
{
    size_t length = strnlen(text, MESSAGE_TEXT_SIZE - 1);

    *w->at++ = (uint8_t)length;
    memcpy(w->at, text, length);
    w->at += length;
}

static void put_members(struct writer *w, const struct members *members)
{
    assert((members->set & ~MEMBERS_ALL) == 0);
    put_u32(w, members->set);
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++) {
        if (members->set >> i & 1u)
            put_u64(w, members->incarnation[i]);
    }
}

static void put_lives(struct writer *w, const struct lives *lives)
{
    put_u8(w, lives->count, 0, LIVES_MAX);
    for (uint32_t i = 0; i < lives->count; i++)
        put_u64(w, lives->incarnation[i]);
}

#define PUT_u8(name)      put_u8(w, m->name, MESSAGE_U8_MIN_##name, MESSAGE_U8_MAX_##name);
#define PUT_u32(name)     put_u32(w, m->name);
#define PUT_u64(name)     put_u64(w, m->name);
#define PUT_node(name)    put_node(w, m->name);
#define PUT_bytes(name)   put_bytes(w, m->name);
#define PUT_text(name)    put_text(w, m->name);
#define PUT_members(name) put_members(w, &m->name);
#define PUT_lives(name)   put_lives(w, &m->name);
#define PUT(kind, name)   PUT_##kind(name)

#define X(number, name, NAME)                                                  \
    static void write_##name(struct writer *w, const struct message_##name *m) \
    {                                                                          \
        NAME##_FIELDS(PUT)                                                     \
    }
MESSAGES(X)
#undef X

/* Bytes that a field takes at most, without the content of a `bytes` field. */
#define ROOM_u8(name)      +1u
#define ROOM_u32(name)     +4u
#define ROOM_u64(name)     +8u
#define ROOM_node(name)    +1u
#define ROOM_bytes(name)   +SIZE_BYTES
#define ROOM_text(name)    +MESSAGE_TEXT_SIZE
#define ROOM_members(name) +4u + 8u * SERVER_COUNT_MAX
#define ROOM_lives(name)   +1u + 8u * LIVES_MAX
#define ROOM(kind, name)   ROOM_##kind(name)

enum fields_room {
#define X(number, name, NAME) ROOM_FOR_##NAME = 0u NAME##_FIELDS(ROOM),
    MESSAGES(X)
#undef X
};

/* That content. */
#define CONTENT_u8(name)
#define CONTENT_u32(name)
#define CONTENT_u64(name)
#define CONTENT_node(name)
#define CONTENT_bytes(name) +m->name.size
#define CONTENT_text(name)
#define CONTENT_members(name)
#define CONTENT_lives(name)
#define CONTENT(kind, name) CONTENT_##kind(name)

#define X(number, name, NAME)                                       \
    static size_t content_of_##name(const struct message_##name *m) \
    {                                                               \
        (void)m;                                                    \
        return (size_t)0 NAME##_FIELDS(CONTENT);                    \
    }
MESSAGES(X)
#undef X

static size_t room_for(const struct message *message, bool head_only)
{
    switch (message->type) {
#define X(number, name, NAME) \
    case MESSAGE_##NAME:      \
        return ROOM_FOR_##NAME + (head_only ? 0 : content_of_##name(&message->name));
        MESSAGES(X)
#undef X
    }
    return 0;
}

static void write_fields(struct writer *w, const struct message *message)
{
    switch (message->type) {
#define X(number, name, NAME) \
    case MESSAGE_##NAME: write_##name(w, &message->name); return;
        MESSAGES(X)
#undef X
    }
    assert(false); /* a type that is not in the table */
}

static void encode(const struct message *message, bool head_only, struct buffer *out)
{
    size_t room = SIZE_BYTES + TYPE_BYTES + room_for(message, head_only);
    uint8_t *frame = buffer_reserve(out, room);
    struct writer w = { .at = frame + SIZE_BYTES, .head_only = head_only };
    size_t size;

    assert((uint32_t)message->type < MESSAGE_LOCAL_MIN);
    w.at = write_le(w.at, (uint64_t)message->type, TYPE_BYTES);
    write_fields(&w, message);
    assert(!head_only || w.left_out_at == w.at);

    size = (size_t)(w.at - frame) - SIZE_BYTES + w.left_out_size;
    assert(size <= MESSAGE_BYTES_MAX);
    write_le(frame, size, SIZE_BYTES);
    buffer_commit(out, (size_t)(w.at - frame));
}

void message_encode(const struct message *message, struct buffer *out)
{
    encode(message, false, out);
}

void message_encode_head(const struct message *message, struct buffer *out)
{
    encode(message, true, out);
}

/* Decoding: one read_<message>() for each, put together from one take_<kind>() per field. What
 * is read may come from anybody, so each of them looks before it reads. */

struct reader {
    const uint8_t *at;
    size_t left;
    const char *message; /* its name, for errors */
    struct error *error;
};

static bool refuse(const struct reader *r, const char *field, const char *reason)
{
    error_set(r->error, ERROR_PROTOCOL, "message %s, field %s: %s", r->message, field, reason);
    return false;
}

/* The next count bytes, NULL when there are fewer. */
static const uint8_t *take(struct reader *r, const char *field, size_t count)
{
    const uint8_t *at = r->at;

    if (r->left < count) {
        error_set(r->error, ERROR_PROTOCOL,
                  "message %s, field %s: %zu bytes expected, the message has %zu left", r->message,
                  field, count, r->left);
        return NULL;
    }
    r->at += count;
    r->left -= count;
    return at;
}

static bool take_le(struct reader *r, const char *field, uint32_t count, uint64_t *value)
{
    const uint8_t *at = take(r, field, count);

    *value = 0;
    for (uint32_t i = 0; at && i < count; i++)
        *value |= (uint64_t)at[i] << (8 * i);
    return at != NULL;
}

static bool take_u8(struct reader *r, const char *field, uint8_t min, uint8_t max, uint8_t *value)
{
    const uint8_t *at = take(r, field, 1);

    if (!at)
        return false;
    if (*at < min || *at > max) {
        error_set(r->error, ERROR_PROTOCOL, "message %s, field %s: %u is not %u..%u", r->message,
                  field, *at, min, max);
        return false;
    }
    *value = *at;
    return true;
}

static bool take_u32(struct reader *r, const char *field, uint32_t *value)
{
    uint64_t wide;
    bool taken = take_le(r, field, 4, &wide);

    *value = (uint32_t)wide;
    return taken;
}

static bool take_u64(struct reader *r, const char *field, uint64_t *value)
{
    return take_le(r, field, 8, value);
}

static bool take_node(struct reader *r, const char *field, node_id *value)
{
    const uint8_t *at = take(r, field, 1);

    if (!at)
        return false;
    if (!node_is_valid(*at)) {
        error_set(r->error, ERROR_PROTOCOL, "message %s, field %s: %u is not a node", r->message,
                  field, *at);
        return false;
    }
    *value = *at;
    return true;
}

static bool take_bytes(struct reader *r, const char *field, struct bytes *value)
{
    uint32_t size;

    if (!take_u32(r, field, &size))
        return false;
    *value = bytes_of(take(r, field, size), size);
    return value->data != NULL;
}

/* A text ends up in log lines, so it holds no end of a string before its own. */
static bool take_text(struct reader *r, const char *field, char *value)
{
    uint64_t length;
    const uint8_t *at;

    if (!take_le(r, field, 1, &length))
        return false;
    if (length >= MESSAGE_TEXT_SIZE) {
        error_set(r->error, ERROR_PROTOCOL, "message %s, field %s: %u bytes of text, at most %u",
                  r->message, field, (unsigned)length, MESSAGE_TEXT_SIZE - 1);
        return false;
    }
    at = take(r, field, length);
    if (!at)
        return false;
    if (memchr(at, 0, length))
        return refuse(r, field, "a text without a zero byte expected");
    memcpy(value, at, length);
    value[length] = 0;
    return true;
}

static bool take_members(struct reader *r, const char *field, struct members *value)
{
    if (!take_u32(r, field, &value->set))
        return false;
    if ((value->set & ~MEMBERS_ALL) != 0)
        return refuse(r, field, "a set of servers expected, there are no such servers");
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++) {
        if ((value->set >> i & 1u) && !take_u64(r, field, &value->incarnation[i]))
            return false;
    }
    return true;
}

static bool take_lives(struct reader *r, const char *field, struct lives *value)
{
    if (!take_u8(r, field, 0, LIVES_MAX, &value->count))
        return false;
    for (uint32_t i = 0; i < value->count; i++) {
        if (!take_u64(r, field, &value->incarnation[i]))
            return false;
    }
    return true;
}

#define TAKE_u8(name)      &&take_u8(r, #name, MESSAGE_U8_MIN_##name, MESSAGE_U8_MAX_##name, &m->name)
#define TAKE_u32(name)     &&take_u32(r, #name, &m->name)
#define TAKE_u64(name)     &&take_u64(r, #name, &m->name)
#define TAKE_node(name)    &&take_node(r, #name, &m->name)
#define TAKE_bytes(name)   &&take_bytes(r, #name, &m->name)
#define TAKE_text(name)    &&take_text(r, #name, m->name)
#define TAKE_members(name) &&take_members(r, #name, &m->name)
#define TAKE_lives(name)   &&take_lives(r, #name, &m->name)
#define TAKE(kind, name)   TAKE_##kind(name)

#define X(number, name, NAME)                                           \
    static bool read_##name(struct reader *r, struct message_##name *m) \
    {                                                                   \
        return true NAME##_FIELDS(TAKE);                                \
    }
MESSAGES(X)
#undef X

/* False when there is no such type. */
static bool read_fields(struct reader *r, struct message *message, bool *whole)
{
    switch (message->type) {
#define X(number, name, NAME)                    \
    case MESSAGE_##NAME:                         \
        r->message = #name;                      \
        *whole = read_##name(r, &message->name); \
        return true;
        MESSAGES(X)
#undef X
    }
    return false;
}

enum error_code message_decode(struct bytes payload, struct message *message, struct error *error)
{
    struct reader r = { .at = payload.data, .left = payload.size, .message = "of unknown type" };
    uint64_t type;
    bool whole = false;

    r.error = error;
    if (!take_le(&r, "type", TYPE_BYTES, &type))
        return ERROR_PROTOCOL;
    if (type >= MESSAGE_LOCAL_MIN)
        return error_set(error, ERROR_PROTOCOL, "message type %u never crosses a link",
                         (unsigned)type);
    memset(message, 0, sizeof *message);
    message->type = (enum message_type)type;
    if (!read_fields(&r, message, &whole))
        return error_set(error, ERROR_PROTOCOL, "message type %u is not in the protocol",
                         (unsigned)type);
    if (!whole)
        return ERROR_PROTOCOL; /* the field that was refused has set the error */
    if (r.left > 0)
        return error_set(error, ERROR_PROTOCOL, "message %s: %zu bytes after its last field",
                         r.message, r.left);
    return ERROR_NONE;
}

/* Formatting. */

static void format_u64(struct buffer *out, const char *field, uint64_t value)
{
    buffer_format(out, " %s=%llu", field, (unsigned long long)value);
}

static void format_node(struct buffer *out, const char *field, node_id value)
{
    buffer_format(out, " %s=%s", field, node_name(value));
}

static void format_bytes(struct buffer *out, const char *field, struct bytes value)
{
    buffer_format(out, " %s=<%zu bytes>", field, value.size);
}

/* What would end the quotes or the line is shown in hexadecimal. */
static void format_text(struct buffer *out, const char *field, const char *value)
{
    buffer_format(out, " %s=\"", field);
    for (; *value; value++) {
        if ((uint8_t)*value < ' ' || *value == '"' || *value == '\\' || *value == 0x7f)
            buffer_format(out, "\\x%02x", (unsigned)(uint8_t)*value);
        else
            buffer_append(out, value, 1);
    }
    buffer_append_string(out, "\"");
}

static void format_members(struct buffer *out, const char *field, const struct members *value)
{
    const char *separator = "";

    buffer_format(out, " %s=%s", field, value->set ? "" : "none");
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++) {
        if (!(value->set >> i & 1u))
            continue;
        buffer_format(out, "%s%s", separator, node_name(NODE_SERVER(i)));
        separator = ",";
    }
}

static void format_lives(struct buffer *out, const char *field, const struct lives *value)
{
    buffer_format(out, " %s=%s", field, value->count ? "" : "none");
    for (uint32_t i = 0; i < value->count; i++)
        buffer_format(out, "%s%llu", i ? "," : "", (unsigned long long)value->incarnation[i]);
}

#define FORMAT_u8(name)      format_u64(out, #name, m->name);
#define FORMAT_u32(name)     format_u64(out, #name, m->name);
#define FORMAT_u64(name)     format_u64(out, #name, m->name);
#define FORMAT_node(name)    format_node(out, #name, m->name);
#define FORMAT_bytes(name)   format_bytes(out, #name, m->name);
#define FORMAT_text(name)    format_text(out, #name, m->name);
#define FORMAT_members(name) format_members(out, #name, &m->name);
#define FORMAT_lives(name)   format_lives(out, #name, &m->name);
#define FORMAT(kind, name)   FORMAT_##kind(name)

#define X(number, name, NAME)                                                     \
    static void format_##name(const struct message_##name *m, struct buffer *out) \
    {                                                                             \
        NAME##_FIELDS(FORMAT)                                                     \
    }
MESSAGES(X)
#undef X

void message_format(const struct message *message, struct buffer *out)
{
    buffer_append_string(out, message_name(message->type));
    switch (message->type) {
#define X(number, name, NAME) \
    case MESSAGE_##NAME: format_##name(&message->name, out); return;
        MESSAGES(X)
#undef X
    }
}
