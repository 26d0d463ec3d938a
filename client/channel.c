#include "client/channel.h"

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

void channel_init(struct channel *c)
{
    memset(c, 0, sizeof(*c));
    c->fd = -1;
}

void channel_free(struct channel *c)
{
    channel_close(c);
    buffer_free(&c->in);
    buffer_free(&c->out);
}

void channel_close(struct channel *c)
{
    if (c->fd >= 0)
        (void)close(c->fd); /* nothing is lost by an error here: replies are what counts */
    c->fd = -1;
    c->stage = CHANNEL_CLOSED;
    c->lost = false;
    buffer_clear(&c->in, CHANNEL_KEEP_BYTES);
    buffer_clear(&c->out, CHANNEL_KEEP_BYTES);
}

void channel_lose(struct channel *c, const char *format, ...)
{
    va_list arguments;

    if (c->lost)
        return;
    c->lost = true;
    va_start(arguments, format);
    (void)vsnprintf(c->reason, sizeof(c->reason), format, arguments);
    va_end(arguments);
}

static void greet(struct channel *c)
{
    c->stage = CHANNEL_GREETING;
    buffer_append_string(&c->out, "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n");
}

void channel_dial(struct channel *c, const struct address *address)
{
    int on = 1;

    assert(c->stage == CHANNEL_CLOSED);
    c->stage = CHANNEL_DIALLING;
    c->fd = socket(address->socket.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        channel_lose(c, "no socket: %s", strerror(errno));
        return;
    }
    /* Without it calls are slower, not wrong. */
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(c->fd, (const struct sockaddr *)&address->socket, address->size) == 0)
        greet(c);
    else if (errno != EINPROGRESS && errno != EINTR) /* interrupted, it goes on by itself */
        channel_lose(c, "cannot connect: %s", strerror(errno));
}

short channel_interest(const struct channel *c)
{
    if (c->stage == CHANNEL_DIALLING)
        return POLLOUT;
    return (short)(POLLIN | (buffer_size(&c->out) > 0 ? POLLOUT : 0));
}

static void finish_dialling(struct channel *c)
{
    int failure = 0;
    socklen_t size = sizeof(failure);

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &failure, &size) != 0)
        failure = errno;
    if (failure)
        channel_lose(c, "cannot connect: %s", strerror(failure));
    else
        greet(c);
}

void channel_write(struct channel *c)
{
    if (c->stage == CHANNEL_DIALLING)
        finish_dialling(c);
    while (!c->lost && c->stage >= CHANNEL_GREETING && buffer_size(&c->out) > 0) {
        ssize_t sent = send(c->fd, buffer_head(&c->out), buffer_size(&c->out), MSG_NOSIGNAL);

        if (sent >= 0)
            buffer_consume(&c->out, (size_t)sent);
        else if (errno == EAGAIN)
            return;
        else if (errno != EINTR)
            channel_lose(c, "lost: %s", strerror(errno));
    }
}

void channel_read(struct channel *c)
{
    for (;;) {
        size_t room = CHANNEL_READ_BYTES;
        ssize_t got;

        /* A large reply is looked at from its start after each read: fewer, larger reads. */
        if (buffer_size(&c->in) > room)
            room = buffer_size(&c->in);
        got = recv(c->fd, buffer_reserve(&c->in, room), room, 0);
        if (got > 0)
            buffer_commit(&c->in, (size_t)got);
        else if (got == 0)
            channel_lose(c, "lost: closed by the server");
        else if (errno != EAGAIN && errno != EINTR)
            channel_lose(c, "lost: %s", strerror(errno));
        if (buffer_size(&c->in) > CHANNEL_REPLY_BYTES_MAX)
            channel_lose(c, "lost: a reply above %zu bytes", CHANNEL_REPLY_BYTES_MAX);
        if (c->lost || (got < 0 && errno == EAGAIN) || (got > 0 && (size_t)got < room))
            return;
    }
}

static bool take_greeting(struct channel *c, size_t size)
{
    const char *text = (const char *)buffer_head(&c->in);

    if (text[0] == RESP_ERROR) {
        channel_lose(c, "lost: HELLO 3 refused: %.*s", (int)(size - 3), text + 1);
        return false;
    }
    buffer_consume(&c->in, size);
    c->stage = CHANNEL_OPEN;
    return true;
}

bool channel_reply(struct channel *c, size_t *size)
{
    while (c->stage >= CHANNEL_GREETING && buffer_size(&c->in) > 0) {
        struct error error;
        enum resp_status status = resp_measure_reply(buffer_bytes(&c->in), size, &error);

        if (status == RESP_BROKEN)
            channel_lose(c, "lost: %s", error.text);
        if (status != RESP_READY)
            return false;
        if (*buffer_head(&c->in) == RESP_PUSH)
            buffer_consume(&c->in, *size);
        else if (c->stage == CHANNEL_OPEN)
            return true;
        else if (!take_greeting(c, *size))
            return false;
    }
    return false;
}
