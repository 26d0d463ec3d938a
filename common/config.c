#include "common/config_file.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX ((size_t)1024 * 1024) /* a cluster of 16 servers needs a few thousand */

config_setting_t *config_file_find(const struct config_file *file, const char *key)
{
    config_setting_t *found = config_root_setting(&file->tree);
    const char *rest = key;

    while (found != NULL && *rest != '\0') {
        char name[CONFIG_KEY_SIZE];
        int size = (int)strcspn(rest, ".[");

        if (*rest == '[') {
            found = config_setting_get_elem(found, (unsigned)strtoul(rest + 1, NULL, 10));
            rest += strcspn(rest, "]");
            rest += *rest == ']';
        } else {
            snprintf(name, sizeof name, "%.*s", size, rest);
            found = config_setting_get_member(found, name);
            rest += size;
        }
        rest += *rest == '.';
    }
    return found;
}

unsigned config_file_line(const struct config_file *file, const char *key)
{
    char path[CONFIG_KEY_SIZE];
    const config_setting_t *setting;

    snprintf(path, sizeof path, "%s", key);
    while ((setting = config_file_find(file, path)) == NULL) {
        char *cut = path + strlen(path);

        do
            cut--;
        while (cut > path && *cut != '.' && *cut != '[');
        *cut = '\0';
    }
    return config_setting_source_line(setting);
}

enum error_code config_file_error(const struct config_file *file, const char *key,
                                  const char *format, ...)
{
    unsigned line = config_file_line(file, key);
    char text[ERROR_TEXT_SIZE];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (line == 0)
        return error_set(file->error, ERROR_CONFIG, "%s: %s: %s", file->config->path, key, text);
    return error_set(file->error, ERROR_CONFIG, "%s:%u: %s: %s", file->config->path, line, key,
                     text);
}

/* Reads a regular file into text, which has room for FILE_BYTES_MAX + 1 bytes. */
static enum error_code read_whole(int fd, const char *path, char *text, struct error *error)
{
    struct stat status;
    size_t used = 0;
    ssize_t got;

    if (fstat(fd, &status) != 0)
        return error_system(error, "%s: cannot look at the file", path);
    if (!S_ISREG(status.st_mode))
        return error_set(error, ERROR_CONFIG, "%s: expected a file", path);
    do {
        got = read(fd, text + used, FILE_BYTES_MAX + 1 - used);
        used += got > 0 ? (size_t)got : 0;
    } while ((got > 0 && used <= FILE_BYTES_MAX) || (got < 0 && errno == EINTR));
    if (got < 0)
        return error_system(error, "%s: cannot read", path);
    if (used > FILE_BYTES_MAX)
        return error_set(error, ERROR_CONFIG, "%s: expected a file of at most %zu bytes", path,
                         FILE_BYTES_MAX);
    text[used] = '\0';
    if (strlen(text) != used)
        return error_set(error, ERROR_CONFIG, "%s: expected a text, got a zero byte", path);
    return ERROR_NONE;
}

/* Past a comment or a string that begins here; the same place when none does. */
static const char *skip_text(const char *at)
{
    if (*at == '#' || strncmp(at, "//", 2) == 0)
        return at + strcspn(at, "\n");
    if (strncmp(at, "/*", 2) == 0) {
        const char *end = strstr(at + 2, "*/");

        return end ? end + 2 : at + strlen(at);
    }
    if (*at != '"')
        return at;
    for (at++; *at != '\0' && *at != '"'; at++)
        at += at[0] == '\\' && at[1] != '\0';
    return at + (*at == '"');
}

/* libconfig 1.5 takes a number of more than 32 bits for another one, without a word. */
static enum error_code check_numbers(const char *path, const char *text, struct error *error)
{
    unsigned line = 1;
    const char *end;

    for (const char *at = text; *at != '\0'; at = end) {
        end = skip_text(at);
        if (end == at && isdigit((unsigned char)*at)) {
            int base = strncasecmp(at, "0x", 2) == 0 ? 16 : 10;
            unsigned long long number = strtoull(at, NULL, base);

            end += strspn(at, "0123456789abcdefABCDEFxX");
            if (number > INT32_MAX && *end != 'L')
                return error_set(error, ERROR_CONFIG, "%s:%u: expected numbers up to %d, got %.*s",
                                 path, line, INT32_MAX, (int)(end - at), at);
        } else if (end == at && isalpha((unsigned char)*at)) {
            while (isalnum((unsigned char)*end) || *end == '_' || *end == '-')
                end++;
        } else if (end == at) {
            end++;
        }
        for (const char *c = at; c < end; c++)
            line += *c == '\n';
    }
    return ERROR_NONE;
}

