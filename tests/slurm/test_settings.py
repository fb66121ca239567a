"""What a job asks for: wrong values are told before anything is sent, right ones become sbatch's options."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from project.errors import UserError
from project.slurm.sending import parameters
from project.slurm.settings import Slurm, Tasks, slurm_settings, tasks_of

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    ("time", "seconds"),
    [(240, 14400), ("90", 5400), ("04:00:00", 14400), ("0:10:30", 630), ("2-12:00:00", 216000)],
)
def test_times_are_read(time: int | str, seconds: int) -> None:
    assert Slurm(time=time).seconds() == seconds


@pytest.mark.parametrize(("memory", "megabytes"), [("16GB", 16384), ("500M", 500), ("1.5 GiB", 1536), ("1T", 1048576)])
def test_sizes_are_read(memory: str, megabytes: int) -> None:
    assert Slurm(memory=memory).megabytes() == megabytes


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"time": "04:00"}, "cluster.time must be minutes, hours:minutes:seconds or days-hours:minutes:seconds"),
        ({"time": 0}, "cluster.time must be at least a minute, got 0"),
        ({"time": 1}, "cluster.time=1 leaves no time before cluster.notice=120 seconds"),
        ({"memory": "16"}, "cluster.memory must be a size with its unit, e.g. 16GB or 500MB, got '16'"),
        ({"memory": "0GB"}, "cluster.memory must be a size"),
        ({"gpus": -1}, "cluster.gpus must be at least 0, got -1"),
        ({"cpus": 0}, "cluster.cpus must be at least 1, got 0"),
        ({"array": 0}, "cluster.array must be at least 1, got 0"),
        ({"partition": "gpu; rm"}, "cluster.partition must be a name that Slurm knows, got 'gpu; rm'"),
        ({"options": {"ntasks_per_node": 3}}, "cluster.options.ntasks_per_node is set by a key of its own"),
    ],
)
def test_wrong_values_are_told(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        Slurm(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("trainer", "tasks"),
    [
        ({}, Tasks(1, 1, 1)),
        ({"devices": 2, "num_nodes": 3, "strategy": "ddp"}, Tasks(3, 2, 1)),
        ({"devices": "2"}, Tasks(1, 2, 1)),
        ({"devices": [0, 1, 3]}, Tasks(1, 3, 1)),
        ({"devices": 2, "strategy": "ddp_fork"}, Tasks(1, 1, 2)),
    ],
)
def test_nodes_and_tasks_come_from_the_trainer(trainer: dict[str, object], tasks: Tasks) -> None:
    assert tasks_of(OmegaConf.create(trainer)) == tasks


@pytest.mark.parametrize("devices", ["auto", -1])
def test_devices_that_depend_on_the_machine_are_refused(devices: object) -> None:
    with pytest.raises(UserError, match=r"say how many, e\.g\. trainer\.devices=2"):
        tasks_of(OmegaConf.create({"devices": devices}))


def test_what_sbatch_is_told() -> None:
    settings = Slurm("gpu", "physics", 1, 4, "16GB", "04:00:30", 3, 60, options={"qos": "high"})
    assert parameters("a sweep/1", settings, Tasks(2, 2)) == {
        "job_name": "a_sweep_1",
        "partition": "gpu",
        "account": "physics",
        "time": 241,
        "nodes": 2,
        "ntasks_per_node": 2,
        "cpus_per_task": 4,
        "gpus_per_node": 2,
        "mem": "16384M",
        "signal_delay_s": 60,
        "stderr_to_stdout": True,
        "array_parallelism": 3,
        "srun_args": ["--kill-on-bad-exit=1"],
        "additional_parameters": {"requeue": True, "qos": "high"},
        "setup": ['export OMP_NUM_THREADS="${OMP_NUM_THREADS:-4}"'],
    }
    least = parameters("run", Slurm(), Tasks(processes=2))
    assert (least["ntasks_per_node"], least["nodes"]) == (1, 1)
    assert not least.keys() & {"partition", "account", "cpus_per_task", "gpus_per_node", "mem", "srun_args", "setup"}


def test_a_machine_without_slurm_says_so(
    composed: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="cluster=slurm needs Slurm's sbatch, which this machine does not have"):
        slurm_settings(composed("cluster=slurm").cluster)


@pytest.mark.parametrize("more", [[], ["sweep=default", "optimizer.lr=interval(0.001,0.1)"]])
def test_nothing_is_left_of_a_command_that_cannot_send(
    run_command: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, more: list[str]
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    done = run_command("train", "model=mlp", "data=shapes", "cluster=slurm", *more)
    assert done.returncode == 1
    assert done.stderr.startswith("error: cluster=slurm needs Slurm's sbatch")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.mark.slow
def test_wrong_words_are_told_in_a_line(run_command: Run) -> None:
    for word, told in (
        ("cluster.gpus=many", "error: cluster.gpus must be a whole number"),
        ("cluster.gpu=1", "error: cluster.gpu: there is no such option. Did you mean cluster.gpus"),
    ):
        done = run_command("train", "model=mlp", "data=shapes", "cluster=slurm", word)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert done.stderr.startswith(told), done.stderr
