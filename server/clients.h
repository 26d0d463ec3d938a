/* clients - the conversations with clients, without their sockets: bytes in, bytes out.
 *
 * A connection reads commands from its input, answers those about the connection itself
 * (client_*.c), hands those of the service to the server, and puts the replies into its output in
 * the order of the commands, whatever the order in which they come. client_port.c moves the bytes.
 *
 * A connection that is idle holds no buffers. It stops taking commands (`blocked`) while the server
 * takes no more, during CLIENT PAUSE, and while a command needs the replies of the earlier ones;
 * clients_resume() looks again. */
#ifndef HOLDFAST_SERVER_CLIENTS_H
#define HOLDFAST_SERVER_CLIENTS_H

#include "common/config.h"
#include "common/instant.h"
#include "common/resp.h"
#include "server/server.h"

#define CLIENT_ADDRESS_SIZE      64u            /* "127.0.0.1:4711" with its end */
#define CLIENT_NAME_BYTES_MAX    256u           /* of CLIENT SETNAME and SETINFO */
#define CLIENT_UNANSWERED_MAX    (1u << 20)     /* commands of one connection under way */
#define CLIENT_BUFFER_BYTES_KEPT ((size_t)1024) /* of an output that is empty */
#define CLIENT_READ_BYTES        ((size_t)64 * 1024)
#define CLIENT_READ_BYTES_MAX    ((size_t)1024 * 1024) /* of a large command, in one read */
#define CHECKPOINTS_OPEN_MAX     4u                    /* connections that read one */
#define CHECKPOINT_READ_BYTES    ((size_t)256 * 1024)  /* of it, at a time */

/* Version of Redis whose commands and replies are spoken here; clients choose by it. */
#define REDIS_VERSION    "7.0.15"
#define HOLDFAST_VERSION "0.1.0"

struct clients;
struct histogram;
struct own_command;

struct clients_options {
    const struct config *config; /* must outlive the clients */
    const struct service *service;
    node_id self;
    uint32_t connections_max;
    /* The server behind, as in server.h. submit() may answer before it returns. */
    bool (*submit)(void *context, const struct server_request *request);
    bool (*accepts)(void *context);
    void (*status)(void *context, struct server_status *status);
    void (*info)(void *context, struct buffer *out); /* the service's lines for INFO */
    bool (*keep)(void *context, uint64_t index);     /* server_keep() */
    struct histogram *turn_times_us; /* of the loop; CONFIG RESETSTAT clears it; NULL: not known */
    const char *checkpoints; /* the folder they are in; NULL, and no keep(): in memory only */
    void *context;
};

/* What becomes of a reply of the server. */
enum answer_kind {
    ANSWER_PLAIN, /* goes to the client as it is */
    ANSWER_WATCH, /* versions of keys: kept for EXEC, and +OK goes to the client */
    ANSWER_EXEC,  /* null when the transaction was given up */
};

/* A command without its reply, or with a reply that is not yet at its turn. */
struct answer {
    uint8_t kind; /* enum answer_kind */
    bool ready;
    bool resp3;  /* the protocol that was spoken when the command came */
    bool silent; /* CLIENT REPLY OFF or SKIP */
    bool close;  /* instead of a reply */
    struct buffer reply;
    struct buffer locals; /* of EXEC: replies of commands that the server does not execute */
};

enum blocked {
    BLOCKED_NO,
    BLOCKED_FULL,    /* the server takes no more */
    BLOCKED_PAUSE,   /* CLIENT PAUSE */
    BLOCKED_BARRIER, /* until everything before is answered */
};

struct connection {
    struct clients *clients;
    uint64_t id;         /* from 1, as CLIENT ID says */
    uint32_t place;      /* in the table of clients */
    uint32_t generation; /* of the place */
    char peer[CLIENT_ADDRESS_SIZE], local[CLIENT_ADDRESS_SIZE];

    struct buffer in; /* what is left of the input: part of a command, or blocked ones */
    struct buffer out;
    struct resp_command_reader reader;
    struct answer *answers; /* ring, in the order of the commands */
    uint32_t answer_first, answer_count, answer_capacity;
    uint32_t sequence;     /* of the first of them; only the low 24 bits travel */
    uint64_t answer_bytes; /* of replies waiting for their turn */

