"""Runs in a table, to the letter: their folders are written here."""

import copy
import csv
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from project.errors import UserError
from project.runs.comparison import Row, run_comparison
from project.runs.records import read_record
from project.runs.settings import parameters, settings
from project.runs.spreadsheet import harmless
from project.runs.tables import fitted
from tests.conftest import CONF, compose_config

Make = Callable[..., Path]
CONFIG: dict[str, Any] = {
    "name": "mlp",
    "seed": 0,
    "monitor": "val/accuracy",
    "mode": None,
    "threads": 2,
    "outputs": "outputs",
    "sizes": {"num_classes": 10, "image_shape": [3, 32, 32]},
    "optimizer": {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1},
    "data": {"_target_": "project.data.shapes.Shapes", "seed": 0, "root": "data", "cache_folder": "a"},
    "model": {
        "_target_": "project.tasks.classification.ImageClassifier",
        "net": {"_target_": "project.nets.mlp.MLP", "hidden": [8], "image_shape": [3, 32, 32], "num_classes": 10},
    },
    "trainer": {"max_epochs": 2, "precision": "32-true", "log_every_n_steps": 50, "gradient_clip_val": None},
    "callbacks": {
        "progress": {"_target_": "project.callbacks.progress.Progress"},
        "early": {"_target_": "lightning.pytorch.callbacks.EarlyStopping", "patience": 3},
    },
    "logger": {"_target_": "project.callbacks.tensorboard.RunLogger"},
}
LINE = "2026-01-31 12:00:{} INFO project: {}\n"
BEGAN = "mlp: 1,234 parameters, 160 training images on cpu -> /a"


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """`make("mlp/A", {"optimizer.lr": 0.2}, 0.5)`: a run's folder with that test accuracy; None: unfinished."""

    def run(name: str, changes: dict[str, Any] | None = None, accuracy: float | None = 0.5, seed: int = 0) -> Path:
        folder = tmp_path / "train" / name
        folder.mkdir(parents=True)
        config = copy.deepcopy(CONFIG)
        for key, value in {"folder": str(folder), "seed": seed, "data.seed": seed, **(changes or {})}.items():
            *parents, last = key.split(".")
            node = config
            for parent in parents:
                node = node[parent]
            node[last] = value
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        if accuracy is not None:
            metrics = {"epochs": 2, "samples": 320, "best": {"value": accuracy, "step": 10}, "train/loss": 1.0}
            (folder / "metrics.json").write_text(json.dumps({**metrics, "test/accuracy": accuracy, "val/loss": None}))
        return folder

    return run


def compared(*words: str, width: int | None = None) -> list[Row]:
    return run_comparison(compose_config(*words, name="compare"), width)


def test_settings_are_what_a_person_compares() -> None:
    config = {**copy.deepcopy(CONFIG), "folder": "/runs/A"}
    config["data"]["root"] = "/runs/A/data"
    assert settings(config) == {
        "name": "mlp",
        "seed": 0,
        "monitor": "val/accuracy",
        "mode": None,
        "optimizer._target_": "torch.optim.SGD",
        "optimizer.lr": 0.1,
        "data._target_": "project.data.shapes.Shapes",
        "data.seed": 0,
        "model._target_": "project.tasks.classification.ImageClassifier",
        "model.net._target_": "project.nets.mlp.MLP",
        "model.net.hidden": "[8]",
        "trainer.max_epochs": 2,
        "trainer.precision": "32-true",
        "trainer.gradient_clip_val": None,
        "callbacks.early._target_": "lightning.pytorch.callbacks.EarlyStopping",
        "callbacks.early.patience": 3,
    }
    assert parameters({**config, "data": {**config["data"], "path": "texts/a.txt", "val": "/a/b"}}) == {
        "name": "mlp",
        "seed": 0,
        "monitor": "val/accuracy",
        "optimizer": "SGD",
        "optimizer.lr": 0.1,
        "data": "Shapes",
        "model": "ImageClassifier",
        "model.net": "MLP",
        "model.net.hidden": "[8]",
        "trainer.max_epochs": 2,
        "trainer.precision": "32-true",
        "callbacks.early": "EarlyStopping",
        "callbacks.early.patience": 3,
    }


