"""Sentences with classes, in all the forms that people have them in."""

import gzip
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from project.data.documents import find_documents
from project.data.labelled import read_labelled
from project.data.reviews import LabelledSentences, Reviews, SentenceEncoder, WordByWord, encode_sentence
from project.data.tables import Wanted
from project.data.vocabulary import Vocabulary, words
from project.errors import UserError


def write(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def read(path: Path | str, **arguments: Any) -> Reviews:
    module = Reviews(str(path), **{"min_count": 1, "test_fraction": 0.25, "val_fraction": 0.25, **arguments})
    module.setup()
    return module


def texts(module: Reviews, split: str) -> list[tuple[str, str]]:
    """A part's sentences as the network sees them, and their classes, in the file's order."""
    part = module.parts[split]
    assert isinstance(part, LabelledSentences)
    sentences = [" ".join(module.vocabulary.tokens[i] for i in part.sentences[n]) for n in range(len(part))]
    return list(zip(sentences, (module.classes[label] for label in part.labels), strict=True))


GIVEN = {"test_fraction": 0.0, "val_fraction": 0.5}
LINES = "one good\ntwo good\nthree good\nfour good\n"
OTHERS = LINES.replace("good", "bad")


def test_the_very_ids(tmp_path: Path) -> None:
    write(tmp_path, {"test/neg.txt": "bad\n", "test/pos.txt": "Good film!\n", "val/neg.txt": "bad film\n"})
    write(tmp_path, {"train/neg.txt": "Bad film\n\n  \na bad, bad ending\n", "train/pos.txt": "A good film\n"})
    module = read(tmp_path, min_count=1)
    assert module.vocabulary.tokens == ["<unk>", "bad", "a", "film", ",", "ending", "good"]
    assert module.facts == {
        "classes": ["neg", "pos"],
        "vocabulary": {"kind": "words", "tokens": module.vocabulary.tokens},
        "lowercase": True,
        "max_length": 400,
    }
    assert module.sizes == {"vocab_size": 7, "num_classes": 2}
    assert module.counts == {"train": 3, "val": 1, "test": 2}
    [(ids, lengths, labels)] = module.test_dataloader()
    assert ids.tolist() == [[1, 6], [0, 3], [0, 0]]  # "!" is unknown, and the rest of "bad" is padding
    assert lengths.tolist() == [1, 3]
    assert labels.tolist() == [0, 1]
    train = module.loader("train")
    assert [batch[0].T.tolist() for batch in train] == [[[1, 3, 0, 0, 0], [2, 6, 3, 0, 0], [2, 1, 4, 1, 5]]]
    assert train.order(0).tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("files", "path"),
    [
        ({"neg.txt": OTHERS, "pos.txt": LINES}, ""),
        ({"neg.txt": OTHERS, "pos.txt": LINES, ".neg.swp": "x", "README.md": "x"}, ""),
        ({"neg.txt": OTHERS, "pos.txt": LINES, "also": "x"}, "*.txt"),
        ({"films.neg": OTHERS, "films.pos": LINES}, ""),
        ({"films.neg": OTHERS, "films.pos": LINES, "readme": "x"}, "films.*"),
        ({"neg.gz": gzip.compress(OTHERS.encode(), mtime=0), "pos.txt.gz": gzip.compress(LINES.encode(), mtime=0)}, ""),
        ({"neg/1.txt": "one bad", "neg/2": "two\nbad", "neg/more/3": "three bad", "neg/z": "four bad"}
         | {f"pos/{i}.txt": line for i, line in enumerate(LINES.splitlines())}, ""),
        ({"all.csv": "text,class\n" + (OTHERS.replace("\n", ",neg\n") + LINES.replace("\n", ",pos\n"))}, "all.csv"),
        ({"all.csv": OTHERS.replace("\n", ",neg\n") + LINES.replace("\n", ",pos\n"), "notes.txt": "x"}, ""),
        ({"a[1]/neg.txt": OTHERS, "a[1]/pos.txt": LINES}, "a[1]"),
    ],
)  # fmt: skip
def test_all_forms_say_the_same(tmp_path: Path, files: dict[str, str | bytes], path: str) -> None:
    module = read(f"{write(tmp_path, files)}/{path}")
    assert module.classes == ["neg", "pos"]
    assert module.counts == {"train": 4, "val": 2, "test": 2}
    together = sorted(texts(module, "train") + texts(module, "val") + texts(module, "test"))
    encoder = SentenceEncoder(module.vocabulary, True, 400)
    assert len(together) == 8
    for text, name in together:
        assert text.split()[-1] in ({"neg": "bad", "pos": "good"}[name], "<unk>")
    assert encoder("bad good").min() > 0


