/* server - one replica as a whole: the replica core, its journal, its machine, and the requests
 * under way.
 *
 * It does what the replica core decides (append, execute, answer, send) with everything that lives
 * in memory, so that the daemon and the simulator run the same code; sockets, files and clocks stay
 * outside. It has the five functions of a core. */
#ifndef HOLDFAST_SERVER_SERVER_H
#define HOLDFAST_SERVER_SERVER_H

#include "common/core.h"
#include "server/journal.h"
#include "server/machine.h"

struct server;

struct server_options {
    node_id self;
    uint64_t incarnation;
    const struct service *service;
    uint32_t server_count;
    uint32_t lease_ms, checkpoint_interval_ms, suspect_after_ms;
    uint64_t journal_bytes_max;    /* entries kept in memory for members that lag */
    uint64_t pending_bytes_max;    /* requests under way, of all clients */
    bool persistent;               /* entries count only once server_saved() says so */
    uint64_t keep_bytes_min;       /* journaled between two checkpoints for the disk; 0: 64 MiB */
    uint32_t sessions_max;         /* remembered, the same on all members; 0: SESSION_COUNT_MAX */
    uint32_t keep_changes_percent; /* of a checkpoint that the changes since may come to; 0: 50 */
    uint64_t seed;
    /* The answer to a request, exactly once for each that server_submit() took, also from within
     * server_submit() itself. A reply is RESP3; with OUTCOME_NOT_EXECUTED it is an error's text
     * without its "-". The reference is valid during the call. Must not call back. */
    void (*reply)(void *context, uint64_t client, enum outcome outcome, struct bytes reply);
    /* How long the present turn has taken so far, in microseconds: what can wait is then cut where
     * it takes long, never decided otherwise. NULL: only counts and bytes bound it. */
    uint64_t (*turn_us)(void *context);
    void *context;
};

struct server_request {
    uint64_t client; /* comes back with the reply */
    uint32_t stream; /* requests of one stream (connection) take effect in order */
    uint8_t kind;    /* COMMAND, TRANSACTION, READ, WATCH or READ_TRANSACTION */
    bool stale;      /* a read that may see older committed state (READONLY): a backup answers it
                        itself, in active style */
    uint64_t session, sequence; /* 0, 0 when it has none */
    struct bytes request;       /* packed; copied */
};

/* NULL when the service cannot make a state. Copies the options. */
struct server *server_new(const struct server_options *options, struct instant now);
void server_free(struct server *server);

/* Takes a client's request. Its reply comes through options.reply, now or later. False, and nothing
 * taken, when pending_bytes_max is reached: stop reading from clients until server_accepts(). now
 * must have been read from the clock after the request was read from its socket: a lease that holds
 * then makes a local read linearizable. wall_us is the wall clock. */
bool server_submit(struct server *server, struct instant now, uint64_t wall_us,
                   const struct server_request *request, struct effects *out);
bool server_accepts(const struct server *server);

/* The client is gone: no reply is wanted any more for any request with this client value. What is
 * in the journal is executed all the same. */
void server_forget(struct server *server, uint64_t client);

/* The disk, with options.persistent. EFFECT_PERSIST, RESTART, KEEP and KEEP_END say what is to be
 * written; entries are not in the effect: they are taken from here, a piece at a time, until false.
 * The piece is valid as long as its owner is held. epoch comes back with what was saved: an entry
 * that was truncated meanwhile is not taken for another of its index. */
bool server_persist_next(struct server *server, uint64_t *epoch, uint64_t *index,
                         struct bytes *piece, struct block **owner);
void server_saved(struct server *server, uint64_t epoch, uint64_t index);
/* Whether the journal, once all that was handed over is saved, lacks nothing that this server
 * acknowledged in any life: it holds the beginning of a view that has this life as a member. The
 * disk must know of it before it says server_saved(), also when no entry was handed over: epoch and
 * index are for that; and forget it before a RESTART. The next life is intact only then. */
bool server_complete(struct server *server, uint64_t *epoch, uint64_t *index);
/* At a RESTART: what the disk is to know beside, for server_lived() in the next life. */
struct journal_end server_discarded(const struct server *server);
/* A slice of the checkpoint being kept is written; the whole is safe, or (done false) given up. */
void server_slice_kept(struct server *server, struct instant now, struct effects *out);
void server_checkpoint_kept(struct server *server, struct instant now, bool done,
                            struct effects *out);
/* Wants a checkpoint of entry index or a later one on the disk soon; harmless to repeat. False: the
 * journal has no such entry, or there is no disk. */
bool server_keep(struct server *server, uint64_t index);
/* The disk is full: the server asks to be left out of the view until there is room. */
void server_disk_full(struct server *server, bool full);

/* Recovery, between server_new() and the first message: a checkpoint if there is one, with the
 * changes since, then what the segments hold, in their order. False: it makes no sense, only
 * server_free() is left. */
void server_recover_state_begin(struct server *server, bool full); /* else changes, to what is in */
bool server_recover_state_slice(struct server *server, struct bytes slice);
bool server_recover_state_end(struct server *server, uint64_t index, uint64_t view,
                              uint64_t time_us, uint64_t digest);
void server_recover_reset(struct server *server, uint64_t index);
void server_recover_entry(struct server *server, const struct journal_record *header,
                          struct bytes record);
bool server_recovered(struct server *server, bool intact);
/* As replica_cut() and replica_lived(). */
void server_cut(struct server *server);
void server_lived(struct server *server, const struct lives *lives, struct journal_end discarded);

/* The wall clock, once per turn, for the time of entries that no client asks for. */
void server_wall(struct server *server, uint64_t wall_us);

/* The five of a core; tick is the end of a turn: what is new goes out to the others. */
void server_receive(struct server *server, struct instant now, const struct message *message,
                    struct effects *out);
void server_tick(struct server *server, struct instant now, struct effects *out);
struct instant server_deadline(const struct server *server);
void server_check(const struct server *server);
CORE_DECLARE(server);

/* What INFO, ROLE, the heartbeat and the rm are told. */
struct server_status {
    node_id self, primary; /* primary NODE_NONE when not known */
    uint64_t incarnation, promised, view, journal_view;
    enum role role;
    enum style style;
    uint32_t acks;
    struct members members;
    bool serving;   /* knows a primary that it can reach, or is one that serves */
    bool leased;    /* as primary: answers reads without asking the others */
    bool restoring; /* a checkpoint is being received */
    uint64_t journal_first, journal_index, commit_index, executed_index;
    uint64_t digest; /* of the state after executed_index; 0 while it is restored */
    uint64_t checkpoint_count, checkpoint_index;
    uint64_t pending_bytes, journal_bytes;
    uint32_t requests_under_way, oldest_waiting_ms, join_percent;
    uint64_t member_index[SERVER_COUNT_MAX]; /* on the primary: what each member has acknowledged */
};
void server_status(const struct server *server, struct instant now, struct server_status *status);
/* Client connections now, for the rm's status. */
void server_clients_set(struct server *server, uint32_t clients);
struct machine *server_machine(struct server *server);
/* To look at, for checks. */
struct journal;
const struct journal *server_journal(const struct server *server);

#endif
