/* Decoding messages: what is let through is of its ranges, and encodes to the very same bytes. */
#include "common/messages.h"
#include "tests/fuzz/fuzz.h"

#define FRAME_SIZE_BYTES 4u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer frame = { 0 }, text = { 0 };
    struct message message;
    struct error error;

    if (message_decode(bytes_of(data, size), &message, &error) != ERROR_NONE) {
        assert(error.code == ERROR_PROTOCOL && error.text[0]);
        return 0;
    }
    message_encode(&message, &frame);
    assert(buffer_size(&frame) == FRAME_SIZE_BYTES + size);
    assert(memcmp(buffer_head(&frame) + FRAME_SIZE_BYTES, data, size) == 0);
    message_format(&message, &text);
    buffer_free(&frame);
    buffer_free(&text);
    return 0;
}
