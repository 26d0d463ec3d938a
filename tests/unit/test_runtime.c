/* The runtime: two of them on one thread, linked by sockets of a folder of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/log.h"
#include "common/runtime_links.h"

#define WAIT_MS_MAX 5000u               /* for anything that must happen */
#define BULK_BYTES  ((uint32_t)3 << 20) /* more than a socket takes at once */

/* A core that writes down what it is told. */
struct toy {
    char story[4096];
    uint64_t bulk_bytes; /* received in appends */
    uint64_t bulk_sum;
    uint32_t parts; /* times that some of a message was there */
    uint32_t ups, downs, heartbeats;
    uint32_t certain; /* of the last link_down */
    bool end_wanted;
};

struct side {
    struct config config;
    struct toy toy;
    struct runtime *runtime;
    bool quiet; /* is given no turns */
    bool (*admits)(void *context, node_id node, uint64_t incarnation);
    uint64_t admitted; /* life of s1 */
};

struct fixture {
    char folder[64];
    char path[96];
    int log, old_stderr;
    struct side a, b; /* a listens as rm, b dials as s1 */
};

static void toy_receive(void *self, struct instant now, const struct message *m,
                        struct effects *out)
{
    struct toy *toy = self;

    (void)now;
    if (m->type == MESSAGE_LINK_UP) {
        toy->ups++;
    } else if (m->type == MESSAGE_LINK_DOWN) {
        toy->downs++;
        toy->certain = m->link_down.certain;
    } else if (m->type == MESSAGE_HEARTBEAT) {
        toy->heartbeats++;
        effects_send(out, m->from,
                     (struct message){ .type = MESSAGE_HEARTBEAT_OK,
                                       .heartbeat_ok = { .sequence = m->heartbeat.sequence } });
    } else if (m->type == MESSAGE_HEARTBEAT_OK) {
        effects_note(out, "answer %llu", (unsigned long long)m->heartbeat_ok.sequence);
    } else if (m->type == MESSAGE_APPEND) {
        toy->bulk_bytes += m->append.entries.size;
        for (size_t i = 0; i < m->append.entries.size; i++)
            toy->bulk_sum += m->append.entries.data[i];
    } else if (m->type == MESSAGE_LINK_PART) {
        toy->parts++;
    } else if (m->type == MESSAGE_EXITED) {
        effects_add(out, EFFECT_STORE)->data = bytes_string("exited");
    } else if (m->type == MESSAGE_SPAWNED) {
        effects_add(out, EFFECT_END)->text = "the toy is broken";
    }
}

static void toy_tick(void *self, struct instant now, struct effects *out)
{
    (void)self;
    (void)now;
    (void)out;
}

static struct instant toy_deadline(const void *self)
{
    (void)self;
    return INSTANT_NEVER;
}

static void toy_check(const void *self)
{
    assert_non_null(self);
}

/* The edge: what is to be stored is followed by a message of the edge's own. */
static void perform(void *context, const struct effect *effect)
{
    struct side *side = context;
    struct message message = { .type = MESSAGE_LINK_UP, .from = NODE_OPERATOR };

    assert_int_equal(effect->type, EFFECT_STORE);
    runtime_deliver(side->runtime, &message);
    memcpy(side->toy.story, "stored", sizeof "stored");
}

static void side_open(struct side *side, node_id self, uint64_t incarnation)
{
    struct runtime_options options = {
        .config = &side->config,
        .self = self,
        .incarnation = incarnation,
        .core = { &side->toy, toy_receive, toy_tick, toy_deadline, toy_check },
        .perform = perform,
        .admits = side->admits,
        .context = side,
    };
    struct error error;

    side->config.server_count = 3;
    side->config.host_count = 3;
    if (side->config.cluster[0] == '\0')
        strcpy(side->config.cluster, "three");
    assert_int_equal(runtime_open(&side->runtime, &options, &error), ERROR_NONE);
}

static void side_close(struct side *side)
{
    if (side->runtime)
        runtime_close(side->runtime);
    side->runtime = NULL;
}

static void turn(struct fixture *f)
{
    if (f->a.runtime)
        runtime_turn(f->a.runtime, false);
    if (f->b.runtime && !f->b.quiet)
        runtime_turn(f->b.runtime, false);
}

