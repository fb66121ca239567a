"""From files to ids: exact on texts of a few letters, and everything that can be wrong with files."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from project.data import documents
from project.data.documents import find_documents
from project.data.text import Text
from project.data.vocabulary import Vocabulary, words
from project.errors import UserError
from tests.data.conftest import attach

Content = str | bytes


def written(folder: Path, **files: Content) -> Path:
    """The folder with these files; a name's two underscores are a dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def ready(tmp_path: Path, path: Path | str | None, **arguments: Any) -> Text:
    settings = {"batch_size": 1, "truncate": 1, "cache_folder": str(tmp_path / "cache"), **arguments}
    module = Text(None if path is None else str(path), **settings)
    module.prepare_data()
    module.setup("fit")
    return module


def parts(module: Text) -> dict[str, list[int]]:
    assert module.corpus is not None
    return {split: ids.tolist() for split, ids in module.corpus.parts.items()}


def in_a_process(path: Path, cache: Path, tokens: str) -> "subprocess.Popen[bytes]":
    """Builds the ids and prints how many each part has."""
    code = f"""
from pathlib import Path
from project.data.corpus import CorpusCache
from project.data.documents import find_documents
from project.data.encoding import Encoding
entry = CorpusCache(Path({str(cache)!r}), find_documents({str(path)!r}), Encoding({tokens!r}, 1, 0.1, 0.0))
print([len(ids) for ids in entry.build().parts.values()])
"""
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_characters(tmp_path: Path) -> None:
    module = ready(tmp_path, written(tmp_path / "text", a="hello hello yo") / "a", val_fraction=0.2)
    assert module.vocabulary.tokens == ["<unk>", " ", "e", "h", "l", "o"]
    assert parts(module) == {"train": [3, 2, 4, 4, 5, 1, 3, 2, 4, 4, 5], "val": [1, 0, 5], "test": []}
    assert module.unit == "characters"
    assert module.sizes == {"vocab_size": 6, "token": "character"}
    assert module.counts == {"train": 11, "val": 3, "test": 0}
    assert module.facts == {"vocabulary": {"kind": "characters", "tokens": module.vocabulary.tokens}}
    assert json.loads(json.dumps(module.facts)) == module.facts
    assert [ids.dtype for ids in module.corpus.parts.values()] == [np.uint8] * 3  # type: ignore[union-attr]


def test_bytes(tmp_path: Path) -> None:
    path = written(tmp_path / "text", a=b"\xff\xfe\x00\n\x01" * 2) / "a"
    module = ready(tmp_path, path, tokens="bytes", val_fraction=0.2, test_fraction=0.2)
    assert parts(module) == {"train": [256, 255, 1, 11, 2, 256], "val": [255, 1], "test": [11, 2]}
    assert module.sizes == {"vocab_size": 257, "token": "byte"}
    assert module.counts == {"train": 6, "val": 2, "test": 2}


def test_words(tmp_path: Path) -> None:
    path = written(tmp_path / "text", a="the cat, the dog.\nThe cat sat") / "a"
    module = ready(tmp_path, path, tokens="words", min_count=2, val_fraction=0.3)
    assert module.vocabulary.tokens == ["<unk>", "the"]  # 20 of 29 characters: "The", which it cuts, is the last word
    assert parts(module)["train"] == [1, 0, 0, 1, 0, 0, 0, 0]
    assert parts(module)["val"] == [0, 0]
    assert module.sizes == {"vocab_size": 2, "token": "word"}


@pytest.mark.parametrize(
    ("val", "test", "counts"),
    [(0.1, 0.0, (90, 10, 0)), (0.2, 0.1, (70, 20, 10)), (0.9, 0.0, (10, 90, 0)), (0.33, 0.33, (34, 33, 33))],
)
def test_the_parts_lie_behind_each_other(tmp_path: Path, val: float, test: float, counts: tuple[int, ...]) -> None:
    text = "".join(chr(32 + i) for i in range(90)) + "0123456789"
    module = ready(tmp_path, written(tmp_path / "text", a=text) / "a", val_fraction=val, test_fraction=test)
    assert tuple(module.counts.values()) == counts
    known = {module.vocabulary.tokens[number] for number in parts(module)["train"]}
    assert known == set(module.vocabulary.tokens[1:]) == set(text[: counts[0]])
    everything = [number for ids in parts(module).values() for number in ids]
    assert everything == module.vocabulary.encode(text).tolist()


