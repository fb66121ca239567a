"""A real Slurm: runs and sweeps as jobs, preempted, cancelled, on nodes that die, without their command."""

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from project.sweeps.claims import attempts_of
from tests.cluster.slurm.cluster import Slurm
from tests.commands import Command, run_module, start_module
from tests.sweeps.sweeping import SPACE, journal, kill_all, rows, trials, until

pytestmark = pytest.mark.slow

TINY = (
    "model=mlp",
    "model.net.hidden=[8]",
    "data=shapes",
    "data.train_images=600",
    "data.test_images=20",
    "data.batch_size=16",
    "trainer.accelerator=cpu",
    "callbacks.checkpoints.every_n_steps=10",
)
AS_JOBS = ("cluster=slurm", "cluster.gpus=1", "cluster.cpus=1", "cluster.memory=1GB", "cluster.time=60")


@contextmanager
def command(slurm: Slurm, folder: Path, *words: str) -> Iterator[Command]:
    """`python -m project.train` beside the cluster; killed at the end of the block, if it still runs."""
    environment = {**slurm.environment, "CUDA_VISIBLE_DEVICES": None, "OMP_NUM_THREADS": "1"}
    with (folder / "said").open("ab") as file:
        started = start_module("project.train", *TINY, *words, cwd=folder, environment=environment, said=file)
    try:
        yield started
    finally:
        kill_all(started)
        started.wait()


def said(folder: Path) -> str:
    return (folder / "said").read_text()


@pytest.fixture(autouse=True)
def _no_jobs_left(slurm: Slurm) -> Iterator[None]:
    yield
    slurm.ask("scancel", "--user=root")
    until(lambda: not slurm.jobs(), 30)


def test_a_run_goes_on_without_its_command_and_after_a_preemption_bit_for_bit(slurm: Slurm, tmp_path: Path) -> None:
    length = "trainer.max_epochs=40"
    with command(slurm, tmp_path, *AS_JOBS, length, "folder=job", "cluster.partition=main") as waiting:
        until(lambda: (tmp_path / "job" / "checkpoints" / "last.ckpt").exists(), 90)
        waiting.send_signal(signal.SIGINT)
        assert waiting.wait(30) == 130
    ((job, state, node),) = slurm.jobs()
    assert state == "RUNNING"
    assert f"job {job} goes on." in said(tmp_path)
    assert f"scancel {job}" in said(tmp_path)
    slurm.preempt(node)
    alone = run_module("project.train", *TINY, length, "folder=alone", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    until(lambda: (tmp_path / "job" / "metrics.json").exists() and not slurm.jobs(), 120)
    log = (tmp_path / "job" / "train.log").read_text()
    assert log.count("writing a checkpoint, then stopping") == 1
    assert log.count("going on at step") == 1
    of_both = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("alone", "job")]
    assert of_both[0] == of_both[1]
    config = (tmp_path / "job" / "config.yaml").read_text().replace(f"resume: {tmp_path}/job", "resume: null")
    assert config.replace("/job", "/alone") == (tmp_path / "alone" / "config.yaml").read_text()


def test_a_task_for_each_device_of_a_run_on_two_nodes(slurm: Slurm, tmp_path: Path) -> None:
    pytest.importorskip("project.distributed")
    length = ("trainer.max_epochs=2", "trainer.strategy=ddp", "optimizer=sgd", "optimizer.lr=0.01")
    with command(slurm, tmp_path, *AS_JOBS, *length, "trainer.num_nodes=2", "folder=job") as waiting:
        until(lambda: waiting.poll() is not None, 120)
    assert waiting.returncode == 0, said(tmp_path)
    assert re.search(r"^job \d+: runs on n\[\d-\d\]$", said(tmp_path), re.MULTILINE)
    assert said(tmp_path).count("epoch   1/2") == 1
    assert len(list((tmp_path / "job").glob("events.out.tfevents.*[0-9]"))) == 1
    alone = run_module("project.train", *TINY, *length, "folder=alone", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    one, two = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("alone", "job"))
    assert (two["samples"], two["steps"]) == (one["samples"], one["steps"])
    for name in ("train/loss", "val/loss", "test/loss"):
        assert two[name] == pytest.approx(one[name], abs=1e-5), name


