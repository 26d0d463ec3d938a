/* outdated - a service made for another version of the interface: it must be refused. */
#include "server/service.h"

const struct service *holdfast_service(void);

const struct service *holdfast_service(void)
{
    static const struct service outdated = { .version = SERVICE_VERSION + 1, .name = "outdated" };

    return &outdated;
}
