/* Stories of gfd/membership: s1 and s2 on h1, s3 on h2; heartbeats every 20 ms, a host is suspected
 * after 500 ms, a lost lfd has 1000 ms to come back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "common/random.h"
#include "gfd/membership.h"
#include "tests/unit/story.h"

#define S1   NODE_SERVER(0)
#define S2   NODE_SERVER(1)
#define S3   NODE_SERVER(2)
#define LFD1 NODE_LFD(0)
#define LFD2 NODE_LFD(1)

struct fixture {
    struct membership membership;
    struct story story;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct membership_options options = {
        .host_count = 2,
        .server_count = 3,
        .host_of = { 0, 0, 1 },
        .host_name = { "h1", "h2" },
        .heartbeat_interval_ms = 20,
        .host_suspect_after_ms = 500,
        .grace_ms = 1000,
    };

    if (f == NULL)
        return -1;
    f->story.now = story_at(0);
    membership_init(&f->membership, &options, f->story.now);
    f->story.core = membership_core(&f->membership);
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

static void link_up(struct fixture *f, node_id node, uint32_t pid)
{
    story_message(&f->story, (struct message){ .type = MESSAGE_LINK_UP,
                                               .from = node,
                                               .link_up = { .incarnation = 1, .pid = pid } });
}

static void link_down(struct fixture *f, node_id node)
{
    story_message(&f->story, (struct message){ .type = MESSAGE_LINK_DOWN, .from = node });
}

static void add(struct fixture *f, node_id lfd, node_id server, uint64_t incarnation, uint32_t pid)
{
    story_message(&f->story,
                  (struct message){
                      .type = MESSAGE_ADD,
                      .from = lfd,
                      .add = { .server = server, .incarnation = incarnation, .pid = pid },
                  });
}

static void delete (struct fixture *f, node_id lfd, node_id server, uint64_t incarnation,
                    uint8_t certain, const char *cause)
{
    struct message message = {
        .type = MESSAGE_DELETE,
        .from = lfd,
        .delete = { .server = server, .incarnation = incarnation, .certain = certain },
    };

    snprintf(message.delete.cause, MESSAGE_TEXT_SIZE, "%s", cause);
    story_message(&f->story, message);
}

static void registered(struct fixture *f, node_id lfd)
{
    story_message(&f->story, (struct message){ .type = MESSAGE_REGISTERED, .from = lfd });
}

static void order(struct fixture *f, node_id from, node_id server)
{
    story_message(&f->story, (struct message){
                                 .type = MESSAGE_ORDER,
                                 .from = from,
                                 .order = { .server = server, .action = ORDER_START },
                             });
}

static void answer(struct fixture *f, node_id lfd, uint64_t sequence)
{
    story_message(&f->story, (struct message){ .type = MESSAGE_HEARTBEAT_OK,
                                               .from = lfd,
                                               .heartbeat_ok = { .sequence = sequence } });
}

/* The lfd answers the latest heartbeat every 20 ms until then. */
static void answer_until(struct fixture *f, node_id lfd, uint64_t ms)
{
    while (f->story.now.ns < story_at(ms).ns) {
        story_until(&f->story, instant_since_ms(f->story.now, story_at(0)) + 20);
        answer(f, lfd, f->membership.hosts[node_index(lfd)].heartbeat_count);
    }
}

/* lfd1 is there with s1 and s2, lives 7 and 8; nobody listens but the story. */
static void begin_with_h1(struct fixture *f)
{
    story_tick(&f->story);
    link_up(f, LFD1, 11);
    add(f, LFD1, S1, 7, 100);
    add(f, LFD1, S2, 8, 200);
    registered(f, LFD1);
    story_skip(&f->story);
}

/* G-05: the list, from none to three, in these words. */
static void test_members(void **state)
{
    struct fixture *f = *state;

    story_tick(&f->story);
    story_is(&f->story, "0 members\n");
    link_up(f, LFD1, 11);
    add(f, LFD1, S1, 7, 100);
    story_is(&f->story, "lfd1 is up\nadd replica s1\n1 member: s1\n");
    add(f, LFD1, S2, 8, 200);
    story_is(&f->story, "add replica s2\n2 members: s1, s2\n");
    link_up(f, LFD2, 12);
    add(f, LFD2, S3, 9, 300);
    story_is(&f->story, "lfd2 is up\nadd replica s3\n3 members: s1, s2, s3\n");
    delete (f, LFD1, S1, 7, 1, "exited: SIGKILL");
    story_is(&f->story, "delete replica s1 (exited: SIGKILL)\n2 members: s2, s3\n");
}

