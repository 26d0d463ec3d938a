/* holdfast - the client library: exactly-once calls to a cluster that survives its servers.
 *
 * A client keeps connections to all servers of its list. A call goes to one (or to all, see
 * below); when that one is lost, or silent for try_ms, it is sent again, at once, to the next,
 * under the same session and sequence, so that it is executed once whatever happens on the way.
 *
 *     struct holdfast_options options = { .servers = "127.0.0.1:7001,127.0.0.1:7002" };
 *     struct holdfast *client = holdfast_open(&options, NULL, 0);
 *     const char *command[] = { "INCR", "visits" };
 *     const char *reply;
 *     size_t size;
 *
 *     if (holdfast_call(client, 2, command, NULL, &reply, &size) == HOLDFAST_OK)
 *         printf("%.*s", (int)size, reply);                      // ":1\r\n"
 *     else
 *         fprintf(stderr, "%s\n", holdfast_error(client));
 *     holdfast_close(client);
 *
 * Not thread safe: one client per thread, any number of clients per process. A call blocks until
 * its outcome is known or its deadline has passed; between calls nothing runs. Memory that cannot
 * be had ends the process with a message. No signal handler is touched; SIGPIPE is not raised. */
#ifndef HOLDFAST_CLIENT_HOLDFAST_H
#define HOLDFAST_CLIENT_HOLDFAST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct holdfast;

enum holdfast_status {
    HOLDFAST_OK,     /* the reply is in; it may be an error reply of the service */
    HOLDFAST_FAILED, /* certainly not executed, and never will be; a read without an answer, too */
    /* It may have been executed, or may still be: the deadline passed, or the cluster has dropped
     * the session. Or it was, and its reply is lost: above 1 MiB, so that the cluster does not
     * remember it, and the connection that was to bring it ended. holdfast_error() says which. */
    HOLDFAST_UNKNOWN,
};

/* All zero but servers is fine. */
struct holdfast_options {
    const char *servers;  /* "127.0.0.1:7001,s2=host:7002,[::1]:7003": 1 to 16, names optional */
    uint32_t deadline_ms; /* of a call, with all its retries; 0: 5000 */
    uint32_t connect_ms;  /* of one connection attempt; 0: 1000 */
    uint32_t try_ms;      /* silence of a server before the next is tried; doubles; 0: 250 */
    /* Every call to every server: the first reply counts, the others are discarded. Meant for
     * clusters of active style: a failover then costs no retry. */
    bool send_to_all;
    /* To go on with a session of an earlier client: its id (below 2^63) and the sequence of the
     * next call, which may repeat the last one: it is then answered, not executed again. Session
     * 0: a new one, from the system's randomness, from sequence 1. */
    uint64_t session;
    uint64_t sequence;
    /* Optional: told of every duplicate reply that is discarded (request: number of the call,
     * from 1, reads included), and of every connection made, lost or refused, in words. Neither
     * may call back into the library. The texts are valid during the call. */
    void (*discarded)(void *context, uint64_t request, const char *server);
    void (*event)(void *context, const char *text);
    void *context;
};

/* Copies the options; resolves host names, which may block. NULL when the options make no sense
 * or a host is not known; the reason is in error, if not NULL. Connects in the background: the
 * first call waits for what it needs. */
struct holdfast *holdfast_open(const struct holdfast_options *options, char *error,
                               size_t error_size);

/* Closes the connections and frees the client; NULL is fine. */
void holdfast_close(struct holdfast *holdfast);

/* One command that writes, exactly once: argc words, the name first, of the given sizes in bytes
 * (NULL: they end in '\0'). The reply is RESP3 as it came, belongs to the client and is valid
 * until its next call; NULL and 0 unless HOLDFAST_OK. */
enum holdfast_status holdfast_call(struct holdfast *holdfast, int argc, const char *const *argv,
                                   const size_t *sizes, const char **reply, size_t *reply_size);

/* One command that only reads: sent as it is, repeated freely. Never HOLDFAST_UNKNOWN. */
enum holdfast_status holdfast_read(struct holdfast *holdfast, int argc, const char *const *argv,
                                   const size_t *sizes, const char **reply, size_t *reply_size);

/* Waits up to wait_ms until every server is connected or has refused; returns how many are
 * connected. Not needed before a call; a call to all goes to those that are connected. */
uint32_t holdfast_connect(struct holdfast *holdfast, uint32_t wait_ms);

/* Waits up to wait_ms for duplicate replies that are still to come (of calls that went to several
 * servers), so that they are reported; returns how many are still missing. */
uint32_t holdfast_drain(struct holdfast *holdfast, uint32_t wait_ms);

/* Why the last call was not HOLDFAST_OK: a sentence; empty when it was. Never NULL. */
const char *holdfast_error(const struct holdfast *holdfast);

/* The session in use. It changes only where the cluster may not know the old one (the outcome of
 * its first call was unknown, or the cluster has dropped it after a long time without calls). */
uint64_t holdfast_session(const struct holdfast *holdfast);
uint64_t holdfast_sequence(const struct holdfast *holdfast); /* of the last holdfast_call() */

#ifdef __cplusplus
}
#endif
#endif
