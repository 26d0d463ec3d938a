/* operator_status - what the rm says of the cluster: read from its JSON, written for people. */
#ifndef HOLDFAST_CLIENT_OPERATOR_STATUS_H
#define HOLDFAST_CLIENT_OPERATOR_STATUS_H

#include "common/buffer.h"
#include "common/config.h"

#define STATUS_TEXT_SIZE 96u

struct status_process {
    char name[NAME_SIZE];
    char state[NAME_SIZE];
    uint32_t pid; /* 0: not known */
};

struct status_server {
    struct status_process process;
    char host[NAME_SIZE];
    char role[NAME_SIZE];
    char last_exit[STATUS_TEXT_SIZE]; /* "" when there was none */
    char phase[NAME_SIZE];            /* of its recovery or join, "" when there is none */
    uint64_t bytes, bytes_total;      /* how far that is; total 0: not known */
    uint32_t seconds_left;
    uint64_t incarnation, journal_index, commit_index, executed_index;
    uint32_t client_port, restarts;
    bool member; /* of the view */
};

struct status {
    char cluster[NAME_SIZE];
    char style[NAME_SIZE];
    char primary[NAME_SIZE]; /* "" when there is none */
    char waits_for[256];     /* "" when the rm waits for nothing */
    uint64_t view;           /* 0: none yet */
    uint32_t acks, member_count;
    uint64_t membership_version;
    uint32_t server_count, lfd_count;
    struct status_server servers[SERVER_COUNT_MAX];
    struct status_process lfds[HOST_COUNT_MAX];
    struct status_process gfd, rm;
};

/* Reads the object of DESIGN.md section 14; what it lacks is empty or 0. */
enum error_code status_parse(struct status *status, struct bytes json, struct error *error);

/* Asks the rm and reads the answer. */
enum error_code status_fetch(struct status *status, const struct config *config, uint32_t wait_ms,
                             struct error *error);

/* Whether every server of the cluster is a member of the view, and takes its part in it. */
bool status_is_whole(const struct status *status);

/* Whether only an operator can help: acknowledged writes would be lost. */
bool status_needs_operator(const struct status *status);

/* "view 3 (active), primary s1, members s1, s2"; and "s3 (joining)" for each that is none. */
void status_line(const struct status *status, struct buffer *out);

/* A page for people. */
void status_write(const struct status *status, bool colours, struct buffer *out);

#endif
