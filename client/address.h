/* address - where the servers are: a list of names, hosts and ports, resolved once. */
#ifndef HOLDFAST_CLIENT_ADDRESS_H
#define HOLDFAST_CLIENT_ADDRESS_H

#include <stdint.h>
#include <sys/socket.h>

#include "common/error.h"
#include "common/limits.h"

#define ADDRESS_NAME_SIZE 128u /* bytes of a name with its end; longer ones are cut */

struct address {
    char name[ADDRESS_NAME_SIZE]; /* for messages: as given, or "host:port" */
    socklen_t size;
    struct sockaddr_storage socket;
};

struct addresses {
    uint32_t count;
    struct address list[SERVER_COUNT_MAX];
};

/* Resolves host (a number or a name; may block on DNS) and appends it. */
enum error_code addresses_add(struct addresses *addresses, const char *name, const char *host,
                              const char *port, struct error *error);

/* Reads "[name=]host:port,…"; an IPv6 host stands in brackets. At least one, at most
 * SERVER_COUNT_MAX. */
enum error_code addresses_parse(struct addresses *addresses, const char *list, struct error *error);

#endif
