#include "client/wire.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

void wire_init(struct wire *w, uint32_t index, uint32_t capacity)
{
    *w = (struct wire){ .fd = -1, .index = index, .capacity = capacity };
    w->entries = memory_zeroed(capacity, sizeof(*w->entries));
}

void wire_free(struct wire *w)
{
    wire_close(w);
    free(w->entries);
    buffer_free(&w->in);
    buffer_free(&w->out);
}

static void watch(const struct wire *w, int epoll, int operation, uint32_t events)
{
    struct epoll_event event = { .events = events, .data = { .u32 = w->index } };
    int failed = epoll_ctl(epoll, operation, w->fd, &event);

    assert(!failed || errno == ENOMEM || errno == ENOSPC);
    (void)failed; /* without memory the wire stays silent, and is closed for that */
}

static void become_up(struct wire *w)
{
    w->stage = WIRE_UP;
    w->position = 0;
}

void wire_dial(struct wire *w, int epoll, const struct address *address, struct instant now)
{
    int on = 1;

    assert(w->stage == WIRE_DOWN && w->count == 0);
    w->stage = WIRE_DIALLING;
    w->since = now;
    w->fd = socket(address->socket.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (w->fd < 0) {
        w->lost = true;
        return;
    }
    (void)setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(w->fd, (const struct sockaddr *)&address->socket, address->size) != 0 &&
        errno != EINPROGRESS && errno != EINTR)
        w->lost = true;
    else
        watch(w, epoll, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

static void receive(struct wire *w)
{
    size_t room;
    ssize_t got;

    do {
        room = buffer_size(&w->in) > WIRE_READ_BYTES ? buffer_size(&w->in) : WIRE_READ_BYTES;
        got = recv(w->fd, buffer_reserve(&w->in, room), room, 0);
        if (got > 0)
            buffer_commit(&w->in, (size_t)got);
    } while (got == (ssize_t)room || (got < 0 && errno == EINTR));
    if (got == 0 || (got < 0 && errno != EAGAIN))
        w->lost = true;
}

bool wire_heed(struct wire *w, int epoll, uint32_t events)
{
    int failure = 0;
    socklen_t size = sizeof(failure);

    if (w->stage == WIRE_UP) {
        if (events & EPOLLOUT)
            w->blocked = false;
        if (events & EPOLLOUT)
            watch(w, epoll, EPOLL_CTL_MOD, EPOLLIN);
        if (events & ~(uint32_t)EPOLLOUT)
            receive(w);
        return false;
    }
    if (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &failure, &size) != 0 || failure != 0) {
        w->lost = true;
        return false;
    }
    watch(w, epoll, EPOLL_CTL_MOD, EPOLLIN);
    become_up(w);
    return true;
}

void wire_push(struct wire *w, uint32_t lane, uint64_t request, struct instant now)
{
    assert(wire_takes(w));
    if (w->count == 0)
        w->since = now;
    w->entries[(w->first + w->count) % w->capacity] =
        (struct wire_entry){ .request = request, .position = w->position, .lane = lane };
    w->count++;
}

struct wire_entry wire_pop(struct wire *w, struct instant now)
{
    struct wire_entry entry = w->entries[w->first];

    assert(w->count > 0);
    w->first = (w->first + 1u) % w->capacity;
    w->count--;
    w->since = now;
    w->failures = 0;
    return entry;
}

bool wire_has_sent(const struct wire *w, const struct wire_entry *entry)
{
    return entry->position < w->position - buffer_size(&w->out);
}

void wire_flush(struct wire *w, int epoll)
{
    while (w->stage == WIRE_UP && !w->lost && !w->blocked && buffer_size(&w->out) > 0) {
        ssize_t sent = send(w->fd, buffer_head(&w->out), buffer_size(&w->out), MSG_NOSIGNAL);

        if (sent >= 0) {
            buffer_consume(&w->out, (size_t)sent);
        } else if (errno == EAGAIN) {
            w->blocked = true;
            watch(w, epoll, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
        } else if (errno != EINTR) {
            w->lost = true;
        }
    }
    w->dirty = false;
}

void wire_close(struct wire *w)
{
    if (w->fd >= 0)
        (void)close(w->fd); /* which ends the watch as well */
    w->fd = -1;
    w->stage = WIRE_DOWN;
    w->lost = false;
    w->blocked = false;
}

void wire_clear(struct wire *w)
{
    w->count = 0;
    w->first = 0;
    buffer_clear(&w->in, WIRE_KEEP_BYTES);
    buffer_clear(&w->out, WIRE_KEEP_BYTES);
}
