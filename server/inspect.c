#include "server/inspect.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/lock.h"
#include "server/checkpoint_file.h"
#include "server/request.h"
#include "server/segment_format.h"

#define CHECKPOINTS_MAX 64u /* looked at; a server keeps CHECKPOINTS_KEPT */
#define WORDS_SHOWN     6u  /* of a command, and commands of a transaction */
#define BYTES_SHOWN     32u /* of a word */

enum { STATUS_SOUND = 0, STATUS_DAMAGED = 1, STATUS_USAGE = 2 };

struct inspection {
    const char *directory;
    FILE *out;
    bool show;
    int status;
    uint32_t checkpoints, segments, frames;
    uint64_t state_index; /* of the newest sound checkpoint, 0 if none */
    struct request_words words;
};

/* ---- Entries ---- */

static void print_time(FILE *out, uint64_t time_us)
{
    time_t seconds = (time_t)(time_us / 1000000);
    char text[32] = "?";
    struct tm parts;

    if (gmtime_r(&seconds, &parts))
        (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    fprintf(out, "%s.%06uZ", text, (unsigned)(time_us % 1000000));
}

static void print_word(FILE *out, struct bytes word)
{
    const size_t shown = word.size < BYTES_SHOWN ? word.size : BYTES_SHOWN;
    bool plain = word.size > 0;

    for (size_t i = 0; i < shown; i++)
        plain = plain && isgraph(word.data[i]) && word.data[i] != '"' && word.data[i] != '\\';
    if (!plain)
        putc('"', out);
    for (size_t i = 0; i < shown; i++) {
        uint8_t c = word.data[i];

        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c >= ' ' && c < 0x7f)
            putc(c, out);
        else
            fprintf(out, "\\x%02x", c);
    }
    if (!plain)
        putc('"', out);
    if (shown < word.size)
        fprintf(out, "… (%zu bytes)", word.size);
}

/* One command off the front of *rest. */
static bool print_command(struct inspection *i, struct bytes *rest)
{
    if (!request_unpack_command(rest, &i->words))
        return false;
    for (uint32_t at = 0; at < i->words.argc && at < WORDS_SHOWN; at++) {
        putc(' ', i->out);
        print_word(i->out, i->words.argv[at]);
    }
    if (i->words.argc > WORDS_SHOWN)
        fprintf(i->out, " … (%" PRIu32 " words)", i->words.argc);
    return true;
}

static bool print_transaction(struct inspection *i, struct bytes rest)
{
    uint32_t watched, commands;
    struct bytes key;
    uint64_t version;

    if (!request_transaction_valid(rest) || !request_unpack_count(&rest, &watched))
        return false;
    for (uint32_t at = 0; at < watched; at++)
        if (!request_unpack_watch(&rest, &version, &key))
            return false;
    if (!request_unpack_count(&rest, &commands))
        return false;
    fprintf(i->out, " %" PRIu32 " watched, %" PRIu32 " commands:", watched, commands);
    for (uint32_t at = 0; at < commands && at < WORDS_SHOWN; at++) {
        if (at)
            putc(';', i->out);
        if (!print_command(i, &rest))
            return false;
    }
    if (commands > WORDS_SHOWN)
        fputs("; …", i->out);
    return true;
}

static const char *kind_name(uint8_t kind)
{
    switch (kind) {
    case REQUEST_VIEW: return "view";
    case REQUEST_COMMAND: return "command";
    case REQUEST_TRANSACTION: return "transaction";
    case REQUEST_MARK: return "mark";
    case REQUEST_TIME: return "time";
    default: return "unknown";
    }
}

static void print_request(struct inspection *i, uint8_t kind, struct bytes request)
{
    bool sense = true;

    fprintf(i->out, "  %s of %zu bytes", kind_name(kind), request.size);
    if (kind == REQUEST_COMMAND)
        sense = print_command(i, &request) && request.size == 0;
    else if (kind == REQUEST_TRANSACTION)
        sense = print_transaction(i, request);
    fputs(sense ? "\n" : " … which makes no sense\n", i->out);
}

static void print_record(void *context, const struct journal_record *header, struct bytes record)
{
    struct inspection *i = context;

    if (!i->show)
        return;
    fprintf(i->out, "    %" PRIu64 "  view %" PRIu64 "  ", header->index, header->view);
    print_time(i->out, header->time_us);
    if (header->session)
        fprintf(i->out, "  session %" PRIu64 " sequence %" PRIu64, header->session,
                header->sequence);
    print_request(i, header->kind, bytes_of(record.data + sizeof *header, header->request_size));
}

/* ---- Segments ---- */

static void print_segment(void *context, const char *file, uint64_t sequence, uint64_t bytes)
{
    struct inspection *i = context;

    (void)sequence;
    i->segments++;
    if (i->show)
        fprintf(i->out, "%s  %" PRIu64 " bytes\n", file, bytes);
}

