/* CRC-32C: the known values, and the instruction agrees with the table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "common/crc32c.h"

/* RFC 3720, B.4. */
static void test_known_values(void **state)
{
    uint8_t bytes[32];

    (void)state;
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283u);
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(crc32c(0, bytes, sizeof bytes), 0x8a9136aau);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(crc32c(0, bytes, sizeof bytes), 0x62a8ab43u);
}

static void test_both_ways_agree(void **state)
{
    uint8_t bytes[100];

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 37);
    for (size_t size = 0; size < sizeof bytes; size++) {
        uint32_t whole = crc32c(0, bytes, size), half = crc32c(0, bytes, size / 2);

        assert_int_equal(whole, crc32c_table(0, bytes, size));
        assert_int_equal(whole, crc32c(half, bytes + size / 2, size - size / 2));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_values),
        cmocka_unit_test(test_both_ways_agree),
    };

    return cmocka_run_group_tests_name("crc32c", tests, NULL, NULL);
}
