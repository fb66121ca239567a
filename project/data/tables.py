"""Tables of texts and their classes: CSV and TSV, with or without a header."""

import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from project.data.lines import read_text, shown
from project.errors import UserError

TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
TEXTS = ("text", "sentence", "review", "content", "question")
LABELS = ("label", "class", "sentiment", "category")
Row = tuple[int, list[str]]  # the line where it begins, its cells


@dataclass(frozen=True)
class Wanted:
    """The columns that a person asks for, by name or by number from 1 on; None: to be found out."""

    text: str | int | None = None
    label: str | int | None = None


@dataclass(frozen=True)
class Columns:
    """Where a table has its texts and its labels, counted from 0, and its first row if that has names."""

    text: int
    label: int
    header: list[str] | None

    def __str__(self) -> str:
        names = [f"{self.header[at]!r}" if self.header else str(at + 1) for at in (self.text, self.label)]
        return f"{'with' if self.header else 'without'} a header: column {names[0]} is the text, {names[1]} the class"


def read_table(path: Path, wanted: Wanted, like: Columns | None = None) -> tuple[list[tuple[str, str]], Columns]:
    """A file's texts and classes, and where they stand in it.

    Cells of a CSV are separated by commas, or by semicolons where its first line has no comma, and may be quoted; those
    of a TSV by tabs, and no sign has a meaning of its own there. Columns that are not `wanted` are found by the names
    in the first row; of two columns, the one with fewer different values has the classes. A first row without such
    names is a header, too, where its class is nobody else's and all others occur more than once.

    Args:
        like: the columns of the training part, which this part must have, too.

    Raises:
        UserError: a row with another number of cells, columns that are not there or cannot be told apart, a text
            without a class.
    """
    rows = _rows(path)
    if not rows:
        raise UserError(f"{shown(path)} is empty: a table with a text and its class in each row is expected.")
    columns = _find(path, rows, wanted) if like is None else _check(path, rows, like)
    found = []
    for line, cells in rows[columns.header is not None :]:
        text, label = cells[columns.text], cells[columns.label].strip()
        if not label and text.strip():
            raise UserError(f"{shown(path)}, line {line}: a text without a class.\nGive it one, or remove the line.")
        found.append((text, label))
    return found, columns


def _rows(path: Path) -> list[Row]:
    text = read_text(path)
    tabs = ".tsv" in path.name.lower()
    delimiter = "\t" if tabs else _comma(text)
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL,
        strict=True,
    )
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    rows: list[Row] = []
    line = 1
    try:
        for cells in reader:
            if cells and any(not cell.isspace() for cell in cells if cell):
                rows.append((line, cells))
                _check_width(path, rows, delimiter)
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{shown(path)}, line {line}: {error}.\nA quotation mark that opens must close; one inside is doubled."
        ) from None
    return rows


def _comma(text: str) -> str:
    first, _, _ = text.lstrip().partition("\n")
    return ";" if ";" in first and "," not in first else ","


def _check_width(path: Path, rows: list[Row], delimiter: str) -> None:
    (first, head), (line, cells) = rows[0], rows[-1]
    if len(cells) != len(head):
        name = "tab" if delimiter == "\t" else repr(delimiter)
        remedy = "is a column's end" if delimiter == "\t" else "is a column's end unless the text stands in quotes"
        raise UserError(
            f"{shown(path)}, line {line}: {len(cells)} columns, where line {first} has {len(head)}.\n"
            f"Each {name} {remedy}."
        )


def _find(path: Path, rows: list[Row], wanted: Wanted) -> Columns:
    head = [cell.strip() for cell in rows[0][1]]
    if len(head) < 2:
        raise UserError(f"{shown(path)} has one column, and a text and its class take two.")
    text, label = (_known(head, names) for names in (TEXTS, LABELS))
    header = text is not None and label is not None
    if any(isinstance(name, str) and not name.isdecimal() for name in (wanted.text, wanted.label)):
        header = True
    text = text if wanted.text is None else _place(path, head, wanted.text, "text_column")
    label = label if wanted.label is None else _place(path, head, wanted.label, "label_column")
    text, label = _pair(path, rows, text, label)
    return Columns(text, label, head if header or _unlike(rows, label) else None)


def _known(head: list[str], names: tuple[str, ...]) -> int | None:
    lower = [cell.lower() for cell in head]
    return next((lower.index(name) for name in names if name in lower), None)


def _place(path: Path, head: list[str], wanted: str | int, option: str) -> int:
    if isinstance(wanted, int) or wanted.isdecimal():
        if not 1 <= int(wanted) <= len(head):
            raise UserError(f"data.{option}={wanted}: the columns of {shown(path)} have the numbers 1 to {len(head)}.")
        return int(wanted) - 1
    if wanted not in head:
        raise UserError(f"data.{option}={wanted}: {shown(path)} has no such column. It has: {_listed(head)}.")
    return head.index(wanted)


def _pair(path: Path, rows: list[Row], text: int | None, label: int | None) -> tuple[int, int]:
    """Both columns, where at least one is known or there are two in all."""
    width = len(rows[0][1])
    if width == 2 and text is None and label is None:
        different = [len({cells[column] for _, cells in rows}) for column in range(2)]
        if different[0] != different[1]:
            label = int(different[1] < different[0])
    if width == 2 and (text is None) != (label is None):
        text, label = (1 - label, label) if label is not None else (text, 1 - (text or 0))
    if text is None or label is None or text == label:
        raise UserError(
            f"Which columns of {shown(path)} have the text and the class? Its first row is: {_listed(rows[0][1])}.\n"
            "Say it by name or by number from 1 on: data.text_column=... data.label_column=..."
        )
    return text, label


def _unlike(rows: list[Row], label: int) -> bool:
    """Whether the first row's label is a column's name rather than a class."""
    counts = Counter(cells[label].strip() for _, cells in rows)
    first = counts.pop(rows[0][1][label].strip())
    return first == 1 and len(counts) > 1 and min(counts.values()) > 1


def _check(path: Path, rows: list[Row], like: Columns) -> Columns:
    """The training part's columns, if this file has them."""
    head = [cell.strip() for cell in rows[0][1]]
    if like.header is not None and head != like.header:
        raise UserError(
            f"{shown(path)} begins with {_listed(head)}, and the training part with {_listed(like.header)}.\n"
            "All parts must have the same columns."
        )
    if max(like.text, like.label) >= len(head):
        raise UserError(f"{shown(path)} has {len(head)} columns, fewer than the training part.")
    return like


def _listed(cells: list[str]) -> str:
    """Cells for people; a long one begins, and signs that a terminal acts on are written as codes."""
    return ", ".join(repr(cell if len(cell) <= 40 else f"{cell[:40]}...") for cell in cells[:20])
