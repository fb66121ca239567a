"""Whatever is killed, and whenever: the same command ends with exactly the trials that were asked for, each once."""

import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback

from tests.sweeps.sweeping import (
    SPACE,
    finish,
    kill_all,
    members,
    numbers,
    rows,
    start,
    sweep,
    trials,
    until,
    workers_of,
)

pytestmark = pytest.mark.slow

WORDS = (
    SPACE,
    "sweep/pruner=none",
    "sweep.workers=2",
    "sweep.n_trials=6",
    "sweep.max_retries=50",
    "trainer.max_epochs=6",
)

SLOW = "+callbacks.slow._target_=tests.sweeps.test_kills.Slow"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[dict[str, float], float]]:
    """Parameters and value of every trial of the sweep that nobody kills."""
    folder = tmp_path_factory.mktemp("undisturbed") / "sweep"
    code, said = sweep(folder, *WORDS, "sweep/sampler=random")
    assert code == 0, said
    return {trial.number: (trial.params, float(trial.value or 0)) for trial in trials(folder)}


@pytest.mark.parametrize("seed", range(4))
def test_killed_six_times_at_random_it_ends_with_the_same_trials(
    tmp_path: Path, undisturbed: dict[int, tuple[dict[str, float], float]], seed: int
) -> None:
    folder, chance = tmp_path / "sweep", random.Random(seed)
    words = (*WORDS, "sweep/sampler=random")
    killed = 0
    command = start(folder, *words)
    while killed < 6 and command.poll() is None:
        time.sleep(chance.uniform(0.2, 2.5))
        victims = workers_of(folder) if chance.random() < 0.7 else []
        if victims:
            os.kill(chance.choice(victims), signal.SIGKILL)
            killed += 1
        elif chance.random() < 0.4 and (folder / "study").exists():
            kill_all(command)
            command.communicate()
            killed += 1
            command = start(folder, *words)
    code, said = finish(command)
    assert code == 0, said
    found = trials(folder)
    assert numbers(found) == list(range(6))
    assert {trial.state.name for trial in found} == {"COMPLETE"}
    # random sampling depends on nothing but the trial's number, and a resumed training on nothing at all
    assert {trial.number: (trial.params, trial.value) for trial in found} == undisturbed
    folders = sorted(path.name for path in folder.iterdir() if path.name.isdigit())
    assert folders == [str(number) for number in range(6)]
    attempts = rows(folder)
    assert len({(row["number"], row["attempt"]) for row in attempts}) == len(attempts)
    until(lambda: not members(command.pid))


