/* Stories of the session core: when a call is sent, where to, which reply counts, when to give up.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "client/session.h"

struct fixture {
    struct session session;
    struct session_effects effects;
    char text[4096]; /* what was said since the last story() */
};

static const char *const outcomes[] = { "answered", "failed", "unknown", "forgotten", "lost" };

static struct instant at(uint64_t ms)
{
    return (struct instant){ (1000u + ms) * 1000000u };
}

static void say(struct fixture *f)
{
    for (uint32_t i = 0; i < f->effects.count; i++) {
        const struct session_effect *e = &f->effects.list[i];
        size_t used = strlen(f->text);
        char *end = f->text + used;
        size_t room = sizeof(f->text) - used;

        switch (e->type) {
        case SESSION_CONNECT: (void)snprintf(end, room, "connect %u\n", e->server); break;
        case SESSION_CLOSE: (void)snprintf(end, room, "close %u\n", e->server); break;
        case SESSION_SEND:
            (void)snprintf(end, room, "send %u: %llu\n", e->server,
                           (unsigned long long)e->sequence);
            break;
        case SESSION_COMPLETE: (void)snprintf(end, room, "%s\n", outcomes[e->outcome]); break;
        case SESSION_DISCARD:
            (void)snprintf(end, room, "discard %llu from %u\n", (unsigned long long)e->request,
                           e->server);
            break;
        }
    }
    f->effects.count = 0;
}

static void hear(struct fixture *f, uint64_t ms, struct session_event event)
{
    session_receive(&f->session, at(ms), &event, &f->effects);
    say(f);
}

static void tick(struct fixture *f, uint64_t ms)
{
    session_tick(&f->session, at(ms), &f->effects);
    say(f);
}

static void up(struct fixture *f, uint64_t ms, uint32_t server)
{
    hear(f, ms, (struct session_event){ .type = SESSION_UP, .server = server });
}

static void down(struct fixture *f, uint64_t ms, uint32_t server)
{
    hear(f, ms, (struct session_event){ .type = SESSION_DOWN, .server = server });
}

static void reply(struct fixture *f, uint64_t ms, uint32_t server, enum session_reply kind)
{
    hear(f, ms, (struct session_event){ .type = SESSION_REPLY, .server = server, .reply = kind });
}

static void call(struct fixture *f, uint64_t ms)
{
    hear(f, ms, (struct session_event){ .type = SESSION_CALL, .once = true, .deadline_ms = 2000 });
}

static void read_call(struct fixture *f, uint64_t ms)
{
    hear(f, ms, (struct session_event){ .type = SESSION_CALL, .deadline_ms = 2000 });
}

static void story(struct fixture *f, const char *expected)
{
    assert_string_equal(f->text, expected);
    f->text[0] = '\0';
}

/* Three servers, all of them connected, patience 250 ms. */
static struct fixture begun(bool send_to_all)
{
    static const struct session_options options = {
        .server_count = 3, .connect_ms = 1000, .try_ms = 250, .seed = 7
    };
    struct session_options used = options;
    struct fixture f = { .text = "" };

    used.send_to_all = send_to_all;
    session_init(&f.session, &used, at(0));
    tick(&f, 0);
    for (uint32_t i = 0; i < 3; i++)
        up(&f, 0, i);
    story(&f, "connect 0\nconnect 1\nconnect 2\n");
    return f;
}

/* A call goes to one server, and later calls to the one that answered. */
static void test_answer(void **state)
{
    struct fixture f = begun(false);

    (void)state;
    call(&f, 1);
    reply(&f, 2, 0, SESSION_REPLY_TAKE);
    story(&f, "send 0: 1\nanswered\n");
    call(&f, 3);
    story(&f, "send 0: 2\n");
}

/* A call made before any connection stands waits for the first that does. */
static void test_waits_for_connection(void **state)
{
    struct session_options options = {
        .server_count = 2, .connect_ms = 1000, .try_ms = 250, .seed = 1
    };
    struct fixture f = { .text = "" };

    (void)state;
    session_init(&f.session, &options, at(0));
    call(&f, 0);
    story(&f, "connect 0\nconnect 1\n");
    up(&f, 5, 1);
    reply(&f, 6, 1, SESSION_REPLY_TAKE);
    story(&f, "send 1: 1\nanswered\n");
}

/* The connection is lost with the call on it: the next server gets the same sequence at once. */
static void test_lost_connection(void **state)
{
    struct fixture f = begun(false);

    (void)state;
    call(&f, 1);
    down(&f, 2, 0);
    story(&f, "send 0: 1\nsend 1: 1\nconnect 0\n");
    reply(&f, 3, 1, SESSION_REPLY_TAKE);
    call(&f, 4);
    story(&f, "answered\nsend 1: 2\n");
}

