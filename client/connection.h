/* connection - one non-blocking connection of the library to a server, with its greeting.
 *
 * Speaks RESP3: after connecting it sends HELLO 3 and is open once that is answered. Errors on
 * the way do not return: they set `lost`, with the reason, and the owner sees to it. */
#ifndef HOLDFAST_CLIENT_CONNECTION_H
#define HOLDFAST_CLIENT_CONNECTION_H

#include <stdbool.h>

#include "client/address.h"
#include "common/buffer.h"

#define CONNECTION_READ_BYTES       ((size_t)64 << 10) /* one read; more for a large reply */
#define CONNECTION_KEEP_BYTES       ((size_t)1 << 20)  /* memory an empty buffer keeps */
#define CONNECTION_UNSENT_BYTES_MAX ((size_t)64 << 20) /* unsent: then nothing is added */
#define CONNECTION_REPLY_BYTES_MAX  ((size_t)2 << 30)  /* one reply: then it is lost */

enum connection_stage {
    CONNECTION_CLOSED,
    CONNECTION_DIALLING, /* the kernel is connecting */
    CONNECTION_GREETING, /* HELLO 3 is not answered yet */
    CONNECTION_OPEN,
};

struct connection {
    enum connection_stage stage;
    int fd; /* -1 when closed */
    bool lost;
    char reason[128]; /* why, when lost */
    struct buffer in, out;
};

void connection_init(struct connection *c);
void connection_free(struct connection *c);

/* Begins to connect. The connection must be closed. */
void connection_dial(struct connection *c, const struct address *address);

/* Closes it and drops what was not sent or read. Harmless when closed. */
void connection_close(struct connection *c);

/* Marks it lost, for a reason; the first one is kept. */
void connection_lose(struct connection *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* What poll(2) should watch for. */
short connection_interest(const struct connection *c);

/* The descriptor is writable: ends the dialling, sends what waits. */
void connection_write(struct connection *c);

/* The descriptor is readable: appends to `in` what there is. */
void connection_read(struct connection *c);

/* The next whole reply in `in`, at its front, of *size bytes: to be consumed by the owner. The
 * answer to the greeting (which opens the connection) and pushed messages are skipped. Replies
 * that came before the connection was lost are still given. */
bool connection_reply(struct connection *c, size_t *size);

#endif
