#include "tests/linearizability/model.h"

#include <assert.h>

/* Fingerprints are polynomials at a fixed point modulo the prime 2^61 - 1, with a leading 1: that
 * of an absent value, 0, is nobody else's. */
#define PRIME ((UINT64_C(1) << 61) - 1)
#define POINT UINT64_C(0x0b7e151628aed2a6)

static uint64_t times(uint64_t a, uint64_t b)
{
    __extension__ unsigned __int128 product = (unsigned __int128)a * b;
    uint64_t sum = (uint64_t)(product & PRIME) + (uint64_t)(product >> 61);

    return sum >= PRIME ? sum - PRIME : sum;
}

static uint64_t plus(uint64_t a, uint64_t b)
{
    return (a + b) % PRIME;
}

static uint64_t raised(uint64_t base, uint64_t exponent)
{
    uint64_t power = 1, square = base;

    for (; exponent; exponent >>= 1) {
        if (exponent & 1)
            power = times(power, square);
        square = times(square, square);
    }
    return power;
}

struct linear_value linear_text(struct bytes text)
{
    uint64_t bits = 1;

    for (size_t i = 0; i < text.size; i++)
        bits = plus(times(bits, POINT), text.data[i] + 1u);
    return (struct linear_value){ bits, text.size };
}

struct linear_value linear_number(int64_t number)
{
    return (struct linear_value){ (uint64_t)number, LINEAR_NUMBER };
}

static struct linear_value joined(struct linear_value first, struct linear_value second)
{
    uint64_t power = raised(POINT, second.size);

    if (is_absent(first))
        return second;
    return (struct linear_value){
        .bits = plus(times(first.bits, power), plus(second.bits, PRIME - power)),
        .size = first.size + second.size,
    };
}

struct linear_value model_without(struct linear_value whole, struct linear_value end)
{
    uint64_t power = raised(POINT, end.size);
    uint64_t shifted = plus(whole.bits, plus(power, PRIME - end.bits));

    return (struct linear_value){
        .bits = times(shifted, raised(power, PRIME - 2)), /* its inverse, by Fermat */
        .size = whole.size - end.size,
    };
}

int64_t model_level(struct linear_value value)
{
    return (int64_t)(value.size == LINEAR_NUMBER ? value.bits : value.size);
}

static bool append(const struct linear_operation *o, struct linear_value value,
                   struct linear_value *next)
{
    if (value.size == LINEAR_NUMBER)
        return false;
    *next = joined(value, o->argument);
    return is_unknown(o) || next->size == o->result.bits;
}

static bool add(const struct linear_operation *o, struct linear_value value,
                struct linear_value *next)
{
    int64_t sum;

    if (!is_absent(value) && value.size != LINEAR_NUMBER)
        return false;
    if (__builtin_add_overflow((int64_t)value.bits, (int64_t)o->argument.bits, &sum))
        return false;
    *next = linear_number(sum);
    return is_unknown(o) || value_equal(*next, o->result);
}

/* Writes (or deletes) if the condition holds, and says whether it did. */
static bool conditional(const struct linear_operation *o, bool holds, struct linear_value value,
                        struct linear_value *next)
{
    *next = !holds ? value : o->kind == LINEAR_DELETE ? LINEAR_ABSENT : o->argument;
    return is_unknown(o) ? holds : o->result.bits == (holds ? 1u : 0u);
}

bool model_step(const struct linear_operation *o, struct linear_value value,
                struct linear_value *next)
{
    *next = value;
    switch (o->kind) {
    case LINEAR_READ: return !is_unknown(o) && value_equal(o->result, value);
    case LINEAR_WRITE: *next = o->argument; return true;
    case LINEAR_WRITE_IF_ABSENT: return conditional(o, is_absent(value), value, next);
    case LINEAR_WRITE_IF_PRESENT:
    case LINEAR_DELETE: return conditional(o, !is_absent(value), value, next);
    case LINEAR_SWAP: *next = o->argument; return is_unknown(o) || value_equal(o->result, value);
    case LINEAR_APPEND: return append(o, value, next);
    case LINEAR_ADD: return add(o, value, next);
    }
    assert(o->kind <= LINEAR_ADD);
    return false;
}
