"""Text files that are read whole."""

import gzip
from pathlib import Path

import pytest

from project.data.lines import read_lines, read_text, shown, tidy
from project.errors import UserError


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a\nb", ["a", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"\xef\xbb\xbfa\n\n", ["a", ""]),
        ("a\u2028b\x0cc\x85d\n".encode(), ["a\u2028b\x0cc\x85d"]),  # line ends to Python, not in files of pairs
    ],
)
def test_lines(tmp_path: Path, content: bytes, lines: list[str]) -> None:
    (tmp_path / "plain").write_bytes(content)
    (tmp_path / "packed").write_bytes(gzip.compress(content, mtime=0))
    assert read_lines(tmp_path / "plain") == read_lines(tmp_path / "packed") == lines


def test_tidy() -> None:
    assert tidy("  A\tB \n\u00a0 c\x1c", lowercase=False) == "A B c"
    assert tidy("ÄB", lowercase=True) == "äb"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"one\ntwo \xe9t\xe9\n", "file, line 2: byte 0xe9 at position 5 is not UTF-8"),
        (b"\xef\xbb\xbf\xff", "file, line 1: byte 0xff at position 4 is not UTF-8"),
        (b"one\n\nthr\x00e\n", "file, line 3: byte 0x00 at position 4 is no text"),
        (gzip.compress(b"one\ntwo\n\xc3", mtime=0), "file, line 3: byte 0xc3 at position 1 is not UTF-8"),
        (gzip.compress(b"one" * 100, mtime=0)[:-9], "file cannot be read: Compressed file ended"),
        (b"\x1f\x8b nothing packed", "file cannot be read: "),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_text(tmp_path / "file")
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path / 'none'} cannot be read: No such file"):
        read_text(tmp_path / "none")


def test_names_are_shown_without_signs_that_a_terminal_acts_on(tmp_path: Path) -> None:
    assert shown(tmp_path / "größe.txt") == f"{tmp_path}/größe.txt"
    assert shown(tmp_path / "\x1b[2J\udce9") == f"'{tmp_path}/\\x1b[2J\\udce9'"
