/* Gives files to a fuzz target without libFuzzer: [-m MUTATIONS] [-k FILE] PATH…
 *
 * A folder stands for all files in it. Besides each input as it is, so many mutations of it are
 * given, which follow from its place only: the same run finds the same. Not a fuzzer: nobody
 * watches which way the code takes. All inputs are given by a child; when one ends it, that one is
 * kept in FILE. */
#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/random.h"
#include "tests/fuzz/fuzz.h"

#define INPUT_BYTES_MAX ((size_t)64 << 10)
#define INPUTS_MAX      4096u
#define EDITS_MAX       4u /* of one mutation */

struct inputs {
    struct buffer list[INPUTS_MAX];
    char *paths[INPUTS_MAX];
    uint32_t count;
};

/* What is being tried, for whoever looks after the child. */
struct place {
    uint32_t input, mutation; /* mutation 0: the input as it is */
};

static bool read_file(struct inputs *inputs, const char *path)
{
    struct buffer *input = &inputs->list[inputs->count];
    FILE *file = fopen(path, "rbe");
    size_t size;

    if (!file || inputs->count == INPUTS_MAX) {
        fprintf(stderr, "cannot read %s: %s\n", path, file ? "too many inputs" : strerror(errno));
        if (file)
            (void)fclose(file);
        return false;
    }
    size = fread(buffer_reserve(input, INPUT_BYTES_MAX), 1, INPUT_BYTES_MAX, file);
    buffer_commit(input, size);
    (void)fclose(file);
    inputs->paths[inputs->count++] = strdup(path);
    return true;
}

static int visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static bool read_path(struct inputs *inputs, const char *path)
{
    struct stat status;
    struct dirent **names = NULL;
    bool read = true;
    int count;

    if (stat(path, &status) != 0 || !S_ISDIR(status.st_mode))
        return read_file(inputs, path);
    count = scandir(path, &names, visible, alphasort);
    for (int i = 0; i < count; i++) {
        char name[1024];

        (void)snprintf(name, sizeof name, "%s/%s", path, names[i]->d_name);
        read = read_file(inputs, name) && read;
        free(names[i]);
    }
    free(names);
    return read && count > 0;
}

/* Numbers that are the first or the last of something. */
static uint8_t edge(struct random *chance)
{
    static const uint8_t edges[] = { 0, 1, 2, 7, 8, 0x7f, 0x80, 0xff, '0', '9', '-', '*', '$' };

    return edges[random_below(chance, sizeof edges)];
}

/* Takes a piece out, doubles it, or puts in one of another input. */
static void splice(struct random *chance, struct bytes other, struct buffer *input)
{
    struct buffer out = { 0 };
    size_t size = buffer_size(input);
    size_t at = (size_t)random_below(chance, size + 1);
    size_t length = (size_t)random_below(chance, size - at + 1);
    struct bytes piece = bytes_of(input->data + input->start + at, length);
    uint64_t way = random_below(chance, 3);

    if (way == 2 && other.size) {
        size_t from = (size_t)random_below(chance, other.size);

        piece = bytes_of(other.data + from, (size_t)random_below(chance, other.size - from + 1));
    }
    buffer_append(&out, input->data + input->start, way == 0 ? at : at + length);
    if (way != 0)
        buffer_append(&out, piece.data, piece.size);
    buffer_append(&out, input->data + input->start + at + length, size - at - length);
    buffer_free(input);
    *input = out;
}

static void edit(struct random *chance, struct bytes other, struct buffer *input)
{
    size_t size = buffer_size(input);
    uint8_t *at = size ? input->data + input->start + random_below(chance, size) : NULL;

    switch (random_below(chance, 4)) {
    case 0:
        if (at)
            *at ^= (uint8_t)(1u << random_below(chance, 8));
        break;
    case 1:
        if (at)
            *at = edge(chance);
        break;
    case 2:
        if (at)
            *at = (uint8_t)(*at + 16u - random_below(chance, 33));
        break;
    default:
        if (input->data)
            splice(chance, other, input);
        break;
    }
}

static struct buffer make(const struct inputs *inputs, struct place place)
{
    struct random chance = random_seeded((uint64_t)place.input << 32 | place.mutation);
    const struct buffer *from = &inputs->list[place.input];
    struct bytes other = buffer_bytes(&inputs->list[random_below(&chance, inputs->count)]);
    uint64_t edits = place.mutation ? 1 + random_below(&chance, EDITS_MAX) : 0;
    struct buffer input = { 0 };

    buffer_append(&input, buffer_head(from), buffer_size(from));
    for (uint64_t k = 0; k < edits && buffer_size(&input) < INPUT_BYTES_MAX; k++)
        edit(&chance, other, &input);
    return input;
}

static void try(const struct inputs *inputs, struct place place)
{
    struct buffer input = make(inputs, place);
    size_t size = buffer_size(&input);
    /* Memory of its very size, so that a sanitizer sees who reads beyond it. */
    uint8_t *exact = memory_take(size + 1);

    if (size)
        memcpy(exact + 1, buffer_head(&input), size);
    (void)LLVMFuzzerTestOneInput(exact + 1, size);
    free(exact);
    buffer_free(&input);
}

static void try_all(const struct inputs *inputs, uint32_t mutations, struct place *place)
{
    for (place->input = 0; place->input < inputs->count; place->input++)
        for (place->mutation = 0; place->mutation <= mutations; place->mutation++)
            try(inputs, *place);
}

static void keep(const struct inputs *inputs, struct place place, const char *path)
{
    struct buffer input = make(inputs, place);
    FILE *file = path ? fopen(path, "wbe") : NULL;

    fprintf(stderr, "%s, mutation %u of it, ended the process", inputs->paths[place.input],
            place.mutation);
    if (file && fwrite(buffer_head(&input), 1, buffer_size(&input), file) == buffer_size(&input))
        fprintf(stderr, ": %s", path);
    fprintf(stderr, "\n");
    if (file)
        (void)fclose(file);
    buffer_free(&input);
}

static bool run(const struct inputs *inputs, uint32_t mutations, const char *kept)
{
    struct place *place =
        mmap(NULL, sizeof *place, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status = 0;
    pid_t child;

    if (place == MAP_FAILED || (child = fork()) < 0) {
        perror("replay");
        return false;
    }
    if (child == 0) {
        try_all(inputs, mutations, place);
        exit(EXIT_SUCCESS);
    }
    while (waitpid(child, &status, 0) < 0)
        ;
    if (status != 0)
        keep(inputs, *place, kept);
    else
        printf("%u inputs, %u mutations of each\n", inputs->count, mutations);
    (void)munmap(place, sizeof *place);
    return status == 0;
}

int main(int argc, char **argv)
{
    static struct inputs inputs;
    const char *kept = NULL;
    uint32_t mutations = 0;
    bool good = true;
    int option;

    /* Large tables come from the system as zeros, and most of them are never touched. */
    (void)mallopt(M_MMAP_THRESHOLD, 128 << 10);
    while ((option = getopt(argc, argv, "m:k:")) != -1) {
        if (option == 'm')
            mutations = (uint32_t)strtoul(optarg, NULL, 10);
        else if (option == 'k')
            kept = optarg;
        else
            return 2;
    }
    for (int i = optind; i < argc; i++)
        good = read_path(&inputs, argv[i]) && good;
    good = good && inputs.count && run(&inputs, mutations, kept);
    for (uint32_t i = 0; i < inputs.count; i++) {
        buffer_free(&inputs.list[i]);
        free(inputs.paths[i]);
    }
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
