"""Pairs of sentences that mean the same in two languages."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from project.data.lines import read_lines, shown
from project.data.module import require
from project.data.sentences import PARTS, Part, SentenceDataModule, Sentences, placed
from project.data.subwords import BEGIN, END, PAD, Tokenizer, learn_tokenizer
from project.errors import UserError


@dataclass(frozen=True)
class Bitext:
    """Sentences and their translations as they were written, in the file's order."""

    sources: list[str]
    targets: list[str]
    remarks: list[str] = field(default_factory=list)  # on what was left out

    def __len__(self) -> int:
        return len(self.sources)

    def part(self, numbers: np.ndarray) -> "Bitext":
        return Bitext([self.sources[number] for number in numbers], [self.targets[number] for number in numbers])


def read_bitext(source: Path, target: Path) -> Bitext:
    """Two files, plain or gzipped: line N of one means the same as line N of the other.

    Pairs of which a line is empty are left out.

    Raises:
        UserError: files that cannot be read, or of different length.
    """
    sources, targets = (read_lines(file) for file in (source, target))
    if len(sources) != len(targets):
        raise UserError(
            f"{shown(source)} has {len(sources)} lines and {shown(target)} has {len(targets)}.\n"
            "Line N of both must be the same sentence."
        )
    full = [(bool(one.strip()), bool(other.strip())) for one, other in zip(sources, targets, strict=True)]
    remarks = []
    if lone := [line for line, (one, other) in enumerate(full, 1) if one != other]:
        empty = target if full[lone[0] - 1][0] else source
        where = f"the first is line {lone[0]} of {shown(empty)}"
        remarks.append(f"{len(lone):,} pairs left out, of which one sentence is empty; {where}")
    if count := sum(not one and not other for one, other in full):
        remarks.append(f"{count:,} empty pairs left out")
    bitext = Bitext(sources, targets).part(np.flatnonzero([one and other for one, other in full]))
    if not len(bitext):
        raise UserError(f"{shown(source)} and {shown(target)} have no sentences.")
    return Bitext(bitext.sources, bitext.targets, remarks)


@dataclass(frozen=True)
class Pairs:
    """A part: sentence i of `source` ends with END, sentence i of `target` begins with BEGIN and ends with END."""

    source: Sentences
    target: Sentences

    def __len__(self) -> int:
        return len(self.source)

    @property
    def lengths(self) -> tuple[np.ndarray, ...]:
        return self.target.lengths, self.source.lengths

    def batch(self, numbers: np.ndarray, device: torch.device) -> tuple[Tensor, ...]:
        """Source ids (S, B), their lengths (B,) on the CPU, where packing reads them, and target ids (T, B); int64."""
        source, target = (placed(part.padded(numbers, PAD), device) for part in (self.source, self.target))
        return source, torch.from_numpy(self.source.lengths[numbers]), target


