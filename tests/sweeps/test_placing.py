"""Which GPUs and how many threads each worker gets, by arithmetic alone."""

import csv
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from project.errors import UserError
from project.machine import usable_cores
from project.sweeps.placing import Places, share_out, visible_gpus
from project.sweeps.settings import Settings


def seen(cfg: object) -> str:
    """A constraint that rejects every trial and tells which GPUs its worker sees."""
    time.sleep(1)  # so that no worker takes all trials
    return str(os.environ.get("CUDA_VISIBLE_DEVICES"))


def places(workers: int, gpus_per_worker: float | None = None, threads: int | None = 1, local: bool = True) -> Places:
    settings = Settings("s", workers=workers, gpus_per_worker=gpus_per_worker, threads_per_worker=threads)
    return share_out(settings, local)


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("0", ["0"]),
        ("0,1", ["0", "1"]),
        (" 3 , 2,", ["3", "2"]),
        ("GPU-1a,MIG-2b", ["GPU-1a", "MIG-2b"]),
        ("", []),
        ("-1", []),
        ("2,-1,3", ["2"]),  # as CUDA: what stands behind an invalid one is not there
    ],
)
def test_the_gpus_of_this_process_are_those_that_its_environment_leaves(
    monkeypatch: pytest.MonkeyPatch, visible: str, expected: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_gpus() == expected


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo 'GPU 0: H200 (UUID: GPU-a)'; echo 'GPU 1: H200 (UUID: GPU-b)'", ["0", "1"]),
        ("echo 'GPU 0: H200 (UUID: GPU-a)'; echo '  MIG 1g.18gb Device 0: (UUID: MIG-c)'", ["0"]),
        ("echo 'No devices were found'", []),
        ("echo 'NVIDIA-SMI has failed'; exit 9", []),
        (None, []),
    ],
)
def test_without_a_choice_the_driver_s_list_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str | None, expected: list[str]
) -> None:
    if script is not None:
        (tmp_path / "nvidia-smi").write_text(f'#!/bin/sh\n[ "$*" = -L ] || exit 2\n{script}\n')
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/no/such/folder")
    assert visible_gpus() == expected


@pytest.mark.parametrize(
    ("visible", "workers", "share", "expected"),
    [
        ("0,1", 1, None, ["0"]),
        ("0,1", 2, None, ["0", "1"]),
        ("4,6", 5, None, ["4", "6", "4", "6", "4"]),
        ("0,1", 2, 1, ["0", "1"]),
        ("GPU-a,GPU-b,GPU-c", 2, 1.0, ["GPU-a", "GPU-b"]),
        ("0,1,2,3", 2, 2, ["0,1", "2,3"]),
        ("7,5,3", 1, 2, ["7,5"]),
        ("0", 2, 0.5, ["0", "0"]),
        ("0,1", 4, 0.5, ["0", "0", "1", "1"]),
        ("0,1", 3, 0.5, ["0", "0", "1"]),
        ("0", 3, 0.33, ["0", "0", "0"]),
        ("0", 10, 0.1, ["0"] * 10),
        ("0,1", 4, 0.4, ["0", "0", "1", "1"]),
        ("0,1", 2, 0.6, ["0", "1"]),
    ],
)
def test_gpus_are_dealt_out(
    monkeypatch: pytest.MonkeyPatch, visible: str, workers: int, share: float | None, expected: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert places(workers, share) == Places(1, expected)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.3, 0.34, 0.4, 0.5, 0.6, 0.75, 0.9, 1, 2])
def test_no_gpu_gets_more_than_it_has(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    most = 0
    for workers in range(1, 50):
        try:
            gpus = places(workers, share).gpus
        except UserError as error:
            assert str(error).startswith(f"sweep.workers={workers} with sweep.gpus_per_worker={share} need ")  # noqa: PT017
            continue
        assert most == workers - 1  # refused for good, once it is refused
        most = workers
        assert gpus is not None
        used = ",".join(gpus).split(",")
        assert len(gpus) == workers
        assert all(used.count(gpu) * min(share, 1) <= 1 + 1e-9 for gpu in set(used))
    assert most == 4 * int(1 / share + 1e-9) if share < 1 else most == 4 // share


@pytest.mark.parametrize(
    ("visible", "workers", "share", "needed", "there"),
    [
        ("0", 2, 1, "2", 1),
        ("0,1", 2, 2, "4", 2),
        ("0", 3, 0.5, "2", 1),
        ("", 1, 1, "1", 0),
        ("", 1, 0.5, "1", 0),
        ("-1", 4, 0.25, "1", 0),
        ("0,1", 5, 0.4, "3", 2),  # only two of 0.4 fit on one
        ("0,1", 3, 0.6, "3", 2),
    ],
)
def test_more_gpus_than_there_are_are_refused(
    monkeypatch: pytest.MonkeyPatch, visible: str, workers: int, share: float, needed: str, there: int
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(UserError) as error:
        places(workers, share)
    assert str(error.value) == (
        f"sweep.workers={workers} with sweep.gpus_per_worker={share} need {needed} GPUs; there are {there}: take fewer "
        "workers, or a smaller share"
    )


@pytest.mark.parametrize(
    ("share", "message"),
    [
        (0, "sweep.gpus_per_worker must be positive, got 0"),
        (-1, "sweep.gpus_per_worker must be positive, got -1"),
        (1.5, "sweep.gpus_per_worker above 1 must be whole, got 1.5"),
    ],
)
def test_a_share_that_is_none_is_refused(share: float, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        places(1, share)


def test_without_gpus_none_is_dealt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert places(3) == Places(1, None)


def test_a_cluster_s_scheduler_deals_out_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert places(8, local=False, threads=None) == Places(None, None, here=False)
    assert places(8, gpus_per_worker=1, local=False, threads=3) == Places(3, None, here=False)


def test_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    cores = usable_cores()
    assert places(1, threads=None) == Places(cores, None)
    assert places(cores, threads=None) == Places(1, None)
    assert places(cores + 1, threads=None) == Places(1, None)
    assert places(2, threads=7) == Places(7, None)


def test_places_are_said_in_a_line() -> None:
    assert Places(None, None).said(1) == "1 worker"
    assert Places(2, None).said(3) == f"3 workers, 2 of {usable_cores()} cores each"
    assert Places(1, ["0", "0,1"]).said(2) == f"2 workers, 1 of {usable_cores()} cores each, GPU 0 0,1"


@pytest.mark.slow
def test_every_worker_of_a_sweep_sees_its_own_gpus(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run_command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,1,2,3")
    done = run_command(
        "train",
        "model=mlp",
        "data=shapes",
        "optimizer.lr=interval(0.1,1)",
        "sweep=default",
        "sweep.workers=2",
        "sweep.n_trials=4",
        "sweep.gpus_per_worker=2",
        "sweep.constraints=[tests.sweeps.test_placing.seen]",
    )
    assert "2 workers, " in done.stdout + done.stderr, done.stderr
    with (tmp_path / "outputs" / "sweeps" / "default" / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["rejected"] * 4
    assert {row["error"] for row in rows} == {"GPU-a,1", "2,3"}
