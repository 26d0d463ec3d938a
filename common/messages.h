/* messages - every message of the protocol, in one table.
 *
 * The structs, message_encode(), message_decode(), message_format() and the test that
 * sends every message through all three come from the table below. On a link a message
 * is a frame: u32 size of what follows, u16 type, then the fields in order; integers are
 * little-endian, `node` is a u8, `bytes` are a u32 size and the bytes, `text` a u8 length and
 * the bytes, `members` a u32 set and a u64 incarnation for every server in the set, `lives` a u8
 * count and as many u64 incarnations. */
#ifndef HOLDFAST_COMMON_MESSAGES_H
#define HOLDFAST_COMMON_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"
#include "common/bytes.h"
#include "common/error.h"
#include "common/limits.h"
#include "common/node.h"

#define MESSAGE_TEXT_SIZE 96u /* bytes of a text field with its end; longer ones are cut */

/* Servers, each under an incarnation: a restarted server is somebody else. */
struct members {
    uint32_t set;                           /* bit i is set when server i is in */
    uint64_t incarnation[SERVER_COUNT_MAX]; /* of server i; 0 when not in the set */
};

static inline bool members_has(const struct members *m, node_id server, uint64_t incarnation)
{
    uint32_t i = node_index(server);

    return (m->set >> i & 1u) && m->incarnation[i] == incarnation;
}

static inline uint32_t members_count(const struct members *m)
{
    return (uint32_t)__builtin_popcount(m->set);
}

static inline void members_put(struct members *m, node_id server, uint64_t incarnation)
{
    m->set |= 1u << node_index(server);
    m->incarnation[node_index(server)] = incarnation;
}

static inline void members_drop(struct members *m, node_id server)
{
    m->set &= ~(1u << node_index(server));
    m->incarnation[node_index(server)] = 0;
}

#define LIVES_MAX 8u

/* Lives of one server, by their incarnations, oldest first. */
struct lives {
    uint8_t count;
    uint64_t incarnation[LIVES_MAX];
};

static inline bool lives_has(const struct lives *lives, uint64_t incarnation)
{
    for (uint32_t i = 0; i < lives->count; i++)
        if (lives->incarnation[i] == incarnation)
            return true;
    return false;
}

/* The oldest is forgotten when there is no room. */
static inline void lives_add(struct lives *lives, uint64_t incarnation)
{
    if (lives->count == LIVES_MAX) {
        for (uint32_t i = 1; i < LIVES_MAX; i++)
            lives->incarnation[i - 1] = lives->incarnation[i];
        lives->count--;
    }
    lives->incarnation[lives->count++] = incarnation;
}

enum style { STYLE_ACTIVE = 0, STYLE_PASSIVE = 1 };
enum propagation { PROPAGATION_STAR = 0, PROPAGATION_CHAIN = 1 };
enum role { ROLE_NONE = 0, ROLE_JOINER = 1, ROLE_BACKUP = 2, ROLE_PRIMARY = 3 };
enum order_action { ORDER_START = 1, ORDER_STOP = 2 };
enum change { CHANGE_NONE = 0, CHANGE_ADD = 1, CHANGE_DELETE = 2, CHANGE_UNWATCHED = 3 };
/* What a server does that is not serving yet. */
enum phase {
    PHASE_NONE = 0,      /* nothing of the kind */
    PHASE_LOADING = 1,   /* a checkpoint, from its disk */
    PHASE_REPLAYING = 2, /* its journal, from its disk */
    PHASE_WAITING = 3,   /* for a checkpoint from another server */
    PHASE_RECEIVING = 4, /* it is coming in */
    PHASE_FOLLOWING = 5, /* gets and executes the entries since */
    PHASE_FULL = 6,      /* has recovered, and waits for room on its disk */
};
enum outcome {
    OUTCOME_DONE = 0,         /* the reply is the service's */
    OUTCOME_NOT_EXECUTED = 1, /* certainly not executed, now or later; the reply is an error text */
    OUTCOME_UNKNOWN = 2,      /* may have been executed: the client's connection must close */
};

