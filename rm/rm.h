/* rm - the replication manager as a whole: roster, view, repair, the operator's commands and the
 * list of events, as one core.
 *
 * The daemon and the simulator drive it alike. Effects besides `send` and `note`: EFFECT_STORE
 * (data: make it durable before going on; when that fails, the rm must end) and EFFECT_ANSWER
 * (reference: of the command, number: 1 done, 0 refused, text). Each command is answered once,
 * within RM_COMMAND_MS_MAX. */
#ifndef HOLDFAST_RM_RM_H
#define HOLDFAST_RM_RM_H

#include "common/config.h"
#include "common/core.h"
#include "rm/repair.h"
#include "rm/view.h"

#define RM_EVENTS_MAX      1024u  /* kept for EVENTS; older ones are dropped */
#define RM_EVENT_TEXT_SIZE 256u   /* longer ones are cut */
#define RM_COMMANDS_MAX    32u    /* under way at one time */
#define RM_COMMAND_MS_MAX  10000u /* then it is refused, with what it waits for */

struct rm_options {
    uint32_t server_count, host_count;
    uint8_t server_host[SERVER_COUNT_MAX]; /* index of the host of each server */
    struct view_policy policy;             /* style, propagation, acks, acks_count */
    bool persistent;                       /* journals survive a restart: storage = "disk" */
    uint32_t grace_ms, lease_ms;
    uint32_t backoff_ms, backoff_ms_max, budget, budget_window_s;
    uint64_t seed;
    struct bytes stored; /* data of the last EFFECT_STORE; NULL if there never was one */
};

/* One line for the operator. */
struct rm_event {
    uint64_t sequence; /* from 1 */
    uint64_t time_us;  /* wall clock */
    char text[RM_EVENT_TEXT_SIZE];
};

struct rm_command {
    bool used;
    struct message_command command;
    struct instant deadline;
    uint64_t incarnation; /* of the server when the command came or it was found running, else 0 */
    bool absent;          /* it was not running since, as far as its lfd can tell */
    uint64_t view;        /* number of the view then */
};

struct rm {
    struct roster roster;
    struct saved saved;
    struct view view;
    struct repair repair;
    struct rm_command command[RM_COMMANDS_MAX];
    int64_t wall_offset_us;   /* wall clock minus the instants we are given */
    uint64_t event_sequence;  /* of the last event, 0 if none */
    uint64_t stored_sequence; /* last event before the last store */
    struct rm_event event[RM_EVENTS_MAX];
};

/* Everything but seed and stored, from the config. */
void rm_options_set(struct rm_options *options, const struct config *config);

/* Whether rm_init() can take the stored bytes in: otherwise an error that says what to do. */
enum error_code rm_stored_check(const struct rm_options *options, struct error *error);

/* The stored bytes must have passed rm_stored_check(); they are copied. *rm must not move. */
void rm_init(struct rm *rm, const struct rm_options *options, struct instant now);
void rm_receive(struct rm *rm, struct instant now, const struct message *message,
                struct effects *out);
void rm_tick(struct rm *rm, struct instant now, struct effects *out);
struct instant rm_deadline(const struct rm *rm);
void rm_check(const struct rm *rm);
CORE_DECLARE(rm);

/* For the times of events: what the wall clock says now. Without it they count from 0. */
void rm_wall(struct rm *rm, struct instant now, uint64_t wall_us);

/* The store is durable: events that follow it get this time. */
void rm_stored(struct rm *rm, uint64_t wall_us);

/* The event with that sequence, or NULL when it is dropped or yet to come. */
const struct rm_event *rm_event(const struct rm *rm, uint64_t sequence);

#endif
