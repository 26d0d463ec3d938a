/* The folder and the checks that targets share. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/resp.h"
#include "tests/fuzz/fuzz.h"

static char folder[512];

void scratch_empty(void)
{
    DIR *directory = opendir(scratch_folder());
    struct dirent *entry;

    assert(directory);
    while ((entry = readdir(directory)) != NULL) {
        int result = 0;

        if (entry->d_name[0] != '.')
            result = unlinkat(dirfd(directory), entry->d_name, 0);
        assert(result == 0);
    }
    (void)closedir(directory);
}

static void remove_folder(void)
{
    scratch_empty();
    (void)rmdir(folder);
}

const char *scratch_folder(void)
{
    const char *parent = getenv("FUZZ_FOLDER");

    if (folder[0])
        return folder;
    (void)snprintf(folder, sizeof folder, "%s/holdfast-fuzz-XXXXXX", parent ? parent : "/dev/shm");
    if (!mkdtemp(folder)) {
        perror(folder);
        abort();
    }
    (void)atexit(remove_folder);
    return folder;
}

void scratch_file(const char *name, struct bytes head, size_t rest_at, struct bytes rest)
{
    char path[1024];
    ssize_t written;
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", scratch_folder(), name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert(fd >= 0);
    written = head.size ? pwrite(fd, head.data, head.size, 0) : 0;
    assert(written == (ssize_t)head.size);
    written = rest.size ? pwrite(fd, rest.data, rest.size, (off_t)rest_at) : 0;
    assert(written == (ssize_t)rest.size);
    (void)close(fd);
}

uint32_t replies_check(struct bytes replies)
{
    struct buffer resp2 = { 0 };
    uint32_t count = 0;

    while (replies.size > 0) {
        struct error error;
        size_t used, used2;
        enum resp_status status = resp_measure_reply(replies, &used, &error);

        assert(status == RESP_READY && used > 0 && used <= replies.size);
        buffer_clear(&resp2, 65536);
        resp_write_as_resp2(&resp2, bytes_of(replies.data, used));
        status = resp_measure_reply(buffer_bytes(&resp2), &used2, &error);
        assert(status == RESP_READY && used2 == buffer_size(&resp2));
        replies = bytes_of(replies.data + used, replies.size - used);
        count++;
    }
    buffer_free(&resp2);
    return count;
}
