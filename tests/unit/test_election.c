/* The election rule against a small world of chance: servers with journals, crashes, restarts of
 * servers and of the rm, cuts and delays, by seed. Whatever happens, what was committed is in every
 * later primary's journal; and once all is well again, there is a view that commits.
 *
 * The servers here are models of a few lines: what a server must do for the rule to hold, and no
 * more. The whole cores meet in the simulator. */
#include <assert.h>

#include "common/random.h"
#include "tests/unit/rm_story.h"

#define JOURNAL_MAX 400u
#define QUEUE_MAX   64u
#define STEPS       1500u
#define SEEDS       UINT64_C(400)

struct entry {
    uint64_t view, id;
};

struct model {
    bool up, linked;
    bool cut;   /* an end was cut off that the power had torn */
    bool lacks; /* it has thrown its journal away to join, and knows where that ended */
    uint64_t discarded_view, discarded_length;
    uint64_t incarnation, promised;
    struct message_view view;         /* number 0: none */
    uint64_t acked[SERVER_COUNT_MAX]; /* as primary: how much each member holds of what we hold */
    uint64_t first;                   /* as primary: length with the view's first entry */
    uint64_t committed;               /* as primary */
    bool told_active;
    uint64_t length;
    struct entry journal[JOURNAL_MAX];
    uint32_t queue_count; /* from the rm, in order */
    struct message queue[QUEUE_MAX];
};

struct world {
    struct story *f;
    struct random random;
    uint64_t ms, next_id, next_life;
    uint32_t count;
    uint32_t hurt; /* server whose end was torn by a flipped bit, not by the power; count: none */
    bool persistent, mute; /* mute: the rm's sends are lost, it is about to die */
    struct model server[SERVER_COUNT_MAX];
    uint64_t committed;
    struct entry log[JOURNAL_MAX]; /* what was committed, for ever */
    uint64_t commits, views;
};

static uint64_t below(struct world *w, uint64_t bound)
{
    assert(bound > 0);
    return random_below(&w->random, bound);
}

/* ------------------------------------------------------------------ the rm's side */

/* Carries out what the rm said: messages go into the queues, stores are kept. */
static void carry_out(struct world *w)
{
    struct story *f = w->f;

    buffer_clear(&f->said, 65536);
    for (uint32_t i = 0; i < f->out.count; i++) {
        const struct effect *e = &f->out.list[i];
        struct model *s;

        if (e->type != EFFECT_SEND || !node_is_server(e->node) || w->mute)
            continue;
        s = &w->server[node_index(e->node)];
        if (s->linked && s->queue_count < QUEUE_MAX)
            s->queue[s->queue_count++] = e->message;
    }
}

static void tell(struct world *w, node_id from, struct message m)
{
    deliver(w->f, w->ms, from, m);
    carry_out(w);
}

static bool leads(const struct model *s, uint32_t i)
{
    return s->up && s->view.number && s->view.primary == NODE_SERVER(i) &&
           s->promised == s->view.number &&
           members_has(&s->view.members, NODE_SERVER(i), s->incarnation);
}

static void say_state(struct world *w, uint32_t i)
{
    const struct model *s = &w->server[i];

    if (s->linked)
        tell(w, NODE_SERVER(i),
             (struct message){
                 .type = MESSAGE_STATE,
                 .state = { .incarnation = s->incarnation,
                            .promised = s->promised,
                            .view = s->view.number,
                            .journal_view = s->length ? s->journal[s->length - 1].view : 0 } });
}

static void connect(struct world *w, uint32_t i)
{
    struct model *s = &w->server[i];

    if (!s->up || s->linked)
        return;
    s->linked = true;
    s->queue_count = 0;
    tell(w, NODE_SERVER(i),
         (struct message){ .type = MESSAGE_LINK_UP, .link_up = { .incarnation = s->incarnation } });
    say_state(w, i);
}

static void disconnect(struct world *w, uint32_t i)
{
    struct model *s = &w->server[i];

    if (!s->linked)
        return;
    s->linked = false;
    s->queue_count = 0;
    tell(w, NODE_SERVER(i),
         (struct message){ .type = MESSAGE_LINK_DOWN,
                           .link_down = { .incarnation = s->incarnation } });
}

/* ------------------------------------------------------------------ the servers' side */

