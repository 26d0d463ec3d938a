/* Stories of lfd/detector: two servers on one host; heartbeats every 20 ms, suspected after 200 ms.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/random.h"
#include "lfd/detector.h"
#include "tests/unit/story.h"

#define S1 NODE_SERVER(0)
#define S2 NODE_SERVER(1)
#define S3 NODE_SERVER(2) /* of another host */

struct fixture {
    struct detector detector;
    struct story story;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct detector_options options = {
        .self = NODE_LFD(0),
        .server_count = 2,
        .servers = { S1, S2 },
        .heartbeat_interval_ms = 20,
        .suspect_after_ms = 200,
        .gfd_suspect_after_ms = 500,
    };

    if (f == NULL)
        return -1;
    f->story.now = story_at(0);
    detector_init(&f->detector, &options, f->story.now);
    f->story.core = detector_core(&f->detector);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    buffer_free(&f->story.text);
    free(f);
    return 0;
}

static void link_up(struct fixture *f, node_id node, uint64_t incarnation, uint32_t pid)
{
    story_message(&f->story, (struct message){
                                 .type = MESSAGE_LINK_UP,
                                 .from = node,
                                 .link_up = { .incarnation = incarnation, .pid = pid },
                             });
}

static void link_down(struct fixture *f, node_id node)
{
    story_message(&f->story, (struct message){ .type = MESSAGE_LINK_DOWN, .from = node });
}

static void order(struct fixture *f, node_id server, uint8_t action)
{
    story_message(&f->story, (struct message){
                                 .type = MESSAGE_ORDER,
                                 .from = NODE_GFD,
                                 .order = { .server = server, .action = action },
                             });
}

static void spawned(struct fixture *f, node_id server, uint32_t pid, bool adopted)
{
    struct message message = {
        .type = MESSAGE_SPAWNED,
        .spawned = { .server = server, .pid = pid, .adopted = adopted },
    };

    if (pid == 0)
        snprintf(message.spawned.cause, MESSAGE_TEXT_SIZE, "fork: too many processes");
    story_message(&f->story, message);
}

static void exited(struct fixture *f, node_id server, uint32_t pid, uint8_t signal, uint8_t status)
{
    story_message(&f->story, (struct message){
                                 .type = MESSAGE_EXITED,
                                 .exited = { .server = server,
                                             .pid = pid,
                                             .known = 1,
                                             .signal = signal,
                                             .status = status },
                             });
}

static void cause(struct fixture *f, node_id server, uint32_t pid, const char *text)
{
    struct message message = { .type = MESSAGE_CAUSE, .cause = { .server = server, .pid = pid } };

    snprintf(message.cause.cause, MESSAGE_TEXT_SIZE, "%s", text);
    story_message(&f->story, message);
}

/* The server answers the latest heartbeat it was sent. */
static void answer(struct fixture *f, node_id server)
{
    uint64_t sequence = f->detector.servers[node_index(server)].heartbeat_count;

    story_message(&f->story, (struct message){
                                 .type = MESSAGE_HEARTBEAT_OK,
                                 .from = server,
                                 .heartbeat_ok = { .sequence = sequence },
                             });
}

/* The server answers every 20 ms until then, and the gfd is there. */
static void answer_until(struct fixture *f, node_id server, uint64_t ms)
{
    while (f->story.now.ns < story_at(ms).ns) {
        story_until(&f->story, instant_since_ms(f->story.now, story_at(0)) + 20);
        answer(f, server);
        story_message(&f->story, (struct message){ .type = MESSAGE_HEARTBEAT, .from = NODE_GFD });
    }
}

/* The gfd is there, s1 runs as process 100 in life 7 and is a member. */
static void begin_with_s1(struct fixture *f)
{
    link_up(f, NODE_GFD, 1, 10);
    order(f, S1, ORDER_START);
    spawned(f, S1, 100, false);
    link_up(f, S1, 7, 100);
    answer(f, S1);
    story_skip(&f->story);
}

