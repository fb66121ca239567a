"""The jobs of one launch on a Ray cluster: begun, listened to, begun again elsewhere, and ended."""

import contextlib
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.utils import JobReturn, JobStatus

from project.sweeps import node_process
from project.sweeps.jobs import how_it_ended, lost, returned
from project.sweeps.ray_cluster import Request, check_fits, nodes

log = logging.getLogger(__name__)

QUICK_DEATHS = 3  # that no attempt survives so early is no accident
SECONDS_OF_A_QUICK_DEATH = 10.0
SECONDS_TO_STOP = 60.0
SECONDS_OF_NEWS = 10.0  # so often a node is asked at least
SECONDS_OF_ROOM = 5.0  # so often it is asked whether any node is left
LAST_WORDS = 1500  # characters of a job's output that are told when it has died


@dataclass(frozen=True)
class Shared:
    """What all jobs of a launch share.

    Attributes:
        payload: `jobs.packed`.
        folder: where they run.
        python_path: where their modules are, too.
        leaves_nothing: once one has ended, those that have not begun have nothing to do.
    """

    payload: bytes
    folder: str
    python_path: str
    leaves_nothing: bool


@dataclass
class _Attempt:
    """`actor` is the `NodeProcess` that looks after the job; begun: when its process was, by `time.monotonic`."""

    index: int
    actor: Any
    begun: float | None = None
    asked_to_stop: bool = False
    tail: str = ""


