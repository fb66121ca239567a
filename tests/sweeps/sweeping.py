"""Small real sweeps, as commands of their own: what the tests of sweeps share."""

import contextlib
import csv
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from omegaconf import DictConfig
from optuna.trial import FrozenTrial

from project.sweeps.storage import open_storage
from tests.commands import Command, start_module

TINY = (
    "model=mlp",
    "model.net.hidden=[8]",
    "data=shapes",
    "data.train_images=180",
    "data.test_images=20",
    "data.batch_size=32",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=3",
    "callbacks.checkpoints.every_n_steps=2",
    "sweep=default",
    "sweep.heartbeat=2",
    "sweep.threads_per_worker=1",  # more would wait for each other, while other tests use the cores
)
SPACE = "optimizer.lr=tag(log,interval(1e-4,1e-1))"


def start(folder: Path, *words: str, **environment: str) -> Command:
    """The command of a tiny sweep in `folder`, in a process group of its own."""
    words = (*TINY, f"hydra.sweep.dir={folder}", *words)
    environment = {"OMP_NUM_THREADS": "1", **environment}
    return start_module("project.train", *words, cwd=folder.parent, environment=environment, together=True)


def finish(command: "Command | subprocess.Popen[str]", timeout: float = 200) -> tuple[int, str]:
    """Wait for the command: its exit code and what it said."""
    try:
        said, _ = command.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        kill_all(command)
        said, _ = command.communicate()
        raise AssertionError(f"the sweep did not end in {timeout} s:\n{said}") from None
    assert command.returncode is not None
    return command.returncode, said


def sweep(folder: Path, *words: str, **environment: str) -> tuple[int, str]:
    """Run the command to its end."""
    return finish(start(folder, *words, **environment))


def kill_all(command: "Command | subprocess.Popen[str]") -> None:
    """SIGKILL to everything that the command has started."""
    for pid in reversed(members(command.pid)):
        _kill(pid)


def members(group: int) -> list[int]:
    """The living processes of a session, the oldest first."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == group and fields[0] not in "ZX":
                found.append((int(fields[19]), int(entry.name)))
    return [pid for _, pid in sorted(found)]


def workers_of(folder: Path) -> list[int]:
    """The processes that train trials of the study right now, as their owner records say."""
    study = journal(folder)
    if study is None:
        return []
    records = [trial.system_attrs.get("sweep:owner") for trial in study.get_trials(deepcopy=False)]
    running = [trial.state.name == "RUNNING" for trial in study.get_trials(deepcopy=False)]
    pids = {record["pid"] for record, runs in zip(records, running, strict=True) if record and runs}
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def journal(folder: Path, url: str | None = None, name: str | None = None) -> optuna.Study | None:
    """The study of a sweep's folder, or of a database (by default its first); None before it is made."""
    if url is None and not (folder / "study").exists():
        return None
    storage = open_storage(url, folder, 2)
    names = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name or names[0], storage=storage) if names else None


def trials(folder: Path, url: str | None = None, name: str | None = None) -> list[FrozenTrial]:
    """The trials of a study."""
    study = journal(folder, url, name)
    assert study is not None
    return study.get_trials()


def rows(folder: Path) -> list[dict[str, str]]:
    """What `trials.csv` holds."""
    with (folder / "trials.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def until(condition: Any, seconds: float = 120) -> None:
    """Wait for a condition of what others write; what they have not written yet makes it false, not an error.

    Raises:
        AssertionError: it does not come true in time.
    """
    end = time.monotonic() + seconds
    while True:
        missing: Exception | None = None
        try:
            if condition():
                return
        except (LookupError, OSError) as error:
            missing = error
        if time.monotonic() > end:
            raise AssertionError(f"still not so after {seconds} s") from missing
        time.sleep(0.05)


def numbers(found: Sequence[FrozenTrial]) -> list[int]:
    return [trial.number for trial in found]


def refuse_high_rates(cfg: DictConfig) -> bool | str:
    """A constraint: no learning rate above 0.05."""
    return True if cfg.optimizer.lr <= 0.05 else f"lr {cfg.optimizer.lr} is above 0.05"


def fail_on_low_rates(cfg: DictConfig) -> bool:
    """A constraint that is broken for learning rates below 0.001."""
    if cfg.optimizer.lr < 0.001:
        raise ValueError(f"no such luck with {cfg.optimizer.lr}")
    return True
