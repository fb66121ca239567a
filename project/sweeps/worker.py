"""A worker: takes a trial, trains it, takes the next, and waits for nobody."""

import contextlib
import gc
import logging
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import HydraContext
from omegaconf import DictConfig

from project.errors import NeverLogged, Stopped, UserError, stop_behind
from project.sweeps.claims import Claim, Lost
from project.sweeps.composing import Composer
from project.sweeps.drawing import grid_points, make_pruner
from project.sweeps.outcome import Failed, Outcome
from project.sweeps.owners import WORKERS, Owner, living, started
from project.sweeps.patience import Away
from project.sweeps.settings import Settings
from project.sweeps.shared_study import SharedStudy
from project.sweeps.space import Space
from project.sweeps.stops import forget_earlier_stops, heed_a_late_stop, stoppable, undisturbed

STORAGE = "PROJECT_SWEEP_STORAGE"  # in the environment: a database's URL may hold a password
POLL, LONGEST_POLL = 0.5, 5.0  # seconds
SECONDS_TO_STOP = 60.0  # then once more, which ends a training at once

Train = Callable[..., float]


@dataclass
class Orders:
    """What the head of a sweep tells its workers.

    Attributes:
        settings: the sweep's, without its storage, which the environment holds.
        space: what is searched.
        directions: `maximize` or `minimize`, for each of `settings.objectives`.
        folder: the sweep's.
        stop: a file; once it is there, workers write their checkpoints and stop.
        began: when this command began, in seconds since 1970; failures before it don't count.
        deadline: when workers stop, in seconds since 1970; None: never.
        threads: CPU threads of each worker; None: torch's choice.
        parent: the process without which its workers stop, and when it began; None: they go on without it (a
            cluster's).
    """

    settings: Settings
    space: Space
    directions: list[str]
    folder: Path
    stop: Path
    began: float
    deadline: float | None
    threads: int | None
    parent: tuple[int, str] | None


