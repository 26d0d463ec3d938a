#include "common/config_file.h"

#include <ctype.h>
#include <stdio.h>

#define WORD_COUNT_MAX 3u

enum kind { KIND_NUMBER, KIND_PORT, KIND_WORD, KIND_ACKS, KIND_NAME, KIND_ADDRESS, KIND_PATH };

/* One key of the file. A list's keys repeat for each element: "hosts[].name". */
struct key {
    const char *path;
    enum kind kind;
    bool required;
    size_t offset; /* into struct config, or config_host or config_server in their lists */
    uint32_t min, max, fallback;       /* of a number; the fallback of a word too */
    const char *text;                  /* fallback of the kinds that are text */
    const char *words[WORD_COUNT_MAX]; /* by their number; NULL: no such word */
};

#define AT(member)        .offset = offsetof(struct config, member)
#define HOST_AT(member)   .offset = offsetof(struct config_host, member)
#define SERVER_AT(member) .offset = offsetof(struct config_server, member)
#define NUMBER(least, most, otherwise) \
    .kind = KIND_NUMBER, .min = (least), .max = (most), .fallback = (otherwise)
#define PORT(otherwise) .kind = KIND_PORT, .min = 1, .max = 65535, .fallback = (otherwise)
#define NAME            .kind = KIND_NAME
#define REQUIRED        .required = true

static const struct key keys[] = {
    { "cluster", NAME, REQUIRED, AT(cluster) },
    { "run_dir", .kind = KIND_PATH, .max = CONFIG_RUN_DIR_MAX, .text = "", AT(run_dir) },

    { "service.name", .kind = KIND_PATH, .max = CONFIG_PATH_SIZE - 1, .text = "kv",
      AT(service.name) },

    { "replication.style", .kind = KIND_WORD, AT(replication.style),
      .words = { [STYLE_ACTIVE] = "active", [STYLE_PASSIVE] = "passive" },
      .fallback = STYLE_ACTIVE },
    { "replication.acks", .kind = KIND_ACKS, AT(replication.acks), .fallback = ACKS_ALL,
      .words = { [ACKS_ALL] = "all", [ACKS_MAJORITY] = "majority" }, .min = 1,
      .max = SERVER_COUNT_MAX },
    { "replication.propagation", .kind = KIND_WORD, AT(replication.propagation),
      .words = { [PROPAGATION_STAR] = "star", [PROPAGATION_CHAIN] = "chain" },
      .fallback = PROPAGATION_STAR },
    { "replication.checkpoint_interval_ms", NUMBER(50, 60000, 1000),
      AT(replication.checkpoint_interval_ms) },
    { "replication.lease_ms", NUMBER(20, 10000, 200), AT(replication.lease_ms) },

    { "journal.storage", .kind = KIND_WORD, AT(journal.storage),
      .words = { [STORAGE_DISK] = "disk", [STORAGE_MEMORY] = "memory" }, .fallback = STORAGE_DISK },
    { "journal.fsync", .kind = KIND_WORD, AT(journal.fsync),
      .words = { [FSYNC_ALWAYS] = "always",
                 [FSYNC_INTERVAL] = "interval",
                 [FSYNC_NEVER] = "never" },
      .fallback = FSYNC_ALWAYS },
    { "journal.fsync_interval_ms", NUMBER(1, 10000, 100), AT(journal.fsync_interval_ms) },
    { "journal.memory_mb_max", NUMBER(16, 65536, 256), AT(journal.memory_mb_max) },

    { "detection.heartbeat_interval_ms", NUMBER(1, 10000, 20),
      AT(detection.heartbeat_interval_ms) },
    { "detection.suspect_after_ms", NUMBER(2, 60000, 200), AT(detection.suspect_after_ms) },
    { "detection.host_suspect_after_ms", NUMBER(2, 60000, 500),
      AT(detection.host_suspect_after_ms) },
    { "detection.grace_ms", NUMBER(0, 60000, 1000), AT(detection.grace_ms) },

    { "restart.backoff_ms", NUMBER(1, 600000, 50), AT(restart.backoff_ms) },
    { "restart.backoff_ms_max", NUMBER(1, 600000, 10000), AT(restart.backoff_ms_max) },
    { "restart.budget", NUMBER(1, 1000, 10), AT(restart.budget) },
    { "restart.budget_window_s", NUMBER(1, 86400, 60), AT(restart.budget_window_s) },

    { "clients.connections_max", NUMBER(1, 1000000, 10000), AT(clients.connections_max) },
    { "clients.pending_mb_max", NUMBER(16, 65536, 256), AT(clients.pending_mb_max) },
    { "clients.client_output_mb_max", NUMBER(1, 65536, 64), AT(clients.client_output_mb_max) },

    { "rm.address", .kind = KIND_ADDRESS, .text = "127.0.0.1", AT(rm.address) },
    { "rm.port", PORT(7400), AT(rm.port) },
    { "rm.console_port", PORT(7410), AT(rm.console_port) },
    { "gfd.address", .kind = KIND_ADDRESS, .text = "127.0.0.1", AT(gfd.address) },
    { "gfd.port", PORT(7500), AT(gfd.port) },

    { "hosts[].name", NAME, REQUIRED, HOST_AT(name) },
    { "hosts[].address", .kind = KIND_ADDRESS, .text = "127.0.0.1", HOST_AT(address) },
    { "hosts[].servers[].name", NAME, REQUIRED, SERVER_AT(name) },
    { "hosts[].servers[].client_port", PORT(0), REQUIRED, SERVER_AT(client_port) },
    { "hosts[].servers[].peer_port", PORT(0), REQUIRED, SERVER_AT(peer_port) },
};