    bool resp3;
    bool stale;   /* READONLY: reads may be answered here, from older state */
    bool ending;  /* no more commands are taken; closes when all are answered */
    bool closing; /* nothing more is answered; closes when the output is out */
    bool over;    /* its unread replies were above the limit */
    bool reply_off, reply_skip, reply_skip_next;
    bool no_evict, no_touch;
    uint8_t blocked; /* enum blocked */
    bool in_dirty;   /* is in the list of those to look at, at the end of the turn */
    struct connection *next_dirty;
    struct connection *next_blocked, *previous_blocked;
    struct transaction *transaction;    /* of MULTI or WATCH; NULL without */
    struct checkpoint_open *checkpoint; /* of CHECKPOINT OPEN; NULL without */
    struct buffer *capture; /* takes the replies of commands queued by MULTI; NULL otherwise */
    char *name, *library_name, *library_version; /* NULL when not set */

    struct instant since, active;
    const char *last_command;         /* in lower case; of a table that outlives it */
    uint64_t counted_in, counted_out; /* bytes already in the sums of clients */
    int fd;                           /* for CLIENT LIST */
    void *socket;                     /* whatever moves its bytes; not touched here */
};

#define CLIENT_PLACE_NONE UINT32_MAX
#define OWN_SLOTS         128u /* a power of two, at least twice the commands */

struct client_place {
    struct connection *connection;
    uint32_t generation; /* grows with every connection that leaves it */
    uint32_t next_free;
};

struct clients {
    struct clients_options options;
    struct instant now; /* set before every call that follows */
    struct instant started;
    struct client_place *places;
    uint32_t capacity, count;
    uint32_t free; /* the first place without a connection; CLIENT_PLACE_NONE */
    uint64_t next_id;
    struct connection *dirty;
    struct connection *first_blocked, *last_blocked; /* in the order in which they were blocked */
    uint32_t blocked_count;
    bool pause_all;
    struct instant pause_until;
    struct buffer reply;                /* in making */
    struct buffer packed;               /* request in making */
    uint64_t input_bytes, output_bytes; /* of all connections */
    uint32_t checkpoints_open;          /* at most CHECKPOINTS_OPEN_MAX */
    struct {
        uint64_t connections, commands, rejected, errors, input, output, cut;
    } total;
    uint8_t own[OWN_SLOTS]; /* table of client_commands.c by hash of the name: 1 + index, or 0 */
    bool shutting;          /* no further calls of the server */
    bool loading; /* the server recovers from its disk: commands that need it are refused */
    struct {
        uint64_t bytes, bytes_total;
        uint32_t percent, left_ms;
    } load; /* while loading: how far it is */
};

struct clients *clients_new(const struct clients_options *options, struct instant now);
/* Frees all connections too. */
void clients_free(struct clients *clients);

/* A reply from the server, for the handle of its request. Ignored when the connection is gone. */
void clients_reply(void *clients, uint64_t client, enum outcome outcome, struct bytes reply);

/* Lets connections that were blocked go on where they can; true when any took a command. */
bool clients_resume(struct clients *clients);

/* When clients_resume() has something to do by time alone: the end of CLIENT PAUSE. */
struct instant clients_deadline(const struct clients *clients);

/* NULL when connections_max are there already. */
struct connection *connection_new(struct clients *clients, const char *peer, const char *local);
void connection_free(struct connection *c);

/* Takes in bytes as they come; what cannot be handled yet is copied. */
void connection_feed(struct connection *c, struct bytes input);
/* How many bytes to read next, straight into the end of c->in when it is not empty; then
 * connection_fed() says how many came. */
size_t connection_wanted(const struct connection *c);
void connection_fed(struct connection *c, size_t size);

/* False while no more input should be read. */
bool connection_reads(const struct connection *c);
/* True when everything is said and the connection can be closed. */
bool connection_done(const struct connection *c);
/* The client sends no more: what it sent is answered, then the connection is done. */
void connection_finish(struct connection *c);
/* Takes no more commands, and says why: for limits. Commands that were taken are answered first, so
 * that none of them gets this for its reply. */
void connection_end(struct connection *c, const char *text);
/* Ends the connection with the most input or output while all of them together hold too much. */
void clients_limit(struct clients *clients);

/* Puts it in the list of those to flush. */
void connection_touch(struct connection *c);
/* Brings the sums of clients up to date with its buffers, and frees buffers that are empty. */
void connection_account(struct connection *c);

/* ---- For the commands, client_*.c ---- */

