/* session - decides when to send a call, to which server, which reply to take and when to give up.
 *
 * A session has one call under way at a time. The call goes to one server, the one that answered
 * last, or to every server. It goes to the next server when its connection is lost, and when it
 * has been silent for try_ms (which doubles); always under the same session and sequence, so that
 * the cluster executes it once. The first reply counts; later ones are discarded and reported.
 *
 * A connection is used for as long as it stands: lost ones are dialled again at once, then with
 * a backoff that doubles from REDIAL_MS_MIN to REDIAL_MS_MAX until the server answers a call. One
 * that owes a reply for SESSION_SILENT_MS_MAX is closed: its host may be gone without a word.
 *
 * A repeat whose reply was too large to be remembered is told so (-REPLYLOST). Then only an attempt
 * that is still under way can bring the reply: it is waited for as long as before the next attempt,
 * and no other is made.
 *
 * What is certain: a reply -TRYAGAIN means that this attempt was not executed, and an attempt that
 * was never sent was not either. Everything else may have been. Source of exactly-once by client
 * sequence numbers: Liskov and Cowling, "Viewstamped Replication Revisited", 2012, section 4.1.
 *
 * Used by the library, the simulator and the unit tests. It knows neither payloads nor sockets:
 * whoever drives it keeps the payload of the one call, and replies of a connection come in the
 * order of the requests sent on it. */
#ifndef HOLDFAST_CLIENT_SESSION_H
#define HOLDFAST_CLIENT_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/instant.h"
#include "common/limits.h"
#include "common/random.h"

#define SESSION_PENDING_MAX   256u /* requests without reply on one connection: then it waits */
#define SESSION_PAUSE_MS_MIN  5u   /* after -TRYAGAIN; doubles */
#define SESSION_PAUSE_MS_MAX  100u
#define SESSION_SILENT_MS_MAX 15000u /* a connection that owes a reply for so long is closed */
#define SESSION_EFFECTS_MAX   (4u * SERVER_COUNT_MAX)

_Static_assert(SESSION_SILENT_MS_MAX > REQUEST_HOLD_MS_MAX,
               "a server that waits for a primary is not taken for dead");

/* What happened. */
enum session_event_type {
    SESSION_CALL, /* the caller wants a call; none may be under way */
    SESSION_UP,   /* the connection to the server stands and can take requests */
    SESSION_DOWN, /* it is lost, or could not be made */
    SESSION_REPLY,
};

enum session_reply {
    SESSION_REPLY_TAKE,      /* the service's answer, whatever it says */
    SESSION_REPLY_TRYAGAIN,  /* -TRYAGAIN: certainly not executed */
    SESSION_REPLY_FORGOTTEN, /* -SESSIONLOST: this attempt was not executed, earlier ones may be */
    SESSION_REPLY_LOST, /* -REPLYLOST: executed before, with a reply too large to be remembered */
};

struct session_event {
    enum session_event_type type;
    uint32_t server;          /* up, down, reply: index of the server */
    bool once;                /* call: it writes, and is to be executed once */
    uint32_t deadline_ms;     /* call: from now, at least 1 */
    enum session_reply reply; /* reply */
    uint64_t begin;           /* reply forgotten: with which sequence a new session begins, or 0 */
};

/* What a reply, whole and with its "-" if it is an error, says to a session; *begin as above. */
enum session_reply session_reply_of(struct bytes reply, uint64_t *begin);

/* What is to be done about it, in this order. */
enum session_effect_type {
    SESSION_CONNECT,  /* begin to connect to the server; up or down follows */
    SESSION_CLOSE,    /* close the connection to the server; no event follows */
    SESSION_SEND,     /* send the call to the server: as ONCE id sequence when it is one */
    SESSION_COMPLETE, /* the call is over */
    SESSION_DISCARD,  /* the reply just given is a duplicate: of this request, by this server */
};

enum session_outcome {
    SESSION_ANSWERED,  /* the reply just given is the call's */
    SESSION_FAILED,    /* certainly not executed, and never will be */
    SESSION_UNKNOWN,   /* the deadline passed; it may have been executed, or may still be */
    SESSION_FORGOTTEN, /* the cluster has dropped the session: it may have been executed before */
    SESSION_LOST,      /* executed once; its reply is lost */
};

struct session_effect {
    enum session_effect_type type;
    uint32_t server;
    uint64_t request;             /* number of the call, from 1, reads included */
    uint64_t id, sequence;        /* send: of the session; sequence 0 when it is not a once call */
    enum session_outcome outcome; /* complete */
};

struct session_effects {
    uint32_t count;
    struct session_effect list[SESSION_EFFECTS_MAX];
};

struct session_options {
    uint32_t server_count; /* 1 … SERVER_COUNT_MAX */
    uint32_t connect_ms;   /* for one attempt to connect, at least 1 */
    uint32_t try_ms;       /* first patience with a silent server, at least 1 */
    bool send_to_all;
    uint64_t id;       /* an earlier session to go on with; 0: a new one */
    uint64_t sequence; /* of the first once call; 0: 1 */
    uint64_t seed;
};

enum session_link { SESSION_LINK_DOWN, SESSION_LINK_CONNECTING, SESSION_LINK_UP };

struct session_server {
    enum session_link link;
    struct instant due;  /* down: when to dial; connecting: when to give up; up: end of patience */
    uint32_t backoff_ms; /* before the next dial, 0: at once */
    uint32_t first, count;                 /* of the ring below */
    uint64_t pending[SESSION_PENDING_MAX]; /* requests sent and not answered, oldest first */
};

struct session_call {
    bool active, once;
    bool uncertain; /* an attempt went out and its connection was lost */
    bool forgotten; /* a server said -SESSIONLOST */
    bool lost;      /* a server said -REPLYLOST; the reply may still come by another attempt */
    uint32_t last_server; /* last one it was sent to */
    uint32_t try_ms, pause_ms;
    struct instant deadline;
    struct instant resend_due; /* when to send it to one more server; lost: when to give up */
};

struct session {
    struct session_options options;
    struct random random;
    uint64_t id;             /* of the session, non-zero, below 2^63 */
    uint64_t sequence;       /* of the last once call; `before` before the first */
    uint64_t before;         /* the first is one more: 1, or what the cluster said */
    uint64_t begin;          /* first sequence of the next session */
    uint64_t request;        /* number of the last call */
    bool resumed;            /* options.id was given: it is not replaced by a new one */
    bool repeats;            /* the next once call may be one that an earlier client has sent */
    bool known;              /* the cluster has answered a once call of this id */
    uint32_t preferred;      /* server that answered last */
    struct instant listened; /* when an event or a tick came last */
    struct session_call call;
    struct session_server servers[SERVER_COUNT_MAX];
};

/* Begins with all servers to be dialled at once, at the first tick. Copies the options. */
void session_init(struct session *s, const struct session_options *options, struct instant now);

/* Takes in one event and appends what follows from it. Events of a connection that is not in the
 * state for them (a reply that nothing asked for) close that connection. */
void session_receive(struct session *s, struct instant now, const struct session_event *event,
                     struct session_effects *out);

/* Lets time pass. Harmless when called before the deadline. */
void session_tick(struct session *s, struct instant now, struct session_effects *out);

/* When session_tick() next has something to do. */
struct instant session_deadline(const struct session *s);

/* Asserts what must hold between any two calls. */
void session_check(const struct session *s);

#endif
