"""The jobs of one launch on a Ray cluster: begun, listened to, begun again elsewhere, and ended."""

import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from project.ray import node_process
from project.ray.cluster import check_fits, nodes
from project.ray.settings import Request
from project.sweeps.jobs import how_it_ended

log = logging.getLogger(__name__)

QUICK_DEATHS = 3  # that no attempt survives so early is no accident
SECONDS_OF_A_QUICK_DEATH = 10.0
SECONDS_TO_STOP = 60.0
SECONDS_OF_NEWS = 10.0  # so often a node is asked at least
SECONDS_OF_ROOM = 5.0  # so often it is asked whether any node is left
LAST_WORDS = 1500  # characters of a job's output that are told when it has died


@dataclass(frozen=True)
class Ended:
    """What became of a job.

    Attributes:
        said: what it came to; None: it did not say.
        how: why it did not, for a person; "": it had nothing to do.
        code: its exit code; None: it has none.
    """

    said: Any = None
    how: str = ""
    code: int | None = None


@dataclass
class _Attempt:
    """`actor` is the `NodeProcess` that looks after the job; begun: when its process was, by `time.monotonic`."""

    index: int
    actor: Any
    begun: float | None = None
    asked_to_stop: bool = False
    tail: str = ""


class RayJobs:
    """Runs jobs until each has ended.

    Args:
        ray: the module, connected.
        request: what each job takes of a node.
        jobs: what their processes call; what they return must be JSON. With a method `stop()` that ends it in time.
        first: the number of the first.
        wait: seconds to wait for a node that can hold a job.
        leaves_nothing: once one has ended, those that have not begun have nothing to do.
        show: takes what the jobs print.
    """

    def __init__(
        self,
        ray: Any,
        request: Request,
        jobs: Sequence[Any],
        first: int = 0,
        wait: float = 0,
        leaves_nothing: bool = False,
        show: Callable[[str], Any] = lambda text: None,
    ) -> None:
        self.ray, self.request, self.jobs, self.first = ray, request, jobs, first
        self.wait, self.leaves_nothing, self.show = wait, leaves_nothing, show
        self._running: dict[Any, _Attempt] = {}  # by what was asked of them last
        self._ended: dict[int, Ended] = {}
        self._quick_deaths = [0] * len(jobs)
        self._stopped: float | None = None
        self._at_once = False
        self._room_seen = time.monotonic()
        self._room_asked = 0.0
        ray.cloudpickle.register_pickle_by_value(node_process)
        self._actor = ray.remote(node_process.NodeProcess).options(**request.options(), max_concurrency=4)

    def results(self) -> list[Ended]:
        """Run all jobs; what became of each.

        Raises:
            UserError: no node can hold those that are left.
        """
        for index in range(len(self.jobs)):
            self._begin(index)
        while self._running:
            ready, _ = self.ray.wait(list(self._running), num_returns=1, timeout=0.5)
            for reference in ready:
                self._hear(reference, self._running.pop(reference))
            if self._stopped is not None:
                self._stop()
            elif self.leaves_nothing and any(ended.code == 0 for ended in self._ended.values()):
                self._forget_those_that_wait("")
            self._look_for_room()
        return [self._ended[index] for index in range(len(self.jobs))]

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

        actor = self._actor.remote()
        threads = max(1, int(self.request.cpus))
        payload, paths = cloudpickle.dumps(self.jobs[index]), os.environ.get("PYTHONPATH", "")
        reference = actor.begin.remote(payload, str(Path.cwd()), paths, threads, self.request.gpus > 0)
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
            reason = str(error.cause or error).strip().splitlines()[-1]
            return self._leave(attempt, Ended(how=f"on its node: {reason}"))
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
        if code < 0:
            return self._died(attempt, how_it_ended(code))
        said = json.loads(result) if result else None
        return self._leave(attempt, Ended(said, f"it ended: {how_it_ended(code)}{_last(attempt)}", code))

    def _ask(self, attempt: _Attempt) -> None:
        self._running[attempt.actor.news.remote(SECONDS_OF_NEWS)] = attempt

    def _show(self, attempt: _Attempt, said: str) -> None:
        attempt.tail = (attempt.tail + said)[-LAST_WORDS:]
        self.show(said)

    def _died(self, attempt: _Attempt, how: str) -> None:
        index = attempt.index
        quick = attempt.begun is None or time.monotonic() - attempt.begun < SECONDS_OF_A_QUICK_DEATH
        self._quick_deaths[index] = self._quick_deaths[index] + 1 if quick else 0
        if self._stopped is not None or self._quick_deaths[index] >= QUICK_DEATHS:
            return self._leave(attempt, Ended(how=f"it died: {how}{_last(attempt)}"))
        log.info("worker %d died (%s): started again", self.first + index, how)
        self._give_back(attempt)
        return self._begin(index)

    def _leave(self, attempt: _Attempt, ended: Ended) -> None:
        self._give_back(attempt)
        self._ended[attempt.index] = ended

    def _give_back(self, attempt: _Attempt) -> None:
        """What the attempt holds of its node is for others."""
        with contextlib.suppress(Exception):
            self.ray.kill(attempt.actor)

    def _stop(self) -> None:
        assert self._stopped is not None
        self._forget_those_that_wait("stopped before it began")
        late = self._at_once or time.monotonic() - self._stopped > SECONDS_TO_STOP
        for attempt in self._running.values():
            if late:
                attempt.actor.kill.remote()
            elif not attempt.asked_to_stop:
                attempt.asked_to_stop = True
                attempt.actor.stop.remote()

    def _forget_those_that_wait(self, why: str) -> None:
        for reference, attempt in list(self._running.items()):
            if attempt.begun is None:
                del self._running[reference]
                self._leave(attempt, Ended(how=why))

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


def _last(attempt: _Attempt) -> str:
    return f"\n{attempt.tail.strip()}" if attempt.tail.strip() else ""
