#include "common/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LISTEN_BACKLOG    4096 /* the kernel cuts it to net.core.somaxconn */
#define KEEPALIVE_IDLE_S  5
#define KEEPALIVE_EVERY_S 1
#define KEEPALIVE_COUNT   5

_Static_assert((KEEPALIVE_IDLE_S + KEEPALIVE_EVERY_S * KEEPALIVE_COUNT) * 1000 <=
                   SOCKET_SILENCE_MS_MAX,
               "probes find a silent peer within the silence allowed");

bool socket_is_path(const char *address)
{
    return strchr(address, '/') != NULL;
}

static enum error_code path_resolve(const char *path, struct socket_address *out,
                                    struct error *error)
{
    struct sockaddr_un *name = (struct sockaddr_un *)&out->storage;
    size_t size = strlen(path);

    if (size >= sizeof name->sun_path)
        return error_set(error, ERROR_CONFIG, "%s: a socket's path has at most %zu bytes, not %zu",
                         path, sizeof name->sun_path - 1, size);
    memset(&out->storage, 0, sizeof out->storage);
    name->sun_family = AF_UNIX;
    memcpy(name->sun_path, path, size);
    out->size = (socklen_t)sizeof *name;
    return ERROR_NONE;
}

enum error_code socket_resolve(const char *address, uint16_t port, struct socket_address *list,
                               uint32_t *count, struct error *error)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST };
    struct addrinfo *found = NULL;
    char service[8];
    int status;

    *count = 0;
    if (socket_is_path(address)) {
        *count = 1;
        return path_resolve(address, list, error);
    }
    snprintf(service, sizeof service, "%u", port);
    status = getaddrinfo(address, service, &hints, &found);
    if (status == EAI_NONAME) {
        hints.ai_flags = 0;
        status = getaddrinfo(address, service, &hints, &found);
    }
    if (status != 0)
        return error_set(error, ERROR_SYSTEM, "%s: no such address: %s", address,
                         gai_strerror(status));
    for (struct addrinfo *a = found; a && *count < SOCKET_ADDRESS_COUNT_MAX; a = a->ai_next) {
        memcpy(&list[*count].storage, a->ai_addr, a->ai_addrlen);
        list[(*count)++].size = a->ai_addrlen;
    }
    freeaddrinfo(found);
    return ERROR_NONE;
}

/* Makes room for a Unix socket: takes away a file that nobody answers on any more. */
static enum error_code path_vacate(const char *path, const struct socket_address *where,
                                   struct error *error)
{
    struct stat status;
    int fd, answer;

    if (lstat(path, &status) != 0)
        return errno == ENOENT ? ERROR_NONE : error_system(error, "%s", path);
    if (!S_ISSOCK(status.st_mode))
        return error_set(error, ERROR_SYSTEM, "%s: is in the way, and not a socket", path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_system(error, "%s: socket", path);
    answer = connect(fd, (const struct sockaddr *)&where->storage, where->size) ? errno : 0;
    close(fd);
    if (answer == 0 || answer == EAGAIN)
        return error_set(error, ERROR_SYSTEM, "%s: in use by a living process", path);
    if (unlink(path) != 0 && errno != ENOENT)
        return error_system(error, "%s: cannot take away the old socket", path);
    return ERROR_NONE;
}

static enum error_code listen_on(const struct socket_address *where, int *fd, const char *text,
                                 struct error *error)
{
    int family = where->storage.ss_family;
    int one = 1;

    *fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd < 0)
        return error_system(error, "%s: socket", text);
    if (family != AF_UNIX)
        (void)setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(*fd, (const struct sockaddr *)&where->storage, where->size) != 0 ||
        listen(*fd, LISTEN_BACKLOG) != 0) {
        error_system(error, "%s: cannot listen", text);
        close(*fd);
        *fd = -1;
        return error->code;
    }
    return ERROR_NONE;
}

enum error_code socket_listen(const char *address, uint16_t port, int *fd, struct error *error)
{
    struct socket_address list[SOCKET_ADDRESS_COUNT_MAX] = { 0 };
    char text[SOCKET_TEXT_SIZE];
    uint32_t count;

    *fd = -1;
    if (socket_resolve(address, port, list, &count, error) != ERROR_NONE)
        return error->code;
    if (socket_is_path(address)) {
        if (path_vacate(address, list, error) != ERROR_NONE)
            return error->code;
        snprintf(text, sizeof text, "%s", address);
    } else {
        snprintf(text, sizeof text, "%s:%u", address, port);
    }
    return listen_on(list, fd, text, error);
}

int socket_dial(const struct socket_address *address, bool *connected)
{
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int number;

    if (fd < 0)
        return -1;
    *connected = connect(fd, (const struct sockaddr *)&address->storage, address->size) == 0;
    if (*connected || errno == EINPROGRESS)
        return fd;
    number = errno;
    close(fd);
    errno = number;
    return -1;
}

void socket_options_set(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        { IPPROTO_TCP, TCP_NODELAY, 1 },
        { SOL_SOCKET, SO_KEEPALIVE, 1 },
        { IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S },
        { IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_EVERY_S },
        { IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT },
        { IPPROTO_TCP, TCP_USER_TIMEOUT, SOCKET_SILENCE_MS_MAX },
    };

    /* A Unix socket refuses most of these, and needs none of them. */
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int));
}

uint32_t socket_peer_pid(int fd)
{
    struct ucred credentials;
    socklen_t size = sizeof credentials;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0 || credentials.pid <= 0)
        return 0;
    return (uint32_t)credentials.pid;
}

void socket_peer_format(int fd, char text[SOCKET_TEXT_SIZE])
{
    struct sockaddr_storage name = { 0 };
    socklen_t size = sizeof name;
    char host[INET6_ADDRSTRLEN] = "?";

    if (getpeername(fd, (struct sockaddr *)&name, &size) != 0) {
        snprintf(text, SOCKET_TEXT_SIZE, "somebody who is gone");
    } else if (name.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&name;

        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        snprintf(text, SOCKET_TEXT_SIZE, "%s:%u", host, ntohs(in->sin_port));
    } else if (name.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&name;

        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
        snprintf(text, SOCKET_TEXT_SIZE, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else {
        snprintf(text, SOCKET_TEXT_SIZE, "local process %u", socket_peer_pid(fd));
    }
}

bool socket_error_is_certain(int number)
{
    return number == ECONNRESET || number == EPIPE || number == ECONNREFUSED;
}
