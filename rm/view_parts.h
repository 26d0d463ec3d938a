/* view_parts - what the files of the view core share, and what each of them does. Not for others:
 * they use view.h. */
#ifndef HOLDFAST_RM_VIEW_PARTS_H
#define HOLDFAST_RM_VIEW_PARTS_H

#include "rm/view.h"

/* NULL: there is none yet. */
static inline const struct message_view *current_of(const struct view *v)
{
    return saved_current(v->saved);
}

static inline bool is_member_alive(const struct view *v, uint32_t i)
{
    const struct message_view *current = current_of(v);

    return in_set(current->members.set, i) &&
           roster_alive(v->roster, NODE_SERVER(i), current->members.incarnation[i]);
}

static inline bool is_primary(const struct view *v, node_id from)
{
    const struct message_view *current = current_of(v);

    return current && from == current->primary &&
           members_has(&current->members, from,
                       v->roster->server[node_index(from)].link_incarnation);
}

/* view_reasons.c: why a change is needed. */

/* Says why in reason; or, when it is but cannot begin, what it waits for. */
bool reasons_for_change(struct view *v, struct instant now, char reason[VIEW_TEXT_SIZE],
                        struct effects *out);
/* Every server is there, and can say what it acknowledged; else says what is waited for. */
bool reasons_all_servers_here(struct view *v, struct instant now, struct effects *out);
/* All members can be fenced; but those who do not come back are not waited for for ever. */
bool reasons_members_here(const struct view *v, struct instant now);
/* What is left of the view without these servers would still be one. */
bool reasons_can_be_without(const struct view *v, uint32_t without);

/* view_change.c: a change, from the fence to the new view. */

/* Begins it, or begins it anew above a number promised to somebody else: an rm before us. */
void change_begin(struct view *v, struct instant now, const char *reason, struct effects *out);
/* Takes its fence back: the store proved to be an old one, and there is a later view. */
void change_stand_back(struct view *v, struct effects *out);
void change_send_fence(const struct view *v, uint32_t i, struct effects *out);
/* To all that have not reported; the reason, unless it is NULL, is noted. */
void change_send_fences(struct view *v, struct instant now, const char *reason,
                        struct effects *out);
/* Until when reports are worth waiting for, once there are enough. */
struct instant change_awaited_until(const struct view *v);
/* Issues the view when there is enough to go by. */
bool change_conclude(struct view *v, struct instant now, struct effects *out);
void change_send_view(const struct view *v, uint32_t i, struct effects *out);
/* Says what is being waited for, once per change; what is over soon is not worth a word. */
void change_say_waits(struct view *v, struct instant now, const char *waits, struct effects *out);

/* view_accusations.c: members that cannot reach each other, or keep nothing. */
void accusations_hear(struct view *v, struct instant now, node_id from,
                      const struct message_accuse *m, struct effects *out);
void accusations_decide(struct view *v, struct instant now);
/* It stays out for a while, which doubles, so that a link that comes and goes does not make a view
 * each time. */
void accusations_pause(struct view *v, struct instant now, uint32_t i);

/* view_donations.c: joiners, and who gives them a checkpoint. */
void donations_caught_up(struct view *v, node_id from, const struct message_caught_up *m,
                         struct effects *out);
void donations_wanted(struct view *v, struct instant now, node_id from,
                      const struct message_donor_wanted *m, struct effects *out);

/* view_operator.c: what the operator asks for; in view.h. */

#endif
