"""Small text files: plain or gzipped, checked byte by byte, whole or a sentence a line."""

import gzip
import zlib
from pathlib import Path

from project.errors import UserError


def read_text(path: Path) -> str:
    """What a file says: UTF-8 with or without a byte-order mark, gzipped or not; its lines end with "\\n".

    Raises:
        UserError: it cannot be read, is binary, or is not UTF-8; names the line and the byte.
    """
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):  # gzip's mark, whatever the file's name is
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{shown(path)} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise _not_text(path, content, error.start, "not UTF-8") from None
    if (zero := content.find(0)) >= 0:
        raise _not_text(path, content, zero, "no text")
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def read_lines(path: Path) -> list[str]:
    """The lines of a file that `read_text` reads, without their ends; only "\\n" ends a line, and "\\r\\n".

    Raises:
        UserError: see `read_text`.
    """
    lines = read_text(path).split("\n")
    return lines[:-1] if lines[-1] == "" else lines  # the last line may end like the others


def tidy(text: str, lowercase: bool) -> str:
    """A text in one line: each run of white space becomes one space, and there is none around it."""
    return " ".join((text.lower() if lowercase else text).split())


def shown(path: Path) -> str:
    """A path for people, where its name may have any signs, or bytes that are no text."""
    name = str(path.resolve())
    return name if name.isprintable() else ascii(name)


def _not_text(path: Path, content: bytes, place: int, what: str) -> UserError:
    begin = content.rfind(b"\n", 0, place) + 1
    return UserError(
        f"{shown(path)}, line {content.count(10, 0, place) + 1}: byte 0x{content[place]:02x} at position "
        f"{place - begin + 1} is {what}.\nConvert the file to UTF-8, e.g. with iconv -f latin1 -t utf-8, or remove it."
    )
