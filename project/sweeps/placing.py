"""Which cores and GPUs each worker of this machine gets."""

import math
import os
import subprocess
from dataclasses import dataclass

from project.errors import UserError
from project.machine import usable_cores
from project.sweeps.settings import Settings


@dataclass(frozen=True)
class Places:
    """Of each worker the CPU threads, and of each its `CUDA_VISIBLE_DEVICES`; None: as they are.

    `here`: whether they are this machine's.
    """

    threads: int | None
    gpus: list[str] | None
    here: bool = True

    def said(self, workers: int) -> str:
        """In a line, for the person who started the sweep."""
        of_all = f" of {usable_cores()}" if self.here else ""
        threads = "" if self.threads is None else f", {self.threads}{of_all} cores each"
        gpus = "" if self.gpus is None else f", GPU {' '.join(self.gpus)}"
        return f"{workers} worker{'s' if workers > 1 else ''}{threads}{gpus}"


def share_out(settings: Settings, local: bool) -> Places:
    """Divide this machine among its workers; on a cluster (not `local`) its scheduler does.

    Raises:
        UserError: more GPUs are asked for than there are.
    """
    threads = settings.threads_per_worker
    if threads is None and local:
        threads = max(1, usable_cores() // settings.workers)
    if not local:
        return Places(threads, None, here=False)
    gpus = visible_gpus()
    share = settings.gpus_per_worker
    if share is None:
        return Places(threads, [gpus[worker % len(gpus)] for worker in range(settings.workers)] if gpus else None)
    each, on_one = (int(share), 1) if share >= 1 else (1, int(1 / share + 1e-9))
    needed = math.ceil(settings.workers / on_one) * each
    if needed > len(gpus):
        raise UserError(
            f"sweep.workers={settings.workers} with sweep.gpus_per_worker={share} need {needed} GPUs; there are "
            f"{len(gpus)}: take fewer workers, or a smaller share"
        )
    firsts = [worker // on_one * each for worker in range(settings.workers)]
    return Places(threads, [",".join(gpus[first : first + each]) for first in firsts])


def visible_gpus() -> list[str]:
    """The CUDA devices that this process may use, by index or UUID, without starting CUDA."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        names = [name.strip() for name in chosen.split(",") if name.strip()]
        return names[: names.index("-1")] if "-1" in names else names  # CUDA ends the list there
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [str(index) for index in range(len(lines))] if listed.returncode == 0 else []
