/* fault: signals to the cluster's own processes, to see it survive them. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/local.h"
#include "client/operator.h"
#include "client/operator_status.h"

#define STATUS_MS_MAX 2000u

static const struct {
    const char *word;
    int signal;
    const char *done;
} faults[] = {
    { "kill", SIGKILL, "killed" },
    { "stop", SIGSTOP, "stopped" },
    { "cont", SIGCONT, "continued" },
};

#define FAULT_COUNT (sizeof faults / sizeof faults[0])

static pid_t pid_in_status(const struct status *status, node_id node)
{
    if (node == NODE_RM)
        return (pid_t)status->rm.pid;
    if (node == NODE_GFD)
        return (pid_t)status->gfd.pid;
    for (uint32_t i = 0; i < status->lfd_count; i++) {
        if (strcmp(status->lfds[i].name, node_name(node)) == 0)
            return (pid_t)status->lfds[i].pid;
    }
    for (uint32_t i = 0; i < status->server_count; i++) {
        if (strcmp(status->servers[i].process.name, node_name(node)) == 0)
            return (pid_t)status->servers[i].process.pid;
    }
    return 0;
}

/* Its lock says the pid, or, when the cluster runs in another directory, the rm. */
static enum error_code find_pid(const struct config *config, node_id node, pid_t *pid,
                                struct error *error)
{
    struct status *status;

    *pid = local_node_pid(config, node);
    if (*pid <= 0) {
        status = memory_take(sizeof *status);
        if (status_fetch(status, config, STATUS_MS_MAX, error) == ERROR_NONE)
            *pid = pid_in_status(status, node);
        free(status);
    }
    if (*pid <= 0)
        return error_set(error, ERROR_REFUSED, "%s is not running", node_name(node));
    if (!local_is_holdfast(*pid))
        return error_set(error, ERROR_REFUSED,
                         "process %ld, said to be %s, is not one of holdfast's", (long)*pid,
                         node_name(node));
    return ERROR_NONE;
}

int operator_fault(const struct invocation *call)
{
    const struct config *config = &call->config;
    node_id node = config_node(config, call->words[1]);
    struct error error;
    size_t i = 0;
    pid_t pid;

    while (i < FAULT_COUNT && strcmp(call->words[0], faults[i].word) != 0)
        i++;
    if (i == FAULT_COUNT) {
        error_set(&error, ERROR_USAGE,
                  "fault: expected kill, stop or cont before one name, cut or heal before two, "
                  "got \"%s\"",
                  call->words[0]);
        return operator_failure(&error);
    }
    if (node == NODE_NONE) {
        error_set(&error, ERROR_USAGE,
                  "fault: expected a server or host of cluster %s, rm or gfd, got \"%s\"",
                  config->cluster, call->words[1]);
        return operator_failure(&error);
    }
    if (!local_address(local_node_address(config, node))) {
        error_set(&error, ERROR_REFUSED, "%s runs at %s, which is not this machine: call it there",
                  node_name(node), local_node_address(config, node));
        return operator_failure(&error);
    }
    if (find_pid(config, node, &pid, &error) != ERROR_NONE)
        return operator_failure(&error);
    if (kill(pid, faults[i].signal) != 0) {
        error_system(&error, "cannot send a signal to %s, process %ld", node_name(node), (long)pid);
        return operator_failure(&error);
    }
    printf("%s, process %ld: %s\n", node_name(node), (long)pid, faults[i].done);
    return EXIT_SUCCESS;
}