static struct message report_of(const struct model *s)
{
    return (
        struct message){ .type = MESSAGE_REPORT,
                         .report = { .number = s->promised,
                                     .incarnation = s->incarnation,
                                     .intact = !s->lacks,
                                     .cut = s->cut && !s->lacks,
                                     .discarded_view = s->discarded_view,
                                     .discarded_index = s->discarded_length,
                                     .journal_view = s->length ? s->journal[s->length - 1].view : 0,
                                     .last_index = s->length } };
}

static void append(struct world *w, struct model *s)
{
    if (s->length < JOURNAL_MAX)
        s->journal[s->length++] = (struct entry){ s->view.number, ++w->next_id };
}

/* It has all that its view's primary has. */
static void become_sound(struct world *w, uint32_t i)
{
    w->server[i].cut = w->server[i].lacks = false;
    w->server[i].discarded_view = w->server[i].discarded_length = 0;
    if (w->hurt == i)
        w->hurt = w->count;
}

static void enter(struct world *w, uint32_t i, const struct message_view *view)
{
    struct model *s = &w->server[i];

    s->promised = view->number;
    s->view = *view;
    s->told_active = false;
    s->committed = 0;
    memset(s->acked, 0, sizeof s->acked);
    if (!leads(s, i))
        return;
    w->views++;
    append(w, s);
    s->first = s->length;
    become_sound(w, i);
}

static void take_message(struct world *w, uint32_t i)
{
    struct model *s = &w->server[i];
    struct message m;

    if (!s->up || !s->linked || s->queue_count == 0)
        return;
    m = s->queue[0];
    memmove(s->queue, s->queue + 1, --s->queue_count * sizeof s->queue[0]);
    if (m.type == MESSAGE_FENCE && m.fence.number >= s->promised) {
        s->promised = m.fence.number;
        tell(w, NODE_SERVER(i), report_of(s));
    } else if (m.type == MESSAGE_VIEW && m.view.number >= s->promised &&
               m.view.number > s->view.number) {
        enter(w, i, &m.view);
        say_state(w, i);
    }
}

/* The primary makes the other's journal equal to its own, up to a length. */
static void copy_journal(const struct model *from, struct model *to, uint64_t length)
{
    uint64_t same = 0;

    while (same < from->length && same < to->length &&
           from->journal[same].view == to->journal[same].view) {
        assert_int_equal(from->journal[same].id, to->journal[same].id); /* log matching */
        same++;
    }
    if (same < to->length)
        to->length = same; /* only what conflicts */
    for (uint64_t k = to->length; k < length; k++)
        to->journal[to->length++] = from->journal[k];
}

/* A primary passes its view on, also when it does not know yet that it is over. */
static void pass_on(struct world *w, uint32_t p, uint32_t i)
{
    const struct message_view *view = &w->server[p].view;
    const struct model *s = &w->server[i];

    if (p == i || !leads(&w->server[p], p) || !s->up || view->number < s->promised ||
        view->number <= s->view.number || below(w, 2))
        return;
    enter(w, i, view);
    say_state(w, i);
}

static uint64_t end_view(const struct model *s)
{
    return s->length ? s->journal[s->length - 1].view : 0;
}

/* As server/replica_feed.c and replica_follow.c judge it: the view is active, or the journal ends
 * before an entry that the primary knows to be committed. */
static bool may_throw_away(struct world *w, const struct model *primary, const struct model *s)
{
    uint64_t known =
        below(w, 1 + (w->committed < primary->length ? w->committed : primary->length));
    uint64_t view = known ? primary->journal[known - 1].view : 0;

    return s->length > 0 && (primary->committed >= primary->first || end_view(s) < view ||
                             (end_view(s) == view && s->length < known));
}

/* A joiner begins anew, and goes on from a state of the primary's, of which it lacks the beginning:
 * here it has nothing until it catches up. */
static void throw_away(struct model *s)
{
    if (!s->lacks && !s->cut) {
        s->discarded_view = end_view(s);
        s->discarded_length = s->length;
    }
    s->lacks = true;
    s->length = 0;
}

