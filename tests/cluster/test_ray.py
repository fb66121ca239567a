"""Sweeps and runs on a real Ray cluster: nodes are lost, heads stopped and killed; nothing is lost or doubled."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial

from project.errors import UserError
from project.ray.cluster import check_fits
from project.ray.settings import ray_settings, request
from project.runs.checks import check
from project.sweeps.claims import attempts_of
from tests.cluster.ray_nodes import AT_MOST_A_MINUTE, CLIENT, RayNodes, environment, inner, outer_environment, ray_nodes
from tests.conftest import compose_config
from tests.sweeps.sweeping import SPACE, TINY, finish, journal, numbers, rows, trials, until

RUN = TINY[: TINY.index("sweep=default")]
EPOCHS = 40
LINGERS = "+callbacks.lingers={_target_:tests.cluster.ranks.Lingers,seconds:0.4}"  # workers start one after the other
LONG = (f"trainer.max_epochs={EPOCHS}", "callbacks.checkpoints.every_n_steps=5")
SWEEP = (*TINY, SPACE, "sweep/pruner=none", "cluster=ray", LINGERS)


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayNodes]:
    with ray_nodes() as nodes:
        yield nodes


def running(folder: Path) -> list[FrozenTrial]:
    """The trials that a worker trains, and that have written a checkpoint."""
    if journal(folder) is None:
        return []
    return [
        trial
        for trial in trials(folder)
        if trial.state.name == "RUNNING"
        and [attempt["ended"] for attempt in attempts_of(trial)][-1:] == [None]
        and (folder / str(trial.number) / "checkpoints" / "last.ckpt").exists()
    ]


def wait(command: "subprocess.Popen[str]", condition: Callable[[], Any], seconds: float = 150) -> None:
    """Until the condition is true, while the command runs."""
    try:
        until(lambda: command.poll() is not None or condition(), seconds)
        assert command.poll() is None
    except AssertionError as error:
        command.kill()
        raise AssertionError(f"{error}:\n{command.communicate()[0]}") from None


def head_of(command: "subprocess.Popen[str]") -> int:
    """The process that a command's keys reach: below `nsenter` and `timeout`."""
    pid = command.pid
    for _ in range(2):
        (pid,) = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return pid


@pytest.mark.slow
def test_a_lost_node_loses_and_doubles_no_trial(cluster: RayNodes, tmp_path: Path) -> None:
    folder, (kept, lost) = tmp_path / "sweep", cluster.raylets
    words = ("sweep.n_trials=5", "sweep.workers=3", "cluster.gpus=0.5", f"hydra.sweep.dir={folder}")
    command = cluster.start(tmp_path, *SWEEP, *LONG, *words)

    def on_the_lost_node() -> bool:
        there = {inner(pid) for pid in cluster.jobs(lost)}
        return any(trial.system_attrs["sweep:owner"]["pid"] in there for trial in running(folder))

    wait(command, lambda: len(cluster.jobs()) == 3 and on_the_lost_node())
    shares = [environment(pid)["CUDA_VISIBLE_DEVICES"] for node in (kept, lost) for pid in cluster.jobs(node)]
    os.kill(lost, signal.SIGKILL)
    cluster.raylets.remove(lost)
    code, said = finish(command)
    assert code == 0, said
    assert shares == ["0", "0", "0"]  # two workers share the first GPU of a node
    found = trials(folder)
    assert numbers(found) == list(range(5))
    assert {trial.state.name for trial in found} == {"COMPLETE"}
    assert sorted(path.name for path in folder.iterdir() if path.name.isdigit()) == list("01234")
    moved = [trial for trial in found if len(attempts_of(trial)) > 1]
    assert moved, said
    for trial in moved:
        assert [attempt["ended"] for attempt in attempts_of(trial)] == ["died", "complete"]
    for trial in found:  # it went on from its checkpoint: no epoch was told twice, and none is missing
        assert sorted(trial.intermediate_values) == list(range(1, EPOCHS + 1))
        assert json.loads((folder / str(trial.number) / "metrics.json").read_text())["best"]["value"] == trial.value
    assert re.search(r"worker \d died \(.*\): started again", said)
    assert not cluster.jobs()


