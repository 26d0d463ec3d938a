/* history - what clients asked for and what they were told, checked as it goes.
 *
 * Every write appends a piece of text that is used once to a key, and is told how long the key's
 * value then is: so each write has a place in its key's final value, and each read sees a beginning
 * of it. Such a history is linearizable exactly if all values seen are beginnings of one and the
 * same, pieces stand where the replies said, and nobody sees less than somebody was told before
 * they asked. */
#ifndef HOLDFAST_SIMULATOR_HISTORY_H
#define HOLDFAST_SIMULATOR_HISTORY_H

#include <stdbool.h>

#include "common/buffer.h"

#define HISTORY_KEYS_MAX 16u

enum operation_state {
    OPERATION_OPEN,
    OPERATION_DONE,
    OPERATION_NOT_DONE, /* certainly */
    OPERATION_UNKNOWN,
};

struct operation {
    uint32_t key;
    bool write;
    enum operation_state state;
    bool excused;   /* loss was accepted after it began */
    char text[24];  /* that it appends */
    uint32_t size;  /* of it */
    uint64_t floor; /* length of the value that somebody knew of before it began */
    uint64_t end;   /* done: length of the value with it */
};

struct history_key {
    struct buffer value; /* the longest seen */
    uint64_t length;     /* that any completed operation was told */
};

struct history {
    uint32_t key_count;
    struct history_key keys[HISTORY_KEYS_MAX];
    struct operation *operations; /* by number - 1 */
    uint64_t count, capacity;
    uint64_t writes_done, reads_done, unknown;
    char fault[512]; /* the first thing found wrong */
};

void history_init(struct history *history, uint32_t key_count);
void history_free(struct history *history);

/* Begins an operation; its number. text of a write: what it appends. */
uint64_t history_begin(struct history *history, uint32_t key, bool write);
const struct operation *history_operation(const struct history *history, uint64_t number);

/* How it ended. Each false when that cannot be; history->fault says why. */
bool history_appended(struct history *history, uint64_t number, uint64_t length);
bool history_read(struct history *history, uint64_t number, struct bytes value, bool stale);
void history_not_done(struct history *history, uint64_t number);
void history_unknown(struct history *history, uint64_t number);

/* From now on acknowledged writes may be gone. */
void history_forgive(struct history *history);

/* The final value of a key: every acknowledged piece in its place, none twice, none that was not
 * done. */
bool history_final(struct history *history, uint32_t key, struct bytes value);

#endif
