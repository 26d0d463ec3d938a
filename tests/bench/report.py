"""Tables in plain text: aligned columns, numbers to the right."""

import statistics


def table(title, head, rows):
    """rows: lists of text, the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [head] + rows) for i in range(len(head))]

    def line(row):
        cells = [row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:])]
        return "  " + "  ".join(cells).rstrip()

    print(f"\n{title}\n")
    print(line(head))
    print("  " + "  ".join("-" * width for width in widths))
    for row in rows:
        print(line(row))


def median(values):
    return statistics.median(values)


def percentile(values, percent):
    """Of the values themselves: the smallest that so many percent do not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, max(0, -(-len(ranked) * percent // 100) - 1))]


def thousands(value):
    return f"{value:,.0f}"


def milliseconds(value):
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def target(name, measured, wanted, met):
    """A row of the table of targets."""
    return [name, measured, wanted, "met" if met else "NOT MET"]


def progress(text):
    print(f"  {text}", flush=True)
