/* Reading a checkpoint's file, with checksums off: as a server recovers from it, and as it is
 * restored. What both agree is whole, a writer makes again from its slices. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "server/checkpoint_file.h"
#include "server/machine.h"
#include "server/restore.h"
#include "server/services/kv.h"
#include "tests/fuzz/fuzz.h"

static void make_again(const struct checkpoint_head *head, const struct buffer *slices,
                       struct bytes whole)
{
    struct checkpoint_writer *writer;
    struct bytes rest = buffer_bytes(slices);
    struct error error;
    struct stat status;
    char path[512];
    enum error_code code;

    code = checkpoint_writer_open(&writer, &files_system, scratch_folder(), head, &error);
    assert(code == ERROR_NONE);
    while (rest.data && rest.size > 0) {
        uint32_t slice_size;

        memcpy(&slice_size, rest.data, sizeof slice_size);
        (void)input_bytes(&rest, sizeof slice_size);
        code = checkpoint_writer_slice(writer, input_bytes(&rest, slice_size), &error);
        assert(code == ERROR_NONE);
    }
    code = checkpoint_writer_finish(writer, &error);
    assert(code == ERROR_NONE);
    checkpoint_name_path(
        scratch_folder(),
        (struct checkpoint_name){ .index = head->index, .changes = head->base > 0 }, path,
        sizeof path);
    if (stat(path, &status) != 0)
        abort();
    assert((size_t)status.st_size == whole.size);
}

/* All slices into a machine; *slices gets each behind its u32 size. */
static enum error_code recover(const char *path, struct checkpoint_head *head,
                               struct buffer *slices)
{
    struct machine *machine = machine_new(kv_service());
    struct checkpoint_reader *reader;
    struct error error;
    uint64_t total, sum = 0;
    struct bytes slice;
    bool done = false, good = true;
    enum error_code code =
        checkpoint_reader_open(&reader, &files_system, path, head, &total, &error);

    if (code == ERROR_NONE) {
        machine_restore_begin(machine, true);
        while ((code = checkpoint_reader_next(reader, &slice, &done, &error)) == ERROR_NONE &&
               !done) {
            uint32_t size = (uint32_t)slice.size;

            good = good && machine_restore_slice(machine, slice);
            buffer_append(slices, &size, sizeof size);
            buffer_append(slices, slice.data, size);
            sum += size;
        }
        assert(code != ERROR_NONE || sum == total);
        if (good && done)
            (void)machine_restore_end(machine, head->index, head->time_us, head->digest);
        checkpoint_reader_close(reader);
    }
    assert(code == ERROR_NONE || code == ERROR_PROTOCOL || code == ERROR_REFUSED);
    assert(code == ERROR_NONE || error.text[0]);
    machine_free(machine);
    return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct checkpoint_head head, checked;
    struct buffer slices = { 0 };
    struct error error;
    char path[512];
    enum error_code code, expected;

    scratch_empty();
    (void)snprintf(path, sizeof path, "%s/given", scratch_folder());
    scratch_file("given", bytes_of(data, size), 0, bytes_of(NULL, 0));
    code = recover(path, &head, &slices);
    /* What only tells changes is no state to begin with. */
    expected = code == ERROR_NONE && head.base > 0 ? ERROR_REFUSED : code;
    assert(restore_check(&files_system, path, &checked, &error) == expected);
    if (code == ERROR_NONE)
        make_again(&head, &slices, bytes_of(data, size));
    buffer_free(&slices);
    return 0;
}
