"""A training over two hosts: a lost process, a cut link, and the run goes on."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from project.runs.resuming import resumed_config
from project.runs.training import run_training
from tests.cluster.hosts import Host, two_hosts
from tests.cluster.ranks import TINY, free_port, ranks
from tests.conftest import CONF, compose_config, environment_of_commands

DISTRIBUTED = ("trainer=ddp", "trainer.devices=1", "trainer.num_nodes=2", "trainer.timeout=16")
MARGIN = 5


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with two_hosts() as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("way", ["killed", "cut"])
def test_a_lost_host_ends_the_other_one_and_the_run_goes_on(hosts: tuple[Host, Host], tmp_path: Path, way: str) -> None:
    folder = tmp_path / "run"
    words = [*TINY, *DISTRIBUTED, f"folder={folder}", "callbacks.checkpoints.every_n_steps=2"]
    wait = f"+callbacks.waits={{_target_:tests.cluster.ranks.Waits,folder:{tmp_path},step:7,rank:1,seconds:3}}"
    with ranks(2, *words, wait, cwd=tmp_path, hosts=hosts, by_hand=way == "cut") as started:
        started.reach([tmp_path / "rank-1"])
        names = [f"rank {rank} ({hosts[rank].name}, process {started[rank].pid})" for rank in (0, 1)]
        if way == "killed":
            started.kill(1, signal.SIGKILL)
        else:
            hosts[1].cut()  # rank 0 waits for rank 1 in a collective operation; rank 1 will wait for rank 0
        begun = time.monotonic()
        for rank, other in ((0, 1), (1, 0)) if way == "cut" else ((0, 1),):
            started[rank].wait(60)
            assert time.monotonic() - begun < 16 + MARGIN
            assert started[rank].code == 1
            why = "no answer for 8 s" if way == "cut" else "its process ended"
            said = started[rank].said()
            assert f"error: {names[other]} was lost: {why}.\n" in said
            assert f"To go on: python -m project.train resume={folder}" in said
            assert "Traceback" not in said
    changes = ["~callbacks.waits", "trainer.num_nodes=1"]
    run_training(resumed_config(str(folder), changes, str(tmp_path)))
    run_training(compose_config(*TINY, f"folder={tmp_path / 'never'}"))
    resumed, never = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("run", "never"))
    assert resumed["steps"] == never["steps"] == 8
    for name in ("train/loss", "val/loss", "test/loss", "test/accuracy"):
        assert resumed[name] == pytest.approx(never[name], abs=1e-5), name


@pytest.mark.slow
def test_torchrun_on_two_hosts_writes_one_run(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    port = free_port()
    words = [*TINY, *DISTRIBUTED[:-1], f"folder={tmp_path / 'run'}", "trainer.timeout=120", "trainer.max_epochs=1"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    torchrun += [f"--master-addr={hosts[0].address}", f"--master-port={port}"]
    environment = {**environment_of_commands(), "GLOO_SOCKET_IFNAME": "eth0", "PYTHONPATH": str(CONF.parent)}
    started = []
    for number, host in enumerate(hosts):
        command = host.command(*torchrun, f"--node-rank={number}", "-m", "project.train", *words)
        started.append(
            subprocess.Popen(
                ["timeout", "-k", "5", "200", *command],
                cwd=tmp_path,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    first, second = (process.communicate()[0] for process in started)
    assert [process.returncode for process in started] == [0, 0], first + second
    assert "best val/accuracy" in first
    assert "val/accuracy" not in second
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["steps"] == 4
    assert len(list((tmp_path / "run").glob("events.out.tfevents.*[0-9]"))) == 1