/* A reply to the command at hand, in RESP3, between begin and end. */
struct buffer *reply_begin(struct connection *c);
void reply_end(struct connection *c);
void reply_ok(struct connection *c);
void reply_integer(struct connection *c, int64_t value);
void reply_error(struct connection *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* As reply_error(), of a command that is wrong in itself: spoils a transaction as well. */
void reply_reject(struct connection *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Hands a request to the server. False, and the connection is blocked, when it takes no more. */
bool connection_submit(struct connection *c, struct server_request *request, enum answer_kind kind);
/* False, and the connection is blocked, while earlier commands are unanswered. */
bool connection_barrier(struct connection *c);

/* Commands on the connection itself. A handler returns false when the connection is blocked and the
 * command must come again. */
struct own_command {
    const char *name; /* lower case */
    int32_t arity;    /* as in Redis */
    uint32_t flags;   /* enum own_flag */
    const char *group, *summary;
    bool (*handle)(struct connection *c, uint32_t argc, const struct bytes *argv);
};

enum own_flag {
    OWN_IN_MULTI = 1, /* handled at once within MULTI; others are refused there */
    OWN_UNPAUSED = 2, /* handled during CLIENT PAUSE */
    OWN_FAST = 4,
    OWN_QUEUED = 8,   /* can be part of a transaction: has no effect but its reply */
    OWN_LOADING = 16, /* handled while the server recovers from its disk */
};

void own_commands_index(struct clients *clients);
const struct own_command *own_command_find(const struct clients *clients, struct bytes word);
const struct own_command *own_command_list(uint32_t *count);

/* True when argc fits the arity. */
bool arity_fits(int32_t arity, uint32_t argc);

struct subcommand {
    const char *name; /* lower case */
    int32_t arity;    /* counting the command itself */
};
/* False, and answered, when argv[1] is none of these, or has other arguments. */
bool subcommand_fits(struct connection *c, const char *command, const struct subcommand *list,
                     size_t count, uint32_t argc, const struct bytes *argv);

#define SUBCOMMAND_FITS(c, command, list, argc, argv) \
    subcommand_fits(c, command, list, sizeof(list) / sizeof((list)[0]), argc, argv)

bool handle_once(struct connection *c, uint32_t argc, const struct bytes *argv);
bool handle_client(struct connection *c, uint32_t argc, const struct bytes *argv);
bool handle_info(struct connection *c, uint32_t argc, const struct bytes *argv);
bool handle_role(struct connection *c, uint32_t argc, const struct bytes *argv);
bool handle_config(struct connection *c, uint32_t argc, const struct bytes *argv);
bool handle_checkpoint(struct connection *c, uint32_t argc, const struct bytes *argv);
void checkpoint_forget(struct connection *c); /* closes what CHECKPOINT OPEN opened */
bool handle_command(struct connection *c, uint32_t argc, const struct bytes *argv);

bool handle_multi(struct connection *c, uint32_t argc, const struct bytes *argv);
bool handle_exec(struct connection *c, uint32_t argc, const struct bytes *argv);
bool handle_discard(struct connection *c, uint32_t argc, const struct bytes *argv);
bool handle_watch(struct connection *c, uint32_t argc, const struct bytes *argv);
bool handle_unwatch(struct connection *c, uint32_t argc, const struct bytes *argv);

/* Transactions. */
bool transaction_open(const struct connection *c); /* between MULTI and EXEC */
void transaction_spoil(struct connection *c);      /* a command of it was refused */
void transaction_queue(struct connection *c, const struct service_command *command, uint32_t argc,
                       const struct bytes *argv);
/* Queues a command of the connection: its reply is made now and told by EXEC. */
bool transaction_queue_own(struct connection *c, const struct own_command *own, uint32_t argc,
                           const struct bytes *argv);
/* Moves those replies to the answer of EXEC, and back when the server does not take it. */
void transaction_locals_take(struct connection *c, struct buffer *locals);
void transaction_locals_give(struct connection *c, struct buffer *locals);
/* Puts the replies of such commands between those of the server, in place of *out. */
void transaction_merge(struct bytes locals, struct bytes reply, struct buffer *out);
void transaction_watched(struct connection *c, enum outcome outcome, struct bytes versions);
void transaction_free(struct connection *c);
int32_t transaction_size(const struct connection *c);   /* commands queued; -1 outside MULTI */
uint64_t transaction_bytes(const struct connection *c); /* that it holds */
void transaction_shed(struct connection *c); /* holds nothing more; its EXEC would do nothing */

#endif
