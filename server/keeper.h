/* keeper - a child that holds this process's memory a little longer than the process itself.
 *
 * When a process dies, the kernel takes down its memory first, and only then closes its sockets and
 * wakes whoever waits on its pidfd: with 4 GB of memory that takes 100 ms. A second process that
 * shares the address space (CLONE_VM) lets the first one die without its memory: sockets close and
 * the pidfd wakes at once. The keeper hears of it (PR_SET_PDEATHSIG), gives the memory back in
 * small steps, so that it never holds a processor for long while a failover needs it, and ends.
 *
 * It has no descriptor, blocks every signal it can, and runs nothing but system calls on a stack of
 * its own, so it can do no harm to the memory that it shares. In lists of processes it stands
 * beside the server as "holdfast-keeper", and the same memory is counted for both. */
#ifndef HOLDFAST_SERVER_KEEPER_H
#define HOLDFAST_SERVER_KEEPER_H

#include <sys/types.h>

#include "common/error.h"

/* Starts the keeper, and gives its pid. To be called from the main thread, which must not end
 * before the process does: the kernel ends the keeper together with the thread that started it.
 * Nobody waits for it: whoever adopts it when this process is gone reaps it.
 *
 * ERROR_REFUSED where there can be none (under an address sanitizer, on processors that its system
 * calls are not written for), ERROR_SYSTEM when the kernel refuses: all works without, later. */
enum error_code keeper_start(pid_t *pid, struct error *error);

#endif
