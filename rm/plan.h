/* plan - makes the next view out of the reports to a fence: its leader, its members, its lease
 * wait.
 *
 * Reads the view core and changes nothing. */
#ifndef HOLDFAST_RM_PLAN_H
#define HOLDFAST_RM_PLAN_H

#include "rm/view.h"

/* What the reports are measured by. */
enum plan_rule {
    PLAN_ELECTION,    /* rule 4, against the stored views */
    PLAN_ALL_SERVERS, /* no stored views, or older ones than the cluster's: every server must report
                       */
    PLAN_ACCEPT_LOSS, /* the operator said to go on with what there is */
};

struct plan {
    struct message_view view; /* the next one, without its number when there is none yet */
    bool all_equal_empty;     /* nothing was ever written: the first view of a cluster */
    uint32_t kept;            /* to be left out, but no view can be without them */
    uint64_t void_above;      /* stored views above it were never active, and never will be */
    struct message_view base; /* what the next one begins with, where no stored view tells; number
                                 0: nothing, or they do */
};

enum plan_rule plan_rule(const struct view *v);

/* The stored views are older than what the servers report: they cannot be relied upon. */
bool plan_store_outdated(const struct view *v);

/* Says that without stored views to go by these would have to be intact. */
void plan_say_lacking(const struct view *v, uint32_t set, char waits[VIEW_TEXT_SIZE]);

/* Appends what the operator can do so that these servers need not be waited for any longer. */
void plan_advise(const struct view *v, uint32_t set, char waits[VIEW_TEXT_SIZE]);

/* A joiner that may be taken in now. */
bool plan_joiner_ready(const struct view *v, struct instant now, node_id server);

/* Every member has the view's journal and a state: a chain may feed them. */
bool plan_all_adopted(const struct view *v);

/* Makes the plan; false when there can be none (yet), and waits says why. */
bool plan_make(const struct view *v, struct instant now, struct plan *plan,
               char waits[VIEW_TEXT_SIZE]);

#endif