class TranslationDataModule(SentenceDataModule):
    """Sentences and their translations. A member gives `read`.

    After `setup`: the tokenizers of both languages, `source` and `target`, learned from the training part; `counts` of
    pairs. Batches are (source ids (S, B), source lengths (B,), target ids (T, B)) int64, time-major, padded with 1, the
    lengths on the CPU and the rest on the trainer's device. A source ends with 3, a target begins with 2 and ends
    with 3.

    Args:
        tokens: what a sentence is cut into, in each language by itself.
        vocab_size: of subwords, how many are learned at most.
        min_count: of words and characters, those that are rarer in the training part are unknown.
        lowercase: read, and so write, all letters as small ones.
        max_length: pairs with more tokens in one of the languages are not trained on; they are evaluated.
        common: what `SentenceDataModule` takes.

    Raises:
        ValueError: an argument out of its range.
        UserError: data that are missing, broken, or too few for what is asked.
    """

    unit, counted = "tokens", "sentence pairs"
    source: Tokenizer
    target: Tokenizer

    def __init__(
        self,
        tokens: Literal["words", "subwords", "characters"] = "subwords",
        vocab_size: int = 4000,
        min_count: int = 2,
        lowercase: bool = False,
        max_length: int = 100,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        kinds = ("words", "subwords", "characters")
        require(tokens in kinds, f"data.tokens must be one of {', '.join(kinds)}", tokens)
        require(vocab_size >= 1, "data.vocab_size must be at least 1", vocab_size)
        require(min_count >= 1, "data.min_count must be at least 1", min_count)
        require(max_length >= 1, "data.max_length must be at least 1 token", max_length)
        self.tokens, self.vocab_size, self.min_count = tokens, vocab_size, min_count
        self.lowercase, self.max_length = lowercase, max_length
        self.texts: dict[str, Bitext] = {}

    @abstractmethod
    def read(self) -> dict[str, Bitext]:
        """The sentences, in a part `train`, and in `val` and `test` where the data set has its own."""

    def make_parts(self) -> dict[str, Part]:
        texts = self.read()
        for split, bitext in texts.items():
            for remark in bitext.remarks:
                self.say("%s part: %s", PARTS[split], remark)
        whole = texts["train"]
        texts |= {split: whole.part(own) for split, own in self.cut(np.zeros(len(whole), int), given=texts).items()}
        self.source, self.target = (self._learn(own) for own in (texts["train"].sources, texts["train"].targets))
        parts: dict[str, Part] = {split: self._encode(split, bitext) for split, bitext in texts.items()}
        self.texts = texts
        return parts

    def _learn(self, sentences: list[str]) -> Tokenizer:
        return learn_tokenizer(sentences, self.tokens, self.vocab_size, self.min_count, self.lowercase)

    def _encode(self, split: str, bitext: Bitext) -> Pairs:
        sources, targets = self.source.encode_all(bitext.sources), self.target.encode_all(bitext.targets)
        known = [1 - sum(own.count(0) for own in part) / sum(map(len, part)) for part in (sources, targets)]
        self.say(
            "%s part: %d pairs, %.2f %% of the source and %.2f %% of the target are known %s",
            *(PARTS[split], len(sources), 100 * known[0], 100 * known[1], self.tokens),
        )
        longest = np.array([max(len(source), len(target)) for source, target in zip(sources, targets, strict=True)])
        kept = np.flatnonzero(longest <= self.max_length) if split == "train" else np.arange(len(longest))
        if not len(kept):
            raise UserError(
                f"All training pairs have more than data.max_length={self.max_length} tokens; the shortest has "
                f"{longest.min()}.\nChoose a larger data.max_length."
            )
        if left := len(longest) - len(kept):
            self.say("%d pairs have more than data.max_length=%d tokens and are not trained on", left, self.max_length)
        return Pairs(
            Sentences.of([*sources[number], END] for number in kept),
            Sentences.of([BEGIN, *targets[number], END] for number in kept),
        )

    def sources(self, split: str) -> list[str]:
        """The sentences to be translated as they were written: that of sample i of `val` or `test` at place i."""
        return self.texts[split].sources

    def references(self, split: str) -> list[str]:
        """Their translations as they were written, with capital letters whatever `lowercase` is."""
        return self.texts[split].targets

    def content(self, split: str) -> Iterator[bytes]:
        """Both texts."""
        yield repr((self.sources(split), self.references(split))).encode()

    @property
    def sizes(self) -> dict[str, Any]:
        return {"source_vocab_size": len(self.source), "target_vocab_size": len(self.target)}

    @property
    def facts(self) -> dict[str, Any]:
        """What `project.data.subwords.tokenizer_from` takes, for `source` and `target`."""
        return {"source": self.source.facts(), "target": self.target.facts()}

    @property
    def samples_per_batch(self) -> int:
        train = self.parts["train"]
        assert isinstance(train, Pairs)
        return round(self.batch_size * float(np.mean(train.target.lengths - 1)))  # BEGIN is not predicted


class Translation(TranslationDataModule):
    """Anyone's own pairs of files, plain or gzipped, UTF-8: line N of one means the same as line N of the other.

    Args:
        source: the training sentences' file.
        target: the file of their translations.
        val_source: like `source`, for validation; None: held out of the training pairs.
        val_target: like `target`.
        test_source: like `source`, for the test; None: held out of the training pairs.
        test_target: like `target`.
        common: what `TranslationDataModule` takes.
    """

    def __init__(
        self,
        source: str,
        target: str,
        val_source: str | None = None,
        val_target: str | None = None,
        test_source: str | None = None,
        test_target: str | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.files = {"train": (source, target)}
        for split, (one, other) in {"val": (val_source, val_target), "test": (test_source, test_target)}.items():
            law = f"data.{split}_source and data.{split}_target must be given together"
            require((one is None) == (other is None), law, one or other)
            if one is not None and other is not None:
                self.files[split] = one, other

    def read(self) -> dict[str, Bitext]:
        return {split: read_bitext(*(Path(name).expanduser() for name in names)) for split, names in self.files.items()}
