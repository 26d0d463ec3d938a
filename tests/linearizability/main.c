/* holdfast-linearizable - tells whether a recorded history is linearizable (format: record.h).
 *
 * Exit status: 0 it is; 1 it is not, and why is on the standard output; 2 wrong usage or file; 3
 * undecided. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/linearizability/linearizability.h"
#include "tests/linearizability/record.h"

#define LINE_SHOWN_MAX 400u

enum { EXIT_YES, EXIT_NO, EXIT_WRONG, EXIT_UNDECIDED };

struct shown {
    const struct record *record;
    char text[LINE_SHOWN_MAX];
};

static const char *line_text(void *context, uint32_t operation)
{
    struct shown *shown = context;
    const struct record_line *line = &shown->record->lines[operation];
    size_t size = line->text.size < LINE_SHOWN_MAX / 2 ? line->text.size : LINE_SHOWN_MAX / 2;

    (void)snprintf(shown->text, sizeof shown->text, "line %u: %.*s%s", line->number, (int)size,
                   (const char *)line->text.data, size < line->text.size ? "…" : "");
    return shown->text;
}

static int verdict_print(const struct record *record, const struct linear_result *result)
{
    struct shown shown = { .record = record };
    struct bytes key;

    if (result->verdict == LINEAR_YES) {
        printf("linearizable: %u operations on %u keys, %llu configurations\n", record->count,
               record->key_count, (unsigned long long)result->states);
        return EXIT_YES;
    }
    key = record_key_name(record, result->key);
    if (result->verdict == LINEAR_UNDECIDED) {
        printf("undecided: key %.*s needs more than the configurations allowed\n", (int)key.size,
               (const char *)key.data);
        return EXIT_UNDECIDED;
    }
    printf("not linearizable: key %.*s\n", (int)key.size, (const char *)key.data);
    linear_explain(stdout, record->operations, record->count, result, line_text, &shown);
    return EXIT_NO;
}

static int usage(void)
{
    fprintf(stderr, "usage: holdfast-linearizable [--states MAX] FILE\n");
    return EXIT_WRONG;
}

int main(int argc, char **argv)
{
    unsigned long states_max = LINEAR_STATES_MAX;
    struct linear_result result;
    struct record record;
    struct error error;
    char *end;
    int status;

    if (argc == 4 && strcmp(argv[1], "--states") == 0) {
        states_max = strtoul(argv[2], &end, 10);
        if (*end || states_max < 1 || states_max >= UINT32_MAX)
            return usage();
    } else if (argc != 2) {
        return usage();
    }
    if (record_read(&record, argv[argc - 1], &error) != ERROR_NONE) {
        fprintf(stderr, "%s\n", error.text);
        record_free(&record);
        return EXIT_WRONG;
    }
    (void)linear_check(record.operations, record.count, (uint32_t)states_max, &result);
    status = verdict_print(&record, &result);
    record_free(&record);
    return fflush(stdout) == 0 ? status : EXIT_WRONG;
}