/* Turns both until the condition holds, or fails. */
#define UNTIL(f, condition)                                                \
    do {                                                                   \
        struct instant until = instant_add_ms(runtime_now(), WAIT_MS_MAX); \
        while (!(condition)) {                                             \
            assert_false(instant_reached(runtime_now(), until));           \
            turn(f);                                                       \
        }                                                                  \
    } while (0)

/* What was logged so far. */
static const char *logged(struct fixture *f)
{
    static char text[65536];
    ssize_t n = pread(f->log, text, sizeof text - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    return text;
}

static uint32_t count_logged(struct fixture *f, const char *words)
{
    uint32_t count = 0;

    for (const char *p = logged(f); (p = strstr(p, words)); p++)
        count++;
    return count;
}

static void listen_and_dial(struct fixture *f, node_id meant)
{
    struct error error;

    assert_int_equal(runtime_listen(f->a.runtime, f->path, 0, &error), ERROR_NONE);
    assert_int_equal(runtime_dial(f->b.runtime, meant, f->path, 0, &error), ERROR_NONE);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    if (!f)
        return -1;
    strcpy(f->folder, "/tmp/holdfast-test-XXXXXX");
    if (!mkdtemp(f->folder)) {
        free(f);
        return -1;
    }
    snprintf(f->path, sizeof f->path, "%s/a.sock", f->folder);
    f->log = memfd_create("log", MFD_CLOEXEC);
    f->old_stderr = dup(STDERR_FILENO);
    dup2(f->log, STDERR_FILENO);
    log_open("test", false);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    side_close(&f->a);
    side_close(&f->b);
    dup2(f->old_stderr, STDERR_FILENO);
    close(f->old_stderr);
    close(f->log);
    unlink(f->path);
    rmdir(f->folder);
    free(f);
    return 0;
}

static void open_both(struct fixture *f)
{
    side_open(&f->a, NODE_RM, 1);
    side_open(&f->b, NODE_SERVER(0), 7);
}

/* A heartbeat goes there, its answer comes back, and both sides know who the other is. */
static void test_exchange(void **state)
{
    struct fixture *f = *state;
    struct message message = { .type = MESSAGE_HEARTBEAT, .heartbeat = { .sequence = 41 } };

    open_both(f);
    listen_and_dial(f, NODE_RM);
    UNTIL(f, f->a.toy.ups == 1 && f->b.toy.ups == 1);
    assert_true(runtime_linked(f->a.runtime, NODE_SERVER(0)));
    assert_true(runtime_linked(f->b.runtime, NODE_RM));
    assert_int_equal(runtime_peer_pid(f->a.runtime, NODE_SERVER(0)), getpid());
    links_send(f->a.runtime, NODE_SERVER(0), &message, NULL);
    UNTIL(f, count_logged(f, "answer 41") == 1);
}

static void expect_refusal(struct fixture *f, const char *reason)
{
    UNTIL(f, count_logged(f, reason) == 2);
    assert_int_equal(count_logged(f, "refused a link from s1"), 1);
    assert_int_equal(count_logged(f, "rm at "), 1);
    /* Dialled again and refused again, and not said again. */
    UNTIL(f, f->b.runtime->diallers[0].backoff_ms >= 40);
    assert_int_equal(count_logged(f, reason), 2);
    assert_int_equal(f->a.toy.ups + f->b.toy.ups, 0);
}

/* Each mistake in a hello is said once on both sides. */
static void test_wrong_cluster(void **state)
{
    struct fixture *f = *state;

    strcpy(f->b.config.cluster, "other");
    open_both(f);
    listen_and_dial(f, NODE_RM);
    expect_refusal(f, "this is cluster \"three\", not \"other\"");
}

static void test_wrong_node(void **state)
{
    struct fixture *f = *state;

    side_open(&f->a, NODE_GFD, 1);
    side_open(&f->b, NODE_SERVER(0), 7);
    listen_and_dial(f, NODE_RM);
    expect_refusal(f, "this is gfd, not rm");
}

static void test_unknown_node(void **state)
{
    struct fixture *f = *state;

    side_open(&f->a, NODE_RM, 1);
    side_open(&f->b, NODE_SERVER(9), 7);
    listen_and_dial(f, NODE_RM);
    UNTIL(f, count_logged(f, "node 41 is not in this cluster's config") == 2);
}

/* A connection of the test's own to a, with some bytes on it; the end of it must follow. */
static int dial_raw(struct fixture *f, const void *data, size_t size)
{
    struct socket_address address;
    struct error error;
    uint32_t count;
    bool connected = false;
    int fd;

    assert_int_equal(socket_resolve(f->path, 0, &address, &count, &error), ERROR_NONE);
    fd = socket_dial(&address, &connected);
    assert_true(fd >= 0 && connected);
    assert_int_equal(write(fd, data, size), (ssize_t)size);
    return fd;
}

static bool has_ended(int fd)
{
    char byte;
    ssize_t n = read(fd, &byte, 1);

    return n == 0 || (n < 0 && errno != EAGAIN);
}

static void test_wrong_version(void **state)
{
    static const uint8_t hello[] = { 6, 0, 0, 0, 1, 0, 99, 0, 0, 0 };
    struct fixture *f = *state;
    struct error error;
    int fd;

    side_open(&f->a, NODE_RM, 1);
    assert_int_equal(runtime_listen(f->a.runtime, f->path, 0, &error), ERROR_NONE);
    fd = dial_raw(f, hello, sizeof hello);
    UNTIL(f, has_ended(fd));
    assert_int_equal(count_logged(f, "protocol version 1 is spoken here, not 99"), 1);
    close(fd);
}

/* Strangers are told apart from peers by their first bytes, and hurt nobody. */
static void test_garbage(void **state)
{
    static const char http[] = "GET / HTTP/1.1\r\n\r\n";
    struct fixture *f = *state;
    int fd;

    open_both(f);
    listen_and_dial(f, NODE_RM);
    UNTIL(f, f->a.toy.ups == 1 && f->b.toy.ups == 1);
    fd = dial_raw(f, http, sizeof http - 1);
    UNTIL(f, has_ended(fd));
    close(fd);
    assert_int_equal(count_logged(f, "refused a link from local process"), 1);
    assert_int_equal(count_logged(f, "expected 2 to 1024"), 1);
    assert_int_equal(f->a.toy.downs, 0);
}

/* Bytes that make no message cut a link that stood. */
static void test_garbage_later(void **state)
{
    static const uint8_t frame[] = { 2, 0, 0, 0, 255, 255 };
    struct fixture *f = *state;

    open_both(f);
    listen_and_dial(f, NODE_RM);
    UNTIL(f, f->a.toy.ups == 1 && f->b.toy.ups == 1);
    assert_int_equal(write(f->b.runtime->links[NODE_RM]->link.fd, frame, sizeof frame), 6);
    UNTIL(f, f->a.toy.downs == 1 && f->b.toy.downs == 1);
    assert_int_equal(count_logged(f, "refused a link from s1"), 1);
    assert_int_equal(count_logged(f, "rm refuses"), 0);
    assert_int_equal(count_logged(f, "refuses the link"), 1);
}

/* Those who say nothing go, the oldest first, when too many of them wait. */
static void test_silent_strangers(void **state)
{
    struct fixture *f = *state;
    struct error error;
    int fd[HELLO_WAITING_MAX + 1];

    side_open(&f->a, NODE_RM, 1);
    assert_int_equal(runtime_listen(f->a.runtime, f->path, 0, &error), ERROR_NONE);
    for (uint32_t i = 0; i <= HELLO_WAITING_MAX; i++)
        fd[i] = dial_raw(f, "", 0);
    UNTIL(f, has_ended(fd[0]));
    assert_int_equal(f->a.runtime->awaited_count, HELLO_WAITING_MAX);
    assert_false(has_ended(fd[1]));
    UNTIL(f, f->a.runtime->awaited_count == 0); /* within HELLO_MS_MAX */
    for (uint32_t i = 0; i <= HELLO_WAITING_MAX; i++)
        close(fd[i]);
}

/* Bulk is sent from where it is, held until it is written, and let go of then. */
static void test_held_block(void **state)
{
    struct fixture *f = *state;
    struct block *block = block_new(BULK_BYTES);
    struct message message = { .type = MESSAGE_APPEND, .append = { .view = 3 } };
    uint64_t sum = 0;

    open_both(f);
    listen_and_dial(f, NODE_RM);
    UNTIL(f, f->a.toy.ups == 1 && f->b.toy.ups == 1);
    for (uint32_t i = 0; i < BULK_BYTES; i++) {
        block->data[i] = (uint8_t)(i * 7 + i / 1000);
        sum += block->data[i];
    }
    message.append.entries = bytes_of(block->data, BULK_BYTES);
    links_send(f->b.runtime, NODE_RM, &message, block);
    links_send(f->b.runtime, NODE_RM, &message, block);
    assert_int_equal(block->holders, 3);
    UNTIL(f, f->a.toy.bulk_bytes == 2 * (uint64_t)BULK_BYTES);
    assert_int_equal(f->a.toy.bulk_sum, 2 * sum);
    assert_true(f->a.toy.parts > 0);
    UNTIL(f, block->holders == 1);
    block_release(block);
}

/* A link that is cut lets go of what it still held. */
static void test_held_block_cut(void **state)
{
    struct fixture *f = *state;
    struct block *block = block_new(BULK_BYTES);
    struct message message = { .type = MESSAGE_APPEND };

    open_both(f);
    listen_and_dial(f, NODE_RM);
    UNTIL(f, f->a.toy.ups == 1 && f->b.toy.ups == 1);
    memset(block->data, 1, BULK_BYTES);
    message.append.entries = bytes_of(block->data, BULK_BYTES);
    links_send(f->b.runtime, NODE_RM, &message, block);
    runtime_turn(f->b.runtime, false);
    assert_int_equal(block->holders, 2);
    side_close(&f->a);
    UNTIL(f, f->b.toy.downs == 1);
    assert_int_equal(block->holders, 1);
    block_release(block);
}

/* A second life of a node takes its link over: the old one is down before the new one is up. */
static void test_replacement(void **state)
{
    struct fixture *f = *state;
    struct side c = { 0 };
    struct error error;

    open_both(f);
    listen_and_dial(f, NODE_RM);
    UNTIL(f, f->a.toy.ups == 1 && f->b.toy.ups == 1);
    side_open(&c, NODE_SERVER(0), 8);
    assert_int_equal(runtime_dial(c.runtime, NODE_RM, f->path, 0, &error), ERROR_NONE);
    f->b.quiet = true;
    UNTIL(f, (runtime_turn(c.runtime, false), f->a.toy.ups == 2));
    assert_int_equal(f->a.toy.downs, 1);
    assert_int_equal(f->a.toy.certain, 0);
    assert_int_equal(f->a.runtime->links[NODE_SERVER(0)]->incarnation, 8);
    side_close(&c);
}

static bool admits(void *context, node_id node, uint64_t incarnation)
{
    struct side *side = context;

    return node != NODE_SERVER(0) || incarnation == side->admitted;
}

/* Who may not link up is told so, and disturbs nobody who has; it dials until it may. */
static void test_not_admitted(void **state)
{
    struct fixture *f = *state;
    struct side c = { 0 };
    struct error error;

    f->a.admits = admits;
    f->a.admitted = 7;
    open_both(f);
    listen_and_dial(f, NODE_RM);
    UNTIL(f, f->a.toy.ups == 1 && f->b.toy.ups == 1);
    side_open(&c, NODE_SERVER(0), 8);
    assert_int_equal(runtime_dial(c.runtime, NODE_RM, f->path, 0, &error), ERROR_NONE);
    UNTIL(f, (runtime_turn(c.runtime, false),
              count_logged(f, "refuses the link: another process is s1, and answers") == 1));
    assert_int_equal(f->a.toy.downs, 0);
    assert_int_equal(f->a.runtime->links[NODE_SERVER(0)]->incarnation, 7);
    f->a.admitted = 8;
    UNTIL(f, (runtime_turn(c.runtime, false), c.toy.ups == 1));
    assert_int_equal(f->a.runtime->links[NODE_SERVER(0)]->incarnation, 8);
    side_close(&c);
}

/* A lost link is dialled until the other side is back; the loss of a process is certain. */
static void test_redial(void **state)
{
    struct fixture *f = *state;
    struct error error;

    open_both(f);
    listen_and_dial(f, NODE_RM);
    UNTIL(f, f->a.toy.ups == 1 && f->b.toy.ups == 1);
    side_close(&f->a);
    UNTIL(f, f->b.toy.downs == 1);
    assert_int_equal(f->b.toy.certain, 1);
    side_open(&f->a, NODE_RM, 2);
    assert_int_equal(runtime_listen(f->a.runtime, f->path, 0, &error), ERROR_NONE);
    UNTIL(f, f->a.toy.ups == 2 && f->b.toy.ups == 2);
}

/* Gives both as many turns as anything that was sent would need. */
static void turns(struct fixture *f)
{
    for (uint32_t i = 0; i < 50; i++)
        turn(f);
}

static void beat(struct side *side, node_id to)
{
    const struct message message = { .type = MESSAGE_HEARTBEAT, .heartbeat = { .sequence = 9 } };

    links_send(side->runtime, to, &message, NULL);
}

/* A silent link carries nothing either way, nor is its end seen; both come when it is over. */
static void test_silence(void **state)
{
    struct fixture *f = *state;

    open_both(f);
    listen_and_dial(f, NODE_RM);
    UNTIL(f, f->a.toy.ups == 1 && f->b.toy.ups == 1);
    runtime_silence(f->a.runtime, NODE_SERVER(0), CUT_SECONDS_MAX);
    beat(&f->a, NODE_SERVER(0));
    beat(&f->b, NODE_RM);
    turns(f);
    assert_int_equal(f->a.toy.heartbeats + f->b.toy.heartbeats, 0);
    side_close(&f->b);
    turns(f);
    assert_int_equal(f->a.toy.downs, 0);
    assert_true(f->a.runtime->links[NODE_SERVER(0)]->link.queued_bytes > 0);
    runtime_silence(f->a.runtime, NODE_SERVER(0), 0);
    UNTIL(f, f->a.toy.downs == 1);
    assert_int_equal(count_logged(f, "link to s1: silent for 60 s, as ordered"), 1);
    assert_int_equal(count_logged(f, "link to s1: heard again"), 1);
}

/* Both sides silence a link at different times: it ends by itself, and goes on where it was. */
static void test_silence_ends(void **state)
{
    struct fixture *f = *state;
    struct instant begin = runtime_now();

    open_both(f);
    listen_and_dial(f, NODE_RM);
    UNTIL(f, f->a.toy.ups == 1 && f->b.toy.ups == 1);
    runtime_silence(f->a.runtime, NODE_SERVER(0), CUT_SECONDS_MAX);
    runtime_silence(f->a.runtime, NODE_SERVER(0), 1); /* the later order counts */
    beat(&f->a, NODE_SERVER(0));
    turns(f);
    runtime_silence(f->b.runtime, NODE_RM, 1);
    beat(&f->b, NODE_RM);
    UNTIL(f, f->a.toy.heartbeats == 1 && f->b.toy.heartbeats == 1);
    assert_true(instant_since_ms(runtime_now(), begin) >= 900);
    assert_int_equal(f->a.toy.ups + f->b.toy.ups, 2);
    assert_int_equal(f->a.toy.downs + f->b.toy.downs, 0);
}

/* Who is silent to us is not dialled, or not with success, and we try on. */
static void test_silent_dialling(void **state)
{
    struct fixture *f = *state;

    open_both(f);
    runtime_silence(f->b.runtime, NODE_RM, CUT_SECONDS_MAX);
    listen_and_dial(f, NODE_RM);
    UNTIL(f, count_logged(f, "no link to rm") == 1);
    assert_int_equal(f->a.runtime->awaited_count, 0);
    runtime_silence(f->b.runtime, NODE_RM, 0);
    UNTIL(f, f->a.toy.ups == 1 && f->b.toy.ups == 1);
}

/* Who dials us and is silenced hears neither a hello nor why; it is let in when that is over. */
static void test_silent_hello(void **state)
{
    struct fixture *f = *state;

    open_both(f);
    runtime_silence(f->a.runtime, NODE_SERVER(0), CUT_SECONDS_MAX);
    listen_and_dial(f, NODE_RM);
    UNTIL(f, f->a.runtime->awaited && f->a.runtime->awaited->node == NODE_SERVER(0));
    UNTIL(f, f->b.runtime->diallers[0].peer == NULL); /* after HELLO_MS_MAX */
    assert_int_equal(count_logged(f, "refused a link"), 0);
    assert_int_equal(f->a.toy.ups + f->b.toy.ups, 0);
    UNTIL(f, f->a.runtime->awaited && f->a.runtime->awaited->node == NODE_SERVER(0));
    runtime_silence(f->a.runtime, NODE_SERVER(0), 0);
    UNTIL(f, f->a.toy.ups == 1 && f->b.toy.ups == 1);
}

/* A link that was being made when it fell silent is made afterwards. */
static void test_silence_while_linking(void **state)
{
    struct fixture *f = *state;

    open_both(f);
    listen_and_dial(f, NODE_RM);
    assert_int_equal(f->b.runtime->diallers[0].peer->state, PEER_AWAITED);
    runtime_silence(f->b.runtime, NODE_RM, CUT_SECONDS_MAX);
    turns(f);
    assert_int_equal(f->b.toy.ups, 0);
    runtime_silence(f->b.runtime, NODE_RM, 0);
    UNTIL(f, f->a.toy.ups == 1 && f->b.toy.ups == 1);
}

/* Over TCP, on a port that the system chooses. */
static void test_tcp(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in name = { 0 };
    socklen_t size = sizeof name;
    struct error error;

    open_both(f);
    assert_int_equal(runtime_listen(f->a.runtime, "127.0.0.1", 0, &error), ERROR_NONE);
    assert_int_equal(getsockname(f->a.runtime->acceptors[0].fd, (struct sockaddr *)&name, &size),
                     0);
    assert_int_equal(runtime_dial(f->b.runtime, NODE_RM, "localhost", ntohs(name.sin_port), &error),
                     ERROR_NONE);
    UNTIL(f, f->a.toy.ups == 1 && f->b.toy.ups == 1);
    assert_int_equal(runtime_peer_pid(f->a.runtime, NODE_SERVER(0)), 0);
    /* The port is in use now, and the error says which. */
    assert_int_equal(runtime_listen(f->b.runtime, "127.0.0.1", ntohs(name.sin_port), &error),
                     ERROR_SYSTEM);
    assert_non_null(strstr(error.text, "127.0.0.1:"));
    assert_non_null(strstr(error.text, "Address already in use"));
}

/* A Unix socket that somebody answers on is not taken away; one that nobody does is. */
static void test_unix_in_use(void **state)
{
    struct fixture *f = *state;
    struct error error;

    open_both(f);
    assert_int_equal(runtime_listen(f->a.runtime, f->path, 0, &error), ERROR_NONE);
    assert_int_equal(runtime_listen(f->b.runtime, f->path, 0, &error), ERROR_SYSTEM);
    assert_non_null(strstr(error.text, "in use by a living process"));
    side_close(&f->a);
    assert_int_equal(runtime_listen(f->b.runtime, f->path, 0, &error), ERROR_NONE);
}

/* What perform() delivers is received once the effects under way are done. */
static void test_delivery_within_perform(void **state)
{
    struct fixture *f = *state;
    struct message message = { .type = MESSAGE_EXITED };

    side_open(&f->a, NODE_RM, 1);
    runtime_deliver(f->a.runtime, &message);
    assert_string_equal(f->a.toy.story, "stored");
    assert_int_equal(f->a.toy.ups, 1);
}

/* A core that cannot go on ends the loop, says why, and hears nothing more. */
static void test_end(void **state)
{
    struct fixture *f = *state;
    struct message end = { .type = MESSAGE_SPAWNED }, up = { .type = MESSAGE_LINK_UP };

    side_open(&f->a, NODE_RM, 1);
    runtime_deliver(f->a.runtime, &end);
    runtime_deliver(f->a.runtime, &up);
    runtime_run(f->a.runtime);
    assert_true(runtime_failed(f->a.runtime));
    assert_int_equal(f->a.toy.ups, 0);
    assert_int_equal(count_logged(f, "the toy is broken"), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_exchange),      TEST(test_wrong_cluster),
        TEST(test_wrong_node),    TEST(test_unknown_node),
        TEST(test_wrong_version), TEST(test_garbage),
        TEST(test_garbage_later), TEST(test_silent_strangers),
        TEST(test_held_block),    TEST(test_held_block_cut),
        TEST(test_replacement),   TEST(test_not_admitted),
        TEST(test_redial),        TEST(test_silence),
        TEST(test_silence_ends),  TEST(test_silent_dialling),
        TEST(test_silent_hello),  TEST(test_silence_while_linking),
        TEST(test_tcp),           TEST(test_unix_in_use),
        TEST(test_end),           TEST(test_delivery_within_perform),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
