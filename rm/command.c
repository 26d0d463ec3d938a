#include "rm/command.h"

#include <assert.h>

enum progress { PROGRESS_WAITS, PROGRESS_DONE, PROGRESS_REFUSED };

static const struct message_view *current_of(const struct rm *rm)
{
    return saved_current(&rm->saved);
}

static void answer(uint64_t reference, bool done, const char *text, struct effects *out)
{
    struct effect *effect = effects_add(out, EFFECT_ANSWER);

    effect->reference = reference;
    effect->number = done ? 1 : 0;
    effect->text = text;
}

static void finish(struct rm_command *c, enum progress progress, const char *text,
                   struct effects *out)
{
    assert(c->used && progress != PROGRESS_WAITS);
    answer(c->command.reference, progress == PROGRESS_DONE, text, out);
    c->used = false;
}

static bool names_server(uint8_t verb)
{
    return verb == COMMAND_SWITCHOVER || verb == COMMAND_START || verb == COMMAND_STOP ||
           verb == COMMAND_RESTART;
}

/* ------------------------------------------------------------------ beginning */

/* A life whose end was ordered is wanted in no view any more, though it runs and is listed: the
 * order may be late, and by then the view may not do without it. */
static void begin_start(struct rm *rm, struct instant now, node_id server, struct effects *out)
{
    repair_start(&rm->repair, now, server, out);
    if (rm->repair.server[node_index(server)].expected)
        view_leave(&rm->view, server);
    else
        view_stay(&rm->view, server);
}

static const char *begin_restart(struct rm *rm, struct instant now, node_id server,
                                 struct effects *out)
{
    const char *refusal;

    if (!rm->roster.server[node_index(server)].listed) {
        begin_start(rm, now, server, out);
        return NULL;
    }
    refusal = view_can_leave(&rm->view, server, out);
    if (refusal)
        return refusal;
    repair_start(&rm->repair, now, server, out); /* it is wanted, whatever was before */
    repair_restart(&rm->repair, server);
    view_leave(&rm->view, server);
    return NULL;
}

static const char *begin_stop(struct rm *rm, node_id server, struct effects *out)
{
    const char *refusal = view_can_leave(&rm->view, server, out);

    if (refusal)
        return refusal;
    view_stay(&rm->view, server); /* an earlier refusal, or a restart, is forgotten */
    repair_stop(&rm->repair, server, out);
    return NULL;
}

static enum acks_policy acks_of(const struct message_command *m)
{
    if (m->verb == COMMAND_ACKS_ALL)
        return ACKS_ALL;
    return m->verb == COMMAND_ACKS_MAJORITY ? ACKS_MAJORITY : ACKS_COUNT;
}

static const char *cut_text(const struct message_command *m, struct effects *out)
{
    if (m->verb == COMMAND_HEAL)
        return effects_text(out, "the link of %s and %s is healed", node_name(m->server),
                            node_name(m->peer));
    return effects_text(out, "the link of %s and %s is cut for %u s", node_name(m->server),
                        node_name(m->peer), m->count);
}

/* Both ends fall silent, so that neither sees the other close the link, and each by a clock of its
 * own: it ends also when we do, or one of them. */
static const char *begin_cut(struct rm *rm, const struct message_command *m, struct effects *out)
{
    const node_id ends[] = { m->server, m->peer };
    uint32_t seconds = m->verb == COMMAND_CUT ? m->count : 0;

    if (!roster_is_server(&rm->roster, m->server) || !roster_is_server(&rm->roster, m->peer) ||
        m->server == m->peer)
        return "a link has two servers";
    if (m->verb == COMMAND_CUT && (seconds < 1 || seconds > CUT_SECONDS_MAX))
        return effects_text(out, "a link is cut for 1 to %u s", CUT_SECONDS_MAX);
    for (uint32_t i = 0; i < 2; i++)
        if (!rm->roster.server[node_index(ends[i])].linked)
            return effects_text(out, "%s is not linked to the rm", node_name(ends[i]));
    for (uint32_t i = 0; i < 2; i++)
        effects_send(
            out, ends[i],
            (struct message){ .type = MESSAGE_SILENCE,
                              .silence = { .peer = ends[1 - i], .seconds = (uint8_t)seconds } });
    effects_note_at(out, NOTE_WARN, "%s", cut_text(m, out));
    return NULL;
}

