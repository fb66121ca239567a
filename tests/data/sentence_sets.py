"""Small data for every member of conf/data that has sentences."""

import gzip
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
import pytest
from omegaconf import OmegaConf
from torch import Tensor

from project.data.published import MULTI30K
from project.data.sentences import SentenceDataModule
from project.data.spelled_numbers import english, german
from tests.conftest import CONF

MEMBERS = ["imdb", "multi30k", "opinions", "reviews", "spelled_numbers", "translation"]
TRANSLATIONS = ["multi30k", "spelled_numbers", "translation"]
Sample = tuple[Any, ...]
BuildSentences = Callable[..., SentenceDataModule]


def review(number: int) -> str:
    """Another text for each number, of the same few words."""
    return "Review : " + " ".join("fine" if digit == "1" else "film" for digit in f"{number + 1:b}") + "."


def make_imdb(root: Path, each: int = 30) -> Path:
    """`root/aclImdb`, in the archive's layout, with what else stands there."""
    folder = root / "aclImdb"
    for number, part in enumerate(("train/neg", "train/pos", "test/neg", "test/pos", "train/unsup")):
        (folder / part).mkdir(parents=True)
        for i in range(each):
            (folder / part / f"{i}_{i % 10}.txt").write_text(review(each * number + i), encoding="utf-8")
    (folder / "train" / "urls_pos.txt").write_text("http://films.invalid\n")
    (folder / "README").write_text("Large Movie Review Dataset\n")
    return folder


def make_bitext(folder: Path, count: int, start: int = 0) -> tuple[Path, Path]:
    """Numbers in German and English, a line each."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "lines.de", folder / "lines.en"
    for path, spell in zip(paths, (german, english), strict=True):
        path.write_text("".join(f"{spell(start + 7 * i)}\n" for i in range(count)), encoding="utf-8")
    return paths


def make_multi30k(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nine files below `folder`, and their checksums where the data set looks for them."""
    folder.mkdir(parents=True)
    for number, (name, file) in enumerate(sorted(MULTI30K.items())):
        count, spell = (60 if name.startswith("train") else 20), (german if name.endswith("de") else english)
        start = 500 * (number // 3)
        lines = "".join(f"{spell(start + 7 * i)} {name[-2:]}\n" for i in range(count))
        path = folder / Path(file.place).name
        path.write_bytes(gzip.compress(lines.encode(), mtime=0))
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        monkeypatch.setitem(MULTI30K, name, replace(file, digest=f"md5:{md5}"))


def small(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `name` needs to have small data below `folder`."""
    if name == "imdb":
        make_imdb(folder)
        return {"root": str(folder), "min_count": 1}
    if name == "multi30k":
        make_multi30k(folder / "multi30k", monkeypatch)
        return {"root": str(folder), "vocab_size": 60}
    if name == "reviews":
        for number, kind in enumerate(("bad", "good", "odd")):
            (folder / "reviews").mkdir(exist_ok=True)
            lines = [review(100 * number + i) for i in range(30)]
            (folder / "reviews" / f"{kind}.txt").write_text("\n".join(lines), encoding="utf-8")
        return {"path": str(folder / "reviews"), "min_count": 1}
    if name == "translation":
        source, target = make_bitext(folder / "translation", 90)
        return {"source": str(source), "target": str(target), "vocab_size": 60}
    return {"opinions": {"train_sentences": 80, "test_sentences": 30}}.get(name, {"train_pairs": 80, "test_pairs": 30})


def build(name: str, **arguments: Any) -> SentenceDataModule:
    """The data set of conf/data/<name>.yaml, ready."""
    member = OmegaConf.load(CONF / "data" / f"{name}.yaml")
    overrides = {"batch_size": 12, "eval_batch_size": 16, **arguments}
    config = OmegaConf.create({"seed": 0, "data": OmegaConf.merge(member, overrides)})
    module: SentenceDataModule = hydra.utils.instantiate(config.data)
    module.prepare_data()
    module.setup("fit")
    return module


def samples(batch: tuple[Tensor, ...]) -> list[Sample]:
    """What stands in a batch, sample by sample, without padding: (ids, label) or (source ids, target ids)."""
    ids, lengths, last = batch
    own = [tuple(column[:length]) for column, length in zip(ids.T.tolist(), lengths.tolist(), strict=True)]
    if last.ndim == 1:
        return list(zip(own, last.tolist(), strict=True))
    return list(zip(own, [tuple(x for x in column if x != 1) for column in last.T.tolist()], strict=True))