@pytest.mark.slow
def test_a_stopped_and_a_killed_head_leave_no_worker_and_the_same_command_goes_on(
    cluster: RayNodes, tmp_path: Path
) -> None:
    folder = tmp_path / "sweep"
    words = (*SWEEP, *LONG, "sweep.n_trials=3", f"hydra.sweep.dir={folder}")
    command = cluster.start(tmp_path, *words, "sweep.workers=2", "cluster.gpus=1")
    wait(command, lambda: len(running(folder)) == 2)
    seen = {(node, environment(pid)["CUDA_VISIBLE_DEVICES"]) for node in cluster.raylets for pid in cluster.jobs(node)}
    os.kill(head_of(command), signal.SIGINT)
    code, said = finish(command)
    assert code == 130, said
    assert len(seen) == 2  # no GPU is given twice
    assert {gpu for _, gpu in seen} <= {"0", "1"}
    assert not cluster.jobs()
    for trial in trials(folder):
        assert attempts_of(trial)[-1]["ended"] == "stopped"
        assert (folder / str(trial.number) / "checkpoints" / "last.ckpt").exists()

    command = cluster.start(tmp_path, *words, "cluster.gpus=2")
    wait(command, lambda: running(folder))
    (worker,) = cluster.jobs()
    assert environment(worker)["CUDA_VISIBLE_DEVICES"] == "0,1"
    os.kill(head_of(command), signal.SIGKILL)
    finish(command)
    until(lambda: not cluster.jobs(), 30)

    code, said = finish(cluster.start(tmp_path, *words, f"cluster.address={CLIENT}", "sweep.workers=2"))
    assert code == 0, said
    found = trials(folder)
    assert numbers(found) == [0, 1, 2]
    assert {trial.state.name for trial in found} == {"COMPLETE"}
    for trial in found:
        assert sorted(trial.intermediate_values) == list(range(1, EPOCHS + 1))
    assert "stopped" in {row["attempt_ended"] for row in rows(folder)}


@pytest.mark.slow
def test_a_single_run_is_an_ordinary_run_on_a_node(cluster: RayNodes, tmp_path: Path) -> None:
    command = cluster.start(tmp_path, *RUN, *LONG, "cluster=ray")
    wait(command, lambda: list(tmp_path.glob("outputs/train/mlp/*/checkpoints/last.ckpt")))
    os.kill(head_of(command), signal.SIGINT)
    code, said = finish(command)
    assert code == 130, said
    (folder,) = tmp_path.glob("outputs/train/mlp/*")
    assert f"python -m project.train resume={folder} cluster=ray" in said
    assert not cluster.jobs()
    code, said = finish(cluster.start(tmp_path, f"resume={folder}", f"trainer.max_epochs={EPOCHS + 1}", "cluster=ray"))
    assert code == 0, said
    assert "best val/accuracy" in said
    assert json.loads((folder / "metrics.json").read_text())["best"]["value"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]


@pytest.mark.slow
def test_a_password_reaches_the_worker_and_nobody_else(cluster: RayNodes, tmp_path: Path) -> None:
    password = "a-quite-secret-password"
    words = cluster.inside(tmp_path, *AT_MOST_A_MINUTE, sys.executable, "-m", "tests.cluster.ray_secret")
    done = subprocess.run(words, input=f"{password}\n", env=outer_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[len(password), []], 0, "it ended: exit code 0"]
    assert password not in done.stderr
    for path in cluster.home.rglob("*"):  # Ray's logs
        assert not path.is_file() or password.encode() not in path.read_bytes(), path


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_where_there_is_no_cluster_a_line_says_so(
    tmp_path: Path, run_command: Callable[..., "subprocess.CompletedProcess[str]"], kind: str
) -> None:
    pytest.importorskip("ray")
    words = (*SWEEP, f"hydra.sweep.dir={tmp_path / 'sweep'}") if kind == "sweep" else (*RUN, "cluster=ray")
    done = run_command("train", *words, "cluster.address=127.0.0.1:1")
    assert done.returncode == 1, done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: there is no Ray cluster at cluster.address=127.0.0.1:1: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("cluster.gpus=1.5", "cluster.gpus above 1 must be whole, got 1.5"),
        ("cluster.cpus=-1", "cluster.cpus must be at least 0, got -1"),
        ("cluster.resources={disk: -2}", "cluster.resources.disk must be at least 0, got -2"),
        ("cluster.gpus=two", "cluster.gpus must be"),
    ],
)
def test_a_wrong_value_is_answered_in_a_line(word: str, answer: str) -> None:
    cfg = compose_config("model=mlp", "cluster=ray", word)
    with pytest.raises(UserError, match=re.escape(answer)):
        check(cfg, [], "train") or ray_settings(cfg.cluster)  # type: ignore[func-returns-value]


@pytest.mark.parametrize(
    ("words", "gpus"),
    [
        (["cluster.gpus=0.5", "trainer.devices=2"], 0.5),
        (["trainer.devices=2"], 2),
        (["trainer.accelerator=cpu"], 0),
        (["sweep=mlp", "sweep.gpus_per_worker=0.25"], 0.25),
        (["sweep=mlp"], 1),
    ],
)
def test_gpus_follow_from_the_sweep_or_the_trainer(words: list[str], gpus: float) -> None:
    cfg = compose_config("model=mlp", *words, "cluster=ray")
    wanted = request(ray_settings(cfg.cluster), cfg, there_are_gpus=True)
    assert wanted.gpus == gpus
    assert wanted.fits({"CPU": 1, "GPU": 2})
    assert not wanted.fits({"GPU": 2})
    with pytest.raises(UserError, match=f"no node of the Ray cluster can hold 1 CPU, {gpus:g} GPU; there are: 2 GPU"):
        check_fits(wanted, [{"GPU": 2.0}])