static void print_frame(void *context, const struct segment_frame *frame, uint64_t offset)
{
    struct inspection *i = context;

    i->frames++;
    if (!i->show)
        return;
    fprintf(i->out, "  offset %" PRIu64 "  ", offset);
    switch (frame->kind) {
    case FRAME_RECORDS:
        fprintf(i->out, "entries %" PRIu64 " to %" PRIu64 " in %" PRIu32 " bytes\n", frame->first,
                frame->last, frame->size);
        break;
    case FRAME_RESET:
        fprintf(i->out,
                "reset: the journal begins anew behind entry %" PRIu64 " of view %" PRIu64 "\n",
                frame->first, frame->last);
        break;
    case FRAME_SYNCED: fputs("all before this was synced\n", i->out); break;
    default: fputs("end of the segment\n", i->out); break;
    }
}

static void print_truncation(void *context, uint64_t last)
{
    struct inspection *i = context;

    if (i->show)
        fprintf(i->out, "    entries behind %" PRIu64 " are replaced\n", last);
}

/* Its frame is told already. */
static void ignore_reset(void *context, uint64_t index, uint64_t view)
{
    (void)context;
    (void)index;
    (void)view;
}

static void say_entries(const struct inspection *i, const struct segments_found *found)
{
    fprintf(i->out, "journal: ");
    if (found->first > found->last)
        fprintf(i->out, "no entries behind %" PRIu64, found->last);
    else
        fprintf(i->out, "entries %" PRIu64 " to %" PRIu64, found->first, found->last);
    fprintf(i->out, " (%" PRIu64 " records in %" PRIu32 " frames of %" PRIu32 " segments)\n",
            found->records, i->frames, i->segments);
}

static void say_damage(struct inspection *i, const struct segments_found *found)
{
    i->status = STATUS_DAMAGED;
    fprintf(
        i->out,
        "damaged: %s/%s at offset %" PRIu64 ": %s. This is no unfinished write: what stood here "
        "was safe on the disk. Nothing behind it is read; a server that starts here keeps these "
        "files aside and gets its state from its peers.\n",
        i->directory, found->file, found->offset, found->reason);
}

/* Whether the journal goes on where a state is known. */
static void say_gap(struct inspection *i, const struct segments_found *found)
{
    if (found->first <= i->state_index + 1)
        return;
    if (found->reset_index >= found->first - 1) {
        fprintf(i->out,
                "unfinished: the journal begins behind entry %" PRIu64
                ", of which there is no checkpoint: the server was joining.\n",
                found->reset_index);
        return;
    }
    i->status = STATUS_DAMAGED;
    fprintf(i->out,
            "damaged: entries %" PRIu64 " to %" PRIu64
            " are in no segment and in no sound checkpoint.\n",
            i->state_index + 1, found->first - 1);
}

static void say_journal(struct inspection *i, const struct segments_found *found)
{
    say_entries(i, found);
    if (found->damaged) {
        say_damage(i, found);
        return;
    }
    if (found->torn_bytes)
        fprintf(i->out,
                "torn: %s at offset %" PRIu64 ": %s. The last group was not finished, %" PRIu64
                " bytes of it are there; a server that starts here cuts them off.\n",
                found->file, found->offset, found->reason, found->torn_bytes);
    if (i->segments)
        say_gap(i, found);
}

static void say_failure(struct inspection *i, const struct error *error)
{
    i->status = STATUS_DAMAGED;
    fprintf(i->out, "not read: %s\n", error->text);
}

static void inspect_journal(struct inspection *i)
{
    const struct segments_options options = { .directory = i->directory, .files = &files_system };
    const struct segments_visitor visitor = { .reset = ignore_reset,
                                              .truncate = print_truncation,
                                              .record = print_record,
                                              .context = i,
                                              .segment = print_segment,
                                              .frame = print_frame };
    struct segments_found found;
    struct error error;

    if (segments_read(&options, &visitor, &found, &error) == ERROR_NONE)
        say_journal(i, &found);
    else
        say_failure(i, &error);
}

/* ---- Checkpoints ---- */

static enum error_code read_slices(struct checkpoint_reader *reader, uint32_t *count,
                                   struct error *error)
{
    struct bytes slice;
    bool done = false;

    *count = 0;
    while (!done) {
        if (checkpoint_reader_next(reader, &slice, &done, error) != ERROR_NONE)
            return error->code;
        *count += !done;
    }
    return ERROR_NONE;
}

static enum error_code verify_checkpoint(const char *path, struct checkpoint_head *head,
                                         uint64_t *bytes, uint32_t *slices, struct error *error)
{
    struct checkpoint_reader *reader = NULL;
    enum error_code code = checkpoint_reader_open(&reader, &files_system, path, head, bytes, error);

    if (code != ERROR_NONE)
        return code;
    code = read_slices(reader, slices, error);
    checkpoint_reader_close(reader);
    return code;
}

static void print_checkpoint(struct inspection *i, const struct checkpoint_head *head,
                             uint64_t bytes, uint32_t slices)
{
    if (head->base > 0)
        fprintf(i->out, "changes from entry %" PRIu64 " to %" PRIu64 ": ", head->base, head->index);
    else
        fprintf(i->out, "checkpoint of entry %" PRIu64 ": ", head->index);
    fprintf(i->out, "view %" PRIu64 ", ", head->view);
    print_time(i->out, head->time_us);
    fprintf(i->out,
            ", cluster \"%s\", service \"%s\", digest %016" PRIx64 ", %" PRIu64 " bytes in %" PRIu32
            " slices\n",
            head->cluster, head->service, head->digest, bytes, slices);
}

