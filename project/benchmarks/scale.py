"""How many workers a study bears: processes that claim, suggest, report and tell as a sweep's do, and train nothing."""

import json
import multiprocessing as mp
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from optuna.trial import TrialState, create_trial

from project.benchmarks.postgres import programs, server
from project.benchmarks.sweep_storage import drawn_trial, new_sampler, searched
from project.runs.tables import table
from project.sweeps.claims import OWNER
from project.sweeps.drawing import make_pruner
from project.sweeps.local_launcher import OF_A_DATABASE
from project.sweeps.owners import living
from project.sweeps.reporting import Reporter
from project.sweeps.settings import Settings
from project.sweeps.shared_study import SharedStudy

PRUNER = {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 5, "n_warmup_steps": 2}
HEARTBEAT = 3600.0  # seconds: nobody beats here, and nobody is to be taken for dead
Found = dict[str, Any]


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Args:
        workers: processes on one study.
        each: trials of each of them.
        reports: validations of a trial that is not pruned.
        crowds: trials that run at the same time, of which one is measured.
        turns: trials measured in each crowd.
    """

    workers: tuple[int, ...] = (1, 8, 32)
    each: int = 10
    reports: int = 5
    crowds: tuple[int, ...] = (10, 100, 1_000)
    turns: int = 5


QUICK = Scale(workers=(3,), each=2, reports=1, crowds=(3,), turns=1)


def scale(how: Scale, url: str | None) -> Iterator[str]:
    """Tables of how fast a study answers: with so many workers at once, and with so many trials running.

    Args:
        url: of a database server; None: one is started, if this machine has PostgreSQL.
    """
    with tempfile.TemporaryDirectory() as place, _storages(url, Path(place)) as storages:
        rows = []
        for name, address in storages.items():
            for workers in how.workers:
                found = at_once(address, Path(place), f"{name} {workers}", workers, workers * how.each, how.reports)
                rows.append(_row(name, workers, found))
        yield table(rows) + (
            f"\ntrials that train nothing: claim, 5 parameters (TPE, constant liar), {how.reports} validations, "
            "median pruner, tell; a trial's writes are its claim, parameters, facts, reports and end"
        )
        rows = [
            {
                "storage": name,
                "trials running": crowd,
                **in_a_crowd(address, Path(place), f"{name} crowd {crowd}", crowd, how),
            }
            for name, address in storages.items()
            for crowd in how.crowds
        ]
        yield table(rows) + f"\nmilliseconds of one more worker, medians of {how.turns} trials"


@contextmanager
def _storages(url: str | None, place: Path) -> Iterator[dict[str, str | None]]:
    files: dict[str, str | None] = {"journal": None, "SQLite": f"sqlite:///{place / 'study.db'}"}
    if url is not None:
        yield {**files, "server": url}
    elif programs() is not None:
        with server("none") as made:  # as it is installed: every commit reaches the disk
            yield {**files, "PostgreSQL": made.url}
    else:
        yield files


def at_once(url: str | None, place: Path, study: str, workers: int, trials: int, reports: int) -> Found:
    """What so many workers measured while they took the trials of one study.

    Returns:
        `seconds` of the whole; of each step the list of its `claim`, `suggest`, `report` and `tell` in seconds; the
        `numbers` of the trials that were trained, and the `errors`.
    """
    folder = place / study
    SharedStudy(study, url, folder, ["minimize"], HEARTBEAT)  # tables are there
    context = mp.get_context("forkserver")
    context.set_forkserver_preload([__name__, *(OF_A_DATABASE if url is not None else ())])
    ready = context.Barrier(workers + 1)
    receiver, sender = context.Pipe(duplex=False)
    writing = context.Lock()
    arguments = (study, url, folder, trials, reports, ready, sender, writing)
    processes = [context.Process(target=_work, args=arguments, daemon=True) for _ in range(workers)]
    for process in processes:
        process.start()
    try:
        ready.wait(300)
        begin = time.perf_counter()
        told = [json.loads(receiver.recv_bytes()) for _ in processes]
        seconds = time.perf_counter() - begin
    finally:
        for process in processes:
            process.join(10)
            process.kill()
    steps = {step: [value for one in told for value in one[step]] for step in ("claim", "suggest", "report", "tell")}
    numbers = sorted(number for one in told for number in one["numbers"])
    return {
        "seconds": seconds,
        "numbers": numbers,
        "errors": [error for one in told for error in one["errors"]],
        **steps,
    }


def _work(
    study: str, url: str | None, folder: Path, trials: int, reports: int, ready: Any, sender: Any, writing: Any
) -> None:
    found: dict[str, list[Any]] = {name: [] for name in ("claim", "suggest", "report", "tell", "numbers", "errors")}
    try:
        shared = SharedStudy(study, url, folder, ["minimize"], HEARTBEAT)
        shared.study.pruner = make_pruner(PRUNER)
        settings, space = Settings(study), searched()
        ready.wait(300)
        with living(folder) as owner:
            while True:
                with _timed(found["claim"]):
                    claim = shared.claim(owner, trials, 2)
                if claim is None:
                    break
                with _timed(found["suggest"]):
                    shared.draw_with(new_sampler(claim.number))
                    words = space.suggest(shared.trial(claim))
                    shared.note(claim, overrides=words, threads=1)
                reporter, stop = Reporter(shared, claim, settings, 0, prunes=True), False
                reporter.began(1000, reports)
                for number in range(1, reports + 1):
                    with _timed(found["report"]):
                        stop = reporter.report(number, hash((claim.number, number)) % 1000 / 1000)
                    if stop:
                        break
                with _timed(found["tell"]):
                    values = None if stop else [claim.number % 7 / 7]
                    shared.finish(claim, TrialState.PRUNED if stop else TrialState.COMPLETE, values, seconds=0.0)
                found["numbers"].append(claim.number)
    except Exception as error:
        found["errors"].append(f"{type(error).__name__}: {error}")
        ready.abort()
    with writing:
        sender.send_bytes(json.dumps(found).encode())


@contextmanager
def _timed(times: list[float]) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    times.append(time.perf_counter() - begin)


def _row(name: str, workers: int, found: Found) -> dict[str, Any]:
    trials = len(found["numbers"])
    exact = found["numbers"] == list(range(trials)) and not found["errors"]
    writes = 10 * trials + len(found["report"])  # a claim's 4, 2 notes of the parameters and 2 of the network, ...
    claims = found["claim"]
    return {
        "storage": name,
        "workers": workers,
        "trials": f"{trials}, each once" if exact else f"{trials}: {found['errors'][:1] or 'some twice or never'}",
        "trials/s": f"{trials / found['seconds']:.1f}",
        "writes/s": f"{writes / found['seconds']:.0f}",
        "claim ms p50": f"{1e3 * median(claims):.0f}",
        "p95": f"{1e3 * quantiles(claims, n=20)[-1]:.0f}",
        "report ms p50": f"{1e3 * median(found['report']):.0f}",
        "tell ms p50": f"{1e3 * median(found['tell']):.0f}",
    }


def in_a_crowd(url: str | None, place: Path, study: str, crowd: int, how: Scale) -> dict[str, str]:
    """Milliseconds of the steps of one more worker, beside so many trials that run elsewhere."""
    shared = SharedStudy(study, url, place / study, ["minimize"], HEARTBEAT)
    shared.study.pruner = make_pruner(PRUNER)
    space, draw = searched(), random.Random(0)
    times: dict[str, list[float]] = {step: [] for step in ("claim", "suggest", "report", "tell")}
    with living(place / study) as owner:
        elsewhere = {**owner.record(), "machine": "elsewhere"}
        for _ in range(crowd):
            shared.study.add_trial(_running(space, draw, how.reports, elsewhere))
        if shared.beats_in_storage:
            for trial in shared.trials():
                shared.storage.record_heartbeat(trial._trial_id)  # type: ignore[attr-defined]
        for _ in range(how.turns):
            with _timed(times["claim"]):
                claim = shared.claim(owner, 10**9, 2)
            assert claim is not None
            with _timed(times["suggest"]):
                shared.draw_with(new_sampler(claim.number))
                space.suggest(shared.trial(claim))
            with _timed(times["report"]):
                Reporter(shared, claim, Settings(study), 0, prunes=True).report(1, 0.5)
            with _timed(times["tell"]):
                shared.finish(claim, TrialState.COMPLETE, [0.5])
    return {step: f"{1e3 * median(values):.0f}" for step, values in times.items()}


def _running(space: Any, draw: Any, reports: int, owner: dict[str, Any]) -> Any:
    drawn = drawn_trial(space, draw)
    attempt = {"worker": owner["token"], "machine": "elsewhere", "began": "2026-01-01T00:00:00", "ended": None}
    return create_trial(
        state=TrialState.RUNNING,
        params=drawn.params,
        distributions=drawn.distributions,
        intermediate_values={step: draw.random() for step in range(1, reports + 1)},
        system_attrs={OWNER: owner, "sweep:attempts": [attempt]},
        user_attrs={"overrides": [f"{key}={value}" for key, value in drawn.params.items()], "threads": 1},
    )
