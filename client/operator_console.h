/* operator_console - a connection to the rm's console port, or to a server, which speak RESP. */
#ifndef HOLDFAST_CLIENT_OPERATOR_CONSOLE_H
#define HOLDFAST_CLIENT_OPERATOR_CONSOLE_H

#include "common/buffer.h"
#include "common/config.h"

#define CONSOLE_DIAL_MS_MAX    3000u
#define CONSOLE_COMMAND_MS_MAX 15000u /* the rm gives up sooner, and says why */
#define CONSOLE_REPLY_MAX      (16u << 20)

struct console {
    int fd;                   /* -1 when closed */
    char who[NAME_SIZE + 20]; /* "the rm", or the server */
    char address[CONFIG_ADDRESS_SIZE + 8];
    struct buffer in;
    size_t taken; /* bytes of the last reply, at the front of in */
};

/* Connects within wait_ms. */
enum error_code console_open(struct console *console, const struct config *config, uint32_t wait_ms,
                             struct error *error);
/* The same to the client port of a server. */
enum error_code console_open_server(struct console *console, const struct config_server *server,
                                    uint32_t wait_ms, struct error *error);
void console_close(struct console *console);

/* Sends one command. */
enum error_code console_send(struct console *console, uint32_t count, const char *const *words,
                             struct error *error);

/* Waits for the next whole reply, RESP, which is valid until the next call. An error reply is
 * ERROR_REFUSED with its words. */
enum error_code console_read(struct console *console, uint32_t wait_ms, struct bytes *reply,
                             struct error *error);

/* One command on a connection of its own, whose reply is copied into *text: a string as it is,
 * anything else as RESP. */
enum error_code console_call(const struct config *config, uint32_t wait_ms, uint32_t count,
                             const char *const *words, struct buffer *text, struct error *error);

#endif