/* The rm hears the whole list when it comes, then every change with its reason. */
static void test_rm_is_told(void **state)
{
    struct fixture *f = *state;

    begin_with_h1(f);
    link_up(f, NODE_RM, 10);
    story_is(&f->story,
             "rm is up\n"
             "send rm: membership version=2 members=s1,s2 unwatched=0 changed=none change=0 "
             "incarnation=0 pid=0 certain=0 cause=\"\"\n"
             "send rm: host lfd=lfd1 up=1 pid=11\n"
             "send rm: host lfd=lfd2 up=0 pid=0\n");
    delete (f, LFD1, S1, 7, 1, "exited: SIGKILL");
    story_is(&f->story, "delete replica s1 (exited: SIGKILL)\n1 member: s2\n"
                        "send rm: membership version=3 members=s2 unwatched=0 changed=s1 change=2 "
                        "incarnation=7 pid=100 certain=1 cause=\"exited: SIGKILL\"\n");
    add(f, LFD1, S1, 17, 101);
    story_is(&f->story,
             "add replica s1\n2 members: s1, s2\n"
             "send rm: membership version=4 members=s1,s2 unwatched=0 changed=s1 change=1 "
             "incarnation=17 pid=101 certain=0 cause=\"\"\n");
}

/* What is said twice changes the list once. */
static void test_said_twice(void **state)
{
    struct fixture *f = *state;

    begin_with_h1(f);
    add(f, LFD1, S1, 7, 100);
    story_is(&f->story, "");
    delete (f, LFD1, S1, 6, 1, "an earlier life");
    story_is(&f->story, "");
    delete (f, LFD1, S1, 7, 1, "exited: SIGKILL");
    story_skip(&f->story);
    delete (f, LFD1, S1, 7, 1, "exited: SIGKILL");
    story_is(&f->story, "");
    assert_int_equal(f->membership.version, 3);
}

/* A restarted server is somebody else: the earlier life is deleted first. */
static void test_another_life(void **state)
{
    struct fixture *f = *state;

    begin_with_h1(f);
    add(f, LFD1, S1, 17, 101);
    story_is(&f->story, "delete replica s1 (another life of it is here)\n1 member: s2\n"
                        "add replica s1\n2 members: s1, s2\n");
    assert_true(members_has(&f->membership.members, S1, 17));
}

/* Section 10: an lfd that comes back within the grace with the same servers changes nothing. */
static void test_lfd_comes_back(void **state)
{
    struct fixture *f = *state;

    begin_with_h1(f);
    link_down(f, LFD1);
    story_is(&f->story, "lfd1 is down: nobody watches s1, s2, members for a grace\n");
    assert_int_equal(f->membership.unwatched, 3);
    story_until(&f->story, 900);
    link_up(f, LFD1, 21);
    add(f, LFD1, S1, 7, 100);
    add(f, LFD1, S2, 8, 200);
    registered(f, LFD1);
    story_is(&f->story, "lfd1 is up\ns1 is watched again\ns2 is watched again\n"
                        "lfd1 has registered, with 2 of 2 servers\n");
    assert_int_equal(f->membership.unwatched, 0);
    assert_int_equal(f->membership.version, 2);
    answer_until(f, LFD1, 3000);
    story_is(&f->story, "");
}