/* NULL, or why it cannot be done. */
static const char *begin(struct rm *rm, struct instant now, const struct message_command *m,
                         struct effects *out)
{
    switch (m->verb) {
    case COMMAND_SWITCHOVER: return view_switchover(&rm->view, m->server, out);
    case COMMAND_START: begin_start(rm, now, m->server, out); return NULL;
    case COMMAND_STOP: return begin_stop(rm, m->server, out);
    case COMMAND_RESTART: return begin_restart(rm, now, m->server, out);
    case COMMAND_RECOVER: return view_recover(&rm->view);
    case COMMAND_STYLE_ACTIVE: view_style(&rm->view, STYLE_ACTIVE, out); return NULL;
    case COMMAND_STYLE_PASSIVE: view_style(&rm->view, STYLE_PASSIVE, out); return NULL;
    case COMMAND_ACKS_ALL:
    case COMMAND_ACKS_MAJORITY:
    case COMMAND_ACKS_COUNT: return view_acks(&rm->view, acks_of(m), m->count, out);
    case COMMAND_CUT:
    case COMMAND_HEAL: return begin_cut(rm, m, out);
    default: return "unknown command";
    }
}

/* Two commands about one server contradict each other: the later one rules. */
static void supersede(struct rm *rm, const struct message_command *m, struct effects *out)
{
    if (!names_server(m->verb) || m->verb == COMMAND_SWITCHOVER)
        return;
    for (uint32_t i = 0; i < RM_COMMANDS_MAX; i++) {
        struct rm_command *c = &rm->command[i];

        if (c->used && names_server(c->command.verb) && c->command.verb != COMMAND_SWITCHOVER &&
            c->command.server == m->server)
            finish(c, PROGRESS_REFUSED, "another command for that server came after it", out);
    }
}

static struct rm_command *unused(struct rm *rm)
{
    for (uint32_t i = 0; i < RM_COMMANDS_MAX; i++)
        if (!rm->command[i].used)
            return &rm->command[i];
    return NULL;
}

void rm_command_begin(struct rm *rm, struct instant now, const struct message_command *m,
                      struct effects *out)
{
    const struct message_view *current = current_of(rm);
    struct rm_command *c;
    const char *refusal;

    if (names_server(m->verb) && !roster_is_server(&rm->roster, m->server)) {
        answer(m->reference, false, "there is no such server", out);
        return;
    }
    c = unused(rm);
    refusal = c ? begin(rm, now, m, out) : "too many commands are under way";
    if (refusal) {
        answer(m->reference, false, refusal, out);
        return;
    }
    supersede(rm, m, out);
    *c = (struct rm_command){
        .used = true,
        .command = *m,
        .deadline = instant_add_ms(now, RM_COMMAND_MS_MAX),
        .view = current ? current->number : 0,
    };
    if (names_server(m->verb))
        c->incarnation = rm->roster.server[node_index(m->server)].listed;
}

/* ------------------------------------------------------------------ going on */

static enum progress switchover_progress(const struct rm *rm, const struct rm_command *c,
                                         const char **text, struct effects *out)
{
    const struct message_view *current = current_of(rm);

    if (rm->view.target == c->command.server || !current) {
        *text = "the view with it as primary";
        return PROGRESS_WAITS;
    }
    if (current->primary != c->command.server) {
        *text = rm->view.refusal[0] ? effects_text(out, "%s", rm->view.refusal)
                                    : "another view change came first; try again";
        return PROGRESS_REFUSED;
    }
    *text = effects_text(out, "%s is primary of view %llu", node_name(current->primary),
                         (unsigned long long)current->number);
    return rm->view.active ? PROGRESS_DONE : PROGRESS_WAITS;
}

/* What word of a server that is not listed is waited for. */
static const char *awaited(const struct rm *rm, uint32_t i, const char *of_lfd)
{
    if (!rm->roster.gfd_linked)
        return "the gfd";
    return rm->roster.host[rm->repair.options.server_host[i]].up ? of_lfd : "the lfd of its host";
}

/* Whether the server is gone from the membership, or why that takes so long. */
static enum progress leaving_progress(struct rm *rm, const struct rm_command *c, const char **text)
{
    const struct message_view *current = current_of(rm);
    uint32_t i = node_index(c->command.server);

