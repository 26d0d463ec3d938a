#include "client/prompt.h"

#include <editline/readline.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "client/words.h"

/* The next line without its end, to be freed; NULL at the end of the input. *zero: it has a zero
 * byte in it, and is longer than it seems. */
static char *next_line(bool terminal, bool *zero)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t size;

    *zero = false;
    if (terminal) {
        line = readline("holdfast> ");
        if (line && *line)
            (void)add_history(line);
        return line;
    }
    size = getline(&line, &capacity, stdin);
    if (size < 0) {
        free(line);
        return NULL;
    }
    if (size > 0 && line[size - 1] == '\n')
        line[--size] = '\0';
    *zero = strlen(line) < (size_t)size;
    return line;
}

static bool is_end(const struct words *w)
{
    return w->count == 1 &&
           (strcasecmp(w->words[0], "quit") == 0 || strcasecmp(w->words[0], "exit") == 0);
}

static bool run_line(struct commander *c, const char *line, bool zero, bool *end)
{
    struct words words = { 0 };
    const char *why = "a zero byte in it; write \\x00, in double quotes";
    bool good = !zero && words_split(&words, line, &why);

    *end = good && is_end(&words);
    if (!good)
        (void)fprintf(stderr, "not sent: %s\n", why);
    else if (words.count > 0 && !*end)
        good = commander_run(c, words.count, (const char *const *)words.words, words.sizes);
    words_free(&words);
    return good;
}

bool prompt_run(struct commander *c)
{
    bool terminal = isatty(STDIN_FILENO);
    bool good = true;
    bool end = false;

    while (!end) {
        bool zero;
        char *line = next_line(terminal, &zero);

        if (!line)
            break;
        good &= run_line(c, line, zero, &end);
        free(line);
    }
    return good || terminal;
}
