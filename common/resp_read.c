/* Reading commands. The errors and what is tolerated are those of Redis 7.0, networking.c
 * (processMultibulkBuffer, processInlineBuffer) and sds.c (sdssplitargs). */
#include "common/resp.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>

#define ARGUMENT_CAPACITY_MIN  8u
#define ARGUMENT_CAPACITY_KEPT 1024u /* by a reader between commands: 24 KiB */
#define INLINE_BYTES_KEPT      4096u
#define INTEGER_TEXT_MAX       20u /* "-9223372036854775808" */

bool resp_is(struct bytes argument, const char *lower)
{
    for (size_t i = 0; i < argument.size; i++) {
        uint8_t c = argument.data[i];

        if (c >= 'A' && c <= 'Z')
            c = (uint8_t)(c + ('a' - 'A'));
        if (c != (uint8_t)lower[i] || c == 0)
            return false;
    }
    return lower[argument.size] == 0;
}

bool resp_integer(struct bytes argument, int64_t *value)
{
    bool negative = argument.size > 0 && argument.data[0] == '-';
    size_t at = negative ? 1 : 0;
    uint64_t limit = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    uint64_t sum = 0;

    if (at == argument.size || argument.size > INTEGER_TEXT_MAX)
        return false;
    if (argument.data[at] == '0' && argument.size > 1)
        return false; /* neither "-0" nor "01" */
    for (; at < argument.size; at++) {
        uint32_t digit = (uint32_t)argument.data[at] - '0';

        if (digit > 9 || sum > (limit - digit) / 10)
            return false;
        sum = sum * 10 + digit;
    }
    /* Negated as unsigned: the lowest number has no positive counterpart. */
    *value = (int64_t)(negative ? 0 - sum : sum);
    return true;
}

void resp_command_reader_free(struct resp_command_reader *reader)
{
    free(reader->argv);
    free(reader->offsets);
    buffer_free(&reader->inline_words);
    *reader = (struct resp_command_reader){ 0 };
}

static enum resp_status broken(struct error *error, const char *reason)
{
    error_set(error, ERROR_PROTOCOL, "Protocol error: %s", reason);
    return RESP_BROKEN;
}

static void begin_command(struct resp_command_reader *r)
{
    r->argc = 0;
    if (r->capacity <= ARGUMENT_CAPACITY_KEPT)
        return;
    free(r->argv);
    free(r->offsets);
    r->argv = NULL;
    r->offsets = NULL;
    r->capacity = 0;
}

/* The reader is ready for the next command; argc and argv stay. */
static enum resp_status end_command(struct resp_command_reader *r, size_t size, size_t *used)
{
    r->expected = 0;
    r->place = 0;
    r->scanned = 0;
    r->wanted = 0;
    *used = size;
    return RESP_READY;
}

static void add_argument(struct resp_command_reader *r, size_t offset, size_t size)
{
    if (r->argc == r->capacity) {
        r->capacity = r->capacity ? 2 * r->capacity : ARGUMENT_CAPACITY_MIN;
        r->argv = memory_grown(r->argv, r->capacity * sizeof *r->argv);
        r->offsets = memory_grown(r->offsets, r->capacity * sizeof *r->offsets);
    }
    r->offsets[r->argc] = offset;
    r->argv[r->argc].size = size;
    r->argc++;
}

static void point_arguments(struct resp_command_reader *r, const uint8_t *base)
{
    for (uint32_t i = 0; i < r->argc; i++)
        r->argv[i].data = base + r->offsets[i];
}

/* Looks for the end of the line at the reader's place, from where it left off. As in Redis the
 * byte after a carriage return is not looked at. */
static enum resp_status find_line(struct resp_command_reader *r, struct bytes input, uint8_t end,
                                  size_t *length)
{
    const uint8_t *line = input.data + r->place;
    size_t left = input.size - r->place;
    size_t seen = left < CLIENT_INLINE_BYTES_MAX ? left : CLIENT_INLINE_BYTES_MAX;
    const uint8_t *found = memchr(line + r->scanned, end, seen - r->scanned);

    if (!found) {
        r->scanned = seen;
        return left > CLIENT_INLINE_BYTES_MAX ? RESP_BROKEN : RESP_PARTIAL;
    }
    *length = (size_t)(found - line);
    if (end == '\r' && *length + 2 > left) {
        r->scanned = *length;
        return RESP_PARTIAL;
    }
    r->scanned = 0;
    return RESP_READY;
}

static enum resp_status read_count(struct resp_command_reader *r, struct bytes input,
                                   struct error *error)
{
    size_t length;
    int64_t count;
    enum resp_status status = find_line(r, input, '\r', &length);

    if (status == RESP_BROKEN)
        return broken(error, "too big mbulk count string");
    if (status == RESP_PARTIAL)
        return RESP_PARTIAL;
    if (!resp_integer(bytes_of(input.data + 1, length - 1), &count) ||
        count > CLIENT_ARGUMENT_COUNT_MAX)
        return broken(error, "invalid multibulk length");
    r->expected = count > 0 ? (uint32_t)count : 0;
    r->place = length + 2;
    return RESP_READY;
}

static enum resp_status read_bulk(struct resp_command_reader *r, struct bytes input,
                                  struct error *error)
{
    const uint8_t *line = input.data + r->place;
    size_t length, start;
    int64_t size;
    enum resp_status status;

