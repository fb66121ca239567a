"""Many simulated workers on one study: each trial is trained once, without an error, and the figures are told."""

from pathlib import Path
from statistics import median

import pytest

from project.benchmarks.scale import QUICK, at_once, scale
from tests.sweeps.postgres import postgres_url

pytestmark = pytest.mark.slow


def test_32_workers_take_each_trial_of_a_study_once(tmp_path: Path) -> None:
    with postgres_url() as url:
        found = at_once(url, tmp_path, "many", workers=32, trials=36, reports=1)
    assert found["errors"] == []
    assert found["numbers"] == list(range(36))
    assert len(found["claim"]) == 36 + 32  # each worker hears once that there is nothing left
    assert len(found["tell"]) == len(found["suggest"]) == 36
    assert 0 < median(found["claim"]) < found["seconds"]


def test_the_command_tells_throughput_and_how_long_a_claim_takes(capsys: pytest.CaptureFixture[str]) -> None:
    with postgres_url() as url:
        first, second = scale(QUICK, url)
    rows = [line.split() for line in first.splitlines()]
    assert [(row[0], row[1]) for row in rows[1:4]] == [
        (name, str(workers)) for name in ("journal", "SQLite", "server") for workers in QUICK.workers
    ]
    assert all("each once" in line for line in first.splitlines()[1:4])
    assert "claim ms p50" in first
    assert "trials running" in second
