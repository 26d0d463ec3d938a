/* What a client may ask about the server: INFO, ROLE, CONFIG, COMMAND, as Redis 7 answers them. */
#include <ctype.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "common/histogram.h"
#include "server/clients.h"

#define PATTERN_BYTES_MAX 64u

static struct server_status status_now(const struct clients *clients)
{
    struct server_status status;

    clients->options.status(clients->options.context, &status);
    return status;
}

static const struct config_server *self_config(const struct clients *clients)
{
    return &clients->options.config->servers[node_index(clients->options.self)];
}

/* ---- INFO ---- */

static void info_server(const struct clients *clients, const struct server_status *status,
                        struct buffer *out)
{
    uint64_t up_s = instant_since_ms(clients->now, clients->started) / 1000;
    struct utsname machine = { 0 };

    (void)uname(&machine);
    buffer_format(out,
                  "redis_version:%s\r\nredis_mode:standalone\r\nholdfast_version:%s\r\n"
                  "os:%s %s %s\r\narch_bits:%zu\r\nmultiplexing_api:epoll\r\nprocess_id:%d\r\n",
                  REDIS_VERSION, HOLDFAST_VERSION, machine.sysname, machine.release,
                  machine.machine, 8 * sizeof(void *), (int)getpid());
    buffer_format(out,
                  "run_id:%040" PRIx64 "\r\ntcp_port:%u\r\nuptime_in_seconds:%" PRIu64
                  "\r\nuptime_in_days:%" PRIu64 "\r\nconfig_file:%s\r\n",
                  status->incarnation, self_config(clients)->client_port, up_s, up_s / 86400,
                  clients->options.config->path);
}

static void info_clients(const struct clients *clients, const struct server_status *status,
                         struct buffer *out)
{
    (void)status;
    buffer_format(out,
                  "connected_clients:%u\r\nmaxclients:%u\r\nblocked_clients:%u\r\n"
                  "client_input_bytes:%" PRIu64 "\r\nclient_output_bytes:%" PRIu64 "\r\n",
                  clients->count, clients->options.connections_max, clients->blocked_count,
                  clients->input_bytes, clients->output_bytes);
}

