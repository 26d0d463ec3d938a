/* parts - inside the simulator: its processes, links and clients. */
#ifndef HOLDFAST_SIMULATOR_PARTS_H
#define HOLDFAST_SIMULATOR_PARTS_H

#include "client/session.h"
#include "common/core.h"
#include "common/random.h"
#include "gfd/membership.h"
#include "lfd/detector.h"
#include "rm/rm.h"
#include "server/server.h"
#include "tests/simulator/events.h"
#include "tests/simulator/history.h"
#include "tests/simulator/sim.h"

#define MILLISECOND_NS   UINT64_C(1000000)
#define TURN_PARCELS_MAX 64u   /* that one turn of a process takes in */
#define TURNS_IDLE_MAX   200u  /* turns within 10 ms in which nothing comes in: it spins */
#define LINK_DIES_MS_MIN 1000u /* a silent link dies after so long */
#define LINK_DIES_MS_MAX 10000u
#define HELLO_MS         2000u /* patience with a link that does not come up, as in the runtime */
#define LINK_LASTED_MS   1000u /* a link that stood so long ends the backoff */

#define REQUEST_SIZE_MAX   2200000u /* of a client here, packed */
#define SIM_PAST_MAX       64u
#define WALL_OFFSET_US_MAX UINT64_C(1000000) /* wall clocks are so wrong at most */

struct process;
struct connection;

/* A way that is worse than the others, in one direction. */
struct path {
    uint32_t delay_us;     /* more than others */
    uint32_t bytes_per_ms; /* 0: as the others */
};

enum parcel_type {
    PARCEL_HELLO,
    PARCEL_MESSAGE, /* over a link */
    PARCEL_PART,    /* some of one that takes long */
    PARCEL_CLOSED,  /* the link is gone */
    PARCEL_LOCAL,   /* of the process's own edge */
    PARCEL_REQUEST, /* of a client */
    PARCEL_FORGET,  /* a client is gone */
    PARCEL_DISK,    /* the disk has done something */
};

/* What is on its way to a process. */
struct parcel {
    struct parcel *next;
    enum parcel_type type;
    uint64_t at_ns;
    uint64_t from_ns; /* message: when its first bytes come */
    struct connection *connection;
    uint64_t ticket; /* request, forget */
    bool certain;    /* closed */
    size_t size;
    uint8_t bytes[]; /* message: its frame; local: a struct message without references; request:
                        packed */
};

struct parcels {
    struct parcel *first, *last;
    uint32_t count;
};

void parcels_put(struct parcels *parcels, struct parcel *parcel);
struct parcel *parcel_new(enum parcel_type type, const void *bytes, size_t size);
struct parcel *parcels_take(struct parcels *parcels);
void parcels_free(struct parcels *parcels);
struct parcel *parcel_new(enum parcel_type type, const void *bytes, size_t size);

/* One direction of a connection. */
struct wire {
    struct parcels parcels; /* under way, in order */
    uint64_t last_ns;       /* when the last of them arrives */
    uint64_t busy_until_ns; /* with sending what has been given to it */
    uint64_t event;         /* the one that counts: others were for what comes otherwise now */
    bool stalled;           /* the first of them cannot get through */
    bool cut;               /* what is sent now is lost */
};

struct connection {
    struct sim *sim;
    struct connection *next;          /* in the list of all */
    struct process *end[2];           /* who dialled, who was dialled */
    uint64_t life[2], incarnation[2]; /* of those processes */
    uint32_t pid[2];
    bool told[2];   /* its core knows of the link */
    bool closed[2]; /* nothing comes in or goes out here any more */
    bool dying;     /* its end by silence is scheduled */
    bool half_open; /* one side has given it up; of the other nothing is heard */
    bool dead[2];   /* that side has been told of its end */
    bool resets;    /* a side that does not know it any more says so when it hears of it */
    bool resetting;
    uint64_t since_ns;
    struct wire wire[2]; /* wire[i] leads to end[i] */
};

