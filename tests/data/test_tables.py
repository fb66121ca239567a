"""CSV and TSV as people write them."""

import gzip
from pathlib import Path

import pytest

from project.data.tables import Columns, Wanted, read_table
from project.errors import UserError

Rows = list[tuple[str, str]]


def write(folder: Path, content: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(content.encode(), mtime=0) if name.endswith("gz") else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content", "rows", "columns"),
    [
        ("t.csv", "text,label\nfine,1\nbad,0\n", [("fine", "1"), ("bad", "0")], Columns(0, 1, ["text", "label"])),
        ("t.csv", "Sentiment,Review\r\n1,fine\r\n", [("fine", "1")], Columns(1, 0, ["Sentiment", "Review"])),
        ("t.csv", "id;class; content \n7; a ;x,y\n", [("x,y", "a")], Columns(2, 1, ["id", "class", "content"])),
        (
            "t.csv",
            'good,a\n"b, ""c""\nd",b\n"",b\n',
            [("good", "a"), ('b, "c"\nd', "b"), ("", "b")],
            Columns(0, 1, None),
        ),
        ("t.csv", "1,x\n0,y\n1,z\n", [("x", "1"), ("y", "0"), ("z", "1")], Columns(1, 0, None)),
        (
            "t.csv",
            "phrase,mood\nx,a\ny,b\nz,a\nw,b\n",
            [*zip("xyzw", "abab", strict=True)],
            Columns(0, 1, ["phrase", "mood"]),
        ),
        ("t.tsv", 'say "hi\ta\n"no\tb\nho\ta\n', [('say "hi', "a"), ('"no', "b"), ("ho", "a")], Columns(0, 1, None)),
        ("t.TSV", "\n \nx\ta\n\ny\tb\nz\ta\n", [("x", "a"), ("y", "b"), ("z", "a")], Columns(0, 1, None)),
        ("t.csv.gz", "text,label\n=1+1,<b>\n", [("=1+1", "<b>")], Columns(0, 1, ["text", "label"])),
    ],
)
def test_tables(tmp_path: Path, name: str, content: str, rows: Rows, columns: Columns) -> None:
    assert read_table(write(tmp_path, content, name), Wanted()) == (rows, columns)


@pytest.mark.parametrize(
    ("content", "wanted", "rows"),
    [
        ("a,b,c\nx,y,z\n", Wanted("c", "a"), [("z", "x")]),
        ("a,b,c\nx,y,z\n", Wanted(3, "1"), [("c", "a"), ("z", "x")]),
        ("text,b,label\nx,y,z\n", Wanted(text="b"), [("y", "z")]),
        ("x,a\ny,b\n", Wanted(label=2), [("x", "a"), ("y", "b")]),
        ("x,a\ny,b\n", Wanted(text=2), [("a", "x"), ("b", "y")]),
    ],
)
def test_columns_that_are_asked_for(tmp_path: Path, content: str, wanted: Wanted, rows: Rows) -> None:
    assert read_table(write(tmp_path, content), wanted)[0] == rows


def test_columns_are_described(tmp_path: Path) -> None:
    assert str(Columns(1, 0, ["a", "b\x1b"])) == "with a header: column 'b\\x1b' is the text, 'a' the class"
    assert str(Columns(1, 0, None)) == "without a header: column 2 is the text, 1 the class"


@pytest.mark.parametrize(
    ("content", "wanted", "message"),
    [
        ("", Wanted(), "t.csv is empty"),
        ("one\ntwo\n", Wanted(), "t.csv has one column, and a text and its class take two."),
        ("a,b\n\nx,y\n1,2,3\n", Wanted(), "t.csv, line 4: 3 columns, where line 1 has 2.\nEach ',' is a column's end"),
        ('text,label\n"x\ny",a\nx\n', Wanted(), "t.csv, line 4: 1 columns, where line 1 has 2."),
        ('text,label\nx,a\n"y,a\nz,b\n', Wanted(), "t.csv, line 3: unexpected end of data.\nA quotation mark"),
        ('text,label\n"y" z,a\n', Wanted(), "t.csv, line 2: ',' expected after '\"'"),
        ("text,label\nx,a\ny, \n", Wanted(), "t.csv, line 3: a text without a class."),
        ("text,label\nx,a\n", Wanted(text="body"), "data.text_column=body: "),
        ("text,label\nx,a\n", Wanted(text="body"), "no such column. It has: 'text', 'label'."),
        ("text,label\nx,a\n", Wanted(label=3), "data.label_column=3: the columns of "),
        ("text,label\nx,a\n", Wanted(label=0), "have the numbers 1 to 2."),
        ("text,label\nx,a\n", Wanted(label="text"), "Which columns of "),
        ("a,b,c\nx,y,z\n", Wanted(), "Its first row is: 'a', 'b', 'c'.\nSay it by name or by number from 1 on"),
        ("x,a\ny,b\n", Wanted(), "Its first row is: 'x', 'a'."),  # as many classes as texts
        (f"\x1b[2J{'w' * 50},a,b\n", Wanted(), f"Its first row is: '\\x1b[2J{'w' * 36}...', 'a', 'b'."),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, content: str, wanted: Wanted, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_table(write(tmp_path, content, "t.csv"), wanted)
    assert message in str(caught.value)


def test_all_parts_have_the_training_parts_columns(tmp_path: Path) -> None:
    _, columns = read_table(write(tmp_path, "label,text\na,x\n"), Wanted())
    assert read_table(write(tmp_path, "label,text\nb,y\n"), Wanted(), columns)[0] == [("y", "b")]
    with pytest.raises(UserError, match="begins with 'text', 'label', and the training part with 'label', 'text'"):
        read_table(write(tmp_path, "text,label\ny,b\n"), Wanted(), columns)
    with pytest.raises(UserError, match="has 1 columns, fewer than the training part"):
        read_table(write(tmp_path, "y\n"), Wanted(), Columns(0, 1, None))
