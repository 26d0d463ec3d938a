/* config - the one file that describes the whole cluster (libconfig), checked.
 *
 * Every process reads the same file. Each key has a default where one makes sense. An unknown key,
 * a value out of range, a name or a port used twice is an error that names file, line, key and what
 * was expected: "three.cfg:12: rm.port: expected …, got …". The keys stand in one table, in
 * config_keys.c; the commented files in configs/ are their manual. */
#ifndef HOLDFAST_COMMON_CONFIG_H
#define HOLDFAST_COMMON_CONFIG_H

#include <stdbool.h>

#include "common/error.h"
#include "common/messages.h"

#define CONFIG_PATH_SIZE    256u
#define CONFIG_ADDRESS_SIZE 128u
#define CONFIG_RUN_DIR_MAX  90u /* bytes: a Unix socket's path has 107, "/lfd16.sock" and more */

enum acks_policy { ACKS_ALL, ACKS_MAJORITY, ACKS_COUNT };
enum journal_storage { STORAGE_DISK, STORAGE_MEMORY };
enum fsync_policy { FSYNC_ALWAYS, FSYNC_INTERVAL, FSYNC_NEVER };

struct config_server {
    char name[NAME_SIZE];
    char address[CONFIG_ADDRESS_SIZE]; /* of its host */
    uint32_t host;                     /* index into hosts */
    uint16_t client_port, peer_port;
};

struct config_host {
    char name[NAME_SIZE];
    char address[CONFIG_ADDRESS_SIZE];
};

struct config_endpoint {
    char address[CONFIG_ADDRESS_SIZE];
    uint16_t port;
};

struct config {
    char path[CONFIG_PATH_SIZE]; /* the file it came from */
    char cluster[NAME_SIZE];
    /* Sockets, locks, stores; default "run/<cluster>". Relative to the current directory. */
    char run_dir[CONFIG_PATH_SIZE];
    struct {
        char name[CONFIG_PATH_SIZE]; /* kv, or the path of a shared object */
    } service;
    struct {
        enum style style;
        enum acks_policy acks;
        uint32_t acks_count; /* when acks is ACKS_COUNT: 1 … servers */
        enum propagation propagation;
        uint32_t checkpoint_interval_ms; /* 50 … 60000 */
        uint32_t lease_ms;               /* 20 … 10000 */
    } replication;
    struct {
        enum journal_storage storage;
        enum fsync_policy fsync;
        uint32_t fsync_interval_ms; /* 1 … 10000 */
        uint32_t memory_mb_max;     /* entries kept in memory for members that lag: 16 … 65536 */
    } journal;
    struct {
        uint32_t heartbeat_interval_ms; /* 1 … 10000 */
        uint32_t suspect_after_ms;      /* above heartbeat_interval_ms … 60000 */
        uint32_t host_suspect_after_ms; /* above heartbeat_interval_ms … 60000 */
        uint32_t grace_ms;              /* 0 … 60000 */
    } detection;
    struct {
        uint32_t backoff_ms, backoff_ms_max; /* 1 … 600000 */
        uint32_t budget;                     /* restarts of one server in a window: 1 … 1000 */
        uint32_t budget_window_s;            /* 1 … 86400 */
    } restart;
    struct {
        uint32_t connections_max;      /* per server: 1 … 1000000 */
        uint32_t pending_mb_max;       /* unanswered requests and unread replies: 16 … 65536 */
        uint32_t client_output_mb_max; /* unread replies of one client: 1 … pending_mb_max */
    } clients;
    struct {
        char address[CONFIG_ADDRESS_SIZE];
        uint16_t port, console_port;
    } rm;
    struct config_endpoint gfd;
    uint32_t host_count;
    struct config_host hosts[HOST_COUNT_MAX];
    uint32_t server_count;
    struct config_server servers[SERVER_COUNT_MAX]; /* in the order of the file, over all hosts */
};

/* What every daemon's command line says. */
struct config_arguments {
    const char *path;    /* -c FILE, or $HOLDFAST_CONFIG */
    const char *name;    /* --name NAME: which host or server this is; NULL for rm and gfd */
    const char *run_dir; /* --run-dir DIR, over the file's */
    bool check_only;     /* -n: check the config and exit */
    bool verbose;        /* -v: debug lines too */
};

/* Parses a daemon's command line: -c FILE, --name NAME, --run-dir DIR, -n, -v, and -h, which
 * prints the usage and ends the process. */
enum error_code config_arguments_parse(struct config_arguments *arguments, int argc, char **argv,
                                       struct error *error);

/* Reads and checks the file, and sets the node names. */
enum error_code config_load(struct config *config, const char *path, struct error *error);

/* Puts another run directory in place of the file's, as --run-dir asks. NULL changes nothing. */
enum error_code config_run_dir_set(struct config *config, const char *run_dir, struct error *error);

/* NODE_NONE when there is no such name. Servers by name; hosts by name or "lfd" name ("lfd1" is
 * the lfd of the first host); "rm", "gfd". */
node_id config_node(const struct config *config, const char *name);

/* Path of a file in the run directory: "RUN/lfd1.sock", "RUN/s1.lock" … */
void config_run_path(const struct config *config, const char *file, char path[CONFIG_PATH_SIZE]);

/* acks of a view with so many members; 0 when the policy cannot be met by so few. */
uint32_t config_acks(const struct config *config, uint32_t member_count);

#endif
