/* What a server's directory holds beside segments and checkpoints: whose it is, what may be
 * believed of it, and what was damaged. */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/directory.h"
#include "common/log.h"
#include "server/storage_state.h"
#include "server/text_file.h"

#define IDENTITY_TITLE "holdfast server directory, format 1"
#define LIFE_TITLE     "holdfast server life, format 1"
#define JOURNAL        "journal-"
#define CHANGES        "changes-"
#define SPARE          "spare-"
#define ASIDE          "aside-"
#define BOOT_ID_PATH   "/proc/sys/kernel/random/boot_id"

static const char *const policy_words[] = {
    [FSYNC_ALWAYS] = "always",
    [FSYNC_INTERVAL] = "interval",
    [FSYNC_NEVER] = "never",
};

/* ---- Identity ---- */

static enum error_code refuse(const struct storage *s, struct error *error, const char *key,
                              const char *found, const char *expected)
{
    return error_set(error, ERROR_REFUSED,
                     "%s/identity: the directory is of %s \"%s\", expected \"%s\": give each its "
                     "own, or move this one away",
                     s->directory, key, found, expected);
}

static enum error_code identity_check(const struct storage *s, const char *text,
                                      struct error *error)
{
    const char *const keys[] = { "cluster", "server", "service" };
    const char *const own[] = { s->cluster, s->server, s->service };
    char value[TEXT_FILE_SIZE];

    if (strncmp(text, IDENTITY_TITLE "\n", sizeof IDENTITY_TITLE) != 0)
        return error_set(error, ERROR_REFUSED,
                         "%s/identity begins \"%.*s\", expected \"" IDENTITY_TITLE
                         "\": use the release that wrote it",
                         s->directory, (int)strcspn(text, "\n"), text);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        text_file_value(text, keys[i], value, sizeof value);
        if (strcmp(value, own[i]) != 0)
            return refuse(s, error, keys[i], value, own[i]);
    }
    return ERROR_NONE;
}

static enum error_code count_files(const struct storage *s, size_t *count, struct error *error)
{
    uint64_t *numbers, checkpoint;
    uint32_t checkpoints;

    if (files_list(s->directory, JOURNAL, "", &numbers, count, error) != ERROR_NONE)
        return error->code;
    free(numbers);
    if (checkpoint_list(s->directory, &checkpoint, 1, &checkpoints, error) != ERROR_NONE)
        return error->code;
    *count += checkpoints;
    return ERROR_NONE;
}

/* Its name must outlive a power cut as well as what is in it. */
static enum error_code sync_parent(const struct storage *s, struct error *error)
{
    char parent[PATH_MAX];
    char *slash;

    (void)snprintf(parent, sizeof parent, "%s", s->directory);
    slash = strrchr(parent, '/');
    if (slash)
        *slash = '\0';
    return files_sync_folder(s->options.files, slash ? (parent[0] ? parent : "/") : ".", error);
}

static enum error_code identity_write(const struct storage *s, struct error *error)
{
    char text[TEXT_FILE_SIZE];
    size_t count;

    if (count_files(s, &count, error) != ERROR_NONE)
        return error->code;
    if (count > 0)
        return error_set(error, ERROR_REFUSED,
                         "%s holds a journal or checkpoints, but no file \"identity\" that says "
                         "whose: expected one; bring it back, or move the directory away",
                         s->directory);
    (void)snprintf(text, sizeof text, IDENTITY_TITLE "\ncluster %s\nserver %s\nservice %s\n",
                   s->cluster, s->server, s->service);
    if (text_file_write(s->options.files, s->directory, "identity", text, error) != ERROR_NONE)
        return error->code;
    return sync_parent(s, error);
}

/* ---- Life ---- */

/* Empty, which is like no other, where the kernel does not say. */
static void boot_read(char boot[BOOT_ID_SIZE])
{
    int fd = open(BOOT_ID_PATH, O_RDONLY | O_CLOEXEC);
    ssize_t size = -1;

    if (fd >= 0) {
        size = read(fd, boot, BOOT_ID_SIZE - 1);
        close(fd);
    }
    boot[size > 0 ? size : 0] = '\0';
    boot[strcspn(boot, "\n")] = '\0';
}

#define LIVES_TEXT_SIZE (LIVES_MAX * 21u + 1u)

/* Each behind a space. */
static void lives_print(const struct lives *lives, char text[LIVES_TEXT_SIZE])
{
    size_t used = 0;

    text[0] = '\0';
    for (uint32_t i = 0; i < lives->count; i++)
        used += (size_t)snprintf(text + used, LIVES_TEXT_SIZE - used, " %" PRIu64,
                                 lives->incarnation[i]);
}

static void lives_parse(const char *text, struct lives *lives)
{
    char *end;

    for (;; text = end) {
        uint64_t incarnation = strtoull(text, &end, 10);

        if (end == text)
            return;
        lives_add(lives, incarnation);
    }
}

enum error_code folder_write_life(struct storage *s, struct error *error)
{
    char text[TEXT_FILE_SIZE], lives[LIVES_TEXT_SIZE];

