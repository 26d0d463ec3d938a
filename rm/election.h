/* election - who may lead the next view: rule 4 of DESIGN.md section 5, and nothing else.
 *
 * A report says what a server's journal holds, and that it will take part in no older view. A
 * server may lead when the reports that do not outrank its own are, for every view that may have
 * committed something its journal lacks, either that of the view's primary, or of as many members
 * as it takes for one of them to hold each committed entry: |members| - acks + 1; one more, or all,
 * where it takes some whose journals were cut when their machines lost their power. Why this is
 * safe is in rm/README.md. */
#ifndef HOLDFAST_RM_ELECTION_H
#define HOLDFAST_RM_ELECTION_H

#include "rm/saved.h"

struct election {
    bool persistent;  /* journals survive a restart: what they hold counts for later lives */
    uint32_t reports; /* set of the servers that have reported */
    struct message_report report[SERVER_COUNT_MAX]; /* what is known to count, of any life */
    struct message_report latest[SERVER_COUNT_MAX]; /* of the latest life that reported */
};

/* Why a server may not lead (yet). */
struct election_lack {
    uint64_t view;     /* that too few reports answer for */
    uint32_t count;    /* reports missing */
    uint32_t missing;  /* set of its members without a report that counts */
    uint32_t outranks; /* set of its members whose report counts, but outranks the server's */
    uint32_t cut;      /* set of those that count, but may lack the end of their journals */
};

void election_init(struct election *e, bool persistent);

/* Takes in a report. In `report` one of another life does not replace one that counts for a view of
 * *saved, unless it counts itself: what a fenced server held is a fact also after its death. */
void election_add(struct election *e, const struct saved *saved, node_id server,
                  const struct message_report *report);

/* Whether the server's report counts for that view; and for any of *saved. */
bool election_counts(const struct election *e, node_id server, const struct message_view *view);
bool election_counts_latest(const struct election *e, node_id server,
                            const struct message_view *view); /* of its latest life */
bool election_counts_any(const struct election *e, const struct saved *saved, node_id server);

/* Orders reports by what their journals hold: below, equal to or above zero. */
int election_compare(const struct message_report *a, const struct message_report *b);

/* Whether a journal holds everything that its server ever acknowledged: it is intact, or has grown
 * beyond the end of the intact one that was thrown away to join. */
bool election_holds_all(const struct message_report *report);

/* Whether that is in its own journal, or in the leader's: one that ranks no lower than the one that
 * was thrown away, and would lead all the same if that were still there. */
bool election_vouches(const struct message_report *report, const struct message_report *leader);

/* Whether the server may lead the next view. If not and lack is not NULL, *lack says why. */
bool election_permits(const struct election *e, const struct saved *saved, node_id server,
                      struct election_lack *lack);

#endif