    if (r->place == input.size)
        return RESP_PARTIAL;
    if (line[0] != '$') {
        error_set(error, ERROR_PROTOCOL, "Protocol error: expected '$', got '%c'",
                  isprint(line[0]) ? line[0] : '?');
        return RESP_BROKEN;
    }
    status = find_line(r, input, '\r', &length);
    if (status == RESP_BROKEN)
        return broken(error, "too big bulk count string");
    if (status == RESP_PARTIAL)
        return RESP_PARTIAL;
    if (!resp_integer(bytes_of(line + 1, length - 1), &size) || size < 0 ||
        size > CLIENT_BULK_BYTES_MAX)
        return broken(error, "invalid bulk length");
    start = r->place + length + 2;
    r->wanted = start + (size_t)size + 2;
    if (r->wanted > REQUEST_BYTES_MAX)
        return broken(error, "too big request");
    if (r->wanted > input.size)
        return RESP_PARTIAL;
    add_argument(r, start, (size_t)size);
    r->place = r->wanted;
    r->wanted = 0;
    return RESP_READY;
}

/* Inline commands: words with quotes, as one types them. */

struct words {
    const uint8_t *at, *end; /* of the line; a zero byte ends it, too */
    struct buffer *out;      /* has room for the whole line */
};

static uint8_t peek(const struct words *w, size_t ahead)
{
    return (size_t)(w->end - w->at) > ahead ? w->at[ahead] : 0;
}

static void put(struct words *w, uint8_t byte)
{
    buffer_append(w->out, &byte, 1);
}

static uint32_t hex_value(uint8_t digit)
{
    return (uint32_t)(isdigit(digit) ? digit - '0' : tolower(digit) - 'a' + 10);
}

/* At a backslash within double quotes. */
static void read_escape(struct words *w)
{
    static const char letters[] = "nrtba";
    static const char meanings[] = "\n\r\t\b\a";
    const char *letter;

    if (peek(w, 1) == 'x' && isxdigit(peek(w, 2)) && isxdigit(peek(w, 3))) {
        put(w, (uint8_t)(hex_value(peek(w, 2)) << 4 | hex_value(peek(w, 3))));
        w->at += 4;
        return;
    }
    letter = strchr(letters, peek(w, 1));
    put(w, letter ? (uint8_t)meanings[letter - letters] : peek(w, 1));
    w->at += 2;
}

/* From an opening quote to behind the closing one, which must end the word. */
static bool read_quoted(struct words *w, uint8_t quote)
{
    for (w->at++; peek(w, 0) != quote;) {
        if (peek(w, 0) == 0)
            return false;
        if (peek(w, 0) == '\\' && quote == '"' && peek(w, 1) != 0) {
            read_escape(w);
        } else if (peek(w, 0) == '\\' && quote == '\'' && peek(w, 1) == '\'') {
            put(w, '\'');
            w->at += 2;
        } else {
            put(w, *w->at++);
        }
    }
    w->at++;
    return peek(w, 0) == 0 || isspace(peek(w, 0));
}

static bool read_word(struct words *w)
{
    for (;;) {
        switch (peek(w, 0)) {
        case 0:
        case ' ':
        case '\n':
        case '\r':
        case '\t': return true;
        case '"':
        case '\'': return read_quoted(w, peek(w, 0));
        default: put(w, *w->at++);
        }
    }
}

static bool read_words(struct resp_command_reader *r, struct bytes line)
{
    struct words w = { line.data, line.data + line.size, &r->inline_words };

    buffer_clear(&r->inline_words, INLINE_BYTES_KEPT);
    buffer_reserve(&r->inline_words, line.size);
    for (;;) {
        size_t start = buffer_size(&r->inline_words);

        while (isspace(peek(&w, 0)))
            w.at++;
        if (peek(&w, 0) == 0)
            return true;
        if (!read_word(&w))
            return false;
        add_argument(r, start, buffer_size(&r->inline_words) - start);
    }
}

static enum resp_status read_inline(struct resp_command_reader *r, struct bytes input, size_t *used,
                                    struct error *error)
{
    size_t length;
    enum resp_status status = find_line(r, input, '\n', &length);

    if (status == RESP_BROKEN)
        return broken(error, "too big inline request");
    if (status == RESP_PARTIAL)
        return RESP_PARTIAL;
    if (!read_words(r, bytes_of(input.data, length)))
        return broken(error, "unbalanced quotes in request");
    point_arguments(r, buffer_head(&r->inline_words));
    return end_command(r, length + 1, used);
}

enum resp_status resp_read_command(struct resp_command_reader *reader, struct bytes input,
                                   size_t *used, struct error *error)
{
    enum resp_status status;

    assert(input.size >= reader->place + reader->scanned);
    if (reader->expected == 0)
        begin_command(reader);
    if (input.size == 0 || input.size < reader->wanted)
        return RESP_PARTIAL;
    if (reader->expected == 0) {
        if (input.data[0] != '*')
            return read_inline(reader, input, used, error);
        status = read_count(reader, input, error);
        if (status != RESP_READY)
            return status;
    }
    while (reader->argc < reader->expected) {
        status = read_bulk(reader, input, error);
        if (status != RESP_READY)
            return status;
    }
    point_arguments(reader, input.data);
    return end_command(reader, reader->place, used);
}
