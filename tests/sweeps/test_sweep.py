"""What a sweep leaves and what its options do, with real trainings in one process (the basic launcher)."""

import json
import subprocess
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
import yaml

from tests.conftest import run_module
from tests.sweeps.sweeping import SPACE, TINY, finish, rows, start, sweep, trials
from tests.sweeps.tensorboard import tensorboard_at

pytestmark = pytest.mark.slow


def sweep_here(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command of a tiny sweep, whose workers run in its own process."""
    base = [word for word in TINY if not any(other.startswith(word.partition("=")[0] + "=") for other in words)]
    return run_module(
        "project.train", *base, f"hydra.sweep.dir={folder}", "hydra/launcher=basic", *words, cwd=folder.parent
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep over a group, a schedule's and an optimizer's values."""
    folder = tmp_path_factory.mktemp("done") / "sweep"
    told = sweep_here(
        folder,
        SPACE,
        "optimizer=choice(sgd,adamw)",
        "model.label_smoothing=choice(0.0,0.1)",
        "sweep/pruner=none",
        "sweep.n_trials=4",
    )
    assert told.returncode == 0, told.stderr
    assert "train the best again: python -m project.train experiment=" in told.stderr
    return folder


def weights(run: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    return state


def test_the_best_is_trained_again_with_its_bits_and_tested(done: Path, tmp_path: Path) -> None:
    best = max(trials(done), key=lambda trial: (trial.value, -trial.number))
    told = run_module("project.train", f"experiment={done / 'best.yaml'}", f"folder={tmp_path / 'again'}", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    metrics = json.loads((tmp_path / "again" / "metrics.json").read_text())
    assert metrics["best"]["value"] == best.value
    assert "test/accuracy" in metrics
    assert "test/accuracy" not in json.loads((done / str(best.number) / "metrics.json").read_text())
    one, two = weights(done / str(best.number)), weights(tmp_path / "again")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_what_lies_in_the_folder(done: Path) -> None:
    assert {path.name for path in done.iterdir()} >= {"study", "best.yaml", "trials.csv", "report.html", "0", "3"}
    table = rows(done)
    assert [(row["number"], row["attempt"], row["state"]) for row in table] == [
        (str(number), "1", "complete") for number in range(4)
    ]
    for trial, row in zip(trials(done), table, strict=True):
        assert {name: yaml.safe_load(row[name]) for name in trial.params} == pytest.approx(trial.params)
        assert float(row["value"]) == trial.value
        assert float(row["seconds"]) > 0
        assert row["began"] < row["ended"]
        assert yaml.safe_load((done / row["number"] / "parameters.yaml").read_text()) == trial.params
        config = yaml.safe_load((done / row["number"] / "config.yaml").read_text())
        assert config["optimizer"]["lr"] == trial.params["optimizer.lr"]
        assert (
            config["optimizer"]["_target_"]
            == {"sgd": "torch.optim.SGD", "adamw": "torch.optim.AdamW"}[trial.params["optimizer"]]
        )
        assert "sweep" not in config


def test_a_trial_is_a_run_like_any_other(done: Path, tmp_path: Path) -> None:
    for command, *words in (
        ("project.evaluate", f"run={done / '0'}"),
        ("project.train", f"resume={done / '1'}", "trainer.max_epochs=4"),
    ):
        told = run_module(command, *words, cwd=tmp_path)
        assert told.returncode == 0, told.stderr
    assert json.loads((done / "1" / "metrics.json").read_text())["epochs"] == 4
    environment = json.loads((done / "2" / "environment.json").read_text())
    assert environment["command"].startswith("python -m project.train model=mlp ")
    assert "sweep" not in environment["command"]


def test_tensorboard_has_a_row_for_every_trial(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    words = ["sweep.space=tests.sweeps.test_sweep.either", "sweep/pruner=none", "sweep.n_trials=4"]
    words += ["callbacks=[hparams]"]  # which writes the rows of single runs
    told = sweep_here(folder, *words, "sweep.constraints=[tests.sweeps.sweeping.fail_on_low_rates]")
    assert told.returncode == 0, told.stderr
    found = {str(trial.number): trial for trial in trials(folder)}
    assert {trial.state.name for trial in found.values()} == {"COMPLETE", "FAIL"}
    assert len({tuple(sorted(trial.params)) for trial in found.values()}) == 2  # they differ in their parameters
    with tensorboard_at(folder) as address:
        status = [f"STATUS_{name}" for name in ("SUCCESS", "FAILURE", "RUNNING", "UNKNOWN")]
        question = {"experimentName": "", "allowedStatuses": status, "startIndex": 0, "sliceSize": 100}
        request = urllib.request.Request(
            f"{address}/data/plugin/hparams/session_groups",
            json.dumps({**question, "colParams": []}).encode(),
            {"Content-Type": "application/json"},
        )
        groups = json.loads(urllib.request.urlopen(request, timeout=30).read())["sessionGroups"]
    assert {group["name"] for group in groups} == set(found)
    for group in groups:
        trial = found[group["name"]]
        assert group["hparams"] == pytest.approx(trial.params)
        measured = {metric["name"]["tag"]: metric["value"] for metric in group.get("metricValues", [])}
        if trial.state.name == "COMPLETE":
            assert measured["objective/val/accuracy"] == pytest.approx(trial.value)
        assert (group["sessions"][0]["status"] == "STATUS_SUCCESS") == (trial.state.name == "COMPLETE")


def either(trial: optuna.Trial) -> Mapping[str, Any]:
    """A learning rate for each optimizer: too low for one of them."""
    kind = ("sgd", "adam")[trial.number % 2]
    if kind == "sgd":
        return {"optimizer": "sgd", "optimizer.lr": trial.suggest_float("sgd.lr", 1e-2, 1e-1, log=True)}
    return {"optimizer": "adam", "optimizer.lr": trial.suggest_float("adam.lr", 1e-6, 1e-5, log=True)}


def test_several_objectives_seeds_and_a_limit_of_size(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    told = sweep_here(
        folder,
        "model.net.hidden=choice([4],[8],[200])",
        "sweep/sampler=grid",
        "sweep.objectives=[val/accuracy,parameters,seconds]",
        "sweep.max_parameters=100000",
        "sweep.seeds=2",
    )
    assert told.returncode == 0, told.stderr
    assert "several objectives: no trial is pruned" in told.stderr
    assert "the Pareto front" in told.stderr
    small, middle, large = trials(folder)
    assert (small.state.name, middle.state.name, large.state.name) == ("COMPLETE", "COMPLETE", "PRUNED")
    assert "more than sweep.max_parameters=100,000" in large.user_attrs["rejected"]
    assert small.values[1] == small.user_attrs["parameters"] == (32 * 32 * 3 + 1) * 4 + (4 + 1) * 10
    assert small.values[2] > 0
    of_seeds = [
        json.loads((folder / "0" / place / "metrics.json").read_text())["best"]["value"] for place in (".", "seeds/1")
    ]
    assert small.values[0] == pytest.approx(sum(of_seeds) / 2)
    seeds = [yaml.safe_load((folder / "0" / place / "config.yaml").read_text())["seed"] for place in (".", "seeds/1")]
    assert seeds == [0, 1]
    assert not (folder / "2" / "checkpoints").exists()


def test_pruning_under_ddp_stops_all_ranks(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    never = ["sweep/pruner=none", "sweep.pruner._target_=optuna.pruners.ThresholdPruner", "+sweep.pruner.lower=2"]
    words = ["optimizer.lr=choice(0.01,0.001)", "sweep/sampler=grid", "trainer.devices=2", "trainer.max_epochs=4"]
    code, said = sweep(folder, *words, *never, "+sweep.pruner.n_warmup_steps=2")
    assert code == 0, said
    for trial in trials(folder):  # no accuracy reaches 2, and the pruner looks from the second validation on
        assert (trial.state.name, sorted(trial.intermediate_values)) == ("PRUNED", [1, 2])
        assert trial.value == trial.intermediate_values[2]
        checkpoint = torch.load(folder / str(trial.number) / "checkpoints" / "last.ckpt", weights_only=True)
        assert checkpoint["global_step"] == 2 * 5  # of batches that both ranks share


def test_too_many_failures_end_it_with_the_first_error(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    told = sweep_here(
        folder,
        "optimizer.lr=tag(log,interval(1e-5,1e-4))",
        "sweep.constraints=[tests.sweeps.sweeping.fail_on_low_rates]",
        "sweep.max_failures=2",
    )
    assert told.returncode == 1
    assert (
        "error: 2 trials failed (sweep.max_failures=2: stopped). The first, trial 0: ValueError: no such luck"
        in told.stderr
    )
    assert [trial.state.name for trial in trials(folder)] == ["FAIL", "FAIL"]


def test_a_loss_that_is_no_number_is_a_failure_with_its_message(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    told = sweep_here(folder, "optimizer.lr=choice(1e30,0.001)", "sweep/sampler=grid")
    assert told.returncode == 0, told.stderr
    bad, good = trials(folder)
    assert (bad.state.name, good.state.name) == ("FAIL", "COMPLETE")
    assert "became NaN at step" in bad.user_attrs["error"]


def test_another_sweep_of_the_same_name_is_another_study(tmp_path: Path) -> None:
    words = [*TINY, "hydra/launcher=basic", "sweep.n_trials=1", "sweep/pruner=none"]
    for space in (SPACE, "optimizer.lr=interval(0.001,0.01)", SPACE):
        told = run_module("project.train", *words, space, cwd=tmp_path)
        assert told.returncode == 0, told.stderr
    assert sorted(path.name for path in (tmp_path / "outputs" / "sweeps").iterdir()) == ["default", "default-2"]
    assert [len(trials(tmp_path / "outputs" / "sweeps" / name)) for name in ("default", "default-2")] == [1, 1]
    told = run_module("project.train", *words, "optimizer.lr=interval(1,2)", "sweep.study_name=default", cwd=tmp_path)
    assert told.returncode == 1
    assert "was begun with another sweep:\n  optimizer.lr: search FloatDistribution" in told.stderr


def test_values_of_the_wrong_type_are_refused_before_the_first_trial(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    for words, message in (
        (["optimizer.lr=choice(abc,0.1)"], "error: optimizer.lr must be a number such as 0.001, got 'abc'"),
        ([SPACE, "trainer.max_epochs=abc"], "error: trainer.max_epochs must be a whole number such as "),
    ):
        told = sweep_here(folder, *words)
        assert (told.returncode, message in told.stderr) == (1, True), told.stderr
    assert not folder.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweep.sampler.n_startup_trials=abc"], "sweep/sampler: no trial can be drawn (TypeError"),
        (["sweep/pruner=hyperband", "sweep.pruner.max_resource=0"], "sweep/pruner: it does not work with these arg"),
        (["sweep.space=tests.sweeps.test_sweep.unknown_key"], "optimizer.no_such_key"),
        (
            ["sweep.space=tests.sweeps.test_sweep.nothing"],
            "sweep.space must return a dict of overrides",
        ),
        (["sweep.space=tests.sweeps.sweeping.sweep"], "sweep.space=tests.sweeps.sweeping.sweep"),
        (["sweep.constraints=[tests.sweeps.test_sweep.of_nothing]"], "is called with one argument, the config"),
        (["monitor=val/nosuch"], "monitor=val/nosuch is never logged by ImageClassifier: choose one of train/loss"),
        (
            ["sweep.objectives=[val/accuracy,nosuch]", "sweep.directions=[maximize,minimize]"],
            "nosuch is never measured",
        ),
        (["sweep.storage=sqlite:////no/such/folder/x.db"], "there is no folder /no/such/folder: make it"),
        (["sweep=mlp,resnet"], "sweep=mlp,resnet: one sweep at a time"),
    ],
)
def test_what_cannot_work_costs_no_trial(tmp_path: Path, words: list[str], message: str) -> None:
    folder = tmp_path / "sweep"
    told = sweep_here(folder, SPACE, *words)
    assert told.returncode == 1, told.stdout + told.stderr
    assert message in told.stderr
    assert "Traceback" not in told.stderr
    assert not (folder / "0" / "config.yaml").exists()
    if (folder / "study").exists():
        assert not [trial for trial in trials(folder) if trial.state.is_finished()]


def unknown_key(trial: optuna.Trial) -> dict[str, Any]:
    return {"optimizer.no_such_key": trial.suggest_float("x", 0, 1)}


def nothing(trial: optuna.Trial) -> None:
    trial.suggest_float("x", 0, 1)


def of_nothing() -> bool:
    return True


def test_a_study_takes_no_trials_of_another_for_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    assert sweep_here(folder, SPACE, "sweep.n_trials=1", "sweep/pruner=none").returncode == 0
    told = sweep_here(folder, SPACE, "sweep.n_trials=1", f"sweep.storage=sqlite:///{tmp_path / 'new.db'}")
    assert told.returncode == 1
    assert f"{folder} holds the trials of a study that is not in this storage" in told.stderr


def test_two_heads_in_two_places_share_a_database_and_leave_each_other_alive(tmp_path: Path) -> None:
    url = f"sweep.storage=sqlite:///{tmp_path / 'studies.db'}"
    words = [SPACE, "sweep/pruner=none", "sweep.n_trials=6", "sweep.study_name=shared", url]
    places = [tmp_path / name for name in ("here", "there")]
    for place in places:
        place.mkdir()
    commands = [start(place / "sweep", *words) for place in places]
    assert [finish(command)[0] for command in commands] == [0, 0]
    found = trials(places[0] / "sweep", f"sqlite:///{tmp_path / 'studies.db'}")
    assert [(trial.number, trial.state.name) for trial in found] == [(number, "COMPLETE") for number in range(6)]
    assert all(len(trial.system_attrs["sweep:attempts"]) == 1 for trial in found)


def test_the_best_s_config_lacks_what_the_sweep_took_away(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    words = ["optimizer=sgd", "~optimizer.momentum", "~optimizer.nesterov", "optimizer.lr=choice(0.01)"]
    told = sweep_here(folder, *words, "sweep.n_trials=1", "sweep/pruner=none")
    assert told.returncode == 0, told.stderr
    again = run_module("project.train", f"experiment={folder / 'best.yaml'}", "folder=again", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    configs = [yaml.safe_load((run / "config.yaml").read_text()) for run in (folder / "0", tmp_path / "again")]
    assert configs[0]["optimizer"] == configs[1]["optimizer"]
    assert "momentum" not in configs[1]["optimizer"]