/* The rm hears who is unwatched, without a new version of the list. */
static void test_unwatched_is_told(void **state)
{
    struct fixture *f = *state;

    begin_with_h1(f);
    link_up(f, NODE_RM, 10);
    delete (f, LFD1, S2, 8, 1, "exited: SIGKILL");
    story_skip(&f->story);
    link_down(f, LFD1);
    story_is(&f->story, "lfd1 is down: nobody watches s1, members for a grace\n"
                        "send rm: host lfd=lfd1 up=0 pid=0\n"
                        "send rm: membership version=3 members=s1 unwatched=1 changed=s1 change=3 "
                        "incarnation=7 pid=100 certain=0 cause=\"lfd is down\"\n");
    link_up(f, LFD1, 21);
    add(f, LFD1, S1, 7, 100);
    story_is(&f->story, "lfd1 is up\n"
                        "send rm: host lfd=lfd1 up=1 pid=21\n"
                        "s1 is watched again\n"
                        "send rm: membership version=3 members=s1 unwatched=0 changed=s1 change=0 "
                        "incarnation=7 pid=100 certain=0 cause=\"\"\n");
}

/* Beyond the grace the host counts as lost. */
static void test_lfd_stays_away(void **state)
{
    struct fixture *f = *state;

    begin_with_h1(f);
    link_down(f, LFD1);
    story_skip(&f->story);
    story_until(&f->story, 999);
    story_is(&f->story, "");
    story_until(&f->story, 1000);
    story_is(&f->story,
             "delete replica s1 (host h1 lost: lfd1 is not back after 1000 ms), uncertain\n"
             "1 member: s2\n"
             "delete replica s2 (host h1 lost: lfd1 is not back after 1000 ms), uncertain\n"
             "0 members\n");
}

/* An lfd that links but never registers does not keep the dead alive for ever. */
static void test_lfd_never_registers(void **state)
{
    struct fixture *f = *state;

    begin_with_h1(f);
    link_down(f, LFD1);
    story_until(&f->story, 500);
    link_up(f, LFD1, 21);
    story_skip(&f->story);
    answer_until(f, LFD1, 1480);
    story_is(&f->story, "");
    answer_until(f, LFD1, 1500);
    story_is(&f->story,
             "delete replica s1 (host h1 lost: lfd1 is not back after 1000 ms), uncertain\n"
             "1 member: s2\n"
             "delete replica s2 (host h1 lost: lfd1 is not back after 1000 ms), uncertain\n"
             "0 members\n");
}

/* Who is missing in what a returned lfd registers is deleted; for certain if the lfd says so. */
static void test_missing_in_register(void **state)
{
    struct fixture *f = *state;

    begin_with_h1(f);
    link_down(f, LFD1);
    link_up(f, LFD1, 21);
    story_skip(&f->story);
    delete (f, LFD1, S2, 0, 1, "not running when lfd1 started");
    story_is(&f->story, "delete replica s2 (not running when lfd1 started)\n1 member: s1\n");
    registered(f, LFD1);
    story_is(&f->story, "lfd1 has registered, with 0 of 2 servers\n"
                        "delete replica s1 (not registered by lfd1), uncertain\n0 members\n");
}

/* A host that is linked and silent is lost at once, uncertain; nobody else is touched. */
static void test_host_is_silent(void **state)
{
    struct fixture *f = *state;

    begin_with_h1(f);
    link_up(f, LFD2, 12);
    add(f, LFD2, S3, 9, 300);
    registered(f, LFD2);
    story_skip(&f->story);
    answer_until(f, LFD2, 480);
    story_is(&f->story, "");
    answer_until(f, LFD2, 500);
    story_is(&f->story, "suspect lfd1: host h1 is silent for 500 ms\n"
                        "delete replica s1 (host h1 is silent for 500 ms), uncertain\n"
                        "2 members: s2, s3\n"
                        "delete replica s2 (host h1 is silent for 500 ms), uncertain\n"
                        "1 member: s3\n");
}

/* Another lfd of the host may come when the first is gone or silent, and not before; the first one
 * may always dial again. */
static void test_one_lfd_of_a_host(void **state)
{
    struct fixture *f = *state;

    assert_true(membership_admits(&f->membership, LFD1, 2));
    begin_with_h1(f);
    assert_false(membership_admits(&f->membership, LFD1, 2));
    assert_true(membership_admits(&f->membership, LFD1, 1));
    assert_true(membership_admits(&f->membership, LFD2, 2));
    assert_true(membership_admits(&f->membership, NODE_RM, 2));
    answer_until(f, LFD1, 480);
    assert_false(membership_admits(&f->membership, LFD1, 2));
    story_until(&f->story, 1000);
    assert_true(membership_admits(&f->membership, LFD1, 2));
    answer_until(f, LFD1, 1020);
    assert_false(membership_admits(&f->membership, LFD1, 2));
    link_down(f, LFD1);
    assert_true(membership_admits(&f->membership, LFD1, 2));
}

