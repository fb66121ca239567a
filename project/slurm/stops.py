"""How a job of Slurm's stops: what the signal meant, and whether it is queued again.

Slurm's notice (SIGUSR2: it is preempted, or its time is nearly over) is turned into SIGTERM, which everything that
trains heeds: it writes a checkpoint after the step. A SIGTERM of Slurm's own is either `scancel`'s, which ends the job,
or that of a preemption, after which it is queued again.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from project.errors import Stopped, UserError
from project.slurm.queue import is_preempted, own_id, requeue

NOTICE = signal.SIGUSR2  # NCCL may catch SIGUSR1


class Stops:
    """The signals that this job has had."""

    def __init__(self) -> None:
        self.noticed = False

    def heed(self, number: int, frame: FrameType | None) -> None:
        self.noticed = True
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def stoppable() -> Iterator[Stops]:
    """The signals of Slurm are heeded: SIGTERM raises `Stopped` where nothing else has a handler for it."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(f"stopped by {signal.Signals(number).name}", number)

    stops = Stops()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(NOTICE, stops.heed)
    yield stops


def go_on_later(stops: Stops, most: int) -> bool:
    """Queue this job again, now that it has stopped and written what it needs; whether it will go on.

    Args:
        most: how often a job is queued again.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(NOTICE, signal.SIG_IGN)
    job = own_id()
    if not stops.noticed and not is_preempted(job):
        return False  # cancelled, or another rank has failed
    if int(os.environ.get("SLURM_PROCID", "0")) > 0:
        return True  # one task speaks for all
    count = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    if count >= most:
        print(f"this job was queued again {count} times (cluster.requeues={most}): not once more", flush=True)
        return False
    try:
        requeue(job)
    except UserError as error:
        print(error, flush=True)
        return False
    print(f"job {job} is queued again, and goes on from its checkpoint", flush=True)
    return True
