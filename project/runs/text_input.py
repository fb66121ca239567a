"""Texts that a person hands over: one on the command line, or the lines of a file or of standard input."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from project.data.lines import read_lines
from project.errors import UserError

FILE_ENDINGS = (".csv", ".gz", ".json", ".jsonl", ".log", ".md", ".tsv", ".txt")


def texts(given: str) -> Iterator[str]:
    """The lines of the file `given` (UTF-8, perhaps gzipped); of standard input, if it is `-`; else `given` itself.

    A text that is also the name of a folder, or ends like a file's, is pointed out on standard error.

    Raises:
        UserError: not UTF-8, or a file that cannot be read.
    """
    path = Path(given)
    if given == "-":
        yield from _standard_input()
    elif _holds(path.is_file) or _holds(path.is_fifo):
        yield from read_lines(path)
    else:
        if _holds(path.is_dir):
            tell(f"input={given} is a folder, and is taken as a text: name a file to have its lines read")
        elif given.lower().endswith(FILE_ENDINGS):
            tell(f"input={given} is no file that exists, and is taken as a text")
        yield _unicode(given)


def tell(note: str) -> None:
    """A remark that is no part of the answer, on standard error."""
    print(f"note: {note}", file=sys.stderr, flush=True)


def _standard_input() -> Iterator[str]:
    """Line by line as they come, whatever encoding the terminal has."""
    for number, line in enumerate(sys.stdin.buffer, 1):
        try:
            yield line.decode().removeprefix("\ufeff").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise UserError(
                f"standard input, line {number}: byte 0x{line[error.start]:02x} at position {error.start + 1} is not "
                "UTF-8.\nConvert it, e.g. with iconv -f latin1 -t utf-8."
            ) from None


def _unicode(given: str) -> str:
    try:
        given.encode()
    except UnicodeEncodeError as error:  # a byte of the command line that could not be decoded
        raise UserError(f"input= is not UTF-8 at its position {error.start + 1}: {given!a}") from error
    return given


def _holds(question: Callable[[], bool]) -> bool:
    """What is asked of a path; a text may be too long, or have too strange characters, to be one."""
    try:
        return question()
    except (OSError, ValueError):
        return False