#define KEY_COUNT (sizeof keys / sizeof keys[0])

static const char *const groups[] = { "service", "replication", "journal", "detection",
                                      "restart", "clients",     "rm",      "gfd" };

#define GROUP_COUNT (sizeof groups / sizeof groups[0])

_Static_assert(sizeof(enum style) == sizeof(uint32_t), "words are stored as 32-bit numbers");

/* A group being read: its keys begin with `prefix` in the table and with `shown` in errors. */
struct group {
    struct config_file *file;
    config_setting_t *setting; /* NULL when the file lacks it: every key has its default */
    const char *prefix;
    const char *shown;
    void *base; /* of the offsets */
};

/* The words of a key as a sentence has them: `"active" or "passive"`. */
static void words_format(const struct key *key, char *out, size_t size)
{
    const char *separator = "";
    size_t used = 0;

    out[0] = '\0';
    for (uint32_t i = 0; i < WORD_COUNT_MAX; i++) {
        if (key->words[i] == NULL || used >= size)
            continue;
        used += (size_t)snprintf(out + used, size - used, "%s\"%s\"", separator, key->words[i]);
        separator = " or ";
    }
}

static void expected_format(const struct key *key, char *out, size_t size)
{
    char words[64];

    words_format(key, words, sizeof words);
    switch (key->kind) {
    case KIND_NUMBER:
        snprintf(out, size, "a whole number from %u to %u", key->min, key->max);
        break;
    case KIND_PORT: snprintf(out, size, "a port from 1 to 65535"); break;
    case KIND_WORD: snprintf(out, size, "%s", words); break;
    case KIND_ACKS:
        snprintf(out, size, "%s or a whole number from %u to %u", words, key->min, key->max);
        break;
    case KIND_NAME:
        snprintf(out, size, "a name of 1 to %u letters, digits, _ or -", NAME_SIZE - 1);
        break;
    case KIND_ADDRESS: snprintf(out, size, "an IP address or a host name"); break;
    case KIND_PATH: snprintf(out, size, "a text of 1 to %u bytes", key->max); break;
    }
}

static void got_format(const config_setting_t *setting, char *out, size_t size)
{
    switch (config_setting_type(setting)) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64: snprintf(out, size, "%lld", config_setting_get_int64(setting)); break;
    case CONFIG_TYPE_FLOAT: snprintf(out, size, "%g", config_setting_get_float(setting)); break;
    case CONFIG_TYPE_STRING:
        snprintf(out, size, "\"%.60s\"", config_setting_get_string(setting));
        break;
    case CONFIG_TYPE_BOOL:
        snprintf(out, size, "%s", config_setting_get_bool(setting) ? "true" : "false");
        break;
    case CONFIG_TYPE_GROUP: snprintf(out, size, "a group { }"); break;
    case CONFIG_TYPE_ARRAY: snprintf(out, size, "an array [ ]"); break;
    default: snprintf(out, size, "a list ( )"); break;
    }
}

static enum error_code wrong_value(const struct group *group, const char *shown,
                                   const struct key *key, const config_setting_t *setting)
{
    char expected[128];
    char got[96];

    expected_format(key, expected, sizeof expected);
    if (setting == NULL)
        return config_file_error(group->file, shown, "missing, expected %s", expected);
    got_format(setting, got, sizeof got);
    return config_file_error(group->file, shown, "expected %s, got %s", expected, got);
}

static bool is_number(const config_setting_t *setting)
{
    int type = config_setting_type(setting);

    return type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64;
}

static bool number_parse(const struct key *key, const config_setting_t *setting, uint32_t *number)
{
    long long value;

    if (!is_number(setting))
        return false;
    value = config_setting_get_int64(setting);
    if (value < (long long)key->min || value > (long long)key->max)
        return false;
    *number = (uint32_t)value;
    return true;
}

