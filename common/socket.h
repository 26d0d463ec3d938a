/* socket - what all sockets here have in common: addresses, options, listening and dialling.
 *
 * An address with a '/' in it is the path of a Unix socket, and has no port. Every socket
 * made here is non-blocking and closed on exec. */
#ifndef HOLDFAST_COMMON_SOCKET_H
#define HOLDFAST_COMMON_SOCKET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/error.h"

#define SOCKET_ADDRESS_COUNT_MAX 4u    /* addresses kept of one host name */
#define SOCKET_TEXT_SIZE         160u  /* an address in words, with its end */
#define SOCKET_SILENCE_MS_MAX    10000 /* unacknowledged bytes or probes: then the link is dead */

struct socket_address {
    struct sockaddr_storage storage;
    socklen_t size;
};

bool socket_is_path(const char *address);

/* The addresses of a number, a host name or a path, at most SOCKET_ADDRESS_COUNT_MAX; numbers
 * need no resolver, names may block for as long as it takes. */
enum error_code socket_resolve(const char *address, uint16_t port, struct socket_address *list,
                               uint32_t *count, struct error *error);

/* A listening socket. A Unix socket's file left by a process that is gone is replaced; one
 * that somebody answers on is an error. */
enum error_code socket_listen(const char *address, uint16_t port, int *fd, struct error *error);

/* Begins to connect: the descriptor, with *connected set when it is through already; or -1 and
 * errno. */
int socket_dial(const struct socket_address *address, bool *connected);

/* No delay, and an end to links whose other side fell silent. Harmless on Unix sockets. */
void socket_options_set(int fd);

/* Pid of the process at the other end of a Unix socket; 0 if there is none to be had. */
uint32_t socket_peer_pid(int fd);

/* Who is at the other end, in words: "127.0.0.1:4711", or "local process 4711". */
void socket_peer_format(int fd, char text[SOCKET_TEXT_SIZE]);

/* True when the other side closed or reset the connection; false for silence. */
bool socket_error_is_certain(int number);

#endif