/* In lower case; "unknown" when there is no such value. */
const char *style_name(uint8_t style);
const char *role_name(uint8_t role);
const char *phase_name(uint8_t phase);

/* Every message that crosses a socket. Numbers are for ever: a message that leaves the
 * protocol leaves its number unused. From 200 on they never leave the process: what the
 * edge tells its core. The range of every u8 field stands in MESSAGE_U8_RANGES below. */
#define MESSAGES(X)                                                                           \
    X(1, hello, HELLO)                /* both ways, first on every link */                    \
    X(2, refuse, REFUSE)              /* instead of a hello; then the link closes */          \
    X(3, heartbeat, HEARTBEAT)        /* lfd -> server; gfd -> lfd */                         \
    X(4, heartbeat_ok, HEARTBEAT_OK)  /* server -> lfd; lfd -> gfd */                         \
    X(5, add, ADD)                    /* lfd -> gfd */                                        \
    X(6, delete, DELETE)              /* lfd -> gfd */                                        \
    X(7, registered, REGISTERED)      /* lfd -> gfd: all its adds since the link are sent */  \
    X(8, start_failed, START_FAILED)  /* lfd -> gfd -> rm */                                  \
    X(9, order, ORDER)                /* rm -> gfd -> lfd */                                  \
    X(10, membership, MEMBERSHIP)     /* gfd -> rm */                                         \
    X(11, host, HOST)                 /* gfd -> rm: an lfd came, went or is silent */         \
    X(20, fence, FENCE)               /* rm -> server */                                      \
    X(21, report, REPORT)             /* server -> rm, the answer to a fence */               \
    X(22, view, VIEW)                 /* rm -> server; primary -> backup */                   \
    X(23, state, STATE)               /* server -> rm, on connecting and when it changes */   \
    X(24, active, ACTIVE)             /* primary -> rm: acks members have adopted the view */ \
    X(25, caught_up, CAUGHT_UP)       /* primary -> rm: a joiner is near the end */           \
    X(26, accuse, ACCUSE)             /* server -> rm: I cannot reach this peer */            \
    X(27, donor_wanted, DONOR_WANTED) /* primary -> rm: a joiner needs a checkpoint */        \
    X(28, donate, DONATE)             /* rm -> server: give that joiner a checkpoint */       \
    X(29, sync, SYNC)                 /* primary -> server: where forwarded requests stand */ \
    X(30, position, POSITION)         /* backup or joiner -> primary: where my journal is */  \
    X(31, append, APPEND)             /* primary -> backup or joiner */                       \
    X(32, ack, ACK)                   /* backup or joiner -> primary */                       \
    X(33, forward, FORWARD)           /* backup -> primary: clients' requests */              \
    X(34, reply, REPLY)               /* primary -> backup: for the clients of forwards */    \
    X(35, checkpoint_begin, CHECKPOINT_BEGIN) /* donor -> receiver */                         \
    X(36, checkpoint_slice, CHECKPOINT_SLICE) /* donor -> receiver */                         \
    X(37, checkpoint_end, CHECKPOINT_END)     /* donor -> receiver */                         \
    X(38, checkpoint_ack, CHECKPOINT_ACK)     /* receiver -> donor */                         \
    X(39, diverged, DIVERGED)    /* primary -> backup: your state is not mine: begin anew */  \
    X(40, progress, PROGRESS)    /* server -> rm; while it recovers: -> lfd -> gfd -> rm */   \
    X(41, alive, ALIVE)          /* backup -> next in a chain: what comes to me is long */    \
    X(42, silence, SILENCE)      /* rm -> server: the operator cuts a link, or heals it */    \
    X(200, link_up, LINK_UP)     /* runtime -> core: `from` said its hello */                 \
    X(201, link_down, LINK_DOWN) /* runtime -> core: the link to `from` is lost */            \
    X(202, exited, EXITED)       /* edge -> lfd: a process of ours is gone */                 \
    X(203, spawned, SPAWNED)     /* edge -> lfd: what a spawn came to */                      \
    X(204, command, COMMAND)     /* console -> rm */                                          \
    X(205, cause, CAUSE)         /* edge -> lfd: why a server does not answer */              \
    X(206, link_part, LINK_PART) /* runtime -> core: a long message of `from` is coming in */