static bool word_parse(const struct key *key, const config_setting_t *setting, uint32_t *number)
{
    const char *text = config_setting_get_string(setting);

    for (uint32_t i = 0; text != NULL && i < WORD_COUNT_MAX; i++) {
        if (key->words[i] != NULL && strcmp(text, key->words[i]) == 0) {
            *number = i;
            return true;
        }
    }
    return false;
}

static bool text_fits(const struct key *key, const char *text)
{
    size_t size_max = key->kind == KIND_NAME      ? NAME_SIZE - 1
                      : key->kind == KIND_ADDRESS ? CONFIG_ADDRESS_SIZE - 1
                                                  : key->max;
    const char *others = key->kind == KIND_NAME ? "_-" : ".:_-%";

    if (text[0] == '\0' || strlen(text) > size_max)
        return false;
    for (const char *c = text; key->kind != KIND_PATH && *c != '\0'; c++) {
        if (!isalnum((unsigned char)*c) && strchr(others, *c) == NULL)
            return false;
    }
    return true;
}

static void store_number(const struct key *key, void *base, uint32_t number)
{
    uint8_t *place = (uint8_t *)base + key->offset;

    if (key->kind == KIND_PORT)
        memcpy(place, &(uint16_t){ (uint16_t)number }, sizeof(uint16_t));
    else
        memcpy(place, &number, sizeof number);
}

static void store_default(const struct key *key, void *base)
{
    if (key->text != NULL)
        memcpy((char *)base + key->offset, key->text, strlen(key->text) + 1);
    else
        store_number(key, base, key->fallback);
}

/* False when the value is not what the key expects. */
static bool store_value(const struct group *group, const struct key *key,
                        const config_setting_t *setting)
{
    struct config *config = group->file->config;
    const char *text = config_setting_get_string(setting);
    uint32_t number = 0;

    switch (key->kind) {
    case KIND_ACKS:
        if (number_parse(key, setting, &config->replication.acks_count)) {
            store_number(key, group->base, ACKS_COUNT);
            return true;
        }
        /* fall through */
    case KIND_WORD:
        if (!word_parse(key, setting, &number))
            return false;
        break;
    case KIND_NUMBER:
    case KIND_PORT:
        if (!number_parse(key, setting, &number))
            return false;
        break;
    default:
        if (text == NULL || !text_fits(key, text))
            return false;
        memcpy((char *)group->base + key->offset, text, strlen(text) + 1);
        return true;
    }
    store_number(key, group->base, number);
    return true;
}

static enum error_code read_key(const struct group *group, const struct key *key)
{
    const char *name = key->path + strlen(group->prefix);
    const config_setting_t *setting =
        group->setting ? config_setting_get_member(group->setting, name) : NULL;
    char shown[CONFIG_KEY_SIZE];

    if (setting == NULL && !key->required) {
        store_default(key, group->base);
        return ERROR_NONE;
    }
    snprintf(shown, sizeof shown, "%s%s", group->shown, name);
    if (setting == NULL || !store_value(group, key, setting))
        return wrong_value(group, shown, key, setting);
    return ERROR_NONE;
}

static bool in_group(const struct key *key, const struct group *group)
{
    return strncmp(key->path, group->prefix, strlen(group->prefix)) == 0;
}

/* Whether the table has this key, or a group or list of this name. */
static bool is_known(const struct group *group, const char *name)
{
    size_t size = strlen(name);

    for (size_t i = 0; i < KEY_COUNT; i++) {
        const char *rest = keys[i].path + strlen(group->prefix);

        if (in_group(&keys[i], group) && strncmp(rest, name, size) == 0 &&
            (rest[size] == '\0' || rest[size] == '.' || rest[size] == '['))
            return true;
    }
    return false;
}

/* Appends what may stand in a group: "style, acks, propagation". */
static void known_format(const struct group *group, char *out, size_t size)
{
    char last[CONFIG_KEY_SIZE] = "";
    size_t used = 0;

    for (size_t i = 0; i < KEY_COUNT && used < size; i++) {
        const char *rest = keys[i].path + strlen(group->prefix);
        char name[CONFIG_KEY_SIZE];

        if (!in_group(&keys[i], group))
            continue;
        snprintf(name, sizeof name, "%.*s", (int)strcspn(rest, ".["), rest);
        if (strcmp(name, last) != 0)
            used += (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "", name);
        memcpy(last, name, sizeof last);
    }
}

static enum error_code check_known(const struct group *group)
{
    int count = group->setting ? config_setting_length(group->setting) : 0;
    char known[ERROR_TEXT_SIZE] = "";
    char shown[CONFIG_KEY_SIZE];

    for (int i = 0; i < count; i++) {
        const char *name =
            config_setting_name(config_setting_get_elem(group->setting, (unsigned)i));

        if (is_known(group, name))
            continue;
        known_format(group, known, sizeof known);
        snprintf(shown, sizeof shown, "%s%s", group->shown, name);
        return config_file_error(group->file, shown, "unknown key, expected one of: %s", known);
    }
    return ERROR_NONE;
}

