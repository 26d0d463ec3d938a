/* holdfast-server - one replica of the service. Only wiring: what to do is decided in server.c, the
 * links are the runtime's, and the clients are the client port's. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "common/lock.h"
#include "common/log.h"
#include "common/runtime.h"
#include "server/client_port.h"
#include "server/incarnation.h"
#include "server/inspect.h"
#include "server/journal.h"
#include "server/keeper.h"
#include "server/persistence.h"
#include "server/server.h"

#define MIB                  ((uint64_t)1024 * 1024)
#define HEAP_SPARE_BYTES_MAX (32 << 20) /* free at the end of the heap, for what comes next */
#define DESCRIPTORS_OWN      128u /* for links in both directions, and what the libraries keep open */

struct process {
    struct config config;
    node_id self;
    const struct config_server *own; /* our entry in the config */
    struct server_options server_options;
    char folder[CONFIG_PATH_SIZE]; /* of what it keeps on disk */
    struct server *server;
    struct runtime *runtime;
    struct client_port *port;
    struct persistence *persistence; /* NULL: the journal is in memory */
    struct instant told;             /* when our lfd was last told how far recovery is */
    bool failed;                     /* the process must end */
};

/* Whether the server has recovered what its disk held, and may act. */
static bool is_ready(const struct process *p)
{
    return !p->persistence || persistence_ready(p->persistence);
}

/* ---- What the server is to the runtime: a core, but for heartbeats and links that are cut ---- */

static void answer_heartbeat(struct process *p, struct instant now, const struct message *message,
                             struct effects *out)
{
    struct server_status status;

    server_status(p->server, now, &status);
    effects_send(out, message->from,
                 (struct message){
                     .type = MESSAGE_HEARTBEAT_OK,
                     .heartbeat_ok = { .sequence = message->heartbeat.sequence,
                                       .turn = runtime_turns(p->runtime),
                                       .journal_index = status.journal_index,
                                       .commit_index = status.commit_index,
                                       .oldest_waiting_ms = status.oldest_waiting_ms },
                 });
}

/* A link between servers is cut here, at its edge: the core sees only that it is silent. */
static void obey_silence(const struct process *p, const struct message *message)
{
    if (message->from == NODE_RM && node_is_server(message->silence.peer))
        runtime_silence(p->runtime, message->silence.peer, message->silence.seconds);
}

static void process_receive(struct process *p, struct instant now, const struct message *message,
                            struct effects *out)
{
    if (message->type == MESSAGE_LINK_UP && message->from == NODE_LFD(p->own->host))
        p->told = (struct instant){ 0 }; /* what was said before went nowhere */
    if (message->type == MESSAGE_HEARTBEAT)
        answer_heartbeat(p, now, message, out);
    else if (message->type == MESSAGE_SILENCE)
        obey_silence(p, message);
    else if (is_ready(p))
        server_receive(p->server, now, message, out);
}

/* The rm is not linked yet; our lfd is. */
static void tell_progress(struct process *p, struct instant now, struct effects *out)
{
    const struct progress *progress = persistence_progress(p->persistence);

    if (!progress || instant_since_ms(now, p->told) < PROGRESS_TELL_MS)
        return;
    p->told = now;
    effects_send(out, NODE_LFD(p->own->host),
                 progress_message(progress, now, p->self, p->server_options.incarnation));
}

static void process_tick(struct process *p, struct instant now, struct effects *out)
{
    if (is_ready(p)) {
        server_wall(p->server, runtime_wall_us());
        server_tick(p->server, now, out);
    } else if (!p->failed) {
        persistence_tick(p->persistence, now);
        tell_progress(p, now, out);
    }
}

static struct instant process_deadline(const struct process *p)
{
    return is_ready(p) ? server_deadline(p->server) : persistence_deadline(p->persistence);
}

static void process_check(const struct process *p)
{
    if (is_ready(p))
        server_check(p->server);
}

CORE_DEFINE(process);

/* ---- What the server is to its clients ---- */

static bool submit(void *context, const struct server_request *request)
{
    struct process *p = context;
    struct effects *out = runtime_effects(p->runtime);
    bool taken =
        server_submit(p->server, runtime_turn_now(p->runtime), runtime_wall_us(), request, out);

    runtime_carry_out(p->runtime);
    return taken;
}

static bool accepts(void *context)
{
    const struct process *p = context;

    return server_accepts(p->server);
}

static void status(void *context, struct server_status *out)
{
    struct process *p = context;

    server_status(p->server, runtime_turn_now(p->runtime), out);
}

static void info(void *context, struct buffer *out)
{
    struct process *p = context;

    machine_info(server_machine(p->server), out);
}

static bool keep(void *context, uint64_t index)
{
    struct process *p = context;

    return server_keep(p->server, index);
}

