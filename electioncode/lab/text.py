"""Tables as text."""

from __future__ import annotations

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str] | str], align: str = "", markdown: bool = False) -> str:
    """Return aligned columns under a header.

    Args:
        header: one name per column.
        rows: one cell per column, or a string that stands alone on its line.
        align: "l" or "r" per column; columns beyond it are aligned as its last, or left.
        markdown: as a Markdown table, which has no room for lone strings.
    """
    align += (align[-1:] or "l") * (len(header) - len(align))
    cells = [header, *(row for row in rows if not isinstance(row, str))]
    widths = [max(3 if markdown else 1, *(len(row[i]) for row in cells)) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        if isinstance(row, str):
            return row
        padded = [c.ljust(w) if a == "l" else c.rjust(w) for c, w, a in zip(row, widths, align, strict=True)]
        return "| " + " | ".join(padded) + " |" if markdown else "  ".join(padded).rstrip()

    rule = ["-" * (w - 1) + (":" if markdown and a == "r" else "-") for w, a in zip(widths, align, strict=True)]
    return "\n".join([line(header), line(rule), *map(line, rows)])
