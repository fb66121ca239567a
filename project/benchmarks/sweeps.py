"""Speed of sweeps, against the loop of batches that Hydra's Optuna sweeper uses, and against sweeps without pruning.

Only the trainings are stood in for (`sweep_objectives`); commands, launchers, workers and studies are the real ones.
"""

import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from project.benchmarks.measuring import Figure
from project.benchmarks.sweep_objectives import FakeTraining
from project.benchmarks.sweep_runs import epochs_to, ideal, run_sweep
from project.runs.folder import write_json
from project.runs.provenance import hardware
from project.runs.tables import table

Found = tuple[dict[str, Any], str]  # figures, and what is printed of them


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Args:
        repeats: of everything, each with a seed of its own.
        trials: of `wall`.
        longest: seconds of a training of `wall`; the shortest takes a tenth.
        launcher: of `wall`; joblib where it is installed, whose workers import torch anew.
        skewed: trials of `busy`.
        workers: of `busy`.
        short: seconds of three quarters of the trainings of `busy`; the others take five times as long.
        empty: trials of `overhead`.
        studies: trials of the studies of `storage`.
        grace: seconds after which Optuna's own lock is broken, in `locks`.
        pruned: trials of `pruning`.
        epochs: of each.
    """

    repeats: int = 5
    trials: int = 30
    longest: float = 2.0
    launcher: str = "joblib"
    skewed: int = 48
    workers: int = 8
    short: float = 0.5
    empty: int = 60
    studies: tuple[int, ...] = (10, 1_000, 10_000)
    grace: int = 30
    pruned: int = 60
    epochs: int = 20


QUICK = Scale(
    repeats=1, trials=4, longest=0.2, launcher="local", skewed=6, workers=2, short=0.05, empty=4, studies=(10, 30),
    grace=3, pruned=18, epochs=4,
)  # fmt: skip


def sweeps(parts: Sequence[str], scale: Scale, results: Path | None) -> Iterator[str]:
    """Measure those `parts` of `NAMES`; a text for each, and one on the machine.

    Args:
        results: takes all figures, as JSON.
    """
    machine = {**hardware(), "packages": {name: version(name) for name in ("optuna", "hydra-core", "torch")}}
    figures: dict[str, Any] = {"machine": machine, "scale": asdict(scale)}
    for name in parts:
        with tempfile.TemporaryDirectory(prefix="sweeps-") as folder:
            figures[name], text = NAMES[name](scale, Path(folder).resolve())
        yield f"{name}: {text}\n"
        if results is not None:
            write_json(results, figures)
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    repeats = f"{scale.repeats} repeats" if scale.repeats > 1 else "1 repeat"
    yield f"{repeats}, {packages}, {machine['processor']}, {machine['cores']} cores"


# what fits into a few minutes
OF_ALL = replace(Scale(), repeats=1, studies=(10, 1_000, 10_000), grace=5, pruned=40, epochs=10)


def measured(scale: Scale) -> dict[str, dict[str, Any]]:
    """All parts' figures."""
    found: dict[str, dict[str, Any]] = {}
    for name, measure in NAMES.items():
        with tempfile.TemporaryDirectory(prefix="sweeps-") as folder:
            found[name], _ = measure(scale, Path(folder).resolve())
    return found


def sweep_figures(found: dict[str, Any], scale: Scale) -> list[Figure]:
    """What was measured of sweeps, in short."""
    wall, busy = found["wall"], found["busy"]
    over = {
        side: [run["wall"] / ideal for run, ideal in zip(wall[side], wall["ideal"], strict=True)]
        for side in ("ours", "batches")
    }
    shares = {
        side: [100 * even / run["wall"] for run, even in zip(busy[side], busy["even"], strict=True)]
        for side in ("ours", "batches")
    }
    many = f"{scale.workers} workers, {scale.skewed} trials, a quarter five times as long"
    most = str(scale.studies[-1])
    stalls = [seconds for name, part in found["locks"].items() if "Optuna" not in name for seconds in part["seconds"]]
    pruned, plain = (
        [float(run["to the best"]) for run in found["pruning"][name]] for name in ("median pruner", "not pruned")
    )
    return [
        Figure(
            "2 workers: wall time / ideal; reference: batches", "", over["ours"], over["batches"], "<= 1.08", "value"
        ),
        Figure(f"{many}: busy; reference: batches", "%", shares["ours"], shares["batches"], ">= 85", "value"),
        Figure("a trial beyond its training (basic)", "ms", found["overhead"]["ms"]["ours, basic"], target="<= 60"),
        Figure(f"ask and tell at {most} trials, TPE, journal", "ms", [found["storage"]["ours"][most]], target="<= 100"),
        Figure("longest wait for a dead process's lock", "s", [max(stalls)], target="<= 1"),
        Figure("epochs to the best value, median pruner against none", "epochs", pruned, plain),
    ]