static void reply(void *context, uint64_t client, enum outcome outcome, struct bytes text)
{
    struct process *p = context;

    clients_reply(client_port_clients(p->port), client, outcome, text);
}

static uint64_t turn_us(void *context)
{
    const struct process *p = context;

    return runtime_turn_us(p->runtime);
}

static void perform(void *context, const struct effect *effect)
{
    struct process *p = context;

    if (p->persistence)
        persistence_perform(p->persistence, effect);
}

static void show_loading(struct process *p)
{
    struct clients *clients = client_port_clients(p->port);
    const struct progress *progress;

    clients->loading = !is_ready(p);
    progress = clients->loading ? persistence_progress(p->persistence) : NULL;
    if (!progress)
        return;
    clients->load.bytes = progress->bytes;
    clients->load.bytes_total = progress->bytes_total;
    clients->load.percent = progress_percent(progress);
    clients->load.left_ms = progress_left_ms(progress, runtime_turn_now(p->runtime));
}

static void turn_end(void *context)
{
    struct process *p = context;

    if (p->persistence)
        persistence_turn_end(p->persistence);
    show_loading(p);
    client_port_turn_end(p->port);
    server_clients_set(p->server, client_port_clients(p->port)->count);
}

/* ---- The parts, in the order in which they are opened ---- */

static enum error_code find_self(struct process *p, const struct config_arguments *arguments,
                                 struct error *error)
{
    if (!arguments->name)
        return error_set(error, ERROR_USAGE, "--name is missing: expected the name of a server");
    p->self = config_node(&p->config, arguments->name);
    if (!node_is_server(p->self))
        return error_set(error, ERROR_CONFIG, "%s: there is no server \"%s\" in it", p->config.path,
                         arguments->name);
    p->own = &p->config.servers[node_index(p->self)];
    return ERROR_NONE;
}

static struct server *renew_server(void *context)
{
    struct process *p = context;

    server_free(p->server);
    p->server = server_new(&p->server_options, runtime_now());
    return p->server;
}

static enum error_code open_server(struct process *p, uint64_t incarnation, struct error *error)
{
    const struct config *config = &p->config;

    p->server_options = (struct server_options){
        .self = p->self,
        .incarnation = incarnation,
        .server_count = config->server_count,
        .lease_ms = config->replication.lease_ms,
        .checkpoint_interval_ms = config->replication.checkpoint_interval_ms,
        .suspect_after_ms = config->detection.suspect_after_ms,
        .journal_bytes_max = config->journal.memory_mb_max * MIB,
        .pending_bytes_max = config->clients.pending_mb_max * MIB,
        .persistent = config->journal.storage == STORAGE_DISK,
        .seed = incarnation ^ p->self,
        .reply = reply,
        .turn_us = turn_us,
        .context = p,
    };
    config_run_path(config, node_name(p->self), p->folder);
    p->server_options.service = service_find(config->service.name, error);
    if (!p->server_options.service)
        return error->code;
    if (!renew_server(p))
        return error_set(error, ERROR_SYSTEM, "service %s: no memory for its state",
                         config->service.name);
    return ERROR_NONE;
}

/* Our lfd is answered from the start, also while the server recovers. */
static enum error_code open_lfd(struct process *p, struct error *error)
{
    node_id lfd = NODE_LFD(p->own->host);
    char file[NAME_SIZE + sizeof ".sock"], path[CONFIG_PATH_SIZE];

    snprintf(file, sizeof file, "%s.sock", node_name(lfd));
    config_run_path(&p->config, file, path);
    return runtime_dial(p->runtime, lfd, path, 0, error);
}

/* The rm, and every server before us in the config; those behind us dial us. */
static enum error_code open_links(struct process *p, struct error *error)
{
    const struct config *config = &p->config;

    if (runtime_listen(p->runtime, p->own->address, p->own->peer_port, error) != ERROR_NONE ||
        runtime_dial(p->runtime, NODE_RM, config->rm.address, config->rm.port, error) != ERROR_NONE)
        return error->code;
    for (uint32_t i = 0; i < node_index(p->self); i++)
        if (runtime_dial(p->runtime, NODE_SERVER(i), config->servers[i].address,
                         config->servers[i].peer_port, error) != ERROR_NONE)
            return error->code;
    return ERROR_NONE;
}

static void end_failed(void *context)
{
    struct process *p = context;

    p->failed = true;
    runtime_stop(p->runtime);
}

static void recovered(void *context)
{
    struct process *p = context;
    struct error error;

    if (open_links(p, &error) == ERROR_NONE)
        return;
    (void)log_failure(&error);
    end_failed(p);
}

static enum error_code open_disk(struct process *p, struct error *error)
{
    struct persistence_options options = {
        .config = &p->config,
        .self = p->self,
        .incarnation = p->server_options.incarnation,
        .service = p->server_options.service,
        .runtime = p->runtime,
        .files = &files_system,
        .renew = renew_server,
        .ready = recovered,
        .failed = end_failed,
        .context = p,
    };

