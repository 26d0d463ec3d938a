/* up and down: the cluster's processes of this machine. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/launcher.h"
#include "client/local.h"
#include "client/operator.h"
#include "client/operator_status.h"
#include "common/directory.h"
#include "common/log.h"

#define DOWN_MS_MAX    30000u /* above what a launcher takes at most to stop everything */
#define STATUS_MS_MAX  500u   /* for an rm of this machine */
#define LOG_TAIL_BYTES 4096   /* of the log, shown when a start fails */
#define LOG_FILE       "holdfast.log"

/* What the detached launcher tells who started it, through a pipe: one of these, and a text. */
enum detach_word { DETACH_WHOLE = 'w', DETACH_PARTLY = 'p', DETACH_FAILED = 'f' };

static void tell(int pipe_fd, enum detach_word word, const char *text)
{
    char line[ERROR_TEXT_SIZE + 1];
    int size = snprintf(line, sizeof line, "%c%s", (char)word, text);

    /* Nobody may listen any more, which is no reason to stop. */
    if (write(pipe_fd, line, size < (int)sizeof line ? (size_t)size : sizeof line - 1) < 0)
        log_line(NOTE_DEBUG, "nobody hears that the cluster has started");
    close(pipe_fd);
}

static void told_ready(void *context, bool whole, const char *text)
{
    int *pipe_fd = context;

    tell(*pipe_fd, whole ? DETACH_WHOLE : DETACH_PARTLY, text);
    *pipe_fd = -1;
}

/* Runs a launcher in this process, until it is told to stop. */
static enum error_code run(const struct invocation *call, int *pipe_fd, struct error *error)
{
    struct launcher launcher;
    struct launcher_options options = {
        .config = &call->config,
        .verbose = call->verbose,
        .ready = pipe_fd != NULL ? told_ready : NULL,
        .context = pipe_fd,
    };
    enum error_code code = launcher_open(&launcher, &options, error);

    if (code == ERROR_NONE)
        code = launcher_run(&launcher, error);
    launcher_close(&launcher);
    return code;
}

/* stdout and stderr go to the log, stdin is empty; in a session of its own. */
static enum error_code detach_streams(const struct config *config, struct error *error)
{
    char path[CONFIG_PATH_SIZE];
    int log, null;

    config_run_path(config, LOG_FILE, path);
    null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (null < 0 || log < 0)
        return error_system(error, "cannot open the log %s", path);
    if (setsid() < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(log, STDOUT_FILENO) < 0 ||
        dup2(log, STDERR_FILENO) < 0)
        return error_system(error, "cannot detach from the terminal");
    close(null);
    close(log);
    return ERROR_NONE;
}

