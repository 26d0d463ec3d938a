/* service - finding services, and refusing those that are not whole. */
#include "server/service.h"

#include <ctype.h>
#include <dlfcn.h>

#include "common/error.h"
#include "server/services/kv.h"

#define COMMAND_COUNT_MAX 4096u /* in a service's table */

/* NULL, or what is wrong with one command of a table. */
static const char *command_fault(const struct service_command *command)
{
    uint32_t kind = command->flags & (COMMAND_READ | COMMAND_WRITE);

    if (!command->name || command->name[0] == '\0')
        return "has no name";
    for (const char *c = command->name; *c; c++)
        if (!isprint((unsigned char)*c) || isupper((unsigned char)*c) || *c == ' ')
            return "has a name that is not in lower case";
    if (kind != COMMAND_READ && kind != COMMAND_WRITE)
        return "must have one of the flags COMMAND_READ and COMMAND_WRITE";
    if (command->arity == 0)
        return "has arity 0; the name counts, so 1 is the least";
    if (!command->group || !command->summary)
        return "lacks its group or its summary";
    return NULL;
}

static enum error_code commands_check(const struct service *service, const char *from,
                                      struct error *error)
{
    if (!service->commands || service->command_count == 0 ||
        service->command_count > COMMAND_COUNT_MAX)
        return error_set(error, ERROR_CONFIG, "service %s: its table must have 1 to %u commands",
                         from, COMMAND_COUNT_MAX);
    for (uint32_t i = 0; i < service->command_count; i++) {
        const struct service_command *command = &service->commands[i];
        const char *fault = command_fault(command);

        if (fault)
            return error_set(error, ERROR_CONFIG, "service %s: command %u (%s) %s", from, i,
                             command->name ? command->name : "", fault);
        if (service_command_find(service, bytes_string(command->name)) != command)
            return error_set(error, ERROR_CONFIG, "service %s: command %s is there twice", from,
                             command->name);
    }
    return ERROR_NONE;
}

/* The functions that no service can do without. */
#define REQUIRED(X)               \
    X(create)                     \
    X(destroy)                    \
    X(execute)                    \
    X(query)                      \
    X(checkpoint_begin)           \
    X(checkpoint_slice)           \
    X(checkpoint_end)             \
    X(checkpoint_bytes_estimated) \
    X(restore_slice)              \
    X(digest)

static enum error_code service_check(const struct service *service, const char *from,
                                     struct error *error)
{
    const char *missing = NULL;

    if (!service)
        return error_set(error, ERROR_CONFIG, "service %s: holdfast_service() returned NULL", from);
    if (service->version != SERVICE_VERSION)
        return error_set(
            error, ERROR_CONFIG,
            "service %s: made for version %u of the service interface, this is version %u", from,
            service->version, SERVICE_VERSION);
    if (!service->name || service->name[0] == '\0')
        return error_set(error, ERROR_CONFIG, "service %s: its table has no name", from);
#define X(function)                     \
    if (!missing && !service->function) \
        missing = #function;
    REQUIRED(X)
#undef X
    if (missing)
        return error_set(error, ERROR_CONFIG, "service %s: its table lacks the function %s", from,
                         missing);
    return commands_check(service, from, error);
}

static const struct service *service_load(const char *path, struct error *error)
{
    const struct service *(*entry)(void) = NULL;
    const struct service *service;
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *symbol;

    if (!object) {
        error_set(error, ERROR_CONFIG, "service %s: cannot be loaded: %s", path, dlerror());
        return NULL;
    }
    symbol = dlsym(object, "holdfast_service");
    if (!symbol) {
        error_set(error, ERROR_CONFIG,
                  "service %s: does not export const struct service *holdfast_service(void)", path);
        dlclose(object);
        return NULL;
    }
    /* As POSIX has it: an object's address turned into a function's. */
    memcpy(&entry, &symbol, sizeof entry);
    service = entry();
    /* An object that is refused stays loaded: its table may be remembered, and the process ends
     * anyway. */
    return service_check(service, path, error) == ERROR_NONE ? service : NULL;
}

const struct service *service_find(const char *name, struct error *error)
{
    const struct service *bundled[] = { kv_service() };

    if (strchr(name, '/'))
        return service_load(name, error);
    for (size_t i = 0; i < sizeof bundled / sizeof bundled[0]; i++)
        if (strcmp(bundled[i]->name, name) == 0)
            return bundled[i];
    error_set(error, ERROR_CONFIG,
              "service %s: not one of those bundled (kv); the path of a shared object has a '/'",
              name);
    return NULL;
}