static uint64_t resident_bytes(void)
{
    unsigned long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");

    if (!file)
        return 0;
    if (fscanf(file, "%lu %lu", &total, &resident) != 2)
        resident = 0;
    fclose(file);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void info_memory(const struct clients *clients, const struct server_status *status,
                        struct buffer *out)
{
    struct mallinfo2 heap = mallinfo2();

    (void)clients;
    buffer_format(out,
                  "used_memory:%zu\r\nused_memory_rss:%" PRIu64 "\r\nmaxmemory:0\r\n"
                  "maxmemory_policy:noeviction\r\nmem_allocator:libc\r\n"
                  "journal_bytes:%" PRIu64 "\r\npending_bytes:%" PRIu64 "\r\n",
                  heap.uordblks + heap.hblkhd, resident_bytes(), status->journal_bytes,
                  status->pending_bytes);
}

/* What a long turn delays is everybody's request, and the heartbeats. */
static void info_turns(const struct clients *clients, struct buffer *out)
{
    const struct histogram *turns = clients->options.turn_times_us;

    if (!turns)
        return;
    buffer_format(out,
                  "loop_turns:%" PRIu64 "\r\nloop_turn_us_p50:%" PRIu64
                  "\r\nloop_turn_us_p99:%" PRIu64 "\r\nloop_turn_us_p99_99:%" PRIu64
                  "\r\nloop_turn_us_max:%" PRIu64 "\r\n",
                  turns->count, histogram_percentile(turns, 50), histogram_percentile(turns, 99),
                  histogram_percentile(turns, 99.99), turns->max);
}

static void info_stats(const struct clients *clients, const struct server_status *status,
                       struct buffer *out)
{
    (void)status;
    buffer_format(out,
                  "total_connections_received:%" PRIu64 "\r\ntotal_commands_processed:%" PRIu64
                  "\r\ntotal_net_input_bytes:%" PRIu64 "\r\ntotal_net_output_bytes:%" PRIu64
                  "\r\nrejected_connections:%" PRIu64 "\r\ntotal_error_replies:%" PRIu64
                  "\r\nclients_cut_by_limits:%" PRIu64 "\r\n",
                  clients->total.connections, clients->total.commands, clients->total.input,
                  clients->total.output, clients->total.rejected, clients->total.errors,
                  clients->total.cut);
    info_turns(clients, out);
}

static void info_cpu(const struct clients *clients, const struct server_status *status,
                     struct buffer *out)
{
    struct rusage usage = { 0 };

    (void)clients;
    (void)status;
    (void)getrusage(RUSAGE_SELF, &usage);
    buffer_format(out, "used_cpu_sys:%ld.%06ld\r\nused_cpu_user:%ld.%06ld\r\n",
                  (long)usage.ru_stime.tv_sec, (long)usage.ru_stime.tv_usec,
                  (long)usage.ru_utime.tv_sec, (long)usage.ru_utime.tv_usec);
}

/* The other members, as a Redis names its replicas. */
static void info_replicas(const struct clients *clients, const struct server_status *status,
                          struct buffer *out)
{
    const struct config *config = clients->options.config;
    uint32_t number = 0;

    buffer_format(out, "connected_slaves:%u\r\n", members_count(&status->members) - 1);
    for (uint32_t i = 0; i < config->server_count; i++) {
        const struct config_server *server = &config->servers[i];

        if (NODE_SERVER(i) == status->self || !(status->members.set >> i & 1u))
            continue;
        buffer_format(out, "slave%u:ip=%s,port=%u,state=online,offset=%" PRIu64 ",lag=0\r\n",
                      number++, server->address, server->client_port, status->member_index[i]);
    }
}

static void info_master(const struct clients *clients, const struct server_status *status,
                        struct buffer *out)
{
    const struct config_server *primary = NULL;

    if (node_is_server(status->primary))
        primary = &clients->options.config->servers[node_index(status->primary)];
    buffer_format(out,
                  "master_host:%s\r\nmaster_port:%u\r\nmaster_link_status:%s\r\n"
                  "master_last_io_seconds_ago:0\r\nmaster_sync_in_progress:%d\r\n",
                  primary ? primary->address : "", primary ? primary->client_port : 0,
                  status->serving ? "up" : "down", status->restoring);
    buffer_format(out,
                  "slave_repl_offset:%" PRIu64 "\r\nslave_priority:100\r\nslave_read_only:1\r\n"
                  "replica_announced:1\r\nconnected_slaves:0\r\n",
                  status->journal_index);
}

static void info_replication(const struct clients *clients, const struct server_status *status,
                             struct buffer *out)
{
    bool primary = status->role == ROLE_PRIMARY;

    buffer_format(out, "role:%s\r\n", primary ? "master" : "slave");
    if (primary)
        info_replicas(clients, status, out);
    else
        info_master(clients, status, out);
    buffer_format(out,
                  "master_failover_state:no-failover\r\nmaster_replid:%040" PRIx64
                  "\r\nmaster_repl_offset:%" PRIu64 "\r\n",
                  status->view, status->commit_index);
}

static void info_holdfast(const struct clients *clients, const struct server_status *status,
                          struct buffer *out)
{
    buffer_format(out,
                  "cluster:%s\r\nserver:%s\r\nservice:%s\r\nincarnation:%" PRIu64
                  "\r\nrole:%s\r\nview:%" PRIu64 "\r\nstyle:%s\r\nacks:%u\r\nprimary:%s\r\n",
                  clients->options.config->cluster, node_name(clients->options.self),
                  clients->options.service->name, status->incarnation,
                  role_name((uint8_t)status->role), status->view,
                  style_name((uint8_t)status->style), status->acks,
                  status->primary ? node_name(status->primary) : "none");
    buffer_append_string(out, "members:");
    for (uint32_t i = 0, first = 1; i < SERVER_COUNT_MAX; i++) {
        if (!(status->members.set >> i & 1u))
            continue;
        buffer_format(out, "%s%s", first ? "" : ",", node_name(NODE_SERVER(i)));
        first = 0;
    }
    buffer_format(
        out,
        "\r\nserving:%d\r\njournal_first:%" PRIu64 "\r\njournal_index:%" PRIu64
        "\r\ncommit_index:%" PRIu64 "\r\nexecuted_index:%" PRIu64 "\r\nstate_digest:%016" PRIx64
        "\r\ncheckpoint_count:%" PRIu64 "\r\ncheckpoint_index:%" PRIu64
        "\r\nrequests_under_way:%u\r\noldest_waiting_ms:%u\r\njoin_percent:%u\r\n",
        status->serving, status->journal_first, status->journal_index, status->commit_index,
        status->executed_index, status->digest, status->checkpoint_count, status->checkpoint_index,
        status->requests_under_way, status->oldest_waiting_ms, status->join_percent);
}

/* Some clients wait for loading:0. */
static void info_persistence(const struct clients *clients, const struct server_status *status,
                             struct buffer *out)
{
    (void)status;
    buffer_format(out, "loading:%d\r\n", clients->loading);
    if (clients->loading)
        buffer_format(out,
                      "loading_total_bytes:%" PRIu64 "\r\nloading_loaded_bytes:%" PRIu64
                      "\r\nloading_loaded_perc:%u\r\nloading_eta_seconds:%u\r\n",
                      clients->load.bytes_total, clients->load.bytes, clients->load.percent,
                      (clients->load.left_ms + 999u) / 1000u);
}

static void info_service(const struct clients *clients, const struct server_status *status,
                         struct buffer *out)
{
    (void)status;
    clients->options.info(clients->options.context, out);
}

static const struct {
    const char *name, *title;
    void (*write)(const struct clients *clients, const struct server_status *status,
                  struct buffer *out);
} info_sections[] = {
    { "server", "Server", info_server },
    { "clients", "Clients", info_clients },
    { "memory", "Memory", info_memory },
    { "persistence", "Persistence", info_persistence },
    { "stats", "Stats", info_stats },
    { "replication", "Replication", info_replication },
    { "cpu", "CPU", info_cpu },
    { "holdfast", "Holdfast", info_holdfast },
    { "keyspace", "Keyspace", info_service },
};

static bool info_wanted(const char *name, uint32_t argc, const struct bytes *argv)
{
    for (uint32_t i = 1; i < argc; i++)
        if (resp_is(argv[i], name) || resp_is(argv[i], "all") || resp_is(argv[i], "default") ||
            resp_is(argv[i], "everything"))
            return true;
    return argc == 1;
}

bool handle_info(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    struct server_status status = status_now(c->clients);
    struct buffer text = { 0 };
    struct buffer *out;

    for (size_t i = 0; i < sizeof info_sections / sizeof info_sections[0]; i++) {
        if (!info_wanted(info_sections[i].name, argc, argv))
            continue;
        buffer_format(&text, "%s# %s\r\n", buffer_size(&text) ? "\r\n" : "",
                      info_sections[i].title);
        info_sections[i].write(c->clients, &status, &text);
    }
    out = reply_begin(c);
    buffer_format(out, "=%zu\r\ntxt:", buffer_size(&text) + 4);
    buffer_append(out, buffer_bytes(&text).data, buffer_size(&text));
    buffer_append_string(out, "\r\n");
    reply_end(c);
    buffer_free(&text);
    return true;
}

/* ---- ROLE ---- */

static void role_master(const struct clients *clients, const struct server_status *status,
                        struct buffer *out)
{
    const struct config *config = clients->options.config;

    resp_write_array(out, 3);
    resp_write_bulk_string(out, "master");
    resp_write_integer(out, (int64_t)status->commit_index);
    resp_write_array(out, members_count(&status->members) - 1);
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++) {
        char number[24];

        if (NODE_SERVER(i) == status->self || !(status->members.set >> i & 1u))
            continue;
        resp_write_array(out, 3);
        resp_write_bulk_string(out, config->servers[i].address);
        snprintf(number, sizeof number, "%u", config->servers[i].client_port);
        resp_write_bulk_string(out, number);
        snprintf(number, sizeof number, "%" PRIu64, status->member_index[i]);
        resp_write_bulk_string(out, number);
    }
}

