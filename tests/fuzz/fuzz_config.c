/* Reading configs: an error names the file; what is taken is within the bounds of config.h. */
#include <stdio.h>

#include "common/config.h"
#include "tests/fuzz/fuzz.h"

/* libconfig itself forgets some bytes of a string that has no end. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig";
}

static void check_config(const struct config *config)
{
    assert(config->cluster[0] && strlen(config->cluster) < NAME_SIZE);
    assert(strlen(config->run_dir) <= CONFIG_RUN_DIR_MAX);
    assert(config->server_count >= 1 && config->server_count <= SERVER_COUNT_MAX);
    assert(config->host_count >= 1 && config->host_count <= HOST_COUNT_MAX);
    for (uint32_t i = 0; i < config->server_count; i++) {
        assert(config_node(config, config->servers[i].name) == NODE_SERVER(i));
        assert(config->servers[i].host < config->host_count);
        assert(config->servers[i].client_port && config->servers[i].peer_port);
    }
    for (uint32_t count = 1; count <= config->server_count; count++)
        assert(config_acks(config, count) <= count);
    assert(config->replication.lease_ms >= 20 && config->replication.lease_ms <= 10000);
    assert(config->detection.suspect_after_ms > config->detection.heartbeat_interval_ms);
    assert(config->journal.memory_mb_max >= 16 && config->clients.connections_max >= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[CONFIG_PATH_SIZE];
    struct config config;
    struct error error;

    (void)snprintf(path, sizeof path, "%s/x.cfg", scratch_folder());
    scratch_file("x.cfg", bytes_of(data, size), 0, bytes_of(NULL, 0));
    if (config_load(&config, path, &error) == ERROR_NONE)
        check_config(&config);
    else
        assert(strstr(error.text, "x.cfg"));
    return 0;
}
