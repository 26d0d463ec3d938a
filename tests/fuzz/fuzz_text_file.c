/* A server's small files, with checksums off: what is read is text, and is written back as it was.
 */
#include <stdio.h>

#include "server/text_file.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[TEXT_FILE_SIZE], again[TEXT_FILE_SIZE], value[16];
    const char *folder = scratch_folder();
    struct error error;
    enum error_code code;
    bool found;

    scratch_file("life", bytes_of(data, size), 0, bytes_of(NULL, 0));
    code = text_file_read(&files_system, folder, "life", text, &found, &error);
    assert(found);
    if (code != ERROR_NONE) {
        assert(code == ERROR_PROTOCOL && error.text[0] && !text[0]);
        return 0;
    }
    assert(strlen(text) < size);
    (void)text_file_value(text, "boot", value, sizeof value);
    (void)text_file_value(text, "", value, sizeof value);
    assert(strlen(value) < sizeof value);
    code = text_file_write(&files_system, folder, "life", text, &error);
    assert(code == ERROR_NONE);
    code = text_file_read(&files_system, folder, "life", again, &found, &error);
    assert(code == ERROR_NONE && strcmp(text, again) == 0);
    return 0;
}
