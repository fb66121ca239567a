"""Pictures with questions about them, each of which has one answer of a fixed list."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from project.data.annotated import Annotated, AnnotatedDataModule
from project.data.module import require
from project.data.reviews import SentenceEncoder
from project.data.sentences import PARTS, Sentences
from project.data.vocabulary import Vocabulary, words
from project.errors import UserError

NO_ANSWER = -1  # the place of an answer that no class stands for


@dataclass(frozen=True)
class Questions:
    """N pictures, and the S questions about them: first those about the first picture, and so on.

    Of several right answers each earns a credit from 0 to 1, and the first one is what a network learns to say. A
    question that no class answers has `NO_ANSWER` alone: it counts in evaluation, as one that is always got wrong.
    """

    images: np.ndarray  # (M, H, W, 3) uint8
    rows: np.ndarray  # (N,) which of the images
    count: np.ndarray  # (N,) questions about each, at least one
    texts: list[str]  # distinct questions
    asked: np.ndarray  # (S,) which of the texts
    kinds: np.ndarray  # (S,) int64
    answers: np.ndarray  # (S, A) int64 classes, filled up with NO_ANSWER
    credits: np.ndarray  # (S, A) float32, 0 where there is no answer

    def part(self, members: np.ndarray) -> "Questions":
        """The pictures `members`, with their questions."""
        starts = np.cumsum(self.count) - self.count
        count = self.count[members]
        chosen = np.repeat(starts[members] - (np.cumsum(count) - count), count) + np.arange(count.sum())
        own = (self.asked[chosen], self.kinds[chosen], self.answers[chosen], self.credits[chosen])
        return Questions(self.images, self.rows[members], count, self.texts, *own)

    def only(self, chosen: np.ndarray) -> "Questions":
        """The questions for which `chosen` (S,) is true; pictures without any are left out."""
        owner = np.repeat(np.arange(len(self.count)), self.count)
        count = np.bincount(owner[chosen], minlength=len(self.count))
        own = (self.asked[chosen], self.kinds[chosen], self.answers[chosen], self.credits[chosen])
        return Questions(self.images, self.rows[count > 0], count[count > 0], self.texts, *own)


class QuestionDataModule(AnnotatedDataModule):
    """Pictures and questions. A member gives `read`, `classes` and `kinds`.

    After `setup`: `classes`, the answers; `vocabulary`, the words of the training part's questions. The `labels` of an
    `AnnotatedBatch` are kinds (M,), answers (M, A) and credits (M, A), as in `Questions`.

    Args:
        min_count: words that are rarer in the training part are unknown.
        max_length: of a longer question, only so many words are read.
        common: what `AnnotatedDataModule` takes.

    Raises:
        ValueError: an argument out of its range.
        UserError: data that are missing, broken, or too few for what is asked.
    """

    unit, counted = "questions", "images"
    classes: list[str]
    kinds: list[str]
    encoder: SentenceEncoder

    def __init__(self, min_count: int = 1, max_length: int = 30, **common: Any) -> None:
        super().__init__(**common)
        require(min_count >= 1, "data.min_count must be at least 1", min_count)
        require(max_length >= 1, "data.max_length must be at least 1 word", max_length)
        self.min_count, self.max_length = min_count, max_length

    @abstractmethod
    def read(self) -> dict[str, Questions]:
        """`train`, and `val` and `test` where the data set has them; `classes` and `kinds` must be set by then."""

    def make_parts(self) -> dict[str, Annotated]:
        read = self.read()
        if "val" not in read:
            kept, held = self.held_out(len(read["train"].count))
            read["train"], read["val"] = read["train"].part(kept), read["train"].part(held)
        self._report(read)
        train = read["train"] = read["train"].only(read["train"].answers[:, 0] != NO_ANSWER)
        if not len(train.count):
            raise UserError("None of the training questions has an answer to learn.\nChoose more data.answers.")
        vocabulary = Vocabulary.build(_word_counts(train), "words", self.min_count, specials=("<pad>",))
        self.encoder = SentenceEncoder(vocabulary, lowercase=True, max_length=self.max_length)
        return {split: self._annotated(questions) for split, questions in read.items()}

    def _report(self, read: dict[str, Questions]) -> None:
        for split, questions in read.items():
            if unanswered := int((questions.answers[:, 0] == NO_ANSWER).sum()):
                text = "%s part: %d of %d questions have no answer among the %d classes"
                more = ", and are not trained on" if split == "train" else ", and count as wrong"
                self.say(text + more, PARTS[split], unanswered, len(questions.asked), len(self.classes))

    def _annotated(self, questions: Questions) -> Annotated:
        unknown = [Vocabulary.UNKNOWN]  # of a question without a word
        texts = Sentences.of(ids if len(ids := self.encoder(text)) else unknown for text in questions.texts)
        lengths = texts.lengths[questions.asked]
        starts = np.cumsum([0, *lengths], dtype=np.int64)
        places = np.repeat(texts.starts[questions.asked] - starts[:-1], lengths) + np.arange(starts[-1])
        labels = (questions.kinds, questions.answers, questions.credits)
        sequences = Sentences(texts.ids[places], starts)
        return Annotated.whole(questions.images, sequences, questions.count, labels, questions.rows)

    @property
    def vocabulary(self) -> Vocabulary:
        return self.encoder.vocabulary

    def content(self, split: str) -> Iterator[bytes]:
        """Answers with their kinds, lengths of the questions, and pixels: ids depend on the vocabulary."""
        part = self.parts[split]
        numbers, _ = part.numbers(np.arange(len(part)))
        yield repr(self.classes).encode() + part.sequences.lengths[numbers].tobytes()
        yield from (label[numbers].tobytes() for label in part.labels)
        yield from (part.images[row].tobytes() for row in part.rows)

    @property
    def sizes(self) -> dict[str, Any]:
        own = {"vocab_size": len(self.vocabulary), "num_classes": len(self.classes), "kinds": list(self.kinds)}
        return {**super().sizes, **own}

    @property
    def facts(self) -> dict[str, Any]:
        own = {"classes": list(self.classes), "vocabulary": self.vocabulary.facts()}
        return {**super().facts, **own, "lowercase": True, "max_length": self.max_length}

    @property
    def samples_per_batch(self) -> int:
        return round(self.batch_size * float(self.parts["train"].count.mean()))


def _word_counts(questions: Questions) -> Counter[str]:
    counts: Counter[str] = Counter()
    for text, times in zip(questions.texts, np.bincount(questions.asked, minlength=len(questions.texts)), strict=True):
        for word in words(" ".join(text.lower().split())) if times else ():
            counts[word] += int(times)
    return counts
