"""Mistakes that are found in a config before anything heavy is imported."""

import ast
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from project.errors import UserError
from project.runs.checks import _may_be_a_number, check
from project.runs.signatures import describe, fits, signature
from tests.conftest import CONF


def annotation(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


@pytest.mark.parametrize(
    ("declared", "good", "bad"),
    [
        ("int", [0, -3], [True, 1.5, "1", None]),
        ("float", [0, 1.5], [True, "abc", None]),
        ("bool", [True, False], [0, "true", None]),
        ("str", ["a", ""], [1, None, True]),
        ("int | None", [1, None], ["a", 1.5]),
        ("Optional[float]", [1, None, 2.5], ["a"]),
        ("Sequence[int]", [[], [1, 2]], [1, ["a"], [1.5], "12"]),
        ("Literal['a', 'b']", ["a", "b"], ["c", 1, None]),
        ("Callable[..., int]", [1, "x", None], []),
    ],
)
def test_values_against_annotations(declared: str, good: list, bad: list) -> None:
    assert all(fits(value, annotation(declared)) for value in good)
    assert not any(fits(value, annotation(declared)) for value in bad)


def test_annotations_in_words() -> None:
    assert describe(annotation("int | None")) == "a whole number or null"
    assert describe(annotation("Literal['raise', 'skip']")) == "one of raise, skip"
    assert describe(annotation("Sequence[float]")) == "a list, each a number"


def test_signatures_are_read_through_base_classes() -> None:
    shapes = signature("project.data.shapes.Shapes")
    assert shapes is not None
    assert {"train_images", "batch_size", "shift"} <= shapes.parameters.keys()
    assert not shapes.open
    assert signature("torch.optim.SGD") is None
    assert signature("project.data.shapes.Nothing") is None


MISTAKES = [
    (["data.batch_size=abc"], "data.batch_size must be a whole number, got 'abc'"),
    (["data.batch_size=1.5"], "data.batch_size must be a whole number, got 1.5"),
    (["data.flip=3"], "data.flip must be true or false or alternating, got 3"),
    (["data.padding=mirror"], "data.padding must be one of zero, reflect, got 'mirror'"),
    (["+data.batch_sise=3"], r"data.batch_sise: there is no such option. Did you mean data.batch_size"),
    (["optimizer.lr=abc"], "optimizer.lr must be a number such as 0.1, got 'abc'"),
    (["trainer.max_epochs=many"], "trainer.max_epochs must be a whole number such as 100, got 'many'"),
    (["scheduler.warmup_epochs=long"], "scheduler.warmup_epochs must be a number, got 'long'"),
    (["model.net.depth=deep"], "model.net.depth must be a whole number, got 'deep'"),
    (["callbacks.checkpoints.mode=up"], "callbacks.checkpoints.mode must be one of min, max or null, got 'up'"),
    (["compile=fast"], "compile must be true, false, auto or cuda_graphs, got fast"),
    (["trainer.precision=fp8"], "trainer.precision must be one of auto, 32-true, .*, got fp8"),
    (["data=image_folder"], "data.root must be given: data.root=<"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES)
def test_mistakes_are_named(composed: Callable[..., DictConfig], words: list[str], message: str) -> None:
    given = ["model=resnet", *([] if words[0].startswith("data=") else ["data=shapes"]), *words]
    with pytest.raises(UserError, match=message):
        check(composed(*given), given, "train")


def test_good_configs_pass(composed: Callable[..., DictConfig]) -> None:
    words = ["data=shapes", "optimizer.lr=1", "trainer.devices=2", "trainer.limit_train_batches=0.5", "mode=max"]
    check(composed(*words), words, "train")


def test_the_config_is_composed_anew_for_what_can_be_a_number_alone() -> None:
    for key in ("outputs", "folder", "resume", "name", "trainer.accelerator", "trainer.precision"):
        assert not _may_be_a_number(key), key
    numbers = {name for path in CONF.rglob("*.yaml") for name in _numbers(OmegaConf.to_container(OmegaConf.load(path)))}
    assert len(numbers) > 100
    assert [name for name in numbers if not _may_be_a_number(f"somewhere.{name}")] == []


def _numbers(node: Any) -> Iterator[str]:
    """Under which names there are numbers, or references to other names."""
    for name, value in node.items() if isinstance(node, dict) else ():
        yield from _numbers(value)
        reference = re.fullmatch(r"\$\{(?:\w+\.)*(\w+)\}", str(value))
        if (isinstance(value, int | float) and not isinstance(value, bool)) or (reference and reference[1] != name):
            yield str(name)
