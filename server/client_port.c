#include "server/client_port.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/acceptor.h"
#include "common/log.h"
#include "common/socket.h"
#include "server/client_queue.h"

#define READ_BYTES_PER_TURN (4 * CLIENT_READ_BYTES) /* of one client */

struct client_port {
    struct clients *clients;
    struct runtime *runtime;
    struct client_queue queue; /* of those who have something to be read */
    struct acceptor acceptor;
    struct event timer; /* for clients_deadline() */
    struct instant timer_at;
    char local[CLIENT_ADDRESS_SIZE];
    uint8_t input[CLIENT_READ_BYTES]; /* of whoever is being read: most leave nothing behind */
};

struct client_socket {
    struct client_turn place; /* the first, so that it leads here */
    struct client_port *port;
    struct connection *connection;
    int fd;
    bool reading, writing; /* asked of the event loop */
    bool broken;           /* nothing can be read or written any more */
    struct event readable, writable;
};

static void socket_free(struct client_socket *s)
{
    client_queue_remove(&s->port->queue, &s->place);
    event_del(&s->readable);
    event_del(&s->writable);
    close(s->fd);
    connection_free(s->connection);
    free(s);
}

static ssize_t read_some(int fd, void *room, size_t size)
{
    ssize_t n;

    do
        n = read(fd, room, size);
    while (n < 0 && errno == EINTR);
    return n;
}

/* One read, into the end of a command that is not whole, or in place if there is none. Returns what
 * read(2) did, and whether that was all there was. */
static ssize_t read_once(struct client_socket *s, bool *more)
{
    struct connection *c = s->connection;
    struct client_port *port = s->port;
    size_t size = CLIENT_READ_BYTES;
    ssize_t n;

    if (buffer_size(&c->in) > 0) {
        size = connection_wanted(c);
        n = read_some(s->fd, buffer_reserve(&c->in, size), size);
        port->clients->now = runtime_refresh(port->runtime);
        if (n > 0)
            connection_fed(c, (size_t)n);
    } else {
        n = read_some(s->fd, port->input, size);
        port->clients->now = runtime_refresh(port->runtime);
        if (n > 0)
            connection_feed(c, bytes_of(port->input, (size_t)n));
    }
    *more = n == (ssize_t)size;
    return n;
}

static void read_client(struct client_socket *s)
{
    struct connection *c = s->connection;
    struct client_port *port = s->port;
    size_t sum = 0;
    ssize_t n = 1;
    bool more = true;

    while (more && n > 0 && sum < READ_BYTES_PER_TURN && connection_reads(c)) {
        n = read_once(s, &more);
        sum += n > 0 ? (size_t)n : 0;
        more = more && !client_queue_spent(&port->queue, runtime_turn_us(port->runtime));
    }
    if (n == 0)
        connection_finish(c);
    else if (n < 0 && errno != EAGAIN)
        s->broken = true;
    connection_touch(c);
}

/* Not always this client's turn, but somebody's. Who is left in the queue has still something to be
 * read, so the loop comes here again for each of them. */
static void on_readable(evutil_socket_t fd, short what, void *context)
{
    struct client_socket *s = context;
    struct client_port *port = s->port;
    struct client_turn *next;

    (void)fd;
    (void)what;
    client_queue_add(&port->queue, &s->place);
    next = client_queue_take(&port->queue, runtime_turns(port->runtime) + 1,
                             runtime_turn_us(port->runtime));
    if (next)
        read_client((struct client_socket *)next);
}

static void on_writable(evutil_socket_t fd, short what, void *context)
{
    struct client_socket *s = context;

    (void)fd;
    (void)what;
    connection_touch(s->connection); /* written at the end of the turn, as always */
}

static void ask(struct event *event, bool *asked, bool wanted)
{
    if (*asked == wanted)
        return;
    *asked = wanted;
    if (wanted)
        event_add(event, NULL);
    else
        event_del(event);
}

/* Writes as much as the socket takes; false when it is broken. */
static bool write_out(struct client_socket *s)
{
    struct connection *c = s->connection;
    ssize_t n;

    while (buffer_size(&c->out) > 0) {
        n = write(s->fd, buffer_head(&c->out), buffer_size(&c->out));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN;
        c->clients->total.output += (uint64_t)n;
        buffer_consume(&c->out, (size_t)n);
    }
    return true;
}

