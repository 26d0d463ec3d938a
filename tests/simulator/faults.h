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
    X(PARTITION, 3) /* hosts apart, or some not heard by some */      \
    X(SLOW_LINK, 4) /* late, and few bytes at a time */               \
    X(HALF_OPEN, 4) /* one side believes in the link, one does not */ \
    X(BREAK_CLIENT, 4)                                                \
    X(CRASH_CLIENT, 2)                                                \
    X(SWITCHOVER, 2) /* these are no faults, but hard all the same */ \
    X(RESTART, 2)                                                     \
    X(STYLE, 1)                                                       \
    X(STOP, 2)                                                        \
    X(START, 3)                                                       \
    X(ACKS, 1)                                                        \
    X(HEAL, 4)                                                        \
    X(CRASH_ALL, 1) /* all servers at once; with disks only */        \
    X(LOSE_DISK, 3) /* of one server, if the others have it all */    \
    HARDWARE_FAULTS(X)                                                \
    COURSE_FAULTS(X)

/* Those of hardware.c: of disks, of power, and of several processes. */
#define HARDWARE_FAULTS(X)                                                         \
    X(DAMAGE_RECORD, 3) /* damage, power and amnesia: if the others have it all */ \
    X(DAMAGE_CHECKPOINT, 3)                                                        \
    X(DAMAGE_CHECKPOINTS, 1)                                                       \
    X(DAMAGE_LIFE, 1)                                                              \
    X(DISK_FULL, 2)                                                                \
    X(DISK_SLOW, 2)                                                                \
    X(DISK_STALLED, 2)                                                             \
    X(DISK_FAILS, 3) /* a write, a sync, or reading at the next start */           \
    X(POWER_HOST, 2) /* of a host, or of everything */                             \
    X(POWER_ALL, 1)                                                                \
    X(CRASH_ROW, 3)      /* several processes one after the other */               \
    X(CRASH_RM_TWICE, 2) /* again as soon as it is back */                         \
    X(CRASH_CLUSTER, 1)  /* every process at once; they come back in some order */ \
    X(OLD_STORE, 1)      /* the rm comes back with what it stored earlier */       \
    X(LOSE_STORE, 1)     /* or with nothing */                                     \
    X(SLOW_SERVER, 3)    /* its turns take up to as long as the patience */        \
    X(WALL_JUMP, 2)      /* the wall clock of a host */

/* Those of courses.c: several events in a row, which would hardly meet by chance. */
#define COURSE_FAULTS(X)                                                      \
    X(OUTRUN, 19)      /* a primary goes on alone; the next one dies young */ \
    X(RETURN_ALONE, 8) /* one that lacks its end; the others are not heard */

enum fault_kind {
#define X(name, weight) FAULT_##name,
    FAULTS(X)
#undef X
        FAULT_COUNT,
    FAULT_FIRST_COURSE = FAULT_OUTRUN
};

/* What may be under way when a fault comes. Most of it is over soon, so that chance seldom meets
 * it: some faults wait for it. */
#define OCCASIONS(X)                                                               \
    X(VIEW_CHANGE, "a view change") /* the rm has fenced, or a server is fenced */ \
    X(CHECKPOINT, "a checkpoint")   /* read out, on its way, or taken in */        \
    X(DONATION, "a donation")       /* a checkpoint for a joiner */                \
    X(JOIN, "a join")               /* a server catches up */                      \
    X(RECOVERY, "a recovery")       /* a server is on its way back */

enum occasion {
#define X(name, text) OCCASION_##name,
    OCCASIONS(X)
#undef X
        OCCASION_COUNT
};

/* Does one of HARDWARE_FAULTS. */
void hardware_fault(struct sim *sim, enum fault_kind kind);
/* One of COURSE_FAULTS. */
void course_fault(struct sim *sim, enum fault_kind kind);

#endif
