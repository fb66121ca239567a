"""Fixtures that every room's tests share."""

import os
import subprocess

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: the tests' nets are tiny, and several run at once
os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as commands have it; those that are forked cannot choose any more

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from tests.commands import ROOT
from tests.commands import run_module as run_module  # for tests, too

CONF = ROOT / "conf"


LONGEST = (
    "test_readme.py",
    "test_sweeps.py",
    "test_kills.py",
)  # begun first, so that no worker waits for them at the end


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: workers of pytest-xdist that have nothing left take none of another's."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session", autouse=True)
def _in_float32() -> Iterator[None]:
    """Trainings of this process compute in float32, whatever the machine has: what is exact is exact everywhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("project.runs.speed.has_bf16", lambda device: False)
        yield


def environment_of_commands() -> dict[str, str]:
    """For programs that tests start: a training in this process may have hidden the GPUs, which others are to see."""
    return {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}


def choices(group: str) -> list[str]:
    """The names of a config group's members, for tests that every member goes through."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def choices_for(group: str, kind: str) -> list[str]:
    """Those members of `model` or `data` that are for `images`, or for `text`."""
    of_images = ("ImageClassifier", "Reconstruction", "Cifar10", "Cifar100", "ImageFolder", "Shapes")
    targets = {
        name: str(compose_config(f"{group}={name}")[group]._target_).rsplit(".", 1)[-1] for name in choices(group)
    }
    return [name for name, target in targets.items() if (target in of_images) == (kind == "images")]


def compose_config(*overrides: str, name: str = "train") -> DictConfig:
    """The config that the command line of the same words gives."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, overrides=list(overrides))


@pytest.fixture
def composed() -> Callable[..., DictConfig]:
    """`composed("model=resnet", "data=shapes")`, as a fixture."""
    return compose_config


@pytest.fixture
def run_command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`run_command("train", "model=resnet")`: the command in a process of its own, in an empty folder."""

    def run(entry_point: str, *words: str, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        return run_module(f"project.{entry_point}", *words, cwd=cwd)

    return run