/* Silence is answered with one more server each time, each with twice the patience. */
static void test_silence(void **state)
{
    struct fixture f = begun(false);

    (void)state;
    call(&f, 0);
    tick(&f, 249);
    story(&f, "send 0: 1\n");
    tick(&f, 250);
    story(&f, "send 1: 1\n");
    tick(&f, 749);
    story(&f, "");
    tick(&f, 750);
    story(&f, "send 2: 1\n");
    tick(&f, 1999);
    story(&f, "");
}

/* The silent server answers after all: taken, and what the other says is discarded. */
static void test_late_answer(void **state)
{
    struct fixture f = begun(false);

    (void)state;
    call(&f, 0);
    tick(&f, 250);
    reply(&f, 300, 0, SESSION_REPLY_TAKE);
    story(&f, "send 0: 1\nsend 1: 1\nanswered\n");
    call(&f, 301);
    reply(&f, 302, 1, SESSION_REPLY_TAKE);
    story(&f, "send 0: 2\ndiscard 1 from 1\n");
    reply(&f, 303, 0, SESSION_REPLY_TAKE);
    story(&f, "answered\n");
}

/* Active style: the first of three replies counts, the others are reported as duplicates. */
static void test_send_to_all(void **state)
{
    struct fixture f = begun(true);

    (void)state;
    call(&f, 1);
    reply(&f, 2, 1, SESSION_REPLY_TAKE);
    reply(&f, 2, 0, SESSION_REPLY_TAKE);
    reply(&f, 3, 2, SESSION_REPLY_TAKE);
    story(&f, "send 0: 1\nsend 1: 1\nsend 2: 1\nanswered\ndiscard 1 from 0\ndiscard 1 from 2\n");
}

/* A server that comes back during a call to all gets it, too. */
static void test_send_to_all_rejoin(void **state)
{
    struct fixture f = begun(true);

    (void)state;
    down(&f, 1, 2);
    call(&f, 2);
    story(&f, "connect 2\nsend 0: 1\nsend 1: 1\n");
    up(&f, 3, 2);
    story(&f, "send 2: 1\n");
}

/* -TRYAGAIN only: the call certainly did not happen, and its sequence is free again. */
static void test_failed(void **state)
{
    struct fixture f = begun(false);

    (void)state;
    call(&f, 0);
    reply(&f, 1, 0, SESSION_REPLY_TRYAGAIN);
    story(&f, "send 0: 1\n");
    tick(&f, 6);
    reply(&f, 7, 1, SESSION_REPLY_TRYAGAIN);
    tick(&f, 2000);
    story(&f, "send 1: 1\nfailed\n");
    call(&f, 2001);
    story(&f, "send 0: 1\n");
}

/* After -TRYAGAIN there is a short pause, then the next server is asked. */
static void test_tryagain(void **state)
{
    struct fixture f = begun(false);

    (void)state;
    call(&f, 0);
    reply(&f, 1, 0, SESSION_REPLY_TRYAGAIN);
    tick(&f, 5);
    story(&f, "send 0: 1\n");
    tick(&f, 6);
    reply(&f, 7, 1, SESSION_REPLY_TAKE);
    story(&f, "send 1: 1\nanswered\n");
}

/* One attempt may have been executed: the deadline then means unknown, whatever the others said. */
static void test_unknown(void **state)
{
    struct fixture f = begun(false);

    (void)state;
    call(&f, 0);
    down(&f, 1, 0);
    reply(&f, 2, 1, SESSION_REPLY_TRYAGAIN);
    down(&f, 3, 1);
    down(&f, 3, 2);
    f.text[0] = '\0';
    tick(&f, 2000);
    assert_non_null(strstr(f.text, "unknown\n"));
}

/* Never sent to anybody: failed, not unknown. */
static void test_nobody_there(void **state)
{
    struct session_options options = {
        .server_count = 1, .connect_ms = 1000, .try_ms = 250, .seed = 1
    };
    struct fixture f = { .text = "" };

    (void)state;
    session_init(&f.session, &options, at(0));
    call(&f, 0);
    down(&f, 1, 0);
    f.text[0] = '\0';
    f.session.servers[0].due = at(5000);
    tick(&f, 2000);
    story(&f, "failed\n");
}

/* A read changes nothing, so its outcome is never unknown. */
static void test_read_is_never_unknown(void **state)
{
    struct fixture f = begun(false);

    (void)state;
    read_call(&f, 0);
    tick(&f, 2000);
    assert_non_null(strstr(f.text, "failed\n"));
    assert_null(strstr(f.text, "send 0: 1"));
}

/* An unknown first call: the cluster may not know the session, so the next call has a new one. */
static void test_unknown_first_call(void **state)
{
    struct fixture f = begun(false);
    uint64_t id = f.session.id;

    (void)state;
    call(&f, 0);
    tick(&f, 2000);
    f.text[0] = '\0';
    call(&f, 2001);
    assert_true(f.session.id != id);
    assert_int_equal(f.session.sequence, 1);
}

