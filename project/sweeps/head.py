"""The head of a sweep: checks what was asked for, launches workers until the study is whole, shows how it goes."""

import logging
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import InstantiationException
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict, read_write

from project.errors import Stopped, UserError
from project.ray.launcher import prepare as prepare_ray
from project.runs.checks import check
from project.runs.folder import logged_to
from project.runs.hydra_versions import instantiate
from project.sweeps.asked import check_space, directions
from project.sweeps.composing import Composer
from project.sweeps.drawing import grid_points
from project.sweeps.functions import function
from project.sweeps.launching import Launching
from project.sweeps.owners import WORKERS, started
from project.sweeps.passwords import scrubbed
from project.sweeps.patience import Away
from project.sweeps.placing import Places, add_devices, share_out
from project.sweeps.rehearsal import rehearse
from project.sweeps.results import write_results
from project.sweeps.same_sweep import differences, what_is_searched
from project.sweeps.settings import Settings
from project.sweeps.shared_study import SharedStudy
from project.sweeps.shown import Shown
from project.sweeps.slurm_launcher import prepare
from project.sweeps.space import Space, parse
from project.sweeps.worker import STORAGE, Orders, Train, Worker, failures

log = logging.getLogger(__name__)

HERE = ("BasicLauncher", "LocalLauncher", "JoblibLauncher")  # their workers run on this machine
MOST_STUDIES = 1000  # of one sweep's name


