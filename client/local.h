/* local - this machine: which addresses are its own, and which processes are holdfast's. */
#ifndef HOLDFAST_CLIENT_LOCAL_H
#define HOLDFAST_CLIENT_LOCAL_H

#include <stdbool.h>
#include <sys/types.h>

#include "common/config.h"

/* Whether a number or host name is loopback or an address of an interface of this machine. May
 * block on DNS for a name; one that cannot be resolved is not local. */
bool local_address(const char *address);

/* False, with an error that names it, when a host name has no address. May block on DNS. */
bool local_resolves(const char *address, struct error *error);

/* Address of the machine that a node runs on. */
const char *local_node_address(const struct config *config, node_id node);

/* The process that holds RUN/<node>.lock on this machine; 0 if none. */
pid_t local_node_pid(const struct config *config, node_id node);

/* Whether that process exists and is one of holdfast's programs, by its name: a pid may have passed
 * on to somebody else. */
bool local_is_holdfast(pid_t pid);

/* The run directory that one of the cluster's daemons on this machine was started with, from the
 * root on; false when that cannot be seen. */
bool local_run_dir(pid_t pid, char *path, size_t size);

/* Whether a port of this machine is free to listen on. On failure the error names the port and what
 * is in the way; `whose` says who wants it. */
enum error_code local_port_check(const char *address, uint16_t port, const char *whose,
                                 struct error *error);

/* Writes the path of the program `name` that lies beside the running one. */
enum error_code local_program(const char *name, char *path, size_t size, struct error *error);

/* Whether who started this process told it to ignore the signal, as nohup does with SIGHUP. */
bool local_ignores(int signal);

/* Waits until the process is gone; false when it is still there after wait_ms. */
bool local_wait_gone(pid_t pid, uint32_t wait_ms);

#endif
