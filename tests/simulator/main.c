/* holdfast-sim - runs clusters by seed, and says which seeds fail. README.md says what is checked.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/simulator/sim.h"

#define SEED_SECONDS_MAX 60 /* of the processor: then it hangs */
#define JOBS_MAX         64u
#define SERVERS_MAX      7u

struct arguments {
    uint64_t seed, seeds;
    uint32_t jobs;
    int32_t servers, clients, style, faults_ms; /* below 0: as drawn */
    bool verbose, messages;
    const char *history; /* NULL: it is not written */
};

static const char usage[] =
    "usage: holdfast-sim [options]\n"
    "  --seed N        the first seed, default 1\n"
    "  --seeds COUNT   how many, default 1\n"
    "  --jobs N        processes that share them, default 1\n"
    "  --servers N     1 to 7 servers, each on a host of its own, instead of what the seed\n"
    "                  draws\n"
    "  --clients N     0 to 20 clients with sessions, instead of what the seed draws; its\n"
    "                  other clients (plain, readers, pipelines) stay\n"
    "  --style S       active or passive instead of what the seed draws\n"
    "  --faults-ms N   how long there are faults; 0: there are none\n"
    "  --verbose       prints what happens; the same for the same arguments\n"
    "  --messages      prints every message, too\n"
    "  --history FILE  with one seed: writes what clients asked and were told, for\n"
    "                  holdfast-linearizable\n"
    "Prints a line for each seed that fails and a summary; exit status 1 if any failed.\n";

static char running[128]; /* how to replay what runs now, for the handler of its abort */

/* A failed assertion of a core: says which run it was, as nobody else can any more. */
static void on_abort(int signal)
{
    static const char hung[] = "takes too long: ";
    size_t size = strlen(running);

    if (signal == SIGPROF && write(STDERR_FILENO, hung, sizeof hung - 1) < 0)
        _exit(1);
    if (write(STDERR_FILENO, running, size) < 0)
        _exit(1);
    _exit(3);
}

static void replay_format(const struct arguments *a, uint64_t seed, char *text, size_t size)
{
    size_t used =
        (size_t)snprintf(text, size, "holdfast-sim --seed %llu", (unsigned long long)seed);

    if (a->servers >= 0 && used < size)
        used += (size_t)snprintf(text + used, size - used, " --servers %d", a->servers);
    if (a->clients >= 0 && used < size)
        used += (size_t)snprintf(text + used, size - used, " --clients %d", a->clients);
    if (a->style >= 0 && used < size)
        used += (size_t)snprintf(text + used, size - used, " --style %s",
                                 style_name((uint8_t)a->style));
    if (a->faults_ms >= 0 && used < size)
        snprintf(text + used, size - used, " --faults-ms %d", a->faults_ms);
}

static bool history_save(const struct sim *sim, const char *path)
{
    FILE *out = fopen(path, "w");
    bool good;

    if (!out) {
        fprintf(stderr, "holdfast-sim: cannot open %s: %s\n", path, strerror(errno));
        return false;
    }
    sim_history_write(sim, out);
    good = !ferror(out);
    if (fclose(out) != 0 || !good) {
        fprintf(stderr, "holdfast-sim: cannot write %s: %s\n", path, strerror(errno));
        return false;
    }
    return true;
}

/* Seconds of processor time, not of the clock: a busy machine fails no seed. 0: no end. */
static void seconds_allowed(time_t seconds)
{
    struct itimerval timer = { .it_value.tv_sec = seconds };

    if (setitimer(ITIMER_PROF, &timer, NULL) != 0) {
        fprintf(stderr, "holdfast-sim: cannot set a timer: %s\n", strerror(errno));
        exit(1);
    }
}

