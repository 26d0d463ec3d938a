/* events: what the rm saw and did, one line each. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "client/operator.h"
#include "client/operator_console.h"
#include "common/resp.h"

#define FOLLOW_MS_MAX (3600u * 1000u) /* of silence; then it asks again */
#define RETRY_MS      500u            /* before the rm is dialled again */

/* One event: an array of its sequence, its time in microseconds since 1970, and its text. */
struct event_line {
    uint64_t sequence, time_us;
    struct bytes text;
};

static void print_event(const struct event_line *event)
{
    time_t seconds = (time_t)(event->time_us / 1000000u);
    struct tm local;
    char when[32] = "";

    if (localtime_r(&seconds, &local) != NULL)
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &local);
    printf("%s.%06" PRIu64 "  %.*s\n", when, event->time_us % 1000000u, (int)event->text.size,
           (const char *)event->text.data);
}

/* Prints the events in a value, which may be one, a list of them, or none; returns the bytes of
 * the value. */
static size_t print_value(struct bytes reply, uint64_t *last)
{
    struct event_line event = { 0 };
    struct resp_value value;
    size_t used = resp_read_value(reply, &value);
    uint32_t numbers = 0;

    if (value.type != RESP_ARRAY && value.type != RESP_PUSH)
        return used;
    for (int64_t i = 0; i < value.integer; i++) {
        struct bytes rest = bytes_of(reply.data + used, reply.size - used);
        struct resp_value field;
        size_t size = resp_read_value(rest, &field);

        if (field.type == RESP_ARRAY || field.type == RESP_PUSH) {
            used += print_value(rest, last);
            continue;
        }
        used += size;
        if (field.type == RESP_INTEGER && numbers++ == 0)
            event.sequence = (uint64_t)field.integer;
        else if (field.type == RESP_INTEGER)
            event.time_us = (uint64_t)field.integer;
        else if (field.type == RESP_BULK || field.type == RESP_STRING)
            event.text = field.text;
    }
    if (numbers == 2) {
        print_event(&event);
        *last = event.sequence;
    }
    return used;
}

/* Asks for the events after *last and prints them; with --follow, until the rm is gone. */
static enum error_code print_events(const struct invocation *call, uint64_t *last,
                                    struct error *error)
{
    char since[24];
    const char *words[] = { "EVENTS", "SINCE", since, "FOLLOW" };
    struct console console;
    struct bytes reply;
    enum error_code code = console_open(&console, &call->config, CONSOLE_DIAL_MS_MAX, error);

    snprintf(since, sizeof since, "%" PRIu64, *last);
    if (code == ERROR_NONE)
        code = console_send(&console, call->follow ? 4 : 3, words, error);
    do {
        if (code == ERROR_NONE)
            code = console_read(&console, call->follow ? FOLLOW_MS_MAX : CONSOLE_COMMAND_MS_MAX,
                                &reply, error);
        if (code != ERROR_NONE)
            break;
        print_value(reply, last);
        if (fflush(stdout) != 0)
            code = error_system(error, "cannot write the output");
    } while (call->follow && code == ERROR_NONE);
    console_close(&console);
    return code;
}

int operator_events(const struct invocation *call)
{
    struct error error;
    uint64_t last = 0;
    bool told = false;

    for (;;) {
        if (print_events(call, &last, &error) == ERROR_NONE)
            return EXIT_SUCCESS;
        /* Who follows waits for an rm that comes back; the first time it must be there. */
        if (!call->follow || last == 0 || error.code == ERROR_REFUSED || ferror(stdout))
            return operator_failure(&error);
        if (!told)
            fprintf(stderr, "holdfast: %s; waiting for it\n", error.text);
        told = true;
        usleep(RETRY_MS * 1000u);
    }
}
