"""Workers launched until a study is whole: what is launched again, when it is over, what a signal does."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from hydra.core.utils import JobReturn, JobStatus

from project.errors import UserError
from project.ray.launcher import RayLauncher
from project.stops import heard_by
from project.sweeps.local_launcher import LocalLauncher
from project.sweeps.owners import WORKERS
from project.sweeps.passwords import scrubbed
from project.sweeps.placing import Places
from project.sweeps.shared_study import SharedStudy
from project.sweeps.slurm_launcher import SlurmLauncher
from project.sweeps.space import override
from project.sweeps.worker import Orders, failures

log = logging.getLogger(__name__)

STOPPABLE = (LocalLauncher, RayLauncher, SlurmLauncher)  # which are told that the workers were asked to stop
IDLE_LAUNCHES = 3


class Launching:
    """The workers of one command `sweep=NAME`.

    Args:
        shared: the study.
        orders: what the workers are told.
        places: where they compute.
        launcher: makes a Hydra launcher, which launches once.
        url: the storage's, whose password nothing shows.

    Attributes:
        signal: that asked for an end.
    """

    def __init__(
        self, shared: SharedStudy, orders: Orders, places: Places, launcher: Callable[[], Any], url: str | None
    ) -> None:
        self.shared, self.orders, self.places, self.url = shared, orders, places, url
        self.signal: int | None = None
        self._new_launcher = launcher
        self._launcher: Any = None  # at work, or the last one
        self._error: str | None = None  # what the last one gave up with
        self._returned: Sequence[JobReturn] = ()  # by the last one, worker by worker

    def work(self) -> None:
        """Launch workers until the study is whole, or it is over for another reason.

        Raises:
            UserError: they cannot be launched, now or later.
        """
        idle = 0
        while not self.is_over() and idle < IDLE_LAUNCHES:
            before = self._progress()
            self._launcher = self._new_launcher()
            try:
                with self._stopped_in_time():
                    self._launch()
            except UserError:  # once more would not mend it
                if not self.is_over():
                    raise
            except Exception as error:  # a killed worker takes joblib's others with it
                self._error = scrubbed(f"{type(error).__name__}: {error}", self.url)
                log.info("the launcher gave up (%s): once more", self._error.splitlines()[0][:200])
            idle = 0 if self._progress() != before else idle + 1
            time.sleep(0 if idle == 0 else 1)

    def is_over(self) -> bool:
        """Whether nothing is to be launched any more."""
        if self.signal is not None or self.orders.stop.exists() or self.is_late():
            return True
        settings = self.orders.settings
        limit = settings.max_failures
        if limit is not None and len(failures(self.shared, self.orders.began)) >= limit:
            return True
        trials = self.shared.trials()
        return len(trials) >= settings.n_trials and all(trial.state.is_finished() for trial in trials)

    def is_late(self) -> bool:
        """Whether the sweep's time is over."""
        return self.orders.deadline is not None and time.time() >= self.orders.deadline

    def why(self) -> str:
        """What kept the last workers from working."""
        for result in self._returned:
            if result.status is JobStatus.FAILED:
                return f"{type(result._return_value).__name__}: {result._return_value}"
        return str(self._error or "they returned at once")

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """The first Ctrl-C or SIGTERM asks the workers to write their checkpoints and stop; the second ends at once."""

        def stop(number: int, frame: FrameType | None) -> None:
            if self.signal is not None:
                if isinstance(self._launcher, STOPPABLE):
                    self._launcher.kill()
                raise KeyboardInterrupt
            self.signal = number
            self.orders.stop.touch()  # the workers look for it, and signal themselves, once
            if isinstance(self._launcher, STOPPABLE):
                self._launcher.stopping()
            log.info(
                "%s: the workers write their checkpoints and stop (once more: at once)", signal.Signals(number).name
            )

        try:
            with heard_by(stop):
                yield
        finally:
            if self.signal is None and self.orders.stop.exists():  # a worker in this process took the signal
                self.signal = int(self.orders.stop.read_text() or signal.SIGINT)
            self.orders.stop.unlink(missing_ok=True)

    @contextmanager
    def _stopped_in_time(self) -> Iterator[None]:
        """The launcher at work is told when the sweep's time is over."""
        if self.orders.deadline is None or not isinstance(self._launcher, STOPPABLE):
            yield
            return
        timer = threading.Timer(max(0.0, self.orders.deadline - time.time()), self._launcher.stopping)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _launch(self) -> None:
        self._returned = self._launcher.launch([self._job(n) for n in range(self.orders.settings.workers)], 0)
        for number, result in enumerate(self._returned):
            if result.status is JobStatus.FAILED:
                log.info("worker %d ended: %s", number, scrubbed(str(result._return_value), self.url))

    def _job(self, number: int) -> list[str]:
        """The overrides of a worker's job."""
        words = [
            override("hydra.sweep.dir", str(self.orders.folder)),
            f"hydra.sweep.subdir={WORKERS}/{number}",
            "hydra.job.chdir=false",
            *self.orders.space.fixed,
        ]
        if self.places.gpus is not None:
            words.append(override("+hydra.job.env_set.CUDA_VISIBLE_DEVICES", self.places.gpus[number]))
        return words

    def _progress(self) -> tuple[int, int]:
        """Grows when anything was done: trials finished, validations reported."""
        trials = self.shared.trials()
        finished = sum(trial.state.is_finished() for trial in trials)
        return finished, sum(len(trial.intermediate_values) for trial in trials)