@pytest.mark.parametrize("piece", [3, 4, 5, 64])
@pytest.mark.parametrize("tokens", ["characters", "bytes", "words"])
def test_pieces_of_any_size_make_the_same_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokens: str, piece: int
) -> None:
    texts = [
        "Nur €5, don't \U0001f389wörry.\r\n",
        "",
        "été\tcafe\u0301 a\u2003b",
        "\n",
        "x",
        "y " * 40 + "long" * 10 + " end" * 10,
    ]
    folder = tmp_path / "text"
    for number, text in enumerate(texts):
        written(folder, **{f"{number}": ("\ufeff" if number == 2 else "") + text})
    whole = "Nur €5, don't \U0001f389wörry.\r\nété\tcafe\u0301 a\u2003b\n\nx\n" + texts[-1]
    monkeypatch.setattr(documents, "PIECE", piece)
    module = ready(tmp_path, folder, tokens=tokens, val_fraction=0.4, test_fraction=0.1)
    everything = [number for ids in parts(module).values() for number in ids]
    if tokens == "bytes":
        whole_bytes = whole.replace("été", "\ufeffété").encode()
        assert bytes(number - 1 for number in everything) == whole_bytes
        cuts = [int(len(whole_bytes) * share + 1e-6) for share in (0.5, 0.9)]
        assert module.counts["train"] == cuts[0]
        assert module.counts["val"] == cuts[1] - cuts[0]
        return
    assert everything == module.vocabulary.encode(whole).tolist()
    cuts = [int(len(whole) * share + 1e-6) for share in (0.5, 0.9)]
    if tokens == "characters":
        assert module.vocabulary == Vocabulary.build(whole[: cuts[0]], tokens)
        assert module.counts["val"] == cuts[1] - cuts[0]
    else:
        cuts = [end_of_word(whole, cut) for cut in cuts]
        assert module.vocabulary == Vocabulary.build(whole[: cuts[0]], tokens)
        assert module.counts["train"] == len(words(whole[: cuts[0]]))
        assert module.counts["val"] == len(words(whole[cuts[0] : cuts[1]]))


def end_of_word(text: str, cut: int) -> int:
    """Behind the word that stands across the cut, found one character after the other."""
    while cut < len(text) and words(text[:cut]) + words(text[cut:]) != words(text):
        cut += 1
    return cut


@pytest.mark.parametrize(("kinds", "dtype"), [(255, np.uint8), (256, np.uint16), (70_000, np.uint32)])
def test_the_smallest_integers_that_do(tmp_path: Path, kinds: int, dtype: type) -> None:
    text = "".join(chr(0x20000 + number) for number in range(kinds))
    module = ready(tmp_path, written(tmp_path / "text", a=text + text[:2]) / "a", val_fraction=2 / (kinds + 2))
    assert module.corpus is not None
    assert module.corpus.parts["train"].dtype == dtype
    assert parts(module)["train"] == list(range(1, kinds + 1))
    [entry] = [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    assert (entry / "ids.bin").stat().st_size == (kinds + 2) * np.dtype(dtype).itemsize


def test_which_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = written(tmp_path / "books", b__txt="b", a__txt="a", c__md="c", __hidden="no")
    written(folder / "sub" / "deep", z__txt="z")
    written(folder / ".git", config="no")
    names = lambda path, pattern="*": [name for name, *_ in find_documents(str(path), pattern).stamps]  # noqa: E731
    assert names(folder) == ["a.txt", "b.txt", "c.md", "sub/deep/z.txt"]
    assert names(folder, "*.txt") == ["a.txt", "b.txt", "sub/deep/z.txt"]
    assert names(folder / "*.txt") == ["a.txt", "b.txt"]
    assert names(folder / "**" / "*.txt") == ["a.txt", "b.txt", "sub/deep/z.txt"]
    assert names(folder / "c.md") == ["c.md"]
    monkeypatch.chdir(folder)
    assert names("*") == ["a.txt", "b.txt", "c.md"]
    assert names(".") == ["a.txt", "b.txt", "c.md", "sub/deep/z.txt"]
    assert names("sub/*/*.txt") == ["z.txt"]
    monkeypatch.setenv("HOME", str(folder))
    assert names("~/a.txt") == ["a.txt"]
    (folder / "odd[1].txt").write_text("odd")
    assert names("odd[1].txt") == ["odd[1].txt"]  # a file of that name comes before the glob


def test_the_cache_is_no_text(tmp_path: Path) -> None:
    folder = written(tmp_path / "text", a="hello hello")
    for _ in range(2):
        assert sum(ready(tmp_path, folder, cache_folder=str(folder / "cache")).counts.values()) == 11
    assert len(left_in(folder / "cache")) == 1


def test_python_s_library_is_there_by_default(tmp_path: Path) -> None:
    found = find_documents(None)
    names = [name for name, *_ in found.stamps]
    assert {"os.py", "json/decoder.py", "typing.py"} <= set(names)
    assert names == sorted(names)
    assert not [name for name in names if {"site-packages", "test", "tests", "__pycache__"} & set(name.split("/"))]
    text = "".join(piece for piece, _ in found.text())  # all of it is UTF-8
    assert len(text) > 3_000_000
    assert text.count(Path(os.__file__).read_text(encoding="utf-8")) == 1


def test_a_later_start_maps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "text", a="hello hello") / "a"
    first = ready(tmp_path, path)
    monkeypatch.setattr("project.data.encoding.Encoding.write", None)  # nothing is built again
    again = ready(tmp_path, path)
    assert parts(again) == parts(first)
    assert again.vocabulary == first.vocabulary
    assert isinstance(again.corpus.parts["train"].base, np.memmap)  # type: ignore[union-attr]
    assert len(left_in(tmp_path / "cache")) == 1