#define HELLO_FIELDS(F)                                                  \
    F(u32, protocol)    /* PROTOCOL_VERSION */                           \
    F(text, cluster)    /* name of the cluster */                        \
    F(node, node)       /* who speaks */                                 \
    F(node, expected)   /* whom it means to speak to */                  \
    F(u64, incarnation) /* of a server; of others the start time, too */ \
    F(u32, pid)
#define REFUSE_FIELDS(F)    F(text, reason)
#define HEARTBEAT_FIELDS(F) F(u64, sequence) /* from 1 */
#define HEARTBEAT_OK_FIELDS(F)                            \
    F(u64, sequence) /* of the heartbeat answered */      \
    F(u64, turn)     /* turns of the event loop so far */ \
    F(u64, journal_index)                                 \
    F(u64, commit_index)                                  \
    F(u32, oldest_waiting_ms) /* age of the oldest request without a reply */
#define ADD_FIELDS(F)   \
    F(node, server)     \
    F(u64, incarnation) \
    F(u32, pid)
#define DELETE_FIELDS(F)                                                  \
    F(node, server)                                                       \
    F(u64, incarnation) /* 0: whichever there was */                      \
    F(u8, certain)      /* 1: its process is gone; 0: it may still run */ \
    F(text, cause)
#define REGISTERED_FIELDS(F) F(u32, count) /* servers it has added */
#define START_FAILED_FIELDS(F) \
    F(node, server)            \
    F(text, cause)
#define ORDER_FIELDS(F) \
    F(node, server)     \
    F(u8, action) /* enum order_action */
#define MEMBERSHIP_FIELDS(F)                                                      \
    F(u64, version) /* grows by one with every change of the list */              \
    F(members, members)                                                           \
    F(u32, unwatched)   /* members whose lfd is not there, a set */               \
    F(node, changed)    /* what this message is about, NODE_NONE on connecting */ \
    F(u8, change)       /* enum change */                                         \
    F(u64, incarnation) /* of the changed one */                                  \
    F(u32, pid)         /* of the changed one, 0 if not known */                  \
    F(u8, certain)      /* of a delete: 1 when its process is gone */             \
    F(text, cause)
#define HOST_FIELDS(F)                         \
    F(node, lfd)                               \
    F(u8, up) /* 1: connected and answering */ \
    F(u32, pid)
#define FENCE_FIELDS(F) F(u64, number) /* promise to refuse every view below it */
#define REPORT_FIELDS(F)                                                                      \
    F(u64, number) /* of the fence answered */                                                \
    F(u64, incarnation)                                                                       \
    F(u8, intact)        /* 1: the journal lacks nothing this server acknowledged */          \
    F(u8, cut)           /* 1: but maybe the last group, torn when the power went */          \
    F(lives, lives)      /* nor, intact or not, what these lives of it did */                 \
    F(u64, journal_view) /* latest view whose start this journal holds whole */               \
    F(u64, last_index)                                                                        \
    F(u64, commit_index)                                                                      \
    F(u64, discarded_view)  /* not intact, but lacks nothing that it acknowledged behind */   \
    F(u64, discarded_index) /* the end of the intact journal that it threw away; 0: may */    \
    F(u8, stateless)        /* 1: the state before its journal is missing: it may not lead */ \
    F(u32, lease_left_ms)   /* longest lease it may still have granted */