class Worker:
    """The task that a Hydra launcher runs, once per worker.

    Args:
        train: trains a config; `train(cfg, callbacks)` is its value.
        context: Hydra's, without callbacks of the head.
        master: the config of the sweep's command.
        orders: the head's.
    """

    def __init__(self, train: Train, context: HydraContext, master: DictConfig, orders: Orders) -> None:
        self.train, self.context, self.master, self.orders = train, context, master, orders
        self.claim: Claim | None = None
        self.leaves = False

    def __call__(self, cfg: DictConfig) -> int:
        """Train trials until none is left; their number."""
        orders, settings = self.orders, self.orders.settings
        number = HydraConfig.get().job.num
        log = orders.folder / WORKERS / f"{number}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        done = 0
        with log.open("a", buffering=1, encoding="utf-8") as file, _said_to(file), living(orders.folder) as owner:
            url = storage_url()
            shared = SharedStudy.waited_for(
                settings.study_name, url, orders.folder, orders.directions, settings.heartbeat, settings.patience, print
            )
            shared.patience.hurried = lambda: self.must_stop() or self._was_asked()
            shared.study.pruner = make_pruner(settings.pruner)
            points = grid_points(settings.sampler, orders.space)
            compose = Composer(self.context.config_loader, self.master, orders.space.fixed)
            _use_threads(orders.threads)
            forget_earlier_stops()
            with _imports_spared(), self._watched(shared, owner), stoppable():
                try:
                    while not self._is_over(shared):
                        claim = shared.claim(owner, settings.n_trials, settings.max_retries, points)
                        if claim is None:
                            if not self._waits_for_another_s(shared):
                                break
                            continue
                        self.claim = claim
                        done += self._run(shared, claim, compose)
                        self.claim = None
                        heed_a_late_stop()
                except Away as away:
                    print(away)
                    raise
                except Exception:
                    traceback.print_exc()
                    raise
                except Stopped as stopped:
                    self.leaves = True
                    print(stopped)
                    if orders.parent is not None and os.getpid() == orders.parent[0]:
                        orders.stop.write_text(str(stopped.signal))  # the head's own process was asked
        return done

    def stop(self) -> None:
        """Ask this worker, as the head does; for launchers on machines that may not share the sweep's folder."""
        self.orders.stop.parent.mkdir(parents=True, exist_ok=True)
        self.orders.stop.touch()

    def _waits_for_another_s(self, shared: SharedStudy) -> bool:
        """Until a trial is left by its worker, or this one must stop; False: all are finished."""
        wait = POLL
        while shared.unfinished():
            if self._is_over(shared) or shared.abandoned():
                return True
            time.sleep(wait)
            if shared.on_server:  # hundreds of workers may be idle at a sweep's end
                wait = min(1.2 * wait, LONGEST_POLL)
        return False

    def _run(self, shared: SharedStudy, claim: Claim, compose: Composer) -> int:
        """Train one trial and tell what it came to; 1 if it is finished."""
        outcome: Outcome
        folder = self.orders.folder / str(claim.number)
        try:
            from project.sweeps.trial import run_trial  # torch and lightning

            outcome = run_trial(self.train, self.context, shared, claim, compose, self.orders)
        except (Stopped, KeyboardInterrupt, SystemExit) as stopped:  # Lightning makes an exit of a KeyboardInterrupt
            self.leaves = True
            with undisturbed():
                shared.give_back(claim)
            raise stopped if isinstance(stopped, Stopped) else Stopped("stopped", signal.SIGINT) from stopped
        except Away:
            raise  # the trial stays this worker's, which ends: the next one goes on with it
        except NeverLogged:
            with undisturbed():
                shared.give_back(claim)  # a mistake of the sweep, and not of this trial
            raise
        except Lost:
            print(f"trial {claim.number} was taken over by another worker: left to it")
            return 0
        except Exception as error:
            stop = stop_behind(error)
            if stop is not None:
                self.leaves = True
                with undisturbed():
                    shared.give_back(claim)
                raise stop from error
            outcome = _failure(error, folder)
        with undisturbed():
            try:
                outcome.tell(shared, claim, folder)
            except Lost:
                return 0
        return 1

    def _is_over(self, shared: SharedStudy) -> bool:
        orders, limit = self.orders, self.orders.settings.max_failures
        if self.must_stop():
            return True
        return limit is not None and len(failures(shared, orders.began)) >= limit

    @contextmanager
    def _watched(self, shared: SharedStudy, owner: Owner) -> Iterator[None]:
        """Signs of life, and a signal to this process when it is to stop."""
        ended = threading.Event()

        def watch() -> None:
            beaten = asked = 0.0
            while not ended.wait(POLL):
                now = time.time()
                if now - beaten >= self.orders.settings.heartbeat:
                    beaten = now
                    with contextlib.suppress(OSError):
                        owner.beat()
                    with contextlib.suppress(Exception):  # a database may be away for a while
                        shared.beat(self.claim)
                if now - asked >= SECONDS_TO_STOP and self.must_stop():
                    first, asked = asked == 0, now
                    if not (first and self._was_asked()):
                        os.kill(os.getpid(), signal.SIGTERM)

        owner.beat()  # to import torch takes a while, and who takes a trial must not look dead
        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _was_asked(self) -> bool:
        """Whether a signal has told this worker already, e.g. a terminal's Ctrl-C, which reaches all processes."""
        from project.callbacks.checkpoints import Checkpoints

        return self.leaves or Checkpoints.last_asked is not None

    def must_stop(self) -> bool:
        """Whether the head, its end or the time says so."""
        now, orders = time.time(), self.orders
        orphaned = orders.parent is not None and started(orders.parent[0]) != orders.parent[1]
        return orphaned or orders.stop.exists() or (orders.deadline is not None and now >= orders.deadline)


def storage_url() -> str | None:
    """The study's database, which only the environment of the head and its workers holds; None: the journal."""
    return os.environ.get(STORAGE) or None


def failures(shared: SharedStudy, since: float) -> list[Any]:
    """The trials that failed since then, the first one first."""
    failed = [trial for trial in shared.trials() if trial.state.name == "FAIL" and trial.datetime_complete is not None]
    recent = [trial for trial in failed if trial.datetime_complete.timestamp() >= since]  # type: ignore[union-attr]
    return sorted(recent, key=lambda trial: trial.datetime_complete)  # type: ignore[arg-type,return-value]


def _failure(error: Exception, folder: Path) -> Outcome:
    """What is recorded of an exception; its traceback goes into the trial's folder."""
    trace = traceback.format_exc()
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    traceback.clear_frames(error.__traceback__)  # what is in them may hold most of the memory
    return Failed(" ".join(text.split())[:1000], None if isinstance(error, UserError) else trace)


@contextmanager
def _imports_spared() -> Iterator[None]:
    """The collection of garbage after a trial leaves out what was imported, which would take a third of a second."""
    import project.sweeps.trial  # noqa: F401  torch and lightning

    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _use_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


@contextmanager
def _said_to(file: Any) -> Iterator[None]:
    """What is printed goes to the worker's log: the terminal shows the sweep, also where both are one process."""
    logger = logging.getLogger("project")
    handlers, logger.handlers = logger.handlers, []
    try:
        with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            yield
    finally:
        logger.handlers = handlers