/* One node that a process keeps a link to. */
struct dialler {
    node_id target;
    uint32_t backoff_ms;
    struct connection *connection;
};

/* The most that a life of a server has acknowledged in one view. */
struct acknowledged {
    uint64_t incarnation, view, index;
    uint64_t entry_view; /* of the entry there; 0: not known, a checkpoint holds it */
};

enum process_state { PROCESS_DOWN, PROCESS_STARTING, PROCESS_RUNNING };

struct process {
    struct sim *sim;
    node_id node;
    uint32_t host; /* index; rm and gfd are on hosts of their own */
    enum process_state state;
    uint64_t life; /* grows with every start and every end */
    uint64_t incarnation;
    uint32_t pid;
    uint64_t parent_life; /* server: of the lfd that started it */
    uint64_t paused_until_ns;
    uint32_t doom;          /* dies after carrying out so many more effects; 0: does not */
    uint64_t ended_ns;      /* its last life */
    uint64_t heard_ns;      /* rm: its last turn with its gfd: what came since it has not heard */
    bool harmed;            /* by a pause, in this life: whoever kills it for that does right */
    bool stopping;          /* it was asked to end */
    bool dies_again;        /* soon after its next start */
    uint64_t slow_until_ns; /* its turns take long */
    uint64_t down_until_ns; /* nobody starts it before */
    int32_t clock_ppm;
    int64_t wall_offset_us;
    uint64_t looks, spent_us; /* at how long the turn has taken, and what they saw */
    uint64_t busy_until_ns, turn_number, idle_turns, idle_ns;
    uint64_t aside_bytes, executed_index; /* server: after its last turn */
    bool journal_over;                    /* server: then more than its limit was in memory */
    struct parcels inbox;
    struct parcels stuck; /* requests that the server cannot take now */
    struct connection *links[NODE_COUNT];
    struct dialler diallers[SERVER_COUNT_MAX + 2];
    uint32_t dialler_count;

    struct core core;
    struct server *server;
    struct detector *detector;
    struct membership *membership;
    struct rm *rm;
    uint64_t lease_until_ns;   /* server: till then a primary may answer reads by its leave */
    uint64_t granted_until_ns; /* server: till then it has promised that none else commits */
    uint64_t buried;           /* server: newest life whose certain death the gfd has told */
    struct acknowledged acknowledged, acknowledged_before; /* of its last two lives */
    struct disk *disk;    /* server: over all lives; NULL: journals are in memory */
    uint64_t disk_lost;   /* incarnations up to here have left nothing */
    uint64_t deceived;    /* of what they had acknowledged the end was damaged, and cut as torn */
    struct buffer stored; /* rm: what it stored last, over all lives */
    bool stored_any;
    struct buffer store_before; /* rm: what a backup of its disk has */

    /* Of a server, as of its last turn. */
    struct server_status status;
    uint64_t state_index; /* of the state last looked at */
    uint64_t compared;    /* index up to which its committed entries have been compared */
};

/* One request of a client, as a server sees it. */
struct ticket {
    uint32_t client, server;
    uint64_t line; /* of the client's connection it came over */
    bool taken, replied, forgotten;
    bool at_once; /* answered by the server itself, before it took in anything else */
};

/* A request that has come to a server over a line, and its reply, which waits for those before it.
 */
struct owed {
    uint64_t ticket;
    bool answered;
    enum outcome outcome;
    struct buffer reply;
};

