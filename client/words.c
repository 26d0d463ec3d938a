#include "client/words.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "common/buffer.h"

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The character that the escape at *at stands for; *at ends on its last character. */
static char unescape(const char **at)
{
    static const char letters[] = "nrtba";
    static const char plain[] = "\n\r\t\b\a";
    const char *letter;
    const char *p = *at + 1;

    if (*p == 'x' && hex(p[1]) >= 0 && hex(p[2]) >= 0) {
        *at = p + 2;
        return (char)(hex(p[1]) * 16 + hex(p[2]));
    }
    *at = p;
    letter = strchr(letters, *p);
    return letter && *p ? plain[letter - letters] : *p;
}

/* Copies a quoted word behind its opening quote; NULL when it is not closed as it should be. */
static const char *copy_quoted(const char *at, char quote, char **to)
{
    for (; *at && *at != quote; at++) {
        if (quote == '"' && *at == '\\' && at[1])
            *(*to)++ = unescape(&at);
        else if (quote == '\'' && *at == '\\' && at[1] == '\'')
            *(*to)++ = *++at;
        else
            *(*to)++ = *at;
    }
    if (*at != quote || (at[1] && !isspace((unsigned char)at[1])))
        return NULL;
    return at + 1;
}

/* Copies one word, quoted as a whole or in its last part. */
static const char *copy_word(const char *at, char **to)
{
    while (*at && !isspace((unsigned char)*at)) {
        if (*at == '"' || *at == '\'')
            return copy_quoted(at + 1, *at, to);
        *(*to)++ = *at++;
    }
    return at;
}

bool words_split(struct words *w, const char *line, const char **why)
{
    char *to = memory_take(2 * strlen(line) + 2); /* every word is ended by one more */
    const char *at = line;

    memset(w, 0, sizeof(*w));
    w->text = to;
    for (;;) {
        while (isspace((unsigned char)*at))
            at++;
        if (!*at)
            return true;
        *why = "too many words";
        if (w->count == (int)WORDS_MAX)
            return false;
        w->words[w->count] = to;
        *why = "a quote is not closed, or something follows it";
        at = copy_word(at, &to);
        if (!at)
            return false;
        w->sizes[w->count] = (size_t)(to - w->words[w->count]);
        w->count++;
        *to++ = '\0';
    }
}

void words_free(struct words *w)
{
    free(w->text);
    w->text = NULL;
    w->count = 0;
}
