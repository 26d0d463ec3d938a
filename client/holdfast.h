/* holdfast - the client library: exactly-once calls to a cluster that survives its servers.
 *
 * A client keeps connections to all servers of its list. A call goes to one (or to all, see below); when that one is lost it is sent again, at once, to the
 * next, under the same session and sequence, so that it is executed once whatever happens on the way. Not thread safe: one client per thread. */
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
    HOLDFAST_OK,      /* the reply is in; it may be an error reply of the service */
    HOLDFAST_FAILED,  /* certainly not executed, and never will be */
    HOLDFAST_UNKNOWN, /* the deadline passed: it may have been executed, or may still be */
};

struct holdfast_options {
    const char *servers;      /* "127.0.0.1:7001,127.0.0.1:7002" */
    uint32_t deadline_ms;     /* of a call, with all its retries; 0: 5000 */
    uint32_t connect_ms;      /* of one connection attempt; 0: 1000 */
    bool send_to_all;         /* every call to every server: the first reply counts, the others are discarded */
    uint64_t session;         /* 0: a new one, from the system's randomness */
    /* Optional: told of every duplicate reply that is discarded, and of every reconnection. */
    void (*discarded)(void *context, uint64_t sequence, const char *server);
    void (*event)(void *context, const char *text);
    void *context;
};

/* NULL when the options make no sense or memory is gone; the reason is in error, if not NULL. Connects in the background: the first call waits for what it needs. */
struct holdfast *holdfast_open(const struct holdfast_options *options, char *error, size_t error_size);
void holdfast_close(struct holdfast *holdfast);

/* One command that writes, exactly once. The reply (RESP3 as it came) belongs to the client and is valid until its next call. */
enum holdfast_status holdfast_call(struct holdfast *holdfast, int argc, const char *const *argv, const size_t *sizes, const char **reply, size_t *reply_size);

/* One command that only reads: sent as it is, repeated freely. */
enum holdfast_status holdfast_read(struct holdfast *holdfast, int argc, const char *const *argv, const size_t *sizes, const char **reply, size_t *reply_size);

/* Why the last call was not HOLDFAST_OK: a sentence. */
const char *holdfast_error(const struct holdfast *holdfast);
uint64_t holdfast_session(const struct holdfast *holdfast);
uint64_t holdfast_sequence(const struct holdfast *holdfast); /* of the last call */

#ifdef __cplusplus
}
#endif
#endif
