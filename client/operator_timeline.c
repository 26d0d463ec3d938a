#include "client/operator_timeline.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "client/operator_table.h"

/* A line belongs to a hop when its words begin and end so and hold that in between; "%" stands
 * for the victim's name. */
static const struct {
    const char *speaker; /* its first letters; NULL: any server but the victim */
    const char *begins, *holds, *ends;
    const char *meaning;
} known[HOP_COUNT] = {
    [HOP_EXIT] = { "lfd", "delete replica % (", "", "", "the exit is seen: its pidfd is readable" },
    [HOP_DELETED] = { "gfd", "delete replica % (", "", "", "the member is deleted" },
    [HOP_FENCED] = { "rm", "fence ", " sent to ", "",
                     "survivors must promise to refuse the old view" },
    [HOP_STORED] = { "rm", "view ", "", " stored", "the new view is durable" },
    [HOP_SERVING] = { NULL, "view ", "", ": serving as primary", "the new primary serves" },
    [HOP_ANSWERED] = { "client", "", "", "", "first acknowledged write after the gap" },
    [HOP_RESTARTED] = { "lfd", "add replica %", "", "", "the victim is restarted and answers" },
    [HOP_CAUGHT_UP] = { "rm", "% caught up", "", "", "it has everything that it missed" },
    [HOP_MEMBER] = { "rm", "", "; view ", "", "it is a member again" },
};

void timeline_init(struct timeline *timeline, const char *victim, uint64_t killed_us)
{
    memset(timeline, 0, sizeof *timeline);
    snprintf(timeline->victim, sizeof timeline->victim, "%s", victim);
    timeline->killed_us = killed_us;
}

/* "[2026-11-20 18:22:49.123456] " is local time; returns what follows it, or NULL. */
static const char *parse_time(const char *line, uint64_t *time_us)
{
    struct tm local = { .tm_isdst = -1 };
    const char *rest = line[0] == '[' ? strptime(line + 1, "%Y-%m-%d %H:%M:%S.", &local) : NULL;
    char *end = NULL;
    unsigned long us;
    time_t seconds;

    if (rest == NULL)
        return NULL;
    us = strtoul(rest, &end, 10);
    seconds = mktime(&local);
    if (end != rest + 6 || strncmp(end, "] ", 2) != 0 || seconds < 0)
        return NULL;
    *time_us = (uint64_t)seconds * 1000000u + us;
    return end + 2;
}

/* Puts the victim's name where the pattern has its "%". */
static void expand(const char *pattern, const char *victim, char *out, size_t size)
{
    const char *place = strchr(pattern, '%');

    if (place == NULL)
        snprintf(out, size, "%s", pattern);
    else
        snprintf(out, size, "%.*s%s%s", (int)(place - pattern), pattern, victim, place + 1);
}

static bool words_match(const struct timeline *t, enum hop hop, const char *words)
{
    char begins[HOP_WORDS_SIZE];
    size_t size = strlen(words);
    size_t tail = strlen(known[hop].ends);

    expand(known[hop].begins, t->victim, begins, sizeof begins);
    return strncmp(words, begins, strlen(begins)) == 0 && strstr(words, known[hop].holds) != NULL &&
           size >= tail && strcmp(words + size - tail, known[hop].ends) == 0;
}

static bool speaker_matches(const struct timeline *t, enum hop hop, const char *speaker)
{
    if (known[hop].speaker != NULL)
        return strncmp(speaker, known[hop].speaker, strlen(known[hop].speaker)) == 0;
    return strcmp(speaker, t->victim) != 0;
}

/* Whether a list such as "3 members: s1, s2, s3; view 9, primary s2" names the victim. */
static bool names_victim(const struct timeline *t, const char *words)
{
    const char *at = strstr(words, " members: ");
    size_t size = strlen(t->victim);

    if (at == NULL)
        return false;
    for (at += strlen(" members: "); *at != '\0' && *at != ';'; at += strspn(at, ", ")) {
        size_t word = strcspn(at, ",;");

        if (word == size && strncmp(at, t->victim, size) == 0)
            return true;
        at += word;
        if (*at == ';')
            break;
    }
    return false;
}