#define VIEW_FIELDS(F)                                                                  \
    F(u64, number)     /* only grows; stored by the rm before it is sent */             \
    F(u8, style)       /* enum style */                                                 \
    F(u8, propagation) /* enum propagation */                                           \
    F(u8, acks)        /* members that must hold an entry to commit it */               \
    F(node, primary)                                                                    \
    F(members, members)                                                                 \
    F(u32, lease_wait_ms) /* the primary commits nothing for so long: an old one may */ \
                          /* still be answering reads */
#define STATE_FIELDS(F)                                           \
    F(u64, incarnation)                                           \
    F(u64, promised) /* lowest view number it does not refuse */  \
    F(u64, view)     /* number of the view it is in, 0 if none */ \
    F(u8, role)      /* enum role */                              \
    F(u8, intact)                                                 \
    F(u64, journal_view)                                          \
    F(u64, journal_index)                                         \
    F(u64, commit_index)                                          \
    F(u64, executed_index)                                        \
    F(u64, discarded_view) /* as in a report */                   \
    F(u64, discarded_index)                                       \
    F(u32, clients) /* connections on its client port */
#define ACTIVE_FIELDS(F) \
    F(u64, number)       \
    F(u64, commit_index)
#define CAUGHT_UP_FIELDS(F)                  \
    F(u64, number) /* view of the primary */ \
    F(node, joiner)                          \
    F(u64, incarnation) /* of the joiner */
#define ACCUSE_FIELDS(F)                     \
    F(u64, number) /* view of the accuser */ \
    F(node, peer)                            \
    F(u64, incarnation) /* of the peer */    \
    F(text, cause)
#define DONOR_WANTED_FIELDS(F)              \
    F(u64, number)                          \
    F(node, joiner)                         \
    F(u64, incarnation) /* of the joiner */ \
    F(u64, index)       /* the checkpoint must be of this index or later */
#define DONATE_FIELDS(F) \
    F(u64, number)       \
    F(node, joiner)      \
    F(u64, incarnation)  \
    F(u64, index)
/* A request forwarded in another view or on an earlier link is in the journal up to index, or
 * will never be. Until it has this, a server forwards nothing. */
#define SYNC_FIELDS(F) \
    F(u64, view)       \
    F(u64, index)
#define ALIVE_FIELDS(F) F(u64, view)
#define DIVERGED_FIELDS(F) \
    F(u64, index)          \
    F(u64, digest) /* of the primary's state there */
#define POSITION_FIELDS(F)                                                    \
    F(u64, view)                                                              \
    F(u64, incarnation)                                                       \
    F(u64, first_index) /* of its journal: entry before it is in its state */ \
    F(u64, last_index)                                                        \
    F(u64, executed_index) /* of its state */                                 \
    F(u8, whole)           /* 1: no state is missing before its journal */    \
    F(u8, intact)          /* 1: it lacks nothing that it acknowledged */     \
    F(bytes, runs)         /* packed struct journal_run: which views, from where */
#define APPEND_FIELDS(F)                                                                \
    F(u64, view)                                                                        \
    F(u64, prev_index) /* the entry before the first of these */                        \
    F(u64, prev_view)                                                                   \
    F(u64, commit_index)                                                                \
    F(u64, trim_index) /* members may drop entries up to here (passive) */              \
    F(u64, stamp)      /* primary's clock in ns when it sent this, for the lease */     \
    F(u8, reset)       /* 1: a checkpoint comes: begin the journal behind prev_index */ \
    F(bytes, entries)  /* packed as in the journal */
#define ACK_FIELDS(F)                                                             \
    F(u64, view)                                                                  \
    F(u64, incarnation)                                                           \
    F(u64, index) /* everything up to here is saved and equal to the primary's */ \
    F(u64, executed_index)                                                        \
    F(u64, stamp)        /* of the latest append taken in */                      \
    F(u64, digest_index) /* index of a checkpoint mark executed, 0 if none */     \
    F(u64, digest)       /* of the state there */
#define FORWARD_FIELDS(F) \
    F(u64, view)          \
    F(bytes, requests) /* packed as journal records, with the backup's tokens */