/* What was executed with a reply too large to be remembered: no attempt can bring the reply but one
 * that is under way already, and the session goes on. */
static void test_reply_lost(void **state)
{
    struct fixture f = begun(false);
    uint64_t id = f.session.id;

    (void)state;
    call(&f, 0);
    down(&f, 1, 0);
    reply(&f, 2, 1, SESSION_REPLY_LOST);
    story(&f, "send 0: 1\nsend 1: 1\nconnect 0\nlost\n");
    call(&f, 3);
    story(&f, "send 1: 2\n");
    assert_true(f.session.id == id);
}

/* The first attempt still has the reply, or is waited for no longer than its server's patience. */
static void test_reply_lost_awaited(void **state)
{
    struct fixture f = begun(true);

    (void)state;
    call(&f, 0);
    reply(&f, 1, 2, SESSION_REPLY_LOST);
    down(&f, 2, 1);
    reply(&f, 3, 0, SESSION_REPLY_TAKE);
    story(&f, "send 0: 1\nsend 1: 1\nsend 2: 1\nconnect 1\nanswered\n");
    call(&f, 4);
    reply(&f, 5, 2, SESSION_REPLY_LOST);
    tick(&f, 253);
    story(&f, "send 0: 2\nsend 2: 2\n");
    assert_int_equal(session_deadline(&f.session).ns, at(254).ns);
    tick(&f, 254);
    story(&f, "lost\n");
    reply(&f, 255, 0, SESSION_REPLY_TAKE);
    story(&f, "discard 2 from 0\n");
}

/* To a read they are words like others. */
static void test_reply_lost_read(void **state)
{
    struct fixture f = begun(false);

    (void)state;
    read_call(&f, 0);
    reply(&f, 1, 0, SESSION_REPLY_LOST);
    story(&f, "send 0: 0\nanswered\n");
}

/* A forgotten session whose call went out once: it goes on in a new session, as its first. */
static void test_forgotten(void **state)
{
    struct fixture f = begun(false);
    uint64_t id = f.session.id;

    (void)state;
    call(&f, 0);
    reply(&f, 1, 0, SESSION_REPLY_TAKE);
    call(&f, 2);
    story(&f, "send 0: 1\nanswered\nsend 0: 2\n");
    reply(&f, 3, 0, SESSION_REPLY_FORGOTTEN);
    story(&f, "send 1: 1\n");
    assert_true(f.session.id != id);
}

/* A forgotten session with an attempt lost on the way: it may have been executed before. */
static void test_forgotten_uncertain(void **state)
{
    struct fixture f = begun(false);

    (void)state;
    call(&f, 0);
    down(&f, 1, 0);
    reply(&f, 2, 1, SESSION_REPLY_FORGOTTEN);
    story(&f, "send 0: 1\nsend 1: 1\nconnect 0\nforgotten\n");
}

/* Where sessions begin above what forgotten ones have used, so does this, and the next as well. */
static void test_forgotten_begin(void **state)
{
    struct fixture f = begun(false);
    struct session_event lost = { .type = SESSION_REPLY, .server = 0 };

    (void)state;
    lost.reply = session_reply_of(
        bytes_string(
            "-SESSIONLOST session 7 is not known (any more); a new one begins with sequence "
            "501\r\n"),
        &lost.begin);
    call(&f, 0);
    hear(&f, 1, lost);
    reply(&f, 2, 1, SESSION_REPLY_TRYAGAIN);
    tick(&f, 2000);
    story(&f, "send 0: 1\nsend 1: 501\nfailed\n");
    call(&f, 2001);
    reply(&f, 2002, 0, SESSION_REPLY_TAKE);
    call(&f, 2003);
    story(&f, "send 0: 501\nanswered\nsend 0: 502\n");
}

/* What an earlier client may have sent did not certainly fail because it could not be sent now. */
static void test_resumed_unsent(void **state)
{
    struct session_options options = {
        .server_count = 1, .connect_ms = 1000, .try_ms = 250, .seed = 1, .id = 42, .sequence = 7
    };
    struct fixture f = { .text = "" };

    (void)state;
    session_init(&f.session, &options, at(0));
    call(&f, 0);
    tick(&f, 2000);
    f.text[0] = '\0';
    assert_int_equal(f.session.sequence, 7);
    up(&f, 2001, 0);
    call(&f, 2002);
    story(&f, "send 0: 8\n");
}

/* A session given by the caller begins at its sequence and is never replaced. */
static void test_resumed(void **state)
{
    struct session_options options = {
        .server_count = 1, .connect_ms = 1000, .try_ms = 250, .seed = 1, .id = 42, .sequence = 7
    };
    struct fixture f = { .text = "" };

    (void)state;
    session_init(&f.session, &options, at(0));
    call(&f, 0);
    up(&f, 1, 0);
    reply(&f, 2, 0, SESSION_REPLY_FORGOTTEN);
    story(&f, "connect 0\nsend 0: 7\nforgotten\n");
    assert_int_equal(f.session.id, 42);
}

