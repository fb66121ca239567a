"""The processes that a process has started."""

import contextlib
from pathlib import Path


def children(pid: int) -> list[int]:
    """The processes below `pid`, all generations."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir() if Path("/proc").is_dir() else ():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                below.setdefault(parent, []).append(int(entry.name))
    found, ahead = [], [pid]
    while ahead:
        ahead += (own := below.get(ahead.pop(), []))
        found += own
    return found