    if (in_set(rm->view.kept, i)) {
        *text = current && current->primary == c->command.server
                    ? "no other server may lead without it: it holds entries that the others lack"
                    : "without it there would be too few members for acks";
        return PROGRESS_REFUSED;
    }
    if (!c->incarnation || rm->roster.server[i].listed != c->incarnation)
        return PROGRESS_DONE;
    *text = in_set(rm->repair.may_stop, i) ? "its end" : "the view without it";
    return PROGRESS_WAITS;
}

/* That a server is not listed need not mean that it does not run: we may be about to hear of it, or
 * its host may be out of sight. */
static enum progress stop_progress(struct rm *rm, struct rm_command *c, const char **text,
                                   struct instant now, struct effects *out)
{
    uint32_t i = node_index(c->command.server);
    enum progress progress;

    if (!c->incarnation)
        c->incarnation = rm->roster.server[i].listed;
    if (!c->incarnation &&
        !instant_reached(now, repair_absent_from(&rm->repair, c->command.server))) {
        *text = awaited(rm, i, "the word whether it runs");
        return PROGRESS_WAITS;
    }
    progress = leaving_progress(rm, c, text);
    if (progress == PROGRESS_REFUSED)
        begin_start(rm, now, c->command.server, out);
    if (progress == PROGRESS_DONE)
        *text = effects_text(out, "%s is stopped", node_name(c->command.server));
    return progress;
}

static enum progress start_progress(const struct rm *rm, const struct rm_command *c,
                                    const char **text, struct effects *out)
{
    uint32_t i = node_index(c->command.server);
    uint64_t listed = rm->roster.server[i].listed;

    if (listed && rm->repair.server[i].expected) {
        *text = "its end, which was ordered before";
        return PROGRESS_WAITS;
    }
    if (listed) {
        *text = effects_text(out, "%s is %s", node_name(c->command.server),
                             c->incarnation == listed ? "running already" : "started");
        return PROGRESS_DONE;
    }
    if (rm->repair.server[i].state == REPAIR_FAILED) {
        *text = effects_text(out, "%s failed again and again", node_name(c->command.server));
        return PROGRESS_REFUSED;
    }
    *text = awaited(rm, i, "its start");
    return PROGRESS_WAITS;
}

/* A server that was not listed, and turns out to have been running, is to be restarted now. NULL,
 * or why it cannot be. */
static const char *restart_found(struct rm *rm, struct rm_command *c, struct instant now,
                                 struct effects *out)
{
    uint32_t i = node_index(c->command.server);
    uint64_t listed = rm->roster.server[i].listed;

    if (c->incarnation || c->absent)
        return NULL;
    if (!listed) {
        c->absent = instant_reached(now, repair_absent_from(&rm->repair, c->command.server));
        return NULL;
    }
    c->incarnation = listed;
    return rm->repair.server[i].expected ? NULL : begin_restart(rm, now, c->command.server, out);
}

static enum progress restart_progress(struct rm *rm, struct rm_command *c, const char **text,
                                      struct instant now, struct effects *out)
{
    uint32_t i = node_index(c->command.server);
    enum progress progress;

    *text = restart_found(rm, c, now, out);
    if (*text)
        return PROGRESS_REFUSED;
    progress = leaving_progress(rm, c, text);
    if (progress == PROGRESS_REFUSED)
        repair_restart_not(&rm->repair, c->command.server);
    if (progress != PROGRESS_DONE)
        return progress;
    if (!rm->roster.server[i].listed || rm->repair.server[i].expected)
        return start_progress(rm, c, text, out);
    *text = effects_text(out, "%s is started again", node_name(c->command.server));
    return PROGRESS_DONE;
}

static enum progress recover_progress(const struct rm *rm, const struct rm_command *c,
                                      const char **text, struct effects *out)
{
    const struct message_view *current = current_of(rm);

    if (!current || current->number <= c->view) {
        *text = rm->view.waits[0] ? effects_text(out, "%s", rm->view.waits) : "reports";
        return PROGRESS_WAITS;
    }
    *text = effects_text(out, "view %llu, primary %s", (unsigned long long)current->number,
                         node_name(current->primary));
    return PROGRESS_DONE;
}

