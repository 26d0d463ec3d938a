/* kv_commands - the table of commands: name, handler, arity, flags, positions of the keys (first,
 * last, step), group, summary. As in Redis 7.0's COMMAND and COMMAND DOCS. */
#ifndef HOLDFAST_SERVER_SERVICES_KV_COMMANDS_H
#define HOLDFAST_SERVER_SERVICES_KV_COMMANDS_H

#include "server/service.h"
#include "server/services/kv_call.h"

#define KV_R   COMMAND_READ
#define KV_RF  (COMMAND_READ | COMMAND_FAST)
#define KV_W   COMMAND_WRITE
#define KV_WF  (COMMAND_WRITE | COMMAND_FAST)
#define KV_WM  (COMMAND_WRITE | COMMAND_DENYOOM)
#define KV_WFM (COMMAND_WRITE | COMMAND_FAST | COMMAND_DENYOOM)

/* clang-format off */
#define KV_COMMANDS(X)                                                                             \
    X(append,      append,       3, KV_WFM, 1,  1, 1, "string",                                    \
      "Appends a string to the value of a key, or creates the key.")                               \
    X(copy,        copy,        -3, KV_WM,  1,  2, 1, "generic",                                   \
      "Copies the value of a key to a new key.")                                                   \
    X(dbsize,      dbsize,       1, KV_RF,  0,  0, 0, "server",                                    \
      "Returns the number of keys.")                                                               \
    X(decr,        decr,         2, KV_WFM, 1,  1, 1, "string",                                    \
      "Decrements the integer value of a key by one.")                                             \
    X(decrby,      decrby,       3, KV_WFM, 1,  1, 1, "string",                                    \
      "Decrements the integer value of a key by a number.")                                        \
    X(del,         del,         -2, KV_W,   1, -1, 1, "generic",                                   \
      "Deletes keys.")                                                                             \
    X(exists,      exists,      -2, KV_RF,  1, -1, 1, "generic",                                   \
      "Counts which of the keys exist.")                                                           \
    X(expire,      expire,      -3, KV_WF,  1,  1, 1, "generic",                                   \
      "Sets the expiration of a key in seconds.")                                                  \
    X(expireat,    expireat,    -3, KV_WF,  1,  1, 1, "generic",                                   \
      "Sets the expiration of a key to a Unix time in seconds.")                                   \
    X(expiretime,  expiretime,   2, KV_RF,  1,  1, 1, "generic",                                   \
      "Returns the expiration of a key as a Unix time in seconds.")                                \
    X(flushall,    flush,       -1, KV_W,   0,  0, 0, "server",                                    \
      "Removes all keys.")                                                                         \
    X(flushdb,     flush,       -1, KV_W,   0,  0, 0, "server",                                    \
      "Removes all keys.")                                                                         \
    X(get,         get,          2, KV_RF,  1,  1, 1, "string",                                    \
      "Returns the value of a key.")                                                               \
    X(getdel,      getdel,       2, KV_WF,  1,  1, 1, "string",                                    \
      "Returns the value of a key and deletes it.")                                                \
    X(getex,       getex,       -2, KV_WF,  1,  1, 1, "string",                                    \
      "Returns the value of a key after setting its expiration.")                                  \
    X(getrange,    getrange,     4, KV_R,   1,  1, 1, "string",                                    \
      "Returns a part of the value of a key.")                                                     \
    X(getset,      getset,       3, KV_WFM, 1,  1, 1, "string",                                    \
      "Returns the value of a key after setting it to a new one.")                                 \
    X(incr,        incr,         2, KV_WFM, 1,  1, 1, "string",                                    \
      "Increments the integer value of a key by one.")                                             \
    X(incrby,      incrby,       3, KV_WFM, 1,  1, 1, "string",                                    \
      "Increments the integer value of a key by a number.")                                        \
    X(incrbyfloat, incrbyfloat,  3, KV_WFM, 1,  1, 1, "string",                                    \
      "Increments the floating point value of a key by a number.")                                 \
    X(keys,        keys,         2, KV_R,   0,  0, 0, "generic",                                   \
      "Returns all keys that match a pattern.")                                                    \
    X(mget,        mget,        -2, KV_RF,  1, -1, 1, "string",                                    \
      "Returns the values of keys.")                                                               \
    X(mset,        mset,        -3, KV_WM,  1, -1, 2, "string",                                    \
      "Sets the values of keys.")                                                                  \
    X(msetnx,      msetnx,      -3, KV_WM,  1, -1, 2, "string",                                    \
      "Sets the values of keys when none of them exists.")                                         \
    X(object,      object,      -2, KV_R,   2,  2, 1, "generic",                                   \
      "Tells about the value of a key.")                                                           \
    X(persist,     persist,      2, KV_WF,  1,  1, 1, "generic",                                   \
      "Removes the expiration of a key.")                                                          \
    X(pexpire,     pexpire,     -3, KV_WF,  1,  1, 1, "generic",                                   \
      "Sets the expiration of a key in milliseconds.")                                             \
    X(pexpireat,   pexpireat,   -3, KV_WF,  1,  1, 1, "generic",                                   \
      "Sets the expiration of a key to a Unix time in milliseconds.")                              \
    X(pexpiretime, pexpiretime,  2, KV_RF,  1,  1, 1, "generic",                                   \
      "Returns the expiration of a key as a Unix time in milliseconds.")                           \
    X(psetex,      psetex,       4, KV_WM,  1,  1, 1, "string",                                    \
      "Sets the value of a key and its expiration in milliseconds.")                               \
    X(pttl,        pttl,         2, KV_RF,  1,  1, 1, "generic",                                   \
      "Returns the time until a key expires in milliseconds.")                                     \
    X(randomkey,   randomkey,    1, KV_R,   0,  0, 0, "generic",                                   \
      "Returns some key.")                                                                         \
    X(rename,      rename,       3, KV_W,   1,  2, 1, "generic",                                   \
      "Gives a key another name, overwriting what has it.")                                        \
    X(renamenx,    renamenx,     3, KV_WF,  1,  2, 1, "generic",                                   \
      "Gives a key another name when nothing has it.")                                             \
    X(scan,        scan,        -2, KV_R,   0,  0, 0, "generic",                                   \
      "Walks the keys a few at a time.")                                                           \
    X(set,         set,         -3, KV_WM,  1,  1, 1, "string",                                    \
      "Sets the value of a key, and its expiration.")                                              \
    X(setex,       setex,        4, KV_WM,  1,  1, 1, "string",                                    \
      "Sets the value of a key and its expiration in seconds.")                                    \
    X(setnx,       setnx,        3, KV_WFM, 1,  1, 1, "string",                                    \
      "Sets the value of a key when it does not exist.")                                           \
    X(setrange,    setrange,     4, KV_WM,  1,  1, 1, "string",                                    \
      "Overwrites a part of the value of a key.")                                                  \
    X(strlen,      strlen,       2, KV_RF,  1,  1, 1, "string",                                    \
      "Returns the length of the value of a key.")                                                 \
    X(substr,      getrange,     4, KV_R,   1,  1, 1, "string",                                    \
      "Returns a part of the value of a key.")                                                     \
    X(time,        time,         1, KV_RF,  0,  0, 0, "server",                                    \
      "Returns the time.")                                                                         \
    X(touch,       exists,      -2, KV_RF,  1, -1, 1, "generic",                                   \
      "Counts which of the keys exist.")                                                           \
    X(ttl,         ttl,          2, KV_RF,  1,  1, 1, "generic",                                   \
      "Returns the time until a key expires in seconds.")                                          \
    X(type,        type,         2, KV_RF,  1,  1, 1, "generic",                                   \
      "Returns the type of the value of a key.")                                                   \
    X(unlink,      del,         -2, KV_WF,  1, -1, 1, "generic",                                   \
      "Deletes keys.")
/* clang-format on */

/* Some handlers serve two commands; declaring them twice does no harm. */
#define X(name, handler, ...) void kv_do_##handler(struct kv_call *call);
KV_COMMANDS(X)
#undef X

#endif
