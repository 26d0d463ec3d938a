/* transfer - checkpoints on their way: out of one server, in slices, and into another.
 *
 * Two kinds go out. A donation gives a joiner the whole state, when the rm says so. A round, in
 * passive style, gives every backup what changed since the last one. There is one at a time: the
 * service reads out one checkpoint at a time, and the clients' work goes first.
 *
 * What comes in is applied as it comes when the receiver has no state to lose (a joiner), and else
 * kept aside until it is whole: a primary may die in the middle of it. Pure but for memory. */
#ifndef HOLDFAST_SERVER_TRANSFER_H
#define HOLDFAST_SERVER_TRANSFER_H

#include "common/effects.h"
#include "common/instant.h"
#include "server/machine.h"

#define SLICE_US_MAX            300u       /* to make one slice; else the next one is smaller */
#define SLICE_BYTES_MIN         (8u << 10) /* but no smaller than so */
#define SLICE_PARTS             5u         /* a checkpoint's share of a busy loop: one in so many */
#define SLICE_PARTS_KEPT        10u        /* of one for the disk, for which nobody waits */
#define TRANSFER_SILENCE_MS_MAX 5000u      /* a receiver that acknowledges nothing is given up */
#define TRANSFER_PARTED_MS_MAX                                        \
    2000u /* a sender may be away for so long; then another may begin \
           */
#define TRANSFER_ASIDE_BYTES_MAX (4ull << 30) /* of a checkpoint kept aside */

struct transfer_out {
    node_id self; /* as a receiver: the disk of this server */
    bool open;    /* the machine's checkpoint is being read out */
    bool ended;   /* all is sent; the receivers install it */
    bool round;   /* to all backups, else a donation */
    uint64_t view, index, index_view, time_us, base_index, digest;
    uint64_t count;     /* of checkpoints so far */
    uint32_t receivers; /* set of servers still receiving */
    uint32_t sent;      /* slices */
    uint64_t bytes;     /* of them */
    uint32_t acked[SERVER_COUNT_MAX];
    struct instant progress;
    struct buffer slices[SLICE_WINDOW]; /* the last ones, by their number: to be sent again */
    uint32_t parted; /* receivers whose link is lost, a set: they may be back and go on */
    uint64_t parted_incarnation[SERVER_COUNT_MAX];
    uint32_t slice_bytes; /* of the next slice, about */
    struct instant due;   /* of the next slice, no earlier */
    uint32_t wanted;      /* joiners that wait for a donation, a set */
    uint64_t wanted_index[SERVER_COUNT_MAX];
};

struct transfer_in {
    bool open;     /* a checkpoint is coming in */
    bool direct;   /* applied as it comes */
    bool complete; /* its end is in; what was kept aside is being applied */
    bool keeping;  /* goes to the disk too, and is not in before it is there */
    uint32_t kept; /* slices that are on the disk */
    bool applying; /* the state is in between: nothing may be executed or read */
    node_id from;
    struct message_checkpoint_begin begin;
    uint32_t slices;
    uint64_t bytes;
    struct instant heard; /* last word of it */
    uint64_t parted;      /* incarnation of the sender whose link is lost; 0: it is there */
    struct buffer aside;  /* slices, each behind its u32 size */
};

/* Out. now_index_view is the view of the entry at machine_index(). */
void transfer_out_round(struct transfer_out *t, struct instant now, struct machine *machine,
                        uint64_t view, uint64_t index_view, uint32_t receivers, uint64_t base_index,
                        struct effects *out);
void transfer_out_wanted(struct transfer_out *t, node_id joiner, uint64_t index);
/* Begins a donation that is wanted and possible, if nothing is on its way: to one of `linked`, a
 * set, since what is sent without a link goes nowhere. */
void transfer_out_donate(struct transfer_out *t, struct instant now, struct machine *machine,
                         uint64_t view, uint64_t index_view, uint32_t linked, struct effects *out);
void transfer_out_ack(struct transfer_out *t, struct instant now, node_id from,
                      const struct message_checkpoint_ack *ack);
/* The link to a receiver is lost. A joiner may be back in the same life, and goes on where it was
 * when it says so by transfer_out_resume(): nothing is sent to it before. */
void transfer_out_lost(struct transfer_out *t, struct instant now, node_id receiver,
                       uint64_t incarnation);
void transfer_out_found(struct transfer_out *t, node_id receiver, uint64_t incarnation);
void transfer_out_resume(struct transfer_out *t, struct instant now, node_id from,
                         const struct message_checkpoint_ack *ack, struct effects *out);
void transfer_out_abort(struct transfer_out *t, struct machine *machine, struct effects *out);
/* Reads the state out for this server's own disk, if nothing is on its way: what changed since
 * base_index, unless that is 0 or the machine cannot tell. */
void transfer_out_keep(struct transfer_out *t, struct instant now, struct machine *machine,
                       uint64_t view, uint64_t index_view, uint64_t base_index,
                       struct effects *out);
/* A slice is on the disk; the whole is, or was given up. */
void transfer_out_slice_kept(struct transfer_out *t, struct instant now);
void transfer_out_kept(struct transfer_out *t);
/* Sends the next slice if there is room in the receivers' windows. */
void transfer_out_tick(struct transfer_out *t, struct instant now, struct machine *machine,
                       struct effects *out);
bool transfer_out_keeps(const struct transfer_out *t); /* busy for this server's own disk */
bool transfer_out_busy(const struct transfer_out *t);  /* open, or being installed */
/* How long the slice that tick has just sent took: the next one is to take SLICE_US_MAX at most.
 * With pressing work beside it (a round never waits for that), it also waits, so that slices take
 * one part in SLICE_PARTS of the time, or in SLICE_PARTS_KEPT. */
void transfer_out_paced(struct transfer_out *t, struct instant now, uint64_t took_us, bool pressed);
struct instant transfer_out_due(const struct transfer_out *t); /* tick has a slice to send then */

/* In. Begin says whether the receiver takes it; direct: it has no state to lose. */
void transfer_in_begin(struct transfer_in *t, struct machine *machine,
                       const struct message *message, bool direct, bool keep, struct effects *out);
/* False: it makes no sense, and the state may be lost with it (when direct). */
bool transfer_in_slice(struct transfer_in *t, struct machine *machine,
                       const struct message *message, struct effects *out);
bool transfer_in_end(struct transfer_in *t, const struct message *message, struct effects *out);
void transfer_in_slice_kept(struct transfer_in *t, struct effects *out);
/* The whole is on the disk: from now on it may be applied. */
void transfer_in_kept(struct transfer_in *t);
/* Applies the next piece of a complete one: *done when it is in. False: the state is lost. */
bool transfer_in_apply(struct transfer_in *t, struct machine *machine, bool *done);
/* The link to the sender is lost, or there again: what is applied as it comes goes on then. */
void transfer_in_lost(struct transfer_in *t, struct instant now, node_id from,
                      uint64_t incarnation);
void transfer_in_found(struct transfer_in *t, node_id from, uint64_t incarnation,
                       struct effects *out);
void transfer_in_abort(struct transfer_in *t, struct effects *out);
/* The same, and its sender hears of it: it need not wait for us. */
void transfer_in_refuse(struct transfer_in *t, struct effects *out);
void transfer_in_answer(const struct transfer_in *t, uint8_t installed, struct effects *out);

void transfer_free(struct transfer_out *out, struct transfer_in *in);

#endif
