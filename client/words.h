/* words - cuts a line into words, with the quotes and escapes that redis-cli knows. */
#ifndef HOLDFAST_CLIENT_WORDS_H
#define HOLDFAST_CLIENT_WORDS_H

#include <stdbool.h>
#include <stddef.h>

#define WORDS_MAX 1024u /* words of one line */

struct words {
    int count;
    char *words[WORDS_MAX]; /* into text; each is ended by '\0' and may hold others */
    size_t sizes[WORDS_MAX];
    char *text;
};

/* Words stand apart by blanks. In "…" a backslash escapes (\n \r \t \b \a \xHH \" \\), in '…'
 * only \' does. False, with *why, when a quote is left open or is followed by anything but a blank,
 * or when there are too many words. Must be freed in any case. */
bool words_split(struct words *w, const char *line, const char **why);
void words_free(struct words *w);

#endif
