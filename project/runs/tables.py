"""Tables for the terminal and for TensorBoard's texts."""

from collections.abc import Sequence
from typing import Any

from project.callbacks.verbatim import visible


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


def _text(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else visible(str(value))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text == ""
    return True
