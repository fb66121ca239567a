"""Pairs of sentences from two files, and Multi30k from a real server."""

import gzip
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from project.data.multi30k import Multi30k
from project.data.published import MULTI30K, check_reach
from project.data.subwords import tokenizer_from
from project.data.translation import Bitext, Translation, read_bitext
from project.errors import UserError
from tests.data.conftest import Server
from tests.data.sentence_sets import make_bitext, make_multi30k, samples


def write(folder: Path, source: str | bytes, target: str | bytes, name: str = "lines") -> tuple[str, str]:
    paths = folder / f"{name}.de", folder / f"{name}.en"
    for path, content in zip(paths, (source, target), strict=True):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(paths[0]), str(paths[1])


def read(*files: str, **arguments: Any) -> Translation:
    module = Translation(*files, **{"tokens": "words", "min_count": 1, "batch_size": 2, **arguments})
    module.setup()
    return module


GERMAN, ENGLISH = "Ja.\nein Haus\nein Baum .\nNein, nein\n", "Yes.\na house\na big tree .\nno\n"


def test_the_very_ids(tmp_path: Path) -> None:
    files = write(tmp_path, GERMAN, ENGLISH)
    module = read(*files, *files, *write(tmp_path, "Haus\nein Tor\n", "house\na gate !\n", "test"))
    assert module.source.tokens == [
        "<unk>",
        "<pad>",
        "<s>",
        "</s>",
        ".",
        "ein",
        ",",
        "Baum",
        "Haus",
        "Ja",
        "Nein",
        "nein",
    ]
    assert module.target.tokens == ["<unk>", "<pad>", "<s>", "</s>", ".", "a", "Yes", "big", "house", "no", "tree"]
    assert module.sizes == {"source_vocab_size": 12, "target_vocab_size": 11}
    assert module.counts == {"train": 4, "val": 4, "test": 2}
    [(source, lengths, target)] = module.test_dataloader()
    assert source.T.tolist() == [[8, 3, 1], [5, 0, 3]]
    assert lengths.tolist() == [2, 3]
    assert target.T.tolist() == [[2, 8, 3, 1, 1], [2, 5, 0, 0, 3]]
    validation = module.val_dataloader()
    assert validation.order(0).tolist() == [3, 0, 1, 2]  # by the target's length, then by the source's
    [(source, lengths, target)] = validation
    assert source.T.tolist() == [[10, 6, 11, 3], [9, 4, 3, 1], [5, 8, 3, 1], [5, 7, 4, 3]]
    assert target.T.tolist() == [[2, 9, 3, 1, 1, 1], [2, 6, 4, 3, 1, 1], [2, 5, 8, 3, 1, 1], [2, 5, 7, 10, 4, 3]]
    assert module.samples_per_batch == 2 * (3 + 3 + 5 + 2) // 4  # words and </s>, over the four sentences


def test_answers_go_back_to_the_files_order(tmp_path: Path) -> None:
    source, target = make_bitext(tmp_path, 90)
    module = read(str(source), str(target), tokens="subwords", vocab_size=60, eval_batch_size=4)
    lines = target.read_text().splitlines()
    for split in ("val", "test"):
        references = module.references(split)
        assert references == [line for line in lines if line in references]
        assert len(references) == module.counts[split]
        loader = module.loader(split)
        answers = [sample[1] for batch in loader for sample in samples(batch)]
        for place, answer in zip(loader.order(0).tolist(), answers, strict=True):
            assert module.target.decode(answer) == references[place]
            assert module.source.encode(module.sources(split)[place]) is not None


def test_tokenizers_are_rebuilt_from_the_facts(tmp_path: Path) -> None:
    source, target = make_bitext(tmp_path, 90)
    for kind in ("words", "subwords", "characters"):
        module = read(str(source), str(target), tokens=kind, vocab_size=60, lowercase=True)
        assert tokenizer_from(module.facts["source"]).encode("Ein neun") == module.source.encode("ein neun")
        assert tokenizer_from(module.facts["target"]).decode(module.target.encode("One nine")) == "one nine"


def test_the_vocabulary_is_that_of_the_training_part(tmp_path: Path) -> None:
    files = write(tmp_path, "x\n" * 20, "".join(f"word{i}\n" for i in range(20)))
    module = read(*files, val_fraction=0.2, test_fraction=0.2)
    assert sorted(module.target.tokens[4:]) == sorted(module.references("train"))
    assert module.counts == {"train": 13, "val": 3, "test": 4}


@pytest.mark.parametrize("pack", [lambda content: content, gzip.compress])
def test_lines_are_told_apart_by_their_ends_alone(tmp_path: Path, pack: Any) -> None:
    paths = write(tmp_path, pack("a\u2028b\r\nc\x85\r\n".encode()), pack(b"\xef\xbb\xbfx\ny"))
    assert read_bitext(*map(Path, paths)) == Bitext(["a\u2028b", "c\x85"], ["x", "y"])


