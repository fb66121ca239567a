"""Sentences of opinion from a small grammar, made on the spot: data that need no file and no network."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from project.data.labelled import Labelled
from project.data.module import require
from project.data.reviews import ReviewDataModule

CLASSES = ["negative", "positive"]
SUBJECTS = ("plot", "cast", "film", "story", "music", "ending", "script", "acting", "opening", "humour", "sound")
VERBS = ("is", "was", "seems", "felt")
DEGREES = ("", "really", "quite", "rather", "very")
NEGATIONS = ("not", "never", "hardly")
WORDS = (
    ("dull", "weak", "awful", "clumsy", "boring", "tedious", "stale", "shallow", "bland", "messy"),
    ("good", "fresh", "lovely", "clever", "moving", "funny", "sharp", "honest", "elegant", "gripping"),
)
ONE = "{main} ."  # half of the sentences
TWO = ("{lesser} , but {main} .", "{main} , although {lesser} .", "although {lesser} , {main} .")  # the others


def _one(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.random() * len(options))]


def _clause(rng: np.random.Generator, subject: str, positive: bool) -> str:
    """Says of the subject that it is good, or that it is bad; a third of the time by denying the contrary."""
    negated = rng.random() < 1 / 3
    negation = _one(rng, NEGATIONS) if negated else ""
    words = ["the", subject, _one(rng, VERBS), negation, _one(rng, DEGREES), _one(rng, WORDS[positive ^ negated])]
    return " ".join(word for word in words if word)


def sentence(rng: np.random.Generator, positive: bool) -> str:
    """A sentence whose opinion is that of its main clause; the other clause, if any, is of the contrary one."""
    first = _one(rng, SUBJECTS)
    second = _one(rng, [subject for subject in SUBJECTS if subject != first])
    main, lesser = _clause(rng, first, positive), _clause(rng, second, not positive)
    form = ONE if rng.random() < 1 / 2 else _one(rng, TWO)
    return form.format(main=main, lesser=lesser)


def write(counts: dict[str, int], seed: int) -> dict[str, list[str]]:
    """So many sentences of each part, all of them different, of both opinions in turn: the negative one first."""
    rng, seen = np.random.default_rng(seed), set[str]()
    parts: dict[str, list[str]] = {}
    for split, count in counts.items():
        texts: list[str] = []
        while len(texts) < count:
            text = sentence(rng, positive=len(texts) % 2 == 1)
            if text not in seen:
                seen.add(text)
                texts.append(text)
        parts[split] = texts
    return parts


class Opinions(ReviewDataModule):
    """Two classes in equal numbers, the same sentences in every run.

    What a sentence says turns on the order of its words: on which adjective "not" stands before, on which side of
    "but" a clause stands. Which words it has tells little: about 58 % of the classes.

    Args:
        train_sentences: to train and validate on.
        test_sentences: to test on.
        common: what `ReviewDataModule` takes.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        train_sentences: int = 6000,
        test_sentences: int = 1000,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        for name, count in (("train_sentences", train_sentences), ("test_sentences", test_sentences)):
            require(20 <= count <= 100_000, f"data.{name} must lie between 20 and 100,000", count)
        self.sentences = {"train": train_sentences, "test": test_sentences}

    def read(self) -> Labelled:
        texts = write(self.sentences, seed=1)
        labels = {split: np.arange(len(own)) % 2 for split, own in texts.items()}
        return Labelled("sentences from a grammar", CLASSES, texts, labels)
