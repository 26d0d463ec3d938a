/* sim - a whole cluster in one process, in virtual time: the same cores as the daemons, with
 * clients, a network and faults between them. A seed decides everything; the same options give the
 * same run, byte for byte.
 *
 * For stories: make one with sim_new(), make something happen, let time pass, look. The invariants
 * (checks.h) are checked after every turn of every process; the first that does not hold ends the
 * run: sim_failure() then says which. */
#ifndef HOLDFAST_SIMULATOR_SIM_H
#define HOLDFAST_SIMULATOR_SIM_H

#include <stdbool.h>
#include <stdio.h>

#include "common/config.h"

#define SIM_CLIENT_COUNT_MAX 32u

/* What a run is made of. sim_options_drawn() fills it from a seed; a story sets what it is about.
 */
struct sim_options {
    uint64_t seed;
    FILE *trace;             /* what happens, a line each; NULL: nothing is written */
    bool trace_messages;     /* each message, too */
    uint32_t servers, hosts; /* server i lives on host i % hosts */
    enum style style;
    enum propagation propagation;
    enum acks_policy acks;
    uint32_t acks_count;
    uint32_t lease_ms, checkpoint_interval_ms;
    uint32_t heartbeat_interval_ms, suspect_after_ms, host_suspect_after_ms, grace_ms;
    uint32_t backoff_ms, budget;
    uint32_t delay_us_min, delay_us_max; /* of a message between hosts */
    uint32_t late_one_in, late_ms_max;   /* one in so many is later, 0: none; by so much at most */
    uint32_t bytes_per_ms;               /* that a link between hosts carries; 0: any */
    uint32_t clock_ppm_max;              /* clocks of hosts run faster or slower by up to so much */
    uint32_t session_clients, plain_clients, readers;
    uint32_t pipelines;          /* clients that send many requests at once, and wait for none */
    uint32_t think_ms;           /* mean pause of a client between two requests */
    uint32_t keys;               /* texts; besides: */
    uint32_t registers, numbers; /* the last register has values that expire */
    bool transactions;           /* plain clients use MULTI, EXEC and WATCH */
    bool repeats;                /* old requests of sessions come again */
    uint32_t sessions_max;       /* that servers remember; 0: as many as they do */
    uint32_t value_bytes_max;    /* of a register's value now and then; 0: all are small */
    uint32_t bulk_bytes; /* of large values that plain clients write now and then; 0: none */
    uint64_t journal_bytes_max, pending_bytes_max;
    bool disk; /* journals are on disk, else in memory */
    enum fsync_policy fsync;
    uint32_t fsync_interval_ms;
    uint64_t keep_bytes_min; /* journaled between two checkpoints for the disk */
    uint32_t keep_changes_percent;

    /* Faults, by chance, for faults_ms; 0: none. */
    uint32_t faults_ms;
    uint32_t fault_every_ms;   /* mean time between two */
    uint32_t fault_weight[64]; /* of each enum fault_kind (faults.h) */
    uint32_t ambush_one_in;    /* of the faults waits for what it is to meet (faults.h); 0: none */
    bool may_lose;             /* kills more servers at once than acks allows for, in the end */
};

/* What may be wrong with the disk of a server. */
enum disk_damage {
    DAMAGE_RECORD, /* somewhere in the journal */
    DAMAGE_END, /* of the group synced last, when nothing behind it proves yet that it was: once the
                   power is cut it looks torn */
    DAMAGE_NEWEST_CHECKPOINT,
    DAMAGE_CHECKPOINTS, /* both */
    DAMAGE_LIFE,        /* the file that says what to believe */
};
enum disk_trouble {
    TROUBLE_FULL,
    TROUBLE_SLOW,
    TROUBLE_STALLED, /* does nothing */
    TROUBLE_WRITE,   /* the next one fails; so it is with a sync, and with reading at a start */
    TROUBLE_SYNC,
    TROUBLE_READ,
};

struct sim;

/* A quiet cluster: three servers, active, acks all, no clients, no faults, and the config's
 * defaults. */
void sim_options_quiet(struct sim_options *options, uint64_t seed);
/* What a seed makes of it. */
void sim_options_drawn(struct sim_options *options, uint64_t seed);

struct sim *sim_new(const struct sim_options *options);
void sim_free(struct sim *sim);