/* When it answers again its servers are members again, as its lfd last said. */
static void test_host_answers_again(void **state)
{
    struct fixture *f = *state;

    begin_with_h1(f);
    story_until(&f->story, 500);
    story_skip(&f->story);
    delete (f, LFD1, S1, 7, 1, "exited: SIGKILL");
    add(f, LFD1, S1, 17, 101);
    delete (f, LFD1, S2, 8, 1, "exited: SIGKILL");
    story_is(&f->story, "");
    answer_until(f, LFD1, 520);
    story_is(&f->story, "trust lfd1: it answers again\nadd replica s1\n1 member: s1\n");
    assert_true(members_has(&f->membership.members, S1, 17));
}

/* Answers that were under way when the host fell silent are no sign of life. */
static void test_old_answers(void **state)
{
    struct fixture *f = *state;

    begin_with_h1(f);
    story_until(&f->story, 500);
    story_skip(&f->story);
    answer(f, LFD1, f->membership.hosts[0].silent_count);
    story_is(&f->story, "");
    story_until(&f->story, 520);
    answer(f, LFD1, f->membership.hosts[0].silent_count + 1000);
    story_is(&f->story, "");
    answer(f, LFD1, f->membership.hosts[0].silent_count + 1);
    story_is(&f->story, "trust lfd1: it answers again\nadd replica s1\n1 member: s1\n"
                        "add replica s2\n2 members: s1, s2\n");
}

/* A gfd that was paused for 5 s deletes nobody for it. */
static void test_own_pause_is_forgiven(void **state)
{
    struct fixture *f = *state;

    begin_with_h1(f);
    answer_until(f, LFD1, 100);
    story_pause_until(&f->story, 5100);
    story_tick(&f->story);
    story_is(&f->story, "woke up 4980 ms late: nobody is blamed for it\n");
    answer_until(f, LFD1, 6000);
    story_is(&f->story, "");
}

/* Nor one that was paused for as long as it has patience, and that is not long. */
static void test_own_short_pause_is_forgiven(void **state)
{
    struct fixture *f = *state;

    f->membership.options.host_suspect_after_ms = 60;
    begin_with_h1(f);
    answer_until(f, LFD1, 100);
    story_until(&f->story, 119);
    story_pause_until(&f->story, 160);
    story_tick(&f->story);
    story_is(&f->story, "woke up 40 ms late: nobody is blamed for it\n");
    answer_until(f, LFD1, 500);
    story_is(&f->story, "");
}

/* Its pause does not use up the grace of an lfd either. */
static void test_pause_in_grace(void **state)
{
    struct fixture *f = *state;

    begin_with_h1(f);
    link_up(f, LFD2, 12);
    registered(f, LFD2);
    link_down(f, LFD1);
    answer_until(f, LFD2, 100);
    story_skip(&f->story);
    story_pause_until(&f->story, 5000);
    story_tick(&f->story);
    answer_until(f, LFD2, 5800);
    link_up(f, LFD1, 21);
    add(f, LFD1, S1, 7, 100);
    add(f, LFD1, S2, 8, 200);
    registered(f, LFD1);
    story_is(&f->story, "woke up 4880 ms late: nobody is blamed for it\n"
                        "lfd1 is up\ns1 is watched again\ns2 is watched again\n"
                        "lfd1 has registered, with 2 of 2 servers\n");
}

/* Nor does it when there is nobody to whom a heartbeat would be due. */
static void test_pause_in_grace_of_all(void **state)
{
    struct fixture *f = *state;

    begin_with_h1(f);
    link_down(f, LFD1);
    story_until(&f->story, 100);
    story_skip(&f->story);
    story_pause_until(&f->story, 5000);
    story_tick(&f->story);
    story_until(&f->story, 5800);
    story_is(&f->story, "woke up 4880 ms late: nobody is blamed for it\n");
}