    return persistence_open(&p->persistence, &options, p->server, error);
}

static enum error_code open_runtime(struct process *p, uint64_t incarnation, struct error *error)
{
    struct runtime_options options = {
        .config = &p->config,
        .self = p->self,
        .incarnation = incarnation,
        .core = process_core(p),
        .perform = perform,
        .turn_end = turn_end,
        .context = p,
    };

    return runtime_open(&p->runtime, &options, error);
}

/* One descriptor for each client, as many as the system allows; some are for the links, without
 * which the server would be taken for dead. */
static uint32_t connections_possible(const struct process *p)
{
    uint32_t wanted = p->config.clients.connections_max;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return wanted;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted + DESCRIPTORS_OWN)
        return wanted;
    wanted = limit.rlim_cur > DESCRIPTORS_OWN ? (uint32_t)limit.rlim_cur - DESCRIPTORS_OWN : 1;
    log_line(NOTE_WARN, "%u client connections at most, not %u: the limit of open files is %llu",
             wanted, p->config.clients.connections_max, (unsigned long long)limit.rlim_cur);
    return wanted;
}

static enum error_code open_clients(struct process *p, struct error *error)
{
    struct client_port_options options = {
        .clients = { .config = &p->config,
                     .service = machine_service(server_machine(p->server)),
                     .self = p->self,
                     .connections_max = connections_possible(p),
                     .submit = submit,
                     .accepts = accepts,
                     .status = status,
                     .info = info,
                     .keep = keep,
                     .turn_times_us = runtime_turn_times_us(p->runtime),
                     .checkpoints = p->server_options.persistent ? p->folder : NULL,
                     .context = p },
        .runtime = p->runtime,
        .address = p->own->address,
        .port = p->own->client_port,
    };

    return client_port_open(&p->port, &options, error);
}

static void start_keeper(void)
{
    struct error error;
    pid_t pid;

    if (keeper_start(&pid, &error) != ERROR_NONE)
        log_line(NOTE_INFO, "%s", error.text);
}

static enum error_code open_all(struct process *p, struct error *error)
{
    uint64_t incarnation;

    if (lock_take_node(&p->config, p->self, error) != ERROR_NONE)
        return error->code;
    incarnation =
        incarnation_next(&files_system, p->config.run_dir, node_name(p->self), runtime_wall_us());
    if (open_server(p, incarnation, error) != ERROR_NONE ||
        open_runtime(p, incarnation, error) != ERROR_NONE || open_clients(p, error) != ERROR_NONE ||
        open_lfd(p, error) != ERROR_NONE)
        return error->code;
    return p->server_options.persistent ? open_disk(p, error) : open_links(p, error);
}

/* The server stays: the system takes the memory of a large state in less time than it takes to walk
 * it, and whoever sent SIGTERM waits for the end. */
static void close_all(struct process *p)
{
    if (p->port)
        client_port_close(p->port);
    persistence_close(p->persistence);
    if (p->runtime)
        runtime_close(p->runtime);
}

/* Blocks of the journal go back to the system as soon as they are dropped. Left to itself the
 * allocator learns from the first of them to keep such sizes in its heap, where a few small ones at
 * its end hold on to all that a long recovery or join once needed. */
static void return_large_memory(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, JOURNAL_BLOCK_BYTES);
    (void)mallopt(M_TRIM_THRESHOLD, HEAP_SPARE_BYTES_MAX);
}

int main(int argc, char **argv)
{
    static struct process process;
    struct config_arguments arguments;
    struct error error;
    int exit_status = EXIT_SUCCESS;

    return_large_memory();
    if (inspect_asked(argc, argv, &exit_status))
        return exit_status;
    log_open("server", false);
    if (config_arguments_parse(&arguments, argc, argv, &error) != ERROR_NONE ||
        config_load(&process.config, arguments.path, &error) != ERROR_NONE ||
        config_run_dir_set(&process.config, arguments.run_dir, &error) != ERROR_NONE)
        return log_failure(&error);
    if (arguments.check_only)
        return EXIT_SUCCESS;
    if (find_self(&process, &arguments, &error) != ERROR_NONE)
        return log_failure(&error);
    log_open(node_name(process.self), arguments.verbose);
    if (open_all(&process, &error) == ERROR_NONE) {
        start_keeper();
        runtime_run(process.runtime);
        if (runtime_failed(process.runtime) || process.failed)
            exit_status = EXIT_FAILURE;
    } else {
        exit_status = log_failure(&error);
        if (error.code == ERROR_REFUSED)
            exit_status = EXIT_ALREADY_RUNNING;
    }
    close_all(&process);
    return exit_status;
}
