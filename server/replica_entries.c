#include <assert.h>
#include <string.h>

#include "server/replica_parts.h"

uint32_t entries_run_of(const struct replica *r, uint64_t index)
{
    uint32_t i = r->run_count - 1;

    while (i > 0 && r->runs[i].first_index > index)
        i--;
    assert(r->runs[i].first_index <= index);
    return i;
}

uint64_t replica_view_at(const struct replica *r, uint64_t index)
{
    assert(index + 1 >= r->first_index && index <= r->last_index);
    return r->runs[entries_run_of(r, index)].view;
}

uint64_t replica_journal_view(const struct replica *r)
{
    return r->whole ? r->runs[r->run_count - 1].view : 0;
}

uint64_t replica_execute_end(const struct replica *r)
{
    uint64_t end = r->last_index;

    if (r->view.style == STYLE_ACTIVE || r->role == ROLE_PRIMARY)
        return end;
    for (uint32_t i = r->run_count; i > 0 && r->runs[i - 1].view > r->active_view; i--)
        end = r->runs[i - 1].first_index - 1;
    return end;
}

bool entries_adopted(const struct replica *r)
{
    return r->view.number && r->whole && r->runs[r->run_count - 1].view == r->view.number;
}

/* Whoever is to be sent next what is no more here, or not yet, has to ask anew. */
static void stop_feeding(struct replica *r)
{
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++)
        if (r->peers[i].next_index < r->first_index || r->peers[i].next_index > r->last_index + 1)
            r->peers[i].fed = false;
}

/* Entries before first_index are gone. */
static void begin_at(struct replica *r, uint64_t first_index)
{
    r->first_index = first_index;
    stop_feeding(r);
}

static void runs_add(struct replica *r, uint64_t index, uint64_t view)
{
    if (r->runs[r->run_count - 1].view == view)
        return;
    assert(view > r->runs[r->run_count - 1].view);
    if (r->run_count == RUN_COUNT_MAX) {
        /* What is before the second run can no longer be compared: as if it were dropped. */
        memmove(r->runs, r->runs + 1, (RUN_COUNT_MAX - 1) * sizeof *r->runs);
        r->run_count--;
        if (r->first_index <= r->runs[0].first_index)
            begin_at(r, r->runs[0].first_index + 1);
    }
    r->runs[r->run_count++] = (struct journal_run){ index, view };
}

void entries_grown(struct replica *r, uint64_t index, uint64_t view)
{
    assert(index == r->last_index + 1);
    runs_add(r, index, view);
    r->last_index = index;
    if (!r->options.persistent)
        r->saved_index = index;
}

/* A state that came from elsewhere belongs to our journal once that is known to be the primary's up
 * to there: until then it may still end in what an older primary never committed. */
void entries_become_whole(struct replica *r)
{
    if (r->whole_at == 0 || r->verified_index < r->whole_at)
        return;
    r->whole = true;
    if (r->commit_index < r->whole_at)
        r->commit_index = r->whole_at;
    r->whole_at = 0;
}

void entries_cut(struct replica *r, uint64_t index, struct effects *out)
{
    /* Rule 6 and the promise to clients: what is committed stays. */
    assert(index >= r->commit_index && index + 1 >= r->first_index);
    while (r->run_count > 1 && r->runs[r->run_count - 1].first_index > index)
        r->run_count--;
    r->last_index = index;
    if (r->saved_index > index)
        r->saved_index = index;
    if (r->persist_asked > index)
        r->persist_asked = index;
    stop_feeding(r);
    effects_add(out, EFFECT_TRUNCATE)->reference = index;
}

void entries_begin_behind(struct replica *r, uint64_t index, uint64_t view, struct effects *out)
{
    /* Until it is intact again, it acknowledges nothing. What was cut may have been acknowledged,
     * and would not be below that end. */
    if (r->intact && r->whole && !r->cut)
        r->discarded = (struct journal_end){ replica_journal_view(r), r->last_index };
    r->runs[0] = (struct journal_run){ index, view };
    r->run_count = 1;
    r->first_index = index + 1;
    r->last_index = r->saved_index = r->persist_asked = index;
    r->verified_index = index;
    r->commit_index = r->executed_index = 0;
    r->whole = index == 0; /* the state before the first entry is none */
    r->intact = r->unmarked = false;
    r->whole_at = 0;
    stop_feeding(r);
    effects_add(out, EFFECT_RESET)->reference = index;
}

void replica_dropped(struct replica *r, uint64_t first_index)
{
    assert(first_index <= r->last_index + 1);
    if (first_index > r->first_index)
        begin_at(r, first_index);
}

void replica_restored(struct replica *r, uint64_t index)
{
    r->executed_index = index;
    if (!r->whole)
        r->whole_at = index;
    else if (r->commit_index < index)
        r->commit_index = index;
    entries_become_whole(r);
    r->ack_owed = r->role != ROLE_PRIMARY && r->view.number != 0;
}

/* Recovery. */

void replica_recover_state(struct replica *r, uint64_t index, uint64_t view)
{
    /* Changes come on top of a state that is in. */
    assert(r->view.number == 0 && r->last_index == r->executed_index && r->last_index <= index);
    r->runs[0] = r->base = (struct journal_run){ index, view };
    r->first_index = index + 1;
    r->last_index = r->saved_index = r->persist_asked = index;
    r->commit_index = r->executed_index = index;
}

uint64_t replica_recover_reset(struct replica *r, uint64_t index)
{
    /* A later one may begin behind a checkpoint again: of a join that began twice, say. */
    r->whole = index <= r->commit_index;
    /* What was there before is gone, also where the new entries do not reach; and with it what was
     * forgotten of the oldest views, when there were too many. */
    r->runs[0] = r->base;
    r->run_count = 1;
    r->first_index = r->base.first_index + 1;
    r->last_index = r->saved_index = r->persist_asked = r->commit_index;
    return r->last_index;
}

bool replica_recover_entry(struct replica *r, uint64_t index, uint64_t view, uint64_t *last)
{
    uint64_t before = index - 1 < r->last_index ? index - 1 : r->last_index;

    if (index < r->first_index) {
        /* What was behind it is gone, and up to there the state has it all. */
        *last = replica_recover_reset(r, r->commit_index);
        return false;
    }
    *last = r->last_index;
    /* Older than the state: it was replaced, or would have been. */
    if (view < r->runs[0].view)
        return false;
    r->whole = index <= r->last_index + 1 && view >= replica_view_at(r, before);
    if (!r->whole)
        return false;
    while (r->run_count > 1 && r->runs[r->run_count - 1].first_index >= index)
        r->run_count--;
    *last = r->last_index = index - 1;
    entries_grown(r, index, view);
    r->saved_index = r->persist_asked = index;
    return true;
}

bool replica_recovered(struct replica *r, bool intact)
{
    r->intact = intact && r->whole && r->last_index > 0;
    /* Rule 2: whoever wrote an entry of a view had promised that view. A primary of an older one,
     * which may not know yet that it is over, would take what was committed since from here. */
    r->promised = replica_journal_view(r);
    return r->whole;
}

void replica_cut(struct replica *r)
{
    r->cut = true;
}

void replica_lived(struct replica *r, const struct lives *lives, struct journal_end discarded)
{
    r->lives = *lives;
    r->discarded = discarded;
}