/* An order goes to the lfd of the server; where there is none the rm hears so. */
static void test_orders(void **state)
{
    struct fixture *f = *state;

    begin_with_h1(f);
    link_up(f, NODE_RM, 10);
    story_skip(&f->story);
    order(f, NODE_RM, S2);
    story_is(&f->story, "send lfd1: order server=s2 action=1\n");
    order(f, NODE_RM, S3);
    story_is(&f->story, "cannot order s3: lfd of host h2 is not connected\n"
                        "send rm: start_failed server=s3 "
                        "cause=\"lfd of host h2 is not connected\"\n");
    story_until(&f->story, 500);
    story_skip(&f->story);
    order(f, NODE_RM, S2);
    story_is(&f->story, "cannot order s2: lfd of host h1 does not answer\n"
                        "send rm: start_failed server=s2 "
                        "cause=\"lfd of host h1 does not answer\"\n");
}

static void test_start_failed(void **state)
{
    struct fixture *f = *state;
    struct message message = { .type = MESSAGE_START_FAILED,
                               .from = LFD1,
                               .start_failed = { .server = S1, .cause = "exited: status 1" } };

    begin_with_h1(f);
    link_up(f, NODE_RM, 10);
    story_skip(&f->story);
    story_message(&f->story, message);
    story_is(&f->story, "s1 did not start: exited: status 1\n"
                        "send rm: start_failed server=s1 cause=\"exited: status 1\"\n");
}

/* How far a recovery is goes on to the rm. */
static void test_progress_passed_on(void **state)
{
    struct fixture *f = *state;
    struct message progress = { .type = MESSAGE_PROGRESS,
                                .from = LFD1,
                                .progress = { .server = S1, .incarnation = 17, .bytes = 3 } };

    begin_with_h1(f);
    story_message(&f->story, progress); /* there is no rm */
    link_up(f, NODE_RM, 10);
    story_skip(&f->story);
    story_message(&f->story, progress);
    story_is(&f->story, "send rm: progress server=s1 incarnation=17 phase=0 bytes=3 "
                        "bytes_total=0 left_ms=0\n");
}

/* An lfd speaks for its own host; only the rm orders. */
static void test_no_right_to_speak(void **state)
{
    struct fixture *f = *state;
    struct message failed = { .type = MESSAGE_START_FAILED,
                              .from = LFD2,
                              .start_failed = { .server = S1 } };

    begin_with_h1(f);
    link_up(f, LFD2, 12);
    story_skip(&f->story);
    add(f, LFD2, S1, 17, 101);
    story_is(&f->story, "refused add of s1 by lfd2: not a server of its host\n");
    delete (f, LFD2, S1, 0, 1, "because");
    story_is(&f->story, "refused delete of s1 by lfd2: not a server of its host\n");
    story_message(&f->story, failed);
    story_is(&f->story, "refused start_failed of s1 by lfd2: not a server of its host\n");
    add(f, LFD2, NODE_RM, 17, 101);
    add(f, LFD2, NODE_SERVER(7), 17, 101);
    story_is(&f->story, "refused add of rm by lfd2: not a server of its host\n"
                        "refused add of s8 by lfd2: not a server of its host\n");
    add(f, LFD2, S3, 0, 101);
    story_is(&f->story, "refused add of s3 by lfd2: it has no incarnation\n");
    order(f, LFD1, S3);
    order(f, S1, S3);
    story_is(&f->story, "");
    order(f, NODE_RM, NODE_GFD);
    order(f, NODE_RM, NODE_SERVER(7));
    story_is(&f->story, "refused an order for gfd: no such server\n"
                        "refused an order for s8: no such server\n");
    add(f, NODE_LFD(5), S1, 17, 101); /* a host that the config does not know */
    story_is(&f->story, "");
}

/* Rule 12: without the rm the list goes on, and the rm finds it when it is back. */
static void test_rm_is_down(void **state)
{
    struct fixture *f = *state;

    begin_with_h1(f);
    link_up(f, NODE_RM, 10);
    link_down(f, NODE_RM);
    story_skip(&f->story);
    delete (f, LFD1, S1, 7, 1, "exited: SIGKILL");
    story_is(&f->story, "delete replica s1 (exited: SIGKILL)\n1 member: s2\n");
    link_up(f, NODE_RM, 20);
    story_is(&f->story,
             "rm is up\n"
             "send rm: membership version=3 members=s2 unwatched=0 changed=none change=0 "
             "incarnation=0 pid=0 certain=0 cause=\"\"\n"
             "send rm: host lfd=lfd1 up=1 pid=11\n"
             "send rm: host lfd=lfd2 up=0 pid=0\n");
}

