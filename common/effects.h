/* effects - what a core wants done, in the order in which it must be done.
 *
 * A core appends; the runtime or the simulator carries out. What must be saved before it
 * is answered stands before the answer. References in an effect are valid until the next
 * call of the core that made it. */
#ifndef HOLDFAST_COMMON_EFFECTS_H
#define HOLDFAST_COMMON_EFFECTS_H

#include "common/limits.h"
#include "common/messages.h"

/* Effects other than `send` and `note` are the daemon's own: its edge performs them. */
#define EFFECTS(X)                                                                           \
    X(send, SEND)         /* any core: to a node, over its link; lost when there is none */  \
    X(note, NOTE)         /* any core: a line for the operator */                            \
    X(spawn, SPAWN)       /* lfd: start this server; a `spawned` message answers */          \
    X(kill, KILL)         /* lfd: send this signal to the server's process; 0: look at it */ \
    X(store, STORE)       /* rm: make this state durable before going on */                  \
    X(answer, ANSWER)     /* rm: the answer to a console command */                          \
    X(persist, PERSIST)   /* server: save the journal up to `reference`: server_saved(); */  \
                          /* `number` 1: it is complete now, which is to be told so, too */  \
    X(restart, RESTART)   /* server: the journal on disk begins anew behind `reference` */   \
    X(keep, KEEP)         /* server: a checkpoint for the disk, its beginning or a slice */  \
    X(keep_end, KEEP_END) /* server: that was the last slice; 0: give it up */               \
    X(append, APPEND)     /* replica: records received, or one entry of the kind `number` */ \
    X(truncate, TRUNCATE) /* replica: drop the entries after `reference` */                  \
    X(reset, RESET)       /* replica: begin the journal anew behind `reference` */           \
    X(commit, COMMIT)     /* replica: entries up to `reference` are committed */             \
    X(feed, FEED)         /* replica: send `node` what it lacks */                           \
    X(role, ROLE)         /* replica: role or view changed: look at all requests again */    \
    X(resync, RESYNC)     /* replica: forward again what is not in the journal */            \
    X(donate, DONATE)     /* replica: send `node` a checkpoint of `reference` or later */    \
    X(end, END)           /* any: end this process, it cannot go on; text says why */

enum note_level { NOTE_DEBUG, NOTE_INFO, NOTE_WARN, NOTE_ERROR };

enum effect_type {
#define X(name, NAME) EFFECT_##NAME,
    EFFECTS(X)
#undef X
};

/* Memory that several hold: the last one to let go frees it. For one thread. */
struct block {
    uint32_t holders;
    uint32_t size; /* bytes that data has room for */
    uint32_t used;
    _Alignas(8) uint8_t data[];
};

struct block *block_new(uint32_t size); /* held once */
void block_hold(struct block *block);
void block_release(struct block *block);

struct effect {
    enum effect_type type;
    enum note_level level;  /* note */
    node_id node;           /* send: to whom; spawn, kill: which server */
    uint32_t number;        /* kill: the signal, or 0: a `cause` message answers; answer: 1 done, 0
                               refused; append: the kind; keep_end: 1 whole, 0 given up */
    uint64_t reference;     /* answer: of the command; others: an index of the journal */
    const char *text;       /* note, answer, end */
    struct bytes data;      /* store; append: packed records, empty: one entry of our own */
    struct block *owner;    /* send: holds the bytes of the message; NULL: they are copied */
    struct message message; /* send; keep: a checkpoint's beginning or slice */
};

struct effects {
    uint32_t count;
    uint32_t text_used;
    struct effect list[EFFECT_COUNT_MAX];
    char text[NOTE_BYTES_MAX];
};

static inline void effects_clear(struct effects *e)
{
    e->count = 0;
    e->text_used = 0;
}

/* Each appends one effect; more than EFFECT_COUNT_MAX in one call is a bug and asserted. */
void effects_send(struct effects *out, node_id to, struct message message);
/* The bytes of the message lie in *owner, which the core holds at least until its next call. The
 * effect itself holds nothing: who keeps the bytes for longer does block_hold(). */
void effects_send_held(struct effects *out, node_id to, struct message message,
                       struct block *owner);
void effects_note(struct effects *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void effects_note_at(struct effects *out, enum note_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Zero but for its type, at level NOTE_INFO; to be filled in. */
struct effect *effects_add(struct effects *out, enum effect_type type);
/* Room in *out for a text that lives as long as the effects do; cut when NOTE_BYTES_MAX is used. */
const char *effects_text(struct effects *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* One line per effect, for stories in tests: "send gfd: add server=s1 …", the note as it is, all
 * others by their name, with what is not zero of the rest: "spawn s1", "kill s1 signal=9", "store
 * <7 bytes>", "persist index=5", "answer reference=1 done=0: text", "end: text". */
void effects_format(const struct effects *effects, struct buffer *out);

#endif
