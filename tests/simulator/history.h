/* history - what clients asked for and what they were told: checked as it goes where one reply can
 * tell, and for linearizability at the end.
 *
 * Keys are of three uses. A text is only appended to, by pieces that are used once, and each append
 * is told how long the value then is: so each write has a place in its key's final value, and
 * each read sees a beginning of it. A register is set to values that are used once. A number is
 * added to. */
#ifndef HOLDFAST_SIMULATOR_HISTORY_H
#define HOLDFAST_SIMULATOR_HISTORY_H

#include <stdbool.h>
#include <stdio.h>

#include "common/buffer.h"
#include "tests/linearizability/linearizability.h"

#define HISTORY_KEYS_MAX    32u
#define HISTORY_NAME_SIZE   16u
#define HISTORY_NUMBER_SIZE 24u /* of a number as text, with what may follow it */

enum key_use { KEY_TEXT, KEY_REGISTER, KEY_NUMBER };

enum operation_state {
    OPERATION_OPEN,
    OPERATION_DONE,
    OPERATION_NOT_DONE, /* certainly */
    OPERATION_UNKNOWN,
};

struct operation {
    uint32_t client, key;
    enum linear_kind kind;
    enum operation_state state;
    bool stale;      /* a read that is content with older state */
    bool excused;    /* loss was accepted after it began */
    uint32_t size;   /* of the value that it writes, in bytes; number: what it adds */
    uint32_t ttl_ms; /* that the value is to live; 0: for ever */
    uint64_t floor;  /* text: length of the value that somebody knew of before it began */
    uint64_t invoked_ns, returned_ns;
    /* What it was told. Of a text its length, of a register's value the number of the operation
     * that wrote it, else the number; absent: there was none. */
    bool absent;
    int64_t result;
};

struct history_key {
    char name[HISTORY_NAME_SIZE];
    enum key_use use;
    struct buffer value; /* text: the longest seen */
    uint64_t length;     /* text: that any completed operation was told */
};

struct history {
    uint32_t key_count;
    struct history_key keys[HISTORY_KEYS_MAX];
    uint64_t wall_slack_ns;       /* wall clocks are at most so far apart */
    bool wall_jumped;             /* one of them was set: nobody can say when values end */
    struct operation *operations; /* by number - 1 */
    uint64_t count, capacity;
    uint64_t writes_done, reads_done, unknown;
    bool forgiven;    /* loss was accepted */
    char fault[2048]; /* the first thing found wrong */
};

/* *history is all zero before. */
uint32_t history_key_add(struct history *history, enum key_use use, const char *name);
void history_free(struct history *history);

/* Begins an operation; its number. size: of the value of a register (at least HISTORY_NUMBER_SIZE,
 * or 0 for the least), or what is added to a number. */
uint64_t history_begin(struct history *history, uint32_t client, uint32_t key,
                       enum linear_kind kind, uint32_t size, uint64_t now_ns);
struct operation *history_operation(const struct history *history, uint64_t number);
/* Appends what the operation writes (appends, adds). */
void history_argument(const struct history *history, uint64_t number, struct buffer *out);

/* How it ended: with nothing (a write), a text (NULL: absent) or a number. Each false when that
 * cannot be; history->fault says why. */
bool history_done(struct history *history, uint64_t number, uint64_t now_ns);
bool history_told_text(struct history *history, uint64_t number, struct bytes text,
                       uint64_t now_ns);
bool history_told_number(struct history *history, uint64_t number, int64_t told, uint64_t now_ns);
void history_not_done(struct history *history, uint64_t number);
void history_unknown(struct history *history, uint64_t number);

/* From now on acknowledged writes may be gone. */
void history_forgive(struct history *history);

/* The final value of a text: every acknowledged piece in its place, none twice, none that was not
 * done. */
bool history_final(struct history *history, uint32_t key, struct bytes value);

/* Whether there is an order that fits (linearizability.h); history->fault says where not, and shows
 * the operations. What needs too long a search counts as right. Nothing is checked after a loss
 * was accepted. */
bool history_linearizable(struct history *history);

/* Writes it in the form of tests/linearizability/record.h. */
void history_write(const struct history *history, FILE *out);

#endif
