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

/* One event: an array of its sequence, its time in microseconds since 1970, and its text. Of the
 * last one printed the text is not kept. */
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

/* An event off the front of *rest; false, and nothing is taken, when that is something else. */
static bool take_event(struct bytes *rest, struct event_line *event)
{
    struct resp_value field[4];
    size_t used = 0;

    for (size_t i = 0; i < 4; i++) {
        if (used == rest->size)
            return false;
        used += resp_read_value(bytes_of(rest->data + used, rest->size - used), &field[i]);
    }
    if ((field[0].type != RESP_ARRAY && field[0].type != RESP_PUSH) || field[0].integer != 3 ||
        field[1].type != RESP_INTEGER || field[2].type != RESP_INTEGER ||
        (field[3].type != RESP_BULK && field[3].type != RESP_STRING))
        return false;
    *event = (struct event_line){ .sequence = (uint64_t)field[1].integer,
                                  .time_us = (uint64_t)field[2].integer,
                                  .text = field[3].text };
    *rest = bytes_of(rest->data + used, rest->size - used);
    return true;
}

/* What is behind the head of a list of events; a single event is as it was. */
static struct bytes list_of(struct bytes reply)
{
    struct bytes rest = reply;
    struct event_line event;
    struct resp_value head;
    size_t used;

    if (take_event(&rest, &event))
        return reply;
    used = resp_read_value(reply, &head);
    return bytes_of(reply.data + used, reply.size - used);
}

/* Sequences begin anew in each life of the rm: an event is the same when its time is, too. */
static bool is_same(const struct event_line *a, const struct event_line *b)
{
    return a->sequence == b->sequence && a->time_us == b->time_us;
}

static bool begins_with(struct bytes reply, const struct event_line *last)
{
    struct bytes rest = list_of(reply);
    struct event_line first;

    return take_event(&rest, &first) && is_same(&first, last);
}

/* Prints the events in a reply, but for the last one printed. */
static void print_reply_events(struct bytes reply, struct event_line *last)
{
    struct bytes rest = list_of(reply);
    struct event_line event;

    while (take_event(&rest, &event)) {
        if (is_same(&event, last))
            continue;
        print_event(&event);
        *last = event;
        last->text = bytes_of(NULL, 0);
    }
}

/* Asks for the events from *last on and prints what is new; with --follow, until the rm is gone. */
static enum error_code print_events(const struct invocation *call, struct event_line *last,
                                    struct error *error)
{
    char since[24];
    const char *words[] = { "EVENTS", "SINCE", since, "FOLLOW" };
    bool again = last->sequence > 0;
    struct console console;
    struct bytes reply;
    enum error_code code = console_open(&console, &call->config, CONSOLE_DIAL_MS_MAX, error);

    snprintf(since, sizeof since, "%" PRIu64, again ? last->sequence - 1 : 0);
    if (code == ERROR_NONE)
        code = console_send(&console, call->follow ? 4 : 3, words, error);
    do {
        if (code == ERROR_NONE)
            code = console_read(&console, call->follow ? FOLLOW_MS_MAX : CONSOLE_COMMAND_MS_MAX,
                                &reply, error);
        if (code != ERROR_NONE)
            break;
        if (again && !begins_with(reply, last)) {
            /* Another life of the rm, or one that has forgotten it: all that it still knows. */
            console_close(&console);
            *last = (struct event_line){ 0 };
            return print_events(call, last, error);
        }
        again = false;
        print_reply_events(reply, last);
        if (fflush(stdout) != 0)
            code = error_system(error, "cannot write the output");
    } while (call->follow && code == ERROR_NONE);
    console_close(&console);
    return code;
}

int operator_events(const struct invocation *call)
{
    struct error error;
    struct event_line last = { 0 };
    bool begun = false, told = false;

    for (;;) {
        struct event_line before = last;

        if (print_events(call, &last, &error) == ERROR_NONE)
            return EXIT_SUCCESS;
        begun = begun || last.sequence > 0;
        /* Who follows waits for an rm that comes back; the first time it must be there. */
        if (!call->follow || !begun || error.code == ERROR_REFUSED || ferror(stdout))
            return operator_failure(&error);
        told = told && is_same(&before, &last);
        if (!told)
            fprintf(stderr, "holdfast: %s; waiting for it\n", error.text);
        told = true;
        usleep(RETRY_MS * 1000u);
    }
}
