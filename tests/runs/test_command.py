"""The commands as a person types them: answers to mistakes, quick and without a trace."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.hydra import Hydra
from omegaconf import OmegaConf

from project.runs.command import CONF, _literal, _texts
from project.runs.hydra_versions import VERSION, spare_a_composition
from tests.runs.conftest import TINY

Run = Callable[..., subprocess.CompletedProcess[str]]

LIGHT = [  # answered without torch
    (["model=resnt"], "error: model=resnt: there is no such choice. Did you mean resnet"),
    (["modle=resnet"], "error: modle: there is no such option. Did you mean model or mode"),
    (
        ["data=shapes", "data.batch_sise=3"],
        "error: data.batch_sise: there is no such option. Did you mean data.batch_size",
    ),
    (["batch_size=3"], "Did you mean data.batch_size"),
    (["data=shapes", "data.batch_size=abc"], "error: data.batch_size must be a whole number, got 'abc'"),
    (["optimizer.lr=abc"], "error: optimizer.lr must be a number such as 0.1, got 'abc'"),
    (["experiment=alexnet"], "experiment=alexnet: there is no such choice. Did you mean alexnet_paper"),
    (["model.net.depth=[1"], "error: model.net.depth=[1 cannot be read"),
    (["resume=latest"], "error: there is no run in outputs/train yet"),
    (["resume=nowhere"], "error: nowhere does not exist. A run's folder looks like outputs/train/"),
    (["data=image_folder"], "error: data.root must be given"),
]


@pytest.mark.parametrize(("words", "message"), LIGHT)
def test_mistakes_that_need_no_torch(run_command: Run, tmp_path: Path, words: list[str], message: str) -> None:
    done = run_command("train", *words)
    _assert_told(done, message)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["--help"], ["--cfg", "job"], ["model=resnt"], ["data.batch_size=abc"]])
def test_torch_is_imported_only_to_train(tmp_path: Path, words: list[str]) -> None:
    code = (
        f"import sys; sys.argv[1:] = {words!r}\n"
        "try:\n    from project.train import main; main()\n"
        "except SystemExit:\n    pass\n"
        "heavy = [name for name in ('torch', 'lightning', 'torchvision', 'optuna') if name in sys.modules]\n"
        "print('heavy:', heavy)"
    )
    path = str(Path(__file__).parents[2])

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert "heavy: []" in done.stdout, done.stdout + done.stderr


def test_help_shows_the_choices(run_command: Run) -> None:
    done = run_command("train", "--help")
    assert done.returncode == 0
    assert "alexnet, autoencoder" in done.stdout
    assert "python -m project.train resume=latest" in done.stdout
    assert "run: ???" in run_command("evaluate", "--help").stdout
    assert "input: ???" in run_command("predict", "--help").stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("entry_point", "words", "message"),
    [
        ("train", ["data=shapes", "data.batch_size=0"], "error: data.batch_size must be at least 1, got 0"),
        ("train", ["data=shapes", "data.batch_size=-1"], "error: data.batch_size must be at least 1, got -1"),
        ("train", ["data=shapes", "model=alexnet", "model.net.form=imagenet"], "227x227"),
        ("train", ["data=shapes", "data.batch_size=20000"], "larger than the training set: 9000 images"),
        ("train", ["data=shapes", "monitor=val/acc"], "error: monitor=val/acc is never logged by ImageClassifier"),
        (
            "train",
            ["data=shapes", "trainer.accelerator=cpu", "trainer.devices=0"],
            "trainer.devices=0; this machine has",
        ),
        ("train", ["data=shapes", "outputs=/dev/null"], "error: cannot write a run's folder at /dev/null"),
        ("evaluate", ["run=nowhere"], "error: nowhere does not exist"),
        ("evaluate", [], "error: run must be given: run=<value>"),
        ("predict", ["run=nowhere", "input=nothing.png"], "error: nowhere does not exist"),
    ],
)
def test_mistakes_that_need_torch(
    run_command: Run, tmp_path: Path, entry_point: str, words: list[str], message: str
) -> None:
    _assert_told(run_command(entry_point, *words), message)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_resumed_run_keeps_its_choices(run_command: Run, tmp_path: Path) -> None:
    done = run_command("train", *TINY, "trainer.max_epochs=1")
    assert done.returncode == 0, done.stderr
    _assert_told(run_command("train", "resume=latest", "model=mlp"), "a run is resumed with its own model")
    _assert_told(run_command("train", "resume=latest", "trainer.max_epoch=3"), "there is no such option")
    done = run_command("train", "resume=latest", "trainer.max_epochs=2")
    assert done.returncode == 0, done.stderr
    assert "epoch   2/2" in done.stderr
    assert "nothing is left" not in done.stderr
    done = run_command("train", "resume=latest")
    assert done.returncode == 0, done.stderr
    assert "nothing is left to train: trainer.max_epochs=2 is reached" in done.stderr
    (folder,) = (tmp_path / "outputs" / "train" / "convnet").iterdir()
    assert "max_epochs: 2" in (folder / "config.yaml").read_text()


@pytest.mark.skipif(VERSION >= (1, 4), reason="this Hydra composes nothing to know its mode")
def test_hydra_is_asked_for_its_mode_only_where_somebody_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hydra, "get_mode", lambda self, config_name, overrides: "composed")
    for _ in range(2):  # as two commands in one process have it
        spare_a_composition("train")
        get_mode: Any = Hydra.get_mode
        for word in ("hydra.mode=RUN", "+hydra={mode:RUN}"):
            assert get_mode(None, "train", ["model=mlp", word]) == "composed"
        assert get_mode(None, "train", ["model=mlp", "mode=max", "hydra.job.name=mode"]) is None
        assert get_mode(None, "theirs", ["model=mlp"]) == "composed"
    for path in CONF.glob("*.yaml"):
        assert OmegaConf.select(OmegaConf.load(path), "hydra.mode") is None, path


@pytest.mark.slow
def test_several_runs_by_hydras_own_multirun(run_command: Run, tmp_path: Path) -> None:
    words = ("trainer.max_epochs=1", "trainer.limit_train_batches=1", "test=false")
    done = run_command("train", "-m", *TINY, *words, "optimizer.lr=0.1,0.01")
    assert done.returncode == 0, done.stderr
    rates = [
        path.read_text().split("lr: ")[1].split()[0] for path in tmp_path.glob("outputs/train/convnet/*/config.yaml")
    ]
    assert sorted(rates) == ["0.01", "0.1"]


def _assert_told(done: subprocess.CompletedProcess[str], message: str) -> None:
    assert done.returncode == 1, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2, done.stderr


@pytest.mark.parametrize(
    "text",
    [
        "it's \"good\", isn't it?",
        "100 % ${oc.env:HOME}",
        "a=b (c) {d: e}",
        "\\${x} \\\\",
        "[not a list]",
        "null",
        "",
        "ü 日本",
    ],
)
def test_a_person_s_text_arrives_as_it_was_typed(text: str) -> None:
    cfg = OmegaConf.create({"input": "???", "prompt": "???"})
    for key, value in _texts(["run=x", f"input={text}"], ("input", "prompt"), ("prompt",)).items():
        cfg[key] = _literal(value)
    assert cfg.input == text
    assert _texts(["prompt=[a,b]"], ("prompt",), ("prompt",)) == {}, "several, for Hydra to read"