/* NULL, or what went wrong first. */
const char *sim_failure(const struct sim *sim);
void sim_fail(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Lets time pass; until a condition holds, or false when that takes longer. Both end early at a
 * failure. */
void sim_run(struct sim *sim, uint32_t ms);
bool sim_run_until(struct sim *sim, bool (*holds)(struct sim *sim), uint32_t ms_max);
uint64_t sim_now_us(const struct sim *sim);

/* Conditions. */
bool sim_has_live_primary(struct sim *sim); /* a primary that serves */
bool sim_is_whole(struct sim *sim); /* every server is a member, has all there is, and says so */
bool sim_is_idle(struct sim *sim);  /* no client waits for anything */

/* What is there. */
node_id
sim_primary(struct sim *sim); /* of the newest view a serving one has, NODE_NONE if none serves */
node_id sim_backup(struct sim *sim); /* a member that is not the primary, NODE_NONE if none */
uint64_t sim_view(struct sim *sim);  /* number of the newest view the rm has stored, 0 if none */
bool sim_running(const struct sim *sim, node_id node);
uint64_t sim_incarnation(const struct sim *sim, node_id node); /* 0 when not running */
uint64_t sim_answered(const struct sim *sim); /* writes of clients acknowledged so far */
uint64_t
sim_loss_waits(const struct sim *sim); /* notes in which the rm says that data would be lost */

/* Things that happen. Whatever dies is started again by those whose task that is: servers by the
 * rm's order, the others by the launcher. */
void sim_crash(struct sim *sim, node_id node);
/* Of a host, and all that runs there; what is not synced may be lost. */
void sim_power_cut(struct sim *sim, uint32_t host, uint32_t ms);
bool sim_damage(struct sim *sim, node_id server,
                enum disk_damage damage); /* false: nothing there */
void sim_trouble(struct sim *sim, node_id server, enum disk_trouble trouble, uint32_t ms);
void sim_lose_disk(struct sim *sim, node_id server); /* it dies, and comes back with nothing */
/* The rm dies, and comes back without what it stored, or with what it had stored earlier. */
void sim_replace_store(struct sim *sim, bool lost);
void sim_pause(struct sim *sim, node_id node, uint32_t ms);
void sim_cut(struct sim *sim, node_id a, node_id b); /* silence between two, both ways */
void sim_cut_one_way(struct sim *sim, node_id from,
                     node_id to);                      /* what from says is not heard by to */
void sim_isolate_host(struct sim *sim, uint32_t host); /* from all other hosts, rm and gfd */
/* What goes from one to the other is slower, by delay and by bytes per ms (0: by delay only). */
void sim_slow(struct sim *sim, node_id from, node_id to, uint32_t delay_us, uint32_t bytes_per_ms);
void sim_heal(struct sim *sim);                            /* all cuts, all that is slow */
void sim_half_open(struct sim *sim, node_id a, node_id b); /* a does not know the link any more */
/* The operator changes acks at runtime, or in the config and starts the rm again. */
void sim_acks(struct sim *sim, enum acks_policy acks, uint32_t count);
void sim_config_acks(struct sim *sim, enum acks_policy acks, uint32_t count);
void sim_break(struct sim *sim, node_id a,
               node_id b); /* breaks the link; what is under way may be lost */
void sim_command(struct sim *sim, enum command_verb verb, node_id server); /* of the operator */
void sim_clients_stop(struct sim *sim);                                    /* no new requests */

/* Whether the acknowledged writes survive even if this server dies now, by the rule of elections.
 */
bool sim_can_spare(struct sim *sim, node_id server);
/* The same, if what it keeps is lost as well. */
bool sim_can_lose(struct sim *sim, node_id server);
/* The same, if the end of its journal is lost and it takes that for a group that was never
 * finished. */
bool sim_can_deceive(struct sim *sim, node_id server);

/* The operator accepts that what was acknowledged is lost: it is not looked for any more. */
void sim_accept_loss(struct sim *sim);

/* Lets the cluster come to rest, then clients: fails unless it becomes whole and stays so, every
 * request is answered, and every key holds what was acknowledged. */
void sim_settle(struct sim *sim);

/* What clients asked for and were told, for holdfast-linearizable. */
void sim_history_write(const struct sim *sim, FILE *out);

/* A whole run by the options: faults, then peace, then everything must be well again. */
void sim_play(struct sim *sim);

#endif