def wall_time(scale: Scale, folder: Path) -> Found:
    """Two workers: how much longer than the ideal schedule of the same durations."""
    missing = scale.launcher == "joblib" and find_spec("hydra_plugins.hydra_joblib_launcher") is None
    name = "local" if missing else scale.launcher
    launcher = [f"hydra/launcher={name}", *(["hydra.launcher.n_jobs=2"] if name == "joblib" else [])]

    def durations(draw: random.Random) -> tuple[float, ...]:
        return tuple(draw.uniform(scale.longest / 10, scale.longest) for _ in range(scale.trials))

    found = _in_turn(scale.repeats, durations, 2, launcher, folder)
    said = "\nhydra-joblib-launcher is not installed: both sides use the launcher local" if missing else ""
    head = f"2 workers ({name}), {scale.trials} trials of {scale.longest / 10:g} to {scale.longest:g} s"
    return found, f"{head}\n{_schedules(found)}{said}"


def busy_share(scale: Scale, folder: Path) -> Found:
    """Many workers, and a few trials that take five times as long as the others."""

    def durations(draw: random.Random) -> tuple[float, ...]:
        long = set(draw.sample(range(scale.skewed), scale.skewed // 4))
        return tuple(scale.short * (5 if number in long else 1) for number in range(scale.skewed))

    found = _in_turn(scale.repeats, durations, scale.workers, ["hydra/launcher=local"], folder)
    trials = f"{scale.skewed} trials, a quarter {5 * scale.short:g} s, the others {scale.short:g} s"
    head = f"{scale.workers} workers (local), {trials}"
    return found, f"{head}\n{_schedules(found)}"


def overhead(scale: Scale, folder: Path) -> Found:
    """Milliseconds between two trainings of one worker."""
    launchers = {"ours": ["basic", "local"], "batches": ["basic"]}
    found: dict[str, Any] = {}
    calls: dict[str, list[float]] = {}
    for repeat in range(scale.repeats):
        for side, names in launchers.items():
            for name in names:
                training = FakeTraining(str(folder), seed=repeat, parts=side == "ours" and name == "basic")
                run = run_sweep(side, training, scale.empty, 1, [f"hydra/launcher={name}"])
                between = 1e3 * (run.wall - run.trained) / (len(run.lines) - 1)
                found.setdefault(f"{side}, {name}", []).append(between)
                for part, seconds in run.parts:
                    calls.setdefault(part, []).append(1e3 * seconds)
    parts = {part: median(times) for part, times in calls.items()}
    rows = [{"ms a trial": name, **_spread(times, ".1f")} for name, times in found.items()]
    said = ", ".join(f"{part} {time:.1f} ms" for part, time in parts.items())
    head = f"one worker, {scale.empty} trials that train nothing: from a training's end to the next one's begin"
    notes = f"of ours, basic, medians of the calls: {said}\nin batches of one; basic: in the command's own process"
    return {"ms": found, "parts": parts}, f"{head}\n{table(rows)}\n{notes}"


def storage(scale: Scale, folder: Path) -> Found:
    """What the study itself takes, with few and with many trials."""
    from project.benchmarks.sweep_storage import ask_and_tell

    return ask_and_tell(folder, list(scale.studies), max(3, 2 * scale.repeats))


def locks(scale: Scale, folder: Path) -> Found:
    """How long the dead keep the living waiting."""
    from project.benchmarks.sweep_storage import stalls

    return stalls(folder, 2 * scale.repeats, scale.grace)


def pruning(scale: Scale, folder: Path) -> Found:
    """Epochs to the best value, one worker, the same sampler seed with and without pruning."""
    sides = {"not pruned": "none", "median pruner": "median", "successive halving": "halving"}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for repeat in range(scale.repeats):
        curves: dict[str, list[list[float]]] = {}
        for name, pruner in sides.items():
            training = FakeTraining(str(folder), epochs=scale.epochs, seed=repeat)
            words = ["hydra/launcher=local", f"sweep.seed={repeat}", f"sweep/pruner={pruner}"]
            run = run_sweep("ours", training, scale.pruned, 1, words)
            curves[name] = [line["values"] for line in run.lines]
        best = {name: max(max(curve) for curve in of) for name, of in curves.items()}
        for name, of in curves.items():
            found[name].append(
                {
                    "best": best[name],
                    "epochs": sum(len(curve) for curve in of),
                    "trials stopped early": sum(len(curve) < scale.epochs for curve in of),
                    "to the best": epochs_to(best[name], of),
                    "to the least best of all": epochs_to(min(best.values()), of),
                }
            )
    rows = [
        {"medians": name, **{what: f"{median(run[what] for run in runs):.4g}" for what in runs[0]}}
        for name, runs in found.items()
    ]
    plain = found["not pruned"]
    ratios = {
        name: {
            what: median(run[what] / other[what] for run, other in zip(runs, plain, strict=True))
            for what in ("epochs", "to the best", "to the least best of all")
        }
        for name, runs in found.items()
        if runs is not plain
    }
    rows += [
        {"medians": f"{name} / not pruned", **{what: f"{ratio:.2f}" for what, ratio in of.items()}}
        for name, of in ratios.items()
    ]
    head = f"one worker, {scale.pruned} trials of {scale.epochs} epochs, 5 parameters, TPE, the same seeds"
    note = "epochs are those of all trials together; the least best of all: a value that every side reaches"
    return {**found, "ratios": ratios}, f"{head}\n{table(rows)}\n{note}"


def _in_turn(
    repeats: int,
    durations: Callable[[random.Random], tuple[float, ...]],
    workers: int,
    words: Sequence[str],
    folder: Path,
) -> dict[str, Any]:
    """Both sides on the same durations, one after the other, with new durations for each repeat."""
    found: dict[str, Any] = {"ideal": [], "even": [], "ours": [], "batches": []}
    for repeat in range(repeats):
        seconds = durations(random.Random(repeat))
        found["ideal"].append(ideal(seconds, workers))
        found["even"].append(sum(seconds) / workers)
        for side in ("ours", "batches"):
            training = FakeTraining(str(folder), durations=seconds, seed=repeat)
            run = run_sweep(side, training, len(seconds), workers, words)
            found[side].append({"wall": run.wall, "whole": run.whole, "busy": run.busy(workers)})
    return found


def _schedules(found: dict[str, Any]) -> str:
    rows = []
    for side in ("ours", "batches"):
        walls = [run["wall"] for run in found[side]]
        over = [wall / perfect for wall, perfect in zip(walls, found["ideal"], strict=True)]
        rows.append(
            {
                "": side,
                "wall s": f"{median(walls):.2f}",
                "wall / ideal": f"{median(over):.3f}",
                "from": f"{min(over):.3f}",
                "to": f"{max(over):.3f}",
                "% busy": f"{_busy(found['even'], walls):.0f}",
                "while some wait": f"{median(run['busy'] for run in found[side]):.0f}",
                "with start-up s": f"{median(run['whole'] for run in found[side]):.2f}",
            }
        )
    return (
        f"{table(rows)}\nwall: from the first training's begin to the last one's end; the workers train for % busy of "
        f"this time; while some wait: the same until the last trial is begun\n"
        f"ideal: whoever is free takes the next, without overhead: {median(found['ideal']):.2f} s, "
        f"{_busy(found['even'], found['ideal']):.0f} % busy; if all ended at once: {median(found['even']):.2f} s"
    )


def _busy(even: list[float], walls: list[float]) -> float:
    """Per cent of the workers' time in which they train."""
    return 100 * median(least / wall for least, wall in zip(even, walls, strict=True))


def _spread(values: list[float], form: str) -> dict[str, str]:
    figures = {"median": median(values), "min": min(values), "max": max(values)}
    return {name: format(value, form) for name, value in figures.items()}


NAMES: dict[str, Callable[[Scale, Path], Found]] = {
    "wall": wall_time,
    "busy": busy_share,
    "overhead": overhead,
    "storage": storage,
    "locks": locks,
    "pruning": pruning,
}