/* G-03 on this side: heartbeats are counted from 1, and shown with their answers. */
static void test_heartbeats_are_shown(void **state)
{
    struct fixture *f = *state;

    story_tick(&f->story);
    story_skip(&f->story);
    f->story.everything = true;
    link_up(f, LFD1, 11);
    answer(f, LFD1, 1);
    story_is(&f->story, "lfd1 is up\n"
                        "heartbeat_count 1: sent to lfd1\n"
                        "send lfd1: heartbeat sequence=1\n"
                        "heartbeat_count 1: answered by lfd1\n");
    story_until(&f->story, 0);
    story_is(&f->story, "heartbeat_count 2: sent to lfd1\n"
                        "send lfd1: heartbeat sequence=2\n");
}

/* Whatever the lfds and the rm say, in whatever order, the checks hold and the list is that of the
 * lfds that speak. */
static void test_any_order(void **state)
{
    static const enum message_type types[] = {
        MESSAGE_LINK_UP,      MESSAGE_LINK_DOWN,    MESSAGE_ADD,   MESSAGE_DELETE,
        MESSAGE_REGISTERED,   MESSAGE_HEARTBEAT_OK, MESSAGE_ORDER, MESSAGE_START_FAILED,
        MESSAGE_HEARTBEAT_OK, MESSAGE_ADD,          MESSAGE_VIEW,
    };
    static const node_id speakers[] = { LFD1, LFD2, NODE_RM, NODE_LFD(5), S1 };
    struct fixture *f = *state;
    struct random random = random_seeded(4711);
    uint64_t version = 0;

    for (uint32_t i = 0; i < 50000; i++) {
        struct message message = { .type =
                                       types[random_below(&random, sizeof types / sizeof types[0])],
                                   .from = speakers[random_below(&random, sizeof speakers)] };
        node_id server = NODE_SERVER(random_below(&random, 5));

        if (message.type == MESSAGE_ADD)
            message.add =
                (struct message_add){ .server = server, .incarnation = random_below(&random, 4) };
        else if (message.type == MESSAGE_DELETE)
            message.delete = (struct message_delete){ .server = server,
                                                      .incarnation = random_below(&random, 4) };
        else if (message.type == MESSAGE_HEARTBEAT_OK)
            message.heartbeat_ok.sequence = f->membership.hosts[0].heartbeat_count;
        else if (message.type == MESSAGE_ORDER)
            message.order = (struct message_order){ .server = server, .action = ORDER_START };
        else if (message.type == MESSAGE_START_FAILED)
            message.start_failed.server = server;
        story_message(&f->story, message);
        f->story.now = instant_add_ms(f->story.now, random_below(&random, 100));
        story_tick(&f->story);
        story_skip(&f->story);
        assert_true(f->membership.version >= version);
        version = f->membership.version;
    }
    assert_true(version > 100);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(test_members),
        STORY(test_rm_is_told),
        STORY(test_said_twice),
        STORY(test_another_life),
        STORY(test_lfd_comes_back),
        STORY(test_unwatched_is_told),
        STORY(test_lfd_stays_away),
        STORY(test_lfd_never_registers),
        STORY(test_missing_in_register),
        STORY(test_host_is_silent),
        STORY(test_one_lfd_of_a_host),
        STORY(test_host_answers_again),
        STORY(test_old_answers),
        STORY(test_own_pause_is_forgiven),
        STORY(test_own_short_pause_is_forgiven),
        STORY(test_pause_in_grace),
        STORY(test_pause_in_grace_of_all),
        STORY(test_orders),
        STORY(test_start_failed),
        STORY(test_progress_passed_on),
        STORY(test_no_right_to_speak),
        STORY(test_rm_is_down),
        STORY(test_heartbeats_are_shown),
        STORY(test_any_order),
    };

    return cmocka_run_group_tests_name("membership", tests, NULL, NULL);
}
