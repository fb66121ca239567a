"""Which Slurm jobs are a sweep's workers: in a file, so that a head that died finds them when it comes back."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from project.errors import UserError
from project.runs.folder import write_json
from project.slurm.queue import states
from project.sweeps.jobs import Said


@dataclass(frozen=True)
class SentWorker:
    """A worker that was sent.

    Attributes:
        job: Slurm's id.
        log: what it prints.
        said: the file in which it tells what it came to.
        stop: the file that it looks for, to stop.
    """

    job: str
    log: str
    said: str
    stop: str

    def ask_to_stop(self) -> None:
        Path(self.stop).touch()

    def came_to(self) -> Said | None:
        """A status and a value, or what went wrong; None: it was killed."""
        try:
            told = json.loads(Path(self.said).read_text(encoding="utf-8"))
            return str(told["status"]), told["value"]
        except (OSError, ValueError, KeyError):
            return None


class SlurmWorkers:
    """The record.

    Args:
        folder: the sweep's `.workers`.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "slurm.json"

    def read(self) -> dict[int, SentWorker]:
        """The workers that were sent and had not ended when anybody last looked, by number."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {int(number): SentWorker(**worker) for number, worker in content.items()}

    def write(self, workers: dict[int, SentWorker]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, {str(number): asdict(worker) for number, worker in workers.items()})

    def living(self, name: str) -> dict[int, SentWorker]:
        """Those that still run or wait, in jobs of this name.

        Raises:
            UserError: Slurm does not answer.
        """
        sent = self.read()
        known = states(worker.job for worker in sent.values())
        if known is None:
            raise UserError("Slurm's controller does not answer, and this sweep has jobs there: try again later")
        return {
            number: worker
            for number, worker in sent.items()
            if not known[worker.job].ended and known[worker.job].job_name == name
        }
