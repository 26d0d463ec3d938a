#include "tests/linearizability/record.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#define READ_SIZE     (1u << 16)
#define COUNT_FIRST   1024u
#define KEYS_FIRST    64u
#define SHOWN_MAX     80u /* bytes of a field in a message */
#define NUMBER_DIGITS 20u /* of a 64-bit number with its sign */

enum field { CLIENT, KEY, COMMAND, ARGUMENT, RESULT, INVOKED, RETURNED };

struct record_key {
    struct bytes name; /* no data: a free slot */
    uint32_t number;
    bool added_to, appended_to;
};

static const struct {
    const char *name;
    enum linear_kind kind;
} COMMANDS[] = {
    { "get", LINEAR_READ },
    { "set", LINEAR_WRITE },
    { "setnx", LINEAR_WRITE_IF_ABSENT },
    { "setxx", LINEAR_WRITE_IF_PRESENT },
    { "getset", LINEAR_SWAP },
    { "del", LINEAR_DELETE },
    { "append", LINEAR_APPEND },
    { "incrby", LINEAR_ADD },
};

/* What is being read: for messages. */
struct place {
    const char *path;
    uint32_t line;
    struct error *error;
};

/* What the field is not; of it as much as is of use, and nothing that a terminal would obey. */
static bool wrong(const struct place *p, struct bytes field, const char *expected)
{
    char shown[SHOWN_MAX + 1] = "";

    for (size_t i = 0; i < field.size && i < SHOWN_MAX; i++)
        shown[i] = field.data[i] < ' ' || field.data[i] >= 127 ? '?' : (char)field.data[i];
    (void)error_set(p->error, ERROR_CONFIG, "%s:%u: '%s' is not %s", p->path, p->line, shown,
                    expected);
    return false;
}

/* ------------------------------------------------------------------ the file */

static enum error_code content_read(struct buffer *content, int fd, const char *path,
                                    struct error *error)
{
    ssize_t size;

    do {
        size = read(fd, buffer_reserve(content, READ_SIZE), READ_SIZE);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            return error_system(error, "cannot read %s", path);
        buffer_commit(content, (size_t)size);
        if (buffer_size(content) > RECORD_BYTES_MAX)
            return error_set(error, ERROR_LIMIT, "%s: more than %llu bytes", path,
                             RECORD_BYTES_MAX);
    } while (size != 0);
    return ERROR_NONE;
}

static enum error_code file_read(struct buffer *content, const char *path, struct error *error)
{
    bool standard = strcmp(path, "-") == 0;
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    enum error_code code;

    if (fd < 0)
        return error_system(error, "cannot open %s", path);
    code = content_read(content, fd, path, error);
    if (!standard)
        (void)close(fd);
    return code;
}

/* ------------------------------------------------------------------ keys */

static struct record_key *key_slot(struct record_key *keys, uint32_t capacity, struct bytes name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

    for (size_t i = 0; i < name.size; i++)
        hash = (hash ^ name.data[i]) * UINT64_C(0x100000001b3);
    for (uint32_t i = (uint32_t)(hash >> 32) % capacity;; i = (i + 1) % capacity)
        if (!keys[i].name.data || bytes_equal(keys[i].name, name))
            return &keys[i];
}

static void keys_grow(struct record *r)
{
    uint32_t capacity = r->key_capacity ? 2 * r->key_capacity : KEYS_FIRST;
    struct record_key *keys = memory_zeroed(capacity, sizeof *keys);

    for (uint32_t i = 0; i < r->key_capacity; i++)
        if (r->keys[i].name.data)
            *key_slot(keys, capacity, r->keys[i].name) = r->keys[i];
    free(r->keys);
    r->keys = keys;
    r->key_capacity = capacity;
}

static struct record_key *key_of(struct record *r, struct bytes name)
{
    struct record_key *key;

    if (2 * r->key_count >= r->key_capacity)
        keys_grow(r);
    key = key_slot(r->keys, r->key_capacity, name);
    if (!key->name.data)
        *key = (struct record_key){ .name = name, .number = r->key_count++ };
    return key;
}

struct bytes record_key_name(const struct record *r, uint32_t key)
{
    assert(key < r->key_count);
    for (uint32_t i = 0; i < r->key_capacity; i++)
        if (r->keys[i].name.data && r->keys[i].number == key)
            return r->keys[i].name;
    return (struct bytes){ 0 };
}

/* ------------------------------------------------------------------ fields */

static bool equals(struct bytes field, const char *text)
{
    return bytes_equal(field, bytes_string(text));
}

