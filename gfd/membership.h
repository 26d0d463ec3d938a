/* membership - the one list of which servers are alive, from what the lfds say.
 *
 * An lfd speaks for the servers of its host, and for no others. It adds and deletes them, and when
 * its link comes up it adds all it has and says `registered`. Heartbeats go to every lfd and tell
 * whether it is there:
 * - link lost: its servers are *unwatched*, and members for grace_ms more; an lfd that is back in
 * time and registers the same incarnations changes nothing;
 * - linked but silent for host_suspect_after_ms: its servers are deleted at once, uncertain, since
 * nobody can tell whether they run; when it answers again they are members again. Every change is
 * told to the rm. A pause of our own is held against nobody.
 *
 * The rm's orders are passed on to the lfd of the server; one that cannot be is answered with
 * start_failed. */
#ifndef HOLDFAST_GFD_MEMBERSHIP_H
#define HOLDFAST_GFD_MEMBERSHIP_H

#include "common/config.h"
#include "common/core.h"

struct membership_options {
    uint32_t host_count;
    uint32_t server_count;
    uint32_t host_of[SERVER_COUNT_MAX]; /* index of the host of each server */
    char host_name[HOST_COUNT_MAX][NAME_SIZE];
    uint32_t heartbeat_interval_ms; /* at least 1 */
    uint32_t host_suspect_after_ms; /* above the interval */
    uint32_t grace_ms;
};

struct membership_host {
    bool linked;
    bool silent;              /* linked, but does not answer */
    bool registered;          /* since the link came up */
    uint32_t pid;             /* of the lfd */
    uint64_t incarnation;     /* of the lfd */
    uint64_t heartbeat_count; /* sent since the link came up */
    uint64_t heard_count;     /* the latest of them that was answered */
    uint64_t silent_count; /* those sent when it was found silent: answers to them are old news */
    struct instant heard;  /* its last answer */
    struct instant grace_end; /* of its unwatched servers */
};

struct membership {
    struct membership_options options;
    bool announced; /* the first line is said */
    bool rm_linked;
    uint64_t version; /* grows by one with every change of members */
    struct members members;
    struct members claimed; /* what the lfds have said since their links came up, silent ones too */
    uint32_t unwatched;     /* members whose lfd is not there: a set */
    uint32_t pid[SERVER_COUNT_MAX]; /* of members, and of what is claimed */
    struct membership_host hosts[HOST_COUNT_MAX];
    struct instant beat_due;     /* next heartbeats to all lfds */
    struct instant accuse_after; /* nobody is accused before: we were late */
};

/* The options that the config gives to the gfd. */
struct membership_options membership_options_from(const struct config *config);

/* No members, no links. Copies the options, which must be within the bounds above. */
void membership_init(struct membership *m, const struct membership_options *options,
                     struct instant now);

/* Takes in one message and appends what follows from it. What its sender has no right to say is
 * refused with a note and changes nothing. */
void membership_receive(struct membership *m, struct instant now, const struct message *message,
                        struct effects *out);

/* Whether a life of a node may link up. A second lfd of a host, started by mistake in another run
 * directory, may not take the place of the first as long as that one answers: it knows of no
 * server, and all of the host's would be deleted. */
bool membership_admits(const struct membership *m, node_id node, uint64_t incarnation);

/* Lets time pass. Harmless when called before the deadline. */
void membership_tick(struct membership *m, struct instant now, struct effects *out);

/* When membership_tick() next has something to do. */
struct instant membership_deadline(const struct membership *m);

/* Asserts what must hold between any two calls. */
void membership_check(const struct membership *m);

CORE_DECLARE(membership);

#endif
