/* The rm, the gfd or an lfd, among nodes that say anything: it goes on. What an rm stores, another
 * life of it begins with; and each command of the operator is answered once.
 *
 * An input is u8 which of them, then steps: u8 what, u8 how, and what the step takes. Only what the
 * edge of each says itself (links, processes, commands) is in order. */
#include <signal.h>
#include <stdlib.h>

#include "gfd/membership.h"
#include "lfd/detector.h"
#include "rm/rm.h"
#include "tests/fuzz/arbitrary.h"

#define SERVERS   4u
#define HOSTS     3u
#define TURNS_MAX 100u /* at one moment: by then it waits */
#define COMMANDS  64u
#define NODES_MAX 6u
#define RM_MS     20u /* of its waits and pauses, but for those of a restart */
#define EXIT_KILL 9u

enum step {
    STEP_MESSAGE,
    STEP_MESSAGE_TOO,
    STEP_MESSAGE_AGAIN,
    STEP_FRAME, /* as it crosses a link */
    STEP_TIME,
    STEP_LINK,
    STEP_EDGE,
    STEP_COUNT
};

struct process {
    bool spawning;
    uint32_t pid; /* 0: none */
    bool looked_at;
};

struct manager {
    struct core core;
    struct effects *out;
    struct arbitrary arbitrary;
    struct instant now;
    node_id nodes[NODES_MAX]; /* that may have a link to it */
    uint32_t node_count;
    uint64_t linked; /* nodes */
    union {
        struct rm *rm;
        struct membership *membership;
        struct detector *detector;
    };
    struct buffer stored;
    bool asked[COMMANDS]; /* and not answered yet */
    uint8_t command_count;
    struct process processes[SERVERS]; /* of an lfd */
    uint32_t pid;
};

/* Large: to get them anew for each input takes longer than the input. */
static struct effects effects;
static union {
    struct rm rm;
    struct membership membership;
    struct detector detector;
} cores;

static uint64_t incarnation_of(node_id node)
{
    return node_is_server(node) ? 11ull * (node_index(node) + 1u) : 70u + node;
}

/* ---- What it wants ---- */

static void carry_out(struct manager *m)
{
    sends_check(m->out);
    for (uint32_t i = 0; i < m->out->count; i++) {
        const struct effect *e = &m->out->list[i];
        struct process *process =
            node_is_server(e->node) ? &m->processes[node_index(e->node) % SERVERS] : NULL;

        switch (e->type) {
        case EFFECT_SEND:
        case EFFECT_NOTE: break;
        case EFFECT_STORE:
            buffer_clear(&m->stored, 4096);
            buffer_append(&m->stored, e->data.data, e->data.size);
            break;
        case EFFECT_ANSWER:
            assert(e->reference < COMMANDS && m->asked[e->reference] && e->text);
            m->asked[e->reference] = false;
            break;
        case EFFECT_SPAWN:
            assert(process && !process->spawning && process->pid == 0);
            process->spawning = true;
            break;
        case EFFECT_KILL:
            assert(process && process->pid != 0);
            process->looked_at = process->looked_at || e->number == 0;
            break;
        default: assert(false); break;
        }
    }
    effects_clear(m->out);
    m->core.check(m->core.self);
}

static void says(struct manager *m, node_id from, struct message message)
{
    message.from = from;
    m->core.receive(m->core.self, m->now, &message, m->out);
    carry_out(m);
}

/* ---- The rm ---- */

static void rm_begin(struct manager *m)
{
    struct rm_options options = { .server_count = SERVERS,
                                  .host_count = HOSTS,
                                  .server_host = { 0, 1, 2, 2 },
                                  .policy = { STYLE_ACTIVE, PROPAGATION_STAR, ACKS_ALL, 0 },
                                  .persistent = true,
                                  .grace_ms = RM_MS,
                                  .lease_ms = RM_MS,
                                  .backoff_ms = 50,
                                  .backoff_ms_max = 100,
                                  .budget = 3,
                                  .budget_window_s = 3,
                                  .seed = 1,
                                  .stored = buffer_bytes(&m->stored) };
    struct error error;
    enum error_code code;

    if (buffer_size(&m->stored) == 0)
        options.stored = bytes_of(NULL, 0);
    code = rm_stored_check(&options, &error);
    assert(code == ERROR_NONE);
    rm_init(m->rm, &options, m->now);
    memset(m->asked, 0, sizeof m->asked);
    m->linked = 0;
}

