#include <string.h>

#include "server/replica_parts.h"

void judge_accuse(struct replica *r, struct instant now, node_id peer, const char *cause,
                  struct effects *out)
{
    struct replica_peer *p = peer_of(r, peer);
    struct message message = { .type = MESSAGE_ACCUSE,
                               .accuse = {
                                   .number = r->view.number,
                                   .peer = peer,
                                   .incarnation = r->view.members.incarnation[node_index(peer)],
                               } };

    if (p->accused.ns && instant_since_ms(now, p->accused) < REPEAT_MS)
        return;
    p->accused = now;
    strncpy(message.accuse.cause, cause, sizeof message.accuse.cause - 1);
    effects_note_at(out, NOTE_WARN, "accuse %s: %s", node_name(peer), cause);
    effects_send(out, NODE_RM, message);
}

static bool is_stalled(const struct replica *r, struct instant now)
{
    return instant_since_ms(now, r->disk_moved) >= DISK_STALL_MS;
}

bool judge_can_keep(const struct replica *r, struct instant now)
{
    return !r->full && !is_stalled(r, now);
}

void judge_disk(struct replica *r, struct instant now, struct effects *out)
{
    if (!judge_can_keep(r, now) && (r->role == ROLE_PRIMARY || r->role == ROLE_BACKUP))
        judge_accuse(r, now, r->options.self,
                     r->full ? "its disk is full" : "its disk does not answer", out);
}

/* Something was saved, or nothing waits for it. */
void judge_watch_disk(struct replica *r, struct instant now)
{
    if ((r->saved_index >= r->persist_asked && !r->unmarked) || r->saved_index != r->saved_seen)
        r->disk_moved = now;
    r->saved_seen = r->saved_index;
}

static void judge_peer(struct replica *r, struct instant now, node_id peer, struct effects *out)
{
    const struct replica_peer *p = peer_of(r, peer);

    if (!p->linked && instant_since_ms(now, p->link_since) >= LINK_GRACE_MS)
        judge_accuse(r, now, peer, "the link to it is lost", out);
    else if (instant_since_ms(now, p->heard) >= r->options.silence_ms)
        judge_accuse(r, now, peer, "it is silent", out);
}

void judge_tick(struct replica *r, struct instant now, struct effects *out)
{
    if (r->role == ROLE_PRIMARY) {
        for (uint32_t i = 0; i < r->options.server_count; i++)
            if (i != self_index(r) && replica_is_member(r, NODE_SERVER(i)))
                judge_peer(r, now, NODE_SERVER(i), out);
    } else if (r->role == ROLE_BACKUP) {
        node_id next = feed_chain_next(r, r->options.self);

        judge_peer(r, now, r->view.primary, out);
        /* Its acknowledgements come to us as well; the primary watches for them. */
        if (r->view.propagation == PROPAGATION_CHAIN && next != NODE_NONE &&
            !peer_of(r, next)->linked)
            judge_peer(r, now, next, out);
    }
}

/* A pause of our own is not held against the others. */
void judge_forgive_pause(struct replica *r, struct instant now)
{
    uint64_t asleep_ms = instant_since_ms(now, r->ticked);
    uint32_t beat_ms = feed_beat_ms(r);

    r->ticked = now;
    if (asleep_ms < beat_ms + lateness_ms_max(r->options.silence_ms, beat_ms))
        return;
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++)
        r->peers[i].heard = r->peers[i].link_since = now;
    r->disk_moved = now; /* and its word may be waiting */
}