/* G-07: a server is added by its first answer, not by its start or its link. */
static void test_add_by_first_answer(void **state)
{
    struct fixture *f = *state;

    link_up(f, NODE_GFD, 1, 10);
    story_skip(&f->story);
    order(f, S1, ORDER_START);
    story_is(&f->story, "start s1\nspawn s1\n");
    spawned(f, S1, 100, false);
    link_up(f, S1, 7, 100);
    story_is(&f->story, "s1 is process 100\n");
    answer(f, S1);
    story_is(&f->story, "add replica s1\n"
                        "send gfd: add server=s1 incarnation=7 pid=100\n");
    answer_until(f, S1, 100);
    story_is(&f->story, "");
}

/* G-03: every heartbeat is counted from 1 and shown, as is its answer. */
static void test_heartbeats_are_shown(void **state)
{
    struct fixture *f = *state;

    spawned(f, S1, 100, true);
    story_skip(&f->story);
    f->story.everything = true;
    link_up(f, S1, 7, 100);
    story_is(&f->story, "heartbeat_count 1: sent to s1\n"
                        "send s1: heartbeat sequence=1\n");
    answer(f, S1);
    story_is(&f->story,
             "heartbeat_count 1: answered by s1 (turn 0, journal 0, commit 0, oldest 0 ms)\n"
             "add replica s1\n");
    story_until(&f->story, 0);
    story_is(&f->story, "heartbeat_count 2: sent to s1\n"
                        "send s1: heartbeat sequence=2\n");
}

/* An exit is a certain death, told at once. */
static void test_exit_is_certain(void **state)
{
    struct fixture *f = *state;

    begin_with_s1(f);
    exited(f, S1, 100, SIGKILL, 0);
    story_is(&f->story, "delete replica s1 (exited: SIGKILL)\n"
                        "send gfd: delete server=s1 incarnation=7 certain=1 "
                        "cause=\"exited: SIGKILL\"\n");
    exited(f, S1, 100, SIGKILL, 0);
    story_is(&f->story, "");
}

/* A hang is killed before it is told: nobody hears of a suspicion, only of a death. */
static void test_kill_before_tell(void **state)
{
    struct fixture *f = *state;

    begin_with_s1(f);
    story_until(&f->story, 199);
    story_is(&f->story, "");
    story_until(&f->story, 200);
    story_is(&f->story, "suspect s1: silent for 200 ms\nkill s1 signal=0\n");
    cause(f, S1, 100, "stopped");
    story_is(&f->story, "kill s1: silent for 200 ms (stopped)\nkill s1 signal=9\n");
    exited(f, S1, 100, SIGKILL, 0);
    story_is(&f->story, "delete replica s1 (silent for 200 ms (stopped), killed)\n"
                        "send gfd: delete server=s1 incarnation=7 certain=1 "
                        "cause=\"silent for 200 ms (stopped), killed\"\n");
}

/* An answer that comes while the cause is looked for saves the server. */
static void test_late_answer_saves(void **state)
{
    struct fixture *f = *state;

    begin_with_s1(f);
    story_until(&f->story, 200);
    story_skip(&f->story);
    answer(f, S1);
    story_is(&f->story, "trust s1 again: it answered before it was killed\n");
    cause(f, S1, 100, "not answering");
    answer_until(f, S1, 300);
    story_is(&f->story, "");
}

/* An edge that cannot say the cause does not save a hung server. */
static void test_kill_without_cause(void **state)
{
    struct fixture *f = *state;

    begin_with_s1(f);
    story_until(&f->story, 200 + EXAMINE_WAIT_MS_MAX);
    story_is(&f->story, "suspect s1: silent for 200 ms\nkill s1 signal=0\n"
                        "kill s1: silent for 200 ms (cause unknown)\nkill s1 signal=9\n");
}

/* A process that does not die is deleted, uncertain, and no second one is started beside it; its
 * end is told too. */
