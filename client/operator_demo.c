/* demo: a cluster of its own, a load, a killed primary, and what followed, hop by hop; then every
 * process killed at once, and what the disks have kept. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/local.h"
#include "client/operator.h"
#include "client/operator_status.h"
#include "client/operator_table.h"
#include "client/operator_timeline.h"
#include "common/log.h"
#include "common/runtime.h"

#define LOAD_RATE        "1000"
#define LOAD_SECONDS     "5"
#define KILL_AFTER_MS    2000 /* into the load */
#define LAST_SECONDS     "2"  /* of the load in which everything is killed, half way */
#define KILL_ALL_MS      1000
#define CLIENT_WORDS_MAX 16u
#define LOAD_END_MS_MAX  20000
#define WHOLE_MS_MAX     15000u
#define STOP_MS_MAX      20000u
#define LOOK_MS          50u
#define STATUS_MS_MAX    2000u
#define OUTPUT_MAX       (1u << 20)
#define GONE_MS_MAX      5000u
#define STATUS_SIGNAL    128 /* and the signal: as a shell reports who was ended by one */
#define PROCESSES_MAX    (3u + HOST_COUNT_MAX + SERVER_COUNT_MAX) /* with launcher, gfd and rm */

struct demo {
    struct invocation call; /* with a run directory of its own */
    pid_t launcher;         /* 0: not running */
    pid_t client;           /* the load, or what reads back; 0: not running */
    int client_output;
    char records[2][CONFIG_PATH_SIZE]; /* what became of the writes of each load */
    bool colours;
    char victim[NAME_SIZE];
    uint64_t killed_us;
    struct timeline timeline;
};

/* The signal that asks for an early end; 0: none. What waits is interrupted by it. */
static volatile sig_atomic_t interrupted;

static void note_signal(int signal)
{
    interrupted = signal;
}

/* Ctrl-C and its like end the demo in order; who ignored them before us goes on to do so. */
static bool catch_signals(struct error *error)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP };

    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        const struct sigaction action = { .sa_handler = note_signal };

        if (!local_ignores(signals[i]) && sigaction(signals[i], &action, NULL) != 0) {
            error_system(error, "cannot catch signals");
            return false;
        }
    }
    return true;
}

/* One step of the story: a word, and a sentence. */
static void say(const struct demo *demo, enum table_colour colour, const char *word,
                const char *format, ...) __attribute__((format(printf, 4, 5)));
static void say(const struct demo *demo, enum table_colour colour, const char *word,
                const char *format, ...)
{
    struct buffer out = { 0 };
    char padded[16];
    char text[ERROR_TEXT_SIZE];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    snprintf(padded, sizeof padded, "%-8s", word);
    table_paint(colour, padded, demo->colours, &out);
    printf("%.*s%s\n", (int)buffer_size(&out), (const char *)buffer_head(&out), text);
    fflush(stdout);
    buffer_free(&out);
}

