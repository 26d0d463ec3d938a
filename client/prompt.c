#include "client/prompt.h"

#include <editline/readline.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "client/words.h"

/* The next line without its end, to be freed; NULL at the end of the input. */
static char *next_line(bool terminal)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t size;

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
        line[size - 1] = '\0';
    return line;
}

static bool is_end(const struct words *w)
{
    return w->count == 1 &&
           (strcasecmp(w->words[0], "quit") == 0 || strcasecmp(w->words[0], "exit") == 0);
}

static bool run_line(struct commander *c, const char *line, bool *end)
{
    struct words words;
    const char *why = NULL;
    bool good = words_split(&words, line, &why);

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
        char *line = next_line(terminal);

        if (!line)
            break;
        good &= run_line(c, line, &end);
        free(line);
    }
    return good || terminal;
}