static void say_over(const struct connection *c)
{
    log_line(NOTE_WARN, "client %s is cut: it left more than %u MiB of replies unread", c->peer,
             c->clients->options.config->clients.client_output_mb_max);
}

static void settle(struct client_socket *s)
{
    struct connection *c = s->connection;

    if (c->over)
        say_over(c);
    if (s->broken || !write_out(s) || connection_done(c)) {
        socket_free(s);
        return;
    }
    ask(&s->readable, &s->reading, connection_reads(c));
    ask(&s->writable, &s->writing, buffer_size(&c->out) > 0);
    connection_account(c);
}

static void timer_set(struct client_port *port)
{
    struct instant deadline = clients_deadline(port->clients);
    uint64_t wait_us;
    struct timeval wait;

    if (deadline.ns == port->timer_at.ns)
        return;
    port->timer_at = deadline;
    event_del(&port->timer);
    if (deadline.ns == UINT64_MAX)
        return;
    wait_us = instant_since_us(deadline, port->clients->now) + 1;
    wait = (struct timeval){ .tv_sec = (time_t)(wait_us / 1000000u),
                             .tv_usec = (suseconds_t)(wait_us % 1000000u) };
    event_add(&port->timer, &wait);
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
    struct client_port *port = context;

    (void)fd;
    (void)what;
    port->timer_at = INSTANT_NEVER; /* the end of the turn does the rest */
}

void client_port_turn_end(struct client_port *port)
{
    struct clients *clients = port->clients;

    clients->now = runtime_turn_now(port->runtime);
    (void)clients_resume(clients);
    clients_limit(clients);
    while (clients->dirty) {
        struct connection *c = clients->dirty;

        clients->dirty = c->next_dirty;
        c->in_dirty = false;
        settle(c->socket);
    }
    timer_set(port);
}

static void turn_away(int fd)
{
    static const char text[] = "-ERR max number of clients reached\r\n";

    if (send(fd, text, sizeof text - 1, MSG_NOSIGNAL) < 0 && errno == EINTR)
        (void)send(fd, text, sizeof text - 1, MSG_NOSIGNAL);
    close(fd);
}

static void on_accepted(void *context, int fd)
{
    struct client_port *port = context;
    char peer[SOCKET_TEXT_SIZE];
    struct client_socket *s;
    struct connection *c;

    socket_peer_format(fd, peer);
    port->clients->now = runtime_turn_now(port->runtime);
    c = connection_new(port->clients, peer, port->local);
    if (!c) {
        turn_away(fd);
        return;
    }
    socket_options_set(fd);
    s = memory_zeroed(1, sizeof *s);
    s->port = port;
    s->connection = c;
    s->fd = c->fd = fd;
    c->socket = s;
    event_assign(&s->readable, runtime_base(port->runtime), fd, EV_READ | EV_PERSIST, on_readable,
                 s);
    event_assign(&s->writable, runtime_base(port->runtime), fd, EV_WRITE | EV_PERSIST, on_writable,
                 s);
    ask(&s->readable, &s->reading, true);
}

enum error_code client_port_open(struct client_port **out,
                                 const struct client_port_options *options, struct error *error)
{
    struct client_port *port = memory_zeroed(1, sizeof *port);
    struct event_base *base = runtime_base(options->runtime);

    port->runtime = options->runtime;
    port->acceptor.accepted = on_accepted;
    port->acceptor.context = port;
    port->acceptor.what = "clients";
    if (acceptor_open(&port->acceptor, base, options->address, options->port, error) !=
        ERROR_NONE) {
        free(port);
        return error->code;
    }
    port->clients = clients_new(&options->clients, runtime_turn_now(options->runtime));
    port->timer_at = INSTANT_NEVER;
    event_assign(&port->timer, base, -1, 0, on_timer, port);
    snprintf(port->local, sizeof port->local, "%s:%u", options->address, options->port);
    *out = port;
    return ERROR_NONE;
}

struct clients *client_port_clients(struct client_port *port)
{
    return port->clients;
}

void client_port_close(struct client_port *port)
{
    for (uint32_t i = 0; i < port->clients->capacity; i++)
        if (port->clients->places[i].connection)
            socket_free(port->clients->places[i].connection->socket);
    acceptor_close(&port->acceptor);
    event_del(&port->timer);
    clients_free(port->clients);
    free(port);
}
