#include "client/operator_console.h"

#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/resp.h"
#include "common/runtime.h"

#define WORDS_MAX  8u
#define READ_BYTES 65536u

/* Waits for the socket; 0 with errno ETIMEDOUT when the deadline has passed. */
static bool wait_for(int fd, short events, struct instant deadline)
{
    struct pollfd wanted = { .fd = fd, .events = events };
    int got;

    do {
        uint64_t left_ms = (instant_since_us(deadline, runtime_now()) + 999) / 1000;

        got = poll(&wanted, 1, left_ms > INT_MAX ? INT_MAX : (int)left_ms);
    } while (got < 0 && errno == EINTR);
    if (got == 0)
        errno = ETIMEDOUT;
    return got > 0;
}

/* How a connection that was begun ends: 0 or an errno. */
static int finish_dial(int fd, struct instant deadline)
{
    int failure = 0;
    socklen_t size = sizeof failure;

    if (!wait_for(fd, POLLOUT, deadline) ||
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &size) != 0)
        return errno;
    return failure;
}

/* Connects to one of the addresses; -1 with errno when none answers in time. */
static int dial(const struct addrinfo *addresses, struct instant deadline)
{
    int failure = ECONNREFUSED;

    for (const struct addrinfo *a = addresses; a != NULL; a = a->ai_next) {
        int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

        if (fd < 0)
            return -1;
        failure = connect(fd, a->ai_addr, a->ai_addrlen) == 0 ? 0 : errno;
        if (failure == EINPROGRESS)
            failure = finish_dial(fd, deadline);
        if (failure == 0)
            return fd;
        close(fd);
    }
    errno = failure;
    return -1;
}

static enum error_code open_at(struct console *console, const char *who, const char *address,
                               uint16_t port, uint32_t wait_ms, struct error *error)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
    struct addrinfo *addresses = NULL;
    char service[8];
    int failure;

    *console = (struct console){ .fd = -1 };
    snprintf(console->who, sizeof console->who, "%s", who);
    snprintf(console->address, sizeof console->address, "%s:%u", address, (unsigned)port);
    snprintf(service, sizeof service, "%u", (unsigned)port);
    failure = getaddrinfo(address, service, &hints, &addresses);
    if (failure != 0)
        return error_set(error, ERROR_SYSTEM, "cannot resolve the address of %s, %s: %s", who,
                         address, gai_strerror(failure));
    console->fd = dial(addresses, instant_add_ms(runtime_now(), wait_ms));
    freeaddrinfo(addresses);
    if (console->fd < 0)
        return error_system(error, "cannot reach %s at %s", who, console->address);
    return ERROR_NONE;
}

enum error_code console_open(struct console *console, const struct config *config, uint32_t wait_ms,
                             struct error *error)
{
    char who[NAME_SIZE + sizeof "the rm of cluster "];

    snprintf(who, sizeof who, "the rm of cluster %s", config->cluster);
    return open_at(console, who, config->rm.address, config->rm.console_port, wait_ms, error);
}

enum error_code console_open_server(struct console *console, const struct config_server *server,
                                    uint32_t wait_ms, struct error *error)
{
    return open_at(console, server->name, server->address, server->client_port, wait_ms, error);
}

void console_close(struct console *console)
{
    if (console->fd >= 0)
        close(console->fd);
    console->fd = -1;
    buffer_free(&console->in);
}

enum error_code console_send(struct console *console, uint32_t count, const char *const *words,
                             struct error *error)
{
    struct instant deadline = instant_add_ms(runtime_now(), CONSOLE_DIAL_MS_MAX);
    struct bytes argv[WORDS_MAX];
    struct buffer out = { 0 };
    enum error_code code = ERROR_NONE;

    for (uint32_t i = 0; i < count && i < WORDS_MAX; i++)
        argv[i] = bytes_string(words[i]);
    resp_write_command(&out, count < WORDS_MAX ? count : WORDS_MAX, argv);
    while (buffer_size(&out) > 0 && code == ERROR_NONE) {
        ssize_t sent = send(console->fd, buffer_head(&out), buffer_size(&out), MSG_NOSIGNAL);

        if (sent > 0)
            buffer_consume(&out, (size_t)sent);
        else if (errno == EAGAIN && wait_for(console->fd, POLLOUT, deadline))
            continue;
        else if (errno != EINTR)
            code = error_system(error, "cannot send to %s at %s", console->who, console->address);
    }
    buffer_free(&out);
    return code;
}

/* Reads what there is, once. */
static enum error_code read_more(struct console *console, struct instant deadline,
                                 struct error *error)
{
    ssize_t got;

    if (buffer_size(&console->in) > CONSOLE_REPLY_MAX)
        return error_set(error, ERROR_LIMIT, "the reply of %s has more than %u bytes", console->who,
                         CONSOLE_REPLY_MAX);
    if (!wait_for(console->fd, POLLIN, deadline))
        return error_system(error, "no reply of %s at %s", console->who, console->address);
    got = recv(console->fd, buffer_reserve(&console->in, READ_BYTES), READ_BYTES, 0);
    if (got > 0) {
        buffer_commit(&console->in, (size_t)got);
        return ERROR_NONE;
    }
    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return ERROR_NONE;
    if (got == 0)
        errno = ECONNRESET;
    return error_system(error, "%s at %s is gone", console->who, console->address);
}

/* "ERR no such server" as an operator reads it: without the word that programs look at. */
static enum error_code refused(struct bytes text, struct error *error)
{
    const char *words = (const char *)text.data;
    size_t size = text.size;

    if (size > 4 && memcmp(words, "ERR ", 4) == 0) {
        words += 4;
        size -= 4;
    }
    return error_set(error, ERROR_REFUSED, "%.*s", (int)size, words);
}

enum error_code console_read(struct console *console, uint32_t wait_ms, struct bytes *reply,
                             struct error *error)
{
    struct instant deadline = instant_add_ms(runtime_now(), wait_ms);
    struct resp_value value;

    buffer_consume(&console->in, console->taken);
    console->taken = 0;
    for (;;) {
        switch (resp_measure_reply(buffer_bytes(&console->in), &console->taken, error)) {
        case RESP_READY:
            *reply = bytes_of(buffer_head(&console->in), console->taken);
            resp_read_value(*reply, &value);
            if (value.type == RESP_ERROR || value.type == RESP_BULK_ERROR)
                return refused(value.text, error);
            return ERROR_NONE;
        case RESP_BROKEN: console->taken = 0; return error->code;
        case RESP_PARTIAL: console->taken = 0; break;
        }
        if (read_more(console, deadline, error) != ERROR_NONE)
            return error->code;
    }
}

enum error_code console_call(const struct config *config, uint32_t wait_ms, uint32_t count,
                             const char *const *words, struct buffer *text, struct error *error)
{
    struct console console;
    struct bytes reply = { 0 };
    struct resp_value value;
    enum error_code code = console_open(
        &console, config, wait_ms < CONSOLE_DIAL_MS_MAX ? wait_ms : CONSOLE_DIAL_MS_MAX, error);

    if (code == ERROR_NONE)
        code = console_send(&console, count, words, error);
    if (code == ERROR_NONE)
        code = console_read(&console, wait_ms, &reply, error);
    if (code == ERROR_NONE) {
        resp_read_value(reply, &value);
        if (value.type == RESP_STRING || value.type == RESP_BULK)
            reply = value.text;
        buffer_append(text, reply.data, reply.size);
    }
    console_close(&console);
    return code;
}