def test_a_dead_worker_s_trial_goes_on_from_its_checkpoint_while_the_others_run(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    command = start(folder, *WORDS, "trainer.max_epochs=60")
    until(lambda: (folder / "0" / "checkpoints" / "last.ckpt").exists())
    until(lambda: torch.load(folder / "0" / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] >= 5)
    owner = next(trial for trial in trials(folder) if trial.number == 0).system_attrs["sweep:owner"]
    os.kill(owner["pid"], signal.SIGKILL)
    until(lambda: len(rows_of(folder, 0)) == 2)
    assert len(workers_of(folder)) >= 1
    log = folder / "0" / "train.log"
    until(lambda: "going on at step" in log.read_text())
    step = int(log.read_text().partition("going on at step ")[2].split()[0])
    assert step >= 5 * 5  # five batches an epoch
    os.killpg(command.pid, signal.SIGKILL)
    kill_all(command)
    command.communicate()


def rows_of(folder: Path, number: int) -> list[object]:
    found = [trial for trial in trials(folder) if trial.number == number]
    return list(found[0].system_attrs.get("sweep:attempts", [])) if found else []


def test_a_trial_that_kills_its_workers_fails_after_max_retries_and_the_rest_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    words = ["optimizer.lr=choice(0.001,0.06)", "sweep/sampler=grid", "sweep.max_retries=1", "sweep/pruner=none"]
    code, said = sweep(folder, *words, "sweep.constraints=[tests.sweeps.test_kills.kill_at_high_rates]")
    assert code == 0, said
    found = trials(folder)
    assert [trial.state.name for trial in found] == ["COMPLETE", "FAIL"]
    assert found[1].user_attrs["error"].startswith("its worker died 2 times")
    assert [row["attempt_ended"] for row in rows(folder)] == ["complete", "died", "died"]


def kill_at_high_rates(cfg: object) -> bool:
    """A constraint that kills the worker for learning rates above 0.05: what running out of memory looks like."""
    if cfg.optimizer.lr > 0.05:  # type: ignore[attr-defined]
        os.kill(os.getpid(), signal.SIGKILL)
    return True


def test_a_worker_that_was_paused_and_taken_for_dead_does_no_harm(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    command = start(folder, *WORDS, "sweep.n_trials=3", "sweep.heartbeat=0.5", "trainer.max_epochs=40")
    until(lambda: (folder / "0" / "checkpoints" / "last.ckpt").exists())
    paused = next(trial for trial in trials(folder) if trial.number == 0).system_attrs["sweep:owner"]["pid"]
    os.kill(paused, signal.SIGSTOP)
    until(lambda: len(rows_of(folder, 0)) == 2)
    with contextlib.suppress(ProcessLookupError):  # it was ended for certain
        os.kill(paused, signal.SIGCONT)
    code, said = finish(command)
    assert code == 0, said
    assert [trial.state.name for trial in trials(folder)] == ["COMPLETE"] * 3
    assert len(json.loads((folder / "0" / "metrics.json").read_text())) > 0


@pytest.mark.parametrize(
    ("number", "to", "launcher"),
    [
        (signal.SIGINT, os.kill, "local"),  # the head alone
        (signal.SIGINT, os.killpg, "local"),  # every process, as a terminal does with Ctrl-C
        (signal.SIGTERM, os.killpg, "local"),  # as `timeout` and schedulers do
        (signal.SIGINT, os.killpg, "joblib"),
    ],
)
def test_a_stop_writes_checkpoints_and_the_same_command_goes_on(
    tmp_path: Path, number: signal.Signals, to: Callable[[int, int], None], launcher: str
) -> None:
    folder = tmp_path / "sweep"
    # steps of more than the half second in which a worker hears of a stop by the head, too
    words = (*WORDS, "sweep.n_trials=2", "trainer.max_epochs=10", f"hydra/launcher={launcher}", SLOW)
    command = start(folder, *words, SECONDS_OF_A_STEP="0.7")
    until(lambda: len(list(folder.glob("*/checkpoints/last.ckpt"))) == 2)
    to(command.pid, number)
    code, said = finish(command)
    assert code == 128 + number, said
    assert "The same command goes on with it." in said
    until(lambda: not members(command.pid))
    assert "died" not in said
    assert [row["attempt_ended"] for row in rows(folder)] == ["stopped", "stopped"]
    assert [row["state"] for row in rows(folder)] == ["stopped", "stopped"]
    code, said = sweep(folder, *words)
    assert code == 0, said
    assert [trial.state.name for trial in trials(folder)] == ["COMPLETE", "COMPLETE"]
    assert [row["attempt"] for row in rows(folder)] == ["1", "2", "1", "2"]
    assert all("going on at step" in (folder / name / "train.log").read_text() for name in "01")


class Slow(Callback):
    """Steps take so many seconds longer."""

    def on_train_batch_start(self, *arguments: Any) -> None:
        time.sleep(float(os.environ.get("SECONDS_OF_A_STEP", "0")))


def test_when_the_head_dies_its_workers_write_their_checkpoints_and_end(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    command = start(folder, *WORDS, "sweep.n_trials=2", "trainer.max_epochs=200")
    until(lambda: len(list(folder.glob("*/checkpoints/last.ckpt"))) == 2)
    os.kill(command.pid, signal.SIGKILL)
    command.communicate()
    until(lambda: not members(command.pid), 30)
    assert [rows_of(folder, number)[0]["ended"] for number in (0, 1)] == ["stopped", "stopped"]  # type: ignore[index]


def test_timeout_ends_in_time(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    began = time.monotonic()
    words = ("sweep.n_trials=1000", "sweep.timeout=12", SLOW)  # its workers mostly wait
    code, said = sweep(folder, *WORDS, *words, SECONDS_OF_A_STEP="0.1")
    assert code == 0, said
    assert time.monotonic() - began < 60
    assert "sweep.timeout=12" in said
    assert {trial.state.name for trial in trials(folder)} <= {"COMPLETE", "RUNNING"}
