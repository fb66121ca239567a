"""How long a sweep's study takes to answer: with thousands of trials, and after a process was killed with its lock."""

import multiprocessing as mp
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import optuna
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import TrialState, create_trial

from project.benchmarks.sweep_objectives import SPACE
from project.runs.command import CONF
from project.runs.tables import table
from project.sweeps.drawing import sampler_for
from project.sweeps.owners import Owner, living
from project.sweeps.shared_study import SharedStudy
from project.sweeps.space import Space, parse
from project.sweeps.storage import JOURNAL

SAMPLER = CONF / "sweep" / "sampler" / "tpe.yaml"
MANY = 10**9  # trials, which no study reaches here
HALF = b'{"op_code":8,"worker_id":"killed","trial_id":0,"user_at'


def ask_and_tell(folder: Path, sizes: list[int], repeats: int) -> tuple[dict[str, Any], str]:
    """Milliseconds to ask for a trial, suggest five parameters and tell its value, in studies of so many trials.

    Args:
        folder: to work in.
        sizes: of the studies, in rising order.
        repeats: trials of each study and size; the sides take turns.

    Returns:
        The medians, and a table of them.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space, draw = searched(), random.Random(0)
    shared = _open(folder / "ours")
    memory = optuna.create_study(sampler=new_sampler(0))
    figures: dict[str, dict[str, float]] = {
        name: {} for name in ("ours", "ask", "suggest", "tell", "journal", "memory")
    }
    with living(folder / "ours") as owner:
        for size in sizes:
            trials = [drawn_trial(space, draw) for _ in range(size - len(shared.trials()))]
            shared.study.add_trials(trials)
            memory.add_trials(trials)
            copy = folder / f"{size}.journal"
            shutil.copy(folder / "ours" / JOURNAL, copy)  # the file's form is Optuna's own
            journal = optuna.load_study(
                study_name="speed", storage=JournalStorage(JournalFileBackend(str(copy))), sampler=new_sampler(0)
            )
            times: dict[str, list[float]] = {name: [] for name in figures}
            for repeat in range(repeats + 1):
                parts = _one_of_ours(shared, owner, space, repeat)
                turn = {"ours": sum(parts), **dict(zip(("ask", "suggest", "tell"), parts, strict=True))}
                turn |= {
                    name: _one_of_optuna(study, space) for name, study in (("journal", journal), ("memory", memory))
                }
                for name, seconds in turn.items():
                    times[name] += [1e3 * seconds] if repeat else []  # the first is a warm-up
            for name, found in times.items():
                figures[name][str(size)] = median(found)
    said = {
        "ours": "ours: journal file",
        "ask": "  of it: claim",
        "suggest": "  of it: suggest",
        "tell": "  of it: finish",
        "journal": "Optuna alone: journal file",
        "memory": "Optuna alone: in memory",
    }
    rows = [
        {"ms, at so many trials": text, **{f"{int(size):,}": f"{figures[name][size]:.1f}" for size in figures[name]}}
        for name, text in said.items()
    ]
    what = f"ask, suggest {len(space.distributions)} parameters (TPE, multivariate, constant liar), tell"
    return figures, f"{table(rows)}\n{what}; medians of {repeats} turns"


def searched() -> Space:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return parse({}, SPACE, GlobalHydra.instance().config_loader())


def new_sampler(number: int) -> BaseSampler:
    """As a worker makes it for every trial."""
    sampler = sampler_for(OmegaConf.to_container(OmegaConf.load(SAMPLER)), 0, number)  # type: ignore[arg-type]
    assert sampler is not None
    return sampler


def _open(folder: Path) -> SharedStudy:
    return SharedStudy("speed", None, folder, ["minimize"], heartbeat=15)


def drawn_trial(space: Space, draw: random.Random) -> optuna.trial.FrozenTrial:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=draw.randrange(2**32)))
    drawn = study.ask(space.distributions)
    return create_trial(params=drawn.params, distributions=space.distributions, value=draw.random())


def _one_of_ours(shared: SharedStudy, owner: Owner, space: Space, number: int) -> tuple[float, float, float]:
    """Seconds of the three steps that a worker takes."""
    begin = time.perf_counter()
    claim = shared.claim(owner, MANY, 0)
    assert claim is not None
    asked = time.perf_counter()
    shared.draw_with(new_sampler(claim.number))
    space.suggest(shared.trial(claim))
    suggested = time.perf_counter()
    shared.finish(claim, TrialState.COMPLETE, [random.Random(number).random()])
    return asked - begin, suggested - asked, time.perf_counter() - suggested


def _one_of_optuna(study: optuna.Study, space: Space) -> float:
    begin = time.perf_counter()
    trial = study.ask()
    space.suggest(trial)
    study.tell(trial, 0.5)
    return time.perf_counter() - begin


def stalls(folder: Path, kills: int, grace: int = 30) -> tuple[dict[str, Any], str]:
    """Seconds that the next writer waits after `kill -9` of a process with the study's locks.

    Args:
        folder: to work in.
        kills: of each kind.
        grace: seconds after which Optuna's own lock is taken for a dead process's (its default: 30); 0: leave it out.

    Returns:
        Seconds and what became of the file, and a table.
    """
    figures: dict[str, Any] = {}
    for name, victim in (("holding its locks", _hold), ("in half a line", _tear), ("while it writes", _write)):
        waits = [_after(folder / f"{name}-{index}", victim, index, _open, _write_one) for index in range(kills)]
        figures[name] = {"seconds": [wait for wait, _ in waits], "study": sorted({state for _, state in waits})}
    if grace:
        wait, state = _after(folder / "optuna", _tear_optuna, 0, partial(_open_optuna, grace=grace), _ask_optuna)
        figures["Optuna alone: in half a line"] = {"seconds": [wait], "study": [state]}
    rows = [
        {
            "killed": name,
            "kills": len(found["seconds"]),
            "median s": f"{median(found['seconds']):.3f}",
            "longest s": f"{max(found['seconds']):.3f}",
            "then": "; ".join(found["study"]),
        }
        for name, found in figures.items()
    ]
    note = f"\nOptuna's lock with a grace period of {grace} s (its default: 30)" if grace else ""
    return figures, f"{table(rows)}{note}"


def _after(
    folder: Path, victim: Callable[..., None], seed: int, opened: Callable[[Path], Any], write: Callable[[Any], int]
) -> tuple[float, str]:
    """Kill a victim; seconds until another process has written, and what a third one finds."""
    folder.mkdir(parents=True)
    study = opened(folder)
    before = write(study)
    context = mp.get_context("forkserver")  # nothing of this process is in the victim but what it is given
    context.set_forkserver_preload([__name__])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=victim, args=(folder, sender), daemon=True)
    process.start()
    receiver.recv()
    time.sleep(random.Random(seed).random() / 10)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    begin = time.perf_counter()
    try:
        number = write(study)
    except Exception as error:
        return time.perf_counter() - begin, f"unreadable: {type(error).__name__}"
    seconds = time.perf_counter() - begin
    process.join()
    try:
        count = len(opened(folder).trials()) if write is _write_one else len(opened(folder).trials)
    except Exception as error:
        return seconds, f"unreadable: {type(error).__name__}"
    return seconds, "every trial there" if count == number + 1 > before else f"{count} trials of {number + 1}"


def _write_one(shared: SharedStudy) -> int:
    with living(Path(shared.storage._backend._file_path).parent) as owner:  # type: ignore[attr-defined]
        claim = shared.claim(owner, MANY, 0)
        assert claim is not None
        shared.finish(claim, TrialState.COMPLETE, [0.0])
        return claim.number


def _open_optuna(folder: Path, grace: int) -> optuna.Study:
    path = str(folder / JOURNAL)
    storage = JournalStorage(JournalFileBackend(path, JournalFileSymlinkLock(path, grace)))
    return optuna.create_study(study_name="speed", storage=storage, load_if_exists=True)


def _ask_optuna(study: optuna.Study) -> int:
    trial = study.ask()
    study.tell(trial, 0.0)
    return trial.number


@contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    shared = _open(folder)
    with shared.lock(), shared.storage._backend._locked():  # type: ignore[attr-defined]
        yield folder / JOURNAL


def _hold(folder: Path, held: Any) -> None:
    with _locked(folder):
        held.send(True)
        time.sleep(600)


def _tear(folder: Path, held: Any) -> None:
    with _locked(folder) as path, path.open("ab", buffering=0) as file:
        file.write(HALF)
        held.send(True)
        time.sleep(600)


def _write(folder: Path, held: Any) -> None:
    shared = _open(folder)
    _write_one(shared)
    held.send(True)
    with living(folder) as owner:
        while True:
            claim = shared.claim(owner, MANY, 0)
            assert claim is not None
            shared.note(claim, seconds=1.0)
            shared.finish(claim, TrialState.COMPLETE, [0.0])


def _tear_optuna(folder: Path, held: Any) -> None:
    path = folder / JOURNAL
    JournalFileSymlinkLock(str(path)).acquire()
    with path.open("ab", buffering=0) as file:
        file.write(HALF)
        held.send(True)
        time.sleep(600)
