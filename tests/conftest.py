"""Fixtures that every room's tests share."""

import gc
import os
import subprocess

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: the tests' nets are tiny, and several run at once
os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as commands have it; those that are forked cannot choose any more

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from tests.commands import ROOT
from tests.commands import run_module as run_module  # for tests, too
from tests.composing import CONF as CONF
from tests.composing import compose_config as compose_config
from tests.composing import target_of

# begun first, so that no worker of pytest-xdist is left alone with them at the end; those that mostly wait stand
# between those that compute
LONGEST = (
    "cluster/test_slurm.py", "benchmarks/test_sweeps.py", "cluster/test_ray.py", "sweeps/test_kills.py",
    "benchmarks/test_benchmarks.py", "sweeps/test_postgres.py", "runs/test_tuning.py", "test_readme.py",
    "cluster/test_hosts.py", "sweeps/test_launchers_and_storages.py", "cluster/test_data_parallel.py",
    "benchmarks/test_scale.py", "sweeps/test_sweep.py", "sweeps/test_hydra_versions.py", "test_pages.py",
)  # fmt: skip


# what shares something that takes long to make runs in one worker, which makes it once
TOGETHER = (
    "cluster/test_slurm.py", "cluster/test_ray.py", "benchmarks/test_sweeps.py", "benchmarks/test_benchmarks.py",
    "sweeps/test_postgres.py", "sweeps/test_database.py", "sweeps/test_kills.py::test_killed", "test_pages.py",
    "test_package.py", "callbacks/test_hparams.py", "runs/test_sampling.py", "runs/test_resume.py",
    "runs/test_later.py", "runs/test_text_use.py", "runs/test_translation_use.py", "runs/test_caption_use.py",
    "runs/test_question_use.py", "runs/test_video_use.py", "runs/test_dense_use.py", "runs/test_dream_and_style.py",
    "sweeps/test_sweep.py::test_the_best_is_trained", "sweeps/test_sweep.py::test_what_lies",
    "sweeps/test_sweep.py::test_a_trial_is_a_run",
)  # fmt: skip
ONE_SWEEP = TOGETHER[-3:]


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """How `-n` deals the tests out."""
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            scope = next((start for start in TOGETHER if nodeid.startswith(f"tests/{start}")), nodeid)
            return ONE_SWEEP[0] if scope in ONE_SWEEP else scope

    config.option.loadscopereorder = False
    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first."""
    items.sort(key=_turn)


def pytest_collection_finish() -> None:
    """What is there now stays: nobody looks through it for garbage after each test, and forks need no copy of it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50000, 20, 50)


def _turn(item: pytest.Item) -> int:
    name = item.path.relative_to(ROOT / "tests").as_posix()
    slow = item.get_closest_marker("slow") is not None
    return LONGEST.index(name) if slow and name in LONGEST else len(LONGEST) + (not slow)


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


KINDS = {
    "images": ("ImageClassifier", "Reconstruction", "Cifar10", "Cifar100", "ImageFolder", "Shapes"),
    "targets": ("Regression", "Segmentation", "ShapeCorners", "ShapeMasks", "MaskFolder"),  # that move with images
    "sequences": ("Scenes", "Flickr8k", "CocoCaptions", "SortOfClevr", "VqaV2"),  # several of each image
}


def choices_for(group: str, *kinds: str) -> list[str]:
    """Those members of `model` or `data` that are for `images`, or for `targets` or `sequences` of them."""
    classes = {name for kind in kinds for name in KINDS[kind]}
    targets = {name: target_of(group, name).rsplit(".", 1)[-1] for name in choices(group)}
    return [name for name, target in targets.items() if target in classes]


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