static const char *role_state(const struct server_status *status)
{
    if (status->restoring)
        return "sync";
    return status->serving ? "connected" : "connecting";
}

static void role_slave(const struct clients *clients, const struct server_status *status,
                       struct buffer *out)
{
    const struct config_server *primary = NULL;

    if (node_is_server(status->primary))
        primary = &clients->options.config->servers[node_index(status->primary)];
    resp_write_array(out, 5);
    resp_write_bulk_string(out, "slave");
    resp_write_bulk_string(out, primary ? primary->address : "");
    resp_write_integer(out, primary ? primary->client_port : 0);
    resp_write_bulk_string(out, role_state(status));
    resp_write_integer(out, (int64_t)status->commit_index);
}

bool handle_role(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    struct server_status status = status_now(c->clients);

    (void)argc;
    (void)argv;
    if (status.role == ROLE_PRIMARY)
        role_master(c->clients, &status, reply_begin(c));
    else
        role_slave(c->clients, &status, reply_begin(c));
    reply_end(c);
    return true;
}

/* ---- CONFIG ---- */

/* What Redis clients and redis-benchmark ask for, with what holds here; %u is a number of ours. */
static const struct setting {
    const char *name, *value;
    enum { FIXED, PORT, CONNECTIONS, OUTPUT_MB } number;
} settings[] = {
    { "appendfsync", "always", FIXED },
    { "appendonly", "no", FIXED },
    { "bind", "", FIXED },
    { "databases", "1", FIXED },
    { "maxclients", "", CONNECTIONS },
    { "maxmemory", "0", FIXED },
    { "maxmemory-policy", "noeviction", FIXED },
    { "port", "", PORT },
    { "proto-max-bulk-len", "536870912", FIXED },
    { "requirepass", "", FIXED },
    { "save", "", FIXED },
    { "tcp-keepalive", "0", FIXED },
    { "timeout", "0", FIXED },
    { "client-output-buffer-limit-mb", "", OUTPUT_MB },
};

