#include "client/verify_file.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/load.h"
#include "common/crc32c.h"

#define TITLE       "holdfast verify, format 1\n"
#define HEADER      "run %016" PRIx64 " lanes %" PRIu32 " record %" PRIu32 " once %d\n"
#define HEADER_SCAN "run %16" SCNx64 " lanes %" SCNu32 " record %" SCNu32 " once %d%n"
#define CRC_SIZE    (sizeof "crc 00000000\n" - 1)
#define RECORD_MAX  (512u << 20) /* bytes of a value, as in Redis */

static const char letters[] = {
    [VERIFY_OPEN] = 'o',
    [VERIFY_ACKNOWLEDGED] = 'a',
    [VERIFY_UNKNOWN] = 'u',
    [VERIFY_FAILED] = 'f',
};

static void format(const struct verify *v, bool once, struct buffer *out)
{
    buffer_append_string(out, TITLE);
    buffer_format(out, HEADER, v->run, v->lane_count, v->record_size, once);
    for (uint32_t lane = 0; lane < v->lane_count; lane++) {
        const struct verify_lane *l = &v->lanes[lane];
        uint8_t *room;

        buffer_format(out, "%" PRIu64 " ", l->count);
        room = buffer_reserve(out, l->count + 1);
        for (uint64_t i = 0; i < l->count; i++)
            room[i] = (uint8_t)letters[l->outcomes[i]];
        room[l->count] = '\n';
        buffer_commit(out, l->count + 1);
    }
    buffer_format(out, "crc %08" PRIx32 "\n", crc32c(0, buffer_head(out), buffer_size(out)));
}

enum error_code verify_file_write(const char *path, const struct verify *v, bool once,
                                  struct error *error)
{
    struct buffer text = { 0 };
    char aside[PATH_MAX];
    FILE *file;
    bool written;

    if ((size_t)snprintf(aside, sizeof aside, "%s.part", path) >= sizeof aside)
        return error_set(error, ERROR_USAGE, "%s: the path is too long", path);
    file = fopen(aside, "we");
    if (file == NULL)
        return error_system(error, "cannot write %s", aside);
    format(v, once, &text);
    written = fwrite(buffer_head(&text), 1, buffer_size(&text), file) == buffer_size(&text) &&
              fflush(file) == 0 && fsync(fileno(file)) == 0;
    if (!written)
        error_system(error, "cannot write %s", aside);
    buffer_free(&text);
    if (fclose(file) != 0 && written)
        written = (error_system(error, "cannot write %s", aside), false);
    if (written && rename(aside, path) != 0)
        written = (error_system(error, "cannot rename %s to %s", aside, path), false);
    if (written)
        return ERROR_NONE;
    (void)unlink(aside);
    return error->code;
}

static enum error_code damaged(const char *path, const char *what, struct error *error)
{
    return error_set(error, ERROR_PROTOCOL, "%s: %s: expected what load --record wrote", path,
                     what);
}

/* The whole file, ended by a '\0'. */
static enum error_code slurp(const char *path, struct buffer *text, struct error *error)
{
    FILE *file = fopen(path, "re");
    size_t got;

    if (file == NULL)
        return error_system(error, "cannot read %s", path);
    do {
        got = fread(buffer_reserve(text, 65536), 1, 65536, file);
        buffer_commit(text, got);
    } while (got > 0);
    if (ferror(file)) {
        error_system(error, "cannot read %s", path);
        (void)fclose(file);
        return error->code;
    }
    (void)fclose(file);
    buffer_append(text, "", 1);
    return ERROR_NONE;
}

static bool is_whole(const struct buffer *text)
{
    const char *head = (const char *)buffer_head(text);
    size_t size = buffer_size(text) - 1; /* its '\0' */
    char crc[CRC_SIZE + 1];

    if (size < CRC_SIZE || strlen(head) != size)
        return false;
    (void)snprintf(crc, sizeof crc, "crc %08" PRIx32 "\n", crc32c(0, head, size - CRC_SIZE));
    return strcmp(head + size - CRC_SIZE, crc) == 0;
}

/* "3 aau\n"; returns what follows it, NULL when it is none. */
static const char *parse_lane(struct verify *v, uint32_t lane, const char *line)
{
    char *at = NULL;
    unsigned long long count = strtoull(line, &at, 10);

    if (at == line || *at != ' ' || count > VERIFY_WRITES_MAX)
        return NULL;
    for (at++; count > 0; count--, at++) {
        const char *letter = memchr(letters, *at, sizeof letters);

        if (letter == NULL || verify_full(v))
            return NULL;
        verify_end(v, lane, verify_begin(v, lane), (enum verify_outcome)(letter - letters));
    }
    return *at == '\n' ? at + 1 : NULL;
}

static bool parse(struct verify *v, bool *once, const char *text)
{
    uint64_t run;
    uint32_t lanes, record;
    int once_number, used = 0;

    if (strncmp(text, TITLE, sizeof TITLE - 1) != 0)
        return false;
    text += sizeof TITLE - 1;
    if (sscanf(text, HEADER_SCAN, &run, &lanes, &record, &once_number, &used) != 4 ||
        text[used] != '\n' || lanes < 1 || lanes > LOAD_LANES_MAX ||
        record < VERIFY_RECORD_SIZE_MIN || record > RECORD_MAX)
        return false;
    verify_init(v, run, lanes, record);
    *once = once_number != 0;
    text += used + 1;
    for (uint32_t lane = 0; lane < lanes && text != NULL; lane++)
        text = parse_lane(v, lane, text);
    return text != NULL && strncmp(text, "crc ", 4) == 0;
}

enum error_code verify_file_read(const char *path, struct verify *v, bool *once,
                                 struct error *error)
{
    struct buffer text = { 0 };
    enum error_code code = slurp(path, &text, error);

    *v = (struct verify){ 0 };
    if (code == ERROR_NONE && !is_whole(&text))
        code = damaged(path, "its checksum does not fit", error);
    else if (code == ERROR_NONE && !parse(v, once, (const char *)buffer_head(&text)))
        code = damaged(path, "its lines make no sense", error);
    buffer_free(&text);
    if (code != ERROR_NONE)
        verify_free(v);
    return code;
}
