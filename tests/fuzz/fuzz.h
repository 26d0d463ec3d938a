/* fuzz - what the fuzz targets share.
 *
 * A target is one file fuzz_NAME.c: LLVMFuzzerTestOneInput() takes any bytes, gives them to one
 * part of the product, and asserts what must hold whatever they are. It keeps nothing from one
 * input to the next that could change what the next one does. */
#ifndef HOLDFAST_TESTS_FUZZ_FUZZ_H
#define HOLDFAST_TESTS_FUZZ_FUZZ_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/buffer.h"
#include "common/bytes.h"

/* The name that libFuzzer gives it. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Takes from the front of an input; what is not there is zero or empty. */
static inline uint8_t input_u8(struct bytes *input)
{
    uint8_t value = input->size ? input->data[0] : 0;

    if (input->size)
        *input = bytes_of(input->data + 1, input->size - 1);
    return value;
}

static inline uint16_t input_u16(struct bytes *input)
{
    uint16_t low = input_u8(input);

    return (uint16_t)(low | input_u8(input) << 8);
}

static inline struct bytes input_bytes(struct bytes *input, size_t size)
{
    struct bytes taken = *input;

    if (taken.size > size)
        taken.size = size;
    *input = bytes_of(input->data ? input->data + taken.size : NULL, input->size - taken.size);
    return taken;
}

/* u16 size, then so many bytes. */
static inline struct bytes input_piece(struct bytes *input)
{
    size_t size = input_u16(input);

    return input_bytes(input, size);
}

/* A folder of this process in memory, in $FUZZ_FOLDER or /dev/shm; removed with what is in it when
 * the process ends by itself. */
const char *scratch_folder(void);
/* Removes every file in it. */
void scratch_empty(void);
/* Makes a file in it: head, zeros up to `rest_at`, then rest. */
void scratch_file(const char *name, struct bytes head, size_t rest_at, struct bytes rest);

/* Asserts that these bytes are whole RESP replies, one after another, that RESP2 has words for each
 * of them, and returns how many there are. */
uint32_t replies_check(struct bytes replies);

#endif