static void test_cannot_be_killed(void **state)
{
    struct fixture *f = *state;

    begin_with_s1(f);
    story_until(&f->story, 200);
    cause(f, S1, 100, "disk wait");
    story_skip(&f->story);
    story_until(&f->story, 200 + KILL_WAIT_MS_MAX);
    story_skip(&f->story); /* the gfd, too, is silent in this story */
    assert_int_equal(f->detector.servers[0].state, WATCH_STUCK);
    order(f, S1, ORDER_START);
    story_is(&f->story, "start s1: refused, process 100 is still there\n"
                        "send gfd: start_failed server=s1 "
                        "cause=\"silent for 200 ms, cannot be killed: disk wait\"\n");
    exited(f, S1, 100, SIGKILL, 0);
    story_is(&f->story, "s1 is gone after all (silent for 200 ms (disk wait), killed)\n"
                        "send gfd: delete server=s1 incarnation=7 certain=1 "
                        "cause=\"silent for 200 ms (disk wait), killed\"\n");
    order(f, S1, ORDER_START);
    story_is(&f->story, "start s1\nspawn s1\n");
}

/* What the gfd hears of a process that does not die. */
static void test_cannot_be_killed_is_uncertain(void **state)
{
    struct fixture *f = *state;

    begin_with_s1(f);
    story_until(&f->story, 200);
    cause(f, S1, 100, "disk wait");
    story_until(&f->story, 200 + KILL_WAIT_MS_MAX - 1);
    story_skip(&f->story);
    story_until(&f->story, 200 + KILL_WAIT_MS_MAX);
    story_is(&f->story, "delete replica s1 (silent for 200 ms, cannot be killed: disk wait)\n"
                        "send gfd: delete server=s1 incarnation=7 certain=0 "
                        "cause=\"silent for 200 ms, cannot be killed: disk wait\"\n");
}

/* Whoever was paused for 5 s does not take its own pause for the silence of others. */
static void test_own_pause_is_forgiven(void **state)
{
    struct fixture *f = *state;

    begin_with_s1(f);
    answer_until(f, S1, 100);
    story_pause_until(&f->story, 5100);
    story_tick(&f->story);
    story_is(&f->story, "woke up 4980 ms late: nobody is blamed for it\n");
    answer_until(f, S1, 5500);
    story_is(&f->story, "");
}

/* Nor is a short one of someone who has little patience. */
static void test_own_short_pause_is_forgiven(void **state)
{
    struct fixture *f = *state;

    f->detector.options.suspect_after_ms = 60;
    begin_with_s1(f);
    answer_until(f, S1, 100);
    story_until(&f->story, 119);
    story_pause_until(&f->story, 160);
    story_tick(&f->story);
    story_is(&f->story, "woke up 40 ms late: nobody is blamed for it\n");
    answer_until(f, S1, 500);
    story_is(&f->story, "");
}

/* A pause forgives no more than it lasted: a server that died in it is found soon after. */
static void test_pause_hides_no_hang(void **state)
{
    struct fixture *f = *state;

    begin_with_s1(f);
    story_until(&f->story, 100);
    story_pause_until(&f->story, 5100);
    story_tick(&f->story);
    story_skip(&f->story);
    story_until(&f->story, 5220);
    story_is(&f->story, "suspect s1: silent for 200 ms\nkill s1 signal=0\n");
}

/* The turn that woke late accuses nobody, even one that was about to be suspected. */
static void test_late_turn_accuses_nobody(void **state)
{
    struct fixture *f = *state;

    begin_with_s1(f);
    story_until(&f->story, 199);
    story_pause_until(&f->story, 1000);
    story_tick(&f->story);
    story_is(&f->story, "woke up 800 ms late: nobody is blamed for it\n");
    answer(f, S1);
    answer_until(f, S1, 1300);
    story_is(&f->story, "");
}

/* A server that ends before its first answer was never a member: its start failed. */
static void test_exit_before_answer(void **state)
{
    struct fixture *f = *state;

    link_up(f, NODE_GFD, 1, 10);
    order(f, S1, ORDER_START);
    spawned(f, S1, 100, false);
    story_skip(&f->story);
    exited(f, S1, 100, 0, 3);
    story_is(&f->story, "s1 did not start: exited: status 3, already running elsewhere\n"
                        "send gfd: start_failed server=s1 "
                        "cause=\"exited: status 3, already running elsewhere\"\n");
}

