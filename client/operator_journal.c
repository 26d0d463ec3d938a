/* `holdfast journal`: what a server has on disk. The server's binary knows the format, so it
 * becomes that. */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/local.h"
#include "client/operator.h"

int operator_journal(const struct invocation *call)
{
    const char *what = call->words[0];
    char program[PATH_MAX], option[32];
    struct error error;

    if (strcmp(what, "show") != 0 && strcmp(what, "check") != 0) {
        error_set(&error, ERROR_USAGE, "journal %s: expected show or check", what);
        return operator_failure(&error);
    }
    if (local_program("holdfast-server", program, sizeof program, &error) != ERROR_NONE)
        return operator_failure(&error);
    (void)snprintf(option, sizeof option, "--journal-%s", what);
    execl(program, program, option, call->words[1], (char *)NULL);
    error_system(&error, "cannot run %s", program);
    return operator_failure(&error);
}