/* Dialled at once after a loss, then ever slower; an answered call makes it fast again. */
static void test_backoff(void **state)
{
    struct fixture f = begun(false);
    uint64_t ms = 1;
    uint64_t wait_ms = 0;

    (void)state;
    down(&f, ms, 2);
    tick(&f, ms);
    story(&f, "connect 2\n");
    for (uint32_t i = 0; i < 12; i++) {
        down(&f, ms, 2);
        wait_ms = (session_deadline(&f.session).ns - at(ms).ns) / 1000000u;
        assert_in_range(wait_ms, i == 0 ? 2 : 3, REDIAL_MS_MAX);
        ms += wait_ms;
        tick(&f, ms);
    }
    assert_in_range(wait_ms, REDIAL_MS_MAX / 2, REDIAL_MS_MAX);
    up(&f, ms, 2);
    f.session.preferred = 2;
    call(&f, ms);
    reply(&f, ms, 2, SESSION_REPLY_TAKE);
    f.text[0] = '\0';
    down(&f, ms, 2);
    story(&f, "connect 2\n");
}

/* A connection attempt that nobody answers is given up after connect_ms. */
static void test_connect_timeout(void **state)
{
    struct session_options options = {
        .server_count = 1, .connect_ms = 1000, .try_ms = 250, .seed = 1
    };
    struct fixture f = { .text = "" };

    (void)state;
    session_init(&f.session, &options, at(0));
    tick(&f, 0);
    tick(&f, 999);
    story(&f, "connect 0\n");
    tick(&f, 1000);
    tick(&f, 1000);
    story(&f, "close 0\nconnect 0\n");
}

/* A host that is gone without a word: its connection is closed, however many calls passed. */
static void test_silent_connection(void **state)
{
    struct fixture f = begun(false);

    (void)state;
    call(&f, 0);
    for (uint64_t ms = 250; ms < SESSION_SILENT_MS_MAX; ms += 250) {
        tick(&f, ms);
        reply(&f, ms, 1, SESSION_REPLY_TAKE);
        call(&f, ms);
    }
    reply(&f, SESSION_SILENT_MS_MAX - 250, 1, SESSION_REPLY_TAKE);
    f.text[0] = '\0';
    tick(&f, SESSION_SILENT_MS_MAX - 1);
    story(&f, "");
    tick(&f, SESSION_SILENT_MS_MAX);
    story(&f, "close 0\nconnect 0\n");
}

/* A slow server in a call to all: what it owes is bounded, and the call goes on without it. */
static void test_pending_bound(void **state)
{
    struct fixture f = begun(true);

    (void)state;
    for (uint32_t i = 0; i < SESSION_PENDING_MAX; i++) {
        call(&f, 1);
        reply(&f, 1, 0, SESSION_REPLY_TAKE);
        reply(&f, 1, 1, SESSION_REPLY_TAKE);
        f.text[0] = '\0';
    }
    call(&f, 1);
    story(&f, "send 0: 257\nsend 1: 257\n");
    reply(&f, 1, 2, SESSION_REPLY_TAKE); /* of the first call: there is room again */
    tick(&f, 251);
    story(&f, "discard 1 from 2\nsend 2: 257\n");
}

/* A reply that nothing asked for: that connection is closed. */
static void test_unasked_reply(void **state)
{
    struct fixture f = begun(false);

    (void)state;
    reply(&f, 1, 1, SESSION_REPLY_TAKE);
    story(&f, "close 1\nconnect 1\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answer),
        cmocka_unit_test(test_waits_for_connection),
        cmocka_unit_test(test_lost_connection),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_late_answer),
        cmocka_unit_test(test_send_to_all),
        cmocka_unit_test(test_send_to_all_rejoin),
        cmocka_unit_test(test_failed),
        cmocka_unit_test(test_tryagain),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_read_is_never_unknown),
        cmocka_unit_test(test_unknown_first_call),
        cmocka_unit_test(test_reply_lost),
        cmocka_unit_test(test_reply_lost_awaited),
        cmocka_unit_test(test_reply_lost_read),
        cmocka_unit_test(test_forgotten),
        cmocka_unit_test(test_forgotten_uncertain),
        cmocka_unit_test(test_forgotten_begin),
        cmocka_unit_test(test_resumed_unsent),
        cmocka_unit_test(test_resumed),
        cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_connect_timeout),
        cmocka_unit_test(test_silent_connection),
        cmocka_unit_test(test_pending_bound),
        cmocka_unit_test(test_unasked_reply),
    };

    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
