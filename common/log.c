#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A write of up to PIPE_BUF bytes into a pipe that poll() calls writable is done whole and does
 * not wait; and with the line about lost ones before it, a line still fits. */
#define LOG_LINE_BYTES_MAX 2048u
_Static_assert(2 * LOG_LINE_BYTES_MAX <= PIPE_BUF, "two lines are one write");

/* Set by log_open() before there are threads; only lost and why change afterwards. */
static struct {
    char name[NAME_SIZE];
    bool verbose;
    bool colour;
    int own; /* our own way into the pipe or terminal that stderr is, plus one; 0: none */
    atomic_uint lost;
    atomic_int why; /* the last one was lost: an errno */
} state;

/* O_NONBLOCK belongs to the open file, which stderr shares with other processes: they might not
 * expect it. So pipes and terminals are opened once more. Where that is not possible poll()
 * alone must do: another writer that fills the pipe at that moment could still make us wait. */
static int reopened_stderr(void)
{
    struct stat status;

    if (fstat(STDERR_FILENO, &status) != 0 || !(S_ISFIFO(status.st_mode) || isatty(STDERR_FILENO)))
        return -1;
    return open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

bool log_wants_colours(int descriptor)
{
    const char *refusal = getenv("NO_COLOR");
    const char *terminal = getenv("TERM");

    return isatty(descriptor) && !(refusal && refusal[0]) && terminal &&
           strcmp(terminal, "dumb") != 0;
}

void log_open(const char *name, bool verbose)
{
    if (state.own > 0)
        close(state.own - 1);
    snprintf(state.name, sizeof state.name, "%s", name);
    state.verbose = verbose;
    state.colour = log_wants_colours(STDERR_FILENO);
    state.own = reopened_stderr() + 1;
    atomic_store(&state.lost, 0);
}

/* False when it could not be written, or not without waiting; why then says so. */
static bool write_line(const char *line, size_t size, int *why)
{
    int fd = state.own > 0 ? state.own - 1 : STDERR_FILENO;
    struct pollfd writable = { .fd = fd, .events = POLLOUT };
    ssize_t written;

    *why = EAGAIN;
    /* POLLERR: nobody reads any more, and a write would be answered with SIGPIPE. */
    if (poll(&writable, 1, 0) != 1 || writable.revents != POLLOUT)
        return false;
    do
        written = write(fd, line, size);
    while (written < 0 && errno == EINTR);
    if (written < 0)
        *why = errno;
    else if (state.own == 0)
        *why = ENOSPC; /* a full disk cuts a line short */
    return written == (ssize_t)size;
}

/* "[2026-11-20 18:22:49.123456] s1: "; far below LOG_LINE_BYTES_MAX. */
static size_t put_head(char *line, size_t room)
{
    struct timespec now;
    struct tm local;
    char second[32];
    int length;

    clock_gettime(CLOCK_REALTIME, &now);
    if (!localtime_r(&now.tv_sec, &local) ||
        strftime(second, sizeof second, "%Y-%m-%d %H:%M:%S", &local) == 0)
        second[0] = 0;
    length = snprintf(line, room, "[%s.%06ld] %s: ", second, now.tv_nsec / 1000,
                      state.name[0] ? state.name : program_invocation_short_name);
    return length < 0 ? 0 : (size_t)length < room ? (size_t)length : room - 1;
}

/* One line stays one line, and nobody else's words reach the terminal as commands. */
static void make_printable(char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
            text[i] = text[i] == '\n' || text[i] == '\t' ? ' ' : '?';
    }
}

static const char *colour_of(enum note_level level)
{
    switch (level) {
    case NOTE_DEBUG: return "\x1b[2m";
    case NOTE_INFO: return "";
    case NOTE_WARN: return "\x1b[33m";
    case NOTE_ERROR: return "\x1b[31m";
    }
    return "";
}

static size_t put_line(char *line, enum note_level level, const char *format, va_list arguments)
    __attribute__((format(printf, 3, 0)));

/* Writes at most LOG_LINE_BYTES_MAX bytes. */
static size_t put_line(char *line, enum note_level level, const char *format, va_list arguments)
{
    static const char end_colour[] = "\x1b[0m";
    const char *colour = state.colour ? colour_of(level) : "";
    size_t room = LOG_LINE_BYTES_MAX - sizeof end_colour - 1; /* and the line feed */
    size_t used = put_head(line, room);
    size_t text;
    int length;

    used += (size_t)snprintf(line + used, room - used, "%s", colour);
    text = used;
    length = vsnprintf(line + used, room - used, format, arguments);
    if (length > 0)
        used += (size_t)length < room - used ? (size_t)length : room - used - 1;
    make_printable(line + text, used - text);
    if (colour[0]) {
        memcpy(line + used, end_colour, sizeof end_colour - 1);
        used += sizeof end_colour - 1;
    }
    line[used++] = '\n';
    return used;
}

static size_t put_line_of(char *line, enum note_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static size_t put_line_of(char *line, enum note_level level, const char *format, ...)
{
    va_list arguments;
    size_t used;

    va_start(arguments, format);
    used = put_line(line, level, format, arguments);
    va_end(arguments);
    return used;
}

void log_line(enum note_level level, const char *format, ...)
{
    char lines[2 * LOG_LINE_BYTES_MAX];
    int why = atomic_load(&state.why);
    unsigned lost;
    size_t used = 0;
    va_list arguments;

    if (level == NOTE_DEBUG && !state.verbose)
        return;
    lost = atomic_exchange(&state.lost, 0);
    if (lost > 0)
        used = put_line_of(lines, NOTE_WARN, "%u lines lost: stderr: %s", lost,
                           why == EAGAIN ? "it would have blocked" : strerrordesc_np(why));
    va_start(arguments, format);
    used += put_line(lines + used, level, format, arguments);
    va_end(arguments);
    if (write_line(lines, used, &why))
        return;
    atomic_store(&state.why, why);
    atomic_fetch_add(&state.lost, lost + 1);
}

int log_failure(const struct error *error)
{
    log_line(NOTE_ERROR, "%s", error->text);
    return error->code == ERROR_USAGE || error->code == ERROR_CONFIG ? 2 : EXIT_FAILURE;
}