_Noreturn static void run_detached(const struct invocation *call, int pipe_fd)
{
    struct error error;
    enum error_code code = detach_streams(&call->config, &error);

    if (code == ERROR_NONE) {
        log_open("holdfast", call->verbose);
        code = run(call, &pipe_fd, &error);
        if (code != ERROR_NONE)
            log_failure(&error);
    }
    if (code != ERROR_NONE && pipe_fd >= 0)
        tell(pipe_fd, DETACH_FAILED, error.text);
    _exit(code == ERROR_NONE ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* Reads the word and the text; DETACH_FAILED when it ended without one. */
static enum detach_word hear(int pipe_fd, char text[ERROR_TEXT_SIZE])
{
    char line[ERROR_TEXT_SIZE + 1];
    size_t used = 0;
    ssize_t got;

    do {
        got = read(pipe_fd, line + used, sizeof line - 1 - used);
        used += got > 0 ? (size_t)got : 0;
    } while (got > 0 || (got < 0 && errno == EINTR));
    line[used] = '\0';
    if (used == 0) {
        snprintf(text, ERROR_TEXT_SIZE, "the launcher ended without a word");
        return DETACH_FAILED;
    }
    snprintf(text, ERROR_TEXT_SIZE, "%s", line + 1);
    return (enum detach_word)line[0];
}

enum error_code operator_detach(const struct invocation *call, bool bound, pid_t *launcher,
                                bool *whole, char text[ERROR_TEXT_SIZE], struct error *error)
{
    enum detach_word word;
    int ends[2];

    if (directory_make(call->config.run_dir, error) != ERROR_NONE)
        return error->code;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_system(error, "cannot make a pipe");
    *launcher = fork();
    if (*launcher == 0) {
        close(ends[0]);
        if (bound)
            prctl(PR_SET_PDEATHSIG, SIGTERM);
        run_detached(call, ends[1]);
    }
    close(ends[1]);
    if (*launcher < 0) {
        close(ends[0]);
        return error_system(error, "cannot start the launcher");
    }
    word = hear(ends[0], text);
    close(ends[0]);
    *whole = word == DETACH_WHOLE;
    if (word != DETACH_FAILED)
        return ERROR_NONE;
    waitpid(*launcher, NULL, 0);
    return error_set(error, ERROR_REFUSED, "%s", text);
}

static off_t log_size(const struct config *config)
{
    char path[CONFIG_PATH_SIZE];
    struct stat status;

    config_run_path(config, LOG_FILE, path);
    return stat(path, &status) == 0 ? status.st_size : 0;
}

/* What the daemons have said since the log had so many bytes, for who cannot see it: the end of it,
 * if there is more than the one line of the error that follows. */
static void show_log_tail(const struct config *config, off_t since)
{
    char path[CONFIG_PATH_SIZE];
    char tail[LOG_TAIL_BYTES + 1];
    const char *from = tail;
    off_t size = log_size(config);
    bool cut = size - since > LOG_TAIL_BYTES;
    ssize_t got;
    int fd;

    config_run_path(config, LOG_FILE, path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    got = pread(fd, tail, LOG_TAIL_BYTES, cut ? size - LOG_TAIL_BYTES : since);
    close(fd);
    tail[got > 0 ? got : 0] = '\0';
    if (cut && strchr(tail, '\n') != NULL)
        from = strchr(tail, '\n') + 1;
    if (strchr(from, '\n') != strrchr(from, '\n'))
        fprintf(stderr, "the end of %s:\n%s\n", path, from);
}

/* The command that ends what this one has started. */
static void print_down(const struct invocation *call)
{
    const char *known = getenv("HOLDFAST_CONFIG");

    printf("`holdfast");
    if (known == NULL || strcmp(known, call->config.path) != 0)
        printf(" -c %s", call->config.path);
    if (call->run_dir != NULL)
        printf(" --run-dir %s", call->run_dir);
    printf(" down`");
}

static int up_detached(const struct invocation *call)
{
    char text[ERROR_TEXT_SIZE];
    off_t log_before = log_size(&call->config);
    struct error error;
    pid_t launcher;
    bool whole = false;

    if (operator_detach(call, false, &launcher, &whole, text, &error) != ERROR_NONE) {
        if (launcher_pid(&call->config) == 0)
            show_log_tail(&call->config, log_before);
        return operator_failure(&error);
    }
    printf("%s\n%s/%s has its log; ", text, call->config.run_dir, LOG_FILE);
    print_down(call);
    printf(" stops it\n");
    return whole ? EXIT_SUCCESS : EXIT_FAILURE;
}

int operator_up(const struct invocation *call)
{
    struct error error;

    if (call->daemon)
        return up_detached(call);
    log_open("holdfast", call->verbose);
    if (run(call, NULL, &error) != ERROR_NONE)
        return operator_failure(&error);
    return EXIT_SUCCESS;
}

/* The rm of the cluster on this machine, which has another run directory; 0 if none answers. */
static pid_t rm_elsewhere(const struct config *config)
{
    struct status *status;
    struct error error;
    pid_t pid = 0;

    if (!local_address(config->rm.address))
        return 0;
    status = memory_take(sizeof *status);
    if (status_fetch(status, config, STATUS_MS_MAX, &error) == ERROR_NONE &&
        strcmp(status->cluster, config->cluster) == 0 && local_is_holdfast((pid_t)status->rm.pid))
        pid = (pid_t)status->rm.pid;
    free(status);
    return pid;
}

static int nothing_runs(const struct invocation *call)
{
    const struct config *config = &call->config;
    pid_t rm = rm_elsewhere(config);
    char run_dir[PATH_MAX];
    struct error error;

    if (rm == 0) {
        printf("nothing of cluster %s runs in %s\n", config->cluster, config->run_dir);
        return EXIT_SUCCESS;
    }
    if (!local_run_dir(rm, run_dir, sizeof run_dir))
        snprintf(run_dir, sizeof run_dir, "another directory");
    error_set(&error, ERROR_REFUSED,
              "nothing of cluster %s runs in %s, but its rm, process %ld, runs in %s: expected "
              "that as --run-dir",
              config->cluster, config->run_dir, (long)rm, run_dir);
    return operator_failure(&error);
}

/* Without a launcher: stops whoever holds a lock in the run directory. */
static int stop_what_is_left(const struct invocation *call)
{
    struct launcher launcher;
    struct launcher_options options = { .config = &call->config };
    struct error error;
    bool any;

    /* Who may not look could not tell whether anything runs. */
    if (access(call->config.run_dir, W_OK | X_OK) != 0) {
        if (errno == ENOENT)
            return nothing_runs(call);
        error_system(&error, "cannot use the run directory %s", call->config.run_dir);
        return operator_failure(&error);
    }
    log_open("holdfast", call->verbose);
    if (launcher_open(&launcher, &options, &error) != ERROR_NONE) {
        launcher_close(&launcher);
        return operator_failure(&error);
    }
    any = launcher_stop(&launcher);
    launcher_close(&launcher);
    if (!any)
        return nothing_runs(call);
    printf("cluster %s is down on this machine\n", call->config.cluster);
    return EXIT_SUCCESS;
}

int operator_down(const struct invocation *call)
{
    pid_t pid = launcher_pid(&call->config);
    struct error error;

    if (pid <= 0 || !local_is_holdfast(pid))
        return stop_what_is_left(call);
    if (kill(pid, SIGTERM) != 0 && errno != ESRCH) {
        error_system(&error, "cannot stop the launcher, process %ld", (long)pid);
        return operator_failure(&error);
    }
    kill(pid, SIGCONT);
    if (!local_wait_gone(pid, DOWN_MS_MAX)) {
        error_set(&error, ERROR_REFUSED, "the launcher, process %ld, has not ended within %u ms",
                  (long)pid, DOWN_MS_MAX);
        return operator_failure(&error);
    }
    printf("cluster %s is down on this machine\n", call->config.cluster);
    return EXIT_SUCCESS;
}
