"""How a sweep's worker heeds Ctrl-C and SIGTERM."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from project.errors import Stopped
from project.stops import heard_by


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM and Ctrl-C raise `Stopped`, between trials too; a training has handlers of its own."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(f"stopped by {signal.Signals(number).name}", number)

    with heard_by(stop):
        yield


def forget_earlier_stops() -> None:
    """What a training before this worker was asked, in the same process, is not for the worker."""
    from project.callbacks.checkpoints import Checkpoints

    Checkpoints.last_asked = None


def heed_a_late_stop() -> None:
    """A signal in a training's last moments finds it done, and is for the worker.

    Raises:
        Stopped: there was one.
    """
    from project.callbacks.checkpoints import Checkpoints

    if Checkpoints.last_asked is not None:
        raise Stopped(f"stopped by {signal.Signals(Checkpoints.last_asked).name}", Checkpoints.last_asked)


@contextmanager
def undisturbed() -> Iterator[None]:
    """A stop that arrives here is heeded afterwards: what a trial came to is told whole."""
    asked: list[int] = []
    with heard_by(lambda number, frame: asked.append(number)):
        yield
    if asked:
        os.kill(os.getpid(), asked[0])