/* A field that may hold any bytes. The result lies in *texts, which has room for it: what is read
 * is never longer than how it is written. */
static bool field_text(const struct place *p, struct bytes field, struct buffer *texts,
                       struct bytes *text)
{
    size_t start = buffer_size(texts);
    char digits[3] = "", *end;

    for (size_t i = 0; i < field.size; i++) {
        uint8_t byte = field.data[i];

        if (byte < ' ' || byte >= 127)
            return wrong(p, field, "a text without control characters");
        if (byte == '%' && field.size > 1) {
            if (field.size - i < 3)
                return wrong(p, field, "a text: % needs two hexadecimal digits");
            memcpy(digits, field.data + i + 1, 2);
            byte = (uint8_t)strtoul(digits, &end, 16);
            if (end != digits + 2)
                return wrong(p, field, "a text: % needs two hexadecimal digits");
            i += 2;
        }
        if (field.size > 1 || byte != '%')
            buffer_append(texts, &byte, 1);
    }
    *text = bytes_of(buffer_head(texts) + start, buffer_size(texts) - start);
    return true;
}

static bool field_number(const struct place *p, struct bytes field, int64_t *number)
{
    char digits[NUMBER_DIGITS + 1] = "", *end;

    if (field.size < 1 || field.size > NUMBER_DIGITS)
        return wrong(p, field, "a whole number of 64 bits");
    memcpy(digits, field.data, field.size);
    errno = 0;
    *number = strtoll(digits, &end, 10);
    if (errno || *end || end == digits || digits[0] == '+' || digits[0] == ' ')
        return wrong(p, field, "a whole number of 64 bits");
    return true;
}

static bool field_time(const struct place *p, struct bytes field, uint64_t *ns)
{
    int64_t number = 0;

    if (!field_number(p, field, &number))
        return false;
    if (number < 0)
        return wrong(p, field, "a time of 0 ns or later");
    *ns = (uint64_t)number;
    return true;
}

static bool field_client(const struct place *p, struct bytes field, uint32_t *client)
{
    int64_t number = 0;

    if (!field_number(p, field, &number))
        return false;
    if (number < 0 || number > UINT32_MAX)
        return wrong(p, field, "a client's number, from 0 to 4294967295");
    *client = (uint32_t)number;
    return true;
}

static bool field_value(const struct place *p, struct bytes field, bool numeric,
                        struct buffer *texts, struct linear_value *value)
{
    struct bytes text = { 0 };
    int64_t number = 0;

    if (numeric) {
        if (!field_number(p, field, &number))
            return false;
        *value = linear_number(number);
        return true;
    }
    if (equals(field, "-"))
        return wrong(p, field, "a value");
    if (!field_text(p, field, texts, &text))
        return false;
    *value = linear_text(text);
    return true;
}

static bool has_argument(enum linear_kind kind)
{
    return kind != LINEAR_READ && kind != LINEAR_DELETE;
}

static bool field_result(const struct place *p, struct bytes field, bool numeric,
                         struct buffer *texts, struct linear_operation *o)
{
    size_t start = buffer_size(texts);

    o->result = LINEAR_ABSENT;
    if (o->kind == LINEAR_WRITE || o->returned_ns == LINEAR_UNKNOWN)
        return equals(field, "-") ||
               wrong(p, field, "`-`: a set, or what has not returned, has no result");
    if (o->kind != LINEAR_READ && o->kind != LINEAR_SWAP)
        return field_value(p, field, true, texts, &o->result);
    if (equals(field, "(nil)"))
        return true;
    if (!field_value(p, field, numeric, texts, &o->result))
        return false;
    o->text = bytes_of(buffer_head(texts) + start, buffer_size(texts) - start);
    return true;
}

/* ------------------------------------------------------------------ lines */

static bool line_split(const struct place *p, struct bytes line, struct bytes *fields)
{
    size_t count = 0, start = 0;

    for (size_t i = 0; i <= line.size; i++) {
        if (i < line.size && line.data[i] != ' ')
            continue;
        if (i > start && count < RECORD_FIELDS)
            fields[count] = bytes_of(line.data + start, i - start);
        count += i > start;
        start = i + 1;
    }
    return count == RECORD_FIELDS ||
           wrong(p, line, "CLIENT KEY COMMAND ARGUMENT RESULT INVOKED_NS RETURNED_NS");
}

