"""Where a study is kept: a journal file that survives `kill -9` and power cuts, or any database that Optuna takes."""

import contextlib
import errno
import fcntl
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from project.errors import UserError
from project.sweeps.passwords import masked, scrubbed
from project.sweeps.patience import Patience

JOURNAL = "study"


class KernelLock:
    """An exclusive `flock`, which the kernel lets go of however its process ends: no stale lock stalls the others.

    File systems without it (some network mounts) get Optuna's symbolic link, whose stale form is broken after seconds.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: int | None = None
        self._link: JournalFileSymlinkLock | None = None

    def acquire(self) -> bool:
        if self._link is None:
            self._file = os.open(self._path + ".lock", os.O_CREAT | os.O_RDWR, 0o644)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX)
                return True
            except OSError as error:
                os.close(self._file)
                self._file = None
                if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
                    raise
                self._link = JournalFileSymlinkLock(self._path + ".link", grace_period=5)
        return self._link.acquire()

    def release(self) -> None:
        if self._link is not None:
            self._link.release()
        elif self._file is not None:
            os.close(self._file)  # lets go of the lock
            self._file = None


class Journal(JournalFileBackend):
    """Optuna's journal file, whose torn last line is mended before anything is written behind it.

    A power cut or a full disk can leave half a line. Once something follows it the file could never be read again, so
    every writer looks at the last byte first, under the lock.
    """

    def __init__(self, path: str) -> None:
        self._own_lock = KernelLock(path)
        super().__init__(path, self._own_lock)  # type: ignore[arg-type]
        with self._locked():
            mend(Path(path))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with self._locked():
            mend(Path(self._file_path))
            with Path(self._file_path).open("ab", buffering=0) as file:
                begin = file.tell()
                try:
                    left = memoryview(text)
                    while left:  # what a disk has no room for is left out without a word, until nothing fits
                        left = left[file.write(left) :]
                    os.fdatasync(file.fileno()) if hasattr(os, "fdatasync") else os.fsync(file.fileno())
                except OSError:
                    with contextlib.suppress(OSError):
                        os.truncate(file.fileno(), begin)  # a full disk: all or nothing
                    raise

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._own_lock.acquire()
        try:
            yield
        finally:
            self._own_lock.release()


def mend(journal: Path) -> bool:
    """Cut off a last line that has no end, or give it one if it is whole; whether anything was mended."""
    with journal.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return False
        file.seek(size - 1)
        if file.read(1) == b"\n":
            return False
        begin = _last_line(file, size)
        file.seek(begin)
        try:
            json.loads(file.read())
            file.write(b"\n")
        except ValueError:
            file.truncate(begin)
        file.flush()
        os.fsync(file.fileno())
        return True


def _last_line(file: Any, size: int) -> int:
    """Where the last line begins, read backwards in blocks."""
    position = size
    while position > 0:
        step = min(position, 65536)
        position -= step
        file.seek(position)
        newline: int = file.read(step).rfind(b"\n")
        if newline >= 0:
            return position + newline + 1
    return 0


def open_storage(url: str | None, folder: Path, heartbeat: float, patience: Patience | None = None) -> BaseStorage:
    """The storage of a study: the journal in the sweep's `folder`, or the database at `url`.

    Args:
        heartbeat: seconds between two signs of life of a worker; a database keeps them.
        patience: how long a server is waited for, once it has answered; None: not at all.

    Raises:
        UserError: the database cannot be reached, or its URL is not understood. No password is in the message.
    """
    if url is None:
        folder.mkdir(parents=True, exist_ok=True)
        return JournalStorage(Journal(str(folder / JOURNAL)))
    if url.startswith("sqlite") and (not url.partition("///")[2].partition("?")[0] or ":memory:" in url):
        raise UserError(f"sweep.storage={url} is in the memory of one process: give a file, sqlite:///study.db")
    seconds = max(1, round(heartbeat))
    warnings.filterwarnings("ignore", category=ExperimentalWarning)  # heartbeats
    try:
        if not is_a_server(url):
            arguments: dict[str, Any] = {"pool_pre_ping": True, "connect_args": {"timeout": 60}}
            return RDBStorage(url, engine_kwargs=arguments, heartbeat_interval=seconds, grace_period=4 * seconds)
        from project.sweeps.database import Database  # SQLAlchemy

        return Database(url, seconds, patience or Patience(0, url))
    except ImportError as error:
        raise UserError(
            f"sweep.storage={masked(url)} needs a driver that is not installed: {scrubbed(str(error), url)}"
        ) from None
    except Exception as error:  # SQLAlchemy's errors and those of the drivers share no base
        reason = " ".join(scrubbed(str(error), url).split())[:300]
        raise UserError(f"cannot use sweep.storage={masked(url)}: {reason}") from None


def is_a_server(url: str | None) -> bool:
    """Whether `url` names a database server, and no file."""
    return url is not None and not url.startswith("sqlite")


def study_lock(url: str | None, folder: Path, name: str) -> Callable[[], AbstractContextManager[Any]]:
    """A lock over a study in a file (the journal, SQLite), which no killed process keeps: `with lock(): ...`.

    The kernel keeps it, on the machine or the file server that holds the file.

    Raises:
        UserError: a SQLite file is to lie in a folder that there is not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".claims" if url is None else Path(_sqlite_file(url, folder) + f".{_plain(name)}.claims")
    if not path.parent.is_dir():
        raise UserError(f"sweep.storage={url}: there is no folder {path.parent}: make it, or name another file")
    return lambda: _held(KernelLock(str(path)))


@contextmanager
def _held(lock: KernelLock) -> Iterator[None]:
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _sqlite_file(url: str, folder: Path) -> str:
    path = url.partition("///")[2].partition("?")[0]
    return str(Path(path).absolute()) if path else str(folder / "memory")


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name)
