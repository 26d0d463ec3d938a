/* The config file: what is read, what is refused and with which words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/config.h"

/* A directory with one file in it, cluster.cfg. */
struct fixture {
    char directory[32];
    char path[64];
    struct config config;
    struct error error;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_non_null(f);
    snprintf(f->directory, sizeof f->directory, "/tmp/holdfast-config-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    snprintf(f->path, sizeof f->path, "%s/cluster.cfg", f->directory);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    unlink(f->path);
    rmdir(f->directory);
    free(f);
    return 0;
}

static void write_bytes(struct fixture *f, const char *text, size_t size)
{
    FILE *file = fopen(f->path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static enum error_code load(struct fixture *f, const char *text)
{
    write_bytes(f, text, strlen(text));
    memset(&f->error, 0, sizeof f->error);
    return config_load(&f->config, f->path, &f->error);
}

/* The words of the error without the directory, which differs from run to run. */
static const char *words(const struct fixture *f)
{
    assert_int_equal(strncmp(f->error.text, f->directory, strlen(f->directory)), 0);
    return f->error.text + strlen(f->directory) + 1;
}

#define HOST                                                                                   \
    "hosts = ( { name = \"h1\"; servers = ( { name = \"s1\"; client_port = 7001; peer_port = " \
    "7101; } ); } );\n"

/* What may be left out has its documented default. */
static void test_defaults(void **state)
{
    struct fixture *f = *state;
    const struct config *c = &f->config;

    assert_int_equal(load(f, "cluster = \"tiny\";\n" HOST), ERROR_NONE);
    assert_string_equal(c->path, f->path);
    assert_string_equal(c->cluster, "tiny");
    assert_string_equal(c->run_dir, "run/tiny");
    assert_string_equal(c->service.name, "kv");
    assert_int_equal(c->replication.style, STYLE_ACTIVE);
    assert_int_equal(c->replication.acks, ACKS_ALL);
    assert_int_equal(c->replication.propagation, PROPAGATION_STAR);
    assert_int_equal(c->replication.checkpoint_interval_ms, 1000);
    assert_int_equal(c->replication.lease_ms, 200);
    assert_int_equal(c->journal.storage, STORAGE_DISK);
    assert_int_equal(c->journal.fsync, FSYNC_ALWAYS);
    assert_int_equal(c->journal.fsync_interval_ms, 100);
    assert_int_equal(c->journal.memory_mb_max, 256);
    assert_int_equal(c->detection.heartbeat_interval_ms, 20);
    assert_int_equal(c->detection.suspect_after_ms, 200);
    assert_int_equal(c->detection.host_suspect_after_ms, 500);
    assert_int_equal(c->detection.grace_ms, 1000);
    assert_int_equal(c->restart.backoff_ms, 50);
    assert_int_equal(c->restart.backoff_ms_max, 10000);
    assert_int_equal(c->restart.budget, 10);
    assert_int_equal(c->restart.budget_window_s, 60);
    assert_int_equal(c->clients.connections_max, 10000);
    assert_int_equal(c->clients.pending_mb_max, 256);
    assert_int_equal(c->clients.client_output_mb_max, 64);
    assert_string_equal(c->rm.address, "127.0.0.1");
    assert_int_equal(c->rm.port, 7400);
    assert_int_equal(c->rm.console_port, 7410);
    assert_string_equal(c->gfd.address, "127.0.0.1");
    assert_int_equal(c->gfd.port, 7500);
}

/* Every key, with another value than its default. */
static void test_values(void **state)
{
    struct fixture *f = *state;
    const struct config *c = &f->config;

    assert_int_equal(
        load(f,
             "cluster = \"full\"; run_dir = \"/tmp/full\"; service = { name = \"./mine.so\"; };\n"
             "replication = { style = \"passive\"; acks = 2; propagation = \"chain\";\n"
             "                checkpoint_interval_ms = 50; lease_ms = 10000; };\n"
             "journal = { storage = \"memory\"; fsync = \"interval\"; fsync_interval_ms = 1;\n"
             "            memory_mb_max = 16; };\n"
             "detection = { heartbeat_interval_ms = 1; suspect_after_ms = 2;\n"
             "              host_suspect_after_ms = 60000; grace_ms = 0; };\n"
             "restart = { backoff_ms = 7; backoff_ms_max = 7; budget = 1000;\n"
             "            budget_window_s = 86400; };\n"
             "clients = { connections_max = 1; pending_mb_max = 16; client_output_mb_max = 16; };\n"
             "rm = { address = \"rm.example\"; port = 1; console_port = 2; };\n"
             "gfd = { address = \"::1\"; port = 3; };\n"
             "hosts = ( { name = \"a\"; address = \"10.0.0.1\"; servers = (\n"
             "            { name = \"x\"; client_port = 4; peer_port = 5; },\n"
             "            { name = \"y\"; client_port = 6; peer_port = 7; } ); },\n"
             "          { name = \"b\"; address = \"10.0.0.2\"; servers = (\n"
             "            { name = \"z\"; client_port = 4; peer_port = 5; } ); } );\n"),
        ERROR_NONE);
    assert_string_equal(c->run_dir, "/tmp/full");
    assert_string_equal(c->service.name, "./mine.so");
    assert_int_equal(c->replication.style, STYLE_PASSIVE);
    assert_int_equal(c->replication.acks, ACKS_COUNT);
    assert_int_equal(c->replication.acks_count, 2);
    assert_int_equal(c->replication.propagation, PROPAGATION_CHAIN);
    assert_int_equal(c->replication.checkpoint_interval_ms, 50);
    assert_int_equal(c->replication.lease_ms, 10000);
    assert_int_equal(c->journal.storage, STORAGE_MEMORY);
    assert_int_equal(c->journal.fsync, FSYNC_INTERVAL);
    assert_int_equal(c->journal.fsync_interval_ms, 1);
    assert_int_equal(c->journal.memory_mb_max, 16);
    assert_int_equal(c->detection.heartbeat_interval_ms, 1);
    assert_int_equal(c->detection.suspect_after_ms, 2);
    assert_int_equal(c->detection.host_suspect_after_ms, 60000);
    assert_int_equal(c->detection.grace_ms, 0);
    assert_int_equal(c->restart.backoff_ms, 7);
    assert_int_equal(c->restart.backoff_ms_max, 7);
    assert_int_equal(c->restart.budget, 1000);
    assert_int_equal(c->restart.budget_window_s, 86400);
    assert_int_equal(c->clients.connections_max, 1);
    assert_int_equal(c->clients.pending_mb_max, 16);
    assert_int_equal(c->clients.client_output_mb_max, 16);
    assert_string_equal(c->rm.address, "rm.example");
    assert_int_equal(c->rm.port, 1);
    assert_int_equal(c->rm.console_port, 2);
    assert_string_equal(c->gfd.address, "::1");
    assert_int_equal(c->gfd.port, 3);
    assert_int_equal(c->host_count, 2);
    assert_int_equal(c->server_count, 3);
    assert_string_equal(c->servers[2].name, "z");
    assert_string_equal(c->servers[2].address, "10.0.0.2");
    assert_int_equal(c->servers[2].host, 1);
    assert_int_equal(c->servers[1].client_port, 6);
    assert_int_equal(c->servers[1].peer_port, 7);
}

/* A key of each kind that is wrong in each way, and the whole sentence that answers it. */
static void test_refusals(void **state)
{
    static const struct {
        const char *text;
        const char *words;
    } cases[] = {
        { "cluster = \"c\"\nhosts == 3;\n", "cluster.cfg:2: syntax error" },
        { "cluster = \"c\";\ncluster = \"d\";\n", "cluster.cfg:2: duplicate setting name" },
        { HOST,
          "cluster.cfg: cluster: missing, expected a name of 1 to 31 letters, digits, _ or -" },
        { "cluster = \"c\";\n",
          "cluster.cfg: hosts: expected a list ( ) of 1 to 16 groups { }, got nothing" },
        { "cluster = \"a b\";\n" HOST, "cluster.cfg:1: cluster: expected a name of 1 to 31 "
                                       "letters, digits, _ or -, got \"a b\"" },
        { "cluster = \"\";\n" HOST,
          "cluster.cfg:1: cluster: expected a name of 1 to 31 letters, digits, _ or -, got \"\"" },
        { "cluster = \"abcdefghijklmnopqrstuvwxyz-12345\";\n" HOST,
          "cluster.cfg:1: cluster: expected a name of 1 to 31 letters, digits, _ or -, got "
          "\"abcdefghijklmnopqrstuvwxyz-12345\"" },
        { "cluster = \"c\";\nclutser = \"d\";\n" HOST,
          "cluster.cfg:2: clutser: unknown key, expected one of: cluster, run_dir, service, "
          "replication, journal, detection, restart, clients, rm, gfd, hosts" },
        { "cluster = \"c\";\nrm = {\n  prot = 1;\n};\n" HOST,
          "cluster.cfg:3: rm.prot: unknown key, expected one of: address, port, "
          "console_port" },
        { "cluster = \"c\";\ngfd = 7500;\n" HOST,
          "cluster.cfg:2: gfd: expected a group { }, got 7500" },
        { "cluster = \"c\";\nreplication = { lease_ms = \"200\"; };\n" HOST,
          "cluster.cfg:2: replication.lease_ms: expected a whole number from 20 to 10000, got "
          "\"200\"" },
        { "cluster = \"c\";\nreplication = {\n lease_ms = 19; };\n" HOST,
          "cluster.cfg:3: replication.lease_ms: expected a whole number from 20 to 10000, got 19" },
        { "cluster = \"c\"; /* 9999999999\n */ # 9999999999\nrun_dir = \"\\\"9999999999\";\n"
          "replication = { lease_ms = 4294967496; };\n" HOST,
          "cluster.cfg:4: expected numbers up to 2147483647, got 4294967496" },
        { "cluster = \"c\";\nreplication = { lease_ms = 0x1000000c8; };\n" HOST,
          "cluster.cfg:2: expected numbers up to 2147483647, got 0x1000000c8" },
        { "cluster = \"c\";\nreplication = { lease_ms = 4294967496L; };\n" HOST,
          "cluster.cfg:2: replication.lease_ms: expected a whole number from 20 to 10000, got "
          "4294967496" },
        { "cluster = \"c\";\nreplication = { lease_ms = 20.5; };\n" HOST,
          "cluster.cfg:2: replication.lease_ms: expected a whole number from 20 to 10000, got "
          "20.5" },
        { "cluster = \"c\";\nreplication = { lease_ms = true; };\n" HOST,
          "cluster.cfg:2: replication.lease_ms: expected a whole number from 20 to 10000, got "
          "true" },
        { "cluster = \"c\";\nreplication = { style = \"lazy\"; };\n" HOST,
          "cluster.cfg:2: replication.style: expected \"active\" or \"passive\", got \"lazy\"" },
        { "cluster = \"c\";\nreplication = { style = 1; };\n" HOST,
          "cluster.cfg:2: replication.style: expected \"active\" or \"passive\", got 1" },
        { "cluster = \"c\";\nreplication = { acks = 0; };\n" HOST,
          "cluster.cfg:2: replication.acks: expected \"all\" or \"majority\" or a whole number "
          "from 1 to 16, got 0" },
        { "cluster = \"c\";\nreplication = { acks = 2; };\n" HOST,
          "cluster.cfg:2: replication.acks: expected at most the number of servers (1), got 2" },
        { "cluster = \"c\";\njournal = { storage = \"tape\"; };\n" HOST,
          "cluster.cfg:2: journal.storage: expected \"disk\" or \"memory\", got \"tape\"" },
        { "cluster = \"c\";\ndetection = { suspect_after_ms = 20; };\n" HOST,
          "cluster.cfg:2: detection.suspect_after_ms: expected more than "
          "detection.heartbeat_interval_ms (20), got 20" },
        { "cluster = \"c\";\ndetection = {\n heartbeat_interval_ms = 200; suspect_after_ms = 500;\n"
          " host_suspect_after_ms = 200; };\n" HOST,
          "cluster.cfg:4: detection.host_suspect_after_ms: expected more than "
          "detection.heartbeat_interval_ms (200), got 200" },
        /* What is missing stands nowhere: the nearest group's line, or none. */
        { "cluster = \"c\";\ndetection = {\n heartbeat_interval_ms = 300; };\n" HOST,
          "cluster.cfg:2: detection.suspect_after_ms: expected more than "
          "detection.heartbeat_interval_ms (300), got 200" },
        { "cluster = \"c\";\nrestart = { backoff_ms = 3; backoff_ms_max = 2; };\n" HOST,
          "cluster.cfg:2: restart.backoff_ms_max: expected at least restart.backoff_ms (3), got "
          "2" },
        { "cluster = \"c\";\nclients = { pending_mb_max = 16; };\n" HOST,
          "cluster.cfg:2: clients.pending_mb_max: expected at least clients.client_output_mb_max "
          "(64), got 16" },
        { "cluster = \"c\";\nrm = { port = 0; };\n" HOST,
          "cluster.cfg:2: rm.port: expected a port from 1 to 65535, got 0" },
        { "cluster = \"c\";\nrm = { console_port = 65536; };\n" HOST,
          "cluster.cfg:2: rm.console_port: expected a port from 1 to 65535, got 65536" },
        { "cluster = \"c\";\nrm = { address = \"my host\"; };\n" HOST,
          "cluster.cfg:2: rm.address: expected an IP address or a host name, got \"my host\"" },
        { "cluster = \"c\";\nrm = { console_port = 7400; };\n" HOST,
          "cluster.cfg:2: rm.console_port: expected a port used once on 127.0.0.1, but 7400 is "
          "rm.port already" },
        { "cluster = \"c\";\ngfd = { port = 7101; };\n" HOST,
          "cluster.cfg:3: hosts[0].servers[0].peer_port: expected a port used once on 127.0.0.1, "
          "but 7101 is gfd.port already" },
        { "cluster = \"c\";\nhosts = { };\n",
          "cluster.cfg:2: hosts: expected a list ( ) of 1 to 16 groups { }, got a group { }" },
        { "cluster = \"c\";\nhosts = ( );\n",
          "cluster.cfg:2: hosts: expected a list ( ) of 1 to 16 groups { }, got 0" },
        { "cluster = \"c\";\nhosts = ( 3 );\n",
          "cluster.cfg:2: hosts[0]: expected a group { }, got 3" },
        { "cluster = \"c\";\nhosts = ( { name = \"h1\"; } );\n",
          "cluster.cfg:2: hosts[0].servers: expected a list ( ) of 1 to 16 groups { }, got "
          "nothing" },
        { "cluster = \"c\";\nhosts = ( { name = \"h1\"; servers = (\n{ name = \"s1\"; "
          "client_port = 1; } ); } );\n",
          "cluster.cfg:3: hosts[0].servers[0].peer_port: missing, expected a port from 1 to "
          "65535" },
        { "cluster = \"c\";\nhosts = ( { name = \"h1\"; servers = (\n{ name = \"s1\"; port = 1; } "
          "); } );\n",
          "cluster.cfg:3: hosts[0].servers[0].port: unknown key, expected one of: name, "
          "client_port, peer_port" },
        { "cluster = \"c\";\nhosts = ( { name = \"rm\"; servers = ( { name = \"s1\"; client_port = "
          "1; peer_port = 2; } ); } );\n",
          "cluster.cfg:2: hosts[0].name: expected a name other than rm, gfd and lfd1, lfd2 …, got "
          "\"rm\"" },
        { "cluster = \"c\";\nhosts = ( { name = \"h1\"; servers = (\n{ name = \"lfd12\"; "
          "client_port = 1; peer_port = 2; } ); } );\n",
          "cluster.cfg:3: hosts[0].servers[0].name: expected a name other than rm, gfd and lfd1, "
          "lfd2 …, got \"lfd12\"" },
        { "cluster = \"c\";\nhosts = ( { name = \"h1\"; servers = (\n"
          "{ name = \"s1\"; client_port = 1; peer_port = 2; },\n"
          "{ name = \"h1\"; client_port = 3; peer_port = 4; } ); } );\n",
          "cluster.cfg:4: hosts[0].servers[1].name: expected a name used once, but \"h1\" is "
          "hosts[0].name already" },
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(load(f, cases[i].text), ERROR_CONFIG);
        assert_string_equal(words(f), cases[i].words);
    }
}

/* Sixteen servers are a cluster, seventeen are not, however they are spread over hosts. */
static void test_too_many_servers(void **state)
{
    struct fixture *f = *state;
    char text[8192];
    int used = snprintf(text, sizeof text, "cluster = \"c\";\nhosts = (\n");

    for (int i = 0; i < 9; i++)
        used += snprintf(text + used, sizeof text - (size_t)used,
                         "%s{ name = \"h%d\"; servers = (\n"
                         "{ name = \"a%d\"; client_port = %d; peer_port = %d; },\n"
                         "{ name = \"b%d\"; client_port = %d; peer_port = %d; } ); }\n",
                         i > 0 ? "," : "", i, i, 100 + i, 200 + i, i, 300 + i, 400 + i);
    snprintf(text + used, sizeof text - (size_t)used, ");\n");
    assert_int_equal(load(f, text), ERROR_CONFIG);
    assert_string_equal(words(f),
                        "cluster.cfg:28: hosts[8].servers[0]: expected at most 16 servers "
                        "in a cluster");
    memcpy(strstr(text, ",{ name = \"h8\""), ");", sizeof ");");
    assert_int_equal(load(f, text), ERROR_NONE);
    assert_int_equal(f->config.server_count, 16);
}

/* Files that are none. */
static void test_unreadable(void **state)
{
    struct fixture *f = *state;
    char *large = malloc(1024 * 1024 + 1);

    assert_int_equal(config_load(&f->config, f->path, &f->error), ERROR_CONFIG);
    assert_string_equal(words(f), "cluster.cfg: cannot open the config file: No such file or "
                                  "directory");
    assert_int_equal(config_load(&f->config, f->directory, &f->error), ERROR_CONFIG);
    assert_string_equal(f->error.text + strlen(f->directory), ": expected a file");

    write_bytes(f, "cluster = \"c\"\0;", 15);
    assert_int_equal(config_load(&f->config, f->path, &f->error), ERROR_CONFIG);
    assert_string_equal(words(f), "cluster.cfg: expected a text, got a zero byte");

    assert_non_null(large);
    memset(large, '#', 1024 * 1024 + 1);
    write_bytes(f, large, 1024 * 1024 + 1);
    free(large);
    assert_int_equal(config_load(&f->config, f->path, &f->error), ERROR_CONFIG);
    assert_string_equal(words(f), "cluster.cfg: expected a file of at most 1048576 bytes");
}

/* Nodes are found by the names that operators use, and are called by those of the file. */
static void test_nodes(void **state)
{
    struct fixture *f = *state;
    char path[CONFIG_PATH_SIZE];

    assert_int_equal(load(f, "cluster = \"c\"; run_dir = \"/r\";\n"
                             "hosts = ( { name = \"west\"; servers = (\n"
                             "{ name = \"alpha\"; client_port = 1; peer_port = 2; } ); },\n"
                             "{ name = \"east\"; servers = (\n"
                             "{ name = \"beta\"; client_port = 3; peer_port = 4; } ); } );\n"),
                     ERROR_NONE);
    assert_int_equal(config_node(&f->config, "beta"), NODE_SERVER(1));
    assert_int_equal(config_node(&f->config, "east"), NODE_LFD(1));
    assert_int_equal(config_node(&f->config, "lfd2"), NODE_LFD(1));
    assert_int_equal(config_node(&f->config, "lfd3"), NODE_NONE);
    assert_int_equal(config_node(&f->config, "rm"), NODE_RM);
    assert_int_equal(config_node(&f->config, "gfd"), NODE_GFD);
    assert_int_equal(config_node(&f->config, "s1"), NODE_NONE);
    assert_string_equal(node_name(NODE_SERVER(1)), "beta");
    assert_string_equal(node_name(NODE_LFD(1)), "lfd2");
    config_run_path(&f->config, "beta.lock", path);
    assert_string_equal(path, "/r/beta.lock");
}

/* acks is a policy; a view of so many members makes a number of it. */
static void test_acks(void **state)
{
    struct fixture *f = *state;
    struct config *c = &f->config;

    c->replication.acks = ACKS_ALL;
    assert_int_equal(config_acks(c, 3), 3);
    assert_int_equal(config_acks(c, 0), 0);
    c->replication.acks = ACKS_MAJORITY;
    assert_int_equal(config_acks(c, 0), 0);
    assert_int_equal(config_acks(c, 1), 1);
    assert_int_equal(config_acks(c, 4), 3);
    assert_int_equal(config_acks(c, 5), 3);
    c->replication.acks = ACKS_COUNT;
    c->replication.acks_count = 2;
    assert_int_equal(config_acks(c, 1), 0);
    assert_int_equal(config_acks(c, 5), 2);
}

/* Every file shipped is good, and no two of them meet on a port. */
static void test_shipped_files(void **state)
{
    struct fixture *f = *state;
    uint8_t *used = calloc(65536, 1);
    DIR *directory = opendir("configs");
    struct dirent *entry;
    uint32_t count = 0;

    assert_non_null(used);
    assert_non_null(directory);
    while ((entry = readdir(directory)) != NULL) {
        const struct config *c = &f->config;
        char path[300];

        if (strstr(entry->d_name, ".cfg") == NULL)
            continue;
        snprintf(path, sizeof path, "configs/%s", entry->d_name);
        if (config_load(&f->config, path, &f->error) != ERROR_NONE)
            fail_msg("%s", f->error.text);
        assert_int_equal(used[c->rm.port]++ + used[c->gfd.port]++ + used[c->rm.console_port]++, 0);
        for (uint32_t i = 0; i < c->server_count; i++)
            assert_int_equal(used[c->servers[i].client_port]++ + used[c->servers[i].peer_port]++,
                             0);
        count++;
    }
    assert_true(count >= 5);
    closedir(directory);
    free(used);
}

/* The command line that all daemons have. */
static void test_arguments(void **state)
{
    struct fixture *f = *state;
    struct config_arguments a;
    char *full[] = { "d", "-c", "f", "--name", "s1", "--run-dir", "/r", "-n", "-v", NULL };
    char *bare[] = { "d", NULL };
    char *unknown[] = { "d", "--nmae", "s1", NULL };
    char *valueless[] = { "d", "-c", NULL };
    char *stray[] = { "d", "-c", "f", "s1", NULL };

    assert_int_equal(config_arguments_parse(&a, 9, full, &f->error), ERROR_NONE);
    assert_string_equal(a.path, "f");
    assert_string_equal(a.name, "s1");
    assert_string_equal(a.run_dir, "/r");
    assert_true(a.check_only && a.verbose);

    unsetenv("HOLDFAST_CONFIG");
    assert_int_equal(config_arguments_parse(&a, 1, bare, &f->error), ERROR_USAGE);
    assert_string_equal(f->error.text, "no config file: expected -c FILE or $HOLDFAST_CONFIG");
    setenv("HOLDFAST_CONFIG", "g", 1);
    assert_int_equal(config_arguments_parse(&a, 1, bare, &f->error), ERROR_NONE);
    assert_string_equal(a.path, "g");
    assert_null(a.name);
    assert_false(a.check_only || a.verbose);

    assert_int_equal(config_arguments_parse(&a, 3, unknown, &f->error), ERROR_USAGE);
    assert_string_equal(f->error.text, "--nmae: unknown option; -h shows those there are");
    assert_int_equal(config_arguments_parse(&a, 2, valueless, &f->error), ERROR_USAGE);
    assert_string_equal(f->error.text, "-c: expected a value after it");
    assert_int_equal(config_arguments_parse(&a, 4, stray, &f->error), ERROR_USAGE);
    assert_string_equal(f->error.text, "s1: expected nothing but options");
}

/* A run directory from the command line goes before the file's, and keeps socket paths short. */
static void test_run_dir(void **state)
{
    struct fixture *f = *state;
    char longer[CONFIG_RUN_DIR_MAX + 2];

    assert_int_equal(load(f, "cluster = \"c\";\n" HOST), ERROR_NONE);
    assert_int_equal(config_run_dir_set(&f->config, NULL, &f->error), ERROR_NONE);
    assert_string_equal(f->config.run_dir, "run/c");
    assert_int_equal(config_run_dir_set(&f->config, "/r", &f->error), ERROR_NONE);
    assert_string_equal(f->config.run_dir, "/r");
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(config_run_dir_set(&f->config, longer, &f->error), ERROR_USAGE);
    assert_string_equal(f->config.run_dir, "/r");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_defaults, setup, teardown),
        cmocka_unit_test_setup_teardown(test_values, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_many_servers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unreadable, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nodes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_acks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shipped_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_arguments, setup, teardown),
        cmocka_unit_test_setup_teardown(test_run_dir, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