static void replicate(struct world *w, uint32_t p, uint32_t i)
{
    struct model *primary = &w->server[p], *s = &w->server[i];

    if (p == i || !leads(primary, p) || !s->up || s->promised != primary->view.number ||
        s->view.number != primary->view.number)
        return;
    if (members_has(&primary->view.members, NODE_SERVER(i), s->incarnation)) {
        uint64_t length = primary->first + below(w, primary->length - primary->first + 1);

        if (below(w, 2))
            length = primary->length;
        if (s->length > length && s->journal[s->length - 1].view == primary->view.number)
            length = s->length;
        copy_journal(primary, s, length);
        become_sound(w, i);
        primary->acked[i] = s->length;
    } else if (w->persistent && below(w, 6) == 0) {
        if (may_throw_away(w, primary, s))
            throw_away(s);
    } else if (below(w, 3) == 0) {
        copy_journal(primary, s, primary->length);
        if (primary->linked)
            tell(w, NODE_SERVER(p),
                 (struct message){
                     .type = MESSAGE_CAUGHT_UP,
                     .caught_up = { primary->view.number, NODE_SERVER(i), s->incarnation } });
    }
}

static uint32_t holders(const struct model *primary, uint32_t p, uint64_t length)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++)
        if ((primary->view.members.set >> i & 1u) && (i == p || primary->acked[i] >= length))
            count++;
    return count;
}

/* What acks members hold is committed, now and for ever. */
static void commit(struct world *w, uint32_t p)
{
    struct model *s = &w->server[p];
    uint64_t length = s->length;

    if (!leads(s, p))
        return;
    while (length >= s->first && holders(s, p, length) < s->view.acks)
        length--;
    if (length < s->first)
        return;
    for (uint64_t k = 0; k < length && k < w->committed; k++)
        assert_int_equal(s->journal[k].id, w->log[k].id);
    s->committed = length;
    if (length <= w->committed)
        return; /* an old primary, that has yet to hear of its successor */
    w->commits += length - w->committed;
    memcpy(w->log, s->journal, length * sizeof w->log[0]);
    w->committed = length;
    if (!s->told_active && s->linked) {
        s->told_active = true;
        if (below(w, 4)) /* else it is lost */
            tell(w, NODE_SERVER(p),
                 (struct message){ .type = MESSAGE_ACTIVE, .active = { s->view.number, 0 } });
    }
}

/* ------------------------------------------------------------------ what happens to them */

static void start(struct world *w, uint32_t i)
{
    struct model *s = &w->server[i];

    if (s->up)
        return;
    s->up = true;
    s->incarnation = ++w->next_life;
    s->view = (struct message_view){ 0 };
    if (!w->persistent)
        s->length = 0;
    s->promised = s->length ? s->journal[s->length - 1].view : 0;
    gfd_adds(w->f, w->ms, NODE_SERVER(i), s->incarnation);
    carry_out(w);
    if (below(w, 2)) /* else it meets the others before the rm */
        connect(w, i);
}

/* One server alone may hold what was acknowledged by one. */
static bool everything_is_held_twice(const struct world *w)
{
    const struct saved *saved = &w->f->rm.saved;

    for (uint32_t n = 0; n < saved->view_count; n++)
        if (saved->views[n].acks < 2)
            return false;
    return saved->view_count > 0;
}

/* Its machine loses its power: an unfinished group at the end is cut off. Now and then, at one
 * server at a time, that was no unfinished one. */
static void cut_end(struct world *w, uint32_t i)
{
    struct model *s = &w->server[i];

    s->cut = true;
    if (w->hurt != w->count || !everything_is_held_twice(w))
        return;
    w->hurt = i;
    s->length -= s->length < 3 ? s->length : 1 + below(w, 3);
}

static void crash(struct world *w, uint32_t i)
{
    struct model *s = &w->server[i];
    bool certain = below(w, 2);

    if (!s->up)
        return;
    disconnect(w, i);
    s->up = false;
    if (w->persistent && below(w, 3) == 0)
        cut_end(w, i);
    gfd_deletes(w->f, w->ms, NODE_SERVER(i), certain);
    carry_out(w);
}

/* Taken for dead by mistake: it lives on, and is listed again later. */
static void misjudge(struct world *w, uint32_t i)
{
    struct model *s = &w->server[i];

    if (!s->up)
        return;
    if (w->f->members.set >> i & 1u)
        gfd_deletes(w->f, w->ms, NODE_SERVER(i), false);
    else
        gfd_adds(w->f, w->ms, NODE_SERVER(i), s->incarnation);
    carry_out(w);
}

