/* kv - the key-value service: strings with expiry, in the words, replies and errors of Redis 7.0.
 *
 * Documented in server/services/README.md. */
#ifndef HOLDFAST_SERVER_SERVICES_KV_H
#define HOLDFAST_SERVER_SERVICES_KV_H

#include "server/service.h"

const struct service *kv_service(void);

#endif
