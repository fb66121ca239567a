"""Images and what was said of them."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from project.data.annotated import Annotated, AnnotatedDataModule
from project.data.module import require
from project.data.sentences import PARTS, Sentences
from project.data.subwords import BEGIN, END, Plain
from project.errors import UserError


@dataclass(frozen=True)
class Captioned:
    """Images (M, H, W, 3) uint8, `rows` (N,) of which are a part's, and the captions of each of these, as written."""

    images: np.ndarray
    rows: np.ndarray
    captions: list[list[str]]

    def part(self, members: np.ndarray) -> "Captioned":
        return Captioned(self.images, self.rows[members], [self.captions[number] for number in members])


class CaptionDataModule(AnnotatedDataModule):
    """Images with one or more captions each. A member gives `read`, and `faults` where captions can be checked.

    After `setup`: `target`, the words of the training captions, in small letters, with punctuation marks apart; a
    caption begins with 2 and ends with 3.

    Args:
        min_count: words that are rarer in the training part are unknown.
        max_length: longer captions are not trained on.
        common: what `AnnotatedDataModule` takes.

    Raises:
        ValueError: an argument out of its range.
        UserError: data that are missing, broken, or too few for what is asked.
    """

    checks = False  # whether `faults` tells anything
    target: Plain

    def __init__(self, min_count: int = 5, max_length: int = 50, **common: Any) -> None:
        super().__init__(**common)
        require(min_count >= 1, "data.min_count must be at least 1", min_count)
        require(max_length >= 1, "data.max_length must be at least 1 word", max_length)
        self.min_count, self.max_length = min_count, max_length
        self.texts: dict[str, Captioned] = {}

    @abstractmethod
    def read(self) -> dict[str, Captioned]:
        """`train`, and `val` and `test` where the data set has its own."""

    def faults(self, split: str, place: int, caption: str) -> int | None:
        """How much of a caption is wrong of image number `place` of a part; 0: it is true; None: who knows."""
        return None

    def make_parts(self) -> dict[str, Annotated]:
        texts = self.read()
        if "val" not in texts:
            whole = texts["train"]
            kept, held = self.held_out(len(whole.captions))
            texts["train"], texts["val"] = whole.part(kept), whole.part(held)
        spoken = [caption for captions in texts["train"].captions for caption in captions]
        self.target = Plain.learn(spoken, "words", self.min_count, lowercase=True)
        encoded = {split: self._encoded(split, own) for split, own in texts.items()}
        self.texts = {split: text for split, (text, _) in encoded.items()}
        return {split: part for split, (_, part) in encoded.items()}

    def _encoded(self, split: str, texts: Captioned) -> tuple[Captioned, Annotated]:
        """Of the training part without captions that are too long, and images that have no others."""
        ids = [self.target.encode_all(captions) for captions in texts.captions]
        if split == "train":
            kept = [[place for place, one in enumerate(own) if 0 < len(one) <= self.max_length] for own in ids]
            if left := sum(map(len, ids)) - sum(map(len, kept)):
                law = "are empty, or have more words than data.max_length=%d, and are not trained on"
                self.say(f"%d captions {law}", left, self.max_length)
            members = np.flatnonzero([bool(own) for own in kept])
            if not len(members):
                raise UserError(
                    f"No training caption has from 1 to data.max_length={self.max_length} words.\nChoose a larger one."
                )
            captions = [[texts.captions[number][place] for place in kept[number]] for number in members]
            ids = [[ids[number][place] for place in kept[number]] for number in members]
            texts = Captioned(texts.images, texts.rows[members], captions)
        every = [one for own in ids for one in own]
        unknown, total = sum(one.count(0) for one in every), sum(map(len, every))
        self.say(
            "%s part: %d images, %d captions, %.2f %% of their words are known",
            *(PARTS[split], len(ids), len(every), 100 * (1 - unknown / max(total, 1))),
        )
        sequences = Sentences.of([BEGIN, *one, END] for one in every)
        count = np.array([len(own) for own in ids], np.int64)
        return texts, Annotated.whole(texts.images, sequences, count, rows=texts.rows)

    def references(self, split: str) -> Sequence[Sequence[str]]:
        """The captions of each image of a part, as they were written."""
        return self.texts[split].captions

    def content(self, split: str) -> Iterator[bytes]:
        """Captions and pixels."""
        part = self.parts[split]
        yield repr(self.references(split)).encode()
        yield from (part.images[row].tobytes() for row in part.rows)

    @property
    def sizes(self) -> dict[str, Any]:
        return {**super().sizes, "vocab_size": len(self.target)}

    @property
    def facts(self) -> dict[str, Any]:
        """With what `project.data.subwords.tokenizer_from` takes, as `target`."""
        return {**super().facts, "target": self.target.facts()}
