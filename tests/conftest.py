"""Fixtures that every room's tests share."""

import os
import subprocess
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: the tests' nets are tiny, and several run at once

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

CONF = Path(__file__).resolve().parents[1] / "conf"


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
    """`run_command("train", "model=resnet")`: the real command in a process of its own, in an empty folder."""

    def run(
        entry_point: str, *words: str, cwd: Path = tmp_path, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(CONF.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        return subprocess.run(
            [sys.executable, "-m", f"project.{entry_point}", *words],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run
