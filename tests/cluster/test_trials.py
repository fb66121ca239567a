"""Trials that train on several devices: one process group each, which ends with its worker."""

import os
import signal
from pathlib import Path

import pytest

from project.errors import UserError
from project.sweeps.placing import Places, add_devices, share_out
from project.sweeps.settings import Settings
from project.sweeps.space import Space
from tests.sweeps.sweeping import SPACE, finish, kill_all, start, trials, until, workers_of


@pytest.mark.slow
def test_a_trial_on_two_devices_has_one_set_of_parameters_and_survives_its_worker(tmp_path: Path) -> None:
    folder, told = tmp_path / "sweep", tmp_path / "told"
    told.mkdir()
    tells = f"+callbacks.tells={{_target_:tests.cluster.ranks.Tells,folder:{told}}}"
    waits = f"+callbacks.waits={{_target_:tests.cluster.ranks.Waits,folder:{tmp_path},step:7}}"
    words = ["sweep.devices_per_trial=2", "sweep.n_trials=2", "trainer.max_epochs=2", "sweep/pruner=none", tells, waits]
    command = start(folder, SPACE, *words)
    try:
        ranks = [tmp_path / f"rank-{rank}" for rank in (0, 1)]
        until(lambda: all(path.exists() and path.read_text() for path in ranks), 240)
        (worker,) = workers_of(folder)
        os.kill(worker, signal.SIGKILL)
        until(lambda: not any(Path(f"/proc/{path.read_text()}").exists() for path in ranks), 60)
        code, said = finish(command)
    finally:
        kill_all(command)
    assert code == 0, said
    complete = [trial for trial in trials(folder) if trial.state.name == "COMPLETE"]
    assert len(complete) == 2
    for number, trial in enumerate(complete):
        rates = {(told / f"{number}-{rank}").read_text() for rank in (0, 1)}
        assert rates == {repr(trial.params["optimizer.lr"])}
        config = (folder / str(number) / "config.yaml").read_text()
        assert "devices: 2\n" in config
        assert "strategy: ddp_fork\n" in config
    assert "going on at step 6 " in (folder / "0" / "train.log").read_text()


@pytest.mark.parametrize(
    ("visible", "workers", "devices", "expected"),
    [("0,1,2,3", 2, 2, ["0,1", "2,3"]), ("0,1", 1, 2, ["0,1"]), ("", 2, 2, None), ("0,1", 2, 1, ["0", "1"])],
)
def test_a_worker_has_as_many_gpus_as_its_trials_take(
    monkeypatch: pytest.MonkeyPatch, visible: str, workers: int, devices: int, expected: list[str] | None
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    settings = Settings("s", workers=workers, devices_per_trial=devices, threads_per_worker=1)
    assert share_out(settings, local=True) == Places(1, expected)


def test_trials_on_the_cpu_need_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    settings = Settings("s", devices_per_trial=2, threads_per_worker=1)
    assert share_out(settings, local=True, on_gpus=False) == Places(1, ["0"])


def test_more_devices_than_there_are_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(UserError, match=r"workers=2 with sweep\.devices_per_trial=2 need 4 GPUs; there are 2"):
        share_out(Settings("s", workers=2, devices_per_trial=2), local=True)
    with pytest.raises(UserError, match=r"devices_per_trial=4 with sweep\.gpus_per_worker=2: a trial trains on"):
        share_out(Settings("s", devices_per_trial=4, gpus_per_worker=2), local=True)


def test_no_devices_are_refused() -> None:
    with pytest.raises(ValueError, match=r"sweep\.devices_per_trial must be positive, got 0"):
        Settings("s", devices_per_trial=0)


def test_a_number_of_devices_is_given_once() -> None:
    with pytest.raises(UserError, match=r"trainer\.devices=4, and sweep\.devices_per_trial=2: give one of them"):
        add_devices(Space({}, ["trainer.devices=4"]), 2)
    space = Space({}, ["trainer.devices=2"])
    add_devices(space, 2)
    assert space.fixed == ["trainer.devices=2"]
