/* operator_table - rows of short texts, aligned in columns for people. */
#ifndef HOLDFAST_CLIENT_OPERATOR_TABLE_H
#define HOLDFAST_CLIENT_OPERATOR_TABLE_H

#include <stdbool.h>

#include "common/buffer.h"

#define TABLE_COLUMNS_MAX 16u
#define TABLE_ROWS_MAX    64u
#define TABLE_CELL_SIZE   160u /* bytes with the end; longer texts are cut */

enum table_colour { TABLE_PLAIN, TABLE_GREEN, TABLE_YELLOW, TABLE_RED, TABLE_BOLD, TABLE_DIM };

struct table_cell {
    char text[TABLE_CELL_SIZE];
    enum table_colour colour;
};

struct table {
    uint32_t columns;
    uint32_t cells;                /* used so far, row by row */
    bool right[TABLE_COLUMNS_MAX]; /* numbers stand at the right */
    struct table_cell cell[TABLE_ROWS_MAX * TABLE_COLUMNS_MAX];
};

/* An empty table; alignment has one letter per column: 'l' or 'r'. */
void table_init(struct table *table, const char *alignment);

/* Appends the next cell, from left to right; the last one of a row ends it. Cells beyond
 * TABLE_ROWS_MAX rows are dropped. */
void table_cell(struct table *table, enum table_colour colour, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Writes the rows, each behind `indent`, two spaces between columns, nothing at their end. Widths
 * count characters (UTF-8), not bytes. */
void table_write(const struct table *table, const char *indent, bool colours, struct buffer *out);

/* Writes one text in a colour, or plain. */
void table_paint(enum table_colour colour, const char *text, bool colours, struct buffer *out);

#endif