static void restart_rm(struct world *w)
{
    for (uint32_t i = 0; i < w->count; i++) {
        w->server[i].linked = false;
        w->server[i].queue_count = 0;
    }
    w->mute = false;
    w->ms += below(w, 100);
    begin(w->f, w->ms);
    gfd_link(w->f, w->ms);
    gfd_lists(w->f, w->ms);
    carry_out(w);
}

static void ask_switchover(struct world *w, uint32_t i)
{
    effects_clear(&w->f->out);
    (void)view_switchover(&w->f->rm.view, NODE_SERVER(i), &w->f->out);
}

static void accuse(struct world *w, uint32_t from, uint32_t peer)
{
    if (w->server[from].linked && saved_current(&w->f->rm.saved)) {
        accuses(w->f, w->ms, NODE_SERVER(from), NODE_SERVER(peer));
        carry_out(w);
    }
}

static void chance(struct world *w)
{
    uint32_t i = (uint32_t)below(w, w->count), j = (uint32_t)below(w, w->count);

    switch (below(w, 60)) {
    case 0:
    case 1: crash(w, i); break;
    case 2:
    case 3:
    case 4: start(w, i); break;
    case 5: disconnect(w, i); break;
    case 6:
    case 7:
    case 8: connect(w, i); break;
    case 9: misjudge(w, i); break;
    case 10:
        if (below(w, 4) == 0)
            restart_rm(w);
        break;
    case 11: w->mute = below(w, 8) == 0 || w->mute; break; /* it dies soon: nothing more is sent */
    case 12: ask_switchover(w, i); break;
    case 13: accuse(w, i, j); break;
    case 14: say_state(w, i); break;
    default: break;
    }
}

/* ------------------------------------------------------------------ time */

static void let_time_pass(struct world *w, uint64_t ms)
{
    w->ms += ms;
    if (instant_reached(at(w->ms), instant_min(view_deadline(&w->f->rm.view),
                                               roster_deadline(&w->f->rm.roster)))) {
        tick(w->f, w->ms);
        carry_out(w);
    }
}

static void live(struct world *w)
{
    uint32_t i = (uint32_t)below(w, w->count), j = (uint32_t)below(w, w->count);

    take_message(w, i);
    take_message(w, j);
    if (leads(&w->server[i], i) && w->server[i].length + w->count < JOURNAL_MAX - 50 &&
        below(w, 4) == 0)
        append(w, &w->server[i]);
    pass_on(w, i, j);
    replicate(w, i, j);
    replicate(w, j, i);
    commit(w, i);
    let_time_pass(w, below(w, 3) ? 0 : below(w, 40));
}

static void heal(struct world *w)
{
    if (w->mute)
        restart_rm(w);
    for (uint32_t i = 0; i < w->count; i++) {
        start(w, i);
        if (!(w->f->members.set >> i & 1u))
            misjudge(w, i);
        connect(w, i);
        say_state(w, i);
    }
    for (uint32_t step = 0; step < 4000; step++) {
        live(w);
        say_state(w, step % w->count); /* as when something in it has changed */
    }
}

static void begin_world(struct world *w, struct story *f, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->f = f;
    w->random = random_seeded(seed);
    w->count = 1 + (uint32_t)below(w, 5);
    w->persistent = below(w, 2);
    w->hurt = w->count;
    f->options.server_count = f->options.host_count = w->count;
    f->options.persistent = w->persistent;
    f->options.policy.acks = (enum acks_policy)below(w, 3);
    f->options.policy.acks_count = 1 + (uint32_t)below(w, w->count);
    f->members = (struct members){ 0 };
    f->stored_size = 0;
    begin(f, 0);
    gfd_link(f, 0);
    gfd_lists(f, 0);
    carry_out(w);
    for (uint32_t i = 0; i < w->count; i++)
        start(w, i);
}

/* The only excuse for no view: memory journals are lost, and the rm says so. */
static bool is_well(const struct world *w)
{
    const struct view *v = &w->f->rm.view;
    const struct message_view *current = saved_current(&w->f->rm.saved);

    if (v->waits[0])
        return !w->persistent;
    return current && view_settled(v, at(w->ms)) && members_count(&current->members) == w->count;
}

