/* operator_timeline - finds the hops of one failover in the lines that the daemons logged.
 *
 * Every hop is known by who says it and by the words, which are those of DESIGN.md section 4. */
#ifndef HOLDFAST_CLIENT_OPERATOR_TIMELINE_H
#define HOLDFAST_CLIENT_OPERATOR_TIMELINE_H

#include "common/buffer.h"
#include "common/config.h"

enum hop {
    HOP_EXIT,      /* the lfd sees that the process is gone */
    HOP_DELETED,   /* the gfd deletes the member */
    HOP_FENCED,    /* the rm fences the survivors */
    HOP_STORED,    /* the new view is on disk */
    HOP_SERVING,   /* the new primary serves */
    HOP_ANSWERED,  /* a client has its first acknowledgement after the gap */
    HOP_RESTARTED, /* the new process of the victim answers its lfd */
    HOP_CAUGHT_UP,
    HOP_MEMBER, /* a view includes the victim again */
    HOP_COUNT
};

#define HOP_WORDS_SIZE 160u

struct timeline_hop {
    uint64_t time_us; /* wall clock; 0: not seen */
    char speaker[NAME_SIZE];
    char words[HOP_WORDS_SIZE];
};

struct timeline {
    char victim[NAME_SIZE];
    uint64_t killed_us; /* wall clock; lines before it are not looked at */
    struct timeline_hop hops[HOP_COUNT];
};

void timeline_init(struct timeline *timeline, const char *victim, uint64_t killed_us);

/* Takes in one line of a log, "[2026-11-20 18:22:49.123456] rm: view 8 stored", with or without its
 * line feed. The first line of each hop counts; others change nothing. */
void timeline_read(struct timeline *timeline, const char *line);

/* Notes a hop that no daemon logs. */
void timeline_note(struct timeline *timeline, enum hop hop, uint64_t time_us, const char *speaker,
                   const char *words);

/* Whether every hop was seen. */
bool timeline_is_whole(const struct timeline *timeline);

/* Writes the hops in the order of time, in microseconds since the kill; those that are missing
 * stand at the end. */
void timeline_write(const struct timeline *timeline, bool colours, struct buffer *out);

#endif
