#include "server/services/kv_call.h"

/* Where one element of a pattern ends, and whether it matches c. */
static size_t match_class(struct bytes pattern, size_t at, uint8_t c, bool *matches)
{
    bool negated = at < pattern.size && pattern.data[at] == '^', found = false;

    at += negated;
    for (; at < pattern.size && pattern.data[at] != ']'; at++) {
        const uint8_t *p = pattern.data + at;
        size_t left = pattern.size - at;

        if (left >= 2 && p[0] == '\\') {
            found |= p[1] == c;
            at++;
        } else if (left >= 3 && p[1] == '-') {
            found |= p[0] <= p[2] ? p[0] <= c && c <= p[2] : p[2] <= c && c <= p[0];
            at += 2;
        } else {
            found |= p[0] == c;
        }
    }
    *matches = found != negated;
    /* One that nobody closes ends with the pattern. */
    return at < pattern.size ? at + 1 : pattern.size;
}

static size_t match_one(struct bytes pattern, size_t at, uint8_t c, bool *matches)
{
    switch (pattern.data[at]) {
    case '?': *matches = true; return at + 1;
    case '[': return match_class(pattern, at + 1, c, matches);
    case '\\':
        if (at + 1 < pattern.size)
            at++;
        break;
    default: break;
    }
    *matches = pattern.data[at] == c;
    return at + 1;
}

bool kv_match(struct bytes pattern, struct bytes string)
{
    size_t at = 0, place = 0;
    size_t star_at = SIZE_MAX, star_place = 0; /* the last star, and how far it reaches */

    /* As Redis has it: only one star alone matches the empty key. */
    if (string.size == 0)
        return pattern.size == 0 || (pattern.size == 1 && pattern.data[0] == '*');
    while (place < string.size) {
        bool matches = false;

        if (at < pattern.size && pattern.data[at] == '*') {
            star_at = ++at;
            star_place = place;
            continue;
        }
        if (at < pattern.size)
            at = match_one(pattern, at, string.data[place], &matches);
        if (matches) {
            place++;
        } else if (star_at == SIZE_MAX) {
            return false;
        } else {
            at = star_at;
            place = ++star_place;
        }
    }
    while (at < pattern.size && pattern.data[at] == '*')
        at++;
    return at == pattern.size;
}