static void test_worlds(void **state)
{
    struct story *f = *state;
    struct world *w = memory_zeroed(1, sizeof *w);
    uint64_t commits = 0, views = 0, excused = 0;

    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        begin_world(w, f, seed);
        for (uint32_t step = 0; step < STEPS; step++) {
            live(w);
            chance(w);
        }
        heal(w);
        if (!is_well(w))
            fail_msg("seed %llu: not well after healing: %u servers, view %llu, members %x, "
                     "fencing %d, active %d, waits \"%s\"",
                     (unsigned long long)seed, w->count, (unsigned long long)f->rm.view.number,
                     saved_current(&f->rm.saved) ? saved_current(&f->rm.saved)->members.set : 0,
                     f->rm.view.fencing, f->rm.view.active, f->rm.view.waits);
        commits += w->commits;
        views += w->views;
        excused += f->rm.view.waits[0] != '\0';
    }
    free(w);
    /* The worlds are not so bad that nothing happens in them. */
    assert_true(commits > SEEDS * 20);
    assert_true(views > SEEDS * 5);
    assert_true(excused < SEEDS * 3 / 4);
}

/* ------------------------------------------------------------------ the rule by itself */

static void add_report(struct election *e, const struct saved *saved, node_id server,
                       uint64_t incarnation, uint64_t view, uint64_t index)
{
    const struct message_report report = {
        .incarnation = incarnation, .intact = 1, .journal_view = view, .last_index = index
    };

    election_add(e, saved, server, &report);
}

static void put_view(struct saved *saved, uint64_t number, uint32_t set, uint8_t acks)
{
    struct message_view view = { .number = number, .acks = acks };

    for (uint32_t i = 0; i < 5; i++)
        if (set >> i & 1u)
            members_put(&view.members, NODE_SERVER(i), life(NODE_SERVER(i), 1));
    view.primary = NODE_SERVER((uint32_t)__builtin_ctz(set));
    saved->views[saved->view_count++] = view;
}

/* The view of the leader's journal answers for those below it, not for those above. */
static void test_answers_below(void **state)
{
    const struct view_policy policy = { .acks = ACKS_MAJORITY };
    struct saved saved;
    struct election e;
    struct election_lack lack;

    (void)state;
    saved_init(&saved, &policy, 5);
    put_view(&saved, 4, 0x1f, 3); /* all five: needs 3 */
    put_view(&saved, 6, 0x07, 2); /* s1, s2, s3: needs 2 */
    election_init(&e, false);
    add_report(&e, &saved, S2, 21, 6, 10);
    assert_false(election_permits(&e, &saved, S2, &lack));
    assert_int_equal(lack.view, 6);
    assert_int_equal(lack.count, 1);
    assert_int_equal(lack.missing, 0x05);
    add_report(&e, &saved, S3, 31, 4, 30); /* longer, but of an older view */
    assert_true(election_permits(&e, &saved, S2, NULL));
    assert_false(election_permits(&e, &saved, S3, &lack));
    assert_int_equal(lack.outranks, 0x02);
    add_report(&e, &saved, S4, 41, 4, 30); /* of no help for view 6 */
    assert_false(election_permits(&e, &saved, S4, NULL));
    assert_false(election_permits(&e, &saved, S5, NULL)); /* did not report */
}

/* A server of the next life is nobody in memory, and the same from an intact disk. */
static void test_lives(void **state)
{
    const struct view_policy policy = { .acks = ACKS_ALL };
    struct saved saved;
    struct election e;

    (void)state;
    saved_init(&saved, &policy, 5);
    put_view(&saved, 1, 0x03, 2);
    election_init(&e, false);
    add_report(&e, &saved, S1, 12, 1, 5);
    assert_false(election_permits(&e, &saved, S1, NULL));
    election_init(&e, true);
    add_report(&e, &saved, S1, 12, 1, 5);
    assert_true(election_permits(&e, &saved, S1, NULL));
}

/* A directory in which that very life wrote lacks nothing that it acknowledged, though it may lack
 * what others did; one that was made later, after a lost disk, answers for nothing. */
