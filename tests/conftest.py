"""Fixtures that every room's tests share."""

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: the tests' nets are tiny, and several run at once

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

CONF = Path(__file__).resolve().parents[1] / "conf"


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


KINDS = {
    "images": ("ImageClassifier", "Reconstruction", "Cifar10", "Cifar100", "ImageFolder", "Shapes"),
    "targets": ("Regression", "Segmentation", "ShapeCorners", "ShapeMasks", "MaskFolder"),  # that move with images
}


def choices_for(group: str, *kinds: str) -> list[str]:
    """Those members of `model` or `data` that are for `images`, or for `targets` in them."""
    classes = {name for kind in kinds for name in KINDS[kind]}
    targets = {
        name: str(compose_config(f"{group}={name}")[group]._target_).rsplit(".", 1)[-1] for name in choices(group)
    }
    return [name for name, target in targets.items() if target in classes]


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


def run_module(module: str, *words: str, cwd: Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """What `python -m <module> <words>` does, in a process forked from this one, which has imported torch already."""
    import project.runs.training  # noqa: F401

    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            _become(module, list(words), cwd, out.fileno(), err.fileno())
        end = time.monotonic() + timeout
        while True:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > end:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                raise subprocess.TimeoutExpired([module, *words], timeout)
            time.sleep(0.01)
        code = os.waitstatus_to_exitcode(status)
        said = []
        for file in (out, err):
            file.seek(0)
            said.append(file.read().decode())
    return subprocess.CompletedProcess([module, *words], code, *said)


def _become(module: str, words: list[str], cwd: Path, out: int, err: int) -> NoReturn:
    """Go on as the process that runs `module`."""
    code = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode) for number, mode in ((0, "r"), (1, "w"), (2, "w")))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.environ["PYTHONPATH"] = os.pathsep.join([str(CONF.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        os.chdir(cwd)
        sys.argv = [module, *words]
        sys.orig_argv[1:] = ["-m", module, *words]
        warnings.filterwarnings("ignore", "'project.* found in sys.modules", RuntimeWarning)
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException:
            traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)