static void rm_edge(struct manager *m, uint8_t how)
{
    if (how >= 240) { /* it ends, and begins again */
        rm_begin(m);
        return;
    }
    if (m->command_count == COMMANDS)
        return;
    m->asked[m->command_count] = true;
    says(m, NODE_OPERATOR,
         (struct message){ .type = MESSAGE_COMMAND,
                           .command = { .verb = (uint8_t)(COMMAND_SWITCHOVER + how % 12u),
                                        .server = NODE_SERVER(how / 16u % SERVERS),
                                        .peer = NODE_SERVER(how / 32u % SERVERS),
                                        .count = how / 64u,
                                        .reference = m->command_count++ } });
}

/* ---- An lfd ---- */

static void lfd_edge(struct manager *m, uint8_t how)
{
    uint32_t i = how % 2u;
    struct process *p = &m->processes[i];
    struct message message = { .type = MESSAGE_SPAWNED };

    switch (how / 2u % 4u) {
    case 0:
    case 1:
        if (!p->spawning)
            return;
        p->spawning = false;
        p->pid = how & 8u ? ++m->pid : 0;
        message.spawned = (struct message_spawned){ .server = NODE_SERVER(i),
                                                    .pid = p->pid,
                                                    .adopted = p->pid && how & 16u,
                                                    .cause = "no such file" };
        break;
    case 2:
        if (p->pid == 0)
            return;
        message.type = MESSAGE_EXITED;
        message.exited = (struct message_exited){ .server = NODE_SERVER(i),
                                                  .pid = p->pid,
                                                  .known = how >> 4 & 1u,
                                                  .signal = how & 32u ? EXIT_KILL : 0,
                                                  .status = how >> 6 };
        p->pid = 0;
        p->looked_at = false;
        break;
    default:
        if (!p->looked_at)
            return;
        message.type = MESSAGE_CAUSE;
        message.cause =
            (struct message_cause){ .server = NODE_SERVER(i), .pid = p->pid, .cause = "stopped" };
        p->looked_at = false;
        break;
    }
    says(m, NODE_NONE, message);
}

/* ---- All of them ---- */

static void know(struct manager *m, node_id from)
{
    uint64_t *known = m->arbitrary.known;

    memset(known, 0, sizeof m->arbitrary.known);
    known[0] = incarnation_of(from);
    known[1] = incarnation_of(NODE_SERVER(m->arbitrary.input.size % SERVERS));
    known[2] = 100;
    known[3] = m->now.ns;
    if (m->node_count == SERVERS + 1u) {
        known[4] = m->rm->view.number;
        known[5] = m->rm->saved.view_count ? m->rm->saved.views[0].number : 0;
        known[6] = m->rm->view.number_max;
        known[7] = m->rm->roster.version;
    } else if (m->nodes[0] == NODE_RM) {
        known[4] = m->membership->version;
        known[5] = node_is_lfd(from) ? m->membership->hosts[node_index(from)].heartbeat_count : 0;
    } else {
        known[4] = m->pid;
        known[5] = m->detector->servers[0].heartbeat_count;
        known[6] = m->detector->servers[1].heartbeat_count;
    }
}

static void link_set(struct manager *m, node_id node, uint8_t how)
{
    struct message up = { .type = MESSAGE_LINK_UP,
                          .link_up = { .incarnation = how & 64u ? how : incarnation_of(node),
                                       .pid = how & 32u ? m->pid : m->pid - 1u } };

    if (m->linked >> node & 1u)
        says(m, node, (struct message){ .type = MESSAGE_LINK_DOWN });
    m->linked &= ~(1ull << node);
    if (!(how & 128u))
        return;
    m->linked |= 1ull << node;
    says(m, node, up);
}

static void turn(struct manager *m, uint32_t ms)
{
    m->now = instant_add_ms(m->now, ms);
    m->core.tick(m->core.self, m->now, m->out);
    carry_out(m);
    for (uint32_t turns = 0; instant_reached(m->now, m->core.deadline(m->core.self)); turns++) {
        assert(turns < TURNS_MAX);
        m->core.tick(m->core.self, m->now, m->out);
        carry_out(m);
    }
}

