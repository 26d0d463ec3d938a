#include "client/operator_table.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

static const char *const escapes[] = {
    [TABLE_PLAIN] = "",       [TABLE_GREEN] = "\033[32m", [TABLE_YELLOW] = "\033[33m",
    [TABLE_RED] = "\033[31m", [TABLE_BOLD] = "\033[1m",   [TABLE_DIM] = "\033[2m",
};

void table_init(struct table *table, const char *alignment)
{
    table->columns = (uint32_t)strlen(alignment);
    table->cells = 0;
    assert(table->columns >= 1 && table->columns <= TABLE_COLUMNS_MAX);
    for (uint32_t i = 0; i < table->columns; i++)
        table->right[i] = alignment[i] == 'r';
}

void table_cell(struct table *table, enum table_colour colour, const char *format, ...)
{
    struct table_cell *cell = &table->cell[table->cells];
    va_list arguments;

    if (table->cells == table->columns * TABLE_ROWS_MAX)
        return;
    va_start(arguments, format);
    vsnprintf(cell->text, sizeof cell->text, format, arguments);
    va_end(arguments);
    cell->colour = colour;
    table->cells++;
}

/* Characters of a text: bytes that do not continue one. */
static uint32_t width_of(const char *text)
{
    uint32_t width = 0;

    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xC0u) != 0x80u;
    return width;
}

static uint32_t column_width(const struct table *table, uint32_t column)
{
    uint32_t widest = 0;

    for (uint32_t i = column; i < table->cells; i += table->columns) {
        uint32_t width = width_of(table->cell[i].text);

        widest = width > widest ? width : widest;
    }
    return widest;
}

void table_paint(enum table_colour colour, const char *text, bool colours, struct buffer *out)
{
    bool painted = colours && colour != TABLE_PLAIN && text[0] != '\0';

    buffer_format(out, "%s%s%s", painted ? escapes[colour] : "", text, painted ? "\033[0m" : "");
}

/* Whether anything is left to write in the row that cell i is in. */
static bool row_goes_on(const struct table *table, uint32_t i)
{
    for (; i < table->cells; i++) {
        if (table->cell[i].text[0] != '\0')
            return true;
        if ((i + 1) % table->columns == 0)
            return false;
    }
    return false;
}

void table_write(const struct table *table, const char *indent, bool colours, struct buffer *out)
{
    uint32_t widths[TABLE_COLUMNS_MAX] = { 0 };

    assert(table->columns >= 1);
    for (uint32_t i = 0; i < table->columns; i++)
        widths[i] = column_width(table, i);
    for (uint32_t i = 0; i < table->cells; i++) {
        const struct table_cell *cell = &table->cell[i];
        uint32_t column = i % table->columns;
        int padding = (int)(widths[column] - width_of(cell->text));
        bool last = column + 1 == table->columns;

        if (column == 0)
            buffer_append_string(out, indent);
        if (row_goes_on(table, i)) {
            buffer_format(out, "%*s", table->right[column] ? padding : 0, "");
            table_paint(cell->colour, cell->text, colours, out);
            if (!last && row_goes_on(table, i + 1))
                buffer_format(out, "%*s", (table->right[column] ? 0 : padding) + 2, "");
        }
        if (last)
            buffer_append_string(out, "\n");
    }
}