static enum error_code read_group(const struct group *group)
{
    enum error_code code = check_known(group);

    for (size_t i = 0; i < KEY_COUNT && code == ERROR_NONE; i++) {
        if (in_group(&keys[i], group) &&
            strpbrk(keys[i].path + strlen(group->prefix), ".[") == NULL)
            code = read_key(group, &keys[i]);
    }
    return code;
}

/* The list or array `name` of *parent: how many groups it has, from 1 to count_max. */
static enum error_code find_list(const struct group *parent, const char *name, uint32_t count_max,
                                 config_setting_t **list)
{
    char shown[CONFIG_KEY_SIZE];
    char got[96] = "nothing";

    *list = config_setting_get_member(parent->setting, name);
    if (*list != NULL && config_setting_is_list(*list)) {
        int count = config_setting_length(*list);

        if (count >= 1 && (uint32_t)count <= count_max)
            return ERROR_NONE;
        snprintf(got, sizeof got, "%d", count);
    } else if (*list != NULL) {
        got_format(*list, got, sizeof got);
    }
    snprintf(shown, sizeof shown, "%s%s", parent->shown, name);
    return config_file_error(parent->file, shown,
                             "expected a list ( ) of 1 to %u groups { }, got %s", count_max, got);
}

static enum error_code check_is_group(const struct group *group)
{
    char shown[CONFIG_KEY_SIZE];
    char got[96];

    if (group->setting == NULL || config_setting_is_group(group->setting))
        return ERROR_NONE;
    /* Without the dot that its keys need. */
    snprintf(shown, sizeof shown, "%.*s", (int)strlen(group->shown) - 1, group->shown);
    got_format(group->setting, got, sizeof got);
    return config_file_error(group->file, shown, "expected a group { }, got %s", got);
}

static enum error_code read_server(const struct group *host, config_setting_t *list, uint32_t i)
{
    struct config *config = host->file->config;
    struct config_server *server = &config->servers[config->server_count];
    char shown[CONFIG_KEY_SIZE];
    struct group group = { host->file, config_setting_get_elem(list, i), "hosts[].servers[].",
                           shown, server };
    enum error_code code;

    snprintf(shown, sizeof shown, "hosts[%u].servers[%u].", config->host_count, i);
    code = check_is_group(&group);
    if (code == ERROR_NONE)
        code = read_group(&group);
    server->host = config->host_count;
    memcpy(server->address, config->hosts[server->host].address, sizeof server->address);
    config->server_count++;
    return code;
}

static enum error_code read_host(struct config_file *file, config_setting_t *list, uint32_t i)
{
    char shown[CONFIG_KEY_SIZE];
    struct group group = { file, config_setting_get_elem(list, i), "hosts[].", shown,
                           &file->config->hosts[i] };
    config_setting_t *servers = NULL;
    enum error_code code;

    snprintf(shown, sizeof shown, "hosts[%u].", i);
    code = check_is_group(&group);
    if (code == ERROR_NONE)
        code = read_group(&group);
    if (code == ERROR_NONE)
        code = find_list(&group, "servers", SERVER_COUNT_MAX, &servers);
    for (int j = 0; code == ERROR_NONE && j < config_setting_length(servers); j++) {
        if (file->config->server_count == SERVER_COUNT_MAX) {
            snprintf(shown, sizeof shown, "hosts[%u].servers[%d]", i, j);
            return config_file_error(file, shown, "expected at most %u servers in a cluster",
                                     SERVER_COUNT_MAX);
        }
        code = read_server(&group, servers, (uint32_t)j);
    }
    file->config->host_count++;
    return code;
}

static enum error_code read_top(const struct group *root, const char *name)
{
    char prefix[CONFIG_KEY_SIZE];
    struct group group = { root->file, config_setting_get_member(root->setting, name), prefix,
                           prefix, root->base };
    enum error_code code;

    snprintf(prefix, sizeof prefix, "%s.", name);
    code = check_is_group(&group);
    return code == ERROR_NONE ? read_group(&group) : code;
}

enum error_code config_keys_read(struct config_file *file)
{
    struct group root = { file, config_root_setting(&file->tree), "", "", file->config };
    config_setting_t *hosts = NULL;
    enum error_code code = read_group(&root);

    for (size_t i = 0; i < GROUP_COUNT && code == ERROR_NONE; i++)
        code = read_top(&root, groups[i]);
    if (code == ERROR_NONE)
        code = find_list(&root, "hosts", HOST_COUNT_MAX, &hosts);
    for (int i = 0; code == ERROR_NONE && i < config_setting_length(hosts); i++)
        code = read_host(file, hosts, (uint32_t)i);
    return code;
}
