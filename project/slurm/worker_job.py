"""A sweep's worker as a Slurm job."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from project.errors import Stopped
from project.slurm.stops import go_on_later, stoppable

STORAGE = "PROJECT_SWEEP_STORAGE"  # as in project.sweeps.worker, which is not imported before signals are heeded


@dataclass
class WorkerJob:
    """What the job calls.

    Attributes:
        payload: what all workers share, packed; it holds no password of a database, which the environment does.
        words: overrides of this worker.
        number: of this worker.
        said: a file that tells the sweep's head what the worker came to; none, if it was killed.
        requeues: how often the job may be queued again.
    """

    payload: bytes
    words: list[str]
    number: int
    said: Path
    requeues: int

    def __call__(self) -> None:
        """Train trials until none is left.

        Raises:
            SystemExit: the worker failed, or was stopped and is not queued again.
        """
        with stoppable() as stops:
            worker: Any = None
            status: str
            value: int | float | str
            try:
                from project.runs.folder import write_json
                from project.sweeps.jobs import run_unpacked, unpacked

                context, config, worker = unpacked(self.payload)
                if STORAGE not in os.environ:
                    status, value = "FAILED", f"sbatch did not hand on the environment, in which {STORAGE} is"
                else:
                    status, value = run_unpacked(context, config, worker, self.words, self.number)
                if not worker.leaves:
                    write_json(self.said, {"status": status, "value": value})
                    print(f"worker {self.number}: {status.lower()} {value}", flush=True)
                    if status == "FAILED":
                        raise SystemExit(1)
                    return
            except Stopped as stopped:
                print(stopped, flush=True)
            if worker is not None and worker.must_stop():
                write_json(self.said, {"status": "COMPLETED", "value": 0})
            elif not go_on_later(stops, self.requeues):
                raise SystemExit(143)
