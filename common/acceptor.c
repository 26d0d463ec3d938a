#include "common/acceptor.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/socket.h"

#define ACCEPT_COUNT_PER_TURN 64     /* so that a crowd at the door does not stop the work */
#define ACCEPT_PAUSE_US       100000 /* when the system has no more to give */

static int reserve_open(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void say_exhausted(struct acceptor *a, int number)
{
    if (a->exhausted)
        return;
    a->exhausted = true;
    log_line(NOTE_ERROR, "cannot accept more %s: %s; closing new ones until there is room", a->what,
             strerror(number));
}

static void pause_a_while(struct acceptor *a)
{
    struct timeval wait = { .tv_sec = 0, .tv_usec = ACCEPT_PAUSE_US };

    event_del(&a->event);
    event_add(&a->resume, &wait);
}

/* Turns one connection away with the descriptor in reserve. False when that failed. */
static bool turn_away(struct acceptor *a)
{
    int fd;

    if (a->reserve < 0)
        a->reserve = reserve_open();
    if (a->reserve < 0)
        return false;
    close(a->reserve);
    fd = accept4(a->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        close(fd);
    a->reserve = reserve_open();
    return fd >= 0;
}

/* One connection; false when there are no more for now. */
static bool accept_one(struct acceptor *a)
{
    int fd = accept4(a->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd >= 0) {
        a->exhausted = false;
        a->accepted(a->context, fd);
        return true;
    }
    if (errno == EAGAIN)
        return false;
    /* Errors of the connection itself, which is gone: see accept(2). */
    if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM)
        return true;
    say_exhausted(a, errno);
    if (turn_away(a))
        return true;
    pause_a_while(a);
    return false;
}

static void on_connection(evutil_socket_t fd, short what, void *context)
{
    struct acceptor *a = context;

    (void)fd;
    (void)what;
    for (int i = 0; i < ACCEPT_COUNT_PER_TURN; i++)
        if (!accept_one(a))
            break;
}

static void on_resume(evutil_socket_t fd, short what, void *context)
{
    struct acceptor *a = context;

    (void)fd;
    (void)what;
    event_add(&a->event, NULL);
}

enum error_code acceptor_open(struct acceptor *a, struct event_base *base, const char *address,
                              uint16_t port, struct error *error)
{
    if (socket_listen(address, port, &a->fd, error) != ERROR_NONE)
        return error->code;
    a->reserve = reserve_open();
    a->exhausted = false;
    event_assign(&a->event, base, a->fd, EV_READ | EV_PERSIST, on_connection, a);
    event_assign(&a->resume, base, -1, 0, on_resume, a);
    event_add(&a->event, NULL);
    return ERROR_NONE;
}

void acceptor_close(struct acceptor *a)
{
    event_del(&a->event);
    event_del(&a->resume);
    close(a->fd);
    if (a->reserve >= 0)
        close(a->reserve);
}