/* What fails as we were told to end is no failure, and is not told. */
static bool fail(const struct demo *demo, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static bool fail(const struct demo *demo, const char *format, ...)
{
    char text[ERROR_TEXT_SIZE];
    va_list arguments;

    if (interrupted)
        return false;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    say(demo, TABLE_RED, "FAILED", "%s", text);
    return false;
}

static bool start_cluster(struct demo *demo)
{
    struct instant began = runtime_now();
    char text[ERROR_TEXT_SIZE];
    struct error error;
    bool whole = false;

    say(demo, TABLE_BOLD, "start", "cluster %s: %" PRIu32 " servers on %" PRIu32 " hosts, in %s",
        demo->call.config.cluster, demo->call.config.server_count, demo->call.config.host_count,
        demo->call.config.run_dir);
    if (operator_detach(&demo->call, true, &demo->launcher, &whole, text, &error) != ERROR_NONE) {
        demo->launcher = 0;
        return fail(demo, "%s", error.text);
    }
    if (!whole)
        return fail(demo, "%s", text);
    say(demo, TABLE_BOLD, "", "%s (after %" PRIu64 " ms)", text,
        instant_since_ms(runtime_now(), began));
    return true;
}

/* holdfast-client in a process of its own, which reports in JSON. */
static bool start_client(struct demo *demo, const char *const *words)
{
    char program[PATH_MAX];
    const char *argv[CLIENT_WORDS_MAX + 4] = { program, "-c", demo->call.config.path };
    struct error error;
    int ends[2];

    if (interrupted)
        return false;
    for (size_t i = 0; words[i] != NULL; i++) {
        assert(i < CLIENT_WORDS_MAX);
        argv[3 + i] = words[i];
    }
    if (local_program("holdfast-client", program, sizeof program, &error) != ERROR_NONE)
        return fail(demo, "%s", error.text);
    if (pipe2(ends, O_CLOEXEC) != 0)
        return fail(demo, "cannot make a pipe: %s", strerror(errno));
    demo->client = fork();
    if (demo->client == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(ends[1], STDOUT_FILENO);
        execv(program, (char *const *)argv);
        _exit(127);
    }
    close(ends[1]);
    if (demo->client_output >= 0)
        close(demo->client_output);
    demo->client_output = ends[0];
    if (demo->client < 0) {
        demo->client = 0;
        return fail(demo, "cannot start the client: %s", strerror(errno));
    }
    return true;
}

static bool start_load(struct demo *demo)
{
    say(demo, TABLE_BOLD, "load",
        "%s writes per second for %s s over 10 connections, each write "
        "exactly once",
        LOAD_RATE, LOAD_SECONDS);
    return start_client(demo, (const char *const[]){ "load", "--rate", LOAD_RATE, "--seconds",
                                                     LOAD_SECONDS, "--connections", "10", "--once",
                                                     "--json", "--verify", "--record",
                                                     demo->records[0], NULL });
}

/* Writes that are under way when everything ends: what is not answered soon never will be. */
static bool start_last_load(struct demo *demo)
{
    say(demo, TABLE_BOLD, "load", "once more, %s writes per second", LOAD_RATE);
    return start_client(demo, (const char *const[]){ "load", "--rate", LOAD_RATE, "--seconds",
                                                     LAST_SECONDS, "--connections", "10", "--once",
                                                     "--json", "--deadline-ms", "500", "--record",
                                                     demo->records[1], NULL });
}

/* Waits; false when the load ended meanwhile, which is too early, or the demo is to end. */
static bool let_run(const struct demo *demo, int wait_ms)
{
    struct pollfd output = { .fd = demo->client_output, .events = POLLIN };

    if (poll(&output, 1, wait_ms) > 0)
        return fail(demo, "the load ended before the kill");
    return !interrupted;
}

static bool kill_primary(struct demo *demo)
{
    struct status *status = memory_take(sizeof *status);
    struct error error;
    node_id primary;
    pid_t pid;

    if (status_fetch(status, &demo->call.config, STATUS_MS_MAX, &error) != ERROR_NONE) {
        free(status);
        return fail(demo, "%s", error.text);
    }
    snprintf(demo->victim, sizeof demo->victim, "%s", status->primary);
    free(status);
    primary = config_node(&demo->call.config, demo->victim);
    pid = node_is_server(primary) ? local_node_pid(&demo->call.config, primary) : 0;
    if (pid <= 0 || !local_is_holdfast(pid))
        return fail(demo, "cannot find the process of the primary, \"%s\"", demo->victim);
    demo->killed_us = runtime_wall_us();
    if (kill(pid, SIGKILL) != 0)
        return fail(demo, "cannot kill %s: %s", demo->victim, strerror(errno));
    say(demo, TABLE_RED, "kill", "SIGKILL to the primary, %s (process %ld)", demo->victim,
        (long)pid);
    return true;
}

/* Reads the client's report to its end. */
static json_t *read_report(const struct demo *demo)
{
    struct instant deadline = instant_add_ms(runtime_now(), LOAD_END_MS_MAX);
    struct pollfd output = { .fd = demo->client_output, .events = POLLIN };
    struct buffer text = { 0 };
    json_t *report = NULL;
    ssize_t got = 1;

    while (got > 0 && buffer_size(&text) < OUTPUT_MAX) {
        if (poll(&output, 1, (int)instant_since_ms(deadline, runtime_now())) == 0 || interrupted)
            break;
        got = read(demo->client_output, buffer_reserve(&text, 4096), 4096);
        if (got > 0)
            buffer_commit(&text, (size_t)got);
        else if (got < 0 && errno == EINTR)
            got = 1;
    }
    if (got == 0)
        report = json_loadb((const char *)buffer_head(&text), buffer_size(&text), 0, NULL);
    buffer_free(&text);
    return report;
}

static uint64_t count_of(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

/* The wall clock's time of an instant of the monotonic clock, which the load counts by. */
static uint64_t wall_us(uint64_t monotonic_us)
{
    return monotonic_us + runtime_wall_us() - runtime_now().ns / 1000u;
}

/* The first acknowledgement after the gap that the kill made: the longest gap that began before the
 * new primary served and ended after the kill. Only the longest gaps of the load are reported: one
 * that is not among them was too short to be seen. */
static void note_answer(struct demo *demo, const json_t *report)
{
    uint64_t started_us = wall_us(count_of(report, "start_monotonic_us"));
    uint64_t served_us = demo->timeline.hops[HOP_SERVING].time_us;
    double longest_ms = 0, shortest_ms = 0;
    uint64_t end_us = served_us;
    const json_t *gap;
    char words[64];
    size_t i;

    json_array_foreach(json_object_get(report, "gaps"), i, gap)
    {
        double ms = json_number_value(json_object_get(gap, "ms"));
        double at_s = json_number_value(json_object_get(gap, "at_s"));
        uint64_t at_us = started_us + (uint64_t)(at_s * 1e6);

        shortest_ms = ms; /* they come longest first */
        if (at_us < demo->killed_us || at_us - (uint64_t)(ms * 1e3) > served_us || ms <= longest_ms)
            continue;
        longest_ms = ms;
        end_us = at_us;
    }
    if (longest_ms > 0)
        snprintf(words, sizeof words, "%.3f ms after the one before it", longest_ms);
    else
        snprintf(words, sizeof words, "no gap of %.3f ms or more was seen", shortest_ms);
    if (served_us != 0)
        timeline_note(&demo->timeline, HOP_ANSWERED, end_us, "client", words);
}

static bool judge_load(struct demo *demo, const json_t *report, int status)
{
    const json_t *verify = json_object_get(report, "verify");
    uint64_t refused =
        count_of(report, "errors") + count_of(report, "failed") + count_of(report, "unknown");
    bool held = json_is_true(json_object_get(report, "held")) && status == 0 && refused == 0;

    say(demo, held ? TABLE_GREEN : TABLE_RED, "verify",
        "%" PRIu64 " writes acknowledged and read back: %" PRIu64 " lost, %" PRIu64
        " done twice; %" PRIu64 " without an answer",
        count_of(verify, "acknowledged"), count_of(verify, "lost"), count_of(verify, "repeated"),
        refused);
    return held;
}

/* Reads what the daemons have logged. */
static void read_log(struct demo *demo)
{
    char path[CONFIG_PATH_SIZE];
    char line[4096];
    FILE *log;

    config_run_path(&demo->call.config, "holdfast.log", path);
    log = fopen(path, "re");
    if (log == NULL)
        return;
    while (fgets(line, sizeof line, log) != NULL)
        timeline_read(&demo->timeline, line);
    fclose(log);
}

/* Waits until all servers are members again. */
static bool wait_whole(const struct demo *demo)
{
    struct instant deadline = instant_add_ms(runtime_now(), WHOLE_MS_MAX);
    struct status *status = memory_take(sizeof *status);
    struct buffer line = { 0 };
    struct error error = { .text = "" };
    bool whole = false;

    do {
        if (status_fetch(status, &demo->call.config, STATUS_MS_MAX, &error) == ERROR_NONE)
            whole = status_is_whole(status);
        if (!whole)
            poll(NULL, 0, (int)LOOK_MS);
    } while (!whole && !interrupted && !instant_reached(runtime_now(), deadline));
    if (whole) {
        status_line(status, &line);
        say(demo, TABLE_GREEN, "whole", "%.*s", (int)buffer_size(&line),
            (const char *)buffer_head(&line));
    }
    buffer_free(&line);
    free(status);
    return whole || fail(demo, "%s is no member again after %u ms %s", demo->victim, WHOLE_MS_MAX,
                         error.text);
}

static bool show_timeline(struct demo *demo)
{
    struct buffer out = { 0 };
    bool whole;

    buffer_append_string(&out, "\n");
    timeline_write(&demo->timeline, demo->colours, &out);
    buffer_append_string(&out, "\n");
    fwrite(buffer_head(&out), 1, buffer_size(&out), stdout);
    buffer_free(&out);
    whole = timeline_is_whole(&demo->timeline);
    return whole || fail(demo, "a hop is missing in the log");
}

static bool end_client(struct demo *demo, json_t **report, int *status)
{
    *report = read_report(demo);
    if (*report == NULL)
        kill(demo->client, SIGKILL);
    waitpid(demo->client, status, 0);
    demo->client = 0;
    return *report != NULL || fail(demo, "the client gave no report");
}

/* Every process of the cluster, the launcher first and the servers last: nobody is to restart
 * anybody. */
static uint32_t find_all(const struct demo *demo, pid_t pids[PROCESSES_MAX])
{
    const struct config *config = &demo->call.config;
    uint32_t count = 0;

    pids[count++] = demo->launcher;
    for (uint32_t i = 0; i < config->host_count; i++)
        pids[count++] = local_node_pid(config, NODE_LFD(i));
    pids[count++] = local_node_pid(config, NODE_RM);
    pids[count++] = local_node_pid(config, NODE_GFD);
    for (uint32_t i = 0; i < config->server_count; i++)
        pids[count++] = local_node_pid(config, NODE_SERVER(i));
    for (uint32_t i = 0; i < count; i++)
        if (pids[i] <= 0 || !local_is_holdfast(pids[i]))
            return 0;
    return count;
}

static bool kill_all(struct demo *demo)
{
    pid_t pids[PROCESSES_MAX];
    uint32_t count = find_all(demo, pids);
    bool gone = true;

    if (count == 0)
        return fail(demo, "a process of the cluster is missing");
    for (uint32_t i = 0; i < count; i++)
        kill(pids[i], SIGKILL);
    for (uint32_t i = 0; i < count; i++) {
        gone = local_wait_gone(pids[i], GONE_MS_MAX) && gone;
        waitpid(pids[i], NULL, WNOHANG);
    }
    demo->launcher = 0;
    say(demo, TABLE_RED, "kill", "SIGKILL to all %" PRIu32 " processes of the cluster at once",
        count);
    return gone || fail(demo, "a killed process is still there after %u ms", GONE_MS_MAX);
}

/* When a primary served again, as the log says. */
static void say_served(struct demo *demo, uint64_t started_us)
{
    const struct timeline_hop *served = &demo->timeline.hops[HOP_SERVING];

    timeline_init(&demo->timeline, "", started_us);
    read_log(demo);
    if (served->time_us != 0)
        say(demo, TABLE_GREEN, "served", "%s serves as primary %.0f ms after the start",
            served->speaker, (double)(served->time_us - started_us) / 1e3);
}

struct read_back {
    uint64_t acknowledged, lost, repeated;
    bool held;
};

/* Reads back what the recorded writes came to. */
static bool read_record(struct demo *demo, const char *record, struct read_back *sum)
{
    const json_t *verify;
    json_t *report;
    int status = 0;

    if (!start_client(demo, (const char *const[]){ "verify", "--json", record, NULL }) ||
        !end_client(demo, &report, &status))
        return false;
    verify = json_object_get(report, "verify");
    sum->held = sum->held && status == 0 && json_is_true(json_object_get(report, "held"));
    sum->acknowledged += count_of(verify, "acknowledged");
    sum->lost += count_of(verify, "lost");
    sum->repeated += count_of(verify, "repeated");
    json_decref(report);
    return true;
}

static bool read_all(struct demo *demo, uint64_t expected)
{
    struct read_back sum = { .held = true };

    if (!read_record(demo, demo->records[0], &sum) || !read_record(demo, demo->records[1], &sum))
        return false;
    sum.held = sum.held && sum.acknowledged == expected;
    say(demo, sum.held ? TABLE_GREEN : TABLE_RED, "verify",
        "%" PRIu64 " of the %" PRIu64 " acknowledged writes of both loads are read back: %" PRIu64
        " lost, %" PRIu64 " done twice",
        sum.acknowledged - sum.lost, expected, sum.lost, sum.repeated);
    return sum.held;
}

/* Everything at once, in the middle of a load, and again from what is on the disks. */
static bool run_end(struct demo *demo, uint64_t acknowledged)
{
    json_t *report = NULL;
    uint64_t started_us;
    int status;

    if (!start_last_load(demo) || !let_run(demo, KILL_ALL_MS) || !kill_all(demo) ||
        !end_client(demo, &report, &status))
        return false;
    acknowledged += count_of(report, "ok");
    say(demo, TABLE_BOLD, "", "%" PRIu64 " writes of this load were acknowledged before that",
        count_of(report, "ok"));
    json_decref(report);
    started_us = runtime_wall_us();
    if (!start_cluster(demo))
        return false;
    say_served(demo, started_us);
    return read_all(demo, acknowledged);
}

static bool run_story(struct demo *demo)
{
    json_t *report = NULL;
    uint64_t acknowledged;
    int status = 0;
    bool held;

    if (!start_cluster(demo) || !start_load(demo) || !let_run(demo, KILL_AFTER_MS) ||
        !kill_primary(demo) || !end_client(demo, &report, &status))
        return false;
    timeline_init(&demo->timeline, demo->victim, demo->killed_us);
    held = wait_whole(demo);
    read_log(demo);
    note_answer(demo, report);
    held = show_timeline(demo) && held;
    held = judge_load(demo, report, status) && held;
    acknowledged = count_of(json_object_get(report, "verify"), "acknowledged");
    json_decref(report);
    return held && run_end(demo, acknowledged);
}

/* Stops whatever runs; the launcher leaves no process. */
static bool stop_all(struct demo *demo)
{
    int status = 0;
    bool stopped;

    if (interrupted)
        say(demo, TABLE_BOLD, "stop", "by signal %d", (int)interrupted);
    if (demo->client > 0) {
        kill(demo->client, SIGKILL);
        waitpid(demo->client, NULL, 0);
    }
    if (demo->launcher == 0)
        return false;
    kill(demo->launcher, SIGTERM);
    stopped = local_wait_gone(demo->launcher, STOP_MS_MAX) &&
              waitpid(demo->launcher, &status, 0) == demo->launcher && status == 0;
    if (stopped)
        say(demo, TABLE_BOLD, "stop", "every process has ended");
    return stopped || fail(demo, "the cluster did not stop in order");
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

int operator_demo(const struct invocation *call)
{
    const char *folder = getenv("TMPDIR");
    struct demo *demo = memory_zeroed(1, sizeof *demo);
    char run_dir[CONFIG_RUN_DIR_MAX + 1];
    struct error error;
    bool held;

    if (!catch_signals(&error)) {
        free(demo);
        return operator_failure(&error);
    }
    demo->call = *call;
    demo->colours = log_wants_colours(STDOUT_FILENO);
    demo->client_output = -1;
    snprintf(run_dir, sizeof run_dir, "%.60s/holdfast-demo-XXXXXX",
             folder != NULL && folder[0] == '/' ? folder : "/tmp");
    if (mkdtemp(run_dir) == NULL) {
        error_system(&error, "cannot make a directory like %s", run_dir);
        free(demo);
        return operator_failure(&error);
    }
    memcpy(demo->call.config.run_dir, run_dir, sizeof run_dir);
    config_run_path(&demo->call.config, "load-1", demo->records[0]);
    config_run_path(&demo->call.config, "load-2", demo->records[1]);
    /* Those whose parents are killed come to us: none stays a zombie. */
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);

    held = run_story(demo);
    held = stop_all(demo) && held;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
    if (held || interrupted)
        held = nftw(run_dir, remove_one, 8, FTW_DEPTH | FTW_PHYS) == 0 && held;
    else
        say(demo, TABLE_RED, "", "the logs are in %s", run_dir);
    printf("%s\n", interrupted ? "The demo was interrupted."
                   : held      ? "The cluster held."
                               : "The demo failed.");
    if (demo->client_output >= 0)
        close(demo->client_output);
    free(demo);
    return interrupted ? STATUS_SIGNAL + interrupted : held ? EXIT_SUCCESS : EXIT_FAILURE;
}
