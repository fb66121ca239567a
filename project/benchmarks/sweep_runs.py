"""One command of a sweep whose trainings are stood in for, and what its times come to."""

import heapq
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from project.benchmarks.processes import run_module
from project.benchmarks.sweep_objectives import LOG, PARTS, SPACE, FakeTraining


@dataclass(frozen=True)
class Run:
    """What one command came to.

    Args:
        lines: of each training its `number`, `begin`, `end` and `values`, in the order in which they ended.
        whole: seconds from the command to its end.
        parts: name and seconds of every call around the trainings; empty if that was not measured.
    """

    lines: list[dict[str, Any]]
    whole: float
    parts: list[tuple[str, float]]

    @property
    def wall(self) -> float:
        """Seconds from the first training's begin to the last one's end."""
        return max(line["end"] for line in self.lines) - min(line["begin"] for line in self.lines)

    def busy(self, workers: int) -> float:
        """Per cent of the workers' time in which they train, as long as there are trials that nobody has begun."""
        first, last = (of(line["begin"] for line in self.lines) for of in (min, max))
        trained = sum(max(0.0, min(line["end"], last) - line["begin"]) for line in self.lines)
        return 100 * float(trained) / (workers * (last - first)) if last > first else 100.0

    @property
    def trained(self) -> float:
        """Seconds of all trainings together."""
        return sum(float(line["end"] - line["begin"]) for line in self.lines)


def run_sweep(side: str, training: FakeTraining, trials: int, workers: int, words: Sequence[str]) -> Run:
    """Run one side of the comparison as a command of its own.

    Args:
        side: `ours` or `batches`.
        training: its folder takes a folder for this run.
        words: more of the command line.

    Raises:
        RuntimeError: the command failed, or lost a trial.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"{side}-", dir=training.folder))
    file = folder / "training.json"
    file.write_text(json.dumps(asdict(replace(training, folder=str(folder)))), encoding="utf-8")
    words = ["sweep=default", f"sweep.n_trials={trials}", f"sweep.workers={workers}", *SPACE, *words]
    begin = time.perf_counter()
    words = [side, str(file), "model=mlp", "data=shapes", *words]
    done = run_module("project.benchmarks.sweep_objectives", words, folder)
    whole = time.perf_counter() - begin
    log = folder / LOG
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    if done.returncode != 0 or sorted(line["number"] for line in lines) != list(range(trials)):
        raise RuntimeError(
            f"{side}: {len(lines)} of {trials} trials were trained\n{(done.stdout + done.stderr)[-2000:]}"
        )
    parts = folder / PARTS
    return Run(lines, whole, json.loads(parts.read_text(encoding="utf-8")) if parts.exists() else [])


def ideal(durations: Sequence[float], workers: int) -> float:
    """Seconds of the schedule without any overhead: whoever is free takes the next one in the order of the numbers."""
    free = [0.0] * workers
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


def epochs_to(value: float, curves: Sequence[Sequence[float]]) -> int:
    """Epochs trained, one trial after the other, until `value` is reached.

    Raises:
        ValueError: it never is.
    """
    for epochs, reached in enumerate((found for curve in curves for found in curve), start=1):
        if reached >= value:
            return epochs
    raise ValueError(f"no epoch reached {value}")
