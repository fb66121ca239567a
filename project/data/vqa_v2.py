"""VQA v2.0 (Goyal et al. 2017): questions about photographs of COCO, each answered by ten people."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from project.data.lines import shown
from project.data.listed_images import ListedImages
from project.data.module import require
from project.data.questions import NO_ANSWER, QuestionDataModule, Questions
from project.errors import UserError

PARTS = {"train": "train2014", "test": "val2014"}  # the test's answers are not public
KINDS = {"yes/no": "yes_no", "number": "number", "other": "other"}
QUESTIONS, ANNOTATIONS = "v2_OpenEnded_mscoco_{}_questions.json", "v2_mscoco_{}_annotations.json"
_DIGITS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_WORDS = {"zero": "0", **{word: str(digit) for digit, word in enumerate(_DIGITS)}}
_ARTICLES = ("a", "an", "the")
_LAYOUT = (
    "It must hold, from visualqa.org/download.html: "
    + ", ".join(name.format(part) for part in PARTS.values() for name in (QUESTIONS, ANNOTATIONS))
    + "; and COCO's images in train2014/ and val2014/.\nSay where it is: data.root=PATH."
)


def plain(answer: str) -> str:
    """An answer as it is compared: small letters, digits for numbers up to ten, without articles and punctuation.

    As in the official evaluation (Antol et al. 2015, section 3), except that apostrophes are left as they are.
    """
    text = re.sub(r"(?<=\d),(?=\d)", "", answer.lower())
    text = re.sub(r"[;/\[\]\"{}()=+\\_\-><@`,?!]", " ", text)
    text = re.sub(r"\.(?!\d)", "", text)
    return " ".join(_WORDS.get(word, word) for word in text.split() if word not in _ARTICLES)


def credit(said: int, people: int = 10) -> float:
    """What an answer earns that `said` of so many people gave: min(n / 3, 1) of all but one of them, on average."""
    return (said * min((said - 1) / 3, 1) + (people - said) * min(said / 3, 1)) / people


class VqaV2(QuestionDataModule):
    """The official files of `root`. The training part is cut by pictures into that and validation; val2014 is the test.

    The classes are the most frequent of the training part's answers. A network learns what most people said; what it
    says earns the credit of the official evaluation.

    Args:
        root: the folder.
        answers: classes, at most.
        image_size: side in pixels, to which photographs are cut and shrunk.
        cache: see `ListedImages`, as for `cache_folder`, `on_error` and `num_workers`.
        common: what `QuestionDataModule` takes.

    Raises:
        ValueError: an argument out of its range.
        UserError: files that are missing, broken, or too large for memory.
    """

    def __init__(
        self,
        root: str,
        answers: int = 3129,
        image_size: int = 64,
        cache: float = 4.0,
        cache_folder: str = "data/cache",
        on_error: Literal["raise", "skip"] = "raise",
        num_workers: int | None = None,
        min_count: int = 3,
        **common: Any,
    ) -> None:
        super().__init__(min_count=min_count, **common)
        require(answers >= 2, "data.answers must be at least 2", answers)
        self.root, self.answers = Path(root).expanduser(), answers
        self.files = ListedImages(image_size, cache, cache_folder, on_error, num_workers)
        self.kinds = list(KINDS.values())

    def prepare_data(self) -> None:
        self.setup()

    def read(self) -> dict[str, Questions]:
        asked = {split: self._asked(part) for split, part in PARTS.items()}
        known = Counter(entry["most"] for _, entry in asked["train"])
        ranked = sorted(known, key=lambda answer: (-known[answer], answer))
        self.classes = ranked[: self.answers]
        return {split: self._questions(PARTS[split], rows) for split, rows in asked.items()}

    def _asked(self, part: str) -> list[tuple[str, dict[str, Any]]]:
        """Each question with its annotation, whose answers are `plain`; by picture, and then by number."""
        places = [self.root / name.format(part) for name in (QUESTIONS, ANNOTATIONS)]
        seen: dict[str, str] = {}

        def once(answer: str) -> str:
            if answer not in seen:
                seen[answer] = plain(answer)
            return seen[answer]

        try:
            asked = {entry["question_id"]: str(entry["question"]) for entry in _entries(places[0], "questions")}
            rows = []
            for entry in _entries(places[1], "annotations"):
                people = [once(answer["answer"]) for answer in entry["answers"]]
                if not people:
                    raise ValueError(f"nobody has answered question {entry['question_id']}")
                own: dict[str, Any] = {"people": people, "most": once(entry["multiple_choice_answer"])}
                own |= {"kind": list(KINDS).index(entry["answer_type"]), "image": int(entry["image_id"])}
                rows.append((asked[entry["question_id"]], {**own, "number": int(entry["question_id"])}))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            what = f"{type(error).__name__}: {error}"
            raise UserError(
                f"{shown(places[1])} and {shown(places[0])} are not the questions and answers of VQA v2 ({what}).\n"
                f"{_LAYOUT}"
            ) from error
        if not rows:
            raise UserError(f"{shown(places[1])} has no annotations.\n{_LAYOUT}")
        return sorted(rows, key=lambda row: (row[1]["image"], row[1]["number"]))

    def _questions(self, part: str, rows: list[tuple[str, dict[str, Any]]]) -> Questions:
        labels = {answer: label for label, answer in enumerate(self.classes)}
        texts = {text: number for number, text in enumerate(dict.fromkeys(text for text, _ in rows))}
        numbers, count = np.unique([entry["image"] for _, entry in rows], return_counts=True)
        names = [f"{part}/COCO_{part}_{number:012}.jpg" for number in numbers.tolist()]
        images, readable = self.files.read(self.root, names, self.root / ANNOTATIONS.format(part))
        answers, credits = _credited([entry for _, entry in rows], labels)
        whole = Questions(
            images=images,
            rows=np.arange(len(numbers)),
            count=count,
            texts=list(texts),
            asked=np.array([texts[text] for text, _ in rows]),
            kinds=np.array([entry["kind"] for _, entry in rows], np.int64),
            answers=answers,
            credits=credits,
        )
        if not readable.any():
            raise UserError(f"None of the images of {shown(self.root / part)} can be read.")
        if left := int((~readable).sum()):
            self.say("%s: %d of %d images are left out, with their questions", part, left, len(readable))
        return whole.part(np.flatnonzero(readable))


def _entries(path: Path, key: str) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))[key]
    except FileNotFoundError:
        raise UserError(f"There is no file {shown(path)}.\n{_LAYOUT}") from None
    except OSError as error:
        raise UserError(f"{shown(path)} cannot be read: {error.strerror or error}.") from error
    return found


def _credited(entries: Sequence[dict[str, Any]], labels: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Classes (S, A) and their credits (S, A): what most people said first, then by credit."""
    found = []
    for entry in entries:
        said = Counter(entry["people"])
        first = entry["most"]
        said.setdefault(first, 0)
        ranked = sorted((answer for answer in said if answer in labels), key=lambda one: (one != first, -said[one]))
        found.append([(labels[answer], credit(said[answer], len(entry["people"]))) for answer in ranked])
    width = max(1, *map(len, found))
    answers = np.full((len(found), width), NO_ANSWER, np.int64)
    credits = np.zeros((len(found), width), np.float32)
    for row, own in enumerate(found):
        for column, (label, earned) in enumerate(own):
            answers[row, column], credits[row, column] = label, earned
    return answers, credits
