/* roster - what the rm knows of the others: who is linked, what they said last, whom the gfd lists.
 *
 * The one home of these facts; the view and repair cores read them here. It judges what an absence
 * means: a delete that the gfd announces is one at once, but a server that is merely missing in the
 * list of a gfd that has just come (back) is taken for dead only when that gfd has been there for
 * grace_ms; after a pause of our own, for as long again. While the gfd is away nothing changes. */
#ifndef HOLDFAST_RM_ROSTER_H
#define HOLDFAST_RM_ROSTER_H

#include "common/effects.h"
#include "common/instant.h"
#include "common/messages.h"

struct roster_server {
    bool linked;
    bool state_known;          /* state is of the present or the last link */
    bool unwatched;            /* listed, but its lfd is away */
    bool confirmed;            /* listed since the gfd's link is up */
    bool gone_certain;         /* the process of `gone` has ended */
    uint32_t pid;              /* 0 if not known */
    uint64_t link_incarnation; /* of the present link, or the last one */
    uint64_t listed;           /* incarnation in the membership, 0 if none */
    uint64_t gone;             /* incarnation deleted last, 0 if none */
    struct message_state state;
    struct message_progress progress;  /* of its recovery or join, if of its present life */
    char last_exit[MESSAGE_TEXT_SIZE]; /* why the last life ended or none began; empty: neither */
};

struct roster_host {
    bool up;
    uint32_t pid;
    struct instant since; /* when it last came or went */
};

struct roster {
    uint32_t server_count, host_count, grace_ms;
    struct roster_server server[SERVER_COUNT_MAX];
    struct roster_host host[HOST_COUNT_MAX];
    bool gfd_linked;
    bool gfd_listed;          /* it has sent its list since the link is up */
    bool gfd_settled;         /* there for grace_ms: what it does not list is dead */
    struct instant gfd_since; /* it came, went or listed first, or our pause ended */
    uint64_t gfd_incarnation;
    uint32_t gfd_pid;
    uint64_t version;      /* of the membership */
    uint64_t promised_max; /* highest view number that any server said it has promised */
    uint64_t view_max; /* highest view number that any server said it is in, or has a journal of */
};

void roster_init(struct roster *r, uint32_t server_count, uint32_t host_count, uint32_t grace_ms);
void roster_receive(struct roster *r, struct instant now, const struct message *message,
                    struct effects *out);
void roster_tick(struct roster *r, struct instant now, struct effects *out);
struct instant roster_deadline(const struct roster *r);
void roster_check(const struct roster *r);

/* Linked under that incarnation, and nothing is known against its being alive. */
bool roster_alive(const struct roster *r, node_id server, uint64_t incarnation);

/* That incarnation is taken for dead: deleted, replaced by another, or missing for long enough. */
bool roster_dead(const struct roster *r, node_id server, uint64_t incarnation);

/* That incarnation has certainly ended. */
bool roster_certainly_dead(const struct roster *r, node_id server, uint64_t incarnation);

/* How far the recovery or join of the server's present life is; its phase is PHASE_NONE when there
 * is none. */
struct message_progress roster_progress(const struct roster *r, node_id server);

bool roster_is_server(const struct roster *r, node_id node);

/* Sets of servers: bit i is set when server i is in it. */
static inline bool in_set(uint32_t set, uint32_t i)
{
    return set >> i & 1u;
}

/* Room for "s1, s2, …" of all servers. */
#define ROSTER_NAMES_SIZE ((size_t)SERVER_COUNT_MAX * (NAME_SIZE + 2u))
/* "s1, s3", or "none"; returns text. */
const char *roster_names(uint32_t set, char text[ROSTER_NAMES_SIZE]);

#endif