    lives_print(&s->life.lives, lives);
    (void)snprintf(text, sizeof text,
                   LIFE_TITLE "\nboot %s\nfsync %s\nend %s\njournal %s\nlives%s\n"
                              "discarded %" PRIu64 " %" PRIu64 "\n",
                   s->life.boot, policy_words[s->life.fsync], s->life.clean ? "clean" : "unknown",
                   s->life.cut        ? "cut"
                   : s->life.complete ? "complete"
                                      : "incomplete",
                   lives, s->life.discarded.view, s->life.discarded.index);
    return text_file_write(s->options.files, s->directory, "life", text, error);
}

static void life_parse(const char *text, struct storage_life *life, bool *synced)
{
    char value[TEXT_FILE_SIZE];

    text_file_value(text, "boot", life->boot, sizeof life->boot);
    *synced = text_file_value(text, "fsync", value, sizeof value) && strcmp(value, "always") == 0;
    life->clean = text_file_value(text, "end", value, sizeof value) && strcmp(value, "clean") == 0;
    (void)text_file_value(text, "journal", value, sizeof value);
    life->cut = strcmp(value, "cut") == 0;
    life->complete = life->cut || strcmp(value, "complete") == 0;
    if (text_file_value(text, "lives", value, sizeof value))
        lives_parse(value, &life->lives);
    if (!life->complete && text_file_value(text, "discarded", value, sizeof value) &&
        sscanf(value, "%" SCNu64 " %" SCNu64, &life->discarded.view, &life->discarded.index) != 2)
        life->discarded = (struct journal_end){ 0 };
}

static void judge(struct storage_past *past, const struct storage_life *life, bool synced)
{
    bool kept = synced || life->clean || !past->rebooted;

    past->clean = life->clean;
    past->intact = life->complete && kept;
    past->cut = past->intact && life->cut;
    if (!life->complete && kept) {
        past->lives = life->lives;
        past->discarded = life->discarded;
    }
    if (!life->complete)
        (void)snprintf(past->reason, sizeof past->reason,
                       "the last life had not caught up with what earlier ones acknowledged");
    else if (!past->intact)
        (void)snprintf(past->reason, sizeof past->reason,
                       "the machine was started anew, and not all was synced before");
}

static enum error_code life_read(struct storage *s, struct storage_past *past, struct error *error)
{
    char text[TEXT_FILE_SIZE];
    struct storage_life life = { 0 };
    bool found, synced;
    enum error_code code =
        text_file_read(s->options.files, s->directory, "life", text, &found, error);

    boot_read(s->life.boot);
    s->life.fsync = s->options.fsync;
    if (code == ERROR_PROTOCOL)
        (void)snprintf(past->reason, sizeof past->reason,
                       "its file \"life\" is damaged: nothing is known of the last life");
    else if (code != ERROR_NONE)
        return code;
    if (code == ERROR_NONE && found) {
        life_parse(text, &life, &synced);
        past->rebooted = !life.boot[0] || strcmp(life.boot, s->life.boot) != 0;
        judge(past, &life, synced);
        s->life.lives = past->lives;
        s->life.discarded = past->discarded;
    } else {
        past->rebooted = true;
    }
    if (!found)
        (void)snprintf(past->reason, sizeof past->reason,
                       "its file \"life\" is missing: nothing is known of the last life");
    return ERROR_NONE;
}

enum error_code folder_open(struct storage *s, struct storage_past *past, struct error *error)
{
    char text[TEXT_FILE_SIZE];
    bool found;
    size_t count;

    *past = (struct storage_past){ 0 };
    if (directory_make(s->directory, error) != ERROR_NONE ||
        text_file_read(s->options.files, s->directory, "identity", text, &found, error) !=
            ERROR_NONE)
        return error->code;
    if ((found ? identity_check(s, text, error) : identity_write(s, error)) != ERROR_NONE)
        return error->code;
    if (life_read(s, past, error) != ERROR_NONE || count_files(s, &count, error) != ERROR_NONE)
        return error->code;
    past->fresh = count == 0;
    return ERROR_NONE;
}

/* ---- What cannot be used ---- */

/* Moves a file into a folder, or removes it when there is none. */
static enum error_code put_away(const struct storage *s, const char *name, const char *folder,
                                struct error *error)
{
    char path[PATH_MAX], to[PATH_MAX];

    (void)snprintf(path, sizeof path, "%s/%s", s->directory, name);
    if (!folder)
        return files_unlink(s->options.files, path, error);
    if ((size_t)snprintf(to, sizeof to, "%s/%s", folder, name) >= sizeof to)
        return error_set(error, ERROR_SYSTEM, "%s/%s: the path is too long", folder, name);
    return files_rename(s->options.files, path, to, error);
}

static enum error_code put_away_all(const struct storage *s, const char *prefix, const char *folder,
                                    struct error *error)
{
    uint64_t *numbers;
    size_t count;
    char name[64];
    enum error_code code = files_list(s->directory, prefix, "", &numbers, &count, error);