static void test_spawn_fails(void **state)
{
    struct fixture *f = *state;

    link_up(f, NODE_GFD, 1, 10);
    order(f, S1, ORDER_START);
    story_skip(&f->story);
    spawned(f, S1, 0, false);
    story_is(&f->story, "s1 did not start: fork: too many processes\n"
                        "send gfd: start_failed server=s1 cause=\"fork: too many processes\"\n");
}

/* A server that runs and never answers is ended after START_WAIT_MS_MAX. */
static void test_start_without_answer(void **state)
{
    struct fixture *f = *state;

    order(f, S1, ORDER_START);
    spawned(f, S1, 100, false);
    story_skip(&f->story);
    story_until(&f->story, START_WAIT_MS_MAX);
    cause(f, S1, 100, "stopped");
    exited(f, S1, 100, SIGKILL, 0);
    story_is(&f->story,
             "suspect s1: no answer to a heartbeat within 10000 ms\n"
             "kill s1 signal=0\n"
             "kill s1: no answer to a heartbeat within 10000 ms (stopped)\n"
             "kill s1 signal=9\n"
             "s1 did not start: no answer to a heartbeat within 10000 ms (stopped), killed\n");
}

/* Never a second copy, whatever the state of the first. */
static void test_start_twice(void **state)
{
    struct fixture *f = *state;

    order(f, S1, ORDER_START);
    story_skip(&f->story);
    order(f, S1, ORDER_START);
    story_is(&f->story, "start s1: it is being started already\n");
    spawned(f, S1, 100, false);
    story_skip(&f->story);
    order(f, S1, ORDER_START);
    story_is(&f->story, "start s1: it is running already, as process 100\n");
}

static void test_stop(void **state)
{
    struct fixture *f = *state;

    begin_with_s1(f);
    order(f, S1, ORDER_STOP);
    story_is(&f->story, "stop s1: SIGTERM to process 100\nkill s1 signal=15\n");
    exited(f, S1, 100, 0, 0);
    story_is(&f->story, "delete replica s1 (stopped by the operator)\n"
                        "send gfd: delete server=s1 incarnation=7 certain=1 "
                        "cause=\"stopped by the operator\"\n");
    order(f, S1, ORDER_STOP);
    story_is(&f->story, "stop s1: it is not running\n");
}

/* A server that does not care for SIGTERM, although it answers heartbeats, is killed. */
static void test_stop_ignored(void **state)
{
    struct fixture *f = *state;

    begin_with_s1(f);
    order(f, S1, ORDER_STOP);
    story_skip(&f->story);
    answer_until(f, S1, STOP_WAIT_MS_MAX);
    cause(f, S1, 100, "not answering");
    exited(f, S1, 100, SIGKILL, 0);
    story_is(&f->story, "s1 does not end within 5000 ms of SIGTERM\n"
                        "kill s1 signal=0\n"
                        "kill s1: stopped by the operator (not answering)\n"
                        "kill s1 signal=9\n"
                        "delete replica s1 (stopped by the operator)\n"
                        "send gfd: delete server=s1 incarnation=7 certain=1 "
                        "cause=\"stopped by the operator\"\n");
}

/* Stop and start in one breath is a restart: the new process comes when the old one is gone. */
static void test_restart(void **state)
{
    struct fixture *f = *state;

    begin_with_s1(f);
    order(f, S1, ORDER_STOP);
    order(f, S1, ORDER_START);
    story_skip(&f->story);
    exited(f, S1, 100, 0, 0);
    story_is(&f->story, "delete replica s1 (stopped by the operator)\n"
                        "send gfd: delete server=s1 incarnation=7 certain=1 "
                        "cause=\"stopped by the operator\"\n"
                        "start s1\nspawn s1\n");
}

/* A stop that overtakes the start is obeyed as soon as there is a process. */
static void test_stop_while_spawning(void **state)
{
    struct fixture *f = *state;

    order(f, S1, ORDER_START);
    order(f, S1, ORDER_STOP);
    story_skip(&f->story);
    spawned(f, S1, 100, false);
    story_is(&f->story, "s1 is process 100\n"
                        "stop s1: SIGTERM to process 100\nkill s1 signal=15\n");
}