@pytest.mark.parametrize(
    ("files", "counts"),
    [
        ({"train/a.txt": "1\n2\n", "train/b.txt": "3\n4\n", "test/a.txt": "1\n", "test/b.txt": "3\n"}, (2, 2, 2)),
        (
            {"train/a/1": "1", "train/a/2": "2", "train/b/1": "3", "train/b/2": "4", "valid/a/1": "1", "c": "x"},
            (4, 1, 0),
        ),
        ({"train.csv": "1,a\n2,a\n3,b\n4,b\n", "test.csv": "1,a\n3,b\n", "dev.txt": "x"}, (2, 2, 2)),
        ({"train.tsv": "1\ta\n2\ta\n3\tb\n4\tb\n", "validation.tsv": "1\ta\n", "test.tsv": "3\tb\n"}, (4, 1, 1)),
    ],
)
def test_parts_that_are_given(tmp_path: Path, files: dict[str, str | bytes], counts: tuple[int, ...]) -> None:
    module = read(write(tmp_path, files), **GIVEN)
    assert tuple(module.counts.values()) == counts
    if counts[0] == 4:
        assert sorted(texts(module, "train")) == [("1", "a"), ("2", "a"), ("3", "b"), ("4", "b")]
        assert texts(module, "val") == [("1", "a")]


def test_without_a_test_part(tmp_path: Path) -> None:
    module = read(write(tmp_path, {"a": "x\ny\n", "b": "z\nw\n"}), **GIVEN)
    assert module.counts == {"train": 2, "val": 2, "test": 0}
    with pytest.raises(UserError, match=r"no test part: data.test_fraction=0.\n.*test=false"):
        module.test_dataloader()


def test_classes_that_are_numbers_stand_in_their_order(tmp_path: Path) -> None:
    rows = "".join(f"text {i},{i % 3 * 5}\n" for i in range(30))
    assert read(write(tmp_path, {"t.csv": rows})).classes == ["0", "5", "10"]


def test_held_out_sentences_are_stratified(tmp_path: Path) -> None:
    write(tmp_path, {"a": "".join(f"a {i}\n" for i in range(80)), "b": "".join(f"b {i}\n" for i in range(20))})
    module = read(tmp_path, test_fraction=0.1, val_fraction=0.25)
    labels = {split: np.bincount(part.labels).tolist() for split, part in module.parts.items()}  # type: ignore[attr-defined]
    assert labels == {"test": [8, 2], "train": [54, 13], "val": [18, 5]}


def test_what_was_found_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "project")
    write(tmp_path, {"train/a": "x x\n\ny y y y\n", "train/b": "z z\n", "val/a": "x w\n", "test/a": "q x\n"})
    read(tmp_path, min_count=2, max_length=3)
    assert caplog.messages == [
        f"{tmp_path}: a file for each class, a sentence a line, in train and val and test, 2 classes; "
        "1 empty ones left out",
        "3 of 3 different words are known",
        "training part: 3 sentences, 0.0 % of their words unknown",
        "training part: 1 sentences cut after 3 words",
        "validation part: 1 sentences, 50.0 % of their words unknown",
        "test part: 1 sentences, 50.0 % of their words unknown",
    ]


def test_prediction_reads_a_sentence_as_training_does(tmp_path: Path) -> None:
    lines = ["It's  GOOD,\tvery good!", "Größe & 世界 <pad> 2", "x" * 50, "\u202eétrange \x1b[31m"]
    for kind, lowercase in (("words", True), ("words", False), ("characters", True)):
        write(tmp_path, {"a.txt": "\n".join(lines), "b.txt": "good\nvery\n"})
        module = read(tmp_path, tokens=kind, lowercase=lowercase, max_length=7, **GIVEN)
        facts = json.loads(json.dumps(module.facts))
        for split in ("train", "val"):
            for ids, lengths, _ in module.loader(split):
                seen = {tuple(ids[:n, b].tolist()) for b, n in enumerate(lengths.tolist())}
                assert seen <= {tuple(encode_sentence(line, facts).tolist()) for line in [*lines, "good", "very"]}
        assert encode_sentence(" \n\t", facts).tolist() == []
        assert len(encode_sentence(lines[0] * 9, facts)) == 7


def test_characters(tmp_path: Path) -> None:
    module = read(write(tmp_path, {"a": "Ab\nba\n", "b": "c c\ncc\n"}), tokens="characters", **GIVEN)
    assert set(module.vocabulary.tokens) <= {"<unk>", " ", "a", "b", "c"}
    assert encode_sentence("", module.facts).dtype == np.int64


def test_lengths_stay_on_the_cpu() -> None:
    from project.data.sentences import Sentences

    part = LabelledSentences(Sentences.of([[1, 2], [3]]), np.array([1, 0]))
    ids, lengths, labels = part.batch(np.array([1, 0]), torch.device("meta"))
    assert (ids.device.type, lengths.device.type, labels.device.type) == ("meta", "cpu", "meta")


MANY = "x\n" * 10