static enum error_code parse(struct config_file *file, struct error *error)
{
    const char *path = file->config->path;
    char *text;
    enum error_code code;
    int fd;

    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        error_system(error, "%s: cannot open the config file", path);
        return error->code = ERROR_CONFIG;
    }
    text = memory_take(FILE_BYTES_MAX + 1);
    code = read_whole(fd, path, text, error);
    close(fd);
    if (code == ERROR_NONE)
        code = check_numbers(path, text, error);
    if (code == ERROR_NONE && config_read_string(&file->tree, text) != CONFIG_TRUE)
        code = error_set(error, ERROR_CONFIG, "%s:%d: %s", path, config_error_line(&file->tree),
                         config_error_text(&file->tree));
    free(text);
    return code;
}

static void names_set(const struct config *config)
{
    char name[NAME_SIZE];

    for (uint32_t i = 0; i < config->host_count; i++) {
        snprintf(name, sizeof name, "lfd%u", i + 1);
        node_name_set(NODE_LFD(i), name);
    }
    for (uint32_t i = 0; i < config->server_count; i++)
        node_name_set(NODE_SERVER(i), config->servers[i].name);
}

enum error_code config_load(struct config *config, const char *path, struct error *error)
{
    struct config_file file = { .config = config, .error = error };
    enum error_code code;

    memset(config, 0, sizeof *config);
    if (strlen(path) >= sizeof config->path)
        return error_set(error, ERROR_CONFIG, "%s: expected a path of at most %u bytes", path,
                         CONFIG_PATH_SIZE - 1);
    memcpy(config->path, path, strlen(path) + 1);
    config_init(&file.tree);
    code = parse(&file, error);
    if (code == ERROR_NONE)
        code = config_keys_read(&file);
    if (code == ERROR_NONE)
        code = config_check(&file);
    config_destroy(&file.tree);
    if (code != ERROR_NONE)
        return code;
    if (config->run_dir[0] == '\0')
        snprintf(config->run_dir, sizeof config->run_dir, "run/%s", config->cluster);
    names_set(config);
    return ERROR_NONE;
}

enum error_code config_run_dir_set(struct config *config, const char *run_dir, struct error *error)
{
    if (run_dir == NULL)
        return ERROR_NONE;
    if (run_dir[0] == '\0' || strlen(run_dir) > CONFIG_RUN_DIR_MAX)
        return error_set(error, ERROR_USAGE,
                         "--run-dir: expected a path of 1 to %u bytes, as sockets in it must be "
                         "short, got \"%.200s\"",
                         CONFIG_RUN_DIR_MAX, run_dir);
    memcpy(config->run_dir, run_dir, strlen(run_dir) + 1);
    return ERROR_NONE;
}

node_id config_node(const struct config *config, const char *name)
{
    char lfd[NAME_SIZE];

    if (strcmp(name, "rm") == 0)
        return NODE_RM;
    if (strcmp(name, "gfd") == 0)
        return NODE_GFD;
    for (uint32_t i = 0; i < config->server_count; i++) {
        if (strcmp(name, config->servers[i].name) == 0)
            return NODE_SERVER(i);
    }
    for (uint32_t i = 0; i < config->host_count; i++) {
        snprintf(lfd, sizeof lfd, "lfd%u", i + 1);
        if (strcmp(name, config->hosts[i].name) == 0 || strcmp(name, lfd) == 0)
            return NODE_LFD(i);
    }
    return NODE_NONE;
}

void config_run_path(const struct config *config, const char *file, char path[CONFIG_PATH_SIZE])
{
    int size = snprintf(path, CONFIG_PATH_SIZE, "%s/%s", config->run_dir, file);

    /* Both are bounded: the directory by its key's range, the file by the names'. */
    assert(size > 0 && (size_t)size < CONFIG_PATH_SIZE);
}

uint32_t config_acks(const struct config *config, uint32_t member_count)
{
    switch (config->replication.acks) {
    case ACKS_ALL: return member_count;
    case ACKS_MAJORITY: return member_count ? member_count / 2 + 1 : 0;
    case ACKS_COUNT: break;
    }
    return config->replication.acks_count <= member_count ? config->replication.acks_count : 0;
}