def test_what_changes_the_ids_has_an_entry_of_its_own(tmp_path: Path) -> None:
    path = written(tmp_path / "text", a="hello hello\n") / "a"
    ready(tmp_path, path, val_fraction=0.5)
    settings: list[dict[str, Any]] = [{"tokens": "bytes"}, {"min_count": 2}, {"val_fraction": 0.4}]
    for entries, changed in enumerate([*settings, {"test_fraction": 0.2}], start=2):
        ready(tmp_path, path, **{"val_fraction": 0.5, **changed})
        assert len(left_in(tmp_path / "cache")) == entries
    ready(tmp_path, path, val_fraction=0.5, batch_size=2, truncate=2, eval_length=3, seed=4)
    assert len(left_in(tmp_path / "cache")) == 5
    path.write_text("other hello\n")
    os.utime(path, (1, 1))
    assert ready(tmp_path, path, val_fraction=0.5).vocabulary.tokens == ["<unk>", " ", "e", "h", "o", "r", "t"]
    assert len(left_in(tmp_path / "cache")) == 6


@pytest.mark.slow
def test_processes_that_start_together_build_once(tmp_path: Path) -> None:
    path = written(tmp_path / "text", a="hello " * 1000) / "a"
    processes = [in_a_process(path, tmp_path / "cache", "characters") for _ in range(3)]
    assert [process.communicate(timeout=60)[0] for process in processes] == [b"[5400, 600, 0]\n"] * 3
    assert len(left_in(tmp_path / "cache")) == 1


def test_a_killed_build_leaves_nothing_that_hurts(tmp_path: Path) -> None:
    path = written(tmp_path / "text", a="".join(f"w{number % 4000} " for number in range(1_000_000))) / "a"
    cache = tmp_path / "cache"
    process = in_a_process(path, cache, "words")
    deadline = time.monotonic() + 60
    while not list(cache.glob(".*.partial/entry/ids.bin")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)
    assert list(cache.glob(".*.partial/entry/ids.bin"))
    assert not [name for name in left_in(cache) if not name.endswith(".partial")]
    path.write_text("hello hello")
    assert ready(tmp_path, path).counts == {"train": 9, "val": 2, "test": 0}
    assert len(left_in(cache)) == 1


def test_what_is_unknown_is_told_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = "ab" * 20 + "é─é" + "abcdefghijklm" + "ab"
    path = written(tmp_path / "text", a=text) / "a"
    with caplog.at_level(logging.INFO):
        module = ready(tmp_path, path, val_fraction=0.31)
    assert caplog.messages == [
        "14 of 18 characters of the validation part are unknown, 13 different: 'é' (LATIN SMALL LETTER E WITH ACUTE), "
        "'─' (BOX DRAWINGS LIGHT HORIZONTAL), 'c' (LATIN SMALL LETTER C), 'd' (LATIN SMALL LETTER D), "
        "'e' (LATIN SMALL LETTER E), 'f' (LATIN SMALL LETTER F), 'g' (LATIN SMALL LETTER G), "
        "'h' (LATIN SMALL LETTER H), 'i' (LATIN SMALL LETTER I), 'j' (LATIN SMALL LETTER J), ..."
    ]
    assert parts(module)["val"] == [0] * 3 + [1, 2] + [0] * 11 + [1, 2]
    caplog.clear()
    with caplog.at_level(logging.INFO):
        ready(tmp_path, path, val_fraction=0.31)  # from the cache, too
        ready(tmp_path, path, val_fraction=0.03)
    assert len(caplog.messages) == 1
    caplog.clear()
    with caplog.at_level(logging.INFO):
        ready(tmp_path, written(tmp_path / "text", b="caab" + "aab" * 2 + "ab") / "b", min_count=2, val_fraction=0.2)
    assert caplog.messages == ["1 of 9 characters of the training part are rarer than data.min_count=2, and so unknown"]


