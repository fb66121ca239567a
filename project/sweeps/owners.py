"""Which workers live: each holds a file lock for life, which the kernel lets go of the moment that it dies."""

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

from filelock import FileLock, Timeout

WORKERS = ".workers"
BEATS_MISSED = 4


@dataclass(frozen=True)
class Owner:
    """Who trains a trial.

    Attributes:
        token: of this worker alone.
        machine: its host and boot: only there a free lock is a proof.
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
    """Host name and boot: a file lock that is free tells of the dead on this machine only."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    return f"{socket.gethostname()} {boot}".strip()


@contextmanager
def living(folder: Path) -> Iterator[Owner]:
    """An owner, for as long as the block runs and this process lives."""
    place = folder / WORKERS
    place.mkdir(parents=True, exist_ok=True)
    token = uuid.uuid4().hex[:12]
    path = place / f"{token}.lock"
    with FileLock(path):
        yield Owner(token, this_machine(), os.getpid(), started(os.getpid()) or "", str(path))
    path.unlink(missing_ok=True)


def is_alive(record: dict[str, Any] | None, heartbeat: float, stale: bool | None = None) -> bool:
    """Whether the worker of a trial's owner record lives.

    On this machine a lock that is free proves a death. A worker that holds its lock and gives no sign of life (it was
    paused, or its machine was) is ended for certain before another takes its trial. Elsewhere only signs of life tell.

    Args:
        record: `Owner.record()`; None: nobody owns the trial.
        heartbeat: seconds between two signs of life.
        stale: what the storage says of the signs of life; None: it keeps none, so the lock file's time tells.
    """
    if record is None:
        return False
    lock, pid = Path(record["lock"]), int(record["pid"])
    here = record["machine"] == this_machine()
    if here and (not _is_held(lock) or started(pid) != record["started"]):
        return False  # processes that it had forked may keep its lock a little longer
    silent = _is_silent(lock, heartbeat) if lock.exists() else bool(stale)
    if silent and here:
        _end(pid)
    return not silent


def _is_held(lock: Path) -> bool:
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True


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


def _end(pid: int) -> None:
    """A paused process would wake up and write into a folder that another one trains in."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
