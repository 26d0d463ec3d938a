/* incomplete - a service that lacks a function it must have: it must be refused. */
#include <stddef.h>

#include "server/service.h"

static void *incomplete_create(void)
{
    return NULL;
}

const struct service *holdfast_service(void);

const struct service *holdfast_service(void)
{
    static const struct service incomplete = { .version = SERVICE_VERSION,
                                               .name = "incomplete",
                                               .create = incomplete_create };

    return &incomplete;
}