static enum progress style_progress(const struct rm *rm, const struct rm_command *c,
                                    const char **text, struct effects *out)
{
    const struct message_view *current = current_of(rm);
    uint8_t style = c->command.verb == COMMAND_STYLE_ACTIVE ? STYLE_ACTIVE : STYLE_PASSIVE;

    if ((uint8_t)rm->saved.wanted.style != style) {
        *text = "another style was asked for after it";
        return PROGRESS_REFUSED;
    }
    *text = "a view of that style";
    if (!current || current->style != style || !rm->view.active)
        return PROGRESS_WAITS;
    *text = effects_text(out, "view %llu is %s", (unsigned long long)current->number,
                         style_name(style));
    return PROGRESS_DONE;
}

static enum progress acks_progress(const struct rm *rm, const struct rm_command *c,
                                   const char **text, struct effects *out)
{
    const struct message_view *current = current_of(rm);
    const struct view_policy *wanted = &rm->saved.wanted;
    uint32_t members = current ? members_count(&current->members) : 0;

    if (wanted->acks != acks_of(&c->command) || wanted->acks_count != c->command.count) {
        *text = "other acks were asked for after it";
        return PROGRESS_REFUSED;
    }
    *text = "a view with these acks";
    if (!current || current->acks != view_policy_acks(wanted, members) || !rm->view.active)
        return PROGRESS_WAITS;
    *text = effects_text(out, "view %llu has acks %u of %u members",
                         (unsigned long long)current->number, current->acks, members);
    return PROGRESS_DONE;
}

static enum progress progress_of(struct rm *rm, struct instant now, struct rm_command *c,
                                 const char **text, struct effects *out)
{
    switch (c->command.verb) {
    case COMMAND_SWITCHOVER: return switchover_progress(rm, c, text, out);
    case COMMAND_START: return start_progress(rm, c, text, out);
    case COMMAND_STOP: return stop_progress(rm, c, text, now, out);
    case COMMAND_RESTART: return restart_progress(rm, c, text, now, out);
    case COMMAND_RECOVER: return recover_progress(rm, c, text, out);
    case COMMAND_STYLE_ACTIVE:
    case COMMAND_STYLE_PASSIVE: return style_progress(rm, c, text, out);
    case COMMAND_CUT:
    case COMMAND_HEAL: *text = cut_text(&c->command, out); return PROGRESS_DONE;
    default: return acks_progress(rm, c, text, out);
    }
}

/* Too late: what only changes the view is given up, and the end of a life of which nothing was
 * heard; a server that is to run or not is still. */
static void give_up(struct rm *rm, struct rm_command *c, const char *waits, struct effects *out)
{
    bool unfound = c->command.verb == COMMAND_RESTART && !c->incarnation && !c->absent;
    bool wanted =
        c->command.verb != COMMAND_SWITCHOVER && c->command.verb != COMMAND_RECOVER && !unfound;

    switch (c->command.verb) {
    case COMMAND_SWITCHOVER: view_switchover_not(&rm->view); break;
    case COMMAND_RECOVER: view_recover_not(&rm->view); break;
    default: break;
    }
    finish(c, PROGRESS_REFUSED,
           effects_text(out, "not done within %u s%s: waits for %s", RM_COMMAND_MS_MAX / 1000u,
                        wanted ? ", but still wanted" : "", waits),
           out);
}

void rm_command_go_on(struct rm *rm, struct instant now, struct effects *out)
{
    for (uint32_t i = 0; i < RM_COMMANDS_MAX; i++) {
        struct rm_command *c = &rm->command[i];
        const char *text = "";
        enum progress progress;

        if (!c->used)
            continue;
        progress = progress_of(rm, now, c, &text, out);
        if (progress != PROGRESS_WAITS)
            finish(c, progress, text, out);
        else if (instant_reached(now, c->deadline))
            give_up(rm, c, text, out);
    }
}

struct instant rm_command_deadline(const struct rm *rm)
{
    struct instant when = INSTANT_NEVER;

    for (uint32_t i = 0; i < RM_COMMANDS_MAX; i++) {
        const struct rm_command *c = &rm->command[i];

        if (!c->used)
            continue;
        when = instant_min(when, c->deadline);
        if (c->command.verb == COMMAND_STOP && !c->incarnation)
            when = instant_min(when, repair_absent_from(&rm->repair, c->command.server));
    }
    return when;
}
