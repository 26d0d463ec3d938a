/* runtime_links - inside the runtime: who is at the other end of each link, and how it got there.
 *
 * The dialling side speaks first: its hello says who it is and whom it means. The other side
 * checks that and answers with its own hello, or with a refusal that says what is wrong; so the
 * mistake is heard on both sides. Until its hello is in, a connection may send little, is given
 * little time, and there are few of them. */
#ifndef HOLDFAST_COMMON_RUNTIME_LINKS_H
#define HOLDFAST_COMMON_RUNTIME_LINKS_H

#include <event2/event.h>
#include <event2/event_struct.h>

#include "common/acceptor.h"
#include "common/histogram.h"
#include "common/link.h"
#include "common/random.h"
#include "common/runtime.h"
#include "common/socket.h"

#define HELLO_MS_MAX      2000u /* from connecting to the hello of the other side */
#define HELLO_BYTES_MAX   1024u /* a frame before that */
#define HELLO_WAITING_MAX 64u   /* accepted connections without a hello: the oldest must go */
#define LINK_LASTED_MS    1000u /* a link that stood so long ends the backoff of its dialling */
#define ACCEPTOR_COUNT    2u    /* places that a process listens on for links */
#define DELIVER_COUNT     64u   /* messages delivered from within perform(), of one call */

enum peer_state {
    PEER_DIALLING, /* connecting */
    PEER_AWAITED,  /* connected, its hello not in */
    PEER_LINKED,
    PEER_CUT, /* closed; the core is yet to be told, if it knew */
};

_Static_assert(HELLO_MS_MAX % 1000 == 0, "its timer counts in whole seconds");

/* One connection. */
struct peer {
    struct runtime *runtime;
    struct peer *next;       /* in the list of the awaited or of the cut */
    struct dialler *dialler; /* NULL when it was accepted */
    enum peer_state state;
    node_id node; /* NODE_NONE until its hello */
    bool told;    /* the core knows of it */
    bool certain; /* it was closed by the other side */
    bool writing; /* waits for the socket to be writable */
    uint64_t incarnation;
    uint32_t pid;         /* by the credentials of a Unix socket */
    struct instant since; /* linked */
    struct link link;
    struct event readable, writable, timer;
};

/* One node that we keep a link to. */
struct dialler {
    struct runtime *runtime;
    node_id node;
    struct socket_address list[SOCKET_ADDRESS_COUNT_MAX];
    uint32_t count, tried; /* addresses; the next one to try is tried modulo count */
    uint32_t backoff_ms;
    struct event timer;
    struct peer *peer; /* NULL between attempts */
    char where[SOCKET_TEXT_SIZE];
    char said[ERROR_TEXT_SIZE]; /* last complaint, so as not to repeat it */
};

/* Whether the link to a node is silent, and until when. */
struct silence {
    struct runtime *runtime; /* NULL: it never was */
    bool on;
    struct event timer;
};

struct runtime {
    struct runtime_options options;
    struct event_base *base;
    struct random random;
    struct instant now;
    bool now_fresh; /* read in this callback */
    bool busy;      /* within a call of the core or its effects */
    bool touched;   /* the core was called since its last tick */
    bool stopping, failed;
    uint64_t turns;
    struct instant turn_began; /* INSTANT_NEVER while it waits */
    struct histogram turn_times_us;
    struct effects *effects;
    struct message delivered[DELIVER_COUNT];
    uint32_t delivered_count;

    struct event timer; /* the core's deadline */
    struct instant timer_at;
    struct event signals;
    int signal_fd;
    uint32_t acceptor_count, dialler_count, awaited_count;
    struct acceptor acceptors[ACCEPTOR_COUNT];
    struct dialler diallers[NODE_COUNT];
    struct peer *links[NODE_COUNT];
    struct peer *awaited; /* dialled and accepted ones without a hello, oldest first */
    struct peer *cut;
    struct silence silences[NODE_COUNT];
    char refused[NODE_COUNT][ERROR_TEXT_SIZE]; /* last refusal of each, so as not to repeat it */
};

/* Tells the core of a message that has come, and carries out what it says. */
void runtime_receive(struct runtime *r, const struct message *message);

/* Sends to a node, if it is linked. */
void links_send(struct runtime *r, node_id to, const struct message *message, struct block *owner);
void links_flush(struct runtime *r);
/* Tells the core of the links that were cut, and dials again. */
void links_bury(struct runtime *r);
void links_close(struct runtime *r);

#endif
