"""Text files: which ones a path names, and their content in pieces, checked byte by byte."""

import codecs
import fnmatch
import glob
import os
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from project.errors import UserError

PIECE = 1 << 20  # bytes that are read at a time
Stamp = tuple[str, int, int]  # path below the root, bytes, time of the last change in ns
_LIBRARY_WITHOUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
_REMEDY = "Say where the text is: data.path=FILE, FOLDER or 'GLOB', such as data.path='books/*.txt'."


@dataclass(frozen=True)
class Documents:
    """Text files below `root` that together are one text, in their order; `name` says what they are."""

    name: str
    root: Path
    stamps: list[Stamp]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(size for _, size, _ in self.stamps)

    @property
    def place(self) -> Path:
        """Where they are, for messages: the one file, or the folder."""
        return (self.root / self.stamps[0][0] if len(self.stamps) == 1 else self.root).resolve()

    def text(self) -> Iterator[tuple[str, int]]:
        """The text in pieces, and how many bytes of files each took.

        A line break is added between two documents where the first does not end with one, and a byte-order mark at a
        file's beginning is left out; all else is as it stands in the files.

        Raises:
            UserError: a file that cannot be read or is not UTF-8; names the byte and its offset.
        """
        ended = True  # whether the text so far ends with a line break
        for name, *_ in self.stamps:
            begins = True
            for piece, size in _decoded(self.root / name):
                if piece:
                    lead = "\n" if begins and not ended else ""
                    begins, ended = False, piece.endswith("\n")
                    piece = lead + piece
                yield piece, size

    def content(self) -> Iterator[tuple[bytes, int]]:
        """As `text`, but the bytes as they are.

        Raises:
            UserError: a file that cannot be read.
        """
        ended = True
        for name, *_ in self.stamps:
            begins = True
            for block in _blocks(self.root / name):
                lead = b"\n" if begins and not ended else b""
                begins, ended = False, block.endswith(b"\n")
                yield lead + block, len(block)


def find_documents(path: str | None, pattern: str = "*", without: Path | None = None) -> Documents:
    """The files that `path` names, sorted: a file, a folder with all below it, or a glob; None: Python's own library.

    Hidden files and folders are left out; of a folder, files whose name does not fit `pattern`, and all that is below
    `without`, another folder.

    Raises:
        UserError: there are none, or they cannot be read.
    """
    if path is None:
        return _library()
    if not path.strip():
        raise UserError(f"data.path is empty.\n{_REMEDY}")
    place = Path(path).expanduser()
    try:
        if place.is_file():
            return Documents(place.name, place.parent, [_stamp(place.parent, place.name)])
        if place.is_dir():
            return _folder(place, pattern, without)
        if glob.has_magic(path):
            return _matches(str(place))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.\n{_REMEDY}") from error
    raise UserError(f"There is no file or folder {place.absolute()}.\n{_REMEDY}")


def _folder(root: Path, pattern: str, without: Path | None) -> Documents:
    other = None if without is None else without.resolve()
    stamps = sorted(_below(root, "", pattern, lambda place: other is not None and place.resolve() == other))
    if not stamps:
        fitting = "" if pattern == "*" else f" whose name fits data.pattern={pattern}"
        raise UserError(f"There are no files{fitting} in {root.resolve()}.\n{_REMEDY}")
    return Documents(root.resolve().name or "text", root, stamps)


def _matches(pattern: str) -> Documents:
    found = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
    names = sorted(name for name in found if Path(name).is_file())
    if not names:
        raise UserError(f"No file fits data.path={pattern}, looked for from {Path.cwd()}.\n{_REMEDY}")
    root = Path(os.path.commonpath([Path(name).parent for name in names]))
    return Documents(root.resolve().name or "text", root, [_stamp(root, os.path.relpath(n, root)) for n in names])


def _library() -> Documents:
    """The source of Python's standard library, which every machine has; without its tests and what was installed."""
    root = Path(sysconfig.get_path("stdlib"))
    stamps = sorted(_below(root, "", "*.py", lambda place: place.name in _LIBRARY_WITHOUT)) if root.is_dir() else []
    if not stamps:
        raise UserError(f"Python's library has no source files in {root}.\n{_REMEDY}")
    return Documents("python_library", root, stamps)


def _below(root: Path, folder: str, pattern: str, left_out: Callable[[Path], bool]) -> Iterator[Stamp]:
    try:
        with os.scandir(root / folder) as entries:
            for entry in entries:
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    if not left_out(root / name):
                        yield from _below(root, name, pattern, left_out)
                elif entry.is_file() and fnmatch.fnmatch(entry.name, pattern):
                    yield _stamp(root, name)
    except OSError as error:  # such as a folder without permission, or a link around in a circle
        place = str(error.filename or root / folder)
        place = place if len(place) < 200 else f"{place[:100]}..."
        raise UserError(f"{place} cannot be read: {error.strerror}. Remove it, or mend the link.") from error


def _stamp(root: Path, name: str) -> Stamp:
    status = (root / name).stat()
    return name, status.st_size, status.st_mtime_ns


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while block := file.read(PIECE):
                yield block
    except OSError as error:
        raise UserError(
            f"{path.resolve()} cannot be read: {error.strerror or error}.\n"
            "Mend it, or leave it out with data.path or data.pattern."
        ) from error


def _decoded(path: Path) -> Iterator[tuple[str, int]]:
    decoder, offset = codecs.getincrementaldecoder("utf-8")(), 0
    for block in _blocks(path):
        size = len(block)
        if offset == 0 and block.startswith(codecs.BOM_UTF8):
            block, offset = block[3:], 3
        zero = block.find(0)
        yield _decode(path, decoder, block if zero < 0 else block[:zero], offset), size
        if zero >= 0:
            raise _not_text(path, "binary", 0, offset + zero)
        offset += len(block)
    _decode(path, decoder, b"", offset, final=True)


def _decode(path: Path, decoder: codecs.IncrementalDecoder, block: bytes, offset: int, final: bool = False) -> str:
    pending = len(decoder.getstate()[0])  # bytes of a character that began in the block before
    try:
        return decoder.decode(block, final)
    except UnicodeDecodeError as error:
        raise _not_text(path, "not UTF-8", error.object[error.start], offset - pending + error.start) from None


def _not_text(path: Path, what: str, byte: int, offset: int) -> UserError:
    return UserError(
        f"{path.resolve()} is {what}: byte 0x{byte:02x} at offset {offset}.\n"
        "Convert it to UTF-8, leave it out with data.path or data.pattern, or train on bytes: data.tokens=bytes."
    )
