"""Whole sweeps on a real PostgreSQL server, restarted, away for too long, and shared by several heads."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from project.benchmarks.postgres import Server
from tests.sweeps.postgres import PASSWORD, postgres, quoted
from tests.sweeps.sweeping import SPACE, finish, members, numbers, rows, start, trials, until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres() as made:
        yield made


def words(study: str, *more: str) -> list[str]:
    return [SPACE, f"sweep.study_name={study}", "sweep/pruner=none", *more]


def owners(server: Server, study: str) -> list[int]:
    """The processes that train its trials."""
    found = [trial for trial in trials(Path(), server.url, study) if trial.state.name == "RUNNING"]
    return [trial.system_attrs["sweep:owner"]["pid"] for trial in found if trial.system_attrs.get("sweep:owner")]


def check_passwords(folder: Path, said: str) -> None:
    """A password is written nowhere."""
    for text in (PASSWORD, quoted(PASSWORD)):
        assert text not in said
        assert not [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_four_workers_survive_restarts_and_the_death_of_one(tmp_path: Path, server: Server) -> None:
    folder = tmp_path / "restarts"
    slow = "+callbacks.slow._target_=tests.sweeps.test_kills.Slow"
    command = start(
        folder,
        *words("restarts", "sweep.workers=4", "sweep.n_trials=6", "trainer.max_epochs=10", slow),
        PROJECT_SWEEP_STORAGE=server.url,
        SECONDS_OF_A_STEP="0.1",
    )
    until(lambda: len(list(folder.glob("*/checkpoints/last.ckpt"))) >= 4, 120)
    for how in ("fast", "immediate"):
        server.stop(how)
        time.sleep(2)
        server.start()
        until(lambda: len(owners(server, "restarts")) >= 2)
    os.kill(owners(server, "restarts")[0], signal.SIGKILL)
    code, said = finish(command)
    assert code == 0, said
    found = trials(folder, server.url, "restarts")
    assert numbers(found) == list(range(6))
    assert {trial.state.name for trial in found} == {"COMPLETE"}
    assert {len(trial.intermediate_values) for trial in found} == {10}
    attempts = rows(folder)
    assert [row["attempt_ended"] for row in attempts].count("died") == 1  # the one that was killed
    assert len(attempts) == 7
    logs = [path.read_text() for path in (folder / ".workers").glob("*.log")]
    assert len(logs) == 4
    assert "Traceback" not in "".join(logs)
    assert any("the database is back after" in log for log in logs)
    assert "the database is back after" in said  # the head waited, too
    until(lambda: not members(command.pid))
    check_passwords(folder, said)


def test_a_server_that_stays_away_ends_the_sweep_and_the_same_command_goes_on(tmp_path: Path, server: Server) -> None:
    folder = tmp_path / "away"
    slow = "+callbacks.slow._target_=tests.sweeps.test_kills.Slow"
    command = words("away", "sweep.n_trials=1", "sweep.patience=2", "trainer.max_epochs=12", slow)
    head = start(folder, *command, PROJECT_SWEEP_STORAGE=server.url, SECONDS_OF_A_STEP="0.1")
    until(lambda: (folder / "0" / "checkpoints" / "last.ckpt").exists(), 120)
    server.stop("immediate")
    try:
        code, said = finish(head)
        assert code == 1, said
        assert "has been away for" in said.splitlines()[-1]
        assert "The same command goes on when it is back" in said.splitlines()[-1]
        assert "Traceback" not in said
        assert "writing a checkpoint, then stopping" in (folder / "0" / "train.log").read_text()
        until(lambda: not members(head.pid))
        check_passwords(folder, said)
    finally:
        server.start()
    code, said = finish(start(folder, *command, PROJECT_SWEEP_STORAGE=server.url))
    assert code == 0, said
    assert {trial.number: trial.state.name for trial in trials(folder, server.url, "away")} == {0: "COMPLETE"}
    assert "going on at step" in (folder / "0" / "train.log").read_text()
