/* limits - every bound in the system that is not one of a single file, with its reason. */
#ifndef HOLDFAST_COMMON_LIMITS_H
#define HOLDFAST_COMMON_LIMITS_H

#include "common/node.h"

#define PROTOCOL_VERSION 1u /* of the messages between processes; a mismatch is refused */

/* Effects that one call of a core may append. */
#define EFFECT_COUNT_MAX 256u
#define NOTE_BYTES_MAX   16384u /* text of all notes of one call */

/* Clients. */
#define CLIENT_ARGUMENT_COUNT_MAX (1u << 20)                   /* as in Redis */
#define CLIENT_BULK_BYTES_MAX     (512u << 20)                 /* as in Redis: proto-max-bulk-len */
#define CLIENT_INLINE_BYTES_MAX   (64u << 10)                  /* an inline command, as in Redis */
#define REQUEST_BYTES_MAX         ((512u << 20) + (64u << 10)) /* one entry's request */
#define REQUEST_HOLD_MS_MAX       10000u /* how long a request waits for a primary: then -TRYAGAIN */

/* Peers. */
#define MESSAGE_BYTES_MAX    (REQUEST_BYTES_MAX + (64u << 10)) /* one frame on a link */
#define BATCH_BYTES_MAX      (1u << 20)   /* entries in one append, unless one entry is larger */
#define SLICE_BYTES_MAX      (256u << 10) /* one piece of a checkpoint */
#define SLICE_WINDOW         8u           /* pieces under way to one receiver */
#define LINK_QUEUE_BYTES_MAX (2ull * REQUEST_BYTES_MAX) /* unsent on a link: then it is cut */

/* Views. */
#define VIEW_NUMBER_MAX       (1ull << 62)
#define VIEW_NUMBER_HEARD_MAX (1ull << 61) /* a server that names a higher one is not believed */

_Static_assert(MESSAGE_BYTES_MAX > REQUEST_BYTES_MAX, "an entry fits in a message");
_Static_assert(EFFECT_COUNT_MAX >= 8 * SERVER_COUNT_MAX, "a call may send to every server");

/* Time. */
#define LATENESS_MS_MAX 50u /* later than this is a pause of our own: lateness_ms_max() */
#define REDIAL_MS_MIN   5u  /* first wait before a lost link is dialled again; doubles */
#define REDIAL_MS_MAX   500u
#define CUT_SECONDS_MAX 60u /* of a link that an operator cuts: a mistake ends by itself */

#endif