#define REPLY_FIELDS(F) \
    F(bytes, replies) /* packed as journal records: kind is an outcome, for that token and life */
#define CHECKPOINT_BEGIN_FIELDS(F)                                        \
    F(u64, view)       /* the receiver must be in it */                   \
    F(u64, index)      /* the state is that after this entry */           \
    F(u64, index_view) /* view of that entry */                           \
    F(u64, time_us)    /* time of that entry */                           \
    F(u64, base_index) /* 0: full; else: what changed since this index */ \
    F(u64, count)      /* of checkpoints so far, from 1 */                \
    F(u64, digest)     /* of the whole state */                           \
    F(u64, bytes_estimated)
#define CHECKPOINT_SLICE_FIELDS(F)              \
    F(u64, index)                               \
    F(u32, sequence) /* of the slice, from 0 */ \
    F(bytes, data)
#define CHECKPOINT_END_FIELDS(F) \
    F(u64, index)                \
    F(u32, slices)
#define CHECKPOINT_ACK_FIELDS(F)                                                                   \
    F(u64, index)                                                                                  \
    F(u32, slices)   /* taken in so far */                                                         \
    F(u8, installed) /* 0: going on; 1: in; 2: refused, begin again; 3: the link is back, go on */ \
                     /* from there */
/* At most a few times per second, and when the phase changes. */
#define PROGRESS_FIELDS(F)                 \
    F(node, server)                        \
    F(u64, incarnation)                    \
    F(u8, phase)        /* enum phase */   \
    F(u64, bytes)       /* so far */       \
    F(u64, bytes_total) /* 0: not known */ \
    F(u32, left_ms)     /* as it goes now; 0: not known */
#define SILENCE_FIELDS(F)                                          \
    F(node, peer)  /* say nothing to it, and hear nothing of it */ \
    F(u8, seconds) /* from now on; 0: no longer */
#define LINK_UP_FIELDS(F) \
    F(u64, incarnation)   \
    F(u32, pid)
#define LINK_DOWN_FIELDS(F) \
    F(u64, incarnation)     \
    F(u8, certain)                        /* 1: closed or reset by the other side */
#define LINK_PART_FIELDS(F) F(u64, bytes) /* of it that are here */
#define EXITED_FIELDS(F)                                     \
    F(node, server)                                          \
    F(u32, pid)                                              \
    F(u8, known)  /* 0: not our child, its status is lost */ \
    F(u8, signal) /* that ended it, 0 if none */             \
    F(u8, status) /* exit status when signal is 0 */
#define SPAWNED_FIELDS(F)                       \
    F(node, server)                             \
    F(u32, pid)    /* 0: it failed */           \
    F(u8, adopted) /* 1: was running already */ \
    F(text, cause) /* of the failure */
#define CAUSE_FIELDS(F) \
    F(node, server)     \
    F(u32, pid)         \
    F(text, cause) /* what its process is doing: "stopped", "disk wait" … */
#define COMMAND_FIELDS(F)                                                 \
    F(u8, verb) /* enum command_verb */                                   \
    F(node, server)                                                       \
    F(node, peer)     /* the other end of COMMAND_CUT and _HEAL */        \
    F(u32, count)     /* of COMMAND_ACKS_COUNT; seconds of COMMAND_CUT */ \
    F(u64, reference) /* of the caller, comes back in its answer */

enum command_verb {
    COMMAND_SWITCHOVER = 1,
    COMMAND_START = 2,
    COMMAND_STOP = 3,
    COMMAND_RESTART = 4,
    COMMAND_RECOVER = 5, /* accept the loss of what cannot be found */
    COMMAND_STYLE_ACTIVE = 6,
    COMMAND_STYLE_PASSIVE = 7,
    COMMAND_ACKS_ALL = 8,
    COMMAND_ACKS_MAJORITY = 9,
    COMMAND_ACKS_COUNT = 10,
    COMMAND_CUT = 11,  /* the link of two servers, for a while */
    COMMAND_HEAL = 12, /* before its time is over */
};

