/* saved - what the rm must not forget: the views it issued, and what the operator wants.
 *
 * It is stored as a blob (format in rm/README.md, version SAVED_VERSION, little-endian) before
 * anything that depends on it is sent. The edge adds a checksum and puts it on disk. */
#ifndef HOLDFAST_RM_SAVED_H
#define HOLDFAST_RM_SAVED_H

#include "common/config.h"
#include "common/effects.h"
#include "common/limits.h"
#include "common/messages.h"

#define SAVED_VERSION        1u
#define SAVED_VIEWS_MAX      64u /* views not known to be void since the last one known active */
#define SAVED_VIEW_BYTES_MAX (8u + 1u + 1u + 1u + 1u + 4u + 4u + SERVER_COUNT_MAX * 8u)
#define SAVED_BYTES_MAX \
    (64u + SERVER_COUNT_MAX * (1u + NAME_SIZE) + SAVED_VIEWS_MAX * SAVED_VIEW_BYTES_MAX)

/* How views are to be made. */
struct view_policy {
    enum style style;
    enum propagation propagation;
    enum acks_policy acks;
    uint32_t acks_count; /* when acks is ACKS_COUNT */
};

struct saved {
    struct view_policy configured; /* what the config said when this was made */
    struct view_policy wanted; /* what is in force: the operator may have changed style or acks */
    uint32_t server_count;
    uint32_t stopped; /* set of the servers that the operator wants stopped */
    uint32_t view_count;
    struct message_view views[SAVED_VIEWS_MAX]; /* oldest first; the last is the current view */
    uint8_t bytes[SAVED_BYTES_MAX];             /* the blob of the last store */
};

/* Nothing is known yet. */
void saved_init(struct saved *saved, const struct view_policy *configured, uint32_t server_count);

/* Takes in a blob. A policy that differs from the one configured at the time of storing is a
 * changed config, which then rules; else what the operator changed stays in force. Wrong bytes, or
 * servers whose names are not those of the config, are ERROR_CONFIG and say what to do. */
enum error_code saved_load(struct saved *saved, struct bytes blob, struct error *error);

/* Appends EFFECT_STORE. A store that stands in *out already is brought up to date instead: it
 * stands before everything that will follow. */
void saved_store(struct saved *saved, struct effects *out);

/* The current view, or NULL when there was none yet. */
const struct message_view *saved_current(const struct saved *saved);

/* The stored view of that number, or NULL. */
const struct message_view *saved_view(const struct saved *saved, uint64_t number);

/* Members of a view with so many that must hold an entry; 0 when the policy asks for more. */
uint32_t view_policy_acks(const struct view_policy *policy, uint32_t member_count);

void saved_check(const struct saved *saved);

#endif