/* The victim comes back only after it was gone: until then its name in a list is the old life's. */
static bool is_hop(const struct timeline *t, enum hop hop, const char *speaker, const char *words)
{
    if (t->hops[hop].time_us != 0 || hop == HOP_ANSWERED || !speaker_matches(t, hop, speaker) ||
        !words_match(t, hop, words))
        return false;
    return hop != HOP_MEMBER || (t->hops[HOP_STORED].time_us != 0 && names_victim(t, words));
}

void timeline_note(struct timeline *timeline, enum hop hop, uint64_t time_us, const char *speaker,
                   const char *words)
{
    struct timeline_hop *h = &timeline->hops[hop];

    h->time_us = time_us;
    snprintf(h->speaker, sizeof h->speaker, "%s", speaker);
    snprintf(h->words, sizeof h->words, "%s", words);
}

void timeline_read(struct timeline *timeline, const char *line)
{
    uint64_t time_us = 0;
    const char *rest = parse_time(line, &time_us);
    char speaker[NAME_SIZE];
    char words[HOP_WORDS_SIZE];
    size_t size;

    if (rest == NULL || time_us < timeline->killed_us)
        return;
    size = strcspn(rest, ":");
    if (size >= sizeof speaker || strncmp(rest + size, ": ", 2) != 0)
        return;
    snprintf(speaker, sizeof speaker, "%.*s", (int)size, rest);
    rest += size + 2;
    snprintf(words, sizeof words, "%.*s", (int)strcspn(rest, "\n"), rest);
    for (enum hop hop = 0; hop < HOP_COUNT; hop++) {
        if (is_hop(timeline, hop, speaker, words)) {
            timeline_note(timeline, hop, time_us, speaker, words);
            return;
        }
    }
}

bool timeline_is_whole(const struct timeline *timeline)
{
    for (enum hop hop = 0; hop < HOP_COUNT; hop++) {
        if (timeline->hops[hop].time_us == 0)
            return false;
    }
    return true;
}

/* "1,234,567" */
static void grouped(uint64_t number, char *out, size_t size)
{
    char digits[24];
    int count = snprintf(digits, sizeof digits, "%" PRIu64, number);
    size_t used = 0;

    for (int i = 0; i < count && used + 2 < size; i++) {
        if (i > 0 && (count - i) % 3 == 0)
            out[used++] = ',';
        out[used++] = digits[i];
    }
    out[used] = '\0';
}

static int earlier(const void *a, const void *b)
{
    uint64_t first = (*(const struct timeline_hop *const *)a)->time_us;
    uint64_t second = (*(const struct timeline_hop *const *)b)->time_us;

    /* 0 is one that never came: it sorts as the latest. */
    return (first - 1 > second - 1) - (first - 1 < second - 1);
}

void timeline_write(const struct timeline *timeline, bool colours, struct buffer *out)
{
    const struct timeline_hop *order[HOP_COUNT];
    struct table *table = memory_take(sizeof *table);

    for (enum hop hop = 0; hop < HOP_COUNT; hop++)
        order[hop] = &timeline->hops[hop];
    qsort(order, HOP_COUNT, sizeof(const struct timeline_hop *), earlier);

    table_init(table, "rlll");
    table_cell(table, TABLE_DIM, "AFTER THE KILL");
    table_cell(table, TABLE_DIM, "WHO");
    table_cell(table, TABLE_DIM, "WHAT HAPPENED");
    table_cell(table, TABLE_DIM, "IN ITS OWN WORDS");
    for (uint32_t i = 0; i < HOP_COUNT; i++) {
        const struct timeline_hop *h = order[i];
        const char *meaning = known[h - timeline->hops].meaning;
        bool answered = h == &timeline->hops[HOP_ANSWERED];
        char after[32];

        if (h->time_us == 0) {
            table_cell(table, TABLE_RED, "never");
            table_cell(table, TABLE_PLAIN, "-");
            table_cell(table, TABLE_RED, "%s", meaning);
            table_cell(table, TABLE_PLAIN, "%s", "");
            continue;
        }
        grouped(h->time_us - timeline->killed_us, after, sizeof after);
        table_cell(table, answered ? TABLE_GREEN : TABLE_PLAIN, "%s µs", after);
        table_cell(table, TABLE_BOLD, "%s", h->speaker);
        table_cell(table, answered ? TABLE_GREEN : TABLE_PLAIN, "%s", meaning);
        table_cell(table, TABLE_DIM, "%s", h->words);
    }
    table_write(table, "  ", colours, out);
    free(table);
}