static bool seed_play(const struct arguments *a, uint64_t seed)
{
    struct sim_options options;
    struct sim *sim;
    bool good;
    char replay[100];

    replay_format(a, seed, replay, sizeof replay);
    snprintf(running, sizeof running, "seed %llu failed: replay: %s\n", (unsigned long long)seed,
             replay);
    sim_options_drawn(&options, seed);
    if (a->servers >= 0) {
        options.servers = options.hosts = (uint32_t)a->servers;
        if (options.acks_count > options.servers)
            options.acks_count = options.servers;
    }
    if (a->clients >= 0)
        options.session_clients = (uint32_t)a->clients;
    if (a->style >= 0)
        options.style = (enum style)a->style;
    if (a->faults_ms >= 0)
        options.faults_ms = (uint32_t)a->faults_ms;
    options.trace = a->verbose || a->messages ? stdout : NULL;
    options.trace_messages = a->messages;
    seconds_allowed(SEED_SECONDS_MAX);
    sim = sim_new(&options);
    sim_play(sim);
    good = !sim_failure(sim);
    if (!good)
        printf("seed %llu failed: %s: replay: %s\n", (unsigned long long)seed, sim_failure(sim),
               replay);
    if (a->history && !history_save(sim, a->history))
        good = false;
    sim_free(sim);
    seconds_allowed(0);
    fflush(stdout);
    return good;
}

/* What a child tells: how far it is, and how many failed. */
struct progress {
    uint64_t next, failed;
};

static void child_run(const struct arguments *a, uint64_t first, uint32_t step, int to)
{
    struct progress progress = { .next = first };

    while (progress.next < a->seed + a->seeds) {
        bool good = seed_play(a, progress.next);

        progress.next += step;
        progress.failed = good ? 0 : 1;
        if (write(to, &progress, sizeof progress) != (ssize_t)sizeof progress)
            _exit(1);
    }
    exit(0); /* not _exit: coverage is written then */
}

/* One of the processes that share the seeds, and where it is. */
struct job {
    pid_t pid;
    int from;
    uint64_t next, failed, done;
};

