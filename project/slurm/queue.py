"""What Slurm says of its jobs, and what it is told. Its accounting is not needed: the controller is asked."""

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from project.errors import UserError

ENDED = (
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "GONE",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
)
GONE = "GONE"  # ours: the controller has forgotten the job
_SECONDS = 60  # a busy controller may let its clients wait


@dataclass(frozen=True)
class State:
    """Of a job.

    Attributes:
        name: Slurm's word for it: PENDING, RUNNING, COMPLETED, ...
        reason: why it waits, or ended so.
        nodes: where it runs.
        job_name: to tell it from another job of the same number.
    """

    name: str
    reason: str = ""
    nodes: str = ""
    job_name: str = ""

    @property
    def ended(self) -> bool:
        return self.name in ENDED

    def said(self) -> str:
        """In a few words, for the person who waits."""
        if self.name == "PENDING":
            held = "held" in self.reason.lower()
            told = " (scontrol release, once it is known why)" if held else ""
            return f"waits: {self.reason}{told}" if self.reason not in ("", "None") else "waits"
        if self.name == "RUNNING":
            return f"runs on {self.nodes}"
        return self.name.lower().replace("_", " ")


def states(jobs: Iterable[str]) -> dict[str, State] | None:
    """The states of jobs by id; None: the controller does not answer just now."""
    wanted = list(jobs)
    if not wanted:
        return {}
    mains = sorted({job.partition("_")[0] for job in wanted})
    try:
        listed = subprocess.run(
            ["squeue", "--noheader", "--array", "--states=all", "--jobs", ",".join(mains), "--format=%i|%T|%r|%N|%j"],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return None
    if listed.returncode != 0 and "Invalid job id" not in listed.stderr:
        return None
    found = {}
    for line in listed.stdout.splitlines():
        job, name, reason, nodes, job_name = line.split("|", 4)
        found[job] = State(name, reason, nodes, job_name)
    return {job: found.get(job, State(GONE)) for job in wanted}


def cancel(jobs: Iterable[str], *options: str) -> None:
    """`scancel`; jobs that have ended already are no mistake."""
    ids = list(jobs)
    if ids:
        subprocess.run(["scancel", "--quiet", *options, *ids], capture_output=True, timeout=_SECONDS)


def is_preempted(job: str) -> bool:
    """Whether a running job has been told to make room for another, and has some seconds left."""
    shown = subprocess.run(
        ["scontrol", "show", "job", "--oneliner", job], capture_output=True, text=True, timeout=_SECONDS
    )
    fields = dict(word.partition("=")[::2] for word in shown.stdout.split())
    preempted = fields.get("PreemptTime", "None")  # times are written so that they can be compared as texts
    running = fields.get("JobState") == "RUNNING"
    return running and preempted != "None" and preempted >= fields.get("StartTime", "")


def own_id() -> str:
    """Of the job that this process is of."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return os.environ["SLURM_JOB_ID"] if array is None else f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"


def requeue(job: str) -> None:
    """Put a running job back into the queue, which ends it here.

    Raises:
        UserError: Slurm refuses.
    """
    done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=_SECONDS)
    if done.returncode != 0:
        raise UserError(f"job {job} was not queued again: {' '.join(done.stderr.split())}")
