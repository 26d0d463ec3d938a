/* client_port - the sockets of the clients: accepts them, reads what they send, and writes what the
 * connections of clients.h have to say, once at the end of each turn. */
#ifndef HOLDFAST_SERVER_CLIENT_PORT_H
#define HOLDFAST_SERVER_CLIENT_PORT_H

#include "common/runtime.h"
#include "server/clients.h"

struct client_port;

struct client_port_options {
    struct clients_options clients;
    struct runtime *runtime; /* must outlive the port */
    const char *address;
    uint16_t port;
};

/* Listens. An address in use is an error that names it. */
enum error_code client_port_open(struct client_port **port,
                                 const struct client_port_options *options, struct error *error);

/* The end of a turn: lets connections go on that waited, writes what there is to write, and closes
 * what is done. Call it from the runtime's turn_end. */
void client_port_turn_end(struct client_port *port);

/* For clients_reply(), and the number of connections. */
struct clients *client_port_clients(struct client_port *port);

/* Closes all connections. */
void client_port_close(struct client_port *port);

#endif