def test_batches_and_ranks(tmp_path: Path) -> None:
    path = written(tmp_path / "text", a="0123456789" * 10) / "a"
    module = ready(tmp_path, path, batch_size=4, truncate=5, eval_batch_size=2, eval_length=4)
    assert module.samples_per_batch == 20
    module.check_batch_size(2)
    with pytest.raises(UserError, match=r"data.batch_size=4 cannot be shared evenly by 3 processes"):
        module.check_batch_size(3)
    assert len(module.train_dataloader()) == 4
    [(inputs, _), *_] = attach(module, rank=1, world_size=2).train_dataloader()  # type: ignore[type-var,arg-type,attr-defined]
    assert inputs.T.tolist() == [[5, 6, 7, 8, 9], [7, 8, 9, 10, 1]]  # from 44 and from 66 on
    module.trainer = None
    assert [targets.T.tolist() for _, targets in module.val_dataloader()] == [
        [[2, 3, 4, 5, -100], [6, 7, 8, 9, 10]],  # of 9 predictions
    ]


def test_no_test_part(tmp_path: Path) -> None:
    module = ready(tmp_path, written(tmp_path / "text", a="hello " * 20) / "a")
    with pytest.raises(UserError, match=r"There is no test part: data.test_fraction=0.\n.*data.test_fraction=0.1"):
        module.test_dataloader()
    module = ready(tmp_path, tmp_path / "text" / "a", test_fraction=0.1)
    assert sum(int((targets != -100).sum()) for _, targets in module.test_dataloader()) == 11


def test_text_too_short_to_train_or_to_validate(tmp_path: Path) -> None:
    path = written(tmp_path / "text", a="hello") / "a"
    with pytest.raises(UserError, match=r"The validation part has 1 characters, and to predict one takes 2.\n.*0.1\)"):
        ready(tmp_path, path)
    module = ready(tmp_path, path, val_fraction=0.4, batch_size=50, truncate=64)
    for check in (lambda: module.check_batch_size(1), module.train_dataloader):
        with pytest.raises(UserError, match=r"The training part has 3 characters: .* at least 3201") as caught:
            check()
        assert "data.batch_size=1 with data.truncate=2" in str(caught.value)
    with pytest.raises(UserError, match=r"The test part has 0 words, .*\n.*data.test_fraction \(now 0.2\)"):
        ready(
            tmp_path,
            written(tmp_path / "text", b="a b c d e ffff") / "b",
            tokens="words",
            val_fraction=0.5,
            test_fraction=0.2,
        )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", r"There is no file or folder {0}/nowhere.\nSay where the text is: data.path=FILE"),
        ("*.nope", r"No file fits data.path={0}/\*.nope"),
        ("empty", r"There are no files in {0}/empty.\n"),
    ],
)
def test_a_path_without_files(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message.format(tmp_path)):
        ready(tmp_path, tmp_path / name)
    assert not (tmp_path / "cache").exists()


def test_a_pattern_that_fits_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There are no files whose name fits data.pattern=\*.md in "):
        ready(tmp_path, written(tmp_path / "text", a="x"), pattern="*.md")


@pytest.mark.parametrize(("content", "tokens"), [("", "characters"), ("", "bytes"), ("", "words"), (" \t\r ", "words")])
def test_empty_text(tmp_path: Path, content: str, tokens: str) -> None:
    path = written(tmp_path / "text", a=content) / "a"
    with pytest.raises(UserError, match=rf"There are no {tokens} in {path}.\n.*data.path="):
        ready(tmp_path, path, tokens=tokens)
    assert left_in(tmp_path / "cache") == []


