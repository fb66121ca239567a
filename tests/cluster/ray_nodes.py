"""A real Ray cluster of two nodes for tests, in a network and a numbering of processes of its own.

Ray writes its own address over that of loopback where there is another network; inside, there is none. With the first
process of the namespace all others end, however the tests do.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import CONF, environment_of_commands

ADDRESS = "127.0.0.1:6379"
CLIENT = "ray://127.0.0.1:10001"
CPUS = GPUS = 2  # of each node, the GPUs in name only
AT_MOST_A_MINUTE = ("timeout", "-k", "5", "60")
ENVIRONMENT = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}


@dataclass
class RayNodes:
    """A running cluster.

    Attributes:
        home: its files.
        first: the first process of the namespace, as it is called outside.
    """

    home: Path
    first: int
    raylets: list[int] = field(default_factory=list)

    def inside(self, folder: Path, *words: str) -> list[str]:
        """The words of a command that runs in a folder, beside the nodes."""
        return ["nsenter", f"--target={self.first}", "--net", "--pid", "--mount", "env", f"--chdir={folder}", *words]

    def add_node(self) -> None:
        """Start another node, the first one with the head of the cluster."""
        which = ["--head", "--port=6379", "--node-ip-address=127.0.0.1", f"--temp-dir={self.home}"]
        words = ["--address", ADDRESS] if self.raylets else [*which, "--include-dashboard=false"]
        size = [f"--num-cpus={CPUS}", f"--num-gpus={GPUS}", "--object-store-memory=80000000"]
        program = str(Path(sys.executable).parent / "ray")
        done = subprocess.run(
            self.inside(self.home, *AT_MOST_A_MINUTE, program, "start", *words, *size, "--disable-usage-stats"),
            env={**environment_of_commands(), **ENVIRONMENT},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        self.raylets += [pid for pid in self.processes("raylet/raylet") if pid not in self.raylets]

    def start(self, folder: Path, *words: str) -> "subprocess.Popen[str]":
        """`python -m project.train` with these words, beside the nodes."""
        return subprocess.Popen(
            self.inside(folder, "timeout", "-k", "5", "240", sys.executable, "-m", "project.train", *words),
            env=outer_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def processes(self, part: str, below: int | None = None) -> list[int]:
        """The cluster's living processes whose command line has `part`, as they are called outside."""
        ours = Path(f"/proc/{self.first}/ns/pid").readlink()
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and (entry / "ns/pid").readlink() == ours:
                    words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    if part in words and (below is None or below in _above(int(entry.name))):
                        found.append(int(entry.name))
            except OSError:
                continue
        return sorted(found)

    def jobs(self, raylet: int | None = None) -> list[int]:
        """The processes that run jobs, on one node or on all; not those that they have forked and that begin another
        program in a moment."""
        found = self.processes("-m project.ray.node_job", raylet)

        def begun(pid: int) -> bool:
            try:
                return not set(found) & set(_above(pid))
            except OSError:  # it is over
                return False

        return [pid for pid in found if begun(pid)]


def outer_environment() -> dict[str, str]:
    """Of the commands that use the cluster."""
    path = os.pathsep.join([str(CONF.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**environment_of_commands(), **ENVIRONMENT, "PYTHONPATH": path}


def _above(pid: int) -> list[int]:
    """The processes that have started this one, the nearest first."""
    found = []
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(pid)
    return found


def environment(pid: int) -> dict[str, str]:
    """What a process was started with."""
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def inner(pid: int) -> int:
    """What a process is called inside."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("NSpid:")).split()[-1])


def why_not() -> str | None:
    """What is missing here to run Ray's nodes."""
    if importlib.util.find_spec("ray") is None:
        return "Ray is not installed: pip install '.[ray]'"
    for program in ("unshare", "nsenter", "ip"):
        if shutil.which(program) is None:
            return f"there is no {program}"
    if os.getuid() != 0:
        return "a network of its own needs root"
    done = subprocess.run(["unshare", "--net", "--pid", "--fork", "--mount-proc", "true"], capture_output=True)
    return None if done.returncode == 0 else "this machine lets nobody have a network of its own"


@contextmanager
def ray_nodes() -> Iterator[RayNodes]:
    """A cluster of two nodes, of which nothing is left after the block."""
    if reason := why_not():
        pytest.skip(reason)
    home = Path(tempfile.mkdtemp(prefix="ray-"))  # paths of sockets are short
    # the first process takes in what others leave behind, and ends with this one
    script = "ip link set lo up && echo up && read -r _"
    kept = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", script]
    outside = subprocess.Popen(kept, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert outside.stdout is not None
        assert outside.stdout.readline() == "up\n"
        (first,) = Path(f"/proc/{outside.pid}/task/{outside.pid}/children").read_text().split()
        cluster = RayNodes(home, int(first))
        cluster.add_node()
        cluster.add_node()
        yield cluster
    finally:
        outside.send_signal(signal.SIGKILL)
        outside.communicate()
        shutil.rmtree(home, ignore_errors=True)
