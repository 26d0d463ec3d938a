/* Makes the seeds of the binary formats: seeds [-n] CORPUS. With checksums off, as the targets that
 * read them. Run again when a format changes; -n only says whether it did, for a target that no
 * longer understands its seeds reaches little and says nothing. Seeds that are text are written by
 * hand. */
#include "tests/fuzz/seeds.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "server/request.h"
#include "tests/fuzz/fuzz.h"

#define SEED_BYTES_MAX ((size_t)1 << 20)

static const char *corpus;
static bool check_only;
static uint32_t stale;

static void check_seed(const char *path, const struct buffer *seed)
{
    FILE *file = fopen(path, "rbe");
    struct buffer found = { 0 };

    if (file) {
        buffer_commit(&found,
                      fread(buffer_reserve(&found, SEED_BYTES_MAX), 1, SEED_BYTES_MAX, file));
        (void)fclose(file);
    }
    if (!file || buffer_size(&found) != buffer_size(seed) ||
        memcmp(buffer_head(&found), buffer_head(seed), buffer_size(seed)) != 0) {
        printf("%s: not what the format is now: make fuzz-seeds\n", path);
        stale++;
    }
    buffer_free(&found);
}

void seed_write(const char *target, const char *name, const struct buffer *seed)
{
    char path[1024];
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/%s/%s", corpus, target, name);
    if (check_only) {
        check_seed(path, seed);
        return;
    }
    (void)snprintf(path, sizeof path, "%s/%s", corpus, target);
    (void)mkdir(path, 0755);
    (void)snprintf(path, sizeof path, "%s/%s/%s", corpus, target, name);
    file = fopen(path, "wbe");
    if (!file || fwrite(buffer_head(seed), 1, buffer_size(seed), file) != buffer_size(seed) ||
        fclose(file) != 0) {
        perror(path);
        exit(EXIT_FAILURE);
    }
}

void seed_scratch(const char *name, struct buffer *out)
{
    char path[1024];
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/%s", scratch_folder(), name);
    file = fopen(path, "rbe");
    assert(file);
    buffer_commit(out, fread(buffer_reserve(out, SEED_BYTES_MAX), 1, SEED_BYTES_MAX, file));
    (void)fclose(file);
}

void put_u16(struct buffer *out, size_t value)
{
    const uint8_t bytes[2] = { (uint8_t)value, (uint8_t)(value >> 8) };

    assert(value <= UINT16_MAX);
    buffer_append(out, bytes, sizeof bytes);
}

void put_piece(struct buffer *out, struct bytes piece)
{
    put_u16(out, piece.size);
    buffer_append(out, piece.data, piece.size);
}

void put_step(struct buffer *seed, uint8_t what, uint8_t how)
{
    const uint8_t step[2] = { what, how };

    buffer_append(seed, step, sizeof step);
}

void pack_words(struct buffer *request, const char *words)
{
    struct bytes argv[16];
    uint32_t argc = 0;

    while (*words && argc < 16) {
        size_t size = strcspn(words, " ");

        argv[argc++] = bytes_of(words, size);
        words += size + (words[size] == ' ');
    }
    request_pack_command(request, argc, argv);
}

int main(int argc, char **argv)
{
    check_only = argc == 3 && strcmp(argv[1], "-n") == 0;
    if (argc != 2 && !check_only) {
        fprintf(stderr, "usage: seeds [-n] CORPUS\n");
        return 2;
    }
    corpus = argv[argc - 1];
    seeds_of_states();
    seeds_of_servers();
    seeds_of_messages();
    return stale ? EXIT_FAILURE : EXIT_SUCCESS;
}