static bool command_kind(const struct place *p, struct bytes field, enum linear_kind *kind)
{
    for (size_t i = 0; i < sizeof COMMANDS / sizeof COMMANDS[0]; i++)
        if (equals(field, COMMANDS[i].name)) {
            *kind = COMMANDS[i].kind;
            return true;
        }
    return wrong(p, field, "get, set, setnx, setxx, getset, del, append or incrby");
}

/* What does not depend on how the key is used elsewhere. */
static bool line_begin(struct record *r, const struct place *p, struct bytes line,
                       struct linear_operation *o)
{
    struct bytes fields[RECORD_FIELDS] = { { 0 } };
    struct record_key *key;

    if (!line_split(p, line, fields) || !field_client(p, fields[CLIENT], &o->client) ||
        !command_kind(p, fields[COMMAND], &o->kind) ||
        !field_time(p, fields[INVOKED], &o->invoked_ns))
        return false;
    o->returned_ns = LINEAR_UNKNOWN;
    if (!equals(fields[RETURNED], "unknown") && !field_time(p, fields[RETURNED], &o->returned_ns))
        return false;
    if (o->returned_ns < o->invoked_ns)
        return wrong(p, fields[RETURNED], "at or after the invocation");
    key = key_of(r, fields[KEY]);
    key->added_to |= o->kind == LINEAR_ADD;
    key->appended_to |= o->kind == LINEAR_APPEND;
    if (key->added_to && key->appended_to)
        return wrong(p, fields[KEY], "a key of one kind: append and incrby do not go together");
    o->key = key->number;
    return true;
}

static bool line_end(struct record *r, const struct place *p, struct bytes line,
                     struct buffer *texts, struct linear_operation *o)
{
    struct bytes fields[RECORD_FIELDS] = { { 0 } };
    bool numeric;

    if (!line_split(p, line, fields))
        return false;
    numeric = key_of(r, fields[KEY])->added_to;
    if (!has_argument(o->kind) && !equals(fields[ARGUMENT], "-"))
        return wrong(p, fields[ARGUMENT], "`-`: get and del have no argument");
    if (has_argument(o->kind) && !field_value(p, fields[ARGUMENT], numeric, texts, &o->argument))
        return false;
    return field_result(p, fields[RESULT], numeric, texts, o);
}

static void operation_add(struct record *r, uint32_t *capacity, struct bytes line, uint32_t number)
{
    if (r->count == *capacity) {
        *capacity = *capacity ? 2 * *capacity : COUNT_FIRST;
        r->operations = memory_grown(r->operations, *capacity * sizeof *r->operations);
        r->lines = memory_grown(r->lines, *capacity * sizeof *r->lines);
    }
    r->lines[r->count] = (struct record_line){ line, number };
    r->operations[r->count++] = (struct linear_operation){ 0 };
}

/* First pass: finds the lines, and how each key is used. */
static bool lines_begin(struct record *r, struct place *p)
{
    struct bytes rest = buffer_bytes(&r->content);
    uint32_t capacity = 0;

    while (rest.data && rest.size) {
        const uint8_t *newline = memchr(rest.data, '\n', rest.size);
        size_t size = newline ? (size_t)(newline - rest.data) : rest.size;
        struct bytes line = bytes_of(rest.data, size);

        p->line++;
        rest = bytes_of(rest.data + size + (newline != NULL), rest.size - size - (newline != NULL));
        if (size == 0 || line.data[0] == '#')
            continue;
        if (r->count == LINEAR_COUNT_MAX) {
            (void)error_set(p->error, ERROR_LIMIT, "%s: more than %u operations", p->path,
                            LINEAR_COUNT_MAX);
            return false;
        }
        operation_add(r, &capacity, line, p->line);
        if (!line_begin(r, p, line, &r->operations[r->count - 1]))
            return false;
    }
    return true;
}

enum error_code record_read(struct record *r, const char *path, struct error *error)
{
    struct place place = { .path = path, .error = error };
    enum error_code code;
    bool right;

    *r = (struct record){ 0 };
    code = file_read(&r->content, path, error);
    if (code != ERROR_NONE)
        return code;
    right = lines_begin(r, &place);
    (void)buffer_reserve(&r->texts, buffer_size(&r->content)); /* so that no text moves */
    for (uint32_t i = 0; i < r->count && right; i++) {
        place.line = r->lines[i].number;
        right = line_end(r, &place, r->lines[i].text, &r->texts, &r->operations[i]);
    }
    return right ? ERROR_NONE : error->code;
}

void record_free(struct record *r)
{
    buffer_free(&r->content);
    buffer_free(&r->texts);
    free(r->operations);
    free(r->lines);
    free(r->keys);
}
