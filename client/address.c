#include "client/address.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESS_ITEM_SIZE 512u /* "name=host:port" with its end */

enum error_code addresses_add(struct addresses *addresses, const char *name, const char *host,
                              const char *port, struct error *error)
{
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    struct addrinfo *found = NULL;
    struct address *address = &addresses->list[addresses->count];
    int failed;

    if (addresses->count == SERVER_COUNT_MAX)
        return error_set(error, ERROR_USAGE, "%s: more than %u servers", name, SERVER_COUNT_MAX);
    failed = getaddrinfo(host, port, &hints, &found);
    if (failed)
        return error_set(error, ERROR_USAGE, "%s: no address of %s: %s", name, host,
                         gai_strerror(failed));
    (void)snprintf(address->name, sizeof(address->name), "%s", name);
    memcpy(&address->socket, found->ai_addr, found->ai_addrlen);
    address->size = found->ai_addrlen;
    freeaddrinfo(found);
    addresses->count++;
    return ERROR_NONE;
}

static enum error_code check_port(const char *item, const char *port, struct error *error)
{
    char *end = NULL;
    long value = strtol(port, &end, 10);

    if (*port < '0' || *port > '9' || *end != '\0' || value < 1 || value > UINT16_MAX)
        return error_set(error, ERROR_USAGE, "%s: port %s is not 1..65535", item, port);
    return ERROR_NONE;
}

/* Cuts "name=host:port" apart in place. */
static enum error_code add_item(struct addresses *addresses, char *item, struct error *error)
{
    char whole[ADDRESS_ITEM_SIZE];
    char *equals = strchr(item, '=');
    char *host = equals ? equals + 1 : item;
    char *colon = strrchr(host, ':');
    const char *name;

    (void)snprintf(whole, sizeof(whole), "%s", item);
    if (!colon || colon == host)
        return error_set(error, ERROR_USAGE, "\"%s\" is not host:port", whole);
    *colon = '\0';
    if (check_port(whole, colon + 1, error) != ERROR_NONE)
        return error->code;
    if (host[0] == '[' && colon[-1] == ']') {
        colon[-1] = '\0';
        host++;
    }
    if (equals)
        *equals = '\0';
    name = equals ? item : whole;
    return addresses_add(addresses, name, host, colon + 1, error);
}

enum error_code addresses_parse(struct addresses *addresses, const char *list, struct error *error)
{
    const char *rest = list;

    addresses->count = 0;
    for (;;) {
        char item[ADDRESS_ITEM_SIZE];
        size_t size = strcspn(rest, ",");

        if (size == 0 || size >= sizeof(item))
            return error_set(error, ERROR_USAGE, "servers \"%s\": expected host:port,host:port",
                             list);
        memcpy(item, rest, size);
        item[size] = '\0';
        if (add_item(addresses, item, error) != ERROR_NONE)
            return error->code;
        if (rest[size] == '\0')
            return ERROR_NONE;
        rest += size + 1;
    }
}