static void test_lives_before_complete(void **state)
{
    const struct view_policy policy = { .acks = ACKS_COUNT, .acks_count = 1 };
    struct message_report report = { .incarnation = 13, .lives = { .count = 1 } };
    struct saved saved;
    struct election e;
    struct election_lack lack;

    (void)state;
    saved_init(&saved, &policy, 5);
    put_view(&saved, 1, 0x03, 1); /* s1 under 11 and s2 under 21: needs both */
    election_init(&e, true);
    add_report(&e, &saved, S2, 21, 0, 0);
    report.lives.incarnation[0] = 12; /* between the two its disk was lost */
    election_add(&e, &saved, S1, &report);
    assert_false(election_permits(&e, &saved, S2, &lack));
    assert_int_equal(lack.missing, 0x01);
    report.lives.incarnation[0] = 11;
    election_add(&e, &saved, S1, &report);
    assert_true(election_permits(&e, &saved, S2, NULL));
    election_init(&e, false); /* in memory it died with its life */
    add_report(&e, &saved, S2, 21, 0, 0);
    election_add(&e, &saved, S1, &report);
    assert_false(election_permits(&e, &saved, S2, NULL));
}

/* A joiner threw away what ended before an entry that was committed without it: it answers by that
 * end for a view that needs every member's word, also in a later life (seed 8018702). */
static void test_discarded(void **state)
{
    const struct view_policy policy = { .acks = ACKS_COUNT, .acks_count = 1 };
    struct message_report report = { .incarnation = 23,
                                     .lives = { .count = 1, .incarnation = { 22 } },
                                     .discarded_view = 1,
                                     .discarded_index = 45,
                                     .stateless = 1 };
    struct saved saved;
    struct election e;
    struct election_lack lack;

    (void)state;
    saved_init(&saved, &policy, 5);
    put_view(&saved, 1, 0x03, 1); /* s1 under 11 and s2 under 21: needs both */
    put_view(&saved, 2, 0x01, 1); /* s1 went on alone, and did not get far */
    for (uint32_t persistent = 0; persistent < 2; persistent++) {
        election_init(&e, persistent);
        add_report(&e, &saved, S1, 12, 1, 56);
        election_add(&e, &saved, S2, &report);
        assert_int_equal(election_permits(&e, &saved, S1, NULL), persistent);
    }
    report.discarded_index = 57; /* what s1 lacks of it may have been acknowledged */
    election_add(&e, &saved, S2, &report);
    assert_false(election_permits(&e, &saved, S1, &lack));
    assert_int_equal(lack.view, 1);
    assert_int_equal(lack.missing, 0x02);
    report.discarded_view = 0; /* nobody knows what it acknowledged */
    election_add(&e, &saved, S2, &report);
    assert_false(election_permits(&e, &saved, S1, NULL));
}

/* A journal that was cut when the power went may lack its last group. It does not count alone where
 * another could still tell; when all have reported, nobody could. */
static void test_cut(void **state)
{
    const struct view_policy policy = { .acks = ACKS_ALL };
    struct message_report report = {
        .incarnation = 12, .intact = 1, .cut = 1, .journal_view = 1, .last_index = 5
    };
    struct saved saved;
    struct election e;
    struct election_lack lack;

    (void)state;
    saved_init(&saved, &policy, 5);
    put_view(&saved, 1, 0x07, 3); /* s1, s2, s3: needs one */
    election_init(&e, true);
    election_add(&e, &saved, S1, &report);
    assert_false(election_permits(&e, &saved, S1, &lack));
    assert_int_equal(lack.count, 1);
    assert_int_equal(lack.missing, 0x06);
    assert_int_equal(lack.cut, 0x01);
    add_report(&e, &saved, S2, 22, 1, 6);
    assert_false(election_permits(&e, &saved, S1, NULL)); /* so it was lacking */
    assert_true(election_permits(&e, &saved, S2, NULL));
    report.incarnation = 22;
    election_add(&e, &saved, S2, &report);
    assert_true(election_permits(&e, &saved, S1, NULL)); /* two, of which one may lack it */

    saved.view_count = 0;
    put_view(&saved, 1, 0x03, 1); /* needs both anyway */
    assert_true(election_permits(&e, &saved, S1, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(test_worlds),
        cmocka_unit_test(test_answers_below),
        cmocka_unit_test(test_lives),
        cmocka_unit_test(test_lives_before_complete),
        cmocka_unit_test(test_discarded),
        cmocka_unit_test(test_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
