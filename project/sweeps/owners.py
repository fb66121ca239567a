"""Which workers live: each holds a file lock for life, which the kernel lets go of the moment that it dies."""

import fcntl
import os
import signal
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock

WORKERS = ".workers"
BEATS_MISSED = 4
SECONDS_TO_WAKE = 1.0  # a machine that has slept finds all its workers silent


@dataclass(frozen=True)
class Owner:
    """Who trains a trial.

    Attributes:
        token: of this worker alone.
        machine: its host, boot and container: only there a free lock is a proof, and a process's number its name.
        pid: its process.
        started: when that began, in the kernel's ticks, since numbers of processes are used again; "" if not known.
        lock: the file that it keeps locked; its time of change is its last sign of life.
    """

    token: str
    machine: str
    pid: int
    started: str
    lock: str

    def record(self) -> dict[str, Any]:
        return asdict(self)

    def beat(self) -> None:
        """Give a sign of life."""
        os.utime(self.lock)


@cache
def this_machine() -> str:
    """Host name, boot, and the numbering of processes (each container has its own)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        numbering = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        boot = numbering = ""
    return f"{socket.gethostname()} {boot} {numbering}".strip()


@contextmanager
def living(folder: Path) -> Iterator[Owner]:
    """An owner, for as long as the block runs and this process lives."""
    place = folder / WORKERS
    place.mkdir(parents=True, exist_ok=True)
    token = uuid.uuid4().hex[:12]
    path = place / f"{token}.lock"
    try:
        with FileLock(path):
            yield Owner(token, this_machine(), os.getpid(), started(os.getpid()) or "", str(path))
    finally:
        path.unlink(missing_ok=True)


def is_alive(
    record: dict[str, Any] | None, heartbeat: float, stale: bool | None = None, folder: Path | None = None
) -> bool:
    """Whether the worker of a trial's owner record lives.

    On this machine a lock that is free proves a death. A worker that holds its lock and gives no sign of life (it was
    paused, or its machine was) is ended for certain before another takes its trial. Elsewhere only signs of life tell.

    Args:
        record: `Owner.record()`; None: nobody owns the trial.
        heartbeat: seconds between two signs of life.
        stale: what the storage says of the signs of life; None: it keeps none, so the lock file's time tells.
        folder: the sweep's, as it is called here; None: as the worker calls it.
    """
    if record is None:
        return False
    here = record["machine"] == this_machine()
    if not here and stale is False:
        return True  # without a look at the files of a thousand workers, on a file server
    lock, pid = Path(record["lock"]), int(record["pid"])
    if folder is not None and not lock.exists():  # the sweep's folder may have another name here
        lock = folder / WORKERS / lock.name
    if here and (not _is_held(lock) or started(pid) != record["started"]):
        return False  # processes that it had forked may keep its lock a little longer
    # a worker that ends takes its lock file with it; those of a database may share no folder with this one, or one
    # whose file system tells times late
    silent = (not lock.exists() or _is_silent(lock, heartbeat)) and stale is not False
    if not (silent and here):
        return not silent
    waited = time.monotonic()
    while time.monotonic() - waited < SECONDS_TO_WAKE:
        time.sleep(0.1)
        if not _is_silent(lock, heartbeat):
            return True
    return not _end(pid)


def _is_held(lock: Path) -> bool:
    """Asked without `filelock`, of which some versions touch the file, which would be a sign of life."""
    try:
        file = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True  # or it cannot be told here: then the signs of life do
    finally:
        os.close(file)
    return False


def _is_silent(lock: Path, heartbeat: float) -> bool:
    """By the clock of the file system that both write to."""
    probe = lock.with_name(f".clock-{uuid.uuid4().hex}")
    try:
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
        return now - lock.stat().st_mtime > BEATS_MISSED * heartbeat
    except OSError:
        return False


def started(pid: int) -> str | None:
    """When a living process began, in the kernel's ticks; "" where there is no /proc to tell; None: there is none."""
    if not Path("/proc/self/stat").exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return ""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else fields[18]


def _end(pid: int) -> bool:
    """A paused process would wake up and write into a folder that another one trains in; whether it has ended."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # another user's
    for _ in range(100):
        if started(pid) is None:
            return True
        time.sleep(0.01)
    return False