/* A client's connection to one server. */
struct line {
    uint64_t number; /* of this connection, as the client knows it; another one has another */
    uint64_t life;   /* of the server's process */
    bool up;         /* the client may send */
    bool open;       /* the server's side stands */
    uint64_t out_ns, in_ns;                /* when the last in each direction arrives */
    uint64_t lost_after_ns;                /* replies that would arrive later are lost */
    uint64_t waiting[SESSION_PENDING_MAX]; /* the client's requests without reply, oldest first */
    uint32_t waiting_count;
    struct owed owed[SESSION_PENDING_MAX]; /* the server's side, oldest first */
    uint32_t owed_count;
    uint64_t seen[HISTORY_KEYS_MAX]; /* length of each text, as reads of old state showed it here */
    int64_t counted;                 /* pipeline: what its counter was, as told here last */
};

enum client_kind { CLIENT_SESSION, CLIENT_PLAIN, CLIENT_READER, CLIENT_PIPELINE, CLIENT_AUDITOR };

/* What a client has asked for. */
enum ask {
    ASK_NOISE,
    ASK_READ,
    ASK_WRITE,
    ASK_PAIR_READ,
    ASK_PAIR_WRITE,
    ASK_EXCHANGE_WATCH,
    ASK_EXCHANGE_READ,
    ASK_EXCHANGE,
    ASK_REPEAT,
    ASK_PIPELINE,
    ASK_AUDIT,
};

struct client {
    struct sim *sim;
    uint32_t index;
    enum client_kind kind;
    struct random random;
    struct session session;
    bool sends_to_all;
    struct line lines[SERVER_COUNT_MAX];
    struct buffer request; /* packed, of what is under way */
    bool busy;
    enum ask ask;
    uint8_t request_kind;
    bool stale;
    bool at_once;                  /* so the reply under way was answered */
    uint64_t session_id, sequence; /* 0, 0: none */
    uint64_t operation[2];         /* in the history; 0: none */
    uint32_t exchange_key;
    uint64_t exchange_version;
    struct operation exchange_seen; /* the read before it */
    uint32_t server;                /* plain: to which it goes */
    uint32_t audit_key;             /* auditor: the next to read */
    uint64_t timer_ns;              /* of the session */
    uint64_t calls;
};

/* What a session has asked for once, and was answered or has given up. */
struct past {
    uint64_t session, sequence, operation;
    struct buffer request;
};

struct committed {
    uint64_t view; /* 0: not known */
    uint32_t crc;
};

/* The state after an entry, as the first server to show it had it. */
struct known_state {
    uint64_t digest;
    node_id node; /* NODE_NONE: not known */
};

/* What the checks remember. */
struct checks {
    struct committed *committed; /* by index - 1 */
    uint64_t committed_count, committed_capacity;
    struct known_state *states; /* by index - 1 */
    uint64_t state_capacity;
    struct message_view *views; /* every view seen, by its number; number 0: not seen */
    uint64_t view_capacity;
    uint64_t stored_number; /* newest view the rm stored */
    uint64_t forgiven_view; /* the last one when a loss was accepted; 0: none was */
};

struct memory {
    struct memory *before, *after;
};

struct sim {
    struct sim_options options;
    struct config config;
    struct random random;
    struct events events;
    uint64_t now_ns;
    uint64_t turn_ns[NODE_COUNT]; /* when each process has its next turn; UINT64_MAX: not set */
    uint32_t turn_node;           /* whose is next, when known */
    bool turn_known;
    struct effects *effects; /* of the core that is being called */
    struct process processes[NODE_COUNT];
    struct connection *connections;
    struct memory taken;               /* ring of what sim_take() gave */
    bool cut[NODE_COUNT][NODE_COUNT];  /* from, to */
    bool held[NODE_COUNT][NODE_COUNT]; /* the same, by the course under way: only it ends these */
    bool course;                       /* one is under way: see courses.c */
    struct path path[NODE_COUNT][NODE_COUNT];
    uint64_t incarnation, line;        /* last ones given */
    uint64_t boot[HOST_COUNT_MAX + 2]; /* how often each host was without power */
    uint32_t pid;
    struct ticket *tickets; /* by number - 1 */
    uint64_t ticket_count, ticket_capacity;
    struct client clients[SIM_CLIENT_COUNT_MAX];
    uint32_t client_count;
    bool clients_stopped;
    struct past past[SIM_PAST_MAX]; /* a ring; sequence 0: none */
    uint64_t past_count;
    uint32_t pair_key;     /* the first of the two texts that are written together, behind all keys
                              that are written by themselves */
    uint32_t expiring_key; /* register whose values may have an end; UINT32_MAX: none */
    bool faults_over;
    struct {
        bool set;
        uint32_t kind, occasion; /* of faults.h: what is to happen, and when */
    } ambush;
    struct history history;
    struct checks checks;
    struct saved saved; /* what the rm has stored */
    bool saved_any;
    bool excused;   /* a fault cost a server that became indispensable at the same time */
    bool store_bad; /* the rm has not got the newest view in its store */
    uint64_t loss_waits;
    uint64_t messages, turns;
    char failure[4096];
};

