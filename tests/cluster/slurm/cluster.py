"""A real Slurm of four nodes on this machine, for the tests of a session."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "unshare", "setpriv")
SECONDS_TO_DIE = 7.0  # a job that is started again before its last processes are gone drains its node (KillWait is 5)


class Slurm:
    """The cluster.

    Args:
        home: its folder.

    Attributes:
        environment: of the commands that are to use it.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {"SLURM_CONF": str(home / "slurm.conf")}
        self._around = dict(os.environ)  # a test that runs meanwhile may have another PATH
        self._ended = threading.Event()
        self._hurrying = threading.Thread(target=self._hurry, daemon=True)

    def ask(self, *command: str) -> str:
        """What one of Slurm's commands says."""
        done = subprocess.run(
            command, env={**self._around, **self.environment}, capture_output=True, text=True, timeout=60
        )
        return done.stdout.strip()

    def jobs(self, form: str = "%i %T %N") -> list[list[str]]:
        """The fields of the jobs that wait or run."""
        return [line.split() for line in self.ask("squeue", "--noheader", "--array", f"--format={form}").splitlines()]

    def preempt(self, node: str) -> None:
        """Whoever runs on the node makes room for another's job of a second."""
        wanted = ["--partition=urgent", f"--nodelist={node}", "--exclusive", "--output=/dev/null", "--wrap=sleep 1"]
        self.ask("sbatch", *wanted)

    def kill(self, node: str) -> None:
        """The node is gone, as when its power fails: all its processes are, and the controller sees it down."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _host_of(entry) == self._hosts()[node]:
                os.kill(int(entry.name), signal.SIGKILL)
        self.ask("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")

    def start_hurrying(self) -> None:
        """Slurm lets a requeued job wait for two minutes; here it need not."""
        self._hurrying.start()

    def stop(self) -> None:
        self._ended.set()
        self._hurrying.join()

    def _hosts(self) -> dict[str, str]:
        return dict(line.split() for line in (self.home / "nodes").read_text().splitlines())

    def _hurry(self) -> None:
        seen: dict[str, float] = {}
        while not self._ended.wait(0.5):
            for job, state, reason in self.jobs("%i %T %r"):
                if (state, reason) != ("PENDING", "BeginTime"):
                    seen.pop(job, None)
                elif time.monotonic() - seen.setdefault(job, time.monotonic()) > SECONDS_TO_DIE:
                    self.ask("scontrol", "update", f"JobId={job}", "StartTime=now")


def _host_of(process: Path) -> str | None:
    """The name of its UTS namespace: that of the node that it runs on."""
    try:
        return str((process / "ns" / "uts").readlink())
    except OSError:
        return None


@contextmanager
def running_slurm() -> Iterator[Slurm]:
    """Skipped where a program or root is missing. Whatever happens to this process, nothing of the cluster is left."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None]
    if os.getuid() != 0 or missing:
        pytest.skip(f"a test cluster needs root, and slurm-wlm and munge installed (missing: {missing or 'root'})")
    home = Path(tempfile.mkdtemp(prefix="slurm-"))
    apart = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]
    command = [str(Path(__file__).with_name("start.sh")), str(home), str(_free_ports(5))]
    with (home / "log").open("w") as log:
        daemons = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *apart, *command], stdout=log, stderr=log)
    slurm = Slurm(home)
    try:
        _wait_for_nodes(slurm, daemons)
        slurm.start_hurrying()
        yield slurm
        slurm.stop()
    finally:
        daemons.kill()
        daemons.wait()
        shutil.rmtree(home, ignore_errors=True)


def _wait_for_nodes(slurm: Slurm, daemons: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 60
    while not (
        (slurm.home / "started").exists() and slurm.ask("sinfo", "-h", "-p", "main", "-t", "idle", "-o", "%D") == "4"
    ):
        assert daemons.poll() is None, (slurm.home / "log").read_text()
        assert time.monotonic() < end, f"Slurm's nodes did not come up:\n{slurm.ask('sinfo')}"
        time.sleep(0.1)


def _free_ports(count: int) -> int:
    """The first of so many neighbouring ports of loopback that nobody listens on; each of pytest-xdist's workers looks
    elsewhere."""
    begin = 21000 + 1000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    for first in range(begin, begin + 1000, 10):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
    raise AssertionError("no free ports")