def test_empty_lines_are_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "project")
    files = write(tmp_path, "a\n\n \nd\ne\nf g\n", "b\nx\n\t\n\nz\nw\n")
    module = read(*files, *files, test_fraction=0.0, max_length=1)
    assert module.references("val") == ["b", "z", "w"]
    assert caplog.messages[:2] == [
        f"training part: 2 pairs left out, of which one sentence is empty; the first is line 2 of {files[0]}",
        "training part: 1 empty pairs left out",
    ]
    assert "1 pairs have more than data.max_length=1 tokens and are not trained on" in caplog.messages
    assert (
        caplog.messages[-1]
        == "validation part: 3 pairs, 100.00 % of the source and 100.00 % of the target are known words"
    )
    assert module.counts == {"train": 2, "val": 3, "test": 0}


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("a\nb\n", "a\nb\nc\n", "{0} has 2 lines and {1} has 3.\nLine N of both must be the same sentence."),
        ("\n\n", "a\n\n", "{0} and {1} have no sentences."),
        ("", "", "{0} and {1} have no sentences."),
        (b"a\n\xff\n", "a\nb\n", "{0}, line 2: byte 0xff at position 1 is not UTF-8"),
        (gzip.compress(b"a\n", mtime=0)[:-4], "a\n", "{0} cannot be read: "),
        ("a\nb\n", "c\nd\n", "The test part has no sentence pairs: data.test_fraction=0.1 of 2 rounds to none."),
        ("a a\n" * 9, "b b\n" * 9, "All training pairs have more than data.max_length=1 tokens; the shortest has 2."),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, source: str | bytes, target: str | bytes, message: str) -> None:
    files = write(tmp_path, source, target)
    with pytest.raises(UserError) as caught:
        read(*files, max_length=1)
    assert message.format(*files) in str(caught.value)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path}/none cannot be read: No such file"):
        read(str(tmp_path / "none"), str(tmp_path / "none"))
    with pytest.raises(ValueError, match=r"data.val_source and data.val_target must be given together, got x"):
        Translation("a", "b", val_source="x")
    with pytest.raises(ValueError, match=r"data.vocab_size must be at least 1, got 0"):
        Translation("a", "b", vocab_size=0)


@pytest.fixture
def multi30k(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server has nine small files, and the data set knows them."""
    make_multi30k(server.folder / "raw", monkeypatch)
    for name, file in MULTI30K.items():
        monkeypatch.setitem(MULTI30K, name, replace(file, url=f"{server.url}/raw/{name}.gz"))
    return server


def provided(root: Path, *languages: str) -> Multi30k:
    module = Multi30k(str(root), *languages, vocab_size=60)  # type: ignore[arg-type]
    module.prepare_data()
    module.setup()
    return module


def test_downloads_once_the_two_languages_files(multi30k: Server, tmp_path: Path) -> None:
    module = provided(tmp_path / "data")
    assert module.counts == {"train": 60, "val": 20, "test": 20}
    assert module.sources("train")[3] == "fünfhunderteinundzwanzig de"
    assert module.references("train")[3] == "five hundred twenty one en"
    provided(tmp_path / "data")
    asked = [f"/raw/{part}.{own}.gz" for part in ("train", "val", "test_2016_flickr") for own in ("de", "en")]
    assert multi30k.asked == asked
    assert provided(tmp_path / "data", "fr", "en").sources("val")[0].endswith(" fr")
    assert multi30k.asked[6:] == [f"/raw/{part}.fr.gz" for part in ("train", "val", "test_2016_flickr")]


def test_complete_files_are_only_read(multi30k: Server, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "multi30k"
    shutil.copytree(multi30k.folder / "raw", folder)
    before = sorted(tmp_path.rglob("*"))
    assert provided(tmp_path / "data").counts["test"] == 20
    assert sorted(tmp_path.rglob("*")) == before  # no lock either: it may be read-only
    assert multi30k.asked == []


def test_an_altered_file_is_refused(multi30k: Server, tmp_path: Path) -> None:
    shutil.copytree(multi30k.folder / "raw", tmp_path / "multi30k")
    (tmp_path / "multi30k" / "val.en.gz").write_bytes(gzip.compress(b"other\n" * 20, mtime=0))
    with pytest.raises(UserError, match=f"{tmp_path}/multi30k/val.en.gz is truncated or altered: its md5 is "):
        provided(tmp_path)


def test_no_network_is_told_before_anything_is_begun(
    multi30k: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, file in MULTI30K.items():
        monkeypatch.setitem(MULTI30K, name, replace(file, url=f"http://127.0.0.1:9/{name}.gz"))
    target, root = "project.data.multi30k.Multi30k", tmp_path / "data"
    with pytest.raises(UserError, match=rf"Multi30k's train.de is not in {root}/multi30k, and http://127.0.0.1:9"):
        check_reach(target, str(root))
    assert not root.exists()
    shutil.copytree(multi30k.folder / "raw", root / "multi30k")
    check_reach(target, str(root))
    for path in (root / "multi30k").glob("*.fr.gz"):
        path.unlink()
    check_reach(target, str(root))  # the two that are there may be the two that are asked for
    (root / "multi30k" / "val.en.gz").unlink()
    with pytest.raises(UserError, match="is not in"):
        check_reach(target, str(root))


@pytest.mark.parametrize("languages", [("de", "de"), ("xx", "en"), ("de", "../en")])
def test_laws_of_the_languages(languages: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=r"data.(source|target)_language .*must"):
        Multi30k("data", *languages)  # type: ignore[arg-type]