uint64_t sim_chance(struct sim *sim, uint64_t bound); /* 0 … bound-1 */
uint64_t sim_between(struct sim *sim, uint64_t low, uint64_t high);
void sim_trace(struct sim *sim, node_id node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void sim_trace_message(const struct process *to, const struct message *message);
void sim_after(struct sim *sim, uint64_t wait_ns, void (*run)(void *, uint64_t), void *subject,
               uint64_t argument);
/* Memory that is given back, or freed with the simulation. */
void *sim_take(struct sim *sim, size_t size);
void sim_give_back(struct sim *sim, void *memory);
struct process *sim_process(struct sim *sim, node_id node); /* NULL when there is none */

/* processes.c */
struct instant process_clock(const struct process *process); /* its own */
uint64_t process_wall_us(const struct process *process);
void process_init(struct sim *sim, node_id node, uint32_t host);
void process_start(struct process *process);
void process_end(struct process *process, uint8_t signal, uint8_t status);
void process_deliver(struct process *process, const struct message *message); /* to its core, now */
void process_give(struct process *process, struct parcel *parcel);            /* it arrives now */
void process_wake(struct process *process);
void process_turn(struct process *process); /* the one that is due */
void process_free(struct process *process);

/* edges.c: what is behind each kind of core */
void edge_open(struct process *process);
void edge_close(struct process *process);
void edge_receive(struct process *process, const struct message *message, struct effects *out);
void edge_perform(struct process *process, const struct effect *effect);
void edge_noted(struct process *process, const struct effect *note);
void edge_store_replace(struct process *rm, bool lost);
void edge_exited(struct process *process, uint8_t signal, uint8_t status);

/* disks.c, disks_threads.c, disks_recovery.c */
enum disk_outcome {
    DISK_READ,
    DISK_USELESS,    /* begins anew, with another server; the disk is as if new */
    DISK_UNREADABLE, /* the process must end */
};
void disk_init(struct process *process);
void disk_free(struct process *process);
void disk_lose(struct process *process);
bool disk_damage(struct process *process, enum disk_damage damage); /* false: there is nothing */
void disk_trouble(struct process *process, enum disk_trouble trouble, uint32_t ms);
void disk_heal(struct process *process);                 /* no more troubles */
uint64_t disk_index(const struct process *process);      /* what it has written goes to there */
uint64_t disk_index_most(const struct process *process); /* … at most, if its process dies now */
uint64_t disk_waiting_bytes(const struct process *process); /* handed over and not written */
bool disk_cut(const struct process *process); /* the end of its journal may be missing */
bool disk_complete(const struct process *p);  /* lacks nothing that any life acknowledged */
bool disk_vouches(const struct process *p);   /* or its next life knows who has that */
/* Whether its next life would find that entry, of that view. */
bool disk_holds(const struct process *process, uint64_t index, uint64_t view);
/* View of the last entry that its next life finds for certain, whatever ends this one; 0: none. */
uint64_t disk_view(const struct process *process);
/* Whether its next life can speak for that one. */
bool disk_remembers(const struct process *process, uint64_t incarnation);
bool disk_power_matters(const struct process *process); /* not all it acknowledged is synced */
void disk_power_cut(struct process *process);           /* after the end of the process */
void disk_process_ended(struct process *process, bool in_order);
enum disk_outcome disk_recover(struct process *process); /* into a new server */
void disk_discard(struct process *process);              /* of no use: with another server */
void disk_perform(struct process *process, const struct effect *effect);
void disk_done(struct process *process, const struct parcel *parcel, struct effects *out);

/* network.c */
void network_dial_all(struct process *process);
void network_send(struct process *process, node_id to, const struct message *message);
void network_take(struct process *process, const struct parcel *parcel);
void network_process_ended(struct process *process);
void network_break(struct sim *sim, node_id a, node_id b);
void network_half_open(struct sim *sim, node_id a, node_id b);
/* What is not cut any more goes on, also what is under way. */
void network_heard(struct sim *sim);
/* The same, and nothing is slow any more. */
void network_healed(struct sim *sim);
void network_free(struct sim *sim);

/* clients.c */
void clients_init(struct sim *sim);
void sim_clients_free(struct sim *sim);
void clients_server_ended(struct process *server);
void clients_break(struct sim *sim, uint32_t client,
                   uint32_t server); /* the line, if there is one */
void clients_crash(struct sim *sim, uint32_t client);
/* A request, or the word that nobody waits for it any more, comes in; effects go to sim->effects.
 * False: the server cannot take it now. */
bool clients_request(struct process *server, const struct parcel *parcel);
void sim_clients_reply(void *server, uint64_t ticket, enum outcome outcome, struct bytes reply);
/* Reads every key once more and puts it beside all that was acknowledged. */
void clients_audit(struct sim *sim);
bool clients_audited(struct sim *sim);

/* workload.c: what clients ask for */
void workload_init(struct sim *sim);
void workload_free(struct sim *sim);
void workload_choose(struct client *client); /* packs the next request */
void workload_audit(struct client *client, uint32_t key);
/* How it ended. True: there is another request, which belongs to it, to the same server. */
bool workload_answered(struct client *client, uint32_t server, struct bytes reply);
void workload_pipeline(struct client *client); /* packs one more of a pipeline */
void workload_pipelined(struct client *client, uint32_t server, struct bytes reply);
void workload_failed(struct client *client); /* it was certainly not executed */
void workload_unknown(struct client *client);

/* checks.c */
void checks_turn(struct process *process); /* after each turn */
void check_view_content(struct process *process, const struct message_view *view);
void checks_stored(struct sim *sim); /* the rm has stored a view */
/* It is to store one, on a store that was old or lost. */
void checks_outdated(struct sim *sim, const struct saved *saved);
/* Whether its present life is a member of that view, as far as anybody has told of it. */
bool checks_member_of(const struct process *server, uint64_t view);
void checks_forgive(struct sim *sim); /* loss is accepted: what was committed may be gone */
bool checks_even(struct sim *sim);    /* all have the same entries, all committed */
void checks_free(struct sim *sim);

/* claims.c: what a server says to another is true of what it has. */
void claims_check(struct process *process, node_id to, const struct message *message);
/* Whether that life of a server may have said in the view that it holds the entry. */
bool claims_acknowledged(const struct process *server, uint64_t incarnation, uint64_t view,
                         uint64_t index);

/* faults.c */
void faults_begin(struct sim *sim);
void faults_watch(struct sim *sim); /* after each turn: a fault may have waited for this */
/* Whether too few members of a view are left for another to follow it. */
bool faults_doom_view(struct sim *sim, const struct message_view *view);
/* Whether acknowledged writes survive if all that these servers have is lost, and the power of
 * those.
 */
bool faults_can_lose(struct sim *sim, uint32_t set, uint32_t without_power);

#endif
