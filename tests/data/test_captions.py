"""Flickr8k and COCO captions, read from files of their form."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from project.data.coco_captions import read_captions
from project.data.decode import fitted
from project.data.flickr8k import read_tokens
from project.errors import UserError
from tests.data.annotated_sets import SAID, BuildAnnotated, build_annotated, ready

__all__ = ["build_annotated"]


def test_flickr8k(build_annotated: BuildAnnotated, tmp_path: Path) -> None:
    data = ready(build_annotated("flickr8k"))
    assert data.counts == {"train": 30, "val": 6, "test": 8}
    references = data.references("val")  # type: ignore[attr-defined]
    assert references[1] == [SAID[31 % 4], SAID[32 % 4], SAID[33 % 4], SAID[34 % 4]]  # number 31
    part = data.parts["val"]
    assert data.target.decode(part.sequences[part.first[1]]) == SAID[3].lower().replace(" .", ".")  # type: ignore[attr-defined]
    image = Image.open(tmp_path / "flickr8k" / "Flicker8k_Dataset" / "1031_1f.jpg")
    assert np.array_equal(part.images[part.rows[1]], fitted(image, 20, 20))
    assert data.faults("val", 1, "a dog") is None  # type: ignore[attr-defined]
    assert not data.checks  # type: ignore[attr-defined]


def test_coco(build_annotated: BuildAnnotated, tmp_path: Path) -> None:
    data = ready(build_annotated("coco_captions"))
    assert data.counts == {"train": 32, "val": 8, "test": 8}
    references = data.references("test")  # type: ignore[attr-defined]
    assert references[1] == [SAID[(101 + place) % 4] for place in (2, 1, 0)]  # as they stand in the file
    part = data.parts["test"]
    image = Image.open(tmp_path / "coco" / "val2017" / "000000000101.jpg")
    assert np.array_equal(part.images[part.rows[1]], fitted(image, 20, 20))
    train, val = (set(data.parts[split].rows.tolist()) for split in ("train", "val"))
    assert not train & val
    assert train | val == set(range(40))


def test_rare_words_are_unknown_and_long_captions_left_out(build_annotated: BuildAnnotated) -> None:
    data = ready(build_annotated("flickr8k", max_length=4))
    lengths = data.parts["train"].sequences.lengths
    assert lengths.max() == 4 + 2
    assert all(len(caption.split()) <= 4 for own in data.references("train") for caption in own)  # type: ignore[attr-defined]
    assert len(data.references("train")) == data.counts["train"] < 30  # type: ignore[attr-defined]
    assert data.parts["test"].sequences.lengths.max() > 6
    rare = ready(build_annotated("flickr8k", min_count=1000))
    assert rare.sizes["vocab_size"] == 4
    with pytest.raises(UserError, match=r"No training caption has from 1 to data\.max_length=1 words"):
        ready(build_annotated("flickr8k", max_length=1))


def test_a_folder_that_is_not_flickr8k_s(build_annotated: BuildAnnotated, tmp_path: Path) -> None:
    ready(build_annotated("flickr8k"))
    root = tmp_path / "flickr8k"
    tokens = root / "Flickr8k.token.txt"
    said = tokens.read_text()
    tokens.write_text(said + "a line\n")
    with pytest.raises(UserError, match=r"Line \d+ of .*token\.txt is not `name\.jpg#0<tab>caption`: 'a line'"):
        ready(build_annotated("flickr8k"))
    tokens.write_text("".join(line + "\n" for line in said.splitlines() if not line.startswith("1043_")))
    with pytest.raises(UserError, match=r"has no caption of 1043_2b\.jpg, which Flickr_8k\.testImages\.txt names"):
        ready(build_annotated("flickr8k"))
    tokens.unlink()
    with pytest.raises(UserError, match=r"There is no Flickr8k\.token\.txt in .*\n.*data\.root=FOLDER"):
        ready(build_annotated("flickr8k"))
    assert read_tokens_of(tmp_path, "a#b.jpg#0\tTwo  words \n\n") == {"a#b.jpg": ["Two  words"]}


def read_tokens_of(folder: Path, text: str) -> dict[str, list[str]]:
    (folder / "tokens.txt").write_text(text)
    return read_tokens(folder / "tokens.txt")


def test_a_folder_that_is_not_coco_s(build_annotated: BuildAnnotated, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"There is no annotations/captions_train2017\.json in .*\n.*cocodataset\.org"):
        ready(build_annotated("coco_captions", root=str(tmp_path / "empty")))
    file = tmp_path / "captions.json"
    for broken in ("{", json.dumps({"images": []}), json.dumps({"images": [{"id": 1}], "annotations": []}), "[]"):
        file.write_text(broken)
        with pytest.raises(UserError, match=r"is not in the format of COCO's captions"):
            read_captions(file)
    file.write_text(json.dumps({"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": []}))
    with pytest.raises(UserError, match="has no captions"):
        read_captions(file)


def test_a_photograph_that_cannot_be_read_may_be_left_out(build_annotated: BuildAnnotated, tmp_path: Path) -> None:
    build_annotated("flickr8k")
    for name in ("1003_3.jpg", "1037_25.jpg"):
        (tmp_path / "flickr8k" / "Flicker8k_Dataset" / name).write_bytes(b"no image")
    with pytest.raises(UserError, match=r"1003_3\.jpg cannot be read as an image"):
        ready(build_annotated("flickr8k"))
    data = ready(build_annotated("flickr8k", on_error="skip"))
    assert data.counts == {"train": 29, "val": 6, "test": 7}
    assert data.references("test")[0] == [SAID[(36 + place) % 4] for place in range(1)]  # type: ignore[attr-defined]