static void inspect_checkpoint(struct inspection *i, struct checkpoint_name name)
{
    struct checkpoint_head head;
    char path[PATH_MAX];
    struct error error;
    uint64_t bytes;
    uint32_t slices;

    checkpoint_name_path(i->directory, name, path, sizeof path);
    if (verify_checkpoint(path, &head, &bytes, &slices, &error) != ERROR_NONE) {
        i->status = STATUS_DAMAGED;
        fprintf(i->out, "damaged: %s. A server that starts here takes what is before it.\n",
                error.text);
        return;
    }
    /* Changes are told oldest first: those behind a gap come to no state. */
    if (head.index > i->state_index && (head.base == 0 || head.base == i->state_index))
        i->state_index = head.index;
    print_checkpoint(i, &head, bytes, slices);
}

static void inspect_checkpoints(struct inspection *i)
{
    uint64_t indexes[CHECKPOINTS_MAX];
    uint32_t changes;
    struct error error;

    if (checkpoint_list(i->directory, indexes, CHECKPOINTS_MAX, &i->checkpoints, &error) !=
        ERROR_NONE) {
        say_failure(i, &error);
        return;
    }
    for (uint32_t at = 0; at < i->checkpoints; at++)
        inspect_checkpoint(i, (struct checkpoint_name){ .index = indexes[at] });
    if (checkpoint_changes_list(i->directory, 0, indexes, CHECKPOINTS_MAX, &changes, &error) !=
        ERROR_NONE) {
        say_failure(i, &error);
        return;
    }
    for (uint32_t at = 0; at < changes; at++)
        inspect_checkpoint(i, (struct checkpoint_name){ indexes[at], true });
}

/* ---- The directory ---- */

static bool holds_something(const char *directory)
{
    uint64_t *numbers;
    size_t segments;
    uint64_t newest;
    uint32_t checkpoints;
    struct error error;

    if (files_list(directory, SEGMENT_PREFIX, "", &numbers, &segments, &error) != ERROR_NONE)
        return true; /* it will be told why */
    free(numbers);
    if (checkpoint_list(directory, &newest, 1, &checkpoints, &error) != ERROR_NONE)
        return true;
    return segments || checkpoints;
}

static int refuse(const char *directory, const char *why)
{
    fprintf(stderr, "holdfast: %s: %s; expected the directory of a server, such as RUN/s1\n",
            directory, why);
    return STATUS_USAGE;
}

/* A server holds the lock beside its directory while it lives. */
static void say_if_in_use(const struct inspection *i)
{
    int length = (int)strlen(i->directory);
    char path[PATH_MAX];
    pid_t holder;

    while (length > 1 && i->directory[length - 1] == '/')
        length--;
    (void)snprintf(path, sizeof path, "%.*s.lock", length, i->directory);
    holder = lock_holder(path);
    if (holder > 0)
        fprintf(i->out,
                "in use: process %ld writes here; what is written meanwhile may look damaged or be "
                "missing.\n",
                (long)holder);
}

/* An errno that says why it cannot be looked into, or 0. */
static int what_prevents(const char *directory)
{
    struct stat status;

    if (strlen(directory) + 64 > PATH_MAX)
        return ENAMETOOLONG;
    if (stat(directory, &status) != 0)
        return errno;
    if (!S_ISDIR(status.st_mode))
        return ENOTDIR;
    return access(directory, R_OK | X_OK) == 0 ? 0 : errno;
}

int inspect_directory(const char *directory, bool show, FILE *out)
{
    struct inspection inspection = { .directory = directory, .out = out, .show = show };
    int obstacle = what_prevents(directory);

    if (obstacle != 0)
        return refuse(directory, strerror(obstacle));
    if (!holds_something(directory))
        return refuse(directory, "there is no journal and no checkpoint");
    say_if_in_use(&inspection);
    inspect_checkpoints(&inspection);
    inspect_journal(&inspection);
    fputs(inspection.status == STATUS_SOUND ? "sound\n" : "not sound\n", out);
    request_words_free(&inspection.words);
    if (fflush(out) != 0 || ferror(out)) {
        perror("holdfast: cannot write the output");
        return STATUS_DAMAGED;
    }
    return inspection.status;
}

bool inspect_asked(int argc, char **argv, int *exit_status)
{
    bool show = argc > 1 && strcmp(argv[1], "--journal-show") == 0;
    bool check = argc > 1 && strcmp(argv[1], "--journal-check") == 0;

    if (!show && !check)
        return false;
    if (argc == 3) {
        *exit_status = inspect_directory(argv[2], show, stdout);
    } else {
        fprintf(stderr, "usage: holdfast-server %s DIR\n", argv[1]);
        *exit_status = STATUS_USAGE;
    }
    return true;
}
