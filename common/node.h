/* node - who is who: a small number for every process of the cluster.
 *
 * A node_id fits in a byte and says what kind of process it is. Names are those of
 * the config once config_load() has set them, and "s1", "lfd1" … before. */
#ifndef HOLDFAST_COMMON_NODE_H
#define HOLDFAST_COMMON_NODE_H

#include <stdbool.h>
#include <stdint.h>

typedef uint8_t node_id;

#define SERVER_COUNT_MAX 16u /* servers in a cluster; a set of them fits in a u32 */
#define HOST_COUNT_MAX   16u /* hosts in a cluster, each with one lfd */
#define NAME_SIZE        32u /* bytes of a cluster's, host's or server's name with its end */

#define NODE_NONE      ((node_id)0)
#define NODE_RM        ((node_id)1)
#define NODE_GFD       ((node_id)2)
#define NODE_OPERATOR  ((node_id)3)           /* whoever speaks through the console */
#define NODE_CLIENT    ((node_id)4)           /* clients of the client ports, all of them */
#define NODE_LFD(i)    ((node_id)(16u + (i))) /* of host i, counted from 0 */
#define NODE_SERVER(i) ((node_id)(32u + (i))) /* server i, counted from 0 */
#define NODE_COUNT     48u

static inline bool node_is_lfd(node_id id)
{
    return id >= NODE_LFD(0) && id < NODE_LFD(HOST_COUNT_MAX);
}

static inline bool node_is_server(node_id id)
{
    return id >= NODE_SERVER(0) && id < NODE_SERVER(SERVER_COUNT_MAX);
}

/* One that stands for a process, or NODE_NONE: what a message may name. */
static inline bool node_is_valid(node_id id)
{
    return id <= NODE_CLIENT || node_is_lfd(id) || node_is_server(id);
}

/* Index of a server or a host, from 0. The node must be one. */
static inline uint32_t node_index(node_id id)
{
    return node_is_server(id) ? (uint32_t)(id - NODE_SERVER(0)) : (uint32_t)(id - NODE_LFD(0));
}

/* The name of a node; "unknown" for what is none, never NULL. */
const char *node_name(node_id id);

/* Copies the name; longer ones are cut to NAME_SIZE. */
void node_name_set(node_id id, const char *name);

#endif
