/* Reading replies: what was measured can be read to its end, and said in RESP2. */
#include "common/resp.h"
#include "tests/fuzz/fuzz.h"

static size_t read_value(struct bytes input, uint32_t depth);

static size_t read_values(struct bytes input, uint64_t count, uint32_t depth)
{
    size_t used = 0;

    for (uint64_t i = 0; i < count; i++)
        used += read_value(bytes_of(input.data + used, input.size - used), depth);
    return used;
}

/* Reads one value and what is nested in it, as far as the reply goes. */
static size_t read_value(struct bytes input, uint32_t depth)
{
    struct resp_value value;
    size_t used = resp_read_value(input, &value);
    struct bytes rest = bytes_of(input.data + used, input.size - used);

    assert(used > 0 && used <= input.size && depth <= RESP_DEPTH_MAX);
    switch (value.type) {
    case RESP_ARRAY:
    case RESP_SET:
    case RESP_PUSH: return used + read_values(rest, (uint64_t)value.integer, depth + 1);
    case RESP_MAP: return used + read_values(rest, 2 * (uint64_t)value.integer, depth + 1);
    case RESP_ATTRIBUTE: {
        size_t pairs = read_values(rest, 2 * (uint64_t)value.integer, depth + 1);

        return used + pairs + read_value(bytes_of(rest.data + pairs, rest.size - pairs), depth);
    }
    default: assert(value.text.size <= input.size); return used;
    }
}

/* Found whole only when its last byte is there, and in the same words however it is cut. */
static void check_prefixes(struct bytes input, size_t whole)
{
    for (size_t size = 0; size < whole && size < 64; size++) {
        struct error error;
        size_t used;
        enum resp_status status = resp_measure_reply(bytes_of(input.data, size), &used, &error);

        assert(status == RESP_PARTIAL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = bytes_of(data, size);

    while (input.size > 0) {
        struct error error;
        size_t used = 0;
        enum resp_status status = resp_measure_reply(input, &used, &error);

        if (status != RESP_READY)
            break;
        assert(used > 0 && used <= input.size);
        check_prefixes(input, used);
        used -= read_value(bytes_of(input.data, used), 0);
        assert(used == 0);
        (void)resp_measure_reply(input, &used, &error);
        (void)replies_check(bytes_of(input.data, used));
        input = bytes_of(input.data + used, input.size - used);
    }
    return 0;
}
