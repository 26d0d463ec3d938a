#include "client/print.h"

#include <stdio.h>

#include "common/resp.h"

struct printer {
    struct bytes rest; /* of the reply */
    bool quoted;
    struct buffer *out;
};

static void print_escaped(struct bytes text, struct buffer *out)
{
    static const char plain[] = "\n\r\t\a\b\"\\";
    static const char letters[] = "nrtab\"\\";

    buffer_append_string(out, "\"");
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        const char *special = c ? strchr(plain, c) : NULL;

        if (special)
            buffer_format(out, "\\%c", letters[special - plain]);
        else if (c >= ' ' && c <= '~')
            buffer_append(out, &c, 1);
        else
            buffer_format(out, "\\x%02x", c);
    }
    buffer_append_string(out, "\"");
}

/* Verbatim strings carry their format ("txt:") in front. */
static struct bytes without_format(struct bytes text)
{
    return text.size >= 4 ? bytes_of(text.data + 4, text.size - 4) : text;
}

static void print_quoted(const struct resp_value *v, struct buffer *out)
{
    switch (v->type) {
    case RESP_NULL: buffer_append_string(out, "(nil)"); break;
    case RESP_BULK: print_escaped(v->text, out); break;
    case RESP_INTEGER: buffer_format(out, "(integer) %lld", (long long)v->integer); break;
    case RESP_BOOLEAN: buffer_append_string(out, v->integer ? "(true)" : "(false)"); break;
    case RESP_ERROR:
    case RESP_BULK_ERROR:
        buffer_append_string(out, "(error) ");
        buffer_append(out, v->text.data, v->text.size);
        break;
    case RESP_DOUBLE:
        buffer_append_string(out, "(double) ");
        buffer_append(out, v->text.data, v->text.size);
        break;
    default: buffer_append(out, v->text.data, v->text.size); break;
    }
}

static void print_scalar(struct printer *p, struct resp_value v)
{
    if (v.type == RESP_VERBATIM)
        v.text = without_format(v.text);
    if (p->quoted)
        print_quoted(&v, p->out);
    else if (v.type == RESP_INTEGER)
        buffer_format(p->out, "%lld", (long long)v.integer);
    else if (v.type == RESP_BOOLEAN)
        buffer_append_string(p->out, v.integer ? "true" : "false");
    else if (v.type != RESP_NULL)
        buffer_append(p->out, v.text.data, v.text.size);
    buffer_append_string(p->out, "\n");
}

static bool is_aggregate(enum resp_type type)
{
    return type == RESP_ARRAY || type == RESP_SET || type == RESP_PUSH || type == RESP_MAP;
}

/* Depth is bounded by what resp_measure_reply() lets through. */
static void print_value(struct printer *p, uint32_t indent);

static void print_elements(struct printer *p, const struct resp_value *v, uint32_t indent)
{
    const char *mark = v->type == RESP_MAP ? "#" : v->type == RESP_SET ? "~" : ")";
    char number[32];
    int width = snprintf(number, sizeof(number), "%lld", (long long)v->integer);

    for (int64_t i = 0; i < v->integer; i++) {
        uint32_t deeper = indent;

        if (p->quoted) {
            deeper += (uint32_t)width + 2u;
            /* The first stands behind the number of its parent. */
            if (i > 0)
                buffer_format(p->out, "%*s", (int)indent, "");
            buffer_format(p->out, "%*lld%s ", width, (long long)i + 1, mark);
        }
        print_value(p, deeper); /* a line at least, when quoted */
        if (v->type != RESP_MAP)
            continue;
        if (p->quoted) {
            p->out->end--; /* the value goes on in the key's line */
            buffer_append_string(p->out, " => ");
        }
        print_value(p, deeper + (p->quoted ? 4u : 0));
    }
}

static void print_value(struct printer *p, uint32_t indent)
{
    struct resp_value v;
    size_t used = resp_read_value(p->rest, &v);

    p->rest = bytes_of(p->rest.data + used, p->rest.size - used);
    if (v.type == RESP_ATTRIBUTE) {
        /* It says something about the value that follows; nobody asked. */
        struct buffer unread = { 0 };
        struct printer skip = { p->rest, false, &unread };

        for (int64_t i = 0; i < 2 * v.integer; i++)
            print_value(&skip, 0);
        p->rest = skip.rest;
        buffer_free(&unread);
        print_value(p, indent);
    } else if (!is_aggregate(v.type)) {
        print_scalar(p, v);
    } else if (v.integer > 0) {
        print_elements(p, &v, indent);
    } else if (p->quoted) {
        buffer_append_string(p->out, v.type == RESP_MAP   ? "(empty hash)\n"
                                     : v.type == RESP_SET ? "(empty set)\n"
                                                          : "(empty array)\n");
    }
}

void print_reply(struct bytes reply, bool quoted, struct buffer *out)
{
    struct printer printer = { reply, quoted, out };

    print_value(&printer, 0);
}
