/* link - one connection that carries frames: bytes in, messages out, and a queue between.
 *
 * It knows sockets and frames, not who is at the other end nor the event loop: that is
 * runtime_links.c. What is sent is queued and goes out with link_flush(), many messages in
 * one system call; large bytes that a block owns are queued by reference. */
#ifndef HOLDFAST_COMMON_LINK_H
#define HOLDFAST_COMMON_LINK_H

#include "common/buffer.h"
#include "common/effects.h"
#include "common/messages.h"

#define LINK_READ_BYTES      ((size_t)64 * 1024)       /* asked for in one read */
#define LINK_READ_BYTES_MAX  ((size_t)1024 * 1024)     /* of one link in one turn: others wait */
#define LINK_WRITE_BYTES_MAX ((size_t)4 * 1024 * 1024) /* likewise */
#define LINK_COPY_BYTES_MAX  ((size_t)16 * 1024) /* above it, bytes of a block are not copied */

enum link_status {
    LINK_GOOD,    /* all done: everything sent, or something read */
    LINK_BLOCKED, /* the socket takes, or has, no more for now */
    LINK_CLOSED,  /* by the other side */
    LINK_FAILED,  /* errno says why */
};

/* A run of the queue: the next `size` bytes of `out`, or, when a block owns them, of `data`. */
struct link_piece {
    struct block *owner;
    const uint8_t *data;
    size_t size;
};

struct link {
    int fd;
    uint32_t frame_bytes_max; /* larger frames break the link */
    struct buffer in;
    struct buffer out;         /* what is copied of the queue */
    struct link_piece *pieces; /* the queue, in order */
    uint32_t piece_first, piece_count, piece_capacity;
    uint64_t queued_bytes; /* in all pieces */
};

/* Takes the descriptor over. */
void link_init(struct link *link, int fd, uint32_t frame_bytes_max);
/* Closes the descriptor and lets go of the queue. */
void link_free(struct link *link);

/* One read(2) into the input. LINK_GOOD when there may be more, LINK_BLOCKED when not. *size is
 * what came. */
enum link_status link_read(struct link *link, size_t *size);

/* The payload of the frame at the front; it stays there until link_frame_done(). ERROR_NONE with
 * payload->data NULL when no whole frame is there. A frame above the limit is ERROR_PROTOCOL. */
enum error_code link_frame(struct link *link, struct bytes *payload, struct error *error);
void link_frame_done(struct link *link, struct bytes payload);

/* Queues one message. A block that owns large bytes of it is held until they are written. */
void link_send(struct link *link, const struct message *message, struct block *owner);

/* Writes what is queued, with as few calls as it takes. LINK_BLOCKED: the rest when the socket is
 * writable, or next turn. */
enum link_status link_flush(struct link *link);

#endif
