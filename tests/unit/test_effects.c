/* Effects: they are told in the order in which they were appended, and never outgrow their room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/effects.h"

static int make(void **state)
{
    *state = memory_zeroed(1, sizeof(struct effects));
    return 0;
}

static int end(void **state)
{
    free(*state);
    return 0;
}

static void assert_story(const struct effects *effects, const char *expected)
{
    struct buffer text = { 0 };

    effects_format(effects, &text);
    buffer_append(&text, "", 1);
    assert_string_equal((const char *)buffer_head(&text), expected);
    buffer_free(&text);
}

static void test_story(void **state)
{
    struct effects *e = *state;
    struct effect *effect;

    effects_note(e, "suspect %s: silent for %u ms", node_name(NODE_SERVER(0)), 300u);
    effects_send(e, NODE_GFD,
                 (struct message){ .type = MESSAGE_REGISTERED, .registered = { .count = 1 } });
    effects_add(e, EFFECT_SPAWN)->node = NODE_SERVER(1);
    effect = effects_add(e, EFFECT_KILL);
    effect->node = NODE_SERVER(1);
    effect->number = 9;
    effects_add(e, EFFECT_STORE)->data = bytes_string("1234567");
    effect = effects_add(e, EFFECT_ANSWER);
    effect->reference = 4;
    effect->number = 1;
    effect->text = effects_text(e, "it is %s", "done");
    effects_add(e, EFFECT_PERSIST)->reference = 17;
    effects_add(e, EFFECT_END)->text = "no disk";
    assert_story(e, "suspect s1: silent for 300 ms\n"
                    "send gfd: registered count=1\n"
                    "spawn s2\n"
                    "kill s2 signal=9\n"
                    "store <7 bytes>\n"
                    "answer reference=4 done=1: it is done\n"
                    "persist index=17\n"
                    "end: no disk\n");

    effects_clear(e);
    assert_story(e, "");
}

/* A used effect is clean when it is used again. */
static void test_no_remains(void **state)
{
    struct effects *e = *state;
    struct effect *effect;

    effects_note_at(e, NOTE_ERROR, "first");
    assert_int_equal(e->list[0].level, NOTE_ERROR);
    e->list[0].message.type = MESSAGE_VIEW;
    e->list[0].number = 9;
    effects_clear(e);
    effect = effects_add(e, EFFECT_END);
    assert_int_equal(effect->level, NOTE_INFO);
    assert_int_equal(effect->message.type, 0);
    assert_int_equal(effect->number, 0);
    assert_null(effect->text);
}

/* Texts beyond NOTE_BYTES_MAX are cut, and every one has an end. */
static void test_text_is_cut(void **state)
{
    struct effects *e = *state;

    for (uint32_t i = 0; i < 20; i++)
        effects_note(e, "%01000u", i);
    assert_int_equal(e->text_used, NOTE_BYTES_MAX);
    assert_int_equal(strlen(e->list[15].text), 1000);
    assert_int_equal(strlen(e->list[16].text), NOTE_BYTES_MAX - 16 * 1001 - 1);
    assert_string_equal(e->list[17].text, "");
    assert_string_equal(effects_text(e, "more"), "");
}

/* The bytes of a message are sent from where they are: the effect names who holds them. */
static void test_send_held(void **state)
{
    struct effects *e = *state;
    struct block *block = block_new(8);
    struct message message = { .type = MESSAGE_APPEND, .append = { .view = 3 } };

    assert_int_equal(block->size, 8);
    assert_int_equal(block->used, 0);
    message.append.entries = bytes_of(block->data, 8);
    effects_send_held(e, NODE_SERVER(2), message, block);
    assert_ptr_equal(e->list[0].owner, block);
    assert_int_equal(e->list[0].node, NODE_SERVER(2));
    assert_int_equal(e->list[0].message.append.view, 3);
    assert_int_equal(block->holders, 1);
    block_release(block);
}

static void test_block_outlives_its_maker(void **state)
{
    struct block *block = block_new(3);

    (void)state;
    memcpy(block->data, "abc", 3);
    block_hold(block);
    block_release(block);
    assert_memory_equal(block->data, "abc", 3);
    block_release(block); /* a leak, or a second free, would end a sanitized run */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_story, make, end),
        cmocka_unit_test_setup_teardown(test_no_remains, make, end),
        cmocka_unit_test_setup_teardown(test_text_is_cut, make, end),
        cmocka_unit_test_setup_teardown(test_send_held, make, end),
        cmocka_unit_test(test_block_outlives_its_maker),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