BAD = {
    "latin": (b"caf\xe9 au lait", "not UTF-8", "e9", 3),
    "cut": (b"na\xe2\x82", "not UTF-8", "e2", 2),
    "utf16": ("hi".encode("utf-16"), "not UTF-8", "ff", 0),
    "binary": (b"\x7fELF\x02\x00\xff", "binary", "00", 5),
    "surrogate": (b"a\xed\xa0\x80", "not UTF-8", "ed", 1),
    "bom": (b"\xef\xbb\xbfab\xff", "not UTF-8", "ff", 5),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("before", [0, 4, 1000])
@pytest.mark.parametrize("piece", [3, 1 << 20])
def test_the_byte_that_is_no_text_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, before: int, piece: int
) -> None:
    content, what, byte, offset = BAD[kind]
    if kind == "bom" and before:
        content = content[3:]
        offset -= 3
    monkeypatch.setattr(documents, "PIECE", piece)
    lead = ("é" * (before // 2)).encode()
    folder = written(tmp_path / "text", a="fine\n", b=lead + content, c="fine")
    with pytest.raises(UserError) as caught:
        ready(tmp_path, folder)
    assert str(caught.value) == (
        f"{folder / 'b'} is {what}: byte 0x{byte} at offset {len(lead) + offset}.\nConvert it to UTF-8, leave it out "
        "with data.path or data.pattern, or train on bytes: data.tokens=bytes."
    )
    assert left_in(tmp_path / "cache") == []
    assert ready(tmp_path, folder, tokens="bytes").counts["train"] > 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    folder = written(tmp_path / "text", a="fine", b="secret")
    (folder / "b").chmod(0)
    with pytest.raises(UserError, match=rf"{folder / 'b'} cannot be read: Permission denied"):
        ready(tmp_path, folder)


def test_a_file_that_vanished(tmp_path: Path) -> None:
    folder = written(tmp_path / "text", a="fine", b="gone")
    found = find_documents(str(folder))
    (folder / "b").unlink()
    with pytest.raises(
        UserError, match=rf"{folder / 'b'} cannot be read: No such file or directory.\nMend it, or leave"
    ):
        list(found.text())


def test_a_link_around_in_a_circle(tmp_path: Path) -> None:
    folder = written(tmp_path / "text", a="fine")
    (folder / "loop").symlink_to(folder)
    with pytest.raises(UserError, match=r"cannot be read: .*Remove it, or mend the link"):
        ready(tmp_path, folder)


def test_no_place_to_write(tmp_path: Path) -> None:
    path = written(tmp_path / "text", a="hello hello hello") / "a"
    with pytest.raises(UserError, match=r"ids cannot be written to .*/a/cache.*\n.*data.cache_folder=PATH"):
        ready(tmp_path, path, cache_folder=str(path / "cache"))


@pytest.mark.parametrize(("name", "content"), [("corpus.json", "{"), ("corpus.json", "{}"), ("ids.bin", "1")])
def test_a_damaged_entry(tmp_path: Path, name: str, content: str) -> None:
    path = written(tmp_path / "text", a="hello hello hello") / "a"
    ready(tmp_path, path)
    [entry] = [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    (entry / name).write_text(content)
    with pytest.raises(
        UserError, match=rf"The cache {entry} cannot be read: .*\nRemove it; the next run makes it anew"
    ):
        ready(tmp_path, path)


@pytest.mark.parametrize(
    ("argument", "value", "law"),
    [
        ("tokens", "letters", "data.tokens must be one of characters, bytes, words, got letters"),
        ("min_count", 0, "data.min_count must be at least 1, got 0"),
        ("batch_size", 0, "data.batch_size must be at least 1, got 0"),
        ("truncate", 0, "data.truncate must be at least 1 time step, got 0"),
        ("eval_batch_size", 0, "data.eval_batch_size must be at least 1, got 0"),
        ("eval_length", 0, "data.eval_length must be at least 1 time step, got 0"),
        ("val_fraction", 0.0, "data.val_fraction must lie between 0 and 1, both excluded, got 0.0"),
        ("test_fraction", -0.1, "data.test_fraction must be at least 0 and less than 1, got -0.1"),
        ("test_fraction", 0.9, "data.val_fraction and data.test_fraction must be less than 1 together, got 1.0"),
        ("seed", -1, "data.seed must be at least 0, got -1"),
    ],
)
def test_laws_of_the_arguments(argument: str, value: Any, law: str) -> None:
    with pytest.raises(ValueError, match=law):
        Text(**{argument: value})
    with pytest.raises(ValueError, match=r"data.min_count must be 1 with data.tokens=bytes, .*, got 2"):
        Text(tokens="bytes", min_count=2)
