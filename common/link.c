#include "common/link.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define FRAME_SIZE_BYTES 4u  /* u32 before each payload */
#define FRAME_BYTES_MIN  2u  /* a payload has its type at least */
#define LINK_VECTORS     64u /* pieces written in one call */

void link_init(struct link *link, int fd, uint32_t frame_bytes_max)
{
    *link = (struct link){ .fd = fd, .frame_bytes_max = frame_bytes_max };
}

static void pieces_consume(struct link *link, size_t size)
{
    link->queued_bytes -= size;
    while (size > 0) {
        struct link_piece *piece = &link->pieces[link->piece_first];
        size_t part = piece->size < size ? piece->size : size;

        if (piece->owner)
            piece->data += part;
        else
            buffer_consume(&link->out, part);
        piece->size -= part;
        size -= part;
        if (piece->size > 0)
            break;
        if (piece->owner)
            block_release(piece->owner);
        link->piece_first++;
        link->piece_count--;
    }
    if (link->piece_count == 0) {
        link->piece_first = 0;
        buffer_clear(&link->out, LINK_READ_BYTES);
    }
}

void link_free(struct link *link)
{
    pieces_consume(link, (size_t)link->queued_bytes);
    if (link->fd >= 0)
        close(link->fd);
    link->fd = -1;
    free(link->pieces);
    link->pieces = NULL;
    buffer_free(&link->in);
    buffer_free(&link->out);
}

static uint32_t frame_size(const struct link *link)
{
    const uint8_t *p = buffer_head(&link->in);

    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* How much to ask for: the rest of a large frame, in steps that the bytes already there vouch
 * for, so that a size alone takes no memory. */
static size_t read_size(const struct link *link)
{
    size_t have = buffer_size(&link->in);
    size_t want = LINK_READ_BYTES;

    if (have >= FRAME_SIZE_BYTES && frame_size(link) <= link->frame_bytes_max) {
        size_t whole = FRAME_SIZE_BYTES + (size_t)frame_size(link);

        if (whole > have + want)
            want = whole - have < have ? whole - have : have;
    }
    if (want < LINK_READ_BYTES)
        want = LINK_READ_BYTES;
    return want > LINK_READ_BYTES_MAX ? LINK_READ_BYTES_MAX : want;
}

enum link_status link_read(struct link *link, size_t *size)
{
    size_t want = read_size(link);
    uint8_t *room = buffer_reserve(&link->in, want);
    ssize_t n;

    *size = 0;
    do
        n = read(link->fd, room, want);
    while (n < 0 && errno == EINTR);
    if (n == 0)
        return LINK_CLOSED;
    if (n < 0)
        return errno == EAGAIN ? LINK_BLOCKED : LINK_FAILED;
    *size = (size_t)n;
    buffer_commit(&link->in, *size);
    return *size == want ? LINK_GOOD : LINK_BLOCKED;
}

enum error_code link_frame(struct link *link, struct bytes *payload, struct error *error)
{
    size_t have = buffer_size(&link->in);
    uint32_t size;

    *payload = bytes_of(NULL, 0);
    if (have < FRAME_SIZE_BYTES)
        return ERROR_NONE;
    size = frame_size(link);
    if (size < FRAME_BYTES_MIN || size > link->frame_bytes_max)
        return error_set(error, ERROR_PROTOCOL, "a frame of %u bytes, expected %u to %u", size,
                         FRAME_BYTES_MIN, link->frame_bytes_max);
    if (have - FRAME_SIZE_BYTES >= size)
        *payload = bytes_of(buffer_head(&link->in) + FRAME_SIZE_BYTES, size);
    return ERROR_NONE;
}

void link_frame_done(struct link *link, struct bytes payload)
{
    buffer_consume(&link->in, FRAME_SIZE_BYTES + payload.size);
    if (buffer_size(&link->in) == 0)
        buffer_clear(&link->in, 4 * LINK_READ_BYTES);
}

/* The `bytes` field of a message, empty if it has none; from the table. */
#define TAIL_u8(name)
#define TAIL_u32(name)
#define TAIL_u64(name)
#define TAIL_node(name)
#define TAIL_text(name)
#define TAIL_members(name)
#define TAIL_lives(name)
#define TAIL_bytes(name) tail = fields->name;
#define TAIL(kind, name) TAIL_##kind(name)
#define X(number, name, NAME)                                 \
    case MESSAGE_##NAME: {                                    \
        const struct message_##name *fields = &message->name; \
        (void)fields;                                         \
        NAME##_FIELDS(TAIL) break;                            \
    }
static struct bytes message_tail(const struct message *message)
{
    struct bytes tail = bytes_of(NULL, 0);

    switch (message->type) {
        MESSAGES(X)
    }
    return tail;
}
#undef X

static struct link_piece *piece_add(struct link *link)
{
    uint32_t end = link->piece_first + link->piece_count;

    if (end == link->piece_capacity && link->piece_first > 0) {
        memmove(link->pieces, link->pieces + link->piece_first,
                link->piece_count * sizeof *link->pieces);
        link->piece_first = 0;
    } else if (end == link->piece_capacity) {
        link->piece_capacity = end ? 2 * end : 8;
        link->pieces = memory_grown(link->pieces, link->piece_capacity * sizeof *link->pieces);
    }
    return &link->pieces[link->piece_first + link->piece_count++];
}

/* Counts in what was appended to `out`. */
static void queue_copied(struct link *link, size_t size)
{
    uint32_t end = link->piece_first + link->piece_count;

    link->queued_bytes += size;
    if (link->piece_count > 0 && !link->pieces[end - 1].owner)
        link->pieces[end - 1].size += size;
    else
        *piece_add(link) = (struct link_piece){ .size = size };
}

void link_send(struct link *link, const struct message *message, struct block *owner)
{
    size_t before = buffer_size(&link->out);
    struct bytes tail = message_tail(message);

    if (!owner || tail.size <= LINK_COPY_BYTES_MAX) {
        message_encode(message, &link->out);
        queue_copied(link, buffer_size(&link->out) - before);
        return;
    }
    message_encode_head(message, &link->out);
    queue_copied(link, buffer_size(&link->out) - before);
    block_hold(owner);
    *piece_add(link) = (struct link_piece){ owner, tail.data, tail.size };
    link->queued_bytes += tail.size;
}

/* Points the vectors at the front of the queue. */
static int vectors_fill(const struct link *link, struct iovec *vectors)
{
    const uint8_t *copied = buffer_bytes(&link->out).data;
    uint32_t count = link->piece_count < LINK_VECTORS ? link->piece_count : LINK_VECTORS;

    for (uint32_t i = 0; i < count; i++) {
        const struct link_piece *piece = &link->pieces[link->piece_first + i];

        vectors[i].iov_base = (void *)(piece->owner ? piece->data : copied);
        vectors[i].iov_len = piece->size;
        if (!piece->owner)
            copied += piece->size;
    }
    return (int)count;
}

enum link_status link_flush(struct link *link)
{
    struct iovec vectors[LINK_VECTORS];
    size_t written = 0;

    while (link->piece_count > 0) {
        int count = vectors_fill(link, vectors);
        ssize_t n = writev(link->fd, vectors, count);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? LINK_BLOCKED : LINK_FAILED;
        pieces_consume(link, (size_t)n);
        written += (size_t)n;
        if (written >= LINK_WRITE_BYTES_MAX && link->piece_count > 0)
            return LINK_BLOCKED;
    }
    return LINK_GOOD;
}
