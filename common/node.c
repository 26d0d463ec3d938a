#include "common/node.h"

#include <assert.h>
#include <stdio.h>

/* Written by config_load() at the start and only read afterwards. */
static char names[NODE_COUNT][NAME_SIZE] = {
    [NODE_NONE] = "none",         [NODE_RM] = "rm",          [NODE_GFD] = "gfd",
    [NODE_OPERATOR] = "operator", [NODE_CLIENT] = "client",  [NODE_LFD(0)] = "lfd1",
    [NODE_LFD(1)] = "lfd2",       [NODE_LFD(2)] = "lfd3",    [NODE_LFD(3)] = "lfd4",
    [NODE_LFD(4)] = "lfd5",       [NODE_LFD(5)] = "lfd6",    [NODE_LFD(6)] = "lfd7",
    [NODE_LFD(7)] = "lfd8",       [NODE_LFD(8)] = "lfd9",    [NODE_LFD(9)] = "lfd10",
    [NODE_LFD(10)] = "lfd11",     [NODE_LFD(11)] = "lfd12",  [NODE_LFD(12)] = "lfd13",
    [NODE_LFD(13)] = "lfd14",     [NODE_LFD(14)] = "lfd15",  [NODE_LFD(15)] = "lfd16",
    [NODE_SERVER(0)] = "s1",      [NODE_SERVER(1)] = "s2",   [NODE_SERVER(2)] = "s3",
    [NODE_SERVER(3)] = "s4",      [NODE_SERVER(4)] = "s5",   [NODE_SERVER(5)] = "s6",
    [NODE_SERVER(6)] = "s7",      [NODE_SERVER(7)] = "s8",   [NODE_SERVER(8)] = "s9",
    [NODE_SERVER(9)] = "s10",     [NODE_SERVER(10)] = "s11", [NODE_SERVER(11)] = "s12",
    [NODE_SERVER(12)] = "s13",    [NODE_SERVER(13)] = "s14", [NODE_SERVER(14)] = "s15",
    [NODE_SERVER(15)] = "s16",
};

_Static_assert(HOST_COUNT_MAX == 16 && SERVER_COUNT_MAX == 16, "every node has a name above");

const char *node_name(node_id id)
{
    return id < NODE_COUNT && names[id][0] ? names[id] : "unknown";
}

void node_name_set(node_id id, const char *name)
{
    assert(id < NODE_COUNT);
    snprintf(names[id], NAME_SIZE, "%s", name);
}
