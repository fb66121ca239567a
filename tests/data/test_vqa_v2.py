"""The official files of VQA v2, small, and what evaluation makes of ten people's answers."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from project.data.vqa_v2 import PARTS, VqaV2, credit, plain
from project.errors import UserError
from tests.data.annotated_sets import Asked, write_vqa

TEN = ["red"] * 6 + ["dark red"] * 3 + ["Crimson."]
# per picture: question, type, what most people said, what each of the ten said
TRAIN: list[Asked] = [
    [("What color is the bus?", "other", "red", TEN), ("Is it a bus?", "yes/no", "yes", ["yes"] * 10)],
    [("How many dogs?", "number", "2", ["two"] * 8 + ["3"] * 2)],
    [("Is it a bus?", "yes/no", "no", ["no"] * 9 + ["yes"]), ("What color is the bus?", "other", "red", ["red"] * 10)],
    [("What?", "other", "a rare thing", ["a rare thing"] * 10)],
    [("Is it a bus?", "yes/no", "yes", ["yes"] * 10), ("How many dogs?", "number", "2", ["2"] * 10)],
]
VAL: list[Asked] = [
    [("What color is the zebra?", "other", "blue", ["blue"] * 10), ("Is it a bus?", "yes/no", "no", ["no"] * 10)],
    [("How many dogs?", "number", "2", ["2"] * 2 + ["red"] * 1 + ["many"] * 7)],
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_vqa(tmp_path / "vqa", PARTS["train"], TRAIN)
    write_vqa(tmp_path / "vqa", PARTS["test"], VAL)
    return tmp_path / "vqa"


def opened(root: Path, **arguments: Any) -> VqaV2:
    settings: dict[str, Any] = {"image_size": 16, "cache_folder": str(root.parent / "cache"), "num_workers": 0}
    settings |= {"batch_size": 2, "val_fraction": 0.2, "min_count": 1, "answers": 4}
    module = VqaV2(str(root), **{**settings, **arguments})
    module.prepare_data()
    return module


def asked(data: VqaV2, split: str) -> list[tuple[str, str, list[tuple[str, float]]]]:
    """Of each question: its words, its kind, the answers with their credits."""
    part = data.parts[split]
    numbers, _ = part.numbers(np.arange(len(part)))
    kinds, answers, credits = part.labels
    return [
        (
            data.vocabulary.decode(part.sequences[number].tolist()),
            data.kinds[kinds[number]],
            [
                (data.classes[label], round(float(earned), 3))
                for label, earned in zip(answers[number], credits[number], strict=True)
                if label >= 0
            ],
        )
        for number in numbers
    ]


def test_what_is_asked_and_what_each_answer_earns(root: Path) -> None:
    """Pictures stand by their numbers; of the training's the third is held out, and the fourth has no answer left."""
    data = opened(root)
    assert data.classes == ["2", "red", "yes", "no"]  # by how many questions they answer, and then by name
    assert data.counts == {"train": 3, "val": 1, "test": 2}
    assert asked(data, "train") == [
        ("what color is the bus?", "other", [("red", 1.0)]),
        ("is it a bus?", "yes_no", [("yes", 1.0)]),
        ("how many dogs?", "number", [("2", 1.0)]),
        ("is it a bus?", "yes_no", [("yes", 1.0)]),
        ("how many dogs?", "number", [("2", 1.0)]),
    ]
    assert asked(data, "val") == [
        ("is it a bus?", "yes_no", [("no", 1.0), ("yes", 0.3)]),
        ("what color is the bus?", "other", [("red", 1.0)]),
    ]
    assert asked(data, "test") == [
        ("what color is the <unk>?", "other", []),  # evaluated, and always wrong
        ("is it a bus?", "yes_no", [("no", 1.0)]),
        ("how many dogs?", "number", [("2", 0.6), ("red", 0.3)]),
    ]


def test_more_classes_leave_fewer_questions_without_an_answer(root: Path) -> None:
    data = opened(root, answers=10)
    assert data.classes == ["2", "red", "yes", "no", "rare thing"]
    assert ("what?", "other", [("rare thing", 1.0)]) in asked(data, "train")


@pytest.mark.parametrize("said", range(11))
def test_the_credit_is_the_mean_over_all_sets_of_nine_people(said: int) -> None:
    people = [True] * said + [False] * (10 - said)
    nines = [min(sum(nine) / 3, 1) for nine in combinations(people, 9)]
    assert credit(said) == pytest.approx(sum(nines) / 10)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("A red Bus.", "red bus"),
        ("two", "2"),
        ("none", "0"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("black/white", "black white"),
        ("don't know!", "don't know"),
        ("the", ""),
    ],
)
def test_answers_are_compared_in_their_plain_form(answer: str, expected: str) -> None:
    assert plain(answer) == expected


def test_what_is_missing_or_broken_is_told(root: Path) -> None:
    (root / "val2014" / "COCO_val2014_000000000100.jpg").unlink()
    with pytest.raises(UserError, match=r"COCO_val2014_000000000100\.jpg"):
        opened(root)
    assert opened(root, on_error="skip").counts["test"] == 1
    annotations = root / "v2_mscoco_val2014_annotations.json"
    annotations.write_text(json.dumps({"annotations": [{"question_id": 1}]}))
    with pytest.raises(UserError, match=r"not the questions and answers of VQA v2 \(KeyError: 'answers'\)"):
        opened(root)
    annotations.unlink()
    with pytest.raises(UserError, match=r"There is no file .*v2_mscoco_val2014_annotations.json(.|\n)*data.root=PATH"):
        opened(root)
