"""Captions as pictures and as rows by what is wrong with them."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from project.callbacks import caption_mistakes
from project.callbacks.caption_mistakes import CaptionMistakes, group
from project.callbacks.captions import DARK, Captions, lit
from project.callbacks.fonts import font
from project.callbacks.tiles import TEXT, wrapped


class Checked:
    """Knows how much is wrong with "0", "1", ...; its images are of one grey each."""

    checks = True

    def __init__(self) -> None:
        images = np.arange(12, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
        self.parts = {"val": SimpleNamespace(images=images, rows=np.arange(12)[::-1])}

    def faults(self, split: str, place: int, text: str) -> int | None:
        return int(text.split()[0])


class Unchecked:
    """Has references alone."""

    checks = False

    def faults(self, split: str, place: int, text: str) -> int | None:
        return None

    def references(self, split: str) -> list[list[str]]:
        return [["A dog runs over the green grass .", "Two cats sleep ."]]


def test_groups_by_truth_and_without_a_checker_by_bleu() -> None:
    assert [group(Checked(), 0, text) for text in ("0 all", "1 word", "2 words", "7")] == [0, 1, 2, 2]
    texts = ("a dog runs over the green grass .", "a dog runs over a wall .", "an old man with a hat reads")
    assert [group(Unchecked(), 0, text) for text in texts] == [0, 1, 2]


def test_rows_begin_with_what_the_network_was_surest_of(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[tuple[list[int], list[str], str]] = []

    def note(tiles: list[np.ndarray], columns: int, captions: list[str], title: str) -> Image.Image:
        rows.append(([int(tile[0, 0, 0]) for tile in tiles], list(captions), title))
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr(caption_mistakes, "grid", note)
    monkeypatch.setattr(caption_mistakes, "write_image", lambda *_: None)
    task = SimpleNamespace(captions=[(0, "0 a", -0.9), (3, "0 b", -0.1), (5, "1 c", -0.5), (7, "0 d", -0.4)])
    trainer: Any = SimpleNamespace(world_size=1, datamodule=Checked())
    callback = CaptionMistakes(count=2)
    callback.gather(trainer, task)
    callback.draw(trainer, task, None, 0)
    assert rows[0] == ([8, 4], ["-0.10\n0 b", "-0.40\n0 d"], "no errors: 3 of 4")  # image i is row 11 - i
    assert rows[1] == ([6, 255], ["-0.50\n1 c", ""], "minor errors: 1 of 4")
    assert rows[2] == ([255, 255], ["", ""], "unrelated: 0 of 4")


def test_what_is_attended_to_is_bright() -> None:
    picture = np.full((4, 6, 3), 200, np.uint8)
    found = lit(picture, np.array([[0.0, 0.25, 0.5], [0.0, 0.0, 0.25]]))
    assert found.shape == picture.shape
    assert (found[:2, 4:] == 200).all()
    assert (found[:, :2] == int(200 * DARK)).all()
    assert (found[2:, 4:] == found[:2, 2:4]).all()
    assert int(200 * DARK) < found[0, 2, 0] < 200


def test_texts_are_broken_between_words() -> None:
    text = "a small red disc is to the left of a large blue star"
    lines = wrapped(text, 100).split("\n")
    assert " ".join(lines) == text
    assert len(lines) > 2
    assert all(font(TEXT).getlength(line) <= 100 for line in lines)
    assert wrapped("incomprehensibilities", 10) == "incomprehensibilities"
    assert wrapped("", 10) == ""


@pytest.mark.parametrize("count", [0, 65])
def test_laws_of_the_arguments(count: int) -> None:
    with pytest.raises(ValueError, match=rf"callbacks\.captions\.count must be from 1 to 64 pictures, got {count}"):
        Captions(count)
    with pytest.raises(ValueError, match=r"callbacks\.caption_mistakes\.count must be at least 1, got 0"):
        CaptionMistakes(0)
