/* operator - the `holdfast` command: what was asked for, and the verbs that do it. */
#ifndef HOLDFAST_CLIENT_OPERATOR_H
#define HOLDFAST_CLIENT_OPERATOR_H

#include <stdbool.h>

#include "common/config.h"

/* One command line, and the config that it names. */
struct invocation {
    struct config config;
    const char *verb;
    char **words;        /* after the verb, NULL behind the last */
    const char *run_dir; /* as given on the command line, or NULL */
    bool json, follow, daemon, accept_loss, verbose;
};

/* The verbs. Each returns the exit status: 0 done; 1 the cluster refused or failed, with the
 * reason on stderr; 2 wrong usage or config. */
int operator_up(const struct invocation *call);
int operator_down(const struct invocation *call);
int operator_status(const struct invocation *call);
int operator_events(const struct invocation *call);
int operator_order(const struct invocation *call); /* switchover, start, stop, restart */
int operator_set(const struct invocation *call);
int operator_recover(const struct invocation *call);
int operator_fault(const struct invocation *call); /* kill, stop, cont */
int operator_link(const struct invocation *call);  /* fault cut, fault heal */
int operator_backup(const struct invocation *call);
int operator_restore(const struct invocation *call);
int operator_demo(const struct invocation *call);
int operator_journal(const struct invocation *call); /* without the config; 1 also for damage */
int operator_check(const struct invocation *call);

/* Says an error on stderr, as "holdfast: …", and gives its exit status. */
int operator_failure(const struct error *error);

/* Starts a cluster in a process of its own, which logs to RUN/holdfast.log, and waits until its
 * servers are all members. *whole says whether they are, *text how things stand. It ends with this
 * process when it is bound to it. Errors when it did not start; nothing of it runs then. */
enum error_code operator_detach(const struct invocation *call, bool bound, pid_t *launcher,
                                bool *whole, char text[ERROR_TEXT_SIZE], struct error *error);

#endif