/* When the gfd comes back it hears of everybody again, then that this is all. */
static void test_register_again(void **state)
{
    struct fixture *f = *state;

    begin_with_s1(f);
    link_down(f, NODE_GFD);
    story_is(&f->story, "gfd is down: nothing changes until it is back\n");
    link_up(f, NODE_GFD, 2, 11);
    story_is(&f->story, "gfd is up\n"
                        "send gfd: add server=s1 incarnation=7 pid=100\n"
                        "send gfd: delete server=s2 incarnation=0 certain=1 "
                        "cause=\"not running when lfd1 started\"\n"
                        "registered at the gfd with 1 server\n"
                        "send gfd: registered count=1\n");
}

/* A death that the gfd could not hear of is told when it is back, with what caused it. */
static void test_death_while_gfd_is_down(void **state)
{
    struct fixture *f = *state;

    begin_with_s1(f);
    link_down(f, NODE_GFD);
    exited(f, S1, 100, SIGSEGV, 0);
    story_is(&f->story, "gfd is down: nothing changes until it is back\n"
                        "delete replica s1 (exited: SIGSEGV)\n");
    link_up(f, NODE_GFD, 2, 11);
    story_is(&f->story, "gfd is up\n"
                        "send gfd: delete server=s1 incarnation=0 certain=1 "
                        "cause=\"exited: SIGSEGV\"\n"
                        "send gfd: delete server=s2 incarnation=0 certain=1 "
                        "cause=\"not running when lfd1 started\"\n"
                        "registered at the gfd with 0 servers\n"
                        "send gfd: registered count=0\n");
}

/* So is a start that failed: the rm waits for an answer to its order. */
static void test_failure_while_gfd_is_down(void **state)
{
    struct fixture *f = *state;

    link_up(f, NODE_GFD, 1, 10);
    order(f, S1, ORDER_START);
    link_down(f, NODE_GFD);
    spawned(f, S1, 0, false);
    story_skip(&f->story);
    link_up(f, NODE_GFD, 2, 11);
    story_is(&f->story, "gfd is up\n"
                        "send gfd: delete server=s1 incarnation=0 certain=1 "
                        "cause=\"fork: too many processes\"\n"
                        "send gfd: start_failed server=s1 cause=\"fork: too many processes\"\n"
                        "send gfd: delete server=s2 incarnation=0 certain=1 "
                        "cause=\"not running when lfd1 started\"\n"
                        "registered at the gfd with 0 servers\n"
                        "send gfd: registered count=0\n");
}

/* An lfd that comes back adopts what runs. It registers only when it knows in which life they are:
 * the gfd would delete whom it does not hear of. */
static void test_adopt(void **state)
{
    struct fixture *f = *state;

    spawned(f, S1, 100, true);
    link_up(f, NODE_GFD, 1, 10);
    story_is(&f->story, "s1 is running already: adopt process 100\n"
                        "gfd is up\n"
                        "send gfd: delete server=s2 incarnation=0 certain=1 "
                        "cause=\"not running when lfd1 started\"\n");
    story_until(&f->story, 30);
    link_up(f, S1, 7, 100);
    answer(f, S1);
    story_is(&f->story, "add replica s1\n"
                        "send gfd: add server=s1 incarnation=7 pid=100\n"
                        "registered at the gfd with 1 server\n"
                        "send gfd: registered count=1\n");
}

/* An adopted server that hangs is killed like any other, and its members' list entry goes by name:
 * its life is not known. */
static void test_adopted_is_silent(void **state)
{
    struct fixture *f = *state;

    spawned(f, S1, 100, true);
    link_up(f, NODE_GFD, 1, 10);
    story_skip(&f->story);
    story_until(&f->story, REDIAL_MS_MAX + 200);
    cause(f, S1, 100, "stopped");
    story_skip(&f->story);
    story_message(&f->story, (struct message){ .type = MESSAGE_EXITED,
                                               .exited = { .server = S1, .pid = 100 } });
    story_is(&f->story,
             "delete replica s1 (no answer to a heartbeat within 700 ms (stopped), killed)\n"
             "send gfd: delete server=s1 incarnation=0 certain=1 "
             "cause=\"no answer to a heartbeat within 700 ms (stopped), killed\"\n"
             "registered at the gfd with 0 servers\n"
             "send gfd: registered count=0\n");
}