def test_what_is_wrong_is_told_in_a_line(slurm: Slurm, tmp_path: Path) -> None:
    with command(slurm, tmp_path, *AS_JOBS, "cluster.partition=nowhere") as refused:
        assert refused.wait(60) == 1
    assert said(tmp_path).strip().splitlines() == [
        "error: Slurm refuses the job: invalid partition specified: nowhere; "
        "Batch job submission failed: Invalid partition name specified"
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["said"]
    (tmp_path / "said").unlink()
    with command(slurm, tmp_path, *AS_JOBS, "trainer.accelerator=gpu") as failing:
        assert failing.wait(90) == 1  # the node's are none
    *_, how = said(tmp_path).strip().splitlines()
    assert "The config says trainer.accelerator=gpu trainer.devices=1; this machine has 0 CUDA devices" in said(
        tmp_path
    )
    assert re.fullmatch(r"error: job \d+ ended: failed; what it printed is above, and in \S+/slurm/\d+", how)


def test_a_sweep_survives_a_preemption_a_dead_node_a_cancelled_worker_and_its_head_s_death(
    slurm: Slurm, tmp_path: Path
) -> None:
    folder = tmp_path / "sweep"
    words = [*AS_JOBS, "sweep=default", "sweep.study_name=s", SPACE, "trainer.max_epochs=25", "sweep.heartbeat=2"]
    words += ["+cluster.options.exclusive=true"]  # a node each
    words += ["+callbacks.lingers={_target_:tests.cluster.ranks.Lingers,seconds:0.4}"]  # till all three have begun one
    words += ["sweep.n_trials=5", "sweep.workers=3", "sweep.pruner=null", f"hydra.sweep.dir={folder}"]

    def running() -> dict[str, str]:
        """The jobs that have begun a trial, by the name of their node."""
        attempts = [attempts_of(trial) for trial in trials(folder) if trial.state.name == "RUNNING"]
        busy = {begun[-1]["machine"] for begun in attempts if begun}
        jobs = [job for job in slurm.jobs() if job[1] == "RUNNING"]
        return {node: job for job, _, node in jobs if node in busy}

    with command(slurm, tmp_path, *words) as head:
        until(lambda: journal(folder) is not None and len(running()) == 3, 120)
        jobs = running()
        until(lambda: all((folder / f"{number}/checkpoints/last.ckpt").exists() for number in range(3)), 60)
        head.send_signal(signal.SIGKILL)
        head.wait()
    preempted, dies, cancelled = sorted(jobs)
    slurm.preempt(preempted)
    slurm.kill(dies)
    slurm.ask("scancel", jobs[cancelled])
    with command(slurm, tmp_path, *words) as head:
        code = head.wait(200)
    assert code == 0, said(tmp_path)
    assert "of the workers run already" in said(tmp_path)
    found = trials(folder)
    assert [(trial.number, trial.state.name) for trial in found] == [(number, "COMPLETE") for number in range(5)]
    attempts = [[attempt["ended"] for attempt in attempts_of(trial)] for trial in found]
    assert sorted(map(tuple, attempts)) == [("complete",)] * 2 + [("died", "complete")] + [("stopped", "complete")] * 2
    assert len({(row["number"], row["attempt"]) for row in rows(folder)}) == len(rows(folder)) == 8


def test_a_head_takes_its_workers_along_and_ends_when_they_are_cancelled(slurm: Slurm, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    words = [*AS_JOBS, "sweep=default", "sweep.study_name=s", SPACE, "trainer.max_epochs=1000", "sweep.n_trials=2"]
    words += ["sweep.workers=2", "cluster.array=1", f"hydra.sweep.dir={folder}"]

    def ends(attempt: int) -> list[str | None]:
        until(lambda: len(_attempts(folder)) == attempt, 90)
        until(lambda: (folder / "0/checkpoints/last.ckpt").exists(), 60)
        return _attempts(folder)

    with command(slurm, tmp_path, *words) as head:
        assert ends(1) == [None]
        head.send_signal(signal.SIGINT)
        assert head.wait(60) == 130
    assert not slurm.jobs()
    assert _attempts(folder) == ["stopped"]
    assert "stopped with 0 of 2 trials finished. The same command goes on with it." in said(tmp_path)
    with command(slurm, tmp_path, *words) as head:
        assert ends(2) == ["stopped", None]
        slurm.ask("scancel", "--user=root")
        assert head.wait(60) == 1
    assert not slurm.jobs()
    assert _attempts(folder) == ["stopped", "stopped"]
    *_, last = said(tmp_path).strip().splitlines()
    assert last == f"error: all workers were cancelled (scancel). The same command goes on with the sweep: {folder}"


def _attempts(folder: Path) -> list[str | None]:
    """How the attempts at the first trial ended."""
    study = journal(folder)
    found = [] if study is None else study.get_trials()
    return [attempt["ended"] for attempt in attempts_of(found[0])] if found else []
