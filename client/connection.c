#include "client/connection.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/resp.h"

void connection_init(struct connection *c)
{
    memset(c, 0, sizeof(*c));
    c->fd = -1;
}

void connection_free(struct connection *c)
{
    connection_close(c);
    buffer_free(&c->in);
    buffer_free(&c->out);
}

void connection_close(struct connection *c)
{
    if (c->fd >= 0)
        (void)close(c->fd); /* nothing is lost by an error here: replies are what counts */
    c->fd = -1;
    c->stage = CONNECTION_CLOSED;
    c->lost = false;
    buffer_clear(&c->in, CONNECTION_KEEP_BYTES);
    buffer_clear(&c->out, CONNECTION_KEEP_BYTES);
}

void connection_lose(struct connection *c, const char *format, ...)
{
    va_list arguments;

    if (c->lost)
        return;
    c->lost = true;
    va_start(arguments, format);
    (void)vsnprintf(c->reason, sizeof(c->reason), format, arguments);
    va_end(arguments);
}

static void greet(struct connection *c)
{
    c->stage = CONNECTION_GREETING;
    buffer_append_string(&c->out, "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n");
}

void connection_dial(struct connection *c, const struct address *address)
{
    int on = 1;

    assert(c->stage == CONNECTION_CLOSED);
    c->stage = CONNECTION_DIALLING;
    c->fd = socket(address->socket.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        connection_lose(c, "no socket: %s", strerror(errno));
        return;
    }
    /* Without it calls are slower, not wrong. */
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(c->fd, (const struct sockaddr *)&address->socket, address->size) == 0)
        greet(c);
    else if (errno != EINPROGRESS && errno != EINTR) /* interrupted, it goes on by itself */
        connection_lose(c, "cannot connect: %s", strerror(errno));
}

short connection_interest(const struct connection *c)
{
    if (c->stage == CONNECTION_DIALLING)
        return POLLOUT;
    return (short)(POLLIN | (buffer_size(&c->out) > 0 ? POLLOUT : 0));
}

static void finish_dialling(struct connection *c)
{
    int failure = 0;
    socklen_t size = sizeof(failure);

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &failure, &size) != 0)
        failure = errno;
    if (failure)
        connection_lose(c, "cannot connect: %s", strerror(failure));
    else
        greet(c);
}

void connection_write(struct connection *c)
{
    if (c->stage == CONNECTION_DIALLING)
        finish_dialling(c);
    while (!c->lost && c->stage >= CONNECTION_GREETING && buffer_size(&c->out) > 0) {
        ssize_t sent = send(c->fd, buffer_head(&c->out), buffer_size(&c->out), MSG_NOSIGNAL);

        if (sent >= 0)
            buffer_consume(&c->out, (size_t)sent);
        else if (errno == EAGAIN)
            return;
        else if (errno != EINTR)
            connection_lose(c, "lost: %s", strerror(errno));
    }
}

void connection_read(struct connection *c)
{
    for (;;) {
        size_t room = CONNECTION_READ_BYTES;
        ssize_t got;

        /* A large reply is looked at from its start after each read: fewer, larger reads. */
        if (buffer_size(&c->in) > room)
            room = buffer_size(&c->in);
        got = recv(c->fd, buffer_reserve(&c->in, room), room, 0);
        if (got > 0)
            buffer_commit(&c->in, (size_t)got);
        else if (got == 0)
            connection_lose(c, "lost: closed by the server");
        else if (errno != EAGAIN && errno != EINTR)
            connection_lose(c, "lost: %s", strerror(errno));
        if (buffer_size(&c->in) > CONNECTION_REPLY_BYTES_MAX)
            connection_lose(c, "lost: a reply above %zu bytes", CONNECTION_REPLY_BYTES_MAX);
        if (c->lost || (got < 0 && errno == EAGAIN) || (got > 0 && (size_t)got < room))
            return;
    }
}

static bool take_greeting(struct connection *c, size_t size)
{
    const char *text = (const char *)buffer_head(&c->in);

    if (text[0] == RESP_ERROR) {
        connection_lose(c, "lost: HELLO 3 refused: %.*s", (int)(size - 3), text + 1);
        return false;
    }
    buffer_consume(&c->in, size);
    c->stage = CONNECTION_OPEN;
    return true;
}

bool connection_reply(struct connection *c, size_t *size)
{
    while (c->stage >= CONNECTION_GREETING && buffer_size(&c->in) > 0) {
        struct error error;
        enum resp_status status = resp_measure_reply(buffer_bytes(&c->in), size, &error);

        if (status == RESP_BROKEN)
            connection_lose(c, "lost: %s", error.text);
        if (status != RESP_READY)
            return false;
        if (*buffer_head(&c->in) == RESP_PUSH)
            buffer_consume(&c->in, *size);
        else if (c->stage == CONNECTION_OPEN)
            return true;
        else if (!take_greeting(c, *size))
            return false;
    }
    return false;
}