/* The exit of an adopted process is seen, its status is not. */
static void test_adopted_exits(void **state)
{
    struct fixture *f = *state;

    spawned(f, S1, 100, true);
    link_up(f, S1, 7, 100);
    answer(f, S1);
    story_skip(&f->story);
    story_message(&f->story, (struct message){ .type = MESSAGE_EXITED,
                                               .exited = { .server = S1, .pid = 100 } });
    story_is(&f->story, "delete replica s1 (exited (status unknown: adopted))\n");
}

/* A lost link is no death: the server redials. */
static void test_link_is_lost(void **state)
{
    struct fixture *f = *state;

    begin_with_s1(f);
    link_down(f, S1);
    story_until(&f->story, 100);
    link_up(f, S1, 7, 100);
    answer(f, S1);
    answer_until(f, S1, 300);
    story_is(&f->story, "");
}

/* Somebody else who calls himself s1 does not keep the real one alive, and is no member. */
static void test_impostor(void **state)
{
    struct fixture *f = *state;

    begin_with_s1(f);
    link_down(f, S1);
    link_up(f, S1, 8, 666);
    story_is(&f->story, "a link of s1 comes from process 666, not from 100 as it was known: it is "
                        "not listened to\n");
    answer_until(f, S1, 200);
    story_is(&f->story, "suspect s1: silent for 200 ms\nkill s1 signal=0\n");
}

/* What has no right to be said changes nothing. */
static void test_hostile_messages(void **state)
{
    struct fixture *f = *state;
    struct message message = { .type = MESSAGE_ORDER,
                               .from = S1,
                               .order = { .server = S2, .action = ORDER_START } };

    begin_with_s1(f);
    story_message(&f->story, message);
    order(f, S3, ORDER_START);
    exited(f, S1, 99, SIGKILL, 0);
    exited(f, S3, 100, SIGKILL, 0);
    cause(f, S1, 100, "bored");
    message = (struct message){ .type = MESSAGE_HEARTBEAT_OK,
                                .from = S1,
                                .heartbeat_ok = { .sequence = 1000000 } };
    story_until(&f->story, 150);
    story_message(&f->story, message); /* answers what was not asked */
    story_is(&f->story, "gfd orders s3, which is not of this host\n");
    story_until(&f->story, 200);
    story_is(&f->story, "suspect s1: silent for 200 ms\nkill s1 signal=0\n");
}

/* How far a server's recovery is goes on to the gfd, of that server only, whatever it says. */
static void test_progress_passed_on(void **state)
{
    struct fixture *f = *state;
    struct message progress = { .type = MESSAGE_PROGRESS,
                                .from = S1,
                                .progress = { .server = S3,
                                              .incarnation = 17,
                                              .phase = PHASE_LOADING,
                                              .bytes = 3,
                                              .bytes_total = 10 } };

    begin_with_s1(f);
    story_message(&f->story, progress);
    story_is(&f->story, "send gfd: progress server=s1 incarnation=17 phase=1 bytes=3 "
                        "bytes_total=10 left_ms=0\n");
    progress.from = S3; /* not of this host */
    story_message(&f->story, progress);
    story_is(&f->story, "");
}

/* S4-12: the gfd is judged by its heartbeats, which are answered. */
static void test_gfd_is_silent(void **state)
{
    struct fixture *f = *state;
    struct message heartbeat = { .type = MESSAGE_HEARTBEAT,
                                 .from = NODE_GFD,
                                 .heartbeat = { .sequence = 5 } };

    link_up(f, NODE_GFD, 1, 10);
    story_skip(&f->story);
    story_until(&f->story, 600);
    story_is(&f->story, "gfd is silent for 500 ms\n");
    f->story.everything = true;
    story_message(&f->story, heartbeat);
    story_is(&f->story, "heartbeat_count 5: from gfd, answered\n"
                        "gfd is heard again\n"
                        "send gfd: heartbeat_ok sequence=5 turn=0 journal_index=0 "
                        "commit_index=0 oldest_waiting_ms=0\n");
}

