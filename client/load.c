#include "client/load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "client/holdfast.h"
#include "client/load_engine.h"
#include "client/verify_file.h"
#include "common/resp.h"

#define READ_BACK_DEADLINE_MS 15000u /* a failover while reading back is no failure */

/* One key of a lane, read through the library. False when nobody answers. */
static bool read_back(struct holdfast *client, const struct verify *v, uint32_t lane,
                      uint64_t chunk, struct verify_result *result)
{
    char key[VERIFY_KEY_SIZE];
    const char *words[] = { "GET", key };
    const char *reply;
    size_t size;
    struct resp_value value;

    (void)verify_key(v, lane, verify_chunk_serial(v, chunk), key);
    if (holdfast_read(client, 2, words, NULL, &reply, &size) != HOLDFAST_OK)
        return false;
    (void)resp_read_value(bytes_of(reply, size), &value);
    if (value.type != RESP_BULK && value.type != RESP_NULL)
        return false;
    if (value.type == RESP_NULL)
        value.text = bytes_of(NULL, 0);
    verify_chunk(v, lane, chunk, value.text, result);
    return true;
}

void load_read_back(const char *servers, const struct verify *v, struct load_result *result)
{
    struct holdfast_options client_options = {
        .servers = servers,
        .deadline_ms = READ_BACK_DEADLINE_MS,
    };
    struct holdfast *client = holdfast_open(&client_options, NULL, 0);
    bool answered = client != NULL;

    /* After one key that nobody answers for, the others are not waited for. */
    for (uint32_t lane = 0; lane < v->lane_count; lane++) {
        for (uint64_t chunk = 0; chunk < verify_chunks(v, lane); chunk++) {
            answered = answered && read_back(client, v, lane, chunk, &result->verify);
            result->verify.unreadable += !answered;
        }
    }
    result->verified = true;
    holdfast_close(client);
}

static bool run_engine(const struct load_options *options, const struct addresses *addresses,
                       struct verify *verify, struct load_result *result, struct error *error)
{
    struct engine *e = memory_zeroed(1, sizeof(*e));
    bool begun =
        engine_open(e, options, addresses, verify, result, error) && engine_connect(e, error);

    if (begun)
        engine_run(e);
    engine_close(e);
    free(e);
    return begun;
}

static bool random_number(uint64_t *number, struct error *error)
{
    if (getrandom(number, sizeof(*number), 0) == (ssize_t)sizeof(*number))
        return true;
    return error_system(error, "load: getrandom"), false;
}

bool load_run(const struct load_options *options, struct load_result *result, struct error *error)
{
    struct load_options seeded = *options;
    struct addresses addresses;
    struct verify verify = { 0 };
    uint64_t run;
    bool done;

    memset(result, 0, sizeof(*result));
    histogram_clear(&result->reads);
    histogram_clear(&result->writes);
    if (addresses_parse(&addresses, options->servers, error) != ERROR_NONE)
        return false;
    if (!random_number(&run, error) || (seeded.seed == 0 && !random_number(&seeded.seed, error)))
        return false;
    if (load_remembers(options))
        verify_init(&verify, run, options->connections * options->pipeline, options->value_size);
    done = run_engine(&seeded, &addresses, load_remembers(options) ? &verify : NULL, result, error);
    if (done && options->record[0] != '\0')
        done = verify_file_write(options->record, &verify, options->once, error) == ERROR_NONE;
    if (done && options->verify)
        load_read_back(options->servers, &verify, result);
    verify_free(&verify);
    return done;
}

/* All of it, or false: an output that is gone. */
static bool write_out(const struct buffer *out)
{
    size_t written = fwrite(buffer_head(out), 1, buffer_size(out), stdout);

    return written == buffer_size(out) && fflush(stdout) == 0;
}

static int run_and_report(const struct load_options *options)
{
    struct load_result *result = memory_zeroed(1, sizeof(*result));
    struct buffer out = { 0 };
    struct error error;
    bool held = false;

    if (!load_run(options, result, &error)) {
        (void)fprintf(stderr, "holdfast-client: %s\n", error.text);
    } else {
        if (options->json)
            load_report_json(options, result, &out);
        else
            load_report(options, result, &out);
        held = load_held(options, result);
        if (!write_out(&out)) {
            (void)fprintf(stderr, "holdfast-client: the report cannot be written: %s\n",
                          strerror(errno));
            held = false;
        }
    }
    buffer_free(&out);
    free(result->seconds);
    free(result);
    return held ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int show_usage(void)
{
    struct buffer out = { 0 };
    bool written;

    load_usage(&out);
    written = write_out(&out);
    buffer_free(&out);
    return written ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Reads back what a load recorded; *result is filled in, unless an error says why not. */
static enum error_code verify_recorded(const char *servers, const char *path,
                                       struct load_options *options, struct load_result *result,
                                       struct error *error)
{
    struct verify verify;

    if (verify_file_read(path, &verify, &options->once, error) != ERROR_NONE)
        return error->code;
    load_read_back(servers, &verify, result);
    verify_free(&verify);
    return ERROR_NONE;
}

int load_verify_main(const char *servers, int argc, char **argv)
{
    struct load_options options = { .verify = true };
    struct load_result *result;
    struct buffer out = { 0 };
    struct error error;
    bool held = false;

    options.json = argc == 2 && strcmp(argv[0], "--json") == 0;
    if (argc != 1 + options.json) {
        (void)fprintf(stderr, "usage: holdfast-client verify [--json] FILE\n");
        return 2;
    }
    result = memory_zeroed(1, sizeof(*result));
    if (verify_recorded(servers, argv[argc - 1], &options, result, &error) == ERROR_NONE) {
        result->ok = result->verify.acknowledged;
        load_report_verify(&options, result, &out);
        held = load_held(&options, result) && write_out(&out);
    } else {
        (void)fprintf(stderr, "holdfast-client: %s\n", error.text);
    }
    buffer_free(&out);
    free(result);
    return held ? EXIT_SUCCESS : EXIT_FAILURE;
}

int load_main(const char *servers, int argc, char **argv)
{
    struct load_options options;
    struct error error = { .code = ERROR_NONE };

    load_options_default(&options);
    (void)snprintf(options.servers, sizeof(options.servers), "%s", servers);
    if (load_options_parse(&options, argc, argv, &error) == ERROR_NONE && options.help)
        return show_usage();
    if (error.code == ERROR_NONE && options.servers[0] == '\0')
        (void)error_set(&error, ERROR_USAGE, "load: no servers: give -c FILE or --servers");
    if (error.code == ERROR_NONE)
        return run_and_report(&options);
    (void)fprintf(stderr, "holdfast-client: %s\n", error.text);
    return 2;
}
