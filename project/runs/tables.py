"""Tables for the terminal and for TensorBoard's texts."""

from collections.abc import Sequence
from typing import Any

from project.callbacks.verbatim import visible

NARROWEST = 15  # characters of a column that can still be read, e.g. of 0.8930 ± 0.0041


def table(rows: Sequence[dict[str, Any]], markdown: bool = False) -> str:
    """Rows with the same keys as aligned columns, or as Markdown; numbers stand on the right."""
    if not rows:
        return ""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_text(row.get(name, "")) for name in names] for row in rows]
    if markdown:
        lines = [names, ["---"] * len(names), *[[cell.replace("|", "\\|") for cell in line] for line in cells]]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)
    widths = [max(len(line[i]) for line in [names, *cells]) for i in range(len(names))]
    right = [all(_is_number(line[i]) for line in cells) for i in range(len(names))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in [names, *cells]
    )


def fitted(rows: Sequence[dict[str, Any]], width: int | None) -> str:
    """`table` for a terminal: of few rows on their side, if need be, of many in several tables below each other.

    Args:
        width: characters of a line; cells that are too long for it are cut. None: no limit.
    """
    whole = table(rows)
    if width is None or not rows or max(len(line) for line in whole.splitlines()) <= width:
        return whole
    texts = [{name: _text(row.get(name, "")) for name in {name: 0 for row in rows for name in row}} for row in rows]
    head = max(len(name) for name in texts[0])
    limit = (width - min(head, width // 2)) // len(rows) - 2
    return _turned(texts, limit, width // 2) if limit >= NARROWEST else _in_parts(texts, width)


def _turned(rows: Sequence[dict[str, str]], limit: int, head: int) -> str:
    """A column for each row, a line for each of their keys."""
    lines = [[_cut(name, head), *(_cut(row[name], limit) for row in rows)] for name in rows[0]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(rows) + 1)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _in_parts(rows: Sequence[dict[str, str]], width: int) -> str:
    """Columns that do not fit stand in further tables below, beside the first column again."""
    limit = max(NARROWEST, width // 2 - 2)
    short = [{_cut(name, limit): _cut(text, limit) for name, text in row.items()} for row in rows]
    first, *others = short[0]
    widths = {name: max(len(name), *(len(row[name]) for row in short)) for name in short[0]}
    parts: list[list[str]] = [[first]]
    for name in others:
        if len(parts[-1]) > 1 and sum(widths[part] + 2 for part in parts[-1]) + widths[name] > width:
            parts.append([first])
        parts[-1].append(name)
    return "\n\n".join(table([{name: row[name] for name in part} for row in short]) for part in parts)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else "…" + text[len(text) - limit + 1 :]


def _text(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else visible(str(value))


def _is_number(text: str) -> bool:
    """Also of a mean with its spread."""
    try:
        return [float(part) for part in text.split(" ± ")] != []
    except ValueError:
        return text == ""