def test_the_table(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two seeds of one kind, one run of another kind, and one that has not come to its end."""
    make("mlp/A", accuracy=0.5)
    make("mlp/B", accuracy=0.75, seed=1)
    make("mlp/C", {"optimizer.lr": 1e-5, "optimizer._target_": "torch.optim.Adam", "threads": 1}, accuracy=0.25)
    unfinished = make("vgg/D", {"trainer.gradient_clip_val": 1.0}, None)
    (unfinished / "train.log").write_text(
        LINE.format("00,000", BEGAN)
        + LINE.format("01,000", "epoch   1/2  650 images/s  train/loss 2.1  val/accuracy 0.5000")
        + LINE.format("01,500", "epoch   2/2  650 images/s  train/loss nan  val/accuracy 0.4000")
    )
    output = tmp_path / "table.csv"
    rows = compared(f"runs={tmp_path}", "sort=test/accuracy", f"output={output}")
    assert [row.label for row in rows] == ["mlp/A +1", "mlp/C", "vgg/D"]
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[0] == f"4 runs below {tmp_path / 'train'}"
    assert [line.rstrip() for line in lines[1:5]] == [
        "run       n  seed  state                  best    test/accuracy  optimizer  optimizer.lr  "
        "trainer.gradient_clip_val  val/accuracy  samples  epochs  seconds",
        "mlp/A +1  2  0 1   finished    0.6250 ± 0.1768  0.6250 ± 0.1768  SGD                 0.1  "
        "null                                         320       2",
        "mlp/C     1  0     finished             0.2500           0.2500  Adam              1e-05  "
        "null                                         320       2",
        "vgg/D     1  0     unfinished           0.5000                   SGD                 0.1  "
        "1.0                              0.4000                2      1.5",
    ]
    with output.open(newline="") as file:
        first, second, third = csv.DictReader(file)
    assert float(first["test/accuracy"]) == 0.625
    assert float(first["test/accuracy std"]) == math.sqrt(2) * 0.125
    assert (first["n"], first["seed"], first["optimizer.lr"], second["test/accuracy std"]) == ("2", "0 1", "0.1", "")
    assert (third["state"], third["best"], third["seconds"], third["test/accuracy"]) == ("unfinished", "0.5", "1.5", "")


def test_each_run_by_itself_sorted_by_a_setting(make: Make, tmp_path: Path) -> None:
    for name, rate in (("A", 0.3), ("B", 0.02), ("C", 0.1), ("D", 0.02)):
        make(name, {"optimizer.lr": rate}, seed=ord(name))
    assert [row.label for row in compared(f"runs={tmp_path}", "sort=lr")] == ["B +1", "C", "A"]
    assert [row.label for row in compared(f"runs={tmp_path}", "sort=optimizer.lr", "group_seeds=false")] == [
        "B",
        "D",
        "C",
        "A",
    ]
    with pytest.raises(
        UserError, match=r"sort=optimiser\.lr: there is no such column\. Did you mean optimizer\.lr\? Columns: run, n,"
    ):
        compared(f"runs={tmp_path}", "sort=optimiser.lr")


def test_losses_are_best_when_small(make: Make, tmp_path: Path) -> None:
    for name, loss in (("A", 2.0), ("B", 1.0), ("C", 3.0)):
        folder = make(name, {"monitor": "val/loss", "optimizer.lr": loss})
        (folder / "metrics.json").write_text(json.dumps({"best": {"value": loss}, "test/loss": loss}))
    for key in ("best", "test/loss"):
        assert [row.label for row in compared(f"runs={tmp_path}", f"sort={key}")] == ["B", "A", "C"]


def test_a_seed_of_a_part_that_is_not_the_run_s_is_a_difference(make: Make, tmp_path: Path) -> None:
    make("A", {"data.seed": 0}, seed=1)
    make("B", {"data.seed": 0}, seed=2)  # one order of the data: these differ in nothing but their seed
    make("C", {"data.seed": 7}, seed=1)
    assert [(row.label, row.settings["data.seed"]) for row in compared(f"runs={tmp_path}")] == [("A +1", 0), ("C", 7)]


def test_true_is_not_one_and_classes_of_one_name_are_told_apart(make: Make, tmp_path: Path) -> None:
    make("A", {"optimizer.lr": True, "optimizer._target_": "torch.optim.SGD"})
    make("B", {"optimizer.lr": 1, "optimizer._target_": "mine.SGD"})
    one, two = compared(f"runs={tmp_path}")
    assert (one.settings["optimizer._target_"], two.settings["optimizer._target_"]) == ("torch.optim.SGD", "mine.SGD")


def test_broken_and_foreign_folders_are_told_and_the_rest_is_shown(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make("A")
    torn = make("B", {"optimizer.lr": 1.0})
    (torn / "metrics.json").write_text('{"best": ')
    (make("C") / "config.yaml").write_text("model: [")
    (make("D") / "config.yaml").write_text("database: mine\x1b[31m")
    make("E", {"lr_find": True})
    (make(".trash/F") / "config.yaml").write_text("hidden: 1")
    assert [(row.label, row.runs[0].state) for row in compared(f"runs={tmp_path}")] == [
        ("A", "finished"),
        ("B", "unfinished"),
    ]
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 4
    assert f"{torn}/metrics.json is not readable, so the run is shown as unfinished" in told[0]
    assert f"left out: {tmp_path}/train/C/config.yaml is not readable" in told[1]
    assert f"left out: {tmp_path}/train/D/config.yaml is not " in told[2]
    assert told[3] == f"left out: {tmp_path}/train/E is a learning-rate range test, and no training"


def test_names_of_runs(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = make("mlp/A"), make("vgg/B", {"optimizer.lr": 1.0})
    (tmp_path / "link").symlink_to(a.parent)
    (a / "checkpoints").mkdir()
    for names in (f"[{a},{b}]", f"[{a}/config.yaml,{b}/metrics.json,{a},{tmp_path}/link]"):
        assert [row.label for row in compared(f"runs={names}")] == ["mlp/A", "vgg/B"]
    assert [row.label for row in compared(f"runs={a / 'checkpoints'}")] == ["A"]
    assert "1 run below" in (out := capsys.readouterr().out)
    assert out.splitlines()[-3].endswith(": nothing to compare it with")
    (a / "seeds" / "1").mkdir(parents=True)
    (a / "seeds" / "1" / "config.yaml").write_text((b / "config.yaml").read_text())
    assert {row.label for row in compared(f"runs={a}")} == {"A", "A/seeds/1"}
    for runs, message in (
        (str(tmp_path / "nowhere"), r"nowhere does not exist\. A run's folder looks like"),
        (str(CONF / "data"), r"there is no run in .*conf/data, at any depth"),
        (str(CONF / "train.yaml"), r"train\.yaml has no config\.yaml"),
        ("[]", "runs must name runs or folders of runs"),
    ):
        with pytest.raises(UserError, match=message):
            compared(f"runs={runs}")


def test_a_trial_s_state_is_what_its_sweep_says(make: Make, tmp_path: Path) -> None:
    make("0", accuracy=0.5)
    make("1", accuracy=None)
    (tmp_path / "train" / "trials.csv").write_text("number,state\n0,complete\n1,running\n1,pruned\n")
    assert [row.runs[0].state for row in compared(f"runs={tmp_path}")] == ["finished", "pruned"]


def test_a_finished_run_that_was_given_more_epochs_is_unfinished_again(make: Make) -> None:
    folder = make("A")
    session = LINE.format("00,000", BEGAN) + LINE.format("05,250", f"run:         {folder}")
    epoch = "epoch   3/4  650 images/s  val/accuracy 0.9000"
    told: list[str] = []
    for log, state, best, seconds in (
        (session, "finished", 0.5, 5.25),
        (session + LINE.format("30,000", BEGAN) + LINE.format("31,000", epoch), "unfinished", 0.9, 6.25),
    ):
        (folder / "train.log").write_text(log)
        record = read_record(folder, told.append)
        assert (record.state, record.metrics["best"], record.metrics["seconds"]) == (state, best, seconds)
    assert not told


def test_formulas_are_made_harmless_and_numbers_stay(make: Make, tmp_path: Path) -> None:
    for text in ("=1+1", "+cmd", "-x", "@SUM(A1)", "\t=1"):
        assert harmless(text) == "'" + text
    assert [harmless(value) for value in ("-1.5", "a=b", -2.0, None, True)] == ["-1.5", "a=b", -2.0, None, True]
    make("=HYPERLINK(1)", {"data.root": "=cmd|' /C calc'!A0"})
    make("B", {"data.root": 'a,"b"\nc'})
    compared(f"runs={tmp_path}", f"output={tmp_path / 'table.csv'}")
    with (tmp_path / "table.csv").open(newline="") as file:
        cells = [(row["run"], row["data.root"]) for row in csv.DictReader(file)]
    assert cells == [("'=HYPERLINK(1)", "'=cmd|' /C calc'!A0"), ("B", 'a,"b"\nc')]


@pytest.mark.parametrize("output", ["nowhere/table.csv", "."])
def test_a_table_that_cannot_be_written(make: Make, tmp_path: Path, output: str) -> None:
    make("A")
    with pytest.raises(UserError, match="cannot write the table to"):
        compared(f"runs={tmp_path}", f"output={tmp_path / output}")
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_wide_tables_fit_the_terminal() -> None:
    rows = [{"run": "mlp/A", "test/accuracy": "0.5", "optimizer": "SGD"}, {"run": "B", "test/accuracy": "0.25"}]
    assert fitted(rows, None) == fitted(rows, 40)
    assert fitted(rows, 52).splitlines()[0] == "run    test/accuracy  optimizer"
    wide = [{**row, "data.root": "a/long/way/to/the/data"} for row in rows]
    assert fitted(wide, 50).splitlines() == [
        "run            mlp/A             B",
        "test/accuracy  0.5               0.25",
        "optimizer      SGD",
        "data.root      …way/to/the/data  …way/to/the/data",
    ]
    many = wide * 3
    assert fitted(many, 34).splitlines()[:9] == [
        "run    test/accuracy  optimizer",
        *["mlp/A            0.5  SGD", "B               0.25"] * 3,
        "",
        "run    data.root",
    ]
    assert max(len(line) for line in fitted(many, 34).splitlines()) <= 34


@pytest.mark.slow
def test_a_hundred_runs_are_compared_without_torch(make: Make, tmp_path: Path) -> None:
    for number in range(100):
        make(f"{number}", {"optimizer.lr": number / 100})
    code = (
        f"import sys; sys.argv[1:] = ['runs={tmp_path}', 'sort=optimizer.lr']\n"
        "from project.compare import main; main()\n"
        "print('heavy:', [name for name in ('torch', 'lightning', 'optuna', 'tensorboard') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(CONF.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert "heavy: []" in done.stdout, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 103


@pytest.mark.slow
def test_mistakes_are_told_in_a_line(run_command: Callable[..., "subprocess.CompletedProcess[str]"]) -> None:
    for words, message in (
        ([], "error: runs must be given: runs=<value>"),
        (["runs=nowhere"], "error: nowhere does not exist"),
        (["runs=.", "sorted=x"], "error: sorted: there is no such option. Did you mean sort"),
    ):
        done = run_command("compare", *words)
        assert done.returncode == 1
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
