/* acceptor - a listening socket that hands over connections, and never spins.
 *
 * Out of descriptors, it still accepts, with one held in reserve, and closes at once: the
 * client hears a clear end instead of waiting, and the listening socket does not stay
 * readable for ever. */
#ifndef HOLDFAST_COMMON_ACCEPTOR_H
#define HOLDFAST_COMMON_ACCEPTOR_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>

#include "common/error.h"

struct acceptor {
    int fd;
    int reserve;         /* given up for a moment when there are no others; -1 when it is lost */
    bool exhausted;      /* said so already */
    struct event event;  /* a connection waits */
    struct event resume; /* after a pause, when not even the reserve helped */
    void (*accepted)(void *context, int fd);
    void *context;
    const char *what; /* whose connections, for the log; must outlive the acceptor */
};

/* Listens on address:port or a path (see socket.h). accepted() is called with each connection
 * and owns it. The acceptor must stay where it is until acceptor_close(). */
enum error_code acceptor_open(struct acceptor *a, struct event_base *base, const char *address,
                              uint16_t port, struct error *error);
void acceptor_close(struct acceptor *a);

#endif
