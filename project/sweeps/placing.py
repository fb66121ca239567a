"""Which cores and GPUs each worker of this machine gets."""

import math
import os
import subprocess
from dataclasses import dataclass

from project.errors import UserError
from project.machine import usable_cores
from project.sweeps.settings import Settings
from project.sweeps.space import Space


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


def share_out(settings: Settings, local: bool, on_gpus: bool = True) -> Places:
    """Divide this machine among its workers; on a cluster (not `local`) its scheduler does.

    Args:
        settings: the sweep's.
        local: whether the workers run on this machine.
        on_gpus: whether trials train on its GPUs, if it has any.

    Raises:
        UserError: more GPUs are asked for than there are, or more for a trial than its worker has.
    """
    threads, devices = settings.threads_per_worker, settings.devices_per_trial or 1
    if threads is None and local:
        threads = max(1, usable_cores() // (settings.workers * devices))
    share = settings.gpus_per_worker
    if share is not None and devices > max(1, share) and on_gpus:
        raise UserError(
            f"sweep.devices_per_trial={devices} with sweep.gpus_per_worker={share:g}: a trial trains on its worker's "
            f"GPUs; take sweep.gpus_per_worker={devices}, or leave it out"
        )
    if not local:
        return Places(threads, None, here=False)
    gpus = visible_gpus()
    if share is None and devices > 1 and gpus and on_gpus:
        share = devices
    if share is None:
        return Places(threads, [gpus[worker % len(gpus)] for worker in range(settings.workers)] if gpus else None)
    each, on_one = (int(share), 1) if share >= 1 else (1, int(1 / share + 1e-9))
    needed = math.ceil(settings.workers / on_one) * each
    which = "sweep.devices_per_trial" if settings.gpus_per_worker is None else "sweep.gpus_per_worker"
    if needed > len(gpus):
        raise UserError(
            f"sweep.workers={settings.workers} with {which}={share} need {needed} GPUs; there are "
            f"{len(gpus)}: take fewer workers, or a smaller share"
        )
    firsts = [worker // on_one * each for worker in range(settings.workers)]
    return Places(threads, [",".join(gpus[first : first + each]) for first in firsts])


def add_devices(space: Space, devices: int | None) -> None:
    """Every trial of `space` trains on so many devices; None: as the config says.

    Raises:
        UserError: `trainer.devices` is searched, or fixed to another number.
    """
    if devices is None:
        return
    given = [word for word in space.fixed if word.partition("=")[0].lstrip("+") == "trainer.devices"]
    if "trainer.devices" in space.distributions or any(word.partition("=")[2] != str(devices) for word in given):
        what = given[0] if given else "trainer.devices is searched"
        raise UserError(f"{what}, and sweep.devices_per_trial={devices}: give one of them")
    if not given:
        space.fixed.append(f"trainer.devices={devices}")


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
