/* Reading commands: however the bytes are cut, the commands are the same, and bounded. */
#include "common/resp.h"
#include "tests/fuzz/fuzz.h"

#define ENDED "broken"

/* Appends every argument read, and how it ended. */
static void note(struct buffer *out, enum resp_status status,
                 const struct resp_command_reader *reader, const struct error *error)
{
    if (status == RESP_BROKEN) {
        buffer_format(out, ENDED " %s", error->text);
        return;
    }
    buffer_format(out, "%u:", reader->argc);
    for (uint32_t i = 0; i < reader->argc; i++) {
        buffer_format(out, "%zu ", reader->argv[i].size);
        buffer_append(out, reader->argv[i].data, reader->argv[i].size);
    }
}

/* Reads all, at most `step` bytes more at a time, each time at another address. */
static void read_all(struct bytes input, size_t step, struct buffer *out)
{
    struct resp_command_reader reader = { 0 };
    struct buffer seen = { 0 };
    struct error error;

    while (input.size > 0) {
        struct bytes more = input_bytes(&input, step);
        enum resp_status status = RESP_READY;

        buffer_append(&seen, more.data, more.size);
        while (status == RESP_READY && buffer_size(&seen) > 0) {
            size_t used = 0;

            status = resp_read_command(&reader, buffer_bytes(&seen), &used, &error);
            if (status != RESP_PARTIAL)
                note(out, status, &reader, &error);
            assert(used <= buffer_size(&seen) && (status != RESP_READY || used > 0));
            if (status == RESP_READY)
                buffer_consume(&seen, used);
        }
        if (status == RESP_BROKEN)
            break;
    }
    buffer_free(&seen);
    resp_command_reader_free(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = bytes_of(data, size);
    size_t step = 1u + input_u8(&input) % 64u;
    struct buffer whole = { 0 }, cut = { 0 };

    (void)buffer_reserve(&whole, 1);
    (void)buffer_reserve(&cut, 1);
    read_all(input, input.size + 1, &whole);
    read_all(input, step, &cut);
    assert(buffer_size(&whole) == buffer_size(&cut));
    assert(memcmp(whole.data, cut.data, buffer_size(&cut)) == 0);
    buffer_free(&whole);
    buffer_free(&cut);
    return 0;
}
