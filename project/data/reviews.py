"""Sentences to be classified."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from project.data.labelled import Labelled, read_labelled
from project.data.lines import tidy
from project.data.module import require
from project.data.sentences import PARTS, Part, SentenceDataModule, Sentences, placed
from project.data.tables import Wanted
from project.data.vocabulary import Vocabulary, words


@dataclass(frozen=True)
class SentenceEncoder:
    """What training and prediction make of a sentence: its first `max_length` tokens."""

    vocabulary: Vocabulary
    lowercase: bool
    max_length: int

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "SentenceEncoder":
        """The encoder of a data set, from its `facts`."""
        return cls(Vocabulary.from_facts(facts["vocabulary"]), facts["lowercase"], facts["max_length"])

    def __call__(self, text: str) -> np.ndarray:
        """(T,) int64; empty for a text of white space."""
        return self.vocabulary.encode(tidy(text, self.lowercase))[: self.max_length]


def encode_sentence(text: str, facts: Mapping[str, Any]) -> np.ndarray:
    """The ids (T,) int64 of a sentence for a network trained on data with these `facts`.

    For many sentences, `SentenceEncoder.from_facts(facts)` does the same and makes the vocabulary once.
    """
    return SentenceEncoder.from_facts(facts)(text)


class WordByWord(dict[str, list[Any]]):
    """What a function makes of text between spaces, made once, which is much faster for many lines of one language.

    The function must make of a line what it makes of its pieces between spaces, one after the other.
    """

    def __init__(self, function: Callable[[str], Any]) -> None:
        super().__init__()
        self.function = function

    def __missing__(self, piece: str) -> list[Any]:
        made = self[piece] = list(self.function(piece))
        return made

    def line(self, line: str) -> list[Any]:
        """What the function makes of a line."""
        return [made for piece in line.split(" ") for made in self[piece]]


@dataclass(frozen=True)
class LabelledSentences:
    """A part: sentences and their labels (N,) int64."""

    sentences: Sentences
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> tuple[np.ndarray, ...]:
        return (self.sentences.lengths,)

    def batch(self, numbers: np.ndarray, device: torch.device) -> tuple[Tensor, ...]:
        """ids (T, B) int64, padded with 0, and lengths (B,) on the CPU, where packing reads them; labels (B,)."""
        ids = placed(self.sentences.padded(numbers, padding=0), device)
        return ids, torch.from_numpy(self.sentences.lengths[numbers]), placed(self.labels[numbers], device)


class ReviewDataModule(SentenceDataModule):
    """Sentences, each of one class. A member gives `read`.

    After `setup`: `classes` by label; `vocabulary`, that of the training part; `counts` of sentences. Batches are (ids
    (T, B), lengths (B,), labels (B,)) int64, time-major, the lengths on the CPU and the rest on the trainer's device.

    Args:
        tokens: what a sentence is cut into.
        lowercase: read all letters as small ones.
        min_count: tokens that are rarer in the training part are unknown.
        max_length: of a longer sentence, only so many tokens are read.
        common: what `SentenceDataModule` takes.

    Raises:
        ValueError: an argument out of its range.
        UserError: data that are missing, broken, or too few for what is asked.
    """

    classes: list[str]
    vocabulary: Vocabulary

    def __init__(
        self,
        tokens: Literal["words", "characters"] = "words",
        lowercase: bool = True,
        min_count: int = 2,
        max_length: int = 400,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        require(tokens in ("words", "characters"), "data.tokens must be words or characters", tokens)
        require(min_count >= 1, "data.min_count must be at least 1", min_count)
        require(max_length >= 1, "data.max_length must be at least 1 token", max_length)
        self.tokens, self.lowercase, self.min_count, self.max_length = tokens, lowercase, min_count, max_length

    @abstractmethod
    def read(self) -> Labelled:
        """The texts, in a part `train`, and in `val` and `test` where the data set has its own."""

    def make_parts(self) -> dict[str, Part]:
        labelled = self.read()
        empty = f"; {labelled.skipped:,} empty ones left out" if labelled.skipped else ""
        self.say("%s, %d classes%s", labelled.form, len(labelled.classes), empty)
        self.classes = labelled.classes
        texts, labels = dict(labelled.texts), dict(labelled.labels)
        for split, members in self.cut(labels["train"], given=labels).items():
            texts[split] = [labelled.texts["train"][number] for number in members]
            labels[split] = labelled.labels["train"][members]
        self.vocabulary = self._learn(texts["train"])
        return {split: LabelledSentences(self._encode(split, texts[split]), labels[split]) for split in texts}

    def _learn(self, texts: list[str]) -> Vocabulary:
        counts: Counter[str] = Counter()
        split = WordByWord(words).line if self.tokens == "words" else list
        for text in texts:
            counts.update(split(tidy(text, self.lowercase))[: self.max_length])
        vocabulary = Vocabulary.build(counts, self.tokens, self.min_count)
        self.say("%d of %d different %s are known", len(vocabulary) - 1, len(counts), self.tokens)
        return vocabulary

    def _encode(self, split: str, texts: list[str]) -> Sentences:
        found, cut = [], 0
        known = self.vocabulary
        encode = (
            known.encode if self.tokens == "characters" else WordByWord(lambda word: known.encode(word).tolist()).line
        )
        for text in texts:
            ids = encode(tidy(text, self.lowercase))
            cut += len(ids) > self.max_length
            found.append(np.array(ids[: self.max_length], dtype=np.int32))
        sentences = Sentences.of(found)
        unknown = 100 * np.mean(sentences.ids == Vocabulary.UNKNOWN)
        self.say("%s part: %d sentences, %.1f %% of their %s unknown", PARTS[split], len(texts), unknown, self.tokens)
        if cut:
            self.say("%s part: %d sentences cut after %d %s", PARTS[split], cut, self.max_length, self.tokens)
        return sentences

    def content(self, split: str) -> Iterator[bytes]:
        """Classes, labels and lengths: ids depend on the vocabulary."""
        part = self.parts[split]
        assert isinstance(part, LabelledSentences)
        yield repr(self.classes).encode() + part.labels.tobytes() + part.sentences.lengths.tobytes()

    @property
    def sizes(self) -> dict[str, Any]:
        return {"vocab_size": len(self.vocabulary), "num_classes": len(self.classes)}

    @property
    def facts(self) -> dict[str, Any]:
        """The classes by label, and what `SentenceEncoder.from_facts` takes."""
        return {
            "classes": list(self.classes),
            "vocabulary": self.vocabulary.facts(),
            "lowercase": self.lowercase,
            "max_length": self.max_length,
        }


class Reviews(ReviewDataModule):
    """Anyone's own sentences and classes, in a form that is found out and logged.

    - A folder with a subfolder for each class, a text a file.
    - A folder or a glob with a file for each class, a sentence a line: `neg.txt` and `pos.txt`, or `films.neg` and
      `films.pos`.
    - A table with a text and its class in each row, `.csv` or `.tsv`: see `project.data.tables.read_table`.

    The first two may stand in `train/`, `test/` and `val/`; the tables may be `train.csv`, `test.csv` and `val.csv`.

    Args:
        path: the folder, the glob or the table.
        text_column: of a table, by its name or its number from 1 on; None: found out.
        label_column: likewise, the class.
        common: what `ReviewDataModule` takes.
    """

    def __init__(
        self,
        path: str,
        text_column: str | int | None = None,
        label_column: str | int | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.path, self.wanted = path, Wanted(text_column, label_column)

    def read(self) -> Labelled:
        return read_labelled(self.path, self.wanted)