static void setting_write(const struct clients *clients, const struct setting *setting,
                          struct buffer *out)
{
    char number[24];

    resp_write_bulk_string(out, setting->name);
    switch (setting->number) {
    case FIXED: resp_write_bulk_string(out, setting->value); return;
    case PORT: snprintf(number, sizeof number, "%u", self_config(clients)->client_port); break;
    case CONNECTIONS:
        snprintf(number, sizeof number, "%u", clients->options.connections_max);
        break;
    case OUTPUT_MB:
        snprintf(number, sizeof number, "%u",
                 clients->options.config->clients.client_output_mb_max);
        break;
    }
    resp_write_bulk_string(out, number);
}

static bool pattern_fits(struct bytes pattern, const char *name)
{
    char text[PATTERN_BYTES_MAX];

    if (pattern.size >= sizeof text)
        return false;
    memcpy(text, pattern.data, pattern.size);
    text[pattern.size] = '\0';
    return fnmatch(text, name, FNM_CASEFOLD) == 0;
}

static bool setting_wanted(const char *name, uint32_t argc, const struct bytes *argv)
{
    for (uint32_t i = 2; i < argc; i++)
        if (pattern_fits(argv[i], name))
            return true;
    return false;
}

static void config_get(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    size_t count = sizeof settings / sizeof settings[0];
    uint64_t wanted = 0;
    struct buffer *out;

    for (size_t i = 0; i < count; i++)
        wanted += setting_wanted(settings[i].name, argc, argv);
    out = reply_begin(c);
    resp_write_map(out, wanted);
    for (size_t i = 0; i < count; i++)
        if (setting_wanted(settings[i].name, argc, argv))
            setting_write(c->clients, &settings[i], out);
    reply_end(c);
}

bool handle_config(struct connection *c, uint32_t argc, const struct bytes *argv)
{
    static const struct subcommand list[] = {
        { "get", -3 }, { "set", -4 }, { "resetstat", 2 }, { "rewrite", 2 }
    };

    if (!SUBCOMMAND_FITS(c, "config", list, argc, argv))
        return true;
    if (resp_is(argv[1], "get")) {
        config_get(c, argc, argv);
    } else if (resp_is(argv[1], "resetstat")) {
        memset(&c->clients->total, 0, sizeof c->clients->total);
        if (c->clients->options.turn_times_us)
            histogram_clear(c->clients->options.turn_times_us);
        reply_ok(c);
    } else {
        reply_error(c,
                    "ERR CONFIG SET is not possible here: the settings of all servers stand in "
                    "the cluster's config file, %s",
                    c->clients->options.config->path);
    }
    return true;
}
