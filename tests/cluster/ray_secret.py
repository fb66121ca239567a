"""A job whose storage has a password, on Ray's nodes: `python -m tests.cluster.ray_secret` reads the password."""

import json
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from project.ray.cluster import connect
from project.ray.jobs import RayJobs
from project.ray.settings import Request


@dataclass
class Looking:
    """Returns the length of what it was handed, and the processes that show it in their words or their environment."""

    password: str

    def __call__(self) -> tuple[int, list[str]]:
        found: list[str] = []
        for entry in Path("/proc").iterdir():
            for path in [entry / name for name in ("cmdline", "environ") if entry.name.isdigit()]:
                with suppress(ProcessLookupError, FileNotFoundError):  # it has just ended
                    found += [str(path)] if self.password.encode() in path.read_bytes() else []
        return len(self.password), found

    def stop(self) -> None:
        """Nobody asks it."""


def main() -> None:
    """Print what the job returned."""
    password = sys.stdin.readline().strip()
    jobs = RayJobs(connect("auto"), Request(1, 1, None), [Looking(password)])
    try:
        (ended,) = jobs.results()
    finally:
        jobs.end()
    print(json.dumps([ended.said, ended.code, ended.how]))


if __name__ == "__main__":
    main()
