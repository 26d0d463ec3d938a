/* How the launcher stops what runs on this machine, and leaves nothing behind. */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "client/launcher.h"
#include "client/local.h"
#include "common/log.h"
#include "common/runtime.h"

#define LOOK_MS     20u   /* between two looks at processes that are nobody's children */
#define LEFT_MS_MAX 2000u /* for killed processes to be gone */

/* A stopped process hears of SIGTERM only when it goes on. */
static void end_politely(pid_t pid)
{
    kill(pid, SIGTERM);
    kill(pid, SIGCONT);
}

static bool any_running(const struct launcher *l, bool lfds)
{
    for (uint32_t i = 0; i < l->daemon_count; i++) {
        if (l->daemons[i].pid != 0 && launcher_is_lfd(&l->daemons[i]) == lfds)
            return true;
    }
    return false;
}

/* Ends the lfds, or all others; kills who is left after wait_ms, or when a second signal says that
 * somebody is in a hurry. */
static void stop_daemons(struct launcher *l, bool lfds, uint32_t wait_ms)
{
    struct instant deadline = instant_add_ms(runtime_now(), wait_ms);

    for (uint32_t i = 0; i < l->daemon_count; i++) {
        if (l->daemons[i].pid != 0 && launcher_is_lfd(&l->daemons[i]) == lfds)
            end_politely(l->daemons[i].pid);
    }
    while (any_running(l, lfds) && l->stop_signals < 2 && !instant_reached(runtime_now(), deadline))
        launcher_wait(l, deadline);
    for (uint32_t i = 0; i < l->daemon_count; i++) {
        struct launcher_daemon *d = &l->daemons[i];

        if (d->pid == 0 || launcher_is_lfd(d) != lfds)
            continue;
        log_line(NOTE_WARN, "%s does not stop: kill it", node_name(d->node));
        kill(d->pid, SIGKILL);
    }
    deadline = instant_add_ms(runtime_now(), LEFT_MS_MAX);
    while (any_running(l, lfds) && !instant_reached(runtime_now(), deadline))
        launcher_wait(l, deadline);
}

/* Servers of this machine that still run: those that their lfd could not stop. */
static uint32_t signal_servers(const struct launcher *l, int signal)
{
    const struct config *config = l->options.config;
    uint32_t count = 0;

    for (uint32_t i = 0; i < config->server_count; i++) {
        pid_t pid = local_node_pid(config, NODE_SERVER(i));

        if (pid <= 0 || !local_is_holdfast(pid))
            continue;
        count++;
        if (signal == SIGTERM)
            end_politely(pid);
        else
            kill(pid, signal);
    }
    return count;
}

static bool stop_servers(struct launcher *l)
{
    struct instant deadline = instant_add_ms(runtime_now(), LAUNCHER_STOP_MS_MAX);
    uint32_t count = signal_servers(l, SIGTERM);
    bool any = count > 0;

    if (any)
        log_line(NOTE_INFO, "stop %u server%s that no lfd has stopped", count,
                 count == 1 ? "" : "s");
    while (count > 0 && l->stop_signals < 2 && !instant_reached(runtime_now(), deadline)) {
        launcher_wait(l, instant_add_ms(runtime_now(), LOOK_MS));
        count = signal_servers(l, 0);
    }
    deadline = instant_add_ms(runtime_now(), LEFT_MS_MAX);
    while (count > 0 && !instant_reached(runtime_now(), deadline)) {
        count = signal_servers(l, SIGKILL);
        launcher_wait(l, instant_add_ms(runtime_now(), LOOK_MS));
    }
    return any;
}

/* What servers leave behind comes to us as children, and ends by itself. */
static void wait_for_children(struct launcher *l)
{
    struct instant deadline = instant_add_ms(runtime_now(), LEFT_MS_MAX);

    while (!instant_reached(runtime_now(), deadline)) {
        siginfo_t info;

        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 && errno == ECHILD)
            return;
        launcher_wait(l, instant_add_ms(runtime_now(), LOOK_MS));
    }
    log_line(NOTE_WARN, "some process of the cluster has not ended");
}

bool launcher_stop(struct launcher *launcher)
{
    bool any = any_running(launcher, true) || any_running(launcher, false);

    if (any)
        log_line(NOTE_INFO, "stop cluster %s", launcher->options.config->cluster);
    /* From here on, who ends is not started again. */
    launcher->stop_signals += launcher->stop_signals == 0;
    stop_daemons(launcher, true, LAUNCHER_LFD_STOP_MS_MAX);
    any = stop_servers(launcher) || any;
    stop_daemons(launcher, false, LAUNCHER_STOP_MS_MAX);
    wait_for_children(launcher);
    return any;
}