/* What a u8 field may be, by its name, which means the same in every message. Others are
 * refused by message_decode() and asserted by message_encode(). */
#define MESSAGE_U8_RANGES(R)                            \
    R(acks, 1, SERVER_COUNT_MAX)                        \
    R(action, ORDER_START, ORDER_STOP)                  \
    R(adopted, 0, 1)                                    \
    R(certain, 0, 1)                                    \
    R(change, CHANGE_NONE, CHANGE_UNWATCHED)            \
    R(cut, 0, 1)                                        \
    R(installed, 0, 3)                                  \
    R(intact, 0, 1)                                     \
    R(known, 0, 1)                                      \
    R(phase, PHASE_NONE, PHASE_FULL)                    \
    R(propagation, PROPAGATION_STAR, PROPAGATION_CHAIN) \
    R(reset, 0, 1)                                      \
    R(role, ROLE_NONE, ROLE_PRIMARY)                    \
    R(seconds, 0, CUT_SECONDS_MAX)                      \
    R(signal, 0, UINT8_MAX)                             \
    R(status, 0, UINT8_MAX)                             \
    R(style, STYLE_ACTIVE, STYLE_PASSIVE)               \
    R(up, 0, 1)                                         \
    R(stateless, 0, 1)                                  \
    R(whole, 0, 1)                                      \
    R(verb, COMMAND_SWITCHOVER, COMMAND_HEAL)

enum message_u8_range {
#define R(name, min, max) MESSAGE_U8_MIN_##name = (min), MESSAGE_U8_MAX_##name = (max),
    MESSAGE_U8_RANGES(R)
#undef R
};

/* What a field is in C. */
#define MESSAGE_FIELD_u8(name)      uint8_t name;
#define MESSAGE_FIELD_u32(name)     uint32_t name;
#define MESSAGE_FIELD_u64(name)     uint64_t name;
#define MESSAGE_FIELD_node(name)    node_id name;
#define MESSAGE_FIELD_bytes(name)   struct bytes name;
#define MESSAGE_FIELD_text(name)    char name[MESSAGE_TEXT_SIZE];
#define MESSAGE_FIELD_members(name) struct members name;
#define MESSAGE_FIELD_lives(name)   struct lives name;
#define MESSAGE_FIELD(kind, name)   MESSAGE_FIELD_##kind(name)

enum message_type {
#define X(number, name, NAME) MESSAGE_##NAME = number,
    MESSAGES(X)
#undef X
};

#define MESSAGE_LOCAL_MIN 200u /* types from here on never cross a socket */

#define X(number, name, NAME)        \
    struct message_##name {          \
        NAME##_FIELDS(MESSAGE_FIELD) \
    };
MESSAGES(X)
#undef X

struct message {
    enum message_type type;
    node_id from; /* set by whoever delivers it, from the hello of the link */
    union {
#define X(number, name, NAME) struct message_##name name;
        MESSAGES(X)
#undef X
    };
};

/* Appends the frame of the message, which must keep to the ranges above. Not for local messages. */
void message_encode(const struct message *message, struct buffer *out);

/* Appends the frame without the bytes of its last field, which must be a `bytes`: the
 * caller sends those from where they are. */
void message_encode_head(const struct message *message, struct buffer *out);

/* Reads the payload of one frame (type and fields, without the size). References in the
 * message point into the payload. Anything wrong is ERROR_PROTOCOL, with a reason. */
enum error_code message_decode(struct bytes payload, struct message *message, struct error *error);

/* "name field=value field=value", for logs and tests: nodes and members by name ("s1,s2", "none"),
 * text in double quotes, bytes as "<7 bytes>". */
void message_format(const struct message *message, struct buffer *out);

/* As in the table; "unknown" when it is not there. */
const char *message_name(enum message_type type);

#endif
