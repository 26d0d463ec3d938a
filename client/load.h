/* load - drives a cluster with many connections and measures what clients see.
 *
 * Closed loop: each connection keeps `pipeline` requests under way. Open loop (a rate): requests
 * have an intended time of their own, and latency counts from it, so that a server that stalls is
 * charged for everything it made wait (no coordinated omission). */
#ifndef HOLDFAST_CLIENT_LOAD_H
#define HOLDFAST_CLIENT_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "client/address.h"
#include "client/verify.h"
#include "common/histogram.h"

#define LOAD_LANES_MAX    1000000u /* connections × pipeline */
#define LOAD_SESSIONS_MAX 32768u   /* lanes with --once: half of what the cluster remembers */
#define LOAD_SECONDS_MAX  86400u
#define LOAD_GAPS_MAX     256u /* longest gaps that are kept */

enum load_send_to {
    LOAD_SEND_ONE,    /* every connection to the first server; to the next when it is lost */
    LOAD_SEND_SPREAD, /* connections begin at the servers in turn */
    LOAD_SEND_ALL,    /* every request to every server; the first reply counts */
};

struct load_options {
    char servers[4096]; /* as for addresses_parse(); "" until it is known */
    double rate;        /* requests per second over all connections; 0: closed loop */
    uint32_t connections, pipeline;
    uint32_t value_size;    /* bytes */
    uint32_t reads_percent; /* 0 … 100 */
    uint32_t keys;          /* key:000000000000 and on */
    uint64_t requests;      /* 0: as many as fit in the time */
    double seconds;         /* 0: as long as the requests take */
    uint32_t deadline_ms;   /* of a request that is not answered */
    uint32_t try_ms;        /* once: silence of a connection before it moves to the next server */
    bool once, verify, json, series, help;
    char record[4096]; /* file for what became of the writes; "": none */
    enum load_send_to send_to;
    uint64_t seed; /* 0: from the system */
};

struct load_gap {
    uint64_t ns;    /* between two acknowledgements, or the start and the first */
    uint64_t at_ns; /* its end, since the start */
};

struct load_result {
    uint64_t ok, errors, failed, unknown; /* one of these for every request */
    uint64_t unsent;                      /* open loop: due, and never issued before the end */
    uint64_t retries;                     /* attempts beyond the first, of all requests */
    uint64_t discarded;                   /* duplicate replies */
    uint64_t lost_connections;
    uint64_t start_ns;              /* CLOCK_MONOTONIC */
    uint64_t elapsed_ns;            /* from the start to the last outcome */
    struct histogram reads, writes; /* latencies of ok, ns */
    uint64_t last_ack_ns;           /* since the start */
    uint32_t gap_count;
    struct load_gap gaps[LOAD_GAPS_MAX]; /* the longest, in no order */
    uint64_t gap_floor_ns;               /* shorter ones are not kept */
    uint64_t *seconds;                   /* ok in each second; NULL when there was none */
    uint32_t second_count;
    char first_error[128]; /* text of the first error reply */
    bool verified;
    struct verify_result verify;
};

void load_options_default(struct load_options *options);

/* The words after `load`, over what *options holds. ERROR_USAGE with a reason when they make no
 * sense. */
enum error_code load_options_parse(struct load_options *options, int argc, char **argv,
                                   struct error *error);
void load_usage(struct buffer *out);

/* Whether each write is to be known again. */
bool load_remembers(const struct load_options *options);

/* Runs the load and, when asked to, reads everything back. False and *error when it could not
 * even begin; the result is then not set. result->seconds belongs to the caller. */
bool load_run(const struct load_options *options, struct load_result *result, struct error *error);

/* Counts an acknowledgement at a time since the start. */
void load_result_ack(struct load_result *result, uint64_t at_ns);

/* Writes the result for people, or as one JSON object. */
void load_report(const struct load_options *options, const struct load_result *result,
                 struct buffer *out);
void load_report_json(const struct load_options *options, const struct load_result *result,
                      struct buffer *out);

/* Only what was read back, in the same form. */
void load_report_verify(const struct load_options *options, const struct load_result *result,
                        struct buffer *out);

/* Whether everything that was promised held. */
bool load_held(const struct load_options *options, const struct load_result *result);

/* Reads back what became of the writes of an earlier load. */
void load_read_back(const char *servers, const struct verify *v, struct load_result *result);

/* The commands: parse, run, report. servers may be "" for a load. Return the exit status. */
int load_main(const char *servers, int argc, char **argv);
int load_verify_main(const char *servers, int argc, char **argv); /* verify [--json] FILE */

#endif
