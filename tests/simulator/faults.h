/* faults - what goes wrong, by chance. */
#ifndef HOLDFAST_SIMULATOR_FAULTS_H
#define HOLDFAST_SIMULATOR_FAULTS_H

#include "tests/simulator/sim.h"

/* Kinds of faults, with the weight that each may get at most in a run. */
#define FAULTS(X)                                                     \
    X(CRASH_SERVER, 8) /* at once, or in the midst of a turn */       \
    X(CRASH_PRIMARY, 8)                                               \
    X(CRASH_LFD, 2)                                                   \
    X(CRASH_GFD, 2)                                                   \
    X(CRASH_RM, 3)                                                    \
    X(PAUSE_SERVER, 4) /* for shorter or longer than the patience */  \
    X(PAUSE_OTHER, 2)  /* a detector or the rm */                     \
    X(BREAK_LINK, 8)                                                  \
    X(CUT_PAIR, 3)                                                    \
    X(CUT_ONE_WAY, 3)                                                 \
    X(ISOLATE_HOST, 2)                                                \
    X(BREAK_CLIENT, 4)                                                \
    X(CRASH_CLIENT, 2)                                                \
    X(SWITCHOVER, 2) /* these are no faults, but hard all the same */ \
    X(RESTART, 2)                                                     \
    X(STYLE, 1)                                                       \
    X(HEAL, 4)                                                        \
    X(CRASH_ALL, 1) /* all servers at once; with disks only */        \
    X(LOSE_DISK, 3) /* of one server, if the others have it all */

enum fault_kind {
#define X(name, weight) FAULT_##name,
    FAULTS(X)
#undef X
        FAULT_COUNT
};

#endif
