/* How services are found, what is refused, and the example service at work. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "common/error.h"
#include "common/random.h"
#include "server/machine.h"

/* An example service of the build under test; tests run in the project's root with BUILD set. */
static const struct service *example(const char *name, struct error *error)
{
    const char *build = getenv("BUILD");
    char path[256];

    snprintf(path, sizeof path, "./%s/tests/services/%s.so", build ? build : "build", name);
    if (build && build[0] == '/')
        snprintf(path, sizeof path, "%s/tests/services/%s.so", build, name);
    return service_find(path, error);
}

static const struct service *registers(void)
{
    struct error error = { 0 };
    const struct service *service = example("register", &error);

    if (!service)
        fail_msg("%s", error.text);
    return service;
}

/* Executes "word word word" as the next entry. The reply is good until the next call. */
static const char *execute(struct machine *m, const char *line)
{
    static struct buffer reply;
    struct buffer request = { 0 };
    struct bytes argv[8];
    uint32_t argc = 0;
    char words[256];

    snprintf(words, sizeof words, "%s", line);
    for (char *at = words, *word; argc < 8 && (word = strtok_r(at, " ", &at)) != NULL;)
        argv[argc++] = bytes_string(word);
    request_pack_command(&request, argc, argv);
    buffer_clear(&reply, SIZE_MAX);
    machine_execute(m,
                    &(struct machine_entry){ .index = machine_index(m) + 1,
                                             .time_us = 1000 * (machine_index(m) + 1),
                                             .kind = REQUEST_COMMAND,
                                             .request = buffer_bytes(&request) },
                    &reply);
    buffer_free(&request);
    buffer_append(&reply, "", 1);
    return (const char *)buffer_head(&reply);
}

static void test_bundled(void **state)
{
    struct error error = { 0 };

    (void)state;
    assert_non_null(service_find("kv", &error));
    assert_null(service_find("vk", &error));
    assert_int_equal(error.code, ERROR_CONFIG);
    assert_non_null(strstr(error.text, "service vk"));
}

/* Whatever is wrong with a shared object is said, with its path. */
static void test_refused(void **state)
{
    struct error error = { 0 };
    char text[64];

    (void)state;
    assert_null(service_find("./no/such.so", &error));
    assert_non_null(strstr(error.text, "./no/such.so: cannot be loaded"));
    assert_null(example("outdated", &error));
    snprintf(text, sizeof text, "outdated.so: made for version %u", SERVICE_VERSION + 1);
    assert_non_null(strstr(error.text, text));
    assert_null(example("incomplete", &error));
    assert_non_null(strstr(error.text, "incomplete.so: its table lacks the function destroy"));
}

/* A command word is found in any case, whole only. */
static void test_command_find(void **state)
{
    const struct service *service = registers();
    const struct service_command *command;

    (void)state;
    command = service_command_find(service, bytes_string("ReGisTers"));
    assert_non_null(command);
    assert_string_equal(command->name, "registers");
    assert_null(service_command_find(service, bytes_string("register")));
    assert_null(service_command_find(service, bytes_string("registerss")));
    assert_null(service_command_find(service, bytes_string("")));
    assert_null(service_command_find(service, bytes_of("add\0", 4)));
    for (uint32_t i = 0; i < service->command_count; i++)
        assert_ptr_equal(service_command_find(service, bytes_string(service->commands[i].name)),
                         &service->commands[i]);
}

static void test_example_commands(void **state)
{
    struct machine *m = machine_new(registers());

    (void)state;
    assert_string_equal(execute(m, "add apples 5"), ":5\r\n");
    assert_string_equal(execute(m, "ADD apples -7"), ":-2\r\n");
    assert_string_equal(execute(m, "add apples x"),
                        "-ERR value is not an integer or out of range\r\n");
    assert_string_equal(execute(m, "take apples"), ":-2\r\n");
    assert_string_equal(execute(m, "value apples"), ":0\r\n");
    assert_string_equal(execute(m, "stamp now"), ":6\r\n");
    assert_string_equal(execute(m, "registers"), ":2\r\n");
    assert_string_equal(execute(m, "add apples"),
                        "-ERR wrong number of arguments for 'add' command\r\n");
    assert_string_equal(execute(m, "steal apples"), "-ERR unknown command 'steal'\r\n");
    machine_free(m);
}

/* A copy that follows by checkpoints, of all and of changes, comes to the same digest. */
static void test_example_checkpoints(void **state)
{
    struct random random = random_seeded(2);
    struct machine *m = machine_new(registers());
    struct machine *copy = machine_new(registers());
    struct buffer slice = { 0 };

    (void)state;
    execute(m, "add r0 1"); /* the state before the first entry takes no slices */
    for (int round = 0; round < 50; round++) {
        uint64_t index = machine_index(m);
        uint64_t digest = machine_digest(m);
        uint64_t time_us = machine_time_us(m);
        bool full = false;
        bool more = true;

        machine_checkpoint_begin(m, machine_index(copy), &full);
        machine_restore_begin(copy, full);
        while (more) {
            char line[64];

            snprintf(line, sizeof line, "add r%d %d", (int)random_below(&random, 600), round);
            execute(m, line);
            buffer_clear(&slice, SIZE_MAX);
            more = machine_checkpoint_slice(m, 1024, &slice);
            assert_true(machine_restore_slice(copy, buffer_bytes(&slice)));
        }
        machine_checkpoint_end(m);
        assert_true(machine_restore_end(copy, index, time_us, digest));
    }
    assert_true(machine_index(copy) > 0);
    buffer_free(&slice);
    machine_free(copy);
    machine_free(m);
}

/* Slices of an example's checkpoint with a flipped bit are refused, or make a digest that is. */
static void test_example_hostile(void **state)
{
    struct random random = random_seeded(3);
    struct machine *m = machine_new(registers());
    struct machine *copy = machine_new(registers());
    struct buffer slices[8] = { 0 };
    uint32_t count = 0;
    bool full = false;

    (void)state;
    for (int i = 0; i < 5; i++)
        execute(m, i % 2 ? "add a 1" : "add bb 2");
    machine_checkpoint_begin(m, 0, &full);
    while (count < 8 && machine_checkpoint_slice(m, 4096, &slices[count]))
        count++;
    count++;
    machine_checkpoint_end(m);
    for (int round = 0; round < 2000; round++) {
        struct buffer *hit = &slices[random_below(&random, count)];
        uint8_t *byte = hit->data + hit->start + random_below(&random, buffer_size(hit));
        uint8_t bit = (uint8_t)(1u << random_below(&random, 8));
        bool good = true;

        *byte ^= bit;
        machine_restore_begin(copy, true);
        for (uint32_t i = 0; i < count && good; i++)
            good = machine_restore_slice(copy, buffer_bytes(&slices[i]));
        /* What lies behind the end of a name is not in the example's digest: those bits may pass.
         */
        if (good && machine_restore_end(copy, 5, 5000, machine_digest(m)))
            assert_int_equal(machine_digest(copy), machine_digest(m));
        else
            assert_int_equal(machine_index(copy), 0);
        *byte ^= bit;
    }
    for (uint32_t i = 0; i < 8; i++)
        buffer_free(&slices[i]);
    machine_free(copy);
    machine_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bundled),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_command_find),
        cmocka_unit_test(test_example_commands),
        cmocka_unit_test(test_example_checkpoints),
        cmocka_unit_test(test_example_hostile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
