"""Sweeps on a real PostgreSQL server that is stopped, started and cut off: no trial is lost, doubled or failed."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from project.benchmarks.postgres import Server
from tests.sweeps.postgres import PASSWORD, postgres, quoted
from tests.sweeps.sweeping import SPACE, finish, members, numbers, rows, start, sweep, trials, until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres() as made:
        yield made


def words(server: Server, study: str, *more: str) -> list[str]:
    return [SPACE, f"sweep.storage={server.url}", f"sweep.study_name={study}", "sweep/pruner=none", *more]


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_a_server_that_is_restarted_costs_no_trial(tmp_path: Path, server: Server, how: str) -> None:
    folder = tmp_path / how
    command = start(folder, *words(server, how, "sweep.workers=4", "sweep.n_trials=12", "trainer.max_epochs=10"))
    until(lambda: len(list(folder.glob("*/checkpoints/last.ckpt"))) >= 4)
    server.stop(how)
    time.sleep(4)
    server.start()
    code, said = finish(command)
    assert code == 0, said
    logs = "".join(path.read_text() for path in (folder / ".workers").glob("*.log"))
    assert "Traceback" not in logs, logs
    print(said, logs)
