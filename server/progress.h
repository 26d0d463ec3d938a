/* progress - how far a recovery or a join has got, in bytes, and how long it will yet take: for the
 * log, for INFO and for the rm. */
#ifndef HOLDFAST_SERVER_PROGRESS_H
#define HOLDFAST_SERVER_PROGRESS_H

#include "common/instant.h"
#include "common/messages.h"

#define PROGRESS_SAY_MS_MIN 200u  /* between two lines in the log, a tenth of the whole apart … */
#define PROGRESS_SAY_MS_MAX 2000u /* … or as late as this */
#define PROGRESS_TELL_MS    250u  /* between two words to the rm */
#define PROGRESS_TEXT_SIZE  80u

struct progress {
    enum phase phase;
    uint64_t bytes, bytes_total; /* total 0: not known; it may prove too low */
    struct instant started;
    struct instant said; /* the last line in the log */
    uint32_t said_percent;
};

void progress_begin(struct progress *p, struct instant now, enum phase phase, uint64_t bytes_total);

/* 100 only when the total is reached; 0 when it is not known. */
uint32_t progress_percent(const struct progress *p);
/* If it goes on as it went so far; 0 when that cannot be told. */
uint32_t progress_left_ms(const struct progress *p, struct instant now);
uint32_t progress_mb_per_second(const struct progress *p, struct instant now);

/* Whether it is time for a line in the log: "43 % of 1300 MB, 210 MB/s, 4 s left". */
bool progress_say(struct progress *p, struct instant now, char text[PROGRESS_TEXT_SIZE]);

/* The same for the rm. */
struct message progress_message(const struct progress *p, struct instant now, node_id server,
                                uint64_t incarnation);

#endif
