#include "common/config_file.h"

#include <ctype.h>
#include <stdio.h>

/* Every port and every name of the file, with the key that says it. */
#define PORT_COUNT_MAX  (4u + 2u * SERVER_COUNT_MAX)
#define NAMED_COUNT_MAX (HOST_COUNT_MAX + SERVER_COUNT_MAX)

struct use {
    char key[CONFIG_KEY_SIZE];
    const char *text; /* the name; of a port, its address */
    uint16_t port;
};

struct uses {
    uint32_t count;
    struct use list[PORT_COUNT_MAX + NAMED_COUNT_MAX];
};

static void use_add(struct uses *uses, const char *text, uint16_t port, const char *key)
{
    struct use *use = &uses->list[uses->count++];

    use->text = text;
    use->port = port;
    snprintf(use->key, sizeof use->key, "%s", key);
}

/* The server's key: "hosts[1].servers[0].peer_port". */
static void server_key(const struct config *config, uint32_t server, const char *name,
                       char key[CONFIG_KEY_SIZE])
{
    uint32_t first = server;

    while (first > 0 && config->servers[first - 1].host == config->servers[server].host)
        first--;
    snprintf(key, CONFIG_KEY_SIZE, "hosts[%u].servers[%u].%s", config->servers[server].host,
             server - first, name);
}

static const struct use *use_before(const struct uses *uses, uint32_t i)
{
    for (uint32_t j = 0; j < i; j++) {
        if (uses->list[j].port == uses->list[i].port &&
            strcmp(uses->list[j].text, uses->list[i].text) == 0)
            return &uses->list[j];
    }
    return NULL;
}

static enum error_code check_ports(const struct config_file *file)
{
    const struct config *config = file->config;
    struct uses uses = { 0 };
    char key[CONFIG_KEY_SIZE];

    use_add(&uses, config->rm.address, config->rm.port, "rm.port");
    use_add(&uses, config->rm.address, config->rm.console_port, "rm.console_port");
    use_add(&uses, config->gfd.address, config->gfd.port, "gfd.port");
    for (uint32_t i = 0; i < config->server_count; i++) {
        server_key(config, i, "client_port", key);
        use_add(&uses, config->servers[i].address, config->servers[i].client_port, key);
        server_key(config, i, "peer_port", key);
        use_add(&uses, config->servers[i].address, config->servers[i].peer_port, key);
    }
    for (uint32_t i = 0; i < uses.count; i++) {
        const struct use *before = use_before(&uses, i);

        if (before != NULL)
            return config_file_error(file, uses.list[i].key,
                                     "expected a port used once on %s, but %u is %s already",
                                     before->text, (unsigned)before->port, before->key);
    }
    return ERROR_NONE;
}

static bool name_is_reserved(const char *name)
{
    if (strcmp(name, "rm") == 0 || strcmp(name, "gfd") == 0)
        return true;
    return strncmp(name, "lfd", 3) == 0 && isdigit((unsigned char)name[3]) &&
           name[3 + strspn(name + 3, "0123456789")] == '\0';
}

/* Hosts and servers share their names: an operator means one thing by one word. */
static enum error_code check_names(const struct config_file *file)
{
    const struct config *config = file->config;
    struct uses uses = { 0 };
    char key[CONFIG_KEY_SIZE];

    for (uint32_t i = 0; i < config->host_count; i++) {
        snprintf(key, sizeof key, "hosts[%u].name", i);
        use_add(&uses, config->hosts[i].name, 0, key);
    }
    for (uint32_t i = 0; i < config->server_count; i++) {
        server_key(config, i, "name", key);
        use_add(&uses, config->servers[i].name, 0, key);
    }
    for (uint32_t i = 0; i < uses.count; i++) {
        const struct use *use = &uses.list[i];
        const struct use *before = use_before(&uses, i);

        if (name_is_reserved(use->text))
            return config_file_error(file, use->key,
                                     "expected a name other than rm, gfd and lfd1, lfd2 …, got "
                                     "\"%s\"",
                                     use->text);
        if (before != NULL)
            return config_file_error(file, use->key,
                                     "expected a name used once, but \"%s\" is %s already",
                                     use->text, before->key);
    }
    return ERROR_NONE;
}

/* One key must be above (or at least) another. */
static enum error_code check_order(const struct config_file *file, const char *key, uint32_t value,
                                   const char *other, uint32_t least, bool equal_is_good)
{
    if (value > least || (equal_is_good && value == least))
        return ERROR_NONE;
    return config_file_error(file, key, "expected %s %s (%u), got %u",
                             equal_is_good ? "at least" : "more than", other, least, value);
}

static enum error_code check_relations(const struct config_file *file)
{
    const struct config *c = file->config;
    enum error_code code;

    code =
        check_order(file, "detection.suspect_after_ms", c->detection.suspect_after_ms,
                    "detection.heartbeat_interval_ms", c->detection.heartbeat_interval_ms, false);
    if (code == ERROR_NONE)
        code = check_order(file, "detection.host_suspect_after_ms",
                           c->detection.host_suspect_after_ms, "detection.heartbeat_interval_ms",
                           c->detection.heartbeat_interval_ms, false);
    if (code == ERROR_NONE)
        code = check_order(file, "restart.backoff_ms_max", c->restart.backoff_ms_max,
                           "restart.backoff_ms", c->restart.backoff_ms, true);
    if (code == ERROR_NONE)
        code = check_order(file, "clients.pending_mb_max", c->clients.pending_mb_max,
                           "clients.client_output_mb_max", c->clients.client_output_mb_max, true);
    if (code == ERROR_NONE && c->replication.acks == ACKS_COUNT &&
        c->replication.acks_count > c->server_count)
        code = config_file_error(file, "replication.acks",
                                 "expected at most the number of servers (%u), got %u",
                                 c->server_count, c->replication.acks_count);
    return code;
}

enum error_code config_check(const struct config_file *file)
{
    enum error_code code = check_names(file);

    if (code == ERROR_NONE)
        code = check_ports(file);
    return code == ERROR_NONE ? check_relations(file) : code;
}