static void job_start(const struct arguments *a, struct job *job)
{
    int ends[2];

    fflush(stdout);
    if (pipe(ends) != 0 || (job->pid = fork()) < 0) {
        fprintf(stderr, "holdfast-sim: cannot start a process: %s\n", strerror(errno));
        exit(1);
    }
    if (job->pid == 0) {
        close(ends[0]);
        child_run(a, job->next, a->jobs, ends[1]);
    }
    close(ends[1]);
    job->from = ends[0];
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Takes in what a job tells. A seed that ends its process counts as failed, and the next one goes
 * on. */
static void job_hear(const struct arguments *a, struct job *job)
{
    struct progress progress;
    ssize_t got = read(job->from, &progress, sizeof progress);

    if (got < 0 && errno == EINTR)
        return;
    if (got == (ssize_t)sizeof progress) {
        job->next = progress.next;
        job->failed += progress.failed;
        job->done++;
        return;
    }
    close(job->from);
    job->from = -1;
    while (waitpid(job->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    if (job->next >= a->seed + a->seeds)
        return;
    job->failed++;
    job->done++;
    job->next += a->jobs;
    if (job->next < a->seed + a->seeds)
        job_start(a, job);
}

static void jobs_sum(const struct job *jobs, uint32_t count, uint64_t *done, uint64_t *failed)
{
    *done = *failed = 0;
    for (uint32_t i = 0; i < count; i++) {
        *done += jobs[i].done;
        *failed += jobs[i].failed;
    }
}

/* Somebody who watches sees how far it is, once a second. */
static void progress_say(const struct arguments *a, const struct job *jobs, double start,
                         double *said)
{
    double now = seconds();
    uint64_t done, failed;

    if (now - *said < 1 || !isatty(STDERR_FILENO))
        return;
    *said = now;
    jobs_sum(jobs, a->jobs, &done, &failed);
    fprintf(stderr, "\r%llu of %llu seeds, %llu failed, %.1f seeds/s ", (unsigned long long)done,
            (unsigned long long)a->seeds, (unsigned long long)failed, (double)done / (now - start));
}

/* Until all have ended. */
static void jobs_follow(const struct arguments *a, struct job *jobs, double start)
{
    double said = start;

    for (;;) {
        struct pollfd ends[JOBS_MAX];
        uint32_t open = 0;

        for (uint32_t i = 0; i < a->jobs; i++) {
            ends[i] = (struct pollfd){ .fd = jobs[i].from, .events = POLLIN };
            open += jobs[i].from >= 0;
        }
        if (open == 0)
            return;
        if (poll(ends, a->jobs, 1000) < 0 && errno != EINTR)
            return;
        for (uint32_t i = 0; i < a->jobs; i++)
            if (jobs[i].from >= 0 && (ends[i].revents & (POLLIN | POLLHUP)))
                job_hear(a, &jobs[i]);
        progress_say(a, jobs, start, &said);
    }
}

static int seeds_play(const struct arguments *a)
{
    struct job jobs[JOBS_MAX] = { 0 };
    double start = seconds();
    double took;
    uint64_t done, failed;

    for (uint32_t i = 0; i < a->jobs; i++) {
        jobs[i].next = a->seed + i;
        job_start(a, &jobs[i]);
    }
    jobs_follow(a, jobs, start);
    jobs_sum(jobs, a->jobs, &done, &failed);
    took = seconds() - start;
    printf("%llu seeds from %llu on, %llu failed, %.1f s, %.1f seeds/s\n", (unsigned long long)done,
           (unsigned long long)a->seed, (unsigned long long)failed, took,
           (double)done / (took > 0 ? took : 1));
    return failed ? 1 : 0;
}

static bool number(const char *text, uint64_t low, uint64_t high, uint64_t *value)
{
    char *end;

    errno = 0;
    *value = strtoull(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && text[0] != '-' && *value >= low &&
           *value <= high;
}

/* Takes one option; false when its value is out of range. */
static bool option_take(struct arguments *a, int option, const char *text)
{
    uint64_t value = 0;
    bool good = true;

    switch (option) {
    case 's': good = number(text, 0, UINT64_MAX / 2, &a->seed); break;
    case 'n': good = number(text, 1, UINT64_MAX / 4, &a->seeds); break;
    case 'j':
        good = number(text, 1, JOBS_MAX, &value);
        a->jobs = (uint32_t)value;
        break;
    case 'r':
        good = number(text, 1, SERVERS_MAX, &value);
        a->servers = (int32_t)value;
        break;
    case 'c':
        good = number(text, 0, 20, &value);
        a->clients = (int32_t)value;
        break;
    case 'f':
        good = number(text, 0, 1000000, &value);
        a->faults_ms = (int32_t)value;
        break;
    case 'y':
        a->style = strcmp(text, "passive") == 0 ? STYLE_PASSIVE : STYLE_ACTIVE;
        good = strcmp(text, style_name((uint8_t)a->style)) == 0;
        break;
    case 'v': a->verbose = true; break;
    case 'o': a->history = text; break;
    default: a->messages = true; break;
    }
    return good;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "seed", required_argument, NULL, 's' },
        { "seeds", required_argument, NULL, 'n' },
        { "jobs", required_argument, NULL, 'j' },
        { "servers", required_argument, NULL, 'r' },
        { "clients", required_argument, NULL, 'c' },
        { "style", required_argument, NULL, 'y' },
        { "faults-ms", required_argument, NULL, 'f' },
        { "verbose", no_argument, NULL, 'v' },
        { "messages", no_argument, NULL, 'm' },
        { "history", required_argument, NULL, 'o' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    struct arguments a = {
        .seed = 1, .seeds = 1, .jobs = 1, .servers = -1, .clients = -1, .style = -1, .faults_ms = -1
    };
    int option;

    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(usage, stdout);
            return 0;
        }
        if (option == '?' || !option_take(&a, option, optarg)) {
            fprintf(stderr, "%s%s", option == '?' ? "" : "a value is out of range\n", usage);
            return 2;
        }
    }
    if (optind < argc || (a.history && a.seeds > 1)) {
        fputs(usage, stderr);
        return 2;
    }
    signal(SIGABRT, on_abort);
    signal(SIGPROF, on_abort);
    if (a.seeds == 1)
        return seed_play(&a, a.seed) ? 0 : 1;
    return seeds_play(&a);
}
