/* console - the operator's port: speaks RESP, so that redis-cli is a console, too.
 *
 * Commands are listed in rm/README.md. Those that change something go to the rm core as messages
 * and are answered when it answers; a client's later commands wait for that. Everything a client
 * can use up is bounded: connections, bytes of one command, unread replies. */
#ifndef HOLDFAST_RM_CONSOLE_H
#define HOLDFAST_RM_CONSOLE_H

#include <event2/event.h>

#include "rm/rm.h"

#define CONSOLE_CLIENTS_MAX      128u
#define CONSOLE_INPUT_BYTES_MAX  65536u     /* one command */
#define CONSOLE_OUTPUT_BYTES_MAX (4u << 20) /* unread: then the client is cut */
#define CONSOLE_OUTPUT_BYTES_HIGH                                                   \
    (1u << 20)                 /* unread: no more commands are taken until it reads \
                                */
#define CONSOLE_WRITE_S_MAX 30 /* a client that reads nothing for so long is cut */

_Static_assert(CONSOLE_OUTPUT_BYTES_HIGH + 2u * RM_EVENTS_MAX * (RM_EVENT_TEXT_SIZE + 64u) <
                   CONSOLE_OUTPUT_BYTES_MAX,
               "one reply more than the high mark is no reason to cut");

struct console;

struct console_options {
    struct event_base *base;
    const struct config *config;
    const struct rm *rm; /* read for STATUS and EVENTS */
    uint32_t pid;
    /* Gives the rm core a COMMAND message; its answer comes by console_answer(). */
    void (*deliver)(void *context, const struct message *message);
    void *context;
};

/* Copies the options; what they point to must outlive it. */
struct console *console_new(const struct console_options *options);
void console_free(struct console *console);

/* Accepts clients on address:port. */
enum error_code console_listen(struct console *console, const char *address, uint16_t port,
                               struct error *error);

/* Takes over a connected, non-blocking socket. */
void console_adopt(struct console *console, int fd);

/* An EFFECT_ANSWER of the core. */
void console_answer(struct console *console, const struct effect *effect);

/* At the end of every turn: sends new events to those who follow. */
void console_turn_end(struct console *console);

#endif