@pytest.mark.parametrize(
    ("files", "path", "message"),
    [
        ({}, "none", "There is nothing at {root}/none.\ndata.path can be: a folder"),
        ({}, "*.txt", "No file fits data.path={root}/*.txt, looked for from "),
        ({"a.txt": MANY}, "a.txt", "{root}/a.txt alone has no classes: its name does not end in .csv or .tsv."),
        ({"README": MANY}, "", "There are no files in {root}."),
        ({"a.txt": MANY}, "", "{root} has only the class 'a', read as a file for each class, a sentence a line"),
        ({"a.txt": "", "b.txt": "\n \n"}, "", "The class 'a' has no texts in {root}/a.txt"),
        ({"a.txt": MANY, "b.txt": ""}, "", "The class 'b' has no texts in {root}/b.txt"),
        (
            {"t.csv": "text,label\nx,1\ny,1\n"},
            "t.csv",
            "{root}/t.csv has only the class '1', read as a table, with a header",
        ),
        ({"a.txt": MANY, "a.md": MANY, "b.md": MANY}, "", "{root}/a.md and {root}/a.txt are both of the class 'a'"),
        ({"a.txt": MANY, "b.txt": b"ok\n\xff\n"}, "", "{root}/b.txt, line 2: byte 0xff at position 1 is not UTF-8"),
        ({"a/1": MANY, "b/1": b"ok\n\nno\xff\n"}, "", "{root}/b/1, line 3: byte 0xff at position 3 is not UTF-8"),
        ({"a/1": "x", "b/.hidden": "x"}, "", "There are no files in {root}/b."),
        (
            {"train/a": MANY, "train/b": MANY, "test/c": MANY},
            "",
            "The class 'c' of the test part of {root} has no texts",
        ),
        ({"train/a": MANY, "train/b": MANY, "test/b": ""}, "", "The class 'b' has no texts in {root}/test/b."),
        ({"train/a": MANY, "train/b": MANY, "test/.b": ""}, "", "There are no files in {root}/test."),
        ({"train.csv": "x,a\ny,b\nz,b\n", "test.csv": "x\n"}, "", "{root}/test.csv has 1 columns, fewer than"),
        (
            {"a": "x\ny\n", "b": "z\n"},
            "",
            "The test part has no sentences: data.test_fraction=0.2 of 3 rounds to none.",
        ),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, files: dict[str, str | bytes], path: str, message: str) -> None:
    write(tmp_path, files)
    with pytest.raises(UserError) as caught:
        read(f"{tmp_path}/{path}" if path else tmp_path, test_fraction=0.2)
    assert message.format(root=tmp_path) in str(caught.value)


def test_names_of_classes_are_taken_as_they_are(tmp_path: Path) -> None:
    hostile = ["<script>", "a\nb", "\x1b[2J", "${oc.env:HOME}", "-rf", "*"]
    write(tmp_path, {f"{name}/{number}": f"{name} x\n" for name in hostile for number in range(4)})
    module = read(tmp_path)
    assert module.classes == sorted(hostile)
    assert module.counts == {"train": 12, "val": 6, "test": 6}


def test_the_name_of_a_class_must_be_text(tmp_path: Path) -> None:
    (tmp_path / "caf\udce9").mkdir()
    (tmp_path / "caf\udce9" / "1").write_text("x")
    with pytest.raises(UserError, match=r"caf\\udce9' is the name of a class, and is not UTF-8"):
        read(tmp_path)


def test_word_by_word_is_what_the_function_makes_of_the_line() -> None:
    asked = []

    def split(text: str) -> list[str]:
        asked.append(text)
        return words(text)

    lines = [
        "it's a film , isn't it ?",
        "a film (a), \u00e9t\u00e9 \u4e16\u754c n\u2019est it's",
        "\u200d a\u0301b ' 'a' it's",
    ]
    by_word = WordByWord(split)
    assert [by_word.line(line) for line in lines * 2] == [words(line) for line in lines * 2]
    assert len(asked) == len(set(asked)) == len({piece for line in lines for piece in line.split(" ")})


def test_an_encoder_of_facts() -> None:
    vocabulary = Vocabulary.build("a a b", "words", 1)
    facts = {"vocabulary": vocabulary.facts(), "lowercase": False, "max_length": 2}
    assert SentenceEncoder.from_facts(facts)("a B b").tolist() == [1, 0]


def test_a_class_without_a_text_is_named(tmp_path: Path) -> None:
    for name, text in (("pos", "good\n"), ("neg", " \n"), ("mid", "so so\n")):
        (tmp_path / "files").mkdir(exist_ok=True)
        (tmp_path / "files" / f"{name}.txt").write_text(text)
        (tmp_path / "folders" / name).mkdir(parents=True)
    for name in ("pos", "neg"):
        (tmp_path / "folders" / name / "1.txt").write_text("a text")
    for folder, found in (("files", "neg"), ("folders", "mid")):
        with pytest.raises(UserError, match=f"The class '{found}' has no texts in .*\nAdd some, or remove it"):
            read_labelled(str(tmp_path / folder), Wanted())


def test_an_empty_path_is_not_the_folder_that_one_is_in() -> None:
    for look in (lambda: read_labelled(" ", Wanted()), lambda: find_documents("")):
        with pytest.raises(UserError, match=r"data\.path is empty"):
            look()


def test_semicolons_are_found_behind_blank_lines(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\ntext;label\nhello;a\nworld;b\n")
    assert read_labelled(str(tmp_path / "a.csv"), Wanted()).classes == ["a", "b"]
