"""Entries of a cache: each appears whole or not at all, and is made once, however many processes want it."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def make_entry(place: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a new folder beside `place`, under a lock, and rename it; nothing where `place` is there.

    Raises:
        OSError: no place to write.
    """
    folder = place.parent
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        for stale in folder.glob(".*.partial"):  # of a process that was killed
            shutil.rmtree(stale, ignore_errors=True)
        if not place.is_dir():
            with tempfile.TemporaryDirectory(".partial", ".", folder) as partial:
                entry = Path(partial) / "entry"
                entry.mkdir()
                write(entry)
                entry.rename(place)
