/* channel - one non-blocking connection of the library to a server, with its greeting.
 *
 * Speaks RESP3: after connecting it sends HELLO 3 and is open once that is answered. Errors on
 * the way do not return: they set `lost`, with the reason, and the owner sees to it. */
#ifndef HOLDFAST_CLIENT_CHANNEL_H
#define HOLDFAST_CLIENT_CHANNEL_H

#include <stdbool.h>

#include "client/address.h"
#include "common/buffer.h"

#define CHANNEL_READ_BYTES       ((size_t)64 << 10) /* one read; more for a large reply */
#define CHANNEL_KEEP_BYTES       ((size_t)1 << 20)  /* memory an empty buffer keeps */
#define CHANNEL_UNSENT_BYTES_MAX ((size_t)64 << 20) /* unsent: then nothing is added */
#define CHANNEL_REPLY_BYTES_MAX  ((size_t)2 << 30)  /* one reply: then it is lost */

enum channel_stage {
    CHANNEL_CLOSED,
    CHANNEL_DIALLING, /* the kernel is connecting */
    CHANNEL_GREETING, /* HELLO 3 is not answered yet */
    CHANNEL_OPEN,
};

struct channel {
    enum channel_stage stage;
    int fd; /* -1 when closed */
    bool lost;
    char reason[128]; /* why, when lost */
    struct buffer in, out;
};

void channel_init(struct channel *c);
void channel_free(struct channel *c);

/* Begins to connect. The connection must be closed. */
void channel_dial(struct channel *c, const struct address *address);

/* Closes it and drops what was not sent or read. Harmless when closed. */
void channel_close(struct channel *c);

/* Marks it lost, for a reason; the first one is kept. */
void channel_lose(struct channel *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What poll(2) should watch for. */
short channel_interest(const struct channel *c);

/* The descriptor is writable: ends the dialling, sends what waits. */
void channel_write(struct channel *c);

/* The descriptor is readable: appends to `in` what there is. */
void channel_read(struct channel *c);

/* The next whole reply in `in`, at its front, of *size bytes: to be consumed by the owner. The
 * answer to the greeting (which opens the connection) and pushed messages are skipped. Replies
 * that came before the connection was lost are still given. */
bool channel_reply(struct channel *c, size_t *size);

#endif