/* A server that answers heartbeats but no requests is noted, once, and left alone. */
static void test_no_progress(void **state)
{
    struct fixture *f = *state;
    struct message ok = { .type = MESSAGE_HEARTBEAT_OK,
                          .from = S1,
                          .heartbeat_ok = { .sequence = 1,
                                            .turn = 9,
                                            .journal_index = 20,
                                            .commit_index = 17,
                                            .oldest_waiting_ms = STALL_MS_MAX } };

    begin_with_s1(f);
    story_message(&f->story, ok);
    story_message(&f->story, ok);
    story_is(&f->story, "s1 answers, but a request has waited for 5000 ms: turn 9, journal 20, "
                        "commit 17\n");
    ok.heartbeat_ok.oldest_waiting_ms = 3;
    story_message(&f->story, ok);
    story_is(&f->story, "s1 makes progress again: commit 17\n");
}

/* Both servers of a host are judged, each by its own silence. */
static void test_two_servers(void **state)
{
    struct fixture *f = *state;

    begin_with_s1(f);
    order(f, S2, ORDER_START);
    spawned(f, S2, 200, false);
    link_up(f, S2, 8, 200);
    answer(f, S2);
    story_skip(&f->story);
    answer_until(f, S2, 240);
    story_is(&f->story, "suspect s1: silent for 200 ms\nkill s1 signal=0\n");
    exited(f, S2, 200, 0, 1);
    story_is(&f->story, "delete replica s2 (exited: status 1)\n"
                        "send gfd: delete server=s2 incarnation=8 certain=1 "
                        "cause=\"exited: status 1\"\n");
}

/* A host without processes waits for nothing. */
static void test_idle(void **state)
{
    struct fixture *f = *state;

    assert_true(detector_deadline(&f->detector).ns == INSTANT_NEVER.ns);
    begin_with_s1(f);
    exited(f, S1, 100, SIGKILL, 0);
    link_down(f, NODE_GFD);
    assert_true(detector_deadline(&f->detector).ns == INSTANT_NEVER.ns);
}

/* An edge and a server that do what they may, in any order. */
struct chaos {
    struct fixture *f;
    struct random random;
    uint32_t pid; /* of s1's process, 0 when there is none */
    uint32_t pids_used;
    bool spawning, gfd_linked;
    uint32_t spawns, adds, deletes;
};

/* Never a second copy, and no certain death of a process that is there. */
static void chaos_check(struct chaos *c, const struct effects *effects)
{
    for (uint32_t i = 0; i < effects->count; i++) {
        const struct effect *e = &effects->list[i];

        if (e->type == EFFECT_SPAWN && e->node == S1) {
            assert_true(c->pid == 0 && !c->spawning);
            c->spawning = true;
            c->spawns++;
        }
        if (e->type == EFFECT_KILL && e->node == S1)
            assert_int_not_equal(c->pid, 0);
        if (e->type != EFFECT_SEND)
            continue;
        assert_true(e->node != NODE_GFD || c->gfd_linked);
        if (e->message.type == MESSAGE_ADD) {
            assert_int_equal(e->message.add.pid, c->pid);
            c->adds++;
        }
        if (e->message.type == MESSAGE_DELETE && e->message.delete.server == S1 &&
            e->message.delete.certain) {
            assert_true(c->pid == 0 || e->message.delete.incarnation != c->pid);
            c->deletes++;
        }
    }
}

static void chaos_message(struct chaos *c, struct message message)
{
    static struct effects effects;

    effects_clear(&effects);
    detector_receive(&c->f->detector, c->f->story.now, &message, &effects);
    chaos_check(c, &effects);
}

static void chaos_exit(struct chaos *c)
{
    struct message message = { .type = MESSAGE_EXITED,
                               .exited = { .server = S1, .pid = c->pid, .known = 1, .signal = 9 } };

    c->pid = 0;
    chaos_message(c, message);
}