static void step(struct manager *m)
{
    uint8_t what = input_u8(&m->arbitrary.input), how = input_u8(&m->arbitrary.input);
    node_id from;
    struct message message;
    struct error error;

    assert(m->node_count > 0);
    from = m->nodes[how % m->node_count];
    switch (what % STEP_COUNT) {
    case STEP_TIME: turn(m, how < 128 ? how : (how - 127u) * 100u); break;
    case STEP_LINK: link_set(m, from, how); break;
    case STEP_EDGE:
        if (m->nodes[0] == NODE_GFD && m->node_count == SERVERS + 1u)
            rm_edge(m, how);
        else if (m->nodes[0] == NODE_GFD)
            lfd_edge(m, how);
        break;
    case STEP_FRAME:
        if (message_decode(input_piece(&m->arbitrary.input), &message, &error) == ERROR_NONE &&
            m->linked >> from & 1u)
            says(m, from, message);
        break;
    default:
        know(m, from);
        arbitrary_message(&m->arbitrary, from, &message);
        if (m->linked >> from & 1u)
            says(m, from, message);
        break;
    }
}

static void begin_rm(struct manager *m)
{
    m->rm = &cores.rm;
    m->core = rm_core(m->rm);
    m->nodes[0] = NODE_GFD;
    for (uint32_t i = 0; i < SERVERS; i++)
        m->nodes[1 + i] = NODE_SERVER(i);
    m->node_count = SERVERS + 1u;
    rm_begin(m);
}

static void begin_gfd(struct manager *m)
{
    struct membership_options options = { .host_count = HOSTS,
                                          .server_count = SERVERS,
                                          .host_of = { 0, 1, 2, 2 },
                                          .host_name = { "h1", "h2", "h3" },
                                          .heartbeat_interval_ms = 20,
                                          .host_suspect_after_ms = 100,
                                          .grace_ms = 100 };

    m->membership = &cores.membership;
    m->core = membership_core(m->membership);
    m->nodes[0] = NODE_RM;
    for (uint32_t i = 0; i < HOSTS; i++)
        m->nodes[1 + i] = NODE_LFD(i);
    m->node_count = HOSTS + 1u;
    membership_init(m->membership, &options, m->now);
}

static void begin_lfd(struct manager *m)
{
    struct detector_options options = { .self = NODE_LFD(0),
                                        .server_count = 2,
                                        .servers = { NODE_SERVER(0), NODE_SERVER(1) },
                                        .heartbeat_interval_ms = 20,
                                        .suspect_after_ms = 100,
                                        .gfd_suspect_after_ms = 100 };

    m->detector = &cores.detector;
    m->core = detector_core(m->detector);
    m->nodes[0] = NODE_GFD;
    m->nodes[1] = NODE_SERVER(0);
    m->nodes[2] = NODE_SERVER(1);
    m->node_count = 3;
    detector_init(m->detector, &options, m->now);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum message_type usual[] = { MESSAGE_STATE,      MESSAGE_REPORT,
                                               MESSAGE_ACTIVE,     MESSAGE_MEMBERSHIP,
                                               MESSAGE_ADD,        MESSAGE_HEARTBEAT_OK,
                                               MESSAGE_REGISTERED, MESSAGE_ORDER };
    struct manager *m = memory_zeroed(1, sizeof *m);
    uint32_t which;

    m->out = &effects;
    m->arbitrary = (struct arbitrary){ .input = bytes_of(data, size),
                                       .usual = usual,
                                       .usual_count = sizeof usual / sizeof usual[0] };
    m->now = (struct instant){ 1000000000u };
    m->pid = 1000;
    which = input_u8(&m->arbitrary.input);
    if (which % 4u < 2u)
        begin_rm(m);
    else if (which % 4u == 2u)
        begin_gfd(m);
    else
        begin_lfd(m);
    for (uint32_t i = 0; i < m->node_count; i++)
        if (!(which >> (2u + i) & 1u))
            link_set(m, m->nodes[i], 128);
    while (m->arbitrary.input.size > 0)
        step(m);
    turn(m, 1);
    turn(m, RM_COMMAND_MS_MAX);
    for (uint32_t i = 0; i < COMMANDS; i++)
        assert(!m->asked[i]);
    buffer_free(&m->stored);
    buffer_free(&m->arbitrary.bytes);
    free(m);
    return 0;
}
