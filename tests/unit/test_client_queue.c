/* Whose turn it is to be read: time is shared out, and nobody is passed over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/client_queue.h"

#define CLIENTS 5u
#define SLOW_US 1000000u

struct fixture {
    struct client_queue queue;
    struct client_turn places[CLIENTS];
    uint32_t reads[CLIENTS];
};

/* One turn in which all have something to be read, named in the same order as always; a read takes
 * so long. Returns how many were read. */
static uint32_t turn(struct fixture *f, uint64_t number, uint64_t read_us)
{
    uint64_t turn_us = 50;
    uint32_t count = 0;

    for (uint32_t i = 0; i < CLIENTS; i++) {
        struct client_turn *place;

        client_queue_add(&f->queue, &f->places[i]);
        place = client_queue_take(&f->queue, number, turn_us);
        if (!place)
            continue;
        f->reads[place - f->places]++;
        turn_us += read_us;
        count++;
    }
    return count;
}

/* Short reads all fit into a turn. */
static void test_all_in_one_turn(void **state)
{
    struct fixture f = { 0 };

    (void)state;
    assert_int_equal(turn(&f, 1, 200), CLIENTS);
    assert_null(f.queue.first);
    assert_null(f.queue.last);
}

/* Long ones do not: those who had to wait come first in the next turn. */
static void test_fair(void **state)
{
    struct fixture f = { 0 };

    (void)state;
    for (uint64_t number = 1; number <= 50; number++)
        assert_int_equal(turn(&f, number, 500), 2);
    for (uint32_t i = 0; i < CLIENTS; i++)
        assert_in_range(f.reads[i], 19, 21);
}

/* One in each turn at least, however long it takes, and however late in the turn it comes. */
static void test_always_one(void **state)
{
    struct fixture f = { 0 };

    (void)state;
    for (uint64_t number = 1; number <= CLIENTS; number++)
        assert_int_equal(turn(&f, number, SLOW_US), 1);
    for (uint32_t i = 0; i < CLIENTS; i++)
        assert_int_equal(f.reads[i], 1);
    client_queue_add(&f.queue, &f.places[0]);
    assert_non_null(client_queue_take(&f.queue, CLIENTS + 1, SLOW_US));
}

/* A client that goes away leaves the others in their order. */
static void test_removed(void **state)
{
    struct fixture f = { 0 };

    (void)state;
    client_queue_remove(&f.queue, &f.places[0]);
    for (uint32_t i = 0; i < 4; i++)
        client_queue_add(&f.queue, &f.places[i]);
    client_queue_remove(&f.queue, &f.places[1]);
    client_queue_remove(&f.queue, &f.places[3]);
    client_queue_remove(&f.queue, &f.places[0]);
    client_queue_add(&f.queue, &f.places[1]);
    assert_ptr_equal(client_queue_take(&f.queue, 1, 0), &f.places[2]);
    assert_ptr_equal(client_queue_take(&f.queue, 1, 0), &f.places[1]);
    assert_null(client_queue_take(&f.queue, 1, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_in_one_turn),
        cmocka_unit_test(test_fair),
        cmocka_unit_test(test_always_one),
        cmocka_unit_test(test_removed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
