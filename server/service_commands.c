/* service_commands - the command words of a service, found in constant time. */
#include <stdatomic.h>

#include "server/service.h"

/* Where the commands of a service are, by the hash of their names. Made once for each service, and
 * kept. */
struct command_index {
    const struct service *service;
    struct command_index *next;
    size_t word_size_max;
    uint32_t mask;
    const struct service_command *slots[];
};

static _Atomic(struct command_index *) indices;

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

static uint32_t word_hash(struct bytes word)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < word.size; i++)
        h = (h ^ lower(word.data[i])) * 16777619u;
    return h ^ h >> 15;
}

static bool word_is(struct bytes word, const char *name)
{
    size_t i = 0;

    while (i < word.size && name[i] != '\0' && lower(word.data[i]) == (uint8_t)name[i])
        i++;
    return i == word.size && name[i] == '\0';
}

static struct command_index *index_new(const struct service *service)
{
    struct command_index *index;
    uint32_t slots = 16;

    while (slots < 4 * service->command_count)
        slots *= 2;
    index = memory_zeroed(1, sizeof *index + slots * sizeof(const struct service_command *));
    index->service = service;
    index->mask = slots - 1;
    for (uint32_t i = 0; i < service->command_count; i++) {
        const struct service_command *command = &service->commands[i];
        struct bytes name = bytes_string(command->name);
        uint32_t at = word_hash(name) & index->mask;

        while (index->slots[at])
            at = (at + 1) & index->mask;
        index->slots[at] = command;
        if (name.size > index->word_size_max)
            index->word_size_max = name.size;
    }
    return index;
}

static const struct command_index *index_of(const struct service *service)
{
    struct command_index *first = atomic_load_explicit(&indices, memory_order_acquire);
    struct command_index *index;

    for (index = first; index; index = index->next)
        if (index->service == service)
            return index;
    /* Two threads may both make one: then there are two, and either will do. */
    index = index_new(service);
    index->next = first;
    while (!atomic_compare_exchange_weak_explicit(&indices, &index->next, index,
                                                  memory_order_release, memory_order_relaxed))
        continue;
    return index;
}

const struct service_command *service_command_find(const struct service *service, struct bytes word)
{
    const struct command_index *index = index_of(service);
    const struct service_command *command;
    uint32_t at;

    if (word.size == 0 || word.size > index->word_size_max)
        return NULL;
    at = word_hash(word) & index->mask;
    while ((command = index->slots[at]) != NULL && !word_is(word, command->name))
        at = (at + 1) & index->mask;
    return command;
}