class RayJobs:
    """Runs jobs until each has a result.

    Args:
        ray: the module, connected.
        request: what each job takes of a node.
        shared: what all jobs share.
        words: each job's overrides.
        first: the number of the first.
        restarts: whether jobs that died are begun again.
        wait: seconds to wait for a node that can hold a job.
    """

    def __init__(
        self,
        ray: Any,
        request: Request,
        shared: Shared,
        words: Sequence[Sequence[str]],
        first: int,
        restarts: bool,
        wait: float,
    ) -> None:
        self.ray, self.request, self.shared, self.words, self.first = ray, request, shared, words, first
        self.restarts, self.wait = restarts, wait
        self._running: dict[Any, _Attempt] = {}  # by what was asked of them last
        self._results: dict[int, JobReturn] = {}
        self._quick_deaths = [0] * len(words)
        self._stopped: float | None = None
        self._at_once = False
        self._room_seen = time.monotonic()
        self._room_asked = 0.0
        ray.cloudpickle.register_pickle_by_value(node_process)
        self._actor = ray.remote(node_process.NodeProcess).options(**request.options(), max_concurrency=4)

    def results(self) -> list[JobReturn]:
        """Run all jobs; what became of each.

        Raises:
            UserError: no node can hold those that are left.
        """
        for index in range(len(self.words)):
            self._begin(index)
        while self._running:
            ready, _ = self.ray.wait(list(self._running), num_returns=1, timeout=0.5)
            for reference in ready:
                self._hear(reference, self._running.pop(reference))
            if self._stopped is not None:
                self._stop()
            elif self.shared.leaves_nothing and any(
                result.status is JobStatus.COMPLETED for result in self._results.values()
            ):
                self._forget_those_that_wait("COMPLETED", 0)
            self._look_for_room()
        return [self._results[index] for index in range(len(self.words))]

    def stopping(self, at_once: bool = False) -> None:
        """Begin none any more and let those that run end; called by a signal's handler, so it only leaves word."""
        self._stopped = self._stopped or time.monotonic()
        self._at_once = self._at_once or at_once

    def end(self) -> None:
        """Leave nothing behind, also after an exception."""
        attempts, self._running = list(self._running.values()), {}
        with contextlib.suppress(Exception):  # the cluster may be gone
            asked = [attempt.actor.kill.remote() for attempt in attempts if attempt.begun is not None]
            if asked:
                self.ray.wait(asked, num_returns=len(asked), timeout=3)
            for attempt in attempts:
                self.ray.kill(attempt.actor)

    def _begin(self, index: int) -> None:
        import cloudpickle

        from project.sweeps.worker import storage_url

        job = (self.shared.payload, list(self.words[index]), self.first + index, storage_url())
        actor = self._actor.remote()
        threads = max(1, int(self.request.cpus))
        reference = actor.begin.remote(
            cloudpickle.dumps(job), self.shared.folder, self.shared.python_path, threads, self.request.gpus > 0
        )
        self._running[reference] = _Attempt(index, actor)

    def _hear(self, reference: Any, attempt: _Attempt) -> None:
        """What the attempt was asked has an answer."""
        errors = self.ray.exceptions
        number = self.first + attempt.index
        try:
            answer = self.ray.get(reference)
        except errors.ActorUnavailableError:  # a link is cut: it will be heard of again, or be declared dead
            time.sleep(0.5)
            return self._ask(attempt)
        except errors.RayTaskError as error:  # e.g. a folder that cannot be made
            reason = str(error.cause if hasattr(error, "cause") else error).strip().splitlines()[-1]
            self._results[attempt.index] = lost(self.words[attempt.index], f"on its node: {reason}")
            return self._leave(attempt)
        except errors.RayError as error:
            return self._died(attempt, f"its node or its process was lost: {type(error).__name__}")
        if attempt.begun is None:
            attempt.begun = time.monotonic()
            gpus = f", GPU {answer['gpus']}" if answer["gpus"] else ""
            log.info("worker %d: %s, process %d%s", number, answer["host"], answer["pid"], gpus)
            return self._ask(attempt)
        output, code, result = answer
        self._show(attempt, output.decode(errors="replace"))
        if code is None:
            return self._ask(attempt)
        if result:
            self._results[attempt.index] = returned(self.words[attempt.index], tuple(json.loads(result)))
            return self._leave(attempt)
        if code >= 0:  # it ended by itself, and would again
            self._results[attempt.index] = lost(
                self.words[attempt.index], f"the worker ended: {how_it_ended(code)}\n{attempt.tail.strip()}"
            )
            return self._leave(attempt)
        return self._died(attempt, how_it_ended(code))

    def _ask(self, attempt: _Attempt) -> None:
        self._running[attempt.actor.news.remote(SECONDS_OF_NEWS)] = attempt

    def _show(self, attempt: _Attempt, said: str) -> None:
        """A single job's output is the terminal's."""
        attempt.tail = (attempt.tail + said)[-LAST_WORDS:]
        if len(self.words) == 1 and not self.shared.leaves_nothing:
            sys.stdout.write(said)
            sys.stdout.flush()

    def _died(self, attempt: _Attempt, how: str) -> None:
        self._leave(attempt)
        index = attempt.index
        quick = attempt.begun is None or time.monotonic() - attempt.begun < SECONDS_OF_A_QUICK_DEATH
        self._quick_deaths[index] = self._quick_deaths[index] + 1 if quick else 0
        if self.restarts and self._stopped is None and self._quick_deaths[index] < QUICK_DEATHS:
            log.info("worker %d died (%s): started again", self.first + index, how)
            self._begin(index)
        else:
            last = f"\n{attempt.tail.strip()}" if attempt.tail.strip() else ""
            self._results[index] = lost(self.words[index], f"the worker died: {how}{last}")

    def _leave(self, attempt: _Attempt) -> None:
        """Give back what the attempt holds of its node."""
        with contextlib.suppress(Exception):
            self.ray.kill(attempt.actor)

    def _stop(self) -> None:
        assert self._stopped is not None
        self._forget_those_that_wait("FAILED", "stopped before it began")
        late = self._at_once or time.monotonic() - self._stopped > SECONDS_TO_STOP
        for attempt in self._running.values():
            if late:
                attempt.actor.kill.remote()
            elif not attempt.asked_to_stop:
                attempt.asked_to_stop = True
                attempt.actor.stop.remote()

    def _forget_those_that_wait(self, status: str, value: int | str) -> None:
        for reference, attempt in list(self._running.items()):
            if attempt.begun is None:
                del self._running[reference]
                self._leave(attempt)
                self._results[attempt.index] = returned(self.words[attempt.index], (status, value))

    def _look_for_room(self) -> None:
        """Wait for ever for room that others take, but not for nodes that there are no more."""
        now = time.monotonic()
        if any(attempt.begun is not None for attempt in self._running.values()):
            self._room_seen = now
        if not self._running or self._room_seen == now or now - self._room_asked < SECONDS_OF_ROOM:
            return
        self._room_asked = now
        totals = nodes(self.ray)
        if any(self.request.fits(node) for node in totals):
            self._room_seen = now
        elif now - self._room_seen > self.wait + SECONDS_OF_ROOM:
            check_fits(self.request, totals)