static void chaos_spawn(struct chaos *c)
{
    struct message message = { .type = MESSAGE_SPAWNED, .spawned = { .server = S1 } };

    c->spawning = false;
    if (random_below(&c->random, 4) > 0)
        c->pid = ++c->pids_used;
    message.spawned.pid = c->pid;
    message.spawned.adopted = c->pid != 0 && random_below(&c->random, 3) == 0;
    chaos_message(c, message);
}

/* The incarnation of a server is its pid here; some links and answers are not its own. */
static void chaos_step(struct chaos *c)
{
    uint32_t life = random_below(&c->random, 5) == 0 ? 99999 : c->pid;
    struct message message = { .from = random_below(&c->random, 3) == 0 ? NODE_GFD : S1 };

    switch (random_below(&c->random, 7)) {
    case 0:
        message.type = MESSAGE_LINK_UP;
        message.link_up = (struct message_link_up){ .incarnation = life, .pid = life };
        c->gfd_linked |= message.from == NODE_GFD;
        break;
    case 1:
        if (message.from == NODE_GFD)
            c->gfd_linked = false;
        message.type = MESSAGE_LINK_DOWN;
        break;
    case 2:
        message.type = MESSAGE_ORDER;
        message.order = (struct message_order){
            .server = S1,
            .action = (uint8_t)(random_below(&c->random, 3) ? ORDER_START : ORDER_STOP)
        };
        break;
    case 3:
        message.type = MESSAGE_CAUSE;
        message.cause = (struct message_cause){ .server = S1, .pid = life };
        break;
    default:
        message.type = MESSAGE_HEARTBEAT_OK;
        message.heartbeat_ok.sequence = c->f->detector.servers[0].heartbeat_count;
        break;
    }
    chaos_message(c, message);
    if (c->spawning && random_below(&c->random, 2) == 0)
        chaos_spawn(c);
    if (c->pid != 0 && random_below(&c->random, 20) == 0)
        chaos_exit(c);
}

static void test_any_order(void **state)
{
    struct chaos c = { .f = *state, .random = random_seeded(4711) };
    static struct effects effects;

    for (uint32_t i = 0; i < 50000; i++) {
        chaos_step(&c);
        c.f->story.now = instant_add_ms(c.f->story.now, random_below(&c.random, 100));
        effects_clear(&effects);
        detector_tick(&c.f->detector, c.f->story.now, &effects);
        chaos_check(&c, &effects);
    }
    assert_true(c.spawns > 100 && c.adds > 100 && c.deletes > 100);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(test_add_by_first_answer),
        STORY(test_heartbeats_are_shown),
        STORY(test_exit_is_certain),
        STORY(test_kill_before_tell),
        STORY(test_late_answer_saves),
        STORY(test_kill_without_cause),
        STORY(test_cannot_be_killed),
        STORY(test_cannot_be_killed_is_uncertain),
        STORY(test_own_pause_is_forgiven),
        STORY(test_own_short_pause_is_forgiven),
        STORY(test_pause_hides_no_hang),
        STORY(test_late_turn_accuses_nobody),
        STORY(test_exit_before_answer),
        STORY(test_spawn_fails),
        STORY(test_start_without_answer),
        STORY(test_start_twice),
        STORY(test_stop),
        STORY(test_stop_ignored),
        STORY(test_restart),
        STORY(test_stop_while_spawning),
        STORY(test_register_again),
        STORY(test_death_while_gfd_is_down),
        STORY(test_failure_while_gfd_is_down),
        STORY(test_adopt),
        STORY(test_adopted_is_silent),
        STORY(test_adopted_exits),
        STORY(test_link_is_lost),
        STORY(test_impostor),
        STORY(test_hostile_messages),
        STORY(test_progress_passed_on),
        STORY(test_gfd_is_silent),
        STORY(test_no_progress),
        STORY(test_two_servers),
        STORY(test_idle),
        STORY(test_any_order),
    };

    return cmocka_run_group_tests_name("detector", tests, NULL, NULL);
}
