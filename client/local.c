#include "client/local.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "common/lock.h"
#include "common/runtime.h"

/* Address without port; loopback networks count as a whole. */
static bool address_equal(const struct sockaddr *a, const struct sockaddr *b)
{
    if (a->sa_family != b->sa_family)
        return false;
    if (a->sa_family == AF_INET)
        return ((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr ==
               ((const struct sockaddr_in *)(const void *)b)->sin_addr.s_addr;
    if (a->sa_family == AF_INET6)
        return memcmp(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr,
                      &((const struct sockaddr_in6 *)(const void *)b)->sin6_addr,
                      sizeof(struct in6_addr)) == 0;
    return false;
}

static bool is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)a;

        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    return a->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

static bool is_of_interface(const struct sockaddr *address, const struct ifaddrs *interfaces)
{
    for (const struct ifaddrs *i = interfaces; i != NULL; i = i->ifa_next) {
        if (i->ifa_addr != NULL && address_equal(address, i->ifa_addr))
            return true;
    }
    return false;
}

bool local_address(const char *address)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    struct addrinfo *found = NULL;
    struct ifaddrs *interfaces = NULL;
    bool local = false;

    if (getaddrinfo(address, NULL, &hints, &found) != 0)
        return false;
    if (getifaddrs(&interfaces) != 0)
        interfaces = NULL;
    for (const struct addrinfo *a = found; a != NULL && !local; a = a->ai_next)
        local = is_loopback(a->ai_addr) || is_of_interface(a->ai_addr, interfaces);
    freeifaddrs(interfaces);
    freeaddrinfo(found);
    return local;
}

bool local_resolves(const char *address, struct error *error)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    struct addrinfo *found = NULL;
    int failure = getaddrinfo(address, NULL, &hints, &found);

    if (failure == 0)
        freeaddrinfo(found);
    else
        error_set(error, ERROR_SYSTEM, "cannot resolve %s: %s", address, gai_strerror(failure));
    return failure == 0;
}

enum error_code local_port_check(const char *address, uint16_t port, const char *whose,
                                 struct error *error)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
    struct addrinfo *found = NULL;
    enum error_code code = ERROR_NONE;
    char service[8];
    int fd;

    snprintf(service, sizeof service, "%u", (unsigned)port);
    if (port == 0 || getaddrinfo(address, service, &hints, &found) != 0)
        return ERROR_NONE;
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* As the daemons do: connections of an earlier life are no hindrance, a listener is. */
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)) != 0 ||
        bind(fd, found->ai_addr, found->ai_addrlen) != 0)
        code = error_system(error, "cannot listen on %s port %s for %s", address, service, whose);
    if (fd >= 0)
        close(fd);
    freeaddrinfo(found);
    return code;
}

const char *local_node_address(const struct config *config, node_id node)
{
    if (node == NODE_RM)
        return config->rm.address;
    if (node == NODE_GFD)
        return config->gfd.address;
    if (node_is_lfd(node))
        return config->hosts[node_index(node)].address;
    return config->servers[node_index(node)].address;
}

pid_t local_node_pid(const struct config *config, node_id node)
{
    char file[NAME_SIZE + sizeof ".lock"];
    char path[CONFIG_PATH_SIZE];

    snprintf(file, sizeof file, "%s.lock", node_name(node));
    config_run_path(config, file, path);
    return lock_holder(path);
}

bool local_is_holdfast(pid_t pid)
{
    char path[64];
    char name[16] = "";
    ssize_t got;
    int fd;

    snprintf(path, sizeof path, "/proc/%ld/comm", (long)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    got = read(fd, name, sizeof name - 1);
    close(fd);
    return got > 0 && strncmp(name, "holdfast", strlen("holdfast")) == 0;
}

/* The word behind --run-dir in a command line as /proc shows it, each word ended by a zero byte. */
static const char *find_run_dir(const char *words, size_t size)
{
    const char *end = words + size, *at = words;

    while (at < end && strcmp(at, "--run-dir") != 0)
        at += strlen(at) + 1;
    at += at < end ? strlen(at) + 1 : 0;
    return at < end ? at : NULL;
}

bool local_run_dir(pid_t pid, char *path, size_t size)
{
    char file[64], words[2 * PATH_MAX], folder[PATH_MAX] = "";
    const char *run_dir;
    ssize_t got;
    int fd, length;

    snprintf(file, sizeof file, "/proc/%ld/cmdline", (long)pid);
    fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    got = read(fd, words, sizeof words - 1);
    close(fd);
    words[got > 0 ? got : 0] = '\0';
    run_dir = find_run_dir(words, got > 0 ? (size_t)got : 0);
    if (run_dir == NULL)
        return false;
    snprintf(file, sizeof file, "/proc/%ld/cwd", (long)pid);
    got = run_dir[0] == '/' ? 0 : readlink(file, folder, sizeof folder - 1);
    if (got < 0)
        return false;
    folder[got] = '\0';
    length = snprintf(path, size, "%s%s%s", folder, run_dir[0] == '/' ? "" : "/", run_dir);
    return length > 0 && (size_t)length < size;
}

enum error_code local_program(const char *name, char *path, size_t size, struct error *error)
{
    ssize_t got = readlink("/proc/self/exe", path, size - 1);
    char *slash;

    if (got < 0)
        return error_system(error, "cannot read /proc/self/exe");
    path[got] = '\0';
    slash = strrchr(path, '/');
    if (slash == NULL || (size_t)(slash + 1 - path) + strlen(name) >= size)
        return error_set(error, ERROR_LIMIT, "%s: the path is too long", path);
    memcpy(slash + 1, name, strlen(name) + 1);
    if (access(path, X_OK) != 0)
        return error_system(error, "cannot run %s", path);
    return ERROR_NONE;
}

bool local_ignores(int signal)
{
    struct sigaction action;

    return sigaction(signal, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

bool local_wait_gone(pid_t pid, uint32_t wait_ms)
{
    struct instant deadline = instant_add_ms(runtime_now(), wait_ms);
    struct pollfd ended = { .fd = pidfd_open(pid, 0), .events = POLLIN };
    int got = -1;

    if (ended.fd < 0)
        return errno == ESRCH;
    for (;;) {
        struct instant now = runtime_now();

        if (instant_reached(now, deadline) && got >= 0)
            break;
        got = poll(&ended, 1, (int)instant_since_ms(deadline, now));
        if (got > 0 || (got < 0 && errno != EINTR))
            break;
    }
    close(ended.fd);
    return got > 0;
}