    if (code != ERROR_NONE)
        return code;
    for (size_t i = 0; i < count && code == ERROR_NONE; i++) {
        files_name(name, sizeof name, prefix, numbers[i], "");
        code = put_away(s, name, folder, error);
    }
    free(numbers);
    return code;
}

static enum error_code put_away_checkpoints(const struct storage *s, const char *folder,
                                            struct error *error)
{
    char path[PATH_MAX];
    uint64_t index;
    uint32_t count;

    for (;;) {
        if (checkpoint_list(s->directory, &index, 1, &count, error) != ERROR_NONE)
            return error->code;
        if (count == 0)
            return put_away_all(s, CHANGES, folder, error);
        checkpoint_path(s->directory, index, path, sizeof path);
        if (put_away(s, strrchr(path, '/') + 1, folder, error) != ERROR_NONE)
            return error->code;
    }
}

/* What is left half way must not be taken for a whole: that is on the disk first. It is already,
 * where the last life left nothing whole; on a full disk it could not be written, and what is
 * removed is what makes room. */
static enum error_code disown(struct storage *s, bool damaged, struct error *error)
{
    s->life.complete = s->life.cut = s->life.clean = false;
    if (damaged) { /* it may have held what they acknowledged */
        s->life.lives.count = 0;
        s->life.discarded = (struct journal_end){ 0 };
    }
    return damaged || s->past.intact ? folder_write_life(s, error) : ERROR_NONE;
}

static enum error_code put_away_everything(struct storage *s, const char *folder,
                                           struct error *error)
{
    if (disown(s, folder != NULL, error) != ERROR_NONE ||
        put_away_checkpoints(s, folder, error) != ERROR_NONE ||
        put_away_all(s, JOURNAL, folder, error) != ERROR_NONE ||
        put_away_all(s, SPARE, NULL, error) != ERROR_NONE)
        return error->code;
    if (folder && files_sync_folder(s->options.files, folder, error) != ERROR_NONE)
        return error->code;
    return files_sync_folder(s->options.files, s->directory, error);
}

enum error_code storage_discard(struct storage *s, struct error *error)
{
    assert(!s->running);
    return put_away_everything(s, NULL, error);
}

/* Removes a folder of files. What cannot be removed stays: it is in nobody's way. */
static void folder_remove(const char *path)
{
    DIR *folder = opendir(path);
    struct dirent *entry;

    while (folder && (entry = readdir(folder)))
        (void)unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder)
        (void)closedir(folder);
    if (rmdir(path) != 0)
        log_line(NOTE_WARN, "cannot remove %s: %s", path, strerror(errno));
}

static enum error_code asides_limit(const struct storage *s, struct error *error)
{
    char path[PATH_MAX], name[64];
    uint64_t *numbers;
    size_t count;

    if (files_list(s->directory, ASIDE, "", &numbers, &count, error) != ERROR_NONE)
        return error->code;
    for (size_t i = 0; i + STORAGE_ASIDES_MAX <= count; i++) {
        files_name(name, sizeof name, ASIDE, numbers[i], "");
        (void)snprintf(path, sizeof path, "%s/%s", s->directory, name);
        folder_remove(path);
    }
    free(numbers);
    return ERROR_NONE;
}

static enum error_code aside_make(const struct storage *s, const char *reason,
                                  char where[CONFIG_PATH_SIZE], struct error *error)
{
    char name[64], text[TEXT_FILE_SIZE];
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    files_name(name, sizeof name, ASIDE,
               (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u, "");
    (void)snprintf(text, sizeof text, "%.*s\n", (int)(sizeof text / 2), reason);
    if ((size_t)snprintf(where, CONFIG_PATH_SIZE, "%s/%s", s->directory, name) >= CONFIG_PATH_SIZE)
        return error_set(error, ERROR_SYSTEM, "%s: the path is too long", s->directory);
    if (asides_limit(s, error) != ERROR_NONE)
        return error->code;
    if (mkdir(where, 0700) != 0)
        return error_system(error, "cannot make the folder %s", where);
    return text_file_write(s->options.files, where, "reason", text, error);
}

enum error_code storage_set_aside(struct storage *s, const char *reason,
                                  char where[CONFIG_PATH_SIZE], struct error *error)
{
    assert(!s->running);
    if (aside_make(s, reason, where, error) != ERROR_NONE)
        return error->code;
    return put_away_everything(s, where, error);
}

enum error_code storage_set_aside_checkpoints(struct storage *s,
                                              const struct checkpoint_name *names, uint32_t count,
                                              const char *reason, char where[CONFIG_PATH_SIZE],
                                              struct error *error)
{
    char path[PATH_MAX];

    assert(!s->running);
    if (aside_make(s, reason, where, error) != ERROR_NONE)
        return error->code;
    for (uint32_t i = 0; i < count; i++) {
        checkpoint_name_path(s->directory, names[i], path, sizeof path);
        if (put_away(s, strrchr(path, '/') + 1, where, error) != ERROR_NONE)
            return error->code;
    }
    return files_sync_folder(s->options.files, s->directory, error);
}
