"""The benchmark of sweeps runs, and its figures fit together; how fast they are is for the reader to see."""

import json
from pathlib import Path
from typing import Any

import pytest

from project.benchmark import SWEEP_PARTS
from project.benchmarks.sweep_runs import Run, epochs_to, ideal
from project.benchmarks.sweeps import NAMES, QUICK, sweep_figures, sweeps
from tests.commands import forked, run_module

Figures = dict[str, Any]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Figures]:
    """The texts and the figures of all parts; the commands are forked, since each takes seconds to import torch."""
    results = tmp_path_factory.mktemp("benchmark") / "figures.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("project.benchmarks.sweep_runs.run_module", forked)
        texts = list(sweeps(SWEEP_PARTS, QUICK, results))
    return texts, json.loads(results.read_text(encoding="utf-8"))


def test_the_ideal_gives_the_next_training_to_whoever_is_free() -> None:
    assert ideal([3, 1, 1, 1, 2], 2) == 5  # one: 3, 2; the other: 1, 1, 1
    assert ideal([1, 2, 3], 1) == 6
    assert ideal([1, 2, 3], 3) == 3


def test_epochs_are_counted_over_all_trials() -> None:
    curves = [[0.1, 0.5], [0.2], [0.3, 0.6, 0.9]]
    assert [epochs_to(value, curves) for value in (0.1, 0.5, 0.6, 0.9)] == [1, 2, 5, 6]
    with pytest.raises(ValueError, match="no epoch reached 1"):
        epochs_to(1.0, curves)


def test_the_wall_time_begins_and_ends_with_trainings() -> None:
    run = Run([{"begin": 12.0, "end": 13.0}, {"begin": 10.0, "end": 14.5}], whole=9.0, parts=[])
    assert (run.wall, run.trained) == (4.5, 5.5)


def test_workers_are_busy_or_not_while_trials_wait() -> None:
    lines = [{"begin": 10.0, "end": 12.0}, {"begin": 10.0, "end": 16.0}, {"begin": 14.0, "end": 99.0}]
    assert Run(lines, whole=0.0, parts=[]).busy(2) == 100 * (2 + 4) / (2 * 4)
    assert Run(lines[:1], whole=0.0, parts=[]).busy(2) == 100


def test_the_command_names_every_part() -> None:
    assert tuple(NAMES) == SWEEP_PARTS


@pytest.mark.slow
def test_a_part_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    done = run_module("project.benchmark", "sweep", "--parts", "speed", cwd=tmp_path)
    assert done.returncode == 2
    assert "invalid choice: 'speed'" in done.stderr


@pytest.mark.slow
def test_every_part_is_shown_and_kept(measured: tuple[list[str], Figures]) -> None:
    texts, figures = measured
    assert [text.partition(":")[0] for text in texts[:-1]] == list(SWEEP_PARTS)
    assert list(figures) == ["machine", "scale", *SWEEP_PARTS]
    assert texts[-1].startswith("1 repeat, optuna ")
    assert texts[-1].endswith(f", {figures['machine']['cores']} cores")


@pytest.mark.slow
@pytest.mark.parametrize("part", ["wall", "busy"])
def test_no_schedule_beats_the_ideal_one(measured: tuple[list[str], Figures], part: str) -> None:
    found = measured[1][part]
    assert found["even"][0] <= found["ideal"][0]
    for side in ("ours", "batches"):
        assert found["ideal"][0] <= found[side][0]["wall"] < found[side][0]["whole"]
        assert 0 < found[side][0]["busy"] <= 100


@pytest.mark.slow
def test_the_overhead_is_more_than_its_parts(measured: tuple[list[str], Figures]) -> None:
    found = measured[1]["overhead"]
    assert list(found["ms"]) == ["ours, basic", "ours, local", "batches, basic"]
    assert set(found["parts"]) == {"claim", "suggest", "compose", "tell"}
    assert 0 < sum(found["parts"].values()) < found["ms"]["ours, basic"][0]


@pytest.mark.slow
def test_every_size_of_study_is_measured(measured: tuple[list[str], Figures]) -> None:
    found = measured[1]["storage"]
    assert list(found) == ["ours", "ask", "suggest", "tell", "journal", "memory"]
    assert all(list(times) == ["10", "30"] and min(times.values()) > 0 for times in found.values())


@pytest.mark.slow
def test_the_dead_hold_up_nobody_and_break_nothing(measured: tuple[list[str], Figures]) -> None:
    *ours, optuna = measured[1]["locks"].items()
    assert [name for name, _ in ours] == ["holding its locks", "in half a line", "while it writes"]
    for _, found in ours:
        assert len(found["seconds"]) == 2
        assert found["study"] == ["every trial there"]
        assert max(found["seconds"]) < QUICK.grace  # nobody waited for a lock to be broken
    assert optuna[1]["seconds"][0] >= QUICK.grace
    assert optuna[1]["study"] == ["unreadable: ValueError"]


@pytest.mark.slow
def test_the_short_table_holds_the_same_figures(measured: tuple[list[str], Figures]) -> None:
    found = measured[1]
    figures = {figure.what.partition(":")[0]: figure for figure in sweep_figures(found, QUICK)}
    ours = found["wall"]["ours"][0]["wall"] / found["wall"]["ideal"][0]
    assert list(figures["2 workers"].ours) == [ours]
    busy = figures[f"{QUICK.workers} workers, {QUICK.skewed} trials, a quarter five times as long"]
    assert 0 < busy.reference[0] < 100
    assert list(figures["a trial beyond its training (basic)"].ours) == found["overhead"]["ms"]["ours, basic"]
    assert list(figures["ask and tell at 30 trials, TPE, journal"].ours) == [found["storage"]["ours"]["30"]]
    assert figures["longest wait for a dead process's lock"].reached in (True, False)


@pytest.mark.slow
def test_pruning_saves_epochs(measured: tuple[list[str], Figures]) -> None:
    found = measured[1]["pruning"]
    plain, median = found["not pruned"][0], found["median pruner"][0]
    assert plain["epochs"] == QUICK.pruned * QUICK.epochs
    assert plain["trials stopped early"] == 0
    for name in ("median pruner", "successive halving"):
        run = found[name][0]
        assert run["trials stopped early"] > 0
        assert QUICK.pruned <= run["epochs"] < plain["epochs"]
        assert run["to the least best of all"] <= run["to the best"] <= run["epochs"]
        assert found["ratios"][name]["epochs"] == run["epochs"] / plain["epochs"]
    assert median["best"] <= 1
