"""Every launcher and every storage goes through the same contract: totals, numbers, pruning, failure, kill, resume."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.sweeps.postgres import PASSWORD, postgres_url, quoted
from tests.sweeps.sweeping import SPACE, finish, members, rows, start, sweep, trials, until, workers_of

pytestmark = pytest.mark.slow

LAUNCHERS = ("local", "basic", "joblib", "submitit_local")
STORAGES = ("sqlite", "postgresql")


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str | None]:
    kind = request.param
    if kind == "journal":
        yield None
    elif kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'studies.db'}"
    else:
        with postgres_url() as address:
            yield address


CASES = [("journal", launcher) for launcher in LAUNCHERS] + [(storage, "local") for storage in STORAGES]


@pytest.mark.parametrize(("url", "launcher"), CASES, indirect=["url"], ids=[" ".join(case) for case in CASES])
def test_contract(tmp_path: Path, url: str | None, launcher: str) -> None:
    folder = tmp_path / "sweep"
    words = [
        "optimizer.lr=choice(0.0001,0.002,0.02,0.08)",
        "sweep/sampler=grid",
        "sweep.constraints=[tests.sweeps.sweeping.fail_on_low_rates,tests.sweeps.sweeping.refuse_high_rates]",
        "sweep/pruner=median",
        "sweep.pruner.n_startup_trials=0",
        "sweep.workers=2",
        f"hydra/launcher={launcher}",
        *([] if url is None else [f"sweep.storage={url}"]),
    ]
    command = start(folder, *words)
    until(lambda: url is not None or workers_of(folder))
    if url is None:
        os.kill(workers_of(folder)[0], signal.SIGKILL)  # with the basic launcher that is the head itself
    code, said = finish(command)
    if launcher == "basic":
        assert code == -signal.SIGKILL
        code, said = sweep(folder, *words)
    assert code == 0, said
    found = trials(folder, url)
    assert [trial.number for trial in found] == [0, 1, 2, 3]
    assert [trial.params["optimizer.lr"] for trial in found] == [0.0001, 0.002, 0.02, 0.08]
    states = [trial.state.name for trial in found]
    assert states[0] == "FAIL"
    assert found[0].user_attrs["error"] == "ValueError: no such luck with 0.0001"
    assert "ValueError" in (folder / "0" / "error.txt").read_text()
    assert states[3] == "PRUNED"
    assert found[3].user_attrs["rejected"] == "lr 0.08 is above 0.05"
    assert set(states[1:3]) <= {"COMPLETE", "PRUNED"}
    assert "COMPLETE" in states[1:3]
    for trial in found[1:3]:
        assert sorted(trial.intermediate_values) == list(range(1, len(trial.intermediate_values) + 1))
        metrics = folder / str(trial.number) / "metrics.json"
        if trial.state.name == "COMPLETE":
            assert json.loads(metrics.read_text())["best"]["value"] == trial.value
            assert len(trial.intermediate_values) == 3
        else:
            assert trial.value == trial.intermediate_values[max(trial.intermediate_values)]
            assert not metrics.exists()
            assert (folder / str(trial.number) / "checkpoints" / "last.ckpt").exists()
        assert yaml.safe_load((folder / str(trial.number) / "parameters.yaml").read_text()) == trial.params
    table = rows(folder)
    assert {row["number"] for row in table} == {"0", "1", "2", "3"}
    if url is None:
        assert any(row["attempt"] == "2" for row in table), "the killed worker's trial was taken up again"
        assert "died" in [row["attempt_ended"] for row in table]
    until(lambda: not members(command.pid))
    for path in folder.rglob("*"):  # a password is written nowhere
        if path.is_file():
            assert PASSWORD.encode() not in path.read_bytes(), path
            assert quoted(PASSWORD).encode() not in path.read_bytes(), path
    assert PASSWORD not in said
    assert quoted(PASSWORD) not in said

    before = (folder / "trials.csv").read_text()
    code, said = sweep(folder, *words)  # nothing is left to do
    assert code == 0, said
    assert (folder / "trials.csv").read_text() == before


def test_a_study_goes_on_with_more_trials_and_other_workers_at_the_same_time(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    words = [SPACE, "sweep/pruner=none"]
    assert sweep(folder, *words, "sweep.n_trials=2")[0] == 0
    one = start(folder, *words, "sweep.n_trials=7", "sweep.workers=1")
    two = start(folder, *words, "sweep.n_trials=7", "sweep.workers=2")
    assert [finish(command)[0] for command in (one, two)] == [0, 0]
    found = trials(folder)
    assert [trial.number for trial in found] == list(range(7))
    assert {trial.state.name for trial in found} == {"COMPLETE"}
    assert len({trial.params["optimizer.lr"] for trial in found}) == 7  # no sample was drawn twice
