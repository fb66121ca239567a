"""Fixtures that every room's tests share."""

import os

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


def compose_config(*overrides: str, name: str = "train") -> DictConfig:
    """The config that the command line of the same words gives."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, overrides=list(overrides))


@pytest.fixture
def composed() -> Callable[..., DictConfig]:
    """`composed("model=resnet", "data=shapes")`, as a fixture."""
    return compose_config