class Head:
    """One command `sweep=NAME`.

    Args:
        context: Hydra's.
        config: as composed from the command line, search spaces left out.
        train: what a worker calls with a trial's config.
        words: the command line's overrides.
    """

    def __init__(self, context: HydraContext, config: DictConfig, train: Train, words: list[str]) -> None:
        HydraConfig.instance().set_config(config)
        self.context, self.config, self.train = context, config, train
        given = config.sweep.get("storage")
        self.url = str(given) if given is not None else os.environ.get(STORAGE) or None
        check(config, [], "train")
        self.folder = Path(str(config.hydra.sweep.dir)).absolute()
        self.settings = _settings(config)
        self._forget_storage(words)
        own = ("sweep.", "sweep/", "+sweep.", "++sweep.", "cluster=", "cluster.", "+cluster.", "++cluster.")
        HydraConfig.instance().set_config(self.config)  # launchers take a copy along
        self.words = [word for word in words if not word.startswith(own)]
        self.named = any(word.startswith("sweep.study_name=") for word in words) or any(
            str(word).startswith("hydra.sweep.dir=") for word in config.hydra.overrides.hydra
        )
        self.space = self._space()
        self.notes: list[str] = []
        self.objectives = self.settings.objectives or [str(config.monitor)]
        self.directions = directions(self.objectives, self.settings.directions, config)
        if len(self.directions) > 1 and self.settings.pruner is not None:
            self.settings.pruner = None
            self.notes.append("several objectives: no trial is pruned")
        points = grid_points(self.settings.sampler, self.space)
        if points is not None:
            self.settings.n_trials = min(self.settings.n_trials, len(points))
        check_space(self.space, self._compose, config)
        rehearse(self.settings, self.space, self.directions, self._compose)
        launcher = str(self.config.hydra.launcher._target_).rpartition(".")[2]
        self.local = launcher in HERE
        if launcher == "SlurmLauncher":
            prepare(config, self.settings)
        if launcher == "RayLauncher":
            cluster, _ = prepare_ray(config)
            self.settings.threads_per_worker = self.settings.threads_per_worker or cluster.threads
        if launcher == "BasicLauncher" and self.settings.workers > 1:
            self.notes.append("hydra/launcher=basic runs one worker after another: sweep.workers=1")
            self.settings.workers = 1
        self.places = share_out(self.settings, self.local, str(self.config.trainer.get("accelerator")) != "cpu")
        if config.hydra.launcher.get("n_jobs") == -1:  # joblib's: as many as there are cores
            with read_write(config.hydra):
                config.hydra.launcher.n_jobs = self.settings.workers

    def run(self) -> float | None:
        """Go on with the study until it has `n_trials` finished trials; the best value, of one objective.

        Raises:
            Stopped: Ctrl-C or SIGTERM; the same command goes on.
            UserError: too many trials failed, or no worker could be started.
        """
        with _storage_known(self.url):
            shared, note = self._study()
            with logged_to(self.folder / "sweep.log"):
                for line in (*self.notes, *([note] if note else [])):
                    log.info(line)
                return self._run(shared)

    def _run(self, shared: SharedStudy) -> float | None:
        settings, places = self.settings, self.places
        orders = self._orders(places, self.local)
        worker = Worker(self.train, HydraContext(self.context.config_loader, _no_callbacks()), self.config, orders)
        shown = Shown(shared, orders, self.objectives, lambda: self._write(shared))
        log.info("study %s: %s -> %s", settings.study_name, places.said(settings.workers), self.folder)
        launching = Launching(shared, orders, places, lambda: self._launcher(worker), self.url)
        try:
            with shown, launching.stoppable():
                launching.work()
        finally:
            for write in (self._write, self._report):
                try:
                    write(shared)
                except Away:  # which is told once, at the end
                    pass
                except Exception as error:  # what the sweep came to is in the study, and must be told
                    log.warning("%s was not written: %s", write.__name__, scrubbed(str(error), self.url))
        return self._end(shared, launching)

    def _end(self, shared: SharedStudy, launching: Launching) -> float | None:
        again = "The same command goes on with it."
        finished = sum(trial.state.is_finished() for trial in shared.trials())
        if launching.signal is not None:
            raise Stopped(
                f"stopped with {finished} of {self.settings.n_trials} trials finished. {again}", launching.signal
            )
        failed = failures(shared, launching.orders.began)
        limit = self.settings.max_failures
        hopeless = limit is not None and len(failed) >= limit and finished < self.settings.n_trials
        if hopeless or (failed and len(failed) == len(shared.trials())):
            which = f"sweep.max_failures={limit}: stopped" if hopeless else "all of them"
            raise UserError(
                f"{len(failed)} trials failed ({which}). The first, trial {failed[0].number}: "
                f"{failed[0].user_attrs.get('error')}\nMore of it: "
                f"{self.folder / str(failed[0].number) / 'error.txt'}. {again if hopeless else ''}"
            )
        if finished < self.settings.n_trials:
            if launching.is_late():
                log.info(
                    "sweep.timeout=%g: %d of %d trials are finished. %s",
                    self.settings.timeout,
                    finished,
                    self.settings.n_trials,
                    again,
                )
            else:
                raise UserError(f"no worker could work ({launching.why()}). Their output: {self.folder / WORKERS}")
        return self._summary(shared)

    def _summary(self, shared: SharedStudy) -> float | None:
        from project.sweeps.summary import summary

        log.info("%s", summary(shared, self.folder, self.objectives, self.directions))
        if len(self.directions) > 1 or not any(trial.state.name == "COMPLETE" for trial in shared.trials()):
            return None
        return float(shared.study.best_value)

    def _report(self, shared: SharedStudy) -> None:
        from project.sweeps.report import write_report  # plotly

        if any(trial.state.is_finished() for trial in shared.trials()):
            write_report(shared.study, self.folder, self.objectives, self.directions, url=self.url)

    def _write(self, shared: SharedStudy) -> None:
        write_results(shared, self.folder, self.objectives, self.directions, self._compose, self.space)

    @cached_property
    def _compose(self) -> Composer:
        return Composer(self.context.config_loader, self.config, self.space.fixed)

    def _space(self) -> Space:
        settings = self.settings
        drawn = None if settings.space is None else function(settings.space, "sweep.space")
        for name in settings.constraints:
            function(name, "sweep.constraints")
        for word in self.words:
            key = word.partition("=")[0].lstrip("+~")
            if key in ("folder", "resume", "lr_find"):
                raise UserError(f"{word}: not in a sweep, whose trials have folders of their own; leave it out")
        space = parse(settings.params, self.words, self.context.config_loader, drawn)
        add_devices(space, settings.devices_per_trial)
        return space

    def _study(self) -> tuple[SharedStudy, str]:
        """The study of this sweep, begun or to begin, and what is to be said of its name.

        A study goes on with what it was begun with; how many trials, and how they are drawn, may change. Where its name
        was not chosen, another sweep of the same name is another study: `resnet-2`.

        Raises:
            UserError: the study that was named is another sweep; says what differs.
        """
        first = self.settings.study_name
        searched = what_is_searched(self.settings, self.space, self.objectives, self.directions)
        for number in range(1, MOST_STUDIES):
            if number > 1:
                self.settings.study_name = f"{first}-{number}"
                self.folder = self.folder.with_name(self.settings.study_name)
                with read_write(self.config.hydra):
                    self.config.hydra.sweep.dir = str(self.folder)
            self.folder.mkdir(parents=True, exist_ok=True)
            name, beat = self.settings.study_name, self.settings.heartbeat
            shared = SharedStudy(name, self.url, self.folder, self.directions, beat, self.settings.patience, log.info)
            changed = differences(shared, self.folder, searched)
            if not changed:
                said = f"{first} is the study of another command, so this one is {name}" if number > 1 else ""
                return shared, said
            if self.named:
                break
        raise UserError(
            f"the study {self.settings.study_name} in {self.folder} was begun with another sweep:\n  "
            + "\n  ".join(changed)
            + "\nTake the same command to go on with it, or begin another with sweep.study_name=<new name>"
        )

    def _orders(self, places: Places, local: bool) -> Orders:
        began = time.time()
        timeout = self.settings.timeout
        stop = self.folder / WORKERS / f"stop-{uuid.uuid4().hex[:8]}"
        stop.parent.mkdir(parents=True, exist_ok=True)
        parent = (os.getpid(), started(os.getpid()) or "") if local else None
        deadline = None if timeout is None else began + timeout
        self.settings.storage = None
        return Orders(
            self.settings, self.space, self.directions, self.folder, stop, began, deadline, places.threads, parent
        )

    def _launcher(self, worker: Worker) -> Any:
        return Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(self.context.config_loader, _no_callbacks()),
            task_function=worker,  # type: ignore[arg-type]
            config=self.config,
        )

    def _forget_storage(self, words: list[str]) -> None:
        """What is composed, pickled, logged or written from here on knows nothing of a database's password."""
        words[:] = [word for word in words if not word.lstrip("+").startswith("sweep.storage=")]
        with read_write(self.config), open_dict(self.config), read_write(self.config.hydra):
            self.config.sweep.storage = None
            self.config.hydra.overrides.task = list(words)
            self.config.hydra.job.override_dirname = ""


def _settings(config: DictConfig) -> Settings:
    try:
        settings: Settings = instantiate(config.sweep, _convert_="all", _recursive_=False)
    except InstantiationException as error:
        cause = error.__cause__ or error
        raise UserError(" ".join(str(cause).split())) from error
    return settings


@contextmanager
def _storage_known(url: str | None) -> Iterator[None]:
    """The storage's URL in the environment, from which the workers take it."""
    before = os.environ.get(STORAGE)
    os.environ[STORAGE] = url or ""
    try:
        yield
    finally:
        if before is None:
            del os.environ[STORAGE]
        else:
            os.environ[STORAGE] = before


def _no_callbacks() -> Any:
    from hydra._internal.callbacks import Callbacks

    return Callbacks()
